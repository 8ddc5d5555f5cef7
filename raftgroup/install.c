/* Snapshots: thesis 5. The bytes travel outside; here is when one is offered, wanted and in force.
 */
#include "raftgroup/raft_internal.h"

/* ---- leader ---- */

void raft__offer_snapshot(struct raft_group *g, int slot)
{
    /* A silent peer would keep a snapshot alive for nothing; its first answer brings us back here.
     */
    if ((g->active >> slot & 1) == 0) {
        return;
    }
    raft__progress_become_snapshot(&g->peers[slot], g->log.snap_index);
    g->env->stats.snapshots_offered++;
    raft__emit(g,
               (struct raft_msg){.type = RAFT_M_SNAP,
                                 .to = g->conf.id[slot],
                                 .index = g->log.snap_index,
                                 .log_term = g->log.snap_term,
                                 .commit = g->commit});
}

enum fl_status raft_snapshot_status(struct raft_group *g, uint64_t now, raft_id peer, bool ok)
{
    int slot = raft_conf_slot(&g->conf, peer);

    FL_TRY(raft__enter(g, now));
    if (g->role == RAFT_LEADER && slot >= 0 && g->peers[slot].state == RAFT_SNAPSHOT) {
        struct raft_progress *p = &g->peers[slot];

        if (!ok) {
            p->snapshot = 0; /* probe from what is known; another offer follows (N9) */
        }
        raft__progress_become_probe(p);
        p->paused = true; /* until it says something */
    }
    return raft__leave(g, FL_OK);
}

/* ---- follower ---- */

/* Nothing new in a snapshot at (term, index); FL_OK when there is. */
static enum fl_status already_have(struct raft_group *g, raft_index index, raft_term term)
{
    if (index <= g->commit && !RG_BUG(N4)) {
        raft_term mine = raft__log_term(&g->log, index);

        if (mine != 0 && mine != term) {
            raft__freeze(g, "RG-6: a snapshot contradicts a committed entry"); /* N6 */
        }
        return FL_STALE; /* N4, N15 */
    }
    if (raft__log_matches(&g->log, index, term) && !RG_BUG(N4_TAIL)) {
        raft__commit_to(g, index); /* a snapshot holds committed entries only: keep the tail (N4) */
        return FL_STALE;
    }
    if (index <= g->verified && !RG_BUG(N4_TAIL)) {
        /* The leader of this term showed us another entry there, and has all that is committed. */
        raft__freeze(g, "RG-7: a snapshot contradicts its leader's own log");
        return FL_STALE;
    }
    return FL_OK;
}

enum fl_status raft__handle_snapshot(struct raft_group *g, const struct raft_msg *m)
{
    enum fl_status status = already_have(g, m->index, m->log_term);

    raft__follow(g, m->from);
    if (status == FL_STALE && g->why == NULL) {
        raft__owe_ack(g, g->commit);
    }
    return status;
}

enum fl_status raft_snapshot_staged(struct raft_group *g,
                                    uint64_t now,
                                    raft_id from,
                                    raft_index index,
                                    raft_term term,
                                    const struct raft_conf *conf)
{
    enum fl_status status;

    FL_TRY(raft__enter(g, now));
    if (!raft_conf_valid(conf) || index == 0 || index > RAFT_VALUE_MAX || term == 0 ||
        term > g->term) {
        return raft__leave(g, FL_CONF_INVALID);
    }
    if (raft_conf_slot(conf, g->self) < 0) {
        return raft__leave(g, FL_NOT_MEMBER);
    }
    if (g->role == RAFT_LEADER) {
        return raft__leave(g, FL_STALE);
    }
    raft__wake(g);
    status = already_have(g, index, term);
    if (status == FL_OK) {
        if (g->role != RAFT_FOLLOWER) {
            raft__become_follower(g, g->term, 0); /* E22 */
        }
        raft__replace_log(g, index, term);
        g->commit = index;
        raft__settle_doubt(g);
        g->snap_unissued = true;
        g->snap_installing = true;
        /* The newest of snapshot and log: the log is gone (N3). */
        RG_BUG(N1) ? (void)0 : raft__switch_conf(g, conf);
    }
    if (g->leader == from && g->leader != 0 && g->why == NULL) {
        raft__owe_ack(g, g->commit);
    }
    return raft__leave(g, status);
}

void raft__snapshot_durable(struct raft_group *g, raft_index index)
{
    if (g->log.snap_index != index) {
        return; /* a newer one is on its way already (N15) */
    }
    g->snap_installing = false;
    g->applied = index;
    g->applying = index;
    g->env->stats.snapshots_installed++;
}
