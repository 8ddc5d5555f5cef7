/* Goal: a numbered command has exactly one turn, on every replica alike, also after a checkpoint or
 * a loss of the answers (SE-1); memory is bounded.
 *
 * Method: scenarios per rule; a random stream of headers is decided by two instances, one of which
 * goes through encode and decode, or forgets its answers, at random moments. */
#include "raftgroup/base/prng.h"
#include "shard/result.h"
#include "shard/session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct shard_command numbered(uint64_t node, uint32_t boot, uint64_t seq, uint64_t below)
{
    return (struct shard_command){
        .origin = {node, boot}, .seq = seq, .finished_below = below, .kind = SHARD_COMMAND_PUT};
}

static enum shard_session_verdict
enter(struct shard_sessions *s, struct shard_command command, uint64_t *index)
{
    struct shard_session_answer answer;

    return shard_sessions_enter(s, &command, ++*index, &answer);
}

static void test_one_turn_each(void **state)
{
    struct shard_sessions s;
    struct shard_session_answer answer = {.status = FL_OK, .revision = 7, .plain = 1};
    struct shard_command command = numbered(1, 1, 5, 0);
    uint64_t index = 0;

    (void)state;
    shard_sessions_init(&s);
    assert_int_equal(enter(&s, command, &index), SHARD_SESSION_FRESH);
    shard_sessions_record(&s, &command, &answer);
    answer = (struct shard_session_answer){0};
    assert_int_equal(shard_sessions_enter(&s, &command, ++index, &answer), SHARD_SESSION_DUPLICATE);
    assert_true(answer.status == FL_OK && answer.revision == 7 && answer.plain == 1);
    /* Out of order and by another node: each its own. */
    assert_int_equal(enter(&s, numbered(1, 1, 3, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(2, 1, 5, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(1, 1, 3, 0), &index), SHARD_SESSION_DUPLICATE);
    /* Let in and never recorded: the turn is over, the answer unknown. */
    command = numbered(1, 1, 3, 0);
    assert_int_equal(shard_sessions_enter(&s, &command, ++index, &answer), SHARD_SESSION_DUPLICATE);
    assert_int_equal(answer.status, FL_UNKNOWN);
    assert_int_equal(shard_sessions_records(&s), 3);
    shard_sessions_close(&s);
}

static void test_the_window_moves_up(void **state)
{
    struct shard_sessions s;
    uint64_t index = 0;

    (void)state;
    shard_sessions_init(&s);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        assert_int_equal(enter(&s, numbered(1, 1, seq, 0), &index), SHARD_SESSION_FRESH);
    }
    assert_int_equal(enter(&s, numbered(1, 1, 11, 8), &index), SHARD_SESSION_FRESH);
    assert_int_equal(shard_sessions_records(&s), 4); /* 8 .. 11 */
    assert_int_equal(enter(&s, numbered(1, 1, 7, 0), &index), SHARD_SESSION_STALE);
    assert_int_equal(enter(&s, numbered(1, 1, 8, 0), &index), SHARD_SESSION_DUPLICATE);
    /* Nobody finishes a command by sending it. */
    assert_int_equal(enter(&s, numbered(1, 1, 12, 99), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(1, 1, 12, 99), &index), SHARD_SESSION_DUPLICATE);
    assert_int_equal(enter(&s, numbered(1, 1, 11, 0), &index), SHARD_SESSION_STALE);
    shard_sessions_close(&s);
}

static void test_a_newer_boot_starts_again(void **state)
{
    struct shard_sessions s;
    uint64_t index = 0;

    (void)state;
    shard_sessions_init(&s);
    assert_int_equal(enter(&s, numbered(1, 3, 50, 40), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(1, 4, 1, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(1, 3, 51, 0), &index), SHARD_SESSION_STALE);
    assert_int_equal(enter(&s, numbered(1, 4, 50, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(shard_sessions_records(&s), 2);
    shard_sessions_close(&s);
}

static void test_memory_is_bounded(void **state)
{
    struct shard_sessions s;
    uint64_t index = 0;

    (void)state;
    shard_sessions_init(&s);
    for (uint64_t seq = 1; seq <= SHARD_SESSION_RECORDS_MAX + 5; seq++) {
        assert_int_equal(enter(&s, numbered(1, 1, seq, 0), &index), SHARD_SESSION_FRESH);
    }
    assert_int_equal(shard_sessions_records(&s), SHARD_SESSION_RECORDS_MAX);
    assert_int_equal(enter(&s, numbered(1, 1, 5, 0), &index), SHARD_SESSION_STALE);
    assert_int_equal(enter(&s, numbered(1, 1, 6, 0), &index), SHARD_SESSION_DUPLICATE);
    /* The origin that has been silent longest gives way. */
    for (uint64_t node = 2; node <= SHARD_SESSION_ORIGINS_MAX; node++) {
        assert_int_equal(enter(&s, numbered(node, 1, 1, 0), &index), SHARD_SESSION_FRESH);
    }
    assert_int_equal(enter(&s, numbered(1, 1, 6, 0), &index), SHARD_SESSION_DUPLICATE);
    assert_int_equal(enter(&s, numbered(5000, 1, 1, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(enter(&s, numbered(1, 1, 6, 0), &index), SHARD_SESSION_DUPLICATE);
    assert_int_equal(enter(&s, numbered(3, 1, 1, 0), &index), SHARD_SESSION_DUPLICATE);
    assert_int_equal(enter(&s, numbered(2, 1, 1, 0), &index), SHARD_SESSION_FRESH);
    assert_int_equal(s.count, SHARD_SESSION_ORIGINS_MAX);
    shard_sessions_close(&s);
}

static void test_answers_survive_encoding(void **state)
{
    struct shard_sessions s;
    struct shard_sessions t;
    struct shard_session_answer answers[] = {
        {.status = FL_OK, .revision = 9, .result = shard_result_deleted(9, 2)},
        {.status = FL_KEY_NOT_FOUND, .revision = 9},
        {.status = FL_OK, .revision = 10, .plain = SHARD_RESULT_PUT},
        {.status = FL_IO, .revision = 10}, /* never stored as such */
    };
    struct shard_session_answer got;
    struct fl_writer w;
    uint64_t index = 0;

    (void)state;
    shard_sessions_init(&s);
    shard_sessions_init(&t);
    for (uint64_t i = 0; i < 4; i++) {
        struct shard_command command = numbered(1, 1, 10 + i, 0);

        assert_int_equal(enter(&s, command, &index), SHARD_SESSION_FRESH);
        shard_sessions_record(&s, &command, &answers[i]);
    }
    fl_writer_init(&w);
    shard_sessions_encode(&s, &w);
    assert_int_equal(shard_sessions_decode(&t, fl_writer_bytes(&w)), FL_OK);
    assert_int_equal(t.index, 4);
    for (uint64_t i = 0; i < 4; i++) {
        struct shard_command command = numbered(1, 1, 10 + i, 0);

        assert_int_equal(shard_sessions_enter(&t, &command, ++index, &got),
                         SHARD_SESSION_DUPLICATE);
        assert_int_equal(got.status, i == 3 ? FL_UNKNOWN : answers[i].status);
        assert_int_equal(got.revision, answers[i].revision);
        assert_int_equal(got.plain, answers[i].plain);
        assert_int_equal(got.result != NULL, i == 0);
    }
    fl_buf_release(answers[0].result);
    shard_sessions_close(&s);
    shard_sessions_close(&t);
    for (size_t i = 0; i < w.len; i++) { /* every damaged byte and every cut is noticed */
        w.data[i] ^= 0x10;
        assert_int_not_equal(shard_sessions_decode(&t, fl_writer_bytes(&w)), FL_OK);
        w.data[i] ^= 0x10;
        assert_int_not_equal(shard_sessions_decode(&t, fl_bytes(w.data, i)), FL_OK);
        assert_int_equal(t.count, 0);
    }
    fl_writer_close(&w);
}

/* SE-1: verdicts are a function of the headers alone. */
static void test_lost_answers_change_no_verdict(void **state)
{
    struct shard_sessions whole;
    struct shard_sessions lossy;
    struct fl_prng prng;
    struct fl_writer w;
    uint64_t top[4] = {0};
    uint32_t boot[4] = {0};

    (void)state;
    shard_sessions_init(&whole);
    shard_sessions_init(&lossy);
    fl_writer_init(&w);
    fl_prng_seed(&prng, 6);
    for (uint64_t index = 1; index <= 30000; index++) {
        size_t n = (size_t)fl_prng_below(&prng, 4);
        uint64_t back = fl_prng_below(&prng, 30);
        struct shard_session_answer a = {.status = FL_OK, .plain = 1, .revision = index};
        struct shard_session_answer b;
        struct shard_command command;
        enum shard_session_verdict verdict;

        if (fl_prng_below(&prng, 3000) == 0) {
            boot[n]++;
            top[n] = 0;
        }
        top[n] += fl_prng_below(&prng, 3);
        command = numbered(n + 1,
                           boot[n] - (fl_prng_below(&prng, 50) == 0 && boot[n] > 0 ? 1 : 0),
                           1 + (top[n] > back ? top[n] - back : 0),
                           top[n] > 25 ? top[n] - 25 : 0);
        verdict = shard_sessions_enter(&whole, &command, index, &b);
        if (verdict == SHARD_SESSION_FRESH) {
            shard_sessions_record(&whole, &command, &a);
        }
        assert_int_equal(shard_sessions_enter(&lossy, &command, index, &b), verdict);
        if (verdict == SHARD_SESSION_FRESH && fl_prng_below(&prng, 2) == 0) {
            shard_sessions_record(&lossy, &command, &a);
        }
        if (fl_prng_below(&prng, 500) == 0) {
            fl_writer_reset(&w);
            shard_sessions_encode(&lossy, &w);
            assert_int_equal(shard_sessions_decode(&lossy, fl_writer_bytes(&w)), FL_OK);
        }
        assert_int_equal(shard_sessions_records(&whole), shard_sessions_records(&lossy));
    }
    fl_writer_close(&w);
    shard_sessions_close(&whole);
    shard_sessions_close(&lossy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_turn_each),
        cmocka_unit_test(test_the_window_moves_up),
        cmocka_unit_test(test_a_newer_boot_starts_again),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_answers_survive_encoding),
        cmocka_unit_test(test_lost_answers_change_no_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
