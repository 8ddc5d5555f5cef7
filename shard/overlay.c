/* A batch's own rows: a hash table of places in its encoding. */
#include "shard/overlay.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "shard/recent.h"

#include <stdlib.h>

#define TABLE_SLOTS_MIN 64

void shard_overlay_init(struct shard_overlay *overlay)
{
    *overlay = (struct shard_overlay){.table_size = TABLE_SLOTS_MIN};
    overlay->table = fl_xcalloc(overlay->table_size, sizeof(*overlay->table));
}

void shard_overlay_close(struct shard_overlay *overlay)
{
    fl_writer_close(&overlay->range_keys);
    free(overlay->ranges);
    free(overlay->table);
    free(overlay->rows);
    *overlay = (struct shard_overlay){0};
}

void shard_overlay_clear(struct shard_overlay *overlay)
{
    for (size_t i = 0; i < overlay->row_count; i++) {
        overlay->table[overlay->rows[i].slot] = 0;
    }
    overlay->row_count = 0;
    overlay->range_count = 0;
    fl_writer_reset(&overlay->range_keys);
}

uint32_t shard_overlay_hash(struct fl_bytes key)
{
    return fl_crc32c(0, key.data, key.len);
}

struct fl_bytes shard_overlay_key(const struct shard_overlay_row *row, struct fl_bytes encoding)
{
    return fl_bytes(encoding.data + row->key_at, row->key_len);
}

struct fl_bytes shard_overlay_value(const struct shard_overlay_row *row, struct fl_bytes encoding)
{
    return fl_bytes(encoding.data + row->value_at, row->value_len);
}

/* ---- writes ---- */

/* The slot of `key`: taken by its row, or free. */
static size_t find_slot(const struct shard_overlay *overlay,
                        struct fl_bytes encoding,
                        uint32_t hash,
                        struct fl_bytes key)
{
    size_t mask = overlay->table_size - 1;
    size_t slot = hash & mask;

    while (overlay->table[slot] != 0) {
        const struct shard_overlay_row *row = &overlay->rows[overlay->table[slot] - 1];

        if (row->hash == hash && fl_bytes_equal(shard_overlay_key(row, encoding), key)) {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static void grow_table(struct shard_overlay *overlay)
{
    size_t size = overlay->table_size * 2;
    uint32_t *table = fl_xcalloc(size, sizeof(*table));

    for (size_t i = 0; i < overlay->row_count; i++) {
        size_t slot = overlay->rows[i].hash & (size - 1);

        while (table[slot] != 0) {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (uint32_t)i + 1;
        overlay->rows[i].slot = (uint32_t)slot;
    }
    free(overlay->table);
    overlay->table = table;
    overlay->table_size = size;
}

static size_t varint_len(size_t v)
{
    size_t len = 1;

    while (v >= 0x80) {
        v >>= 7;
        len++;
    }
    return len;
}

void shard_overlay_note(struct shard_overlay *overlay,
                        struct fl_bytes encoding,
                        struct fl_bytes key,
                        size_t value_len,
                        bool deleted)
{
    uint32_t hash = shard_overlay_hash(key);
    size_t slot = find_slot(overlay, encoding, hash, key);
    struct shard_overlay_row *row;

    fl_assert(key.len <= UINT32_MAX && value_len <= UINT32_MAX &&
              overlay->row_count < UINT32_MAX - 1);
    if (overlay->table[slot] == 0) {
        fl_grow(
            &overlay->rows, &overlay->row_capacity, overlay->row_count + 1, sizeof(*overlay->rows));
        overlay->rows[overlay->row_count++] =
            (struct shard_overlay_row){.hash = hash, .slot = (uint32_t)slot};
        overlay->table[slot] = (uint32_t)overlay->row_count;
    }
    row = &overlay->rows[overlay->table[slot] - 1];
    row->deleted = deleted;
    row->key_len = (uint32_t)key.len;
    row->value_len = (uint32_t)value_len;
    row->value_at = encoding.len - value_len;
    row->key_at = encoding.len - key.len;
    if (!deleted) {
        row->key_at -= value_len + varint_len(value_len);
    }
    fl_assert(fl_bytes_equal(shard_overlay_key(row, encoding), key));
    if (overlay->row_count * 2 > overlay->table_size) {
        grow_table(overlay);
    }
}

static bool within(struct fl_bytes key, struct fl_bytes start, struct fl_bytes end)
{
    return fl_bytes_compare(key, start) >= 0 && fl_bytes_compare(key, end) < 0;
}

void shard_overlay_note_range(struct shard_overlay *overlay,
                              struct fl_bytes encoding,
                              struct fl_bytes start,
                              struct fl_bytes end)
{
    for (size_t i = 0; i < overlay->row_count; i++) {
        if (within(shard_overlay_key(&overlay->rows[i], encoding), start, end)) {
            overlay->rows[i].deleted = true;
            overlay->rows[i].value_len = 0;
        }
    }
    fl_grow(&overlay->ranges,
            &overlay->range_capacity,
            overlay->range_count + 1,
            sizeof(*overlay->ranges));
    overlay->ranges[overlay->range_count++] =
        (struct shard_overlay_range){overlay->range_keys.len, start.len, end.len};
    fl_write_raw(&overlay->range_keys, start);
    fl_write_raw(&overlay->range_keys, end);
}

void shard_overlay_remember(const struct shard_overlay *overlay,
                            struct fl_bytes encoding,
                            uint8_t kind,
                            struct shard_recent *recent)
{
    for (size_t i = 0; i < overlay->row_count; i++) {
        const struct shard_overlay_row *row = &overlay->rows[i];
        struct fl_bytes key = shard_overlay_key(row, encoding);

        if (key.len == 0 || key.data[0] != kind) {
            continue;
        }
        if (row->deleted) {
            shard_recent_remove(recent, row->hash, key);
        } else {
            shard_recent_put(recent, row->hash, key, shard_overlay_value(row, encoding));
        }
    }
}

/* ---- reads ---- */

const struct shard_overlay_row *shard_overlay_find(const struct shard_overlay *overlay,
                                                   struct fl_bytes encoding,
                                                   uint32_t hash,
                                                   struct fl_bytes key)
{
    uint32_t number = 0;

    if (overlay->row_count != 0) {
        number = overlay->table[find_slot(overlay, encoding, hash, key)];
    }
    return number != 0 ? &overlay->rows[number - 1] : NULL;
}

bool shard_overlay_hides(const struct shard_overlay *overlay, struct fl_bytes key)
{
    for (size_t i = 0; i < overlay->range_count; i++) {
        const struct shard_overlay_range *range = &overlay->ranges[i];
        const uint8_t *start = overlay->range_keys.data + range->start_at;

        if (within(key,
                   fl_bytes(start, range->start_len),
                   fl_bytes(start + range->start_len, range->end_len))) {
            return true;
        }
    }
    return false;
}

/* ---- merging ---- */

struct sorting {
    const struct shard_overlay *overlay;
    struct fl_bytes encoding;
};

static int compare_rows(const void *va, const void *vb, void *context)
{
    const struct sorting *s = context;

    return fl_bytes_compare(
        shard_overlay_key(&s->overlay->rows[*(const uint32_t *)va], s->encoding),
        shard_overlay_key(&s->overlay->rows[*(const uint32_t *)vb], s->encoding));
}

void shard_overlay_cursor_init(struct shard_overlay_cursor *cursor,
                               const struct shard_overlay *overlay,
                               struct fl_bytes encoding,
                               struct fl_bytes lower,
                               struct fl_bytes upper)
{
    struct sorting sorting = {overlay, encoding};
    size_t capacity = 0;

    *cursor = (struct shard_overlay_cursor){.overlay = overlay};
    for (size_t i = 0; i < overlay->row_count; i++) {
        struct fl_bytes key = shard_overlay_key(&overlay->rows[i], encoding);

        if (fl_bytes_compare(key, lower) >= 0 &&
            (upper.len == 0 || fl_bytes_compare(key, upper) < 0)) {
            fl_grow(&cursor->numbers, &capacity, cursor->count + 1, sizeof(*cursor->numbers));
            cursor->numbers[cursor->count++] = (uint32_t)i;
        }
    }
    if (cursor->count != 0) {
        qsort_r(cursor->numbers, cursor->count, sizeof(*cursor->numbers), compare_rows, &sorting);
    }
}

void shard_overlay_cursor_close(struct shard_overlay_cursor *cursor)
{
    free(cursor->numbers);
    *cursor = (struct shard_overlay_cursor){0};
}

void shard_overlay_cursor_seek(struct shard_overlay_cursor *cursor,
                               struct fl_bytes encoding,
                               struct fl_bytes key)
{
    size_t low = 0;
    size_t high = cursor->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct shard_overlay_row *row = &cursor->overlay->rows[cursor->numbers[middle]];

        if (fl_bytes_compare(shard_overlay_key(row, encoding), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    cursor->next = low;
}

const struct shard_overlay_row *shard_overlay_cursor_row(const struct shard_overlay_cursor *cursor)
{
    fl_assert(cursor->next < cursor->count);
    return &cursor->overlay->rows[cursor->numbers[cursor->next]];
}

void shard_overlay_cursor_next(struct shard_overlay_cursor *cursor)
{
    fl_assert(cursor->next < cursor->count);
    cursor->next++;
}

enum shard_overlay_turn shard_overlay_cursor_turn(struct shard_overlay_cursor *cursor,
                                                  struct fl_bytes encoding,
                                                  bool base_valid,
                                                  struct fl_bytes base_key)
{
    for (; cursor->next < cursor->count; cursor->next++) {
        const struct shard_overlay_row *row = shard_overlay_cursor_row(cursor);
        int order = -1;

        if (base_valid) {
            order = fl_bytes_compare(shard_overlay_key(row, encoding), base_key);
        }
        if (order == 0) {
            return SHARD_OVERLAY_SKIP_BASE;
        }
        if (order > 0) {
            break;
        }
        if (!row->deleted) {
            return SHARD_OVERLAY_OWN;
        }
    }
    return base_valid && shard_overlay_hides(cursor->overlay, base_key) ? SHARD_OVERLAY_SKIP_BASE
                                                                        : SHARD_OVERLAY_BASE;
}
