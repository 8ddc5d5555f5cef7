/* What server.c and call.c share: pollers, counters, the posting of calls.
 *
 * Owner: struct api_server owns its pollers. Lifetime: of the server.
 * Threads: a poller's fields belong to its thread; counters are atomics that order nothing but the
 * end of the server (see api_server_stop). */
#ifndef API_SERVER_INTERNAL_H
#define API_SERVER_INTERNAL_H

#include "api/call.h"
#include "api/server.h"
#include "api/services.h"
#include "api/status_map.h"

#include <pthread.h>
#include <stdatomic.h>

/* Requests being served may hold this much together; more are refused as too many. */
#define API_IN_FLIGHT_BYTES_MAX (UINT64_C(256) * 1024 * 1024)

/* Answers come from threads of the node, but everything of gRPC is done on the poller: a reply
 * started elsewhere costs it locks, allocator traffic and a wake-up of the poller each. So `done`
 * pushes the call on a list, and the push that finds it empty rings the bell: a batch without
 * operations, which completes at once. One ring, one take (DR-5). */
struct api_poller {
    struct api_server *server;
    grpc_completion_queue *queue;
    pthread_t thread;
    grpc_channel *bell_channel; /* lame: goes nowhere */
    grpc_call *bell;
    _Atomic(struct api_call *) answered; /* newest first */
    struct api_call *idle;               /* finished calls kept for reuse */
    size_t idle_count;
};

struct api_server {
    struct node *node;
    grpc_server *grpc;
    struct api_poller *pollers;
    size_t poller_count;
    const struct api_method **methods;
    void **registered; /* gRPC's handle of each */
    size_t method_count;
    _Atomic uint64_t (*handled)[API_CODES]; /* method_count rows and one for unregistered */
    _Atomic uint64_t calls_in_flight;
    _Atomic uint64_t bytes_in_flight;
    _Atomic uint64_t cluster_id; /* 0 until the view knows */
    _Atomic uint64_t node_id;
    _Atomic bool stopping;
    bool started; /* written before the pollers run */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool shut_down; /* gRPC has let go of every call */
    } shared;
};

/* A new call has arrived (ok) or will never (not ok). Poller's thread. */
void api__call_arrived(struct api_call *call, bool ok);
/* The bell has rung: replies to every call on the list. Poller's thread. */
void api__calls_answered(struct api_poller *poller);
/* The reply of a call has left or failed. Poller's thread. */
void api__call_finished(struct api_call *call);
/* A call ready to be posted: reused or new. Poller's thread. */
struct api_call *
api__call_create(struct api_poller *poller, const struct api_method *method, size_t method_index);
/* Gives a call without request or reply back to its poller. */
void api__call_recycle(struct api_call *call);
void api__call_destroy(struct api_call *call);

/* Counts a reply; `call` was served since call->started_ns. Any thread. */
void api__server_count(struct api_server *server,
                       const struct api_call *call,
                       grpc_status_code code);
/* One call less in flight. Poller's thread. */
void api__server_left(struct api_server *server);

/* Waits for one more call of this method. Poller's thread, or before the pollers run. */
void api__server_post(struct api_poller *poller, size_t method_index);

#endif
