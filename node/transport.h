/* Peers over TCP: lanes of messages to other nodes, and the listener for theirs.
 *
 * Owner: node.c; a transport belongs to one loop, a listener to the system loop.
 * Lifetime: create, use, close (frees itself after its `closed` callback returned).
 * Threads: create before the loop is started or on its thread; everything else, every callback
 * included, on the loop's thread.
 *
 *     node A                                             node B
 *     transport (loop 1) --- lane 1: A dials, A sends --> listener -> transport (loop 1)
 *     listener <------------ lane 1: B dials, B sends --- transport (loop 1)
 *
 * A connection is one-directional per (peer, lane): the dialer sends HELLO and messages, the
 * acceptor only ANSWER. Lanes keep bulk from delaying beats (design 7). Messages of one lane arrive
 * in order of sending; a lost connection loses what was in it, and `down` says so.
 *
 * Sending is in two steps: node_transport_send appends to the peer's frame, node_transport_flush at
 * the end of a turn writes one batch of frames per peer and lane with one system call. Nothing is
 * queued for a peer that is not connected: such messages are dropped (Raft sends again). */
#ifndef NODE_TRANSPORT_H
#define NODE_TRANSPORT_H

#include "node/hello.h"
#include "node/loop.h"
#include "node/url.h"
#include "raftgroup/base/buf.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_LANE_SYSTEM 0 /* beats, placement */
#define NODE_LANE_RAFT   1 /* groups of the first raft loop; loop i uses NODE_LANE_RAFT + 2 * i */
#define NODE_LANE_BULK   2 /* its snapshots; loop i uses NODE_LANE_BULK + 2 * i */
#define NODE_LANES_MAX   64

struct node_transport;
struct node_listener;

enum node_direction {
    NODE_OUTGOING, /* we dialed: we can send */
    NODE_INCOMING, /* the peer dialed: it can send */
};

/* Callbacks, on the loop's thread, never from inside a call into the transport except flush (which
 * may call `unreachable`). They may call every function of the transport, close included. */
struct node_transport_hooks {
    void *ctx;
    /* A message of `peer`; `body` is valid during the call. */
    void (*message)(void *ctx, uint64_t peer, uint32_t lane, uint8_t kind, struct fl_bytes body);
    /* A connection is usable; `hello` (of the peer) is valid during the call. */
    void (*up)(void *ctx,
               uint64_t peer,
               uint32_t lane,
               enum node_direction direction,
               const struct node_hello *hello);
    /* A connection that was up is gone; `reason` is a short static text. When a peer's process dies
     * both directions are reported within a round trip. What was queued or in flight may be lost.
     */
    void (*down)(void *ctx,
                 uint64_t peer,
                 uint32_t lane,
                 enum node_direction direction,
                 const char *reason);
    /* The queue was full and messages were dropped since the last flush. Once per flush. */
    void (*unreachable)(void *ctx, uint64_t peer, uint32_t lane);
    /* All that was queued reached the kernel after the queue had been held up; for streams that
     * wait with node_transport_queued_bytes. May be NULL. */
    void (*drained)(void *ctx, uint64_t peer, uint32_t lane);
    /* The peer's handshake refuses this node. It will be dialed again, at the longest pause. */
    void (*refused)(void *ctx, uint64_t peer, enum fl_status status, const char *sentence);
};

struct node_transport_options {
    struct node_loop *loop;
    struct node_hello self; /* lane is filled in per connection */
    const uint32_t *lanes;  /* lanes this transport owns; copied */
    size_t lane_count;
    struct node_transport_hooks hooks;
    /* Zero means the default. */
    size_t queue_bytes_max;        /* FL_PEER_QUEUE_BYTES_MAX per peer and lane */
    uint64_t handshake_timeout_ms; /* 10 s: dial to answer */
    uint64_t connect_timeout_ms;   /* 1 s: a SYN the network ate is sent anew by dialing anew */
    uint64_t silence_timeout_ms;   /* 5 s: unacknowledged data, or an idle peer that is gone */
    uint64_t backoff_min_ms;       /* 50 ms, doubling, with jitter */
    uint64_t backoff_max_ms;       /* 1 s */
};

/* A piece of a message. With `buf` set, `bytes` lies inside it and long pieces are sent from there
 * (the transport takes its own reference); otherwise the bytes are copied. */
struct node_part {
    struct fl_bytes bytes;
    struct fl_buf *buf;
};

/* A transport without peers. `options` is copied. */
struct node_transport *node_transport_create(const struct node_transport_options *options);

/* Adds a peer and dials it on every lane, or gives a known one new addresses (used from the next
 * dial on). `urls`: comma separated http://host:port, tried in turn. FL_OK, FL_INVALID: no usable
 * url; a known peer keeps its old ones. `peer` is not this node (asserted). */
FL_MUST_USE enum fl_status
node_transport_peer_set(struct node_transport *transport, uint64_t peer, const char *urls);
/* Closes every connection from and to the peer and forgets it; `down` is not called for them. */
void node_transport_peer_remove(struct node_transport *transport, uint64_t peer);
/* Drops the connections to the peer and dials anew at once: after a partition a fresh connection is
 * quicker than waiting for TCP's next retransmission. `down` is called for a lane that was up. */
void node_transport_peer_reset(struct node_transport *transport, uint64_t peer);

/* Appends one message to the peer's frame. False: dropped, because the peer is unknown, not
 * connected, or its queue is full. `count` parts are one message of at most FL_FRAME_BYTES_MAX / 2
 * bytes (asserted). */
bool node_transport_send(struct node_transport *transport,
                         uint64_t peer,
                         uint32_t lane,
                         uint8_t kind,
                         const struct node_part *parts,
                         size_t count);
/* Writes what send appended: one system call per peer and lane. Free when nothing was sent. */
void node_transport_flush(struct node_transport *transport);
/* Bytes appended or written but not yet taken by the kernel. */
size_t
node_transport_queued_bytes(const struct node_transport *transport, uint64_t peer, uint32_t lane);
/* True when messages to the peer can leave on this lane. */
bool node_transport_is_up(const struct node_transport *transport, uint64_t peer, uint32_t lane);

/* Closes every connection without flushing or calling `down`, then `closed(ctx)` from a later
 * iteration of the loop, then frees the transport. The listener that feeds it must be closed first.
 */
void node_transport_close(struct node_transport *transport, void (*closed)(void *ctx), void *ctx);

/* --- listener ------------------------------------------------------------------------------- */

struct node_listener_options {
    struct node_loop *loop;
    struct node_hello self;      /* answered to dialers */
    const struct node_url *urls; /* host and port to listen on; port 0: the kernel's */
    size_t url_count;            /* 1..NODE_URLS_MAX */
    /* The transport that owns lane i, NULL: the lane is refused. Copied. */
    struct node_transport *const *lanes;
    size_t lane_count;
    void *ctx;
    /* Judges a dialer after cluster-independent checks (protocol versions, lane, size, time). FL_OK
     * accepts; else `sentence` (of NODE_SENTENCE_BYTES_MAX + 1) is what its operator reads. On the
     * loop's thread. */
    enum fl_status (*check)(void *ctx,
                            const struct node_hello *hello,
                            char *sentence,
                            size_t sentence_bytes);
    uint64_t handshake_timeout_ms; /* 0: 10 s from accept to a whole hello */
    unsigned handshakes_max;       /* 0: 128 unfinished handshakes; more are closed at accept */
};

/* Binds and listens; dialers are served once the loop runs. On failure `why` holds one sentence.
 * FL_OK, FL_INVALID: a host that does not resolve, FL_IO: the system refuses the address. */
FL_MUST_USE enum fl_status node_listener_create(struct node_listener **listener,
                                                const struct node_listener_options *options,
                                                char *why,
                                                size_t why_bytes);
/* The port of url `i`, for port 0. Any thread. */
uint16_t node_listener_port(const struct node_listener *listener, size_t i);
/* Stops accepting, closes unfinished handshakes, then `closed(ctx)` from a later iteration of the
 * loop, then frees the listener. Connections already handed over stay. */
void node_listener_close(struct node_listener *listener, void (*closed)(void *ctx), void *ctx);

#endif
