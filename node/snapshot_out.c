/* Snapshots to laggards: a pinned state of the machine, piece by piece over the bulk lane.
 *
 * Owner: the replica that leads. Lifetime: from the core's offer until the receiver has installed
 * it, refused it, or is gone.
 * Threads: the host's loop; opened on the apply thread, read in the read pool.
 *
 *     offer -> open (apply thread) -> [ read a chunk (pool) -> send -> ack ]* -> done
 *
 * At most SNAPSHOT_WINDOW pieces are on their way, so a slow receiver holds nobody up. */
#include "node/host_internal.h"

#include "node/apply.h"
#include "raftgroup/base/assert.h"

#define SNAPSHOT_WINDOW   8
#define STREAMS_MAX       4     /* of one loop at a time (design 13); the others wait in line */
#define SNAPSHOT_QUIET_MS 10000 /* a receiver that says nothing for so long is given up */

struct node_snapshot_out {
    struct node_snapshot_out *next;
    struct fl_list waiting; /* in the host's line while it has not begun */
    struct node_task task;
    struct node_deadline timer;
    struct node_deadline pace; /* the next chunk may be read */
    struct node_host *host;
    struct shard_machine *machine;
    uint64_t group_id;
    raft_id peer_replica;
    uint64_t peer_node;
    uint64_t stream;
    struct raft_msg offer;
    struct shard_snapshot *snapshot;
    struct shard_snapshot_info info;
    struct fl_writer chunk;
    enum fl_status status; /* of the last job */
    uint64_t made;         /* pieces sent */
    uint64_t acked;        /* pieces the receiver has */
    bool outside;          /* a job of another thread holds this */
    bool last_made;
    bool abandoned; /* freed as soon as it is not outside */
};

/* NOLINTNEXTLINE(misc-redundant-expression): equal today, and that is what must stay possible */
static_assert(NODE_MESSAGE_CHUNK_BYTES_MAX >= SHARD_CHUNK_BYTES_MAX, "a message holds any chunk");

static void pump(struct node_snapshot_out *out);
static void start_next(struct node_host *host);

static void unlink_stream(struct node_replica *replica, struct node_snapshot_out *out)
{
    struct node_snapshot_out **at = &replica->snapshots_out;

    while (*at != NULL && *at != out) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = out->next;
    }
}

static void destroy(struct node_snapshot_out *out)
{
    struct node_replica *replica = node__host_replica(out->host, out->group_id);

    if (replica != NULL) {
        unlink_stream(replica, out);
    }
    if (fl_list_empty(&out->waiting)) {
        out->host->snapshots_active--;
    }
    fl_list_remove(&out->waiting);
    start_next(out->host);
    node_wheel_cancel(&out->host->wheel, &out->timer.timer);
    node_wheel_cancel(&out->host->wheel, &out->pace.timer);
    if (out->snapshot != NULL) {
        out->machine->ops->snapshot_close(out->snapshot);
    }
    fl_writer_close(&out->chunk);
    free(out);
}

/* Ends the stream and tells the core. */
static void end(struct node_snapshot_out *out, bool ok)
{
    struct node_host *host = out->host;
    struct node_replica *replica = node__host_replica(host, out->group_id);

    if (out->abandoned) {
        return;
    }
    out->abandoned = true;
    fl_log(FL_LOG_INFO,
           "snapshot_sent",
           "group=%" PRIu64 " peer=%016" PRIx64 " index=%" PRIu64 " pieces=%" PRIu64 " ok=%d",
           out->group_id,
           out->peer_node,
           out->info.index,
           out->made,
           ok);
    if (ok) {
        fl_metric_add(&node_metric_snapshots_sent, 1);
    }
    if (replica != NULL && !host->closing &&
        raft_snapshot_status(replica->raft, host->now_ms, out->peer_replica, ok) == FL_OK) {
        node__host_dirty(replica);
    }
    if (!out->outside) {
        destroy(out);
    }
}

static bool back(struct node_snapshot_out *out)
{
    out->outside = false;
    out->host->outside--;
    if (out->abandoned) {
        destroy(out);
        return false;
    }
    return true;
}

static void send_away(struct node_snapshot_out *out)
{
    out->outside = true;
    out->host->outside++;
}

/* --- pieces --------------------------------------------------------------------------------- */

/* --snapshot-rate: what was sent is paid for with time, by all streams of the loop together. */
static void spend(struct node_host *host, size_t bytes)
{
    uint64_t rate = host->node->options->snapshot_rate_bytes / (host->node->host_count - 1);
    uint64_t now_us = host->now_ms * 1000;

    if (host->snapshots_paid_us < now_us) {
        host->snapshots_paid_us = now_us;
    }
    host->snapshots_paid_us += (uint64_t)bytes * 1000000 / (rate != 0 ? rate : 1);
}

static void chunk_read(struct node_task *task)
{
    struct node_snapshot_out *out = fl_container_of(task, struct node_snapshot_out, task);
    struct node_host *host = out->host;
    struct node_snapshot_piece piece = {
        .group = out->group_id,
        .stream = out->stream,
        .boot = host->node->boot,
        .number = out->made,
        .last = out->last_made,
        .offer = out->offer,
        .chunk = fl_writer_bytes(&out->chunk),
    };
    struct node_part part;

    if (!back(out)) {
        return;
    }
    if (out->status != FL_OK) {
        end(out, false);
        return;
    }
    fl_writer_reset(&host->scratch);
    node_snapshot_piece_encode(&host->scratch, &piece);
    part = (struct node_part){.bytes = fl_writer_bytes(&host->scratch), .buf = NULL};
    if (!node_transport_send(
            host->transport, out->peer_node, host->bulk_lane, NODE_MESSAGE_SNAPSHOT, &part, 1)) {
        end(out, false);
        return;
    }
    out->made++;
    spend(host, part.bytes.len);
    pump(out);
}

static void read_chunk(struct node_task *task)
{
    struct node_snapshot_out *out = fl_container_of(task, struct node_snapshot_out, task);

    fl_writer_reset(&out->chunk);
    out->status = out->machine->ops->snapshot_next(out->snapshot, &out->chunk, &out->last_made);
    out->task.run = chunk_read;
    node_loop_post(out->host->loop, &out->task);
}

static void pump(struct node_snapshot_out *out)
{
    struct node_host *host = out->host;

    if (out->outside || out->last_made || out->made >= out->acked + SNAPSHOT_WINDOW) {
        return;
    }
    if (host->snapshots_paid_us > (host->now_ms + 1) * 1000) {
        node_wheel_set(&host->wheel, &out->pace.timer, host->snapshots_paid_us / 1000);
        return;
    }
    send_away(out);
    out->task.run = read_chunk;
    node_pool_post(out->host->node->read_pool, &out->task);
}

/* --- opening -------------------------------------------------------------------------------- */

static void opened(struct node_task *task)
{
    struct node_snapshot_out *out = fl_container_of(task, struct node_snapshot_out, task);

    if (!back(out)) {
        return;
    }
    if (out->status != FL_OK) {
        end(out, false);
        return;
    }
    /* The pinned state is at least as new as what the core offered; say so. */
    out->offer.index = out->info.index;
    out->offer.log_term = out->info.term;
    pump(out);
}

static void open_snapshot(struct node_task *task)
{
    struct node_snapshot_out *out = fl_container_of(task, struct node_snapshot_out, task);
    struct shard_batch *batch = node_apply_batch(out->host->node->apply, out->group_id);

    out->status = out->machine->ops->snapshot_open(out->machine, batch, &out->snapshot, &out->info);
    out->task.run = opened;
    node_loop_post(out->host->loop, &out->task);
}

static void given_up(struct node_deadline *deadline)
{
    end(fl_container_of(deadline, struct node_snapshot_out, timer), false);
}

static void paced(struct node_deadline *deadline)
{
    pump(fl_container_of(deadline, struct node_snapshot_out, pace));
}

static void touch(struct node_snapshot_out *out)
{
    node_wheel_set(&out->host->wheel, &out->timer.timer, out->host->now_ms + SNAPSHOT_QUIET_MS);
}

static void begin(struct node_snapshot_out *out)
{
    out->host->snapshots_active++;
    touch(out);
    send_away(out);
    out->task.run = open_snapshot;
    node_apply_post_other(out->host->node->apply, out->group_id, &out->task);
}

static void start_next(struct node_host *host)
{
    while (!host->closing && host->snapshots_active < STREAMS_MAX &&
           !fl_list_empty(&host->snapshots_waiting)) {
        struct node_snapshot_out *out =
            fl_container_of(host->snapshots_waiting.next, struct node_snapshot_out, waiting);

        fl_list_remove(&out->waiting);
        begin(out);
    }
}

void node__snapshot_send(struct node_replica *replica, uint64_t node, const struct raft_msg *offer)
{
    struct node_host *host = replica->host;
    struct node_snapshot_out *out;

    for (out = replica->snapshots_out; out != NULL; out = out->next) {
        if (out->peer_replica == offer->to && !out->abandoned) {
            return; /* under way */
        }
    }
    out = fl_xcalloc(1, sizeof(*out));
    out->host = host;
    out->machine = replica->machine;
    out->group_id = replica->group_id;
    out->peer_replica = offer->to;
    out->peer_node = node;
    out->stream = ++host->next_stream;
    out->offer = *offer;
    node_timer_init(&out->timer.timer);
    out->timer.run = given_up;
    node_timer_init(&out->pace.timer);
    out->pace.run = paced;
    out->next = replica->snapshots_out;
    replica->snapshots_out = out;
    fl_list_init(&out->waiting);
    fl_list_push_back(&host->snapshots_waiting, &out->waiting);
    start_next(host);
}

/* --- the receiver's word -------------------------------------------------------------------- */

static struct node_snapshot_out *
find(struct node_host *host, uint64_t peer, const struct node_snapshot_ack *ack)
{
    const struct node_replica *replica = node__host_replica(host, ack->group);
    struct node_snapshot_out *out = replica != NULL ? replica->snapshots_out : NULL;

    while (out != NULL &&
           (out->stream != ack->stream || out->peer_node != peer || out->abandoned)) {
        out = out->next;
    }
    return ack->boot == host->node->boot ? out : NULL;
}

void node__snapshot_acked(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    struct node_snapshot_ack ack;
    struct node_snapshot_out *out;

    if (node_snapshot_ack_decode(body, &ack) != FL_OK) {
        node__host_bad_message(host, peer, "snapshot ack");
        return;
    }
    if (node__host_is_elsewhere(host, ack.group, peer, NODE_MESSAGE_SNAPSHOT_ACK, body)) {
        return;
    }
    out = find(host, peer, &ack);
    if (out == NULL) {
        return;
    }
    touch(out);
    if (ack.status != FL_OK) {
        end(out, ack.status == FL_STALE); /* stale: it has all this already */
    } else if (ack.done) {
        end(out, true);
    } else if (ack.next > out->acked && ack.next <= out->made) {
        out->acked = ack.next;
        pump(out);
    }
}

static void end_streams(struct node_host *host, uint64_t peer, bool all)
{
    struct node_replica *replica;
    struct node_replica *next;

    HASH_ITER(hh, host->replicas, replica, next)
    {
        struct node_snapshot_out *out = replica->snapshots_out;

        while (out != NULL) {
            struct node_snapshot_out *following = out->next;

            if (all || out->peer_node == peer) {
                end(out, false);
            }
            out = following;
        }
    }
}

void node__snapshot_out_peer_down(struct node_host *host, uint64_t peer)
{
    end_streams(host, peer, false);
}

void node__snapshot_out_close(struct node_host *host)
{
    end_streams(host, 0, true);
}
