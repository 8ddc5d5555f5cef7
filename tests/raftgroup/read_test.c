/* Goal: reads and leases keep the rules R1..R11 of the scenario list, transfers T1..T5.
 *
 * Method: one core at a time; rounds, answers and time are played by hand. */
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

static enum fl_status read_index(struct solo *s, uint64_t ctx)
{
    enum fl_status status = raft_read_index(s->group, s->now, ctx);

    solo_drain(s);
    return status;
}

static void leader(struct solo *s, struct solo_setup *setup)
{
    solo_open(s, setup);
    solo_lead(s);
    for (unsigned i = 1; i < 8 && setup->voters[i] != 0; i++) {
        solo_ack(s, setup->voters[i], solo_status(s).last);
    }
    solo_clear(s);
}

static void beat_answer(struct solo *s, raft_id from, uint64_t round)
{
    step(s, (struct raft_msg){.type = RAFT_M_HBR, .from = from, .x = round});
}

/* ---- reads ---- */

/* R1: nothing is answered before an entry of the own term is committed. */
static void test_r1_own_term_first(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.terms[0] = 1;
    setup.commit = 1;
    solo_open(&s, &setup);
    solo_lead(&s);
    assert_int_equal(read_index(&s, 7), FL_OK);
    beat_answer(&s, 2, 0);
    beat_answer(&s, 3, 0);
    assert_int_equal(s.nreads, 0);
    solo_ack(&s, 2, 2);
    assert_int_equal(s.nreads, 0); /* its round starts only now */
    assert_int_equal(solo_count(&s, RAFT_M_HB, 2), 1);
    beat_answer(&s, 2, solo_sent(&s, RAFT_M_HB, 2, 0)->x);
    assert_int_equal(s.nreads, 1);
    assert_true(s.reads[0].ok);
    assert_int_equal(s.reads[0].ctx, 7);
    assert_int_equal(s.reads[0].index, 2);
    solo_close(&s);
}

/* R2: only a round that started after the request confirms it; old answers do not. R3: the index is
 * the commit of the request, not of the answer. */
static void test_r2_r3_rounds(void **state)
{
    struct solo_setup setup;
    struct solo s;
    uint64_t first;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(read_index(&s, 1), FL_OK);
    first = solo_sent(&s, RAFT_M_HB, 2, 0)->x;
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 2);
    assert_int_equal(read_index(&s, 2), FL_OK);
    beat_answer(&s, 2, first);
    assert_int_equal(s.nreads, 1);
    assert_int_equal(s.reads[0].ctx, 1);
    assert_int_equal(s.reads[0].index, 1);
    beat_answer(&s, 3, first);
    assert_int_equal(s.nreads, 1);
    beat_answer(&s, 3, first + 1);
    assert_int_equal(s.nreads, 2);
    assert_int_equal(s.reads[1].index, 2);
    solo_close(&s);
}

/* Reads between two readys share a round; one answer confirms all of them. */
static void test_reads_share_a_round(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    for (uint64_t ctx = 1; ctx <= 10; ctx++) {
        assert_int_equal(raft_read_index(s.group, s.now, ctx), FL_OK);
    }
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_HB, 2), 1);
    beat_answer(&s, 2, 1);
    assert_int_equal(s.nreads, 10);
    solo_close(&s);
}

/* Bounded: beyond RAFT_READS_MAX the caller is told. */
static void test_reads_are_bounded(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    for (uint64_t ctx = 0; ctx < RAFT_READS_MAX; ctx++) {
        assert_int_equal(read_index(&s, ctx), FL_OK);
    }
    assert_int_equal(read_index(&s, 999), FL_TOO_MANY);
    beat_answer(&s, 2, 1000000); /* a round nobody started is no proof of anything (P8) */
    assert_int_equal(s.nreads, 0);
    beat_answer(&s, 2, RAFT_READS_MAX);
    assert_int_equal(s.nreads, RAFT_READS_MAX);
    assert_int_equal(read_index(&s, 999), FL_OK);
    beat_answer(&s, 3, 0);
    assert_int_equal(s.nreads, RAFT_READS_MAX);
    solo_close(&s);
}

/* R4: reads waiting when the role is lost fail, each exactly once; those of followers are refused.
 */
static void test_r4_step_down(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(read_index(&s, 1), FL_OK);
    step(&s, (struct raft_msg){.type = RAFT_M_READ, .from = 3, .x = 44});
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 5});
    assert_int_equal(s.nreads, 1);
    assert_false(s.reads[0].ok);
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 3, 0)->flags, RAFT_F_REJECT);
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 3, 0)->x, 44);
    assert_int_equal(raft_env_stats(s.env)->reads_failed, 2);
    solo_close(&s);
}

/* A follower asks its leader; without one it says so. An answer is taken once; no answer, or
 * another leader, is a failure in bounded time, not old data (R3). */
static void test_follower_reads(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.election_ticks = 20;
    setup.term = 1;
    solo_open(&s, &setup);
    assert_int_equal(read_index(&s, 1), FL_NO_LEADER);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    assert_int_equal(read_index(&s, 1), FL_OK);
    assert_int_equal(solo_sent(&s, RAFT_M_READ, 2, 0)->x, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_READR, .x = 1, .index = 9});
    step(&s, (struct raft_msg){.type = RAFT_M_READR, .x = 1, .index = 12});
    assert_int_equal(s.nreads, 1);
    assert_true(s.reads[0].ok);
    assert_int_equal(s.reads[0].index, 9);
    assert_int_equal(read_index(&s, 2), FL_OK);
    for (unsigned i = 0; i < 20; i++) {
        step(&s, (struct raft_msg){.type = RAFT_M_HB});
        assert_true(raft_deadline(s.group) <= 20);
        solo_ticks(&s, 1);
    }
    assert_int_equal(s.nreads, 2);
    assert_false(s.reads[1].ok);
    assert_int_equal(read_index(&s, 3), FL_OK);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .from = 3, .term = 2});
    assert_int_equal(s.nreads, 3);
    assert_false(s.reads[2].ok);
    solo_close(&s);
}

/* A leader answers followers and learners (R11); one that is none refuses, and tells its term. */
static void test_remote_reads(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.learners[0] = 4;
    leader(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_READ, .from = 4, .x = 5});
    beat_answer(&s, 4, 1); /* a learner confirms nothing (R10) */
    assert_int_equal(solo_count(&s, RAFT_M_READR, 4), 0);
    beat_answer(&s, 3, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 4, 0)->index, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 4, 0)->flags, 0);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 3});
    solo_clear(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_READ, .from = 4, .term = 1, .x = 6});
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 4, 0)->flags, RAFT_F_REJECT);
    assert_int_equal(solo_sent(&s, RAFT_M_READR, 4, 0)->term, 3);
    solo_close(&s);
}

/* R10: a majority is a majority: of four voters two are not enough. R11: a single voter needs
 * nobody. */
static void test_r10_r11_majority(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[3] = 4;
    leader(&s, &setup);
    assert_int_equal(read_index(&s, 1), FL_OK);
    beat_answer(&s, 2, 1);
    assert_int_equal(s.nreads, 0);
    beat_answer(&s, 4, 1);
    assert_int_equal(s.nreads, 1);
    solo_close(&s);
    solo_defaults(&setup);
    setup.voters[1] = 0;
    leader(&s, &setup);
    assert_int_equal(read_index(&s, 1), FL_OK);
    assert_int_equal(s.nreads, 1);
    solo_close(&s);
}

/* ---- leases ---- */

static void lease_setup(struct solo_setup *setup)
{
    solo_defaults(setup);
    setup->config.lease_reads = true;
    setup->config.check_quorum = true;
    setup->config.lease_drift_ticks = 2;
    setup->config.boot_quarantine_ticks = 10;
}

/* R6: the lease counts from the SENDING of the answered beat, by quorum, less the drift. */
static void test_r6_lease_from_send_time(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    lease_setup(&setup);
    setup.voters[3] = 4;
    setup.voters[4] = 5;
    leader(&s, &setup);
    assert_int_equal(raft_lease_until(s.group), 0);
    solo_ticks(&s, 6);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = 3});
    assert_int_equal(raft_lease_until(s.group), 0);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .from = 3, .stamp = 5});
    assert_int_equal(raft_lease_until(s.group), 3 + 10 - 2);
    assert_true(raft_lease_valid(s.group, 10));
    assert_false(raft_lease_valid(s.group, 11));
    assert_int_equal(raft_peer_alive(s.group, s.now, 4, 6),
                     FL_OK); /* the node's beat counts, too */
    assert_int_equal(raft_lease_until(s.group), 5 + 10 - 2);
    assert_int_equal(read_index(&s, 1), FL_OK);
    assert_int_equal(s.nreads, 1); /* at once */
    solo_close(&s);
}

/* R5: no lease during a transfer, nor after a TIMEOUTNOW left: its target may be elected any time.
 */
static void test_r5_lease_and_transfer(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    lease_setup(&setup);
    leader(&s, &setup);
    solo_ticks(&s, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = 99}); /* not our time */
    assert_int_equal(raft_lease_until(s.group), 0);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = 1});
    assert_true(raft_lease_valid(s.group, 2));
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    assert_int_equal(raft_lease_until(s.group), 0);
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, 3), 1);
    assert_int_equal(read_index(&s, 1), FL_TRANSFERRING);
    for (unsigned i = 0; i < 12; i++) {
        step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = s.now});
        solo_ticks(&s, 1);
    }
    assert_int_equal(solo_status(&s).transferee, 0);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(raft_lease_until(s.group), 0);
    assert_int_equal(read_index(&s, 1), FL_OK);
    assert_int_equal(s.nreads, 0); /* by a round */
    solo_close(&s);
}

/* R7: after a restart nobody votes, for others or itself, while a lease it may have granted runs.
 */
static void test_r7_quarantine(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    lease_setup(&setup);
    setup.term = 4;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 5});
    assert_int_equal(s.nsent, 0);
    assert_int_equal(solo_status(&s).term, 4);
    assert_int_equal(raft_campaign(s.group, s.now), FL_NOT_READY);
    assert_true(raft_deadline(s.group) >= 10);
    s.now = 10;
    step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .term = 5});
    assert_int_equal(solo_count(&s, RAFT_M_VOTER, 2), 1);
    solo_close(&s);
}

/* R8: a leader is not forgotten under leases. */
static void test_r8_no_forgetting(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    lease_setup(&setup);
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 1});
    assert_int_equal(raft_forget_leader(s.group, s.now), FL_OK);
    assert_int_equal(solo_status(&s).leader, 2);
    solo_close(&s);
}

/* ---- transfer ---- */

/* T1: to a complete target at once, with the expected end of the log (T4). T2: no proposals
 * meanwhile, again after the timeout. */
static void test_t1_t2_transfer(void **state)
{
    struct raft_ent e = {.type = RAFT_ENT_NORMAL};
    struct solo_setup setup;
    struct solo s;
    raft_index first;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(raft_transfer(s.group, s.now, 1), FL_OK);
    assert_int_equal(solo_status(&s).transferee, 0);
    assert_int_equal(raft_transfer(s.group, s.now, 9), FL_NOT_MEMBER);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_TIMEOUTNOW, 3, 0)->index, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_TIMEOUTNOW, 3, 0)->log_term, 1);
    assert_int_equal(raft_propose(s.group, s.now, &e, 1, &first, &term), FL_TRANSFERRING);
    solo_ticks(&s, 10);
    assert_int_equal(raft_propose(s.group, s.now, &e, 1, &first, &term), FL_OK);
    assert_int_equal(raft_env_stats(s.env)->transfers_aborted, 1);
    solo_close(&s);
}

/* T1: a lagging target is caught up first; a learner is refused; another target replaces the first.
 */
static void test_t1_lagging_target(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.learners[0] = 4;
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 2);
    solo_clear(&s);
    assert_int_equal(raft_transfer(s.group, s.now, 4), FL_CONF_INVALID);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, 0), 0);
    solo_ack(&s, 3, 2);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, 3), 1);
    assert_int_equal(raft_transfer(s.group, s.now, 2), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).transferee, 2);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, 2), 1);
    solo_close(&s);
}

/* T3: leadership lost and won again clears the transfer. */
static void test_t3_flag_is_cleared(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 4});
    solo_lead(&s);
    assert_int_equal(solo_status(&s).transferee, 0);
    (void)solo_propose(&s, 1);
    solo_close(&s);
}

/* T4: a target that lacks the tail declines, and the leader goes on at once. */
static void test_t4_decline(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.terms[0] = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOW, .log_term = 1, .index = 5});
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOWR, 2), 1);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOW, .log_term = 1, .index = 1});
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    assert_int_equal(solo_sent(&s, RAFT_M_VOTE, 2, 0)->flags, RAFT_F_TRANSFER);
    solo_close(&s);

    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOWR, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_status(&s).transferee, 3); /* from somebody else */
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOWR, .flags = RAFT_F_REJECT, .from = 3});
    assert_int_equal(solo_status(&s).transferee, 0);
    solo_close(&s);
}

/* T5: TIMEOUTNOW at a candidate, a leader or a learner starts nothing. */
static void test_t5_wrong_roles(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOW});
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(solo_status(&s).term, 1);
    solo_close(&s);
    setup.self = 5;
    setup.learners[0] = 5;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_TIMEOUTNOW, .term = 1});
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_close(&s);
}

/* A follower passes the wish on to its leader. */
static void test_transfer_by_follower(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    solo_open(&s, &setup);
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_NO_LEADER);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    assert_int_equal(raft_transfer(s.group, s.now, 3), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_XFER, 2, 0)->x, 3);
    solo_lead(&s);
    solo_ack(&s, 3, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_XFER, .x = 3});
    assert_int_equal(solo_status(&s).transferee, 3);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_r1_own_term_first),
        cmocka_unit_test(test_r2_r3_rounds),
        cmocka_unit_test(test_reads_share_a_round),
        cmocka_unit_test(test_reads_are_bounded),
        cmocka_unit_test(test_r4_step_down),
        cmocka_unit_test(test_follower_reads),
        cmocka_unit_test(test_remote_reads),
        cmocka_unit_test(test_r10_r11_majority),
        cmocka_unit_test(test_r6_lease_from_send_time),
        cmocka_unit_test(test_r5_lease_and_transfer),
        cmocka_unit_test(test_r7_quarantine),
        cmocka_unit_test(test_r8_no_forgetting),
        cmocka_unit_test(test_t1_t2_transfer),
        cmocka_unit_test(test_t1_lagging_target),
        cmocka_unit_test(test_t3_flag_is_cleared),
        cmocka_unit_test(test_t4_decline),
        cmocka_unit_test(test_t5_wrong_roles),
        cmocka_unit_test(test_transfer_by_follower),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
