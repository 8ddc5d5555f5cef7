/* Goal: elections keep the rules E2..E26 of the scenario list: one vote per term, durable before it
 * is told, and nobody is stuck or disturbed.
 *
 * Method: one core at a time; each test is named by its scenario and plays the messages by hand. */
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

static void campaign(struct solo *s)
{
    assert_int_equal(raft_campaign(s->group, s->now), FL_OK);
    solo_drain(s);
}

static bool granted(const struct solo *s, unsigned type, raft_id to, unsigned n)
{
    const struct raft_msg *m = solo_sent(s, type, to, n);

    assert_non_null(m);
    return (m->flags & RAFT_F_REJECT) == 0;
}

/* E2: a grant waits for the record with the vote; a second record does not help. */
static void test_e2_grant_waits_for_disk(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    s.hold = true;
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 1});
    assert_int_equal(solo_count(&s, RAFT_M_VOTER, 2), 0);
    assert_int_equal(s.nrecords, 1);
    assert_int_equal(s.records[0].vote, 2);
    assert_int_equal(s.records[0].term, 1);
    assert_true(s.records[0].must_sync);
    solo_ack_all(&s);
    assert_true(granted(&s, RAFT_M_VOTER, 2, 0));
    assert_int_equal(solo_count(&s, RAFT_M_VOTER, 2), 1);
    solo_close(&s);
}

/* E2: a refusal reveals the new term, so it waits for that term, too. */
static void test_e2_refusal_waits_for_term(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.term = 1;
    solo_open(&s, &setup);
    s.hold = true;
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 7}); /* empty log: refused */
    assert_int_equal(s.nsent, 0);
    solo_ack_all(&s);
    assert_false(granted(&s, RAFT_M_VOTER, 2, 0));
    assert_int_equal(solo_sent(&s, RAFT_M_VOTER, 2, 0)->term, 7);
    solo_close(&s);
}

/* E3, E16: answers of an older term, or to an election that is over, count for nothing. */
static void test_e3_old_answers(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    campaign(&s);
    campaign(&s); /* term 2 */
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .term = 1});
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTER, .term = 3});
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    assert_int_equal(solo_status(&s).term, 2);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .term = 2});
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .term = 2, .flags = RAFT_F_REJECT, .from = 3});
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* E4: one peer counts once, strangers and learners never. */
static void test_e4_duplicates_and_strangers(void **state)
{
    struct raft_msg grant = {.type = RAFT_M_VOTER, .term = 1, .from = 2};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[3] = 4;
    setup.voters[4] = 5;
    setup.learners[0] = 6;
    solo_open(&s, &setup);
    campaign(&s);
    step(&s, grant);
    step(&s, grant);
    step(&s, grant);
    grant.from = 77;
    assert_int_equal(solo_step(&s, grant, NULL), FL_NOT_MEMBER);
    grant.from = 6;
    step(&s, grant);
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    grant.from = 5;
    step(&s, grant);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* E4: only the first answer of a peer counts: a refusal behind its grant takes nothing back. */
static void test_e4_first_answer_counts(void **state)
{
    struct raft_msg answer = {.type = RAFT_M_VOTER, .term = 1, .from = 2};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[3] = 4;
    setup.voters[4] = 5;
    solo_open(&s, &setup);
    campaign(&s);
    step(&s, answer);
    answer.flags = RAFT_F_REJECT;
    for (answer.from = 2; answer.from <= 4; answer.from++) {
        step(&s, answer);
    }
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE); /* two grants, two refusals */
    answer.flags = 0;
    step(&s, answer);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* E5: the same candidate asks twice and is granted twice; another one is not. */
static void test_e5_same_candidate_twice(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 1});
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 1});
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 1, .from = 3});
    assert_true(granted(&s, RAFT_M_VOTER, 2, 0));
    assert_true(granted(&s, RAFT_M_VOTER, 2, 1));
    assert_false(granted(&s, RAFT_M_VOTER, 3, 0));
    solo_close(&s);
}

/* E6: term decides before length. E7: behind a snapshot the last term is the snapshot's. */
static void test_e6_e7_log_comparison(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.snap_index = 20;
    setup.snap_term = 4;
    setup.term = 4;
    setup.commit = 20;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 5, .log_term = 3, .index = 99});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 0));
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 6, .log_term = 4, .index = 19});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 1));
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 7, .log_term = 4, .index = 20});
    assert_true(granted(&s, RAFT_M_VOTER, 2, 2));
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 8, .log_term = 5, .index = 1});
    assert_true(granted(&s, RAFT_M_VOTER, 2, 3));
    solo_close(&s);
}

/* E9: a term raised by a refused candidate is no grant to the next one, nor a bar against it. */
static void test_e9_raised_term_is_no_grant(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.terms[0] = setup.terms[1] = 1;
    setup.term = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 5, .log_term = 1, .index = 1});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 0));
    assert_int_equal(solo_status(&s).vote, 0);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = 3, .log_term = 1, .index = 1});
    assert_false(granted(&s, RAFT_M_VOTER, 3, 0));
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = 3, .log_term = 1, .index = 2});
    assert_true(granted(&s, RAFT_M_VOTER, 3, 1));
    solo_close(&s);
}

/* E10: a leader grants nobody its own term. */
static void test_e10_leader_keeps_its_term(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    solo_lead(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .log_term = 9, .index = 99});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 0));
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* E12, E14: a pre-candidate of a low term is told the higher one and adopts it, not as a vote. */
static void test_e12_e14_higher_term_spreads(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.pre_vote = true;
    setup.term = 8;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 3, .log_term = 2, .index = 50});
    assert_false(granted(&s, RAFT_M_PREVOTER, 2, 0));
    assert_int_equal(solo_sent(&s, RAFT_M_PREVOTER, 2, 0)->term, 8);
    campaign(&s);
    assert_int_equal(solo_status(&s).role, RAFT_PRECANDIDATE);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTER, .term = 12, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).term, 12);
    assert_int_equal(solo_status(&s).vote, 0);
    solo_close(&s);
}

/* E13: a pre-candidate stops believing in its leader, so it grants others in spite of stickiness.
 */
static void test_e13_precandidate_forgets_leader(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.pre_vote = true;
    setup.config.check_quorum = true;
    setup.term = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3});
    assert_int_equal(solo_count(&s, RAFT_M_PREVOTER, 3), 0); /* sticky */
    solo_ticks(&s, 10);
    assert_int_equal(solo_status(&s).role, RAFT_PRECANDIDATE);
    assert_int_equal(solo_status(&s).leader, 0);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3});
    assert_true(granted(&s, RAFT_M_PREVOTER, 3, 0));
    solo_close(&s);
}

/* E15: a pre-vote looks at the log, leaves the timer alone, and the node we follow may ask. */
static void test_e15_prevote(void **state)
{
    struct solo_setup setup;
    struct solo s;
    uint64_t deadline;

    (void)state;
    solo_defaults(&setup);
    setup.config.pre_vote = true;
    setup.config.check_quorum = true;
    setup.terms[0] = setup.terms[1] = 1;
    setup.term = 1;
    solo_open(&s, &setup);
    solo_ticks(&s, 4);
    deadline = raft_deadline(s.group);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .log_term = 1, .index = 1});
    assert_false(granted(&s, RAFT_M_PREVOTER, 2, 0));
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .log_term = 1, .index = 2});
    assert_true(granted(&s, RAFT_M_PREVOTER, 2, 1));
    assert_int_equal(raft_deadline(s.group), deadline);
    assert_int_equal(solo_status(&s).term, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .log_term = 1, .index = 2});
    assert_true(granted(&s, RAFT_M_PREVOTER, 2, 2));
    solo_close(&s);
}

/* E17: a peer stranded at a higher term answers an old leader, which then steps down. */
static void test_e17_stranded_peer(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 9;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 4});
    assert_int_equal(solo_sent(&s, RAFT_M_APPR, 2, 0)->term, 9);
    assert_false(granted(&s, RAFT_M_APPR, 2, 0));
    solo_clear(&s);
    solo_lead(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_APPR, .term = 20, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).term, 20);
    solo_close(&s);
}

/* E20: two triggers before the own vote is durable bump the term once; a leader ignores them. */
static void test_e20_two_triggers(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[1] = 0;
    solo_open(&s, &setup);
    s.hold = true;
    campaign(&s);
    campaign(&s);
    solo_ticks(&s, 25);
    assert_int_equal(solo_status(&s).term, 1);
    assert_int_equal(solo_status(&s).role,
                     RAFT_CANDIDATE); /* alone, yet no leader before its disk */
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    campaign(&s);
    assert_int_equal(solo_status(&s).term, 1);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* E21: the vote of the current term survives a restart and a change of role. */
static void test_e21_vote_survives(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 3;
    setup.vote = 3;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = 2, .term = 3});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 0));
    campaign(&s); /* term 4, own vote */
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .flags = RAFT_F_REJECT});
    step(&s, (struct raft_msg){.type = RAFT_M_VOTER, .flags = RAFT_F_REJECT, .from = 3});
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).vote, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = 2, .term = 4});
    assert_false(granted(&s, RAFT_M_VOTER, 2, 1));
    solo_close(&s);
}

/* E24: while a leader is heard, a removed or cut off node cannot disturb: its request is ignored,
 * term and all. */
static void test_e24_stickiness(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.check_quorum = true;
    setup.term = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    solo_ticks(&s, 9);
    solo_clear(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 50, .from = 9, .log_term = 9});
    assert_int_equal(s.nsent, 0);
    assert_int_equal(solo_status(&s).term, 1);
    step(&s,
         (struct raft_msg){
             .type = RAFT_M_VOTE, .term = 51, .from = 3, .flags = RAFT_F_TRANSFER, .log_term = 9});
    assert_true(granted(&s, RAFT_M_VOTER, 3, 0)); /* the leader itself asked for this one */
    solo_close(&s);
}

/* E25: after a restart nobody waits longer than one timeout. */
static void test_e25_restart_waits_once(void **state)
{
    struct solo_setup setup;

    (void)state;
    solo_defaults(&setup);
    setup.config.parity = 0;
    setup.term = 6;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct solo s;

        setup.seed = seed;
        solo_open(&s, &setup);
        assert_in_range(raft_deadline(s.group), 10, 19);
        solo_close(&s);
    }
}

/* E26: the vote request leaves only when term, vote and the advertised log tail are durable. */
static void test_e26_request_waits_for_tail(void **state)
{
    static const raft_term terms[] = {1, 1};
    const struct raft_msg *m;
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    s.hold = true;
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APP, .term = 1, .nents = 2}, terms), FL_OK);
    campaign(&s);
    assert_int_equal(solo_count(&s, RAFT_M_VOTE, 0), 0);
    assert_int_equal(s.nrecords, 2);
    assert_int_equal(raft_persisted(s.group, s.now, s.records[0].seq), FL_OK); /* the tail only */
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_VOTE, 0), 0);
    solo_ack_all(&s);
    m = solo_sent(&s, RAFT_M_VOTE, 2, 0);
    assert_non_null(m);
    assert_int_equal(m->index, 2);
    assert_int_equal(m->term, 2);
    assert_int_equal(solo_count(&s, RAFT_M_VOTE, 0), 2);
    solo_close(&s);
}

/* Pre-votes promise nothing and leave at once; the real election follows their quorum. */
static void test_prevote_leaves_at_once(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.pre_vote = true;
    solo_open(&s, &setup);
    s.hold = true;
    campaign(&s);
    assert_int_equal(solo_count(&s, RAFT_M_PREVOTE, 0), 2);
    assert_int_equal(solo_sent(&s, RAFT_M_PREVOTE, 2, 0)->term, 1);
    assert_int_equal(solo_status(&s).term, 0);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTER, .term = 1});
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    assert_int_equal(solo_status(&s).term, 1);
    solo_close(&s);
}

/* Forgetting the leader lets a group elect at once when the leader's node is gone. */
static void test_forget_leader(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.pre_vote = true;
    setup.config.check_quorum = true;
    setup.term = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    assert_int_equal(raft_forget_leader(s.group, s.now), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).leader, 0);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3});
    assert_true(granted(&s, RAFT_M_PREVOTER, 3, 0));
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 2, .from = 3});
    assert_true(granted(&s, RAFT_M_VOTER, 3, 0));
    solo_close(&s);
}

/* C24: a leader whose disk stalls steps down after a bounded time, heard or not. */
static void test_c24_stalled_disk(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.disk_stall_ticks = 15;
    solo_open(&s, &setup);
    solo_lead(&s);
    s.hold = true;
    (void)solo_propose(&s, 1);
    for (unsigned i = 0; i < 40 && solo_status(&s).role == RAFT_LEADER; i++) {
        step(&s, (struct raft_msg){.type = RAFT_M_HBR});
        solo_ticks(&s, 1);
        assert_true(i < 30);
    }
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_close(&s);
}

/* Without a heard quorum a leader steps down within two periods; with one it stays. */
static void test_check_quorum(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.check_quorum = true;
    solo_open(&s, &setup);
    solo_lead(&s);
    for (unsigned i = 0; i < 50; i++) {
        step(&s, (struct raft_msg){.type = RAFT_M_HBR});
        solo_ticks(&s, 1);
    }
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    for (unsigned i = 0; i < 20 && solo_status(&s).role == RAFT_LEADER; i++) {
        solo_ticks(&s, 1);
    }
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).leader, 0); /* P5 */
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e2_grant_waits_for_disk),
        cmocka_unit_test(test_e2_refusal_waits_for_term),
        cmocka_unit_test(test_e3_old_answers),
        cmocka_unit_test(test_e4_duplicates_and_strangers),
        cmocka_unit_test(test_e4_first_answer_counts),
        cmocka_unit_test(test_e5_same_candidate_twice),
        cmocka_unit_test(test_e6_e7_log_comparison),
        cmocka_unit_test(test_e9_raised_term_is_no_grant),
        cmocka_unit_test(test_e10_leader_keeps_its_term),
        cmocka_unit_test(test_e12_e14_higher_term_spreads),
        cmocka_unit_test(test_e13_precandidate_forgets_leader),
        cmocka_unit_test(test_e15_prevote),
        cmocka_unit_test(test_e17_stranded_peer),
        cmocka_unit_test(test_e20_two_triggers),
        cmocka_unit_test(test_e21_vote_survives),
        cmocka_unit_test(test_e24_stickiness),
        cmocka_unit_test(test_e25_restart_waits_once),
        cmocka_unit_test(test_e26_request_waits_for_tail),
        cmocka_unit_test(test_prevote_leaves_at_once),
        cmocka_unit_test(test_forget_leader),
        cmocka_unit_test(test_c24_stalled_disk),
        cmocka_unit_test(test_check_quorum),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
