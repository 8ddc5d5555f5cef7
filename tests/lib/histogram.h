/* Latency histogram: 64 linear steps per power of two, so a quantile is at most 1.6 % off.
 *
 * Owner: the embedding struct; zeroed memory is an empty histogram. Lifetime: its.
 * Threads: the owner's only. */
#ifndef TESTS_LIB_HISTOGRAM_H
#define TESTS_LIB_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 6
#define HISTOGRAM_SLOTS     ((64 - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t slots[HISTOGRAM_SLOTS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

/* Adds one value. */
void histogram_add(struct histogram *histogram, uint64_t value);

/* Adds all values of `from`. */
void histogram_merge(struct histogram *histogram, const struct histogram *from);

/* Upper edge of the slot that holds the given share (0 to 1) of the values, never above the largest
 * value; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

/* Mean of the values; 0 when empty. */
double histogram_mean(const struct histogram *histogram);

#endif
