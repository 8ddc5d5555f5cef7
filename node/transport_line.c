/* A line: the one outgoing connection to a (peer, lane), dialed again for as long as the peer is
 * known.
 *
 *                 timer, kick                 connected               accepted
 *     WAITING ------------------> CONNECTING -----------> GREETING ------------> UP
 *      ^  |  name   +-----------+   ^                        |                    |
 *      |  +-------> | RESOLVING |---+                        |                    |
 *      |            +-----------+ address                    |                    |
 *      |                 |                                   |                    |
 *      +---- failure, refusal, timer (connect, handshake) ---+--- end, reset -----+
 *
 * The pause doubles with every failure in a row and is drawn from its upper half, so that nodes
 * that lost the same peer do not dial in step. A dialer we hear from is alive: that kicks the line
 * to it. Only this file changes line->state. */
#include "node/clock.h"
#include "node/transport_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"

#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

struct node__resolve {
    uv_getaddrinfo_t request;
    struct node_transport *transport;
    struct node__line *line; /* NULL when the line does not wait for it any more */
    unsigned turn;           /* which of several addresses to take */
};

static const struct node_transport_options *options_of(const struct node__line *line)
{
    return &line->peer->transport->options;
}

static void timer_cb(uv_timer_t *timer);

static void set_timer(struct node__line *line, uint64_t delay_ms)
{
    /* libuv's time may be as old as the turn; our limits are short. */
    uv_update_time(line->timer.loop);
    fl_assert(uv_timer_start(&line->timer, timer_cb, delay_ms, 0) == 0);
}

/* --- failure -------------------------------------------------------------------------------- */

static uint64_t pause_ms(struct node__line *line)
{
    const struct node_transport_options *options = options_of(line);
    uint64_t pause = options->backoff_min_ms;

    for (unsigned i = 1; i < line->failures && pause < options->backoff_max_ms; i++) {
        pause *= 2;
    }
    if (pause > options->backoff_max_ms) {
        pause = options->backoff_max_ms;
    }
    return pause - fl_prng_below(&line->peer->transport->prng, pause / 2 + 1);
}

static void log_lost(const struct node__line *line, const char *reason)
{
    /* The first failure in a row is news, the others only repeat it. */
    fl_log(line->failures == 0 ? FL_LOG_INFO : FL_LOG_DEBUG,
           line->state == NODE__LINE_UP ? "peer_lost" : "peer_dial_failed",
           "peer=%016" PRIx64 " lane=%" PRIu32 " reason=\"%s\"",
           line->peer->id,
           line->lane,
           reason);
}

void node__line_lost(struct node__line *line, const char *reason)
{
    fl_assert(line->conn == NULL);
    log_lost(line, reason);
    if (line->resolve != NULL) {
        line->resolve->line = NULL;
        line->resolve = NULL;
    }
    node__transport_clean(line);
    line->broken = NULL;
    line->state = NODE__LINE_WAITING;
    line->failures++;
    set_timer(line, pause_ms(line));
}

/* An attempt failed; nobody was told of it yet. */
static void fail(struct node__line *line, const char *reason)
{
    if (line->conn != NULL) {
        node__conn_fail(line->conn, reason);
    } else {
        node__line_lost(line, reason);
    }
}

/* --- dialing -------------------------------------------------------------------------------- */

static void connect_cb(uv_connect_t *request, int status);

static void connect_to(struct node__line *line, const struct sockaddr *address)
{
    struct node_transport *transport = line->peer->transport;
    int status;

    line->state = NODE__LINE_CONNECTING;
    line->conn = node__conn_create(
        transport, NODE_OUTGOING, line->peer->id, line->lane, NODE_HANDSHAKE_BYTES_MAX);
    line->conn->line = line;
    line->conn->connect.data = line->conn;
    node__transport_count(NODE__METRIC_DIALS, 1);
    set_timer(line, transport->options.connect_timeout_ms);
    status = uv_tcp_connect(&line->conn->connect, &line->conn->tcp, address, connect_cb);
    if (status != 0) {
        fail(line, uv_strerror(status));
    }
}

static void send_hello(struct node__line *line)
{
    struct node_hello hello = options_of(line)->self;
    struct fl_writer body;
    struct fl_writer frame;
    uv_buf_t buf;
    int sent;

    fl_writer_init(&body);
    fl_writer_init(&frame);
    hello.lane = line->lane;
    node_hello_encode(&body, &hello);
    node_frame_write(&frame, NODE_FRAME_HELLO, fl_writer_bytes(&body));
    buf = uv_buf_init((char *)frame.data, (unsigned)frame.len);
    /* A fresh socket has room for far more than a hello; one that has not is of no use. */
    sent = uv_try_write((uv_stream_t *)&line->conn->tcp, &buf, 1);
    if (sent < 0 || (size_t)sent != frame.len) {
        fail(line, sent < 0 ? uv_strerror(sent) : "the hello was not taken whole");
    }
    fl_writer_close(&body);
    fl_writer_close(&frame);
}

static void connect_cb(uv_connect_t *request, int status)
{
    struct node__conn *conn = request->data;
    struct node__line *line = conn->line;

    if (conn->closing) {
        return;
    }
    if (status == 0) {
        status = node__conn_read_start(conn);
    }
    if (status != 0) {
        fail(line, uv_strerror(status));
        return;
    }
    node__conn_set_options(conn);
    line->state = NODE__LINE_GREETING;
    set_timer(line, options_of(line)->handshake_timeout_ms);
    send_hello(line);
}

static void resolve_cb(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct node__resolve *resolve = fl_container_of(request, struct node__resolve, request);
    struct node_transport *transport = resolve->transport;
    struct node__line *line = resolve->line;

    if (line != NULL) {
        line->resolve = NULL;
        if (status != 0) {
            fail(line, uv_strerror(status));
        } else {
            struct addrinfo *one = found;

            for (unsigned i = 0; i < resolve->turn; i++) {
                one = one->ai_next != NULL ? one->ai_next : found;
            }
            connect_to(line, one->ai_addr);
        }
    }
    uv_freeaddrinfo(found);
    free(resolve);
    node__transport_child_closed(transport);
}

static void resolve_name(struct node__line *line, const struct node_url *url)
{
    struct node_transport *transport = line->peer->transport;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
    struct node__resolve *resolve = fl_xcalloc(1, sizeof(*resolve));
    char port[8];
    int status;

    (void)snprintf(port, sizeof(port), "%u", (unsigned)url->port);
    resolve->transport = transport;
    resolve->line = line;
    resolve->turn = line->failures % 8;
    line->resolve = resolve;
    line->state = NODE__LINE_RESOLVING;
    set_timer(line, transport->options.handshake_timeout_ms);
    transport->children++;
    status = uv_getaddrinfo(
        node__loop_uv(transport->loop), &resolve->request, resolve_cb, url->host, port, &hints);
    if (status != 0) {
        transport->children--;
        line->resolve = NULL;
        free(resolve);
        fail(line, uv_strerror(status));
    }
}

static void dial(struct node__line *line)
{
    const struct node_url *url = &line->peer->urls.urls[line->next_url % line->peer->urls.count];
    struct sockaddr_storage address;

    fl_assert(line->state == NODE__LINE_WAITING);
    line->next_url++;
    if (uv_ip4_addr(url->host, url->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(url->host, url->port, (struct sockaddr_in6 *)&address) == 0) {
        connect_to(line, (const struct sockaddr *)&address);
        return;
    }
    resolve_name(line, url);
}

static void timer_cb(uv_timer_t *timer)
{
    struct node__line *line = timer->data;

    switch (line->state) {
    case NODE__LINE_WAITING:
        dial(line);
        return;
    case NODE__LINE_RESOLVING:
        fail(line, "looking up the name took too long");
        return;
    case NODE__LINE_CONNECTING:
        fail(line, "no answer to the connection request");
        return;
    case NODE__LINE_GREETING:
        fail(line, "no answer to the hello");
        return;
    case NODE__LINE_UP:
        fail(line, line->broken);
        return;
    }
}

/* --- answer --------------------------------------------------------------------------------- */

static void refused(struct node__line *line, const struct node_answer *answer)
{
    const struct node_transport_hooks *hooks = &options_of(line)->hooks;
    uint64_t peer = line->peer->id;

    fl_log(line->failures == 0 ? FL_LOG_WARN : FL_LOG_DEBUG,
           "peer_refuses",
           "peer=%016" PRIx64 " lane=%" PRIu32 " status=%s sentence=\"%s\"",
           peer,
           line->lane,
           fl_status_name(answer->status),
           answer->sentence);
    /* Its reason will hardly go away in milliseconds. */
    line->failures = 31;
    fail(line, "refused by the peer");
    if (hooks->refused != NULL) {
        node__loop_hurry(line->peer->transport->loop);
        hooks->refused(hooks->ctx, peer, answer->status, answer->sentence);
    }
}

static void become_up(struct node__line *line, const struct node_hello *hello)
{
    const struct node_transport_hooks *hooks = &options_of(line)->hooks;

    line->state = NODE__LINE_UP;
    line->failures = 0;
    line->conn->announced = true;
    node_frame_reader_close(&line->conn->reader);
    (void)uv_timer_stop(&line->timer);
    fl_log(FL_LOG_INFO,
           "peer_connected",
           "peer=%016" PRIx64 " lane=%" PRIu32 " boot=%" PRIu32,
           line->peer->id,
           line->lane,
           hello->boot);
    node__loop_hurry(line->peer->transport->loop);
    if (hooks->up != NULL) {
        hooks->up(hooks->ctx, line->peer->id, line->lane, NODE_OUTGOING, hello);
    }
}

/* Whether the node behind the address is the one we mean. NULL, or what is wrong. */
static const char *judge(const struct node__line *line, const struct node_hello *hello)
{
    const struct node_hello *self = &options_of(line)->self;

    if (hello->cluster_id != self->cluster_id) {
        return "a node of another cluster answers at this address";
    }
    if (hello->node_id != line->peer->id) {
        return "another node answers at this address";
    }
    if (node_hello_version(hello, self) == 0) {
        return "the peer speaks no protocol version this node knows";
    }
    return NULL;
}

void node__line_answered(struct node__line *line, const struct node_frame *frame)
{
    struct node_answer answer;
    const char *wrong;

    if (frame->type != NODE_FRAME_ANSWER || node_answer_decode(frame->body, &answer) != FL_OK) {
        node__transport_count(NODE__METRIC_BAD_FRAMES, 1);
        fail(line, "the answer to the hello is malformed");
        return;
    }
    if (answer.status != FL_OK) {
        refused(line, &answer);
        return;
    }
    wrong = judge(line, &answer.hello);
    if (wrong != NULL) {
        fail(line, wrong);
        return;
    }
    become_up(line, &answer.hello);
}

/* --- life ----------------------------------------------------------------------------------- */

void node__line_init(struct node__line *line, struct node__peer *peer, uint32_t lane)
{
    *line = (struct node__line){.peer = peer, .lane = lane, .state = NODE__LINE_WAITING};
    fl_list_init(&line->dirty);
    fl_assert(uv_timer_init(node__loop_uv(peer->transport->loop), &line->timer) == 0);
    line->timer.data = line;
    peer->open_lines++;
    peer->transport->children++;
    set_timer(line, 0);
}

void node__line_kick(struct node__line *line)
{
    if (line->state == NODE__LINE_WAITING) {
        line->failures = 0;
        set_timer(line, 0);
    }
}

void node__line_reset(struct node__line *line)
{
    if (line->conn != NULL) {
        node__conn_close(line->conn, "given up by this node");
    }
    if (line->state != NODE__LINE_WAITING) {
        node__line_lost(line, "given up by this node");
    }
    line->failures = 0;
    set_timer(line, 0);
}

void node__line_break(struct node__line *line, const char *reason)
{
    fl_assert(line->state == NODE__LINE_UP);
    line->broken = reason;
    set_timer(line, 0);
}

static void line_close_cb(uv_handle_t *handle)
{
    struct node__line *line = handle->data;
    struct node__peer *peer = line->peer;
    struct node_transport *transport = peer->transport;

    peer->open_lines--;
    if (peer->open_lines == 0) {
        node_url_list_close(&peer->urls);
        free(peer);
    }
    node__transport_child_closed(transport);
}

void node__line_close(struct node__line *line)
{
    if (line->conn != NULL) {
        line->conn->announced = false;
        node__conn_close(line->conn, "forgotten by this node");
    }
    if (line->resolve != NULL) {
        line->resolve->line = NULL;
        line->resolve = NULL;
    }
    node__transport_clean(line);
    uv_close((uv_handle_t *)&line->timer, line_close_cb);
}
