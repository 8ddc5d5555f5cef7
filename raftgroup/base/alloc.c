/* Allocation that aborts when memory is exhausted. */
#include "raftgroup/base/alloc.h"

#include "raftgroup/base/assert.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *fl_xmalloc(size_t size)
{
    void *p = malloc(size != 0 ? size : 1);

    if (p == NULL) {
        fl_fatal("out of memory: %zu bytes", size);
    }
    return p;
}

void *fl_xcalloc(size_t count, size_t size)
{
    void *p = calloc(count != 0 ? count : 1, size != 0 ? size : 1);

    if (p == NULL) {
        fl_fatal("out of memory: %zu elements of %zu bytes", count, size);
    }
    return p;
}

void *fl_xrealloc(void *old, size_t count, size_t size)
{
    size_t bytes = 0;
    void *p = NULL;

    if (!__builtin_mul_overflow(count, size, &bytes)) {
        p = realloc(old, bytes != 0 ? bytes : 1);
    }
    if (p == NULL) {
        fl_fatal("out of memory: %zu elements of %zu bytes", count, size);
    }
    return p;
}

void *fl_xmemdup(const void *data, size_t size)
{
    void *p = fl_xmalloc(size);

    if (size != 0) {
        memcpy(p, data, size);
    }
    return p;
}

char *fl_xstrdup(const char *text)
{
    return fl_xmemdup(text, strlen(text) + 1);
}

void fl_grow(void *array_pointer, size_t *capacity, size_t need, size_t size)
{
    void *array;
    size_t grown = *capacity < 8 ? 8 : *capacity;

    if (need <= *capacity) {
        return;
    }
    while (grown < need) {
        fl_assert(grown <= SIZE_MAX / 2);
        grown *= 2;
    }
    /* The pointer is copied as bytes so that any element type may be grown without aliasing. */
    memcpy(&array, array_pointer, sizeof(array));
    array = fl_xrealloc(array, grown, size);
    memcpy(array_pointer, &array, sizeof(array));
    *capacity = grown;
}
