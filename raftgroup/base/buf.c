/* Immutable reference-counted buffers. */
#include "raftgroup/base/buf.h"

#include "raftgroup/base/assert.h"

#include <stdlib.h>

struct fl_buf *fl_buf_create(size_t len)
{
    struct fl_buf *buf;

    fl_assert(len <= UINT32_MAX);
    buf = fl_xmalloc(sizeof(*buf) + len);
    atomic_init(&buf->refs, 1);
    buf->len = (uint32_t)len;
    return buf;
}

struct fl_buf *fl_buf_copy(struct fl_bytes bytes)
{
    struct fl_buf *buf = fl_buf_create(bytes.len);

    if (bytes.len != 0) {
        memcpy(buf->data, bytes.data, bytes.len);
    }
    return buf;
}

struct fl_buf *fl_buf_acquire(struct fl_buf *buf)
{
    /* Relaxed: whoever takes a reference already holds one. */
    unsigned before = atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);

    fl_assert(before != 0);
    return buf;
}

void fl_buf_release(struct fl_buf *buf)
{
    unsigned before;

    if (buf == NULL) {
        return;
    }
    /* Acquire-release: the thread that frees must see every use by the others. */
    before = atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel);
    fl_assert(before != 0);
    if (before == 1) {
        free(buf);
    }
}
