/* Goal: what is committed stays committed whatever the term of who says so. A voter of the coming
 * configuration may have to learn from a member of an older term that the change is committed, or
 * neither can ever lead (M5): the one lacks the log, the other has become a learner.
 *
 * Method: one core with a commit point behind; messages of an older term, each with the commit
 * point of its sender. */
#include "tests/raftgroup/solo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Replica 1 of {1, 2} holds the entry 3 that makes 2 a learner, and does not know that it is
 * committed. 2 has applied it and has more entries of term 2, but never met term 3. */
static void open_behind(struct solo *s)
{
    struct solo_setup setup;

    solo_defaults(&setup);
    setup.config.pre_vote = true;
    setup.voters[0] = 1;
    setup.voters[1] = 2;
    setup.voters[2] = 0;
    setup.term = 3;
    setup.vote = 1;
    setup.commit = 2;
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.terms[2] = 2;
    setup.conf_at[0] = 3;
    solo_open(s, &setup);
    s->hold_apply = true;
}

static void test_refused_pre_vote_teaches_commit(void **state)
{
    struct solo s;

    (void)state;
    open_behind(&s);
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).role, RAFT_PRECANDIDATE);
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = RAFT_M_PREVOTER,
                                                 .flags = RAFT_F_REJECT,
                                                 .term = 2,
                                                 .commit = 3,
                                                 .commit_term = 2},
                               NULL),
                     FL_OK);
    assert_int_equal(solo_status(&s).commit, 3);
    assert_int_equal(solo_status(&s).term, 3);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER); /* the change comes first (M2) */
    solo_close(&s);
}

static void test_request_teaches_commit(void **state)
{
    static const uint8_t types[] = {RAFT_M_PREVOTE, RAFT_M_VOTE};

    (void)state;
    for (size_t i = 0; i < sizeof(types); i++) {
        struct solo s;

        open_behind(&s);
        assert_int_equal(solo_step(&s,
                                   (struct raft_msg){.type = types[i],
                                                     .term = 2,
                                                     .index = 5,
                                                     .log_term = 2,
                                                     .commit = 3,
                                                     .commit_term = 2},
                                   NULL),
                         FL_OK);
        assert_int_equal(solo_status(&s).commit, 3);
        assert_int_equal(solo_status(&s).vote, 1);
        solo_close(&s);
    }
}

static void test_another_entry_at_commit_teaches_nothing(void **state)
{
    struct solo s;

    (void)state;
    open_behind(&s);
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = RAFT_M_PREVOTER,
                                                 .flags = RAFT_F_REJECT,
                                                 .term = 2,
                                                 .commit = 3,
                                                 .commit_term = 1},
                               NULL),
                     FL_OK);
    assert_int_equal(solo_status(&s).commit, 2);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_pre_vote_teaches_commit),
        cmocka_unit_test(test_request_teaches_commit),
        cmocka_unit_test(test_another_entry_at_commit_teaches_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
