/* Log-linear histogram. See histogram.h.
 *
 * slot of v:   v < 64        v
 *              else          s = floor(log2 v) - 6;  64 * s + (v >> s)
 * so slot 64*s + m (64 <= m < 128) holds [m << s, (m + 1) << s). */
#include "tests/lib/histogram.h"

#include <assert.h>

#define STEPS (1U << HISTOGRAM_STEP_BITS)

static_assert(HISTOGRAM_SLOTS == (63 - HISTOGRAM_STEP_BITS) * 64 + 2 * 64,
              "the largest value falls into the last slot");

static unsigned slot_of(uint64_t value)
{
    unsigned shift;

    if (value < STEPS) {
        return (unsigned)value;
    }
    shift = 63U - (unsigned)__builtin_clzll(value) - HISTOGRAM_STEP_BITS;
    return shift * STEPS + (unsigned)(value >> shift);
}

static uint64_t slot_end(unsigned slot)
{
    unsigned shift = slot < 2 * STEPS ? 0 : slot / STEPS - 1;

    return ((uint64_t)(slot - shift * STEPS) << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->slots[slot_of(value)]++;
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max) {
        histogram->max = value;
    }
}

void histogram_merge(struct histogram *histogram, const struct histogram *from)
{
    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
        histogram->slots[i] += from->slots[i];
    }
    histogram->count += from->count;
    histogram->sum += from->sum;
    if (from->max > histogram->max) {
        histogram->max = from->max;
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->count);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_SLOTS; i++) {
        seen += histogram->slots[i];
        if (histogram->slots[i] != 0 && (seen > wanted || seen == histogram->count)) {
            return slot_end(i) < histogram->max ? slot_end(i) : histogram->max;
        }
    }
    return 0;
}

double histogram_mean(const struct histogram *histogram)
{
    return histogram->count != 0 ? (double)histogram->sum / (double)histogram->count : 0.0;
}
