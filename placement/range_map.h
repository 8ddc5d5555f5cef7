/* The range map: an ordered, gapless cover of the key space by range descriptors.
 *
 * Owner: every holder of a reference. Lifetime: until the last placement_range_map_release.
 * Threads: any; a map never changes once it is built (PL-4).
 *
 *      ""          "a"          "m"                    end of the key space
 *      |  group 2   |  group 3   |      group 4         |
 *
 * An empty end means "no upper end"; only the last range has it, only the first range has the empty
 * start. */
#ifndef PLACEMENT_RANGE_MAP_H
#define PLACEMENT_RANGE_MAP_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"
#include "shard/range.h"

#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_GROUP_ID       1 /* the placement group's own */
#define PLACEMENT_FIRST_RANGE_ID 2 /* the first range's group, which is the oracle's */

struct placement_range_map;

/* A map of deep copies of `ranges`, one reference. FL_INVALID with a sentence in `why`
 * (PLACEMENT_WHY_MAX is enough) when they are not an ordered cover: a gap, an overlap, a start that
 * is not "" at first or an end at last, an id used twice or reserved, no voter (PL-1, PL-2).
 * FL_TOO_MANY beyond FL_RANGES_MAX. */
FL_MUST_USE enum fl_status placement_range_map_create(const struct shard_range *ranges,
                                                      size_t count,
                                                      struct placement_range_map **map,
                                                      char *why,
                                                      size_t why_bytes);
/* One more reference; returns `map`. */
struct placement_range_map *placement_range_map_acquire(struct placement_range_map *map);
/* Drops a reference, frees at the last; NULL is allowed. */
void placement_range_map_release(struct placement_range_map *map);

size_t placement_range_map_count(const struct placement_range_map *map);
/* Range `at` in key order; borrowed from the map. */
const struct shard_range *placement_range_map_at(const struct placement_range_map *map, size_t at);
/* Position of the range that holds `key`; every key has one. */
size_t placement_range_map_position(const struct placement_range_map *map, struct fl_bytes key);
/* The range that holds `key`; borrowed from the map, never NULL. */
const struct shard_range *placement_range_map_lookup(const struct placement_range_map *map,
                                                     struct fl_bytes key);
/* The range of a group, or NULL; borrowed from the map. */
const struct shard_range *placement_range_map_group(const struct placement_range_map *map,
                                                    uint64_t group_id);
/* The positions *first .. *first + returned count - 1 of the ranges a request over [key, end)
 * touches; `end` as in requests: empty: just `key`; "\0": to the end of the key space; an empty
 * interval (end <= key) touches the range of `key`. Never 0. */
size_t placement_range_map_span(const struct placement_range_map *map,
                                struct fl_bytes key,
                                struct fl_bytes end,
                                size_t *first);

/* Keys at which the key space is cut into ranges; the keys point into `storage`. */
struct placement_splits {
    struct fl_bytes *keys;
    size_t count; /* ranges - 1 */
    uint8_t *storage;
};

/* Cuts the key space into `ranges` evenly over the printable bytes 0x21..0x7e: by the first byte up
 * to 94 ranges, by the first two up to 8836, and so on. FL_INVALID for 0, FL_TOO_MANY beyond
 * FL_RANGES_MAX. Close with placement_splits_close. */
FL_MUST_USE enum fl_status placement_splits_even(uint32_t ranges, struct placement_splits *splits);
void placement_splits_close(struct placement_splits *splits);
/* Are the keys ones to cut at: not empty, not longer than FL_KEY_BYTES_MAX, strictly ascending,
 * fewer than FL_RANGES_MAX? FL_INVALID, FL_TOO_LARGE or FL_TOO_MANY with a sentence in `why`. */
FL_MUST_USE enum fl_status
placement_splits_check(const struct fl_bytes *keys, size_t count, char *why, size_t why_bytes);

#endif
