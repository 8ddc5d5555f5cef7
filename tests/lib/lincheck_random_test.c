/* Goal: the checkers give the right verdict on histories nobody thought of, and give it quickly on
 * histories as long as a chaos run's.
 * Method: tiny random histories, honest or damaged, against a brute-force oracle that shares
 * nothing with the search; long random histories with unanswered operations, honest and damaged,
 * within a small budget of states. */
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/lib/history.h"
#include "tests/lib/lincheck.h"
#include "tests/lib/random_history.h"
#include "tests/lib/revcheck.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET 1000000

static struct history *parse_plans(const struct random_plan *plans, size_t count)
{
    char error[256] = "";
    struct history *history = random_history_parse(plans, count, error, sizeof(error));

    if (history == NULL) {
        fail_msg("%s", error);
        abort();
    }
    return history;
}

/* Damages one observation of the parsed history: a value becomes another one of its key or absent,
 * a count or an outcome flips. May by chance leave it explainable; the oracle decides. */
static void damage(struct history *history, struct fl_prng *prng)
{
    struct history_op *op = &history->ops[fl_prng_below(prng, history->op_count)];
    struct history_acts *acts = op->succeeded == 0 ? &op->no : &op->yes;

    if (!op->known) {
        return;
    }
    if (op->cmp_count != 0 && fl_prng_below(prng, 2) == 0 && op->kind == HISTORY_CAS) {
        op->succeeded = 1 - op->succeeded;
        return;
    }
    for (size_t i = 0; i < acts->count; i++) {
        struct history_act *act = &acts->items[i];

        if (act->kind == HISTORY_DELETE && act->deleted >= 0) {
            act->deleted = 1 - act->deleted;
        } else if (act->kind == HISTORY_GET && fl_prng_below(prng, 2) == 0) {
            uint32_t version = (uint32_t)fl_prng_below(prng, history->version_count);

            act->version = history->versions[version].key == act->key ? version : HISTORY_ABSENT;
            act->mrev = 0;
        }
    }
}

/* --- the oracle: every order, no shortcuts -----------------------------------------------------
 */

struct oracle {
    const struct history *history;
    bool placed[16];
    uint32_t state[RANDOM_HISTORY_KEYS_MAX];
};

static bool oracle_apply(struct oracle *oracle, const struct history_op *op)
{
    const struct history_acts *acts;
    bool holds = true;

    for (size_t i = 0; i < op->cmp_count; i++) {
        uint32_t now = oracle->state[op->cmps[i].key];

        if (op->cmps[i].equal ? now != op->cmps[i].version
                              : (now == HISTORY_ABSENT || now == op->cmps[i].version)) {
            holds = false;
        }
    }
    if (op->known && holds != (op->succeeded != 0)) {
        return false;
    }
    acts = holds ? &op->yes : &op->no;
    for (size_t i = 0; i < acts->count; i++) {
        const struct history_act *act = &acts->items[i];
        uint32_t *now = &oracle->state[act->key];

        if (op->known && act->kind == HISTORY_GET && *now != act->version) {
            return false;
        }
        if (op->known && act->kind == HISTORY_DELETE && act->deleted >= 0 &&
            (*now != HISTORY_ABSENT) != (act->deleted == 1)) {
            return false;
        }
        if (act->kind == HISTORY_PUT) {
            *now = act->version;
        } else if (act->kind == HISTORY_DELETE) {
            *now = HISTORY_ABSENT;
        }
    }
    return true;
}

static bool oracle_finds_order(struct oracle *oracle)
{
    const struct history *history = oracle->history;
    int64_t first_return = HISTORY_NEVER;
    bool left = false;

    for (size_t i = 0; i < history->op_count; i++) {
        if (!oracle->placed[i] && history->ops[i].ret < first_return) {
            first_return = history->ops[i].ret;
        }
        left = left || (!oracle->placed[i] && history->ops[i].ret != HISTORY_NEVER);
    }
    if (!left) {
        return true;
    }
    for (size_t i = 0; i < history->op_count; i++) {
        struct oracle next = *oracle;

        if (oracle->placed[i] || history->ops[i].call > first_return) {
            continue;
        }
        next.placed[i] = true;
        if (oracle_apply(&next, &history->ops[i]) && oracle_finds_order(&next)) {
            return true;
        }
    }
    return false;
}

static enum lincheck_verdict oracle_verdict(const struct history *history)
{
    struct oracle oracle = {.history = history};

    return oracle_finds_order(&oracle) ? LINCHECK_OK : LINCHECK_BAD;
}

static bool has_open(const struct history *history)
{
    for (size_t i = 0; i < history->op_count; i++) {
        if (!history->ops[i].known) {
            return true;
        }
    }
    return false;
}

static void
print_history(const struct random_plan *plans, size_t count, const struct history *history)
{
    for (size_t i = 0; i < count; i++) {
        const struct history_acts *acts = history_op_branch(&history->ops[i]);

        print_error("%s  => succ %d", plans[i].text, history->ops[i].succeeded);
        for (size_t j = 0; j < acts->count; j++) {
            print_error(" %s:%s/%d",
                        history->keys[acts->items[j].key],
                        history_value(history, acts->items[j].version),
                        acts->items[j].deleted);
        }
        print_error("\n");
    }
}

/* One tiny history, honest or damaged; verdicts must agree. Returns the oracle's. */
static enum lincheck_verdict compare_once(struct fl_prng *prng, uint64_t seed)
{
    struct random_shape shape = {.clients = 2 + (int)fl_prng_below(prng, 3),
                                 .keys = 1 + (int)fl_prng_below(prng, 3),
                                 .per_client = 2 + (int)fl_prng_below(prng, 2),
                                 .open_percent = (int)fl_prng_below(prng, 4) * 20,
                                 .range_percent = 25,
                                 .repeat_values = fl_prng_below(prng, 4) == 0,
                                 .wide_ranges = fl_prng_below(prng, 2) == 0,
                                 .revisions = fl_prng_below(prng, 2) == 0};
    bool damaged = fl_prng_below(prng, 2) == 0;
    struct lincheck_result result;
    struct revcheck_result revisions;
    size_t count;
    struct random_plan *plans;
    struct history *history;
    enum lincheck_verdict expected;

    if (fl_prng_below(prng, 2) == 0) {
        shape.keys += 4; /* so that a range and a txn span two keys */
    }
    plans = random_history(prng, &shape, &count);
    history = parse_plans(plans, count);
    for (int i = 0; damaged && i < 4; i++) {
        damage(history, prng);
    }
    expected = oracle_verdict(history);
    if (lincheck_run(history, BUDGET, &result) != expected) {
        print_history(plans, count, history);
        fail_msg("seed %llu: oracle %d, lincheck %d (%s)",
                 (unsigned long long)seed,
                 expected,
                 result.verdict,
                 result.detail);
    }
    revcheck_run(history, REVCHECK_STRICT, &revisions);
    if (!damaged && (expected != LINCHECK_OK || revisions.verdict == LINCHECK_BAD)) {
        print_history(plans, count, history);
        fail_msg(
            "seed %llu: honest history rejected: %s", (unsigned long long)seed, revisions.detail);
    }
    if (shape.revisions && !shape.repeat_values && !has_open(history) &&
        revisions.verdict == LINCHECK_OK && expected != LINCHECK_OK) {
        print_history(plans, count, history);
        fail_msg("seed %llu: revisions accept a history without an order",
                 (unsigned long long)seed);
    }
    if (!damaged) {
        revcheck_run(history, REVCHECK_VALUES, &revisions);
        if (revisions.verdict == LINCHECK_BAD) {
            print_history(plans, count, history);
            fail_msg("seed %llu: values mode: %s", (unsigned long long)seed, revisions.detail);
        }
    }
    history_destroy(history);
    free(plans);
    return expected;
}

static void test_against_oracle(void **unused)
{
    size_t verdicts[3] = {0};
    const char *more = getenv("LINCHECK_SEEDS");
    uint64_t last = more != NULL ? strtoull(more, NULL, 10) : 20000;

    (void)unused;
    for (uint64_t seed = 1; seed <= last; seed++) {
        struct fl_prng prng;

        fl_prng_seed(&prng, seed);
        verdicts[compare_once(&prng, seed)]++;
    }
    print_message("oracle: %zu good, %zu bad\n", verdicts[LINCHECK_OK], verdicts[LINCHECK_BAD]);
    assert_true(verdicts[LINCHECK_OK] > 4000 && verdicts[LINCHECK_BAD] > 4000);
}

/* An honest history of the shape must be found good by both checkers. */
static void check_honest(const struct random_shape *shape, uint64_t seed)
{
    struct lincheck_result result;
    struct revcheck_result revisions;
    struct fl_prng prng;
    size_t count;
    struct random_plan *plans;
    struct history *history;

    fl_prng_seed(&prng, seed);
    plans = random_history(&prng, shape, &count);
    history = parse_plans(plans, count);
    lincheck_run(history, BUDGET, &result);
    print_message("seed %llu: %zu operations, %zu open, %zu dropped, %zu groups, %llu states\n",
                  (unsigned long long)seed,
                  result.checked,
                  result.unknown,
                  result.dropped,
                  result.groups,
                  (unsigned long long)result.states);
    if (result.verdict != LINCHECK_OK) {
        fail_msg("seed %llu: %d %s", (unsigned long long)seed, result.verdict, result.detail);
    }
    revcheck_run(history, REVCHECK_STRICT, &revisions);
    assert_int_equal(revisions.verdict, shape->revisions ? LINCHECK_OK : LINCHECK_UNDECIDED);
    history_destroy(history);
    free(plans);
}

/* Goal: histories as long as a chaos run's are decided, with and without revisions to follow. */
static void test_long_honest(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct random_shape shape = {.clients = 10,
                                     .keys = 24,
                                     .per_client = 400,
                                     .open_percent = seed % 2 == 0 ? 0 : 3,
                                     .range_percent = 10,
                                     .revisions = seed % 3 != 0};

        check_honest(&shape, seed);
    }
}

/* Goal: so are histories whose ranges connect all keys, with twice the share of unanswered
 * operations a chaos run has; there the search alone gets lost, following the revisions must be
 * enough. */
static void test_long_honest_connected(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct random_shape shape = {.clients = 16,
                                     .keys = 24,
                                     .per_client = 300,
                                     .open_percent = 1 + (int)seed % 2,
                                     .range_percent = 10,
                                     .wide_ranges = true,
                                     .revisions = true};

        check_honest(&shape, seed);
    }
}

/* Replaces the value one answered get saw by one that was overwritten long before it was called.
 * Returns the line, 0 when the history has no such get. */
static size_t make_stale(struct history *history)
{
    for (size_t i = history->op_count / 2; i < history->op_count; i++) {
        struct history_op *op = &history->ops[i];
        struct history_act *act = op->yes.count != 0 ? &op->yes.items[0] : NULL;

        if (op->kind != HISTORY_GET || !op->known || act == NULL ||
            act->version == HISTORY_ABSENT) {
            continue;
        }
        for (size_t j = 0; j < i / 2; j++) {
            const struct history_op *old = &history->ops[j];

            if (old->kind == HISTORY_PUT && old->known && old->yes.items[0].key == act->key &&
                old->ret < op->call - 200 && old->yes.items[0].version != act->version) {
                act->version = old->yes.items[0].version;
                act->mrev = 0;
                return op->line;
            }
        }
    }
    return 0;
}

static void test_long_damaged(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct random_shape shape = {.clients = 8,
                                     .keys = 16,
                                     .per_client = 250,
                                     .open_percent = seed % 2 == 0 ? 0 : 3,
                                     .range_percent = 10,
                                     .revisions = seed % 3 != 0};
        struct lincheck_result result;
        struct revcheck_result revisions;
        struct fl_prng prng;
        size_t count;
        size_t line;
        struct random_plan *plans;
        struct history *history;

        fl_prng_seed(&prng, seed);
        plans = random_history(&prng, &shape, &count);
        history = parse_plans(plans, count);
        line = make_stale(history);
        assert_int_not_equal(line, 0);
        lincheck_run(history, BUDGET, &result);
        print_message("seed %llu: stale line %zu, stuck at %zu, %llu states\n",
                      (unsigned long long)seed,
                      line,
                      result.stuck != NULL ? result.stuck->line : 0,
                      (unsigned long long)result.states);
        assert_int_equal(result.verdict, LINCHECK_BAD);
        if (shape.revisions) {
            assert_int_equal(revcheck_run(history, REVCHECK_STRICT, &revisions), LINCHECK_BAD);
            assert_int_equal(revisions.op->line, line);
        }
        history_destroy(history);
        free(plans);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_oracle),
        cmocka_unit_test(test_long_honest),
        cmocka_unit_test(test_long_honest_connected),
        cmocka_unit_test(test_long_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
