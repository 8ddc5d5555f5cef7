/* Private to the node: what its threads share.
 *
 * Owner: node.c. Lifetime: node_open to node_close; the pointers never change in between.
 * Threads: as each field says. */
#ifndef NODE_NODE_INTERNAL_H
#define NODE_NODE_INTERNAL_H

#include "node/apply.h"
#include "node/disk_guard.h"
#include "node/host.h"
#include "node/identity.h"
#include "node/log_store.h"
#include "node/node.h"
#include "node/view_internal.h"
#include "node/worker.h"
#include "placement/map_view.h"
#include "placement/placement.h"
#include "raftgroup/base/metric.h"
#include "shard/engine.h"
#include "shard/shard.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

/* The system loop and as many raft loops as there are pairs of lanes. */
#define NODE_HOSTS_MAX (1 + (NODE_LANES_MAX - NODE_LANE_RAFT) / 2)
static_assert(NODE_RAFT_LOOPS_MAX == NODE_HOSTS_MAX - 1, "every raft loop has lanes of its own");

/* What became durable by one flush of the data engine. */
struct node_checkpoint {
    struct node_host *host;
    uint64_t group_id;
    raft_index index;
    uint64_t compact_revision;
};

struct node_peers; /* heartbeat.c: liveness, system loop */

struct node {
    const struct node_options *options;
    struct node_identity *identity;
    uint64_t cluster_id;
    uint64_t node_id;
    uint32_t boot;
    struct shard_engine *engine;
    struct shard_gc gc;
    struct node_log_store *log_store;
    struct node_log_report report; /* groups found at start; emptied as they are opened */
    struct node_disk_guard *disk_guard;

    struct node_worker *log_writer;
    struct node_worker *janitor; /* watermark and other slow upkeep */
    struct node_pool *read_pool;
    struct node_apply *apply;
    struct node_host *hosts[NODE_HOSTS_MAX]; /* 0: system loop */
    unsigned host_count;
    struct node_loop *loops[NODE_HOSTS_MAX];
    char loop_names[NODE_HOSTS_MAX][16];
    struct node_transport *transports[NODE_HOSTS_MAX];
    struct node_listener *listener;
    struct placement *placement; /* system loop and its apply thread */
    struct node_peers *peers;    /* system loop */
    struct node_task watermark;  /* janitor */
    atomic_bool watermark_posted;
    uint64_t watermark_ms; /* system loop */
    bool placement_busy;   /* system loop: a command of this node is under way */
    char *peer_urls;       /* advertised, comma separated */
    char *client_urls;

    _Atomic uint64_t revision; /* highest seen; relaxed: a number that only grows */
    /* node_witness_term of the first range's replica; 0: none. Its loop stores, every loop loads:
     * sequentially consistent, so that no vote is out before all can see its term (OR-13). */
    _Atomic uint64_t witness_term;
    atomic_bool draining;
    bool started; /* loops run; the opener's thread */

    struct node_view_slot views; /* the merged view; any thread */
    struct node_task close_task; /* system loop */

    struct { /* any thread */
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct placement_map_view *map;          /* newest published; NULL before the first */
        struct node_view *parts[NODE_HOSTS_MAX]; /* newest picture of each loop's groups */
        uint64_t data_bytes;                     /* of the stores, as of the last beat */
        uint64_t log_bytes;
        uint64_t gc_revisions[NODE_HOSTS_MAX];
        size_t requests[NODE_HOSTS_MAX]; /* draining: still to be answered */
        unsigned quiet_hosts;
        unsigned closed_hosts;
        bool stop_waiting;
        bool member;       /* of a cluster that has formed, as far as this node knows */
        char refusal[512]; /* "" or why the cluster refuses this node */
    } shared;
};

/* --- metrics (metrics.c) --- */
extern struct fl_metric node_metric_log_write_seconds;
extern struct fl_metric node_metric_log_write_groups;
extern struct fl_metric node_metric_leader_changes;
extern struct fl_metric node_metric_applied_entries;
extern struct fl_metric node_metric_bad_messages;
extern struct fl_metric node_metric_forwards;
extern struct fl_metric node_metric_snapshots_sent;
extern struct fl_metric node_metric_snapshots_installed;
extern struct fl_metric node_metric_disk_refusals;
void node__metrics_register(void);

/* --- node.c --- */
/* The host (loop) a group is pinned to. */
struct node_host *node__host_of(const struct node *node, uint64_t group_id);
/* node_revision() is at least this from now on. Any thread. */
void node__raise_revision(struct node *node, uint64_t revision);
/* True while new data must be refused (LS-10). Any thread. */
bool node__disk_full(struct node *node);
/* The cluster refuses this node: node_wait returns the sentence. Any thread. */
void node__refused(struct node *node, uint64_t peer, enum fl_status status, const char *sentence);
/* The newest map with a reference, or NULL. Any thread. */
struct placement_map_view *node__map_acquire(struct node *node);
/* For placement_open: a new map was applied. Apply thread. */
void node__map_published(void *context, struct placement_map_view *map);
/* A loop's part of the view, groups in order of id; takes over `part`. `requests`: while draining,
 * how many of this node's clients still wait on that loop. Loop threads. */
void node__publish_part(struct node *node,
                        unsigned host_index,
                        struct node_view *part,
                        size_t requests);
/* Puts the newest parts together for whoever asks from now on. Any thread. */
void node__publish_view(struct node *node);
void node__publish_gc(struct node *node, unsigned host_index, uint64_t revision);
/* Every beat: the merged view, the watermark, placement. System loop. */
void node__system_upkeep(struct node *node, uint64_t now_ms);
/* A closing host has nothing outside any more; it has closed every replica and its transport. */
void node__host_quiet(struct node *node);
void node__host_closed(struct node *node);

/* Finishes or undoes snapshot installations a crash interrupted; before any replica is opened. */
FL_MUST_USE enum fl_status node__finish_intents(struct node *node, char *why, size_t why_bytes);

/* --- heartbeat.c: system loop --- */
struct node_peers *node__peers_create(struct node *node);
void node__peers_destroy(struct node_peers *peers);
/* Returns when to call it again. */
uint64_t node__beat(struct node_host *host);
void node__beat_received(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__peer_up(struct node *node,
                   uint64_t peer,
                   enum node_direction direction,
                   const struct node_hello *hello);
void node__peer_down(struct node *node, uint64_t peer, enum node_direction direction);
/* Judges a dialer (transport's listener). */
enum fl_status
node__peer_check(void *context, const struct node_hello *hello, char *sentence, size_t bytes);
/* Fills in uuid and locality of a seed, if it has said hello. System loop. */
bool node__peer_describe(struct node_peers *peers, uint64_t node_id, struct placement_node *node);
/* Heard from within FL_PEER_DEAD_MS, or this node itself. */
bool node__peer_alive(const struct node_peers *peers, uint64_t node_id);

/* --- bootstrap.c: system loop --- */
/* Opens or creates the replica of the placement group. */
FL_MUST_USE enum fl_status node__placement_open(struct node *node, char *why, size_t why_bytes);
/* Every beat: forms the cluster if nobody has, registers this node's addresses if they differ. */
void node__placement_upkeep(struct node *node);

#endif
