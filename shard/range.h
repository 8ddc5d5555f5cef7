/* The descriptor of one range: which keys, at which epoch, held by which replicas.
 *
 * Owner: the struct owns the memory of its keys. Lifetime: shard_range_init to shard_range_close.
 * Threads: the owner's only; a descriptor that is shared is immutable.
 *
 * An empty `end` means "no upper end". The epoch is (version, conf_version): version grows when the
 * interval changes, conf_version when the members do. */
#ifndef SHARD_RANGE_H
#define SHARD_RANGE_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shard_replica_role {
    SHARD_REPLICA_VOTER = 1,
    SHARD_REPLICA_LEARNER = 2,
};

struct shard_replica {
    uint64_t node_id;    /* never 0 */
    uint64_t replica_id; /* never 0, below next_replica_id, unique in the descriptor */
    enum shard_replica_role role;
};

struct shard_range {
    uint64_t group_id; /* never 0, never reused */
    uint64_t version;
    uint64_t conf_version;
    uint64_t generation;      /* grows with every change of the descriptor */
    uint64_t next_replica_id; /* above every replica id ever given in this group */
    struct fl_bytes start;
    struct fl_bytes end;    /* start < end, or empty */
    uint32_t replica_count; /* <= FL_REPLICAS_MAX */
    struct shard_replica replicas[FL_REPLICAS_MAX];
    uint8_t *keys; /* memory of start and end; NULL when both are empty */
};

/* An empty descriptor: no group, no replica, all keys. */
void shard_range_init(struct shard_range *range);
/* Sets the interval to copies of `start` and `end`, which may point into `range` itself. */
void shard_range_set_interval(struct shard_range *range,
                              struct fl_bytes start,
                              struct fl_bytes end);
/* Deep copy; `to` is overwritten without being closed. */
void shard_range_copy(struct shard_range *to, const struct shard_range *from);
/* Frees the keys and leaves an empty descriptor. */
void shard_range_close(struct shard_range *range);

/* Appends the encoding (versioned; byte table in README.md) to `w`. */
void shard_range_encode(const struct shard_range *range, struct fl_writer *w);
/* Decodes one descriptor from the front of `r` and leaves `r` behind it; keys are copied. On error
 * `range` is empty and need not be closed. FL_BAD_MESSAGE: malformed or not shard_range_valid;
 * FL_NEWER_FORMAT: a version this program does not know. */
FL_MUST_USE enum fl_status shard_range_decode(struct shard_range *range, struct fl_reader *r);

/* Ids are set and unique, the interval is not empty, keys are within FL_KEY_BYTES_MAX. */
bool shard_range_valid(const struct shard_range *range);
bool shard_range_equal(const struct shard_range *a, const struct shard_range *b);
/* start <= key < end. */
bool shard_range_contains(const struct shard_range *range, struct fl_bytes key);
/* Lies [key, end) inside the range? `end` as in requests: empty: just `key`; "\0": to the end of
 * the key space; an empty interval (end <= key) lies where its key lies. */
bool shard_range_covers(const struct shard_range *range, struct fl_bytes key, struct fl_bytes end);
/* The replica on a node or with an id; NULL if there is none. Borrowed. */
const struct shard_replica *shard_range_replica_on(const struct shard_range *range,
                                                   uint64_t node_id);
const struct shard_replica *shard_range_replica(const struct shard_range *range,
                                                uint64_t replica_id);

#endif
