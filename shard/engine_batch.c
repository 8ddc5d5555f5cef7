/* Batches: built, read back, written. */
#include "raftgroup/base/assert.h"
#include "shard/engine_internal.h"

#define COPY_VALUE_BYTES_MAX 4096 /* larger values are gathered, not joined first */
#define SORTED_ROWS_MIN      16   /* a batch of fewer rows is written as it came */
/* .. and so is a larger one: only a deletion of very many keys makes it, in key order. */
#define SORTED_BYTES_MAX ((size_t)32 * 1024 * 1024)

/* ---- building ---- */

struct shard_batch *shard_batch_create(struct shard_engine *engine, bool overlay)
{
    struct shard_batch *batch = fl_xcalloc(1, sizeof(*batch));

    batch->engine = engine;
    batch->open.batch = rocksdb_writebatch_create();
    batch->sealed.batch = rocksdb_writebatch_create();
    batch->sorted = rocksdb_writebatch_create();
    batch->overlay = overlay;
    if (overlay) {
        shard_overlay_init(&batch->open.own);
        shard_overlay_init(&batch->sealed.own);
    }
    pthread_mutex_init(&batch->shared.lock, NULL);
    pthread_cond_init(&batch->shared.changed, NULL);
    shard_recent_init(&batch->recent, overlay ? engine->recent_bytes : 0);
    shard__hold(engine);
    return batch;
}

void shard_batch_destroy(struct shard_batch *batch)
{
    if (batch == NULL) {
        return;
    }
    shard__await_sealed(batch);
    rocksdb_writebatch_destroy(batch->open.batch);
    rocksdb_writebatch_destroy(batch->sealed.batch);
    rocksdb_writebatch_destroy(batch->sorted);
    shard__drop_hold(batch->engine);
    shard_recent_close(&batch->recent);
    fl_writer_close(&batch->join);
    shard_overlay_close(&batch->open.own);
    shard_overlay_close(&batch->sealed.own);
    pthread_cond_destroy(&batch->shared.changed);
    pthread_mutex_destroy(&batch->shared.lock);
    free(batch);
}

void shard_batch_clear(struct shard_batch *batch)
{
    rocksdb_writebatch_clear(batch->open.batch);
    shard_overlay_clear(&batch->open.own);
}

struct shard_engine *shard_batch_engine(const struct shard_batch *batch)
{
    return batch->engine;
}

/* RocksDB's encoding of what was written. */
static struct fl_bytes encoding_of(const struct shard_writes *writes)
{
    size_t len;
    const char *data = rocksdb_writebatch_data(writes->batch, &len);

    return fl_bytes(data, len);
}

struct fl_bytes shard__encoding(const struct shard_batch *batch)
{
    return encoding_of(&batch->open);
}

size_t shard_batch_count(const struct shard_batch *batch)
{
    return (size_t)rocksdb_writebatch_count(batch->open.batch);
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
        batch->open.batch, shard__chars(key), key.len, shard__chars(value), value.len);
    if (batch->overlay) {
        shard_overlay_note(&batch->open.own, shard__encoding(batch), key, value.len, false);
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
    rocksdb_writebatch_putv(batch->open.batch, 1, key_list, key_lens, 2, values, value_lens);
    if (batch->overlay) {
        shard_overlay_note(
            &batch->open.own, shard__encoding(batch), key, value.len + value_rest.len, false);
    }
}

void shard_batch_delete(struct shard_batch *batch, struct fl_bytes key)
{
    rocksdb_writebatch_delete(batch->open.batch, shard__chars(key), key.len);
    if (batch->overlay) {
        shard_overlay_note(&batch->open.own, shard__encoding(batch), key, 0, true);
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
        batch->open.batch, shard__chars(start), start.len, shard__chars(end), end.len);
    if (batch->overlay) {
        shard_overlay_note_range(&batch->open.own, shard__encoding(batch), start, end);
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

/* ---- writing ---- */

/* What is written: the last row of every key in key order, where the overlay knows them and no
 * deleted range makes order matter. The engine's search for a place then begins beside the last
 * one (insert_hint), and rows replaced within the batch are never written. */
static rocksdb_writebatch_t *in_key_order(struct shard_batch *batch,
                                          const struct shard_writes *writes)
{
    struct fl_bytes encoding = encoding_of(writes);
    struct shard_overlay_cursor cursor;

    if (!batch->overlay || writes->own.range_count != 0 ||
        writes->own.row_count < SORTED_ROWS_MIN || encoding.len > SORTED_BYTES_MAX) {
        return writes->batch;
    }
    rocksdb_writebatch_clear(batch->sorted);
    shard_overlay_cursor_init(
        &cursor, &writes->own, encoding, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
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

static enum fl_status
write_out(struct shard_batch *batch, const struct shard_writes *writes, bool sync)
{
    struct shard_engine *engine = batch->engine;
    char *error = NULL;

    FL_TRY(shard__stopped(engine));
    shard_runway_begin(&engine->runway);
    rocksdb_write(
        engine->db, sync ? engine->write_sync : engine->write, in_key_order(batch, writes), &error);
    shard_runway_extend(&engine->runway);
    return error != NULL ? shard__write_failed(engine, "write", error) : FL_OK;
}

/* The open writes are, or are about to be, what a look-up finds. */
static void remember(struct shard_batch *batch)
{
    const struct shard_overlay *own = &batch->open.own;

    if (!shard__count_commit(batch->engine, &batch->commits) || own->range_count != 0) {
        shard_recent_forget(&batch->recent);
    }
    if (own->range_count == 0) {
        shard_overlay_remember(
            own, shard__encoding(batch), batch->engine->recent_kind, &batch->recent);
    }
}

void shard__await_sealed(struct shard_batch *batch)
{
    if (!batch->is_sealed) {
        return;
    }
    pthread_mutex_lock(&batch->shared.lock);
    while (!batch->shared.written) {
        pthread_cond_wait(&batch->shared.changed, &batch->shared.lock);
    }
    pthread_mutex_unlock(&batch->shared.lock);
}

/* Makes room for the next seal. Batches are written in order (D3). */
static void unseal(struct shard_batch *batch)
{
    if (batch->is_sealed) {
        shard__await_sealed(batch);
        batch->shared.written = false; /* nobody else looks now */
        rocksdb_writebatch_clear(batch->sealed.batch);
        shard_overlay_clear(&batch->sealed.own);
        batch->is_sealed = false;
    }
}

enum fl_status shard_batch_commit(struct shard_batch *batch, bool sync)
{
    enum fl_status status;

    unseal(batch);
    status = shard__stopped(batch->engine);
    if (status == FL_OK && shard_batch_count(batch) != 0) {
        status = write_out(batch, &batch->open, sync);
        if (status == FL_OK) {
            remember(batch);
        } else {
            (void)shard__count_commit(batch->engine, &batch->commits);
            shard_recent_forget(&batch->recent);
        }
    }
    shard_batch_clear(batch);
    return status;
}

bool shard_batch_seal(struct shard_batch *batch)
{
    struct shard_writes writes;

    fl_assert(batch->overlay);
    unseal(batch);
    if (shard_batch_count(batch) == 0 || batch->open.own.range_count != 0) {
        return false;
    }
    remember(batch);
    writes = batch->open;
    batch->open = batch->sealed;
    batch->sealed = writes;
    batch->is_sealed = true;
    return true;
}

enum fl_status shard_batch_write_sealed(struct shard_batch *batch)
{
    enum fl_status status = write_out(batch, &batch->sealed, false);

    pthread_mutex_lock(&batch->shared.lock);
    batch->shared.written = true;
    pthread_cond_signal(&batch->shared.changed);
    pthread_mutex_unlock(&batch->shared.lock);
    return status;
}

/* ---- reading back ---- */

/* A row remembered from an earlier commit, if nobody else has committed since. */
static bool
recall(const struct shard_batch *batch, uint32_t hash, struct fl_bytes key, struct fl_bytes *value)
{
    return atomic_load_explicit(&batch->engine->commits, memory_order_acquire) == batch->commits &&
           shard_recent_get(&batch->recent, hash, key, value);
}

/* Whether the writes decide about `key`: then *status is FL_OK with a value, or FL_NOT_FOUND. */
static bool written(const struct shard_writes *writes,
                    uint32_t hash,
                    struct fl_bytes key,
                    struct shard_value *value,
                    enum fl_status *status)
{
    struct fl_bytes encoding = encoding_of(writes);
    const struct shard_overlay_row *row = shard_overlay_find(&writes->own, encoding, hash, key);

    if (row == NULL) {
        return false;
    }
    *status = row->deleted ? FL_NOT_FOUND : FL_OK;
    if (!row->deleted) {
        value->bytes = shard_overlay_value(row, encoding);
    }
    return true;
}

enum fl_status
shard_batch_get(struct shard_batch *batch, struct fl_bytes key, struct shard_value *value)
{
    uint32_t hash = shard_overlay_hash(key);
    enum fl_status status = FL_OK;

    fl_assert(batch->overlay);
    *value = (struct shard_value){0};
    if (written(&batch->open, hash, key, value, &status)) {
        return status;
    }
    if (shard_overlay_hides(&batch->open.own, key)) {
        return FL_NOT_FOUND;
    }
    if (recall(batch, hash, key, &value->bytes)) {
        return FL_OK;
    }
    if (batch->is_sealed && written(&batch->sealed, hash, key, value, &status)) {
        return status;
    }
    return shard__get(batch->engine, batch->engine->read, key, value);
}
