/* Passing requests to the node that leads, and answering those of other nodes.
 *
 * Owner, lifetime and threads: the host's loop. */
#include "node/host_internal.h"

#include "raftgroup/base/assert.h"
#include "shard/command.h"

/* Hints of others that an op follows in a row; then it asks this node's own replica again. */
#define HINTS_MAX 4
/* A leader that was replaced still answers what it was sent, for good: it applies what its
 * successor commits, and refuses the rest. Sent twice at once, a write could meet itself at the new
 * leader under another oracle, and be told as unknown (OR-11). A replaced leader that says nothing
 * for so long is cut off. */
#define MOVED_MS 400

void node__forward_forget(struct node_op *op)
{
    HASH_DEL(op->host->forwarded, op);
}

static bool transmit(struct node_op *op, uint64_t peer)
{
    struct node_host *host = op->host;
    struct node_forward forward = {
        .kind = op->kind == NODE_OP_WRITE ? NODE_FORWARD_WRITE : NODE_FORWARD_READ,
        .boot = host->node->boot,
        .seq = op->seq,
        .group = op->group_id,
        .version = op->version,
        .timeout_ms = op->deadline_ms > host->now_ms ? op->deadline_ms - host->now_ms : 0,
        .at_revision = op->at_revision,
    };
    struct node_part part;

    if (op->kind == NODE_OP_WRITE) {
        node__op_stamp(op);
        forward.body = fl_buf_bytes(op->command);
    } else {
        fl_assert(op->kind == NODE_OP_READ);
        fl_writer_reset(&host->read_scratch);
        shard_read_encode(&op->read, &host->read_scratch);
        forward.body = fl_writer_bytes(&host->read_scratch);
    }
    fl_writer_reset(&host->scratch);
    node_forward_encode(&host->scratch, &forward);
    part = (struct node_part){.bytes = fl_writer_bytes(&host->scratch), .buf = NULL};
    return node__host_send(host, peer, NODE_MESSAGE_FORWARD, &part, 1);
}

bool node__forward_try(struct node_op *op, uint64_t peer)
{
    if (!transmit(op, peer)) {
        return false;
    }
    op->state = NODE_OP_FORWARDED;
    op->peer = peer;
    op->moved_ms = 0;
    op->doubts++;
    HASH_ADD(hh, op->host->forwarded, seq, sizeof(op->seq), op);
    fl_metric_add(&node_metric_forwards, 1);
    return true;
}

void node__forward_send(struct node_op *op, uint64_t peer)
{
    if (!node__forward_try(op, peer)) {
        /* Nothing left this node: wait until the leader can be reached or there is another. */
        node__op_park(op);
    }
}

/* --- the other side ------------------------------------------------------------------------- */

static void finish_remote(struct node_op *op, const struct node_reply *reply)
{
    struct node_host *host = op->host;
    struct node_message_reply message = {
        .boot = op->origin_boot,
        .seq = op->origin_seq,
        .status = reply->status,
        .leader = op->leader_hint,
        .revision = reply->revision,
        .term = reply->term,
    };
    struct node_part part;

    if (reply->result != NULL) {
        message.result = fl_buf_bytes(reply->result);
    }
    if (message.result.len > NODE_MESSAGE_RESULT_BYTES_MAX) {
        /* It does not fit a frame; a write is applied all the same (ND-4). */
        message.status = op->kind == NODE_OP_WRITE ? FL_UNKNOWN : FL_TOO_LARGE;
        message.result = fl_bytes(NULL, 0);
    }
    fl_writer_reset(&host->scratch);
    node_message_reply_encode(&host->scratch, &message);
    part = (struct node_part){.bytes = fl_writer_bytes(&host->scratch), .buf = NULL};
    /* A reply that cannot leave is a lost one: the origin asks again or gives up. */
    (void)node__host_send(host, op->origin_node, NODE_MESSAGE_REPLY, &part, 1);
    fl_buf_release(reply->result);
}

static enum fl_status take_body(struct node_op *op, const struct node_forward *forward)
{
    struct shard_command command;

    if (op->kind == NODE_OP_WRITE) {
        FL_TRY(shard_command_decode(forward->body, &command));
        if (command.origin.node_id != op->origin_node || command.origin.boot != op->origin_boot ||
            command.seq != op->origin_seq || command.seq == 0) {
            return FL_BAD_MESSAGE; /* ND-3 needs them */
        }
        op->command = fl_buf_copy(forward->body);
    } else if (op->kind == NODE_OP_READ) {
        op->read_bytes = fl_buf_copy(forward->body);
        return shard_read_decode(&op->read, fl_buf_bytes(op->read_bytes));
    }
    return FL_OK;
}

void node__forward_request(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    static const enum node_op_kind kinds[] = {
        [NODE_FORWARD_WRITE] = NODE_OP_WRITE,
        [NODE_FORWARD_READ] = NODE_OP_READ,
    };
    struct node_forward forward;
    struct node_op *op;

    if (node_forward_decode(body, &forward) != FL_OK) {
        node__host_bad_message(host, peer, "forward");
        return;
    }
    if (node__host_is_elsewhere(host, forward.group, peer, NODE_MESSAGE_FORWARD, body)) {
        return;
    }
    op = node_op_create(host, kinds[forward.kind]);
    op->finish = finish_remote;
    op->origin_node = peer;
    op->origin_boot = forward.boot;
    op->origin_seq = forward.seq;
    op->group_id = forward.group;
    op->version = forward.version;
    op->at_revision = forward.at_revision;
    op->deadline_ms =
        host->now_ms +
        (forward.timeout_ms < FL_REQUEST_TIMEOUT_MS ? forward.timeout_ms : FL_REQUEST_TIMEOUT_MS);
    if (take_body(op, &forward) != FL_OK) {
        node__host_bad_message(host, peer, "forward body");
        node_op_destroy(op);
        return;
    }
    node__op_start(op);
}

/* --- replies -------------------------------------------------------------------------------- */

static bool asks_for_another(enum fl_status status)
{
    switch ((int)status) {
    case FL_NOT_LEADER:
    case FL_NO_LEADER:
    case FL_TRANSFERRING:
    case FL_NOT_READY:
    case FL_SHUTDOWN:
    case FL_NOT_HERE:
    case FL_FROZEN: /* that replica only (ND-9); what it had proposed is told as unknown */
        return true;
    default:
        return false;
    }
}

static void route_by_hint(struct node_op *op, uint64_t leader)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);
    uint64_t asked = op->peer;

    op->doubts--; /* one of its sends was refused before the log (ND-4) */
    /* A hint that names somebody new is fresher than what this node believes. */
    if (leader != 0 && leader != asked && leader != op->host->node->node_id &&
        op->hops < HINTS_MAX) {
        node__forward_forget(op);
        op->state = NODE_OP_ROUTING;
        op->hops++;
        node__forward_send(op, leader);
        return;
    }
    if (replica != NULL && replica->leader_node == asked) {
        /* Both of us are behind: wait for news instead of asking in circles. */
        node__forward_forget(op);
        node__op_park(op);
        return;
    }
    node__op_restart(op);
}

void node__forward_reply(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    struct node_message_reply message;
    struct node_reply reply;
    struct node_op *op = NULL;

    if (node_message_reply_decode(body, &message) != FL_OK) {
        node__host_bad_message(host, peer, "reply");
        return;
    }
    if (message.boot != host->node->boot) {
        return; /* meant for an earlier life of this node */
    }
    if (message.seq % NODE_HOSTS_MAX != host->index) {
        /* A peer with another number of loops answers on a lane of another loop (ND-10). */
        node__host_pass_on(
            host, (uint8_t)(message.seq % NODE_HOSTS_MAX), peer, NODE_MESSAGE_REPLY, body);
        return;
    }
    HASH_FIND(hh, host->forwarded, &message.seq, sizeof(message.seq), op);
    if (op == NULL || op->peer != peer) {
        return; /* answered, timed out, or asked again elsewhere */
    }
    if (asks_for_another(message.status)) {
        route_by_hint(op, message.leader);
        return;
    }
    reply = (struct node_reply){
        .status = node_op_outcome(op, message.status, 1),
        .revision = message.revision,
        .term = message.term,
    };
    if (reply.status == FL_OK) {
        reply.result = fl_buf_copy(message.result);
    }
    node__saw_revision(host, message.revision);
    node__op_finish(op, &reply);
}

void node__forward_peer_down(struct node_host *host, uint64_t peer)
{
    struct node_op *op;
    struct node_op *next;

    HASH_ITER(hh, host->forwarded, op, next)
    {
        if (op->peer == peer) {
            node__op_restart(op);
        }
    }
}

void node__forward_leader_changed(struct node_host *host, uint64_t group_id, uint64_t leader)
{
    struct node_op *op;
    struct node_op *next;

    HASH_ITER(hh, host->forwarded, op, next)
    {
        if (op->group_id == group_id && op->peer != leader && op->moved_ms == 0) {
            op->moved_ms = host->now_ms;
            host->some_moved = true;
        }
    }
}

void node__forward_retry(struct node_host *host)
{
    struct node_op *op;
    struct node_op *next;

    if (!host->some_moved) {
        return;
    }
    host->some_moved = false;
    HASH_ITER(hh, host->forwarded, op, next)
    {
        if (op->moved_ms == 0) {
            continue;
        }
        if (host->now_ms < op->moved_ms + MOVED_MS) {
            host->some_moved = true;
        } else {
            node__op_restart(op);
        }
    }
}
