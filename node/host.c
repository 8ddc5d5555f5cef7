/* The groups of one loop, turn by turn.
 *
 * Owner, lifetime and threads: as host.h says. */
#include "node/host_internal.h"

#include "node/apply.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/codec.h"

#define UPKEEP_MS       500
#define DRAIN_MS        20 /* upkeep while leaderships are handed over */
#define PARKED_RETRY_MS 50
/* Entries that no quorum waits for, and commit points alone, gather for this long (raftgroup's
 * defer.c). */
#define DEFER_MS 20
/* Payloads of the newest entries kept in memory, all groups of a loop together. */
#define CACHE_BYTES_MAX ((uint64_t)128 * 1024 * 1024)

struct node_replica *node__host_replica(struct node_host *host, uint64_t group_id)
{
    struct node_replica *replica = NULL;

    HASH_FIND(hh, host->replicas, &group_id, sizeof(group_id), replica);
    return replica;
}

void node__host_dirty(struct node_replica *replica)
{
    if (fl_list_empty(&replica->dirty)) {
        fl_list_push_back(&replica->host->dirty, &replica->dirty);
    }
}

void node__host_bad_message(struct node_host *host, uint64_t peer, const char *what)
{
    fl_metric_add(&node_metric_bad_messages, 1);
    fl_log(FL_LOG_WARN,
           "bad_message",
           "loop=%u peer=%016" PRIx64 " kind=\"%s\"",
           host->index,
           peer,
           what);
}

void node__saw_revision(struct node_host *host, uint64_t revision)
{
    node_oracle_client_seen(&host->client, revision);
    node__raise_revision(host->node, revision);
}

/* --- messages ------------------------------------------------------------------------------- */

bool node__host_send(struct node_host *host,
                     uint64_t peer,
                     uint8_t kind,
                     const struct node_part *parts,
                     size_t count)
{
    fl_assert(peer != host->node->node_id);
    return node_transport_send(host->transport, peer, host->lane, kind, parts, count);
}

/* A message that another loop of this node must handle. */
struct passed_message {
    struct node_task task;
    struct node_host *host;
    uint64_t peer;
    uint8_t kind;
    size_t len;
    uint8_t body[];
};

static void deliver_passed(struct node_task *task)
{
    struct passed_message *passed = fl_container_of(task, struct passed_message, task);

    if (!passed->host->closing) {
        passed->host->now_ms = node_loop_now_ms(passed->host->loop);
        node__host_message(
            passed->host, passed->peer, passed->kind, fl_bytes(passed->body, passed->len));
    }
    free(passed);
}

void node_host_deliver(struct node_host *host, uint64_t peer, uint8_t kind, struct fl_bytes body)
{
    struct passed_message *passed = fl_xmalloc(sizeof(*passed) + body.len);

    passed->task.run = deliver_passed;
    passed->host = host;
    passed->peer = peer;
    passed->kind = kind;
    passed->len = body.len;
    if (body.len != 0) {
        memcpy(passed->body, body.data, body.len);
    }
    node_loop_post(host->loop, &passed->task);
}

void node__host_pass_on(struct node_host *host,
                        uint8_t loop,
                        uint64_t peer,
                        uint8_t kind,
                        struct fl_bytes body)
{
    if (loop < host->node->host_count) {
        node_host_deliver(host->node->hosts[loop], peer, kind, body);
    }
}

static void raft_message(struct node_host *host, uint64_t peer, struct fl_bytes body)
{
    struct fl_reader reader = fl_reader(body);
    struct raft_msg message;
    struct node_replica *replica;

    if (raft_msg_decode(&reader, &message) != FL_OK) {
        node__host_bad_message(host, peer, "raft");
        return;
    }
    if (node__host_is_elsewhere(host, message.group, peer, NODE_MESSAGE_RAFT, body)) {
        return;
    }
    replica = node__host_replica(host, message.group);
    if (replica != NULL) {
        node__replica_message(replica, peer, &reader, &message);
    }
    /* Else: the map that creates the group has not arrived here yet; the sender asks again. */
}

bool node__host_is_elsewhere(struct node_host *host,
                             uint64_t group_id,
                             uint64_t peer,
                             uint8_t kind,
                             struct fl_bytes body)
{
    struct node_host *home = node__host_of(host->node, group_id);

    if (home != host) {
        node_host_deliver(home, peer, kind, body);
    }
    return home != host;
}

void node__host_message(struct node_host *host, uint64_t peer, uint8_t kind, struct fl_bytes body)
{
    switch (kind) {
    case NODE_MESSAGE_RAFT:
        raft_message(host, peer, body);
        break;
    case NODE_MESSAGE_FORWARD:
        node__forward_request(host, peer, body);
        break;
    case NODE_MESSAGE_REPLY:
        node__forward_reply(host, peer, body);
        break;
    case NODE_MESSAGE_ORACLE:
        node__revision_message(host, peer, body);
        break;
    case NODE_MESSAGE_BEAT:
        node__beat_received(host, peer, body);
        break;
    case NODE_MESSAGE_SNAPSHOT:
        node__snapshot_piece(host, peer, body);
        break;
    case NODE_MESSAGE_SNAPSHOT_ACK:
        node__snapshot_acked(host, peer, body);
        break;
    default:
        node__host_bad_message(host, peer, "unknown");
        break;
    }
}

static void on_message(void *ctx, uint64_t peer, uint32_t lane, uint8_t kind, struct fl_bytes body)
{
    struct node_host *host = ctx;

    (void)lane;
    if (!host->closing) {
        host->now_ms = node_loop_now_ms(host->loop);
        node__host_message(host, peer, kind, body);
    }
}

static void on_up(void *ctx,
                  uint64_t peer,
                  uint32_t lane,
                  enum node_direction direction,
                  const struct node_hello *hello)
{
    struct node_host *host = ctx;

    host->now_ms = node_loop_now_ms(host->loop);
    if (lane == NODE_LANE_SYSTEM) {
        node__peer_up(host->node, peer, direction, hello);
    }
    if (direction == NODE_OUTGOING && lane == host->lane) {
        host->retry_parked = true;
    }
}

void node__host_peer_down(struct node_host *host, uint64_t peer)
{
    struct node_replica *replica;
    struct node_replica *next;

    HASH_ITER(hh, host->replicas, replica, next)
    {
        node__replica_peer_down(replica, peer);
    }
    node_oracle_client_peer_lost(&host->client, peer);
    node__forward_peer_down(host, peer);
}

static void
on_down(void *ctx, uint64_t peer, uint32_t lane, enum node_direction direction, const char *reason)
{
    struct node_host *host = ctx;

    host->now_ms = node_loop_now_ms(host->loop);
    fl_log(FL_LOG_INFO,
           "peer_connection_lost",
           "peer=%016" PRIx64 " lane=%u direction=%s reason=\"%s\"",
           peer,
           lane,
           direction == NODE_OUTGOING ? "out" : "in",
           reason);
    if (lane != host->lane) {
        node__snapshot_peer_down(host, peer);
        return;
    }
    node__host_peer_down(host, peer);
    if (lane == NODE_LANE_SYSTEM) {
        node__peer_down(host->node, peer, direction);
    }
}

static void on_unreachable(void *ctx, uint64_t peer, uint32_t lane)
{
    struct node_host *host = ctx;
    struct node_replica *replica;
    struct node_replica *next;

    if (lane != host->lane) {
        node__snapshot_peer_down(host, peer);
        return;
    }
    HASH_ITER(hh, host->replicas, replica, next)
    {
        uint64_t replica_id = node__replica_on(replica, peer);

        if (replica->role == RAFT_LEADER && replica_id != 0 &&
            raft_unreachable(replica->raft, host->now_ms, replica_id) == FL_OK) {
            node__host_dirty(replica);
        }
    }
}

static void on_refused(void *ctx, uint64_t peer, enum fl_status status, const char *sentence)
{
    struct node_host *host = ctx;

    node__refused(host->node, peer, status, sentence);
}

struct node_transport_hooks node_host_transport_hooks(struct node_host *host)
{
    return (struct node_transport_hooks){
        .ctx = host,
        .message = on_message,
        .up = on_up,
        .down = on_down,
        .unreachable = on_unreachable,
        .refused = on_refused,
    };
}

/* --- ops ------------------------------------------------------------------------------------ */

static void start_op(struct node_task *task)
{
    struct node_op *op = fl_container_of(task, struct node_op, task);

    op->host->now_ms = node_loop_now_ms(op->host->loop);
    node__op_start(op);
}

void node_host_post_op(struct node_op *op)
{
    op->task.run = start_op;
    node_loop_post(op->host->loop, &op->task);
}

/* --- turns ---------------------------------------------------------------------------------- */

static void due(struct node_host *host, struct node_timer *timer)
{
    if (timer == &host->upkeep_timer) {
        node__host_upkeep(host);
        node_wheel_set(&host->wheel, timer, host->now_ms + (host->draining ? DRAIN_MS : UPKEEP_MS));
    } else if (timer == &host->parked_timer) {
        host->retry_parked = true;
        node_wheel_set(&host->wheel, timer, host->now_ms + PARKED_RETRY_MS);
    } else if (timer == &host->beat_timer) {
        node_wheel_set(&host->wheel, timer, node__beat(host));
    } else if (timer == &host->client_timer) {
        node_oracle_client_tick(&host->client, host->now_ms);
    } else if (timer == &host->news_timer) {
        host->news = true; /* shown when this turn ends */
    } else {
        struct node_deadline *deadline = fl_container_of(timer, struct node_deadline, timer);

        deadline->run(deadline);
    }
}

static void turn(void *ctx, uint64_t now_ms)
{
    struct node_host *host = ctx;
    struct node_timer *timer;

    host->now_ms = now_ms;
    if (host->closing) {
        if (host->transport != NULL) {
            node_transport_flush(host->transport); /* last answers to other nodes */
        }
        node__host_check_quiet(host);
        return;
    }
    while ((timer = node_wheel_pop(&host->wheel, now_ms)) != NULL) {
        due(host, timer);
    }
    if (host->retry_parked) {
        host->retry_parked = false;
        node__revision_retry(host);
        node__forward_retry(host);
        node__host_unpark(host);
    }
    do {
        node__revision_turn(host);
        while (!fl_list_empty(&host->dirty)) {
            struct node_replica *replica =
                fl_container_of(host->dirty.next, struct node_replica, dirty);

            fl_list_remove(&replica->dirty);
            node__replica_turn(replica);
        }
        node__revision_turn(host);
    } while (!fl_list_empty(&host->dirty));
    if (host->news) {
        node__host_show_news(host);
    }
    node__host_submit_log(host);
    if (host->transport != NULL) {
        node_transport_flush(host->transport);
    }
}

static uint64_t idle(void *ctx)
{
    const struct node_host *host = ctx;

    return host->closing ? NODE_NEVER : node_wheel_next(&host->wheel);
}

struct node_loop_hooks node_host_loop_hooks(struct node_host *host)
{
    return (struct node_loop_hooks){.ctx = host, .turn = turn, .idle = idle};
}

/* --- checkpoints ---------------------------------------------------------------------------- */

struct checkpoint_news {
    struct node_task task;
    struct node_checkpoint checkpoint;
};

static void checkpointed(struct node_task *task)
{
    struct checkpoint_news *news = fl_container_of(task, struct checkpoint_news, task);
    struct node_host *host = news->checkpoint.host;
    struct node_replica *replica = node__host_replica(host, news->checkpoint.group_id);

    if (replica != NULL && news->checkpoint.index > replica->checkpoint) {
        replica->checkpoint = news->checkpoint.index;
        replica->durable_compact = news->checkpoint.compact_revision;
        node__replica_truncate(replica);
        node__host_publish_gc(host);
    }
    free(news);
}

void node__host_checkpointed(const struct node_checkpoint *checkpoints, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct checkpoint_news *news = fl_xmalloc(sizeof(*news));

        news->task.run = checkpointed;
        news->checkpoint = checkpoints[i];
        node_loop_post(checkpoints[i].host->loop, &news->task);
    }
}

/* --- life ----------------------------------------------------------------------------------- */

static uint32_t fit(void *user, raft_index lo, raft_index hi, uint64_t max_bytes, uint64_t *bytes)
{
    return node_log_cache_fit(((struct node_replica *)user)->cache, lo, hi, max_bytes, bytes);
}

static struct raft_env *create_env(const struct node_options *options)
{
    static const struct raft_ops ops = {.fit = fit};
    struct raft_config config;

    raft_config_default(&config);
    config.election_ticks = options->election_ms;
    config.heartbeat_ticks = options->heartbeat_ms;
    config.defer_ticks = DEFER_MS;
    return raft_env_create(&config, &ops);
}

struct node_host *node_host_create(struct node *node, unsigned index)
{
    struct node_host *host = fl_xcalloc(1, sizeof(*host));

    host->node = node;
    host->index = index;
    /* The system loop carries no bulk: its only group is small. */
    host->lane = index == 0 ? NODE_LANE_SYSTEM : NODE_LANE_RAFT + 2 * (index - 1);
    host->bulk_lane = index == 0 ? NODE_LANE_SYSTEM : host->lane + 1;
    host->now_ms = node_clock_ms();
    host->env = create_env(node->options);
    host->cache_pool = node_log_cache_pool_create(CACHE_BYTES_MAX);
    node_wheel_init(&host->wheel, host->now_ms);
    fl_list_init(&host->dirty);
    fl_list_init(&host->unfinished);
    fl_list_init(&host->ops);
    fl_list_init(&host->homeless);
    fl_list_init(&host->snapshots_waiting);
    host->next_seq = index;
    node_oracle_init(&host->oracle);
    node_oracle_client_init(&host->client, node->boot);
    fl_prng_seed(&host->prng, node->node_id ^ node->boot ^ (uint64_t)index << 32);
    node_timer_init(&host->client_timer);
    node_timer_init(&host->upkeep_timer);
    node_timer_init(&host->news_timer);
    node_timer_init(&host->parked_timer);
    node_timer_init(&host->beat_timer);
    node_wheel_set(&host->wheel, &host->upkeep_timer, host->now_ms + UPKEEP_MS);
    node_wheel_set(&host->wheel, &host->parked_timer, host->now_ms + PARKED_RETRY_MS);
    if (index == 0) {
        node_wheel_set(&host->wheel, &host->beat_timer, host->now_ms);
    }
    return host;
}

void node_host_set_loop(struct node_host *host,
                        struct node_loop *loop,
                        struct node_transport *transport)
{
    host->loop = loop;
    host->transport = transport;
}

void node_host_destroy(struct node_host *host)
{
    struct node_oracle_asker *asker;
    struct node_oracle_asker *next;

    HASH_ITER(hh, host->askers, asker, next)
    {
        HASH_DEL(host->askers, asker); /* NOLINT(clang-analyzer-unix.Malloc): uthash */
        free(asker);
    }
    node_oracle_close(&host->oracle);
    node_log_cache_pool_destroy(host->cache_pool);
    raft_env_destroy(host->env);
    placement_map_view_release(host->map);
    fl_writer_close(&host->scratch);
    fl_writer_close(&host->read_scratch);
    free(host->ents);
    free(host->payloads);
    free(host->parts);
    free(host);
}
