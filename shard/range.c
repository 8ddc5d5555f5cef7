/* The descriptor of one range. */
#include "shard/range.h"

#include "raftgroup/base/assert.h"
#include "shard/read.h"

#include <stdlib.h>

#define RANGE_FORMAT 1

static_assert(FL_REPLICAS_MAX <= UINT8_MAX, "the count of replicas is one byte on disk");

void shard_range_init(struct shard_range *range)
{
    *range = (struct shard_range){0};
}

void shard_range_set_interval(struct shard_range *range, struct fl_bytes start, struct fl_bytes end)
{
    uint8_t *keys = NULL;

    if (start.len + end.len != 0) {
        keys = fl_xmalloc(start.len + end.len);
        if (start.len != 0) {
            memcpy(keys, start.data, start.len);
        }
        if (end.len != 0) {
            memcpy(keys + start.len, end.data, end.len);
        }
    }
    free(range->keys);
    range->keys = keys;
    range->start = fl_bytes(start.len != 0 ? keys : NULL, start.len);
    range->end = fl_bytes(end.len != 0 ? keys + start.len : NULL, end.len);
}

void shard_range_copy(struct shard_range *to, const struct shard_range *from)
{
    *to = *from;
    to->keys = NULL;
    shard_range_set_interval(to, from->start, from->end);
}

void shard_range_close(struct shard_range *range)
{
    free(range->keys);
    shard_range_init(range);
}

void shard_range_encode(const struct shard_range *range, struct fl_writer *w)
{
    fl_assert(range->replica_count <= FL_REPLICAS_MAX);
    fl_write_u8(w, RANGE_FORMAT);
    fl_write_varint(w, range->group_id);
    fl_write_varint(w, range->version);
    fl_write_varint(w, range->conf_version);
    fl_write_varint(w, range->generation);
    fl_write_varint(w, range->next_replica_id);
    fl_write_bytes(w, range->start);
    fl_write_bytes(w, range->end);
    fl_write_u8(w, (uint8_t)range->replica_count);
    for (uint32_t i = 0; i < range->replica_count; i++) {
        const struct shard_replica *replica = &range->replicas[i];

        fl_write_varint(w, replica->node_id);
        fl_write_varint(w, replica->replica_id);
        fl_write_u8(w, (uint8_t)replica->role);
    }
}

static enum fl_status decode_replicas(struct shard_range *range, struct fl_reader *r)
{
    uint8_t count = fl_read_u8(r);

    if (r->bad || count > FL_REPLICAS_MAX) {
        return FL_BAD_MESSAGE;
    }
    range->replica_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct shard_replica *replica = &range->replicas[i];
        uint8_t role;

        replica->node_id = fl_read_varint(r);
        replica->replica_id = fl_read_varint(r);
        role = fl_read_u8(r);
        if (role != SHARD_REPLICA_VOTER && role != SHARD_REPLICA_LEARNER) {
            return FL_BAD_MESSAGE;
        }
        replica->role = (enum shard_replica_role)role;
    }
    return r->bad ? FL_BAD_MESSAGE : FL_OK;
}

enum fl_status shard_range_decode(struct shard_range *range, struct fl_reader *r)
{
    struct fl_bytes start;
    struct fl_bytes end;
    uint8_t format = fl_read_u8(r);
    enum fl_status status;

    shard_range_init(range);
    if (!r->bad && format > RANGE_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    if (format != RANGE_FORMAT) {
        return FL_BAD_MESSAGE;
    }
    range->group_id = fl_read_varint(r);
    range->version = fl_read_varint(r);
    range->conf_version = fl_read_varint(r);
    range->generation = fl_read_varint(r);
    range->next_replica_id = fl_read_varint(r);
    start = fl_read_bytes(r);
    end = fl_read_bytes(r);
    status = decode_replicas(range, r);
    if (status == FL_OK) {
        shard_range_set_interval(range, start, end);
        status = shard_range_valid(range) ? FL_OK : FL_BAD_MESSAGE;
    }
    if (status != FL_OK) {
        shard_range_close(range);
    }
    return status;
}

static bool replicas_valid(const struct shard_range *range)
{
    if (range->replica_count > FL_REPLICAS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < range->replica_count; i++) {
        const struct shard_replica *a = &range->replicas[i];

        if (a->node_id == 0 || a->replica_id == 0 || a->replica_id >= range->next_replica_id) {
            return false;
        }
        for (uint32_t j = 0; j < i; j++) {
            const struct shard_replica *b = &range->replicas[j];

            if (a->node_id == b->node_id || a->replica_id == b->replica_id) {
                return false;
            }
        }
    }
    return true;
}

bool shard_range_valid(const struct shard_range *range)
{
    if (range->group_id == 0 || range->start.len > FL_KEY_BYTES_MAX ||
        range->end.len > FL_KEY_BYTES_MAX) {
        return false;
    }
    if (range->end.len != 0 && fl_bytes_compare(range->start, range->end) >= 0) {
        return false;
    }
    return replicas_valid(range);
}

bool shard_range_equal(const struct shard_range *a, const struct shard_range *b)
{
    if (a->group_id != b->group_id || a->version != b->version ||
        a->conf_version != b->conf_version || a->generation != b->generation ||
        a->next_replica_id != b->next_replica_id || a->replica_count != b->replica_count ||
        !fl_bytes_equal(a->start, b->start) || !fl_bytes_equal(a->end, b->end)) {
        return false;
    }
    for (uint32_t i = 0; i < a->replica_count; i++) {
        if (a->replicas[i].node_id != b->replicas[i].node_id ||
            a->replicas[i].replica_id != b->replicas[i].replica_id ||
            a->replicas[i].role != b->replicas[i].role) {
            return false;
        }
    }
    return true;
}

bool shard_range_contains(const struct shard_range *range, struct fl_bytes key)
{
    return fl_bytes_compare(key, range->start) >= 0 &&
           (range->end.len == 0 || fl_bytes_compare(key, range->end) < 0);
}

bool shard_range_covers(const struct shard_range *range, struct fl_bytes key, struct fl_bytes end)
{
    if (!shard_range_contains(range, key)) {
        return false;
    }
    if (end.len == 0 || range->end.len == 0) {
        return true;
    }
    return !shard_end_is_open(end) && fl_bytes_compare(end, range->end) <= 0;
}

const struct shard_replica *shard_range_replica_on(const struct shard_range *range,
                                                   uint64_t node_id)
{
    for (uint32_t i = 0; i < range->replica_count; i++) {
        if (range->replicas[i].node_id == node_id) {
            return &range->replicas[i];
        }
    }
    return NULL;
}

const struct shard_replica *shard_range_replica(const struct shard_range *range,
                                                uint64_t replica_id)
{
    for (uint32_t i = 0; i < range->replica_count; i++) {
        if (range->replicas[i].replica_id == replica_id) {
            return &range->replicas[i];
        }
    }
    return NULL;
}
