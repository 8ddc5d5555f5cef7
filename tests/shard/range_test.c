/* Goal: a descriptor survives its encoding, hostile bytes give an error and never an invalid
 * descriptor, and the questions about keys are answered at the borders.
 *
 * Method: round trips, every truncation, every byte changed; tables of keys. */
#include "raftgroup/base/prng.h"
#include "shard/range.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct fl_bytes str(const char *text)
{
    return fl_bytes_of_string(text);
}

static void sample(struct shard_range *range, const char *start, const char *end)
{
    shard_range_init(range);
    range->group_id = 300;
    range->version = 2;
    range->conf_version = 3;
    range->generation = 70000;
    range->next_replica_id = 9;
    range->replica_count = 3;
    range->replicas[0] = (struct shard_replica){0xffffffffffffffff, 4, SHARD_REPLICA_VOTER};
    range->replicas[1] = (struct shard_replica){7, 8, SHARD_REPLICA_LEARNER};
    range->replicas[2] = (struct shard_replica){5, 1, SHARD_REPLICA_VOTER};
    shard_range_set_interval(range, str(start), str(end));
}

static void test_round_trip(void **state)
{
    const char *const ends[] = {"m", "", "z"};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct shard_range range;
        struct shard_range copy;
        struct shard_range got;
        struct fl_writer w;
        struct fl_reader r;

        sample(&range, i == 2 ? "" : "b", ends[i]);
        assert_true(shard_range_valid(&range));
        fl_writer_init(&w);
        shard_range_encode(&range, &w);
        fl_write_u8(&w, 99); /* what follows is left alone */
        r = fl_reader(fl_writer_bytes(&w));
        assert_int_equal(shard_range_decode(&got, &r), FL_OK);
        assert_int_equal(fl_reader_left(&r), 1);
        assert_true(shard_range_equal(&range, &got));
        shard_range_copy(&copy, &got);
        shard_range_close(&got);
        assert_true(shard_range_equal(&range, &copy));
        shard_range_set_interval(&copy, copy.end, fl_bytes(NULL, 0)); /* from its own memory */
        assert_true(fl_bytes_equal(copy.start, str(ends[i])));
        assert_false(shard_range_equal(&range, &copy));
        shard_range_close(&copy);
        shard_range_close(&range);
        fl_writer_close(&w);
    }
}

static void test_hostile_bytes(void **state)
{
    struct shard_range range;
    struct fl_writer w;
    struct fl_prng prng;

    (void)state;
    sample(&range, "b", "m");
    fl_writer_init(&w);
    shard_range_encode(&range, &w);
    shard_range_close(&range);
    for (size_t len = 0; len < w.len; len++) {
        uint8_t *cut = malloc(len + 1);
        struct fl_reader r;

        memcpy(cut, w.data, len);
        r = fl_reader(fl_bytes(cut, len));
        assert_int_equal(shard_range_decode(&range, &r), FL_BAD_MESSAGE);
        free(cut);
    }
    fl_prng_seed(&prng, 1);
    for (unsigned round = 0; round < 20000; round++) {
        size_t at = (size_t)fl_prng_below(&prng, w.len);
        uint8_t before = w.data[at];
        struct fl_reader r;

        w.data[at] = (uint8_t)fl_prng_next(&prng);
        r = fl_reader(fl_writer_bytes(&w));
        if (shard_range_decode(&range, &r) == FL_OK) {
            assert_true(shard_range_valid(&range));
            shard_range_close(&range);
        }
        w.data[at] = before;
    }
    w.data[0] = 2;
    {
        struct fl_reader r = fl_reader(fl_writer_bytes(&w));

        assert_int_equal(shard_range_decode(&range, &r), FL_NEWER_FORMAT);
    }
    fl_writer_close(&w);
}

static void test_invalid_descriptors(void **state)
{
    struct shard_range range;

    (void)state;
    sample(&range, "b", "m");
    range.replicas[1].node_id = 5; /* two on one node */
    assert_false(shard_range_valid(&range));
    range.replicas[1].node_id = 7;
    range.replicas[1].replica_id = 4;
    assert_false(shard_range_valid(&range));
    range.replicas[1].replica_id = 9; /* not below next_replica_id */
    assert_false(shard_range_valid(&range));
    range.replicas[1].replica_id = 0;
    assert_false(shard_range_valid(&range));
    range.replicas[1].replica_id = 8;
    assert_true(shard_range_valid(&range));
    shard_range_set_interval(&range, str("m"), str("m"));
    assert_false(shard_range_valid(&range));
    shard_range_set_interval(&range, str("b"), str("m"));
    range.group_id = 0;
    assert_false(shard_range_valid(&range));
    shard_range_close(&range);
}

static void test_borders(void **state)
{
    const struct {
        const char *key;
        const char *end;
        size_t end_len;
        bool contains;
        bool covers;
    } rows[] = {
        {"a", "", 0, false, false},
        {"b", "", 0, true, true},
        {"c", "", 0, true, true},
        {"m", "", 0, false, false},
        {"lz", "", 0, true, true},
        {"b", "m", 1, true, true},
        {"b", "m1", 2, true, false},
        {"a", "c", 1, false, false},
        {"c", "\0", 1, true, false},
        {"d", "c", 1, true, true},
    };
    struct shard_range range;

    (void)state;
    sample(&range, "b", "m");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(shard_range_contains(&range, str(rows[i].key)), rows[i].contains);
        assert_int_equal(
            shard_range_covers(&range, str(rows[i].key), fl_bytes(rows[i].end, rows[i].end_len)),
            rows[i].covers);
    }
    shard_range_set_interval(&range, str("b"), fl_bytes(NULL, 0));
    assert_true(shard_range_contains(&range, str("\xff\xff")));
    assert_true(shard_range_covers(&range, str("c"), fl_bytes("\0", 1)));
    assert_int_equal(shard_range_replica_on(&range, 7)->replica_id, 8);
    assert_null(shard_range_replica_on(&range, 8));
    assert_int_equal(shard_range_replica(&range, 1)->node_id, 5);
    assert_null(shard_range_replica(&range, 2));
    shard_range_close(&range);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_invalid_descriptors),
        cmocka_unit_test(test_borders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
