/* One request on its way through this node: a client's, a part of a client's, or another node's.
 *
 * Owner: the host (loop) of its group, except while the apply thread or the read pool carries it.
 * Lifetime: node_op_create until node_op_destroy, after `finish` was called exactly once.
 * Threads: the host's loop; `finish` of an op with `any_thread` also on the carrying thread.
 *
 *                 +-> PARKED (no leader known) <-----------------------+
 *                 |                                                    |
 *     ROUTING ----+-> FORWARDED (to the leader's node) ----------------+--> done
 *                 |                                                    |
 *                 +-> REVISION -> PROPOSING -> PROPOSED -> APPLYING ---+   (write, led here)
 *                 |                                  \-> CONFIRMING ---+
 *                 +-> READING_INDEX -> READING ------------------------+   (read, led here)
 *
 * An op may go back to ROUTING only while it is certainly not applied, or because its origin and
 * sequence make a second proposal harmless (ND-3). */
#ifndef NODE_OP_H
#define NODE_OP_H

#include "node/hash.h"
#include "node/loop.h"
#include "node/message.h"
#include "node/oracle.h"
#include "node/request.h"
#include "node/wheel.h"
#include "raftgroup/base/list.h"

struct node_host;
struct node_op;

/* A deadline that knows what to do; embedded in whatever has one. */
struct node_deadline {
    struct node_timer timer;
    void (*run)(struct node_deadline *deadline);
};

enum node_op_kind {
    NODE_OP_WRITE,
    NODE_OP_READ,
    NODE_OP_HASH, /* of the replica on this node, as fresh as a linearizable read */
    NODE_OP_NOW,  /* only the keyspace's revision of now, confirmed; no group */
};

enum node_op_state {
    NODE_OP_ROUTING,
    NODE_OP_PARKED,
    NODE_OP_FORWARDED,
    NODE_OP_REVISION,
    NODE_OP_PROPOSING,
    NODE_OP_PROPOSED,
    NODE_OP_APPLYING,
    NODE_OP_CONFIRMING,
    NODE_OP_READING_INDEX,
    NODE_OP_READING,
};

/* Takes over `reply->result`. Called exactly once per op. */
typedef void node_op_finish_fn(struct node_op *op, const struct node_reply *reply);

struct node_op {
    struct node_task task; /* hand-over between threads */
    struct fl_list link;   /* in the list of its state */
    struct node_deadline timer;
    struct node_oracle_waiter waiter;
    UT_hash_handle hh;         /* host's table of forwarded ops, by seq */
    struct fl_list unfinished; /* host's list of writes of this node, in order of seq */
    struct fl_list all;        /* host's list of every op */
    struct node_host *host;

    enum node_op_kind kind;
    enum node_op_state state;
    bool any_thread; /* finish may run on any thread */
    bool once;       /* ends instead of being routed again */
    bool granted;    /* its waiter is with the oracle client */
    bool confirmed;  /* write: the grant is confirmed, or none is needed */
    bool unconfirmable;
    uint64_t group_id;
    uint64_t version; /* epoch of the range as routed */
    uint64_t seq;     /* of this node, 0 for ops of other nodes */
    uint64_t deadline_ms;
    uint32_t hops;        /* routings so far */
    uint32_t doubts;      /* sends and proposals that may still be or become applied (ND-4) */
    uint64_t leader_hint; /* NOT_LEADER answers: node id, 0: unknown */

    struct fl_buf *command;    /* write: one reference */
    struct shard_read read;    /* read; slices borrow from the request or from `read_bytes` */
    struct fl_buf *read_bytes; /* read of another node: its encoding */
    uint64_t at_revision;      /* read: snapshot revision; 0: newest */

    uint64_t peer;        /* FORWARDED: node it was sent to */
    uint64_t moved_ms;    /* FORWARDED: another node leads since then; 0: not that we knew */
    uint64_t revision;    /* write: the oracle's for this proposal, 0: none or not needed */
    raft_index index;     /* PROPOSED: position; reads: what must be applied */
    raft_term term;       /* PROPOSED */
    uint64_t read_ctx;    /* READING_INDEX */
    uint64_t compact;     /* HASH: covers from here on; 0: the shard's own */
    uint64_t incarnation; /* READING: of the replica whose rows up to `index` it made readable; 0:
                           * they were */

    struct node_reply held; /* CONFIRMING: the answer that waits */

    node_op_finish_fn *finish;
    struct node_request *request; /* finish_request */
    void *gather;                 /* parts of a spread request */
    uint64_t origin_node;         /* ops of other nodes: who answers to whom */
    uint32_t origin_boot;
    uint64_t origin_seq;
};

/* An op in state ROUTING on no list; `host` is where its group lives. */
struct node_op *node_op_create(struct node_host *host, enum node_op_kind kind);
/* Frees it and the references it holds. It is on no list and has no timer. */
void node_op_destroy(struct node_op *op);

/* A reply with nothing but a status. */
struct node_reply node_reply_of(enum fl_status status);
/* ND-4: what its client may be told when `status` is the end of one of its turns. A status that is
 * certain about that turn says nothing about others in doubt: `turns` of op->doubts are answered by
 * it. Any thread that holds the op. */
enum fl_status node_op_outcome(const struct node_op *op, enum fl_status status, uint32_t turns);

#endif
