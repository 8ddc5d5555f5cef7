/* An event loop on its own thread: messages, then mailbox, then one turn per iteration.
 *
 * Owner: node.c. Lifetime: create, start, stop, join, destroy, in this order.
 * Threads: node_loop_post and node_loop_stop from any thread; create, start, join, destroy from the
 * thread that opened the node; the rest from the loop's own.
 *
 * One iteration (design 3, 7; messages come before timeouts):
 *
 *     wait for I/O, a posted task, or the deadline that `idle` gave
 *     1. I/O callbacks of the transport: decode, hand to groups, mark them dirty
 *     2. tasks posted by other threads, all that are there, in order of arrival
 *     3. tasks the loop posted to itself before this point
 *     4. turn(ctx, now): due deadlines, dirty groups, log writes, frames, replies
 *     5. idle(ctx): when the next turn must come at the latest
 *
 * Tasks a turn posts to its own loop run in the next iteration, which then follows at once, after
 * the I/O that arrived meanwhile; neither direction can starve the other. */
#ifndef NODE_LOOP_H
#define NODE_LOOP_H

#include "node/mailbox.h"

#include <stdbool.h>
#include <stdint.h>

#define NODE_NEVER UINT64_MAX /* no deadline; equals RAFT_NEVER */

struct node_loop;

struct node_loop_hooks {
    void *ctx;
    void (*turn)(void *ctx, uint64_t now_ms); /* may be NULL */
    uint64_t (*idle)(void *ctx);              /* node_clock_ms() time, NODE_NEVER; may be NULL */
};

/* A loop that does not run yet; `name` becomes the thread's (15 bytes). */
struct node_loop *node_loop_create(const char *name, const struct node_loop_hooks *hooks);
/* Starts the thread. The first turn comes at once. */
void node_loop_start(struct node_loop *loop);

/* Hands `task` over; `run` is called on the loop's thread, never inside this call. Allowed before
 * node_loop_start. Wakes the loop only when it sleeps; a post from the loop's own thread costs
 * neither an atomic operation nor a system call. */
void node_loop_post(struct node_loop *loop, struct node_task *task);
/* True on the loop's thread. */
bool node_loop_is_current(const struct node_loop *loop);
/* Asserts that the caller is the loop's thread (or that the loop has not been started). */
void node_loop_assert_owner(const struct node_loop *loop);
/* node_clock_ms() as of the latest point the loop looked: start of the I/O phase or of the turn. */
uint64_t node_loop_now_ms(const struct node_loop *loop);

/* Asks the loop to end. Every task posted before this call still runs; then the thread ends without
 * another turn. Transports and listeners on the loop must have been closed (asserted). */
void node_loop_stop(struct node_loop *loop);
/* Waits for the thread to end. */
void node_loop_join(struct node_loop *loop);
/* Frees a loop that was joined or never started; every node_loop_post to it has returned. A task
 * that was posted and never ran is a programmer error (asserted): somebody waits for it. */
void node_loop_destroy(struct node_loop *loop);

#endif
