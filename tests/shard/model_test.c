/* Goal: whatever sequence of commands arrives, the shard answers and remembers exactly what etcd's
 * semantics say, on any batching, across flushes, garbage collection and restarts (SH-1..SH-8, D3).
 *
 * Method: thousands of random commands go to a shard, to a naive model, and to a second shard that
 * applies the same entries in batches of another size. Every answer is compared byte by byte with
 * the model's; reads at random revisions, counts and hashes are compared all the time. Seeds are
 * fixed; a failing one is printed. */
#include "raftgroup/base/prng.h"
#include "tests/shard/fixture.h"
#include "tests/shard/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEYS      14
#define OPS_MAX   6
#define DEPTH_MAX 3
#define ARENA     512

/* Keys that are hard to keep in order: prefixes of each other, zero bytes, the largest byte. */
static const struct {
    const char *data;
    size_t len;
} key_table[KEYS] = {{"a", 1},
                     {"a\0", 2},
                     {"a\0\0", 3},
                     {"a\0\1", 3},
                     {"a\0\xff", 3},
                     {"a\1", 2},
                     {"aa", 2},
                     {"ab", 2},
                     {"b", 1},
                     {"b\xff", 2},
                     {"\0", 1},
                     {"\0\0", 2},
                     {"\xff", 1},
                     {"\xff\xff", 2}};

struct world {
    struct fl_prng prng;
    struct model model;
    struct fixture a; /* one entry per commit */
    struct fixture b; /* the same entries in batches */
    struct fl_buf *waiting[64];
    size_t waiting_count;
    /* memory of the command being built */
    struct shard_op ops[ARENA];
    size_t op_count;
    struct shard_compare compares[ARENA];
    size_t compare_count;
    char values[ARENA][24];
    size_t value_count;
};

static uint64_t below(struct world *w, uint64_t n)
{
    return fl_prng_below(&w->prng, n);
}

static struct fl_bytes random_key(struct world *w)
{
    size_t i = (size_t)below(w, KEYS);

    return fl_bytes(key_table[i].data, key_table[i].len);
}

/* A point, an interval (maybe inverted or empty), or everything from the key on. */
static struct fl_bytes random_end(struct world *w)
{
    switch (below(w, 6)) {
    case 0:
        return fl_bytes("\0", 1);
    case 1:
    case 2:
        return random_key(w);
    default:
        return fl_bytes(NULL, 0);
    }
}

static struct fl_bytes random_value(struct world *w)
{
    char *value = w->values[w->value_count++ % ARENA];
    int len = snprintf(value, 24, "v%u", (unsigned)below(w, 9));

    return fl_bytes(value, below(w, 8) == 0 ? 0 : (size_t)len);
}

static struct shard_put random_put(struct world *w)
{
    struct shard_put put = {.key = random_key(w), .value = random_value(w)};

    put.prev_kv = below(w, 3) == 0;
    put.ignore_lease = below(w, 12) == 0;
    if (below(w, 8) == 0) {
        put.ignore_value = true;
        put.value = fl_bytes(NULL, 0);
    }
    return put;
}

static struct shard_delete random_delete(struct world *w)
{
    return (struct shard_delete){
        .key = random_key(w), .end = random_end(w), .prev_kv = below(w, 2) == 0};
}

/* Mostly readable revisions, sometimes compacted or future ones. */
static uint64_t random_revision(struct world *w)
{
    switch (below(w, 8)) {
    case 0:
    case 1:
    case 2:
        return 0;
    case 3:
        return below(w, w->model.revision + 3);
    default:
        return w->model.compact + below(w, w->model.revision - w->model.compact + 1);
    }
}

static int64_t random_bound(struct world *w)
{
    return below(w, 5) != 0 ? 0 : (int64_t)below(w, w->model.revision + 2) - 1;
}

static struct shard_read random_read(struct world *w)
{
    struct shard_read read = {.key = random_key(w), .end = random_end(w)};

    if (below(w, 4) == 0) {
        read.key = fl_bytes("\0", 1);
        read.end = fl_bytes("\0", 1);
    }
    read.limit = below(w, 3) == 0 ? below(w, 6) : 0;
    read.revision = random_revision(w);
    read.sort_order = (uint32_t)below(w, 3);
    read.sort_target = below(w, 2) == 0 ? (uint32_t)below(w, 5) : 0;
    read.keys_only = below(w, 5) == 0;
    read.count_only = below(w, 6) == 0;
    read.min_mod_revision = random_bound(w);
    read.max_mod_revision = random_bound(w);
    read.min_create_revision = random_bound(w);
    read.max_create_revision = random_bound(w);
    return read;
}

static struct shard_compare random_compare(struct world *w)
{
    struct shard_compare c = {.result = (uint32_t)below(w, 4),
                              .target = (uint32_t)below(w, 5),
                              .key = random_key(w),
                              .end = random_end(w)};

    if (c.target == SHARD_COMPARE_VALUE) {
        c.value = random_value(w);
    } else if (c.target == SHARD_COMPARE_VERSION) {
        c.number = (int64_t)below(w, 4);
    } else if (c.target != SHARD_COMPARE_LEASE) {
        c.number = (int64_t)below(w, w->model.revision + 1);
    }
    return c;
}

static void random_txn(struct world *w, struct shard_txn *txn, unsigned depth);

static struct shard_ops random_ops(struct world *w, unsigned depth)
{
    struct shard_ops ops = {.ops = &w->ops[w->op_count], .count = (size_t)below(w, OPS_MAX)};

    w->op_count += ops.count;
    for (size_t i = 0; i < ops.count; i++) {
        struct shard_op *op = &ops.ops[i];

        op->kind = (enum shard_op_kind)(SHARD_OP_RANGE + below(w, depth < DEPTH_MAX ? 4 : 3));
        if (op->kind == SHARD_OP_RANGE) {
            op->range = random_read(w);
            if (below(w, 4) != 0) {
                op->range.revision = 0; /* else nearly every transaction would fail */
            }
        } else if (op->kind == SHARD_OP_PUT) {
            op->put = random_put(w);
        } else if (op->kind == SHARD_OP_DELETE_RANGE) {
            op->del = random_delete(w);
        } else {
            random_txn(w, &op->txn, depth + 1);
        }
    }
    return ops;
}

static void random_txn(struct world *w, struct shard_txn *txn, unsigned depth)
{
    struct shard_txn t = {.compares = &w->compares[w->compare_count],
                          .compare_count = (size_t)below(w, 3)};

    w->compare_count += t.compare_count;
    for (size_t i = 0; i < t.compare_count; i++) {
        t.compares[i] = random_compare(w);
    }
    t.then_ops = random_ops(w, depth);
    t.else_ops = random_ops(w, depth);
    *txn = t;
}

/* ---- driving ---- */

static void apply_waiting(struct world *w)
{
    struct shard_apply entries[64];

    for (size_t i = 0; i < w->waiting_count; i++) {
        entries[i] = (struct shard_apply){.index = ++w->b.index,
                                          .term = w->b.term,
                                          .type = RAFT_ENT_NORMAL,
                                          .payload = fl_buf_bytes(w->waiting[i])};
    }
    fixture_machine(&w->b)->ops->apply(
        fixture_machine(&w->b), w->b.batch, entries, w->waiting_count);
    fixture_commit(&w->b);
    for (size_t i = 0; i < w->waiting_count; i++) {
        assert_null(entries[i].result);
        fl_buf_release(w->waiting[i]);
    }
    w->waiting_count = 0;
}

static void expect(struct world *w, struct fl_buf *command, struct model_answer wanted)
{
    struct shard_apply got;

    shard_command_set_epoch(command, FIXTURE_EPOCH);
    w->waiting[w->waiting_count++] = fl_buf_acquire(command);
    got = fixture_apply(&w->a, command);
    assert_int_equal(got.status, wanted.status);
    assert_int_equal(got.revision, wanted.revision);
    assert_int_equal(got.result != NULL, wanted.result != NULL);
    if (got.result != NULL) {
        assert_int_equal(shard_result_check(fl_buf_bytes(got.result)), FL_OK);
        assert_int_equal(got.result->len, wanted.result->len);
        assert_memory_equal(got.result->data, wanted.result->data, got.result->len);
    }
    fl_buf_release(got.result);
    fl_buf_release(wanted.result);
    if (w->waiting_count == 64 || below(&*w, 9) == 0) {
        apply_waiting(w);
    }
}

static void check_read(struct world *w)
{
    struct shard_read read = random_read(w);
    struct model_answer wanted = model_read(&w->model, &read);
    struct fl_buf *got = NULL;

    assert_int_equal(fixture_read(&w->a, &read, &got), wanted.status);
    if (wanted.status == FL_OK) {
        assert_int_equal(got->len, wanted.result->len);
        assert_memory_equal(got->data, wanted.result->data, got->len);
    }
    fl_buf_release(got);
    fl_buf_release(wanted.result);
}

static void check_hashes(struct world *w)
{
    uint64_t revision = w->model.compact + below(w, w->model.revision - w->model.compact + 1);

    apply_waiting(w);
    assert_int_equal(fixture_hash(&w->a, revision), fixture_hash(&w->b, revision));
    assert_int_equal(fixture_hash(&w->a, 0), fixture_hash(&w->b, 0));
    assert_int_equal(fixture_status(&w->a).live_keys, model_live_keys(&w->model));
}

/* Flush, publish what is durable, drop what may be dropped: nothing observable may change. */
static void collect_garbage(struct world *w)
{
    uint64_t compact = fixture_status(&w->a).compact_revision;
    uint32_t before = fixture_hash(&w->a, 0);

    fixture_flush(&w->a);
    shard_gc_publish(&w->a.gc, compact);
    shard_engine_compact(w->a.engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
    assert_int_equal(fixture_hash(&w->a, 0), before);
}

static void restart(struct fixture *f)
{
    uint64_t index = f->index;

    fixture_flush(f);
    fixture_detach(f);
    fixture_attach(f);
    assert_int_equal(f->index, index);
}

static void step(struct world *w)
{
    uint64_t dice = below(w, 100);

    w->op_count = w->compare_count = w->value_count = 0;
    if (dice < 35) {
        struct shard_put put = random_put(w);
        struct fl_buf *command;

        assert_int_equal(shard_command_put(&put, &command), FL_OK);
        expect(w, command, model_put(&w->model, &put));
    } else if (dice < 45) {
        struct shard_delete del = random_delete(w);
        struct fl_buf *command;

        assert_int_equal(shard_command_delete(&del, &command), FL_OK);
        expect(w, command, model_delete(&w->model, &del));
    } else if (dice < 70) {
        struct shard_txn txn;

        random_txn(w, &txn, 1);
        if (shard_txn_validate(&txn) == FL_OK) {
            struct fl_buf *command = command_txn(&txn);

            expect(w, command, model_txn(&w->model, &txn));
        }
    } else if (dice < 73) {
        uint64_t revision = w->model.compact + below(w, w->model.revision - w->model.compact + 2);

        expect(w, shard_command_compact(revision, false), model_compact(&w->model, revision));
    } else if (dice < 97) {
        check_read(w);
    } else {
        check_hashes(w);
    }
}

static void run_seed(uint64_t seed, unsigned steps)
{
    struct world *w = calloc(1, sizeof(*w));

    print_message("# seed %llu\n", (unsigned long long)seed);
    fl_prng_seed(&w->prng, seed);
    model_init(&w->model, SHARD_REVISION_FIRST);
    fixture_open(&w->a);
    fixture_open(&w->b);
    for (unsigned i = 1; i <= steps; i++) {
        step(w);
        if (i % 400 == 0) {
            collect_garbage(w);
        }
        if (i % 700 == 0) {
            restart(&w->a);
            apply_waiting(w);
            restart(&w->b);
        }
    }
    check_hashes(w);
    model_close(&w->model);
    fixture_close(&w->a);
    fixture_close(&w->b);
    free(w);
}

static void test_random_commands(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        run_seed(seed, 1500);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_commands)};

    if (argc == 3) { /* model_test <seed> <steps>: one run by hand */
        run_seed(strtoull(argv[1], NULL, 10), (unsigned)strtoul(argv[2], NULL, 10));
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
