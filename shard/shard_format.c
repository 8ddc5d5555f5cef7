/* Rows of the data engine. */
#include "shard/shard_format.h"

#include "raftgroup/codec.h"

enum {
    CURRENT_FORMAT = 1,
    HISTORY_FORMAT = 1,
    STATE_FORMAT = 1,
    ESCAPE = 0xff,    /* after 00: a zero byte of the key */
    TERMINATOR = 0x01 /* after 00: end of the key */
};

static_assert(TERMINATOR < ESCAPE, "a key sorts before every longer key that begins with it");

void shard_group_key(uint8_t kind, uint64_t group_id, uint8_t out[SHARD_GROUP_KEY_BYTES])
{
    out[0] = kind;
    fl_put_u64be(out + 1, group_id);
}

void shard_current_key(struct fl_writer *w, struct fl_bytes key)
{
    uint8_t *p = fl_write_space(w, 1 + key.len);

    p[0] = SHARD_ROW_CURRENT;
    if (key.len != 0) {
        memcpy(p + 1, key.data, key.len);
    }
}

void shard_history_prefix(struct fl_writer *w, struct fl_bytes key)
{
    fl_write_u8(w, SHARD_ROW_HISTORY);
    while (key.len != 0) {
        const uint8_t *zero = memchr(key.data, 0, key.len);
        size_t run = zero != NULL ? (size_t)(zero - key.data) : key.len;

        fl_write_raw(w, fl_bytes(key.data, run));
        if (zero != NULL) {
            fl_write_u8(w, 0);
            fl_write_u8(w, ESCAPE);
            run++;
        }
        key = fl_bytes(key.data + run, key.len - run);
    }
    fl_write_u8(w, 0);
    fl_write_u8(w, TERMINATOR);
}

void shard_history_key(struct fl_writer *w, struct fl_bytes key, uint64_t mod_revision)
{
    shard_history_prefix(w, key);
    fl_write_u64be(w, ~mod_revision);
}

void shard_current_bound(struct fl_writer *w, struct fl_bytes key, bool upper)
{
    if (upper && key.len == 0) {
        fl_write_u8(w, SHARD_ROW_CURRENT + 1);
    } else {
        shard_current_key(w, key);
    }
}

void shard_history_bound(struct fl_writer *w, struct fl_bytes key, bool upper)
{
    if (upper && key.len == 0) {
        fl_write_u8(w, SHARD_ROW_HISTORY + 1);
    } else if (key.len == 0) {
        fl_write_u8(w, SHARD_ROW_HISTORY);
    } else {
        shard_history_prefix(w, key);
    }
}

enum fl_status
shard_history_key_decode(struct fl_bytes row, struct fl_writer *key, uint64_t *mod_revision)
{
    size_t at = 1;

    if (row.len < 1 || row.data[0] != SHARD_ROW_HISTORY) {
        return FL_CORRUPT;
    }
    for (;;) {
        const uint8_t *zero = memchr(row.data + at, 0, row.len - at);
        size_t run;

        if (zero == NULL || zero + 1 == row.data + row.len) {
            return FL_CORRUPT;
        }
        run = (size_t)(zero - (row.data + at));
        if (zero[1] == TERMINATOR) {
            fl_write_raw(key, fl_bytes(row.data + at, run));
            at += run + 2;
            break;
        }
        if (zero[1] != ESCAPE) {
            return FL_CORRUPT;
        }
        fl_write_raw(key, fl_bytes(row.data + at, run + 1));
        at += run + 2;
    }
    if (row.len - at != 8) {
        return FL_CORRUPT;
    }
    *mod_revision = ~fl_get_u64be(row.data + at);
    return FL_OK;
}

void shard_version_head(struct fl_writer *w, const struct shard_kv *kv, uint64_t end_revision)
{
    if (end_revision != 0) {
        fl_write_u8(w, HISTORY_FORMAT);
        fl_write_varint(w, end_revision);
    } else {
        fl_write_u8(w, CURRENT_FORMAT);
    }
    fl_write_varint(w, kv->create_revision);
    fl_write_varint(w, kv->mod_revision);
    fl_write_varint(w, kv->version);
    fl_write_varint(w, (uint64_t)kv->lease);
}

/* The fields after version byte and end revision. */
static enum fl_status decode_version(struct fl_reader *r, struct shard_kv *kv)
{
    kv->create_revision = fl_read_varint(r);
    kv->mod_revision = fl_read_varint(r);
    kv->version = fl_read_varint(r);
    kv->lease = (int64_t)fl_read_varint(r);
    if (r->bad || kv->create_revision == 0 || kv->create_revision > kv->mod_revision ||
        kv->version == 0) {
        return FL_CORRUPT;
    }
    kv->value = fl_read_raw(r, fl_reader_left(r));
    return FL_OK;
}

enum fl_status shard_current_decode(struct fl_bytes row, struct shard_kv *kv)
{
    struct fl_reader r = fl_reader(row);
    uint8_t format = fl_read_u8(&r);

    if (!r.bad && format > CURRENT_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    return format == CURRENT_FORMAT ? decode_version(&r, kv) : FL_CORRUPT;
}

enum fl_status
shard_history_decode(struct fl_bytes row, struct shard_kv *kv, uint64_t *end_revision)
{
    struct fl_reader r = fl_reader(row);
    uint8_t format = fl_read_u8(&r);

    if (!r.bad && format > HISTORY_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    if (format != HISTORY_FORMAT) {
        return FL_CORRUPT;
    }
    *end_revision = fl_read_varint(&r);
    FL_TRY(decode_version(&r, kv));
    return *end_revision > kv->mod_revision ? FL_OK : FL_CORRUPT;
}

void shard_state_encode(struct fl_writer *w, const struct shard_state *state)
{
    uint8_t *conf;

    fl_write_u8(w, STATE_FORMAT);
    fl_write_varint(w, state->applied_index);
    fl_write_varint(w, state->applied_term);
    fl_write_varint(w, state->last_revision);
    fl_write_varint(w, state->compact_revision);
    fl_write_varint(w, state->mark);
    fl_write_varint(w, state->live_keys);
    conf = fl_write_space(w, RAFT_CONF_BYTES_MAX);
    w->len -= RAFT_CONF_BYTES_MAX - raft_conf_encode(&state->conf, conf);
}

enum fl_status shard_state_decode(struct fl_bytes row, struct shard_state *state)
{
    struct fl_reader r = fl_reader(row);
    uint8_t format = fl_read_u8(&r);
    enum fl_status status;

    *state = (struct shard_state){0};
    if (!r.bad && format > STATE_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    state->applied_index = fl_read_varint(&r);
    state->applied_term = fl_read_varint(&r);
    state->last_revision = fl_read_varint(&r);
    state->compact_revision = fl_read_varint(&r);
    state->mark = fl_read_varint(&r);
    state->live_keys = fl_read_varint(&r);
    if (r.bad || format != STATE_FORMAT) {
        return FL_CORRUPT;
    }
    status = raft_conf_decode(&r, &state->conf);
    if (status != FL_OK) {
        return status == FL_NEWER_FORMAT ? FL_NEWER_FORMAT : FL_CORRUPT;
    }
    return fl_reader_done(&r) ? FL_OK : FL_CORRUPT;
}
