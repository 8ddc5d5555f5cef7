/* Goal: every field of a request reaches the shard, every field of a result reaches the client, and
 * a result that is not what it should be is refused.
 * Method: messages with different values in all fields are converted, encoded, decoded and
 * compared; results are written with the shard's writer, damaged, converted, packed and unpacked.
 */
#include "api/convert.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct api_arena arena;

static int open_arena(void **state)
{
    (void)state;
    api_arena_init(&arena);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    api_arena_close(&arena);
    return 0;
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

#define assert_bytes(bytes, text)                                                                  \
    do {                                                                                           \
        assert_int_equal((bytes).len, strlen(text));                                               \
        assert_memory_equal((bytes).data, text, strlen(text));                                     \
    } while (0)

/* --- requests ------------------------------------------------------------------------------- */

static void every_field_of_a_range_arrives(void **state)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct shard_read r;

    (void)state;
    m.key = binary("k");
    m.range_end = binary("l");
    m.limit = 5;
    m.revision = 6;
    m.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    m.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__MOD;
    m.serializable = 1;
    m.keys_only = 1;
    m.count_only = 1;
    m.min_mod_revision = 7;
    m.max_mod_revision = 8;
    m.min_create_revision = 9;
    m.max_create_revision = 10;
    api_read_from(&m, &r);
    assert_bytes(r.key, "k");
    assert_bytes(r.end, "l");
    assert_int_equal(r.limit, 5);
    assert_int_equal(r.revision, 6);
    assert_int_equal(r.sort_order, SHARD_SORT_DESCEND);
    assert_int_equal(r.sort_target, SHARD_SORT_MOD);
    assert_true(r.serializable && r.keys_only && r.count_only);
    assert_int_equal(r.min_mod_revision, 7);
    assert_int_equal(r.max_mod_revision, 8);
    assert_int_equal(r.min_create_revision, 9);
    assert_int_equal(r.max_create_revision, 10);
    assert_int_equal(shard_read_validate(&r), FL_OK);
    m.limit = -1; /* etcd: no limit, newest */
    m.revision = INT64_MIN;
    api_read_from(&m, &r);
    assert_int_equal(r.limit, 0);
    assert_int_equal(r.revision, 0);
    m.sort_order = (Etcdserverpb__RangeRequest__SortOrder)7;
    api_read_from(&m, &r);
    assert_int_equal(shard_read_validate(&r), FL_INVALID_SORT);
}

static void every_field_of_a_put_arrives(void **state)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct shard_put p;

    (void)state;
    m.key = binary("k");
    m.value = binary("v");
    m.lease = -3;
    m.prev_kv = 1;
    api_put_from(&m, &p);
    assert_bytes(p.key, "k");
    assert_bytes(p.value, "v");
    assert_int_equal(p.lease, -3);
    assert_true(p.prev_kv && !p.ignore_value && !p.ignore_lease);
    m.prev_kv = 0;
    m.ignore_value = 1;
    api_put_from(&m, &p);
    assert_true(!p.prev_kv && p.ignore_value && !p.ignore_lease);
    m.ignore_value = 0;
    m.ignore_lease = 1;
    api_put_from(&m, &p);
    assert_true(!p.prev_kv && !p.ignore_value && p.ignore_lease);
}

static void a_delete_arrives(void **state)
{
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    struct shard_delete d;

    (void)state;
    m.key = binary("a");
    m.range_end = binary("b");
    m.prev_kv = 1;
    api_delete_from(&m, &d);
    assert_bytes(d.key, "a");
    assert_bytes(d.end, "b");
    assert_true(d.prev_kv);
}

/* Each target reads its own member of the union, and 0 or nothing when another one was set. */
static void compares_read_their_own_member(void **state)
{
    static const struct {
        int target;
        int member;
    } pairs[] = {
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION,
         ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE,
         ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD,
         ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION},
        {ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE, ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE},
    };
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare c = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *list[] = {&c};
    struct shard_txn t;

    (void)state;
    m.compare = list;
    m.n_compare = 1;
    c.key = binary("k");
    c.range_end = binary("m");
    c.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
    for (size_t i = 0; i < 4; i++) {
        for (size_t k = 0; k < 4; k++) {
            c.target = (Etcdserverpb__Compare__CompareTarget)pairs[i].target;
            c.target_union_case = (Etcdserverpb__Compare__TargetUnionCase)pairs[k].member;
            c.lease = 42; /* any of the numbers */
            api_txn_from(&arena, &m, &t);
            assert_int_equal(t.compare_count, 1);
            assert_int_equal(t.compares[0].result, SHARD_COMPARE_LESS);
            assert_int_equal(t.compares[0].target, pairs[i].target);
            assert_int_equal(t.compares[0].number, i == k ? 42 : 0);
            assert_int_equal(t.compares[0].value.len, 0);
            assert_bytes(t.compares[0].key, "k");
            assert_bytes(t.compares[0].end, "m");
        }
    }
    c.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
    api_txn_from(&arena, &m, &t);
    assert_int_equal(t.compares[0].value.len, 0); /* the lease was set */
    c.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
    c.value = binary("v");
    api_txn_from(&arena, &m, &t);
    assert_bytes(t.compares[0].value, "v");
    assert_int_equal(t.compares[0].number, 0);
    c.target = (Etcdserverpb__Compare__CompareTarget)9;
    api_txn_from(&arena, &m, &t);
    assert_int_equal(shard_txn_validate(&t), FL_INVALID);
}

/* if k: put a; range b; delete c; txn{put d} else: empty operation */
static void a_nested_txn_keeps_its_shape(void **state)
{
    Etcdserverpb__PutRequest put_a = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutRequest put_d = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__TxnRequest inner = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__RequestOp ops[6];
    Etcdserverpb__RequestOp *then_list[4];
    Etcdserverpb__RequestOp *inner_list[] = {&ops[4]};
    Etcdserverpb__RequestOp *else_list[] = {&ops[5]};
    struct shard_txn t;

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        etcdserverpb__request_op__init(&ops[i]);
    }
    for (size_t i = 0; i < 4; i++) {
        then_list[i] = &ops[i];
    }
    put_a.key = binary("a");
    put_d.key = binary("d");
    range.key = binary("b");
    del.key = binary("c");
    ops[0].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[0].request_put = &put_a;
    ops[1].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    ops[1].request_range = &range;
    ops[2].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    ops[2].request_delete_range = &del;
    ops[3].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    ops[3].request_txn = &inner;
    ops[4].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    ops[4].request_put = &put_d;
    inner.failure = inner_list;
    inner.n_failure = 1;
    m.success = then_list;
    m.n_success = 4;
    m.failure = else_list;
    m.n_failure = 1;
    api_txn_from(&arena, &m, &t);
    assert_int_equal(t.then_ops.count, 4);
    assert_int_equal(t.then_ops.ops[0].kind, SHARD_OP_PUT);
    assert_bytes(t.then_ops.ops[0].put.key, "a");
    assert_int_equal(t.then_ops.ops[1].kind, SHARD_OP_RANGE);
    assert_bytes(t.then_ops.ops[1].range.key, "b");
    assert_int_equal(t.then_ops.ops[2].kind, SHARD_OP_DELETE_RANGE);
    assert_bytes(t.then_ops.ops[2].del.key, "c");
    assert_int_equal(t.then_ops.ops[3].kind, SHARD_OP_TXN);
    assert_int_equal(t.then_ops.ops[3].txn.then_ops.count, 0);
    assert_int_equal(t.then_ops.ops[3].txn.else_ops.count, 1);
    assert_bytes(t.then_ops.ops[3].txn.else_ops.ops[0].put.key, "d");
    assert_int_equal(t.else_ops.count, 1);
    assert_int_equal(t.else_ops.ops[0].kind, SHARD_OP_NONE);
    assert_int_equal(shard_txn_validate(&t), FL_KEY_NOT_FOUND); /* the empty operation */
}

/* --- results -------------------------------------------------------------------------------- */

static const struct shard_kv kv_1 =
    {{(const uint8_t *)"k1", 2}, {(const uint8_t *)"v1", 2}, 3, 4, 5, 6};
static const struct shard_kv kv_2 = {{(const uint8_t *)"k2", 2}, {NULL, 0}, 7, 8, 9, 0};

static struct fl_buf *finish(struct shard_result_writer *w)
{
    struct fl_buf *buf = NULL;

    assert_int_equal(shard_result_take(w, &buf), FL_OK);
    shard_result_writer_close(w);
    return buf;
}

static struct fl_buf *range_result(void)
{
    struct shard_result_writer w;

    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_RANGE, 20);
    shard_result_add_kv(&w, &kv_1);
    shard_result_add_kv(&w, &kv_2);
    shard_result_set_count(&w, 7);
    shard_result_set_flags(&w, true, false, false);
    shard_result_end(&w);
    return finish(&w);
}

static void assert_kv(const Mvccpb__KeyValue *m, const struct shard_kv *kv)
{
    assert_int_equal(m->key.len, kv->key.len);
    assert_memory_equal(m->key.data, kv->key.data, kv->key.len);
    assert_int_equal(m->value.len, kv->value.len);
    assert_int_equal(m->create_revision, kv->create_revision);
    assert_int_equal(m->mod_revision, kv->mod_revision);
    assert_int_equal(m->version, kv->version);
    assert_int_equal(m->lease, kv->lease);
}

static void a_range_result_arrives(void **state)
{
    Etcdserverpb__RangeResponse m = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    struct fl_buf *buf = range_result();
    struct shard_result r;

    (void)state;
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_range_to(&arena, &r, &m), FL_OK);
    assert_int_equal(m.count, 7);
    assert_true(m.more);
    assert_int_equal(m.n_kvs, 2);
    assert_kv(m.kvs[0], &kv_1);
    assert_kv(m.kvs[1], &kv_2);
    fl_buf_release(buf);
}

static void put_and_delete_results_arrive(void **state)
{
    Etcdserverpb__PutResponse put = ETCDSERVERPB__PUT_RESPONSE__INIT;
    Etcdserverpb__DeleteRangeResponse del = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    struct shard_result_writer w;
    struct shard_result r;
    struct fl_buf *buf = shard_result_plain(SHARD_RESULT_PUT, 5);

    (void)state;
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_put_to(&arena, &r, &put), FL_OK);
    assert_null(put.prev_kv);
    fl_buf_release(buf);
    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_PUT, 5);
    shard_result_set_flags(&w, false, false, true);
    shard_result_add_kv(&w, &kv_1);
    shard_result_end(&w);
    buf = finish(&w);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_put_to(&arena, &r, &put), FL_OK);
    assert_kv(put.prev_kv, &kv_1);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_delete_to(&arena, &r, &del), FL_BAD_MESSAGE); /* a put is no delete */
    fl_buf_release(buf);
    buf = shard_result_deleted(5, 3);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_delete_to(&arena, &r, &del), FL_OK);
    assert_int_equal(del.deleted, 3);
    assert_int_equal(del.n_prev_kvs, 0);
    fl_buf_release(buf);
}

static struct fl_buf *txn_result(void)
{
    struct shard_result_writer w;

    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_TXN, 30);
    shard_result_set_flags(&w, false, true, false);
    shard_result_begin(&w, SHARD_RESULT_PUT, 30);
    shard_result_end(&w);
    shard_result_begin(&w, SHARD_RESULT_RANGE, 29);
    shard_result_set_count(&w, 1);
    shard_result_add_kv(&w, &kv_1);
    shard_result_end(&w);
    shard_result_begin(&w, SHARD_RESULT_TXN, 30);
    shard_result_begin(&w, SHARD_RESULT_DELETE_RANGE, 30);
    shard_result_set_count(&w, 2);
    shard_result_end(&w);
    shard_result_end(&w);
    shard_result_end(&w);
    return finish(&w);
}

/* The responses inside carry their own revision, as etcd's do; packed and unpacked once, because
 * that is what a client sees. */
static void a_txn_result_arrives(void **state)
{
    Etcdserverpb__TxnResponse m = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__TxnResponse *seen;
    struct fl_buf *buf = txn_result();
    struct shard_result r;
    uint8_t wire[1024];
    size_t len;

    (void)state;
    assert_int_equal(shard_result_check(fl_buf_bytes(buf)), FL_OK);
    assert_int_equal(shard_result_decode(fl_buf_bytes(buf), &r), FL_OK);
    assert_int_equal(api_txn_to(&arena, &r, &m), FL_OK);
    len = etcdserverpb__txn_response__pack(&m, wire);
    seen = etcdserverpb__txn_response__unpack(NULL, len, wire);
    assert_non_null(seen);
    assert_true(seen->succeeded);
    assert_int_equal(seen->n_responses, 3);
    assert_int_equal(seen->responses[0]->response_put->header->revision, 30);
    assert_int_equal(seen->responses[1]->response_range->header->revision, 29);
    assert_kv(seen->responses[1]->response_range->kvs[0], &kv_1);
    assert_int_equal(seen->responses[2]->response_txn->n_responses, 1);
    assert_int_equal(seen->responses[2]->response_txn->responses[0]->response_delete_range->deleted,
                     2);
    etcdserverpb__txn_response__free_unpacked(seen, NULL);
    fl_buf_release(buf);
}

/* Results may come from another node: every single damaged byte and every shorter length is either
 * refused or still something that can be converted. */
static void damaged_results_do_no_harm(void **state)
{
    struct fl_buf *whole = txn_result();
    size_t refused = 0;

    (void)state;
    for (size_t i = 0; i < whole->len; i++) {
        for (unsigned bit = 0; bit < 9; bit++) {
            Etcdserverpb__TxnResponse m = ETCDSERVERPB__TXN_RESPONSE__INIT;
            size_t len = bit == 8 ? i : whole->len;
            uint8_t *copy = malloc(len == 0 ? 1 : len);
            struct shard_result r;

            memcpy(copy, whole->data, len);
            if (bit < 8) {
                copy[i] ^= (uint8_t)(1u << bit);
            }
            if (shard_result_check(fl_bytes(copy, len)) != FL_OK ||
                shard_result_decode(fl_bytes(copy, len), &r) != FL_OK ||
                api_txn_to(&arena, &r, &m) != FL_OK) {
                refused++;
            }
            free(copy);
            api_arena_reset(&arena);
        }
    }
    assert_true(refused > whole->len);
    fl_buf_release(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_range_arrives),
        cmocka_unit_test(every_field_of_a_put_arrives),
        cmocka_unit_test(a_delete_arrives),
        cmocka_unit_test(compares_read_their_own_member),
        cmocka_unit_test(a_nested_txn_keeps_its_shape),
        cmocka_unit_test(a_range_result_arrives),
        cmocka_unit_test(put_and_delete_results_arrive),
        cmocka_unit_test(a_txn_result_arrives),
        cmocka_unit_test(damaged_results_do_no_harm),
    };

    return cmocka_run_group_tests(tests, open_arena, close_arena);
}
