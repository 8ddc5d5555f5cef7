/* From a door's request to ops: which ranges a request touches, and what one over several becomes.
 *
 * Owner: a spread request belongs to the loop that coordinates it (the first range loop).
 * Lifetime: from node_submit to the request's `done`. Threads: node_submit on any; a spread request
 * on its loop; the parts on theirs.
 *
 *     read      R from the oracle, then every range at R; merged             one snapshot
 *     delete    clipped to every range, each with a revision of its own      atomic per range only
 *     compact   R (is it in the future?), first range, then all the others   the first one decides
 *     hash      R, then every replica of this node                           XOR
 */
#include "node/host_internal.h"

#include "raftgroup/base/assert.h"
#include "shard/command.h"
#include "shard/result.h"

struct spread;

struct part {
    struct node_task task;
    struct spread *spread;
    size_t index;
    struct node_reply reply;
};

struct spread {
    struct node_task task;
    struct node *node;
    struct node_host *host; /* coordinates */
    struct node_request *request;
    struct placement_map_view *map;
    size_t first; /* ranges first .. first + count - 1 */
    size_t count;
    size_t pending;
    uint64_t revision; /* R, or the highest of the parts */
    uint64_t compact;  /* of the keyspace, as of R */
    bool revision_known;
    bool first_compacted;
    bool closed; /* HASH: no write at or below `revision` is in flight any more */
    struct part *parts;
};

static void start(struct spread *spread);
static void complete(struct spread *spread);

/* --- answers -------------------------------------------------------------------------------- */

static void finish_request(struct node_op *op, const struct node_reply *reply)
{
    op->request->done(op->request, reply);
}

struct refusal {
    struct node_task task;
    struct node_request *request;
    enum fl_status status;
};

static void refuse_now(struct node_task *task)
{
    struct refusal *refusal = fl_container_of(task, struct refusal, task);
    struct node_reply reply = node_reply_of(refusal->status);

    fl_buf_release(refusal->request->command);
    refusal->request->command = NULL;
    refusal->request->done(refusal->request, &reply);
    free(refusal);
}

/* Never before node_submit has returned (request.h), so it takes the way over a loop. */
static void refuse(struct node *node, struct node_request *request, enum fl_status status)
{
    struct refusal *refusal = fl_xmalloc(sizeof(*refusal));

    refusal->task.run = refuse_now;
    refusal->request = request;
    refusal->status = status;
    node_loop_post(node->hosts[0]->loop, &refusal->task);
}

/* --- spread requests ------------------------------------------------------------------------ */

static void forget_replies(struct spread *spread)
{
    for (size_t i = 0; i < spread->count; i++) {
        fl_buf_release(spread->parts[i].reply.result);
        spread->parts[i].reply = node_reply_of(FL_OK);
    }
}

static void destroy(struct spread *spread)
{
    forget_replies(spread);
    free(spread->parts);
    placement_map_view_release(spread->map);
    free(spread);
}

static void answer(struct spread *spread, struct node_reply *reply)
{
    struct node_request *request = spread->request;

    fl_buf_release(request->command);
    request->command = NULL;
    spread->host->spreads--;
    destroy(spread);
    request->done(request, reply);
}

static void fail(struct spread *spread, enum fl_status status)
{
    struct node_reply reply = node_reply_of(status);

    answer(spread, &reply);
}

static const struct shard_range *range_at(const struct spread *spread, size_t index)
{
    return placement_range_map_at(spread->map->ranges, spread->first + index);
}

static void part_arrived(struct node_task *task);

static void finish_part(struct node_op *op, const struct node_reply *reply)
{
    struct part *part = op->gather;

    part->reply = *reply;
    part->task.run = part_arrived;
    node_loop_post(part->spread->host->loop, &part->task);
}

static struct node_op *create_part(struct spread *spread, size_t index, enum node_op_kind kind)
{
    const struct shard_range *range = range_at(spread, index);
    struct node_op *op = node_op_create(node__host_of(spread->node, range->group_id), kind);

    op->finish = finish_part;
    op->any_thread = true;
    op->gather = &spread->parts[index];
    op->group_id = range->group_id;
    op->version = range->version;
    op->deadline_ms = spread->request->deadline_ms;
    spread->pending++;
    return op;
}

static void revision_arrived(struct node_task *task)
{
    struct part *part = fl_container_of(task, struct part, task);
    struct spread *spread = part->spread;
    struct node_reply reply = part->reply;

    part->reply = node_reply_of(FL_OK);
    if (reply.status != FL_OK) {
        fail(spread, reply.status);
        return;
    }
    spread->revision = reply.revision;
    spread->compact = reply.compact_revision;
    spread->revision_known = true;
    start(spread);
}

static void finish_revision(struct node_op *op, const struct node_reply *reply)
{
    struct part *part = op->gather;

    part->reply = *reply;
    part->task.run = revision_arrived;
    node_loop_post(part->spread->host->loop, &part->task);
}

static void ask_revision(struct spread *spread)
{
    struct node_op *op = node_op_create(spread->host, NODE_OP_NOW);

    op->finish = finish_revision;
    op->gather = &spread->parts[0];
    op->deadline_ms = spread->request->deadline_ms;
    node_host_post_op(op);
}

/* --- what the parts are --------------------------------------------------------------------- */

static void start_reads(struct spread *spread)
{
    for (size_t i = 0; i < spread->count; i++) {
        struct node_op *op = create_part(spread, i, NODE_OP_READ);

        shard_read_part(&spread->request->read, &op->read);
        op->at_revision = spread->revision;
        node_host_post_op(op);
    }
}

/* The end of the keys that both the request and a range stop at, in the form of a request. */
static struct fl_bytes clipped_end(struct fl_bytes request_end, const struct shard_range *range)
{
    if (range->end.len == 0) {
        return request_end;
    }
    if (shard_end_is_open(request_end) || fl_bytes_compare(range->end, request_end) < 0) {
        return range->end;
    }
    return request_end;
}

static void start_deletes(struct spread *spread)
{
    struct shard_command command;
    struct shard_delete del;

    if (shard_command_decode(fl_buf_bytes(spread->request->command), &command) != FL_OK ||
        shard_delete_decode(command.body, &del) != FL_OK) {
        fail(spread, FL_INVALID);
        return;
    }
    for (size_t i = 0; i < spread->count; i++) {
        const struct shard_range *range = range_at(spread, i);
        struct shard_delete piece = del;
        struct node_op *op = create_part(spread, i, NODE_OP_WRITE);

        piece.key = i == 0 ? del.key : range->start;
        piece.end = clipped_end(del.end, range);
        if (shard_command_delete(&piece, &op->command) != FL_OK) {
            fl_fatal("a piece of a delete is larger than the delete");
        }
        node_host_post_op(op);
    }
}

static void start_compaction(struct spread *spread)
{
    size_t from = spread->first_compacted ? 1 : 0;
    size_t to = spread->first_compacted ? spread->count : 1;
    uint64_t revision = spread->request->revision;

    /* Judged against the keyspace, not against what one range has seen of it. */
    if (spread->count > 1 && !spread->first_compacted &&
        (revision > spread->revision || revision <= spread->compact)) {
        fail(spread, revision > spread->revision ? FL_FUTURE_REVISION : FL_COMPACTED);
        return;
    }
    for (size_t i = from; i < to; i++) {
        struct node_op *op = create_part(spread, i, NODE_OP_WRITE);

        op->command = shard_command_compact(revision, spread->count > 1);
        node_host_post_op(op);
    }
}

static bool is_here(const struct spread *spread, size_t index)
{
    return shard_range_replica_on(range_at(spread, index), spread->node->node_id) != NULL;
}

/* A read of one key at R on the leader of every range to be hashed: when it is answered, nothing at
 * or below R is in flight there any more (OR-9), so what is committed by then is all there is. */
static void close_revision(struct spread *spread)
{
    for (size_t i = 0; i < spread->count; i++) {
        struct node_op *op;

        if (!is_here(spread, i)) {
            continue;
        }
        op = create_part(spread, i, NODE_OP_READ);
        op->read = (struct shard_read){
            .key = range_at(spread, i)->start,
            .limit = 1,
            .keys_only = true,
        };
        if (op->read.key.len == 0) {
            op->read.key = fl_bytes_of_string("\1");
        }
        op->at_revision = spread->revision;
        node_host_post_op(op);
    }
}

static void start_hashes(struct spread *spread)
{
    uint64_t revision = spread->request->revision;

    if (spread->count > 1 && revision > spread->revision) {
        fail(spread, FL_FUTURE_REVISION);
        return;
    }
    if (spread->count > 1 && !spread->closed) {
        close_revision(spread);
    } else {
        for (size_t i = 0; i < spread->count; i++) {
            struct node_op *op;

            if (!is_here(spread, i)) {
                continue; /* another node's hash has it */
            }
            op = create_part(spread, i, NODE_OP_HASH);
            op->at_revision = revision != 0 ? revision : spread->revision;
            op->compact = spread->host->known_compact;
            node_host_post_op(op);
        }
    }
    if (spread->pending == 0) {
        complete(spread);
    }
}

static void start(struct spread *spread)
{
    bool wants_revision =
        spread->count > 1 && spread->request->kind != NODE_REQUEST_WRITE &&
        !(spread->request->kind == NODE_REQUEST_READ && spread->request->read.serializable);

    if (wants_revision && !spread->revision_known) {
        ask_revision(spread);
        return;
    }
    switch (spread->request->kind) {
    case NODE_REQUEST_READ:
        start_reads(spread);
        break;
    case NODE_REQUEST_WRITE:
        start_deletes(spread);
        break;
    case NODE_REQUEST_COMPACT:
        start_compaction(spread);
        break;
    case NODE_REQUEST_HASH:
        start_hashes(spread);
        break;
    }
}

/* --- putting the parts together ------------------------------------------------------------- */

static enum fl_status merge_results(struct spread *spread, struct node_reply *reply)
{
    struct fl_bytes *results = fl_xcalloc(spread->count, sizeof(*results));
    enum fl_status status;

    for (size_t i = 0; i < spread->count; i++) {
        results[i] = fl_buf_bytes(spread->parts[i].reply.result);
    }
    if (spread->request->kind == NODE_REQUEST_READ) {
        status = shard_result_merge(
            &spread->request->read, results, spread->count, spread->revision, &reply->result);
    } else {
        status =
            shard_result_merge_deleted(results, spread->count, spread->revision, &reply->result);
    }
    free(results);
    return status;
}

/* One part failed: the whole did. A delete or compaction of which parts may have happened is not
 * "certainly not applied" any more (ND-4). */
static enum fl_status status_of(const struct spread *spread)
{
    enum fl_status status = FL_OK;
    bool some_applied = false;

    for (size_t i = 0; i < spread->count; i++) {
        enum fl_status part = spread->parts[i].reply.status;

        some_applied = some_applied || part == FL_OK || fl_status_is_unknown(part);
        status = status == FL_OK || fl_status_is_unknown(part) ? part : status;
    }
    if (status != FL_OK && ((some_applied && spread->request->kind == NODE_REQUEST_WRITE) ||
                            spread->first_compacted)) {
        return FL_UNKNOWN;
    }
    return status;
}

static void complete(struct spread *spread)
{
    struct node_reply reply = node_reply_of(status_of(spread));

    for (size_t i = 0; i < spread->count; i++) {
        const struct node_reply *part = &spread->parts[i].reply;

        if (!spread->revision_known && part->revision > spread->revision) {
            spread->revision = part->revision;
        }
        reply.hash ^= part->hash;
        reply.term = part->term > reply.term ? part->term : reply.term;
        if (part->compact_revision > reply.compact_revision) {
            reply.compact_revision = part->compact_revision;
        }
    }
    reply.revision = spread->revision;
    if (reply.status == FL_OK && (spread->request->kind == NODE_REQUEST_READ ||
                                  spread->request->kind == NODE_REQUEST_WRITE)) {
        reply.status = merge_results(spread, &reply);
    }
    node__raise_revision(spread->node, reply.revision);
    answer(spread, &reply);
}

static void part_arrived(struct node_task *task)
{
    struct part *part = fl_container_of(task, struct part, task);
    struct spread *spread = part->spread;

    if (--spread->pending != 0) {
        return;
    }
    if (spread->request->kind == NODE_REQUEST_COMPACT && !spread->first_compacted &&
        part->reply.status == FL_OK && spread->count > 1) {
        fl_buf_release(part->reply.result);
        part->reply = node_reply_of(FL_OK);
        spread->first_compacted = true;
        start_compaction(spread);
        return;
    }
    if (spread->request->kind == NODE_REQUEST_HASH && spread->count > 1 && !spread->closed &&
        status_of(spread) == FL_OK) {
        forget_replies(spread);
        spread->closed = true;
        start_hashes(spread);
        return;
    }
    complete(spread);
}

/* --- submission ----------------------------------------------------------------------------- */

static void start_spread(struct node_task *task)
{
    struct spread *spread = fl_container_of(task, struct spread, task);

    spread->host->spreads++; /* the loop is not quiet before it is answered (ND-6) */
    start(spread);
}

/* Takes over the reference to the map. */
static void submit_spread(struct node *node,
                          struct node_request *request,
                          struct placement_map_view *map,
                          size_t first,
                          size_t count)
{
    struct spread *spread = fl_xcalloc(1, sizeof(*spread));

    spread->node = node;
    spread->host =
        node__host_of(node, PLACEMENT_FIRST_RANGE_ID); /* it knows of compactions first */
    spread->request = request;
    spread->map = map;
    spread->first = first;
    spread->count = count;
    spread->parts = fl_xcalloc(count, sizeof(*spread->parts));
    for (size_t i = 0; i < count; i++) {
        spread->parts[i].spread = spread;
        spread->parts[i].index = i;
    }
    spread->task.run = start_spread;
    node_loop_post(spread->host->loop, &spread->task);
}

static void
submit_op(struct node *node, struct node_request *request, const struct shard_range *range)
{
    struct node_op *op =
        node_op_create(node__host_of(node, range->group_id),
                       request->kind == NODE_REQUEST_WRITE ? NODE_OP_WRITE : NODE_OP_READ);

    op->finish = finish_request;
    op->any_thread = true;
    op->request = request;
    op->group_id = range->group_id;
    op->version = range->version;
    op->deadline_ms = request->deadline_ms;
    op->command = request->command;
    request->command = NULL;
    if (op->kind == NODE_OP_READ) {
        op->read = request->read;
    }
    node_host_post_op(op);
}

static size_t
ranges_of(const struct node_request *request, const struct placement_map_view *map, size_t *first)
{
    struct fl_bytes key = request->kind == NODE_REQUEST_READ ? request->read.key : request->key;
    struct fl_bytes end = request->kind == NODE_REQUEST_READ ? request->read.end : request->end;

    if (request->kind == NODE_REQUEST_COMPACT || request->kind == NODE_REQUEST_HASH) {
        *first = 0;
        return placement_range_map_count(map->ranges);
    }
    return placement_range_map_span(map->ranges, key, end, first);
}

void node_submit(struct node *node, struct node_request *request)
{
    struct placement_map_view *map;
    size_t first = 0;
    size_t count;

    /* Relaxed: whoever submits while the drain begins is served or refused, both are right. */
    if (atomic_load_explicit(&node->draining, memory_order_relaxed)) {
        refuse(node, request, FL_SHUTDOWN);
        return;
    }
    map = node__map_acquire(node);
    if (map == NULL || !map->bootstrapped) {
        placement_map_view_release(map);
        refuse(node, request, FL_NO_LEADER);
        return;
    }
    count = ranges_of(request, map, &first);
    if (request->kind == NODE_REQUEST_WRITE && count > 1 &&
        request->command->data[1] != SHARD_COMMAND_DELETE_RANGE) {
        placement_map_view_release(map);
        refuse(node, request, FL_CROSS_RANGE);
        return;
    }
    if (count == 1 && (request->kind == NODE_REQUEST_WRITE || request->kind == NODE_REQUEST_READ)) {
        submit_op(node, request, placement_range_map_at(map->ranges, first));
        placement_map_view_release(map);
        return;
    }
    submit_spread(node, request, map, first, count);
}
