/* Reading versions: one key, an interval now, an interval in the past, and the hash of a range.
 *
 * A read at the newest revision touches current rows only. A read in the past merges two walks in
 * key order: a key shows its current version if that is old enough, else the newest history row
 * not above the revision, if that had not ended by then.
 *
 *     'c'   b@9         d@2
 *     'h'   b@7 b@3     c@5(end 8)         at 4:  b@3  d@2      at 7:  b@7  c@5  d@2
 */
#include "raftgroup/base/assert.h"
#include "raftgroup/base/crc32c.h"
#include "shard/shard_internal.h"

#include <stdatomic.h>

/* Rows of one key are skipped one by one this often before a seek is cheaper. */
#define STEPS_BEFORE_SEEK 8
/* How often a hash starts again because a compaction overtook it. */
#define HASH_TRIES 8

static enum fl_status
get(const struct shard__source *source, struct fl_bytes key, struct shard_value *value)
{
    return source->batch != NULL ? shard_batch_get(source->batch, key, value)
                                 : shard_engine_get(source->engine, source->snapshot, key, value);
}

static struct shard_iterator *
iterate(const struct shard__source *source, struct fl_bytes lower, struct fl_bytes upper)
{
    return source->batch != NULL
               ? shard_batch_scan(source->batch, lower, upper)
               : shard_iterator_create(source->engine, source->snapshot, lower, upper);
}

enum fl_status shard__get_current(const struct shard__source *source,
                                  struct fl_writer *scratch,
                                  struct fl_bytes key,
                                  struct shard_value *row,
                                  struct shard_kv *kv)
{
    enum fl_status status;

    fl_writer_reset(scratch);
    shard_current_key(scratch, key);
    FL_TRY(get(source, fl_writer_bytes(scratch), row));
    kv->key = key;
    status = shard_current_decode(row->bytes, kv);
    if (status != FL_OK) {
        shard_value_release(row);
    }
    return status;
}

struct shard__interval shard__clip(struct fl_bytes key,
                                   struct fl_bytes request_end,
                                   struct fl_bytes start,
                                   struct fl_bytes end,
                                   struct fl_writer *scratch)
{
    struct shard__interval interval = {key, request_end};

    if (request_end.len == 0) {
        fl_writer_reset(scratch);
        fl_write_raw(scratch, key);
        fl_write_u8(scratch, 0);
        interval.end = fl_writer_bytes(scratch);
    } else if (shard_end_is_open(request_end)) {
        interval.end = fl_bytes(NULL, 0);
    }
    if (fl_bytes_compare(interval.start, start) < 0) {
        interval.start = start;
    }
    if (end.len != 0 && (interval.end.len == 0 || fl_bytes_compare(interval.end, end) > 0)) {
        interval.end = end;
    }
    return interval;
}

static bool is_empty(const struct shard__interval *interval)
{
    return interval->end.len != 0 && fl_bytes_compare(interval->start, interval->end) >= 0;
}

/* ---- walks ---- */

struct walk {
    uint64_t revision;
    shard__visit_fn *visit;
    void *context;
    struct shard_iterator *current;
    struct shard_iterator *history;
    bool history_valid;
    struct fl_writer history_user_key; /* decoded, of the row `history` stands on */
    uint64_t history_mod;
    struct fl_writer scratch;
};

static struct shard_iterator *open_current(const struct shard__source *source,
                                           const struct shard__interval *interval)
{
    struct fl_writer lower;
    struct fl_writer upper;
    struct shard_iterator *it;

    fl_writer_init(&lower);
    fl_writer_init(&upper);
    shard_current_bound(&lower, interval->start, false);
    shard_current_bound(&upper, interval->end, true);
    it = iterate(source, fl_writer_bytes(&lower), fl_writer_bytes(&upper));
    fl_writer_close(&lower);
    fl_writer_close(&upper);
    shard_iterator_first(it);
    return it;
}

static struct shard_iterator *open_history(const struct shard__source *source,
                                           const struct shard__interval *interval)
{
    struct fl_writer lower;
    struct fl_writer upper;
    struct shard_iterator *it;

    fl_writer_init(&lower);
    fl_writer_init(&upper);
    shard_history_bound(&lower, interval->start, false);
    shard_history_bound(&upper, interval->end, true);
    it = iterate(source, fl_writer_bytes(&lower), fl_writer_bytes(&upper));
    fl_writer_close(&lower);
    fl_writer_close(&upper);
    shard_iterator_first(it);
    return it;
}

static enum fl_status decode_current_row(const struct shard_iterator *it, struct shard_kv *kv)
{
    struct fl_bytes key = shard_iterator_key(it);

    kv->key = fl_bytes(key.data + 1, key.len - 1);
    return shard_current_decode(shard_iterator_value(it), kv);
}

static enum fl_status walk_newest(struct walk *walk)
{
    enum fl_status status = FL_OK;

    while (shard_iterator_valid(walk->current)) {
        struct shard_kv kv;

        FL_TRY(decode_current_row(walk->current, &kv));
        if (!walk->visit(walk->context, &kv)) {
            return FL_OK;
        }
        shard_iterator_next(walk->current);
    }
    status = shard_iterator_status(walk->current);
    return status;
}

/* Decodes the key of the row the history walk stands on, if any. */
static enum fl_status look_at_history(struct walk *walk)
{
    walk->history_valid = shard_iterator_valid(walk->history);
    if (!walk->history_valid) {
        return shard_iterator_status(walk->history);
    }
    fl_writer_reset(&walk->history_user_key);
    return shard_history_key_decode(
        shard_iterator_key(walk->history), &walk->history_user_key, &walk->history_mod);
}

static bool history_is_of(const struct walk *walk, struct fl_bytes key)
{
    return walk->history_valid && fl_bytes_equal(fl_writer_bytes(&walk->history_user_key), key);
}

/* Moves to the newest row of `key` whose revision is at most `revision`, or beyond the key.
 * Revision 0 skips all its rows, as no version has it. */
static enum fl_status descend(struct walk *walk, struct fl_bytes key, uint64_t revision)
{
    unsigned steps = 0;

    while (history_is_of(walk, key) && walk->history_mod > revision) {
        if (++steps <= STEPS_BEFORE_SEEK) {
            shard_iterator_next(walk->history);
        } else {
            fl_writer_reset(&walk->scratch);
            shard_history_key(&walk->scratch, key, revision);
            shard_iterator_seek(walk->history, fl_writer_bytes(&walk->scratch));
        }
        FL_TRY(look_at_history(walk));
    }
    return FL_OK;
}

/* The history walk stands on the newest row of `key`: shows what was visible, moves beyond the key.
 */
static enum fl_status visit_history(struct walk *walk, struct fl_bytes key, bool *more)
{
    struct shard_kv kv = {.key = key};
    uint64_t end_revision = 0;

    FL_TRY(descend(walk, key, walk->revision));
    if (history_is_of(walk, key)) {
        FL_TRY(shard_history_decode(shard_iterator_value(walk->history), &kv, &end_revision));
        if (end_revision > walk->revision) {
            *more = walk->visit(walk->context, &kv);
        }
    }
    return *more ? descend(walk, key, 0) : FL_OK;
}

/* The key both walks are at next: the smaller one. `order`: of the current row's key against the
 * history row's; kv is the current row if order <= 0. */
static enum fl_status
next_key(struct walk *walk, struct fl_writer *key, struct shard_kv *kv, int *order)
{
    bool has_current = shard_iterator_valid(walk->current);
    struct fl_bytes history = fl_writer_bytes(&walk->history_user_key);

    *order = -1;
    if (has_current) {
        FL_TRY(decode_current_row(walk->current, kv));
    }
    if (walk->history_valid) {
        *order = has_current ? fl_bytes_compare(kv->key, history) : 1;
    }
    fl_writer_reset(key);
    fl_write_raw(key, *order <= 0 ? kv->key : history);
    return FL_OK;
}

/* One key: from the current row, from history, or from both. */
static enum fl_status step_past(struct walk *walk, struct fl_writer *key, bool *more)
{
    struct shard_kv kv = {0};
    enum fl_status status = FL_OK;
    int order;

    FL_TRY(next_key(walk, key, &kv, &order));
    if (order <= 0 && kv.mod_revision <= walk->revision) {
        *more = walk->visit(walk->context, &kv);
        if (*more && order == 0) {
            status = descend(walk, fl_writer_bytes(key), 0);
        }
    } else if (order >= 0) {
        status = visit_history(walk, fl_writer_bytes(key), more);
    }
    if (*more && order <= 0) {
        shard_iterator_next(walk->current);
    }
    return status;
}

static enum fl_status walk_past(struct walk *walk)
{
    struct fl_writer key;
    bool more = true;
    enum fl_status status;

    fl_writer_init(&key);
    FL_TRY_OUT(look_at_history(walk));
    while (more && (shard_iterator_valid(walk->current) || walk->history_valid)) {
        FL_TRY_OUT(step_past(walk, &key, &more));
    }
    status = more ? shard_iterator_status(walk->current) : FL_OK;
out:
    fl_writer_close(&key);
    return status;
}

enum fl_status shard__walk(const struct shard__source *source,
                           const struct shard__interval *interval,
                           uint64_t revision,
                           shard__visit_fn *visit,
                           void *context)
{
    struct walk walk = {.revision = revision, .visit = visit, .context = context};
    enum fl_status status;

    if (is_empty(interval)) {
        return FL_OK;
    }
    walk.current = open_current(source, interval);
    if (revision == 0) {
        status = walk_newest(&walk);
    } else {
        walk.history = open_history(source, interval);
        status = walk_past(&walk);
        shard_iterator_destroy(walk.history);
    }
    shard_iterator_destroy(walk.current);
    fl_writer_close(&walk.history_user_key);
    fl_writer_close(&walk.scratch);
    return status;
}

/* ---- range reads ---- */

struct range_read {
    const struct shard_read *read;
    struct shard_result_writer *w;
    bool sorted;        /* the limit cuts after a sort: keep everything */
    bool stop_at_limit; /* the count is known: no need to see the rest */
    uint64_t count;
    uint64_t kept; /* rows that passed the filters */
    uint64_t written;
    bool too_large;
};

static bool passes(const struct shard_read *read, const struct shard_kv *kv)
{
    int64_t mod = (int64_t)kv->mod_revision;
    int64_t create = (int64_t)kv->create_revision;

    return (read->max_mod_revision == 0 || mod <= read->max_mod_revision) &&
           (read->min_mod_revision == 0 || mod >= read->min_mod_revision) &&
           (read->max_create_revision == 0 || create <= read->max_create_revision) &&
           (read->min_create_revision == 0 || create >= read->min_create_revision);
}

static bool visit_range(void *context, const struct shard_kv *kv)
{
    struct range_read *range = context;
    const struct shard_read *read = range->read;
    struct shard_kv shown = *kv;

    range->count++;
    if (read->count_only || !passes(read, kv)) {
        return true;
    }
    range->kept++;
    if (!range->sorted && read->limit != 0 && range->kept > read->limit) {
        return !range->stop_at_limit;
    }
    if (read->keys_only && !(range->sorted && read->sort_target == SHARD_SORT_VALUE)) {
        shown.value = fl_bytes(NULL, 0);
    }
    shard_result_add_kv(range->w, &shown);
    range->written++;
    range->too_large = range->w->len > range->w->bytes_max;
    return !range->too_large;
}

static bool is_sorted(const struct shard_read *read)
{
    return read->sort_order == SHARD_SORT_DESCEND || read->sort_target != SHARD_SORT_KEY;
}

static bool has_filters(const struct shard_read *read)
{
    return read->min_mod_revision != 0 || read->max_mod_revision != 0 ||
           read->min_create_revision != 0 || read->max_create_revision != 0;
}

/* Everything of the interval in key order, the limit applied unless a sort comes first. */
static enum fl_status collect(const struct shard__source *source,
                              const struct shard__interval *interval,
                              const struct shard__when *when,
                              struct range_read *range)
{
    const struct shard_read *read = range->read;
    const uint64_t *total = when->total;
    enum fl_status status = FL_OK;

    range->sorted = is_sorted(read);
    range->stop_at_limit = total != NULL && !range->sorted && !has_filters(read);
    shard_result_begin(range->w, SHARD_RESULT_RANGE, when->header);
    if (total == NULL || !read->count_only) {
        status = shard__walk(source, interval, when->revision, visit_range, range);
    }
    if (status == FL_OK && range->too_large) {
        status = FL_TOO_LARGE;
    }
    shard_result_set_count(range->w, total != NULL ? *total : range->count);
    shard_result_set_flags(range->w, range->kept > range->written, false, false);
    shard_result_end(range->w);
    return status;
}

/* Copies a finished RANGE result into the one being written. */
static void copy_result(struct shard_result_writer *w, struct fl_bytes input)
{
    struct shard_result part;
    struct shard_kv kv;

    fl_assert(shard_result_decode(input, &part) == FL_OK);
    shard_result_begin(w, SHARD_RESULT_RANGE, part.revision);
    shard_result_set_count(w, part.count);
    shard_result_set_flags(w, part.more, false, false);
    while (shard_result_next_kv(&part, &kv)) {
        shard_result_add_kv(w, &kv);
    }
    shard_result_end(w);
}

/* Collects aside, sorts and cuts, then writes: only what remains reaches the result. */
static enum fl_status range_sorted(const struct shard__source *source,
                                   const struct shard__interval *interval,
                                   const struct shard_read *read,
                                   const struct shard__when *when,
                                   struct shard_result_writer *w)
{
    const struct shard__when all_of_it = {when->revision, when->header, NULL};
    struct shard_result_writer aside;
    struct range_read range = {.read = read, .w = &aside};
    struct fl_buf *all = NULL;
    struct fl_buf *sorted = NULL;
    struct fl_bytes part;
    enum fl_status status;

    shard_result_writer_init(&aside);
    FL_TRY_OUT(collect(source, interval, &all_of_it, &range));
    FL_TRY_OUT(shard_result_take(&aside, &all));
    part = fl_buf_bytes(all);
    FL_TRY_OUT(shard_result_merge(read, &part, 1, when->header, &sorted));
    copy_result(w, fl_buf_bytes(sorted));
out:
    fl_buf_release(sorted);
    fl_buf_release(all);
    shard_result_writer_close(&aside);
    return status;
}

enum fl_status shard__range(const struct shard__source *source,
                            const struct shard__interval *interval,
                            const struct shard_read *read,
                            const struct shard__when *when,
                            struct shard_result_writer *w)
{
    struct range_read range = {.read = read, .w = w};

    if (is_sorted(read) && !read->count_only) {
        return range_sorted(source, interval, read, when, w);
    }
    return collect(source, interval, when, &range);
}

/* ---- reads from outside ---- */

/* A single key at the newest revision: one look-up. What it finds is the state of that key at every
 * revision from its own on, so the header may name the higher of that and what is known anyway.
 * FL_NOT_FOUND: no row, which may be the work of a deletion above `known`: look at a pinned state.
 */
static enum fl_status read_point(struct shard_engine *engine,
                                 const struct shard_read_at *at,
                                 const struct shard_read *read,
                                 struct shard_result_writer *w)
{
    const struct shard__source source = {.engine = engine};
    struct range_read range = {.read = read, .w = w};
    struct fl_writer scratch;
    struct shard_value row = {0};
    struct shard_kv kv;
    uint64_t revision = at->known;
    enum fl_status status;

    fl_writer_init(&scratch);
    status = shard__get_current(&source, &scratch, read->key, &row, &kv);
    fl_writer_close(&scratch);
    if (status != FL_OK) {
        return status;
    }
    if (kv.mod_revision > revision) {
        revision = kv.mod_revision;
    }
    shard_result_begin(w, SHARD_RESULT_RANGE, revision);
    (void)visit_range(&range, &kv);
    shard_result_set_count(w, range.count);
    shard_result_end(w);
    shard_value_release(&row);
    return FL_OK;
}

/* What a compaction that overtook a read in the past may have dropped meanwhile: rows go only after
 * the shard's compact revision was raised and made durable, so asking after the walk is enough. */
static enum fl_status
check_not_compacted(struct shard_engine *engine, uint64_t group_id, uint64_t revision)
{
    struct shard_state state;

    FL_TRY(shard__read_state(engine, NULL, group_id, &state));
    return revision < state.compact_revision ? FL_COMPACTED : FL_OK;
}

/* Which revision, and what the header says; FL_COMPACTED, FL_FUTURE_REVISION. */
static enum fl_status choose_revision(const struct shard_read_at *at,
                                      const struct shard_read *read,
                                      const struct shard_state *state,
                                      struct shard__when *when)
{
    uint64_t revision = at->revision != 0 ? at->revision : read->revision;

    if (at->revision == 0 && revision > state->last_revision) {
        return FL_FUTURE_REVISION;
    }
    if (revision != 0 && revision < state->compact_revision) {
        return FL_COMPACTED;
    }
    /* At or above the last revision the newest rows are the answer: no need to look at history. */
    when->revision = revision < state->last_revision ? revision : 0;
    when->header = at->revision;
    if (at->revision == 0) {
        when->header = at->known > state->last_revision ? at->known : state->last_revision;
    }
    return FL_OK;
}

static enum fl_status read_pinned(const struct shard__source *source,
                                  const struct shard_read_at *at,
                                  const struct shard_read *read,
                                  struct shard_result_writer *w)
{
    struct shard_state state;
    struct shard__interval interval;
    struct shard__when when = {0};
    struct fl_writer scratch;
    enum fl_status status;

    FL_TRY(shard__read_state(source->engine, source->snapshot, at->group_id, &state));
    FL_TRY(choose_revision(at, read, &state, &when));
    fl_writer_init(&scratch);
    interval = shard__clip(read->key, read->end, at->start, at->end, &scratch);
    if (when.revision == 0 && fl_bytes_equal(interval.start, at->start) &&
        fl_bytes_equal(interval.end, at->end)) {
        when.total = &state.live_keys;
    }
    status = shard__range(source, &interval, read, &when, w);
    fl_writer_close(&scratch);
    if (status == FL_OK && when.revision != 0) {
        status = check_not_compacted(source->engine, at->group_id, when.revision);
    }
    return status;
}

enum fl_status shard_read_execute(struct shard_engine *engine,
                                  const struct shard_read_at *at,
                                  const struct shard_read *read,
                                  struct fl_buf **result)
{
    struct shard_result_writer w;
    enum fl_status status = FL_NOT_FOUND;

    *result = NULL;
    shard_result_writer_init(&w);
    if (read->end.len == 0 && at->revision == 0 && read->revision == 0 && at->known != 0) {
        status = read_point(engine, at, read, &w);
    }
    if (status == FL_NOT_FOUND) {
        struct shard__source source = {.engine = engine};
        struct shard_engine_snapshot *snapshot = shard_engine_snapshot_create(engine);

        source.snapshot = snapshot;
        status = read_pinned(&source, at, read, &w);
        shard_engine_snapshot_release(snapshot);
    }
    if (status == FL_OK) {
        status = shard_result_take(&w, result);
    }
    shard_result_writer_close(&w);
    return status;
}

/* ---- hash ---- */

/* One version as 32 bits. The checksum alone is linear: swapping the values of two keys would
 * cancel out in the sum, so it is mixed before it is added. */
static uint32_t hash_version(struct fl_writer *scratch, const struct shard_kv *kv, uint64_t end)
{
    uint64_t z;

    fl_writer_reset(scratch);
    fl_write_bytes(scratch, kv->key);
    fl_write_varint(scratch, kv->create_revision);
    fl_write_varint(scratch, kv->mod_revision);
    fl_write_varint(scratch, kv->version);
    fl_write_varint(scratch, (uint64_t)kv->lease);
    fl_write_varint(scratch, end);
    z = fl_crc32c(0, scratch->data, scratch->len);
    z |= (uint64_t)fl_crc32c((uint32_t)z, kv->value.data, kv->value.len) << 32;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return (uint32_t)(z ^ (z >> 32));
}

static enum fl_status hash_current(const struct shard__source *source,
                                   const struct shard__interval *interval,
                                   struct fl_writer *scratch,
                                   struct shard_hash_result *out)
{
    struct shard_iterator *it = open_current(source, interval);
    struct shard_kv kv;
    enum fl_status status = FL_OK;

    for (; shard_iterator_valid(it); shard_iterator_next(it)) {
        FL_TRY_OUT(decode_current_row(it, &kv));
        if (kv.mod_revision <= out->revision) {
            out->hash ^= hash_version(scratch, &kv, 0);
        }
    }
    status = shard_iterator_status(it);
out:
    shard_iterator_destroy(it);
    return status;
}

static enum fl_status hash_history(const struct shard__source *source,
                                   const struct shard__interval *interval,
                                   struct fl_writer *scratch,
                                   struct shard_hash_result *out)
{
    struct shard_iterator *it = open_history(source, interval);
    struct fl_writer key;
    struct shard_kv kv;
    uint64_t end;
    enum fl_status status = FL_OK;

    fl_writer_init(&key);
    for (; shard_iterator_valid(it); shard_iterator_next(it)) {
        uint64_t mod;

        fl_writer_reset(&key);
        FL_TRY_OUT(shard_history_key_decode(shard_iterator_key(it), &key, &mod));
        FL_TRY_OUT(shard_history_decode(shard_iterator_value(it), &kv, &end));
        kv.key = fl_writer_bytes(&key);
        if (kv.mod_revision <= out->revision && end > out->compact_revision) {
            /* An end beyond the revision has not happened yet. */
            out->hash ^= hash_version(scratch, &kv, end <= out->revision ? end : 0);
        }
    }
    status = shard_iterator_status(it);
out:
    fl_writer_close(&key);
    shard_iterator_destroy(it);
    return status;
}

static enum fl_status hash_pinned(const struct shard__source *source,
                                  const struct shard_read_at *at,
                                  uint64_t compact,
                                  struct shard_hash_result *out)
{
    const struct shard__interval interval = {at->start, at->end};
    struct shard_state state;
    struct fl_writer scratch;
    enum fl_status status;

    FL_TRY(shard__read_state(source->engine, source->snapshot, at->group_id, &state));
    *out = (struct shard_hash_result){
        .revision = at->revision != 0 ? at->revision : state.last_revision,
        .compact_revision = compact > state.compact_revision ? compact : state.compact_revision,
    };
    if (at->revision == 0 && out->revision < out->compact_revision) {
        out->revision = out->compact_revision; /* compacted from outside beyond the last write */
    }
    if (out->revision < out->compact_revision) {
        return FL_COMPACTED;
    }
    fl_writer_init(&scratch);
    status = hash_current(source, &interval, &scratch, out);
    if (status == FL_OK) {
        status = hash_history(source, &interval, &scratch, out);
    }
    fl_writer_close(&scratch);
    return status;
}

enum fl_status shard_hash(struct shard_engine *engine,
                          const struct shard_read_at *at,
                          uint64_t compact,
                          struct shard_hash_result *out)
{
    for (unsigned tries = 0; tries < HASH_TRIES; tries++) {
        struct shard_engine_snapshot *snapshot = shard_engine_snapshot_create(engine);
        const struct shard__source source = {.engine = engine, .snapshot = snapshot};
        enum fl_status status = hash_pinned(&source, at, compact, out);

        shard_engine_snapshot_release(snapshot);
        if (status != FL_OK) {
            return status;
        }
        status = check_not_compacted(engine, at->group_id, out->compact_revision);
        if (status != FL_COMPACTED) {
            return status;
        }
    }
    return FL_COMPACTED;
}
