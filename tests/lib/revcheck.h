/* Do the revisions of a history tell one story?
 *
 * Owner: the caller owns the history and the result. Lifetime: the result points into the history.
 * Threads: one at a time; no globals.
 *
 * With a revision in every answer the check is linear: writes sorted by revision are the only
 * possible order, real time must agree with it, and every read must show the state at a revision
 * that was current while it ran. A history that passes in strict mode is linearizable (the order is
 * the proof) and keeps etcd's contract that header.revision names one snapshot of all keys. */
#ifndef TESTS_LIB_REVCHECK_H
#define TESTS_LIB_REVCHECK_H

#include "tests/lib/history.h"
#include "tests/lib/lincheck.h"

enum revcheck_mode {
    REVCHECK_STRICT, /* a read shows the state at its own header revision, which never goes back */
    REVCHECK_VALUES, /* a read shows the state at some revision current while it ran */
};

struct revcheck_result {
    enum lincheck_verdict verdict; /* UNDECIDED: some answer has no revision */
    const struct history_op *op;   /* BAD: the operation that does not fit */
    size_t writes;                 /* on the one order */
    size_t reads;                  /* compared with the state at a revision */
    size_t skipped;                /* values whose writer's revision nobody reported */
    char detail[512];              /* one sentence */
};

/* Checks the history; the verdict is also in the result. */
enum lincheck_verdict revcheck_run(const struct history *history,
                                   enum revcheck_mode mode,
                                   struct revcheck_result *result);

#endif
