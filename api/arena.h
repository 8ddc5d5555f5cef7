/* Memory of one call: taken piece by piece, given back all at once after the reply.
 *
 * Owner: the call it is embedded in. Lifetime: api_arena_init to api_arena_close; reset between
 * calls keeps the first piece. Threads: whoever holds the call.
 *
 *   first[]   |kv|kv|kv...|      chunk -> chunk -> NULL      (newest chunk first)
 *                ^next  ^end of the piece in use */
#ifndef API_ARENA_H
#define API_ARENA_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

#define API_ARENA_FIRST_BYTES 1024

struct api_arena_chunk;

struct api_arena {
    struct api_arena_chunk *chunks;
    uint8_t *next;
    size_t left;
    ProtobufCAllocator allocator; /* of this arena, for protobuf-c; its free does nothing */
    _Alignas(16) uint8_t first[API_ARENA_FIRST_BYTES];
};

void api_arena_init(struct api_arena *arena);
/* `size` bytes, aligned for any type, uninitialised; never NULL. */
void *api_arena_take(struct api_arena *arena, size_t size);
/* Everything taken is gone; the arena is as after init. */
void api_arena_reset(struct api_arena *arena);
void api_arena_close(struct api_arena *arena);

#endif
