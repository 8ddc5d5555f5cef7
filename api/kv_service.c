/* etcdserverpb.KV: checks in etcd's order and words, then one request to the node each. */
#include "api/convert.h"
#include "api/header.h"
#include "api/services.h"
#include "raftgroup/base/limits.h"

/* --- latencies ------------------------------------------------------------------------------ */

#define LATENCY(variable, method)                                                                  \
    static _Atomic uint64_t variable##_counts[FL_METRIC_BUCKETS + 1];                              \
    static struct fl_metric variable = FL_HISTOGRAM("flotilla_request_seconds",                    \
                                                    "Time from the arrival of a request to the "   \
                                                    "start of its reply.",                         \
                                                    "method=\"" method "\"",                       \
                                                    1e-9,                                          \
                                                    variable##_counts)

LATENCY(range_latency, "Range");
LATENCY(put_latency, "Put");
LATENCY(delete_latency, "DeleteRange");
LATENCY(txn_latency, "Txn");

/* --- writes --------------------------------------------------------------------------------- */

/* Sends an encoded command on its way; takes `command`. */
static void submit_write(struct api_call *call, struct fl_buf *command, api_answered_fn *answered)
{
    struct node_request *request = &call->node_request;
    enum fl_status status = shard_command_span(fl_buf_bytes(command), &request->key, &request->end);

    if (status != FL_OK) {
        fl_buf_release(command);
        api_call_fail(call, status);
        return;
    }
    request->kind = NODE_REQUEST_WRITE;
    request->command = command;
    api_call_submit(call, answered);
}

/* etcd's limit is on the whole request; it comes after the checks of its content. */
static enum fl_status check_size(const struct api_call *call)
{
    return call->request.len > (size_t)FL_REQUEST_BYTES_MAX ? FL_TOO_LARGE : FL_OK;
}

/* The write was applied, but its result cannot be understood: the client must not believe that it
 * failed. */
static void fail_result(struct api_call *call)
{
    api_call_fail(call, FL_UNKNOWN);
}

static void put_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__PutResponse message = ETCDSERVERPB__PUT_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct shard_result result;

    if (shard_result_decode(fl_buf_bytes(reply->result), &result) != FL_OK ||
        api_put_to(&call->arena, &result, &message) != FL_OK) {
        fail_result(call);
        return;
    }
    message.header = api_header_fill(call, &header, reply);
    api_call_reply(call, &message.base);
}

static void put_handle(struct api_call *call)
{
    Etcdserverpb__PutRequest *message =
        api_call_unpack(call, &etcdserverpb__put_request__descriptor);
    struct fl_buf *command;
    struct shard_put put;
    enum fl_status status;

    if (message == NULL) {
        return;
    }
    api_put_from(message, &put);
    FL_TRY_OUT(shard_put_validate(&put));
    FL_TRY_OUT(check_size(call));
    FL_TRY_OUT(shard_command_put(&put, &command));
    submit_write(call, command, put_answered);
    return;
out:
    api_call_fail(call, status);
}

static void delete_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__DeleteRangeResponse message = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct shard_result result;

    if (shard_result_decode(fl_buf_bytes(reply->result), &result) != FL_OK ||
        api_delete_to(&call->arena, &result, &message) != FL_OK) {
        fail_result(call);
        return;
    }
    message.header = api_header_fill(call, &header, reply);
    api_call_reply(call, &message.base);
}

static void delete_handle(struct api_call *call)
{
    Etcdserverpb__DeleteRangeRequest *message =
        api_call_unpack(call, &etcdserverpb__delete_range_request__descriptor);
    struct fl_buf *command;
    struct shard_delete del;
    enum fl_status status;

    if (message == NULL) {
        return;
    }
    api_delete_from(message, &del);
    FL_TRY_OUT(shard_delete_validate(&del));
    FL_TRY_OUT(check_size(call));
    FL_TRY_OUT(shard_command_delete(&del, &command));
    submit_write(call, command, delete_answered);
    return;
out:
    api_call_fail(call, status);
}

static void txn_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__TxnResponse message = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct fl_bytes bytes = fl_buf_bytes(reply->result);
    struct shard_result result;

    if (shard_result_check(bytes) != FL_OK || shard_result_decode(bytes, &result) != FL_OK ||
        api_txn_to(&call->arena, &result, &message) != FL_OK) {
        fail_result(call);
        return;
    }
    message.header = api_header_fill(call, &header, reply);
    api_call_reply(call, &message.base);
}

static void txn_handle(struct api_call *call)
{
    Etcdserverpb__TxnRequest *message =
        api_call_unpack(call, &etcdserverpb__txn_request__descriptor);
    struct fl_buf *command;
    struct shard_txn txn;
    enum fl_status status;

    if (message == NULL) {
        return;
    }
    api_txn_from(&call->arena, message, &txn);
    FL_TRY_OUT(shard_txn_validate(&txn));
    FL_TRY_OUT(check_size(call));
    FL_TRY_OUT(shard_command_txn(&txn, &command));
    submit_write(call, command, txn_answered);
    return;
out:
    api_call_fail(call, status);
}

/* --- reads ---------------------------------------------------------------------------------- */

static void range_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__RangeResponse message = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    struct shard_result result;

    if (shard_result_decode(fl_buf_bytes(reply->result), &result) != FL_OK ||
        api_range_to(&call->arena, &result, &message) != FL_OK) {
        fail_result(call);
        return;
    }
    message.header = api_header_fill(call, &header, reply);
    api_call_reply(call, &message.base);
}

static void range_handle(struct api_call *call)
{
    Etcdserverpb__RangeRequest *message =
        api_call_unpack(call, &etcdserverpb__range_request__descriptor);
    enum fl_status status;

    if (message == NULL) {
        return;
    }
    api_read_from(message, &call->node_request.read);
    status = shard_read_validate(&call->node_request.read);
    if (status != FL_OK) {
        api_call_fail(call, status);
        return;
    }
    call->node_request.kind = NODE_REQUEST_READ;
    api_call_submit(call, range_answered);
}

/* --- compaction ----------------------------------------------------------------------------- */

static void compact_answered(struct api_call *call, const struct node_reply *reply)
{
    Etcdserverpb__CompactionResponse message = ETCDSERVERPB__COMPACTION_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;

    message.header = api_header_fill(call, &header, reply);
    api_call_reply(call, &message.base);
}

static void compact_handle(struct api_call *call)
{
    Etcdserverpb__CompactionRequest *message =
        api_call_unpack(call, &etcdserverpb__compaction_request__descriptor);

    if (message == NULL) {
        return;
    }
    if (message->revision < 0) { /* below every revision there was */
        api_call_fail(call, FL_COMPACTED);
        return;
    }
    call->node_request.kind = NODE_REQUEST_COMPACT;
    call->node_request.revision = (uint64_t)message->revision;
    api_call_submit(call, compact_answered);
}

#define HOT 64 /* enough for a burst between two turns of a poller; more costs memory only */

static const struct api_method methods[] = {
    {"/etcdserverpb.KV/Range", range_handle, HOT, &range_latency},
    {"/etcdserverpb.KV/Put", put_handle, HOT, &put_latency},
    {"/etcdserverpb.KV/DeleteRange", delete_handle, HOT, &delete_latency},
    {"/etcdserverpb.KV/Txn", txn_handle, HOT, &txn_latency},
    {"/etcdserverpb.KV/Compact", compact_handle, 4, NULL},
};

const struct api_service api_kv_service = {
    .name = "etcdserverpb.KV",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
};
