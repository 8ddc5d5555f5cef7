/* The header of every etcd reply, and what the view says about the first range.
 *
 * Owner: the caller. Lifetime: of the call. Threads: whoever holds the call. */
#ifndef API_HEADER_H
#define API_HEADER_H

#include "api/call.h"
#include "api/proto/rpc.pb-c.h"

/* Initialises `header` from what the node answered; returns it. */
Etcdserverpb__ResponseHeader *api_header_fill(struct api_call *call,
                                              Etcdserverpb__ResponseHeader *header,
                                              const struct node_reply *reply);
/* The same for replies that need only this node's own picture. */
Etcdserverpb__ResponseHeader *api_header_of_view(Etcdserverpb__ResponseHeader *header,
                                                 const struct node_view *view);

/* The group of the first range, or NULL while the map is not known. */
const struct node_group_view *api_view_first_range(const struct node_view *view);
/* Ranges (the placement group among them) without a known leader. */
size_t api_view_leaderless(const struct node_view *view);
/* This node's own entry, or NULL. */
const struct node_member_view *api_view_self(const struct node_view *view);

#endif
