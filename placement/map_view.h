/* One published state of the map: what routers on any thread look keys and nodes up in.
 *
 * Owner: every holder of a reference. Lifetime: until the last placement_map_view_release.
 * Threads: any; a view never changes, look-ups take no lock. Whoever publishes hands a reference to
 * each reader (a mailbox, or a cell of the reader's own). */
#ifndef PLACEMENT_MAP_VIEW_H
#define PLACEMENT_MAP_VIEW_H

#include "placement/node_list.h"
#include "placement/range_map.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct placement_map_view {
    atomic_uint refs;
    uint64_t version;    /* grows with every change of the machine; 0: nothing applied yet */
    uint64_t cluster_id; /* 0 until bootstrapped */
    bool bootstrapped;
    struct placement_node_list *nodes;  /* never NULL */
    struct placement_range_map *ranges; /* NULL until bootstrapped */
};

/* A view with one reference; takes a further reference on `nodes` and on `ranges` (which may be
 * NULL). */
struct placement_map_view *placement_map_view_create(uint64_t version,
                                                     uint64_t cluster_id,
                                                     struct placement_node_list *nodes,
                                                     struct placement_range_map *ranges);
/* One more reference; returns `view`. */
struct placement_map_view *placement_map_view_acquire(struct placement_map_view *view);
/* Drops a reference, frees at the last; NULL is allowed. */
void placement_map_view_release(struct placement_map_view *view);

/* Appends the whole view (versioned, CRC32C; byte table in README.md) to `w`: for nodes outside the
 * placement group, and the body of a snapshot. */
void placement_map_view_encode(const struct placement_map_view *view, struct fl_writer *w);
/* A view from the whole of `input`, one reference. FL_BAD_MESSAGE: malformed, or not a cover;
 * FL_CORRUPT: the checksum differs; FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status placement_map_view_decode(struct fl_bytes input,
                                                     struct placement_map_view **view);

/* The range that holds `key`, or NULL before bootstrap; borrowed from the view. */
const struct shard_range *placement_map_view_range(const struct placement_map_view *view,
                                                   struct fl_bytes key);
/* The range of a group, or NULL; borrowed from the view. */
const struct shard_range *placement_map_view_group(const struct placement_map_view *view,
                                                   uint64_t group_id);
/* The node with this id, or NULL; borrowed from the view. */
const struct placement_node *placement_map_view_node(const struct placement_map_view *view,
                                                     uint64_t id);

#endif
