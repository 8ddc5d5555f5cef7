/* Headers and small questions to a view. */
#include "api/header.h"

#include "api/server.h"

#define PLACEMENT_GROUP 1

Etcdserverpb__ResponseHeader *api_header_fill(struct api_call *call,
                                              Etcdserverpb__ResponseHeader *header,
                                              const struct node_reply *reply)
{
    etcdserverpb__response_header__init(header);
    api_server_identity(api_call_server(call), &header->cluster_id, &header->member_id);
    header->revision = (int64_t)reply->revision;
    header->raft_term = reply->term;
    return header;
}

Etcdserverpb__ResponseHeader *api_header_of_view(Etcdserverpb__ResponseHeader *header,
                                                 const struct node_view *view)
{
    const struct node_group_view *first = api_view_first_range(view);

    etcdserverpb__response_header__init(header);
    header->cluster_id = view->cluster_id;
    header->member_id = view->node_id;
    header->revision = (int64_t)view->revision;
    header->raft_term = first == NULL ? 0 : first->term;
    return header;
}

const struct node_group_view *api_view_first_range(const struct node_view *view)
{
    for (size_t i = 0; i < view->group_count; i++) {
        if (view->groups[i].group_id != PLACEMENT_GROUP) {
            return &view->groups[i];
        }
    }
    return NULL;
}

size_t api_view_leaderless(const struct node_view *view)
{
    size_t n = 0;

    for (size_t i = 0; i < view->group_count; i++) {
        n += view->groups[i].leader == 0;
    }
    return n;
}

const struct node_member_view *api_view_self(const struct node_view *view)
{
    for (size_t i = 0; i < view->member_count; i++) {
        if (view->members[i].id == view->node_id) {
            return &view->members[i];
        }
    }
    return NULL;
}
