/* Where a request goes: to the replica here that leads, to the leader's node, or it waits for one.
 *
 * Owner, lifetime and threads: as op.h says. */
#include "node/host_internal.h"

#include "node/clock.h"
#include "raftgroup/base/assert.h"
#include "shard/command.h"

/* A request is routed at most this often before it waits for news of a leader, or a little while:
 * whatever refuses it, a group that is transferred or two nodes that point at each other, costs
 * bounded work per time (ND-8). */
#define HOPS_MAX 4
/* What other nodes may have under way here; each of them is bounded by itself already. */
#define REMOTE_OPS_MAX (16 * FL_PENDING_REQUESTS_MAX)

void node__op_park(struct node_op *op)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);

    op->state = NODE_OP_PARKED;
    op->host->parked_count++;
    fl_list_push_back(replica != NULL ? &replica->parked : &op->host->homeless, &op->link);
}

/* Another node asked: one hop only, so it learns who leads and asks there itself. */
static void refuse_to_origin(struct node_op *op, uint64_t leader)
{
    op->leader_hint = leader;
    node__op_fail(op, FL_NOT_LEADER);
}

/* No replica here, or a frozen one: any member knows the leader or leads; a refusal names it. */
static void forward_to_members(struct node_op *op, enum fl_status otherwise)
{
    struct node_host *host = op->host;
    const struct shard_range *range =
        host->map != NULL ? placement_map_view_group(host->map, op->group_id) : NULL;
    bool others = range == NULL; /* the map has not arrived here yet */

    if (op->origin_node != 0 || op->kind == NODE_OP_HASH) {
        node__op_fail(op, otherwise);
        return;
    }
    for (uint32_t i = 0; range != NULL && i < range->replica_count; i++) {
        uint64_t node = range->replicas[(op->hops + i) % range->replica_count].node_id;

        if (node == host->node->node_id) {
            continue;
        }
        others = true;
        if (node__forward_try(op, node)) {
            return;
        }
    }
    if (others) {
        node__op_park(op);
    } else {
        node__op_fail(op, otherwise);
    }
}

static void hash_or_park(struct node_replica *replica, struct node_op *op)
{
    if (replica->leader_node != 0) {
        node__replica_hash(replica, op);
    } else {
        node__op_park(op);
    }
}

static void route_revision(struct node_op *op)
{
    op->state = NODE_OP_READING_INDEX;
    node__revision_submit(op, NODE_ORACLE_READ);
}

static void route(struct node_op *op)
{
    struct node_host *host = op->host;
    struct node_replica *replica = node__host_replica(host, op->group_id);

    op->state = NODE_OP_ROUTING;
    if (op->kind == NODE_OP_NOW) {
        route_revision(op);
    } else if (op->hops > HOPS_MAX) { /* NOLINT(bugprone-branch-clone): asked in this order */
        node__op_park(op);
    } else if (replica == NULL) {
        forward_to_members(op, FL_NOT_HERE);
    } else if (op->kind == NODE_OP_READ && op->read.serializable) {
        node__replica_read_local(replica, op);
    } else if (replica->frozen) {
        forward_to_members(op, FL_FROZEN); /* ND-9: it never answers again */
    } else if (op->kind == NODE_OP_HASH) {
        hash_or_park(replica, op);
    } else if (replica->role == RAFT_LEADER && replica->serving) {
        if (op->version != replica->range.version) {
            node__op_fail(op, FL_EPOCH_MISMATCH);
        } else if (op->kind == NODE_OP_WRITE) {
            node__replica_write(replica, op);
        } else {
            node__replica_read(replica, op);
        }
    } else if (op->origin_node != 0 && replica->role != RAFT_LEADER) {
        refuse_to_origin(op, replica->leader_node);
    } else if (replica->role != RAFT_LEADER && replica->leader_node != 0) {
        node__forward_send(op, replica->leader_node);
    } else {
        node__op_park(op);
    }
}

uint64_t node__host_next_seq(struct node_host *host)
{
    /* ND-10: every loop has residues of its own, so a reply tells by its seq whose it is. */
    host->next_seq += NODE_HOSTS_MAX;
    return host->next_seq;
}

void node__op_start(struct node_op *op)
{
    struct node_host *host = op->host;
    uint64_t latest = host->now_ms + FL_REQUEST_TIMEOUT_MS;

    node_loop_assert_owner(host->loop);
    if (op->deadline_ms == 0 || op->deadline_ms > latest) {
        op->deadline_ms = latest;
    }
    fl_list_push_back(&host->ops, &op->all);
    host->op_count++;
    op->seq = node__host_next_seq(host);
    if (host->closing) {
        node__op_fail(op, FL_SHUTDOWN);
        return;
    }
    if (host->op_count > (op->origin_node == 0 ? FL_PENDING_REQUESTS_MAX : REMOTE_OPS_MAX)) {
        node__op_fail(op, FL_TOO_MANY);
        return;
    }
    node_wheel_set(&host->wheel, &op->timer.timer, op->deadline_ms);
    if (op->kind == NODE_OP_WRITE && op->origin_node == 0) {
        fl_list_push_back(&host->unfinished, &op->unfinished);
    }
    route(op);
}

/* Takes the op out of whatever it waits in. */
static void detach(struct node_op *op)
{
    fl_list_remove(&op->link);
    if (op->granted) {
        node__revision_cancel(op);
    }
    if (op->state == NODE_OP_FORWARDED) {
        node__forward_forget(op);
    } else if (op->state == NODE_OP_PARKED) {
        op->host->parked_count--;
    }
    op->state = NODE_OP_ROUTING;
    op->revision = 0;
    op->confirmed = false;
    op->unconfirmable = false;
}

void node__op_restart(struct node_op *op)
{
    fl_assert(op->state != NODE_OP_APPLYING && op->state != NODE_OP_READING);
    if (op->once) {
        node__op_fail(op, FL_NOT_LEADER);
        return;
    }
    detach(op);
    op->hops++;
    route(op);
}

void node__op_hold(struct node_op *op)
{
    if (op->once) {
        node__op_fail(op, FL_NOT_LEADER);
        return;
    }
    detach(op);
    node__op_park(op);
}

void node__op_finish(struct node_op *op, const struct node_reply *reply)
{
    fl_assert(op->state != NODE_OP_APPLYING && op->state != NODE_OP_READING);
    detach(op);
    op->finish(op, reply);
    node__op_finished(op);
}

void node__op_fail(struct node_op *op, enum fl_status status)
{
    /* ND-4: a refusal by this node says nothing about what it sent or proposed before. */
    struct node_reply reply = node_reply_of(node_op_outcome(op, status, 0));

    node__op_finish(op, &reply);
}

void node__op_finished(struct node_op *op)
{
    struct node_host *host = op->host;

    node_wheel_cancel(&host->wheel, &op->timer.timer);
    fl_list_remove(&op->unfinished);
    fl_list_remove(&op->all);
    host->op_count--;
    node_op_destroy(op);
}

void node__op_timer(struct node_op *op)
{
    node__op_fail(op, FL_TIMEOUT);
}

static uint64_t finished_below(const struct node_host *host)
{
    if (fl_list_empty(&host->unfinished)) {
        return host->next_seq + 1;
    }
    return fl_container_of(host->unfinished.next, struct node_op, unfinished)->seq;
}

void node__op_stamp(struct node_op *op)
{
    struct node_host *host = op->host;
    struct shard_origin origin = {.node_id = host->node->node_id, .boot = host->node->boot};

    node__op_own_command(op);
    if (op->origin_node == 0) {
        shard_command_set_origin(op->command, origin, op->seq, finished_below(host));
    }
}

void node__op_own_command(struct node_op *op)
{
    /* Acquire: whoever dropped the other references has finished reading the bytes. */
    if (atomic_load_explicit(&op->command->refs, memory_order_acquire) != 1) {
        struct fl_buf *copy = fl_buf_copy(fl_buf_bytes(op->command));

        fl_buf_release(op->command);
        op->command = copy;
    }
}

static void unpark(struct node_host *host, struct fl_list *list)
{
    struct fl_list parked;

    fl_list_init(&parked);
    fl_list_move_all(&parked, list);
    while (!fl_list_empty(&parked)) {
        struct node_op *op = fl_container_of(parked.next, struct node_op, link);

        fl_list_remove(&op->link);
        host->parked_count--;
        op->hops = 0;
        route(op);
    }
}

void node__replica_unpark(struct node_replica *replica)
{
    if (replica->role == RAFT_LEADER && !replica->serving) {
        node__host_dirty(replica); /* its question for the floor may have failed: asked anew */
    }
    unpark(replica->host, &replica->parked);
}

void node__host_unpark(struct node_host *host)
{
    struct node_replica *replica;
    struct node_replica *next;

    if (host->parked_count == 0) {
        return;
    }
    unpark(host, &host->homeless);
    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (!fl_list_empty(&replica->parked)) {
            node__replica_unpark(replica);
        }
    }
}
