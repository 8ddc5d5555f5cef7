/* Prometheus text (version 0.0.4): the registry of the floors below, the view, the door, the
 * process. The number of series does not grow with the number of groups (ecosystem rule: labels
 * with ids belong to /metrics/groups). */
#include "api/accept_guard.h"
#include "api/header.h"
#include "api/pages.h"
#include "api/status_map.h"
#include "api/text.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/metric.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORST_RANKS 10
#define PEERS_MAX   64 /* peers with a series of their own */
#define FINE_SCALE  1e-3
#define FINE_FROM   28 /* durations in nanoseconds: buckets from 2^14 ns, about 16 us */

static void family(struct fl_writer *w, const char *name, const char *type, const char *help)
{
    api_text(w, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void gauge(struct fl_writer *w, const char *name, const char *help, uint64_t value)
{
    family(w, name, "gauge", help);
    api_text(w, "%s %" PRIu64 "\n", name, value);
}

/* --- the registry --------------------------------------------------------------------------- */

struct registry_walk {
    struct fl_writer *w;
    const char *family; /* of the metric before */
};

/* Not every bucket is worth a series: counts show powers of four, durations powers of two. */
static bool bucket_is_shown(const struct fl_metric *m, unsigned i)
{
    return m->scale > FINE_SCALE ? i % 4 == 0 : i % 2 == 0 && i >= FINE_FROM;
}

static void histogram(struct fl_writer *w, const struct fl_metric *m)
{
    const char *labels = m->labels == NULL ? "" : m->labels;
    const char *comma = m->labels == NULL ? "" : ",";
    uint64_t total = 0;

    for (unsigned i = 0; i < FL_METRIC_BUCKETS; i++) {
        total += atomic_load_explicit(&m->buckets[i], memory_order_relaxed);
        if (bucket_is_shown(m, i)) {
            api_text(w,
                     "%s_bucket{%s%sle=\"%.9g\"} %" PRIu64 "\n",
                     m->name,
                     labels,
                     comma,
                     (double)fl_metric_bucket_bound(i) * m->scale,
                     total);
        }
    }
    total += atomic_load_explicit(&m->buckets[FL_METRIC_BUCKETS], memory_order_relaxed);
    api_text(w, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", m->name, labels, comma, total);
    api_text(w,
             m->labels == NULL ? "%s_sum%s %.9g\n" : "%s_sum{%s} %.9g\n",
             m->name,
             labels,
             (double)fl_metric_get(m) * m->scale);
    api_text(w,
             m->labels == NULL ? "%s_count%s %" PRIu64 "\n" : "%s_count{%s} %" PRIu64 "\n",
             m->name,
             labels,
             total);
}

static void registered(void *context, const struct fl_metric *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    struct registry_walk *walk = context;

    if (walk->family == NULL || strcmp(walk->family, m->name) != 0) {
        family(walk->w, m->name, types[m->kind], m->help);
        walk->family = m->name;
    }
    if (m->kind == FL_METRIC_HISTOGRAM) {
        histogram(walk->w, m);
        return;
    }
    api_text(walk->w,
             m->labels == NULL ? "%s%s %.17g\n" : "%s{%s} %.17g\n",
             m->name,
             m->labels == NULL ? "" : m->labels,
             (double)fl_metric_get(m) * m->scale);
}

/* --- the view ------------------------------------------------------------------------------- */

/* Sums over the groups with a replica here. */
struct totals {
    uint64_t by_role[NODE_ROLE_FROZEN + 1];
    uint64_t ranges;
    uint64_t leaderless;
    uint64_t quiesced;
    uint64_t log_bytes;
    uint64_t apply_lag_max;
};

static uint64_t apply_lag(const struct node_group_view *g)
{
    return g->commit_index > g->applied_index ? g->commit_index - g->applied_index : 0;
}

static struct totals sum_up(const struct node_view *view)
{
    struct totals t = {.ranges = 0};

    for (size_t i = 0; i < view->group_count; i++) {
        const struct node_group_view *g = &view->groups[i];

        t.ranges++;
        t.leaderless += g->leader == 0;
        if (g->replica_id != 0) {
            t.by_role[g->role]++;
            t.quiesced += g->quiesced;
            t.log_bytes += g->log_bytes;
            t.apply_lag_max = apply_lag(g) > t.apply_lag_max ? apply_lag(g) : t.apply_lag_max;
        }
    }
    return t;
}

static const char *role_name(enum node_role role)
{
    static const char *const names[] = {"follower", "candidate", "leader", "learner", "frozen"};

    return (size_t)role < sizeof names / sizeof names[0] ? names[role] : "unknown";
}

static uint64_t measure(const struct node_group_view *g, const char *by)
{
    return strcmp(by, "lag") == 0     ? g->lag_entries
           : strcmp(by, "apply") == 0 ? apply_lag(g)
                                      : g->log_bytes;
}

/* The `top` groups with most of `by`, most first; returns their number. */
static size_t
worst(const struct node_view *view, const char *by, size_t top, const struct node_group_view **out)
{
    size_t n = 0;

    for (size_t i = 0; i < view->group_count; i++) {
        const struct node_group_view *g = &view->groups[i];
        size_t at = n;

        if (g->replica_id == 0) {
            continue;
        }
        while (at > 0 && measure(out[at - 1], by) < measure(g, by)) {
            at--;
        }
        if (at >= top) {
            continue;
        }
        n += n < top;
        memmove(&out[at + 1], &out[at], (n - 1 - at) * sizeof(const struct node_group_view *));
        out[at] = g;
    }
    return n;
}

static void lag_of_worst(struct fl_writer *w, const struct node_view *view)
{
    const struct node_group_view *list[WORST_RANKS];
    size_t n = worst(view, "lag", WORST_RANKS, list);

    family(w,
           "flotilla_raft_log_lag_entries_worst",
           "gauge",
           "Entries the slowest voter is behind, in the groups led here where it is furthest; "
           "those of the last 20 ms are usual while a group is written to.");
    for (size_t i = 0; i < WORST_RANKS; i++) {
        api_text(w,
                 "flotilla_raft_log_lag_entries_worst{rank=\"%zu\"} %" PRIu64 "\n",
                 i + 1,
                 i < n ? list[i]->lag_entries : 0);
    }
    family(w,
           "flotilla_raft_log_lag_group_worst",
           "gauge",
           "Group of the same rank in flotilla_raft_log_lag_entries_worst; 0: none is behind.");
    for (size_t i = 0; i < WORST_RANKS; i++) {
        api_text(w,
                 "flotilla_raft_log_lag_group_worst{rank=\"%zu\"} %" PRIu64 "\n",
                 i + 1,
                 i < n && list[i]->lag_entries > 0 ? list[i]->group_id : 0);
    }
}

/* How many groups led here lag by more than each step. */
static void lag_distribution(struct fl_writer *w, const struct node_view *view)
{
    static const uint64_t steps[] = {0, 10, 100, 1000, 10000, 100000};

    family(w,
           "flotilla_groups_lagging",
           "gauge",
           "Groups led here whose slowest voter is more than this many entries behind.");
    for (size_t s = 0; s < sizeof steps / sizeof steps[0]; s++) {
        uint64_t n = 0;

        for (size_t i = 0; i < view->group_count; i++) {
            n += view->groups[i].lag_entries > steps[s];
        }
        api_text(
            w, "flotilla_groups_lagging{more_than=\"%" PRIu64 "\"} %" PRIu64 "\n", steps[s], n);
    }
}

static void peers(struct fl_writer *w, const struct node_view *view)
{
    family(w, "flotilla_node_alive", "gauge", "Has this member been heard from lately?");
    for (size_t i = 0; i < view->member_count && i < PEERS_MAX; i++) {
        api_text(w, "flotilla_node_alive{node=");
        api_text_json(w, fl_bytes_of_string(view->members[i].name));
        api_text(w, "} %d\n", view->members[i].alive);
    }
}

static void of_view(struct fl_writer *w, const struct node_view *view)
{
    struct totals t = sum_up(view);

    family(w, "flotilla_build_info", "gauge", "Constant 1; the version is a label.");
    api_text(w, "flotilla_build_info{version=\"%s\"} 1\n", NODE_VERSION);
    gauge(w,
          "flotilla_ready",
          "Is every local replica open and has every range a leader?",
          view->ready);
    gauge(w, "flotilla_draining", "Is this node handing its leaderships over?", view->draining);
    gauge(w, "flotilla_has_leader", "Has the first range a known leader?", view->leader != 0);
    gauge(w,
          "flotilla_is_leader",
          "Does this node lead the first range?",
          view->leader != 0 && view->leader == view->node_id);
    family(w, "flotilla_groups", "gauge", "Replicas on this node by their role.");
    for (unsigned role = 0; role <= NODE_ROLE_FROZEN; role++) {
        api_text(w,
                 "flotilla_groups{role=\"%s\"} %" PRIu64 "\n",
                 role_name((enum node_role)role),
                 t.by_role[role]);
    }
    gauge(w, "flotilla_groups_quiesced", "Replicas on this node that are idle.", t.quiesced);
    gauge(w, "flotilla_groups_known", "Groups in this node's range map.", t.ranges);
    gauge(w, "flotilla_groups_without_leader", "Groups without a leader known here.", t.leaderless);
    lag_of_worst(w, view);
    lag_distribution(w, view);
    gauge(w,
          "flotilla_apply_lag_entries_max",
          "Most entries committed but not applied here.",
          t.apply_lag_max);
    gauge(
        w, "flotilla_raft_log_bytes", "Payload bytes kept in the logs of this node.", t.log_bytes);
    gauge(w, "flotilla_log_store_bytes", "Size of the log store on disk.", view->log_bytes);
    gauge(w, "flotilla_data_store_bytes", "Size of the data engine.", view->data_bytes);
    gauge(w, "flotilla_current_revision", "Highest revision seen.", view->revision);
    gauge(w, "flotilla_compacted_revision", "Reads below it are refused.", view->compact_revision);
    gauge(w, "flotilla_nodes", "Members of the cluster.", view->member_count);
    peers(w, view);
}

/* --- the door ------------------------------------------------------------------------------- */

/* go-grpc-prometheus' name and labels, so that etcd's dashboards find them. */
static void handled(void *context, const struct api_method_counts *counts)
{
    struct fl_writer *w = context;
    const char *path = counts->path == NULL ? "/unknown/unknown" : counts->path;
    const char *slash = strrchr(path, '/');

    for (size_t code = 0; code < API_CODES; code++) {
        if (counts->handled[code] != 0) {
            api_text(w,
                     "grpc_server_handled_total{grpc_type=\"unary\",grpc_service=\"%.*s\","
                     "grpc_method=\"%s\",grpc_code=\"%s\"} %" PRIu64 "\n",
                     (int)(slash - path - 1),
                     path + 1,
                     slash + 1,
                     api_code_name((grpc_status_code)code),
                     counts->handled[code]);
        }
    }
}

static void of_door(struct fl_writer *w, const struct api_server *server)
{
    uint64_t calls;
    uint64_t bytes;

    api_server_in_flight(server, &calls, &bytes);
    gauge(w, "flotilla_requests_in_flight", "Client requests being served.", calls);
    gauge(w, "flotilla_request_bytes_in_flight", "Bytes of the requests being served.", bytes);
    family(w,
           "grpc_server_handled_total",
           "counter",
           "Calls completed by the server, by method and gRPC code.");
    api_server_walk_counts(server, handled, w);
    family(w,
           "flotilla_connections_refused_total",
           "counter",
           "Connections closed at once for want of file descriptors.");
    api_text(w, "flotilla_connections_refused_total %" PRIu64 "\n", api_accept_guard_refused());
}

/* --- the process ---------------------------------------------------------------------------- */

static uint64_t resident_bytes(void)
{
    char line[128] = "";
    char *end;
    FILE *file = fopen("/proc/self/statm", "re");
    unsigned long pages = 0;

    if (file != NULL) {
        if (fgets(line, sizeof line, file) != NULL) {
            (void)strtoul(line, &end, 10);
            pages = strtoul(end, NULL, 10);
        }
        (void)fclose(file);
    }
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t open_descriptors(void)
{
    uint64_t n = 0;
    DIR *dir = opendir("/proc/self/fd");

    if (dir != NULL) {
        while (readdir(dir) != NULL) {
            n++;
        }
        (void)closedir(dir);
    }
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void of_process(struct fl_writer *w)
{
    struct rusage usage;
    struct rlimit files;

    (void)getrusage(RUSAGE_SELF, &usage);
    (void)getrlimit(RLIMIT_NOFILE, &files);
    family(w, "process_cpu_seconds_total", "counter", "CPU time of this process.");
    api_text(
        w, "process_cpu_seconds_total %.6f\n", seconds(usage.ru_utime) + seconds(usage.ru_stime));
    gauge(w, "process_resident_memory_bytes", "Memory in use.", resident_bytes());
    gauge(w, "process_open_fds", "File descriptors in use.", open_descriptors());
    gauge(w, "process_max_fds", "File descriptors allowed.", (uint64_t)files.rlim_cur);
}

/* --- pages ---------------------------------------------------------------------------------- */

void api_metrics_write(const struct api_site *site, struct fl_writer *w)
{
    struct registry_walk walk = {.w = w};
    struct node_view *view = node_view_acquire(site->node);

    of_view(w, view);
    node_view_release(view);
    fl_metric_walk(registered, &walk);
    if (site->server != NULL) {
        of_door(w, site->server);
    }
    of_process(w);
}

/* One family over the chosen groups. */
static void group_family(struct fl_writer *w,
                         const char *name,
                         const char *help,
                         const struct node_group_view **list,
                         size_t n,
                         uint64_t (*value)(const struct node_group_view *g))
{
    family(w, name, "gauge", help);
    for (size_t i = 0; i < n; i++) {
        api_text(
            w, "%s{group=\"%" PRIu64 "\"} %" PRIu64 "\n", name, list[i]->group_id, value(list[i]));
    }
}

static uint64_t value_of_lag(const struct node_group_view *g)
{
    return g->lag_entries;
}

static uint64_t value_of_log_bytes(const struct node_group_view *g)
{
    return g->log_bytes;
}

static uint64_t value_of_term(const struct node_group_view *g)
{
    return g->term;
}

static uint64_t value_of_commit(const struct node_group_view *g)
{
    return g->commit_index;
}

static uint64_t value_of_applied(const struct node_group_view *g)
{
    return g->applied_index;
}

void api_metrics_groups_write(const struct node_view *view,
                              size_t top,
                              const char *by,
                              struct fl_writer *w)
{
    const struct node_group_view **list =
        fl_xcalloc(top + 1, sizeof(const struct node_group_view *));
    size_t n = worst(view, by, top, list);

    /* Node ids need more bits than a sample has: they are labels. */
    family(w, "flotilla_group_info", "gauge", "Constant 1; role and leader of a group.");
    for (size_t i = 0; i < n; i++) {
        api_text(w,
                 "flotilla_group_info{group=\"%" PRIu64 "\",role=\"%s\",leader=\"%" PRIx64
                 "\"} 1\n",
                 list[i]->group_id,
                 role_name(list[i]->role),
                 list[i]->leader);
    }
    group_family(w,
                 "flotilla_group_lag_entries",
                 "Entries the slowest voter is behind.",
                 list,
                 n,
                 value_of_lag);
    group_family(w,
                 "flotilla_group_log_bytes",
                 "Payload bytes kept in the log.",
                 list,
                 n,
                 value_of_log_bytes);
    group_family(w, "flotilla_group_term", "Raft term.", list, n, value_of_term);
    group_family(w, "flotilla_group_commit_index", "Committed index.", list, n, value_of_commit);
    group_family(w, "flotilla_group_applied_index", "Applied index.", list, n, value_of_applied);
    free(list);
}
