/* A node's log disk: batches in order, an explicit sync, and what a crash leaves of them.
 *
 * One batch is written at a time. When it is done its records are durable; a batch that changed
 * nothing but commit points is written without a sync, and may be lost although it was
 * acknowledged. A crash keeps a random prefix of the batches that wait: a disk may have more than
 * it said. A torn batch is dropped whole, as the log store does (LS-1, LS-5). */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void free_record(struct sim_record *record)
{
    sim_image_release(record->image);
    free(record);
}

static void free_batch(struct sim_batch *batch)
{
    while (batch->records != NULL) {
        struct sim_record *next = batch->records->next;

        free_record(batch->records);
        batch->records = next;
    }
    free(batch);
}

/* ---- queueing ---- */

static struct sim_record *
make_record(struct sim_world *w, struct sim_replica *r, const struct raft_persist *p)
{
    size_t n = p->hi >= p->lo ? (size_t)(p->hi - p->lo + 1) : 0;
    struct sim_record *record = fl_xmalloc(sizeof(*record) + n * sizeof(record->entries[0]));

    *record = (struct sim_record){.p = *p, .group = r->group, .replica = r->id};
    for (size_t i = 0; i < n; i++) {
        const struct sim_entry *entry = sim_log_get(&r->mem, p->lo + i);

        if (entry == NULL || entry->term != raft_term_at(r->raft, p->lo + i)) {
            sim_violate(w, "disk", "replica %d persists what it does not have", (int)r->id);
            record->p.hi = p->lo + i - 1;
            break;
        }
        record->entries[i] = *entry;
    }
    if (p->snapshot) {
        if (r->staged == NULL || r->staged->index != p->snap_index) {
            sim_violate(w, "disk", "replica %d persists a snapshot nobody staged", (int)r->id);
        }
        record->image = r->staged;
        r->staged = NULL;
    }
    return record;
}

static void start_write(struct sim_world *w, struct sim_node *n)
{
    uint64_t wait = 1 + sim_exponential(&w->disk_prng, (uint64_t)w->plan.disk_us * n->slow);

    if (n->stuck_until > w->now) {
        wait += n->stuck_until - w->now;
    }
    n->writing = true;
    sim_after(w, wait, (struct sim_event){.kind = SIM_EV_DISK, .node = (uint8_t)n->id});
}

void sim_disk_queue(struct sim_world *w, struct sim_replica *r, const struct raft_persist *p)
{
    struct sim_node *n = &w->node[r->node];
    struct sim_record *record = make_record(w, r, p);
    struct sim_batch *batch = NULL;

    /* The log writer takes what it finds into one batch; sometimes it is quick and finds less. */
    for (struct sim_batch *at = n->first; at != NULL; at = at->next) {
        batch = at;
    }
    if (batch == NULL || (batch == n->first && n->writing) ||
        fl_prng_below(&w->disk_prng, 4) == 0) {
        batch = fl_xcalloc(1, sizeof(*batch));
        batch->tail = &batch->records;
        *n->tail = batch;
        n->tail = &batch->next;
    }
    *batch->tail = record;
    batch->tail = &record->next;
    batch->sync = batch->sync || p->must_sync;
    if (!n->writing) {
        start_write(w, n);
    }
}

/* ---- writing ---- */

static void write_record(struct sim_world *w, struct sim_node *n, struct sim_record *record)
{
    struct sim_replica *r = w->group[record->group].replica[record->replica];
    const struct raft_persist *p = &record->p;

    if (r == NULL || r->destroyed || n->replica[record->group] != r) {
        return;
    }
    sim_watch_record(w, r, record);
    if (p->snapshot) {
        sim_log_reset(&r->disk.log, p->snap_index, p->snap_term, record->image->chain);
        /* Only its own: a newer snapshot may be in the machine already. */
        r->disk.intent = r->disk.intent == p->snap_index ? 0 : r->disk.intent;
    }
    if (p->trunc_from != 0) {
        sim_log_cut(&r->disk.log, p->trunc_from);
    }
    for (raft_index i = p->lo; i <= p->hi && sim_log_last(&r->disk.log) + 1 == i; i++) {
        sim_log_append(&r->disk.log, record->entries[i - p->lo]);
    }
    r->disk.hard.term = p->term;
    r->disk.hard.vote = p->vote;
    r->disk.commit_written = p->commit;
    if (p->must_sync) {
        r->disk.hard.commit = p->commit;
    }
}

/* A sync makes durable whatever was written before it, on the whole disk. */
static void sync_commits(struct sim_world *w, struct sim_node *n)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (n->replica[g] != NULL) {
            n->replica[g]->disk.hard.commit = n->replica[g]->disk.commit_written;
        }
    }
}

static struct sim_batch *take_first(struct sim_node *n)
{
    struct sim_batch *batch = n->first;

    n->first = batch->next;
    if (n->first == NULL) {
        n->tail = &n->first;
    }
    batch->next = NULL;
    return batch;
}

static void write_batch(struct sim_world *w, struct sim_node *n, struct sim_batch *batch)
{
    for (struct sim_record *record = batch->records; record != NULL; record = record->next) {
        write_record(w, n, record);
    }
    if (batch->sync) {
        sync_commits(w, n);
    }
}

/* The record of a snapshot is written, and the machine holds a newer one already. */
static bool meets_newer(const struct sim_world *w, const struct sim_batch *batch)
{
    for (const struct sim_record *record = batch->records; record != NULL; record = record->next) {
        const struct sim_replica *r = w->group[record->group].replica[record->replica];

        if (record->p.snapshot && r != NULL && r->disk.intent > record->p.snap_index) {
            return true;
        }
    }
    return false;
}

void sim_disk_done(struct sim_world *w, struct sim_node *n)
{
    bool twice;

    struct sim_batch *batch;

    if (n->stuck_until > w->now) {
        start_write(w, n);
        return;
    }
    if (n->fail_next) {
        n->fail_next = false;
        w->counts.faults[SIM_FAULT_DISK_FAIL]++;
        sim_node_crash(w, n, "a write failed"); /* LS-9: stop, never try again */
        return;
    }
    batch = take_first(n);
    n->writing = false;
    twice = sim_plan_has(&w->plan, SIM_FAULT_AIM_TWICE) && meets_newer(w, batch);
    write_batch(w, n, batch);
    if (twice || sim_roll(w, &w->disk_prng, SIM_FAULT_AIM_ACK)) {
        w->counts.faults[SIM_FAULT_AIM_TWICE] += twice ? 1 : 0;
        free_batch(batch);
        sim_node_crash(w, n, "durable, not acknowledged");
        return;
    }
    for (struct sim_batch **at = &n->done;; at = &(*at)->next) {
        if (*at == NULL) {
            *at = batch;
            break;
        }
    }
    sim_after(w,
              sim_between(&w->disk_prng, 1, 60),
              (struct sim_event){.kind = SIM_EV_DISK_ACK, .node = (uint8_t)n->id});
    if (n->first != NULL) {
        start_write(w, n);
    }
}

void sim_disk_ack(struct sim_world *w, struct sim_node *n)
{
    struct sim_batch *batch = n->done;

    if (batch == NULL) {
        return;
    }
    n->done = batch->next;
    for (struct sim_record *record = batch->records; record != NULL && n->up;
         record = record->next) {
        struct sim_replica *r = w->group[record->group].replica[record->replica];

        if (sim_is_up(r) && n->replica[record->group] == r) {
            if (record->p.snapshot) {
                w->counts.snapshots++;
            }
            (void)sim_input(w, r, raft_persisted(r->raft, sim_local_ms(w, n), record->p.seq));
        }
    }
    free_batch(batch);
}

/* ---- crash ---- */

void sim_disk_crash(struct sim_world *w, struct sim_node *n)
{
    unsigned waiting = 0;
    unsigned kept = 0;

    for (const struct sim_batch *at = n->first; at != NULL; at = at->next) {
        waiting++;
    }
    if (waiting != 0 && sim_plan_has(&w->plan, SIM_FAULT_TORN)) {
        kept = (unsigned)fl_prng_below(&w->disk_prng, waiting + 1);
        w->counts.faults[SIM_FAULT_TORN] += kept < waiting ? 1 : 0;
    }
    while (n->first != NULL) {
        struct sim_batch *batch = take_first(n);

        if (kept > 0) {
            kept--;
            write_batch(w, n, batch);
        }
        free_batch(batch);
    }
    while (n->done != NULL) {
        struct sim_batch *next = n->done->next;

        free_batch(n->done);
        n->done = next;
    }
    n->writing = false;
    /* What was written without a sync may be there, or not. */
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        struct sim_replica *r = n->replica[g];

        if (r != NULL && fl_prng_below(&w->disk_prng, 2) == 0) {
            r->disk.commit_written = r->disk.hard.commit;
        } else if (r != NULL) {
            r->disk.hard.commit = r->disk.commit_written;
        }
    }
}

void sim_disk_start(struct sim_world *w, struct sim_node *n)
{
    (void)w;
    n->first = NULL;
    n->tail = &n->first;
    n->done = NULL;
    n->writing = false;
    n->fail_next = false;
    n->stuck_until = 0;
    n->slow = 1;
}
