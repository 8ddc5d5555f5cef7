/* Entries of one replica: in memory, on disk, in a message.
 *
 * Owner: the embedding struct. Lifetime: zeroed .. sim_log_close. Threads: one.
 *
 * Every entry carries a hash over itself and all before it, so two logs are equal up to an index
 * exactly when their chains there are: log matching costs one comparison per entry. */
#ifndef TESTS_SIM_LOG_H
#define TESTS_SIM_LOG_H

#include "raftgroup/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_entry {
    raft_term term;
    uint64_t chain;
    uint32_t payload; /* number in the world's table, 0: empty */
    uint32_t len;
    uint8_t type; /* enum raft_ent_type */
};

/* Entries base+1 .. base+count; everything up to `base` is in a snapshot. */
struct sim_log {
    raft_index base;
    raft_term base_term;
    uint64_t base_chain;
    struct sim_entry *at;
    size_t skip; /* slots before the first entry, to be reclaimed */
    size_t count;
    size_t capacity;
};

static inline raft_index sim_log_last(const struct sim_log *log)
{
    return log->base + log->count;
}

/* NULL when the index is not in (base, last]. */
static inline const struct sim_entry *sim_log_get(const struct sim_log *log, raft_index index)
{
    return index > log->base && index <= sim_log_last(log)
               ? &log->at[log->skip + (size_t)(index - log->base - 1)]
               : NULL;
}

/* 0 when the index is not in [base, last]. */
raft_term sim_log_term(const struct sim_log *log, raft_index index);
uint64_t sim_log_chain(const struct sim_log *log, raft_index index);
/* Makes the chain and appends at last + 1. */
void sim_log_append(struct sim_log *log, struct sim_entry entry);
/* Forgets every entry from `index` on. */
void sim_log_cut(struct sim_log *log, raft_index index);
/* Forgets every entry up to `index`, which is in the log. */
void sim_log_compact(struct sim_log *log, raft_index index);
/* Everything is in a snapshot. */
void sim_log_reset(struct sim_log *log, raft_index base, raft_term term, uint64_t chain);
void sim_log_copy(struct sim_log *to, const struct sim_log *from);
void sim_log_close(struct sim_log *log);

static inline uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t z = (a ^ (b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2)));

    z = (z ^ (z >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
    return z ^ (z >> 29);
}

#endif
