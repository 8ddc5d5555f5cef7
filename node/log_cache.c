/* A ring indexed by log index: append, truncate and look-up are a mask away. An empty window holds
 * no memory, so an idle group costs the struct alone. */
#include "node/log_cache.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/base/list.h"

enum { RING_MIN = 16 };

struct node_log_cache_pool {
    uint64_t max_bytes;
    uint64_t bytes;     /* sum over the caches */
    struct fl_list lru; /* caches with a window, least recently appended first */
    size_t cache_count;
};

struct node_log_cache {
    struct node_log_cache_pool *pool;
    struct fl_list lru;          /* in the pool's list while the window is not empty */
    struct node_log_entry *ring; /* entry i at ring[i & (capacity - 1)]; NULL when empty */
    size_t capacity;             /* 0 or a power of two >= next - first */
    raft_index first;            /* oldest in the window */
    raft_index next;             /* newest + 1; first <= next */
    raft_index keep_from;        /* entries from here on must stay */
    uint64_t bytes;              /* of window and lent entries */
    struct {
        struct node_log_entry *entries;
        raft_index first;
        raft_index next; /* first == next: nothing lent */
    } lent;
};

static uint64_t entry_bytes(const struct node_log_entry *entry)
{
    return entry->payload->len + NODE_LOG_CACHE_ENTRY_BYTES;
}

static void count_bytes(struct node_log_cache *cache, const struct node_log_entry *entry)
{
    cache->bytes += entry_bytes(entry);
    cache->pool->bytes += entry_bytes(entry);
}

/* Releases one entry's payload and its share of the budget. */
static void drop(struct node_log_cache *cache, struct node_log_entry *entry)
{
    uint64_t bytes = entry_bytes(entry);

    fl_assert(cache->bytes >= bytes && cache->pool->bytes >= bytes);
    cache->bytes -= bytes;
    cache->pool->bytes -= bytes;
    fl_buf_release(entry->payload);
    entry->payload = NULL;
}

static struct node_log_entry *slot(const struct node_log_cache *cache, raft_index index)
{
    return &cache->ring[index & (cache->capacity - 1)];
}

/* Gives the ring back once the window is empty. */
static void release_if_empty(struct node_log_cache *cache)
{
    if (cache->first == cache->next && cache->ring != NULL) {
        free(cache->ring);
        cache->ring = NULL;
        cache->capacity = 0;
        fl_list_remove(&cache->lru);
    }
}

static void drop_oldest(struct node_log_cache *cache, raft_index upto)
{
    while (cache->first < cache->next && cache->first <= upto) {
        drop(cache, slot(cache, cache->first));
        cache->first++;
    }
    release_if_empty(cache);
}

static void drop_newest(struct node_log_cache *cache, raft_index from)
{
    while (cache->next > cache->first && cache->next > from) {
        cache->next--;
        drop(cache, slot(cache, cache->next));
    }
    release_if_empty(cache);
}

/* --- pool ------------------------------------------------------------------------------------- */

struct node_log_cache_pool *node_log_cache_pool_create(uint64_t max_bytes)
{
    struct node_log_cache_pool *pool = fl_xcalloc(1, sizeof(*pool));

    pool->max_bytes = max_bytes;
    fl_list_init(&pool->lru);
    return pool;
}

void node_log_cache_pool_destroy(struct node_log_cache_pool *pool)
{
    fl_assert(pool->cache_count == 0 && pool->bytes == 0);
    free(pool);
}

uint64_t node_log_cache_pool_bytes(const struct node_log_cache_pool *pool)
{
    return pool->bytes;
}

void node_log_cache_pool_trim(struct node_log_cache_pool *pool)
{
    if (pool->bytes <= pool->max_bytes) {
        return;
    }
    FL_LIST_FOREACH_SAFE (link, &pool->lru) {
        struct node_log_cache *cache = fl_container_of(link, struct node_log_cache, lru);

        while (pool->bytes > pool->max_bytes && cache->first < cache->next &&
               cache->first < cache->keep_from) {
            drop(cache, slot(cache, cache->first));
            cache->first++;
        }
        release_if_empty(cache);
        if (pool->bytes <= pool->max_bytes) {
            return;
        }
    }
}

/* --- cache ------------------------------------------------------------------------------------ */

struct node_log_cache *node_log_cache_create(struct node_log_cache_pool *pool, raft_index next)
{
    struct node_log_cache *cache = fl_xcalloc(1, sizeof(*cache));

    cache->pool = pool;
    cache->first = next;
    cache->next = next;
    fl_list_init(&cache->lru);
    pool->cache_count++;
    return cache;
}

void node_log_cache_destroy(struct node_log_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    node_log_cache_reset(cache, 0);
    fl_assert(cache->bytes == 0);
    cache->pool->cache_count--;
    free(cache);
}

/* Moves the window into a ring twice as large; the mask changes, so every entry finds a new place.
 */
static void grow(struct node_log_cache *cache)
{
    size_t capacity = cache->capacity != 0 ? cache->capacity * 2 : RING_MIN;
    struct node_log_entry *ring = fl_xcalloc(capacity, sizeof(*ring));

    for (raft_index i = cache->first; i < cache->next; i++) {
        ring[i & (capacity - 1)] = *slot(cache, i);
    }
    free(cache->ring);
    cache->ring = ring;
    cache->capacity = capacity;
}

void node_log_cache_append(struct node_log_cache *cache,
                           raft_index index,
                           raft_term term,
                           uint8_t type,
                           struct fl_buf *payload)
{
    struct node_log_entry *entry;

    if (index < cache->next) {
        node_log_cache_truncate_from(cache, index);
    }
    if (index != cache->next) {
        node_log_cache_reset(cache, index);
    }
    if (cache->next - cache->first == cache->capacity) {
        grow(cache);
    }
    entry = slot(cache, index);
    entry->term = term;
    entry->type = type;
    entry->payload = payload != NULL ? fl_buf_acquire(payload) : fl_buf_create(0);
    count_bytes(cache, entry);
    cache->next = index + 1;
    fl_list_remove(&cache->lru);
    fl_list_push_back(&cache->pool->lru, &cache->lru);
}

void node_log_cache_truncate_from(struct node_log_cache *cache, raft_index from)
{
    drop_newest(cache, from);
    if (cache->next > from) { /* the window is empty and ahead of the cut */
        cache->first = from;
        cache->next = from;
    }
    if (cache->lent.next > from) {
        node_log_cache_drop_lent(cache);
    }
}

void node_log_cache_trim_to(struct node_log_cache *cache, raft_index upto)
{
    if (cache->keep_from == 0) {
        return;
    }
    drop_oldest(cache, upto < cache->keep_from ? upto : cache->keep_from - 1);
}

void node_log_cache_set_keep(struct node_log_cache *cache, raft_index from)
{
    cache->keep_from = from;
}

void node_log_cache_reset(struct node_log_cache *cache, raft_index next)
{
    drop_newest(cache, 0);
    node_log_cache_drop_lent(cache);
    cache->first = next;
    cache->next = next;
}

const struct node_log_entry *node_log_cache_get(const struct node_log_cache *cache,
                                                raft_index index)
{
    if (index >= cache->first && index < cache->next) {
        return slot(cache, index);
    }
    if (index >= cache->lent.first && index < cache->lent.next) {
        return &cache->lent.entries[index - cache->lent.first];
    }
    return NULL;
}

uint32_t node_log_cache_fit(const struct node_log_cache *cache,
                            raft_index lo,
                            raft_index hi,
                            uint64_t max_bytes,
                            uint64_t *bytes)
{
    uint32_t count = 0;

    *bytes = 0;
    for (raft_index i = lo; i <= hi && count < UINT32_MAX; i++) {
        const struct node_log_entry *entry = node_log_cache_get(cache, i);

        if (entry == NULL || (count != 0 && entry->payload->len > max_bytes - *bytes)) {
            break;
        }
        *bytes += entry->payload->len;
        count++;
        if (*bytes >= max_bytes) {
            break;
        }
    }
    return count;
}

void node_log_cache_lend(struct node_log_cache *cache,
                         raft_index lo,
                         struct node_log_entry *entries,
                         size_t count)
{
    node_log_cache_drop_lent(cache);
    if (count == 0) {
        return;
    }
    cache->lent.entries = fl_xmemdup(entries, count * sizeof(*entries));
    cache->lent.first = lo;
    cache->lent.next = lo + count;
    for (size_t i = 0; i < count; i++) {
        struct node_log_entry *entry = &cache->lent.entries[i];

        if (entry->payload == NULL) {
            entry->payload = fl_buf_create(0);
        }
        count_bytes(cache, entry);
        entries[i].payload = NULL; /* the reference has moved */
    }
}

void node_log_cache_drop_lent(struct node_log_cache *cache)
{
    for (raft_index i = cache->lent.first; i < cache->lent.next; i++) {
        drop(cache, &cache->lent.entries[i - cache->lent.first]);
    }
    free(cache->lent.entries);
    cache->lent.entries = NULL;
    cache->lent.first = 0;
    cache->lent.next = 0;
}

raft_index node_log_cache_first(const struct node_log_cache *cache)
{
    return cache->first;
}

raft_index node_log_cache_last(const struct node_log_cache *cache)
{
    return cache->next - 1;
}

uint64_t node_log_cache_bytes(const struct node_log_cache *cache)
{
    return cache->bytes;
}
