/* Goal: a read survives forwarding between nodes, hostile bytes are refused.
 *
 * Method: round trips of extreme values; every truncation; every byte changed. */
#include "shard/read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct shard_read full = {
    .key = {(const uint8_t *)"k\0y", 3},
    .end = {(const uint8_t *)"\0", 1},
    .limit = UINT64_MAX,
    .revision = 1,
    .sort_order = SHARD_SORT_DESCEND,
    .sort_target = SHARD_SORT_VALUE,
    .serializable = true,
    .count_only = true,
    .min_mod_revision = INT64_MIN,
    .max_mod_revision = -1,
    .min_create_revision = INT64_MAX,
    .max_create_revision = 7,
};

static void assert_equal(const struct shard_read *a, const struct shard_read *b)
{
    assert_true(fl_bytes_equal(a->key, b->key));
    assert_true(fl_bytes_equal(a->end, b->end));
    assert_true(a->limit == b->limit && a->revision == b->revision);
    assert_int_equal(a->sort_order, b->sort_order);
    assert_int_equal(a->sort_target, b->sort_target);
    assert_int_equal(a->serializable, b->serializable);
    assert_int_equal(a->keys_only, b->keys_only);
    assert_int_equal(a->count_only, b->count_only);
    assert_true(a->min_mod_revision == b->min_mod_revision);
    assert_true(a->max_mod_revision == b->max_mod_revision);
    assert_true(a->min_create_revision == b->min_create_revision);
    assert_true(a->max_create_revision == b->max_create_revision);
}

static void test_round_trip(void **state)
{
    const struct shard_read plain = {.key = {(const uint8_t *)"k", 1}, .keys_only = true};
    const struct shard_read *const reads[] = {&full, &plain};
    struct shard_read got;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    for (size_t i = 0; i < 2; i++) {
        fl_writer_reset(&w);
        shard_read_encode(reads[i], &w);
        assert_int_equal(shard_read_decode(&got, fl_writer_bytes(&w)), FL_OK);
        assert_equal(&got, reads[i]);
    }
    fl_write_u8(&w, 0);
    assert_int_equal(shard_read_decode(&got, fl_writer_bytes(&w)), FL_BAD_MESSAGE);
    w.data[0] = 2;
    assert_int_equal(shard_read_decode(&got, fl_writer_bytes(&w)), FL_NEWER_FORMAT);
    fl_writer_close(&w);
}

static void test_hostile_bytes(void **state)
{
    struct shard_read got;
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    shard_read_encode(&full, &w);
    for (size_t len = 0; len < w.len; len++) {
        uint8_t *cut = malloc(len + 1);

        memcpy(cut, w.data, len);
        assert_int_equal(shard_read_decode(&got, fl_bytes(cut, len)), FL_BAD_MESSAGE);
        free(cut);
    }
    for (size_t at = 0; at < w.len; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t before = w.data[at];

            w.data[at] = (uint8_t)value;
            if (shard_read_decode(&got, fl_writer_bytes(&w)) == FL_OK && got.key.len != 0) {
                assert_int_not_equal(shard_read_validate(&got), FL_INVALID_SORT);
            }
            w.data[at] = before;
        }
    }
    fl_writer_close(&w);
}

/* The part of a read over several ranges keeps the values a sort needs, and nothing more. */
static void test_parts(void **state)
{
    struct shard_read read = full;
    struct shard_read part;

    (void)state;
    read.keys_only = true;
    shard_read_part(&read, &part);
    assert_false(part.keys_only);
    read.sort_target = SHARD_SORT_MOD;
    shard_read_part(&read, &part);
    assert_true(part.keys_only);
    assert_true(part.limit == read.limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
