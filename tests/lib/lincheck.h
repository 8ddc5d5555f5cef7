/* Is there one order of all operations that explains every answer of a history?
 *
 * Owner: the caller owns the history and the result. Lifetime: the result points into the history.
 * Threads: one at a time; no globals.
 *
 * Wing and Gong's search with Lowe's memory of visited (set, state) pairs, done separately for each
 * group of keys that operations connect. An operation without an answer may take effect at any time
 * after its call, or never. What keeps the search short is listed in lincheck.c. */
#ifndef TESTS_LIB_LINCHECK_H
#define TESTS_LIB_LINCHECK_H

#include "tests/lib/history.h"

enum lincheck_verdict {
    LINCHECK_OK,        /* an order exists */
    LINCHECK_BAD,       /* no order exists */
    LINCHECK_UNDECIDED, /* the budget of states ran out */
};

struct lincheck_result {
    enum lincheck_verdict verdict;
    const struct history_op *stuck; /* BAD, UNDECIDED: what could not be placed; may be NULL */
    size_t checked;                 /* operations that took part */
    size_t unknown;                 /* of those, without an answer and with an open outcome */
    size_t dropped;                 /* without an answer and invisible: left out */
    size_t groups;                  /* groups of connected keys */
    uint64_t states;                /* visited in all groups */
    char detail[512];               /* one sentence */
};

/* Checks the history, visiting at most `max_states` states per group of keys. */
enum lincheck_verdict
lincheck_run(const struct history *history, uint64_t max_states, struct lincheck_result *result);

#endif
