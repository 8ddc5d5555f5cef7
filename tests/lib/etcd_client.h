/* The part of etcd's v3 API that tests use, typed, on top of etcd_call.h.
 *
 * Owner: the caller owns loops, channels and replies. Lifetime: a reply until etcd_reply_close; its
 * keys and values point into it. Threads: as etcd_call.h.
 *
 * Each call exists twice: etcd_put starts it and answers through a callback, etcd_put_sync runs the
 * loop until its own answer is there (callbacks of other calls in flight run meanwhile). */
#ifndef TESTS_LIB_ETCD_CLIENT_H
#define TESTS_LIB_ETCD_CLIENT_H

#include "tests/lib/etcd_call.h"

struct etcd_kv {
    struct fl_bytes key;
    struct fl_bytes value;
    int64_t create_revision;
    int64_t mod_revision;
    int64_t version;
};

enum etcd_op_kind {
    ETCD_OP_PUT,
    ETCD_OP_GET,
    ETCD_OP_DELETE,
};

/* An operation inside a txn. `range_end` empty: one key. */
struct etcd_op {
    enum etcd_op_kind kind;
    struct fl_bytes key;
    struct fl_bytes range_end;
    struct fl_bytes value;
};

enum etcd_compare_kind {
    ETCD_VALUE_EQUAL,
    ETCD_VALUE_NOT_EQUAL, /* exists and differs */
    ETCD_ABSENT,          /* version = 0 */
    ETCD_EXISTS,          /* version != 0 */
};

struct etcd_compare {
    enum etcd_compare_kind kind;
    struct fl_bytes key;
    struct fl_bytes value;
};

struct etcd_txn {
    const struct etcd_compare *compares;
    size_t compare_count;
    const struct etcd_op *success;
    size_t success_count;
    const struct etcd_op *failure;
    size_t failure_count;
};

/* What one operation of a txn answered. */
struct etcd_op_reply {
    struct etcd_kv *kvs;
    size_t kv_count;
    int64_t deleted;
};

/* Fields a method does not answer stay 0. */
struct etcd_reply {
    bool done; /* the synchronous calls wait for it */
    enum etcd_outcome outcome;
    int code;
    char text[256];
    uint64_t cluster_id, member_id, raft_term;
    int64_t revision;
    struct etcd_kv *kvs; /* range */
    size_t kv_count;
    int64_t count; /* range */
    bool more;
    int64_t deleted;           /* delete */
    bool succeeded;            /* txn */
    struct etcd_op_reply *ops; /* txn */
    size_t op_count;
    uint32_t hash; /* hash kv */
    int64_t compact_revision;
    uint64_t leader; /* status */
    char version[64];
    void *message; /* what keys and values point into */
    enum etcd_method method;
};

/* Options of a range. */
struct etcd_range {
    struct fl_bytes key;
    struct fl_bytes range_end; /* empty: one key */
    int64_t limit;
    int64_t revision;
    bool serializable;
    bool keys_only;
    bool count_only;
};

/* Each starts one call; `done` gets an etcd_answer, which etcd_reply_parse turns into a reply.
 * Arguments are copied. */
void etcd_put(struct etcd_channel *channel,
              struct fl_bytes key,
              struct fl_bytes value,
              int timeout_ms,
              etcd_answer_fn done,
              void *context);
void etcd_range(struct etcd_channel *channel,
                const struct etcd_range *range,
                int timeout_ms,
                etcd_answer_fn done,
                void *context);
void etcd_delete(struct etcd_channel *channel,
                 struct fl_bytes key,
                 struct fl_bytes range_end,
                 int timeout_ms,
                 etcd_answer_fn done,
                 void *context);
void etcd_txn(struct etcd_channel *channel,
              const struct etcd_txn *txn,
              int timeout_ms,
              etcd_answer_fn done,
              void *context);
void etcd_compact(struct etcd_channel *channel,
                  int64_t revision,
                  int timeout_ms,
                  etcd_answer_fn done,
                  void *context);
void etcd_status(struct etcd_channel *channel, int timeout_ms, etcd_answer_fn done, void *context);
void etcd_hash_kv(struct etcd_channel *channel,
                  int64_t revision,
                  int timeout_ms,
                  etcd_answer_fn done,
                  void *context);

/* Fills `reply` from the answer to a call of `method`. An answer that does not parse becomes
 * outcome UNKNOWN with a text saying so. */
void etcd_reply_parse(struct etcd_reply *reply,
                      enum etcd_method method,
                      const struct etcd_answer *answer);

/* The same calls, waiting for the answer. The caller closes `reply`; its outcome is returned. */
enum etcd_outcome etcd_put_sync(struct etcd_channel *channel,
                                struct fl_bytes key,
                                struct fl_bytes value,
                                int timeout_ms,
                                struct etcd_reply *reply);
enum etcd_outcome etcd_range_sync(struct etcd_channel *channel,
                                  const struct etcd_range *range,
                                  int timeout_ms,
                                  struct etcd_reply *reply);
enum etcd_outcome etcd_delete_sync(struct etcd_channel *channel,
                                   struct fl_bytes key,
                                   struct fl_bytes range_end,
                                   int timeout_ms,
                                   struct etcd_reply *reply);
enum etcd_outcome etcd_txn_sync(struct etcd_channel *channel,
                                const struct etcd_txn *txn,
                                int timeout_ms,
                                struct etcd_reply *reply);
enum etcd_outcome etcd_compact_sync(struct etcd_channel *channel,
                                    int64_t revision,
                                    int timeout_ms,
                                    struct etcd_reply *reply);
enum etcd_outcome
etcd_status_sync(struct etcd_channel *channel, int timeout_ms, struct etcd_reply *reply);
enum etcd_outcome etcd_hash_kv_sync(struct etcd_channel *channel,
                                    int64_t revision,
                                    int timeout_ms,
                                    struct etcd_reply *reply);

/* Sends `request` as the message of `method`, whatever it is: for hostile input. */
enum etcd_outcome etcd_raw_sync(struct etcd_channel *channel,
                                enum etcd_method method,
                                struct fl_bytes request,
                                int timeout_ms,
                                struct etcd_reply *reply);

/* First key after all keys with `prefix`, written to `out` (of prefix.len bytes); empty prefixes
 * and prefixes of 0xff bytes give "\0", everything from the prefix on. */
struct fl_bytes etcd_prefix_end(struct fl_bytes prefix, uint8_t *out);

/* Frees what the reply holds. */
void etcd_reply_close(struct etcd_reply *reply);

#endif
