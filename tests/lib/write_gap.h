/* How long could nobody write after a fault?
 *
 * Owner: the caller. Lifetime: none. Threads: any; no globals.
 *
 * A gap is the longest stretch around a fault in which no write to one range was acknowledged. Keys
 * are grouped by the recorded shard, else by their first byte; the worst group counts, so that the
 * ranges a fault does not touch cannot hide the one it does. */
#ifndef TESTS_LIB_WRITE_GAP_H
#define TESTS_LIB_WRITE_GAP_H

#include "tests/lib/history.h"

struct write_gap {
    int64_t length_ns; /* of the worst group */
    int64_t group;     /* its shard, or minus one minus the first byte of its keys */
};

/* The gap of fault `fault` (an index into history->faults): of all stretches that end after the
 * fault and begin before the next one starts. */
struct write_gap write_gap_of(const struct history *history, size_t fault);

#endif
