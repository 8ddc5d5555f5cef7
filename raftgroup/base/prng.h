/* Seeded pseudo-random numbers (splitmix64): the same seed gives the same sequence everywhere.
 *
 * Owner: the embedding struct. Lifetime: its. Threads: the owner's only.
 * Not for secrets. */
#ifndef RAFTGROUP_BASE_PRNG_H
#define RAFTGROUP_BASE_PRNG_H

#include <stdint.h>

struct fl_prng {
    uint64_t state;
};

static inline void fl_prng_seed(struct fl_prng *prng, uint64_t seed)
{
    prng->state = seed;
}

/* The next 64 random bits. */
static inline uint64_t fl_prng_next(struct fl_prng *prng)
{
    uint64_t z = (prng->state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [0, bound); 0 for bound 0. The bias of at most bound/2^64 is irrelevant here. */
static inline uint64_t fl_prng_below(struct fl_prng *prng, uint64_t bound)
{
    return bound != 0 ? fl_prng_next(prng) % bound : 0;
}

#endif
