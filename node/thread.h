/* Starting a named thread that no signal of the process is delivered to.
 *
 * Owner: the caller, who joins it. Lifetime: until pthread_join. Threads: any. */
#ifndef NODE_THREAD_H
#define NODE_THREAD_H

#include <pthread.h>

/* Starts `run(arg)` with every signal blocked (main() alone handles signals, and a peer that closes
 * gives EPIPE instead of SIGPIPE). `name` is cut to 15 bytes, the kernel's limit. Aborts when the
 * system refuses a thread: threads are started once, when the node opens. */
pthread_t node_thread_start(const char *name, void *(*run)(void *arg), void *arg);

#endif
