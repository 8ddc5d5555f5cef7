/* Goal: membership changes keep the rules M1..M19 of the scenario list.
 *
 * Method: one core at a time; changes are proposed, committed and applied by hand. */
#include "tests/raftgroup/solo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void step(struct solo *s, struct raft_msg m)
{
    assert_int_equal(solo_step(s, m, NULL), FL_OK);
}

static enum fl_status propose(struct solo *s, struct raft_changes c, raft_index *at)
{
    raft_term term;
    enum fl_status status = raft_propose_conf(s->group, s->now, &c, 0, at, &term);

    solo_drain(s);
    return status;
}

/* Applies the change at `at`, which must be handed out. */
static void apply(struct solo *s, raft_index at, struct raft_changes c)
{
    assert_int_equal(solo_status(s).applying, at);
    assert_int_equal(raft_conf_applied(s->group, s->now, at, &c), FL_OK);
    if (raft_applied(s->group, s->now, at, 0) != FL_OK) {
        fail();
    }
    solo_drain(s);
}

/* Proposes, has 2 acknowledge, applies. */
static raft_index change(struct solo *s, struct raft_changes c)
{
    raft_index at = 0;

    assert_int_equal(propose(s, c, &at), FL_OK);
    solo_ack(s, 2, at);
    apply(s, at, c);
    return at;
}

static void leader(struct solo *s, struct solo_setup *setup)
{
    solo_open(s, setup);
    solo_lead(s);
    solo_ack(s, 2, solo_status(s).last);
    s->hold_apply = true;
    solo_clear(s);
}

/* M1: strict: nothing is changed before an entry of the own term is committed (the 2015 bug). */
static void test_m1_own_term_first(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    setup.config.strict_conf = true;
    setup.terms[0] = 1;
    setup.term = 1;
    setup.commit = 1;
    solo_open(&s, &setup);
    solo_lead(&s);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_CONF_PENDING);
    solo_ack(&s, 2, 2);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    assert_int_equal(at, 3);
    solo_close(&s);
}

/* Strict: learners first, and near enough; the leader never removes or demotes itself. */
static void test_strict_rules(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    setup.config.strict_conf = true;
    setup.config.max_inflight = 4;
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('v', 4), &at), FL_CONF_INVALID);
    assert_int_equal(propose(&s, solo_change('r', 1), &at), FL_CONF_INVALID);
    assert_int_equal(propose(&s, solo_change('l', 1), &at), FL_CONF_INVALID);
    (void)change(&s, solo_change('l', 4));
    assert_int_equal(propose(&s, solo_change('v', 4), &at), FL_NOT_READY);
    solo_ack(&s, 4, 2);
    assert_int_equal(solo_peer(&s, 4).state, RAFT_REPLICATE);
    assert_int_equal(propose(&s, solo_change('v', 4), &at), FL_OK);
    solo_close(&s);
}

/* M2, M3: one at a time: refused until the previous one is applied, and after an election until all
 * that was in the log is. */
static void test_m2_m3_one_at_a_time(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;
    raft_index other;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    assert_int_equal(propose(&s, solo_change('l', 5), &other), FL_CONF_PENDING);
    solo_ack(&s, 2, at);
    assert_int_equal(solo_status(&s).commit, at);
    assert_int_equal(propose(&s, solo_change('l', 5), &other), FL_CONF_PENDING);
    apply(&s, at, solo_change('l', 4));
    assert_int_equal(propose(&s, solo_change('l', 5), &other), FL_OK);
    solo_close(&s);
}

/* M2: the record that appends a change carries a commit at or above the previous change. */
static void test_m2_record_carries_commit(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index first;
    raft_index second;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    first = change(&s, solo_change('l', 4));
    assert_int_equal(propose(&s, solo_change('l', 5), &second), FL_OK);
    assert_int_equal(s.records[s.nrecords - 1].hi, second);
    assert_true(s.records[s.nrecords - 1].commit >= first);
    solo_close(&s);
}

/* M2: nobody campaigns with a committed change unapplied; applied, or void, it may. */
static void test_m2_no_campaign_unapplied(void **state)
{
    struct raft_changes nothing = {.transition = RAFT_CONF_VOID};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.terms[0] = setup.terms[1] = 1;
    setup.conf_at[0] = 2;
    setup.commit = 1;
    setup.applied = 1;
    solo_open(&s, &setup);
    s.hold_apply = true;
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 2, .commit_term = 1});
    assert_int_equal(solo_status(&s).commit, 2);
    assert_int_equal(raft_campaign(s.group, s.now), FL_NOT_READY);
    solo_ticks(&s, 40);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOW, .index = 2, .log_term = 1});
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOWR, 2), 1); /* T5 */
    assert_int_equal(raft_conf_applied(s.group, s.now, 2, &nothing), FL_OK);
    assert_int_equal(raft_applied(s.group, s.now, 2, 0), FL_OK);
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_close(&s);
}

/* M2: a candidate that learns of a committed change steps back. M5: .. from the votes themselves.
 */
static void test_m5_commit_in_votes(void **state)
{
    const struct raft_msg *m;
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.terms[0] = setup.terms[1] = setup.terms[2] = 1;
    setup.commit = 1;
    setup.conf_at[0] = 3;
    solo_open(&s, &setup);
    s.hold_apply = true;
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_drain(&s);
    m = solo_sent(&s, RAFT_M_VOTE, 2, 0);
    assert_int_equal(m->commit, 1);
    assert_int_equal(m->commit_term, 1);
    step(&s,
         (struct raft_msg){.type = RAFT_M_VOTER,
                           .flags = RAFT_F_REJECT,
                           .commit = 3,
                           .commit_term = 9}); /* another history: not believed */
    assert_int_equal(solo_status(&s).commit, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .from = 3, .commit = 3, .commit_term = 1});
    assert_int_equal(solo_status(&s).commit, 3);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_close(&s);
}

/* M4: a learner that was promoted without knowing it votes when asked. It never campaigns itself.
 */
static void test_m4_learner_votes(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.self = 5;
    setup.learners[0] = 5;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 3});
    assert_int_equal(solo_sent(&s, RAFT_M_VOTER, 2, 0)->flags, 0);
    assert_int_equal(raft_campaign(s.group, s.now), FL_NOT_MEMBER);
    assert_int_equal(raft_deadline(s.group), RAFT_NEVER);
    assert_true(solo_status(&s).learner);
    solo_close(&s);
}

/* M6: an uncommitted change that is overwritten was never in force, and does not bar the next one.
 */
static void test_m6_overwritten_change(void **state)
{
    static const raft_term twos[] = {2, 2};
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    assert_int_equal(solo_status(&s).conf_pending, at);
    assert_int_equal(
        solo_step(
            &s,
            (struct raft_msg){
                .type = RAFT_M_APP, .term = 2, .log_term = 1, .index = 1, .nents = 1, .commit = 2},
            twos),
        FL_OK);
    assert_int_equal(solo_status(&s).conf_pending, 0);
    assert_int_equal(raft_conf_get(s.group)->n, 3);
    s.hold_apply = false;
    assert_int_equal(raft_applied(s.group, s.now, 2, 0), FL_OK);
    solo_lead(&s);
    solo_ack(&s, 2, 3);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    solo_close(&s);
}

/* Applying past a change without putting it in force freezes the group. */
static void test_apply_past_change(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    solo_ack(&s, 2, at);
    assert_int_equal(raft_applied(s.group, s.now, at, 0), FL_FROZEN);
    assert_memory_equal(solo_status(&s).why, "RG-11", 5);
    solo_close(&s);
}

/* A change ends its apply range; what follows is handed out after it is in force. */
static void test_change_ends_range(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    assert_int_equal(propose(&s, solo_change('l', 4), &at), FL_OK);
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, at + 1);
    assert_int_equal(s.apply_lo, 2);
    assert_int_equal(s.apply_hi, at);
    apply(&s, at, solo_change('l', 4));
    assert_int_equal(s.apply_lo, at + 1);
    assert_int_equal(s.apply_hi, at + 1);
    solo_close(&s);
}

/* M7: a leader that removed itself does not count itself. M8: it steps down when that is applied.
 */
static void test_m7_m8_leader_removes_itself(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    setup.config.step_down_on_removal = false;
    leader(&s, &setup);
    (void)change(&s, solo_change('r', 1));
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(propose(&s, solo_change('l', 9), &at), FL_NOT_MEMBER);
    assert_false(solo_status(&s).voter);
    solo_close(&s);

    setup.config.step_down_on_removal = true;
    leader(&s, &setup);
    (void)change(&s, solo_change('r', 1));
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).leader, 0);
    solo_ticks(&s, 40);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_close(&s);
}

/* M10: joint: votes and commit need both halves. */
static void test_m10_joint_needs_both(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup); /* in 1 2 3, out 1 4 5 */
    setup.out[0] = 1;
    setup.out[1] = 4;
    setup.out[2] = 5;
    solo_open(&s, &setup);
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_VOTE, 0), 4);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .from = 2});
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .from = 4});
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    at = solo_status(&s).last;
    solo_ack(&s, 2, at);
    solo_ack(&s, 3, at);
    assert_int_equal(solo_status(&s).commit, 0);
    solo_ack(&s, 5, at);
    assert_int_equal(solo_status(&s).commit, at);
    solo_close(&s);
}

/* M11: joint is left once, by the leader of the day, when everything before is applied; a transfer
 * in progress only delays it. */
static void test_m11_auto_leave(void **state)
{
    struct raft_changes leave = {.transition = RAFT_CONF_AUTO};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.autoleave = true;
    setup.out[0] = 1;
    setup.out[1] = 2;
    setup.out[2] = 3;
    solo_open(&s, &setup);
    solo_lead(&s);
    solo_ack(&s, 2, 1);
    assert_int_equal(s.nmade, 2); /* the first entry and the leave */
    assert_int_equal(s.made[1].type, RAFT_ENT_CONF);
    assert_int_equal(s.made[1].index, 2);
    s.hold_apply = true;
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 3);
    assert_int_equal(s.nmade, 2);
    apply(&s, 2, leave);
    assert_int_equal(raft_conf_get(s.group)->out, 0);
    assert_false(raft_conf_get(s.group)->autoleave);
    assert_int_equal(s.nmade, 2);
    solo_close(&s);
}

static void test_m11_leave_after_transfer(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.autoleave = true;
    setup.out[0] = 1;
    setup.out[1] = 2;
    setup.out[2] = 3;
    solo_open(&s, &setup);
    solo_lead(&s);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    solo_ack(&s, 2, 1);
    assert_int_equal(s.nmade, 1);
    solo_ticks(&s, 10); /* 3 is silent: aborted */
    assert_int_equal(solo_status(&s).transferee, 0);
    assert_int_equal(s.nmade, 2);
    solo_close(&s);
}

/* M12: a new peer counts as recently heard, else the quorum check ends the leader that added it. */
static void test_m12_new_peer_is_active(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.check_quorum = true;
    setup.voters[1] = setup.voters[2] = 0;
    solo_open(&s, &setup);
    solo_lead(&s);
    s.hold_apply = true;
    solo_ticks(&s, 9);
    {
        raft_index at;

        assert_int_equal(propose(&s, solo_change('v', 2), &at), FL_OK);
        apply(&s, at, solo_change('v', 2));
    }
    solo_ticks(&s, 2); /* over the check at 10 */
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_ticks(&s, 10);
    assert_int_not_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* M13: fewer voters: commit and waiting reads are looked at again at once. */
static void test_m13_fewer_voters(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;
    raft_index later;

    (void)state;
    solo_defaults(&setup);
    setup.voters[2] = 0; /* 1 and 2 */
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('r', 2), &at), FL_OK);
    later = solo_propose(&s, 1);
    assert_int_equal(raft_read_index(s.group, s.now, 5), FL_OK);
    solo_drain(&s);
    solo_ack(&s, 2, at);
    assert_int_equal(solo_status(&s).commit, at);
    assert_int_equal(s.nreads, 0);
    apply(&s, at, solo_change('r', 2));
    assert_int_equal(solo_status(&s).commit, later);
    assert_int_equal(s.nreads, 1);
    assert_true(s.reads[0].ok);
    solo_close(&s);
}

/* M14: an update keeps a learner a learner; M19: no voters left, adding twice, removing nobody. */
static void test_m14_m19_edges(void **state)
{
    struct raft_changes c = solo_change('v', 1);
    struct raft_conf conf = {.n = 0};
    struct raft_conf before;

    (void)state;
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    c = solo_change('l', 2);
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    before = conf;
    c = solo_change('u', 2);
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    assert_true(raft_conf_equal(&before, &conf));
    c = solo_change('l', 2);
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    c = solo_change('r', 9);
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    assert_true(raft_conf_equal(&before, &conf));
    c = solo_change('r', 1);
    assert_int_equal(raft_conf_change(&conf, &c), FL_CONF_INVALID);
    assert_true(raft_conf_equal(&before, &conf));
    for (raft_id id = 3; id <= RAFT_MEMBERS_MAX; id++) {
        c = solo_change('l', id);
        assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    }
    c = solo_change('l', 99);
    assert_int_equal(raft_conf_change(&conf, &c), FL_CONF_INVALID);
    assert_true(raft_conf_valid(&conf));
}

/* M16: answers of a removed peer count for nothing; a transfer to a removed target ends. */
static void test_m16_removed_peer(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(propose(&s, solo_change('r', 3), &at), FL_OK);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    solo_ack(&s, 2, at);
    assert_int_equal(solo_status(&s).transferee, 3);
    apply(&s, at, solo_change('r', 3));
    assert_int_equal(solo_status(&s).transferee, 0);
    assert_int_equal(
        solo_step(
            &s, (struct raft_msg){.type = RAFT_M_APPR, .from = 3, .index = 1, .term = 99}, NULL),
        FL_NOT_MEMBER);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(solo_peer(&s, 3).id, 0);
    solo_close(&s);
}

/* C17: acknowledgements of learners commit nothing. */
static void test_c17_learners_do_not_commit(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    setup.learners[0] = 4;
    setup.learners[1] = 5;
    leader(&s, &setup);
    at = solo_propose(&s, 1);
    solo_ack(&s, 4, at);
    solo_ack(&s, 5, at);
    assert_int_equal(solo_status(&s).commit, at - 1);
    solo_ack(&s, 3, at);
    assert_int_equal(solo_status(&s).commit, at);
    solo_close(&s);
}

/* Progress follows its member when slots shift. */
static void test_slots_shift(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[0] = 5; /* 2 3 5, self 5 */
    setup.self = 5;
    leader(&s, &setup);
    solo_ack(&s, 3, 1);
    (void)change(&s, solo_change('l', 1));
    (void)change(&s, solo_change('l', 4));
    assert_int_equal(solo_peer(&s, 2).match, 3);
    assert_int_equal(solo_peer(&s, 3).match, 1);
    assert_int_equal(solo_peer(&s, 1).match, 0);
    assert_int_equal(solo_peer(&s, 4).match, 0);
    assert_true(solo_peer(&s, 4).learner);
    assert_true(solo_peer(&s, 5).match >= 3);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_m1_own_term_first),
        cmocka_unit_test(test_strict_rules),
        cmocka_unit_test(test_m2_m3_one_at_a_time),
        cmocka_unit_test(test_m2_record_carries_commit),
        cmocka_unit_test(test_m2_no_campaign_unapplied),
        cmocka_unit_test(test_m5_commit_in_votes),
        cmocka_unit_test(test_m4_learner_votes),
        cmocka_unit_test(test_m6_overwritten_change),
        cmocka_unit_test(test_apply_past_change),
        cmocka_unit_test(test_change_ends_range),
        cmocka_unit_test(test_m7_m8_leader_removes_itself),
        cmocka_unit_test(test_m10_joint_needs_both),
        cmocka_unit_test(test_m11_auto_leave),
        cmocka_unit_test(test_m11_leave_after_transfer),
        cmocka_unit_test(test_m12_new_peer_is_active),
        cmocka_unit_test(test_m13_fewer_voters),
        cmocka_unit_test(test_m14_m19_edges),
        cmocka_unit_test(test_m16_removed_peer),
        cmocka_unit_test(test_c17_learners_do_not_commit),
        cmocka_unit_test(test_slots_shift),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
