/* The recorded tables: which there are, and running one.
 *
 * Owner, lifetime, threads: the caller's; one file at a time. */
#ifndef TESTS_RAFTGROUP_TABLES_H
#define TESTS_RAFTGROUP_TABLES_H

#include "tests/raftgroup/table.h"

typedef void (*table_run_fn)(struct table *t);

/* What runs a table whose first row begins like this; NULL = no table we know. */
table_run_fn tables_find(const char *first_row);

#endif
