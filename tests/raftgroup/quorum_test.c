/* Goal: counting is right for every configuration (C16, R10), single or joint.
 *
 * Method: random members, roles, positions and votes; each answer is compared with one that is
 * computed by the definition: a value is held when more than half of each half holds it. */
#include "raftgroup/quorum.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROUNDS = 200000 };

static unsigned members(raft_mask mask)
{
    unsigned n = 0;

    for (; mask != 0; mask >>= 1) {
        n += mask & 1;
    }
    return n;
}

/* More than half of a half, which may be empty: then there is nobody to ask. */
static bool is_held(raft_mask half, raft_mask holders)
{
    return half == 0 || 2 * members(half & holders) > members(half);
}

static raft_mask holders_of(const struct raft_conf *conf, const uint64_t *match, uint64_t value)
{
    raft_mask holders = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        holders |= (raft_mask)((match[i] >= value) << i);
    }
    return holders;
}

static void random_conf(struct fl_prng *p, struct raft_conf *conf)
{
    *conf = (struct raft_conf){.n = (uint8_t)(1 + fl_prng_below(p, RAFT_MEMBERS_MAX))};
    for (unsigned i = 0; i < conf->n; i++) {
        uint64_t role = fl_prng_below(p, 4);

        conf->id[i] = i + 1;
        conf->in |= (raft_mask)((role == 0 || role == 2) << i);
        conf->out |= (raft_mask)((role == 1 || role == 2) << i);
    }
    if (fl_prng_below(p, 2) == 0) {
        conf->out = 0;
    }
    conf->in = conf->in != 0 ? conf->in : 1;
}

/* C16: the commit point is the highest value that both halves hold; R10: never one more. */
static void test_c16_r10_value(void **state)
{
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 16);
    for (unsigned k = 0; k < ROUNDS; k++) {
        uint64_t match[RAFT_MEMBERS_MAX];
        struct raft_conf conf;
        uint64_t value;

        random_conf(&prng, &conf);
        for (unsigned i = 0; i < RAFT_MEMBERS_MAX; i++) {
            match[i] = fl_prng_below(&prng, 8);
        }
        value = raft__quorum_value(&conf, match);
        assert_true(is_held(conf.in, holders_of(&conf, match, value)) &&
                    is_held(conf.out, holders_of(&conf, match, value)));
        assert_false(is_held(conf.in, holders_of(&conf, match, value + 1)) &&
                     is_held(conf.out, holders_of(&conf, match, value + 1)));
    }
}

/* C16, M10: won by a majority of both halves, lost when one half cannot be won any more. */
static void test_c16_m10_votes(void **state)
{
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 17);
    for (unsigned k = 0; k < ROUNDS; k++) {
        raft_mask yes = (raft_mask)fl_prng_below(&prng, 1U << RAFT_MEMBERS_MAX);
        raft_mask no = (raft_mask)(fl_prng_below(&prng, 1U << RAFT_MEMBERS_MAX) & ~(uint64_t)yes);
        raft_mask open = (raft_mask)~no;
        struct raft_conf conf;
        bool won;
        bool lost;

        random_conf(&prng, &conf);
        won = is_held(conf.in, yes) && is_held(conf.out, yes);
        lost = !is_held(conf.in, open) || !is_held(conf.out, open);
        assert_int_equal(raft__quorum_vote(&conf, yes, no), won ? 1 : lost ? 2 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c16_r10_value),
        cmocka_unit_test(test_c16_m10_votes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
