/* Wake-ups of other threads, held back until the caller has done what it is at.
 *
 * A thread that is woken often takes the processor from the one that woke it, finds one task, and
 * goes back to sleep; the rest then costs it another round. Whoever hands over several things in a
 * row holds its bells until the last one: the woken thread finds them all.
 *
 * Owner: the calling thread; nothing is shared. Lifetime: of the thread.
 * Threads: each holds and rings its own. A consumer must live until its bell has rung. */
#ifndef NODE_BELL_H
#define NODE_BELL_H

typedef void node_bell_fn(void *consumer);

/* Wakes a consumer: calls `ring(consumer)` now, or with the bells held. */
void node_bell(node_bell_fn *ring, void *consumer);
/* Holds this thread's bells from now on until node_bells_release; may be nested. */
void node_bells_hold(void);
void node_bells_release(void);
/* Rings what is held, in order, and goes on holding. */
void node_bells_ring(void);

#endif
