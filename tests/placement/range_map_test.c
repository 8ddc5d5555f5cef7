/* Goal: a range map is a cover (PL-1, PL-2) and finds every key; cuts of the key space are even and
 * in order.
 * Method: random covers against a linear scan, every way to break a cover, cuts of every size. */
#include "placement/range_map.h"

#include "placement/node_list.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static struct fl_bytes text(const char *s)
{
    return fl_bytes_of_string(s);
}

static struct shard_range range_of(uint64_t group, struct fl_bytes start, struct fl_bytes end)
{
    struct shard_range range;

    shard_range_init(&range);
    range.group_id = group;
    range.version = 1;
    range.conf_version = 1;
    range.next_replica_id = 2;
    range.replica_count = 1;
    range.replicas[0] = (struct shard_replica){9, 1, SHARD_REPLICA_VOTER};
    shard_range_set_interval(&range, start, end);
    return range;
}

/* A map cut at `keys`; group ids descend, so that they are in another order than the keys. */
static struct placement_range_map *map_of(const struct fl_bytes *keys, size_t count)
{
    struct shard_range *ranges = fl_xcalloc(count + 1, sizeof(*ranges));
    struct placement_range_map *map = NULL;
    char why[PLACEMENT_WHY_MAX] = "";

    for (size_t i = 0; i <= count; i++) {
        ranges[i] = range_of(PLACEMENT_FIRST_RANGE_ID + count - i,
                             i != 0 ? keys[i - 1] : text(""),
                             i != count ? keys[i] : text(""));
    }
    assert_int_equal(placement_range_map_create(ranges, count + 1, &map, why, sizeof(why)), FL_OK);
    for (size_t i = 0; i <= count; i++) {
        shard_range_close(&ranges[i]); /* the map has its own */
    }
    free(ranges);
    return map;
}

static int key_compare(const void *a, const void *b)
{
    return fl_bytes_compare(*(const struct fl_bytes *)a, *(const struct fl_bytes *)b);
}

/* Few letters, so that keys collide with cuts and with each other's prefixes. */
static struct fl_bytes random_key(struct fl_prng *prng, uint8_t *memory)
{
    size_t len = fl_prng_below(prng, 4);

    for (size_t i = 0; i < len; i++) {
        memory[i] = (uint8_t[]){0, 'a', 'b', 0xff}[fl_prng_below(prng, 4)];
    }
    return fl_bytes(memory, len);
}

static void check_key(const struct placement_range_map *map, struct fl_bytes key)
{
    size_t at = placement_range_map_position(map, key);

    assert_ptr_equal(placement_range_map_lookup(map, key), placement_range_map_at(map, at));
    for (size_t i = 0; i < placement_range_map_count(map); i++) {
        assert_int_equal(shard_range_contains(placement_range_map_at(map, i), key), i == at);
    }
}

static void
check_span(const struct placement_range_map *map, struct fl_bytes key, struct fl_bytes end)
{
    bool to_the_end = end.len == 1 && end.data[0] == 0;
    size_t first = SIZE_MAX;
    size_t count = placement_range_map_span(map, key, end, &first);

    assert_int_equal(first, placement_range_map_position(map, key));
    for (size_t i = 0; i < placement_range_map_count(map); i++) {
        const struct shard_range *range = placement_range_map_at(map, i);
        bool before_end = to_the_end || fl_bytes_compare(range->start, end) < 0;
        bool after_key = range->end.len == 0 || fl_bytes_compare(range->end, key) > 0;
        bool touched =
            shard_range_contains(range, key) || (end.len != 0 && before_end && after_key &&
                                                 (to_the_end || fl_bytes_compare(key, end) < 0));

        assert_int_equal(touched, i >= first && i < first + count);
    }
}

/* Goal: look-ups and spans agree with a scan. */
static void test_lookup_model(void **state)
{
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 7);
    for (size_t round = 0; round < 300; round++) {
        uint8_t memory[12][4];
        struct fl_bytes keys[12];
        size_t count = 0;
        struct placement_range_map *map;

        for (size_t i = 0; i < 12; i++) {
            keys[count] = random_key(&prng, memory[i]);
            count += keys[count].len != 0;
        }
        qsort(keys, count, sizeof(keys[0]), key_compare);
        for (size_t i = 1; i < count;) { /* no cut twice */
            if (fl_bytes_equal(keys[i - 1], keys[i])) {
                memmove(&keys[i], &keys[i + 1], (count - i - 1) * sizeof(keys[0]));
                count--;
            } else {
                i++;
            }
        }
        map = map_of(keys, count);
        assert_int_equal(placement_range_map_count(map), count + 1);
        for (size_t i = 0; i < 60; i++) {
            uint8_t a[4];
            uint8_t b[4];
            struct fl_bytes key = random_key(&prng, a);

            check_key(map, key);
            check_span(map, key, random_key(&prng, b));
        }
        for (size_t i = 0; i <= count; i++) {
            const struct shard_range *range = placement_range_map_at(map, i);

            assert_ptr_equal(placement_range_map_group(map, range->group_id), range);
        }
        assert_null(placement_range_map_group(map, PLACEMENT_GROUP_ID));
        assert_null(placement_range_map_group(map, PLACEMENT_FIRST_RANGE_ID + count + 1));
        placement_range_map_release(placement_range_map_acquire(map));
        placement_range_map_release(map);
    }
}

struct broken {
    const char *name;
    struct {
        uint64_t group;
        const char *start;
        const char *end;
    } ranges[3];
    size_t count;
    const char *sentence;
};

/* Goal: everything that is no cover is refused, with a sentence that says why. */
static void test_not_a_cover(void **state)
{
    static const struct broken table[] = {
        {"nothing", {{0}}, 0, "there is no range"},
        {"no smallest", {{2, "a", "b"}, {3, "b", ""}}, 2, "no range holds the smallest keys"},
        {"no largest", {{2, "", "b"}, {3, "b", "c"}}, 2, "no range holds the largest keys"},
        {"gap", {{2, "", "b"}, {3, "c", ""}}, 2, "groups 2 and 3 leave a gap between them"},
        {"overlap", {{2, "", "c"}, {3, "b", ""}}, 2, "groups 2 and 3 overlap"},
        {"two ends", {{2, "", ""}, {3, "b", ""}}, 2, "groups 2 and 3 overlap"},
        {"order", {{2, "", "b"}, {3, "c", "d"}, {4, "b", ""}}, 3, "gap"},
        {"same id", {{2, "", "b"}, {2, "b", ""}}, 2, "group 2 has two ranges"},
        {"reserved id", {{1, "", ""}}, 1, "group 1 is not valid"},
        {"no id", {{0, "", ""}}, 1, "group 0 is not valid"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct shard_range ranges[3];
        struct placement_range_map *map = NULL;
        char why[PLACEMENT_WHY_MAX] = "";

        for (size_t j = 0; j < table[i].count; j++) {
            ranges[j] = range_of(table[i].ranges[j].group,
                                 text(table[i].ranges[j].start),
                                 text(table[i].ranges[j].end));
        }
        assert_int_equal(placement_range_map_create(ranges, table[i].count, &map, why, sizeof(why)),
                         FL_INVALID);
        assert_null(map);
        if (strstr(why, table[i].sentence) == NULL) {
            fail_msg("%s: \"%s\"", table[i].name, why);
        }
        for (size_t j = 0; j < table[i].count; j++) {
            shard_range_close(&ranges[j]);
        }
    }
}

/* Goal: a range nobody can vote in is refused. */
static void test_range_without_voter(void **state)
{
    struct shard_range range = range_of(2, text(""), text(""));
    struct placement_range_map *map;
    char why[PLACEMENT_WHY_MAX];

    (void)state;
    range.replicas[0].role = SHARD_REPLICA_LEARNER;
    assert_int_equal(placement_range_map_create(&range, 1, &map, why, sizeof(why)), FL_INVALID);
    range.replica_count = 0;
    assert_int_equal(placement_range_map_create(&range, 1, &map, why, sizeof(why)), FL_INVALID);
    shard_range_close(&range);
}

/* Goal: cuts are in order, printable, of the least width, and even to within one cell. */
static void test_splits_even(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 8, 64, 93, 94, 95, 500, 8836, 8837, FL_RANGES_MAX};
    struct placement_splits splits;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint32_t ranges = sizes[i];
        size_t width = ranges <= 94 ? 1 : ranges <= 8836 ? 2 : 3;
        uint64_t cells = width == 1 ? 94 : width == 2 ? 8836 : 830584;
        uint64_t last = 0;
        char why[PLACEMENT_WHY_MAX];

        assert_int_equal(placement_splits_even(ranges, &splits), FL_OK);
        assert_int_equal(splits.count, ranges - 1);
        assert_int_equal(placement_splits_check(splits.keys, splits.count, why, sizeof(why)),
                         FL_OK);
        for (size_t at = 0; at < splits.count; at++) {
            uint64_t cell = 0;

            assert_int_equal(splits.keys[at].len, width);
            for (size_t b = 0; b < width; b++) {
                assert_in_range(splits.keys[at].data[b], 0x21, 0x7e);
                cell = cell * 94 + (splits.keys[at].data[b] - 0x21u);
            }
            assert_in_range(cell - last, cells / ranges, cells / ranges + 1);
            last = cell;
        }
        assert_in_range(cells - last, cells / ranges, cells / ranges + 1);
        placement_splits_close(&splits);
    }
    assert_int_equal(placement_splits_even(0, &splits), FL_INVALID);
    assert_int_equal(placement_splits_even(FL_RANGES_MAX + 1, &splits), FL_TOO_MANY);
}

/* Goal: split keys that cannot be are refused, with a sentence that names the culprit. */
static void test_splits_check(void **state)
{
    uint8_t *large = fl_xcalloc(1, FL_KEY_BYTES_MAX + 1);
    struct fl_bytes good[] = {text("a"), text("b"), text("bb")};
    struct fl_bytes twice[] = {text("a"), text("b"), text("b")};
    struct fl_bytes down[] = {text("b"), text("a")};
    struct fl_bytes empty[] = {text(""), text("a")};
    struct fl_bytes huge[] = {fl_bytes(large, FL_KEY_BYTES_MAX + 1)};
    struct fl_bytes *many = fl_xcalloc(FL_RANGES_MAX, sizeof(*many));
    char why[PLACEMENT_WHY_MAX] = "";

    (void)state;
    assert_int_equal(placement_splits_check(NULL, 0, why, sizeof(why)), FL_OK);
    assert_int_equal(placement_splits_check(good, 3, why, sizeof(why)), FL_OK);
    assert_int_equal(placement_splits_check(twice, 3, why, sizeof(why)), FL_INVALID);
    assert_non_null(strstr(why, "number 3 is equal to the one before"));
    assert_int_equal(placement_splits_check(down, 2, why, sizeof(why)), FL_INVALID);
    assert_non_null(strstr(why, "number 2 is smaller than the one before"));
    assert_int_equal(placement_splits_check(empty, 2, why, sizeof(why)), FL_INVALID);
    assert_non_null(strstr(why, "number 1 is empty"));
    assert_int_equal(placement_splits_check(huge, 1, why, sizeof(why)), FL_TOO_LARGE);
    assert_int_equal(placement_splits_check(many, FL_RANGES_MAX, why, sizeof(why)), FL_TOO_MANY);
    free(many);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lookup_model),
        cmocka_unit_test(test_not_a_cover),
        cmocka_unit_test(test_range_without_voter),
        cmocka_unit_test(test_splits_even),
        cmocka_unit_test(test_splits_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
