/* The gRPC door: listens on the client URLs and serves the methods it is given.
 *
 * Owner: main(). Lifetime: api_server_create to api_server_destroy; the node must be open from
 * create to stop, and closed before destroy.
 * Threads: create, start and stop from one thread; each poller runs its own completion queue.
 *
 * Invariants DR-1.. are in README.md. */
#ifndef API_SERVER_H
#define API_SERVER_H

#include "api/call.h"
#include "node/node.h"
#include "raftgroup/base/status.h"

struct api_server;

/* Binds every URL. FL_REFUSED with a sentence in `why` when an address cannot be had. The process
 * must block its termination signals before: gRPC's threads inherit the mask. */
FL_MUST_USE enum fl_status api_server_create(struct api_server **server,
                                             struct node *node,
                                             const struct node_options *options,
                                             char *why,
                                             size_t why_bytes);
/* Starts the pollers; from now on calls are served. */
void api_server_start(struct api_server *server);
/* Refuses new calls, lets calls in flight finish for `grace_ms`, cancels the rest, waits until the
 * node has answered what it holds, and ends the pollers. A server that never started may be stopped
 * too. */
void api_server_stop(struct api_server *server, uint64_t grace_ms);
/* Frees a stopped server, after node_close: a thread of the node may still be on its way back from
 * the last answer, and rings a bell that is part of the server (DR-5). */
void api_server_destroy(struct api_server *server);

/* Fills what every header says: who answers, for which cluster. */
void api_server_identity(struct api_server *server, uint64_t *cluster_id, uint64_t *node_id);

/* One method's counts for the metrics page. */
struct api_method_counts {
    const char *path;
    uint64_t handled[17]; /* by gRPC code */
};
/* Calls `visit` for every registered method, then once with path NULL for unregistered ones. */
void api_server_walk_counts(const struct api_server *server,
                            void (*visit)(void *context, const struct api_method_counts *counts),
                            void *context);
/* Calls being served and the bytes of their requests. */
void api_server_in_flight(const struct api_server *server, uint64_t *calls, uint64_t *bytes);

/* The server a call belongs to. */
struct api_server *api_call_server(struct api_call *call);

#endif
