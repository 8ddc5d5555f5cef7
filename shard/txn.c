/* Transactions: choose the path, check everything on it, then write. */
#include "shard/txn.h"

/* ---- compares ---- */

static int compare_numbers(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* One compare against one version; an all-zero `kv` stands for a key that does not exist. */
static bool holds(const struct shard_compare *compare, const struct shard_kv *kv)
{
    int order = 0;

    switch ((enum shard_compare_target)compare->target) {
    case SHARD_COMPARE_VERSION:
        order = compare_numbers((int64_t)kv->version, compare->number);
        break;
    case SHARD_COMPARE_CREATE:
        order = compare_numbers((int64_t)kv->create_revision, compare->number);
        break;
    case SHARD_COMPARE_MOD:
        order = compare_numbers((int64_t)kv->mod_revision, compare->number);
        break;
    case SHARD_COMPARE_VALUE:
        order = fl_bytes_compare(kv->value, compare->value);
        break;
    case SHARD_COMPARE_LEASE:
        order = compare_numbers(kv->lease, compare->number);
        break;
    }
    switch (compare->result) {
    case SHARD_COMPARE_EQUAL:
        return order == 0;
    case SHARD_COMPARE_GREATER:
        return order > 0;
    case SHARD_COMPARE_LESS:
        return order < 0;
    case SHARD_COMPARE_NOT_EQUAL:
        return order != 0;
    default:
        return true; /* as etcd does with a result it does not know */
    }
}

/* Nothing found: numbers compare as 0, a value never compares. */
static bool holds_for_missing(const struct shard_compare *compare)
{
    const struct shard_kv missing = {0};

    return compare->target != SHARD_COMPARE_VALUE && holds(compare, &missing);
}

struct comparison {
    const struct shard_compare *compare;
    bool found;
    bool holds;
};

static bool visit_compare(void *context, const struct shard_kv *kv)
{
    struct comparison *comparison = context;

    comparison->found = true;
    comparison->holds = holds(comparison->compare, kv);
    return comparison->holds;
}

static enum fl_status compare_interval(struct shard__write *write, struct comparison *comparison)
{
    const struct shard_compare *compare = comparison->compare;
    const struct shard_range *range = &write->shard->range;
    struct shard__interval interval;
    struct fl_writer scratch;
    enum fl_status status;

    fl_writer_init(&scratch);
    interval = shard__clip(compare->key, compare->end, range->start, range->end, &scratch);
    status = shard__walk(&write->source, &interval, 0, visit_compare, comparison);
    fl_writer_close(&scratch);
    return status;
}

static enum fl_status
compare_one(struct shard__write *write, const struct shard_compare *compare, bool *result)
{
    struct comparison comparison = {.compare = compare};

    if (!shard_range_covers(&write->shard->range, compare->key, compare->end)) {
        return FL_CROSS_RANGE;
    }
    if (compare->end.len == 0) {
        struct shard_value row = {0};
        struct shard_kv kv;
        enum fl_status status =
            shard__get_current(&write->source, &write->shard->key, compare->key, &row, &kv);

        if (status == FL_OK) {
            (void)visit_compare(&comparison, &kv);
            shard_value_release(&row);
        } else if (status != FL_NOT_FOUND) {
            return status;
        }
    } else {
        FL_TRY(compare_interval(write, &comparison));
    }
    *result = comparison.found ? comparison.holds : holds_for_missing(compare);
    return FL_OK;
}

/* ---- path ---- */

static struct shard_ops *branch(struct shard_txn *txn)
{
    return txn->succeeded ? &txn->then_ops : &txn->else_ops;
}

/* Nested compares too see the state before the whole transaction. */
static enum fl_status choose_path(struct shard__write *write, struct shard_txn *txn)
{
    struct shard_ops *ops;

    txn->succeeded = true;
    for (size_t i = 0; i < txn->compare_count && txn->succeeded; i++) {
        FL_TRY(compare_one(write, &txn->compares[i], &txn->succeeded));
    }
    ops = branch(txn);
    for (size_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].kind == SHARD_OP_TXN) {
            FL_TRY(choose_path(write, &ops->ops[i].txn));
        }
    }
    return FL_OK;
}

/* ---- checks ---- */

static enum fl_status check_range_op(const struct shard *shard, const struct shard_read *read)
{
    if (!shard_range_covers(&shard->range, read->key, read->end)) {
        return FL_CROSS_RANGE;
    }
    if (read->revision > shard->state.last_revision) {
        return FL_FUTURE_REVISION;
    }
    return read->revision != 0 && read->revision < shard->state.compact_revision ? FL_COMPACTED
                                                                                 : FL_OK;
}

static enum fl_status check_writes(struct shard__write *write, struct shard_txn *txn);

static enum fl_status check_write(struct shard__write *write, struct shard_op *op)
{
    switch (op->kind) {
    case SHARD_OP_PUT:
        return shard__put_check(write, &op->put);
    case SHARD_OP_DELETE_RANGE:
        return shard__delete_check(write, &op->del);
    case SHARD_OP_TXN:
        return check_writes(write, &op->txn);
    case SHARD_OP_RANGE:
    case SHARD_OP_NONE:
    default:
        return FL_OK;
    }
}

/* etcd checks every put of the path before any range. */
static enum fl_status check_writes(struct shard__write *write, struct shard_txn *txn)
{
    struct shard_ops *ops = branch(txn);

    for (size_t i = 0; i < ops->count; i++) {
        FL_TRY(check_write(write, &ops->ops[i]));
    }
    return FL_OK;
}

static enum fl_status check_ranges(const struct shard *shard, struct shard_txn *txn)
{
    struct shard_ops *ops = branch(txn);

    for (size_t i = 0; i < ops->count; i++) {
        struct shard_op *op = &ops->ops[i];

        if (op->kind == SHARD_OP_RANGE) {
            FL_TRY(check_range_op(shard, &op->range));
        } else if (op->kind == SHARD_OP_TXN) {
            FL_TRY(check_ranges(shard, &op->txn));
        }
    }
    return FL_OK;
}

/* ---- writing ---- */

static enum fl_status execute(struct shard__write *write, struct shard_txn *txn, bool emit);

/* A range changes nothing, so it is not even read when nobody wants the result. */
static enum fl_status execute_range(struct shard__write *write, const struct shard_read *read)
{
    struct shard *shard = write->shard;
    struct shard__when when = {.revision = read->revision, .header = shard__revision(write)};
    struct shard__interval interval;
    struct fl_writer scratch;
    enum fl_status status;

    if (when.revision == shard->state.last_revision && !write->wrote) {
        when.revision = 0;
    }
    fl_writer_init(&scratch);
    interval = shard__clip(read->key, read->end, shard->range.start, shard->range.end, &scratch);
    status = shard__range(&write->source, &interval, read, &when, &shard->result);
    fl_writer_close(&scratch);
    return status;
}

static enum fl_status execute_op(struct shard__write *write, struct shard_op *op, bool emit)
{
    uint64_t deleted;

    switch (op->kind) {
    case SHARD_OP_RANGE:
        return emit ? execute_range(write, &op->range) : FL_OK;
    case SHARD_OP_PUT:
        return shard__put(write, &op->put, emit);
    case SHARD_OP_DELETE_RANGE:
        return shard__delete(write, &op->del, emit, &deleted);
    case SHARD_OP_TXN:
        return execute(write, &op->txn, emit);
    case SHARD_OP_NONE:
    default:
        return FL_INVALID; /* the decoder lets no other operation through */
    }
}

static enum fl_status execute(struct shard__write *write, struct shard_txn *txn, bool emit)
{
    struct shard_result_writer *w = &write->shard->result;
    struct shard_ops *ops = branch(txn);

    if (emit) {
        shard_result_begin(w, SHARD_RESULT_TXN, 0);
        shard_result_set_flags(w, false, txn->succeeded, false);
    }
    for (size_t i = 0; i < ops->count; i++) {
        enum fl_status status;

        emit = emit && shard__building(write);
        status = execute_op(write, &ops->ops[i], emit);
        if (status == FL_TOO_LARGE) {
            /* The answer is too large to be given, the writes are not undone by that. */
            write->build = false;
            status = FL_OK;
        }
        FL_TRY(status);
    }
    if (emit && shard__building(write)) {
        shard_result_set_revision(w, shard__revision(write));
        shard_result_end(w);
    }
    return FL_OK;
}

enum fl_status shard__txn(struct shard__write *write, struct shard_txn *txn)
{
    FL_TRY(choose_path(write, txn));
    FL_TRY(check_writes(write, txn));
    FL_TRY(check_ranges(write->shard, txn));
    return execute(write, txn, write->build);
}
