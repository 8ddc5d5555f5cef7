/* What a node is told at start: flags, FLOTILLA_* variables and defaults as one checked struct.
 *
 * Owner: main(). Lifetime: from node_options_parse to node_options_close; node_open copies nothing,
 * so it must outlive the node. Threads: read-only after parsing; any. */
#ifndef NODE_OPTIONS_H
#define NODE_OPTIONS_H

#include "node/url.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/log.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define NODE_VERSION "0.1.0"

/* What we claim to be towards etcd's clients: they check a minimum only. */
#define NODE_ETCD_VERSION         "3.5.16"
#define NODE_ETCD_CLUSTER_VERSION "3.5.0"

/* Each raft loop has two lanes of its own (node_internal.h checks the sum). */
#define NODE_RAFT_LOOPS_MAX 31

/* One line of --initial-cluster: a name and every peer URL given for it. */
struct node_seed {
    char *name;
    struct node_url_list peer_urls;
};

enum node_cluster_state { NODE_CLUSTER_NEW, NODE_CLUSTER_EXISTING };

struct node_options {
    char *name;     /* "default" */
    char *data_dir; /* "<name>.flotilla" */
    struct node_url_list listen_client_urls;
    struct node_url_list advertise_client_urls;
    struct node_url_list listen_peer_urls;
    struct node_url_list advertise_peer_urls;
    struct node_url_list listen_metrics_urls;

    struct node_seed *seeds; /* --initial-cluster sorted by first peer URL, so alike on all seeds */
    size_t seed_count;       /* 1 with no flags: this node alone */
    char *cluster_token;
    enum node_cluster_state cluster_state;
    char *locality; /* dc=..,rack=..,host=.. as given; "" when absent */

    uint32_t initial_ranges;     /* cut evenly over printable first bytes */
    struct fl_bytes *split_keys; /* --initial-split-keys, strictly ascending; wins when not empty */
    size_t split_key_count;      /* then initial_ranges == split_key_count + 1 */

    uint32_t heartbeat_ms;
    uint32_t election_ms; /* >= 5 * heartbeat_ms */
    enum fl_log_level log_level;

    uint32_t raft_loops; /* the four thread counts are >= 1 */
    uint32_t apply_threads;
    uint32_t read_threads;
    uint32_t client_threads; /* gRPC completion queues, one poller each */

    uint64_t memtable_bytes;      /* data engine: flush when this much is unflushed */
    uint32_t flush_interval_ms;   /* ... or this old */
    uint64_t cache_bytes;         /* block cache of the data engine */
    uint64_t log_memtable_bytes;  /* log store */
    uint64_t log_keep_bytes;      /* per group: truncate beyond, if applied durably */
    uint64_t log_keep_entries;    /* per group */
    uint64_t log_laggard_bytes;   /* per group: kept for a live follower that is behind */
    uint64_t disk_reserve_bytes;  /* refuse writes when the file system has less left */
    uint64_t snapshot_rate_bytes; /* per second and node */
};

enum node_options_outcome {
    NODE_OPTIONS_RUN,     /* options are filled and valid */
    NODE_OPTIONS_HELP,    /* --help was given */
    NODE_OPTIONS_VERSION, /* --version was given */
    NODE_OPTIONS_BAD,     /* `why` says what is wrong and what to do */
};

/* Reads defaults, then `environment` (NULL-terminated "NAME=value" strings; only FLOTILLA_* are
 * looked at), then the flags of `argv`. Both -flag and --flag, "flag value" and "flag=value" are
 * understood, as etcd does. With any outcome `options` must be closed. */
enum node_options_outcome node_options_parse(struct node_options *options,
                                             int argc,
                                             char *const *argv,
                                             char *const *environment,
                                             char *why,
                                             size_t why_bytes);
/* Frees what parsing allocated. */
void node_options_close(struct node_options *options);

/* Writes the table of flags with defaults, for --help and the README. */
void node_options_print_help(FILE *out);

#endif
