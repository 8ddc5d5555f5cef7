/* A shard: the replicated key-value machine of one range, with etcd's semantics.
 *
 * Owner: the node. Lifetime: shard_open to machine->ops->close.
 * Threads: the machine's as in machine.h; shard_read_execute and shard_hash on any thread, any
 * number at once, concurrently with apply: they see committed batches only.
 *
 * Invariants D1..D9 (data engine) and SH-1.. (semantics) are in README.md. */
#ifndef SHARD_SHARD_H
#define SHARD_SHARD_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "shard/engine.h"
#include "shard/machine.h"
#include "shard/range.h"
#include "shard/read.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct shard;

/* The revision of an empty keyspace: etcd's first put gets 2. */
#define SHARD_REVISION_FIRST 1

/* ---- garbage collection ---- */

/* The compact revision published to the compaction filter: history that ended at or below it is
 * dropped. The node publishes the minimum of the compact revisions of all its shards, each as of a
 * flush that returned FL_OK: a crash must not bring back an older compact revision than the one
 * rows were dropped for. */
struct shard_gc {
    _Atomic uint64_t revision;
};

/* Relaxed is not enough: a reader that finds a row dropped must find its shard's state raised. */
void shard_gc_publish(struct shard_gc *gc, uint64_t revision);

/* The options of the data engine (D2, D9): no WAL, own flushing at 64 MiB, the filter on `gc`,
 * which outlives the engine. Path and cache size are the caller's. */
void shard_engine_options_data(struct shard_engine_options *options, struct shard_gc *gc);
/* Flush the data engine when its memtable is this large, after 30 s, or when the log needs it (D9).
 */
#define SHARD_FLUSH_BYTES ((size_t)64 * 1024 * 1024)
#define SHARD_FLUSH_MS    30000

/* ---- life ---- */

/* Adds the rows of a new replica to `batch`: no key, the given descriptor and configuration,
 * applied up to (index, term), last revision `revision` (SHARD_REVISION_FIRST in a new keyspace).
 */
void shard_bootstrap(struct shard_batch *batch,
                     const struct shard_range *range,
                     const struct raft_conf *conf,
                     uint64_t index,
                     uint64_t term,
                     uint64_t revision);
/* Opens the shard of a group from its rows; without rows it holds nothing (applied_index 0, no
 * configuration) and waits for a snapshot. `gc` is the engine's. FL_CORRUPT: rows contradict
 * themselves; FL_NEWER_FORMAT; FL_IO. */
FL_MUST_USE enum fl_status shard_open(struct shard_engine *engine,
                                      struct shard_gc *gc,
                                      uint64_t group_id,
                                      struct shard **shard);
struct shard_machine *shard_machine(struct shard *shard);
/* The descriptor as of the applied index; borrowed, changes with apply. Apply thread. */
const struct shard_range *shard_descriptor(const struct shard *shard);
/* The groups that have rows in the engine, ascending; *groups is the caller's (free). */
FL_MUST_USE enum fl_status
shard_groups(struct shard_engine *engine, uint64_t **groups, size_t *count);
/* Applied index a crash now would leave; 0 if none (D4). */
FL_MUST_USE enum fl_status
shard_durable_index(struct shard_engine *engine, uint64_t group_id, uint64_t *index);

/* ---- reads ---- */

/* Which shard is read, and when. */
struct shard_read_at {
    uint64_t group_id;
    struct fl_bytes start; /* of the range: other keys are not looked at */
    struct fl_bytes end;
    uint64_t revision; /* read at this revision, which the caller knows to be closed here (no later
                        * commit at or below it); 0: at read->revision, or the newest */
    uint64_t known;    /* a revision already applied and committed here; 0: none. header.revision is
                        * at least this */
};

/* Answers `read` (valid) as a RANGE result, the caller's to release. header.revision is the newest
 * of the shard, even for a read in the past, or `revision` when that is given. A single key at the
 * newest revision costs one engine look-up. FL_COMPACTED; FL_FUTURE_REVISION (read->revision beyond
 * the shard's last, when at->revision is 0); FL_TOO_LARGE; FL_IO; FL_CORRUPT. */
FL_MUST_USE enum fl_status shard_read_execute(struct shard_engine *engine,
                                              const struct shard_read_at *at,
                                              const struct shard_read *read,
                                              struct fl_buf **result);

struct shard_hash_result {
    uint32_t hash;             /* XOR over ranges gives the hash of them all */
    uint64_t revision;         /* covered up to here */
    uint64_t compact_revision; /* .. and from here on */
};

/* Hash of every version visible at some revision in [compact, revision], whatever garbage
 * collection has dropped already. `revision` 0: the shard's last; `compact` 0: the shard's own (a
 * node that sums up its shards passes the highest of them). FL_COMPACTED: revision below the
 * compact revision; FL_FUTURE_REVISION is never answered: a later revision covers what is there. */
FL_MUST_USE enum fl_status shard_hash(struct shard_engine *engine,
                                      const struct shard_read_at *at,
                                      uint64_t compact,
                                      struct shard_hash_result *out);

#endif
