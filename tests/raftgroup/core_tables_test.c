/* Goal: single steps of the core agree with the recorded tables of the paper's and the library's
 * tests.
 *
 * Method: core_tables.txt has sections of rows, each "kind inputs => result"; a function per kind
 * puts a core into that state, gives it that input and prints what came out in the same words. */
#include "raftgroup/log.h"
#include "raftgroup/progress.h"
#include "raftgroup/quorum.h"
#include "tests/raftgroup/solo.h"
#include "tests/raftgroup/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { GOT_BYTES = 256, PEERS_MAX = 6 };

typedef void (*row_fn)(const struct table_row *row, char *got);

/* "<first>:<terms>" of key into the set-up; returns how many entries. */
static unsigned load_terms(const struct table_row *row, const char *key, struct solo_setup *setup)
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

    assert_non_null(m);
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
    sprintf(got, "%d", (int)conflict);
}

static void row_fcbt(const struct table_row *row, char *got)
{
    struct table_numbers at = table_list(row, "at");
    struct raft_log log;
    raft_term term;

    load_log(&log, row, "log");
    sprintf(got, "%d", (int)raft__log_find_by_term(&log, at.at[1], at.at[0], &term));
    raft__log_close(&log);
}

static void row_uptodate(const struct table_row *row, char *got)
{
    struct table_numbers cand = table_list(row, "cand");
    struct raft_log log;

    load_log(&log, row, "log");
    sprintf(got, "%d", raft__log_up_to_date(&log, cand.at[0], cand.at[1]));
    raft__log_close(&log);
}

static void row_append(const struct table_row *row, char *got)
{
    struct table_numbers ents = table_list(row, "ents");
    struct solo_setup setup;
    struct solo s;
    struct raft_msg m = {.type = RAFT_M_APP, .term = 5};

    solo_defaults(&setup);
    load_terms(row, "stable", &setup);
    setup.term = 4;
    solo_open(&s, &setup);
    s.hold = true;
    m.index = ents.n > 1 ? ents.at[0] - 1 : solo_status(&s).last;
    m.log_term = raft_term_at(s.group, m.index);
    m.nents = ents.n > 1 ? ents.n - 1 : 0;
    assert_int_equal(solo_step(&s, m, &ents.at[1]), FL_OK);
    got += sprintf(got, "last=%d log=", (int)solo_status(&s).last);
    print_log(&s, got);
    sprintf(got + strlen(got), " unstable=%d", (int)solo_status(&s).durable + 1);
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
    load_terms(row, "log", &setup);
    setup.commit = table_number(row, "commit");
    setup.term = 3;
    solo_open(&s, &setup);
    if (append(&s, row, 5, "mcommit") == FL_FROZEN) {
        sprintf(got, "FATAL conflict-with-committed");
    } else {
        ok = !rejected(&s, RAFT_M_APPR);
        sprintf(got, "last=%d ok=%d commit=%d", ok ? (int)end : 0, ok, (int)solo_status(&s).commit);
    }
    solo_close(&s);
}

/* ---- elections ---- */

static void open_of_size(struct solo *s, struct solo_setup *setup, unsigned size)
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

        assert_int_equal(solo_step(s,
                                   (struct raft_msg){.type = RAFT_M_VOTER,
                                                     .from = from,
                                                     .term = 1,
                                                     .flags = end[1] == 'n' ? RAFT_F_REJECT : 0},
                                   NULL),
                         FL_OK);
        votes = end + 2 + (end[2] == ',');
    }
}

static void row_elect1(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;
    char text[256];

    solo_defaults(&setup);
    open_of_size(&s, &setup, (unsigned)table_number(row, "size"));
    assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
    solo_drain(&s);
    give_votes(&s, table_value(row, "votes", text));
    sprintf(got, "%c term=%d", "FPCL"[solo_status(&s).role], (int)solo_status(&s).term);
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
    assert_int_equal(solo_step(&s, (struct raft_msg){.type = RAFT_M_VOTE, .from = cand}, NULL),
                     FL_OK);
    sprintf(got, "reject=%d", (solo_sent(&s, RAFT_M_VOTER, cand, 0)->flags & RAFT_F_REJECT) != 0);
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
    load_terms(row, "log", &setup);
    setup.term = 2;
    solo_open(&s, &setup);
    assert_int_equal(solo_step(&s, m, NULL), FL_OK);
    sprintf(got, "reject=%d", rejected(&s, RAFT_M_VOTER));
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
    assert_int_equal(append(&s, row, ents.at[ents.n - 1], NULL), FL_OK);
    solo_ticks(&s, 10);
    m = solo_sent(&s, RAFT_M_VOTE, 2, 0);
    assert_non_null(m);
    sprintf(got, "term=%d last=%d/%d", (int)m->term, (int)m->log_term, (int)m->index);
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
        assert_int_equal(raft_campaign(s.group, s.now), FL_OK);
        solo_drain(&s);
    }
    assert_int_equal("FPCL"[solo_status(&s).role], role[0]);
    solo_clear(&s);
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = pre ? RAFT_M_PREVOTE : RAFT_M_VOTE,
                                                 .log_term = last.at[0],
                                                 .index = last.at[1]},
                               NULL),
                     FL_OK);
    no = rejected(&s, pre ? RAFT_M_PREVOTER : RAFT_M_VOTER);
    solo_close(&s);
    return no;
}

static void row_recvvote(const struct table_row *row, char *got)
{
    bool no = votes_no(row, false);

    sprintf(got, "reject=%d", no);
    if (votes_no(row, true) != no) {
        sprintf(got, "vote and pre-vote differ");
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
    open_of_size(&s, &setup, size);
    solo_lead(&s);
    for (raft_id id = 2; id <= size; id++) {
        solo_ack(&s, id, 1);
    }
    at = solo_propose(&s, 0);
    for (unsigned i = 0; i < acks.n; i++) {
        solo_ack(&s, acks.at[i], at);
    }
    sprintf(got, "%d", solo_status(&s).commit >= at);
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
    open_of_size(&s, &setup, 2);
    solo_lead(&s);
    (void)solo_propose(&s, 0);
    solo_ack(&s, 2, table_number(row, "ack"));
    sprintf(got, "commit=%d", (int)solo_status(&s).commit);
    solo_close(&s);
}

static void row_precede(const struct table_row *row, char *got)
{
    struct solo_setup setup;
    struct solo s;
    raft_index at;

    solo_defaults(&setup);
    load_terms(row, "log", &setup);
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
    sprintf(got, "%d", raft__log_term(&log, index) == table_number(row, "term") ? (int)index : 0);
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
    assert_int_equal(append(&s, row, 2, NULL), FL_OK);
    m = solo_sent(&s, RAFT_M_APPR, 2, 0);
    assert_non_null(m);
    sprintf(got,
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
    assert_int_equal(append(&s, row, 4, NULL), FL_OK);
    got += sprintf(got, "log=");
    print_log(&s, got);
    got += strlen(got);
    p = &s.records[s.nrecords - 1];
    got += sprintf(got, " unstable=");
    if (p->lo > p->hi) {
        sprintf(got, "-");
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
    assert_int_equal(append(&s, row, 2, "mcommit"), FL_OK);
    sprintf(got,
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
    assert_int_equal(solo_step(&s,
                               (struct raft_msg){.type = RAFT_M_HB,
                                                 .commit = commit,
                                                 .commit_term = raft_term_at(s.group, commit)},
                               NULL),
                     FL_OK);
    sprintf(got, "%d", (int)solo_status(&s).commit);
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
    assert_int_equal(solo_status(&s).term, 1);
    answer.x = answer.index > 0 ? answer.index - 1 : 0;
    solo_clear(&s);
    assert_int_equal(solo_step(&s, answer, NULL), FL_OK);
    p = solo_peer(&s, 2);
    m = solo_sent(&s, RAFT_M_APP, 2, 0);
    /* The number of messages depends on batching; whether any was sent does not. */
    assert_int_equal(m != NULL, msgs > 0);
    sprintf(got,
            "m=%d n=%d msgs=%u prev=%d commit=%d",
            (int)p.match,
            (int)p.next,
            msgs,
            m != NULL ? (int)m->index : 0,
            (int)solo_status(&s).commit);
    solo_close(&s);
}

/* ---- several cores joined by a wire ---- */

struct wire {
    struct solo s[PEERS_MAX];
    bool dead[PEERS_MAX];
    bool cut[PEERS_MAX][PEERS_MAX];
    unsigned n; /* ids 1..n */
};

static void deliver(struct wire *w, const struct raft_msg *m)
{
    raft_term terms[SOLO_LOG_MAX];
    struct solo *from = &w->s[m->from];

    if (m->to > w->n || w->dead[m->to] || w->dead[m->from] || w->cut[m->from][m->to]) {
        return;
    }
    for (uint32_t i = 0; i < m->nents; i++) {
        terms[i] = raft_term_at(from->group, m->index + 1 + i);
    }
    assert_int_equal(solo_step(&w->s[m->to], *m, terms), FL_OK);
}

static void pump(struct wire *w)
{
    bool moved = true;

    while (moved) {
        moved = false;
        for (unsigned i = 1; i <= w->n; i++) {
            struct raft_msg batch[SOLO_SENT_MAX];
            unsigned n = w->s[i].nsent;

            memcpy(batch, w->s[i].sent, n * sizeof(batch[0]));
            w->s[i].nsent = 0;
            for (unsigned k = 0; k < n; k++) {
                deliver(w, &batch[k]);
                moved = true;
            }
        }
    }
}

static void wire_open(struct wire *w, unsigned id, struct solo_setup *setup, unsigned size)
{
    setup->self = id;
    open_of_size(&w->s[id], setup, size);
}

static void wire_close(struct wire *w)
{
    for (unsigned i = 1; i <= w->n; i++) {
        solo_close(&w->s[i]);
    }
    free(w);
}

static void campaign(struct wire *w, unsigned id)
{
    assert_int_equal(raft_campaign(w->s[id].group, w->s[id].now), FL_OK);
    solo_drain(&w->s[id]);
    pump(w);
}

static void row_synclog(const struct table_row *row, char *got)
{
    static const raft_term leader[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
    struct wire *w = calloc(1, sizeof(*w));
    struct solo_setup setup;
    raft_index last;

    w->n = 3;
    solo_defaults(&setup);
    load_terms(row, "follower", &setup);
    setup.term = 7;
    wire_open(w, 2, &setup, 3);
    solo_defaults(&setup);
    wire_open(w, 3, &setup, 3);
    memcpy(setup.terms, leader, sizeof(leader));
    setup.term = 8;
    setup.commit = 10;
    wire_open(w, 1, &setup, 3);
    campaign(w, 1);
    /* The follower may refuse to vote, the third one does not. */
    assert_int_equal(solo_status(&w->s[1]).role, RAFT_LEADER);
    (void)solo_propose(&w->s[1], 0);
    pump(w);
    last = solo_status(&w->s[1]).last;
    sprintf(got, "equal");
    for (raft_index i = 1; i <= last; i++) {
        if (raft_term_at(w->s[1].group, i) != raft_term_at(w->s[2].group, i)) {
            sprintf(got, "differ at %d", (int)i);
        }
    }
    if (solo_status(&w->s[2]).last != last || solo_status(&w->s[2]).commit != last) {
        sprintf(got, "behind");
    }
    wire_close(w);
}

static void row_fastrej(const struct table_row *row, char *got)
{
    struct wire *w = calloc(1, sizeof(*w));
    const struct raft_msg *m;
    struct raft_msg refusal;
    raft_term terms[SOLO_LOG_MAX];
    struct solo_setup setup;

    w->n = 2;
    solo_defaults(&setup);
    load_terms(row, "follower", &setup);
    setup.term = 9;
    wire_open(w, 2, &setup, 3);
    load_terms(row, "leader", &setup);
    wire_open(w, 1, &setup, 3);
    solo_lead(&w->s[1]);
    m = solo_sent(&w->s[1], RAFT_M_APP, 2, 0);
    assert_non_null(m);
    terms[0] = 10; /* the leader's first entry */
    assert_int_equal(solo_step(&w->s[2], *m, terms), FL_OK);
    refusal = *solo_sent(&w->s[2], RAFT_M_APPR, 1, 0);
    assert_true((refusal.flags & RAFT_F_REJECT) != 0);
    solo_clear(&w->s[1]);
    assert_int_equal(solo_step(&w->s[1], refusal, NULL), FL_OK);
    m = solo_sent(&w->s[1], RAFT_M_APP, 2, 0);
    assert_non_null(m);
    sprintf(got,
            "hint=%d/%d next=%d/%d",
            (int)refusal.log_term,
            (int)refusal.x,
            (int)m->log_term,
            (int)m->index);
    wire_close(w);
}

/* election peers=1,x2,3(log 1:1) ..: x is dead. Node 1 campaigns. */
static char run_election(const char *peers, bool pre_vote, raft_term *term)
{
    struct wire *w = calloc(1, sizeof(*w));
    struct solo_setup setup[PEERS_MAX];
    char role;

    for (const char *p = peers; *p != '\0';) {
        unsigned id = ++w->n;
        size_t len = strcspn(p, ",(");

        solo_defaults(&setup[id]);
        setup[id].config.pre_vote = pre_vote;
        w->dead[id] = p[0] == 'x';
        p += len;
        if (*p == '(') {
            struct table_numbers n;
            char text[64];

            len = strcspn(p, ")");
            len = len < sizeof(text) - 1 ? len : sizeof(text) - 1;
            memcpy(text, p, len);
            text[len] = '\0';
            n = table_numbers(text);
            for (unsigned i = 1; i < n.n; i++) {
                setup[id].terms[i - 1] = n.at[i];
                setup[id].term = n.at[i];
            }
            p += len + 1;
        }
        p += *p == ',';
    }
    for (unsigned id = 1; id <= w->n; id++) {
        wire_open(w, id, &setup[id], w->n);
    }
    campaign(w, 1);
    role = "FPCL"[solo_status(&w->s[1]).role];
    *term = solo_status(&w->s[1]).term;
    wire_close(w);
    return role;
}

static void row_election(const struct table_row *row, char *got)
{
    const char *peers = strstr(row->text, "peers=") + 6;
    raft_term term;
    char role = run_election(peers, false, &term);

    got += sprintf(got, "vote:%c@%d", role, (int)term);
    role = run_election(peers, true, &term);
    sprintf(got, " prevote:%c@%d", role, (int)term);
}

static void row_dueling(const struct table_row *row, char *got)
{
    struct wire *w = calloc(1, sizeof(*w));
    struct solo_setup setup;

    w->n = 3;
    solo_defaults(&setup);
    setup.config.pre_vote = table_number(row, "prevote") != 0;
    for (unsigned id = 1; id <= 3; id++) {
        wire_open(w, id, &setup, 3);
    }
    w->cut[1][3] = w->cut[3][1] = true;
    campaign(w, 1);
    campaign(w, 3);
    w->cut[1][3] = w->cut[3][1] = false;
    campaign(w, 3);
    for (unsigned id = 1; id <= 3; id++) {
        struct raft_status st = solo_status(&w->s[id]);

        got += sprintf(got,
                       "%s%u:%c/%d/%d",
                       id > 1 ? " " : "",
                       id,
                       "FPCL"[st.role],
                       (int)st.term,
                       (int)st.last);
    }
    wire_close(w);
}

/* ---- flow control ---- */

static struct raft_progress progress_of(const struct table_row *row)
{
    struct raft_progress p;
    char text[256];

    raft__progress_init(&p, table_number(row, "m"), table_number(row, "n"));
    table_value(row, "state", text);
    p.state = text[0] == 'R' ? RAFT_REPLICATE : text[0] == 'S' ? RAFT_SNAPSHOT : RAFT_PROBE;
    return p;
}

static void row_decr(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);
    bool news = raft__progress_reject(&p, table_number(row, "rejected"), table_number(row, "hint"));

    sprintf(got, "%d n=%d", news, (int)p.next);
}

static void row_update(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);
    bool news = raft__progress_ack(&p, table_number(row, "ack"));

    sprintf(got, "%d m=%d n=%d", news, (int)p.match, (int)p.next);
}

static void row_becomeprobe(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);

    p.snapshot = table_number(row, "pending");
    raft__progress_become_probe(&p);
    sprintf(got, "n=%d", (int)p.next);
}

static void row_paused(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);

    p.paused = table_number(row, "flag") != 0;
    sprintf(got, "%d", raft__progress_is_paused(&p));
}

static unsigned fill(struct raft_progress *p, const struct raft_window *w, unsigned i)
{
    for (; !raft__progress_is_full(p, w); i++) {
        p->next = i; /* entry i is the last of a message of one entry */
        raft__progress_sent(p, 1, 100 + i, w);
        p->ring[(p->start + p->count - 1) % p->capacity].last = i;
    }
    return i;
}

static void row_inflight(const struct table_row *row, char *got)
{
    struct raft_window w = {.messages = (uint32_t)table_number(row, "size"),
                            .bytes = table_number(row, "bytes")};
    struct raft_progress p;
    char *free_to = strstr(row->want, "free=") + 5;
    unsigned full;

    raft__progress_init(&p, 0, 1);
    p.state = RAFT_REPLICATE;
    full = fill(&p, &w, 0);
    got += sprintf(got, "fullat=%u free=%d ", full, (int)strtoul(free_to, NULL, 10));
    raft__progress_free_to(&p, strtoul(free_to, NULL, 10));
    sprintf(got, "again=%u", fill(&p, &w, full));
    raft__progress_close(&p);
}

/* P(timeout <= elapsed): counted over many seeds, rounded to one digit. */
static void row_pasttimeout(const struct table_row *row, char *got)
{
    uint64_t elapsed = table_number(row, "elapsed");
    struct solo_setup setup;
    unsigned hits = 0;

    solo_defaults(&setup);
    setup.config.parity = 0;
    for (unsigned seed = 0; seed < 4000; seed++) {
        struct solo s;

        setup.seed = seed;
        solo_open(&s, &setup);
        hits += raft_deadline(s.group) <= elapsed;
        solo_close(&s);
    }
    sprintf(got, "%g", (hits + 200) / 400 / 10.0);
}

/* ---- all of them ---- */

static const struct {
    const char *kind;
    row_fn run;
} kinds[] = {
    {"findconflict", row_findconflict},
    {"fcbt", row_fcbt},
    {"uptodate", row_uptodate},
    {"append", row_append},
    {"mayappend", row_mayappend},
    {"elect1", row_elect1},
    {"followervote", row_followervote},
    {"ackcommit", row_ackcommit},
    {"onlycurrent", row_onlycurrent},
    {"checkapp", row_checkapp},
    {"followerappend", row_followerappend},
    {"synclog", row_synclog},
    {"voter", row_voter},
    {"votereq", row_votereq},
    {"precede", row_precede},
    {"commit", row_commit},
    {"handleapp", row_handleapp},
    {"heartbeat", row_heartbeat},
    {"recvvote", row_recvvote},
    {"fastrej", row_fastrej},
    {"appresp", row_appresp},
    {"election", row_election},
    {"dueling", row_dueling},
    {"decr", row_decr},
    {"update", row_update},
    {"becomeprobe", row_becomeprobe},
    {"paused", row_paused},
    {"inflight", row_inflight},
    {"pasttimeout", row_pasttimeout},
};

static row_fn find(const struct table_row *row)
{
    size_t len = strcspn(row->text, " ");

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strlen(kinds[i].kind) == len && strncmp(row->text, kinds[i].kind, len) == 0) {
            return kinds[i].run;
        }
    }
    return NULL;
}

/* A follower compacted beyond its leader's log cannot be: its commit point would be there, too. */
static bool is_impossible(const struct table_row *row)
{
    return strncmp(row->text, "fastrej", 7) == 0 && table_number(row, "compact") != 0;
}

static void test_core_tables(void **state)
{
    FILE *file = table_open("core_tables.txt");
    struct table_tally t = {0};
    struct table_row row;

    (void)state;
    while (table_read(file, &row)) {
        char got[GOT_BYTES] = "";

        if (row.want == NULL) {
            continue;
        }
        if (find(&row) == NULL || is_impossible(&row)) {
            t.skipped++;
            continue;
        }
        find (&row)(&row, got);
        table_check(&t, &row, got);
    }
    fclose(file);
    table_report("core_tables.txt", &t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
