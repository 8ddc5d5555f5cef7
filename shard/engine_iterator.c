/* Iterators over the engine's rows, and over those with a batch's own merged in. */
#include "raftgroup/base/assert.h"
#include "shard/engine_internal.h"

/* Engine rows, and for a scan the rows of the batch in key order; the batch's win. */
struct shard_iterator {
    struct shard_engine *engine;
    rocksdb_readoptions_t *read;
    rocksdb_iterator_t *it;
    uint8_t *bounds; /* memory RocksDB refers to */
    struct fl_bytes lower;
    const struct shard_batch *batch; /* NULL: engine rows only */
    struct shard_overlay_cursor own; /* the batch's rows within the bounds */
    bool at_own;                     /* the current row is the one `own` stands on */
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
    shard__hold(engine);
    return it;
}

struct shard_iterator *
shard_batch_scan(struct shard_batch *batch, struct fl_bytes lower, struct fl_bytes upper)
{
    struct shard_iterator *it;

    fl_assert(batch->overlay);
    shard__await_sealed(batch);
    it = shard_iterator_create(batch->engine, NULL, lower, upper);
    it->batch = batch;
    shard_overlay_cursor_init(&it->own, &batch->open.own, shard__encoding(batch), lower, upper);
    return it;
}

void shard_iterator_destroy(struct shard_iterator *it)
{
    if (it == NULL) {
        return;
    }
    rocksdb_iter_destroy(it->it);
    rocksdb_readoptions_destroy(it->read);
    shard__drop_hold(it->engine);
    shard_overlay_cursor_close(&it->own);
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
        switch (shard_overlay_cursor_turn(
            &it->own, shard__encoding(it->batch), it->base_valid, it->key)) {
        case SHARD_OVERLAY_SKIP_BASE:
            rocksdb_iter_next(it->it); /* the batch's version, or its deletion, stands for it */
            look_at_base(it);
            break;
        case SHARD_OVERLAY_BASE:
            it->at_own = false;
            it->valid = it->base_valid;
            return;
        case SHARD_OVERLAY_OWN:
            it->at_own = true;
            it->valid = true;
            return;
        }
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
    if (it->batch != NULL) {
        shard_overlay_cursor_seek(&it->own, shard__encoding(it->batch), key);
    }
    rocksdb_iter_seek(it->it, shard__chars(key), key.len);
    settle(it);
}

void shard_iterator_next(struct shard_iterator *it)
{
    fl_assert(it->valid);
    if (it->at_own) {
        shard_overlay_cursor_next(&it->own);
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
    return it->at_own
               ? shard_overlay_key(shard_overlay_cursor_row(&it->own), shard__encoding(it->batch))
               : it->key;
}

struct fl_bytes shard_iterator_value(const struct shard_iterator *it)
{
    const char *data;
    size_t len = 0;

    fl_assert(it->valid);
    if (it->at_own) {
        return shard_overlay_value(shard_overlay_cursor_row(&it->own), shard__encoding(it->batch));
    }
    data = rocksdb_iter_value(it->it, &len);
    return fl_bytes(data, len);
}

enum fl_status shard_iterator_status(const struct shard_iterator *it)
{
    char *error = NULL;

    rocksdb_iter_get_error(it->it, &error);
    return error != NULL ? shard__read_failed(it->engine, "iterate", error) : FL_OK;
}
