/* Goal: what frames carry comes out as it went in, however the bytes are cut; malformed bytes are
 * refused before they are believed and never read out of bounds.
 * Method: fixed bytes for the format, random streams cut at random places, every single-bit flip of
 * a frame, every truncation, lengths at and beyond the bound, garbage. Run under ASan. */
#include "node/frame.h"

#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void feed(struct node_frame_reader *reader, struct fl_bytes bytes)
{
    while (bytes.len > 0) {
        size_t space;
        uint8_t *room = node_frame_reader_space(reader, &space);
        size_t n = bytes.len < space ? bytes.len : space;

        assert_true(space > 0);
        memcpy(room, bytes.data, n);
        node_frame_reader_fill(reader, n);
        bytes = fl_bytes(bytes.data + n, bytes.len - n);
    }
}

static void write_messages(struct fl_writer *out, const char *const *texts, size_t count)
{
    struct fl_writer body;

    fl_writer_init(&body);
    for (size_t i = 0; i < count; i++) {
        node_frame_write_message(&body, (uint8_t)(i + 1), strlen(texts[i]));
        fl_write_raw(&body, fl_bytes_of_string(texts[i]));
    }
    node_frame_write(out, NODE_FRAME_MESSAGES, fl_writer_bytes(&body));
    fl_writer_close(&body);
}

/* The format is pinned: other versions of this program read these bytes. */
static void test_bytes_on_the_wire(void **state)
{
    static const char *const texts[] = {"ab", ""};
    static const uint8_t rest[] = {1, 1, 0, 0, 1, 2, 'a', 'b', 2, 0};
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    write_messages(&out, texts, 2);
    assert_int_equal(out.len, NODE_FRAME_HEADER_BYTES + 6);
    assert_int_equal(fl_get_u32le(out.data), 6);
    assert_int_equal(fl_get_u32le(out.data + 4), fl_crc32c(0, rest, sizeof(rest)));
    assert_memory_equal(out.data + 8, rest, sizeof(rest));
    fl_writer_close(&out);
}

static void test_messages_come_out(void **state)
{
    static const char *const texts[] = {"one", "", "three"};
    struct node_frame_reader reader;
    struct node_frame frame;
    struct fl_reader body;
    struct fl_bytes bytes;
    struct fl_writer out;
    uint8_t kind;

    (void)state;
    fl_writer_init(&out);
    write_messages(&out, texts, 3);
    node_frame_reader_init(&reader, 1000);
    feed(&reader, fl_writer_bytes(&out));
    assert_int_equal(node_frame_next(&reader, &frame), FL_OK);
    assert_int_equal(frame.type, NODE_FRAME_MESSAGES);
    body = fl_reader(frame.body);
    for (size_t i = 0; i < 3; i++) {
        assert_true(node_frame_message(&body, &kind, &bytes));
        assert_int_equal(kind, i + 1);
        assert_true(fl_bytes_equal(bytes, fl_bytes_of_string(texts[i])));
    }
    assert_false(node_frame_message(&body, &kind, &bytes));
    assert_int_equal(node_frame_next(&reader, &frame), FL_NOT_READY);
    node_frame_reader_close(&reader);
    fl_writer_close(&out);
}

/* A frame sent from pieces equals the same frame written at once. */
static void test_pieces_equal_whole(void **state)
{
    static const char *const texts[] = {"piecewise"};
    uint8_t header[NODE_FRAME_HEADER_BYTES];
    struct fl_writer out;
    uint32_t crc = node_frame_crc_begin(NODE_FRAME_MESSAGES);

    (void)state;
    fl_writer_init(&out);
    write_messages(&out, texts, 1);
    for (size_t i = NODE_FRAME_HEADER_BYTES; i < out.len; i++) {
        crc = fl_crc32c(crc, out.data + i, 1);
    }
    node_frame_put_header(header, NODE_FRAME_MESSAGES, out.len - sizeof(header), crc);
    assert_memory_equal(header, out.data, sizeof(header));
    fl_writer_close(&out);
}

/* --- streams -------------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t frame, size_t i)
{
    return (uint8_t)(frame * 31 + i * 7 + i / 251);
}

static size_t random_size(struct fl_prng *prng)
{
    return (size_t)(fl_prng_next(prng) >> (44 + fl_prng_below(prng, 20)));
}

/* Frame n holds one message of random size whose bytes tell n. */
static void
write_stream(struct fl_writer *out, struct fl_prng *prng, unsigned frames, size_t *sizes)
{
    struct fl_writer body;

    fl_writer_init(&body);
    for (unsigned n = 0; n < frames; n++) {
        uint8_t *p;

        sizes[n] = random_size(prng);
        fl_writer_reset(&body);
        node_frame_write_message(&body, (uint8_t)n, sizes[n]);
        p = fl_write_space(&body, sizes[n]);
        for (size_t i = 0; i < sizes[n]; i++) {
            p[i] = pattern(n, i);
        }
        node_frame_write(out, NODE_FRAME_MESSAGES, fl_writer_bytes(&body));
    }
    fl_writer_close(&body);
}

static void check_frame(const struct node_frame *frame, unsigned n, size_t size)
{
    struct fl_reader body = fl_reader(frame->body);
    struct fl_bytes bytes;
    uint8_t kind;
    bool same = true;

    assert_true(node_frame_message(&body, &kind, &bytes));
    assert_int_equal(kind, (uint8_t)n);
    assert_int_equal(bytes.len, size);
    for (size_t i = 0; i < size; i++) {
        same = same && bytes.data[i] == pattern(n, i);
    }
    assert_true(same);
    assert_false(node_frame_message(&body, &kind, &bytes));
}

static void test_any_cut_of_a_stream(void **state)
{
    enum { FRAMES = 60 };
    size_t sizes[FRAMES];

    (void)state;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct node_frame_reader reader;
        struct node_frame frame;
        struct fl_writer out;
        struct fl_prng prng;
        unsigned seen = 0;
        size_t at = 0;

        fl_prng_seed(&prng, seed);
        fl_writer_init(&out);
        write_stream(&out, &prng, FRAMES, sizes);
        node_frame_reader_init(&reader, FL_FRAME_BYTES_MAX);
        while (at < out.len) {
            size_t n = random_size(&prng) + 1;

            n = n < out.len - at ? n : out.len - at;
            feed(&reader, fl_bytes(out.data + at, n));
            at += n;
            while (node_frame_next(&reader, &frame) == FL_OK) {
                check_frame(&frame, seen, sizes[seen]);
                seen++;
            }
        }
        assert_int_equal(seen, FRAMES);
        assert_int_equal(reader.start, reader.end);
        node_frame_reader_close(&reader);
        fl_writer_close(&out);
    }
}

/* --- hostile bytes -------------------------------------------------------------------------- */

static enum fl_status judge(struct fl_bytes bytes, size_t body_max)
{
    struct node_frame_reader reader;
    struct node_frame frame;
    enum fl_status status;

    node_frame_reader_init(&reader, body_max);
    feed(&reader, bytes);
    status = node_frame_next(&reader, &frame);
    node_frame_reader_close(&reader);
    return status;
}

static void test_every_flipped_bit_is_noticed(void **state)
{
    static const char *const texts[] = {"some", "bytes of", "three messages"};
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    write_messages(&out, texts, 3);
    assert_int_equal(judge(fl_writer_bytes(&out), 1000), FL_OK);
    for (size_t bit = 0; bit < out.len * 8; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(judge(fl_writer_bytes(&out), 1000), FL_OK);
        out.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    fl_writer_close(&out);
}

static void test_every_truncation_waits(void **state)
{
    static const char *const texts[] = {"truncated"};
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    write_messages(&out, texts, 1);
    for (size_t len = 0; len < out.len; len++) {
        assert_int_equal(judge(fl_bytes(out.data, len), 1000), FL_NOT_READY);
    }
    fl_writer_close(&out);
}

static void test_bounds(void **state)
{
    struct fl_writer out;
    uint8_t header[NODE_FRAME_HEADER_BYTES];

    (void)state;
    fl_writer_init(&out);
    node_frame_write(&out, NODE_FRAME_HELLO, fl_bytes("0123456789", 10));
    assert_int_equal(judge(fl_writer_bytes(&out), 10), FL_OK);
    assert_int_equal(judge(fl_writer_bytes(&out), 9), FL_TOO_LARGE);
    fl_writer_close(&out);
    /* Refused by the header alone, without waiting for or making room for the body. */
    node_frame_put_header(header, NODE_FRAME_MESSAGES, 0, 0);
    fl_put_u32le(header, FL_FRAME_BYTES_MAX + 1);
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), FL_FRAME_BYTES_MAX), FL_TOO_LARGE);
    fl_put_u32le(header, UINT32_MAX);
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), FL_FRAME_BYTES_MAX), FL_TOO_LARGE);
}

static void test_version_type_reserved(void **state)
{
    uint8_t header[NODE_FRAME_HEADER_BYTES];

    (void)state;
    node_frame_put_header(header, NODE_FRAME_HELLO, 0, node_frame_crc_begin(NODE_FRAME_HELLO));
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), 10), FL_OK);
    header[8] = NODE_FRAME_VERSION + 1;
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), 10), FL_NEWER_FORMAT);
    header[8] = NODE_FRAME_VERSION;
    header[9] = 0;
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), 10), FL_BAD_MESSAGE);
    header[9] = NODE_FRAME_ANSWER + 1;
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), 10), FL_BAD_MESSAGE);
    header[9] = NODE_FRAME_HELLO;
    header[11] = 1;
    assert_int_equal(judge(fl_bytes(header, sizeof(header)), 10), FL_BAD_MESSAGE);
}

/* A right checksum over a body whose messages do not fit: nothing of it is given out. */
static void test_messages_that_lie_about_their_length(void **state)
{
    static const struct {
        uint8_t bytes[12];
        size_t len;
    } bodies[] = {
        {{1}, 1},                                                 /* no length */
        {{1, 5, 'a'}, 3},                                         /* longer than the body */
        {{1, 1, 'a', 2}, 4},                                      /* a second without length */
        {{1, 0x80}, 2},                                           /* endless varint */
        {{1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, 11} /* 2^64 - 1 bytes */
    };
    struct fl_writer out;

    (void)state;
    fl_writer_init(&out);
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        fl_writer_reset(&out);
        node_frame_write(&out, NODE_FRAME_MESSAGES, fl_bytes(bodies[i].bytes, bodies[i].len));
        assert_int_equal(judge(fl_writer_bytes(&out), 1000), FL_BAD_MESSAGE);
    }
    fl_writer_close(&out);
}

static void test_garbage(void **state)
{
    struct fl_prng prng;
    uint8_t bytes[256];

    (void)state;
    fl_prng_seed(&prng, 7);
    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)fl_prng_below(&prng, sizeof(bytes));

        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)fl_prng_next(&prng);
        }
        /* Half the time a small length and known type, to get past the first checks. */
        if (round % 2 == 0 && len >= NODE_FRAME_HEADER_BYTES) {
            fl_put_u32le(bytes, (uint32_t)fl_prng_below(&prng, 300));
            bytes[8] = 1;
            bytes[9] = 1;
            fl_put_u16le(bytes + 10, 0);
        }
        assert_int_not_equal(judge(fl_bytes(bytes, len), 300), FL_OK);
    }
}

/* Memory follows what arrived, and is given back after a large frame. */
static void test_memory_is_bounded(void **state)
{
    struct node_frame_reader reader;
    struct node_frame frame;
    uint8_t header[NODE_FRAME_HEADER_BYTES];
    struct fl_writer out;
    size_t space;

    (void)state;
    node_frame_reader_init(&reader, FL_FRAME_BYTES_MAX);
    node_frame_put_header(header, NODE_FRAME_MESSAGES, FL_FRAME_BYTES_MAX, 0);
    feed(&reader, fl_bytes(header, sizeof(header)));
    assert_int_equal(node_frame_next(&reader, &frame), FL_NOT_READY);
    (void)node_frame_reader_space(&reader, &space);
    assert_true(reader.capacity <= 64 * 1024);
    node_frame_reader_close(&reader);

    fl_writer_init(&out);
    fl_write_u8(&out, 1);
    fl_write_varint(&out, 8 * 1024 * 1024);
    memset(fl_write_space(&out, 8 * 1024 * 1024), 'x', 8 * 1024 * 1024);
    {
        struct fl_writer whole;

        fl_writer_init(&whole);
        node_frame_write(&whole, NODE_FRAME_MESSAGES, fl_writer_bytes(&out));
        feed(&reader, fl_writer_bytes(&whole));
        fl_writer_close(&whole);
    }
    assert_int_equal(node_frame_next(&reader, &frame), FL_OK);
    (void)node_frame_reader_space(&reader, &space);
    assert_true(reader.capacity <= 1024 * 1024);
    node_frame_reader_close(&reader);
    fl_writer_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_on_the_wire),
        cmocka_unit_test(test_messages_come_out),
        cmocka_unit_test(test_pieces_equal_whole),
        cmocka_unit_test(test_any_cut_of_a_stream),
        cmocka_unit_test(test_every_flipped_bit_is_noticed),
        cmocka_unit_test(test_every_truncation_waits),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_version_type_reserved),
        cmocka_unit_test(test_messages_that_lie_about_their_length),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_memory_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
