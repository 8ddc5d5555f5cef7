/* What the two halves of the core tables share: rows that need one core, and rows that need several
 * or none.
 *
 * Owner, lifetime, threads: the test's. */
#ifndef TESTS_RAFTGROUP_CORE_TABLES_H
#define TESTS_RAFTGROUP_CORE_TABLES_H

#include "tests/raftgroup/solo.h"
#include "tests/raftgroup/table.h"

bool core_tables_knows(const char *row);
void core_tables_run(struct table *t);

/* "<first>:<terms>" of key into the set-up; returns how many entries. */
unsigned core_load_terms(const struct table_row *row, const char *key, struct solo_setup *setup);
void core_open_of_size(struct solo *s, struct solo_setup *setup, unsigned size);

/* Each prints what came out in the words of the table. */
void core_row_synclog(const struct table_row *row, char *got);
void core_row_fastrej(const struct table_row *row, char *got);
void core_row_election(const struct table_row *row, char *got);
void core_row_dueling(const struct table_row *row, char *got);
void core_row_decr(const struct table_row *row, char *got);
void core_row_update(const struct table_row *row, char *got);
void core_row_becomeprobe(const struct table_row *row, char *got);
void core_row_paused(const struct table_row *row, char *got);
void core_row_inflight(const struct table_row *row, char *got);
void core_row_pasttimeout(const struct table_row *row, char *got);

#endif
