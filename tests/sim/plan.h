/* What one seed will do to its cluster: sizes, limits of the core, and which faults how strong.
 *
 * Owner: values. Lifetime: the caller's. Threads: any (pure).
 *
 * Swarm testing: each seed switches a random subset of the faults on, with random strength; a run
 * with everything on at once finds less, because faults hide each other. */
#ifndef TESTS_SIM_PLAN_H
#define TESTS_SIM_PLAN_H

#include "raftgroup/base/prng.h"
#include "raftgroup/raft.h"

#include <stdbool.h>
#include <stdint.h>

/*   name         text             */
#define SIM_FAULT_MAP(X)                                                                           \
    X(LOSS, "message lost")                                                                        \
    X(DUPLICATE, "message duplicated")                                                             \
    X(REORDER, "message delayed out of order")                                                     \
    X(REPLAY, "old message replayed")                                                              \
    X(CLOG, "link clogged")                                                                        \
    X(ONEWAY, "link cut one way")                                                                  \
    X(PARTITION, "partition")                                                                      \
    X(CRASH, "crash")                                                                              \
    X(TORN, "crash tore the last batch")                                                           \
    X(DISK_SLOW, "disk slow")                                                                      \
    X(DISK_FAIL, "disk write failed")                                                              \
    X(DISK_STUCK, "disk stuck")                                                                    \
    X(DRIFT, "clock drifts")                                                                       \
    X(PAUSE, "node paused")                                                                        \
    X(WIPE, "disk wiped, node replaced")                                                           \
    X(CHURN, "membership change")                                                                  \
    X(TRANSFER, "leadership transfer")                                                             \
    X(COMPACT, "log compacted")                                                                    \
    X(SNAP_LOSS, "snapshot piece lost")                                                            \
    X(COLD, "payload not in memory")                                                               \
    X(NUDGE, "campaign, forget, wake ..")                                                          \
    X(AIM_SEND, "crash: sent, not durable")                                                        \
    X(AIM_ACK, "crash: durable, not acked")                                                        \
    X(AIM_STAGED, "crash: snapshot staged")                                                        \
    X(AIM_INSTALLED, "crash: machine installed")                                                   \
    X(AIM_TWICE, "crash: two snapshots, one logged")                                               \
    X(AIM_COMMIT, "crash: leader committed")                                                       \
    X(AIM_WON, "crash: leader elected")                                                            \
    X(AIM_VOTED, "crash: vote sent, again")

#define SIM_FAULT_ENUM(name, text) SIM_FAULT_##name,
enum sim_fault { SIM_FAULT_MAP(SIM_FAULT_ENUM) SIM_FAULTS };

#define SIM_FAULTS_ALL ((UINT64_C(1) << SIM_FAULTS) - 1)

struct sim_options {
    uint64_t seed;
    bool full;           /* real machines instead of the tiny one */
    uint64_t allowed;    /* faults that may be on, bit per fault */
    unsigned nodes_max;  /* 0: no limit of one's own; here and below */
    unsigned groups_max; /* shards and the placement group, or bare groups */
    uint64_t until_us;   /* end of the safety phase */
    uint64_t events_max; /* core events of the safety phase */
    bool trace;          /* every event to standard output */
};

struct sim_plan {
    unsigned nodes;
    unsigned groups;
    unsigned voters; /* of each group at first */
    unsigned clients;
    unsigned keys; /* per group */
    uint64_t until_us;
    uint64_t events_max;
    uint64_t faults;               /* that are on */
    uint32_t strength[SIM_FAULTS]; /* 1..1000; per mille where it is a chance */
    struct raft_config config;
    uint32_t turn_us;   /* inputs of this long share a ready; 0: a ready after each input */
    uint32_t delay_us;  /* least time of a message */
    uint32_t spread_us; /* mean of what comes on top when messages are reordered */
    uint32_t disk_us;   /* mean time of a write */
    uint32_t apply_us;  /* mean wait until entries are applied */
    uint32_t think_us;  /* mean pause of a client */
    uint32_t fault_us;  /* mean time between two faults of any kind */
    uint32_t flush_us;  /* mean time between two flushes of the machines */
    uint32_t keep_log;  /* entries kept by a compaction */
    uint32_t warm;      /* entries held in memory */
    uint32_t pieces;    /* of a snapshot */
    uint32_t reads;     /* per mille of the operations */
    bool joint;         /* membership changes through joint consensus too */
    bool quiesce;       /* idle groups go to sleep */
};

const char *sim_fault_name(enum sim_fault fault);
/* The word of the command line: "loss", "aim_send". */
const char *sim_fault_word(enum sim_fault fault);
void sim_plan_make(struct sim_plan *plan, const struct sim_options *options);

static inline bool sim_plan_has(const struct sim_plan *plan, enum sim_fault fault)
{
    return (plan->faults >> fault & 1) != 0;
}

/* Uniform in [low, high]. */
static inline uint64_t sim_between(struct fl_prng *prng, uint64_t low, uint64_t high)
{
    return low + fl_prng_below(prng, high - low + 1);
}

static inline bool sim_chance(struct fl_prng *prng, uint32_t per_mille)
{
    return per_mille != 0 && fl_prng_below(prng, 1000) < per_mille;
}

/* About exponential with the given mean, in whole steps without a logarithm: the shape matters,
 * not the digits, and libraries must not differ. At most 16 times the mean. */
static inline uint64_t sim_exponential(struct fl_prng *prng, uint64_t mean)
{
    uint64_t bits = fl_prng_next(prng);
    unsigned halvings = 0;

    while (halvings < 11 && (bits >> halvings & 1) == 0) {
        halvings++;
    }
    return mean * 7 / 10 * halvings + fl_prng_below(prng, mean * 6 / 10 + 1);
}

#endif
