/* The one sentence an operator reads when something refuses to start. */
#include "node/why.h"

#include <stdarg.h>
#include <stdio.h>

enum fl_status node_why(enum fl_status status, char *why, size_t why_bytes, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(why, why_bytes, format, args);
    va_end(args);
    return status;
}
