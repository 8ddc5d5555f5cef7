/* One replica: feeds its core, and carries out what the core answers.
 *
 * Owner, lifetime and threads: the host's loop.
 *
 * A ready is carried out in this order: learn entries the core made, send, write, apply, answer.
 * Every message of a ready may leave before the fsync of its record (raft.h); nothing here delays
 * or reorders what the core has ordered. */
#include "node/host_internal.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/codec.h"

/* An idle leader sends its group to sleep after this long. */
#define QUIET_MS 1000
/* Early elections after a leader's node vanished: the heir goes first, the others wait. */
#define HEIR_MS     10
#define HEIR_GAP_MS 150
#define EARLY_TRIES 8

uint64_t node__replica_node_of(const struct node_replica *replica, uint64_t replica_id)
{
    const struct shard_replica *member = shard_range_replica(&replica->range, replica_id);

    return member != NULL ? member->node_id : 0;
}

uint64_t node__replica_on(const struct node_replica *replica, uint64_t node_id)
{
    const struct shard_replica *member = shard_range_replica_on(&replica->range, node_id);

    return member != NULL ? member->replica_id : 0;
}

/* --- messages in ---------------------------------------------------------------------------- */

/* Entries of one APP; an append of the core names at most RAFT's max_msg_ents. */
struct incoming {
    struct raft_ent *ents;
    struct fl_bytes *payloads;
};

static bool read_entries(struct node_replica *replica,
                         const struct raft_msg *message,
                         struct fl_reader *body,
                         struct incoming *in)
{
    struct node_host *host = replica->host;

    /* Each entry takes at least three bytes: a count beyond that is not believed. */
    if (message->nents > fl_reader_left(body) / 3) {
        return false;
    }
    fl_grow(&host->ents, &host->ents_capacity, message->nents, sizeof(*host->ents));
    fl_grow(&host->payloads, &host->payloads_capacity, message->nents, sizeof(*host->payloads));
    in->ents = host->ents;
    in->payloads = host->payloads;
    for (uint32_t i = 0; i < message->nents; i++) {
        node_message_read_entry(body, &in->ents[i], &in->payloads[i]);
    }
    return fl_reader_done(body);
}

static void keep_entries(struct node_replica *replica,
                         const struct raft_msg *message,
                         const struct incoming *in,
                         raft_index lo,
                         raft_index hi)
{
    for (raft_index i = lo; i <= hi; i++) {
        size_t at = (size_t)(i - message->index - 1);
        struct fl_buf *payload = fl_buf_copy(in->payloads[at]);

        node_log_cache_append(replica->cache, i, in->ents[at].term, in->ents[at].type, payload);
        fl_buf_release(payload);
    }
}

void node__replica_message(struct node_replica *replica,
                           uint64_t peer,
                           struct fl_reader *body,
                           const struct raft_msg *message)
{
    struct incoming in = {NULL, NULL};
    raft_index lo = 1;
    raft_index hi = 0;
    enum fl_status status;

    if (message->to != replica->replica_id ||
        node__replica_node_of(replica, message->from) != peer || message->type == RAFT_M_SNAP ||
        !read_entries(replica, message, body, &in)) {
        node__host_bad_message(replica->host, peer, "raft");
        return;
    }
    if (message->type == RAFT_M_APP && message->nents != 0) {
        replica->quiet_since_ms = replica->host->now_ms;
    }
    status = raft_step(replica->raft, replica->host->now_ms, message, in.ents, &lo, &hi);
    if (status == FL_OK) {
        keep_entries(replica, message, &in, lo, hi);
    } else if (status == FL_BAD_MESSAGE) {
        node__host_bad_message(replica->host, peer, "raft step");
    }
    node__host_dirty(replica);
}

/* --- messages out --------------------------------------------------------------------------- */

static void send_plain(struct node_replica *replica, uint64_t node, const struct raft_msg *message)
{
    uint8_t bytes[RAFT_MSG_BYTES_MAX];
    struct node_part part = {
        .bytes = fl_bytes(bytes, raft_msg_encode(message, bytes)),
    };

    (void)node__host_send(replica->host, node, NODE_MESSAGE_RAFT, &part, 1);
}

static void
send_entries(struct node_replica *replica, uint64_t node, const struct raft_msg *message)
{
    struct node_host *host = replica->host;
    size_t count = 1 + 2 * (size_t)message->nents;
    size_t heads = 0;

    fl_grow(&host->parts, &host->parts_capacity, count, sizeof(*host->parts));
    fl_writer_reset(&host->scratch);
    (void)fl_write_space(&host->scratch, RAFT_MSG_BYTES_MAX);
    host->scratch.len = raft_msg_encode(message, host->scratch.data);
    host->parts[0] = (struct node_part){.bytes = fl_bytes(NULL, host->scratch.len)};
    for (uint32_t i = 0; i < message->nents; i++) {
        const struct node_log_entry *entry =
            node_log_cache_get(replica->cache, message->index + 1 + i);
        struct fl_bytes payload = {NULL, 0};
        size_t before = host->scratch.len;

        fl_assert(entry != NULL); /* fit() said it is in memory */
        if (entry->payload != NULL) {
            payload = fl_buf_bytes(entry->payload);
        }
        node_message_write_entry(&host->scratch, entry->type, entry->term, (uint32_t)payload.len);
        host->parts[1 + 2 * i] =
            (struct node_part){.bytes = fl_bytes(NULL, host->scratch.len - before)};
        host->parts[2 + 2 * i] = (struct node_part){.bytes = payload, .buf = entry->payload};
    }
    /* The scratch no longer moves: give the heads their places. */
    for (size_t i = 0; i < count; i += (i == 0 ? 1 : 2)) {
        host->parts[i].bytes.data = host->scratch.data + heads;
        heads += host->parts[i].bytes.len;
    }
    (void)node__host_send(host, node, NODE_MESSAGE_RAFT, host->parts, count);
}

static void send_messages(struct node_replica *replica, const struct raft_ready *ready)
{
    for (uint32_t i = 0; i < ready->nmsgs; i++) {
        const struct raft_msg *message = &ready->msgs[i];
        uint64_t node = node__replica_node_of(replica, message->to);

        if (node == 0) {
            continue; /* a member that has left */
        }
        if (message->type == RAFT_M_SNAP) {
            node__snapshot_send(replica, node, message);
        } else if (message->nents != 0) {
            send_entries(replica, node, message);
        } else {
            send_plain(replica, node, message);
        }
    }
}

/* --- soft state ----------------------------------------------------------------------------- */

static void became_leader(struct node_replica *replica, const struct raft_ready *ready)
{
    fl_assert(ready->nmade != 0); /* the entry of its own term (thesis 8) */
    replica->lead_index = ready->made[0].index;
    replica->serving = false;
    replica->asked_floor = false;
    replica->told_oracle = false;
    replica->early_tries = 0;
    fl_metric_add(&node_metric_leader_changes, 1);
    fl_log(FL_LOG_INFO,
           "leader_elected",
           "group=%" PRIu64 " replica=%" PRIu64 " term=%" PRIu64,
           replica->group_id,
           replica->replica_id,
           ready->term);
}

static void soft_changed(struct node_replica *replica, const struct raft_ready *ready)
{
    struct node_host *host = replica->host;
    bool led = replica->role == RAFT_LEADER;
    uint64_t before = replica->leader_node;

    if (led && (ready->role != RAFT_LEADER || ready->term != replica->term)) {
        node__revision_stepped_down(replica);
        replica->role = ready->role;
        replica->leader_node = node__replica_node_of(replica, ready->leader);
        node__replica_stepped_down(replica);
    }
    if (ready->role == RAFT_LEADER && (!led || ready->term != replica->term)) {
        became_leader(replica, ready);
    }
    replica->role = ready->role;
    replica->term = ready->term;
    replica->leader_node = node__replica_node_of(replica, ready->leader);
    host->news = true;
    if (replica->leader_node != 0) {
        node_wheel_cancel(&host->wheel, &replica->early_timer.timer);
        if (replica->leader_node != before) {
            node__forward_leader_changed(host, replica->group_id, replica->leader_node);
            node__replica_unpark(replica);
        }
    }
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        node__oracle_moved(host, replica->leader_node, replica->term);
    }
}

static void begin_serving(struct node_replica *replica, uint64_t read_revision)
{
    replica->serving = true;
    node_floor_lead(&replica->floor, replica->revision, read_revision);
    node__replica_unpark(replica);
}

/* OR-10: no read that an earlier leader of this range served was above this R. */
static void floor_known(struct node_op *op, const struct node_reply *reply)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);

    if (replica == NULL || replica->role != RAFT_LEADER || replica->term != op->term) {
        return;
    }
    if (reply->status == FL_OK) {
        begin_serving(replica, reply->revision);
    } else {
        replica->asked_floor = false; /* asked anew when somebody waits, see node__replica_unpark */
    }
}

static void ask_floor(struct node_replica *replica)
{
    struct node_op *op = node_op_create(replica->host, NODE_OP_NOW);

    replica->asked_floor = true;
    op->finish = floor_known;
    op->group_id = replica->group_id;
    op->term = replica->term;
    op->origin_node = replica->host->node->node_id; /* also while draining */
    node__op_start(op);
}

void node__replica_check_serving(struct node_replica *replica)
{
    if (replica->role != RAFT_LEADER || replica->serving || replica->asked_floor ||
        replica->applied < replica->lead_index) {
        return;
    }
    /* Everything committed before this term is applied: revisions and marks are all known. */
    if (!replica->told_oracle) {
        replica->told_oracle = true;
        node__revision_leads(replica);
    }
    if (replica->host->multi_range && replica->group_id != PLACEMENT_GROUP_ID) {
        ask_floor(replica);
    } else {
        begin_serving(replica, 0);
    }
}

/* --- a turn --------------------------------------------------------------------------------- */

static void carry_out(struct node_replica *replica, const struct raft_ready *ready)
{
    node__revision_witness(replica); /* before anything leaves (OR-13) */
    for (uint32_t i = 0; i < ready->nmade; i++) {
        node_log_cache_append(
            replica->cache, ready->made[i].index, ready->made[i].term, ready->made[i].type, NULL);
    }
    if (ready->nlost != 0) {
        for (uint32_t i = 0; i < ready->nlost; i++) {
            node__replica_lost(replica, &ready->lost[i]);
        }
    }
    send_messages(replica, ready);
    if (ready->persist != NULL) {
        node__replica_persist(replica, ready->persist);
    }
    if (ready->apply_lo <= ready->apply_hi) {
        fl_assert(ready->apply_lo == replica->apply_limit + 1);
        replica->apply_limit = ready->apply_hi;
    }
    if (ready->soft_changed) {
        soft_changed(replica, ready);
    }
    for (uint32_t i = 0; i < ready->nreads; i++) {
        node__replica_round_done(replica, &ready->reads[i]);
    }
    for (uint32_t i = 0; i < ready->nfetches; i++) {
        node__replica_fetch(replica, &ready->fetches[i]);
    }
}

static void report_frozen(struct node_replica *replica)
{
    struct raft_status status;

    if (replica->frozen) {
        return;
    }
    raft_status_get(replica->raft, &status);
    if (status.why != NULL) {
        replica->frozen = true;
        replica->host->news = true;
        fl_log(FL_LOG_ERROR,
               "group_frozen",
               "group=%" PRIu64 " reason=\"%s\"",
               replica->group_id,
               status.why);
        node__replica_froze(replica);
    }
}

void node__replica_turn(struct node_replica *replica)
{
    struct raft_ready ready;
    uint64_t deadline;

    if (replica->installing) {
        return; /* dirty again when that is done */
    }
    node__revision_witness(replica); /* a core that froze has no ready */
    node__replica_propose(replica);
    node__replica_begin_round(replica);
    while (raft_has_ready(replica->raft)) {
        fl_assert(raft_ready_get(replica->raft, &ready) == FL_OK); /* a frozen one has none */
        carry_out(replica, &ready);
        raft_ready_done(replica->raft);
    }
    node__replica_pump(replica);
    node__replica_check_serving(replica);
    deadline = raft_deadline(replica->raft);
    node_wheel_set(&replica->host->wheel, &replica->timer.timer, deadline);
    if (deadline == RAFT_NEVER) {
        report_frozen(replica); /* or it merely sleeps */
    }
}

void node__replica_tick(struct node_replica *replica)
{
    struct node_host *host = replica->host;

    if (replica->role == RAFT_LEADER && host->now_ms - replica->quiet_since_ms > QUIET_MS &&
        raft_can_quiesce(replica->raft)) {
        if (raft_quiesce(replica->raft, host->now_ms) == FL_OK) {
            node__host_dirty(replica);
            return;
        }
    }
    if (raft_tick(replica->raft, host->now_ms) == FL_FROZEN) {
        report_frozen(replica);
    }
    node__host_dirty(replica);
}

/* --- elections out of turn ------------------------------------------------------------------ */

/* Position of this node among the voters other than `gone`, 0 first, in an order that differs from
 * group to group so that the heirs of one node are spread over the others. It is the order in which
 * the core prefers those it sends entries to at once (defer.c), so the first heir mostly has all.
 */
static unsigned heir_rank(const struct node_replica *replica, uint64_t gone)
{
    unsigned count = replica->range.replica_count;
    unsigned rank = 0;

    for (unsigned i = 0; i < count; i++) {
        uint64_t node =
            replica->range.replicas[(i + (unsigned)(replica->group_id % count)) % count].node_id;

        if (node == replica->host->node->node_id) {
            break;
        }
        rank += node != gone ? 1 : 0;
    }
    return rank;
}

void node__replica_campaign_soon(struct node_replica *replica, uint64_t gone)
{
    struct node_host *host = replica->host;
    uint64_t wait = HEIR_MS + HEIR_GAP_MS * (uint64_t)heir_rank(replica, gone) +
                    fl_prng_below(&host->prng, HEIR_GAP_MS / 3);

    replica->early_tries = EARLY_TRIES;
    node_wheel_set(&host->wheel, &replica->early_timer.timer, host->now_ms + wait);
}

void node__replica_early_election(struct node_replica *replica)
{
    struct node_host *host = replica->host;

    if (replica->leader_node != 0 || replica->early_tries == 0) {
        return;
    }
    replica->early_tries--;
    if (raft_campaign(replica->raft, host->now_ms) == FL_OK) {
        node__host_dirty(replica);
    }
    node_wheel_set(&host->wheel,
                   &replica->early_timer.timer,
                   host->now_ms + 2 * (uint64_t)HEIR_GAP_MS +
                       fl_prng_below(&host->prng, HEIR_GAP_MS));
}

void node__replica_peer_down(struct node_replica *replica, uint64_t peer)
{
    struct node_host *host = replica->host;
    uint64_t replica_id = node__replica_on(replica, peer);

    if (replica_id == 0) {
        return;
    }
    if (replica->role == RAFT_LEADER) {
        /* A sleeping leader wakes, so that the member is found again when it is back (Q1). */
        if (raft_unreachable(replica->raft, host->now_ms, replica_id) == FL_OK) {
            node__host_dirty(replica);
        }
        return;
    }
    if (replica->leader_node != peer) {
        return;
    }
    if (raft_wake(replica->raft, host->now_ms) == FL_OK &&
        raft_forget_leader(replica->raft, host->now_ms) == FL_OK) {
        node__replica_campaign_soon(replica, peer);
    }
    node__host_dirty(replica);
}
