/* Writing the log of every group: one batch, one fsync (LS-1).
 *
 *      node_log_write[]            batch being built                      RocksDB
 *      group 7: 11..15   ----->    e 7 1 11 = [11..15]                    WAL, one fsync
 *      group 9: cut 4, 4..6        delete e 9 1 [4..old last]    ----->   memtable
 *      (truncations asked for)     e 9 1 4 = [4..6]
 *                                  g 7, g 9 (state rows, once each)
 *                                  c (batch number, digest) */
#include "node/log_store.h"

#include "node/clock.h"
#include "node/log_store_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/limits.h"

/* A record of a turn is split so that reading one message does not read much more. */
enum { RECORD_PAYLOAD_MAX = FL_MESSAGE_BYTES_MAX };

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* --- building a batch ------------------------------------------------------------------------- */

void node__log_touch(struct node_log_store *store, struct node__log_group *group)
{
    if (!group->touched) {
        group->touched = true;
        fl_list_push_back(&store->write.touched, &group->touched_link);
    }
}

/* The hash of the row as it is in the store, 0 if there is none: what a change takes off the
 * digest. */
static uint64_t stored_row_hash(struct node_log_store *store, struct fl_bytes key)
{
    struct shard_value value;
    enum fl_status status = shard_engine_get(store->engine, NULL, key, &value);
    uint64_t hash = 0;

    if (status == FL_OK) {
        hash = node_log_row_hash(key, value.bytes);
        shard_value_release(&value);
    } else if (status != FL_NOT_FOUND) {
        fl_fatal("%s: cannot read a row: %s", store->path, fl_status_text(status));
    }
    return hash;
}

void node__log_put_row(struct node_log_store *store,
                       const struct node_log_key *key,
                       struct fl_bytes body)
{
    struct fl_bytes k = node_log_key_bytes(key);
    struct fl_writer *scratch = &store->write.scratch;

    fl_writer_reset(scratch);
    node_log_seal(scratch, k, body);
    store->write.chain.digest ^=
        stored_row_hash(store, k) ^ node_log_row_hash(k, fl_writer_bytes(scratch));
    shard_batch_put(store->write.batch, k, fl_writer_bytes(scratch));
}

static void delete_row(struct node_log_store *store, const struct node_log_key *key)
{
    struct fl_bytes k = node_log_key_bytes(key);

    store->write.chain.digest ^= stored_row_hash(store, k);
    shard_batch_delete(store->write.batch, k);
}

/* State rows are written in nearly every batch, so their old hash is kept in memory. */
static void put_state(struct node_log_store *store, struct node__log_group *group)
{
    struct node_log_key key = node_log_key_state(group->id);
    struct fl_bytes k = node_log_key_bytes(&key);
    struct fl_writer *scratch = &store->write.scratch;
    uint64_t hash;

    fl_writer_reset(scratch);
    node_log_state_encode(scratch, group->id, &group->state);
    hash = node_log_row_hash(k, fl_writer_bytes(scratch));
    store->write.chain.digest ^= group->row_hash ^ hash;
    group->row_hash = hash;
    shard_batch_put(store->write.batch, k, fl_writer_bytes(scratch));
}

/* What the batch just synced makes dead may be dropped by compaction from now on (LS-4). */
static void publish_truncations(struct node_log_store *store)
{
    FL_LIST_FOREACH_SAFE (link, &store->write.unpublished) {
        struct node__log_group *group = fl_container_of(link, struct node__log_group, publish_link);

        node_log_reclaim_publish(
            store->reclaim, group->id, group->state.incarnation, group->state.truncated);
        group->unpublished = false;
        fl_list_remove(link);
    }
}

static void commit_batch(struct node_log_store *store, bool sync)
{
    uint64_t start_ns = node_clock_ns();
    enum fl_status status;

    atomic_store_explicit(&store->stats.busy_since_ns, start_ns, memory_order_relaxed);
    status = shard_batch_commit(store->write.batch, sync);
    atomic_store_explicit(&store->stats.busy_since_ns, 0, memory_order_relaxed);
    if (status != FL_OK) {
        char why[NODE_LOG_WHY_BYTES] = "";
        enum fl_status fault = shard_engine_fault(store->engine, why, sizeof(why));

        /* LS-9: after a failed fsync the kernel may have dropped what we wrote, so nothing that was
         * asked for may be acknowledged and nothing may be tried again. */
        fl_fatal("%s: a write or fsync of the log failed: %s: %s",
                 store->path,
                 fl_status_text(fault != FL_OK ? fault : status),
                 why);
    }
    add(&store->stats.commit_ns, node_clock_ns() - start_ns);
    add(&store->stats.batches, 1);
}

void node__log_commit(struct node_log_store *store, bool sync)
{
    struct node_log_key key = node_log_key_chain();
    struct fl_writer *scratch = &store->write.scratch;

    FL_LIST_FOREACH_SAFE (link, &store->write.touched) {
        struct node__log_group *group = fl_container_of(link, struct node__log_group, touched_link);

        put_state(store, group);
        group->touched = false;
        fl_list_remove(link);
    }
    store->write.chain.batch++;
    fl_writer_reset(scratch);
    node_log_chain_encode(scratch, &store->write.chain);
    shard_batch_put(store->write.batch, node_log_key_bytes(&key), fl_writer_bytes(scratch));
    commit_batch(store, sync);
    if (sync) {
        add(&store->stats.syncs, 1);
        store->write.synced = store->write.chain.batch;
        node_watermark_raise(store->watermark, store->write.synced);
        publish_truncations(store);
    }
}

/* --- a turn's writes -------------------------------------------------------------------------- */

/* A writer's look-up: the table does not change while it holds write.lock. */
static struct node__log_group *find(struct node_log_store *store, uint64_t group_id)
{
    struct node__log_group *group;

    HASH_FIND(hh, store->shared.groups, &group_id, sizeof(group_id), group);
    return group;
}

static void mark_unpublished(struct node_log_store *store, struct node__log_group *group)
{
    if (!group->unpublished) {
        group->unpublished = true;
        fl_list_push_back(&store->write.unpublished, &group->publish_link);
    }
}

/* Deletes the records that start in first..last: what remains below is dead beyond the new end, and
 * a seek can never land in it behind a record written later (LS-3). */
static void delete_records(struct node_log_store *store,
                           const struct node__log_group *group,
                           raft_index first,
                           raft_index last)
{
    struct node_log_key start = node_log_key_entries(group->id, group->state.incarnation, first);
    struct node_log_key end = node_log_key_entries(group->id, group->state.incarnation, last + 1);

    if (first <= last) {
        shard_batch_delete_range(
            store->write.batch, node_log_key_bytes(&start), node_log_key_bytes(&end));
        add(&store->stats.conflicts, 1);
    }
}

static void stage_snapshot(struct node_log_store *store,
                           struct node__log_group *group,
                           const struct node_log_write *w)
{
    /* Below what compaction was told, new entries would be dropped. */
    fl_assert(w->snap_index >= group->state.truncated);
    delete_records(store, group, w->snap_index + 1, group->state.last);
    node__log_group_reset(group, w->snap_index, w->snap_term);
    mark_unpublished(store, group);
}

static void stage_cut(struct node_log_store *store, struct node__log_group *group, raft_index from)
{
    if (from <= group->state.last) {
        delete_records(store, group, from, group->state.last);
        node__log_group_cut(group, from);
    }
}

static size_t payload_bytes(const struct node_log_entry *entry)
{
    return entry->payload != NULL ? entry->payload->len : 0;
}

/* How many of the entries go into one record. */
static uint32_t record_span(const struct node_log_entry *entries, uint64_t n)
{
    size_t bytes = payload_bytes(&entries[0]);
    uint32_t span = 1;

    while (span < n && span < UINT32_MAX) {
        bytes += payload_bytes(&entries[span]);
        if (bytes > RECORD_PAYLOAD_MAX) {
            break;
        }
        span++;
    }
    return span;
}

/* Puts `n` entries from `first` on as one record (LS-2). */
static void stage_record(struct node_log_store *store,
                         struct node__log_group *group,
                         raft_index first,
                         const struct node_log_entry *entries,
                         uint32_t n)
{
    uint64_t incarnation = group->state.incarnation;
    struct node_log_key key = node_log_key_entries(group->id, incarnation, first);
    struct fl_writer *scratch = &store->write.scratch;
    uint64_t bytes = 0;

    fl_writer_reset(scratch);
    node_log_record_begin(scratch, group->id, incarnation, first, n);
    for (uint32_t i = 0; i < n; i++) {
        struct node_log_record_entry entry = {
            .index = first + i,
            .term = entries[i].term,
            .type = entries[i].type,
        };

        if (entries[i].payload != NULL) {
            entry.payload = fl_buf_bytes(entries[i].payload);
        }
        bytes += entry.payload.len;
        node_log_record_add(scratch, group->id, &entry);
        node__log_group_append(group, entry.index, entry.index, entry.term);
    }
    node__log_group_count(group, group->state.last, scratch->len);
    shard_batch_put(store->write.batch, node_log_key_bytes(&key), fl_writer_bytes(scratch));
    add(&store->stats.entries, n);
    add(&store->stats.payload_bytes, bytes);
}

static void stage_entries(struct node_log_store *store,
                          struct node__log_group *group,
                          const struct node_log_write *w)
{
    uint64_t n = w->hi - w->lo + 1;
    uint64_t done = 0;

    stage_cut(store, group, w->lo);
    fl_assert(w->lo == group->state.last + 1); /* a gap would never be readable again */
    while (done < n) {
        uint32_t span = record_span(w->entries + done, n - done);

        stage_record(store, group, w->lo + done, w->entries + done, span);
        done += span;
    }
}

/* Puts one group's write into the batch; false when it is for a replica that is gone. */
static bool stage_write(struct node_log_store *store, const struct node_log_write *w)
{
    struct node__log_group *group = find(store, w->group);
    struct node_log_state *state;

    if (group == NULL || group->state.incarnation != w->incarnation) {
        add(&store->stats.stale_writes, 1);
        return false;
    }
    state = &group->state;
    if (w->snapshot) {
        stage_snapshot(store, group, w);
    }
    if (w->trunc_from != 0) {
        stage_cut(store, group, w->trunc_from);
    }
    if (w->lo <= w->hi && w->hi != 0) {
        stage_entries(store, group, w);
    }
    /* The promise a vote is: terms never fall, and a term has one vote (LS-11). */
    fl_assert(w->term >= state->term);
    fl_assert(w->term > state->term || state->vote == 0 || w->vote == state->vote);
    state->term = w->term;
    state->vote = w->vote;
    state->commit = w->commit;
    if (w->repaired) {
        state->damaged = false;
    }
    node__log_touch(store, group);
    return true;
}

/* Puts the truncations asked for since the last batch into this one. */
static void stage_truncations(struct node_log_store *store)
{
    pthread_mutex_lock(&store->shared.lock);
    FL_LIST_FOREACH_SAFE (link, &store->shared.truncations) {
        struct node__log_group *group =
            fl_container_of(link, struct node__log_group, truncate_link);
        raft_index upto = group->truncate_to;

        group->truncate_to = 0;
        fl_list_remove(link);
        if (upto > group->state.truncated && upto <= group->state.last) {
            node__log_group_truncate(group, upto);
            node__log_touch(store, group);
            mark_unpublished(store, group);
        }
    }
    pthread_mutex_unlock(&store->shared.lock);
}

void node_log_store_write(struct node_log_store *store,
                          const struct node_log_write *writes,
                          size_t count)
{
    bool sync = false;

    pthread_mutex_lock(&store->write.lock);
    stage_truncations(store);
    for (size_t i = 0; i < count; i++) {
        if (stage_write(store, &writes[i])) {
            sync = sync || writes[i].must_sync;
        }
    }
    if (!fl_list_empty(&store->write.touched)) {
        node__log_commit(store, sync);
    }
    pthread_mutex_unlock(&store->write.lock);
}

void node_log_store_truncate(struct node_log_store *store, uint64_t group_id, raft_index upto)
{
    struct node__log_group *group;

    pthread_mutex_lock(&store->shared.lock);
    group = find(store, group_id);
    if (group != NULL && upto > group->truncate_to) {
        if (group->truncate_to == 0) {
            fl_list_push_back(&store->shared.truncations, &group->truncate_link);
        }
        group->truncate_to = upto;
    }
    pthread_mutex_unlock(&store->shared.lock);
}

/* --- lifecycle of replicas -------------------------------------------------------------------- */

/* The tombstone of `group_id`; all zero when there is none. */
static enum fl_status read_tombstone(struct node_log_store *store,
                                     uint64_t group_id,
                                     struct node_log_tombstone *tombstone)
{
    struct node_log_key key = node_log_key_tombstone(group_id);
    struct shard_value value;
    enum fl_status status;

    *tombstone = (struct node_log_tombstone){0};
    status = shard_engine_get(store->engine, NULL, node_log_key_bytes(&key), &value);
    if (status == FL_OK) {
        status = node_log_tombstone_decode(group_id, value.bytes, tombstone);
        shard_value_release(&value);
    }
    return status == FL_NOT_FOUND ? FL_OK : status;
}

/* The smallest incarnation of which no entry can be in the store. Looked up rather than remembered:
 * a tombstone or state row that is lost must not bring old entries back to life. */
static enum fl_status next_incarnation(struct node_log_store *store,
                                       uint64_t group_id,
                                       const struct node_log_tombstone *tombstone,
                                       uint64_t *next)
{
    struct node_log_key lower = node_log_key_entries(group_id, 0, 0);
    struct node_log_key upper = node_log_key_entries(group_id, UINT64_MAX, UINT64_MAX);
    struct shard_iterator *it = shard_iterator_create(
        store->engine, NULL, node_log_key_bytes(&lower), node_log_key_bytes(&upper));
    enum fl_status status = FL_OK;
    uint64_t group;
    uint64_t incarnation;
    raft_index first;

    *next = tombstone->next_incarnation != 0 ? tombstone->next_incarnation : 1;
    shard_iterator_last(it);
    if (!shard_iterator_valid(it)) {
        status = shard_iterator_status(it);
    } else if (node_log_key_parse_entries(shard_iterator_key(it), &group, &incarnation, &first) &&
               incarnation >= *next) {
        *next = incarnation + 1;
    }
    shard_iterator_destroy(it);
    return status;
}

enum fl_status node_log_store_create_group(struct node_log_store *store,
                                           const struct node_log_group_init *init,
                                           uint64_t *incarnation)
{
    struct node_log_tombstone tombstone;
    struct node_log_key tombstone_key = node_log_key_tombstone(init->group);
    struct node_log_key state_key = node_log_key_state(init->group);
    struct node_log_state state = {
        .replica_id = init->replica_id,
        .term = init->term,
        .vote = init->vote,
        .commit = init->commit,
        .last = init->truncated,
        .last_term = init->truncated_term,
        .truncated = init->truncated,
        .truncated_term = init->truncated_term,
    };
    struct node__log_group *group;
    enum fl_status status = FL_OK;

    pthread_mutex_lock(&store->write.lock);
    if (find(store, init->group) != NULL) {
        status = FL_EXISTS;
        goto out;
    }
    FL_TRY_OUT(read_tombstone(store, init->group, &tombstone));
    if (init->replica_id < tombstone.next_replica_id) {
        status = FL_STALE;
        goto out;
    }
    FL_TRY_OUT(next_incarnation(store, init->group, &tombstone, &state.incarnation));
    *incarnation = state.incarnation;
    group = node__log_group_create(init->group, &state);
    group->row_hash = stored_row_hash(store, node_log_key_bytes(&state_key)); /* unreadable row */
    /* The replica id in the state row says the same from now on. */
    delete_row(store, &tombstone_key);
    node__log_touch(store, group);
    node__log_commit(store, true);
    pthread_mutex_lock(&store->shared.lock);
    HASH_ADD(hh, store->shared.groups, id, sizeof(group->id), group);
    pthread_mutex_unlock(&store->shared.lock);
out:
    pthread_mutex_unlock(&store->write.lock);
    return status;
}

static void forget_group(struct node_log_store *store, struct node__log_group *group)
{
    pthread_mutex_lock(&store->shared.lock);
    HASH_DEL(store->shared.groups, group);
    node__log_group_destroy(group); /* leaves the list of truncations */
    pthread_mutex_unlock(&store->shared.lock);
}

/* What must be remembered of a group that ends here. */
static enum fl_status make_tombstone(struct node_log_store *store,
                                     uint64_t group_id,
                                     uint64_t next_replica_id,
                                     struct node_log_tombstone *tombstone)
{
    const struct node__log_group *group = find(store, group_id);

    FL_TRY(read_tombstone(store, group_id, tombstone));
    if (next_replica_id > tombstone->next_replica_id) {
        tombstone->next_replica_id = next_replica_id;
    }
    if (group != NULL && group->state.replica_id >= tombstone->next_replica_id) {
        tombstone->next_replica_id = group->state.replica_id + 1;
    }
    if (group != NULL && group->state.incarnation >= tombstone->next_incarnation) {
        tombstone->next_incarnation = group->state.incarnation + 1;
    }
    return next_incarnation(store, group_id, tombstone, &tombstone->next_incarnation);
}

void node_log_store_destroy_group(struct node_log_store *store,
                                  uint64_t group_id,
                                  uint64_t next_replica_id)
{
    struct node_log_tombstone tombstone;
    struct node_log_key state_key = node_log_key_state(group_id);
    struct node_log_key key = node_log_key_tombstone(group_id);
    struct node__log_group *group;
    uint8_t body[16];

    pthread_mutex_lock(&store->write.lock);
    if (make_tombstone(store, group_id, next_replica_id, &tombstone) != FL_OK) {
        fl_fatal(
            "%s: rows of group %llu are unreadable", store->path, (unsigned long long)group_id);
    }
    group = find(store, group_id);
    if (group != NULL) {
        forget_group(store, group);
    }
    delete_row(store, &state_key); /* an unreadable one too */
    fl_put_u64le(body, tombstone.next_replica_id);
    fl_put_u64le(body + 8, tombstone.next_incarnation);
    node__log_put_row(store, &key, fl_bytes(body, sizeof(body)));
    node__log_commit(store, true);
    node_log_reclaim_publish(store->reclaim, group_id, tombstone.next_incarnation, 0);
    pthread_mutex_unlock(&store->write.lock);
}

enum fl_status
node_log_store_tombstone(struct node_log_store *store, uint64_t group_id, uint64_t *next_replica_id)
{
    struct node_log_tombstone tombstone;
    enum fl_status status = read_tombstone(store, group_id, &tombstone);

    *next_replica_id = tombstone.next_replica_id;
    return status;
}

/* --- small rows ------------------------------------------------------------------------------- */

static void
write_row(struct node_log_store *store, const struct node_log_key *key, struct fl_bytes body)
{
    pthread_mutex_lock(&store->write.lock);
    node__log_put_row(store, key, body);
    node__log_commit(store, true);
    pthread_mutex_unlock(&store->write.lock);
}

void node_log_store_put_intent(struct node_log_store *store,
                               uint64_t group,
                               uint8_t kind,
                               struct fl_bytes body)
{
    struct node_log_key key = node_log_key_intent(group, kind);

    write_row(store, &key, body);
}

void node_log_store_drop_intent(struct node_log_store *store, uint64_t group, uint8_t kind)
{
    struct node_log_key key = node_log_key_intent(group, kind);

    pthread_mutex_lock(&store->write.lock);
    delete_row(store, &key);
    node__log_commit(store, true);
    pthread_mutex_unlock(&store->write.lock);
}

enum fl_status
node_log_store_each_intent(struct node_log_store *store, node_log_intent_fn *visit, void *context)
{
    const uint8_t lower = NODE_LOG_TAG_INTENT;
    struct node_log_key upper = node_log_key_tag_end(NODE_LOG_TAG_INTENT);
    struct shard_iterator *it =
        shard_iterator_create(store->engine, NULL, fl_bytes(&lower, 1), node_log_key_bytes(&upper));
    enum fl_status status = FL_OK;

    for (shard_iterator_first(it); shard_iterator_valid(it); shard_iterator_next(it)) {
        struct fl_bytes key = shard_iterator_key(it);
        struct fl_bytes body;
        uint64_t group;
        uint8_t kind;

        if (!node_log_key_parse_intent(key, &group, &kind)) {
            status = FL_CORRUPT;
            goto out;
        }
        FL_TRY_OUT(node_log_unseal(key, shard_iterator_value(it), &body));
        visit(context, group, kind, body);
    }
    status = shard_iterator_status(it);
out:
    shard_iterator_destroy(it);
    return status;
}

void node_log_store_put_identity(struct node_log_store *store,
                                 const char *name,
                                 struct fl_bytes body)
{
    struct node_log_key key = node_log_key_identity(name);

    write_row(store, &key, body);
}

enum fl_status
node_log_store_get_identity(struct node_log_store *store, const char *name, struct fl_writer *out)
{
    struct node_log_key key = node_log_key_identity(name);
    struct shard_value value;
    struct fl_bytes body;
    enum fl_status status;

    FL_TRY(shard_engine_get(store->engine, NULL, node_log_key_bytes(&key), &value));
    status = node_log_unseal(node_log_key_bytes(&key), value.bytes, &body);
    if (status == FL_OK) {
        fl_write_raw(out, body);
    }
    shard_value_release(&value);
    return status;
}

/* --- questions and upkeep --------------------------------------------------------------------- */

uint64_t node_log_store_group_bytes(struct node_log_store *store, uint64_t group_id)
{
    struct node__log_group *group;
    uint64_t bytes = 0;

    pthread_mutex_lock(&store->shared.lock);
    group = find(store, group_id);
    if (group != NULL) {
        bytes = atomic_load_explicit(&group->kept_bytes, memory_order_relaxed);
    }
    pthread_mutex_unlock(&store->shared.lock);
    return bytes;
}

void node_log_store_stats(struct node_log_store *store, struct node_log_stats *stats)
{
    stats->batches = atomic_load_explicit(&store->stats.batches, memory_order_relaxed);
    stats->syncs = atomic_load_explicit(&store->stats.syncs, memory_order_relaxed);
    stats->entries = atomic_load_explicit(&store->stats.entries, memory_order_relaxed);
    stats->payload_bytes = atomic_load_explicit(&store->stats.payload_bytes, memory_order_relaxed);
    stats->conflicts = atomic_load_explicit(&store->stats.conflicts, memory_order_relaxed);
    stats->stale_writes = atomic_load_explicit(&store->stats.stale_writes, memory_order_relaxed);
    stats->commit_ns = atomic_load_explicit(&store->stats.commit_ns, memory_order_relaxed);
    stats->dropped = node_log_reclaim_dropped(store->reclaim);
    stats->disk_bytes = shard_engine_disk_bytes(store->engine);
}

uint64_t node_log_store_busy_since_ns(const struct node_log_store *store)
{
    return atomic_load_explicit(&store->stats.busy_since_ns, memory_order_relaxed);
}

void node_log_store_persist_watermark(struct node_log_store *store)
{
    char why[NODE_LOG_WHY_BYTES] = "";

    /* A flush or compaction that failed in the background (D8). */
    if (shard_engine_fault(store->engine, why, sizeof(why)) != FL_OK) {
        fl_fatal("%s: the log cannot be written: %s", store->path, why);
    }
    node_watermark_persist(store->watermark);
}

void node_log_store_clear_damaged(struct node_log_store *store)
{
    node_watermark_clear_damaged(store->watermark);
}

void node_log_store_compact(struct node_log_store *store)
{
    if (shard_engine_flush(store->engine, true) != FL_OK) {
        fl_fatal("%s: a flush of the log failed", store->path);
    }
    shard_engine_compact(store->engine, fl_bytes(NULL, 0), fl_bytes(NULL, 0));
}
