/* What a Raft entry of type CONF carries: the core's changes, then what the descriptor needs.
 *
 * Owner: values are open structs. Lifetime: the caller's. Threads: any (pure).
 *
 * Both machines (shard and placement) apply a change with shard_membership_apply, so the Raft
 * configuration and the descriptor change together or not at all. */
#ifndef SHARD_MEMBERSHIP_H
#define SHARD_MEMBERSHIP_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "shard/range.h"

#include <stdint.h>

struct shard_membership {
    struct raft_changes changes;
    uint64_t conf_version;              /* must match the descriptor's exactly; 0: any */
    uint64_t node_id[RAFT_CHANGES_MAX]; /* node of changes.op[i].id; 0 for a removal */
};

/* The payload of the entry; starts with raft_changes_encode. The caller owns it. */
struct fl_buf *shard_membership_encode(const struct shard_membership *change);
/* An empty payload is "leave joint". FL_BAD_MESSAGE, FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status shard_membership_decode(struct fl_bytes payload,
                                                   struct shard_membership *change);
/* Changes `conf` and `range` (roles, replicas, conf_version + 1, generation + 1), or neither.
 * FL_EPOCH_MISMATCH: another conf_version; FL_CONF_INVALID: raft_conf_change refused, or ids do not
 * fit the descriptor (reused replica id, second replica on a node). Both mean that the entry turns
 * out to change nothing: tell the core RAFT_CONF_VOID. */
FL_MUST_USE enum fl_status shard_membership_apply(const struct shard_membership *change,
                                                  struct raft_conf *conf,
                                                  struct shard_range *range);
/* The configuration in which exactly the replicas of `range` are members. */
void shard_membership_conf(const struct shard_range *range, struct raft_conf *conf);

#endif
