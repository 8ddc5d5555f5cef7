/* Goal: commands survive their encoding; hostile bytes are refused; validation follows etcd's rules
 * and order; the span of a command covers every key it touches.
 *
 * Method: tables of requests with the status etcd gives; round trips; every truncation and
 * thousands of damaged copies are decoded (the sanitizers watch). */
#include "raftgroup/base/prng.h"
#include "shard/command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fl_bytes str(const char *text)
{
    return text != NULL ? fl_bytes_of_string(text) : fl_bytes(NULL, 0);
}

static struct shard_op op_put(const char *key)
{
    return (struct shard_op){.kind = SHARD_OP_PUT, .put = {.key = str(key), .value = str("v")}};
}

static struct shard_op op_delete(const char *key, const char *end)
{
    return (struct shard_op){.kind = SHARD_OP_DELETE_RANGE,
                             .del = {.key = str(key), .end = str(end)}};
}

static struct shard_op op_range(const char *key, const char *end)
{
    return (struct shard_op){.kind = SHARD_OP_RANGE, .range = {.key = str(key), .end = str(end)}};
}

static struct shard_op
op_txn(struct shard_op *then_ops, size_t n, struct shard_op *else_ops, size_t m)
{
    return (struct shard_op){.kind = SHARD_OP_TXN,
                             .txn = {.then_ops = {then_ops, n}, .else_ops = {else_ops, m}}};
}

static enum fl_status validate(struct shard_op *ops, size_t count)
{
    const struct shard_txn txn = {.then_ops = {ops, count}};

    return shard_txn_validate(&txn);
}

/* ---- encoding ---- */

static void test_header_is_as_documented(void **state)
{
    const struct shard_put put = {.key = str("k"), .value = str("v")};
    struct shard_command command;
    struct fl_buf *buf;
    static const uint8_t wanted[48] = {1, 1, 0, 0, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1,
                                       9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
                                       6, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0};

    (void)state;
    assert_int_equal(shard_command_put(&put, &buf), FL_OK);
    shard_command_set_origin(
        buf, (struct shard_origin){.node_id = 0x0102030405060708, .boot = 0x01020304}, 9, 7);
    shard_command_set_revision(buf, 6);
    shard_command_set_epoch(buf, 5);
    assert_memory_equal(buf->data, wanted, sizeof(wanted));
    assert_int_equal(shard_command_decode(fl_buf_bytes(buf), &command), FL_OK);
    assert_int_equal(command.kind, SHARD_COMMAND_PUT);
    assert_int_equal(command.origin.node_id, 0x0102030405060708);
    assert_int_equal(command.origin.boot, 0x01020304);
    assert_int_equal(command.seq, 9);
    assert_int_equal(command.finished_below, 7);
    assert_int_equal(command.revision, 6);
    assert_int_equal(command.epoch, 5);
    buf->data[0] = 2;
    assert_int_equal(shard_command_decode(fl_buf_bytes(buf), &command), FL_NEWER_FORMAT);
    buf->data[0] = 0;
    assert_int_equal(shard_command_decode(fl_buf_bytes(buf), &command), FL_BAD_MESSAGE);
    buf->data[0] = 1;
    buf->data[2] = 1;
    assert_int_equal(shard_command_decode(fl_buf_bytes(buf), &command), FL_BAD_MESSAGE);
    assert_int_equal(shard_command_decode(fl_bytes(NULL, 0), &command), FL_BAD_MESSAGE);
    fl_buf_release(buf);
}

static void assert_put_equal(const struct shard_put *a, const struct shard_put *b)
{
    assert_true(fl_bytes_equal(a->key, b->key));
    assert_true(fl_bytes_equal(a->value, b->value));
    assert_int_equal(a->lease, b->lease);
    assert_int_equal(a->prev_kv, b->prev_kv);
    assert_int_equal(a->ignore_value, b->ignore_value);
    assert_int_equal(a->ignore_lease, b->ignore_lease);
}

static struct fl_bytes body_of(const struct fl_buf *buf)
{
    struct shard_command command;

    assert_int_equal(shard_command_decode(fl_buf_bytes(buf), &command), FL_OK);
    return command.body;
}

static void test_plain_bodies_round_trip(void **state)
{
    const struct shard_put puts[] = {
        {.key = str("k")},
        {.key = fl_bytes("\0k\0", 3), .value = fl_bytes("\0\0", 2), .lease = -1, .prev_kv = true},
        {.key = str("k"), .value = str("v"), .lease = INT64_MAX, .ignore_value = true},
        {.key = str("k"), .ignore_lease = true},
    };
    const struct shard_delete del = {.key = str("a"), .end = fl_bytes("\0", 1), .prev_kv = true};
    struct shard_put put;
    struct shard_delete got;
    struct fl_buf *buf;
    uint64_t number;
    bool force;

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(shard_command_put(&puts[i], &buf), FL_OK);
        assert_int_equal(shard_put_decode(body_of(buf), &put), FL_OK);
        assert_put_equal(&put, &puts[i]);
        fl_buf_release(buf);
    }
    assert_int_equal(shard_command_delete(&del, &buf), FL_OK);
    assert_int_equal(shard_delete_decode(body_of(buf), &got), FL_OK);
    assert_true(fl_bytes_equal(got.key, del.key) && fl_bytes_equal(got.end, del.end));
    assert_true(got.prev_kv);
    fl_buf_release(buf);
    buf = shard_command_compact(77, true);
    assert_int_equal(shard_compact_decode(body_of(buf), &number, &force), FL_OK);
    assert_true(number == 77 && force);
    fl_buf_release(buf);
    buf = shard_command_mark(UINT64_MAX);
    assert_int_equal(shard_mark_decode(body_of(buf), &number), FL_OK);
    assert_true(number == UINT64_MAX);
    fl_buf_release(buf);
}

static void assert_ops_equal(const struct shard_ops *a, const struct shard_ops *b);

static void assert_txn_equal(const struct shard_txn *a, const struct shard_txn *b)
{
    assert_int_equal(a->compare_count, b->compare_count);
    for (size_t i = 0; i < a->compare_count; i++) {
        assert_int_equal(a->compares[i].result, b->compares[i].result);
        assert_int_equal(a->compares[i].target, b->compares[i].target);
        assert_int_equal(a->compares[i].number, b->compares[i].number);
        assert_true(fl_bytes_equal(a->compares[i].key, b->compares[i].key));
        assert_true(fl_bytes_equal(a->compares[i].end, b->compares[i].end));
        assert_true(fl_bytes_equal(a->compares[i].value, b->compares[i].value));
    }
    assert_ops_equal(&a->then_ops, &b->then_ops);
    assert_ops_equal(&a->else_ops, &b->else_ops);
}

static void assert_ops_equal(const struct shard_ops *a, const struct shard_ops *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        const struct shard_op *x = &a->ops[i];
        const struct shard_op *y = &b->ops[i];

        assert_int_equal(x->kind, y->kind);
        if (x->kind == SHARD_OP_PUT) {
            assert_put_equal(&x->put, &y->put);
        } else if (x->kind == SHARD_OP_DELETE_RANGE) {
            assert_true(fl_bytes_equal(x->del.key, y->del.key));
            assert_true(fl_bytes_equal(x->del.end, y->del.end));
        } else if (x->kind == SHARD_OP_RANGE) {
            assert_true(fl_bytes_equal(x->range.key, y->range.key));
            assert_int_equal(x->range.limit, y->range.limit);
            assert_int_equal(x->range.max_mod_revision, y->range.max_mod_revision);
        } else {
            assert_txn_equal(&x->txn, &y->txn);
        }
    }
}

/* A tree with every kind of operation and compare. */
struct sample {
    struct shard_compare compares[3];
    struct shard_op inner[2];
    struct shard_op ops[5];
    struct shard_txn txn;
};

static void sample_init(struct sample *s)
{
    *s = (struct sample){
        .compares = {{.target = SHARD_COMPARE_MOD, .key = str("a"), .number = -3},
                     {.result = SHARD_COMPARE_NOT_EQUAL,
                      .target = SHARD_COMPARE_VALUE,
                      .key = str("b"),
                      .end = str("c"),
                      .value = str("x")},
                     {.result = 9, .target = SHARD_COMPARE_LEASE, .key = str("z")}},
        .inner = {op_put("in"), op_delete("x", "y")},
        .ops =
            {op_put("p"), op_delete("d", NULL), op_range("r", "s"), {0}, op_txn(NULL, 0, NULL, 0)},
    };
    s->ops[2].range.limit = 5;
    s->ops[2].range.max_mod_revision = -1;
    s->ops[3] = op_txn(s->inner, 2, s->inner, 1);
    s->ops[3].txn.compares = s->compares;
    s->ops[3].txn.compare_count = 2;
    s->txn = (struct shard_txn){.compares = s->compares,
                                .compare_count = 3,
                                .then_ops = {s->ops, 5},
                                .else_ops = {s->ops, 3}};
}

static void test_txn_round_trips(void **state)
{
    struct sample s;
    struct shard_txn txn;
    struct fl_buf *buf;
    void *memory = NULL;
    size_t memory_bytes = 0;

    (void)state;
    sample_init(&s);
    assert_int_equal(shard_command_txn(&s.txn, &buf), FL_OK);
    for (unsigned i = 0; i < 2; i++) { /* the second time into the same memory */
        assert_int_equal(shard_txn_decode(body_of(buf), &txn, &memory, &memory_bytes), FL_OK);
        assert_txn_equal(&txn, &s.txn);
    }
    fl_buf_release(buf);
    s.txn = (struct shard_txn){0};
    assert_int_equal(shard_command_txn(&s.txn, &buf), FL_OK);
    assert_int_equal(shard_txn_decode(body_of(buf), &txn, &memory, &memory_bytes), FL_OK);
    assert_int_equal(txn.then_ops.count, 0);
    fl_buf_release(buf);
    free(memory);
}

/* Decodes everything there is to decode; the answer does not matter, surviving does. */
static void decode_all(struct fl_bytes payload, void **memory, size_t *memory_bytes)
{
    struct shard_command command;
    struct shard_put put;
    struct shard_delete del;
    struct shard_txn txn;
    struct fl_bytes key;
    struct fl_bytes end;
    uint64_t number;
    bool force;

    (void)!shard_command_span(payload, &key, &end);
    if (shard_command_decode(payload, &command) == FL_OK) {
        (void)!shard_put_decode(command.body, &put);
        (void)!shard_delete_decode(command.body, &del);
        (void)!shard_compact_decode(command.body, &number, &force);
        (void)!shard_mark_decode(command.body, &number);
        if (shard_txn_decode(command.body, &txn, memory, memory_bytes) == FL_OK) {
            (void)!shard_txn_validate(&txn);
        }
    }
}

static void test_hostile_bytes_are_survived(void **state)
{
    struct sample s;
    struct fl_buf *buf;
    struct fl_prng prng;
    void *memory = NULL;
    size_t memory_bytes = 0;

    (void)state;
    sample_init(&s);
    assert_int_equal(shard_command_txn(&s.txn, &buf), FL_OK);
    for (uint32_t len = 0; len < buf->len; len++) {
        /* A copy of its own, so that a read beyond the end is noticed. */
        uint8_t *cut = malloc(len + 1);

        memcpy(cut, buf->data, len);
        decode_all(fl_bytes(cut, len), &memory, &memory_bytes);
        if (len >= SHARD_COMMAND_HEADER_BYTES) {
            struct fl_bytes key;
            struct fl_bytes end;

            assert_int_not_equal(shard_command_span(fl_bytes(cut, len), &key, &end), FL_OK);
        }
        free(cut);
    }
    fl_prng_seed(&prng, 4);
    for (unsigned round = 0; round < 60000; round++) {
        uint8_t *copy = malloc(buf->len);
        size_t changes = 1 + (size_t)fl_prng_below(&prng, 3);

        memcpy(copy, buf->data, buf->len);
        while (changes-- != 0) {
            copy[fl_prng_below(&prng, buf->len)] = (uint8_t)fl_prng_next(&prng);
        }
        copy[0] = SHARD_COMMAND_VERSION;
        copy[1] = (uint8_t)(1 + round % 6);
        decode_all(fl_bytes(copy, buf->len), &memory, &memory_bytes);
        free(copy);
    }
    free(memory);
    fl_buf_release(buf);
}

/* Declared counts beyond what the bytes can hold must not be allocated for. */
static void test_huge_counts_are_refused_cheaply(void **state)
{
    const uint8_t body[] = {0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0};
    struct shard_txn txn;
    void *memory = NULL;
    size_t memory_bytes = 0;

    (void)state;
    assert_int_equal(shard_txn_decode(fl_bytes(body, sizeof(body)), &txn, &memory, &memory_bytes),
                     FL_BAD_MESSAGE);
    assert_null(memory);
}

static void test_sizes_and_depth_are_bounded(void **state)
{
    static struct shard_op levels[FL_TXN_DEPTH_MAX + 1];
    struct shard_put put = {.key = str("k")};
    struct shard_txn txn;
    struct fl_buf *buf;
    char *big = calloc(1, FL_ENTRY_BYTES_MAX + 1);

    (void)state;
    put.value = fl_bytes(big, FL_ENTRY_BYTES_MAX);
    assert_int_equal(shard_command_put(&put, &buf), FL_TOO_LARGE);
    put.value = fl_bytes(big, FL_REQUEST_BYTES_MAX);
    assert_int_equal(shard_command_put(&put, &buf), FL_OK);
    fl_buf_release(buf);
    put.key = fl_bytes(big, FL_KEY_BYTES_MAX + 1);
    assert_int_equal(shard_put_validate(&put), FL_TOO_LARGE);
    assert_int_equal(shard_command_put(&put, &buf), FL_TOO_LARGE);
    levels[0] = op_put("k");
    for (size_t i = 1; i <= FL_TXN_DEPTH_MAX; i++) {
        levels[i] = op_txn(&levels[i - 1], 1, NULL, 0);
    }
    txn = levels[FL_TXN_DEPTH_MAX].txn; /* exactly as deep as allowed */
    assert_int_equal(shard_txn_validate(&txn), FL_OK);
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    fl_buf_release(buf);
    txn = (struct shard_txn){.then_ops = {&levels[FL_TXN_DEPTH_MAX], 1}};
    assert_int_equal(shard_txn_validate(&txn), FL_TOO_DEEP);
    assert_int_equal(shard_command_txn(&txn, &buf), FL_TOO_DEEP);
    free(big);
}

/* ---- validation ---- */

static void test_single_requests(void **state)
{
    const struct {
        struct shard_put put;
        enum fl_status status;
    } puts[] = {
        {{.key = str("k"), .value = str("v")}, FL_OK},
        {{.key = str("")}, FL_EMPTY_KEY},
        {{.key = str("k"), .ignore_value = true}, FL_OK},
        {{.key = str("k"), .value = str("v"), .ignore_value = true}, FL_VALUE_PROVIDED},
        {{.key = str("k"), .lease = 1, .ignore_lease = true}, FL_LEASE_PROVIDED},
        {{.key = str("k"), .lease = 1}, FL_LEASE_NOT_FOUND},
        {{.key = str(""), .value = str("v"), .ignore_value = true}, FL_EMPTY_KEY},
    };
    struct shard_read read = {.key = str("k")};
    struct shard_delete del = {.key = str("")};

    (void)state;
    for (size_t i = 0; i < sizeof(puts) / sizeof(puts[0]); i++) {
        assert_int_equal(shard_put_validate(&puts[i].put), puts[i].status);
    }
    assert_int_equal(shard_delete_validate(&del), FL_EMPTY_KEY);
    del.key = str("k");
    assert_int_equal(shard_delete_validate(&del), FL_OK);
    assert_int_equal(shard_read_validate(&read), FL_OK);
    read.sort_order = 3;
    assert_int_equal(shard_read_validate(&read), FL_INVALID_SORT);
    read = (struct shard_read){.key = str("k"), .sort_target = 5};
    assert_int_equal(shard_read_validate(&read), FL_INVALID_SORT);
    read = (struct shard_read){0};
    assert_int_equal(shard_read_validate(&read), FL_EMPTY_KEY);
}

static void test_txn_elements(void **state)
{
    struct shard_compare compare = {.key = str("k")};
    struct shard_txn txn = {.compares = &compare, .compare_count = 1};
    struct shard_op op = {.kind = SHARD_OP_NONE};

    (void)state;
    assert_int_equal(shard_txn_validate(&txn), FL_OK);
    compare.key = str("");
    assert_int_equal(shard_txn_validate(&txn), FL_EMPTY_KEY);
    compare = (struct shard_compare){.key = str("k"), .target = 5};
    assert_int_equal(shard_txn_validate(&txn), FL_INVALID);
    assert_int_equal(validate(&op, 1), FL_KEY_NOT_FOUND); /* an empty RequestOp */
    op = op_put("");
    assert_int_equal(validate(&op, 1), FL_EMPTY_KEY);
    op = op_range("", NULL);
    assert_int_equal(validate(&op, 1), FL_EMPTY_KEY);
    op = op_range("k", NULL);
    op.range.sort_target = 7;
    assert_int_equal(validate(&op, 1), FL_INVALID_SORT);
}

static void test_counts_of_operations(void **state)
{
    static struct shard_op ops[FL_TXN_OPS_MAX + 1];
    static struct shard_op inner[FL_TXN_OPS_MAX];
    static struct shard_compare compares[FL_TXN_OPS_MAX + 1];
    struct shard_txn txn = {.compares = compares};

    (void)state;
    for (size_t i = 0; i <= FL_TXN_OPS_MAX; i++) {
        ops[i] = op_range("k", NULL);
        compares[i].key = str("k");
    }
    assert_int_equal(validate(ops, FL_TXN_OPS_MAX), FL_OK);
    assert_int_equal(validate(ops, FL_TXN_OPS_MAX + 1), FL_TOO_MANY_OPS);
    txn.compare_count = FL_TXN_OPS_MAX;
    assert_int_equal(shard_txn_validate(&txn), FL_OK);
    txn.compare_count++;
    assert_int_equal(shard_txn_validate(&txn), FL_TOO_MANY_OPS);
    /* A nested one gets what its parent left over. */
    for (size_t i = 0; i < FL_TXN_OPS_MAX; i++) {
        inner[i] = op_range("k", NULL);
    }
    ops[0] = op_txn(inner, FL_TXN_OPS_MAX - 2, NULL, 0);
    assert_int_equal(validate(ops, 2), FL_OK);
    assert_int_equal(validate(ops, 3), FL_TOO_MANY_OPS);
    /* The whole tree is bounded too: 64 branches of 2 x 63, each with as many below .. */
    for (size_t i = 0; i < 63; i++) {
        inner[i] = op_txn(ops + 1, 60, NULL, 0);
    }
    for (size_t i = 0; i < 60; i++) {
        ops[i + 1] = op_range("k", NULL);
    }
    ops[0] = op_txn(inner, 63, inner, 63);
    assert_int_equal(validate(ops, 1), FL_OK);
    {
        struct shard_op twice[3] = {ops[0], ops[0], ops[0]};

        assert_int_equal(validate(twice, 3), FL_TOO_MANY_OPS);
    }
}

static void test_duplicate_keys(void **state)
{
    struct shard_op a = op_put("a");
    struct shard_op ab[] = {op_put("a"), op_put("b")};
    struct shard_op del_a[] = {op_delete("a", NULL)};
    struct shard_op del_all[] = {op_delete("a", "z")};
    struct shard_op del_open[] = {
        {.kind = SHARD_OP_DELETE_RANGE, .del = {.key = str("a"), .end = fl_bytes("\0", 1)}}};

#define CHECK(status, ...)                                                                         \
    do {                                                                                           \
        struct shard_op ops[] = {__VA_ARGS__};                                                     \
        assert_int_equal(validate(ops, sizeof(ops) / sizeof(ops[0])), status);                     \
    } while (0)
    (void)state;
    CHECK(FL_OK, op_put("a"), op_put("b"));
    CHECK(FL_DUPLICATE_KEY, op_put("a"), op_put("b"), op_put("a"));
    CHECK(FL_DUPLICATE_KEY, op_put("a"), op_delete("a", NULL));
    CHECK(FL_DUPLICATE_KEY, op_delete("a", NULL), op_put("a"));
    CHECK(FL_OK, op_delete("a", NULL), op_delete("a", NULL));
    CHECK(FL_OK, op_delete("a", "c"), op_delete("b", "d"), op_put("d"));
    CHECK(FL_DUPLICATE_KEY, op_delete("a", "c"), op_delete("b", "d"), op_put("cc"));
    CHECK(FL_DUPLICATE_KEY, op_put("k"), del_open[0]);
    CHECK(FL_OK, op_put("A"), del_open[0]);
    CHECK(FL_OK, op_delete("z", "a"), op_put("k")); /* an inverted interval is empty */
    CHECK(FL_OK, op_range("a", "z"), op_put("k"));
    /* Nested: both branches count, but may share keys with each other. */
    CHECK(FL_OK, op_txn(ab, 2, ab, 2));
    CHECK(FL_DUPLICATE_KEY, op_txn(ab, 2, NULL, 0), op_put("a"));
    CHECK(FL_DUPLICATE_KEY, op_put("b"), op_txn(NULL, 0, ab, 2));
    CHECK(FL_DUPLICATE_KEY, op_txn(&a, 1, NULL, 0), op_txn(NULL, 0, &a, 1));
    CHECK(FL_DUPLICATE_KEY, op_txn(ab, 2, NULL, 0), op_delete("b", NULL));
    CHECK(FL_DUPLICATE_KEY, op_txn(del_all, 1, NULL, 0), op_put("k"));
    CHECK(FL_DUPLICATE_KEY, op_txn(NULL, 0, del_a, 1), op_txn(&a, 1, NULL, 0));
    /* Quirk kept: a sibling's later delete is not held against an earlier put. */
    CHECK(FL_OK, op_txn(&a, 1, NULL, 0), op_txn(NULL, 0, del_a, 1));
    CHECK(FL_OK, op_txn(&a, 1, del_a, 1));
#undef CHECK
    {
        /* The same key in `then` and in `else` of the whole request. */
        const struct shard_txn txn = {.then_ops = {&a, 1}, .else_ops = {&a, 1}};

        assert_int_equal(shard_txn_validate(&txn), FL_OK);
    }
}

/* ---- span ---- */

static void assert_span(struct fl_buf *buf, const char *key, struct fl_bytes end)
{
    struct fl_bytes got_key;
    struct fl_bytes got_end;

    assert_int_equal(shard_command_span(fl_buf_bytes(buf), &got_key, &got_end), FL_OK);
    assert_true(fl_bytes_equal(got_key, str(key)));
    assert_true(fl_bytes_equal(got_end, end));
    fl_buf_release(buf);
}

static void test_spans(void **state)
{
    const struct shard_put put = {.key = str("k"), .value = str("v")};
    struct shard_delete del = {.key = str("b"), .end = str("d")};
    struct shard_compare compare = {.key = str("m")};
    struct shard_op inner[] = {op_put("z")};
    struct shard_op ops[] = {op_put("c"), op_range("c", NULL), op_txn(NULL, 0, inner, 1)};
    struct shard_txn txn = {.then_ops = {ops, 1}, .else_ops = {ops, 2}};
    struct fl_buf *buf;

    (void)state;
    assert_int_equal(shard_command_put(&put, &buf), FL_OK);
    assert_span(buf, "k", str(NULL));
    assert_int_equal(shard_command_delete(&del, &buf), FL_OK);
    assert_span(buf, "b", str("d"));
    del.end = fl_bytes("\0", 1);
    assert_int_equal(shard_command_delete(&del, &buf), FL_OK);
    assert_span(buf, "b", fl_bytes("\0", 1));
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, "c", str(NULL)); /* one key, however often */
    txn.compares = &compare;
    txn.compare_count = 1;
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, "c", fl_bytes("m\0", 2));
    txn.then_ops.count = 3;
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, "c", fl_bytes("z\0", 2));
    compare = (struct shard_compare){.key = str("a"), .end = str("x")};
    txn.then_ops.count = 0;
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, "a", str("x"));
    compare.end = fl_bytes("\0", 1);
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, "a", fl_bytes("\0", 1));
    assert_span(shard_command_compact(4, false), NULL, str(NULL));
    txn = (struct shard_txn){0};
    assert_int_equal(shard_command_txn(&txn, &buf), FL_OK);
    assert_span(buf, NULL, str(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_is_as_documented),
        cmocka_unit_test(test_plain_bodies_round_trip),
        cmocka_unit_test(test_txn_round_trips),
        cmocka_unit_test(test_hostile_bytes_are_survived),
        cmocka_unit_test(test_huge_counts_are_refused_cheaply),
        cmocka_unit_test(test_sizes_and_depth_are_bounded),
        cmocka_unit_test(test_single_requests),
        cmocka_unit_test(test_txn_elements),
        cmocka_unit_test(test_counts_of_operations),
        cmocka_unit_test(test_duplicate_keys),
        cmocka_unit_test(test_spans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
