/* Reading the recorded tables: one row per line, "inputs => result".
 *
 * Owner:    the test.
 * Lifetime: a row until the next one is read.
 * Threads:  one. */
#ifndef TESTS_RAFTGROUP_TABLE_H
#define TESTS_RAFTGROUP_TABLE_H

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

struct table_tally {
    unsigned rows;
    unsigned skipped;
    unsigned differ;
};

/* Opens a table of $FLOTILLA_VECTORS or ../shared/vectors/raft; skips the test when it is absent.
 */
FILE *table_open(const char *name);
bool table_read(FILE *file, struct table_row *row);
/* Counts the row, and prints it when what we got is not what is wanted. */
void table_check(struct table_tally *t, const struct table_row *row, const char *got);
/* Prints the sums; fails the test when rows differ. */
void table_report(const char *name, const struct table_tally *t);
/* Value of " key=value", up to the next blank; "" if absent. */
const char *table_value(const struct table_row *row, const char *key, char out[256]);
uint64_t table_number(const struct table_row *row, const char *key);
/* All decimal numbers of a text, or of a value. */
struct table_numbers table_numbers(const char *text);
struct table_numbers table_list(const struct table_row *row, const char *key);

#endif
