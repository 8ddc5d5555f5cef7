/* A range read: validation and the form in which nodes forward it. */
#include "shard/read.h"

#include "raftgroup/base/limits.h"

#define READ_FORMAT 1

enum {
    READ_SERIALIZABLE = 1,
    READ_KEYS_ONLY = 2,
    READ_COUNT_ONLY = 4,
    READ_FLAGS = 7,
};

enum fl_status shard_read_validate(const struct shard_read *read)
{
    if (read->key.len == 0) {
        return FL_EMPTY_KEY;
    }
    if (read->sort_order > SHARD_SORT_DESCEND || read->sort_target > SHARD_SORT_VALUE) {
        return FL_INVALID_SORT;
    }
    if (read->key.len > FL_KEY_BYTES_MAX || read->end.len > FL_KEY_BYTES_MAX) {
        return FL_TOO_LARGE;
    }
    return FL_OK;
}

void shard_read_encode(const struct shard_read *read, struct fl_writer *w)
{
    unsigned flags = (read->serializable ? READ_SERIALIZABLE : 0u) |
                     (read->keys_only ? READ_KEYS_ONLY : 0u) |
                     (read->count_only ? READ_COUNT_ONLY : 0u);

    fl_write_u8(w, READ_FORMAT);
    fl_write_u8(w, (uint8_t)flags);
    fl_write_varint(w, read->sort_order);
    fl_write_varint(w, read->sort_target);
    fl_write_varint(w, read->limit);
    fl_write_varint(w, read->revision);
    fl_write_varint(w, (uint64_t)read->min_mod_revision);
    fl_write_varint(w, (uint64_t)read->max_mod_revision);
    fl_write_varint(w, (uint64_t)read->min_create_revision);
    fl_write_varint(w, (uint64_t)read->max_create_revision);
    fl_write_bytes(w, read->key);
    fl_write_bytes(w, read->end);
}

enum fl_status shard_read_decode(struct shard_read *read, struct fl_bytes input)
{
    struct fl_reader r = fl_reader(input);
    uint8_t format = fl_read_u8(&r);
    uint8_t flags = fl_read_u8(&r);
    uint64_t order = fl_read_varint(&r);
    uint64_t target = fl_read_varint(&r);

    *read = (struct shard_read){0};
    if (!r.bad && format > READ_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    read->limit = fl_read_varint(&r);
    read->revision = fl_read_varint(&r);
    read->min_mod_revision = (int64_t)fl_read_varint(&r);
    read->max_mod_revision = (int64_t)fl_read_varint(&r);
    read->min_create_revision = (int64_t)fl_read_varint(&r);
    read->max_create_revision = (int64_t)fl_read_varint(&r);
    read->key = fl_read_bytes(&r);
    read->end = fl_read_bytes(&r);
    if (!fl_reader_done(&r) || format != READ_FORMAT || (flags & ~(unsigned)READ_FLAGS) != 0 ||
        order > SHARD_SORT_DESCEND || target > SHARD_SORT_VALUE) {
        return FL_BAD_MESSAGE;
    }
    read->sort_order = (uint32_t)order;
    read->sort_target = (uint32_t)target;
    read->serializable = (flags & READ_SERIALIZABLE) != 0;
    read->keys_only = (flags & READ_KEYS_ONLY) != 0;
    read->count_only = (flags & READ_COUNT_ONLY) != 0;
    return FL_OK;
}

void shard_read_part(const struct shard_read *read, struct shard_read *part)
{
    *part = *read;
    if (read->sort_target == SHARD_SORT_VALUE) {
        part->keys_only = false;
    }
}
