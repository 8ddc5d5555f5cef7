/* The node's counters and histograms, in one list. */
#include "node/node_internal.h"

static _Atomic uint64_t log_write_seconds_buckets[FL_METRIC_BUCKETS + 1];
static _Atomic uint64_t log_write_groups_buckets[FL_METRIC_BUCKETS + 1];

struct fl_metric node_metric_log_write_seconds =
    FL_HISTOGRAM("flotilla_log_write_seconds",
                 "Time of one batch of the log store, its fsync included.",
                 NULL,
                 1e-9,
                 log_write_seconds_buckets);
struct fl_metric node_metric_log_write_groups =
    FL_HISTOGRAM("flotilla_log_write_groups",
                 "Groups that share one batch and one fsync of the log store.",
                 NULL,
                 1,
                 log_write_groups_buckets);
struct fl_metric node_metric_leader_changes = FL_COUNTER("flotilla_raft_leader_changes_total",
                                                         "Elections won by replicas of this node.",
                                                         NULL);
struct fl_metric node_metric_applied_entries =
    FL_COUNTER("flotilla_raft_entries_applied_total", "Log entries applied on this node.", NULL);
struct fl_metric node_metric_bad_messages =
    FL_COUNTER("flotilla_peer_bad_messages_total",
               "Messages of peers that could not be decoded.",
               NULL);
struct fl_metric node_metric_forwards = FL_COUNTER("flotilla_forwarded_requests_total",
                                                   "Requests passed on to the node of a leader.",
                                                   NULL);
struct fl_metric node_metric_snapshots_sent =
    FL_COUNTER("flotilla_snapshots_sent_total", "Snapshots sent whole.", NULL);
struct fl_metric node_metric_snapshots_installed =
    FL_COUNTER("flotilla_snapshots_installed_total", "Snapshots installed.", NULL);
struct fl_metric node_metric_disk_refusals =
    FL_COUNTER("flotilla_disk_refusals_total",
               "Writes refused because the disk is nearly full.",
               NULL);

void node__metrics_register(void)
{
    static struct fl_metric *const all[] = {
        &node_metric_log_write_seconds,
        &node_metric_log_write_groups,
        &node_metric_leader_changes,
        &node_metric_applied_entries,
        &node_metric_bad_messages,
        &node_metric_forwards,
        &node_metric_snapshots_sent,
        &node_metric_snapshots_installed,
        &node_metric_disk_refusals,
    };
    static bool registered;

    for (size_t i = 0; !registered && i < sizeof(all) / sizeof(all[0]); i++) {
        fl_metric_register(all[i]);
    }
    registered = true;
}
