/* Flow control towards one member. */
#include "raftgroup/progress.h"

#include "raftgroup/base/alloc.h"
#include "raftgroup/base/assert.h"
#include "raftgroup/bugs.h"

#include <stdlib.h>
#include <string.h>

enum { RING_INITIAL = 4 };

void raft__progress_init(struct raft_progress *p, raft_index match, raft_index next)
{
    *p = (struct raft_progress){.match = match, .next = next, .state = RAFT_PROBE};
}

void raft__progress_close(struct raft_progress *p)
{
    free(p->ring);
    p->ring = NULL;
}

void raft__progress_relax(struct raft_progress *p)
{
    if (p->count == 0) {
        raft__progress_close(p);
        p->capacity = 0;
        p->start = 0;
    }
}

/* The ring and its byte counter empty together (C20). */
static void ring_reset(struct raft_progress *p)
{
    p->start = 0;
    p->count = 0;
    p->inflight_bytes = RG_BUG(C20) ? p->inflight_bytes : 0;
}

static void enter(struct raft_progress *p, enum raft_peer_state state)
{
    p->state = (uint8_t)state;
    p->paused = false;
    p->fetching = false;
    p->snapshot = 0;
    p->due = 0;
    p->timed = 0;
    ring_reset(p);
}

void raft__progress_become_probe(struct raft_progress *p)
{
    raft_index next = p->match + 1;

    /* After a snapshot, probe behind it: it was either installed or is asked for again (N11). */
    if (p->state == RAFT_SNAPSHOT && p->snapshot + 1 > next) {
        next = p->snapshot + 1;
    }
    enter(p, RAFT_PROBE);
    p->next = next;
    p->sent_commit = p->sent_commit < next - 1 ? p->sent_commit : next - 1;
}

void raft__progress_become_replicate(struct raft_progress *p)
{
    enter(p, RAFT_REPLICATE);
    p->next = p->match + 1;
    p->sent_commit = p->sent_commit < p->match ? p->sent_commit : p->match;
}

void raft__progress_become_snapshot(struct raft_progress *p, raft_index snapshot)
{
    enter(p, RAFT_SNAPSHOT);
    p->snapshot = snapshot;
    p->next = snapshot + 1;
    p->sent_commit = snapshot;
}

bool raft__progress_is_paused(const struct raft_progress *p)
{
    return p->state == RAFT_SNAPSHOT || p->paused;
}

bool raft__progress_is_full(const struct raft_progress *p, const struct raft_window *window)
{
    return p->count >= window->messages ||
           (window->bytes != 0 && p->inflight_bytes >= window->bytes);
}

static void ring_push(struct raft_progress *p, raft_index last, uint64_t bytes)
{
    if (p->count == p->capacity) {
        uint32_t capacity = p->capacity == 0 ? RING_INITIAL : p->capacity * 2;
        struct raft_inflight *grown = fl_xcalloc(capacity, sizeof(*grown));

        for (uint32_t i = 0; i < p->count; i++) {
            grown[i] = p->ring[(p->start + i) % p->capacity];
        }
        free(p->ring);
        p->ring = grown;
        p->capacity = capacity;
        p->start = 0;
    }
    p->ring[(p->start + p->count) % p->capacity] =
        (struct raft_inflight){.last = last, .bytes = bytes};
    p->count++;
    p->inflight_bytes += bytes;
}

void raft__progress_sent(struct raft_progress *p,
                         uint32_t n,
                         uint64_t bytes,
                         const struct raft_window *window)
{
    fl_assert(p->state != RAFT_SNAPSHOT);
    p->owed = false;
    if (p->state == RAFT_PROBE) {
        p->paused = p->paused || n > 0;
        return;
    }
    if (n > 0) {
        p->next += n;
        ring_push(p, p->next - 1, bytes);
    }
    /* The message that fills the window is a probe too: without an answer nothing more is sent, and
     * a heartbeat answer lets one empty message through (C19). */
    p->paused = raft__progress_is_full(p, window);
}

bool raft__progress_ack(struct raft_progress *p, raft_index index)
{
    if (index <= p->match && !RG_BUG(C6)) {
        return false;
    }
    p->match = index;
    p->next = p->next > index + 1 ? p->next : index + 1;
    p->paused = false;
    return true;
}

void raft__progress_free_to(struct raft_progress *p, raft_index index)
{
    while (p->count > 0 && p->ring[p->start].last <= index) {
        p->inflight_bytes -= p->ring[p->start].bytes;
        p->start = (p->start + 1) % p->capacity;
        p->count--;
    }
}

bool raft__progress_reject(struct raft_progress *p, raft_index index, raft_index hint)
{
    raft_index next;

    if (p->state == RAFT_REPLICATE) {
        /* The whole pipeline behind a lost message is refused; only news count. */
        if (index <= p->match) {
            return false;
        }
        next = p->match + 1;
    } else {
        if (p->next != index + 1) {
            return false;
        }
        next = index < hint + 1 ? index : hint + 1;
        next = next > p->match + 1 || RG_BUG(C7) ? next : p->match + 1;
        p->paused = false;
    }
    p->next = next;
    p->sent_commit = p->sent_commit < next - 1 ? p->sent_commit : next - 1;
    return true;
}

struct raft_progress *raft__progress_remap(struct raft_progress *old_slab,
                                           const struct raft_conf *conf_old,
                                           const struct raft_conf *conf_new,
                                           raft_index last)
{
    struct raft_progress *slab = NULL;

    if (conf_new->n > 0) {
        slab = fl_xcalloc(conf_new->n, sizeof(*slab));
    }
    for (int i = 0; i < conf_new->n; i++) {
        int was = old_slab != NULL ? raft_conf_slot(conf_old, conf_new->id[i]) : -1;

        if (was >= 0) {
            slab[i] = old_slab[was];
            old_slab[was].ring = NULL;
        } else {
            raft__progress_init(&slab[i], 0, last > 0 ? last : 1);
        }
    }
    for (int i = 0; old_slab != NULL && i < conf_old->n; i++) {
        raft__progress_close(&old_slab[i]);
    }
    free(old_slab);
    return slab;
}
