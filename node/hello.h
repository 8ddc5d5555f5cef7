/* The handshake of a peer connection: who dials, and what the other side says to that. Pure.
 *
 * Owner: the caller. Lifetime: plain values. Threads: any.
 *
 * The dialer sends one HELLO frame, the acceptor one ANSWER frame; then only the dialer sends.
 *
 *     HELLO body   off size field                            little-endian
 *                  0   8    "flotilla"
 *                  8   2    lowest protocol version spoken
 *                  10  2    highest protocol version spoken
 *                  12  8    cluster id
 *                  20  8    node id
 *                  28  16   store uuid
 *                  44  4    boot count of the store
 *                  48  4    lane
 *                  52  ..   name: varint length, bytes
 *                  ..  ..   peer urls: varint length, bytes; comma separated
 *                  ..  ..   client urls: varint length, bytes; comma separated
 *                  ..  ..   locality: varint length, bytes
 *                  ..  256  random marks of the last starts, newest first; 0: none
 *                  ..  ..   bytes a newer version may add are skipped
 *     ANSWER body  0   1    enum below, not the numbers of status.h, which may change
 *                  1   ..   sentence: varint length, bytes
 *                  ..  ..   HELLO body of the acceptor: varint length, bytes */
#ifndef NODE_HELLO_H
#define NODE_HELLO_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"

#include <stdint.h>

#define NODE_PROTOCOL_MIN        1
#define NODE_PROTOCOL_MAX        1
#define NODE_UUID_BYTES          16
#define NODE_NAME_BYTES_MAX      255
#define NODE_URLS_BYTES_MAX      2047
#define NODE_LOCALITY_BYTES_MAX  255
#define NODE_SENTENCE_BYTES_MAX  511
#define NODE_STARTS_MAX          32
#define NODE_HANDSHAKE_BYTES_MAX 8192 /* body of either frame */

struct node_hello {
    uint16_t version_min;
    uint16_t version_max;
    uint64_t cluster_id;
    uint64_t node_id;
    uint8_t uuid[NODE_UUID_BYTES];
    uint32_t boot;
    uint32_t lane;
    char name[NODE_NAME_BYTES_MAX + 1];
    char peer_urls[NODE_URLS_BYTES_MAX + 1];
    char client_urls[NODE_URLS_BYTES_MAX + 1];
    char locality[NODE_LOCALITY_BYTES_MAX + 1]; /* dc=..,rack=..,host=.. or empty */
    uint64_t starts[NODE_STARTS_MAX];           /* marks of start boot, boot - 1, ..; 0: none */
};

/* FL_OK or why not: FL_REFUSED, FL_FOREIGN_CLUSTER, FL_NEWER_FORMAT, FL_NOT_READY, FL_STALE,
 * FL_TOO_MANY, FL_EXISTS; any other status travels as FL_REFUSED. */
struct node_answer {
    enum fl_status status;
    char sentence[NODE_SENTENCE_BYTES_MAX + 1]; /* for the operator; empty when accepted */
    struct node_hello hello;                    /* of the node that answers */
};

/* Appends the body of a HELLO frame. Texts are within their bounds by type. */
void node_hello_encode(struct fl_writer *out, const struct node_hello *hello);
/* FL_OK, FL_BAD_MESSAGE: not a hello, a text too long or with bytes that are not printable ASCII.
 */
FL_MUST_USE enum fl_status node_hello_decode(struct fl_bytes body, struct node_hello *hello);

/* Appends the body of an ANSWER frame. */
void node_answer_encode(struct fl_writer *out, const struct node_answer *answer);
/* FL_OK, FL_BAD_MESSAGE. */
FL_MUST_USE enum fl_status node_answer_decode(struct fl_bytes body, struct node_answer *answer);

/* The highest protocol version both speak, 0 when there is none. */
uint16_t node_hello_version(const struct node_hello *a, const struct node_hello *b);

#endif
