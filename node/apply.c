/* Apply threads and the flusher. */
#include "node/apply.h"

#include "node/bell.h"
#include "node/clock.h"
#include "node/host_internal.h"
#include "raftgroup/base/assert.h"
#include "shard/shard.h"

/* A batch this large is written although nobody reads. The more rows go in key order, the less each
 * of them searches; but a reader that comes then waits for them (some 5 ms per MiB). */
#define BATCH_BYTES_MAX ((size_t)8 * 1024 * 1024)
/* .. and this large while somebody reads now and then. */
#define READ_BATCH_BYTES_MAX ((size_t)1024 * 1024)
#define READ_MS              2000
/* So long rows wait at most for others, or for a reader. */
#define SETTLE_MS 1000

/* A machine with entries since its last checkpoint. */
struct touched {
    UT_hash_handle hh;
    uint64_t group_id;
    struct node_host *host;
    struct shard_machine *machine;
};

struct apply_thread {
    struct node_apply *apply;
    struct node_worker *worker;
    struct node_worker *writer; /* of batches that nobody waits for */
    struct shard_batch *batch;
    struct node_task write;
    uint64_t read_ms;        /* when somebody last wanted rows */
    struct touched *touched; /* uthash by group_id */
    struct node_task checkpoint;
    struct node_task settle;
    atomic_bool settling; /* `settle` is posted; relaxed: a mere gate */
    atomic_bool waiting;  /* the batch holds entries; relaxed: a hint, looked at again later */
    struct node_checkpoint *checkpoints; /* made in the checkpoint under way */
    size_t checkpoint_count;
    size_t checkpoint_capacity;
};

struct node_apply {
    struct node *node;
    unsigned count;
    struct apply_thread *threads;
    struct node_worker *flusher;
    struct node_task flush;
    /* Relaxed suffices for `flushing` as a mere gate; `waiting` orders the threads' checkpoints
     * before the flush (acquire-release). */
    atomic_bool flushing;
    atomic_uint waiting;
    _Atomic uint64_t flushed_ms;
    uint64_t settled_ms;   /* of node_apply_upkeep's thread alone */
    atomic_bool unflushed; /* relaxed: a hint for node_apply_upkeep, which looks again later */
};

static void apply_entries(struct node_task *task);
static void checkpoint_thread(struct node_task *task);
static void settled(struct node_task *task);

static struct apply_thread *thread_of(struct node_apply *apply, uint64_t group_id)
{
    return &apply->threads[group_id % apply->count];
}

static void stop_on_fault(struct node *node, enum fl_status status)
{
    char why[512];

    if (shard_engine_fault(node->engine, why, sizeof(why)) != FL_OK || status != FL_OK) {
        /* D8: nothing may be acknowledged on top of an engine that cannot write. */
        fl_fatal("the data engine has failed: %s (%s)", why, fl_status_text(status));
    }
}

static void commit(struct apply_thread *thread)
{
    enum fl_status status = shard_batch_commit(thread->batch, false);

    if (status != FL_OK) {
        stop_on_fault(thread->apply->node, status);
    }
    atomic_store_explicit(&thread->waiting, false, memory_order_relaxed);
}

/* --- entries -------------------------------------------------------------------------------- */

static void touch(struct apply_thread *thread, const struct node_apply_task *task)
{
    struct touched *touched = NULL;

    HASH_FIND(hh, thread->touched, &task->group_id, sizeof(task->group_id), touched);
    if (touched == NULL) {
        touched = fl_xcalloc(1, sizeof(*touched));
        touched->group_id = task->group_id;
        touched->host = task->host;
        touched->machine = task->machine;
        HASH_ADD(hh, thread->touched, group_id, sizeof(touched->group_id), touched);
        atomic_store_explicit(&thread->apply->unflushed, true, memory_order_relaxed);
    }
}

/* Answers whoever may be answered from here; the rest goes back to the loop with the task. */
static void answer(struct node_apply_task *task)
{
    for (size_t i = 0; i < task->count; i++) {
        struct node_op *op = task->ops[i];

        if (task->answered[i]) {
            struct node_reply reply = node__op_answer(op, &task->entries[i]);

            node__raise_revision(task->host->node, reply.revision);
            op->finish(op, &reply);
        }
    }
}

/* Tasks of entries whose outcome is known, up to `end`: answers, and back to their loops. Nothing
 * in here may wait for another thread: its bell is held. */
static void deliver(struct node_task *first, const struct node_task *end, bool committed)
{
    node_bells_hold();
    while (first != end) {
        struct node_task *next = first->next;
        struct node_apply_task *task = fl_container_of(first, struct node_apply_task, task);

        answer(task);
        task->committed = committed;
        task->task.run = node__replica_applied;
        node_loop_post(task->host->loop, &task->task);
        first = next;
    }
    node_bells_release();
}

static void apply(struct apply_thread *thread, struct node_apply_task *task)
{
    touch(thread, task);
    task->machine->ops->apply(task->machine, thread->batch, task->entries, task->count);
    task->machine->ops->status(task->machine, &task->after);
    atomic_store_explicit(&thread->waiting, true, memory_order_relaxed);
}

/* Lets the batch be written meanwhile. */
static void hand_to_writer(struct apply_thread *thread)
{
    if (shard_batch_seal(thread->batch)) {
        node_worker_post(thread->writer, &thread->write);
    } else {
        commit(thread);
    }
}

static void write_sealed(struct node_task *task)
{
    struct apply_thread *thread = fl_container_of(task, struct apply_thread, write);
    enum fl_status status = shard_batch_write_sealed(thread->batch);

    if (status != FL_OK) {
        stop_on_fault(thread->apply->node, status);
    }
}

static bool is_full(const struct apply_thread *thread, uint64_t now_ms)
{
    size_t max = now_ms < thread->read_ms + READ_MS ? READ_BATCH_BYTES_MAX : BATCH_BYTES_MAX;

    return shard_batch_bytes(thread->batch) >= max;
}

/* Tasks of entries up to `end` are applied: answers go out, and the batch if it must. */
static void end_run(struct apply_thread *thread,
                    uint64_t now_ms,
                    struct node_task *first,
                    struct node_task *end,
                    bool wanted)
{
    if (wanted) {
        thread->read_ms = now_ms;
        commit(thread);
    }
    deliver(first, end, wanted);
    if (is_full(thread, now_ms)) {
        hand_to_writer(thread); /* behind the answers, which need not wait for it */
    }
}

static void run_batch(void *context, struct node_task *list)
{
    struct apply_thread *thread = context;
    uint64_t now_ms = node_clock_ms();
    struct node_task *first = list; /* applied, not delivered */
    bool wanted = false;            /* .. and somebody wants to read some of it */

    while (list != NULL) {
        struct node_task *next = list->next;

        if (list->run == apply_entries) {
            struct node_apply_task *task = fl_container_of(list, struct node_apply_task, task);

            apply(thread, task);
            wanted = wanted || task->commit;
            list = next;
            if (next != NULL && !is_full(thread, now_ms)) {
                continue;
            }
            end_run(thread, now_ms, first, next, wanted);
        } else {
            wanted = list->run != settled && list->run != checkpoint_thread;
            end_run(thread, now_ms, first, list, wanted);
            list->run(list);
            list = next;
        }
        first = next;
        wanted = false;
    }
}

/* Marks tasks that carry entries; the batch runs them together. */
static void apply_entries(struct node_task *task)
{
    (void)task;
    fl_assert(false);
}

/* --- checkpoints ---------------------------------------------------------------------------- */

static void checkpoint_thread(struct node_task *task)
{
    struct apply_thread *thread = fl_container_of(task, struct apply_thread, checkpoint);
    struct node_apply *apply = thread->apply;
    struct touched *touched;
    struct touched *next;

    thread->checkpoint_count = 0;
    HASH_ITER(hh, thread->touched, touched, next)
    {
        struct shard_machine_status status;

        touched->machine->ops->checkpoint(touched->machine, thread->batch);
        touched->machine->ops->status(touched->machine, &status);
        fl_grow(&thread->checkpoints,
                &thread->checkpoint_capacity,
                thread->checkpoint_count + 1,
                sizeof(*thread->checkpoints));
        thread->checkpoints[thread->checkpoint_count++] = (struct node_checkpoint){
            .host = touched->host,
            .group_id = touched->group_id,
            .index = status.checkpoint_index,
            .compact_revision = status.compact_revision,
        };
        HASH_DEL(thread->touched, touched);
        free(touched);
    }
    commit(thread);
    if (atomic_fetch_sub_explicit(&apply->waiting, 1, memory_order_acq_rel) == 1) {
        node_worker_post(apply->flusher, &apply->flush);
    }
}

static void flush(struct node_task *task)
{
    struct node_apply *apply = fl_container_of(task, struct node_apply, flush);
    size_t total = 0;

    for (unsigned i = 0; i < apply->count; i++) {
        total += apply->threads[i].checkpoint_count;
    }
    if (total != 0) {
        stop_on_fault(apply->node, shard_engine_flush(apply->node->engine, true));
    }
    for (unsigned i = 0; i < apply->count; i++) {
        node__host_checkpointed(apply->threads[i].checkpoints, apply->threads[i].checkpoint_count);
    }
    atomic_store_explicit(&apply->flushed_ms, node_clock_ms(), memory_order_relaxed);
    atomic_store_explicit(&apply->flushing, false, memory_order_release);
}

void node_apply_checkpoint(struct node_apply *apply)
{
    bool idle = false;

    if (!atomic_compare_exchange_strong_explicit(
            &apply->flushing, &idle, true, memory_order_acquire, memory_order_relaxed)) {
        return;
    }
    atomic_store_explicit(&apply->unflushed, false, memory_order_relaxed);
    atomic_store_explicit(&apply->waiting, apply->count, memory_order_release);
    for (unsigned i = 0; i < apply->count; i++) {
        apply->threads[i].checkpoint.run = checkpoint_thread;
        node_worker_post(apply->threads[i].worker, &apply->threads[i].checkpoint);
    }
}

static bool is_old(const struct node_apply *apply)
{
    return node_clock_ms() >= atomic_load_explicit(&apply->flushed_ms, memory_order_relaxed) +
                                  apply->node->options->flush_interval_ms;
}

/* D9: we own flushing. */
static void after_batch(void *context)
{
    struct apply_thread *thread = context;
    struct node_apply *apply = thread->apply;

    if (thread->touched != NULL &&
        (shard_engine_memtable_bytes(apply->node->engine) >= apply->node->options->memtable_bytes ||
         is_old(apply))) {
        node_apply_checkpoint(apply);
    }
}

static void settled(struct node_task *task)
{
    struct apply_thread *thread = fl_container_of(task, struct apply_thread, settle);

    atomic_store_explicit(&thread->settling, false, memory_order_relaxed);
    hand_to_writer(thread);
}

static void settle(struct apply_thread *thread)
{
    bool idle = false;

    if (atomic_load_explicit(&thread->waiting, memory_order_relaxed) &&
        atomic_compare_exchange_strong_explicit(
            &thread->settling, &idle, true, memory_order_relaxed, memory_order_relaxed)) {
        thread->settle.run = settled;
        node_worker_post(thread->worker, &thread->settle);
    }
}

void node_apply_upkeep(struct node_apply *apply)
{
    uint64_t now_ms = node_clock_ms();

    if (now_ms >= apply->settled_ms + SETTLE_MS) {
        apply->settled_ms = now_ms;
        for (unsigned i = 0; i < apply->count; i++) {
            settle(&apply->threads[i]);
        }
    }
    /* Without this the last entries before silence would wait for the next ones. */
    if (atomic_load_explicit(&apply->unflushed, memory_order_relaxed) && is_old(apply)) {
        node_apply_checkpoint(apply);
    }
}

/* --- life ----------------------------------------------------------------------------------- */

struct node_apply *node_apply_create(struct node *node, unsigned threads)
{
    struct node_apply *apply = fl_xcalloc(1, sizeof(*apply));

    apply->node = node;
    apply->count = threads;
    apply->threads = fl_xcalloc(threads, sizeof(*apply->threads));
    atomic_init(&apply->flushed_ms, node_clock_ms());
    apply->flush.run = flush;
    apply->flusher = node_worker_create("flusher", NULL);
    for (unsigned i = 0; i < threads; i++) {
        struct apply_thread *thread = &apply->threads[i];
        struct node_worker_hooks hooks = {.ctx = thread, .batch = run_batch, .after = after_batch};

        thread->apply = apply;
        thread->batch = shard_batch_create(node->engine, true);
        thread->write.run = write_sealed;
        thread->writer = node_worker_create("apply-writer", NULL);
        thread->worker = node_worker_create("apply", &hooks);
    }
    return apply;
}

void node_apply_post(struct node_apply *apply, struct node_apply_task *task)
{
    task->task.run = apply_entries;
    node_worker_post(thread_of(apply, task->group_id)->worker, &task->task);
}

void node_apply_post_other(struct node_apply *apply, uint64_t group_id, struct node_task *task)
{
    node_worker_post(thread_of(apply, group_id)->worker, task);
}

struct shard_batch *node_apply_batch(struct node_apply *apply, uint64_t group_id)
{
    fl_assert(node_worker_is_current(thread_of(apply, group_id)->worker));
    return thread_of(apply, group_id)->batch;
}

void node_apply_forget(struct node_apply *apply, uint64_t group_id)
{
    struct apply_thread *thread = thread_of(apply, group_id);
    struct touched *touched = NULL;

    HASH_FIND(hh, thread->touched, &group_id, sizeof(group_id), touched);
    if (touched != NULL) {
        HASH_DEL(thread->touched, touched);
        free(touched);
    }
}

void node_apply_stop(struct node_apply *apply)
{
    for (unsigned i = 0; i < apply->count; i++) {
        node_worker_stop(apply->threads[i].worker);
        node_worker_stop(apply->threads[i].writer);
    }
    node_worker_stop(apply->flusher);
}

void node_apply_destroy(struct node_apply *apply)
{
    for (unsigned i = 0; i < apply->count; i++) {
        struct apply_thread *thread = &apply->threads[i];
        struct touched *touched;
        struct touched *next;

        HASH_ITER(hh, thread->touched, touched, next)
        {
            HASH_DEL(thread->touched, touched); /* NOLINT(clang-analyzer-unix.Malloc): uthash */
            free(touched);
        }
        shard_batch_destroy(thread->batch);
        free(thread->checkpoints);
        node_worker_destroy(thread->worker);
        node_worker_destroy(thread->writer);
    }
    node_worker_destroy(apply->flusher);
    free(apply->threads);
    free(apply);
}
