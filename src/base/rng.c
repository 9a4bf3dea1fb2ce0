#include "base/rng.h"

#include <math.h>

/* Constants of Philox-4x32: multipliers and the Weyl sequence that steps the key. */
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

static uint32_t philox_word(uint64_t seed, uint64_t stream, uint64_t counter) {
    uint64_t block = counter / 4;
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c[0], p1 = (uint64_t)PHILOX_M1 * c[2];
        uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                            (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    return c[counter % 4];
}

uint32_t hn_rng_u32(hn_rng *rng) {
    return philox_word(rng->seed, rng->stream, rng->counter++);
}

uint64_t hn_rng_u64(hn_rng *rng) {
    uint64_t high = hn_rng_u32(rng);
    return high << 32 | hn_rng_u32(rng);
}

float hn_rng_float(hn_rng *rng) {
    return (float)(hn_rng_u32(rng) >> 8) * 0x1p-24f;
}

double hn_rng_double(hn_rng *rng) {
    return (double)(hn_rng_u64(rng) >> 11) * 0x1p-53;
}

uint64_t hn_rng_below(hn_rng *rng, uint64_t bound) {
    uint64_t reject_below = -bound % bound; /* 2^64 mod bound */
    uint64_t value;
    do
        value = hn_rng_u64(rng);
    while (value < reject_below);
    return value % bound;
}

double hn_rng_normal(hn_rng *rng) {
    const double two_pi = 6.283185307179586;
    double u = 1.0 - hn_rng_double(rng); /* in (0, 1] so that the logarithm is finite */
    return sqrt(-2.0 * log(u)) * cos(two_pi * hn_rng_double(rng));
}

void hn_rng_shuffle(hn_rng *rng, uint32_t *indices, uint32_t n) {
    for (uint32_t i = n; i > 1; i--) {
        uint32_t j = (uint32_t)hn_rng_below(rng, i);
        uint32_t swap = indices[i - 1];
        indices[i - 1] = indices[j];
        indices[j] = swap;
    }
}
