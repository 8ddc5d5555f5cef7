/* One unary call: its request bytes, its memory, its trip through the node, its one reply.
 *
 * Owner: the poller whose completion queue it is on. Lifetime: from the moment it is posted to the
 * completion of its reply; then it is reused.
 * Threads: the poller's. Between api_call_submit and the node's `done` it belongs to the node. */
#ifndef API_CALL_H
#define API_CALL_H

#include "api/arena.h"
#include "node/node.h"
#include "node/request.h"
#include "raftgroup/base/metric.h"

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

struct api_call;
struct api_poller;
struct api_server;

/* Serves one call; must lead to exactly one reply on the poller's thread, now or from `answered`.
 */
typedef void api_handle_fn(struct api_call *call);
/* Continues a call when the node has answered; `reply->result` is released by the caller. */
typedef void api_answered_fn(struct api_call *call, const struct node_reply *reply);

/* One row of a service: the path as on the wire. */
struct api_method {
    const char *path; /* "/package.Service/Method" */
    api_handle_fn *handle;
    unsigned outstanding;      /* calls waited for at once, per poller */
    struct fl_metric *latency; /* histogram of nanoseconds from arrival to reply, or NULL */
};

struct api_call {
    /* set when posted */
    struct api_poller *poller;
    const struct api_method *method; /* NULL: waits for a method that is not registered */
    size_t method_index;
    /* filled by gRPC with the new call */
    grpc_call *grpc;
    grpc_call_details details; /* only without method */
    grpc_metadata_array metadata;
    gpr_timespec deadline;
    grpc_byte_buffer *payload; /* NULL: the client sent no message */
    /* while it is served */
    grpc_byte_buffer *reply_buffer;
    bool replied;      /* a reply was started: the next event is its completion */
    int cancelled;     /* written by gRPC, not looked at */
    grpc_slice merged; /* contiguous copy of a payload that came in pieces */
    bool has_merged;
    struct fl_bytes request; /* the message */
    size_t charged_bytes;    /* counted in the server's bytes in flight */
    uint64_t started_ns;
    struct node_request node_request;
    api_answered_fn *answered;
    struct node_reply node_reply; /* the node's answer, until the poller takes it */
    struct api_call *next_answered;
    struct api_arena arena;
    /* when it is not in use */
    struct api_call *next_idle;
};

struct node *api_call_node(struct api_call *call);

/* Unpacks the request into the call's memory after the wire guard has passed it. NULL: it was not
 * acceptable and the call has been answered. */
void *api_call_unpack(struct api_call *call, const ProtobufCMessageDescriptor *descriptor);

/* Hands `call->node_request` (kind and arguments filled) to the node; `answered` follows. */
void api_call_submit(struct api_call *call, api_answered_fn *answered);

/* The three ways to reply; the call is not the caller's any more.
 * With a message, packed before the function returns: */
void api_call_reply(struct api_call *call, const ProtobufCMessage *message);
/* With etcd's code and text for `status`, which is not FL_OK: */
void api_call_fail(struct api_call *call, enum fl_status status);
/* With a code and a text, which is copied: */
void api_call_refuse(struct api_call *call, grpc_status_code code, const char *text);

#endif
