/* Field by field, both ways; recursion only where the wire guard has bounded it. */
#include "api/convert.h"

#include "raftgroup/base/limits.h"

#include <string.h>

static struct fl_bytes bytes_from(ProtobufCBinaryData data)
{
    return fl_bytes(data.data, data.len);
}

static ProtobufCBinaryData bytes_to(struct fl_bytes bytes)
{
    return (ProtobufCBinaryData){.len = bytes.len, .data = (uint8_t *)(uintptr_t)bytes.data};
}

static uint64_t not_negative(int64_t number)
{
    return number < 0 ? 0 : (uint64_t)number;
}

/* --- requests ------------------------------------------------------------------------------- */

void api_read_from(const Etcdserverpb__RangeRequest *message, struct shard_read *read)
{
    *read = (struct shard_read){
        .key = bytes_from(message->key),
        .end = bytes_from(message->range_end),
        .limit = not_negative(message->limit),
        .revision = not_negative(message->revision),
        .sort_order = (uint32_t)message->sort_order,
        .sort_target = (uint32_t)message->sort_target,
        .serializable = message->serializable != 0,
        .keys_only = message->keys_only != 0,
        .count_only = message->count_only != 0,
        .min_mod_revision = message->min_mod_revision,
        .max_mod_revision = message->max_mod_revision,
        .min_create_revision = message->min_create_revision,
        .max_create_revision = message->max_create_revision,
    };
}

void api_put_from(const Etcdserverpb__PutRequest *message, struct shard_put *put)
{
    *put = (struct shard_put){
        .key = bytes_from(message->key),
        .value = bytes_from(message->value),
        .lease = message->lease,
        .prev_kv = message->prev_kv != 0,
        .ignore_value = message->ignore_value != 0,
        .ignore_lease = message->ignore_lease != 0,
    };
}

void api_delete_from(const Etcdserverpb__DeleteRangeRequest *message, struct shard_delete *del)
{
    *del = (struct shard_delete){
        .key = bytes_from(message->key),
        .end = bytes_from(message->range_end),
        .prev_kv = message->prev_kv != 0,
    };
}

/* A member of the union that is not the target's reads as 0 or empty, as in etcd. */
static void compare_from(const Etcdserverpb__Compare *message, struct shard_compare *compare)
{
    static const Etcdserverpb__Compare__TargetUnionCase cases[] = {
        [SHARD_COMPARE_VERSION] = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION,
        [SHARD_COMPARE_CREATE] = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION,
        [SHARD_COMPARE_MOD] = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION,
        [SHARD_COMPARE_VALUE] = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE,
        [SHARD_COMPARE_LEASE] = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE,
    };
    uint32_t target = (uint32_t)message->target;
    bool given =
        target < sizeof cases / sizeof cases[0] && message->target_union_case == cases[target];

    *compare = (struct shard_compare){
        .result = (uint32_t)message->result,
        .target = target,
        .key = bytes_from(message->key),
        .end = bytes_from(message->range_end),
    };
    if (given && target == SHARD_COMPARE_VALUE) {
        compare->value = bytes_from(message->value);
    } else if (given) {
        compare->number = message->version; /* the numbers share one place in the union */
    }
}

static void
op_from(struct api_arena *arena, const Etcdserverpb__RequestOp *message, struct shard_op *op)
{
    switch ((int)message->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        op->kind = SHARD_OP_RANGE;
        api_read_from(message->request_range, &op->range);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        op->kind = SHARD_OP_PUT;
        api_put_from(message->request_put, &op->put);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        op->kind = SHARD_OP_DELETE_RANGE;
        api_delete_from(message->request_delete_range, &op->del);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        op->kind = SHARD_OP_TXN;
        api_txn_from(arena, message->request_txn, &op->txn);
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    default:
        op->kind = SHARD_OP_NONE;
        break;
    }
}

static struct shard_ops
ops_from(struct api_arena *arena, Etcdserverpb__RequestOp *const *messages, size_t count)
{
    struct shard_ops ops = {.ops = api_arena_take(arena, count * sizeof *ops.ops), .count = count};

    for (size_t i = 0; i < count; i++) {
        op_from(arena, messages[i], &ops.ops[i]);
    }
    return ops;
}

void api_txn_from(struct api_arena *arena,
                  const Etcdserverpb__TxnRequest *message,
                  struct shard_txn *txn)
{
    txn->compare_count = message->n_compare;
    txn->compares = api_arena_take(arena, message->n_compare * sizeof *txn->compares);
    for (size_t i = 0; i < message->n_compare; i++) {
        compare_from(message->compare[i], &txn->compares[i]);
    }
    txn->then_ops = ops_from(arena, message->success, message->n_success);
    txn->else_ops = ops_from(arena, message->failure, message->n_failure);
}

/* --- results -------------------------------------------------------------------------------- */

static void kv_to(const struct shard_kv *kv, Mvccpb__KeyValue *message)
{
    mvccpb__key_value__init(message);
    message->key = bytes_to(kv->key);
    message->value = bytes_to(kv->value);
    message->create_revision = (int64_t)kv->create_revision;
    message->mod_revision = (int64_t)kv->mod_revision;
    message->version = (int64_t)kv->version;
    message->lease = kv->lease;
}

/* All pairs of a result as an array of messages. */
static enum fl_status kvs_to(struct api_arena *arena,
                             struct shard_result *result,
                             Mvccpb__KeyValue ***messages,
                             size_t *count)
{
    size_t n = result->kv_count;
    Mvccpb__KeyValue *memory = api_arena_take(arena, n * sizeof *memory);
    struct shard_kv kv;
    size_t i = 0;

    *messages = api_arena_take(arena, n * sizeof(Mvccpb__KeyValue *));
    while (i < n && shard_result_next_kv(result, &kv)) {
        kv_to(&kv, &memory[i]);
        (*messages)[i] = &memory[i];
        i++;
    }
    *count = i;
    return i == n && !result->part.bad ? FL_OK : FL_BAD_MESSAGE;
}

enum fl_status api_range_to(struct api_arena *arena,
                            struct shard_result *result,
                            Etcdserverpb__RangeResponse *message)
{
    if (result->kind != SHARD_RESULT_RANGE) {
        return FL_BAD_MESSAGE;
    }
    message->count = (int64_t)result->count;
    message->more = result->more;
    return kvs_to(arena, result, &message->kvs, &message->n_kvs);
}

enum fl_status
api_put_to(struct api_arena *arena, struct shard_result *result, Etcdserverpb__PutResponse *message)
{
    struct shard_kv kv;

    if (result->kind != SHARD_RESULT_PUT) {
        return FL_BAD_MESSAGE;
    }
    if (!result->has_prev) {
        return FL_OK;
    }
    if (!shard_result_next_kv(result, &kv)) {
        return FL_BAD_MESSAGE;
    }
    message->prev_kv = api_arena_take(arena, sizeof *message->prev_kv);
    kv_to(&kv, message->prev_kv);
    return FL_OK;
}

enum fl_status api_delete_to(struct api_arena *arena,
                             struct shard_result *result,
                             Etcdserverpb__DeleteRangeResponse *message)
{
    if (result->kind != SHARD_RESULT_DELETE_RANGE) {
        return FL_BAD_MESSAGE;
    }
    message->deleted = (int64_t)result->count;
    return kvs_to(arena, result, &message->prev_kvs, &message->n_prev_kvs);
}

static Etcdserverpb__ResponseHeader *inner_header(struct api_arena *arena, uint64_t revision)
{
    Etcdserverpb__ResponseHeader *header = api_arena_take(arena, sizeof *header);

    etcdserverpb__response_header__init(header);
    header->revision = (int64_t)revision;
    return header;
}

/* A message of `type` in the arena, initialised, with a header of its own. */
#define INNER(variable, type)                                                                      \
    do {                                                                                           \
        (variable) = api_arena_take(arena, sizeof *(variable));                                    \
        etcdserverpb__##type##__init(variable);                                                    \
        (variable)->header = inner_header(arena, result->revision);                                \
    } while (0)

static enum fl_status
response_to(struct api_arena *arena, struct shard_result *result, Etcdserverpb__ResponseOp *message)
{
    switch (result->kind) {
    case SHARD_RESULT_RANGE:
        message->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        INNER(message->response_range, range_response);
        return api_range_to(arena, result, message->response_range);
    case SHARD_RESULT_PUT:
        message->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        INNER(message->response_put, put_response);
        return api_put_to(arena, result, message->response_put);
    case SHARD_RESULT_DELETE_RANGE:
        message->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        INNER(message->response_delete_range, delete_range_response);
        return api_delete_to(arena, result, message->response_delete_range);
    case SHARD_RESULT_TXN:
        message->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
        INNER(message->response_txn, txn_response);
        return api_txn_to(arena, result, message->response_txn);
    case SHARD_RESULT_COMPACT:
    default:
        return FL_BAD_MESSAGE;
    }
}

enum fl_status
api_txn_to(struct api_arena *arena, struct shard_result *result, Etcdserverpb__TxnResponse *message)
{
    size_t n = result->response_count;
    Etcdserverpb__ResponseOp *memory;
    struct shard_result response;

    if (result->kind != SHARD_RESULT_TXN) {
        return FL_BAD_MESSAGE;
    }
    memory = api_arena_take(arena, n * sizeof *memory);
    message->succeeded = result->succeeded;
    message->responses = api_arena_take(arena, n * sizeof(Etcdserverpb__ResponseOp *));
    message->n_responses = 0;
    while (message->n_responses < n && shard_result_next_response(result, &response)) {
        Etcdserverpb__ResponseOp *op = &memory[message->n_responses];

        etcdserverpb__response_op__init(op);
        FL_TRY(response_to(arena, &response, op));
        message->responses[message->n_responses++] = op;
    }
    return message->n_responses == n && !result->part.bad ? FL_OK : FL_BAD_MESSAGE;
}

/* --- strings -------------------------------------------------------------------------------- */

static char *text_of(struct api_arena *arena, const char *text, size_t len)
{
    char *copy = api_arena_take(arena, len + 1);

    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *api_arena_text(struct api_arena *arena, const char *text)
{
    return text_of(arena, text, strlen(text));
}

char **api_arena_split(struct api_arena *arena, const char *text, size_t *count)
{
    size_t most = 1;
    char **list;

    for (const char *c = text; *c != '\0'; c++) {
        most += *c == ',';
    }
    list = api_arena_take(arena, most * sizeof *list);
    *count = 0;
    while (*text != '\0') {
        size_t len = strcspn(text, ",");

        if (len > 0) {
            list[(*count)++] = text_of(arena, text, len);
        }
        text += len + (text[len] == ',');
    }
    return list;
}
