/* What happens next: events of virtual time in order, a binary heap.
 *
 * Owner: the world. Lifetime: zeroed .. sim_queue_close. Threads: one.
 *
 * Events of one moment come in the order they were put in, so a run is repeatable. */
#ifndef TESTS_SIM_QUEUE_H
#define TESTS_SIM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_event {
    uint64_t at; /* microseconds of virtual time */
    uint64_t order;
    void *data;    /* of PACKET events, owned by the event */
    uint64_t arg;  /* replica id, client, peer ..: see enum sim_event_kind */
    uint32_t boot; /* of the node when it was put in; stale events of a dead process are dropped */
    uint8_t kind;  /* enum sim_event_kind */
    uint8_t node;  /* 0: of no node */
    uint8_t group;
};

struct sim_queue {
    struct sim_event *heap;
    size_t count;
    size_t capacity;
    uint64_t order;
};

void sim_queue_push(struct sim_queue *queue, struct sim_event event);
/* False when nothing is left. */
bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event);
void sim_queue_close(struct sim_queue *queue);

#endif
