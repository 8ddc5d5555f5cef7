/* Logs of entries with a hash chain. See log.h. */
#include "tests/sim/log.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"

#include <stdlib.h>
#include <string.h>

raft_term sim_log_term(const struct sim_log *log, raft_index index)
{
    const struct sim_entry *entry = sim_log_get(log, index);

    if (entry != NULL) {
        return entry->term;
    }
    return index == log->base ? log->base_term : 0;
}

uint64_t sim_log_chain(const struct sim_log *log, raft_index index)
{
    const struct sim_entry *entry = sim_log_get(log, index);

    if (entry != NULL) {
        return entry->chain;
    }
    return index == log->base ? log->base_chain : 0;
}

void sim_log_append(struct sim_log *log, struct sim_entry entry)
{
    uint64_t chain = sim_log_chain(log, sim_log_last(log));

    chain = sim_mix(chain, entry.term);
    entry.chain = sim_mix(chain, (uint64_t)entry.payload << 8 | entry.type) | 1;
    fl_grow(&log->at, &log->capacity, log->skip + log->count + 1, sizeof(*log->at));
    log->at[log->skip + log->count++] = entry;
}

void sim_log_cut(struct sim_log *log, raft_index index)
{
    if (index <= sim_log_last(log)) {
        fl_assert(index > log->base);
        log->count = (size_t)(index - log->base - 1);
    }
}

void sim_log_compact(struct sim_log *log, raft_index index)
{
    size_t gone = (size_t)(index - log->base);

    if (index <= log->base) {
        return;
    }
    fl_assert(index <= sim_log_last(log));
    log->base_term = sim_log_term(log, index);
    log->base_chain = sim_log_chain(log, index);
    log->base = index;
    log->skip += gone;
    log->count -= gone;
    if (log->skip > log->count + 64) {
        memmove(log->at, log->at + log->skip, log->count * sizeof(*log->at));
        log->skip = 0;
    }
}

void sim_log_reset(struct sim_log *log, raft_index base, raft_term term, uint64_t chain)
{
    log->base = base;
    log->base_term = term;
    log->base_chain = chain;
    log->skip = 0;
    log->count = 0;
}

void sim_log_copy(struct sim_log *to, const struct sim_log *from)
{
    sim_log_reset(to, from->base, from->base_term, from->base_chain);
    fl_grow(&to->at, &to->capacity, from->count + 1, sizeof(*to->at));
    if (from->count != 0) {
        memcpy(to->at, from->at + from->skip, from->count * sizeof(*to->at));
    }
    to->count = from->count;
}

void sim_log_close(struct sim_log *log)
{
    free(log->at);
    *log = (struct sim_log){0};
}
