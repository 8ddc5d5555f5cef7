/* At-most-once. On disk (a value of an 's' row), little-endian:
 *
 *   u8 version = 1, u64 index, varint origins,
 *   per origin: u64 node id, u32 boot, varint finished_below, varint last index, varint records,
 *     per record: varint seq, u8 status code, u8 plain kind, varint revision, bytes result,
 *   u32 CRC-32C of all before */
#include "shard/session.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"

#include <stdlib.h>

#define SESSION_FORMAT    1
#define ORIGIN_BYTES_MIN  15
#define RECORD_BYTES_MIN  5
#define SESSION_CRC_BYTES 4

/* Numbers on disk; never change one. What is not listed is remembered as UNKNOWN. */
static const struct {
    uint8_t code;
    enum fl_status status;
} status_codes[] = {
    {0, FL_OK},           {1, FL_UNKNOWN},         {2, FL_STALE},         {3, FL_EPOCH_MISMATCH},
    {4, FL_COMPACTED},    {5, FL_FUTURE_REVISION}, {6, FL_KEY_NOT_FOUND}, {7, FL_LEASE_NOT_FOUND},
    {8, FL_BAD_MESSAGE},  {9, FL_NOT_SUPPORTED},   {10, FL_TOO_LARGE},    {11, FL_EMPTY_KEY},
    {12, FL_CROSS_RANGE}, {13, FL_TOO_DEEP},       {14, FL_TOO_MANY_OPS}, {15, FL_NEWER_FORMAT},
    {16, FL_INVALID},     {17, FL_EXISTS},         {18, FL_NOT_FOUND},
};

struct record {
    uint64_t seq;
    uint64_t revision;
    struct fl_buf *result;
    uint8_t code;
    uint8_t plain;
};

/* records[head .. head + count - 1], ascending seq, all >= finished_below. */
struct shard_session_origin {
    uint64_t node_id;
    uint32_t boot;
    uint64_t finished_below;
    uint64_t last_index; /* of its newest entry: the one longest silent gives way */
    struct record *records;
    size_t head;
    size_t count;
    size_t capacity;
};

static uint8_t code_of(enum fl_status status)
{
    for (size_t i = 0; i < sizeof(status_codes) / sizeof(status_codes[0]); i++) {
        if (status_codes[i].status == status) {
            return status_codes[i].code;
        }
    }
    return code_of(FL_UNKNOWN);
}

static bool status_of(uint8_t code, enum fl_status *status)
{
    for (size_t i = 0; i < sizeof(status_codes) / sizeof(status_codes[0]); i++) {
        if (status_codes[i].code == code) {
            *status = status_codes[i].status;
            return true;
        }
    }
    return false;
}

/* ---- one origin ---- */

static void drop_front(struct shard_session_origin *origin)
{
    fl_buf_release(origin->records[origin->head].result);
    origin->head++;
    origin->count--;
}

static void drop_all(struct shard_session_origin *origin)
{
    while (origin->count != 0) {
        drop_front(origin);
    }
    origin->head = 0;
}

static void finish_below(struct shard_session_origin *origin, uint64_t seq)
{
    if (seq <= origin->finished_below) {
        return;
    }
    origin->finished_below = seq;
    while (origin->count != 0 && origin->records[origin->head].seq < seq) {
        drop_front(origin);
    }
}

/* Position, counted from head, of the first record whose seq is not below `seq`. */
static size_t position(const struct shard_session_origin *origin, uint64_t seq)
{
    const struct record *records = origin->records + origin->head;
    size_t low = 0;
    size_t high = origin->count;

    if (high == 0 || records[high - 1].seq < seq) {
        return high; /* the common case: seqs mostly ascend */
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (records[middle].seq < seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct record *find_record(struct shard_session_origin *origin, uint64_t seq)
{
    struct record *record = origin->records + origin->head + position(origin, seq);

    return record < origin->records + origin->head + origin->count && record->seq == seq ? record
                                                                                         : NULL;
}

static void insert_record(struct shard_session_origin *origin, uint64_t seq)
{
    size_t at = position(origin, seq);
    struct record *records;

    if (origin->head != 0 && origin->head >= origin->count) {
        memmove(origin->records,
                origin->records + origin->head,
                origin->count * sizeof(*origin->records));
        origin->head = 0;
    }
    fl_grow(&origin->records,
            &origin->capacity,
            origin->head + origin->count + 1,
            sizeof(*origin->records));
    records = origin->records + origin->head;
    memmove(records + at + 1, records + at, (origin->count - at) * sizeof(*records));
    records[at] = (struct record){.seq = seq, .code = code_of(FL_UNKNOWN)};
    origin->count++;
    if (origin->count > SHARD_SESSION_RECORDS_MAX) {
        finish_below(origin, records[0].seq + 1);
    }
}

/* ---- all origins ---- */

void shard_sessions_init(struct shard_sessions *sessions)
{
    *sessions = (struct shard_sessions){0};
}

void shard_sessions_close(struct shard_sessions *sessions)
{
    for (size_t i = 0; i < sessions->count; i++) {
        drop_all(&sessions->origins[i]);
        free(sessions->origins[i].records);
    }
    free(sessions->origins);
    shard_sessions_init(sessions);
}

/* Position of the first origin whose node id is not below `node_id`. */
static size_t origin_position(const struct shard_sessions *sessions, uint64_t node_id)
{
    size_t low = 0;
    size_t high = sessions->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (sessions->origins[middle].node_id < node_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void evict_origin(struct shard_sessions *sessions)
{
    size_t oldest = 0;

    for (size_t i = 1; i < sessions->count; i++) {
        if (sessions->origins[i].last_index < sessions->origins[oldest].last_index) {
            oldest = i;
        }
    }
    drop_all(&sessions->origins[oldest]);
    free(sessions->origins[oldest].records);
    sessions->count--;
    memmove(&sessions->origins[oldest],
            &sessions->origins[oldest + 1],
            (sessions->count - oldest) * sizeof(*sessions->origins));
}

static struct shard_session_origin *find_origin(struct shard_sessions *sessions, uint64_t node_id)
{
    size_t at = origin_position(sessions, node_id);

    return at < sessions->count && sessions->origins[at].node_id == node_id ? &sessions->origins[at]
                                                                            : NULL;
}

static struct shard_session_origin *add_origin(struct shard_sessions *sessions, uint64_t node_id)
{
    size_t at;

    if (sessions->count == SHARD_SESSION_ORIGINS_MAX) {
        evict_origin(sessions);
    }
    at = origin_position(sessions, node_id);
    fl_grow(
        &sessions->origins, &sessions->capacity, sessions->count + 1, sizeof(*sessions->origins));
    memmove(&sessions->origins[at + 1],
            &sessions->origins[at],
            (sessions->count - at) * sizeof(*sessions->origins));
    sessions->origins[at] = (struct shard_session_origin){.node_id = node_id};
    sessions->count++;
    return &sessions->origins[at];
}

enum shard_session_verdict shard_sessions_enter(struct shard_sessions *sessions,
                                                const struct shard_command *command,
                                                uint64_t index,
                                                struct shard_session_answer *answer)
{
    struct shard_session_origin *origin = find_origin(sessions, command->origin.node_id);
    struct record *record;

    fl_assert(command->seq != 0 && index > sessions->index);
    sessions->index = index;
    if (origin == NULL) {
        origin = add_origin(sessions, command->origin.node_id);
        origin->boot = command->origin.boot;
    } else if (command->origin.boot < origin->boot) {
        return SHARD_SESSION_STALE;
    } else if (command->origin.boot > origin->boot) {
        drop_all(origin);
        origin->boot = command->origin.boot;
        origin->finished_below = 0;
    }
    origin->last_index = index;
    if (command->seq < origin->finished_below) {
        return SHARD_SESSION_STALE;
    }
    /* An origin that claims its own command finished is not believed beyond that command. */
    finish_below(origin,
                 command->finished_below < command->seq ? command->finished_below : command->seq);
    record = find_record(origin, command->seq);
    if (record != NULL) {
        *answer = (struct shard_session_answer){
            .revision = record->revision, .plain = record->plain, .result = record->result};
        fl_assert(status_of(record->code, &answer->status));
        return SHARD_SESSION_DUPLICATE;
    }
    insert_record(origin, command->seq);
    return SHARD_SESSION_FRESH;
}

void shard_sessions_record(struct shard_sessions *sessions,
                           const struct shard_command *command,
                           const struct shard_session_answer *answer)
{
    struct shard_session_origin *origin = find_origin(sessions, command->origin.node_id);
    struct record *record = origin != NULL ? find_record(origin, command->seq) : NULL;

    /* The window may have been so full of higher seqs that this one was dropped at once. */
    if (record == NULL) {
        return;
    }
    record->revision = answer->revision;
    record->code = code_of(answer->status);
    if (answer->status != FL_OK || answer->plain != 0) {
        record->plain = answer->plain;
    } else if (answer->result != NULL && answer->result->len <= SHARD_SESSION_RESULT_BYTES_MAX) {
        record->result = fl_buf_acquire(answer->result);
    } else {
        record->code = code_of(FL_UNKNOWN);
    }
}

size_t shard_sessions_records(const struct shard_sessions *sessions)
{
    size_t count = 0;

    for (size_t i = 0; i < sessions->count; i++) {
        count += sessions->origins[i].count;
    }
    return count;
}

/* ---- disk ---- */

void shard_sessions_encode(const struct shard_sessions *sessions, struct fl_writer *w)
{
    size_t begin = w->len;

    fl_write_u8(w, SESSION_FORMAT);
    fl_write_u64le(w, sessions->index);
    fl_write_varint(w, sessions->count);
    for (size_t i = 0; i < sessions->count; i++) {
        const struct shard_session_origin *origin = &sessions->origins[i];

        fl_write_u64le(w, origin->node_id);
        fl_write_u32le(w, origin->boot);
        fl_write_varint(w, origin->finished_below);
        fl_write_varint(w, origin->last_index);
        fl_write_varint(w, origin->count);
        for (size_t j = 0; j < origin->count; j++) {
            const struct record *record = &origin->records[origin->head + j];

            fl_write_varint(w, record->seq);
            fl_write_u8(w, record->code);
            fl_write_u8(w, record->plain);
            fl_write_varint(w, record->revision);
            fl_write_bytes(
                w, record->result != NULL ? fl_buf_bytes(record->result) : fl_bytes(NULL, 0));
        }
    }
    fl_write_u32le(w, fl_crc32c(0, w->data + begin, w->len - begin));
}

static bool decode_record(struct fl_reader *r, uint64_t above, struct record *record)
{
    struct fl_bytes result;
    enum fl_status status;

    *record = (struct record){0};
    record->seq = fl_read_varint(r);
    record->code = fl_read_u8(r);
    record->plain = fl_read_u8(r);
    record->revision = fl_read_varint(r);
    result = fl_read_bytes(r);
    if (r->bad || record->seq < above || result.len > SHARD_SESSION_RESULT_BYTES_MAX ||
        !status_of(record->code, &status)) {
        return false;
    }
    if (result.len != 0) {
        record->result = fl_buf_copy(result);
    }
    return true;
}

static bool decode_origin(struct fl_reader *r, struct shard_session_origin *origin)
{
    uint64_t count;
    uint64_t above;

    origin->node_id = fl_read_u64le(r);
    origin->boot = fl_read_u32le(r);
    origin->finished_below = fl_read_varint(r);
    origin->last_index = fl_read_varint(r);
    count = fl_read_varint(r);
    if (r->bad || count > SHARD_SESSION_RECORDS_MAX ||
        count > fl_reader_left(r) / RECORD_BYTES_MIN) {
        return false;
    }
    fl_grow(&origin->records, &origin->capacity, (size_t)count, sizeof(*origin->records));
    above = origin->finished_below;
    for (uint64_t i = 0; i < count; i++) {
        struct record *record = &origin->records[i];

        if (!decode_record(r, above, record)) {
            return false;
        }
        origin->count++;
        above = record->seq + 1;
    }
    return true;
}

static enum fl_status decode_all(struct shard_sessions *sessions, struct fl_reader *r)
{
    uint8_t format = fl_read_u8(r);
    uint64_t count;

    if (!r->bad && format > SESSION_FORMAT) {
        return FL_NEWER_FORMAT;
    }
    sessions->index = fl_read_u64le(r);
    count = fl_read_varint(r);
    if (r->bad || format != SESSION_FORMAT || count > SHARD_SESSION_ORIGINS_MAX ||
        count > fl_reader_left(r) / ORIGIN_BYTES_MIN) {
        return FL_BAD_MESSAGE;
    }
    fl_grow(&sessions->origins, &sessions->capacity, (size_t)count, sizeof(*sessions->origins));
    for (uint64_t i = 0; i < count; i++) {
        struct shard_session_origin *origin = &sessions->origins[i];

        *origin = (struct shard_session_origin){0};
        sessions->count++;
        if (!decode_origin(r, origin) || (i != 0 && origin->node_id <= origin[-1].node_id)) {
            return FL_BAD_MESSAGE;
        }
    }
    return fl_reader_done(r) ? FL_OK : FL_BAD_MESSAGE;
}

enum fl_status shard_sessions_decode(struct shard_sessions *sessions, struct fl_bytes input)
{
    struct fl_reader r;
    enum fl_status status = FL_BAD_MESSAGE;

    shard_sessions_close(sessions);
    if (input.len > SESSION_CRC_BYTES) {
        size_t len = input.len - SESSION_CRC_BYTES;

        if (fl_crc32c(0, input.data, len) == fl_get_u32le(input.data + len)) {
            r = fl_reader(fl_bytes(input.data, len));
            status = decode_all(sessions, &r);
        }
    }
    if (status != FL_OK) {
        shard_sessions_close(sessions);
    }
    return status;
}
