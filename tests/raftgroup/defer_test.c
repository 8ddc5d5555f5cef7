/* Goal: what no quorum waits for gathers until the next multiple of defer_ticks and leaves then in
 * one append; everything a quorum needs leaves at once, whoever falls silent; nothing that waits is
 * ever forgotten (RG-17).
 *
 * Method: one leader under a microscope, with a clock moved by hand and answers played by hand, for
 * every rule of defer.c; then random inputs against the promise that the deadline covers whatever
 * waits. */
#include "raftgroup/base/prng.h"
#include "tests/raftgroup/deferral.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { TICKS = DEFERRAL_TICKS, FRONT = DEFERRAL_FRONT, OTHER = DEFERRAL_OTHER };

/* ---- the rule ---- */

static void test_others_wait(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    assert_false(solo_peer(&s, FRONT).deferred);
    assert_true(solo_peer(&s, OTHER).deferred);
    assert_false(solo_peer(&s, 1).deferred);
    for (uint64_t now = 25; now < 28; now++) {
        (void)deferral_propose(&s, now);
        deferral_assert(&s, FRONT, 1);
        assert_int_equal(deferral_appends(&s, OTHER), 0);
        assert_int_equal(raft_deadline(s.group), 40);
        deferral_ack(&s, now, FRONT);
        assert_int_equal(solo_status(&s).commit, solo_status(&s).last); /* by its word alone */
        solo_clear(&s);
    }
    deferral_tick(&s, 39);
    assert_int_equal(s.nsent, 0);
    deferral_tick(&s, 40);
    deferral_assert(&s, OTHER, 3); /* all that gathered, at once */
    deferral_assert(&s, FRONT, 0); /* the commit point, which nothing took along */
    assert_int_equal(raft_deadline(s.group), 1000000);
    solo_clear(&s);
    deferral_ack(&s, 41, OTHER);
    deferral_tick(&s, 60);
    assert_int_equal(s.nsent, 0);
    solo_close(&s);
}

static void test_commit_travels_with_entries(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    deferral_ack(&s, 26, FRONT);
    assert_int_equal(raft_deadline(s.group), 40);
    solo_clear(&s);
    (void)deferral_propose(&s, 30);
    deferral_assert(&s, FRONT, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, FRONT, 0)->commit, solo_status(&s).last - 1);
    solo_clear(&s);
    deferral_tick(&s, 40);
    assert_int_equal(deferral_appends(&s, FRONT), 0); /* it knows */
    deferral_assert(&s, OTHER, 2);
    solo_clear(&s);
    deferral_ack(&s, 41, FRONT);
    assert_int_equal(s.nsent, 0);
    assert_int_equal(raft_deadline(s.group), 60);
    deferral_tick(&s, 60);
    deferral_assert(&s, FRONT, 0);
    deferral_assert(&s, OTHER, 0);
    solo_close(&s);
}

static void test_at_once_without_ticks(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    setup.config.defer_ticks = 0;
    deferral_lead(&s, &setup);
    (void)deferral_propose(&s, 25);
    deferral_assert(&s, FRONT, 1);
    deferral_assert(&s, OTHER, 1);
    solo_clear(&s);
    deferral_ack(&s, 26, FRONT);
    deferral_assert(&s, FRONT, 0);
    deferral_assert(&s, OTHER, 0);
    assert_int_equal(raft_deadline(s.group), 1000000);
    assert_false(solo_peer(&s, OTHER).deferred);
    solo_close(&s);
}

/* ---- who waits ---- */

static void test_five_voters(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.voters, 1, 5);
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 1U << 5 | 1U << 2);
    assert_true(solo_peer(&s, 3).deferred && solo_peer(&s, 4).deferred);
    deferral_ack(&s, 26, 5);
    assert_true(solo_status(&s).commit < solo_status(&s).last);
    deferral_ack(&s, 26, 2);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    solo_clear(&s);
    deferral_tick(&s, 40);
    deferral_assert(&s, 3, 1);
    deferral_assert(&s, 4, 1);
    solo_close(&s);
}

static void test_small_groups(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.voters, 1, 2);
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 1U << 2);
    assert_false(solo_peer(&s, 2).deferred);
    solo_close(&s);
    deferral_ids(setup.voters, 1, 1);
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 0);
    assert_int_equal(raft_deadline(s.group), 1000000);
    solo_close(&s);
}

static void test_learners_wait(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.learners, 4, 4);
    deferral_lead(&s, &setup);
    assert_true(solo_peer(&s, 4).deferred);
    assert_int_equal(deferral_front(&s, 25), 1U << FRONT);
    assert_int_equal(raft_unreachable(s.group, 26, 4), FL_OK); /* now it is probed */
    assert_int_equal(deferral_front(&s, 26), 1U << FRONT | 1U << 4);
    solo_close(&s);
    deferral_ids(setup.voters, 1, 1); /* a quorum of one: only the learner is told, in its time */
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 0);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    assert_int_equal(raft_deadline(s.group), 40);
    deferral_tick(&s, 40);
    deferral_assert(&s, 4, 1);
    solo_close(&s);
}

/* Proposes a change, has it committed by `acks` (0 ends) and puts it in force. */
static void change(struct solo *s, struct raft_changes changes, const raft_id *acks)
{
    raft_index at = 0;
    raft_term term;

    s->hold_apply = true;
    assert_int_equal(raft_propose_conf(s->group, s->now, &changes, 8, &at, &term), FL_OK);
    solo_drain(s);
    for (; *acks != 0; acks++) {
        solo_ack(s, *acks, at);
    }
    assert_int_equal(solo_status(s).applying, at);
    solo_clear(s);
    assert_int_equal(raft_conf_applied(s->group, s->now, at, &changes), FL_OK);
    assert_int_equal(raft_applied(s->group, s->now, at, 8), FL_OK);
    solo_drain(s);
    s->hold_apply = false;
}

static void test_joint_waits_for_nobody(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.out, 1, 3);
    deferral_ids(setup.voters, 3, 5);
    setup.voters[3] = 1;
    deferral_lead(&s, &setup);
    assert_int_equal(deferral_front(&s, 25), 1U << 2 | 1U << 3 | 1U << 4 | 1U << 5);
    assert_false(solo_peer(&s, 2).deferred);
    solo_close(&s);
}

static void test_removed_leader_waits_for_nobody(void **state)
{
    static const raft_id acks[] = {FRONT, 0};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    deferral_defaults(&setup);
    deferral_ids(setup.voters, 1, 4);
    setup.config.step_down_on_removal = false;
    deferral_lead(&s, &setup);
    s.now = 25;
    change(&s, solo_change('r', 4), (const raft_id[]){2, 3, 0});
    change(&s, solo_change('l', 1), acks);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_false(solo_status(&s).voter);
    assert_int_equal(deferral_appends(&s, OTHER), 1); /* what had waited, too */
    assert_int_equal(deferral_front(&s, 26), 1U << FRONT | 1U << OTHER);
    solo_close(&s);
}

/* ---- members behind ---- */

static void test_laggard_never_waits_between_windows(void **state)
{
    struct solo_setup setup;
    struct solo s;
    unsigned rounds = 0;

    (void)state;
    deferral_defaults(&setup);
    setup.config.max_inflight = 2;
    setup.config.max_msg_ents = 1;
    deferral_lead(&s, &setup);
    assert_int_equal(raft_unreachable(s.group, 25, OTHER), FL_OK);
    for (uint64_t now = 25; now < 35; now++) {
        (void)deferral_propose(&s, now);
        deferral_ack(&s, now, FRONT);
    }
    solo_clear(&s);
    deferral_ack(&s, 36, OTHER); /* of the probe, sent before */
    solo_ack(&s, OTHER, solo_peer(&s, OTHER).match + 1);
    assert_int_equal(solo_peer(&s, OTHER).state, RAFT_REPLICATE);
    assert_int_equal(deferral_appends(&s, OTHER), 0);
    deferral_tick(&s, 40);
    assert_int_equal(deferral_appends(&s, OTHER), 2); /* a window */
    while (solo_peer(&s, OTHER).match < solo_status(&s).last) {
        bool more = solo_peer(&s, OTHER).next <= solo_status(&s).last;

        solo_clear(&s);
        solo_ack(&s, OTHER, solo_peer(&s, OTHER).match + 1);
        assert_true(deferral_appends(&s, OTHER) == 1 || !more);
        rounds++;
    }
    assert_true(rounds > 4);
    deferral_tick(&s, 60);
    assert_int_equal(deferral_front(&s, 61), 1U << FRONT); /* it has everything: it waits again */
    assert_int_equal(raft_deadline(s.group), 80);
    solo_close(&s);
}

static void test_transferee_never_waits(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    (void)deferral_propose(&s, 26);
    deferral_ack(&s, 27, FRONT);
    solo_clear(&s);
    assert_int_equal(raft_transfer(s.group, 28, OTHER), FL_OK);
    solo_drain(&s);
    deferral_assert(&s, OTHER, 2);
    deferral_ack(&s, 28, OTHER);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, OTHER), 1);
    solo_close(&s);
}

/* A commit point alone keeps nobody awake: the last beat carries it. Entries do. */
static void test_sleep_waits_for_entries(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    deferral_ack(&s, 26, FRONT);
    assert_false(raft_can_quiesce(s.group));
    assert_int_equal(raft_quiesce(s.group, 26), FL_NOT_READY);
    deferral_tick(&s, 40);
    assert_false(raft_can_quiesce(s.group));
    (void)deferral_propose(&s, 41);
    deferral_tick(&s, 60);
    deferral_ack(&s, 61, OTHER);
    deferral_ack(&s, 61, FRONT);
    assert_int_equal(raft_deadline(s.group), 80);
    solo_clear(&s);
    assert_int_equal(raft_quiesce(s.group, 62), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_HB, OTHER, 0)->commit, solo_status(&s).last);
    assert_true(raft_deadline(s.group) == RAFT_NEVER);
    assert_int_equal(deferral_front(&s, 200),
                     1U << FRONT | 1U << OTHER); /* its turn is long over */
    assert_int_equal(deferral_front(&s, 201), 1U << FRONT);
    solo_close(&s);
}

/* ---- changes ---- */

/* C29: slots move, and the quorum is another. */
static void test_membership_chooses_anew(void **state)
{
    static const raft_id acks[] = {FRONT, 0};
    struct solo s;

    (void)state;
    deferral_open(&s);
    s.now = 25;
    change(&s, solo_change('r', FRONT), acks);
    deferral_assert(&s, OTHER, 1); /* all that is left of the quorum: in the same ready */
    assert_int_equal(deferral_appends(&s, FRONT), 0);
    assert_int_equal(deferral_front(&s, 26), 1U << OTHER);
    solo_close(&s);
}

static void test_leadership_starts_clean(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    deferral_tick(&s, 45);
    (void)deferral_propose(&s, 46);
    assert_int_equal(raft_deadline(s.group), 60);
    assert_int_equal(solo_step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 5}, NULL), FL_OK);
    assert_int_equal(raft_unreachable(s.group, 47, FRONT), FL_OK);
    assert_true(raft_deadline(s.group) > 60);
    s.now = 48;
    solo_clear(&s);
    solo_lead(&s);
    for (raft_id id = 2; id <= 3; id++) {
        deferral_assert(&s, id, 1); /* everybody is probed */
        assert_false(solo_peer(&s, id).deferred);
    }
    assert_int_equal(raft_deadline(s.group), 1000000);
    solo_close(&s);
}

/* ---- time ---- */

static void test_late_ticks(void **state)
{
    struct solo s;

    (void)state;
    deferral_open(&s);
    (void)deferral_propose(&s, 25);
    deferral_ack(&s, 26, FRONT);
    solo_clear(&s);
    deferral_tick(&s, 105);
    deferral_assert(&s, OTHER, 1);
    deferral_assert(&s, FRONT, 0);
    (void)deferral_propose(&s, 106);
    assert_int_equal(raft_deadline(s.group), 120);
    solo_clear(&s);
    (void)deferral_propose(&s, 130); /* the clock was read elsewhere first: as good as a tick */
    deferral_assert(&s, OTHER, 2);
    solo_clear(&s);
    deferral_tick(&s, 40); /* time does not go back */
    assert_int_equal(deferral_appends(&s, OTHER), 0);
    solo_close(&s);
}

/* A member in step that lacks something is sent to by the next multiple at the latest, and until
 * then the deadline says so. */
static void check_promise(const struct solo *s, uint32_t window)
{
    uint64_t turn = (s->now / TICKS + 1) * TICKS;

    for (raft_id id = 2; id <= 5; id++) {
        struct raft_peer_status p = solo_peer(s, id);

        if (p.id != 0 && p.state == RAFT_REPLICATE && p.inflight < window && !p.fetching &&
            p.next <= solo_status(s).last) {
            assert_true(raft_deadline(s->group) <= turn);
            assert_true(raft_deadline(s->group) > s->now);
        }
    }
    assert_null(solo_status(s).why);
}

static void random_answer(struct solo *s, struct fl_prng *prng)
{
    raft_id id = 2 + fl_prng_below(prng, 4);
    struct raft_peer_status p = solo_peer(s, id);
    raft_index index = p.match + fl_prng_below(prng, p.next - p.match);
    struct raft_msg m = {.type = RAFT_M_APPR, .from = id, .index = index};

    switch (fl_prng_below(prng, 8)) {
    case 0:
        m.flags = RAFT_F_REJECT;
        m.index = p.next - 1;
        m.x = p.match;
        break;
    case 1:
        m.type = RAFT_M_HBR;
        m.index = 0;
        break;
    case 2:
        assert_int_equal(raft_unreachable(s->group, s->now, id), FL_OK);
        solo_drain(s);
        return;
    default:
        break;
    }
    assert_int_equal(solo_step(s, m, NULL), FL_OK);
}

static void random_input(struct solo *s, struct fl_prng *prng)
{
    raft_id id = 2 + fl_prng_below(prng, 4);

    s->nrecords = 0;
    solo_clear(s);
    s->now += fl_prng_below(prng, 3) == 0 ? fl_prng_below(prng, 7) : 0;
    switch (fl_prng_below(prng, 8)) {
    case 0:
    case 1:
        if (solo_status(s).transferee == 0) {
            (void)solo_propose(s, 1);
        }
        break;
    case 2:
        s->now += fl_prng_below(prng, 10) == 0 ? fl_prng_below(prng, 100) : 0;
        deferral_tick(s, s->now);
        break;
    case 3:
        s->cold = fl_prng_below(prng, 8) == 0;
        assert_int_equal(raft_fetched(s->group, s->now, id), FL_OK);
        solo_drain(s);
        break;
    case 4:
        if (fl_prng_below(prng, 10) == 0 && id < 4) {
            assert_int_equal(raft_transfer(s->group, s->now, id), FL_OK);
            solo_drain(s);
            (void)solo_step(
                s,
                (struct raft_msg){.type = RAFT_M_TIMEOUTNOWR, .flags = RAFT_F_REJECT, .from = id},
                NULL);
        }
        break;
    default:
        random_answer(s, prng);
        break;
    }
    /* The shell ticks when it is due. */
    while (raft_deadline(s->group) <= s->now) {
        deferral_tick(s, s->now);
    }
}

/* C29 */
static void test_nothing_is_forgotten(void **state)
{
    static const uint32_t windows[] = {1, 2, 256};

    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct solo_setup setup;
        struct fl_prng prng;
        struct solo s;

        fl_prng_seed(&prng, seed);
        deferral_defaults(&setup);
        setup.id = seed;
        deferral_ids(setup.voters, 1, 3 + seed % 2);
        deferral_ids(setup.learners, 4 + seed % 2, 5);
        setup.config.max_inflight = windows[fl_prng_below(&prng, 3)];
        setup.config.max_msg_ents = 1 + (uint32_t)fl_prng_below(&prng, 4);
        deferral_lead(&s, &setup);
        for (unsigned i = 0; i < 400; i++) {
            random_input(&s, &prng);
            check_promise(&s, setup.config.max_inflight);
        }
        solo_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_others_wait),
        cmocka_unit_test(test_commit_travels_with_entries),
        cmocka_unit_test(test_at_once_without_ticks),
        cmocka_unit_test(test_five_voters),
        cmocka_unit_test(test_small_groups),
        cmocka_unit_test(test_learners_wait),
        cmocka_unit_test(test_joint_waits_for_nobody),
        cmocka_unit_test(test_removed_leader_waits_for_nobody),
        cmocka_unit_test(test_laggard_never_waits_between_windows),
        cmocka_unit_test(test_transferee_never_waits),
        cmocka_unit_test(test_sleep_waits_for_entries),
        cmocka_unit_test(test_membership_chooses_anew),
        cmocka_unit_test(test_leadership_starts_clean),
        cmocka_unit_test(test_late_ticks),
        cmocka_unit_test(test_nothing_is_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
