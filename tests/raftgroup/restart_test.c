/* Goal: what a core starts from, and what it decides on before the disk has caught up: E8, D7, D8,
 * D11, M20, N8 and the timers of Q2.
 *
 * Method: one core at a time, opened from states a store could hand over. */
#include "tests/raftgroup/solo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const raft_term ones[SOLO_LOG_MAX] = {1, 1, 1, 1, 1, 1, 1, 1};

static void step(struct solo *s, struct raft_msg m)
{
    assert_int_equal(solo_step(s, m, NULL), FL_OK);
}

/* E8: the vote looks at the log as it is in that step, also at entries that are not durable yet,
 * and at those a leader appended in the same turn. */
static void test_e8_vote_sees_the_whole_log(void **state)
{
    struct raft_ent e = {.type = RAFT_ENT_NORMAL};
    struct solo_setup setup;
    struct solo s;
    raft_index first;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    s.hold = true;
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APP, .term = 1, .nents = 3}, ones), FL_OK);
    step(&s,
         (struct raft_msg){.type = RAFT_M_VOTE, .term = 2, .from = 3, .log_term = 1, .index = 2});
    solo_ack_all(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_VOTER, 3, 0)->flags, RAFT_F_REJECT);
    solo_close(&s);

    solo_open(&s, &setup);
    solo_lead(&s);
    solo_ack(&s, 2, 1);
    s.hold = true;
    solo_clear(&s);
    assert_int_equal(raft_propose(s.group, s.now, &e, 1, &first, &term), FL_OK);
    step(&s,
         (struct raft_msg){.type = RAFT_M_VOTE, .term = 2, .from = 3, .log_term = 1, .index = 1});
    solo_ack_all(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_VOTER, 3, 0)->flags, RAFT_F_REJECT);
    assert_int_equal(solo_status(&s).vote, 0);
    solo_close(&s);
}

/* D7: the record that overwrites cuts the old tail off, also where the new one is shorter. */
static void test_d7_record_cuts_the_tail(void **state)
{
    static const raft_term twos[] = {2};
    const struct raft_persist *p;
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    memcpy(setup.terms, ones, 6 * sizeof(ones[0]));
    solo_open(&s, &setup);
    assert_int_equal(
        solo_step(
            &s,
            (struct raft_msg){.type = RAFT_M_APP, .term = 2, .log_term = 1, .index = 2, .nents = 1},
            twos),
        FL_OK);
    p = &s.records[s.nrecords - 1];
    assert_int_equal(p->trunc_from, 3);
    assert_int_equal(p->lo, 3);
    assert_int_equal(p->hi, 3);
    assert_true(p->must_sync);
    assert_int_equal(solo_status(&s).last, 3);
    assert_int_equal(raft_term_at(s.group, 4), 0);
    solo_close(&s);
}

static enum fl_status open_boot(struct solo *s, const struct raft_boot *boot, const char **why)
{
    raft_close(s->group);
    s->group = NULL;
    *why = NULL;
    return raft_open(s->env, boot, s, 0, &s->group, why);
}

/* D8, D4: a gap between snapshot and first entry, a machine behind the snapshot, and runs that
 * contradict each other are refused by name, and an honest state is not. */
static void test_d8_gaps_are_refused(void **state)
{
    struct raft_run runs[2] = {{.first = 6, .term = 1}, {.first = 8, .term = 2}};
    struct raft_boot good = {.group = SOLO_GROUP,
                             .self = 1,
                             .term = 2,
                             .commit = 5,
                             .snap_index = 5,
                             .snap_term = 1,
                             .applied = 5,
                             .conf = {.n = 3, .in = 7, .id = {1, 2, 3}},
                             .last = 9,
                             .runs = runs,
                             .nruns = 2};
    struct raft_boot bad;
    struct solo_setup setup;
    struct solo s;
    const char *why;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    assert_int_equal(open_boot(&s, &good, &why), FL_OK);
    runs[0].first = 7; /* entry 6 is missing */
    assert_int_equal(open_boot(&s, &good, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-5", 4);
    runs[0].first = 6;
    runs[1].term = 1; /* twice the same run: one of them is not true */
    runs[0].term = 2;
    assert_int_equal(open_boot(&s, &good, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-5", 4);
    runs[0].term = 1;
    runs[1].term = 2;
    bad = good;
    bad.applied = 4; /* the entry the machine needs next is compacted */
    assert_int_equal(open_boot(&s, &bad, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-2", 4);
    bad = good;
    bad.applied = 10; /* beyond the log */
    assert_int_equal(open_boot(&s, &bad, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-2", 4);
    assert_null(s.group);
    assert_int_equal(open_boot(&s, &good, &why), FL_OK);
    solo_close(&s);
}

/* D11: a leader that restarts inside its lease has none, and leads no more; the voters' side is R7.
 */
static void test_d11_lease_dies_with_the_process(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.lease_reads = true;
    setup.config.check_quorum = true;
    setup.config.boot_quarantine_ticks = 10;
    solo_open(&s, &setup);
    s.now = 20;
    solo_lead(&s);
    solo_ack(&s, 2, 1);
    solo_ticks(&s, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = s.now});
    assert_true(raft_lease_valid(s.group, s.now));
    setup.term = solo_status(&s).term;
    setup.vote = 1;
    setup.terms[0] = 1;
    setup.commit = 1;
    solo_close(&s);
    solo_open(&s, &setup);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(raft_lease_until(s.group), 0);
    assert_int_equal(raft_read_index(s.group, s.now, 1), FL_NO_LEADER);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR, .stamp = 1}); /* of the life before */
    assert_int_equal(raft_lease_until(s.group), 0);
    solo_close(&s);
}

/* M20: all members start from one configuration, which no entry carries; one without any waits to
 * be told, and nothing of term 0 is believed. */
static void test_m20_first_configuration(void **state)
{
    struct solo_setup setup;
    struct solo a;
    struct solo b;

    (void)state;
    solo_defaults(&setup);
    solo_open(&a, &setup);
    setup.self = 2;
    solo_open(&b, &setup);
    assert_true(raft_conf_equal(raft_conf_get(a.group), raft_conf_get(b.group)));
    assert_int_equal(solo_status(&a).last, 0);
    assert_int_equal(
        solo_step(&a, (struct raft_msg){.type = RAFT_M_APP, .commit = 1, .nents = 1}, ones),
        FL_BAD_MESSAGE);
    assert_int_equal(
        solo_step(&a, (struct raft_msg){.type = RAFT_M_HB, .commit = 1, .commit_term = 1}, NULL),
        FL_BAD_MESSAGE);
    assert_int_equal(solo_status(&a).commit, 0);
    solo_close(&a);
    solo_close(&b);
    memset(setup.voters, 0, sizeof(setup.voters));
    setup.self = 7;
    solo_open(&a, &setup);
    assert_int_equal(raft_campaign(a.group, a.now), FL_NOT_MEMBER);
    assert_int_equal(raft_deadline(a.group), RAFT_NEVER);
    solo_close(&a);
}

/* N8: entries are being applied when a snapshot beyond them is installed: the late end of the apply
 * moves nothing back, whether it comes before or after the installation. */
static void test_n8_apply_beside_install(void **state)
{
    struct solo_setup setup;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    memcpy(setup.terms, ones, 6 * sizeof(ones[0]));
    for (unsigned late = 0; late < 2; late++) {
        struct solo s;
        enum fl_status status;

        solo_open(&s, &setup);
        s.hold = s.hold_apply = true;
        step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 4, .commit_term = 1});
        assert_int_equal(s.apply_hi, 4);
        assert_int_equal(raft_snapshot_staged(s.group, s.now, 2, 40, 1, raft_conf_get(s.group)),
                         FL_OK);
        solo_drain(&s);
        if (late == 0) {
            status = raft_applied(s.group, s.now, 4, 0);
            assert_true(status == FL_OK || status == FL_STALE);
        }
        solo_ack_all(&s);
        if (late == 1) {
            assert_int_equal(raft_applied(s.group, s.now, 4, 0), FL_STALE);
        }
        assert_int_equal(solo_status(&s).applied, 40);
        assert_int_equal(solo_status(&s).applying, 40);
        assert_int_equal(solo_status(&s).commit, 40);
        assert_null(solo_status(&s).why);
        solo_close(&s);
    }
}

/* Q2: only the leader, or its node speaking for it, holds the timer of a follower back: another
 * node that is alive does not. */
static void test_q2_other_nodes_prove_nothing(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB});
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(raft_peer_alive(s.group, s.now, 3, s.now), FL_OK);
        solo_ticks(&s, 1);
    }
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_ticks(&s, 1);
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_e8_vote_sees_the_whole_log),
        cmocka_unit_test(test_d7_record_cuts_the_tail),
        cmocka_unit_test(test_d8_gaps_are_refused),
        cmocka_unit_test(test_d11_lease_dies_with_the_process),
        cmocka_unit_test(test_m20_first_configuration),
        cmocka_unit_test(test_n8_apply_beside_install),
        cmocka_unit_test(test_q2_other_nodes_prove_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
