/* A naive multi-version store: every version ever written in one array, every question a full scan.
 *
 * Owner: the test. Lifetime: model_init to model_close. Threads: the test's only.
 *
 * Written from etcd's documented semantics, not from the shard: what both agree on over thousands
 * of random operations is what clients will see. */
#ifndef TESTS_SHARD_MODEL_H
#define TESTS_SHARD_MODEL_H

#include "raftgroup/base/buf.h"
#include "shard/command.h"
#include "shard/result.h"

#include <stddef.h>
#include <stdint.h>

struct model_version {
    uint8_t *memory; /* key, then value */
    struct shard_kv kv;
    uint64_t end; /* revision that ended it, 0: current */
};

struct model {
    struct model_version *versions;
    size_t count;
    size_t capacity;
    uint64_t revision;
    uint64_t compact;
};

struct model_answer {
    enum fl_status status;
    uint64_t revision;
    struct fl_buf *result; /* the caller's; NULL unless FL_OK */
};

void model_init(struct model *model, uint64_t revision);
void model_close(struct model *model);

struct model_answer model_put(struct model *model, const struct shard_put *put);
struct model_answer model_delete(struct model *model, const struct shard_delete *del);
struct model_answer model_txn(struct model *model, const struct shard_txn *txn);
struct model_answer model_compact(struct model *model, uint64_t revision);
struct model_answer model_read(const struct model *model, const struct shard_read *read);
/* Keys that exist now. */
uint64_t model_live_keys(const struct model *model);

#endif
