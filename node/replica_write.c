/* Writes on the leader: revision, proposal, and what happens to those that were overwritten.
 *
 * Owner, lifetime and threads: the host's loop. */
#include "node/host_internal.h"

#include "raftgroup/base/assert.h"
#include "shard/command.h"

/* Proposals of one call into the core; more wait for the next call of the same turn. */
#define PROPOSE_MAX 256

static bool frees_space(const struct node_op *op)
{
    uint8_t kind = op->command->data[1];

    return kind == SHARD_COMMAND_DELETE_RANGE || kind == SHARD_COMMAND_COMPACT;
}

void node__replica_write(struct node_replica *replica, struct node_op *op)
{
    struct node_host *host = replica->host;

    if (node__disk_full(host->node) && !frees_space(op)) {
        node__op_fail(op, FL_NO_SPACE);
        return;
    }
    node__op_stamp(op);
    shard_command_set_epoch(op->command, replica->range.version);
    if (host->multi_range && replica->group_id != PLACEMENT_GROUP_ID) {
        op->state = NODE_OP_REVISION;
        fl_list_push_back(&replica->awaiting, &op->link);
        node__revision_submit(op, NODE_ORACLE_WRITE);
        return;
    }
    /* One range: the shard numbers densely by itself, exactly like etcd. */
    op->confirmed = true;
    shard_command_set_revision(op->command, 0);
    node__replica_admit(replica, op);
}

void node__replica_admit(struct node_replica *replica, struct node_op *op)
{
    fl_list_remove(&op->link);
    op->state = NODE_OP_PROPOSING;
    fl_list_push_back(&replica->proposing, &op->link);
    node__host_dirty(replica);
}

/* OR-9: a revision at or below the floor must not be used any more; ask for another. */
static bool still_usable(struct node_replica *replica, struct node_op *op)
{
    if (op->revision == 0 || node_floor_admit(&replica->floor, op->revision) == FL_OK) {
        return true;
    }
    if (op->granted) {
        node__revision_cancel(op);
    }
    op->revision = 0;
    op->confirmed = false;
    /* The next grant must be above the floor, or it would be refused again. */
    node_oracle_client_seen(&op->host->client, replica->floor.floor);
    fl_list_remove(&op->link);
    op->state = NODE_OP_REVISION;
    fl_list_push_back(&replica->awaiting, &op->link);
    node__revision_submit(op, NODE_ORACLE_WRITE);
    return false;
}

static void proposed(struct node_replica *replica, struct node_op *op, raft_index index)
{
    op->index = index;
    op->term = replica->term;
    op->state = NODE_OP_PROPOSED;
    op->doubts++;
    node_log_cache_append(replica->cache, index, replica->term, RAFT_ENT_NORMAL, op->command);
    if (op->revision != 0) {
        node_floor_proposed(&replica->floor, op->revision, index);
    }
    fl_list_remove(&op->link);
    fl_list_push_back(&replica->proposed, &op->link);
}

static size_t gather(struct node_replica *replica, struct node_op *ops[], struct raft_ent ents[])
{
    size_t n = 0;

    FL_LIST_FOREACH_SAFE (link, &replica->proposing) {
        struct node_op *op = fl_container_of(link, struct node_op, link);

        if (n == PROPOSE_MAX) {
            break;
        }
        if (!still_usable(replica, op)) {
            continue;
        }
        ops[n] = op;
        ents[n] = (struct raft_ent){.len = op->command->len, .type = RAFT_ENT_NORMAL};
        n++;
    }
    return n;
}

/* Whatever `act` does puts the op into another list, or this one again. */
static void each_of(struct fl_list *ops, void (*act)(struct node_op *op))
{
    struct fl_list moved;

    fl_list_init(&moved);
    fl_list_move_all(&moved, ops);
    while (!fl_list_empty(&moved)) {
        act(fl_container_of(moved.next, struct node_op, link));
    }
}

static bool propose_some(struct node_replica *replica)
{
    struct node_op *ops[PROPOSE_MAX];
    struct raft_ent ents[PROPOSE_MAX];
    size_t n = gather(replica, ops, ents);
    raft_index first = 0;
    raft_term term = 0;
    enum fl_status status = FL_QUOTA;

    /* The quota is all or nothing per call: what does not fit whole may fit in half. */
    while (n != 0 && status == FL_QUOTA) {
        status =
            raft_propose(replica->raft, replica->host->now_ms, ents, (uint32_t)n, &first, &term);
        if (status == FL_QUOTA) {
            n /= 2;
        }
    }
    if (n == 0) {
        return false; /* back-pressure: they go when earlier entries are applied */
    }
    if (status != FL_OK) {
        each_of(&replica->proposing, node__op_hold);
        return false;
    }
    replica->term = term;
    for (size_t i = 0; i < n; i++) {
        proposed(replica, ops[i], first + i);
    }
    return !fl_list_empty(&replica->proposing);
}

void node__replica_propose(struct node_replica *replica)
{
    if (fl_list_empty(&replica->proposing)) {
        return;
    }
    replica->quiet_since_ms = replica->host->now_ms;
    while (propose_some(replica)) {
    }
}

void node__replica_lost(struct node_replica *replica, const struct raft_lost *lost)
{
    FL_LIST_FOREACH_SAFE (link, &replica->proposed) {
        struct node_op *op = fl_container_of(link, struct node_op, link);

        if (op->index >= lost->lo && op->index <= lost->hi && op->term == lost->term) {
            op->doubts--; /* this proposal is certainly not applied (P3) */
            node__op_restart(op);
        }
    }
}

void node__replica_stepped_down(struct node_replica *replica)
{
    replica->serving = false;
    node_floor_step_down(&replica->floor);
    /* OR-8: a revision granted to this leadership is not used in another. */
    each_of(&replica->awaiting, node__op_restart);
    each_of(&replica->proposing, node__op_restart);
    each_of(&replica->reads_new, node__op_restart);
    each_of(&replica->reads_round, node__op_restart);
    each_of(&replica->reads_ready, node__op_restart);
}

static void fail_frozen(struct node_op *op)
{
    node__op_fail(op, FL_FROZEN);
}

void node__replica_froze(struct node_replica *replica)
{
    bool led = replica->role == RAFT_LEADER;

    if (led) {
        node__revision_stepped_down(replica);
    }
    replica->role = RAFT_FOLLOWER;
    replica->leader_node = 0;
    /* Nobody will say what becomes of these: unknown (ND-4). */
    each_of(&replica->proposed, fail_frozen);
    node__replica_stepped_down(replica);
    node__replica_unpark(replica);
}
