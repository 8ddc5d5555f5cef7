/* Goal: held bells ring once each, in order, when they are rung or released and never later than
 * that; without a hold they ring at once.
 *
 * Method: consumers that write their letter down. */
#include "node/bell.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static char rung[64];
static char letters[][2] = {"a", "b", "c", "d"};

static void ring(void *consumer)
{
    strcat(rung, consumer);
}

static int clear(void **state)
{
    (void)state;
    rung[0] = '\0';
    return 0;
}

/* Goal: nobody waits for a bell that nobody holds. */
static void test_not_held(void **state)
{
    (void)state;
    node_bell(ring, letters[0]);
    assert_string_equal(rung, "a");
}

/* Goal: release rings what was held, in order; a nested release does not. */
static void test_release(void **state)
{
    (void)state;
    node_bells_hold();
    node_bell(ring, letters[0]);
    node_bells_hold();
    node_bell(ring, letters[1]);
    node_bells_release();
    assert_string_equal(rung, "");
    node_bell(ring, letters[2]);
    node_bells_release();
    assert_string_equal(rung, "abc");
    node_bell(ring, letters[3]);
    assert_string_equal(rung, "abcd");
}

/* Goal: ringing between two turns keeps holding, and rings nothing twice. */
static void test_ring_and_hold_on(void **state)
{
    (void)state;
    node_bells_hold();
    node_bell(ring, letters[0]);
    node_bells_ring();
    assert_string_equal(rung, "a");
    node_bell(ring, letters[1]);
    assert_string_equal(rung, "a");
    node_bells_ring();
    node_bells_ring();
    assert_string_equal(rung, "ab");
    node_bells_release();
    assert_string_equal(rung, "ab");
}

/* Goal: more consumers than are remembered are woken too, none of them late. */
static void test_many(void **state)
{
    (void)state;
    node_bells_hold();
    for (unsigned i = 0; i < 30; i++) {
        node_bell(ring, letters[0]);
    }
    node_bells_release();
    assert_int_equal(strlen(rung), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_not_held, clear),
        cmocka_unit_test_setup(test_release, clear),
        cmocka_unit_test_setup(test_ring_and_hold_on, clear),
        cmocka_unit_test_setup(test_many, clear),
    };

    return cmocka_run_group_tests_name("bell", tests, NULL, NULL);
}
