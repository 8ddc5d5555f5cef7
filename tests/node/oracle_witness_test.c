/* Goal: OR-13, a grant is its own confirm exactly when the asker bore witness and its voter and the
 * oracle's are a quorum; everything else is confirmed by a round as ever.
 * Method: the conditions one by one; oracle and client driven by hand. That the rule is sound is
 * the business of oracle_sim_test.c. */
#include "node/oracle.h"
#include "node/witness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { CLIENT = 7, ORACLE = 1, TERM = 3 };

/* ---- who may ---- */

/* A leader of term 3, replica 1, of voters 1, 2 and 3. */
static const struct raft_status leader = {.self = 1, .role = RAFT_LEADER, .term = 3, .voter = true};
static const struct raft_conf three = {.n = 3, .in = 7, .id = {1, 2, 3}};

/* Goal: what a replica publishes. Method: a voter, a learner, a frozen replica. */
static void test_term_of_a_voter(void **state)
{
    struct raft_status status = {.term = 9, .voter = true};

    (void)state;
    assert_int_equal(node_witness_term(&status), 9);
    status.why = "RG-3: two leaders in one term";
    assert_int_equal(node_witness_term(&status), 0);
    status = (struct raft_status){.term = 9, .learner = true};
    assert_int_equal(node_witness_term(&status), 0);
}

/* Goal: two replicas are a quorum only of two or three voters, and only if both vote. Method: every
 * number of voters; learners, strangers, the leader itself, a leader that left. */
static void test_two_are_a_quorum(void **state)
{
    struct raft_conf conf = three;
    struct raft_status status = leader;

    (void)state;
    assert_true(node_witness_suffices(&leader, &three, 3, 2));
    assert_true(node_witness_suffices(&leader, &three, 3, 3));
    assert_false(node_witness_suffices(&leader, &three, 3, 1)); /* one is no quorum */
    assert_false(node_witness_suffices(&leader, &three, 3, 4));
    assert_false(node_witness_suffices(&leader, &three, 3, 0)); /* no replica on that node */
    for (unsigned voters = 1; voters <= 7; voters++) {
        conf = (struct raft_conf){
            .n = 7, .in = (raft_mask)((1u << voters) - 1), .id = {1, 2, 3, 4, 5, 6, 7}};
        conf.learners = (raft_mask)(0x7f & ~conf.in);
        assert_int_equal(node_witness_suffices(&leader, &conf, 3, 2), voters == 2 || voters == 3);
        assert_false(node_witness_suffices(&leader, &conf, 3, 7) && voters < 7);
    }
    conf = (struct raft_conf){.n = 3, .in = 6, .learners = 1, .id = {1, 2, 3}};
    assert_false(node_witness_suffices(&status, &conf, 3, 2));
}

/* Goal: nothing is left to a witness while the configuration changes, or when the core knows that
 * this leadership is over before the oracle does. Method: a joint configuration, a change appended,
 * a newer term, a lost role, a frozen core. */
static void test_only_while_leading_unchanged(void **state)
{
    struct raft_conf conf = three;
    struct raft_status status = leader;

    (void)state;
    conf.out = 3;
    assert_false(node_witness_suffices(&status, &conf, 3, 2));
    status.conf_pending = 17;
    assert_false(node_witness_suffices(&status, &three, 3, 2));
    status = leader;
    status.term = 4;
    assert_false(node_witness_suffices(&status, &three, 3, 2));
    status = leader;
    status.role = RAFT_FOLLOWER;
    assert_false(node_witness_suffices(&status, &three, 3, 2));
    status = leader;
    status.why = "RG-7: a leader never changes its own log";
    assert_false(node_witness_suffices(&status, &three, 3, 2));
}

/* ---- oracle ---- */

static struct node_oracle_message ask_of(uint64_t seq, uint32_t count, uint64_t term, bool witness)
{
    return (struct node_oracle_message){.type = NODE_ORACLE_ASK,
                                        .boot = 1,
                                        .seq = seq,
                                        .term = term,
                                        .count = count,
                                        .witness = witness};
}

static void open_oracle(struct node_oracle *oracle)
{
    uint64_t mark = 0;

    node_oracle_init(oracle);
    node_oracle_lead(oracle, TERM, 0, 0, 0);
    assert_true(node_oracle_want_mark(oracle, &mark));
    node_oracle_marked(oracle, mark);
}

/* The answer to an ask of CLIENT; is its grant left to the witness? */
static bool is_witnessed(struct node_oracle *oracle, struct node_oracle_message ask, bool quorum)
{
    struct node_oracle_message grant = {.boot = 0};
    uint64_t to = 0;

    assert_int_equal(node_oracle_asked(oracle, CLIENT, &ask), FL_OK);
    assert_true(node_oracle_next(oracle, &to));
    assert_int_equal(to, CLIENT);
    node_oracle_take(oracle, quorum, &grant);
    assert_int_equal(grant.type, NODE_ORACLE_GRANT);
    assert_int_equal(grant.seq, ask.seq);
    assert_int_equal(grant.count, ask.count);
    return grant.witness;
}

static uint64_t expect_confirm(struct node_oracle *oracle)
{
    struct node_oracle_message confirm = {.boot = 0};
    uint64_t to = 0;

    assert_true(node_oracle_next(oracle, &to));
    node_oracle_take(oracle, true, &confirm);
    assert_int_equal(confirm.type, NODE_ORACLE_CONFIRM);
    assert_false(confirm.witness);
    return confirm.seq;
}

/* Goal: a witnessed grant costs no round, no confirm, and holds up no transfer; without a witness,
 * with one of another term, or without a quorum there is a round as ever. */
static void test_oracle_begins_no_round(void **state)
{
    struct node_oracle oracle;
    uint64_t ctx = 0;
    uint64_t to = 0;

    (void)state;
    open_oracle(&oracle);
    assert_true(is_witnessed(&oracle, ask_of(1, 5, TERM, true), true));
    assert_true(is_witnessed(&oracle, ask_of(2, 0, TERM, true), true));
    assert_false(node_oracle_want_round(&oracle, &ctx));
    node_oracle_pause(&oracle, true);
    assert_true(node_oracle_settled(&oracle)); /* the client holds grant and confirm, or neither */
    node_oracle_pause(&oracle, false);
    assert_false(is_witnessed(&oracle, ask_of(3, 1, TERM, true), false));
    assert_false(node_oracle_settled(&oracle));
    assert_true(node_oracle_want_round(&oracle, &ctx));
    node_oracle_round_done(&oracle, ctx, true);
    assert_int_equal(expect_confirm(&oracle), 3);
    assert_false(is_witnessed(&oracle, ask_of(4, 1, TERM, false), true));
    assert_true(node_oracle_want_round(&oracle, &ctx));
    node_oracle_round_done(&oracle, ctx, true);
    assert_int_equal(expect_confirm(&oracle), 4);
    assert_false(is_witnessed(&oracle, ask_of(5, 1, TERM - 1, true), true));
    assert_true(node_oracle_want_round(&oracle, &ctx));
    node_oracle_round_done(&oracle, ctx, true);
    assert_int_equal(expect_confirm(&oracle), 5);
    assert_false(node_oracle_next(&oracle, &to));
    node_oracle_close(&oracle);
}

/* Goal: a grant that waits for a round is not forgotten because a later one does not. Method: both
 * kinds in turn, then the round ends. */
static void test_oracle_keeps_earlier_rounds(void **state)
{
    struct node_oracle oracle;
    uint64_t ctx = 0;

    (void)state;
    open_oracle(&oracle);
    assert_false(is_witnessed(&oracle, ask_of(1, 1, TERM, false), true));
    assert_true(is_witnessed(&oracle, ask_of(2, 1, TERM, true), true));
    assert_true(node_oracle_want_round(&oracle, &ctx));
    node_oracle_pause(&oracle, true);
    assert_false(node_oracle_settled(&oracle));
    node_oracle_round_done(&oracle, ctx, true);
    assert_int_equal(expect_confirm(&oracle), 1);
    assert_true(node_oracle_settled(&oracle));
    node_oracle_close(&oracle);
}

/* Goal: the configuration counts when the grant leaves, not when the ask came. Method: an ask waits
 * for the mark, and what it offered goes with it, not with an older ask. */
static void test_oracle_decides_when_it_grants(void **state)
{
    struct node_oracle oracle;
    struct node_oracle_message ask = ask_of(1, 1, TERM, true);
    struct node_oracle_message grant;
    uint64_t to;
    uint64_t mark;

    (void)state;
    node_oracle_init(&oracle);
    node_oracle_lead(&oracle, TERM, 0, 0, 0);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK);
    assert_false(node_oracle_next(&oracle, &to));
    ask = ask_of(2, 1, TERM, false);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT, &ask), FL_OK); /* gave the first up */
    ask = ask_of(1, 1, TERM, true);
    assert_int_equal(node_oracle_asked(&oracle, CLIENT + 1, &ask), FL_OK);
    assert_true(node_oracle_want_mark(&oracle, &mark));
    node_oracle_marked(&oracle, mark);
    assert_true(node_oracle_next(&oracle, &to));
    assert_int_equal(to, CLIENT);
    node_oracle_take(&oracle, true, &grant);
    assert_false(grant.witness);
    assert_true(node_oracle_next(&oracle, &to));
    assert_int_equal(to, CLIENT + 1);
    node_oracle_take(&oracle, true, &grant);
    assert_true(grant.witness);
    node_oracle_close(&oracle);
}

/* ---- client ---- */

static struct node_oracle_message grant_of(const struct node_oracle_message *ask, uint64_t term)
{
    return (struct node_oracle_message){.type = NODE_ORACLE_GRANT,
                                        .boot = ask->boot,
                                        .seq = ask->seq,
                                        .term = term,
                                        .current = 100 * ask->seq,
                                        .count = ask->count,
                                        .witness = ask->witness};
}

static void submit(struct node_oracle_client *client,
                   struct node_oracle_waiter *waiter,
                   enum node_oracle_wait_kind kind)
{
    waiter->kind = kind;
    assert_int_equal(node_oracle_client_submit(client, waiter), FL_OK);
}

static struct node_oracle_message
expect_ask(struct node_oracle_client *client, uint64_t now, uint64_t witness)
{
    struct node_oracle_message ask = {.boot = 0};
    uint64_t to = 0;

    assert_true(node_oracle_client_ask(client, now, witness, &to, &ask));
    return ask;
}

static void expect_event(struct node_oracle_client *client,
                         enum node_oracle_event event,
                         const struct node_oracle_waiter *waiter)
{
    struct node_oracle_waiter *at = NULL;

    assert_int_equal(node_oracle_client_next(client, &at), event);
    assert_ptr_equal(at, waiter);
}

/* Goal: an ask bears witness only for the term it names. Method: no voter here, one that has met a
 * newer term, one that lags, the same term; an oracle whose term nobody has heard of. */
static void test_client_bears_witness_for_its_term(void **state)
{
    const uint64_t voters[] = {0, TERM + 1, TERM - 1, TERM};
    struct node_oracle_client client;
    struct node_oracle_waiter w = {0};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct node_oracle_message ask;

        node_oracle_client_init(&client, 1);
        node_oracle_client_set_oracle(&client, ORACLE, TERM);
        submit(&client, &w, NODE_ORACLE_READ);
        ask = expect_ask(&client, 0, voters[i]);
        assert_int_equal(ask.term, TERM);
        assert_int_equal(ask.witness, voters[i] == TERM);
        node_oracle_client_cancel(&client, &w);
    }
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, 0);
    submit(&client, &w, NODE_ORACLE_READ);
    assert_false(expect_ask(&client, 0, 0).witness);
}

/* Goal: a witnessed grant confirms its own waiters and those of every earlier ask of the term.
 * Method: an ask without witness, one with; the confirm of the first comes late and is nothing. */
static void test_client_is_confirmed_by_a_grant(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[4] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, TERM);
    submit(&client, &w[0], NODE_ORACLE_WRITE);
    submit(&client, &w[1], NODE_ORACLE_READ);
    ask = expect_ask(&client, 0, 0);
    answer = grant_of(&ask, TERM);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    expect_event(&client, NODE_ORACLE_GRANTED, &w[0]);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL);
    submit(&client, &w[2], NODE_ORACLE_READ);
    submit(&client, &w[3], NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 1, TERM);
    answer = grant_of(&ask, TERM);
    assert_int_equal(node_oracle_client_answered(&client, 2, ORACLE, &answer), FL_OK);
    expect_event(&client, NODE_ORACLE_GRANTED, &w[3]); /* proposed before it is acknowledged */
    expect_event(&client, NODE_ORACLE_CONFIRMED, &w[1]);
    expect_event(&client, NODE_ORACLE_CONFIRMED, &w[0]);
    expect_event(&client, NODE_ORACLE_CONFIRMED, &w[2]);
    expect_event(&client, NODE_ORACLE_CONFIRMED, &w[3]);
    assert_int_equal(w[2].revision, 200);
    assert_int_equal(w[3].revision, 201);
    assert_int_equal(client.count, 0);
    assert_int_equal(node_oracle_client_deadline(&client), UINT64_MAX);
    answer = (struct node_oracle_message){
        .type = NODE_ORACLE_CONFIRM, .boot = 1, .seq = 1, .term = TERM};
    assert_int_equal(node_oracle_client_answered(&client, 3, ORACLE, &answer), FL_STALE);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL);
}

/* Goal: OR-5, OR-6 hold for witnessed grants: one of the past, or of a term that is over, grants
 * and confirms nothing, and no outcome becomes unknown by it. Method: `current` below what was
 * seen; a newer oracle while the grant is under way; the earlier write stays unconfirmed, or
 * becomes unconfirmable. */
static void test_client_refuses_witnessed_grants_of_the_past(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w[2] = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, TERM);
    submit(&client, &w[0], NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 0, 0);
    answer = grant_of(&ask, TERM);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_OK);
    expect_event(&client, NODE_ORACLE_GRANTED, &w[0]);
    node_oracle_client_seen(&client, 1000);
    submit(&client, &w[1], NODE_ORACLE_WRITE);
    ask = expect_ask(&client, 0, TERM);
    answer = grant_of(&ask, TERM);
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_STALE);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL);
    node_oracle_client_set_oracle(&client, ORACLE, TERM);
    ask = expect_ask(&client, NODE_ORACLE_RETRY_MS, TERM);
    answer = grant_of(&ask, TERM);
    answer.current = 2000;
    node_oracle_client_set_oracle(&client, ORACLE + 1, TERM + 1);
    assert_int_equal(node_oracle_client_answered(&client, 60, ORACLE, &answer), FL_STALE);
    expect_event(&client, NODE_ORACLE_UNCONFIRMABLE, &w[0]);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL); /* the second asks the new oracle */
    ask = expect_ask(&client, 60, TERM + 1);
    assert_int_equal(ask.count, 1);
    assert_true(ask.witness);
    node_oracle_client_cancel(&client, &w[1]);
}

/* Goal: a grant marked witnessed that nobody bore witness for is not believed. Method: the ask had
 * no voter to name; what waited asks again, elsewhere. */
static void test_client_believes_only_its_own_witness(void **state)
{
    struct node_oracle_client client;
    struct node_oracle_waiter w = {0};
    struct node_oracle_message ask;
    struct node_oracle_message answer;

    (void)state;
    node_oracle_client_init(&client, 1);
    node_oracle_client_set_oracle(&client, ORACLE, TERM);
    submit(&client, &w, NODE_ORACLE_READ);
    ask = expect_ask(&client, 0, TERM - 1);
    answer = grant_of(&ask, TERM);
    answer.witness = true;
    assert_int_equal(node_oracle_client_answered(&client, 0, ORACLE, &answer), FL_BAD_MESSAGE);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL);
    assert_true(node_oracle_client_lacks_oracle(&client));
    node_oracle_client_set_oracle(&client, ORACLE, TERM);
    ask = expect_ask(&client, NODE_ORACLE_RETRY_MS, TERM);
    answer = grant_of(&ask, TERM + 1); /* of a term it did not name */
    assert_int_equal(node_oracle_client_answered(&client, 60, ORACLE, &answer), FL_BAD_MESSAGE);
    expect_event(&client, NODE_ORACLE_NOTHING, NULL);
    node_oracle_client_cancel(&client, &w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_term_of_a_voter),
        cmocka_unit_test(test_two_are_a_quorum),
        cmocka_unit_test(test_only_while_leading_unchanged),
        cmocka_unit_test(test_oracle_begins_no_round),
        cmocka_unit_test(test_oracle_keeps_earlier_rounds),
        cmocka_unit_test(test_oracle_decides_when_it_grants),
        cmocka_unit_test(test_client_bears_witness_for_its_term),
        cmocka_unit_test(test_client_is_confirmed_by_a_grant),
        cmocka_unit_test(test_client_refuses_witnessed_grants_of_the_past),
        cmocka_unit_test(test_client_believes_only_its_own_witness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
