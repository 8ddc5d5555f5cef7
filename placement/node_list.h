/* The registry of nodes: who they are, where they listen, where they stand.
 *
 * Owner: every holder of a reference. Lifetime: until the last placement_node_list_release.
 * Threads: any; a list never changes once it is built, a change makes a new list (PL-4). */
#ifndef PLACEMENT_NODE_LIST_H
#define PLACEMENT_NODE_LIST_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_TIER_BYTES_MAX 63 /* one value of a locality */
#define PLACEMENT_NAME_BYTES_MAX 255
#define PLACEMENT_URLS_BYTES_MAX 4096
/* Room for "dc=..,rack=..,host=.." with a terminating zero. */
#define PLACEMENT_LOCALITY_TEXT_MAX ((size_t)3 * (PLACEMENT_TIER_BYTES_MAX + 8))
/* Room for any sentence of this header. */
#define PLACEMENT_WHY_MAX 256

/* From the widest to the narrowest: replicas are spread over the wide ones first. */
enum placement_tier { PLACEMENT_TIER_DC, PLACEMENT_TIER_RACK, PLACEMENT_TIER_HOST };
#define PLACEMENT_TIERS 3

/* Where a node stands; an empty string for a tier that was not given. */
struct placement_locality {
    char tier[PLACEMENT_TIERS][PLACEMENT_TIER_BYTES_MAX + 1];
};

/* Drawn by a node when it formats its data directory; a wiped disk has another one. */
struct placement_uuid {
    uint8_t bytes[16];
};

enum placement_node_state {
    PLACEMENT_NODE_SEED = 1,    /* named at bootstrap, has not registered its client URLs yet */
    PLACEMENT_NODE_STARTED = 2, /* has registered itself */
};

struct placement_node {
    uint64_t id;                /* never 0, never reused */
    struct placement_uuid uuid; /* of its data directory; fixed for the life of the id */
    struct fl_bytes name;
    struct fl_bytes peer_urls;   /* comma separated */
    struct fl_bytes client_urls; /* comma separated; empty while PLACEMENT_NODE_SEED */
    struct placement_locality locality;
    enum placement_node_state state;
};

struct placement_node_list;

/* Parses "dc=a,rack=b,host=c": any of the tiers, each at most once, in any order; "" is the empty
 * locality. Values are 1..63 letters, digits, '.', '_' or '-'. Returns false and a sentence in
 * `why` (of `why_bytes`, PLACEMENT_WHY_MAX is enough) when the text is not that. */
bool placement_locality_parse(struct placement_locality *locality,
                              struct fl_bytes text,
                              char *why,
                              size_t why_bytes);
/* Writes the normal form (tiers from wide to narrow, absent ones left out) into `text`. */
void placement_locality_format(const struct placement_locality *locality,
                               char text[PLACEMENT_LOCALITY_TEXT_MAX]);
bool placement_locality_equal(const struct placement_locality *a,
                              const struct placement_locality *b);

bool placement_uuid_equal(const struct placement_uuid *a, const struct placement_uuid *b);
/* True for the uuid of sixteen zero bytes, which no node may have. */
bool placement_uuid_is_zero(const struct placement_uuid *uuid);

/* Appends the encoding of one node (versioned; byte table in README.md) to `w`. */
void placement_node_encode(const struct placement_node *node, struct fl_writer *w);
/* Decodes one node from the front of `r` and leaves `r` behind it; slices borrow from the input.
 * FL_BAD_MESSAGE: malformed, or not what placement_node_list_create accepts; FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status placement_node_decode(struct placement_node *node, struct fl_reader *r);

/* A list holding deep copies of `nodes`, in order of id, one reference. FL_INVALID: an id or uuid
 * is 0 or used twice, a name or URL text is too long, a peer URL is missing, or a state is unknown;
 * FL_TOO_MANY: more than FL_NODES_MAX. */
FL_MUST_USE enum fl_status placement_node_list_create(const struct placement_node *nodes,
                                                      size_t count,
                                                      struct placement_node_list **list);
/* A new list in which `node` takes the place of the one with its id, or is added. Errors as above;
 * the old list is left as it is. */
FL_MUST_USE enum fl_status placement_node_list_with(const struct placement_node_list *old,
                                                    const struct placement_node *node,
                                                    struct placement_node_list **list);
/* One more reference; returns `list`. */
struct placement_node_list *placement_node_list_acquire(struct placement_node_list *list);
/* Drops a reference, frees at the last; NULL is allowed. */
void placement_node_list_release(struct placement_node_list *list);

size_t placement_node_list_count(const struct placement_node_list *list);
/* Node `at` in order of id; borrowed from the list. */
const struct placement_node *placement_node_list_at(const struct placement_node_list *list,
                                                    size_t at);
/* The node with this id, or NULL; borrowed from the list. */
const struct placement_node *placement_node_list_find(const struct placement_node_list *list,
                                                      uint64_t id);

#endif
