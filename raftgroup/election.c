/* Pre-vote, vote, quorum check: thesis 3.4, 3.6.1, 4.2.3, 6.2, 9.6. */
#include "raftgroup/raft_internal.h"

bool raft__is_promotable(const struct raft_group *g)
{
    return (raft__conf_voters(&g->conf) & raft__self_bit(g)) != 0 && !g->snap_installing;
}

enum fl_status raft__may_campaign(const struct raft_group *g)
{
    if ((raft__conf_voters(&g->conf) & raft__self_bit(g)) == 0) {
        return FL_NOT_MEMBER;
    }
    /* With a committed change unapplied the quorum counted here could be the wrong one (M2). */
    if (g->snap_installing || (!RG_BUG(M2_CAMPAIGN) && raft__conf_unapplied(g)) ||
        g->now < g->quarantine) {
        return FL_NOT_READY;
    }
    return FL_OK;
}

static void campaign_for_real(struct raft_group *g, bool transfer)
{
    raft__become_candidate(g);
    g->transfer_vote = transfer;
    RG_BUG(E26_SELF) ? raft__self_vote_durable(g) : (void)0;
}

void raft__campaign(struct raft_group *g, bool transfer)
{
    /* Two triggers before the own vote is durable bump the term once (E20). */
    if (g->role == RAFT_CANDIDATE && !g->self_voted &&
        (raft__config(g)->pre_vote || !raft__parity(g, RAFT_PARITY_RECAMPAIGN))) {
        return;
    }
    if (transfer || !raft__config(g)->pre_vote) {
        campaign_for_real(g, transfer);
        return;
    }
    raft__become_precandidate(g);
    if (raft__quorum_vote(&g->conf, g->yes, g->no) == RAFT_VOTE_WON) {
        campaign_for_real(g, false);
    }
}

/* A candidate or pre-candidate counts; a late result starts nothing (E16). */
static void count_votes(struct raft_group *g)
{
    switch (raft__quorum_vote(&g->conf, g->yes, g->no)) {
    case RAFT_VOTE_WON:
        if (g->role == RAFT_PRECANDIDATE) {
            campaign_for_real(g, false);
        } else if (g->self_voted) {
            raft__become_leader(g);
        }
        break;
    case RAFT_VOTE_LOST:
        raft__become_follower(g, g->term, 0);
        break;
    case RAFT_VOTE_PENDING:
    default:
        break;
    }
}

void raft__self_vote_durable(struct raft_group *g)
{
    g->self_voted = true;
    g->yes |= raft__self_bit(g);
    count_votes(g);
}

bool raft__is_sticky(const struct raft_group *g, const struct raft_msg *m)
{
    if ((m->flags & RAFT_F_TRANSFER) != 0 || RG_BUG(E24)) {
        return false;
    }
    if (g->now < g->quarantine) {
        return true; /* a lease granted before the restart may still run (R7) */
    }
    if (!raft__config(g)->check_quorum || g->leader == 0) {
        return false;
    }
    /* The node we follow asks: it does not lead any more (E15). */
    if (g->leader == m->from && !raft__parity(g, RAFT_PARITY_STICKY_ALL)) {
        return false;
    }
    return g->quiesced || g->now - g->base < raft__config(g)->election_ticks;
}

void raft__learn_commit(struct raft_group *g, raft_index commit, raft_term commit_term)
{
    if (commit <= g->commit || commit_term == 0 ||
        !(RG_BUG(C3_BEAT) || raft__log_matches(&g->log, commit, commit_term))) {
        return;
    }
    raft__commit_to(g, commit);
    if ((g->role == RAFT_CANDIDATE || g->role == RAFT_PRECANDIDATE) && raft__conf_unapplied(g)) {
        raft__become_follower(g, g->term, 0); /* the configuration is about to change (M2) */
    }
}

/* A voter that missed the last commit learns it from votes, or a joint half whose only complete
 * member is a learner could wait for ever (M5). */
void raft__learn_from_vote(struct raft_group *g, const struct raft_msg *m)
{
    if (g->role != RAFT_LEADER && !raft__parity(g, RAFT_PARITY_NO_VOTE_COMMIT) && !RG_BUG(M5)) {
        raft__learn_commit(g, m->commit, m->commit_term);
    }
}

void raft__handle_vote(struct raft_group *g, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_M_PREVOTE;
    uint8_t answer = pre ? RAFT_M_PREVOTER : RAFT_M_VOTER;
    bool can;

    raft__learn_from_vote(g, m);
    /* Same candidate twice: granted twice (E5). A raised term alone is not a grant (E9). A pre-vote
     * promises nothing, so only its term and log matter (thesis 9.6, E15). */
    can = g->vote == m->from || ((g->vote == 0 || RG_BUG(E9)) && g->leader == 0) ||
          (pre && m->term > g->term);
    can = can && !(RG_BUG(M4) && (raft__conf_voters(&g->conf) & raft__self_bit(g)) == 0);
    if (!can || !raft__log_up_to_date(&g->log, m->log_term, m->index)) {
        raft__respond(g,
                      (struct raft_msg){.type = answer,
                                        .to = m->from,
                                        .flags = RAFT_F_REJECT,
                                        .commit = g->commit,
                                        .commit_term = raft__log_term(&g->log, g->commit)});
        return;
    }
    if (pre) {
        raft__respond(g,
                      (struct raft_msg){.type = answer,
                                        .to = m->from,
                                        .term = m->term,
                                        .commit = g->commit,
                                        .commit_term = raft__log_term(&g->log, g->commit)});
        return;
    }
    g->vote = m->from;
    g->base = g->now;
    g->grant_owed = true; /* leaves when the record with this vote is durable (E2) */
    g->env->stats.votes_granted++;
}

void raft__handle_vote_answer(struct raft_group *g, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_M_PREVOTER && !(RG_BUG(E16) && g->role == RAFT_CANDIDATE);
    bool granted = (m->flags & RAFT_F_REJECT) == 0;
    raft_mask bit = raft__conf_bit(raft_conf_slot(&g->conf, m->from));

    raft__learn_from_vote(g, m);
    /* Of this election, of a member, and the first from it (E3, E4, E16). */
    if (g->role != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) ||
        (m->term != g->term + (pre && granted ? 1 : 0) && !RG_BUG(E3)) ||
        ((g->yes | g->no) & bit) != 0) {
        g->env->stats.messages_stale++;
        return;
    }
    if (granted) {
        g->yes |= bit;
    } else {
        g->no |= bit;
    }
    count_votes(g);
}

void raft__tick_follower(struct raft_group *g)
{
    if (!raft__is_promotable(g) || g->now < g->quarantine || g->now - g->base < g->timeout) {
        return;
    }
    g->base = g->now;
    if (raft__may_campaign(g) == FL_OK) {
        raft__campaign(g, false);
    }
}

void raft__check_quorum(struct raft_group *g)
{
    const struct raft_config *config = raft__config(g);
    bool heard = raft__quorum_has(&g->conf, g->active);
    bool stalled = config->disk_stall_ticks != 0 && g->seq != g->seq_acked &&
                   g->now - g->disk_since >= config->disk_stall_ticks;

    g->base = g->now;
    if ((config->check_quorum && !heard) || stalled) {
        g->env->stats.quorum_lost++;
        raft__become_follower(g, g->term, 0);
        return;
    }
    for (int i = 0; i < g->conf.n; i++) {
        /* A receiver silent for a whole period does not receive: ask again when it is back (N9). */
        if (g->peers[i].state == RAFT_SNAPSHOT && (g->active >> i & 1) == 0 && !RG_BUG(N9)) {
            raft__progress_become_probe(&g->peers[i]);
            g->peers[i].next = g->peers[i].match + 1;
            g->peers[i].paused = true;
        }
    }
    g->active = raft__self_bit(g);
    RG_BUG(T1) ? (void)0 : raft__abort_transfer(g); /* one election timeout is all it gets (T1) */
}
