/* One core under a microscope: every message it sends is kept, every record waits for the test or
 * is acknowledged at once.
 *
 * Owner:    the test.
 * Lifetime: solo_open .. solo_close.
 * Threads:  one. */
#ifndef TESTS_RAFTGROUP_SOLO_H
#define TESTS_RAFTGROUP_SOLO_H

#include "raftgroup/raft.h"

enum { SOLO_SENT_MAX = 1024, SOLO_LOG_MAX = 64, SOLO_GROUP = 9 };

struct solo_setup {
    struct raft_config config; /* solo_defaults, then change */
    uint64_t id;               /* of the group, default SOLO_GROUP */
    raft_id self;              /* default 1 */
    raft_id voters[8];         /* 0 ends */
    raft_id out[8];            /* outgoing half of a joint configuration, 0 ends */
    raft_id learners[8];       /* 0 ends */
    bool autoleave;
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index applied; /* 0 = commit */
    raft_index snap_index;
    raft_term snap_term;
    raft_term terms[SOLO_LOG_MAX]; /* of snap_index+1 .., 0 ends */
    raft_index conf_at[8];         /* 0 ends */
    uint64_t seed;
};

struct solo {
    struct raft_env *env;
    struct raft_group *group;
    uint64_t id;
    uint64_t now;
    bool hold;            /* records are not acknowledged by solo_drain */
    bool hold_apply;      /* nor are entries applied */
    bool cold;            /* fit() finds nothing in memory */
    uint32_t entry_bytes; /* fit(): size of every entry */
    struct raft_msg sent[SOLO_SENT_MAX];
    unsigned nsent;
    struct raft_read reads[256];
    unsigned nreads;
    struct raft_lost lost[16];
    unsigned nlost;
    struct raft_made made[16];
    unsigned nmade;
    struct raft_fetch fetches[16];
    unsigned nfetches;
    struct raft_persist records[64]; /* all so far */
    unsigned nrecords;
    raft_index apply_lo; /* of the last range handed out */
    raft_index apply_hi;
    unsigned applies; /* ranges handed out */
};

/* Voters 1, 2, 3; self 1; election 10, heartbeat 1, no randomness, self_check, strict off. */
void solo_defaults(struct solo_setup *setup);
void solo_open(struct solo *s, const struct solo_setup *setup);
/* As solo_open, with the answer of raft_open. */
enum fl_status solo_try(struct solo *s, const struct solo_setup *setup, const char **why);
void solo_close(struct solo *s);

/* Takes all readys; acknowledges and applies unless held. */
void solo_drain(struct solo *s);
/* Forgets what was sent, read, lost, made. */
void solo_clear(struct solo *s);
void solo_ack_all(struct solo *s);           /* every record so far is durable, then drain */
void solo_ticks(struct solo *s, unsigned n); /* one by one, with drain */

/* Steps a message: group, to and (if 0) from = 2, term = current are filled in; terms[] = nents
 * entry terms. Drains. */
enum fl_status solo_step(struct solo *s, struct raft_msg m, const raft_term *terms);
/* The n-th message sent of a type (and to, if not 0); NULL if there is none. */
const struct raft_msg *solo_sent(const struct solo *s, unsigned type, raft_id to, unsigned n);
unsigned solo_count(const struct solo *s, unsigned type, raft_id to);
struct raft_status solo_status(const struct solo *s);
struct raft_peer_status solo_peer(const struct solo *s, raft_id id);

/* Makes it the leader of its next term: campaigns and collects every vote it needs. */
void solo_lead(struct solo *s);
/* One entry of `len` bytes; FL_OK expected, returns its index. */
raft_index solo_propose(struct solo *s, uint32_t len);
/* Peer `id` acknowledges up to index. */
void solo_ack(struct solo *s, raft_id id, raft_index index);
/* A single change, e.g. 'l', 4. */
struct raft_changes solo_change(uint8_t op, raft_id id);

#endif
