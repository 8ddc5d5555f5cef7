/* Goal: no message makes a log newer than the term. A snapshot of a later term than its sender's
 * would: the next leader's first entry could not stand behind it (RG-5, P8).
 *
 * Method: one core, an offer with a term from the future, and the same snapshot staged without an
 * offer; both are refused, and the core goes on to lead. Found by fuzzing. */
#include "tests/raftgroup/solo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_offer_of_a_later_term_is_malformed(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    assert_int_equal(
        solo_step(&s,
                  (struct raft_msg){.type = RAFT_M_SNAP, .term = 1, .log_term = 3, .index = 157},
                  NULL),
        FL_BAD_MESSAGE);
    assert_int_equal(solo_status(&s).term, 0);
    solo_lead(&s);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

static void test_staged_snapshot_of_a_later_term_is_refused(void **state)
{
    const struct raft_conf conf = {.n = 3, .in = 7, .id = {1, 2, 3}};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    assert_int_equal(
        solo_step(&s,
                  (struct raft_msg){.type = RAFT_M_SNAP, .term = 1, .log_term = 1, .index = 157},
                  NULL),
        FL_OK);
    assert_int_equal(raft_snapshot_staged(s.group, s.now, 2, 157, 3, &conf), FL_CONF_INVALID);
    assert_int_equal(solo_status(&s).last, 0);
    assert_int_equal(raft_snapshot_staged(s.group, s.now, 2, 157, 1, &conf), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).applied, 157);
    solo_lead(&s);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offer_of_a_later_term_is_malformed),
        cmocka_unit_test(test_staged_snapshot_of_a_later_term_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
