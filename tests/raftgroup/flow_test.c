/* Goal: the leader's picture of its peers stays true whatever they say (C7, C12, C14, C25, C26,
 * N11, N14, M15), and what it counts comes back to zero (C21); applying in small steps loses
 * nothing (D14).
 *
 * Method: one core at a time, answers played by hand or at random. */
#include "raftgroup/base/prng.h"
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

/* A leader of term 1 whose first entry is committed; its peers replicate. */
static void leader(struct solo *s, struct solo_setup *setup)
{
    solo_open(s, setup);
    solo_lead(s);
    for (unsigned i = 1; i < 8 && setup->voters[i] != 0; i++) {
        solo_ack(s, setup->voters[i], solo_status(s).last);
    }
    solo_clear(s);
}

static struct raft_msg random_answer(struct fl_prng *prng)
{
    bool beat = fl_prng_below(prng, 4) == 0;
    bool refused = !beat && fl_prng_below(prng, 2) == 0;

    return (struct raft_msg){.type = beat ? RAFT_M_HBR : RAFT_M_APPR,
                             .from = 2 + fl_prng_below(prng, 4),
                             .index = beat ? 0 : fl_prng_below(prng, 30),
                             .x = refused ? fl_prng_below(prng, 30) : 0,
                             .log_term = refused ? fl_prng_below(prng, 2) : 0,
                             .flags = refused ? RAFT_F_REJECT : 0};
}

/* C7, C6: whatever arrives in whatever order, match < next <= last + 1, and match never goes back.
 */
static void test_c7_next_is_behind_match(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 100; seed++) {
        raft_index match[6] = {0};
        struct fl_prng prng;
        struct solo_setup setup;
        struct solo s;

        fl_prng_seed(&prng, seed);
        solo_defaults(&setup);
        setup.config.max_inflight = 1 + (uint32_t)fl_prng_below(&prng, 4);
        setup.voters[3] = 4;
        setup.voters[4] = 5;
        leader(&s, &setup);
        for (unsigned i = 0; i < 300; i++) {
            if (fl_prng_below(&prng, 8) == 0 && solo_status(&s).last < 25) {
                (void)solo_propose(&s, 1);
            } else if (fl_prng_below(&prng, 16) == 0) {
                assert_int_equal(raft_unreachable(s.group, s.now, 2 + fl_prng_below(&prng, 4)),
                                 FL_OK);
                solo_drain(&s);
            } else {
                step(&s, random_answer(&prng));
            }
            for (raft_id id = 2; id <= 5; id++) {
                struct raft_peer_status p = solo_peer(&s, id);

                assert_true(p.match < p.next && p.next <= solo_status(&s).last + 1);
                assert_true(p.match >= match[id]);
                match[id] = p.match;
            }
            solo_clear(&s);
            s.nrecords = 0;
        }
        assert_null(solo_status(&s).why);
        solo_close(&s);
    }
}

/* C12: where the previous entry is compacted a snapshot goes out, never an append; right behind the
 * compacted part, whose term is known, an append. */
static void test_c12_previous_is_compacted(void **state)
{
    struct raft_msg refusal = {
        .type = RAFT_M_APPR, .from = 3, .index = 6, .x = 4, .log_term = 1, .flags = RAFT_F_REJECT};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.snap_index = 4;
    setup.snap_term = 1;
    setup.terms[0] = setup.terms[1] = 1;
    setup.term = 1;
    setup.commit = 4;
    solo_open(&s, &setup);
    solo_lead(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 3, 0)->index, 6);
    solo_clear(&s);
    step(&s, refusal);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 0), 0);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 3, 0)->index, 4);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 3, 0)->log_term, 1);
    solo_clear(&s);
    refusal.index = 4;
    refusal.x = 2;
    step(&s, refusal);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 3), 0);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 3), 1);
    assert_int_equal(solo_sent(&s, RAFT_M_SNAP, 3, 0)->index, 4);
    solo_close(&s);
}

/* The newest append to 2, with its terms; the answer goes back. */
static void exchange(struct solo *lead, struct solo *tail, struct raft_msg *answer)
{
    unsigned n = solo_count(lead, RAFT_M_APP, 2);
    raft_term terms[SOLO_LOG_MAX];
    struct raft_msg app;

    assert_true(n > 0);
    app = *solo_sent(lead, RAFT_M_APP, 2, n - 1);
    for (uint32_t i = 0; i < app.nents; i++) {
        terms[i] = raft_term_at(lead->group, app.index + 1 + i);
    }
    solo_clear(lead);
    solo_clear(tail);
    assert_int_equal(solo_step(tail, app, terms), FL_OK);
    assert_non_null(solo_sent(tail, RAFT_M_APPR, 1, 0));
    *answer = *solo_sent(tail, RAFT_M_APPR, 1, 0);
}

/* C14, C6: tails that diverge over ten terms meet in as many round trips, although every refusal
 * comes twice and answered beats come in between. */
static void test_c14_divergence_with_beats(void **state)
{
    struct solo_setup setup;
    struct solo lead;
    struct solo tail;
    unsigned trips = 0;

    (void)state;
    solo_defaults(&setup);
    for (unsigned i = 0; i < 50; i++) {
        setup.terms[i] = 1 + i / 5 * 2; /* 1 1 1 1 1 3 3 .. */
    }
    setup.term = 30;
    solo_open(&lead, &setup);
    for (unsigned i = 5; i < 60; i++) {
        setup.terms[i] = 2 + i / 5 * 2; /* 1 1 1 1 1 4 4 .. */
    }
    setup.self = 2;
    solo_open(&tail, &setup);
    solo_lead(&lead);
    while (solo_status(&tail).commit == 0) {
        struct raft_msg answer;
        raft_index next;

        assert_true(++trips <= 14);
        exchange(&lead, &tail, &answer);
        step(&lead, answer);
        next = solo_peer(&lead, 2).next;
        if ((answer.flags & RAFT_F_REJECT) != 0) {
            step(&lead, answer);
            assert_int_equal(solo_peer(&lead, 2).next, next);
        }
        step(&lead, (struct raft_msg){.type = RAFT_M_HBR});
        assert_true(solo_peer(&lead, 2).next >= next);
    }
    assert_int_equal(solo_status(&tail).last, solo_status(&lead).last);
    for (raft_index i = 1; i <= solo_status(&lead).last; i++) {
        assert_int_equal(raft_term_at(lead.group, i), raft_term_at(tail.group, i));
    }
    solo_close(&lead);
    solo_close(&tail);
}

/* C14: the leader, too, skips a whole term of its own: what the follower has in term 3 is nowhere
 * in a log that goes from 2 to 5. */
static void test_c14_leader_skips_terms(void **state)
{
    static const raft_term terms[] = {1, 2, 2, 5, 5, 5, 5};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    memcpy(setup.terms, terms, sizeof(terms));
    setup.term = 5;
    solo_open(&s, &setup);
    solo_lead(&s);
    solo_clear(&s);
    step(&s,
         (struct raft_msg){
             .type = RAFT_M_APPR, .index = 7, .x = 7, .log_term = 3, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->index, 3);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->log_term, 2);
    solo_close(&s);
}

/* C21: a membership change counts, too, and nothing is left of what another leader overwrote. */
static void test_c21_changes_and_overwritten(void **state)
{
    static const raft_term twos[] = {2};
    struct raft_changes c = solo_change('l', 4);
    struct raft_ent e = {.type = RAFT_ENT_NORMAL, .len = 90};
    struct solo_setup setup;
    struct solo s;
    raft_index at;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_uncommitted_bytes = 100;
    leader(&s, &setup);
    assert_int_equal(raft_propose_conf(s.group, s.now, &c, 60, &at, &term), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).uncommitted_bytes, 60);
    assert_int_equal(raft_propose(s.group, s.now, &e, 1, &at, &term), FL_QUOTA);
    assert_int_equal(
        solo_step(
            &s,
            (struct raft_msg){
                .type = RAFT_M_APP, .term = 2, .log_term = 1, .index = 1, .nents = 1, .commit = 2},
            twos),
        FL_OK);
    solo_lead(&s);
    solo_ack(&s, 2, solo_status(&s).last);
    assert_int_equal(solo_status(&s).uncommitted_bytes, 0);
    assert_int_equal(raft_propose(s.group, s.now, &e, 1, &at, &term), FL_OK);
    solo_close(&s);
}

/* C25: entries that cannot be read are neither sent as nothing nor taken for a mismatch: that peer
 * waits, beats go on, and it resumes where it was. */
static void test_c25_unreadable_entries(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index next;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    s.cold = true;
    (void)solo_propose(&s, 1);
    (void)solo_propose(&s, 1);
    next = solo_peer(&s, 2).next;
    solo_ticks(&s, 5);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 0), 0);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, 0), 0);
    assert_int_equal(solo_count(&s, RAFT_M_HB, 2), 5);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_peer(&s, 2).next, next);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_REPLICATE);
    assert_int_equal(solo_status(&s).commit, 1);
    s.cold = false;
    solo_clear(&s);
    assert_int_equal(raft_fetched(s.group, s.now, 2), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->index, next - 1);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->nents, 2);
    solo_close(&s);
}

/* C26: a peer that hangs with a full window stops neither the others nor a membership change. */
static void test_c26_hung_peer(void **state)
{
    struct raft_changes c = solo_change('l', 4);
    struct solo_setup setup;
    struct solo s;
    raft_index at = 0;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_inflight = 2;
    leader(&s, &setup);
    for (unsigned i = 0; i < 8; i++) {
        at = solo_propose(&s, 1);
        solo_ack(&s, 2, at);
        assert_int_equal(solo_status(&s).commit, at);
    }
    assert_true(solo_peer(&s, 3).paused);
    assert_int_equal(solo_peer(&s, 3).inflight, 2);
    s.hold_apply = true;
    assert_int_equal(raft_propose_conf(s.group, s.now, &c, 1, &at, &term), FL_OK);
    solo_drain(&s);
    solo_ack(&s, 2, at);
    assert_int_equal(raft_conf_applied(s.group, s.now, at, &c), FL_OK);
    assert_int_equal(raft_applied(s.group, s.now, at, 0), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 4).id, 4);
    assert_true(solo_count(&s, RAFT_M_APP, 4) > 0);
    solo_close(&s);
}

/* D14: ranges of two entries hand out every committed entry once, in order, and commit stands
 * still. */
static void test_d14_small_ranges(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index done = 1;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_apply_ents = 2;
    leader(&s, &setup);
    s.hold_apply = true;
    for (unsigned i = 0; i < 7; i++) {
        (void)solo_propose(&s, 1);
    }
    solo_ack(&s, 2, 8);
    while (done < 8) {
        assert_int_equal(s.apply_lo, done + 1);
        assert_in_range(s.apply_hi, s.apply_lo, s.apply_lo + 1);
        assert_int_equal(solo_status(&s).commit, 8);
        done = s.apply_hi;
        assert_int_equal(raft_applied(s.group, s.now, done, 0), FL_OK);
        solo_drain(&s);
    }
    assert_int_equal(done, 8);
    assert_int_equal(solo_status(&s).applied, 8);
    solo_close(&s);
}

/* ---- peers that need a snapshot ---- */

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
    step(s, (struct raft_msg){.type = RAFT_M_APPR, .index = 10, .x = 0, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_peer(s, 2).state, RAFT_SNAPSHOT);
}

/* N11: what the peer acknowledged in the meantime is not forgotten when its stream fails. */
static void test_n11_failed_stream_keeps_match(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    solo_ack(&s, 2, 7);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_SNAPSHOT);
    assert_int_equal(raft_snapshot_status(s.group, s.now, 2, false), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_PROBE);
    assert_int_equal(solo_peer(&s, 2).match, 7);
    assert_int_equal(solo_peer(&s, 2).next, 8);
    solo_close(&s);
}

/* Peer 2 leaves, and what is said of it or by it afterwards changes nothing. */
static void remove_peer_2(struct solo *s)
{
    struct raft_changes c = solo_change('r', 2);
    raft_index at;
    raft_term term;

    s->hold_apply = true;
    assert_int_equal(raft_propose_conf(s->group, s->now, &c, 1, &at, &term), FL_OK);
    solo_drain(s);
    solo_ack(s, 3, at);
    assert_int_equal(raft_conf_applied(s->group, s->now, at, &c), FL_OK);
    assert_int_equal(raft_applied(s->group, s->now, at, 0), FL_OK);
    solo_drain(s);
    assert_int_equal(solo_peer(s, 2).id, 0);
}

/* N14: a peer is removed while its snapshot is on its way: the report and the late answers are
 * harmless.
 */
static void test_n14_removed_while_sending(void **state)
{
    struct solo s;

    (void)state;
    sender(&s);
    remove_peer_2(&s);
    solo_clear(&s);
    assert_int_equal(raft_snapshot_status(s.group, s.now, 2, true), FL_OK);
    assert_int_equal(raft_fetched(s.group, s.now, 2), FL_OK);
    assert_int_equal(raft_unreachable(s.group, s.now, 2), FL_OK);
    solo_drain(&s);
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APPR, .from = 2, .index = 11}, NULL),
        FL_NOT_MEMBER);
    for (unsigned i = 0; i < s.nsent; i++) {
        assert_int_not_equal(s.sent[i].to, 2);
    }
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    solo_close(&s);
}

/* M15: a replica that left and comes back is known by nothing it had before. */
static void test_m15_added_again(void **state)
{
    struct raft_changes c = solo_change('l', 2);
    struct solo_setup setup;
    struct solo s;
    raft_index at;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 2);
    assert_int_equal(solo_peer(&s, 2).match, 2);
    remove_peer_2(&s);
    assert_int_equal(raft_propose_conf(s.group, s.now, &c, 1, &at, &term), FL_OK);
    solo_drain(&s);
    solo_ack(&s, 3, at);
    assert_int_equal(raft_conf_applied(s.group, s.now, at, &c), FL_OK);
    assert_int_equal(raft_applied(s.group, s.now, at, 0), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 2).id, 2);
    assert_int_equal(solo_peer(&s, 2).match, 0);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_PROBE);
    assert_true(solo_peer(&s, 2).learner);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c7_next_is_behind_match),
        cmocka_unit_test(test_c12_previous_is_compacted),
        cmocka_unit_test(test_c14_divergence_with_beats),
        cmocka_unit_test(test_c14_leader_skips_terms),
        cmocka_unit_test(test_c21_changes_and_overwritten),
        cmocka_unit_test(test_c25_unreadable_entries),
        cmocka_unit_test(test_c26_hung_peer),
        cmocka_unit_test(test_d14_small_ranges),
        cmocka_unit_test(test_n11_failed_stream_keeps_match),
        cmocka_unit_test(test_n14_removed_while_sending),
        cmocka_unit_test(test_m15_added_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
