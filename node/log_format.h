/* Keys and rows of the log store: what is on disk, byte by byte, and nothing else.
 *
 * Owner:    nobody; encoders append to the caller's writer, decoders borrow the caller's bytes.
 * Lifetime: a decoded slice lives as long as the row it was read from.
 * Threads:  any.
 *
 * Integers in keys are big-endian so that byte order is numeric order; in values little-endian.
 *
 *   key                                          value
 *   'c'                                          chain: last batch and digest of the store
 *   'e' group(8) incarnation(8) first index(8)   entries: one record per group and append batch
 *   'g' group(8)                                 state of a group
 *   'i' name                                     identity rows
 *   'n' group(8) kind(1)                         intents
 *   't' group(8)                                 tombstone of a destroyed replica
 *
 * Every value but an entries record is *sealed*:
 *   off  size  field
 *   0    1     format = 1
 *   1    n     body
 *   1+n  4     CRC32C of key, format, body
 *
 * Bodies:
 *   chain      0 8 batch number   8 8 digest (XOR of node_log_row_hash over the rows g, i, n, t)
 *   state      0 1 flags (1 = damaged)   1 2 zero   3 8 replica id   11 8 incarnation   19 8 term
 *              27 8 vote   35 8 commit   43 8 last index   51 8 last term   59 8 truncated index
 *              67 8 truncated term
 *   tombstone  0 8 next replica id   8 8 next incarnation
 *   identity, intent: the caller's bytes
 *
 * Entries record, header:                        then for each entry:
 *   off  size  field                             off  size  field
 *   0    1     format = 1                        0    8     term
 *   1    3     zero                              8    4     payload bytes
 *   4    4     entries in the record, >= 1       12   1     type (enum raft_ent_type)
 *   8    8     first index                       13   1     flags = 0
 *   16   4     CRC32C of group, incarnation,     14   2     zero
 *              bytes 0..15                       16   4     CRC32C of group, index, bytes 0..15,
 *                                                           payload
 *                                                20   n     payload */
#ifndef NODE_LOG_FORMAT_H
#define NODE_LOG_FORMAT_H

#include "raftgroup/base/bytes.h"
#include "raftgroup/base/status.h"
#include "raftgroup/raft.h"

enum {
    NODE_LOG_FORMAT = 1,
    NODE_LOG_NAME_MAX = 31,        /* bytes of an identity row's name */
    NODE_LOG_KEY_MAX = 1 + 31,     /* the longest key: an identity row */
    NODE_LOG_RECORD_HEADER = 20,   /* entries record */
    NODE_LOG_ENTRY_HEADER = 20,    /* each entry in it */
    NODE_LOG_SEAL_BYTES = 5,       /* format and CRC around a body */
    NODE_LOG_STATE_BYTES = 75 + 5, /* sealed state row */
};

/* First byte of a key. */
enum node_log_tag {
    NODE_LOG_TAG_CHAIN = 'c',
    NODE_LOG_TAG_ENTRIES = 'e',
    NODE_LOG_TAG_STATE = 'g',
    NODE_LOG_TAG_IDENTITY = 'i',
    NODE_LOG_TAG_INTENT = 'n',
    NODE_LOG_TAG_TOMBSTONE = 't',
};

struct node_log_key {
    uint8_t data[NODE_LOG_KEY_MAX];
    size_t len;
};

/* Where the batches of the store stand (LS-6). */
struct node_log_chain {
    uint64_t batch;  /* number of the newest batch in the store; 1, 2, 3 .. */
    uint64_t digest; /* of every state, identity, intent and tombstone row after that batch */
};

/* State row of a group. truncated <= last; truncated_term <= last_term <= term; commit <= last. */
struct node_log_state {
    uint64_t replica_id;
    uint64_t incarnation; /* of this replica's log on this node; entries of others are dead */
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index last;      /* entries beyond it are dead (LS-3) */
    raft_term last_term;  /* term at `last`; 0 when last is 0 */
    raft_index truncated; /* entries up to it are dead (LS-4); the snapshot or split point */
    raft_term truncated_term;
    bool damaged; /* durable promises of this replica may be lost (LS-8) */
};

struct node_log_tombstone {
    uint64_t next_replica_id;  /* smaller ones never live here again */
    uint64_t next_incarnation; /* entries of smaller ones are dead */
};

/* Reader over one entries record. */
struct node_log_record {
    uint64_t group;
    uint64_t incarnation;
    raft_index first;
    raft_index last;
    raft_index next;        /* index of the entry read next; last + 1 at the end */
    struct fl_reader input; /* at that entry */
};

struct node_log_record_entry {
    raft_index index;
    raft_term term;
    uint8_t type;            /* enum raft_ent_type */
    struct fl_bytes payload; /* borrowed */
};

/* --- keys ------------------------------------------------------------------------------------- */

struct node_log_key node_log_key_chain(void);
struct node_log_key
node_log_key_entries(uint64_t group, uint64_t incarnation, raft_index first_index);
struct node_log_key node_log_key_state(uint64_t group);
struct node_log_key node_log_key_tombstone(uint64_t group);
struct node_log_key node_log_key_intent(uint64_t group, uint8_t kind);
/* `name` has 1..NODE_LOG_NAME_MAX bytes (fl_assert). */
struct node_log_key node_log_key_identity(const char *name);
/* The key that is behind every key with `tag`: the exclusive end of a scan. */
struct node_log_key node_log_key_tag_end(enum node_log_tag tag);

static inline struct fl_bytes node_log_key_bytes(const struct node_log_key *key)
{
    return fl_bytes(key->data, key->len);
}

/* Parses 'g' and 't' keys; false when `key` is not exactly tag and group. */
bool node_log_key_parse_group(struct fl_bytes key, enum node_log_tag tag, uint64_t *group);
/* Parses an 'n' key; false when it is none. */
bool node_log_key_parse_intent(struct fl_bytes key, uint64_t *group, uint8_t *kind);
/* Parses an 'e' key; false when it is none. */
bool node_log_key_parse_entries(struct fl_bytes key,
                                uint64_t *group,
                                uint64_t *incarnation,
                                raft_index *first_index);

/* --- sealed rows ------------------------------------------------------------------------------ */

/* Appends the sealed `body` of the row at `key` to `out`. */
void node_log_seal(struct fl_writer *out, struct fl_bytes key, struct fl_bytes body);
/* Opens a sealed value; *body is borrowed from `value`. FL_TRUNCATED, FL_CORRUPT (checksum),
 * FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status
node_log_unseal(struct fl_bytes key, struct fl_bytes value, struct fl_bytes *body);
/* What one row adds to the digest of the store (LS-6). */
uint64_t node_log_row_hash(struct fl_bytes key, struct fl_bytes value);

/* Each encoder appends the sealed value to `out`; each decoder opens one. Errors of the decoders:
 * as node_log_unseal, and FL_CORRUPT for values that contradict each other. */
void node_log_chain_encode(struct fl_writer *out, const struct node_log_chain *chain);
FL_MUST_USE enum fl_status node_log_chain_decode(struct fl_bytes value,
                                                 struct node_log_chain *chain);
void node_log_state_encode(struct fl_writer *out,
                           uint64_t group,
                           const struct node_log_state *state);
FL_MUST_USE enum fl_status
node_log_state_decode(uint64_t group, struct fl_bytes value, struct node_log_state *state);
void node_log_tombstone_encode(struct fl_writer *out,
                               uint64_t group,
                               const struct node_log_tombstone *tombstone);
FL_MUST_USE enum fl_status node_log_tombstone_decode(uint64_t group,
                                                     struct fl_bytes value,
                                                     struct node_log_tombstone *tombstone);
/* False when the fields of `state` contradict each other. */
bool node_log_state_is_valid(const struct node_log_state *state);

/* --- entries records -------------------------------------------------------------------------- */

/* Appends the header of a record of `count` >= 1 entries; exactly that many entries must follow. */
void node_log_record_begin(struct fl_writer *out,
                           uint64_t group,
                           uint64_t incarnation,
                           raft_index first,
                           uint32_t count);
/* Appends one entry. */
void node_log_record_add(struct fl_writer *out,
                         uint64_t group,
                         const struct node_log_record_entry *entry);
/* Checks key and header of a record and stands before its first entry. FL_CORRUPT,
 * FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status
node_log_record_open(struct fl_bytes key, struct fl_bytes value, struct node_log_record *record);
/* Reads the next entry with its checksum. FL_CORRUPT also when asked beyond the last. */
FL_MUST_USE enum fl_status node_log_record_next(struct node_log_record *record,
                                                struct node_log_record_entry *entry);
/* Steps over the next entry without checking its payload; *len = its payload bytes. */
FL_MUST_USE enum fl_status node_log_record_skip(struct node_log_record *record, uint32_t *len);
/* True when nothing but the entries announced is in the record; call behind the last entry. */
bool node_log_record_done(const struct node_log_record *record);

#endif
