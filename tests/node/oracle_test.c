/* Goal: every rule OR-1..OR-8 holds where it is decided, message by message.
 * Method: one oracle and one client are driven by hand; floor and messages are in
 * oracle_parts_test.c, the whole under chaos in oracle_sim_test.c. */
#include "node/oracle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CLIENT = 7, ORACLE = 1 };

static struct node_oracle_message ask_of(uint32_t boot, uint64_t seq, uint32_t count)
{
    return (struct node_oracle_message){
        .type = NODE_ORACLE_ASK, .boot = boot, .seq = seq, .count = count};
}

/* Proposes and commits the mark that is wanted. */
static uint64_t commit_mark(struct node_oracle *oracle)
{
    uint64_t mark = 0;

    assert_true(node_oracle_want_mark(oracle, &mark));
    node_oracle_marked(oracle, mark);
    return mark;
}

/* Runs one successful round. */
static void run_round(struct node_oracle *oracle)
{
    uint64_t ctx = 0;

    assert_true(node_oracle_want_round(oracle, &ctx));
    node_oracle_round_done(oracle, ctx, true);
}

static struct node_oracle_message
expect_next(struct node_oracle *oracle, uint64_t to, enum node_oracle_message_type type)
{
    struct node_oracle_message message = {.boot = 0};
    uint64_t at = 0;

    assert_true(node_oracle_next(oracle, &at));
    assert_int_equal(at, to);
    node_oracle_take(oracle, false, &message);
    assert_int_equal(message.type, type);
    return message;
}

static void expect_silence(struct node_oracle *oracle)
{
    uint64_t to;

    assert_false(node_oracle_next(oracle, &to));
}

static struct node_oracle_waiter *expect_event(struct node_oracle_client *client,
                                               enum node_oracle_event event)
{
    struct node_oracle_waiter *waiter = NULL;

    assert_int_equal(node_oracle_client_next(client, &waiter), event);
    assert_true((waiter != NULL) == (event != NODE_ORACLE_NOTHING));
    return waiter;
}

static void submit(struct node_oracle_client *client,
                   struct node_oracle_waiter *waiter,
                   enum node_oracle_wait_kind kind)
{
    waiter->kind = kind;
    assert_int_equal(node_oracle_client_submit(client, waiter), FL_OK);
}

static struct node_oracle_message expect_ask(struct node_oracle_client *client, uint64_t now)
{
    struct node_oracle_message ask = {.boot = 0};
    uint64_t to = 0;

    assert_true(node_oracle_client_ask(client, now, 0, &to, &ask));
    assert_int_equal(ask.type, NODE_ORACLE_ASK);
    assert_int_equal(to, client->oracle);
    return ask;
}

static void expect_no_ask(struct node_oracle_client *client, uint64_t now)
{
    struct node_oracle_message ask;
    uint64_t to;

    assert_false(node_oracle_client_ask(client, now, 0, &to, &ask));
}

static struct node_oracle_message
grant_of(const struct node_oracle_message *ask, uint64_t term, uint64_t current, uint32_t count)
{
    return (struct node_oracle_message){.type = NODE_ORACLE_GRANT,
                                        .boot = ask->boot,
                                        .seq = ask->seq,
                                        .term = term,
                                        .current = current,
                                        .count = count};
}

static struct node_oracle_message confirm_of(uint32_t boot, uint64_t seq, uint64_t term)
{
    return (struct node_oracle_message){
        .type = NODE_ORACLE_CONFIRM, .boot = boot, .seq = seq, .term = term};
}

/* ---- oracle ---- */

/* Goal: OR-1, nothing leaves above a committed mark. Method: a new oracle has no room until its own
 * mark is committed, starts above the old mark, and stops at the new one. */
static void test_oracle_never_grants_above_its_mark(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message message;
    struct node_oracle_message ask = ask_of(1, 1, NODE_ORACLE_ASK_MAX);
    uint64_t mark;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 90, 100, 5);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_silence(&oracle);
    assert_true(node_oracle_want_mark(&oracle, &mark));
    assert_int_equal(mark, 100 + NODE_ORACLE_WINDOW);
    assert_false(node_oracle_want_mark(&oracle, &mark)); /* one in flight */
    node_oracle_marked(&oracle, 150);                    /* somebody's lesser mark: room for 50 */
    message = expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_int_equal(message.current, 100);
    assert_int_equal(message.start, 100);
    assert_int_equal(message.compact, 5);
    assert_int_equal(message.count, 50);
    assert_int_equal(message.term, 3);
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_silence(&oracle);
    node_oracle_marked(&oracle, 100 + NODE_ORACLE_WINDOW);
    message = expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_int_equal(message.current, 150);
    assert_int_equal(message.count, NODE_ORACLE_ASK_MAX);
    assert_int_equal(message.start, 100);
    node_oracle_close(&oracle);
}

/* Goal: the mark is moved on when half the window is used, not before. */
static void test_oracle_extends_the_mark_at_half(void **state)
{
    struct node_oracle oracle;
    uint64_t mark;
    uint64_t seq = 0;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 1, 0, 0, 0);
    commit_mark(&oracle);
    for (uint64_t given = 0; given < NODE_ORACLE_WINDOW / 2; given += NODE_ORACLE_ASK_MAX) {
        struct node_oracle_message ask = ask_of(1, ++seq, NODE_ORACLE_ASK_MAX);

        assert_false(node_oracle_want_mark(&oracle, &mark));
        assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
        expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    }
    assert_false(node_oracle_want_mark(&oracle, &mark)); /* exactly half is left */
    struct node_oracle_message one = ask_of(1, ++seq, 1);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &one), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_true(node_oracle_want_mark(&oracle, &mark));
    assert_int_equal(mark, NODE_ORACLE_WINDOW / 2 + 1 + NODE_ORACLE_WINDOW);
    node_oracle_mark_lost(&oracle);
    assert_true(node_oracle_want_mark(&oracle, &mark));
    node_oracle_close(&oracle);
}

/* Goal: revisions stay below 2^53. Method: an oracle that starts just under the end grants up to it
 * and then waits for ever. */
static void test_oracle_stops_at_the_last_revision(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(1, 1, 10);
    struct node_oracle_message message;
    uint64_t mark;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 1, 0, NODE_REVISION_MAX - 3, 0);
    assert_int_equal(commit_mark(&oracle), NODE_REVISION_MAX);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    message = expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_int_equal(message.count, 3);
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    assert_false(node_oracle_want_mark(&oracle, &mark));
    expect_silence(&oracle);
    node_oracle_close(&oracle);
}

/* Goal: OR-2, OR-3. Method: not leading, a newer term known to the asker, repeated and old asks. */
static void test_oracle_refuses_and_drops(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(5, 4, 1);

    (void)state;
    node_oracle_init(&oracle);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_NOT_LEADER);
    node_oracle_lead(&oracle, 3, 0, 0, 0);
    ask.term = 4;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_NOT_LEADER);
    ask.term = 3;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_STALE);
    ask.seq = 3;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_STALE);
    ask = ask_of(4, 100, 1);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_STALE); /* an earlier life */
    ask = ask_of(6, 1, 2);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK); /* a later one */
    commit_mark(&oracle);
    struct node_oracle_message message = expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_int_equal(message.boot, 6); /* and the ask it gave up is forgotten */
    assert_int_equal(message.count, 2);
    expect_silence(&oracle);
    node_oracle_step_down(&oracle);
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_NOT_LEADER);
    expect_silence(&oracle);
    node_oracle_close(&oracle);
}

/* Goal: a read's ask needs no room below the mark; R of a new oracle is at least the old mark. */
static void test_oracle_answers_reads_without_room(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message write = ask_of(1, 1, 1);
    struct node_oracle_message read = ask_of(1, 1, 0);
    struct node_oracle_message message;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 120, 100, 0);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &write), FL_OK);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT + 1, &read), FL_OK);
    message = expect_next(&oracle, CLIENT + 1, NODE_ORACLE_GRANT);
    assert_int_equal(message.current, 120); /* the last revision, when it is above the mark */
    assert_int_equal(message.count, 0);
    expect_silence(&oracle);
    node_oracle_close(&oracle);
}

/* Goal: OR-4. Method: a grant handed out after a round began is not confirmed by it, rounds
 * overlap, end in any order, and fail. */
static void test_oracle_confirms_only_by_a_later_round(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(1, 1, 1);
    uint64_t first = 0;
    uint64_t second = 0;
    uint64_t third = 0;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 0, 0, 0);
    commit_mark(&oracle);
    assert_false(node_oracle_want_round(&oracle, &first)); /* nothing handed out */
    assert_true(node_oracle_settled(&oracle));
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_false(node_oracle_settled(&oracle));
    assert_true(node_oracle_want_round(&oracle, &first));
    assert_false(node_oracle_want_round(&oracle, &second)); /* the round covers it */
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_true(node_oracle_want_round(&oracle, &second));
    assert_int_not_equal(first, second);
    node_oracle_round_done(&oracle, first, true);
    assert_int_equal(expect_next(&oracle, CLIENT, NODE_ORACLE_CONFIRM).seq, 1);
    expect_silence(&oracle);
    node_oracle_round_done(&oracle, first, true); /* told twice: nothing */
    expect_silence(&oracle);
    node_oracle_round_done(&oracle, second, false);
    expect_silence(&oracle);
    assert_true(node_oracle_want_round(&oracle, &third)); /* wanted again */
    node_oracle_round_done(&oracle, third, true);
    assert_int_equal(expect_next(&oracle, CLIENT, NODE_ORACLE_CONFIRM).seq, 2);
    assert_true(node_oracle_settled(&oracle));
    node_oracle_close(&oracle);
}

/* Goal: a round of an earlier term confirms nothing in a later one. */
static void test_oracle_forgets_rounds_of_an_earlier_term(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(1, 1, 1);
    uint64_t old = 0;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 0, 0, 0);
    commit_mark(&oracle);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    assert_true(node_oracle_want_round(&oracle, &old));
    node_oracle_step_down(&oracle);
    node_oracle_round_done(&oracle, old, true);
    node_oracle_lead(&oracle, 5, 0, 16384, 0);
    commit_mark(&oracle);
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    node_oracle_round_done(&oracle, old, true);
    expect_silence(&oracle);
    run_round(&oracle);
    assert_int_equal(expect_next(&oracle, CLIENT, NODE_ORACLE_CONFIRM).seq, 2);
    node_oracle_close(&oracle);
}

/* Goal: more grants without confirm than pairs are kept: nothing is confirmed early or forgotten.
 */
static void test_oracle_keeps_confirms_when_rounds_are_slow(void **state)
{
    struct node_oracle oracle;
    uint64_t ctx[NODE_ORACLE_ROUNDS_MAX];
    uint64_t more;
    enum { GRANTS = 3 * NODE_ORACLE_ROUNDS_MAX };

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 0, 0, 0);
    commit_mark(&oracle);
    for (uint64_t seq = 1; seq <= GRANTS; seq++) {
        struct node_oracle_message ask = ask_of(1, seq, 1);

        assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
        expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
        assert_int_equal(node_oracle_want_round(&oracle, seq <= 8 ? &ctx[seq - 1] : &more),
                         seq <= NODE_ORACLE_ROUNDS_MAX);
    }
    for (uint64_t seq = 1; seq <= NODE_ORACLE_ROUNDS_MAX; seq++) {
        struct node_oracle_message message;
        uint64_t to;

        node_oracle_round_done(&oracle, ctx[seq - 1], true);
        if (node_oracle_next(&oracle, &to)) {
            node_oracle_take(&oracle, false, &message);
            assert_true(message.seq <= seq);
        }
    }
    run_round(&oracle);
    assert_int_equal(expect_next(&oracle, CLIENT, NODE_ORACLE_CONFIRM).seq, GRANTS);
    assert_true(node_oracle_settled(&oracle));
    node_oracle_close(&oracle);
}

/* Goal: a planned transfer leaves no outcome unknown. Method: paused, what is out is confirmed,
 * what comes in waits; resumed, it is answered. */
static void test_oracle_pause_settles(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(1, 1, 1);

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 3, 0, 0, 0);
    commit_mark(&oracle);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    node_oracle_pause(&oracle, true);
    ask.seq = 2;
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    run_round(&oracle);
    assert_false(node_oracle_settled(&oracle)); /* not before it is told */
    expect_next(&oracle, CLIENT, NODE_ORACLE_CONFIRM);
    expect_silence(&oracle);
    assert_true(node_oracle_settled(&oracle));
    node_oracle_pause(&oracle, false);
    expect_next(&oracle, CLIENT, NODE_ORACLE_GRANT);
    node_oracle_close(&oracle);
}

/* Goal: many clients are served in order of arrival and confirmed each for itself. */
static void test_oracle_serves_many_clients(void **state)
{
    struct node_oracle oracle;
    enum { CLIENTS = 300 };

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, 1, 0, 0, 0);
    for (uint64_t i = 0; i < CLIENTS; i++) {
        struct node_oracle_message ask = ask_of(1, 1 + i, 2);

        assert_int_equal(node_oracle_asked(&oracle, 1 + (i * 7919) % CLIENTS, &ask), FL_OK);
    }
    commit_mark(&oracle);
    for (uint64_t i = 0; i < CLIENTS; i++) {
        struct node_oracle_message grant =
            expect_next(&oracle, 1 + (i * 7919) % CLIENTS, NODE_ORACLE_GRANT);

        assert_int_equal(grant.current, 2 * i);
        assert_int_equal(grant.seq, 1 + i);
    }
    run_round(&oracle);
    for (uint64_t i = 0; i < CLIENTS; i++) {
        struct node_oracle_message confirm =
            expect_next(&oracle, 1 + (i * 7919) % CLIENTS, NODE_ORACLE_CONFIRM);

        assert_int_equal(confirm.seq, 1 + i);
    }
    expect_silence(&oracle);
    node_oracle_close(&oracle);
}

/* ---- client ---- */

/* Goal: one ask in flight, all who wait share it, who comes later shares the next (OR-7); grants
 * are dealt out in order of arrival; asks do not wait for confirms. */
static void test_client_pipelines(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[5] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    expect_no_ask(&client, 0); /* nobody waits, nobody is known */
    submit(&client, &w[0], NODE_ORACLE_WRITE);
    submit(&client, &w[1], NODE_ORACLE_READ);
    submit(&client, &w[2], NODE_ORACLE_WRITE);
    assert_true(node_oracle_client_lacks_oracle(&client));
    expect_no_ask(&client, 0);
    node_oracle_client_set_oracle(&client, ORACLE, 3);
    assert_false(node_oracle_client_lacks_oracle(&client));
    ask = expect_ask(&client, 0);
    assert_int_equal(ask.count, 2);
    submit(&client, &w[3], NODE_ORACLE_WRITE);
    expect_no_ask(&client, 1);
    answer = grant_of(&ask, 3, 100, 2);
    assert_int_equal(node_oracle_client_answered(&client, 5, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[0]);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[2]);
    expect_event(&client, NODE_ORACLE_NOTHING); /* nobody is confirmed yet (OR-5) */
    assert_int_equal(w[0].revision, 101);
    assert_int_equal(w[2].revision, 102);
    ask = expect_ask(&client, 5);
    assert_int_equal(ask.seq, 2);
    assert_int_equal(ask.count, 1);
    answer = confirm_of(1, 1, 3);
    assert_int_equal(node_oracle_client_answered(&client, 6, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[1]);
    assert_int_equal(w[1].revision, 100); /* before the writes of its own ask */
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[0]);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[2]);
    expect_event(&client, NODE_ORACLE_NOTHING);
    assert_int_equal(client.count, 1);
    answer = grant_of(&ask, 3, 110, 1);
    assert_int_equal(node_oracle_client_answered(&client, 7, ORACLE, &answer), FL_OK);
    answer = confirm_of(1, 2, 3); /* before the grant was looked at: still granted first */
    assert_int_equal(node_oracle_client_answered(&client, 8, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[3]);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[3]);
    assert_int_equal(client.count, 0);
    assert_int_equal(node_oracle_client_deadline(&client), UINT64_MAX);
}

/* Goal: what a grant does not suffice for waits on in front; a confirm covers all earlier seqs. */
static void test_client_takes_part_of_what_it_asked(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[4] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 1);
    for (size_t i = 0; i < 3; i++) {
        submit(&client, &w[i], NODE_ORACLE_WRITE);
    }
    ask = expect_ask(&client, 0);
    submit(&client, &w[3], NODE_ORACLE_WRITE);
    answer = grant_of(&ask, 1, 10, 1);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[0]);
    ask = expect_ask(&client, 0);
    assert_int_equal(ask.count, 3);
    answer = grant_of(&ask, 1, 20, 3);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    for (size_t i = 1; i < 4; i++) {
        assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[i]);
        assert_int_equal(w[i].revision, 20 + i);
    }
    answer = confirm_of(1, 2, 1);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    for (size_t i = 0; i < 4; i++) {
        assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[i]);
    }
    assert_int_equal(client.count, 0);
}

/* Goal: OR-6. Method: grants of an older term, of the past, beyond what was asked, of a seq given
 * up, of another life, from somebody else. */
static void test_client_refuses_grants_from_the_past(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 9);
    node_oracle_client_set_oracle(&client, ORACLE, 5);
    node_oracle_client_seen(&client, 1000);
    submit(&client, &w, NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 0);
    answer = grant_of(&ask, 5, 1000, 1);
    answer.boot = 8;
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_STALE);
    answer.boot = 9;
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE + 1, &answer), FL_STALE);
    answer.seq = 2;
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_STALE);
    expect_no_ask(&client, 0);          /* the ask is still in flight */
    answer = grant_of(&ask, 5, 999, 1); /* 1000 has been seen before the ask left */
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_STALE);
    expect_event(&client, NODE_ORACLE_NOTHING);
    assert_true(node_oracle_client_lacks_oracle(&client));
    node_oracle_client_set_oracle(&client, ORACLE, 5);
    expect_no_ask(&client, NODE_ORACLE_RETRY_MS - 1);
    ask = expect_ask(&client, NODE_ORACLE_RETRY_MS);
    node_oracle_client_seen(&client, 2000); /* seen after the ask left: no reason to refuse */
    answer = grant_of(&ask, 4, 5000, 1);
    assert_int_equal(node_oracle_client_answered(&client, 50, ORACLE, &answer), FL_STALE);
    node_oracle_client_set_oracle(&client, ORACLE, 5);
    ask = expect_ask(&client, 100);
    answer = grant_of(&ask, 5, 3000, 2);
    assert_int_equal(node_oracle_client_answered(&client, 100, ORACLE, &answer), FL_BAD_MESSAGE);
    node_oracle_client_set_oracle(&client, ORACLE, 5);
    ask = expect_ask(&client, 150);
    node_oracle_client_seen(&client, 4000);
    answer = grant_of(&ask, 5, 2000, 1);
    assert_int_equal(node_oracle_client_answered(&client, 150, ORACLE, &answer), FL_OK);
    expect_event(&client, NODE_ORACLE_GRANTED);
    assert_int_equal(w.revision, 2001);
    answer = ask;
    assert_int_equal(node_oracle_client_answered(&client, 150, ORACLE, &answer), FL_BAD_MESSAGE);
    node_oracle_client_cancel(&client, &w);
}

/* Goal: OR-5 over a change of oracle. Method: a write granted and not confirmed becomes
 * unconfirmable, one not reported yet and a read are asked for anew, a late confirm changes
 * nothing. */
static void test_client_after_a_change_of_oracle(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[4] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 1);
    submit(&client, &w[0], NODE_ORACLE_WRITE);
    submit(&client, &w[1], NODE_ORACLE_READ);
    ask = expect_ask(&client, 0);
    answer = grant_of(&ask, 1, 10, 1);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[0]);
    submit(&client, &w[2], NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 0);
    answer = grant_of(&ask, 1, 20, 1);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    /* w[2] is granted but its event was not fetched */
    submit(&client, &w[3], NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 0);
    node_oracle_client_set_oracle(&client, ORACLE, 0); /* a guess while one is known: nothing */
    node_oracle_client_set_oracle(&client, ORACLE + 1, 2);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_UNCONFIRMABLE), &w[0]);
    expect_event(&client, NODE_ORACLE_NOTHING);
    answer = confirm_of(1, 2, 1);
    assert_int_equal(node_oracle_client_answered(&client, 1, ORACLE, &answer), FL_STALE);
    answer = grant_of(&ask, 1, 21, 1);
    assert_int_equal(node_oracle_client_answered(&client, 1, ORACLE, &answer), FL_STALE);
    ask = expect_ask(&client, 1);
    assert_int_equal(ask.count, 2);
    assert_int_equal(ask.term, 2);
    answer = grant_of(&ask, 3, 30, 2); /* a newer oracle yet, on the same node */
    assert_int_equal(node_oracle_client_answered(&client, 2, ORACLE + 1, &answer), FL_OK);
    assert_int_equal(client.term, 3);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[2]);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[3]);
    answer = confirm_of(1, ask.seq, 3);
    assert_int_equal(node_oracle_client_answered(&client, 2, ORACLE + 1, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[1]);
    assert_int_equal(w[1].revision, 30);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[2]);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w[3]);
    node_oracle_client_set_oracle(&client, ORACLE, 2); /* old news */
    assert_int_equal(client.oracle, ORACLE + 1);
}

/* Goal: nothing waits for ever. Method: an ask, a confirm and a refusal are lost or late. */
static void test_client_asks_again(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 1);
    submit(&client, &w, NODE_ORACLE_WRITE);
    expect_ask(&client, 1000);
    assert_int_equal(node_oracle_client_deadline(&client), 1000 + NODE_ORACLE_TIMEOUT_MS);
    node_oracle_client_tick(&client, 1000 + NODE_ORACLE_TIMEOUT_MS - 1);
    expect_no_ask(&client, 1000 + NODE_ORACLE_TIMEOUT_MS - 1);
    node_oracle_client_tick(&client, 1000 + NODE_ORACLE_TIMEOUT_MS);
    assert_true(node_oracle_client_lacks_oracle(&client));
    node_oracle_client_set_oracle(&client, ORACLE + 1, 0);
    ask = expect_ask(&client, 1300);
    answer = (struct node_oracle_message){
        .type = NODE_ORACLE_REFUSE, .boot = 1, .seq = ask.seq, .term = 4, .leader = ORACLE};
    assert_int_equal(node_oracle_client_answered(&client, 1301, ORACLE + 1, &answer), FL_OK);
    ask = expect_ask(&client, 1301); /* a newer leader is named: at once */
    answer = (struct node_oracle_message){
        .type = NODE_ORACLE_REFUSE, .boot = 1, .seq = ask.seq, .term = 4, .leader = 0};
    assert_int_equal(node_oracle_client_answered(&client, 1302, ORACLE, &answer), FL_OK);
    node_oracle_client_set_oracle(&client, ORACLE, 4);
    assert_int_equal(node_oracle_client_deadline(&client), 1302 + NODE_ORACLE_RETRY_MS);
    expect_no_ask(&client, 1302);
    ask = expect_ask(&client, 1302 + NODE_ORACLE_RETRY_MS);
    answer = grant_of(&ask, 4, 7, 1);
    assert_int_equal(node_oracle_client_answered(&client, 1400, ORACLE, &answer), FL_OK);
    expect_event(&client, NODE_ORACLE_GRANTED);
    expect_no_ask(&client, 1400);
    /* The confirm is lost: a probe brings another, which covers it. */
    assert_int_equal(node_oracle_client_deadline(&client), 1400 + NODE_ORACLE_TIMEOUT_MS);
    node_oracle_client_tick(&client, 1400 + NODE_ORACLE_TIMEOUT_MS);
    ask = expect_ask(&client, 1700);
    assert_int_equal(ask.count, 0);
    node_oracle_client_peer_lost(&client, ORACLE + 5); /* not ours */
    expect_no_ask(&client, 1700);
    node_oracle_client_peer_lost(&client, ORACLE);
    node_oracle_client_tick(&client, 2000);
    assert_true(node_oracle_client_lacks_oracle(&client));
    node_oracle_client_set_oracle(&client, ORACLE, 4); /* back again, in the same term */
    ask = expect_ask(&client, 2000);
    answer = grant_of(&ask, 4, 8, 0);
    assert_int_equal(node_oracle_client_answered(&client, 2001, ORACLE, &answer), FL_OK);
    answer = confirm_of(1, ask.seq, 4);
    assert_int_equal(node_oracle_client_answered(&client, 2002, ORACLE, &answer), FL_OK);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_CONFIRMED), &w);
    answer.seq = ask.seq + 1; /* never asked */
    assert_int_equal(node_oracle_client_answered(&client, 2002, ORACLE, &answer), FL_BAD_MESSAGE);
}

/* Goal: a waiter can be taken back in every state, and its revision is nobody else's. */
static void test_client_cancel(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[4] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 1);
    for (size_t i = 0; i < 4; i++) {
        submit(&client, &w[i], NODE_ORACLE_WRITE);
    }
    node_oracle_client_cancel(&client, &w[0]); /* waiting */
    ask = expect_ask(&client, 0);
    assert_int_equal(ask.count, 3);
    node_oracle_client_cancel(&client, &w[1]); /* asked */
    answer = grant_of(&ask, 1, 0, 3);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    node_oracle_client_cancel(&client, &w[2]); /* granted, not reported */
    assert_int_equal(w[2].revision, 1);
    assert_ptr_equal(expect_event(&client, NODE_ORACLE_GRANTED), &w[3]);
    assert_int_equal(w[3].revision, 2);
    node_oracle_client_cancel(&client, &w[3]); /* unconfirmed */
    assert_int_equal(client.count, 0);
    expect_event(&client, NODE_ORACLE_NOTHING);
    assert_int_equal(client.seen, 3);
}

/* Goal: the bounds. Method: more writes than an ask may carry, more waiters than a client holds. */
static void test_client_bounds(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter *w = fl_xcalloc(NODE_ORACLE_WAITERS_MAX + 1, sizeof(*w));
    struct node_oracle_message ask;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 1);
    for (size_t i = 0; i < NODE_ORACLE_WAITERS_MAX; i++) {
        submit(&client, &w[i], NODE_ORACLE_WRITE);
    }
    assert_int_equal(node_oracle_client_submit(&client, &w[NODE_ORACLE_WAITERS_MAX]), FL_TOO_MANY);
    ask = expect_ask(&client, 0);
    assert_int_equal(ask.count, NODE_ORACLE_ASK_MAX);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle_never_grants_above_its_mark),
        cmocka_unit_test(test_oracle_extends_the_mark_at_half),
        cmocka_unit_test(test_oracle_stops_at_the_last_revision),
        cmocka_unit_test(test_oracle_refuses_and_drops),
        cmocka_unit_test(test_oracle_answers_reads_without_room),
        cmocka_unit_test(test_oracle_confirms_only_by_a_later_round),
        cmocka_unit_test(test_oracle_forgets_rounds_of_an_earlier_term),
        cmocka_unit_test(test_oracle_keeps_confirms_when_rounds_are_slow),
        cmocka_unit_test(test_oracle_pause_settles),
        cmocka_unit_test(test_oracle_serves_many_clients),
        cmocka_unit_test(test_client_pipelines),
        cmocka_unit_test(test_client_takes_part_of_what_it_asked),
        cmocka_unit_test(test_client_refuses_grants_from_the_past),
        cmocka_unit_test(test_client_after_a_change_of_oracle),
        cmocka_unit_test(test_client_asks_again),
        cmocka_unit_test(test_client_cancel),
        cmocka_unit_test(test_client_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
