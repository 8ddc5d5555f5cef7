/* Core tables, second half: several cores joined by a wire, and flow control alone. */
#include "tests/raftgroup/core_tables.h"

#include "raftgroup/base/assert.h"
#include "raftgroup/progress.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { PEERS_MAX = 6 };

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
    fl_assert(solo_step(&w->s[m->to], *m, terms) == FL_OK);
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
    core_open_of_size(&w->s[id], setup, size);
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
    fl_assert(raft_campaign(w->s[id].group, w->s[id].now) == FL_OK);
    solo_drain(&w->s[id]);
    pump(w);
}

void core_row_synclog(const struct table_row *row, char *got)
{
    static const raft_term leader[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6};
    struct wire *w = calloc(1, sizeof(*w));
    struct solo_setup setup;
    raft_index last;

    w->n = 3;
    solo_defaults(&setup);
    core_load_terms(row, "follower", &setup);
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
    fl_assert(solo_status(&w->s[1]).role == RAFT_LEADER);
    (void)solo_propose(&w->s[1], 0);
    pump(w);
    last = solo_status(&w->s[1]).last;
    (void)sprintf(got, "equal");
    for (raft_index i = 1; i <= last; i++) {
        if (raft_term_at(w->s[1].group, i) != raft_term_at(w->s[2].group, i)) {
            (void)sprintf(got, "differ at %d", (int)i);
        }
    }
    if (solo_status(&w->s[2]).last != last || solo_status(&w->s[2]).commit != last) {
        (void)sprintf(got, "behind");
    }
    wire_close(w);
}

void core_row_fastrej(const struct table_row *row, char *got)
{
    struct wire *w = calloc(1, sizeof(*w));
    const struct raft_msg *m;
    struct raft_msg refusal;
    raft_term terms[SOLO_LOG_MAX];
    struct solo_setup setup;

    w->n = 2;
    solo_defaults(&setup);
    core_load_terms(row, "follower", &setup);
    setup.term = 9;
    wire_open(w, 2, &setup, 3);
    core_load_terms(row, "leader", &setup);
    wire_open(w, 1, &setup, 3);
    solo_lead(&w->s[1]);
    m = solo_sent(&w->s[1], RAFT_M_APP, 2, 0);
    fl_assert(m != NULL);
    terms[0] = 10; /* the leader's first entry */
    fl_assert(solo_step(&w->s[2], *m, terms) == FL_OK);
    refusal = *solo_sent(&w->s[2], RAFT_M_APPR, 1, 0);
    fl_assert((refusal.flags & RAFT_F_REJECT) != 0);
    solo_clear(&w->s[1]);
    fl_assert(solo_step(&w->s[1], refusal, NULL) == FL_OK);
    m = solo_sent(&w->s[1], RAFT_M_APP, 2, 0);
    fl_assert(m != NULL);
    (void)sprintf(got,
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

void core_row_election(const struct table_row *row, char *got)
{
    const char *peers = strstr(row->text, "peers=") + 6;
    raft_term term;
    char role = run_election(peers, false, &term);

    got += sprintf(got, "vote:%c@%d", role, (int)term);
    role = run_election(peers, true, &term);
    (void)sprintf(got, " prevote:%c@%d", role, (int)term);
}

void core_row_dueling(const struct table_row *row, char *got)
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

void core_row_decr(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);
    bool news = raft__progress_reject(&p, table_number(row, "rejected"), table_number(row, "hint"));

    (void)sprintf(got, "%d n=%d", news, (int)p.next);
}

void core_row_update(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);
    bool news = raft__progress_ack(&p, table_number(row, "ack"));

    (void)sprintf(got, "%d m=%d n=%d", news, (int)p.match, (int)p.next);
}

void core_row_becomeprobe(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);

    p.snapshot = table_number(row, "pending");
    raft__progress_become_probe(&p);
    (void)sprintf(got, "n=%d", (int)p.next);
}

void core_row_paused(const struct table_row *row, char *got)
{
    struct raft_progress p = progress_of(row);

    p.paused = table_number(row, "flag") != 0;
    (void)sprintf(got, "%d", raft__progress_is_paused(&p));
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

void core_row_inflight(const struct table_row *row, char *got)
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
    (void)sprintf(got, "again=%u", fill(&p, &w, full));
    raft__progress_close(&p);
}

/* P(timeout <= elapsed): counted over many seeds, rounded to one digit. */
void core_row_pasttimeout(const struct table_row *row, char *got)
{
    uint64_t elapsed = table_number(row, "elapsed");
    struct solo_setup setup;
    unsigned hits = 0;
    unsigned tenths;

    solo_defaults(&setup);
    setup.config.parity = 0;
    for (unsigned seed = 0; seed < 4000; seed++) {
        struct solo s;

        setup.seed = seed;
        solo_open(&s, &setup);
        hits += raft_deadline(s.group) <= elapsed;
        solo_close(&s);
    }
    tenths = (hits + 200) / 400;
    (void)sprintf(got, tenths % 10 == 0 ? "%u" : "0.%u", tenths % 10 == 0 ? tenths / 10 : tenths);
}
