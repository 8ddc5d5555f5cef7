/* The engine in memory: rows with versions, commits, crash, files. See engine_memory.h. */
#include "tests/sim/engine_internal.h"

#include "raftgroup/base/assert.h"

#include <stdio.h>

/* ---- rows ---- */

static void free_versions(struct sim__version *v)
{
    while (v != NULL) {
        struct sim__version *older = v->older;

        free(v);
        v = older;
    }
}

size_t sim__lower_bound(const struct shard_engine *e, struct fl_bytes key)
{
    size_t low = 0;
    size_t high = e->count;

    while (low < high) {
        size_t mid = (low + high) / 2;

        if (fl_bytes_compare(sim__row_key(e->rows[mid]), key) < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

const struct sim__version *sim__visible(const struct sim__row *row, uint64_t seq)
{
    const struct sim__version *v = row->newest;

    while (v != NULL && v->seq > seq) {
        v = v->older;
    }
    return v != NULL && !v->deleted ? v : NULL;
}

/* Versions nobody can ask for any more: older than the newest durable one. */
static void prune(struct shard_engine *e, struct sim__row *row)
{
    struct sim__version *v = row->newest;

    if (e->pins != 0) {
        return;
    }
    while (v != NULL && v->seq > e->durable) {
        v = v->older;
    }
    if (v != NULL) {
        free_versions(v->older);
        v->older = NULL;
    }
}

static struct sim__row *row_of(struct shard_engine *e, struct fl_bytes key)
{
    size_t at = sim__lower_bound(e, key);
    struct sim__row *row;

    if (at < e->count && fl_bytes_equal(sim__row_key(e->rows[at]), key)) {
        return e->rows[at];
    }
    row = fl_xmalloc(sizeof(*row) + key.len);
    row->newest = NULL;
    row->key_len = key.len;
    if (key.len != 0) {
        memcpy(row->key, key.data, key.len);
    }
    fl_grow(&e->rows, &e->capacity, e->count + 1, sizeof(struct sim__row *));
    memmove(e->rows + at + 1, e->rows + at, (e->count - at) * sizeof(struct sim__row *));
    e->rows[at] = row;
    e->count++;
    return row;
}

static void
write_version(struct shard_engine *e, struct sim__row *row, struct fl_bytes value, bool deleted)
{
    struct sim__version *v = fl_xmalloc(sizeof(*v) + value.len);

    v->seq = e->write_seq;
    v->deleted = deleted;
    v->len = value.len;
    if (value.len != 0) {
        memcpy(v->value, value.data, value.len);
    }
    v->older = row->newest;
    row->newest = v;
    e->unflushed += value.len + row->key_len;
    prune(e, row);
}

static void delete_range(struct shard_engine *e, struct fl_bytes start, struct fl_bytes end)
{
    for (size_t i = sim__lower_bound(e, start); i < e->count; i++) {
        if (fl_bytes_compare(sim__row_key(e->rows[i]), end) >= 0) {
            break;
        }
        if (sim__visible(e->rows[i], UINT64_MAX) != NULL) {
            write_version(e, e->rows[i], fl_bytes(NULL, 0), true);
        }
    }
}

void sim__apply_op(struct shard_engine *e, const struct sim__op *op)
{
    if (op->kind == SIM__DELETE_RANGE) {
        delete_range(e, sim__op_key(op), sim__op_value(op));
    } else {
        write_version(e, row_of(e, sim__op_key(op)), sim__op_value(op), op->kind == SIM__DELETE);
    }
}

/* Rows of which nothing is left, or which compaction may drop. */
static void sweep(struct shard_engine *e)
{
    size_t kept = 0;

    if (e->pins != 0) {
        return;
    }
    for (size_t i = 0; i < e->count; i++) {
        struct sim__row *row = e->rows[i];
        struct sim__version *v = row->newest;
        bool gone;

        prune(e, row);
        gone = v == NULL || (v->seq <= e->durable &&
                             (v->deleted || (e->options.drop != NULL &&
                                             e->options.drop(e->options.drop_context,
                                                             sim__row_key(row),
                                                             fl_bytes(v->value, v->len)))));
        if (gone) {
            free_versions(v);
            free(row);
        } else {
            e->rows[kept++] = row;
        }
    }
    e->count = kept;
}

/* ---- life ---- */

void shard_engine_options_default(struct shard_engine_options *options)
{
    *options = (struct shard_engine_options){.create = true};
}

enum fl_status shard_engine_open(struct shard_engine **engine,
                                 const struct shard_engine_options *options,
                                 char *why,
                                 size_t why_bytes)
{
    (void)why;
    (void)why_bytes;
    *engine = fl_xcalloc(1, sizeof(**engine));
    (*engine)->options = *options;
    return FL_OK;
}

void shard_engine_close(struct shard_engine *engine)
{
    if (engine == NULL) {
        return;
    }
    for (size_t i = 0; i < engine->count; i++) {
        free_versions(engine->rows[i]->newest);
        free(engine->rows[i]);
    }
    free(engine->rows);
    sim__files_close(engine);
    free(engine);
}

void sim_engine_crash(struct shard_engine *engine, struct fl_prng *prng)
{
    uint64_t cut = engine->durable + fl_prng_below(prng, engine->seq - engine->durable + 1);

    fl_assert(engine->pins == 0);
    for (size_t i = 0; i < engine->count; i++) {
        struct sim__row *row = engine->rows[i];

        while (row->newest != NULL && row->newest->seq > cut) {
            struct sim__version *older = row->newest->older;

            free(row->newest);
            row->newest = older;
        }
    }
    engine->durable = engine->seq;
    engine->unflushed = 0;
    sim__files_close(engine);
    sweep(engine);
}

enum fl_status shard_engine_fault(struct shard_engine *engine, char *why, size_t why_bytes)
{
    size_t len = strlen(engine->why);

    if (why_bytes != 0) {
        len = len < why_bytes ? len : why_bytes - 1;
        memcpy(why, engine->why, len);
        why[len] = '\0';
    }
    return engine->fault;
}

void shard_engine_stop(struct shard_engine *engine, enum fl_status status, const char *why)
{
    if (engine->fault == FL_OK) {
        engine->fault = status;
        (void)snprintf(engine->why, sizeof(engine->why), "%s", why);
    }
}

/* ---- reads ---- */

static enum fl_status
get_at(struct shard_engine *e, uint64_t seq, struct fl_bytes key, struct shard_value *value)
{
    size_t at = sim__lower_bound(e, key);
    const struct sim__version *v;

    if (at == e->count || !fl_bytes_equal(sim__row_key(e->rows[at]), key)) {
        return FL_NOT_FOUND;
    }
    v = sim__visible(e->rows[at], seq);
    if (v == NULL) {
        return FL_NOT_FOUND;
    }
    e->pins++;
    *value = (struct shard_value){.bytes = fl_bytes(v->value, v->len), .pin = e};
    return FL_OK;
}

enum fl_status shard_engine_get(struct shard_engine *engine,
                                const struct shard_engine_snapshot *snapshot,
                                struct fl_bytes key,
                                struct shard_value *value)
{
    return get_at(engine, snapshot != NULL ? snapshot->seq : UINT64_MAX, key, value);
}

enum fl_status shard_engine_get_durable(struct shard_engine *engine,
                                        struct fl_bytes key,
                                        struct shard_value *value)
{
    return get_at(engine, engine->durable, key, value);
}

void shard_value_release(struct shard_value *value)
{
    struct shard_engine *engine = value->pin;

    if (engine != NULL) {
        engine->pins--;
    }
    *value = (struct shard_value){.pin = NULL};
}

struct shard_engine_snapshot *shard_engine_snapshot_create(struct shard_engine *engine)
{
    struct shard_engine_snapshot *snapshot = fl_xcalloc(1, sizeof(*snapshot));

    snapshot->engine = engine;
    snapshot->seq = engine->seq;
    engine->pins++;
    return snapshot;
}

void shard_engine_snapshot_release(struct shard_engine_snapshot *snapshot)
{
    if (snapshot != NULL) {
        snapshot->engine->pins--;
        free(snapshot);
    }
}

/* ---- durability and space ---- */

enum fl_status shard_engine_flush(struct shard_engine *engine, bool wait)
{
    (void)wait;
    engine->durable = engine->seq;
    engine->unflushed = 0;
    sweep(engine);
    return engine->fault;
}

uint64_t shard_engine_memtable_bytes(struct shard_engine *engine)
{
    return engine->unflushed;
}

uint64_t shard_engine_sequence(struct shard_engine *engine)
{
    return engine->seq;
}

uint64_t shard_engine_disk_bytes(struct shard_engine *engine)
{
    return engine->count;
}

uint64_t shard_engine_size(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end)
{
    return sim__lower_bound(engine, end) - sim__lower_bound(engine, start);
}

uint64_t shard_engine_property(struct shard_engine *engine, const char *name)
{
    (void)engine;
    (void)name;
    return 0;
}

void shard_engine_compact(struct shard_engine *engine, struct fl_bytes start, struct fl_bytes end)
{
    (void)start;
    (void)end;
    sweep(engine);
}
