/* Immutable reference-counted buffers: a payload is one fl_buf from the door to the apply thread.
 *
 * Owner: every holder of a reference. Lifetime: until the last fl_buf_release.
 * Threads: references may be taken and released on any thread; the bytes may be written only by the
 * creator before the buffer is shared. */
#ifndef RAFTGROUP_BASE_BUF_H
#define RAFTGROUP_BASE_BUF_H

#include "raftgroup/base/bytes.h"

#include <stdatomic.h>
#include <stdint.h>

struct fl_buf {
    atomic_uint refs;
    uint32_t len;
    uint8_t data[];
};

/* A buffer of `len` uninitialised bytes with one reference. */
struct fl_buf *fl_buf_create(size_t len);
/* A buffer holding a copy of `bytes`, one reference. */
struct fl_buf *fl_buf_copy(struct fl_bytes bytes);
/* One more reference; returns `buf`. */
struct fl_buf *fl_buf_acquire(struct fl_buf *buf);
/* Drops a reference, frees at the last; NULL is allowed. */
void fl_buf_release(struct fl_buf *buf);

static inline struct fl_bytes fl_buf_bytes(const struct fl_buf *buf)
{
    return fl_bytes(buf->data, buf->len);
}

#endif
