/* Typed etcd calls: protobuf-c in and out. See etcd_client.h. */
#include "tests/lib/etcd_client.h"

#include "api/proto/rpc.pb-c.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdio.h>

/* protobuf-c wants mutable bytes and does not write to them. */
static ProtobufCBinaryData binary(struct fl_bytes b)
{
    return (ProtobufCBinaryData){.len = b.len, .data = (uint8_t *)(uintptr_t)b.data};
}

static struct fl_bytes bytes_of(ProtobufCBinaryData b)
{
    return fl_bytes(b.data, b.len);
}

static void submit(struct etcd_channel *channel,
                   enum etcd_method method,
                   const ProtobufCMessage *message,
                   int timeout_ms,
                   etcd_answer_fn done,
                   void *context)
{
    uint8_t small[2048];
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *buffer = size <= sizeof(small) ? small : fl_xmalloc(size);

    protobuf_c_message_pack(message, buffer);
    etcd_call_submit(channel, method, fl_bytes(buffer, size), timeout_ms, done, context);
    if (buffer != small) {
        free(buffer);
    }
}

/* --- requests -------------------------------------------------------------------------------- */

void etcd_put(struct etcd_channel *channel,
              struct fl_bytes key,
              struct fl_bytes value,
              int timeout_ms,
              etcd_answer_fn done,
              void *context)
{
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;

    request.key = binary(key);
    request.value = binary(value);
    submit(channel, ETCD_METHOD_PUT, &request.base, timeout_ms, done, context);
}

void etcd_range(struct etcd_channel *channel,
                const struct etcd_range *range,
                int timeout_ms,
                etcd_answer_fn done,
                void *context)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;

    request.key = binary(range->key);
    request.range_end = binary(range->range_end);
    request.limit = range->limit;
    request.revision = range->revision;
    request.serializable = range->serializable;
    request.keys_only = range->keys_only;
    request.count_only = range->count_only;
    submit(channel, ETCD_METHOD_RANGE, &request.base, timeout_ms, done, context);
}

void etcd_delete(struct etcd_channel *channel,
                 struct fl_bytes key,
                 struct fl_bytes range_end,
                 int timeout_ms,
                 etcd_answer_fn done,
                 void *context)
{
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;

    request.key = binary(key);
    request.range_end = binary(range_end);
    submit(channel, ETCD_METHOD_DELETE_RANGE, &request.base, timeout_ms, done, context);
}

static Etcdserverpb__Compare *make_compare(const struct etcd_compare *from)
{
    Etcdserverpb__Compare *to = fl_xmalloc(sizeof(*to));

    etcdserverpb__compare__init(to);
    to->key = binary(from->key);
    if (from->kind == ETCD_VALUE_EQUAL || from->kind == ETCD_VALUE_NOT_EQUAL) {
        to->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
        to->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        to->value = binary(from->value);
    } else {
        to->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
        to->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        to->version = 0;
    }
    to->result = from->kind == ETCD_VALUE_EQUAL || from->kind == ETCD_ABSENT
                     ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL
                     : ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL;
    return to;
}

static Etcdserverpb__RequestOp *make_op(const struct etcd_op *from)
{
    Etcdserverpb__RequestOp *to = fl_xmalloc(sizeof(*to));

    etcdserverpb__request_op__init(to);
    if (from->kind == ETCD_OP_PUT) {
        to->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        to->request_put = fl_xmalloc(sizeof(*to->request_put));
        etcdserverpb__put_request__init(to->request_put);
        to->request_put->key = binary(from->key);
        to->request_put->value = binary(from->value);
    } else if (from->kind == ETCD_OP_GET) {
        to->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        to->request_range = fl_xmalloc(sizeof(*to->request_range));
        etcdserverpb__range_request__init(to->request_range);
        to->request_range->key = binary(from->key);
        to->request_range->range_end = binary(from->range_end);
    } else {
        to->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        to->request_delete_range = fl_xmalloc(sizeof(*to->request_delete_range));
        etcdserverpb__delete_range_request__init(to->request_delete_range);
        to->request_delete_range->key = binary(from->key);
        to->request_delete_range->range_end = binary(from->range_end);
    }
    return to;
}

static Etcdserverpb__RequestOp **make_ops(const struct etcd_op *from, size_t count)
{
    Etcdserverpb__RequestOp **to = fl_xcalloc(count, sizeof(Etcdserverpb__RequestOp *));

    for (size_t i = 0; i < count; i++) {
        to[i] = make_op(&from[i]);
    }
    return to;
}

static void free_ops(Etcdserverpb__RequestOp **ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(ops[i]->request_put); /* the members of the union are all one pointer */
        free(ops[i]);
    }
    free(ops);
}

void etcd_txn(struct etcd_channel *channel,
              const struct etcd_txn *txn,
              int timeout_ms,
              etcd_answer_fn done,
              void *context)
{
    Etcdserverpb__TxnRequest request = ETCDSERVERPB__TXN_REQUEST__INIT;

    request.n_compare = txn->compare_count;
    request.compare = fl_xcalloc(txn->compare_count, sizeof(Etcdserverpb__Compare *));
    for (size_t i = 0; i < txn->compare_count; i++) {
        request.compare[i] = make_compare(&txn->compares[i]);
    }
    request.n_success = txn->success_count;
    request.success = make_ops(txn->success, txn->success_count);
    request.n_failure = txn->failure_count;
    request.failure = make_ops(txn->failure, txn->failure_count);
    submit(channel, ETCD_METHOD_TXN, &request.base, timeout_ms, done, context);
    for (size_t i = 0; i < txn->compare_count; i++) {
        free(request.compare[i]);
    }
    free(request.compare);
    free_ops(request.success, txn->success_count);
    free_ops(request.failure, txn->failure_count);
}

void etcd_compact(struct etcd_channel *channel,
                  int64_t revision,
                  int timeout_ms,
                  etcd_answer_fn done,
                  void *context)
{
    Etcdserverpb__CompactionRequest request = ETCDSERVERPB__COMPACTION_REQUEST__INIT;

    request.revision = revision;
    submit(channel, ETCD_METHOD_COMPACT, &request.base, timeout_ms, done, context);
}

void etcd_status(struct etcd_channel *channel, int timeout_ms, etcd_answer_fn done, void *context)
{
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;

    submit(channel, ETCD_METHOD_STATUS, &request.base, timeout_ms, done, context);
}

void etcd_hash_kv(struct etcd_channel *channel,
                  int64_t revision,
                  int timeout_ms,
                  etcd_answer_fn done,
                  void *context)
{
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;

    request.revision = revision;
    submit(channel, ETCD_METHOD_HASH_KV, &request.base, timeout_ms, done, context);
}

/* --- answers --------------------------------------------------------------------------------- */

static const ProtobufCMessageDescriptor *descriptor_of(enum etcd_method method)
{
    switch (method) {
    case ETCD_METHOD_RANGE:
        return &etcdserverpb__range_response__descriptor;
    case ETCD_METHOD_PUT:
        return &etcdserverpb__put_response__descriptor;
    case ETCD_METHOD_DELETE_RANGE:
        return &etcdserverpb__delete_range_response__descriptor;
    case ETCD_METHOD_TXN:
        return &etcdserverpb__txn_response__descriptor;
    case ETCD_METHOD_COMPACT:
        return &etcdserverpb__compaction_response__descriptor;
    case ETCD_METHOD_STATUS:
        return &etcdserverpb__status_response__descriptor;
    case ETCD_METHOD_HASH_KV:
        return &etcdserverpb__hash_kvresponse__descriptor;
    case ETCD_METHOD_COUNT:
        break;
    }
    fl_assert(false);
    return NULL;
}

static void read_header(struct etcd_reply *reply, const Etcdserverpb__ResponseHeader *header)
{
    if (header != NULL) {
        reply->cluster_id = header->cluster_id;
        reply->member_id = header->member_id;
        reply->raft_term = header->raft_term;
        reply->revision = header->revision;
    }
}

static struct etcd_kv *read_kvs(Mvccpb__KeyValue **from, size_t count)
{
    struct etcd_kv *kvs = fl_xcalloc(count, sizeof(*kvs));

    for (size_t i = 0; i < count; i++) {
        kvs[i] = (struct etcd_kv){.key = bytes_of(from[i]->key),
                                  .value = bytes_of(from[i]->value),
                                  .create_revision = from[i]->create_revision,
                                  .mod_revision = from[i]->mod_revision,
                                  .version = from[i]->version};
    }
    return kvs;
}

static void read_txn(struct etcd_reply *reply, const Etcdserverpb__TxnResponse *from)
{
    read_header(reply, from->header);
    reply->succeeded = from->succeeded;
    reply->op_count = from->n_responses;
    reply->ops = fl_xcalloc(reply->op_count, sizeof(*reply->ops));
    for (size_t i = 0; i < reply->op_count; i++) {
        const Etcdserverpb__ResponseOp *op = from->responses[i];

        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE) {
            reply->ops[i].kv_count = op->response_range->n_kvs;
            reply->ops[i].kvs = read_kvs(op->response_range->kvs, op->response_range->n_kvs);
        } else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE) {
            reply->ops[i].deleted = op->response_delete_range->deleted;
        }
    }
}

static void read_status(struct etcd_reply *reply, const Etcdserverpb__StatusResponse *from)
{
    read_header(reply, from->header);
    reply->leader = from->leader;
    (void)snprintf(reply->version, sizeof(reply->version), "%s", from->version);
}

static void read_range(struct etcd_reply *reply, const Etcdserverpb__RangeResponse *from)
{
    read_header(reply, from->header);
    reply->kv_count = from->n_kvs;
    reply->kvs = read_kvs(from->kvs, from->n_kvs);
    reply->count = from->count;
    reply->more = from->more;
}

static void read_message(struct etcd_reply *reply, const void *message)
{
    switch (reply->method) {
    case ETCD_METHOD_RANGE:
        read_range(reply, message);
        break;
    case ETCD_METHOD_PUT:
        read_header(reply, ((const Etcdserverpb__PutResponse *)message)->header);
        break;
    case ETCD_METHOD_DELETE_RANGE:
        read_header(reply, ((const Etcdserverpb__DeleteRangeResponse *)message)->header);
        reply->deleted = ((const Etcdserverpb__DeleteRangeResponse *)message)->deleted;
        break;
    case ETCD_METHOD_TXN:
        read_txn(reply, message);
        break;
    case ETCD_METHOD_COMPACT:
        read_header(reply, ((const Etcdserverpb__CompactionResponse *)message)->header);
        break;
    case ETCD_METHOD_STATUS:
        read_status(reply, message);
        break;
    case ETCD_METHOD_HASH_KV:
        read_header(reply, ((const Etcdserverpb__HashKVResponse *)message)->header);
        reply->hash = ((const Etcdserverpb__HashKVResponse *)message)->hash;
        reply->compact_revision = ((const Etcdserverpb__HashKVResponse *)message)->compact_revision;
        break;
    case ETCD_METHOD_COUNT:
        break;
    }
}

void etcd_reply_parse(struct etcd_reply *reply,
                      enum etcd_method method,
                      const struct etcd_answer *answer)
{
    ProtobufCMessage *message;

    *reply = (struct etcd_reply){
        .done = true, .outcome = answer->outcome, .code = answer->code, .method = method};
    (void)snprintf(reply->text, sizeof(reply->text), "%s", answer->text);
    if (answer->outcome != ETCD_OK) {
        return;
    }
    message =
        protobuf_c_message_unpack(descriptor_of(method), NULL, answer->body.len, answer->body.data);
    if (message == NULL) {
        reply->outcome = ETCD_UNKNOWN;
        (void)snprintf(reply->text, sizeof(reply->text), "the answer is not a valid message");
        return;
    }
    reply->message = message;
    read_message(reply, message);
}

void etcd_reply_close(struct etcd_reply *reply)
{
    for (size_t i = 0; i < reply->op_count; i++) {
        free(reply->ops[i].kvs);
    }
    free(reply->ops);
    free(reply->kvs);
    if (reply->message != NULL) {
        protobuf_c_message_free_unpacked(reply->message, NULL);
    }
    *reply = (struct etcd_reply){0};
}

/* --- waiting --------------------------------------------------------------------------------- */

static void store(void *context, const struct etcd_answer *answer)
{
    struct etcd_reply *reply = context;

    etcd_reply_parse(reply, reply->method, answer);
}

static void expect(struct etcd_reply *reply, enum etcd_method method)
{
    *reply = (struct etcd_reply){.method = method};
}

static enum etcd_outcome wait_for(struct etcd_channel *channel, struct etcd_reply *reply)
{
    while (!reply->done) {
        (void)etcd_loop_poll(etcd_channel_loop(channel), 1000);
    }
    return reply->outcome;
}

enum etcd_outcome etcd_put_sync(struct etcd_channel *channel,
                                struct fl_bytes key,
                                struct fl_bytes value,
                                int timeout_ms,
                                struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_PUT);
    etcd_put(channel, key, value, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_range_sync(struct etcd_channel *channel,
                                  const struct etcd_range *range,
                                  int timeout_ms,
                                  struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_RANGE);
    etcd_range(channel, range, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_delete_sync(struct etcd_channel *channel,
                                   struct fl_bytes key,
                                   struct fl_bytes range_end,
                                   int timeout_ms,
                                   struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_DELETE_RANGE);
    etcd_delete(channel, key, range_end, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_txn_sync(struct etcd_channel *channel,
                                const struct etcd_txn *txn,
                                int timeout_ms,
                                struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_TXN);
    etcd_txn(channel, txn, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_compact_sync(struct etcd_channel *channel,
                                    int64_t revision,
                                    int timeout_ms,
                                    struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_COMPACT);
    etcd_compact(channel, revision, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome
etcd_status_sync(struct etcd_channel *channel, int timeout_ms, struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_STATUS);
    etcd_status(channel, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_hash_kv_sync(struct etcd_channel *channel,
                                    int64_t revision,
                                    int timeout_ms,
                                    struct etcd_reply *reply)
{
    expect(reply, ETCD_METHOD_HASH_KV);
    etcd_hash_kv(channel, revision, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

enum etcd_outcome etcd_raw_sync(struct etcd_channel *channel,
                                enum etcd_method method,
                                struct fl_bytes request,
                                int timeout_ms,
                                struct etcd_reply *reply)
{
    expect(reply, method);
    etcd_call_submit(channel, method, request, timeout_ms, store, reply);
    return wait_for(channel, reply);
}

struct fl_bytes etcd_prefix_end(struct fl_bytes prefix, uint8_t *out)
{
    size_t len = prefix.len;

    while (len > 0 && prefix.data[len - 1] == 0xff) {
        len--;
    }
    if (len == 0) {
        return fl_bytes("\0", 1);
    }
    memcpy(out, prefix.data, len);
    out[len - 1]++;
    return fl_bytes(out, len);
}
