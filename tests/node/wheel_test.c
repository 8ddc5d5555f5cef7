/* Goal: the wheel gives every timer out once, not before its deadline and not after the first pop
 * at or past it, and its next time never lies beyond the earliest deadline.
 * Method: small cases by hand, then seeded random operations against an array of deadlines, with
 * distances from one millisecond to the far end of the 64-bit scale. */
#include "node/loop.h"
#include "node/wheel.h"
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_empty(void **state)
{
    struct node_wheel wheel;

    (void)state;
    node_wheel_init(&wheel, 1000);
    assert_true(node_wheel_next(&wheel) == NODE_NEVER);
    assert_null(node_wheel_pop(&wheel, 5000));
    assert_int_equal(wheel.count, 0);
}

static void test_one_timer(void **state)
{
    struct node_wheel wheel;
    struct node_timer timer;

    (void)state;
    node_wheel_init(&wheel, 1000);
    node_timer_init(&timer);
    assert_false(node_timer_is_set(&timer));
    node_wheel_set(&wheel, &timer, 1010);
    assert_true(node_timer_is_set(&timer));
    assert_int_equal(node_wheel_next(&wheel), 1010);
    assert_null(node_wheel_pop(&wheel, 1009));
    assert_ptr_equal(node_wheel_pop(&wheel, 1010), &timer);
    assert_false(node_timer_is_set(&timer));
    assert_null(node_wheel_pop(&wheel, 1010));
    assert_true(node_wheel_next(&wheel) == NODE_NEVER);
}

static void test_past_is_due_at_once(void **state)
{
    struct node_wheel wheel;
    struct node_timer timer;

    (void)state;
    node_wheel_init(&wheel, 1000);
    node_timer_init(&timer);
    node_wheel_set(&wheel, &timer, 3);
    assert_int_equal(node_wheel_next(&wheel), 1000);
    /* Moved away while it is due. */
    node_wheel_set(&wheel, &timer, 1001);
    assert_null(node_wheel_pop(&wheel, 1000));
    node_wheel_set(&wheel, &timer, 1000);
    /* Time that seems to go back changes nothing. */
    assert_ptr_equal(node_wheel_pop(&wheel, 7), &timer);
    assert_int_equal(wheel.now_ms, 1000);
}

static void test_cancel(void **state)
{
    struct node_wheel wheel;
    struct node_timer a;
    struct node_timer b;

    (void)state;
    node_wheel_init(&wheel, 0);
    node_timer_init(&a);
    node_timer_init(&b);
    node_wheel_cancel(&wheel, &a);
    node_wheel_set(&wheel, &a, 500);
    node_wheel_set(&wheel, &b, 500);
    node_wheel_cancel(&wheel, &a);
    assert_int_equal(wheel.count, 1);
    node_wheel_set(&wheel, &b, NODE_NEVER);
    assert_int_equal(wheel.count, 0);
    assert_true(node_wheel_next(&wheel) == NODE_NEVER);
    /* Cancelled while due: another due timer's pop may do that. */
    node_wheel_set(&wheel, &a, 10);
    node_wheel_set(&wheel, &b, 10);
    assert_ptr_equal(node_wheel_pop(&wheel, 20), &a);
    node_wheel_cancel(&wheel, &b);
    assert_null(node_wheel_pop(&wheel, 20));
}

/* A loop that sleeps until node_wheel_next meets a timer at its exact millisecond and wakes in vain
 * at most once per level above the lowest. */
static void test_wakes_are_few(void **state)
{
    static const uint64_t distances[] = {
        1, 63, 64, 65, 1500, 4096, 10000, 600000, UINT64_C(1) << 40};

    (void)state;
    for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
        for (uint64_t start = 4090; start < 4100; start++) {
            struct node_wheel wheel;
            struct node_timer timer;
            unsigned vain = 0;

            node_wheel_init(&wheel, start);
            node_timer_init(&timer);
            node_wheel_set(&wheel, &timer, start + distances[i]);
            while (node_wheel_pop(&wheel, node_wheel_next(&wheel)) == NULL) {
                vain++;
                assert_true(vain < NODE_WHEEL_LEVELS);
            }
            assert_int_equal(wheel.now_ms, start + distances[i]);
            if (distances[i] < 64) {
                assert_true(vain <= 1);
            }
        }
    }
}

enum { TIMERS = 300, STEPS = 60000 };

static uint64_t random_distance(struct fl_prng *prng)
{
    /* Every order of magnitude equally often, the short ones being what groups use. */
    return fl_prng_next(prng) >> (fl_prng_below(prng, 4) == 0 ? fl_prng_below(prng, 64) : 52);
}

static uint64_t earliest(const uint64_t *deadlines)
{
    uint64_t first = NODE_NEVER;

    for (int i = 0; i < TIMERS; i++) {
        first = deadlines[i] < first ? deadlines[i] : first;
    }
    return first;
}

static void
pop_all(struct node_wheel *wheel, struct node_timer *timers, uint64_t *deadlines, uint64_t now)
{
    struct node_timer *timer;

    while ((timer = node_wheel_pop(wheel, now)) != NULL) {
        size_t i = (size_t)(timer - timers);

        assert_true(deadlines[i] <= now);
        deadlines[i] = NODE_NEVER;
    }
    assert_true(earliest(deadlines) > now);
}

static void random_run(uint64_t seed)
{
    struct node_wheel wheel;
    struct node_timer timers[TIMERS];
    uint64_t deadlines[TIMERS];
    struct fl_prng prng;
    uint64_t now = 1000000;

    fl_prng_seed(&prng, seed);
    node_wheel_init(&wheel, now);
    for (int i = 0; i < TIMERS; i++) {
        node_timer_init(&timers[i]);
        deadlines[i] = NODE_NEVER;
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t i = fl_prng_below(&prng, TIMERS);
        uint64_t distance = random_distance(&prng);

        switch (fl_prng_below(&prng, 8)) {
        case 0:
            node_wheel_cancel(&wheel, &timers[i]);
            deadlines[i] = NODE_NEVER;
            break;
        case 1:
            now = distance > UINT64_MAX / 2 - now || distance > 100000 ? now + 1 : now + distance;
            pop_all(&wheel, timers, deadlines, now);
            break;
        case 2:
            if (earliest(deadlines) != NODE_NEVER && earliest(deadlines) < now + 1000000) {
                now = node_wheel_next(&wheel);
                pop_all(&wheel, timers, deadlines, now);
            }
            break;
        default:
            deadlines[i] = distance > UINT64_MAX - now - 1 ? UINT64_MAX - 1 : now + distance;
            node_wheel_set(&wheel, &timers[i], deadlines[i]);
            break;
        }
        assert_true(node_wheel_next(&wheel) <= earliest(deadlines));
        if (earliest(deadlines) == NODE_NEVER) {
            assert_true(node_wheel_next(&wheel) == NODE_NEVER);
        }
    }
    /* Jump to the end: everything comes out, once. */
    pop_all(&wheel, timers, deadlines, UINT64_MAX - 1);
    assert_int_equal(wheel.count, 0);
}

static void test_random(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        random_run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_one_timer),
        cmocka_unit_test(test_past_is_due_at_once),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_wakes_are_few),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
