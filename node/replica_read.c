/* Linearizable and serializable reads of one range.
 *
 * Owner, lifetime and threads: the host's loop; execution in the read pool.
 *
 *     R from the oracle, confirmed        (several ranges only)
 *       -> raise the floor to R           no later write of this range at or below R (OR-9)
 *       -> read-index round               this replica still leads (thesis 6.4), after the raise
 *       -> wait until applied >= index    and until every write in flight at or below R is applied
 *       -> have the rows committed        by the apply thread, if they wait in its batch
 *       -> execute at R                   in the read pool
 */
#include "node/host_internal.h"

#include "node/apply.h"
#include "raftgroup/base/assert.h"
#include "shard/result.h"
#include "shard/shard.h"

/* Contexts of read rounds; those of the oracle count from 1 without this bit. */
#define READ_CTX_BIT (UINT64_C(1) << 63)

static bool has_revisions(const struct node_replica *replica)
{
    return replica->host->multi_range && replica->group_id != PLACEMENT_GROUP_ID;
}

void node__replica_read(struct node_replica *replica, struct node_op *op)
{
    op->state = NODE_OP_READING_INDEX;
    if (has_revisions(replica) && op->at_revision == 0) {
        fl_list_push_back(&replica->awaiting, &op->link);
        node__revision_submit(op, NODE_ORACLE_READ);
        return;
    }
    node__replica_read_confirmed(replica, op);
}

void node__replica_hash(struct node_replica *replica, struct node_op *op)
{
    /* A follower's round asks the leader (thesis 6.4): what is committed by now will be covered. */
    op->state = NODE_OP_READING_INDEX;
    fl_list_push_back(&replica->reads_new, &op->link);
    node__host_dirty(replica);
}

void node__replica_read_confirmed(struct node_replica *replica, struct node_op *op)
{
    fl_list_remove(&op->link);
    if (has_revisions(replica)) {
        node_floor_raise(&replica->floor, op->at_revision);
    }
    fl_list_push_back(&replica->reads_new, &op->link);
    node__host_dirty(replica);
}

void node__replica_begin_round(struct node_replica *replica)
{
    struct fl_list held;
    enum fl_status status;

    if (fl_list_empty(&replica->reads_new)) {
        return;
    }
    replica->quiet_since_ms = replica->host->now_ms;
    status = raft_read_index(
        replica->raft, replica->host->now_ms, (replica->read_ctx + 1) | READ_CTX_BIT);
    if (status == FL_TOO_MANY) {
        return; /* the next round takes them all */
    }
    if (status == FL_OK) {
        replica->read_ctx++;
        FL_LIST_FOREACH (link, &replica->reads_new) {
            fl_container_of(link, struct node_op, link)->read_ctx =
                replica->read_ctx | READ_CTX_BIT;
        }
        fl_list_move_all(&replica->reads_round, &replica->reads_new);
        return;
    }
    fl_list_init(&held);
    fl_list_move_all(&held, &replica->reads_new);
    while (!fl_list_empty(&held)) {
        node__op_hold(fl_container_of(held.next, struct node_op, link));
    }
}

void node__replica_round_done(struct node_replica *replica, const struct raft_read *read)
{
    if ((read->ctx & READ_CTX_BIT) == 0) {
        node__revision_round_done(replica, read);
        return;
    }
    FL_LIST_FOREACH_SAFE (link, &replica->reads_round) {
        struct node_op *op = fl_container_of(link, struct node_op, link);

        if (op->read_ctx != read->ctx) {
            continue;
        }
        if (!read->ok) {
            node__op_restart(op);
            continue;
        }
        op->index = read->index;
        if (has_revisions(replica) && op->kind == NODE_OP_READ) {
            raft_index wait = node_floor_wait_index(&replica->floor, op->at_revision);

            op->index = op->index > wait ? op->index : wait;
        }
        fl_list_remove(&op->link);
        fl_list_push_back(&replica->reads_ready, &op->link);
    }
    node__replica_serve_reads(replica);
}

/* --- execution ------------------------------------------------------------------------------ */

static void note_visible(const struct node_op *op)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);

    if (replica != NULL && replica->incarnation == op->incarnation &&
        replica->visible < op->index) {
        replica->visible = op->index;
    }
}

static void back_on_loop(struct node_task *task)
{
    struct node_op *op = fl_container_of(task, struct node_op, task);
    struct node_reply reply = op->held;

    op->host->outside--;
    note_visible(op);
    if (op->any_thread) {
        op->state = NODE_OP_ROUTING;
        node__op_finished(op);
        return;
    }
    op->held.result = NULL;
    op->state = NODE_OP_ROUTING;
    node__op_finish(op, &reply);
}

/* Read pool. The range's bounds and group were copied into the op's job. */
struct read_job {
    struct node_task task;
    struct node_op *op;
    struct shard_read_at at;
    uint64_t term;
    uint64_t now;   /* R, or 0 */
    uint8_t keys[]; /* start, then end */
};

static void execute_hash(struct read_job *job, struct node_reply *reply)
{
    struct shard_hash_result hash;

    reply->status = shard_hash(job->op->host->node->engine, &job->at, job->op->compact, &hash);
    if (reply->status == FL_OK) {
        reply->hash = hash.hash;
        reply->revision = hash.revision;
        reply->compact_revision = hash.compact_revision;
    }
}

static void execute_read(struct read_job *job, struct node_reply *reply)
{
    struct node_op *op = job->op;

    if (job->now != 0 && op->read.revision > job->now) {
        reply->status = FL_FUTURE_REVISION;
    } else {
        reply->status =
            shard_read_execute(op->host->node->engine, &job->at, &op->read, &reply->result);
    }
    if (reply->status == FL_OK) {
        struct shard_result result;

        if (shard_result_decode(fl_buf_bytes(reply->result), &result) != FL_OK) {
            fl_fatal("a read produced a malformed result");
        }
        reply->revision = result.revision > job->now ? result.revision : job->now;
        node__raise_revision(op->host->node, reply->revision);
    }
}

static void execute(struct node_task *task)
{
    struct read_job *job = fl_container_of(task, struct read_job, task);
    struct node_op *op = job->op;
    struct node_reply reply = {.status = FL_OK, .term = job->term};

    if (op->kind == NODE_OP_HASH) {
        execute_hash(job, &reply);
    } else {
        execute_read(job, &reply);
    }
    free(job);
    if (op->any_thread) {
        op->finish(op, &reply);
    } else {
        op->held = reply;
    }
    op->task.run = back_on_loop;
    node_loop_post(op->host->loop, &op->task);
}

/* Apply thread, which has committed everything it was given before. */
static void rows_committed(struct node_task *task)
{
    struct read_job *job = fl_container_of(task, struct read_job, task);
    const struct node *node = job->op->host->node;

    fl_assert(shard_batch_count(node_apply_batch(node->apply, job->at.group_id)) == 0); /* ND-11 */
    job->task.run = execute;
    node_pool_post(job->op->host->node->read_pool, &job->task);
}

/* To the pool, by way of the apply thread when rows up to op->index may wait in its batch. */
static void post_job(struct node_replica *replica, struct read_job *job)
{
    struct node_host *host = replica->host;

    host->outside++;
    if (replica->visible >= job->op->index) {
        job->task.run = execute;
        node_pool_post(host->node->read_pool, &job->task);
        return;
    }
    job->op->incarnation = replica->incarnation;
    replica->readers_ms = host->now_ms;
    job->task.run = rows_committed;
    node_apply_post_other(host->node->apply, replica->group_id, &job->task);
}

static void dispatch(struct node_replica *replica, struct node_op *op)
{
    struct node_host *host = replica->host;
    struct fl_bytes start = replica->range.start;
    struct fl_bytes end = replica->range.end;
    struct read_job *job = fl_xmalloc(sizeof(*job) + start.len + end.len);

    if (start.len != 0) {
        memcpy(job->keys, start.data, start.len);
    }
    if (end.len != 0) {
        memcpy(job->keys + start.len, end.data, end.len);
    }
    job->op = op;
    job->term = replica->term;
    job->at = (struct shard_read_at){
        .group_id = replica->group_id,
        .start = fl_bytes(job->keys, start.len),
        .end = fl_bytes(job->keys + start.len, end.len),
        .revision = op->at_revision,
        .known = replica->revision,
    };
    /* A read in the past is done at its own revision; R only says what "now" is (design 10). */
    if (op->at_revision != 0 && op->read.revision != 0) {
        job->at.revision = op->read.revision;
    }
    job->now = op->at_revision;
    /* What is applied counts as seen: a write at or below R may have left the list of those in
     * flight since the round began, and is behind the round's index (OR-9). */
    op->index = op->index > replica->applied ? op->index : replica->applied;
    fl_list_remove(&op->link);
    node_wheel_cancel(&host->wheel, &op->timer.timer);
    op->state = NODE_OP_READING;
    post_job(replica, job);
}

void node__replica_serve_reads(struct node_replica *replica)
{
    FL_LIST_FOREACH_SAFE (link, &replica->reads_ready) {
        struct node_op *op = fl_container_of(link, struct node_op, link);

        if (op->index > replica->applied) {
            continue;
        }
        if (op->kind == NODE_OP_HASH && !has_revisions(replica) &&
            op->at_revision > replica->revision) {
            node__op_fail(op, FL_FUTURE_REVISION);
            continue;
        }
        dispatch(replica, op);
    }
}

void node__replica_read_local(struct node_replica *replica, struct node_op *op)
{
    /* Whoever was answered by this node sees its own write: it was handed out before. */
    op->index = replica->apply_next - 1;
    dispatch(replica, op);
}
