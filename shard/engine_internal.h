/* What the files of the engine share: its structs, errors and counts.
 *
 * Owner: the engine. Lifetime: as in engine.h. Threads: as in engine.h.
 *
 * With engine_rocksdb.c the home of rocksdb/c.h. Handles are exact because Debian's library has its
 * assertions on: everything created is destroyed before the database is closed (live counts it). */
#ifndef SHARD_ENGINE_INTERNAL_H
#define SHARD_ENGINE_INTERNAL_H

#include "shard/engine.h"
#include "shard/engine_wal.h"
#include "shard/overlay.h"
#include "shard/recent.h"

#include <pthread.h>
#include <stdatomic.h>

#include <rocksdb/c.h>

#define SHARD__FAULT_BYTES 1024

struct shard_engine {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *read_durable;
    rocksdb_writeoptions_t *write;
    rocksdb_writeoptions_t *write_sync;
    rocksdb_flushoptions_t *flush_wait;
    rocksdb_flushoptions_t *flush_start;
    rocksdb_ingestexternalfileoptions_t *ingest;
    rocksdb_envoptions_t *env;
    char *path;
    struct shard_runway runway;
    bool insert_hint;
    shard_engine_drop_fn *drop;
    void *drop_context;
    size_t recent_bytes;
    uint8_t recent_kind;
    atomic_uint_fast64_t commits; /* and ingestions, of whomever: a batch that was not the last to
                                   * commit must not trust the rows it remembers */
    atomic_size_t live;           /* batches, iterators, snapshots, files: a close counts on 0 */
    atomic_size_t filters;        /* of compactions that run now: 0 once the database is closed */
    struct {
        pthread_mutex_t lock;
        enum fl_status fault; /* the first error that stopped writing; FL_OK: none */
        char why[SHARD__FAULT_BYTES];
    } shared;
};

struct shard_engine_snapshot {
    struct shard_engine *engine;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read;
};

/* Writes and, if the batch has an overlay, where they are. */
struct shard_writes {
    rocksdb_writebatch_t *batch;
    struct shard_overlay own; /* zeroed without overlay */
};

struct shard_batch {
    struct shard_engine *engine;
    struct shard_writes open; /* what is put goes here */
    struct shard_writes
        sealed; /* being written: read by the owner and the writer, changed by none */
    rocksdb_writebatch_t *sorted; /* what is written, in key order; the writer's while sealed */
    struct fl_writer join;        /* scratch for put2 */
    bool overlay;
    bool is_sealed; /* the owner's: `sealed` holds writes */
    struct shard_recent
        recent; /* rows committed or sealed, valid while `commits` is the engine's */
    uint64_t commits;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool written; /* what is sealed */
    } shared;
};

/* Turns RocksDB's message into a status and frees it; logs it with the path. Does not stop. */
enum fl_status shard__read_failed(const struct shard_engine *engine, const char *what, char *error);
/* The same for an operation that writes: stops the engine (D8). */
FL_MUST_USE enum fl_status
shard__write_failed(struct shard_engine *engine, const char *what, char *error);
/* FL_OK, or the error that stopped writing. */
FL_MUST_USE enum fl_status shard__stopped(struct shard_engine *engine);

/* One handle more that must be gone before the engine is closed; one less. */
void shard__hold(struct shard_engine *engine);
void shard__drop_hold(struct shard_engine *engine);

/* Counts a change of the engine. Returns whether nobody else changed it since `seen`, which is
 * brought up to date. */
bool shard__count_commit(struct shard_engine *engine, uint64_t *seen);

/* A look-up with these options. */
FL_MUST_USE enum fl_status shard__get(struct shard_engine *engine,
                                      const rocksdb_readoptions_t *read,
                                      struct fl_bytes key,
                                      struct shard_value *value);

/* Waits until what is sealed is written; it can be read back still. */
void shard__await_sealed(struct shard_batch *batch);

/* RocksDB's encoding of the batch; borrowed until the next write to it. */
struct fl_bytes shard__encoding(const struct shard_batch *batch);

/* As the library takes bytes: never NULL. */
static inline const char *shard__chars(struct fl_bytes bytes)
{
    return (const char *)(bytes.data != NULL ? bytes.data : (const uint8_t *)"");
}

#endif
