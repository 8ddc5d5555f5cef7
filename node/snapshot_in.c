/* Snapshots from a leader: staged in files, then put in force in one step (D5).
 *
 * Owner: the replica that receives. Lifetime: from piece 0 until installed or given up.
 * Threads: the host's loop; files are written in the read pool, installed on the apply thread.
 *
 *     piece 0: does the core want it?   -> files below DIR/snap (pool)   -> ack each piece
 *     last:    sealed, durable          -> nothing more is handed to apply; when all of it is back:
 *     core: staged -> intent synced, machine replaced (apply thread); the core is not asked for its
 *     record before that is done -> record to the log writer -> intent dropped
 *
 * A crash before the machine was replaced leaves the old state and an intent without meaning; a
 * crash after it leaves a machine ahead of its log, which node__finish_intents mends at start. */
#include "node/host_internal.h"

#include "node/apply.h"
#include "node/why.h"
#include "raftgroup/base/assert.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define INTENT_INSTALL    1
#define SNAPSHOT_QUIET_MS 15000
#define PIECES_MAX        64 /* waiting to be written; a sender keeps fewer on their way */
#define PATH_BYTES        1024

/* A chunk that waits for its turn. */
struct piece {
    struct piece *next;
    struct fl_buf *chunk;
    bool last;
};

struct node_snapshot_in {
    struct node_task task;
    struct node_deadline timer;
    struct node_host *host;
    struct shard_machine *machine;
    uint64_t group_id;
    uint64_t peer;
    uint32_t boot;
    uint64_t stream;
    struct raft_msg offer;
    char dir[PATH_BYTES];
    struct shard_install *install;
    struct shard_snapshot_info info;
    struct piece *first; /* waiting pieces */
    struct piece **tail;
    uint64_t received; /* pieces taken in */
    uint64_t written;  /* pieces on disk */
    bool last_received;
    bool busy; /* a job of another thread holds this */
    bool sealed;
    bool installing;
    bool abandoned;
    struct shard_machine_status machine_state; /* after the installation */
    enum fl_status status;                     /* of the last job */
};

static void work(struct node_snapshot_in *in);

static void acknowledge(struct node_snapshot_in *in, enum fl_status status, bool done)
{
    struct node_host *host = in->host;
    struct node_snapshot_ack ack = {
        .group = in->group_id,
        .stream = in->stream,
        .boot = in->boot,
        .next = in->written,
        .status = status,
        .done = done,
    };
    struct node_part part;

    if (host->transport == NULL) {
        return;
    }
    fl_writer_reset(&host->scratch);
    node_snapshot_ack_encode(&host->scratch, &ack);
    part = (struct node_part){.bytes = fl_writer_bytes(&host->scratch), .buf = NULL};
    (void)node_transport_send(
        host->transport, in->peer, host->bulk_lane, NODE_MESSAGE_SNAPSHOT_ACK, &part, 1);
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    if (dir == NULL) {
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    (void)closedir(dir);
    (void)rmdir(path);
}

static void destroy(struct node_snapshot_in *in)
{
    struct node_replica *replica = node__host_replica(in->host, in->group_id);

    if (replica != NULL && replica->snapshot_in == in) {
        replica->snapshot_in = NULL;
        replica->hold_apply = false; /* given up: entries go on */
        node__host_dirty(replica);
    }
    node_wheel_cancel(&in->host->wheel, &in->timer.timer);
    while (in->first != NULL) {
        struct piece *piece = in->first;

        in->first = piece->next;
        fl_buf_release(piece->chunk);
        free(piece);
    }
    if (in->install != NULL) {
        in->machine->ops->install_abort(in->install);
    }
    remove_dir(in->dir);
    free(in);
}

static void give_up(struct node_snapshot_in *in, enum fl_status status)
{
    if (in->abandoned || in->installing) {
        return; /* once the core counts on it, it is carried through */
    }
    in->abandoned = true;
    acknowledge(in, status, false);
    if (!in->busy) {
        destroy(in);
    }
}

static void send_away(struct node_snapshot_in *in, node_task_fn *run)
{
    in->busy = true;
    in->host->outside++;
    in->task.run = run;
}

static bool back(struct node_snapshot_in *in)
{
    in->busy = false;
    in->host->outside--;
    if (in->abandoned) {
        destroy(in);
        return false;
    }
    return true;
}

/* --- staging -------------------------------------------------------------------------------- */

static void piece_written(struct node_task *task)
{
    struct node_snapshot_in *in = fl_container_of(task, struct node_snapshot_in, task);
    struct piece *piece;

    if (!back(in)) {
        return;
    }
    piece = in->first;
    in->first = piece->next;
    if (in->first == NULL) {
        in->tail = &in->first;
    }
    fl_buf_release(piece->chunk);
    free(piece);
    if (in->status != FL_OK) {
        fl_log(FL_LOG_WARN,
               "snapshot_not_staged",
               "group=%" PRIu64 " status=%s",
               in->group_id,
               fl_status_name(in->status));
        give_up(in, in->status);
        return;
    }
    in->written++;
    acknowledge(in, FL_OK, false);
    work(in);
}

static enum fl_status write_piece(struct node_snapshot_in *in, const struct piece *piece)
{
    if (in->install == NULL) {
        if (mkdir(in->dir, 0700) != 0 && errno != EEXIST) {
            return FL_IO;
        }
        FL_TRY(in->machine->ops->install_begin(in->machine, in->dir, &in->install));
    }
    FL_TRY(in->machine->ops->install_chunk(in->install, fl_buf_bytes(piece->chunk)));
    if (piece->last) {
        FL_TRY(in->machine->ops->install_seal(in->install, &in->info));
        in->sealed = true;
    }
    return FL_OK;
}

static void write_first(struct node_task *task)
{
    struct node_snapshot_in *in = fl_container_of(task, struct node_snapshot_in, task);
    struct piece *piece = in->first;

    in->status = write_piece(in, piece);
    in->task.run = piece_written;
    node_loop_post(in->host->loop, &in->task);
}

/* --- putting it in force -------------------------------------------------------------------- */

static void installed(struct node_task *task)
{
    struct node_snapshot_in *in = fl_container_of(task, struct node_snapshot_in, task);
    struct node_host *host = in->host;
    struct node_replica *replica = node__host_replica(host, in->group_id);

    in->busy = false;
    host->outside--;
    fl_assert(replica != NULL);
    replica->applied = in->info.index;
    replica->visible = in->info.index;
    replica->apply_next = in->info.index + 1;
    replica->apply_limit = in->info.index;
    replica->checkpoint = in->info.index;
    replica->truncated = in->info.index;
    replica->revision = in->machine_state.revision;
    replica->compact_revision = in->machine_state.compact_revision;
    replica->durable_compact = in->machine_state.compact_revision; /* durable as a whole (D5) */
    replica->mark = in->machine_state.mark;
    replica->live_keys = in->machine_state.live_keys;
    replica->installing = false;
    if (replica->group_id != PLACEMENT_GROUP_ID) {
        node__saw_revision(host, replica->revision);
    }
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        node__first_range_applied(replica);
    }
    fl_metric_add(&node_metric_snapshots_installed, 1);
    fl_log(FL_LOG_INFO,
           "snapshot_installed",
           "group=%" PRIu64 " index=%" PRIu64 " term=%" PRIu64,
           in->group_id,
           in->info.index,
           in->info.term);
    acknowledge(in, FL_OK, true);
    destroy(in);
    node__replica_serve_reads(replica); /* no entry may come for a while */
}

static void install(struct node_task *task)
{
    struct node_snapshot_in *in = fl_container_of(task, struct node_snapshot_in, task);
    struct node *node = in->host->node;
    uint8_t body[16];
    enum fl_status status;

    fl_put_u64le(body, in->info.index);
    fl_put_u64le(body + 8, in->info.term);
    node_log_store_put_intent(
        node->log_store, in->group_id, INTENT_INSTALL, fl_bytes(body, sizeof(body)));
    status = in->machine->ops->install_finish(in->machine, in->install);
    in->install = NULL;
    if (status != FL_OK) {
        fl_fatal("group %" PRIu64 ": a snapshot could not be installed: %s",
                 in->group_id,
                 fl_status_text(status));
    }
    in->machine->ops->status(in->machine, &in->machine_state);
    in->task.run = installed;
    node_loop_post(in->host->loop, &in->task);
}

/* Everything handed to apply is back: the core may learn of the snapshot. */
static void stage(struct node_replica *replica, struct node_snapshot_in *in)
{
    struct node_host *host = in->host;
    enum fl_status status = raft_snapshot_staged(
        replica->raft, host->now_ms, in->offer.from, in->info.index, in->info.term, &in->info.conf);

    node__host_dirty(replica);
    if (status != FL_OK) {
        give_up(in, status);
        return;
    }
    /* The core is left alone until the machine is replaced, so its record comes after (raft.h). */
    in->installing = true;
    replica->installing = true;
    node_log_cache_reset(replica->cache, in->info.index + 1);
    send_away(in, install);
    node_apply_post_other(host->node->apply, in->group_id, &in->task);
}

void node__snapshot_in_continue(struct node_replica *replica)
{
    struct node_snapshot_in *in = replica->snapshot_in;

    /* While it is busy another thread may be sealing it. */
    if (in == NULL || in->busy || !in->sealed || in->installing || in->abandoned) {
        return;
    }
    replica->hold_apply = true;
    if (replica->apply_bytes == 0 && !replica->apply_fetching) {
        stage(replica, in);
    }
}

static void work(struct node_snapshot_in *in)
{
    if (in->busy || in->installing) {
        return;
    }
    if (in->sealed) {
        node__snapshot_in_continue(node__host_replica(in->host, in->group_id));
    } else if (in->first != NULL) {
        send_away(in, write_first);
        node_pool_post(in->host->node->read_pool, &in->task);
    }
}

/* --- messages ------------------------------------------------------------------------------- */

static void given_up(struct node_deadline *deadline)
{
    give_up(fl_container_of(deadline, struct node_snapshot_in, timer), FL_TIMEOUT);
}

static void refuse(struct node_host *host,
                   uint64_t peer,
                   const struct node_snapshot_piece *piece,
                   enum fl_status status)
{
    struct node_snapshot_in in = {
        .host = host,
        .peer = peer,
        .boot = piece->boot,
        .group_id = piece->group,
        .stream = piece->stream,
    };

    acknowledge(&in, status, false);
}

/* A sender that begins anew has given up what came before; false while another thread holds that.
 */
static bool make_room(struct node_replica *replica)
{
    struct node_snapshot_in *old = replica->snapshot_in;

    if (old != NULL) {
        give_up(old, FL_TIMEOUT);
    }
    return replica->snapshot_in == NULL;
}

static void begin(struct node_host *host, uint64_t peer, const struct node_snapshot_piece *piece)
{
    struct node_replica *replica = node__host_replica(host, piece->group);
    struct node_snapshot_in *in;
    raft_index lo;
    raft_index hi;
    enum fl_status status;

    if (replica == NULL || piece->offer.to != replica->replica_id ||
        node__replica_node_of(replica, piece->offer.from) != peer) {
        refuse(host, peer, piece, FL_NOT_HERE);
        return;
    }
    if (!make_room(replica)) {
        refuse(host, peer, piece, FL_NOT_READY);
        return;
    }
    status = raft_step(replica->raft, host->now_ms, &piece->offer, NULL, &lo, &hi);
    node__host_dirty(replica);
    if (status != FL_OK) {
        refuse(host, peer, piece, status);
        return;
    }
    in = fl_xcalloc(1, sizeof(*in));
    in->host = host;
    in->machine = replica->machine;
    in->group_id = replica->group_id;
    in->peer = peer;
    in->boot = piece->boot;
    in->stream = piece->stream;
    in->offer = piece->offer;
    in->tail = &in->first;
    (void)snprintf(in->dir,
                   sizeof(in->dir),
                   "%s/%" PRIu64 "-%u-%" PRIu64,
                   node_identity_snap_path(host->node->identity),
                   in->group_id,
                   in->boot,
                   in->stream);
    node_timer_init(&in->timer.timer);
    in->timer.run = given_up;
    replica->snapshot_in = in;
}

/* The stream that waits for this very piece. */
static struct node_snapshot_in *
find(struct node_host *host, uint64_t peer, const struct node_snapshot_piece *piece)
{
    const struct node_replica *replica = node__host_replica(host, piece->group);
    struct node_snapshot_in *in = replica != NULL ? replica->snapshot_in : NULL;

    if (in == NULL || in->abandoned || in->peer != peer || in->boot != piece->boot ||
        in->stream != piece->stream || in->received != piece->number || in->last_received) {
        return NULL;
    }
    return in;
}

void node__snapshot_piece(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    struct node_snapshot_piece piece;
    struct node_snapshot_in *in;
    struct piece *waiting;

    if (node_snapshot_piece_decode(body, &piece) != FL_OK) {
        node__host_bad_message(host, peer, "snapshot");
        return;
    }
    if (node__host_is_elsewhere(host, piece.group, peer, NODE_MESSAGE_SNAPSHOT, body)) {
        return;
    }
    if (piece.number == 0) {
        begin(host, peer, &piece);
    }
    in = find(host, peer, &piece);
    if (in == NULL) {
        return; /* given up; the sender hears of it, or has begun anew */
    }
    if (in->received - in->written >= PIECES_MAX) {
        node__host_bad_message(host, peer, "snapshot without end");
        give_up(in, FL_TOO_MANY);
        return;
    }
    node_wheel_set(&host->wheel, &in->timer.timer, host->now_ms + SNAPSHOT_QUIET_MS);
    waiting = fl_xcalloc(1, sizeof(*waiting));
    waiting->chunk = fl_buf_copy(piece.chunk);
    waiting->last = piece.last;
    *in->tail = waiting;
    in->tail = &waiting->next;
    in->received++;
    in->last_received = piece.last;
    work(in);
}

void node__snapshot_peer_down(struct node_host *host, uint64_t peer)
{
    struct node_replica *replica;
    struct node_replica *next;

    node__snapshot_out_peer_down(host, peer);
    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (replica->snapshot_in != NULL && replica->snapshot_in->peer == peer) {
            give_up(replica->snapshot_in, FL_TIMEOUT);
        }
    }
}

void node__snapshot_close(struct node_host *host)
{
    struct node_replica *replica;
    struct node_replica *next;

    node__snapshot_out_close(host);
    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (replica->snapshot_in != NULL) {
            give_up(replica->snapshot_in, FL_SHUTDOWN);
        }
    }
}

/* --- after a crash -------------------------------------------------------------------------- */

struct intent_drop {
    struct node_task task;
    struct node *node;
    uint64_t group_id;
};

/* On the apply thread of the group, which also writes the intents: in their order. */
static void drop_intent(struct node_task *task)
{
    struct intent_drop *drop = fl_container_of(task, struct intent_drop, task);

    node_log_store_drop_intent(drop->node->log_store, drop->group_id, INTENT_INSTALL);
    free(drop);
}

void node__snapshot_logged(struct node_replica *replica, raft_index index)
{
    struct intent_drop *drop;

    /* A newer snapshot is being installed, or is and waits for its record: the intent is its. */
    if (replica->installing || replica->truncated != index) {
        return;
    }
    drop = fl_xmalloc(sizeof(*drop));
    drop->task.run = drop_intent;
    drop->node = replica->host->node;
    drop->group_id = replica->group_id;
    node_apply_post_other(drop->node->apply, drop->group_id, &drop->task);
}

struct unfinished {
    uint64_t *groups;
    size_t count;
    size_t capacity;
};

static void collect(void *context, uint64_t group, uint8_t kind, struct fl_bytes body)
{
    struct unfinished *unfinished = context;

    (void)body;
    if (kind == INTENT_INSTALL) {
        fl_grow(&unfinished->groups,
                &unfinished->capacity,
                unfinished->count + 1,
                sizeof(*unfinished->groups));
        unfinished->groups[unfinished->count++] = group;
    }
}

static void ignore_map(void *context, struct placement_map_view *view)
{
    (void)context;
    (void)view;
}

static enum fl_status
machine_position(struct node *node, uint64_t group, raft_index *index, raft_term *term)
{
    struct shard_machine *machine;
    struct shard_machine_status status;

    if (group == PLACEMENT_GROUP_ID) {
        struct placement *placement = NULL;

        FL_TRY(placement_open(node->engine, ignore_map, NULL, &placement));
        machine = placement_machine(placement);
    } else {
        struct shard *shard = NULL;

        FL_TRY(shard_open(node->engine, &node->gc, group, &shard));
        machine = shard_machine(shard);
    }
    machine->ops->status(machine, &status);
    *index = status.applied_index;
    *term = status.applied_term;
    machine->ops->close(machine);
    return FL_OK;
}

/* True when the log holds, or begins behind, the entry the machine has applied last. */
static bool log_reaches(const struct node_log_group_boot *log, raft_index index, raft_term term)
{
    raft_term found = log->truncated_term;

    if (index < log->truncated || index > log->last) {
        return index < log->truncated;
    }
    for (uint32_t i = 0; i < log->nruns && log->runs[i].first <= index; i++) {
        found = log->runs[i].term;
    }
    return found == term;
}

/* The machine was replaced, the log was not told: its old entries end before the machine, or go on
 * as a past that lost. */
static void
move_log(struct node *node, struct node_log_group_boot *log, raft_index index, raft_term term)
{
    struct node_log_write write = {
        .group = log->group,
        .incarnation = log->incarnation,
        .snapshot = true,
        .snap_index = index,
        .snap_term = term,
        .lo = 1,
        .term = log->term > term ? log->term : term,
        .vote = log->term >= term ? log->vote : 0,
        .commit = index,
        .must_sync = true,
    };

    node_log_store_write(node->log_store, &write, 1);
    log->term = write.term;
    log->vote = write.vote;
    log->commit = index;
    log->last = index;
    log->last_term = term;
    log->truncated = index;
    log->truncated_term = term;
    log->nruns = 0;
    log->nconf_at = 0;
}

enum fl_status node__finish_intents(struct node *node, char *why, size_t why_bytes)
{
    struct unfinished unfinished = {NULL, 0, 0};
    enum fl_status status = FL_OK;

    (void)snprintf(why, why_bytes, "snapshot installations cannot be finished");
    FL_TRY_OUT(node_log_store_each_intent(node->log_store, collect, &unfinished));
    for (size_t i = 0; i < unfinished.count; i++) {
        raft_index index = 0;
        raft_term term = 0;

        FL_TRY_OUT(machine_position(node, unfinished.groups[i], &index, &term));
        for (size_t g = 0; g < node->report.group_count; g++) {
            struct node_log_group_boot *log = &node->report.groups[g];

            if (log->group == unfinished.groups[i] && index != 0 &&
                !log_reaches(log, index, term)) {
                move_log(node, log, index, term);
            }
        }
        node_log_store_drop_intent(node->log_store, unfinished.groups[i], INTENT_INSTALL);
    }
out:
    free(unfinished.groups);
    return status;
}
