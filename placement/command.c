/* Commands of the placement group. See command.h. */
#include "placement/command.h"

#include "placement/range_map.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#define BODY_FORMAT 1

static_assert(SHARD_COMMAND_HEADER_BYTES < FL_ENTRY_BYTES_MAX - FL_REQUEST_BYTES_MAX,
              "a body of the request limit fits an entry with its header");

enum fl_status placement_command_bootstrap(const struct placement_bootstrap *bootstrap,
                                           struct fl_buf **command)
{
    char why[PLACEMENT_WHY_MAX];
    struct placement_node_list *list;
    struct fl_writer w;
    enum fl_status status;

    *command = NULL;
    if (bootstrap->cluster_id == 0 || bootstrap->node_count == 0) {
        return FL_INVALID;
    }
    FL_TRY(placement_splits_check(
        bootstrap->split_keys, bootstrap->split_key_count, why, sizeof(why)));
    FL_TRY(placement_node_list_create(bootstrap->nodes, bootstrap->node_count, &list));
    fl_writer_init(&w);
    fl_write_u8(&w, BODY_FORMAT);
    fl_write_u64le(&w, bootstrap->cluster_id);
    fl_write_varint(&w, bootstrap->node_count);
    for (size_t i = 0; i < bootstrap->node_count; i++) { /* in order of id: one encoding */
        placement_node_encode(placement_node_list_at(list, i), &w);
    }
    fl_write_varint(&w, bootstrap->split_key_count);
    for (size_t i = 0; i < bootstrap->split_key_count; i++) {
        fl_write_bytes(&w, bootstrap->split_keys[i]);
    }
    status = w.len > (size_t)FL_REQUEST_BYTES_MAX
                 ? FL_TOO_LARGE
                 : shard_command_create(PLACEMENT_COMMAND_BOOTSTRAP, fl_writer_bytes(&w), command);
    fl_writer_close(&w);
    placement_node_list_release(list);
    return status;
}

enum fl_status placement_command_node_update(const struct placement_node *node,
                                             struct fl_buf **command)
{
    struct placement_node started = *node;
    struct placement_node_list *list;
    struct fl_writer w;
    enum fl_status status;

    *command = NULL;
    started.state = PLACEMENT_NODE_STARTED;
    FL_TRY(placement_node_list_create(&started, 1, &list));
    placement_node_list_release(list);
    fl_writer_init(&w);
    fl_write_u8(&w, BODY_FORMAT);
    placement_node_encode(&started, &w);
    status = shard_command_create(PLACEMENT_COMMAND_NODE_UPDATE, fl_writer_bytes(&w), command);
    fl_writer_close(&w);
    return status;
}

static enum fl_status body_format(struct fl_reader *r)
{
    uint8_t format = fl_read_u8(r);

    if (!r->bad && format > BODY_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    return format == BODY_FORMAT ? FL_OK : FL_BAD_MESSAGE;
}

static enum fl_status nodes_decode(struct placement_bootstrap *bootstrap, struct fl_reader *r)
{
    uint64_t count = fl_read_varint(r);

    if (r->bad || count == 0 || count > FL_NODES_MAX || count > fl_reader_left(r)) {
        return FL_BAD_MESSAGE;
    }
    bootstrap->nodes = fl_xcalloc((size_t)count, sizeof(bootstrap->nodes[0]));
    bootstrap->node_count = (size_t)count;
    for (size_t i = 0; i < bootstrap->node_count; i++) {
        FL_TRY(placement_node_decode(&bootstrap->nodes[i], r));
    }
    return FL_OK;
}

static enum fl_status splits_decode(struct placement_bootstrap *bootstrap, struct fl_reader *r)
{
    char why[PLACEMENT_WHY_MAX];
    uint64_t count = fl_read_varint(r);

    if (r->bad || count >= FL_RANGES_MAX || count > fl_reader_left(r)) {
        return FL_BAD_MESSAGE;
    }
    bootstrap->split_keys = fl_xcalloc((size_t)count, sizeof(bootstrap->split_keys[0]));
    bootstrap->split_key_count = (size_t)count;
    for (size_t i = 0; i < bootstrap->split_key_count; i++) {
        bootstrap->split_keys[i] = fl_read_bytes(r);
    }
    if (!fl_reader_done(r) ||
        placement_splits_check(
            bootstrap->split_keys, bootstrap->split_key_count, why, sizeof(why)) != FL_OK) {
        return FL_BAD_MESSAGE;
    }
    return FL_OK;
}

enum fl_status placement_bootstrap_decode(struct fl_bytes body,
                                          struct placement_bootstrap *bootstrap)
{
    struct fl_reader r = fl_reader(body);
    enum fl_status status;

    *bootstrap = (struct placement_bootstrap){0};
    FL_TRY(body_format(&r));
    bootstrap->cluster_id = fl_read_u64le(&r);
    if (bootstrap->cluster_id == 0) {
        return FL_BAD_MESSAGE;
    }
    status = nodes_decode(bootstrap, &r);
    if (status == FL_OK) {
        status = splits_decode(bootstrap, &r);
    }
    if (status != FL_OK) {
        placement_bootstrap_close(bootstrap);
    }
    return status;
}

void placement_bootstrap_close(struct placement_bootstrap *bootstrap)
{
    free(bootstrap->nodes);
    free(bootstrap->split_keys);
    *bootstrap = (struct placement_bootstrap){0};
}

enum fl_status placement_node_update_decode(struct fl_bytes body, struct placement_node *node)
{
    struct fl_reader r = fl_reader(body);

    FL_TRY(body_format(&r));
    FL_TRY(placement_node_decode(node, &r));
    return fl_reader_done(&r) && node->state == PLACEMENT_NODE_STARTED ? FL_OK : FL_BAD_MESSAGE;
}
