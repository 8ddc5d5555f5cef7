/* One unary gRPC call with any path and any bytes: what no generated client would send.
 *
 * Owner: the caller. Lifetime: of the call. Threads: any, one call at a time each. */
#ifndef TESTS_API_RAW_CALL_H
#define TESTS_API_RAW_CALL_H

#include "raftgroup/base/bytes.h"

struct raw_answer {
    int code; /* gRPC status code */
    char text[512];
    struct fl_writer body; /* the reply message; the caller closes it */
};

/* Metadata sent with every call of this process until it is changed; NULL: none. */
extern const char *raw_call_metadata[2];

/* Calls `path` at `address` (host:port) over a connection of its own and waits. */
void raw_call(const char *address,
              const char *path,
              struct fl_bytes request,
              int timeout_ms,
              struct raw_answer *answer);

#endif
