/* Running recorded vectors: a file, or everything below a folder.
 *
 * Owner, lifetime, threads: the caller's. Every file runs in a child process, so that a core that
 * aborts fails its file and not the run.
 *
 * What a file is shows in its text: scripts have commands (@), tables have rows (=>). What is
 * compared of a script follows the name of its folder (calm, interaction, random, regress), and
 * under any other name the kinds of facts that are recorded. */
#ifndef TESTS_RAFTGROUP_VECTORS_H
#define TESTS_RAFTGROUP_VECTORS_H

#include <stdbool.h>
#include <stdio.h>

struct vectors_sum {
    unsigned passed;
    unsigned failed;
    unsigned skipped;
};

struct vectors_options {
    FILE *out;
    unsigned trace_seed; /* shows every message of the scripts of this seed; 0 = none */
};

/* Prints the first difference of every file, then a row per set and why cases were skipped. False:
 * the path cannot be read, which is said on `out`. */
bool vectors_run(const char *path, const struct vectors_options *options, struct vectors_sum *sum);

#endif
