/* The composition: stores, threads, loops and peers of one node, opened in order, closed in
 * reverse.
 *
 *     identity -> stores -> workers -> hosts -> loops, transports -> placement group -> listener
 *
 * Owner, lifetime and threads: as node.h says. */
#include "node/node_internal.h"

#include "node/host_internal.h"
#include "node/view_internal.h"
#include "node/why.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/limits.h"

#include <stdio.h>

/* --- shared state --------------------------------------------------------------------------- */

struct node_host *node__host_of(const struct node *node, uint64_t group_id)
{
    if (group_id == PLACEMENT_GROUP_ID) {
        return node->hosts[0];
    }
    return node->hosts[1 + group_id % (node->host_count - 1)];
}

void node__raise_revision(struct node *node, uint64_t revision)
{
    uint64_t seen = atomic_load_explicit(&node->revision, memory_order_relaxed);

    while (seen < revision &&
           !atomic_compare_exchange_weak_explicit(
               &node->revision, &seen, revision, memory_order_relaxed, memory_order_relaxed)) {
    }
}

uint64_t node_revision(const struct node *node)
{
    return atomic_load_explicit(&node->revision, memory_order_relaxed);
}

bool node__disk_full(struct node *node)
{
    if (node_disk_guard_check(node->disk_guard, node_clock_ms()) == FL_OK) {
        return false;
    }
    fl_metric_add(&node_metric_disk_refusals, 1);
    return true;
}

/* Who is told that it lost its memory must stop. Who does not understand each other may both be
 * right: then the one that has no cluster yet stops, and a member goes on without that peer. Else
 * one wrong node at the address of a peer could send a whole cluster home. */
static bool must_stop(struct node *node, enum fl_status status)
{
    switch ((int)status) {
    case FL_REFUSED:
    case FL_STALE:
        return true;
    case FL_FOREIGN_CLUSTER:
    case FL_NEWER_FORMAT:
        return !node->shared.member;
    default:
        return false; /* passing: it is dialed again */
    }
}

void node__refused(struct node *node, uint64_t peer, enum fl_status status, const char *sentence)
{
    fl_log(FL_LOG_ERROR,
           "refused_by_peer",
           "peer=%016" PRIx64 " status=%s reason=\"%s\"",
           peer,
           fl_status_name(status),
           sentence);
    (void)pthread_mutex_lock(&node->shared.lock);
    if (must_stop(node, status) && node->shared.refusal[0] == '\0') {
        (void)snprintf(node->shared.refusal, sizeof(node->shared.refusal), "%s", sentence);
    }
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

const char *node_wait(struct node *node)
{
    const char *refusal;

    (void)pthread_mutex_lock(&node->shared.lock);
    while (!node->shared.stop_waiting && node->shared.refusal[0] == '\0') {
        (void)pthread_cond_wait(&node->shared.changed, &node->shared.lock);
    }
    refusal = node->shared.refusal[0] != '\0' ? node->shared.refusal : NULL;
    (void)pthread_mutex_unlock(&node->shared.lock);
    return refusal;
}

void node_stop_waiting(struct node *node)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.stop_waiting = true;
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

struct placement_map_view *node__map_acquire(struct node *node)
{
    struct placement_map_view *map = NULL;

    (void)pthread_mutex_lock(&node->shared.lock);
    if (node->shared.map != NULL) {
        map = placement_map_view_acquire(node->shared.map);
    }
    (void)pthread_mutex_unlock(&node->shared.lock);
    return map;
}

void node__map_published(void *context, struct placement_map_view *map)
{
    struct node *node = context;
    struct placement_map_view *old;

    (void)pthread_mutex_lock(&node->shared.lock);
    old = node->shared.map;
    node->shared.map = placement_map_view_acquire(map);
    node->shared.member = node->shared.member || map->bootstrapped;
    (void)pthread_mutex_unlock(&node->shared.lock);
    placement_map_view_release(old);
    for (unsigned i = 0; i < node->host_count; i++) {
        node_host_map_changed(node->hosts[i], map);
    }
}

void node__publish_gc(struct node *node, unsigned host_index, uint64_t revision)
{
    uint64_t lowest = UINT64_MAX;

    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.gc_revisions[host_index] = revision;
    for (unsigned i = 1; i < node->host_count; i++) {
        if (node->shared.gc_revisions[i] < lowest) {
            lowest = node->shared.gc_revisions[i];
        }
    }
    (void)pthread_mutex_unlock(&node->shared.lock);
    if (lowest != UINT64_MAX) {
        shard_gc_publish(&node->gc, lowest);
    }
}

/* --- opening: stores ------------------------------------------------------------------------ */

static char *join_urls(const struct node_url_list *list)
{
    size_t len = 1;
    char *text;
    char *at;

    for (size_t i = 0; i < list->count; i++) {
        len += strlen(list->urls[i].text) + 1;
    }
    text = fl_xcalloc(len, 1);
    at = text;
    for (size_t i = 0; i < list->count; i++) {
        size_t n = strlen(list->urls[i].text);

        if (i != 0) {
            *at++ = ',';
        }
        memcpy(at, list->urls[i].text, n);
        at += n;
    }
    return text;
}

static enum fl_status open_identity(struct node *node, char *why, size_t why_bytes)
{
    const struct node_options *options = node->options;
    struct node_identity_seed *seeds = fl_xcalloc(options->seed_count, sizeof(*seeds));
    struct node_identity_options identity = {
        .data_dir = options->data_dir,
        .name = options->name,
        .token = options->cluster_token,
        .seeds = seeds,
        .seed_count = options->seed_count,
    };
    enum fl_status status;

    for (size_t i = 0; i < options->seed_count; i++) {
        seeds[i].name = options->seeds[i].name;
        seeds[i].peer_urls = join_urls(&options->seeds[i].peer_urls);
    }
    status = node_identity_open(&node->identity, &identity, why, why_bytes);
    for (size_t i = 0; i < options->seed_count; i++) {
        free((void *)(uintptr_t)seeds[i].peer_urls);
    }
    free(seeds);
    if (status == FL_OK) {
        node->cluster_id = node_identity_cluster(node->identity);
        node->node_id = node_identity_node(node->identity);
        node->boot = node_identity_boot(node->identity);
    }
    return status;
}

static enum fl_status open_stores(struct node *node, char *why, size_t why_bytes)
{
    const struct node_options *options = node->options;
    struct node_log_store_options log = {
        .path = node_identity_log_path(node->identity),
        .memtable_bytes = options->log_memtable_bytes,
        .uuid = node_identity_uuid(node->identity),
    };
    struct node_disk_guard_options guard = {
        .directory = options->data_dir,
        .floor_bytes = options->disk_reserve_bytes,
        .reserve_bytes = NODE_DISK_GUARD_RESERVE_BYTES,
    };
    struct shard_engine_options engine;

    FL_TRY(node_disk_guard_open(&node->disk_guard, &guard, why, why_bytes));
    FL_TRY(node_log_store_open(&node->log_store, &log, &node->report, why, why_bytes));
    /* More than the placement group, which is there before there is a cluster. */
    node->shared.member = node->report.group_count > 1;
    shard_engine_options_data(&engine, &node->gc);
    engine.path = node_identity_data_path(node->identity);
    engine.block_cache_bytes = options->cache_bytes;
    /* D9: the engine must not flush by itself before we do. */
    engine.memtable_bytes = 2 * options->memtable_bytes;
    return shard_engine_open(&node->engine, &engine, why, why_bytes);
}

static void persist_watermark(struct node_task *task)
{
    struct node *node = fl_container_of(task, struct node, watermark);

    node_log_store_persist_watermark(node->log_store);
    atomic_store_explicit(&node->watermark_posted, false, memory_order_release);
}

static void start_workers(struct node *node)
{
    struct node_worker_hooks hooks = {.ctx = node, .batch = node__log_write_batch};

    node->log_writer = node_worker_create("log-writer", &hooks);
    node->janitor = node_worker_create("janitor", NULL);
    node->read_pool = node_pool_create("read", node->options->read_threads);
    node->apply = node_apply_create(node, node->options->apply_threads);
    node->watermark.run = persist_watermark;
}

/* --- opening: loops ------------------------------------------------------------------------- */

static void fill_hello(const struct node *node, struct node_hello *hello)
{
    *hello = (struct node_hello){
        .version_min = NODE_PROTOCOL_MIN,
        .version_max = NODE_PROTOCOL_MAX,
        .cluster_id = node->cluster_id,
        .node_id = node->node_id,
        .boot = node->boot,
    };
    memcpy(hello->uuid, node_identity_uuid(node->identity), NODE_UUID_BYTES);
    memcpy(hello->starts, node_identity_starts(node->identity), sizeof(hello->starts));
    (void)snprintf(hello->name, sizeof(hello->name), "%s", node->options->name);
    (void)snprintf(hello->peer_urls, sizeof(hello->peer_urls), "%s", node->peer_urls);
    (void)snprintf(hello->client_urls, sizeof(hello->client_urls), "%s", node->client_urls);
    (void)snprintf(hello->locality, sizeof(hello->locality), "%s", node->options->locality);
}

/* Lanes of a loop: its own messages, and bulk for the groups of raft loops. */
static size_t lanes_of(const struct node_host *host, uint32_t lanes[2])
{
    lanes[0] = host->lane;
    lanes[1] = host->bulk_lane;
    return host->lane == host->bulk_lane ? 1 : 2;
}

static void create_loops(struct node *node)
{
    for (unsigned i = 0; i < node->host_count; i++) {
        char *name = node->loop_names[i];
        struct node_transport_options options = {.hooks = {.ctx = NULL}};
        struct node_loop_hooks hooks;
        uint32_t lanes[2];

        node->hosts[i] = node_host_create(node, i);
        hooks = node_host_loop_hooks(node->hosts[i]);
        (void)snprintf(name, sizeof(node->loop_names[i]), i == 0 ? "system" : "raft-%u", i);
        node->loops[i] = node_loop_create(name, &hooks);
        options.loop = node->loops[i];
        fill_hello(node, &options.self);
        options.lanes = lanes;
        options.lane_count = lanes_of(node->hosts[i], lanes);
        options.hooks = node_host_transport_hooks(node->hosts[i]);
        node->transports[i] = node_transport_create(&options);
        node_host_set_loop(node->hosts[i], node->loops[i], node->transports[i]);
    }
}

static enum fl_status add_seeds(struct node *node, char *why, size_t why_bytes)
{
    size_t count = 0;
    const struct node_identity_seed *seeds = node_identity_seeds(node->identity, &count);

    for (unsigned h = 0; h < node->host_count; h++) {
        for (size_t i = 0; i < count; i++) {
            if (seeds[i].node_id != node->node_id &&
                node_transport_peer_set(
                    node->transports[h], seeds[i].node_id, seeds[i].peer_urls) != FL_OK) {
                return node_why(FL_INVALID,
                                why,
                                why_bytes,
                                "peer URLs of %s cannot be used: %s",
                                seeds[i].name,
                                seeds[i].peer_urls);
            }
        }
    }
    return FL_OK;
}

static enum fl_status create_listener(struct node *node, char *why, size_t why_bytes)
{
    const struct node_url_list *list = &node->options->listen_peer_urls;
    struct node_transport *lanes[NODE_LANES_MAX] = {NULL};
    unsigned loops = node->host_count - 1; /* raft loops */
    struct node_listener_options options = {
        .loop = node->loops[0],
        .urls = list->urls,
        .url_count = list->count,
        .lanes = lanes,
        .lane_count = NODE_LANES_MAX,
        .ctx = node,
        .check = node__peer_check,
    };

    fl_assert(loops != 0);
    /* A peer with more loops than we have is served by ours in turn: hosts pass messages on. */
    lanes[NODE_LANE_SYSTEM] = node->transports[0];
    for (unsigned i = NODE_LANE_RAFT; i < NODE_LANES_MAX; i++) {
        lanes[i] = node->transports[1 + (i - NODE_LANE_RAFT) / 2 % loops];
    }
    fill_hello(node, &options.self);
    return node_listener_create(&node->listener, &options, why, why_bytes);
}

/* --- life ----------------------------------------------------------------------------------- */

enum fl_status
node_open(struct node **out, const struct node_options *options, char *why, size_t why_bytes)
{
    struct node *node = fl_xcalloc(1, sizeof(*node));
    enum fl_status status;

    node->options = options;
    (void)pthread_mutex_init(&node->shared.lock, NULL);
    (void)pthread_cond_init(&node->shared.changed, NULL);
    node__view_slot_init(&node->views);
    node->peer_urls = join_urls(&options->advertise_peer_urls);
    node->client_urls = join_urls(&options->advertise_client_urls);
    fl_assert(options->raft_loops <= NODE_RAFT_LOOPS_MAX); /* options.h */
    node->host_count = 1 + options->raft_loops;
    node__metrics_register();
    FL_TRY_OUT(open_identity(node, why, why_bytes));
    FL_TRY_OUT(open_stores(node, why, why_bytes));
    start_workers(node);
    node->peers = node__peers_create(node);
    create_loops(node);
    FL_TRY_OUT(add_seeds(node, why, why_bytes));
    FL_TRY_OUT(create_listener(node, why, why_bytes));
    FL_TRY_OUT(node__finish_intents(node, why, why_bytes));
    FL_TRY_OUT(node__placement_open(node, why, why_bytes));
    for (unsigned i = 0; i < node->host_count; i++) {
        node_loop_start(node->loops[i]);
    }
    node->started = true;
    *out = node;
    fl_log(FL_LOG_INFO,
           "node_opened",
           "name=\"%s\" node=%016" PRIx64 " cluster=%016" PRIx64 " boot=%u groups=%zu",
           options->name,
           node->node_id,
           node->cluster_id,
           node->boot,
           node->report.group_count);
out:
    if (status != FL_OK) {
        node_close(node);
    }
    return status;
}
