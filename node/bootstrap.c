/* Forming the cluster: the placement group of the seeds, its first entry, and this node's place.
 *
 * Owner, lifetime and threads: the system loop (node__placement_open: before it starts).
 *
 * Seeds agree by construction: cluster id and node ids are computed from the initial cluster, and a
 * handshake with another cluster id is refused. The leader of the placement group waits until every
 * seed has said hello, then writes all of their disks' uuids down in one BOOTSTRAP entry; from then
 * on an id belongs to its disk for good. */
#include "node/host_internal.h"

#include "node/why.h"
#include "placement/command.h"
#include "raftgroup/base/assert.h"

/* --- the group ------------------------------------------------------------------------------ */

static void seed_range(const struct node *node, struct shard_range *range)
{
    size_t count = 0;
    const struct node_identity_seed *seeds = node_identity_seeds(node->identity, &count);

    shard_range_init(range);
    range->group_id = PLACEMENT_GROUP_ID;
    range->version = 1;
    range->conf_version = 1;
    range->generation = 1;
    range->replica_count = (uint32_t)count;
    range->next_replica_id = count + 1;
    for (size_t i = 0; i < count; i++) {
        range->replicas[i] = (struct shard_replica){
            .node_id = seeds[i].node_id,
            .replica_id = i + 1,
            .role = SHARD_REPLICA_VOTER,
        };
    }
}

enum fl_status node__placement_open(struct node *node, char *why, size_t why_bytes)
{
    struct node_replica_init init;
    struct shard_range range;
    size_t count = 0;

    (void)node_identity_seeds(node->identity, &count);
    if (count > FL_REPLICAS_MAX) {
        return node_why(FL_INVALID,
                        why,
                        why_bytes,
                        "--initial-cluster names %zu nodes: at most %d can form a cluster",
                        count,
                        FL_REPLICAS_MAX);
    }
    seed_range(node, &range);
    init = (struct node_replica_init){
        .range = &range,
        .campaign = range.replicas[0].node_id == node->node_id,
    };
    if (node__replica_open(node->hosts[0], &init, why, why_bytes) == NULL) {
        return FL_CORRUPT;
    }
    return FL_OK;
}

/* --- the first entry ------------------------------------------------------------------------ */

static void log_outcome(struct node_op *op, const struct node_reply *reply)
{
    if (reply->status != FL_OK && reply->status != FL_EXISTS) {
        fl_log(FL_LOG_WARN,
               "placement_command_failed",
               "status=%s text=\"%s\"",
               fl_status_name(reply->status),
               fl_status_text(reply->status));
    }
    fl_buf_release(reply->result);
    op->host->node->placement_busy = false;
}

static void propose(struct node *node, struct fl_buf *command)
{
    struct node_op *op = node_op_create(node->hosts[0], NODE_OP_WRITE);

    node->placement_busy = true;
    op->finish = log_outcome;
    op->group_id = PLACEMENT_GROUP_ID;
    op->version = 1;
    op->command = command;
    node_host_post_op(op);
}

static void describe_self(const struct node *node, struct placement_node *self)
{
    char why[PLACEMENT_WHY_MAX];

    *self = (struct placement_node){
        .id = node->node_id,
        .name = fl_bytes_of_string(node_identity_name(node->identity)),
        .peer_urls = fl_bytes_of_string(node->peer_urls),
        .client_urls = fl_bytes_of_string(node->client_urls),
        .state = PLACEMENT_NODE_STARTED,
    };
    memcpy(self->uuid.bytes, node_identity_uuid(node->identity), NODE_UUID_BYTES);
    if (!placement_locality_parse(
            &self->locality, fl_bytes_of_string(node->options->locality), why, sizeof(why))) {
        fl_fatal("locality was checked at start: %s", why);
    }
}

static bool describe_seeds(struct node *node, struct placement_node *nodes, size_t *count)
{
    const struct node_identity_seed *seeds = node_identity_seeds(node->identity, count);

    for (size_t i = 0; i < *count; i++) {
        if (seeds[i].node_id == node->node_id) {
            describe_self(node, &nodes[i]);
            nodes[i].state = PLACEMENT_NODE_SEED;
            nodes[i].client_urls = fl_bytes(NULL, 0);
            continue;
        }
        nodes[i] = (struct placement_node){
            .id = seeds[i].node_id,
            .name = fl_bytes_of_string(seeds[i].name),
            .peer_urls = fl_bytes_of_string(seeds[i].peer_urls),
            .state = PLACEMENT_NODE_SEED,
        };
        if (!node__peer_describe(node->peers, seeds[i].node_id, &nodes[i])) {
            return false; /* it has not said hello yet */
        }
    }
    return true;
}

static void form_cluster(struct node *node)
{
    struct placement_node nodes[FL_REPLICAS_MAX];
    struct placement_splits splits = {NULL, 0, NULL};
    struct placement_bootstrap bootstrap = {.cluster_id = node->cluster_id, .nodes = nodes};
    struct fl_buf *command = NULL;
    bool even = node->options->split_key_count == 0;

    memset(nodes, 0, sizeof(nodes));
    if (!describe_seeds(node, nodes, &bootstrap.node_count)) {
        return;
    }
    if (even && placement_splits_even(node->options->initial_ranges, &splits) != FL_OK) {
        fl_fatal("initial ranges were checked at start");
    }
    bootstrap.split_keys = even ? splits.keys : node->options->split_keys;
    bootstrap.split_key_count = even ? splits.count : node->options->split_key_count;
    if (placement_command_bootstrap(&bootstrap, &command) != FL_OK) {
        fl_fatal("the initial cluster does not make a valid map");
    }
    placement_splits_close(&splits);
    fl_log(FL_LOG_INFO,
           "forming_cluster",
           "cluster=%016" PRIx64 " nodes=%zu ranges=%zu",
           node->cluster_id,
           bootstrap.node_count,
           bootstrap.split_key_count + 1);
    propose(node, command);
}

/* --- this node's own row -------------------------------------------------------------------- */

static bool registered(const struct node *node, const struct placement_map_view *map)
{
    const struct placement_node *row = placement_map_view_node(map, node->node_id);
    struct placement_node self;

    describe_self(node, &self);
    return row != NULL && row->state == PLACEMENT_NODE_STARTED &&
           fl_bytes_equal(row->client_urls, self.client_urls) &&
           fl_bytes_equal(row->peer_urls, self.peer_urls) &&
           placement_locality_equal(&row->locality, &self.locality);
}

void node__placement_upkeep(struct node *node)
{
    struct node_host *host = node->hosts[0];
    struct node_replica *replica = node__host_replica(host, PLACEMENT_GROUP_ID);
    struct placement_node self;
    struct fl_buf *command = NULL;

    if (node->placement_busy || host->draining || replica == NULL || replica->leader_node == 0) {
        return;
    }
    if (host->map == NULL || !host->map->bootstrapped) {
        if (replica->serving) {
            form_cluster(node);
        }
        return;
    }
    if (!registered(node, host->map)) {
        describe_self(node, &self);
        if (placement_command_node_update(&self, &command) != FL_OK) {
            fl_fatal("this node's own addresses are not valid for the registry");
        }
        propose(node, command);
    }
}
