/* What the files of the TCP transport share: one connection, one line to a peer, the transport.
 *
 * Owner: the transport owns peers, lines and connections; libuv's loop keeps their handles until
 * the close callbacks, which is where memory is freed.
 * Lifetime: of the transport. Threads: the loop's only.
 *
 *     transport -+- peer -+- line (lane 0) -- conn (outgoing) -- outbox
 *                |        +- line (lane 1) -- conn
 *                +- conn (incoming), conn (incoming), ..       -- frame reader
 *
 * transport_conn.c   a TCP connection: read, write, end
 * transport_line.c   the state machine that keeps a line to one (peer, lane)
 * transport_tcp.c    the transport: peers, send and flush, incoming connections
 * transport_listen.c the listener and the acceptor's half of the handshake */
#ifndef NODE_TRANSPORT_INTERNAL_H
#define NODE_TRANSPORT_INTERNAL_H

#include "node/frame.h"
#include "node/loop_internal.h"
#include "node/outbox.h"
#include "node/transport.h"
#include "node/url.h"
#include "raftgroup/base/list.h"
#include "raftgroup/base/metric.h"
#include "raftgroup/base/prng.h"

#include <assert.h>
#include <uv.h>

#define NODE_TRANSPORT_METRIC_MAP(X)                                                               \
    X(SENT_BYTES, "flotilla_peer_sent_bytes_total", "Bytes written to peers.")                     \
    X(SENT_FRAMES, "flotilla_peer_sent_frames_total", "Frames sealed for peers.")                  \
    X(SENT_MESSAGES, "flotilla_peer_sent_messages_total", "Messages put into frames for peers.")   \
    X(RECEIVED_BYTES, "flotilla_peer_received_bytes_total", "Bytes read from peers.")              \
    X(RECEIVED_FRAMES, "flotilla_peer_received_frames_total", "Frames received from peers.")       \
    X(RECEIVED_MESSAGES, "flotilla_peer_received_messages_total", "Messages from peers.")          \
    X(DROPPED_MESSAGES,                                                                            \
      "flotilla_peer_dropped_messages_total",                                                      \
      "Messages not sent: peer not connected or its queue full.")                                  \
    X(DIALS, "flotilla_peer_dials_total", "Connections attempted to peers.")                       \
    X(LOST, "flotilla_peer_connections_lost_total", "Established peer connections that ended.")    \
    X(BAD_FRAMES, "flotilla_peer_bad_frames_total", "Connections closed for malformed bytes.")     \
    X(REFUSED, "flotilla_peer_handshakes_refused_total", "Handshakes of dialers refused.")         \
    X(SLOW, "flotilla_peer_handshakes_expired_total", "Handshakes of dialers that took too long.") \
    X(TURNED_AWAY,                                                                                 \
      "flotilla_peer_accepts_turned_away_total",                                                   \
      "Connections closed at accept: out of descriptors or too many handshakes.")

enum node__transport_metric {
#define X(name, family, help) NODE__METRIC_##name,
    NODE_TRANSPORT_METRIC_MAP(X)
#undef X
        NODE__METRIC_COUNT
};

extern struct fl_metric node__transport_metrics[NODE__METRIC_COUNT];

static inline void node__transport_count(enum node__transport_metric metric, size_t n)
{
    fl_metric_add(&node__transport_metrics[metric], (int64_t)n);
}

/* Registers the metrics once per process. */
void node__transport_register_metrics(void);

/* --- connection ----------------------------------------------------------------------------- */

struct node__line;

struct node__conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    struct node_transport *transport;
    struct node__line *line; /* of an outgoing one until it closes; else NULL */
    struct fl_list link;     /* in transport->incoming until it closes */
    uint64_t peer;
    uint32_t lane;
    enum node_direction direction;
    struct node_frame_reader reader;
    struct node__outbox outbox; /* outgoing only */
    size_t writing_bytes;       /* what the write request in flight covers, 0: none */
    const char *reason;         /* why it closes */
    bool announced;             /* hooks.up was called and hooks.down was not */
    bool closing;
    char scrap[16]; /* where bytes of an acceptor would go, which must not send any */
};

/* A connection without socket, counted as a child of the transport. */
struct node__conn *node__conn_create(struct node_transport *transport,
                                     enum node_direction direction,
                                     uint64_t peer,
                                     uint32_t lane,
                                     size_t frame_max);
/* NODELAY, keepalive and the limit on silence, once there is a socket. */
void node__conn_set_options(struct node__conn *conn);
/* Starts reading: messages of an incoming one, the answer and then the end of an outgoing one. */
FL_MUST_USE int node__conn_read_start(struct node__conn *conn);
/* Writes what the outbox holds; a failure ends the connection in a later callback. */
void node__conn_flush(struct node__conn *conn);
/* Closes; `down` follows from the close callback if the connection was announced. */
void node__conn_close(struct node__conn *conn, const char *reason);
/* Closes, lets the line wait, then calls `down` at once. For callbacks of libuv only. */
void node__conn_fail(struct node__conn *conn, const char *reason);

/* --- line ----------------------------------------------------------------------------------- */

enum node__line_state {
    NODE__LINE_WAITING,    /* the timer dials */
    NODE__LINE_RESOLVING,  /* a name is being looked up */
    NODE__LINE_CONNECTING, /* TCP's handshake */
    NODE__LINE_GREETING,   /* hello sent, no answer yet */
    NODE__LINE_UP,
};

struct node__peer;
struct node__resolve;

struct node__line {
    struct node__peer *peer;
    uint32_t lane;
    enum node__line_state state;
    uv_timer_t timer;              /* next dial, or the limit on the present state */
    struct node__conn *conn;       /* CONNECTING, GREETING, UP; else NULL */
    struct node__resolve *resolve; /* RESOLVING; else NULL */
    unsigned failures;             /* since the line was last up */
    size_t next_url;
    struct fl_list dirty; /* in transport->dirty: something was appended or dropped */
    bool dropped;         /* a message found the queue full since the last flush */
    const char *broken;   /* UP: a write failed; the timer ends it */
};

struct node__peer {
    uint64_t id;
    struct node_transport *transport;
    struct node_url_list urls;
    size_t open_lines; /* lines whose timer is not closed yet */
    struct node__line lines[];
};

void node__line_init(struct node__line *line, struct node__peer *peer, uint32_t lane);
/* Dials now, whatever the pause. No effect while it is dialing or up. */
void node__line_kick(struct node__line *line);
/* Drops what it has and dials in the next iteration. */
void node__line_reset(struct node__line *line);
/* The connection of the line is gone: waits, then dials. */
void node__line_lost(struct node__line *line, const char *reason);
/* A write failed inside a call into the transport: the line ends in the next iteration. */
void node__line_break(struct node__line *line, const char *reason);
/* A frame arrived before the line was up. */
void node__line_answered(struct node__line *line, const struct node_frame *frame);
/* Closes for good; the memory goes with the peer. */
void node__line_close(struct node__line *line);

/* --- transport ------------------------------------------------------------------------------ */

struct node_transport {
    struct node_loop *loop;
    struct node_transport_options options; /* lanes points to `lanes` */
    uint32_t lanes[NODE_LANES_MAX];
    int8_t lane_index[NODE_LANES_MAX]; /* place of a lane in `lanes`, -1: not ours */
    struct node__peer **peers;         /* sorted by id */
    size_t peer_count;
    size_t peer_capacity;
    struct node__peer *last_peer; /* found last: a turn sends to few peers many times */
    struct fl_list dirty;         /* node__line.dirty */
    struct fl_list incoming;      /* node__conn.link */
    size_t incoming_count;
    struct fl_prng prng;
    uv_timer_t anchor; /* never started; makes close asynchronous in every case */
    size_t children;   /* handles and requests libuv still holds */
    bool closing;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* libuv let go of one child; the last one ends a closing transport. */
void node__transport_child_closed(struct node_transport *transport);
/* Takes over an accepted socket whose hello was accepted. Any thread; the fd is the transport's. */
void node__transport_adopt(struct node_transport *transport,
                           int fd,
                           const struct node_hello *hello);
/* Forgets the line's place in the dirty list. */
void node__transport_clean(struct node__line *line);

#endif
