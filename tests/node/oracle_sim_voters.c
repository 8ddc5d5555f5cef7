/* Elections of the simulated first range. */
#include "tests/node/oracle_sim_voters.h"

uint64_t sim_voters_newer_term(const struct sim_voters *voters)
{
    uint64_t term = 0;

    for (size_t i = 0; i < voters->count; i++) {
        term = voters->met[i] > term ? voters->met[i] : term;
    }
    return term + 1;
}

void sim_voters_elect(const struct sim_voters *voters,
                      struct fl_prng *prng,
                      size_t leader,
                      bool votes[SIM_VOTERS_MAX])
{
    size_t needed = voters->count / 2;

    for (size_t i = 0; i < voters->count; i++) {
        votes[i] = i == leader;
    }
    while (needed != 0) {
        size_t at = (size_t)fl_prng_below(prng, voters->count);

        needed -= votes[at] ? 0 : 1;
        votes[at] = true;
    }
}

uint64_t sim_voters_witness(const struct sim_voters *voters, uint64_t node)
{
    const struct raft_status status = {.term = node <= voters->count ? voters->met[node - 1] : 0,
                                       .voter = node <= voters->count};

    return node_witness_term(&status);
}

bool sim_voters_quorum(const struct sim_voters *voters,
                       uint64_t oracle,
                       uint64_t term,
                       uint64_t node)
{
    const struct raft_status status = {
        .self = oracle, .role = RAFT_LEADER, .term = voters->met[oracle - 1], .voter = true};
    const struct raft_conf conf = {.n = (uint8_t)voters->count,
                                   .in = (raft_mask)((1U << voters->count) - 1),
                                   .id = {1, 2, 3, 4, 5}};

    return node_witness_suffices(&status, &conf, term, node);
}
