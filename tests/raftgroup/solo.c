/* One core under a microscope: see solo.h. */
#include "tests/raftgroup/solo.h"

#include "raftgroup/base/assert.h"

#include <stdlib.h>
#include <string.h>

static uint32_t fit(void *user, raft_index lo, raft_index hi, uint64_t max_bytes, uint64_t *bytes)
{
    const struct solo *s = user;
    uint64_t room = s->entry_bytes != 0 ? max_bytes / s->entry_bytes : hi - lo + 1;
    uint64_t n = hi - lo + 1;

    if (s->cold) {
        return 0;
    }
    n = n < room ? n : room;
    n = n > 0 ? n : 1;
    *bytes = n * s->entry_bytes;
    return (uint32_t)n;
}

void solo_defaults(struct solo_setup *setup)
{
    memset(setup, 0, sizeof(*setup));
    raft_config_default(&setup->config);
    setup->config.election_ticks = 10;
    setup->config.heartbeat_ticks = 1;
    setup->config.disk_stall_ticks = 0;
    setup->config.lease_drift_ticks = 0;
    setup->config.strict_conf = false;
    setup->config.pre_vote = false;
    setup->config.check_quorum = false;
    setup->config.self_check = true;
    setup->config.parity = RAFT_PARITY_RAND0;
    setup->id = SOLO_GROUP;
    setup->self = 1;
    setup->voters[0] = 1;
    setup->voters[1] = 2;
    setup->voters[2] = 3;
}

static void add_members(struct raft_conf *conf, const raft_id *ids, uint8_t op)
{
    for (unsigned i = 0; i < 8 && ids[i] != 0; i++) {
        struct raft_changes c = {
            .transition = RAFT_CONF_SIMPLE, .n = 1, .op = {{.op = op, .id = ids[i]}}};

        fl_assert(raft_conf_change(conf, &c) == FL_OK);
    }
}

static void make_conf(struct raft_conf *conf, const struct solo_setup *setup)
{
    struct raft_conf in = {.n = 0};

    *conf = in;
    add_members(conf, setup->out[0] != 0 ? setup->out : setup->voters, 'v');
    if (setup->out[0] != 0) {
        struct raft_changes c = {.transition =
                                     setup->autoleave ? RAFT_CONF_IMPLICIT : RAFT_CONF_EXPLICIT};

        add_members(&in, setup->voters, 'v');
        for (unsigned i = 0; i < in.n; i++) {
            c.op[c.n++] = (struct raft_change){.op = 'v', .id = in.id[i]};
        }
        for (unsigned i = 0; i < conf->n; i++) {
            if (raft_conf_slot(&in, conf->id[i]) < 0) {
                c.op[c.n++] = (struct raft_change){.op = 'r', .id = conf->id[i]};
            }
        }
        fl_assert(raft_conf_change(conf, &c) == FL_OK);
        return;
    }
    add_members(conf, setup->learners, 'l');
}

enum fl_status solo_try(struct solo *s, const struct solo_setup *setup, const char **why)
{
    struct raft_ops ops = {.fit = fit};
    struct raft_run runs[SOLO_LOG_MAX];
    struct raft_boot boot = {.group = setup->id,
                             .self = setup->self,
                             .seed = setup->seed,
                             .term = setup->term,
                             .vote = setup->vote,
                             .commit = setup->commit,
                             .snap_index = setup->snap_index,
                             .snap_term = setup->snap_term,
                             .applied = setup->applied != 0 ? setup->applied : setup->commit,
                             .last = setup->snap_index,
                             .runs = runs,
                             .conf_at = setup->conf_at};

    memset(s, 0, sizeof(*s));
    s->id = setup->id;
    boot.applied = boot.applied > boot.snap_index ? boot.applied : boot.snap_index;
    make_conf(&boot.conf, setup);
    for (unsigned i = 0; i < SOLO_LOG_MAX && setup->terms[i] != 0; i++) {
        boot.last++;
        if (boot.nruns == 0 || runs[boot.nruns - 1].term != setup->terms[i]) {
            runs[boot.nruns++] = (struct raft_run){.first = boot.last, .term = setup->terms[i]};
        }
    }
    while (boot.nconf_at < 8 && setup->conf_at[boot.nconf_at] != 0) {
        boot.nconf_at++;
    }
    s->env = raft_env_create(&setup->config, &ops);
    return raft_open(s->env, &boot, s, s->now, &s->group, why);
}

void solo_open(struct solo *s, const struct solo_setup *setup)
{
    const char *why = NULL;

    fl_assert(solo_try(s, setup, &why) == FL_OK);
    solo_drain(s);
    solo_clear(s);
}

void solo_close(struct solo *s)
{
    raft_close(s->group);
    raft_env_destroy(s->env);
    s->group = NULL;
    s->env = NULL;
}

void solo_clear(struct solo *s)
{
    s->nsent = 0;
    s->nreads = 0;
    s->nlost = 0;
    s->nmade = 0;
    s->nfetches = 0;
    s->applies = 0;
}

static void keep(struct solo *s, const struct raft_ready *r)
{
    for (uint32_t i = 0; i < r->nmsgs; i++) {
        fl_assert(s->nsent < SOLO_SENT_MAX);
        s->sent[s->nsent++] = r->msgs[i];
    }
    for (uint32_t i = 0; i < r->nreads; i++) {
        fl_assert(s->nreads < 256);
        s->reads[s->nreads++] = r->reads[i];
    }
    for (uint32_t i = 0; i < r->nlost && s->nlost < 16; i++) {
        s->lost[s->nlost++] = r->lost[i];
    }
    for (uint32_t i = 0; i < r->nmade && s->nmade < 16; i++) {
        s->made[s->nmade++] = r->made[i];
    }
    for (uint32_t i = 0; i < r->nfetches && s->nfetches < 16; i++) {
        s->fetches[s->nfetches++] = r->fetches[i];
    }
    if (r->persist != NULL) {
        fl_assert(s->nrecords < 64);
        s->records[s->nrecords++] = *r->persist;
    }
    if (r->apply_hi >= r->apply_lo) {
        s->apply_lo = r->apply_lo;
        s->apply_hi = r->apply_hi;
        s->applies++;
    }
}

/* The only unapplied changes of these tests are void unless the test applies them itself. */
static void apply(struct solo *s)
{
    struct raft_status st = solo_status(s);
    struct raft_changes nothing = {.transition = RAFT_CONF_VOID};
    enum fl_status status;

    if (st.applying == st.applied || s->hold_apply) {
        return;
    }
    status = raft_conf_applied(s->group, s->now, st.applying, &nothing);
    fl_assert(status == FL_OK || status == FL_STALE || status == FL_FROZEN);
    status = raft_applied(
        s->group, s->now, st.applying, (st.applying - st.applied) * (uint64_t)s->entry_bytes);
    fl_assert(status == FL_OK || status == FL_FROZEN);
}

void solo_drain(struct solo *s)
{
    struct raft_ready r;

    while (raft_has_ready(s->group)) {
        enum fl_status status = raft_ready_get(s->group, &r);

        fl_assert(status == FL_OK);
        keep(s, &r);
        raft_ready_done(s->group);
        if (r.persist != NULL && !s->hold) {
            status = raft_persisted(s->group, s->now, s->records[s->nrecords - 1].seq);
            fl_assert(status == FL_OK || status == FL_STALE || status == FL_FROZEN);
        }
        apply(s);
    }
}

void solo_ack_all(struct solo *s)
{
    enum fl_status status = raft_persisted(s->group, s->now, s->records[s->nrecords - 1].seq);

    fl_assert(status == FL_OK || status == FL_STALE);
    solo_drain(s);
}

void solo_ticks(struct solo *s, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        enum fl_status status = raft_tick(s->group, ++s->now);

        fl_assert(status == FL_OK || status == FL_FROZEN);
        solo_drain(s);
    }
}

enum fl_status solo_step(struct solo *s, struct raft_msg m, const raft_term *terms)
{
    struct raft_ent ents[SOLO_LOG_MAX];
    raft_index keep_lo;
    raft_index keep_hi;
    enum fl_status status;

    m.group = s->id;
    m.from = m.from != 0 ? m.from : 2;
    m.to = m.to != 0 ? m.to : solo_status(s).self;
    m.term = m.term != 0 ? m.term : solo_status(s).term;
    for (uint32_t i = 0; i < m.nents; i++) {
        ents[i] =
            (struct raft_ent){.term = terms != NULL ? terms[i] : m.term, .len = s->entry_bytes};
    }
    status = raft_step(s->group, s->now, &m, m.nents > 0 ? ents : NULL, &keep_lo, &keep_hi);
    solo_drain(s);
    return status;
}

const struct raft_msg *solo_sent(const struct solo *s, unsigned type, raft_id to, unsigned n)
{
    for (unsigned i = 0; i < s->nsent; i++) {
        if (s->sent[i].type == type && (to == 0 || s->sent[i].to == to) && n-- == 0) {
            return &s->sent[i];
        }
    }
    return NULL;
}

unsigned solo_count(const struct solo *s, unsigned type, raft_id to)
{
    unsigned n = 0;

    while (solo_sent(s, type, to, n) != NULL) {
        n++;
    }
    return n;
}

struct raft_status solo_status(const struct solo *s)
{
    struct raft_status st;

    raft_status_get(s->group, &st);
    return st;
}

struct raft_peer_status solo_peer(const struct solo *s, raft_id id)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    uint32_t n = raft_peers_get(s->group, peers, RAFT_MEMBERS_MAX);

    for (uint32_t i = 0; i < n; i++) {
        if (peers[i].id == id) {
            return peers[i];
        }
    }
    return (struct raft_peer_status){.id = 0};
}

void solo_lead(struct solo *s)
{
    const struct raft_conf *conf = raft_conf_get(s->group);

    fl_assert(raft_campaign(s->group, s->now) == FL_OK);
    solo_drain(s);
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < conf->n; i++) {
            struct raft_status st = solo_status(s);
            bool pre = st.role == RAFT_PRECANDIDATE;

            if (conf->id[i] != st.self && st.role != RAFT_LEADER) {
                (void)solo_step(s,
                                (struct raft_msg){.type = pre ? RAFT_M_PREVOTER : RAFT_M_VOTER,
                                                  .from = conf->id[i],
                                                  .term = st.term + (pre ? 1 : 0)},
                                NULL);
            }
        }
    }
    fl_assert(solo_status(s).role == RAFT_LEADER);
}

raft_index solo_propose(struct solo *s, uint32_t len)
{
    struct raft_ent e = {.type = RAFT_ENT_NORMAL, .len = len};
    raft_index first = 0;
    raft_term term;

    fl_assert(raft_propose(s->group, s->now, &e, 1, &first, &term) == FL_OK);
    solo_drain(s);
    return first;
}

void solo_ack(struct solo *s, raft_id id, raft_index index)
{
    fl_assert(solo_step(s,
                        (struct raft_msg){.type = RAFT_M_APPR, .from = id, .index = index},
                        NULL) == FL_OK);
}

struct raft_changes solo_change(uint8_t op, raft_id id)
{
    return (struct raft_changes){
        .transition = RAFT_CONF_SIMPLE, .n = 1, .op = {{.op = op, .id = id}}};
}
