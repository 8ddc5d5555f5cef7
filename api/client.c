/* Blocking calls over gRPC core. */
#include "api/client.h"

#include "api/grpc_tuning.h"
#include "node/url.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/bytes.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct endpoint {
    char *address; /* host:port */
    grpc_channel *channel;
};

struct api_client {
    struct endpoint endpoints[API_ENDPOINTS_MAX];
    size_t endpoint_count;
    size_t current; /* asked first */
    uint64_t timeout_ms;
    grpc_completion_queue *queue;
    struct api_arena arena;
};

/* --- endpoints ------------------------------------------------------------------------------ */

static grpc_channel *connect_to(const char *address)
{
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = -1},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_HTTP_PROXY,
         .value.integer = 0},
    };
    grpc_channel_args list = {sizeof args / sizeof args[0], args};
    grpc_channel *channel = grpc_channel_create(address, credentials, &list);

    grpc_channel_credentials_release(credentials);
    return channel;
}

static bool
endpoint_add(struct api_client *client, struct fl_bytes text, char *why, size_t why_bytes)
{
    struct fl_writer full;
    struct node_url url;
    bool good;

    if (client->endpoint_count == API_ENDPOINTS_MAX) {
        (void)snprintf(why, why_bytes, "more than %d endpoints; give fewer", API_ENDPOINTS_MAX);
        return false;
    }
    fl_writer_init(&full);
    if (text.len < 4 || memcmp(text.data, "http", 4) != 0) {
        fl_write_raw(&full, fl_bytes_of_string("http://"));
    }
    fl_write_raw(&full, text);
    good = node_url_parse(&url, fl_writer_bytes(&full), why, why_bytes);
    if (good) {
        struct endpoint *endpoint = &client->endpoints[client->endpoint_count++];

        endpoint->address = fl_xstrdup(url.text + strlen("http://"));
        endpoint->channel = NULL;
        node_url_close(&url);
    }
    fl_writer_close(&full);
    return good;
}

struct api_client *
api_client_create(const char *endpoints, uint64_t timeout_ms, char *why, size_t why_bytes)
{
    struct api_client *client = fl_xcalloc(1, sizeof *client);
    const char *at = endpoints;

    api_grpc_tune();
    grpc_init();
    client->timeout_ms = timeout_ms;
    client->queue = grpc_completion_queue_create_for_next(NULL);
    api_arena_init(&client->arena);
    do {
        size_t len = strcspn(at, ",");

        if (!endpoint_add(client, fl_bytes(at, len), why, why_bytes)) {
            api_client_destroy(client);
            return NULL;
        }
        at += len;
    } while (*at++ == ',');
    return client;
}

void api_client_destroy(struct api_client *client)
{
    for (size_t i = 0; i < client->endpoint_count; i++) {
        if (client->endpoints[i].channel != NULL) {
            grpc_channel_destroy(client->endpoints[i].channel);
        }
        free(client->endpoints[i].address);
    }
    grpc_completion_queue_shutdown(client->queue);
    while (
        grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(client->queue);
    api_arena_close(&client->arena);
    grpc_shutdown_blocking();
    free(client);
}

const char *api_client_address(const struct api_client *client, size_t at)
{
    return client->endpoints[at % client->endpoint_count].address;
}

/* --- one call ------------------------------------------------------------------------------- */

/* What a call receives; freed by attempt_close. */
struct attempt {
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_byte_buffer *reply;
    grpc_status_code code;
    grpc_slice details;
    const char *error; /* gRPC's own, to be freed with gpr_free */
};

static grpc_byte_buffer *pack(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    grpc_byte_buffer *buffer;

    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* Starts the six operations of a unary call and waits for the end of all. */
static void attempt_run(struct api_client *client,
                        grpc_call *call,
                        grpc_byte_buffer *request,
                        struct attempt *a)
{
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = request},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &a->initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &a->reply},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &a->trailing,
                                        .status = &a->code,
                                        .status_details = &a->details,
                                        .error_string = &a->error}},
    };
    grpc_call_error error = grpc_call_start_batch(call, ops, 6, client, NULL);
    grpc_event event;

    fl_assert(error == GRPC_CALL_OK);
    do { /* the call has a deadline, so this ends */
        event =
            grpc_completion_queue_next(client->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    } while (event.type != GRPC_OP_COMPLETE || event.tag != client);
}

static void attempt_close(struct attempt *a)
{
    grpc_metadata_array_destroy(&a->initial);
    grpc_metadata_array_destroy(&a->trailing);
    if (a->reply != NULL) {
        grpc_byte_buffer_destroy(a->reply);
    }
    grpc_slice_unref(a->details);
    gpr_free((void *)(uintptr_t)a->error);
}

/* Turns what came into a result. */
static void attempt_result(struct api_client *client,
                           const struct attempt *a,
                           const ProtobufCMessageDescriptor *reply,
                           struct api_call_result *result)
{
    grpc_byte_buffer_reader reader;
    grpc_slice body;

    result->code = a->code;
    result->message = NULL;
    (void)snprintf(result->text,
                   sizeof result->text,
                   "%.*s",
                   (int)GRPC_SLICE_LENGTH(a->details),
                   (const char *)GRPC_SLICE_START_PTR(a->details));
    if (a->code != GRPC_STATUS_OK || a->reply == NULL) {
        return;
    }
    if (grpc_byte_buffer_reader_init(&reader, a->reply) != 0) {
        body = grpc_byte_buffer_reader_readall(&reader);
        result->message = protobuf_c_message_unpack(
            reply, &client->arena.allocator, GRPC_SLICE_LENGTH(body), GRPC_SLICE_START_PTR(body));
        grpc_slice_unref(body);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    if (result->message == NULL) {
        result->code = GRPC_STATUS_INTERNAL;
        (void)snprintf(result->text, sizeof result->text, "the reply cannot be understood");
    }
}

static void attempt(struct api_client *client,
                    const char *path,
                    const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *reply,
                    struct api_call_result *result)
{
    struct endpoint *endpoint = &client->endpoints[client->current];
    struct attempt a = {.details = grpc_empty_slice()};
    grpc_byte_buffer *body = pack(request);
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                     gpr_time_from_millis((int64_t)client->timeout_ms, GPR_TIMESPAN));
    grpc_call *call;

    if (endpoint->channel == NULL) {
        endpoint->channel = connect_to(endpoint->address);
    }
    grpc_metadata_array_init(&a.initial);
    grpc_metadata_array_init(&a.trailing);
    call = grpc_channel_create_call(endpoint->channel,
                                    NULL,
                                    GRPC_PROPAGATE_DEFAULTS,
                                    client->queue,
                                    grpc_slice_from_static_string(path),
                                    NULL,
                                    deadline,
                                    NULL);
    attempt_run(client, call, body, &a);
    grpc_call_unref(call);
    grpc_byte_buffer_destroy(body);
    attempt_result(client, &a, reply, result);
    attempt_close(&a);
}

/* gRPC's words for a connection that was never made: nothing was sent. */
static bool never_connected(const struct api_call_result *result)
{
    return result->code == GRPC_STATUS_UNAVAILABLE &&
           strstr(result->text, "failed to connect to all addresses") != NULL;
}

bool api_client_call(struct api_client *client,
                     const char *path,
                     const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *reply,
                     bool repeatable,
                     struct api_call_result *result)
{
    for (size_t i = 0; i < client->endpoint_count; i++) {
        api_arena_reset(&client->arena);
        attempt(client, path, request, reply, result);
        if (result->code == GRPC_STATUS_OK) {
            return true;
        }
        if (!never_connected(result) &&
            !(repeatable && (result->code == GRPC_STATUS_UNAVAILABLE ||
                             result->code == GRPC_STATUS_DEADLINE_EXCEEDED))) {
            return false;
        }
        client->current = (client->current + 1) % client->endpoint_count;
    }
    return false;
}
