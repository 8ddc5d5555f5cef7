/* The operator: membership, transfers, compaction, and cleaning up. It sees everything, as
 * placement would in the end, but acts only through the leader of a group. */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

struct sim_replica *sim_leader(const struct sim_world *w, unsigned group)
{
    struct sim_replica *leader = NULL;
    raft_term term = 0;

    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        struct sim_replica *r = w->node[i].replica[group];

        if (sim_is_up(r) && r->watched.role == RAFT_LEADER && r->watched.term > term) {
            leader = r;
            term = r->watched.term;
        }
    }
    return leader;
}

/* ---- what may be lost ---- */

static bool
is_intact(const struct sim_world *w, const struct sim_group *g, raft_id id, uint32_t gone)
{
    const struct sim_replica *r = g->replica[id];

    (void)w;
    return r != NULL && !r->wiped && !r->destroyed && (gone >> r->node & 1) == 0;
}

static bool half_lives(const struct sim_world *w,
                       const struct sim_group *g,
                       const struct raft_conf *conf,
                       raft_mask half,
                       uint32_t gone)
{
    int have = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        have += (half >> i & 1) != 0 && is_intact(w, g, conf->id[i], gone) ? 1 : 0;
    }
    return half == 0 || have > __builtin_popcount(half) / 2;
}

static bool log_changes(const struct sim_log *log, raft_index after)
{
    for (raft_index i = sim_log_last(log); i > after && i > log->base; i--) {
        if (sim_log_get(log, i)->type == RAFT_ENT_CONF) {
            return true;
        }
    }
    return false;
}

bool sim_operator_changing(const struct sim_world *w, unsigned group)
{
    const struct sim_group *g = &w->group[group];

    for (unsigned id = 1; id < g->next_id; id++) {
        const struct sim_replica *r = g->replica[id];

        if (r != NULL && !r->wiped && !r->destroyed &&
            (log_changes(&r->disk.log, g->truth.conf_index) ||
             (sim_is_up(r) && log_changes(&r->mem, g->truth.conf_index)))) {
            return true;
        }
    }
    return false;
}

static bool group_lives(const struct sim_world *w, const struct sim_group *g, uint32_t gone)
{
    const struct raft_conf *newest = &g->truth.conf;

    if (sim_operator_changing(w, g->id) || newest->out != 0 ||
        !half_lives(w, g, newest, newest->in, gone)) {
        return false;
    }
    for (unsigned i = 0; i < newest->n; i++) {
        const struct sim_replica *r = g->replica[newest->id[i]];

        if (r == NULL || r->wiped || r->destroyed || (gone >> r->node & 1) != 0) {
            continue;
        }
        /* After a crash a member may be back at an older configuration. */
        if (!sim_is_up(r) || r->checkpoint < g->truth.conf_index ||
            !half_lives(w, g, raft_conf_get(r->raft), raft_conf_get(r->raft)->in, gone)) {
            return false;
        }
    }
    return true;
}

bool sim_operator_can_lose(const struct sim_world *w, uint32_t nodes)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (w->group[g].born && !group_lives(w, &w->group[g], nodes)) {
            return false;
        }
    }
    return true;
}

/* ---- cleaning up ---- */

static bool is_needed(const struct sim_world *w, const struct sim_group *g, raft_id id)
{
    const struct raft_conf *newest = &g->truth.conf;

    (void)w;
    for (unsigned i = 0; i < newest->n; i++) {
        const struct sim_replica *r = g->replica[newest->id[i]];

        if (r == NULL || r->wiped || w->node[r->node].dead) {
            continue;
        }
        if (r->id == id || !sim_is_up(r) || r->checkpoint < g->truth.conf_index ||
            raft_conf_slot(raft_conf_get(r->raft), id) >= 0) {
            return true;
        }
    }
    return false;
}

void sim_operator_sweep(struct sim_world *w)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        for (raft_id id = 1; id < w->group[g].next_id; id++) {
            struct sim_replica *r = w->group[g].replica[id];

            if (sim_is_up(r) && !r->destroyed && !is_needed(w, &w->group[g], id)) {
                sim_replica_destroy(w, r);
            }
        }
    }
}

/* ---- membership ---- */

/* A node that is no member's home, the replicas that do not know of their membership yet included.
 */
static unsigned free_node(struct sim_world *w, const struct sim_replica *leader)
{
    const struct sim_group *g = &w->group[leader->group];
    const struct raft_conf *conf = raft_conf_get(leader->raft);
    unsigned from = (unsigned)sim_between(&w->fault_prng, 1, w->plan.nodes);
    uint32_t taken = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        taken |= is_intact(w, g, conf->id[i], 0) || g->replica[conf->id[i]] == NULL
                     ? 1U << g->home[conf->id[i]]
                     : 0;
    }
    for (unsigned i = 0; i < w->plan.nodes; i++) {
        unsigned node = 1 + (from + i) % w->plan.nodes;

        if (w->node[node].up && w->node[node].replica[g->id] == NULL && (taken >> node & 1) == 0) {
            return node;
        }
    }
    return 0;
}

static bool add_member(struct sim_world *w, struct sim_replica *leader, struct raft_changes *c)
{
    struct sim_group *g = &w->group[leader->group];
    unsigned node = free_node(w, leader);

    if (node == 0 || g->next_id >= SIM_REPLICAS_MAX ||
        raft_conf_get(leader->raft)->n >= w->plan.voters + 2) {
        return false;
    }
    c->op[0].id = g->next_id++;
    c->op[0].op = w->plan.config.strict_conf || fl_prng_below(&w->fault_prng, 2) == 0 ? 'l' : 'v';
    g->home[c->op[0].id] = (uint8_t)node;
    return true;
}

/* A learner whose disk is gone would never vote: its leader cannot know, the operator does. */
static bool
promote_member(const struct sim_world *w, const struct sim_replica *leader, struct raft_changes *c)
{
    const struct raft_conf *conf = raft_conf_get(leader->raft);

    for (unsigned i = 0; i < conf->n; i++) {
        if ((conf->learners >> i & 1) != 0 &&
            is_intact(w, &w->group[leader->group], conf->id[i], 0)) {
            c->op[0].id = conf->id[i];
            c->op[0].op = 'v';
            return true;
        }
    }
    return false;
}

/* Who is gone for ever goes first; then anybody, while enough intact members stay. */
static bool
remove_member(struct sim_world *w, const struct sim_replica *leader, struct raft_changes *c)
{
    const struct sim_group *g = &w->group[leader->group];
    const struct raft_conf *conf = raft_conf_get(leader->raft);
    unsigned intact = 0;
    unsigned victim = (unsigned)fl_prng_below(&w->fault_prng, conf->n);
    unsigned voters = (unsigned)__builtin_popcount(conf->in);

    for (unsigned i = 0; i < conf->n; i++) {
        bool whole = is_intact(w, g, conf->id[i], 0);

        intact += whole && (conf->in >> i & 1) != 0 ? 1 : 0;
        victim = !whole ? i : victim;
    }
    if (is_intact(w, g, conf->id[victim], 0) && (conf->in >> victim & 1) != 0 && voters > 1 &&
        (voters <= w->plan.voters || intact - 1 <= (voters - 1) / 2)) {
        return false;
    }
    c->op[0].id = conf->id[victim];
    c->op[0].op = 'r';
    return true;
}

/* Nobody may be left without voters (M19). */
static bool is_last_voter(const struct sim_replica *leader, const struct raft_changes *c)
{
    const struct raft_conf *conf = raft_conf_get(leader->raft);

    return c->n == 1 && c->op[0].op == 'r' && __builtin_popcount(conf->in) == 1 &&
           (conf->in >> raft_conf_slot(conf, c->op[0].id) & 1) != 0;
}

static void churn(struct sim_world *w, struct sim_replica *leader)
{
    struct raft_changes c = {.transition = RAFT_CONF_SIMPLE, .n = 1};
    bool joint = raft_conf_get(leader->raft)->out != 0;
    uint64_t dice = fl_prng_below(&w->fault_prng, 3);
    bool never;
    bool made;

    if (joint && fl_prng_below(&w->fault_prng, 2) == 0) {
        c = (struct raft_changes){.transition = RAFT_CONF_AUTO};
    } else {
        made = dice == 0   ? add_member(w, leader, &c)
               : dice == 1 ? promote_member(w, leader, &c)
                           : remove_member(w, leader, &c);
        if (!made) {
            return;
        }
        if (w->plan.joint && fl_prng_below(&w->fault_prng, 2) == 0) {
            c.transition =
                fl_prng_below(&w->fault_prng, 2) == 0 ? RAFT_CONF_IMPLICIT : RAFT_CONF_EXPLICIT;
        }
    }
    never = is_last_voter(leader, &c);
    if (sim_replica_change(w, leader, &c) == FL_OK) {
        if (never) {
            sim_violate(w, "membership", "group %u: the last voter may be removed", leader->group);
        }
        w->counts.faults[SIM_FAULT_CHURN]++;
        sim_trace(w,
                  "group %u: change %c%" PRIu64 " (transition %u, n %u)",
                  leader->group,
                  c.op[0].op != 0 ? c.op[0].op : '-',
                  c.op[0].id,
                  c.transition,
                  c.n);
    }
}

static void transfer(struct sim_world *w, struct sim_replica *leader)
{
    const struct raft_conf *conf = raft_conf_get(leader->raft);
    raft_id to = conf->id[fl_prng_below(&w->fault_prng, conf->n)];

    w->counts.faults[SIM_FAULT_TRANSFER]++;
    (void)sim_input(
        w, leader, raft_transfer(leader->raft, sim_local_ms(w, &w->node[leader->node]), to));
}

static void act(struct sim_world *w, struct sim_replica *leader)
{
    while (sim_is_up(leader) && raft_has_ready(leader->raft) && w->violation[0] == '\0') {
        sim_replica_ready(w, leader);
    }
    if (!sim_is_up(leader)) {
        return;
    }
    if (sim_plan_has(&w->plan, SIM_FAULT_TRANSFER) && fl_prng_below(&w->fault_prng, 4) == 0) {
        transfer(w, leader);
    } else if (sim_plan_has(&w->plan, SIM_FAULT_CHURN) || sim_plan_has(&w->plan, SIM_FAULT_WIPE)) {
        churn(w, leader);
    }
}

static void compact_some(struct sim_world *w)
{
    struct sim_node *n = &w->node[sim_between(&w->fault_prng, 1, w->plan.nodes)];

    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (sim_is_up(n->replica[g]) && n->paused_until <= w->now) {
            w->counts.faults[SIM_FAULT_COMPACT]++;
            sim_replica_compact(w, n->replica[g]);
        }
    }
}

void sim_operator_next(struct sim_world *w)
{
    unsigned group = (unsigned)sim_between(&w->fault_prng, 1, w->plan.groups);
    struct sim_replica *leader = sim_leader(w, group);

    if (w->healing) {
        return;
    }
    if (leader != NULL && w->node[leader->node].paused_until <= w->now) {
        act(w, leader);
    }
    if (sim_plan_has(&w->plan, SIM_FAULT_COMPACT) && fl_prng_below(&w->fault_prng, 2) == 0) {
        compact_some(w);
    }
    if (fl_prng_below(&w->fault_prng, 4) == 0) {
        sim_operator_sweep(w);
    }
    sim_after(w,
              20000 + sim_exponential(&w->fault_prng, w->plan.fault_us / 4),
              (struct sim_event){.kind = SIM_EV_OPERATOR});
}
