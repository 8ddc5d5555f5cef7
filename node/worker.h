/* Threads that carry out handed-over tasks: one with batches, or a pool that shares a queue.
 *
 * Owner: node.c. Lifetime: create (starts the threads), stop (drains and joins), destroy.
 * Threads: post from any; create, stop and destroy from the thread that opened the node.
 *
 * Nobody spins: an idle thread sleeps in the kernel and one wake-up ends the sleep. What bounds the
 * queues is the bound on requests, groups and in-flight records above them. */
#ifndef NODE_WORKER_H
#define NODE_WORKER_H

#include "node/mailbox.h"

#include <stdint.h>

struct node_worker;
struct node_pool;

struct node_worker_hooks {
    void *ctx;
    /* Gets everything that was waiting, in order of posting, linked by `next`, and owns it. It must
     * read `next` before it gives a task away. NULL: run() of each task is called instead. */
    void (*batch)(void *ctx, struct node_task *list);
    void (*after)(void *ctx); /* once after every batch, before looking for more; may be NULL */
};

/* A running thread with a mailbox; `hooks` NULL means: run() of each task and nothing after. */
struct node_worker *node_worker_create(const char *name, const struct node_worker_hooks *hooks);
/* Hands `task` over; a system call only when the thread sleeps. Not after node_worker_stop. */
void node_worker_post(struct node_worker *worker, struct node_task *task);
/* True on the worker's thread. */
bool node_worker_is_current(const struct node_worker *worker);
/* Runs all that was posted before (also what those tasks post to this worker), ends the thread. */
void node_worker_stop(struct node_worker *worker);
/* Frees a stopped worker. */
void node_worker_destroy(struct node_worker *worker);

/* `threads` running threads on one queue; tasks start in order of posting. */
struct node_pool *node_pool_create(const char *name, unsigned threads);
/* Hands `task` to whichever thread is free first. Not after node_pool_stop. */
void node_pool_post(struct node_pool *pool, struct node_task *task);
/* Tasks waiting for a thread, for shedding load before posting. */
uint64_t node_pool_waiting(const struct node_pool *pool);
/* Runs all that was posted before, ends the threads. */
void node_pool_stop(struct node_pool *pool);
/* Frees a stopped pool. */
void node_pool_destroy(struct node_pool *pool);

#endif
