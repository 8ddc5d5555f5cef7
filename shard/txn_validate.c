/* Validation of requests with etcd's rules and in etcd's order (facts: checked before proposing).
 *
 * Duplicate keys: in one branch no key may be put twice, nor put under a delete range. A nested
 * transaction counts with both its branches, which may share keys with each other. The check goes
 * level by level from the inside: every level gives its set of put keys and its set of deleted
 * keys to the level around it. */
#include "shard/command.h"

#include <stdlib.h>

static enum fl_status check_key(struct fl_bytes key, struct fl_bytes end)
{
    if (key.len == 0) {
        return FL_EMPTY_KEY;
    }
    return key.len > FL_KEY_BYTES_MAX || end.len > FL_KEY_BYTES_MAX ? FL_TOO_LARGE : FL_OK;
}

enum fl_status shard_put_validate(const struct shard_put *put)
{
    FL_TRY(check_key(put->key, fl_bytes(NULL, 0)));
    if (put->ignore_value && put->value.len != 0) {
        return FL_VALUE_PROVIDED;
    }
    if (put->ignore_lease && put->lease != 0) {
        return FL_LEASE_PROVIDED;
    }
    return put->lease != 0 ? FL_LEASE_NOT_FOUND : FL_OK;
}

enum fl_status shard_delete_validate(const struct shard_delete *del)
{
    return check_key(del->key, del->end);
}

/* ---- sizes and single operations ---- */

struct budget {
    size_t total; /* compares and operations so far, all levels */
};

static enum fl_status
check_txn(const struct shard_txn *txn, size_t ops_max, unsigned depth, struct budget *budget);

static enum fl_status
check_op(const struct shard_op *op, size_t ops_max, unsigned depth, struct budget *budget)
{
    switch (op->kind) {
    case SHARD_OP_RANGE:
        return shard_read_validate(&op->range);
    case SHARD_OP_PUT:
        return shard_put_validate(&op->put);
    case SHARD_OP_DELETE_RANGE:
        return shard_delete_validate(&op->del);
    case SHARD_OP_TXN:
        return check_txn(&op->txn, ops_max, depth + 1, budget);
    case SHARD_OP_NONE:
    default:
        return FL_KEY_NOT_FOUND;
    }
}

static size_t largest_list(const struct shard_txn *txn)
{
    size_t n = txn->compare_count;

    n = txn->then_ops.count > n ? txn->then_ops.count : n;
    return txn->else_ops.count > n ? txn->else_ops.count : n;
}

static enum fl_status
check_txn(const struct shard_txn *txn, size_t ops_max, unsigned depth, struct budget *budget)
{
    size_t ops = largest_list(txn);

    if (depth > FL_TXN_DEPTH_MAX) {
        return FL_TOO_DEEP;
    }
    if (ops > ops_max) {
        return FL_TOO_MANY_OPS;
    }
    budget->total += txn->compare_count + txn->then_ops.count + txn->else_ops.count;
    if (budget->total > SHARD_TXN_TOTAL_MAX) {
        return FL_TOO_MANY_OPS;
    }
    for (size_t i = 0; i < txn->compare_count; i++) {
        const struct shard_compare *compare = &txn->compares[i];

        FL_TRY(check_key(compare->key, compare->end));
        if (compare->target > SHARD_COMPARE_LEASE) {
            return FL_INVALID;
        }
    }
    for (size_t i = 0; i < txn->then_ops.count; i++) {
        FL_TRY(check_op(&txn->then_ops.ops[i], ops_max - ops, depth, budget));
    }
    for (size_t i = 0; i < txn->else_ops.count; i++) {
        FL_TRY(check_op(&txn->else_ops.ops[i], ops_max - ops, depth, budget));
    }
    return FL_OK;
}

/* ---- sets of keys ---- */

struct interval {
    struct fl_bytes start;
    struct fl_bytes end; /* exclusive; empty: no upper end */
};

/* Sorted, without duplicates. */
struct key_set {
    struct fl_bytes *keys;
    size_t count;
    size_t capacity;
};

/* Sorted by start, disjoint. */
struct interval_set {
    struct interval *intervals;
    size_t count;
    size_t capacity;
};

struct footprint {
    struct key_set puts;
    struct key_set deleted_keys;
    struct interval_set deleted;
};

static void footprint_close(struct footprint *f)
{
    free(f->puts.keys);
    free(f->deleted_keys.keys);
    free(f->deleted.intervals);
}

static int compare_keys(const void *a, const void *b)
{
    return fl_bytes_compare(*(const struct fl_bytes *)a, *(const struct fl_bytes *)b);
}

static int compare_intervals(const void *a, const void *b)
{
    return fl_bytes_compare(((const struct interval *)a)->start,
                            ((const struct interval *)b)->start);
}

static void key_set_append(struct key_set *set, struct fl_bytes key)
{
    fl_grow(&set->keys, &set->capacity, set->count + 1, sizeof(*set->keys));
    set->keys[set->count++] = key;
}

/* Sorts what was appended; returns false when a key was there twice (one of them is kept). */
static bool key_set_sort(struct key_set *set)
{
    size_t kept = 0;

    if (set->count == 0) {
        return true;
    }
    qsort(set->keys, set->count, sizeof(*set->keys), compare_keys);
    for (size_t i = 1; i < set->count; i++) {
        if (!fl_bytes_equal(set->keys[i], set->keys[kept])) {
            set->keys[++kept] = set->keys[i];
        }
    }
    kept++;
    if (kept == set->count) {
        return true;
    }
    set->count = kept;
    return false;
}

static bool key_set_has(const struct key_set *set, struct fl_bytes key)
{
    return set->count != 0 &&
           bsearch(&key, set->keys, set->count, sizeof(*set->keys), compare_keys) != NULL;
}

static void key_set_merge(struct key_set *set, const struct key_set *other)
{
    for (size_t i = 0; i < other->count; i++) {
        key_set_append(set, other->keys[i]);
    }
    (void)key_set_sort(set);
}

static void interval_set_append(struct interval_set *set, struct interval interval)
{
    fl_grow(&set->intervals, &set->capacity, set->count + 1, sizeof(*set->intervals));
    set->intervals[set->count++] = interval;
}

/* Sorts what was appended and joins what overlaps. */
static void interval_set_sort(struct interval_set *set)
{
    size_t kept = 0;

    if (set->count == 0) {
        return;
    }
    qsort(set->intervals, set->count, sizeof(*set->intervals), compare_intervals);
    for (size_t i = 1; i < set->count; i++) {
        struct interval *last = &set->intervals[kept];
        const struct interval *next = &set->intervals[i];

        if (last->end.len != 0 && fl_bytes_compare(next->start, last->end) > 0) {
            set->intervals[++kept] = *next;
        } else if (last->end.len != 0 &&
                   (next->end.len == 0 || fl_bytes_compare(next->end, last->end) > 0)) {
            last->end = next->end;
        }
    }
    set->count = kept + 1;
}

static bool interval_set_has(const struct interval_set *set, struct fl_bytes key)
{
    size_t low = 0;
    size_t high = set->count;

    while (low < high) { /* the first interval that starts above key */
        size_t middle = low + (high - low) / 2;

        if (fl_bytes_compare(set->intervals[middle].start, key) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low != 0 && (set->intervals[low - 1].end.len == 0 ||
                        fl_bytes_compare(key, set->intervals[low - 1].end) < 0);
}

static bool is_deleted(const struct footprint *f, struct fl_bytes key)
{
    return key_set_has(&f->deleted_keys, key) || interval_set_has(&f->deleted, key);
}

/* ---- duplicates ---- */

static enum fl_status check_branch(const struct shard_ops *ops, struct footprint *f);

static void add_deletes(const struct shard_ops *ops, struct footprint *f)
{
    for (size_t i = 0; i < ops->count; i++) {
        const struct shard_delete *del = &ops->ops[i].del;

        if (ops->ops[i].kind != SHARD_OP_DELETE_RANGE) {
            continue;
        }
        if (del->end.len == 0) {
            key_set_append(&f->deleted_keys, del->key);
        } else if (shard_end_is_open(del->end)) {
            interval_set_append(&f->deleted, (struct interval){.start = del->key});
        } else if (fl_bytes_compare(del->key, del->end) < 0) {
            interval_set_append(&f->deleted, (struct interval){del->key, del->end});
        }
    }
    (void)key_set_sort(&f->deleted_keys);
    interval_set_sort(&f->deleted);
}

static void join_deletes(struct footprint *f, const struct footprint *child)
{
    key_set_merge(&f->deleted_keys, &child->deleted_keys);
    for (size_t i = 0; i < child->deleted.count; i++) {
        interval_set_append(&f->deleted, child->deleted.intervals[i]);
    }
    interval_set_sort(&f->deleted);
}

/* Puts of one branch of a nested transaction; `sibling` is its other branch, whose puts are in `f`
 * already and do not count. */
static enum fl_status
join_puts(struct footprint *f, const struct footprint *child, const struct footprint *sibling)
{
    for (size_t i = 0; i < child->puts.count; i++) {
        struct fl_bytes key = child->puts.keys[i];
        bool shared = sibling != NULL && key_set_has(&sibling->puts, key);

        if ((!shared && key_set_has(&f->puts, key)) || is_deleted(f, key)) {
            return FL_DUPLICATE_KEY;
        }
    }
    key_set_merge(&f->puts, &child->puts);
    return FL_OK;
}

static enum fl_status check_nested(const struct shard_txn *txn, struct footprint *f)
{
    struct footprint then_keys = {0};
    struct footprint else_keys = {0};
    enum fl_status status;

    FL_TRY_OUT(check_branch(&txn->then_ops, &then_keys));
    FL_TRY_OUT(check_branch(&txn->else_ops, &else_keys));
    FL_TRY_OUT(join_puts(f, &then_keys, NULL));
    FL_TRY_OUT(join_puts(f, &else_keys, &then_keys));
    join_deletes(f, &then_keys);
    join_deletes(f, &else_keys);
out:
    footprint_close(&then_keys);
    footprint_close(&else_keys);
    return status;
}

static enum fl_status check_branch(const struct shard_ops *ops, struct footprint *f)
{
    struct footprint own = {0};
    enum fl_status status = FL_OK;

    add_deletes(ops, f);
    for (size_t i = 0; i < ops->count; i++) {
        if (ops->ops[i].kind == SHARD_OP_TXN) {
            FL_TRY_OUT(check_nested(&ops->ops[i].txn, f));
        } else if (ops->ops[i].kind == SHARD_OP_PUT) {
            key_set_append(&own.puts, ops->ops[i].put.key);
        }
    }
    status = key_set_sort(&own.puts) ? join_puts(f, &own, NULL) : FL_DUPLICATE_KEY;
out:
    footprint_close(&own);
    return status;
}

static enum fl_status check_duplicates(const struct shard_ops *ops)
{
    struct footprint f = {0};
    enum fl_status status = check_branch(ops, &f);

    footprint_close(&f);
    return status;
}

enum fl_status shard_txn_validate(const struct shard_txn *txn)
{
    struct budget budget = {0};

    FL_TRY(check_txn(txn, FL_TXN_OPS_MAX, 1, &budget));
    FL_TRY(check_duplicates(&txn->then_ops));
    return check_duplicates(&txn->else_ops);
}
