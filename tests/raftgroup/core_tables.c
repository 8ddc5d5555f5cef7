/* Single steps of the core, by the tables of the paper's and the library's tests: a function per
 * kind of row puts a core into that state, gives it that input and prints what came out in the
 * words of the table. A core that refuses the set-up of a row stops the run there. */
#include "tests/raftgroup/core_tables.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/log.h"
#include "raftgroup/quorum.h"
#include "tests/raftgroup/shape.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { GOT_BYTES = 256 };

/* These rows have an input in the result. */
#define INFLIGHT_RESULT "fullat=%n free=%n again=%n"

typedef void (*row_fn)(const struct table_row *row, char *got);

unsigned core_load_terms(const struct table_row *row, const char *key, struct solo_setup *setup)
{
    struct table_numbers n = table_list(row, key);

    memset(setup->terms, 0, sizeof(setup->terms));
    for (unsigned i = 1; i < n.n; i++) {
        setup->terms[i - 1] = n.at[i];
    }
    return n.n > 0 ? n.n - 1 : 0;
}

static void load_log(struct raft_log *log, const struct table_row *row, const char *key)
{
    struct table_numbers snap = table_list(row, "snap");
    struct table_numbers n = table_list(row, key);

    raft__log_init(log, snap.n > 1 ? snap.at[1] : 0, snap.n > 1 ? snap.at[0] : 0);
    for (unsigned i = 1; i < n.n; i++) {
        raft__log_append(log, n.at[i], 1);
    }
}

static void print_log(const struct solo *s, char *got)
{
    struct raft_status st = solo_status(s);

    got += sprintf(got, "%d:", (int)st.first);
    for (raft_index i = st.first; i <= st.last; i++) {
        got += sprintf(got, "%s%d", i > st.first ? "," : "", (int)raft_term_at(s->group, i));
    }
}

/* The append a row describes, from a leader of `term`. */
static enum fl_status
append(struct solo *s, const struct table_row *row, raft_term term, const char *commit)
{
    struct table_numbers prev = table_list(row, "prev");
    struct table_numbers ents = table_list(row, "ents");
    struct raft_msg m = {.type = RAFT_M_APP,
                         .term = term,
                         .log_term = prev.n > 1 ? prev.at[0] : 0,
                         .index = prev.n > 1 ? prev.at[1] : 0,
                         .commit = commit != NULL ? table_number(row, commit) : 0,
                         .nents = ents.n > 0 ? ents.n - 1 : 0};

    return solo_step(s, m, &ents.at[1]);
}

static bool rejected(const struct solo *s, unsigned type)
{
    const struct raft_msg *m = solo_sent(s, type, 2, 0);

    fl_assert(m != NULL);
    return (m->flags & RAFT_F_REJECT) != 0;
}

/* ---- log ---- */

static void row_findconflict(const struct table_row *row, char *got)
{
    struct table_numbers ents = table_list(row, "ents");
    struct raft_log log;
    raft_index conflict = 0;

    load_log(&log, row, "log");
    for (unsigned i = 1; i < ents.n && conflict == 0; i++) {
        raft_index index = ents.at[0] + i - 1;

        conflict = raft__log_matches(&log, index, ents.at[i]) ? 0 : index;
    }
    raft__log_close(&log);
    (void)sprintf(got, "%d", (int)conflict);
}

static void row_fcbt(const struct table_row *row, char *got)
{
    struct table_numbers at = table_list(row, "at");
    struct raft_log log;
    raft_term term;

    load_log(&log, row, "log");
    (void)sprintf(got, "%d", (int)raft__log_find_by_term(&log, at.at[1], at.at[0], &term));
    raft__log_close(&log);
}

static void row_uptodate(const struct table_row *row, char *got)
{
    struct table_numbers cand = table_list(row, "cand");
    struct raft_log log;

    load_log(&log, row, "log");
    (void)sprintf(got, "%d", raft__log_up_to_date(&log, cand.at[0], cand.at[1]));
    raft__log_close(&log);
}

static void row_append(const struct table_row *row, char *got)
{
    struct table_numbers ents = table_list(row, "ents");
    struct solo_setup setup;
    struct solo s;
    struct raft_msg m = {.type = RAFT_M_APP, .term = 5};

    solo_defaults(&setup);
    core_load_terms(row, "stable", &setup);
    setup.term = 4;
    solo_open(&s, &setup);
    s.hold = true;
    m.index = ents.n > 1 ? ents.at[0] - 1 : solo_status(&s).last;
    m.log_term = raft_term_at(s.group, m.index);
    m.nents = ents.n > 1 ? ents.n - 1 : 0;
    fl_assert(solo_step(&s, m, &ents.at[1]) == FL_OK);
    got += sprintf(got, "last=%d log=", (int)solo_status(&s).last);
    print_log(&s, got);
    (void)sprintf(got + strlen(got), " unstable=%d", (int)solo_status(&s).durable + 1);
    solo_close(&s);
}

static void row_mayappend(const struct table_row *row, char *got)
{
    struct table_numbers prev = table_list(row, "prev");
    struct table_numbers ents = table_list(row, "ents");
    raft_index end = prev.at[1] + (ents.n > 0 ? ents.n - 1 : 0);
    struct solo_setup setup;
    struct solo s;
    bool ok;

    solo_defaults(&setup);
    core_load_terms(row, "log", &setup);
    setup.commit = table_number(row, "commit");
    setup.term = 3;
    solo_open(&s, &setup);
    if (append(&s, row, 5, "mcommit") == FL_FROZEN) {
        (void)sprintf(got, "FATAL conflict-with-committed");
    } else {
        ok = !rejected(&s, RAFT_M_APPR);
        (void)sprintf(
            got, "last=%d ok=%d commit=%d", ok ? (int)end : 0, ok, (int)solo_status(&s).commit);
    }
    solo_close(&s);
}

/* ---- elections ---- */

void core_open_of_size(struct solo *s, struct solo_setup *setup, unsigned size)
{
    memset(setup->voters, 0, sizeof(setup->voters));
    for (unsigned i = 0; i < size; i++) {
        setup->voters[i] = i + 1;
    }
    solo_open(s, setup);
}

static void give_votes(struct solo *s, const char *votes)
{
    while (*votes != '\0' && *votes != '-') {
        char *end;
        raft_id from = strtoull(votes, &end, 10);

        fl_assert(solo_step(s,
                            (struct raft_msg){.type = RAFT_M_VOTER,
                                              .from = from,
                                              .term = 1,
                                              .flags = end[1] == 'n' ? RAFT_F_REJECT : 0},
                            NULL) == FL_OK);
        votes = end + 2 + (end[2] == ',');
    }
}

static void row_elect1(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;
    char text[256];

    solo_defaults(&setup);
    core_open_of_size(&s, &setup, (unsigned)table_number(row, "size"));
    fl_assert(raft_campaign(s.group, s.now) == FL_OK);
    solo_drain(&s);
    give_votes(&s, table_value(row, "votes", text));
    (void)sprintf(got, "%c term=%d", "FPCL"[solo_status(&s).role], (int)solo_status(&s).term);
    solo_close(&s);
}

static void row_followervote(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;
    raft_id cand = table_number(row, "cand");

    solo_defaults(&setup);
    setup.term = 1;
    setup.vote = table_number(row, "vote");
    solo_open(&s, &setup);
    fl_assert(solo_step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = cand}, NULL) == FL_OK);
    (void)sprintf(
        got, "reject=%d", (solo_sent(&s, RAFT_M_VOTER, cand, 0)->flags & RAFT_F_REJECT) != 0);
    solo_close(&s);
}

static void row_voter(const struct table_row *row, char *got)
{
    struct table_numbers last = table_list(row, "last");
    struct solo_setup setup;
    struct solo s;
    struct raft_msg m = {
        .type = RAFT_M_VOTE, .term = 3, .log_term = last.at[0], .index = last.at[1]};

    solo_defaults(&setup);
    core_load_terms(row, "log", &setup);
    setup.term = 2;
    solo_open(&s, &setup);
    fl_assert(solo_step(&s, m, NULL) == FL_OK);
    (void)sprintf(got, "reject=%d", rejected(&s, RAFT_M_VOTER));
    solo_close(&s);
}

static void row_votereq(const struct table_row *row, char *got)
{
    const struct raft_msg *m;
    struct table_numbers ents = table_list(row, "ents");
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    solo_open(&s, &setup);
    fl_assert(append(&s, row, ents.at[ents.n - 1], NULL) == FL_OK);
    solo_ticks(&s, 10);
    m = solo_sent(&s, RAFT_M_VOTE, 2, 0);
    fl_assert(m != NULL);
    (void)sprintf(got, "term=%d last=%d/%d", (int)m->term, (int)m->log_term, (int)m->index);
    solo_close(&s);
}

/* recvvote: the same table for votes and pre-votes. */
static bool votes_no(const struct table_row *row, bool pre)
{
    struct table_numbers last = table_list(row, "last");
    struct solo_setup setup;
    struct solo s;
    char role[256];
    bool no;

    table_value(row, "role", role);
    solo_defaults(&setup);
    setup.terms[0] = setup.terms[1] = 2;
    setup.term = last.at[0] > 2 ? last.at[0] : 2;
    setup.vote = table_number(row, "vote");
    setup.config.pre_vote = role[0] == 'P';
    setup.term -= role[0] == 'L' || role[0] == 'C' ? 1 : 0;
    setup.vote = role[0] == 'L' || role[0] == 'C' ? 0 : setup.vote;
    solo_open(&s, &setup);
    if (role[0] == 'L') {
        solo_lead(&s);
    } else if (role[0] != 'F') {
        fl_assert(raft_campaign(s.group, s.now) == FL_OK);
        solo_drain(&s);
    }
    fl_assert("FPCL"[solo_status(&s).role] == role[0]);
    solo_clear(&s);
    fl_assert(solo_step(&s,
                        (struct raft_msg){.type = pre ? RAFT_M_PREVOTE : RAFT_M_VOTE,
                                          .log_term = last.at[0],
                                          .index = last.at[1]},
                        NULL) == FL_OK);
    no = rejected(&s, pre ? RAFT_M_PREVOTER : RAFT_M_VOTER);
    solo_close(&s);
    return no;
}

static void row_recvvote(const struct table_row *row, char *got)
{
    bool no = votes_no(row, false);

    (void)sprintf(got, "reject=%d", no);
    if (votes_no(row, true) != no) {
        (void)sprintf(got, "vote and pre-vote differ");
    }
}

/* ---- commit ---- */

static void row_ackcommit(const struct table_row *row, char *got)
{
    struct table_numbers acks = table_list(row, "acks");
    struct solo_setup setup;
    struct solo s;
    unsigned size = (unsigned)table_number(row, "size");
    raft_index at;

    solo_defaults(&setup);
    core_open_of_size(&s, &setup, size);
    solo_lead(&s);
    for (raft_id id = 2; id <= size; id++) {
        solo_ack(&s, id, 1);
    }
    at = solo_propose(&s, 0);
    for (unsigned i = 0; i < acks.n; i++) {
        solo_ack(&s, acks.at[i], at);
    }
    (void)sprintf(got, "%d", solo_status(&s).commit >= at);
    solo_close(&s);
}

static void row_onlycurrent(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.term = 2;
    core_open_of_size(&s, &setup, 2);
    solo_lead(&s);
    (void)solo_propose(&s, 0);
    solo_ack(&s, 2, table_number(row, "ack"));
    (void)sprintf(got, "commit=%d", (int)solo_status(&s).commit);
    solo_close(&s);
}

static void row_precede(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    solo_defaults(&setup);
    core_load_terms(row, "log", &setup);
    setup.term = 2;
    solo_open(&s, &setup);
    solo_lead(&s);
    at = solo_propose(&s, 0);
    solo_ack(&s, 2, at);
    for (raft_index i = 1; i <= solo_status(&s).commit; i++) {
        got += sprintf(got,
                       "%s%d/%d%s",
                       i > 1 ? "," : "",
                       (int)raft_term_at(s.group, i),
                       (int)i,
                       i == at ? "=p" : "");
    }
    solo_close(&s);
}

/* Counting alone: the value a quorum holds commits only in the leader's own term. */
static void row_commit(const struct table_row *row, char *got)
{
    struct table_numbers match = table_list(row, "match");
    struct raft_conf conf = {.n = (uint8_t)match.n, .in = (raft_mask)((1U << match.n) - 1)};
    uint64_t value[RAFT_MEMBERS_MAX] = {0};
    struct raft_log log;
    raft_index index;

    load_log(&log, row, "log");
    memcpy(value, match.at, match.n * sizeof(value[0]));
    index = raft__quorum_value(&conf, value);
    (void)sprintf(
        got, "%d", raft__log_term(&log, index) == table_number(row, "term") ? (int)index : 0);
    raft__log_close(&log);
}

/* ---- appends ---- */

static void row_checkapp(const struct table_row *row, char *got)
{
    const struct raft_msg *m;
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.term = 2;
    setup.commit = 1;
    solo_open(&s, &setup);
    fl_assert(append(&s, row, 2, NULL) == FL_OK);
    m = solo_sent(&s, RAFT_M_APPR, 2, 0);
    fl_assert(m != NULL);
    (void)sprintf(got,
                  "index=%d reject=%d hint=%d/%d",
                  (int)m->index,
                  (m->flags & RAFT_F_REJECT) != 0,
                  (int)m->log_term,
                  (int)m->x);
    solo_close(&s);
}

static void row_followerappend(const struct table_row *row, char *got)
{
    const struct raft_persist *p;
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.term = 2;
    solo_open(&s, &setup);
    s.hold = true;
    fl_assert(append(&s, row, 4, NULL) == FL_OK);
    got += sprintf(got, "log=");
    print_log(&s, got);
    got += strlen(got);
    p = &s.records[s.nrecords - 1];
    got += sprintf(got, " unstable=");
    if (p->lo > p->hi) {
        (void)sprintf(got, "-");
    } else {
        got += sprintf(got, "%d:", (int)p->lo);
        for (raft_index i = p->lo; i <= p->hi; i++) {
            got += sprintf(got, "%s%d", i > p->lo ? "," : "", (int)raft_term_at(s.group, i));
        }
    }
    solo_close(&s);
}

static void row_handleapp(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.term = 2;
    solo_open(&s, &setup);
    fl_assert(append(&s, row, 2, "mcommit") == FL_OK);
    (void)sprintf(got,
                  "last=%d commit=%d reject=%d",
                  (int)solo_status(&s).last,
                  (int)solo_status(&s).commit,
                  rejected(&s, RAFT_M_APPR));
    solo_close(&s);
}

static void row_heartbeat(const struct table_row *row, char *got)
{
    raft_index commit = table_number(row, "commit");
    struct solo_setup setup;
    struct solo s;

    solo_defaults(&setup);
    setup.terms[0] = 1;
    setup.terms[1] = 2;
    setup.terms[2] = 3;
    setup.term = 3;
    setup.commit = 2;
    solo_open(&s, &setup);
    fl_assert(solo_step(&s,
                        (struct raft_msg){.type = RAFT_M_HB,
                                          .commit = commit,
                                          .commit_term = raft_term_at(s.group, commit)},
                        NULL) == FL_OK);
    (void)sprintf(got, "%d", (int)solo_status(&s).commit);
    solo_close(&s);
}

static void row_appresp(const struct table_row *row, char *got)
{
    struct raft_msg answer = {.type = RAFT_M_APPR,
                              .index = table_number(row, "index"),
                              .flags = table_number(row, "reject") != 0 ? RAFT_F_REJECT : 0};
    const struct raft_msg *m;
    struct raft_peer_status p;
    struct solo_setup setup;
    struct solo s;
    char *want = strstr(row->want, "msgs=");
    unsigned msgs = want != NULL ? (unsigned)strtoul(want + 5, NULL, 10) : 0;

    solo_defaults(&setup);
    setup.terms[0] = setup.terms[1] = 1;
    setup.config.parity |= RAFT_PARITY_BOOT_TERM;
    solo_open(&s, &setup);
    solo_lead(&s);
    fl_assert(solo_status(&s).term == 1);
    answer.x = answer.index > 0 ? answer.index - 1 : 0;
    solo_clear(&s);
    fl_assert(solo_step(&s, answer, NULL) == FL_OK);
    p = solo_peer(&s, 2);
    m = solo_sent(&s, RAFT_M_APP, 2, 0);
    if ((m != NULL) != (msgs > 0)) {
        msgs = m != NULL; /* how many depends on batching, whether any does not */
    }
    (void)sprintf(got,
                  "m=%d n=%d msgs=%u prev=%d commit=%d",
                  (int)p.match,
                  (int)p.next,
                  msgs,
                  m != NULL ? (int)m->index : 0,
                  (int)solo_status(&s).commit);
    solo_close(&s);
}

/* ---- all of them ---- */

static const struct {
    const char *kind;
    const char *shape;
    row_fn run; /* NULL: no way in from outside */
} kinds[] = {
    {"findconflict", "findconflict log=%l ents=%l", row_findconflict},
    {"fcbt", "fcbt snap=%a log=%l at=%a", row_fcbt},
    {"uptodate", "uptodate log=%l cand=%a", row_uptodate},
    {"append", "append stable=%l ents=%l", row_append},
    {"mayappend", "mayappend log=%l commit=%n prev=%a mcommit=%n ents=%l", row_mayappend},
    {"elect1", "elect1 size=[1-7] votes=%v", row_elect1},
    {"followervote", "followervote vote=%n cand=[23]", row_followervote},
    {"ackcommit", "ackcommit size=[1-7] acks=%i", row_ackcommit},
    {"onlycurrent", "onlycurrent ack=%n", row_onlycurrent},
    {"checkapp", "checkapp prev=%a", row_checkapp},
    {"followerappend", "followerappend prev=%a ents=%l", row_followerappend},
    {"synclog", "synclog follower=%l", core_row_synclog},
    {"voter", "voter log=%l last=%a", row_voter},
    {"votereq", "votereq ents=%n:%n(,%n)*", row_votereq},
    {"precede", "precede log=%l", row_precede},
    {"commit", "commit match=%i log=%l term=%n", row_commit},
    {"handleapp", "handleapp prev=%a mcommit=%n ents=%l", row_handleapp},
    {"heartbeat", "heartbeat commit=%n", row_heartbeat},
    {"recvvote", "recvvote role=[FLPC] last=%a vote=%n", row_recvvote},
    {"fastrej", "fastrej leader=%l follower=%l compact=%n", core_row_fastrej},
    {"appresp", "appresp index=%n reject=[01]", row_appresp},
    {"election",
     "election peers=x?%n(\\(log %l\\))?(,x?%n(\\(log %l\\))?){0,4}",
     core_row_election},
    {"dueling", "dueling prevote=[01]", core_row_dueling},
    {"decr", "decr state=[PRS] m=%n n=%n rejected=%n hint=%n", core_row_decr},
    {"update", "update m=%n n=%n ack=%n", core_row_update},
    {"becomeprobe", "becomeprobe state=[PRS] m=%n n=%n pending=%n", core_row_becomeprobe},
    {"paused", "paused state=[PRS] flag=[01]", core_row_paused},
    {"inflight", "inflight size=[0-9]{1,3} bytes=%n", core_row_inflight},
    {"pasttimeout", "pasttimeout elapsed=%n", core_row_pasttimeout},
    {"transition", "transition [FPCL]>[FPCL]", NULL},
};

enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static unsigned find(const char *text)
{
    size_t len = strcspn(text, " ");
    unsigned i = 0;

    while (i < KINDS && (strlen(kinds[i].kind) != len || strncmp(text, kinds[i].kind, len) != 0)) {
        i++;
    }
    return i;
}

/* A follower compacted beyond its leader's log cannot be: its commit point would be there, too. */
static bool is_impossible(const struct table_row *row)
{
    return strncmp(row->text, "fastrej", 7) == 0 && table_number(row, "compact") != 0;
}

/* Terms of a log never fall, and the set-ups have room for so many. */
static bool logs_fit(const struct table_row *row)
{
    static const char *const keys[] = {
        "log", "ents", "stable", "follower", "leader", "match", "acks"};

    for (unsigned k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
        struct table_numbers n = table_list(row, keys[k]);

        if (n.n >= SOLO_LOG_MAX / 2 || (k == 5 && n.n > RAFT_MEMBERS_MAX)) {
            return false;
        }
        for (unsigned i = 2; k < 5 && i < n.n; i++) {
            if (n.at[i] < n.at[i - 1]) {
                return false;
            }
        }
    }
    return true;
}

bool core_tables_knows(const char *row)
{
    return find(row) < KINDS;
}

void core_tables_run(struct table *t)
{
    struct table_row row;

    while (table_read(t, &row)) {
        char got[GOT_BYTES] = "";
        unsigned kind = find(row.text);

        if (strncmp(row.text, "## ", 3) == 0) {
            continue;
        }
        if (kind == KINDS || !logs_fit(&row)) {
            report_malformed(t->report, "not a row of a core table: %s", row.text);
            return;
        }
        if (!table_fits(t, &row, kinds[kind].shape, true)) {
            return;
        }
        if (kinds[kind].run == core_row_inflight && !shape_fits(INFLIGHT_RESULT, row.want)) {
            report_malformed(t->report, "not a row of this kind: => %s", row.want);
            return;
        }
        if (kinds[kind].run == NULL) {
            report_skip(t->report, "transition: changes of role have no way in from outside");
        } else if (is_impossible(&row)) {
            report_skip(t->report, "fastrej: a follower compacted beyond its leader cannot be");
        } else {
            kinds[kind].run(&row, got);
            table_check(t, &row, got);
        }
    }
}
