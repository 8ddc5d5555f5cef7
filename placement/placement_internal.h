/* The inside of the placement machine, shared by its files.
 *
 * Owner: placement.c. Lifetime: placement_open to close. Threads: the apply thread's only. */
#ifndef PLACEMENT_PLACEMENT_INTERNAL_H
#define PLACEMENT_PLACEMENT_INTERNAL_H

#include "placement/placement.h"
#include "shard/shard_format.h"

#include <stdbool.h>

struct placement {
    struct shard_machine machine; /* first: the machine's pointer is the placement's */
    struct shard_engine *engine;
    placement_publish_fn *publish;
    void *publish_context;
    bool exists;                   /* has rows; else waits for a snapshot */
    bool dirty;                    /* applied since the last checkpoint */
    struct shard_state state;      /* only applied index, term and conf are used */
    struct shard_range descriptor; /* the placement group's own */
    struct placement_map_view *view;
};

/* ---- rows (placement_rows.c) ---- */

void placement__rows_put_node(struct shard_batch *batch, const struct placement_node *node);
void placement__rows_put_range(struct shard_batch *batch, const struct shard_range *range);
/* Version and cluster id of the view. */
void placement__rows_put_meta(struct shard_batch *batch, const struct placement_map_view *view);
void placement__rows_put_state(struct shard_batch *batch, const struct shard_state *state);
void placement__rows_put_descriptor(struct shard_batch *batch,
                                    const struct shard_range *descriptor);
/* Deletes every row of the machine. */
void placement__rows_delete(struct shard_batch *batch);
/* Fills in everything but engine and publisher. No rows: an empty machine. FL_CORRUPT,
 * FL_NEWER_FORMAT, FL_IO: the placement is left without view and descriptor. */
FL_MUST_USE enum fl_status placement__rows_load(struct placement *placement);

/* ---- snapshots (placement_snapshot.c): the operations of the port of the same name ---- */

enum fl_status placement__snapshot_open(struct shard_machine *machine,
                                        struct shard_batch *batch,
                                        struct shard_snapshot **snapshot,
                                        struct shard_snapshot_info *info);
enum fl_status
placement__snapshot_next(struct shard_snapshot *snapshot, struct fl_writer *chunk, bool *last);
void placement__snapshot_close(struct shard_snapshot *snapshot);
enum fl_status placement__install_begin(struct shard_machine *machine,
                                        const char *dir,
                                        struct shard_install **install);
enum fl_status placement__install_chunk(struct shard_install *install, struct fl_bytes chunk);
enum fl_status placement__install_seal(struct shard_install *install,
                                       struct shard_snapshot_info *info);
enum fl_status placement__install_finish(struct shard_machine *machine,
                                         struct shard_install *install);
void placement__install_abort(struct shard_install *install);

/* ---- placement.c ---- */

struct placement *placement__of(struct shard_machine *machine);
/* A view of nothing, version 0. */
struct placement_map_view *placement__view_empty(void);

#endif
