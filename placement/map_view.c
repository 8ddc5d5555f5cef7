/* A published state of the map. See map_view.h. */
#include "placement/map_view.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/crc32c.h"

#define VIEW_FORMAT 1

enum { CRC_BYTES = 4 };

struct placement_map_view *placement_map_view_create(uint64_t version,
                                                     uint64_t cluster_id,
                                                     struct placement_node_list *nodes,
                                                     struct placement_range_map *ranges)
{
    struct placement_map_view *view = fl_xcalloc(1, sizeof(*view));

    atomic_init(&view->refs, 1);
    view->version = version;
    view->cluster_id = cluster_id;
    view->bootstrapped = ranges != NULL;
    view->nodes = placement_node_list_acquire(nodes);
    view->ranges = ranges != NULL ? placement_range_map_acquire(ranges) : NULL;
    return view;
}

struct placement_map_view *placement_map_view_acquire(struct placement_map_view *view)
{
    /* Relaxed: whoever takes a reference has one already, or was handed it in order. */
    atomic_fetch_add_explicit(&view->refs, 1, memory_order_relaxed);
    return view;
}

void placement_map_view_release(struct placement_map_view *view)
{
    /* Acquire and release: every use by others comes before the free by the last. */
    if (view != NULL && atomic_fetch_sub_explicit(&view->refs, 1, memory_order_acq_rel) == 1) {
        placement_node_list_release(view->nodes);
        placement_range_map_release(view->ranges);
        free(view);
    }
}

void placement_map_view_encode(const struct placement_map_view *view, struct fl_writer *w)
{
    size_t from = w->len;
    size_t nodes = placement_node_list_count(view->nodes);
    size_t ranges = view->ranges != NULL ? placement_range_map_count(view->ranges) : 0;

    fl_write_u8(w, VIEW_FORMAT);
    fl_write_u64le(w, view->version);
    fl_write_u64le(w, view->cluster_id);
    fl_write_varint(w, nodes);
    for (size_t i = 0; i < nodes; i++) {
        placement_node_encode(placement_node_list_at(view->nodes, i), w);
    }
    fl_write_varint(w, ranges);
    for (size_t i = 0; i < ranges; i++) {
        shard_range_encode(placement_range_map_at(view->ranges, i), w);
    }
    fl_write_u32le(w, fl_crc32c(0, w->data + from, w->len - from));
}

static enum fl_status nodes_decode(struct fl_reader *r, struct placement_node_list **list)
{
    uint64_t count = fl_read_varint(r);
    struct placement_node *nodes;
    enum fl_status status = FL_OK;

    if (r->bad || count > FL_NODES_MAX || count > fl_reader_left(r)) {
        return FL_BAD_MESSAGE;
    }
    nodes = fl_xcalloc((size_t)count, sizeof(nodes[0]));
    for (size_t i = 0; i < count && status == FL_OK; i++) {
        status = placement_node_decode(&nodes[i], r);
    }
    if (status == FL_OK && placement_node_list_create(nodes, (size_t)count, list) != FL_OK) {
        status = FL_BAD_MESSAGE;
    }
    free(nodes);
    return status;
}

static enum fl_status ranges_decode(struct fl_reader *r, struct placement_range_map **map)
{
    char why[PLACEMENT_WHY_MAX];
    uint64_t count = fl_read_varint(r);
    struct shard_range *ranges;
    size_t made = 0;
    enum fl_status status = FL_OK;

    if (r->bad || count > FL_RANGES_MAX || count > fl_reader_left(r)) {
        return FL_BAD_MESSAGE;
    }
    if (count == 0) {
        return FL_OK; /* not bootstrapped */
    }
    ranges = fl_xcalloc((size_t)count, sizeof(ranges[0]));
    while (made < count && status == FL_OK) {
        status = shard_range_decode(&ranges[made], r);
        made += status == FL_OK;
    }
    if (status == FL_OK &&
        placement_range_map_create(ranges, made, map, why, sizeof(why)) != FL_OK) {
        status = FL_BAD_MESSAGE;
    }
    while (made > 0) {
        shard_range_close(&ranges[--made]);
    }
    free(ranges);
    return status;
}

enum fl_status placement_map_view_decode(struct fl_bytes input, struct placement_map_view **view)
{
    struct placement_node_list *nodes = NULL;
    struct placement_range_map *ranges = NULL;
    struct fl_reader r;
    uint8_t format;
    uint64_t version;
    uint64_t cluster_id;
    enum fl_status status;

    *view = NULL;
    if (input.len < CRC_BYTES + 1) {
        return FL_BAD_MESSAGE;
    }
    input.len -= CRC_BYTES;
    if (fl_get_u32le(input.data + input.len) != fl_crc32c(0, input.data, input.len)) {
        return FL_CORRUPT;
    }
    r = fl_reader(input);
    format = fl_read_u8(&r);
    if (format != VIEW_FORMAT) {
        return format > VIEW_FORMAT ? FL_NEWER_FORMAT : FL_BAD_MESSAGE;
    }
    version = fl_read_u64le(&r);
    cluster_id = fl_read_u64le(&r);
    FL_TRY_OUT(nodes_decode(&r, &nodes));
    FL_TRY_OUT(ranges_decode(&r, &ranges));
    if (!fl_reader_done(&r) || (cluster_id != 0) != (ranges != NULL) ||
        (placement_node_list_count(nodes) != 0) != (ranges != NULL)) {
        status = FL_BAD_MESSAGE;
        goto out;
    }
    *view = placement_map_view_create(version, cluster_id, nodes, ranges);
out:
    placement_node_list_release(nodes);
    placement_range_map_release(ranges);
    return status;
}

const struct shard_range *placement_map_view_range(const struct placement_map_view *view,
                                                   struct fl_bytes key)
{
    return view->ranges != NULL ? placement_range_map_lookup(view->ranges, key) : NULL;
}

const struct shard_range *placement_map_view_group(const struct placement_map_view *view,
                                                   uint64_t group_id)
{
    return view->ranges != NULL ? placement_range_map_group(view->ranges, group_id) : NULL;
}

const struct placement_node *placement_map_view_node(const struct placement_map_view *view,
                                                     uint64_t id)
{
    return placement_node_list_find(view->nodes, id);
}
