/* One TCP connection of the transport: reading, writing, ending. */
#include "node/transport_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IOV_MAX_COUNT 256 /* of one writev; with borrowed pieces of 2 KiB and up: half a MiB */

static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "libuv promises the layout of iovec");
static_assert(offsetof(uv_buf_t, len) == offsetof(struct iovec, iov_len), "and the order");

struct node__conn *node__conn_create(struct node_transport *transport,
                                     enum node_direction direction,
                                     uint64_t peer,
                                     uint32_t lane,
                                     size_t frame_max)
{
    struct node__conn *conn = fl_xcalloc(1, sizeof(*conn));

    conn->transport = transport;
    conn->direction = direction;
    conn->peer = peer;
    conn->lane = lane;
    fl_list_init(&conn->link);
    node_frame_reader_init(&conn->reader, frame_max);
    node__outbox_init(&conn->outbox);
    fl_assert(uv_tcp_init(node__loop_uv(transport->loop), &conn->tcp) == 0);
    conn->tcp.data = conn;
    transport->children++;
    return conn;
}

void node__conn_set_options(struct node__conn *conn)
{
    unsigned silence_ms = (unsigned)conn->transport->options.silence_timeout_ms;
    int idle_s = silence_ms > 2000 ? (int)(silence_ms / 2000) : 1;
    int one = 1;
    int fd = -1;

    fl_assert(uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0);
    /* Each of these only sharpens timing; a kernel that refuses one leaves the connection usable.
     */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
}

/* --- end ------------------------------------------------------------------------------------ */

static void say_down(struct node__conn *conn)
{
    struct node_transport *transport = conn->transport;

    if (!conn->announced) {
        return;
    }
    conn->announced = false;
    node__transport_count(NODE__METRIC_LOST, 1);
    node__loop_hurry(transport->loop);
    if (transport->options.hooks.down != NULL) {
        transport->options.hooks.down(
            transport->options.hooks.ctx, conn->peer, conn->lane, conn->direction, conn->reason);
    }
}

static void close_cb(uv_handle_t *handle)
{
    struct node__conn *conn = handle->data;
    struct node_transport *transport = conn->transport;

    if (!transport->closing) {
        say_down(conn);
    }
    node_frame_reader_close(&conn->reader);
    node__outbox_close(&conn->outbox);
    free(conn);
    node__transport_child_closed(transport);
}

void node__conn_close(struct node__conn *conn, const char *reason)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    conn->reason = reason;
    if (conn->line != NULL) {
        conn->line->conn = NULL;
        conn->line = NULL;
    }
    if (!fl_list_empty(&conn->link)) {
        fl_list_remove(&conn->link);
        conn->transport->incoming_count--;
    }
    uv_close((uv_handle_t *)&conn->tcp, close_cb);
}

void node__conn_fail(struct node__conn *conn, const char *reason)
{
    struct node__line *line = conn->line;

    if (conn->closing) {
        return;
    }
    node__conn_close(conn, reason);
    if (line != NULL) {
        node__line_lost(line, reason);
    }
    say_down(conn);
}

/* --- reading -------------------------------------------------------------------------------- */

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct node__conn *conn = handle->data;
    size_t space;

    (void)suggested;
    if (conn->direction == NODE_OUTGOING && conn->announced) {
        *buf = uv_buf_init(conn->scrap, sizeof(conn->scrap));
        return;
    }
    buf->base = (char *)node_frame_reader_space(&conn->reader, &space);
    buf->len = space;
}

static void give_messages(struct node__conn *conn, const struct node_frame *frame)
{
    const struct node_transport_hooks *hooks = &conn->transport->options.hooks;
    struct fl_reader body = fl_reader(frame->body);
    struct fl_bytes bytes;
    size_t count = 0;
    uint8_t kind;

    while (!conn->closing && node_frame_message(&body, &kind, &bytes)) {
        count++;
        hooks->message(hooks->ctx, conn->peer, conn->lane, kind, bytes);
    }
    node__transport_count(NODE__METRIC_RECEIVED_FRAMES, 1);
    node__transport_count(NODE__METRIC_RECEIVED_MESSAGES, count);
}

static void take_frames(struct node__conn *conn)
{
    struct node_frame frame;
    enum fl_status status = FL_OK;

    while (!conn->closing) {
        status = node_frame_next(&conn->reader, &frame);
        if (status != FL_OK) {
            break;
        }
        if (conn->direction == NODE_INCOMING && frame.type == NODE_FRAME_MESSAGES) {
            give_messages(conn, &frame);
        } else if (conn->direction == NODE_OUTGOING && !conn->announced) {
            node__line_answered(conn->line, &frame);
        } else {
            status = FL_BAD_MESSAGE;
            break;
        }
    }
    if (!conn->closing && status != FL_OK && status != FL_NOT_READY) {
        node__transport_count(NODE__METRIC_BAD_FRAMES, 1);
        node__conn_fail(conn, fl_status_text(status));
    }
}

static void read_cb(uv_stream_t *stream, ssize_t len, const uv_buf_t *buf)
{
    struct node__conn *conn = stream->data;

    if (len == 0) {
        return;
    }
    if (len < 0) {
        node__conn_fail(conn, len == UV_EOF ? "closed by the peer" : uv_strerror((int)len));
        return;
    }
    node__transport_count(NODE__METRIC_RECEIVED_BYTES, (size_t)len);
    if (buf->base == conn->scrap) {
        node__transport_count(NODE__METRIC_BAD_FRAMES, 1);
        node__conn_fail(conn, "the acceptor sent data");
        return;
    }
    node_frame_reader_fill(&conn->reader, (size_t)len);
    take_frames(conn);
}

int node__conn_read_start(struct node__conn *conn)
{
    return uv_read_start((uv_stream_t *)&conn->tcp, alloc_cb, read_cb);
}

/* --- writing -------------------------------------------------------------------------------- */

static size_t gather(struct node__conn *conn, uv_buf_t *bufs, size_t *bytes)
{
    return node__outbox_gather(&conn->outbox, (struct iovec *)(void *)bufs, IOV_MAX_COUNT, bytes);
}

static void write_cb(uv_write_t *write, int status)
{
    struct node__conn *conn = write->data;
    const struct node_transport_hooks *hooks = &conn->transport->options.hooks;
    size_t bytes = conn->writing_bytes;

    conn->writing_bytes = 0;
    if (conn->closing) {
        return;
    }
    if (status < 0) {
        node__conn_fail(conn, uv_strerror(status));
        return;
    }
    node__transport_count(NODE__METRIC_SENT_BYTES, bytes);
    node__outbox_consume(&conn->outbox, bytes);
    node__conn_flush(conn);
    if (conn->outbox.queued_bytes == 0 && hooks->drained != NULL) {
        node__loop_hurry(conn->transport->loop);
        hooks->drained(hooks->ctx, conn->peer, conn->lane);
    }
}

/* The socket is full: libuv waits for room and sends what is sealed now. What is appended from here
 * on gathers in the outbox until then. */
static void write_later(struct node__conn *conn)
{
    uv_buf_t bufs[IOV_MAX_COUNT];
    size_t count = gather(conn, bufs, &conn->writing_bytes);
    int result;

    conn->write.data = conn;
    result = uv_write(&conn->write, (uv_stream_t *)&conn->tcp, bufs, (unsigned)count, write_cb);
    if (result != 0) {
        conn->writing_bytes = 0;
        node__line_break(conn->line, uv_strerror(result));
    }
}

void node__conn_flush(struct node__conn *conn)
{
    uv_buf_t bufs[IOV_MAX_COUNT];

    while (conn->writing_bytes == 0 && conn->line->broken == NULL &&
           conn->outbox.queued_bytes != 0) {
        size_t bytes;
        size_t count;
        int sent;

        node__outbox_seal(&conn->outbox);
        count = gather(conn, bufs, &bytes);
        sent = uv_try_write((uv_stream_t *)&conn->tcp, bufs, (unsigned)count);
        if (sent < 0 && sent != UV_EAGAIN) {
            node__line_break(conn->line, uv_strerror(sent));
            return;
        }
        if (sent > 0) {
            node__transport_count(NODE__METRIC_SENT_BYTES, (size_t)sent);
            node__outbox_consume(&conn->outbox, (size_t)sent);
        }
        if (sent < 0 || (size_t)sent < bytes) {
            write_later(conn);
        }
    }
}
