/* What the files of the engine in memory share.
 *
 * Owner: the engine. Lifetime: as shard/engine.h. Threads: one. */
#ifndef TESTS_SIM_ENGINE_INTERNAL_H
#define TESTS_SIM_ENGINE_INTERNAL_H

#include "tests/sim/engine_memory.h"

struct sim__version {
    struct sim__version *older;
    uint64_t seq;
    bool deleted;
    size_t len;
    uint8_t value[];
};

struct sim__row {
    struct sim__version *newest;
    size_t key_len;
    uint8_t key[];
};

enum sim__op_kind { SIM__PUT, SIM__DELETE, SIM__DELETE_RANGE };

/* A write of a batch or of a file; of a range, `value` is its end. */
struct sim__op {
    struct sim__op *next;
    enum sim__op_kind kind;
    size_t key_len;
    size_t value_len;
    uint8_t bytes[];
};

struct sim__ops {
    struct sim__op *first;
    struct sim__op *last;
    size_t count;
    size_t bytes;
};

struct sim__file {
    struct sim__file *next;
    char *path;
    struct sim__ops ops;
};

struct shard_engine {
    struct shard_engine_options options;
    struct sim__row **rows; /* by key */
    size_t count;
    size_t capacity;
    uint64_t seq;       /* of the last commit */
    uint64_t durable;   /* everything up to here survives a crash */
    uint64_t write_seq; /* of the commit being made */
    uint64_t unflushed; /* bytes */
    unsigned pins;      /* snapshots, values and iterators: nothing is pruned */
    enum fl_status fault;
    char why[128];
    struct sim__file *files; /* finished, not ingested */
};

struct shard_engine_snapshot {
    struct shard_engine *engine;
    uint64_t seq;
};

struct shard_batch {
    struct shard_engine *engine;
    struct sim__ops ops;
};

static inline struct fl_bytes sim__row_key(const struct sim__row *row)
{
    return fl_bytes(row->key, row->key_len);
}

static inline struct fl_bytes sim__op_key(const struct sim__op *op)
{
    return fl_bytes(op->bytes, op->key_len);
}

static inline struct fl_bytes sim__op_value(const struct sim__op *op)
{
    return fl_bytes(op->bytes + op->key_len, op->value_len);
}

/* ---- engine_memory.c ---- */

size_t sim__lower_bound(const struct shard_engine *e, struct fl_bytes key);
/* NULL when there is nothing, or a deletion. */
const struct sim__version *sim__visible(const struct sim__row *row, uint64_t seq);
void sim__apply_op(struct shard_engine *e, const struct sim__op *op);

/* ---- engine_batch.c ---- */

void sim__ops_add(struct sim__ops *ops,
                  enum sim__op_kind kind,
                  struct fl_bytes key,
                  struct fl_bytes value,
                  struct fl_bytes rest);
void sim__ops_clear(struct sim__ops *ops);
void sim__files_close(struct shard_engine *e);

#endif
