/* The messages between the oracle of revisions and the nodes that ask it.
 *
 * Owner, lifetime and threads: the caller's; pure functions.
 *
 * Bytes (little-endian; every type has all fields, 0 where it does not use one):
 *
 *   off size  field          off size  field            off size  field
 *   0   1     version = 1    6   8     seq              26  8     current
 *   1   1     type           14  8     term             34  8     start
 *   2   4     boot           22  4     count            42  8     compact
 *   58  1     witness, 0 or 1                           50  8     leader
 *
 * The checksum is the frame's. */
#ifndef NODE_ORACLE_MESSAGE_H
#define NODE_ORACLE_MESSAGE_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_ORACLE_ASK_MAX       4096                      /* revisions of one ask */
#define NODE_REVISION_MAX         ((UINT64_C(1) << 53) - 1) /* JavaScript and jq keep these exact */
#define NODE_ORACLE_MESSAGE_BYTES 59

enum node_oracle_message_type {
    NODE_ORACLE_ASK = 1, /* client -> oracle */
    NODE_ORACLE_GRANT,   /* oracle -> client */
    NODE_ORACLE_CONFIRM, /* oracle -> client: covers every seq of this boot and term up to `seq` */
    NODE_ORACLE_REFUSE,  /* oracle -> client: not the oracle; `leader` may be */
};

/* One message; what a type does not use is 0 (and is checked to be by the decoder). */
struct node_oracle_message {
    enum node_oracle_message_type type;
    uint32_t boot;    /* boot count of the client's node: answers to an earlier life are dropped */
    uint64_t seq;     /* of the client, ascending from 1 in one boot */
    uint64_t term;    /* Raft term of the oracle in the first range; ASK: the newest known */
    uint32_t count;   /* ASK: revisions wanted, 0 for reads alone; GRANT: revisions given */
    uint64_t current; /* GRANT: highest revision handed out before; given are current+1..+count */
    uint64_t start;   /* GRANT: `current` when this oracle's term began; start <= current */
    uint64_t compact; /* GRANT: compact revision of the keyspace as the oracle knows it */
    uint64_t leader;  /* REFUSE: node id that leads the first range; 0: unknown */
    bool witness;     /* ASK: the first range's voter here is in `term`; GRANT: confirmed by that */
};

/* Encodes into `out`, returns the length. */
size_t node_oracle_message_encode(const struct node_oracle_message *message,
                                  uint8_t out[NODE_ORACLE_MESSAGE_BYTES]);
/* FL_TRUNCATED, FL_NEWER_FORMAT or FL_BAD_MESSAGE (unknown type, wrong length, an unused field not
 * 0, numbers out of bounds); `message` is then unspecified. */
FL_MUST_USE enum fl_status node_oracle_message_decode(struct fl_bytes input,
                                                      struct node_oracle_message *message);

#endif
