/* RG-1 .. RG-17 executable: what must hold between any two inputs. The list with its reasons is in
 * README.md; those that concern a single transition (RG-3, RG-6, RG-7, RG-16) are checked where it
 * happens. */
#include "raftgroup/raft_internal.h"

/* RG-1: hard state moves in order: durable -> issued -> current. */
static const char *check_terms(const struct raft_group *g)
{
    if (g->durable_term > g->issued_term || g->issued_term > g->term) {
        return "RG-1: terms are not ordered durable <= issued <= current";
    }
    if (g->role == RAFT_CANDIDATE && g->vote != g->self) {
        return "RG-1: a candidate has not voted for itself";
    }
    return NULL;
}

/* RG-2: the order of positions. */
static const char *check_positions(const struct raft_group *g)
{
    if (g->commit > g->log.last || g->issued > g->log.last || g->durable > g->issued) {
        return "RG-2: commit or durable is beyond the log";
    }
    if (g->applied > g->applying || g->verified > g->log.last || g->ack_want > g->verified) {
        return "RG-2: applied > applying, or more verified or owed than there is";
    }
    if (g->snap_installing) {
        return g->applying <= g->commit ? NULL : "RG-2: applying is beyond commit";
    }
    if (g->applying > g->commit || g->applying > g->durable || g->log.snap_index > g->applied) {
        return "RG-2: snapshot <= applied <= applying <= min(commit, durable) is broken";
    }
    return NULL;
}

/* RG-4: nobody leads on a term, or counts a vote, that a crash could take back. */
static const char *check_roles(const struct raft_group *g)
{
    if (g->role == RAFT_LEADER) {
        if (g->durable_term != g->term || g->durable_vote != g->self || g->leader != g->self) {
            return "RG-4: a leader's own vote is not durable";
        }
        return g->peers != NULL ? NULL : "RG-8: a leader without progress";
    }
    if (g->peers != NULL || g->transferee != 0 || g->beat_due || g->leader == g->self) {
        return "RG-8: leader's state outside leadership";
    }
    if (g->role == RAFT_CANDIDATE && g->self_voted &&
        (g->durable_term != g->term || g->durable_vote != g->self)) {
        return "RG-4: a candidate counted a vote that is not durable";
    }
    if (g->role != RAFT_FOLLOWER && g->leader != 0) {
        return "RG-8: a candidate believes in a leader";
    }
    return NULL;
}

/* RG-5: terms rise along the log and never pass the current one. */
static const char *check_log(const struct raft_group *g)
{
    const struct raft_log *log = &g->log;
    raft_index next = log->snap_index + 1;
    raft_term term = log->snap_term;

    if ((log->nruns == 0) != (log->last == log->snap_index)) {
        return "RG-5: runs and length of the log differ";
    }
    for (uint32_t i = 0; i < log->nruns; i++) {
        const struct raft_run *run = &log->runs[i];

        if ((i == 0 ? run->first != next : run->first < next) || run->first > log->last ||
            (i == 0 ? run->term < term : run->term <= term)) {
            return "RG-5: the log has a gap or terms that fall";
        }
        next = run->first + 1;
        term = run->term;
    }
    if (term > g->term && !raft__parity(g, RAFT_PARITY_BOOT_TERM)) {
        return "RG-5: the log is newer than the term";
    }
    return NULL;
}

/* RG-9, RG-10, RG-17: what a leader believes of its peers. */
static const char *check_progress(const struct raft_group *g)
{
    for (int i = 0; g->peers != NULL && i < g->conf.n; i++) {
        const struct raft_progress *p = &g->peers[i];
        uint64_t bytes = 0;

        if (p->match >= p->next || p->match > g->log.last || p->next > g->log.last + 1) {
            return "RG-9: match < next <= last + 1 is broken";
        }
        if (p->count > raft__config(g)->max_inflight ||
            (p->state != RAFT_REPLICATE && p->count != 0) ||
            (p->state == RAFT_SNAPSHOT) != (p->snapshot != 0)) {
            return "RG-10: a window outside replication, or too large";
        }
        for (uint32_t k = 0; k < p->count; k++) {
            bytes += p->ring[(p->start + k) % p->capacity].bytes;
        }
        if (bytes != p->inflight_bytes) {
            return "RG-10: bytes in flight are miscounted";
        }
        if (p->due != 0 &&
            (p->state != RAFT_REPLICATE || p->due > g->now + raft__config(g)->defer_ticks)) {
            return "RG-17: an append waits that must leave, or for too long";
        }
        if (p->due > g->now && g->defer_until != p->due) {
            return "RG-17: an append waits for a time that no deadline names";
        }
    }
    if (g->peers != NULL && g->front != RAFT__ALL &&
        !raft__quorum_has(&g->conf, g->front | raft__self_bit(g))) {
        return "RG-17: the front and the leader are no quorum";
    }
    return NULL;
}

/* RG-11, RG-12: changes of membership. */
static const char *check_membership(const struct raft_group *g)
{
    uint32_t uncommitted = 0;

    if (!raft_conf_valid(&g->conf)) {
        return "RG-12: the configuration is malformed";
    }
    for (uint32_t i = 0; i < g->conf_at_n; i++) {
        if (g->conf_at[i] <= (i == 0 ? g->applied : g->conf_at[i - 1]) ||
            g->conf_at[i] > g->log.last) {
            return "RG-11: unapplied membership entries are not in order within (applied, last]";
        }
        uncommitted += g->conf_at[i] > g->commit;
    }
    return uncommitted <= 1 ? NULL : "RG-11: two membership changes are uncommitted at once";
}

/* RG-13, RG-14: records in flight. */
static const char *check_records(const struct raft_group *g)
{
    if (g->seq < g->seq_acked || g->seq - g->seq_acked > RAFT_PERSIST_DEPTH) {
        return "RG-13: more records in flight than the ring holds";
    }
    for (uint64_t seq = g->seq_acked + 1; seq <= g->seq; seq++) {
        const struct raft_record *record = &g->ring[seq % RAFT_PERSIST_DEPTH];

        if (record->hi > g->issued || record->term > g->issued_term ||
            record->term < g->durable_term) {
            return "RG-14: a record in flight vouches for entries that were overwritten";
        }
    }
    if (g->trunc_from != 0 &&
        (g->trunc_from <= g->issued_commit || g->trunc_from != g->issued + 1)) {
        return "RG-14: the store would delete what is committed";
    }
    return NULL;
}

/* RG-15: a read is only ever answered out of a round, and queues are bounded. */
static const char *check_reads(const struct raft_group *g)
{
    for (uint32_t i = 0; g->reads != NULL && i < g->reads->n; i++) {
        const struct raft_pending_read *r = &g->reads->r[i];
        bool leading =
            r->state == RAFT_READ_TERM || r->state == RAFT_READ_NEW || r->state == RAFT_READ_ROUND;

        if (leading != (leading && g->role == RAFT_LEADER) || r->round > g->round ||
            r->index > RAFT_VALUE_MAX) {
            return "RG-15: a read waits in a role that cannot answer it";
        }
    }
    return NULL;
}

typedef const char *(*check_fn)(const struct raft_group *g);

static const check_fn checks[] = {check_terms,
                                  check_positions,
                                  check_roles,
                                  check_log,
                                  check_progress,
                                  check_membership,
                                  check_records,
                                  check_reads};

const char *raft__check(const struct raft_group *g)
{
    for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        const char *why = checks[i](g);

        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}
