/* Goal: quantiles are right within a slot's width, over the whole range of values.
 * Method: compare with sorted values of several distributions; check the edges of the slots. */
#include "raftgroup/base/alloc.h"
#include "raftgroup/base/prng.h"
#include "tests/lib/histogram.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

static void check_quantiles(unsigned bits)
{
    static const double shares[] = {0.0, 0.5, 0.9, 0.99, 0.999, 1.0};
    enum { COUNT = 20000 };
    struct histogram *histogram = fl_xcalloc(1, sizeof(*histogram));
    uint64_t *values = fl_xcalloc(COUNT, sizeof(*values));
    struct fl_prng prng;

    fl_prng_seed(&prng, bits);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = fl_prng_next(&prng) >> (64 - bits) >> fl_prng_below(&prng, bits);
        histogram_add(histogram, values[i]);
    }
    qsort(values, COUNT, sizeof(*values), by_value);
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        size_t rank = (size_t)(shares[i] * COUNT);
        uint64_t exact = values[rank < COUNT ? rank : COUNT - 1];
        uint64_t got = histogram_quantile(histogram, shares[i]);

        assert_true(got >= exact);
        assert_true(got - exact <= exact / 64 + 1);
    }
    assert_int_equal(histogram->max, values[COUNT - 1]);
    free(values);
    free(histogram);
}

static void test_quantiles(void **unused)
{
    (void)unused;
    for (unsigned bits = 1; bits < 64; bits++) {
        check_quantiles(bits);
    }
}

static void test_extremes(void **unused)
{
    struct histogram *histogram = fl_xcalloc(1, sizeof(*histogram));
    struct histogram *sum = fl_xcalloc(1, sizeof(*sum));

    (void)unused;
    assert_int_equal(histogram_quantile(histogram, 0.5), 0);
    histogram_add(histogram, UINT64_MAX);
    assert_int_equal(histogram_quantile(histogram, 0.5), UINT64_MAX);
    histogram_add(sum, 0);
    histogram_merge(sum, histogram);
    assert_int_equal(sum->count, 2);
    assert_int_equal(histogram_quantile(sum, 0.0), 0);
    assert_int_equal(histogram_quantile(sum, 1.0), UINT64_MAX);
    free(histogram);
    free(sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_extremes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
