/* What a turn sends, writes, applies and answers; and what comes back from disk and machine.
 *
 * This file is the gate of design 4.5: nothing reaches raft_ready.msgs before it may leave.
 *
 *   APP, HB, TIMEOUTNOW   at once: a leader's term is durable before it leads (RG-4)
 *   PREVOTE, READ         at once: they promise nothing
 *   VOTE                  when the own vote is durable (E26)
 *   VOTER grant           when that vote is durable (E2)
 *   APPR success          when the entries are durable
 *   all other answers     when the term they reveal is durable */
#include "raftgroup/base/alloc.h"
#include "raftgroup/raft_internal.h"

#include <stdlib.h>

/* ---- messages ---- */

void raft__emit(struct raft_group *g, struct raft_msg m)
{
    struct raft_env *env = g->env;

    fl_grow(&env->msgs, &env->msgs_capacity, env->nmsgs + 1U, sizeof(*env->msgs));
    m.group = g->id;
    m.from = m.from != 0 ? m.from : g->self;
    m.term = m.term != 0 ? m.term : g->term;
    env->msgs[env->nmsgs++] = m;
}

void raft__respond(struct raft_group *g, struct raft_msg m)
{
    struct raft_env *env = g->env;

    if (g->out == NULL) {
        if (env->free_out != NULL) {
            g->out = env->free_out;
            env->free_out = g->out->next_free;
        } else {
            g->out = fl_xmalloc(sizeof(*g->out));
        }
        g->out->n = 0;
    }
    if (g->out->n == RAFT_OUT_MAX) {
        env->stats.messages_dropped++;
        return;
    }
    m.term = m.term != 0 ? m.term : g->term;
    g->out->m[g->out->n++] = m;
}

void raft__release_out(struct raft_group *g)
{
    if (g->out != NULL) {
        g->out->next_free = g->env->free_out;
        g->env->free_out = g->out;
        g->out = NULL;
    }
}

static bool term_is_durable(const struct raft_group *g)
{
    return g->durable_term == g->term;
}

static bool out_ready(const struct raft_group *g)
{
    return g->out != NULL && g->out->n > 0 && term_is_durable(g);
}

static bool grant_ready(const struct raft_group *g)
{
    return g->grant_owed && (RG_BUG(E2) || (term_is_durable(g) && g->durable_vote == g->vote));
}

static bool votes_ready(const struct raft_group *g)
{
    return g->votes_due && (RG_BUG(E26) || g->role == RAFT_PRECANDIDATE || g->self_voted);
}

static void send_votes(struct raft_group *g)
{
    bool pre = g->role == RAFT_PRECANDIDATE;
    raft_mask voters = raft__conf_voters(&g->conf);

    g->votes_due = false;
    for (int i = 0; i < g->conf.n; i++) {
        if ((voters >> i & 1) == 0 || g->conf.id[i] == g->self) {
            continue;
        }
        raft__emit(g,
                   (struct raft_msg){.type = pre ? RAFT_M_PREVOTE : RAFT_M_VOTE,
                                     .flags = g->transfer_vote ? RAFT_F_TRANSFER : 0,
                                     .to = g->conf.id[i],
                                     .term = g->term + (pre ? 1 : 0),
                                     .index = g->log.last,
                                     .log_term = raft__log_last_term(&g->log),
                                     .commit = g->commit,
                                     .commit_term = raft__log_term(&g->log, g->commit)});
    }
}

static void send_grant(struct raft_group *g)
{
    g->grant_owed = false;
    raft__emit(g,
               (struct raft_msg){.type = RAFT_M_VOTER,
                                 .to = g->vote,
                                 .commit = g->commit,
                                 .commit_term = raft__log_term(&g->log, g->commit)});
}

/* One acknowledgement for however many appends became durable together (decision 7). */
static void send_ack(struct raft_group *g, raft_index index)
{
    g->ack_owed = index < g->ack_want;
    g->acked = g->acked > index ? g->acked : index;
    raft__emit(g,
               (struct raft_msg){
                   .type = RAFT_M_APPR, .to = g->leader, .index = index, .commit = g->commit});
}

static bool transfer_ready(const struct raft_group *g)
{
    int slot = raft_conf_slot(&g->conf, g->transferee);

    return g->timeout_now_due && slot >= 0 && g->peers[slot].match == g->log.last;
}

static void collect_messages(struct raft_group *g)
{
    raft_index index;

    if (g->role == RAFT_LEADER) {
        raft__reads_start_round(g);
        if (g->send_due) {
            raft__send_appends(g);
        }
        if (g->beat_due) {
            raft__send_beats(g);
        }
        if (transfer_ready(g)) {
            raft__send_timeout_now(g);
        }
    } else if (g->leader != 0) {
        raft__reads_send_forward(g);
    }
    if (votes_ready(g)) {
        send_votes(g);
    }
    if (grant_ready(g)) {
        send_grant(g);
    }
    if (raft__ack_ready(g, &index)) {
        send_ack(g, index);
    }
    if (out_ready(g)) {
        for (uint32_t i = 0; i < g->out->n; i++) {
            raft__emit(g, g->out->m[i]);
        }
        raft__release_out(g);
    }
}

/* ---- persist records ---- */

static bool hard_state_changed(const struct raft_group *g)
{
    return g->term != g->issued_term || g->vote != g->issued_vote;
}

static bool record_must_sync(const struct raft_group *g)
{
    return hard_state_changed(g) || g->snap_unissued || g->trunc_from != 0 ||
           g->issued < g->log.last;
}

/* Commit alone is not worth a write of its own: it rides on the next record, or goes with a beat
 * when the group falls silent (D13). It may lag after a crash (D9). */
static bool commit_alone(const struct raft_group *g)
{
    return g->commit_flush && g->commit != g->issued_commit && g->seq == g->seq_acked;
}

static bool record_ready(const struct raft_group *g)
{
    return g->seq - g->seq_acked < RAFT_PERSIST_DEPTH && (record_must_sync(g) || commit_alone(g));
}

static const struct raft_persist *take_record(struct raft_group *g)
{
    struct raft_persist *p = &g->env->persist;

    *p = (struct raft_persist){.seq = g->seq + 1,
                               .snapshot = g->snap_unissued,
                               .snap_index = g->snap_unissued ? g->log.snap_index : 0,
                               .snap_term = g->snap_unissued ? g->log.snap_term : 0,
                               .trunc_from = g->trunc_from,
                               .lo = g->issued + 1,
                               .hi = g->log.last,
                               .term = g->term,
                               .vote = g->vote,
                               .commit = g->commit,
                               .must_sync = record_must_sync(g)};
    g->disk_since = g->seq == g->seq_acked ? g->now : g->disk_since;
    g->seq++;
    g->ring[g->seq % RAFT_PERSIST_DEPTH] = (struct raft_record){.hi = g->log.last,
                                                                .snap = p->snap_index,
                                                                .commit = p->commit,
                                                                .term = p->term,
                                                                .vote = p->vote};
    g->issued = g->log.last;
    g->issued_term = g->term;
    g->issued_vote = g->vote;
    g->issued_commit = g->commit;
    g->trunc_from = 0;
    g->snap_unissued = false;
    g->commit_flush = false;
    return p;
}

enum fl_status raft_persisted(struct raft_group *g, uint64_t now, uint64_t seq)
{
    FL_TRY(raft__enter(g, now));
    fl_assert(seq <= g->seq);
    if (seq <= g->seq_acked) {
        return raft__leave(g, FL_STALE); /* cumulative: order of answers does not matter (D3) */
    }
    while (g->seq_acked < seq) {
        const struct raft_record *record = &g->ring[++g->seq_acked % RAFT_PERSIST_DEPTH];

        g->durable = record->hi > g->durable ? record->hi : g->durable;
        g->durable_term = record->term;
        g->durable_vote = record->vote;
        g->durable_commit = record->commit > g->durable_commit ? record->commit : g->durable_commit;
        if (record->snap != 0) {
            raft__snapshot_durable(g, record->snap);
        }
    }
    g->disk_since = g->now;
    if (g->role == RAFT_CANDIDATE && !g->self_voted && term_is_durable(g) &&
        g->durable_vote == g->self) {
        raft__self_vote_durable(g);
    }
    if (g->role == RAFT_LEADER) {
        (void)raft__maybe_commit(g);
    }
    return raft__leave(g, FL_OK);
}

void raft_persist_failed(struct raft_group *g, uint64_t seq)
{
    (void)seq;
    if (g->why == NULL) {
        raft__freeze(g, "RG-16: the store failed to write"); /* D12 */
    }
}

/* ---- applying ---- */

/* Committed and durable here, up to the window and to the next change of membership (decision 9).
 */
static raft_index apply_end(const struct raft_group *g)
{
    raft_index end = RG_BUG(C18_APPLY) || g->commit < g->durable ? g->commit : g->durable;
    raft_index window = g->applied + raft__config(g)->max_apply_ents;

    if (g->snap_installing) {
        return g->applying;
    }
    if (g->conf_at_n > 0 && g->conf_at[0] < end) {
        end = g->conf_at[0];
    }
    end = end < window ? end : window;
    return end > g->applying ? end : g->applying;
}

enum fl_status raft_applied(struct raft_group *g, uint64_t now, raft_index upto, uint64_t bytes)
{
    FL_TRY(raft__enter(g, now));
    if (upto <= g->applied) {
        return raft__leave(g, FL_STALE);
    }
    fl_assert(upto <= g->applying);
    if (g->conf_at_n > 0 && g->conf_at[0] <= upto) {
        raft__freeze(g, "RG-11: applied past a membership change that was not put in force");
        return FL_FROZEN;
    }
    g->applied = upto;
    g->uncommitted -= RG_BUG(C21) ? 0 : bytes < g->uncommitted ? bytes : g->uncommitted; /* C21 */
    raft__maybe_leave_joint(g);
    return raft__leave(g, FL_OK);
}

/* ---- ready ---- */

static bool soft_changed(const struct raft_group *g)
{
    return g->soft_term != g->term || g->soft_leader != g->leader || g->soft_role != g->role;
}

bool raft_has_ready(const struct raft_group *g)
{
    raft_index index;

    if (g->why != NULL) {
        return false;
    }
    if (g->role == RAFT_LEADER && (g->send_due || g->beat_due || transfer_ready(g))) {
        return true;
    }
    return record_ready(g) || apply_end(g) > g->applying || raft__ack_ready(g, &index) ||
           out_ready(g) || g->nmade > 0 || raft__reads_have_ready(g) || votes_ready(g) ||
           grant_ready(g) || g->nlost > 0 || soft_changed(g);
}

enum fl_status raft_ready_get(struct raft_group *g, struct raft_ready *out)
{
    struct raft_env *env = g->env;

    fl_assert(env->ready_of == NULL);
    *out = (struct raft_ready){0};
    if (g->why != NULL) {
        return FL_FROZEN;
    }
    env->ready_of = g;
    env->nmsgs = 0;
    env->nfetches = 0;
    env->nreads = 0;
    env->nmade = g->nmade;
    for (uint32_t i = 0; i < g->nmade; i++) {
        env->made[i] = g->made[i];
    }
    g->nmade = 0;
    collect_messages(g);
    raft__reads_take_ready(g);
    env->stats.messages_out += env->nmsgs;
    *out = (struct raft_ready){.made = env->made,
                               .nmade = env->nmade,
                               .msgs = env->msgs,
                               .nmsgs = env->nmsgs,
                               .persist = record_ready(g) ? take_record(g) : NULL,
                               .apply_lo = g->applying + 1,
                               .apply_hi = apply_end(g),
                               .reads = env->reads,
                               .nreads = env->nreads,
                               .lost = g->lost,
                               .nlost = g->nlost,
                               .fetches = env->fetches,
                               .nfetches = env->nfetches,
                               .term = g->term,
                               .leader = g->leader,
                               .role = g->role,
                               .soft_changed = soft_changed(g)};
    g->applying = out->apply_hi;
    g->soft_term = g->term;
    g->soft_leader = g->leader;
    g->soft_role = g->role;
    return FL_OK;
}

void raft_ready_done(struct raft_group *g)
{
    if (g->env->ready_of != g) {
        return; /* frozen: nothing was handed out */
    }
    g->env->ready_of = NULL;
    free(g->lost);
    g->lost = NULL;
    g->nlost = 0;
}
