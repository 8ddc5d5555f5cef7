/* Commands of the placement group: what its Raft entries of type NORMAL carry.
 *
 * Owner: an encoded command is one fl_buf; decoded slices borrow from it. Lifetime: of that buffer.
 * Threads: any (pure).
 *
 * The header is shard/command.h's, with the kinds below; origin, revision and epoch stay 0: every
 * command may be applied twice without harm (PL-3). Bodies start with a version byte; byte tables
 * are in README.md. */
#ifndef PLACEMENT_COMMAND_H
#define PLACEMENT_COMMAND_H

#include "placement/node_list.h"
#include "raftgroup/base/buf.h"
#include "raftgroup/base/status.h"
#include "shard/command.h"

#include <stddef.h>
#include <stdint.h>

enum placement_command_kind {
    PLACEMENT_COMMAND_BOOTSTRAP = SHARD_COMMAND_PLACEMENT_FIRST,
    PLACEMENT_COMMAND_NODE_UPDATE,
};

/* Forms the cluster. Applied once; any later one is answered FL_EXISTS and changes nothing. */
struct placement_bootstrap {
    uint64_t cluster_id;          /* never 0 */
    struct placement_node *nodes; /* the seeds, with the uuids they told each other */
    size_t node_count;            /* 1 .. FL_NODES_MAX */
    struct fl_bytes *split_keys;  /* strictly ascending; ranges = split_key_count + 1 */
    size_t split_key_count;
};

/* The caller owns *command. FL_INVALID or FL_TOO_MANY: what the machine would refuse; FL_TOO_LARGE:
 * beyond FL_REQUEST_BYTES_MAX. */
FL_MUST_USE enum fl_status placement_command_bootstrap(const struct placement_bootstrap *bootstrap,
                                                       struct fl_buf **command);
/* A node registers itself or what changed about it: URLs, name, locality. The machine answers
 * FL_NOT_FOUND for an unknown id and FL_REFUSED when the id belongs to another uuid: a wiped disk
 * under an old id, or a foreign node. `node->state` is not looked at: it is started. */
FL_MUST_USE enum fl_status placement_command_node_update(const struct placement_node *node,
                                                         struct fl_buf **command);

/* Bodies; slices borrow from `body`. Close a decoded bootstrap with placement_bootstrap_close.
 * FL_BAD_MESSAGE, FL_NEWER_FORMAT: nothing to close. */
FL_MUST_USE enum fl_status placement_bootstrap_decode(struct fl_bytes body,
                                                      struct placement_bootstrap *bootstrap);
void placement_bootstrap_close(struct placement_bootstrap *bootstrap);
FL_MUST_USE enum fl_status placement_node_update_decode(struct fl_bytes body,
                                                        struct placement_node *node);

#endif
