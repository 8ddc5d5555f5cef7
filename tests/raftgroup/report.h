/* What came out of running one file of vectors: counts, the first difference, what was left out.
 *
 * Owner:    vectors.c. Plain memory: the process that runs the file shares it with the one that
 *           waits for it, so that a crash leaves the counts and the line it happened at.
 * Lifetime: one file.
 * Threads:  one. */
#ifndef TESTS_RAFTGROUP_REPORT_H
#define TESTS_RAFTGROUP_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum {
    REPORT_NAME_BYTES = 512,
    REPORT_CONTEXT = 5, /* lines shown before the one that differs */
    REPORT_TEXT_BYTES = 256,
    REPORT_SKIPS_MAX = 12
};

struct report_skip {
    char why[128];
    unsigned count;
};

struct report_line {
    unsigned number;
    char text[REPORT_TEXT_BYTES];
};

struct report {
    FILE *out;
    char name[REPORT_NAME_BYTES]; /* of the file, as it is printed */
    unsigned line;                /* last one read */
    unsigned passed;
    unsigned failed;
    unsigned skipped;
    bool shown;     /* the first difference is printed */
    bool malformed; /* the file does not say what it should: it was left there */
    struct report_skip skips[REPORT_SKIPS_MAX];
    unsigned nskips;
    struct report_line recent[REPORT_CONTEXT + 1]; /* ring, newest = nrecent - 1 */
    unsigned nrecent;
};

/* The next line of the file was read; `told` = it belongs to the context of a difference. */
void report_read(struct report *r, const char *text, bool told);
void report_pass(struct report *r);
/* One case differs. Prints the first of a file: line `at` (0 = the last one read), what was wanted
 * and what came. */
void report_differ(struct report *r,
                   unsigned at,
                   const char *what,
                   const char *want,
                   const char *got);
/* One case has no meaning here. */
void report_skip(struct report *r, const char *why);
/* The line that was read last is not what the format allows: counts as failed and ends the file. */
void report_malformed(struct report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
