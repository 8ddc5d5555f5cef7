/* Scripts with recorded facts: runs the commands on a simulated cluster and compares what is
 * recorded after each of them with ours.
 *
 * Owner, lifetime, threads: the caller's; one file at a time.
 *
 * Safety (cluster.h) is checked at every step, at every level. */
#ifndef TESTS_RAFTGROUP_FACTS_H
#define TESTS_RAFTGROUP_FACTS_H

#include "tests/raftgroup/report.h"

#include <stdint.h>

enum facts_level {
    FACTS_SAFETY,    /* the commands only, as a schedule */
    FACTS_QUIESCENT, /* states and logs where nothing is under way (Q 1) */
    FACTS_FULL       /* states, logs, machines and reads after every command */
};

struct facts_options {
    enum facts_level level;
    bool stabilize;      /* after every command marked @ */
    uint32_t parity;     /* RAFT_PARITY_* */
    unsigned trace_seed; /* shows every message of this script; 0 = none */
};

/* One case per script: "### seed N" begins one, and so does a file without such a line. */
void facts_run(FILE *file, struct report *report, const struct facts_options *options);

#endif
