/* Quorum, membership, flow control and log, row by row: each kind of row has a function that
 * computes ours. Rows that have no meaning here are skipped with the reason, see
 * raftgroup/README.md. */
#include "tests/raftgroup/tables.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/conf.h"
#include "raftgroup/log.h"
#include "raftgroup/progress.h"
#include "raftgroup/quorum.h"
#include "tests/raftgroup/core_tables.h"
#include "tests/raftgroup/shape.h"
#include "tests/raftgroup/solo.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- quorum ---- */

/* False: more members than a group may have. */
static bool add_ids(struct raft_conf *conf, const struct table_numbers *ids, raft_mask *mask)
{
    for (unsigned i = 0; i < ids->n; i++) {
        int slot = raft_conf_slot(conf, ids->at[i]);

        if (slot < 0 && conf->n == RAFT_MEMBERS_MAX) {
            return false;
        }
        if (slot < 0) {
            slot = conf->n++;
            conf->id[slot] = ids->at[i];
        }
        *mask |= (raft_mask)(1U << slot);
    }
    return true;
}

static void quorum_commit(const struct table_row *row, const struct raft_conf *conf, char got[64])
{
    uint64_t match[RAFT_MEMBERS_MAX] = {0};
    struct table_numbers acks = table_list(row, "acks");
    uint64_t result;

    for (unsigned i = 0; i + 1 < acks.n; i += 2) {
        int slot = raft_conf_slot(conf, acks.at[i]);

        if (slot >= 0) {
            match[slot] = acks.at[i + 1];
        }
    }
    result = raft__quorum_value(conf, match);
    (void)snprintf(got, 64, result == UINT64_MAX ? "inf" : "%d", (int)result);
}

static void quorum_vote(const struct table_row *row, const struct raft_conf *conf, char got[64])
{
    static const char *const names[] = {"pending", "won", "lost"};
    char text[256];
    raft_mask yes = 0;
    raft_mask no = 0;
    const char *p = table_value(row, "votes", text);

    for (; *p != '\0' && *p != '-'; p += *p == ',') {
        char *end;
        int slot = raft_conf_slot(conf, strtoull(p, &end, 10));

        if (slot >= 0 && end[1] == 'y') {
            yes |= (raft_mask)(1U << slot);
        } else if (slot >= 0) {
            no |= (raft_mask)(1U << slot);
        }
        p = end + 2;
    }
    (void)snprintf(got, 64, "%s", names[raft__quorum_vote(conf, yes, no)]);
}

static void run_quorum(struct table *t)
{
    struct table_row row;

    while (table_read(t, &row)) {
        bool votes = strncmp(row.text, "vote ", 5) == 0;
        struct raft_conf conf = {.n = 0};
        struct table_numbers in = table_list(&row, "in");
        struct table_numbers out = table_list(&row, "out");
        char got[64];

        if (!(votes ? table_fits(t, &row, "vote in=%i out=%i votes=%v", true)
                    : table_fits(t, &row, "commit in=%i out=%i acks=%p", true))) {
            return;
        }
        if (!add_ids(&conf, &in, &conf.in) || !add_ids(&conf, &out, &conf.out)) {
            report_malformed(t->report, "more than %d members", RAFT_MEMBERS_MAX);
            return;
        }
        (votes ? quorum_vote : quorum_commit)(&row, &conf, got);
        table_check(t, &row, got);
    }
}

/* Another library's way to commit only what several zones hold. */
static void run_group_commit(struct table *t)
{
    struct table_row row;

    while (table_read(t, &row)) {
        if (!table_fits(t, &row, "group in=%i out=%i acks=(-|%n:%n:%n(,%n:%n:%n)*)", true)) {
            return;
        }
        report_skip(t->report, "group: commit by zones is another library's feature");
    }
}

/* ---- membership ---- */

struct tracker {
    struct raft_conf conf;
    struct raft_progress *slab;
    raft_index last;
    const char *kind; /* of the change: simple, enter-joint, leave-joint */
};

static struct raft_changes parse_ops(const char *text)
{
    struct raft_changes c = {.transition = RAFT_CONF_SIMPLE};
    const char *p = strchr(text, '[');

    for (p = p != NULL ? p + 1 : ""; *p != ']' && *p != '\0';) {
        char *end;

        if (*p == ',' || *p == ' ') {
            p++;
            continue;
        }
        c.op[c.n].op = (uint8_t)*p;
        c.op[c.n++].id = strtoull(p + 1, &end, 10);
        p = end;
    }
    return c;
}

static size_t put_ids(char *out, const char *name, const struct raft_conf *conf, raft_mask mask)
{
    size_t len = (size_t)sprintf(out, "%s=", name);
    const char *comma = "";

    for (unsigned i = 0; i < conf->n; i++) {
        if ((mask >> i & 1) != 0) {
            len += (size_t)sprintf(out + len, "%s%d", comma, (int)conf->id[i]);
            comma = ",";
        }
    }
    return len + (size_t)sprintf(out + len, mask == 0 ? "- " : " ");
}

static void print_tracker(const struct tracker *t, char *out)
{
    const struct raft_conf *c = &t->conf;

    out += put_ids(out, "v", c, c->in);
    out += put_ids(out, "o", c, c->out);
    out += put_ids(out, "l", c, c->learners);
    out += put_ids(out, "n", c, c->next);
    out += sprintf(out, "auto=%d pr=", c->autoleave);
    for (unsigned i = 0; i < c->n; i++) {
        out += sprintf(out,
                       "%s%d:%c:m%d:n%d%s",
                       i > 0 ? ";" : "",
                       (int)c->id[i],
                       "PRS"[t->slab[i].state],
                       (int)t -> slab[i].match,
                       (int)t->slab[i].next,
                       (c->learners >> i & 1) != 0 ? ":L" : "");
    }
    if (c->n == 0) {
        (void)sprintf(out, "-");
    }
}

/* The recorded library starts anew with a member that one change removes and adds again. We keep
 * what we know of it: an id names one replica for ever (M15). */
static void forget_reborn(struct tracker *tr, const struct raft_changes *c)
{
    for (unsigned i = 0; i < c->n; i++) {
        int slot = raft_conf_slot(&tr->conf, c->op[i].id);

        if (c->op[i].op != 'r' || slot < 0 || (tr->conf.out >> slot & 1) != 0 ||
            (strncmp(tr->kind, "enter", 5) == 0 && (tr->conf.in >> slot & 1) != 0)) {
            continue; /* not a member, or still one by the old half */
        }
        raft__progress_init(&tr->slab[slot], 0, tr->last > 0 ? tr->last : 1);
    }
}

static void conf_row(struct table *t, struct tracker *tr, const struct table_row *row)
{
    static const char *const errors[] = {"",
                                         "ERR ALREADY_JOINT",
                                         "ERR NOT_JOINT",
                                         "ERR ZERO_VOTERS",
                                         "ERR IN_JOINT",
                                         "ERR NOT_SINGLE",
                                         "ERR NO_VOTERS",
                                         "ERR TOO_MANY"};
    struct raft_changes c = parse_ops(row->text);
    struct raft_conf after = tr->conf;
    enum raft_conf_error error;
    char got[TABLE_LINE_BYTES];

    if (strncmp(row->text, "simple", 6) == 0) {
        error = raft__conf_simple(&after, c.op, c.n);
    } else if (strncmp(row->text, "enter", 5) == 0) {
        error =
            raft__conf_enter_joint(&after, c.op, c.n, strstr(row->text, "autoleave=true") != NULL);
    } else {
        error = raft__conf_leave_joint(&after);
    }
    if (error == RAFT_CONF_FINE) {
        fl_assert(raft_conf_valid(&after));
        tr->kind = row->text;
        forget_reborn(tr, &c);
        tr->slab = raft__progress_remap(tr->slab, &tr->conf, &after, tr->last);
        tr->conf = after;
        print_tracker(tr, got);
    } else {
        fl_assert(raft_conf_equal(&after, &tr->conf));
        (void)snprintf(got, sizeof(got), "%s", errors[error]);
    }
    tr->last++;
    table_check(t, row, got);
}

static void tracker_reset(struct tracker *tr)
{
    free(raft__progress_remap(tr->slab, &tr->conf, &(struct raft_conf){.n = 0}, 0));
    memset(tr, 0, sizeof(*tr));
}

static void run_confchange(struct table *t)
{
    struct tracker tr = {.last = 0};
    struct table_row row;

    while (table_read(t, &row)) {
        if (strncmp(row.text, "## ", 3) == 0) {
            tracker_reset(&tr);
        } else if (!table_fits(t,
                               &row,
                               "(simple|leave-joint|enter-joint( autoleave=(true|false))?) "
                               "\\[%o\\]",
                               true)) {
            break;
        } else if (table_numbers(row.text).n > RAFT_CHANGES_MAX) {
            report_malformed(t->report, "more than %d operations", RAFT_CHANGES_MAX);
            break;
        } else {
            conf_row(t, &tr, &row);
        }
    }
    tracker_reset(&tr);
}

/* ---- flow control ---- */

struct flow {
    struct raft_progress p;
    struct raft_window w;
    bool fresh; /* nothing is known of where it began but what the first state line says */
};

static void flow_answer(struct table *t, struct flow *f, const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);
    bool result;

    if (row->text[0] == 'a') {
        result = raft__progress_ack(&f->p, n.at[0]);
        if (result && f->p.state == RAFT_REPLICATE) {
            raft__progress_free_to(&f->p, n.at[0]);
        }
    } else {
        result = raft__progress_reject(&f->p, n.at[0], n.at[1]);
    }
    if (f->fresh) {
        report_skip(t->report, "ack, reject: the first of a sequence, whose start is not recorded");
    } else {
        table_check(t, row, result ? "true" : "false");
    }
}

static void flow_state(struct table *t, struct flow *f, const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);
    struct table_row state = *row;
    char got[128];

    state.want = state.text + 2;
    if (f->fresh && f->p.state == RAFT_PROBE) {
        f->p.match = n.at[0];
        f->p.next = n.at[1];
    }
    f->fresh = false;
    (void)snprintf(got,
                   sizeof(got),
                   "%c m=%d n=%d paused=%d inflight=%u full=%d",
                   "PRS"[f->p.state],
                   (int)f -> p.match,
                   (int)f->p.next,
                   raft__progress_is_paused(&f->p),
                   f->p.count,
                   raft__progress_is_full(&f->p, &f->w));
    table_check(t, &state, got);
}

static void flow_start(struct table *t, struct flow *f, const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);

    (void)t;
    raft__progress_close(&f->p);
    raft__progress_init(&f->p, 0, 1);
    f->w = (struct raft_window){.messages = (uint32_t)n.at[0], .bytes = n.at[1]};
    f->fresh = true;
}

static void flow_step(struct table *t, struct flow *f, const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);

    (void)t;
    if (strcmp(row->text, "probe") == 0) {
        raft__progress_become_probe(&f->p);
    } else if (strcmp(row->text, "replicate") == 0) {
        raft__progress_become_replicate(&f->p);
    } else if (strncmp(row->text, "snapshot", 8) == 0) {
        raft__progress_become_snapshot(&f->p, n.at[0]);
    } else {
        raft__progress_sent(&f->p, (uint32_t)n.at[0], n.at[1], &f->w);
    }
}

static const struct {
    const char *shape;
    bool result;
    void (*run)(struct table *t, struct flow *f, const struct table_row *row);
} flow_rows[] = {
    {"progress inflight=%n bytes=%n", false, flow_start},
    {"(probe|replicate|snapshot %n|sent n=%n bytes=%n)", false, flow_step},
    {"(ack %n|reject %n hint=%n)", true, flow_answer},
    {"= [PRS] m=%n n=%n paused=[01] inflight=%n full=[01]", false, flow_state},
};

static void run_progress(struct table *t)
{
    struct flow f = {.fresh = true, .w = {.messages = 1}};
    struct table_row row;

    while (table_read(t, &row)) {
        unsigned i = 0;

        if (strncmp(row.text, "## ", 3) == 0) {
            continue;
        }
        while (i < 4 && !shape_fits(flow_rows[i].shape, row.text)) {
            i++;
        }
        if (i == 4) {
            report_malformed(t->report, "not a row of a progress table: %s", row.text);
            break;
        }
        if (!table_fits(t, &row, flow_rows[i].shape, flow_rows[i].result)) {
            break;
        }
        flow_rows[i].run(t, &f, &row);
    }
    raft__progress_close(&f.p);
}

/* ---- random logs ---- */

struct log_case {
    struct solo s;
    bool open;
    bool frozen;
    raft_term term; /* of the next append: every message comes from a new leader */
};

static void log_open(struct table *t, struct log_case *c, const struct table_row *row)
{
    struct table_numbers base = table_list(row, "base");
    struct table_numbers terms = table_list(row, "terms");
    struct solo_setup setup;

    (void)t;
    if (c->open) {
        solo_close(&c->s);
    }
    solo_defaults(&setup);
    setup.snap_term = base.at[0];
    setup.snap_index = base.at[1];
    setup.commit = base.at[1];
    setup.term = 50;
    for (unsigned i = 0; i < terms.n; i++) {
        setup.terms[i] = terms.at[i];
    }
    solo_open(&c->s, &setup);
    c->open = true;
    c->frozen = false;
    c->term = 100;
}

static void log_append(struct table *t, struct log_case *c, const struct table_row *row)
{
    struct table_numbers prev = table_list(row, "prev");
    struct table_numbers ents = table_list(row, "ents");
    struct raft_msg m = {.type = RAFT_M_APP,
                         .term = c->term++,
                         .log_term = prev.at[0],
                         .index = prev.at[1],
                         .commit = table_number(row, "commit"),
                         .nents = ents.n};
    struct raft_status before = solo_status(&c->s);
    const struct raft_msg *answer;
    char got[64];

    /* Behind our commit point a core may answer from what it knows is committed (C10); the recorded
     * function looks at the log alone. */
    if (strcmp(row->want, "reject") == 0 && prev.at[1] < before.commit) {
        report_skip(t->report, "append: refused behind the commit point, where we answer (C10)");
        return;
    }
    solo_clear(&c->s);
    if (solo_step(&c->s, m, ents.at) == FL_FROZEN) {
        c->frozen = true;
        table_check(t, row, "conflict-committed");
        return;
    }
    answer = solo_sent(&c->s, RAFT_M_APPR, 2, 0);
    fl_assert(answer != NULL);
    if ((answer->flags & RAFT_F_REJECT) != 0) {
        (void)snprintf(got, sizeof(got), "reject");
    } else {
        raft_index end = prev.at[1] + ents.n;

        fl_assert(answer->index == (end > before.commit ? end : before.commit));
        (void)snprintf(got, sizeof(got), "ok last=%d", (int)end);
    }
    table_check(t, row, got);
}

static void log_state(struct table *t, struct log_case *c, const struct table_row *row)
{
    struct raft_status st = solo_status(&c->s);
    struct table_row state = *row;
    char got[512] = "terms=";
    size_t len = strlen(got);
    char *stable = strstr(state.text, " stable=");

    if (stable != NULL) {
        *stable = '\0';
    }
    state.want = state.text + 2;
    for (raft_index i = st.first; i <= st.last; i++) {
        len += (size_t)snprintf(got + len,
                                sizeof(got) - len,
                                "%s%d",
                                i > st.first ? "," : "",
                                (int)raft_term_at(c->s.group, i));
    }
    (void)snprintf(got + len,
                   sizeof(got) - len,
                   "%s commit=%d",
                   st.last < st.first ? "-" : "",
                   (int)st.commit);
    table_check(t, &state, got);
}

/* The same shape as the group's own log, for the questions that only concern the log. */
static void copy_log(struct raft_log *log, const struct solo *s)
{
    struct raft_status st = solo_status(s);

    raft__log_init(log, st.first - 1, raft_term_at(s->group, st.first - 1));
    for (raft_index i = st.first; i <= st.last; i++) {
        raft__log_append(log, raft_term_at(s->group, i), 1);
    }
}

static void log_question(struct table *t, struct log_case *c, const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);
    struct raft_log log;
    raft_term term;
    char got[64];

    copy_log(&log, &c->s);
    if (strncmp(row->text, "fcbt", 4) == 0) {
        raft_index at = raft__log_find_by_term(&log, n.at[1], n.at[0], &term);

        (void)snprintf(got, sizeof(got), "%d/%d", (int)term, (int)at);
    } else if (strncmp(row->text, "uptodate", 8) == 0) {
        (void)snprintf(got, sizeof(got), "%d", raft__log_up_to_date(&log, n.at[0], n.at[1]));
    } else {
        bool known = n.at[0] >= log.snap_index && n.at[0] <= log.last;

        (void)snprintf(got, sizeof(got), known ? "%d" : "none", (int)raft__log_term(&log, n.at[0]));
    }
    raft__log_close(&log);
    table_check(t, row, got);
}

static void log_acks(struct table *t, struct log_case *c, const struct table_row *row)
{
    (void)c;
    (void)row;
    report_skip(t->report, "accept, persisted: acks by (term, index); ours are by record");
}

static const struct {
    const char *shape;
    bool result;
    void (*run)(struct table *t, struct log_case *c, const struct table_row *row);
} log_rows[] = {
    {"log base=%a terms=%i", false, log_open},
    {"append prev=%a ents=%i commit=%n", true, log_append},
    {"(fcbt at=%a|uptodate cand=%a|term %n)", true, log_question},
    {"(accept|persisted %a)( =>)?", false, log_acks},
    {"= terms=%i commit=%n stable=%n inprog=%n", false, log_state},
};

/* The row before it left the log frozen, as it should: nothing more can be asked. */
static bool is_over(const struct log_case *c, const struct table_row *row)
{
    return c->frozen && strncmp(row->text, "log ", 4) != 0;
}

static bool terms_fit(const struct table_row *row, const char *key)
{
    struct table_numbers base = table_list(row, "base");
    struct table_numbers n = table_list(row, key);

    if (base.n > 1 && (base.at[0] == 0) != (base.at[1] == 0)) {
        return false;
    }
    for (unsigned i = 0; i < n.n; i++) {
        if (n.at[i] == 0 || (i > 0 && n.at[i] < n.at[i - 1])) {
            return false;
        }
    }
    return n.n < SOLO_LOG_MAX / 2;
}

static void run_log(struct table *t)
{
    struct log_case c = {.open = false};
    struct table_row row;

    while (table_read(t, &row)) {
        const unsigned kinds = sizeof(log_rows) / sizeof(log_rows[0]);
        unsigned i = 0;

        if (strncmp(row.text, "## ", 3) == 0) {
            continue;
        }
        while (i < kinds && !shape_fits(log_rows[i].shape, row.text)) {
            i++;
        }
        if (i == kinds || (i > 0 && !c.open) || !terms_fit(&row, "terms") ||
            !terms_fit(&row, "ents")) {
            report_malformed(t->report, "not a row of a log table here: %s", row.text);
            break;
        }
        if (!table_fits(t, &row, log_rows[i].shape, log_rows[i].result)) {
            break;
        }
        if (is_over(&c, &row)) {
            report_skip(t->report, "behind an append that rightly froze the log");
        } else {
            log_rows[i].run(t, &c, &row);
        }
    }
    if (c.open) {
        solo_close(&c.s);
    }
}

/* ---- which table ---- */

table_run_fn tables_find(const char *first_row)
{
    static const struct {
        const char *start;
        table_run_fn run;
    } kinds[] = {
        {"commit in=", run_quorum},
        {"vote in=", run_quorum},
        {"group in=", run_group_commit},
        {"simple ", run_confchange},
        {"enter-joint ", run_confchange},
        {"leave-joint ", run_confchange},
        {"progress ", run_progress},
        {"log ", run_log},
    };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strncmp(first_row, kinds[i].start, strlen(kinds[i].start)) == 0) {
            return kinds[i].run;
        }
    }
    return core_tables_knows(first_row) ? core_tables_run : NULL;
}
