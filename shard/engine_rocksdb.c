/* The engine over RocksDB's C interface: opening, errors, look-ups, durability. Batches, iterators
 * and files are beside it. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"
#include "shard/engine_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include <rocksdb/c.h>

#define TIER_PERSISTED 2 /* rocksdb::ReadTier::kPersistedTier */
#define LOG_LEVEL_WARN 2 /* rocksdb::InfoLogLevel */
#define LOG_FILE_BYTES ((size_t)4 * 1024 * 1024)
#define LOG_FILES      4
/* Still over 16 bits per row of 300 bytes in a memtable half full; every insert touches it, so it
 * should stay in the processor's cache. */
#define MEMTABLE_BLOOM_RATIO 0.004
/* The search for a row's place begins where the last row of its kind (the first byte of the key)
 * was put: rows in key order then find theirs in a few steps. The C interface has no setter. */
#define INSERT_HINT "memtable_insert_with_hint_prefix_extractor=rocksdb.FixedPrefix.1"

/* ---- errors ---- */

/* A sentence into the caller's buffer, cut where it ends. */
static void __attribute__((format(printf, 3, 4)))
say(char *why, size_t why_bytes, const char *format, ...)
{
    va_list args;

    if (why_bytes == 0) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(why, why_bytes, format, args);
    va_end(args);
}

static enum fl_status classify(const char *text)
{
    if (strstr(text, "No space left") != NULL || strstr(text, "Disk quota exceeded") != NULL) {
        return FL_NO_SPACE;
    }
    return strncmp(text, "Corruption", 10) == 0 ? FL_CORRUPT : FL_IO;
}

enum fl_status shard__read_failed(const struct shard_engine *engine, const char *what, char *error)
{
    enum fl_status status = classify(error);

    fl_log(FL_LOG_ERROR,
           "engine_read_failed",
           "path=\"%s\" operation=%s status=%s error=\"%s\"",
           engine->path,
           what,
           fl_status_name(status),
           error);
    rocksdb_free(error);
    return status;
}

/* Keeps the first error: nothing is written any more (D8). */
static enum fl_status
stop(struct shard_engine *engine, const char *what, enum fl_status status, const char *error)
{
    bool first;

    pthread_mutex_lock(&engine->shared.lock);
    first = engine->shared.fault == FL_OK;
    if (first) {
        engine->shared.fault = status;
        say(engine->shared.why,
            sizeof(engine->shared.why),
            "%s: %s failed: %s",
            engine->path,
            what,
            error);
    }
    pthread_mutex_unlock(&engine->shared.lock);
    if (first) {
        fl_log(FL_LOG_ERROR,
               "engine_stopped",
               "path=\"%s\" operation=%s status=%s error=\"%s\"",
               engine->path,
               what,
               fl_status_name(status),
               error);
    }
    return status;
}

enum fl_status shard__write_failed(struct shard_engine *engine, const char *what, char *error)
{
    enum fl_status status = stop(engine, what, classify(error), error);

    rocksdb_free(error);
    return status;
}

enum fl_status shard__stopped(struct shard_engine *engine)
{
    enum fl_status status;

    pthread_mutex_lock(&engine->shared.lock);
    status = engine->shared.fault;
    pthread_mutex_unlock(&engine->shared.lock);
    return status;
}

void shard_engine_stop(struct shard_engine *engine, enum fl_status status, const char *why)
{
    fl_assert(status != FL_OK);
    (void)stop(engine, "apply", status, why);
}

enum fl_status shard_engine_fault(struct shard_engine *engine, char *why, size_t why_bytes)
{
    enum fl_status status;

    if (shard_engine_property(engine, "rocksdb.background-errors") != 0) {
        (void)stop(engine, "background work", FL_IO, "see the engine's LOG file");
    }
    pthread_mutex_lock(&engine->shared.lock);
    status = engine->shared.fault;
    say(why, why_bytes, "%s", status != FL_OK ? engine->shared.why : "");
    pthread_mutex_unlock(&engine->shared.lock);
    return status;
}

void shard__hold(struct shard_engine *engine)
{
    /* Relaxed: a count that orders nothing; close happens after everything else anyway. */
    atomic_fetch_add_explicit(&engine->live, 1, memory_order_relaxed);
}

void shard__drop_hold(struct shard_engine *engine)
{
    size_t before = atomic_fetch_sub_explicit(&engine->live, 1, memory_order_relaxed);

    fl_assert(before != 0);
}

/* ---- opening ---- */

void shard_engine_options_default(struct shard_engine_options *options)
{
    *options = (struct shard_engine_options){
        .create = true,
        .wal = SHARD_WAL_NONE,
        .memtable_bytes = (size_t)64 * 1024 * 1024,
        .memtable_count = 4,
        .block_cache_bytes = (size_t)64 * 1024 * 1024,
        .bloom_bits = 10,
        .background_jobs = 2,
        .open_files_max = -1,
    };
}

/* NOLINTBEGIN(readability-function-size,readability-non-const-parameter): the library's type */
static unsigned char filter_row(void *state,
                                int level,
                                const char *key,
                                size_t key_len,
                                const char *value,
                                size_t value_len,
                                char **new_value,
                                size_t *new_value_len,
                                unsigned char *value_changed)
{
    const struct shard_engine *engine = state;

    (void)level;
    (void)new_value;
    (void)new_value_len;
    *value_changed = 0;
    return engine->drop(engine->drop_context, fl_bytes(key, key_len), fl_bytes(value, value_len));
}
/* NOLINTEND(readability-function-size,readability-non-const-parameter) */

static void forget_filter(void *state)
{
    struct shard_engine *engine = state;

    /* Release: whoever frees the engine must be behind every row this filter looked at. */
    atomic_fetch_sub_explicit(&engine->filters, 1, memory_order_release);
}

static void forget_factory(void *state)
{
    (void)state;
}

static const char *filter_name(void *state)
{
    (void)state;
    return "flotilla.drop";
}

/* A filter per compaction: the library destroys each one, and the factory with the options. */
static rocksdb_compactionfilter_t *create_filter(void *state,
                                                 rocksdb_compactionfiltercontext_t *context)
{
    struct shard_engine *engine = state;

    (void)context;
    atomic_fetch_add_explicit(&engine->filters, 1, memory_order_relaxed);
    return rocksdb_compactionfilter_create(engine, forget_filter, filter_row, filter_name);
}

static void set_table_options(rocksdb_options_t *o, const struct shard_engine_options *options)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

    if (options->block_cache_bytes != 0) {
        rocksdb_cache_t *cache = rocksdb_cache_create_lru(options->block_cache_bytes);

        rocksdb_block_based_options_set_block_cache(table, cache);
        rocksdb_cache_destroy(cache); /* the table options hold it */
    } else {
        rocksdb_block_based_options_set_no_block_cache(table, 1);
    }
    if (options->bloom_bits != 0) {
        /* The table options take the policy over. */
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(options->bloom_bits));
    }
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_memtable_options(rocksdb_options_t *o, const struct shard_engine_options *options)
{
    rocksdb_options_set_write_buffer_size(o, options->memtable_bytes);
    rocksdb_options_set_max_write_buffer_number(o, (int)options->memtable_count);
    /* One writer at a time in every use of the engine: the parallel insert only costs. */
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    if (options->memtable_vector) {
        rocksdb_options_set_memtable_vector_rep(o);
    } else if (options->bloom_bits != 0) {
        /* A look-up of a new key then skips the search in the memtable. */
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, MEMTABLE_BLOOM_RATIO);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    }
}

static rocksdb_options_t *create_options(bool insert_hint)
{
    rocksdb_options_t *defaults = rocksdb_options_create();
    rocksdb_options_t *options = rocksdb_options_create();
    char *error = NULL;

    rocksdb_get_options_from_string(defaults, insert_hint ? INSERT_HINT : "", options, &error);
    fl_assert(error == NULL);
    rocksdb_options_destroy(defaults);
    return options;
}

static rocksdb_options_t *make_options(struct shard_engine *engine,
                                       const struct shard_engine_options *options)
{
    rocksdb_options_t *o = create_options(options->insert_hint);

    rocksdb_options_set_create_if_missing(o, options->create);
    rocksdb_options_set_paranoid_checks(o, 1);
    rocksdb_options_set_max_background_jobs(o, (int)options->background_jobs);
    rocksdb_options_set_max_open_files(o, options->open_files_max);
    rocksdb_options_set_info_log_level(o, LOG_LEVEL_WARN);
    rocksdb_options_set_max_log_file_size(o, LOG_FILE_BYTES);
    rocksdb_options_set_keep_log_file_num(o, LOG_FILES);
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_wal_recovery_mode(o,
                                          options->wal == SHARD_WAL_EXACT
                                              ? rocksdb_absolute_consistency_recovery
                                              : rocksdb_tolerate_corrupted_tail_records_recovery);
    set_memtable_options(o, options);
    set_table_options(o, options);
    if (options->drop != NULL) {
        rocksdb_options_set_compaction_filter_factory(
            o,
            rocksdb_compactionfilterfactory_create(
                engine, forget_factory, create_filter, filter_name));
    }
    return o;
}

static void make_call_options(struct shard_engine *engine, enum shard_wal wal)
{
    engine->read = rocksdb_readoptions_create();
    engine->read_durable = rocksdb_readoptions_create();
    rocksdb_readoptions_set_read_tier(engine->read_durable, TIER_PERSISTED);
    engine->write = rocksdb_writeoptions_create();
    engine->write_sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(engine->write, wal == SHARD_WAL_NONE);
    rocksdb_writeoptions_disable_WAL(engine->write_sync, wal == SHARD_WAL_NONE);
    rocksdb_writeoptions_set_sync(engine->write_sync, wal != SHARD_WAL_NONE);
    engine->flush_wait = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(engine->flush_wait, 1);
    engine->flush_start = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(engine->flush_start, 0);
    engine->env = rocksdb_envoptions_create();
    engine->ingest = rocksdb_ingestexternalfileoptions_create();
    rocksdb_ingestexternalfileoptions_set_move_files(engine->ingest, 1);
    rocksdb_ingestexternalfileoptions_set_snapshot_consistency(engine->ingest, 1);
    rocksdb_ingestexternalfileoptions_set_allow_global_seqno(engine->ingest, 1);
    rocksdb_ingestexternalfileoptions_set_allow_blocking_flush(engine->ingest, 1);
}

static void free_engine(struct shard_engine *engine)
{
    rocksdb_ingestexternalfileoptions_destroy(engine->ingest);
    rocksdb_envoptions_destroy(engine->env);
    rocksdb_flushoptions_destroy(engine->flush_start);
    rocksdb_flushoptions_destroy(engine->flush_wait);
    rocksdb_writeoptions_destroy(engine->write_sync);
    rocksdb_writeoptions_destroy(engine->write);
    rocksdb_readoptions_destroy(engine->read_durable);
    rocksdb_readoptions_destroy(engine->read);
    rocksdb_options_destroy(engine->options);
    pthread_mutex_destroy(&engine->shared.lock);
    free(engine->path);
    free(engine);
}

static enum fl_status classify_open(const char *error, bool create)
{
    if (strstr(error, "lock") != NULL || strstr(error, "LOCK") != NULL) {
        return FL_LOCKED;
    }
    if (!create && strstr(error, "does not exist") != NULL) {
        return FL_NOT_FOUND;
    }
    return classify(error);
}

enum fl_status shard_engine_open(struct shard_engine **engine,
                                 const struct shard_engine_options *options,
                                 char *why,
                                 size_t why_bytes)
{
    struct shard_engine *e;
    char *error = NULL;
    enum fl_status status;

    fl_assert(options->wal_runway == 0 || options->wal != SHARD_WAL_NONE);
    fl_assert(options->memtable_count >= 2 && options->background_jobs >= 1);
    *engine = NULL;
    if (options->wal_runway != 0) {
        FL_TRY(shard_wal_settle(options->path, options->wal == SHARD_WAL_TORN, why, why_bytes));
    }
    e = fl_xcalloc(1, sizeof(*e));
    e->path = fl_xstrdup(options->path);
    e->insert_hint = options->insert_hint;
    e->drop = options->drop;
    e->drop_context = options->drop_context;
    e->recent_bytes = options->recent_bytes;
    e->recent_kind = options->recent_kind;
    pthread_mutex_init(&e->shared.lock, NULL);
    e->options = make_options(e, options);
    make_call_options(e, options->wal);
    e->db = rocksdb_open(e->options, e->path, &error);
    if (error != NULL) {
        status = classify_open(error, options->create);
        say(why, why_bytes, "%s: cannot be opened: %s", e->path, error);
        rocksdb_free(error);
        free_engine(e);
        return status;
    }
    shard_runway_init(&e->runway, e->path, options->wal_runway);
    *engine = e;
    return FL_OK;
}

void shard_engine_close(struct shard_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    fl_assert(atomic_load_explicit(&engine->live, memory_order_relaxed) == 0);
    rocksdb_close(engine->db);
    fl_assert(atomic_load_explicit(&engine->filters, memory_order_acquire) == 0);
    shard_runway_close(&engine->runway);
    free_engine(engine);
}

/* ---- reads ---- */

enum fl_status shard__get(struct shard_engine *engine,
                          const rocksdb_readoptions_t *read,
                          struct fl_bytes key,
                          struct shard_value *value)
{
    char *error = NULL;
    size_t len = 0;
    rocksdb_pinnableslice_t *slice =
        rocksdb_get_pinned(engine->db, read, shard__chars(key), key.len, &error);

    *value = (struct shard_value){0};
    if (error != NULL) {
        return shard__read_failed(engine, "get", error);
    }
    if (slice == NULL) {
        return FL_NOT_FOUND;
    }
    value->bytes.data = (const uint8_t *)rocksdb_pinnableslice_value(slice, &len);
    value->bytes.len = len;
    value->pin = slice;
    return FL_OK;
}

enum fl_status shard_engine_get(struct shard_engine *engine,
                                const struct shard_engine_snapshot *snapshot,
                                struct fl_bytes key,
                                struct shard_value *value)
{
    return shard__get(engine, snapshot != NULL ? snapshot->read : engine->read, key, value);
}

enum fl_status shard_engine_get_durable(struct shard_engine *engine,
                                        struct fl_bytes key,
                                        struct shard_value *value)
{
    return shard__get(engine, engine->read_durable, key, value);
}

void shard_value_release(struct shard_value *value)
{
    if (value->pin != NULL) {
        rocksdb_pinnableslice_destroy(value->pin);
    }
    *value = (struct shard_value){0};
}

struct shard_engine_snapshot *shard_engine_snapshot_create(struct shard_engine *engine)
{
    struct shard_engine_snapshot *snapshot = fl_xcalloc(1, sizeof(*snapshot));

    snapshot->engine = engine;
    snapshot->snapshot = rocksdb_create_snapshot(engine->db);
    snapshot->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_snapshot(snapshot->read, snapshot->snapshot);
    shard__hold(engine);
    return snapshot;
}

void shard_engine_snapshot_release(struct shard_engine_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    rocksdb_readoptions_destroy(snapshot->read);
    rocksdb_release_snapshot(snapshot->engine->db, snapshot->snapshot);
    shard__drop_hold(snapshot->engine);
    free(snapshot);
}

/* ---- durability and space ---- */

enum fl_status shard_engine_flush(struct shard_engine *engine, bool wait)
{
    char *error = NULL;

    FL_TRY(shard__stopped(engine));
    rocksdb_flush(engine->db, wait ? engine->flush_wait : engine->flush_start, &error);
    return error != NULL ? shard__write_failed(engine, "flush", error) : FL_OK;
}

uint64_t shard_engine_property(struct shard_engine *engine, const char *name)
{
    uint64_t value = 0;

    return rocksdb_property_int(engine->db, name, &value) == 0 ? value : 0;
}

uint64_t shard_engine_memtable_bytes(struct shard_engine *engine)
{
    return shard_engine_property(engine, "rocksdb.cur-size-active-mem-table");
}

uint64_t shard_engine_disk_bytes(struct shard_engine *engine)
{
    return shard_engine_property(engine, "rocksdb.live-sst-files-size");
}

uint64_t shard_engine_sequence(struct shard_engine *engine)
{
    return rocksdb_get_latest_sequence_number(engine->db);
}

uint64_t shard_engine_size(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end)
{
    const char *starts[1] = {shard__chars(start)};
    const char *ends[1] = {shard__chars(end)};
    size_t start_lens[1] = {start.len};
    size_t end_lens[1] = {end.len};
    uint64_t size = 0;
    char *error = NULL;

    rocksdb_approximate_sizes(engine->db, 1, starts, start_lens, ends, end_lens, &size, &error);
    if (error != NULL) {
        (void)shard__read_failed(engine, "size", error);
        return 0;
    }
    return size;
}

void shard_engine_compact(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end)
{
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();

    /* Force: the bottom level too, where the filter has not seen the newest compact revision. */
    rocksdb_compactoptions_set_bottommost_level_compaction(options, 2);
    rocksdb_compact_range_opt(engine->db,
                              options,
                              start.len != 0 ? shard__chars(start) : NULL,
                              start.len,
                              end.len != 0 ? shard__chars(end) : NULL,
                              end.len);
    rocksdb_compactoptions_destroy(options);
}
