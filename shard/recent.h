/* Rows this thread has written lately: a bounded table that answers without a search in the engine.
 *
 * Owner: a batch. Lifetime: init to close. Threads: the batch's.
 *
 * Overwriting a key needs its old version, and a search in a memtable of 64 MB costs more than all
 * the rest of a look-up. Whatever is not here is simply looked up: rows give way in turn, within
 * the bucket of a hash or when all together are too large, and everything is forgotten when anybody
 * else may have written (shard__count_commit).
 *
 *     bucket    8 hashes | 8 rows          a look-up reads one bucket and the row it finds */
#ifndef SHARD_RECENT_H
#define SHARD_RECENT_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARD_RECENT_VALUE_BYTES_MAX 4096 /* larger values are not kept */

struct shard_recent_bucket;

struct shard_recent {
    struct shard_recent_bucket *buckets; /* NULL until something is kept */
    size_t bucket_count;                 /* a power of two */
    size_t bytes;
    size_t bytes_max; /* 0: keeps nothing */
    size_t hand;      /* next bucket to be emptied when all together are too large */
    size_t turn;      /* which row of a full bucket gives way next */
    uint64_t age;     /* rows of another age are forgotten */
};

/* Keeps rows of together at most about `bytes_max`. */
void shard_recent_init(struct shard_recent *recent, size_t bytes_max);
void shard_recent_close(struct shard_recent *recent);
/* The row under `key` is now `value`. */
void shard_recent_put(struct shard_recent *recent,
                      uint32_t hash,
                      struct fl_bytes key,
                      struct fl_bytes value);
/* The row under `key` is gone, or not to be kept. */
void shard_recent_remove(struct shard_recent *recent, uint32_t hash, struct fl_bytes key);
/* Forgets every row; costs nothing. */
void shard_recent_forget(struct shard_recent *recent);
/* True: `value` is borrowed until the next call that changes something. */
bool shard_recent_get(const struct shard_recent *recent,
                      uint32_t hash,
                      struct fl_bytes key,
                      struct fl_bytes *value);

#endif
