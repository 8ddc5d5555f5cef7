/* The placement machine: applies commands to the node list and the range map. See placement.h. */
#include "placement/placement.h"

#include "placement/assign.h"
#include "placement/command.h"
#include "placement/placement_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "shard/membership.h"
#include "shard/result.h"

struct placement *placement__of(struct shard_machine *machine)
{
    return (struct placement *)(void *)machine;
}

struct placement_map_view *placement__view_empty(void)
{
    struct placement_node_list *nodes;
    struct placement_map_view *view;
    enum fl_status status = placement_node_list_create(NULL, 0, &nodes);

    fl_assert(status == FL_OK); /* an empty list is always sound */
    view = placement_map_view_create(0, 0, nodes, NULL);
    placement_node_list_release(nodes);
    return view;
}

/* ---- commands ---- */

/* The next view; takes over nothing. */
static void view_replace(struct placement *placement,
                         struct shard_batch *batch,
                         uint64_t cluster_id,
                         struct placement_node_list *nodes,
                         struct placement_range_map *ranges)
{
    struct placement_map_view *old = placement->view;

    placement->view = placement_map_view_create(old->version + 1, cluster_id, nodes, ranges);
    placement_map_view_release(old);
    placement__rows_put_meta(batch, placement->view);
}

static void first_range_fill(struct shard_range *range,
                             const struct placement_bootstrap *bootstrap,
                             size_t at,
                             const struct placement_assignment *homes)
{
    struct fl_bytes none = {NULL, 0};

    shard_range_init(range);
    range->group_id = PLACEMENT_FIRST_RANGE_ID + at;
    range->version = 1;
    range->conf_version = 1;
    range->generation = 1;
    range->next_replica_id = homes->count + 1;
    range->replica_count = (uint32_t)homes->count;
    for (size_t i = 0; i < homes->count; i++) {
        range->replicas[i] = (struct shard_replica){
            .node_id = homes->node[i],
            .replica_id = i + 1,
            .role = SHARD_REPLICA_VOTER,
        };
    }
    shard_range_set_interval(range,
                             at != 0 ? bootstrap->split_keys[at - 1] : none,
                             at != bootstrap->split_key_count ? bootstrap->split_keys[at] : none);
}

static enum fl_status first_map(const struct placement_bootstrap *bootstrap,
                                const struct placement_node_list *nodes,
                                struct placement_range_map **map)
{
    char why[PLACEMENT_WHY_MAX];
    size_t count = bootstrap->split_key_count + 1;
    struct placement_assignment *homes = fl_xcalloc(count, sizeof(homes[0]));
    struct shard_range *ranges = fl_xcalloc(count, sizeof(ranges[0]));
    enum fl_status status;

    placement_assign(nodes, count, homes);
    for (size_t i = 0; i < count; i++) {
        first_range_fill(&ranges[i], bootstrap, i, &homes[i]);
    }
    status = placement_range_map_create(ranges, count, map, why, sizeof(why));
    for (size_t i = 0; i < count; i++) {
        shard_range_close(&ranges[i]);
    }
    free(ranges);
    free(homes);
    return status;
}

static enum fl_status
apply_bootstrap(struct placement *placement, struct shard_batch *batch, struct fl_bytes body)
{
    struct placement_bootstrap bootstrap;
    struct placement_node_list *nodes = NULL;
    struct placement_range_map *map = NULL;
    enum fl_status status;

    if (placement->view->bootstrapped) {
        return FL_EXISTS; /* PL-3, D15 */
    }
    FL_TRY(placement_bootstrap_decode(body, &bootstrap));
    FL_TRY_OUT(placement_node_list_create(bootstrap.nodes, bootstrap.node_count, &nodes));
    FL_TRY_OUT(first_map(&bootstrap, nodes, &map));
    for (size_t i = 0; i < placement_node_list_count(nodes); i++) {
        placement__rows_put_node(batch, placement_node_list_at(nodes, i));
    }
    for (size_t i = 0; i < placement_range_map_count(map); i++) {
        placement__rows_put_range(batch, placement_range_map_at(map, i));
    }
    view_replace(placement, batch, bootstrap.cluster_id, nodes, map);
out:
    placement_node_list_release(nodes);
    placement_range_map_release(map);
    placement_bootstrap_close(&bootstrap);
    return status;
}

static bool node_equal(const struct placement_node *a, const struct placement_node *b)
{
    return a->id == b->id && placement_uuid_equal(&a->uuid, &b->uuid) && a->state == b->state &&
           fl_bytes_equal(a->name, b->name) && fl_bytes_equal(a->peer_urls, b->peer_urls) &&
           fl_bytes_equal(a->client_urls, b->client_urls) &&
           placement_locality_equal(&a->locality, &b->locality);
}

static enum fl_status
apply_node_update(struct placement *placement, struct shard_batch *batch, struct fl_bytes body)
{
    struct placement_map_view *view = placement->view;
    const struct placement_node *known;
    struct placement_node node;
    struct placement_node_list *nodes;

    FL_TRY(placement_node_update_decode(body, &node));
    known = placement_node_list_find(view->nodes, node.id);
    if (known == NULL) {
        return FL_NOT_FOUND;
    }
    if (!placement_uuid_equal(&known->uuid, &node.uuid)) {
        return FL_REFUSED; /* PL-7: a wiped disk, or somebody else, under an old id */
    }
    if (node_equal(known, &node)) {
        return FL_OK; /* nobody needs to hear of it */
    }
    FL_TRY(placement_node_list_with(view->nodes, &node, &nodes));
    placement__rows_put_node(batch, &node);
    view_replace(placement, batch, view->cluster_id, nodes, view->ranges);
    placement_node_list_release(nodes);
    return FL_OK;
}

static enum fl_status
apply_command(struct placement *placement, struct shard_batch *batch, struct fl_bytes payload)
{
    struct shard_command command;

    FL_TRY(shard_command_decode(payload, &command));
    switch (command.kind) {
    case PLACEMENT_COMMAND_BOOTSTRAP:
        return apply_bootstrap(placement, batch, command.body);
    case PLACEMENT_COMMAND_NODE_UPDATE:
        return apply_node_update(placement, batch, command.body);
    default:
        return command.kind < SHARD_COMMAND_PLACEMENT_FIRST ? FL_NOT_SUPPORTED : FL_NEWER_FORMAT;
    }
}

static enum fl_status
apply_membership(struct placement *placement, struct shard_batch *batch, struct fl_bytes payload)
{
    struct shard_membership change;

    FL_TRY(shard_membership_decode(payload, &change));
    FL_TRY(shard_membership_apply(&change, &placement->state.conf, &placement->descriptor));
    placement__rows_put_descriptor(batch, &placement->descriptor);
    return FL_OK;
}

static void
apply_entry(struct placement *placement, struct shard_batch *batch, struct shard_apply *entry)
{
    fl_assert(placement->exists && entry->index == placement->state.applied_index + 1);
    entry->status = FL_OK;
    entry->revision = 0;
    entry->result = NULL;
    if (entry->type == RAFT_ENT_CONF) {
        entry->status = apply_membership(placement, batch, entry->payload);
    } else if (entry->type == RAFT_ENT_NORMAL && entry->payload.len != 0) {
        entry->status = apply_command(placement, batch, entry->payload);
    }
    if (entry->status == FL_NEWER_FORMAT) {
        /* Others apply it: going on without it would be another state than theirs (PL-5). */
        fl_fatal(
            "entry %llu of the placement group was written by a newer program, "
            "this one is too old to apply it",
            (unsigned long long)entry->index);
    }
    if (entry->status == FL_OK && entry->want_result) {
        entry->result = shard_result_plain(SHARD_RESULT_COMPACT, 0);
    }
    placement->state.applied_index = entry->index;
    placement->state.applied_term = entry->term;
}

/* ---- the port ---- */

static void machine_apply(struct shard_machine *machine,
                          struct shard_batch *batch,
                          struct shard_apply *entries,
                          size_t n)
{
    struct placement *placement = placement__of(machine);
    uint64_t version = placement->view->version;

    for (size_t i = 0; i < n; i++) {
        apply_entry(placement, batch, &entries[i]);
    }
    if (n == 0) {
        return;
    }
    placement->dirty = true;
    placement__rows_put_state(batch, &placement->state); /* D1: in the batch of the rows */
    if (placement->view->version != version) {
        placement->publish(placement->publish_context, placement->view);
    }
}

static void machine_relearn(struct shard_machine *machine, const struct shard_apply *entry)
{
    /* Nothing lives in memory alone; checkpoint_index == applied_index, so nobody has cause. */
    (void)machine;
    (void)entry;
}

static void machine_status(const struct shard_machine *machine, struct shard_machine_status *status)
{
    const struct placement *placement = (const struct placement *)(const void *)machine;

    *status = (struct shard_machine_status){
        .applied_index = placement->state.applied_index,
        .applied_term = placement->state.applied_term,
        .checkpoint_index = placement->state.applied_index,
        .dirty = placement->dirty,
        .conf = &placement->state.conf,
    };
}

static void machine_checkpoint(struct shard_machine *machine, struct shard_batch *batch)
{
    (void)batch; /* every row is written as it is applied */
    placement__of(machine)->dirty = false;
}

static void machine_destroy(struct shard_machine *machine, struct shard_batch *batch)
{
    struct placement *placement = placement__of(machine);

    /* Not published: whoever routes goes on with the last map until another replica's arrives. */
    placement__rows_delete(batch);
    placement->exists = false;
    placement->dirty = false;
    placement->state = (struct shard_state){0};
    shard_range_close(&placement->descriptor);
    placement_map_view_release(placement->view);
    placement->view = placement__view_empty();
}

static void machine_close(struct shard_machine *machine)
{
    struct placement *placement = placement__of(machine);

    shard_range_close(&placement->descriptor);
    placement_map_view_release(placement->view);
    free(placement);
}

static const struct shard_machine_ops placement_ops = {
    .apply = machine_apply,
    .relearn = machine_relearn,
    .status = machine_status,
    .checkpoint = machine_checkpoint,
    .snapshot_open = placement__snapshot_open,
    .snapshot_next = placement__snapshot_next,
    .snapshot_close = placement__snapshot_close,
    .install_begin = placement__install_begin,
    .install_chunk = placement__install_chunk,
    .install_seal = placement__install_seal,
    .install_finish = placement__install_finish,
    .install_abort = placement__install_abort,
    .destroy = machine_destroy,
    .close = machine_close,
};

/* ---- life ---- */

void placement_bootstrap(struct shard_batch *batch,
                         const struct shard_range *descriptor,
                         const struct raft_conf *conf,
                         uint64_t index,
                         uint64_t term)
{
    struct shard_state state = {.applied_index = index, .applied_term = term, .conf = *conf};

    fl_assert(descriptor->group_id == PLACEMENT_GROUP_ID && shard_range_valid(descriptor));
    fl_assert(conf->n != 0 && raft_conf_valid(conf));
    placement__rows_put_state(batch, &state);
    placement__rows_put_descriptor(batch, descriptor);
}

enum fl_status placement_open(struct shard_engine *engine,
                              placement_publish_fn *publish,
                              void *publish_context,
                              struct placement **placement)
{
    struct placement *made = fl_xcalloc(1, sizeof(*made));
    enum fl_status status;

    *placement = NULL;
    made->machine.ops = &placement_ops;
    made->engine = engine;
    made->publish = publish;
    made->publish_context = publish_context;
    status = placement__rows_load(made);
    if (status != FL_OK) {
        free(made);
        return status;
    }
    *placement = made;
    if (made->view->version != 0) {
        publish(publish_context, made->view);
    }
    return FL_OK;
}

struct shard_machine *placement_machine(struct placement *placement)
{
    return &placement->machine;
}

struct placement_map_view *placement_view(const struct placement *placement)
{
    return placement->view;
}

const struct shard_range *placement_descriptor(const struct placement *placement)
{
    return &placement->descriptor;
}
