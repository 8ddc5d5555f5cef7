/* Reading entries back for a follower that lags, while the log writer goes on. */
#include "node/log_store_internal.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

/* One iterator gives one state of the store: the group's row and its entries cannot contradict each
 * other, whatever is written or compacted meanwhile. */
struct log_reading {
    struct shard_iterator *it;
    uint64_t group;
    struct node_log_state state;
    raft_index hi;
    uint64_t max_bytes;
    uint64_t bytes; /* payload taken so far */
    struct node_log_read *out;
    size_t capacity;
};

static enum fl_status broken(const struct log_reading *reading)
{
    enum fl_status status =
        shard_iterator_valid(reading->it) ? FL_OK : shard_iterator_status(reading->it);

    return status != FL_OK ? status : FL_CORRUPT;
}

/* Stands on the record that holds `index`: the last one that starts at or below it (LS-3). */
static enum fl_status seek_record(struct log_reading *reading, raft_index index)
{
    struct node_log_key key =
        node_log_key_entries(reading->group, reading->state.incarnation, index);

    shard_iterator_seek(reading->it, node_log_key_bytes(&key));
    if (!shard_iterator_valid(reading->it)) {
        return broken(reading);
    }
    if (!fl_bytes_equal(shard_iterator_key(reading->it), node_log_key_bytes(&key))) {
        shard_iterator_prev(reading->it);
    }
    return shard_iterator_valid(reading->it) ? FL_OK : broken(reading);
}

/* Opens the record the iterator stands on if it holds `index` of this log. */
static enum fl_status
open_record(struct log_reading *reading, raft_index index, struct node_log_record *record)
{
    FL_TRY(node_log_record_open(
        shard_iterator_key(reading->it), shard_iterator_value(reading->it), record));
    if (record->group != reading->group || record->incarnation != reading->state.incarnation ||
        record->first > index || record->last < index) {
        return FL_CORRUPT;
    }
    return FL_OK;
}

static bool is_full(const struct log_reading *reading)
{
    return reading->out->count != 0 && reading->bytes >= reading->max_bytes;
}

/* Takes the entries of one record from *index to `end`, as long as they fit; *index moves to the
 * first one not taken. */
static enum fl_status take_record(struct log_reading *reading,
                                  struct node_log_record *record,
                                  raft_index end,
                                  raft_index *index)
{
    struct node_log_read *out = reading->out;
    struct node_log_record_entry entry;
    uint32_t len;

    while (record->next < *index) {
        FL_TRY(node_log_record_skip(record, &len));
    }
    while (*index <= end && !is_full(reading)) {
        FL_TRY(node_log_record_next(record, &entry));
        if (out->count != 0 && entry.payload.len > reading->max_bytes - reading->bytes) {
            return FL_OK;
        }
        fl_grow(&out->entries, &reading->capacity, out->count + 1, sizeof(*out->entries));
        out->entries[out->count++] = (struct node_log_entry){
            .term = entry.term,
            .type = entry.type,
            .payload = fl_buf_copy(entry.payload),
        };
        reading->bytes += entry.payload.len;
        (*index)++;
    }
    return FL_OK;
}

/* Moves to the next record of this log; *first = UINT64_MAX when there is none. */
static enum fl_status next_record(struct log_reading *reading, raft_index *first)
{
    uint64_t group;
    uint64_t incarnation;

    shard_iterator_next(reading->it);
    if (!shard_iterator_valid(reading->it)) {
        return broken(reading); /* at least the group's own state row lies behind */
    }
    if (!node_log_key_parse_entries(shard_iterator_key(reading->it), &group, &incarnation, first) ||
        group != reading->group || incarnation != reading->state.incarnation) {
        *first = UINT64_MAX;
    }
    return FL_OK;
}

/* Gives back what was taken from `from` on. */
static void give_back(struct log_reading *reading, raft_index from)
{
    struct node_log_read *out = reading->out;
    size_t keep = (size_t)(from - out->lo);

    while (out->count > keep) {
        struct node_log_entry *dead = &out->entries[--out->count];

        reading->bytes -= dead->payload->len;
        fl_buf_release(dead->payload);
    }
}

static enum fl_status read_state(struct log_reading *reading, uint64_t incarnation)
{
    struct node_log_key key = node_log_key_state(reading->group);
    struct fl_bytes k = node_log_key_bytes(&key);

    shard_iterator_seek(reading->it, k);
    if (!shard_iterator_valid(reading->it)) {
        enum fl_status status = shard_iterator_status(reading->it);

        return status != FL_OK ? status : FL_NOT_FOUND;
    }
    if (!fl_bytes_equal(shard_iterator_key(reading->it), k)) {
        return FL_NOT_FOUND;
    }
    FL_TRY(
        node_log_state_decode(reading->group, shard_iterator_value(reading->it), &reading->state));
    return reading->state.incarnation == incarnation ? FL_OK : FL_NOT_FOUND;
}

static enum fl_status read_entries(struct log_reading *reading, raft_index lo)
{
    raft_index index = lo;

    if (lo <= reading->state.truncated) {
        return FL_COMPACTED;
    }
    if (lo > reading->state.last) {
        return FL_NOT_FOUND;
    }
    if (reading->hi > reading->state.last) {
        reading->hi = reading->state.last;
    }
    FL_TRY(seek_record(reading, lo));
    for (;;) {
        struct node_log_record record;
        raft_index end;
        raft_index shadow; /* where the next record begins: this one is dead from there on */

        FL_TRY(open_record(reading, index, &record));
        end = record.last < reading->hi ? record.last : reading->hi;
        FL_TRY(take_record(reading, &record, end, &index));
        FL_TRY(next_record(reading, &shadow));
        if (shadow < index) {
            give_back(reading, shadow);
            index = shadow;
        }
        /* Go on when the record is used up; what stopped before its end is the limit, unless that
         * entry was dead. */
        if (index > reading->hi || is_full(reading) || (index <= end && shadow > index)) {
            return FL_OK;
        }
    }
}

/* Seven parameters, each a thing of its own. NOLINTNEXTLINE(readability-function-size) */
enum fl_status node_log_store_read(struct node_log_store *store,
                                   uint64_t group,
                                   uint64_t incarnation,
                                   raft_index lo,
                                   raft_index hi,
                                   uint64_t max_bytes,
                                   struct node_log_read *out)
{
    const uint8_t lower = NODE_LOG_TAG_ENTRIES;
    struct node_log_key upper = node_log_key_tag_end(NODE_LOG_TAG_STATE);
    struct log_reading reading = {
        .group = group,
        .hi = hi,
        .max_bytes = max_bytes,
        .out = out,
    };
    enum fl_status status;

    fl_assert(lo != 0 && lo <= hi);
    *out = (struct node_log_read){.lo = lo};
    reading.it =
        shard_iterator_create(store->engine, NULL, fl_bytes(&lower, 1), node_log_key_bytes(&upper));
    status = read_state(&reading, incarnation);
    if (status == FL_OK) {
        status = read_entries(&reading, lo);
    }
    shard_iterator_destroy(reading.it);
    if (status != FL_OK) {
        node_log_read_close(out);
    }
    return status;
}

void node_log_read_close(struct node_log_read *read)
{
    for (size_t i = 0; i < read->count; i++) {
        fl_buf_release(read->entries[i].payload);
    }
    free(read->entries);
    read->entries = NULL;
    read->count = 0;
}
