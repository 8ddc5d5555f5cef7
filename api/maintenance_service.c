/* etcdserverpb.Maintenance: what `etcdctl endpoint status|health|hashkv` and `alarm list` ask. */
#include "api/convert.h"
#include "api/header.h"
#include "api/services.h"

#include <stdio.h>

/* Trouble in words: etcdctl prints them in the ERRORS column. */
static void fill_errors(struct api_arena *arena,
                        const struct node_view *view,
                        Etcdserverpb__StatusResponse *message)
{
    size_t leaderless = api_view_leaderless(view);
    char text[128];

    message->errors = api_arena_take(arena, 2 * sizeof *message->errors);
    if (view->leader == 0) {
        message->errors[message->n_errors++] = api_arena_text(arena, "etcdserver: no leader");
    } else if (leaderless > 0) {
        (void)snprintf(text, sizeof text, "flotilla: %zu ranges have no leader", leaderless);
        message->errors[message->n_errors++] = api_arena_text(arena, text);
    }
    if (view->draining) {
        message->errors[message->n_errors++] =
            api_arena_text(arena, "flotilla: this node is draining");
    }
}

static void status_handle(struct api_call *call)
{
    Etcdserverpb__StatusResponse message;
    Etcdserverpb__ResponseHeader header;
    const struct node_group_view *first;
    struct node_view *view;

    if (api_call_unpack(call, &etcdserverpb__status_request__descriptor) == NULL) {
        return;
    }
    etcdserverpb__status_response__init(&message);
    view = node_view_acquire(api_call_node(call));
    first = api_view_first_range(view);
    message.header = api_header_of_view(&header, view);
    message.version = api_arena_text(&call->arena, NODE_ETCD_VERSION);
    message.dbsize = (int64_t)view->data_bytes;
    message.dbsizeinuse = (int64_t)view->data_bytes;
    message.leader = view->leader;
    if (first != NULL) {
        message.raftindex = first->commit_index;
        message.raftappliedindex = first->applied_index;
        message.raftterm = first->term;
    }
    fill_errors(&call->arena, view, &message);
    api_call_reply(call, &message.base);
    node_view_release(view);
}

static void hash_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__HashKVResponse message = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;

    message.header = api_header_fill(call, &header, reply);
    message.hash = reply->hash;
    message.compact_revision = (int64_t)reply->compact_revision;
    message.hash_revision =
        (int64_t)(call->node_request.revision == 0 ? reply->revision : call->node_request.revision);
    api_call_reply(call, &message.base);
}

static void hash_handle(struct api_call *call)
{
    Etcdserverpb__HashKVRequest *message =
        api_call_unpack(call, &etcdserverpb__hash_kvrequest__descriptor);

    if (message == NULL) {
        return;
    }
    call->node_request.kind = NODE_REQUEST_HASH;
    call->node_request.revision = message->revision < 0 ? 0 : (uint64_t)message->revision;
    api_call_submit(call, hash_answered);
}

/* There are no alarms: a node short of space refuses writes by itself and recovers by itself. So
 * the list is empty and disarming is done; raising one by hand is not offered. */
static void alarm_handle(struct api_call *call)
{
    Etcdserverpb__AlarmRequest *request =
        api_call_unpack(call, &etcdserverpb__alarm_request__descriptor);
    Etcdserverpb__AlarmResponse message = ETCDSERVERPB__ALARM_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct node_view *view;

    if (request == NULL) {
        return;
    }
    if (request->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE) {
        api_call_refuse(
            call, GRPC_STATUS_UNIMPLEMENTED, "flotilla: alarms cannot be raised by hand");
        return;
    }
    view = node_view_acquire(api_call_node(call));
    message.header = api_header_of_view(&header, view);
    node_view_release(view);
    api_call_reply(call, &message.base);
}

static const struct api_method methods[] = {
    {"/etcdserverpb.Maintenance/Alarm", alarm_handle, 4, NULL},
    {"/etcdserverpb.Maintenance/Status", status_handle, 4, NULL},
    {"/etcdserverpb.Maintenance/HashKV", hash_handle, 4, NULL},
};

const struct api_service api_maintenance_service = {
    .name = "etcdserverpb.Maintenance",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};
