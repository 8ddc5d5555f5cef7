/* Real nodes in one process: a cluster on loopback ports, and requests with their answers.
 *
 * Owner: the test. Lifetime: cluster_create to cluster_destroy; nodes may stop and start between.
 * Threads: cluster_* from the test's thread; call_* and outcome_* from any, each call struct from
 * one. */
#ifndef TESTS_NODE_CLUSTER_FIXTURE_H
#define TESTS_NODE_CLUSTER_FIXTURE_H

#include "node/node.h"
#include "tests/node/cluster_proxy.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define CLUSTER_NODES_MAX 3
/* No wait is longer: a test that needs more has found a hang. */
#define CLUSTER_WAIT_MS 30000

struct cluster_options {
    unsigned nodes;
    unsigned ranges;
    unsigned raft_loops[CLUSTER_NODES_MAX]; /* 0: one */
    const char *log_keep_entries;           /* NULL: the default */
    const char *flush_interval;             /* NULL: the default */
    bool proxied;                           /* nodes reach each other through `proxy` */
};

struct cluster_flags;

struct cluster {
    struct cluster_options options;
    char *directory;
    char initial[256]; /* --initial-cluster */
    struct cluster_proxy *proxy;
    struct {
        struct node *node; /* NULL: closed */
        struct node_options options;
        struct cluster_flags *flags; /* .. as they were given */
        char peer_url[64];           /* where it listens */
        char public_url[64];         /* where others dial */
        uint64_t id;                 /* known once it has been open */
    } nodes[CLUSTER_NODES_MAX];
};

/* Starts all nodes and waits until every one is ready. A test that fails leaves it as it is. */
struct cluster *cluster_create(const struct cluster_options *options);
void cluster_destroy(struct cluster *cluster);
/* Opens a closed node; cluster_wait_ready separately. */
void cluster_start(struct cluster *cluster, unsigned i);
/* What node_open says, for refusals; nothing stays open. */
enum fl_status cluster_try_start(struct cluster *cluster, unsigned i, char *why, size_t why_bytes);
/* The command line of node `i`, for a process of its own; ends with NULL. */
char *const *cluster_flags(const struct cluster *cluster, unsigned i);
/* node_close: fails what is pending, hands nothing over. */
void cluster_stop(struct cluster *cluster, unsigned i);
/* Every open node has a leader for every range. */
void cluster_wait_ready(struct cluster *cluster);
/* The open node that leads the range of `key` (or the placement group for NULL), as node `i` sees
 * it; waits for one. */
unsigned cluster_leader(struct cluster *cluster, unsigned i, const char *key);
/* The view of node `i`, looked at once, names an open node as that leader. */
bool cluster_has_leader(struct cluster *cluster, unsigned i, const char *key);
/* Sum over the open nodes' registers of a counter of the process. */
uint64_t cluster_counter(const char *name);

/* Polls `check` until it is true; fails the test after CLUSTER_WAIT_MS. */
void cluster_wait(bool (*check)(void *context), void *context, const char *what);

/* --- requests ------------------------------------------------------------------------------- */

/* One request on its way. */
struct call {
    struct node_request request;
    struct node_reply reply; /* result: released by call_close */
    unsigned answers;        /* how often `done` came */
    uint8_t key_bytes[256];  /* what the request borrows */
    uint8_t end_bytes[256];
    struct {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool done;
    } shared;
};

void call_init(struct call *call);
void call_close(struct call *call);
/* The requests; `node` may refuse. Each ends with call_wait. */
void call_put(struct call *call, struct node *node, const char *key, const char *value);
void call_delete(struct call *call, struct node *node, const char *key, const char *end);
/* then: put key=value; if: the key's modification revision equals `mod_revision`; else: get key. */
void call_cas(struct call *call,
              struct node *node,
              const char *key,
              uint64_t mod_revision,
              const char *value);
/* Two puts in one Txn. */
void call_put_two(struct call *call,
                  struct node *node,
                  const char *key,
                  const char *other,
                  const char *value);
/* end NULL: one key; "": to the end of the keyspace. */
void call_get(struct call *call,
              struct node *node,
              const char *key,
              const char *end,
              uint64_t revision,
              bool serializable);
void call_compact(struct call *call, struct node *node, uint64_t revision);
void call_hash(struct call *call, struct node *node, uint64_t revision);
/* Waits for the answer; aborts when none comes. Returns its status. */
enum fl_status call_wait(struct call *call);

/* --- whole exchanges ------------------------------------------------------------------------ */

/* What is kept of an answer. */
struct outcome {
    enum fl_status status;
    uint64_t revision;
    uint64_t count;   /* keys found or deleted */
    bool succeeded;   /* CAS */
    size_t kv_count;  /* pairs in the answer */
    uint64_t digest;  /* of all pairs */
    char value[64];   /* of the first pair */
    uint64_t mod;     /* .. */
    uint64_t version; /* .. */
    uint32_t hash;    /* HASH */
    uint64_t compact; /* HASH */
};

struct outcome put(struct node *node, const char *key, const char *value);
/* With a deadline of its own. */
struct outcome put_within(struct node *node, const char *key, const char *value, uint64_t ms);
struct outcome get(struct node *node, const char *key);
struct outcome get_within(struct node *node, const char *key, uint64_t ms);
struct outcome get_local(struct node *node, const char *key);
struct outcome get_range(struct node *node, const char *key, const char *end, uint64_t revision);
struct outcome delete_range(struct node *node, const char *key, const char *end);
struct outcome cas(struct node *node, const char *key, uint64_t mod_revision, const char *value);
struct outcome compact_to(struct node *node, uint64_t revision);
struct outcome hash_at(struct node *node, uint64_t revision);

/* --- keys of eight ranges ------------------------------------------------------------------- */

#define CLUSTER_KEYS 8
/* One in each range when --initial-ranges is 8: the cuts lie between these first bytes. */
extern const char *const cluster_keys[CLUSTER_KEYS];
/* Writes "1" to each through the nodes in turn and reads it back through all of them; revisions
 * follow real time. */
void cluster_write_everywhere(struct cluster *cluster);

/* --- many writes, and a node that misses them ------------------------------------------------- */

#define CLUSTER_BURST 64   /* puts under way at a time */
#define CLUSTER_LAG   4096 /* more entries than a log keeps with log_keep_entries "10" */

/* `count` puts through node `i`, over `keys` different keys. */
void cluster_write_many(struct cluster *cluster, unsigned i, unsigned count, unsigned keys);
/* Three nodes, one range, a short log: closes node `away` and writes through the others until it
 * can only be brought back by a snapshot. */
void cluster_leave_behind(struct cluster *cluster, unsigned away);

#endif
