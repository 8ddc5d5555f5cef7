/* Results of commands and reads.
 *
 *   off size field                          little-endian
 *    0   1   version = 1
 *    1   1   kind
 *    2   1   flags: 1 more, 2 succeeded, 4 has_prev
 *    3   1   0
 *    4   8   revision
 *   12   8   count
 *   20   4   parts
 *   24  ..   parts: TXN: {u32 length, result}; others: pairs {varint create, mod, version, lease,
 *            bytes key, bytes value} */
#include "shard/result.h"

#include "raftgroup/base/assert.h"

#include <stdlib.h>

#define RESULT_FORMAT       1
#define RESULT_HEADER_BYTES 24
#define KV_BYTES_MIN        6

enum {
    RESULT_MORE = 1,
    RESULT_SUCCEEDED = 2,
    RESULT_HAS_PREV = 4,
    RESULT_FLAGS = 7,
};

/* ---- reading ---- */

static enum fl_status check_parts(const struct shard_result *result, uint32_t parts)
{
    size_t left = fl_reader_left(&result->part);

    switch (result->kind) {
    case SHARD_RESULT_PUT:
        return parts == (result->has_prev ? 1u : 0u) ? FL_OK : FL_BAD_MESSAGE;
    case SHARD_RESULT_RANGE:
    case SHARD_RESULT_DELETE_RANGE:
        return parts <= left / KV_BYTES_MIN && parts <= result->count ? FL_OK : FL_BAD_MESSAGE;
    case SHARD_RESULT_TXN:
        return parts <= left / (4 + RESULT_HEADER_BYTES) ? FL_OK : FL_BAD_MESSAGE;
    case SHARD_RESULT_COMPACT:
        return parts == 0 ? FL_OK : FL_BAD_MESSAGE;
    default:
        return FL_BAD_MESSAGE;
    }
}

enum fl_status shard_result_decode(struct fl_bytes input, struct shard_result *result)
{
    const uint8_t *p = input.data;
    uint32_t parts;

    *result = (struct shard_result){.part = {.bad = true}};
    if (input.len == 0) {
        return FL_BAD_MESSAGE;
    }
    if (p[0] > RESULT_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    if (input.len < RESULT_HEADER_BYTES || p[0] != RESULT_FORMAT || p[1] < SHARD_RESULT_PUT ||
        p[1] > SHARD_RESULT_COMPACT || (p[2] & ~(unsigned)RESULT_FLAGS) != 0 || p[3] != 0) {
        return FL_BAD_MESSAGE;
    }
    result->kind = (enum shard_result_kind)p[1];
    result->more = (p[2] & RESULT_MORE) != 0;
    result->succeeded = (p[2] & RESULT_SUCCEEDED) != 0;
    result->has_prev = (p[2] & RESULT_HAS_PREV) != 0;
    result->revision = fl_get_u64le(p + 4);
    result->count = fl_get_u64le(p + 12);
    parts = fl_get_u32le(p + 20);
    result->part = fl_reader(fl_bytes(p + RESULT_HEADER_BYTES, input.len - RESULT_HEADER_BYTES));
    FL_TRY(check_parts(result, parts));
    if (result->kind == SHARD_RESULT_TXN) {
        result->response_count = parts;
    } else {
        result->kv_count = parts;
    }
    return parts != 0 || fl_reader_done(&result->part) ? FL_OK : FL_BAD_MESSAGE;
}

bool shard_result_next_kv(struct shard_result *result, struct shard_kv *kv)
{
    struct fl_reader *r = &result->part;

    if (r->bad || result->kv_count == 0) {
        return false;
    }
    kv->create_revision = fl_read_varint(r);
    kv->mod_revision = fl_read_varint(r);
    kv->version = fl_read_varint(r);
    kv->lease = (int64_t)fl_read_varint(r);
    kv->key = fl_read_bytes(r);
    kv->value = fl_read_bytes(r);
    result->kv_count--;
    if (result->kv_count == 0 && fl_reader_left(r) != 0) {
        r->bad = true; /* bytes that belong to nothing */
    }
    return !r->bad;
}

bool shard_result_next_response(struct shard_result *result, struct shard_result *response)
{
    struct fl_reader *r = &result->part;
    struct fl_bytes body;

    if (r->bad || result->response_count == 0) {
        return false;
    }
    body = fl_read_raw(r, fl_read_u32le(r));
    result->response_count--;
    if (result->response_count == 0 && fl_reader_left(r) != 0) {
        r->bad = true;
    }
    if (!r->bad && shard_result_decode(body, response) != FL_OK) {
        r->bad = true;
    }
    return !r->bad;
}

static enum fl_status check_tree(struct shard_result result, unsigned depth)
{
    struct shard_result response;
    struct shard_kv kv;

    if (depth > FL_TXN_DEPTH_MAX + 1) {
        return FL_TOO_DEEP;
    }
    while (shard_result_next_kv(&result, &kv)) {
    }
    while (shard_result_next_response(&result, &response)) {
        FL_TRY(check_tree(response, depth + 1));
    }
    return result.part.bad ? FL_BAD_MESSAGE : FL_OK;
}

enum fl_status shard_result_check(struct fl_bytes input)
{
    struct shard_result result;

    FL_TRY(shard_result_decode(input, &result));
    return check_tree(result, 1);
}

/* ---- writing ---- */

void shard_result_writer_init(struct shard_result_writer *w)
{
    *w = (struct shard_result_writer){.bytes_max = SHARD_RESULT_BYTES_MAX};
}

void shard_result_writer_close(struct shard_result_writer *w)
{
    free(w->buf);
    shard_result_writer_init(w);
}

void shard_result_writer_reset(struct shard_result_writer *w)
{
    w->len = 0;
    w->depth = 0;
}

static uint8_t *space(struct shard_result_writer *w, size_t len)
{
    size_t need = w->len + len;

    if (need > w->capacity) {
        size_t capacity = w->capacity < 256 ? 256 : w->capacity;

        while (capacity < need) {
            capacity *= 2;
        }
        w->buf = fl_xrealloc(w->buf, sizeof(*w->buf) + capacity, 1);
        w->capacity = capacity;
    }
    w->len = need;
    return w->buf->data + (need - len);
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static uint8_t *put_bytes(uint8_t *p, struct fl_bytes b)
{
    p = put_varint(p, b.len);
    if (b.len != 0) {
        memcpy(p, b.data, b.len);
    }
    return p + b.len;
}

static void put_header(uint8_t *p, enum shard_result_kind kind, uint64_t revision)
{
    memset(p, 0, RESULT_HEADER_BYTES);
    p[0] = RESULT_FORMAT;
    p[1] = (uint8_t)kind;
    fl_put_u64le(p + 4, revision);
}

void shard_result_begin(struct shard_result_writer *w,
                        enum shard_result_kind kind,
                        uint64_t revision)
{
    fl_assert(w->depth < sizeof(w->open) / sizeof(w->open[0]));
    if (w->depth != 0) {
        w->open[w->depth - 1].parts++;
        (void)space(w, 4); /* length, set by end */
    }
    w->open[w->depth].at = w->len;
    w->open[w->depth].parts = 0;
    w->depth++;
    put_header(space(w, RESULT_HEADER_BYTES), kind, revision);
}

void shard_result_add_kv(struct shard_result_writer *w, const struct shard_kv *kv)
{
    size_t before = w->len;
    uint8_t *p = space(w, (size_t)6 * 10 + kv->key.len + kv->value.len);
    uint8_t *begin = p;

    p = put_varint(p, kv->create_revision);
    p = put_varint(p, kv->mod_revision);
    p = put_varint(p, kv->version);
    p = put_varint(p, (uint64_t)kv->lease);
    p = put_bytes(p, kv->key);
    p = put_bytes(p, kv->value);
    w->len = before + (size_t)(p - begin);
    w->open[w->depth - 1].parts++;
}

void shard_result_set_revision(struct shard_result_writer *w, uint64_t revision)
{
    fl_put_u64le(w->buf->data + w->open[w->depth - 1].at + 4, revision);
}

void shard_result_set_count(struct shard_result_writer *w, uint64_t count)
{
    fl_put_u64le(w->buf->data + w->open[w->depth - 1].at + 12, count);
}

void shard_result_set_flags(struct shard_result_writer *w, bool more, bool succeeded, bool has_prev)
{
    unsigned flags = (more ? RESULT_MORE : 0u) | (succeeded ? RESULT_SUCCEEDED : 0u) |
                     (has_prev ? RESULT_HAS_PREV : 0u);

    w->buf->data[w->open[w->depth - 1].at + 2] = (uint8_t)flags;
}

void shard_result_end(struct shard_result_writer *w)
{
    size_t at;

    fl_assert(w->depth != 0);
    w->depth--;
    at = w->open[w->depth].at;
    /* Beyond 32 bits nothing fits SHARD_RESULT_BYTES_MAX: take refuses, the numbers do not matter.
     */
    fl_put_u32le(w->buf->data + at + 20, (uint32_t)w->open[w->depth].parts);
    if (w->depth != 0) {
        fl_put_u32le(w->buf->data + at - 4, (uint32_t)(w->len - at));
    }
}

enum fl_status shard_result_take(struct shard_result_writer *w, struct fl_buf **result)
{
    fl_assert(w->depth == 0 && w->len != 0);
    *result = NULL;
    if (w->len > w->bytes_max) {
        shard_result_writer_reset(w);
        return FL_TOO_LARGE;
    }
    /* Growing doubled the memory; a result may wait in a queue, so give back what it does not use.
     */
    w->buf = fl_xrealloc(w->buf, sizeof(*w->buf) + w->len, 1);
    atomic_init(&w->buf->refs, 1);
    w->buf->len = (uint32_t)w->len;
    *result = w->buf;
    shard_result_writer_init(w);
    return FL_OK;
}

struct fl_buf *shard_result_plain(enum shard_result_kind kind, uint64_t revision)
{
    struct fl_buf *result = fl_buf_create(RESULT_HEADER_BYTES);

    put_header(result->data, kind, revision);
    return result;
}

struct fl_buf *shard_result_deleted(uint64_t revision, uint64_t count)
{
    struct fl_buf *result = shard_result_plain(SHARD_RESULT_DELETE_RANGE, revision);

    fl_put_u64le(result->data + 12, count);
    return result;
}

/* ---- several ranges ---- */

struct pair {
    struct shard_kv kv;
    size_t at; /* position in key order: the tie-break that makes the sort stable */
};

struct pairs {
    struct pair *pairs;
    size_t count;
    size_t capacity;
};

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_pairs(const void *va, const void *vb, void *context)
{
    const struct pair *a = va;
    const struct pair *b = vb;
    const struct shard_read *read = context;
    int order = 0;

    switch ((enum shard_sort_target)read->sort_target) {
    case SHARD_SORT_KEY:
        order = fl_bytes_compare(a->kv.key, b->kv.key);
        break;
    case SHARD_SORT_VERSION:
        order = compare_numbers(a->kv.version, b->kv.version);
        break;
    case SHARD_SORT_CREATE:
        order = compare_numbers(a->kv.create_revision, b->kv.create_revision);
        break;
    case SHARD_SORT_MOD:
        order = compare_numbers(a->kv.mod_revision, b->kv.mod_revision);
        break;
    case SHARD_SORT_VALUE:
        order = fl_bytes_compare(a->kv.value, b->kv.value);
        break;
    }
    if (read->sort_order == SHARD_SORT_DESCEND) {
        order = -order;
    }
    return order != 0 ? order : compare_numbers(a->at, b->at);
}

static enum fl_status gather(struct pairs *pairs, struct fl_bytes part, uint64_t *count, bool *more)
{
    struct shard_result result;
    struct shard_kv kv;

    FL_TRY(shard_result_decode(part, &result));
    if (result.kind != SHARD_RESULT_RANGE) {
        return FL_BAD_MESSAGE;
    }
    *count += result.count;
    *more = *more || result.more;
    fl_grow(&pairs->pairs, &pairs->capacity, pairs->count + result.kv_count, sizeof(*pairs->pairs));
    while (shard_result_next_kv(&result, &kv)) {
        pairs->pairs[pairs->count] = (struct pair){.kv = kv, .at = pairs->count};
        pairs->count++;
    }
    return result.part.bad ? FL_BAD_MESSAGE : FL_OK;
}

static enum fl_status write_pairs(const struct shard_read *read,
                                  struct pairs *pairs,
                                  uint64_t count,
                                  bool more,
                                  struct shard_result_writer *w)
{
    size_t n = pairs->count;

    if (read->limit != 0 && n > read->limit) {
        n = (size_t)read->limit;
        more = true;
    }
    shard_result_set_count(w, count);
    shard_result_set_flags(w, more, false, false);
    for (size_t i = 0; i < n; i++) {
        if (read->keys_only) {
            pairs->pairs[i].kv.value = fl_bytes(NULL, 0);
        }
        shard_result_add_kv(w, &pairs->pairs[i].kv);
        if (w->len > SHARD_RESULT_BYTES_MAX) {
            return FL_TOO_LARGE;
        }
    }
    shard_result_end(w);
    return FL_OK;
}

enum fl_status shard_result_merge(const struct shard_read *read,
                                  const struct fl_bytes *parts,
                                  size_t count,
                                  uint64_t revision,
                                  struct fl_buf **result)
{
    struct pairs pairs = {0};
    struct shard_result_writer w;
    struct shard_read by = *read;
    uint64_t keys = 0;
    bool more = false;
    enum fl_status status = FL_OK;

    *result = NULL;
    shard_result_writer_init(&w);
    for (size_t i = 0; i < count; i++) {
        FL_TRY_OUT(gather(&pairs, parts[i], &keys, &more));
    }
    if (pairs.count != 0 &&
        (read->sort_order == SHARD_SORT_DESCEND || read->sort_target != SHARD_SORT_KEY)) {
        qsort_r(pairs.pairs, pairs.count, sizeof(*pairs.pairs), compare_pairs, &by);
    }
    shard_result_begin(&w, SHARD_RESULT_RANGE, revision);
    FL_TRY_OUT(write_pairs(read, &pairs, keys, more, &w));
    status = shard_result_take(&w, result);
out:
    shard_result_writer_close(&w);
    free(pairs.pairs);
    return status;
}

enum fl_status shard_result_merge_deleted(const struct fl_bytes *parts,
                                          size_t count,
                                          uint64_t revision,
                                          struct fl_buf **result)
{
    struct shard_result_writer w;
    struct shard_result part;
    struct shard_kv kv;
    uint64_t deleted = 0;
    enum fl_status status = FL_OK;

    *result = NULL;
    shard_result_writer_init(&w);
    shard_result_begin(&w, SHARD_RESULT_DELETE_RANGE, revision);
    for (size_t i = 0; i < count; i++) {
        FL_TRY_OUT(shard_result_decode(parts[i], &part));
        if (part.kind != SHARD_RESULT_DELETE_RANGE) {
            status = FL_BAD_MESSAGE;
            goto out;
        }
        deleted += part.count;
        while (shard_result_next_kv(&part, &kv)) {
            shard_result_add_kv(&w, &kv);
        }
        status = part.part.bad                    ? FL_BAD_MESSAGE
                 : w.len > SHARD_RESULT_BYTES_MAX ? FL_TOO_LARGE
                                                  : FL_OK;
        if (status != FL_OK) {
            goto out;
        }
    }
    shard_result_set_count(&w, deleted);
    shard_result_end(&w);
    status = shard_result_take(&w, result);
out:
    shard_result_writer_close(&w);
    return status;
}
