/* Frames on their way out of one connection: built from messages, gathered for writev, let go.
 *
 * Owner: the connection. Lifetime: node__outbox_init to node__outbox_close.
 * Threads: the owner's only.
 *
 *     first -> [frame, partly sent] -> [sealed frame] -> [open frame] <- last
 *
 * Short pieces are copied into the frame's own bytes; long ones stay in their fl_buf and become a
 * segment of their own. A sealed frame never changes, so the kernel or libuv may point into it. */
#ifndef NODE_OUTBOX_H
#define NODE_OUTBOX_H

#include "node/transport.h"
#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* A frame is sealed at this size: the peer can only use a frame once it is whole. */
#define NODE_OUTBOX_FRAME_BYTES ((size_t)256 * 1024)
/* From this length on a piece is sent from its buffer; below, copying is cheaper than the reference
 * count and one more element of the writev. */
#define NODE_OUTBOX_BORROW_BYTES 2048

struct node__out_frame;

struct node__outbox {
    struct node__out_frame *first;
    struct node__out_frame *last;
    struct node__out_frame *spare; /* memory for the next frame */
    size_t first_sent;             /* bytes of `first` that were consumed */
    size_t queued_bytes;           /* appended, headers included, and not consumed */
    bool open;                     /* `last` takes messages */
};

void node__outbox_init(struct node__outbox *outbox);
/* Releases every buffer; nothing may point into the frames any more. */
void node__outbox_close(struct node__outbox *outbox);
/* Appends one message. False: `queued_bytes` would pass `bytes_max`; nothing changed. */
bool node__outbox_append(struct node__outbox *outbox,
                         size_t bytes_max,
                         uint8_t kind,
                         const struct node_part *parts,
                         size_t count);
/* Finishes the open frame, if there is one: length and checksum. */
void node__outbox_seal(struct node__outbox *outbox);
/* Fills up to `count_max` elements with what is sealed and not consumed, oldest first. Returns how
 * many; `*bytes` is their sum. */
size_t node__outbox_gather(const struct node__outbox *outbox,
                           struct iovec *iov,
                           size_t count_max,
                           size_t *bytes);
/* The first `bytes` sealed bytes have been written. */
void node__outbox_consume(struct node__outbox *outbox, size_t bytes);

#endif
