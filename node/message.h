/* What nodes say to each other inside frames: one encode and one bounded decode per kind.
 *
 * Owner: the caller's buffers. Lifetime: decoded slices borrow from the input. Threads: any (pure).
 *
 * Byte tables are in README.md. Integers are varints unless a width is named. */
#ifndef NODE_MESSAGE_H
#define NODE_MESSAGE_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"

#define NODE_MESSAGE_RESULT_BYTES_MAX (FL_FRAME_BYTES_MAX / 2 - 1024) /* with a head: a message */
#define NODE_MESSAGE_CHUNK_BYTES_MAX  ((size_t)256 * 1024)            /* of a snapshot */

enum node_message_kind {
    NODE_MESSAGE_RAFT = 1,
    NODE_MESSAGE_FORWARD,
    NODE_MESSAGE_REPLY,
    NODE_MESSAGE_ORACLE,
    NODE_MESSAGE_BEAT, /* no body: that it comes is all it says */
    NODE_MESSAGE_SNAPSHOT,
    NODE_MESSAGE_SNAPSHOT_ACK,
};

/* A request passed to the node of a range's leader; answered by one REPLY with the same boot and
 * seq. Sending it again is harmless: a write carries its origin and sequence inside the command. */
enum node_forward_kind {
    NODE_FORWARD_WRITE = 1, /* body: command */
    NODE_FORWARD_READ,      /* body: encoded shard_read */
};

struct node_forward {
    uint8_t kind;         /* enum node_forward_kind */
    uint32_t boot;        /* boot count of the origin node */
    uint64_t seq;         /* of the origin's request, unique within a boot */
    uint64_t group;       /* group asked */
    uint64_t version;     /* epoch of its range as the origin knows it */
    uint64_t timeout_ms;  /* time left */
    uint64_t at_revision; /* READ: 0 = newest, else a snapshot revision of the oracle */
    struct fl_bytes body;
};

struct node_message_reply {
    uint32_t boot;
    uint64_t seq;
    enum fl_status status;
    uint64_t leader; /* NOT_LEADER: node id of the leader as far as known, else 0 */
    uint64_t revision;
    uint64_t term;
    struct fl_bytes result;
};

/* A piece of a snapshot stream (design section 8; bulk lane). Piece 0 carries the SNAP message. */
struct node_snapshot_piece {
    uint64_t group;
    uint64_t stream; /* chosen by the sender, unique within its boot and group */
    uint32_t boot;   /* of the sender */
    uint64_t number; /* 0, 1, 2 .. */
    bool last;
    struct raft_msg offer; /* piece 0 only */
    struct fl_bytes chunk;
};

/* Pieces below `next` are staged; status other than FL_OK ends the stream. */
struct node_snapshot_ack {
    uint64_t group;
    uint64_t stream;
    uint32_t boot;
    uint64_t next;
    enum fl_status status;
    bool done; /* the snapshot is installed durably */
};

/* Appends the head of an entry that follows a raft_msg of type APP; its payload comes next. */
void node_message_write_entry(struct fl_writer *w, uint8_t type, raft_term term, uint32_t len);
/* Reads one entry: head and borrowed payload. `r->bad` tells malformed input. */
void node_message_read_entry(struct fl_reader *r, struct raft_ent *ent, struct fl_bytes *payload);

void node_forward_encode(struct fl_writer *w, const struct node_forward *forward);
void node_message_reply_encode(struct fl_writer *w, const struct node_message_reply *reply);
void node_snapshot_piece_encode(struct fl_writer *w, const struct node_snapshot_piece *piece);
void node_snapshot_ack_encode(struct fl_writer *w, const struct node_snapshot_ack *ack);

/* FL_BAD_MESSAGE when the body is short, too long or holds a value out of range. */
FL_MUST_USE enum fl_status node_forward_decode(struct fl_bytes body, struct node_forward *out);
FL_MUST_USE enum fl_status node_message_reply_decode(struct fl_bytes body,
                                                     struct node_message_reply *out);
FL_MUST_USE enum fl_status node_snapshot_piece_decode(struct fl_bytes body,
                                                      struct node_snapshot_piece *out);
FL_MUST_USE enum fl_status node_snapshot_ack_decode(struct fl_bytes body,
                                                    struct node_snapshot_ack *out);

#endif
