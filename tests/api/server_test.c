/* Goal: the gRPC door answers as etcd's would, to good requests, bad ones and hostile ones, and
 * stops cleanly whatever is in flight.
 * Method: the real server over a node in memory; real connections on loopback. */
#include "api/proto/flotilla.pb-c.h"
#include "api/proto/health.pb-c.h"
#include "api/proto/rpc.pb-c.h"
#include "api/server.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/limits.h"
#include "tests/api/fake_node.h"
#include "tests/api/raw_call.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define TIMEOUT_MS 10000

static struct node *node;
static struct api_server *server;
static struct node_options options;
static char address[64];

/* --- the door under test -------------------------------------------------------------------- */

/* A port that was free a moment ago, below those that the kernel gives to whoever dials. */
static unsigned free_port(void)
{
    for (unsigned port = 32000 + (unsigned)getpid() % 700;; port++) {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int status;

        assert_true(fd >= 0);
        status = bind(fd, (struct sockaddr *)&at, sizeof at);
        (void)close(fd);
        if (status == 0) {
            return port;
        }
    }
}

static void parse_options(unsigned port)
{
    static char program[] = "test";
    static char flag[] = "--listen-client-urls";
    static char threads[] = "--client-threads=2";
    char url[128];
    char why[256];
    char *argv[] = {program, flag, url, threads};

    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    (void)snprintf(url, sizeof url, "http://%s", address);
    if (node_options_parse(&options, 4, argv, NULL, why, sizeof why) != NODE_OPTIONS_RUN) {
        fail_msg("%s", why);
    }
}

static int start(void **state)
{
    char why[256];

    (void)state;
    parse_options(free_port());
    assert_int_equal(node_open(&node, &options, why, sizeof why), FL_OK);
    assert_int_equal(api_server_create(&server, node, &options, why, sizeof why), FL_OK);
    api_server_start(server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    node_close(node); /* after the tests that stop the server, before its end */
    api_server_destroy(server);
    node_options_close(&options);
    return 0;
}

/* --- calls ---------------------------------------------------------------------------------- */

/* Sends a message and unpacks the reply, which must come. */
static void *
ask(const char *path, const ProtobufCMessage *request, const ProtobufCMessageDescriptor *reply)
{
    size_t len = protobuf_c_message_get_packed_size(request);
    uint8_t *wire = malloc(len + 1);
    struct raw_answer answer;
    ProtobufCMessage *message;

    (void)protobuf_c_message_pack(request, wire);
    raw_call(address, path, fl_bytes(wire, len), TIMEOUT_MS, &answer);
    free(wire);
    if (answer.code != 0) {
        fail_msg("%s: %d %s", path, answer.code, answer.text);
    }
    message = protobuf_c_message_unpack(reply, NULL, answer.body.len, answer.body.data);
    fl_writer_close(&answer.body);
    assert_non_null(message);
    return message;
}

static void drop(void *message)
{
    protobuf_c_message_free_unpacked(message, NULL);
}

/* Sends bytes and expects a refusal in these words. */
static void refused(const char *path, struct fl_bytes wire, int code, const char *text)
{
    struct raw_answer answer;

    raw_call(address, path, wire, TIMEOUT_MS, &answer);
    if (answer.code != code || strcmp(answer.text, text) != 0) {
        fail_msg("%s: got %d '%s', want %d '%s'", path, answer.code, answer.text, code, text);
    }
    fl_writer_close(&answer.body);
}

static void
refused_message(const char *path, const ProtobufCMessage *request, int code, const char *text)
{
    size_t len = protobuf_c_message_get_packed_size(request);
    uint8_t *wire = malloc(len + 1);

    (void)protobuf_c_message_pack(request, wire);
    refused(path, fl_bytes(wire, len), code, text);
    free(wire);
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

#define PUT   "/etcdserverpb.KV/Put"
#define RANGE "/etcdserverpb.KV/Range"
#define DEL   "/etcdserverpb.KV/DeleteRange"
#define TXN   "/etcdserverpb.KV/Txn"

static int64_t put(const char *key, const char *value)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__PutResponse *reply;
    int64_t revision;

    m.key = binary(key);
    m.value = binary(value);
    reply = ask(PUT, &m.base, &etcdserverpb__put_response__descriptor);
    revision = reply->header->revision;
    assert_int_equal(reply->header->cluster_id, FAKE_CLUSTER_ID);
    assert_int_equal(reply->header->member_id, FAKE_NODE_ID);
    assert_int_equal(reply->header->raft_term, FAKE_TERM);
    drop(reply);
    return revision;
}

/* --- key-value ------------------------------------------------------------------------------ */

static void put_range_delete(void **state)
{
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest del = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *ranged;
    Etcdserverpb__DeleteRangeResponse *deleted;
    int64_t first = put("k1", "v1");

    (void)state;
    assert_int_equal(put("k2", "v2"), first + 1);
    range.key = binary("k");
    range.range_end = binary("l");
    ranged = ask(RANGE, &range.base, &etcdserverpb__range_response__descriptor);
    assert_int_equal(ranged->n_kvs, 2);
    assert_int_equal(ranged->count, 2);
    assert_memory_equal(ranged->kvs[1]->value.data, "v2", 2);
    assert_int_equal(ranged->kvs[0]->mod_revision, first);
    assert_int_equal(ranged->header->revision, first + 1);
    drop(ranged);
    del.key = binary("k");
    del.range_end = binary("l");
    del.prev_kv = 1;
    deleted = ask(DEL, &del.base, &etcdserverpb__delete_range_response__descriptor);
    assert_int_equal(deleted->deleted, 2);
    assert_int_equal(deleted->n_prev_kvs, 2);
    assert_int_equal(deleted->header->revision, first + 2);
    drop(deleted);
    ranged = ask(RANGE, &range.base, &etcdserverpb__range_response__descriptor);
    assert_int_equal(ranged->count, 0);
    drop(ranged);
}

static void a_value_of_a_megabyte_travels(void **state)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *ranged;
    size_t len = 1400 * 1024;
    uint8_t *value = fl_xmalloc(len);

    (void)state;
    for (size_t i = 0; i < len; i++) {
        value[i] = (uint8_t)(i * 7 + i / 251);
    }
    m.key = range.key = binary("big");
    m.value = (ProtobufCBinaryData){.len = len, .data = value};
    drop(ask(PUT, &m.base, &etcdserverpb__put_response__descriptor));
    ranged = ask(RANGE, &range.base, &etcdserverpb__range_response__descriptor);
    assert_int_equal(ranged->kvs[0]->value.len, len);
    assert_memory_equal(ranged->kvs[0]->value.data, value, len);
    drop(ranged);
    free(value);
}

static void a_txn_compares_and_writes(void **state)
{
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare c = ETCDSERVERPB__COMPARE__INIT;
    Etcdserverpb__Compare *compares[] = {&c};
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    Etcdserverpb__RequestOp *ops[] = {&op};
    Etcdserverpb__TxnResponse *reply;
    int64_t before = put("t", "1");

    (void)state;
    c.key = p.key = binary("t");
    c.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
    c.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
    c.value = binary("1");
    p.value = binary("2");
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &p;
    m.compare = compares;
    m.n_compare = 1;
    m.success = ops;
    m.n_success = 1;
    reply = ask(TXN, &m.base, &etcdserverpb__txn_response__descriptor);
    assert_true(reply->succeeded);
    assert_int_equal(reply->header->revision, before + 1);
    assert_int_equal(reply->responses[0]->response_put->header->revision, before + 1);
    drop(reply);
    reply = ask(TXN, &m.base, &etcdserverpb__txn_response__descriptor);
    assert_false(reply->succeeded);
    assert_int_equal(reply->n_responses, 0);
    assert_int_equal(reply->header->revision, before + 1);
    drop(reply);
}

static void compaction_answers_as_etcd(void **state)
{
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    Etcdserverpb__CompactionResponse *reply;
    const char *path = "/etcdserverpb.KV/Compact";

    (void)state;
    m.revision = put("c", "1");
    reply = ask(path, &m.base, &etcdserverpb__compaction_response__descriptor);
    assert_int_equal(reply->header->revision, m.revision);
    drop(reply);
    refused_message(path, &m.base, 11, "etcdserver: mvcc: required revision has been compacted");
    m.revision = -1;
    refused_message(path, &m.base, 11, "etcdserver: mvcc: required revision has been compacted");
    m.revision = 1 << 30;
    refused_message(path, &m.base, 11, "etcdserver: mvcc: required revision is a future revision");
}

/* --- bad requests --------------------------------------------------------------------------- */

static void bad_arguments_get_etcds_words(void **state)
{
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__RangeRequest r = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest d = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;

    (void)state;
    refused_message(PUT, &p.base, 3, "etcdserver: key is not provided");
    refused_message(RANGE, &r.base, 3, "etcdserver: key is not provided");
    refused_message(DEL, &d.base, 3, "etcdserver: key is not provided");
    p.key = r.key = binary("k");
    p.value = binary("v");
    p.ignore_value = 1;
    refused_message(PUT, &p.base, 3, "etcdserver: value is provided");
    p.ignore_value = 0;
    p.lease = 5;
    refused_message(PUT, &p.base, 5, "etcdserver: requested lease not found");
    p.ignore_lease = 1;
    refused_message(PUT, &p.base, 3, "etcdserver: lease is provided");
    p.lease = 0;
    p.key = binary("missing");
    refused_message(PUT, &p.base, 3, "etcdserver: key not found");
    r.sort_order = (Etcdserverpb__RangeRequest__SortOrder)9;
    refused_message(RANGE, &r.base, 3, "etcdserver: invalid sort option");
    r.sort_order = 0;
    r.revision = 1 << 30;
    refused_message(RANGE, &r.base, 11, "etcdserver: mvcc: required revision is a future revision");
}

/* Above etcd's limit on requests our text, above the limit on messages gRPC's. */
static void large_requests_are_refused(void **state)
{
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    uint64_t before = fake_node_submitted(node);
    struct raw_answer answer;
    uint8_t *bytes = fl_xcalloc(1, 3 * 1024 * 1024);

    (void)state;
    p.key = binary("k");
    p.value = (ProtobufCBinaryData){.len = 1600 * 1024, .data = bytes};
    refused_message(PUT, &p.base, 3, "etcdserver: request is too large");
    p.value.len = FL_REQUEST_BYTES_MAX;
    refused_message(PUT, &p.base, 3, "etcdserver: request is too large");
    p.key = (ProtobufCBinaryData){.len = FL_KEY_BYTES_MAX + 1, .data = bytes};
    p.value.len = 1;
    refused_message(PUT, &p.base, 3, "etcdserver: request is too large");
    raw_call(address, PUT, fl_bytes(bytes, 3 * 1024 * 1024), TIMEOUT_MS, &answer);
    assert_int_equal(answer.code, 8); /* RESOURCE_EXHAUSTED */
    assert_non_null(strstr(answer.text, "larger than max"));
    fl_writer_close(&answer.body);
    free(bytes);
    assert_int_equal(fake_node_submitted(node), before); /* the node never saw them */
}

static void garbage_is_an_internal_error(void **state)
{
    static const char text[] = "grpc: error unmarshalling request";
    static const struct {
        const char *path;
        const char *wire;
    } cases[] = {
        {PUT, "\x0a\x7f"},
        {PUT, "\xff\xff\xff\xff"},
        {RANGE, "\x0b"},
        {DEL, "\x0a"},
        {TXN, "\x12\x05\x12\x03"},
        {TXN, "not protobuf at all"},
        {"/etcdserverpb.KV/Compact", "\x08"},
        {"/etcdserverpb.Maintenance/Status", "\x07"},
        {"/etcdserverpb.Cluster/MemberList", "\x0f"},
        {"/flotilla.v1.Admin/Ranges", "\x08\x80"},
        {"/grpc.health.v1.Health/Check", "\x0a\x05"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        refused(cases[i].path, fl_bytes_of_string(cases[i].wire), 13, text);
    }
}

static void deep_txns_are_refused(void **state)
{
    struct fl_writer w;

    (void)state;
    fl_writer_init(&w);
    for (unsigned i = 0; i < 5000; i++) { /* TxnRequest.success and RequestOp.request_txn in turn */
        struct fl_writer outer;

        fl_writer_init(&outer);
        fl_write_u8(&outer, i % 2 == 0 ? 0x22 : 0x12);
        fl_write_bytes(&outer, fl_writer_bytes(&w));
        fl_writer_close(&w);
        w = outer;
    }
    refused(TXN, fl_writer_bytes(&w), 3, "flotilla: transactions are nested too deeply");
    fl_writer_close(&w);
}

static void operations_of_a_txn_are_bounded(void **state)
{
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__PutRequest puts[FL_TXN_OPS_MAX + 1];
    Etcdserverpb__RequestOp ops[FL_TXN_OPS_MAX + 1];
    Etcdserverpb__RequestOp *list[FL_TXN_OPS_MAX + 1];
    char keys[FL_TXN_OPS_MAX + 1][8];

    (void)state;
    for (unsigned i = 0; i <= FL_TXN_OPS_MAX; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "o%u", i % 1000);
        etcdserverpb__put_request__init(&puts[i]);
        etcdserverpb__request_op__init(&ops[i]);
        puts[i].key = binary(keys[i]);
        ops[i].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        ops[i].request_put = &puts[i];
        list[i] = &ops[i];
    }
    m.success = list;
    m.n_success = FL_TXN_OPS_MAX + 1;
    refused_message(TXN, &m.base, 3, "etcdserver: too many operations in txn request");
    m.n_success = FL_TXN_OPS_MAX;
    drop(ask(TXN, &m.base, &etcdserverpb__txn_response__descriptor));
    puts[1].key = puts[0].key;
    refused_message(TXN, &m.base, 3, "etcdserver: duplicate key given in txn request");
}

static void unknown_methods_are_named(void **state)
{
    (void)state;
    refused(
        "/etcdserverpb.Watch/Watch", fl_bytes(NULL, 0), 12, "unknown service etcdserverpb.Watch");
    refused("/etcdserverpb.KV/Frobnicate",
            fl_bytes(NULL, 0),
            12,
            "unknown method Frobnicate for service etcdserverpb.KV");
    refused("/nothing", fl_bytes(NULL, 0), 12, "malformed method name: \"/nothing\"");
}

/* What the node says reaches the client in etcd's words, for every kind of request. */
static void the_nodes_refusals_arrive(void **state)
{
    static const char wire[] = "\x0a\x01k"; /* key "k", alike in Put, Range and DeleteRange */
    static const char *const paths[] = {PUT, RANGE, DEL};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        fake_node_fail(node, FL_NO_LEADER, 1);
        refused(paths[i], fl_bytes(wire, 3), 14, "etcdserver: no leader");
        fake_node_fail(node, FL_LEADER_FAILED, 1);
        refused(paths[i],
                fl_bytes(wire, 3),
                14,
                "etcdserver: request timed out, possibly due to previous leader failure");
    }
    fake_node_fail(node, FL_CROSS_RANGE, 1);
    refused(TXN,
            fl_bytes(NULL, 0),
            9,
            "flotilla: the keys of this transaction lie in different ranges; a transaction must "
            "stay inside one range");
}

/* --- members, status, health, admin --------------------------------------------------------- */

static void members_are_nodes(void **state)
{
    Etcdserverpb__MemberListRequest m = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    Etcdserverpb__MemberListResponse *reply = ask("/etcdserverpb.Cluster/MemberList",
                                                  &m.base,
                                                  &etcdserverpb__member_list_response__descriptor);

    (void)state;
    assert_int_equal(reply->n_members, 3);
    assert_int_equal(reply->members[0]->id, FAKE_NODE_ID);
    assert_string_equal(reply->members[2]->name, "n3");
    assert_int_equal(reply->members[0]->n_peerurls, 1);
    assert_string_equal(reply->members[0]->clienturls[0],
                        options.advertise_client_urls.urls[0].text);
    drop(reply);
}

static void status_tells_of_trouble(void **state)
{
    Etcdserverpb__StatusRequest m = ETCDSERVERPB__STATUS_REQUEST__INIT;
    const char *path = "/etcdserverpb.Maintenance/Status";
    Etcdserverpb__StatusResponse *reply =
        ask(path, &m.base, &etcdserverpb__status_response__descriptor);

    (void)state;
    assert_string_equal(reply->version, NODE_ETCD_VERSION);
    assert_int_equal(reply->leader, FAKE_NODE_ID);
    assert_int_equal(reply->raftterm, FAKE_TERM);
    assert_int_equal(reply->raftindex, 101); /* the first range's, not the placement group's */
    assert_int_equal(reply->n_errors, 0);
    assert_true(reply->dbsize > 0);
    drop(reply);
    fake_node_publish(node, 3, 8, false);
    reply = ask(path, &m.base, &etcdserverpb__status_response__descriptor);
    assert_int_equal(reply->leader, 0);
    assert_int_equal(reply->n_errors, 1);
    assert_string_equal(reply->errors[0], "etcdserver: no leader");
    drop(reply);
    fake_node_publish(node, 3, 8, true);
}

/* With `hasleader: true` a member without a leader refuses at once; without it the node decides. */
static void a_required_leader_is_required(void **state)
{
    static const char wire[] = "\x0a\x01k";

    (void)state;
    raw_call_metadata[0] = "hasleader";
    raw_call_metadata[1] = "true";
    (void)put("k", "1");
    fake_node_publish(node, 3, 8, false);
    refused(PUT, fl_bytes(wire, 3), 14, "etcdserver: no leader");
    raw_call_metadata[1] = "false";
    (void)put("k", "2");
    raw_call_metadata[0] = NULL;
    (void)put("k", "3");
    fake_node_publish(node, 3, 8, true);
}

static void hash_and_alarms(void **state)
{
    Etcdserverpb__HashKVRequest h = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    Etcdserverpb__AlarmRequest a = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__HashKVResponse *hash;
    Etcdserverpb__AlarmResponse *alarms;
    uint32_t before;

    (void)state;
    (void)put("h", "1");
    hash = ask(
        "/etcdserverpb.Maintenance/HashKV", &h.base, &etcdserverpb__hash_kvresponse__descriptor);
    before = hash->hash;
    assert_int_equal(hash->hash_revision, hash->header->revision);
    drop(hash);
    (void)put("h", "2");
    hash = ask(
        "/etcdserverpb.Maintenance/HashKV", &h.base, &etcdserverpb__hash_kvresponse__descriptor);
    assert_true(hash->hash != before);
    drop(hash);
    alarms =
        ask("/etcdserverpb.Maintenance/Alarm", &a.base, &etcdserverpb__alarm_response__descriptor);
    assert_int_equal(alarms->n_alarms, 0);
    drop(alarms);
    a.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    refused_message("/etcdserverpb.Maintenance/Alarm",
                    &a.base,
                    12,
                    "flotilla: alarms cannot be raised by hand");
}

static int health_of(const char *service)
{
    Grpc__Health__V1__HealthCheckRequest m;
    Grpc__Health__V1__HealthCheckResponse *reply;
    int status;

    grpc__health__v1__health_check_request__init(&m);
    m.service = (char *)(uintptr_t)service;
    reply = ask("/grpc.health.v1.Health/Check",
                &m.base,
                &grpc__health__v1__health_check_response__descriptor);
    status = (int)reply->status;
    drop(reply);
    return status;
}

static void health_follows_readiness(void **state)
{
    Grpc__Health__V1__HealthCheckRequest m;
    Grpc__Health__V1__HealthListRequest l = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    Grpc__Health__V1__HealthListResponse *list;
    static char unknown[] = "no.such.Service";

    (void)state;
    assert_int_equal(health_of(""), 1);
    assert_int_equal(health_of("etcdserverpb.KV"), 1);
    fake_node_publish(node, 3, 8, false);
    assert_int_equal(health_of(""), 2);
    assert_int_equal(health_of("etcdserverpb.KV"), 2);
    assert_int_equal(health_of("etcdserverpb.Maintenance"), 1);
    fake_node_publish(node, 3, 8, true);
    grpc__health__v1__health_check_request__init(&m);
    m.service = unknown;
    refused_message("/grpc.health.v1.Health/Check", &m.base, 5, "unknown service");
    list = ask("/grpc.health.v1.Health/List",
               &l.base,
               &grpc__health__v1__health_list_response__descriptor);
    assert_int_equal(list->n_statuses, 6);
    assert_string_equal(list->statuses[0]->key, "");
    drop(list);
}

static void admin_shows_nodes_and_ranges(void **state)
{
    Flotilla__V1__NodesRequest n = FLOTILLA__V1__NODES_REQUEST__INIT;
    Flotilla__V1__StatusRequest s = FLOTILLA__V1__STATUS_REQUEST__INIT;
    Flotilla__V1__RangesRequest r = FLOTILLA__V1__RANGES_REQUEST__INIT;
    Flotilla__V1__NodesResponse *nodes;
    Flotilla__V1__StatusResponse *status;
    Flotilla__V1__RangesResponse *ranges;
    size_t seen = 0;

    (void)state;
    nodes = ask("/flotilla.v1.Admin/Nodes", &n.base, &flotilla__v1__nodes_response__descriptor);
    assert_int_equal(nodes->n_nodes, 3);
    assert_string_equal(nodes->nodes[1]->locality, "dc=d2");
    drop(nodes);
    status = ask("/flotilla.v1.Admin/Status", &s.base, &flotilla__v1__status_response__descriptor);
    assert_int_equal(status->replicas, 9);
    assert_int_equal(status->leaders, 3);
    assert_int_equal(status->lag_entries_max, 6);
    assert_int_equal(status->lag_group, 7);
    assert_string_equal(status->name, "n1");
    drop(status);
    r.limit = 2; /* pages of two */
    do {
        ranges =
            ask("/flotilla.v1.Admin/Ranges", &r.base, &flotilla__v1__ranges_response__descriptor);
        for (size_t i = 0; i < ranges->n_ranges; i++) {
            assert_int_equal(ranges->ranges[i]->group_id, ++seen);
            assert_int_equal(ranges->ranges[i]->n_replica_nodes, 3);
            r.after_group = ranges->ranges[i]->group_id;
        }
        if (!ranges->more) {
            drop(ranges);
            break;
        }
        drop(ranges);
    } while (seen < 100);
    assert_int_equal(seen, 9);
}

/* --- many calls, deadlines, the end --------------------------------------------------------- */

#define CLIENTS 8
#define PUTS    50

static void *put_many(void *context)
{
    static const char wire[] = "\x0a\x01m\x12\x01v";
    size_t failures = 0;

    (void)context;
    for (int i = 0; i < PUTS; i++) {
        struct raw_answer answer;

        raw_call(address, PUT, fl_bytes(wire, 6), TIMEOUT_MS, &answer);
        failures += answer.code != 0;
        fl_writer_close(&answer.body);
    }
    return (void *)failures;
}

/* Every write gets its own revision, whatever thread and poller it comes through. */
static void many_clients_at_once(void **state)
{
    pthread_t threads[CLIENTS];
    int64_t before = put("m", "0");

    (void)state;
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, put_many, NULL), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        void *failures;

        assert_int_equal(pthread_join(threads[i], &failures), 0);
        assert_null(failures);
    }
    assert_int_equal(put("m", "1"), before + CLIENTS * PUTS + 1);
}

static void a_client_may_give_up_first(void **state)
{
    static const char wire[] = "\x0a\x01k";
    struct raw_answer answer;

    (void)state;
    fake_node_hold(node, true);
    raw_call(address, PUT, fl_bytes(wire, 3), 100, &answer);
    assert_int_equal(answer.code, 4); /* DEADLINE_EXCEEDED */
    fl_writer_close(&answer.body);
    fake_node_hold(node, false);
    (void)put("k", "still served");
}

static void *put_once(void *context)
{
    static const char wire[] = "\x0a\x01s";

    raw_call(address, PUT, fl_bytes(wire, 3), TIMEOUT_MS, context);
    return NULL;
}

/* Lets the node answer when the client has been told the end already. */
static void *release_after_client(void *context)
{
    (void)pthread_join(*(pthread_t *)context, NULL);
    fake_node_hold(node, false);
    return NULL;
}

/* The node still holds a request when the server stops: the grace ends, the client is cut off, and
 * the answer that comes too late meets no freed memory. */
static void stopping_with_a_request_in_the_node(void **state)
{
    uint64_t before = fake_node_submitted(node);
    struct raw_answer answer;
    pthread_t client;
    pthread_t releaser;

    (void)state;
    fake_node_hold(node, true);
    assert_int_equal(pthread_create(&client, NULL, put_once, &answer), 0);
    while (fake_node_submitted(node) == before) {
        (void)sched_yield();
    }
    assert_int_equal(pthread_create(&releaser, NULL, release_after_client, &client), 0);
    api_server_stop(server, 50);
    assert_int_equal(pthread_join(releaser, NULL), 0);
    if (answer.code != 1 && answer.code != 14) { /* CANCELLED, UNAVAILABLE: perhaps applied */
        fail_msg("%d %s", answer.code, answer.text);
    }
    fl_writer_close(&answer.body);
}

/* A second door cannot take the port of the first, and says so; nothing is left of it. */
static void a_port_in_use_is_refused(void **state)
{
    struct api_server *first;
    struct api_server *second;
    char why[256];

    (void)state;
    node_options_close(&options);
    parse_options(free_port());
    assert_int_equal(api_server_create(&first, node, &options, why, sizeof why), FL_OK);
    assert_int_equal(api_server_create(&second, node, &options, why, sizeof why), FL_REFUSED);
    assert_non_null(strstr(why, "is in use by another process"));
    assert_non_null(strstr(why, "--listen-client-urls"));
    api_server_stop(first, 0); /* never started: also a way to go */
    api_server_destroy(first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_range_delete),
        cmocka_unit_test(a_value_of_a_megabyte_travels),
        cmocka_unit_test(a_txn_compares_and_writes),
        cmocka_unit_test(compaction_answers_as_etcd),
        cmocka_unit_test(bad_arguments_get_etcds_words),
        cmocka_unit_test(large_requests_are_refused),
        cmocka_unit_test(garbage_is_an_internal_error),
        cmocka_unit_test(deep_txns_are_refused),
        cmocka_unit_test(operations_of_a_txn_are_bounded),
        cmocka_unit_test(unknown_methods_are_named),
        cmocka_unit_test(the_nodes_refusals_arrive),
        cmocka_unit_test(members_are_nodes),
        cmocka_unit_test(status_tells_of_trouble),
        cmocka_unit_test(a_required_leader_is_required),
        cmocka_unit_test(hash_and_alarms),
        cmocka_unit_test(health_follows_readiness),
        cmocka_unit_test(admin_shows_nodes_and_ranges),
        cmocka_unit_test(many_clients_at_once),
        cmocka_unit_test(a_client_may_give_up_first),
        cmocka_unit_test(stopping_with_a_request_in_the_node), /* from here on without a server */
        cmocka_unit_test(a_port_in_use_is_refused),
    };
    int failed;

    grpc_init(); /* the client of this test outlives the server */
    failed = cmocka_run_group_tests(tests, start, stop);
    grpc_shutdown_blocking();
    return failed;
}
