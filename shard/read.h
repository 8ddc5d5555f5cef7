/* A range read, as doors ask for it and nodes forward it: the fields of etcd's RangeRequest.
 *
 * Owner: slices are borrowed. Lifetime: of what they point into. Threads: any (pure).
 *
 * Order of evaluation: rows of [key, end) at `revision`; `count` is taken; the min/max filters drop
 * rows; the sort orders them; `limit` cuts; keys_only drops the values. */
#ifndef SHARD_READ_H
#define SHARD_READ_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stdint.h>

enum shard_sort_order {
    SHARD_SORT_NONE, /* ascending */
    SHARD_SORT_ASCEND,
    SHARD_SORT_DESCEND,
};

enum shard_sort_target {
    SHARD_SORT_KEY,
    SHARD_SORT_VERSION,
    SHARD_SORT_CREATE,
    SHARD_SORT_MOD,
    SHARD_SORT_VALUE,
};

/* Equal sort targets keep key order (ascending, also in a descending sort). */
struct shard_read {
    struct fl_bytes key;
    struct fl_bytes end;  /* empty: just `key`; "\0": every key from `key` on; exclusive */
    uint64_t limit;       /* 0: none (a door maps negative numbers to 0) */
    uint64_t revision;    /* 0: newest (a door maps negative numbers to 0) */
    uint32_t sort_order;  /* enum shard_sort_order; other values are refused by validate */
    uint32_t sort_target; /* enum shard_sort_target */
    bool serializable;    /* may be answered from any replica */
    bool keys_only;
    bool count_only;
    int64_t min_mod_revision; /* 0: off, here and below */
    int64_t max_mod_revision;
    int64_t min_create_revision;
    int64_t max_create_revision;
};

/* FL_EMPTY_KEY, FL_INVALID_SORT (unknown order or target), FL_TOO_LARGE (a key beyond
 * FL_KEY_BYTES_MAX). */
FL_MUST_USE enum fl_status shard_read_validate(const struct shard_read *read);

/* Appends the encoding to `w` (byte table in README.md). */
void shard_read_encode(const struct shard_read *read, struct fl_writer *w);
/* Decodes the whole of `input`; slices borrow from it. FL_BAD_MESSAGE, FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status shard_read_decode(struct shard_read *read, struct fl_bytes input);

/* True for "\0": every key from the first one on. */
static inline bool shard_end_is_open(struct fl_bytes end)
{
    return end.len == 1 && end.data[0] == 0;
}

/* The read to send to one of several ranges so that shard_result_merge can do the rest: the same
 * one, with values kept when the sort needs them. */
void shard_read_part(const struct shard_read *read, struct shard_read *part);

#endif
