/* A hash table under a read-write lock: compaction asks once per row it rewrites, publishing is
 * rare. */
#include "node/log_reclaim.h"

#include "node/hash.h"
#include "node/log_format.h"
#include "raftgroup/base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>

struct reclaim_group {
    UT_hash_handle hh;
    uint64_t group;
    uint64_t incarnation;
    raft_index truncated;
};

struct node_log_reclaim {
    _Atomic uint64_t dropped; /* relaxed: a counter orders nothing */
    struct {
        pthread_rwlock_t lock;
        struct reclaim_group *groups;
    } shared;
};

struct node_log_reclaim *node_log_reclaim_create(void)
{
    struct node_log_reclaim *reclaim = fl_xcalloc(1, sizeof(*reclaim));

    (void)pthread_rwlock_init(&reclaim->shared.lock, NULL);
    return reclaim;
}

void node_log_reclaim_destroy(struct node_log_reclaim *reclaim)
{
    struct reclaim_group *group;

    if (reclaim == NULL) {
        return;
    }
    pthread_rwlock_wrlock(&reclaim->shared.lock); /* orders us behind compaction's last look */
    group = reclaim->shared.groups;
    HASH_CLEAR(hh, reclaim->shared.groups);
    pthread_rwlock_unlock(&reclaim->shared.lock);
    while (group != NULL) {
        struct reclaim_group *next = group->hh.next;

        free(group);
        group = next;
    }
    (void)pthread_rwlock_destroy(&reclaim->shared.lock);
    free(reclaim);
}

void node_log_reclaim_publish(struct node_log_reclaim *reclaim,
                              uint64_t group,
                              uint64_t incarnation,
                              raft_index truncated)
{
    struct reclaim_group *row;

    pthread_rwlock_wrlock(&reclaim->shared.lock);
    HASH_FIND(hh, reclaim->shared.groups, &group, sizeof(group), row);
    if (row == NULL) {
        row = fl_xcalloc(1, sizeof(*row));
        row->group = group;
        HASH_ADD(hh, reclaim->shared.groups, group, sizeof(group), row);
    }
    if (incarnation > row->incarnation) {
        row->incarnation = incarnation;
        row->truncated = truncated;
    } else if (incarnation == row->incarnation && truncated > row->truncated) {
        row->truncated = truncated;
    }
    pthread_rwlock_unlock(&reclaim->shared.lock);
}

/* True when every entry of the record is dead. A record that cannot be read is kept: it is for the
 * checks at open to say so, not for compaction to hide it. */
static bool is_dead(const struct reclaim_group *row,
                    uint64_t incarnation,
                    struct fl_bytes key,
                    struct fl_bytes value)
{
    struct node_log_record record;

    if (incarnation != row->incarnation) {
        return incarnation < row->incarnation;
    }
    return node_log_record_open(key, value, &record) == FL_OK && record.last <= row->truncated;
}

bool node_log_reclaim_drop(void *context, struct fl_bytes key, struct fl_bytes value)
{
    struct node_log_reclaim *reclaim = context;
    struct reclaim_group *row;
    uint64_t group;
    uint64_t incarnation;
    raft_index first;
    bool dead;

    if (!node_log_key_parse_entries(key, &group, &incarnation, &first)) {
        return false;
    }
    pthread_rwlock_rdlock(&reclaim->shared.lock);
    HASH_FIND(hh, reclaim->shared.groups, &group, sizeof(group), row);
    dead = row != NULL && is_dead(row, incarnation, key, value);
    pthread_rwlock_unlock(&reclaim->shared.lock);
    if (dead) {
        atomic_fetch_add_explicit(&reclaim->dropped, 1, memory_order_relaxed);
    }
    return dead;
}

uint64_t node_log_reclaim_dropped(const struct node_log_reclaim *reclaim)
{
    return atomic_load_explicit(&reclaim->dropped, memory_order_relaxed);
}
