/* The life of a unary call:
 *
 *   posted --arrived--> served --submit--> with the node --done--> replied --finished--> idle
 *                          \____________ reply at once ___________/
 */
#include "api/call.h"

#include "api/server_internal.h"
#include "api/services.h"
#include "api/status_map.h"
#include "api/wire_guard.h"
#include "node/bell.h"
#include "node/clock.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/list.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_CALLS_MAX 1024 /* kept per poller; a call is about 2 KiB */

struct api_call *
api__call_create(struct api_poller *poller, const struct api_method *method, size_t method_index)
{
    struct api_call *call = poller->idle;

    if (call != NULL) {
        poller->idle = call->next_idle;
        poller->idle_count--;
    } else {
        call = fl_xcalloc(1, sizeof *call);
        grpc_metadata_array_init(&call->metadata);
        api_arena_init(&call->arena);
        call->poller = poller;
    }
    call->method = method;
    call->method_index = method_index;
    if (method == NULL) {
        grpc_call_details_init(&call->details);
    }
    return call;
}

void api__call_destroy(struct api_call *call)
{
    grpc_metadata_array_destroy(&call->metadata);
    api_arena_close(&call->arena);
    free(call);
}

/* Frees the request: its bytes are not needed any more. */
static void drop_request(struct api_call *call)
{
    if (call->has_merged) {
        grpc_slice_unref(call->merged);
        call->has_merged = false;
    }
    if (call->payload != NULL) {
        grpc_byte_buffer_destroy(call->payload);
        call->payload = NULL;
    }
    call->request = fl_bytes(NULL, 0);
}

void api__call_recycle(struct api_call *call)
{
    struct api_poller *poller = call->poller;

    if (call->grpc != NULL) {
        grpc_call_unref(call->grpc);
        call->grpc = NULL;
    }
    if (call->reply_buffer != NULL) {
        grpc_byte_buffer_destroy(call->reply_buffer);
        call->reply_buffer = NULL;
    }
    drop_request(call);
    if (call->method == NULL) {
        grpc_call_details_destroy(&call->details);
    }
    call->metadata.count = 0; /* the elements were the call's, the array is kept */
    call->replied = false;
    api_arena_reset(&call->arena);
    if (poller->idle_count >= IDLE_CALLS_MAX) {
        api__call_destroy(call);
        return;
    }
    call->next_idle = poller->idle;
    poller->idle = call;
    poller->idle_count++;
}

/* Makes `request` the whole message, without a copy when it came in one piece. */
static bool open_request(struct api_call *call)
{
    const grpc_slice *slice;
    grpc_byte_buffer_reader reader;

    call->request = fl_bytes(NULL, 0);
    if (call->payload == NULL || call->payload->type != GRPC_BB_RAW) {
        return false;
    }
    if (call->payload->data.raw.slice_buffer.count == 0) {
        return true;
    }
    if (call->payload->data.raw.slice_buffer.count == 1) {
        slice = &call->payload->data.raw.slice_buffer.slices[0];
    } else {
        if (grpc_byte_buffer_reader_init(&reader, call->payload) == 0) {
            return false;
        }
        call->merged = grpc_byte_buffer_reader_readall(&reader);
        call->has_merged = true;
        grpc_byte_buffer_reader_destroy(&reader);
        slice = &call->merged;
    }
    call->request = fl_bytes(GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
    return true;
}

/* Counts the request's bytes; false when too much is in flight already. */
static bool charge(struct api_call *call)
{
    struct api_server *server = call->poller->server;
    uint64_t before;

    call->charged_bytes = call->request.len;
    before = atomic_fetch_add_explicit(
        &server->bytes_in_flight, call->charged_bytes, memory_order_relaxed);
    return before + call->charged_bytes <= API_IN_FLIGHT_BYTES_MAX;
}

/* gRPC's own words for a path nobody serves, as etcd's server gives them. */
static void refuse_unknown_method(struct api_call *call)
{
    char *path = grpc_slice_to_c_string(call->details.method);
    char *slash = path[0] == '/' ? strrchr(path + 1, '/') : NULL;
    const struct api_service *service = NULL;
    char text[256];

    if (slash == NULL) {
        (void)snprintf(text, sizeof text, "malformed method name: \"%.200s\"", path);
    } else {
        *slash = '\0';
        service = api_service_find(path + 1);
        if (service != NULL) {
            (void)snprintf(
                text, sizeof text, "unknown method %.100s for service %.100s", slash + 1, path + 1);
        } else {
            (void)snprintf(text, sizeof text, "unknown service %.200s", path + 1);
        }
    }
    gpr_free(path);
    api_call_refuse(call, GRPC_STATUS_UNIMPLEMENTED, text);
}

/* etcd's clients can ask to be refused by a member that sees no leader, rather than wait. */
static bool lacks_required_leader(const struct api_call *call)
{
    bool required = false;
    struct node_view *view;
    bool lacks;

    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_metadata *entry = &call->metadata.metadata[i];

        required = required || (grpc_slice_str_cmp(entry->key, "hasleader") == 0 &&
                                grpc_slice_str_cmp(entry->value, "true") == 0);
    }
    if (!required) {
        return false;
    }
    view = node_view_acquire(call->poller->server->node);
    lacks = view->leader == 0;
    node_view_release(view);
    return lacks;
}

void api__call_arrived(struct api_call *call, bool ok)
{
    struct api_server *server = call->poller->server;

    if (!ok) { /* the server is shutting down */
        api__call_recycle(call);
        return;
    }
    api__server_post(call->poller, call->method_index);
    atomic_fetch_add_explicit(&server->calls_in_flight, 1, memory_order_relaxed);
    call->started_ns = node_clock_ns();
    call->charged_bytes = 0;
    if (call->method == NULL) {
        refuse_unknown_method(call);
    } else if (!open_request(call)) {
        api_call_fail(call, FL_BAD_MESSAGE);
    } else if (!charge(call)) {
        api_call_fail(call, FL_TOO_MANY);
    } else if (lacks_required_leader(call)) {
        api_call_fail(call, FL_NO_LEADER);
    } else {
        call->method->handle(call);
    }
}

struct api_server *api_call_server(struct api_call *call)
{
    return call->poller->server;
}

struct node *api_call_node(struct api_call *call)
{
    return call->poller->server->node;
}

void *api_call_unpack(struct api_call *call, const ProtobufCMessageDescriptor *descriptor)
{
    enum fl_status status = api_wire_check(call->request, descriptor);
    void *message = NULL;

    if (status == FL_OK) {
        message = protobuf_c_message_unpack(
            descriptor, &call->arena.allocator, call->request.len, call->request.data);
        status = FL_BAD_MESSAGE;
    }
    if (message == NULL) {
        api_call_fail(call, status);
    }
    return message;
}

/* --- the trip through the node -------------------------------------------------------------- */

static void ring_poller(void *consumer)
{
    struct api_poller *poller = consumer;
    grpc_call_error error = grpc_call_start_batch(poller->bell, NULL, 0, &poller->bell, NULL);

    fl_assert(error == GRPC_CALL_OK);
}

/* A thread of the node has the answer: over to the poller. */
static void node_done(struct node_request *request, const struct node_reply *reply)
{
    struct api_call *call = fl_container_of(request, struct api_call, node_request);
    struct api_poller *poller = call->poller;
    struct api_call *head = atomic_load_explicit(&poller->answered, memory_order_relaxed);

    call->node_reply = *reply;
    do { /* release: the poller sees the answer */
        call->next_answered = head;
    } while (!atomic_compare_exchange_weak_explicit(
        &poller->answered, &head, call, memory_order_release, memory_order_relaxed));
    if (head == NULL) {
        node_bell(ring_poller, poller);
    }
}

static void answer(struct api_call *call)
{
    struct fl_buf *result = call->node_reply.result;

    if (call->node_reply.status != FL_OK) {
        api_call_fail(call, call->node_reply.status);
    } else {
        call->answered(call, &call->node_reply);
    }
    fl_buf_release(result);
}

void api__calls_answered(struct api_poller *poller)
{
    struct api_call *newest =
        atomic_exchange_explicit(&poller->answered, NULL, memory_order_acquire);
    struct api_call *oldest = NULL;

    while (newest != NULL) { /* first come, first served */
        struct api_call *call = newest;

        newest = call->next_answered;
        call->next_answered = oldest;
        oldest = call;
    }
    while (oldest != NULL) {
        struct api_call *call = oldest;

        oldest = call->next_answered;
        answer(call);
    }
}

/* The client's deadline on the node's clock, never later than the node's own limit. */
static uint64_t deadline_ms(const struct api_call *call)
{
    gpr_timespec left;
    int64_t left_ms;

    if (call->deadline.tv_sec == INT64_MAX) {
        return 0;
    }
    left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    if (left.tv_sec >= FL_REQUEST_TIMEOUT_MS / 1000) {
        return 0;
    }
    left_ms = left.tv_sec * 1000 + left.tv_nsec / 1000000;
    return node_clock_ms() + (uint64_t)(left_ms > 0 ? left_ms : 0);
}

void api_call_submit(struct api_call *call, api_answered_fn *answered)
{
    call->answered = answered;
    call->node_request.deadline_ms = deadline_ms(call);
    call->node_request.done = node_done;
    if (call->node_request.kind != NODE_REQUEST_READ) {
        drop_request(call); /* a command holds its own copy; a read borrows */
    }
    node_submit(call->poller->server->node, &call->node_request);
}

/* --- replies -------------------------------------------------------------------------------- */

/* One batch ends a unary call. Its completion is the last event of the call. */
static void start_reply(struct api_call *call, grpc_status_code code, const grpc_slice *text)
{
    struct api_server *server = call->poller->server;
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    size_t n = 1;
    grpc_slice details;
    grpc_call_error error;

    fl_assert(!call->replied);
    call->replied = true;
    api__server_count(server, call, code);
    if (call->reply_buffer != NULL) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->reply_buffer;
    }
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = code;
    if (text != NULL) {
        details = *text;
        ops[n].data.send_status_from_server.status_details = &details;
    }
    n++;
    ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    ops[n++].data.recv_close_on_server.cancelled = &call->cancelled;
    error = grpc_call_start_batch(call->grpc, ops, n, call, NULL);
    fl_assert(error == GRPC_CALL_OK);
}

void api_call_reply(struct api_call *call, const ProtobufCMessage *message)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(bytes);

    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    call->reply_buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    start_reply(call, GRPC_STATUS_OK, NULL);
}

void api_call_fail(struct api_call *call, enum fl_status status)
{
    struct api_status answer = api_status_of(status);
    grpc_slice text = grpc_slice_from_static_string(answer.text);

    start_reply(call, answer.code, &text);
}

void api_call_refuse(struct api_call *call, grpc_status_code code, const char *text)
{
    grpc_slice copy = grpc_slice_from_copied_string(text);

    start_reply(call, code, &copy);
    grpc_slice_unref(copy);
}

void api__call_finished(struct api_call *call)
{
    struct api_server *server = call->poller->server;

    atomic_fetch_sub_explicit(&server->bytes_in_flight, call->charged_bytes, memory_order_relaxed);
    api__call_recycle(call);
    api__server_left(server);
}
