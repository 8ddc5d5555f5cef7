/* Goal: the floor of a range admits, waits and forgets as OR-9, OR-10 and OR-12 say; messages come
 * back as they went and nothing else is believed.
 * Method: the floor against a plain array, messages truncated and with every bit flipped. */
#include "node/oracle.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* ---- floor ---- */

static size_t
model_applied(const struct node_floor_entry *model, size_t from, size_t to, uint64_t index)
{
    while (from < to && model[from].index <= index) {
        from++;
    }
    return from;
}

static uint64_t
model_wait(const struct node_floor_entry *model, size_t from, size_t to, uint64_t revision)
{
    uint64_t wait = 0;

    for (size_t i = from; i < to && model[i].revision <= revision; i++) {
        wait = model[i].index;
    }
    return wait;
}

/* Goal: OR-9, OR-12 against a model. Method: random proposals, raises and applications; the answers
 * are compared with a plain array. */
static void test_floor_model(void **state)
{
    enum { STEPS = 20000 };
    struct node_floor floor;
    struct fl_prng prng;
    struct node_floor_entry *model = fl_xcalloc(STEPS, sizeof(*model));
    size_t from = 0;
    size_t to = 0;
    uint64_t bar = 50;
    uint64_t revision = 50;
    uint64_t index = 0;

    (void)state;
    fl_prng_seed(&prng, 20);
    node_floor_init(&floor);
    node_floor_lead(&floor, 10, 50);
    for (size_t step = 0; step < STEPS; step++) {
        uint64_t at;

        switch (fl_prng_below(&prng, 4)) {
        case 0:
            at = revision + fl_prng_below(&prng, 4);
            assert_int_equal(node_floor_admit(&floor, at), at > bar ? FL_OK : FL_STALE);
            if (at > bar) {
                index += 1 + fl_prng_below(&prng, 3);
                node_floor_proposed(&floor, at, index);
                model[to++] = (struct node_floor_entry){at, index};
                bar = at;
                revision = at;
            }
            break;
        case 1:
            at = bar - fl_prng_below(&prng, 20) + fl_prng_below(&prng, 20);
            node_floor_raise(&floor, at);
            bar = at > bar ? at : bar;
            break;
        case 2:
            at = from < to ? model[from].index + fl_prng_below(&prng, 6) : 0;
            node_floor_applied(&floor, at);
            from = model_applied(model, from, to, at);
            break;
        default:
            at = from < to ? model[from].revision + fl_prng_below(&prng, 30) - 5 : bar;
            assert_int_equal(node_floor_wait_index(&floor, at), model_wait(model, from, to, at));
            break;
        }
    }
    assert_int_equal(floor.end - floor.first, to - from);
    node_floor_step_down(&floor);
    assert_int_equal(node_floor_wait_index(&floor, UINT64_MAX), 0);
    assert_int_equal(node_floor_admit(&floor, bar), FL_STALE);
    node_floor_close(&floor);
    free(model);
}

/* Goal: OR-10. Method: a new leader's floor is what its machine holds and what earlier leaders may
 * have served, whichever is higher; its own past stays valid. */
static void test_floor_of_a_new_leader(void **state)
{
    struct node_floor floor;

    (void)state;
    node_floor_init(&floor);
    node_floor_lead(&floor, 10, 50);
    assert_int_equal(node_floor_admit(&floor, 50), FL_STALE);
    assert_int_equal(node_floor_admit(&floor, 51), FL_OK);
    node_floor_proposed(&floor, 51, 7);
    node_floor_lead(&floor, 60, 55);
    assert_int_equal(node_floor_wait_index(&floor, 100), 0); /* nothing of this term is in flight */
    assert_int_equal(node_floor_admit(&floor, 60), FL_STALE);
    assert_int_equal(node_floor_admit(&floor, 61), FL_OK);
    node_floor_lead(&floor, 1, 2);
    assert_int_equal(node_floor_admit(&floor, 60), FL_STALE);
    node_floor_close(&floor);
}

/* ---- messages ---- */

static struct node_oracle_message random_message(struct fl_prng *prng)
{
    struct node_oracle_message m = {.boot = 0};

    m.type = (enum node_oracle_message_type)(1 + fl_prng_below(prng, 4));
    m.boot = (uint32_t)fl_prng_next(prng);
    m.seq = 1 + (fl_prng_next(prng) >> 1);
    m.term = 1 + (fl_prng_next(prng) >> 1);
    if (m.type == NODE_ORACLE_ASK || m.type == NODE_ORACLE_GRANT) {
        m.count = (uint32_t)fl_prng_below(prng, NODE_ORACLE_ASK_MAX + 1);
        m.witness = fl_prng_below(prng, 2) != 0;
    }
    if (m.type == NODE_ORACLE_GRANT) {
        m.current = fl_prng_below(prng, NODE_REVISION_MAX - NODE_ORACLE_ASK_MAX);
        m.start = fl_prng_below(prng, m.current + 1);
        m.compact = fl_prng_below(prng, NODE_REVISION_MAX);
    }
    if (m.type == NODE_ORACLE_REFUSE) {
        m.leader = fl_prng_next(prng);
    }
    return m;
}

static bool message_equal(const struct node_oracle_message *a, const struct node_oracle_message *b)
{
    return a->type == b->type && a->boot == b->boot && a->seq == b->seq && a->term == b->term &&
           a->count == b->count && a->current == b->current && a->start == b->start &&
           a->compact == b->compact && a->leader == b->leader && a->witness == b->witness;
}

/* Goal: every message comes back as it went; every shorter, longer or damaged one is refused or
 * sound. Method: random messages, every truncation, every flipped bit. */
static void test_messages(void **state)
{
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 4);
    for (size_t i = 0; i < 2000; i++) {
        struct node_oracle_message m = random_message(&prng);
        struct node_oracle_message back;
        uint8_t bytes[NODE_ORACLE_MESSAGE_BYTES + 1] = {0};
        size_t len = node_oracle_message_encode(&m, bytes);

        assert_true(len <= NODE_ORACLE_MESSAGE_BYTES);
        assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back), FL_OK);
        assert_true(message_equal(&m, &back));
        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *exact = fl_xmemdup(bytes, cut); /* so that a sanitizer sees the end */

            assert_int_equal(node_oracle_message_decode(fl_bytes(exact, cut), &back), FL_TRUNCATED);
            free(exact);
        }
        assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len + 1), &back),
                         FL_BAD_MESSAGE);
        for (size_t bit = 0; bit < len * 8; bit++) {
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (node_oracle_message_decode(fl_bytes(bytes, len), &back) == FL_OK) {
                assert_true(back.seq != 0 && back.count <= NODE_ORACLE_ASK_MAX);
                assert_true(back.current + back.count <= NODE_REVISION_MAX);
                assert_true(back.start <= back.current);
            }
            bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

/* Goal: a newer version and an unknown type are told apart from rubbish. */
static void test_messages_versions(void **state)
{
    struct node_oracle_message m = {.type = NODE_ORACLE_CONFIRM, .boot = 1, .seq = 1, .term = 1};
    struct node_oracle_message back;
    uint8_t bytes[NODE_ORACLE_MESSAGE_BYTES];
    size_t len = node_oracle_message_encode(&m, bytes);

    (void)state;
    bytes[0] = 2;
    assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back), FL_NEWER_FORMAT);
    bytes[0] = 0;
    assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back), FL_BAD_MESSAGE);
    bytes[0] = 1;
    bytes[1] = 5;
    assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back), FL_BAD_MESSAGE);
}

/* Goal: only asks and grants speak of witnesses, and only yes or no (OR-13). Method: the byte set
 * in a message of every type. */
static void test_messages_witness(void **state)
{
    (void)state;
    for (int type = NODE_ORACLE_ASK; type <= NODE_ORACLE_REFUSE; type++) {
        struct node_oracle_message m = {.boot = 1, .seq = 1, .term = 1, .witness = true};
        struct node_oracle_message back;
        bool may = type == NODE_ORACLE_ASK || type == NODE_ORACLE_GRANT;
        uint8_t bytes[NODE_ORACLE_MESSAGE_BYTES];
        size_t len;

        m.type = (enum node_oracle_message_type)type;
        len = node_oracle_message_encode(&m, bytes);
        assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back),
                         may ? FL_OK : FL_BAD_MESSAGE);
        bytes[len - 1] = 2;
        assert_int_equal(node_oracle_message_decode(fl_bytes(bytes, len), &back), FL_BAD_MESSAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floor_model),
        cmocka_unit_test(test_floor_of_a_new_leader),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_messages_versions),
        cmocka_unit_test(test_messages_witness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
