/* Goal: no schedule of loss, duplication, reordering, slow disks, crashes with lost unsynced
 * records, partitions and membership changes breaks safety; and when the faults stop, the group
 * recovers.
 *
 * Method: seeded random events on a simulated cluster (cluster.h lists what is checked at every
 * step); each seed switches a random subset of faults and options on. Then everything is healed and
 * one write must reach every member in bounded time. CHAOS_FROM and CHAOS_SEEDS choose the seeds; a
 * failing seed is printed and reproduces. */
#include "tests/raftgroup/cluster.h"
#include "tests/raftgroup/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EVENTS = 2500, SEEDS = 300, RECOVERY_ROUNDS = 120 };

struct chaos {
    struct sim_cluster *c;
    struct fl_prng prng;
    unsigned seed;
    unsigned proposals;
    unsigned reads;
    unsigned drop;      /* per mille of deliveries */
    unsigned duplicate; /* per mille */
    unsigned crash;     /* weight of crashes */
    unsigned change;    /* weight of membership changes */
    unsigned cut;       /* weight of partitions */
    bool reorder;
    bool removed[SIM_NODES_MAX + 1]; /* ids are never used again (M15) */
};

static unsigned below(struct chaos *x, unsigned bound)
{
    return (unsigned)fl_prng_below(&x->prng, bound);
}

static struct sim_node *any_node(struct chaos *x)
{
    return &x->c->node[1 + below(x, x->c->nnodes)];
}

static void setup(struct chaos *x, unsigned seed)
{
    static const unsigned windows[] = {1, 2, 3, 256};
    static const unsigned sizes[] = {0, 1, 40, 1000000};
    struct raft_config config;
    struct raft_conf conf = {.n = 0};
    unsigned voters = 1;

    memset(x, 0, sizeof(*x));
    x->c = sim_create(seed);
    x->seed = seed;
    fl_prng_seed(&x->prng, seed * 7919U + 1);
    voters += below(x, 5);
    sim_config(&config);
    config.election_ticks = 5;
    config.heartbeat_ticks = 1 + below(x, 2);
    config.pre_vote = below(x, 2) != 0;
    config.check_quorum = below(x, 2) != 0;
    config.strict_conf = below(x, 2) != 0;
    config.step_down_on_removal = below(x, 4) != 0;
    config.max_inflight = windows[below(x, 4)];
    config.max_msg_bytes = sizes[below(x, 4)];
    config.max_msg_ents = 1 + below(x, 8);
    config.max_apply_ents = 1 + below(x, 20);
    config.max_uncommitted_bytes = below(x, 3) == 0 ? 60 : 0;
    config.disk_stall_ticks = below(x, 3) == 0 ? 15 : 0;
    for (unsigned i = 1; i <= voters; i++) {
        struct raft_changes add = {.n = 1, .op = {{.op = 'v', .id = i}}};

        assert_int_equal(raft_conf_change(&conf, &add), FL_OK);
    }
    for (unsigned i = 0; i < voters; i++) {
        sim_add_node(x->c, &config, 10, &conf);
    }
    for (unsigned i = below(x, 4); i > 0; i--) {
        sim_add_node(x->c, &config, 0, &(struct raft_conf){.n = 0});
    }
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        x->c->node[i].cold = below(x, 3) == 0 ? 4 : 0;
    }
    x->drop = below(x, 3) == 0 ? below(x, 300) : 0;
    x->duplicate = below(x, 3) == 0 ? below(x, 500) : 0;
    x->crash = below(x, 2) == 0 ? 1 + below(x, 8) : 0;
    x->change = below(x, 2) == 0 ? 1 + below(x, 10) : 0;
    x->cut = below(x, 2) == 0 ? 1 + below(x, 6) : 0;
    x->reorder = below(x, 2) != 0;
}

/* ---- events ---- */

static void deliver_one(struct chaos *x)
{
    struct sim_packet *p;

    if (x->c->npackets == 0) {
        return;
    }
    p = sim_unlink(x->c, x->reorder ? below(x, (unsigned)x->c->npackets) : 0);
    if (below(x, 1000) < x->drop) {
        sim_packet_free(p);
        return;
    }
    if (p->m.type != SIM_M_PROP && below(x, 1000) < x->duplicate) {
        sim_deliver(x->c, sim_packet_copy(p));
    }
    sim_deliver(x->c, p);
}

static void propose(struct chaos *x, struct sim_node *n)
{
    char text[SIM_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "p%u.", x->proposals++);
    (void)sim_propose(n, text);
}

static void change_membership(struct chaos *x)
{
    struct sim_node *n = any_node(x);
    unsigned id = 1 + below(x, x->c->nnodes);
    char op = "vvllr"[below(x, 5)];
    char text[SIM_TEXT_MAX];
    struct raft_status s;

    raft_status_get(n->group, &s);
    if (s.role != RAFT_LEADER || (op != 'r' && x->removed[id])) {
        return;
    }
    if (op == 'r' && (id <= 1 || raft_conf_get(n->group)->n <= 2)) {
        return; /* somebody must be left to recover */
    }
    if (raft_conf_get(n->group)->out != 0 || below(x, 8) == 0) {
        (void)snprintf(text, sizeof(text), "C2.0[]");
    } else if (below(x, 3) == 0) {
        (void)snprintf(text, sizeof(text), "C2.%u[%c%u]", 1 + below(x, 2), op, id);
    } else {
        (void)snprintf(text, sizeof(text), "C1[%c%u]", op, id);
    }
    x->removed[id] = x->removed[id] || (op == 'r' && text[3] != ']');
    (void)sim_propose(n, text);
}

static void cut_or_heal(struct chaos *x)
{
    unsigned kind = below(x, 5);
    unsigned a = 1 + below(x, x->c->nnodes);
    unsigned b = 1 + below(x, x->c->nnodes);

    if (kind < 2) {
        memset(x->c->cut, 0, sizeof(x->c->cut));
    } else if (kind == 2) {
        x->c->cut[a][b] = true; /* one way (E19) */
    } else if (kind == 3) {
        for (unsigned i = 1; i <= x->c->nnodes; i++) {
            x->c->cut[a][i] = x->c->cut[i][a] = true;
        }
    } else {
        for (unsigned i = 1; i <= x->c->nnodes; i++) {
            for (unsigned k = 1; k <= x->c->nnodes; k++) {
                x->c->cut[i][k] = (i <= a) != (k <= a);
            }
        }
    }
}

static void fetched(struct sim_node *n)
{
    for (raft_id id = 1; id <= n->cluster->nnodes; id++) {
        if ((n->fetching >> id & 1) != 0) {
            sim_allow(n, raft_fetched(n->group, n->now, id));
        }
    }
    n->fetching = 0;
}

static enum fl_status operate(struct chaos *x, struct sim_node *n)
{
    raft_id peer = 1 + below(x, x->c->nnodes);

    switch (below(x, 9)) {
    case 0:
        return raft_campaign(n->group, n->now);
    case 1:
        return raft_forget_leader(n->group, n->now);
    case 2:
        return raft_transfer(n->group, n->now, peer);
    case 3:
        return raft_unreachable(n->group, n->now, peer);
    case 4:
        return raft_snapshot_status(n->group, n->now, peer, below(x, 2) != 0);
    case 5:
        return raft_quiesce(n->group, n->now);
    case 6:
        return raft_wake(n->group, n->now);
    case 7:
        return raft_peer_alive(n->group, n->now, peer, n->now);
    default:
        sim_save(n);
        sim_compact(n);
        return FL_OK;
    }
}

static void one_event(struct chaos *x)
{
    struct sim_node *n = any_node(x);
    unsigned kind = below(x, 400 + x->crash + x->change * 3 + x->cut);

    if (kind < 150) {
        deliver_one(x);
    } else if (kind < 220) {
        (void)sim_take_ready(n);
    } else if (kind < 270) {
        (void)sim_persist_one(n);
    } else if (kind < 300) {
        (void)sim_apply(n);
    } else if (kind < 345) {
        sim_tick(n);
    } else if (kind < 370) {
        propose(x, n);
    } else if (kind < 378) {
        (void)sim_read(n, ++x->reads);
    } else if (kind < 386) {
        fetched(n);
    } else if (kind < 399) {
        sim_allow(n, operate(x, n));
    } else if (kind < 400) {
        (void)sim_settle(n);
    } else if (kind < 400 + x->crash) {
        sim_restart(n, below(x, 4));
    } else if (kind < 400 + x->crash + x->change * 3) {
        change_membership(x);
    } else {
        cut_or_heal(x);
    }
}

/* ---- recovery ---- */

static const struct sim_node *furthest(const struct chaos *x)
{
    const struct sim_node *best = &x->c->node[1];

    for (unsigned i = 2; i <= x->c->nnodes; i++) {
        if (x->c->node[i].machine.applied > best->machine.applied) {
            best = &x->c->node[i];
        }
    }
    return best;
}

/* A member of the newest configuration still counts on replica `id`. */
static bool is_needed(const struct chaos *x, const struct raft_conf *newest, raft_id id)
{
    for (unsigned i = 0; i < newest->n; i++) {
        const struct sim_node *member = &x->c->node[newest->id[i]];

        if (raft_conf_slot(raft_conf_get(member->group), id) >= 0) {
            return true;
        }
    }
    return false;
}

/* Replicas that nobody counts on any more are switched off, as their node would do. */
static void silence_removed(struct chaos *x)
{
    const struct raft_conf *newest = raft_conf_get(furthest(x)->group);

    memset(x->c->cut, 0, sizeof(x->c->cut));
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        for (unsigned k = 0; k <= SIM_NODES_MAX && !is_needed(x, newest, i); k++) {
            x->c->cut[i][k] = x->c->cut[k][i] = true;
        }
    }
}

static struct sim_node *find_leader(const struct chaos *x)
{
    struct sim_node *leader = NULL;
    raft_term term = 0;

    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        struct raft_status s;

        raft_status_get(x->c->node[i].group, &s);
        if (s.role == RAFT_LEADER && s.term > term) {
            leader = &x->c->node[i];
            term = s.term;
        }
    }
    return leader;
}

static bool all_equal(const struct chaos *x, const char *last)
{
    const struct sim_node *best = furthest(x);
    const struct raft_conf *conf = raft_conf_get(best->group);

    if (strstr(best->machine.data, last) == NULL) {
        return false;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        const struct sim_machine *m = &x->c->node[conf->id[i]].machine;

        if (m->applied != best->machine.applied || strcmp(m->data, best->machine.data) != 0) {
            return false;
        }
    }
    return true;
}

/* Nobody reports on snapshots that were lost in the chaos; a node would. */
static void report_lost_snapshots(struct sim_node *n)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t count = n != NULL ? raft_peers_get(n->group, peers, RAFT_MEMBERS_MAX) : 0;

    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].state == RAFT_SNAPSHOT) {
            sim_allow(n, raft_snapshot_status(n->group, n->now, peers[i].id, false));
        }
    }
}

static void one_round(struct chaos *x)
{
    silence_removed(x);
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        fetched(&x->c->node[i]);
        sim_allow(&x->c->node[i], raft_wake(x->c->node[i].group, x->c->node[i].now));
        sim_tick(&x->c->node[i]);
    }
    report_lost_snapshots(find_leader(x));
    sim_stabilize(x->c);
}

static bool recover(struct chaos *x)
{
    char text[SIM_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "final%u.", x->seed);
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        x->c->node[i].cold = 0;
    }
    x->c->trace = getenv("CHAOS_TRACE") != NULL;
    for (unsigned round = 0; round < RECOVERY_ROUNDS && x->c->violation[0] == '\0'; round++) {
        one_round(x);
        if (round > 20 && find_leader(x) != NULL &&
            strstr(furthest(x)->machine.data, text) == NULL) {
            (void)sim_propose(find_leader(x), text);
        }
        if (all_equal(x, text)) {
            return true;
        }
    }
    return false;
}

static void print_states(const struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        char text[512];

        script_state(&c->node[i], text, sizeof(text));
        print_message("  %s\n", text);
    }
}

static struct raft_stats total;

static void add_stats(const struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        const struct raft_stats *s = raft_env_stats(c->node[i].env);

        total.campaigns += s->campaigns;
        total.elections_won += s->elections_won;
        total.snapshots_installed += s->snapshots_installed;
        total.append_rejects += s->append_rejects;
        total.proposals_lost += s->proposals_lost;
        total.reads_failed += s->reads_failed;
        total.step_downs += s->step_downs;
        total.transfers_begun += s->transfers_begun;
    }
}

static bool run_seed(unsigned seed, uint64_t *events, uint64_t *applied)
{
    struct chaos x;
    bool ok;

    setup(&x, seed);
    for (unsigned i = 0; i < EVENTS && x.c->violation[0] == '\0'; i++) {
        one_event(&x);
        if (i % 250 == 0) {
            sim_check_logs(x.c);
        }
    }
    ok = recover(&x);
    sim_check_logs(x.c);
    if (x.c->violation[0] != '\0') {
        print_message("seed %u: %s\n", seed, x.c->violation);
        ok = false;
    } else if (!ok) {
        print_message("seed %u: no recovery\n", seed);
        print_states(x.c);
    }
    *events += x.c->events;
    *applied += x.c->committed_hi;
    add_stats(x.c);
    sim_destroy(x.c);
    return ok;
}

static unsigned from_env(const char *name, unsigned otherwise)
{
    const char *value = getenv(name);

    return value != NULL ? (unsigned)strtoul(value, NULL, 10) : otherwise;
}

/* M18: membership churn under partitions and crashes loses no update. P4: a new leader holds all
 * that was ever applied anywhere. E1, E19: crashes at any record, one-way links. */
static void test_chaos(void **state)
{
    unsigned from = from_env("CHAOS_FROM", 1);
    unsigned seeds = from_env("CHAOS_SEEDS", SEEDS);
    unsigned failed = 0;
    uint64_t events = 0;
    uint64_t applied = 0;

    (void)state;
    for (unsigned seed = from; seed < from + seeds; seed++) {
        failed += run_seed(seed, &events, &applied) ? 0 : 1;
    }
    print_message("%u seeds, %lu inputs, %lu entries committed, %u failed\n",
                  seeds,
                  (unsigned long)events,
                  (unsigned long)applied,
                  failed);
    print_message(
        "%lu campaigns, %lu won, %lu step-downs, %lu transfers, %lu snapshots installed, "
        "%lu appends refused, %lu entries overwritten, %lu reads failed\n",
        (unsigned long)total.campaigns,
        (unsigned long)total.elections_won,
        (unsigned long)total.step_downs,
        (unsigned long)total.transfers_begun,
        (unsigned long)total.snapshots_installed,
        (unsigned long)total.append_rejects,
        (unsigned long)total.proposals_lost,
        (unsigned long)total.reads_failed);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chaos),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
