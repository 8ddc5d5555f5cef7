/* A leader whose appends may wait: see deferral.h. */
#include "tests/raftgroup/deferral.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

void deferral_defaults(struct solo_setup *setup)
{
    solo_defaults(setup);
    setup->config.election_ticks = 2000000;
    setup->config.heartbeat_ticks = 1000000;
    setup->config.defer_ticks = DEFERRAL_TICKS;
}

void deferral_tick(struct solo *s, uint64_t now)
{
    s->now = now;
    assert_int_equal(raft_tick(s->group, now), FL_OK);
    solo_drain(s);
}

raft_index deferral_propose(struct solo *s, uint64_t now)
{
    s->now = now;
    return solo_propose(s, 1);
}

void deferral_ack(struct solo *s, uint64_t now, raft_id id)
{
    s->now = now;
    solo_ack(s, id, solo_peer(s, id).next - 1);
}

void deferral_lead(struct solo *s, const struct solo_setup *setup)
{
    const struct raft_conf *conf;

    solo_open(s, setup);
    solo_lead(s);
    conf = raft_conf_get(s->group);
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->id[i] != setup->self) {
            solo_ack(s, conf->id[i], solo_status(s).last);
        }
    }
    deferral_tick(s, DEFERRAL_TICKS);
    assert_int_equal(solo_status(s).commit, solo_status(s).last);
    assert_int_equal(raft_deadline(s->group), setup->config.heartbeat_ticks);
    solo_clear(s);
}

void deferral_open(struct solo *s)
{
    struct solo_setup setup;

    deferral_defaults(&setup);
    deferral_lead(s, &setup);
}

unsigned deferral_appends(const struct solo *s, raft_id to)
{
    return solo_count(s, RAFT_M_APP, to);
}

void deferral_assert(const struct solo *s, raft_id to, uint32_t n)
{
    const struct raft_msg *m = solo_sent(s, RAFT_M_APP, to, 0);

    assert_int_equal(deferral_appends(s, to), 1);
    assert_int_equal(m->nents, n);
    assert_int_equal(m->index + n, solo_status(s).last);
    assert_int_equal(m->commit, solo_status(s).commit);
}

unsigned deferral_front(struct solo *s, uint64_t now)
{
    unsigned at_once = 0;

    solo_clear(s);
    (void)deferral_propose(s, now);
    for (raft_id id = 1; id < 8; id++) {
        at_once |= deferral_appends(s, id) > 0 ? 1U << id : 0;
        assert_true(deferral_appends(s, id) <= 1);
    }
    return at_once;
}

void deferral_ids(raft_id *ids, raft_id from, raft_id to)
{
    memset(ids, 0, 8 * sizeof(*ids));
    for (raft_id id = from; id <= to; id++) {
        ids[id - from] = id;
    }
}
