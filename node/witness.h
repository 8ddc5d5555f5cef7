/* Whose word makes a grant of the oracle its own confirm (OR-13).
 *
 * Owner, lifetime and threads: the caller's; pure functions.
 *
 *     asker a                              oracle {o, a, c}, leads in term 7
 *       its voter is in term 7: ask ------>  o led in 7 now, a was in 7 when it asked: whoever led
 *       confirmed           <------- grant   in a newer term before the ask had the vote of neither
 */
#ifndef NODE_WITNESS_H
#define NODE_WITNESS_H

#include "raftgroup/raft.h"

/* The term in which this replica bears witness; 0: in none: it is no voter, or frozen. */
raft_term node_witness_term(const struct raft_status *status);
/* The replica with this status and configuration leads in `term`, and it and replica `id` are a
 * quorum, whatever becomes of the configuration later. */
bool node_witness_suffices(const struct raft_status *status,
                           const struct raft_conf *conf,
                           raft_term term,
                           raft_id id);

#endif
