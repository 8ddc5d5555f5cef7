/* Byte slices, fixed-width integers, varints, and the bounded reader and growing writer of every
 * codec.
 *
 * Owner: a slice owns nothing; a writer owns its buffer until fl_writer_close or fl_writer_take.
 * Lifetime: a slice lives as long as what it points into. Threads: the owner's only.
 *
 * A reader never reads beyond its end: after the first short or malformed field it is `bad`, every
 * further read gives 0 or an empty slice, and the caller checks once at the end. */
#ifndef RAFTGROUP_BASE_BYTES_H
#define RAFTGROUP_BASE_BYTES_H

#include "raftgroup/base/alloc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct fl_bytes {
    const uint8_t *data; /* may be NULL when len is 0 */
    size_t len;
};

static inline struct fl_bytes fl_bytes(const void *data, size_t len)
{
    return (struct fl_bytes){.data = data, .len = len};
}

static inline struct fl_bytes fl_bytes_of_string(const char *text)
{
    return fl_bytes(text, strlen(text));
}

/* Order of unsigned bytes, shorter first: the order of keys. <0, 0, >0. */
static inline int fl_bytes_compare(struct fl_bytes a, struct fl_bytes b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    /* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): n != 0 means there are bytes */
    int order = n != 0 ? memcmp(a.data, b.data, n) : 0;

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static inline bool fl_bytes_equal(struct fl_bytes a, struct fl_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* FNV-1a; for hash tables, not for untrusted keys where collisions could hurt. */
static inline uint64_t fl_bytes_hash(struct fl_bytes b)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < b.len; i++) {
        h = (h ^ b.data[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

/* --- fixed-width integers ------------------------------------------------------------------- */

static inline void fl_put_u16le(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void fl_put_u32le(uint8_t *p, uint32_t v)
{
    fl_put_u16le(p, (uint16_t)v);
    fl_put_u16le(p + 2, (uint16_t)(v >> 16));
}

static inline void fl_put_u64le(uint8_t *p, uint64_t v)
{
    fl_put_u32le(p, (uint32_t)v);
    fl_put_u32le(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t fl_get_u16le(const uint8_t *p)
{
    return (uint16_t)(p[0] | (p[1] << 8));
}

static inline uint32_t fl_get_u32le(const uint8_t *p)
{
    return (uint32_t)fl_get_u16le(p) | (uint32_t)fl_get_u16le(p + 2) << 16;
}

static inline uint64_t fl_get_u64le(const uint8_t *p)
{
    return (uint64_t)fl_get_u32le(p) | (uint64_t)fl_get_u32le(p + 4) << 32;
}

/* Big-endian: for keys whose byte order must be the numeric order. */
static inline void fl_put_u64be(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--) {
        p[i] = (uint8_t)v;
        v >>= 8;
    }
}

static inline uint64_t fl_get_u64be(const uint8_t *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++) {
        v = v << 8 | p[i];
    }
    return v;
}

/* --- reader --------------------------------------------------------------------------------- */

struct fl_reader {
    const uint8_t *next;
    const uint8_t *end;
    bool bad; /* a read went beyond the end or met a malformed field */
};

static inline struct fl_reader fl_reader(struct fl_bytes input)
{
    return (struct fl_reader){.next = input.data, .end = input.data + input.len, .bad = false};
}

static inline size_t fl_reader_left(const struct fl_reader *r)
{
    return (size_t)(r->end - r->next);
}

/* Borrowed slice of exactly `len` bytes, or bad. */
static inline struct fl_bytes fl_read_raw(struct fl_reader *r, size_t len)
{
    struct fl_bytes b = {NULL, 0};

    if (r->bad || len > fl_reader_left(r)) {
        r->bad = true;
        return b;
    }
    b = fl_bytes(r->next, len);
    r->next += len;
    return b;
}

static inline uint8_t fl_read_u8(struct fl_reader *r)
{
    struct fl_bytes b = fl_read_raw(r, 1);

    return b.len == 1 ? b.data[0] : 0;
}

static inline uint32_t fl_read_u32le(struct fl_reader *r)
{
    struct fl_bytes b = fl_read_raw(r, 4);

    return b.len == 4 ? fl_get_u32le(b.data) : 0;
}

static inline uint64_t fl_read_u64le(struct fl_reader *r)
{
    struct fl_bytes b = fl_read_raw(r, 8);

    return b.len == 8 ? fl_get_u64le(b.data) : 0;
}

/* LEB128; more than ten bytes or bits beyond 64 are malformed. */
static inline uint64_t fl_read_varint(struct fl_reader *r)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte = fl_read_u8(r);

        if (r->bad) {
            return 0;
        }
        if (shift == 63 && byte > 1) {
            break;
        }
        v |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return v;
        }
    }
    r->bad = true;
    return 0;
}

/* Borrowed slice preceded by its length as varint. */
static inline struct fl_bytes fl_read_bytes(struct fl_reader *r)
{
    uint64_t len = fl_read_varint(r);

    if (len > fl_reader_left(r)) {
        r->bad = true;
        len = 0;
    }
    return fl_read_raw(r, (size_t)len);
}

/* True when nothing was bad and every byte was consumed. */
static inline bool fl_reader_done(const struct fl_reader *r)
{
    return !r->bad && r->next == r->end;
}

/* --- writer --------------------------------------------------------------------------------- */

struct fl_writer {
    uint8_t *data;
    size_t len;
    size_t capacity;
};

static inline void fl_writer_init(struct fl_writer *w)
{
    *w = (struct fl_writer){NULL, 0, 0};
}

static inline void fl_writer_close(struct fl_writer *w)
{
    free(w->data);
    fl_writer_init(w);
}

/* Forgets the content, keeps the memory. */
static inline void fl_writer_reset(struct fl_writer *w)
{
    w->len = 0;
}

static inline struct fl_bytes fl_writer_bytes(const struct fl_writer *w)
{
    return fl_bytes(w->data, w->len);
}

/* Appends `len` uninitialised bytes and returns where they start (valid until the next write). */
static inline uint8_t *fl_write_space(struct fl_writer *w, size_t len)
{
    fl_grow(&w->data, &w->capacity, w->len + len, 1);
    w->len += len;
    return w->data + (w->len - len);
}

static inline void fl_write_raw(struct fl_writer *w, struct fl_bytes b)
{
    uint8_t *p = fl_write_space(w, b.len);

    if (b.len != 0) {
        memcpy(p, b.data, b.len);
    }
}

static inline void fl_write_u8(struct fl_writer *w, uint8_t v)
{
    *fl_write_space(w, 1) = v;
}

static inline void fl_write_u32le(struct fl_writer *w, uint32_t v)
{
    fl_put_u32le(fl_write_space(w, 4), v);
}

static inline void fl_write_u64le(struct fl_writer *w, uint64_t v)
{
    fl_put_u64le(fl_write_space(w, 8), v);
}

static inline void fl_write_u64be(struct fl_writer *w, uint64_t v)
{
    fl_put_u64be(fl_write_space(w, 8), v);
}

static inline void fl_write_varint(struct fl_writer *w, uint64_t v)
{
    while (v >= 0x80) {
        fl_write_u8(w, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    fl_write_u8(w, (uint8_t)v);
}

/* Length as varint, then the bytes. */
static inline void fl_write_bytes(struct fl_writer *w, struct fl_bytes b)
{
    fl_write_varint(w, b.len);
    fl_write_raw(w, b);
}

#endif
