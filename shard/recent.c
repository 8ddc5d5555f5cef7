/* Rows this thread has written lately: buckets of rows by hash. */
#include "shard/recent.h"

#include <stdlib.h>

#define ROW_BYTES_TYPICAL ((size_t)256) /* one place per so many bytes */
#define WAYS              8 /* so that few rows give way before there is no room at all */

struct shard_recent_row {
    uint64_t age;
    uint32_t key_len;
    uint32_t value_len;
    size_t capacity; /* of data */
    uint8_t data[];  /* key, then value */
};

/* Hashes beside each other: rows that are not wanted are not touched. */
struct shard_recent_bucket {
    uint32_t hashes[WAYS];
    struct shard_recent_row *rows[WAYS]; /* NULL: free */
};

void shard_recent_init(struct shard_recent *recent, size_t bytes_max)
{
    *recent = (struct shard_recent){.bytes_max = bytes_max, .bucket_count = 1};
    while (recent->bucket_count < bytes_max / (ROW_BYTES_TYPICAL * WAYS)) {
        recent->bucket_count *= 2;
    }
}

static size_t bytes_of(const struct shard_recent_row *row)
{
    return sizeof(*row) + row->capacity;
}

static void free_row(struct shard_recent *recent, struct shard_recent_row **row)
{
    if (*row != NULL) {
        recent->bytes -= bytes_of(*row);
        free(*row);
        *row = NULL;
    }
}

static void empty_bucket(struct shard_recent *recent, size_t number)
{
    for (size_t i = 0; i < WAYS; i++) {
        free_row(recent, &recent->buckets[number].rows[i]);
    }
}

void shard_recent_close(struct shard_recent *recent)
{
    for (size_t i = 0; recent->buckets != NULL && i < recent->bucket_count; i++) {
        empty_bucket(recent, i);
    }
    free(recent->buckets);
    *recent = (struct shard_recent){0};
}

static struct shard_recent_bucket *bucket_of(const struct shard_recent *recent, uint32_t hash)
{
    return &recent->buckets[hash & (recent->bucket_count - 1)];
}

/* The way of `key`, whatever the age of its row; WAYS: none. */
static size_t find(const struct shard_recent_bucket *bucket, uint32_t hash, struct fl_bytes key)
{
    for (size_t i = 0; i < WAYS; i++) {
        const struct shard_recent_row *row = bucket->rows[i];

        if (bucket->hashes[i] == hash && row != NULL &&
            fl_bytes_equal(fl_bytes(row->data, row->key_len), key)) {
            return i;
        }
    }
    return WAYS;
}

void shard_recent_remove(struct shard_recent *recent, uint32_t hash, struct fl_bytes key)
{
    struct shard_recent_bucket *bucket;
    size_t way;

    if (recent->buckets == NULL) {
        return;
    }
    bucket = bucket_of(recent, hash);
    way = find(bucket, hash, key);
    if (way < WAYS) {
        free_row(recent, &bucket->rows[way]);
    }
}

/* Where the row of `key` goes: its own place, a free one, or that of the row whose turn it is. */
static size_t choose_way(struct shard_recent *recent,
                         const struct shard_recent_bucket *bucket,
                         uint32_t hash,
                         struct fl_bytes key)
{
    size_t way = find(bucket, hash, key);

    for (size_t i = 0; way == WAYS && i < WAYS; i++) {
        if (bucket->rows[i] == NULL) {
            way = i;
        }
    }
    return way < WAYS ? way : recent->turn++ % WAYS;
}

/* A row with room for `len` bytes; reuses the memory of the old one when that is not too wasteful.
 */
static struct shard_recent_row *
make_row(struct shard_recent *recent, struct shard_recent_row **place, size_t len)
{
    struct shard_recent_row *row = *place;

    if (row != NULL && row->capacity >= len && row->capacity <= 2 * len + 64) {
        return row;
    }
    free_row(recent, place);
    row = fl_xmalloc(sizeof(*row) + len);
    row->capacity = len;
    *place = row;
    recent->bytes += bytes_of(row);
    return row;
}

void shard_recent_put(struct shard_recent *recent,
                      uint32_t hash,
                      struct fl_bytes key,
                      struct fl_bytes value)
{
    struct shard_recent_bucket *bucket;
    struct shard_recent_row *row;
    size_t way;

    if (recent->bytes_max == 0 || value.len > SHARD_RECENT_VALUE_BYTES_MAX ||
        key.len > SHARD_RECENT_VALUE_BYTES_MAX) {
        shard_recent_remove(recent, hash, key);
        return;
    }
    if (recent->buckets == NULL) {
        recent->buckets = fl_xcalloc(recent->bucket_count, sizeof(*recent->buckets));
    }
    bucket = bucket_of(recent, hash);
    way = choose_way(recent, bucket, hash, key);
    row = make_row(recent, &bucket->rows[way], key.len + value.len);
    bucket->hashes[way] = hash;
    row->age = recent->age;
    row->key_len = (uint32_t)key.len;
    row->value_len = (uint32_t)value.len;
    if (key.len != 0) {
        memcpy(row->data, key.data, key.len);
    }
    if (value.len != 0) {
        memcpy(row->data + key.len, value.data, value.len);
    }
    while (recent->bytes > recent->bytes_max) {
        empty_bucket(recent, recent->hand);
        recent->hand = (recent->hand + 1) & (recent->bucket_count - 1);
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
    const struct shard_recent_bucket *bucket;
    const struct shard_recent_row *row;
    size_t way;

    if (recent->buckets == NULL) {
        return false;
    }
    bucket = bucket_of(recent, hash);
    way = find(bucket, hash, key);
    if (way == WAYS || bucket->rows[way]->age != recent->age) {
        return false;
    }
    row = bucket->rows[way];
    *value = fl_bytes(row->data + row->key_len, row->value_len);
    return true;
}
