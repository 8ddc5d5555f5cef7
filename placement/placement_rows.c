/* Rows of the placement machine in the data engine.
 *
 *   'a' group 1          apply state, as any group's (shard_format.h): one way to ask what is
 * durable 'd' group 1          the placement group's own descriptor 'p' 'm'              version
 * and cluster id of the map; absent before the first change 'p' 'n' id(be64)     a node 'p' 'r'
 * group(be64)  a range */
#include "placement/placement_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#define META_FORMAT 1

enum { ROW_META = 'm', ROW_NODE = 'n', ROW_RANGE = 'r', ROW_KEY_BYTES = 10 };

static const uint8_t meta_key[2] = {SHARD_ROW_PLACEMENT, ROW_META};
static const uint8_t first_key[1] = {SHARD_ROW_PLACEMENT};
static const uint8_t beyond_key[1] = {SHARD_ROW_PLACEMENT + 1};

static struct fl_bytes row_key(uint8_t kind, uint64_t id, uint8_t out[ROW_KEY_BYTES])
{
    out[0] = SHARD_ROW_PLACEMENT;
    out[1] = kind;
    fl_put_u64be(out + 2, id);
    return fl_bytes(out, ROW_KEY_BYTES);
}

static struct fl_bytes group_key(uint8_t kind, uint8_t out[SHARD_GROUP_KEY_BYTES])
{
    shard_group_key(kind, PLACEMENT_GROUP_ID, out);
    return fl_bytes(out, SHARD_GROUP_KEY_BYTES);
}

void placement__rows_put_node(struct shard_batch *batch, const struct placement_node *node)
{
    uint8_t key[ROW_KEY_BYTES];
    struct fl_writer w;

    fl_writer_init(&w);
    placement_node_encode(node, &w);
    shard_batch_put(batch, row_key(ROW_NODE, node->id, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void placement__rows_put_range(struct shard_batch *batch, const struct shard_range *range)
{
    uint8_t key[ROW_KEY_BYTES];
    struct fl_writer w;

    fl_writer_init(&w);
    shard_range_encode(range, &w);
    shard_batch_put(batch, row_key(ROW_RANGE, range->group_id, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void placement__rows_put_meta(struct shard_batch *batch, const struct placement_map_view *view)
{
    struct fl_writer w;

    fl_writer_init(&w);
    fl_write_u8(&w, META_FORMAT);
    fl_write_u64le(&w, view->version);
    fl_write_u64le(&w, view->cluster_id);
    shard_batch_put(batch, fl_bytes(meta_key, sizeof(meta_key)), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void placement__rows_put_state(struct shard_batch *batch, const struct shard_state *state)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct fl_writer w;

    fl_writer_init(&w);
    shard_state_encode(&w, state);
    shard_batch_put(batch, group_key(SHARD_ROW_STATE, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void placement__rows_put_descriptor(struct shard_batch *batch, const struct shard_range *descriptor)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct fl_writer w;

    fl_writer_init(&w);
    shard_range_encode(descriptor, &w);
    shard_batch_put(batch, group_key(SHARD_ROW_DESCRIPTOR, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void placement__rows_delete(struct shard_batch *batch)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];

    shard_batch_delete_range(
        batch, fl_bytes(first_key, sizeof(first_key)), fl_bytes(beyond_key, sizeof(beyond_key)));
    shard_batch_delete(batch, group_key(SHARD_ROW_STATE, key));
    shard_batch_delete(batch, group_key(SHARD_ROW_DESCRIPTOR, key));
}

/* ---- loading ---- */

/* What the scan of the 'p' rows gathers. */
struct loaded {
    bool meta;
    uint64_t version;
    uint64_t cluster_id;
    struct placement_node *nodes;
    struct fl_buf **node_rows; /* what the slices of the nodes point into */
    size_t node_count;
    size_t node_capacity;
    size_t node_row_capacity;
    struct shard_range *ranges;
    size_t range_count;
    size_t range_capacity;
};

static void loaded_close(struct loaded *loaded)
{
    for (size_t i = 0; i < loaded->node_count; i++) {
        fl_buf_release(loaded->node_rows[i]);
    }
    for (size_t i = 0; i < loaded->range_count; i++) {
        shard_range_close(&loaded->ranges[i]);
    }
    free(loaded->nodes);
    free(loaded->node_rows);
    free(loaded->ranges);
}

/* A row that cannot be read is damage, not a message of somebody's. */
static enum fl_status as_damage(enum fl_status status)
{
    return status == FL_BAD_MESSAGE ? FL_CORRUPT : status;
}

static enum fl_status load_meta(struct loaded *loaded, struct fl_bytes value)
{
    struct fl_reader r = fl_reader(value);
    uint8_t format = fl_read_u8(&r);

    if (!r.bad && format > META_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    loaded->meta = true;
    loaded->version = fl_read_u64le(&r);
    loaded->cluster_id = fl_read_u64le(&r);
    return fl_reader_done(&r) && format == META_FORMAT ? FL_OK : FL_CORRUPT;
}

static enum fl_status load_node(struct loaded *loaded, uint64_t id, struct fl_bytes value)
{
    size_t at = loaded->node_count;
    struct fl_reader r;

    fl_grow(&loaded->nodes, &loaded->node_capacity, at + 1, sizeof(loaded->nodes[0]));
    fl_grow(&loaded->node_rows, &loaded->node_row_capacity, at + 1, sizeof(void *));
    loaded->node_rows[at] = fl_buf_copy(value);
    loaded->node_count++;
    r = fl_reader(fl_buf_bytes(loaded->node_rows[at]));
    FL_TRY(as_damage(placement_node_decode(&loaded->nodes[at], &r)));
    return fl_reader_done(&r) && loaded->nodes[at].id == id ? FL_OK : FL_CORRUPT;
}

static enum fl_status load_range(struct loaded *loaded, uint64_t id, struct fl_bytes value)
{
    struct fl_reader r = fl_reader(value);
    size_t at = loaded->range_count;

    fl_grow(&loaded->ranges, &loaded->range_capacity, at + 1, sizeof(loaded->ranges[0]));
    FL_TRY(as_damage(shard_range_decode(&loaded->ranges[at], &r)));
    loaded->range_count++;
    return fl_reader_done(&r) && loaded->ranges[at].group_id == id ? FL_OK : FL_CORRUPT;
}

static enum fl_status load_row(struct loaded *loaded, struct fl_bytes key, struct fl_bytes value)
{
    if (fl_bytes_equal(key, fl_bytes(meta_key, sizeof(meta_key)))) {
        return load_meta(loaded, value);
    }
    if (key.len != ROW_KEY_BYTES) {
        return FL_CORRUPT;
    }
    switch (key.data[1]) {
    case ROW_NODE:
        return load_node(loaded, fl_get_u64be(key.data + 2), value);
    case ROW_RANGE:
        return load_range(loaded, fl_get_u64be(key.data + 2), value);
    default:
        return FL_CORRUPT;
    }
}

static enum fl_status load_rows(struct shard_engine *engine, struct loaded *loaded)
{
    struct shard_iterator *it = shard_iterator_create(engine,
                                                      NULL,
                                                      fl_bytes(first_key, sizeof(first_key)),
                                                      fl_bytes(beyond_key, sizeof(beyond_key)));
    enum fl_status status = FL_OK;

    for (shard_iterator_first(it); status == FL_OK && shard_iterator_valid(it);
         shard_iterator_next(it)) {
        status = load_row(loaded, shard_iterator_key(it), shard_iterator_value(it));
    }
    if (status == FL_OK) {
        status = shard_iterator_status(it);
    }
    shard_iterator_destroy(it);
    return status;
}

static int range_compare(const void *a, const void *b)
{
    return fl_bytes_compare(((const struct shard_range *)a)->start,
                            ((const struct shard_range *)b)->start);
}

/* The map of the gathered rows; FL_CORRUPT unless they fit together. */
static enum fl_status load_view(struct loaded *loaded, struct placement_map_view **view)
{
    char why[PLACEMENT_WHY_MAX];
    struct placement_node_list *nodes = NULL;
    struct placement_range_map *ranges = NULL;
    enum fl_status status = FL_CORRUPT;
    bool bootstrapped = loaded->cluster_id != 0;

    if (loaded->meta != bootstrapped || (loaded->node_count != 0) != bootstrapped ||
        (loaded->range_count != 0) != bootstrapped) {
        return FL_CORRUPT;
    }
    if (placement_node_list_create(loaded->nodes, loaded->node_count, &nodes) != FL_OK) {
        return FL_CORRUPT;
    }
    if (bootstrapped) {
        qsort(loaded->ranges, loaded->range_count, sizeof(loaded->ranges[0]), range_compare);
        if (placement_range_map_create(
                loaded->ranges, loaded->range_count, &ranges, why, sizeof(why)) != FL_OK) {
            goto out;
        }
    }
    *view = placement_map_view_create(loaded->version, loaded->cluster_id, nodes, ranges);
    status = FL_OK;
out:
    placement_node_list_release(nodes);
    placement_range_map_release(ranges);
    return status;
}

static enum fl_status load_state(struct placement *placement)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value value;
    enum fl_status status =
        shard_engine_get(placement->engine, NULL, group_key(SHARD_ROW_STATE, key), &value);

    if (status != FL_OK) {
        return status;
    }
    status = as_damage(shard_state_decode(value.bytes, &placement->state));
    shard_value_release(&value);
    return status;
}

static enum fl_status load_descriptor(struct placement *placement)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value value;
    struct fl_reader r;
    enum fl_status status =
        shard_engine_get(placement->engine, NULL, group_key(SHARD_ROW_DESCRIPTOR, key), &value);

    if (status != FL_OK) {
        return status == FL_NOT_FOUND ? FL_CORRUPT : status;
    }
    r = fl_reader(value.bytes);
    status = as_damage(shard_range_decode(&placement->descriptor, &r));
    if (status == FL_OK &&
        (!fl_reader_done(&r) || placement->descriptor.group_id != PLACEMENT_GROUP_ID)) {
        shard_range_close(&placement->descriptor);
        status = FL_CORRUPT;
    }
    shard_value_release(&value);
    return status;
}

enum fl_status placement__rows_load(struct placement *placement)
{
    struct loaded loaded = {0};
    enum fl_status status = load_state(placement);

    shard_range_init(&placement->descriptor);
    placement->view = NULL;
    placement->exists = status == FL_OK;
    if (status != FL_OK && status != FL_NOT_FOUND) {
        return status;
    }
    FL_TRY_OUT(load_rows(placement->engine, &loaded));
    if (!placement->exists) {
        status = loaded.meta || loaded.node_count + loaded.range_count != 0 ? FL_CORRUPT : FL_OK;
        placement->view = status == FL_OK ? placement__view_empty() : NULL;
        goto out;
    }
    FL_TRY_OUT(load_descriptor(placement));
    FL_TRY_OUT(load_view(&loaded, &placement->view));
out:
    if (status != FL_OK) {
        shard_range_close(&placement->descriptor);
    }
    loaded_close(&loaded);
    return status;
}
