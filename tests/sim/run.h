/* One seed in a process of its own, and many of them side by side.
 *
 * Owner: values. Lifetime: the caller's. Threads: one; children are processes, so that an abort of
 * the code under test is one more finding and not the end. */
#ifndef TESTS_SIM_RUN_H
#define TESTS_SIM_RUN_H

#include "tests/sim/world.h"

#include <stdbool.h>
#include <stdint.h>

enum { SIM_JOBS_MAX = 64, SIM_FAILURES_MAX = 32 };

struct sim_result {
    char violation[320]; /* "" none */
    uint64_t trace_hash;
    uint64_t faults; /* that were on */
    unsigned nodes;
    unsigned groups;
    struct sim_counts counts;
};

struct sim_campaign {
    struct sim_options options; /* seed: the first one */
    uint64_t seeds;             /* 0: no limit */
    uint64_t seconds;           /* 0: no limit; of wall time */
    unsigned jobs;
    unsigned full_every; /* every so many seeds one with real machines; 0: options.full for all */
    bool stop_at_failure;
    bool quiet;
};

struct sim_failure {
    uint64_t seed;
    bool full;
    char violation[320];
};

struct sim_totals {
    struct sim_counts counts;
    uint64_t seeds;
    double seconds;
    uint64_t failures;
    struct sim_failure failure[SIM_FAILURES_MAX];
};

const struct sim_machine_set *sim_machines(bool full);
/* In this process. */
void sim_run_seed(const struct sim_options *options, struct sim_result *result);
/* In a child; a child that dies is a violation, too. */
void sim_run_child(const struct sim_options *options, struct sim_result *result);
void sim_campaign_run(const struct sim_campaign *campaign, struct sim_totals *totals);
/* Takes away faults, nodes, groups and time while the same invariant still breaks. */
void sim_shrink(struct sim_options *options, const struct sim_result *found);

#endif
