/* Membership: thesis 4, active when applied (the etcd way), with the rules that make that safe:
 *   - nobody appends a change before everything up to the last one is applied here, and the record
 *     that appends it carries a commit at or above that last change (M2);
 *   - strict: not before an entry of the own term is committed (the 2015 bug, M1);
 *   - nobody campaigns with a committed change unapplied (election.c);
 *   - learners vote when asked (M4), ids are never reused (M15). */
#include "raftgroup/base/alloc.h"
#include "raftgroup/raft_internal.h"

#include <stdlib.h>
#include <string.h>

void raft__conf_note(struct raft_group *g, raft_index at)
{
    if (g->conf_at_n == g->conf_at_capacity) {
        g->conf_at_capacity = g->conf_at_capacity == 0 ? 4 : g->conf_at_capacity * 2;
        g->conf_at = fl_xrealloc(g->conf_at, g->conf_at_capacity, sizeof(*g->conf_at));
    }
    g->conf_at[g->conf_at_n++] = at;
}

static void conf_list_relax(struct raft_group *g)
{
    if (g->conf_at_n == 0) {
        free(g->conf_at);
        g->conf_at = NULL;
        g->conf_at_capacity = 0;
    }
}

void raft__conf_forget_from(struct raft_group *g, raft_index from)
{
    while (g->conf_at_n > 0 && g->conf_at[g->conf_at_n - 1] >= from) {
        g->conf_at_n--; /* never active, so there is nothing to roll back (M6) */
    }
    conf_list_relax(g);
}

bool raft__conf_unapplied(const struct raft_group *g)
{
    return g->conf_at_n > 0 && g->conf_at[0] <= g->commit;
}

static raft_mask
remap_mask(raft_mask mask, const struct raft_conf *conf_old, const struct raft_conf *conf_new)
{
    raft_mask result = 0;

    for (int i = 0; i < conf_new->n; i++) {
        if ((mask & raft__conf_bit(raft_conf_slot(conf_old, conf_new->id[i]))) != 0) {
            result |= raft__conf_bit(i);
        }
    }
    return result;
}

static raft_mask new_members(const struct raft_conf *conf_old, const struct raft_conf *conf_new)
{
    raft_mask result = 0;

    for (int i = 0; i < conf_new->n; i++) {
        if (raft_conf_slot(conf_old, conf_new->id[i]) < 0) {
            result |= raft__conf_bit(i);
        }
    }
    return result;
}

/* A leader goes on under a new configuration. */
static void switch_as_leader(struct raft_group *g)
{
    raft_mask voters = raft__conf_voters(&g->conf);
    int target = raft_conf_slot(&g->conf, g->transferee);

    if ((voters & raft__self_bit(g)) == 0 && raft__config(g)->step_down_on_removal) {
        raft__become_follower(g, g->term, 0); /* M8 */
        return;
    }
    if (g->transferee != 0 && (voters & raft__conf_bit(target)) == 0) {
        raft__abort_transfer(g); /* M16 */
    }
    g->send_due = true;          /* new members hear of us at once */
    (void)raft__maybe_commit(g); /* fewer voters may need fewer answers (M13) */
    raft__reads_advance(g, false);
}

void raft__switch_conf(struct raft_group *g, const struct raft_conf *conf)
{
    struct raft_conf conf_old = g->conf;

    g->yes = remap_mask(g->yes, &conf_old, conf);
    g->no = remap_mask(g->no, &conf_old, conf);
    g->active = remap_mask(g->active, &conf_old, conf);
    g->conf = *conf;
    if (g->role == RAFT_LEADER) {
        g->peers = raft__progress_remap(g->peers, &conf_old, conf, g->log.last);
        g->front = RG_BUG(C29_SLOTS) ? g->front : RAFT__ALL; /* slots have moved */
        g->active |= new_members(&conf_old, conf); /* or the quorum check ends the leader (M12) */
        switch_as_leader(g);
    } else if (g->role != RAFT_FOLLOWER && (raft__conf_voters(conf) & raft__self_bit(g)) == 0) {
        raft__become_follower(g, g->term, 0);
    }
}

/* ---- proposing ---- */

static bool well_formed(const struct raft_changes *c)
{
    if (c->n > RAFT_CHANGES_MAX || c->transition >= RAFT_CONF_VOID) {
        return false;
    }
    for (uint32_t i = 0; i < c->n; i++) {
        if (c->op[i].op != 'v' && c->op[i].op != 'l' && c->op[i].op != 'r' && c->op[i].op != 'u') {
            return false;
        }
    }
    return true;
}

/* Strict rules of the house: learners first, and near enough to take part; the leader stays. */
static enum fl_status check_strict(const struct raft_group *g, const struct raft_conf *after)
{
    if (!raft__own_term_committed(g)) {
        return FL_CONF_PENDING; /* M1 */
    }
    if ((after->in & raft__conf_bit(raft_conf_slot(after, g->self))) == 0) {
        return FL_CONF_INVALID;
    }
    for (int i = 0; i < after->n; i++) {
        int was = raft_conf_slot(&g->conf, after->id[i]);

        if ((after->in >> i & 1) == 0 ||
            (was >= 0 && (raft__conf_voters(&g->conf) & raft__conf_bit(was)) != 0)) {
            continue;
        }
        if (was < 0) {
            return FL_CONF_INVALID;
        }
        if (g->peers[was].state != RAFT_REPLICATE ||
            g->peers[was].match + raft__config(g)->max_inflight < g->commit) {
            return FL_NOT_READY;
        }
    }
    return FL_OK;
}

static enum fl_status check_change(const struct raft_group *g, const struct raft_changes *changes)
{
    struct raft_conf after = g->conf;
    enum raft_conf_error error;

    if (!well_formed(changes)) {
        return FL_CONF_INVALID;
    }
    if (g->pending_conf > g->applied && !RG_BUG(M2_PENDING)) {
        return FL_CONF_PENDING; /* one at a time (M2, M3) */
    }
    if (g->conf.out != 0 && !raft__conf_is_leave(changes)) {
        return FL_CONF_PENDING; /* leave joint first */
    }
    error = raft__conf_change(&after, changes);
    if (error != RAFT_CONF_FINE) {
        return FL_CONF_INVALID;
    }
    return raft__config(g)->strict_conf ? check_strict(g, &after) : FL_OK;
}

enum fl_status raft_propose_conf(struct raft_group *g,
                                 uint64_t now,
                                 const struct raft_changes *changes,
                                 uint32_t len,
                                 raft_index *at,
                                 raft_term *term)
{
    uint64_t cap = g->env->config.max_uncommitted_bytes;
    enum fl_status status;

    FL_TRY(raft__enter(g, now));
    status = raft__may_propose(g);
    if (status == FL_OK) {
        status = check_change(g, changes);
    }
    if (status == FL_OK && cap != 0 && g->uncommitted > 0 && len > 0 &&
        g->uncommitted + len > cap) {
        status = FL_QUOTA;
    }
    if (status == FL_OK) {
        raft__wake(g);
        raft__append_own(g, 1, len);
        raft__conf_note(g, g->log.last);
        g->pending_conf = g->log.last;
        *at = g->log.last;
        *term = g->term;
    }
    return raft__leave(g, status);
}

void raft__maybe_leave_joint(struct raft_group *g)
{
    /* Once: the entry becomes the pending change itself. After a transfer or an election it is
     * tried again by whoever leads then (M11). */
    if (g->role == RAFT_LEADER && g->conf.autoleave &&
        (RG_BUG(M11) ? g->pending_conf == g->applied : g->pending_conf <= g->applied) &&
        raft__may_propose(g) == FL_OK && raft__own_term_committed(g)) {
        raft__append_made(g, RAFT_ENT_CONF);
        raft__conf_note(g, g->log.last);
        g->pending_conf = g->log.last;
    }
}

/* ---- applying ---- */

enum fl_status raft_conf_applied(struct raft_group *g,
                                 uint64_t now,
                                 raft_index at,
                                 const struct raft_changes *changes)
{
    enum fl_status status = FL_OK;

    FL_TRY(raft__enter(g, now));
    if (g->conf_at_n == 0 || g->conf_at[0] != at || at > g->applying) {
        return raft__leave(g, FL_STALE);
    }
    g->conf_at_n--;
    memmove(g->conf_at, g->conf_at + 1, g->conf_at_n * sizeof(g->conf_at[0]));
    conf_list_relax(g);
    if (changes->transition != RAFT_CONF_VOID) {
        struct raft_conf after = g->conf;

        if (raft__conf_change(&after, changes) == RAFT_CONF_FINE) {
            raft__switch_conf(g, &after);
        } else {
            status = FL_CONF_INVALID;
        }
    }
    return raft__leave(g, status);
}
