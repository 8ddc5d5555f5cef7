/* From the status of a request to what etcd's clients understand: a gRPC code and a text.
 *
 * Owner: nobody. Lifetime: constants. Threads: any. */
#ifndef API_STATUS_MAP_H
#define API_STATUS_MAP_H

#include "raftgroup/base/status.h"

#include <grpc/status.h>

struct api_status {
    grpc_status_code code;
    const char *text; /* etcd's where etcd has one: clients compare it; never NULL */
};

/* FL_OK and values outside the list are answered as internal errors: they are not failures. */
struct api_status api_status_of(enum fl_status status);

/* "OK", "UNAVAILABLE" ..: for metrics and messages; "UNKNOWN" for a number outside the list. */
const char *api_code_name(grpc_status_code code);
#define API_CODES 17

#endif
