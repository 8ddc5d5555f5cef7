/* Who this node is: the data directory, its lock, and what must never change about it.
 *
 * Owner:    the node. Lifetime: node_identity_open to node_identity_close; strings returned live as
 *           long. Threads: getters from any thread; node_identity_check_peer and
 *           node_identity_forget_peer from any thread, one after the other under a lock inside.
 *
 *   DIR/LOCK    held with flock while the process lives; holds its pid
 *   DIR/STORE   the identity (below), replaced atomically
 *   DIR/log     log store, with DIR/log.watermark     DIR/data   data engine
 *   DIR/snap    snapshots being received; emptied at start
 *
 *   STORE       off  size  field                             integers little-endian
 *               0    8     "FLstore" and 0
 *               8    1     format = 2 (1: without the marks of starts)
 *               9    1     1 = joined a running cluster
 *               10   8     cluster id
 *               18   8     node id
 *               26   16    store uuid, random
 *               42   4     boot count
 *               46   ..    name (varint length, bytes)
 *               ..   ..    seeds: varint count, each {8 node id, name, peer urls}
 *               ..   ..    peers: varint count, each {8 node id, 16 uuid, 4 highest boot count
 *                          seen, 8 mark of that start}
 *               ..   256   marks of the last starts, newest first; 0: none
 *               ..   4     CRC32C of everything before
 *
 * Trust on first use: the uuid a node id first came with is the only one accepted for it, and it is
 * durable here before any Raft message is exchanged: a wiped disk cannot come back under an old id
 * and vote again (fault 23). Nor can an old copy of the directory, however often it is started:
 * every start draws a random mark, and who comes must know the mark of the newest start that was
 * seen. */
#ifndef NODE_IDENTITY_H
#define NODE_IDENTITY_H

#include "node/hello.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One node of the initial cluster. */
struct node_identity_seed {
    const char *name;
    const char *peer_urls; /* normal form, comma separated, the same text on every node */
    uint64_t node_id;      /* filled in by node_identity_open; ignored in options */
};

struct node_identity_options {
    const char *data_dir; /* made if missing */
    const char *name;
    const char *token;                      /* --initial-cluster-token */
    const struct node_identity_seed *seeds; /* the initial cluster; must hold `name` at the first
                                             * start; none: take what the directory says */
    size_t seed_count;
    uint64_t
        join_cluster_id; /* not 0: this node joins that cluster, as node join_node_id; the seeds */
    uint64_t join_node_id; /* .. are only where to ask */
};

struct node_identity;

/* Id of a seed: never 0, the same on every node. */
uint64_t node_identity_node_id(const char *peer_urls, const char *token);
/* Id of the cluster these seeds form, in whatever order they are given; never 0. */
uint64_t
node_identity_cluster_id(const struct node_identity_seed *seeds, size_t count, const char *token);

/* Locks the directory, reads or makes the identity, makes the folders, empties DIR/snap, and counts
 * this start: the new boot count is durable on return. On failure nothing stays open and `why`
 * holds one sentence that says what happened and what to do: FL_LOCKED, FL_FOREIGN_CLUSTER,
 * FL_REFUSED (another node's directory, or STORE is gone), FL_NEWER_FORMAT, FL_CORRUPT, FL_INVALID
 * (the initial cluster does not hold this node, or names a node twice), FL_IO. */
FL_MUST_USE enum fl_status node_identity_open(struct node_identity **identity,
                                              const struct node_identity_options *options,
                                              char *why,
                                              size_t why_bytes);

uint64_t node_identity_cluster(const struct node_identity *identity);
uint64_t node_identity_node(const struct node_identity *identity);
/* NODE_UUID_BYTES bytes. */
const uint8_t *node_identity_uuid(const struct node_identity *identity);
const char *node_identity_name(const struct node_identity *identity);
/* 1 at the first start. */
uint32_t node_identity_boot(const struct node_identity *identity);
/* NODE_STARTS_MAX marks: of this start, the one before, ..; 0: none. */
const uint64_t *node_identity_starts(const struct node_identity *identity);
/* True when there was no identity here before this start. */
bool node_identity_is_new(const struct node_identity *identity);
/* True when this node joined a cluster that ran already. */
bool node_identity_has_joined(const struct node_identity *identity);
/* The initial cluster as of the first start, ascending by node id. */
const struct node_identity_seed *node_identity_seeds(const struct node_identity *identity,
                                                     size_t *count);
const char *node_identity_log_path(const struct node_identity *identity);
const char *node_identity_data_path(const struct node_identity *identity);
const char *node_identity_snap_path(const struct node_identity *identity);

/* May Raft messages be exchanged with the node behind this hello? `from` is where it comes from,
 * for the sentence; `live_boot` is the boot count of a connection of the same node id that is alive
 * now, 0 for none. A first meeting, or a higher boot count, is durable on return of FL_OK. Else
 * `why` holds one sentence: FL_FOREIGN_CLUSTER; FL_STALE (an older start than one seen, or one that
 * does not know it); FL_REFUSED (wiped disk under an old id, copied data directory, our own id);
 * FL_TOO_MANY; FL_IO. */
FL_MUST_USE enum fl_status node_identity_check_peer(struct node_identity *identity,
                                                    const struct node_hello *hello,
                                                    const char *from,
                                                    uint32_t live_boot,
                                                    char *why,
                                                    size_t why_bytes);
/* Forgets a node that was removed from the cluster; its id is never given out again. FL_IO. */
FL_MUST_USE enum fl_status node_identity_forget_peer(struct node_identity *identity,
                                                     uint64_t node_id);

/* Unlocks the directory. NULL is allowed. */
void node_identity_close(struct node_identity *identity);

#endif
