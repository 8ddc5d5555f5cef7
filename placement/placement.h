/* The placement machine: nodes and the range map, replicated like any range.
 *
 * Owner: the node. Lifetime: placement_open to machine->ops->close.
 * Threads: the machine's as in shard/machine.h; published views on any.
 *
 * Invariants PL-1.. and the rows are in README.md. */
#ifndef PLACEMENT_PLACEMENT_H
#define PLACEMENT_PLACEMENT_H

#include "placement/map_view.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "shard/engine.h"
#include "shard/machine.h"
#include "shard/range.h"

#include <stdint.h>

struct placement;

/* Receives a new state of the map, on the thread that applied it; `view` is borrowed, take a
 * reference to keep it. Called before the engine batch with that state is committed: the entries
 * are committed in Raft and durable in the local log, so after a crash replay gives the same view
 * again; what is done on behalf of a view must therefore bear being done twice (PL-6). */
typedef void placement_publish_fn(void *context, struct placement_map_view *view);

/* Adds the rows of a new replica of the placement group to `batch`: no node, no range, the given
 * descriptor (group PLACEMENT_GROUP_ID, no interval) and configuration, applied up to (index,
 * term).
 */
void placement_bootstrap(struct shard_batch *batch,
                         const struct shard_range *descriptor,
                         const struct raft_conf *conf,
                         uint64_t index,
                         uint64_t term);
/* Opens the machine from its rows; without rows it holds nothing (applied_index 0, no
 * configuration) and waits for a snapshot. `publish` is called with the restored view before this
 * returns if there is anything to show. FL_CORRUPT: rows contradict themselves; FL_NEWER_FORMAT;
 * FL_IO. */
FL_MUST_USE enum fl_status placement_open(struct shard_engine *engine,
                                          placement_publish_fn *publish,
                                          void *publish_context,
                                          struct placement **placement);
struct shard_machine *placement_machine(struct placement *placement);
/* The view of now; borrowed, valid until the next apply or install. Apply thread. */
struct placement_map_view *placement_view(const struct placement *placement);
/* The placement group's own descriptor as of the applied index; borrowed, changes with apply. Apply
 * thread. */
const struct shard_range *placement_descriptor(const struct placement *placement);

#endif
