/* Goal: what no quorum waits for gathers until the next multiple of defer_ticks and leaves then in
 * one append; everything a quorum needs leaves at once, whoever falls silent; nothing that waits is
 * ever forgotten (RG-17).
 *
 * Method: one leader under a microscope, with a clock moved by hand and answers played by hand, for
 * every rule of defer.c; then random inputs against the promise that the deadline covers whatever
 * waits. */
#include "raftgroup/base/prng.h"
#include "tests/raftgroup/solo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* The two peers of three voters: in the group of solo.h peer 2 is the first of equals. */
enum { TICKS = 20, FRONT = 2, OTHER = 3 };

/* Beats and elections are far away: what happens in time is deferral. */
static void defaults(struct solo_setup *setup)
{
    solo_defaults(setup);
    setup->config.election_ticks = 2000000;
    setup->config.heartbeat_ticks = 1000000;
    setup->config.defer_ticks = TICKS;
}

static void tick_at(struct solo *s, uint64_t now)
{
    s->now = now;
    assert_int_equal(raft_tick(s->group, now), FL_OK);
    solo_drain(s);
}

static raft_index propose_at(struct solo *s, uint64_t now)
{
    s->now = now;
    return solo_propose(s, 1);
}

static void ack_at(struct solo *s, uint64_t now, raft_id id)
{
    s->now = now;
    solo_ack(s, id, solo_peer(s, id).next - 1);
}

/* A leader of term 1 whose peers have everything, at the first multiple. */
static void lead(struct solo *s, const struct solo_setup *setup)
{
    const struct raft_conf *conf;

    solo_open(s, setup);
    solo_lead(s);
    conf = raft_conf_get(s->group);
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->id[i] != setup->self) {
            solo_ack(s, conf->id[i], solo_status(s).last);
        }
    }
    tick_at(s, TICKS);
    assert_int_equal(solo_status(s).commit, solo_status(s).last);
    assert_int_equal(raft_deadline(s->group), setup->config.heartbeat_ticks);
    solo_clear(s);
}

static void open_three(struct solo *s)
{
    struct solo_setup setup;

    defaults(&setup);
    lead(s, &setup);
}

static unsigned appends(const struct solo *s, raft_id to)
{
    return solo_count(s, RAFT_M_APP, to);
}

/* The only append to `to` so far carries n entries up to the end of the log, and the commit. */
static void assert_append(const struct solo *s, raft_id to, uint32_t n)
{
    const struct raft_msg *m = solo_sent(s, RAFT_M_APP, to, 0);

    assert_int_equal(appends(s, to), 1);
    assert_int_equal(m->nents, n);
    assert_int_equal(m->index + n, solo_status(s).last);
    assert_int_equal(m->commit, solo_status(s).commit);
}

/* ---- the rule ---- */

static void test_others_wait(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    assert_false(solo_peer(&s, FRONT).deferred);
    assert_true(solo_peer(&s, OTHER).deferred);
    assert_false(solo_peer(&s, 1).deferred);
    for (uint64_t now = 25; now < 28; now++) {
        (void)propose_at(&s, now);
        assert_append(&s, FRONT, 1);
        assert_int_equal(appends(&s, OTHER), 0);
        assert_int_equal(raft_deadline(s.group), 40);
        ack_at(&s, now, FRONT);
        assert_int_equal(solo_status(&s).commit, solo_status(&s).last); /* by its word alone */
        solo_clear(&s);
    }
    tick_at(&s, 39);
    assert_int_equal(s.nsent, 0);
    tick_at(&s, 40);
    assert_append(&s, OTHER, 3); /* all that gathered, at once */
    assert_append(&s, FRONT, 0); /* the commit point, which nothing took along */
    assert_int_equal(raft_deadline(s.group), 1000000);
    solo_clear(&s);
    ack_at(&s, 41, OTHER);
    tick_at(&s, 60);
    assert_int_equal(s.nsent, 0);
    solo_close(&s);
}

static void test_commit_travels_with_entries(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    (void)propose_at(&s, 25);
    ack_at(&s, 26, FRONT);
    assert_int_equal(raft_deadline(s.group), 40);
    solo_clear(&s);
    (void)propose_at(&s, 30);
    assert_append(&s, FRONT, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, FRONT, 0)->commit, solo_status(&s).last - 1);
    solo_clear(&s);
    tick_at(&s, 40);
    assert_int_equal(appends(&s, FRONT), 0); /* it knows */
    assert_append(&s, OTHER, 2);
    solo_clear(&s);
    ack_at(&s, 41, FRONT);
    assert_int_equal(s.nsent, 0);
    assert_int_equal(raft_deadline(s.group), 60);
    tick_at(&s, 60);
    assert_append(&s, FRONT, 0);
    assert_append(&s, OTHER, 0);
    solo_close(&s);
}

static void test_at_once_without_ticks(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    setup.config.defer_ticks = 0;
    lead(&s, &setup);
    (void)propose_at(&s, 25);
    assert_append(&s, FRONT, 1);
    assert_append(&s, OTHER, 1);
    solo_clear(&s);
    ack_at(&s, 26, FRONT);
    assert_append(&s, FRONT, 0);
    assert_append(&s, OTHER, 0);
    assert_int_equal(raft_deadline(s.group), 1000000);
    assert_false(solo_peer(&s, OTHER).deferred);
    solo_close(&s);
}

/* ---- who waits ---- */

/* Peers that get a new entry at once, by id. */
static unsigned front_of(struct solo *s, uint64_t now)
{
    unsigned at_once = 0;

    solo_clear(s);
    (void)propose_at(s, now);
    for (raft_id id = 1; id < 8; id++) {
        at_once |= appends(s, id) > 0 ? 1U << id : 0;
        assert_true(appends(s, id) <= 1);
    }
    return at_once;
}

static void add(raft_id *ids, raft_id from, raft_id to)
{
    memset(ids, 0, 8 * sizeof(*ids));
    for (raft_id id = from; id <= to; id++) {
        ids[id - from] = id;
    }
}

static void test_five_voters(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    add(setup.voters, 1, 5);
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 1U << 5 | 1U << 2);
    assert_true(solo_peer(&s, 3).deferred && solo_peer(&s, 4).deferred);
    ack_at(&s, 26, 5);
    assert_true(solo_status(&s).commit < solo_status(&s).last);
    ack_at(&s, 26, 2);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    solo_clear(&s);
    tick_at(&s, 40);
    assert_append(&s, 3, 1);
    assert_append(&s, 4, 1);
    solo_close(&s);
}

static void test_small_groups(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    add(setup.voters, 1, 2);
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 1U << 2);
    assert_false(solo_peer(&s, 2).deferred);
    solo_close(&s);
    add(setup.voters, 1, 1);
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 0);
    assert_int_equal(raft_deadline(s.group), 1000000);
    solo_close(&s);
}

static void test_learners_wait(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    add(setup.learners, 4, 4);
    lead(&s, &setup);
    assert_true(solo_peer(&s, 4).deferred);
    assert_int_equal(front_of(&s, 25), 1U << FRONT);
    assert_int_equal(raft_unreachable(s.group, 26, 4), FL_OK); /* now it is probed */
    assert_int_equal(front_of(&s, 26), 1U << FRONT | 1U << 4);
    solo_close(&s);
    add(setup.voters, 1, 1); /* a quorum of one: only the learner is told, in its time */
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 0);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    assert_int_equal(raft_deadline(s.group), 40);
    tick_at(&s, 40);
    assert_append(&s, 4, 1);
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
    defaults(&setup);
    add(setup.out, 1, 3);
    add(setup.voters, 3, 5);
    setup.voters[3] = 1;
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 1U << 2 | 1U << 3 | 1U << 4 | 1U << 5);
    assert_false(solo_peer(&s, 2).deferred);
    solo_close(&s);
}

static void test_removed_leader_waits_for_nobody(void **state)
{
    static const raft_id acks[] = {FRONT, 0};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    add(setup.voters, 1, 4);
    setup.config.step_down_on_removal = false;
    lead(&s, &setup);
    s.now = 25;
    change(&s, solo_change('r', 4), (const raft_id[]){2, 3, 0});
    change(&s, solo_change('l', 1), acks);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_false(solo_status(&s).voter);
    assert_int_equal(appends(&s, OTHER), 1); /* what had waited, too */
    assert_int_equal(front_of(&s, 26), 1U << FRONT | 1U << OTHER);
    solo_close(&s);
}

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

            defaults(&setup);
            setup.id = 100 + i;
            setup.self = 1 + i / n;
            add(setup.voters, 1, n);
            lead(&s, &setup);
            heir = first_heir(setup.id, n, setup.self);
            assert_int_equal(front_of(&s, 25) & 1U << heir, 1U << heir);
            assert_int_equal(__builtin_popcount(front_of(&s, 26)), n / 2);
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
    open_three(&s);
    last = propose_at(&s, 25);
    solo_clear(&s);
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = RAFT_M_APPR,
                                                 .flags = RAFT_F_REJECT,
                                                 .from = FRONT,
                                                 .index = last,
                                                 .x = last - 1},
                               NULL),
                     FL_OK);
    assert_append(&s, OTHER, 1);
    assert_append(&s, FRONT, 1); /* a probe */
    assert_false(solo_peer(&s, OTHER).deferred);
    assert_int_equal(front_of(&s, 26), 1U << OTHER);
    solo_close(&s);
}

static void test_full_window_gives_the_place_away(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    setup.config.max_inflight = 1;
    lead(&s, &setup);
    assert_int_equal(front_of(&s, 25), 1U << FRONT);
    solo_clear(&s);
    (void)propose_at(&s, 26);
    assert_append(&s, OTHER, 2);
    assert_int_equal(appends(&s, FRONT), 0);
    (void)propose_at(&s, 27); /* both full: whoever answers first gets it */
    solo_clear(&s);
    ack_at(&s, 28, FRONT);
    assert_append(&s, FRONT, 2);
    solo_close(&s);
}

/* Nothing may be sent to a member that gets a snapshot. */
static void test_snapshot_gives_the_place_away(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    setup.config.max_inflight = 1;
    lead(&s, &setup);
    (void)propose_at(&s, 25); /* to 2, whose window is full now */
    for (uint64_t now = 26; now < 30; now++) {
        (void)propose_at(&s, now);
        ack_at(&s, now, OTHER);
    }
    s.now = 30;
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_NOT_READY);
    solo_drain(&s);
    assert_int_equal(raft_compacted(s.group, solo_status(&s).applied), FL_OK);
    ack_at(&s, 30, FRONT);
    assert_int_equal(solo_peer(&s, FRONT).state, RAFT_SNAPSHOT);
    for (uint64_t now = 31; now < 100; now += 10) {
        assert_int_equal(front_of(&s, now), 1U << OTHER);
        ack_at(&s, now, OTHER);
        tick_at(&s, now + 1);
    }
    solo_close(&s);
}

static void test_silence_gives_the_place_away(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    assert_int_equal(front_of(&s, 25), 1U << FRONT);
    tick_at(&s, 40); /* the other gets its share, and the place */
    ack_at(&s, 41, OTHER);
    assert_int_equal(solo_status(&s).commit, solo_status(&s).last);
    assert_int_equal(front_of(&s, 41), 1U << OTHER);
    assert_true(solo_peer(&s, FRONT).deferred);
    solo_close(&s);
}

/* Under load a message often comes first at every multiple, and nothing is left for the tick. */
static void test_choice_needs_no_tick(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    (void)propose_at(&s, 25);
    for (uint64_t now = 40; now <= 80; now += TICKS) {
        (void)propose_at(&s, now);
        (void)propose_at(&s, now);
        tick_at(&s, now);
        ack_at(&s, now + 1, OTHER);
    }
    assert_int_equal(front_of(&s, 82), 1U << OTHER);
    solo_close(&s);
}

static void test_broken_connection_gives_the_place_away(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    assert_int_equal(front_of(&s, 25), 1U << FRONT);
    solo_clear(&s);
    assert_int_equal(raft_unreachable(s.group, 26, OTHER), FL_OK);
    assert_false(raft_has_ready(s.group)); /* nobody counts on it, and it just failed */
    solo_close(&s);
    open_three(&s);
    assert_int_equal(front_of(&s, 25), 1U << FRONT);
    solo_clear(&s);
    assert_int_equal(raft_unreachable(s.group, 26, FRONT), FL_OK);
    solo_drain(&s);
    assert_append(&s, OTHER, 1);
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
    open_three(&s);
    s.cold = true;
    (void)propose_at(&s, 25);
    assert_true(solo_peer(&s, FRONT).fetching);
    s.cold = false;
    solo_clear(&s);
    (void)propose_at(&s, 26);
    assert_append(&s, OTHER, 2);
    ack_at(&s, 27, OTHER);
    tick_at(&s, 40);
    assert_int_equal(front_of(&s, 41), 1U << OTHER);
    ack_at(&s, 42, OTHER);
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
    assert_append(&s, OTHER, 1);
    solo_close(&s);
}

static void test_status_tells_who_waits(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    defaults(&setup);
    add(setup.learners, 4, 4);
    lead(&s, &setup);
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
        tick_at(s, now);
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
            if (appends(s, id) > 0) {
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

        open_three(&s);
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
    open_three(&s);
    assert_int_equal(play(&s, slow, 500, &front), 1);
    assert_int_equal(front, OTHER);
    assert_int_equal(play(&s, equal, 2500, &front), 1);
    assert_int_equal(front, FRONT);
    solo_close(&s);
    defaults(&setup);
    solo_open(&s, &setup);
    solo_lead(&s);
    solo_ack(&s, OTHER, 1);
    assert_int_equal(front_of(&s, 1), 1U << OTHER);
    solo_ack(&s, FRONT, 1);
    front = OTHER;
    assert_int_equal(play(&s, equal, 100, &front), 1);
    assert_int_equal(front, FRONT);
    solo_close(&s);
}

/* ---- members behind ---- */

static void test_laggard_never_waits_between_windows(void **state)
{
    struct solo_setup setup;
    struct solo s;
    unsigned rounds = 0;

    (void)state;
    defaults(&setup);
    setup.config.max_inflight = 2;
    setup.config.max_msg_ents = 1;
    lead(&s, &setup);
    assert_int_equal(raft_unreachable(s.group, 25, OTHER), FL_OK);
    for (uint64_t now = 25; now < 35; now++) {
        (void)propose_at(&s, now);
        ack_at(&s, now, FRONT);
    }
    solo_clear(&s);
    ack_at(&s, 36, OTHER); /* of the probe, sent before */
    solo_ack(&s, OTHER, solo_peer(&s, OTHER).match + 1);
    assert_int_equal(solo_peer(&s, OTHER).state, RAFT_REPLICATE);
    assert_int_equal(appends(&s, OTHER), 0);
    tick_at(&s, 40);
    assert_int_equal(appends(&s, OTHER), 2); /* a window */
    while (solo_peer(&s, OTHER).match < solo_status(&s).last) {
        bool more = solo_peer(&s, OTHER).next <= solo_status(&s).last;

        solo_clear(&s);
        solo_ack(&s, OTHER, solo_peer(&s, OTHER).match + 1);
        assert_true(appends(&s, OTHER) == 1 || !more);
        rounds++;
    }
    assert_true(rounds > 4);
    tick_at(&s, 60);
    assert_int_equal(front_of(&s, 61), 1U << FRONT); /* it has everything: it waits again */
    assert_int_equal(raft_deadline(s.group), 80);
    solo_close(&s);
}

static void test_transferee_never_waits(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    (void)propose_at(&s, 25);
    (void)propose_at(&s, 26);
    ack_at(&s, 27, FRONT);
    solo_clear(&s);
    assert_int_equal(raft_transfer(s.group, 28, OTHER), FL_OK);
    solo_drain(&s);
    assert_append(&s, OTHER, 2);
    ack_at(&s, 28, OTHER);
    assert_int_equal(solo_count(&s, RAFT_M_TIMEOUTNOW, OTHER), 1);
    solo_close(&s);
}

/* A commit point alone keeps nobody awake: the last beat carries it. Entries do. */
static void test_sleep_waits_for_entries(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    (void)propose_at(&s, 25);
    ack_at(&s, 26, FRONT);
    assert_false(raft_can_quiesce(s.group));
    assert_int_equal(raft_quiesce(s.group, 26), FL_NOT_READY);
    tick_at(&s, 40);
    assert_false(raft_can_quiesce(s.group));
    (void)propose_at(&s, 41);
    tick_at(&s, 60);
    ack_at(&s, 61, OTHER);
    ack_at(&s, 61, FRONT);
    assert_int_equal(raft_deadline(s.group), 80);
    solo_clear(&s);
    assert_int_equal(raft_quiesce(s.group, 62), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_sent(&s, RAFT_M_HB, OTHER, 0)->commit, solo_status(&s).last);
    assert_true(raft_deadline(s.group) == RAFT_NEVER);
    assert_int_equal(front_of(&s, 200), 1U << FRONT | 1U << OTHER); /* its turn is long over */
    assert_int_equal(front_of(&s, 201), 1U << FRONT);
    solo_close(&s);
}

/* ---- changes ---- */

/* C29: slots move, and the quorum is another. */
static void test_membership_chooses_anew(void **state)
{
    static const raft_id acks[] = {FRONT, 0};
    struct solo s;

    (void)state;
    open_three(&s);
    s.now = 25;
    change(&s, solo_change('r', FRONT), acks);
    assert_append(&s, OTHER, 1); /* all that is left of the quorum: in the same ready */
    assert_int_equal(appends(&s, FRONT), 0);
    assert_int_equal(front_of(&s, 26), 1U << OTHER);
    solo_close(&s);
}

static void test_leadership_starts_clean(void **state)
{
    struct solo s;

    (void)state;
    open_three(&s);
    (void)propose_at(&s, 25);
    tick_at(&s, 45);
    (void)propose_at(&s, 46);
    assert_int_equal(raft_deadline(s.group), 60);
    assert_int_equal(solo_step(&s, (struct raft_msg){.type = RAFT_M_HB, .term = 5}, NULL), FL_OK);
    assert_int_equal(raft_unreachable(s.group, 47, FRONT), FL_OK);
    assert_true(raft_deadline(s.group) > 60);
    s.now = 48;
    solo_clear(&s);
    solo_lead(&s);
    for (raft_id id = 2; id <= 3; id++) {
        assert_append(&s, id, 1); /* everybody is probed */
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
    open_three(&s);
    (void)propose_at(&s, 25);
    ack_at(&s, 26, FRONT);
    solo_clear(&s);
    tick_at(&s, 105);
    assert_append(&s, OTHER, 1);
    assert_append(&s, FRONT, 0);
    (void)propose_at(&s, 106);
    assert_int_equal(raft_deadline(s.group), 120);
    solo_clear(&s);
    (void)propose_at(&s, 130); /* the clock was read elsewhere first: as good as a tick */
    assert_append(&s, OTHER, 2);
    solo_clear(&s);
    tick_at(&s, 40); /* time does not go back */
    assert_int_equal(appends(&s, OTHER), 0);
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
        tick_at(s, s->now);
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
        tick_at(s, s->now);
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
        defaults(&setup);
        setup.id = seed;
        add(setup.voters, 1, 3 + seed % 2);
        add(setup.learners, 4 + seed % 2, 5);
        setup.config.max_inflight = windows[fl_prng_below(&prng, 3)];
        setup.config.max_msg_ents = 1 + (uint32_t)fl_prng_below(&prng, 4);
        lead(&s, &setup);
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
