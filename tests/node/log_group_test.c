/* Goal: a group's bookkeeping in memory knows the term of every index and grows with the number of
 * terms kept, not with what was ever written; bytes kept stay within a mark of the truth.
 * Method: random appends, cuts, truncations and snapshots against plain arrays. */
#include "node/log_store_internal.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { INDEX_MAX = 20000, MARK = 64 * 1024 };

struct model {
    raft_index truncated;
    raft_index last;
    raft_term term;
    raft_term terms[INDEX_MAX];
    uint64_t bytes[INDEX_MAX];
};

static void compare(const struct node__log_group *group, const struct model *m, uint64_t slack)
{
    size_t runs = 0;
    uint64_t bytes = 0;

    assert_true(group->state.truncated == m->truncated && group->state.last == m->last);
    assert_true(group->state.last_term == m->terms[m->last]);
    for (raft_index i = m->truncated; i <= m->last; i++) {
        assert_true(node__log_group_term(group, i) == m->terms[i]);
        if (i > m->truncated) {
            bytes += m->bytes[i];
            if (i == m->truncated + 1 || m->terms[i] != m->terms[i - 1]) {
                assert_true(group->runs[runs].first == i && group->runs[runs].term == m->terms[i]);
                runs++;
            }
        }
    }
    assert_int_equal(group->run_count, runs);
    assert_true(group->mark_count <= bytes / MARK + 1);
    assert_true(group->kept_bytes <= bytes + MARK + slack);
    assert_true(group->kept_bytes + MARK + slack >= bytes);
}

static void step(struct node__log_group *group, struct model *m, struct fl_prng *prng)
{
    uint64_t what = fl_prng_below(prng, 20);
    uint64_t kept = m->last - m->truncated;

    if (what == 0 && kept != 0) {
        raft_index from = m->truncated + 1 + fl_prng_below(prng, kept);

        node__log_group_cut(group, from);
        m->last = from - 1;
    } else if (what == 1 && kept != 0) {
        m->truncated += 1 + fl_prng_below(prng, kept);
        node__log_group_truncate(group, m->truncated);
    } else if (what == 2 && fl_prng_below(prng, 20) == 0) {
        m->truncated = m->last = m->last + fl_prng_below(prng, 5);
        m->terms[m->last] = m->term;
        node__log_group_reset(group, m->last, m->term);
    } else {
        m->term += fl_prng_below(prng, 6) == 0 ? 1 : 0;
        m->last++;
        m->terms[m->last] = m->term;
        m->bytes[m->last] = 1 + fl_prng_below(prng, 5000);
        node__log_group_append(group, m->last, m->last, m->term);
        node__log_group_count(group, m->last, m->bytes[m->last]);
    }
}

static void test_random_model(void **state)
{
    struct node_log_state empty = {.replica_id = 1, .incarnation = 1};
    struct model *m = fl_xcalloc(1, sizeof(*m));
    struct fl_prng prng;

    (void)state;
    fl_prng_seed(&prng, 3);
    for (int life = 0; life < 20; life++) {
        struct node__log_group *group = node__log_group_create(2, &empty);
        uint64_t cuts = 0;

        memset(m, 0, sizeof(*m));
        for (int i = 0; i < 1500; i++) {
            raft_index before = m->last;

            step(group, m, &prng);
            /* Each cut may forget up to a mark of what lies below it, until that is truncated. */
            cuts = m->last < before ? cuts + 1 : m->last == m->truncated ? 0 : cuts;
            compare(group, m, cuts * MARK);
        }
        node__log_group_destroy(group);
    }
    free(m);
}

/* Goal: an idle, fully truncated group holds no marks and no runs. */
static void test_idle_group_is_small(void **state)
{
    struct node_log_state empty = {.replica_id = 1, .incarnation = 1};
    struct node__log_group *group = node__log_group_create(2, &empty);

    (void)state;
    for (raft_index i = 1; i <= 1000; i++) {
        node__log_group_append(group, i, i, i);
        node__log_group_count(group, i, 1000);
    }
    assert_int_equal(group->mark_count, 1000 * 1000 / (66 * 1000));
    node__log_group_truncate(group, 1000);
    assert_int_equal(group->run_count, 0);
    assert_int_equal(group->mark_count, 0);
    assert_null(group->marks);
    assert_int_equal(group->kept_bytes, 0);
    node__log_group_destroy(group);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_model),
        cmocka_unit_test(test_idle_group_is_small),
    };

    return cmocka_run_group_tests_name("log_group", tests, NULL, NULL);
}
