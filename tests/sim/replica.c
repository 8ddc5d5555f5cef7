/* One core and its shell: inputs in, readies carried out. */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <string.h>

enum {
    APPLY_MAX = 32,
    WARM = 8 /* entries that are always in memory when the others are not */
};

static struct sim_node *node_of(struct sim_world *w, const struct sim_replica *r)
{
    return &w->node[r->node];
}

static uint64_t local_now(struct sim_world *w, const struct sim_replica *r)
{
    return sim_local_ms(w, node_of(w, r));
}

/* ---- inputs ---- */

enum fl_status sim_input(struct sim_world *w, struct sim_replica *r, enum fl_status status)
{
    w->counts.core_events++;
    r->dirty = true;
    node_of(w, r)->touched = true;
    sim_watch(w, r);
    if (status == FL_FROZEN) {
        sim_violate(w, "frozen", "replica %" PRIu64, r->id);
    }
    return status;
}

void sim_replica_keep(struct sim_world *w,
                      struct sim_replica *r,
                      raft_index index,
                      struct sim_entry entry)
{
    if (index <= r->mem.base || index > sim_log_last(&r->mem) + 1) {
        sim_violate(w, "log matching", "replica %" PRIu64 " is told to keep a gap", r->id);
        return;
    }
    sim_log_cut(&r->mem, index);
    sim_log_append(&r->mem, entry);
    sim_watch_append(w, r, index);
}

void sim_replica_step(struct sim_world *w, struct sim_replica *r, const struct sim_packet *packet)
{
    struct raft_ent small[16];
    struct raft_ent *ents = small;
    const struct raft_msg *m = &packet->m;
    raft_index lo = 1;
    raft_index hi = 0;
    enum fl_status status;

    if (m->nents > 16) {
        ents = fl_xcalloc(m->nents, sizeof(*ents));
    }
    for (uint32_t i = 0; i < m->nents; i++) {
        ents[i] = (struct raft_ent){.term = packet->entries[i].term,
                                    .len = packet->entries[i].len,
                                    .type = packet->entries[i].type};
    }
    status = raft_step(r->raft, local_now(w, r), m, m->nents > 0 ? ents : NULL, &lo, &hi);
    for (raft_index i = lo; status == FL_OK && i <= hi; i++) {
        sim_replica_keep(w, r, i, packet->entries[i - m->index - 1]);
    }
    if (status == FL_BAD_MESSAGE) {
        sim_violate(w, "message", "replica %" PRIu64 " finds type %d malformed", r->id, m->type);
    }
    (void)sim_input(w, r, status);
    if (ents != small) {
        free(ents);
    }
}

void sim_replica_tick(struct sim_world *w, struct sim_replica *r)
{
    struct sim_node *n = node_of(w, r);
    uint64_t deadline = raft_deadline(r->raft);

    r->tick_at = 0;
    if (deadline != RAFT_NEVER && sim_local_ms(w, n) >= deadline) {
        if (w->plan.quiesce && raft_can_quiesce(r->raft) && fl_prng_below(&w->core_prng, 8) == 0) {
            (void)sim_input(w, r, raft_quiesce(r->raft, sim_local_ms(w, n)));
            return;
        }
        (void)sim_input(w, r, raft_tick(r->raft, sim_local_ms(w, n)));
        return;
    }
    sim_replica_schedule(w, r);
}

void sim_replica_schedule(struct sim_world *w, struct sim_replica *r)
{
    uint64_t deadline = raft_deadline(r->raft);
    uint64_t at;

    if (deadline == RAFT_NEVER) {
        return;
    }
    at = sim_virtual_us(node_of(w, r), deadline);
    at = at > w->now ? at : w->now + 1;
    if (r->tick_at == 0 || at < r->tick_at) {
        r->tick_at = at;
        sim_after(w,
                  at - w->now,
                  (struct sim_event){.kind = SIM_EV_TICK,
                                     .node = (uint8_t)r->node,
                                     .group = (uint8_t)r->group,
                                     .arg = r->id});
    }
}

enum fl_status
sim_replica_change(struct sim_world *w, struct sim_replica *r, const struct raft_changes *changes)
{
    uint64_t home[RAFT_CHANGES_MAX] = {0};
    struct sim_entry entry = {.type = RAFT_ENT_CONF};
    struct sim_payload payload = {.changes = fl_xmemdup(changes, sizeof(*changes))};
    raft_index at = 0;
    enum fl_status status;

    for (unsigned i = 0; i < changes->n; i++) {
        bool removal = changes->op[i].op == 'r';

        home[i] = removal ? 0 : w->group[r->group].home[changes->op[i].id];
    }
    w->set->encode_changes(&payload, home);
    entry.len = payload.len;
    status = raft_propose_conf(r->raft, local_now(w, r), changes, payload.len, &at, &entry.term);
    if (status == FL_OK) {
        entry.payload = sim_payload_new(w);
        w->payloads[entry.payload] = payload;
        sim_replica_keep(w, r, at, entry);
    } else {
        fl_buf_release(payload.bytes);
        free(payload.changes);
    }
    return sim_input(w, r, status);
}

/* ---- payloads in memory ---- */

/* The last few, those not durable yet, and what was fetched for a peer. */
uint32_t sim_replica_fit(void *user, raft_index lo, raft_index hi, uint64_t max, uint64_t *bytes)
{
    const struct sim_replica *r = user;
    raft_index last = sim_log_last(&r->mem);
    uint64_t sum = 0;
    uint32_t count = 0;

    if (r->cold && last > lo + WARM && sim_log_last(&r->disk.log) > lo + WARM) {
        bool fetched = false;

        for (unsigned i = 0; i <= SIM_REPLICAS_MAX && !fetched; i++) {
            fetched = r->fetch_lo[i] <= lo && lo <= r->fetch_hi[i];
        }
        if (!fetched) {
            return 0;
        }
    }
    for (raft_index i = lo; i <= hi; i++) {
        const struct sim_entry *entry = sim_log_get(&r->mem, i);
        uint32_t len = entry != NULL ? entry->len : 0;

        if (count > 0 && sum + len > max) {
            break;
        }
        sum += len;
        count++;
    }
    *bytes = sum;
    return count;
}

void sim_replica_fetched(struct sim_world *w, struct sim_replica *r, raft_id peer)
{
    w->counts.faults[SIM_FAULT_COLD]++;
    (void)sim_input(w, r, raft_fetched(r->raft, local_now(w, r), peer));
}

/* ---- a ready ---- */

static void take_lost(struct sim_world *w, struct sim_replica *r, const struct raft_ready *ready)
{
    for (uint32_t i = 0; i < ready->nlost; i++) {
        const struct raft_lost *lost = &ready->lost[i];
        size_t kept = 0;

        sim_watch_lost(w, r, lost);
        for (size_t k = 0; k < r->npending; k++) {
            const struct sim_pending *p = &r->pending[k];

            if (p->term == lost->term && p->index >= lost->lo && p->index <= lost->hi) {
                sim_op_lost(w, p->op);
            } else {
                r->pending[kept++] = *p;
            }
        }
        r->npending = kept;
    }
}

static bool
take_messages(struct sim_world *w, struct sim_replica *r, const struct raft_ready *ready)
{
    bool votes = false;

    for (uint32_t i = 0; i < ready->nmsgs; i++) {
        uint8_t type = ready->msgs[i].type;

        sim_watch_send(w, r, &ready->msgs[i]);
        sim_net_send(w, r, &ready->msgs[i]);
        votes = votes || type == RAFT_M_VOTE ||
                (type == RAFT_M_VOTER && (ready->msgs[i].flags & RAFT_F_REJECT) == 0);
    }
    return votes;
}

static void queue_apply(struct sim_world *w, struct sim_replica *r)
{
    if (r->apply_queued) {
        return;
    }
    r->apply_queued = true;
    sim_after(w,
              1 + sim_exponential(&w->core_prng, w->plan.apply_us),
              (struct sim_event){.kind = SIM_EV_APPLY,
                                 .node = (uint8_t)r->node,
                                 .group = (uint8_t)r->group,
                                 .arg = r->id});
}

static void take_fetches(struct sim_world *w, struct sim_replica *r, const struct raft_ready *ready)
{
    for (uint32_t i = 0; i < ready->nfetches; i++) {
        const struct raft_fetch *fetch = &ready->fetches[i];

        r->fetch_lo[fetch->peer] = fetch->lo;
        r->fetch_hi[fetch->peer] = fetch->hi;
        sim_after(w,
                  1 + sim_exponential(&w->disk_prng, w->plan.disk_us),
                  (struct sim_event){.kind = SIM_EV_FETCHED,
                                     .node = (uint8_t)r->node,
                                     .group = (uint8_t)r->group,
                                     .arg = r->id << 32 | fetch->peer});
    }
}

/* Where a crash hurts most. */
static void
aim(struct sim_world *w, struct sim_replica *r, const struct raft_ready *ready, bool votes)
{
    struct raft_status s;
    struct sim_node *n = node_of(w, r);
    bool leads = ready->role == RAFT_LEADER;

    raft_status_get(r->raft, &s);
    if (votes && sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_VOTED)) {
        r->joins = true;
        sim_node_crash(w, n, "voted or asked for votes");
    } else if (ready->nmsgs != 0 && ready->persist != NULL &&
               sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_SEND)) {
        sim_node_crash(w, n, "sent, not durable");
    } else if (leads && ready->soft_changed && sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_WON)) {
        sim_node_crash(w, n, "leader elected");
    } else if (leads && s.commit > r->told && sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_COMMIT)) {
        sim_node_crash(w, n, "leader committed");
    } else {
        r->told = s.commit;
    }
}

void sim_replica_ready(struct sim_world *w, struct sim_replica *r)
{
    struct raft_ready ready;
    bool votes;

    if (raft_ready_get(r->raft, &ready) != FL_OK) {
        sim_violate(w, "frozen", "replica %" PRIu64 " gives no ready", r->id);
        return;
    }
    take_lost(w, r, &ready);
    for (uint32_t i = 0; i < ready.nmade; i++) {
        sim_replica_keep(
            w,
            r,
            ready.made[i].index,
            (struct sim_entry){.term = ready.made[i].term, .type = ready.made[i].type});
    }
    votes = take_messages(w, r, &ready);
    if (ready.persist != NULL) {
        sim_disk_queue(w, r, ready.persist);
    }
    take_fetches(w, r, &ready);
    if (ready.apply_hi >= ready.apply_lo) {
        r->apply_hi = ready.apply_hi;
        queue_apply(w, r);
    }
    for (uint32_t i = 0; i < ready.nreads; i++) {
        sim_read_done(w, r, &ready.reads[i]);
    }
    raft_ready_done(r->raft);
    if (ready.soft_changed) {
        sim_trace(w,
                  "group %u replica %" PRIu64 " term %" PRIu64 " role %d leader %" PRIu64,
                  r->group,
                  r->id,
                  ready.term,
                  ready.role,
                  ready.leader);
    }
    sim_watch(w, r);
    aim(w, r, &ready, votes);
}

/* ---- entries to the machine ---- */

static void apply_change(struct sim_world *w, struct sim_replica *r, const struct sim_apply *a)
{
    static const struct raft_changes leave = {.transition = RAFT_CONF_AUTO};
    static const struct raft_changes nothing = {.transition = RAFT_CONF_VOID};
    struct sim_truth *t = &w->group[r->group].truth;
    const struct raft_changes *changes = a->payload != NULL ? a->payload->changes : &leave;
    struct sim_machine_status s;
    enum fl_status status =
        raft_conf_applied(r->raft, local_now(w, r), a->index, a->void_change ? &nothing : changes);

    (void)sim_input(w, r, status);
    w->set->status(r->machine, &s);
    if (status != FL_OK || !raft_conf_equal(s.conf, raft_conf_get(r->raft))) {
        sim_violate(w, "membership", "core and machine of replica %" PRIu64 " differ", r->id);
    }
    if (a->index > t->conf_index) {
        t->conf_index = a->index;
        t->conf = *raft_conf_get(r->raft);
    }
}

/* The proposal that waits for this entry: with another term it certainly lost (P3). */
static void settle_pending(struct sim_world *w, struct sim_replica *r, const struct sim_apply *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < r->npending; i++) {
        const struct sim_pending *p = &r->pending[i];

        if (p->index == a->index && p->term == a->term) {
            sim_watch_answered(w, r, a->index);
            sim_op_applied(w, p->op, &a->outcome);
        } else if (p->index == a->index) {
            sim_op_lost(w, p->op);
        } else {
            r->pending[kept++] = *p;
        }
    }
    r->npending = kept;
}

static size_t gather(struct sim_world *w, struct sim_replica *r, struct sim_apply *entries)
{
    struct sim_machine_status s;
    size_t n = 0;
    size_t most = (size_t)sim_between(&w->core_prng, 1, APPLY_MAX);

    w->set->status(r->machine, &s);
    for (raft_index i = s.applied + 1; i <= r->apply_hi && n < most; i++) {
        const struct sim_entry *entry = sim_log_get(&r->disk.log, i);

        if (entry == NULL || entry->term != raft_term_at(r->raft, i)) {
            sim_violate(w, "applied state", "replica %" PRIu64 " applies what it lacks", r->id);
            return 0;
        }
        entries[n++] = (struct sim_apply){.index = i,
                                          .term = entry->term,
                                          .type = entry->type,
                                          .payload = sim_payload(w, entry->payload)};
        if (entry->type == RAFT_ENT_CONF) {
            break; /* a CONF entry ends its range */
        }
    }
    return n;
}

void sim_replica_apply(struct sim_world *w, struct sim_replica *r)
{
    struct sim_apply entries[APPLY_MAX];
    struct sim_machine_status s;
    uint64_t bytes = 0;
    size_t n;

    r->apply_queued = false;
    if (r->held) {
        return;
    }
    n = gather(w, r, entries);
    if (n == 0) {
        return;
    }
    w->set->apply(r->machine, entries, n);
    w->set->status(r->machine, &s);
    for (size_t i = 0; i < n; i++) {
        sim_watch_applied(w, r, entries[i].index, entries[i].digest);
        bytes += entries[i].payload != NULL ? entries[i].payload->len : 0;
        settle_pending(w, r, &entries[i]);
        if (entries[i].type == RAFT_ENT_CONF) {
            apply_change(w, r, &entries[i]);
        }
    }
    (void)sim_input(w, r, raft_applied(r->raft, local_now(w, r), s.applied, bytes));
    sim_reads_serve(w, r);
    if (s.applied < r->apply_hi) {
        queue_apply(w, r);
    }
}

/* ---- snapshots and compaction ---- */

void sim_replica_staged(struct sim_world *w,
                        struct sim_replica *r,
                        raft_id from,
                        struct sim_image *image)
{
    enum fl_status status = raft_snapshot_staged(
        r->raft, local_now(w, r), from, image->index, image->term, &image->conf);

    if (status == FL_OK) {
        sim_trace(w, "replica %" PRIu64 " staged a snapshot at %" PRIu64, r->id, image->index);
        sim_image_release(r->staged);
        r->staged = sim_image_acquire(image);
        sim_log_reset(&r->mem, image->index, image->term, image->chain);
        r->held = true;
        sim_after(w,
                  1 + sim_exponential(&w->disk_prng, w->plan.disk_us),
                  (struct sim_event){.kind = SIM_EV_INSTALL,
                                     .node = (uint8_t)r->node,
                                     .group = (uint8_t)r->group,
                                     .arg = r->id});
    }
    (void)sim_input(w, r, status);
    if (status == FL_OK && sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_STAGED)) {
        sim_node_crash(w, node_of(w, r), "snapshot staged");
    }
}

/* Intent, then the machine, then the log: the order of the node (D5). */
void sim_replica_install(struct sim_world *w, struct sim_replica *r)
{
    struct sim_machine_status s;
    size_t kept = 0;

    if (!r->held || r->staged == NULL) {
        return;
    }
    w->set->status(r->machine, &s);
    if (s.applied < r->staged->index) {
        r->disk.intent = r->staged->index;
        r->disk.intent_term = r->staged->term;
        r->disk.intent_chain = r->staged->chain;
        w->set->install(r->machine, r->staged);
        w->set->status(r->machine, &s);
        if (s.applied != r->staged->index || !raft_conf_equal(s.conf, &r->staged->conf)) {
            sim_violate(w, "snapshot", "replica %" PRIu64 " installs something else", r->id);
        }
        sim_watch_installed(w, r, s.applied, s.digest);
        r->checkpoint = w->set->durable(r->machine);
    }
    r->apply_hi = s.applied;
    r->held = false;
    /* Below a snapshot the outcome is unknown: their clients run into the timeout. */
    for (size_t i = 0; i < r->npending; i++) {
        if (r->pending[i].index > s.applied) {
            r->pending[kept++] = r->pending[i];
        }
    }
    r->npending = kept;
    if (sim_roll(w, &w->fault_prng, SIM_FAULT_AIM_INSTALLED)) {
        sim_node_crash(w, node_of(w, r), "machine installed, log not");
        return;
    }
    if (sim_plan_has(&w->plan, SIM_FAULT_AIM_TWICE)) {
        /* Its record waits long enough for a second snapshot. */
        node_of(w, r)->stuck_until = w->now + sim_between(&w->fault_prng, 1000000, 8000000);
    }
    (void)sim_input(w, r, FL_OK);
    sim_reads_serve(w, r);
}

void sim_replica_compact(struct sim_world *w, struct sim_replica *r)
{
    raft_index last = sim_log_last(&r->mem);
    raft_index upto = last > w->plan.keep_log ? last - w->plan.keep_log : 0;
    enum fl_status status;

    upto = upto < r->checkpoint ? upto : r->checkpoint; /* D4 */
    if (r->held || upto <= r->mem.base) {
        return;
    }
    status = raft_compacted(r->raft, upto);
    if (status == FL_OK) {
        sim_log_compact(&r->mem, upto);
        sim_log_compact(&r->disk.log, upto);
    }
    (void)sim_input(w, r, status);
}
