/* Committed entries: out to the apply thread, back with their outcome.
 *
 * Owner, lifetime and threads: the host's loop. */
#include "node/host_internal.h"

#include "node/apply.h"
#include "raftgroup/base/assert.h"
#include "shard/membership.h"

/* One task, and what may be outside per group: enough to keep the apply thread busy. */
#define TASK_ENTRIES_MAX  512
#define TASK_BYTES_MAX    ((uint64_t)1024 * 1024)
#define OUTSIDE_BYTES_MAX ((uint64_t)8 * 1024 * 1024)
#define ENTRY_OVERHEAD    64
#define FETCH_BYTES_MAX   ((uint64_t)4 * 1024 * 1024)
#define FETCH_ENTRIES_MAX 8192
/* What gathers on a follower before it is applied, and for how long at most: all groups until the
 * same milliseconds, so that the apply thread gets up once for all of them. */
#define GATHER_ENTRIES_MAX 256
#define GATHER_MS          20
/* So long after a read had to wait for rows, rows are committed without being asked for. */
#define READERS_MS 20

/* --- out ------------------------------------------------------------------------------------ */

static struct node_apply_task *create_task(struct node_replica *replica, size_t count)
{
    struct node_apply_task *task = fl_xcalloc(1, sizeof(*task));

    task->host = replica->host;
    task->group_id = replica->group_id;
    task->machine = replica->machine;
    task->entries = fl_xcalloc(count, sizeof(*task->entries));
    task->payloads = fl_xcalloc(count, sizeof(struct fl_buf *));
    task->ops = fl_xcalloc(count, sizeof(struct node_op *));
    task->answered = fl_xcalloc(count, sizeof(*task->answered));
    return task;
}

static void destroy_task(struct node_apply_task *task)
{
    for (size_t i = 0; i < task->count; i++) {
        fl_buf_release(task->payloads[i]);
        fl_buf_release(task->entries[i].result);
    }
    free(task->entries);
    free(task->payloads);
    free(task->ops);
    free(task->answered);
    free(task);
}

/* The proposal of an entry. The list is in order of term, then index. What an earlier leadership
 * left in it may stay for a while: its index can be in doubt, or lie below a snapshot (P3). */
static struct node_op *find_proposed(struct node_replica *replica, raft_index index, raft_term term)
{
    if (fl_list_empty(&replica->proposed) ||
        fl_container_of(replica->proposed.prev, struct node_op, link)->term < term) {
        return NULL;
    }
    FL_LIST_FOREACH (link, &replica->proposed) {
        struct node_op *op = fl_container_of(link, struct node_op, link);

        if (op->term == term && op->index == index) {
            return op;
        }
        if (op->term > term || (op->term == term && op->index > index)) {
            break;
        }
    }
    return NULL;
}

/* The op that waits for this entry, taken out of the list of proposals. */
static struct node_op *waiting_op(struct node_replica *replica, raft_index index, raft_term term)
{
    struct node_op *op = find_proposed(replica, index, term);

    if (op == NULL) {
        return NULL;
    }
    fl_list_remove(&op->link);
    node_wheel_cancel(&replica->host->wheel, &op->timer.timer);
    op->state = NODE_OP_APPLYING;
    return op;
}

static void add_entry(struct node_replica *replica,
                      struct node_apply_task *task,
                      raft_index index,
                      const struct node_log_entry *entry)
{
    size_t at = task->count++;

    task->entries[at].index = index;
    task->entries[at].term = entry->term;
    task->entries[at].type = entry->type;
    if (entry->payload != NULL) {
        task->payloads[at] = fl_buf_acquire(entry->payload);
        task->entries[at].payload = fl_buf_bytes(entry->payload);
        task->bytes += entry->payload->len;
    }
    task->ops[at] = waiting_op(replica, index, entry->term);
    task->entries[at].want_result = task->ops[at] != NULL;
    task->answered[at] =
        task->ops[at] != NULL && task->ops[at]->any_thread && task->ops[at]->confirmed;
}

static void post_task(struct node_replica *replica, struct node_apply_task *task)
{
    replica->apply_next += task->count;
    replica->apply_bytes += task->bytes + ENTRY_OVERHEAD * task->count;
    replica->host->outside++;
    /* The placement machine is read at any time, and seldom written. */
    task->commit = replica->group_id == PLACEMENT_GROUP_ID ||
                   replica->host->now_ms < replica->readers_ms + READERS_MS;
    node_log_cache_set_keep(replica->cache, replica->apply_next);
    node_apply_post(replica->host->node->apply, task);
}

static bool pump_cached(struct node_replica *replica)
{
    raft_index left = replica->apply_limit - replica->apply_next + 1;
    size_t max = left < TASK_ENTRIES_MAX ? (size_t)left : TASK_ENTRIES_MAX;
    struct node_apply_task *task;

    if (node_log_cache_get(replica->cache, replica->apply_next) == NULL) {
        return false;
    }
    task = create_task(replica, max);
    while (task->count < max && task->bytes < TASK_BYTES_MAX) {
        raft_index index = replica->apply_next + task->count;
        const struct node_log_entry *entry = node_log_cache_get(replica->cache, index);

        if (entry == NULL) {
            break;
        }
        add_entry(replica, task, index, entry);
    }
    post_task(replica, task);
    return true;
}

/* --- entries that are no longer in memory --------------------------------------------------- */

struct cold_job {
    struct node_task task;
    struct node_host *host;
    uint64_t group_id;
    uint64_t incarnation;
    raft_index lo;
    raft_index hi;
    enum fl_status status;
    struct node_log_read read;
};

static void cold_done(struct node_task *task)
{
    struct cold_job *job = fl_container_of(task, struct cold_job, task);
    struct node_host *host = job->host;
    struct node_replica *replica = node__host_replica(host, job->group_id);

    host->outside--;
    if (replica != NULL && replica->incarnation == job->incarnation) {
        replica->apply_fetching = false;
        if (job->status != FL_OK && replica->apply_next == job->lo) {
            fl_fatal("group %" PRIu64 ": committed entry %" PRIu64
                     " cannot be read back from the log: %s",
                     job->group_id,
                     job->lo,
                     fl_status_text(job->status));
        }
        if (job->status == FL_OK && replica->apply_next == job->lo) {
            struct node_apply_task *apply = create_task(replica, job->read.count);

            for (size_t i = 0; i < job->read.count; i++) {
                add_entry(replica, apply, job->lo + i, &job->read.entries[i]);
            }
            post_task(replica, apply);
        }
        node__snapshot_in_continue(replica);
        node__host_dirty(replica);
    }
    node_log_read_close(&job->read);
    free(job);
}

static void cold_read(struct node_task *task)
{
    struct cold_job *job = fl_container_of(task, struct cold_job, task);

    job->status = node_log_store_read(job->host->node->log_store,
                                      job->group_id,
                                      job->incarnation,
                                      job->lo,
                                      job->hi,
                                      FETCH_BYTES_MAX,
                                      &job->read);
    job->task.run = cold_done;
    node_loop_post(job->host->loop, &job->task);
}

static void pump_cold(struct node_replica *replica)
{
    struct cold_job *job = fl_xcalloc(1, sizeof(*job));
    raft_index hi = replica->apply_next + FETCH_ENTRIES_MAX - 1;

    job->task.run = cold_read;
    job->host = replica->host;
    job->group_id = replica->group_id;
    job->incarnation = replica->incarnation;
    job->lo = replica->apply_next;
    job->hi = hi < replica->apply_limit ? hi : replica->apply_limit;
    replica->apply_fetching = true;
    replica->host->outside++;
    node_pool_post(replica->host->node->read_pool, &job->task);
}

/* Nobody waits for what a follower applies, unless a read or a proposal of its own does: let it
 * gather, so that the apply thread gets up once for many entries. */
static bool may_gather(struct node_replica *replica)
{
    struct node_host *host = replica->host;

    if (replica->role == RAFT_LEADER || replica->group_id == PLACEMENT_GROUP_ID ||
        !fl_list_empty(&replica->reads_ready) || !fl_list_empty(&replica->proposed) ||
        replica->snapshot_in != NULL || replica->apply_due ||
        replica->apply_limit - replica->apply_next + 1 >= GATHER_ENTRIES_MAX) {
        node_wheel_cancel(&host->wheel, &replica->apply_timer.timer);
        replica->apply_due = false;
        return false;
    }
    if (!node_timer_is_set(&replica->apply_timer.timer)) {
        node_wheel_set(
            &host->wheel, &replica->apply_timer.timer, (host->now_ms / GATHER_MS + 1) * GATHER_MS);
    }
    return true;
}

void node__replica_pump(struct node_replica *replica)
{
    if (replica->apply_next > replica->apply_limit || may_gather(replica)) {
        return;
    }
    while (replica->apply_next <= replica->apply_limit && !replica->apply_fetching &&
           !replica->hold_apply && replica->apply_bytes < OUTSIDE_BYTES_MAX) {
        if (!pump_cached(replica)) {
            pump_cold(replica);
        }
    }
}

/* --- back ----------------------------------------------------------------------------------- */

static void apply_membership(struct node_replica *replica, const struct shard_apply *entry)
{
    struct shard_membership change;
    struct raft_conf conf = *raft_conf_get(replica->raft);

    if (shard_membership_decode(entry->payload, &change) != FL_OK) {
        fl_fatal("group %" PRIu64 ": membership entry %" PRIu64 " is malformed",
                 replica->group_id,
                 entry->index);
    }
    if (entry->status != FL_OK ||
        shard_membership_apply(&change, &conf, &replica->range) != FL_OK) {
        change.changes = (struct raft_changes){.transition = RAFT_CONF_VOID};
    }
    if (raft_conf_applied(replica->raft, replica->host->now_ms, entry->index, &change.changes) !=
        FL_OK) {
        node__host_dirty(replica); /* void here is void on every replica */
    }
}

static void settle_op(struct node_op *op, struct shard_apply *entry)
{
    struct node_reply reply = node__op_answer(op, entry);

    op->state = NODE_OP_CONFIRMING;
    if (op->unconfirmable) {
        /* ND-5: applied, but its revision may be older than ones acknowledged before. */
        fl_buf_release(reply.result);
        node__op_fail(op, FL_LEADER_FAILED);
    } else if (op->confirmed) {
        node__op_finish(op, &reply);
    } else {
        op->held = reply;
        node_wheel_set(&op->host->wheel, &op->timer.timer, op->deadline_ms);
    }
}

static void settle(struct node_apply_task *task)
{
    for (size_t i = 0; i < task->count; i++) {
        struct node_op *op = task->ops[i];

        if (op == NULL) {
            continue;
        }
        if (task->answered[i]) {
            op->state = NODE_OP_ROUTING;
            node__op_finished(op);
        } else {
            settle_op(op, &task->entries[i]);
        }
    }
}

static void note_state(struct node_replica *replica, const struct node_apply_task *task)
{
    struct node_host *host = replica->host;

    replica->applied = task->after.applied_index;
    if (task->committed) {
        replica->visible = replica->applied;
    }
    replica->revision = task->after.revision;
    replica->compact_revision = task->after.compact_revision;
    replica->mark = task->after.mark;
    replica->live_keys = task->after.live_keys;
    replica->apply_bytes -= task->bytes + ENTRY_OVERHEAD * task->count;
    if (replica->group_id != PLACEMENT_GROUP_ID) {
        node__saw_revision(host, replica->revision);
        node_floor_applied(&replica->floor, replica->applied);
    }
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        node__first_range_applied(replica);
    }
}

void node__replica_applied(struct node_task *node_task)
{
    struct node_apply_task *task = fl_container_of(node_task, struct node_apply_task, task);
    struct node_host *host = task->host;
    struct node_replica *replica = node__host_replica(host, task->group_id);

    host->outside--;
    fl_assert(replica != NULL); /* a replica is closed only when nothing of it is outside */
    for (size_t i = 0; i < task->count; i++) {
        if (task->entries[i].type == RAFT_ENT_CONF) {
            apply_membership(replica, &task->entries[i]);
        }
    }
    note_state(replica, task);
    fl_metric_add(&node_metric_applied_entries, (int64_t)task->count);
    if (raft_applied(replica->raft, host->now_ms, replica->applied, task->bytes) == FL_FROZEN) {
        fl_log(FL_LOG_ERROR, "apply_frozen", "group=%" PRIu64, replica->group_id);
    }
    settle(task);
    node__replica_check_serving(replica);
    node__replica_serve_reads(replica);
    node__snapshot_in_continue(replica);
    node_log_cache_pool_trim(host->cache_pool);
    node__host_dirty(replica);
    destroy_task(task);
}
