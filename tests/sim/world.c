/* The world's clock: takes the next event, gives it to whom it concerns. See world.h. */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what everybody uses ---- */

void sim_after(struct sim_world *w, uint64_t wait, struct sim_event event)
{
    event.at = w->now + wait;
    event.boot = w->node[event.node].boot;
    sim_queue_push(&w->queue, event);
}

void sim_trace(struct sim_world *w, const char *format, ...)
{
    va_list args;

    if (!w->options.trace) {
        return;
    }
    (void)printf("%10.6f  ", (double)w->now / 1e6);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

uint32_t sim_payload_new(struct sim_world *w)
{
    fl_grow(&w->payloads, &w->payload_capacity, w->npayloads + 2, sizeof(*w->payloads));
    w->npayloads++;
    w->payloads[w->npayloads] = (struct sim_payload){0};
    return (uint32_t)w->npayloads;
}

bool sim_roll(struct sim_world *w, struct fl_prng *prng, enum sim_fault fault)
{
    if (!sim_plan_has(&w->plan, fault) || !sim_chance(prng, w->plan.strength[fault])) {
        return false;
    }
    w->counts.faults[fault]++;
    return true;
}

struct sim_image *sim_image_acquire(struct sim_image *image)
{
    image->refs++;
    return image;
}

void sim_image_release(struct sim_image *image)
{
    if (image != NULL && --image->refs == 0) {
        fl_writer_close(&image->bytes);
        free(image);
    }
}

/* ---- events ---- */

static void replica_event(struct sim_world *w, const struct sim_event *e, struct sim_node *n)
{
    struct sim_replica *r = n->replica[e->group];
    raft_id id = e->kind == SIM_EV_FETCHED ? e->arg >> 32 : e->arg;

    if (!sim_is_up(r) || r->id != id) {
        return;
    }
    switch (e->kind) {
    case SIM_EV_TICK:
        if (r->tick_at == e->at) {
            sim_replica_tick(w, r);
        }
        break;
    case SIM_EV_APPLY:
        sim_replica_apply(w, r);
        break;
    case SIM_EV_FETCHED:
        sim_replica_fetched(w, r, (raft_id)(uint32_t)e->arg);
        break;
    default:
        sim_replica_install(w, r);
        break;
    }
}

static void node_event(struct sim_world *w, const struct sim_event *e, struct sim_node *n)
{
    switch (e->kind) {
    case SIM_EV_TURN:
        n->waiting = false;
        sim_node_turn(w, n);
        break;
    case SIM_EV_DISK:
        sim_disk_done(w, n);
        break;
    case SIM_EV_DISK_ACK:
        sim_disk_ack(w, n);
        break;
    case SIM_EV_STREAM:
        sim_net_stream(w, (uint32_t)e->arg);
        break;
    case SIM_EV_FLUSH:
        sim_node_flush(w, n);
        break;
    case SIM_EV_BEAT:
        sim_node_beat(w, n);
        break;
    case SIM_EV_REQUEST:
        sim_client_request(w, e->arg, n);
        break;
    default:
        replica_event(w, e, n);
        break;
    }
}

static void world_event(struct sim_world *w, const struct sim_event *e)
{
    switch (e->kind) {
    case SIM_EV_CLIENT:
        sim_client_next(w, &w->client[e->arg]);
        break;
    case SIM_EV_TIMEOUT:
        sim_client_timeout(w, e->arg);
        break;
    case SIM_EV_FAULT:
        sim_fault_next(w);
        break;
    case SIM_EV_HEAL_LINK:
        sim_fault_heal_link(w, (unsigned)(e->arg >> 8), (unsigned)(e->arg & 0xff));
        break;
    case SIM_EV_OPERATOR:
        sim_operator_next(w);
        break;
    default:
        fl_assert(false);
    }
}

/* A stopped process does nothing; what comes for it waits. */
static bool is_paused(struct sim_world *w, const struct sim_event *e, const struct sim_node *n)
{
    /* The disk goes on writing by itself, and a node that is down wakes up by its own clock. */
    if (n->paused_until <= w->now || e->kind == SIM_EV_DISK || e->kind == SIM_EV_RESTART) {
        return false;
    }
    return true;
}

static void dispatch(struct sim_world *w, struct sim_event *e)
{
    struct sim_node *n = &w->node[e->node];

    if (e->node == 0) {
        world_event(w, e);
        return;
    }
    if (is_paused(w, e, n)) {
        struct sim_event later = *e;

        if (e->kind == SIM_EV_TICK && sim_is_up(n->replica[e->group]) &&
            n->replica[e->group]->tick_at == e->at) {
            n->replica[e->group]->tick_at = n->paused_until;
        }
        later.at = n->paused_until;
        sim_queue_push(&w->queue, later);
        return;
    }
    if (e->kind == SIM_EV_PACKET) {
        struct sim_packet *p = e->data;

        sim_net_arrive(w, p);
        sim_packet_free(p);
    } else if (e->kind == SIM_EV_RESTART) {
        if (!n->up && !n->dead && e->boot == n->boot) {
            sim_node_start(w, n);
        }
    } else if (e->kind == SIM_EV_REQUEST || (n->up && e->boot == n->boot)) {
        node_event(w, e, n);
    }
}

/* Cores that had an input get their turn: at once, or a little later together with others. */
static void settle(struct sim_world *w)
{
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        struct sim_node *n = &w->node[i];

        if (!n->touched) {
            continue;
        }
        n->touched = false;
        if (!n->up) {
            continue;
        }
        if (w->plan.turn_us == 0) {
            sim_node_turn(w, n);
            n->touched = false;
        } else if (!n->waiting) {
            n->waiting = true;
            sim_after(w,
                      sim_between(&w->core_prng, 1, w->plan.turn_us),
                      (struct sim_event){.kind = SIM_EV_TURN, .node = (uint8_t)n->id});
        }
    }
}

void sim_run_until(struct sim_world *w, uint64_t until, uint64_t core_events)
{
    struct sim_event e;

    while (w->violation[0] == '\0' && w->counts.core_events < core_events &&
           sim_queue_pop(&w->queue, &e)) {
        if (e.at > until) {
            sim_queue_push(&w->queue, e);
            w->now = until;
            return;
        }
        w->now = e.at > w->now ? e.at : w->now;
        w->counts.events++;
        w->trace_hash = sim_mix(w->trace_hash, e.at);
        w->trace_hash = sim_mix(w->trace_hash, e.arg << 8 | e.kind);
        w->trace_hash = sim_mix(w->trace_hash, (uint64_t)e.node << 8 | e.group);
        dispatch(w, &e);
        settle(w);
    }
}

/* ---- life ---- */

static void found_group(struct sim_world *w, unsigned group)
{
    struct sim_group *g = &w->group[group];
    struct raft_conf conf = {.n = 0};

    g->born = true;
    /* Members start on neighbouring nodes, each group one further on. */
    for (unsigned i = 0; i < w->plan.voters; i++) {
        struct raft_changes add = {.n = 1, .op = {{.op = 'v', .id = i + 1}}};

        g->home[i + 1] = (uint8_t)(1 + (group - 1 + i) % w->plan.nodes);
        if (raft_conf_change(&conf, &add) != FL_OK) {
            fl_assert(false);
        }
    }
    g->next_id = w->plan.voters + 1;
    g->truth.conf = conf;
    g->truth.committed_hi = SIM_INITIAL;
    fl_grow(&g->truth.committed,
            &g->truth.committed_capacity,
            SIM_INITIAL + 1,
            sizeof(*g->truth.committed));
    memset(g->truth.committed, 0, g->truth.committed_capacity * sizeof(*g->truth.committed));
    g->truth.committed[SIM_INITIAL] =
        (struct sim_committed){.term = SIM_INITIAL, .by = SIM_INITIAL, .chain = 1};
    for (unsigned i = 1; i <= w->plan.voters; i++) {
        (void)sim_replica_create(w, group, i, &conf);
    }
}

static void make_nodes(struct sim_world *w)
{
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        struct sim_node *n = &w->node[i];

        n->id = i;
        n->rate = 1000;
        n->store = w->set->store_open(w, i);
        sim_disk_start(w, n);
    }
    for (unsigned g = 1; g <= w->plan.groups; g++) {
        w->group[g].id = g;
        found_group(w, g);
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        sim_node_start(w, &w->node[i]);
    }
}

struct sim_world *sim_world_create(const struct sim_options *options,
                                   const struct sim_machine_set *set)
{
    struct sim_world *w = fl_xcalloc(1, sizeof(*w));

    w->options = *options;
    w->set = set;
    sim_plan_make(&w->plan, options);
    fl_prng_seed(&w->net_prng, options->seed * 11 + 1);
    fl_prng_seed(&w->disk_prng, options->seed * 11 + 2);
    fl_prng_seed(&w->fault_prng, options->seed * 11 + 3);
    fl_prng_seed(&w->client_prng, options->seed * 11 + 4);
    fl_prng_seed(&w->core_prng, options->seed * 11 + 5);
    w->now = 1000000;
    fl_grow(&w->ops, &w->op_capacity, 2, sizeof(*w->ops));
    make_nodes(w);
    for (unsigned i = 0; i < w->plan.clients; i++) {
        w->client[i].id = i;
        w->client[i].history_client = i + 1;
        sim_after(w, 1000 + i, (struct sim_event){.kind = SIM_EV_CLIENT, .arg = i});
    }
    sim_after(w, w->plan.fault_us, (struct sim_event){.kind = SIM_EV_FAULT});
    sim_after(w, w->plan.fault_us, (struct sim_event){.kind = SIM_EV_OPERATOR});
    return w;
}

void sim_world_run(struct sim_world *w)
{
    sim_run_until(w, w->now + w->plan.until_us, w->plan.events_max);
    if (w->violation[0] == '\0') {
        sim_liveness(w);
    }
    if (w->violation[0] == '\0') {
        sim_history_check(w);
    }
    w->counts.virtual_us = w->now;
    if (w->violation[0] != '\0') {
        sim_trace(w, "%s", w->violation);
    }
}

static void close_group(struct sim_world *w, struct sim_group *g)
{
    for (unsigned id = 1; id <= SIM_REPLICAS_MAX; id++) {
        struct sim_replica *r = g->replica[id];

        if (r == NULL) {
            continue;
        }
        sim_replica_close(w, r);
        sim_log_close(&r->mem);
        sim_log_close(&r->disk.log);
        free(r->pending);
        free(r->asked);
        free(r);
    }
    sim_truth_close(&g->truth);
}

void sim_world_destroy(struct sim_world *w)
{
    struct sim_event e;

    while (sim_queue_pop(&w->queue, &e)) {
        if (e.data != NULL) {
            sim_packet_free(e.data);
        }
    }
    sim_queue_close(&w->queue);
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        sim_disk_crash(w, &w->node[i]);
    }
    for (unsigned i = 1; i <= w->plan.groups; i++) {
        close_group(w, &w->group[i]);
    }
    for (unsigned i = 1; i <= w->plan.nodes; i++) {
        if (w->node[i].env != NULL) {
            raft_env_destroy(w->node[i].env);
        }
        w->set->store_close(w->node[i].store);
    }
    for (size_t i = 0; i < w->nparked; i++) {
        sim_packet_free(w->parked[i]);
    }
    for (size_t i = 1; i <= w->nstreams; i++) {
        sim_image_release(w->streams[i].image);
    }
    for (size_t i = 1; i <= w->npayloads; i++) {
        free(w->payloads[i].changes);
        fl_buf_release(w->payloads[i].bytes);
    }
    free(w->payloads);
    free(w->streams);
    free(w->ops);
    free(w);
}
