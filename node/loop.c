/* The event loop: libuv's phases bent to the order of a turn.
 *
 *     libuv:   timers -> closing of last round .. prepare -> wait, I/O -> check -> closing -> again
 *     ours:                     idle(), sleep ----^                ^---- mailbox, own tasks, turn
 *
 * The mailbox is marked asleep only in `prepare`, right before the wait, so a producer makes the
 * eventfd system call only for a loop that is or will be inside epoll_wait. Work that is known to
 * wait already turns the wait into a poll (an active idle handle is libuv's way to say so), which
 * lets messages that arrived meanwhile go first. */
#include "node/loop.h"

#include "node/bell.h"
#include "node/clock.h"
#include "node/loop_internal.h"
#include "node/thread.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/list.h"

#include <stdlib.h>

struct node_loop {
    uv_loop_t uv;
    uv_async_t async; /* wakes epoll_wait; its callback has nothing to do */
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t poll_only; /* active: the next wait is a poll */
    uv_timer_t timer;    /* one-shot, at armed_ms */
    struct node_loop_hooks hooks;
    const char *name;
    uint64_t armed_ms;           /* deadline the timer is set to, NODE_NEVER: not armed */
    uint64_t now_ms;             /* when the loop last looked */
    struct node_task *own_first; /* tasks the loop posted to itself, in order */
    struct node_task **own_last; /* where the next one is linked */
    struct node_task stop_task;
    pthread_t thread;
    bool hurry;    /* a turn must follow without waiting */
    bool stopping; /* stop_task ran */
    bool started;
    bool joined;
    struct {
        struct node_mailbox mailbox;
    } shared;
};

static _Thread_local const struct node_loop *current_loop;

/* --- one iteration -------------------------------------------------------------------------- */

static void async_cb(uv_async_t *async)
{
    (void)async; /* the check phase drains the mailbox */
}

static void poll_only_cb(uv_idle_t *idle)
{
    (void)idle;
}

static void timer_cb(uv_timer_t *timer)
{
    struct node_loop *loop = timer->data;

    loop->armed_ms = NODE_NEVER;
}

static void arm(struct node_loop *loop, uint64_t deadline_ms)
{
    if (deadline_ms == loop->armed_ms) {
        return;
    }
    loop->armed_ms = deadline_ms;
    if (deadline_ms == NODE_NEVER) {
        (void)uv_timer_stop(&loop->timer);
        return;
    }
    /* libuv counts from its own cached time: too old a one would wake us early and in vain. */
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&loop->timer, timer_cb, deadline_ms - loop->now_ms, 0);
}

/* True when the loop may wait in the kernel; then the mailbox is marked and the timer set. */
static bool may_wait(struct node_loop *loop)
{
    uint64_t deadline_ms = NODE_NEVER;

    if (loop->hurry || loop->own_first != NULL) {
        return false;
    }
    loop->now_ms = node_clock_ms();
    if (loop->hooks.idle != NULL) {
        deadline_ms = loop->hooks.idle(loop->hooks.ctx);
    }
    if (deadline_ms <= loop->now_ms) {
        return false;
    }
    arm(loop, deadline_ms);
    return node_mailbox_sleep(&loop->shared.mailbox);
}

static void prepare_cb(uv_prepare_t *prepare)
{
    struct node_loop *loop = prepare->data;

    if (!may_wait(loop)) {
        (void)uv_idle_start(&loop->poll_only, poll_only_cb);
    }
}

static void run_tasks(struct node_loop *loop)
{
    struct node_task *own;

    (void)node_task_run_all(node_mailbox_take(&loop->shared.mailbox));
    own = loop->own_first;
    loop->own_first = NULL;
    loop->own_last = &loop->own_first;
    (void)node_task_run_all(own);
}

static void assert_no_foreign_handle(uv_handle_t *handle, void *arg)
{
    struct node_loop *loop = arg;

    fl_assert(uv_is_closing(handle) || handle->data == loop);
}

static void end(struct node_loop *loop)
{
    uv_walk(&loop->uv, assert_no_foreign_handle, loop);
    uv_close((uv_handle_t *)&loop->async, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->poll_only, NULL);
    uv_close((uv_handle_t *)&loop->timer, NULL);
}

static void check_cb(uv_check_t *check)
{
    struct node_loop *loop = check->data;

    (void)uv_idle_stop(&loop->poll_only);
    loop->now_ms = node_clock_ms();
    run_tasks(loop);
    loop->hurry = false;
    if (loop->stopping) {
        while (loop->own_first != NULL || !node_mailbox_empty(&loop->shared.mailbox)) {
            run_tasks(loop);
        }
        end(loop);
        node_bells_ring();
        return;
    }
    if (loop->hooks.turn != NULL) {
        loop->now_ms = node_clock_ms();
        loop->hooks.turn(loop->hooks.ctx, loop->now_ms);
    }
    node_bells_ring();
}

/* --- life ----------------------------------------------------------------------------------- */

struct node_loop *node_loop_create(const char *name, const struct node_loop_hooks *hooks)
{
    struct node_loop *loop = fl_xcalloc(1, sizeof(*loop));

    loop->name = name;
    if (hooks != NULL) {
        loop->hooks = *hooks;
    }
    if (uv_loop_init(&loop->uv) != 0) {
        fl_fatal("cannot create the event loop %s: out of file descriptors or memory", name);
    }
    fl_assert(uv_async_init(&loop->uv, &loop->async, async_cb) == 0);
    fl_assert(uv_prepare_init(&loop->uv, &loop->prepare) == 0);
    fl_assert(uv_check_init(&loop->uv, &loop->check) == 0);
    fl_assert(uv_idle_init(&loop->uv, &loop->poll_only) == 0);
    fl_assert(uv_timer_init(&loop->uv, &loop->timer) == 0);
    loop->async.data = loop;
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->poll_only.data = loop;
    loop->timer.data = loop;
    fl_assert(uv_prepare_start(&loop->prepare, prepare_cb) == 0);
    fl_assert(uv_check_start(&loop->check, check_cb) == 0);
    loop->own_last = &loop->own_first;
    loop->armed_ms = NODE_NEVER;
    loop->now_ms = node_clock_ms();
    loop->hurry = true; /* the first turn comes at once */
    node_mailbox_init(&loop->shared.mailbox);
    return loop;
}

static void *loop_main(void *arg)
{
    struct node_loop *loop = arg;

    current_loop = loop;
    node_bells_hold();
    fl_assert(uv_run(&loop->uv, UV_RUN_DEFAULT) == 0);
    node_bells_release();
    return NULL;
}

void node_loop_start(struct node_loop *loop)
{
    fl_assert(!loop->started);
    loop->started = true;
    loop->thread = node_thread_start(loop->name, loop_main, loop);
}

static void stop_task_run(struct node_task *task)
{
    struct node_loop *loop = fl_container_of(task, struct node_loop, stop_task);

    loop->stopping = true;
}

void node_loop_stop(struct node_loop *loop)
{
    fl_assert(loop->started);
    loop->stop_task.run = stop_task_run;
    node_loop_post(loop, &loop->stop_task);
}

void node_loop_join(struct node_loop *loop)
{
    fl_assert(loop->started && !loop->joined && !node_loop_is_current(loop));
    fl_assert(pthread_join(loop->thread, NULL) == 0);
    loop->joined = true;
}

void node_loop_destroy(struct node_loop *loop)
{
    fl_assert(loop->joined == loop->started);
    fl_assert(node_mailbox_empty(&loop->shared.mailbox) && loop->own_first == NULL);
    if (!loop->started) {
        end(loop);
        fl_assert(uv_run(&loop->uv, UV_RUN_DEFAULT) == 0);
    }
    fl_assert(uv_loop_close(&loop->uv) == 0);
    free(loop);
}

/* --- use ------------------------------------------------------------------------------------ */

static void wake(void *consumer)
{
    struct node_loop *loop = consumer;

    (void)uv_async_send(&loop->async);
}

void node_loop_post(struct node_loop *loop, struct node_task *task)
{
    if (current_loop == loop) {
        task->next = NULL;
        *loop->own_last = task;
        loop->own_last = &task->next;
        return;
    }
    if (node_mailbox_push(&loop->shared.mailbox, task)) {
        node_bell(wake, loop);
    }
}

bool node_loop_is_current(const struct node_loop *loop)
{
    return current_loop == loop;
}

void node_loop_assert_owner(const struct node_loop *loop)
{
    fl_assert(!loop->started || current_loop == loop);
}

uint64_t node_loop_now_ms(const struct node_loop *loop)
{
    node_loop_assert_owner(loop);
    return loop->now_ms;
}

uv_loop_t *node__loop_uv(struct node_loop *loop)
{
    node_loop_assert_owner(loop);
    return &loop->uv;
}

void node__loop_hurry(struct node_loop *loop)
{
    node_loop_assert_owner(loop);
    loop->hurry = true;
}
