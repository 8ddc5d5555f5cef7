/* Opening the log store: what is believed of the rows found on disk, and what is not.
 *
 * Three checks, each for a loss RocksDB would not report:
 *   watermark   the store ends before a batch that was synced            (WAL deleted, tail rotten)
 *   digest      the rows are not those of the newest batch               (a WAL in the middle lost)
 *   continuity  a group's entries have a gap, a wrong term or checksum   (a file rotten) */
#include "node/log_store_internal.h"

#include "node/why.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

enum {
    MEMTABLE_BYTES = 64 * 1024 * 1024,
    WAL_RUNWAY_BYTES = 1024 * 1024, /* some 3000 small writes */
    MEMTABLE_COUNT = 4,
    CACHE_BYTES = 8 * 1024 * 1024, /* entries are read once, from the cache of the replica mostly */
    BACKGROUND_JOBS = 2
};

static const char uuid_row[] = "uuid";
static const char what_to_do[] =
    "remove this node from the cluster, empty its data directory and let it join "
    "again as a new node";

void node__log_report_damage(struct node_log_report *report, const char *format, ...)
{
    va_list args;

    report->damaged = true;
    if (report->why[0] == '\0') {
        va_start(args, format);
        (void)vsnprintf(report->why, sizeof(report->why), format, args);
        va_end(args);
    }
}

/* --- rows ------------------------------------------------------------------------------------- */

struct log_loading {
    struct node_log_store *store;
    const struct node_log_store_options *options;
    struct node_log_report *report;
    size_t group_capacity;
    uint64_t digest; /* over the rows as found */
    char *why;
    size_t why_bytes;
};

static struct node_log_group_boot *add_boot(struct log_loading *loading, uint64_t group)
{
    struct node_log_report *report = loading->report;

    fl_grow(&report->groups,
            &loading->group_capacity,
            report->group_count + 1,
            sizeof(*report->groups));
    report->groups[report->group_count] = (struct node_log_group_boot){.group = group};
    return &report->groups[report->group_count++];
}

static void
damage_group(struct log_loading *loading, struct node_log_group_boot *boot, const char *what)
{
    struct node_log_report *report = loading->report;

    boot->damaged = true;
    if (report->why[0] == '\0') {
        (void)snprintf(report->why,
                       sizeof(report->why),
                       "the log of group %" PRIu64 " in %s is damaged (%s): %s",
                       boot->group,
                       loading->store->path,
                       what,
                       what_to_do);
    }
}

static enum fl_status
load_state(struct log_loading *loading, uint64_t id, struct fl_bytes key, struct fl_bytes value)
{
    struct node_log_group_boot *boot = add_boot(loading, id);
    struct node_log_state state;
    struct node__log_group *group;
    enum fl_status status = node_log_state_decode(id, value, &state);

    if (status == FL_NEWER_FORMAT) {
        return status;
    }
    if (status != FL_OK) {
        damage_group(loading, boot, "its state row fails its checksum");
        return FL_OK;
    }
    boot->replica_id = state.replica_id;
    boot->damaged = state.damaged;
    group = node__log_group_create(id, &state);
    group->row_hash = node_log_row_hash(key, value);
    HASH_ADD(hh, loading->store->shared.groups, id, sizeof(group->id), group);
    return FL_OK;
}

static enum fl_status
load_tombstone(struct log_loading *loading, uint64_t id, struct fl_bytes value)
{
    struct node_log_tombstone tombstone;
    enum fl_status status = node_log_tombstone_decode(id, value, &tombstone);

    if (status == FL_OK) {
        node_log_reclaim_publish(loading->store->reclaim, id, tombstone.next_incarnation, 0);
    }
    return status;
}

static enum fl_status
load_identity(struct log_loading *loading, struct fl_bytes key, struct fl_bytes value)
{
    struct fl_bytes body;

    FL_TRY(node_log_unseal(key, value, &body));
    if (fl_bytes_equal(fl_bytes(key.data + 1, key.len - 1), fl_bytes_of_string(uuid_row))) {
        if (loading->options->uuid != NULL &&
            !fl_bytes_equal(body, fl_bytes(loading->options->uuid, NODE_LOG_UUID_BYTES))) {
            return node_why(FL_REFUSED,
                            loading->why,
                            loading->why_bytes,
                            "the log in %s belongs to another data directory: put back the one "
                            "that was there before",
                            loading->store->path);
        }
    }
    return FL_OK;
}

static enum fl_status
load_row(struct log_loading *loading, struct fl_bytes key, struct fl_bytes value)
{
    struct fl_bytes body;
    uint64_t id;

    loading->digest ^= node_log_row_hash(key, value);
    if (node_log_key_parse_group(key, NODE_LOG_TAG_STATE, &id)) {
        return load_state(loading, id, key, value);
    }
    if (node_log_key_parse_group(key, NODE_LOG_TAG_TOMBSTONE, &id)) {
        return load_tombstone(loading, id, value);
    }
    if (key.len > 1 && key.data[0] == NODE_LOG_TAG_IDENTITY) {
        return load_identity(loading, key, value);
    }
    return node_log_unseal(key, value, &body);
}

/* Every row but entries and chain. */
static enum fl_status load_rows(struct log_loading *loading)
{
    const uint8_t lower = NODE_LOG_TAG_STATE;
    struct shard_iterator *it =
        shard_iterator_create(loading->store->engine, NULL, fl_bytes(&lower, 1), fl_bytes(NULL, 0));
    enum fl_status status = FL_OK;

    for (shard_iterator_first(it); shard_iterator_valid(it); shard_iterator_next(it)) {
        status = load_row(loading, shard_iterator_key(it), shard_iterator_value(it));
        if (status == FL_REFUSED || status == FL_NEWER_FORMAT) {
            goto out;
        }
        if (status != FL_OK) {
            node__log_report_damage(loading->report,
                                    "a row of %s fails its checksum: %s",
                                    loading->store->path,
                                    what_to_do);
        }
    }
    status = shard_iterator_status(it);
    if (status == FL_CORRUPT) {
        node__log_report_damage(
            loading->report, "a file in %s is unreadable: %s", loading->store->path, what_to_do);
        status = FL_OK;
    }
out:
    shard_iterator_destroy(it);
    return status;
}

/* Reads the chain row and holds it against watermark and digest (LS-6, LS-7). */
static enum fl_status load_chain(struct log_loading *loading)
{
    struct node_log_store *store = loading->store;
    struct node_log_report *report = loading->report;
    struct node_log_chain *chain = &store->write.chain;
    struct node_log_key key = node_log_key_chain();
    struct shard_value value;
    enum fl_status status = shard_engine_get(store->engine, NULL, node_log_key_bytes(&key), &value);

    if (status == FL_OK) {
        status = node_log_chain_decode(value.bytes, chain);
        shard_value_release(&value);
    } else if (status == FL_NOT_FOUND) {
        status = FL_OK; /* a new store, or the watermark says otherwise */
    }
    if (status != FL_OK && status != FL_CORRUPT && status != FL_TRUNCATED) {
        return status;
    }
    report->batch = chain->batch;
    report->watermark = node_watermark_durable(store->watermark);
    if (report->batch < report->watermark) {
        node__log_report_damage(report,
                                "the log in %s has lost synced writes (it ends at batch %" PRIu64
                                ", batch %" PRIu64 " was on disk): %s",
                                store->path,
                                report->batch,
                                report->watermark,
                                what_to_do);
    } else if (status != FL_OK || chain->digest != loading->digest) {
        node__log_report_damage(report,
                                "the log in %s is not as batch %" PRIu64 " left it: %s",
                                store->path,
                                report->batch,
                                what_to_do);
    }
    chain->digest = loading->digest;
    return FL_OK;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* Walks the live entries of one group. `group` is rebuilt from its truncated index on; `last` is
 * what the state row promises. */
struct log_check {
    struct log_loading *loading;
    struct shard_iterator *it;
    struct node__log_group *group;
    struct node_log_group_boot *boot;
    size_t conf_capacity;
    raft_index last;
    raft_term last_term;
    const char *bad; /* what was wrong behind group->state.last; NULL: nothing yet */
};

static void take_entry(struct log_check *check, const struct node_log_record_entry *entry)
{
    struct node_log_group_boot *boot = check->boot;

    node__log_group_append(check->group, entry->index, entry->index, entry->term);
    node__log_group_count(check->group, entry->index, entry->payload.len + NODE_LOG_ENTRY_HEADER);
    if (entry->type == RAFT_ENT_CONF) {
        size_t capacity = check->conf_capacity;

        fl_grow(&boot->conf_at, &capacity, boot->nconf_at + 1, sizeof(*boot->conf_at));
        check->conf_capacity = capacity;
        boot->conf_at[boot->nconf_at++] = entry->index;
    }
    check->loading->report->entries++;
    check->loading->report->bytes += entry->payload.len;
}

/* The record that starts at `from` replaced what was there (LS-3). */
static void rewind_to(struct log_check *check, raft_index from)
{
    struct node_log_group_boot *boot = check->boot;

    if (from <= check->group->state.last) {
        node__log_group_cut(check->group, from);
    }
    while (boot->nconf_at != 0 && boot->conf_at[boot->nconf_at - 1] >= from) {
        boot->nconf_at--;
    }
}

/* Takes the live entries of a record that follows what is there already. */
static const char *take_entries(struct log_check *check, struct node_log_record *record)
{
    const struct node_log_state *state = &check->group->state;
    struct node_log_record_entry entry;

    while (record->next <= record->last && record->next <= check->last) {
        if (node_log_record_next(record, &entry) != FL_OK) {
            return "an entry fails its checksum";
        }
        if (entry.index <= state->last) {
            continue; /* truncated */
        }
        if (entry.term < state->last_term || entry.term > state->term) {
            return "its terms fall";
        }
        take_entry(check, &entry);
    }
    return NULL;
}

/* Takes what is live in the record under the iterator. */
static void take_record(struct log_check *check, raft_index first)
{
    const struct node_log_state *state = &check->group->state;
    struct node_log_record record;

    if (first > state->truncated && first <= state->last + 1) {
        rewind_to(check, first);
        check->bad = NULL; /* what was bad before lay in a dead tail */
    }
    if (check->bad != NULL) {
        return;
    }
    if (first > state->last + 1) {
        check->bad = "entries are missing";
    } else if (node_log_record_open(shard_iterator_key(check->it),
                                    shard_iterator_value(check->it),
                                    &record) != FL_OK) {
        check->bad = "a record fails its checksum";
    } else {
        check->bad = take_entries(check, &record);
    }
}

/* Stands on the record that holds the first live entry, or on the first one there is. */
static void seek_first_live(struct log_check *check)
{
    const struct node_log_state *state = &check->group->state;
    struct node_log_key key =
        node_log_key_entries(check->group->id, state->incarnation, state->truncated + 1);
    struct fl_bytes k = node_log_key_bytes(&key);

    shard_iterator_seek(check->it, k);
    if (!shard_iterator_valid(check->it)) {
        shard_iterator_last(check->it);
    } else if (!fl_bytes_equal(shard_iterator_key(check->it), k)) {
        shard_iterator_prev(check->it);
        if (!shard_iterator_valid(check->it)) {
            shard_iterator_first(check->it);
        }
    }
}

static void scan_entries(struct log_check *check)
{
    struct node__log_group *group = check->group;
    struct node_log_key lower = node_log_key_entries(group->id, group->state.incarnation, 0);
    struct node_log_key upper =
        node_log_key_entries(group->id, group->state.incarnation, UINT64_MAX);

    check->it = shard_iterator_create(check->loading->store->engine,
                                      NULL,
                                      node_log_key_bytes(&lower),
                                      node_log_key_bytes(&upper));
    for (seek_first_live(check); shard_iterator_valid(check->it); shard_iterator_next(check->it)) {
        uint64_t id;
        uint64_t incarnation;
        raft_index first;

        if (!node_log_key_parse_entries(shard_iterator_key(check->it), &id, &incarnation, &first)) {
            check->bad = "a key is malformed";
        } else if (first <= check->last) {
            take_record(check, first);
        } else {
            break;
        }
    }
    if (shard_iterator_status(check->it) != FL_OK) {
        check->bad = "a file is unreadable";
    }
    shard_iterator_destroy(check->it);
}

/* Fills `boot` from what was read. */
static void fill_boot(struct node_log_group_boot *boot, const struct node__log_group *group)
{
    const struct node_log_state *state = &group->state;

    boot->incarnation = state->incarnation;
    boot->term = state->term;
    boot->vote = state->vote;
    boot->commit = state->commit;
    boot->last = state->last;
    boot->last_term = state->last_term;
    boot->truncated = state->truncated;
    boot->truncated_term = state->truncated_term;
    boot->bytes = atomic_load_explicit(&group->kept_bytes, memory_order_relaxed);
    boot->nruns = (uint32_t)group->run_count;
    boot->runs = group->run_count != 0
                     ? fl_xmemdup(group->runs, group->run_count * sizeof(*group->runs))
                     : NULL;
}

/* Rebuilds a group from its entries and holds them against its state row (LS-5). What cannot be
 * read is cut off: a damaged group is consistent in itself, but shorter than it promised to be. */
static void check_group(struct log_loading *loading,
                        struct node__log_group *group,
                        struct node_log_group_boot *boot)
{
    struct node_log_state *state = &group->state;
    struct log_check check = {
        .loading = loading,
        .group = group,
        .boot = boot,
        .last = state->last,
        .last_term = state->last_term,
    };

    state->last = state->truncated;
    state->last_term = state->truncated_term;
    if (check.last > state->truncated) {
        scan_entries(&check);
    }
    if (state->last != check.last || state->last_term != check.last_term) {
        damage_group(loading, boot, check.bad != NULL ? check.bad : "entries are missing");
        state->damaged = true;
        if (state->commit > state->last) {
            state->commit = state->last;
        }
    }
    fill_boot(boot, group);
}

enum fl_status node__log_load(struct node_log_store *store,
                              const struct node_log_store_options *options,
                              struct node_log_report *report,
                              char *why,
                              size_t why_bytes)
{
    struct log_loading loading = {
        .store = store,
        .options = options,
        .report = report,
        .why = why,
        .why_bytes = why_bytes,
    };
    enum fl_status status = load_rows(&loading);

    if (status == FL_OK) {
        status = load_chain(&loading);
    }
    if (status == FL_NEWER_FORMAT) {
        return node_why(
            status,
            why,
            why_bytes,
            "the log in %s was written by a newer version of flotilla: start that version",
            store->path);
    }
    if (status != FL_OK) {
        return status == FL_REFUSED ? status
                                    : node_why(status,
                                               why,
                                               why_bytes,
                                               "cannot read the log in %s: %s",
                                               store->path,
                                               fl_status_text(status));
    }
    for (size_t i = 0; i < report->group_count; i++) {
        struct node__log_group *group;

        HASH_FIND(hh, store->shared.groups, &report->groups[i].group, sizeof(uint64_t), group);
        if (group != NULL) {
            check_group(&loading, group, &report->groups[i]);
        }
    }
    return FL_OK;
}

/* --- open and close --------------------------------------------------------------------------- */

static bool file_exists(const char *directory, const char *name)
{
    struct fl_writer path;
    bool exists;

    fl_writer_init(&path);
    fl_write_raw(&path, fl_bytes_of_string(directory));
    fl_write_raw(&path, fl_bytes_of_string(name));
    fl_write_u8(&path, '\0');
    exists = access((const char *)path.data, F_OK) == 0;
    fl_writer_close(&path);
    return exists;
}

/* The watermark first: it tells whether there must be a store. */
static enum fl_status open_watermark(struct node_log_store *store,
                                     const struct node_log_store_options *options,
                                     struct node_log_report *report,
                                     char *why,
                                     size_t why_bytes)
{
    struct fl_writer path;
    enum fl_status status;

    fl_writer_init(&path);
    fl_write_raw(&path, fl_bytes_of_string(store->path));
    fl_write_raw(&path, fl_bytes(".watermark", sizeof(".watermark")));
    status = node_watermark_open(&store->watermark,
                                 (const char *)path.data,
                                 !file_exists(store->path, "/CURRENT"),
                                 why,
                                 why_bytes);
    if (status == FL_NOT_FOUND || status == FL_CORRUPT) {
        node__log_report_damage(report,
                                "%s.watermark is %s, so nobody knows what the log must hold: %s",
                                store->path,
                                status == FL_CORRUPT ? "unreadable" : "missing",
                                what_to_do);
        status = node_why(FL_CORRUPT, why, why_bytes, "%s", report->why);
        if (options->allow_damaged) {
            status =
                node_watermark_replace(&store->watermark, (const char *)path.data, why, why_bytes);
        }
    }
    fl_writer_close(&path);
    return status;
}

static enum fl_status open_engine(struct node_log_store *store,
                                  const struct node_log_store_options *options,
                                  char *why,
                                  size_t why_bytes)
{
    struct shard_engine_options engine;
    char sentence[NODE_LOG_WHY_BYTES] = "";
    enum fl_status status;

    shard_engine_options_default(&engine);
    engine.path = store->path;
    engine.create = true;
    engine.wal = SHARD_WAL_TORN;
    engine.wal_runway = WAL_RUNWAY_BYTES;
    engine.memtable_bytes = options->memtable_bytes != 0 ? options->memtable_bytes : MEMTABLE_BYTES;
    engine.memtable_count = MEMTABLE_COUNT;
    engine.memtable_vector = true; /* written all the time, read for laggards */
    engine.block_cache_bytes = CACHE_BYTES;
    engine.bloom_bits = 0; /* nobody asks for a key that may not be there */
    engine.background_jobs = BACKGROUND_JOBS;
    engine.drop = node_log_reclaim_drop;
    engine.drop_context = store->reclaim;
    status = shard_engine_open(&store->engine, &engine, sentence, sizeof(sentence));
    if (status == FL_CORRUPT) {
        return node_why(status, why, why_bytes, "%s: %s", sentence, what_to_do);
    }
    return status != FL_OK ? node_why(status, why, why_bytes, "%s", sentence) : FL_OK;
}

/* Makes the loss, and what is left, the new truth: marked first, then written (LS-8). */
static void accept_damage(struct node_log_store *store, const struct node_log_report *report)
{
    if (report->damaged) {
        node_watermark_mark_damaged(store->watermark);
    }
    if (store->write.chain.batch < report->watermark) {
        store->write.chain.batch = report->watermark;
    }
    for (struct node__log_group *group = store->shared.groups; group != NULL;
         group = group->hh.next) {
        struct node_log_state *state = &group->state;
        struct node_log_key start =
            node_log_key_entries(group->id, state->incarnation, state->last + 1);
        struct node_log_key end = node_log_key_entries(group->id, state->incarnation, UINT64_MAX);

        if (report->damaged || state->damaged) {
            state->damaged = true;
            shard_batch_delete_range(
                store->write.batch, node_log_key_bytes(&start), node_log_key_bytes(&end));
            node__log_touch(store, group);
        }
    }
    node__log_commit(store, true);
}

/* Writes down whose log this is; load_identity compares it at every open. */
static void bind_uuid(struct node_log_store *store, const uint8_t *uuid)
{
    struct fl_writer seen;

    fl_writer_init(&seen);
    if (node_log_store_get_identity(store, uuid_row, &seen) != FL_OK) {
        node_log_store_put_identity(store, uuid_row, fl_bytes(uuid, NODE_LOG_UUID_BYTES));
    }
    fl_writer_close(&seen);
}

/* Lets compaction believe every truncation found: what was recovered is durable by now. */
static void publish_all(struct node_log_store *store)
{
    for (const struct node__log_group *group = store->shared.groups; group != NULL;
         group = group->hh.next) {
        node_log_reclaim_publish(
            store->reclaim, group->id, group->state.incarnation, group->state.truncated);
    }
}

static void finish_report(const struct node_log_store *store, struct node_log_report *report)
{
    for (size_t i = 0; i < report->group_count; i++) {
        struct node_log_group_boot *boot = &report->groups[i];

        boot->damaged = boot->damaged || report->damaged;
        report->damaged_group_count += boot->damaged ? 1 : 0;
    }
    if (!report->damaged && node_watermark_is_damaged(store->watermark)) {
        node__log_report_damage(
            report,
            "the log in %s lost synced writes before and was opened all the same",
            store->path);
    } else if (report->why[0] == '\0' && report->damaged_group_count != 0) {
        (void)snprintf(report->why,
                       sizeof(report->why),
                       "%zu groups in %s were damaged before and are not repaired yet",
                       report->damaged_group_count,
                       store->path);
    }
}

static enum fl_status open_checked(struct node_log_store *store,
                                   const struct node_log_store_options *options,
                                   struct node_log_report *report,
                                   char *why,
                                   size_t why_bytes)
{
    FL_TRY(open_watermark(store, options, report, why, why_bytes));
    FL_TRY(open_engine(store, options, why, why_bytes));
    store->write.batch = shard_batch_create(store->engine, false);
    FL_TRY(node__log_load(store, options, report, why, why_bytes));
    if (report->why[0] != '\0') {
        if (!options->allow_damaged) {
            return node_why(FL_CORRUPT, why, why_bytes, "%s", report->why);
        }
        fl_log(FL_LOG_ERROR, "log_damaged", "reason=\"%s\"", report->why);
        accept_damage(store, report);
    }
    /* What a crashed process wrote without fsync was replayed from the kernel's memory: it must be
     * on the disk before anyone acts on it (LS-5). */
    if (shard_engine_flush(store->engine, true) != FL_OK) {
        char fault[NODE_LOG_WHY_BYTES] = "";
        enum fl_status status = shard_engine_fault(store->engine, fault, sizeof(fault));

        return node_why(status != FL_OK ? status : FL_IO, why, why_bytes, "%s", fault);
    }
    store->write.synced = store->write.chain.batch;
    node_watermark_raise(store->watermark, store->write.synced);
    publish_all(store);
    if (options->uuid != NULL) {
        bind_uuid(store, options->uuid);
    }
    node_watermark_persist(store->watermark);
    finish_report(store, report);
    return FL_OK;
}

static void destroy(struct node_log_store *store)
{
    struct node__log_group *group = store->shared.groups;

    if (store->write.batch != NULL) {
        shard_batch_destroy(store->write.batch);
    }
    shard_engine_close(store->engine);
    node_watermark_close(store->watermark);
    HASH_CLEAR(hh, store->shared.groups);
    while (group != NULL) {
        struct node__log_group *next = group->hh.next;

        node__log_group_destroy(group);
        group = next;
    }
    node_log_reclaim_destroy(store->reclaim);
    fl_writer_close(&store->write.scratch);
    (void)pthread_mutex_destroy(&store->write.lock);
    (void)pthread_mutex_destroy(&store->shared.lock);
    free(store->path);
    free(store);
}

enum fl_status node_log_store_open(struct node_log_store **out,
                                   const struct node_log_store_options *options,
                                   struct node_log_report *report,
                                   char *why,
                                   size_t why_bytes)
{
    struct node_log_store *store = fl_xcalloc(1, sizeof(*store));
    enum fl_status status;

    *out = NULL;
    *report = (struct node_log_report){0};
    store->path = fl_xstrdup(options->path);
    store->reclaim = node_log_reclaim_create();
    (void)pthread_mutex_init(&store->write.lock, NULL);
    (void)pthread_mutex_init(&store->shared.lock, NULL);
    fl_list_init(&store->write.touched);
    fl_list_init(&store->write.unpublished);
    fl_list_init(&store->shared.truncations);
    fl_writer_init(&store->write.scratch);
    status = open_checked(store, options, report, why, why_bytes);
    if (status != FL_OK) {
        destroy(store);
        return status;
    }
    *out = store;
    return FL_OK;
}

void node_log_report_close(struct node_log_report *report)
{
    for (size_t i = 0; i < report->group_count; i++) {
        free(report->groups[i].runs);
        free(report->groups[i].conf_at);
    }
    free(report->groups);
    report->groups = NULL;
    report->group_count = 0;
}

void node_log_store_close(struct node_log_store *store)
{
    if (store == NULL) {
        return;
    }
    pthread_mutex_lock(&store->write.lock);
    if (store->write.chain.batch != store->write.synced) {
        node__log_commit(store, true);
    }
    pthread_mutex_unlock(&store->write.lock);
    destroy(store);
}
