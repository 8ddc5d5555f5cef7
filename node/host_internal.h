/* Private to the hosting of groups: the structs that host, replica and forward files share.
 *
 * Owner, lifetime and threads: as host.h says; everything here belongs to the host's loop. */
#ifndef NODE_HOST_INTERNAL_H
#define NODE_HOST_INTERNAL_H

#include "node/clock.h"
#include "node/host.h"
#include "node/log_cache.h"
#include "node/log_store.h"
#include "node/node_internal.h"
#include "node/oracle.h"
#include "raftgroup/base/prng.h"
#include "raftgroup/raft.h"
#include "shard/machine.h"

struct node_snapshot_out;
struct node_snapshot_in;

/* One replica of one group: the core, its log window, and the requests that wait on it. */
struct node_replica {
    UT_hash_handle hh; /* host's table, by group_id */
    uint64_t group_id;
    uint64_t replica_id;
    uint64_t incarnation;
    struct node_host *host;
    struct raft_group *raft;
    struct shard_machine *machine;
    struct shard_range range; /* members; keys too unless it is the placement group */
    struct node_log_cache *cache;
    struct node_deadline timer;       /* the core's */
    struct node_deadline early_timer; /* elections out of turn */
    unsigned early_tries;
    struct fl_list dirty; /* in the host's list when its core may have a ready */

    /* soft state as of the last ready */
    uint8_t role;
    raft_term term;
    uint64_t leader_node;    /* 0: unknown */
    raft_index lead_index;   /* leader: first index of its term; serves once it is applied */
    bool told_oracle;        /* leader: the oracle, if it is here, knows */
    bool asked_floor;        /* leader: asked the oracle for R before it serves (OR-10) */
    bool serving;            /* leader, lead_index applied, floor known */
    bool frozen;             /* reported */
    uint64_t quiet_since_ms; /* last time something but beats happened */

    /* writes */
    struct fl_list parked;    /* no leader known */
    struct fl_list awaiting;  /* REVISION: with the oracle client */
    struct fl_list proposing; /* proposed at the end of this turn */
    size_t proposing_count;
    struct fl_list proposed; /* by index */
    struct node_floor floor;

    /* reads */
    struct fl_list reads_new;   /* share the next read-index round */
    struct fl_list reads_round; /* their round is under way */
    struct fl_list reads_ready; /* wait until `index` is applied */
    uint64_t read_ctx;          /* the newest round's; rounds of the oracle count separately */

    /* apply */
    struct node_deadline apply_timer; /* follower: entries that gather for the apply thread */
    bool apply_due;                   /* .. and it rang */
    raft_index apply_next;            /* first index not handed to the apply thread */
    raft_index apply_limit;           /* last index that may be */
    raft_index applied;
    raft_index visible;   /* entries whose rows are in the engine, not only in a batch */
    uint64_t readers_ms;  /* somebody had to wait for rows then */
    bool apply_fetching;  /* payloads are being read from the log store */
    bool hold_apply;      /* a snapshot waits to be installed: nothing more is handed out */
    bool installing;      /* .. is being installed: the core is left alone */
    uint64_t apply_bytes; /* handed out and not acknowledged */
    uint64_t revision;    /* of the machine as of `applied` */
    uint64_t compact_revision;
    uint64_t mark;
    uint64_t live_keys;
    uint64_t compact_asked;   /* leader: compaction it has proposed to catch up */
    uint64_t durable_compact; /* compact revision as of `checkpoint` */

    /* log upkeep */
    raft_index checkpoint; /* durable in the data engine: truncation never passes it (D4) */
    raft_index truncated;
    bool wants_truncation;

    struct node_snapshot_out *snapshots_out; /* linked list, one per peer */
    struct node_snapshot_in *snapshot_in;
};

struct node_log_task;

/* A client of the oracle: one loop of one node. */
struct node_oracle_asker {
    UT_hash_handle hh;
    uint64_t id;
    uint64_t node_id;
    uint8_t loop;
};

struct node_host {
    struct node *node;
    unsigned index;
    uint32_t lane;      /* this loop's messages */
    uint32_t bulk_lane; /* its snapshots */
    struct node_loop *loop;
    struct node_transport *transport;
    struct raft_env *env;
    struct node_log_cache_pool *cache_pool;
    struct fl_prng prng;
    uint64_t now_ms;
    struct node_replica *replicas; /* uthash by group_id */
    struct placement_map_view *map;
    struct node_wheel wheel;
    struct fl_list dirty;
    struct node_log_task *log_task; /* being filled in this turn */
    struct node_op *forwarded;      /* uthash by seq */
    struct fl_list unfinished;      /* writes of this node in order of seq */
    uint64_t next_seq;              /* index + a multiple of NODE_HOSTS_MAX (ND-10) */
    uint64_t next_stream;
    struct fl_list ops; /* accepted ops, for shutting down */
    size_t op_count;
    struct fl_list homeless; /* parked ops of groups that have no replica here */
    size_t parked_count;     /* those, and those parked at replicas */
    bool retry_parked;
    bool some_moved;                  /* forwarded ops with moved_ms set */
    struct fl_list snapshots_waiting; /* streams out that have not begun */
    unsigned snapshots_active;
    uint64_t snapshots_paid_us; /* no further chunk before this time */
    bool mark_lost; /* the oracle's mark was refused: it is wanted again at the next retry */
    bool draining;
    uint64_t settled_ms; /* draining: the oracle has nothing unconfirmed since; 0: it has */
    bool closing;
    bool quiet;
    size_t spreads;   /* requests over several ranges that this loop puts together */
    unsigned outside; /* tasks that other threads hold and will post back */

    /* revisions */
    struct node_oracle oracle;
    struct node_oracle_client client;
    struct node_timer client_timer;
    struct node_oracle_asker *askers; /* uthash by id */
    uint64_t known_compact;           /* compact revision of the keyspace, as last heard */
    bool multi_range;                 /* more than one range: revisions come from the oracle */

    struct fl_writer scratch;
    struct fl_writer read_scratch;
    struct raft_ent *ents; /* of one message */
    size_t ents_capacity;
    struct fl_bytes *payloads;
    size_t payloads_capacity;
    struct node_part *parts;
    size_t parts_capacity;
    struct node_timer upkeep_timer; /* views, draining, compaction */
    struct node_timer news_timer;   /* a picture that had to wait */
    bool news;         /* since the last picture a leader came or went, a group opened or froze */
    uint64_t shown_ms; /* when that was */
    struct node_timer parked_timer;
    struct node_timer beat_timer; /* system loop only */
    struct node_task drain_task;
    struct node_task close_task;
};

/* --- host.c --- */
struct node_replica *node__host_replica(struct node_host *host, uint64_t group_id);
void node__host_dirty(struct node_replica *replica);
/* Sends to `peer` on this host's lane; messages to this very node are delivered by mailbox. */
bool node__host_send(struct node_host *host,
                     uint64_t peer,
                     uint8_t kind,
                     const struct node_part *parts,
                     size_t count);
/* Counts and logs a message that cannot be decoded (P8). */
void node__host_bad_message(struct node_host *host, uint64_t peer, const char *what);
/* The highest revision seen, of the node and of the oracle's client. */
void node__saw_revision(struct node_host *host, uint64_t revision);
/* True: `group_id` lives on another loop of this node, which got a copy of the message (ND-10: a
 * peer with another number of loops sends on lanes that are ours in turn). */
bool node__host_is_elsewhere(struct node_host *host,
                             uint64_t group_id,
                             uint64_t peer,
                             uint8_t kind,
                             struct fl_bytes body);
/* Hands a message over to another loop of this node; unknown loops drop it. */
void node__host_pass_on(struct node_host *host,
                        uint8_t loop,
                        uint64_t peer,
                        uint8_t kind,
                        struct fl_bytes body);
void node__host_message(struct node_host *host, uint64_t peer, uint8_t kind, struct fl_bytes body);

/* The connection to `peer` is gone, or it was silent for too long. */
void node__host_peer_down(struct node_host *host, uint64_t peer);
void node__host_checkpointed(const struct node_checkpoint *checkpoints, size_t count);

/* --- host_upkeep.c --- */
void node__host_upkeep(struct node_host *host);
/* What readers of the view act on has changed: they see it before any request is answered that
 * depends on it. For the end of a turn. */
void node__host_show_news(struct node_host *host);
void node__host_publish_gc(struct node_host *host);
/* While closing: reports once nothing is outside and every request is answered. */
void node__host_check_quiet(struct node_host *host);
/* The first range's leader, for the client of every loop. */
void node__oracle_moved(struct node_host *host, uint64_t node_id, raft_term term);
void node__first_range_applied(struct node_replica *first);

/* --- replica_open.c --- */
/* How the machine of a group is found or made. */
struct node_replica_init {
    const struct shard_range *range; /* as of the map, or of the seeds */
    bool campaign;                   /* this replica is to lead first */
};
/* Opens the replica of a group, or creates it when neither log nor machine know it. NULL: what is
 * durable contradicts itself; `why` holds the sentence. */
struct node_replica *node__replica_open(struct node_host *host,
                                        const struct node_replica_init *init,
                                        char *why,
                                        size_t why_bytes);
void node__replica_close(struct node_replica *replica);

/* --- replica.c --- */
void node__replica_check_serving(struct node_replica *replica);
void node__replica_campaign_soon(struct node_replica *replica, uint64_t gone);
void node__replica_early_election(struct node_replica *replica);
void node__replica_message(struct node_replica *replica,
                           uint64_t peer,
                           struct fl_reader *body,
                           const struct raft_msg *message);
void node__replica_tick(struct node_replica *replica);
void node__replica_turn(struct node_replica *replica);
void node__replica_peer_down(struct node_replica *replica, uint64_t peer);
uint64_t node__replica_node_of(const struct node_replica *replica, uint64_t replica_id);
uint64_t node__replica_on(const struct node_replica *replica, uint64_t node_id);

/* --- replica_write.c --- */
void node__replica_write(struct node_replica *replica, struct node_op *op);
void node__replica_admit(struct node_replica *replica, struct node_op *op);
void node__replica_propose(struct node_replica *replica);
void node__replica_lost(struct node_replica *replica, const struct raft_lost *lost);
void node__replica_stepped_down(struct node_replica *replica);
/* The core froze: requests go to other members or are refused, nothing waits for it (ND-9). */
void node__replica_froze(struct node_replica *replica);

/* --- replica_read.c --- */
void node__replica_read(struct node_replica *replica, struct node_op *op);
/* A hash of this very replica, leader or not. */
void node__replica_hash(struct node_replica *replica, struct node_op *op);
/* A serializable read: answered from this replica as it is. */
void node__replica_read_local(struct node_replica *replica, struct node_op *op);
void node__replica_read_confirmed(struct node_replica *replica, struct node_op *op);
void node__replica_begin_round(struct node_replica *replica);
void node__replica_round_done(struct node_replica *replica, const struct raft_read *read);
void node__replica_serve_reads(struct node_replica *replica);

/* --- replica_apply.c --- */
void node__replica_pump(struct node_replica *replica);
/* An apply task is back on the loop. */
void node__replica_applied(struct node_task *task);

/* --- replica_log.c --- */
void node__replica_persist(struct node_replica *replica, const struct raft_persist *record);
void node__host_submit_log(struct node_host *host);
void node__replica_fetch(struct node_replica *replica, const struct raft_fetch *want);
void node__replica_truncate(struct node_replica *replica);
/* The log writer's batch hook; `context` is the node. */
void node__log_write_batch(void *context, struct node_task *list);

/* --- snapshot_out.c, snapshot_in.c --- */
void node__snapshot_send(struct node_replica *replica, uint64_t node, const struct raft_msg *offer);
void node__snapshot_acked(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__snapshot_piece(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__snapshot_peer_down(struct node_host *host, uint64_t peer);
void node__snapshot_out_peer_down(struct node_host *host, uint64_t peer);
void node__snapshot_out_close(struct node_host *host);
/* Abandons every stream of the host. */
void node__snapshot_close(struct node_host *host);
/* Entries came back from apply: a sealed snapshot may go on. */
void node__snapshot_in_continue(struct node_replica *replica);
/* The record of the snapshot at `index` is durable: its intent goes, a newer one stays. */
void node__snapshot_logged(struct node_replica *replica, raft_index index);

/* --- op_route.c --- */
void node__op_start(struct node_op *op);
/* Routes again: the leader changed, or this replica is not it. */
void node__op_restart(struct node_op *op);
/* The group takes nothing now (a transfer, an election): it waits for news of a leader. */
void node__op_hold(struct node_op *op);
/* Answers and forgets; on the loop. */
void node__op_finish(struct node_op *op, const struct node_reply *reply);
void node__op_fail(struct node_op *op, enum fl_status status);
/* What the machine's outcome of its proposal is to its client; takes over the result. Any thread
 * that holds the op. */
struct node_reply node__op_answer(const struct node_op *op, struct shard_apply *entry);
/* After `finish` ran on another thread. */
void node__op_finished(struct node_op *op);
void node__op_timer(struct node_op *op);
/* Makes the command's bytes this op's own (an earlier proposal may still share them), and writes
 * the origin of an op of this node into them. */
void node__op_stamp(struct node_op *op);
void node__op_own_command(struct node_op *op);
/* Lets it wait for news of a leader, or for the next retry. On no list. */
void node__op_park(struct node_op *op);
/* Routes what waited for a leader. */
void node__replica_unpark(struct node_replica *replica);
/* .. of every group. */
void node__host_unpark(struct node_host *host);
uint64_t node__host_next_seq(struct node_host *host);

/* --- forward.c --- */
/* Sends it to `peer`, or parks it when that is not connected. */
void node__forward_send(struct node_op *op, uint64_t peer);
/* False: not connected; the op is as before. */
bool node__forward_try(struct node_op *op, uint64_t peer);
void node__forward_forget(struct node_op *op);
/* The group has a new leader: what still waits at another node is sent there if it stays
 * unanswered, by node__forward_retry. */
void node__forward_leader_changed(struct node_host *host, uint64_t group_id, uint64_t leader);
void node__forward_retry(struct node_host *host);
void node__forward_request(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__forward_reply(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__forward_peer_down(struct node_host *host, uint64_t peer);

/* --- revision.c: oracle and client of this host --- */
void node__revision_message(struct node_host *host, uint64_t peer, struct fl_bytes body);
void node__revision_turn(struct node_host *host);
/* Wants again what was refused a while ago. */
void node__revision_retry(struct node_host *host);
void node__revision_submit(struct node_op *op, enum node_oracle_wait_kind kind);
void node__revision_cancel(struct node_op *op);
/* The replica of the first range leads and has applied an entry of its term; or no longer does. */
void node__revision_leads(struct node_replica *replica);
void node__revision_stepped_down(struct node_replica *replica);
void node__revision_round_done(struct node_replica *replica, const struct raft_read *read);
/* Publishes the term in which the replica of the first range bears witness: before any message or
 * record that came of a newer term leaves this loop (OR-13). Nothing for other groups. */
void node__revision_witness(const struct node_replica *replica);

#endif
