/* Time: durations that go on while the machine sleeps, fine stamps, and wall time.
 *
 * Owner: nobody. Lifetime: none. Threads: any.
 *
 * Only the node floor reads a clock; the floors below get time as an argument. */
#ifndef NODE_CLOCK_H
#define NODE_CLOCK_H

#include <stdint.h>

/* Milliseconds on CLOCK_BOOTTIME: every deadline and lease of the node is on this scale. Never goes
 * back, counts suspended time (a lease must not survive a suspend). About 20 ns (vDSO). */
uint64_t node_clock_ms(void);
/* Nanoseconds on CLOCK_MONOTONIC, for measuring latencies; not comparable with node_clock_ms. */
uint64_t node_clock_ns(void);
/* Milliseconds since 1970, for people and for replicated time stamps; may jump. */
uint64_t node_clock_wall_ms(void);

#endif
