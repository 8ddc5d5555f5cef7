/* A naive multi-version store. */
#include "tests/shard/model.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/status.h"

#include <stdlib.h>

void model_init(struct model *model, uint64_t revision)
{
    *model = (struct model){.revision = revision};
}

void model_close(struct model *model)
{
    for (size_t i = 0; i < model->count; i++) {
        free(model->versions[i].memory);
    }
    free(model->versions);
}

static bool in_request(struct fl_bytes key, struct fl_bytes from, struct fl_bytes end)
{
    if (end.len == 0) {
        return fl_bytes_equal(key, from);
    }
    if (fl_bytes_compare(key, from) < 0) {
        return false;
    }
    return (end.len == 1 && end.data[0] == 0) || fl_bytes_compare(key, end) < 0;
}

/* The version of a key that exists now, or NULL. */
static struct model_version *current(const struct model *model, struct fl_bytes key)
{
    for (size_t i = 0; i < model->count; i++) {
        if (model->versions[i].end == 0 && fl_bytes_equal(model->versions[i].kv.key, key)) {
            return &model->versions[i];
        }
    }
    return NULL;
}

static bool visible(const struct model_version *v, uint64_t revision)
{
    return v->kv.mod_revision <= revision && (v->end == 0 || v->end > revision);
}

/* Within one transaction a version may end at the revision that made it: nobody ever sees it. */
static void end_version(struct model_version *v, uint64_t revision)
{
    v->end = revision;
}

static void write_put(struct model *model, const struct shard_put *put, uint64_t revision)
{
    struct model_version *old = current(model, put->key);
    struct model_version v = {0};
    struct fl_bytes value = put->ignore_value ? old->kv.value : put->value;

    v.memory = malloc(put->key.len + value.len + 1);
    memcpy(v.memory, put->key.data, put->key.len);
    if (value.len != 0) {
        memcpy(v.memory + put->key.len, value.data, value.len);
    }
    v.kv.key = fl_bytes(v.memory, put->key.len);
    v.kv.value = fl_bytes(v.memory + put->key.len, value.len);
    v.kv.create_revision = old != NULL ? old->kv.create_revision : revision;
    v.kv.mod_revision = revision;
    v.kv.version = old != NULL ? old->kv.version + 1 : 1;
    if (old != NULL) {
        end_version(old, revision);
    }
    fl_grow(&model->versions, &model->capacity, model->count + 1, sizeof(*model->versions));
    model->versions[model->count++] = v;
}

/* ---- reads ---- */

static const struct shard_read *sort_by;

static int compare(const void *va, const void *vb)
{
    const struct shard_kv *a = va;
    const struct shard_kv *b = vb;
    int order = 0;

#define ORDER(x, y) ((x) < (y) ? -1 : (x) > (y) ? 1 : 0)
    if (sort_by->sort_target == SHARD_SORT_VERSION) {
        order = ORDER(a->version, b->version);
    } else if (sort_by->sort_target == SHARD_SORT_CREATE) {
        order = ORDER(a->create_revision, b->create_revision);
    } else if (sort_by->sort_target == SHARD_SORT_MOD) {
        order = ORDER(a->mod_revision, b->mod_revision);
    } else if (sort_by->sort_target == SHARD_SORT_VALUE) {
        order = fl_bytes_compare(a->value, b->value);
    } else {
        order = fl_bytes_compare(a->key, b->key);
    }
    if (sort_by->sort_order == SHARD_SORT_DESCEND) {
        order = -order;
    }
    return order != 0 ? order : fl_bytes_compare(a->key, b->key);
}

static bool filtered(const struct shard_read *r, const struct shard_kv *kv)
{
    int64_t mod = (int64_t)kv->mod_revision;
    int64_t create = (int64_t)kv->create_revision;

    return (r->min_mod_revision != 0 && mod < r->min_mod_revision) ||
           (r->max_mod_revision != 0 && mod > r->max_mod_revision) ||
           (r->min_create_revision != 0 && create < r->min_create_revision) ||
           (r->max_create_revision != 0 && create > r->max_create_revision);
}

static void write_range(const struct model *model,
                        const struct shard_read *read,
                        uint64_t at,
                        uint64_t header,
                        struct shard_result_writer *w)
{
    struct shard_kv *kvs = calloc(model->count + 1, sizeof(*kvs));
    size_t n = 0;
    uint64_t count = 0;
    bool more;

    for (size_t i = 0; i < model->count; i++) {
        const struct model_version *v = &model->versions[i];

        if (visible(v, at) && in_request(v->kv.key, read->key, read->end)) {
            count++;
            if (!filtered(read, &v->kv)) {
                kvs[n++] = v->kv;
            }
        }
    }
    sort_by = read;
    qsort(kvs, n, sizeof(*kvs), compare);
    more = !read->count_only && read->limit != 0 && n > read->limit;
    n = more ? (size_t)read->limit : n;
    shard_result_begin(w, SHARD_RESULT_RANGE, header);
    shard_result_set_count(w, count);
    shard_result_set_flags(w, more, false, false);
    for (size_t i = 0; i < n && !read->count_only; i++) {
        if (read->keys_only) {
            kvs[i].value = fl_bytes(NULL, 0);
        }
        shard_result_add_kv(w, &kvs[i]);
    }
    shard_result_end(w);
    free(kvs);
}

static enum fl_status check_read(const struct model *model, const struct shard_read *read)
{
    if (read->revision > model->revision) {
        return FL_FUTURE_REVISION;
    }
    return read->revision != 0 && read->revision < model->compact ? FL_COMPACTED : FL_OK;
}

static struct model_answer answer(const struct model *model, struct shard_result_writer *w)
{
    struct model_answer a = {.status = FL_OK, .revision = model->revision};

    fl_assert(shard_result_take(w, &a.result) == FL_OK);
    return a;
}

static struct model_answer refusal(const struct model *model, enum fl_status status)
{
    return (struct model_answer){.status = status, .revision = model->revision};
}

struct model_answer model_read(const struct model *model, const struct shard_read *read)
{
    struct shard_result_writer w;
    enum fl_status status = check_read(model, read);

    if (status != FL_OK) {
        return refusal(model, status);
    }
    shard_result_writer_init(&w);
    write_range(
        model, read, read->revision != 0 ? read->revision : model->revision, model->revision, &w);
    return answer(model, &w);
}

/* ---- writes ---- */

static enum fl_status check_put(const struct model *model, const struct shard_put *put)
{
    if ((put->ignore_value || put->ignore_lease) && current(model, put->key) == NULL) {
        return FL_KEY_NOT_FOUND;
    }
    return FL_OK;
}

static void run_put(struct model *model,
                    const struct shard_put *put,
                    uint64_t revision,
                    struct shard_result_writer *w)
{
    const struct model_version *old = current(model, put->key);

    shard_result_begin(w, SHARD_RESULT_PUT, revision);
    if (put->prev_kv && old != NULL) {
        shard_result_set_flags(w, false, false, true);
        shard_result_add_kv(w, &old->kv);
    }
    shard_result_end(w);
    write_put(model, put, revision);
}

static int compare_keys(const void *a, const void *b)
{
    return fl_bytes_compare(((const struct shard_kv *)a)->key, ((const struct shard_kv *)b)->key);
}

static uint64_t run_delete(struct model *model,
                           const struct shard_delete *del,
                           uint64_t revision,
                           bool wrote,
                           struct shard_result_writer *w)
{
    struct shard_kv *kvs = calloc(model->count + 1, sizeof(*kvs));
    uint64_t n = 0;

    for (size_t i = 0; i < model->count; i++) {
        struct model_version *v = &model->versions[i];

        if (v->end == 0 && in_request(v->kv.key, del->key, del->end)) {
            kvs[n++] = v->kv;
            end_version(v, revision);
        }
    }
    qsort(kvs, n, sizeof(*kvs), compare_keys);
    shard_result_begin(w, SHARD_RESULT_DELETE_RANGE, n != 0 || wrote ? revision : model->revision);
    shard_result_set_count(w, n);
    for (size_t i = 0; i < n && del->prev_kv; i++) {
        shard_result_add_kv(w, &kvs[i]);
    }
    shard_result_end(w);
    free(kvs);
    return n;
}

struct model_answer model_put(struct model *model, const struct shard_put *put)
{
    struct shard_result_writer w;
    enum fl_status status = check_put(model, put);

    if (status != FL_OK) {
        return refusal(model, status);
    }
    shard_result_writer_init(&w);
    run_put(model, put, model->revision + 1, &w);
    model->revision++;
    return answer(model, &w);
}

struct model_answer model_delete(struct model *model, const struct shard_delete *del)
{
    struct shard_result_writer w;

    shard_result_writer_init(&w);
    if (run_delete(model, del, model->revision + 1, false, &w) != 0) {
        model->revision++;
    }
    return answer(model, &w);
}

static bool compare_version(const struct shard_compare *c, const struct shard_kv *kv)
{
    int order = 0;

    if (c->target == SHARD_COMPARE_VALUE) {
        if (kv == NULL) {
            return false;
        }
        order = fl_bytes_compare(kv->value, c->value);
    } else {
        int64_t have = kv == NULL                           ? 0
                       : c->target == SHARD_COMPARE_VERSION ? (int64_t)kv->version
                       : c->target == SHARD_COMPARE_CREATE  ? (int64_t)kv->create_revision
                       : c->target == SHARD_COMPARE_MOD     ? (int64_t)kv->mod_revision
                                                            : kv->lease;
        order = ORDER(have, c->number);
    }
    return c->result == SHARD_COMPARE_EQUAL     ? order == 0
           : c->result == SHARD_COMPARE_GREATER ? order > 0
           : c->result == SHARD_COMPARE_LESS    ? order < 0
                                                : order != 0;
}

static bool compare_holds(const struct model *model, const struct shard_compare *c)
{
    bool found = false;

    for (size_t i = 0; i < model->count; i++) {
        const struct model_version *v = &model->versions[i];

        if (v->end == 0 && in_request(v->kv.key, c->key, c->end)) {
            found = true;
            if (!compare_version(c, &v->kv)) {
                return false;
            }
        }
    }
    return found || compare_version(c, NULL);
}

static bool all_hold(const struct model *model, const struct shard_txn *txn)
{
    for (size_t i = 0; i < txn->compare_count; i++) {
        if (!compare_holds(model, &txn->compares[i])) {
            return false;
        }
    }
    return true;
}

/* The outcome of every compare of the path, in order of execution, seen before any write. */
struct path {
    bool taken[4096];
    size_t count;
};

static void find_path(const struct model *model, const struct shard_txn *txn, struct path *path)
{
    bool ok = all_hold(model, txn);
    const struct shard_ops *ops = ok ? &txn->then_ops : &txn->else_ops;

    fl_assert(path->count < 4096);
    path->taken[path->count++] = ok;
    for (size_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].kind == SHARD_OP_TXN) {
            find_path(model, &ops->ops[i].txn, path);
        }
    }
}

static enum fl_status check_path(const struct model *model,
                                 const struct shard_txn *txn,
                                 const struct path *path,
                                 size_t *at,
                                 bool puts)
{
    const struct shard_ops *ops = path->taken[(*at)++] ? &txn->then_ops : &txn->else_ops;

    for (size_t i = 0; i < ops->count; i++) {
        const struct shard_op *op = &ops->ops[i];

        if (op->kind == SHARD_OP_PUT && puts) {
            FL_TRY(check_put(model, &op->put));
        } else if (op->kind == SHARD_OP_RANGE && !puts) {
            FL_TRY(check_read(model, &op->range));
        } else if (op->kind == SHARD_OP_TXN) {
            FL_TRY(check_path(model, &op->txn, path, at, puts));
        }
    }
    return FL_OK;
}

static void run_txn(struct model *model,
                    const struct shard_txn *txn,
                    const struct path *path,
                    size_t *at,
                    bool *wrote,
                    struct shard_result_writer *w)
{
    bool ok = path->taken[(*at)++];
    const struct shard_ops *ops = ok ? &txn->then_ops : &txn->else_ops;
    uint64_t revision = model->revision + 1;

    shard_result_begin(w, SHARD_RESULT_TXN, 0);
    shard_result_set_flags(w, false, ok, false);
    for (size_t i = 0; i < ops->count; i++) {
        const struct shard_op *op = &ops->ops[i];

        if (op->kind == SHARD_OP_PUT) {
            run_put(model, &op->put, revision, w);
            *wrote = true;
        } else if (op->kind == SHARD_OP_DELETE_RANGE) {
            *wrote = run_delete(model, &op->del, revision, *wrote, w) != 0 || *wrote;
        } else if (op->kind == SHARD_OP_RANGE) {
            uint64_t now = *wrote ? revision : model->revision;

            write_range(
                model, &op->range, op->range.revision != 0 ? op->range.revision : now, now, w);
        } else {
            run_txn(model, &op->txn, path, at, wrote, w);
        }
    }
    shard_result_set_revision(w, *wrote ? revision : model->revision);
    shard_result_end(w);
}

struct model_answer model_txn(struct model *model, const struct shard_txn *txn)
{
    struct path *path = calloc(1, sizeof(*path));
    struct shard_result_writer w;
    bool wrote = false;
    size_t at = 0;
    enum fl_status status;

    find_path(model, txn, path);
    status = check_path(model, txn, path, &at, true);
    if (status == FL_OK) {
        at = 0;
        status = check_path(model, txn, path, &at, false);
    }
    if (status != FL_OK) {
        free(path);
        return refusal(model, status);
    }
    shard_result_writer_init(&w);
    at = 0;
    run_txn(model, txn, path, &at, &wrote, &w);
    model->revision += wrote ? 1 : 0;
    free(path);
    return answer(model, &w);
}

struct model_answer model_compact(struct model *model, uint64_t revision)
{
    if (revision > model->revision) {
        return refusal(model, FL_FUTURE_REVISION);
    }
    if (revision <= model->compact) {
        return refusal(model, FL_COMPACTED);
    }
    model->compact = revision;
    return (struct model_answer){.status = FL_OK,
                                 .revision = model->revision,
                                 .result =
                                     shard_result_plain(SHARD_RESULT_COMPACT, model->revision)};
}

uint64_t model_live_keys(const struct model *model)
{
    uint64_t count = 0;

    for (size_t i = 0; i < model->count; i++) {
        count += model->versions[i].end == 0 ? 1 : 0;
    }
    return count;
}
