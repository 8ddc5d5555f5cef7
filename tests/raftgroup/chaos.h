/* One seed of chaos: a simulated cluster under random faults, then its recovery.
 *
 * Owner:    the caller of chaos_run; nothing outlives the call.
 * Lifetime: the call.
 * Threads:  one.
 *
 * The seed decides everything: members, options, which faults are on, every event. First come
 * faults, with the checks of cluster.h after every input. Then all links are cut until everybody
 * has noticed, and healed: without a new request the members must agree, commit all they have,
 * leave joint configurations and answer every read; then one write must reach everybody, though a
 * sleeping group gets it and its first messages are lost. */
#ifndef TESTS_RAFTGROUP_CHAOS_H
#define TESTS_RAFTGROUP_CHAOS_H

#include "raftgroup/raft.h"

struct chaos_result {
    bool ok;
    bool unsafe; /* not ok: an invariant broke; else recovery failed */
    char why[256];
    uint64_t events;
    uint64_t committed;
};

/* Adds the cores' counters to *total. */
void chaos_run(unsigned seed, struct chaos_result *out, struct raft_stats *total);

#endif
