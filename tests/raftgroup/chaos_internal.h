/* What the files of the chaos share.
 *
 * Owner, lifetime, threads: as chaos.h. */
#ifndef TESTS_RAFTGROUP_CHAOS_INTERNAL_H
#define TESTS_RAFTGROUP_CHAOS_INTERNAL_H

#include "tests/raftgroup/cluster.h"

enum { CHAOS_STASH_MAX = 8 };

enum chaos_kind { /* of an event; each has a weight, 0 = off */
                  CHAOS_DELIVER,
                  CHAOS_READY,
                  CHAOS_PERSIST,
                  CHAOS_APPLY,
                  CHAOS_TICK,
                  CHAOS_PROPOSE,
                  CHAOS_READ,
                  CHAOS_FETCHED,
                  CHAOS_OPERATE,
                  CHAOS_SETTLE,
                  CHAOS_CRASH,
                  CHAOS_CHANGE,
                  CHAOS_CUT,
                  CHAOS_REPLAY,
                  CHAOS_USURP,
                  CHAOS_SPLIT,
                  CHAOS_FIGURE_8,
                  CHAOS_KINDS
};

struct chaos {
    struct sim_cluster *c;
    struct fl_prng prng;
    unsigned seed;
    unsigned proposals;
    unsigned reads;
    unsigned drop;      /* per mille of deliveries */
    unsigned duplicate; /* per mille */
    unsigned weight[CHAOS_KINDS];
    unsigned weights; /* sum */
    bool reorder;
    bool lazy;                                 /* machines of followers stand still */
    bool lease;                                /* clocks run together and reads need no round */
    bool removed[SIM_NODES_MAX + 1];           /* ids are never used again (M15) */
    struct sim_packet *stash[CHAOS_STASH_MAX]; /* copies of what was sent, to come again late */
};

/* ---- chaos.c ---- */

unsigned chaos__below(struct chaos *x, unsigned bound);
/* Time passes at one node. Leases rest on clocks that run together, others on none. */
void chaos__pass_time(struct chaos *x, struct sim_node *n);
/* The leader of the highest term, or NULL. */
struct sim_node *chaos__find_leader(const struct chaos *x);
void chaos__propose(struct chaos *x, struct sim_node *n);

/* ---- chaos_aim.c: what random choice hardly ever hits ---- */

/* Another leader comes up while the old one hears nothing; then the old one is asked to read. */
void chaos__usurp(struct chaos *x);
/* A change of all voters, and the halves lose sight of each other in the middle of it (M10). */
void chaos__split(struct chaos *x);
/* An entry of an older term on a majority, and its leader gone (C1). */
void chaos__figure_8(struct chaos *x);
/* Keeps a copy of p, or lets an old copy arrive once more. */
void chaos__stash(struct chaos *x, const struct sim_packet *p);
void chaos__replay(struct chaos *x);
void chaos__stash_drop(struct chaos *x);

#endif
