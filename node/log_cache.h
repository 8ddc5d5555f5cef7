/* The newest entries of a group's log in memory, payloads included: what the core's (index, term)
 * runs name, a leader sends, the log writer stores and the apply thread runs.
 *
 * Owner:    the replica; a pool is shared by the caches of one raft loop.
 * Lifetime: node_log_cache_create to node_log_cache_destroy; the pool outlives its caches.
 * Threads:  the raft loop only. Payload buffers are reference-counted and may leave it.
 *
 *      dropped          window: first .. last          not written yet
 *   ------------[ oldest | .. | keep_from | .. | newest ]------------
 *               may be trimmed | must stay (node_log_cache_set_keep)
 *
 * One more, older window holds what a laggard needs and was read back from the store (the core's
 * `fetches`); it is replaced by the next one. Budget: the pool counts the bytes of all windows and
 * takes them from the least recently appended group first. */
#ifndef NODE_LOG_CACHE_H
#define NODE_LOG_CACHE_H

#include "raftgroup/base/buf.h"
#include "raftgroup/raft.h"

/* An entry with its payload; in the log store, the cache and on its way between them. */
struct node_log_entry {
    raft_term term;
    struct fl_buf *payload; /* a reference; NULL stands for an empty payload when written */
    uint8_t type;           /* enum raft_ent_type */
};

/* What one entry costs a budget: payload and bookkeeping. */
#define NODE_LOG_CACHE_ENTRY_BYTES 64

struct node_log_cache_pool;
struct node_log_cache;

/* A pool that aims to stay below `max_bytes` over all its caches. */
struct node_log_cache_pool *node_log_cache_pool_create(uint64_t max_bytes);
/* Every cache of the pool must be destroyed. */
void node_log_cache_pool_destroy(struct node_log_cache_pool *pool);
/* Bytes held by all caches of the pool. */
uint64_t node_log_cache_pool_bytes(const struct node_log_cache_pool *pool);
/* Drops old entries that nobody must keep, least recently appended group first, until the pool is
 * inside its budget or nothing more may go. Constant time when it is. */
void node_log_cache_pool_trim(struct node_log_cache_pool *pool);

/* An empty cache whose next entry is `next` (last index of the log + 1). */
struct node_log_cache *node_log_cache_create(struct node_log_cache_pool *pool, raft_index next);
/* Releases everything. NULL is allowed. */
void node_log_cache_destroy(struct node_log_cache *cache);

/* Puts the entry `index`; takes a reference of its own to `payload` (NULL: empty). An index at or
 * below the newest one replaces the log from there on (conflict); a gap empties the window first
 * (an installed snapshot, or entries that never came through here). */
void node_log_cache_append(struct node_log_cache *cache,
                           raft_index index,
                           raft_term term,
                           uint8_t type,
                           struct fl_buf *payload);
/* Forgets entries >= `from`, fetched ones too. */
void node_log_cache_truncate_from(struct node_log_cache *cache, raft_index from);
/* Forgets entries <= `upto` as far as they need not be kept: everyone has them. */
void node_log_cache_trim_to(struct node_log_cache *cache, raft_index upto);
/* Entries >= `from` must stay: not written, or not handed to apply. 0: keep all (the state of a new
 * cache). */
void node_log_cache_set_keep(struct node_log_cache *cache, raft_index from);
/* Empties the cache; the next entry is `next` (a snapshot replaced the log). */
void node_log_cache_reset(struct node_log_cache *cache, raft_index next);

/* The entry, borrowed until the next call that changes the cache; NULL when it is not in memory. */
const struct node_log_entry *node_log_cache_get(const struct node_log_cache *cache,
                                                raft_index index);
/* For raft_ops.fit: how many entries from `lo` on, at most to `hi`, fit into `max_bytes` of
 * payload; at least 1 when `lo` is in memory, 0 when it is not. *bytes = their payload. */
uint32_t node_log_cache_fit(const struct node_log_cache *cache,
                            raft_index lo,
                            raft_index hi,
                            uint64_t max_bytes,
                            uint64_t *bytes);
/* Lends the cache `count` entries from `lo` on that were read back from the store; takes over their
 * references. Replaces what was lent before. */
void node_log_cache_lend(struct node_log_cache *cache,
                         raft_index lo,
                         struct node_log_entry *entries,
                         size_t count);
/* Drops what was lent: the laggard got it, or the group goes idle. */
void node_log_cache_drop_lent(struct node_log_cache *cache);

/* Oldest and newest index of the window; first > last when it is empty. */
raft_index node_log_cache_first(const struct node_log_cache *cache);
raft_index node_log_cache_last(const struct node_log_cache *cache);
/* Bytes held, lent ones included. */
uint64_t node_log_cache_bytes(const struct node_log_cache *cache);

#endif
