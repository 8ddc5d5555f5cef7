/* Goal: no bytes from a peer make a node read beyond them, believe a length, or stop.
 *
 * Method: the first byte chooses a decoder of node/. Frames come raw, in pieces of any size, and
 * once more with the right checksum around the same body, so that the walk over its messages is
 * reached. What a message decoder accepts is encoded, decoded and encoded again: both encodings are
 * equal. */
#include "tests/fuzz/input.h"

#include "node/frame.h"
#include "node/hello.h"
#include "node/message.h"
#include "node/oracle.h"

static void walk(struct node_frame_reader *reader)
{
    struct node_frame frame;

    while (node_frame_next(reader, &frame) == FL_OK) {
        struct fl_reader body = fl_reader(frame.body);
        struct fl_bytes bytes;
        uint8_t kind;

        while (frame.type == NODE_FRAME_MESSAGES && node_frame_message(&body, &kind, &bytes)) {
            fuzz_check(bytes.len <= frame.body.len);
        }
    }
}

static void try_frames(struct fuzz_input *in)
{
    struct node_frame_reader reader;

    node_frame_reader_init(&reader, 4096);
    while (in->left > 0) {
        size_t space;
        size_t piece = 1 + fuzz_u8(in);
        uint8_t *at = node_frame_reader_space(&reader, &space);

        piece = piece < in->left ? piece : in->left;
        piece = piece < space ? piece : space;
        memcpy(at, in->at, piece);
        in->at += piece;
        in->left -= piece;
        node_frame_reader_fill(&reader, piece);
        walk(&reader);
    }
    node_frame_reader_close(&reader);
}

static void try_body(struct fl_bytes body)
{
    struct node_frame_reader reader;
    struct fl_writer w;
    size_t space;
    size_t done = 0;

    fl_writer_init(&w);
    node_frame_write(&w, NODE_FRAME_MESSAGES, body);
    node_frame_reader_init(&reader, 1 << 20);
    while (done < w.len) {
        uint8_t *at = node_frame_reader_space(&reader, &space);
        size_t piece = space < w.len - done ? space : w.len - done;

        memcpy(at, w.data + done, piece);
        done += piece;
        node_frame_reader_fill(&reader, piece);
    }
    walk(&reader);
    node_frame_reader_close(&reader);
    fl_writer_close(&w);
}

static void try_entries(struct fl_bytes input)
{
    struct fl_reader r = fl_reader(input);

    while (!r.bad && fl_reader_left(&r) > 0) {
        struct raft_ent ent;
        struct fl_bytes payload;

        node_message_read_entry(&r, &ent, &payload);
        fuzz_check(r.bad || payload.len == ent.len);
    }
}

/* Encode, decode, encode: equal. */
#define ROUND_TRIP(type, decode, encode, input)                                                    \
    do {                                                                                           \
        type value;                                                                                \
        type again;                                                                                \
        struct fl_writer one;                                                                      \
        struct fl_writer two;                                                                      \
        if (decode((input), &value) != FL_OK) {                                                    \
            break;                                                                                 \
        }                                                                                          \
        fl_writer_init(&one);                                                                      \
        fl_writer_init(&two);                                                                      \
        encode(&one, &value);                                                                      \
        fuzz_check(decode(fl_writer_bytes(&one), &again) == FL_OK);                                \
        encode(&two, &again);                                                                      \
        fuzz_check(fl_bytes_equal(fl_writer_bytes(&one), fl_writer_bytes(&two)));                  \
        fl_writer_close(&one);                                                                     \
        fl_writer_close(&two);                                                                     \
    } while (0)

static void try_oracle(struct fl_bytes input)
{
    struct node_oracle_message m;
    uint8_t out[NODE_ORACLE_MESSAGE_BYTES];

    if (node_oracle_message_decode(input, &m) == FL_OK) {
        size_t len = node_oracle_message_encode(&m, out);

        fuzz_check(fl_bytes_equal(input, fl_bytes(out, len)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    unsigned which = fuzz_below(&in, 11);
    struct fl_bytes rest = fl_bytes(in.at, in.left);

    switch (which) {
    case 0:
        try_frames(&in);
        break;
    case 1:
        try_body(rest);
        break;
    case 2:
        try_entries(rest);
        break;
    case 3:
        ROUND_TRIP(struct node_forward, node_forward_decode, node_forward_encode, rest);
        break;
    case 4:
        ROUND_TRIP(
            struct node_message_reply, node_message_reply_decode, node_message_reply_encode, rest);
        break;
    case 6:
        ROUND_TRIP(struct node_snapshot_piece,
                   node_snapshot_piece_decode,
                   node_snapshot_piece_encode,
                   rest);
        break;
    case 7:
        ROUND_TRIP(
            struct node_snapshot_ack, node_snapshot_ack_decode, node_snapshot_ack_encode, rest);
        break;
    case 8:
        ROUND_TRIP(struct node_hello, node_hello_decode, node_hello_encode, rest);
        break;
    case 9:
        ROUND_TRIP(struct node_answer, node_answer_decode, node_answer_encode, rest);
        break;
    default:
        try_oracle(rest);
        break;
    }
    return 0;
}
