/* Goal: the bytes gathered from an outbox are the frames of what was appended, in order, whatever
 * part of them the kernel takes at a time; borrowed buffers are let go exactly when they are sent.
 * Method: seeded random messages of copied and borrowed pieces, gathered with few elements and
 * consumed in random amounts, decoded again by the frame reader and compared. */
#include "node/outbox.h"

#include "node/frame.h"
#include "node/transport_internal.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned refs(const struct fl_buf *buf)
{
    return atomic_load(&((struct fl_buf *)(uintptr_t)buf)->refs);
}

static bool append_text(struct node__outbox *outbox, size_t max, const char *text)
{
    struct node_part part = {fl_bytes_of_string(text), NULL};

    return node__outbox_append(outbox, max, 9, &part, 1);
}

static void test_short_pieces_are_one_element(void **state)
{
    struct node__outbox outbox;
    struct iovec iov[8];
    size_t bytes;
    int64_t frames = fl_metric_get(&node__transport_metrics[NODE__METRIC_SENT_FRAMES]);

    (void)state;
    node__outbox_init(&outbox);
    assert_int_equal(node__outbox_gather(&outbox, iov, 8, &bytes), 0);
    for (int i = 0; i < 64; i++) {
        assert_true(append_text(&outbox, 100000, "message of a group"));
    }
    /* An open frame is not for sending. */
    assert_int_equal(node__outbox_gather(&outbox, iov, 8, &bytes), 0);
    node__outbox_seal(&outbox);
    assert_int_equal(node__outbox_gather(&outbox, iov, 8, &bytes), 1);
    assert_int_equal(bytes, NODE_FRAME_HEADER_BYTES + 64 * 20);
    assert_int_equal(bytes, outbox.queued_bytes);
    assert_int_equal(fl_metric_get(&node__transport_metrics[NODE__METRIC_SENT_FRAMES]), frames + 1);
    node__outbox_consume(&outbox, bytes);
    assert_int_equal(outbox.queued_bytes, 0);
    node__outbox_seal(&outbox);
    assert_int_equal(node__outbox_gather(&outbox, iov, 8, &bytes), 0);
    node__outbox_close(&outbox);
}

static void test_long_pieces_are_borrowed(void **state)
{
    struct node__outbox outbox;
    struct fl_buf *buf = fl_buf_create(NODE_OUTBOX_BORROW_BYTES + 10);
    struct node_part parts[3] = {
        {fl_bytes("head", 4), NULL},
        {fl_bytes(buf->data + 10, NODE_OUTBOX_BORROW_BYTES), buf},
        {fl_bytes(buf->data, 10), buf},
    };
    struct iovec iov[8];
    size_t bytes;

    (void)state;
    memset(buf->data, 'b', buf->len);
    node__outbox_init(&outbox);
    assert_true(node__outbox_append(&outbox, 100000, 1, parts, 3));
    assert_int_equal(refs(buf), 2);
    node__outbox_seal(&outbox);
    assert_int_equal(node__outbox_gather(&outbox, iov, 8, &bytes), 3);
    assert_ptr_equal(iov[1].iov_base, buf->data + 10);
    node__outbox_consume(&outbox, bytes - 1);
    assert_int_equal(refs(buf), 2);
    node__outbox_consume(&outbox, 1);
    assert_int_equal(refs(buf), 1);
    /* What was never sent is let go at the end. */
    assert_true(node__outbox_append(&outbox, 100000, 1, parts, 3));
    node__outbox_seal(&outbox);
    assert_true(node__outbox_append(&outbox, 100000, 1, parts, 3));
    assert_int_equal(refs(buf), 3);
    node__outbox_close(&outbox);
    assert_int_equal(refs(buf), 1);
    fl_buf_release(buf);
}

static void test_bound(void **state)
{
    struct node__outbox outbox;
    size_t queued;

    (void)state;
    node__outbox_init(&outbox);
    for (int i = 0; append_text(&outbox, 1000, "0123456789"); i++) {
        assert_true(i < 1000);
    }
    queued = outbox.queued_bytes;
    assert_true(queued <= 1000 && queued > 1000 - 2 * 40);
    assert_false(append_text(&outbox, 1000, "0123456789"));
    assert_int_equal(outbox.queued_bytes, queued);
    node__outbox_seal(&outbox);
    node__outbox_consume(&outbox, queued);
    assert_true(append_text(&outbox, 1000, "0123456789"));
    node__outbox_close(&outbox);
}

/* --- random --------------------------------------------------------------------------------- */

struct stream {
    struct node__outbox outbox;
    struct node_frame_reader reader;
    struct fl_prng prng;
    uint64_t sent;
    uint64_t seen;
};

static uint8_t pattern(uint64_t n, size_t i)
{
    return (uint8_t)(n * 131 + i + i / 255);
}

static void append_random(struct stream *stream)
{
    size_t len = (size_t)(fl_prng_next(&stream->prng) >> (46 + fl_prng_below(&stream->prng, 18)));
    struct fl_buf *buf = fl_buf_create(len + 1);
    size_t cut = (size_t)fl_prng_below(&stream->prng, len + 1);
    struct node_part parts[2] = {
        {fl_bytes(buf->data, cut), fl_prng_below(&stream->prng, 2) == 0 ? buf : NULL},
        {fl_bytes(buf->data + cut, len - cut), fl_prng_below(&stream->prng, 2) == 0 ? buf : NULL},
    };

    for (size_t i = 0; i < len; i++) {
        buf->data[i] = pattern(stream->sent, i);
    }
    if (node__outbox_append(&stream->outbox, 2000000, (uint8_t)stream->sent, parts, 2)) {
        stream->sent++;
    }
    fl_buf_release(buf);
}

static void check_message(struct stream *stream, uint8_t kind, struct fl_bytes bytes)
{
    bool same = kind == (uint8_t)stream->seen;

    for (size_t i = 0; i < bytes.len; i++) {
        same = same && bytes.data[i] == pattern(stream->seen, i);
    }
    assert_true(same);
    stream->seen++;
}

static void receive(struct stream *stream, const uint8_t *data, size_t len)
{
    struct node_frame frame;

    while (len > 0) {
        size_t space;
        uint8_t *room = node_frame_reader_space(&stream->reader, &space);
        size_t n = len < space ? len : space;

        memcpy(room, data, n);
        node_frame_reader_fill(&stream->reader, n);
        data += n;
        len -= n;
        while (node_frame_next(&stream->reader, &frame) == FL_OK) {
            struct fl_reader body = fl_reader(frame.body);
            struct fl_bytes bytes;
            uint8_t kind;

            while (node_frame_message(&body, &kind, &bytes)) {
                check_message(stream, kind, bytes);
            }
        }
    }
}

/* The kernel takes `limit` bytes of what is gathered. */
static void transfer(struct stream *stream, size_t limit)
{
    struct iovec iov[5];
    size_t bytes;
    size_t count =
        node__outbox_gather(&stream->outbox, iov, 1 + fl_prng_below(&stream->prng, 5), &bytes);
    size_t taken = 0;

    for (size_t i = 0; i < count && taken < limit; i++) {
        size_t n = iov[i].iov_len < limit - taken ? iov[i].iov_len : limit - taken;

        receive(stream, iov[i].iov_base, n);
        taken += n;
    }
    node__outbox_consume(&stream->outbox, taken);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct stream stream = {.sent = 0, .seen = 0};

        fl_prng_seed(&stream.prng, seed);
        node__outbox_init(&stream.outbox);
        node_frame_reader_init(&stream.reader, FL_FRAME_BYTES_MAX);
        for (int step = 0; step < 1500; step++) {
            switch (fl_prng_below(&stream.prng, 4)) {
            case 0:
                node__outbox_seal(&stream.outbox);
                transfer(&stream, (size_t)fl_prng_below(&stream.prng, 200000));
                break;
            case 1:
                transfer(&stream, SIZE_MAX);
                break;
            default:
                append_random(&stream);
                break;
            }
        }
        node__outbox_seal(&stream.outbox);
        while (stream.outbox.queued_bytes > 0) {
            transfer(&stream, SIZE_MAX);
        }
        assert_int_equal(stream.seen, stream.sent);
        assert_true(stream.sent > 500);
        node__outbox_close(&stream.outbox);
        node_frame_reader_close(&stream.reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_pieces_are_one_element),
        cmocka_unit_test(test_long_pieces_are_borrowed),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
