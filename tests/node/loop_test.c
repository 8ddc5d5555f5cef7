/* Goal: an iteration goes tasks, own tasks, turn; posts from anywhere arrive once and in order;
 * deadlines are met and never early; an idle loop sleeps; stop runs what was posted before.
 * Method: real loops; the hooks write down what they see on the loop's thread, the test reads it
 * after a task handed back a semaphore or after the thread was joined. */
#include "node/loop.h"

#include "node/clock.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/list.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    struct node_loop *loop;
    char trace[64]; /* one letter per event */
    size_t trace_len;
    _Atomic unsigned turns;
    uint64_t deadline_ms;
    uint64_t met_ms; /* first turn at or past the deadline */
    struct node_task own;
    unsigned own_posts; /* how often the turn posts `own` */
    sem_t done;
};

static void trace(struct world *world, char letter)
{
    if (world->trace_len < sizeof(world->trace) - 1) {
        world->trace[world->trace_len++] = letter;
    }
}

static void turn(void *ctx, uint64_t now_ms)
{
    struct world *world = ctx;

    node_loop_assert_owner(world->loop);
    world->turns++;
    trace(world, 't');
    if (world->own_posts > 0) {
        world->own_posts--;
        node_loop_post(world->loop, &world->own);
    }
    if (now_ms >= world->deadline_ms) {
        world->met_ms = node_clock_ms();
        world->deadline_ms = NODE_NEVER;
        (void)sem_post(&world->done);
    }
}

static uint64_t idle(void *ctx)
{
    struct world *world = ctx;

    return world->deadline_ms;
}

static void world_init(struct world *world)
{
    struct node_loop_hooks hooks = {.ctx = world, .turn = turn, .idle = idle};

    memset(world, 0, sizeof(*world));
    world->deadline_ms = NODE_NEVER;
    assert_int_equal(sem_init(&world->done, 0, 0), 0);
    world->loop = node_loop_create("test loop", &hooks);
}

static void world_end(struct world *world)
{
    node_loop_stop(world->loop);
    node_loop_join(world->loop);
    node_loop_destroy(world->loop);
    (void)sem_destroy(&world->done);
}

struct step {
    struct node_task task;
    struct world *world;
    char letter;
    uint64_t number;
    bool post_own;
    sem_t *done;
};

static void step_run(struct node_task *task)
{
    struct step *step = fl_container_of(task, struct step, task);

    assert_true(node_loop_is_current(step->world->loop));
    trace(step->world, step->letter);
    if (step->post_own) {
        node_loop_post(step->world->loop, &step->world->own);
    }
    if (step->number != 0) {
        step->world->deadline_ms = step->number;
    }
    if (step->done != NULL) {
        (void)sem_post(step->done);
    }
}

static void own_run(struct node_task *task)
{
    trace(fl_container_of(task, struct world, own), 'o');
}

/* Tasks posted before the start are one batch; what a task posts to its own loop runs before the
 * turn of the same iteration. */
static void test_order_of_an_iteration(void **state)
{
    struct world world;
    struct step a = {.task.run = step_run, .world = &world, .letter = 'a', .post_own = true};
    struct step b = {.task.run = step_run, .world = &world, .letter = 'b'};

    (void)state;
    world_init(&world);
    world.own.run = own_run;
    node_loop_post(world.loop, &a.task);
    node_loop_post(world.loop, &b.task);
    b.done = &world.done;
    node_loop_start(world.loop);
    assert_int_equal(sem_wait(&world.done), 0);
    world_end(&world);
    assert_int_equal(strncmp(world.trace, "abot", 4), 0);
}

static void own_run_and_tell(struct node_task *task)
{
    own_run(task);
    (void)sem_post(&fl_container_of(task, struct world, own)->done);
}

/* What a turn posts runs in the next iteration, at once although there is no deadline and no I/O.
 */
static void test_turn_posts_to_itself(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    world.own.run = own_run_and_tell;
    world.own_posts = 3;
    node_loop_start(world.loop);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sem_wait(&world.done), 0);
    }
    world_end(&world);
    assert_int_equal(strncmp(world.trace, "tototo", 6), 0);
}

static void set_deadline(struct world *world, uint64_t deadline_ms)
{
    struct step step = {.task.run = step_run, .world = world, .letter = 'd'};
    sem_t done;

    step.number = deadline_ms;
    step.done = &done;
    assert_int_equal(sem_init(&done, 0, 0), 0);
    node_loop_post(world->loop, &step.task);
    assert_int_equal(sem_wait(&done), 0);
    (void)sem_destroy(&done);
}

static void test_deadline_is_met_and_not_early(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    node_loop_start(world.loop);
    for (uint64_t wait_ms = 0; wait_ms < 40; wait_ms += 3) {
        uint64_t deadline_ms = node_clock_ms() + wait_ms;

        set_deadline(&world, deadline_ms);
        assert_int_equal(sem_wait(&world.done), 0);
        assert_true(world.met_ms >= deadline_ms);
        /* Generous: the machine may be busy with other tests. */
        assert_true(world.met_ms < deadline_ms + 1000);
    }
    /* Wakes for a deadline are not in vain: task and deadline make two turns each. */
    world_end(&world);
    assert_true(world.turns <= 14 * 3 + 2);
}

static void test_deadline_moves_both_ways(void **state)
{
    struct world world;
    uint64_t start_ms = node_clock_ms();

    (void)state;
    world_init(&world);
    node_loop_start(world.loop);
    set_deadline(&world, start_ms + 3600000);
    set_deadline(&world, start_ms + 20);
    assert_int_equal(sem_wait(&world.done), 0);
    assert_true(world.met_ms >= start_ms + 20 && world.met_ms < start_ms + 3600);
    set_deadline(&world, start_ms + 3600000);
    world_end(&world);
}

/* Nothing to do, so no turn beyond the one that may follow the task. The pause is what is measured,
 * not a way to wait for something. */
static void test_idle_loop_sleeps(void **state)
{
    struct world world;
    unsigned turns;

    (void)state;
    world_init(&world);
    node_loop_start(world.loop);
    set_deadline(&world, NODE_NEVER);
    turns = world.turns;
    (void)usleep(50000);
    assert_true(world.turns <= turns + 1);
    world_end(&world);
}

/* --- many producers ------------------------------------------------------------------------- */

enum { PRODUCERS = 3, TASKS = 30000 };

struct numbered {
    struct node_task task;
    unsigned producer;
    unsigned number;
};

static unsigned next_number[PRODUCERS]; /* the loop's */
static unsigned disorder;

static void numbered_run(struct node_task *task)
{
    struct numbered *numbered = fl_container_of(task, struct numbered, task);

    disorder += numbered->number != next_number[numbered->producer];
    next_number[numbered->producer]++;
    free(numbered);
}

struct producer {
    struct node_loop *loop;
    unsigned number;
};

static void *produce(void *arg)
{
    const struct producer *producer = arg;

    for (unsigned i = 0; i < TASKS; i++) {
        struct numbered *numbered = fl_xcalloc(1, sizeof(*numbered));

        *numbered =
            (struct numbered){.task.run = numbered_run, .producer = producer->number, .number = i};
        node_loop_post(producer->loop, &numbered->task);
    }
    return NULL;
}

static void test_many_producers_and_stop_drains(void **state)
{
    struct world world;
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];

    (void)state;
    world_init(&world);
    memset(next_number, 0, sizeof(next_number));
    disorder = 0;
    node_loop_start(world.loop);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){world.loop, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (unsigned i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    world_end(&world);
    for (unsigned i = 0; i < PRODUCERS; i++) {
        assert_int_equal(next_number[i], TASKS);
    }
    assert_int_equal(disorder, 0);
}

static void test_never_started(void **state)
{
    struct world world;

    (void)state;
    world_init(&world);
    node_loop_assert_owner(world.loop);
    assert_false(node_loop_is_current(world.loop));
    node_loop_destroy(world.loop);
    (void)sem_destroy(&world.done);
    node_loop_destroy(node_loop_create("no hooks", NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_an_iteration),
        cmocka_unit_test(test_turn_posts_to_itself),
        cmocka_unit_test(test_deadline_is_met_and_not_early),
        cmocka_unit_test(test_deadline_moves_both_ways),
        cmocka_unit_test(test_idle_loop_sleeps),
        cmocka_unit_test(test_many_producers_and_stop_drains),
        cmocka_unit_test(test_never_started),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
