/* Buffers, inputs and comparisons of the kernels' checks. */
#include "base/mem.h"
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD_BYTES = 64, GUARD_VALUE = 0xa5, MAX_BUFFERS = 16 };

hn_rng g_rng;
const hn_kernels *g_ref, *g_level;
const char *g_level_name;
int g_failures, g_checks;

/* Buffers of one check, all with guards; freed and looked at by end_case. */
static struct {
    unsigned char *base;
    size_t bytes, total;
} g_buffers[MAX_BUFFERS];
static int g_n_buffers;

void *buffer(size_t bytes, size_t shift) {
    size_t total = bytes + 3 * GUARD_BYTES;
    unsigned char *base = hn_alloc_aligned(total);
    if (!base || g_n_buffers == MAX_BUFFERS)
        exit(2);
    memset(base, GUARD_VALUE, total);
    g_buffers[g_n_buffers].base = base;
    g_buffers[g_n_buffers].bytes = bytes + shift;
    g_buffers[g_n_buffers++].total = total;
    return base + GUARD_BYTES + shift;
}

void fail(const char *kernel, const char *detail) {
    g_failures++;
    printf("FAILED %s %s: %s\n", g_level_name, kernel, detail);
}

static bool guards_are_whole(int i) {
    const unsigned char *base = g_buffers[i].base;
    for (size_t at = 0; at < g_buffers[i].total; at++)
        if ((at < GUARD_BYTES || at >= GUARD_BYTES + g_buffers[i].bytes) && base[at] != GUARD_VALUE)
            return false;
    return true;
}

static bool g_outside; /* a buffer of this case was written around */

void drop_last(void) {
    const int i = --g_n_buffers;
    if (!guards_are_whole(i))
        g_outside = true;
    hn_free_aligned(g_buffers[i].base, g_buffers[i].total);
}

void end_case(const char *kernel) {
    g_checks++;
    while (g_n_buffers > 0)
        drop_last();
    if (g_outside)
        fail(kernel, "wrote outside its output");
    g_outside = false;
}

float *floats(int64_t n, float scale, size_t shift) {
    float *x = buffer((size_t)n * sizeof *x, shift);
    for (int64_t i = 0; i < n; i++)
        x[i] = scale * (2 * hn_rng_float(&g_rng) - 1);
    return x;
}

void spoil(float *x, int64_t n) {
    static const float BAD[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (int64_t i = (int64_t)hn_rng_below(&g_rng, 37); i < n; i += 37)
        x[i] = BAD[hn_rng_below(&g_rng, 4)];
}

float *copy_of(const float *x, int64_t n) {
    float *y = buffer((size_t)n * sizeof *y, 0);
    return memcpy(y, x, (size_t)n * sizeof *y);
}

void same_bits(const char *kernel, const void *got, const void *expected, size_t bytes,
               const char *detail) {
    if (memcmp(got, expected, bytes) != 0)
        fail(kernel, detail);
}

void same_floats(const char *kernel, const float *got, const float *expected, int64_t n,
                 const char *detail) {
    for (int64_t i = 0; i < n; i++)
        if (memcmp(got + i, expected + i, sizeof *got) != 0 &&
            !(isnan(got[i]) && isnan(expected[i]))) {
            fail(kernel, detail);
            return;
        }
}

void close_to(const char *kernel, const float *got, const float *expected, int64_t n,
              float relative, float absolute) {
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(expected[i])
                ? fabsf(got[i] - expected[i]) <= relative * fabsf(expected[i]) + absolute
                : got[i] == expected[i] || (isnan(got[i]) && isnan(expected[i])))
            continue;
        char detail[96];
        snprintf(detail, sizeof detail, "value %lld is %.9g instead of %.9g", (long long)i,
                 (double)got[i], (double)expected[i]);
        fail(kernel, detail);
        return;
    }
}

static uint8_t unit_byte(fill how) {
    return how == FILL_RANDOM ? (uint8_t)hn_rng_u32(&g_rng) : how != FILL_ZEROS ? 0xff : 0;
}

/* f16; the K types' factors beside them are bytes like all others, but for the largest scales. */
static void fill_scales(hn_layout l, uint8_t *unit, fill how) {
    const int factors = l.scale_bytes == 1 ? l.sub_blocks * HN_UNIT_ROWS : 0;
    const int n = factors ? HN_UNIT_ROWS : l.sub_blocks * HN_UNIT_ROWS;
    for (int which = 0; which <= l.has_min; which++, unit += hn_layout_scales_bytes(l)) {
        for (int i = 0; i < n; i++) {
            uint16_t half = hn_f32_to_f16(hn_rng_float(&g_rng) - 0.5f);
            if (how == FILL_HUGE)
                half = hn_f32_to_f16(i % 2 ? 65504.0f : -65504.0f);
            memcpy(unit + (size_t)i * sizeof half, &half, sizeof half);
        }
        if (how == FILL_HUGE)
            memset(unit + HN_UNIT_FACTORS, INT8_MAX, (size_t)factors);
    }
}

uint8_t *units(hn_dtype dtype, int64_t n, fill how) {
    const hn_layout l = HN_LAYOUTS[dtype];
    const size_t bytes = hn_layout_unit_bytes(l);
    uint8_t *data = buffer(bytes * (size_t)n, 0);
    for (int64_t u = 0; u < n; u++) {
        uint8_t *unit = data + (size_t)u * bytes;
        if (l.sub_blocks == 0) {
            for (size_t i = 0; i < bytes; i += l.code_bits / 8) {
                float value = hn_rng_float(&g_rng) - 0.5f;
                uint16_t half = dtype == HN_F16 ? hn_f32_to_f16(value) : hn_f32_to_bf16(value);
                memcpy(unit + i, dtype == HN_F32 ? (void *)&value : (void *)&half, l.code_bits / 8);
            }
            continue;
        }
        for (size_t i = 0; i < bytes; i++)
            unit[i] = unit_byte(how);
        fill_scales(l, unit, how);
    }
    return data;
}

hn_act_block *activations(int64_t m, int64_t blocks, row_kind how) {
    hn_act_block *acts = buffer((size_t)(m * blocks) * sizeof *acts, 0);
    for (int64_t i = 0; i < m; i++) {
        float *x = floats(blocks * 32, 1, 0);
        for (int64_t j = 0; how == ROWS_EXTREME && j < blocks * 32; j++)
            x[j] = i % 2 ? 1.0f : -1.0f;
        if (how == ROWS_SPOILT && i % 2)
            spoil(x, blocks * 32);
        g_ref->round_i8(blocks * 32, x, acts + i * blocks);
        drop_last();
    }
    return acts;
}
