/* Majority arithmetic over a configuration: pure functions on slots and masks.
 *
 * Owner:    nobody.
 * Lifetime: the call.
 * Threads:  any.
 *
 * A joint configuration needs a majority of both halves (M10); an empty half is always satisfied.
 */
#ifndef RAFTGROUP_QUORUM_H
#define RAFTGROUP_QUORUM_H

#include "raftgroup/raft.h"

enum raft_vote_result { RAFT_VOTE_PENDING, RAFT_VOTE_WON, RAFT_VOTE_LOST };

/* Greatest value reached by a quorum: value[slot] of each voter. UINT64_MAX without voters. */
uint64_t raft__quorum_value(const struct raft_conf *conf, const uint64_t value[RAFT_MEMBERS_MAX]);
enum raft_vote_result raft__quorum_vote(const struct raft_conf *conf, raft_mask yes, raft_mask no);
/* `set` contains a quorum. */
bool raft__quorum_has(const struct raft_conf *conf, raft_mask set);

#endif
