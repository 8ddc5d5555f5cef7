/* Goal: the client asks what it was told to ask, reads what it is answered, and never calls an
 * unknown outcome a failure: a history with such a mistake would prove nothing.
 * Method: a gRPC server in this process keeps the bytes of each request and answers with prepared
 * bytes or a status; refused and silent endpoints are plain sockets. */
#include "api/proto/rpc.pb-c.h"
#include "raftgroup/base/alloc.h"
#include "tests/lib/etcd_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- a server that says what the test wants ----------------------------------------------------
 */

struct canned {
    grpc_completion_queue *queue;
    grpc_server *server;
    pthread_t thread;
    char endpoint[32];
    struct {
        pthread_mutex_t lock;
        char method[128];
        struct fl_writer request;
        struct fl_writer answer;
        grpc_status_code code;
        const char *text;
        bool silent; /* takes the request, never answers */
    } shared;
};

/* Next event of the server's queue; false at shutdown or when the operation failed. */
static bool next_ok(struct canned *canned)
{
    grpc_event event =
        grpc_completion_queue_next(canned->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);

    return event.type == GRPC_OP_COMPLETE && event.success != 0;
}

static void keep_request(struct canned *canned, grpc_byte_buffer *message)
{
    grpc_byte_buffer_reader reader;
    grpc_slice all;

    assert_int_equal(grpc_byte_buffer_reader_init(&reader, message), 1);
    all = grpc_byte_buffer_reader_readall(&reader);
    fl_writer_reset(&canned->shared.request);
    fl_write_raw(&canned->shared.request,
                 fl_bytes(GRPC_SLICE_START_PTR(all), GRPC_SLICE_LENGTH(all)));
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
}

static bool receive(struct canned *canned, grpc_call *call)
{
    grpc_byte_buffer *message = NULL;
    grpc_op op;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &message;
    assert_int_equal(grpc_call_start_batch(call, &op, 1, canned, NULL), GRPC_CALL_OK);
    if (!next_ok(canned) || message == NULL) {
        return false;
    }
    pthread_mutex_lock(&canned->shared.lock);
    keep_request(canned, message);
    pthread_mutex_unlock(&canned->shared.lock);
    grpc_byte_buffer_destroy(message);
    return true;
}

/* Waits until the client has given up. */
static void stay_silent(struct canned *canned, grpc_call *call)
{
    grpc_op op;
    int cancelled = 0;

    memset(&op, 0, sizeof(op));
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &cancelled;
    assert_int_equal(grpc_call_start_batch(call, &op, 1, canned, NULL), GRPC_CALL_OK);
    (void)next_ok(canned);
}

static void answer(struct canned *canned, grpc_call *call)
{
    grpc_op ops[4] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_CLOSE_ON_SERVER},
                      {.op = GRPC_OP_SEND_STATUS_FROM_SERVER},
                      {.op = GRPC_OP_SEND_MESSAGE}};
    grpc_slice text = grpc_slice_from_copied_string(canned->shared.text);
    grpc_slice body = grpc_slice_from_copied_buffer((const char *)canned->shared.answer.data,
                                                    canned->shared.answer.len);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&body, 1);
    bool good = canned->shared.code == GRPC_STATUS_OK;
    int cancelled = 0;

    ops[1].data.recv_close_on_server.cancelled = &cancelled;
    ops[2].data.send_status_from_server.status = canned->shared.code;
    ops[2].data.send_status_from_server.status_details = &text;
    ops[3].data.send_message.send_message = message;
    assert_int_equal(grpc_call_start_batch(call, ops, good ? 4 : 3, canned, NULL), GRPC_CALL_OK);
    (void)next_ok(canned);
    grpc_byte_buffer_destroy(message);
    grpc_slice_unref(body);
    grpc_slice_unref(text);
}

static void *canned_main(void *context)
{
    struct canned *canned = context;

    for (;;) {
        grpc_call *call = NULL;
        grpc_call_details details;
        grpc_metadata_array metadata;
        bool got;

        grpc_call_details_init(&details);
        grpc_metadata_array_init(&metadata);
        if (grpc_server_request_call(
                canned->server, &call, &details, &metadata, canned->queue, canned->queue, canned) !=
            GRPC_CALL_OK) {
            break;
        }
        got = next_ok(canned) && call != NULL;
        if (got) {
            char *method = grpc_slice_to_c_string(details.method);

            (void)snprintf(canned->shared.method, sizeof(canned->shared.method), "%s", method);
            gpr_free(method);
            if (receive(canned, call)) {
                (canned->shared.silent ? stay_silent : answer)(canned, call);
            }
            grpc_call_unref(call);
        }
        grpc_call_details_destroy(&details);
        grpc_metadata_array_destroy(&metadata);
        if (!got) {
            break;
        }
    }
    return NULL;
}

static struct canned *canned_start(void)
{
    struct canned *canned = fl_xcalloc(1, sizeof(*canned));
    grpc_server_credentials *credentials;
    int port;

    grpc_init();
    pthread_mutex_init(&canned->shared.lock, NULL);
    fl_writer_init(&canned->shared.request);
    fl_writer_init(&canned->shared.answer);
    canned->shared.text = "";
    canned->queue = grpc_completion_queue_create_for_next(NULL);
    canned->server = grpc_server_create(NULL, NULL);
    grpc_server_register_completion_queue(canned->server, canned->queue, NULL);
    credentials = grpc_insecure_server_credentials_create();
    port = grpc_server_add_http2_port(canned->server, "127.0.0.1:0", credentials);
    grpc_server_credentials_release(credentials);
    assert_int_not_equal(port, 0);
    (void)snprintf(canned->endpoint, sizeof(canned->endpoint), "127.0.0.1:%d", port);
    grpc_server_start(canned->server);
    assert_int_equal(pthread_create(&canned->thread, NULL, canned_main, canned), 0);
    return canned;
}

/* The queue reaches its end only when the server has told that it is down. */
static void canned_stop(struct canned *canned)
{
    grpc_server_shutdown_and_notify(canned->server, canned->queue, canned);
    pthread_join(canned->thread, NULL);
    grpc_completion_queue_shutdown(canned->queue);
    while (
        grpc_completion_queue_next(canned->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
        GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_server_destroy(canned->server);
    grpc_completion_queue_destroy(canned->queue);
    fl_writer_close(&canned->shared.request);
    fl_writer_close(&canned->shared.answer);
    pthread_mutex_destroy(&canned->shared.lock);
    free(canned);
    grpc_shutdown();
}

static void prepare(struct canned *canned, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);

    pthread_mutex_lock(&canned->shared.lock);
    canned->shared.code = GRPC_STATUS_OK;
    canned->shared.text = "";
    fl_writer_reset(&canned->shared.answer);
    protobuf_c_message_pack(message, fl_write_space(&canned->shared.answer, size));
    pthread_mutex_unlock(&canned->shared.lock);
}

static void prepare_status(struct canned *canned, grpc_status_code code, const char *text)
{
    pthread_mutex_lock(&canned->shared.lock);
    canned->shared.code = code;
    canned->shared.text = text;
    pthread_mutex_unlock(&canned->shared.lock);
}

/* --- tests -------------------------------------------------------------------------------------
 */

struct fixture {
    struct canned *canned;
    struct etcd_loop *loop;
    struct etcd_channel *channel;
};

static int setup(void **state)
{
    struct fixture *f = fl_xcalloc(1, sizeof(*f));

    f->canned = canned_start();
    f->loop = etcd_loop_create();
    f->channel = etcd_channel_create(f->loop, f->canned->endpoint);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    etcd_channel_destroy(f->channel);
    etcd_loop_destroy(f->loop);
    canned_stop(f->canned);
    free(f);
    return 0;
}

static struct fl_bytes text(const char *t)
{
    return fl_bytes_of_string(t);
}

static void assert_bytes(ProtobufCBinaryData got, const char *expected)
{
    assert_int_equal(got.len, strlen(expected));
    assert_memory_equal(got.data, expected, got.len);
}

static void test_put(void **state)
{
    struct fixture *f = *state;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__PutResponse response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    Etcdserverpb__PutRequest *request;
    struct etcd_reply reply;

    header.revision = 77;
    header.member_id = 5;
    header.raft_term = 3;
    response.header = &header;
    prepare(f->canned, &response.base);
    assert_int_equal(etcd_put_sync(f->channel, text("k"), text("v"), 5000, &reply), ETCD_OK);
    assert_int_equal(reply.revision, 77);
    assert_int_equal(reply.member_id, 5);
    assert_int_equal(reply.raft_term, 3);
    etcd_reply_close(&reply);
    assert_string_equal(f->canned->shared.method, "/etcdserverpb.KV/Put");
    request = etcdserverpb__put_request__unpack(
        NULL, f->canned->shared.request.len, f->canned->shared.request.data);
    assert_non_null(request);
    assert_bytes(request->key, "k");
    assert_bytes(request->value, "v");
    etcdserverpb__put_request__free_unpacked(request, NULL);
}

static void test_range(void **state)
{
    struct fixture *f = *state;
    Etcdserverpb__RangeResponse response = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    Mvccpb__KeyValue *kvs[] = {&kv};
    struct etcd_range range = {.key = text("a"), .range_end = text("b"), .limit = 9};
    Etcdserverpb__RangeRequest *request;
    struct etcd_reply reply;
    uint8_t key[] = "apple";
    uint8_t value[] = "red";

    kv.key = (ProtobufCBinaryData){5, key};
    kv.value = (ProtobufCBinaryData){3, value};
    kv.mod_revision = 12;
    response.kvs = kvs;
    response.n_kvs = 1;
    response.count = 4;
    response.more = true;
    prepare(f->canned, &response.base);
    range.serializable = true;
    range.revision = 3;
    assert_int_equal(etcd_range_sync(f->channel, &range, 5000, &reply), ETCD_OK);
    assert_int_equal(reply.kv_count, 1);
    assert_true(fl_bytes_equal(reply.kvs[0].key, text("apple")));
    assert_true(fl_bytes_equal(reply.kvs[0].value, text("red")));
    assert_int_equal(reply.kvs[0].mod_revision, 12);
    assert_int_equal(reply.count, 4);
    assert_true(reply.more);
    etcd_reply_close(&reply);
    request = etcdserverpb__range_request__unpack(
        NULL, f->canned->shared.request.len, f->canned->shared.request.data);
    assert_non_null(request);
    assert_bytes(request->range_end, "b");
    assert_int_equal(request->limit, 9);
    assert_int_equal(request->revision, 3);
    assert_true(request->serializable);
    etcdserverpb__range_request__free_unpacked(request, NULL);
}

/* What each kind of compare and operation looks like on the wire. */
static void check_txn_request(const Etcdserverpb__TxnRequest *request)
{
    assert_non_null(request);
    assert_int_equal(request->n_compare, 4);
    assert_int_equal(request->compare[0]->target, ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE);
    assert_int_equal(request->compare[0]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL);
    assert_bytes(request->compare[0]->value, "v");
    assert_int_equal(request->compare[1]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL);
    assert_int_equal(request->compare[2]->target, ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION);
    assert_int_equal(request->compare[2]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL);
    assert_int_equal(request->compare[2]->target_union_case,
                     ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION);
    assert_int_equal(request->compare[3]->result, ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL);
    assert_int_equal(request->n_success, 1);
    assert_bytes(request->success[0]->request_put->value, "p");
    assert_int_equal(request->n_failure, 2);
    assert_bytes(request->failure[0]->request_range->key, "g");
    assert_bytes(request->failure[1]->request_delete_range->range_end, "e");
}

static void test_txn(void **state)
{
    struct fixture *f = *state;
    Etcdserverpb__TxnResponse response = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__ResponseOp op = ETCDSERVERPB__RESPONSE_OP__INIT;
    Etcdserverpb__DeleteRangeResponse deleted = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    Etcdserverpb__ResponseOp *ops[] = {&op};
    struct etcd_compare compares[] = {{ETCD_VALUE_EQUAL, text("k"), text("v")},
                                      {ETCD_VALUE_NOT_EQUAL, text("k"), text("w")},
                                      {ETCD_ABSENT, text("k"), {NULL, 0}},
                                      {ETCD_EXISTS, text("k"), {NULL, 0}}};
    struct etcd_op yes[] = {{ETCD_OP_PUT, text("k"), {NULL, 0}, text("p")}};
    struct etcd_op no[] = {{ETCD_OP_GET, text("g"), {NULL, 0}, {NULL, 0}},
                           {ETCD_OP_DELETE, text("d"), text("e"), {NULL, 0}}};
    struct etcd_txn txn = {compares, 4, yes, 1, no, 2};
    Etcdserverpb__TxnRequest *request;
    struct etcd_reply reply;

    deleted.deleted = 2;
    op.response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
    op.response_delete_range = &deleted;
    response.succeeded = true;
    response.responses = ops;
    response.n_responses = 1;
    prepare(f->canned, &response.base);
    assert_int_equal(etcd_txn_sync(f->channel, &txn, 5000, &reply), ETCD_OK);
    assert_true(reply.succeeded);
    assert_int_equal(reply.op_count, 1);
    assert_int_equal(reply.ops[0].deleted, 2);
    etcd_reply_close(&reply);
    request = etcdserverpb__txn_request__unpack(
        NULL, f->canned->shared.request.len, f->canned->shared.request.data);
    check_txn_request(request);
    etcdserverpb__txn_request__free_unpacked(request, NULL);
}

/* Many calls in flight on one loop: each gets its own answer, exactly once. */
static void count_answer(void *context, const struct etcd_answer *got)
{
    assert_int_equal(got->outcome, ETCD_OK);
    ++*(size_t *)context;
}

static void test_many_in_flight(void **state)
{
    enum { CALLS = 300 };
    struct fixture *f = *state;
    Etcdserverpb__PutResponse response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    size_t answers[CALLS] = {0};

    prepare(f->canned, &response.base);
    for (size_t i = 0; i < CALLS; i++) {
        etcd_put(f->channel, text("k"), text("v"), 20000, count_answer, &answers[i]);
    }
    assert_int_equal(etcd_loop_in_flight(f->loop), CALLS);
    while (etcd_loop_in_flight(f->loop) != 0) {
        (void)etcd_loop_poll(f->loop, 1000);
    }
    for (size_t i = 0; i < CALLS; i++) {
        assert_int_equal(answers[i], 1);
    }
}

static void test_statuses(void **state)
{
    static const struct {
        const char *text;
        grpc_status_code code;
        enum etcd_outcome outcome;
    } cases[] = {
        {"etcdserver: key is not provided", GRPC_STATUS_INVALID_ARGUMENT, ETCD_FAILED},
        {"etcdserver: mvcc: required revision", GRPC_STATUS_OUT_OF_RANGE, ETCD_FAILED},
        {"flotilla: different ranges", GRPC_STATUS_FAILED_PRECONDITION, ETCD_FAILED},
        {"etcdserver: too many requests", GRPC_STATUS_RESOURCE_EXHAUSTED, ETCD_FAILED},
        {"something else", GRPC_STATUS_RESOURCE_EXHAUSTED, ETCD_UNKNOWN},
        {"etcdserver: no leader", GRPC_STATUS_UNAVAILABLE, ETCD_FAILED},
        {"etcdserver: leader changed", GRPC_STATUS_UNAVAILABLE, ETCD_UNKNOWN},
        {"etcdserver: request timed out", GRPC_STATUS_UNAVAILABLE, ETCD_UNKNOWN},
        {"", GRPC_STATUS_UNAVAILABLE, ETCD_UNKNOWN},
        {"", GRPC_STATUS_DEADLINE_EXCEEDED, ETCD_UNKNOWN},
        {"", GRPC_STATUS_CANCELLED, ETCD_UNKNOWN},
        {"", GRPC_STATUS_INTERNAL, ETCD_UNKNOWN},
        {"", GRPC_STATUS_UNKNOWN, ETCD_UNKNOWN},
        {"", GRPC_STATUS_ABORTED, ETCD_UNKNOWN},
        {"etcdserver: corrupt cluster", GRPC_STATUS_DATA_LOSS, ETCD_UNKNOWN},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct etcd_reply reply;

        prepare_status(f->canned, cases[i].code, cases[i].text);
        assert_int_equal(etcd_put_sync(f->channel, text("k"), text("v"), 5000, &reply),
                         cases[i].outcome);
        assert_int_equal(reply.code, cases[i].code);
        assert_string_equal(reply.text, cases[i].text);
        etcd_reply_close(&reply);
    }
}

static void test_answer_that_is_no_message(void **state)
{
    struct fixture *f = *state;
    struct etcd_reply reply;

    fl_writer_reset(&f->canned->shared.answer);
    fl_write_raw(&f->canned->shared.answer, text("\x0a\x7f"));
    assert_int_equal(etcd_put_sync(f->channel, text("k"), text("v"), 5000, &reply), ETCD_UNKNOWN);
    etcd_reply_close(&reply);
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    struct etcd_reply reply;

    f->canned->shared.silent = true;
    assert_int_equal(etcd_put_sync(f->channel, text("k"), text("v"), 300, &reply), ETCD_UNKNOWN);
    assert_int_equal(reply.code, GRPC_STATUS_DEADLINE_EXCEEDED);
    etcd_reply_close(&reply);
}

/* A port that is taken and does not listen: the call is certainly never sent. */
static void test_unreachable(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct etcd_loop *loop = etcd_loop_create();
    struct etcd_channel *channel;
    struct etcd_reply reply;
    char endpoint[32];

    (void)state;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(endpoint, sizeof(endpoint), "127.0.0.1:%d", ntohs(address.sin_port));
    channel = etcd_channel_create(loop, endpoint);
    assert_int_equal(etcd_put_sync(channel, text("k"), text("v"), 5000, &reply), ETCD_FAILED);
    etcd_reply_close(&reply);
    etcd_channel_destroy(channel);
    etcd_loop_destroy(loop);
    close(fd);
}

static void test_prefix_end(void **state)
{
    uint8_t out[8];

    (void)state;
    assert_true(fl_bytes_equal(etcd_prefix_end(text("pkg/"), out), text("pkg0")));
    assert_true(fl_bytes_equal(etcd_prefix_end(text("a\xff\xff"), out), text("b")));
    assert_true(fl_bytes_equal(etcd_prefix_end(text("\xff"), out), fl_bytes("\0", 1)));
    assert_true(fl_bytes_equal(etcd_prefix_end(text(""), out), fl_bytes("\0", 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put, setup, teardown),
        cmocka_unit_test_setup_teardown(test_range, setup, teardown),
        cmocka_unit_test_setup_teardown(test_txn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_in_flight, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer_that_is_no_message, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_prefix_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
