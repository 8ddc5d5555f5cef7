/* Taking entries back: the log and everything that mentions its tail shrink together.
 *
 * Records in flight and the durable mark are clipped in the same step, so an acknowledgement of an
 * overwritten entry can never vouch for the entry that replaced it (D1, D2). */
#include "raftgroup/base/alloc.h"
#include "raftgroup/raft_internal.h"

#include <stdlib.h>

/* Own proposals taken back here may still survive in another log and be committed by a later leader
 * (thesis figure 3.7). They are certainly lost only when something else is committed in their
 * place, so they stay in doubt until then (P3). */

static void add_range(struct raft_lost **list, uint32_t *n, struct raft_lost range)
{
    struct raft_lost *last = *n > 0 ? &(*list)[*n - 1] : NULL;

    if (last != NULL && last->term == range.term && last->hi + 1 == range.lo) {
        last->hi = range.hi;
        return;
    }
    *list = fl_xrealloc(*list, *n + 1, sizeof(**list));
    (*list)[(*n)++] = range;
}

static void lose(struct raft_group *g, struct raft_lost range)
{
    add_range(&g->lost, &g->nlost, range);
    g->env->stats.proposals_lost += range.hi - range.lo + 1;
}

/* Entries >= from leave this log. `certain`: they can never be committed anywhere. */
static void take_back(struct raft_group *g, raft_index from, bool certain)
{
    for (uint32_t i = 0; i < g->log.nruns && from <= g->own_hi; i++) {
        raft_index lo = g->log.runs[i].first;
        raft_index hi = i + 1 < g->log.nruns ? g->log.runs[i + 1].first - 1 : g->log.last;

        lo = lo > from ? lo : from;
        hi = hi < g->own_hi ? hi : g->own_hi;
        if (lo > hi) {
            continue;
        }
        if (certain) {
            lose(g, (struct raft_lost){.lo = lo, .hi = hi, .term = g->log.runs[i].term});
        } else {
            add_range(&g->doubt,
                      &g->ndoubt,
                      (struct raft_lost){.lo = lo, .hi = hi, .term = g->log.runs[i].term});
        }
    }
    if (g->own_hi >= from) {
        g->own_hi = from - 1;
    }
}

void raft__settle_doubt(struct raft_group *g)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < g->ndoubt; i++) {
        struct raft_lost d = g->doubt[i];

        for (; d.lo <= d.hi && d.lo <= g->commit; d.lo++) {
            /* The same entry may have come back and won; below a snapshot nobody can tell. */
            if (d.lo > g->log.snap_index && raft__log_term(&g->log, d.lo) != d.term) {
                lose(g, (struct raft_lost){.lo = d.lo, .hi = d.lo, .term = d.term});
            }
        }
        if (d.lo <= d.hi) {
            g->doubt[kept++] = d;
        }
    }
    g->ndoubt = kept;
    if (kept == 0) {
        free(g->doubt);
        g->doubt = NULL;
    }
}

static void unmake_from(struct raft_group *g, raft_index from)
{
    while (g->nmade > 0 && g->made[g->nmade - 1].index >= from) {
        g->nmade--;
    }
}

static raft_index at_most(raft_index value, raft_index limit)
{
    return value < limit ? value : limit;
}

void raft__truncate(struct raft_group *g, raft_index from)
{
    if (from <= g->commit) {
        raft__freeze(g, "RG-6: a committed entry would be overwritten"); /* C13 */
        return;
    }
    if (from <= g->verified) {
        raft__freeze(g, "RG-7: the leader of a term changed its own log");
        return;
    }
    take_back(g, from, RG_BUG(P3));
    unmake_from(g, from);
    RG_BUG(M6) ? (void)0 : raft__conf_forget_from(g, from);
    for (uint64_t seq = g->seq_acked + 1; seq <= g->seq; seq++) {
        struct raft_record *record = &g->ring[seq % RAFT_PERSIST_DEPTH];

        record->hi = RG_BUG(D1) ? record->hi : at_most(record->hi, from - 1);
    }
    if (from <= g->issued) {
        g->trunc_from = RG_BUG(D7) ? 0 : g->trunc_from == 0 ? from : at_most(g->trunc_from, from);
        g->issued = from - 1;
    }
    g->durable = RG_BUG(D2) ? g->durable : at_most(g->durable, from - 1);
    g->ack_want = at_most(g->ack_want, from - 1);
    raft__log_truncate(&g->log, from);
}

void raft__replace_log(struct raft_group *g, raft_index index, raft_term term)
{
    /* What lay behind the snapshot had another past, so it can never be committed; what lay before
     * it may have been: of that nothing is said. */
    take_back(g, index + 1, true);
    unmake_from(g, 0);
    RG_BUG(N3) ? (void)0 : raft__conf_forget_from(g, 0);
    for (uint64_t seq = g->seq_acked + 1; seq <= g->seq; seq++) {
        g->ring[seq % RAFT_PERSIST_DEPTH].hi = 0;
    }
    g->trunc_from = 0;
    g->issued = index;
    g->durable = 0;
    g->verified = index;
    g->ack_want = at_most(g->ack_want, index);
    g->own_hi = at_most(g->own_hi, index);
    raft__log_restore(&g->log, index, term);
}
