/* Bells held by a thread. */
#include "node/bell.h"

#include "raftgroup/base/assert.h"

#include <stddef.h>

/* As many consumers as one turn usually wakes; more are woken at once. */
#define HELD_MAX 8

static _Thread_local struct {
    unsigned depth; /* of hold */
    size_t count;
    struct {
        node_bell_fn *ring;
        void *consumer;
    } held[HELD_MAX];
} bells;

void node_bell(node_bell_fn *ring, void *consumer)
{
    if (bells.depth == 0 || bells.count == HELD_MAX) {
        ring(consumer);
        return;
    }
    bells.held[bells.count].ring = ring;
    bells.held[bells.count++].consumer = consumer;
}

void node_bells_hold(void)
{
    bells.depth++;
}

void node_bells_ring(void)
{
    for (size_t i = 0; i < bells.count; i++) {
        bells.held[i].ring(bells.held[i].consumer);
    }
    bells.count = 0;
}

void node_bells_release(void)
{
    fl_assert(bells.depth > 0);
    bells.depth--;
    if (bells.depth == 0) {
        node_bells_ring();
    }
}
