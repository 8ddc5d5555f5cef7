/* Commands: what a Raft entry of type NORMAL carries into a shard.
 *
 * Owner: an encoded command is one fl_buf; decoded slices borrow from it. Lifetime: of that buffer.
 * Threads: any (pure); the header of a buffer may be patched only before the buffer is shared.
 *
 *   off size field                                     little-endian
 *    0   1   version = 1
 *    1   1   kind (enum shard_command_kind; kinds from 64 up belong to the placement machine)
 *    2   2   flags = 0
 *    4   4   boot of the origin
 *    8   8   node id of the origin
 *   16   8   seq (0: no dedupe)
 *   24   8   finished_below: every seq of this origin below it is answered
 *   32   8   revision (0: the shard takes its last + 1 if the command writes)
 *   40   8   epoch: version of the range, must match exactly
 *   48  ..   body
 *
 * An empty payload (Raft's own no-op) is legal and does nothing. */
#ifndef SHARD_COMMAND_H
#define SHARD_COMMAND_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"
#include "shard/read.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARD_COMMAND_HEADER_BYTES 48
#define SHARD_COMMAND_VERSION      1
/* Operations of a whole Txn, nested ones included: a bound on the work of validating and applying.
 * etcd bounds only each level; no client comes near. */
#define SHARD_TXN_TOTAL_MAX 16384

enum shard_command_kind {
    SHARD_COMMAND_PUT = 1,
    SHARD_COMMAND_DELETE_RANGE = 2,
    SHARD_COMMAND_TXN = 3,
    SHARD_COMMAND_COMPACT = 4,
    SHARD_COMMAND_MARK = 5,             /* revision high-water mark of the oracle */
    SHARD_COMMAND_PLACEMENT_FIRST = 64, /* and up: the placement machine's */
};

/* Who sent a write first; node id 0: nobody, no dedupe. */
struct shard_origin {
    uint64_t node_id;
    uint32_t boot;
};

struct shard_command {
    uint8_t kind;
    struct shard_origin origin;
    uint64_t seq;
    uint64_t finished_below;
    uint64_t revision;
    uint64_t epoch;
    struct fl_bytes body;
};

struct shard_put {
    struct fl_bytes key;
    struct fl_bytes value;
    int64_t lease;
    bool prev_kv;
    bool ignore_value;
    bool ignore_lease;
};

struct shard_delete {
    struct fl_bytes key;
    struct fl_bytes end; /* as in struct shard_read */
    bool prev_kv;
};

/* Numbers are etcd's. */
enum shard_compare_result {
    SHARD_COMPARE_EQUAL,
    SHARD_COMPARE_GREATER,
    SHARD_COMPARE_LESS,
    SHARD_COMPARE_NOT_EQUAL,
};

enum shard_compare_target {
    SHARD_COMPARE_VERSION,
    SHARD_COMPARE_CREATE,
    SHARD_COMPARE_MOD,
    SHARD_COMPARE_VALUE,
    SHARD_COMPARE_LEASE,
};

struct shard_compare {
    uint32_t result; /* enum shard_compare_result; other values: the comparison is true (etcd) */
    uint32_t target; /* enum shard_compare_target; other values are refused by validate */
    struct fl_bytes key;
    struct fl_bytes end;   /* as in struct shard_read; must hold for every key there */
    int64_t number;        /* for all targets but VALUE */
    struct fl_bytes value; /* for VALUE */
};

enum shard_op_kind {
    SHARD_OP_NONE, /* an empty RequestOp: validate answers FL_KEY_NOT_FOUND, as etcd does */
    SHARD_OP_RANGE,
    SHARD_OP_PUT,
    SHARD_OP_DELETE_RANGE,
    SHARD_OP_TXN,
};

struct shard_op;

struct shard_ops {
    struct shard_op *ops;
    size_t count;
};

struct shard_txn {
    struct shard_compare *compares;
    size_t compare_count;
    struct shard_ops then_ops;
    struct shard_ops else_ops;
    bool succeeded; /* the machine's: which branch was taken */
};

struct shard_op {
    enum shard_op_kind kind;
    union {
        struct shard_read range;
        struct shard_put put;
        struct shard_delete del;
        struct shard_txn txn;
    };
};

/* ---- building: each returns a command with an all-zero origin, seq, revision and epoch ---- */

/* The inputs should be valid (shard_put_validate ..); sizes are checked: FL_TOO_LARGE beyond
 * FL_ENTRY_BYTES_MAX, FL_TOO_DEEP beyond FL_TXN_DEPTH_MAX levels, FL_KEY_NOT_FOUND for an operation
 * without kind. The caller owns *command. */
FL_MUST_USE enum fl_status shard_command_put(const struct shard_put *put, struct fl_buf **command);
FL_MUST_USE enum fl_status shard_command_delete(const struct shard_delete *del,
                                                struct fl_buf **command);
FL_MUST_USE enum fl_status shard_command_txn(const struct shard_txn *txn, struct fl_buf **command);
/* `force`: raise the shard's compact revision to at least `revision`, whatever it was (fan-out). */
struct fl_buf *shard_command_compact(uint64_t revision, bool force);
struct fl_buf *shard_command_mark(uint64_t mark);
/* Any kind with a body of the caller's: for the placement machine. */
FL_MUST_USE enum fl_status
shard_command_create(uint8_t kind, struct fl_bytes body, struct fl_buf **command);

/* Patch the header in place; the buffer must not be shared yet and hold a whole header. */
void shard_command_set_origin(struct fl_buf *command,
                              struct shard_origin origin,
                              uint64_t seq,
                              uint64_t finished_below);
void shard_command_set_revision(struct fl_buf *command, uint64_t revision);
void shard_command_set_epoch(struct fl_buf *command, uint64_t version);

/* ---- validation, with etcd's rules and order; call it before proposing ---- */

/* FL_EMPTY_KEY, FL_VALUE_PROVIDED, FL_LEASE_PROVIDED, FL_LEASE_NOT_FOUND (any lease but 0: leases
 * do not exist yet), FL_TOO_LARGE (key). */
FL_MUST_USE enum fl_status shard_put_validate(const struct shard_put *put);
/* FL_EMPTY_KEY, FL_TOO_LARGE (key). */
FL_MUST_USE enum fl_status shard_delete_validate(const struct shard_delete *del);
/* The above for every operation, and FL_TOO_MANY_OPS, FL_DUPLICATE_KEY, FL_TOO_DEEP,
 * FL_INVALID_SORT, FL_KEY_NOT_FOUND (empty operation), FL_INVALID (unknown compare target). */
FL_MUST_USE enum fl_status shard_txn_validate(const struct shard_txn *txn);

/* ---- reading ---- */

/* The header of a payload that is not empty. Body is borrowed and not looked at. FL_BAD_MESSAGE,
 * FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status shard_command_decode(struct fl_bytes payload,
                                                struct shard_command *command);
/* Bodies; slices borrow from `body`. FL_BAD_MESSAGE. */
FL_MUST_USE enum fl_status shard_put_decode(struct fl_bytes body, struct shard_put *put);
FL_MUST_USE enum fl_status shard_delete_decode(struct fl_bytes body, struct shard_delete *del);
FL_MUST_USE enum fl_status
shard_compact_decode(struct fl_bytes body, uint64_t *revision, bool *force);
FL_MUST_USE enum fl_status shard_mark_decode(struct fl_bytes body, uint64_t *mark);
/* The tree lives in one block: *memory (of *memory_bytes) is grown as needed and may be reused for
 * the next call; the caller frees it at last. FL_BAD_MESSAGE, FL_TOO_DEEP, FL_TOO_MANY_OPS. */
FL_MUST_USE enum fl_status
shard_txn_decode(struct fl_bytes body, struct shard_txn *txn, void **memory, size_t *memory_bytes);

/* The keys a command touches: from `key`, smallest one, to `end`, exclusive. `end` is empty when it
 * is just `key`, "\0" when it reaches to the end of the key space (the form of a request). For
 * routing and the epoch check: every key a PUT, DELETE_RANGE or TXN reads or writes lies in it.
 * COMPACT and MARK touch no key: `key` is empty. Slices borrow from `payload` or are static.
 * Errors as the decoders. */
FL_MUST_USE enum fl_status
shard_command_span(struct fl_bytes payload, struct fl_bytes *key, struct fl_bytes *end);

#endif
