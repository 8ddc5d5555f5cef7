/* Aimed faults: situations of the scenarios that random choice hardly ever hits. */
#include "tests/raftgroup/chaos_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a packet comes again, much later ---- */

void chaos__stash(struct chaos *x, const struct sim_packet *p)
{
    struct sim_packet **at = &x->stash[chaos__below(x, CHAOS_STASH_MAX)];

    if (x->weight[CHAOS_REPLAY] == 0 || p->m.type == SIM_M_PROP || chaos__below(x, 8) != 0) {
        return;
    }
    if (*at != NULL) {
        sim_packet_free(*at);
    }
    *at = sim_packet_copy(p);
}

void chaos__replay(struct chaos *x)
{
    const struct sim_packet *p = x->stash[chaos__below(x, CHAOS_STASH_MAX)];

    if (p != NULL) {
        sim_deliver(x->c, sim_packet_copy(p));
    }
}

void chaos__stash_drop(struct chaos *x)
{
    for (unsigned i = 0; i < CHAOS_STASH_MAX; i++) {
        if (x->stash[i] != NULL) {
            sim_packet_free(x->stash[i]);
        }
    }
}

/* ---- a second leader ---- */

enum { LONG = 50 };

static unsigned leader_of(const struct sim_node *n, raft_term *term)
{
    struct raft_status s;

    raft_status_get(n->group, &s);
    *term = s.term;
    return (unsigned)s.leader;
}

static void age(struct chaos *x)
{
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        chaos__pass_time(x, &x->c->node[i]);
    }
}

struct hold { /* packets between a and b wait */
    raft_mask a;
    raft_mask b;
    bool from; /* from a to b */
    bool to;   /* from b to a */
};

static raft_mask bit(raft_id id)
{
    return (raft_mask)(1U << id);
}

static const raft_mask everybody = UINT16_MAX;

static bool is_held(const struct sim_packet *p, const struct hold *h)
{
    bool from = (bit(p->m.from) & h->a) != 0 && (bit(p->m.to) & h->b) != 0;
    bool to = (bit(p->m.to) & h->a) != 0 && (bit(p->m.from) & h->b) != 0;

    return (h->from && from) || (h->to && to);
}

/* As sim_settle; a lazy machine does not apply while it only follows (M2). */
static bool settle(struct chaos *x, struct sim_node *n)
{
    bool moved = false;
    raft_term term;

    if (!x->lazy || leader_of(n, &term) == n->id) {
        return sim_settle(n);
    }
    while (sim_take_ready(n) || sim_persist_one(n)) {
        moved = true;
    }
    return moved;
}

/* Everything else moves, for so many turns. */
static void run_holding(struct chaos *x, struct hold h, unsigned turns)
{
    bool moved = true;

    for (unsigned turn = 0; moved && turn < turns && x->c->violation[0] == '\0'; turn++) {
        size_t i = 0;

        moved = false;
        for (unsigned n = 1; n <= x->c->nnodes; n++) {
            moved = settle(x, &x->c->node[n]) || moved;
        }
        while (i < x->c->npackets) {
            struct sim_packet *p = x->c->packets;

            for (size_t k = 0; k < i; k++) {
                p = p->next;
            }
            if (is_held(p, &h)) {
                i++;
                continue;
            }
            sim_deliver(x->c, sim_unlink(x->c, i));
            moved = true;
        }
    }
}

/* The target is told to campaign, whoever else stays in the dark (R5). */
static void hand_over(struct chaos *x, struct sim_node *leader, struct sim_node *heir)
{
    size_t i = 0;

    sim_allow(leader, raft_transfer(leader->group, leader->now, heir->id));
    (void)sim_settle(leader);
    for (struct sim_packet *p = x->c->packets; p != NULL; p = p->next, i++) {
        if (p->m.type == RAFT_M_TIMEOUTNOW && p->m.to == heir->id) {
            sim_deliver(x->c, sim_unlink(x->c, i));
            return;
        }
    }
}

/* Answers of long ago reach the old leader only now (R2, R6). */
static void answer_late(struct chaos *x, const struct sim_node *leader)
{
    size_t i = 0;

    while (i < x->c->npackets) {
        struct sim_packet *p = x->c->packets;

        for (size_t k = 0; k < i; k++) {
            p = p->next;
        }
        if (p->m.to == leader->id && (p->m.type == RAFT_M_HBR || p->m.type == RAFT_M_APPR)) {
            sim_deliver(x->c, sim_unlink(x->c, i));
        } else {
            i++;
        }
    }
}

static void restart_others(struct chaos *x, const struct sim_node *a, const struct sim_node *b)
{
    for (unsigned i = 1; i <= x->c->nnodes; i++) {
        if (i != a->id && i != b->id) {
            sim_restart(&x->c->node[i], 3);
        }
    }
}

/* The heir has not heard of the leader for an election period, all others have: they stick to it
 * (E24), also after a restart (R7). */
static void estrange(struct chaos *x, struct sim_node *leader, struct sim_node *heir)
{
    for (unsigned i = 0; i < leader->config.election_ticks; i++) {
        age(x);
        run_holding(x, (struct hold){bit(leader->id), bit(heir->id), true, true}, LONG);
    }
    if (chaos__below(x, 2) == 0) {
        restart_others(x, leader, heir);
    }
    sim_allow(heir, raft_campaign(heir->group, heir->now));
}

/* The nodes outside `old` hear nothing of it until one of them leads, and writes. */
static void depose(struct chaos *x, raft_mask old)
{
    struct hold apart = {old, (raft_mask)~old, true, true};
    unsigned patience = 3 * x->c->node[1].config.election_ticks;

    for (unsigned i = 0; i < patience && x->c->violation[0] == '\0'; i++) {
        struct sim_node *next;

        run_holding(x, apart, LONG);
        next = chaos__find_leader(x);
        if (next != NULL && (bit(next->id) & old) == 0) {
            chaos__propose(x, next);
            run_holding(x, apart, chaos__below(x, 3) == 0 ? chaos__below(x, 4) : LONG);
            return;
        }
        age(x);
    }
}

void chaos__usurp(struct chaos *x)
{
    struct sim_node *leader = chaos__find_leader(x);
    struct sim_node *heir = &x->c->node[1 + chaos__below(x, x->c->nnodes)];
    raft_term before;
    raft_term term;

    if (leader == NULL || heir == leader || leader_of(heir, &term) != leader->id) {
        return;
    }
    (void)leader_of(leader, &before);
    if (chaos__below(x, 2) == 0) {
        run_holding(x, (struct hold){0}, LONG);
    } else {
        chaos__propose(x, leader); /* perhaps nobody else ever sees it: figure 8 of the thesis */
        run_holding(x, (struct hold){0}, chaos__below(x, 4));
    }
    switch (chaos__below(x, 3)) {
    case 0:
        hand_over(x, leader, heir);
        break;
    case 1:
        estrange(x, leader, heir);
        break;
    default: /* beats arrive, their answers wait */
        for (unsigned i = 0; i + 1 < leader->config.election_ticks; i++) {
            age(x);
            run_holding(x, (struct hold){bit(leader->id), everybody, i > 1, true}, LONG);
        }
        break;
    }
    depose(x, bit(leader->id));
    if (chaos__below(x, 2) == 0) {
        answer_late(x, leader);
    }
    (void)sim_read(leader, ++x->reads);
    if (chaos__below(x, 2) == 0) {
        answer_late(x, leader);
    }
    (void)sim_settle(leader);
}

/* ---- the two halves of a joint configuration ---- */

static raft_mask ids_of(const struct raft_conf *conf, raft_mask slots)
{
    raft_mask ids = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        ids |= (slots >> i & 1) != 0 ? bit(conf->id[i]) : 0;
    }
    return ids;
}

/* All other voters make room for everybody else. */
static bool exchange(struct chaos *x, struct sim_node *leader)
{
    const struct raft_conf *conf = raft_conf_get(leader->group);
    char text[SIM_TEXT_MAX] = "C2.2[";
    char one[16];
    size_t len = strlen(text);

    for (unsigned id = 1; id <= x->c->nnodes && len + sizeof(one) < sizeof(text); id++) {
        int slot = raft_conf_slot(conf, id);
        bool voter = slot >= 0 && (conf->in >> slot & 1) != 0;

        if (id != leader->id && !x->removed[id]) {
            (void)snprintf(one, sizeof(one), "%c%u,", voter ? 'l' : 'v', id);
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s", one);
        }
    }
    if (text[len - 1] == '[') {
        return false; /* nobody else is there */
    }
    text[len - 1] = ']';
    return sim_propose(leader, text) == FL_OK;
}

void chaos__split(struct chaos *x)
{
    struct sim_node *leader = chaos__find_leader(x);
    const struct raft_conf *conf;
    raft_mask ours;

    if (leader == NULL) {
        return;
    }
    run_holding(x, (struct hold){0}, LONG);
    conf = raft_conf_get(leader->group);
    if (conf->out != 0 || !exchange(x, leader)) {
        return;
    }
    for (unsigned turn = 0; turn < LONG && conf->out == 0; turn++) {
        run_holding(x, (struct hold){0}, 1);
        (void)sim_settle(leader);
    }
    ours = ids_of(conf, (raft_mask)(conf->in & ~conf->out)) | bit(leader->id);
    x->lazy = chaos__below(x, 2) == 0;
    run_holding(x, (struct hold){0}, chaos__below(x, 3));
    if (x->lazy && sim_propose(leader, "C2.0[]") == FL_OK) {
        run_holding(x, (struct hold){0}, LONG); /* all know, only the leader goes with it */
    }
    chaos__propose(x, leader);
    run_holding(x, (struct hold){ours, (raft_mask)~ours, true, true}, LONG);
    depose(x, ours);
    (void)sim_read(leader, ++x->reads);
    run_holding(x, (struct hold){ours, (raft_mask)~ours, true, true}, LONG);
    x->lazy = false;
}

/* ---- figure 8 of the thesis ---- */

/* Turn by turn until one of `who` leads, and not one packet further. */
static struct sim_node *raise_one(struct chaos *x, raft_mask who, struct hold hold)
{
    unsigned patience = 20 * x->c->node[1].config.election_ticks;

    for (unsigned i = 0; i < patience && x->c->violation[0] == '\0'; i++) {
        struct sim_node *leader = chaos__find_leader(x);

        if (leader != NULL && (bit(leader->id) & who) != 0) {
            return leader;
        }
        if (x->c->npackets == 0 || i % 4 == 3) {
            age(x);
        }
        run_holding(x, hold, 1);
    }
    return NULL;
}

void chaos__figure_8(struct chaos *x)
{
    struct sim_node *first = chaos__find_leader(x);
    struct sim_node *second;
    struct hold apart = {0, everybody, true, true};

    if (first == NULL) {
        return;
    }
    run_holding(x, (struct hold){0}, LONG);
    chaos__propose(x, first); /* (a): written here and nowhere else */
    (void)sim_settle(first);
    apart.a = bit(first->id);
    second = raise_one(x, (raft_mask)~apart.a, apart); /* (b): so does the next one */
    if (second == NULL) {
        return;
    }
    (void)sim_settle(second);
    apart.a = bit(second->id);
    if (raise_one(x, bit(first->id), apart) == NULL) { /* (c): the first comes back .. */
        return;
    }
    run_holding(x, apart, 1 + chaos__below(x, 3)); /* .. and spreads its old entry */
    (void)sim_settle(first);
    apart.a = bit(first->id);
    (void)raise_one(
        x, bit(second->id), apart); /* (d): may not be overwritten if it was committed */
    run_holding(x, apart, LONG);
}
