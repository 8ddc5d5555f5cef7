/* The invariants, looked at after every input of every core. Names are those of the summary.
 *
 *   frozen              a core found one of RG-1..RG-17 broken
 *   election safety     one leader per term
 *   leader completeness a new leader holds everything committed in earlier terms
 *   log matching        equal (index, term) have equal histories: one hash per entry
 *   committed immutable an index, once committed, keeps its entry; disks keep it too
 *   quorum              what is committed is on the disks of a quorum, dead nodes counted
 *   commit rule         a leader commits by counting entries of its own term only (C1)
 *   elected             the disks of a quorum hold, or held, the vote for a new leader
 *   campaign            nobody campaigns with a committed change unapplied (M2)
 *   follower commits    nobody commits what no leader has committed
 *   monotonic           term, vote in a term, commit, applied, match
 *   match               a leader believes only what is on the follower's disk
 *   promise             every vote, request for votes and append ack rests on synced bytes
 *   applied state       equal at equal applied index
 *   lost proposal       what was reported lost is never committed
 *   acknowledged write  is what the group committed */
#include "tests/sim/world.h"

#include "raftgroup/base/alloc.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_violate(struct sim_world *w, const char *invariant, const char *format, ...)
{
    va_list args;
    int n;

    if (w->violation[0] != '\0') {
        return;
    }
    n = snprintf(w->violation, sizeof(w->violation), "%s: ", invariant);
    va_start(args, format);
    (void)vsnprintf(w->violation + n, sizeof(w->violation) - (size_t)n, format, args);
    va_end(args);
}

/* ---- truth ---- */

static void grow_zeroed(void *array_pointer, size_t *capacity, size_t need, size_t size)
{
    size_t old = *capacity;

    fl_grow(array_pointer, capacity, need, size);
    if (*capacity > old) {
        memset(*(uint8_t **)array_pointer + old * size, 0, (*capacity - old) * size);
    }
}

static struct sim_seen *find_seen(struct sim_truth *t, raft_index index, raft_term term)
{
    uint32_t at = index < t->head_capacity ? t->heads[index] : 0;

    while (at != 0 && t->seen[at - 1].term != term) {
        at = t->seen[at - 1].next;
    }
    return at != 0 ? &t->seen[at - 1] : NULL;
}

static void add_seen(struct sim_truth *t, raft_index index, raft_term term, uint64_t chain)
{
    grow_zeroed(&t->heads, &t->head_capacity, index + 1, sizeof(*t->heads));
    fl_grow(&t->seen, &t->seen_capacity, t->nseen + 1, sizeof(*t->seen));
    t->seen[t->nseen] =
        (struct sim_seen){.term = term, .chain = chain, .next = t->heads[index], .lost = false};
    t->heads[index] = (uint32_t)++t->nseen;
}

void sim_truth_close(struct sim_truth *truth)
{
    free(truth->heads);
    free(truth->seen);
    free(truth->committed);
    free(truth->leader_of);
}

/* Log matching: the entry that replica `r` just took into its log. */
void sim_watch_append(struct sim_world *w, struct sim_replica *r, raft_index index)
{
    struct sim_truth *t = &w->group[r->group].truth;
    raft_term term = sim_log_term(&r->mem, index);
    uint64_t chain = sim_log_chain(&r->mem, index);
    const struct sim_seen *seen = find_seen(t, index, term);

    if (seen == NULL) {
        add_seen(t, index, term, chain);
    } else if (seen->chain != chain) {
        sim_violate(w,
                    "log matching",
                    "group %u: replica %" PRIu64 " has another history at %" PRIu64 "/%" PRIu64,
                    r->group,
                    r->id,
                    term,
                    index);
    }
}

/* ---- commit ---- */

static bool on_disk(const struct sim_world *w,
                    const struct sim_group *g,
                    raft_id id,
                    raft_index index,
                    uint64_t chain)
{
    const struct sim_replica *r = id <= SIM_REPLICAS_MAX ? g->replica[id] : NULL;

    (void)w;
    /* What a wiped disk held counts: whoever may vote later had to hold it, or to be asked. */
    return r != NULL && !r->destroyed &&
           (index <= r->disk.log.base || sim_log_chain(&r->disk.log, index) == chain);
}

static bool majority_on_disk(const struct sim_world *w,
                             const struct sim_group *g,
                             const struct raft_conf *conf,
                             raft_mask half,
                             raft_index index)
{
    uint64_t chain = g->truth.committed[index].chain;
    int voters = __builtin_popcount(half);
    int have = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        if ((half >> i & 1) != 0 && on_disk(w, g, conf->id[i], index, chain)) {
            have++;
        }
    }
    return have > voters / 2;
}

static void check_quorum(struct sim_world *w, struct sim_replica *r, raft_index index)
{
    const struct sim_group *g = &w->group[r->group];
    const struct raft_conf *conf = raft_conf_get(r->raft);

    if (!majority_on_disk(w, g, conf, conf->in, index) ||
        (conf->out != 0 && !majority_on_disk(w, g, conf, conf->out, index))) {
        sim_violate(w,
                    "quorum",
                    "group %u: replica %" PRIu64 " commits %" PRIu64
                    ", which is not on the disks of a quorum",
                    r->group,
                    r->id,
                    index);
    }
}

static void
first_commit(struct sim_world *w, struct sim_replica *r, raft_index index, raft_term by, bool leads)
{
    struct sim_truth *t = &w->group[r->group].truth;
    const struct sim_seen *seen;

    grow_zeroed(&t->committed, &t->committed_capacity, index + 1, sizeof(*t->committed));
    t->committed[index] = (struct sim_committed){
        .term = sim_log_term(&r->mem, index), .by = by, .chain = sim_log_chain(&r->mem, index)};
    t->committed_hi = index;
    w->counts.committed++;
    if (!leads) {
        sim_violate(w,
                    "follower commits",
                    "group %u: replica %" PRIu64 " commits %" PRIu64 ", no leader has",
                    r->group,
                    r->id,
                    index);
    }
    seen = find_seen(t, index, t->committed[index].term);
    if (seen != NULL && seen->lost) {
        sim_violate(w,
                    "lost proposal",
                    "group %u: %" PRIu64 "/%" PRIu64 " was reported lost and is committed",
                    r->group,
                    t->committed[index].term,
                    index);
    }
}

static void
note_commit(struct sim_world *w, struct sim_replica *r, const struct raft_status *s, bool leads)
{
    struct sim_truth *t = &w->group[r->group].truth;
    raft_index from = r->watched.commit > r->mem.base ? r->watched.commit : r->mem.base;
    bool first = false;

    for (raft_index i = from + 1; i <= s->commit; i++) {
        if (i > t->committed_hi) {
            first_commit(w, r, i, s->term, leads);
            first = true;
        } else if (t->committed[i].chain != sim_log_chain(&r->mem, i)) {
            sim_violate(w,
                        "committed immutable",
                        "group %u: replica %" PRIu64 " commits another entry at %" PRIu64,
                        r->group,
                        r->id,
                        i);
            return;
        }
    }
    if (first) {
        check_quorum(w, r, s->commit);
    }
    if (first && leads && sim_log_term(&r->mem, s->commit) != s->term) {
        sim_violate(w,
                    "commit rule",
                    "group %u: leader %" PRIu64 " of term %" PRIu64 " commits %" PRIu64
                    " of an older term",
                    r->group,
                    r->id,
                    s->term,
                    s->commit);
    }
    if (s->commit > t->committed_hi) {
        sim_violate(w,
                    "committed immutable",
                    "group %u: replica %" PRIu64 " commits %" PRIu64 " beyond its log",
                    r->group,
                    r->id,
                    s->commit);
    }
}

/* ---- leaders ---- */

static void check_completeness(struct sim_world *w, struct sim_replica *r, raft_term term)
{
    const struct sim_truth *t = &w->group[r->group].truth;
    raft_index i = t->committed_hi;

    /* A leader of a later term may have committed more before this one heard of its votes. */
    while (i > SIM_INITIAL && t->committed[i].by >= term) {
        i--;
    }
    if (i > r->mem.base && t->committed[i].chain != sim_log_chain(&r->mem, i)) {
        sim_violate(w,
                    "leader completeness",
                    "group %u: leader %" PRIu64 " of term %" PRIu64 " lacks committed %" PRIu64,
                    r->group,
                    r->id,
                    term,
                    i);
    }
}

/* Who moved on to a later term may have voted before. */
static bool half_voted(const struct sim_world *w,
                       const struct sim_replica *leader,
                       const struct raft_conf *conf,
                       raft_mask half,
                       raft_term term)
{
    const struct sim_group *g = &w->group[leader->group];
    int have = 0;

    for (unsigned i = 0; i < conf->n; i++) {
        const struct sim_replica *r = g->replica[conf->id[i]];

        if (r != NULL && (half >> i & 1) != 0) {
            const struct sim_hard *hard = &r->disk.hard;

            have += hard->term > term || (hard->term == term && hard->vote == leader->id) ? 1 : 0;
        }
    }
    return half == 0 || have > __builtin_popcount(half) / 2;
}

static void check_elected(struct sim_world *w, struct sim_replica *r, raft_term term)
{
    const struct raft_conf *conf = raft_conf_get(r->raft);

    if (!half_voted(w, r, conf, conf->in, term) || !half_voted(w, r, conf, conf->out, term)) {
        sim_violate(w,
                    "elected",
                    "group %u: leader %" PRIu64 " of term %" PRIu64 " has no quorum of votes",
                    r->group,
                    r->id,
                    term);
    }
}

static void check_campaign(struct sim_world *w, struct sim_replica *r, const struct raft_status *s)
{
    for (raft_index i = s->applied + 1; i <= s->commit; i++) {
        const struct sim_entry *entry = sim_log_get(&r->mem, i);

        if (entry != NULL && entry->type == RAFT_ENT_CONF) {
            sim_violate(w,
                        "campaign",
                        "group %u: replica %" PRIu64 " campaigns, the change at %" PRIu64
                        " is committed and not applied",
                        r->group,
                        r->id,
                        i);
        }
    }
}

static void note_leader(struct sim_world *w, struct sim_replica *r, raft_term term)
{
    struct sim_truth *t = &w->group[r->group].truth;

    grow_zeroed(&t->leader_of, &t->leader_capacity, term + 1, sizeof(*t->leader_of));
    if (t->leader_of[term] != 0 && t->leader_of[term] != r->id) {
        sim_violate(w,
                    "election safety",
                    "group %u: term %" PRIu64 " has the leaders %" PRIu64 " and %" PRIu64,
                    r->group,
                    term,
                    t->leader_of[term],
                    r->id);
    }
    t->leader_of[term] = r->id;
    if (r->watched.led != term) {
        if (r->watched.led > term) {
            sim_violate(w, "monotonic", "replica %" PRIu64 " leads an older term", r->id);
        }
        r->watched.led = term;
        w->counts.elections++;
        check_elected(w, r, term);
        check_completeness(w, r, term);
    }
}

static raft_index *known_match(struct sim_watched *watched, raft_id id)
{
    for (uint32_t i = 0; i < watched->matches; i++) {
        if (watched->match[i].id == id) {
            return &watched->match[i].match;
        }
    }
    return NULL;
}

/* A member that moved on to a later term may have overwritten what it once acknowledged. */
static bool
denies(const struct sim_world *w, const struct sim_replica *leader, raft_id id, raft_index match)
{
    const struct sim_group *g = &w->group[leader->group];
    const struct sim_replica *r = g->replica[id];

    return r == NULL || (!r->wiped && !r->destroyed && r->disk.hard.term <= leader->watched.term &&
                         !on_disk(w, g, id, match, sim_log_chain(&leader->mem, match)));
}

static void check_peers(struct sim_world *w, struct sim_replica *r)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t n = raft_peers_get(r->raft, peers, RAFT_MEMBERS_MAX);
    struct sim_match now[RAFT_MEMBERS_MAX];

    for (uint32_t i = 0; i < n; i++) {
        const raft_index *before = known_match(&r->watched, peers[i].id);
        raft_index match = peers[i].match;

        now[i] = (struct sim_match){.id = peers[i].id, .match = match};
        if (before != NULL && match < *before) {
            sim_violate(w,
                        "monotonic",
                        "group %u: leader %" PRIu64 " takes match of %" PRIu64 " back",
                        r->group,
                        r->id,
                        peers[i].id);
        }
        if (match > r->mem.base && (before == NULL || match > *before) &&
            denies(w, r, peers[i].id, match)) {
            sim_violate(w,
                        "match",
                        "group %u: leader %" PRIu64 " believes %" PRIu64 " holds %" PRIu64,
                        r->group,
                        r->id,
                        peers[i].id,
                        match);
        }
    }
    memcpy(r->watched.match, now, n * sizeof(now[0]));
    r->watched.matches = n;
}

/* ---- one replica ---- */

static void
check_monotonic(struct sim_world *w, const struct sim_replica *r, const struct raft_status *s)
{
    const struct sim_watched *before = &r->watched;
    const char *what = NULL;

    if (s->term < before->term) {
        what = "term";
    } else if (s->term == before->term && before->vote != 0 && s->vote != before->vote) {
        what = "vote in a term";
    } else if (s->commit < before->commit) {
        what = "commit";
    } else if (s->applied < before->applied) {
        what = "applied";
    }
    if (what != NULL) {
        sim_violate(w,
                    "monotonic",
                    "group %u: replica %" PRIu64 " takes its %s back",
                    r->group,
                    r->id,
                    what);
    }
}

void sim_watch(struct sim_world *w, struct sim_replica *r)
{
    struct raft_status s;

    raft_status_get(r->raft, &s);
    if (s.why != NULL) {
        sim_violate(w, "frozen", "group %u: replica %" PRIu64 ": %s", r->group, r->id, s.why);
        return;
    }
    check_monotonic(w, r, &s);
    /* What the core appended by itself is learned from its next ready. */
    if (s.last < sim_log_last(&r->mem)) {
        sim_violate(w, "log matching", "replica %" PRIu64 " and its shell differ", r->id);
        return;
    }
    if (s.role == RAFT_LEADER) {
        note_leader(w, r, s.term);
    }
    if (s.role != r->watched.role && (s.role == RAFT_CANDIDATE || s.role == RAFT_PRECANDIDATE)) {
        check_campaign(w, r, &s);
    }
    if (s.commit > r->watched.commit) {
        note_commit(w, r, &s, s.role == RAFT_LEADER);
    }
    if (s.role == RAFT_LEADER) {
        if (s.term != r->watched.term || r->watched.role != RAFT_LEADER) {
            r->watched.matches = 0;
        }
        check_peers(w, r);
    }
    r->watched.term = s.term;
    r->watched.vote = s.vote;
    r->watched.commit = s.commit;
    r->watched.applied = s.applied;
    r->watched.role = s.role;
    w->trace_hash = sim_mix(w->trace_hash, s.term << 8 | s.role);
    w->trace_hash = sim_mix(w->trace_hash, s.last << 32 | s.commit);
}

/* What the core of a restarted process may start from: its disk, nothing less. */
void sim_watch_opened(struct sim_world *w, struct sim_replica *r)
{
    r->watched.term = r->disk.hard.term;
    r->watched.vote = r->disk.hard.vote;
    r->watched.commit = 0;
    r->watched.applied = 0;
    r->watched.role = RAFT_FOLLOWER;
    r->watched.matches = 0;
    sim_watch(w, r);
}

/* ---- promises: the shadow of the disk ---- */

static bool may_send(const struct sim_replica *r, const struct raft_msg *m)
{
    const struct sim_hard *hard = &r->disk.hard;
    const struct sim_log *log = &r->disk.log;
    bool reject = (m->flags & RAFT_F_REJECT) != 0;

    switch ((enum raft_msg_type)m->type) {
    case RAFT_M_VOTE:
        return hard->term == m->term && hard->vote == r->id && sim_log_last(log) == m->index &&
               sim_log_term(log, m->index) == m->log_term;
    case RAFT_M_VOTER:
        return reject ? hard->term >= m->term : hard->term == m->term && hard->vote == m->to;
    case RAFT_M_APPR:
        if (reject) {
            return hard->term >= m->term;
        }
        return hard->term == m->term && sim_log_last(log) >= m->index &&
               (m->index <= log->base ||
                sim_log_chain(log, m->index) == sim_log_chain(&r->mem, m->index));
    case RAFT_M_APP:
    case RAFT_M_HB:
    case RAFT_M_SNAP:
    case RAFT_M_TIMEOUTNOW:
        return hard->term == m->term;
    case RAFT_M_HBR:
    case RAFT_M_READR:
        return hard->term >= m->term;
    case RAFT_M_PREVOTE:
    case RAFT_M_PREVOTER:
    case RAFT_M_TIMEOUTNOWR:
    case RAFT_M_READ:
    case RAFT_M_XFER:
        return true;
    }
    return false;
}

void sim_watch_send(struct sim_world *w, struct sim_replica *r, const struct raft_msg *m)
{
    if (!may_send(r, m)) {
        sim_violate(w,
                    "promise",
                    "group %u: replica %" PRIu64 " sends type %d of term %" PRIu64 " index %" PRIu64
                    " before its disk knows",
                    r->group,
                    r->id,
                    m->type,
                    m->term,
                    m->index);
    }
    if (m->type == RAFT_M_VOTER && (m->flags & RAFT_F_REJECT) == 0) {
        if (r->watched.granted_term == m->term && r->watched.granted_to != m->to) {
            sim_violate(w,
                        "promise",
                        "group %u: replica %" PRIu64 " votes twice in term %" PRIu64,
                        r->group,
                        r->id,
                        m->term);
        }
        r->watched.granted_term = m->term;
        r->watched.granted_to = m->to;
    }
}

/* A record that becomes durable must not take anything back. */
void sim_watch_record(struct sim_world *w, struct sim_replica *r, const struct sim_record *record)
{
    const struct raft_persist *p = &record->p;
    const struct sim_hard *hard = &r->disk.hard;
    const struct sim_truth *t = &w->group[r->group].truth;
    const char *what = NULL;

    if (p->term < hard->term) {
        what = "the stored term goes back";
    } else if (p->term == hard->term && hard->vote != 0 && p->vote != hard->vote) {
        what = "the stored vote changes in a term";
    } else if (!p->must_sync && (p->term != hard->term || p->vote != hard->vote || p->snapshot ||
                                 p->trunc_from != 0 || p->lo <= p->hi)) {
        what = "more than the commit point is written without a sync";
    } else if (!p->snapshot && p->trunc_from != 0 && p->trunc_from <= t->committed_hi &&
               p->trunc_from > r->disk.log.base &&
               sim_log_chain(&r->disk.log, p->trunc_from) == t->committed[p->trunc_from].chain) {
        what = "a committed entry is deleted";
    } else if (!p->snapshot && p->lo <= p->hi &&
               p->lo != (p->trunc_from != 0 ? p->trunc_from : sim_log_last(&r->disk.log) + 1)) {
        what = "a gap is written";
    }
    if (what != NULL) {
        sim_violate(w, "disk", "group %u: replica %" PRIu64 ": %s", r->group, r->id, what);
    }
}

/* ---- machines ---- */

void sim_watch_applied(struct sim_world *w,
                       struct sim_replica *r,
                       raft_index index,
                       uint64_t digest)
{
    struct sim_truth *t = &w->group[r->group].truth;
    struct sim_committed *c = index <= t->committed_hi ? &t->committed[index] : NULL;

    if (c == NULL || c->chain != sim_log_chain(&r->disk.log, index)) {
        sim_violate(w,
                    "applied state",
                    "group %u: replica %" PRIu64 " applies %" PRIu64 ", which is not committed",
                    r->group,
                    r->id,
                    index);
        return;
    }
    if (digest == 0) {
        return;
    }
    if (c->digest == 0) {
        c->digest = digest;
    } else if (c->digest != digest) {
        sim_violate(w,
                    "applied state",
                    "group %u: the machine of replica %" PRIu64 " differs at %" PRIu64,
                    r->group,
                    r->id,
                    index);
    }
}

void sim_watch_installed(struct sim_world *w,
                         struct sim_replica *r,
                         raft_index index,
                         uint64_t digest)
{
    const struct sim_truth *t = &w->group[r->group].truth;
    const struct sim_committed *c = index <= t->committed_hi ? &t->committed[index] : NULL;

    if (c == NULL || c->chain != r->mem.base_chain ||
        (c->digest != 0 && digest != 0 && c->digest != digest)) {
        sim_violate(w,
                    "snapshot",
                    "group %u: replica %" PRIu64 " installs a state at %" PRIu64
                    " that is not the group's",
                    r->group,
                    r->id,
                    index);
    }
}

void sim_watch_lost(struct sim_world *w, struct sim_replica *r, const struct raft_lost *lost)
{
    struct sim_truth *t = &w->group[r->group].truth;

    for (raft_index i = lost->lo; i <= lost->hi; i++) {
        struct sim_seen *seen = find_seen(t, i, lost->term);

        if (seen != NULL) {
            seen->lost = true;
        }
        if (i <= t->committed_hi && t->committed[i].term == lost->term) {
            sim_violate(w,
                        "lost proposal",
                        "group %u: %" PRIu64 "/%" PRIu64 " is committed and is reported lost",
                        r->group,
                        lost->term,
                        i);
        }
    }
}

void sim_watch_answered(struct sim_world *w, struct sim_replica *r, raft_index index)
{
    const struct sim_truth *t = &w->group[r->group].truth;

    if (index > t->committed_hi ||
        t->committed[index].chain != sim_log_chain(&r->disk.log, index)) {
        sim_violate(w,
                    "acknowledged write",
                    "group %u: %" PRIu64 " is acknowledged and not what is committed",
                    r->group,
                    index);
    }
}
