/* What a loop does besides turns: maps, views, draining, compaction fan-out, closing.
 *
 * Owner, lifetime and threads: as host.h says. */
#include "node/host_internal.h"

#include "node/view_internal.h"
#include "raftgroup/base/assert.h"
#include "shard/command.h"

/* Between the last confirm of a draining oracle and its transfer. */
#define SETTLE_MS 50
/* A picture costs about a microsecond a group; in a storm of elections pictures may take about a
 * hundredth of the loop's time, so fewer groups than this are shown at once. */
#define NEWS_GROUPS_PER_MS 10

/* --- maps ----------------------------------------------------------------------------------- */

struct map_news {
    struct node_task task;
    struct node_host *host;
    struct placement_map_view *map;
};

static void open_ranges(struct node_host *host)
{
    const struct placement_range_map *ranges = host->map->ranges;
    char why[512];

    for (size_t i = 0; i < placement_range_map_count(ranges); i++) {
        const struct shard_range *range = placement_range_map_at(ranges, i);
        struct node_replica_init init = {
            .range = range,
            .campaign = range->replicas[0].node_id == host->node->node_id,
        };

        if (node__host_of(host->node, range->group_id) != host ||
            shard_range_replica_on(range, host->node->node_id) == NULL ||
            node__host_replica(host, range->group_id) != NULL) {
            continue;
        }
        if (node__replica_open(host, &init, why, sizeof(why)) == NULL) {
            fl_fatal("%s", why);
        }
    }
}

static void map_arrived(struct node_task *task)
{
    struct map_news *news = fl_container_of(task, struct map_news, task);
    struct node_host *host = news->host;

    if (host->closing || (host->map != NULL && host->map->version >= news->map->version)) {
        placement_map_view_release(news->map);
        free(news);
        return;
    }
    host->now_ms = node_loop_now_ms(host->loop);
    placement_map_view_release(host->map);
    host->map = news->map;
    free(news);
    host->news = true;
    if (host->map->bootstrapped && host->index != 0) {
        host->multi_range = placement_range_map_count(host->map->ranges) > 1;
        open_ranges(host);
    }
    for (size_t i = 0; i < placement_node_list_count(host->map->nodes); i++) {
        const struct placement_node *peer = placement_node_list_at(host->map->nodes, i);
        char urls[PLACEMENT_URLS_BYTES_MAX + 1];

        if (peer->id == host->node->node_id || peer->peer_urls.len >= sizeof(urls)) {
            continue;
        }
        memcpy(urls, peer->peer_urls.data, peer->peer_urls.len);
        urls[peer->peer_urls.len] = '\0';
        if (node_transport_peer_set(host->transport, peer->id, urls) != FL_OK) {
            fl_log(FL_LOG_WARN, "peer_urls_unusable", "peer=%016" PRIx64, peer->id);
        }
    }
    host->retry_parked = true;
}

void node_host_map_changed(struct node_host *host, struct placement_map_view *map)
{
    struct map_news *news = fl_xmalloc(sizeof(*news));

    news->task.run = map_arrived;
    news->host = host;
    news->map = placement_map_view_acquire(map);
    node_loop_post(host->loop, &news->task);
}

/* --- the oracle's whereabouts --------------------------------------------------------------- */

struct oracle_news {
    struct node_task task;
    struct node_host *host;
    uint64_t node_id;
    raft_term term;
};

static void oracle_moved(struct node_task *task)
{
    struct oracle_news *news = fl_container_of(task, struct oracle_news, task);

    node_oracle_client_set_oracle(&news->host->client, news->node_id, news->term);
    free(news);
}

void node__oracle_moved(struct node_host *host, uint64_t node_id, raft_term term)
{
    if (node_id == 0) {
        return; /* an election is on; whoever wins it will be told */
    }
    node_oracle_client_set_oracle(&host->client, node_id, term);
    for (unsigned i = 1; i < host->node->host_count; i++) {
        struct oracle_news *news;

        if (host->node->hosts[i] == host) {
            continue;
        }
        news = fl_xmalloc(sizeof(*news));
        *news = (struct oracle_news){
            .task = {.run = oracle_moved},
            .host = host->node->hosts[i],
            .node_id = node_id,
            .term = term,
        };
        node_loop_post(news->host->loop, &news->task);
    }
}

void node__first_range_applied(struct node_replica *first)
{
    struct node_host *host = first->host;

    if (first->compact_revision > host->known_compact) {
        host->known_compact = first->compact_revision;
        node_oracle_compacted(&host->oracle, first->compact_revision);
    }
}

/* --- compaction fan-out --------------------------------------------------------------------- */

static void fan_out_done(struct node_op *op, const struct node_reply *reply)
{
    struct node_replica *replica = node__host_replica(op->host, op->group_id);

    if (reply->status != FL_OK && replica != NULL) {
        replica->compact_asked = 0; /* asked anew with the next upkeep */
    }
    fl_buf_release(reply->result);
}

/* A range that missed a compaction (its coordinator died) is told by its own leader. */
static void catch_up_compaction(struct node_replica *replica)
{
    struct node_host *host = replica->host;
    struct node_op *op;

    if (!replica->serving || replica->group_id <= PLACEMENT_FIRST_RANGE_ID ||
        replica->compact_revision >= host->known_compact ||
        replica->compact_asked >= host->known_compact) {
        return;
    }
    replica->compact_asked = host->known_compact;
    op = node_op_create(host, NODE_OP_WRITE);
    op->finish = fan_out_done;
    op->group_id = replica->group_id;
    op->version = replica->range.version;
    op->command = shard_command_compact(host->known_compact, true);
    node__op_start(op);
}

/* --- views ---------------------------------------------------------------------------------- */

static enum node_role role_of(const struct raft_status *status)
{
    if (status->why != NULL) {
        return NODE_ROLE_FROZEN;
    }
    if (status->learner) {
        return NODE_ROLE_LEARNER;
    }
    switch ((enum raft_role)status->role) {
    case RAFT_LEADER:
        return NODE_ROLE_LEADER;
    case RAFT_CANDIDATE:
    case RAFT_PRECANDIDATE:
        return NODE_ROLE_CANDIDATE;
    case RAFT_FOLLOWER:
        break;
    }
    return NODE_ROLE_FOLLOWER;
}

static struct fl_bytes copy_bytes(struct fl_bytes bytes)
{
    return bytes.len == 0 ? bytes : fl_bytes(fl_xmemdup(bytes.data, bytes.len), bytes.len);
}

static uint64_t voter_lag(const struct node_replica *replica, raft_index last)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t count = raft_peers_get(replica->raft, peers, RAFT_MEMBERS_MAX);
    uint64_t lag = 0;

    for (uint32_t i = 0; i < count; i++) {
        if (!peers[i].learner && last - peers[i].match > lag) {
            lag = last - peers[i].match;
        }
    }
    return lag;
}

static void fill_group(const struct node_replica *replica, struct node_group_view *view)
{
    struct raft_status status;

    raft_status_get(replica->raft, &status);
    *view = (struct node_group_view){
        .group_id = replica->group_id,
        .start = copy_bytes(replica->range.start),
        .end = copy_bytes(replica->range.end),
        .version = replica->range.version,
        .replica_id = replica->replica_id,
        .role = role_of(&status),
        .leader = replica->leader_node,
        .term = status.term,
        .commit_index = status.commit,
        .applied_index = replica->applied,
        .last_index = status.last,
        .lag_entries = voter_lag(replica, status.last),
        .log_bytes = node_log_store_group_bytes(replica->host->node->log_store, replica->group_id),
        .quiesced = status.quiesced,
        .replica_count = replica->range.replica_count,
    };
    for (uint32_t i = 0; i < replica->range.replica_count; i++) {
        view->replica_nodes[i] = replica->range.replicas[i].node_id;
    }
}

/* Requests of this node's clients that a drain waits for. */
static size_t own_requests(const struct node_host *host)
{
    size_t count = host->spreads;

    FL_LIST_FOREACH (link, &host->ops) {
        count += fl_container_of(link, struct node_op, all)->origin_node == 0 ? 1 : 0;
    }
    return count;
}

static void publish_part(struct node_host *host)
{
    struct node_view *part = node__view_create();
    struct node_replica *replica;
    struct node_replica *next;

    part->groups = fl_xcalloc(HASH_COUNT(host->replicas) + 1, sizeof(*part->groups));
    HASH_ITER(hh, host->replicas, replica, next)
    {
        fill_group(replica, &part->groups[part->group_count++]);
        if (replica->compact_revision > part->compact_revision) {
            part->compact_revision = replica->compact_revision;
        }
    }
    qsort(part->groups, part->group_count, sizeof(*part->groups), node__group_view_compare);
    node__publish_part(host->node, host->index, part, host->draining ? own_requests(host) : 1);
    host->shown_ms = host->now_ms;
    if (host->news) {
        host->news = false;
        node__publish_view(host->node);
    }
}

void node__host_show_news(struct node_host *host)
{
    uint64_t next_ms = host->shown_ms + HASH_COUNT(host->replicas) / NEWS_GROUPS_PER_MS;

    if (host->now_ms >= next_ms) {
        publish_part(host);
    } else {
        host->news = false;
        node_wheel_set(&host->wheel, &host->news_timer, next_ms);
    }
}

void node__host_publish_gc(struct node_host *host)
{
    uint64_t lowest = UINT64_MAX;
    struct node_replica *replica;
    struct node_replica *next;

    if (host->map == NULL || !host->map->bootstrapped) {
        return; /* its groups are not open yet: they may hold versions that others have compacted */
    }
    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (replica->group_id != PLACEMENT_GROUP_ID && replica->durable_compact < lowest) {
            lowest = replica->durable_compact;
        }
    }
    node__publish_gc(host->node, host->index, lowest);
}

/* --- draining ------------------------------------------------------------------------------- */

/* The voter that is furthest along and answers; 0: none now. */
static raft_id heir_of(const struct node_replica *replica)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t count = raft_peers_get(replica->raft, peers, RAFT_MEMBERS_MAX);
    const struct raft_peer_status *best = NULL;

    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].id != replica->replica_id && !peers[i].learner && peers[i].active &&
            (best == NULL || peers[i].match > best->match)) {
            best = &peers[i];
        }
    }
    return best != NULL ? best->id : 0;
}

/* The oracle settles first, so that no write is left with an unknown outcome (ND-5). */
static bool has_settled(struct node_host *host)
{
    node_oracle_pause(&host->oracle, true);
    if (!node_oracle_settled(&host->oracle)) {
        host->settled_ms = 0;
        return false;
    }
    /* The last confirms are on their way: news of the next oracle must not overtake them. */
    if (host->settled_ms == 0) {
        host->settled_ms = host->now_ms;
    }
    return host->now_ms >= host->settled_ms + SETTLE_MS;
}

static void hand_over(struct node_replica *replica)
{
    struct node_host *host = replica->host;
    raft_id heir = heir_of(replica);
    struct raft_status status;

    raft_status_get(replica->raft, &status);
    if (status.transferee != 0) {
        return; /* one at a time: another target would begin anew */
    }
    if (heir == 0) {
        /* A group that sleeps hears of nobody: it wakes and asks. Nobody there: a paused oracle
         * would stop the whole keyspace. */
        if (raft_wake(replica->raft, host->now_ms) == FL_OK) {
            node__host_dirty(replica);
        }
        if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
            node_oracle_pause(&host->oracle, false);
            host->settled_ms = 0;
        }
        return;
    }
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID && host->multi_range && !has_settled(host)) {
        return;
    }
    if (raft_transfer(replica->raft, host->now_ms, heir) == FL_OK) {
        node__host_dirty(replica);
    }
}

static void drain_some(struct node_host *host)
{
    struct node_replica *replica;
    struct node_replica *next;

    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (replica->role == RAFT_LEADER) {
            hand_over(replica);
        }
    }
}

static void start_draining(struct node_task *task)
{
    struct node_host *host = fl_container_of(task, struct node_host, drain_task);

    host->now_ms = node_loop_now_ms(host->loop);
    host->draining = true;
    host->news = true;
    node_wheel_set(&host->wheel, &host->upkeep_timer, host->now_ms);
}

void node_host_drain(struct node_host *host)
{
    host->drain_task.run = start_draining;
    node_loop_post(host->loop, &host->drain_task);
}

/* --- upkeep --------------------------------------------------------------------------------- */

void node__host_upkeep(struct node_host *host)
{
    struct node_replica *replica;
    struct node_replica *next;

    if (host->closing) {
        return;
    }
    if (host->draining) {
        drain_some(host);
    }
    HASH_ITER(hh, host->replicas, replica, next)
    {
        if (!host->draining) {
            catch_up_compaction(replica);
        }
        node__replica_truncate(replica); /* a follower that held it back may be gone, or complete */
    }
    node__host_publish_gc(host); /* also of a loop that has no group */
    publish_part(host);
}

/* --- closing -------------------------------------------------------------------------------- */

static void start_closing(struct node_task *task)
{
    struct node_host *host = fl_container_of(task, struct node_host, close_task);

    host->now_ms = node_loop_now_ms(host->loop);
    host->closing = true;
    node__snapshot_close(host);
    FL_LIST_FOREACH_SAFE (link, &host->ops) {
        struct node_op *op = fl_container_of(link, struct node_op, all);

        if (op->state == NODE_OP_APPLYING || op->state == NODE_OP_READING) {
            continue; /* other threads have them; they come back */
        }
        node__op_fail(op, FL_SHUTDOWN);
    }
}

void node_host_close(struct node_host *host)
{
    host->close_task.run = start_closing;
    node_loop_post(host->loop, &host->close_task);
}

void node__host_check_quiet(struct node_host *host)
{
    if (host->closing && !host->quiet && host->outside == 0 && host->op_count == 0 &&
        host->spreads == 0) {
        host->quiet = true;
        node__host_quiet(host->node);
    }
}

static void transport_closed(void *ctx)
{
    struct node_host *host = ctx;

    node__host_closed(host->node);
}

static void release(struct node_task *task)
{
    struct node_host *host = fl_container_of(task, struct node_host, close_task);
    struct node_replica *replica;
    struct node_replica *next;

    fl_assert(host->quiet);
    HASH_ITER(hh, host->replicas, replica, next)
    {
        node__replica_close(replica);
    }
    node_transport_close(host->transport, transport_closed, host);
    host->transport = NULL;
}

void node_host_release(struct node_host *host)
{
    host->close_task.run = release;
    node_loop_post(host->loop, &host->close_task);
}
