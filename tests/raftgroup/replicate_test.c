/* Goal: replication and commit keep the rules C2..C28 and D1..D13 of the scenario list.
 *
 * Method: one core at a time; each test is named by its scenario and plays messages and disk by
 * hand. */
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

static void append(struct solo *s, struct raft_msg m, const raft_term *terms)
{
    m.type = RAFT_M_APP;
    assert_int_equal(solo_step(s, m, terms), FL_OK);
}

static struct raft_msg last_answer(const struct solo *s)
{
    unsigned n = solo_count(s, RAFT_M_APPR, 0);

    assert_true(n > 0);
    return *solo_sent(s, RAFT_M_APPR, 0, n - 1);
}

/* A follower of leader 2, term 1, with n entries of term 1. */
static void follower(struct solo *s, unsigned n, raft_index commit)
{
    struct solo_setup setup;

    solo_defaults(&setup);
    setup.term = 1;
    setup.commit = commit;
    memcpy(setup.terms, ones, n * sizeof(ones[0]));
    solo_open(s, &setup);
}

/* A leader of term 1 whose first entry is committed; peers 2 and 3 replicate. */
static void leader(struct solo *s, struct solo_setup *setup)
{
    solo_open(s, setup);
    solo_lead(s);
    for (unsigned i = 1; i < 8 && setup->voters[i] != 0; i++) {
        solo_ack(s, setup->voters[i], solo_status(s).last);
    }
    solo_clear(s);
}

/* C1: entries of older terms do not commit by counting (thesis figure 3.7); C2: they do commit with
 * the first own entry behind them. */
static void test_c1_c2_own_term_only(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 2;
    memcpy(setup.terms, ones, 4 * sizeof(ones[0]));
    solo_open(&s, &setup);
    solo_lead(&s);
    solo_ack(&s, 2, 4);
    solo_ack(&s, 3, 4);
    assert_int_equal(solo_status(&s).commit, 0);
    solo_ack(&s, 3, 5);
    assert_int_equal(solo_status(&s).commit, 5);
    solo_close(&s);
}

/* C3: commit never passes what this very message proved equal. */
static void test_c3_commit_is_proven(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 5, 0);
    append(&s, (struct raft_msg){.log_term = 1, .index = 2, .commit = 5}, NULL);
    assert_int_equal(solo_status(&s).commit, 2);
    append(&s, (struct raft_msg){.log_term = 1, .index = 2, .nents = 1, .commit = 5}, ones);
    assert_int_equal(solo_status(&s).commit, 3);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 4, .commit_term = 7});
    assert_int_equal(solo_status(&s).commit, 3);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 9, .commit_term = 1});
    assert_int_equal(solo_status(&s).commit, 3);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 4, .commit_term = 1});
    assert_int_equal(solo_status(&s).commit, 4);
    solo_close(&s);
}

/* C4: commit never goes back. */
static void test_c4_commit_is_monotonic(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 5, 4);
    append(&s, (struct raft_msg){.log_term = 1, .index = 4, .commit = 1}, NULL);
    step(&s, (struct raft_msg){.type = RAFT_M_HB, .commit = 2, .commit_term = 1});
    assert_int_equal(solo_status(&s).commit, 4);
    solo_close(&s);
}

/* C5: an ack reaches to the end of what was received, not to the end of the own log. */
static void test_c5_ack_what_was_verified(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 6, 0);
    append(&s, (struct raft_msg){.index = 0, .nents = 2}, ones);
    assert_int_equal(last_answer(&s).index, 2);
    append(&s, (struct raft_msg){.log_term = 1, .index = 4}, NULL);
    assert_int_equal(last_answer(&s).index, 4);
    assert_int_equal(solo_status(&s).last, 6);
    solo_close(&s);
}

/* C6, C8: late, duplicate and reordered answers move match only forward, refusals never. */
static void test_c6_c8_answers_out_of_order(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    for (unsigned i = 0; i < 5; i++) {
        (void)solo_propose(&s, 1);
    }
    solo_ack(&s, 2, 5);
    solo_ack(&s, 2, 3);
    solo_ack(&s, 2, 5);
    assert_int_equal(solo_peer(&s, 2).match, 5);
    step(&s, (struct raft_msg){.type = RAFT_M_APPR, .index = 4, .x = 3, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_peer(&s, 2).match, 5);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_REPLICATE);
    solo_ack(&s, 2, 99); /* more than there is: nobody can have it (P8) */
    assert_int_equal(solo_peer(&s, 2).match, 5);
    assert_int_equal(raft_env_stats(s.env)->messages_bad, 1);
    solo_close(&s);
}

/* C9: a stale shorter append truncates nothing. */
static void test_c9_stale_append(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 0, 0);
    append(&s, (struct raft_msg){.nents = 5}, ones);
    append(&s, (struct raft_msg){.nents = 2}, ones);
    append(&s, (struct raft_msg){.log_term = 1, .index = 1, .nents = 1}, ones);
    assert_int_equal(solo_status(&s).last, 5);
    solo_close(&s);
}

/* C10, C11, C15: behind a compacted log the known part is skipped and the rest appended; what
 * reaches nowhere near is answered with the commit point. */
static void test_c10_append_across_compaction(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.snap_index = 5;
    setup.snap_term = 1;
    setup.commit = 5;
    solo_open(&s, &setup);
    append(&s, (struct raft_msg){.log_term = 1, .index = 2, .nents = 6, .commit = 6}, ones);
    assert_int_equal(solo_status(&s).last, 8);
    assert_int_equal(solo_status(&s).commit, 6);
    assert_int_equal(last_answer(&s).index, 8);
    append(&s, (struct raft_msg){.index = 0, .nents = 1}, ones);
    assert_int_equal(last_answer(&s).index, 8); /* all that is known to be equal */
    assert_int_equal(last_answer(&s).flags, 0);
    append(&s, (struct raft_msg){.log_term = 1, .index = 30}, NULL);
    assert_int_equal(last_answer(&s).flags, RAFT_F_REJECT);
    assert_int_equal(last_answer(&s).x, 8);
    solo_close(&s);
}

/* C13: an append that contradicts a committed entry freezes the group; nothing is answered any
 * more. */
static void test_c13_conflict_below_commit(void **state)
{
    static const raft_term twos[] = {2, 2, 2};
    struct solo s;

    (void)state;
    follower(&s, 4, 3);
    assert_int_equal(
        solo_step(&s, (struct raft_msg){.type = RAFT_M_APP, .term = 2, .nents = 3}, twos),
        FL_FROZEN);
    assert_non_null(solo_status(&s).why);
    assert_memory_equal(solo_status(&s).why, "RG-6", 4);
    assert_false(raft_has_ready(s.group));
    assert_int_equal(raft_deadline(s.group), RAFT_NEVER);
    assert_int_equal(raft_tick(s.group, 1), FL_FROZEN);
    assert_int_equal(raft_env_stats(s.env)->frozen, 1);
    solo_close(&s);
}

/* C14: a tail that diverges over many terms is mended with at most one probe per term. */
static void test_c14_long_divergence(void **state)
{
    struct solo_setup setup;
    struct solo lead;
    struct solo tail;
    unsigned probes = 0;

    (void)state;
    solo_defaults(&setup);
    for (unsigned i = 0; i < 50; i++) {
        setup.terms[i] = 1 + i / 5 * 2; /* 1 1 1 1 1 3 3 3 3 3 5 .. 19 */
    }
    setup.term = 30;
    solo_open(&lead, &setup);
    for (unsigned i = 5; i < 60; i++) {
        setup.terms[i] = 2 + i / 5 * 2; /* 1 1 1 1 1 4 4 4 4 4 6 .. */
    }
    setup.self = 2;
    solo_open(&tail, &setup);
    solo_lead(&lead);
    while (solo_status(&tail).commit == 0 && probes < 100) {
        const struct raft_msg *m = solo_sent(&lead, RAFT_M_APP, 2, 0);
        struct raft_msg app = m != NULL ? *m : (struct raft_msg){.type = 0};
        raft_term terms[SOLO_LOG_MAX];

        assert_non_null(m);
        for (uint32_t i = 0; i < app.nents; i++) {
            terms[i] = raft_term_at(lead.group, app.index + 1 + i);
        }
        solo_clear(&lead);
        solo_clear(&tail);
        probes++;
        assert_int_equal(solo_step(&tail, app, terms), FL_OK);
        m = solo_sent(&tail, RAFT_M_APPR, 1, 0);
        assert_non_null(m);
        assert_int_equal(solo_step(&lead, *m, NULL), FL_OK);
    }
    assert_int_equal(solo_status(&tail).last, solo_status(&lead).last);
    assert_in_range(
        probes, 3, 14); /* ten terms each, one probe per term, the mending, the commit */
    solo_close(&lead);
    solo_close(&tail);
}

/* C19: a full window whose messages were all lost recovers by one heartbeat answer and one message.
 */
static void test_c19_lost_window(void **state)
{
    struct raft_msg *m;
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_inflight = 3;
    leader(&s, &setup);
    for (unsigned i = 0; i < 9; i++) {
        (void)solo_propose(&s, 1);
    }
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 3);
    assert_int_equal(solo_peer(&s, 2).inflight, 3);
    solo_clear(&s);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 1);
    m = &s.sent[0];
    assert_int_equal(m->nents, 0);
    solo_clear(&s);
    step(&s,
         (struct raft_msg){
             .type = RAFT_M_APPR, .index = 4, .x = 1, .log_term = 1, .flags = RAFT_F_REJECT});
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->index, 1);
    assert_int_equal(solo_sent(&s, RAFT_M_APP, 2, 0)->nents, 9);
    solo_ack(&s, 2, 10);
    assert_int_equal(solo_status(&s).commit, 10);
    assert_int_equal(solo_peer(&s, 2).inflight, 0);
    assert_int_equal(solo_peer(&s, 2).inflight_bytes, 0); /* C20 */
    solo_close(&s);
}

/* C21: the quota counts what is proposed and not applied, lets one proposal of any size through an
 * empty pipe, and returns to zero. */
static void test_c21_quota(void **state)
{
    struct raft_ent big = {.type = RAFT_ENT_NORMAL, .len = 500};
    struct raft_ent small = {.type = RAFT_ENT_NORMAL, .len = 60};
    struct solo_setup setup;
    struct solo s;
    raft_index first;
    raft_term term;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_uncommitted_bytes = 100;
    leader(&s, &setup);
    s.entry_bytes = 500;
    assert_int_equal(raft_propose(s.group, s.now, &big, 1, &first, &term), FL_OK);
    solo_drain(&s);
    assert_int_equal(raft_propose(s.group, s.now, &small, 1, &first, &term), FL_QUOTA);
    solo_ack(&s, 2, first);
    assert_int_equal(solo_status(&s).uncommitted_bytes, 0);
    s.entry_bytes = 60;
    assert_int_equal(raft_propose(s.group, s.now, &small, 1, &first, &term), FL_OK);
    solo_drain(&s);
    assert_int_equal(raft_propose(s.group, s.now, &small, 1, &first, &term), FL_QUOTA);
    solo_ack(&s, 2, first);
    assert_int_equal(solo_status(&s).uncommitted_bytes, 0);
    solo_close(&s);
}

/* C22: a complete peer reported unreachable comes back without a new proposal. */
static void test_c22_unreachable_and_complete(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    assert_int_equal(raft_unreachable(s.group, s.now, 2), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_PROBE);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 1);
    solo_ack(&s, 2, 1);
    assert_int_equal(solo_peer(&s, 2).state, RAFT_REPLICATE);
    solo_close(&s);
}

/* C28: every limit at its smallest still makes progress, one entry at a time. */
static void test_c28_smallest_limits(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.config.max_inflight = 1;
    setup.config.max_msg_bytes = 0;
    setup.config.max_msg_ents = 1;
    setup.config.max_inflight_bytes = 1;
    setup.config.max_apply_ents = 1;
    setup.config.max_uncommitted_bytes = 1;
    leader(&s, &setup);
    for (unsigned i = 0; i < 5; i++) {
        raft_index at = solo_propose(&s, 10);

        assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 1 + (i > 0));
        solo_clear(&s);
        s.entry_bytes = 10;
        solo_ack(&s, 2, at);
        assert_int_equal(solo_status(&s).applied, at);
    }
    solo_close(&s);
}

/* Decision 7: one fsync of many appends gives one acknowledgement. */
static void test_acks_coalesce(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 0, 0);
    s.hold = true;
    append(&s, (struct raft_msg){.index = 0, .nents = 2}, ones);
    append(&s, (struct raft_msg){.log_term = 1, .index = 2, .nents = 2}, ones);
    append(&s, (struct raft_msg){.log_term = 1, .index = 4, .nents = 2}, ones);
    assert_int_equal(solo_count(&s, RAFT_M_APPR, 2), 0);
    solo_ack_all(&s);
    assert_int_equal(solo_count(&s, RAFT_M_APPR, 2), 1);
    assert_int_equal(last_answer(&s).index, 6);
    solo_close(&s);
}

/* Decision 8: the leader sends before its own fsync, and others may commit without it; it applies
 * only what is on its own disk (C18, decision 9). */
static void test_c18_leader_overlaps(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    s.hold = true;
    at = solo_propose(&s, 1);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 1);
    solo_ack(&s, 2, at);
    assert_int_equal(solo_status(&s).commit, at - 1); /* two of three, but one is only in memory */
    solo_ack(&s, 3, at);
    assert_int_equal(solo_status(&s).commit, at);
    assert_int_equal(solo_status(&s).applying, at - 1);
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).applied, at);
    solo_close(&s);
}

/* C18: a single voter commits with its own record, not before. */
static void test_c18_single_voter(void **state)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    (void)state;
    solo_defaults(&setup);
    setup.voters[1] = 0;
    solo_open(&s, &setup);
    solo_lead(&s);
    s.hold = true;
    at = solo_propose(&s, 1);
    assert_int_equal(solo_status(&s).commit, at - 1);
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).commit, at);
    solo_close(&s);
}

/* D1: written, overwritten, written again: the acknowledgement of the first write vouches for
 * nothing that came later. D2: truncation pulls back the durable mark and every record in flight.
 */
static void test_d1_d2_aba(void **state)
{
    static const raft_term twos[] = {2, 2, 2};
    struct solo s;

    (void)state;
    follower(&s, 1, 0);
    s.hold = true;
    append(&s, (struct raft_msg){.log_term = 1, .index = 1, .nents = 3}, ones); /* record 1: 2..4 */
    assert_int_equal(last_answer(&s).index, 1); /* as much as was durable before */
    solo_clear(&s);
    append(&s, (struct raft_msg){.term = 2, .log_term = 1, .index = 1, .nents = 2}, twos);
    assert_int_equal(s.nrecords, 2);
    assert_int_equal(s.records[1].trunc_from, 2);
    assert_int_equal(s.records[1].lo, 2);
    assert_int_equal(s.records[1].hi, 3);
    assert_int_equal(raft_persisted(s.group, s.now, 1), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_status(&s).durable, 1);
    assert_int_equal(solo_count(&s, RAFT_M_APPR, 2), 0);
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).durable, 3);
    assert_int_equal(last_answer(&s).index, 3);
    assert_int_equal(last_answer(&s).term, 2);
    solo_close(&s);
}

/* D3: acknowledgements are cumulative; a late smaller one is stale. */
static void test_d3_cumulative_acks(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 0, 0);
    s.hold = true;
    append(&s, (struct raft_msg){.nents = 1}, ones);
    append(&s, (struct raft_msg){.log_term = 1, .index = 1, .nents = 1}, ones);
    append(&s, (struct raft_msg){.log_term = 1, .index = 2, .nents = 1}, ones);
    assert_int_equal(raft_persisted(s.group, s.now, 3), FL_OK);
    assert_int_equal(raft_persisted(s.group, s.now, 1), FL_STALE);
    assert_int_equal(raft_persisted(s.group, s.now, 3), FL_STALE);
    solo_drain(&s);
    assert_int_equal(last_answer(&s).index, 3);
    solo_close(&s);
}

/* Records in flight are bounded; what comes meanwhile merges into the next one. */
static void test_records_merge(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 0, 0);
    s.hold = true;
    append(&s, (struct raft_msg){.nents = 1}, ones);
    for (raft_index i = 1; i < 9; i++) {
        append(&s, (struct raft_msg){.log_term = 1, .index = i, .nents = 1}, ones);
    }
    assert_int_equal(s.nrecords, RAFT_PERSIST_DEPTH);
    solo_ack_all(&s);
    assert_int_equal(s.nrecords, RAFT_PERSIST_DEPTH + 1);
    assert_int_equal(s.records[RAFT_PERSIST_DEPTH].hi, 9);
    solo_ack_all(&s);
    assert_int_equal(solo_status(&s).durable, 9);
    solo_close(&s);
}

/* D4, D8: state that lost something, or has a gap, is refused by name. */
static void test_d4_d8_damaged_state(void **state)
{
    struct solo_setup setup;
    struct solo s;
    const char *why = NULL;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.terms[0] = 1;
    setup.commit = 3;
    setup.applied = 1;
    assert_int_equal(solo_try(&s, &setup, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-2", 4);
    solo_close(&s);
    setup.commit = 1;
    setup.terms[0] = 2; /* newer than the hard state */
    assert_int_equal(solo_try(&s, &setup, &why), FL_FROZEN);
    assert_memory_equal(why, "RG-5", 4);
    solo_close(&s);
    setup.terms[0] = 1;
    setup.terms[1] = 0;
    setup.snap_index = 9; /* beyond what is applied: entries are missing */
    setup.snap_term = 1;
    setup.applied = 1;
    assert_int_equal(solo_try(&s, &setup, &why), FL_OK); /* solo raises applied to the snapshot */
    solo_close(&s);
}

/* D5, D9: the stored commit may lag behind snapshot and machine. */
static void test_d5_d9_lagging_commit(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.term = 1;
    setup.snap_index = 4;
    setup.snap_term = 1;
    setup.terms[0] = setup.terms[1] = setup.terms[2] = 1;
    setup.applied = 6;
    setup.commit = 2;
    solo_open(&s, &setup);
    assert_int_equal(solo_status(&s).commit, 6);
    assert_int_equal(solo_status(&s).applied, 6);
    append(&s, (struct raft_msg){.log_term = 1, .index = 7, .commit = 7}, NULL);
    assert_int_equal(s.apply_lo, 7);
    solo_close(&s);
}

/* D6: nothing is compacted that is not applied and durably committed. */
static void test_d6_compaction_limit(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    s.hold_apply = true;
    (void)solo_propose(&s, 1);
    solo_ack(&s, 2, 2);
    assert_int_equal(solo_status(&s).commit, 2);
    assert_int_equal(raft_compacted(s.group, 2), FL_NOT_READY);
    s.hold_apply = false;
    assert_int_equal(raft_applied(s.group, s.now, 2, 1), FL_OK);
    assert_int_equal(raft_compacted(s.group, 2), FL_NOT_READY); /* commit 2 is not on disk */
    solo_drain(&s);                                             /* .. its record was asked for */
    assert_int_equal(raft_compacted(s.group, 2), FL_OK);
    assert_int_equal(raft_compacted(s.group, 2), FL_STALE);
    assert_int_equal(raft_term_at(s.group, 2), 1);
    assert_int_equal(raft_term_at(s.group, 1), 0);
    solo_close(&s);
}

/* D10: a single voter applies its whole log again after a restart, without a proposal. */
static void test_d10_single_voter_restart(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    setup.voters[1] = 0;
    setup.term = 1;
    memcpy(setup.terms, ones, 5 * sizeof(ones[0]));
    solo_open(&s, &setup);
    assert_int_equal(solo_status(&s).applied, 0);
    solo_ticks(&s, 10);
    assert_int_equal(solo_status(&s).role, RAFT_LEADER);
    assert_int_equal(solo_status(&s).applied, 6);
    solo_close(&s);
}

/* D12: a failed write freezes the group for good. */
static void test_d12_write_error(void **state)
{
    struct solo s;

    (void)state;
    follower(&s, 0, 0);
    s.hold = true;
    append(&s, (struct raft_msg){.nents = 1}, ones);
    raft_persist_failed(s.group, 1);
    assert_memory_equal(solo_status(&s).why, "RG-16", 5);
    assert_false(raft_has_ready(s.group));
    assert_int_equal(raft_persisted(s.group, s.now, 1), FL_FROZEN);
    solo_close(&s);
}

/* D13: nothing is written when nothing changed; commit alone waits for the next record or a beat,
 * and needs no fsync. */
static void test_d13_no_sync_storm(void **state)
{
    struct solo_setup setup;
    struct solo s;
    unsigned records;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    records = s.nrecords;
    solo_ack(&s, 2, 2);
    assert_int_equal(s.nrecords, records);
    solo_ticks(&s, 1);
    assert_int_equal(s.nrecords, records + 1);
    assert_false(s.records[records].must_sync);
    assert_int_equal(s.records[records].commit, 2);
    solo_ticks(&s, 8);
    step(&s, (struct raft_msg){.type = RAFT_M_HBR});
    assert_int_equal(s.nrecords, records + 1);
    solo_close(&s);
}

/* Cold payloads: the core asks for them, goes on talking, and resumes that peer when they are
 * there. */
static void test_fetch(void **state)
{
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    s.cold = true;
    (void)solo_propose(&s, 1);
    assert_int_equal(s.nfetches, 2);
    assert_int_equal(s.fetches[0].peer, 2);
    assert_int_equal(s.fetches[0].lo, 2);
    assert_int_equal(s.fetches[0].hi, 2);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 0), 0);
    assert_true(solo_peer(&s, 2).fetching);
    solo_ticks(&s, 2);
    assert_int_equal(s.nfetches, 2); /* asked once */
    s.cold = false;
    assert_int_equal(raft_fetched(s.group, s.now, 2), FL_OK);
    solo_drain(&s);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 2), 1);
    assert_int_equal(solo_count(&s, RAFT_M_APP, 3), 0);
    solo_close(&s);
}

/* P3: an own entry taken back is reported lost only when another one is committed in its place. */
static void test_p3_lost_when_certain(void **state)
{
    static const raft_term fresh[] = {2, 2};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1);
    (void)solo_propose(&s, 1);
    (void)solo_propose(&s, 1); /* 1/2 1/3 1/4 */
    append(&s, (struct raft_msg){.term = 2, .log_term = 1, .index = 2, .nents = 1}, fresh);
    assert_int_equal(solo_status(&s).last, 3);
    assert_int_equal(s.nlost, 0); /* 1/3 could still win elsewhere (thesis figure 3.7) */
    append(&s,
           (struct raft_msg){.term = 2, .log_term = 2, .index = 3, .nents = 1, .commit = 3},
           fresh);
    assert_int_equal(s.nlost, 1);
    assert_int_equal(s.lost[0].lo, 3);
    assert_int_equal(s.lost[0].hi, 3);
    assert_int_equal(s.lost[0].term, 1);
    append(&s, (struct raft_msg){.term = 2, .log_term = 2, .index = 4, .commit = 4}, NULL);
    assert_int_equal(s.nlost, 2);
    assert_int_equal(s.lost[1].lo, 4);
    solo_close(&s);
}

/* P3: .. and if it comes back and wins, it was not lost. */
static void test_p3_found_again(void **state)
{
    static const raft_term other[] = {2};
    static const raft_term back[] = {1, 3};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    leader(&s, &setup);
    (void)solo_propose(&s, 1); /* 1/2 */
    append(&s, (struct raft_msg){.term = 2, .log_term = 1, .index = 1, .nents = 1}, other);
    append(
        &s,
        (struct raft_msg){.term = 3, .log_term = 1, .index = 1, .nents = 2, .from = 3, .commit = 3},
        back);
    assert_int_equal(solo_status(&s).commit, 3);
    assert_int_equal(s.nlost, 0);
    solo_close(&s);
}

/* P6: leading a long log costs nothing extra: one run per term, whatever the length. */
static void test_p6_long_log(void **state)
{
    struct raft_run runs[2] = {{.first = 1, .term = 1}, {.first = 1ULL << 40, .term = 2}};
    struct solo_setup setup;
    struct solo s;

    (void)state;
    solo_defaults(&setup);
    solo_open(&s, &setup);
    raft_close(s.group);
    assert_int_equal(raft_open(s.env,
                               &(struct raft_boot){.group = SOLO_GROUP,
                                                   .self = 1,
                                                   .term = 2,
                                                   .conf = {.n = 3, .in = 7, .id = {1, 2, 3}},
                                                   .last = 1ULL << 41, /* P7 */
                                                   .runs = runs,
                                                   .nruns = 2},
                               &s,
                               0,
                               &s.group,
                               NULL),
                     FL_OK);
    s.hold_apply = true;
    solo_lead(&s);
    assert_int_equal(solo_status(&s).last, (1ULL << 41) + 1);
    solo_ack(&s, 2, (1ULL << 41) + 1);
    assert_int_equal(solo_status(&s).commit, (1ULL << 41) + 1);
    solo_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_c1_c2_own_term_only),
        cmocka_unit_test(test_c3_commit_is_proven),
        cmocka_unit_test(test_c4_commit_is_monotonic),
        cmocka_unit_test(test_c5_ack_what_was_verified),
        cmocka_unit_test(test_c6_c8_answers_out_of_order),
        cmocka_unit_test(test_c9_stale_append),
        cmocka_unit_test(test_c10_append_across_compaction),
        cmocka_unit_test(test_c13_conflict_below_commit),
        cmocka_unit_test(test_c14_long_divergence),
        cmocka_unit_test(test_c18_leader_overlaps),
        cmocka_unit_test(test_c18_single_voter),
        cmocka_unit_test(test_c19_lost_window),
        cmocka_unit_test(test_c21_quota),
        cmocka_unit_test(test_c22_unreachable_and_complete),
        cmocka_unit_test(test_c28_smallest_limits),
        cmocka_unit_test(test_acks_coalesce),
        cmocka_unit_test(test_d1_d2_aba),
        cmocka_unit_test(test_d3_cumulative_acks),
        cmocka_unit_test(test_records_merge),
        cmocka_unit_test(test_d4_d8_damaged_state),
        cmocka_unit_test(test_d5_d9_lagging_commit),
        cmocka_unit_test(test_d6_compaction_limit),
        cmocka_unit_test(test_d10_single_voter_restart),
        cmocka_unit_test(test_d12_write_error),
        cmocka_unit_test(test_d13_no_sync_storm),
        cmocka_unit_test(test_fetch),
        cmocka_unit_test(test_p3_lost_when_certain),
        cmocka_unit_test(test_p3_found_again),
        cmocka_unit_test(test_p6_long_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
