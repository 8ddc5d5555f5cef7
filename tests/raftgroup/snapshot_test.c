/* Goal: snapshots keep the rules N1..N15 and E22 of the scenario list.
 *
 * Method: one core at a time as receiver, one as sender; messages, disk and reports by hand. */
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

static void follower(struct solo *s, unsigned n, raft_index commit)
{
    struct solo_setup setup;

    solo_defaults(&setup);
    setup.term = 1;
    setup.commit = commit;
    memcpy(setup.terms, ones, n * sizeof(ones[0]));
    solo_open(s, &setup);
}

static struct raft_conf conf_of(raft_id a, raft_id b, raft_id learner)
{
    struct raft_changes c = {
        .transition = RAFT_CONF_IMPLICIT, .n = 3, .op = {{'v', a}, {'v', b}, {'l', learner}}};
    struct raft_changes first = {.n = 1, .op = {{'v', a}}};
    struct raft_conf conf = {.n = 0};

    assert_int_equal(raft_conf_change(&conf, &first), FL_OK);
    assert_int_equal(raft_conf_change(&conf, &c), FL_OK);
    return conf;
}

static enum fl_status offer(struct solo *s, raft_index index, raft_term term)
{
    return solo_step(
        s, (struct raft_msg){.type = RAFT_M_SNAP, .index = index, .log_term = term}, NULL);
}

static enum fl_status
stage(struct solo *s, raft_index index, raft_term term, const struct raft_conf *conf)
{
    enum fl_status status = raft_snapshot_staged(s->group, s->now, 2, index, term, conf);

    solo_drain(s);
    return status;
}

/* N1, N3: the whole configuration comes with the snapshot and replaces the cached one; the record
 * says so; the acknowledgement waits for it; nothing is applied and nobody campaigns meanwhile. */
static void test_n1_n3_install(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    s.hold = true;
    assert_int_equal(offer(&s, 40, 1), FL_OK);
    assert_int_equal(stage(&s, 40, 1, &conf), FL_OK);
    assert_int_equal(s.nrecords, 1);
    assert_true(s.records[0].snapshot);
    assert_int_equal(s.records[0].snap_index, 40);
    assert_int_equal(s.records[0].snap_term, 1);
    assert_true(s.records[0].lo > s.records[0].hi);
    assert_int_equal(s.records[0].commit, 40);
    assert_int_equal(solo_count(&s, RAFT_M_APPR, 2), 0);
    assert_int_equal(solo_status(&s).applied, 2);
    assert_int_equal(raft_campaign(s.group, s.now), FL_NOT_READY);
    assert_int_equal(raft_deadline(s.group), RAFT_NEVER);
    solo_ack_all(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_APPR, 2, 0)->index, 40);
    assert_int_equal(solo_status(&s).applied, 40);
    assert_int_equal(solo_status(&s).first, 41);
    assert_true(raft_conf_equal(raft_conf_get(s.group), &conf));
    assert_true(raft_conf_get(s.group)->autoleave);
    assert_int_not_equal(raft_conf_get(s.group)->out, 0);
    solo_close(&s);
}

/* Appends that follow a snapshot in flight go into the next record and are acknowledged after it.
 */
static void test_append_behind_install(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    s.hold = true;
    assert_int_equal(offer(&s, 40, 1), FL_OK);
    assert_int_equal(stage(&s, 40, 1, &conf), FL_OK);
    assert_int_equal(
        solo_step(&s,
                  (struct raft_msg){
                      .type = RAFT_M_APP, .log_term = 1, .index = 40, .nents = 2, .commit = 42},
                  ones),
        FL_OK);
    assert_int_equal(s.records[1].lo, 41);
    assert_int_equal(s.records[1].hi, 42);
    assert_int_equal(solo_status(&s).applying, 2);
    solo_ack_all(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_APPR, 2, 0)->index, 42);
    assert_int_equal(solo_status(&s).applied, 42);
    solo_close(&s);
}

/* N4: an older one is answered with the commit point; one that the log already holds only moves
 * commit and keeps the tail. N5: the term stays. */
static void test_n4_n5_not_needed(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 8, 4);
    assert_int_equal(offer(&s, 3, 1), FL_STALE);
    assert_int_equal(solo_sent(&s, RAFT_M_APPR, 2, 0)->index, 4);
    assert_int_equal(offer(&s, 6, 1), FL_STALE);
    assert_int_equal(solo_status(&s).commit, 6);
    assert_int_equal(solo_status(&s).last, 8);
    assert_int_equal(stage(&s, 7, 1, &conf), FL_STALE);
    assert_int_equal(solo_status(&s).commit, 7);
    assert_int_equal(solo_status(&s).last, 8);
    assert_int_equal(solo_status(&s).term, 1);
    assert_int_equal(raft_conf_get(s.group)->learners, 0);
    solo_close(&s);
}

/* N6: a snapshot at the commit point with another term is fatal for the group. */
static void test_n6_contradiction(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 3;
    setup.commit = 4;
    setup.terms[0] = setup.terms[1] = setup.terms[2] = setup.terms[3] = 3;
    solo_open(&s, &setup);
    assert_int_equal(offer(&s, 4, 2), FL_FROZEN);
    assert_memory_equal(solo_status(&s).why, "RG-6", 4);
    solo_close(&s);
}

/* N7: the leader changes between announcement and arrival: the content is committed, so it is
 * taken; the new leader hears of it by its own appends. */
static void test_n7_leader_changes(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    assert_int_equal(offer(&s, 40, 1), FL_OK);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 2, .from = 3});
    solo_clear(&s);
    assert_int_equal(stage(&s, 40, 1, &conf), FL_OK);
    assert_int_equal(solo_status(&s).applied, 40);
    assert_int_equal(solo_status(&s).term, 2);
    assert_int_equal(solo_count(&s, RAFT_M_APPR, 2), 0);
    solo_close(&s);
}

/* E22: a candidate that waits for a snapshot takes it. */
static void test_e22_candidate_takes_it(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_drain(&s);
    assert_int_equal(stage(&s, 40, 1, &conf), FL_OK);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    assert_int_equal(solo_status(&s).applied, 40);
    solo_close(&s);
}

/* A snapshot whose configuration lacks us, or is malformed, changes nothing. */
static void test_foreign_snapshot(void **state)
{
    struct raft_conf conf = conf_of(2, 3, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    assert_int_equal(stage(&s, 40, 1, &conf), FL_NOT_MEMBER);
    conf = conf_of(1, 3, 5);
    conf.learners = 7;
    assert_int_equal(stage(&s, 40, 1, &conf), FL_CONF_INVALID);
    assert_int_equal(solo_status(&s).last, 3);
    assert_int_equal(s.nrecords, 0);
    solo_close(&s);
}

/* N15: two in flight: the newer one wins, whatever finishes first. */
static void test_n15_two_snapshots(void **state)
{
    struct raft_conf conf = conf_of(1, 2, 5);
    struct solo s;

    (void)state;
    follower(&s, 3, 2);
    s.hold = true;
    assert_int_equal(stage(&s, 40, 1, &conf), FL_OK);
    assert_int_equal(stage(&s, 50, 1, &conf), FL_OK);
    assert_int_equal(stage(&s, 45, 1, &conf), FL_STALE);
    assert_int_equal(s.nrecords, 2);
    assert_int_equal(raft_persisted(s.group, s.now, 1), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).applied, 2);
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).applied, 50);
    assert_int_equal(solo_status(&s).first, 51);
    solo_close(&s);
}

/* ---- the sender ---- */

/* A leader with everything compacted and peer 2 in need of a snapshot. */
static void sender(struct solo *s)
{
    struct solo_setup setup;

    solo_defaults(&setup);
    setup.term = 1;
    setup.snap_index = 10;
    setup.snap_term = 1;
    setup.commit = 10;
    solo_open(s, &setup);
    solo_lead(s);
    solo_ack(s, 3, 11);
    solo_ticks(s, 1);
    assert_int_equal(raft_compacted(s->group, 11), FL_OK);
    solo_clear(s);
    step(s,
         (struct raft_msg){
             .type = RAFT_M_APPR, .index = 10, .x = 0, .flags = RAFT_F_REJECT}); /* knows nothing */
}

/* N10: first == last + 1 and an unknown peer: a snapshot; nothing else until it ends. */
static void test_n10_fully_compacted(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 2), 1);
    assert_int_equal(solo_sent(&s, RAFT_M_SNAP, 2, 0)->index, 11);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_SNAPSHOT);
    (void)solo_propose(&s, 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 0);
    assert_true(solo_count(&s, RAFT_M_APP, 3) > 0);
    solo_close(&s);
}

/* N9: a failed stream goes back to probing and is offered again; N11: never behind what is known.
 */
static void test_n9_n11_failed_stream(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    assert_int_equal(raft_snapshot_status(s.group, s.now, 2, false), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_PROBE);
    assert_int_equal(solo_peer(&s, 2).next, 1);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 2), 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 2), 2);
    solo_close(&s);
}

/* N9: a receiver silent for a whole period is given up, and offered again when it speaks. */
static void test_n9_silent_receiver(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    solo_ticks(&s, 25);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_PROBE);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 2), 1);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 2), 2);
    solo_close(&s);
}

/* The stream is over: probe behind it, after a sign of life. */
static void test_finished_stream(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    assert_int_equal(raft_snapshot_status(s.group, s.now, 2, true), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 2).next, 12);
    assert_true(solo_peer(&s, 2).paused);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->index, 11);
    solo_ack(&s, 2, 11);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_REPLICATE);
    solo_close(&s);
}

/* N12: any snapshot that reconnects the peer ends the state, also one nobody asked for; C23: also
 * when it ends exactly at the last entry. One that does not reach our log ends nothing. */
static void test_n12_c23_reconnects(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    solo_ack(&s, 2, 9);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_SNAPSHOT);
    solo_ack(&s, 2, 11);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_REPLICATE);
    assert_int_equal(solo_peer(&s, 2).next, 12);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_n1_n3_install),
        cmocka_unit_test(test_append_behind_install),
        cmocka_unit_test(test_n4_n5_not_needed),
        cmocka_unit_test(test_n6_contradiction),
        cmocka_unit_test(test_n7_leader_changes),
        cmocka_unit_test(test_e22_candidate_takes_it),
        cmocka_unit_test(test_foreign_snapshot),
        cmocka_unit_test(test_n15_two_snapshots),
        cmocka_unit_test(test_n10_fully_compacted),
        cmocka_unit_test(test_n9_n11_failed_stream),
        cmocka_unit_test(test_n9_silent_receiver),
        cmocka_unit_test(test_finished_stream),
        cmocka_unit_test(test_n12_c23_reconnects),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
