/* Frames on their way out. */
#include "node/outbox.h"

#include "node/frame.h"
#include "node/transport_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"

#include <stdlib.h>

/* A larger frame is freed instead of kept as the spare. */
#define SPARE_BYTES_MAX (2 * NODE_OUTBOX_FRAME_BYTES)

struct segment {
    struct fl_buf *buf; /* NULL: in the frame's own bytes */
    size_t offset;
    size_t len;
};

struct node__out_frame {
    struct node__out_frame *next;
    struct fl_writer bytes;   /* header and copied pieces; may move until sealed */
    struct segment *segments; /* the frame in order; the header starts the first one */
    size_t segment_count;
    size_t segment_capacity;
    size_t len; /* header included */
    int64_t messages;
};

void node__outbox_init(struct node__outbox *outbox)
{
    *outbox = (struct node__outbox){NULL, NULL, NULL, 0, 0, false};
}

static void frame_reset(struct node__out_frame *frame)
{
    for (size_t i = 0; i < frame->segment_count; i++) {
        fl_buf_release(frame->segments[i].buf);
    }
    frame->segment_count = 0;
    frame->len = 0;
    frame->messages = 0;
    frame->next = NULL;
    fl_writer_reset(&frame->bytes);
}

static void frame_destroy(struct node__out_frame *frame)
{
    if (frame != NULL) {
        frame_reset(frame);
        fl_writer_close(&frame->bytes);
        free(frame->segments);
        free(frame);
    }
}

void node__outbox_close(struct node__outbox *outbox)
{
    while (outbox->first != NULL) {
        struct node__out_frame *frame = outbox->first;

        outbox->first = frame->next;
        frame_destroy(frame);
    }
    frame_destroy(outbox->spare);
    node__outbox_init(outbox);
}

static void add_segment(struct node__out_frame *frame, struct segment segment)
{
    fl_grow(&frame->segments,
            &frame->segment_capacity,
            frame->segment_count + 1,
            sizeof(*frame->segments));
    frame->segments[frame->segment_count++] = segment;
}

/* Bytes were written to frame->bytes from `start` on: they lengthen the last segment or begin one.
 */
static void cover(struct node__out_frame *frame, size_t start)
{
    size_t len = frame->bytes.len - start;
    struct segment *last =
        frame->segment_count > 0 ? &frame->segments[frame->segment_count - 1] : NULL;

    if (len == 0) {
        return;
    }
    if (last != NULL && last->buf == NULL) {
        last->len += len;
    } else {
        add_segment(frame, (struct segment){NULL, start, len});
    }
}

static void open_frame(struct node__outbox *outbox)
{
    struct node__out_frame *frame = outbox->spare;

    if (frame != NULL) {
        outbox->spare = NULL;
    } else {
        frame = fl_xcalloc(1, sizeof(*frame));
    }
    (void)fl_write_space(&frame->bytes, NODE_FRAME_HEADER_BYTES);
    cover(frame, 0);
    frame->len = NODE_FRAME_HEADER_BYTES;
    outbox->queued_bytes += NODE_FRAME_HEADER_BYTES;
    if (outbox->last != NULL) {
        outbox->last->next = frame;
    } else {
        outbox->first = frame;
    }
    outbox->last = frame;
    outbox->open = true;
}

static void append_part(struct node__out_frame *frame, const struct node_part *part)
{
    size_t start = frame->bytes.len;

    if (part->buf == NULL || part->bytes.len < NODE_OUTBOX_BORROW_BYTES) {
        fl_write_raw(&frame->bytes, part->bytes);
        cover(frame, start);
        return;
    }
    fl_assert(part->bytes.data >= part->buf->data &&
              part->bytes.data + part->bytes.len <= part->buf->data + part->buf->len);
    add_segment(frame,
                (struct segment){fl_buf_acquire(part->buf),
                                 (size_t)(part->bytes.data - part->buf->data),
                                 part->bytes.len});
}

bool node__outbox_append(struct node__outbox *outbox,
                         size_t bytes_max,
                         uint8_t kind,
                         const struct node_part *parts,
                         size_t count)
{
    struct node__out_frame *frame;
    size_t len = 0;
    size_t start;

    for (size_t i = 0; i < count; i++) {
        len += parts[i].bytes.len;
    }
    fl_assert(len <= (size_t)(FL_FRAME_BYTES_MAX / 2));
    if (outbox->queued_bytes + len + NODE_FRAME_MESSAGE_BYTES_MAX + NODE_FRAME_HEADER_BYTES >
        bytes_max) {
        return false;
    }
    if (!outbox->open) {
        open_frame(outbox);
    }
    frame = outbox->last;
    start = frame->bytes.len;
    node_frame_write_message(&frame->bytes, kind, len);
    len += frame->bytes.len - start;
    cover(frame, start);
    for (size_t i = 0; i < count; i++) {
        append_part(frame, &parts[i]);
    }
    frame->len += len;
    frame->messages++;
    outbox->queued_bytes += len;
    if (frame->len >= NODE_OUTBOX_FRAME_BYTES) {
        node__outbox_seal(outbox);
    }
    return true;
}

static const uint8_t *segment_data(const struct node__out_frame *frame, const struct segment *s)
{
    return (s->buf != NULL ? s->buf->data : frame->bytes.data) + s->offset;
}

void node__outbox_seal(struct node__outbox *outbox)
{
    struct node__out_frame *frame = outbox->last;
    uint32_t crc = node_frame_crc_begin(NODE_FRAME_MESSAGES);
    size_t skip = NODE_FRAME_HEADER_BYTES;

    if (!outbox->open) {
        return;
    }
    for (size_t i = 0; i < frame->segment_count; i++) {
        const struct segment *s = &frame->segments[i];

        crc = fl_crc32c(crc, segment_data(frame, s) + skip, s->len - skip);
        skip = 0;
    }
    node_frame_put_header(
        frame->bytes.data, NODE_FRAME_MESSAGES, frame->len - NODE_FRAME_HEADER_BYTES, crc);
    outbox->open = false;
    fl_metric_add(&node__transport_metrics[NODE__METRIC_SENT_FRAMES], 1);
    fl_metric_add(&node__transport_metrics[NODE__METRIC_SENT_MESSAGES], frame->messages);
}

size_t node__outbox_gather(const struct node__outbox *outbox,
                           struct iovec *iov,
                           size_t count_max,
                           size_t *bytes)
{
    size_t skip = outbox->first_sent;
    size_t count = 0;

    *bytes = 0;
    for (const struct node__out_frame *f = outbox->first; f != NULL; f = f->next) {
        if (f == outbox->last && outbox->open) {
            break;
        }
        for (size_t i = 0; i < f->segment_count && count < count_max; i++) {
            const struct segment *s = &f->segments[i];
            size_t done = skip < s->len ? skip : s->len;

            skip -= done;
            if (done < s->len) {
                /* writev only reads; iovec has no const of its own. */
                iov[count].iov_base = (void *)(uintptr_t)(segment_data(f, s) + done);
                iov[count].iov_len = s->len - done;
                *bytes += iov[count].iov_len;
                count++;
            }
        }
    }
    return count;
}

static void drop_first(struct node__outbox *outbox)
{
    struct node__out_frame *frame = outbox->first;

    outbox->first = frame->next;
    if (outbox->first == NULL) {
        outbox->last = NULL;
    }
    outbox->first_sent = 0;
    if (outbox->spare == NULL && frame->bytes.capacity <= SPARE_BYTES_MAX) {
        frame_reset(frame);
        outbox->spare = frame;
    } else {
        frame_destroy(frame);
    }
}

void node__outbox_consume(struct node__outbox *outbox, size_t bytes)
{
    fl_assert(bytes <= outbox->queued_bytes);
    outbox->queued_bytes -= bytes;
    while (bytes > 0) {
        size_t left = outbox->first->len - outbox->first_sent;

        if (bytes < left) {
            outbox->first_sent += bytes;
            return;
        }
        bytes -= left;
        drop_first(outbox);
    }
}
