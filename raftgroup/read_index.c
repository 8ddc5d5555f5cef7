/* Linearizable reads without a log entry: thesis 6.4, by counted rounds.
 *
 * A read remembers the commit point of its arrival (R3) and joins the round that STARTS at the next
 * ready; heartbeats carry the newest round and answers echo it, so an answer to round r confirms
 * every read of a round <= r and none that came later (R2). Nothing is answered before an entry of
 * the own term is committed (R1). Every read ends in exactly one answer, ok or not (R4).
 *
 *   leader     TERM -> NEW -> ROUND -> DONE (local) or READR (a follower asked)
 *   follower   FORWARD -> ASKED -> DONE
 *   both       -> FAILED on loss of role or leader; ASKED also after an election timeout */
#include "raftgroup/base/alloc.h"
#include "raftgroup/raft_internal.h"

#include <stdlib.h>

static void answer_remote(struct raft_group *g, const struct raft_pending_read *r, bool ok)
{
    if (!ok && raft__parity(g, RAFT_PARITY_READS)) {
        return;
    }
    raft__respond(g,
                  (struct raft_msg){.type = RAFT_M_READR,
                                    .flags = ok ? 0 : RAFT_F_REJECT,
                                    .to = r->from,
                                    .index = ok ? r->index : 0,
                                    .x = r->ctx});
}

/* Ends r; true when it leaves the list at once because the asker is remote. */
static bool finish(struct raft_group *g, struct raft_pending_read *r, bool ok)
{
    if (!ok) {
        g->env->stats.reads_failed++;
    }
    if (r->from != g->self) {
        answer_remote(g, r, ok);
        return true;
    }
    r->state = ok ? RAFT_READ_DONE : RAFT_READ_FAILED;
    return false;
}

/* Local reads under a lease need no round; the caller still compares its clock afterwards (R6). */
static bool lease_suffices(const struct raft_group *g)
{
    if (!raft__config(g)->lease_reads) {
        return false;
    }
    if (raft__parity(g, RAFT_PARITY_LEASE_ROLE)) {
        return raft__config(g)->check_quorum;
    }
    return raft_lease_valid(g, g->now);
}

/* The replica alone is a quorum. */
static bool alone(const struct raft_group *g)
{
    if (raft__parity(g, RAFT_PARITY_READS)) {
        return g->conf.out == 0 && (g->conf.in & (g->conf.in - 1)) == 0;
    }
    return raft__quorum_has(&g->conf, raft__self_bit(g));
}

/* Takes r as far as it gets now; true when it left the list. */
static bool advance_one(struct raft_group *g, struct raft_pending_read *r, uint64_t confirmed)
{
    if (r->state == RAFT_READ_TERM && (RG_BUG(R1) || raft__own_term_committed(g))) {
        r->index = RG_BUG(R3) ? g->applied : g->commit;
        r->state = RAFT_READ_NEW;
    }
    if (r->state == RAFT_READ_NEW && (lease_suffices(g) || alone(g))) {
        return finish(g, r, true);
    }
    return r->state == RAFT_READ_ROUND && r->round <= confirmed && finish(g, r, true);
}

void raft__reads_advance(struct raft_group *g, bool heard)
{
    uint64_t rounds[RAFT_MEMBERS_MAX] = {0};
    uint64_t confirmed;
    uint32_t kept = 0;

    if (g->reads == NULL || g->role != RAFT_LEADER) {
        return;
    }
    for (int i = 0; i < g->conf.n; i++) {
        rounds[i] = g->conf.id[i] == g->self ? g->round : g->peers[i].round;
    }
    confirmed =
        heard || !raft__parity(g, RAFT_PARITY_READS) ? raft__quorum_value(&g->conf, rounds) : 0;
    for (uint32_t i = 0; i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];

        if (!advance_one(g, r, confirmed)) {
            g->reads->r[kept++] = *r;
        }
    }
    g->reads->n = kept;
}

void raft__reads_fail(struct raft_group *g)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];
        bool ended = r->state == RAFT_READ_DONE || r->state == RAFT_READ_FAILED;

        if (ended || !(RG_BUG(R4_SILENT) || finish(g, r, RG_BUG(R4)))) {
            g->reads->r[kept++] = *r;
        }
    }
    if (g->reads != NULL) {
        g->reads->n = kept;
    }
}

static struct raft_reads *take_block(struct raft_env *env)
{
    struct raft_reads *block = env->free_reads;

    if (block == NULL) {
        return fl_xmalloc(sizeof(*block));
    }
    env->free_reads = block->next_free;
    env->nfree_reads--;
    return block;
}

void raft__release_reads(struct raft_group *g)
{
    struct raft_env *env = g->env;

    if (g->reads != NULL && env->nfree_reads < RAFT_FREE_READS_MAX) {
        g->reads->next_free = env->free_reads;
        env->free_reads = g->reads;
        env->nfree_reads++;
    } else {
        free(g->reads);
    }
    g->reads = NULL;
}

/* Room for one more, or NULL. */
static struct raft_pending_read *add(struct raft_group *g, uint64_t ctx, raft_id from)
{
    struct raft_pending_read *r;

    if (g->reads == NULL) {
        g->reads = take_block(g->env);
        g->reads->n = 0;
    }
    if (g->reads->n == RAFT_READS_MAX) {
        return NULL;
    }
    r = &g->reads->r[g->reads->n++];
    *r = (struct raft_pending_read){.ctx = ctx, .from = from, .state = RAFT_READ_FORWARD};
    return r;
}

/* Leader: takes a read on; false when there is no room. */
static bool add_at_leader(struct raft_group *g, uint64_t ctx, raft_id from)
{
    struct raft_pending_read *r = add(g, ctx, from);

    if (r == NULL) {
        return false;
    }
    r->state = RAFT_READ_TERM;
    raft__reads_advance(g, false);
    return true;
}

static bool refuses_reads(const struct raft_group *g)
{
    return g->transferee != 0 && !raft__parity(g, RAFT_PARITY_TRANSFER_READS) && !RG_BUG(R5);
}

enum fl_status raft_read_index(struct raft_group *g, uint64_t now, uint64_t ctx)
{
    enum fl_status status = FL_OK;

    FL_TRY(raft__enter(g, now));
    if (g->leader == 0) {
        status = FL_NO_LEADER;
    } else if (g->role == RAFT_LEADER) {
        if (refuses_reads(g)) {
            status = FL_TRANSFERRING;
        } else {
            raft__wake(g);
            status = add_at_leader(g, ctx, g->self) ? FL_OK : FL_TOO_MANY;
        }
    } else {
        raft__wake(g);
        status = add(g, ctx, g->self) != NULL ? FL_OK : FL_TOO_MANY;
    }
    return raft__leave(g, status);
}

void raft__handle_read(struct raft_group *g, const struct raft_msg *m)
{
    struct raft_pending_read asked = {.ctx = m->x, .from = m->from};

    if (g->role != RAFT_LEADER && raft__parity(g, RAFT_PARITY_READS)) {
        if (g->leader != 0) {
            raft__respond(g,
                          (struct raft_msg){
                              .type = RAFT_M_READ, .from = m->from, .to = g->leader, .x = m->x});
        }
    } else if (g->role != RAFT_LEADER || refuses_reads(g) || !add_at_leader(g, m->x, m->from)) {
        answer_remote(g, &asked, false);
    }
}

void raft__handle_read_answer(struct raft_group *g, const struct raft_msg *m)
{
    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];

        if (r->state == RAFT_READ_ASKED && r->ctx == m->x) {
            r->index = m->index;
            (void)finish(g, r, (m->flags & RAFT_F_REJECT) == 0);
            return;
        }
    }
    g->env->stats.messages_stale++;
}

void raft__reads_start_round(struct raft_group *g)
{
    bool begun = false;

    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];

        if (r->state == RAFT_READ_NEW) {
            g->round += begun || RG_BUG(R2) ? 0 : 1;
            begun = true;
            r->round = g->round;
            r->state = RAFT_READ_ROUND;
        }
    }
    g->beat_due = g->beat_due || begun;
}

void raft__reads_send_forward(struct raft_group *g)
{
    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];

        if (r->state == RAFT_READ_FORWARD) {
            r->state = RAFT_READ_ASKED;
            r->since = g->now;
            raft__emit(g, (struct raft_msg){.type = RAFT_M_READ, .to = g->leader, .x = r->ctx});
        }
    }
}

void raft__reads_expire(struct raft_group *g)
{
    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        struct raft_pending_read *r = &g->reads->r[i];

        if (r->state == RAFT_READ_ASKED && g->now - r->since >= raft__config(g)->election_ticks) {
            (void)finish(g, r, false);
        }
    }
}

uint64_t raft__reads_deadline(const struct raft_group *g)
{
    uint64_t deadline = RAFT_NEVER;

    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        uint64_t at = g->reads->r[i].since + raft__config(g)->election_ticks;

        if (g->reads->r[i].state == RAFT_READ_ASKED && at < deadline) {
            deadline = at;
        }
    }
    return deadline;
}

bool raft__reads_have_ready(const struct raft_group *g)
{
    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        uint8_t state = g->reads->r[i].state;

        if (state == RAFT_READ_NEW || state == RAFT_READ_FORWARD || state == RAFT_READ_DONE ||
            state == RAFT_READ_FAILED) {
            return true;
        }
    }
    return false;
}

void raft__reads_take_ready(struct raft_group *g)
{
    struct raft_env *env = g->env;
    uint32_t kept = 0;

    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        const struct raft_pending_read *r = &g->reads->r[i];

        if (r->state == RAFT_READ_DONE || r->state == RAFT_READ_FAILED) {
            env->reads[env->nreads++] = (struct raft_read){
                .ctx = r->ctx, .index = r->index, .ok = r->state == RAFT_READ_DONE};
        } else {
            g->reads->r[kept++] = *r;
        }
    }
    if (g->reads != NULL) {
        g->reads->n = kept;
        if (kept == 0) {
            raft__release_reads(g);
        }
    }
}

/* ---- lease: thesis 6.4.1 ---- */

uint64_t raft_lease_until(const struct raft_group *g)
{
    const struct raft_config *config = raft__config(g);
    uint64_t stamps[RAFT_MEMBERS_MAX] = {0};
    uint64_t heard;

    if (!config->lease_reads || g->role != RAFT_LEADER || g->why != NULL ||
        (!RG_BUG(R5) && (g->transferee != 0 || g->lease_void)) || !raft__own_term_committed(g)) {
        return 0;
    }
    for (int i = 0; i < g->conf.n; i++) {
        /* Counted from when WE sent what they answered (R6). */
        stamps[i] = g->conf.id[i] == g->self ? g->now : g->peers[i].stamp;
    }
    heard = raft__quorum_value(&g->conf, stamps);
    if (heard == 0 || heard == UINT64_MAX) {
        return 0;
    }
    return heard + config->election_ticks - config->lease_drift_ticks;
}

bool raft_lease_valid(const struct raft_group *g, uint64_t now)
{
    return now < raft_lease_until(g);
}
