/* What breaks, and when it is mended. One fault at a time is chosen; many last and overlap. */
#include "tests/sim/world.h"

#include <inttypes.h>
#include <string.h>

#define SECOND UINT64_C(1000000)

static unsigned any_node(struct sim_world *w)
{
    return (unsigned)sim_between(&w->fault_prng, 1, w->plan.nodes);
}

/* ---- links ---- */

static void heal_later(struct sim_world *w, unsigned from, unsigned to, uint64_t mean)
{
    sim_after(w,
              1000 + sim_exponential(&w->fault_prng, mean),
              (struct sim_event){.kind = SIM_EV_HEAL_LINK, .arg = (uint64_t)from << 8 | to});
}

void sim_fault_heal_link(struct sim_world *w, unsigned from, unsigned to)
{
    if (from != 0) {
        w->link[from][to].cut = false;
        return;
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        for (unsigned k = 1; k <= w->plan.nodes; k++) {
            w->link[i][k].cut = false;
        }
    }
}

static bool cut_one_way(struct sim_world *w, struct sim_node *n)
{
    unsigned a = n->id;
    unsigned b = any_node(w);
    bool all = fl_prng_below(&w->fault_prng, 3) == 0;
    bool outward = fl_prng_below(&w->fault_prng, 2) == 0;

    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        if (all || i == b) { /* E19: hears nobody, or is heard by nobody */
            w->link[outward ? a : i][outward ? i : a].cut = true;
            heal_later(w, outward ? a : i, outward ? i : a, 3 * SECOND);
        }
    }
    sim_trace(w, "links of node %u are cut one way", a);
    return true;
}

static bool partition(struct sim_world *w, struct sim_node *n)
{
    uint32_t side = 0;
    uint64_t kind = fl_prng_below(&w->fault_prng, 4);
    unsigned alone = n->id;
    unsigned bridge = kind == 3 ? any_node(w) : 0;

    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        bool on = kind == 0   ? i <= w->plan.nodes / 2
                  : kind == 1 ? i == alone
                              : fl_prng_below(&w->fault_prng, 2) == 0;

        side |= (uint32_t)on << i;
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        for (unsigned k = 1; k <= w->plan.nodes; k++) {
            /* E18: a bridge still reaches both sides. */
            w->link[i][k].cut = (side >> i & 1) != (side >> k & 1) && i != bridge && k != bridge;
        }
    }
    sim_trace(w, "partition: side %x, bridge %u", side, bridge);
    heal_later(w, 0, 0, 4 * SECOND);
    return true;
}

static bool clog_link(struct sim_world *w, struct sim_node *n)
{
    unsigned a = n->id;
    unsigned b = any_node(w);

    w->link[a][b].clog_until = w->now + sim_exponential(&w->fault_prng, SECOND);
    sim_trace(w, "link %u>%u is clogged", a, b);
    return true;
}

/* ---- nodes ---- */

static bool pause_node(struct sim_world *w, struct sim_node *n)
{
    uint64_t longest = sim_between(&w->fault_prng, 0, 3) == 0 ? 30 * SECOND : 3 * SECOND;

    n->paused_until = w->now + sim_between(&w->fault_prng, 10000, longest);
    sim_trace(w, "node %u is paused until %" PRIu64, n->id, n->paused_until);
    return true;
}

static bool nudge(struct sim_world *w, struct sim_node *n)
{
    unsigned group = (unsigned)sim_between(&w->fault_prng, 1, w->plan.groups);
    struct sim_replica *r = n->replica[group];
    uint64_t now = sim_local_ms(w, n);
    raft_id peer;
    enum fl_status status = FL_OK;

    if (!sim_is_up(r) || n->paused_until > w->now) {
        return false;
    }
    peer = sim_between(&w->fault_prng, 1, w->group[group].next_id - 1);
    switch (fl_prng_below(&w->fault_prng, 6)) {
    case 0:
        status = raft_campaign(r->raft, now);
        break;
    case 1:
        status = raft_forget_leader(r->raft, now);
        break;
    case 2:
        status = raft_unreachable(r->raft, now, peer);
        break;
    case 3:
        status = raft_snapshot_status(r->raft, now, peer, fl_prng_below(&w->fault_prng, 2) == 0);
        break;
    case 4:
        status = raft_quiesce(r->raft, now);
        break;
    default:
        status = raft_wake(r->raft, now);
        break;
    }
    (void)sim_input(w, r, status);
    return true;
}

static bool crash(struct sim_world *w, struct sim_node *n)
{
    /* Sometimes everything loses power at once. */
    if (fl_prng_below(&w->fault_prng, 8) != 0) {
        sim_node_crash(w, n, "killed");
        return true;
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        if (w->node[i].up) {
            sim_node_crash(w, &w->node[i], "power is lost everywhere");
        }
    }
    return true;
}

static bool disk_slow(struct sim_world *w, struct sim_node *n)
{
    n->slow = (uint32_t)sim_between(&w->fault_prng, 1, 200);
    return true;
}

static bool disk_fail(struct sim_world *w, struct sim_node *n)
{
    (void)w;
    n->fail_next = true;
    return false; /* counted when it happens */
}

static bool disk_stuck(struct sim_world *w, struct sim_node *n)
{
    n->stuck_until = w->now + sim_exponential(&w->fault_prng, 3 * SECOND);
    return true;
}

static bool drift(struct sim_world *w, struct sim_node *n)
{
    sim_node_set_rate(w, n, (uint32_t)sim_between(&w->fault_prng, 800, 1200));
    return true;
}

static bool wipe(struct sim_world *w, struct sim_node *n)
{
    if (!sim_operator_can_lose(w, 1U << n->id)) {
        return false;
    }
    sim_trace(w, "node %u loses its disk", n->id);
    sim_node_wipe(w, n);
    return true;
}

/* Each is given a node that is up, and says whether it did something. */
static const struct {
    enum sim_fault fault;
    bool (*act)(struct sim_world *w, struct sim_node *n);
} kinds[] = {
    {SIM_FAULT_CLOG, clog_link},
    {SIM_FAULT_ONEWAY, cut_one_way},
    {SIM_FAULT_PARTITION, partition},
    {SIM_FAULT_CRASH, crash},
    {SIM_FAULT_DISK_SLOW, disk_slow},
    {SIM_FAULT_DISK_FAIL, disk_fail},
    {SIM_FAULT_DISK_STUCK, disk_stuck},
    {SIM_FAULT_DRIFT, drift},
    {SIM_FAULT_PAUSE, pause_node},
    {SIM_FAULT_NUDGE, nudge},
    {SIM_FAULT_WIPE, wipe},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

void sim_fault_next(struct sim_world *w)
{
    uint8_t on[KINDS];
    size_t n = 0;
    struct sim_node *node = &w->node[any_node(w)];

    for (size_t i = 0; i < KINDS; i++) {
        if (sim_plan_has(&w->plan, kinds[i].fault)) {
            on[n++] = (uint8_t)i;
        }
    }
    if (n == 0) {
        return;
    }
    n = (size_t)fl_prng_below(&w->fault_prng, n);
    if (node->up && kinds[on[n]].act(w, node)) {
        w->counts.faults[kinds[on[n]].fault]++;
    }
    sim_after(w,
              1000 + sim_exponential(&w->fault_prng, w->plan.fault_us),
              (struct sim_event){.kind = SIM_EV_FAULT});
}

void sim_fault_heal(struct sim_world *w)
{
    w->plan.faults = 0;
    w->plan.quiesce = false;
    sim_fault_heal_link(w, 0, 0);
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        struct sim_node *n = &w->node[i];

        n->slow = 1;
        n->stuck_until = 0;
        n->fail_next = false;
        n->paused_until = 0;
        for (unsigned k = 1; k <= w->plan.nodes; k++) {
            w->link[i][k].clog_until = 0;
        }
        for (unsigned g = 1; g <= w->plan.groups; g++) {
            if (n->replica[g] != NULL) {
                n->replica[g]->cold = false;
            }
        }
        if (n->up) {
            sim_node_set_rate(w, n, 1000);
        }
    }
}
