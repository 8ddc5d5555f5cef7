/* The Raft core of one group: a pure, payload-free state machine with an asynchronous log.
 *
 * Owner:    the raft loop a group is pinned to; every pointer passed in is borrowed for the call.
 * Lifetime: raft_env_create -> raft_open .. raft_close (any number of groups) -> raft_env_destroy.
 * Threads:  none inside. One thread owns an env and all its groups (E8).
 *
 * No I/O, clock, thread, lock or global. Same inputs in the same order give the same outputs bit
 * for bit (the generator of election timeouts lives in the group). Time is an abstract monotonic
 * unit given with every input; the node uses milliseconds.
 *
 * The life of a turn:
 *
 *     raft_step / raft_propose / raft_tick / ...            any number of inputs, then
 *     while (raft_has_ready(g)) {
 *         raft_ready_get(g, &r);
 *         remember r.made; send r.msgs; queue r.persist; queue r.apply_lo..hi; answer r.reads,
 * r.lost raft_ready_done(g);
 *     }
 *     later:  raft_persisted(g, seq)   raft_applied(g, upto)   ... which are inputs again
 *
 * What may leave when (design 4.5, E2, E26): EVERY message in raft_ready.msgs may be sent at once,
 * before the record of the same or of any earlier ready is durable. The core itself withholds what
 * may not leave yet:
 *     APP, HB        leave at once: a leader's term is durable before it leads
 *     PREVOTE        leaves at once: it promises nothing
 *     VOTE           waits for the record with the candidate's own term and vote; records are
 * ordered and cumulative, so the advertised log tail is durable too (E26) VOTER grant    waits for
 * the record with that vote APPR success   waits for the entries (index = min(durable, verified))
 * and for the term rejections, HBR, READR   wait only while the term they reveal is not durable The
 * candidate's vote for itself, and a leader's own copy of an entry, count at that same moment: a
 * single voter never commits before its own record is durable.
 */
#ifndef RAFTGROUP_RAFT_H
#define RAFTGROUP_RAFT_H

#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t raft_id;    /* replica id: never 0, never reused inside a group (M15) */
typedef uint64_t raft_index; /* 1-based position in the log, 0 = none */
typedef uint64_t raft_term;
typedef uint16_t raft_mask; /* one bit per member slot */

enum {
    RAFT_MEMBERS_MAX = 15, /* voters of both halves + learners */
    RAFT_CHANGES_MAX = 16, /* operations in one membership change */
    RAFT_READS_MAX = 64,   /* read rounds waiting in one group; FL_TOO_MANY beyond */
    RAFT_OUT_MAX = 32,     /* responses waiting for a ready; more are dropped like a lost packet */
    RAFT_PERSIST_DEPTH = 4 /* persist records in flight; later changes merge into the next one */
};

#define RAFT_NEVER UINT64_MAX

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
enum raft_peer_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };
enum raft_ent_type { RAFT_ENT_NORMAL, RAFT_ENT_NOOP, RAFT_ENT_CONF };

enum raft_msg_type {
    RAFT_M_APP = 1,  /* leader: entries (or a probe); the shell attaches the payloads */
    RAFT_M_APPR,     /* answer to APP and SNAP */
    RAFT_M_HB,       /* leader: I am here; commit, read round, time stamp */
    RAFT_M_HBR,      /* answer: echoes round and stamp */
    RAFT_M_VOTE,     /* candidate */
    RAFT_M_VOTER,    /* answer */
    RAFT_M_PREVOTE,  /* would you vote for me in term `term`? */
    RAFT_M_PREVOTER, /* answer */
    RAFT_M_SNAP, /* leader: you need a snapshot. The shell opens a stream instead of sending it */
    RAFT_M_TIMEOUTNOW,  /* leader: campaign at once (transfer) */
    RAFT_M_TIMEOUTNOWR, /* target: no, my log is not there (T4) */
    RAFT_M_READ,        /* follower: confirm a read for me; x = ctx */
    RAFT_M_READR,       /* leader: index is safe for ctx x; REJECT: it is not, ask again */
    RAFT_M_XFER         /* follower: please transfer to replica x */
};
#define RAFT_M_MAX RAFT_M_XFER

enum {
    RAFT_F_REJECT = 1,   /* APPR, VOTER, PREVOTER, TIMEOUTNOWR, READR */
    RAFT_F_TRANSFER = 2, /* VOTE: the old leader asked for it, stickiness does not apply */
    RAFT_F_QUIESCE = 4,  /* HB: the group goes to sleep */
    RAFT_F_ALL = 7
};

/* Fixed size, pointer-free; may be copied with memcpy. */
struct raft_msg {
    uint64_t group;
    raft_id from;
    raft_id to;
    raft_term term;
    raft_term log_term; /* term at `index`; APPR reject: term at hint x */
    raft_index index;   /* APP prev | APPR acked, or prev refused | VOTE last | SNAP, READR index */
    raft_index commit;  /* commit point of the sender; in votes too (M5) */
    raft_term commit_term; /* votes: term at commit, 0 = do not use */
    uint64_t x;            /* APPR reject hint | HB/HBR read round | READ/READR ctx | XFER target */
    uint64_t stamp;        /* HB/HBR: the leader's time of sending, echoed */
    uint64_t bytes;        /* APP: payload bytes of the entries */
    uint32_t nents;        /* APP: entries index+1 .. index+nents follow */
    uint8_t type;          /* enum raft_msg_type */
    uint8_t flags;         /* RAFT_F_* */
};

/* What the core needs to know of an entry; the payload itself never enters. */
struct raft_ent {
    raft_term term; /* ignored by raft_propose */
    uint32_t len;   /* payload bytes, for quotas and windows */
    uint8_t type;   /* enum raft_ent_type */
};

/* One atomic, ordered unit of durability. Field order = write order inside one batch.
 * Records must become durable in seq order; raft_persisted(seq) acknowledges all up to seq. */
struct raft_persist {
    uint64_t seq;          /* 1, 2, 3 .. after every raft_open */
    bool snapshot;         /* first: replace everything by the staged snapshot */
    raft_index snap_index; /*   .. which is this one */
    raft_term snap_term;
    raft_index trunc_from; /* then: delete every stored entry >= this (0 = none) */
    raft_index lo;         /* then: put entries lo..hi (lo > hi = none) */
    raft_index hi;
    raft_term term; /* last: the hard state */
    raft_id vote;
    raft_index commit;
    bool must_sync; /* false only when nothing but commit changed: ack after the write */
};

enum raft_transition {
    RAFT_CONF_AUTO, /* one change: simple; more: joint, left automatically. n = 0: leave joint */
    RAFT_CONF_IMPLICIT, /* joint, left automatically */
    RAFT_CONF_EXPLICIT, /* joint, left by a change with n = 0 */
    RAFT_CONF_SIMPLE,   /* single step without joint, refused while joint (used by the node) */
    RAFT_CONF_VOID      /* raft_conf_applied only: the entry turned out to change nothing */
};

struct raft_change {
    uint8_t op; /* 'v' voter, 'l' learner, 'r' remove, 'u' nothing (kept for the log format) */
    raft_id id;
};

/* One membership change; what a CONF entry carries (codec.h), before anything the shell adds. */
struct raft_changes {
    uint8_t transition; /* enum raft_transition */
    uint8_t n;          /* 0 = leave joint */
    struct raft_change op[RAFT_CHANGES_MAX];
};

/* A configuration. Slots are dense (0..n-1), ids ascending. */
struct raft_conf {
    uint8_t n;          /* members */
    bool autoleave;     /* joint, and the leader leaves it by itself */
    raft_mask in;       /* voters (incoming half when joint) */
    raft_mask out;      /* outgoing half, 0 = not joint */
    raft_mask learners; /* disjoint from in and out */
    raft_mask next;     /* voters of `out` that become learners when joint is left */
    raft_id id[RAFT_MEMBERS_MAX];
};

/* Tests against recorded vectors switch improvements off one by one; 0 in production. */
enum {
    RAFT_PARITY_RAND0 = 1,          /* election timeout = election_ticks exactly */
    RAFT_PARITY_NO_VOTE_COMMIT = 2, /* votes carry no commit */
    RAFT_PARITY_STICKY_ALL = 4,     /* stickiness also against the node we follow (E15) */
    RAFT_PARITY_TRANSFER_READS = 8, /* reads are served during a transfer (R5) */
    RAFT_PARITY_LEASE_ROLE = 16,    /* lease reads trust check_quorum alone, not time stamps */
    RAFT_PARITY_BOOT_TERM = 32,     /* the stored term may be below the log's */
    RAFT_PARITY_RECAMPAIGN = 64, /* a candidate tries again before its own vote is durable (E20) */
    RAFT_PARITY_READS = 128, /* remote reads: handed on, never refused; a round needs an answer */
    RAFT_PARITY_OLD_LEADER =
        256, /* an old leader is told only under pre_vote or check_quorum (E17) */
    RAFT_PARITY_ALL = 511
};

struct raft_config {
    uint32_t election_ticks;        /* timeout is random in [e, 2e) */
    uint32_t heartbeat_ticks;       /* beats fall on multiples of this; < election_ticks */
    uint32_t max_inflight;          /* APPs with entries in flight per peer, >= 1 */
    uint32_t max_msg_bytes;         /* payload per APP; one entry always fits */
    uint32_t max_msg_ents;          /* entries per APP, >= 1 */
    uint64_t max_inflight_bytes;    /* per peer, 0 = no cap */
    uint64_t max_uncommitted_bytes; /* proposed and not applied, 0 = no cap */
    uint32_t max_apply_ents;        /* handed out and not applied, >= 1 */
    uint32_t defer_ticks;           /* what no quorum waits for leaves on multiples of this: entries
                                     * for the other members, commit points alone; 0 = at once */
    uint32_t lease_drift_ticks;     /* taken off a lease */
    uint32_t boot_quarantine_ticks; /* no vote for this long after open (R7); needed with leases */
    uint32_t disk_stall_ticks; /* a leader steps down when a record takes longer, 0 = never (C24) */
    bool pre_vote;
    bool check_quorum;
    bool lease_reads; /* needs check_quorum */
    bool step_down_on_removal;
    bool strict_conf; /* own-term commit first, leader never removes itself, learners first */
    bool self_check;  /* evaluate RG-1..RG-n around every input; tests and simulators */
    uint32_t parity;  /* RAFT_PARITY_* */
};

/* What the store read back for one group. */
struct raft_run { /* entries from `first` on have `term`, up to the next run */
    raft_index first;
    raft_term term;
};
struct raft_boot {
    uint64_t group;
    raft_id self;
    uint64_t seed;
    raft_term term;
    raft_id vote;
    raft_index commit;     /* raised to max(commit, applied, snap_index) inside (D5, D9) */
    raft_index snap_index; /* log starts behind this (truncated index), 0 = from 1 */
    raft_term snap_term;
    raft_index applied;    /* durable applied index of the machine, >= snap_index */
    struct raft_conf conf; /* as of `applied`, from the machine, never from the log (N2) */
    raft_index last;
    const struct raft_run *runs; /* of snap_index+1 .. last, ascending */
    uint32_t nruns;
    const raft_index *conf_at; /* indexes of CONF entries in (applied, last], ascending */
    uint32_t nconf_at;
};

/* The one callback: a pure look-up, no effects.
 * fit: how many of the entries lo.. (at most hi) fit into max_bytes; at least 1 when entry lo is in
 * memory, however large. *bytes = their payload bytes. 0 = entry lo is not in memory: the core puts
 * {peer, lo, hi} on raft_ready.fetches and waits for raft_fetched. */
struct raft_ops {
    uint32_t (*fit)(void *user, raft_index lo, raft_index hi, uint64_t max_bytes, uint64_t *bytes);
};

struct raft_read {
    uint64_t ctx;
    raft_index index; /* serve once applied >= index */
    bool ok;          /* false: could not be confirmed (step-down, lost), ask again (R4) */
};
struct raft_made { /* an entry the core created itself: empty payload; CONF = leave joint, n = 0 */
    raft_index index;
    raft_term term;
    uint8_t type; /* RAFT_ENT_NOOP or RAFT_ENT_CONF */
};
struct raft_lost { /* entries lo..hi of this term will never be applied anywhere: others are
                    * committed in their place (P3) */
    raft_index lo;
    raft_index hi;
    raft_term term;
};
struct raft_fetch { /* bring the payloads of lo..hi into memory, then raft_fetched(peer) */
    raft_id peer;
    raft_index lo;
    raft_index hi;
};

/* Borrowed: everything pointed to lives in the env until raft_ready_done. */
struct raft_ready {
    const struct raft_made *made; /* learn these first: msgs and persist may name them */
    uint32_t nmade;
    const struct raft_msg *msgs; /* all may be sent at once, see the head of this file */
    uint32_t nmsgs;
    const struct raft_persist *persist; /* NULL = nothing */
    raft_index apply_lo;                /* committed AND locally durable; lo > hi = none. A CONF */
    raft_index apply_hi; /* entry ends a range; more follows after raft_conf_applied */
    const struct raft_read *reads;
    uint32_t nreads;
    const struct raft_lost *lost; /* own proposals are among them: compare (index, term) */
    uint32_t nlost;
    const struct raft_fetch *fetches;
    uint32_t nfetches;
    raft_term term;
    raft_id leader;    /* 0 = unknown */
    uint8_t role;      /* enum raft_role */
    bool soft_changed; /* term, leader or role differ from the previous ready */
};

struct raft_status {
    uint64_t group;
    raft_id self;
    uint8_t role;
    bool quiesced;
    bool joint;
    bool voter;   /* self is in `in` or `out` */
    bool learner; /* self is a learner */
    raft_id leader;
    raft_id vote;
    raft_id transferee; /* leader only, 0 = no transfer */
    raft_term term;
    raft_term durable_term;
    raft_index commit;
    raft_index durable_commit; /* compaction limit is min(applied, durable_commit) */
    raft_index applying;       /* handed out */
    raft_index applied;
    raft_index first; /* first index in the log */
    raft_index last;
    raft_index durable;      /* last entry known durable here */
    raft_index conf_pending; /* newest CONF entry not yet applied, 0 = none */
    uint32_t persists;       /* records in flight */
    uint32_t reads;          /* reads waiting */
    uint64_t uncommitted_bytes;
    const char *why; /* NULL, or the invariant (RG-n) that froze the group */
};

struct raft_peer_status { /* leader's view of one member */
    raft_id id;
    uint8_t state; /* enum raft_peer_state */
    bool learner;
    bool active;   /* heard of since the last quorum check */
    bool paused;   /* nothing can be sent now */
    bool fetching; /* waits for raft_fetched */
    bool deferred; /* its entries leave on multiples of defer_ticks */
    raft_index match;
    raft_index next;
    raft_index snapshot; /* index of the snapshot being sent, 0 = none */
    uint32_t inflight;
    uint64_t inflight_bytes;
};

struct raft_stats { /* counters of one env, for metrics; never reset */
    uint64_t messages_in;
    uint64_t messages_out;
    uint64_t messages_bad;     /* malformed or foreign (P8) */
    uint64_t messages_stale;   /* older term, or an answer nobody waits for */
    uint64_t messages_dropped; /* response queue full */
    uint64_t prevotes;         /* pre-campaigns begun */
    uint64_t campaigns;        /* real campaigns begun */
    uint64_t elections_won;
    uint64_t step_downs;  /* leader became follower */
    uint64_t quorum_lost; /* .. of these by the quorum check */
    uint64_t votes_granted;
    uint64_t append_rejects;
    uint64_t snapshots_offered;
    uint64_t snapshots_installed;
    uint64_t transfers_begun;
    uint64_t transfers_aborted;
    uint64_t proposals_lost; /* entries overwritten after this replica had proposed */
    uint64_t reads_failed;
    uint64_t frozen; /* groups frozen since start */
};

struct raft_env;
struct raft_group;

/* ---- life ---- */

/* Fills in the defaults of the design: 1000/200, 256 messages and 4 MiB in flight, 1 MiB per
 * message, 16 MiB uncommitted, pre-vote, quorum check, step-down and strict membership on, leases
 * off. */
void raft_config_default(struct raft_config *config);

/* Creates what all groups of one loop share: configuration (copied) and scratch memory. Never NULL;
 * a nonsensical config is a programmer error (fl_assert). */
struct raft_env *raft_env_create(const struct raft_config *config, const struct raft_ops *ops);
/* All groups of the env must be closed. */
void raft_env_destroy(struct raft_env *env);
const struct raft_stats *raft_env_stats(const struct raft_env *env);

/* Opens a group from durable state; `user` goes to raft_ops. The caller owns *out (raft_close).
 * FL_FROZEN: the state contradicts itself (commit > last, applied > last, gap in the runs ..);
 * *out = NULL and *why (may be NULL) names the invariant. The caller must treat it as damaged. */
FL_MUST_USE enum fl_status raft_open(struct raft_env *env,
                                     const struct raft_boot *boot,
                                     void *user,
                                     uint64_t now,
                                     struct raft_group **out,
                                     const char **why);
/* Forgets the group, answers nothing. NULL is fine. */
void raft_close(struct raft_group *g);

/* ---- inputs: all return FL_FROZEN once the group is frozen, and change nothing when they fail
 * ---- */

/* One message from a peer. `ents` = m->nents entries following m->index (APP), else NULL.
 * *keep_lo..*keep_hi (lo > hi = none) = the indexes whose payloads the shell must keep until a
 * persist record took them; all others it may drop. FL_OK processed (or ignored as stale). SNAP:
 * FL_OK = wanted, receive and stage it; FL_STALE = not needed. FL_NOT_MEMBER answer of a replica
 * outside the configuration. FL_BAD_MESSAGE malformed. */
FL_MUST_USE enum fl_status raft_step(struct raft_group *g,
                                     uint64_t now,
                                     const struct raft_msg *m,
                                     const struct raft_ent *ents,
                                     raft_index *keep_lo,
                                     raft_index *keep_hi);
/* Timers. Due when now >= raft_deadline(); calling earlier or later is harmless. */
FL_MUST_USE enum fl_status raft_tick(struct raft_group *g, uint64_t now);
/* RAFT_NEVER while quiesced or frozen. Changes only through inputs. */
uint64_t raft_deadline(const struct raft_group *g);

/* Appends n NORMAL entries: all or nothing; they get *first .. *first+n-1 in *term.
 * FL_NOT_LEADER (a leader is known, see raft_status_get), FL_NO_LEADER, FL_NOT_MEMBER (leader was
 * removed), FL_TRANSFERRING, FL_QUOTA. */
FL_MUST_USE enum fl_status raft_propose(struct raft_group *g,
                                        uint64_t now,
                                        const struct raft_ent *ents,
                                        uint32_t n,
                                        raft_index *first,
                                        raft_term *term);
/* Appends one CONF entry of `len` payload bytes at *at. The core sees the change now only to refuse
 * it; it takes effect by raft_conf_applied. As raft_propose, and FL_CONF_PENDING (an earlier change
 * is not applied, or nothing of the own term is committed yet: wait), FL_CONF_INVALID (never valid
 * in this configuration), FL_NOT_READY (strict: the learner to promote is too far behind). */
FL_MUST_USE enum fl_status raft_propose_conf(struct raft_group *g,
                                             uint64_t now,
                                             const struct raft_changes *changes,
                                             uint32_t len,
                                             raft_index *at,
                                             raft_term *term);
/* Asks for a linearizable read; answered once in raft_ready.reads, ok or not. Reads between two
 * readys share one round. A follower asks its leader. FL_NO_LEADER, FL_TRANSFERRING, FL_TOO_MANY.
 */
FL_MUST_USE enum fl_status raft_read_index(struct raft_group *g, uint64_t now, uint64_t ctx);
/* Hands leadership over; ends (either way) within one election timeout. A follower asks its leader.
 * FL_OK also when there is nothing to do (to == leader). FL_NO_LEADER, FL_NOT_MEMBER (unknown),
 * FL_CONF_INVALID (learner). */
FL_MUST_USE enum fl_status raft_transfer(struct raft_group *g, uint64_t now, raft_id to);
/* Starts an election now (through pre-vote if configured). FL_OK and nothing on a leader.
 * FL_NOT_MEMBER (not a voter), FL_NOT_READY (committed membership change not applied yet M2, or a
 * snapshot is being installed). */
FL_MUST_USE enum fl_status raft_campaign(struct raft_group *g, uint64_t now);
/* A follower stops believing in its leader, so that it grants (pre-)votes at once: used when the
 * leader's node is known to be gone. FL_OK and nothing on other roles or with lease reads (R8). */
FL_MUST_USE enum fl_status raft_forget_leader(struct raft_group *g, uint64_t now);

/* Everything up to record `seq` is durable. FL_STALE for a seq already acknowledged. */
FL_MUST_USE enum fl_status raft_persisted(struct raft_group *g, uint64_t now, uint64_t seq);
/* The store could not write: the group freezes (D12). */
void raft_persist_failed(struct raft_group *g, uint64_t seq);
/* The machine applied everything up to `upto`; `bytes` = payload bytes of these entries (for the
 * quota). Every CONF entry among them must have gone through raft_conf_applied before. FL_STALE. */
FL_MUST_USE enum fl_status
raft_applied(struct raft_group *g, uint64_t now, raft_index upto, uint64_t bytes);
/* The CONF entry at `at` is applied: the configuration changes now. In log order, before the
 * raft_applied that covers it. FL_STALE (not the oldest unapplied CONF entry), FL_CONF_INVALID
 * (this change is impossible here; counts as applied without effect, the same on every replica). */
FL_MUST_USE enum fl_status raft_conf_applied(struct raft_group *g,
                                             uint64_t now,
                                             raft_index at,
                                             const struct raft_changes *changes);
/* The log up to `upto` may vanish; call before the store drops it. FL_STALE (older than the last
 * one), FL_NOT_READY (upto > min(applied, durable_commit), D6; a record with that commit follows,
 * try again when it is durable). */
FL_MUST_USE enum fl_status raft_compacted(struct raft_group *g, raft_index upto);
/* A whole snapshot from `from` is on disk, its SNAP message went through raft_step before. FL_OK:
 * the next persist record says snapshot; install it completely (machine and log) before
 * acknowledging that record. FL_STALE: not needed, discard it. FL_NOT_MEMBER: its configuration
 * lacks us. FL_CONF_INVALID: malformed configuration or position, or a term nobody has met. */
FL_MUST_USE enum fl_status raft_snapshot_staged(struct raft_group *g,
                                                uint64_t now,
                                                raft_id from,
                                                raft_index index,
                                                raft_term term,
                                                const struct raft_conf *conf);
/* Leader: the stream to `peer` ended (accepted whole, or failed). */
FL_MUST_USE enum fl_status
raft_snapshot_status(struct raft_group *g, uint64_t now, raft_id peer, bool ok);
/* Leader: messages to `peer` were lost (connection broke, queue overflowed): back to probing. */
FL_MUST_USE enum fl_status raft_unreachable(struct raft_group *g, uint64_t now, raft_id peer);
/* Leader: payloads asked for in raft_ready.fetches for `peer` are in memory. */
FL_MUST_USE enum fl_status raft_fetched(struct raft_group *g, uint64_t now, raft_id peer);
/* The node-level beat: `peer`'s node answered a beat we sent at `sent_at` (leader: counts for the
 * quorum check and the lease), or `peer` is our leader and its node beats (follower: as a
 * heartbeat). A follower must be told before its node answers the beat. */
FL_MUST_USE enum fl_status
raft_peer_alive(struct raft_group *g, uint64_t now, raft_id peer, uint64_t sent_at);

/* ---- idle groups (Q1) ---- */

/* Leader: everything is replicated, committed and applied, nothing is pending. */
bool raft_can_quiesce(const struct raft_group *g);
/* Leader: send everybody to sleep with one last beat; no deadline until woken. FL_NOT_LEADER,
 * FL_NOT_READY. A follower sleeps by itself when that beat finds it complete. */
FL_MUST_USE enum fl_status raft_quiesce(struct raft_group *g, uint64_t now);
/* Timers start anew from now; every other input that matters wakes the group too. */
FL_MUST_USE enum fl_status raft_wake(struct raft_group *g, uint64_t now);

/* ---- outputs ---- */

bool raft_has_ready(const struct raft_group *g);
/* Fills *out; one group of an env at a time, raft_ready_done before any other input on that group.
 */
FL_MUST_USE enum fl_status raft_ready_get(struct raft_group *g, struct raft_ready *out);
void raft_ready_done(struct raft_group *g);

/* ---- looking in ---- */

void raft_status_get(const struct raft_group *g, struct raft_status *out);
/* Leader only: fills at most max members in id order, returns how many there are. Others: 0. */
uint32_t raft_peers_get(const struct raft_group *g, struct raft_peer_status *out, uint32_t max);
/* The configuration in force, as of the last raft_conf_applied or snapshot. */
const struct raft_conf *raft_conf_get(const struct raft_group *g);
/* Term of a log entry; 0 = not in the log (compacted or beyond). snap_index itself is known. */
raft_term raft_term_at(const struct raft_group *g, raft_index index);
/* Leader with lease_reads: local reads are safe until this time (exclusive); 0 = no lease. Read the
 * machine first, then compare the clock (R6). */
uint64_t raft_lease_until(const struct raft_group *g);
bool raft_lease_valid(const struct raft_group *g, uint64_t now);
/* Bytes of memory held by the group, heap included. */
size_t raft_group_bytes(const struct raft_group *g);

/* ---- pure helpers on configurations ---- */

/* Applies a change to *conf. FL_CONF_INVALID leaves it as it was (n = 0 outside joint too). VOID:
 * no-op. */
FL_MUST_USE enum fl_status raft_conf_change(struct raft_conf *conf,
                                            const struct raft_changes *changes);
/* Well-formed: sizes, order, disjoint masks, at least one voter (or entirely empty). */
bool raft_conf_valid(const struct raft_conf *conf);
/* Slot of id, or -1. */
int raft_conf_slot(const struct raft_conf *conf, raft_id id);
bool raft_conf_equal(const struct raft_conf *a, const struct raft_conf *b);

#endif
