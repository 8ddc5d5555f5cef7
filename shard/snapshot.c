/* Snapshots: a shard as a stream of chunks, and a stream of chunks as a shard (D5).
 *
 *   chunk   u8 version = 1, u8 flags (1: last), u16 0, u32 number, u32 length, u32 CRC-32C of the
 *           twelve bytes before and the payload, payload                            little-endian
 *   payload pieces of one stream of records, cut anywhere
 *   record  u8 type, u32 key length, u32 value length, key, value
 *             1 meta   value: u64 group id, u32 length + state, u32 length + descriptor, sessions
 *             2 row    a 'c' or 'h' row, ascending
 *             3 end    value: u64 rows, u64 bytes of keys and values, u32 CRC-32C of the stream so
 * far
 *
 * Receiving writes rows into files aside. Installing is ONE ingestion of [range deletions, rows,
 * state, descriptor and sessions], which RocksDB makes durable in one step: after a crash the
 * replica is either the old one or the new one. */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "raftgroup/base/list.h"
#include "raftgroup/base/log.h"
#include "shard/shard_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CHUNK_FORMAT = 1,
    CHUNK_HEADER_BYTES = 16,
    CHUNK_LAST = 1,
    RECORD_META = 1,
    RECORD_ROW = 2,
    RECORD_END = 3,
    RECORD_HEADER_BYTES = 9,
    END_BYTES = 20,
};

#define PAYLOAD_BYTES_MAX (SHARD_CHUNK_BYTES_MAX - CHUNK_HEADER_BYTES)
#define FILE_BYTES_MAX    ((size_t)64 * 1024 * 1024)
#define ROW_KEY_BYTES_MAX ((size_t)2 * FL_KEY_BYTES_MAX + 16)
#define ROW_BYTES_MAX     ((size_t)FL_ENTRY_BYTES_MAX + 64)
#define META_BYTES_MAX    ((size_t)1024 * 1024 * 1024)
#define PATH_BYTES_MAX    4096

static_assert(PAYLOAD_BYTES_MAX > RECORD_HEADER_BYTES, "a chunk must make progress");

/* ---- out ---- */

enum phase { PHASE_META, PHASE_CURRENT, PHASE_HISTORY, PHASE_END, PHASE_DONE };

struct shard_snapshot {
    struct shard_engine *engine;
    struct shard_engine_snapshot *pinned;
    uint64_t group_id;
    struct shard_state state;
    struct shard_range range;
    enum phase phase;
    struct shard_iterator *it; /* of PHASE_CURRENT and PHASE_HISTORY */
    struct fl_writer record;   /* being cut into chunks, from `sent` on */
    size_t sent;
    uint32_t number; /* of the next chunk */
    uint64_t rows;
    uint64_t bytes;
    uint32_t crc; /* of the stream so far */
};

static enum fl_status pin_range(struct shard_snapshot *snapshot)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value row;
    struct fl_reader r;
    enum fl_status status;

    shard_group_key(SHARD_ROW_DESCRIPTOR, snapshot->group_id, key);
    FL_TRY(shard_engine_get(snapshot->engine, snapshot->pinned, fl_bytes(key, sizeof(key)), &row));
    r = fl_reader(row.bytes);
    status = shard_range_decode(&snapshot->range, &r);
    shard_value_release(&row);
    return status == FL_BAD_MESSAGE ? FL_CORRUPT : status;
}

enum fl_status shard__snapshot_open(struct shard_machine *machine,
                                    struct shard_batch *batch,
                                    struct shard_snapshot **snapshot,
                                    struct shard_snapshot_info *info)
{
    struct shard *shard = fl_container_of(machine, struct shard, machine);
    struct shard_snapshot *s;
    enum fl_status status;

    *snapshot = NULL;
    if (shard->state.conf.n == 0) {
        return FL_NOT_READY;
    }
    /* Session records live in memory: only now does their row belong to the state being pinned. */
    shard__checkpoint(shard, batch);
    FL_TRY(shard_batch_commit(batch, false));
    s = fl_xcalloc(1, sizeof(*s));
    s->engine = shard->engine;
    s->group_id = shard->group_id;
    s->pinned = shard_engine_snapshot_create(shard->engine);
    status = shard__read_state(s->engine, s->pinned, s->group_id, &s->state);
    if (status == FL_OK) {
        status = pin_range(s);
    }
    if (status != FL_OK) {
        shard__snapshot_close(s);
        return status == FL_NOT_FOUND ? FL_CORRUPT : status;
    }
    fl_assert(s->state.applied_index == shard->state.applied_index);
    *info =
        (struct shard_snapshot_info){s->state.applied_index, s->state.applied_term, s->state.conf};
    *snapshot = s;
    return FL_OK;
}

void shard__snapshot_close(struct shard_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    shard_iterator_destroy(snapshot->it);
    shard_engine_snapshot_release(snapshot->pinned);
    shard_range_close(&snapshot->range);
    fl_writer_close(&snapshot->record);
    free(snapshot);
}

static void begin_record(struct shard_snapshot *s, uint8_t type, size_t key_len, size_t value_len)
{
    fl_assert(key_len <= UINT32_MAX && value_len <= UINT32_MAX);
    fl_writer_reset(&s->record);
    s->sent = 0;
    fl_write_u8(&s->record, type);
    fl_write_u32le(&s->record, (uint32_t)key_len);
    fl_write_u32le(&s->record, (uint32_t)value_len);
}

static enum fl_status write_meta(struct shard_snapshot *s)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value sessions;
    struct fl_writer state;
    struct fl_writer range;
    enum fl_status status;

    shard_group_key(SHARD_ROW_SESSION, s->group_id, key);
    status = shard_engine_get(s->engine, s->pinned, fl_bytes(key, sizeof(key)), &sessions);
    if (status != FL_OK) {
        return status == FL_NOT_FOUND ? FL_CORRUPT : status;
    }
    fl_writer_init(&state);
    fl_writer_init(&range);
    shard_state_encode(&state, &s->state);
    shard_range_encode(&s->range, &range);
    begin_record(s, RECORD_META, 0, 16 + state.len + range.len + sessions.bytes.len);
    fl_write_u64le(&s->record, s->group_id);
    fl_write_u32le(&s->record, (uint32_t)state.len);
    fl_write_raw(&s->record, fl_writer_bytes(&state));
    fl_write_u32le(&s->record, (uint32_t)range.len);
    fl_write_raw(&s->record, fl_writer_bytes(&range));
    fl_write_raw(&s->record, sessions.bytes);
    fl_writer_close(&state);
    fl_writer_close(&range);
    shard_value_release(&sessions);
    return FL_OK;
}

static void open_rows(struct shard_snapshot *s,
                      void (*bound)(struct fl_writer *, struct fl_bytes, bool))
{
    struct fl_writer lower;
    struct fl_writer upper;

    fl_writer_init(&lower);
    fl_writer_init(&upper);
    bound(&lower, s->range.start, false);
    bound(&upper, s->range.end, true);
    shard_iterator_destroy(s->it);
    s->it = shard_iterator_create(
        s->engine, s->pinned, fl_writer_bytes(&lower), fl_writer_bytes(&upper));
    shard_iterator_first(s->it);
    fl_writer_close(&lower);
    fl_writer_close(&upper);
}

/* History nobody may read any more does not travel. */
static enum fl_status is_dead(const struct shard_snapshot *s, bool *dead)
{
    struct shard_kv kv;
    uint64_t end;

    *dead = false;
    if (s->phase == PHASE_HISTORY) {
        FL_TRY(shard_history_decode(shard_iterator_value(s->it), &kv, &end));
        *dead = end <= s->state.compact_revision;
    }
    return FL_OK;
}

/* The next row, or no record when the iterator is at its end. */
static enum fl_status write_row(struct shard_snapshot *s, bool *written)
{
    *written = false;
    for (; shard_iterator_valid(s->it); shard_iterator_next(s->it)) {
        struct fl_bytes key = shard_iterator_key(s->it);
        struct fl_bytes value = shard_iterator_value(s->it);
        bool dead;

        FL_TRY(is_dead(s, &dead));
        if (dead) {
            continue;
        }
        begin_record(s, RECORD_ROW, key.len, value.len);
        fl_write_raw(&s->record, key);
        fl_write_raw(&s->record, value);
        s->rows++;
        s->bytes += key.len + value.len;
        *written = true;
        shard_iterator_next(s->it);
        return FL_OK;
    }
    return shard_iterator_status(s->it);
}

static void write_end(struct shard_snapshot *s)
{
    begin_record(s, RECORD_END, 0, END_BYTES);
    fl_write_u64le(&s->record, s->rows);
    fl_write_u64le(&s->record, s->bytes);
    fl_write_u32le(&s->record, s->crc);
}

/* Fills `record` with the next one; PHASE_DONE when there is none. */
static enum fl_status next_record(struct shard_snapshot *s)
{
    bool written;

    switch (s->phase) {
    case PHASE_META:
        FL_TRY(write_meta(s));
        open_rows(s, shard_current_bound);
        s->phase = PHASE_CURRENT;
        return FL_OK;
    case PHASE_CURRENT:
        FL_TRY(write_row(s, &written));
        if (written) {
            return FL_OK;
        }
        open_rows(s, shard_history_bound);
        s->phase = PHASE_HISTORY;
        return next_record(s);
    case PHASE_HISTORY:
        FL_TRY(write_row(s, &written));
        if (!written) {
            write_end(s);
            s->phase = PHASE_END;
        }
        return FL_OK;
    case PHASE_END:
    case PHASE_DONE:
    default:
        s->phase = PHASE_DONE;
        return FL_OK;
    }
}

static enum fl_status fill(struct shard_snapshot *s, struct fl_writer *chunk, size_t begin)
{
    while (chunk->len - begin < SHARD_CHUNK_BYTES_MAX && s->phase != PHASE_DONE) {
        size_t room = SHARD_CHUNK_BYTES_MAX - (chunk->len - begin);
        size_t left = s->record.len - s->sent;
        size_t n = left < room ? left : room;

        fl_write_raw(chunk, fl_bytes(s->record.data + s->sent, n));
        s->sent += n;
        if (s->sent == s->record.len) {
            /* The end record carries the checksum of everything before it. */
            s->crc = fl_crc32c(s->crc, s->record.data, s->record.len);
            FL_TRY(next_record(s));
        }
    }
    return FL_OK;
}

enum fl_status
shard__snapshot_next(struct shard_snapshot *snapshot, struct fl_writer *chunk, bool *last)
{
    size_t begin = chunk->len;
    size_t len;
    uint8_t *p;
    uint32_t crc;

    fl_assert(snapshot->phase != PHASE_DONE);
    if (snapshot->phase == PHASE_META) {
        FL_TRY(next_record(snapshot));
    }
    (void)fl_write_space(chunk, CHUNK_HEADER_BYTES);
    FL_TRY(fill(snapshot, chunk, begin));
    *last = snapshot->phase == PHASE_DONE;
    len = chunk->len - begin - CHUNK_HEADER_BYTES;
    p = chunk->data + begin;
    p[0] = CHUNK_FORMAT;
    p[1] = *last ? CHUNK_LAST : 0;
    fl_put_u16le(p + 2, 0);
    fl_put_u32le(p + 4, snapshot->number++);
    fl_put_u32le(p + 8, (uint32_t)len);
    crc = fl_crc32c(0, p, 12);
    fl_put_u32le(p + 12, fl_crc32c(crc, p + CHUNK_HEADER_BYTES, len));
    return FL_OK;
}

/* ---- in ---- */

struct shard_install {
    struct shard_engine *engine;
    uint64_t group_id;
    char *dir;
    uint32_t number;         /* of the next chunk */
    struct fl_writer buffer; /* bytes of a record that is not complete yet */
    uint32_t crc;            /* of the stream before the end record */
    bool has_meta;
    bool ended;
    bool sealed;
    struct shard_state state;
    struct shard_range range;
    struct fl_writer sessions; /* the row's value */
    struct shard_file *file;   /* rows being written */
    char **paths; /* files finished, in order of ingestion; [0] is for range deletions */
    size_t path_count;
    size_t path_capacity;
    struct fl_writer last_key; /* of the newest row */
    struct fl_writer user_key; /* scratch */
    uint64_t rows;
    uint64_t bytes;
};

static void add_path(struct shard_install *install, const char *name)
{
    char path[PATH_BYTES_MAX];
    int len = snprintf(path, sizeof(path), "%s/%s", install->dir, name);

    fl_assert(len > 0 && (size_t)len < sizeof(path));
    fl_grow(
        &install->paths, &install->path_capacity, install->path_count + 1, sizeof(*install->paths));
    install->paths[install->path_count++] = fl_xstrdup(path);
}

enum fl_status
shard__install_begin(struct shard_machine *machine, const char *dir, struct shard_install **install)
{
    const struct shard *shard = fl_container_of(machine, struct shard, machine);
    struct shard_install *in = fl_xcalloc(1, sizeof(*in));

    in->engine = shard->engine;
    in->group_id = shard->group_id;
    in->dir = fl_xstrdup(dir);
    add_path(in, "deletions.sst");
    *install = in;
    return FL_OK;
}

static void install_free(struct shard_install *install)
{
    shard_file_abort(install->file);
    shard_range_close(&install->range);
    fl_writer_close(&install->buffer);
    fl_writer_close(&install->sessions);
    fl_writer_close(&install->last_key);
    fl_writer_close(&install->user_key);
    for (size_t i = 0; i < install->path_count; i++) {
        free(install->paths[i]);
    }
    free(install->paths);
    free(install->dir);
    free(install);
}

void shard__install_abort(struct shard_install *install)
{
    if (install != NULL) {
        install_free(install);
    }
}

static enum fl_status take_meta(struct shard_install *install, struct fl_bytes value)
{
    struct fl_reader r = fl_reader(value);
    uint64_t group_id = fl_read_u64le(&r);
    struct fl_bytes state = fl_read_raw(&r, fl_read_u32le(&r));
    struct fl_bytes range = fl_read_raw(&r, fl_read_u32le(&r));
    struct fl_bytes sessions = fl_read_raw(&r, fl_reader_left(&r));
    struct shard_sessions decoded;
    struct fl_reader range_reader = fl_reader(range);
    enum fl_status status;

    if (r.bad || install->has_meta || group_id != install->group_id) {
        return FL_BAD_MESSAGE;
    }
    status = shard_state_decode(state, &install->state);
    if (status != FL_OK) {
        return status == FL_CORRUPT ? FL_BAD_MESSAGE : status;
    }
    FL_TRY(shard_range_decode(&install->range, &range_reader));
    shard_sessions_init(&decoded);
    status = shard_sessions_decode(&decoded, sessions);
    if (status == FL_OK && (decoded.index != install->state.applied_index ||
                            install->range.group_id != group_id || !fl_reader_done(&range_reader) ||
                            install->state.conf.n == 0 || install->state.applied_index == 0)) {
        status = FL_BAD_MESSAGE;
    }
    shard_sessions_close(&decoded);
    fl_write_raw(&install->sessions, sessions);
    install->has_meta = status == FL_OK;
    return status;
}

/* The user key of a row and whether the row makes sense: nothing outside the range may be written.
 */
static enum fl_status
check_row(struct shard_install *install, struct fl_bytes key, struct fl_bytes value)
{
    struct shard_kv kv;
    struct fl_bytes user_key;
    uint64_t revision;
    uint64_t end;
    enum fl_status status = FL_BAD_MESSAGE;

    if (key.len != 0 && key.data[0] == SHARD_ROW_CURRENT) {
        user_key = fl_bytes(key.data + 1, key.len - 1);
        status = shard_current_decode(value, &kv);
    } else if (key.len != 0 && key.data[0] == SHARD_ROW_HISTORY) {
        fl_writer_reset(&install->user_key);
        FL_TRY(shard_history_key_decode(key, &install->user_key, &revision));
        user_key = fl_writer_bytes(&install->user_key);
        status = shard_history_decode(value, &kv, &end);
        if (status == FL_OK && kv.mod_revision != revision) {
            status = FL_BAD_MESSAGE;
        }
    }
    if (status != FL_OK) {
        return status == FL_CORRUPT ? FL_BAD_MESSAGE : status;
    }
    return user_key.len != 0 && shard_range_contains(&install->range, user_key) ? FL_OK
                                                                                : FL_BAD_MESSAGE;
}

static enum fl_status finish_file(struct shard_install *install)
{
    struct shard_file *file = install->file;

    install->file = NULL;
    return file != NULL ? shard_file_finish(file) : FL_OK;
}

static enum fl_status
take_row(struct shard_install *install, struct fl_bytes key, struct fl_bytes value)
{
    if (!install->has_meta ||
        (install->rows != 0 && fl_bytes_compare(key, fl_writer_bytes(&install->last_key)) <= 0)) {
        return FL_BAD_MESSAGE;
    }
    FL_TRY(check_row(install, key, value));
    if (install->file != NULL && shard_file_bytes(install->file) > FILE_BYTES_MAX) {
        FL_TRY(finish_file(install));
    }
    if (install->file == NULL) {
        char name[32];

        (void)snprintf(name, sizeof(name), "rows-%06zu.sst", install->path_count);
        add_path(install, name);
        FL_TRY(shard_file_create(
            install->engine, install->paths[install->path_count - 1], &install->file));
    }
    FL_TRY(shard_file_put(install->file, key, value));
    install->rows++;
    install->bytes += key.len + value.len;
    fl_writer_reset(&install->last_key);
    fl_write_raw(&install->last_key, key);
    return FL_OK;
}

static enum fl_status take_end(struct shard_install *install, struct fl_bytes value)
{
    struct fl_reader r = fl_reader(value);
    uint64_t rows = fl_read_u64le(&r);
    uint64_t bytes = fl_read_u64le(&r);
    uint32_t crc = fl_read_u32le(&r);

    if (!fl_reader_done(&r) || !install->has_meta || rows != install->rows ||
        bytes != install->bytes) {
        return FL_BAD_MESSAGE;
    }
    if (crc != install->crc) {
        return FL_CORRUPT;
    }
    install->ended = true;
    return FL_OK;
}

/* Lengths are bounded before anything is kept for them. */
static bool sizes_allowed(uint8_t type, uint32_t key_len, uint32_t value_len)
{
    switch (type) {
    case RECORD_META:
        return key_len == 0 && value_len <= META_BYTES_MAX;
    case RECORD_ROW:
        return key_len <= ROW_KEY_BYTES_MAX && value_len <= ROW_BYTES_MAX;
    case RECORD_END:
        return key_len == 0 && value_len == END_BYTES;
    default:
        return false;
    }
}

/* Takes one record from the front of `input`; *len is 0 when it is not complete yet. */
static enum fl_status take_record(struct shard_install *install, struct fl_bytes input, size_t *len)
{
    const uint8_t *p = input.data;
    struct fl_bytes key;
    struct fl_bytes value;
    enum fl_status status;

    *len = 0;
    if (install->ended) {
        return FL_BAD_MESSAGE;
    }
    if (input.len < RECORD_HEADER_BYTES) {
        return FL_OK;
    }
    key = fl_bytes(p + RECORD_HEADER_BYTES, fl_get_u32le(p + 1));
    value = fl_bytes(NULL, fl_get_u32le(p + 5));
    if (!sizes_allowed(p[0], (uint32_t)key.len, (uint32_t)value.len)) {
        return FL_BAD_MESSAGE;
    }
    if (input.len - RECORD_HEADER_BYTES < key.len + value.len) {
        return FL_OK;
    }
    value.data = key.data + key.len;
    *len = RECORD_HEADER_BYTES + key.len + value.len;
    status = p[0] == RECORD_META  ? take_meta(install, value)
             : p[0] == RECORD_ROW ? take_row(install, key, value)
                                  : take_end(install, value);
    install->crc = fl_crc32c(install->crc, p, *len);
    return status;
}

static enum fl_status take_stream(struct shard_install *install, struct fl_bytes payload)
{
    struct fl_bytes input;
    size_t at = 0;

    fl_write_raw(&install->buffer, payload);
    input = fl_writer_bytes(&install->buffer);
    while (at < input.len) {
        size_t len;

        FL_TRY(take_record(install, fl_bytes(input.data + at, input.len - at), &len));
        if (len == 0) {
            break;
        }
        at += len;
    }
    memmove(install->buffer.data, install->buffer.data + at, input.len - at);
    install->buffer.len = input.len - at;
    return FL_OK;
}

enum fl_status shard__install_chunk(struct shard_install *install, struct fl_bytes chunk)
{
    const uint8_t *p = chunk.data;
    uint32_t crc;

    if (chunk.len != 0 && p[0] > CHUNK_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    if (chunk.len <= CHUNK_HEADER_BYTES || chunk.len > SHARD_CHUNK_BYTES_MAX ||
        p[0] != CHUNK_FORMAT || p[1] > CHUNK_LAST || fl_get_u16le(p + 2) != 0 ||
        fl_get_u32le(p + 4) != install->number || install->ended ||
        fl_get_u32le(p + 8) != chunk.len - CHUNK_HEADER_BYTES) {
        return FL_BAD_MESSAGE;
    }
    crc = fl_crc32c(0, p, 12);
    crc = fl_crc32c(crc, p + CHUNK_HEADER_BYTES, chunk.len - CHUNK_HEADER_BYTES);
    if (crc != fl_get_u32le(p + 12)) {
        return FL_CORRUPT;
    }
    install->number++;
    FL_TRY(take_stream(install, fl_bytes(p + CHUNK_HEADER_BYTES, chunk.len - CHUNK_HEADER_BYTES)));
    return install->ended == (p[1] == CHUNK_LAST) ? FL_OK : FL_BAD_MESSAGE;
}

static enum fl_status
put_group_row(struct shard_file *file, uint8_t kind, uint64_t group_id, struct fl_bytes value)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];

    shard_group_key(kind, group_id, key);
    return shard_file_put(file, fl_bytes(key, sizeof(key)), value);
}

static enum fl_status write_group_rows(struct shard_install *install)
{
    struct shard_file *file = NULL;
    struct fl_writer state;
    struct fl_writer range;
    enum fl_status status;

    fl_writer_init(&state);
    fl_writer_init(&range);
    shard_state_encode(&state, &install->state);
    shard_range_encode(&install->range, &range);
    add_path(install, "state.sst");
    FL_TRY_OUT(shard_file_create(install->engine, install->paths[install->path_count - 1], &file));
    FL_TRY_OUT(put_group_row(file, SHARD_ROW_STATE, install->group_id, fl_writer_bytes(&state)));
    FL_TRY_OUT(
        put_group_row(file, SHARD_ROW_DESCRIPTOR, install->group_id, fl_writer_bytes(&range)));
    FL_TRY_OUT(put_group_row(
        file, SHARD_ROW_SESSION, install->group_id, fl_writer_bytes(&install->sessions)));
    status = shard_file_finish(file);
    file = NULL;
out:
    shard_file_abort(file);
    fl_writer_close(&state);
    fl_writer_close(&range);
    return status;
}

enum fl_status shard__install_seal(struct shard_install *install, struct shard_snapshot_info *info)
{
    if (!install->ended) {
        return FL_TRUNCATED;
    }
    if (!install->sealed) {
        FL_TRY(finish_file(install));
        FL_TRY(write_group_rows(install));
        install->sealed = true;
    }
    *info = (struct shard_snapshot_info){
        install->state.applied_index, install->state.applied_term, install->state.conf};
    return FL_OK;
}

/* ---- installing ---- */

/* Range deletions of one kind of row over both intervals, joined where they overlap: a file holds
 * them in order. */
static enum fl_status write_deletions(struct shard_file *file,
                                      void (*bound)(struct fl_writer *, struct fl_bytes, bool),
                                      const struct shard_range *old,
                                      const struct shard_range *new)
{
    struct fl_writer w[4] = {{0}, {0}, {0}, {0}}; /* first start and end, second start and end */
    const struct shard_range *first = new;
    const struct shard_range *second = NULL;
    enum fl_status status;

    if (old->group_id != 0) {
        bool old_first = fl_bytes_compare(old->start, new->start) < 0;

        first = old_first ? old : new;
        second = old_first ? new : old;
    }
    bound(&w[0], first->start, false);
    bound(&w[1], first->end, true);
    if (second != NULL) {
        bound(&w[2], second->start, false);
        bound(&w[3], second->end, true);
    }
    if (second != NULL && fl_bytes_compare(fl_writer_bytes(&w[2]), fl_writer_bytes(&w[1])) <= 0) {
        int later = fl_bytes_compare(fl_writer_bytes(&w[3]), fl_writer_bytes(&w[1]));

        status = shard_file_delete_range(
            file, fl_writer_bytes(&w[0]), fl_writer_bytes(later > 0 ? &w[3] : &w[1]));
    } else {
        status = shard_file_delete_range(file, fl_writer_bytes(&w[0]), fl_writer_bytes(&w[1]));
        if (status == FL_OK && second != NULL) {
            status = shard_file_delete_range(file, fl_writer_bytes(&w[2]), fl_writer_bytes(&w[3]));
        }
    }
    for (size_t i = 0; i < 4; i++) {
        fl_writer_close(&w[i]);
    }
    return status;
}

static enum fl_status write_deletions_file(const struct shard_install *install,
                                           const struct shard_range *old)
{
    struct shard_file *file = NULL;
    enum fl_status status;

    FL_TRY(shard_file_create(install->engine, install->paths[0], &file));
    FL_TRY_OUT(write_deletions(file, shard_current_bound, old, &install->range));
    FL_TRY_OUT(write_deletions(file, shard_history_bound, old, &install->range));
    status = shard_file_finish(file);
    file = NULL;
out:
    shard_file_abort(file);
    return status;
}

/* The rows that come in may have history which the published compact revision would drop although
 * the shard may still be asked for it. */
static void lower_gc(struct shard_gc *gc, uint64_t compact_revision)
{
    if (atomic_load_explicit(&gc->revision, memory_order_acquire) > compact_revision) {
        shard_gc_publish(gc, compact_revision);
    }
}

enum fl_status shard__install_finish(struct shard_machine *machine, struct shard_install *install)
{
    struct shard *shard = fl_container_of(machine, struct shard, machine);
    enum fl_status status;

    fl_assert(install->sealed && install->group_id == shard->group_id);
    fl_assert(install->state.applied_index >= shard->state.applied_index);
    lower_gc(shard->gc, install->state.compact_revision);
    status = write_deletions_file(install, &shard->range);
    if (status == FL_OK) {
        status = shard_engine_ingest(
            shard->engine, (const char *const *)install->paths, install->path_count);
    }
    if (status == FL_OK) {
        shard__unload(shard);
        status = shard__load(shard);
    }
    if (status == FL_OK && shard->state.applied_index != install->state.applied_index) {
        status = FL_CORRUPT;
    }
    if (status != FL_OK) {
        shard_engine_stop(shard->engine, status, "a snapshot could not be installed");
    } else {
        fl_log(FL_LOG_INFO,
               "snapshot_installed",
               "group=%" PRIu64 " index=%" PRIu64 " rows=%" PRIu64 " bytes=%" PRIu64,
               shard->group_id,
               shard->state.applied_index,
               install->rows,
               install->bytes);
    }
    install_free(install);
    return status;
}
