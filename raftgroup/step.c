/* The dispatcher: one message, or the clock, to the file that knows what to do. */
#include "raftgroup/raft_internal.h"

/* ---- at the door (P8, P9) ---- */

static bool entries_are_sane(const struct raft_msg *m, const struct raft_ent *ents)
{
    raft_term term = m->log_term;

    if (m->nents > RAFT_APP_ENTS_MAX || ents == NULL) {
        return m->nents == 0;
    }
    for (uint32_t i = 0; i < m->nents; i++) {
        if (ents[i].term < term || ents[i].term == 0 || ents[i].type > RAFT_ENT_CONF) {
            return false;
        }
        term = ents[i].term;
    }
    return term <= m->term;
}

static bool
is_sane(const struct raft_group *g, const struct raft_msg *m, const struct raft_ent *ents)
{
    if (m->group != g->id || m->to != g->self || m->from == 0 || m->from == g->self) {
        return false;
    }
    if (m->type == 0 || m->type > RAFT_M_MAX || (m->flags & ~RAFT_F_ALL) != 0 || m->term == 0) {
        return false;
    }
    if (m->term > RAFT_VALUE_MAX || m->log_term > RAFT_VALUE_MAX || m->index > RAFT_VALUE_MAX ||
        m->commit > RAFT_VALUE_MAX || m->commit_term > RAFT_VALUE_MAX) {
        return false;
    }
    /* A snapshot of a later term than its sender's would make our log newer than our term (RG-5).
     */
    if (m->type == RAFT_M_SNAP && (m->index == 0 || m->log_term == 0 || m->log_term > m->term)) {
        return false;
    }
    if (m->type == RAFT_M_APPR && m->x > RAFT_VALUE_MAX) {
        return false;
    }
    return m->type == RAFT_M_APP ? entries_are_sane(m, ents) : m->nents == 0;
}

/* ---- terms: thesis 3.3 ---- */

static bool speaks_for_leader(const struct raft_msg *m)
{
    return m->type == RAFT_M_APP || m->type == RAFT_M_HB || m->type == RAFT_M_SNAP;
}

/* Answers of replicas outside the configuration count for nothing, not even by their term (E4,
 * M16). */
static bool is_answer(const struct raft_msg *m)
{
    return m->type == RAFT_M_APPR || m->type == RAFT_M_HBR || m->type == RAFT_M_VOTER ||
           m->type == RAFT_M_PREVOTER || m->type == RAFT_M_TIMEOUTNOWR || m->type == RAFT_M_READR;
}

static bool is_vote_request(const struct raft_msg *m)
{
    return m->type == RAFT_M_VOTE || m->type == RAFT_M_PREVOTE;
}

static bool is_vote_answer(const struct raft_msg *m)
{
    return m->type == RAFT_M_VOTER || m->type == RAFT_M_PREVOTER;
}

/* A message of a newer term; false = ignored. */
static bool meet_newer_term(struct raft_group *g, const struct raft_msg *m)
{
    if (is_vote_request(m) && raft__is_sticky(g, m)) {
        return false; /* thesis 4.2.3: a leader is alive (E24) */
    }
    if (m->type == RAFT_M_PREVOTE) {
        return true; /* nobody's term changes because of a question */
    }
    if (m->type == RAFT_M_PREVOTER && (RG_BUG(E14) || (m->flags & RAFT_F_REJECT) == 0)) {
        return true; /* it repeats the term we asked about */
    }
    raft__become_follower(g, m->term, speaks_for_leader(m) ? m->from : 0);
    return true;
}

/* A message of an older term is answered only where silence would last for ever. */
static void meet_older_term(struct raft_group *g, const struct raft_msg *m)
{
    const struct raft_config *config = raft__config(g);

    /* What is committed stays so in every term. A voter that became a learner may be the only one
     * to know, and refuses everybody whose log is shorter than its own (M5). */
    if (is_vote_request(m) || is_vote_answer(m)) {
        raft__learn_from_vote(g, m);
    }
    if (m->type == RAFT_M_READ) {
        raft__handle_read(g, m); /* a question has no term; its answer tells ours (R4) */
    } else if (!RG_BUG(E17) && speaks_for_leader(m) &&
               (config->check_quorum || config->pre_vote ||
                !raft__parity(g, RAFT_PARITY_OLD_LEADER))) {
        raft__answer_old_leader(g, m); /* frees a stranded peer: the old leader steps down (E17) */
    } else if (m->type == RAFT_M_PREVOTE) {
        /* A cohort of low terms must learn of ours, or loops (E12, E14). */
        raft__respond(
            g, (struct raft_msg){.type = RAFT_M_PREVOTER, .flags = RAFT_F_REJECT, .to = m->from});
    } else {
        g->env->stats.messages_stale++;
    }
}

/* ---- dispatch ---- */

/* APP, HB and SNAP of our term: their sender leads it, and nobody else does (thesis 3.6.3). */
static enum fl_status from_leader(struct raft_group *g,
                                  const struct raft_msg *m,
                                  const struct raft_ent *ents,
                                  raft_index *keep_lo,
                                  raft_index *keep_hi)
{
    if (g->role == RAFT_LEADER || (g->leader != 0 && g->leader != m->from)) {
        raft__freeze(g, "RG-3: two leaders in one term");
        return FL_FROZEN;
    }
    if (g->role != RAFT_FOLLOWER) {
        raft__become_follower(g, g->term, m->from);
    }
    if (m->type == RAFT_M_SNAP) {
        return raft__handle_snapshot(g, m);
    }
    if (m->type == RAFT_M_HB) {
        raft__handle_beat(g, m);
    } else {
        raft__handle_append(g, m, ents, keep_lo, keep_hi);
    }
    return FL_OK;
}

static enum fl_status to_leader(struct raft_group *g, const struct raft_msg *m)
{
    int slot = raft_conf_slot(&g->conf, m->from);

    if (g->role != RAFT_LEADER) {
        g->env->stats.messages_stale++;
        return FL_OK;
    }
    if (m->type == RAFT_M_APPR) {
        raft__handle_append_answer(g, m, slot);
    } else {
        raft__handle_beat_answer(g, m, slot);
    }
    return FL_OK;
}

static enum fl_status dispatch(struct raft_group *g,
                               const struct raft_msg *m,
                               const struct raft_ent *ents,
                               raft_index *keep_lo,
                               raft_index *keep_hi)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_M_APP:
    case RAFT_M_HB:
    case RAFT_M_SNAP:
        return from_leader(g, m, ents, keep_lo, keep_hi);
    case RAFT_M_APPR:
    case RAFT_M_HBR:
        return to_leader(g, m);
    case RAFT_M_VOTE:
    case RAFT_M_PREVOTE:
        raft__handle_vote(g, m);
        break;
    case RAFT_M_VOTER:
    case RAFT_M_PREVOTER:
        raft__handle_vote_answer(g, m);
        break;
    case RAFT_M_TIMEOUTNOW:
        raft__handle_timeout_now(g, m);
        break;
    case RAFT_M_TIMEOUTNOWR:
        raft__handle_timeout_now_answer(g, m);
        break;
    case RAFT_M_READ:
        raft__handle_read(g, m);
        break;
    case RAFT_M_XFER:
        raft__handle_transfer_request(g, m);
        break;
    case RAFT_M_READR: /* dealt with before its term */
    default:
        break;
    }
    return FL_OK;
}

/* Answers to the beat that put the group to sleep, and that beat again, let it sleep (Q1). */
static bool disturbs_sleep(const struct raft_msg *m)
{
    if (m->type == RAFT_M_HB) {
        return (m->flags & RAFT_F_QUIESCE) == 0;
    }
    return m->type != RAFT_M_HBR && (m->type != RAFT_M_APPR || (m->flags & RAFT_F_REJECT) != 0);
}

enum fl_status raft_step(struct raft_group *g,
                         uint64_t now,
                         const struct raft_msg *m,
                         const struct raft_ent *ents,
                         raft_index *keep_lo,
                         raft_index *keep_hi)
{
    enum fl_status status = FL_OK;

    *keep_lo = 1;
    *keep_hi = 0;
    FL_TRY(raft__enter(g, now));
    g->env->stats.messages_in++;
    if (!is_sane(g, m, ents)) {
        g->env->stats.messages_bad++;
        return raft__leave(g, FL_BAD_MESSAGE);
    }
    if (is_answer(m) && raft_conf_slot(&g->conf, m->from) < 0) {
        g->env->stats.messages_stale++;
        return raft__leave(g, FL_NOT_MEMBER);
    }
    if (m->type == RAFT_M_READR) {
        raft__handle_read_answer(g, m); /* before its term may fail what waits for it */
    }
    if (m->term < g->term && !(RG_BUG(E3) && m->type == RAFT_M_VOTER)) {
        meet_older_term(g, m);
        return raft__leave(g, m->type == RAFT_M_SNAP ? FL_STALE : FL_OK);
    }
    if (g->quiesced && disturbs_sleep(m)) {
        raft__wake(g);
    }
    if (m->term > g->term && !meet_newer_term(g, m)) {
        g->env->stats.messages_stale++;
    } else if (g->why == NULL) {
        status = dispatch(g, m, ents, keep_lo, keep_hi);
    }
    if (g->quiesced && g->role == RAFT_LEADER && !raft_can_quiesce(g)) {
        raft__wake(g);
    }
    return raft__leave(g, status);
}

/* ---- the clock ---- */

static void tick_leader(struct raft_group *g)
{
    uint64_t beat = raft__config(g)->heartbeat_ticks;

    if (g->now - g->base >= raft__config(g)->election_ticks) {
        raft__check_quorum(g);
        raft__maybe_leave_joint(g);
    }
    if (g->role == RAFT_LEADER && g->now >= g->next_beat) {
        g->beat_due = true;
        g->commit_flush = true;
        g->next_beat = (g->now / beat + 1) * beat; /* all groups of a node beat in the same turn */
    }
    if (g->role == RAFT_LEADER) {
        raft__defer_tick(g);
    }
}

enum fl_status raft_tick(struct raft_group *g, uint64_t now)
{
    FL_TRY(raft__enter(g, now));
    raft__reads_expire(g);
    if (!g->quiesced) {
        if (g->role == RAFT_LEADER) {
            tick_leader(g);
        } else {
            raft__tick_follower(g);
        }
    }
    return raft__leave(g, FL_OK);
}

uint64_t raft_deadline(const struct raft_group *g)
{
    uint64_t deadline = raft__reads_deadline(g);
    uint64_t at = RAFT_NEVER;

    if (g->why != NULL) {
        return RAFT_NEVER;
    }
    if (!g->quiesced && g->role == RAFT_LEADER) {
        at = g->base + raft__config(g)->election_ticks;
        at = g->next_beat < at ? g->next_beat : at;
        at = g->defer_until != 0 && g->defer_until < at ? g->defer_until : at;
    } else if (!g->quiesced && raft__is_promotable(g)) {
        at = g->base + g->timeout;
        at = at > g->quarantine ? at : g->quarantine;
    }
    return at < deadline ? at : deadline;
}

/* ---- small inputs ---- */

enum fl_status raft_campaign(struct raft_group *g, uint64_t now)
{
    enum fl_status status = FL_OK;

    FL_TRY(raft__enter(g, now));
    if (g->role != RAFT_LEADER) {
        status = raft__may_campaign(g);
        if (status == FL_OK) {
            raft__wake(g);
            raft__campaign(g, false);
        }
    }
    return raft__leave(g, status);
}

enum fl_status raft_forget_leader(struct raft_group *g, uint64_t now)
{
    FL_TRY(raft__enter(g, now));
    if (g->role == RAFT_FOLLOWER && g->leader != 0 && !raft__config(g)->lease_reads) {
        raft__wake(g);
        raft__unfollow(g);
    }
    return raft__leave(g, FL_OK);
}

enum fl_status raft_unreachable(struct raft_group *g, uint64_t now, raft_id peer)
{
    int slot = raft_conf_slot(&g->conf, peer);

    FL_TRY(raft__enter(g, now));
    if (g->role == RAFT_LEADER && slot >= 0 && peer != g->self &&
        g->peers[slot].state == RAFT_REPLICATE) {
        raft__progress_become_probe(&g->peers[slot]); /* no probe on its account: it just failed */
        raft__defer_lost(g, slot);
    }
    return raft__leave(g, FL_OK);
}

enum fl_status raft_fetched(struct raft_group *g, uint64_t now, raft_id peer)
{
    int slot = raft_conf_slot(&g->conf, peer);

    FL_TRY(raft__enter(g, now));
    if (g->role == RAFT_LEADER && slot >= 0 && g->peers[slot].fetching) {
        g->peers[slot].fetching = false;
        g->send_due = true;
    }
    return raft__leave(g, FL_OK);
}

enum fl_status raft_peer_alive(struct raft_group *g, uint64_t now, raft_id peer, uint64_t sent_at)
{
    int slot = raft_conf_slot(&g->conf, peer);

    FL_TRY(raft__enter(g, now));
    if (g->role == RAFT_LEADER && slot >= 0 && peer != g->self) {
        struct raft_progress *p = &g->peers[slot];

        g->active |= raft__conf_bit(slot);
        if (sent_at <= g->now && sent_at > p->stamp) {
            p->stamp = sent_at;
        }
    } else if (g->role == RAFT_FOLLOWER && g->leader == peer) {
        g->base = g->now;
    }
    return raft__leave(g, FL_OK);
}

enum fl_status raft_compacted(struct raft_group *g, raft_index upto)
{
    FL_TRY(raft__enter(g, 0));
    if (upto <= g->log.snap_index) {
        return raft__leave(g, FL_STALE);
    }
    if (upto > g->applied || upto > g->durable_commit) {
        g->commit_flush = true;              /* the record that makes it possible */
        return raft__leave(g, FL_NOT_READY); /* D6 */
    }
    raft__log_compact(&g->log, upto);
    return raft__leave(g, FL_OK);
}

/* ---- sleep ---- */

bool raft_can_quiesce(const struct raft_group *g)
{
    raft_index last = g->log.last;

    if (g->role != RAFT_LEADER || g->why != NULL || g->commit != last || g->applied != last ||
        g->durable != last || g->transferee != 0 || g->conf_at_n != 0 || g->conf.out != 0 ||
        g->reads != NULL || g->seq != g->seq_acked) {
        return false;
    }
    for (int i = 0; i < g->conf.n; i++) {
        if (g->conf.id[i] != g->self && g->peers[i].match != last) {
            return false;
        }
    }
    return true;
}

enum fl_status raft_quiesce(struct raft_group *g, uint64_t now)
{
    enum fl_status status = FL_OK;

    FL_TRY(raft__enter(g, now));
    if (g->role != RAFT_LEADER) {
        status = FL_NOT_LEADER;
    } else if (!raft_can_quiesce(g)) {
        status = FL_NOT_READY;
    } else if (!g->quiesced) {
        g->quiesce_due = true;
        g->beat_due = true;
        g->commit_flush = true;
        for (int i = 0; i < g->conf.n; i++) {
            raft__progress_relax(&g->peers[i]);
        }
    }
    return raft__leave(g, status);
}

enum fl_status raft_wake(struct raft_group *g, uint64_t now)
{
    FL_TRY(raft__enter(g, now));
    raft__wake(g);
    return raft__leave(g, FL_OK);
}
