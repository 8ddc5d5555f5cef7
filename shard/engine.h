/* A narrow ordered key-value engine: batches, reads, snapshots, flush, file ingestion.
 *
 * Owner: whoever opened it. Lifetime: shard_engine_open to shard_engine_close; every batch, value,
 * iterator, snapshot and file writer is destroyed before.
 * Threads: the engine itself from any thread; a batch, iterator or file writer from one at a time.
 *
 * One column family (D2). The first write, flush, ingestion or background error is kept: from then
 * on every write fails with it and shard_engine_fault tells it (D8). Reads may go on. */
#ifndef SHARD_ENGINE_H
#define SHARD_ENGINE_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard_engine;
struct shard_batch;
struct shard_iterator;
struct shard_engine_snapshot;
struct shard_file;

/* True: compaction drops the row. Runs on threads of the engine, for every row it rewrites, and
 * only in compactions (never at flush). Must be pure but for atomics in `context`. */
typedef bool shard_engine_drop_fn(void *context, struct fl_bytes key, struct fl_bytes value);

/* What is logged before it is written, and what damage to that log is lived with at open. */
enum shard_wal {
    SHARD_WAL_NONE,  /* nothing: a write is durable only after a flush */
    SHARD_WAL_TORN,  /* a torn tail is dropped; damage before the tail is FL_CORRUPT */
    SHARD_WAL_EXACT, /* also a torn tail is FL_CORRUPT */
};

struct shard_engine_options {
    const char *path;
    bool create;           /* make it if it is not there; else FL_NOT_FOUND */
    enum shard_wal wal;    /* never the engine's own default, which drops synced records */
    size_t wal_runway;     /* bytes of zeros kept ahead of the log, so that a sync is one write and
                            * not two; one batch commits at a time then. 0: none */
    size_t memtable_bytes; /* the engine flushes by itself only at this size */
    unsigned memtable_count; /* >= 2; writers stall when so many are full */
    bool memtable_vector;    /* append-only memtable: cheap writes, slow reads until flushed */
    bool insert_hint; /* for batches in key order: a row's place is searched from the last one on.
                       * Deletions of ranges are then deletions of the rows they find: the
                       * library takes hints of rows for hints of ranges */
    size_t block_cache_bytes; /* 0: no cache */
    unsigned bloom_bits;      /* per key; 0: none */
    unsigned background_jobs; /* >= 1 */
    int open_files_max;       /* -1: no limit */
    size_t recent_bytes; /* per batch with overlay: rows it committed are remembered up to this,
                          * so that reading them back needs no search; 0: none */
    uint8_t recent_kind; /* .. of keys that begin with this byte */
    shard_engine_drop_fn *drop; /* NULL: keep everything */
    void *drop_context;
};

/* Fills in: create, no WAL, 64 MiB x 4 memtables, 64 MiB cache, 10 bits, 2 jobs, no file limit. */
void shard_engine_options_default(struct shard_engine_options *options);

/* On failure `why` (of `why_bytes`) holds a sentence with the path. FL_LOCKED: another process has
 * it open; FL_NOT_FOUND; FL_CORRUPT; FL_NO_SPACE; FL_IO. */
FL_MUST_USE enum fl_status shard_engine_open(struct shard_engine **engine,
                                             const struct shard_engine_options *options,
                                             char *why,
                                             size_t why_bytes);
/* Without WAL what is not flushed yet may or may not be there at the next open. NULL is allowed. */
void shard_engine_close(struct shard_engine *engine);

/* FL_OK, or the error that stopped writing; `why` gets the sentence of it. Also asks the engine for
 * background errors: call it before acknowledging a flush and about once a second (D8). */
FL_MUST_USE enum fl_status
shard_engine_fault(struct shard_engine *engine, char *why, size_t why_bytes);

/* Stops writing from above: something apply depends on could not be read or makes no sense. `why`
 * is one sentence. */
void shard_engine_stop(struct shard_engine *engine, enum fl_status status, const char *why);

/* ---- batches ---- */

/* A set of writes that becomes visible, and durable, as one. With `overlay` its own rows can be
 * read back before it is committed (shard_batch_get, shard_batch_scan). */
struct shard_batch *shard_batch_create(struct shard_engine *engine, bool overlay);
void shard_batch_destroy(struct shard_batch *batch);
/* Forgets every write not committed, keeps the memory. */
void shard_batch_clear(struct shard_batch *batch);
struct shard_engine *shard_batch_engine(const struct shard_batch *batch);
/* Writes, and their encoded bytes, not committed yet. */
size_t shard_batch_count(const struct shard_batch *batch);
size_t shard_batch_bytes(const struct shard_batch *batch);

/* A value may lie inside the batch itself (shard_batch_get), a key may not. */
void shard_batch_put(struct shard_batch *batch, struct fl_bytes key, struct fl_bytes value);
/* The value in two pieces, one after the other. */
void shard_batch_put2(struct shard_batch *batch,
                      struct fl_bytes key,
                      struct fl_bytes value,
                      struct fl_bytes value_rest);
void shard_batch_delete(struct shard_batch *batch, struct fl_bytes key);
/* Every row in [start, end). In an engine with insert_hint a batch without overlay must be empty
 * yet. */
void shard_batch_delete_range(struct shard_batch *batch,
                              struct fl_bytes start,
                              struct fl_bytes end);
/* Writes all of it and clears the batch. `sync`: return after fdatasync (needs the WAL).
 * FL_NO_SPACE, FL_IO, FL_CORRUPT: nothing of the batch may be assumed, the engine is stopped (D8).
 */
FL_MUST_USE enum fl_status shard_batch_commit(struct shard_batch *batch, bool sync);

/* The same in two steps, so that the owner can go on while another thread writes: what is sealed
 * can still be read back, a scan or the next seal or commit waits for the write. Needs an overlay.
 * False: there is nothing to write, or a deleted range is among it (commit it). After true
 * shard_batch_write_sealed must follow, once, on any thread; its errors are those of a commit. */
bool shard_batch_seal(struct shard_batch *batch);
FL_MUST_USE enum fl_status shard_batch_write_sealed(struct shard_batch *batch);

/* ---- reads ---- */

/* A value found; borrowed memory of the engine until released. */
struct shard_value {
    struct fl_bytes bytes;
    void *pin; /* private */
};

/* FL_OK with `value` to be released; FL_NOT_FOUND; FL_IO; FL_CORRUPT. `snapshot` NULL: newest. */
FL_MUST_USE enum fl_status shard_engine_get(struct shard_engine *engine,
                                            const struct shard_engine_snapshot *snapshot,
                                            struct fl_bytes key,
                                            struct shard_value *value);
/* What a crash now would leave: rows already flushed to files (D4). Errors as above. */
FL_MUST_USE enum fl_status shard_engine_get_durable(struct shard_engine *engine,
                                                    struct fl_bytes key,
                                                    struct shard_value *value);
/* As shard_engine_get, the batch's own writes first. The value is invalid after the next write to
 * the batch. The batch must have an overlay. */
FL_MUST_USE enum fl_status
shard_batch_get(struct shard_batch *batch, struct fl_bytes key, struct shard_value *value);
/* Forgets the value; allowed on a zeroed one. */
void shard_value_release(struct shard_value *value);

/* One consistent state. */
struct shard_engine_snapshot *shard_engine_snapshot_create(struct shard_engine *engine);
void shard_engine_snapshot_release(struct shard_engine_snapshot *snapshot);

/* Rows of [lower, upper) in key order; an empty `upper` means no upper bound; both are copied.
 * `snapshot` NULL: the state of now. Not positioned yet. */
struct shard_iterator *shard_iterator_create(struct shard_engine *engine,
                                             const struct shard_engine_snapshot *snapshot,
                                             struct fl_bytes lower,
                                             struct fl_bytes upper);
/* The same with the uncommitted rows of `batch` (which needs an overlay) merged in, as they are
 * now; later writes to the batch are not seen. Forward only: no shard_iterator_prev or _last. */
struct shard_iterator *
shard_batch_scan(struct shard_batch *batch, struct fl_bytes lower, struct fl_bytes upper);
void shard_iterator_destroy(struct shard_iterator *it);
void shard_iterator_first(struct shard_iterator *it);
void shard_iterator_last(struct shard_iterator *it);
/* To the first row at or after `key`. */
void shard_iterator_seek(struct shard_iterator *it, struct fl_bytes key);
void shard_iterator_next(struct shard_iterator *it);
void shard_iterator_prev(struct shard_iterator *it);
bool shard_iterator_valid(const struct shard_iterator *it);
/* Borrowed until the iterator moves (or, for a scan, the batch is written to). */
struct fl_bytes shard_iterator_key(const struct shard_iterator *it);
struct fl_bytes shard_iterator_value(const struct shard_iterator *it);
/* Check it when the iterator is no longer valid: FL_OK at the end of the rows, FL_IO, FL_CORRUPT.
 */
FL_MUST_USE enum fl_status shard_iterator_status(const struct shard_iterator *it);

/* ---- durability and space ---- */

/* Writes the memtables to files. `wait`: return when they are durable, and everything committed
 * before the call with them; otherwise only start it. FL_IO, FL_NO_SPACE stop the engine (D8). */
FL_MUST_USE enum fl_status shard_engine_flush(struct shard_engine *engine, bool wait);
/* Bytes in the memtable being written: the trigger of D9. */
uint64_t shard_engine_memtable_bytes(struct shard_engine *engine);
/* Number of the last write. */
uint64_t shard_engine_sequence(struct shard_engine *engine);
/* Bytes of live files, and an estimate of those that hold rows of [start, end). */
uint64_t shard_engine_disk_bytes(struct shard_engine *engine);
uint64_t shard_engine_size(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end);
/* A named integer property of the engine ("rocksdb.estimate-num-keys"); 0 if there is none. */
uint64_t shard_engine_property(struct shard_engine *engine, const char *name);
/* Rewrites the files that hold [start, end) now, which lets `drop` see every row there. Empty
 * `end`: no upper bound. Blocks. */
void shard_engine_compact(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end);

/* ---- files ---- */

/* A file of rows to be ingested. Keys must ascend strictly; range deletions may come at any time.
 */
FL_MUST_USE enum fl_status
shard_file_create(struct shard_engine *engine, const char *path, struct shard_file **file);
FL_MUST_USE enum fl_status
shard_file_put(struct shard_file *file, struct fl_bytes key, struct fl_bytes value);
FL_MUST_USE enum fl_status
shard_file_delete_range(struct shard_file *file, struct fl_bytes start, struct fl_bytes end);
/* Bytes so far. */
uint64_t shard_file_bytes(const struct shard_file *file);
/* Makes the file durable and closes the writer; `file` is gone whatever the status. FL_INVALID: it
 * holds nothing. */
FL_MUST_USE enum fl_status shard_file_finish(struct shard_file *file);
/* Closes without finishing; the path stays to be removed. NULL is allowed. */
void shard_file_abort(struct shard_file *file);
/* Takes finished files in, all or none, durable on return; where they overlap, later ones win. The
 * files are moved into the engine. Errors stop the engine (D8). */
FL_MUST_USE enum fl_status
shard_engine_ingest(struct shard_engine *engine, const char *const *paths, size_t count);

#endif
