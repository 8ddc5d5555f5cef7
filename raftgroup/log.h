/* The shape of a group's log: which term every index has. No payloads, no types.
 *
 * Owner:    struct raft_group.
 * Lifetime: raft__log_init .. raft__log_close; a few inline runs, heap beyond.
 * Threads:  the group's.
 *
 *      snap_index        first                                  last
 *          |  compacted    |----run----|----run-------|--run------|
 *          snap_term        term 3      term 4         term 7
 *
 * A log of any length costs one run per change of term, so term lookup is a walk from the newest
 * run and becoming leader scans nothing (P6). */
#ifndef RAFTGROUP_LOG_H
#define RAFTGROUP_LOG_H

#include "raftgroup/raft.h"

enum { RAFT_LOG_RUNS_INLINE = 4 };

struct raft_log {
    raft_index snap_index; /* everything up to here is compacted */
    raft_term snap_term;   /* term at snap_index; 0 only for snap_index 0 */
    raft_index last;       /* >= snap_index */
    struct raft_run *runs; /* ascending first and term; runs[0].first == snap_index + 1 */
    uint32_t nruns;        /* 0 iff last == snap_index */
    uint32_t capacity;
    struct raft_run inline_runs[RAFT_LOG_RUNS_INLINE];
};

/* An empty log behind a snapshot (0, 0 = from the start). */
void raft__log_init(struct raft_log *log, raft_index snap_index, raft_term snap_term);
void raft__log_close(struct raft_log *log);
size_t raft__log_heap_bytes(const struct raft_log *log);

/* Term at index, 0 when unknown. index 0 and a never compacted start have term 0. */
raft_term raft__log_term(const struct raft_log *log, raft_index index);
/* The log reaches to `index` and has that term there (E7: the snapshot's own position counts). */
bool raft__log_matches(const struct raft_log *log, raft_index index, raft_term term);
raft_term raft__log_last_term(const struct raft_log *log);
/* A log ending in (term, index) is at least as complete as this one: thesis 3.6.1, E6. */
bool raft__log_up_to_date(const struct raft_log *log, raft_term term, raft_index index);
/* Greatest i <= index whose term is <= term; *term_out = its term. Beyond the known range the
 * answer is that position itself with term 0. Both sides of a rejected append use it, so at most
 * one probe per term is needed (thesis 5.3, C14). */
raft_index raft__log_find_by_term(const struct raft_log *log,
                                  raft_index index,
                                  raft_term term,
                                  raft_term *term_out);

/* Appends n > 0 entries of one term, not lower than the last one. */
void raft__log_append(struct raft_log *log, raft_term term, uint64_t n);
/* Drops every entry >= from; snap_index < from. */
void raft__log_truncate(struct raft_log *log, raft_index from);
/* Drops every entry <= upto; snap_index <= upto <= last. */
void raft__log_compact(struct raft_log *log, raft_index upto);
/* Everything becomes a snapshot. */
void raft__log_restore(struct raft_log *log, raft_index snap_index, raft_term snap_term);

#endif
