/* After the faults: a majority must find together again, within a deadline.
 *
 *     1  links, disks and clocks are mended; nodes that may be missed stay dead, others start
 *     2  every group has a leader and no change of membership is under way; again some nodes die
 *     3  a write and a read of every key are answered in every group
 *     4  one leader per group, equal logs, equal machines, by members that are alive */
#include "tests/sim/world.h"

#include <stdio.h>

#define SECOND   UINT64_C(1000000)
#define DEADLINE (UINT64_C(90) * SECOND)

enum { EVENTS_MAX = 400000 };

struct equals {
    struct sim_machine *machine[RAFT_MEMBERS_MAX];
    size_t count;
};

typedef bool reached_fn(struct sim_world *w, char *what, size_t size);

static bool wait_for(struct sim_world *w, reached_fn *reached, const char *name)
{
    uint64_t end = w->now + DEADLINE + w->plan.config.election_ticks * UINT64_C(40000);
    uint64_t events = w->counts.core_events + EVENTS_MAX;
    char what[160] = "";

    while (w->violation[0] == '\0') {
        if (reached(w, what, sizeof(what))) {
            return true;
        }
        if (w->now >= end || w->counts.core_events >= events) {
            sim_violate(w, "liveness", "%s is not reached: %s", name, what);
            return false;
        }
        sim_run_until(w, w->now + SECOND / 2, events);
        sim_operator_sweep(w);
    }
    return false;
}

static bool is_alive(const struct sim_world *w, const struct sim_replica *r)
{
    return sim_is_up(r) && !r->wiped && !w->node[r->node].dead;
}

/* ---- what is to be reached ---- */

static bool all_settled(struct sim_world *w, char *what, size_t size)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        struct sim_replica *leader = sim_leader(w, g);

        if (leader == NULL) {
            (void)snprintf(what, size, "group %u has no leader", g);
            return false;
        }
        if (sim_operator_changing(w, g)) {
            (void)snprintf(what, size, "group %u still changes its members", g);
            return false;
        }
        if (raft_conf_get(leader->raft)->out != 0) {
            struct raft_changes leave = {.transition = RAFT_CONF_AUTO};

            if (!raft_conf_get(leader->raft)->autoleave) {
                (void)sim_replica_change(w, leader, &leave); /* entered explicitly, left so */
            }
            (void)snprintf(what, size, "group %u is joint", g);
            return false;
        }
    }
    return true;
}

static bool all_answered(struct sim_world *w, char *what, size_t size)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        for (unsigned i = 0; i <= w->plan.keys; i++) {
            if (w->final[g][i] != 2) {
                (void)snprintf(what, size, "operation %u in group %u", i, g);
                return false;
            }
        }
    }
    return sim_client_finished(w);
}

/* NULL, or the first difference between a member that is alive and its leader. */
static const char *differs(const struct sim_replica *r, const struct sim_replica *leader)
{
    raft_index last = sim_log_last(&leader->mem);

    if (r != leader && r->watched.role == RAFT_LEADER) {
        return "leads, too";
    }
    if (r->watched.term != leader->watched.term) {
        return "is in another term";
    }
    if (sim_log_last(&r->mem) != last ||
        sim_log_chain(&r->mem, last) != sim_log_chain(&leader->mem, last)) {
        return "has another log";
    }
    if (r->watched.commit != last || r->watched.applied != last) {
        return "has not applied everything";
    }
    if (r->nasked != 0) {
        return "has a read without an answer";
    }
    for (size_t i = 0; i < r->npending; i++) {
        /* Beyond the end nobody can tell: a dead member may still hold it (P3). */
        if (r->pending[i].index <= last) {
            return "has a proposal without an answer";
        }
    }
    return NULL;
}

/* Machines of the members that are alive, or false and what is missing. */
static bool
group_equal(struct sim_world *w, unsigned group, struct equals *out, char *what, size_t size)
{
    struct sim_replica *leader = sim_leader(w, group);
    const struct sim_group *g = &w->group[group];
    const struct raft_conf *conf;

    out->count = 0;
    if (leader == NULL) {
        (void)snprintf(what, size, "group %u has no leader", group);
        return false;
    }
    conf = raft_conf_get(leader->raft);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct sim_replica *r = g->replica[conf->id[i]];
        const char *difference = "does not exist";

        if (r != NULL && !is_alive(w, r)) {
            continue;
        }
        if (r == NULL && !w->node[g->home[conf->id[i]]].up) {
            continue;
        }
        if (r != NULL) {
            difference = differs(r, leader);
            out->machine[out->count++] = r->machine;
        }
        if (difference != NULL) {
            (void)snprintf(what,
                           size,
                           "group %u replica %d on node %u %s",
                           group,
                           (int)conf->id[i],
                           g->home[conf->id[i]],
                           difference);
            return false;
        }
    }
    return true;
}

static bool all_equal(struct sim_world *w, char *what, size_t size)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        struct equals equals;

        if (!group_equal(w, g, &equals, what, size)) {
            return false;
        }
    }
    return true;
}

static void compare_machines(struct sim_world *w)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        struct equals equals;
        char what[160];
        const char *wrong;

        (void)group_equal(w, g, &equals, what, sizeof(what));
        wrong = w->set->compare(equals.machine, equals.count);
        if (wrong != NULL) {
            sim_violate(w, "applied state", "group %u in the end: %s", g, wrong);
        }
    }
}

/* ---- who is there ---- */

static void start_all(struct sim_world *w)
{
    uint32_t down = 0;
    bool leave;

    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        down |= w->node[i].up ? 0 : 1U << i;
    }
    leave = sim_chance(&w->fault_prng, 500) && sim_operator_can_lose(w, down);
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        struct sim_node *n = &w->node[i];

        if (n->up) {
            continue;
        }
        if (leave) {
            n->dead = true;
            sim_trace(w, "node %u stays dead", i);
        } else {
            sim_node_start(w, n);
        }
    }
}

static void kill_some(struct sim_world *w)
{
    uint32_t gone = 0;

    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        if (w->node[i].up) {
            sim_node_flush(w, &w->node[i]);
        } else {
            gone |= 1U << i;
        }
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        if (w->node[i].up && sim_chance(&w->fault_prng, 400) &&
            sim_operator_can_lose(w, gone | 1U << i)) {
            gone |= 1U << i;
            w->node[i].dead = true;
            sim_node_crash(w, &w->node[i], "stays dead");
        }
    }
}

void sim_liveness(struct sim_world *w)
{
    sim_trace(w, "healing");
    sim_fault_heal(w);
    start_all(w);
    if (!wait_for(w, all_settled, "a leader in every group")) {
        return;
    }
    kill_some(w);
    w->healing = true;
    for (unsigned i = 0; i < w->plan.clients; i++) {
        sim_after(w, 1000, (struct sim_event){.kind = SIM_EV_CLIENT, .arg = i});
    }
    if (wait_for(w, all_answered, "the last write and read") &&
        wait_for(w, all_equal, "equality")) {
        compare_machines(w);
    }
}
