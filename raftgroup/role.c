/* Who this replica is: the only place that changes `role`, `term` and `leader`.
 *
 *              timeout, forget + campaign               pre-votes of a quorum
 *   FOLLOWER --------------------------> PRECANDIDATE -------------------------+
 *    ^ ^  ^ \                                | |                               |
 *    | |  |  \  no pre-vote, TIMEOUTNOW      | | lost, leader, higher term     v
 *    | |  |   +------------------------------|-+----------------------> CANDIDATE
 *    | |  +----------------------------------+                            |    |
 *    | +-------------------- lost, leader, higher term -------------------+    |
 *    |                                                                         | own vote durable
 *    +------- higher term, no quorum heard, disk stalled, removed ---- LEADER <-+ and a quorum
 *
 * A pre-candidate keeps term and vote (thesis 9.6); a candidate has voted for itself in a new term,
 * but that vote counts, and its requests leave, only when it is durable (E26). */
#include "raftgroup/raft_internal.h"

#include <stdlib.h>

static void draw_timeout(struct raft_group *g)
{
    uint64_t e = raft__config(g)->election_ticks;

    g->timeout = e;
    if (!raft__parity(g, RAFT_PARITY_RAND0)) {
        g->timeout += fl_prng_below(&g->prng, e);
    }
}

void raft__restart_timer(struct raft_group *g)
{
    g->base = g->now;
    draw_timeout(g);
}

static void drop_peers(struct raft_group *g)
{
    free(raft__progress_remap(g->peers, &g->conf, &(struct raft_conf){.n = 0}, 0));
    g->peers = NULL;
}

/* What every change of role or term forgets. The vote stays when the term stays (E21). */
static void reset(struct raft_group *g, raft_term term)
{
    if (term != g->term || RG_BUG(E21)) {
        g->term = term;
        g->vote = 0;
        g->grant_owed = false;
        g->ack_owed = false;
        g->ack_want = 0;
        g->acked = 0;
        g->verified = g->commit; /* what is committed is in every later leader's log */
    }
    raft__reads_fail(g);
    drop_peers(g);
    raft__restart_timer(g);
    g->leader = RG_BUG(P5) ? g->leader : 0; /* cleared in the same moment the role changes (P5) */
    g->yes = 0;
    g->no = 0;
    g->active = 0;
    g->transferee = RG_BUG(T3) ? g->transferee : 0;
    g->pending_conf = 0;
    g->uncommitted = 0;
    g->votes_due = false;
    g->self_voted = false;
    g->transfer_vote = false;
    g->beat_due = false;
    g->quiesce_due = false;
    g->quiesced = false;
    g->send_due = false;
    g->timeout_now_due = false;
    g->lease_void = false;
}

void raft__become_follower(struct raft_group *g, raft_term term, raft_id leader)
{
    if (term < g->term) {
        raft__freeze(g, "RG-1: the term would go back");
        return;
    }
    if (g->role == RAFT_LEADER) {
        g->env->stats.step_downs++;
    }
    reset(g, term);
    g->role = RAFT_FOLLOWER;
    g->leader = leader;
}

void raft__become_precandidate(struct raft_group *g)
{
    fl_assert(g->role != RAFT_LEADER);
    raft__reads_fail(g);
    draw_timeout(g);
    g->role = RAFT_PRECANDIDATE;
    g->leader = RG_BUG(E13) ? g->leader : 0; /* or nobody is elected under stickiness (E13) */
    g->yes = raft__self_bit(g);
    g->no = 0;
    g->votes_due = true;
    g->quiesced = false;
    g->env->stats.prevotes++;
}

void raft__become_candidate(struct raft_group *g)
{
    fl_assert(g->role != RAFT_LEADER);
    reset(g, g->term + 1);
    g->role = RAFT_CANDIDATE;
    g->vote = g->self;
    g->votes_due = true;
    g->env->stats.campaigns++;
}

void raft__become_leader(struct raft_group *g)
{
    fl_assert(g->role == RAFT_CANDIDATE && g->self_voted);
    reset(g, g->term);
    g->role = RAFT_LEADER;
    g->leader = g->self;
    g->active = raft__self_bit(g);
    g->peers = raft__progress_remap(NULL, &g->conf, &g->conf, 0);
    for (int i = 0; i < g->conf.n; i++) {
        raft__progress_init(&g->peers[i], 0, g->log.last + 1);
    }
    g->front = RAFT__ALL;
    g->defer_until = 0;
    /* Conservative: any earlier entry may be a change of membership; nothing is scanned (P6). */
    g->pending_conf = RG_BUG(M2_LEADER) ? 0 : g->log.last;
    g->next_beat =
        (g->now / raft__config(g)->heartbeat_ticks + 1) * raft__config(g)->heartbeat_ticks;
    g->env->stats.elections_won++;
    /* Thesis 6.4: learn what is committed (R1). */
    RG_BUG(D10) ? (void)0 : raft__append_made(g, RAFT_ENT_NOOP);
}

void raft__follow(struct raft_group *g, raft_id leader)
{
    g->leader = leader;
    g->base = g->now;
}

void raft__unfollow(struct raft_group *g)
{
    g->leader = 0;
    raft__reads_fail(g);
}

void raft__abort_transfer(struct raft_group *g)
{
    if (g->transferee != 0) {
        g->transferee = 0;
        g->timeout_now_due = false;
        g->env->stats.transfers_aborted++;
    }
}

void raft__wake(struct raft_group *g)
{
    if (!g->quiesced) {
        return;
    }
    g->quiesced = false;
    g->quiesce_due = false;
    raft__restart_timer(g); /* nobody is blamed for the silence of sleep */
    if (g->role == RAFT_LEADER) {
        g->beat_due = true;
        g->send_due = true;
    }
}
