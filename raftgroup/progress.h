/* What a leader knows of one member, and how much it may send it.
 *
 * Owner:    the slab of struct raft_group, one per member while leading.
 * Lifetime: raft__progress_init .. raft__progress_close; the window's ring is the only heap.
 * Threads:  the group's.
 *
 *            accepted probe                    ring full -> paused until an ack
 *    PROBE ------------------> REPLICATE        next runs ahead of match
 *     ^ ^  <------------------     |
 *     | |   reject, unreachable    |  next is compacted
 *     | +-------------------+      v
 *     |  failed, finished   +-- SNAPSHOT        nothing is sent until it ends
 *     +--- one message at a time, paused until its answer or a heartbeat answer
 *
 * match < next always (C7); match only grows within one leadership (C6). Nobody outside this file
 * sets `state`. */
#ifndef RAFTGROUP_PROGRESS_H
#define RAFTGROUP_PROGRESS_H

#include "raftgroup/raft.h"

struct raft_inflight { /* one APP with entries that is not acknowledged */
    raft_index last;
    uint64_t bytes;
};

struct raft_progress {
    raft_index match;           /* known to be durable there */
    raft_index next;            /* first index to send, > match */
    raft_index sent_commit;     /* highest commit told, as far as it could use it */
    raft_index snapshot;        /* SNAPSHOT only: position offered */
    uint64_t round;             /* newest read round it answered */
    uint64_t stamp;             /* newest of our own times it answered (lease) */
    uint64_t inflight_bytes;    /* sum over the ring */
    uint64_t due;               /* what may wait leaves then (defer.c); 0 = nothing waits */
    raft_index timed;           /* the answer to this one is being timed, 0 = none */
    uint32_t timed_at;          /* .. since then; low bits of the time */
    uint32_t delay;             /* of its answers to entries, smoothed (defer.c) */
    struct raft_inflight *ring; /* oldest at `start`; NULL until needed */
    uint32_t start;
    uint32_t count;
    uint32_t capacity;
    uint8_t state; /* enum raft_peer_state */
    bool paused;   /* PROBE: waiting for an answer. REPLICATE: the window is full */
    bool owed;     /* send something at the next opportunity even without entries */
    bool fetching; /* payloads are being brought into memory */
};

struct raft_window {   /* limits of the ring */
    uint32_t messages; /* >= 1 */
    uint64_t bytes;    /* 0 = none */
};

void raft__progress_init(struct raft_progress *p, raft_index match, raft_index next);
void raft__progress_close(struct raft_progress *p);
/* Gives the ring's memory back if nothing is in flight. */
void raft__progress_relax(struct raft_progress *p);

void raft__progress_become_probe(struct raft_progress *p);
void raft__progress_become_replicate(struct raft_progress *p);
void raft__progress_become_snapshot(struct raft_progress *p, raft_index snapshot);

/* Nothing may be sent at all. */
bool raft__progress_is_paused(const struct raft_progress *p);
/* The window has no room for entries; an empty message may still go. */
bool raft__progress_is_full(const struct raft_progress *p, const struct raft_window *window);
/* A message with n entries (0 = empty) of `bytes` was sent from `next`. */
void raft__progress_sent(struct raft_progress *p,
                         uint32_t n,
                         uint64_t bytes,
                         const struct raft_window *window);
/* It has everything up to `index`. False when that is no news (late or duplicate answer, C6). */
bool raft__progress_ack(struct raft_progress *p, raft_index index);
/* Frees the part of the window that `index` covers. */
void raft__progress_free_to(struct raft_progress *p, raft_index index);
/* It refused an append at `index`, best guess for a common entry is `hint`. False when the answer
 * is stale; a refusal never advances anything (C8). */
bool raft__progress_reject(struct raft_progress *p, raft_index index, raft_index hint);

/* Moves the slab from one configuration to another: members that stay keep their state, new ones
 * start at next = max(last, 1) with match 0. `old_slab` may be NULL (empty configuration). The
 * result replaces it (heap, conf_new->n elements; NULL when empty). */
struct raft_progress *raft__progress_remap(struct raft_progress *old_slab,
                                           const struct raft_conf *conf_old,
                                           const struct raft_conf *conf_new,
                                           raft_index last);

#endif
