/* A replica's log: records to the log writer, payloads back from the store, truncation.
 *
 * Owner, lifetime and threads: the host's loop; a log task is the log writer's while it is written.
 *
 * All records of a turn, of every group of the loop, travel in one task; the log writer puts the
 * tasks it finds waiting into one batch and one fsync (LS-1). */
#include "node/host_internal.h"

#include "node/apply.h"
#include "node/thread.h"
#include "raftgroup/base/assert.h"

/* What one read for a laggard brings back. */
#define FETCH_BYTES_MAX ((uint64_t)4 * 1024 * 1024)
/* Truncation goes in steps, unless bytes press: each costs a state record. */
#define TRUNCATE_STEP 1000
/* Entries of a batch from which on others are let go first: more than a lone client's, but for the
 * deferred ones that come together every 20 ms. */
#define GATHER_ENTRIES 4

struct pending_write {
    struct node_log_write write; /* entries is set when the task is submitted */
    size_t first_entry;          /* in the task's entries */
    uint64_t seq;
};

struct node_log_task {
    struct node_task task;
    struct node_host *host;
    struct pending_write *writes;
    size_t write_count;
    size_t write_capacity;
    struct node_log_entry *entries; /* each holds a reference to its payload */
    size_t entry_count;
    size_t entry_capacity;
    uint64_t submitted_ns;
};

static struct node_log_task *current_task(struct node_host *host)
{
    if (host->log_task == NULL) {
        host->log_task = fl_xcalloc(1, sizeof(*host->log_task));
        host->log_task->host = host;
    }
    return host->log_task;
}

static void destroy_task(struct node_log_task *task)
{
    for (size_t i = 0; i < task->entry_count; i++) {
        fl_buf_release(task->entries[i].payload);
    }
    free(task->entries);
    free(task->writes);
    free(task);
}

static void
add_entries(struct node_log_task *task, struct node_replica *replica, raft_index lo, raft_index hi)
{
    for (raft_index i = lo; i <= hi; i++) {
        const struct node_log_entry *entry = node_log_cache_get(replica->cache, i);
        struct node_log_entry *copy;

        fl_assert(entry != NULL); /* the window keeps what is not handed to apply yet */
        fl_grow(&task->entries, &task->entry_capacity, task->entry_count + 1, sizeof(*copy));
        copy = &task->entries[task->entry_count++];
        *copy = *entry;
        if (copy->payload != NULL) {
            fl_buf_acquire(copy->payload);
        }
    }
}

void node__replica_persist(struct node_replica *replica, const struct raft_persist *record)
{
    struct node_log_task *task = current_task(replica->host);
    struct pending_write *pending;

    fl_grow(&task->writes, &task->write_capacity, task->write_count + 1, sizeof(*pending));
    pending = &task->writes[task->write_count++];
    *pending = (struct pending_write){
        .write =
            {
                .group = replica->group_id,
                .incarnation = replica->incarnation,
                .snapshot = record->snapshot,
                .snap_index = record->snap_index,
                .snap_term = record->snap_term,
                .trunc_from = record->trunc_from,
                .lo = record->lo,
                .hi = record->hi,
                .term = record->term,
                .vote = record->vote,
                .commit = record->commit,
                .must_sync = record->must_sync,
            },
        .first_entry = task->entry_count,
        .seq = record->seq,
    };
    add_entries(task, replica, record->lo, record->hi);
}

/* --- log writer thread ---------------------------------------------------------------------- */

static void acknowledge(struct node_task *task);

/* Hands the tasks back to their loops; returns how many entries they carried. */
static size_t post_back(struct node_task *list)
{
    size_t entries = 0;

    while (list != NULL) {
        struct node_task *next = list->next;
        struct node_log_task *task = fl_container_of(list, struct node_log_task, task);

        entries += task->entry_count;
        task->task.run = acknowledge;
        node_loop_post(task->host->loop, &task->task);
        list = next;
    }
    return entries;
}

void node__log_write_batch(void *context, struct node_task *list)
{
    struct node *node = context;
    struct node_log_write *writes = NULL;
    size_t capacity = 0;
    size_t count = 0;
    uint64_t start = node_clock_ns();

    for (struct node_task *at = list; at != NULL; at = at->next) {
        struct node_log_task *task = fl_container_of(at, struct node_log_task, task);

        fl_grow(&writes, &capacity, count + task->write_count, sizeof(*writes));
        for (size_t i = 0; i < task->write_count; i++) {
            writes[count] = task->writes[i].write;
            writes[count].entries = task->entries + task->writes[i].first_entry;
            count++;
        }
    }
    node_log_store_write(node->log_store, writes, count);
    free(writes);
    fl_metric_observe(&node_metric_log_write_seconds, node_clock_ns() - start);
    fl_metric_observe(&node_metric_log_write_groups, count);
    /* Group commit: what the loops do with these makes the next batch. A pause by the clock would
     * gather more, but it held up entries behind a large batch that nobody waits for, such as the
     * deferred ones of a follower. */
    if (post_back(list) >= GATHER_ENTRIES) {
        node_thread_give_way();
    }
}

static void acknowledge(struct node_task *node_task)
{
    struct node_log_task *task = fl_container_of(node_task, struct node_log_task, task);
    struct node_host *host = task->host;

    host->outside--;
    for (size_t i = 0; i < task->write_count; i++) {
        struct node_replica *replica = node__host_replica(host, task->writes[i].write.group);

        if (replica == NULL || replica->incarnation != task->writes[i].write.incarnation) {
            continue;
        }
        if (task->writes[i].write.snapshot) {
            node__snapshot_logged(replica, task->writes[i].write.snap_index);
        }
        /* Records are acknowledged in order of seq, so none can be stale. */
        if (raft_persisted(replica->raft, host->now_ms, task->writes[i].seq) == FL_OK) {
            node__host_dirty(replica);
        }
        if (replica->wants_truncation) {
            replica->wants_truncation = false;
            node__replica_truncate(replica);
        }
    }
    destroy_task(task);
}

void node__host_submit_log(struct node_host *host)
{
    struct node_log_task *task = host->log_task;

    if (task == NULL) {
        return;
    }
    host->log_task = NULL;
    host->outside++;
    node_worker_post(host->node->log_writer, &task->task);
}

/* --- payloads for laggards ------------------------------------------------------------------ */

struct fetch_job {
    struct node_task task;
    struct node_host *host;
    uint64_t group_id;
    uint64_t incarnation;
    raft_id peer;
    raft_index lo;
    raft_index hi;
    enum fl_status status;
    struct node_log_read read;
};

/* Entries that were overwritten while they were read must not be lent: they would be sent, or even
 * applied, in place of those that won (log matching). An entry is its (index, term). */
static void lend(struct node_replica *replica, struct node_log_read *read)
{
    size_t good = 0;

    while (good < read->count &&
           raft_term_at(replica->raft, read->lo + good) == read->entries[good].term) {
        good++;
    }
    node_log_cache_lend(replica->cache, read->lo, read->entries, good);
}

static void fetched(struct node_task *task)
{
    struct fetch_job *job = fl_container_of(task, struct fetch_job, task);
    struct node_host *host = job->host;
    struct node_replica *replica = node__host_replica(host, job->group_id);

    host->outside--;
    if (replica != NULL && replica->incarnation == job->incarnation && job->status == FL_OK) {
        lend(replica, &job->read);
    }
    node_log_read_close(&job->read);
    if (job->status == FL_CORRUPT || job->status == FL_IO) {
        fl_fatal("group %" PRIu64 ": entry %" PRIu64 " cannot be read back from the log: %s",
                 job->group_id,
                 job->lo,
                 fl_status_text(job->status));
    }
    if (replica != NULL && raft_fetched(replica->raft, host->now_ms, job->peer) == FL_OK) {
        node__host_dirty(replica);
    }
    free(job);
}

static void fetch(struct node_task *task)
{
    struct fetch_job *job = fl_container_of(task, struct fetch_job, task);

    job->status = node_log_store_read(job->host->node->log_store,
                                      job->group_id,
                                      job->incarnation,
                                      job->lo,
                                      job->hi,
                                      FETCH_BYTES_MAX,
                                      &job->read);
    job->task.run = fetched;
    node_loop_post(job->host->loop, &job->task);
}

void node__replica_fetch(struct node_replica *replica, const struct raft_fetch *want)
{
    struct fetch_job *job = fl_xcalloc(1, sizeof(*job));

    job->task.run = fetch;
    job->host = replica->host;
    job->group_id = replica->group_id;
    job->incarnation = replica->incarnation;
    job->peer = want->peer;
    job->lo = want->lo;
    job->hi = want->hi;
    replica->host->outside++;
    node_pool_post(replica->host->node->read_pool, &job->task);
}

/* --- truncation ----------------------------------------------------------------------------- */

/* The lowest index a live follower still lacks nothing below; last when there is none. */
static raft_index slowest_match(const struct node_replica *replica, raft_index last)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t count = raft_peers_get(replica->raft, peers, RAFT_MEMBERS_MAX);
    raft_index lowest = last;

    for (uint32_t i = 0; i < count; i++) {
        if (peers[i].active && peers[i].match < lowest) {
            lowest = peers[i].match;
        }
    }
    return lowest;
}

void node__replica_truncate(struct node_replica *replica)
{
    const struct node_options *options = replica->host->node->options;
    uint64_t bytes = node_log_store_group_bytes(replica->host->node->log_store, replica->group_id);
    struct raft_status status;
    enum fl_status compacted;
    raft_index upto;

    if (replica->checkpoint <= replica->truncated) {
        return;
    }
    raft_status_get(replica->raft, &status);
    upto = status.last > options->log_keep_entries ? status.last - options->log_keep_entries : 0;
    if (bytes > options->log_keep_bytes) {
        upto = replica->checkpoint;
    }
    if (replica->role == RAFT_LEADER && bytes <= options->log_laggard_bytes) {
        raft_index lowest = slowest_match(replica, status.last);

        upto = upto < lowest ? upto : lowest;
    }
    /* D4: never beyond what the data engine holds durably. */
    upto = upto < replica->checkpoint ? upto : replica->checkpoint;
    if (upto <= replica->truncated ||
        (upto < replica->truncated + TRUNCATE_STEP && bytes <= options->log_keep_bytes)) {
        return;
    }
    compacted = raft_compacted(replica->raft, upto);
    if (compacted == FL_NOT_READY) {
        replica->wants_truncation = true; /* once the record that makes it possible is durable */
        node__host_dirty(replica);
    }
    if (compacted != FL_OK) {
        return;
    }
    replica->truncated = upto;
    node_log_store_truncate(replica->host->node->log_store, replica->group_id, upto);
}
