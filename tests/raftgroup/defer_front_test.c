/* Goal: a leader sends at once to those voters that answer soonest: who falls silent, out of step
 * or behind loses its place in the same turn, others only when they are much slower; equals differ
 * by group, in the order of the heirs.
 *
 * Method: one leader under a microscope, with a clock moved by hand; answers come by hand or after
 * so many ticks. */
#include "tests/raftgroup/deferral.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { TICKS = DEFERRAL_TICKS, FRONT = DEFERRAL_FRONT, OTHER = DEFERRAL_OTHER };

/* The order in which the heirs of a vanished leader campaign (node/replica.c, heir_rank): the
 * first of them has everything. */
static raft_id first_heir(uint64_t group, unsigned n, raft_id leader)
{
    unsigned at = (unsigned)(group % n);

    return at + 1 == leader ? (at + 1) % n + 1 : at + 1;
}

static void test_equals_differ_by_group(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    for (unsigned n = 3; n <= 5; n++) {
        for (unsigned i = 0; i < 3 * n; i++) {
            raft_id heir;

            deferral_defaults(&setup);
            setup.id = 100 + i;
            setup.self = 1 + i / n;
            deferral_ids(setup.voters, 1, n);
            deferral_lead(&s, &setup);
            heir = first_heir(setup.id, n, setup.self);
            assert_int_equal(deferral_front(&s, 25) & 1U << heir, 1U << heir);
            assert_int_equal(__builtin_popcount(deferral_front(&s, 26)), n / 2);
            solo_close(&s);
        }
    }
}

/* ---- members of the front that fail ---- */

static void test_refusal_gives_the_place_away(void **state)
{
    struct solo s;
    raft_index last;

    (void)state;
    deferral_open(&s);
    last = deferral_propose(&s, 25);
    solo_clear(&s);
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = RAFT_M_APPR,
                                                 .flags = RAFT_F_REJECT,
                                                 .from = FRONT,
                                                 .index = last,
                                                 .x = last - 1},
                               NULL),
                     FL_OK);
    deferral_assert(&s, OTHER, 1);
    deferral_assert(&s, FRONT, 1); /* a probe */
    assert_false(solo_peer(&s, OTHER).deferred);
    assert_int_equal(deferral_front(&s, 26), 1U << OTHER);
    solo_close(&s);
}

static void test_full_window_gives_the_place_away(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    setup.config.max_inflight = 1;
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 1U << FRONT);
    solo_clear(&s);
    (void)deferral_propose(&s, 26);
    deferral_assert(&s, OTHER, 2);
    assert_int_equal(deferral_appends(&s, FRONT), 0);
    (void)deferral_propose(&s, 27); /* both full: whoever answers first gets it */
    solo_clear(&s);
    deferral_ack(&s, 28, FRONT);
    deferral_assert(&s, FRONT, 2);
    solo_close(&s);
}

/* Nothing may be sent to a member that gets a snapshot. */
static void test_snapshot_gives_the_place_away(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    setup.config.max_inflight = 1;
    deferral_lead(&s, &setup);
    (void)deferral_propose(&s, 25); /* to 2, whose window is full now */
    for (uint64_t now = 26; now < 30; now++) {
        (void)deferral_propose(&s, now);
        deferral_ack(&s, now, OTHER);
    }
    s.now = 30;
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_NOT_READY);
    solo_drain(&s);
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_OK);
    deferral_ack(&s, 30, FRONT);
    assert_int_equal(solo_peer(&s, FRONT).state, RAFT_SNAPSHOT);
    for (uint64_t now = 31; now < 100; now += 10) {
        assert_int_equal(deferral_front(&s, now), 1U << OTHER);
        deferral_ack(&s, now, OTHER);
        deferral_tick(&s, now + 1);
    }
    solo_close(&s);
}

static void test_silence_gives_the_place_away(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    assert_int_equal(deferral_front(&s, 25), 1U << FRONT);
    deferral_tick(&s, 40); /* the other gets its share, and the place */
    deferral_ack(&s, 41, OTHER);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    assert_int_equal(deferral_front(&s, 41), 1U << OTHER);
    assert_true(solo_peer(&s, FRONT).deferred);
    solo_close(&s);
}

/* Under load a message often comes first at every multiple, and nothing is left for the tick. */
static void test_choice_needs_no_tick(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    for (uint64_t now = 40; now <= 80; now += TICKS) {
        (void)deferral_propose(&s, now);
        (void)deferral_propose(&s, now);
        deferral_tick(&s, now);
        deferral_ack(&s, now + 1, OTHER);
    }
    assert_int_equal(deferral_front(&s, 82), 1U << OTHER);
    solo_close(&s);
}

static void test_broken_connection_gives_the_place_away(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    assert_int_equal(deferral_front(&s, 25), 1U << FRONT);
    solo_clear(&s);
    assert_int_equal(raft_unreachable(s.group, 26, OTHER), FL_OK);
    assert_false(raft_has_ready(s.group)); /* nobody counts on it, and it just failed */
    solo_close(&s);
    deferral_open(&s);
    assert_int_equal(deferral_front(&s, 25), 1U << FRONT);
    solo_clear(&s);
    assert_int_equal(raft_unreachable(s.group, 26, FRONT), FL_OK);
    solo_drain(&s);
    deferral_assert(&s, OTHER, 1);
    assert_false(solo_peer(&s, OTHER).deferred);
    solo_close(&s);
}

/* A member whose entries must be read from disk first, or are gone and come as a snapshot. */
static void test_cold_entries_give_the_place_away(void **state)
{
    struct raft_ent e = {.type = RAFT_ENT_NORMAL, .len = 1};
    struct solo s;
    raft_index first;
    raft_term term;

    (void)state;
    deferral_open(&s);
    s.cold = true;
    (void)deferral_propose(&s, 25);
    assert_true(solo_peer(&s, FRONT).fetching);
    s.cold = false;
    solo_clear(&s);
    (void)deferral_propose(&s, 26);
    deferral_assert(&s, OTHER, 2);
    deferral_ack(&s, 27, OTHER);
    deferral_tick(&s, 40);
    assert_int_equal(deferral_front(&s, 41), 1U << OTHER);
    deferral_ack(&s, 42, OTHER);
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_NOT_READY);
    solo_drain(&s);
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_OK);
    solo_clear(&s);
    /* The multiple, the end of the reading and an entry in one turn. */
    assert_int_equal(raft_propose(s.group, 61, &e, 1, &first, &term), FL_OK);
    assert_int_equal(raft_fetched(s.group, 61, FRONT), FL_OK);
    s.now = 61;
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_SNAP, FRONT), 1);
    deferral_assert(&s, OTHER, 1);
    solo_close(&s);
}

static void test_status_tells_who_waits(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.learners, 4, 4);
    deferral_lead(&s, &setup);
    assert_true(solo_peer(&s, OTHER).deferred && solo_peer(&s, 4).deferred);
    assert_int_equal(raft_unreachable(s.group, 25, 4), FL_OK);
    assert_false(solo_peer(&s, 4).deferred); /* probed */
    assert_int_equal(raft_transfer(s.group, 25, OTHER), FL_OK);
    assert_false(solo_peer(&s, OTHER).deferred);
    assert_false(solo_peer(&s, FRONT).deferred);
    solo_close(&s);
}

/* Entries all the time; members answer after so many ticks. Returns how often the front changed.
 */
static unsigned play(struct solo *s, const unsigned *delay, uint64_t until, unsigned *front)
{
    raft_index next[8][64] = {{0}}; /* what is answered at a time */
    unsigned changes = 0;

    for (uint64_t now = s->now + 1; now < until; now++) {
        s->nrecords = 0;
        deferral_tick(s, now);
        for (raft_id id = 2; id < 4; id++) {
            if (next[id][now % 64] != 0) {
                solo_ack(s, id, next[id][now % 64]);
                next[id][now % 64] = 0;
            }
        }
        changes += *front != 0 && solo_peer(s, OTHER).deferred != (*front == FRONT);
        *front = solo_peer(s, OTHER).deferred ? FRONT : OTHER;
        (void)solo_propose(s, 1);
        for (raft_id id = 2; id < 4; id++) {
            if (deferral_appends(s, id) > 0) {
                next[id][(now + delay[id]) % 64] = solo_peer(s, id).next - 1;
            }
        }
        solo_clear(s);
    }
    return changes;
}

static void test_slower_members(void **state)
{
    static const struct {
        unsigned delay[4];
        unsigned changes;
        unsigned front;
    } rows[] = {
        {{0, 0, 1, 1}, 0, FRONT}, /* equals */
        {{0, 0, 5, 5}, 0, FRONT},
        {{0, 0, 3, 2}, 0, FRONT}, /* a little slower */
        {{0, 0, 6, 3}, 0, FRONT},
        {{0, 0, 9, 2}, 1, OTHER}, /* much slower: once, for ever */
        {{0, 0, 15, 2}, 1, OTHER},
        {{0, 0, 2, 15}, 0, FRONT},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct solo s;
        unsigned front = 0;

        deferral_open(&s);
        assert_int_equal(play(&s, rows[i].delay, 2000, &front), rows[i].changes);
        assert_int_equal(front, rows[i].front);
        solo_close(&s);
    }
}

/* The first of equals gets its place back: when it is as quick as the others again, and when
 * another merely answered first after the election. */
static void test_first_of_equals_returns(void **state)
{
    static const unsigned slow[] = {0, 0, 9, 2};
    static const unsigned equal[] = {0, 0, 5, 5};
    struct solo_setup setup;
    struct solo s;
    unsigned front = 0;

    (void)state;
    deferral_open(&s);
    assert_int_equal(play(&s, slow, 500, &front), 1);
    assert_int_equal(front, OTHER);
    assert_int_equal(play(&s, equal, 2500, &front), 1);
    assert_int_equal(front, FRONT);
    solo_close(&s);
    deferral_defaults(&setup);
    solo_open(&s, &setup);
    solo_lead(&s);
    solo_ack(&s, OTHER, 1);
    assert_int_equal(deferral_front(&s, 1), 1U << OTHER);
    solo_ack(&s, FRONT, 1);
    front = OTHER;
    assert_int_equal(play(&s, equal, 100, &front), 1);
    assert_int_equal(front, FRONT);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_differ_by_group),
        cmocka_unit_test(test_refusal_gives_the_place_away),
        cmocka_unit_test(test_full_window_gives_the_place_away),
        cmocka_unit_test(test_snapshot_gives_the_place_away),
        cmocka_unit_test(test_silence_gives_the_place_away),
        cmocka_unit_test(test_choice_needs_no_tick),
        cmocka_unit_test(test_broken_connection_gives_the_place_away),
        cmocka_unit_test(test_cold_entries_give_the_place_away),
        cmocka_unit_test(test_status_tells_who_waits),
        cmocka_unit_test(test_slower_members),
        cmocka_unit_test(test_first_of_equals_returns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
