/* The shape of a log: term runs. */
#include "raftgroup/log.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/bugs.h"

#include <stdlib.h>
#include <string.h>

static void run_push(struct raft_log *log, raft_index first, raft_term term)
{
    if (log->nruns == log->capacity) {
        uint32_t capacity = log->capacity * 2;
        struct raft_run *old = log->runs == log->inline_runs ? NULL : log->runs;
        struct raft_run *grown = fl_xrealloc(old, capacity, sizeof(*grown));

        if (old == NULL) {
            memcpy(grown, log->inline_runs, sizeof(log->inline_runs));
        }
        log->runs = grown;
        log->capacity = capacity;
    }
    log->runs[log->nruns++] = (struct raft_run){.first = first, .term = term};
}

/* Goes back to the inline array when it suffices: a settled group holds no heap. */
static void runs_shrink(struct raft_log *log)
{
    if (log->runs == log->inline_runs || log->nruns > RAFT_LOG_RUNS_INLINE) {
        return;
    }
    memcpy(log->inline_runs, log->runs, log->nruns * sizeof(log->runs[0]));
    free(log->runs);
    log->runs = log->inline_runs;
    log->capacity = RAFT_LOG_RUNS_INLINE;
}

void raft__log_init(struct raft_log *log, raft_index snap_index, raft_term snap_term)
{
    log->snap_index = snap_index;
    log->snap_term = snap_term;
    log->last = snap_index;
    log->runs = log->inline_runs;
    log->nruns = 0;
    log->capacity = RAFT_LOG_RUNS_INLINE;
}

void raft__log_close(struct raft_log *log)
{
    if (log->runs != log->inline_runs) {
        free(log->runs);
    }
    raft__log_init(log, 0, 0);
}

size_t raft__log_heap_bytes(const struct raft_log *log)
{
    return log->runs == log->inline_runs ? 0 : log->capacity * sizeof(log->runs[0]);
}

raft_term raft__log_term(const struct raft_log *log, raft_index index)
{
    if (index == log->snap_index) {
        return log->snap_term;
    }
    if (index < log->snap_index || index > log->last) {
        return 0;
    }
    for (uint32_t i = log->nruns; i > 0; i--) {
        if (log->runs[i - 1].first <= index) {
            return log->runs[i - 1].term;
        }
    }
    return 0;
}

bool raft__log_matches(const struct raft_log *log, raft_index index, raft_term term)
{
    if (index < log->snap_index || index > log->last) {
        return false;
    }
    return raft__log_term(log, index) == term;
}

raft_term raft__log_last_term(const struct raft_log *log)
{
    return log->nruns > 0 ? log->runs[log->nruns - 1].term : RG_BUG(E7) ? 0 : log->snap_term;
}

bool raft__log_up_to_date(const struct raft_log *log, raft_term term, raft_index index)
{
    raft_term mine = raft__log_last_term(log);

    return (term > mine && !RG_BUG(E6)) ||
           ((term == mine || RG_BUG(E6)) && index >= log->last + RG_BUG(E6_EQUAL));
}

raft_index raft__log_find_by_term(const struct raft_log *log,
                                  raft_index index,
                                  raft_term term,
                                  raft_term *term_out)
{
    *term_out = 0;
    if (index > log->last || index < log->snap_index) {
        return index;
    }
    for (uint32_t i = log->nruns; i > 0; i--) {
        const struct raft_run *run = &log->runs[i - 1];

        if (run->first > index) {
            continue;
        }
        if (run->term <= term) {
            *term_out = run->term;
            return index;
        }
        index = run->first - 1;
    }
    if (log->snap_term <= term) {
        *term_out = log->snap_term;
        return log->snap_index;
    }
    return log->snap_index > 0 ? log->snap_index - 1 : 0;
}

void raft__log_append(struct raft_log *log, raft_term term, uint64_t n)
{
    raft_term newest = raft__log_last_term(log);

    fl_assert(n > 0 && term >= newest && term > 0);
    if (log->nruns == 0 || term > newest) {
        run_push(log, log->last + 1, term);
    }
    log->last += n;
}

void raft__log_truncate(struct raft_log *log, raft_index from)
{
    fl_assert(from > log->snap_index);
    if (from > log->last) {
        return;
    }
    while (log->nruns > 0 && log->runs[log->nruns - 1].first >= from) {
        log->nruns--;
    }
    log->last = from - 1;
    runs_shrink(log);
}

void raft__log_compact(struct raft_log *log, raft_index upto)
{
    uint32_t keep = 0;

    fl_assert(upto >= log->snap_index && upto <= log->last);
    log->snap_term = raft__log_term(log, upto);
    log->snap_index = upto;
    while (keep < log->nruns &&
           (keep + 1 < log->nruns ? log->runs[keep + 1].first <= upto + 1 : log->last == upto)) {
        keep++;
    }
    memmove(log->runs, log->runs + keep, (log->nruns - keep) * sizeof(log->runs[0]));
    log->nruns -= keep;
    if (log->nruns > 0) {
        log->runs[0].first = upto + 1;
    }
    runs_shrink(log);
}

void raft__log_restore(struct raft_log *log, raft_index snap_index, raft_term snap_term)
{
    raft__log_close(log);
    raft__log_init(log, snap_index, snap_term);
}
