/* A binary heap of events. See queue.h. */
#include "tests/sim/queue.h"

#include "raftgroup/base/alloc.h"

#include <stdlib.h>

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_queue_push(struct sim_queue *queue, struct sim_event event)
{
    size_t at = queue->count;

    fl_grow(&queue->heap, &queue->capacity, at + 1, sizeof(*queue->heap));
    queue->count++;
    event.order = ++queue->order;
    while (at > 0 && before(&event, &queue->heap[(at - 1) / 2])) {
        queue->heap[at] = queue->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    queue->heap[at] = event;
}

bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event)
{
    struct sim_event last;
    size_t at = 0;

    if (queue->count == 0) {
        return false;
    }
    *event = queue->heap[0];
    last = queue->heap[--queue->count];
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= queue->count) {
            break;
        }
        if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child])) {
            child++;
        }
        if (!before(&queue->heap[child], &last)) {
            break;
        }
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    queue->heap[at] = last;
    return true;
}

void sim_queue_close(struct sim_queue *queue)
{
    free(queue->heap);
    *queue = (struct sim_queue){0};
}
