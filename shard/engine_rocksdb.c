/* The engine over RocksDB's C interface; the only file that includes it.
 *
 * A batch with overlay remembers where each of its rows sits inside RocksDB's own encoding of the
 * batch, so reading back costs no copy: the value of a put is always the tail of what the put
 * appended, and the key lies before it with the length of the value in between. Both are checked.
 *
 * Handles are exact because Debian's library has its assertions on: everything created is destroyed
 * before the database is closed (live counts it). */
#include "shard/engine.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/log.h"
#include "shard/recent.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include <rocksdb/c.h>

#define TIER_PERSISTED       2 /* rocksdb::ReadTier::kPersistedTier */
#define LOG_LEVEL_WARN       2 /* rocksdb::InfoLogLevel */
#define LOG_FILE_BYTES       ((size_t)4 * 1024 * 1024)
#define LOG_FILES            4
#define STATUS_SLOTS_MIN     64
#define FAULT_BYTES          1024
#define COPY_VALUE_BYTES_MAX 4096 /* larger values are gathered, not joined first */

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
        char why[FAULT_BYTES];
    } shared;
};

struct shard_engine_snapshot {
    struct shard_engine *engine;
    const rocksdb_snapshot_t *snapshot;
    rocksdb_readoptions_t *read;
};

struct shard_file {
    struct shard_engine *engine;
    rocksdb_sstfilewriter_t *writer;
    char *path;
    uint64_t bytes;
};

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

/* Turns RocksDB's message into a status and frees it; logs it with the path. Does not stop. */
static enum fl_status read_failed(const struct shard_engine *engine, const char *what, char *error)
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

static enum fl_status write_failed(struct shard_engine *engine, const char *what, char *error)
{
    enum fl_status status = stop(engine, what, classify(error), error);

    rocksdb_free(error);
    return status;
}

static enum fl_status stopped(struct shard_engine *engine)
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

static void hold(struct shard_engine *engine)
{
    /* Relaxed: a count that orders nothing; close happens after everything else anyway. */
    atomic_fetch_add_explicit(&engine->live, 1, memory_order_relaxed);
}

static void drop_hold(struct shard_engine *engine)
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

/* NOLINTNEXTLINE(readability-function-size,readability-non-const-parameter): the library's type */
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
        rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, 0.02);
        rocksdb_options_set_memtable_whole_key_filtering(o, 1);
    }
}

static rocksdb_options_t *make_options(struct shard_engine *engine,
                                       const struct shard_engine_options *options)
{
    rocksdb_options_t *o = rocksdb_options_create();

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
    struct shard_engine *e = fl_xcalloc(1, sizeof(*e));
    char *error = NULL;
    enum fl_status status;

    fl_assert(options->memtable_count >= 2 && options->background_jobs >= 1);
    *engine = NULL;
    e->path = fl_xstrdup(options->path);
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
    free_engine(engine);
}

/* ---- batches ---- */

/* A row of the batch: where its key and value lie in the encoding. */
struct overlay_row {
    uint32_t hash;
    uint32_t slot; /* of the table */
    uint32_t key_len;
    uint32_t value_len;
    size_t key_at;
    size_t value_at;
    bool deleted;
};

struct deleted_range {
    size_t start_at; /* in `range_keys` */
    size_t start_len;
    size_t end_len;
};

struct shard_batch {
    struct shard_engine *engine;
    rocksdb_writebatch_t *batch;
    struct fl_writer join; /* scratch for put2 */
    bool overlay;
    struct overlay_row *rows; /* one per key, in order of first write */
    size_t row_count;
    size_t row_capacity;
    uint32_t *table; /* open addressing: row number + 1, 0 free; a power of two */
    size_t table_size;
    struct deleted_range *ranges;
    size_t range_count;
    size_t range_capacity;
    struct fl_writer range_keys;
    struct shard_recent recent; /* committed rows, valid while `commits` is the engine's */
    uint64_t commits;
};

struct shard_batch *shard_batch_create(struct shard_engine *engine, bool overlay)
{
    struct shard_batch *batch = fl_xcalloc(1, sizeof(*batch));

    batch->engine = engine;
    batch->batch = rocksdb_writebatch_create();
    batch->overlay = overlay;
    if (overlay) {
        batch->table_size = STATUS_SLOTS_MIN;
        batch->table = fl_xcalloc(batch->table_size, sizeof(*batch->table));
    }
    shard_recent_init(&batch->recent, overlay ? engine->recent_bytes : 0);
    hold(engine);
    return batch;
}

void shard_batch_destroy(struct shard_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    rocksdb_writebatch_destroy(batch->batch);
    drop_hold(batch->engine);
    shard_recent_close(&batch->recent);
    fl_writer_close(&batch->join);
    fl_writer_close(&batch->range_keys);
    free(batch->ranges);
    free(batch->table);
    free(batch->rows);
    free(batch);
}

void shard_batch_clear(struct shard_batch *batch)
{
    rocksdb_writebatch_clear(batch->batch);
    for (size_t i = 0; i < batch->row_count; i++) {
        batch->table[batch->rows[i].slot] = 0;
    }
    batch->row_count = 0;
    batch->range_count = 0;
    fl_writer_reset(&batch->range_keys);
}

struct shard_engine *shard_batch_engine(const struct shard_batch *batch)
{
    return batch->engine;
}

static struct fl_bytes encoding(const struct shard_batch *batch)
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
    return encoding(batch).len;
}

static struct fl_bytes row_key(const struct shard_batch *batch, const struct overlay_row *row)
{
    return fl_bytes(encoding(batch).data + row->key_at, row->key_len);
}

/* The slot of `key`: taken by its row, or free. */
static size_t find_slot(const struct shard_batch *batch, struct fl_bytes key, uint32_t hash)
{
    const uint8_t *data = encoding(batch).data;
    size_t mask = batch->table_size - 1;
    size_t slot = hash & mask;

    while (batch->table[slot] != 0) {
        const struct overlay_row *row = &batch->rows[batch->table[slot] - 1];

        if (row->hash == hash && fl_bytes_equal(fl_bytes(data + row->key_at, row->key_len), key)) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void grow_table(struct shard_batch *batch)
{
    size_t size = batch->table_size * 2;
    uint32_t *table = fl_xcalloc(size, sizeof(*table));

    for (size_t i = 0; i < batch->row_count; i++) {
        size_t slot = batch->rows[i].hash & (size - 1);

        while (table[slot] != 0) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (uint32_t)i + 1;
        batch->rows[i].slot = (uint32_t)slot;
    }
    free(batch->table);
    batch->table = table;
    batch->table_size = size;
}

static uint32_t hash_of(struct fl_bytes key)
{
    return fl_crc32c(0, key.data, key.len);
}

static size_t varint_len(size_t v)
{
    size_t len = 1;

    while (v >= 0x80) {
        v >>= 7;
        len++;
    }
    return len;
}

/* Notes the write that was just appended to the encoding. */
static void
note_write(struct shard_batch *batch, struct fl_bytes key, size_t value_len, bool deleted)
{
    uint32_t hash = hash_of(key);
    size_t slot = find_slot(batch, key, hash);
    struct fl_bytes all = encoding(batch);
    struct overlay_row *row;

    fl_assert(key.len <= UINT32_MAX && value_len <= UINT32_MAX &&
              batch->row_count < UINT32_MAX - 1);
    if (batch->table[slot] == 0) {
        fl_grow(&batch->rows, &batch->row_capacity, batch->row_count + 1, sizeof(*batch->rows));
        batch->rows[batch->row_count++] =
            (struct overlay_row){.hash = hash, .slot = (uint32_t)slot};
        batch->table[slot] = (uint32_t)batch->row_count;
    }
    row = &batch->rows[batch->table[slot] - 1];
    row->deleted = deleted;
    row->key_len = (uint32_t)key.len;
    row->value_len = (uint32_t)value_len;
    row->value_at = all.len - value_len;
    row->key_at = all.len - key.len;
    if (!deleted) {
        row->key_at -= value_len + varint_len(value_len);
    }
    fl_assert(fl_bytes_equal(fl_bytes(all.data + row->key_at, key.len), key));
    if (batch->row_count * 2 > batch->table_size) {
        grow_table(batch);
    }
}

static const char *chars(struct fl_bytes bytes)
{
    return (const char *)(bytes.data != NULL ? bytes.data : (const uint8_t *)"");
}

/* Does the slice lie inside the batch, whose memory moves when it grows? */
static bool is_inside(const struct shard_batch *batch, struct fl_bytes bytes)
{
    struct fl_bytes all = encoding(batch);

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
    rocksdb_writebatch_put(batch->batch, chars(key), key.len, chars(value), value.len);
    if (batch->overlay) {
        note_write(batch, key, value.len, false);
    }
}

void shard_batch_put2(struct shard_batch *batch,
                      struct fl_bytes key,
                      struct fl_bytes value,
                      struct fl_bytes value_rest)
{
    const char *key_list[1] = {chars(key)};
    size_t key_lens[1] = {key.len};
    const char *values[2] = {chars(value), chars(value_rest)};
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
        note_write(batch, key, value.len + value_rest.len, false);
    }
}

void shard_batch_delete(struct shard_batch *batch, struct fl_bytes key)
{
    rocksdb_writebatch_delete(batch->batch, chars(key), key.len);
    if (batch->overlay) {
        note_write(batch, key, 0, true);
    }
}

static bool within(struct fl_bytes key, struct fl_bytes start, struct fl_bytes end)
{
    return fl_bytes_compare(key, start) >= 0 && fl_bytes_compare(key, end) < 0;
}

void shard_batch_delete_range(struct shard_batch *batch, struct fl_bytes start, struct fl_bytes end)
{
    rocksdb_writebatch_delete_range(batch->batch, chars(start), start.len, chars(end), end.len);
    if (!batch->overlay) {
        return;
    }
    for (size_t i = 0; i < batch->row_count; i++) {
        if (within(row_key(batch, &batch->rows[i]), start, end)) {
            batch->rows[i].deleted = true;
            batch->rows[i].value_len = 0;
        }
    }
    fl_grow(&batch->ranges, &batch->range_capacity, batch->range_count + 1, sizeof(*batch->ranges));
    batch->ranges[batch->range_count++] =
        (struct deleted_range){batch->range_keys.len, start.len, end.len};
    fl_write_raw(&batch->range_keys, start);
    fl_write_raw(&batch->range_keys, end);
}

/* Does a range deletion of this batch hide what the engine holds under `key`? */
static bool is_range_deleted(const struct shard_batch *batch, struct fl_bytes key)
{
    for (size_t i = 0; i < batch->range_count; i++) {
        const struct deleted_range *range = &batch->ranges[i];
        const uint8_t *start = batch->range_keys.data + range->start_at;

        if (within(key,
                   fl_bytes(start, range->start_len),
                   fl_bytes(start + range->start_len, range->end_len))) {
            return true;
        }
    }
    return false;
}

/* Counts a change of the engine. Returns whether nobody else changed it since `seen`. Release and
 * acquire: who sees the number of a commit is behind that commit. */
static bool count_commit(struct shard_engine *engine, uint64_t *seen)
{
    uint64_t before = atomic_fetch_add_explicit(&engine->commits, 1, memory_order_acq_rel);
    bool alone = before == *seen;

    *seen = before + 1;
    return alone;
}

/* The rows of the batch are committed: they are what a look-up would now find. */
static void remember(struct shard_batch *batch)
{
    const uint8_t *data = encoding(batch).data;

    for (size_t i = 0; i < batch->row_count; i++) {
        const struct overlay_row *row = &batch->rows[i];
        struct fl_bytes key = fl_bytes(data + row->key_at, row->key_len);

        if (key.len == 0 || key.data[0] != batch->engine->recent_kind) {
            continue;
        }
        if (row->deleted) {
            shard_recent_remove(&batch->recent, row->hash, key);
        } else {
            shard_recent_put(
                &batch->recent, row->hash, key, fl_bytes(data + row->value_at, row->value_len));
        }
    }
}

enum fl_status shard_batch_commit(struct shard_batch *batch, bool sync)
{
    struct shard_engine *engine = batch->engine;
    char *error = NULL;
    enum fl_status status = stopped(engine);

    if (status == FL_OK && shard_batch_count(batch) != 0) {
        rocksdb_write(engine->db, sync ? engine->write_sync : engine->write, batch->batch, &error);
        if (error != NULL) {
            status = write_failed(engine, "write", error);
        }
        if (!count_commit(engine, &batch->commits) || status != FL_OK || batch->range_count != 0) {
            shard_recent_forget(&batch->recent);
        }
        if (status == FL_OK && batch->range_count == 0) {
            remember(batch);
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
        rocksdb_get_pinned(engine->db, read, chars(key), key.len, &error);

    *value = (struct shard_value){0};
    if (error != NULL) {
        return read_failed(engine, "get", error);
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
    uint32_t hash = hash_of(key);
    uint32_t number = batch->row_count != 0 ? batch->table[find_slot(batch, key, hash)] : 0;

    fl_assert(batch->overlay);
    *value = (struct shard_value){0};
    if (number != 0) {
        const struct overlay_row *row = &batch->rows[number - 1];

        if (row->deleted) {
            return FL_NOT_FOUND;
        }
        value->bytes = fl_bytes(encoding(batch).data + row->value_at, row->value_len);
        return FL_OK;
    }
    if (is_range_deleted(batch, key)) {
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
    hold(engine);
    return snapshot;
}

void shard_engine_snapshot_release(struct shard_engine_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    rocksdb_readoptions_destroy(snapshot->read);
    rocksdb_release_snapshot(snapshot->engine->db, snapshot->snapshot);
    drop_hold(snapshot->engine);
    free(snapshot);
}

/* ---- iterators ---- */

/* Engine rows, and for a scan the rows of the batch in key order; the batch's win. */
struct shard_iterator {
    struct shard_engine *engine;
    rocksdb_readoptions_t *read;
    rocksdb_iterator_t *it;
    uint8_t *bounds; /* memory RocksDB refers to */
    struct fl_bytes lower;
    const struct shard_batch *batch; /* NULL: engine rows only */
    uint32_t *own;                   /* numbers of the batch's rows within the bounds, sorted */
    size_t own_count;
    size_t own_next;
    bool at_own; /* the current row is own[own_next] */
    bool valid;
    struct fl_bytes key; /* of the engine's row, as far as it is positioned */
    bool base_valid;
};

struct shard_iterator *shard_iterator_create(struct shard_engine *engine,
                                             const struct shard_engine_snapshot *snapshot,
                                             struct fl_bytes lower,
                                             struct fl_bytes upper)
{
    struct shard_iterator *it = fl_xcalloc(1, sizeof(*it));

    it->engine = engine;
    it->bounds = fl_xmalloc(lower.len + upper.len);
    if (lower.len != 0) {
        memcpy(it->bounds, lower.data, lower.len);
    }
    if (upper.len != 0) {
        memcpy(it->bounds + lower.len, upper.data, upper.len);
    }
    it->lower = fl_bytes(it->bounds, lower.len);
    it->read = rocksdb_readoptions_create();
    if (snapshot != NULL) {
        rocksdb_readoptions_set_snapshot(it->read, snapshot->snapshot);
    }
    rocksdb_readoptions_set_iterate_lower_bound(it->read, (const char *)it->bounds, lower.len);
    if (upper.len != 0) {
        rocksdb_readoptions_set_iterate_upper_bound(
            it->read, (const char *)it->bounds + lower.len, upper.len);
    }
    it->it = rocksdb_create_iterator(engine->db, it->read);
    hold(engine);
    return it;
}

static int compare_rows(const void *va, const void *vb, void *context)
{
    const struct shard_batch *batch = context;

    return fl_bytes_compare(row_key(batch, &batch->rows[*(const uint32_t *)va]),
                            row_key(batch, &batch->rows[*(const uint32_t *)vb]));
}

struct shard_iterator *
shard_batch_scan(struct shard_batch *batch, struct fl_bytes lower, struct fl_bytes upper)
{
    struct shard_iterator *it = shard_iterator_create(batch->engine, NULL, lower, upper);
    size_t capacity = 0;

    fl_assert(batch->overlay);
    it->batch = batch;
    for (size_t i = 0; i < batch->row_count; i++) {
        struct fl_bytes key = row_key(batch, &batch->rows[i]);

        if (fl_bytes_compare(key, lower) >= 0 &&
            (upper.len == 0 || fl_bytes_compare(key, upper) < 0)) {
            fl_grow(&it->own, &capacity, it->own_count + 1, sizeof(*it->own));
            it->own[it->own_count++] = (uint32_t)i;
        }
    }
    if (it->own_count != 0) {
        qsort_r(it->own, it->own_count, sizeof(*it->own), compare_rows, batch);
    }
    return it;
}

void shard_iterator_destroy(struct shard_iterator *it)
{
    if (it == NULL) {
        return;
    }
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    drop_hold(it->engine);
    free(it->own);
    free(it->bounds);
    free(it);
}

static void look_at_base(struct shard_iterator *it)
{
    size_t len = 0;

    it->base_valid = rocksdb_iter_valid(it->it) != 0;
    if (it->base_valid) {
        it->key.data = (const uint8_t *)rocksdb_iter_key(it->it, &len);
        it->key.len = len;
    }
}

static const struct overlay_row *own_row(const struct shard_iterator *it)
{
    return it->own_next < it->own_count ? &it->batch->rows[it->own[it->own_next]] : NULL;
}

/* The batch's row the iterator stands on. */
static const struct overlay_row *current_own(const struct shard_iterator *it)
{
    fl_assert(it->own_next < it->own_count);
    return &it->batch->rows[it->own[it->own_next]];
}

/* Both sides are positioned at or after the wanted key: takes the smaller, skips what the batch
 * deleted or replaced. */
static void settle(struct shard_iterator *it)
{
    look_at_base(it);
    if (it->batch == NULL) {
        it->valid = it->base_valid;
        return;
    }
    for (;;) {
        const struct overlay_row *own = own_row(it);
        int order = 1;

        if (own != NULL) {
            order = it->base_valid ? fl_bytes_compare(row_key(it->batch, own), it->key) : -1;
        }
        if (order > 0 && it->base_valid && is_range_deleted(it->batch, it->key)) {
            rocksdb_iter_next(it->it);
        } else if (order > 0) {
            it->at_own = false;
            it->valid = it->base_valid;
            return;
        } else if (order == 0) {
            rocksdb_iter_next(it->it); /* the batch's version stands for it */
        } else if (own->deleted) {
            it->own_next++;
        } else {
            it->at_own = true;
            it->valid = true;
            return;
        }
        look_at_base(it);
    }
}

void shard_iterator_first(struct shard_iterator *it)
{
    shard_iterator_seek(it, it->lower);
}

void shard_iterator_last(struct shard_iterator *it)
{
    fl_assert(it->batch == NULL);
    rocksdb_iter_seek_to_last(it->it);
    settle(it);
}

void shard_iterator_seek(struct shard_iterator *it, struct fl_bytes key)
{
    size_t low = 0;
    size_t high = it->own_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (fl_bytes_compare(row_key(it->batch, &it->batch->rows[it->own[middle]]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    it->own_next = low;
    rocksdb_iter_seek(it->it, chars(key), key.len);
    settle(it);
}

void shard_iterator_next(struct shard_iterator *it)
{
    fl_assert(it->valid);
    if (it->at_own) {
        it->own_next++;
    } else {
        rocksdb_iter_next(it->it);
    }
    settle(it);
}

void shard_iterator_prev(struct shard_iterator *it)
{
    fl_assert(it->valid && it->batch == NULL);
    rocksdb_iter_prev(it->it);
    settle(it);
}

bool shard_iterator_valid(const struct shard_iterator *it)
{
    return it->valid;
}

struct fl_bytes shard_iterator_key(const struct shard_iterator *it)
{
    fl_assert(it->valid);
    return it->at_own ? row_key(it->batch, current_own(it)) : it->key;
}

struct fl_bytes shard_iterator_value(const struct shard_iterator *it)
{
    const char *data;
    size_t len = 0;

    fl_assert(it->valid);
    if (it->at_own) {
        const struct overlay_row *row = current_own(it);

        return fl_bytes(encoding(it->batch).data + row->value_at, row->value_len);
    }
    data = rocksdb_iter_value(it->it, &len);
    return fl_bytes(data, len);
}

enum fl_status shard_iterator_status(const struct shard_iterator *it)
{
    char *error = NULL;

    rocksdb_iter_get_error(it->it, &error);
    return error != NULL ? read_failed(it->engine, "iterate", error) : FL_OK;
}

/* ---- durability and space ---- */

enum fl_status shard_engine_flush(struct shard_engine *engine, bool wait)
{
    char *error = NULL;

    FL_TRY(stopped(engine));
    rocksdb_flush(engine->db, wait ? engine->flush_wait : engine->flush_start, &error);
    return error != NULL ? write_failed(engine, "flush", error) : FL_OK;
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
    const char *starts[1] = {chars(start)};
    const char *ends[1] = {chars(end)};
    size_t start_lens[1] = {start.len};
    size_t end_lens[1] = {end.len};
    uint64_t size = 0;
    char *error = NULL;

    rocksdb_approximate_sizes(engine->db, 1, starts, start_lens, ends, end_lens, &size, &error);
    if (error != NULL) {
        (void)read_failed(engine, "size", error);
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
                              start.len != 0 ? chars(start) : NULL,
                              start.len,
                              end.len != 0 ? chars(end) : NULL,
                              end.len);
    rocksdb_compactoptions_destroy(options);
}

/* ---- files ---- */

enum fl_status
shard_file_create(struct shard_engine *engine, const char *path, struct shard_file **file)
{
    struct shard_file *f = fl_xcalloc(1, sizeof(*f));
    char *error = NULL;

    *file = NULL;
    f->engine = engine;
    f->path = fl_xstrdup(path);
    f->writer = rocksdb_sstfilewriter_create(engine->env, engine->options);
    hold(engine);
    rocksdb_sstfilewriter_open(f->writer, path, &error);
    if (error != NULL) {
        enum fl_status status = read_failed(engine, "file create", error);

        shard_file_abort(f);
        return status;
    }
    *file = f;
    return FL_OK;
}

enum fl_status shard_file_put(struct shard_file *file, struct fl_bytes key, struct fl_bytes value)
{
    char *error = NULL;

    rocksdb_sstfilewriter_put(file->writer, chars(key), key.len, chars(value), value.len, &error);
    if (error != NULL) {
        return read_failed(file->engine, "file write", error);
    }
    file->bytes += key.len + value.len;
    return FL_OK;
}

enum fl_status
shard_file_delete_range(struct shard_file *file, struct fl_bytes start, struct fl_bytes end)
{
    char *error = NULL;

    rocksdb_sstfilewriter_delete_range(
        file->writer, chars(start), start.len, chars(end), end.len, &error);
    if (error != NULL) {
        return read_failed(file->engine, "file write", error);
    }
    file->bytes += start.len + end.len;
    return FL_OK;
}

uint64_t shard_file_bytes(const struct shard_file *file)
{
    return file->bytes;
}

enum fl_status shard_file_finish(struct shard_file *file)
{
    char *error = NULL;
    enum fl_status status = FL_INVALID;

    if (file->bytes != 0) {
        rocksdb_sstfilewriter_finish(file->writer, &error);
        status = error != NULL ? read_failed(file->engine, "file finish", error) : FL_OK;
    }
    shard_file_abort(file);
    return status;
}

void shard_file_abort(struct shard_file *file)
{
    if (file == NULL) {
        return;
    }
    rocksdb_sstfilewriter_destroy(file->writer);
    drop_hold(file->engine);
    free(file->path);
    free(file);
}

enum fl_status
shard_engine_ingest(struct shard_engine *engine, const char *const *paths, size_t count)
{
    uint64_t seen = 0;
    char *error = NULL;

    FL_TRY(stopped(engine));
    rocksdb_ingest_external_file(engine->db, paths, count, engine->ingest, &error);
    (void)count_commit(engine, &seen);
    return error != NULL ? write_failed(engine, "ingest", error) : FL_OK;
}
