/* Goal: quorum, membership, log and flow control agree with recorded tables, row by row.
 *
 * Method: every line of ../shared/vectors/raft/tables (or $FLOTILLA_VECTORS) is "inputs => result";
 * each kind of row has a function that computes ours. Prints `skipped` when the vectors are absent.
 * Rows that have no meaning here are counted, with the reason in raftgroup/README.md. */
#include "raftgroup/conf.h"
#include "raftgroup/log.h"
#include "raftgroup/progress.h"
#include "raftgroup/quorum.h"
#include "tests/raftgroup/solo.h"
#include "tests/raftgroup/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- quorum ---- */

static raft_mask add_ids(struct raft_conf *conf, const struct table_numbers *ids)
{
    raft_mask mask = 0;

    for (unsigned i = 0; i < ids->n; i++) {
        int slot = raft_conf_slot(conf, ids->at[i]);

        if (slot < 0) {
            slot = conf->n++;
            conf->id[slot] = ids->at[i];
        }
        mask |= (raft_mask)(1U << slot);
    }
    return mask;
}

static void quorum_row(struct table_tally *t, const struct table_row *row)
{
    struct raft_conf conf = {.n = 0};
    struct table_numbers in = table_list(row, "in");
    struct table_numbers out = table_list(row, "out");
    char text[256];
    char got[64];

    conf.in = add_ids(&conf, &in);
    conf.out = add_ids(&conf, &out);
    if (strncmp(row->text, "commit", 6) == 0) {
        uint64_t match[RAFT_MEMBERS_MAX] = {0};
        struct table_numbers acks = table_list(row, "acks");
        uint64_t result;

        for (unsigned i = 0; i + 1 < acks.n; i += 2) {
            int slot = raft_conf_slot(&conf, acks.at[i]);

            if (slot >= 0) {
                match[slot] = acks.at[i + 1];
            }
        }
        result = raft__quorum_value(&conf, match);
        (void)snprintf(got, sizeof(got), result == UINT64_MAX ? "inf" : "%d", (int)result);
    } else {
        static const char *const names[] = {"pending", "won", "lost"};
        raft_mask yes = 0;
        raft_mask no = 0;
        const char *p = table_value(row, "votes", text);

        for (; *p != '\0' && *p != '-'; p += *p == ',') {
            char *end;
            int slot = raft_conf_slot(&conf, strtoull(p, &end, 10));

            if (slot >= 0 && end[1] == 'y') {
                yes |= (raft_mask)(1U << slot);
            } else if (slot >= 0) {
                no |= (raft_mask)(1U << slot);
            }
            p = end + 2;
        }
        (void)snprintf(got, sizeof(got), "%s", names[raft__quorum_vote(&conf, yes, no)]);
    }
    table_check(t, row, got);
}

static void run_quorum(const char *name)
{
    FILE *file = table_open(name);
    struct table_tally t = {0};
    struct table_row row;

    while (table_read(file, &row)) {
        if (row.text[0] != '#' && row.want != NULL) {
            quorum_row(&t, &row);
        }
    }
    (void)fclose(file);
    table_report(name, &t);
}

static void test_quorum_commit(void **state)
{
    (void)state;
    run_quorum("quorum_commit.txt");
}

static void test_quorum_vote(void **state)
{
    (void)state;
    run_quorum("quorum_vote.txt");
}

static void test_quorum_random(void **state)
{
    (void)state;
    run_quorum("quorum_random.txt");
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

static void conf_row(struct table_tally *t, struct tracker *tr, const struct table_row *row)
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
        assert_true(raft_conf_valid(&after));
        tr->kind = row->text;
        forget_reborn(tr, &c);
        tr->slab = raft__progress_remap(tr->slab, &tr->conf, &after, tr->last);
        tr->conf = after;
        print_tracker(tr, got);
    } else {
        assert_true(raft_conf_equal(&after, &tr->conf));
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

static void run_confchange(const char *name)
{
    FILE *file = table_open(name);
    struct tracker tr = {.last = 0};
    struct table_tally t = {0};
    struct table_row row;

    while (table_read(file, &row)) {
        if (strncmp(row.text, "## ", 3) == 0) {
            tracker_reset(&tr);
        } else if (row.want != NULL) {
            conf_row(&t, &tr, &row);
        }
    }
    tracker_reset(&tr);
    (void)fclose(file);
    table_report(name, &t);
}

static void test_confchange(void **state)
{
    (void)state;
    run_confchange("confchange.txt");
}

static void test_confchange_random(void **state)
{
    (void)state;
    run_confchange("confchange_random.txt");
}

/* ---- flow control ---- */

static void progress_line(struct table_tally *t,
                          struct raft_progress *p,
                          struct raft_window *w,
                          bool *fresh,
                          const struct table_row *row)
{
    struct table_numbers n = table_numbers(row->text);
    char got[128];
    bool result;

    if (strncmp(row->text, "progress", 8) == 0) {
        raft__progress_close(p);
        raft__progress_init(p, 0, 1);
        *w = (struct raft_window){.messages = (uint32_t)n.at[0], .bytes = n.at[1]};
        *fresh = true;
    } else if (strcmp(row->text, "probe") == 0) {
        raft__progress_become_probe(p);
    } else if (strcmp(row->text, "replicate") == 0) {
        raft__progress_become_replicate(p);
    } else if (strncmp(row->text, "snapshot", 8) == 0) {
        raft__progress_become_snapshot(p, n.at[0]);
    } else if (strncmp(row->text, "sent", 4) == 0) {
        raft__progress_sent(p, (uint32_t)n.at[0], n.at[1], w);
    } else if (strncmp(row->text, "ack", 3) == 0 || strncmp(row->text, "reject", 6) == 0) {
        if (row->text[0] == 'a') {
            result = raft__progress_ack(p, n.at[0]);
            if (result && p->state == RAFT_REPLICATE) {
                raft__progress_free_to(p, n.at[0]);
            }
        } else {
            result = raft__progress_reject(p, n.at[0], n.at[1]);
        }
        if (*fresh) {
            t->skipped++; /* where it began is only in the next line */
        } else {
            table_check(t, row, result ? "true" : "false");
        }
    } else if (row->text[0] == '=') {
        struct table_row state = *row;

        state.want = state.text + 2;
        if (*fresh && p->state == RAFT_PROBE) {
            p->match = n.at[0]; /* where it began is not in the table */
            p->next = n.at[1];
        }
        *fresh = false;
        (void)snprintf(got,
                       sizeof(got),
                       "%c m=%d n=%d paused=%d inflight=%u full=%d",
                       "PRS"[p->state],
                       (int)p -> match,
                       (int)p -> next,
                       raft__progress_is_paused(p),
                       p -> count,
                       raft__progress_is_full(p, w));
        table_check(t, &state, got);
    } else {
        t->skipped++;
    }
}

static void test_progress_random(void **state)
{
    FILE *file = table_open("progress_random.txt");
    struct raft_progress p = {.ring = NULL};
    struct raft_window w = {.messages = 1};
    bool fresh = true;
    struct table_tally t = {0};
    struct table_row row;

    (void)state;
    while (t.differ < 10 && table_read(file, &row)) {
        progress_line(&t, &p, &w, &fresh, &row);
    }
    raft__progress_close(&p);
    (void)fclose(file);
    table_report("progress_random.txt", &t);
}

/* ---- random logs ---- */

struct log_case {
    struct solo s;
    bool open;
    bool frozen;
    raft_term term; /* of the next append: every message comes from a new leader */
};

static void log_open(struct log_case *c, const struct table_row *row)
{
    struct table_numbers base = table_list(row, "base");
    struct table_numbers terms = table_list(row, "terms");
    struct solo_setup setup;

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

static void log_append(struct table_tally *t, struct log_case *c, const struct table_row *row)
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
        t->skipped++;
        return;
    }
    solo_clear(&c->s);
    if (solo_step(&c->s, m, ents.at) == FL_FROZEN) {
        c->frozen = true;
        table_check(t, row, "conflict-committed");
        return;
    }
    answer = solo_sent(&c->s, RAFT_M_APPR, 2, 0);
    assert_non_null(answer);
    if ((answer->flags & RAFT_F_REJECT) != 0) {
        (void)snprintf(got, sizeof(got), "reject");
    } else {
        raft_index end = prev.at[1] + ents.n;

        assert_int_equal(answer->index, end > before.commit ? end : before.commit);
        (void)snprintf(got, sizeof(got), "ok last=%d", (int)end);
    }
    table_check(t, row, got);
}

static void log_state(struct table_tally *t, const struct log_case *c, const struct table_row *row)
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

static void
log_question(struct table_tally *t, const struct log_case *c, const struct table_row *row)
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

static void test_log_random(void **state)
{
    FILE *file = table_open("log_random.txt");
    struct log_case c = {.open = false};
    struct table_tally t = {0};
    struct table_row row;

    (void)state;
    while (t.differ < 10 && table_read(file, &row)) {
        if (strncmp(row.text, "log ", 4) == 0) {
            log_open(&c, &row);
        } else if (c.frozen) {
            continue;
        } else if (strncmp(row.text, "append", 6) == 0) {
            log_append(&t, &c, &row);
        } else if (row.text[0] == '=') {
            log_state(&t, &c, &row);
        } else if (strncmp(row.text, "accept", 6) == 0 || strncmp(row.text, "persisted", 9) == 0) {
            t.skipped++; /* acknowledgement by (term, index); ours is by record */
        } else {
            log_question(&t, &c, &row);
        }
    }
    if (c.open) {
        solo_close(&c.s);
    }
    (void)fclose(file);
    table_report("log_random.txt", &t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quorum_commit),
        cmocka_unit_test(test_quorum_vote),
        cmocka_unit_test(test_quorum_random),
        cmocka_unit_test(test_confchange),
        cmocka_unit_test(test_confchange_random),
        cmocka_unit_test(test_progress_random),
        cmocka_unit_test(test_log_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
