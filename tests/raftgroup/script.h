/* The driver language of the recorded vectors, on a simulated cluster.
 *
 * Owner:    the test.
 * Lifetime: the call; the cluster is the caller's.
 * Threads:  one.
 *
 * One command per line; ids start at 1; unknown key=value words are ignored. Beyond the recorded
 * language: add-nodes knows strict-conf= and election= (ticks), and `restart n k` keeps k of the
 * records that were not durable. */
#ifndef TESTS_RAFTGROUP_SCRIPT_H
#define TESTS_RAFTGROUP_SCRIPT_H

#include "tests/raftgroup/cluster.h"

enum script_result {
    SCRIPT_DONE,
    SCRIPT_IDLE,     /* nothing to do: the vectors skip such commands */
    SCRIPT_DROPPED,  /* a proposal was refused */
    SCRIPT_MALFORMED /* not a command, or not possible here: script.why */
};

struct script {
    struct sim_cluster *cluster;
    uint32_t parity;                  /* for nodes added by the script */
    bool async;                       /* the last add-nodes asked for asynchronous storage */
    unsigned held[SIM_NODES_MAX + 1]; /* ticks a longer election timeout keeps from the node */
    char why[160];                    /* of SCRIPT_MALFORMED */
};

enum script_result script_run(struct script *s, const char *line);
/* "S 1 F t=0 .. conf=v(1,2)" as recorded, without ru=. */
void script_state(const struct sim_node *n, char *out, size_t size);
/* "1/11 2/12=p1 .." of first..last; the caller frees. */
char *script_log(const struct sim_node *n);

#endif
