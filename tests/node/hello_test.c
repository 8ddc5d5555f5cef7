/* Goal: both handshake bodies survive the way over the wire, and what is malformed, too long or not
 * printable is refused.
 * Method: round trips with every field set and with the longest texts, pinned offsets, every
 * truncation, bytes a newer version adds. */
#include "node/hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct node_hello sample(void)
{
    struct node_hello hello = {
        .version_min = 1,
        .version_max = 3,
        .cluster_id = UINT64_C(0x1122334455667788),
        .node_id = UINT64_C(0x99aabbccddeeff00),
        .uuid = "0123456789abcde",
        .boot = 77,
        .lane = 2,
        .name = "node-a",
        .peer_urls = "http://10.0.0.1:2380,http://[::1]:2380",
        .client_urls = "http://10.0.0.1:2379",
        .locality = "dc=north,rack=r1",
        .starts = {7, 6, 5, [NODE_STARTS_MAX - 1] = 1},
    };

    return hello;
}

static void assert_same(const struct node_hello *a, const struct node_hello *b)
{
    assert_int_equal(a->version_min, b->version_min);
    assert_int_equal(a->version_max, b->version_max);
    assert_true(a->cluster_id == b->cluster_id && a->node_id == b->node_id);
    assert_memory_equal(a->uuid, b->uuid, NODE_UUID_BYTES);
    assert_int_equal(a->boot, b->boot);
    assert_int_equal(a->lane, b->lane);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->peer_urls, b->peer_urls);
    assert_string_equal(a->client_urls, b->client_urls);
    assert_string_equal(a->locality, b->locality);
    assert_memory_equal(a->starts, b->starts, sizeof(a->starts));
}

static void test_hello_round_trip(void **state)
{
    struct node_hello hello = sample();
    struct node_hello got;
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    node_hello_encode(&out, &hello);
    assert_memory_equal(out.data, "flotilla", 8);
    assert_int_equal(fl_get_u16le(out.data + 10), 3);
    assert_true(fl_get_u64le(out.data + 12) == hello.cluster_id);
    assert_true(fl_get_u64le(out.data + 20) == hello.node_id);
    assert_int_equal(fl_get_u32le(out.data + 44), 77);
    assert_int_equal(fl_get_u32le(out.data + 48), 2);
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_OK);
    assert_same(&got, &hello);
    /* What a newer version adds is skipped. */
    fl_write_raw(&out, fl_bytes("more fields", 11));
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_OK);
    assert_same(&got, &hello);
    fl_writer_close(&out);
}

static void test_longest_texts(void **state)
{
    struct node_answer answer = {.status = FL_STALE, .hello = sample()};
    struct node_answer got;
    struct fl_writer out;

    (void)state;
    memset(answer.hello.name, 'n', NODE_NAME_BYTES_MAX);
    memset(answer.hello.peer_urls, 'p', NODE_URLS_BYTES_MAX);
    memset(answer.hello.client_urls, 'c', NODE_URLS_BYTES_MAX);
    memset(answer.hello.locality, 'l', NODE_LOCALITY_BYTES_MAX);
    memset(answer.sentence, 's', NODE_SENTENCE_BYTES_MAX);
    fl_writer_init(&out);
    node_answer_encode(&out, &answer);
    assert_true(out.len <= NODE_HANDSHAKE_BYTES_MAX);
    assert_int_equal(node_answer_decode(fl_writer_bytes(&out), &got), FL_OK);
    assert_int_equal(got.status, FL_STALE);
    assert_string_equal(got.sentence, answer.sentence);
    assert_same(&got.hello, &answer.hello);
    fl_writer_close(&out);
}

static void test_answers_keep_their_meaning(void **state)
{
    static const struct {
        enum fl_status said;
        enum fl_status heard;
        uint8_t code;
    } cases[] = {
        {FL_OK, FL_OK, 0},
        {FL_REFUSED, FL_REFUSED, 1},
        {FL_FOREIGN_CLUSTER, FL_FOREIGN_CLUSTER, 2},
        {FL_NEWER_FORMAT, FL_NEWER_FORMAT, 3},
        {FL_NOT_READY, FL_NOT_READY, 4},
        {FL_STALE, FL_STALE, 5},
        {FL_TOO_MANY, FL_TOO_MANY, 6},
        {FL_EXISTS, FL_EXISTS, 7},
        {FL_CORRUPT, FL_REFUSED, 1},
    };
    struct fl_writer out;
    struct node_answer got;

    (void)state;
    fl_writer_init(&out);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct node_answer answer = {.status = cases[i].said, .hello = sample()};

        fl_writer_reset(&out);
        node_answer_encode(&out, &answer);
        assert_int_equal(out.data[0], cases[i].code);
        assert_int_equal(node_answer_decode(fl_writer_bytes(&out), &got), FL_OK);
        assert_int_equal(got.status, cases[i].heard);
    }
    /* A reason this version does not know is a refusal, never an acceptance. */
    out.data[0] = 200;
    assert_int_equal(node_answer_decode(fl_writer_bytes(&out), &got), FL_OK);
    assert_int_equal(got.status, FL_REFUSED);
    fl_writer_close(&out);
}

static void test_truncation_and_magic(void **state)
{
    struct node_answer answer = {.status = FL_OK, .hello = sample()};
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    node_hello_encode(&out, &answer.hello);
    for (size_t len = 0; len < out.len; len++) {
        /* A copy of the exact length, so that ASan sees a read beyond it. */
        uint8_t *copy = fl_xmemdup(out.data, len);

        assert_int_equal(node_hello_decode(fl_bytes(copy, len), &answer.hello), FL_BAD_MESSAGE);
        free(copy);
    }
    out.data[0] ^= 1;
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &answer.hello), FL_BAD_MESSAGE);
    answer.hello = sample();
    fl_writer_reset(&out);
    node_answer_encode(&out, &answer);
    for (size_t len = 0; len < out.len; len++) {
        uint8_t *copy = fl_xmemdup(out.data, len);

        assert_int_equal(node_answer_decode(fl_bytes(copy, len), &answer), FL_BAD_MESSAGE);
        free(copy);
    }
    fl_writer_close(&out);
}

static void write_with_name(struct fl_writer *out, struct fl_bytes name)
{
    struct node_hello hello = sample();

    hello.name[0] = '\0';
    fl_writer_reset(out);
    node_hello_encode(out, &hello);
    out->len = 52;
    fl_write_bytes(out, name);
    fl_write_bytes(out, fl_bytes("", 0));
    fl_write_bytes(out, fl_bytes("", 0));
    fl_write_bytes(out, fl_bytes("", 0));
    memset(fl_write_space(out, sizeof(hello.starts)), 0, sizeof(hello.starts));
}

static void test_texts_are_checked(void **state)
{
    char long_name[NODE_NAME_BYTES_MAX + 1];
    struct node_hello got;
    struct fl_writer out;

    (void)state;
    memset(long_name, 'n', sizeof(long_name));
    fl_writer_init(&out);
    write_with_name(&out, fl_bytes(long_name, NODE_NAME_BYTES_MAX));
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_OK);
    write_with_name(&out, fl_bytes(long_name, NODE_NAME_BYTES_MAX + 1));
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_BAD_MESSAGE);
    /* It would forge a log line. */
    write_with_name(&out, fl_bytes("a\nlevel=fatal", 13));
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_BAD_MESSAGE);
    write_with_name(&out, fl_bytes("a\0b", 3));
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_BAD_MESSAGE);
    fl_writer_close(&out);
}

static void test_versions(void **state)
{
    struct node_hello a = {.version_min = 1, .version_max = 3};
    struct node_hello b = {.version_min = 2, .version_max = 5};
    struct node_hello c = {.version_min = 4, .version_max = 4};
    struct node_hello got;
    struct fl_writer out;

    (void)state;
    assert_int_equal(node_hello_version(&a, &b), 3);
    assert_int_equal(node_hello_version(&b, &a), 3);
    assert_int_equal(node_hello_version(&a, &c), 0);
    assert_int_equal(node_hello_version(&b, &c), 4);
    a.version_min = 4;
    fl_writer_init(&out);
    node_hello_encode(&out, &a);
    assert_int_equal(node_hello_decode(fl_writer_bytes(&out), &got), FL_BAD_MESSAGE);
    fl_writer_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_longest_texts),
        cmocka_unit_test(test_answers_keep_their_meaning),
        cmocka_unit_test(test_truncation_and_magic),
        cmocka_unit_test(test_texts_are_checked),
        cmocka_unit_test(test_versions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
