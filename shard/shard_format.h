/* Rows of the data engine: keys and values on disk.
 *
 * Owner: the caller's buffers. Lifetime: decoded slices borrow from the input. Threads: any (pure).
 *
 *   'a' group(be64)                    apply state of a group
 *   'c' key                            current version of a key
 *   'd' group(be64)                    descriptor (range.h)
 *   'h' escaped(key) ~mod_rev(be64)    a version that was superseded or deleted
 *   'p' ...                            the placement machine's
 *   's' group(be64)                    session records (session.h)
 *
 * escaped: 00 -> 00 ff, end 00 01: keeps the order of keys. ~mod_rev: newest version first.
 * Values start with a version byte; byte tables are in README.md. */
#ifndef SHARD_SHARD_FORMAT_H
#define SHARD_SHARD_FORMAT_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"
#include "shard/result.h"

#include <stdbool.h>
#include <stdint.h>

#define SHARD_ROW_STATE      'a'
#define SHARD_ROW_CURRENT    'c'
#define SHARD_ROW_DESCRIPTOR 'd'
#define SHARD_ROW_HISTORY    'h'
#define SHARD_ROW_PLACEMENT  'p'
#define SHARD_ROW_SESSION    's'

#define SHARD_GROUP_KEY_BYTES 9

/* Value of an 'a' row. */
struct shard_state {
    uint64_t applied_index;
    uint64_t applied_term;
    uint64_t last_revision;
    uint64_t compact_revision; /* <= last_revision, unless forced beyond it */
    uint64_t mark;
    uint64_t live_keys;
    struct raft_conf conf;
};

/* 'a', 'd' or 's' row of a group. */
void shard_group_key(uint8_t kind, uint64_t group_id, uint8_t out[SHARD_GROUP_KEY_BYTES]);
/* Appends the key of a current row. */
void shard_current_key(struct fl_writer *w, struct fl_bytes key);
/* Appends 'h' and the escaped key without the revision. */
void shard_history_prefix(struct fl_writer *w, struct fl_bytes key);
/* Appends the key of a history row. */
void shard_history_key(struct fl_writer *w, struct fl_bytes key, uint64_t mod_revision);
/* Appends where the rows of the interval's bound begin: for `start`, and for an exclusive `end`
 * (empty: the end of all rows of that kind). */
void shard_current_bound(struct fl_writer *w, struct fl_bytes key, bool upper);
void shard_history_bound(struct fl_writer *w, struct fl_bytes key, bool upper);
/* Appends the user key of a history row to `key` and gives its revision. FL_CORRUPT. */
FL_MUST_USE enum fl_status
shard_history_key_decode(struct fl_bytes row, struct fl_writer *key, uint64_t *mod_revision);

/* Value of a 'c' row (end_revision 0) or 'h' row; kv->key is not part of it. */
void shard_version_head(struct fl_writer *w, const struct shard_kv *kv, uint64_t end_revision);
/* The value part of `kv` is borrowed; kv->key is left alone. FL_CORRUPT, FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status shard_current_decode(struct fl_bytes row, struct shard_kv *kv);
FL_MUST_USE enum fl_status
shard_history_decode(struct fl_bytes row, struct shard_kv *kv, uint64_t *end_revision);

void shard_state_encode(struct fl_writer *w, const struct shard_state *state);
FL_MUST_USE enum fl_status shard_state_decode(struct fl_bytes row, struct shard_state *state);

#endif
