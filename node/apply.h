/* Apply threads: committed entries of many groups into the data engine, one batch at a time.
 *
 * Owner: node.c. Lifetime: create to stop and destroy, after every host has closed.
 * Threads: post from any; entries of one group always go to the same thread, in log order.
 *
 *     loop: pump --entries--> apply thread: machine->apply into one batch --> answers, loop
 *     commit (D1) of the batch: when somebody wants to read it, when it is large, each second
 *     (the last two by a writer thread, while entries go on into the next batch)
 *     every 64 MiB or 30 s:   checkpoint of every touched machine, commit --> flusher: flush
 * --OK--> loop: the log may be truncated up to there (D4)
 *
 * Answers need no commit: what is acknowledged is durable in the logs of a quorum, and the batch is
 * made again from them after a crash (D3, D7). Waiting makes batches large, and rows of a large
 * batch, written in key order, cost the engine a fraction. Readers wait for what they must see:
 * node_apply_post_other. */
#ifndef NODE_APPLY_H
#define NODE_APPLY_H

#include "node/host.h"
#include "node/worker.h"
#include "shard/machine.h"

struct node_apply;

/* Entries of one group on their way to its machine and back. */
struct node_apply_task {
    struct node_task task;
    struct node_host *host;
    uint64_t group_id;
    struct shard_machine *machine;
    size_t count;
    uint64_t bytes;              /* payload */
    struct shard_apply *entries; /* count; results belong to whoever answers */
    struct fl_buf **payloads;    /* count references, NULL: empty */
    struct node_op **ops;        /* count; NULL: nobody waits */
    bool *answered;              /* count; the apply thread answers these ops itself */
    bool commit;                 /* readers are about: commit at once */
    bool committed;              /* out: the rows are in the engine */
    struct shard_machine_status after;
};

/* `threads` apply threads of `node`. */
struct node_apply *node_apply_create(struct node *node, unsigned threads);
/* Hands entries over; `task->task.run` is called on the host's loop afterwards. */
void node_apply_post(struct node_apply *apply, struct node_apply_task *task);
/* Runs `task` on the thread of `group_id`, after every entry posted before and with its batch
 * committed; `task` may post back to a loop. */
void node_apply_post_other(struct node_apply *apply, uint64_t group_id, struct node_task *task);
/* The batch of the calling apply thread, empty. */
struct shard_batch *node_apply_batch(struct node_apply *apply, uint64_t group_id);
/* The machine is about to be closed: forget it. On its apply thread. */
void node_apply_forget(struct node_apply *apply, uint64_t group_id);
/* Commits what waits, once a second, and starts a checkpoint and flush if entries wait for one
 * since long enough (D9). The system loop, with every beat of the node. */
void node_apply_upkeep(struct node_apply *apply);
/* Starts a checkpoint and flush now unless one is under way. Any thread. */
void node_apply_checkpoint(struct node_apply *apply);
/* Runs what was posted, ends the threads and the flusher. */
void node_apply_stop(struct node_apply *apply);
void node_apply_destroy(struct node_apply *apply);

#endif
