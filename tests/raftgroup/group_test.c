/* Goal: the group as a whole: sleep and wake (Q1), the door (P8, P9, M17), deadlines, memory,
 * determinism.
 *
 * Method: one core at a time, or the same random input twice. */
#include "tests/raftgroup/solo.h"

#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void step(struct solo *s, struct raft_msg m)
{
    assert_int_equal(solo_step(s, m, NULL), FL_OK);
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

/* ---- sleep (Q1) ---- */

static void put_to_sleep(struct solo *s)
{
    solo_ticks(s, 1);
    solo_clear(s);
    assert_true(raft_can_quiesce(s->group));
    assert_int_equal(raft_quiesce(s->group, s->now), FL_OK);
    solo_drain(s);
    assert_true(solo_status(s).quiesced);
}

/* A complete group sleeps with one last beat: no deadline, no message; answers let it sleep. */
static void test_q1_sleep(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    put_to_sleep(&s);
    assert_int_equal(solo_count(&s, RAFT_M_HB, 0), 2);
    assert_int_equal(s.sent[0].flags, RAFT_F_QUIESCE);
    assert_int_equal(raft_deadline(s.group), RAFT_NEVER);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    solo_clear(&s);
    solo_ticks(&s, 100);
    assert_int_equal(s.nsent, 0);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(solo_status(&s).durable_commit, solo_status(&s).commit);
    solo_close(&s);
}

/* Proposals, reads, changes, transfers, any other message, and the node itself wake it. */
static void test_q1_wake(void **state)
{
    struct raft_changes c = solo_change('l', 4);
    struct solo_setup setup;
    struct solo s;
    raft_index at;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    for (unsigned way = 0; way < 7; way++) {
        leader(&s, &setup);
        put_to_sleep(&s);
        solo_clear(&s);
        switch (way) {
        case 0:
            (void)solo_propose(&s, 1);
            break;
        case 1:
            assert_int_equal(raft_read_index(s.group, s.now, 1), FL_OK);
            break;
        case 2:
            assert_int_equal(raft_propose_conf(s.group, s.now, &c, 0, &at, &term), FL_OK);
            break;
        case 3:
            assert_int_equal(raft_transfer(s.group, s.now, 2), FL_OK);
            break;
        case 4:
            assert_int_equal(raft_wake(s.group, s.now), FL_OK);
            break;
        case 5:
            step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3});
            break;
        default: /* a follower restarted and lost nothing, but refuses something */
            step(&s, (struct raft_msg){.type = RAFT_M_APPR, .index = 9, .flags = RAFT_F_REJECT});
            break;
        }
        solo_drain(&s);
        assert_false(solo_status(&s).quiesced);
        assert_true(solo_count(&s, RAFT_M_HB, 2) + solo_count(&s, RAFT_M_HB, 3) >= 2);
        assert_int_not_equal(raft_deadline(s.group), RAFT_NEVER);
        solo_close(&s);
    }
}

/* A group with anything pending does not sleep. */
static void test_q1_not_yet(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 2); /* 3 lags */
    assert_false(raft_can_quiesce(s.group));
    assert_int_equal(raft_quiesce(s.group, s.now), FL_NOT_READY);
    solo_ack(&s, 3, 2);
    assert_true(raft_can_quiesce(s.group));
    assert_int_equal(raft_read_index(s.group, s.now, 1), FL_OK);
    assert_false(raft_can_quiesce(s.group));
    solo_close(&s);
}

/* A complete follower sleeps on the last beat and trusts its leader; an incomplete one stays awake.
 * Woken, it waits a whole timeout. */
static void test_q1_follower(void **state)
{
    struct raft_msg bed = {
        .type = RAFT_M_HB, .flags = RAFT_F_QUIESCE, .commit = 2, .commit_term = 1};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.check_quorum = true;
    setup.term = 1;
    setup.terms[0] = setup.terms[1] = 1;
    solo_open(&s, &setup);
    bed.commit = 1;
    step(&s, bed);
    assert_false(solo_status(&s).quiesced);
    bed.commit = 2;
    step(&s, bed);
    assert_true(solo_status(&s).quiesced);
    solo_ticks(&s, 50);
    assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    solo_clear(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3, .index = 9});
    assert_int_equal(solo_count(&s, RAFT_M_PREVOTER, 3), 0); /* its leader only sleeps */
    assert_false(solo_status(&s).quiesced);
    assert_int_equal(raft_deadline(s.group), 60);
    step(&s, bed);
    assert_int_equal(raft_forget_leader(s.group, s.now), FL_OK); /* the leader's node is gone */
    step(
        &s,
        (struct raft_msg){.type = RAFT_M_PREVOTE, .term = 2, .from = 3, .index = 9, .log_term = 1});
    assert_int_equal(solo_sent(&s, RAFT_M_PREVOTER, 3, 0)->flags, 0);
    solo_close(&s);
}

/* ---- the door (P8, P9, M17) ---- */

/* P8, P9: what is malformed is refused and counted, and changes nothing. M17: so is what belongs to
 * another group. */
static void test_p8_p9_bad_messages(void **state)
{
    static const raft_term down[] = {5, 4};
    static const raft_term high[] = {9, 9};
    struct raft_ent ent = {.term = 1, .type = 77};
    struct solo_setup setup;
    struct solo s;
    raft_index lo;
    raft_index hi;
    struct raft_msg good = {.group = SOLO_GROUP, .from = 2, .to = 1, .term = 5, .type = RAFT_M_HB};
    struct raft_msg bad[12];

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    for (unsigned i = 0; i < 12; i++) {
        bad[i] = good;
    }
    bad[0].group = 1;
    bad[1].from = 0;
    bad[2].from = 1; /* ourselves */
    bad[3].to = 3;
    bad[4].term = 0;
    bad[5].type = 0;
    bad[6].type = RAFT_M_MAX + 1;
    bad[7].flags = 128;
    bad[8].index = UINT64_MAX;
    bad[9].nents = 1;
    bad[10].commit = UINT64_MAX - 1;
    bad[11].type = RAFT_M_SNAP; /* without a position */
    for (unsigned i = 0; i < 12; i++) {
        assert_int_equal(raft_step(s.group, 0, &bad[i], NULL, &lo, &hi), FL_BAD_MESSAGE);
        assert_true(lo > hi);
    }
    good.type = RAFT_M_APP;
    good.nents = 1;
    assert_int_equal(raft_step(s.group, 0, &good, &ent, &lo, &hi), FL_BAD_MESSAGE);
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APP, .term = 6, .nents = 2}, down),
        FL_BAD_MESSAGE);
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APP, .term = 6, .nents = 2}, high),
        FL_BAD_MESSAGE);
    assert_int_equal(raft_env_stats(s.env)->messages_bad, 15);
    assert_int_equal(solo_status(&s).term, 0);
    assert_int_equal(solo_status(&s).last, 0);
    solo_close(&s);
}

/* Two leaders of one term cannot be; meeting them freezes the group and nothing else. */
static void test_two_leaders_freeze(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 2});
    assert_int_equal(solo_step(&s, (struct raft_msg){.type = RAFT_M_HB, .from = 3}, NULL),
                     FL_FROZEN);
    assert_memory_equal(solo_status(&s).why, "RG-3", 4);
    solo_close(&s);
}

/* P1: what cannot be proposed is said, with the reason. P5: no leader is named that does not lead.
 */
static void test_p1_proposals_are_answered(void **state)
{
    struct raft_ent e = {.type = RAFT_ENT_NORMAL};
    struct solo_setup setup;
    struct solo s;
    raft_index first;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    assert_int_equal(raft_propose(s.group, 0, &e, 1, &first, &term), FL_NO_LEADER);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 2});
    assert_int_equal(raft_propose(s.group, 0, &e, 1, &first, &term), FL_NOT_LEADER);
    assert_int_equal(raft_campaign(s.group, 0), FL_OK);
    assert_int_equal(solo_status(&s).leader, 0);
    assert_int_equal(raft_propose(s.group, 0, &e, 1, &first, &term), FL_NO_LEADER);
    solo_close(&s);
}

/* The queue of answers is bounded; what does not fit is dropped like a lost packet, and counted. */
static void test_answers_are_bounded(void **state)
{
    struct raft_msg beat = {.group = SOLO_GROUP, .from = 2, .to = 1, .term = 1, .type = RAFT_M_HB};
    struct solo_setup setup;
    struct solo s;
    raft_index lo;
    raft_index hi;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    for (unsigned i = 0; i < RAFT_OUT_MAX + 10; i++) {
        assert_int_equal(raft_step(s.group, 0, &beat, NULL, &lo, &hi), FL_OK);
    }
    assert_int_equal(raft_env_stats(s.env)->messages_dropped, 10);
    solo_drain(&s);
    assert_int_equal(s.nsent, RAFT_OUT_MAX);
    solo_close(&s);
}

/* ---- time ---- */

/* Beats of all groups fall on multiples of heartbeat_ticks, so a node sends them in one frame. */
static void test_beats_are_aligned(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.election_ticks = 1000;
    setup.config.heartbeat_ticks = 200;
    solo_open(&s, &setup);
    s.now = 777;
    assert_int_equal(raft_tick(s.group, s.now), FL_OK);
    solo_lead(&s);
    assert_int_equal(raft_deadline(s.group), 800);
    solo_clear(&s);
    s.now = 799;
    solo_ticks(&s, 1);
    assert_int_equal(solo_count(&s, RAFT_M_HB, 2), 1);
    assert_int_equal(solo_sent(&s, RAFT_M_HB, 2, 0)->stamp, 800);
    assert_int_equal(raft_deadline(s.group), 1000);
    s.now = 1336; /* a late turn sends one beat, not three */
    solo_ticks(&s, 1);
    assert_int_equal(solo_count(&s, RAFT_M_HB, 2), 2);
    assert_int_equal(raft_deadline(s.group), 1400);
    solo_close(&s);
}

/* Timers do nothing before their time, and a clock that goes back does no harm. */
static void test_early_and_backward_time(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    for (uint64_t now = 0; now < 10; now++) {
        assert_int_equal(raft_tick(s.group, now), FL_OK);
        assert_int_equal(solo_status(&s).role, RAFT_FOLLOWER);
    }
    assert_int_equal(raft_tick(s.group, 3), FL_OK);
    assert_int_equal(raft_deadline(s.group), 10);
    assert_int_equal(raft_tick(s.group, 10), FL_OK);
    assert_int_equal(solo_status(&s).role, RAFT_CANDIDATE);
    solo_close(&s);
}

/* ---- memory and determinism ---- */

/* An idle follower fits in 1 KiB, heap included; an idle leader takes a progress more per member,
 * under 1.4 KiB of five; a busy group gives its memory back. */
static void test_memory(void **state)
{
    struct solo_setup setup;
    struct solo s;
    size_t idle;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 1});
    print_message("idle follower: %lu bytes\n", (unsigned long)raft_group_bytes(s.group));
    assert_true(raft_group_bytes(s.group) <= 1024);
    solo_close(&s);
    setup.voters[3] = 4;
    setup.voters[4] = 5;
    leader(&s, &setup);
    solo_ticks(&s, 1);
    put_to_sleep(&s);
    idle = raft_group_bytes(s.group);
    print_message("idle leader of five: %lu bytes\n", (unsigned long)idle);
    assert_true(idle <= 1400);
    for (unsigned i = 0; i < 30; i++) {
        (void)solo_propose(&s, 1);
    }
    assert_int_equal(raft_read_index(s.group, s.now, 1), FL_OK);
    solo_drain(&s);
    assert_true(raft_group_bytes(s.group) > idle);
    for (raft_id id = 2; id <= 5; id++) {
        solo_ack(&s, id, solo_status(&s).last);
        step(&s, (struct raft_msg){.type = RAFT_M_HBR, .from = id, .x = 1});
    }
    put_to_sleep(&s);
    assert_int_equal(raft_group_bytes(s.group), idle);
    solo_close(&s);
}

/* The same inputs give the same outputs, bit for bit, and an input that fails changes nothing. */
static uint64_t random_walk(uint64_t seed)
{
    static const raft_term ones[] = {1, 1, 1};
    struct solo_setup setup;
    struct fl_prng prng;
    struct solo s;
    uint64_t hash = 0;

    solo_defaults(&setup);
    setup.config.parity = 0;
    setup.seed = seed;
    solo_open(&s, &setup);
    fl_prng_seed(&prng, seed);
    for (unsigned i = 0; i < 2000 && s.nrecords < 60; i++) {
        struct raft_msg m = {.type = (uint8_t)(1 + fl_prng_below(&prng, RAFT_M_MAX)),
                             .from = 2 + fl_prng_below(&prng, 2),
                             .term = solo_status(&s).term + 1 - fl_prng_below(&prng, 2),
                             .index = fl_prng_below(&prng, 4),
                             .log_term = fl_prng_below(&prng, 2),
                             .flags = (uint8_t)fl_prng_below(&prng, 4)};
        enum fl_status status;

        if (m.type == RAFT_M_SNAP || m.type == RAFT_M_APP || m.type == RAFT_M_HB) {
            m.term = solo_status(&s).term + 1; /* always a new leader */
        }
        m.nents = m.type == RAFT_M_APP ? (uint32_t)fl_prng_below(&prng, 3) : 0;
        status = solo_step(&s, m, ones);
        hash = hash * 31 + (uint64_t)status;
        if (status == FL_FROZEN) {
            break;
        }
        solo_ticks(&s, (unsigned)fl_prng_below(&prng, 5));
        for (unsigned k = 0; k < s.nsent; k++) {
            hash = hash * 31 + s.sent[k].type + s.sent[k].to * 7 + s.sent[k].index * 13 +
                   s.sent[k].term * 17 + s.sent[k].flags;
        }
        hash = hash * 31 + raft_deadline(s.group);
        solo_clear(&s);
    }
    solo_close(&s);
    return hash;
}

static void test_determinism(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        assert_int_equal(random_walk(seed), random_walk(seed));
    }
    assert_int_not_equal(random_walk(1), random_walk(2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_q1_sleep),
        cmocka_unit_test(test_q1_wake),
        cmocka_unit_test(test_q1_not_yet),
        cmocka_unit_test(test_q1_follower),
        cmocka_unit_test(test_p8_p9_bad_messages),
        cmocka_unit_test(test_two_leaders_freeze),
        cmocka_unit_test(test_p1_proposals_are_answered),
        cmocka_unit_test(test_answers_are_bounded),
        cmocka_unit_test(test_beats_are_aligned),
        cmocka_unit_test(test_early_and_backward_time),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_determinism),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
