/* The machine of a shard: entries in log order become rows (D1, D3, D7).
 *
 *     entry ── session: had its turn? ── epoch ── revision ── command ── rows ── applied state
 *
 * Nothing here depends on a clock, randomness, memory addresses or how entries are grouped into
 * batches; two replicas that applied the same entries hold the same rows. */
#include "shard/shard.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"
#include "shard/membership.h"
#include "shard/shard_internal.h"
#include "shard/txn.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* A batch this full is committed between two entries, one with so many rows before a command that
 * may iterate: that looks at all of them. */
#define BATCH_BYTES_MAX   ((size_t)16 * 1024 * 1024)
#define ITERATED_ROWS_MAX 2048

/* ---- rows of the group ---- */

static struct fl_bytes
group_key(uint8_t kind, uint64_t group_id, uint8_t out[SHARD_GROUP_KEY_BYTES])
{
    shard_group_key(kind, group_id, out);
    return fl_bytes(out, SHARD_GROUP_KEY_BYTES);
}

enum fl_status shard__read_state(struct shard_engine *engine,
                                 const struct shard_engine_snapshot *snapshot,
                                 uint64_t group_id,
                                 struct shard_state *state)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value row;
    enum fl_status status;

    FL_TRY(shard_engine_get(engine, snapshot, group_key(SHARD_ROW_STATE, group_id, key), &row));
    status = shard_state_decode(row.bytes, state);
    shard_value_release(&row);
    return status;
}

static enum fl_status load_range(struct shard *shard)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value row;
    struct fl_reader r;
    enum fl_status status;

    FL_TRY(shard_engine_get(
        shard->engine, NULL, group_key(SHARD_ROW_DESCRIPTOR, shard->group_id, key), &row));
    r = fl_reader(row.bytes);
    status = shard_range_decode(&shard->range, &r);
    if (status == FL_OK && (!fl_reader_done(&r) || shard->range.group_id != shard->group_id)) {
        status = FL_CORRUPT;
    }
    shard_value_release(&row);
    return status;
}

static enum fl_status load_sessions(struct shard *shard)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value row;
    enum fl_status status;

    FL_TRY(shard_engine_get(
        shard->engine, NULL, group_key(SHARD_ROW_SESSION, shard->group_id, key), &row));
    status = shard_sessions_decode(&shard->sessions, row.bytes);
    shard_value_release(&row);
    return status;
}

enum fl_status shard__load(struct shard *shard)
{
    enum fl_status status = shard__read_state(shard->engine, NULL, shard->group_id, &shard->state);

    if (status == FL_NOT_FOUND) {
        return FL_OK; /* a replica that waits for its first snapshot */
    }
    if (status == FL_OK) {
        status = load_range(shard);
    }
    if (status == FL_OK) {
        status = load_sessions(shard);
    }
    if (status == FL_NOT_FOUND || status == FL_BAD_MESSAGE ||
        (status == FL_OK && shard->sessions.index > shard->state.applied_index)) {
        status = FL_CORRUPT;
    }
    if (status != FL_OK) {
        shard__unload(shard);
        return status;
    }
    shard->checkpoint_index = shard->sessions.index;
    shard->dirty = shard->checkpoint_index != shard->state.applied_index;
    return FL_OK;
}

void shard__unload(struct shard *shard)
{
    shard->state = (struct shard_state){0};
    shard_range_close(&shard->range);
    shard_sessions_close(&shard->sessions);
    shard->checkpoint_index = 0;
    shard->dirty = false;
    shard->range_changed = false;
}

static void write_range(struct shard_batch *batch, const struct shard_range *range)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct fl_writer w;

    fl_writer_init(&w);
    shard_range_encode(range, &w);
    shard_batch_put(
        batch, group_key(SHARD_ROW_DESCRIPTOR, range->group_id, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
}

void shard__write_state(struct shard *shard, struct shard_batch *batch)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];

    if (shard->range_changed) {
        write_range(batch, &shard->range);
        shard->range_changed = false;
    }
    fl_writer_reset(&shard->head);
    shard_state_encode(&shard->head, &shard->state);
    shard_batch_put(
        batch, group_key(SHARD_ROW_STATE, shard->group_id, key), fl_writer_bytes(&shard->head));
}

void shard__checkpoint(struct shard *shard, struct shard_batch *batch)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct fl_writer w;

    if (!shard->dirty) {
        return;
    }
    shard->sessions.index = shard->state.applied_index;
    fl_writer_init(&w);
    shard_sessions_encode(&shard->sessions, &w);
    shard_batch_put(batch, group_key(SHARD_ROW_SESSION, shard->group_id, key), fl_writer_bytes(&w));
    fl_writer_close(&w);
    shard->checkpoint_index = shard->state.applied_index;
    shard->dirty = false;
}

/* ---- commands ---- */

static enum fl_status apply_put(struct shard__write *write, struct fl_bytes body)
{
    struct shard_put put;

    FL_TRY(shard_put_decode(body, &put));
    FL_TRY(shard__put_check(write, &put));
    return shard__put(write, &put, write->build && put.prev_kv);
}

static enum fl_status apply_delete(struct shard__write *write, struct fl_bytes body)
{
    struct shard_delete del;
    uint64_t deleted;

    FL_TRY(shard_delete_decode(body, &del));
    FL_TRY(shard__delete_check(write, &del));
    return shard__delete(write, &del, write->build, &deleted);
}

static enum fl_status apply_txn(struct shard__write *write, struct fl_bytes body)
{
    struct shard *shard = write->shard;
    struct shard_txn txn;

    FL_TRY(shard_txn_decode(body, &txn, &shard->txn_memory, &shard->txn_memory_bytes));
    return shard__txn(write, &txn);
}

static enum fl_status apply_compact(struct shard__write *write, struct fl_bytes body)
{
    uint64_t revision;
    bool force;

    FL_TRY(shard_compact_decode(body, &revision, &force));
    return shard__compact(write->shard, revision, force);
}

static enum fl_status apply_mark(struct shard__write *write, struct fl_bytes body)
{
    uint64_t mark;

    FL_TRY(shard_mark_decode(body, &mark));
    if (mark > write->shard->state.mark) {
        write->shard->state.mark = mark;
    }
    return FL_OK;
}

static enum fl_status run_command(struct shard__write *write, const struct shard_command *command)
{
    switch (command->kind) {
    case SHARD_COMMAND_PUT:
        return apply_put(write, command->body);
    case SHARD_COMMAND_DELETE_RANGE:
        return apply_delete(write, command->body);
    case SHARD_COMMAND_TXN:
        return apply_txn(write, command->body);
    case SHARD_COMMAND_COMPACT:
        return apply_compact(write, command->body);
    case SHARD_COMMAND_MARK:
        return apply_mark(write, command->body);
    default:
        return FL_NOT_SUPPORTED;
    }
}

/* A result that is nothing but its kind and revision; 0 for the others. */
static uint8_t plain_kind(const struct shard_command *command, const struct shard *shard)
{
    switch (command->kind) {
    case SHARD_COMMAND_PUT:
        return shard->result.len == 0 ? SHARD_RESULT_PUT : 0;
    case SHARD_COMMAND_COMPACT:
    case SHARD_COMMAND_MARK:
        return SHARD_RESULT_COMPACT;
    default:
        return 0;
    }
}

static bool stops_engine(enum fl_status status)
{
    return status == FL_IO || status == FL_CORRUPT || status == FL_NO_SPACE ||
           status == FL_NEWER_FORMAT;
}

/* Takes the built result, if it was built to the end. */
static struct fl_buf *take_result(struct shard__write *write)
{
    struct shard_result_writer *w = &write->shard->result;
    struct fl_buf *result = NULL;

    if (!shard__building(write) || w->len == 0 || shard_result_take(w, &result) != FL_OK) {
        shard_result_writer_reset(w);
    }
    return result;
}

/* Runs a command whose turn it is. FL_IO and the like: the engine is to be stopped. */
static void execute(struct shard *shard,
                    struct shard_batch *batch,
                    const struct shard_command *command,
                    struct shard_apply *entry,
                    struct shard_session_answer *answer)
{
    struct shard_state *state = &shard->state;
    struct shard__write write = {
        .shard = shard,
        .batch = batch,
        .source = {.engine = shard->engine, .batch = batch},
        .revision = command->revision != 0 ? command->revision : state->last_revision + 1,
        .build = entry->want_result || command->seq != 0,
    };

    shard_result_writer_reset(&shard->result);
    shard->result.bytes_max =
        entry->want_result ? SHARD_RESULT_BYTES_MAX : SHARD_SESSION_RESULT_BYTES_MAX;
    answer->status = run_command(&write, command);
    if (write.wrote || command->revision > state->last_revision) {
        state->last_revision = write.revision;
    }
    answer->revision = state->last_revision;
    if (answer->status == FL_OK) {
        answer->plain = plain_kind(command, shard);
        answer->result = answer->plain == 0 ? take_result(&write) : NULL;
    }
}

/* Epoch and revision: refused commands change nothing (SH-1, SH-2). */
static enum fl_status admit(const struct shard *shard, const struct shard_command *command)
{
    if (command->epoch != shard->range.version) {
        return FL_EPOCH_MISMATCH;
    }
    if (command->revision != 0 && command->revision <= shard->state.last_revision) {
        fl_log(FL_LOG_ERROR,
               "revision_not_above_last",
               "group=%" PRIu64 " revision=%" PRIu64 " last=%" PRIu64,
               shard->group_id,
               command->revision,
               shard->state.last_revision);
        return FL_STALE;
    }
    return FL_OK;
}

/* Copies an answer into the entry, with a reference of its own on the result. */
static void give_answer(struct shard_apply *entry, const struct shard_session_answer *answer)
{
    entry->status = answer->status;
    entry->revision = answer->revision;
    if (answer->status != FL_OK || !entry->want_result) {
        return;
    }
    if (answer->plain != 0) {
        entry->result = shard_result_plain((enum shard_result_kind)answer->plain, answer->revision);
    } else if (answer->result != NULL) {
        entry->result = fl_buf_acquire(answer->result);
    } else {
        entry->status = FL_UNKNOWN; /* applied, but the answer is too large to be given */
    }
}

/* FL_OK, or why the engine is to be stopped. */
static enum fl_status
apply_command(struct shard *shard, struct shard_batch *batch, struct shard_apply *entry)
{
    struct shard_session_answer answer = {.revision = shard->state.last_revision};
    struct shard_command command;
    enum shard_session_verdict verdict = SHARD_SESSION_FRESH;

    answer.status = shard_command_decode(entry->payload, &command);
    if (answer.status == FL_NEWER_FORMAT) {
        /* Replicas of a newer version apply it: going on would make this one different. */
        fl_fatal("group %" PRIu64 ": entry %" PRIu64 " is of a newer format than this program",
                 shard->group_id,
                 entry->index);
    }
    if (answer.status != FL_OK) {
        give_answer(entry, &answer);
        return FL_OK;
    }
    if (command.seq != 0) {
        verdict = shard_sessions_enter(&shard->sessions, &command, entry->index, &answer);
    }
    if (verdict == SHARD_SESSION_DUPLICATE) {
        give_answer(entry, &answer);
        return FL_OK;
    }
    answer.status = verdict == SHARD_SESSION_STALE ? FL_STALE : admit(shard, &command);
    if (answer.status == FL_OK) {
        execute(shard, batch, &command, entry, &answer);
        if (stops_engine(answer.status)) {
            entry->status = answer.status;
            return answer.status;
        }
    }
    if (command.seq != 0 && verdict == SHARD_SESSION_FRESH) {
        shard_sessions_record(&shard->sessions, &command, &answer);
    }
    give_answer(entry, &answer);
    fl_buf_release(answer.result);
    return FL_OK;
}

static void apply_conf(struct shard *shard, struct shard_apply *entry)
{
    struct shard_membership change;

    entry->revision = shard->state.last_revision;
    entry->status = shard_membership_decode(entry->payload, &change);
    if (entry->status == FL_OK) {
        entry->status = shard_membership_apply(&change, &shard->state.conf, &shard->range);
    }
    shard->range_changed = shard->range_changed || entry->status == FL_OK;
}

static enum fl_status
apply_entry(struct shard *shard, struct shard_batch *batch, struct shard_apply *entry)
{
    entry->status = FL_OK;
    entry->revision = shard->state.last_revision;
    entry->result = NULL;
    if (entry->type == RAFT_ENT_CONF) {
        apply_conf(shard, entry);
    } else if (entry->type == RAFT_ENT_NORMAL && entry->payload.len != 0) {
        FL_TRY(apply_command(shard, batch, entry));
    }
    shard->state.applied_index = entry->index;
    shard->state.applied_term = entry->term;
    return FL_OK;
}

static struct shard *of(struct shard_machine *machine)
{
    return (struct shard *)(void *)((char *)machine - offsetof(struct shard, machine));
}

static const struct shard *of_const(const struct shard_machine *machine)
{
    return (const struct shard *)(const void *)((const char *)machine -
                                                offsetof(struct shard, machine));
}

static void fail_from(struct shard *shard,
                      struct shard_apply *entries,
                      size_t from,
                      size_t n,
                      enum fl_status status)
{
    char why[96];

    (void)snprintf(why,
                   sizeof(why),
                   "group %" PRIu64 " cannot apply entry %" PRIu64 ": %s",
                   shard->group_id,
                   entries[from].index,
                   fl_status_text(status));
    shard_engine_stop(shard->engine, status, why);
    for (size_t i = from; i < n; i++) {
        entries[i].status = status;
        entries[i].result = NULL;
    }
}

static bool may_iterate(const struct shard_apply *entry)
{
    uint8_t kind = entry->type == RAFT_ENT_NORMAL && entry->payload.len > 1 ? entry->payload.data[1]
                                                                            : SHARD_COMMAND_PUT;

    return kind == SHARD_COMMAND_DELETE_RANGE || kind == SHARD_COMMAND_TXN;
}

/* Whether the batch must be committed before this entry. */
static bool is_full(const struct shard_batch *batch, const struct shard_apply *next)
{
    return shard_batch_bytes(batch) > BATCH_BYTES_MAX ||
           (may_iterate(next) && shard_batch_count(batch) > ITERATED_ROWS_MAX);
}

static void machine_apply(struct shard_machine *machine,
                          struct shard_batch *batch,
                          struct shard_apply *entries,
                          size_t n)
{
    struct shard *shard = of(machine);

    for (size_t i = 0; i < n; i++) {
        enum fl_status status = FL_OK;

        fl_assert(entries[i].index == shard->state.applied_index + 1);
        fl_assert(entries[i].term >= shard->state.applied_term);
        if (is_full(batch, &entries[i])) {
            /* D1 holds: what is committed are whole entries, with the state that says so. */
            shard__write_state(shard, batch);
            status = shard_batch_commit(batch, false);
        }
        if (status == FL_OK) {
            status = apply_entry(shard, batch, &entries[i]);
            shard->dirty = true;
        }
        if (status != FL_OK) {
            fail_from(shard, entries, i, n, status);
            return;
        }
    }
    if (n != 0) {
        shard__write_state(shard, batch);
    }
}

static void machine_relearn(struct shard_machine *machine, const struct shard_apply *entry)
{
    struct shard *shard = of(machine);
    struct shard_session_answer answer;
    struct shard_command command;

    fl_assert(entry->index <= shard->state.applied_index);
    if (entry->index <= shard->sessions.index || entry->type != RAFT_ENT_NORMAL ||
        shard_command_decode(entry->payload, &command) != FL_OK || command.seq == 0) {
        return;
    }
    (void)shard_sessions_enter(&shard->sessions, &command, entry->index, &answer);
    shard->dirty = true;
}

static void machine_status(const struct shard_machine *machine, struct shard_machine_status *status)
{
    const struct shard *shard = of_const(machine);

    *status = (struct shard_machine_status){
        .applied_index = shard->state.applied_index,
        .applied_term = shard->state.applied_term,
        .checkpoint_index = shard->checkpoint_index,
        .dirty = shard->dirty,
        .revision = shard->state.last_revision,
        .compact_revision = shard->state.compact_revision,
        .mark = shard->state.mark,
        .live_keys = shard->state.live_keys,
        .conf = &shard->state.conf,
    };
}

static void machine_checkpoint(struct shard_machine *machine, struct shard_batch *batch)
{
    shard__checkpoint(of(machine), batch);
}

/* ---- life ---- */

static void delete_interval(struct shard_batch *batch,
                            void (*bound)(struct fl_writer *, struct fl_bytes, bool),
                            const struct shard_range *range)
{
    struct fl_writer lower;
    struct fl_writer upper;

    fl_writer_init(&lower);
    fl_writer_init(&upper);
    bound(&lower, range->start, false);
    bound(&upper, range->end, true);
    shard_batch_delete_range(batch, fl_writer_bytes(&lower), fl_writer_bytes(&upper));
    fl_writer_close(&lower);
    fl_writer_close(&upper);
}

static void machine_destroy(struct shard_machine *machine, struct shard_batch *batch)
{
    static const uint8_t kinds[] = {SHARD_ROW_STATE, SHARD_ROW_DESCRIPTOR, SHARD_ROW_SESSION};
    struct shard *shard = of(machine);
    uint8_t key[SHARD_GROUP_KEY_BYTES];

    if (shard->range.group_id != 0) {
        delete_interval(batch, shard_current_bound, &shard->range);
        delete_interval(batch, shard_history_bound, &shard->range);
    }
    for (size_t i = 0; i < sizeof(kinds); i++) {
        shard_batch_delete(batch, group_key(kinds[i], shard->group_id, key));
    }
    shard__unload(shard);
}

static void machine_close(struct shard_machine *machine)
{
    struct shard *shard = of(machine);

    shard__unload(shard);
    fl_writer_close(&shard->key);
    fl_writer_close(&shard->history_key);
    fl_writer_close(&shard->head);
    fl_writer_close(&shard->copy);
    shard_result_writer_close(&shard->result);
    free(shard->txn_memory);
    free(shard);
}

static const struct shard_machine_ops shard_ops = {
    .apply = machine_apply,
    .relearn = machine_relearn,
    .status = machine_status,
    .checkpoint = machine_checkpoint,
    .snapshot_open = shard__snapshot_open,
    .snapshot_next = shard__snapshot_next,
    .snapshot_close = shard__snapshot_close,
    .install_begin = shard__install_begin,
    .install_chunk = shard__install_chunk,
    .install_seal = shard__install_seal,
    .install_finish = shard__install_finish,
    .install_abort = shard__install_abort,
    .destroy = machine_destroy,
    .close = machine_close,
};

void shard_bootstrap(struct shard_batch *batch,
                     const struct shard_range *range,
                     const struct raft_conf *conf,
                     uint64_t index,
                     uint64_t term,
                     uint64_t revision)
{
    struct shard shard = {
        .group_id = range->group_id,
        .state = {.applied_index = index,
                  .applied_term = term,
                  .last_revision = revision,
                  .conf = *conf},
        .range = *range,
        .range_changed = true,
        .dirty = true,
    };

    fl_assert(shard_range_valid(range) && revision != 0);
    shard__write_state(&shard, batch);
    shard__checkpoint(&shard, batch);
    fl_writer_close(&shard.head);
}

enum fl_status shard_open(struct shard_engine *engine,
                          struct shard_gc *gc,
                          uint64_t group_id,
                          struct shard **shard)
{
    struct shard *s = fl_xcalloc(1, sizeof(*s));
    enum fl_status status;

    fl_assert(group_id != 0);
    *shard = NULL;
    s->machine.ops = &shard_ops;
    s->engine = engine;
    s->gc = gc;
    s->group_id = group_id;
    shard_result_writer_init(&s->result);
    status = shard__load(s);
    if (status != FL_OK) {
        machine_close(&s->machine);
        return status;
    }
    *shard = s;
    return FL_OK;
}

struct shard_machine *shard_machine(struct shard *shard)
{
    return &shard->machine;
}

const struct shard_range *shard_descriptor(const struct shard *shard)
{
    return &shard->range;
}

enum fl_status shard_groups(struct shard_engine *engine, uint64_t **groups, size_t *count)
{
    static const uint8_t lower[1] = {SHARD_ROW_STATE};
    static const uint8_t upper[1] = {SHARD_ROW_STATE + 1};
    struct shard_iterator *it =
        shard_iterator_create(engine, NULL, fl_bytes(lower, 1), fl_bytes(upper, 1));
    uint64_t *found = NULL;
    size_t capacity = 0;
    enum fl_status status;

    *groups = NULL;
    *count = 0;
    for (shard_iterator_first(it); shard_iterator_valid(it); shard_iterator_next(it)) {
        struct fl_bytes key = shard_iterator_key(it);

        if (key.len != SHARD_GROUP_KEY_BYTES) {
            status = FL_CORRUPT;
            goto out;
        }
        fl_grow(&found, &capacity, *count + 1, sizeof(*found));
        found[(*count)++] = fl_get_u64be(key.data + 1);
    }
    status = shard_iterator_status(it);
out:
    shard_iterator_destroy(it);
    if (status == FL_OK) {
        *groups = found;
    } else {
        free(found);
    }
    return status;
}

enum fl_status shard_durable_index(struct shard_engine *engine, uint64_t group_id, uint64_t *index)
{
    uint8_t key[SHARD_GROUP_KEY_BYTES];
    struct shard_value row;
    struct shard_state state;
    enum fl_status status =
        shard_engine_get_durable(engine, group_key(SHARD_ROW_STATE, group_id, key), &row);

    *index = 0;
    if (status == FL_NOT_FOUND) {
        return FL_OK;
    }
    FL_TRY(status);
    status = shard_state_decode(row.bytes, &state);
    shard_value_release(&row);
    if (status == FL_OK) {
        *index = state.applied_index;
    }
    return status;
}
