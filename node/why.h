/* The one sentence an operator reads when something refuses to start.
 *
 * Owner: the caller's buffer. Lifetime: its. Threads: any. */
#ifndef NODE_WHY_H
#define NODE_WHY_H

#include "raftgroup/base/status.h"

#include <stddef.h>

/* Writes the sentence to `why` (cut at `why_bytes`; NULL with 0 bytes is allowed) and returns
 * `status`, so that a refusal is one statement. */
FL_MUST_USE enum fl_status
node_why(enum fl_status status, char *why, size_t why_bytes, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
