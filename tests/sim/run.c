/* Seeds in processes. See run.h. */
#include "tests/sim/run.h"

#include "raftgroup/base/assert.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Memory that children write and the parent reads. */
struct worker {
    struct sim_counts counts;
    _Atomic uint64_t seeds;
    _Atomic uint64_t seed; /* being run */
};

struct shared {
    _Atomic uint64_t next;
    _Atomic uint64_t end; /* no seed from here on */
    _Atomic uint64_t failures;
    struct sim_failure failure[SIM_FAILURES_MAX];
    struct worker worker[SIM_JOBS_MAX];
};

static void *share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    fl_assert(memory != MAP_FAILED);
    return memory;
}

static double now_seconds(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one ---- */

void sim_run_seed(const struct sim_options *options, struct sim_result *result)
{
    struct sim_world *w = sim_world_create(options, sim_machines(options->full));

    result->faults = w->plan.faults;
    result->nodes = w->plan.nodes;
    result->groups = w->plan.groups;
    sim_world_run(w);
    memcpy(result->violation, w->violation, sizeof(result->violation));
    result->trace_hash = w->trace_hash;
    result->counts = w->counts;
    sim_world_destroy(w);
}

void sim_run_child(const struct sim_options *options, struct sim_result *result)
{
    struct sim_result *shared = share(sizeof(*shared));
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        sim_run_seed(options, shared);
        (void)fflush(stdout);
        _exit(0);
    }
    (void)waitpid(child, &status, 0);
    *result = *shared;
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
        (void)snprintf(result->violation,
                       sizeof(result->violation),
                       "abort: the process ended with %d",
                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    (void)munmap(shared, sizeof(*shared));
}

/* ---- many ---- */

static void add_counts(struct sim_counts *to, const struct sim_counts *from)
{
    to->core_events += from->core_events;
    to->events += from->events;
    for (unsigned i = 0; i < SIM_FAULTS; i++) {
        to->faults[i] += from->faults[i];
    }
    to->messages += from->messages;
    to->committed += from->committed;
    to->ops_ok += from->ops_ok;
    to->ops_failed += from->ops_failed;
    to->ops_unknown += from->ops_unknown;
    to->reads_ok += from->reads_ok;
    to->elections += from->elections;
    to->snapshots += from->snapshots;
    to->restarts += from->restarts;
    to->virtual_us += from->virtual_us;
    to->undecided += from->undecided;
}

static void note_failure(struct shared *shared, uint64_t seed, bool full, const char *violation)
{
    uint64_t slot = atomic_fetch_add(&shared->failures, 1);

    if (slot < SIM_FAILURES_MAX) {
        shared->failure[slot].seed = seed;
        shared->failure[slot].full = full;
        (void)snprintf(shared->failure[slot].violation,
                       sizeof(shared->failure[slot].violation),
                       "%s",
                       violation);
    }
}

static bool is_full(const struct sim_campaign *campaign, uint64_t seed)
{
    return campaign->full_every != 0 ? seed % campaign->full_every == 0 : campaign->options.full;
}

static void work(const struct sim_campaign *campaign, struct shared *shared, struct worker *me)
{
    for (;;) {
        struct sim_options options = campaign->options;
        static struct sim_result result;

        options.seed = atomic_fetch_add(&shared->next, 1);
        if (options.seed >= atomic_load(&shared->end)) {
            return;
        }
        options.full = is_full(campaign, options.seed);
        atomic_store(&me->seed, options.seed);
        sim_run_seed(&options, &result);
        add_counts(&me->counts, &result.counts);
        atomic_fetch_add(&me->seeds, 1);
        if (result.violation[0] != '\0') {
            note_failure(shared, options.seed, options.full, result.violation);
            if (campaign->stop_at_failure) {
                atomic_store(&shared->end, 0);
            }
        }
    }
}

static pid_t start_worker(const struct sim_campaign *campaign, struct shared *shared, unsigned i)
{
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        work(campaign, shared, &shared->worker[i]);
        _exit(0);
    }
    return child;
}

static void collect(const struct sim_campaign *campaign,
                    struct shared *shared,
                    struct sim_totals *totals,
                    double start)
{
    memset(&totals->counts, 0, sizeof(totals->counts));
    totals->seeds = 0;
    for (unsigned i = 0; i < campaign->jobs; i++) {
        add_counts(&totals->counts, &shared->worker[i].counts);
        totals->seeds += atomic_load(&shared->worker[i].seeds);
    }
    totals->seconds = now_seconds() - start;
    totals->failures = atomic_load(&shared->failures);
    memcpy(totals->failure, shared->failure, sizeof(totals->failure));
}

static void print_progress(const struct sim_totals *t)
{
    (void)printf("%6.0f s  %" PRIu64
                 " seeds  %.1f simulated hours  %.1f M core events  "
                 "%.0f k/s  %" PRIu64 " failed\n",
                 t->seconds,
                 t->seeds,
                 (double)t->counts.virtual_us / 3.6e9,
                 (double)t->counts.core_events / 1e6,
                 (double)t->counts.core_events / 1e3 / (t->seconds > 0 ? t->seconds : 1),
                 t->failures);
    (void)fflush(stdout);
}

/* Waits for all workers; one that died takes its seed with it and is replaced. */
static void tend(const struct sim_campaign *campaign,
                 struct shared *shared,
                 struct sim_totals *totals,
                 pid_t *children)
{
    double start = now_seconds();
    double shown = start;
    unsigned left = campaign->jobs;

    while (left > 0) {
        struct timespec pause = {.tv_nsec = 50000000};

        for (unsigned i = 0; i < campaign->jobs; i++) {
            int status = 0;

            if (children[i] == 0 || waitpid(children[i], &status, WNOHANG) != children[i]) {
                continue;
            }
            children[i] = 0;
            left--;
            if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0) {
                uint64_t seed = atomic_load(&shared->worker[i].seed);

                note_failure(shared, seed, is_full(campaign, seed), "abort: the process died");
                if (campaign->stop_at_failure) {
                    atomic_store(&shared->end, 0);
                }
                children[i] = start_worker(campaign, shared, i);
                left++;
            }
        }
        if (campaign->seconds != 0 && now_seconds() - start >= (double)campaign->seconds) {
            atomic_store(&shared->end, 0);
        }
        if (!campaign->quiet && now_seconds() - shown >= 5) {
            shown = now_seconds();
            collect(campaign, shared, totals, start);
            print_progress(totals);
        }
        if (left > 0) {
            (void)nanosleep(&pause, NULL);
        }
    }
    collect(campaign, shared, totals, start);
}

void sim_campaign_run(const struct sim_campaign *campaign, struct sim_totals *totals)
{
    struct shared *shared = share(sizeof(*shared));
    pid_t children[SIM_JOBS_MAX] = {0};

    atomic_init(&shared->next, campaign->options.seed);
    atomic_init(&shared->end,
                campaign->seeds != 0 ? campaign->options.seed + campaign->seeds : UINT64_MAX);
    for (unsigned i = 0; i < campaign->jobs; i++) {
        children[i] = start_worker(campaign, shared, i);
    }
    memset(totals, 0, sizeof(*totals));
    tend(campaign, shared, totals, children);
    (void)munmap(shared, sizeof(*shared));
}
