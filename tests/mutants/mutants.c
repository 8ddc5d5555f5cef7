/* Goal: every known bug that can be put back into the core is found by a simulator; one that
 * survives is a missing test.
 *
 * Method: the core is built once with all bugs of raftgroup/bugs.h behind a question. For each bug
 * a child process switches it on and runs seed after seed, always from the same first seed, until
 * an invariant breaks, the group does not recover, or an assertion stops the process. The unbroken
 * core runs first and must survive as many seeds.
 *
 * usage: mutants [--world PROGRAM] [--seeds N] [--jobs N] [ID...]
 * --world: PROGRAM (a sim_program on the core with bugs) runs the seeds instead of the chaos. */
#include "tests/raftgroup/chaos.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/bugs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    SEEDS = 20000, /* budget of one bug */
    SEED_SECONDS =
        10 /* of the processor; a seed takes a millisecond, an endless one is a finding */
};

struct run { /* shared with the child that works on it */
    const char *id;
    const char *what;
    enum raft_bug bug;
    pid_t pid;
    int errors; /* what the child said on its way out */
    struct timespec begun;
    double seconds;
    unsigned seeds; /* tried */
    uint64_t events;
    bool found;
    bool unsafe;
    char why[256];
};

#define BUG_ROW(name, text) {.id = #name, .what = (text), .bug = RG_BUG_##name},
static const struct run rows[] = {{.id = "none", .what = "nothing"}, RG_BUGS(BUG_ROW)};
#undef BUG_ROW

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

struct options {
    const char *world; /* NULL: the chaos */
    unsigned seeds;
    unsigned jobs;
    char **ids;
    int nids;
};

/* ---- child ---- */

/* SIGPROF ends the child when this seed has used up its share. */
static void limit_cpu(void)
{
    const struct itimerval limit = {.it_value = {.tv_sec = SEED_SECONDS}};

    fl_assert(setitimer(ITIMER_PROF, &limit, NULL) == 0);
}

static void work(struct run *run, unsigned budget)
{
    struct raft_stats unused;

    raft__bug = run->bug;
    while (run->seeds < budget && !run->found) {
        struct chaos_result result;

        run->seeds++;
        limit_cpu();
        chaos_run(run->seeds, &result, &unused);
        run->events += result.events;
        run->found = !result.ok;
        run->unsafe = result.unsafe;
        memcpy(run->why, result.why, sizeof(run->why));
    }
}

/* The whole simulator in this process's place; its words go where the parent reads them. */
static void exec_world(const struct run *run, const char *program, unsigned budget)
{
    char seeds[16];

    (void)snprintf(seeds, sizeof(seeds), "%u", budget);
    fl_assert(setenv("RG_BUG", run->id, 1) == 0);
    (void)dup2(run->errors, STDOUT_FILENO);
    (void)execl(program,
                program,
                "--until-failure",
                "--quiet",
                "--no-shrink",
                "--jobs",
                "1",
                "--profile",
                "core",
                "--seeds",
                seeds,
                (char *)NULL);
    (void)fprintf(stderr, "%s cannot be run\n", program);
    abort();
}

static void start(struct run *run, const struct options *o)
{
    pid_t pid;

    run->seeds = o->world != NULL ? o->seeds : 0;
    run->errors = memfd_create("errors", 0);
    fl_assert(run->errors >= 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &run->begun);
    (void)fflush(stdout);
    pid = fork();
    fl_assert(pid >= 0);
    if (pid == 0) {
        (void)dup2(run->errors, STDERR_FILENO);
        if (o->world != NULL) {
            exec_world(run, o->world, o->seeds);
        }
        work(run, run->bug == RG_BUG_NONE ? o->seeds / 5 : o->seeds);
        _exit(0);
    }
    run->pid = pid;
}

/* ---- parent ---- */

/* The condition of a failed assertion or the reason of a fatal stop out of a log line, else the
 * first line. */
static void read_last_words(struct run *run, int signal_number)
{
    char text[4096];
    ssize_t len = pread(run->errors, text, sizeof(text) - 1, 0);
    char *from;
    char *to;

    text[len > 0 ? len : 0] = '\0';
    from = strchr(text, '"');
    to = from != NULL ? strchr(from + 1, '"') : NULL;
    if (to != NULL) {
        *to = '\0';
        from++;
    } else {
        from = text;
        text[strcspn(text, "\n")] = '\0';
    }
    (void)snprintf(run->why, sizeof(run->why), "stops: %.200s", from);
    if (*from == '\0') {
        (void)snprintf(run->why, sizeof(run->why), "stops: signal %d", signal_number);
    }
}

/* VIOLATION seed N <invariant>: <sentence> */
static void read_verdict(struct run *run)
{
    static const char start_of[] = "VIOLATION seed ";
    char text[65536];
    ssize_t len = pread(run->errors, text, sizeof(text) - 1, 0);
    char *at;

    text[len > 0 ? len : 0] = '\0';
    at = strstr(text, start_of);
    if (at == NULL) {
        (void)snprintf(run->why, sizeof(run->why), "it ends badly: %.200s", text);
        return;
    }
    run->found = true;
    run->seeds = (unsigned)strtoul(at + strlen(start_of), &at, 10);
    at[strcspn(at, "\n")] = '\0';
    (void)snprintf(run->why, sizeof(run->why), "%.250s", at + (*at == ' '));
}

static void finish(struct run *run, int status)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    run->seconds =
        (double)(now.tv_sec - run->begun.tv_sec) + (double)(now.tv_nsec - run->begun.tv_nsec) / 1e9;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF) {
        (void)snprintf(run->why, sizeof(run->why), "a seed does not end");
    } else if (WIFSIGNALED(status)) {
        read_last_words(run, WTERMSIG(status));
    }
    run->found = run->found || WIFSIGNALED(status);
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
        read_verdict(run);
    }
    (void)close(run->errors);
    run->pid = 0;
}

static void wait_for_one(struct run *runs)
{
    int status = 0;
    pid_t pid = wait(&status);

    fl_assert(pid > 0);
    for (int i = 0; i < ROWS; i++) {
        if (runs[i].pid == pid) {
            finish(&runs[i], status);
            return;
        }
    }
}

static bool is_chosen(const struct options *o, const struct run *run)
{
    for (int i = 0; i < o->nids; i++) {
        if (strcmp(o->ids[i], run->id) == 0) {
            return true;
        }
    }
    return o->nids == 0;
}

static void print_row(const struct run *run)
{
    printf("%-12s %-62s %6u %7.2f  %s\n",
           run->id,
           run->what,
           run->seeds,
           run->seconds,
           run->found                ? run->why
           : run->bug == RG_BUG_NONE ? "survives, as it must"
                                     : "SURVIVES");
}

static int report(const struct run *runs, const struct options *o)
{
    unsigned total = 0;
    unsigned found = 0;
    bool clean = true;

    printf("%-12s %-62s %6s %7s  %s\n", "id", "what is broken", "seeds", "seconds", "found by");
    for (int i = 0; i < ROWS; i++) {
        if (!is_chosen(o, &runs[i])) {
            continue;
        }
        print_row(&runs[i]);
        if (runs[i].bug == RG_BUG_NONE) {
            clean = !runs[i].found;
        } else {
            total++;
            found += runs[i].found;
        }
    }
    printf("budget %u seeds each\n%u of %u found\n", o->seeds, found, total);
    return found == total && clean ? 0 : 1;
}

static bool parse(int argc, char **argv, struct options *o)
{
    int i = 1;

    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        unsigned value = (unsigned)strtoul(argv[i + 1], NULL, 10);

        if (strcmp(argv[i], "--seeds") == 0 && value > 0) {
            o->seeds = value;
        } else if (strcmp(argv[i], "--jobs") == 0 && value > 0) {
            o->jobs = value;
        } else if (strcmp(argv[i], "--world") == 0) {
            o->world = argv[i + 1];
        } else {
            return false;
        }
    }
    o->ids = argv + i;
    o->nids = argc - i;
    return o->nids == 0 || o->ids[0][0] != '-';
}

int main(int argc, char **argv)
{
    struct options o = {.seeds = SEEDS, .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN)};
    struct run *runs =
        mmap(NULL, sizeof(rows), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned busy = 0;

    if (!parse(argc, argv, &o)) {
        (void)fprintf(stderr, "usage: mutants [--world PROGRAM] [--seeds N] [--jobs N] [ID...]\n");
        return 2;
    }
    if (o.world != NULL && access(o.world, X_OK) != 0) {
        (void)fprintf(stderr, "%s cannot be run\n", o.world);
        return 2;
    }
    fl_assert(runs != MAP_FAILED);
    memcpy(runs, rows, sizeof(rows));
    for (int i = 0; i < ROWS; i++) {
        if (!is_chosen(&o, &runs[i])) {
            continue;
        }
        if (busy == o.jobs) {
            wait_for_one(runs);
            busy--;
        }
        start(&runs[i], &o);
        busy++;
    }
    for (; busy > 0; busy--) {
        wait_for_one(runs);
    }
    return report(runs, &o);
}
