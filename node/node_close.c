/* Draining and closing a node, and the picture of it that others look at.
 *
 * Owner, lifetime and threads: as node.h says.
 *
 * Closing goes in steps, each waiting for all hosts: stop accepting peers; fail requests and wait
 * for what other threads hold; a last checkpoint, stop the apply threads; close replicas; stop the
 * loops; stop the workers; close the stores. */
#include "node/host_internal.h"
#include "node/node_internal.h"

#include "raftgroup/base/assert.h"

#include <time.h>

#define WATERMARK_MS 1000
#define POLL_MS      20

/* --- the view ------------------------------------------------------------------------------- */

void node__publish_part(struct node *node,
                        unsigned host_index,
                        struct node_view *part,
                        size_t requests)
{
    struct node_view *old;

    (void)pthread_mutex_lock(&node->shared.lock);
    old = node->shared.parts[host_index];
    node->shared.parts[host_index] = part;
    if (atomic_load_explicit(&node->draining, memory_order_relaxed)) {
        node->shared.requests[host_index] = requests;
    }
    (void)pthread_mutex_unlock(&node->shared.lock);
    if (old != NULL) {
        node_view_release(old);
    }
}

static char *copy_text(struct fl_bytes text)
{
    char *copy = fl_xmalloc(text.len + 1);

    if (text.len != 0) {
        memcpy(copy, text.data, text.len);
    }
    copy[text.len] = '\0';
    return copy;
}

static void add_members(struct node *node, struct node_view *view, struct placement_map_view *map)
{
    view->member_count = placement_node_list_count(map->nodes);
    view->members = fl_xcalloc(view->member_count + 1, sizeof(*view->members));
    for (size_t i = 0; i < view->member_count; i++) {
        const struct placement_node *from = placement_node_list_at(map->nodes, i);
        char locality[PLACEMENT_LOCALITY_TEXT_MAX];

        placement_locality_format(&from->locality, locality);
        view->members[i] = (struct node_member_view){
            .id = from->id,
            .name = copy_text(from->name),
            .peer_urls = copy_text(from->peer_urls),
            .client_urls = copy_text(from->client_urls),
            .locality = fl_xstrdup(locality),
            .alive = node__peer_alive(node->peers, from->id),
        };
    }
}

static void count_replicas(struct node_view *view)
{
    for (size_t m = 0; m < view->member_count; m++) {
        struct node_member_view *member = &view->members[m];

        for (size_t g = 0; g < view->group_count; g++) {
            const struct node_group_view *group = &view->groups[g];

            member->leaders += group->leader == member->id ? 1 : 0;
            for (uint32_t r = 0; r < group->replica_count; r++) {
                member->replicas += group->replica_nodes[r] == member->id ? 1 : 0;
            }
        }
    }
}

static struct fl_bytes copy_bytes(struct fl_bytes bytes)
{
    return bytes.len == 0 ? fl_bytes(NULL, 0)
                          : fl_bytes(fl_xmemdup(bytes.data, bytes.len), bytes.len);
}

static void copy_group(struct node_view *view, const struct node_group_view *group)
{
    struct node_group_view *to = &view->groups[view->group_count++];

    *to = *group;
    to->start = copy_bytes(group->start);
    to->end = copy_bytes(group->end);
    if (group->group_id == PLACEMENT_FIRST_RANGE_ID) {
        view->leader = group->leader;
    }
    view->ready = view->ready && group->leader != 0;
}

/* A range without a replica here, as the map knows it. */
static void add_remote_group(struct node_view *view, const struct shard_range *range)
{
    struct node_group_view group = {
        .group_id = range->group_id,
        .start = range->start,
        .end = range->end,
        .version = range->version,
        .replica_count = range->replica_count,
    };
    bool ready = view->ready;

    for (uint32_t i = 0; i < range->replica_count; i++) {
        group.replica_nodes[i] = range->replicas[i].node_id;
    }
    copy_group(view, &group);
    view->ready = ready;
}

static const struct node_group_view *find_group(struct node *node, uint64_t group_id)
{
    const struct node_view *part = node->shared.parts[node__host_of(node, group_id)->index];
    struct node_group_view key = {.group_id = group_id};

    if (part == NULL) {
        return NULL;
    }
    return bsearch(
        &key, part->groups, part->group_count, sizeof(*part->groups), node__group_view_compare);
}

/* Placement group first, then ranges in key order (view.h). The lock is held. */
static void add_groups(struct node *node, struct node_view *view, struct placement_map_view *map)
{
    size_t ranges = map->ranges != NULL ? placement_range_map_count(map->ranges) : 0;
    const struct node_group_view *group = find_group(node, PLACEMENT_GROUP_ID);

    view->groups = fl_xcalloc(ranges + 1, sizeof(*view->groups));
    view->ready = group != NULL;
    if (group != NULL) {
        copy_group(view, group);
    }
    for (size_t i = 0; i < ranges; i++) {
        const struct shard_range *range = placement_range_map_at(map->ranges, i);

        group = find_group(node, range->group_id);
        if (group != NULL) {
            copy_group(view, group);
        } else {
            view->ready = view->ready && shard_range_replica_on(range, node->node_id) == NULL;
            add_remote_group(view, range);
        }
    }
    view->ready = view->ready && map->bootstrapped;
}

static void add_parts(struct node *node, struct node_view *view, struct placement_map_view *map)
{
    add_members(node, view, map);
    add_groups(node, view, map);
    for (unsigned h = 0; h < node->host_count; h++) {
        const struct node_view *part = node->shared.parts[h];

        if (part != NULL && part->compact_revision > view->compact_revision) {
            view->compact_revision = part->compact_revision;
        }
    }
    count_replicas(view);
}

/* Under one lock from the first look at the parts to the end: of two threads that publish, the
 * later one has seen all that the earlier one saw. */
void node__publish_view(struct node *node)
{
    struct node_view *view = node__view_create();

    (void)pthread_mutex_lock(&node->shared.lock);
    view->cluster_id = node->cluster_id;
    view->node_id = node->node_id;
    view->revision = node_revision(node);
    view->data_bytes = node->shared.data_bytes;
    view->log_bytes = node->shared.log_bytes;
    view->draining = atomic_load_explicit(&node->draining, memory_order_relaxed);
    if (node->shared.map != NULL) {
        add_parts(node, view, node->shared.map);
    }
    node__view_slot_publish(&node->views, view);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

/* RocksDB answers these under locks of its own: not for the loops that carry requests. */
static void measure_stores(struct node *node)
{
    uint64_t data_bytes =
        shard_engine_disk_bytes(node->engine) + shard_engine_memtable_bytes(node->engine);
    struct node_log_stats log;

    node_log_store_stats(node->log_store, &log);
    (void)pthread_mutex_lock(&node->shared.lock);
    node->shared.data_bytes = data_bytes;
    node->shared.log_bytes = log.disk_bytes;
    (void)pthread_mutex_unlock(&node->shared.lock);
}

struct node_view *node_view_acquire(struct node *node)
{
    return node__view_slot_acquire(&node->views);
}

/* --- upkeep --------------------------------------------------------------------------------- */

void node__system_upkeep(struct node *node, uint64_t now_ms)
{
    bool posted = false;

    node__placement_upkeep(node);
    node_apply_upkeep(node->apply);
    measure_stores(node);
    node__publish_view(node);
    if (now_ms >= node->watermark_ms + WATERMARK_MS &&
        atomic_compare_exchange_strong_explicit(
            &node->watermark_posted, &posted, true, memory_order_acquire, memory_order_relaxed)) {
        node->watermark_ms = now_ms;
        node_worker_post(node->janitor, &node->watermark);
    }
}

/* --- draining ------------------------------------------------------------------------------- */

/* Still leads something it could hand over, or owes an answer to a client of its own. */
static bool has_business(struct node *node)
{
    struct node_view *view = node_view_acquire(node);
    bool leads = false;

    (void)pthread_mutex_lock(&node->shared.lock);
    for (unsigned i = 0; i < node->host_count; i++) {
        leads = leads || node->shared.requests[i] != 0;
    }
    (void)pthread_mutex_unlock(&node->shared.lock);

    for (size_t i = 0; i < view->group_count; i++) {
        leads = leads ||
                (view->groups[i].role == NODE_ROLE_LEADER && view->groups[i].replica_count > 1);
    }
    node_view_release(view);
    return leads;
}

/* Waits for news on the node's condition, at most POLL_MS. The lock is held. */
static void wait_a_little(struct node *node)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += POLL_MS * 1000000L;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&node->shared.changed, &node->shared.lock, &until);
}

void node_drain(struct node *node, uint64_t timeout_ms)
{
    uint64_t deadline = node_clock_ms() + timeout_ms;

    if (!atomic_exchange_explicit(&node->draining, true, memory_order_relaxed)) {
        for (unsigned i = 0; i < node->host_count; i++) {
            (void)pthread_mutex_lock(&node->shared.lock);
            node->shared.requests[i] = 1; /* until the loop says otherwise */
            (void)pthread_mutex_unlock(&node->shared.lock);
            node_host_drain(node->hosts[i]);
        }
    }
    while (has_business(node) && node_clock_ms() < deadline) {
        (void)pthread_mutex_lock(&node->shared.lock);
        wait_a_little(node);
        (void)pthread_mutex_unlock(&node->shared.lock);
    }
}

/* --- closing -------------------------------------------------------------------------------- */

static void report(struct node *node, unsigned *count)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    ++*count;
    (void)pthread_cond_broadcast(&node->shared.changed);
    (void)pthread_mutex_unlock(&node->shared.lock);
}

void node__host_quiet(struct node *node)
{
    report(node, &node->shared.quiet_hosts);
}

void node__host_closed(struct node *node)
{
    report(node, &node->shared.closed_hosts);
}

static void wait_for_hosts(struct node *node, const unsigned *count)
{
    (void)pthread_mutex_lock(&node->shared.lock);
    while (*count < node->host_count) {
        (void)pthread_cond_wait(&node->shared.changed, &node->shared.lock);
    }
    (void)pthread_mutex_unlock(&node->shared.lock);
}

static void listener_closed(void *ctx)
{
    struct node *node = ctx;

    for (unsigned i = 0; i < node->host_count; i++) {
        node_host_close(node->hosts[i]);
    }
}

static void close_listener(struct node_task *task)
{
    struct node *node = fl_container_of(task, struct node, close_task);

    if (node->listener != NULL) {
        node_listener_close(node->listener, listener_closed, node);
    } else {
        listener_closed(node);
    }
}

static void close_hosts(struct node *node)
{
    node->close_task.run = close_listener;
    node_loop_post(node->loops[0], &node->close_task);
    wait_for_hosts(node, &node->shared.quiet_hosts);
    node_apply_checkpoint(node->apply);
    node_apply_stop(node->apply);
    for (unsigned i = 0; i < node->host_count; i++) {
        node_host_release(node->hosts[i]);
    }
    wait_for_hosts(node, &node->shared.closed_hosts);
    for (unsigned i = 0; i < node->host_count; i++) {
        node_loop_stop(node->loops[i]);
        node_loop_join(node->loops[i]);
    }
}

static void close_workers(struct node *node)
{
    node_worker_stop(node->log_writer);
    node_worker_stop(node->janitor);
    node_pool_stop(node->read_pool);
    /* Only now: a thread that still ran might be about to wake a loop that had ended. */
    for (unsigned i = 0; i < node->host_count; i++) {
        node_loop_destroy(node->loops[i]);
        node_host_destroy(node->hosts[i]);
    }
    node_worker_destroy(node->log_writer);
    node_worker_destroy(node->janitor);
    node_pool_destroy(node->read_pool);
    node_apply_destroy(node->apply);
    node__peers_destroy(node->peers);
}

void node_close(struct node *node)
{
    if (node->apply != NULL) {
        for (unsigned i = 0; !node->started && i < node->host_count; i++) {
            node_loop_start(node->loops[i]);
        }
        close_hosts(node);
        close_workers(node);
    }
    for (unsigned i = 0; i < NODE_HOSTS_MAX; i++) {
        if (node->shared.parts[i] != NULL) {
            node_view_release(node->shared.parts[i]);
        }
    }
    node__view_slot_close(&node->views);
    placement_map_view_release(node->shared.map);
    shard_engine_close(node->engine);
    if (node->log_store != NULL) {
        node_log_store_persist_watermark(node->log_store);
        node_log_store_close(node->log_store);
    }
    node_log_report_close(&node->report);
    node_disk_guard_close(node->disk_guard);
    node_identity_close(node->identity);
    (void)pthread_cond_destroy(&node->shared.changed);
    (void)pthread_mutex_destroy(&node->shared.lock);
    free(node->peer_urls);
    free(node->client_urls);
    free(node);
}
