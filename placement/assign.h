/* Where the first replicas go: a pure function of the seeds and the number of ranges.
 *
 * Owner: the caller. Lifetime: of the call. Threads: any.
 *
 * The same input gives the same output on every node: the placement group applies it on each of its
 * replicas (PL-5). */
#ifndef PLACEMENT_ASSIGN_H
#define PLACEMENT_ASSIGN_H

#include "placement/node_list.h"

#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_REPLICAS_DEFAULT 3 /* voters of a range, if there are as many nodes */

static_assert(PLACEMENT_REPLICAS_DEFAULT <= FL_REPLICAS_MAX, "a group must hold its replicas");

/* The nodes of one range; node[0] is preferred as its first leader: it campaigns at bootstrap. */
struct placement_assignment {
    uint64_t node[PLACEMENT_REPLICAS_DEFAULT];
    size_t count;
};

/* Fills out[0..ranges-1]: min(3, nodes) different nodes each, over as many datacentres as there
 * are, then as many racks, then hosts, then the nodes with the fewest replicas; preferred leaders
 * are spread evenly over the nodes. `nodes` must not be empty. */
void placement_assign(const struct placement_node_list *nodes,
                      size_t ranges,
                      struct placement_assignment *out);

#endif
