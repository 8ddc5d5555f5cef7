/* Encoding and decoding of the rows of the log store; the byte tables are in the header. */
#include "node/log_format.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"

#include <assert.h>

enum {
    CHAIN_BODY = 16,
    STATE_BODY = 75,
    TOMBSTONE_BODY = 16,
    GROUP_KEY = 9,
    INTENT_KEY = 10,
    ENTRIES_KEY = 25,
    STATE_FLAG_DAMAGED = 1
};

static_assert(STATE_BODY + NODE_LOG_SEAL_BYTES == NODE_LOG_STATE_BYTES, "byte table of the state");
static_assert(STATE_BODY == 3 + 9 * 8, "byte table of the state");
static_assert(ENTRIES_KEY == 1 + 3 * 8 && ENTRIES_KEY <= (int)NODE_LOG_KEY_MAX, "keys fit");
static_assert(NODE_LOG_KEY_MAX == 1 + NODE_LOG_NAME_MAX, "keys fit");
static_assert(NODE_LOG_RECORD_HEADER == 16 + 4 && NODE_LOG_ENTRY_HEADER == 16 + 4,
              "checksums last");
static_assert(RAFT_ENT_CONF == 2, "entry types on disk");

/* --- keys ------------------------------------------------------------------------------------- */

static struct node_log_key group_key(enum node_log_tag tag, uint64_t group)
{
    struct node_log_key key = {.len = GROUP_KEY};

    key.data[0] = (uint8_t)tag;
    fl_put_u64be(key.data + 1, group);
    return key;
}

struct node_log_key node_log_key_chain(void)
{
    return (struct node_log_key){.data = {NODE_LOG_TAG_CHAIN}, .len = 1};
}

struct node_log_key
node_log_key_entries(uint64_t group, uint64_t incarnation, raft_index first_index)
{
    struct node_log_key key = group_key(NODE_LOG_TAG_ENTRIES, group);

    fl_put_u64be(key.data + 9, incarnation);
    fl_put_u64be(key.data + 17, first_index);
    key.len = ENTRIES_KEY;
    return key;
}

struct node_log_key node_log_key_state(uint64_t group)
{
    return group_key(NODE_LOG_TAG_STATE, group);
}

struct node_log_key node_log_key_tombstone(uint64_t group)
{
    return group_key(NODE_LOG_TAG_TOMBSTONE, group);
}

struct node_log_key node_log_key_intent(uint64_t group, uint8_t kind)
{
    struct node_log_key key = group_key(NODE_LOG_TAG_INTENT, group);

    key.data[GROUP_KEY] = kind;
    key.len = INTENT_KEY;
    return key;
}

struct node_log_key node_log_key_identity(const char *name)
{
    struct node_log_key key = {.data = {NODE_LOG_TAG_IDENTITY}};
    size_t len = strlen(name);

    fl_assert(len >= 1 && len <= NODE_LOG_NAME_MAX);
    memcpy(key.data + 1, name, len);
    key.len = 1 + len;
    return key;
}

struct node_log_key node_log_key_tag_end(enum node_log_tag tag)
{
    struct node_log_key key = {.len = 1};

    key.data[0] = (uint8_t)(tag + 1);
    return key;
}

bool node_log_key_parse_group(struct fl_bytes key, enum node_log_tag tag, uint64_t *group)
{
    if (key.len != GROUP_KEY || key.data[0] != tag) {
        return false;
    }
    *group = fl_get_u64be(key.data + 1);
    return true;
}

bool node_log_key_parse_intent(struct fl_bytes key, uint64_t *group, uint8_t *kind)
{
    if (key.len != INTENT_KEY || key.data[0] != NODE_LOG_TAG_INTENT) {
        return false;
    }
    *group = fl_get_u64be(key.data + 1);
    *kind = key.data[GROUP_KEY];
    return true;
}

bool node_log_key_parse_entries(struct fl_bytes key,
                                uint64_t *group,
                                uint64_t *incarnation,
                                raft_index *first_index)
{
    if (key.len != ENTRIES_KEY || key.data[0] != NODE_LOG_TAG_ENTRIES) {
        return false;
    }
    *group = fl_get_u64be(key.data + 1);
    *incarnation = fl_get_u64be(key.data + 9);
    *first_index = fl_get_u64be(key.data + 17);
    return true;
}

/* --- sealed rows ------------------------------------------------------------------------------ */

static uint32_t seal_crc(struct fl_bytes key, const uint8_t *value, size_t len)
{
    return fl_crc32c(fl_crc32c(0, key.data, key.len), value, len);
}

void node_log_seal(struct fl_writer *out, struct fl_bytes key, struct fl_bytes body)
{
    size_t start = out->len;

    fl_write_u8(out, NODE_LOG_FORMAT);
    fl_write_raw(out, body);
    fl_write_u32le(out, seal_crc(key, out->data + start, out->len - start));
}

enum fl_status node_log_unseal(struct fl_bytes key, struct fl_bytes value, struct fl_bytes *body)
{
    size_t sealed;

    if (value.len < NODE_LOG_SEAL_BYTES) {
        return FL_TRUNCATED;
    }
    sealed = value.len - 4;
    if (fl_get_u32le(value.data + sealed) != seal_crc(key, value.data, sealed)) {
        return FL_CORRUPT;
    }
    /* The checksum comes first: a flipped format byte is damage, not a newer program. */
    if (value.data[0] != NODE_LOG_FORMAT) {
        return value.data[0] > NODE_LOG_FORMAT ? FL_NEWER_FORMAT : FL_CORRUPT;
    }
    *body = fl_bytes(value.data + 1, sealed - 1);
    return FL_OK;
}

uint64_t node_log_row_hash(struct fl_bytes key, struct fl_bytes value)
{
    /* Finished by a bijective mix so that XOR over rows does not cancel structured differences. */
    uint64_t h = fl_bytes_hash(key) * UINT64_C(0x9e3779b97f4a7c15) ^ fl_bytes_hash(value);

    h = (h ^ (h >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    h = (h ^ (h >> 27)) * UINT64_C(0x94d049bb133111eb);
    return h ^ (h >> 31);
}

/* Opens a sealed row whose body must have exactly `len` bytes. */
static enum fl_status unseal_fixed(const struct node_log_key *key,
                                   struct fl_bytes value,
                                   size_t len,
                                   const uint8_t **body)
{
    struct fl_bytes b;

    FL_TRY(node_log_unseal(node_log_key_bytes(key), value, &b));
    *body = b.data;
    return b.len == len ? FL_OK : FL_CORRUPT;
}

void node_log_chain_encode(struct fl_writer *out, const struct node_log_chain *chain)
{
    struct node_log_key key = node_log_key_chain();
    uint8_t body[CHAIN_BODY];

    fl_put_u64le(body, chain->batch);
    fl_put_u64le(body + 8, chain->digest);
    node_log_seal(out, node_log_key_bytes(&key), fl_bytes(body, sizeof(body)));
}

enum fl_status node_log_chain_decode(struct fl_bytes value, struct node_log_chain *chain)
{
    struct node_log_key key = node_log_key_chain();
    const uint8_t *body;

    FL_TRY(unseal_fixed(&key, value, CHAIN_BODY, &body));
    chain->batch = fl_get_u64le(body);
    chain->digest = fl_get_u64le(body + 8);
    return chain->batch != 0 ? FL_OK : FL_CORRUPT;
}

bool node_log_state_is_valid(const struct node_log_state *state)
{
    return state->replica_id != 0 && state->incarnation != 0 && state->truncated <= state->last &&
           state->truncated_term <= state->last_term && state->last_term <= state->term &&
           state->commit <= state->last && (state->last != 0 || state->last_term == 0) &&
           (state->truncated != state->last || state->truncated_term == state->last_term);
}

void node_log_state_encode(struct fl_writer *out,
                           uint64_t group,
                           const struct node_log_state *state)
{
    struct node_log_key key = node_log_key_state(group);
    uint8_t body[STATE_BODY] = {0};

    fl_assert(node_log_state_is_valid(state));
    body[0] = state->damaged ? STATE_FLAG_DAMAGED : 0;
    fl_put_u64le(body + 3, state->replica_id);
    fl_put_u64le(body + 11, state->incarnation);
    fl_put_u64le(body + 19, state->term);
    fl_put_u64le(body + 27, state->vote);
    fl_put_u64le(body + 35, state->commit);
    fl_put_u64le(body + 43, state->last);
    fl_put_u64le(body + 51, state->last_term);
    fl_put_u64le(body + 59, state->truncated);
    fl_put_u64le(body + 67, state->truncated_term);
    node_log_seal(out, node_log_key_bytes(&key), fl_bytes(body, sizeof(body)));
}

enum fl_status
node_log_state_decode(uint64_t group, struct fl_bytes value, struct node_log_state *state)
{
    struct node_log_key key = node_log_key_state(group);
    const uint8_t *body;

    FL_TRY(unseal_fixed(&key, value, STATE_BODY, &body));
    state->damaged = (body[0] & STATE_FLAG_DAMAGED) != 0;
    state->replica_id = fl_get_u64le(body + 3);
    state->incarnation = fl_get_u64le(body + 11);
    state->term = fl_get_u64le(body + 19);
    state->vote = fl_get_u64le(body + 27);
    state->commit = fl_get_u64le(body + 35);
    state->last = fl_get_u64le(body + 43);
    state->last_term = fl_get_u64le(body + 51);
    state->truncated = fl_get_u64le(body + 59);
    state->truncated_term = fl_get_u64le(body + 67);
    if ((body[0] & ~STATE_FLAG_DAMAGED) != 0 || !node_log_state_is_valid(state)) {
        return FL_CORRUPT;
    }
    return FL_OK;
}

void node_log_tombstone_encode(struct fl_writer *out,
                               uint64_t group,
                               const struct node_log_tombstone *tombstone)
{
    struct node_log_key key = node_log_key_tombstone(group);
    uint8_t body[TOMBSTONE_BODY];

    fl_put_u64le(body, tombstone->next_replica_id);
    fl_put_u64le(body + 8, tombstone->next_incarnation);
    node_log_seal(out, node_log_key_bytes(&key), fl_bytes(body, sizeof(body)));
}

enum fl_status node_log_tombstone_decode(uint64_t group,
                                         struct fl_bytes value,
                                         struct node_log_tombstone *tombstone)
{
    struct node_log_key key = node_log_key_tombstone(group);
    const uint8_t *body;

    FL_TRY(unseal_fixed(&key, value, TOMBSTONE_BODY, &body));
    tombstone->next_replica_id = fl_get_u64le(body);
    tombstone->next_incarnation = fl_get_u64le(body + 8);
    return tombstone->next_incarnation != 0 ? FL_OK : FL_CORRUPT;
}

/* --- entries records -------------------------------------------------------------------------- */

/* CRC of two numbers that are not in the bytes themselves, then 16 header bytes. */
static uint32_t header_crc(uint64_t a, uint64_t b, const uint8_t *header)
{
    uint8_t bytes[32];

    fl_put_u64le(bytes, a);
    fl_put_u64le(bytes + 8, b);
    memcpy(bytes + 16, header, 16);
    return fl_crc32c(0, bytes, sizeof(bytes));
}

void node_log_record_begin(struct fl_writer *out,
                           uint64_t group,
                           uint64_t incarnation,
                           raft_index first,
                           uint32_t count)
{
    uint8_t *p = fl_write_space(out, NODE_LOG_RECORD_HEADER);

    fl_assert(count != 0 && first != 0);
    memset(p, 0, 4);
    p[0] = NODE_LOG_FORMAT;
    fl_put_u32le(p + 4, count);
    fl_put_u64le(p + 8, first);
    fl_put_u32le(p + 16, header_crc(group, incarnation, p));
}

void node_log_record_add(struct fl_writer *out,
                         uint64_t group,
                         const struct node_log_record_entry *entry)
{
    size_t len = entry->payload.len;
    uint8_t *p = fl_write_space(out, NODE_LOG_ENTRY_HEADER + len);

    fl_assert(len <= UINT32_MAX && entry->type <= RAFT_ENT_CONF);
    fl_put_u64le(p, entry->term);
    fl_put_u32le(p + 8, (uint32_t)len);
    fl_put_u32le(p + 12, entry->type);
    if (len != 0) {
        memcpy(p + NODE_LOG_ENTRY_HEADER, entry->payload.data, len);
    }
    fl_put_u32le(p + 16,
                 fl_crc32c(header_crc(group, entry->index, p), p + NODE_LOG_ENTRY_HEADER, len));
}

enum fl_status
node_log_record_open(struct fl_bytes key, struct fl_bytes value, struct node_log_record *record)
{
    const uint8_t *p = value.data;
    uint32_t count;

    if (!node_log_key_parse_entries(key, &record->group, &record->incarnation, &record->first) ||
        value.len < NODE_LOG_RECORD_HEADER ||
        fl_get_u32le(p + 16) != header_crc(record->group, record->incarnation, p)) {
        return FL_CORRUPT;
    }
    if (p[0] != NODE_LOG_FORMAT) {
        return p[0] > NODE_LOG_FORMAT ? FL_NEWER_FORMAT : FL_CORRUPT;
    }
    count = fl_get_u32le(p + 4);
    if (count == 0 || record->first == 0 || fl_get_u64le(p + 8) != record->first ||
        record->first > UINT64_MAX - count ||
        count > (value.len - NODE_LOG_RECORD_HEADER) / NODE_LOG_ENTRY_HEADER) {
        return FL_CORRUPT;
    }
    record->last = record->first + count - 1;
    record->next = record->first;
    record->input = fl_reader(value);
    (void)fl_read_raw(&record->input, NODE_LOG_RECORD_HEADER);
    return FL_OK;
}

/* Header and payload of the next entry, unchecked; NULL when the record ends too early. */
static const uint8_t *next_entry(struct node_log_record *record, uint32_t *len)
{
    const uint8_t *p = fl_read_raw(&record->input, NODE_LOG_ENTRY_HEADER).data;

    if (p == NULL || record->next > record->last) {
        return NULL;
    }
    *len = fl_get_u32le(p + 8);
    (void)fl_read_raw(&record->input, *len);
    if (record->input.bad) {
        return NULL;
    }
    record->next++;
    return p;
}

enum fl_status node_log_record_next(struct node_log_record *record,
                                    struct node_log_record_entry *entry)
{
    uint32_t len;
    const uint8_t *p = next_entry(record, &len);

    if (p == NULL) {
        return FL_CORRUPT;
    }
    entry->index = record->next - 1;
    entry->term = fl_get_u64le(p);
    entry->type = p[12];
    entry->payload = fl_bytes(p + NODE_LOG_ENTRY_HEADER, len);
    if (fl_get_u32le(p + 16) !=
            fl_crc32c(header_crc(record->group, entry->index, p), p + NODE_LOG_ENTRY_HEADER, len) ||
        entry->type > RAFT_ENT_CONF || p[13] != 0 || p[14] != 0 || p[15] != 0) {
        return FL_CORRUPT;
    }
    return FL_OK;
}

enum fl_status node_log_record_skip(struct node_log_record *record, uint32_t *len)
{
    return next_entry(record, len) != NULL ? FL_OK : FL_CORRUPT;
}

bool node_log_record_done(const struct node_log_record *record)
{
    return record->next == record->last + 1 && fl_reader_done(&record->input);
}
