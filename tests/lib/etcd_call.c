/* Unary calls over gRPC core. See etcd_call.h. */
#include "tests/lib/etcd_call.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <ctype.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const method_names[ETCD_METHOD_COUNT] = {
    [ETCD_METHOD_RANGE] = "/etcdserverpb.KV/Range",
    [ETCD_METHOD_PUT] = "/etcdserverpb.KV/Put",
    [ETCD_METHOD_DELETE_RANGE] = "/etcdserverpb.KV/DeleteRange",
    [ETCD_METHOD_TXN] = "/etcdserverpb.KV/Txn",
    [ETCD_METHOD_COMPACT] = "/etcdserverpb.KV/Compact",
    [ETCD_METHOD_STATUS] = "/etcdserverpb.Maintenance/Status",
    [ETCD_METHOD_HASH_KV] = "/etcdserverpb.Maintenance/HashKV",
};

struct call {
    struct etcd_channel *channel;
    struct call *next_free;
    grpc_call *call;
    grpc_byte_buffer *request;
    grpc_byte_buffer *response;
    grpc_metadata_array initial_metadata;
    grpc_metadata_array trailing_metadata;
    grpc_status_code code;
    grpc_slice details;
    etcd_answer_fn done;
    void *context;
};

struct etcd_loop {
    grpc_completion_queue *queue;
    struct call *free_calls;
    size_t in_flight;
};

struct etcd_channel {
    struct etcd_loop *loop;
    grpc_channel *channel;
    void *methods[ETCD_METHOD_COUNT];
    char *endpoint;
};

struct etcd_loop *etcd_loop_create(void)
{
    struct etcd_loop *loop = fl_xcalloc(1, sizeof(*loop));

    grpc_init();
    loop->queue = grpc_completion_queue_create_for_next(NULL);
    return loop;
}

static grpc_arg int_arg(const char *key, int value)
{
    grpc_arg arg = {.type = GRPC_ARG_INTEGER};

    arg.key = (char *)(uintptr_t)key; /* the library does not write through it */
    arg.value.integer = value;
    return arg;
}

struct etcd_channel *etcd_channel_create(struct etcd_loop *loop, const char *endpoint)
{
    grpc_arg args[] = {
        /* a connection per channel, not one shared by all channels to an address */
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        /* a repeated call would hide an unknown outcome */
        int_arg(GRPC_ARG_ENABLE_RETRIES, 0),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, -1),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000),
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100),
    };
    grpc_channel_args list = {sizeof(args) / sizeof(args[0]), args};
    struct etcd_channel *channel = fl_xcalloc(1, sizeof(*channel));
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    const char *scheme = strstr(endpoint, "://");
    char target[256];

    channel->loop = loop;
    channel->endpoint = fl_xstrdup(scheme != NULL ? scheme + 3 : endpoint);
    (void)snprintf(target,
                   sizeof(target),
                   "%s%s",
                   isdigit((unsigned char)channel->endpoint[0]) ? "ipv4:" : "",
                   channel->endpoint);
    channel->channel = grpc_channel_create(target, credentials, &list);
    grpc_channel_credentials_release(credentials);
    for (int i = 0; i < ETCD_METHOD_COUNT; i++) {
        channel->methods[i] =
            grpc_channel_register_call(channel->channel, method_names[i], NULL, NULL);
    }
    return channel;
}

const char *etcd_channel_endpoint(const struct etcd_channel *channel)
{
    return channel->endpoint;
}

struct etcd_loop *etcd_channel_loop(const struct etcd_channel *channel)
{
    return channel->loop;
}

static struct call *call_acquire(struct etcd_loop *loop)
{
    struct call *call = loop->free_calls;

    if (call == NULL) {
        call = fl_xcalloc(1, sizeof(*call));
        grpc_metadata_array_init(&call->initial_metadata);
        grpc_metadata_array_init(&call->trailing_metadata);
    } else {
        loop->free_calls = call->next_free;
    }
    loop->in_flight++;
    return call;
}

static void call_release(struct etcd_loop *loop, struct call *call)
{
    grpc_call_unref(call->call);
    grpc_byte_buffer_destroy(call->request);
    if (call->response != NULL) {
        grpc_byte_buffer_destroy(call->response);
        call->response = NULL;
    }
    grpc_slice_unref(call->details);
    call->next_free = loop->free_calls;
    loop->free_calls = call;
}

static void start(struct call *call)
{
    grpc_op ops[6];
    grpc_call_error error;

    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = call->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &call->initial_metadata;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &call->response;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &call->trailing_metadata;
    ops[5].data.recv_status_on_client.status = &call->code;
    ops[5].data.recv_status_on_client.status_details = &call->details;
    error = grpc_call_start_batch(call->call, ops, 6, call, NULL);
    fl_assert(error == GRPC_CALL_OK);
}

void etcd_call_submit(struct etcd_channel *channel,
                      enum etcd_method method,
                      struct fl_bytes request,
                      int timeout_ms,
                      etcd_answer_fn done,
                      void *context)
{
    struct call *call = call_acquire(channel->loop);
    grpc_slice slice = grpc_slice_from_copied_buffer((const char *)request.data, request.len);
    gpr_timespec deadline =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));

    call->channel = channel;
    call->done = done;
    call->context = context;
    call->request = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    call->call = grpc_channel_create_registered_call(channel->channel,
                                                     NULL,
                                                     GRPC_PROPAGATE_DEFAULTS,
                                                     channel->loop->queue,
                                                     channel->methods[method],
                                                     deadline,
                                                     NULL);
    start(call);
}

/* Runs the callback with the answer as one contiguous slice, copied only if it came in pieces. */
static void finish(struct call *call)
{
    grpc_byte_buffer_reader reader;
    grpc_slice whole = grpc_empty_slice();
    grpc_slice text = call->details;
    char buffer[512];
    struct etcd_answer answer = {.code = (int)call->code, .text = buffer};
    size_t length = GRPC_SLICE_LENGTH(text);

    length = length < sizeof(buffer) - 1 ? length : sizeof(buffer) - 1;
    memcpy(buffer, GRPC_SLICE_START_PTR(text), length);
    buffer[length] = '\0';
    answer.outcome = etcd_outcome_of(answer.code, buffer);
    if (call->code == GRPC_STATUS_OK && call->response != NULL) {
        int read = grpc_byte_buffer_reader_init(&reader, call->response);

        fl_assert(read == 1);
        whole = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
        answer.body = fl_bytes(GRPC_SLICE_START_PTR(whole), GRPC_SLICE_LENGTH(whole));
    }
    call->done(call->context, &answer);
    grpc_slice_unref(whole);
}

bool etcd_loop_poll(struct etcd_loop *loop, int timeout_ms)
{
    gpr_timespec until =
        gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    grpc_event event = grpc_completion_queue_next(loop->queue, until, NULL);
    struct call *call = event.tag;

    if (event.type != GRPC_OP_COMPLETE) {
        return false;
    }
    loop->in_flight--;
    finish(call);
    call_release(loop, call);
    return true;
}

size_t etcd_loop_in_flight(const struct etcd_loop *loop)
{
    return loop->in_flight;
}

void etcd_channel_destroy(struct etcd_channel *channel)
{
    grpc_channel_destroy(channel->channel);
    free(channel->endpoint);
    free(channel);
}

void etcd_loop_destroy(struct etcd_loop *loop)
{
    while (loop->in_flight != 0) {
        (void)etcd_loop_poll(loop, 1000);
    }
    grpc_completion_queue_shutdown(loop->queue);
    while (
        grpc_completion_queue_next(loop->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(loop->queue);
    while (loop->free_calls != NULL) {
        struct call *call = loop->free_calls;

        loop->free_calls = call->next_free;
        grpc_metadata_array_destroy(&call->initial_metadata);
        grpc_metadata_array_destroy(&call->trailing_metadata);
        free(call);
    }
    free(loop);
    grpc_shutdown();
}

/* Refusals that come before anything is proposed, word for word. */
static bool is_refusal(const char *text)
{
    static const char *const texts[] = {
        "etcdserver: no leader",
        "etcdserver: not leader",
        "etcdserver: not capable",
        "etcdserver: too many requests",
        "etcdserver: mvcc: database space exceeded",
        "failed to connect to all addresses", /* gRPC core: the call was never sent */
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strncmp(text, texts[i], strlen(texts[i])) == 0) {
            return true;
        }
    }
    return false;
}

enum etcd_outcome etcd_outcome_of(int code, const char *text)
{
    switch (code) {
    case GRPC_STATUS_OK:
        return ETCD_OK;
    case GRPC_STATUS_INVALID_ARGUMENT:
    case GRPC_STATUS_NOT_FOUND:
    case GRPC_STATUS_ALREADY_EXISTS:
    case GRPC_STATUS_PERMISSION_DENIED:
    case GRPC_STATUS_FAILED_PRECONDITION:
    case GRPC_STATUS_OUT_OF_RANGE:
    case GRPC_STATUS_UNIMPLEMENTED:
    case GRPC_STATUS_UNAUTHENTICATED:
        return ETCD_FAILED;
    default:
        return is_refusal(text) ? ETCD_FAILED : ETCD_UNKNOWN;
    }
}

const char *etcd_code_name(int code)
{
    static const char *const names[] = {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    };

    return code >= 0 && (size_t)code < sizeof(names) / sizeof(names[0]) ? names[code] : "?";
}
