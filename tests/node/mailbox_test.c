/* Goal: a mailbox loses nothing, keeps the order of each producer and asks for exactly one wake-up
 * per sleep of its consumer.
 * Method: the three states by hand, then producers on several threads against a consumer that
 * really sleeps on a semaphore, posted only when push asks for it: a missing wake-up hangs the
 * test, a superfluous one is counted. */
#include "node/mailbox.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/list.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
    struct node_task task;
    unsigned producer;
    unsigned number;
};

static void item_run(struct node_task *task)
{
    fl_container_of(task, struct item, task)->number++;
}

static void test_states(void **state)
{
    struct node_mailbox mailbox;
    struct item items[3] = {{{NULL, item_run}, 0, 0}, {{NULL, item_run}, 0, 1}};

    (void)state;
    node_mailbox_init(&mailbox);
    assert_true(node_mailbox_empty(&mailbox));
    assert_null(node_mailbox_take(&mailbox));
    /* The consumer is awake: no wake-up asked. */
    assert_false(node_mailbox_push(&mailbox, &items[0].task));
    assert_false(node_mailbox_empty(&mailbox));
    assert_false(node_mailbox_sleep(&mailbox));
    assert_ptr_equal(node_mailbox_take(&mailbox), &items[0].task);
    assert_null(items[0].task.next);
    /* Asleep: the first push asks, the second does not. */
    assert_true(node_mailbox_sleep(&mailbox));
    assert_true(node_mailbox_sleep(&mailbox));
    assert_true(node_mailbox_empty(&mailbox));
    assert_true(node_mailbox_push(&mailbox, &items[0].task));
    assert_false(node_mailbox_push(&mailbox, &items[1].task));
    assert_ptr_equal(node_mailbox_take(&mailbox), &items[0].task);
    assert_ptr_equal(items[0].task.next, &items[1].task);
    assert_null(items[1].task.next);
    /* Taking from an empty one ends the sleep. */
    assert_true(node_mailbox_sleep(&mailbox));
    assert_null(node_mailbox_take(&mailbox));
    assert_false(node_mailbox_push(&mailbox, &items[2].task));
    assert_ptr_equal(node_mailbox_take(&mailbox), &items[2].task);
}

static void test_run_all(void **state)
{
    struct item items[2] = {{{NULL, item_run}, 0, 10}, {{NULL, item_run}, 0, 20}};

    (void)state;
    items[0].task.next = &items[1].task;
    assert_int_equal(node_task_run_all(&items[0].task), 2);
    assert_int_equal(items[0].number, 11);
    assert_int_equal(items[1].number, 21);
    assert_int_equal(node_task_run_all(NULL), 0);
}

enum { PRODUCERS = 4, ITEMS = 50000 };

static struct node_mailbox shared;
static sem_t wake;
static _Atomic unsigned wakes_asked;

static void *produce(void *arg)
{
    unsigned producer = (unsigned)(uintptr_t)arg;

    for (unsigned i = 0; i < ITEMS; i++) {
        struct item *item = fl_xmalloc(sizeof(*item));

        *item = (struct item){.task.run = item_run, .producer = producer, .number = i};
        if (node_mailbox_push(&shared, &item->task)) {
            atomic_fetch_add(&wakes_asked, 1);
            assert_int_equal(sem_post(&wake), 0);
        }
    }
    return NULL;
}

static void test_many_producers(void **state)
{
    pthread_t threads[PRODUCERS];
    unsigned expected[PRODUCERS] = {0};
    unsigned received = 0;
    unsigned sleeps = 0;
    int left;

    (void)state;
    node_mailbox_init(&shared);
    assert_int_equal(sem_init(&wake, 0, 0), 0);
    for (uintptr_t i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, produce, (void *)i), 0);
    }
    while (received < PRODUCERS * ITEMS) {
        struct node_task *task = node_mailbox_take(&shared);

        if (task == NULL && node_mailbox_sleep(&shared)) {
            sleeps++;
            while (sem_wait(&wake) != 0) {
            }
        }
        while (task != NULL) {
            struct item *item = fl_container_of(task, struct item, task);

            task = task->next;
            assert_int_equal(item->number, expected[item->producer]++);
            received++;
            free(item);
        }
    }
    for (int i = 0; i < PRODUCERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_null(node_mailbox_take(&shared));
    assert_int_equal(atomic_load(&wakes_asked), sleeps);
    assert_int_equal(sem_getvalue(&wake, &left), 0);
    assert_int_equal(left, 0);
    (void)sem_destroy(&wake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_run_all),
        cmocka_unit_test(test_many_producers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
