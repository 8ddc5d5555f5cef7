/* A binary heap of events, by time and order of posting. */
#include "tests/node/oracle_sim_queue.h"

#include "raftgroup/base/alloc.h"

static bool event_before(const struct event *a, const struct event *b)
{
    return a->time != b->time ? a->time < b->time : a->order < b->order;
}

static void heap_swap(struct event_queue *queue, size_t a, size_t b)
{
    struct event kept = queue->heap[a];

    queue->heap[a] = queue->heap[b];
    queue->heap[b] = kept;
}

void event_queue_post(struct event_queue *queue, uint64_t time, const struct event *event)
{
    size_t at = queue->count;

    fl_grow(&queue->heap, &queue->capacity, at + 1, sizeof(*event));
    queue->heap[at] = *event;
    queue->heap[at].time = time;
    queue->heap[at].order = queue->order++;
    queue->count++;
    while (at != 0 && event_before(&queue->heap[at], &queue->heap[(at - 1) / 2])) {
        heap_swap(queue, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

const struct event *event_queue_first(const struct event_queue *queue)
{
    return &queue->heap[0];
}

struct event event_queue_take(struct event_queue *queue)
{
    struct event first = queue->heap[0];
    size_t at = 0;

    queue->heap[0] = queue->heap[--queue->count];
    for (;;) {
        size_t least = at;

        for (size_t child = 2 * at + 1; child <= 2 * at + 2; child++) {
            if (child < queue->count && event_before(&queue->heap[child], &queue->heap[least])) {
                least = child;
            }
        }
        if (least == at) {
            return first;
        }
        heap_swap(queue, at, least);
        at = least;
    }
}

void event_queue_close(struct event_queue *queue)
{
    free(queue->heap);
    *queue = (struct event_queue){0};
}
