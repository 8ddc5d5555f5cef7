/* A whole cluster in one thread: cores, logs on disks, machines, network, clocks and clients, in
 * virtual time. One seed decides everything.
 *
 * Owner:    the caller of sim_world_create. Lifetime: until sim_world_destroy.
 * Threads:  one per world; worlds share nothing.
 *
 *     event queue --> packet, timer, disk, apply, client, fault ..   one input of one core each
 *                       |
 *                     sim_watch: the invariants, after every input
 *                       |
 *                     ready: messages --> network, record --> disk, entries --> machine
 *
 * Durable and volatile state of a replica are apart: a crash frees the volatile part and cuts the
 * durable one back to what the disk model says. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "raftgroup/base/prng.h"
#include "raftgroup/raft.h"
#include "tests/sim/log.h"
#include "tests/sim/machine.h"
#include "tests/sim/op.h"
#include "tests/sim/plan.h"
#include "tests/sim/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SIM_NODES_MAX = 8,     /* node numbers are 1..7 */
    SIM_GROUPS_MAX = 12,   /* group numbers are 1.. */
    SIM_REPLICAS_MAX = 48, /* replica ids ever used in a group */
    SIM_CLIENTS_MAX = 8,
    SIM_PARKED_MAX = 32, /* old messages kept for a replay */
    SIM_INITIAL = 5      /* index and term where every group begins (design 8) */
};

enum sim_event_kind {
    SIM_EV_PACKET,    /* data: struct sim_packet */
    SIM_EV_TURN,      /* readies of a node's dirty replicas */
    SIM_EV_TICK,      /* arg: replica id */
    SIM_EV_DISK,      /* the batch being written is done */
    SIM_EV_DISK_ACK,  /* its records are told to the cores */
    SIM_EV_APPLY,     /* arg: replica id */
    SIM_EV_FETCHED,   /* arg: replica id << 32 | peer */
    SIM_EV_INSTALL,   /* arg: replica id */
    SIM_EV_STREAM,    /* the sender of a snapshot looks after it; arg: stream number */
    SIM_EV_FLUSH,     /* of the machines of a node */
    SIM_EV_BEAT,      /* nodes look after each other (for groups that sleep) */
    SIM_EV_RESTART,   /* of a node that is down */
    SIM_EV_CLIENT,    /* arg: client */
    SIM_EV_REQUEST,   /* arg: op serial */
    SIM_EV_TIMEOUT,   /* arg: op serial */
    SIM_EV_FAULT,     /* something breaks or is mended */
    SIM_EV_HEAL_LINK, /* arg: from << 8 | to */
    SIM_EV_OPERATOR,  /* membership, transfers, compaction */
    SIM_EVENTS
};

/* ---- network ---- */

struct sim_piece { /* of a snapshot stream */
    uint32_t stream;
    uint32_t number;
    uint32_t count;
    bool answer; /* to the sender: the stream ended */
    bool ok;
    struct sim_image *image; /* with piece 0 .. count-1, each holds a reference */
};

struct sim_packet {
    struct raft_msg m;
    unsigned from_node;
    unsigned to_node;
    struct sim_piece piece;     /* count != 0: a piece or its answer, m is the SNAP message */
    struct sim_entry entries[]; /* m.nents */
};

struct sim_link {
    uint64_t last;       /* arrival of the youngest message when they do not overtake */
    uint64_t clog_until; /* nothing arrives before */
    bool cut;
};

/* ---- disk ---- */

struct sim_record {
    struct sim_record *next;
    struct raft_persist p;
    struct sim_image *image; /* p.snapshot */
    uint32_t group;
    raft_id replica;
    struct sim_entry entries[];
};

/* One atomic write. */
struct sim_batch {
    struct sim_batch *next;
    struct sim_record *records;
    struct sim_record **tail;
    bool sync;
};

struct sim_hard {
    raft_term term;
    raft_id vote;
    raft_index commit;
};

struct sim_disk {
    struct sim_hard hard;      /* as synced */
    raft_index commit_written; /* written without a sync: may be lost */
    struct sim_log log;
    raft_index intent; /* a snapshot is being installed (D5), 0: none */
    raft_term intent_term;
    uint64_t intent_chain;
};

/* ---- replicas ---- */

struct sim_pending { /* a proposal waiting for its entry */
    raft_index index;
    raft_term term;
    uint64_t op;
};

struct sim_asked { /* a read waiting for its round, then for its index */
    uint64_t ctx;
    uint64_t op;
    raft_index floor; /* committed anywhere when it was asked */
    raft_index index;
    bool confirmed;
};

struct sim_match {
    raft_id id;
    raft_index match;
};

/* What the watch remembers of a replica. */
struct sim_watched {
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index applied;
    raft_term led; /* newest term it was seen leading, ever */
    uint8_t role;
    struct sim_match match[RAFT_MEMBERS_MAX];
    uint32_t matches;
    /* promises that left, kept over crashes */
    raft_term granted_term;
    raft_id granted_to;
    raft_term asked_term; /* newest term it sent vote requests in */
};

struct sim_replica {
    raft_id id;
    unsigned node;
    unsigned group;
    /* durable */
    struct sim_disk disk;
    bool wiped;     /* its disk is gone for ever */
    bool destroyed; /* removed and deleted */
    /* volatile: raft == NULL while its process is down */
    struct raft_group *raft;
    struct sim_log mem;
    struct sim_machine *machine;
    raft_index apply_hi;
    bool apply_queued;
    bool dirty;
    bool held; /* a snapshot is being installed: no ready until it is (D5) */
    uint64_t tick_at;
    struct sim_image *staged;
    uint32_t stream_in; /* stream being received, 0: none */
    uint32_t stream_pieces;
    uint32_t stream_got;                       /* bit per piece */
    raft_index fetch_lo[SIM_REPLICAS_MAX + 1]; /* by peer: payloads brought to memory */
    raft_index fetch_hi[SIM_REPLICAS_MAX + 1];
    struct sim_pending *pending;
    size_t npending;
    size_t pending_capacity;
    struct sim_asked *asked;
    size_t nasked;
    size_t asked_capacity;
    struct sim_watched watched;
    raft_index checkpoint; /* of the machine, flushed */
    raft_index told;       /* commit at the last ready */
    bool cold;             /* memory holds only the newest payloads */
    bool joins;            /* voted or asked for votes: campaign at once after a restart */
};

struct sim_node {
    unsigned id;
    bool up;
    bool dead;    /* stays down in the liveness phase */
    bool waiting; /* a turn is in the queue */
    bool touched; /* a core of it had an input during this event */
    uint32_t boot;
    uint64_t paused_until;
    uint32_t lost; /* bit per peer that went away since the last beat */
    /* local = local_base + (virtual - virtual_base) * rate / 1000 */
    uint64_t virtual_base;
    uint64_t local_base;
    uint32_t rate;
    struct raft_env *env;
    struct sim_store *store;
    struct sim_replica *replica[SIM_GROUPS_MAX + 1]; /* live one of a group, up or down */
    /* disk: batches in order; the first is being written while `writing` */
    struct sim_batch *first;
    struct sim_batch **tail;
    struct sim_batch *done; /* written, not yet told to the cores */
    bool writing;
    bool fail_next;
    uint64_t stuck_until;
    uint32_t slow; /* factor of the time of a write */
};

/* ---- truth: what the group as a whole has done ---- */

struct sim_seen { /* one (index, term) that was ever in a log */
    raft_term term;
    uint64_t chain;
    uint32_t next;
    bool lost; /* reported as never to be applied */
};

struct sim_committed {
    raft_term term;
    raft_term by; /* term of the leader that committed it first */
    uint64_t chain;
    uint64_t digest; /* of a machine that applied it, 0: none yet */
};

struct sim_truth {
    uint32_t *heads; /* by index: first of `seen`, + 1 */
    size_t head_capacity;
    struct sim_seen *seen;
    size_t nseen;
    size_t seen_capacity;
    struct sim_committed *committed; /* by index */
    size_t committed_capacity;
    raft_index committed_hi;
    raft_id *leader_of; /* by term */
    size_t leader_capacity;
    raft_index conf_index; /* newest CONF entry any machine applied */
    struct raft_conf conf; /* after it */
};

struct sim_group {
    unsigned id;
    bool born; /* its first replicas exist */
    raft_id next_id;
    struct sim_replica *replica[SIM_REPLICAS_MAX + 1]; /* by id */
    uint8_t home[SIM_REPLICAS_MAX + 1];                /* node of a replica id */
    struct sim_truth truth;
};

/* ---- everything ---- */

struct sim_client {
    unsigned id;
    unsigned history_client;
    uint64_t op;                      /* serial of the one in flight, 0: none */
    uint64_t returned;                /* time of its last answer */
    uint8_t hint[SIM_GROUPS_MAX + 1]; /* node believed to lead */
};

struct sim_stream {
    unsigned from_node;
    unsigned to_node;
    uint32_t boot;
    uint8_t group;
    raft_id from;
    raft_id to;
    struct sim_image *image;
    struct raft_msg m;
    uint32_t pieces;
    unsigned tries;
    unsigned silent; /* looks in a row at a receiver that was down */
    bool ended;
};

struct sim_counts {
    uint64_t core_events;
    uint64_t events;
    uint64_t faults[SIM_FAULTS];
    uint64_t messages;
    uint64_t committed;
    uint64_t ops_ok;
    uint64_t ops_failed;
    uint64_t ops_unknown;
    uint64_t reads_ok;
    uint64_t elections;
    uint64_t snapshots;
    uint64_t restarts;
    uint64_t virtual_us;
    uint64_t undecided; /* histories the checker gave up on */
};

struct sim_world {
    struct sim_options options;
    struct sim_plan plan;
    const struct sim_machine_set *set;
    uint64_t now;
    struct sim_queue queue;
    struct fl_prng net_prng;
    struct fl_prng disk_prng;
    struct fl_prng fault_prng;
    struct fl_prng client_prng;
    struct fl_prng core_prng;
    struct sim_node node[SIM_NODES_MAX];
    struct sim_group group[SIM_GROUPS_MAX + 1];
    struct sim_link link[SIM_NODES_MAX][SIM_NODES_MAX];
    struct sim_packet *parked[SIM_PARKED_MAX];
    size_t nparked;
    struct sim_payload *payloads; /* [0] unused */
    size_t npayloads;
    size_t payload_capacity;
    struct sim_op *ops; /* [0] unused */
    size_t nops;
    size_t op_capacity;
    struct sim_stream *streams; /* [0] unused */
    size_t nstreams;
    size_t stream_capacity;
    struct sim_client client[SIM_CLIENTS_MAX];
    uint64_t read_ctx;
    uint32_t next_value;
    uint32_t last_value[SIM_GROUPS_MAX + 1][8]; /* seen or written by somebody: for compares */
    bool healing;
    uint8_t final[SIM_GROUPS_MAX + 1][16]; /* last operations: 0 to do, 1 in flight, 2 done */
    struct sim_counts counts;
    uint64_t trace_hash;
    char violation[320]; /* "" none; begins with the name of the invariant */
};

/* ---- world.c ---- */

struct sim_world *sim_world_create(const struct sim_options *options,
                                   const struct sim_machine_set *set);
/* Safety phase, healing, liveness phase, history; world->violation tells. */
void sim_world_run(struct sim_world *w);
void sim_world_destroy(struct sim_world *w);
void sim_after(struct sim_world *w, uint64_t wait, struct sim_event event);
/* Handles events until `until`, or the end of the budget of core events, or a violation. */
void sim_run_until(struct sim_world *w, uint64_t until, uint64_t core_events);
void sim_trace(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint32_t sim_payload_new(struct sim_world *w);
static inline const struct sim_payload *sim_payload(const struct sim_world *w, uint32_t number)
{
    return number != 0 ? &w->payloads[number] : NULL;
}
/* Is the fault on, and does the dice say so? Counts it. */
bool sim_roll(struct sim_world *w, struct fl_prng *prng, enum sim_fault fault);

/* ---- node.c: processes ---- */

uint64_t sim_local_ms(const struct sim_world *w, const struct sim_node *n);
void sim_node_start(struct sim_world *w, struct sim_node *n);
/* kill -9 or power loss; what was not durable may be gone. */
void sim_node_crash(struct sim_world *w, struct sim_node *n, const char *why);
/* The disk goes with it; its replicas will never come back. */
void sim_node_wipe(struct sim_world *w, struct sim_node *n);
void sim_node_flush(struct sim_world *w, struct sim_node *n);
/* The readies of all cores of a node that had inputs. */
void sim_node_turn(struct sim_world *w, struct sim_node *n);
/* A beat of the node: silent peers wake the groups that sleep (Q1). */
void sim_node_beat(struct sim_world *w, struct sim_node *n);
/* Virtual time at which the node's clock shows so many milliseconds. */
uint64_t sim_virtual_us(const struct sim_node *n, uint64_t local_ms);
void sim_node_set_rate(struct sim_world *w, struct sim_node *n, uint32_t rate);
/* Creates the durable state of a replica: a member of `conf`, or a stranger (conf NULL). */
struct sim_replica *
sim_replica_create(struct sim_world *w, unsigned group, raft_id id, const struct raft_conf *conf);
void sim_replica_open(struct sim_world *w, struct sim_replica *r);
void sim_replica_close(struct sim_world *w, struct sim_replica *r);
/* Removed from its group and needed by nobody. */
void sim_replica_destroy(struct sim_world *w, struct sim_replica *r);

/* ---- replica.c: one core and its shell ---- */

/* Every input of a core passes here: counted, watched, its ready scheduled. */
enum fl_status sim_input(struct sim_world *w, struct sim_replica *r, enum fl_status status);
void sim_replica_ready(struct sim_world *w, struct sim_replica *r);
void sim_replica_step(struct sim_world *w, struct sim_replica *r, const struct sim_packet *packet);
void sim_replica_tick(struct sim_world *w, struct sim_replica *r);
void sim_replica_apply(struct sim_world *w, struct sim_replica *r);
void sim_replica_install(struct sim_world *w, struct sim_replica *r);
/* Payloads of cold entries are in memory now. */
void sim_replica_fetched(struct sim_world *w, struct sim_replica *r, raft_id peer);
/* Takes an entry that the core just appended into memory. */
void sim_replica_keep(struct sim_world *w,
                      struct sim_replica *r,
                      raft_index index,
                      struct sim_entry entry);
void sim_replica_staged(struct sim_world *w,
                        struct sim_replica *r,
                        raft_id from,
                        struct sim_image *image);
void sim_replica_schedule(struct sim_world *w, struct sim_replica *r);
void sim_replica_compact(struct sim_world *w, struct sim_replica *r);
uint32_t sim_replica_fit(void *user, raft_index lo, raft_index hi, uint64_t max, uint64_t *bytes);
enum fl_status
sim_replica_change(struct sim_world *w, struct sim_replica *r, const struct raft_changes *changes);
static inline bool sim_is_up(const struct sim_replica *r)
{
    return r != NULL && r->raft != NULL;
}

/* ---- disk.c ---- */

void sim_disk_queue(struct sim_world *w, struct sim_replica *r, const struct raft_persist *p);
void sim_disk_done(struct sim_world *w, struct sim_node *n);
void sim_disk_ack(struct sim_world *w, struct sim_node *n);
/* What a crash leaves: some of the queued batches, in order, whole. */
void sim_disk_crash(struct sim_world *w, struct sim_node *n);
void sim_disk_start(struct sim_world *w, struct sim_node *n);

/* ---- net.c ---- */

void sim_net_send(struct sim_world *w, struct sim_replica *r, const struct raft_msg *m);
void sim_net_arrive(struct sim_world *w, struct sim_packet *packet);
void sim_net_replay(struct sim_world *w, unsigned node);
void sim_net_stream(struct sim_world *w, uint32_t stream);
void sim_packet_free(struct sim_packet *packet);

/* ---- client.c ---- */

void sim_client_next(struct sim_world *w, struct sim_client *c);
void sim_client_request(struct sim_world *w, uint64_t serial, struct sim_node *n);
void sim_client_timeout(struct sim_world *w, uint64_t serial);
/* A proposal of the op is settled: applied with an outcome, or certainly never. */
void sim_op_applied(struct sim_world *w, uint64_t serial, const struct sim_outcome *outcome);
void sim_op_lost(struct sim_world *w, uint64_t serial);
void sim_read_done(struct sim_world *w, struct sim_replica *r, const struct raft_read *read);
void sim_reads_serve(struct sim_world *w, struct sim_replica *r);
/* Are the last operations of every group answered? */
bool sim_client_finished(const struct sim_world *w);
/* Runs the checker over all that clients saw. */
void sim_history_check(struct sim_world *w);

/* ---- fault.c, operator.c ---- */

void sim_fault_next(struct sim_world *w);
void sim_fault_heal_link(struct sim_world *w, unsigned from, unsigned to);
/* Links, disks, clocks and pauses are mended; nodes stay as they are. */
void sim_fault_heal(struct sim_world *w);
void sim_operator_next(struct sim_world *w);
/* Deletes replicas that nobody counts on any more. */
void sim_operator_sweep(struct sim_world *w);
/* Could every group still go on if these nodes (bit per node) never came back? Only a yes is sure.
 */
bool sim_operator_can_lose(const struct sim_world *w, uint32_t nodes);
/* Some CONF entry is in a log and not applied by every member that is up. */
bool sim_operator_changing(const struct sim_world *w, unsigned group);
struct sim_replica *sim_leader(const struct sim_world *w, unsigned group);

/* ---- liveness.c ---- */

void sim_liveness(struct sim_world *w);

/* ---- watch.c ---- */

/* Notes the first violation. */
void sim_violate(struct sim_world *w, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sim_watch(struct sim_world *w, struct sim_replica *r);
void sim_watch_opened(struct sim_world *w, struct sim_replica *r);
void sim_watch_append(struct sim_world *w, struct sim_replica *r, raft_index index);
void sim_watch_send(struct sim_world *w, struct sim_replica *r, const struct raft_msg *m);
void sim_watch_record(struct sim_world *w, struct sim_replica *r, const struct sim_record *record);
void sim_watch_applied(struct sim_world *w,
                       struct sim_replica *r,
                       raft_index index,
                       uint64_t digest);
/* A snapshot was installed; its state must be what others had there. */
void sim_watch_installed(struct sim_world *w,
                         struct sim_replica *r,
                         raft_index index,
                         uint64_t digest);
void sim_watch_lost(struct sim_world *w, struct sim_replica *r, const struct raft_lost *lost);
/* An acknowledged write must be what the group committed at that place. */
void sim_watch_answered(struct sim_world *w, struct sim_replica *r, raft_index index);
void sim_truth_close(struct sim_truth *truth);

#endif
