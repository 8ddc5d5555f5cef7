/* Revisions on one loop: the oracle when the first range is led here, and this loop's client of it.
 *
 * Owner, lifetime and threads: the host's loop.
 *
 * An ORACLE message is one byte, the index of the loop whose client asks (answers go back to it),
 * and an encoded node_oracle_message. */
#include "node/host_internal.h"

#include "node/witness.h"
#include "raftgroup/base/assert.h"
#include "shard/command.h"

static struct node_op *op_of(struct node_oracle_waiter *waiter)
{
    return fl_container_of(waiter, struct node_op, waiter);
}

/* The oracle knows clients, not nodes: a client is a node and one of its loops. */
#define CLIENT_LOOP_BITS 8

static uint64_t client_id(const struct node_host *host, uint64_t peer, uint8_t loop)
{
    /* Node ids are hashes over all 64 bits, so the loop is mixed in rather than appended. */
    (void)host;
    return peer ^ ((uint64_t)loop << (64 - CLIENT_LOOP_BITS)) ^ loop;
}

static void remember_client(struct node_host *host, uint64_t id, uint64_t peer, uint8_t loop)
{
    struct node_oracle_asker *asker = NULL;

    HASH_FIND(hh, host->askers, &id, sizeof(id), asker);
    if (asker == NULL) {
        asker = fl_xcalloc(1, sizeof(*asker));
        asker->id = id;
        asker->node_id = peer;
        asker->loop = loop;
        HASH_ADD(hh, host->askers, id, sizeof(asker->id), asker);
    }
}

static void send_message(struct node_host *host,
                         uint64_t peer,
                         uint8_t loop,
                         const struct node_oracle_message *message)
{
    uint8_t bytes[1 + NODE_ORACLE_MESSAGE_BYTES];
    size_t len;
    struct node_part part;

    bytes[0] = loop;
    len = 1 + node_oracle_message_encode(message, bytes + 1);
    if (peer == host->node->node_id) {
        node__host_message(host, peer, NODE_MESSAGE_ORACLE, fl_bytes(bytes, len));
        return;
    }
    part = (struct node_part){.bytes = fl_bytes(bytes, len), .buf = NULL};
    (void)node__host_send(host, peer, NODE_MESSAGE_ORACLE, &part, 1);
}

static void
asked(struct node_host *host, uint64_t peer, uint8_t loop, const struct node_oracle_message *ask)
{
    struct node_replica *first = node__host_replica(host, PLACEMENT_FIRST_RANGE_ID);
    uint64_t id = client_id(host, peer, loop);
    enum fl_status status = node_oracle_asked(&host->oracle, id, ask);

    if (status == FL_OK) {
        remember_client(host, id, peer, loop);
    } else if (status == FL_NOT_LEADER || status == FL_TOO_MANY) {
        struct node_oracle_message refuse = {
            .type = NODE_ORACLE_REFUSE,
            .boot = ask->boot,
            .seq = ask->seq,
            .term = first != NULL ? first->term : 0,
            .leader = first != NULL && first->leader_node != peer ? first->leader_node : 0,
        };

        if (refuse.leader == host->node->node_id) {
            refuse.leader = 0; /* leading, but not serving yet */
        }
        send_message(host, peer, loop, &refuse);
    }
}

void node__revision_message(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    struct node_oracle_message message;
    uint8_t loop;

    if (body.len < 1 ||
        node_oracle_message_decode(fl_bytes(body.data + 1, body.len - 1), &message) != FL_OK) {
        node__host_bad_message(host, peer, "oracle");
        return;
    }
    loop = body.data[0];
    if (message.type == NODE_ORACLE_ASK) {
        /* The client of any loop asks; the oracle lives on the loop of the first range. */
        if (!node__host_is_elsewhere(
                host, PLACEMENT_FIRST_RANGE_ID, peer, NODE_MESSAGE_ORACLE, body)) {
            asked(host, peer, loop, &message);
        }
    } else if (loop != host->index) {
        node__host_pass_on(host, loop, peer, NODE_MESSAGE_ORACLE, body);
    } else if (node_oracle_client_answered(&host->client, host->now_ms, peer, &message) ==
               FL_BAD_MESSAGE) {
        node__host_bad_message(host, peer, "oracle answer");
    } else if (message.type == NODE_ORACLE_GRANT && message.compact > host->known_compact) {
        host->known_compact = message.compact;
    }
}

/* --- the oracle's side ---------------------------------------------------------------------- */

static void mark_finished(struct node_op *op, const struct node_reply *reply)
{
    if (reply->status == FL_OK) {
        node_oracle_marked(&op->host->oracle, op->at_revision);
    } else {
        op->host->mark_lost = true; /* not at once: a turn would never end (oracle.h) */
    }
    fl_buf_release(reply->result);
}

void node__revision_retry(struct node_host *host)
{
    if (host->mark_lost) {
        host->mark_lost = false;
        node_oracle_mark_lost(&host->oracle);
    }
}

static void propose_mark(struct node_replica *first, uint64_t mark)
{
    struct node_host *host = first->host;
    struct node_op *op = node_op_create(host, NODE_OP_WRITE);

    op->finish = mark_finished;
    op->group_id = first->group_id;
    op->version = first->range.version;
    op->at_revision = mark;
    op->command = shard_command_mark(mark);
    op->origin_node = host->node->node_id;
    op->once = true; /* another leader of the first range has marks of its own */
    op->confirmed = true;
    op->deadline_ms = host->now_ms + FL_REQUEST_TIMEOUT_MS;
    op->seq = node__host_next_seq(host);
    fl_list_push_back(&host->ops, &op->all);
    host->op_count++;
    node_wheel_set(&host->wheel, &op->timer.timer, op->deadline_ms);
    shard_command_set_epoch(op->command, first->range.version);
    node__replica_admit(first, op);
}

/* Are the voter on that node and the leader here a quorum (OR-13)? */
static bool is_quorum(const struct node_replica *first, uint64_t node_id)
{
    struct raft_status status;

    raft_status_get(first->raft, &status);
    return node_witness_suffices(&status,
                                 raft_conf_get(first->raft),
                                 first->host->oracle.term,
                                 node__replica_on(first, node_id));
}

static bool oracle_turn(struct node_host *host)
{
    struct node_replica *first = node__host_replica(host, PLACEMENT_FIRST_RANGE_ID);
    struct node_oracle_message message;
    uint64_t to;
    uint64_t value;
    bool moved = false;

    if (first == NULL) {
        return false;
    }
    while (node_oracle_next(&host->oracle, &to)) {
        struct node_oracle_asker *asker = NULL;

        HASH_FIND(hh, host->askers, &to, sizeof(to), asker);
        fl_assert(asker != NULL);
        node_oracle_take(&host->oracle, is_quorum(first, asker->node_id), &message);
        send_message(host, asker->node_id, asker->loop, &message);
        moved = true;
    }
    if (node_oracle_want_mark(&host->oracle, &value)) {
        propose_mark(first, value);
        moved = true;
    }
    while (node_oracle_want_round(&host->oracle, &value)) {
        if (raft_read_index(first->raft, host->now_ms, value) != FL_OK) {
            node_oracle_round_done(&host->oracle, value, false);
            break;
        }
        node__host_dirty(first);
        moved = true;
    }
    return moved;
}

void node__revision_round_done(struct node_replica *replica, const struct raft_read *read)
{
    fl_assert(replica->group_id == PLACEMENT_FIRST_RANGE_ID);
    node_oracle_round_done(&replica->host->oracle, read->ctx, read->ok);
}

void node__revision_witness(const struct node_replica *replica)
{
    struct raft_status status;

    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        raft_status_get(replica->raft, &status);
        atomic_store(&replica->host->node->witness_term, node_witness_term(&status));
    }
}

void node__revision_leads(struct node_replica *replica)
{
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID && replica->host->multi_range) {
        node_oracle_lead(&replica->host->oracle,
                         replica->term,
                         replica->revision,
                         replica->mark,
                         replica->compact_revision);
    }
}

void node__revision_stepped_down(struct node_replica *replica)
{
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        node_oracle_step_down(&replica->host->oracle);
    }
}

/* --- the client's side ---------------------------------------------------------------------- */

void node__revision_submit(struct node_op *op, enum node_oracle_wait_kind kind)
{
    op->waiter.kind = kind;
    if (node_oracle_client_submit(&op->host->client, &op->waiter) != FL_OK) {
        node__op_fail(op, FL_TOO_MANY);
        return;
    }
    op->granted = true;
}

void node__revision_cancel(struct node_op *op)
{
    node_oracle_client_cancel(&op->host->client, &op->waiter);
    op->granted = false;
}

static void granted(struct node_op *op)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);

    fl_assert(replica != NULL && op->state == NODE_OP_REVISION);
    op->revision = op->waiter.revision;
    shard_command_set_revision(op->command, op->revision);
    node__replica_admit(replica, op);
}

static void confirmed(struct node_op *op)
{
    op->granted = false;
    if (op->kind != NODE_OP_WRITE) {
        struct node_replica *replica = node__host_replica(op->host, op->group_id);

        op->at_revision = op->waiter.revision;
        node__raise_revision(op->host->node, op->at_revision);
        if (op->kind == NODE_OP_NOW) {
            struct node_reply reply = {.status = FL_OK,
                                       .revision = op->at_revision,
                                       .compact_revision = op->waiter.compact};

            node__op_finish(op, &reply);
            return;
        }
        fl_assert(replica != NULL); /* only its leader submits a read */
        node__replica_read_confirmed(replica, op);
        return;
    }
    op->confirmed = true;
    if (op->state == NODE_OP_CONFIRMING) {
        struct node_reply reply = op->held;

        op->held.result = NULL;
        node__op_finish(op, &reply);
    }
}

static void unconfirmable(struct node_op *op)
{
    op->granted = false;
    switch ((int)op->state) {
    case NODE_OP_CONFIRMING:
        node__op_fail(op, FL_LEADER_FAILED);
        break;
    case NODE_OP_REVISION:
    case NODE_OP_PROPOSING:
        node__op_restart(op); /* nothing was proposed with it */
        break;
    default:
        op->unconfirmable = true; /* ND-5: in the log; its outcome is told as unknown */
        break;
    }
}

static bool client_turn(struct node_host *host)
{
    struct node_oracle_message ask;
    struct node_oracle_waiter *waiter;
    uint64_t to;
    bool moved = false;

    for (;;) {
        enum node_oracle_event event = node_oracle_client_next(&host->client, &waiter);

        if (event == NODE_ORACLE_NOTHING) {
            break;
        }
        moved = true;
        if (event == NODE_ORACLE_GRANTED) {
            granted(op_of(waiter));
        } else if (event == NODE_ORACLE_CONFIRMED) {
            confirmed(op_of(waiter));
        } else {
            unconfirmable(op_of(waiter));
        }
    }
    while (node_oracle_client_ask(
        &host->client, host->now_ms, atomic_load(&host->node->witness_term), &to, &ask)) {
        send_message(host, to, (uint8_t)host->index, &ask);
        moved = true;
    }
    return moved;
}

/* Nobody is known to ask: the leader the replica here follows, or any member of the first range. */
static void find_oracle(struct node_host *host)
{
    struct node_replica *first = node__host_replica(host, PLACEMENT_FIRST_RANGE_ID);
    const struct shard_range *range = placement_map_view_group(host->map, PLACEMENT_FIRST_RANGE_ID);

    if (first != NULL && first->leader_node != 0) {
        node_oracle_client_set_oracle(&host->client, first->leader_node, first->term);
    } else if (first == NULL) {
        size_t pick = (size_t)fl_prng_below(&host->prng, range->replica_count);

        node_oracle_client_set_oracle(&host->client, range->replicas[pick].node_id, 0);
    }
}

void node__revision_turn(struct node_host *host)
{
    bool moved = true;

    if (!host->multi_range) {
        return;
    }
    if (node_oracle_client_lacks_oracle(&host->client)) {
        find_oracle(host);
    }
    while (moved) {
        moved = client_turn(host);
        moved = oracle_turn(host) || moved;
    }
    node_wheel_set(&host->wheel, &host->client_timer, node_oracle_client_deadline(&host->client));
}
