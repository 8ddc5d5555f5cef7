/* Log replication: thesis 3.5, 3.6.2, 10.2.1 and the hints of 5.3. */
#include "raftgroup/raft_internal.h"

/* ---- leader: commit and append ---- */

void raft__commit_to(struct raft_group *g, raft_index commit)
{
    if (commit <= g->commit && !RG_BUG(C4)) {
        return; /* never back, whatever arrives (C4) */
    }
    if (commit > g->log.last) {
        raft__freeze(g, "RG-2: commit would pass the end of the log");
        return;
    }
    g->commit = commit;
    if (g->ndoubt > 0) {
        raft__settle_doubt(g);
    }
}

bool raft__maybe_commit(struct raft_group *g)
{
    uint64_t match[RAFT_MEMBERS_MAX] = {0};
    raft_index commit;

    for (int i = 0; i < g->conf.n; i++) {
        /* The own copy counts when it is durable, like everybody else's (C18). */
        match[i] = g->conf.id[i] == g->self ? g->durable : g->peers[i].match;
        match[i] = RG_BUG(C18) && g->conf.id[i] == g->self ? g->log.last : match[i];
    }
    commit = raft__quorum_value(&g->conf, match);
    /* Only entries of the own term commit by counting (thesis 3.6.2, C1); terms never fall along
     * the log, so nothing below could commit either (C2). */
    if (commit == UINT64_MAX || commit <= g->commit ||
        (raft__log_term(&g->log, commit) != g->term && !RG_BUG(C1))) {
        return false;
    }
    raft__commit_to(g, commit);
    g->send_due = true;
    raft__reads_advance(g, false);
    raft__maybe_leave_joint(g);
    return true;
}

enum fl_status raft__may_propose(const struct raft_group *g)
{
    if (g->role != RAFT_LEADER) {
        return g->leader != 0 ? FL_NOT_LEADER : FL_NO_LEADER;
    }
    if (raft__self_slot(g) < 0) {
        return FL_NOT_MEMBER;
    }
    return g->transferee != 0 ? FL_TRANSFERRING : FL_OK;
}

void raft__append_own(struct raft_group *g, uint64_t n, uint64_t bytes)
{
    raft__log_append(&g->log, g->term, n);
    g->own_hi = g->log.last;
    g->uncommitted += bytes;
    g->send_due = true;
}

void raft__append_made(struct raft_group *g, enum raft_ent_type type)
{
    fl_assert(g->nmade < sizeof(g->made) / sizeof(g->made[0]));
    raft__append_own(g, 1, 0);
    g->made[g->nmade++] =
        (struct raft_made){.index = g->log.last, .term = g->term, .type = (uint8_t)type};
}

enum fl_status raft_propose(struct raft_group *g,
                            uint64_t now,
                            const struct raft_ent *ents,
                            uint32_t n,
                            raft_index *first,
                            raft_term *term)
{
    uint64_t cap = g->env->config.max_uncommitted_bytes;
    uint64_t bytes = 0;
    enum fl_status status;

    FL_TRY(raft__enter(g, now));
    status = raft__may_propose(g);
    fl_assert(n > 0);
    for (uint32_t i = 0; i < n; i++) {
        fl_assert(ents[i].type == RAFT_ENT_NORMAL);
        bytes += ents[i].len;
    }
    /* A single proposal always passes an empty pipe, however large (C28). */
    if (status == FL_OK && cap != 0 && g->uncommitted > 0 && bytes > 0 &&
        g->uncommitted + bytes > cap) {
        status = FL_QUOTA;
    }
    if (status == FL_OK) {
        RG_BUG(Q1) ? (void)0 : raft__wake(g);
        *first = g->log.last + 1;
        *term = g->term;
        raft__append_own(g, n, bytes);
    }
    return raft__leave(g, status);
}

/* ---- leader: sending ---- */

/* Sends one append, or nothing; true when it carried entries, so that another may follow. */
static bool send_append(struct raft_group *g, int slot)
{
    const struct raft_config *config = raft__config(g);
    struct raft_progress *p = &g->peers[slot];
    raft_index prev = p->next - 1;
    raft_index hi = g->log.last;
    uint64_t bytes = 0;
    uint32_t n = 0;
    bool tell_commit = g->commit > p->sent_commit && p->sent_commit < prev;
    bool entries = p->next <= hi && !p->fetching &&
                   (p->state == RAFT_PROBE || !raft__progress_is_full(p, &g->env->window));

    if (raft__progress_is_paused(p)) {
        return false;
    }
    if (prev < g->log.snap_index && !RG_BUG(C12)) {
        raft__offer_snapshot(g, slot); /* its next entry is gone (C12, N10) */
        return false;
    }
    if ((!entries && !p->owed && !tell_commit) || raft__defer_waits(g, slot, entries)) {
        return false;
    }
    if (entries) {
        hi = hi - prev > config->max_msg_ents ? prev + config->max_msg_ents : hi;
        n = g->env->ops.fit(g->user, p->next, hi, config->max_msg_bytes, &bytes);
        fl_assert(n <= hi - prev);
        if (n == 0) {
            p->fetching = true;
            bytes = 0;
            g->env->fetches[g->env->nfetches++] =
                (struct raft_fetch){.peer = g->conf.id[slot], .lo = p->next, .hi = hi};
        }
    }
    if (n == 0 && !p->owed && !tell_commit) {
        return false;
    }
    raft__emit(g,
               (struct raft_msg){.type = RAFT_M_APP,
                                 .to = g->conf.id[slot],
                                 .index = prev,
                                 .log_term = raft__log_term(&g->log, prev),
                                 .commit = g->commit,
                                 .nents = n,
                                 .bytes = bytes});
    raft__progress_sent(p, n, bytes, &g->env->window);
    p->sent_commit = g->commit > p->sent_commit ? g->commit : p->sent_commit;
    raft__defer_sent(g, slot, n > 0);
    return n > 0;
}

void raft__send_appends(struct raft_group *g)
{
    g->send_due = false;
    raft__defer_choose(g);
    for (int i = 0; i < g->conf.n; i++) {
        while (g->conf.id[i] != g->self && send_append(g, i)) {
        }
    }
}

void raft__send_beats(struct raft_group *g)
{
    uint8_t flags = g->quiesce_due ? RAFT_F_QUIESCE : 0;

    for (int i = 0; i < g->conf.n; i++) {
        raft_index commit = g->peers[i].match < g->commit ? g->peers[i].match : g->commit;

        commit = RG_BUG(C3_BEAT) ? g->commit : commit;

        if (g->conf.id[i] == g->self) {
            continue;
        }
        /* Commit travels with its term, so it may be believed without knowing the sender's mind: a
         * follower that restarted catches up without an append (C3). */
        raft__emit(g,
                   (struct raft_msg){.type = RAFT_M_HB,
                                     .flags = flags,
                                     .to = g->conf.id[i],
                                     .commit = commit,
                                     .commit_term = raft__log_term(&g->log, commit),
                                     .x = g->round,
                                     .stamp = g->now});
    }
    g->beat_due = false;
    if (g->quiesce_due) {
        g->quiesce_due = false;
        g->quiesced = true;
    }
}

/* ---- follower ---- */

void raft__owe_ack(struct raft_group *g, raft_index index)
{
    g->verified = g->verified > index ? g->verified : index;
    g->ack_want = g->ack_want > index ? g->ack_want : index;
    g->ack_owed = true;
}

bool raft__ack_ready(const struct raft_group *g, raft_index *index)
{
    *index = g->durable < g->verified && !RG_BUG(E2_ACK) ? g->durable : g->verified;
    return g->ack_owed && g->leader != 0 && g->role == RAFT_FOLLOWER &&
           g->durable_term == g->term && (*index >= g->ack_want || *index > g->acked);
}

static void reject_append(struct raft_group *g, const struct raft_msg *m)
{
    raft_term hint_term;
    raft_index hint = m->index < g->log.last ? m->index : g->log.last;

    hint = raft__log_find_by_term(&g->log, hint, m->log_term, &hint_term);
    g->env->stats.append_rejects++;
    raft__respond(g,
                  (struct raft_msg){.type = RAFT_M_APPR,
                                    .flags = RAFT_F_REJECT,
                                    .to = m->from,
                                    .index = m->index,
                                    .x = hint,
                                    .log_term = hint_term,
                                    .commit = g->commit});
}

/* Appends ents[at..n) behind the current end, one run at a time. */
static void
append_entries(struct raft_group *g, const struct raft_ent *ents, uint32_t at, uint32_t n)
{
    while (at < n) {
        uint32_t end = at;

        for (; end < n && ents[end].term == ents[at].term; end++) {
            if (ents[end].type == RAFT_ENT_CONF) {
                raft__conf_note(g, g->log.last + 1 + (end - at));
            }
        }
        raft__log_append(&g->log, ents[at].term, end - at);
        at = end;
    }
}

/* First entry from ents[i] on that the log does not already hold; nents if none. Entries behind it
 * are dropped only because of a real conflict (C9). */
static uint32_t first_new(const struct raft_group *g,
                          const struct raft_msg *m,
                          const struct raft_ent *e,
                          uint32_t i)
{
    while (!RG_BUG(C9) && i < m->nents && raft__log_matches(&g->log, m->index + 1 + i, e[i].term)) {
        i++;
    }
    return i;
}

/* The message begins before our commit point: what is committed is in the log of every later
 * leader, so only the rest is news (C10). Returns how many entries to skip. */
static uint32_t
skip_committed(struct raft_group *g, const struct raft_msg *m, const struct raft_ent *e)
{
    uint64_t skip = g->commit - m->index;
    uint32_t n = skip < m->nents ? (uint32_t)skip : m->nents;
    raft_index end = m->index + n;

    if (n > 0 && end >= g->log.snap_index && e[n - 1].term != raft__log_term(&g->log, end)) {
        raft__freeze(g, "RG-6: a leader lacks a committed entry"); /* C13 */
    }
    return n;
}

void raft__handle_append(struct raft_group *g,
                         const struct raft_msg *m,
                         const struct raft_ent *ents,
                         raft_index *keep_lo,
                         raft_index *keep_hi)
{
    raft_index end = m->index + m->nents;
    uint32_t at;

    raft__follow(g, m->from);
    if (m->index < g->commit && !RG_BUG(C10)) {
        at = skip_committed(g, m, ents);
        end = end > g->commit ? end : g->commit;
    } else if (!raft__log_matches(&g->log, m->index, m->log_term)) {
        reject_append(g, m);
        return;
    } else {
        at = 0;
    }
    at = g->why == NULL ? first_new(g, m, ents, at) : m->nents;
    if (at < m->nents) {
        raft_index from = m->index + 1 + at;

        if (from <= g->log.last) {
            raft__truncate(g, from);
        }
        if (g->why == NULL) {
            append_entries(g, ents, at, m->nents);
            *keep_lo = from;
            *keep_hi = end;
        }
    }
    if (g->why == NULL) {
        raft__owe_ack(g, RG_BUG(C5) ? g->log.last : end);
        /* Never beyond what this very message proved equal (C3). */
        end = RG_BUG(C3) ? g->log.last : end;
        raft__commit_to(g, m->commit < end ? m->commit : end);
    }
}

void raft__handle_beat(struct raft_group *g, const struct raft_msg *m)
{
    raft__follow(g, m->from);
    raft__learn_commit(g, m->commit, m->commit_term);
    g->commit_flush = true;
    raft__respond(
        g,
        (struct raft_msg){
            .type = RAFT_M_HBR, .to = m->from, .commit = g->commit, .x = m->x, .stamp = m->stamp});
    if ((m->flags & RAFT_F_QUIESCE) != 0 && m->commit == g->log.last && g->commit == g->log.last &&
        !raft__conf_unapplied(g)) {
        g->quiesced = true;
    }
}

void raft__answer_old_leader(struct raft_group *g, const struct raft_msg *m)
{
    raft__respond(g, (struct raft_msg){.type = RAFT_M_APPR, .flags = RAFT_F_REJECT, .to = m->from});
}

/* ---- leader: answers ---- */

static void append_refused(struct raft_group *g, const struct raft_msg *m, struct raft_progress *p)
{
    raft_index hint = m->x;
    raft_term unused;

    /* Both sides skip whole terms, so a divergent tail costs one probe per term at most (C14). */
    if (m->log_term != 0) {
        hint = raft__log_find_by_term(&g->log, m->x, m->log_term, &unused);
    }
    (void)(RG_BUG(C8) && hint <= g->log.last && raft__progress_ack(p, hint));
    if (raft__progress_reject(p, m->index, hint)) {
        if (p->state == RAFT_REPLICATE) {
            raft__progress_become_probe(p);
        }
        p->owed = true;
    }
}

static void append_accepted(struct raft_group *g, const struct raft_msg *m, struct raft_progress *p)
{
    bool news = raft__progress_ack(p, m->index);

    if (!news && !(p->match == m->index && p->state == RAFT_PROBE)) {
        return; /* late or duplicate (C6) */
    }
    switch ((enum raft_peer_state)p->state) {
    case RAFT_PROBE:
        raft__progress_become_replicate(p); /* also when nothing new had to be sent (C22) */
        break;
    case RAFT_SNAPSHOT:
        /* Any snapshot that reconnects it to our log will do (N12). */
        if (p->match >= g->log.snap_index) {
            raft__progress_become_replicate(p);
        }
        break;
    case RAFT_REPLICATE:
    default:
        raft__progress_free_to(p, m->index);
        raft__defer_acked(g, p);
        break;
    }
    (void)raft__maybe_commit(g);
    raft__transfer_progress(g, p, m->from);
}

void raft__handle_append_answer(struct raft_group *g, const struct raft_msg *m, int slot)
{
    struct raft_progress *p = &g->peers[slot];

    g->active |= raft__conf_bit(slot);
    g->send_due = true;
    if ((m->flags & RAFT_F_REJECT) != 0) {
        append_refused(g, m, p);
    } else if (m->index > g->log.last) {
        g->env->stats.messages_bad++; /* nobody of this term can hold more than its leader (P8) */
    } else {
        append_accepted(g, m, p);
    }
}

void raft__handle_beat_answer(struct raft_group *g, const struct raft_msg *m, int slot)
{
    struct raft_progress *p = &g->peers[slot];

    if (m->x > g->round || m->stamp > g->now) {
        g->env->stats.messages_bad++; /* an echo of what was never said (P8) */
        return;
    }
    g->active |= raft__conf_bit(slot);
    p->paused = RG_BUG(C19) ? p->paused : false; /* what was in flight may be lost: try one (C19) */
    p->round = m->x > p->round ? m->x : p->round;
    p->stamp = RG_BUG(R6) ? g->now : m->stamp > p->stamp ? m->stamp : p->stamp;
    if (p->match < g->log.last || p->state == RAFT_PROBE) {
        p->owed = true;
        g->send_due = true;
    }
    raft__reads_advance(g, true);
}
