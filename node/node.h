/* One flotilla node: stores, loops, groups and peers behind the few calls a door needs.
 *
 * Owner: api/flotillad. Lifetime: node_open to node_close.
 * Threads: node_submit, node_view_acquire and node_revision from any thread; the others from the
 * thread that opened the node. */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "node/options.h"
#include "node/request.h"
#include "node/view.h"
#include "raftgroup/base/status.h"

struct node;

/* Opens the data directory, starts every thread, joins or forms the cluster. On failure `why`
 * (of `why_bytes`) holds one sentence for the operator and nothing is left running. Errors:
 * FL_INVALID, FL_LOCKED, FL_FOREIGN_CLUSTER, FL_NEWER_FORMAT, FL_CORRUPT, FL_IO, FL_NO_SPACE. */
FL_MUST_USE enum fl_status
node_open(struct node **node, const struct node_options *options, char *why, size_t why_bytes);

/* Takes a request; its `done` is called exactly once, later, on a thread of the node. */
void node_submit(struct node *node, struct node_request *request);

/* The newest published view; release it with node_view_release. */
struct node_view *node_view_acquire(struct node *node);

/* The highest revision this node has seen in its keyspace; never goes back. */
uint64_t node_revision(const struct node *node);

/* Blocks until the node was refused by its cluster (returns a static or node-owned sentence) or
 * node_stop_waiting was called (returns NULL). For main(), which turns a refusal into an exit. */
const char *node_wait(struct node *node);
/* Makes node_wait return; callable from any thread. */
void node_stop_waiting(struct node *node);

/* Hands every leadership to another node and refuses new requests; returns when that is done or
 * after `timeout_ms`. */
void node_drain(struct node *node, uint64_t timeout_ms);

/* Stops every thread and closes the stores. Every request still pending is answered first. */
void node_close(struct node *node);

#endif
