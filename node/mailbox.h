/* Many-producer, single-consumer hand-over of whole objects, with a wake-up only for a sleeper.
 *
 * Owner: the consumer's struct embeds it; tasks belong to the mailbox from push until taken.
 * Lifetime: node_mailbox_init until no producer can push any more; nothing to close.
 * Threads: push from any; take, sleep and empty from the one consumer.
 *
 * One atomic word, three states:
 *
 *     NULL       empty, the consumer is awake and will look again before it sleeps
 *     ASLEEP     empty, the consumer sleeps: whoever pushes now must wake it
 *     pointer    newest task; `next` leads to older ones
 *
 * Producers push with one compare-and-swap, the consumer takes everything with one exchange and
 * reverses it into order of arrival, so batching falls out under load. A producer that meets a busy
 * consumer makes no system call at all. (liburcu's wfcqueue was weighed: its splice sleeps 10 ms
 * when a producer is preempted in the middle of a push, which happens on two cores.) */
#ifndef NODE_MAILBOX_H
#define NODE_MAILBOX_H

#include <stdatomic.h>
#include <stdbool.h>

struct node_task;
typedef void node_task_fn(struct node_task *task);

/* Embedded in the object that is handed over; fl_container_of leads back to it. */
struct node_task {
    struct node_task *next; /* the mailbox's while queued; the next of a taken list */
    node_task_fn *run;      /* called once on the consumer's thread; may free the object */
};

struct node_mailbox {
    _Atomic(struct node_task *) top;
};

/* An empty mailbox whose consumer is awake. */
void node_mailbox_init(struct node_mailbox *mailbox);
/* Hands `task` over. True: the consumer sleeps and the caller must wake it, once. */
bool node_mailbox_push(struct node_mailbox *mailbox, struct node_task *task);
/* Everything pushed so far in order of arrival, linked by `next`, NULL when empty. The consumer
 * counts as awake afterwards. */
struct node_task *node_mailbox_take(struct node_mailbox *mailbox);
/* Announces sleep. False: there are tasks, take them instead. True: the next push asks for a
 * wake-up; the consumer must not sleep again before it called node_mailbox_take. */
bool node_mailbox_sleep(struct node_mailbox *mailbox);
/* True when nothing is waiting. */
bool node_mailbox_empty(const struct node_mailbox *mailbox);

/* Runs every task of a taken list in order; each may free itself. Returns how many ran. */
unsigned node_task_run_all(struct node_task *list);

#endif
