/* The engine over RocksDB's C interface: opening, errors, batches, look-ups, durability. Iterators
 * and files are beside it. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"
#include "shard/engine_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include <rocksdb/c.h>

#define TIER_PERSISTED       2 /* rocksdb::ReadTier::kPersistedTier */
#define LOG_LEVEL_WARN       2 /* rocksdb::InfoLogLevel */
#define LOG_FILE_BYTES       ((size_t)4 * 1024 * 1024)
#define LOG_FILES            4
#define COPY_VALUE_BYTES_MAX 4096 /* larger values are gathered, not joined first */
#define SORTED_ROWS_MIN      16   /* a batch of fewer rows is written as it came */
/* .. and so is a larger one: only a deletion of very many keys makes it, in key order. */
#define SORTED_BYTES_MAX ((size_t)8 * 1024 * 1024)
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

/* ---- batches ---- */

struct shard_batch *shard_batch_create(struct shard_engine *engine, bool overlay)
{
    struct shard_batch *batch = fl_xcalloc(1, sizeof(*batch));

    batch->engine = engine;
    batch->batch = rocksdb_writebatch_create();
    batch->sorted = rocksdb_writebatch_create();
    batch->overlay = overlay;
    if (overlay) {
        shard_overlay_init(&batch->own);
    }
    shard_recent_init(&batch->recent, overlay ? engine->recent_bytes : 0);
    shard__hold(engine);
    return batch;
}

void shard_batch_destroy(struct shard_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    rocksdb_writebatch_destroy(batch->batch);
    rocksdb_writebatch_destroy(batch->sorted);
    shard__drop_hold(batch->engine);
    shard_recent_close(&batch->recent);
    fl_writer_close(&batch->join);
    shard_overlay_close(&batch->own);
    free(batch);
}

void shard_batch_clear(struct shard_batch *batch)
{
    rocksdb_writebatch_clear(batch->batch);
    shard_overlay_clear(&batch->own);
}

struct shard_engine *shard_batch_engine(const struct shard_batch *batch)
{
    return batch->engine;
}

struct fl_bytes shard__encoding(const struct shard_batch *batch)
{
    size_t len;
    const char *data = rocksdb_writebatch_data(batch->batch, &len);

    return fl_bytes(data, len);
}

size_t shard_batch_count(const struct shard_batch *batch)
{
    return (size_t)rocksdb_writebatch_count(batch->batch);
}

size_t shard_batch_bytes(const struct shard_batch *batch)
{
    return shard__encoding(batch).len;
}

/* Does the slice lie inside the batch, whose memory moves when it grows? */
static bool is_inside(const struct shard_batch *batch, struct fl_bytes bytes)
{
    struct fl_bytes all = shard__encoding(batch);

    return bytes.len != 0 && bytes.data >= all.data && bytes.data < all.data + all.len;
}

void shard_batch_put(struct shard_batch *batch, struct fl_bytes key, struct fl_bytes value)
{
    fl_assert(!is_inside(batch, key));
    if (is_inside(batch, value)) {
        fl_writer_reset(&batch->join);
        fl_write_raw(&batch->join, value);
        value = fl_writer_bytes(&batch->join);
    }
    rocksdb_writebatch_put(
        batch->batch, shard__chars(key), key.len, shard__chars(value), value.len);
    if (batch->overlay) {
        shard_overlay_note(&batch->own, shard__encoding(batch), key, value.len, false);
    }
}

void shard_batch_put2(struct shard_batch *batch,
                      struct fl_bytes key,
                      struct fl_bytes value,
                      struct fl_bytes value_rest)
{
    const char *key_list[1] = {shard__chars(key)};
    size_t key_lens[1] = {key.len};
    const char *values[2] = {shard__chars(value), shard__chars(value_rest)};
    size_t value_lens[2] = {value.len, value_rest.len};

    if (value.len + value_rest.len <= COPY_VALUE_BYTES_MAX || is_inside(batch, value_rest)) {
        fl_writer_reset(&batch->join);
        fl_write_raw(&batch->join, value);
        fl_write_raw(&batch->join, value_rest);
        shard_batch_put(batch, key, fl_writer_bytes(&batch->join));
        return;
    }
    rocksdb_writebatch_putv(batch->batch, 1, key_list, key_lens, 2, values, value_lens);
    if (batch->overlay) {
        shard_overlay_note(
            &batch->own, shard__encoding(batch), key, value.len + value_rest.len, false);
    }
}

void shard_batch_delete(struct shard_batch *batch, struct fl_bytes key)
{
    rocksdb_writebatch_delete(batch->batch, shard__chars(key), key.len);
    if (batch->overlay) {
        shard_overlay_note(&batch->own, shard__encoding(batch), key, 0, true);
    }
}

/* The rows of [start, end), one deletion each. They are noted first: the batch moves under a scan
 * when it grows. */
static void delete_rows(struct shard_batch *batch, struct fl_bytes start, struct fl_bytes end)
{
    struct shard_iterator *it = batch->overlay
                                    ? shard_batch_scan(batch, start, end)
                                    : shard_iterator_create(batch->engine, NULL, start, end);
    struct fl_writer keys;
    struct fl_reader reader;
    enum fl_status status;

    fl_writer_init(&keys);
    for (shard_iterator_first(it); shard_iterator_valid(it); shard_iterator_next(it)) {
        fl_write_bytes(&keys, shard_iterator_key(it));
    }
    status = shard_iterator_status(it);
    shard_iterator_destroy(it);
    reader = fl_reader(fl_writer_bytes(&keys));
    while (status == FL_OK && fl_reader_left(&reader) != 0) {
        shard_batch_delete(batch, fl_read_bytes(&reader));
    }
    fl_writer_close(&keys);
    if (status != FL_OK) {
        shard_engine_stop(batch->engine, status, "rows to delete cannot be read");
    }
}

void shard_batch_delete_range(struct shard_batch *batch, struct fl_bytes start, struct fl_bytes end)
{
    if (batch->engine->insert_hint) {
        fl_assert(batch->overlay || shard_batch_count(batch) == 0);
        delete_rows(batch, start, end);
        return;
    }
    rocksdb_writebatch_delete_range(
        batch->batch, shard__chars(start), start.len, shard__chars(end), end.len);
    if (batch->overlay) {
        shard_overlay_note_range(&batch->own, shard__encoding(batch), start, end);
    }
}

/* Release and acquire: who sees the number of a commit is behind that commit. */
bool shard__count_commit(struct shard_engine *engine, uint64_t *seen)
{
    uint64_t before = atomic_fetch_add_explicit(&engine->commits, 1, memory_order_acq_rel);
    bool alone = before == *seen;

    *seen = before + 1;
    return alone;
}

/* What is written: the last row of every key in key order, where the overlay knows them and no
 * deleted range makes order matter. The engine's search for a place then begins beside the last
 * one (INSERT_HINT), and rows replaced within the batch are never written. */
static rocksdb_writebatch_t *in_key_order(struct shard_batch *batch)
{
    struct fl_bytes encoding = shard__encoding(batch);
    struct shard_overlay_cursor cursor;

    if (!batch->overlay || batch->own.range_count != 0 || batch->own.row_count < SORTED_ROWS_MIN ||
        encoding.len > SORTED_BYTES_MAX) {
        return batch->batch;
    }
    rocksdb_writebatch_clear(batch->sorted);
    shard_overlay_cursor_init(&cursor, &batch->own, encoding, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    for (; cursor.next < cursor.count; shard_overlay_cursor_next(&cursor)) {
        const struct shard_overlay_row *row = shard_overlay_cursor_row(&cursor);
        struct fl_bytes key = shard_overlay_key(row, encoding);
        struct fl_bytes value = shard_overlay_value(row, encoding);

        if (row->deleted) {
            rocksdb_writebatch_delete(batch->sorted, shard__chars(key), key.len);
        } else {
            rocksdb_writebatch_put(
                batch->sorted, shard__chars(key), key.len, shard__chars(value), value.len);
        }
    }
    shard_overlay_cursor_close(&cursor);
    return batch->sorted;
}

enum fl_status shard_batch_commit(struct shard_batch *batch, bool sync)
{
    struct shard_engine *engine = batch->engine;
    char *error = NULL;
    enum fl_status status = shard__stopped(engine);

    if (status == FL_OK && shard_batch_count(batch) != 0) {
        rocksdb_write(
            engine->db, sync ? engine->write_sync : engine->write, in_key_order(batch), &error);
        if (error != NULL) {
            status = shard__write_failed(engine, "write", error);
        }
        shard_runway_extend(&engine->runway);
        if (!shard__count_commit(engine, &batch->commits) || status != FL_OK ||
            batch->own.range_count != 0) {
            shard_recent_forget(&batch->recent);
        }
        if (status == FL_OK && batch->own.range_count == 0) {
            shard_overlay_remember(
                &batch->own, shard__encoding(batch), engine->recent_kind, &batch->recent);
        }
    }
    shard_batch_clear(batch);
    return status;
}

/* ---- reads ---- */

static enum fl_status get(struct shard_engine *engine,
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
    return get(engine, snapshot != NULL ? snapshot->read : engine->read, key, value);
}

enum fl_status shard_engine_get_durable(struct shard_engine *engine,
                                        struct fl_bytes key,
                                        struct shard_value *value)
{
    return get(engine, engine->read_durable, key, value);
}

/* A row remembered from an earlier commit, if nobody else has committed since. */
static bool
recall(const struct shard_batch *batch, uint32_t hash, struct fl_bytes key, struct fl_bytes *value)
{
    return atomic_load_explicit(&batch->engine->commits, memory_order_acquire) == batch->commits &&
           shard_recent_get(&batch->recent, hash, key, value);
}

enum fl_status
shard_batch_get(struct shard_batch *batch, struct fl_bytes key, struct shard_value *value)
{
    uint32_t hash = shard_overlay_hash(key);
    const struct shard_overlay_row *row;

    fl_assert(batch->overlay);
    *value = (struct shard_value){0};
    row = shard_overlay_find(&batch->own, shard__encoding(batch), hash, key);
    if (row != NULL) {
        if (row->deleted) {
            return FL_NOT_FOUND;
        }
        value->bytes = shard_overlay_value(row, shard__encoding(batch));
        return FL_OK;
    }
    if (shard_overlay_hides(&batch->own, key)) {
        return FL_NOT_FOUND;
    }
    if (recall(batch, hash, key, &value->bytes)) {
        return FL_OK;
    }
    return get(batch->engine, batch->engine->read, key, value);
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
