/* The conditions under which two replicas are a quorum. See witness.h. */
#include "node/witness.h"

/* Two are a majority of so many voters. */
#define VOTERS_MIN 2
#define VOTERS_MAX 3

raft_term node_witness_term(const struct raft_status *status)
{
    return status->voter && status->why == NULL ? status->term : 0;
}

static bool is_voter(const struct raft_conf *conf, raft_id id)
{
    int slot = raft_conf_slot(conf, id);

    return slot >= 0 && (conf->in >> slot & 1) != 0;
}

bool node_witness_suffices(const struct raft_status *status,
                           const struct raft_conf *conf,
                           raft_term term,
                           raft_id id)
{
    int voters = __builtin_popcount(conf->in);

    /* The core may have met a newer term of which the oracle is not told yet. */
    if (status->role != RAFT_LEADER || status->term != term || status->why != NULL) {
        return false;
    }
    /* A change that is appended may be committed, and used to elect, before it is applied here. */
    if (conf->out != 0 || status->conf_pending != 0) {
        return false;
    }
    return voters >= VOTERS_MIN && voters <= VOTERS_MAX && id != status->self &&
           is_voter(conf, status->self) && is_voter(conf, id);
}
