/* Revisions over ranges: the oracle that hands them out, the node that asks for them, and the floor
 * of the range that uses them (design section 10).
 *
 * Owner: the loop that runs the first range (node_oracle), the loop that asks for the node
 * (node_oracle_client), the loop of the range (node_floor). Lifetime: init to close.
 * Threads: none inside; everything belongs to the owner's thread.
 *
 * Pure: no I/O, no clock (time is an argument, milliseconds), no callback. Outputs are fetched:
 * after every input call the functions named "next" until they say no.
 *
 *      node (client)                               leader of the first range (oracle)
 *        writes, reads wait
 *        ask{seq, count} ------------------------->  current += count, never above the mark
 *        propose with       <----------------------- grant{seq, current, count}
 *        current+1 ..                                read-index round, begun after the grant
 *        acknowledge,       <----------------------- confirm{seq}: and every earlier seq of the
 *        believe R=current                           term
 *
 * Most asks bear witness: the asker's own voter of the first range had not left the oracle's term.
 * That is all a round would find out, so such a grant is its own confirm (OR-13):
 *
 *        ask{.., witness} ------------------------>  the two voters are a quorum
 *        propose,           <----------------------- grant{.., witness}
 *        acknowledge, believe
 *
 * One ask is in flight per node; what arrives meanwhile shares the next one. Asks do not wait for
 * confirms. Invariants OR-1.. are in node/README.md. */
#ifndef NODE_ORACLE_H
#define NODE_ORACLE_H

#include "node/oracle_message.h"
#include "raftgroup/base/limits.h"
#include "raftgroup/base/list.h"
#include "raftgroup/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_ORACLE_WINDOW      16384               /* revisions between two marks */
#define NODE_ORACLE_WAITERS_MAX 65536               /* of one client */
#define NODE_ORACLE_CLIENTS_MAX (16 * FL_NODES_MAX) /* a node may have a client per loop */
#define NODE_ORACLE_ROUNDS_MAX  8                   /* read-index rounds in flight */
#define NODE_ORACLE_TIMEOUT_MS  300 /* an ask or a confirm this late is asked anew */
#define NODE_ORACLE_RETRY_MS    50  /* pause after a refusal */

/* ---- oracle: on the leader of the first range ---- */

struct node_oracle_peer; /* one asking node */

struct node_oracle_round {
    uint64_t ctx;   /* 0: free */
    uint64_t grant; /* grants numbered up to this precede the round */
};

struct node_oracle {
    bool leading;
    bool paused;
    uint64_t term;
    uint64_t start;         /* `current` when the term began */
    uint64_t current;       /* highest revision handed out; nothing above `mark` ever is (OR-1) */
    uint64_t mark;          /* highest mark committed; none above was ever handed out */
    uint64_t mark_proposed; /* in flight, 0: none */
    uint64_t compact;
    uint64_t grants;       /* numbers of the grants of this term that need a round */
    uint64_t rounds_begun; /* grant number the newest round covers */
    uint64_t confirmed;    /* grant number confirmed */
    uint64_t next_ctx;     /* 1 .. for rounds, never reused in the life of this struct */
    struct node_oracle_round rounds[NODE_ORACLE_ROUNDS_MAX];
    struct node_oracle_peer **peers; /* everyone who ever asked */
    size_t peer_count;
    size_t peer_capacity;
    struct fl_list parked;      /* peers whose ask wants revisions, in order of arrival */
    struct fl_list reading;     /* peers whose ask wants none: they need no room below the mark */
    struct fl_list unconfirmed; /* peers with grants that are not confirmed yet */
    struct fl_list due;         /* .. of which some are, to be told */
};

void node_oracle_init(struct node_oracle *oracle);
void node_oracle_close(struct node_oracle *oracle);

/* This replica leads the first range in `term` and has applied an entry of that term;
 * `last_revision` and `mark` are those of its machine, `compact` its compact revision. Hands out
 * nothing until a mark proposed in this term is committed. */
void node_oracle_lead(struct node_oracle *oracle,
                      uint64_t term,
                      uint64_t last_revision,
                      uint64_t mark,
                      uint64_t compact);
/* No longer leader: parked asks and unconfirmed grants are forgotten, nothing leaves any more. */
void node_oracle_step_down(struct node_oracle *oracle);
/* Before a planned transfer: asks are parked (and forgotten by node_oracle_step_down), rounds go
 * on. Transfer once node_oracle_settled, so that no write is left with an unknown outcome. `paused`
 * false resumes after a transfer that failed. */
void node_oracle_pause(struct node_oracle *oracle, bool paused);
/* Nothing handed out awaits its confirm. */
bool node_oracle_settled(const struct node_oracle *oracle);
/* The keyspace was compacted up to `revision`. */
void node_oracle_compacted(struct node_oracle *oracle, uint64_t revision);

/* An ASK from node `from` arrived. FL_OK: taken, an answer comes from node_oracle_next.
 * FL_NOT_LEADER: answer with REFUSE. FL_STALE: older than one this node sent before, drop it.
 * FL_TOO_MANY: more nodes than FL_NODES_MAX. */
FL_MUST_USE enum fl_status
node_oracle_asked(struct node_oracle *oracle, uint64_t from, const struct node_oracle_message *ask);
/* The node the next message goes to; false: none now. */
bool node_oracle_next(const struct node_oracle *oracle, uint64_t *to);
/* That message, to be sent now. `quorum`: the voter on that node and the one here are a quorum as
 * things stand (node_witness_suffices). */
void node_oracle_take(struct node_oracle *oracle, bool quorum, struct node_oracle_message *message);

/* True when a MARK command with *mark should be proposed in the first range now; then it counts as
 * in flight until node_oracle_marked or node_oracle_mark_lost. */
bool node_oracle_want_mark(struct node_oracle *oracle, uint64_t *mark);
/* A MARK was committed and applied in the first range (by whomever it was proposed). */
void node_oracle_marked(struct node_oracle *oracle, uint64_t mark);
/* The MARK in flight could not be proposed or was lost: it is wanted again. Call it a turn later,
 * or the loop spins on a group that refuses proposals. */
void node_oracle_mark_lost(struct node_oracle *oracle);

/* True when a read-index round should be begun in the first range now, for *ctx (unique in the life
 * of this struct only); take the messages of node_oracle_next first, so that the round covers what
 * was just handed out. */
bool node_oracle_want_round(struct node_oracle *oracle, uint64_t *ctx);
/* The round ended; not ok (also: could not begin): it is wanted again, see node_oracle_mark_lost.
 * Contexts of an earlier term are ignored. */
void node_oracle_round_done(struct node_oracle *oracle, uint64_t ctx, bool ok);

/* ---- client: one per node ---- */

enum node_oracle_wait_kind { NODE_ORACLE_WRITE, NODE_ORACLE_READ };

/* Embedded in the write or read that waits; owned by the client from submit until an event that
 * says so, or until node_oracle_client_cancel. */
struct node_oracle_waiter {
    struct fl_list link;
    enum node_oracle_wait_kind kind;
    uint64_t revision; /* WRITE: granted to it; READ: R */
    uint64_t compact;  /* compact revision at the time of the grant */
    uint64_t start;    /* where the term of the granting oracle began (OR-11) */
    uint64_t seq;      /* ask that carried it */
};

enum node_oracle_event {
    NODE_ORACLE_NOTHING,
    NODE_ORACLE_GRANTED,   /* WRITE: `revision` may be proposed now; the client keeps the waiter */
    NODE_ORACLE_CONFIRMED, /* WRITE: may be acknowledged once applied. READ: `revision` is R. The
                            * waiter is the caller's again */
    NODE_ORACLE_UNCONFIRMABLE, /* WRITE: if it was proposed, its outcome must be told as unknown,
                                * even if it is applied; the waiter is the caller's again */
};

struct node_oracle_client {
    uint32_t boot;
    uint64_t oracle;   /* node believed to lead the first range; 0: unknown */
    uint64_t asked_of; /* node the ask in flight went to */
    uint64_t term;     /* highest oracle term heard of; grants of older ones are refused */
    uint64_t seen;     /* highest revision this node knows to be handed out */
    uint64_t next_seq; /* 1 .. */
    uint64_t flying;   /* seq of the ask in flight; 0: none */
    uint64_t asked_at; /* ms */
    uint64_t
        asked_seen; /* `seen` when the ask left: a grant not above comes from the past (OR-6) */
    uint32_t asked_count;
    bool asked_witness;
    uint64_t retry_at;          /* no ask before this time; 0: at once */
    uint64_t confirmed;         /* highest seq confirmed in `term` */
    uint64_t progress_at;       /* ms of the last grant, confirm or probe */
    bool probe;                 /* a confirm is overdue: ask, even if nobody waits */
    size_t count;               /* waiters held */
    struct fl_list waiting;     /* not asked for yet */
    struct fl_list asked;       /* in the ask in flight */
    struct fl_list granted_new; /* WRITEs to be reported as granted */
    struct fl_list unconfirmed; /* reported WRITEs and READs, in order of seq */
    struct fl_list done;        /* to be reported as confirmed */
    struct fl_list lost;        /* WRITEs to be reported as unconfirmable */
};

/* `boot` is the node's persisted boot count: answers to an earlier life must not be taken for new.
 */
void node_oracle_client_init(struct node_oracle_client *client, uint32_t boot);

/* Node `oracle` leads the first range in `term`. A higher term makes granted but unconfirmed writes
 * unconfirmable and asks anew for everything else; an older one is ignored. Term 0 is a guess (a
 * replica of the first range, leader or not): it counts only while node_oracle_client_lacks_oracle.
 */
void node_oracle_client_set_oracle(struct node_oracle_client *client,
                                   uint64_t oracle,
                                   uint64_t term);
/* Somebody waits and nobody is known to ask (at start, after a refusal or a timeout): call
 * node_oracle_client_set_oracle with the leader the local replica of the first range knows, or
 * guess its replicas in turn. */
bool node_oracle_client_lacks_oracle(const struct node_oracle_client *client);
/* The connection to node `peer` is gone: what was asked of it is asked anew. */
void node_oracle_client_peer_lost(struct node_oracle_client *client, uint64_t peer);
/* This node learned that `revision` was handed out (it applied or answered something with it). */
void node_oracle_client_seen(struct node_oracle_client *client, uint64_t revision);

/* Hands over a waiter (`kind` set by the caller). A write may be submitted only by a replica that
 * leads its range, and must be cancelled when it ceases to in that term (OR-8). FL_TOO_MANY at
 * NODE_ORACLE_WAITERS_MAX: the waiter stays the caller's. */
FL_MUST_USE enum fl_status node_oracle_client_submit(struct node_oracle_client *client,
                                                     struct node_oracle_waiter *waiter);
/* Takes a waiter back that no event has given back yet, without an event. A revision granted to it
 * is never used by anyone else. */
void node_oracle_client_cancel(struct node_oracle_client *client,
                               struct node_oracle_waiter *waiter);

/* True when *ask should be sent to node *to now. `witness`: term of this node's voter of the first
 * range (node_witness_term), looked up for this call: not before anybody who waits was submitted;
 * 0: none. */
bool node_oracle_client_ask(struct node_oracle_client *client,
                            uint64_t now,
                            uint64_t witness,
                            uint64_t *to,
                            struct node_oracle_message *ask);
/* A GRANT, CONFIRM or REFUSE from node `from` arrived. FL_STALE: from the past, ignored (an ask may
 * be due again); FL_BAD_MESSAGE: an ASK, or more granted or confirmed than was asked for. */
FL_MUST_USE enum fl_status node_oracle_client_answered(struct node_oracle_client *client,
                                                       uint64_t now,
                                                       uint64_t from,
                                                       const struct node_oracle_message *message);
/* What happened to which waiter; NODE_ORACLE_NOTHING and *waiter NULL when there is no more. */
enum node_oracle_event node_oracle_client_next(struct node_oracle_client *client,
                                               struct node_oracle_waiter **waiter);
/* When node_oracle_client_tick is due; UINT64_MAX: never as things stand. */
uint64_t node_oracle_client_deadline(const struct node_oracle_client *client);
/* Gives up an ask that is too late, and probes for a confirm that is. */
void node_oracle_client_tick(struct node_oracle_client *client, uint64_t now);

/* ---- floor: one per range led here ---- */

struct node_floor_entry {
    uint64_t revision;
    uint64_t index;
};

/* Revisions used in the log of one range by its leader, and those that may no longer be used. */
struct node_floor {
    uint64_t floor; /* nothing at or below may be proposed any more */
    struct node_floor_entry *entries;
    size_t first; /* entries[first..end-1]: proposed and not applied; both fields ascend */
    size_t end;
    size_t capacity;
};

void node_floor_init(struct node_floor *floor);
void node_floor_close(struct node_floor *floor);
/* The replica became leader and has applied an entry of its term; its machine is at
 * `last_revision`, and `read_revision` is the R of a NODE_ORACLE_READ submitted since it became
 * leader and confirmed: no read that an earlier leader served was above it (OR-10). */
void node_floor_lead(struct node_floor *floor, uint64_t last_revision, uint64_t read_revision);
/* No longer leader: what was in flight is forgotten. */
void node_floor_step_down(struct node_floor *floor);
/* A read at `revision` will be served here: no write at or below may follow it. Raise first, then
 * begin the read-index round of the range, then wait for node_floor_wait_index (OR-9). */
void node_floor_raise(struct node_floor *floor, uint64_t revision);
/* May this granted revision still be proposed? FL_STALE: give `floor->floor` to
 * node_oracle_client_seen (an oracle that granted below it is of the past and is then refused) and
 * submit the write again. Ask for every write with a revision, confirmed or not. */
FL_MUST_USE enum fl_status node_floor_admit(const struct node_floor *floor, uint64_t revision);
/* An admitted revision was proposed and will be at `index` of the log. */
void node_floor_proposed(struct node_floor *floor, uint64_t revision, uint64_t index);
/* Everything up to `index` is applied. */
void node_floor_applied(struct node_floor *floor, uint64_t index);
/* Highest index proposed and not applied whose revision is <= `revision`; 0: none. A read at
 * `revision` waits until it is applied. */
uint64_t node_floor_wait_index(const struct node_floor *floor, uint64_t revision);

#endif
