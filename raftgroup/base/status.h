/* One list of operating errors for every floor.
 *
 * Owner: nobody. Lifetime: constants. Threads: any.
 *
 * Each code says whether the operation is CERTAINLY NOT applied or UNKNOWN: a client may only be
 * told "failed" for the first kind. Mapping to gRPC codes and etcd's texts lives in api. */
#ifndef RAFTGROUP_BASE_STATUS_H
#define RAFTGROUP_BASE_STATUS_H

#include <stdbool.h>

/*   name                 outcome  text */
#define FL_STATUS_MAP(X)                                                                           \
    X(OK, CERTAIN, "ok")                                                                           \
    /* Raft */                                                                                     \
    X(NOT_LEADER, CERTAIN, "this replica is not the leader")                                       \
    X(NO_LEADER, CERTAIN, "no leader is known")                                                    \
    X(TRANSFERRING, CERTAIN, "leadership is being transferred")                                    \
    X(QUOTA, CERTAIN, "too much uncommitted data")                                                 \
    X(CONF_PENDING, CERTAIN, "a membership change is in progress")                                 \
    X(CONF_INVALID, CERTAIN, "the membership change is not valid")                                 \
    X(NOT_MEMBER, CERTAIN, "not a member of the group")                                            \
    X(STALE, CERTAIN, "the request is older than the state")                                       \
    X(BAD_MESSAGE, CERTAIN, "a message is malformed")                                              \
    X(TOO_MANY, CERTAIN, "too many requests in progress")                                          \
    X(NOT_READY, CERTAIN, "not ready yet")                                                         \
    X(FETCHING, CERTAIN, "log entries are being fetched")                                          \
    X(FROZEN, CERTAIN, "the group is frozen by a broken invariant")                                \
    /* routing and lifecycle */                                                                    \
    X(EPOCH_MISMATCH, CERTAIN, "the range has changed")                                            \
    X(NOT_HERE, CERTAIN, "the range has no replica on this node")                                  \
    X(CROSS_RANGE, CERTAIN, "the transaction touches more than one range")                         \
    X(SHUTDOWN, CERTAIN, "the node is stopping")                                                   \
    X(TIMEOUT, CERTAIN, "timed out before the request was proposed")                               \
    X(UNKNOWN, UNKNOWN, "the outcome is unknown")                                                  \
    X(LEADER_FAILED, UNKNOWN, "the leader failed before it answered")                              \
    X(CANCELED, UNKNOWN, "canceled by the client")                                                 \
    /* data */                                                                                     \
    X(COMPACTED, CERTAIN, "the revision has been compacted")                                       \
    X(FUTURE_REVISION, CERTAIN, "the revision is in the future")                                   \
    X(EMPTY_KEY, CERTAIN, "the key is empty")                                                      \
    X(KEY_NOT_FOUND, CERTAIN, "the key does not exist")                                            \
    X(VALUE_PROVIDED, CERTAIN, "a value was given with ignore_value")                              \
    X(LEASE_PROVIDED, CERTAIN, "a lease was given with ignore_lease")                              \
    X(LEASE_NOT_FOUND, CERTAIN, "the lease does not exist")                                        \
    X(TOO_MANY_OPS, CERTAIN, "too many operations in one transaction")                             \
    X(DUPLICATE_KEY, CERTAIN, "a key is written twice in one transaction")                         \
    X(TOO_LARGE, CERTAIN, "the request is too large")                                              \
    X(TOO_DEEP, CERTAIN, "the request is nested too deeply")                                       \
    X(INVALID_SORT, CERTAIN, "the sort option is not valid")                                       \
    X(INVALID, CERTAIN, "an argument is not valid")                                                \
    X(NOT_FOUND, CERTAIN, "not found")                                                             \
    X(EXISTS, CERTAIN, "exists already")                                                           \
    X(NO_SPACE, CERTAIN, "the disk is full")                                                       \
    /* durable state and peers */                                                                  \
    X(IO, UNKNOWN, "an input or output operation failed")                                          \
    X(CORRUPT, UNKNOWN, "durable data is corrupt")                                                 \
    X(TRUNCATED, CERTAIN, "the input ends too early")                                              \
    X(NEWER_FORMAT, CERTAIN, "the format is newer than this program")                              \
    X(LOCKED, CERTAIN, "another process holds the lock")                                           \
    X(FOREIGN_CLUSTER, CERTAIN, "it belongs to another cluster")                                   \
    X(REFUSED, CERTAIN, "refused")                                                                 \
    X(NOT_SUPPORTED, CERTAIN, "not supported")

enum fl_status {
#define X(name, outcome, text) FL_##name,
    FL_STATUS_MAP(X)
#undef X
        FL_STATUS_COUNT
};

#define FL_MUST_USE __attribute__((warn_unused_result))

/* Returns the status from the current function unless it is FL_OK. */
#define FL_TRY(expression)                                                                         \
    do {                                                                                           \
        enum fl_status fl_try_status_ = (expression);                                              \
        if (fl_try_status_ != FL_OK) {                                                             \
            return fl_try_status_;                                                                 \
        }                                                                                          \
    } while (0)

/* Stores the status in `status` and jumps to `out` unless it is FL_OK. */
#define FL_TRY_OUT(expression)                                                                     \
    do {                                                                                           \
        status = (expression);                                                                     \
        if (status != FL_OK) {                                                                     \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

/* Name as in the source ("NOT_LEADER"); "?" for a value outside the list. */
const char *fl_status_name(enum fl_status status);
/* One sentence without a full stop. */
const char *fl_status_text(enum fl_status status);
/* True when a write answered with this status may have been applied. */
bool fl_status_is_unknown(enum fl_status status);

#endif
