/* Scripts with recorded facts: see facts.h. */
#include "tests/raftgroup/facts.h"

#include "raftgroup/base/alloc.h"
#include "tests/raftgroup/script.h"
#include "tests/raftgroup/shape.h"

#include <stdlib.h>
#include <string.h>

enum { READS_PER_COMMAND = 64, READ_BYTES = 64 };

struct expected {
    char *state;
    char *log;
    char *data;
    raft_index applied;
    unsigned state_line; /* where it was recorded last */
    unsigned log_line;
    unsigned data_line;
};

struct run {
    struct report *report;
    const struct facts_options *options;
    struct script script;
    struct expected node[SIM_NODES_MAX + 1];
    char reads[READS_PER_COMMAND][READ_BYTES];
    unsigned nreads;
    bool quiescent;
    char refused[16];        /* the recorded error, "" = none */
    enum script_result last; /* of the command before the facts */
    bool facts_follow;       /* a command was run and its facts are not compared yet */
    unsigned seed;
    bool differs; /* this script already differed: stop comparing it */
};

static void
differ(struct run *r, unsigned line, const char *what, const char *want, const char *got)
{
    char text[128];

    if (r->differs) {
        return;
    }
    r->differs = true;
    (void)snprintf(text, sizeof(text), "script %u: %s", r->seed, what);
    report_differ(r->report, line, text, want, got);
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

static void compare_machine(struct run *r, const struct sim_node *n, const struct expected *e)
{
    const char *data = e->data != NULL ? e->data : "";
    size_t size = strlen(data) + n->machine.len + 64;
    char *want;
    char *got;

    if (e->applied == n->machine.applied && strcmp(data, n->machine.data) == 0) {
        return;
    }
    want = fl_xmalloc(size);
    got = fl_xmalloc(size);
    (void)snprintf(want, size, "A %d %d %s", (int)n->id, (int)e->applied, data);
    (void)snprintf(got, size, "A %d %d %s", (int)n->id, (int)n->machine.applied, n->machine.data);
    differ(r, e->data_line, "another applied state", want, got);
    free(want);
    free(got);
}

static void compare_node(struct run *r, unsigned id)
{
    const struct sim_node *n = &r->script.cluster->node[id];
    const struct expected *e = &r->node[id];
    char got[512];
    char *log;

    if (e->state == NULL || r->differs) {
        return;
    }
    script_state(n, got, sizeof(got));
    if (strcmp(e->state, got) != 0) {
        differ(r, e->state_line, "another state", e->state, got);
        return;
    }
    log = script_log(n);
    if (strcmp(e->log != NULL ? e->log : "", log) != 0) {
        differ(r, e->log_line, "another log", e->log != NULL ? e->log : "", log);
    }
    free(log);
    if (r->options->level == FACTS_FULL) {
        compare_machine(r, n, e);
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
            const struct raft_read *a = &n->answers[i];
            char text[READ_BYTES];

            (void)snprintf(text, sizeof(text), "R %u q%d=%d", id, (int)a->ctx, (int)a->index);
            if (a->ok && !take_expected_read(r, text)) {
                differ(r, 0, "a read that is not recorded", "", text);
            }
        }
        n->nanswers = 0;
    }
    if (r->nreads > 0) {
        differ(r, 0, "a recorded read is not answered", r->reads[0], "");
    }
}

static void compare_refusal(struct run *r)
{
    bool dropped = strcmp(r->refused, "dropped") == 0;

    if (dropped != (r->last == SCRIPT_DROPPED)) {
        differ(r, 0, "proposals", dropped ? "E dropped" : "", dropped ? "" : "E dropped");
    } else if (!dropped && r->refused[0] != '\0' && r->last == SCRIPT_DONE) {
        differ(r, 0, "the command", r->refused, "");
    }
}

/* The facts of the last command are complete. */
static void compare(struct run *r)
{
    struct sim_cluster *c = r->script.cluster;
    enum facts_level level = r->options->level;

    if (c == NULL) {
        return;
    }
    if (c->violation[0] != '\0') {
        differ(r, 0, "safety is broken", "", c->violation);
    }
    if (!r->facts_follow || r->differs || level == FACTS_SAFETY ||
        (level == FACTS_QUIESCENT && !r->quiescent)) {
        return;
    }
    for (unsigned id = 1; id <= c->nnodes; id++) {
        compare_node(r, id);
    }
    if (level == FACTS_FULL) {
        compare_reads(r);
        compare_refusal(r);
    }
    r->facts_follow = false;
}

/* ---- scripts ---- */

static void finish(struct run *r)
{
    struct sim_cluster *c = r->script.cluster;

    if (c != NULL) {
        compare(r);
        if (c->violation[0] == '\0') {
            sim_check_logs(c);
            compare(r);
        }
        if (!r->differs && !r->report->malformed) {
            report_pass(r->report);
        }
        sim_destroy(c);
    }
    for (unsigned i = 0; i <= SIM_NODES_MAX; i++) {
        free(r->node[i].state);
        free(r->node[i].log);
        free(r->node[i].data);
    }
    memset(r->node, 0, sizeof(r->node));
    r->script = (struct script){.parity = r->options->parity};
    r->facts_follow = false;
    r->differs = false;
}

static void start(struct run *r, unsigned seed)
{
    finish(r);
    r->seed = seed;
    r->script.cluster = sim_create(seed);
    r->script.cluster->trace = seed != 0 && seed == r->options->trace_seed;
}

static void save_all(struct sim_cluster *c)
{
    for (unsigned i = 1; i <= c->nnodes; i++) {
        sim_save(&c->node[i]);
    }
}

static void run_command(struct run *r, const char *line, bool stabilize)
{
    if (r->script.cluster == NULL) {
        start(r, 0);
    }
    compare(r);
    r->nreads = 0;
    r->refused[0] = '\0';
    r->quiescent = false;
    if (r->differs) {
        return;
    }
    if (r->script.cluster->trace) {
        (void)fprintf(r->report->out, "%6u @ %s\n", r->report->line, line);
    }
    r->last = script_run(&r->script, line);
    if (r->last == SCRIPT_MALFORMED) {
        report_malformed(r->report, "%s", r->script.why);
        return;
    }
    if (stabilize) {
        save_all(r->script.cluster);
        sim_stabilize(r->script.cluster);
        save_all(r->script.cluster);
    }
    r->facts_follow = true;
}

/* ---- reading facts ---- */

/* The node a fact is about, *rest = what follows; NULL: there is none. */
static struct expected *subject(struct run *r, const char *line, const char **rest)
{
    char *end;
    unsigned long id = strtoul(line, &end, 10);

    if (r->script.cluster == NULL || id < 1 || id > r->script.cluster->nnodes) {
        report_malformed(r->report, "a fact about a node that is not there: %.40s", line);
        return NULL;
    }
    *rest = end + (*end == ' ');
    return &r->node[id];
}

/* "S <id> ..", without the mark of a ready that is pending. */
static void read_state(struct run *r, char *line)
{
    const char *rest;
    char *ru = strstr(line, " ru=");
    struct expected *e = subject(r, line + 2, &rest);

    if (e == NULL) {
        return;
    }
    if (ru != NULL) {
        memmove(ru, ru + 5, strlen(ru + 5) + 1);
    }
    set(&e->state, line);
    e->state_line = r->report->line;
}

static void read_log(struct run *r, char *line)
{
    bool more = line[1] == '+';
    const char *rest;
    struct expected *e = subject(r, line + (more ? 3 : 2), &rest);

    if (e != NULL) {
        if (more) {
            append(&e->log, " ", rest);
        } else {
            set(&e->log, rest);
        }
        e->log_line = r->report->line;
    }
}

static void read_machine(struct run *r, char *line)
{
    bool more = line[1] == '+';
    const char *rest;
    struct expected *e = subject(r, line + (more ? 3 : 2), &rest);
    char *end;

    if (e != NULL) {
        e->applied = strtoull(rest, &end, 10);
        end += *end == ' ';
        if (more) {
            append(&e->data, "", end);
        } else {
            set(&e->data, end);
        }
        e->data_line = r->report->line;
    }
}

static void read_read(struct run *r, char *line)
{
    if (r->nreads == READS_PER_COMMAND) {
        report_malformed(r->report, "more than %d reads of one command", READS_PER_COMMAND);
        return;
    }
    (void)snprintf(r->reads[r->nreads++], READ_BYTES, "%.60s", line);
}

static void read_refusal(struct run *r, char *line)
{
    (void)snprintf(r->refused, sizeof(r->refused), "%.15s", line + 2);
}

static void read_quiescence(struct run *r, char *line)
{
    r->quiescent = line[2] == '1';
}

static const struct {
    const char *shape;
    void (*read)(struct run *r, char *line); /* NULL: no level looks at it */
} facts[] = {
    {"S %n [FPCL] t=%n v=%n l=%n c=%n a=%n f=%n n=%n xfer=%n( ru=[01])? conf=[^ ]+", read_state},
    {"L\\+? %n( .*)?", read_log},
    {"A\\+? %n %n( .*)?", read_machine},
    {"R %n q%n=%n", read_read},
    {"E .+", read_refusal},
    {"Q [01]", read_quiescence},
    {"[PWNM+] .+", NULL},
};

static void read_fact(struct run *r, char *line)
{
    for (size_t i = 0; i < sizeof(facts) / sizeof(facts[0]); i++) {
        if (facts[i].shape[0] == line[0] || facts[i].read == NULL) {
            if (!shape_fits(facts[i].shape, line)) {
                break;
            }
            if (facts[i].read != NULL) {
                facts[i].read(r, line);
            }
            return;
        }
    }
    report_malformed(r->report, "neither a command nor a fact: %.60s", line);
}

static void run_line(struct run *r, char *line)
{
    bool command = line[0] == '@' || line[0] == '~';

    if (command || line[0] == '#') {
        compare(r); /* before this line becomes part of the context */
    }
    report_read(r->report, line, command || line[0] == '#');
    if (line[0] == '\0' || strncmp(line, "# ", 2) == 0) {
        return;
    }
    if (shape_fits("### seed %n", line)) {
        start(r, (unsigned)strtoul(line + 9, NULL, 10));
    } else if (command && line[1] == ' ') {
        run_command(r, line + 2, r->options->stabilize && line[0] == '@');
        r->facts_follow = r->facts_follow && line[0] == '@';
    } else {
        read_fact(r, line);
    }
}

void facts_run(FILE *file, struct report *report, const struct facts_options *options)
{
    struct run r = {.report = report, .options = options};
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;

    r.script.parity = options->parity;
    while (!report->malformed && (len = getline(&line, &capacity, file)) > 0) {
        line[len - 1] = line[len - 1] == '\n' ? '\0' : line[len - 1];
        if (strlen(line) + 1 < (size_t)len) {
            report->line++;
            report_malformed(report, "a NUL byte");
            break;
        }
        run_line(&r, line);
    }
    free(line);
    finish(&r);
}
