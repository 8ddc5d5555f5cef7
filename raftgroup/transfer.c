/* Leadership transfer: thesis 3.10. */
#include "raftgroup/raft_internal.h"

void raft__transfer_to(struct raft_group *g, raft_id to)
{
    int slot = raft_conf_slot(&g->conf, to);

    if (g->transferee == to) {
        return; /* on its way */
    }
    raft__abort_transfer(g);
    if (to == g->self) {
        return;
    }
    g->base = g->now; /* it has one election timeout from now (T1) */
    g->transferee = to;
    g->env->stats.transfers_begun++;
    if (g->peers[slot].match == g->log.last) {
        g->timeout_now_due = true;
    } else {
        g->peers[slot].owed = true;
        g->send_due = true;
    }
}

void raft__transfer_progress(struct raft_group *g, const struct raft_progress *p, raft_id id)
{
    if (g->transferee != 0 && g->transferee == id && p->match == g->log.last) {
        g->timeout_now_due = true;
    }
}

void raft__send_timeout_now(struct raft_group *g)
{
    g->timeout_now_due = false;
    /* From now on somebody may be elected in spite of every promise to us (R5). */
    g->lease_void = true;
    raft__emit(g,
               (struct raft_msg){.type = RAFT_M_TIMEOUTNOW,
                                 .to = g->transferee,
                                 .index = g->log.last,
                                 .log_term = raft__log_last_term(&g->log),
                                 .commit = g->commit});
}

enum fl_status raft_transfer(struct raft_group *g, uint64_t now, raft_id to)
{
    int slot = raft_conf_slot(&g->conf, to);
    enum fl_status status = FL_OK;

    FL_TRY(raft__enter(g, now));
    if (g->leader == 0) {
        status = FL_NO_LEADER;
    } else if (g->role != RAFT_LEADER) {
        raft__respond(g, (struct raft_msg){.type = RAFT_M_XFER, .to = g->leader, .x = to});
    } else if (slot < 0) {
        status = FL_NOT_MEMBER;
    } else if ((g->conf.learners >> slot & 1) != 0) {
        status = FL_CONF_INVALID;
    } else {
        raft__wake(g);
        raft__transfer_to(g, to);
    }
    return raft__leave(g, status);
}

void raft__handle_transfer_request(struct raft_group *g, const struct raft_msg *m)
{
    int slot = raft_conf_slot(&g->conf, m->x);

    if (g->role == RAFT_LEADER && slot >= 0 && (g->conf.learners >> slot & 1) == 0) {
        raft__transfer_to(g, m->x);
    } else {
        g->env->stats.messages_stale++;
    }
}

void raft__handle_timeout_now(struct raft_group *g, const struct raft_msg *m)
{
    raft_term last_term = raft__log_last_term(&g->log);
    bool complete =
        last_term > m->log_term || (last_term == m->log_term && g->log.last >= m->index);

    if (g->role != RAFT_FOLLOWER) {
        g->env->stats.messages_stale++; /* T5 */
        return;
    }
    /* A target that lacks the tail, or may not campaign, says so: the leader goes on at once
     * instead of waiting for the timeout (T4). */
    if (!complete || raft__may_campaign(g) != FL_OK) {
        raft__respond(
            g,
            (struct raft_msg){.type = RAFT_M_TIMEOUTNOWR, .flags = RAFT_F_REJECT, .to = m->from});
        return;
    }
    raft__campaign(g, true);
}

void raft__handle_timeout_now_answer(struct raft_group *g, const struct raft_msg *m)
{
    if (g->role == RAFT_LEADER && g->transferee == m->from) {
        raft__abort_transfer(g);
        raft__maybe_leave_joint(g);
    } else {
        g->env->stats.messages_stale++;
    }
}
