/* Starting a named thread that no signal of the process is delivered to, and giving way to others.
 *
 * Owner: the caller, who joins it. Lifetime: until pthread_join. Threads: any. */
#ifndef NODE_THREAD_H
#define NODE_THREAD_H

#include <pthread.h>

/* Starts `run(arg)` with every signal blocked (main() alone handles signals, and a peer that closes
 * gives EPIPE instead of SIGPIPE). `name` is cut to 15 bytes, the kernel's limit. Aborts when the
 * system refuses a thread: threads are started once, when the node opens. */
pthread_t node_thread_start(const char *name, void *(*run)(void *arg), void *arg);

/* Lets whoever else is ready on this processor run first. For a thread that gathers what others
 * bring: where they are ready, the next portion is larger; where nobody is, this costs a system
 * call, while a timer would cost a wake-up. Not for who serves a lone client: beside a stranger
 * that computes without end (in the same cgroup, for the kernel yields only within one) it lasts
 * until that one's time slice ends, some milliseconds. */
void node_thread_give_way(void);

#endif
