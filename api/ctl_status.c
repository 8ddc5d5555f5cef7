/* status, nodes, ranges: the cluster as its nodes see it. */
#include "api/ctl.h"
#include "api/proto/flotilla.pb-c.h"
#include "api/text.h"
#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODE_TIMEOUT_MS 1000 /* asking one node for its own status */

static const char *yes_no(int yes)
{
    return yes ? "yes" : "no";
}

static const char *true_false(int yes)
{
    return yes ? "true" : "false";
}

/* Text of up to `max` list entries, comma separated. */
static void join(struct fl_writer *w, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        api_text(w, "%s%s", i == 0 ? "" : ",", list[i]);
    }
}

static void json_list(struct fl_writer *w, const char *name, char *const *list, size_t count)
{
    api_text(w, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        api_text(w, i == 0 ? "" : ",");
        api_text_json(w, fl_bytes_of_string(list[i]));
    }
    api_text(w, "]");
}

static const Flotilla__V1__NodesResponse *ask_nodes(struct api_ctl *ctl)
{
    Flotilla__V1__NodesRequest request = FLOTILLA__V1__NODES_REQUEST__INIT;

    return api_ctl_call(ctl,
                        "/flotilla.v1.Admin/Nodes",
                        &request.base,
                        &flotilla__v1__nodes_response__descriptor,
                        true);
}

/* --- nodes ---------------------------------------------------------------------------------- */

/* The fields of a node that every node knows, without the closing brace. */
static void json_node(struct fl_writer *w, const Flotilla__V1__Node *node, uint32_t leaders)
{
    api_text(w, "{\"id\":\"%" PRIx64 "\",\"name\":", node->id);
    api_text_json(w, fl_bytes_of_string(node->name));
    api_text(w,
             ",\"alive\":%s,\"leaders\":%" PRIu32 ",\"replicas\":%" PRIu32 ",\"locality\":",
             true_false(node->alive),
             leaders,
             node->replicas);
    api_text_json(w, fl_bytes_of_string(node->locality));
    api_text(w, ",");
    json_list(w, "client_urls", node->client_urls, node->n_client_urls);
    api_text(w, ",");
    json_list(w, "peer_urls", node->peer_urls, node->n_peer_urls);
}

static void print_nodes_json(const Flotilla__V1__NodesResponse *reply)
{
    struct fl_writer w;

    fl_writer_init(&w);
    api_text(&w, "{\"cluster_id\":\"%" PRIx64 "\",\"nodes\":[", reply->cluster_id);
    for (size_t i = 0; i < reply->n_nodes; i++) {
        api_text(&w, i == 0 ? "" : ",");
        json_node(&w, reply->nodes[i], reply->nodes[i]->leaders);
        api_text(&w, "}");
    }
    api_text(&w, "]}\n");
    api_ctl_print(&w);
}

static void print_nodes_table(const Flotilla__V1__NodesResponse *reply)
{
    static const char *const titles[] = {
        "NAME", "ID", "ALIVE", "LEADERS", "REPLICAS", "LOCALITY", "CLIENT URLS", "PEER URLS"};
    struct api_table table;

    api_table_init(&table, titles, sizeof titles / sizeof titles[0]);
    for (size_t i = 0; i < reply->n_nodes; i++) {
        const Flotilla__V1__Node *node = reply->nodes[i];
        struct fl_writer clients;
        struct fl_writer peers;

        fl_writer_init(&clients);
        fl_writer_init(&peers);
        join(&clients, node->client_urls, node->n_client_urls);
        join(&peers, node->peer_urls, node->n_peer_urls);
        api_table_cell(&table, "%s", node->name);
        api_table_cell(&table, "%" PRIx64, node->id);
        api_table_cell(&table, "%s", yes_no(node->alive));
        api_table_cell(&table, "%" PRIu32, node->leaders);
        api_table_cell(&table, "%" PRIu32, node->replicas);
        api_table_cell(&table, "%s", node->locality[0] == '\0' ? "-" : node->locality);
        api_table_key(&table, fl_writer_bytes(&clients));
        api_table_key(&table, fl_writer_bytes(&peers));
        fl_writer_close(&clients);
        fl_writer_close(&peers);
    }
    api_table_print(&table);
}

static int nodes_run(struct api_ctl *ctl, int argc, char **argv)
{
    const Flotilla__V1__NodesResponse *reply;
    struct api_words words = {.argc = argc, .argv = argv};

    if (!api_ctl_parse(ctl, &api_ctl_nodes, NULL, 0, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count != 0) {
        return api_ctl_misuse(&api_ctl_nodes, "unexpected argument '%s'", words.list[0]);
    }
    if (!api_ctl_connect(ctl)) {
        return API_CTL_USAGE;
    }
    reply = ask_nodes(ctl);
    if (reply == NULL) {
        return API_CTL_FAILED;
    }
    if (ctl->json) {
        print_nodes_json(reply);
    } else {
        print_nodes_table(reply);
    }
    return API_CTL_OK;
}

/* --- status --------------------------------------------------------------------------------- */

/* What a node says about itself; `reachable` false: the rest is empty. */
struct own_status {
    bool reachable;
    bool ready;
    bool draining;
    uint32_t replicas;
    uint32_t leaders;
    uint64_t data_bytes;
    uint64_t log_bytes;
    uint64_t lag_entries_max;
    uint64_t revision;
    uint64_t compact_revision;
    uint64_t leader;
};

static bool ask_status(struct api_client *client, struct own_status *own)
{
    Flotilla__V1__StatusRequest request = FLOTILLA__V1__STATUS_REQUEST__INIT;
    const Flotilla__V1__StatusResponse *reply;
    struct api_call_result result;

    *own = (struct own_status){.reachable = false};
    if (!api_client_call(client,
                         "/flotilla.v1.Admin/Status",
                         &request.base,
                         &flotilla__v1__status_response__descriptor,
                         true,
                         &result)) {
        return false;
    }
    reply = result.message;
    *own = (struct own_status){
        .reachable = true,
        .ready = reply->ready != 0,
        .draining = reply->draining != 0,
        .replicas = reply->replicas,
        .leaders = reply->leaders,
        .data_bytes = reply->data_bytes,
        .log_bytes = reply->log_bytes,
        .lag_entries_max = reply->lag_entries_max,
        .revision = reply->revision,
        .compact_revision = reply->compact_revision,
        .leader = reply->leader,
    };
    return true;
}

/* Asks a node at its own client URLs; one that is down costs a second. */
static void ask_node(const Flotilla__V1__Node *node, struct own_status *own)
{
    struct api_client *client;
    struct fl_writer urls;
    char why[256];

    *own = (struct own_status){.reachable = false};
    if (!node->alive || node->n_client_urls == 0) {
        return;
    }
    fl_writer_init(&urls);
    join(&urls, node->client_urls, node->n_client_urls);
    fl_write_u8(&urls, '\0');
    client = api_client_create((const char *)urls.data, NODE_TIMEOUT_MS, why, sizeof why);
    if (client != NULL) {
        (void)ask_status(client, own);
        api_client_destroy(client);
    }
    fl_writer_close(&urls);
}

/* Ranges and how many of them have no leader, as the answering node sees it. */
struct range_counts {
    uint64_t ranges;
    uint64_t leaderless;
};

/* Walks over every group in pages; `visit` may be NULL. */
static bool walk_ranges(struct api_ctl *ctl,
                        void (*visit)(void *context, const Flotilla__V1__Range *range),
                        void *context)
{
    Flotilla__V1__RangesRequest request = FLOTILLA__V1__RANGES_REQUEST__INIT;
    const Flotilla__V1__RangesResponse *reply;

    do {
        reply = api_ctl_call(ctl,
                             "/flotilla.v1.Admin/Ranges",
                             &request.base,
                             &flotilla__v1__ranges_response__descriptor,
                             true);
        if (reply == NULL) {
            return false;
        }
        for (size_t i = 0; i < reply->n_ranges; i++) {
            visit(context, reply->ranges[i]);
            request.after_group = reply->ranges[i]->group_id;
        }
    } while (reply->more && reply->n_ranges > 0);
    return true;
}

static void count_range(void *context, const Flotilla__V1__Range *range)
{
    struct range_counts *counts = context;

    counts->ranges += range->group_id != 1;
    counts->leaderless += range->leader == 0;
}

static const char *name_of(const Flotilla__V1__NodesResponse *nodes, uint64_t id)
{
    for (size_t i = 0; i < nodes->n_nodes; i++) {
        if (nodes->nodes[i]->id == id) {
            return nodes->nodes[i]->name;
        }
    }
    return id == 0 ? "none" : "unknown";
}

static void print_status_json(const Flotilla__V1__NodesResponse *nodes,
                              const struct own_status *cluster,
                              const struct own_status *own,
                              const struct range_counts *counts)
{
    struct fl_writer w;

    fl_writer_init(&w);
    api_text(&w, "{\"cluster_id\":\"%" PRIx64 "\",\"answered_by\":", nodes->cluster_id);
    api_text_json(&w, fl_bytes_of_string(name_of(nodes, nodes->node_id)));
    api_text(&w, ",\"leader\":");
    api_text_json(&w, fl_bytes_of_string(name_of(nodes, cluster->leader)));
    api_text(&w,
             ",\"ready\":%s,\"revision\":%" PRIu64 ",\"compact_revision\":%" PRIu64
             ",\"ranges\":%" PRIu64 ",\"groups_without_leader\":%" PRIu64 ",\"nodes\":[",
             true_false(cluster->ready),
             cluster->revision,
             cluster->compact_revision,
             counts->ranges,
             counts->leaderless);
    for (size_t i = 0; i < nodes->n_nodes; i++) {
        uint32_t leaders = own[i].reachable ? own[i].leaders : nodes->nodes[i]->leaders;

        api_text(&w, i == 0 ? "" : ",");
        json_node(&w, nodes->nodes[i], leaders);
        api_text(&w,
                 ",\"reachable\":%s,\"ready\":%s,\"draining\":%s,\"data_bytes\":%" PRIu64
                 ",\"log_bytes\":%" PRIu64 ",\"lag_entries_max\":%" PRIu64 "}",
                 true_false(own[i].reachable),
                 true_false(own[i].ready),
                 true_false(own[i].draining),
                 own[i].data_bytes,
                 own[i].log_bytes,
                 own[i].lag_entries_max);
    }
    api_text(&w, "]}\n");
    api_ctl_print(&w);
}

static void cell_bytes(struct api_table *table, uint64_t bytes)
{
    const uint64_t kib = 1024;
    const uint64_t mib = 1024 * kib;

    if (bytes < 10 * kib) {
        api_table_cell(table, "%" PRIu64 " B", bytes);
    } else if (bytes < 10 * mib) {
        api_table_cell(table, "%" PRIu64 " KiB", bytes / kib);
    } else {
        api_table_cell(table, "%" PRIu64 " MiB", bytes / mib);
    }
}

static void
status_row(struct api_table *table, const Flotilla__V1__Node *node, const struct own_status *own)
{
    api_table_cell(table, "%s", node->name);
    api_table_cell(table,
                   "%s",
                   !node->alive      ? "down"
                   : !own->reachable ? "no answer"
                   : own->draining   ? "draining"
                   : own->ready      ? "ready"
                                     : "not ready");
    api_table_cell(table, "%" PRIu32, own->reachable ? own->leaders : node->leaders);
    api_table_cell(table, "%" PRIu32, own->reachable ? own->replicas : node->replicas);
    if (own->reachable) {
        api_table_cell(table, "%" PRIu64, own->lag_entries_max);
        cell_bytes(table, own->data_bytes);
        cell_bytes(table, own->log_bytes);
    } else {
        api_table_cell(table, "-");
        api_table_cell(table, "-");
        api_table_cell(table, "-");
    }
    api_table_cell(table, "%s", node->locality[0] == '\0' ? "-" : node->locality);
}

static void print_status_table(const Flotilla__V1__NodesResponse *nodes,
                               const struct own_status *cluster,
                               const struct own_status *own,
                               const struct range_counts *counts)
{
    static const char *const titles[] = {
        "NODE", "STATE", "LEADERS", "REPLICAS", "LAG", "DATA", "LOG", "LOCALITY"};
    struct api_table table;

    (void)printf("cluster %" PRIx64 ", answered by %s: %s\n",
                 nodes->cluster_id,
                 name_of(nodes, nodes->node_id),
                 cluster->ready ? "ready" : "NOT READY");
    (void)printf("%" PRIu64 " ranges, %" PRIu64 " groups without leader; first range led by %s\n",
                 counts->ranges,
                 counts->leaderless,
                 name_of(nodes, cluster->leader));
    (void)printf("revision %" PRIu64 ", compacted up to %" PRIu64 "\n\n",
                 cluster->revision,
                 cluster->compact_revision);
    api_table_init(&table, titles, sizeof titles / sizeof titles[0]);
    for (size_t i = 0; i < nodes->n_nodes; i++) {
        status_row(&table, nodes->nodes[i], &own[i]);
    }
    api_table_print(&table);
}

/* Copies what is needed of a reply beyond the next call: asks through clients of their own. */
static int status_of(struct api_ctl *ctl)
{
    struct range_counts counts = {.ranges = 0};
    struct own_status cluster;
    struct own_status *own;
    const Flotilla__V1__NodesResponse *nodes;

    if (!walk_ranges(ctl, count_range, &counts)) {
        return API_CTL_FAILED;
    }
    if (!ask_status(ctl->client, &cluster)) {
        (void)fprintf(stderr, "flotillactl: the node stopped answering\n");
        return API_CTL_FAILED;
    }
    nodes = ask_nodes(ctl); /* the last call of this client: it stays valid */
    if (nodes == NULL) {
        return API_CTL_FAILED;
    }
    own = fl_xcalloc(nodes->n_nodes, sizeof *own);
    for (size_t i = 0; i < nodes->n_nodes; i++) {
        ask_node(nodes->nodes[i], &own[i]);
    }
    if (ctl->json) {
        print_status_json(nodes, &cluster, own, &counts);
    } else {
        print_status_table(nodes, &cluster, own, &counts);
    }
    free(own);
    return API_CTL_OK;
}

static int status_run(struct api_ctl *ctl, int argc, char **argv)
{
    struct api_words words = {.argc = argc, .argv = argv};

    if (!api_ctl_parse(ctl, &api_ctl_status, NULL, 0, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count != 0) {
        return api_ctl_misuse(&api_ctl_status, "unexpected argument '%s'", words.list[0]);
    }
    return api_ctl_connect(ctl) ? status_of(ctl) : API_CTL_USAGE;
}

/* --- ranges --------------------------------------------------------------------------------- */

static const char *role_name(Flotilla__V1__Role role)
{
    static const char *const names[] = {
        "-", "follower", "candidate", "leader", "learner", "frozen"};

    return (size_t)role < sizeof names / sizeof names[0] ? names[role] : "?";
}

static void json_range(void *context, const Flotilla__V1__Range *range)
{
    struct fl_writer *w = context;

    api_text(w,
             "%s{\"group\":%" PRIu64 ",\"start\":\"",
             w->data[w->len - 1] == '[' ? "" : ",",
             range->group_id);
    api_text_base64(w, fl_bytes(range->start.data, range->start.len));
    api_text(w, "\",\"end\":\"");
    api_text_base64(w, fl_bytes(range->end.data, range->end.len));
    api_text(w,
             "\",\"version\":%" PRIu64 ",\"role\":\"%s\",\"leader\":\"%" PRIx64
             "\",\"term\":%" PRIu64 ",\"commit_index\":%" PRIu64 ",\"applied_index\":%" PRIu64
             ",\"last_index\":%" PRIu64 ",\"lag_entries\":%" PRIu64 ",\"log_bytes\":%" PRIu64
             ",\"quiesced\":%s,\"replicas\":[",
             range->version,
             role_name(range->role),
             range->leader,
             range->term,
             range->commit_index,
             range->applied_index,
             range->last_index,
             range->lag_entries,
             range->log_bytes,
             true_false(range->quiesced));
    for (size_t i = 0; i < range->n_replica_nodes; i++) {
        api_text(w, "%s\"%" PRIx64 "\"", i == 0 ? "" : ",", range->replica_nodes[i]);
    }
    api_text(w, "]}");
}

/* What the rows of the table need: a node is shown by its name. */
struct range_table {
    struct api_table table;
    uint64_t *ids;
    char **names;
    size_t count;
};

static void remember_nodes(struct range_table *t, const Flotilla__V1__NodesResponse *nodes)
{
    t->count = nodes->n_nodes;
    t->ids = fl_xcalloc(t->count, sizeof *t->ids);
    t->names = fl_xcalloc(t->count, sizeof(char *));
    for (size_t i = 0; i < t->count; i++) {
        t->ids[i] = nodes->nodes[i]->id;
        t->names[i] = fl_xstrdup(nodes->nodes[i]->name);
    }
}

static void forget_nodes(struct range_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        free(t->names[i]);
    }
    free(t->names);
    free(t->ids);
}

static void text_node(struct fl_writer *w, const struct range_table *t, uint64_t id)
{
    for (size_t i = 0; i < t->count; i++) {
        if (t->ids[i] == id) {
            api_text(w, "%s", t->names[i]);
            return;
        }
    }
    api_text(w, "%" PRIx64, id);
}

static void cells_interval(struct api_table *table, const Flotilla__V1__Range *range)
{
    if (range->group_id == 1) {
        api_table_cell(table, "(placement)");
        api_table_cell(table, "-");
        return;
    }
    api_table_key(table, fl_bytes(range->start.data, range->start.len));
    if (range->end.len == 0) {
        api_table_cell(table, "(end)");
    } else {
        api_table_key(table, fl_bytes(range->end.data, range->end.len));
    }
}

static void table_range(void *context, const Flotilla__V1__Range *range)
{
    struct range_table *t = context;
    struct fl_writer w;

    fl_writer_init(&w);
    api_table_cell(&t->table, "%" PRIu64, range->group_id);
    cells_interval(&t->table, range);
    if (range->leader == 0) {
        api_text(&w, "none");
    } else {
        text_node(&w, t, range->leader);
    }
    api_table_key(&t->table, fl_writer_bytes(&w));
    api_table_cell(&t->table, "%s", role_name(range->role));
    api_table_cell(&t->table, "%" PRIu64, range->term);
    api_table_cell(&t->table, "%" PRIu64, range->applied_index);
    api_table_cell(&t->table, "%" PRIu64, range->lag_entries);
    fl_writer_reset(&w);
    for (size_t i = 0; i < range->n_replica_nodes; i++) {
        api_text(&w, i == 0 ? "" : " ");
        text_node(&w, t, range->replica_nodes[i]);
    }
    api_table_key(&t->table, fl_writer_bytes(&w));
    fl_writer_close(&w);
}

static bool print_ranges_table(struct api_ctl *ctl)
{
    static const char *const titles[] = {
        "GROUP", "START", "END", "LEADER", "HERE", "TERM", "APPLIED", "LAG", "REPLICAS"};
    const Flotilla__V1__NodesResponse *nodes = ask_nodes(ctl);
    struct range_table t;
    bool good;

    if (nodes == NULL) {
        return false;
    }
    remember_nodes(&t, nodes);
    api_table_init(&t.table, titles, sizeof titles / sizeof titles[0]);
    good = walk_ranges(ctl, table_range, &t);
    api_table_print(&t.table);
    forget_nodes(&t);
    return good;
}

static bool print_ranges_json(struct api_ctl *ctl)
{
    struct fl_writer w;
    bool good;

    fl_writer_init(&w);
    api_text(&w, "{\"ranges\":[");
    good = walk_ranges(ctl, json_range, &w);
    api_text(&w, "]}\n");
    if (!good) { /* half a document helps nobody */
        fl_writer_reset(&w);
    }
    api_ctl_print(&w);
    return good;
}

static int ranges_run(struct api_ctl *ctl, int argc, char **argv)
{
    struct api_words words = {.argc = argc, .argv = argv};
    bool good;

    if (!api_ctl_parse(ctl, &api_ctl_ranges, NULL, 0, &words)) {
        return API_CTL_USAGE;
    }
    if (words.count != 0) {
        return api_ctl_misuse(&api_ctl_ranges, "unexpected argument '%s'", words.list[0]);
    }
    if (!api_ctl_connect(ctl)) {
        return API_CTL_USAGE;
    }
    good = ctl->json ? print_ranges_json(ctl) : print_ranges_table(ctl);
    return good ? API_CTL_OK : API_CTL_FAILED;
}

const struct api_command api_ctl_status = {
    .name = "status",
    .summary = "the cluster at a glance: readiness, leaders, lag, sizes",
    .help =
        "usage: flotillactl status [-o json]\n\n"
        "Asks one node for the members and each member for itself. LAG is the number of\n"
        "entries the furthest follower of a led group is behind.\n\n"
        "examples: flotillactl status\n"
        "          flotillactl status -o json | jq '.nodes | max_by(.leaders).name'\n",
    .run = status_run,
};

const struct api_command api_ctl_nodes = {
    .name = "nodes",
    .summary = "the nodes of the cluster and where they listen",
    .help =
        "usage: flotillactl nodes [-o json]\n\n"
        "examples: flotillactl nodes\n"
        "          flotillactl nodes -o json | jq -r '.nodes[].client_urls[]'\n",
    .run = nodes_run,
};

const struct api_command api_ctl_ranges = {
    .name = "ranges",
    .summary = "the ranges of the keyspace, their leaders and replicas",
    .help =
        "usage: flotillactl ranges [-o json]\n\n"
        "Role, term, index and lag are those of the replica on the node that answers; ask\n"
        "another node with --endpoints. With -o json keys are base64.\n\n"
        "examples: flotillactl ranges\n"
        "          flotillactl ranges --endpoints 10.0.0.2:2379\n",
    .run = ranges_run,
};
