/* What is checked at every step of the simulated world. */
#include "tests/raftgroup/cluster_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_violate(struct sim_cluster *c, const char *format, ...)
{
    va_list args;

    if (c->violation[0] != '\0') {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(c->violation, sizeof(c->violation), format, args);
    va_end(args);
}

/* FL_FROZEN anywhere is a breach; every other status is the caller's. */
enum fl_status sim__seen(struct sim_node *n, enum fl_status status)
{
    if (status == FL_FROZEN) {
        struct raft_status s;

        raft_status_get(n->group, &s);
        sim_violate(n->cluster, "node %d frozen: %s", (int)n->id, s.why != NULL ? s.why : "?");
    }
    return status;
}

void sim_allow(struct sim_node *n, enum fl_status status)
{
    (void)sim__seen(n, status);
}

/* ---- what everybody may rely on ---- */

void sim__note_committed(struct sim_node *n, raft_index index, const struct sim_entry *e)
{
    struct sim_cluster *c = n->cluster;
    size_t old = c->committed_capacity;
    struct sim_committed *at;

    fl_grow(&c->committed, &c->committed_capacity, index + 1, sizeof(*c->committed));
    if (c->committed_capacity > old) {
        memset(c->committed + old, 0, (c->committed_capacity - old) * sizeof(*c->committed));
    }
    at = &c->committed[index];
    if (at->term == 0) {
        at->term = e->term;
        (void)snprintf(at->text, sizeof(at->text), "%s", e->text);
    } else if (at->term != e->term || strcmp(at->text, e->text) != 0) {
        sim_violate(c,
                    "node %d applies %d/%d=%s, earlier it was %d/%d=%s",
                    (int)n->id,
                    (int)e->term,
                    (int)index,
                    e->text,
                    (int)at->term,
                    (int)index,
                    at->text);
    }
    c->committed_hi = index > c->committed_hi ? index : c->committed_hi;
    for (size_t i = 0; i < c->nlost; i++) {
        if (c->lost[i].index == index && c->lost[i].term == e->term) {
            sim_violate(c, "%d/%d was reported lost and is applied", (int)e->term, (int)index);
        }
    }
}

static void note_leader(struct sim_node *n, raft_term term)
{
    struct sim_cluster *c = n->cluster;
    size_t old = c->leader_capacity;

    fl_grow(&c->leader_of, &c->leader_capacity, term + 1, sizeof(*c->leader_of));
    if (c->leader_capacity > old) {
        memset(c->leader_of + old, 0, (c->leader_capacity - old) * sizeof(*c->leader_of));
    }
    if (c->leader_of[term] != 0 && c->leader_of[term] != n->id) {
        sim_violate(c,
                    "term %d has two leaders: %d and %d",
                    (int)term,
                    (int)c->leader_of[term],
                    (int)n->id);
    }
    c->leader_of[term] = n->id;
}

static void check_new_leader(struct sim_node *n, const struct raft_status *s)
{
    struct sim_cluster *c = n->cluster;

    for (raft_index i = s->first; i <= c->committed_hi; i++) {
        if (c->committed[i].term != 0 && c->committed[i].term < s->term &&
            raft_term_at(n->group, i) != c->committed[i].term) {
            sim_violate(c,
                        "leader %d of term %d lacks committed %d/%d",
                        (int)n->id,
                        (int)s->term,
                        (int)c->committed[i].term,
                        (int)i);
        }
    }
}

static void check_match(struct sim_node *n)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t count = raft_peers_get(n->group, peers, RAFT_MEMBERS_MAX);
    raft_index match[SIM_NODES_MAX + 1] = {0}; /* who leaves and comes back begins anew */

    for (uint32_t i = 0; i < count; i++) {
        raft_id id = peers[i].id;

        if (peers[i].match < n->match[id] && id != n->id) {
            sim_violate(n->cluster,
                        "match of %d at leader %d goes back from %d to %d",
                        (int)id,
                        (int)n->id,
                        (int)n->match[id],
                        (int)peers[i].match);
        }
        match[id] = peers[i].match;
    }
    memcpy(n->match, match, sizeof(match));
}

static void check_monotonic(struct sim_node *n, const struct raft_status *s)
{
    if (s->term < n->term || s->commit < n->commit) {
        sim_violate(n->cluster, "term or commit of node %d goes back", (int)n->id);
    }
    n->term = s->term;
    n->commit = s->commit;
}

/* Looks at a core after every input. */
void sim__observe(struct sim_node *n)
{
    struct raft_status s;

    n->cluster->events++;
    raft_status_get(n->group, &s);
    check_monotonic(n, &s);
    if (s.commit > n->cluster->commit_hi) {
        n->cluster->commit_hi = s.commit;
    }
    if (s.role == RAFT_LEADER) {
        note_leader(n, s.term);
        if (n->led != s.term) {
            n->led = s.term;
            memset(n->match, 0, sizeof(n->match));
            check_new_leader(n, &s);
        }
        check_match(n);
    }
}

/* Every promise that leaves must rest on the disk (E2, E26). */
void sim__check_promise(struct sim_node *n, const struct raft_msg *m)
{
    const struct sim_disk *d = &n->disk;
    const struct sim_entry *on_disk = sim__log_get(&d->log, m->index);
    bool ok = true;

    if (m->type == RAFT_M_VOTE) {
        ok = d->term == m->term && d->vote == n->id && d->last == m->index;
    } else if (m->type == RAFT_M_VOTER && (m->flags & RAFT_F_REJECT) == 0) {
        ok = d->term == m->term && d->vote == m->to;
    } else if (m->type == RAFT_M_APPR && (m->flags & RAFT_F_REJECT) == 0) {
        ok = d->term == m->term && d->last >= m->index &&
             (m->index <= d->snap_index ||
              (on_disk != NULL && on_disk->term == raft_term_at(n->group, m->index)));
    } else if (m->type == RAFT_M_APP || m->type == RAFT_M_HB) {
        ok = d->term == m->term;
    } else if (m->type == RAFT_M_HBR || m->type == RAFT_M_APPR || m->type == RAFT_M_VOTER) {
        ok = d->term >= m->term; /* may have been queued in a term that is over */
    }
    if (m->type == RAFT_M_APPR && (m->flags & RAFT_F_REJECT) == 0) {
        n->acked = n->acked_term == m->term && n->acked > m->index ? n->acked : m->index;
        n->acked_term = m->term;
    }
    if (!ok) {
        sim_violate(n->cluster,
                    "node %d sends type %d term %d index %d before its disk knows",
                    (int)n->id,
                    m->type,
                    (int)m->term,
                    (int)m->index);
    }
}

/* ---- log matching ---- */

static void check_pair(struct sim_cluster *c, const struct sim_node *a, const struct sim_node *b)
{
    struct raft_status sa;
    struct raft_status sb;
    raft_index i;
    raft_index first;
    bool same = false;

    raft_status_get(a->group, &sa);
    raft_status_get(b->group, &sb);
    first = sa.first > sb.first ? sa.first : sb.first;
    for (i = sa.last < sb.last ? sa.last : sb.last; i >= first && i > 0; i--) {
        bool equal = raft_term_at(a->group, i) == raft_term_at(b->group, i);
        const struct sim_entry *ea = sim__log_get(&a->cache, i);
        const struct sim_entry *eb = sim__log_get(&b->cache, i);

        same = same || equal;
        if (same && (!equal || ea == NULL || eb == NULL || strcmp(ea->text, eb->text) != 0)) {
            sim_violate(c,
                        "logs of %d and %d differ below a common entry at %d",
                        (int)a->id,
                        (int)b->id,
                        (int)i);
        }
    }
}

void sim_check_logs(struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        for (unsigned k = 1; k < i && c->violation[0] == '\0'; k++) {
            check_pair(c, &c->node[i], &c->node[k]);
        }
    }
}
