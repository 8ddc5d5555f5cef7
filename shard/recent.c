/* Rows this thread has written lately. */
#include "shard/recent.h"

#include <stdlib.h>

#define ROW_BYTES_TYPICAL 256 /* one slot per so many bytes */

struct shard_recent_row {
    uint64_t age;
    uint32_t hash;
    uint32_t key_len;
    uint32_t value_len;
    uint32_t capacity; /* of data */
    uint8_t data[];    /* key, then value */
};

void shard_recent_init(struct shard_recent *recent, size_t bytes_max)
{
    *recent = (struct shard_recent){.bytes_max = bytes_max, .slot_count = 1};
    while (recent->slot_count < bytes_max / ROW_BYTES_TYPICAL) {
        recent->slot_count *= 2;
    }
}

static size_t bytes_of(const struct shard_recent_row *row)
{
    return sizeof(*row) + row->capacity;
}

static void empty_slot(struct shard_recent *recent, size_t slot)
{
    if (recent->slots[slot] != NULL) {
        recent->bytes -= bytes_of(recent->slots[slot]);
        free(recent->slots[slot]);
        recent->slots[slot] = NULL;
    }
}

void shard_recent_close(struct shard_recent *recent)
{
    for (size_t i = 0; recent->slots != NULL && i < recent->slot_count; i++) {
        empty_slot(recent, i);
    }
    free(recent->slots);
    *recent = (struct shard_recent){0};
}

static bool holds(const struct shard_recent *recent,
                  const struct shard_recent_row *row,
                  uint32_t hash,
                  struct fl_bytes key)
{
    return row != NULL && row->hash == hash && row->age == recent->age &&
           fl_bytes_equal(fl_bytes(row->data, row->key_len), key);
}

static size_t slot_of(const struct shard_recent *recent, uint32_t hash)
{
    return hash & (recent->slot_count - 1);
}

void shard_recent_remove(struct shard_recent *recent, uint32_t hash, struct fl_bytes key)
{
    size_t slot = slot_of(recent, hash);

    if (recent->slots != NULL && holds(recent, recent->slots[slot], hash, key)) {
        empty_slot(recent, slot);
    }
}

/* The row of a slot with room for `len` bytes; reuses its memory when that is not too wasteful. */
static struct shard_recent_row *make_row(struct shard_recent *recent, size_t slot, size_t len)
{
    struct shard_recent_row *row = recent->slots[slot];

    if (row != NULL && row->capacity >= len && row->capacity <= 2 * len + 64) {
        return row;
    }
    empty_slot(recent, slot);
    row = fl_xmalloc(sizeof(*row) + len);
    row->capacity = (uint32_t)len;
    recent->slots[slot] = row;
    recent->bytes += bytes_of(row);
    return row;
}

void shard_recent_put(struct shard_recent *recent,
                      uint32_t hash,
                      struct fl_bytes key,
                      struct fl_bytes value)
{
    struct shard_recent_row *row;
    size_t slot;

    if (recent->bytes_max == 0 || value.len > SHARD_RECENT_VALUE_BYTES_MAX ||
        key.len > SHARD_RECENT_VALUE_BYTES_MAX) {
        shard_recent_remove(recent, hash, key);
        return;
    }
    if (recent->slots == NULL) {
        recent->slots = fl_xcalloc(recent->slot_count, sizeof(struct shard_recent_row *));
    }
    slot = slot_of(recent, hash);
    row = make_row(recent, slot, key.len + value.len);
    row->age = recent->age;
    row->hash = hash;
    row->key_len = (uint32_t)key.len;
    row->value_len = (uint32_t)value.len;
    if (key.len != 0) {
        memcpy(row->data, key.data, key.len);
    }
    if (value.len != 0) {
        memcpy(row->data + key.len, value.data, value.len);
    }
    while (recent->bytes > recent->bytes_max) {
        empty_slot(recent, recent->hand);
        recent->hand = (recent->hand + 1) & (recent->slot_count - 1);
    }
}

void shard_recent_forget(struct shard_recent *recent)
{
    recent->age++;
}

bool shard_recent_get(const struct shard_recent *recent,
                      uint32_t hash,
                      struct fl_bytes key,
                      struct fl_bytes *value)
{
    const struct shard_recent_row *row;

    if (recent->slots == NULL) {
        return false;
    }
    row = recent->slots[slot_of(recent, hash)];
    if (!holds(recent, row, hash, key)) {
        return false;
    }
    *value = fl_bytes(row->data + row->key_len, row->value_len);
    return true;
}
