/* A leader whose appends may wait, on the harness of solo.h, with a clock moved by hand.
 *
 * Owner:    the test.
 * Lifetime: deferral_open or deferral_lead .. solo_close.
 * Threads:  one. */
#ifndef TESTS_RAFTGROUP_DEFERRAL_H
#define TESTS_RAFTGROUP_DEFERRAL_H

#include "tests/raftgroup/solo.h"

/* The two peers of three voters: in the group of solo.h peer 2 is the first of equals. */
enum { DEFERRAL_TICKS = 20, DEFERRAL_FRONT = 2, DEFERRAL_OTHER = 3 };

/* As solo_defaults; beats and elections are far away: what happens in time is deferral. */
void deferral_defaults(struct solo_setup *setup);
/* ids = from..to, for the members of a setup. */
void deferral_ids(raft_id *ids, raft_id from, raft_id to);
/* A leader of term 1 whose peers have everything, at the first multiple. */
void deferral_lead(struct solo *s, const struct solo_setup *setup);
/* .. of three voters. */
void deferral_open(struct solo *s);

void deferral_tick(struct solo *s, uint64_t now);
raft_index deferral_propose(struct solo *s, uint64_t now);
/* `id` has all that it was sent. */
void deferral_ack(struct solo *s, uint64_t now, raft_id id);

/* Appends sent to `to` since solo_clear. */
unsigned deferral_appends(const struct solo *s, raft_id to);
/* The only append to `to` so far carries n entries up to the end of the log, and the commit. */
void deferral_assert(const struct solo *s, raft_id to, uint32_t n);
/* Peers that get a new entry at once, a bit per id. */
unsigned deferral_front(struct solo *s, uint64_t now);

#endif
