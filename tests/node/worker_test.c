/* Goal: workers and pools run every posted task exactly once, a worker in order and in batches, and
 * stop only after everything was run.
 * Method: producers on several threads; a gate task holds the worker so that a known batch gathers
 * behind it; stop while the queue is full. */
#include "node/worker.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/list.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct job {
    struct node_task task;
    unsigned number;
    struct node_worker *worker; /* posts itself again here while number > 0 */
};

static unsigned last_number;
static _Atomic unsigned jobs_run;
static sem_t entered;
static sem_t gate;

static void gate_run(struct node_task *task)
{
    (void)task;
    (void)sem_post(&entered);
    while (sem_wait(&gate) != 0) {
    }
}

static void ordered_run(struct node_task *task)
{
    struct job *job = fl_container_of(task, struct job, task);

    if (job->number == last_number + 1) {
        last_number++;
    }
    atomic_fetch_add(&jobs_run, 1);
    free(job);
}

static struct node_task *ordered_job(unsigned number)
{
    struct job *job = fl_xcalloc(1, sizeof(*job));

    job->task.run = ordered_run;
    job->number = number;
    return &job->task;
}

static int setup(void **state)
{
    (void)state;
    last_number = 0;
    atomic_store(&jobs_run, 0);
    return sem_init(&entered, 0, 0) != 0 || sem_init(&gate, 0, 0) != 0;
}

static int teardown(void **state)
{
    (void)state;
    return sem_destroy(&entered) != 0 || sem_destroy(&gate) != 0;
}

static void test_stop_drains_in_order(void **state)
{
    struct node_worker *worker = node_worker_create("drain", NULL);
    struct node_task hold = {NULL, gate_run};

    (void)state;
    assert_false(node_worker_is_current(worker));
    node_worker_post(worker, &hold);
    assert_int_equal(sem_wait(&entered), 0);
    for (unsigned i = 1; i <= 1000; i++) {
        node_worker_post(worker, ordered_job(i));
    }
    (void)sem_post(&gate);
    node_worker_stop(worker);
    assert_int_equal(atomic_load(&jobs_run), 1000);
    assert_int_equal(last_number, 1000);
    node_worker_destroy(worker);
}

/* --- batches -------------------------------------------------------------------------------- */

struct batches {
    unsigned sizes[8];
    unsigned count;
    unsigned afters;
};

static void take_batch(void *ctx, struct node_task *list)
{
    struct batches *batches = ctx;

    assert_true(batches->afters == batches->count && batches->count < 8);
    batches->sizes[batches->count++] = node_task_run_all(list);
}

static void after_batch(void *ctx)
{
    struct batches *batches = ctx;

    batches->afters++;
    assert_int_equal(batches->afters, batches->count);
}

static void test_everything_waiting_is_one_batch(void **state)
{
    struct batches batches = {{0}, 0, 0};
    struct node_worker_hooks hooks = {.ctx = &batches, .batch = take_batch, .after = after_batch};
    struct node_worker *worker = node_worker_create("batch", &hooks);
    struct node_task hold = {NULL, gate_run};
    struct node_task hold_again = {NULL, gate_run};

    (void)state;
    node_worker_post(worker, &hold);
    assert_int_equal(sem_wait(&entered), 0);
    for (unsigned i = 1; i <= 64; i++) {
        node_worker_post(worker, ordered_job(i));
    }
    node_worker_post(worker, &hold_again);
    (void)sem_post(&gate);
    assert_int_equal(sem_wait(&entered), 0);
    node_worker_post(worker, ordered_job(65));
    (void)sem_post(&gate);
    node_worker_stop(worker);
    assert_int_equal(batches.count, 3);
    assert_int_equal(batches.sizes[0], 1);
    assert_int_equal(batches.sizes[1], 65);
    assert_int_equal(batches.sizes[2], 1);
    assert_int_equal(batches.afters, 3);
    assert_int_equal(last_number, 65);
    node_worker_destroy(worker);
}

static void chain_run(struct node_task *task)
{
    struct job *job = fl_container_of(task, struct job, task);

    assert_true(node_worker_is_current(job->worker));
    atomic_fetch_add(&jobs_run, 1);
    if (job->number-- > 0) {
        node_worker_post(job->worker, task);
    }
}

/* A task may post to its own worker; stop waits for the end of the chain. */
static void test_stop_drains_what_tasks_post(void **state)
{
    struct node_worker *worker = node_worker_create("chain", NULL);
    struct job job = {{NULL, chain_run}, 10000, worker};

    (void)state;
    node_worker_post(worker, &job.task);
    node_worker_stop(worker);
    assert_int_equal(atomic_load(&jobs_run), 10001);
    node_worker_destroy(worker);
}

/* What was posted just before stop is run, however the worker's look into its mailbox, the post and
 * the stop fall together. */
static void test_stop_right_after_post(void **state)
{
    enum { ROUNDS = 1000 };

    (void)state;
    for (unsigned i = 1; i <= ROUNDS; i++) {
        struct node_worker *worker = node_worker_create("race", NULL);

        /* Different moments of the thread's start. */
        for (unsigned pause = 0; pause < i % 64; pause++) {
            (void)node_worker_is_current(worker);
            (void)sched_yield();
        }
        node_worker_post(worker, ordered_job(i));
        node_worker_stop(worker);
        node_worker_destroy(worker);
    }
    assert_int_equal(last_number, ROUNDS);
}

/* --- many producers ------------------------------------------------------------------------- */

enum { PRODUCERS = 4, JOBS = 20000 };

static void count_run(struct node_task *task)
{
    atomic_fetch_add(&jobs_run, 1);
    free(fl_container_of(task, struct job, task));
}

static void *produce_for_worker(void *arg)
{
    for (unsigned i = 0; i < JOBS; i++) {
        struct job *job = fl_xcalloc(1, sizeof(*job));

        job->task.run = count_run;
        node_worker_post(arg, &job->task);
    }
    return NULL;
}

static void *produce_for_pool(void *arg)
{
    for (unsigned i = 0; i < JOBS; i++) {
        struct job *job = fl_xcalloc(1, sizeof(*job));

        job->task.run = count_run;
        node_pool_post(arg, &job->task);
    }
    return NULL;
}

static void produce(void *(*producer)(void *), void *target)
{
    pthread_t threads[PRODUCERS];

    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, producer, target), 0);
    }
    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void test_worker_with_many_producers(void **state)
{
    struct node_worker *worker = node_worker_create("many", NULL);

    (void)state;
    produce(produce_for_worker, worker);
    node_worker_stop(worker);
    assert_int_equal(atomic_load(&jobs_run), PRODUCERS * JOBS);
    node_worker_destroy(worker);
}

static void test_pool_with_many_producers(void **state)
{
    struct node_pool *pool = node_pool_create("pool", 3);

    (void)state;
    produce(produce_for_pool, pool);
    node_pool_stop(pool);
    assert_int_equal(atomic_load(&jobs_run), PRODUCERS * JOBS);
    assert_int_equal(node_pool_waiting(pool), 0);
    node_pool_destroy(pool);
}

/* Two tasks that wait for each other's start end only when two threads run them. */
static void test_pool_runs_in_parallel(void **state)
{
    struct node_pool *pool = node_pool_create("pool", 2);
    struct node_task hold[2] = {{NULL, gate_run}, {NULL, gate_run}};
    struct node_task third = {NULL, gate_run};

    (void)state;
    node_pool_post(pool, &hold[0]);
    node_pool_post(pool, &hold[1]);
    assert_int_equal(sem_wait(&entered), 0);
    assert_int_equal(sem_wait(&entered), 0);
    node_pool_post(pool, &third);
    assert_int_equal(node_pool_waiting(pool), 1);
    for (int i = 0; i < 3; i++) {
        (void)sem_post(&gate);
    }
    node_pool_stop(pool);
    node_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stop_drains_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_everything_waiting_is_one_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_drains_what_tasks_post, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_right_after_post, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker_with_many_producers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pool_with_many_producers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pool_runs_in_parallel, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
