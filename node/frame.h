/* Frames between nodes: bytes with a length and a checksum, holding messages of many groups. Pure.
 *
 * Owner: the connection. Lifetime: reader init to close; slices it gives are borrowed.
 * Threads: the owner's only.
 *
 *     off size field                                             little-endian
 *     0   4    body length, at most the bound of the reader
 *     4   4    CRC32C of bytes 8 .. 12 + body length
 *     8   1    format version, 1
 *     9   1    type: enum node_frame_type
 *     10  2    zero
 *     12  ..   body
 *
 *     body of MESSAGES, repeated:   kind u8 | length varint | bytes
 *
 * The length is compared with the bound before it is believed, memory grows with the bytes that
 * really arrived, and a body is walked to its end before its first message is given out. */
#ifndef NODE_FRAME_H
#define NODE_FRAME_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"

#include <stdint.h>

#define NODE_FRAME_HEADER_BYTES      12
#define NODE_FRAME_VERSION           1
#define NODE_FRAME_MESSAGE_BYTES_MAX 11 /* kind and length of one message */

enum node_frame_type {
    NODE_FRAME_MESSAGES = 1,
    NODE_FRAME_HELLO = 2,
    NODE_FRAME_ANSWER = 3,
};

struct node_frame {
    enum node_frame_type type;
    struct fl_bytes body; /* borrowed from the reader until its next _space or _close */
};

/* Bytes received and not yet consumed. */
struct node_frame_reader {
    uint8_t *data;
    size_t start; /* <= end: first byte not consumed */
    size_t end;   /* <= capacity */
    size_t capacity;
    size_t body_max; /* longest body believed */
    bool filled;     /* the last fill used all the space: offer more next time */
};

/* A frame sent from pieces: crc = node_frame_crc_begin(type), fl_crc32c(crc, piece ..) for every
 * piece of the body in order, then the header. */
uint32_t node_frame_crc_begin(enum node_frame_type type);
/* Writes the header of a body of `body_len` bytes (at most FL_FRAME_BYTES_MAX). */
void node_frame_put_header(uint8_t header[NODE_FRAME_HEADER_BYTES],
                           enum node_frame_type type,
                           size_t body_len,
                           uint32_t crc);
/* Appends a whole small frame. */
void node_frame_write(struct fl_writer *out, enum node_frame_type type, struct fl_bytes body);

/* A reader without memory yet that believes bodies of up to `body_max` bytes. */
void node_frame_reader_init(struct node_frame_reader *reader, size_t body_max);
void node_frame_reader_close(struct node_frame_reader *reader);
/* Room for the next bytes, `*space` of them (at least 4 KiB); ends every borrowed slice. */
uint8_t *node_frame_reader_space(struct node_frame_reader *reader, size_t *space);
/* `len` bytes were written where node_frame_reader_space pointed. */
void node_frame_reader_fill(struct node_frame_reader *reader, size_t len);
/* The next whole frame. FL_OK, FL_NOT_READY: more bytes are needed, FL_TOO_LARGE, FL_NEWER_FORMAT:
 * unknown version, FL_CORRUPT: checksum, FL_BAD_MESSAGE: type or structure. After any but the first
 * two the connection is to be closed. */
FL_MUST_USE enum fl_status node_frame_next(struct node_frame_reader *reader,
                                           struct node_frame *frame);

/* Appends kind and length of a message; its `len` bytes follow. */
void node_frame_write_message(struct fl_writer *out, uint8_t kind, size_t len);
/* Walks the messages of a frame: false after the last. `body` starts as fl_reader(frame.body). */
bool node_frame_message(struct fl_reader *body, uint8_t *kind, struct fl_bytes *bytes);

#endif
