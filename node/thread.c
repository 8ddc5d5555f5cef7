/* Starting named threads with all signals blocked; giving way. */
#include "node/thread.h"

#include "raftgroup/base/assert.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>

#define NAME_BYTES 16 /* with the terminating zero: what the kernel keeps */

pthread_t node_thread_start(const char *name, void *(*run)(void *arg), void *arg)
{
    char short_name[NAME_BYTES];
    sigset_t all;
    sigset_t old;
    pthread_t thread;

    (void)sigfillset(&all);
    /* The new thread inherits the mask, so there is no moment in which a signal could find it. */
    fl_assert(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    if (pthread_create(&thread, NULL, run, arg) != 0) {
        fl_fatal("cannot start thread %s: the system is out of threads or memory", name);
    }
    fl_assert(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    (void)snprintf(short_name, sizeof(short_name), "%.15s", name);
    (void)pthread_setname_np(thread, short_name);
    return thread;
}

void node_thread_give_way(void)
{
    (void)sched_yield();
}
