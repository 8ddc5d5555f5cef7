/* Opening and creating replicas from what the log store and the data engine hold.
 *
 * Owner, lifetime and threads: the host's loop (before it starts, or on it).
 *
 *     log   machine   what it means
 *     -     -         new: rows first, then the log (its creation is what makes the replica exist)
 *     -     rows      a crash between the two: as new, the rows are written again
 *     log   -         the rows were never flushed: written again, and everything behind the
 *                     initial index is replayed; a log truncated beyond it would mean lost data
 * (D4) log   rows      the usual restart */
#include "node/host_internal.h"

#include "node/apply.h"
#include "node/why.h"
#include "raftgroup/base/assert.h"
#include "shard/membership.h"

/* Where every group begins (design 8): later indexes and terms leave room below for nothing. */
#define INITIAL_INDEX 5
#define INITIAL_TERM  5
/* Entries given to relearn in one read. */
#define RELEARN_BYTES_MAX ((uint64_t)4 * 1024 * 1024)

static const struct node_log_group_boot *found_log(const struct node *node, uint64_t group_id)
{
    for (size_t i = 0; i < node->report.group_count; i++) {
        if (node->report.groups[i].group == group_id) {
            return &node->report.groups[i];
        }
    }
    return NULL;
}

/* --- machine -------------------------------------------------------------------------------- */

static enum fl_status open_machine_once(struct node_replica *replica)
{
    struct node *node = replica->host->node;
    struct shard *shard = NULL;

    if (replica->group_id == PLACEMENT_GROUP_ID) {
        FL_TRY(placement_open(node->engine, node__map_published, node, &node->placement));
        replica->machine = placement_machine(node->placement);
        return FL_OK;
    }
    FL_TRY(shard_open(node->engine, &node->gc, replica->group_id, &shard));
    replica->machine = shard_machine(shard);
    return FL_OK;
}

static enum fl_status write_initial_rows(struct node_replica *replica)
{
    struct shard_batch *batch = shard_batch_create(replica->host->node->engine, false);
    struct raft_conf conf;
    enum fl_status status;

    shard_membership_conf(&replica->range, &conf);
    if (replica->group_id == PLACEMENT_GROUP_ID) {
        placement_bootstrap(batch, &replica->range, &conf, INITIAL_INDEX, INITIAL_TERM);
    } else {
        shard_bootstrap(
            batch, &replica->range, &conf, INITIAL_INDEX, INITIAL_TERM, SHARD_REVISION_FIRST);
    }
    status = shard_batch_commit(batch, false);
    shard_batch_destroy(batch);
    return status;
}

static enum fl_status open_machine(struct node_replica *replica,
                                   const struct node_log_group_boot *log,
                                   struct shard_machine_status *state,
                                   char *why,
                                   size_t why_bytes)
{
    FL_TRY(open_machine_once(replica));
    replica->machine->ops->status(replica->machine, state);
    if (state->applied_index != 0) {
        return FL_OK;
    }
    if (log != NULL && log->truncated > INITIAL_INDEX) {
        return node_why(FL_CORRUPT,
                        why,
                        why_bytes,
                        "group %" PRIu64 ": its data is gone but its log begins at %" PRIu64
                        "; restore the data directory or remove this node and add it anew",
                        replica->group_id,
                        log->truncated);
    }
    replica->machine->ops->close(replica->machine);
    replica->machine = NULL;
    FL_TRY(write_initial_rows(replica));
    FL_TRY(open_machine_once(replica));
    replica->machine->ops->status(replica->machine, state);
    return FL_OK;
}

static enum fl_status relearn(struct node_replica *replica,
                              const struct shard_machine_status *state,
                              raft_index truncated)
{
    raft_index next = state->checkpoint_index + 1;

    if (next <= truncated) {
        next = truncated + 1;
    }
    while (next <= state->applied_index) {
        struct node_log_read read = {0, NULL, 0};

        FL_TRY(node_log_store_read(replica->host->node->log_store,
                                   replica->group_id,
                                   replica->incarnation,
                                   next,
                                   state->applied_index,
                                   RELEARN_BYTES_MAX,
                                   &read));
        for (size_t i = 0; i < read.count; i++) {
            struct shard_apply entry = {
                .index = next + i,
                .term = read.entries[i].term,
                .type = read.entries[i].type,
                .payload = fl_buf_bytes(read.entries[i].payload),
            };

            replica->machine->ops->relearn(replica->machine, &entry);
        }
        next += read.count;
        node_log_read_close(&read);
    }
    return FL_OK;
}

/* --- core ----------------------------------------------------------------------------------- */

static enum fl_status open_core(struct node_replica *replica,
                                const struct node_log_group_boot *log,
                                const struct shard_machine_status *state,
                                char *why,
                                size_t why_bytes)
{
    struct node_host *host = replica->host;
    const char *broken = NULL;
    struct raft_boot boot = {
        .group = replica->group_id,
        .self = replica->replica_id,
        .seed = fl_prng_next(&host->prng),
        .term = log != NULL ? log->term : INITIAL_TERM,
        .vote = log != NULL ? log->vote : 0,
        .commit = log != NULL ? log->commit : INITIAL_INDEX,
        .snap_index = log != NULL ? log->truncated : INITIAL_INDEX,
        .snap_term = log != NULL ? log->truncated_term : INITIAL_TERM,
        .applied = state->applied_index,
        .conf = *state->conf,
        .last = log != NULL ? log->last : INITIAL_INDEX,
        .runs = log != NULL ? log->runs : NULL,
        .nruns = log != NULL ? log->nruns : 0,
    };

    if (log != NULL) {
        uint32_t skip = 0;

        while (skip < log->nconf_at && log->conf_at[skip] <= state->applied_index) {
            skip++;
        }
        boot.conf_at = log->conf_at + skip;
        boot.nconf_at = log->nconf_at - skip;
    }
    if (raft_open(host->env, &boot, replica, host->now_ms, &replica->raft, &broken) != FL_OK) {
        return node_why(FL_CORRUPT,
                        why,
                        why_bytes,
                        "group %" PRIu64 ": log and data contradict each other (%s)",
                        replica->group_id,
                        broken);
    }
    replica->truncated = boot.snap_index;
    replica->cache = node_log_cache_create(host->cache_pool, boot.last + 1);
    return FL_OK;
}

static enum fl_status create_log(struct node_replica *replica)
{
    struct node_log_group_init init = {
        .group = replica->group_id,
        .replica_id = replica->replica_id,
        .term = INITIAL_TERM,
        .commit = INITIAL_INDEX,
        .truncated = INITIAL_INDEX,
        .truncated_term = INITIAL_TERM,
    };

    return node_log_store_create_group(
        replica->host->node->log_store, &init, &replica->incarnation);
}

/* --- life ----------------------------------------------------------------------------------- */

static void tick(struct node_deadline *deadline)
{
    node__replica_tick(fl_container_of(deadline, struct node_replica, timer));
}

static void early_election(struct node_deadline *deadline)
{
    node__replica_early_election(fl_container_of(deadline, struct node_replica, early_timer));
}

static void apply_gathered(struct node_deadline *deadline)
{
    struct node_replica *replica = fl_container_of(deadline, struct node_replica, apply_timer);

    replica->apply_due = true;
    node__host_dirty(replica);
}

static struct node_replica *create(struct node_host *host, const struct shard_range *range)
{
    struct node_replica *replica = fl_xcalloc(1, sizeof(*replica));

    replica->host = host;
    replica->group_id = range->group_id;
    shard_range_copy(&replica->range, range);
    replica->replica_id = node__replica_on(replica, host->node->node_id);
    fl_assert(replica->replica_id != 0);
    fl_list_init(&replica->dirty);
    fl_list_init(&replica->parked);
    fl_list_init(&replica->awaiting);
    fl_list_init(&replica->proposing);
    fl_list_init(&replica->proposed);
    fl_list_init(&replica->reads_new);
    fl_list_init(&replica->reads_round);
    fl_list_init(&replica->reads_ready);
    node_floor_init(&replica->floor);
    node_timer_init(&replica->timer.timer);
    node_timer_init(&replica->early_timer.timer);
    replica->timer.run = tick;
    replica->early_timer.run = early_election;
    node_timer_init(&replica->apply_timer.timer);
    replica->apply_timer.run = apply_gathered;
    replica->quiet_since_ms = host->now_ms;
    return replica;
}

static void note_state(struct node_replica *replica, const struct shard_machine_status *state)
{
    replica->applied = state->applied_index;
    replica->visible = state->applied_index;
    replica->apply_next = state->applied_index + 1;
    replica->apply_limit = state->applied_index;
    replica->revision = state->revision;
    replica->compact_revision = state->compact_revision;
    replica->durable_compact = state->compact_revision;
    replica->mark = state->mark;
    replica->live_keys = state->live_keys;
    if (replica->group_id != PLACEMENT_GROUP_ID) {
        node__saw_revision(replica->host, replica->revision);
    }
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        node__first_range_applied(replica); /* the keyspace's compact revision, for hashes */
    }
}

struct node_replica *node__replica_open(struct node_host *host,
                                        const struct node_replica_init *init,
                                        char *why,
                                        size_t why_bytes)
{
    struct node_replica *replica = create(host, init->range);
    const struct node_log_group_boot *log = found_log(host->node, replica->group_id);
    struct shard_machine_status state;
    enum fl_status status;

    (void)snprintf(why, why_bytes, "group %" PRIu64 " cannot be opened", replica->group_id);
    FL_TRY_OUT(open_machine(replica, log, &state, why, why_bytes));
    if (log == NULL) {
        FL_TRY_OUT(create_log(replica));
    } else if (log->replica_id != replica->replica_id) {
        status = node_why(FL_CORRUPT,
                          why,
                          why_bytes,
                          "group %" PRIu64 ": the log is replica %" PRIu64
                          "'s, the map expects replica %" PRIu64,
                          replica->group_id,
                          log->replica_id,
                          replica->replica_id);
        goto out;
    } else {
        replica->incarnation = log->incarnation;
        FL_TRY_OUT(relearn(replica, &state, log->truncated));
    }
    FL_TRY_OUT(open_core(replica, log, &state, why, why_bytes));
    note_state(replica, &state);
    HASH_ADD(hh, host->replicas, group_id, sizeof(replica->group_id), replica);
    node__host_dirty(replica);
    if (init->campaign) {
        node__replica_campaign_soon(replica, 0);
    }
out:
    if (status != FL_OK) {
        node__replica_close(replica);
        return NULL;
    }
    return replica;
}

void node__replica_close(struct node_replica *replica)
{
    struct node_host *host = replica->host;

    fl_assert(replica->snapshots_out == NULL && replica->snapshot_in == NULL);
    if (replica->raft != NULL) {
        HASH_DEL(host->replicas, replica);
    }
    fl_list_remove(&replica->dirty);
    node_wheel_cancel(&host->wheel, &replica->timer.timer);
    node_wheel_cancel(&host->wheel, &replica->early_timer.timer);
    node_wheel_cancel(&host->wheel, &replica->apply_timer.timer);
    if (replica->group_id == PLACEMENT_FIRST_RANGE_ID) {
        atomic_store(&host->node->witness_term, 0);
    }
    raft_close(replica->raft);
    node_log_cache_destroy(replica->cache);
    node_floor_close(&replica->floor);
    if (replica->machine != NULL) {
        replica->machine->ops->close(replica->machine);
    }
    shard_range_close(&replica->range);
    free(replica);
}
