/* The bytes a fuzzer gives, taken one by one; behind the end there are zeros.
 *
 * Owner, lifetime: the caller's bytes. Threads: one. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include "raftgroup/base/bytes.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libFuzzer calls, and the replay of the corpus. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_input {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
    uint8_t value = 0;

    if (in->left > 0) {
        value = *in->at++;
        in->left--;
    }
    return value;
}

static inline unsigned fuzz_below(struct fuzz_input *in, unsigned bound)
{
    return fuzz_u8(in) % bound;
}

static inline uint64_t fuzz_u64(struct fuzz_input *in)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value = value << 8 | fuzz_u8(in);
    }
    return value;
}

/* Stops the process: the fuzzer keeps the input, the replay fails. */
#define fuzz_check(condition)                                                                      \
    ((condition) ? (void)0                                                                         \
                 : ((void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition),  \
                    abort()))

#endif
