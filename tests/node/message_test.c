/* Goal: what nodes say to each other arrives as it was said, and nothing malformed is believed.
 * Method: every kind of message with values at its bounds and with random ones is encoded and
 * decoded; every shorter and longer form is refused; every flipped bit is refused or decodes to
 * something that stays the same when it is said again (run under ASan: no byte beyond is read). */
#include "node/message.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "raftgroup/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define REVISION_MAX ((UINT64_C(1) << 53) - 1)
#define ROUNDS       40

/* Any of the four, so that one loop can treat them all. */
struct said {
    unsigned kind; /* 0 .. KINDS - 1 */
    struct node_forward forward;
    struct node_message_reply reply;
    struct node_snapshot_piece piece;
    struct node_snapshot_ack ack;
};

enum { FORWARD, REPLY, PIECE, ACK, KINDS };

static uint8_t body[300];

static void encode(struct fl_writer *w, const struct said *said)
{
    switch (said->kind) {
    case FORWARD:
        node_forward_encode(w, &said->forward);
        break;
    case REPLY:
        node_message_reply_encode(w, &said->reply);
        break;
    case PIECE:
        node_snapshot_piece_encode(w, &said->piece);
        break;
    default:
        node_snapshot_ack_encode(w, &said->ack);
        break;
    }
}

/* Decodes from memory of exactly this size, so that ASan sees any byte read beyond. */
static enum fl_status
decode(struct fl_bytes input, unsigned kind, struct said *said, uint8_t **hold)
{
    uint8_t *copy = fl_xmalloc(input.len + 1);
    uint8_t *end = copy + 1;
    struct fl_bytes exact;

    if (input.len != 0) {
        memcpy(end, input.data, input.len);
    }
    exact = fl_bytes(end, input.len);
    *hold = copy;
    memset(said, 0, sizeof(*said));
    said->kind = kind;
    switch (kind) {
    case FORWARD:
        return node_forward_decode(exact, &said->forward);
    case REPLY:
        return node_message_reply_decode(exact, &said->reply);
    case PIECE:
        return node_snapshot_piece_decode(exact, &said->piece);
    default:
        return node_snapshot_ack_decode(exact, &said->ack);
    }
}

static uint64_t some_number(struct fl_prng *prng, uint64_t max)
{
    uint64_t value = fl_prng_next(prng) >> fl_prng_below(prng, 64);

    return max == UINT64_MAX ? value : value % (max + 1);
}

static struct said something(struct fl_prng *prng, unsigned kind)
{
    struct fl_bytes some = fl_bytes(body, (size_t)fl_prng_below(prng, sizeof(body)));
    struct raft_msg offer = {
        .group = some_number(prng, UINT64_MAX),
        .from = 1,
        .to = 2,
        .term = 1 + some_number(prng, 1 << 20),
        .log_term = 1,
        .index = 1 + some_number(prng, 1 << 20),
        .type = RAFT_M_SNAP,
    };
    struct said said = {
        .kind = kind,
        .forward = {.kind = NODE_FORWARD_WRITE + (uint8_t)fl_prng_below(prng, 2),
                    .boot = (uint32_t)some_number(prng, UINT32_MAX),
                    .seq = some_number(prng, UINT64_MAX),
                    .group = some_number(prng, UINT64_MAX),
                    .version = some_number(prng, UINT64_MAX),
                    .timeout_ms = some_number(prng, UINT64_MAX),
                    .at_revision = some_number(prng, REVISION_MAX),
                    .body = some},
        .reply = {.boot = (uint32_t)some_number(prng, UINT32_MAX),
                  .seq = some_number(prng, UINT64_MAX),
                  .status = (enum fl_status)fl_prng_below(prng, FL_STATUS_COUNT),
                  .leader = some_number(prng, UINT64_MAX),
                  .revision = some_number(prng, REVISION_MAX),
                  .term = some_number(prng, UINT64_MAX),
                  .result = some},
        .piece = {.group = offer.group,
                  .stream = some_number(prng, UINT64_MAX),
                  .boot = (uint32_t)some_number(prng, UINT32_MAX),
                  .number = some_number(prng, 3),
                  .last = fl_prng_below(prng, 2) == 1,
                  .offer = offer,
                  .chunk = some},
        .ack = {.group = some_number(prng, UINT64_MAX),
                .stream = some_number(prng, UINT64_MAX),
                .boot = (uint32_t)some_number(prng, UINT32_MAX),
                .next = some_number(prng, UINT64_MAX),
                .status = (enum fl_status)fl_prng_below(prng, FL_STATUS_COUNT),
                .done = fl_prng_below(prng, 2) == 1},
    };

    return said;
}

static void assert_same(const struct said *a, const struct said *b)
{
    assert_int_equal(a->kind, b->kind);
    switch (a->kind) {
    case FORWARD:
        assert_int_equal(a->forward.kind, b->forward.kind);
        assert_int_equal(a->forward.boot, b->forward.boot);
        assert_int_equal(a->forward.seq, b->forward.seq);
        assert_int_equal(a->forward.group, b->forward.group);
        assert_int_equal(a->forward.version, b->forward.version);
        assert_int_equal(a->forward.timeout_ms, b->forward.timeout_ms);
        assert_int_equal(a->forward.at_revision, b->forward.at_revision);
        assert_true(fl_bytes_equal(a->forward.body, b->forward.body));
        break;
    case REPLY:
        assert_int_equal(a->reply.boot, b->reply.boot);
        assert_int_equal(a->reply.seq, b->reply.seq);
        assert_int_equal(a->reply.status, b->reply.status);
        assert_int_equal(a->reply.leader, b->reply.leader);
        assert_int_equal(a->reply.revision, b->reply.revision);
        assert_int_equal(a->reply.term, b->reply.term);
        assert_true(fl_bytes_equal(a->reply.result, b->reply.result));
        break;
    case PIECE:
        assert_int_equal(a->piece.group, b->piece.group);
        assert_int_equal(a->piece.stream, b->piece.stream);
        assert_int_equal(a->piece.boot, b->piece.boot);
        assert_int_equal(a->piece.number, b->piece.number);
        assert_int_equal(a->piece.last, b->piece.last);
        assert_true(fl_bytes_equal(a->piece.chunk, b->piece.chunk));
        if (a->piece.number == 0) {
            assert_int_equal(a->piece.offer.group, b->piece.offer.group);
            assert_int_equal(a->piece.offer.term, b->piece.offer.term);
            assert_int_equal(a->piece.offer.index, b->piece.offer.index);
            assert_int_equal(a->piece.offer.type, RAFT_M_SNAP);
        }
        break;
    default:
        assert_int_equal(a->ack.group, b->ack.group);
        assert_int_equal(a->ack.stream, b->ack.stream);
        assert_int_equal(a->ack.boot, b->ack.boot);
        assert_int_equal(a->ack.next, b->ack.next);
        assert_int_equal(a->ack.status, b->ack.status);
        assert_int_equal(a->ack.done, b->ack.done);
        break;
    }
}

/* Goal: the same comes out. Method: random messages of every kind. */
static void test_round_trip(void **state)
{
    struct fl_prng prng;
    struct fl_writer w;

    (void)state;
    fl_prng_seed(&prng, 1);
    fl_writer_init(&w);
    for (unsigned i = 0; i < ROUNDS * KINDS; i++) {
        struct said said = something(&prng, i % KINDS);
        struct said heard;
        uint8_t *hold;

        fl_writer_reset(&w);
        encode(&w, &said);
        assert_int_equal(decode(fl_writer_bytes(&w), said.kind, &heard, &hold), FL_OK);
        assert_same(&said, &heard);
        free(hold);
    }
    fl_writer_close(&w);
}

/* Goal: a message ends where it ends. Method: every prefix, and one byte more. */
static void test_every_other_length_is_refused(void **state)
{
    struct fl_prng prng;
    struct fl_writer w;

    (void)state;
    fl_prng_seed(&prng, 2);
    fl_writer_init(&w);
    for (unsigned i = 0; i < ROUNDS * KINDS; i++) {
        struct said said = something(&prng, i % KINDS);
        struct said heard;
        uint8_t *hold;

        fl_writer_reset(&w);
        encode(&w, &said);
        for (size_t len = 0; len < w.len; len++) {
            assert_int_not_equal(decode(fl_bytes(w.data, len), said.kind, &heard, &hold), FL_OK);
            free(hold);
        }
        fl_write_u8(&w, 0);
        assert_int_not_equal(decode(fl_writer_bytes(&w), said.kind, &heard, &hold), FL_OK);
        free(hold);
    }
    fl_writer_close(&w);
}

/* Goal: a wrong bit does no harm. Method: each bit of each message flipped; what is still taken for
 * a message is encoded and decoded again and is the same. */
static void test_flipped_bits(void **state)
{
    struct fl_prng prng;
    struct fl_writer w;
    struct fl_writer again;
    unsigned refused = 0;

    (void)state;
    fl_prng_seed(&prng, 3);
    fl_writer_init(&w);
    fl_writer_init(&again);
    for (unsigned i = 0; i < ROUNDS * KINDS; i++) {
        struct said said = something(&prng, i % KINDS);

        fl_writer_reset(&w);
        encode(&w, &said);
        for (size_t bit = 0; bit < w.len * 8; bit++) {
            struct said heard;
            struct said repeated;
            uint8_t *hold;
            uint8_t *hold_repeated;

            w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (decode(fl_writer_bytes(&w), said.kind, &heard, &hold) == FL_OK) {
                fl_writer_reset(&again);
                encode(&again, &heard);
                assert_int_equal(
                    decode(fl_writer_bytes(&again), said.kind, &repeated, &hold_repeated), FL_OK);
                assert_same(&heard, &repeated);
                free(hold_repeated);
            } else {
                refused++;
            }
            free(hold);
            w.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    assert_true(refused > 1000);
    fl_writer_close(&w);
    fl_writer_close(&again);
}

static enum fl_status heard_as(const struct said *said)
{
    struct fl_writer w;
    struct said heard;
    enum fl_status status;
    uint8_t *hold;

    fl_writer_init(&w);
    encode(&w, said);
    status = decode(fl_writer_bytes(&w), said->kind, &heard, &hold);
    free(hold);
    fl_writer_close(&w);
    return status;
}

/* Goal: values that would do harm for good are refused: a revision beyond 2^53 would lift floors
 * that never come down, a huge chunk would be held in memory, a group of an offer that is not the
 * stream's would reach another replica. Method: each bound exceeded by one. */
static void test_bounds(void **state)
{
    static uint8_t large[NODE_MESSAGE_CHUNK_BYTES_MAX + 1];
    struct fl_prng prng;
    struct said said;

    (void)state;
    fl_prng_seed(&prng, 4);
    said = something(&prng, FORWARD);
    said.forward.at_revision = REVISION_MAX;
    assert_int_equal(heard_as(&said), FL_OK);
    said.forward.at_revision = REVISION_MAX + 1;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    for (unsigned kind = 0; kind < 256; kind++) {
        said = something(&prng, FORWARD);
        said.forward.kind = (uint8_t)kind;
        assert_int_equal(heard_as(&said),
                         kind == NODE_FORWARD_WRITE || kind == NODE_FORWARD_READ ? FL_OK
                                                                                 : FL_BAD_MESSAGE);
    }
    said = something(&prng, REPLY);
    said.reply.revision = REVISION_MAX + 1;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    said = something(&prng, REPLY);
    said.reply.status = FL_STATUS_COUNT;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    said = something(&prng, ACK);
    said.ack.status = FL_STATUS_COUNT;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    said = something(&prng, PIECE);
    said.piece.number = 0;
    said.piece.chunk = fl_bytes(large, sizeof(large) - 1);
    assert_int_equal(heard_as(&said), FL_OK);
    said.piece.chunk = fl_bytes(large, sizeof(large));
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    said = something(&prng, PIECE);
    said.piece.number = 0;
    said.piece.group = said.piece.offer.group + 1;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
    said = something(&prng, PIECE);
    said.piece.number = 0;
    said.piece.offer.type = RAFT_M_APP;
    assert_int_equal(heard_as(&said), FL_BAD_MESSAGE);
}

/* Goal: the entries that follow an append arrive as they were; a wrong type, a length beyond the
 * end or beyond an entry's limit is refused. Method: some entries one after the other, then each
 * fault. */
static void test_entries(void **state)
{
    struct fl_writer w;
    struct fl_reader r;
    struct raft_ent ent;
    struct fl_bytes payload;

    (void)state;
    fl_writer_init(&w);
    for (unsigned i = 0; i < 20; i++) {
        node_message_write_entry(&w, i % 3, 100 + i, i * 7);
        fl_write_raw(&w, fl_bytes(body, (size_t)i * 7));
    }
    r = fl_reader(fl_writer_bytes(&w));
    for (unsigned i = 0; i < 20; i++) {
        node_message_read_entry(&r, &ent, &payload);
        assert_false(r.bad);
        assert_int_equal(ent.type, i % 3);
        assert_int_equal(ent.term, 100 + i);
        assert_int_equal(ent.len, i * 7);
        assert_int_equal(payload.len, i * 7);
        assert_true(payload.len == 0 || memcmp(payload.data, body, payload.len) == 0);
    }
    assert_true(fl_reader_done(&r));
    node_message_read_entry(&r, &ent, &payload);
    assert_true(r.bad);

    fl_writer_reset(&w);
    node_message_write_entry(&w, RAFT_ENT_CONF + 1, 1, 0);
    r = fl_reader(fl_writer_bytes(&w));
    node_message_read_entry(&r, &ent, &payload);
    assert_true(r.bad);

    fl_writer_reset(&w);
    node_message_write_entry(&w, RAFT_ENT_NORMAL, 1, 2);
    fl_write_u8(&w, 0);
    r = fl_reader(fl_writer_bytes(&w));
    node_message_read_entry(&r, &ent, &payload);
    assert_true(r.bad);

    fl_writer_reset(&w);
    node_message_write_entry(&w, RAFT_ENT_NORMAL, 1, FL_ENTRY_BYTES_MAX + 1);
    (void)memset(fl_write_space(&w, FL_ENTRY_BYTES_MAX + 1), 0, FL_ENTRY_BYTES_MAX + 1);
    r = fl_reader(fl_writer_bytes(&w));
    node_message_read_entry(&r, &ent, &payload);
    assert_true(r.bad);
    fl_writer_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_every_other_length_is_refused),
        cmocka_unit_test(test_flipped_bits),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_entries),
    };

    for (size_t i = 0; i < sizeof(body); i++) {
        body[i] = (uint8_t)(i * 31 + 7);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
