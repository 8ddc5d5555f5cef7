/* Making and publishing views: for the thread that gathers them, and for fakes in tests.
 *
 * Owner: the maker of a view until it is published. Lifetime: until the last node_view_release.
 * Threads: the maker's until the view is published, then nobody writes; a slot may be used by any.
 */
#ifndef NODE_VIEW_INTERNAL_H
#define NODE_VIEW_INTERNAL_H

#include "node/view.h"

#include <pthread.h>

/* The newest view: written by one publisher, taken by any reader. */
struct node_view_slot {
    struct {
        pthread_mutex_t lock;
        struct node_view *view; /* holds one reference */
    } shared;
};

/* An empty view, one reference. Every pointer put into it must come from the fl_x* allocators, the
 * bytes of start and end as well (NULL when empty); the last release frees them all. */
struct node_view *node__view_create(void);
/* One more reference; returns `view`. */
struct node_view *node__view_acquire(struct node_view *view);

/* By group id, for qsort and bsearch over groups. */
int node__group_view_compare(const void *a, const void *b);

/* A slot holding an empty view. */
void node__view_slot_init(struct node_view_slot *slot);
/* Takes the caller's reference; readers get this view from now on. */
void node__view_slot_publish(struct node_view_slot *slot, struct node_view *view);
/* A new reference to the newest view, never NULL. */
struct node_view *node__view_slot_acquire(struct node_view_slot *slot);
void node__view_slot_close(struct node_view_slot *slot);

#endif
