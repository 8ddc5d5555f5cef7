/* The network: loss, duplicates, delays, cut and clogged links, old messages, snapshot streams. */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A look is 0.4 election periods: eight of them hold a whole one, whatever the clocks do. */
enum { STREAM_TRIES = 4, SILENT_LOOKS = 8 };

void sim_packet_free(struct sim_packet *packet)
{
    sim_image_release(packet->piece.image);
    free(packet);
}

static struct sim_packet *make_packet(const struct raft_msg *m, unsigned from, unsigned to)
{
    struct sim_packet *p = fl_xmalloc(sizeof(*p) + m->nents * sizeof(p->entries[0]));

    memset(p, 0, sizeof(*p));
    p->m = *m;
    p->from_node = from;
    p->to_node = to;
    return p;
}

static struct sim_packet *copy_packet(const struct sim_packet *p)
{
    struct sim_packet *copy = fl_xmemdup(p, sizeof(*p) + p->m.nents * sizeof(p->entries[0]));

    if (copy->piece.image != NULL) {
        sim_image_acquire(copy->piece.image);
    }
    return copy;
}

/* ---- sending ---- */

static void deliver_later(struct sim_world *w, struct sim_packet *p)
{
    struct sim_link *link = &w->link[p->from_node][p->to_node];
    uint64_t at = w->now + w->plan.delay_us + fl_prng_below(&w->net_prng, w->plan.delay_us / 4 + 2);

    if (sim_roll(w, &w->net_prng, SIM_FAULT_REORDER)) {
        at += sim_exponential(&w->net_prng, w->plan.spread_us);
    } else {
        at = at > link->last ? at : link->last + 1;
        link->last = at;
    }
    if (at < link->clog_until) {
        at = link->clog_until + fl_prng_below(&w->net_prng, 1000);
    }
    sim_after(w,
              at - w->now,
              (struct sim_event){.kind = SIM_EV_PACKET, .node = (uint8_t)p->to_node, .data = p});
}

static void park(struct sim_world *w, const struct sim_packet *p)
{
    size_t slot = w->nparked;

    if (p->piece.count != 0) {
        return;
    }
    if (w->nparked < SIM_PARKED_MAX) {
        w->nparked++;
    } else {
        slot = (size_t)fl_prng_below(&w->net_prng, SIM_PARKED_MAX);
        sim_packet_free(w->parked[slot]);
    }
    w->parked[slot] = copy_packet(p);
}

static void post(struct sim_world *w, struct sim_packet *p)
{
    w->counts.messages++;
    if (sim_plan_has(&w->plan, SIM_FAULT_REPLAY) && fl_prng_below(&w->net_prng, 8) == 0) {
        park(w, p);
    }
    if (w->link[p->from_node][p->to_node].cut || sim_roll(w, &w->net_prng, SIM_FAULT_LOSS) ||
        (p->piece.count != 0 && sim_roll(w, &w->net_prng, SIM_FAULT_SNAP_LOSS))) {
        sim_packet_free(p);
        return;
    }
    if (sim_roll(w, &w->net_prng, SIM_FAULT_DUPLICATE)) {
        deliver_later(w, copy_packet(p));
    }
    if (w->nparked != 0 && sim_roll(w, &w->net_prng, SIM_FAULT_REPLAY)) {
        deliver_later(w, copy_packet(w->parked[fl_prng_below(&w->net_prng, w->nparked)]));
    }
    deliver_later(w, p);
}

/* A process that comes back finds old messages for its former self. */
void sim_net_replay(struct sim_world *w, unsigned node)
{
    for (size_t i = 0; i < w->nparked; i++) {
        if (w->parked[i]->to_node == node && sim_plan_has(&w->plan, SIM_FAULT_REPLAY)) {
            w->counts.faults[SIM_FAULT_REPLAY]++;
            deliver_later(w, copy_packet(w->parked[i]));
        }
    }
}

/* ---- snapshot streams ---- */

static void look_again(struct sim_world *w, uint32_t number)
{
    const struct sim_stream *s = &w->streams[number];

    sim_after(w,
              (uint64_t)w->plan.config.election_ticks * 400,
              (struct sim_event){.kind = SIM_EV_STREAM,
                                 .node = (uint8_t)s->from_node,
                                 .group = s->group,
                                 .arg = number});
}

static void send_pieces(struct sim_world *w, uint32_t number)
{
    struct sim_stream *s = &w->streams[number];

    for (uint32_t i = 0; i < s->pieces; i++) {
        struct sim_packet *p = make_packet(&s->m, s->from_node, s->to_node);

        p->piece = (struct sim_piece){.stream = number,
                                      .number = i,
                                      .count = s->pieces,
                                      .image = sim_image_acquire(s->image)};
        post(w, p);
    }
    look_again(w, number);
}

static void
start_stream(struct sim_world *w, struct sim_replica *r, const struct raft_msg *m, unsigned to)
{
    struct sim_image *image = w->set->image(r->machine);
    struct sim_stream *s;

    if (image == NULL || image->index < m->index) {
        sim_violate(w, "snapshot", "replica %" PRIu64 " offers what it does not have", r->id);
        sim_image_release(image);
        return;
    }
    image->chain = sim_log_chain(&r->disk.log, image->index);
    fl_grow(&w->streams, &w->stream_capacity, w->nstreams + 2, sizeof(*w->streams));
    s = &w->streams[++w->nstreams];
    *s = (struct sim_stream){.from_node = r->node,
                             .to_node = to,
                             .boot = w->node[r->node].boot,
                             .group = (uint8_t)r->group,
                             .from = r->id,
                             .to = m->to,
                             .image = image,
                             .m = *m,
                             .pieces = w->plan.pieces};
    s->m.index = image->index;
    s->m.log_term = image->term;
    send_pieces(w, (uint32_t)w->nstreams);
}

static void end_stream(struct sim_world *w, struct sim_stream *s, bool ok)
{
    struct sim_replica *r = w->group[s->group].replica[s->from];

    if (s->ended) {
        return;
    }
    s->ended = true;
    sim_image_release(s->image);
    s->image = NULL;
    if (sim_is_up(r) && w->node[s->from_node].boot == s->boot) {
        (void)sim_input(
            w,
            r,
            raft_snapshot_status(r->raft, sim_local_ms(w, &w->node[s->from_node]), s->to, ok));
    }
}

void sim_net_stream(struct sim_world *w, uint32_t stream)
{
    struct sim_stream *s = &w->streams[stream];

    if (s->ended) {
        return;
    }
    if (++s->tries < STREAM_TRIES) {
        send_pieces(w, stream);
        return;
    }
    if (!w->node[s->to_node].up && stream % 2 == 0) {
        if (++s->silent < SILENT_LOOKS) {
            look_again(w, stream); /* one that comes back sooner must be reported */
            return;
        }
        /* Nobody reports: the core gives up a receiver that was silent for a whole election period
         * by itself (N9). */
        s->ended = true;
        sim_image_release(s->image);
        s->image = NULL;
        return;
    }
    end_stream(w, s, false);
}

static void answer_stream(struct sim_world *w, const struct sim_packet *p, bool ok)
{
    struct sim_packet *answer = make_packet(&p->m, p->to_node, p->from_node);

    answer->piece = p->piece;
    answer->piece.image = NULL;
    answer->piece.answer = true;
    answer->piece.ok = ok;
    post(w, answer);
}

static void receive_piece(struct sim_world *w, struct sim_replica *r, const struct sim_packet *p)
{
    const struct sim_piece *piece = &p->piece;

    if (piece->stream < r->stream_in) {
        return; /* of a stream that was given up */
    }
    if (piece->stream > r->stream_in) {
        enum fl_status status = raft_step(r->raft,
                                          sim_local_ms(w, &w->node[r->node]),
                                          &p->m,
                                          NULL,
                                          &(raft_index){0},
                                          &(raft_index){0});

        (void)sim_input(w, r, status);
        r->stream_in = piece->stream;
        r->stream_pieces = piece->count;
        r->stream_got = status == FL_OK ? 0 : UINT32_MAX;
    }
    if (r->stream_got == UINT32_MAX) {
        answer_stream(w, p, true); /* not wanted, or taken already */
        if (fl_prng_below(&w->net_prng, 4) == 0) {
            sim_replica_staged(w, r, p->m.from, piece->image); /* N4, N15: the core must say no */
        }
        return;
    }
    r->stream_got |= 1U << piece->number;
    if (r->stream_got == (1U << r->stream_pieces) - 1) {
        r->stream_got = UINT32_MAX;
        answer_stream(w, p, true);
        sim_replica_staged(w, r, p->m.from, piece->image);
    }
}

/* ---- arriving ---- */

/* A member learns that it is one by the first message of its leader. */
static struct sim_replica *find_replica(struct sim_world *w, const struct sim_packet *p)
{
    struct sim_group *g = &w->group[p->m.group];
    struct sim_node *n = &w->node[p->to_node];
    struct sim_replica *r = g->replica[p->m.to];

    if (r == NULL && n->replica[g->id] == NULL && g->home[p->m.to] == n->id && g->born) {
        sim_trace(w, "node %u makes replica %" PRIu64 " of group %u", n->id, p->m.to, g->id);
        r = sim_replica_create(w, g->id, p->m.to, NULL);
        sim_replica_open(w, r);
    }
    return r != NULL && n->replica[g->id] == r && sim_is_up(r) ? r : NULL;
}

void sim_net_arrive(struct sim_world *w, struct sim_packet *p)
{
    struct sim_replica *r;

    if (!w->node[p->to_node].up || w->link[p->from_node][p->to_node].cut) {
        return;
    }
    if (p->piece.answer) {
        end_stream(w, &w->streams[p->piece.stream], p->piece.ok);
        return;
    }
    r = find_replica(w, p);
    if (r == NULL) {
        return;
    }
    sim_trace(w,
              "group %u %" PRIu64 ">%" PRIu64 " type %d%s term %" PRIu64 " index %" PRIu64
              "/%" PRIu64 " commit %" PRIu64 " n %u",
              r->group,
              p->m.from,
              p->m.to,
              p->m.type,
              (p->m.flags & RAFT_F_REJECT) != 0 ? " reject" : "",
              p->m.term,
              p->m.log_term,
              p->m.index,
              p->m.commit,
              p->m.nents);
    if (p->piece.count != 0) {
        receive_piece(w, r, p);
    } else {
        sim_replica_step(w, r, p);
    }
}

void sim_net_send(struct sim_world *w, struct sim_replica *r, const struct raft_msg *m)
{
    unsigned to = m->to <= SIM_REPLICAS_MAX ? w->group[r->group].home[m->to] : 0;
    struct sim_packet *p;

    if (to == 0) {
        sim_violate(w, "message", "replica %" PRIu64 " writes to a stranger", r->id);
        return;
    }
    w->trace_hash = sim_mix(w->trace_hash, m->to << 8 | m->type);
    if (m->type == RAFT_M_SNAP) {
        start_stream(w, r, m, to);
        return;
    }
    p = make_packet(m, r->node, to);
    for (uint32_t i = 0; i < m->nents; i++) {
        const struct sim_entry *entry = sim_log_get(&r->mem, m->index + 1 + i);

        if (entry == NULL || entry->term != raft_term_at(r->raft, m->index + 1 + i)) {
            sim_violate(w, "message", "replica %" PRIu64 " names what it does not have", r->id);
            sim_packet_free(p);
            return;
        }
        p->entries[i] = *entry;
    }
    post(w, p);
}
