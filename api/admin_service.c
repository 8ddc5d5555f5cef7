/* flotilla.v1.Admin: this node's picture of itself, of the nodes and of the ranges. */
#include "api/convert.h"
#include "api/header.h"
#include "api/proto/flotilla.pb-c.h"
#include "api/services.h"

#define RANGES_PER_ANSWER 4096 /* about 1 MB */

static void status_handle(struct api_call *call)
{
    Flotilla__V1__StatusResponse message;
    const struct node_member_view *self;
    struct node_view *view;

    if (api_call_unpack(call, &flotilla__v1__status_request__descriptor) == NULL) {
        return;
    }
    flotilla__v1__status_response__init(&message);
    view = node_view_acquire(api_call_node(call));
    self = api_view_self(view);
    message.cluster_id = view->cluster_id;
    message.node_id = view->node_id;
    message.name = self == NULL ? message.name : self->name;
    message.version = api_arena_text(&call->arena, NODE_VERSION);
    message.leader = view->leader;
    message.revision = view->revision;
    message.compact_revision = view->compact_revision;
    message.data_bytes = view->data_bytes;
    message.log_bytes = view->log_bytes;
    message.ready = view->ready;
    message.draining = view->draining;
    for (size_t i = 0; i < view->group_count; i++) {
        const struct node_group_view *group = &view->groups[i];

        message.replicas += group->replica_id != 0;
        message.leaders += group->replica_id != 0 && group->role == NODE_ROLE_LEADER;
        if (group->lag_entries > message.lag_entries_max) {
            message.lag_entries_max = group->lag_entries;
            message.lag_group = group->group_id;
        }
    }
    api_call_reply(call, &message.base);
    node_view_release(view);
}

static void nodes_handle(struct api_call *call)
{
    Flotilla__V1__NodesResponse message = FLOTILLA__V1__NODES_RESPONSE__INIT;
    Flotilla__V1__Node *nodes;
    struct node_view *view;

    if (api_call_unpack(call, &flotilla__v1__nodes_request__descriptor) == NULL) {
        return;
    }
    view = node_view_acquire(api_call_node(call));
    nodes = api_arena_take(&call->arena, view->member_count * sizeof *nodes);
    message.nodes = api_arena_take(&call->arena, view->member_count * sizeof(Flotilla__V1__Node *));
    for (size_t i = 0; i < view->member_count; i++) {
        const struct node_member_view *member = &view->members[i];
        Flotilla__V1__Node *node = &nodes[i];

        flotilla__v1__node__init(node);
        node->id = member->id;
        node->name = member->name;
        node->peer_urls = api_arena_split(&call->arena, member->peer_urls, &node->n_peer_urls);
        node->client_urls =
            api_arena_split(&call->arena, member->client_urls, &node->n_client_urls);
        node->locality = member->locality;
        node->alive = member->alive;
        node->leaders = member->leaders;
        node->replicas = member->replicas;
        message.nodes[message.n_nodes++] = node;
    }
    message.cluster_id = view->cluster_id;
    message.node_id = view->node_id;
    api_call_reply(call, &message.base);
    node_view_release(view);
}

static Flotilla__V1__Role role_of(const struct node_group_view *group)
{
    if (group->replica_id == 0) {
        return FLOTILLA__V1__ROLE__NOT_HERE;
    }
    switch (group->role) {
    case NODE_ROLE_FOLLOWER:
        return FLOTILLA__V1__ROLE__FOLLOWER;
    case NODE_ROLE_CANDIDATE:
        return FLOTILLA__V1__ROLE__CANDIDATE;
    case NODE_ROLE_LEADER:
        return FLOTILLA__V1__ROLE__LEADER;
    case NODE_ROLE_LEARNER:
        return FLOTILLA__V1__ROLE__LEARNER;
    case NODE_ROLE_FROZEN:
    default:
        return FLOTILLA__V1__ROLE__FROZEN;
    }
}

static ProtobufCBinaryData key_to(struct fl_bytes key)
{
    return (ProtobufCBinaryData){.len = key.len, .data = (uint8_t *)(uintptr_t)key.data};
}

/* Fills one range; its slices borrow from the view. */
static void
fill_range(struct api_arena *arena, const struct node_group_view *group, Flotilla__V1__Range *range)
{
    flotilla__v1__range__init(range);
    range->group_id = group->group_id;
    range->start = key_to(group->start);
    range->end = key_to(group->end);
    range->version = group->version;
    range->replica_id = group->replica_id;
    range->role = role_of(group);
    range->leader = group->leader;
    range->term = group->term;
    range->commit_index = group->commit_index;
    range->applied_index = group->applied_index;
    range->last_index = group->last_index;
    range->lag_entries = group->lag_entries;
    range->log_bytes = group->log_bytes;
    range->quiesced = group->quiesced;
    range->n_replica_nodes = group->replica_count;
    range->replica_nodes = api_arena_take(arena, group->replica_count * sizeof(uint64_t));
    for (size_t i = 0; i < group->replica_count; i++) {
        range->replica_nodes[i] = group->replica_nodes[i];
    }
}

/* Where to go on behind `group_id`; a range that is gone meanwhile ends the listing. */
static size_t position_after(const struct node_view *view, uint64_t group_id)
{
    size_t i = 0;

    if (group_id == 0) {
        return 0;
    }
    while (i < view->group_count && view->groups[i].group_id != group_id) {
        i++;
    }
    return i < view->group_count ? i + 1 : i;
}

static void ranges_handle(struct api_call *call)
{
    Flotilla__V1__RangesRequest *request =
        api_call_unpack(call, &flotilla__v1__ranges_request__descriptor);
    Flotilla__V1__RangesResponse message = FLOTILLA__V1__RANGES_RESPONSE__INIT;
    Flotilla__V1__Range *ranges;
    struct node_view *view;
    size_t first;
    size_t count;

    if (request == NULL) {
        return;
    }
    view = node_view_acquire(api_call_node(call));
    first = position_after(view, request->after_group);
    count = view->group_count - first;
    if (request->limit != 0 && count > request->limit) {
        count = request->limit;
    }
    count = count > RANGES_PER_ANSWER ? RANGES_PER_ANSWER : count;
    ranges = api_arena_take(&call->arena, count * sizeof *ranges);
    message.ranges = api_arena_take(&call->arena, count * sizeof(Flotilla__V1__Range *));
    for (size_t i = 0; i < count; i++) {
        fill_range(&call->arena, &view->groups[first + i], &ranges[i]);
        message.ranges[message.n_ranges++] = &ranges[i];
    }
    message.more = first + count < view->group_count;
    message.cluster_id = view->cluster_id;
    message.node_id = view->node_id;
    api_call_reply(call, &message.base);
    node_view_release(view);
}

static const struct api_method methods[] = {
    {"/flotilla.v1.Admin/Status", status_handle, 4, NULL},
    {"/flotilla.v1.Admin/Nodes", nodes_handle, 4, NULL},
    {"/flotilla.v1.Admin/Ranges", ranges_handle, 4, NULL},
};

const struct api_service api_admin_service = {
    .name = "flotilla.v1.Admin",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};
