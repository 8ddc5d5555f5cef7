/* Configuration arithmetic on a small working set of members. */
#include "raftgroup/conf.h"

#include "raftgroup/base/limits.h"
#include "raftgroup/bugs.h"

#include <assert.h>
#include <string.h>

static_assert((int)RAFT_MEMBERS_MAX == FL_REPLICAS_MAX, "one limit on the members of a group");
static_assert(RAFT_MEMBERS_MAX < 8 * sizeof(raft_mask), "every slot has a bit");

enum { WORK_MAX = RAFT_MEMBERS_MAX + RAFT_CHANGES_MAX };

struct member {
    raft_id id;
    bool in;
    bool out;
    bool learner;
    bool next;
};

struct work { /* members while a change is computed; more than fit at the end is an error */
    struct member m[WORK_MAX];
    unsigned n;
};

static void work_load(struct work *w, const struct raft_conf *conf)
{
    w->n = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        w->m[w->n++] = (struct member){.id = conf->id[i],
                                       .in = (conf->in >> i & 1) != 0,
                                       .out = (conf->out >> i & 1) != 0,
                                       .learner = (conf->learners >> i & 1) != 0,
                                       .next = (conf->next >> i & 1) != 0};
    }
}

static bool is_member(const struct member *m)
{
    return m->in || m->out || m->learner;
}

static void work_sort(struct work *w)
{
    for (unsigned i = 1; i < w->n; i++) {
        struct member m = w->m[i];
        unsigned at = i;

        for (; at > 0 && w->m[at - 1].id > m.id; at--) {
            w->m[at] = w->m[at - 1];
        }
        w->m[at] = m;
    }
}

static enum raft_conf_error work_store(struct work *w, struct raft_conf *conf, bool autoleave)
{
    struct raft_conf result;

    memset(&result, 0, sizeof(result));
    result.autoleave = autoleave;
    work_sort(w);
    for (unsigned i = 0; i < w->n; i++) {
        const struct member *m = &w->m[i];
        unsigned slot = result.n;

        if (!is_member(m)) {
            continue;
        }
        if (slot == RAFT_MEMBERS_MAX) {
            return RAFT_CONF_TOO_MANY;
        }
        result.id[slot] = m->id;
        result.in |= (raft_mask)((unsigned)m->in << slot);
        result.out |= (raft_mask)((unsigned)m->out << slot);
        result.learners |= (raft_mask)((unsigned)m->learner << slot);
        result.next |= (raft_mask)((unsigned)m->next << slot);
        result.n++;
    }
    *conf = result;
    return RAFT_CONF_FINE;
}

static struct member *work_find(struct work *w, raft_id id)
{
    for (unsigned i = 0; i < w->n; i++) {
        if (w->m[i].id == id) {
            return &w->m[i];
        }
    }
    w->m[w->n] = (struct member){.id = id};
    return &w->m[w->n++];
}

static void work_apply_one(struct member *m, uint8_t op)
{
    switch (op) {
    case 'v':
        *m = (struct member){.id = m->id, .in = true, .out = m->out};
        break;
    case 'l':
        /* A voter of the old half stays one until joint is left, then becomes a learner. */
        *m = (struct member){.id = m->id, .out = m->out, .next = m->out, .learner = !m->out};
        break;
    case 'r':
        *m = (struct member){.id = m->id, .out = m->out};
        break;
    default:
        break; /* 'u': nothing the core knows of changed (M14) */
    }
}

static enum raft_conf_error work_apply(struct work *w, const struct raft_change *ops, uint32_t n)
{
    unsigned voters = 0;

    for (uint32_t i = 0; i < n; i++) {
        if (ops[i].id != 0) {
            work_apply_one(work_find(w, ops[i].id), ops[i].op);
        }
    }
    for (unsigned i = 0; i < w->n; i++) {
        voters += w->m[i].in;
    }
    return voters == 0 && !RG_BUG(M19) ? RAFT_CONF_NO_VOTERS : RAFT_CONF_FINE;
}

static unsigned voters_moved(const struct raft_conf *conf, const struct work *w)
{
    unsigned moved = 0;

    for (unsigned i = 0; i < w->n; i++) {
        int slot = raft_conf_slot(conf, w->m[i].id);
        bool was = slot >= 0 && (conf->in >> slot & 1) != 0;

        moved += was != w->m[i].in;
    }
    return moved;
}

enum raft_conf_error
raft__conf_simple(struct raft_conf *conf, const struct raft_change *ops, uint32_t n)
{
    struct work w;
    enum raft_conf_error error;

    if (conf->out != 0) {
        return RAFT_CONF_IN_JOINT;
    }
    work_load(&w, conf);
    error = work_apply(&w, ops, n);
    if (error != RAFT_CONF_FINE) {
        return error;
    }
    return voters_moved(conf, &w) > 1 ? RAFT_CONF_NOT_SINGLE : work_store(&w, conf, false);
}

enum raft_conf_error raft__conf_enter_joint(struct raft_conf *conf,
                                            const struct raft_change *ops,
                                            uint32_t n,
                                            bool autoleave)
{
    struct work w;
    enum raft_conf_error error;

    if (conf->out != 0) {
        return RAFT_CONF_ALREADY_JOINT;
    }
    if (conf->in == 0) {
        return RAFT_CONF_ZERO_VOTERS;
    }
    work_load(&w, conf);
    for (unsigned i = 0; i < w.n; i++) {
        w.m[i].out = w.m[i].in;
    }
    error = work_apply(&w, ops, n);
    return error != RAFT_CONF_FINE ? error : work_store(&w, conf, autoleave);
}

enum raft_conf_error raft__conf_leave_joint(struct raft_conf *conf)
{
    struct work w;

    if (conf->out == 0) {
        return RAFT_CONF_NOT_JOINT;
    }
    work_load(&w, conf);
    for (unsigned i = 0; i < w.n; i++) {
        w.m[i].learner = w.m[i].learner || w.m[i].next;
        w.m[i].next = false;
        w.m[i].out = false;
    }
    return work_store(&w, conf, false);
}

bool raft__conf_is_leave(const struct raft_changes *changes)
{
    return changes->n == 0 && changes->transition == RAFT_CONF_AUTO;
}

enum raft_conf_error raft__conf_change(struct raft_conf *conf, const struct raft_changes *changes)
{
    uint32_t n = changes->n;
    const struct raft_change *ops = changes->op;

    switch ((enum raft_transition)changes->transition) {
    case RAFT_CONF_AUTO:
        if (n == 0) {
            return raft__conf_leave_joint(conf);
        }
        return n == 1 ? raft__conf_simple(conf, ops, n)
                      : raft__conf_enter_joint(conf, ops, n, true);
    case RAFT_CONF_IMPLICIT:
        return raft__conf_enter_joint(conf, ops, n, true);
    case RAFT_CONF_EXPLICIT:
        return raft__conf_enter_joint(conf, ops, n, false);
    case RAFT_CONF_SIMPLE:
        return raft__conf_simple(conf, ops, n);
    case RAFT_CONF_VOID:
    default:
        return RAFT_CONF_FINE;
    }
}

enum fl_status raft_conf_change(struct raft_conf *conf, const struct raft_changes *changes)
{
    return raft__conf_change(conf, changes) == RAFT_CONF_FINE ? FL_OK : FL_CONF_INVALID;
}

bool raft_conf_valid(const struct raft_conf *conf)
{
    raft_mask voters = raft__conf_voters(conf);
    unsigned all;

    if (conf->n > RAFT_MEMBERS_MAX) {
        return false;
    }
    all = (1U << conf->n) - 1;
    if ((voters | conf->learners) != all) {
        return false;
    }
    if ((voters & conf->learners) != 0 || (conf->next & ~(conf->out & ~conf->in)) != 0) {
        return false;
    }
    if ((conf->in == 0) != (conf->n == 0) || (conf->autoleave && conf->out == 0)) {
        return false;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->id[i] == 0 || (i > 0 && conf->id[i - 1] >= conf->id[i])) {
            return false;
        }
    }
    return true;
}

int raft_conf_slot(const struct raft_conf *conf, raft_id id)
{
    for (int i = 0; i < conf->n; i++) {
        if (conf->id[i] == id) {
            return i;
        }
    }
    return -1;
}

bool raft_conf_equal(const struct raft_conf *a, const struct raft_conf *b)
{
    return a->n == b->n && a->autoleave == b->autoleave && a->in == b->in && a->out == b->out &&
           a->learners == b->learners && a->next == b->next &&
           memcmp(a->id, b->id, a->n * sizeof(a->id[0])) == 0;
}
