/* Intrusive doubly linked list.
 *
 * Owner: whoever embeds the links. Lifetime: of the embedding structs.
 * Threads: none of its own; the owner of the list is the owner of the links. */
#ifndef RAFTGROUP_BASE_LIST_H
#define RAFTGROUP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

/* The struct of `type` whose `member` is at `pointer`. */
#define fl_container_of(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* A head points at itself when empty; a link not in a list points at itself after fl_list_init. */
struct fl_list {
    struct fl_list *next;
    struct fl_list *prev;
};

#define FL_LIST_FOREACH(link, head)                                                                \
    for (struct fl_list *link = (head)->next; link != (head); link = link->next)

/* Allows removal of `link` in the body. */
#define FL_LIST_FOREACH_SAFE(link, head)                                                           \
    for (struct fl_list *link = (head)->next, *link##_next = link->next; link != (head);           \
         link = link##_next, link##_next = link->next)

static inline void fl_list_init(struct fl_list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool fl_list_empty(const struct fl_list *list)
{
    return list->next == list;
}

static inline void fl_list_push_back(struct fl_list *head, struct fl_list *link)
{
    link->prev = head->prev;
    link->next = head;
    head->prev->next = link;
    head->prev = link;
}

/* Takes `link` out of its list and leaves it pointing at itself. */
static inline void fl_list_remove(struct fl_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    fl_list_init(link);
}

/* Moves every link of `from` to the end of `to`. */
static inline void fl_list_move_all(struct fl_list *to, struct fl_list *from)
{
    if (fl_list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    fl_list_init(from);
}

#endif
