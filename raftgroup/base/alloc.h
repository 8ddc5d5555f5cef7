/* Allocation that aborts when memory is exhausted.
 *
 * Owner: the caller of an allocation frees it with free(), on the same floor.
 * Lifetime: until free(). Threads: any.
 *
 * Every queue is bounded (limits.h), so the sum of allocations is bounded too; exhaustion is
 * therefore a programmer error or a wrong machine, not an operating error. */
#ifndef RAFTGROUP_BASE_ALLOC_H
#define RAFTGROUP_BASE_ALLOC_H

#include <stddef.h>

/* `size` bytes, uninitialised; never NULL, also for size 0. */
void *fl_xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
/* `count` zeroed elements of `size` bytes; overflow of the product aborts. */
void *fl_xcalloc(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
/* realloc() of `count` elements of `size` bytes; overflow of the product aborts. */
void *fl_xrealloc(void *old, size_t count, size_t size) __attribute__((returns_nonnull));
/* Copy of `size` bytes of `data`. */
void *fl_xmemdup(const void *data, size_t size) __attribute__((malloc, returns_nonnull));
/* Copy of a C string. */
char *fl_xstrdup(const char *text) __attribute__((malloc, returns_nonnull));

/* Grows `*array` (elements of `size` bytes) so that `need` elements fit; capacity doubles. */
void fl_grow(void *array_pointer, size_t *capacity, size_t need, size_t size);

#endif
