/* Goal: rows sort as their meaning does and are read back exactly; damaged rows are called corrupt.
 *
 * Method: random keys over a nasty alphabet are compared before and after encoding; pinned bytes;
 * every truncation and changed byte of values. */
#include "raftgroup/base/prng.h"
#include "shard/shard_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fl_bytes random_key(struct fl_prng *prng, uint8_t *memory)
{
    static const uint8_t letters[] = {0x00, 0x01, 0x02, 'a', 0xfe, 0xff};
    size_t len = (size_t)fl_prng_below(prng, 6);

    for (size_t i = 0; i < len; i++) {
        memory[i] = letters[fl_prng_below(prng, sizeof(letters))];
    }
    return fl_bytes(memory, len);
}

static int sign(int order)
{
    return (order > 0) - (order < 0);
}

/* By key, then newest first; and the bounds of an interval cut exactly there. */
static void test_history_sorts_by_key_then_newest_first(void **state)
{
    struct fl_prng prng;
    struct fl_writer a = {0};
    struct fl_writer b = {0};
    struct fl_writer bound = {0};
    struct fl_writer back = {0};

    (void)state;
    fl_prng_seed(&prng, 9);
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t memory[2][8];
        struct fl_bytes x = random_key(&prng, memory[0]);
        struct fl_bytes y = random_key(&prng, memory[1]);
        uint64_t rx = fl_prng_next(&prng) >> fl_prng_below(&prng, 64);
        uint64_t ry = fl_prng_next(&prng) >> fl_prng_below(&prng, 64);
        uint64_t revision;
        int wanted = fl_bytes_compare(x, y);

        fl_writer_reset(&a);
        fl_writer_reset(&b);
        fl_writer_reset(&bound);
        fl_writer_reset(&back);
        shard_history_key(&a, x, rx);
        shard_history_key(&b, y, ry);
        if (wanted == 0) {
            wanted = rx > ry ? -1 : rx < ry;
        }
        assert_int_equal(sign(fl_bytes_compare(fl_writer_bytes(&a), fl_writer_bytes(&b))),
                         sign(wanted));
        assert_int_equal(shard_history_key_decode(fl_writer_bytes(&a), &back, &revision), FL_OK);
        assert_true(fl_bytes_equal(fl_writer_bytes(&back), x) && revision == rx);
        shard_history_bound(&bound, y, false);
        assert_int_equal(fl_bytes_compare(fl_writer_bytes(&a), fl_writer_bytes(&bound)) >= 0,
                         fl_bytes_compare(x, y) >= 0);
        fl_writer_reset(&bound);
        shard_history_bound(&bound, y, true);
        assert_int_equal(fl_bytes_compare(fl_writer_bytes(&a), fl_writer_bytes(&bound)) < 0,
                         y.len == 0 || fl_bytes_compare(x, y) < 0);
    }
    fl_writer_close(&a);
    fl_writer_close(&b);
    fl_writer_close(&bound);
    fl_writer_close(&back);
}

/* The bytes are the format: changing them needs a new version. */
static void test_pinned_bytes(void **state)
{
    static const uint8_t history[] = {
        'h', 'a', 0, 0xff, 'b', 0, 1, 255, 255, 255, 255, 255, 255, 255, 0xfa};
    static const uint8_t group[] = {'a', 0, 0, 0, 0, 0, 0, 1, 2};
    static const uint8_t value[] = {1, 7, 2, 5, 3, 0};
    const struct shard_kv kv = {.create_revision = 2, .mod_revision = 5, .version = 3};
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct fl_writer w = {0};

    (void)state;
    shard_history_key(&w, fl_bytes("a\0b", 3), 5);
    assert_int_equal(w.len, sizeof(history));
    assert_memory_equal(w.data, history, sizeof(history));
    shard_group_key(SHARD_ROW_STATE, 258, key);
    assert_memory_equal(key, group, sizeof(group));
    fl_writer_reset(&w);
    shard_version_head(&w, &kv, 7);
    assert_int_equal(w.len, sizeof(value));
    assert_memory_equal(w.data, value, sizeof(value));
    fl_writer_close(&w);
}

static void test_damaged_keys_are_corrupt(void **state)
{
    const struct {
        const char *bytes;
        size_t len;
    } rows[] = {{"", 0},
                {"h", 1},
                {"c\0\1aaaaaaaa", 11},
                {"ha", 2},
                {"ha\0", 3},
                {"ha\0\2aaaaaaaa", 12},
                {"ha\0\1aaaaaaa", 11},
                {"ha\0\1aaaaaaaaa", 13}};
    struct fl_writer key = {0};
    uint64_t revision;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t *copy = malloc(rows[i].len + 1);

        memcpy(copy, rows[i].bytes, rows[i].len);
        assert_int_equal(shard_history_key_decode(fl_bytes(copy, rows[i].len), &key, &revision),
                         FL_CORRUPT);
        free(copy);
    }
    fl_writer_close(&key);
}

static void test_values_round_trip(void **state)
{
    const struct shard_kv kv = {
        .create_revision = 3, .mod_revision = UINT64_MAX - 1, .version = 900, .lease = INT64_MIN};
    struct shard_kv got = {0};
    struct fl_writer w = {0};
    uint64_t end;

    (void)state;
    shard_version_head(&w, &kv, 0);
    fl_write_raw(&w, fl_bytes("value", 5));
    assert_int_equal(shard_current_decode(fl_writer_bytes(&w), &got), FL_OK);
    assert_true(got.create_revision == 3 && got.mod_revision == UINT64_MAX - 1);
    assert_true(got.version == 900 && got.lease == INT64_MIN);
    assert_true(fl_bytes_equal(got.value, fl_bytes("value", 5)));
    fl_writer_reset(&w);
    shard_version_head(&w, &kv, UINT64_MAX);
    assert_int_equal(shard_history_decode(fl_writer_bytes(&w), &got, &end), FL_OK);
    assert_true(end == UINT64_MAX && got.value.len == 0);
    for (size_t len = 0; len < w.len; len++) {
        assert_int_equal(shard_history_decode(fl_bytes(w.data, len), &got, &end), FL_CORRUPT);
    }
    w.data[0] = 9;
    assert_int_equal(shard_history_decode(fl_writer_bytes(&w), &got, &end), FL_NEWER_FORMAT);
    assert_int_equal(shard_current_decode(fl_writer_bytes(&w), &got), FL_NEWER_FORMAT);
    fl_writer_close(&w);
}

static void test_states_round_trip(void **state)
{
    const struct shard_state s = {
        .applied_index = 1000000,
        .applied_term = 3,
        .last_revision = UINT64_MAX,
        .compact_revision = 2,
        .mark = 16384,
        .live_keys = 77,
        .conf = {.n = 3, .in = 5, .learners = 2, .id = {1, 4, 9}},
    };
    struct shard_state got;
    struct fl_writer w = {0};

    (void)state;
    shard_state_encode(&w, &s);
    assert_int_equal(shard_state_decode(fl_writer_bytes(&w), &got), FL_OK);
    assert_true(got.applied_index == s.applied_index && got.applied_term == s.applied_term);
    assert_true(got.last_revision == s.last_revision && got.mark == s.mark);
    assert_true(got.compact_revision == 2 && got.live_keys == 77);
    assert_true(raft_conf_equal(&got.conf, &s.conf));
    for (size_t len = 0; len < w.len; len++) {
        assert_int_equal(shard_state_decode(fl_bytes(w.data, len), &got), FL_CORRUPT);
    }
    fl_write_u8(&w, 0);
    assert_int_equal(shard_state_decode(fl_writer_bytes(&w), &got), FL_CORRUPT);
    w.data[0] = 2;
    assert_int_equal(shard_state_decode(fl_writer_bytes(&w), &got), FL_NEWER_FORMAT);
    fl_writer_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_history_sorts_by_key_then_newest_first),
        cmocka_unit_test(test_pinned_bytes),
        cmocka_unit_test(test_damaged_keys_are_corrupt),
        cmocka_unit_test(test_values_round_trip),
        cmocka_unit_test(test_states_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
