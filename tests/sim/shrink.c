/* From a failing seed to a smaller one that fails in the same way. */
#include "tests/sim/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { TRIES_MAX = 80 };

struct shrink {
    struct sim_options best;
    struct sim_result found;
    unsigned tries;
};

/* The name of an invariant is what stands before the colon. */
static bool same_invariant(const char *a, const char *b)
{
    size_t n = strcspn(a, ":");

    return n != 0 && n == strcspn(b, ":") && memcmp(a, b, n) == 0;
}

static bool still_fails(struct shrink *s, const struct sim_options *smaller)
{
    struct sim_result result;

    if (s->tries >= TRIES_MAX) {
        return false;
    }
    s->tries++;
    sim_run_child(smaller, &result);
    if (!same_invariant(result.violation, s->found.violation)) {
        return false;
    }
    s->best = *smaller;
    s->found = result;
    return true;
}

static void fewer_faults(struct shrink *s)
{
    struct sim_options try = s->best;

    try.allowed = 0;
    if (still_fails(s, &try)) {
        return;
    }
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        try = s->best;
        try.allowed = s->found.faults & ~(UINT64_C(1) << i);
        if ((s->found.faults >> i & 1) != 0) {
            (void)still_fails(s, &try);
        }
    }
}

static void fewer_of(struct shrink *s, bool nodes)
{
    unsigned now = nodes ? s->found.nodes : s->found.groups;

    while (now > 1) {
        struct sim_options try = s->best;

        now--;
        if (nodes) {
            try.nodes_max = now;
        } else {
            try.groups_max = now;
        }
        if (!still_fails(s, &try)) {
            break;
        }
    }
}

/* The safety phase ends earlier; what is left is what matters. */
static void shorter(struct shrink *s)
{
    uint64_t high = s->found.counts.virtual_us;

    for (unsigned i = 0; i < 6; i++) {
        struct sim_options try = s->best;

        try.until_us = high / 2;
        if (!still_fails(s, &try)) {
            break;
        }
        high = try.until_us;
    }
}

void sim_shrink(struct sim_options *options, const struct sim_result *found)
{
    struct shrink s = {.best = *options, .found = *found};

    s.best.trace = false;
    shorter(&s);
    fewer_faults(&s);
    fewer_of(&s, false);
    fewer_of(&s, true);
    shorter(&s);
    *options = s.best;
    (void)printf("shrunk in %u tries: %u nodes, %u groups, %.1f s, faults:",
                 s.tries,
                 s.found.nodes,
                 s.found.groups,
                 (double)s.found.counts.virtual_us / 1e6);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        if ((s.found.faults >> i & 1) != 0) {
            (void)printf(" %s", sim_fault_word((enum sim_fault)i));
        }
    }
    (void)printf("\n  %s\n", s.found.violation);
}
