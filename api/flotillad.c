/* flotillad: options, node, doors, signals; and out again in the opposite order.
 *
 * Exit codes: 0 after SIGTERM or SIGINT, 1 when the node could not start or its cluster refused it,
 * 2 for wrong usage. */
#include "api/http.h"
#include "api/listen.h"
#include "api/server.h"
#include "node/node.h"
#include "placement/node_list.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define EXIT_USAGE    2
#define DRAIN_MS      5000 /* leaderships handed over within */
#define GRACE_MS      2000 /* requests in flight answered within */
#define WHY_BYTES_MAX 1024
#define LOOK_MS       50 /* between two looks whether the node is ready for the first time */

struct daemon {
    struct node_options options;
    struct node *node;
    struct api_server *server;
    struct api_http *http;
    pthread_t waiter;
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool started;        /* until then a signal ends the process: there is nothing to drain */
        int signal;          /* the first one; 0: none */
        const char *refusal; /* the cluster's; NULL: none */
    } shared;
};

/* --- telling the service manager ------------------------------------------------------------ */

/* One datagram to $NOTIFY_SOCKET, as sd_notify does; silence when there is none. */
static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = path == NULL ? 0 : strlen(path);
    int fd;

    if (len == 0 || len >= sizeof address.sun_path) {
        return;
    }
    memcpy(address.sun_path, path, len);
    if (path[0] == '@') { /* an abstract name */
        address.sun_path[0] = '\0';
    }
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        (void)sendto(fd,
                     state,
                     strlen(state),
                     MSG_NOSIGNAL,
                     (const struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
        (void)close(fd);
    }
}

/* --- signals -------------------------------------------------------------------------------- */

static void end_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
}

/* The one thread that takes signals. The first asks main() to stop, the second does not ask. */
static void *take_signals(void *context)
{
    struct daemon *daemon = context;
    sigset_t set;

    end_signals(&set);
    for (;;) {
        int number = 0;
        bool first;
        bool started;

        if (sigwait(&set, &number) != 0) {
            continue;
        }
        (void)pthread_mutex_lock(&daemon->shared.lock);
        first = daemon->shared.signal == 0;
        started = daemon->shared.started;
        daemon->shared.signal = number;
        (void)pthread_cond_signal(&daemon->shared.changed);
        (void)pthread_mutex_unlock(&daemon->shared.lock);
        if (!started || !first) {
            fl_log(FL_LOG_WARN, "exit_at_once", "signal=%d started=%d", number, started);
            _exit(started ? EXIT_FAILURE : EXIT_SUCCESS);
        }
    }
    return NULL;
}

/* Before any other thread exists: all of them inherit the mask, gRPC's too. */
static bool start_signals(struct daemon *daemon)
{
    pthread_t thread;
    sigset_t set;

    end_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    if (pthread_create(&thread, NULL, take_signals, daemon) != 0) {
        return false;
    }
    (void)pthread_detach(thread);
    return true;
}

static void *wait_for_refusal(void *context)
{
    struct daemon *daemon = context;
    const char *refusal = node_wait(daemon->node);

    (void)pthread_mutex_lock(&daemon->shared.lock);
    daemon->shared.refusal = refusal;
    (void)pthread_cond_signal(&daemon->shared.changed);
    (void)pthread_mutex_unlock(&daemon->shared.lock);
    return NULL;
}

static bool is_ready(const struct daemon *daemon)
{
    struct node_view *view = node_view_acquire(daemon->node);
    bool ready = view->ready;

    node_view_release(view);
    return ready;
}

/* The next look at the view; the node has no call that waits for readiness. */
static struct timespec next_look(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += LOOK_MS * 1000000L;
    if (at.tv_nsec >= 1000000000L) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000L;
    }
    return at;
}

/* Blocks until a signal has come or the cluster has refused this node; returns the refusal. Says so
 * once the node is ready for the first time. */
static const char *wait_for_end(struct daemon *daemon)
{
    const char *refusal;
    bool ready = false;

    (void)pthread_mutex_lock(&daemon->shared.lock);
    while (daemon->shared.signal == 0 && daemon->shared.refusal == NULL) {
        struct timespec at = next_look();

        if (ready) {
            (void)pthread_cond_wait(&daemon->shared.changed, &daemon->shared.lock);
        } else if (is_ready(daemon)) {
            ready = true;
            fl_log(FL_LOG_INFO, "ready", "name=\"%s\"", daemon->options.name);
            notify("READY=1");
        } else {
            (void)pthread_cond_timedwait(&daemon->shared.changed, &daemon->shared.lock, &at);
        }
    }
    refusal = daemon->shared.signal == 0 ? daemon->shared.refusal : NULL;
    (void)pthread_mutex_unlock(&daemon->shared.lock);
    return refusal;
}

/* --- start and stop ------------------------------------------------------------------------- */

static int fail(const char *why)
{
    (void)fprintf(stderr, "flotillad: %s\n", why);
    return EXIT_FAILURE;
}

/* The doors are tried before the node: a port in use must not cost an election. */
static int start(struct daemon *daemon)
{
    const struct node_options *options = &daemon->options;
    char why[WHY_BYTES_MAX] = "";

    if (!api_listen_check(&options->listen_client_urls, "listen-client-urls", why, sizeof why) ||
        !api_listen_check(&options->listen_metrics_urls, "listen-metrics-urls", why, sizeof why) ||
        node_open(&daemon->node, options, why, sizeof why) != FL_OK) {
        return fail(why);
    }
    if (api_server_create(&daemon->server, daemon->node, options, why, sizeof why) != FL_OK) {
        node_close(daemon->node);
        return fail(why);
    }
    if (api_http_start(&daemon->http, daemon->node, daemon->server, options, why, sizeof why) !=
        FL_OK) {
        api_server_stop(daemon->server, 0);
        node_close(daemon->node);
        api_server_destroy(daemon->server);
        return fail(why);
    }
    if (pthread_create(&daemon->waiter, NULL, wait_for_refusal, daemon) != 0) {
        fl_fatal("no thread could be started: raise the limit on processes");
    }
    api_server_start(daemon->server);
    (void)pthread_mutex_lock(&daemon->shared.lock);
    daemon->shared.started = true;
    (void)pthread_mutex_unlock(&daemon->shared.lock);
    return EXIT_SUCCESS;
}

/* A node that was refused has nothing to hand over. */
static void stop(struct daemon *daemon, bool drain)
{
    notify("STOPPING=1");
    if (drain) {
        node_drain(daemon->node, DRAIN_MS);
    }
    api_server_stop(daemon->server, GRACE_MS);
    api_http_stop(daemon->http);
    node_stop_waiting(daemon->node);
    (void)pthread_join(daemon->waiter, NULL);
    node_close(daemon->node);
    api_server_destroy(daemon->server);
}

static void log_serving(const struct daemon *daemon)
{
    const struct node_options *o = &daemon->options;

    fl_log(FL_LOG_INFO,
           "serving",
           "version=%s name=\"%s\" clients=%s peers=%s metrics=%s data_dir=\"%s\"",
           NODE_VERSION,
           o->name,
           o->listen_client_urls.urls[0].text,
           o->listen_peer_urls.urls[0].text,
           o->listen_metrics_urls.urls[0].text,
           o->data_dir);
}

static int run(struct daemon *daemon)
{
    const char *refusal;
    int code;

    if (!start_signals(daemon)) {
        return fail("no thread could be started; raise the limit on processes");
    }
    code = start(daemon);
    if (code != EXIT_SUCCESS) {
        return code;
    }
    log_serving(daemon);
    refusal = wait_for_end(daemon);
    if (refusal != NULL) {
        code = fail(refusal);
    }
    fl_log(FL_LOG_INFO, "stopping", "refused=%d", refusal != NULL);
    stop(daemon, refusal == NULL);
    fl_log(FL_LOG_INFO, "stopped", "code=%d", code);
    return code;
}

/* What the floors below can check before anything is started. */
static bool check_locality(const struct node_options *options, char *why, size_t why_bytes)
{
    struct placement_locality locality;
    char problem[PLACEMENT_WHY_MAX];

    if (placement_locality_parse(
            &locality, fl_bytes_of_string(options->locality), problem, sizeof problem)) {
        return true;
    }
    (void)snprintf(why, why_bytes, "--%s", problem); /* it begins with "locality: " */
    return false;
}

int main(int argc, char **argv)
{
    /* Static: the signal thread may outlive the frame of main() by a moment. */
    static struct daemon daemon = {
        .shared = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER}};
    char why[WHY_BYTES_MAX] = "";
    int code = EXIT_SUCCESS;
    enum node_options_outcome outcome =
        node_options_parse(&daemon.options, argc, argv, environ, why, sizeof why);

    if (outcome == NODE_OPTIONS_RUN && !check_locality(&daemon.options, why, sizeof why)) {
        outcome = NODE_OPTIONS_BAD;
    }
    switch (outcome) {
    case NODE_OPTIONS_HELP:
        node_options_print_help(stdout);
        break;
    case NODE_OPTIONS_VERSION:
        (void)printf("flotillad %s (etcd API %s)\n", NODE_VERSION, NODE_ETCD_VERSION);
        break;
    case NODE_OPTIONS_BAD:
        (void)fprintf(stderr, "flotillad: %s\n", why);
        code = EXIT_USAGE;
        break;
    case NODE_OPTIONS_RUN:
    default:
        fl_log_set_level(daemon.options.log_level);
        code = run(&daemon);
        break;
    }
    node_options_close(&daemon.options);
    return code;
}
