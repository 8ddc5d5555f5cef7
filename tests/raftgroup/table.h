/* Reading the recorded tables: one row per line, "inputs => result".
 *
 * Owner:    the caller.
 * Lifetime: a row until the next one is read.
 * Threads:  one. */
#ifndef TESTS_RAFTGROUP_TABLE_H
#define TESTS_RAFTGROUP_TABLE_H

#include "tests/raftgroup/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { TABLE_LINE_BYTES = 4096, TABLE_NUMBERS_MAX = 256 };

struct table_row {
    char text[TABLE_LINE_BYTES];
    char *want; /* behind "=> ", or NULL */
};

struct table_numbers {
    uint64_t at[TABLE_NUMBERS_MAX];
    unsigned n;
};

struct table {
    FILE *file;
    struct report *report;
};

/* The next row that is neither empty nor a comment ("# "); a heading ("## ") is a row. False at the
 * end, and when the file turned out to be malformed. */
bool table_read(struct table *t, struct table_row *row);
/* Like shape_fits for the row up to " => "; a row that does not fit, or has no result although
 * `result`, is malformed. */
bool table_fits(struct table *t, const struct table_row *row, const char *shape, bool result);
/* Passed when what we got is what is wanted. */
void table_check(struct table *t, const struct table_row *row, const char *got);
/* Value of " key=value", up to the next blank; "" if absent. */
const char *table_value(const struct table_row *row, const char *key, char out[256]);
uint64_t table_number(const struct table_row *row, const char *key);
/* All decimal numbers of a text, or of a value. */
struct table_numbers table_numbers(const char *text);
struct table_numbers table_list(const struct table_row *row, const char *key);

#endif
