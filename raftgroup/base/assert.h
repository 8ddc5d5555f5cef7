/* Assertions that stay on in release builds, and the one way to stop the process.
 *
 * Owner: nobody. Lifetime: none. Threads: any.
 *
 * fl_assert is for programmer errors. fl_fatal is for durable data that is lost or corrupt: the
 * process says so in one sentence and stops, it never answers from doubt. */
#ifndef RAFTGROUP_BASE_ASSERT_H
#define RAFTGROUP_BASE_ASSERT_H

#include <pthread.h>
#include <stdbool.h>

#define fl_assert(condition)                                                                       \
    ((condition) ? (void)0 : fl__assert_failed(#condition, __FILE__, __LINE__, __func__))

/* The calling thread must be the owner recorded in `thread` (a pthread_t). */
#define fl_assert_owner(thread) fl_assert(pthread_equal((thread), pthread_self()))

/* Prints the failed condition and aborts. Use fl_assert. */
_Noreturn void
fl__assert_failed(const char *condition, const char *file, int line, const char *func);

/* Logs one formatted sentence at level `fatal` and aborts the process. */
_Noreturn void fl_fatal(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
