/* Every bound that more than one floor relies on, and how they relate.
 *
 * Owner: nobody. Lifetime: constants. Threads: any.
 * Defaults come from etcd where a client can see them (request size, operations per Txn). */
#ifndef RAFTGROUP_BASE_LIMITS_H
#define RAFTGROUP_BASE_LIMITS_H

#include <assert.h>
#include <stddef.h>

#define FL_REQUEST_BYTES_MAX         ((size_t)1536 * 1024) /* etcd: 1.5 MiB */
#define FL_REQUEST_RECEIVE_BYTES_MAX (FL_REQUEST_BYTES_MAX + (size_t)512 * 1024)
#define FL_TXN_OPS_MAX               128   /* per list and level */
#define FL_TXN_DEPTH_MAX             16    /* nesting of Txn in Txn */
#define FL_REPLICAS_MAX              15    /* members of one group */
#define FL_NODES_MAX                 1024  /* nodes of a cluster */
#define FL_RANGES_MAX                65536 /* ranges of a cluster */
#define FL_KEY_BYTES_MAX             65536 /* 64 KiB, inside the request limit */

/* An entry is a request plus its command header; a frame carries at least one whole entry. */
#define FL_ENTRY_BYTES_MAX       (FL_REQUEST_BYTES_MAX + (size_t)64 * 1024)
#define FL_MESSAGE_BYTES_MAX     ((size_t)1024 * 1024) /* payload target of one append */
#define FL_FRAME_BYTES_MAX       ((size_t)64 * 1024 * 1024)
#define FL_INFLIGHT_MESSAGES_MAX 256                        /* per follower and group */
#define FL_INFLIGHT_BYTES_MAX    ((size_t)4 * 1024 * 1024)  /* per follower and group */
#define FL_UNCOMMITTED_BYTES_MAX ((size_t)16 * 1024 * 1024) /* per group */
#define FL_PENDING_REQUESTS_MAX  5000                       /* per node, etcd's gap */
#define FL_PEER_QUEUE_BYTES_MAX  ((size_t)64 * 1024 * 1024) /* per peer connection */

#define FL_TICK_MS            100
#define FL_BEAT_MS            200
#define FL_ELECTION_MS        1000 /* randomised to twice that */
#define FL_PEER_DEAD_MS       1500
#define FL_REQUEST_TIMEOUT_MS 7000 /* etcd: 5 s + 2 elections */

static_assert(FL_ENTRY_BYTES_MAX < FL_FRAME_BYTES_MAX, "a frame must carry any entry");
static_assert(FL_MESSAGE_BYTES_MAX <= FL_INFLIGHT_BYTES_MAX, "a message must fit the window");
static_assert(FL_ENTRY_BYTES_MAX <= FL_UNCOMMITTED_BYTES_MAX, "any entry must be proposable");
static_assert(FL_KEY_BYTES_MAX < FL_REQUEST_BYTES_MAX, "a key travels in a request");
static_assert(2 * FL_BEAT_MS < FL_ELECTION_MS, "a lost beat must not start an election");
static_assert(FL_FRAME_BYTES_MAX <= FL_PEER_QUEUE_BYTES_MAX, "a queue must hold any frame");

#endif
