/* Looks at the wire bytes of a request before protobuf-c does: nesting, number of fields, form.
 *
 * Owner: none. Lifetime: of the call. Threads: any (pure).
 *
 * protobuf-c unpacks by recursion without a limit, and grows by tens of bytes for a field of two;
 * a request of 34 KB can end the process. This walk is iterative and bounded, so what passes is
 * harmless to unpack (DR-2 in README.md). */
#ifndef API_WIRE_GUARD_H
#define API_WIRE_GUARD_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"

#include <protobuf-c/protobuf-c.h>

/* A Txn at level n is a message at depth 2n - 1 (a RequestOp lies between); its leaves one more. */
#define API_WIRE_DEPTH_MAX (2 * FL_TXN_DEPTH_MAX + 1)
/* Fields of one request, unknown ones included. Three full lists of 128 operations have 6000. */
#define API_WIRE_FIELDS_MAX 65536

/* May `wire` be unpacked as `descriptor`? FL_BAD_MESSAGE: truncated, an unknown wire type, or a
 * single message field that is given twice (legal, but no client does it, and merging costs
 * quadratic time); FL_TOO_DEEP: beyond API_WIRE_DEPTH_MAX; FL_TOO_MANY_OPS: too many fields. */
FL_MUST_USE enum fl_status api_wire_check(struct fl_bytes wire,
                                          const ProtobufCMessageDescriptor *descriptor);

#endif
