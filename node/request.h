/* What a door asks of the node, and how it is answered.
 *
 * Owner: the door; it embeds struct node_request in its call. Lifetime: from node_submit until
 * `done` returns; the node never touches it afterwards. Threads: filled by the door's thread, then
 * the node's; `done` runs on some thread of the node and must not block.
 *
 * A write is a command of shard/command.h whose header the node completes (origin, sequence,
 * revision, range version). A read is a shard_read of shard/read.h. */
#ifndef NODE_REQUEST_H
#define NODE_REQUEST_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/list.h"
#include "raftgroup/base/status.h"
#include "shard/read.h"

#include <stdbool.h>
#include <stdint.h>

enum node_request_kind {
    NODE_REQUEST_WRITE,   /* one command inside one range; a bare DeleteRange may span ranges */
    NODE_REQUEST_READ,    /* a range read, over any number of ranges at one revision */
    NODE_REQUEST_COMPACT, /* compaction of the keyspace up to `revision` */
    NODE_REQUEST_HASH,    /* hash of this node's replicas at `revision` (0: newest) */
};

/* How a request ended. */
struct node_reply {
    enum fl_status status;
    struct fl_buf *result;     /* encoded shard result (shard/result.h); NULL unless FL_OK; the
                                * callee of `done` releases it */
    uint64_t revision;         /* header.revision: never below what this node answered before */
    uint64_t term;             /* Raft term of the range that answered */
    uint64_t compact_revision; /* HASH only */
    uint32_t hash;             /* HASH only */
};

struct node_request;
typedef void node_request_done_fn(struct node_request *request, const struct node_reply *reply);

struct node_request {
    enum node_request_kind kind;
    uint64_t deadline_ms;       /* node_clock_ms() time after which the node answers FL_TIMEOUT or
                                 * FL_UNKNOWN; 0: the default of limits.h */
    struct fl_buf *command;     /* WRITE: encoded command; the node takes this reference */
    struct fl_bytes key;        /* WRITE: first key touched; points into `command` */
    struct fl_bytes end;        /* WRITE: exclusive end of the keys touched; empty: just `key`;
                                 * "\0": to the end of the keyspace */
    struct shard_read read;     /* READ: borrowed slices stay valid until `done` */
    uint64_t revision;          /* COMPACT, HASH */
    node_request_done_fn *done; /* called exactly once, never before node_submit returned */
};

#endif
