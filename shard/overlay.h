/* What a batch has written so far, by key: rows within its encoding, and ranges it deleted.
 *
 * Owner: a batch. Lifetime: init to close. Threads: the batch's.
 *
 * A row only knows where it sits in the engine's own encoding of the batch, so reading back costs
 * no copy. That memory moves when the batch grows: who looks at keys or values passes it along, as
 * `encoding`. No engine here, only its layout: the value of a put is always the tail of what the
 * put appended, and the key lies before it with the length of the value in between. Both are
 * checked. */
#ifndef SHARD_OVERLAY_H
#define SHARD_OVERLAY_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct shard_recent;

struct shard_overlay_row {
    uint32_t hash;
    uint32_t slot; /* of the table */
    uint32_t key_len;
    uint32_t value_len;
    size_t key_at; /* in the encoding */
    size_t value_at;
    bool deleted;
};

struct shard_overlay_range {
    size_t start_at; /* in `range_keys` */
    size_t start_len;
    size_t end_len;
};

struct shard_overlay {
    struct shard_overlay_row *rows; /* one per key, in order of first write */
    size_t row_count;
    size_t row_capacity;
    uint32_t *table; /* open addressing: row number + 1, 0 free; a power of two */
    size_t table_size;
    struct shard_overlay_range *ranges;
    size_t range_count;
    size_t range_capacity;
    struct fl_writer range_keys;
};

void shard_overlay_init(struct shard_overlay *overlay);
/* Allowed on a zeroed one. */
void shard_overlay_close(struct shard_overlay *overlay);
/* Forgets every write, keeps the memory. Allowed on a zeroed one. */
void shard_overlay_clear(struct shard_overlay *overlay);

/* Notes the write of `key` that was just appended to `encoding`. */
void shard_overlay_note(struct shard_overlay *overlay,
                        struct fl_bytes encoding,
                        struct fl_bytes key,
                        size_t value_len,
                        bool deleted);
/* Notes the deletion of [start, end); both are copied. */
void shard_overlay_note_range(struct shard_overlay *overlay,
                              struct fl_bytes encoding,
                              struct fl_bytes start,
                              struct fl_bytes end);
/* Tells `recent` of every row whose key begins with `kind`: it is what a look-up would now find. */
void shard_overlay_remember(const struct shard_overlay *overlay,
                            struct fl_bytes encoding,
                            uint8_t kind,
                            struct shard_recent *recent);

uint32_t shard_overlay_hash(struct fl_bytes key);
/* The row of `key`, borrowed until the next write, or NULL. */
const struct shard_overlay_row *shard_overlay_find(const struct shard_overlay *overlay,
                                                   struct fl_bytes encoding,
                                                   uint32_t hash,
                                                   struct fl_bytes key);
struct fl_bytes shard_overlay_key(const struct shard_overlay_row *row, struct fl_bytes encoding);
struct fl_bytes shard_overlay_value(const struct shard_overlay_row *row, struct fl_bytes encoding);
/* Does a deleted range hide what the engine holds under `key`? */
bool shard_overlay_hides(const struct shard_overlay *overlay, struct fl_bytes key);

/* The rows of an interval in key order, to be merged with those of the engine. */
struct shard_overlay_cursor {
    const struct shard_overlay *overlay;
    uint32_t *numbers; /* of the rows, sorted by key */
    size_t count;
    size_t next; /* == count: behind the last one */
};

/* Whose row comes next. */
enum shard_overlay_turn {
    SHARD_OVERLAY_BASE,      /* the engine's, or nobody's if it has none */
    SHARD_OVERLAY_OWN,       /* the one the cursor stands on */
    SHARD_OVERLAY_SKIP_BASE, /* the engine's is replaced or deleted: move it and ask again */
};

/* The rows of [lower, upper) noted by now; an empty `upper` means no upper bound. Stands on the
 * first. The overlay must outlive the cursor. */
void shard_overlay_cursor_init(struct shard_overlay_cursor *cursor,
                               const struct shard_overlay *overlay,
                               struct fl_bytes encoding,
                               struct fl_bytes lower,
                               struct fl_bytes upper);
/* Allowed on a zeroed one. */
void shard_overlay_cursor_close(struct shard_overlay_cursor *cursor);
/* To the first row at or after `key`. */
void shard_overlay_cursor_seek(struct shard_overlay_cursor *cursor,
                               struct fl_bytes encoding,
                               struct fl_bytes key);
/* The engine stands at `base_key` (if `base_valid`), both at or after the wanted key. Passes over
 * rows of the overlay that are deletions. */
enum shard_overlay_turn shard_overlay_cursor_turn(struct shard_overlay_cursor *cursor,
                                                  struct fl_bytes encoding,
                                                  bool base_valid,
                                                  struct fl_bytes base_key);
/* Past the row it stands on; there must be one. */
void shard_overlay_cursor_next(struct shard_overlay_cursor *cursor);
/* The row it stands on; there must be one. */
const struct shard_overlay_row *shard_overlay_cursor_row(const struct shard_overlay_cursor *cursor);

#endif
