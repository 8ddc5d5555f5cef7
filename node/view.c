/* Reference counts of views and the slot that publishes the newest one. */
#include "node/view.h"

#include "node/view_internal.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/list.h"

#include <stdatomic.h>
#include <stdlib.h>

/* What node__view_create allocates: the count is nobody's business but this file's. */
struct counted {
    atomic_uint references;
    struct node_view view;
};

static struct counted *counted_of(struct node_view *view)
{
    return fl_container_of(view, struct counted, view);
}

struct node_view *node__view_create(void)
{
    struct counted *counted = fl_xcalloc(1, sizeof *counted);

    atomic_init(&counted->references, 1);
    return &counted->view;
}

struct node_view *node__view_acquire(struct node_view *view)
{
    /* Relaxed: the caller already holds a reference, nothing is read through the new one first. */
    unsigned before =
        atomic_fetch_add_explicit(&counted_of(view)->references, 1, memory_order_relaxed);

    fl_assert(before > 0);
    return view;
}

static void free_bytes(struct fl_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

void node_view_release(struct node_view *view)
{
    struct counted *counted = counted_of(view);

    /* Release and acquire: every reader is done before the last one frees. */
    if (atomic_fetch_sub_explicit(&counted->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < view->member_count; i++) {
        free(view->members[i].name);
        free(view->members[i].peer_urls);
        free(view->members[i].client_urls);
        free(view->members[i].locality);
    }
    for (size_t i = 0; i < view->group_count; i++) {
        free_bytes(view->groups[i].start);
        free_bytes(view->groups[i].end);
    }
    free(view->members);
    free(view->groups);
    free(counted);
}

int node__group_view_compare(const void *a, const void *b)
{
    uint64_t x = ((const struct node_group_view *)a)->group_id;
    uint64_t y = ((const struct node_group_view *)b)->group_id;

    return (x > y) - (x < y);
}

void node__view_slot_init(struct node_view_slot *slot)
{
    (void)pthread_mutex_init(&slot->shared.lock, NULL);
    slot->shared.view = node__view_create();
}

void node__view_slot_publish(struct node_view_slot *slot, struct node_view *view)
{
    struct node_view *old;

    (void)pthread_mutex_lock(&slot->shared.lock);
    old = slot->shared.view;
    slot->shared.view = view;
    (void)pthread_mutex_unlock(&slot->shared.lock);
    node_view_release(old);
}

struct node_view *node__view_slot_acquire(struct node_view_slot *slot)
{
    struct node_view *view;

    (void)pthread_mutex_lock(&slot->shared.lock);
    view = node__view_acquire(slot->shared.view);
    (void)pthread_mutex_unlock(&slot->shared.lock);
    return view;
}

void node__view_slot_close(struct node_view_slot *slot)
{
    node_view_release(slot->shared.view);
    (void)pthread_mutex_destroy(&slot->shared.lock);
}
