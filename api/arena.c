/* A bump allocator over an embedded piece and doubling chunks. */
#include "api/arena.h"

#include "raftgroup/base/alloc.h"

#include <stdlib.h>

#define ALIGNMENT   ((size_t)16)
#define CHUNK_BYTES ((size_t)16 * 1024)

struct api_arena_chunk {
    struct api_arena_chunk *next;
    _Alignas(16) uint8_t data[];
};

static void *allocate(void *context, size_t size)
{
    return api_arena_take(context, size);
}

/* Single pieces are never freed: the arena goes as a whole. */
static void release(void *context, void *pointer)
{
    (void)context;
    (void)pointer;
}

void api_arena_init(struct api_arena *arena)
{
    arena->chunks = NULL;
    arena->next = arena->first;
    arena->left = sizeof arena->first;
    arena->allocator =
        (ProtobufCAllocator){.alloc = allocate, .free = release, .allocator_data = arena};
}

static void *take_chunk(struct api_arena *arena, size_t size)
{
    size_t bytes = size > CHUNK_BYTES / 4 ? size : CHUNK_BYTES;
    struct api_arena_chunk *chunk = fl_xmalloc(sizeof *chunk + bytes);

    chunk->next = arena->chunks;
    arena->chunks = chunk;
    if (bytes > size) { /* a chunk of its own leaves the piece in use alone */
        arena->next = chunk->data + size;
        arena->left = bytes - size;
    }
    return chunk->data;
}

void *api_arena_take(struct api_arena *arena, size_t size)
{
    size_t rounded = (size + (ALIGNMENT - 1)) & ~(ALIGNMENT - 1);
    void *taken = arena->next;

    if (rounded > arena->left) {
        return take_chunk(arena, rounded);
    }
    arena->next += rounded;
    arena->left -= rounded;
    return taken;
}

void api_arena_close(struct api_arena *arena)
{
    while (arena->chunks != NULL) {
        struct api_arena_chunk *chunk = arena->chunks;

        arena->chunks = chunk->next;
        free(chunk);
    }
}

void api_arena_reset(struct api_arena *arena)
{
    api_arena_close(arena);
    arena->next = arena->first;
    arena->left = sizeof arena->first;
}
