/* Worker threads and pools. */
#include "node/worker.h"

#include "node/bell.h"
#include "node/thread.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct node_worker {
    struct node_worker_hooks hooks;
    pthread_t thread;
    bool joined; /* the opener's */
    struct {
        struct node_mailbox mailbox;
        _Atomic uint32_t signal; /* 1: get up; futex */
        _Atomic bool stopping;
    } shared;
};

static _Thread_local const struct node_worker *current_worker;

/* --- sleeping ------------------------------------------------------------------------------- */

static void wake(_Atomic uint32_t *signal)
{
    /* Release pairs with the exchange in sleep_until_woken: what made us wake is seen after it. */
    atomic_store_explicit(signal, 1, memory_order_release);
    (void)syscall(SYS_futex, signal, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void sleep_until_woken(_Atomic uint32_t *signal)
{
    while (atomic_exchange_explicit(signal, 0, memory_order_acquire) == 0) {
        (void)syscall(SYS_futex, signal, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    }
}

/* --- worker --------------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
    struct node_worker *worker = arg;
    struct node_mailbox *mailbox = &worker->shared.mailbox;

    current_worker = worker;
    for (;;) {
        /* Read before the mailbox: what was posted before stop is then seen by the take. */
        bool stopping = atomic_load_explicit(&worker->shared.stopping, memory_order_acquire);
        struct node_task *list = node_mailbox_take(mailbox);

        if (list == NULL) {
            if (stopping) {
                return NULL;
            }
            if (node_mailbox_sleep(mailbox)) {
                sleep_until_woken(&worker->shared.signal);
            }
            continue;
        }
        if (worker->hooks.batch != NULL) {
            worker->hooks.batch(worker->hooks.ctx, list);
        } else {
            (void)node_task_run_all(list);
        }
        if (worker->hooks.after != NULL) {
            worker->hooks.after(worker->hooks.ctx);
        }
    }
}

struct node_worker *node_worker_create(const char *name, const struct node_worker_hooks *hooks)
{
    struct node_worker *worker = fl_xcalloc(1, sizeof(*worker));

    if (hooks != NULL) {
        worker->hooks = *hooks;
    }
    node_mailbox_init(&worker->shared.mailbox);
    atomic_init(&worker->shared.signal, 0);
    atomic_init(&worker->shared.stopping, false);
    worker->thread = node_thread_start(name, worker_main, worker);
    return worker;
}

static void wake_worker(void *consumer)
{
    struct node_worker *worker = consumer;

    wake(&worker->shared.signal);
}

void node_worker_post(struct node_worker *worker, struct node_task *task)
{
    if (node_mailbox_push(&worker->shared.mailbox, task)) {
        node_bell(wake_worker, worker);
    }
}

bool node_worker_is_current(const struct node_worker *worker)
{
    return current_worker == worker;
}

void node_worker_stop(struct node_worker *worker)
{
    fl_assert(!node_worker_is_current(worker) && !worker->joined);
    atomic_store_explicit(&worker->shared.stopping, true, memory_order_release);
    wake(&worker->shared.signal);
    fl_assert(pthread_join(worker->thread, NULL) == 0);
    worker->joined = true;
}

void node_worker_destroy(struct node_worker *worker)
{
    fl_assert(worker->joined);
    fl_assert(node_mailbox_empty(&worker->shared.mailbox));
    free(worker);
}

/* --- pool ----------------------------------------------------------------------------------- */

struct node_pool {
    pthread_t *threads;
    unsigned thread_count;
    bool joined;              /* the opener's */
    _Atomic uint64_t waiting; /* written under the lock; read by anyone, relaxed: an estimate */
    struct {
        pthread_mutex_t lock;
        pthread_cond_t work;
        struct node_task *first;
        struct node_task **last; /* where the next task is linked */
        unsigned idle;           /* threads in pthread_cond_wait, not yet signalled */
        bool stopping;
    } shared;
};

/* The next task, NULL when the pool stops and nothing is left. */
static struct node_task *pool_next(struct node_pool *pool)
{
    struct node_task *task;

    fl_assert(pthread_mutex_lock(&pool->shared.lock) == 0);
    while (pool->shared.first == NULL && !pool->shared.stopping) {
        pool->shared.idle++;
        fl_assert(pthread_cond_wait(&pool->shared.work, &pool->shared.lock) == 0);
    }
    task = pool->shared.first;
    if (task != NULL) {
        pool->shared.first = task->next;
        if (task->next == NULL) {
            pool->shared.last = &pool->shared.first;
        }
        (void)atomic_fetch_sub_explicit(&pool->waiting, 1, memory_order_relaxed);
    }
    fl_assert(pthread_mutex_unlock(&pool->shared.lock) == 0);
    return task;
}

static void *pool_main(void *arg)
{
    struct node_pool *pool = arg;
    struct node_task *task;

    while ((task = pool_next(pool)) != NULL) {
        task->run(task);
    }
    return NULL;
}

struct node_pool *node_pool_create(const char *name, unsigned threads)
{
    struct node_pool *pool = fl_xcalloc(1, sizeof(*pool));

    fl_assert(threads > 0);
    fl_assert(pthread_mutex_init(&pool->shared.lock, NULL) == 0);
    fl_assert(pthread_cond_init(&pool->shared.work, NULL) == 0);
    pool->shared.last = &pool->shared.first;
    atomic_init(&pool->waiting, 0);
    pool->thread_count = threads;
    pool->threads = fl_xcalloc(threads, sizeof(*pool->threads));
    for (unsigned i = 0; i < threads; i++) {
        pool->threads[i] = node_thread_start(name, pool_main, pool);
    }
    return pool;
}

void node_pool_post(struct node_pool *pool, struct node_task *task)
{
    bool wake_one;

    task->next = NULL;
    fl_assert(pthread_mutex_lock(&pool->shared.lock) == 0);
    fl_assert(!pool->shared.stopping);
    *pool->shared.last = task;
    pool->shared.last = &task->next;
    (void)atomic_fetch_add_explicit(&pool->waiting, 1, memory_order_relaxed);
    wake_one = pool->shared.idle > 0;
    if (wake_one) {
        pool->shared.idle--;
    }
    fl_assert(pthread_mutex_unlock(&pool->shared.lock) == 0);
    if (wake_one) {
        fl_assert(pthread_cond_signal(&pool->shared.work) == 0);
    }
}

uint64_t node_pool_waiting(const struct node_pool *pool)
{
    return atomic_load_explicit(&pool->waiting, memory_order_relaxed);
}

void node_pool_stop(struct node_pool *pool)
{
    fl_assert(!pool->joined);
    fl_assert(pthread_mutex_lock(&pool->shared.lock) == 0);
    pool->shared.stopping = true;
    fl_assert(pthread_mutex_unlock(&pool->shared.lock) == 0);
    fl_assert(pthread_cond_broadcast(&pool->shared.work) == 0);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        fl_assert(pthread_join(pool->threads[i], NULL) == 0);
    }
    pool->joined = true;
}

void node_pool_destroy(struct node_pool *pool)
{
    fl_assert(pool->joined && pool->shared.first == NULL);
    (void)pthread_cond_destroy(&pool->shared.work);
    (void)pthread_mutex_destroy(&pool->shared.lock);
    free(pool->threads);
    free(pool);
}
