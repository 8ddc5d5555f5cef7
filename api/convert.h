/* Between etcd's messages and the shard's requests and results. Nothing is copied: slices point
 * into the message, fields of messages into the result.
 *
 * Owner: memory made here belongs to the arena given. Lifetime: of that arena, and of what the
 * slices point into. Threads: the caller's. */
#ifndef API_CONVERT_H
#define API_CONVERT_H

#include "api/arena.h"
#include "api/proto/rpc.pb-c.h"
#include "raftgroup/base/status.h"
#include "shard/command.h"
#include "shard/read.h"
#include "shard/result.h"

/* Requests. Negative limits and revisions become 0, as etcd reads them. */
void api_read_from(const Etcdserverpb__RangeRequest *message, struct shard_read *read);
void api_put_from(const Etcdserverpb__PutRequest *message, struct shard_put *put);
void api_delete_from(const Etcdserverpb__DeleteRangeRequest *message, struct shard_delete *del);
/* The nesting must have passed the wire guard. */
void api_txn_from(struct api_arena *arena,
                  const Etcdserverpb__TxnRequest *message,
                  struct shard_txn *txn);

/* Results into initialised messages; headers are left alone, except those of the responses inside
 * a Txn, which get their revision. FL_BAD_MESSAGE: the result is not what the message needs. */
FL_MUST_USE enum fl_status api_range_to(struct api_arena *arena,
                                        struct shard_result *result,
                                        Etcdserverpb__RangeResponse *message);
FL_MUST_USE enum fl_status api_put_to(struct api_arena *arena,
                                      struct shard_result *result,
                                      Etcdserverpb__PutResponse *message);
FL_MUST_USE enum fl_status api_delete_to(struct api_arena *arena,
                                         struct shard_result *result,
                                         Etcdserverpb__DeleteRangeResponse *message);
/* The tree must have passed shard_result_check. */
FL_MUST_USE enum fl_status api_txn_to(struct api_arena *arena,
                                      struct shard_result *result,
                                      Etcdserverpb__TxnResponse *message);

/* A C string of the arena. */
char *api_arena_text(struct api_arena *arena, const char *text);
/* Splits a comma-separated text into strings of the arena; *count is 0 for an empty text. */
char **api_arena_split(struct api_arena *arena, const char *text, size_t *count);

#endif
