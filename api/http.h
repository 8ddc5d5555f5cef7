/* The HTTP door: metrics for Prometheus, health for load balancers and people.
 *
 *   /metrics  /metrics/groups?top=N&by=lag  /health  /livez  /readyz?verbose  /version
 *
 * Owner: main(). Lifetime: api_http_start to api_http_stop; node and server outlive it.
 * Threads: start and stop from one thread; pages are made on threads of its own. */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "api/server.h"
#include "node/node.h"
#include "raftgroup/base/status.h"

struct api_http;

/* Listens on every metrics URL. FL_REFUSED with a sentence in `why` when that is not possible. */
FL_MUST_USE enum fl_status api_http_start(struct api_http **http,
                                          struct node *node,
                                          struct api_server *server,
                                          const struct node_options *options,
                                          char *why,
                                          size_t why_bytes);
void api_http_stop(struct api_http *http);

#endif
