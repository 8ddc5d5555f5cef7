/* Goal: what is encoded comes back; what is broken, cut or foreign is refused and never read
 * beyond.
 *
 * Method: random values there and back; every prefix and random damage of valid encodings (under
 * the address sanitizer an overrun would abort). */
#include "raftgroup/base/prng.h"
#include "raftgroup/codec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 20000 };

/* Small, large and zero values, as they come. */
static uint64_t value(struct fl_prng *prng)
{
    return fl_prng_next(prng) >> fl_prng_below(prng, 65) % 64 & -(fl_prng_next(prng) & 1);
}

static struct raft_msg any_message(struct fl_prng *prng)
{
    return (struct raft_msg){.group = value(prng),
                             .from = value(prng),
                             .to = value(prng),
                             .term = value(prng),
                             .log_term = value(prng),
                             .index = value(prng),
                             .commit = value(prng),
                             .commit_term = value(prng),
                             .x = value(prng),
                             .stamp = value(prng),
                             .bytes = value(prng),
                             .nents = (uint32_t)value(prng),
                             .type = (uint8_t)(1 + fl_prng_below(prng, RAFT_M_MAX)),
                             .flags = (uint8_t)fl_prng_below(prng, RAFT_F_ALL + 1)};
}

static bool same_message(const struct raft_msg *a, const struct raft_msg *b)
{
    return a->group == b->group && a->from == b->from && a->to == b->to && a->term == b->term &&
           a->log_term == b->log_term && a->index == b->index && a->commit == b->commit &&
           a->commit_term == b->commit_term && a->x == b->x && a->stamp == b->stamp &&
           a->bytes == b->bytes && a->nents == b->nents && a->type == b->type &&
           a->flags == b->flags;
}

/* A copy of exactly this size, so that reading one byte more is seen. */
static uint8_t *exact(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len > 0 ? len : 1);

    assert_non_null(copy);
    memcpy(copy, data, len);
    return copy;
}

static void test_messages_come_back(void **state)
{
    uint8_t bytes[2 * RAFT_MSG_BYTES_MAX];
    struct fl_prng prng;
    size_t longest = 0;

    (void)state;
    fl_prng_seed(&prng, 1);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raft_msg a = any_message(&prng);
        struct raft_msg b = any_message(&prng);
        struct raft_msg out;
        size_t first = raft_msg_encode(&a, bytes);
        size_t both = first + raft_msg_encode(&b, bytes + first);
        struct fl_reader in = fl_reader(fl_bytes(bytes, both));

        longest = first > longest ? first : longest;
        assert_int_equal(raft_msg_decode(&in, &out), FL_OK);
        assert_true(same_message(&a, &out));
        assert_int_equal(raft_msg_decode(&in, &out), FL_OK);
        assert_true(same_message(&b, &out));
        assert_true(fl_reader_done(&in));
    }
    assert_true(longest <= RAFT_MSG_BYTES_MAX);
}

/* A heartbeat of an ordinary group is small: that is the point of the format. */
static void test_ordinary_sizes(void **state)
{
    uint8_t bytes[RAFT_MSG_BYTES_MAX];
    struct raft_msg beat = {.group = 4000,
                            .from = 12,
                            .to = 13,
                            .term = 7,
                            .commit = 150000,
                            .commit_term = 7,
                            .stamp = 123456789,
                            .type = RAFT_M_HB};

    (void)state;
    assert_true(raft_msg_encode(&beat, bytes) <= 20);
}

static void test_cut_and_damaged_messages(void **state)
{
    uint8_t bytes[RAFT_MSG_BYTES_MAX];
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 2);
    for (unsigned i = 0; i < ROUNDS / 10; i++) {
        struct raft_msg a = any_message(&prng);
        struct raft_msg out;
        size_t len = raft_msg_encode(&a, bytes);

        for (size_t cut = 0; cut < len; cut++) {
            uint8_t *copy = exact(bytes, cut);
            struct fl_reader in = fl_reader(fl_bytes(copy, cut));

            assert_int_equal(raft_msg_decode(&in, &out), FL_BAD_MESSAGE);
            free(copy);
        }
        for (unsigned k = 0; k < 20; k++) {
            uint8_t *copy = exact(bytes, len);
            struct fl_reader in = fl_reader(fl_bytes(copy, len));
            enum fl_status status;

            copy[fl_prng_below(&prng, len)] = (uint8_t)fl_prng_next(&prng);
            status = raft_msg_decode(&in, &out);
            assert_true(status == FL_OK || status == FL_BAD_MESSAGE || status == FL_NEWER_FORMAT);
            assert_true(status != FL_OK || (out.type >= 1 && out.type <= RAFT_M_MAX));
            free(copy);
        }
    }
}

static void test_foreign_messages(void **state)
{
    uint8_t bytes[RAFT_MSG_BYTES_MAX];
    struct raft_msg m = {.group = 1, .from = 2, .to = 3, .term = 4, .type = RAFT_M_HB};
    struct raft_msg out;
    struct fl_reader in;
    size_t len = raft_msg_encode(&m, bytes);

    (void)state;
    bytes[0] = 2;
    in = fl_reader(fl_bytes(bytes, len));
    assert_int_equal(raft_msg_decode(&in, &out), FL_NEWER_FORMAT);
    bytes[0] = 0;
    in = fl_reader(fl_bytes(bytes, len));
    assert_int_equal(raft_msg_decode(&in, &out), FL_BAD_MESSAGE);
    bytes[0] = 1;
    bytes[4] |= 0x80; /* a field this version does not know */
    in = fl_reader(fl_bytes(bytes, len));
    assert_int_equal(raft_msg_decode(&in, &out), FL_BAD_MESSAGE);
}

static void test_changes_come_back(void **state)
{
    uint8_t bytes[RAFT_CHANGES_BYTES_MAX];
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 3);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct raft_changes a = {.transition = (uint8_t)fl_prng_below(&prng, RAFT_CONF_VOID + 1),
                                 .n = (uint8_t)fl_prng_below(&prng, RAFT_CHANGES_MAX + 1)};
        struct raft_changes out;
        struct fl_reader in;
        uint8_t *copy;
        size_t len;

        for (unsigned k = 0; k < a.n; k++) {
            a.op[k].op = (uint8_t) "vlru"[fl_prng_below(&prng, 4)];
            a.op[k].id = value(&prng);
        }
        len = raft_changes_encode(&a, bytes);
        copy = exact(bytes, len);
        in = fl_reader(fl_bytes(copy, len));
        assert_int_equal(raft_changes_decode(&in, &out), FL_OK);
        assert_true(fl_reader_done(&in));
        assert_int_equal(out.n, a.n);
        assert_int_equal(out.transition, a.transition);
        for (unsigned k = 0; k < a.n; k++) {
            assert_int_equal(out.op[k].op, a.op[k].op);
            assert_int_equal(out.op[k].id, a.op[k].id);
        }
        in = fl_reader(fl_bytes(copy, len - 1));
        assert_int_equal(raft_changes_decode(&in, &out), FL_BAD_MESSAGE);
        free(copy);
    }
}

static struct raft_conf any_conf(struct fl_prng *prng)
{
    struct raft_conf conf = {.n = 0};

    for (unsigned i = 0; i < 20; i++) {
        struct raft_changes c = {.transition = (uint8_t)fl_prng_below(prng, RAFT_CONF_VOID),
                                 .n = (uint8_t)fl_prng_below(prng, 4)};

        for (unsigned k = 0; k < c.n; k++) {
            c.op[k].op = (uint8_t) "vvllr"[fl_prng_below(prng, 5)];
            c.op[k].id = 1 + fl_prng_below(prng, 12) * 1000003;
        }
        if (raft_conf_change(&conf, &c) != FL_OK) {
            assert_true(raft_conf_valid(&conf)); /* refused and unchanged */
        }
        assert_true(raft_conf_valid(&conf));
    }
    return conf;
}

static void test_confs_come_back(void **state)
{
    uint8_t bytes[RAFT_CONF_BYTES_MAX];
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 4);
    for (unsigned i = 0; i < ROUNDS / 4; i++) {
        struct raft_conf a = any_conf(&prng);
        struct raft_conf out;
        size_t len = raft_conf_encode(&a, bytes);
        uint8_t *copy = exact(bytes, len);
        struct fl_reader in = fl_reader(fl_bytes(copy, len));
        enum fl_status status;

        assert_int_equal(raft_conf_decode(&in, &out), FL_OK);
        assert_true(fl_reader_done(&in));
        assert_true(raft_conf_equal(&a, &out));
        copy[fl_prng_below(&prng, len)] ^= (uint8_t)(1U << fl_prng_below(&prng, 8));
        in = fl_reader(fl_bytes(copy, len));
        status = raft_conf_decode(&in, &out);
        assert_true(status != FL_OK || raft_conf_valid(&out));
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages_come_back),
        cmocka_unit_test(test_ordinary_sizes),
        cmocka_unit_test(test_cut_and_damaged_messages),
        cmocka_unit_test(test_foreign_messages),
        cmocka_unit_test(test_changes_come_back),
        cmocka_unit_test(test_confs_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
