/* Results of commands and reads: one compact encoding from the machine to the door.
 *
 * Owner: an encoded result is one fl_buf; decoded slices borrow from it. Lifetime: of that buffer.
 * Threads: any (pure).
 *
 * Results may come from another node, so a decoder believes nothing: a malformed part makes the
 * iterator `bad`, and no count is larger than the bytes that are there. */
#ifndef SHARD_RESULT_H
#define SHARD_RESULT_H

#include "raftgroup/base/buf.h"
#include "raftgroup/base/bytes.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/status.h"
#include "shard/read.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most a result may hold: what one gRPC message can carry. */
#define SHARD_RESULT_BYTES_MAX ((size_t)INT32_MAX)

enum shard_result_kind {
    SHARD_RESULT_PUT = 1,      /* has_prev: one pair */
    SHARD_RESULT_DELETE_RANGE, /* count: keys deleted; pairs: previous ones, if asked for */
    SHARD_RESULT_RANGE,        /* count, more, pairs */
    SHARD_RESULT_TXN,          /* succeeded; responses */
    SHARD_RESULT_COMPACT,      /* also the result of MARK: nothing */
};

/* One key with its newest (or asked for) version. */
struct shard_kv {
    struct fl_bytes key;
    struct fl_bytes value;
    uint64_t create_revision;
    uint64_t mod_revision;
    uint64_t version;
    int64_t lease;
};

/* ---- reading ---- */

/* A decoded result or nested response. `part` is an iterator over pairs or responses: copy the
 * struct to iterate twice. */
struct shard_result {
    enum shard_result_kind kind;
    uint64_t revision;     /* header.revision */
    uint64_t count;        /* RANGE: keys in the interval; DELETE_RANGE: keys deleted */
    bool more;             /* RANGE */
    bool succeeded;        /* TXN */
    bool has_prev;         /* PUT */
    size_t kv_count;       /* pairs that follow */
    size_t response_count; /* TXN: responses that follow */
    struct fl_reader part;
};

/* The whole of `input` is one result. FL_BAD_MESSAGE, FL_NEWER_FORMAT. */
FL_MUST_USE enum fl_status shard_result_decode(struct fl_bytes input, struct shard_result *result);
/* The next pair (kv_count in all); false at the end or when malformed (then result->part.bad). */
bool shard_result_next_kv(struct shard_result *result, struct shard_kv *kv);
/* The next response of a TXN; false at the end or when malformed (then result->part.bad). */
bool shard_result_next_response(struct shard_result *result, struct shard_result *response);
/* Walks the whole tree: is every part well formed, nested no deeper than FL_TXN_DEPTH_MAX? For
 * results that come from another node. FL_BAD_MESSAGE, FL_NEWER_FORMAT, FL_TOO_DEEP. */
FL_MUST_USE enum fl_status shard_result_check(struct fl_bytes input);

/* ---- writing ---- */

/* Builds one result in the buffer it will live in. Begin, then the parts in order, then end.
 *
 *     shard_result_begin_txn(&w, rev, ok);  begin_put .. end;  begin_range .. end;  end;  take */
struct shard_result_writer {
    struct fl_buf *buf; /* being filled; len is set by take */
    size_t len;
    size_t capacity;
    size_t depth;
    size_t bytes_max; /* SHARD_RESULT_BYTES_MAX, or less if its user would not keep more */
    struct {
        size_t at;                /* where the result begins */
        uint64_t parts;           /* pairs or responses so far */
    } open[FL_TXN_DEPTH_MAX + 1]; /* levels of TXN and a leaf */
};

void shard_result_writer_init(struct shard_result_writer *w);
void shard_result_writer_close(struct shard_result_writer *w);
/* Forgets everything written, keeps the memory. */
void shard_result_writer_reset(struct shard_result_writer *w);

void shard_result_begin(struct shard_result_writer *w,
                        enum shard_result_kind kind,
                        uint64_t revision);
void shard_result_add_kv(struct shard_result_writer *w, const struct shard_kv *kv);
/* Set the fields of the innermost open result. */
void shard_result_set_revision(struct shard_result_writer *w, uint64_t revision);
void shard_result_set_count(struct shard_result_writer *w, uint64_t count);
void shard_result_set_flags(struct shard_result_writer *w,
                            bool more,
                            bool succeeded,
                            bool has_prev);
void shard_result_end(struct shard_result_writer *w);
/* The finished result, owned by the caller; the writer is empty again. FL_TOO_LARGE beyond
 * SHARD_RESULT_BYTES_MAX: nothing is given. */
FL_MUST_USE enum fl_status shard_result_take(struct shard_result_writer *w, struct fl_buf **result);

/* A result without parts: PUT without previous pair, COMPACT. The caller owns it. */
struct fl_buf *shard_result_plain(enum shard_result_kind kind, uint64_t revision);
/* DELETE_RANGE without pairs. The caller owns it. */
struct fl_buf *shard_result_deleted(uint64_t revision, uint64_t count);

/* ---- several ranges ---- */

/* Merges the RANGE results `parts` of neighbouring ranges, in key order, each the answer to
 * shard_read_part(read) at one revision, into the answer to `read`. `revision` becomes the
 * header's. FL_BAD_MESSAGE: a part is malformed or no RANGE; FL_TOO_LARGE. */
FL_MUST_USE enum fl_status shard_result_merge(const struct shard_read *read,
                                              const struct fl_bytes *parts,
                                              size_t count,
                                              uint64_t revision,
                                              struct fl_buf **result);
/* Adds up DELETE_RANGE results of neighbouring ranges, in key order. Errors as above. */
FL_MUST_USE enum fl_status shard_result_merge_deleted(const struct fl_bytes *parts,
                                                      size_t count,
                                                      uint64_t revision,
                                                      struct fl_buf **result);

#endif
