/* Arithmetic on configurations: which change leads where, and why another is refused.
 *
 * Owner:    nobody.
 * Lifetime: the call.
 * Threads:  any.
 *
 * Single-step changes move at most one voter (thesis 4.1). Joint changes (thesis 4.3) keep the old
 * half in `out`; a voter demoted meanwhile waits in `next` and becomes a learner on leaving. */
#ifndef RAFTGROUP_CONF_H
#define RAFTGROUP_CONF_H

#include "raftgroup/raft.h"

enum raft_conf_error {
    RAFT_CONF_FINE,
    RAFT_CONF_ALREADY_JOINT, /* enter while joint */
    RAFT_CONF_NOT_JOINT,     /* leave while not */
    RAFT_CONF_ZERO_VOTERS,   /* enter from an empty configuration */
    RAFT_CONF_IN_JOINT,      /* simple while joint */
    RAFT_CONF_NOT_SINGLE,    /* simple would move more than one voter */
    RAFT_CONF_NO_VOTERS,     /* the result has no voter (M19) */
    RAFT_CONF_TOO_MANY       /* more than RAFT_MEMBERS_MAX */
};

/* The three ways; *conf is unchanged unless RAFT_CONF_FINE. Operations on id 0 are ignored. */
enum raft_conf_error
raft__conf_simple(struct raft_conf *conf, const struct raft_change *ops, uint32_t n);
enum raft_conf_error raft__conf_enter_joint(struct raft_conf *conf,
                                            const struct raft_change *ops,
                                            uint32_t n,
                                            bool autoleave);
enum raft_conf_error raft__conf_leave_joint(struct raft_conf *conf);
/* raft_conf_change with the reason. */
enum raft_conf_error raft__conf_change(struct raft_conf *conf, const struct raft_changes *changes);
/* The change is a request to leave joint. */
bool raft__conf_is_leave(const struct raft_changes *changes);

static inline raft_mask raft__conf_voters(const struct raft_conf *conf)
{
    return (raft_mask)(conf->in | conf->out);
}

static inline raft_mask raft__conf_bit(int slot)
{
    if (slot < 0) {
        return 0;
    }
    return (raft_mask)((1U << slot) & UINT16_MAX);
}

#endif
