/* Readable scenarios: see transcript.h. */
#include "tests/raftgroup/transcript.h"

#include "raftgroup/base/alloc.h"
#include "tests/raftgroup/script.h"

#include <stdlib.h>
#include <string.h>

enum { TEXT_BYTES = 8192 };

/* What was written last of a node. */
struct known {
    char state[512];
    char *log;
    char *data;
    raft_index applied;
};

struct transcript {
    FILE *out;
    struct script script;
    struct known node[SIM_NODES_MAX + 1];
    char messages[TEXT_BYTES];
    int scenarios;
    bool broken;
};

static void finish(struct transcript *t)
{
    struct sim_cluster *c = t->script.cluster;

    if (c != NULL) {
        sim_check_logs(c);
        if (c->violation[0] != '\0') {
            (void)fprintf(t->out, "! %s\n", c->violation);
            t->broken = true;
        }
        sim_destroy(c);
    }
    for (unsigned i = 0; i <= SIM_NODES_MAX; i++) {
        free(t->node[i].log);
        free(t->node[i].data);
    }
    memset(t->node, 0, sizeof(t->node));
    t->messages[0] = '\0';
    t->script = (struct script){.parity = RAFT_PARITY_RAND0};
}

/* ---- what changed ---- */

static void write_node(struct transcript *t, struct sim_node *n)
{
    struct known *k = &t->node[n->id];
    char state[512];
    char *log = script_log(n);

    script_state(n, state, sizeof(state));
    if (strcmp(state, k->state) != 0) {
        (void)fprintf(t->out, "%s\n", state);
        memcpy(k->state, state, sizeof(state));
    }
    if (k->log == NULL ? log[0] != '\0' : strcmp(log, k->log) != 0) {
        (void)fprintf(t->out, "L %d %s\n", (int)n->id, log);
    }
    free(k->log);
    k->log = log;
    if (k->applied != n->machine.applied || k->data == NULL ||
        strcmp(k->data, n->machine.data) != 0) {
        free(k->data);
        k->data = fl_xstrdup(n->machine.data);
        k->applied = n->machine.applied;
        (void)fprintf(t->out,
                      "A %d %d%s%s\n",
                      (int)n->id,
                      (int)k->applied,
                      k->data[0] != '\0' ? " " : "",
                      k->data);
    }
    for (size_t i = 0; i < n->nanswers; i++) {
        const struct raft_read *r = &n->answers[i];

        (void)fprintf(t->out, "R %d q%d", (int)n->id, (int)r->ctx);
        (void)fprintf(t->out, r->ok ? "=%d\n" : " failed\n", (int)r->index);
    }
    n->nanswers = 0;
}

static size_t put_message(char *out, size_t size, const struct sim_packet *p)
{
    static const char *const names[] = {"?",
                                        "APP",
                                        "APPR",
                                        "HB",
                                        "HBR",
                                        "VOTE",
                                        "VOTER",
                                        "PREVOTE",
                                        "PREVOTER",
                                        "SNAP",
                                        "TIMEOUTNOW",
                                        "TIMEOUTNOWR",
                                        "READ",
                                        "READR",
                                        "XFER"};
    const struct raft_msg *m = &p->m;
    size_t len;

    if (m->type == SIM_M_PROP) {
        return (size_t)snprintf(
            out, size, "M %d>%d PROP %s\n", (int)m->from, (int)m->to, p->prop.text);
    }
    len = (size_t)snprintf(out,
                           size,
                           "M %d>%d %s%s t=%d i=%d/%d c=%d",
                           (int)m->from,
                           (int)m->to,
                           names[m->type],
                           (m->flags & RAFT_F_REJECT) != 0 ? " no" : "",
                           (int)m->term,
                           (int)m->log_term,
                           (int)m->index,
                           (int)m->commit);
    if (m->x != 0) {
        len += (size_t)snprintf(out + len, size - len, " x=%d", (int)m->x);
    }
    for (uint32_t i = 0; i < m->nents && len + 2 * SIM_TEXT_MAX < size; i++) {
        const struct sim_entry *e = &p->entries[i];

        len += (size_t)snprintf(out + len,
                                size - len,
                                " %d/%d%s%s",
                                (int)e->term,
                                (int)(m->index + 1 + i),
                                e->text[0] != '\0' ? "=" : "",
                                e->text);
    }
    return len + (size_t)snprintf(out + len, size - len, "\n");
}

static void write_messages(struct transcript *t)
{
    char now[TEXT_BYTES] = "";
    size_t len = 0;

    for (const struct sim_packet *p = t->script.cluster->packets;
         p != NULL && len + 512 < sizeof(now);
         p = p->next) {
        len += put_message(now + len, sizeof(now) - len, p);
    }
    if (strcmp(now, t->messages) != 0) {
        (void)fputs(now[0] != '\0' ? now : "M none\n", t->out);
        memcpy(t->messages, now, sizeof(now));
    }
}

/* ---- commands ---- */

static void run_command(struct transcript *t, const char *command)
{
    struct sim_cluster *c = t->script.cluster;
    enum script_result result;

    if (c == NULL) {
        (void)fprintf(t->out, "! no scenario (###) before the first command\n");
        t->broken = true;
        return;
    }
    result = script_run(&t->script, command);
    if (result == SCRIPT_MALFORMED) {
        (void)fprintf(t->out, "! %s\n", t->script.why);
        t->broken = true;
        return;
    }
    if (result != SCRIPT_DONE) {
        (void)fprintf(t->out, "E %s\n", result == SCRIPT_DROPPED ? "dropped" : "idle");
    }
    for (unsigned i = 1; i <= c->nnodes; i++) {
        write_node(t, &c->node[i]);
    }
    write_messages(t);
    if (c->violation[0] != '\0') {
        (void)fprintf(t->out, "! %s\n", c->violation);
        t->broken = true;
    }
}

int transcript_run(FILE *in, FILE *out)
{
    struct transcript t = {.out = out};
    char *line = NULL;
    size_t capacity = 0;

    finish(&t);
    while (!t.broken && getline(&line, &capacity, in) > 0) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "### ", 4) == 0) {
            finish(&t);
            t.script.cluster = sim_create(1);
            t.scenarios++;
        }
        if (line[0] == '#' || line[0] == '@' || line[0] == '\0') {
            (void)fprintf(out, "%s\n", line);
        }
        if (line[0] == '@') {
            run_command(&t, line + 1 + (line[1] == ' '));
        }
    }
    finish(&t);
    free(line);
    return t.broken ? -1 : t.scenarios;
}
