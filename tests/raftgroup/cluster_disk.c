/* Shell, disk and machine of a simulated node: what happens to a ready. */
#include "tests/raftgroup/cluster_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- logs, machines, snapshots ---- */

void sim__log_put(struct sim_log *log, raft_index index, const struct sim_entry *e)
{
    size_t old = log->capacity;

    fl_grow(&log->at, &log->capacity, index + 1, sizeof(*log->at));
    if (log->capacity > old) {
        memset(log->at + old, 0, (log->capacity - old) * sizeof(*log->at));
    }
    log->at[index] = *e;
}

const struct sim_entry *sim__log_get(const struct sim_log *log, raft_index index)
{
    return index < log->capacity ? &log->at[index] : NULL;
}

void sim__machine_copy(struct sim_machine *to, const struct sim_machine *from)
{
    char *data = to->data;
    size_t capacity = to->capacity;

    *to = *from;
    to->data = data;
    to->capacity = capacity;
    fl_grow(&to->data, &to->capacity, from->len + 1, 1);
    memcpy(to->data, from->data, from->len + 1);
}

void sim__machine_append(struct sim_machine *m, const char *text)
{
    size_t len = strlen(text);

    fl_grow(&m->data, &m->capacity, m->len + len + 1, 1);
    memcpy(m->data + m->len, text, len + 1);
    m->len += len;
}

struct sim_snapshot *
sim__snapshot_new(raft_index index, raft_term term, const struct raft_conf *conf, const char *data)
{
    struct sim_snapshot *s = fl_xcalloc(1, sizeof(*s));

    s->index = index;
    s->term = term;
    s->conf = *conf;
    s->data = fl_xstrdup(data);
    return s;
}

struct sim_snapshot *sim__snapshot_copy(const struct sim_snapshot *s)
{
    return s != NULL ? sim__snapshot_new(s->index, s->term, &s->conf, s->data) : NULL;
}

void sim__snapshot_free(struct sim_snapshot *s)
{
    if (s != NULL) {
        free(s->data);
        free(s);
    }
}

void sim__machine_load(struct sim_machine *m, const struct sim_snapshot *s)
{
    m->applied = s->index;
    m->applied_term = s->term;
    m->conf = s->conf;
    m->len = 0;
    sim__machine_append(m, s->data);
}

/* ---- ready ---- */

void sim__keep_entry(struct sim_node *n, raft_index index, struct sim_entry e)
{
    sim__log_put(&n->cache, index, &e);
}

static void queue_record(struct sim_node *n, const struct raft_persist *p)
{
    struct sim_record *r = fl_xcalloc(1, sizeof(*r));
    struct sim_record **at = &n->records;

    r->p = *p;
    if (p->hi >= p->lo) {
        r->entries = fl_xcalloc(p->hi - p->lo + 1, sizeof(*r->entries));
    }
    for (raft_index i = p->lo; i <= p->hi; i++) {
        const struct sim_entry *e = sim__log_get(&n->cache, i);

        if (e == NULL || e->term != raft_term_at(n->group, i)) {
            sim_violate(n->cluster, "node %d persists an entry it does not have", (int)n->id);
            continue;
        }
        r->entries[i - p->lo] = *e;
    }
    if (p->snapshot) {
        r->snapshot = n->staged;
        n->staged = NULL;
        if (r->snapshot == NULL || r->snapshot->index != p->snap_index) {
            sim_violate(n->cluster, "node %d persists a snapshot nobody staged", (int)n->id);
        }
    }
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = r;
}

static void note_lost(struct sim_node *n, const struct raft_lost *lost)
{
    struct sim_cluster *c = n->cluster;

    for (raft_index i = lost->lo; i <= lost->hi; i++) {
        fl_grow(&c->lost, &c->lost_capacity, c->nlost + 1, sizeof(*c->lost));
        c->lost[c->nlost++] = (struct sim_lost){.index = i, .term = lost->term};
        if (i < c->committed_capacity && c->committed[i].term == lost->term) {
            sim_violate(c, "%d/%d was applied and is reported lost", (int)lost->term, (int)i);
        }
    }
}

static void take_read(struct sim_node *n, const struct raft_read *r)
{
    bool found = false;

    for (size_t i = 0; i < n->nasked && !found; i++) {
        if (n->asked[i].ctx == r->ctx) {
            found = true;
            if (r->ok && r->index < n->asked[i].floor && !n->check_disabled) {
                sim_violate(n->cluster,
                            "read %d at node %d gets index %d, %d was committed before it",
                            (int)r->ctx,
                            (int)n->id,
                            (int)r->index,
                            (int)n->asked[i].floor);
            }
            n->asked[i] = n->asked[--n->nasked];
        }
    }
    if (!found) {
        sim_violate(n->cluster, "read %d answered twice or never asked", (int)r->ctx);
    }
    fl_grow(&n->answers, &n->answers_capacity, n->nanswers + 1, sizeof(*n->answers));
    n->answers[n->nanswers++] = *r;
}

bool sim_take_ready(struct sim_node *n)
{
    struct raft_ready r;

    if (!raft_has_ready(n->group)) {
        return false;
    }
    if (sim__seen(n, raft_ready_get(n->group, &r)) != FL_OK) {
        return false;
    }
    for (uint32_t i = 0; i < r.nlost; i++) {
        note_lost(n, &r.lost[i]);
    }
    for (uint32_t i = 0; i < r.nmade; i++) {
        struct sim_entry e = {.term = r.made[i].term, .type = r.made[i].type};

        (void)snprintf(e.text, sizeof(e.text), "%s", e.type == RAFT_ENT_CONF ? "C2.0[]" : "");
        sim__keep_entry(n, r.made[i].index, e);
    }
    for (uint32_t i = 0; i < r.nmsgs; i++) {
        sim__send_message(n, &r.msgs[i]);
    }
    for (uint32_t i = 0; i < r.nfetches; i++) {
        n->fetching |= (raft_mask)(1U << r.fetches[i].peer);
    }
    if (r.persist != NULL) {
        queue_record(n, r.persist);
    }
    if (r.apply_hi >= r.apply_lo) {
        n->apply_hi = r.apply_hi;
    }
    for (uint32_t i = 0; i < r.nreads; i++) {
        take_read(n, &r.reads[i]);
    }
    raft_ready_done(n->group);
    sim__observe(n);
    return true;
}

/* ---- disk ---- */

void sim__write_record(struct sim_node *n, struct sim_record *r)
{
    struct sim_disk *d = &n->disk;

    if (r->snapshot != NULL) {
        d->snap_index = d->last = r->snapshot->index;
        d->snap_term = r->snapshot->term;
        sim__machine_load(&n->machine, r->snapshot);
        sim__machine_copy(&n->saved, &n->machine);
        n->apply_hi = r->snapshot->index;
    }
    if (r->p.trunc_from != 0) {
        d->last = r->p.trunc_from - 1;
    }
    if (r->p.lo <= r->p.hi) {
        if (r->p.lo != d->last + 1) {
            sim_violate(n->cluster, "node %d writes a gap", (int)n->id);
        }
        for (raft_index i = r->p.lo; i <= r->p.hi; i++) {
            sim__log_put(&d->log, i, &r->entries[i - r->p.lo]);
        }
        d->last = r->p.hi;
    }
    if (r->p.term < d->term) {
        sim_violate(n->cluster, "node %d: the stored term goes back", (int)n->id);
    }
    if (r->p.term == d->term && d->vote != 0 && r->p.vote != d->vote) {
        sim_violate(n->cluster, "node %d: the stored vote changes in a term", (int)n->id);
    }
    d->term = r->p.term;
    d->vote = r->p.vote;
    d->commit = r->p.commit;
    if (d->term == n->acked_term && d->last < n->acked) {
        sim_violate(n->cluster,
                    "node %d acknowledged %d in term %d and keeps %d",
                    (int)n->id,
                    (int)n->acked,
                    (int)d->term,
                    (int)d->last);
    }
}

void sim__record_free(struct sim_record *r)
{
    sim__snapshot_free(r->snapshot);
    free(r->entries);
    free(r);
}

bool sim_persist_one(struct sim_node *n)
{
    struct sim_record *r = n->records;
    uint64_t seq;

    if (r == NULL) {
        return false;
    }
    n->records = r->next;
    sim__write_record(n, r);
    seq = r->p.seq;
    sim__record_free(r);
    (void)sim__seen(n, raft_persisted(n->group, n->now, seq));
    sim__observe(n);
    return true;
}

/* ---- machine ---- */

bool sim_parse_changes(const char *text, struct raft_changes *out)
{
    const char *p = strchr(text, '[');

    memset(out, 0, sizeof(*out));
    if (p == NULL) {
        return false;
    }
    out->transition = RAFT_CONF_SIMPLE;
    if (strncmp(text, "C2.", 3) == 0) {
        out->transition = (uint8_t)(RAFT_CONF_AUTO + (text[3] - '0'));
    } else if (strncmp(text, "C1", 2) != 0) {
        return false;
    }
    for (p = p + 1; *p != ']' && *p != '\0';) {
        char *end;

        if (*p == ',' || *p == ' ') {
            p++;
            continue;
        }
        if (out->n == RAFT_CHANGES_MAX) {
            return false;
        }
        out->op[out->n].op = (uint8_t)*p;
        out->op[out->n++].id = strtoull(p + 1, &end, 10);
        p = end;
    }
    return true;
}

static void apply_one(struct sim_node *n, raft_index index)
{
    const struct sim_entry *e = sim__log_get(&n->disk.log, index);

    if (e == NULL || e->term != raft_term_at(n->group, index)) {
        sim_violate(n->cluster, "node %d applies what its disk lacks: %d", (int)n->id, (int)index);
        return;
    }
    sim__note_committed(n, index, e);
    n->machine.applied = index;
    n->machine.applied_term = e->term;
    if (e->type == RAFT_ENT_NORMAL) {
        sim__machine_append(&n->machine, e->text);
    } else if (e->type == RAFT_ENT_CONF) {
        struct raft_changes changes;

        if (!sim_parse_changes(e->text, &changes)) {
            sim_violate(n->cluster, "bad membership entry %s", e->text);
        }
        (void)sim__seen(n, raft_conf_applied(n->group, n->now, index, &changes));
        n->machine.conf = *raft_conf_get(n->group);
        sim__observe(n);
    }
}

bool sim_apply(struct sim_node *n)
{
    raft_index from = n->machine.applied;
    uint64_t bytes = 0;

    if (n->apply_hi <= from) {
        return false;
    }
    while (n->machine.applied < n->apply_hi && n->cluster->violation[0] == '\0') {
        raft_index index = n->machine.applied + 1;

        const struct sim_entry *e = sim__log_get(&n->disk.log, index);

        apply_one(n, index);
        bytes += e != NULL ? strlen(e->text) : 0;
    }
    (void)sim__seen(n, raft_applied(n->group, n->now, n->machine.applied, bytes));
    sim__observe(n);
    return n->machine.applied > from;
}

bool sim_settle(struct sim_node *n)
{
    bool moved = false;
    bool again = true;

    while (again && n->cluster->violation[0] == '\0') {
        again = sim_take_ready(n);
        while (sim_persist_one(n)) {
            again = true;
        }
        again = sim_apply(n) || again;
        moved = moved || again;
    }
    return moved;
}
