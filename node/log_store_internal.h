/* Private to the log store: its state in memory, shared by the files that write, read and check.
 *
 * Owner, lifetime: node_log_store. Threads: as written at the fields. */
#ifndef NODE_LOG_STORE_INTERNAL_H
#define NODE_LOG_STORE_INTERNAL_H

#include "node/hash.h"
#include "node/log_format.h"
#include "node/log_reclaim.h"
#include "node/log_store.h"
#include "node/watermark.h"
#include "raftgroup/base/list.h"
#include "shard/engine.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where the log stood when it had grown by another 64 KiB. */
struct node__log_mark {
    raft_index index; /* last index written then */
    uint64_t written; /* node__log_group.written then */
};

/* A group in memory: what a write needs without reading. An idle one costs this struct, its runs
 * and no marks. */
struct node__log_group {
    UT_hash_handle hh;
    uint64_t id;
    struct node_log_state state; /* as of the batch being built */
    uint64_t row_hash;           /* of the state row in the store; 0 before the first one */
    struct raft_run *runs;       /* terms of truncated + 1 .. last */
    size_t run_count;
    size_t run_capacity;
    struct node__log_mark *marks;
    size_t mark_count;
    size_t mark_capacity;
    uint64_t written;             /* bytes appended since open, falling back at a cut */
    uint64_t written_truncated;   /* .. of these no longer kept; <= written */
    _Atomic uint64_t kept_bytes;  /* written - written_truncated, for other threads */
    bool touched;                 /* the state row belongs into the batch being built */
    bool unpublished;             /* truncated further than compaction knows */
    struct fl_list touched_link;  /* in node_log_store.touched while `touched` */
    struct fl_list publish_link;  /* in node_log_store.unpublished while `unpublished` */
    struct fl_list truncate_link; /* in shared.truncations while truncate_to != 0; shared.lock */
    raft_index truncate_to;       /* asked for, not in a batch yet; shared.lock */
};

struct node_log_store {
    char *path;
    struct shard_engine *engine;
    struct node_watermark *watermark;
    struct node_log_reclaim *reclaim;

    /* One writer at a time; it holds the lock until its batch is committed. */
    struct {
        pthread_mutex_t lock;
        struct shard_batch *batch;
        struct fl_writer scratch;
        struct node_log_chain chain; /* as of the newest batch */
        uint64_t synced;             /* newest batch that is durable */
        struct fl_list touched;
        struct fl_list unpublished;
    } write;

    /* The table changes only under both locks, so a writer may read it under its own. */
    struct {
        pthread_mutex_t lock; /* short sections only */
        struct node__log_group *groups;
        struct fl_list truncations;
    } shared;

    /* Relaxed: counters order nothing. */
    struct {
        _Atomic uint64_t batches;
        _Atomic uint64_t syncs;
        _Atomic uint64_t entries;
        _Atomic uint64_t payload_bytes;
        _Atomic uint64_t conflicts;
        _Atomic uint64_t stale_writes;
        _Atomic uint64_t commit_ns;
        _Atomic uint64_t busy_since_ns;
    } stats;
};

/* --- log_group.c: a group's state in memory --------------------------------------------------- */

struct node__log_group *node__log_group_create(uint64_t id, const struct node_log_state *state);
void node__log_group_destroy(struct node__log_group *group);
/* Notes entries first..last of `term` behind the end. */
void node__log_group_append(struct node__log_group *group,
                            raft_index first,
                            raft_index last,
                            raft_term term);
/* Counts `bytes` written up to `last` of the log. */
void node__log_group_count(struct node__log_group *group, raft_index last, uint64_t bytes);
/* Ends the log at from - 1, which must not be truncated. */
void node__log_group_cut(struct node__log_group *group, raft_index from);
/* Begins the log behind `upto`, which is in it. */
void node__log_group_truncate(struct node__log_group *group, raft_index upto);
/* Empties the log behind a snapshot. */
void node__log_group_reset(struct node__log_group *group, raft_index index, raft_term term);
/* Term of an entry in truncated .. last. */
raft_term node__log_group_term(const struct node__log_group *group, raft_index index);

/* --- log_open.c: what is believed of a store found on disk ------------------------------------ */

/* Reads every row and every live entry, fills the group table, the chain and *report. Damage is
 * noted in the report (LS-5..LS-7), not returned. FL_NEWER_FORMAT, FL_REFUSED, FL_IO with `why`. */
FL_MUST_USE enum fl_status node__log_load(struct node_log_store *store,
                                          const struct node_log_store_options *options,
                                          struct node_log_report *report,
                                          char *why,
                                          size_t why_bytes);
/* Notes damage of the whole store; the first sentence stays. */
__attribute__((format(printf, 2, 3))) void
node__log_report_damage(struct node_log_report *report, const char *format, ...);

/* --- log_store.c: used by the opening --------------------------------------------------------- */

/* Puts the group's state row into the batch being built. write.lock is held. */
void node__log_touch(struct node_log_store *store, struct node__log_group *group);
/* Puts a sealed row into the batch and the digest. write.lock is held. */
void node__log_put_row(struct node_log_store *store,
                       const struct node_log_key *key,
                       struct fl_bytes body);
/* Closes the batch with the state rows touched and the chain row and commits it. write.lock is
 * held. */
void node__log_commit(struct node_log_store *store, bool sync);

#endif
