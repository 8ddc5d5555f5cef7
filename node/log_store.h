/* The log store: the Raft logs, votes and lifecycles of every group of a node in one RocksDB.
 *
 * Owner:    the node. Lifetime: node_log_store_open to node_log_store_close.
 * Threads:  node_log_store_write on the log writer thread. Everything else from any thread; what
 *           writes (create, tombstone, intents, identity) waits for the write in progress and takes
 *           an fsync of its own.
 *
 * One write call is one batch and one fsync for all groups of a turn. Rows and byte tables are in
 * node/log_format.h; the rules LS-1 .. LS-11 in node/README.md. */
#ifndef NODE_LOG_STORE_H
#define NODE_LOG_STORE_H

#include "node/log_cache.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"

#define NODE_LOG_UUID_BYTES 16
#define NODE_LOG_WHY_BYTES  384

struct node_log_store;

struct node_log_store_options {
    const char *path;      /* directory of the RocksDB; PATH.watermark lies beside it */
    size_t memtable_bytes; /* 0: 64 MiB */
    const uint8_t *uuid;   /* of the data directory; a log of another one is refused */
    bool allow_damaged;    /* open a store that lost data; see node_log_report.damaged */
};

/* One group as the store read it back; what raft_boot needs but the machine's part. */
struct node_log_group_boot {
    uint64_t group;
    uint64_t replica_id; /* 0: the state row is unreadable, nothing else is known */
    uint64_t incarnation;
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index last;
    raft_term last_term;
    raft_index truncated; /* the log starts behind it: raft_boot.snap_index */
    raft_term truncated_term;
    struct raft_run *runs; /* of truncated + 1 .. last, ascending */
    uint32_t nruns;
    raft_index *conf_at; /* every CONF entry in truncated + 1 .. last, ascending: the node skips
                          * those the machine has applied */
    uint32_t nconf_at;
    uint64_t bytes; /* as node_log_store_group_bytes */
    bool damaged;   /* promises of this replica may be lost: no vote, no ack as a voter (LS-8) */
};

/* What open found. */
struct node_log_report {
    struct node_log_group_boot *groups; /* ascending by group */
    size_t group_count;
    bool damaged;                 /* the store has lost synced data, now or in an earlier life: any
                                   * group may be missing or older than what it promised */
    size_t damaged_group_count;   /* groups with the flag */
    uint64_t batch;               /* newest batch found */
    uint64_t watermark;           /* newest batch that had to be there */
    uint64_t entries;             /* live entries checked */
    uint64_t bytes;               /* .. and their payload bytes */
    char why[NODE_LOG_WHY_BYTES]; /* damaged: one sentence; else empty */
};

/* What one group has to make durable in one turn; the fields of raft_persist in their order. */
struct node_log_write {
    uint64_t group;
    uint64_t incarnation;  /* a write for another incarnation than the stored one is ignored */
    bool snapshot;         /* first: the log becomes empty behind snap_index */
    raft_index snap_index; /* >= the truncated index */
    raft_term snap_term;
    raft_index trunc_from; /* then: entries >= this vanish (0: none) */
    raft_index lo; /* then: entries lo..hi (lo > hi: none); lo <= last is a conflict and cuts
                    * the log there */
    raft_index hi;
    const struct node_log_entry *entries; /* hi - lo + 1, borrowed for the call */
    raft_term term;                       /* last: the hard state */
    raft_id vote;
    raft_index commit;
    bool must_sync; /* false: this write may be lost in a crash */
    bool repaired;  /* takes the damaged flag off the group */
};

/* How a group begins here. */
struct node_log_group_init {
    uint64_t group;
    uint64_t replica_id;
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index truncated; /* the state of the machine it starts with; 0: empty */
    raft_term truncated_term;
};

struct node_log_read {
    raft_index lo;
    struct node_log_entry *entries; /* each holds a reference; payload is never NULL */
    size_t count;
};

struct node_log_stats {
    uint64_t batches;       /* write calls and lifecycle changes that reached RocksDB */
    uint64_t syncs;         /* .. with an fsync */
    uint64_t entries;       /* entries written */
    uint64_t payload_bytes; /* .. and their payload */
    uint64_t conflicts;     /* cuts into the stored log */
    uint64_t stale_writes;  /* ignored: their incarnation is gone */
    uint64_t commit_ns;     /* time inside RocksDB, waiting for the disk included */
    uint64_t dropped;       /* records that compaction took away */
    uint64_t disk_bytes;    /* live files */
};

/* Opens or creates the store, checks the watermark, the digest over all rows and every live entry
 * (LS-5..LS-8), and fills *report (close it with node_log_report_close whatever the status).
 * On failure nothing stays open and `why` holds one sentence: FL_CORRUPT (damaged, and
 * !allow_damaged; or RocksDB refuses it), FL_REFUSED (the log of another data directory),
 * FL_NEWER_FORMAT, FL_LOCKED, FL_NO_SPACE, FL_IO. */
FL_MUST_USE enum fl_status node_log_store_open(struct node_log_store **store,
                                               const struct node_log_store_options *options,
                                               struct node_log_report *report,
                                               char *why,
                                               size_t why_bytes);
void node_log_report_close(struct node_log_report *report);

/* Makes one turn durable: one batch, and one fsync if any write must be synced. When it returns,
 * all of it is (LS-1). A failed write or fsync is fl_fatal: it never returns in doubt (LS-9). */
void node_log_store_write(struct node_log_store *store,
                          const struct node_log_write *writes,
                          size_t count);
/* Raises the truncated index of `group_id` with the next write of any group. The caller guarantees
 * that `upto` is durably applied (D4). Ignored when the group is gone or truncated further already.
 */
void node_log_store_truncate(struct node_log_store *store, uint64_t group_id, raft_index upto);
/* Reads entries lo..hi of which the payloads fit into max_bytes, at least one. For laggards; safe
 * against concurrent writes. FL_COMPACTED (lo is truncated), FL_NOT_FOUND (no such incarnation, or
 * lo is beyond the end), FL_CORRUPT, FL_IO. */
FL_MUST_USE enum fl_status node_log_store_read(struct node_log_store *store,
                                               uint64_t group,
                                               uint64_t incarnation,
                                               raft_index lo,
                                               raft_index hi,
                                               uint64_t max_bytes,
                                               struct node_log_read *out);
void node_log_read_close(struct node_log_read *read);

/* Bytes of log kept for `group_id`, exact to about 64 KiB; 0 for an unknown one. */
uint64_t node_log_store_group_bytes(struct node_log_store *store, uint64_t group_id);
void node_log_store_stats(struct node_log_store *store, struct node_log_stats *stats);
/* 0, or since when (node_clock_ns) a write is in RocksDB's hands: a log disk that stalls (design
 * section 7). */
uint64_t node_log_store_busy_since_ns(const struct node_log_store *store);

/* --- lifecycle of replicas; each is durable on return ----------------------------------------- */

/* Begins a group; *incarnation is the one its writes must name. FL_EXISTS, FL_STALE (its replica id
 * was destroyed here). */
FL_MUST_USE enum fl_status node_log_store_create_group(struct node_log_store *store,
                                                       const struct node_log_group_init *init,
                                                       uint64_t *incarnation);
/* Ends the group, or forbids one that never was: replica ids below `next_replica_id` and the one
 * that lived here never come back. Its entries are dead from now on. */
void node_log_store_destroy_group(struct node_log_store *store,
                                  uint64_t group_id,
                                  uint64_t next_replica_id);
/* The smallest replica id that may live here again, 0 when there is no tombstone. FL_CORRUPT,
 * FL_IO.
 */
FL_MUST_USE enum fl_status node_log_store_tombstone(struct node_log_store *store,
                                                    uint64_t group_id,
                                                    uint64_t *next_replica_id);

/* --- intents: what must be finished or undone after a crash (D5) ------------------------------ */

void node_log_store_put_intent(struct node_log_store *store,
                               uint64_t group,
                               uint8_t kind,
                               struct fl_bytes body);
void node_log_store_drop_intent(struct node_log_store *store, uint64_t group, uint8_t kind);
typedef void node_log_intent_fn(void *context, uint64_t group, uint8_t kind, struct fl_bytes body);
/* Calls `visit` for each intent in order of group and kind; it must not change intents. FL_CORRUPT,
 * FL_IO. */
FL_MUST_USE enum fl_status
node_log_store_each_intent(struct node_log_store *store, node_log_intent_fn *visit, void *context);

/* --- rows of the node itself ------------------------------------------------------------------ */

/* Durable on return. `name` has 1..31 bytes. */
void node_log_store_put_identity(struct node_log_store *store,
                                 const char *name,
                                 struct fl_bytes body);
/* Appends the row to *body. FL_NOT_FOUND, FL_CORRUPT, FL_IO. */
FL_MUST_USE enum fl_status
node_log_store_get_identity(struct node_log_store *store, const char *name, struct fl_writer *body);

/* --- upkeep ----------------------------------------------------------------------------------- */

/* Persists the watermark when it has moved, and stops the process if RocksDB failed in the
 * background (LS-9). Call about once a second, not on the log writer thread: it takes an fsync of
 * its own file. */
void node_log_store_persist_watermark(struct node_log_store *store);
/* Forgets that the store once lost data: every replica this node had is accounted for. */
void node_log_store_clear_damaged(struct node_log_store *store);
/* Compacts everything now, for tests and an operator's command. Blocks. */
void node_log_store_compact(struct node_log_store *store);
/* No other call may be under way. NULL is allowed. */
void node_log_store_close(struct node_log_store *store);

#endif
