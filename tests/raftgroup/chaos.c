/* Seeded chaos on a simulated cluster. */
#include "tests/raftgroup/chaos.h"

#include "tests/raftgroup/chaos_internal.h"
#include "tests/raftgroup/script.h"

#include "raftgroup/base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EVENTS = 2500,
    SILENT_ROUNDS = 25,    /* nobody hears anybody: longer than two election periods */
    SETTLE_ROUNDS = 400,   /* then everything must settle without anybody asking for something .. */
    RECOVERY_ROUNDS = 400, /* .. and then take one more write */
    LEASE_SKEW = 1         /* lease profile: clocks differ by at most this */
};

unsigned chaos__below(struct chaos *x, unsigned bound)
{
    return (unsigned)fl_prng_below(&x->prng, bound);
}

static struct sim_node *any_node(struct chaos *x)
{
    return &x->c->node[1 + chaos__below(x, x->c->nnodes)];
}

/* Every seed is good at something else. */
static void set_weights(struct chaos *x)
{
    static const unsigned usual[CHAOS_KINDS] = {[CHAOS_DELIVER] = 150,
                                                [CHAOS_READY] = 70,
                                                [CHAOS_PERSIST] = 50,
                                                [CHAOS_APPLY] = 30,
                                                [CHAOS_TICK] = 45,
                                                [CHAOS_PROPOSE] = 25,
                                                [CHAOS_READ] = 8,
                                                [CHAOS_FETCHED] = 8,
                                                [CHAOS_OPERATE] = 13,
                                                [CHAOS_SETTLE] = 1,
                                                [CHAOS_CRASH] = 8,
                                                [CHAOS_CHANGE] = 30,
                                                [CHAOS_CUT] = 6,
                                                [CHAOS_REPLAY] = 20,
                                                [CHAOS_USURP] = 3,
                                                [CHAOS_SPLIT] = 2,
                                                [CHAOS_FIGURE_8] = 2};

    for (unsigned i = 0; i < CHAOS_KINDS; i++) {
        x->weight[i] = usual[i];
        if (i >= CHAOS_CRASH) {
            x->weight[i] = chaos__below(x, 2) == 0 ? 1 + chaos__below(x, usual[i]) : 0;
        } else if (chaos__below(x, 8) == 0) {
            x->weight[i] = 1 + usual[i] / 5; /* slow disk, slow machine, quiet clients .. */
        }
        x->weights += x->weight[i];
    }
}

static void setup(struct chaos *x, unsigned seed)
{
    static const unsigned windows[] = {1, 2, 3, 256};
    static const unsigned sizes[] = {0, 1, 40, 1000000};
    struct raft_config config;
    struct raft_conf conf = {.n = 0};
    struct fl_prng own;
    unsigned voters = 1;
    bool mixed;

    memset(x, 0, sizeof(*x));
    x->c = sim_create(seed);
    x->seed = seed;
    fl_prng_seed(&x->prng, seed * 7919U + 1);
    voters += chaos__below(x, 5);
    sim_config(&config);
    config.election_ticks = 5;
    config.heartbeat_ticks = 1 + chaos__below(x, 2);
    config.pre_vote = chaos__below(x, 2) != 0;
    config.check_quorum = chaos__below(x, 2) != 0;
    config.strict_conf = chaos__below(x, 2) != 0;
    config.step_down_on_removal = chaos__below(x, 4) != 0;
    config.max_inflight = windows[chaos__below(x, 4)];
    config.max_msg_bytes = sizes[chaos__below(x, 4)];
    config.max_msg_ents = 1 + chaos__below(x, 8);
    config.max_apply_ents = 1 + chaos__below(x, 20);
    config.max_uncommitted_bytes = chaos__below(x, 3) == 0 ? 60 : 0;
    config.disk_stall_ticks = chaos__below(x, 3) == 0 ? 15 : 0;
    fl_prng_seed(&own, seed * 31 + 7); /* by itself: the rest of a seed stays what it was */
    config.defer_ticks = fl_prng_below(&own, 2) == 0 ? 0 : 1 + (uint32_t)fl_prng_below(&own, 3);
    x->lease = chaos__below(x, 4) == 0;
    if (x->lease) {
        config.check_quorum = true;
        config.lease_reads = true;
        config.lease_drift_ticks = 2 * LEASE_SKEW;
        config.boot_quarantine_ticks = config.election_ticks + 2 * LEASE_SKEW;
    }
    for (unsigned i = 1; i <= voters; i++) {
        struct raft_changes add = {.n = 1, .op = {{.op = 'v', .id = i}}};

        fl_assert(raft_conf_change(&conf, &add) == FL_OK);
    }
    mixed = chaos__below(x, 4) == 0;
    for (unsigned i = 0; i < voters; i++) {
        config.pre_vote = mixed ? chaos__below(x, 2) != 0 : config.pre_vote; /* E12 */
        sim_add_node(x->c, &config, 10, &conf);
    }
    for (unsigned i = chaos__below(x, 4); i > 0; i--) {
        sim_add_node(x->c, &config, 0, &(struct raft_conf){.n = 0});
    }
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        x->c->node[i].cold = chaos__below(x, 3) == 0 ? 4 : 0;
    }
    x->drop = chaos__below(x, 3) == 0 ? chaos__below(x, 300) : 0;
    x->duplicate = chaos__below(x, 3) == 0 ? chaos__below(x, 500) : 0;
    set_weights(x);
    x->reorder = chaos__below(x, 2) != 0;
}

/* ---- events ---- */

struct sim_node *chaos__find_leader(const struct chaos *x)
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

void chaos__pass_time(struct chaos *x, struct sim_node *n)
{
    for (unsigned i = 1; i <= x->c->nnodes && x->lease; i++) {
        if (n->now >= x->c->node[i].now + LEASE_SKEW) {
            return;
        }
    }
    sim_tick(n);
}

static void deliver_one(struct chaos *x)
{
    struct sim_packet *p;

    if (x->c->npackets == 0) {
        return;
    }
    p = sim_unlink(x->c, x->reorder ? chaos__below(x, (unsigned)x->c->npackets) : 0);
    if (chaos__below(x, 1000) < x->drop) {
        sim_packet_free(p);
        return;
    }
    chaos__stash(x, p);
    if (p->m.type != SIM_M_PROP && chaos__below(x, 1000) < x->duplicate) {
        sim_deliver(x->c, sim_packet_copy(p));
    }
    sim_deliver(x->c, p);
}

void chaos__propose(struct chaos *x, struct sim_node *n)
{
    char text[SIM_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "p%u.", x->proposals++);
    (void)sim_propose(n, text);
}

/* One operation on a member or a spare; false = not allowed. */
static bool choose_change(struct chaos *x, const struct sim_node *leader, char *out, size_t size)
{
    unsigned id = 1 + chaos__below(x, x->c->nnodes);
    char op = "vvllr"[chaos__below(x, 5)];

    if (op != 'r' && x->removed[id]) {
        return false;
    }
    if (op == 'r' && (id <= 1 || raft_conf_get(leader->group)->n <= 2)) {
        return false; /* somebody must be left to recover */
    }
    x->removed[id] = x->removed[id] || op == 'r';
    (void)snprintf(out, size, "%c%u", op, id);
    return true;
}

static void change_membership(struct chaos *x)
{
    struct sim_node *n = any_node(x);
    char text[SIM_TEXT_MAX] = "C2.0[]";
    char op[16];
    struct raft_status s;

    raft_status_get(n->group, &s);
    if (s.role != RAFT_LEADER) {
        return;
    }
    if (raft_conf_get(n->group)->out == 0 && chaos__below(x, 8) != 0) {
        unsigned ops = chaos__below(x, 2) == 0 ? 1 : 1 + chaos__below(x, 5);
        size_t len = (size_t)snprintf(text,
                                      sizeof(text),
                                      ops > 1 || chaos__below(x, 3) == 0 ? "C2.%u[" : "C1[",
                                      1 + chaos__below(x, 2));
        bool any = false;

        for (unsigned i = 0; i < ops; i++) {
            if (choose_change(x, n, op, sizeof(op))) {
                len += (size_t)snprintf(text + len, sizeof(text) - len, "%s,", op);
                any = true;
            }
        }
        if (!any) {
            return;
        }
        text[len - 1] = ']';
    }
    (void)sim_propose(n, text);
}

static void cut_or_heal(struct chaos *x)
{
    unsigned kind = chaos__below(x, 5);
    unsigned a = 1 + chaos__below(x, x->c->nnodes);
    unsigned b = 1 + chaos__below(x, x->c->nnodes);

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
    raft_id peer = 1 + chaos__below(x, x->c->nnodes);

    switch (chaos__below(x, 9)) {
    case 0:
        return raft_campaign(n->group, n->now);
    case 1:
        return raft_forget_leader(n->group, n->now);
    case 2:
        return raft_transfer(n->group, n->now, peer);
    case 3:
        return raft_unreachable(n->group, n->now, peer);
    case 4:
        return raft_snapshot_status(n->group, n->now, peer, chaos__below(x, 2) != 0);
    case 5:
        return raft_quiesce(n->group, n->now);
    case 6:
        return raft_wake(n->group, n->now);
    case 7:
        return x->lease ? FL_OK : raft_peer_alive(n->group, n->now, peer, n->now);
    default:
        sim_save(n);
        sim_compact(n);
        return FL_OK;
    }
}

static enum chaos_kind choose_kind(struct chaos *x)
{
    unsigned at = chaos__below(x, x->weights);
    unsigned kind = 0;

    for (; at >= x->weight[kind]; kind++) {
        at -= x->weight[kind];
    }
    return (enum chaos_kind)kind;
}

static void one_event(struct chaos *x)
{
    struct sim_node *n = any_node(x);

    switch (choose_kind(x)) {
    case CHAOS_DELIVER:
        deliver_one(x);
        break;
    case CHAOS_READY:
        (void)sim_take_ready(n);
        break;
    case CHAOS_PERSIST:
        (void)sim_persist_one(n);
        break;
    case CHAOS_APPLY:
        (void)sim_apply(n);
        break;
    case CHAOS_TICK:
        chaos__pass_time(x, n);
        break;
    case CHAOS_PROPOSE:
        chaos__propose(x, n);
        break;
    case CHAOS_READ:
        (void)sim_read(n, ++x->reads);
        break;
    case CHAOS_FETCHED:
        fetched(n);
        break;
    case CHAOS_OPERATE:
        sim_allow(n, operate(x, n));
        break;
    case CHAOS_SETTLE:
        (void)sim_settle(n);
        break;
    case CHAOS_CRASH:
        sim_restart(n, chaos__below(x, 4));
        break;
    case CHAOS_CHANGE:
        change_membership(x);
        break;
    case CHAOS_CUT:
        cut_or_heal(x);
        break;
    case CHAOS_REPLAY:
        chaos__replay(x);
        break;
    case CHAOS_USURP:
        chaos__usurp(x);
        break;
    case CHAOS_SPLIT:
        chaos__split(x);
        break;
    case CHAOS_FIGURE_8:
        chaos__figure_8(x);
        break;
    case CHAOS_KINDS:
    default:
        break;
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

/* Every member has everything its leader has, and nothing waits any more. */
static bool is_settled(const struct chaos *x)
{
    const struct sim_node *leader = chaos__find_leader(x);
    const struct raft_conf *conf;
    struct raft_status s;

    if (leader == NULL) {
        return false;
    }
    raft_status_get(leader->group, &s);
    conf = raft_conf_get(leader->group);
    if (raft_conf_slot(conf, leader->id) < 0 || s.commit != s.last || s.transferee != 0 ||
        conf->autoleave) {
        return false;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        const struct sim_node *n = &x->c->node[conf->id[i]];

        if (n->machine.applied != s.last || n->nasked != 0 ||
            !raft_conf_equal(raft_conf_get(n->group), conf)) {
            return false;
        }
    }
    return true;
}

static void one_round(struct chaos *x)
{
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        fetched(&x->c->node[i]);
        sim_tick(&x->c->node[i]);
    }
    sim_stabilize(x->c);
}

/* Long enough for everybody to notice. After that each node wakes its groups, as it does when it
 * loses sight of another node (Q1). */
static void silence(struct chaos *x)
{
    memset(x->c->cut, 1, sizeof(x->c->cut));
    for (unsigned round = 0; round < SILENT_ROUNDS; round++) {
        one_round(x);
    }
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        sim_allow(&x->c->node[i], raft_wake(x->c->node[i].group, x->c->node[i].now));
    }
}

static bool settle(struct chaos *x)
{
    for (unsigned round = 0; round < SETTLE_ROUNDS && x->c->violation[0] == '\0'; round++) {
        silence_removed(x);
        one_round(x);
        if (is_settled(x)) {
            return true;
        }
    }
    return false;
}

/* A write to a group that sleeps if it can, and whose first messages are lost. */
static void write_asleep(struct chaos *x, const char *text)
{
    struct sim_node *leader = chaos__find_leader(x);

    if (leader == NULL) {
        return; /* cannot be: it has just settled */
    }
    sim_allow(leader, raft_quiesce(leader->group, leader->now));
    sim_stabilize(x->c);
    (void)sim_propose(leader, text);
    (void)sim_settle(leader);
    while (x->c->npackets > 0) {
        sim_packet_free(sim_unlink(x->c, 0));
    }
}

static const char *recover(struct chaos *x)
{
    char text[SIM_TEXT_MAX];

    (void)snprintf(text, sizeof(text), "final%u.", x->seed);
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        x->c->node[i].cold = 0;
    }
    x->c->trace = getenv("CHAOS_TRACE") != NULL;
    silence(x);
    if (!settle(x)) {
        return "does not settle after the faults";
    }
    write_asleep(x, text);
    for (unsigned round = 0; round < RECOVERY_ROUNDS && x->c->violation[0] == '\0'; round++) {
        silence_removed(x);
        one_round(x);
        if (round > 20 && chaos__find_leader(x) != NULL &&
            strstr(furthest(x)->machine.data, text) == NULL) {
            (void)sim_propose(chaos__find_leader(x), text);
        }
        if (all_equal(x, text)) {
            return NULL;
        }
    }
    return "a write after the faults does not reach everybody";
}

static void print_states(const struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        char text[512];

        script_state(&c->node[i], text, sizeof(text));
        (void)fprintf(stderr, "  %s\n", text);
    }
}

static void add_stats(const struct sim_cluster *c, struct raft_stats *total)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        const struct raft_stats *s = raft_env_stats(c->node[i].env);

        total->campaigns += s->campaigns;
        total->elections_won += s->elections_won;
        total->snapshots_installed += s->snapshots_installed;
        total->append_rejects += s->append_rejects;
        total->proposals_lost += s->proposals_lost;
        total->reads_failed += s->reads_failed;
        total->step_downs += s->step_downs;
        total->transfers_begun += s->transfers_begun;
    }
}

void chaos_run(unsigned seed, struct chaos_result *out, struct raft_stats *total)
{
    struct chaos x;
    const char *stuck;

    setup(&x, seed);
    for (unsigned i = 0; i < EVENTS && x.c->violation[0] == '\0'; i++) {
        one_event(&x);
        if (i % 250 == 0) {
            sim_check_logs(x.c);
        }
    }
    stuck = x.c->violation[0] == '\0' ? recover(&x) : NULL;
    sim_check_logs(x.c);
    *out = (struct chaos_result){.ok = stuck == NULL && x.c->violation[0] == '\0',
                                 .unsafe = x.c->violation[0] != '\0',
                                 .events = x.c->events,
                                 .committed = x.c->committed_hi};
    (void)snprintf(out->why,
                   sizeof(out->why),
                   "%s",
                   out->unsafe     ? x.c->violation
                   : stuck != NULL ? stuck
                                   : "");
    if (!out->ok && getenv("CHAOS_STATES") != NULL) {
        print_states(x.c);
    }
    add_stats(x.c, total);
    chaos__stash_drop(&x);
    sim_destroy(x.c);
}
