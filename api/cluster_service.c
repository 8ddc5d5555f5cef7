/* etcdserverpb.Cluster: the members of an etcd cluster are the nodes of ours. */
#include "api/convert.h"
#include "api/header.h"
#include "api/services.h"

static void fill_member(struct api_arena *arena,
                        const struct node_member_view *node,
                        Etcdserverpb__Member *member)
{
    etcdserverpb__member__init(member);
    member->id = node->id;
    /* etcd shows a member that has not started yet by its empty name. */
    member->name = node->client_urls[0] == '\0' ? member->name : node->name;
    member->peerurls = api_arena_split(arena, node->peer_urls, &member->n_peerurls);
    member->clienturls = api_arena_split(arena, node->client_urls, &member->n_clienturls);
}

static void member_list_handle(struct api_call *call)
{
    Etcdserverpb__MemberListResponse message = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__Member *members;
    struct node_view *view;

    if (api_call_unpack(call, &etcdserverpb__member_list_request__descriptor) == NULL) {
        return;
    }
    view = node_view_acquire(api_call_node(call));
    members = api_arena_take(&call->arena, view->member_count * sizeof *members);
    message.members =
        api_arena_take(&call->arena, view->member_count * sizeof(Etcdserverpb__Member *));
    for (size_t i = 0; i < view->member_count; i++) {
        fill_member(&call->arena, &view->members[i], &members[i]);
        message.members[message.n_members++] = &members[i];
    }
    message.header = api_header_of_view(&header, view);
    header.revision = 0; /* membership is no part of the keyspace; etcd leaves it out too */
    api_call_reply(call, &message.base);
    node_view_release(view);
}

static const struct api_method methods[] = {
    {"/etcdserverpb.Cluster/MemberList", member_list_handle, 4, NULL},
};

const struct api_service api_cluster_service = {
    .name = "etcdserverpb.Cluster",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};
