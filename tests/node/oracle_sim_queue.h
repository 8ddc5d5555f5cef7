/* What will happen in the oracle's simulation, and when.
 *
 * Owner, lifetime and threads: the simulation's. */
#ifndef TESTS_NODE_ORACLE_SIM_QUEUE_H
#define TESTS_NODE_ORACLE_SIM_QUEUE_H

#include "node/oracle_message.h"

#include <stddef.h>
#include <stdint.h>

struct world;
struct op;
struct event;
typedef void event_fn(struct world *world, const struct event *event);

struct event {
    uint64_t time;
    uint64_t order; /* among events of the same time: as they were posted */
    event_fn *run;
    size_t who;
    uint64_t term;
    uint64_t x;
    uint64_t y;
    struct op *op;
    uint8_t bytes[NODE_ORACLE_MESSAGE_BYTES];
    size_t len;
};

/* A heap; all zero is an empty one. */
struct event_queue {
    struct event *heap;
    size_t count;
    size_t capacity;
    uint64_t order;
};

/* `event` happens at `time`. */
void event_queue_post(struct event_queue *queue, uint64_t time, const struct event *event);
/* The next event, which stays. */
const struct event *event_queue_first(const struct event_queue *queue);
struct event event_queue_take(struct event_queue *queue);
void event_queue_close(struct event_queue *queue);

#endif
