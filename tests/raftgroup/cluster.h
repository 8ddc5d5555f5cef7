/* A cluster of Raft cores in one thread: network, disks and machines are plain memory, every effect
 * is a function call, and safety is checked at every step.
 *
 * Owner:    the test; one struct sim_cluster is the whole world.
 * Lifetime: sim_create .. sim_destroy.
 * Threads:  one.
 *
 * What is checked, always (sim_cluster.violation is the first breach, "" = none):
 *   election safety          one leader per term
 *   leader completeness      a new leader holds every entry any machine ever applied
 *   committed immutability   index -> (term, payload) never changes once applied anywhere
 *   log matching             sim_check_logs: same index and term => same prefix
 *   nothing goes back        term and commit of a core, match within one leadership
 *   acks hold                what was acknowledged stays on the disk until a newer term takes it
 *   no promise before fsync  every VOTE, grant and success ack that leaves is compared with the
 * disk linearizable reads       a confirmed read index is >= every commit known anywhere when it
 * was asked lost proposals           what was reported lost is never applied RG-1..RG-n the cores
 * run with self_check */
#ifndef TESTS_RAFTGROUP_CLUSTER_H
#define TESTS_RAFTGROUP_CLUSTER_H

#include "raftgroup/base/prng.h"
#include "raftgroup/raft.h"

enum {
    SIM_NODES_MAX = 12,
    SIM_TEXT_MAX = 48,
    SIM_DELIVERIES_MAX = 200000, /* until nothing moves any more */
    SIM_M_PROP = 100 /* packet type of a forwarded proposal: the shell's business, not the core's */
};

struct sim_entry {
    raft_term term;
    uint8_t type;
    char text[SIM_TEXT_MAX];
};

struct sim_log { /* entries by index, [0] unused */
    struct sim_entry *at;
    size_t capacity;
};

struct sim_machine {
    raft_index applied;
    raft_term applied_term;
    struct raft_conf conf;
    char *data; /* concatenated payloads of NORMAL entries */
    size_t len;
    size_t capacity;
};

struct sim_snapshot {
    raft_index index;
    raft_term term;
    struct raft_conf conf;
    char *data;
};

struct sim_record { /* a persist record with what it writes */
    struct raft_persist p;
    struct sim_entry *entries; /* lo..hi */
    struct sim_snapshot *snapshot;
    struct sim_record *next;
};

struct sim_disk {
    raft_term term;
    raft_id vote;
    raft_index commit;
    raft_index snap_index;
    raft_term snap_term;
    raft_index last;
    struct sim_log log;
};

struct sim_asked {
    uint64_t ctx;
    raft_index floor; /* highest commit anywhere when it was asked */
};

struct sim_node {
    raft_id id;
    uint64_t now;
    struct raft_config config;
    struct raft_env *env;
    struct raft_group *group;
    struct sim_cluster *cluster;
    struct sim_log cache; /* payloads in the shell's memory */
    struct sim_disk disk;
    struct sim_record *records; /* oldest first, not durable */
    struct sim_machine machine;
    struct sim_machine saved; /* durable machine, what a crash goes back to */
    struct sim_snapshot *staged;
    raft_index apply_hi; /* handed out */
    struct sim_asked *asked;
    size_t nasked;
    size_t asked_capacity;
    struct raft_read *answers; /* collected until sim_take_answers */
    size_t nanswers;
    size_t answers_capacity;
    raft_mask fetching; /* bit id: payloads asked for */
    raft_term led;      /* last term this node was seen leading */
    raft_term term;     /* highest seen since it was opened */
    raft_index commit;
    raft_index match[SIM_NODES_MAX + 1]; /* while leading, by peer */
    raft_term acked_term;                /* newest term it acknowledged entries in .. */
    raft_index acked;                    /* .. and how far */
    unsigned cold;                       /* 1 in `cold` look-ups misses the cache; 0 = never */
    bool check_disabled;
};

struct sim_packet {
    struct raft_msg m;
    struct raft_ent *ents;
    struct sim_entry *entries;
    struct sim_snapshot *snapshot;
    struct sim_entry prop;
    struct sim_packet *next;
};

struct sim_lost {
    raft_index index;
    raft_term term;
};

struct sim_committed {
    raft_term term;
    char text[SIM_TEXT_MAX];
};

struct sim_cluster {
    struct sim_node node[SIM_NODES_MAX + 1]; /* by id, [0] unused */
    unsigned nnodes;
    struct sim_packet *packets; /* in order of sending */
    struct sim_packet **tail;
    size_t npackets;
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* from, to */
    struct sim_committed *committed;                /* by index */
    size_t committed_capacity;
    raft_index committed_hi;
    raft_index commit_hi; /* highest commit of any core, ever */
    raft_id *leader_of;   /* by term */
    size_t leader_capacity;
    struct sim_lost *lost;
    size_t nlost;
    size_t lost_capacity;
    struct fl_prng prng;
    uint64_t events;
    bool trace; /* every delivery to stderr */
    char violation[256];
};

struct sim_cluster *sim_create(uint64_t seed);
void sim_destroy(struct sim_cluster *c);
/* FL_FROZEN is a violation, any other status is fine: for inputs whose refusal is part of the game.
 */
void sim_allow(struct sim_node *n, enum fl_status status);
/* Notes the first violation. */
void sim_violate(struct sim_cluster *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A new node with the next id; index > 0: starts from a snapshot (index, term 1) with conf. */
struct sim_node *sim_add_node(struct sim_cluster *c,
                              const struct raft_config *config,
                              raft_index index,
                              const struct raft_conf *conf);
/* Small limits, election 3, heartbeat 1, self_check. */
void sim_config(struct raft_config *config);

/* Takes one ready: messages to the network, records to the queue, applies handed out. */
bool sim_take_ready(struct sim_node *n);
/* The oldest record becomes durable. */
bool sim_persist_one(struct sim_node *n);
/* The machine applies what was handed out, entry by entry; false = nothing to do. */
bool sim_apply(struct sim_node *n);
/* Ready, disk and machine until the node is silent. */
bool sim_settle(struct sim_node *n);
/* Delivers (or drops, if the link is cut) the first packet that `want` accepts. */
struct sim_packet *sim_unlink(struct sim_cluster *c, size_t position);
void sim_deliver(struct sim_cluster *c, struct sim_packet *p);
void sim_packet_free(struct sim_packet *p);
struct sim_packet *sim_packet_copy(const struct sim_packet *p);
/* All nodes settle and all packets arrive, in order, until nothing moves. */
void sim_stabilize(struct sim_cluster *c);
void sim_drop_cut(struct sim_cluster *c);

/* Inputs; FL_OK = accepted (or forwarded). text "C1[v2]", "C2.0[..]" makes a membership change. */
enum fl_status sim_propose(struct sim_node *n, const char *text);
enum fl_status sim_read(struct sim_node *n, uint64_t ctx);
void sim_tick(struct sim_node *n);
/* The log up to what the saved machine holds, or up to an index it covers, goes. */
void sim_compact(struct sim_node *n);
void sim_compact_to(struct sim_node *n, raft_index upto);
/* A snapshot of the machine that the core did not ask for, on its way to a replica. */
void sim_send_snapshot(struct sim_node *n, raft_id to);
/* Process dies and comes back with what the disk has; `torn` = that many queued records survived.
 */
void sim_restart(struct sim_node *n, unsigned survived);
/* Like sim_restart with nothing lost but what was queued, and with n->config as it is now; the old
 * core and its env are already gone. */
void sim_reopen(struct sim_node *n);
/* The machine's state becomes durable. */
void sim_save(struct sim_node *n);
bool sim_parse_changes(const char *text, struct raft_changes *out);

/* Every pair of logs; expensive. */
void sim_check_logs(struct sim_cluster *c);

#endif
