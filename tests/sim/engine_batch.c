/* The engine in memory: batches, iterators, files to ingest. */
#include "tests/sim/engine_internal.h"

#include "raftgroup/base/assert.h"

/* ---- writes in a row ---- */

void sim__ops_add(struct sim__ops *ops,
                  enum sim__op_kind kind,
                  struct fl_bytes key,
                  struct fl_bytes value,
                  struct fl_bytes rest)
{
    struct sim__op *op = fl_xmalloc(sizeof(*op) + key.len + value.len + rest.len);
    uint8_t *at = op->bytes;

    op->next = NULL;
    op->kind = kind;
    op->key_len = key.len;
    op->value_len = value.len + rest.len;
    for (unsigned i = 0; i < 3; i++) {
        struct fl_bytes part = i == 0 ? key : i == 1 ? value : rest;

        if (part.len != 0) {
            memcpy(at, part.data, part.len);
        }
        at += part.len;
    }
    if (ops->last != NULL) {
        ops->last->next = op;
    } else {
        ops->first = op;
    }
    ops->last = op;
    ops->count++;
    ops->bytes += key.len + op->value_len;
}

void sim__ops_clear(struct sim__ops *ops)
{
    while (ops->first != NULL) {
        struct sim__op *next = ops->first->next;

        free(ops->first);
        ops->first = next;
    }
    *ops = (struct sim__ops){.count = 0};
}

/* The newest write that says something about `key`, or NULL. */
static const struct sim__op *find_op(const struct sim__ops *ops, struct fl_bytes key)
{
    const struct sim__op *found = NULL;

    for (const struct sim__op *op = ops->first; op != NULL; op = op->next) {
        if (op->kind == SIM__DELETE_RANGE ? fl_bytes_compare(sim__op_key(op), key) <= 0 &&
                                                fl_bytes_compare(key, sim__op_value(op)) < 0
                                          : fl_bytes_equal(sim__op_key(op), key)) {
            found = op;
        }
    }
    return found;
}

/* ---- batches ---- */

struct shard_batch *shard_batch_create(struct shard_engine *engine, bool overlay)
{
    struct shard_batch *batch = fl_xcalloc(1, sizeof(*batch));

    (void)overlay;
    batch->engine = engine;
    return batch;
}

void shard_batch_destroy(struct shard_batch *batch)
{
    if (batch != NULL) {
        sim__ops_clear(&batch->ops);
        free(batch);
    }
}

void shard_batch_clear(struct shard_batch *batch)
{
    sim__ops_clear(&batch->ops);
}

struct shard_engine *shard_batch_engine(const struct shard_batch *batch)
{
    return batch->engine;
}

size_t shard_batch_count(const struct shard_batch *batch)
{
    return batch->ops.count;
}

size_t shard_batch_bytes(const struct shard_batch *batch)
{
    return batch->ops.bytes;
}

void shard_batch_put(struct shard_batch *batch, struct fl_bytes key, struct fl_bytes value)
{
    sim__ops_add(&batch->ops, SIM__PUT, key, value, fl_bytes(NULL, 0));
}

void shard_batch_put2(struct shard_batch *batch,
                      struct fl_bytes key,
                      struct fl_bytes value,
                      struct fl_bytes value_rest)
{
    sim__ops_add(&batch->ops, SIM__PUT, key, value, value_rest);
}

void shard_batch_delete(struct shard_batch *batch, struct fl_bytes key)
{
    sim__ops_add(&batch->ops, SIM__DELETE, key, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
}

void shard_batch_delete_range(struct shard_batch *batch, struct fl_bytes start, struct fl_bytes end)
{
    sim__ops_add(&batch->ops, SIM__DELETE_RANGE, start, end, fl_bytes(NULL, 0));
}

enum fl_status shard_batch_commit(struct shard_batch *batch, bool sync)
{
    struct shard_engine *e = batch->engine;

    (void)sync;
    if (e->fault != FL_OK) {
        return e->fault;
    }
    if (batch->ops.count != 0) {
        e->write_seq = ++e->seq;
        for (const struct sim__op *op = batch->ops.first; op != NULL; op = op->next) {
            sim__apply_op(e, op);
        }
    }
    shard_batch_clear(batch);
    return FL_OK;
}

enum fl_status
shard_batch_get(struct shard_batch *batch, struct fl_bytes key, struct shard_value *value)
{
    const struct sim__op *op = find_op(&batch->ops, key);

    if (op == NULL) {
        return shard_engine_get(batch->engine, NULL, key, value);
    }
    if (op->kind != SIM__PUT) {
        return FL_NOT_FOUND;
    }
    *value = (struct shard_value){.bytes = sim__op_value(op), .pin = NULL};
    return FL_OK;
}

/* ---- iterators: everything in the bounds is looked up when they are made ---- */

struct item {
    struct fl_bytes key;
    struct fl_bytes value;
};

struct shard_iterator {
    struct shard_engine *engine;
    struct item *items;
    size_t count;
    size_t capacity;
    size_t at; /* == count: not valid */
};

static void add_item(struct shard_iterator *it, struct fl_bytes key, struct fl_bytes value)
{
    fl_grow(&it->items, &it->capacity, it->count + 1, sizeof(*it->items));
    it->items[it->count++] = (struct item){.key = key, .value = value};
}

struct shard_iterator *shard_iterator_create(struct shard_engine *engine,
                                             const struct shard_engine_snapshot *snapshot,
                                             struct fl_bytes lower,
                                             struct fl_bytes upper)
{
    struct shard_iterator *it = fl_xcalloc(1, sizeof(*it));
    uint64_t seq = snapshot != NULL ? snapshot->seq : UINT64_MAX;

    it->engine = engine;
    engine->pins++; /* rows and values stay where they are */
    for (size_t i = sim__lower_bound(engine, lower); i < engine->count; i++) {
        const struct sim__version *v = sim__visible(engine->rows[i], seq);
        struct fl_bytes key = sim__row_key(engine->rows[i]);

        if (upper.len != 0 && fl_bytes_compare(key, upper) >= 0) {
            break;
        }
        if (v != NULL) {
            add_item(it, key, fl_bytes(v->value, v->len));
        }
    }
    it->at = it->count;
    return it;
}

static int by_key(const void *a, const void *b)
{
    return fl_bytes_compare(((const struct item *)a)->key, ((const struct item *)b)->key);
}

struct shard_iterator *
shard_batch_scan(struct shard_batch *batch, struct fl_bytes lower, struct fl_bytes upper)
{
    struct shard_iterator *it = shard_iterator_create(batch->engine, NULL, lower, upper);
    size_t kept = 0;

    for (size_t i = 0; i < it->count; i++) {
        if (find_op(&batch->ops, it->items[i].key) == NULL) {
            it->items[kept++] = it->items[i];
        }
    }
    it->count = kept;
    for (const struct sim__op *op = batch->ops.first; op != NULL; op = op->next) {
        struct fl_bytes key = sim__op_key(op);

        if (op->kind == SIM__PUT && find_op(&batch->ops, key) == op &&
            fl_bytes_compare(key, lower) >= 0 &&
            (upper.len == 0 || fl_bytes_compare(key, upper) < 0)) {
            add_item(it, key, sim__op_value(op));
        }
    }
    if (it->count != 0) {
        qsort(it->items, it->count, sizeof(*it->items), by_key);
    }
    it->at = it->count;
    return it;
}

void shard_iterator_destroy(struct shard_iterator *it)
{
    if (it != NULL) {
        it->engine->pins--;
        free(it->items);
        free(it);
    }
}

void shard_iterator_first(struct shard_iterator *it)
{
    it->at = 0;
}

void shard_iterator_last(struct shard_iterator *it)
{
    it->at = it->count != 0 ? it->count - 1 : 0;
}

void shard_iterator_seek(struct shard_iterator *it, struct fl_bytes key)
{
    it->at = 0;
    while (it->at < it->count && fl_bytes_compare(it->items[it->at].key, key) < 0) {
        it->at++;
    }
}

void shard_iterator_next(struct shard_iterator *it)
{
    fl_assert(it->at < it->count);
    it->at++;
}

void shard_iterator_prev(struct shard_iterator *it)
{
    fl_assert(it->at < it->count);
    it->at = it->at != 0 ? it->at - 1 : it->count;
}

bool shard_iterator_valid(const struct shard_iterator *it)
{
    return it->at < it->count;
}

struct fl_bytes shard_iterator_key(const struct shard_iterator *it)
{
    fl_assert(it->at < it->count);
    return it->items[it->at].key;
}

struct fl_bytes shard_iterator_value(const struct shard_iterator *it)
{
    fl_assert(it->at < it->count);
    return it->items[it->at].value;
}

enum fl_status shard_iterator_status(const struct shard_iterator *it)
{
    (void)it;
    return FL_OK;
}

/* ---- files ---- */

struct shard_file {
    struct shard_engine *engine;
    struct sim__file *file;
};

static void free_file(struct sim__file *file)
{
    sim__ops_clear(&file->ops);
    free(file->path);
    free(file);
}

void sim__files_close(struct shard_engine *e)
{
    while (e->files != NULL) {
        struct sim__file *next = e->files->next;

        free_file(e->files);
        e->files = next;
    }
}

enum fl_status
shard_file_create(struct shard_engine *engine, const char *path, struct shard_file **file)
{
    *file = fl_xcalloc(1, sizeof(**file));
    (*file)->engine = engine;
    (*file)->file = fl_xcalloc(1, sizeof(*(*file)->file));
    (*file)->file->path = fl_xstrdup(path);
    return FL_OK;
}

enum fl_status shard_file_put(struct shard_file *file, struct fl_bytes key, struct fl_bytes value)
{
    sim__ops_add(&file->file->ops, SIM__PUT, key, value, fl_bytes(NULL, 0));
    return FL_OK;
}

enum fl_status
shard_file_delete_range(struct shard_file *file, struct fl_bytes start, struct fl_bytes end)
{
    sim__ops_add(&file->file->ops, SIM__DELETE_RANGE, start, end, fl_bytes(NULL, 0));
    return FL_OK;
}

uint64_t shard_file_bytes(const struct shard_file *file)
{
    return file->file->ops.bytes;
}

enum fl_status shard_file_finish(struct shard_file *file)
{
    if (file->file->ops.count == 0) {
        shard_file_abort(file);
        return FL_INVALID;
    }
    file->file->next = file->engine->files;
    file->engine->files = file->file;
    free(file);
    return FL_OK;
}

void shard_file_abort(struct shard_file *file)
{
    if (file != NULL) {
        free_file(file->file);
        free(file);
    }
}

static struct sim__file *take_file(struct shard_engine *e, const char *path)
{
    for (struct sim__file **at = &e->files; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->path, path) == 0) {
            struct sim__file *found = *at;

            *at = found->next;
            return found;
        }
    }
    return NULL;
}

/* Does the write lie where something is not flushed yet? Then the engine flushes first. */
static bool meets_unflushed(const struct shard_engine *e, const struct sim__op *op)
{
    struct fl_bytes key = sim__op_key(op);

    for (size_t i = sim__lower_bound(e, key); i < e->count; i++) {
        struct fl_bytes row = sim__row_key(e->rows[i]);

        if (op->kind == SIM__DELETE_RANGE ? fl_bytes_compare(row, sim__op_value(op)) >= 0
                                          : !fl_bytes_equal(row, key)) {
            return false;
        }
        if (e->rows[i]->newest != NULL && e->rows[i]->newest->seq > e->durable) {
            return true;
        }
    }
    return false;
}

/* Durable at once. Where it meets nothing unflushed it overtakes what was committed before (D5):
 * it gets the number of the last flush, so that a crash keeps it whatever else is lost. */
static bool may_overtake(const struct shard_engine *e, struct sim__file *const *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (const struct sim__op *op = files[i]->ops.first; op != NULL; op = op->next) {
            if (meets_unflushed(e, op)) {
                return false;
            }
        }
    }
    return e->pins == 0;
}

enum fl_status
shard_engine_ingest(struct shard_engine *engine, const char *const *paths, size_t count)
{
    struct sim__file **files = fl_xcalloc(count, sizeof(struct sim__file *));

    for (size_t i = 0; i < count; i++) {
        files[i] = take_file(engine, paths[i]);
        fl_assert(files[i] != NULL);
    }
    if (may_overtake(engine, files, count)) {
        engine->write_seq = engine->durable;
    } else {
        engine->write_seq = ++engine->seq;
        engine->durable = engine->seq;
    }
    for (size_t i = 0; i < count; i++) {
        for (const struct sim__op *op = files[i]->ops.first; op != NULL; op = op->next) {
            sim__apply_op(engine, op);
        }
        free_file(files[i]);
    }
    free(files);
    return engine->fault;
}
