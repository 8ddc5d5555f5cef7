/* The simulator's command line. tests/sim/README.md lists flags and exit codes. */
#include "tests/sim/run.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_GOOD = 0, EXIT_USAGE = 2, EXIT_NOT_REPEATABLE = 3, EXIT_VIOLATION = 10 };

struct command {
    struct sim_campaign campaign;
    bool one;    /* --seed: this one only */
    bool twice;  /* --twice: run it again and compare */
    bool shrink; /* of the first failure */
};

static const char usage_text[] =
    "usage: sim [--seeds N] [--from N] [--seed N] [--hours N] [--budget-seconds N] [--jobs N]\n"
    "           [--profile core|full|both] [--until-failure] [--twice] [--trace] [--quiet]\n"
    "           [--no-shrink] [--faults all|none|WORD,..] [--nodes N] [--groups N]\n"
    "           [--until-ms N] [--events N]\n";

static uint64_t number(const char *text)
{
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 10);

    if (end == text || *end != '\0') {
        (void)fprintf(stderr, "not a number: %s\n%s", text, usage_text);
        exit(EXIT_USAGE);
    }
    return value;
}

static uint64_t fault_mask(const char *list)
{
    uint64_t mask = 0;

    if (strcmp(list, "all") == 0) {
        return SIM_FAULTS_ALL;
    }
    while (*list != '\0' && strcmp(list, "none") != 0) {
        size_t n = strcspn(list, ",");
        bool known = false;

        for (unsigned i = 0; i < SIM_FAULTS; i++) {
            const char *word = sim_fault_word((enum sim_fault)i);

            if (strlen(word) == n && memcmp(word, list, n) == 0) {
                mask |= UINT64_C(1) << i;
                known = true;
            }
        }
        if (!known) {
            (void)fprintf(stderr, "no such fault: %s\n", list);
            exit(EXIT_USAGE);
        }
        list += n + (list[n] == ',' ? 1 : 0);
    }
    return mask;
}

static void set_profile(struct command *c, const char *name)
{
    c->campaign.full_every = 0;
    if (strcmp(name, "core") == 0) {
        c->campaign.options.full = false;
    } else if (strcmp(name, "full") == 0 && sim_machines(true) != NULL) {
        c->campaign.options.full = true;
    } else if (strcmp(name, "both") == 0 && sim_machines(true) != NULL) {
        c->campaign.full_every = 8;
    } else {
        (void)fprintf(stderr, "no such profile here: %s\n", name);
        exit(EXIT_USAGE);
    }
}

enum {
    FLAG_SEEDS = 256,
    FLAG_FROM,
    FLAG_SEED,
    FLAG_HOURS,
    FLAG_BUDGET,
    FLAG_JOBS,
    FLAG_PROFILE,
    FLAG_UNTIL_FAILURE,
    FLAG_TWICE,
    FLAG_TRACE,
    FLAG_QUIET,
    FLAG_NO_SHRINK,
    FLAG_FAULTS,
    FLAG_NODES,
    FLAG_GROUPS,
    FLAG_UNTIL,
    FLAG_EVENTS,
    FLAG_HELP,
};

static const struct option flags[] = {
    {"seeds", required_argument, NULL, FLAG_SEEDS},
    {"from", required_argument, NULL, FLAG_FROM},
    {"seed", required_argument, NULL, FLAG_SEED},
    {"hours", required_argument, NULL, FLAG_HOURS},
    {"budget-seconds", required_argument, NULL, FLAG_BUDGET},
    {"jobs", required_argument, NULL, FLAG_JOBS},
    {"profile", required_argument, NULL, FLAG_PROFILE},
    {"until-failure", no_argument, NULL, FLAG_UNTIL_FAILURE},
    {"twice", no_argument, NULL, FLAG_TWICE},
    {"trace", no_argument, NULL, FLAG_TRACE},
    {"quiet", no_argument, NULL, FLAG_QUIET},
    {"no-shrink", no_argument, NULL, FLAG_NO_SHRINK},
    {"faults", required_argument, NULL, FLAG_FAULTS},
    {"nodes", required_argument, NULL, FLAG_NODES},
    {"groups", required_argument, NULL, FLAG_GROUPS},
    {"until-ms", required_argument, NULL, FLAG_UNTIL},
    {"events", required_argument, NULL, FLAG_EVENTS},
    {"help", no_argument, NULL, FLAG_HELP},
    {NULL, 0, NULL, 0},
};

static void set_limit(struct command *c, int flag, uint64_t value)
{
    struct sim_campaign *campaign = &c->campaign;

    switch (flag) {
    case FLAG_SEEDS:
        campaign->seeds = value;
        break;
    case FLAG_FROM:
        campaign->options.seed = value;
        break;
    case FLAG_SEED:
        campaign->options.seed = value;
        c->one = true;
        break;
    case FLAG_HOURS:
        campaign->seconds = value * 3600;
        campaign->seeds = 0;
        break;
    case FLAG_BUDGET:
        campaign->seconds = value;
        campaign->seeds = 0;
        break;
    case FLAG_JOBS:
        campaign->jobs = value < 1 ? 1 : value > SIM_JOBS_MAX ? SIM_JOBS_MAX : (unsigned)value;
        break;
    case FLAG_NODES:
        campaign->options.nodes_max = (unsigned)value;
        break;
    case FLAG_GROUPS:
        campaign->options.groups_max = (unsigned)value;
        break;
    case FLAG_UNTIL:
        campaign->options.until_us = value * 1000;
        break;
    default:
        campaign->options.events_max = value;
        break;
    }
}

static void set_switch(struct command *c, int flag)
{
    switch (flag) {
    case FLAG_PROFILE:
        set_profile(c, optarg);
        break;
    case FLAG_FAULTS:
        c->campaign.options.allowed = fault_mask(optarg);
        break;
    case FLAG_UNTIL_FAILURE:
        c->campaign.stop_at_failure = true;
        break;
    case FLAG_TWICE:
        c->twice = true;
        break;
    case FLAG_TRACE:
        c->campaign.options.trace = true;
        c->shrink = false;
        break;
    case FLAG_QUIET:
        c->campaign.quiet = true;
        break;
    case FLAG_NO_SHRINK:
        c->shrink = false;
        break;
    case FLAG_HELP:
        (void)fputs(usage_text, stdout);
        exit(EXIT_GOOD);
    default:
        (void)fputs(usage_text, stderr);
        exit(EXIT_USAGE);
    }
}

static void parse(struct command *c, int argc, char **argv)
{
    int flag;

    *c = (struct command){
        .shrink = true,
        .campaign = {.seeds = 100, .jobs = 2, .options = {.seed = 1, .allowed = SIM_FAULTS_ALL}}};
    set_profile(c, sim_machines(true) != NULL ? "both" : "core");
    while ((flag = getopt_long(argc, argv, "", flags, NULL)) != -1) {
        switch (flag) {
        case FLAG_SEEDS:
        case FLAG_FROM:
        case FLAG_SEED:
        case FLAG_HOURS:
        case FLAG_BUDGET:
        case FLAG_JOBS:
        case FLAG_NODES:
        case FLAG_GROUPS:
        case FLAG_UNTIL:
        case FLAG_EVENTS:
            set_limit(c, flag, number(optarg));
            break;
        default:
            set_switch(c, flag);
            break;
        }
    }
    if (optind != argc) {
        (void)fputs(usage_text, stderr);
        exit(EXIT_USAGE);
    }
}

static void print_command(const struct sim_options *o, const char *more)
{
    (void)printf("./dev sim --seed %" PRIu64 " --profile %s", o->seed, o->full ? "full" : "core");
    if (o->allowed == 0) {
        (void)printf(" --faults none");
    } else if (o->allowed != SIM_FAULTS_ALL) {
        const char *comma = "";

        (void)printf(" --faults ");
        for (unsigned i = 0; i < SIM_FAULTS; i++) {
            if ((o->allowed >> i & 1) != 0) {
                (void)printf("%s%s", comma, sim_fault_word((enum sim_fault)i));
                comma = ",";
            }
        }
    }
    if (o->nodes_max != 0) {
        (void)printf(" --nodes %u", o->nodes_max);
    }
    if (o->groups_max != 0) {
        (void)printf(" --groups %u", o->groups_max);
    }
    if (o->until_us != 0) {
        (void)printf(" --until-ms %" PRIu64, o->until_us / 1000);
    }
    if (o->events_max != 0) {
        (void)printf(" --events %" PRIu64, o->events_max);
    }
    (void)printf("%s\n", more);
}

/* ---- reports ---- */

static void print_totals(const struct sim_totals *t)
{
    const struct sim_counts *c = &t->counts;

    (void)printf("seeds %" PRIu64
                 ", simulated %.2f h, core events %.2f M (%.0f k/s), "
                 "events %.2f M, %.1f s\n",
                 t->seeds,
                 (double)c->virtual_us / 3.6e9,
                 (double)c->core_events / 1e6,
                 (double)c->core_events / 1e3 / (t->seconds > 0 ? t->seconds : 1),
                 (double)c->events / 1e6,
                 t->seconds);
    (void)printf("messages %" PRIu64 ", committed %" PRIu64 ", elections %" PRIu64
                 ", snapshots %" PRIu64 ", restarts %" PRIu64 "\n",
                 c->messages,
                 c->committed,
                 c->elections,
                 c->snapshots,
                 c->restarts);
    (void)printf("operations: %" PRIu64 " ok (%" PRIu64 " reads), %" PRIu64 " failed, %" PRIu64
                 " unknown; histories undecided: %" PRIu64 "\n",
                 c->ops_ok,
                 c->reads_ok,
                 c->ops_failed,
                 c->ops_unknown,
                 c->undecided);
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        (void)printf("  %-30s %10" PRIu64 "%s",
                     sim_fault_name((enum sim_fault)i),
                     c->faults[i],
                     i % 2 == 1 || i + 1 == SIM_FAULTS ? "\n" : "");
    }
}

static void report_failure(const struct command *c, uint64_t seed, bool full)
{
    struct sim_options options = c->campaign.options;
    struct sim_result result;

    options.seed = seed;
    options.full = full;
    options.trace = false;
    sim_run_child(&options, &result);
    (void)printf("seed %" PRIu64 " fails: %s\n  replay: ", seed, result.violation);
    print_command(&options, "");
    if (c->shrink && result.violation[0] != '\0') {
        sim_shrink(&options, &result);
        (void)printf("  replay: ");
        print_command(&options, " --trace");
    }
}

static int run_one(const struct command *c)
{
    struct sim_options options = c->campaign.options;
    struct sim_result result;
    struct sim_totals totals = {.seeds = 1};

    if (c->campaign.full_every != 0) {
        options.full = options.seed % c->campaign.full_every == 0;
    }
    sim_run_child(&options, &result);
    totals.counts = result.counts;
    (void)printf("seed %" PRIu64 " trace %016" PRIx64 "\n", options.seed, result.trace_hash);
    print_totals(&totals);
    if (result.violation[0] != '\0') {
        (void)printf("VIOLATION %s\n", result.violation);
        report_failure(c, options.seed, options.full);
        return EXIT_VIOLATION;
    }
    return EXIT_GOOD;
}

static int run_twice(const struct command *c)
{
    struct sim_options options = c->campaign.options;
    uint64_t end = options.seed + (c->one ? 1 : c->campaign.seeds);

    for (; options.seed < end; options.seed++) {
        struct sim_result first;
        struct sim_result second;

        if (c->campaign.full_every != 0) {
            options.full = options.seed % c->campaign.full_every == 0;
        }
        sim_run_child(&options, &first);
        sim_run_child(&options, &second);
        if (first.trace_hash != second.trace_hash || first.trace_hash == 0) {
            (void)printf("seed %" PRIu64 " is not repeatable: %016" PRIx64 " and %016" PRIx64 "\n",
                         options.seed,
                         first.trace_hash,
                         second.trace_hash);
            return EXIT_NOT_REPEATABLE;
        }
    }
    (void)printf("repeatable\n");
    return EXIT_GOOD;
}

static int run_many(const struct command *c)
{
    static struct sim_totals totals;

    sim_campaign_run(&c->campaign, &totals);
    print_totals(&totals);
    for (uint64_t i = 0; i < totals.failures && i < SIM_FAILURES_MAX; i++) {
        (void)printf(
            "VIOLATION seed %" PRIu64 " %s\n", totals.failure[i].seed, totals.failure[i].violation);
    }
    if (totals.failures != 0) {
        report_failure(c, totals.failure[0].seed, totals.failure[0].full);
        return EXIT_VIOLATION;
    }
    return EXIT_GOOD;
}

int main(int argc, char **argv)
{
    struct command c;

    parse(&c, argc, argv);
    if (c.twice) {
        return run_twice(&c);
    }
    return c.one ? run_one(&c) : run_many(&c);
}
