/* The listener: accepts, reads one hello within a time and a size, answers, hands the socket over.
 *
 *     accept4 -> guest --hello--> judge --ANSWER--> the transport of the lane
 *                  |                 |
 *                  +- too slow,      +- refused: ANSWER with a sentence, close
 *                     malformed: close
 *
 * It works on bare descriptors instead of uv_tcp_t, because a libuv stream cannot move from one
 * loop to another and the owner of a lane lives on a loop of its own. Out of descriptors, a reserve
 * one is given up for a moment to accept and close the dialer: left in the queue, it would make the
 * level-triggered poll spin. */
#include "node/transport_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT_MS 10000
#define HANDSHAKES_MAX       128
#define ACCEPTS_PER_EVENT    32   /* then others get their turn */
#define BACKLOG              512  /* a whole cluster dialing at once, on several lanes */
#define PAUSE_MS             100  /* without descriptors and reserve, or without memory */
#define LOG_INTERVAL_MS      1000 /* dialers must not fill the log */

/* A listening socket. */
struct door {
    uv_poll_t poll;
    struct node_listener *listener;
    int fd;
    uint16_t port;
};

/* A dialer that has not been answered yet. */
struct guest {
    uv_poll_t poll;
    struct node_listener *listener;
    struct fl_list link; /* in listener->guests, oldest first */
    uint64_t deadline_ms;
    int fd; /* -1 once it is handed over or closed */
    bool closing;
    struct node_frame_reader reader;
};

struct node_listener {
    struct node_loop *loop;
    struct node_listener_options options;
    struct node_transport *lanes[NODE_LANES_MAX];
    struct door doors[NODE_URLS_MAX];
    size_t door_count;
    struct fl_list guests;
    size_t guest_count;
    uv_timer_t expiry; /* of the oldest guest */
    uv_timer_t pause;  /* until accepting is tried again */
    int reserve_fd;
    uint64_t logged_ms;  /* last refusal in the log */
    uint64_t not_logged; /* refusals since */
    size_t children;
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void child_closed(struct node_listener *listener)
{
    listener->children--;
    if (listener->children > 0) {
        return;
    }
    fl_assert(listener->closing);
    node__loop_hurry(listener->loop);
    if (listener->closed != NULL) {
        listener->closed(listener->closed_ctx);
    }
    free(listener);
}

/* --- guests --------------------------------------------------------------------------------- */

static void expiry_cb(uv_timer_t *timer);

static void set_expiry(struct node_listener *listener)
{
    struct guest *oldest;
    uint64_t now_ms;

    if (listener->closing || fl_list_empty(&listener->guests)) {
        (void)uv_timer_stop(&listener->expiry);
        return;
    }
    oldest = fl_container_of(listener->guests.next, struct guest, link);
    now_ms = uv_now(listener->expiry.loop);
    (void)uv_timer_start(&listener->expiry,
                         expiry_cb,
                         oldest->deadline_ms > now_ms ? oldest->deadline_ms - now_ms : 0,
                         0);
}

static void guest_close_cb(uv_handle_t *handle)
{
    struct guest *guest = handle->data;
    struct node_listener *listener = guest->listener;

    node_frame_reader_close(&guest->reader);
    free(guest);
    child_closed(listener);
}

/* Ends the guest; returns its descriptor, which stays open and is the caller's. */
static int guest_leave(struct guest *guest)
{
    int fd = guest->fd;

    fl_assert(!guest->closing);
    guest->closing = true;
    guest->fd = -1;
    (void)uv_poll_stop(&guest->poll);
    fl_list_remove(&guest->link);
    guest->listener->guest_count--;
    uv_close((uv_handle_t *)&guest->poll, guest_close_cb);
    return fd;
}

static void guest_dismiss(struct guest *guest, enum node__transport_metric reason)
{
    node__transport_count(reason, 1);
    (void)close(guest_leave(guest));
}

static void expiry_cb(uv_timer_t *timer)
{
    struct node_listener *listener = timer->data;

    while (!fl_list_empty(&listener->guests)) {
        struct guest *oldest = fl_container_of(listener->guests.next, struct guest, link);

        if (oldest->deadline_ms > uv_now(timer->loop)) {
            break;
        }
        guest_dismiss(oldest, NODE__METRIC_SLOW);
    }
    set_expiry(listener);
}

/* --- judging -------------------------------------------------------------------------------- */

static bool has_lane(const struct node_listener *listener, uint32_t lane)
{
    return lane < NODE_LANES_MAX && listener->lanes[lane] != NULL;
}

/* Fills status and sentence of `answer`. What does not depend on the cluster is judged here. */
static void
judge(struct node_listener *listener, const struct node_hello *hello, struct node_answer *answer)
{
    const struct node_hello *self = &listener->options.self;
    char *sentence = answer->sentence;

    if (node_hello_version(hello, self) == 0) {
        answer->status = FL_NEWER_FORMAT;
        (void)snprintf(sentence,
                       sizeof(answer->sentence),
                       "you speak protocol versions %u to %u, this node %u to %u",
                       (unsigned)hello->version_min,
                       (unsigned)hello->version_max,
                       (unsigned)self->version_min,
                       (unsigned)self->version_max);
    } else if (!has_lane(listener, hello->lane)) {
        answer->status = FL_REFUSED;
        (void)snprintf(sentence,
                       sizeof(answer->sentence),
                       "this node has no lane %" PRIu32 "; the nodes must run alike raft loops",
                       hello->lane);
    } else if (hello->node_id == self->node_id) {
        answer->status = FL_EXISTS;
        (void)snprintf(sentence,
                       sizeof(answer->sentence),
                       "node id %016" PRIx64 " is the one of this node, %s, itself",
                       hello->node_id,
                       self->name);
    } else {
        answer->status = listener->options.check(
            listener->options.ctx, hello, sentence, NODE_SENTENCE_BYTES_MAX + 1);
    }
}

/* True when the whole answer went out. */
static bool send_answer(struct node_listener *listener, int fd, struct node_answer *answer)
{
    struct fl_writer body;
    struct fl_writer frame;
    ssize_t sent;

    answer->hello = listener->options.self;
    fl_writer_init(&body);
    fl_writer_init(&frame);
    node_answer_encode(&body, answer);
    node_frame_write(&frame, NODE_FRAME_ANSWER, fl_writer_bytes(&body));
    /* A fresh socket has room for far more. */
    sent = send(fd, frame.data, frame.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    fl_writer_close(&body);
    if (sent < 0 || (size_t)sent != frame.len) {
        sent = -1;
    }
    fl_writer_close(&frame);
    return sent >= 0;
}

static void log_refusal(struct node_listener *listener,
                        const struct node_hello *hello,
                        const struct node_answer *answer)
{
    uint64_t now_ms = uv_now(listener->expiry.loop);

    if (listener->logged_ms != 0 && now_ms - listener->logged_ms < LOG_INTERVAL_MS) {
        listener->not_logged++;
        return;
    }
    fl_log(FL_LOG_WARN,
           "peer_refused",
           "peer=%016" PRIx64 " lane=%" PRIu32 " status=%s sentence=\"%s\" not_logged=%" PRIu64,
           hello->node_id,
           hello->lane,
           fl_status_name(answer->status),
           answer->sentence,
           listener->not_logged);
    listener->logged_ms = now_ms;
    listener->not_logged = 0;
}

static void guest_greet(struct guest *guest, const struct node_hello *hello)
{
    struct node_listener *listener = guest->listener;
    struct node_answer answer;
    int fd;

    memset(&answer, 0, sizeof(answer));
    judge(listener, hello, &answer);
    fd = guest_leave(guest);
    if (answer.status != FL_OK) {
        node__transport_count(NODE__METRIC_REFUSED, 1);
        log_refusal(listener, hello, &answer);
    }
    if (!send_answer(listener, fd, &answer) || answer.status != FL_OK) {
        (void)close(fd);
        return;
    }
    node__transport_adopt(listener->lanes[hello->lane], fd, hello);
}

static void guest_read(struct guest *guest)
{
    struct node_frame frame;
    struct node_hello hello;
    size_t space;
    uint8_t *room = node_frame_reader_space(&guest->reader, &space);
    ssize_t len = recv(guest->fd, room, space, MSG_DONTWAIT);
    enum fl_status status;

    if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (len <= 0) {
        (void)close(guest_leave(guest));
        return;
    }
    node_frame_reader_fill(&guest->reader, (size_t)len);
    status = node_frame_next(&guest->reader, &frame);
    if (status == FL_NOT_READY) {
        return;
    }
    /* A dialer waits for the answer before it sends more. */
    if (status != FL_OK || frame.type != NODE_FRAME_HELLO ||
        guest->reader.start != guest->reader.end ||
        node_hello_decode(frame.body, &hello) != FL_OK) {
        guest_dismiss(guest, NODE__METRIC_BAD_FRAMES);
        return;
    }
    guest_greet(guest, &hello);
}

static void guest_cb(uv_poll_t *poll, int status, int events)
{
    struct guest *guest = poll->data;
    struct node_listener *listener = guest->listener;

    (void)events;
    if (status < 0) {
        (void)close(guest_leave(guest));
    } else {
        guest_read(guest);
    }
    set_expiry(listener);
}

/* --- accepting ------------------------------------------------------------------------------ */

static void guest_add(struct node_listener *listener, int fd)
{
    unsigned max = listener->options.handshakes_max;
    struct guest *guest;

    if (listener->guest_count >= max) {
        node__transport_count(NODE__METRIC_TURNED_AWAY, 1);
        (void)close(fd);
        return;
    }
    guest = fl_xcalloc(1, sizeof(*guest));
    if (uv_poll_init(node__loop_uv(listener->loop), &guest->poll, fd) != 0) {
        node__transport_count(NODE__METRIC_TURNED_AWAY, 1);
        (void)close(fd);
        free(guest);
        return;
    }
    listener->children++;
    guest->poll.data = guest;
    guest->listener = listener;
    guest->fd = fd;
    guest->deadline_ms = uv_now(listener->expiry.loop) + listener->options.handshake_timeout_ms;
    node_frame_reader_init(&guest->reader, NODE_HANDSHAKE_BYTES_MAX);
    fl_list_push_back(&listener->guests, &guest->link);
    listener->guest_count++;
    fl_assert(uv_poll_start(&guest->poll, UV_READABLE, guest_cb) == 0);
    set_expiry(listener);
}

static void door_cb(uv_poll_t *poll, int status, int events);

static void pause_cb(uv_timer_t *timer)
{
    struct node_listener *listener = timer->data;

    if (listener->reserve_fd < 0) {
        listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    for (size_t i = 0; i < listener->door_count; i++) {
        (void)uv_poll_start(&listener->doors[i].poll, UV_READABLE, door_cb);
    }
}

/* Looks away for a moment rather than spin on a condition that the kernel keeps reporting. */
static void pause_accepting(struct node_listener *listener)
{
    for (size_t i = 0; i < listener->door_count; i++) {
        (void)uv_poll_stop(&listener->doors[i].poll);
    }
    (void)uv_timer_start(&listener->pause, pause_cb, PAUSE_MS, 0);
}

/* Out of descriptors: turns one dialer away with the help of the reserve. */
static void turn_away(struct door *door)
{
    struct node_listener *listener = door->listener;
    int fd = -1;

    node__transport_count(NODE__METRIC_TURNED_AWAY, 1);
    if (listener->reserve_fd >= 0) {
        (void)close(listener->reserve_fd);
        fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            (void)close(fd);
        }
        listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0) {
        pause_accepting(listener);
    }
}

static void door_cb(uv_poll_t *poll, int status, int events)
{
    struct door *door = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++) {
        int fd = accept4(door->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0) {
            guest_add(door->listener, fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            turn_away(door);
            return;
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(door->listener);
            return;
        }
        /* Any other error is that of one dialer who is gone again (accept(2)). */
    }
}

/* --- life ----------------------------------------------------------------------------------- */

static enum fl_status
refuse(const struct node_url *url, const char *problem, char *why, size_t size)
{
    (void)snprintf(why,
                   size,
                   "cannot listen for peers on %s:%u: %s; give a free port of this machine with "
                   "--listen-peer-urls",
                   url->host,
                   (unsigned)url->port,
                   problem);
    return FL_IO;
}

/* A bound and listening socket, -1 with errno. */
static int listen_on(const struct addrinfo *address)
{
    int one = 1;
    int fd = socket(
        address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);

    if (fd < 0) {
        return -1;
    }
    /* A restart must not wait for the TIME_WAIT of the connections of the last life. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        (address->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) != 0) ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;

        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);
    uint16_t port;

    memset(&address, 0, sizeof(address));
    fl_assert(getsockname(fd, (struct sockaddr *)&address, &len) == 0);
    if (address.ss_family == AF_INET6) {
        port = ((const struct sockaddr_in6 *)&address)->sin6_port;
    } else {
        port = ((const struct sockaddr_in *)&address)->sin_port;
    }
    return ntohs(port);
}

static enum fl_status
open_door(struct node_listener *listener, const struct node_url *url, char *why, size_t why_bytes)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    struct door *door = &listener->doors[listener->door_count];
    char port[8];
    int result;

    (void)snprintf(port, sizeof(port), "%u", (unsigned)url->port);
    result = getaddrinfo(url->host, port, &hints, &found);
    if (result != 0) {
        (void)refuse(url, gai_strerror(result), why, why_bytes);
        return FL_INVALID;
    }
    door->fd = listen_on(found);
    freeaddrinfo(found);
    if (door->fd < 0) {
        return refuse(url, strerror(errno), why, why_bytes);
    }
    result = uv_poll_init(node__loop_uv(listener->loop), &door->poll, door->fd);
    if (result != 0) {
        (void)close(door->fd);
        return refuse(url, uv_strerror(result), why, why_bytes);
    }
    listener->children++;
    door->poll.data = door;
    door->listener = listener;
    door->port = bound_port(door->fd);
    listener->door_count++;
    fl_assert(uv_poll_start(&door->poll, UV_READABLE, door_cb) == 0);
    return FL_OK;
}

static struct node_listener *listener_new(const struct node_listener_options *options)
{
    struct node_listener *listener = fl_xcalloc(1, sizeof(*listener));
    uv_loop_t *uv = node__loop_uv(options->loop);

    fl_assert(options->check != NULL);
    fl_assert(options->lane_count <= NODE_LANES_MAX);
    fl_assert(options->url_count > 0 && options->url_count <= NODE_URLS_MAX);
    listener->loop = options->loop;
    listener->options = *options;
    for (size_t i = 0; i < options->lane_count; i++) {
        listener->lanes[i] = options->lanes[i];
    }
    if (options->handshake_timeout_ms == 0) {
        listener->options.handshake_timeout_ms = HANDSHAKE_TIMEOUT_MS;
    }
    if (options->handshakes_max == 0) {
        listener->options.handshakes_max = HANDSHAKES_MAX;
    }
    fl_list_init(&listener->guests);
    fl_assert(uv_timer_init(uv, &listener->expiry) == 0);
    fl_assert(uv_timer_init(uv, &listener->pause) == 0);
    listener->expiry.data = listener;
    listener->pause.data = listener;
    listener->children = 2;
    listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return listener;
}

enum fl_status node_listener_create(struct node_listener **listener,
                                    const struct node_listener_options *options,
                                    char *why,
                                    size_t why_bytes)
{
    struct node_listener *made;

    node_loop_assert_owner(options->loop);
    node__transport_register_metrics();
    made = listener_new(options);
    for (size_t i = 0; i < options->url_count; i++) {
        enum fl_status status = open_door(made, &options->urls[i], why, why_bytes);

        if (status != FL_OK) {
            node_listener_close(made, NULL, NULL);
            return status;
        }
    }
    *listener = made;
    return FL_OK;
}

uint16_t node_listener_port(const struct node_listener *listener, size_t i)
{
    fl_assert(i < listener->door_count);
    return listener->doors[i].port;
}

static void part_close_cb(uv_handle_t *handle)
{
    /* Doors carry their door, timers the listener; close was told which by the handle's type. */
    if (handle->type == UV_POLL) {
        child_closed(((struct door *)handle->data)->listener);
    } else {
        child_closed(handle->data);
    }
}

void node_listener_close(struct node_listener *listener, void (*closed)(void *ctx), void *ctx)
{
    node_loop_assert_owner(listener->loop);
    fl_assert(!listener->closing);
    listener->closing = true;
    listener->closed = closed;
    listener->closed_ctx = ctx;
    for (size_t i = 0; i < listener->door_count; i++) {
        (void)uv_poll_stop(&listener->doors[i].poll);
        (void)close(listener->doors[i].fd);
        uv_close((uv_handle_t *)&listener->doors[i].poll, part_close_cb);
    }
    while (!fl_list_empty(&listener->guests)) {
        (void)close(guest_leave(fl_container_of(listener->guests.next, struct guest, link)));
    }
    if (listener->reserve_fd >= 0) {
        (void)close(listener->reserve_fd);
    }
    uv_close((uv_handle_t *)&listener->expiry, part_close_cb);
    uv_close((uv_handle_t *)&listener->pause, part_close_cb);
}
