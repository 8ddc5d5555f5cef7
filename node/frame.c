/* The frame codec. */
#include "node/frame.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"

#include <assert.h>

#define READER_FIRST_BYTES ((size_t)16 * 1024)
#define READER_READ_BYTES  ((size_t)256 * 1024) /* grows up to this for the sake of fewer reads */
#define READER_KEEP_BYTES                                                                          \
    ((size_t)2 * 1024 * 1024) /* larger memory is given back once it is empty */
#define READER_SPACE_MIN ((size_t)4 * 1024)

#define OFF_CRC      4
#define OFF_VERSION  8
#define OFF_TYPE     9
#define OFF_RESERVED 10

static_assert(OFF_RESERVED + 2 == NODE_FRAME_HEADER_BYTES, "the table of frame.h");
static_assert(FL_FRAME_BYTES_MAX <= UINT32_MAX, "a length fits its field");
/* Else every large entry would pay for fresh pages. */
static_assert(FL_ENTRY_BYTES_MAX + READER_READ_BYTES <= READER_KEEP_BYTES, "a usual frame is kept");
static_assert(READER_SPACE_MIN <= READER_FIRST_BYTES, "a fresh reader has space");

static void put_tail(uint8_t *tail, enum node_frame_type type)
{
    tail[0] = NODE_FRAME_VERSION;
    tail[1] = (uint8_t)type;
    fl_put_u16le(tail + 2, 0);
}

uint32_t node_frame_crc_begin(enum node_frame_type type)
{
    uint8_t tail[NODE_FRAME_HEADER_BYTES - OFF_VERSION];

    put_tail(tail, type);
    return fl_crc32c(0, tail, sizeof(tail));
}

void node_frame_put_header(uint8_t header[NODE_FRAME_HEADER_BYTES],
                           enum node_frame_type type,
                           size_t body_len,
                           uint32_t crc)
{
    fl_assert(body_len <= (size_t)FL_FRAME_BYTES_MAX);
    fl_put_u32le(header, (uint32_t)body_len);
    fl_put_u32le(header + OFF_CRC, crc);
    put_tail(header + OFF_VERSION, type);
}

void node_frame_write(struct fl_writer *out, enum node_frame_type type, struct fl_bytes body)
{
    uint32_t crc = fl_crc32c(node_frame_crc_begin(type), body.data, body.len);

    node_frame_put_header(fl_write_space(out, NODE_FRAME_HEADER_BYTES), type, body.len, crc);
    fl_write_raw(out, body);
}

void node_frame_write_message(struct fl_writer *out, uint8_t kind, size_t len)
{
    fl_write_u8(out, kind);
    fl_write_varint(out, len);
}

bool node_frame_message(struct fl_reader *body, uint8_t *kind, struct fl_bytes *bytes)
{
    if (body->bad || fl_reader_left(body) == 0) {
        return false;
    }
    *kind = fl_read_u8(body);
    *bytes = fl_read_bytes(body);
    return !body->bad;
}

/* --- reader --------------------------------------------------------------------------------- */

void node_frame_reader_init(struct node_frame_reader *reader, size_t body_max)
{
    *reader = (struct node_frame_reader){.body_max = body_max};
}

void node_frame_reader_close(struct node_frame_reader *reader)
{
    free(reader->data);
    *reader = (struct node_frame_reader){.body_max = reader->body_max};
}

static void resize(struct node_frame_reader *reader, size_t capacity)
{
    reader->data = fl_xrealloc(reader->data, capacity, 1);
    reader->capacity = capacity;
}

uint8_t *node_frame_reader_space(struct node_frame_reader *reader, size_t *space)
{
    size_t held = reader->end - reader->start;

    /* Back to the front: always when nothing is held (the same memory stays in the cache), else
     * once more than half is behind us, so that the moves stay cheaper than the reads. */
    if (held == 0) {
        reader->start = 0;
        reader->end = 0;
    } else if (reader->start > reader->capacity / 2) {
        memmove(reader->data, reader->data + reader->start, held);
        reader->start = 0;
        reader->end = held;
    }
    if (held == 0 && reader->capacity > READER_KEEP_BYTES) {
        resize(reader, READER_READ_BYTES);
    } else if (reader->capacity == 0) {
        resize(reader, READER_FIRST_BYTES);
    } else if (reader->capacity - reader->end < READER_SPACE_MIN ||
               (reader->filled && reader->capacity < READER_READ_BYTES)) {
        /* Doubling follows what arrived, never what a length field promises. */
        resize(reader, reader->capacity * 2);
    }
    reader->filled = false;
    *space = reader->capacity - reader->end;
    return reader->data + reader->end;
}

void node_frame_reader_fill(struct node_frame_reader *reader, size_t len)
{
    fl_assert(len <= reader->capacity - reader->end);
    reader->end += len;
    reader->filled = reader->end == reader->capacity;
}

static bool messages_are_whole(struct fl_bytes body)
{
    struct fl_reader reader = fl_reader(body);
    struct fl_bytes bytes;
    uint8_t kind;

    while (node_frame_message(&reader, &kind, &bytes)) {
    }
    return fl_reader_done(&reader);
}

/* What can be judged before the body is there. */
static enum fl_status judge_header(const uint8_t *header, size_t body_max)
{
    if (fl_get_u32le(header) > body_max) {
        return FL_TOO_LARGE;
    }
    if (header[OFF_VERSION] != NODE_FRAME_VERSION) {
        return FL_NEWER_FORMAT;
    }
    if (header[OFF_TYPE] < NODE_FRAME_MESSAGES || header[OFF_TYPE] > NODE_FRAME_ANSWER ||
        fl_get_u16le(header + OFF_RESERVED) != 0) {
        return FL_BAD_MESSAGE;
    }
    return FL_OK;
}

enum fl_status node_frame_next(struct node_frame_reader *reader, struct node_frame *frame)
{
    size_t held = reader->end - reader->start;
    const uint8_t *header;
    size_t len;

    if (held < NODE_FRAME_HEADER_BYTES) {
        return FL_NOT_READY;
    }
    header = reader->data + reader->start;
    FL_TRY(judge_header(header, reader->body_max));
    len = fl_get_u32le(header);
    if (held - NODE_FRAME_HEADER_BYTES < len) {
        return FL_NOT_READY;
    }
    if (fl_get_u32le(header + OFF_CRC) !=
        fl_crc32c(0, header + OFF_VERSION, NODE_FRAME_HEADER_BYTES - OFF_VERSION + len)) {
        return FL_CORRUPT;
    }
    frame->type = (enum node_frame_type)header[OFF_TYPE];
    frame->body = fl_bytes(header + NODE_FRAME_HEADER_BYTES, len);
    if (frame->type == NODE_FRAME_MESSAGES && !messages_are_whole(frame->body)) {
        return FL_BAD_MESSAGE;
    }
    reader->start += NODE_FRAME_HEADER_BYTES + len;
    return FL_OK;
}
