/* A published, immutable picture of the node for status calls, metrics and dashboards.
 *
 * Owner: every holder of a reference. Lifetime: until the last node_view_release.
 * Threads: any; a view never changes after it is published. A new one comes with every beat, and at
 * once when a leader comes or goes: who was served knows that the view names who served. */
#ifndef NODE_VIEW_H
#define NODE_VIEW_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum node_role {
    NODE_ROLE_FOLLOWER,
    NODE_ROLE_CANDIDATE,
    NODE_ROLE_LEADER,
    NODE_ROLE_LEARNER,
    NODE_ROLE_FROZEN,
};

/* One member of the cluster, as the placement group knows it. */
struct node_member_view {
    uint64_t id;
    char *name;
    char *peer_urls;   /* comma separated */
    char *client_urls; /* comma separated; empty until the member has started */
    char *locality;    /* dc=..,rack=..,host=.. or empty */
    bool alive;        /* heard from within FL_PEER_DEAD_MS */
    uint32_t leaders;  /* groups it leads, as far as this node knows */
    uint32_t replicas;
};

/* The replica of one group on this node, or a range that has none here (replica_id 0). */
struct node_group_view {
    uint64_t group_id; /* 1 is the placement group */
    struct fl_bytes start;
    struct fl_bytes end; /* empty: no upper end */
    uint64_t version;    /* epoch of the range */
    uint64_t replica_id;
    enum node_role role;
    uint64_t leader; /* node id, 0: none known */
    uint64_t term;
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t last_index;
    uint64_t lag_entries; /* leader: last index minus the slowest voter's match index */
    uint64_t log_bytes;   /* payload bytes kept in the log */
    bool quiesced;
    uint32_t replica_count;
    uint64_t replica_nodes[15]; /* node ids of the members */
};

struct node_view {
    uint64_t cluster_id;
    uint64_t node_id;
    uint64_t leader;   /* node that leads the first range; 0: none known */
    uint64_t revision; /* highest seen */
    uint64_t compact_revision;
    uint64_t data_bytes; /* data engine on disk and in memtables */
    uint64_t log_bytes;  /* log store on disk */
    bool ready;          /* every local replica is open and every range has a leader */
    bool draining;
    struct node_member_view *members;
    size_t member_count;
    struct node_group_view *groups; /* placement group first, then ranges in key order */
    size_t group_count;
};

/* Drops a reference. */
void node_view_release(struct node_view *view);

#endif
