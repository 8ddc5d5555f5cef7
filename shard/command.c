/* Commands: encoding, decoding, and the span of keys.
 *
 * A key that stands alone is followed by a zero byte in every encoding (an empty end is that byte),
 * so the exclusive end of a point, key + "\0", can be borrowed from the command. */
#include "shard/command.h"

#include "raftgroup/base/assert.h"

#include <stdlib.h>

enum {
    PUT_PREV_KV = 1,
    PUT_IGNORE_VALUE = 2,
    PUT_IGNORE_LEASE = 4,
    PUT_FLAGS = 7,
    DELETE_PREV_KV = 1,
    COMPACT_FORCE = 1,
    OP_BYTES_MIN = 5,      /* kind and length */
    COMPARE_BYTES_MIN = 5, /* result, target, two empty slices, operand */
};

/* ---- building ---- */

static void write_put(struct fl_writer *w, const struct shard_put *put)
{
    unsigned flags = (put->prev_kv ? PUT_PREV_KV : 0u) |
                     (put->ignore_value ? PUT_IGNORE_VALUE : 0u) |
                     (put->ignore_lease ? PUT_IGNORE_LEASE : 0u);

    fl_write_u8(w, (uint8_t)flags);
    fl_write_varint(w, (uint64_t)put->lease);
    fl_write_bytes(w, put->key);
    fl_write_u8(w, 0);
    fl_write_raw(w, put->value);
}

static void write_delete(struct fl_writer *w, const struct shard_delete *del)
{
    fl_write_u8(w, del->prev_kv ? DELETE_PREV_KV : 0);
    fl_write_bytes(w, del->key);
    fl_write_bytes(w, del->end);
}

static void write_compare(struct fl_writer *w, const struct shard_compare *compare)
{
    fl_write_u8(w, compare->result > UINT8_MAX ? UINT8_MAX : (uint8_t)compare->result);
    fl_write_u8(w, compare->target > UINT8_MAX ? UINT8_MAX : (uint8_t)compare->target);
    fl_write_bytes(w, compare->key);
    fl_write_bytes(w, compare->end);
    if (compare->target == SHARD_COMPARE_VALUE) {
        fl_write_bytes(w, compare->value);
    } else {
        fl_write_varint(w, (uint64_t)compare->number);
    }
}

static enum fl_status write_txn(struct fl_writer *w, const struct shard_txn *txn, unsigned depth);

static enum fl_status write_op(struct fl_writer *w, const struct shard_op *op, unsigned depth)
{
    enum fl_status status = FL_OK;
    size_t at;

    fl_write_u8(w, (uint8_t)op->kind);
    at = w->len;
    fl_write_u32le(w, 0);
    switch (op->kind) {
    case SHARD_OP_RANGE:
        shard_read_encode(&op->range, w);
        break;
    case SHARD_OP_PUT:
        write_put(w, &op->put);
        break;
    case SHARD_OP_DELETE_RANGE:
        write_delete(w, &op->del);
        break;
    case SHARD_OP_TXN:
        status = write_txn(w, &op->txn, depth + 1);
        break;
    case SHARD_OP_NONE:
    default:
        return FL_KEY_NOT_FOUND; /* as shard_txn_validate */
    }
    if (w->len > FL_ENTRY_BYTES_MAX) {
        return FL_TOO_LARGE;
    }
    fl_put_u32le(w->data + at, (uint32_t)(w->len - at - 4));
    return status;
}

static enum fl_status write_ops(struct fl_writer *w, const struct shard_ops *ops, unsigned depth)
{
    fl_write_varint(w, ops->count);
    for (size_t i = 0; i < ops->count; i++) {
        FL_TRY(write_op(w, &ops->ops[i], depth));
    }
    return FL_OK;
}

static enum fl_status write_txn(struct fl_writer *w, const struct shard_txn *txn, unsigned depth)
{
    if (depth > FL_TXN_DEPTH_MAX) {
        return FL_TOO_DEEP;
    }
    fl_write_varint(w, txn->compare_count);
    for (size_t i = 0; i < txn->compare_count; i++) {
        write_compare(w, &txn->compares[i]);
        if (w->len > FL_ENTRY_BYTES_MAX) {
            return FL_TOO_LARGE;
        }
    }
    FL_TRY(write_ops(w, &txn->then_ops, depth));
    return write_ops(w, &txn->else_ops, depth);
}

static void put_header(uint8_t *p, uint8_t kind)
{
    memset(p, 0, SHARD_COMMAND_HEADER_BYTES);
    p[0] = SHARD_COMMAND_VERSION;
    p[1] = kind;
}

enum fl_status shard_command_create(uint8_t kind, struct fl_bytes body, struct fl_buf **command)
{
    if (body.len > FL_ENTRY_BYTES_MAX - SHARD_COMMAND_HEADER_BYTES) {
        return FL_TOO_LARGE;
    }
    *command = fl_buf_create(SHARD_COMMAND_HEADER_BYTES + body.len);
    put_header((*command)->data, kind);
    if (body.len != 0) {
        memcpy((*command)->data + SHARD_COMMAND_HEADER_BYTES, body.data, body.len);
    }
    return FL_OK;
}

enum fl_status shard_command_put(const struct shard_put *put, struct fl_buf **command)
{
    struct fl_writer w;
    enum fl_status status;

    if (put->key.len > FL_KEY_BYTES_MAX || put->value.len > FL_ENTRY_BYTES_MAX) {
        return FL_TOO_LARGE;
    }
    fl_writer_init(&w);
    write_put(&w, put);
    status = shard_command_create(SHARD_COMMAND_PUT, fl_writer_bytes(&w), command);
    fl_writer_close(&w);
    return status;
}

enum fl_status shard_command_delete(const struct shard_delete *del, struct fl_buf **command)
{
    struct fl_writer w;
    enum fl_status status;

    if (del->key.len > FL_KEY_BYTES_MAX || del->end.len > FL_KEY_BYTES_MAX) {
        return FL_TOO_LARGE;
    }
    fl_writer_init(&w);
    write_delete(&w, del);
    status = shard_command_create(SHARD_COMMAND_DELETE_RANGE, fl_writer_bytes(&w), command);
    fl_writer_close(&w);
    return status;
}

enum fl_status shard_command_txn(const struct shard_txn *txn, struct fl_buf **command)
{
    struct fl_writer w;
    enum fl_status status;

    fl_writer_init(&w);
    status = write_txn(&w, txn, 1);
    if (status == FL_OK) {
        status = shard_command_create(SHARD_COMMAND_TXN, fl_writer_bytes(&w), command);
    }
    fl_writer_close(&w);
    return status;
}

struct fl_buf *shard_command_compact(uint64_t revision, bool force)
{
    struct fl_buf *command = fl_buf_create(SHARD_COMMAND_HEADER_BYTES + 9);
    uint8_t *body = command->data + SHARD_COMMAND_HEADER_BYTES;

    put_header(command->data, SHARD_COMMAND_COMPACT);
    body[0] = force ? COMPACT_FORCE : 0;
    fl_put_u64le(body + 1, revision);
    return command;
}

struct fl_buf *shard_command_mark(uint64_t mark)
{
    struct fl_buf *command = fl_buf_create(SHARD_COMMAND_HEADER_BYTES + 8);

    put_header(command->data, SHARD_COMMAND_MARK);
    fl_put_u64le(command->data + SHARD_COMMAND_HEADER_BYTES, mark);
    return command;
}

/* ---- header ---- */

void shard_command_set_origin(struct fl_buf *command,
                              struct shard_origin origin,
                              uint64_t seq,
                              uint64_t finished_below)
{
    fl_assert(command->len >= SHARD_COMMAND_HEADER_BYTES);
    fl_put_u32le(command->data + 4, origin.boot);
    fl_put_u64le(command->data + 8, origin.node_id);
    fl_put_u64le(command->data + 16, seq);
    fl_put_u64le(command->data + 24, finished_below);
}

void shard_command_set_revision(struct fl_buf *command, uint64_t revision)
{
    fl_assert(command->len >= SHARD_COMMAND_HEADER_BYTES);
    fl_put_u64le(command->data + 32, revision);
}

void shard_command_set_epoch(struct fl_buf *command, uint64_t version)
{
    fl_assert(command->len >= SHARD_COMMAND_HEADER_BYTES);
    fl_put_u64le(command->data + 40, version);
}

enum fl_status shard_command_decode(struct fl_bytes payload, struct shard_command *command)
{
    const uint8_t *p = payload.data;

    *command = (struct shard_command){0};
    if (payload.len == 0) {
        return FL_BAD_MESSAGE;
    }
    if (p[0] > SHARD_COMMAND_VERSION) {
        return FL_NEWER_FORMAT;
    }
    if (payload.len < SHARD_COMMAND_HEADER_BYTES || p[0] != SHARD_COMMAND_VERSION || p[2] != 0 ||
        p[3] != 0) {
        return FL_BAD_MESSAGE;
    }
    command->kind = p[1];
    command->origin.boot = fl_get_u32le(p + 4);
    command->origin.node_id = fl_get_u64le(p + 8);
    command->seq = fl_get_u64le(p + 16);
    command->finished_below = fl_get_u64le(p + 24);
    command->revision = fl_get_u64le(p + 32);
    command->epoch = fl_get_u64le(p + 40);
    command->body =
        fl_bytes(p + SHARD_COMMAND_HEADER_BYTES, payload.len - SHARD_COMMAND_HEADER_BYTES);
    return FL_OK;
}

/* ---- bodies ---- */

/* A key as FL_KEY_BYTES_MAX bounds it; an empty one is left to the caller. */
static struct fl_bytes read_key(struct fl_reader *r)
{
    struct fl_bytes key = fl_read_bytes(r);

    if (key.len > FL_KEY_BYTES_MAX) {
        r->bad = true;
    }
    return key;
}

enum fl_status shard_put_decode(struct fl_bytes body, struct shard_put *put)
{
    struct fl_reader r = fl_reader(body);
    uint8_t flags = fl_read_u8(&r);
    uint8_t zero;

    *put = (struct shard_put){0};
    put->lease = (int64_t)fl_read_varint(&r);
    put->key = read_key(&r);
    zero = fl_read_u8(&r);
    if (r.bad || zero != 0 || put->key.len == 0 || (flags & ~(unsigned)PUT_FLAGS) != 0) {
        return FL_BAD_MESSAGE;
    }
    put->value = fl_read_raw(&r, fl_reader_left(&r));
    put->prev_kv = (flags & PUT_PREV_KV) != 0;
    put->ignore_value = (flags & PUT_IGNORE_VALUE) != 0;
    put->ignore_lease = (flags & PUT_IGNORE_LEASE) != 0;
    return FL_OK;
}

enum fl_status shard_delete_decode(struct fl_bytes body, struct shard_delete *del)
{
    struct fl_reader r = fl_reader(body);
    uint8_t flags = fl_read_u8(&r);

    *del = (struct shard_delete){0};
    del->key = read_key(&r);
    del->end = read_key(&r);
    del->prev_kv = (flags & DELETE_PREV_KV) != 0;
    if (!fl_reader_done(&r) || del->key.len == 0 || (flags & ~(unsigned)DELETE_PREV_KV) != 0) {
        return FL_BAD_MESSAGE;
    }
    return FL_OK;
}

enum fl_status shard_compact_decode(struct fl_bytes body, uint64_t *revision, bool *force)
{
    struct fl_reader r = fl_reader(body);
    uint8_t flags = fl_read_u8(&r);

    *revision = fl_read_u64le(&r);
    *force = (flags & COMPACT_FORCE) != 0;
    if (!fl_reader_done(&r) || (flags & ~(unsigned)COMPACT_FORCE) != 0) {
        return FL_BAD_MESSAGE;
    }
    return FL_OK;
}

enum fl_status shard_mark_decode(struct fl_bytes body, uint64_t *mark)
{
    struct fl_reader r = fl_reader(body);

    *mark = fl_read_u64le(&r);
    return fl_reader_done(&r) ? FL_OK : FL_BAD_MESSAGE;
}

static void read_compare(struct fl_reader *r, struct shard_compare *compare)
{
    *compare = (struct shard_compare){0};
    compare->result = fl_read_u8(r);
    compare->target = fl_read_u8(r);
    compare->key = read_key(r);
    compare->end = read_key(r);
    if (compare->target == SHARD_COMPARE_VALUE) {
        compare->value = fl_read_bytes(r);
    } else {
        compare->number = (int64_t)fl_read_varint(r);
    }
    if (compare->target > SHARD_COMPARE_LEASE || compare->key.len == 0) {
        r->bad = true;
    }
}

/* Two passes over the same bytes: the first (memory NULL) only measures, so that the second can lay
 * the whole tree into one block. */
struct tree {
    uint8_t *memory;
    size_t used;
    size_t total; /* compares and operations so far */
};

/* Room for `count` elements that each take at least `bytes_min` of what is left in `r`. */
static enum fl_status take(struct tree *tree,
                           struct fl_reader *r,
                           uint64_t count,
                           size_t bytes_min,
                           size_t size,
                           void **at)
{
    *at = NULL;
    if (r->bad || count > fl_reader_left(r) / bytes_min) {
        return FL_BAD_MESSAGE;
    }
    tree->total += (size_t)count;
    if (tree->total > SHARD_TXN_TOTAL_MAX) {
        return FL_TOO_MANY_OPS;
    }
    if (tree->memory != NULL) {
        *at = tree->memory + tree->used;
    }
    tree->used += (size_t)count * size;
    return FL_OK;
}

static enum fl_status
read_txn(struct tree *tree, struct fl_bytes body, struct shard_txn *txn, unsigned depth);

static enum fl_status
read_op(struct tree *tree, struct fl_reader *r, struct shard_op *op, unsigned depth)
{
    uint8_t kind = fl_read_u8(r);
    uint32_t len = fl_read_u32le(r);
    struct fl_bytes body = fl_read_raw(r, len);

    if (r->bad) {
        return FL_BAD_MESSAGE;
    }
    *op = (struct shard_op){.kind = (enum shard_op_kind)kind};
    switch (kind) {
    case SHARD_OP_RANGE:
        FL_TRY(shard_read_decode(&op->range, body));
        return op->range.key.len != 0 ? FL_OK : FL_BAD_MESSAGE;
    case SHARD_OP_PUT:
        return shard_put_decode(body, &op->put);
    case SHARD_OP_DELETE_RANGE:
        return shard_delete_decode(body, &op->del);
    case SHARD_OP_TXN:
        return read_txn(tree, body, &op->txn, depth + 1);
    default:
        return FL_BAD_MESSAGE;
    }
}

static enum fl_status
read_ops(struct tree *tree, struct fl_reader *r, struct shard_ops *ops, unsigned depth)
{
    uint64_t count = fl_read_varint(r);
    void *at;

    FL_TRY(take(tree, r, count, OP_BYTES_MIN, sizeof(struct shard_op), &at));
    ops->ops = at;
    ops->count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        struct shard_op measured;

        FL_TRY(read_op(tree, r, at != NULL ? &ops->ops[i] : &measured, depth));
    }
    return FL_OK;
}

static enum fl_status
read_txn(struct tree *tree, struct fl_bytes body, struct shard_txn *txn, unsigned depth)
{
    struct fl_reader r = fl_reader(body);
    uint64_t count;
    void *at;

    if (depth > FL_TXN_DEPTH_MAX) {
        return FL_TOO_DEEP;
    }
    *txn = (struct shard_txn){0};
    count = fl_read_varint(&r);
    FL_TRY(take(tree, &r, count, COMPARE_BYTES_MIN, sizeof(struct shard_compare), &at));
    txn->compares = at;
    txn->compare_count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        struct shard_compare measured;

        read_compare(&r, at != NULL ? &txn->compares[i] : &measured);
    }
    if (r.bad) {
        return FL_BAD_MESSAGE;
    }
    FL_TRY(read_ops(tree, &r, &txn->then_ops, depth));
    FL_TRY(read_ops(tree, &r, &txn->else_ops, depth));
    return fl_reader_done(&r) ? FL_OK : FL_BAD_MESSAGE;
}

static_assert(sizeof(struct shard_op) % _Alignof(struct shard_compare) == 0 &&
                  sizeof(struct shard_compare) % _Alignof(struct shard_op) == 0,
              "both kinds of element follow each other in one block");

enum fl_status
shard_txn_decode(struct fl_bytes body, struct shard_txn *txn, void **memory, size_t *memory_bytes)
{
    struct tree tree = {0};

    FL_TRY(read_txn(&tree, body, txn, 1));
    if (tree.used > *memory_bytes) {
        *memory = fl_xrealloc(*memory, tree.used, 1);
        *memory_bytes = tree.used;
    }
    if (tree.used == 0) {
        return FL_OK;
    }
    tree = (struct tree){.memory = *memory};
    return read_txn(&tree, body, txn, 1);
}

/* ---- span ---- */

struct span {
    struct fl_bytes key; /* smallest; empty: none yet */
    struct fl_bytes end; /* exclusive, real bytes */
    size_t keys;         /* different points seen: 0, 1, or "many" */
    bool open;
};

static void span_add(struct span *span, struct fl_bytes key, struct fl_bytes end)
{
    bool first = span->key.len == 0;

    if (end.len == 0) {
        fl_assert(key.data[key.len] == 0); /* see the head of this file */
        if (first || !fl_bytes_equal(key, span->key)) {
            span->keys++;
        }
        end = fl_bytes(key.data, key.len + 1);
    } else if (shard_end_is_open(end)) {
        span->open = true;
        span->keys = 2;
    } else {
        span->keys = 2;
    }
    if (first || fl_bytes_compare(key, span->key) < 0) {
        span->key = key;
    }
    if (first || fl_bytes_compare(end, span->end) > 0) {
        span->end = end;
    }
}

static void span_add_txn(struct span *span, const struct shard_txn *txn);

static void span_add_ops(struct span *span, const struct shard_ops *ops)
{
    for (size_t i = 0; i < ops->count; i++) {
        const struct shard_op *op = &ops->ops[i];

        switch (op->kind) {
        case SHARD_OP_RANGE:
            span_add(span, op->range.key, op->range.end);
            break;
        case SHARD_OP_PUT:
            span_add(span, op->put.key, fl_bytes(NULL, 0));
            break;
        case SHARD_OP_DELETE_RANGE:
            span_add(span, op->del.key, op->del.end);
            break;
        case SHARD_OP_TXN:
            span_add_txn(span, &op->txn);
            break;
        case SHARD_OP_NONE:
        default:
            break;
        }
    }
}

static void span_add_txn(struct span *span, const struct shard_txn *txn)
{
    for (size_t i = 0; i < txn->compare_count; i++) {
        span_add(span, txn->compares[i].key, txn->compares[i].end);
    }
    span_add_ops(span, &txn->then_ops);
    span_add_ops(span, &txn->else_ops);
}

static enum fl_status span_of(const struct shard_command *command, struct span *span)
{
    struct shard_put put;
    struct shard_delete del;
    struct shard_txn txn;
    void *memory = NULL;
    size_t memory_bytes = 0;
    enum fl_status status;

    switch (command->kind) {
    case SHARD_COMMAND_PUT:
        FL_TRY(shard_put_decode(command->body, &put));
        span_add(span, put.key, fl_bytes(NULL, 0));
        return FL_OK;
    case SHARD_COMMAND_DELETE_RANGE:
        FL_TRY(shard_delete_decode(command->body, &del));
        span_add(span, del.key, del.end);
        return FL_OK;
    case SHARD_COMMAND_TXN:
        status = shard_txn_decode(command->body, &txn, &memory, &memory_bytes);
        if (status == FL_OK) {
            span_add_txn(span, &txn);
        }
        free(memory);
        return status;
    case SHARD_COMMAND_COMPACT:
    case SHARD_COMMAND_MARK:
        return FL_OK;
    default:
        return FL_BAD_MESSAGE;
    }
}

enum fl_status
shard_command_span(struct fl_bytes payload, struct fl_bytes *key, struct fl_bytes *end)
{
    static const uint8_t open_end[1] = {0};
    struct shard_command command;
    struct span span = {0};

    *key = fl_bytes(NULL, 0);
    *end = fl_bytes(NULL, 0);
    FL_TRY(shard_command_decode(payload, &command));
    FL_TRY(span_of(&command, &span));
    *key = span.key;
    if (span.open) {
        *end = fl_bytes(open_end, sizeof(open_end));
    } else if (span.keys > 1) {
        *end = span.end;
    }
    return FL_OK;
}
