/* Inside the linearizability checker: what the search over one group of keys is given.
 *
 * Owner: lincheck_run owns the checker. Lifetime: one run. Threads: one. */
#ifndef TESTS_LIB_LINCHECK_INTERNAL_H
#define TESTS_LIB_LINCHECK_INTERNAL_H

#include "tests/lib/lincheck.h"

#define LIN_NONE     UINT32_MAX
#define LIN_ALL_KEYS UINT32_MAX

struct lin_op {
    const struct history_op *source;
    int64_t call;
    int64_t ret;         /* HISTORY_NEVER: may be left out */
    int64_t hint;        /* rule 6 */
    bool rough;          /* the hint is only an upper bound */
    uint32_t only_key;   /* rule 7: just this key of a read, or LIN_ALL_KEYS */
    uint32_t before;     /* rule 4: must be placed earlier, or LIN_NONE */
    uint32_t lone_write; /* rule 5: the only key an optional operation writes, or LIN_NONE */
    int succeeded;
};

/* What the whole history says about each version. */
struct version_facts {
    uint32_t writers;
    bool compared;                   /* some compare names it */
    const struct history_op *writer; /* one of them */
    int64_t seen;                    /* earliest return of an operation that saw it */
    int64_t revision;                /* as readers reported it, or 0 */
    int64_t seen_revision;           /* smallest header revision of an answer that saw it */
};

struct checker {
    const struct history *history;
    struct lincheck_result *result;
    uint64_t max_states;
    struct version_facts *versions;
    bool *indirect; /* per key: something tells more than values seen (delete count, compare) */
    bool revisions; /* every answered operation recorded one */
    struct lin_op *ops;
    size_t op_count, op_capacity;
    uint32_t *group; /* per key: union-find parent */
};

typedef void (*lin_seen_fn)(void *context, uint32_t version, const struct lin_op *op);

/* True when the key belongs to the part of the operation that is looked at (rule 7). */
bool lincheck__concerns(const struct lin_op *op, uint32_t key);

/* Calls `visit` for each version the operation certainly found there before its own writes. */
void lincheck__for_each_seen(const struct lin_op *op, lin_seen_fn visit, void *context);

/* Adds to the result's detail as far as it fits. */
void lincheck__append(struct lincheck_result *result, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Searches an order for `count` operations that share a group of keys; names what is stuck in the
 * checker's result. */
enum lincheck_verdict
lincheck__search(struct checker *checker, const struct lin_op *ops, uint32_t count);

#endif
