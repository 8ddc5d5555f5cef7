/* Assertions and the fatal stop. */
#include "raftgroup/base/assert.h"

#include "raftgroup/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fl__assert_failed(const char *condition, const char *file, int line, const char *func)
{
    fl_log(FL_LOG_FATAL,
           "assertion_failed",
           "condition=\"%s\" file=%s line=%d function=%s",
           condition,
           file,
           line,
           func);
    abort();
}

void fl_fatal(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fl_log(FL_LOG_FATAL, "fatal", "reason=\"%s\"", text);
    abort();
}
