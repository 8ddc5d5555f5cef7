/* Requests on their way through this node. */
#include "node/op.h"

#include "node/host_internal.h"

#include "raftgroup/base/assert.h"

static void timed_out(struct node_deadline *deadline)
{
    node__op_timer(fl_container_of(deadline, struct node_op, timer));
}

struct node_op *node_op_create(struct node_host *host, enum node_op_kind kind)
{
    struct node_op *op = fl_xcalloc(1, sizeof(*op));

    op->host = host;
    op->kind = kind;
    op->state = NODE_OP_ROUTING;
    fl_list_init(&op->link);
    fl_list_init(&op->unfinished);
    fl_list_init(&op->all);
    fl_list_init(&op->waiter.link);
    node_timer_init(&op->timer.timer);
    op->timer.run = timed_out;
    return op;
}

void node_op_destroy(struct node_op *op)
{
    fl_assert(fl_list_empty(&op->link));
    fl_assert(fl_list_empty(&op->unfinished));
    fl_assert(!op->granted);
    fl_buf_release(op->command);
    fl_buf_release(op->read_bytes);
    fl_buf_release(op->held.result);
    free(op);
}

struct node_reply node_reply_of(enum fl_status status)
{
    return (struct node_reply){.status = status};
}

/* Answers of the machine that it remembers (shard/session.h), or would give to every repetition:
 * they hold for all turns of a command. FL_EPOCH_MISMATCH and FL_STALE also have other sources. */
static bool holds_for_every_turn(enum fl_status status)
{
    switch ((int)status) {
    case FL_OK:
    case FL_COMPACTED:
    case FL_FUTURE_REVISION:
    case FL_KEY_NOT_FOUND:
    case FL_LEASE_NOT_FOUND:
    case FL_EMPTY_KEY:
    case FL_CROSS_RANGE:
    case FL_TOO_DEEP:
    case FL_TOO_MANY_OPS:
    case FL_INVALID:
    case FL_BAD_MESSAGE:
    case FL_NOT_SUPPORTED:
        return true;
    default:
        return false;
    }
}

struct node_reply node__op_answer(const struct node_op *op, struct shard_apply *entry)
{
    struct node_reply reply = {
        .status = node_op_outcome(op, entry->status, 1),
        .result = entry->result,
        .revision = entry->revision,
        .term = entry->term,
    };

    /* OR-11: the answer of an earlier turn, with a revision of an oracle before the one that
     * confirmed this turn: nobody vouches that it came after everything acknowledged before. */
    if (reply.status == FL_OK && op->revision != 0 && reply.revision <= op->waiter.start) {
        reply.status = FL_LEADER_FAILED;
    }
    if (reply.status != FL_OK) {
        fl_buf_release(reply.result);
        reply.result = NULL;
    }
    entry->result = NULL;
    return reply;
}

enum fl_status node_op_outcome(const struct node_op *op, enum fl_status status, uint32_t turns)
{
    if (op->kind != NODE_OP_WRITE || op->doubts <= turns || fl_status_is_unknown(status) ||
        holds_for_every_turn(status)) {
        return status;
    }
    return FL_UNKNOWN;
}
