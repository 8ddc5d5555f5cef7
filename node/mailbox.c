/* The mailbox: a stack that is taken whole and reversed. */
#include "node/mailbox.h"

#include <stddef.h>

/* Stands for "empty and the consumer sleeps"; never run, never linked. */
static struct node_task asleep;

void node_mailbox_init(struct node_mailbox *mailbox)
{
    atomic_init(&mailbox->top, NULL);
}

bool node_mailbox_push(struct node_mailbox *mailbox, struct node_task *task)
{
    struct node_task *top = atomic_load_explicit(&mailbox->top, memory_order_relaxed);

    do {
        task->next = top != &asleep ? top : NULL;
        /* Release: the consumer's acquire in take sees the task's content. The pushed value may
         * have been taken and pushed again meanwhile (ABA): harmless, because `next` is what the
         * top is now, and only whole stacks are taken. */
    } while (!atomic_compare_exchange_weak_explicit(
        &mailbox->top, &top, task, memory_order_release, memory_order_relaxed));
    return top == &asleep;
}

struct node_task *node_mailbox_take(struct node_mailbox *mailbox)
{
    struct node_task *top = atomic_load_explicit(&mailbox->top, memory_order_relaxed);
    struct node_task *list = NULL;

    /* A plain look first: an idle iteration of the consumer does not pull the line for writing. */
    if (top == NULL) {
        return NULL;
    }
    top = atomic_exchange_explicit(&mailbox->top, NULL, memory_order_acquire);
    if (top == &asleep) {
        return NULL;
    }
    while (top != NULL) {
        struct node_task *older = top->next;

        top->next = list;
        list = top;
        top = older;
    }
    return list;
}

bool node_mailbox_sleep(struct node_mailbox *mailbox)
{
    struct node_task *expected = NULL;

    /* Relaxed: nothing is read on the strength of this; what a producer pushes after seeing the
     * mark is ordered by the wake-up and by take. */
    return atomic_compare_exchange_strong_explicit(
               &mailbox->top, &expected, &asleep, memory_order_relaxed, memory_order_relaxed) ||
           expected == &asleep;
}

bool node_mailbox_empty(const struct node_mailbox *mailbox)
{
    struct node_task *top = atomic_load_explicit(&mailbox->top, memory_order_relaxed);

    return top == NULL || top == &asleep;
}

unsigned node_task_run_all(struct node_task *list)
{
    unsigned count = 0;

    while (list != NULL) {
        struct node_task *task = list;

        list = task->next;
        task->run(task);
        count++;
    }
    return count;
}
