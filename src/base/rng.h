/* Reproducible random numbers. The stream is a pure function of (seed, stream, counter), so a
 * checkpoint holds three integers and results never depend on the number of threads. */
#pragma once

#include <stdint.h>

/* Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). */
typedef struct hn_rng {
    uint64_t seed;
    uint64_t stream;  /* e.g. one a purpose: shuffling, dropout, sampling */
    uint64_t counter; /* of 32-bit numbers drawn */
} hn_rng;

static inline hn_rng hn_rng_new(uint64_t seed, uint64_t stream) {
    return (hn_rng){.seed = seed, .stream = stream};
}
uint32_t hn_rng_u32(hn_rng *rng);
uint64_t hn_rng_u64(hn_rng *rng);
/* Uniform in [0, 1), with 24 bits. */
float hn_rng_float(hn_rng *rng);
/* Uniform in [0, 1), with 53 bits. */
double hn_rng_double(hn_rng *rng);
/* Uniform in [0, bound); bound > 0; unbiased. */
uint64_t hn_rng_below(hn_rng *rng, uint64_t bound);
/* Standard normal. */
double hn_rng_normal(hn_rng *rng);
/* Fisher-Yates over indices[0..n). */
void hn_rng_shuffle(hn_rng *rng, uint32_t *indices, uint32_t n);
