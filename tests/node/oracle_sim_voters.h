/* The voters of the first range in the oracle's simulation: which terms they have met, who elects
 * whom, and what that means for witnesses (OR-13).
 *
 * Owner, lifetime and threads: the simulation's. Voter i is replica i + 1 on node i + 1. */
#ifndef TESTS_NODE_ORACLE_SIM_VOTERS_H
#define TESTS_NODE_ORACLE_SIM_VOTERS_H

#include "node/witness.h"
#include "raftgroup/base/prng.h"

enum { SIM_VOTERS_MAX = 5 };

struct sim_voters {
    size_t count;
    uint64_t met[SIM_VOTERS_MAX]; /* newest term each of them knows: it votes for nobody older */
};

/* A term none of them has met. */
uint64_t sim_voters_newer_term(const struct sim_voters *voters);
/* Picks a bare majority with `leader` in it; nobody else is asked. */
void sim_voters_elect(const struct sim_voters *voters,
                      struct fl_prng *prng,
                      size_t leader,
                      bool votes[SIM_VOTERS_MAX]);
/* What the shell of the asking node publishes, and what that of the oracle's finds out. */
uint64_t sim_voters_witness(const struct sim_voters *voters, uint64_t node);
bool sim_voters_quorum(const struct sim_voters *voters,
                       uint64_t oracle,
                       uint64_t term,
                       uint64_t node);

#endif
