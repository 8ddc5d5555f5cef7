/* The network of the simulated world: packets, links, arrival. */
#include "tests/raftgroup/cluster_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- packets ---- */

void sim_packet_free(struct sim_packet *p)
{
    sim__snapshot_free(p->snapshot);
    free(p->ents);
    free(p->entries);
    free(p);
}

struct sim_packet *sim_packet_copy(const struct sim_packet *p)
{
    struct sim_packet *copy = fl_xmemdup(p, sizeof(*p));

    if (p->ents != NULL) {
        copy->ents = fl_xmemdup(p->ents, p->m.nents * sizeof(*p->ents));
        copy->entries = fl_xmemdup(p->entries, p->m.nents * sizeof(*p->entries));
    }
    copy->snapshot = sim__snapshot_copy(p->snapshot);
    copy->next = NULL;
    return copy;
}

void sim__post(struct sim_cluster *c, struct sim_packet *p)
{
    p->next = NULL;
    *c->tail = p;
    c->tail = &p->next;
    c->npackets++;
}

struct sim_packet *sim_unlink(struct sim_cluster *c, size_t position)
{
    struct sim_packet **at = &c->packets;
    struct sim_packet *p;

    for (size_t i = 0; i < position; i++) {
        at = &(*at)->next;
    }
    p = *at;
    fl_assert(p != NULL);
    *at = p->next;
    if (p->next == NULL) {
        c->tail = at;
    }
    c->npackets--;
    return p;
}

/* The recorded library sends a forwarded transfer in the name of its target. */
static bool is_cut(const struct sim_cluster *c, const struct raft_msg *m)
{
    raft_id from = m->type == RAFT_M_XFER && m->x <= SIM_NODES_MAX ? m->x : m->from;

    return c->cut[from][m->to];
}

void sim_drop_cut(struct sim_cluster *c)
{
    size_t i = 0;
    struct sim_packet *p = c->packets;

    while (p != NULL) {
        struct sim_packet *next = p->next;

        if (is_cut(c, &p->m)) {
            sim_packet_free(sim_unlink(c, i));
        } else {
            i++;
        }
        p = next;
    }
}

/* What the shell does with a message: attach payloads, or the snapshot. */
void sim__send_message(struct sim_node *n, const struct raft_msg *m)
{
    struct sim_packet *p = fl_xcalloc(1, sizeof(*p));

    sim__check_promise(n, m);
    p->m = *m;
    if (m->nents > 0) {
        p->ents = fl_xcalloc(m->nents, sizeof(*p->ents));
        p->entries = fl_xcalloc(m->nents, sizeof(*p->entries));
        for (uint32_t i = 0; i < m->nents; i++) {
            const struct sim_entry *e = sim__log_get(&n->cache, m->index + 1 + i);

            if (e == NULL || e->term != raft_term_at(n->group, m->index + 1 + i)) {
                sim_violate(n->cluster, "node %d names an entry it does not have", (int)n->id);
                continue;
            }
            p->entries[i] = *e;
            p->ents[i] = (struct raft_ent){
                .term = e->term, .len = (uint32_t)strlen(e->text), .type = e->type};
        }
    }
    if (m->type == RAFT_M_SNAP) {
        /* Taken now: at the applied index, which covers what the core asks for. */
        if (n->machine.applied < m->index) {
            sim_violate(n->cluster, "node %d offers a snapshot it does not have", (int)n->id);
        }
        p->snapshot = sim__snapshot_new(
            n->machine.applied, n->machine.applied_term, &n->machine.conf, n->machine.data);
        p->m.index = p->snapshot->index;
        p->m.log_term = p->snapshot->term;
    }
    sim__post(n->cluster, p);
}

void sim_send_snapshot(struct sim_node *n, raft_id to)
{
    struct raft_status s;

    raft_status_get(n->group, &s);
    sim__send_message(n,
                      &(struct raft_msg){.type = RAFT_M_SNAP,
                                         .group = s.group,
                                         .from = n->id,
                                         .to = to,
                                         .term = s.term,
                                         .index = n->machine.applied,
                                         .log_term = n->machine.applied_term});
}

/* ---- receiving ---- */

static void receive_prop(struct sim_node *n, const struct sim_packet *p)
{
    (void)sim__propose_here(n, p->m.from, p->prop.text);
    sim__observe(n);
}

static void receive_snapshot(struct sim_node *n, struct sim_packet *p, enum fl_status status)
{
    if (status != FL_OK || p->snapshot == NULL) {
        return;
    }
    status = sim__seen(n,
                       raft_snapshot_staged(n->group,
                                            n->now,
                                            p->m.from,
                                            p->snapshot->index,
                                            p->snapshot->term,
                                            &p->snapshot->conf));
    if (status == FL_OK) {
        sim__snapshot_free(n->staged);
        n->staged = p->snapshot;
        p->snapshot = NULL;
        n->apply_hi = n->machine.applied; /* whatever was handed out is replaced */
    }
}

static void trace_packet(const struct sim_cluster *c, const struct sim_packet *p)
{
    static const char *const names[] = {"?",
                                        "APP",
                                        "APPR",
                                        "HB",
                                        "HBR",
                                        "VOTE",
                                        "VOTER",
                                        "PREVOTE",
                                        "PREVOTER",
                                        "SNAP",
                                        "TIMEOUTNOW",
                                        "TIMEOUTNOWR",
                                        "READ",
                                        "READR",
                                        "XFER"};

    if (c->trace) {
        (void)fprintf(stderr,
                      "  %d>%d %s%s t=%d i=%d/%d c=%d x=%d n=%u%s\n",
                      (int)p->m.from,
                      (int)p->m.to,
                      p->m.type <= RAFT_M_MAX ? names[p->m.type] : "PROP",
                      (p->m.flags & RAFT_F_REJECT) != 0 ? " reject" : "",
                      (int)p->m.term,
                      (int)p->m.log_term,
                      (int)p->m.index,
                      (int)p->m.commit,
                      (int)p->m.x,
                      p->m.nents,
                      is_cut(c, &p->m) ? " LOST" : "");
    }
}

void sim_deliver(struct sim_cluster *c, struct sim_packet *p)
{
    struct sim_node *n = &c->node[p->m.to];
    raft_index keep_lo;
    raft_index keep_hi;
    enum fl_status status;

    trace_packet(c, p);
    if (is_cut(c, &p->m) || n->group == NULL) {
        sim_packet_free(p);
        return;
    }
    if (p->m.type == SIM_M_PROP) {
        receive_prop(n, p);
        sim_packet_free(p);
        return;
    }
    status = sim__seen(n, raft_step(n->group, n->now, &p->m, p->ents, &keep_lo, &keep_hi));
    if (status == FL_BAD_MESSAGE) {
        sim_violate(c, "node %d finds a message of %d malformed", (int)n->id, (int)p->m.from);
    }
    for (raft_index i = keep_lo; i <= keep_hi; i++) {
        sim__keep_entry(n, i, p->entries[i - p->m.index - 1]);
    }
    if (p->m.type == RAFT_M_SNAP) {
        receive_snapshot(n, p, status);
    }
    sim_packet_free(p);
    sim__observe(n);
}

void sim_stabilize(struct sim_cluster *c)
{
    bool moved = true;
    unsigned delivered = 0;

    while (moved && c->violation[0] == '\0') {
        moved = false;
        for (unsigned i = 1; i <= c->nnodes; i++) {
            moved = sim_settle(&c->node[i]) || moved;
        }
        while (c->npackets > 0 && c->violation[0] == '\0') {
            sim_deliver(c, sim_unlink(c, 0));
            moved = true;
            if (++delivered == SIM_DELIVERIES_MAX) {
                sim_violate(c, "messages never end");
            }
        }
    }
}
