/* The groups of one loop: receives, steps, writes, sends and answers for them, turn by turn.
 *
 * Owner: node.c. Lifetime: create, (loop start), groups opened, close on the loop, destroy.
 * Threads: its loop's, except node_host_post_op and node_host_deliver which hand over. */
#ifndef NODE_HOST_H
#define NODE_HOST_H

#include "node/loop.h"
#include "node/op.h"
#include "node/transport.h"
#include "placement/map_view.h"
#include "shard/range.h"

struct node;
struct node_host;

/* What a host shows of one of its groups; see view.h. */
struct node_group_view;

/* The host of loop `index` (0: system loop). Borrows `node`. */
struct node_host *node_host_create(struct node *node, unsigned index);
void node_host_destroy(struct node_host *host);
/* The hooks a transport of this host's loop must be created with. */
struct node_transport_hooks node_host_transport_hooks(struct node_host *host);
/* Loop and transport are created after the host because they need its hooks. */
void node_host_set_loop(struct node_host *host,
                        struct node_loop *loop,
                        struct node_transport *transport);
/* The hooks of the host's loop. */
struct node_loop_hooks node_host_loop_hooks(struct node_host *host);

/* Hands an op over to the loop of its group. Any thread. */
void node_host_post_op(struct node_op *op);
/* Hands over a copy of a message that arrived on another loop. Any thread. */
void node_host_deliver(struct node_host *host, uint64_t peer, uint8_t kind, struct fl_bytes body);

/* A new map was published: opens the groups of this loop that have a replica on this node. Any
 * thread; takes its own reference. */
void node_host_map_changed(struct node_host *host, struct placement_map_view *map);
/* The node is draining: leaders are handed over, new leaders of this node too. Any thread. */
void node_host_drain(struct node_host *host);
/* Fails every request and waits until other threads are done with this host, then reports to the
 * node (node__host_quiet). Any thread. */
void node_host_close(struct node_host *host);
/* Closes every replica and the transport of a quiet host, then reports (node__host_closed). */
void node_host_release(struct node_host *host);

#endif
