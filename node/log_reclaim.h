/* What compaction may drop from the log store: per group, how far the log is *durably* truncated.
 *
 * Owner:    the log store; the engine's compaction threads read it.
 * Lifetime: outlives the engine it is given to.
 * Threads:  node_log_reclaim_publish from one thread at a time, node_log_reclaim_drop from any.
 *
 * A row is dropped only for a reason that is synced already (LS-4): after a crash the state rows
 * must still cover every row that compaction took away. Groups never published lose nothing. */
#ifndef NODE_LOG_RECLAIM_H
#define NODE_LOG_RECLAIM_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/raft.h"

struct node_log_reclaim;

struct node_log_reclaim *node_log_reclaim_create(void);
/* NULL is allowed. */
void node_log_reclaim_destroy(struct node_log_reclaim *reclaim);
/* From now on entries of `group` are dead up to `truncated` in `incarnation`, and all of smaller
 * incarnations. Never lowers what was published. */
void node_log_reclaim_publish(struct node_log_reclaim *reclaim,
                              uint64_t group,
                              uint64_t incarnation,
                              raft_index truncated);
/* For shard_engine_options.drop, with the struct as context: true for an entries record of which
 * every entry is dead. */
bool node_log_reclaim_drop(void *context, struct fl_bytes key, struct fl_bytes value);
/* Records dropped so far; a record may be counted more than once when a compaction is repeated. */
uint64_t node_log_reclaim_dropped(const struct node_log_reclaim *reclaim);

#endif
