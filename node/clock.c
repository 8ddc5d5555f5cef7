/* The three clocks, read by the vDSO without entering the kernel. */
#include "node/clock.h"

#include "raftgroup/base/assert.h"

#include <time.h>

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;

    fl_assert(clock_gettime(id, &now) == 0);
    return now;
}

uint64_t node_clock_ms(void)
{
    struct timespec now = read_clock(CLOCK_BOOTTIME);

    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint64_t node_clock_ns(void)
{
    struct timespec now = read_clock(CLOCK_MONOTONIC);

    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t node_clock_wall_ms(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME);

    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
