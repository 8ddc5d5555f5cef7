/* Processes of the simulated world: birth, death, clocks. */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- clocks ---- */

static uint64_t local_us(const struct sim_world *w, const struct sim_node *n)
{
    return n->local_base + (w->now - n->virtual_base) * n->rate / 1000;
}

uint64_t sim_local_ms(const struct sim_world *w, const struct sim_node *n)
{
    return local_us(w, n) / 1000;
}

uint64_t sim_virtual_us(const struct sim_node *n, uint64_t local_ms)
{
    uint64_t us = local_ms * 1000;

    return us <= n->local_base
               ? n->virtual_base
               : n->virtual_base + ((us - n->local_base) * 1000 + n->rate - 1) / n->rate;
}

void sim_node_set_rate(struct sim_world *w, struct sim_node *n, uint32_t rate)
{
    n->local_base = local_us(w, n);
    n->virtual_base = w->now;
    n->rate = rate;
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (sim_is_up(n->replica[g])) {
            n->replica[g]->tick_at = 0;
            sim_replica_schedule(w, n->replica[g]);
        }
    }
}

/* ---- replicas ---- */

struct sim_replica *
sim_replica_create(struct sim_world *w, unsigned group, raft_id id, const struct raft_conf *conf)
{
    struct sim_group *g = &w->group[group];
    struct sim_replica *r = fl_xcalloc(1, sizeof(*r));
    struct sim_node *n = &w->node[g->home[id]];

    fl_assert(n->replica[group] == NULL && g->replica[id] == NULL);
    r->id = id;
    r->group = group;
    r->node = n->id;
    r->cold = sim_plan_has(&w->plan, SIM_FAULT_COLD);
    g->replica[id] = r;
    n->replica[group] = r;
    if (conf != NULL) {
        r->disk.hard = (struct sim_hard){.term = SIM_INITIAL, .commit = SIM_INITIAL};
        r->disk.commit_written = SIM_INITIAL;
        sim_log_reset(&r->disk.log, SIM_INITIAL, SIM_INITIAL, 1);
        w->set->bootstrap(n->store, group, conf, SIM_INITIAL, SIM_INITIAL);
    }
    return r;
}

/* A machine that was replaced by a snapshot while its log was not (D5). */
static void finish_intent(struct sim_replica *r, raft_index applied)
{
    struct sim_disk *d = &r->disk;

    if (d->intent != 0 && applied >= d->intent && d->log.base < d->intent) {
        sim_log_reset(&d->log, d->intent, d->intent_term, d->intent_chain);
        if (d->hard.term < d->intent_term) {
            d->hard = (struct sim_hard){.term = d->intent_term};
        }
        d->hard.commit = d->intent;
        d->commit_written = d->intent;
    }
    d->intent = 0;
}

static void relearn(struct sim_world *w, struct sim_replica *r, struct sim_machine_status *s)
{
    for (raft_index i = s->checkpoint + 1; i <= s->applied; i++) {
        const struct sim_entry *entry = sim_log_get(&r->disk.log, i);

        if (entry != NULL) {
            struct sim_apply apply = {.index = i,
                                      .term = entry->term,
                                      .type = entry->type,
                                      .payload = sim_payload(w, entry->payload)};

            w->set->relearn(r->machine, &apply);
        }
    }
}

static void open_core(struct sim_world *w, struct sim_replica *r, struct sim_machine_status *s)
{
    struct sim_node *n = &w->node[r->node];
    const struct sim_log *log = &r->disk.log;
    struct raft_run *runs = fl_xcalloc(log->count + 1, sizeof(*runs));
    raft_index *conf_at = fl_xcalloc(log->count + 1, sizeof(*conf_at));
    struct raft_boot boot = {.group = r->group,
                             .self = r->id,
                             .seed = fl_prng_next(&w->core_prng),
                             .term = r->disk.hard.term,
                             .vote = r->disk.hard.vote,
                             .commit = r->disk.hard.commit,
                             .snap_index = log->base,
                             .snap_term = log->base_term,
                             .applied = s->applied,
                             .last = sim_log_last(log),
                             .runs = runs,
                             .conf_at = conf_at};
    const char *why = NULL;

    boot.conf = *s->conf;
    for (raft_index i = log->base + 1; i <= boot.last; i++) {
        const struct sim_entry *entry = sim_log_get(log, i);

        if (boot.nruns == 0 || runs[boot.nruns - 1].term != entry->term) {
            runs[boot.nruns++] = (struct raft_run){.first = i, .term = entry->term};
        }
        if (i > s->applied && entry->type == RAFT_ENT_CONF) {
            conf_at[boot.nconf_at++] = i;
        }
    }
    if (raft_open(n->env, &boot, r, sim_local_ms(w, n), &r->raft, &why) != FL_OK) {
        sim_violate(w, "restart", "replica %" PRIu64 " does not open: %s", r->id, why);
    }
    free(runs);
    free(conf_at);
}

void sim_replica_open(struct sim_world *w, struct sim_replica *r)
{
    struct sim_machine_status s;

    r->machine = w->set->open(w->node[r->node].store, r->group);
    w->set->status(r->machine, &s);
    finish_intent(r, s.applied);
    if (s.applied < r->disk.log.base) {
        sim_violate(w, "restart", "replica %" PRIu64 ": the log is cut beyond its data", r->id);
        return;
    }
    relearn(w, r, &s);
    sim_log_copy(&r->mem, &r->disk.log);
    r->apply_hi = s.applied;
    r->apply_queued = false;
    r->held = false;
    r->dirty = false;
    r->tick_at = 0;
    r->told = 0;
    r->checkpoint = w->set->durable(r->machine);
    memset(r->fetch_hi, 0, sizeof(r->fetch_hi));
    open_core(w, r, &s);
    if (r->raft != NULL) {
        sim_watch_opened(w, r);
        (void)sim_input(w, r, FL_OK);
    }
}

void sim_replica_close(struct sim_world *w, struct sim_replica *r)
{
    raft_close(r->raft);
    r->raft = NULL;
    if (r->machine != NULL) {
        w->set->close(r->machine);
        r->machine = NULL;
    }
    sim_image_release(r->staged);
    r->staged = NULL;
    r->stream_in = 0;
    r->npending = 0; /* nobody will tell: their clients run into the timeout */
    r->nasked = 0;
}

void sim_replica_destroy(struct sim_world *w, struct sim_replica *r)
{
    sim_trace(w, "replica %" PRIu64 " of group %u is deleted", r->id, r->group);
    w->set->destroy(r->machine);
    sim_replica_close(w, r);
    r->destroyed = true;
    w->node[r->node].replica[r->group] = NULL;
    sim_log_close(&r->disk.log);
    sim_log_close(&r->mem);
}

/* ---- beats ---- */

static void next_beat(struct sim_world *w, struct sim_node *n)
{
    sim_after(w,
              sim_between(&w->core_prng, 1000000, 2000000),
              (struct sim_event){.kind = SIM_EV_BEAT, .node = (uint8_t)n->id});
}

/* The peer's process is gone, or was started anew, or no longer holds the replica. */
static bool is_silent(const struct sim_world *w,
                      const struct sim_node *n,
                      const struct sim_group *g,
                      raft_id id)
{
    unsigned peer = g->home[id];
    const struct sim_replica *r = g->replica[id];

    return !w->node[peer].up || w->link[peer][n->id].cut || w->link[n->id][peer].cut ||
           (n->lost >> peer & 1) != 0 || (r != NULL && (r->wiped || r->destroyed));
}

static void beat_one(struct sim_world *w, struct sim_node *n, struct sim_replica *r)
{
    struct raft_status s;
    const struct raft_conf *conf = raft_conf_get(r->raft);
    uint64_t now = sim_local_ms(w, n);

    raft_status_get(r->raft, &s);
    if (!s.quiesced) {
        return;
    }
    if (s.role != RAFT_LEADER) {
        if (s.leader != 0 && is_silent(w, n, &w->group[r->group], s.leader)) {
            (void)sim_input(w, r, raft_wake(r->raft, now));
            (void)sim_input(w, r, raft_forget_leader(r->raft, now));
        }
        return;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->id[i] != r->id && is_silent(w, n, &w->group[r->group], conf->id[i])) {
            (void)sim_input(w, r, raft_unreachable(r->raft, now, conf->id[i]));
        }
    }
}

void sim_node_beat(struct sim_world *w, struct sim_node *n)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (sim_is_up(n->replica[g])) {
            beat_one(w, n, n->replica[g]);
        }
    }
    n->lost = 0;
    next_beat(w, n);
}

/* ---- processes ---- */

void sim_node_start(struct sim_world *w, struct sim_node *n)
{
    struct raft_ops ops = {.fit = sim_replica_fit};

    sim_trace(w, "node %u starts", n->id);
    n->up = true;
    n->boot++;
    n->waiting = false;
    n->paused_until = 0;
    sim_disk_start(w, n);
    n->env = raft_env_create(&w->plan.config, &ops);
    for (unsigned g = 1; g <= w->plan.groups && w->violation[0] == '\0'; g++) {
        struct sim_replica *r = n->replica[g];

        if (r == NULL) {
            continue;
        }
        sim_replica_open(w, r);
        if (r->joins && sim_is_up(r)) {
            /* Vote, die, vote again: what E26 needs. */
            r->joins = false;
            (void)sim_input(w, r, raft_campaign(r->raft, sim_local_ms(w, n)));
        }
    }
    sim_after(w,
              1 + sim_exponential(&w->disk_prng, w->plan.flush_us),
              (struct sim_event){.kind = SIM_EV_FLUSH, .node = (uint8_t)n->id});
    next_beat(w, n);
    sim_net_replay(w, n->id);
}

static void stop(struct sim_world *w, struct sim_node *n)
{
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (n->replica[g] != NULL) {
            sim_replica_close(w, n->replica[g]);
        }
    }
    if (n->env != NULL) {
        raft_env_destroy(n->env);
        n->env = NULL;
    }
    n->up = false;
    n->boot++;
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        w->node[i].lost |= 1U << n->id; /* their connections to it break */
    }
}

void sim_node_crash(struct sim_world *w, struct sim_node *n, const char *why)
{
    sim_trace(w, "node %u crashes: %s", n->id, why);
    stop(w, n);
    sim_disk_crash(w, n);
    w->set->store_crash(n->store, &w->disk_prng);
    w->counts.restarts++;
    sim_after(w,
              sim_chance(&w->fault_prng, 600) ? sim_between(&w->fault_prng, 1000, 80000)
                                              : sim_exponential(&w->fault_prng, 2000000),
              (struct sim_event){.kind = SIM_EV_RESTART, .node = (uint8_t)n->id});
}

void sim_node_wipe(struct sim_world *w, struct sim_node *n)
{
    stop(w, n);
    sim_disk_crash(w, n);
    w->set->store_close(n->store);
    n->store = w->set->store_open(w, n->id);
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        if (n->replica[g] != NULL) {
            n->replica[g]->wiped = true;
            n->replica[g] = NULL;
        }
    }
    sim_after(w,
              sim_exponential(&w->fault_prng, 1000000),
              (struct sim_event){.kind = SIM_EV_RESTART, .node = (uint8_t)n->id});
}

void sim_node_flush(struct sim_world *w, struct sim_node *n)
{
    w->set->store_flush(n->store);
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        struct sim_replica *r = n->replica[g];

        if (sim_is_up(r)) {
            r->checkpoint = w->set->durable(r->machine);
        }
    }
    sim_after(w,
              1 + sim_exponential(&w->disk_prng, w->plan.flush_us),
              (struct sim_event){.kind = SIM_EV_FLUSH, .node = (uint8_t)n->id});
}

void sim_node_turn(struct sim_world *w, struct sim_node *n)
{
    for (unsigned g = 1; g <= w->plan.groups && n->up; g++) {
        struct sim_replica *r = n->replica[g];

        if (!sim_is_up(r) || !r->dirty) {
            continue;
        }
        r->dirty = false;
        while (sim_is_up(r) && !r->held && raft_has_ready(r->raft) && w->violation[0] == '\0') {
            sim_replica_ready(w, r);
        }
        if (sim_is_up(r)) {
            sim_replica_schedule(w, r);
        }
    }
}
