/* Goal: no request bytes reach protobuf-c that could exhaust its stack, its time or our memory, and
 * every request a client of etcd can make does reach it.
 * Method: hand-made and generated wire bytes through the guard; what passes is really unpacked, so
 * the sanitizers see a guard that lets too much through. */
#include "api/arena.h"
#include "api/proto/rpc.pb-c.h"
#include "api/wire_guard.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const ProtobufCMessageDescriptor *const txn = &etcdserverpb__txn_request__descriptor;

/* --- wire bytes ----------------------------------------------------------------------------- */

/* Appends field `number` holding `content`. */
static void put_bytes(struct fl_writer *w, unsigned number, struct fl_bytes content)
{
    fl_write_varint(w, number << 3 | 2);
    fl_write_bytes(w, content);
}

/* Replaces what is in `w` by field `number` holding it. */
static void wrap(struct fl_writer *w, unsigned number)
{
    struct fl_writer outer;

    fl_writer_init(&outer);
    put_bytes(&outer, number, fl_writer_bytes(w));
    fl_writer_close(w);
    *w = outer;
}

/* A TxnRequest with `levels` Txns in each other, the innermost with one put. */
static void nest(struct fl_writer *w, unsigned levels)
{
    fl_writer_init(w);
    put_bytes(w, 1, fl_bytes("k", 1)); /* PutRequest.key */
    wrap(w, 2);                        /* RequestOp.request_put */
    wrap(w, 2);                        /* TxnRequest.success */
    for (unsigned i = 1; i < levels; i++) {
        wrap(w, 4); /* RequestOp.request_txn */
        wrap(w, 2);
    }
}

/* Guard and, when it agrees, protobuf-c. */
static enum fl_status check(struct fl_bytes wire, const ProtobufCMessageDescriptor *descriptor)
{
    enum fl_status status = api_wire_check(wire, descriptor);
    struct api_arena arena;

    if (status == FL_OK) {
        api_arena_init(&arena);
        (void)protobuf_c_message_unpack(descriptor, &arena.allocator, wire.len, wire.data);
        api_arena_close(&arena);
    }
    return status;
}

static enum fl_status check_and_close(struct fl_writer *w)
{
    enum fl_status status = check(fl_writer_bytes(w), txn);

    fl_writer_close(w);
    return status;
}

/* --- tests ---------------------------------------------------------------------------------- */

static void allowed_depth_passes_and_unpacks(void **state)
{
    Etcdserverpb__TxnRequest *message;
    struct fl_writer w;

    (void)state;
    nest(&w, FL_TXN_DEPTH_MAX);
    assert_int_equal(check(fl_writer_bytes(&w), txn), FL_OK);
    message = etcdserverpb__txn_request__unpack(NULL, w.len, w.data);
    assert_non_null(message);
    etcdserverpb__txn_request__free_unpacked(message, NULL);
    fl_writer_close(&w);
}

static void one_level_more_is_too_deep(void **state)
{
    struct fl_writer w;

    (void)state;
    nest(&w, FL_TXN_DEPTH_MAX + 1);
    assert_int_equal(check_and_close(&w), FL_TOO_DEEP);
}

/* Thousands of levels in some kilobytes: what ends a process that only unpacks. */
static void very_deep_is_cheap_to_refuse(void **state)
{
    struct fl_writer w;

    (void)state;
    nest(&w, 5000);
    assert_true(w.len < 64 * 1024);
    assert_int_equal(check_and_close(&w), FL_TOO_DEEP);
}

static void an_empty_message_passes(void **state)
{
    (void)state;
    assert_int_equal(check(fl_bytes(NULL, 0), txn), FL_OK);
}

/* Every shortening of a good request is refused, or is a good request. */
static void truncation_is_noticed(void **state)
{
    struct fl_writer w;
    size_t refused = 0;

    (void)state;
    nest(&w, 3);
    for (size_t len = 1; len < w.len; len++) {
        uint8_t *exact = malloc(len); /* so that ASan sees a read behind the end */

        memcpy(exact, w.data, len);
        refused += check(fl_bytes(exact, len), txn) == FL_BAD_MESSAGE;
        free(exact);
    }
    assert_int_equal(refused, w.len - 1); /* one outer field: each cut breaks its length */
    fl_writer_close(&w);
}

static void malformed_fields_are_refused(void **state)
{
    static const struct {
        const char *wire;
        size_t len;
    } cases[] = {
        {"\x00", 1},                                          /* field number 0 */
        {"\x0b", 1},                                          /* group start */
        {"\x0c", 1},                                          /* group end */
        {"\x0e", 1},                                          /* wire type 6 */
        {"\x80", 1},                                          /* tag that does not end */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11}, /* varint too long */
        {"\x92\x80\x80\x80\x80\x01\x00", 7}, /* field number beyond 2^29: wraps in 32 bits */
        {"\x12\x05\x12\x03", 4},             /* lengths beyond the end */
        {"\x12\x02\x12\x7f", 4},             /* inner length beyond its message */
        {"\x12\x03\x12\x01\x12\x00", 6},     /* inner message cut by the outer's end */
        {"\x79\x00\x00", 3},                 /* 64 bits that are not there */
        {"\x7d\x00\x00", 3},                 /* 32 bits that are not there */
        {"\x78\xff", 2},                     /* varint that does not end */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* length of 2^64 - 1 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (check(fl_bytes(cases[i].wire, cases[i].len), txn) != FL_BAD_MESSAGE) {
            fail_msg("case %zu passed", i);
        }
    }
}

/* Fields of later versions of the API must not make a request invalid. */
static void unknown_fields_are_skipped(void **state)
{
    static const char wire[] =
        "\xfa\x01\x03"
        "abc"                                      /* 31: bytes */
        "\xf0\x01\x05"                             /* 30: varint */
        "\xf9\x01\x01\x02\x03\x04\x05\x06\x07\x08" /* 31: 64 bits */
        "\xfd\x01\x01\x02\x03\x04";                /* 31: 32 bits */

    (void)state;
    assert_int_equal(check(fl_bytes(wire, sizeof wire - 1), txn), FL_OK);
}

/* A deep message inside a field that is no message is just bytes. */
static void bytes_are_not_looked_into(void **state)
{
    struct fl_writer w;

    (void)state;
    nest(&w, 100);
    wrap(&w, 2); /* PutRequest.value */
    assert_int_equal(check(fl_writer_bytes(&w), &etcdserverpb__put_request__descriptor), FL_OK);
    fl_writer_close(&w);
}

/* protobuf-c merges copies of a single field: n copies with one element each cost n squared. */
static void a_single_field_given_twice_is_refused(void **state)
{
    struct fl_writer inner;
    struct fl_writer w;

    (void)state;
    nest(&inner, 1);
    fl_writer_init(&w);
    put_bytes(&w, 4, fl_writer_bytes(&inner)); /* RequestOp.request_txn */
    assert_int_equal(check(fl_writer_bytes(&w), &etcdserverpb__request_op__descriptor), FL_OK);
    put_bytes(&w, 4, fl_writer_bytes(&inner));
    assert_int_equal(check(fl_writer_bytes(&w), &etcdserverpb__request_op__descriptor),
                     FL_BAD_MESSAGE);
    fl_writer_close(&inner);
    fl_writer_close(&w);
}

static void the_number_of_fields_is_bounded(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    for (unsigned i = 0; i < API_WIRE_FIELDS_MAX; i++) {
        put_bytes(&w, 2, fl_bytes(NULL, 0)); /* empty operations: two bytes each */
    }
    assert_int_equal(check(fl_writer_bytes(&w), txn), FL_OK);
    put_bytes(&w, 2, fl_bytes(NULL, 0));
    assert_int_equal(check_and_close(&w), FL_TOO_MANY_OPS);
}

/* The largest transaction etcd takes on one level. */
static void three_full_lists_pass(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    for (unsigned list = 1; list <= 3; list++) {
        for (unsigned i = 0; i < FL_TXN_OPS_MAX; i++) {
            put_bytes(
                &w, list, list == 1 ? fl_bytes("\x1a\x01k", 3) : fl_bytes("\x12\x03\x0a\x01k", 5));
        }
    }
    assert_int_equal(check_and_close(&w), FL_OK);
}

/* Random bytes, biased towards tags and small lengths, and flipped bits of a good request: the
 * guard may say what it likes, but what it passes must unpack within bounds. */
static void random_bytes_do_no_harm(void **state)
{
    static const uint8_t likely[] = {0x0a, 0x12, 0x1a, 0x22, 0x08, 0x00, 0x01, 0x02, 0x03, 0x05};
    struct fl_prng prng;
    struct fl_writer good;
    uint8_t bytes[200];
    size_t passed = 0;

    (void)state;
    fl_prng_seed(&prng, 7);
    nest(&good, 4);
    for (unsigned round = 0; round < 200000; round++) {
        size_t len = fl_prng_next(&prng) % sizeof bytes;

        if (round % 2 == 0) {
            for (size_t i = 0; i < len; i++) {
                uint64_t r = fl_prng_next(&prng);

                bytes[i] = r % 4 == 0 ? (uint8_t)(r >> 8) : likely[(r >> 8) % sizeof likely];
            }
        } else {
            len = good.len < sizeof bytes ? good.len : sizeof bytes;
            memcpy(bytes, good.data, len);
            bytes[fl_prng_next(&prng) % len] ^= (uint8_t)(1u << fl_prng_next(&prng) % 8);
        }
        passed += check(fl_bytes(bytes, len), txn) == FL_OK;
    }
    assert_true(passed > 100); /* or the test would show nothing */
    fl_writer_close(&good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allowed_depth_passes_and_unpacks),
        cmocka_unit_test(one_level_more_is_too_deep),
        cmocka_unit_test(very_deep_is_cheap_to_refuse),
        cmocka_unit_test(an_empty_message_passes),
        cmocka_unit_test(truncation_is_noticed),
        cmocka_unit_test(malformed_fields_are_refused),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(bytes_are_not_looked_into),
        cmocka_unit_test(a_single_field_given_twice_is_refused),
        cmocka_unit_test(the_number_of_fields_is_bounded),
        cmocka_unit_test(three_full_lists_pass),
        cmocka_unit_test(random_bytes_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
