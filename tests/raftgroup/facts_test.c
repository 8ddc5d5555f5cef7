/* Goal: the core reaches the same facts as the recorded library on the same commands.
 *
 * Method: the scripts of ../shared/vectors/raft (or $FLOTILLA_VECTORS) drive a simulated cluster;
 * after each command the recorded facts are compared with ours. calm/         full compare of
 * states, logs, applied data and reads: THE GATE interaction/  states and logs at quiescent points
 *   random/       the schedule as input, safety invariants only
 *   regress/      the schedule as input, its assertion is a safety invariant
 * Prints `skipped` when the vectors are absent. */
#include "raftgroup/base/alloc.h"
#include "tests/raftgroup/script.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LINE_MAX_BYTES = 65536, READS_PER_COMMAND = 64 };

enum level { LEVEL_SAFETY, LEVEL_QUIESCENT, LEVEL_FULL };

struct expected {
    char *state;
    char *log;
    char *data;
    raft_index applied;
};

struct run {
    struct script script;
    enum level level;
    bool stabilize; /* after every command marked @ */
    struct expected node[SIM_NODES_MAX + 1];
    char reads[READS_PER_COMMAND][64];
    unsigned nreads;
    bool quiescent;
    bool dropped;            /* facts say the proposal was refused */
    enum script_result last; /* of the command before the facts */
    char command[512];
    unsigned seed;
    unsigned line;         /* being read */
    unsigned command_line; /* of `command` */
    bool broken;           /* this script already differed: stop comparing it */
    unsigned commands;
    unsigned compared;
    unsigned differ; /* scripts */
    unsigned scripts;
    unsigned skipped; /* scripts with commands we do not have */
    bool verbose;
};

static const char *vectors(void)
{
    const char *path = getenv("FLOTILLA_VECTORS");

    return path != NULL ? path : "../shared/vectors/raft";
}

static void differ(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void differ(struct run *r, const char *format, ...)
{
    va_list args;

    if (r->broken) {
        return;
    }
    r->broken = true;
    r->differ++;
    va_start(args, format);
    (void)fprintf(stderr, "seed %u line %u @ %s: ", r->seed, r->command_line, r->command);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
}

static void set(char **at, const char *text)
{
    free(*at);
    *at = fl_xstrdup(text);
}

static void append(char **at, const char *between, const char *text)
{
    const char *old = *at != NULL ? *at : "";
    size_t size = strlen(old) + strlen(between) + strlen(text) + 1;
    char *joined = fl_xmalloc(size);

    (void)snprintf(joined, size, "%s%s%s", old, old[0] != '\0' ? between : "", text);
    free(*at);
    *at = joined;
}

/* ---- comparing ---- */

static bool same_state(const char *want, const struct sim_node *n, char *got, size_t size)
{
    script_state(n, got, size);
    return strcmp(want, got) == 0;
}

static void compare_node(struct run *r, unsigned id)
{
    const struct sim_node *n = &r->script.cluster->node[id];
    const struct expected *e = &r->node[id];
    char got[512];
    char *log;

    if (e->state == NULL || r->broken) {
        return;
    }
    if (!same_state(e->state, n, got, sizeof(got))) {
        differ(r, "\n  want %s\n  got  %s", e->state, got);
        return;
    }
    log = script_log(n);
    if (strcmp(e->log != NULL ? e->log : "", log) != 0) {
        differ(r, "log of %u\n  want %s\n  got  %s", id, e->log, log);
    }
    free(log);
    if (r->level == LEVEL_FULL && (e->applied != n->machine.applied ||
                                   strcmp(e->data != NULL ? e->data : "", n->machine.data) != 0)) {
        differ(r,
               "machine of %u\n  want %d %s\n  got  %d %s",
               id,
               (int)e->applied,
               e->data,
               (int)n->machine.applied,
               n->machine.data);
    }
}

static bool take_expected_read(struct run *r, const char *text)
{
    for (unsigned i = 0; i < r->nreads; i++) {
        if (strcmp(r->reads[i], text) == 0) {
            memmove(r->reads[i], r->reads[--r->nreads], sizeof(r->reads[0]));
            return true;
        }
    }
    return false;
}

static void compare_reads(struct run *r)
{
    struct sim_cluster *c = r->script.cluster;

    for (unsigned id = 1; id <= c->nnodes; id++) {
        struct sim_node *n = &c->node[id];

        for (size_t i = 0; i < n->nanswers; i++) {
            char text[64];

            (void)snprintf(text,
                           sizeof(text),
                           "%u q%d=%d",
                           id,
                           (int)n->answers[i].ctx,
                           (int)n->answers[i].index);
            if (n->answers[i].ok && !take_expected_read(r, text)) {
                differ(r, "read not in the facts: %s", text);
            }
        }
        n->nanswers = 0;
    }
    if (r->nreads > 0) {
        differ(r, "read missing: %s", r->reads[0]);
    }
}

static void compare(struct run *r)
{
    struct sim_cluster *c = r->script.cluster;

    if (c == NULL || r->command[0] == '\0') {
        return;
    }
    if (c->violation[0] != '\0') {
        differ(r, "VIOLATION %s", c->violation);
    }
    if (r->level == LEVEL_SAFETY || r->broken || (r->level == LEVEL_QUIESCENT && !r->quiescent)) {
        return;
    }
    r->compared++;
    for (unsigned id = 1; id <= c->nnodes; id++) {
        compare_node(r, id);
    }
    if (r->level == LEVEL_FULL) {
        compare_reads(r);
        if (r->dropped != (r->last == SCRIPT_DROPPED)) {
            differ(r, "%s", r->dropped ? "should be dropped" : "should not be dropped");
        }
    }
}

/* ---- reading facts ---- */

static void fresh_cluster(struct run *r, unsigned seed)
{
    if (r->script.cluster != NULL) {
        sim_check_logs(r->script.cluster);
        compare(r);
        sim_destroy(r->script.cluster);
    }
    for (unsigned i = 0; i <= SIM_NODES_MAX; i++) {
        free(r->node[i].state);
        free(r->node[i].log);
        free(r->node[i].data);
        r->node[i] = (struct expected){.state = NULL};
    }
    r->script.cluster = NULL;
    r->command[0] = '\0';
    r->seed = seed;
    r->broken = false;
}

static void start(struct run *r, unsigned seed)
{
    fresh_cluster(r, seed);
    r->script.cluster = sim_create(seed);
    r->scripts++;
}

/* "S <id> ..." without ru=. */
static void expect_state(struct run *r, char *line)
{
    unsigned id = (unsigned)strtoul(line + 2, NULL, 10);
    char *ru = strstr(line, " ru=");

    if (ru != NULL) {
        memmove(ru, ru + 5, strlen(ru + 5) + 1);
    }
    set(&r->node[id].state, line);
}

static void expect(struct run *r, char *line)
{
    bool more = line[1] == '+';
    char *p = line + (more ? 3 : 2);
    char *rest = NULL;
    unsigned id = (unsigned)strtoul(p, &rest, 10);

    rest += *rest == ' ';
    if (line[0] == 'L') {
        if (more) {
            append(&r->node[id].log, " ", rest);
        } else {
            set(&r->node[id].log, rest);
        }
    } else if (line[0] == 'A') {
        r->node[id].applied = strtoull(rest, &rest, 10);
        rest += *rest == ' ';
        if (more) {
            append(&r->node[id].data, "", rest);
        } else {
            set(&r->node[id].data, rest);
        }
    } else if (line[0] == 'R' && r->nreads < READS_PER_COMMAND) {
        (void)snprintf(r->reads[r->nreads++], sizeof(r->reads[0]), "%u %.48s", id, rest);
    }
}

/* SIM_TRACE=<seed> shows every message of that script. */
static bool wants_trace(unsigned seed)
{
    const char *wanted = getenv("SIM_TRACE");

    return wanted != NULL && strtoul(wanted, NULL, 10) == seed;
}

static void run_command(struct run *r, const char *line, bool stabilize)
{
    if (r->script.cluster == NULL) {
        start(r, 0);
    }
    compare(r);
    r->nreads = 0;
    r->dropped = false;
    r->quiescent = false;
    (void)snprintf(r->command, sizeof(r->command), "%s", line);
    r->command_line = r->line;
    r->commands++;
    if (r->broken) {
        return;
    }
    if (wants_trace(r->seed)) {
        r->script.cluster->trace = true;
        (void)fprintf(stderr, "%u @ %s\n", r->line, line);
    }
    r->last = script_run(&r->script, line);
    if (r->last == SCRIPT_UNSUPPORTED) {
        r->broken = true;
        r->skipped++;
        return;
    }
    if (stabilize) {
        for (unsigned i = 1; i <= r->script.cluster->nnodes; i++) {
            sim_save(&r->script.cluster->node[i]);
        }
        sim_stabilize(r->script.cluster);
        for (unsigned i = 1; i <= r->script.cluster->nnodes; i++) {
            sim_save(&r->script.cluster->node[i]);
        }
    }
}

static void run_line(struct run *r, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "### seed ", 9) == 0) {
        start(r, (unsigned)strtoul(line + 9, NULL, 10));
    } else if (line[0] == '@') {
        run_command(r, line + 2, r->stabilize);
    } else if (line[0] == '~') {
        run_command(r, line + 2, false);
        r->command[0] = '\0'; /* no facts follow */
    } else if (strncmp(line, "S ", 2) == 0) {
        expect_state(r, line);
    } else if (strncmp(line, "E dropped", 9) == 0) {
        r->dropped = true;
    } else if (strncmp(line, "Q ", 2) == 0) {
        r->quiescent = line[2] == '1';
    } else if ((line[0] == 'L' || line[0] == 'A' || line[0] == 'R') &&
               (line[1] == ' ' || line[1] == '+')) {
        expect(r, line);
    }
}

static void run_file(struct run *r, const char *path)
{
    FILE *file = fopen(path, "r");
    char *line = fl_xmalloc(LINE_MAX_BYTES);

    r->line = 0;
    assert_non_null(file);
    while (fgets(line, LINE_MAX_BYTES, file) != NULL) {
        r->line++;
        run_line(r, line);
    }
    free(line);
    (void)fclose(file);
    fresh_cluster(r, 0);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Runs every file of a folder; false when it is not there. */
static bool run_folder(struct run *r, const char *folder)
{
    char path[512];
    char *names[128];
    size_t n = 0;
    struct dirent *e;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/%s", vectors(), folder);
    dir = opendir(path);
    if (dir == NULL) {
        print_message("skipped: %s is absent\n", path);
        return false;
    }
    while ((e = readdir(dir)) != NULL && n < 128) {
        if (e->d_name[0] != '.') {
            names[n++] = fl_xstrdup(e->d_name);
        }
    }
    closedir(dir);
    qsort(names, n, sizeof(names[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s/%s", vectors(), folder, names[i]);
        r->script.async = false;
        if (r->verbose) {
            (void)fprintf(stderr, "%s\n", names[i]);
        }
        run_file(r, path);
        free(names[i]);
    }
    print_message("%s: %u scripts, %u commands, %u compared, %u not run (internals), %u differ\n",
                  folder,
                  r->scripts,
                  r->commands,
                  r->compared,
                  r->skipped,
                  r->differ);
    return true;
}

static void test_calm(void **state)
{
    struct run r = {.level = LEVEL_FULL, .stabilize = true, .script.parity = RAFT_PARITY_ALL};

    (void)state;
    if (run_folder(&r, "calm")) {
        assert_int_equal(r.differ, 0);
    } else {
        skip();
    }
}

/* The same schedules with every improvement on: facts may differ, safety may not. */
static void test_calm_without_parity(void **state)
{
    struct run r = {.level = LEVEL_SAFETY, .stabilize = true};

    (void)state;
    if (run_folder(&r, "calm")) {
        assert_int_equal(r.differ, 0);
    } else {
        skip();
    }
}

static void test_interaction(void **state)
{
    struct run r = {.level = LEVEL_QUIESCENT, .script.parity = RAFT_PARITY_ALL, .verbose = true};

    (void)state;
    if (run_folder(&r, "interaction")) {
        assert_int_equal(r.differ, 0);
    } else {
        skip();
    }
}

static void test_random(void **state)
{
    struct run r = {.level = LEVEL_SAFETY};

    (void)state;
    if (run_folder(&r, "random")) {
        assert_int_equal(r.differ, 0);
    } else {
        skip();
    }
}

static void test_regress(void **state)
{
    struct run r = {.level = LEVEL_SAFETY};

    (void)state;
    if (run_folder(&r, "regress")) {
        assert_int_equal(r.differ, 0);
    } else {
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calm),
        cmocka_unit_test(test_calm_without_parity),
        cmocka_unit_test(test_interaction),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_regress),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
