/* gRPC's core server: setting up, polling, shutting down in the one order that never asserts.
 *
 * Completion queue tags are calls, and the server itself for the end of its shutdown. */
#include "api/server.h"

#include "api/grpc_tuning.h"
#include "api/listen.h"
#include "api/server_internal.h"
#include "api/services.h"
#include "node/clock.h"
#include "node/thread.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/limits.h"

#include <grpc/grpc_security.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define UNREGISTERED_OUTSTANDING 4 /* calls to unknown methods waited for at once */
#define METADATA_BYTES_MAX       (16 * 1024)
#define STREAMS_MAX              8192 /* calls at once on one connection */
#define HANDSHAKE_MS_MAX         10000
/* Instead of measuring the bandwidth with pings, which cost a third of the throughput of small
 * requests on many connections, every stream may send this much ahead. */
#define WINDOW_BYTES         (1024 * 1024)
#define PING_INTERVAL_MS_MIN 5000 /* etcd's; gRPC's 300 s would cut off idle clients */
#define GATHER_CALLS         4    /* in flight, from which on answers may wait for each other */

/* --- pollers -------------------------------------------------------------------------------- */

void api__server_post(struct api_poller *poller, size_t method_index)
{
    struct api_server *server = poller->server;
    bool registered = method_index < server->method_count;
    struct api_call *call =
        api__call_create(poller, registered ? server->methods[method_index] : NULL, method_index);
    grpc_call_error error;

    if (registered) {
        error = grpc_server_request_registered_call(server->grpc,
                                                    server->registered[method_index],
                                                    &call->grpc,
                                                    &call->deadline,
                                                    &call->metadata,
                                                    &call->payload,
                                                    poller->queue,
                                                    poller->queue,
                                                    call);
    } else {
        error = grpc_server_request_call(server->grpc,
                                         &call->grpc,
                                         &call->details,
                                         &call->metadata,
                                         poller->queue,
                                         poller->queue,
                                         call);
    }
    fl_assert(error == GRPC_CALL_OK);
}

static void post_all(struct api_poller *poller)
{
    const struct api_server *server = poller->server;

    for (size_t i = 0; i <= server->method_count; i++) {
        unsigned n =
            i < server->method_count ? server->methods[i]->outstanding : UNREGISTERED_OUTSTANDING;

        for (unsigned k = 0; k < n; k++) {
            api__server_post(poller, i);
        }
    }
}

static void server_shut_down(struct api_server *server)
{
    (void)pthread_mutex_lock(&server->shared.lock);
    server->shared.shut_down = true;
    (void)pthread_cond_broadcast(&server->shared.changed);
    (void)pthread_mutex_unlock(&server->shared.lock);
}

/* The first of several answers has rung: those that come meanwhile need no bell of their own. */
static void gather(struct api_server *server)
{
    if (atomic_load_explicit(&server->calls_in_flight, memory_order_relaxed) >= GATHER_CALLS) {
        node_thread_give_way();
    }
}

static void *poll_run(void *context)
{
    struct api_poller *poller = context;

    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(poller->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        struct api_call *call;

        if (event.type == GRPC_QUEUE_SHUTDOWN) {
            return NULL;
        }
        if (event.type != GRPC_OP_COMPLETE) {
            continue;
        }
        if (event.tag == poller->server) {
            server_shut_down(poller->server);
            continue;
        }
        if (event.tag == &poller->bell) {
            gather(poller->server);
            api__calls_answered(poller);
            continue;
        }
        call = event.tag;
        if (call->replied) {
            api__call_finished(call);
        } else {
            api__call_arrived(call, event.success != 0);
        }
    }
}

/* --- counters ------------------------------------------------------------------------------- */

void api__server_count(struct api_server *server,
                       const struct api_call *call,
                       grpc_status_code code)
{
    size_t index = (size_t)code < API_CODES ? (size_t)code : (size_t)GRPC_STATUS_UNKNOWN;

    atomic_fetch_add_explicit(&server->handled[call->method_index][index], 1, memory_order_relaxed);
    if (call->method != NULL && call->method->latency != NULL) {
        fl_metric_observe(call->method->latency, node_clock_ns() - call->started_ns);
    }
}

void api__server_left(struct api_server *server)
{
    /* Sequentially consistent against api_server_stop: either this sees `stopping` or that sees 0.
     */
    if (atomic_fetch_sub(&server->calls_in_flight, 1) == 1 && atomic_load(&server->stopping)) {
        (void)pthread_mutex_lock(&server->shared.lock);
        (void)pthread_cond_broadcast(&server->shared.changed);
        (void)pthread_mutex_unlock(&server->shared.lock);
    }
}

void api_server_walk_counts(const struct api_server *server,
                            void (*visit)(void *context, const struct api_method_counts *counts),
                            void *context)
{
    for (size_t i = 0; i <= server->method_count; i++) {
        struct api_method_counts counts = {
            .path = i < server->method_count ? server->methods[i]->path : NULL};

        for (size_t k = 0; k < API_CODES; k++) {
            counts.handled[k] = atomic_load_explicit(&server->handled[i][k], memory_order_relaxed);
        }
        visit(context, &counts);
    }
}

void api_server_in_flight(const struct api_server *server, uint64_t *calls, uint64_t *bytes)
{
    *calls = atomic_load_explicit(&server->calls_in_flight, memory_order_relaxed);
    *bytes = atomic_load_explicit(&server->bytes_in_flight, memory_order_relaxed);
}

void api_server_identity(struct api_server *server, uint64_t *cluster_id, uint64_t *node_id)
{
    /* Relaxed: two numbers that never change once they are known. */
    *node_id = atomic_load_explicit(&server->node_id, memory_order_relaxed);
    *cluster_id = atomic_load_explicit(&server->cluster_id, memory_order_relaxed);
    if (*cluster_id == 0 || *node_id == 0) {
        struct node_view *view = node_view_acquire(server->node);

        *cluster_id = view->cluster_id;
        *node_id = view->node_id;
        node_view_release(view);
        atomic_store_explicit(&server->cluster_id, *cluster_id, memory_order_relaxed);
        atomic_store_explicit(&server->node_id, *node_id, memory_order_relaxed);
    }
}

/* --- setting up ----------------------------------------------------------------------------- */

static grpc_arg integer_arg(const char *key, int value)
{
    return (grpc_arg){
        .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key, .value.integer = value};
}

static grpc_server *create_grpc(void)
{
    grpc_arg args[] = {
        integer_arg(GRPC_ARG_ALLOW_REUSEPORT, 0),
        integer_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_INTERVAL_MS_MIN),
        integer_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        integer_arg(GRPC_ARG_HTTP2_BDP_PROBE, 0),
        integer_arg(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, WINDOW_BYTES),
        integer_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, FL_REQUEST_RECEIVE_BYTES_MAX),
        integer_arg(GRPC_ARG_MAX_METADATA_SIZE, METADATA_BYTES_MAX),
        integer_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_MAX),
        integer_arg(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, HANDSHAKE_MS_MAX),
    };
    grpc_channel_args list = {sizeof args / sizeof args[0], args};

    return grpc_server_create(&list, NULL);
}

/* Every method of every service, registered with gRPC; counters zeroed. */
static void register_methods(struct api_server *server)
{
    size_t count = 0;

    for (size_t i = 0; i < API_SERVICES; i++) {
        count += api_services[i]->method_count;
    }
    server->methods = fl_xcalloc(count, sizeof(struct api_method *));
    server->registered = fl_xcalloc(count, sizeof(void *));
    server->handled = fl_xcalloc(count + 1, sizeof *server->handled);
    for (size_t i = 0; i < API_SERVICES; i++) {
        for (size_t k = 0; k < api_services[i]->method_count; k++) {
            const struct api_method *method = &api_services[i]->methods[k];

            server->methods[server->method_count] = method;
            server->registered[server->method_count++] = grpc_server_register_method(
                server->grpc, method->path, NULL, GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER, 0);
        }
    }
}

static void register_metrics(void)
{
    for (size_t i = 0; i < API_SERVICES; i++) {
        for (size_t k = 0; k < api_services[i]->method_count; k++) {
            if (api_services[i]->methods[k].latency != NULL) {
                fl_metric_register(api_services[i]->methods[k].latency);
            }
        }
    }
}

static bool
bind_urls(struct api_server *server, const struct node_url_list *urls, char *why, size_t why_bytes)
{
    grpc_server_credentials *credentials;
    bool bound = api_listen_check(urls, "listen-client-urls", why, why_bytes);

    if (!bound) { /* gRPC would not say why, and would be content with half of localhost */
        return false;
    }
    credentials = grpc_insecure_server_credentials_create();
    for (size_t i = 0; bound && i < urls->count; i++) {
        const char *address = urls->urls[i].text + strlen("http://");

        bound = grpc_server_add_http2_port(server->grpc, address, credentials) != 0;
        if (!bound) {
            (void)snprintf(why,
                           why_bytes,
                           "cannot listen on %s; choose another address with --listen-client-urls",
                           address);
        }
    }
    grpc_server_credentials_release(credentials);
    return bound;
}

/* A call that is never made; only its completion queue is wanted. */
static void create_bell(struct api_poller *poller)
{
    poller->bell_channel =
        grpc_lame_client_channel_create("bell", GRPC_STATUS_UNAVAILABLE, "no peer");
    poller->bell = grpc_channel_create_call(poller->bell_channel,
                                            NULL,
                                            0,
                                            poller->queue,
                                            grpc_slice_from_static_string("/bell"),
                                            NULL,
                                            gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                            NULL);
}

static void create_pollers(struct api_server *server, uint32_t count)
{
    server->poller_count = count;
    server->pollers = fl_xcalloc(count, sizeof *server->pollers);
    for (size_t i = 0; i < count; i++) {
        server->pollers[i].server = server;
        server->pollers[i].queue = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->grpc, server->pollers[i].queue, NULL);
        create_bell(&server->pollers[i]);
    }
}

/* Ends what create_pollers made; their threads, if any, have ended. */
static void destroy_pollers(struct api_server *server)
{
    for (size_t i = 0; i < server->poller_count; i++) {
        struct api_poller *poller = &server->pollers[i];

        while (poller->idle != NULL) {
            struct api_call *call = poller->idle;

            poller->idle = call->next_idle;
            api__call_destroy(call);
        }
        grpc_call_unref(poller->bell);
        grpc_channel_destroy(poller->bell_channel);
        grpc_completion_queue_destroy(poller->queue);
    }
    free(server->pollers);
}

void api_server_destroy(struct api_server *server)
{
    destroy_pollers(server);
    grpc_shutdown();
    (void)pthread_mutex_destroy(&server->shared.lock);
    (void)pthread_cond_destroy(&server->shared.changed);
    free(server->methods);
    free(server->registered);
    free(server->handled);
    free(server);
}

void api_server_start(struct api_server *server)
{
    server->started = true;
    grpc_server_start(server->grpc);
    for (size_t i = 0; i < server->poller_count; i++) {
        struct api_poller *poller = &server->pollers[i];

        post_all(poller);
        if (pthread_create(&poller->thread, NULL, poll_run, poller) != 0) {
            fl_fatal("no thread for the gRPC door");
        }
    }
}

/* --- shutting down -------------------------------------------------------------------------- */

/* Waits until gRPC has let go of every call; cancels what is left after `grace_ms`. */
static void wait_shut_down(struct api_server *server, uint64_t grace_ms)
{
    struct timespec until;
    bool canceled = false;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(grace_ms / 1000);
    until.tv_nsec += (long)(grace_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&server->shared.lock);
    while (!server->shared.shut_down) {
        if (canceled) {
            (void)pthread_cond_wait(&server->shared.changed, &server->shared.lock);
        } else if (pthread_cond_timedwait(&server->shared.changed, &server->shared.lock, &until) !=
                   0) {
            canceled = true;
            (void)pthread_mutex_unlock(&server->shared.lock);
            grpc_server_cancel_all_calls(server->grpc);
            (void)pthread_mutex_lock(&server->shared.lock);
        }
    }
    while (atomic_load(&server->calls_in_flight) != 0) { /* the node still holds some */
        (void)pthread_cond_wait(&server->shared.changed, &server->shared.lock);
    }
    (void)pthread_mutex_unlock(&server->shared.lock);
}

/* A server that never started: nothing was posted, nobody polls. */
static void stop_unstarted(struct api_server *server)
{
    grpc_server_shutdown_and_notify(server->grpc, server->pollers[0].queue, server);
    for (size_t i = 0; i < server->poller_count; i++) {
        grpc_completion_queue *queue = server->pollers[i].queue;

        grpc_completion_queue_shutdown(queue);
        while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
               GRPC_QUEUE_SHUTDOWN) {
        }
    }
    grpc_server_destroy(server->grpc);
}

void api_server_stop(struct api_server *server, uint64_t grace_ms)
{
    if (!server->started) {
        stop_unstarted(server);
        return;
    }
    atomic_store(&server->stopping, true);
    grpc_server_shutdown_and_notify(server->grpc, server->pollers[0].queue, server);
    wait_shut_down(server, grace_ms);
    for (size_t i = 0; i < server->poller_count; i++) {
        grpc_completion_queue_shutdown(server->pollers[i].queue);
    }
    for (size_t i = 0; i < server->poller_count; i++) {
        (void)pthread_join(server->pollers[i].thread, NULL);
    }
    grpc_server_destroy(server->grpc);
}

/* --- setting up, the last step ---------------------------------------------------------------- */

enum fl_status api_server_create(struct api_server **server,
                                 struct node *node,
                                 const struct node_options *options,
                                 char *why,
                                 size_t why_bytes)
{
    static pthread_once_t metrics_once = PTHREAD_ONCE_INIT;
    struct api_server *s = fl_xcalloc(1, sizeof *s);

    (void)pthread_once(&metrics_once, register_metrics);
    api_grpc_tune();
    grpc_init();
    s->node = node;
    (void)pthread_mutex_init(&s->shared.lock, NULL);
    (void)pthread_cond_init(&s->shared.changed, NULL);
    s->grpc = create_grpc();
    create_pollers(s, options->client_threads);
    register_methods(s);
    if (!bind_urls(s, &options->listen_client_urls, why, why_bytes)) {
        stop_unstarted(s);
        api_server_destroy(s);
        return FL_REFUSED;
    }
    *server = s;
    return FL_OK;
}
