/* Random histories of an honest store: what a linearizable store could have answered.
 *
 * Owner: the caller frees the plans with free(). Lifetime: until then. Threads: one at a time.
 *
 * Every operation gets an instant between call and return at which it takes effect; an unanswered
 * one an instant much later, or none. Executing them in the order of their instants gives answers
 * that have an order by construction. */
#ifndef TESTS_LIB_RANDOM_HISTORY_H
#define TESTS_LIB_RANDOM_HISTORY_H

#include "raftgroup/base/prng.h"
#include "tests/lib/history.h"

enum { RANDOM_HISTORY_KEYS_MAX = 32 };

enum random_op {
    RANDOM_PUT,
    RANDOM_GET,
    RANDOM_DELETE,
    RANDOM_CAS,
    RANDOM_TXN,
    RANDOM_RANGE,
};

/* One operation as a store would run it. */
struct random_plan {
    int64_t call, point, ret;
    int client;
    enum random_op kind;
    int key, key2;
    char value[16], old[16], value2[16]; /* "" stands for absent */
    bool open;                           /* no answer */
    bool effect;                         /* takes effect */
    char text[4096];                     /* its line in the history */
};

struct random_shape {
    int clients, keys, per_client;
    int open_percent, range_percent;
    bool repeat_values; /* values are not unique: shortcuts must notice */
    bool wide_ranges;   /* half of the ranges span all keys, so that they are one group */
    bool revisions;
};

/* An honest history: `count` gets the number of plans, in the order of their effects. */
struct random_plan *
random_history(struct fl_prng *prng, const struct random_shape *shape, size_t *count);

/* The plans' lines, parsed; NULL with a sentence in `error` if the parser refuses them. */
struct history *
random_history_parse(const struct random_plan *plans, size_t count, char *error, size_t error_size);

#endif
