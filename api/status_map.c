/* One row per status. A write whose outcome is unknown becomes UNAVAILABLE: etcd's clients read
 * that as "may have happened" and never repeat a write because of it (DR-4). */
#include "api/status_map.h"

#include <stddef.h>

#define INVALID      GRPC_STATUS_INVALID_ARGUMENT
#define PRECONDITION GRPC_STATUS_FAILED_PRECONDITION
#define EXHAUSTED    GRPC_STATUS_RESOURCE_EXHAUSTED
#define UNAVAILABLE  GRPC_STATUS_UNAVAILABLE

static const char leader_changed[] = "etcdserver: leader changed";
static const char timed_out[] = "etcdserver: request timed out";
static const char too_many_requests[] = "etcdserver: too many requests";
static const char corrupt[] = "etcdserver: corrupt cluster";
static const char internal[] = "flotilla: internal error";

static const struct api_status statuses[FL_STATUS_COUNT] = {
    [FL_OK] = {GRPC_STATUS_INTERNAL, internal},
    [FL_NOT_LEADER] = {UNAVAILABLE, leader_changed},
    [FL_NO_LEADER] = {UNAVAILABLE, "etcdserver: no leader"},
    [FL_TRANSFERRING] = {UNAVAILABLE, leader_changed},
    [FL_QUOTA] = {EXHAUSTED, too_many_requests},
    [FL_CONF_PENDING] = {UNAVAILABLE, "flotilla: a membership change is in progress"},
    [FL_CONF_INVALID] = {PRECONDITION, "flotilla: the membership change is not valid"},
    [FL_NOT_MEMBER] = {UNAVAILABLE, leader_changed},
    [FL_STALE] = {UNAVAILABLE, leader_changed},
    [FL_BAD_MESSAGE] = {GRPC_STATUS_INTERNAL, "grpc: error unmarshalling request"},
    [FL_TOO_MANY] = {EXHAUSTED, too_many_requests},
    [FL_NOT_READY] = {UNAVAILABLE, "etcdserver: unhealthy cluster"},
    [FL_FETCHING] = {UNAVAILABLE, leader_changed},
    [FL_FROZEN] = {GRPC_STATUS_DATA_LOSS, corrupt},
    [FL_EPOCH_MISMATCH] = {UNAVAILABLE, leader_changed},
    [FL_NOT_HERE] = {UNAVAILABLE, leader_changed},
    [FL_CROSS_RANGE] = {PRECONDITION,
                        "flotilla: the keys of this transaction lie in different ranges; a "
                        "transaction must stay inside one range"},
    [FL_SHUTDOWN] = {UNAVAILABLE, "etcdserver: server stopped"},
    [FL_TIMEOUT] = {UNAVAILABLE, timed_out},
    [FL_UNKNOWN] = {UNAVAILABLE, timed_out},
    [FL_LEADER_FAILED] = {UNAVAILABLE,
                          "etcdserver: request timed out, possibly due to previous leader "
                          "failure"},
    [FL_CANCELED] = {GRPC_STATUS_CANCELLED, "etcdserver: request canceled"},
    [FL_COMPACTED] = {GRPC_STATUS_OUT_OF_RANGE,
                      "etcdserver: mvcc: required revision has been compacted"},
    [FL_FUTURE_REVISION] = {GRPC_STATUS_OUT_OF_RANGE,
                            "etcdserver: mvcc: required revision is a future revision"},
    [FL_EMPTY_KEY] = {INVALID, "etcdserver: key is not provided"},
    [FL_KEY_NOT_FOUND] = {INVALID, "etcdserver: key not found"},
    [FL_VALUE_PROVIDED] = {INVALID, "etcdserver: value is provided"},
    [FL_LEASE_PROVIDED] = {INVALID, "etcdserver: lease is provided"},
    [FL_LEASE_NOT_FOUND] = {GRPC_STATUS_NOT_FOUND, "etcdserver: requested lease not found"},
    [FL_TOO_MANY_OPS] = {INVALID, "etcdserver: too many operations in txn request"},
    [FL_DUPLICATE_KEY] = {INVALID, "etcdserver: duplicate key given in txn request"},
    [FL_TOO_LARGE] = {INVALID, "etcdserver: request is too large"},
    [FL_TOO_DEEP] = {INVALID, "flotilla: transactions are nested too deeply"},
    [FL_INVALID_SORT] = {INVALID, "etcdserver: invalid sort option"},
    [FL_INVALID] = {INVALID, "flotilla: an argument is not valid"},
    [FL_NOT_FOUND] = {GRPC_STATUS_NOT_FOUND, "flotilla: not found"},
    [FL_EXISTS] = {GRPC_STATUS_ALREADY_EXISTS, "flotilla: exists already"},
    [FL_NO_SPACE] = {EXHAUSTED, "etcdserver: mvcc: database space exceeded"},
    [FL_IO] = {UNAVAILABLE, "flotilla: an input or output operation failed"},
    [FL_CORRUPT] = {GRPC_STATUS_DATA_LOSS, corrupt},
    [FL_TRUNCATED] = {GRPC_STATUS_INTERNAL, "grpc: error unmarshalling request"},
    [FL_NEWER_FORMAT] = {PRECONDITION, "flotilla: the request needs a newer version of this node"},
    [FL_LOCKED] = {PRECONDITION, "flotilla: another process holds the lock"},
    [FL_FOREIGN_CLUSTER] = {PRECONDITION, "etcdserver: cluster ID mismatch"},
    [FL_REFUSED] = {PRECONDITION, "flotilla: refused"},
    [FL_NOT_SUPPORTED] = {GRPC_STATUS_UNIMPLEMENTED, "flotilla: not supported"},
};

static const char *const code_names[API_CODES] = {
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
};

struct api_status api_status_of(enum fl_status status)
{
    size_t index = (size_t)status < (size_t)FL_STATUS_COUNT ? (size_t)status : (size_t)FL_OK;

    /* A status that was added without a row is an internal error, not a crash. */
    return statuses[index].text != NULL ? statuses[index] : statuses[FL_OK];
}

const char *api_code_name(grpc_status_code code)
{
    return (size_t)code < API_CODES ? code_names[code] : "Unknown";
}
