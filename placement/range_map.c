/* The range map and the keys the key space is first cut at. See range_map.h. */
#include "placement/range_map.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdatomic.h>
#include <stdio.h>

/* Printable bytes without the space: what keys typed by people begin with. */
enum { CUT_FIRST = 0x21, CUT_LAST = 0x7e, CUT_BYTES = CUT_LAST - CUT_FIRST + 1 };

struct group_position {
    uint64_t group_id;
    size_t position;
};

struct placement_range_map {
    atomic_uint refs;
    size_t count;
    struct group_position *groups; /* ascending by group id */
    struct shard_range ranges[];   /* in key order */
};

static int group_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct group_position *)a)->group_id;
    uint64_t y = ((const struct group_position *)b)->group_id;

    return (x > y) - (x < y);
}

/* PL-1: the first starts at "", each starts where the one before ends, the last has no end. */
static enum fl_status
cover_check(const struct shard_range *ranges, size_t count, char *why, size_t why_bytes)
{
    if (count == 0) {
        (void)snprintf(why, why_bytes, "range map: there is no range");
        return FL_INVALID;
    }
    if (ranges[0].start.len != 0) {
        (void)snprintf(why, why_bytes, "range map: no range holds the smallest keys");
        return FL_INVALID;
    }
    if (ranges[count - 1].end.len != 0) {
        (void)snprintf(why, why_bytes, "range map: no range holds the largest keys");
        return FL_INVALID;
    }
    for (size_t i = 1; i < count; i++) {
        const struct shard_range *left = &ranges[i - 1];
        int order = left->end.len != 0 ? fl_bytes_compare(left->end, ranges[i].start) : 1;

        if (order != 0) {
            (void)snprintf(why,
                           why_bytes,
                           "range map: groups %llu and %llu %s",
                           (unsigned long long)left->group_id,
                           (unsigned long long)ranges[i].group_id,
                           order < 0 ? "leave a gap between them" : "overlap or are out of order");
            return FL_INVALID;
        }
    }
    return FL_OK;
}

/* PL-2: every descriptor is sound, has a voter, and an id of its own. */
static enum fl_status range_check(const struct shard_range *range, char *why, size_t why_bytes)
{
    bool voter = false;

    for (uint32_t i = 0; i < range->replica_count; i++) {
        voter = voter || range->replicas[i].role == SHARD_REPLICA_VOTER;
    }
    if (!shard_range_valid(range) || range->group_id < PLACEMENT_FIRST_RANGE_ID || !voter) {
        (void)snprintf(why,
                       why_bytes,
                       "range map: the descriptor of group %llu is not valid",
                       (unsigned long long)range->group_id);
        return FL_INVALID;
    }
    return FL_OK;
}

static enum fl_status groups_index(struct placement_range_map *map, char *why, size_t why_bytes)
{
    for (size_t i = 0; i < map->count; i++) {
        map->groups[i] = (struct group_position){map->ranges[i].group_id, i};
    }
    qsort(map->groups, map->count, sizeof(map->groups[0]), group_compare);
    for (size_t i = 1; i < map->count; i++) {
        if (map->groups[i].group_id == map->groups[i - 1].group_id) {
            (void)snprintf(why,
                           why_bytes,
                           "range map: group %llu has two ranges",
                           (unsigned long long)map->groups[i].group_id);
            return FL_INVALID;
        }
    }
    return FL_OK;
}

enum fl_status placement_range_map_create(const struct shard_range *ranges,
                                          size_t count,
                                          struct placement_range_map **map,
                                          char *why,
                                          size_t why_bytes)
{
    struct placement_range_map *made;
    enum fl_status status;

    *map = NULL;
    if (count > FL_RANGES_MAX) {
        (void)snprintf(why, why_bytes, "range map: more than %d ranges", FL_RANGES_MAX);
        return FL_TOO_MANY;
    }
    for (size_t i = 0; i < count; i++) {
        FL_TRY(range_check(&ranges[i], why, why_bytes));
    }
    FL_TRY(cover_check(ranges, count, why, why_bytes));
    made = fl_xcalloc(1, sizeof(*made) + count * sizeof(made->ranges[0]));
    atomic_init(&made->refs, 1);
    made->count = count;
    made->groups = fl_xcalloc(count, sizeof(made->groups[0]));
    for (size_t i = 0; i < count; i++) {
        shard_range_copy(&made->ranges[i], &ranges[i]);
    }
    status = groups_index(made, why, why_bytes);
    if (status != FL_OK) {
        placement_range_map_release(made);
        return status;
    }
    *map = made;
    return FL_OK;
}

struct placement_range_map *placement_range_map_acquire(struct placement_range_map *map)
{
    /* Relaxed: whoever takes a reference has one already, or was handed it in order. */
    atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    return map;
}

void placement_range_map_release(struct placement_range_map *map)
{
    /* Acquire and release: every use by others comes before the free by the last. */
    if (map == NULL || atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < map->count; i++) {
        shard_range_close(&map->ranges[i]);
    }
    free(map->groups);
    free(map);
}

size_t placement_range_map_count(const struct placement_range_map *map)
{
    return map->count;
}

const struct shard_range *placement_range_map_at(const struct placement_range_map *map, size_t at)
{
    fl_assert(at < map->count);
    return &map->ranges[at];
}

/* How many ranges start below `key`, or at it when `or_at`. */
static size_t starts_below(const struct placement_range_map *map, struct fl_bytes key, bool or_at)
{
    size_t lo = 0;
    size_t hi = map->count;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = fl_bytes_compare(map->ranges[mid].start, key);

        if (order < 0 || (order == 0 && or_at)) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

size_t placement_range_map_position(const struct placement_range_map *map, struct fl_bytes key)
{
    return starts_below(map, key, true) - 1; /* the first starts at "", so there is always one */
}

const struct shard_range *placement_range_map_lookup(const struct placement_range_map *map,
                                                     struct fl_bytes key)
{
    return &map->ranges[placement_range_map_position(map, key)];
}

const struct shard_range *placement_range_map_group(const struct placement_range_map *map,
                                                    uint64_t group_id)
{
    struct group_position wanted = {.group_id = group_id, .position = 0};
    const struct group_position *found =
        bsearch(&wanted, map->groups, map->count, sizeof(map->groups[0]), group_compare);

    return found != NULL ? &map->ranges[found->position] : NULL;
}

size_t placement_range_map_span(const struct placement_range_map *map,
                                struct fl_bytes key,
                                struct fl_bytes end,
                                size_t *first)
{
    size_t beyond;

    *first = placement_range_map_position(map, key);
    if (end.len == 0) {
        return 1;
    }
    beyond = end.len == 1 && end.data[0] == 0 ? map->count : starts_below(map, end, false);
    return beyond > *first ? beyond - *first : 1;
}

enum fl_status placement_splits_even(uint32_t ranges, struct placement_splits *splits)
{
    uint64_t cells = CUT_BYTES;
    size_t width = 1;

    *splits = (struct placement_splits){0};
    if (ranges == 0) {
        return FL_INVALID;
    }
    if (ranges > FL_RANGES_MAX) {
        return FL_TOO_MANY;
    }
    while (cells < ranges) {
        cells *= CUT_BYTES;
        width++;
    }
    splits->count = ranges - 1;
    splits->keys = fl_xcalloc(splits->count, sizeof(splits->keys[0]));
    splits->storage = fl_xmalloc(splits->count * width);
    for (size_t i = 0; i < splits->count; i++) {
        uint8_t *key = splits->storage + i * width;
        uint64_t cell = (i + 1) * cells / ranges; /* cells >= ranges: strictly ascending */

        for (size_t at = width; at-- > 0; cell /= CUT_BYTES) {
            key[at] = (uint8_t)(CUT_FIRST + cell % CUT_BYTES);
        }
        splits->keys[i] = fl_bytes(key, width);
    }
    return FL_OK;
}

void placement_splits_close(struct placement_splits *splits)
{
    free(splits->keys);
    free(splits->storage);
    *splits = (struct placement_splits){0};
}

enum fl_status
placement_splits_check(const struct fl_bytes *keys, size_t count, char *why, size_t why_bytes)
{
    if (count >= FL_RANGES_MAX) {
        (void)snprintf(why,
                       why_bytes,
                       "split keys: %zu are given, at most %d are allowed",
                       count,
                       FL_RANGES_MAX - 1);
        return FL_TOO_MANY;
    }
    for (size_t i = 0; i < count; i++) {
        if (keys[i].len == 0) {
            (void)snprintf(why, why_bytes, "split keys: number %zu is empty", i + 1);
            return FL_INVALID;
        }
        if (keys[i].len > (size_t)FL_KEY_BYTES_MAX) {
            (void)snprintf(why,
                           why_bytes,
                           "split keys: number %zu has more than %d bytes",
                           i + 1,
                           FL_KEY_BYTES_MAX);
            return FL_TOO_LARGE;
        }
        if (i != 0 && fl_bytes_compare(keys[i - 1], keys[i]) >= 0) {
            (void)snprintf(
                why,
                why_bytes,
                "split keys: number %zu is %s the one before, write them in ascending order",
                i + 1,
                fl_bytes_equal(keys[i - 1], keys[i]) ? "equal to" : "smaller than");
            return FL_INVALID;
        }
    }
    return FL_OK;
}
