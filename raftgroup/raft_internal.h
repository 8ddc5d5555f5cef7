/* The group and the verbs shared inside this folder.
 *
 * Owner:    the raft loop (struct raft_group, struct raft_env).
 * Lifetime: raft_open .. raft_close, raft_env_create .. raft_env_destroy.
 * Threads:  one.
 *
 * Order of the files, each using only those before it:
 *   quorum conf codec log progress < role < election defer replicate read_index membership
 * transfer install < ready < step < group. check.c reads everything; nobody but raft__enter and
 * raft__leave calls it. */
#ifndef RAFTGROUP_RAFT_INTERNAL_H
#define RAFTGROUP_RAFT_INTERNAL_H

#include "raftgroup/base/assert.h"
#include "raftgroup/base/prng.h"
#include "raftgroup/bugs.h"
#include "raftgroup/conf.h"
#include "raftgroup/log.h"
#include "raftgroup/progress.h"
#include "raftgroup/quorum.h"
#include "raftgroup/raft.h"

/* Positions, terms and counts above this are refused at the door, so sums never wrap (P7). */
#define RAFT_VALUE_MAX ((uint64_t)1 << 62)

enum { RAFT_APP_ENTS_MAX = 1 << 20 };

#define RAFT__ALL ((raft_mask)-1)

/* Blocks kept for the next reads: enough for a busy loop, little beside 100 000 groups. */
enum { RAFT_FREE_READS_MAX = 64 };

struct raft_out { /* responses waiting for a ready; a block of the env's pool */
    struct raft_out *next_free;
    uint32_t n;
    struct raft_msg m[RAFT_OUT_MAX];
};

enum raft_read_state {
    RAFT_READ_TERM,    /* leader: nothing of the own term is committed yet (R1) */
    RAFT_READ_NEW,     /* leader: waits for the next round to start */
    RAFT_READ_ROUND,   /* leader: round sent, waits for a quorum */
    RAFT_READ_FORWARD, /* follower: must be sent to the leader */
    RAFT_READ_ASKED,   /* follower: sent to the leader */
    RAFT_READ_DONE,    /* local, waits for a ready */
    RAFT_READ_FAILED   /* local, waits for a ready */
};

struct raft_pending_read {
    uint64_t ctx;
    raft_id from;     /* self or the follower that asked */
    raft_index index; /* commit when it was asked (R3) */
    uint64_t round;   /* ROUND: which */
    uint64_t since;   /* ASKED: when */
    uint8_t state;    /* enum raft_read_state */
};

struct raft_reads { /* only while reads wait; a block of the env's pool */
    struct raft_reads *next_free;
    uint32_t n;
    struct raft_pending_read r[RAFT_READS_MAX];
};

struct raft_record { /* one persist record in flight */
    raft_index hi;   /* entries up to here are durable when it is; clipped by truncation (D1, D2) */
    raft_index snap; /* it installs this snapshot, 0 = none */
    raft_index commit;
    raft_term term;
    raft_id vote;
};

struct raft_env {
    struct raft_config config;
    struct raft_ops ops;
    struct raft_stats stats;
    struct raft_window window;
    struct raft_out *free_out; /* pool of blocks */
    struct raft_reads *free_reads;
    uint32_t nfree_reads;        /* at most RAFT_FREE_READS_MAX */
    struct raft_group *ready_of; /* between raft_ready_get and raft_ready_done */
    struct raft_msg *msgs;       /* scratch of one ready, as are all below */
    size_t msgs_capacity;
    struct raft_fetch fetches[RAFT_MEMBERS_MAX];
    struct raft_read reads[RAFT_READS_MAX];
    struct raft_made made[2];
    struct raft_persist persist;
    uint32_t nmsgs;
    uint32_t nfetches;
    uint32_t nreads;
    uint32_t nmade;
    uint32_t groups; /* open */
};

struct raft_group {
    struct raft_env *env;
    void *user;      /* for raft_ops */
    const char *why; /* frozen: which invariant */
    uint64_t id;
    raft_id self;
    struct fl_prng prng;

    /* time */
    uint64_t now;        /* of the newest input; never goes back */
    uint64_t base;       /* last leader contact, granted vote, campaign or quorum check */
    uint64_t timeout;    /* election after base + timeout */
    uint64_t next_beat;  /* leader */
    uint64_t quarantine; /* no vote before this time (R7) */
    uint64_t disk_since; /* when the oldest record in flight was handed out, or later (C24) */

    /* hard state and positions:
     *   log.snap_index <= applied <= applying <= min(commit, durable) <= log.last
     *   durable <= issued <= log.last      commit <= log.last      (RG-2; a snapshot being
     * installed holds durable and applying back until it is on disk) */
    raft_term term;
    raft_id vote;
    raft_id leader; /* 0 = unknown */
    raft_index commit;
    raft_index applying; /* handed out for apply */
    raft_index applied;
    raft_index durable; /* last entry known durable here */
    raft_index issued;  /* last entry named in a persist record */

    /* follower: what the current leader may be told */
    raft_index verified; /* entries up to here equal the leader's of this term */
    raft_index acked;    /* highest success sent in this term */
    raft_index ack_want; /* owed acknowledgement reaches this far */

    /* persistence */
    uint64_t seq;           /* newest record handed out */
    uint64_t seq_acked;     /* ring holds seq_acked+1 .. seq */
    raft_term durable_term; /* hard state of the newest durable record */
    raft_id durable_vote;
    raft_index durable_commit;
    raft_term issued_term; /* hard state of the newest record handed out */
    raft_id issued_vote;
    raft_index issued_commit;
    raft_index trunc_from; /* the next record deletes from here, 0 = nothing */
    struct raft_record ring[RAFT_PERSIST_DEPTH]; /* seq n lives at n % depth */

    struct raft_log log;
    struct raft_conf conf;
    raft_index *conf_at; /* CONF entries in (applied, last], ascending, minus those applied */
    uint32_t conf_at_n;
    uint32_t conf_at_capacity;

    /* candidate and leader */
    raft_mask yes; /* votes, by slot */
    raft_mask no;
    raft_mask active;            /* heard of since the last quorum check */
    raft_mask front;             /* leader: who gets entries at once; RAFT__ALL = everybody */
    struct raft_progress *peers; /* leader: by slot, else NULL */
    uint64_t defer_until;        /* leader: something waits for this time, 0 = nothing */
    raft_id transferee;
    raft_index pending_conf; /* no change is proposed before this is applied (M2) */
    uint64_t uncommitted;    /* bytes proposed and not applied */
    uint64_t round;          /* newest read round; never goes back */

    struct raft_reads *reads; /* NULL = none wait */
    struct raft_out *out;     /* NULL = none wait */
    struct raft_lost *lost;   /* heap, rare; certain, waits for a ready */
    struct raft_lost *doubt;  /* heap, rare; own entries taken back whose index is not committed */
    uint32_t nlost;
    uint32_t ndoubt;
    uint32_t nmade;
    struct raft_made made[2];
    raft_index own_hi; /* highest index this process proposed; beyond it nothing can be lost */

    /* what the last ready said */
    raft_term soft_term;
    raft_id soft_leader;
    uint8_t soft_role;

    uint8_t role; /* enum raft_role; set in role.c only */
    bool quiesced;
    bool snap_unissued;   /* a staged snapshot waits for its record */
    bool snap_installing; /* .. until that record is durable */
    bool commit_flush;    /* write a record for commit alone */
    bool ack_owed;        /* the leader waits for an answer to an append */
    bool grant_owed;      /* `vote` waits for our grant */
    bool votes_due;       /* requests not sent yet; self_voted tells if they may leave */
    bool self_voted;      /* candidate: the own vote is durable and counted */
    bool transfer_vote;   /* candidate: the old leader asked for this election */
    bool beat_due;
    bool quiesce_due; /* the next beat sends everybody to sleep */
    bool send_due;    /* leader: some peer may have something to be sent */
    bool timeout_now_due;
    bool lease_void; /* a TIMEOUTNOW is on its way: no lease in this term any more (R5) */
};

/* An idle follower must stay small: 100 000 of them in 100 MB. */
_Static_assert(sizeof(struct raft_group) <= 1024, "an idle follower fits in 1 KiB");

/* ---- group.c: small things everybody uses ---- */

/* A broken invariant: the group refuses everything from now on (decision 13). */
void raft__freeze(struct raft_group *g, const char *why);
/* Start and end of every input: frozen, time, invariants. raft__leave hands `status` on, or
 * FL_FROZEN. */
FL_MUST_USE enum fl_status raft__enter(struct raft_group *g, uint64_t now);
FL_MUST_USE enum fl_status raft__leave(struct raft_group *g, enum fl_status status);
/* check.c: the first broken invariant, or NULL. */
const char *raft__check(const struct raft_group *g);

static inline const struct raft_config *raft__config(const struct raft_group *g)
{
    return &g->env->config;
}

static inline bool raft__parity(const struct raft_group *g, uint32_t flag)
{
    return (g->env->config.parity & flag) != 0;
}

static inline int raft__self_slot(const struct raft_group *g)
{
    return raft_conf_slot(&g->conf, g->self);
}

static inline raft_mask raft__self_bit(const struct raft_group *g)
{
    return raft__conf_bit(raft__self_slot(g));
}

/* FL_OK on a leader that may take proposals; else why not. */
FL_MUST_USE enum fl_status raft__may_propose(const struct raft_group *g);
/* Something of the own term is committed (leader). */
static inline bool raft__own_term_committed(const struct raft_group *g)
{
    return raft__log_term(&g->log, g->commit) == g->term;
}

/* ready.c: queues a response; group, from and (if 0) term are filled in. Dropped when the queue is
 * full, like a lost packet. */
void raft__respond(struct raft_group *g, struct raft_msg m);
void raft__release_out(struct raft_group *g);
/* ready.c: appends one message to the ready being built; group, from, term are filled in. */
void raft__emit(struct raft_group *g, struct raft_msg m);

/* ---- role.c ---- */

void raft__become_follower(struct raft_group *g, raft_term term, raft_id leader);
void raft__become_precandidate(struct raft_group *g);
void raft__become_candidate(struct raft_group *g);
void raft__become_leader(struct raft_group *g);
/* The leader of the current term spoke: follow it, timer from now. */
void raft__follow(struct raft_group *g, raft_id leader);
/* Follower: no leader is believed in. */
void raft__unfollow(struct raft_group *g);
void raft__restart_timer(struct raft_group *g);
void raft__abort_transfer(struct raft_group *g);
void raft__wake(struct raft_group *g);

/* ---- election.c ---- */

/* A voter of the configuration, with its state machine complete. */
bool raft__is_promotable(const struct raft_group *g);
/* Why this replica may not campaign now: FL_NOT_MEMBER, FL_NOT_READY, or FL_OK. */
enum fl_status raft__may_campaign(const struct raft_group *g);
/* Begins pre-vote or vote; `transfer`: the leader asked. raft__may_campaign was FL_OK. */
void raft__campaign(struct raft_group *g, bool transfer);
/* The record with the own vote became durable. */
void raft__self_vote_durable(struct raft_group *g);
/* Somebody else's request is ignored because a leader is alive. */
bool raft__is_sticky(const struct raft_group *g, const struct raft_msg *m);
void raft__handle_vote(struct raft_group *g, const struct raft_msg *m);
void raft__handle_vote_answer(struct raft_group *g, const struct raft_msg *m);
void raft__tick_follower(struct raft_group *g);
/* Leader: was a quorum heard of since the last check? */
void raft__check_quorum(struct raft_group *g);
/* Commit point of another member, proven by its term (M5). */
void raft__learn_commit(struct raft_group *g, raft_index commit, raft_term commit_term);
/* The commit point in a (pre-)vote or its answer, of whatever term (M5). */
void raft__learn_from_vote(struct raft_group *g, const struct raft_msg *m);

/* ---- replicate.c ---- */

/* Leader: commit what a quorum holds; true when commit moved. */
bool raft__maybe_commit(struct raft_group *g);
void raft__commit_to(struct raft_group *g, raft_index commit);
/* Leader: appends n entries of its term; quota is the caller's business. */
void raft__append_own(struct raft_group *g, uint64_t n, uint64_t bytes);
/* Leader: appends an entry of its own making. */
void raft__append_made(struct raft_group *g, enum raft_ent_type type);
void raft__handle_append(struct raft_group *g,
                         const struct raft_msg *m,
                         const struct raft_ent *ents,
                         raft_index *keep_lo,
                         raft_index *keep_hi);
void raft__handle_append_answer(struct raft_group *g, const struct raft_msg *m, int slot);
void raft__handle_beat(struct raft_group *g, const struct raft_msg *m);
void raft__handle_beat_answer(struct raft_group *g, const struct raft_msg *m, int slot);
/* The leader's answer to a message of an older term: tells the sender to step down (E17). */
void raft__answer_old_leader(struct raft_group *g, const struct raft_msg *m);
/* Follower: an acknowledgement may leave now; *index = how far. */
bool raft__ack_ready(const struct raft_group *g, raft_index *index);
/* Follower: everything up to index is known to equal the leader's log; tell it when durable. */
void raft__owe_ack(struct raft_group *g, raft_index index);
/* Ready: all messages a leader owes its peers, into the env's scratch. */
void raft__send_appends(struct raft_group *g);
void raft__send_beats(struct raft_group *g);

/* ---- defer.c ---- */

/* Before anything is sent: nobody counts on a member of the front that is out of step. */
void raft__defer_choose(struct raft_group *g);
/* Entries for `slot` leave on multiples of defer_ticks. */
bool raft__is_deferred(const struct raft_group *g, int slot);
/* An append to `slot` (without entries: a commit point alone) has to wait. */
bool raft__defer_waits(struct raft_group *g, int slot, bool entries);
/* An append to `slot` was sent: who has everything may wait again; its answer is timed. */
void raft__defer_sent(struct raft_group *g, int slot, bool entries);
/* It acknowledged something new. */
void raft__defer_acked(struct raft_group *g, struct raft_progress *p);
/* Messages to `slot` were lost: what others wait with may be needed now. */
void raft__defer_lost(struct raft_group *g, int slot);
/* The clock: what waits for now leaves. */
void raft__defer_tick(struct raft_group *g);

/* ---- truncate.c ---- */

/* Drops entries >= from everywhere: log, records in flight, CONF list, made, lost. */
void raft__truncate(struct raft_group *g, raft_index from);
/* The whole log gives way to a snapshot at (term, index). */
void raft__replace_log(struct raft_group *g, raft_index index, raft_term term);

/* Commit moved: own entries taken back earlier may be certainly lost now. */
void raft__settle_doubt(struct raft_group *g);

/* ---- read_index.c ---- */

/* Commit, membership or (heard) a round changed: answers what can be answered. */
void raft__reads_advance(struct raft_group *g, bool heard);
void raft__reads_fail(struct raft_group *g);        /* leader changed or role lost */
void raft__reads_start_round(struct raft_group *g); /* ready: new reads get their round */
void raft__reads_send_forward(struct raft_group *g);
void raft__reads_expire(struct raft_group *g);
uint64_t raft__reads_deadline(const struct raft_group *g);
bool raft__reads_have_ready(const struct raft_group *g);
/* Gives the block of waiting reads back. */
void raft__release_reads(struct raft_group *g);
void raft__reads_take_ready(struct raft_group *g);
void raft__handle_read(struct raft_group *g, const struct raft_msg *m);
void raft__handle_read_answer(struct raft_group *g, const struct raft_msg *m);

/* ---- membership.c ---- */

/* Position of an unapplied CONF entry was appended. */
void raft__conf_note(struct raft_group *g, raft_index at);
void raft__conf_forget_from(struct raft_group *g, raft_index from);
/* A committed change is not applied yet (M2). */
bool raft__conf_unapplied(const struct raft_group *g);
/* Puts a new configuration in force: remaps slots, re-evaluates commit, reads, transfer (M13). */
void raft__switch_conf(struct raft_group *g, const struct raft_conf *conf);
/* Leader: leaves joint by itself when it is time (M11). */
void raft__maybe_leave_joint(struct raft_group *g);

/* ---- transfer.c ---- */

void raft__transfer_to(struct raft_group *g, raft_id to);
/* The target may be complete now. */
void raft__transfer_progress(struct raft_group *g, const struct raft_progress *p, raft_id id);
void raft__send_timeout_now(struct raft_group *g);
void raft__handle_timeout_now(struct raft_group *g, const struct raft_msg *m);
void raft__handle_timeout_now_answer(struct raft_group *g, const struct raft_msg *m);
void raft__handle_transfer_request(struct raft_group *g, const struct raft_msg *m);

/* ---- install.c ---- */

/* SNAP announced by the leader: is it wanted? FL_OK or FL_STALE (answered). */
enum fl_status raft__handle_snapshot(struct raft_group *g, const struct raft_msg *m);
/* The record that installs the snapshot is durable. */
void raft__snapshot_durable(struct raft_group *g, raft_index index);
/* Leader: tries to begin a snapshot for a peer whose next entry is compacted. */
void raft__offer_snapshot(struct raft_group *g, int slot);

#endif
