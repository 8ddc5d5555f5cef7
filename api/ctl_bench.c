/* bench: a closed loop of clients, each with one call in flight, on one thread. */
#include "api/ctl.h"
#include "api/grpc_tuning.h"
#include "api/proto/rpc.pb-c.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CALL_TIMEOUT_MS 10000
#define KEY_BYTES       32
#define STEPS           ((size_t)16) /* buckets per power of two: about 6 % wide */
#define BUCKETS         (64 * STEPS)

struct bench;

/* One client: its connection and the call it has in flight. */
struct bench_client {
    struct bench *bench;
    grpc_channel *channel;
    void *method;
    grpc_call *call;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply;
    grpc_metadata_array initial;
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice details;
    uint64_t started_ns;
};

struct bench {
    bool put;
    uint64_t clients;
    uint64_t connections;
    uint64_t keys;
    uint64_t value_size;
    uint64_t seconds;
    uint64_t next_key;
    grpc_completion_queue *queue;
    grpc_channel **channels;
    void **methods;
    struct bench_client *list;
    uint8_t *value;
    uint64_t counts[BUCKETS]; /* latencies */
    uint64_t done;
    uint64_t failed;
    char failure[256]; /* the text of the first one */
    uint64_t max_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- latencies ------------------------------------------------------------------------------ */

static size_t bucket_of(uint64_t ns)
{
    unsigned power;

    if (ns < STEPS) {
        return (size_t)ns;
    }
    power = 63u - (unsigned)__builtin_clzll(ns);
    return (size_t)((power - 3) * STEPS + ((ns >> (power - 4)) & (STEPS - 1)));
}

/* Upper bound of a bucket in milliseconds. */
static double bucket_ms(size_t i)
{
    unsigned power = (unsigned)(i / STEPS) + 3;

    if (i < STEPS) {
        return (double)i / 1e6;
    }
    return (double)((uint64_t)(STEPS + i % STEPS + 1) << (power - 4)) / 1e6;
}

static double percentile_ms(const struct bench *b, double share)
{
    uint64_t rank = (uint64_t)((double)b->done * share);
    uint64_t seen = 0;

    for (size_t i = 0; i < BUCKETS; i++) {
        seen += b->counts[i];
        if (seen > rank) {
            return bucket_ms(i);
        }
    }
    return (double)b->max_ns / 1e6;
}

/* --- calls ---------------------------------------------------------------------------------- */

static grpc_byte_buffer *pack(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    grpc_byte_buffer *buffer;

    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

/* Keys go over all printable first bytes, so that every range gets its share. */
static grpc_byte_buffer *next_request(struct bench *b)
{
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    uint64_t number = b->next_key++ % b->keys;
    char text[KEY_BYTES + 1];
    ProtobufCBinaryData key = {.data = (uint8_t *)text};

    key.len = (size_t)snprintf(
        text, sizeof text, "%cbench/%010" PRIu64, (int)('!' + number % 94), number);
    if (b->put) {
        put.key = key;
        put.value = (ProtobufCBinaryData){.data = b->value, .len = b->value_size};
        return pack(&put.base);
    }
    range.key = key;
    return pack(&range.base);
}

static void client_start(struct bench_client *c)
{
    gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                         gpr_time_from_millis(CALL_TIMEOUT_MS, GPR_TIMESPAN));
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE},
                      {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    grpc_call_error error;

    c->request = next_request(c->bench);
    c->reply = NULL;
    c->details = grpc_empty_slice();
    grpc_metadata_array_init(&c->initial);
    grpc_metadata_array_init(&c->trailing);
    ops[1].data.send_message.send_message = c->request;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &c->initial;
    ops[4].data.recv_message.recv_message = &c->reply;
    ops[5].data.recv_status_on_client.trailing_metadata = &c->trailing;
    ops[5].data.recv_status_on_client.status = &c->code;
    ops[5].data.recv_status_on_client.status_details = &c->details;
    c->started_ns = now_ns();
    c->call = grpc_channel_create_registered_call(
        c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->bench->queue, c->method, deadline, NULL);
    error = grpc_call_start_batch(c->call, ops, 6, c, NULL);
    fl_assert(error == GRPC_CALL_OK);
}

static void client_finish(struct bench_client *c)
{
    struct bench *b = c->bench;
    uint64_t took = now_ns() - c->started_ns;

    if (c->code == GRPC_STATUS_OK) {
        b->done++;
        b->counts[bucket_of(took)]++;
        b->max_ns = took > b->max_ns ? took : b->max_ns;
    } else if (b->failed++ == 0) {
        (void)snprintf(b->failure,
                       sizeof b->failure,
                       "%.*s",
                       (int)GRPC_SLICE_LENGTH(c->details),
                       (const char *)GRPC_SLICE_START_PTR(c->details));
    }
    grpc_call_unref(c->call);
    grpc_byte_buffer_destroy(c->request);
    if (c->reply != NULL) {
        grpc_byte_buffer_destroy(c->reply);
    }
    grpc_slice_unref(c->details);
    grpc_metadata_array_destroy(&c->initial);
    grpc_metadata_array_destroy(&c->trailing);
}

/* --- the run -------------------------------------------------------------------------------- */

/* A connection of its own: channels to one address would share one otherwise. */
static grpc_channel *connect_to(const char *address)
{
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
         .value.integer = 1},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_HTTP2_BDP_PROBE,
         .value.integer = 0},
    };
    grpc_channel_args list = {sizeof args / sizeof args[0], args};
    grpc_channel *channel = grpc_channel_create(address, credentials, &list);

    grpc_channel_credentials_release(credentials);
    return channel;
}

static void bench_open(struct bench *b, const struct api_client *client)
{
    const char *path = b->put ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range";

    fl_assert(b->connections > 0);
    api_grpc_tune();
    grpc_init();
    b->queue = grpc_completion_queue_create_for_next(NULL);
    b->channels = fl_xcalloc(b->connections, sizeof(grpc_channel *));
    b->methods = fl_xcalloc(b->connections, sizeof(void *));
    for (uint64_t i = 0; i < b->connections; i++) {
        b->channels[i] = connect_to(api_client_address(client, i));
        b->methods[i] = grpc_channel_register_call(b->channels[i], path, NULL, NULL);
    }
    b->value = fl_xmalloc(b->value_size + 1);
    memset(b->value, 'v', b->value_size + 1);
    b->list = fl_xcalloc(b->clients, sizeof *b->list);
    for (uint64_t i = 0; i < b->clients; i++) {
        b->list[i] = (struct bench_client){.bench = b,
                                           .channel = b->channels[i % b->connections],
                                           .method = b->methods[i % b->connections]};
    }
}

static void bench_close(struct bench *b)
{
    for (uint64_t i = 0; i < b->connections; i++) {
        grpc_channel_destroy(b->channels[i]);
    }
    grpc_completion_queue_shutdown(b->queue);
    while (grpc_completion_queue_next(b->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(b->queue);
    free(b->channels);
    free(b->methods);
    free(b->list);
    free(b->value);
    grpc_shutdown_blocking();
}

/* Runs until the time is over or everything fails; returns the seconds it took. A client whose call
 * failed stops: a loop of failures would only measure itself. */
static double bench_run(struct bench *b)
{
    uint64_t start = now_ns();
    uint64_t end = start + b->seconds * 1000000000u;
    uint64_t in_flight = b->clients;

    for (uint64_t i = 0; i < b->clients; i++) {
        client_start(&b->list[i]);
    }
    while (in_flight > 0) {
        grpc_event event =
            grpc_completion_queue_next(b->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        struct bench_client *client = event.tag;

        if (event.type != GRPC_OP_COMPLETE) {
            continue;
        }
        client_finish(client);
        if (client->code == GRPC_STATUS_OK && now_ns() < end) {
            client_start(client);
        } else {
            in_flight--;
        }
    }
    return (double)(now_ns() - start) / 1e9;
}

static void report(const struct bench *b, double seconds, bool json)
{
    static const double shares[] = {0.5, 0.9, 0.99, 0.999};
    double rate = (double)b->done / seconds;

    (void)printf(json ? "{\"operation\":\"%s\",\"clients\":%" PRIu64 ",\"connections\":%" PRIu64
                        ",\"value_size\":%" PRIu64 ",\"seconds\":%.3f,\"operations\":%" PRIu64
                        ",\"failed\":%" PRIu64 ",\"operations_per_second\":%.1f"
                      : "%s with %" PRIu64 " clients on %" PRIu64 " connections, values of %" PRIu64
                        " bytes, for %.1f s: %" PRIu64 " done, %" PRIu64
                        " failed\n"
                        "throughput  %.1f operations/s\n",
                 b->put ? "put" : "get",
                 b->clients,
                 b->connections,
                 b->value_size,
                 seconds,
                 b->done,
                 b->failed,
                 rate);
    (void)printf(json ? ",\"latency_ms\":{\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"p99_9\":%.3f,"
                        "\"max\":%.3f}}\n"
                      : "latency     p50 %.3f ms, p90 %.3f ms, p99 %.3f ms, p99.9 %.3f ms, "
                        "max %.3f ms\n",
                 percentile_ms(b, shares[0]),
                 percentile_ms(b, shares[1]),
                 percentile_ms(b, shares[2]),
                 percentile_ms(b, shares[3]),
                 (double)b->max_ns / 1e6);
    if (b->failed > 0) {
        (void)fprintf(stderr, "flotillactl bench: first failure: %s\n", b->failure);
    }
}

static int bench_start(struct api_ctl *ctl, int argc, char **argv)
{
    static struct bench b; /* its counts are large for a stack */
    const struct api_flag flags[] = {
        {.name = "clients", .number = &b.clients, .min = 1, .max = 10000},
        {.name = "connections", .number = &b.connections, .min = 1, .max = 1000},
        {.name = "keys", .number = &b.keys, .min = 1, .max = 1000000000},
        {.name = "value-size", .number = &b.value_size, .max = 1500000},
        {.name = "duration", .number = &b.seconds, .min = 1, .max = 86400},
    };
    struct api_words words = {.argc = argc, .argv = argv};
    double seconds;

    b = (struct bench){
        .clients = 64, .connections = 8, .keys = 100000, .value_size = 256, .seconds = 5};
    if (!api_ctl_parse(ctl, &api_ctl_bench, flags, 5, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count != 1 ||
        (strcmp(words.list[0], "put") != 0 && strcmp(words.list[0], "get") != 0)) {
        return api_ctl_misuse(&api_ctl_bench, "say what to measure: put or get");
    }
    if (!api_ctl_connect(ctl)) { /* checks the endpoints, too */
        return API_CTL_USAGE;
    }
    b.put = strcmp(words.list[0], "put") == 0;
    b.connections = b.connections > b.clients ? b.clients : b.connections;
    bench_open(&b, ctl->client);
    seconds = bench_run(&b);
    report(&b, seconds, ctl->json);
    bench_close(&b);
    return b.done > 0 ? API_CTL_OK : API_CTL_FAILED;
}

const struct api_command api_ctl_bench = {
    .name = "bench",
    .summary = "load the cluster and measure throughput and latency",
    .help =
        "usage: flotillactl bench put|get [flags]\n\n"
        "A closed loop: every client has one call in flight. Keys are <byte>bench/<number>,\n"
        "spread over all printable first bytes; they stay in the keyspace.\n\n"
        "  --clients N       calls in flight (64)\n"
        "  --connections N   TCP connections, dealt over the endpoints (8)\n"
        "  --keys N          different keys (100000)\n"
        "  --value-size N    bytes of a value (256)\n"
        "  --duration N      seconds (5)\n\n"
        "examples: flotillactl bench put --clients 512 --connections 64\n"
        "          flotillactl bench get --duration 10 -o json\n",
    .run = bench_start,
};
