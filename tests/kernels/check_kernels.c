/* Every kernel of every level against the scalar reference (after dav1d's checkasm): random and
 * extreme inputs, odd sizes, guard bytes round every output. `--bench` times them instead.
 *
 * The checks stand in tables made from kernels.h's lists: a kernel without a check doesn't compile.
 * A level that this machine lacks is emulated with SIMDe where the build has it, and otherwise
 * reported as skipped. */
#include "base/cpu.h"
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef HN_EMULATED_LEVELS
void hn_k_i8_init_avxvnni_emulated(hn_kernels *table);
void hn_k_i8_init_avx512vnni_emulated(hn_kernels *table);
void hn_k_f32_init_avx512_emulated(hn_kernels *table);
#endif

enum { GUARD_BYTES = 64, GUARD_VALUE = 0xa5, MAX_BUFFERS = 16 };

static hn_rng g_rng;
static const hn_kernels *g_ref, *g_level; /* under test */
static const char *g_level_name;
static int g_failures, g_checks;

/* Buffers of one check, all with guards; freed and looked at by end_case. */
static struct {
    unsigned char *base;
    size_t bytes, total;
} g_buffers[MAX_BUFFERS];
static int g_n_buffers;

/* 64-byte aligned plus `shift` bytes. */
static void *buffer(size_t bytes, size_t shift) {
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

static void fail(const char *kernel, const char *detail) {
    g_failures++;
    printf("FAILED %s %s: %s\n", g_level_name, kernel, detail);
}

static void end_case(const char *kernel) {
    g_checks++;
    for (int i = 0; i < g_n_buffers; i++) {
        const unsigned char *base = g_buffers[i].base;
        bool whole = true;
        for (size_t at = 0; at < g_buffers[i].total; at++)
            if (at < GUARD_BYTES || at >= GUARD_BYTES + g_buffers[i].bytes)
                whole = whole && base[at] == GUARD_VALUE;
        if (!whole)
            fail(kernel, "wrote outside its output");
        hn_free_aligned(g_buffers[i].base, g_buffers[i].total);
    }
    g_n_buffers = 0;
}

static float *floats(int64_t n, float scale, size_t shift) {
    float *x = buffer((size_t)n * sizeof *x, shift);
    for (int64_t i = 0; i < n; i++)
        x[i] = scale * (2 * hn_rng_float(&g_rng) - 1);
    return x;
}

static float *copy_of(const float *x, int64_t n) {
    float *y = buffer((size_t)n * sizeof *y, 0);
    return memcpy(y, x, (size_t)n * sizeof *y);
}

static void same_bits(const char *kernel, const void *got, const void *expected, size_t bytes,
                      const char *detail) {
    if (memcmp(got, expected, bytes) != 0)
        fail(kernel, detail);
}

static void close_to(const char *kernel, const float *got, const float *expected, int64_t n,
                     float relative, float absolute) {
    for (int64_t i = 0; i < n; i++) {
        if (fabsf(got[i] - expected[i]) <= relative * fabsf(expected[i]) + absolute)
            continue;
        char detail[96];
        snprintf(detail, sizeof detail, "value %lld is %.9g instead of %.9g", (long long)i,
                 (double)got[i], (double)expected[i]);
        fail(kernel, detail);
        return;
    }
}

/* What a unit is filled with. */
typedef enum fill { FILL_RANDOM, FILL_ZEROS, FILL_ONES, FILL_COUNT } fill;

static uint8_t unit_byte(hn_dtype dtype, fill how) {
    uint8_t byte = how == FILL_RANDOM ? (uint8_t)hn_rng_u32(&g_rng) : how == FILL_ONES ? 0xff : 0;
    return dtype == HN_Q6_K ? byte & 63 : byte; /* its codes have 6 bits in a byte */
}

static void fill_scales(hn_layout l, uint8_t *unit) {
    size_t n = hn_layout_high_offset(l) / l.scale_bytes;
    for (size_t i = 0; i < n; i++) {
        uint16_t half = hn_f32_to_f16(hn_rng_float(&g_rng) - 0.5f);
        /* As in the K types: an f16 times a small integer. */
        float value = hn_f16_to_f32(half) * (float)hn_rng_below(&g_rng, 64);
        memcpy(unit + i * l.scale_bytes, l.scale_bytes == 2 ? (void *)&half : (void *)&value,
               l.scale_bytes);
    }
}

/* n units of random, all-zero or all-one codes with random scales. */
static uint8_t *units(hn_dtype dtype, int64_t n, fill how) {
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
            unit[i] = unit_byte(dtype, how);
        fill_scales(l, unit);
    }
    return data;
}

static void check_gemm_f32(void) {
    static const int SIZES[][3] = {{1, 16, 1},  {1, 64, 33},  {2, 40, 20},  {3, 33, 7},
                                   {5, 16, 64}, {6, 17, 256}, {25, 50, 12}, {12, 32, 100},
                                   {7, 3, 5},   {13, 130, 9}};
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++) {
        for (int variant = 0; variant < 6; variant++) {
            int m = SIZES[s][0], width = SIZES[s][1], k = SIZES[s][2], panels = (width + 15) / 16;
            bool transposed = variant & 1;
            float beta = variant / 2 * 0.5f, alpha = variant == 3 ? -1.5f : 1;
            int64_t a_row = transposed ? 1 : k + 3, a_k = transposed ? m + 3 : 1;
            int64_t b_panel = 16 * (k + 1), c_stride = width + 5;
            float *a = floats((int64_t)(transposed ? k : m) * (transposed ? a_k : a_row), 1, 4);
            float *b = floats(panels * b_panel, 1, 0), *c = floats(m * c_stride, 1, 4);
            float *expected = copy_of(c, m * c_stride);
            g_ref->gemm_f32(m, width, k, a, a_row, a_k, b, b_panel, expected, c_stride, alpha,
                            beta);
            g_level->gemm_f32(m, width, k, a, a_row, a_k, b, b_panel, c, c_stride, alpha, beta);
            same_bits("gemm_f32", c, expected, (size_t)(m * c_stride) * sizeof *c,
                      "other bits than the chain of fused multiply-adds");
            end_case("gemm_f32");
        }
    }
}

static void check_panels(const char *name, bool transposed, hn_k_panel_copy_fn *ref,
                         hn_k_panel_copy_fn *level) {
    static const int KS[] = {1, 7, 8, 31, 64}, WIDTHS[] = {1, 9, 16, 40};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++) {
            int64_t k = KS[i], width = WIDTHS[j], stride = (transposed ? k : width) + 3;
            float *src = floats((transposed ? width : k) * stride, 1, 4);
            float *out = floats(k * 16, 1, 0), *expected = copy_of(out, k * 16);
            ref(k, width, src, stride, expected);
            level(k, width, src, stride, out);
            same_bits(name, out, expected, (size_t)(k * 16) * sizeof *out, "other values");
            end_case(name);
        }
}

static void check_panel_copy(void) {
    check_panels("panel_copy", false, g_ref->panel_copy, g_level->panel_copy);
}

static void check_panel_transpose(void) {
    check_panels("panel_transpose", true, g_ref->panel_transpose, g_level->panel_transpose);
}

static const int LENGTHS[] = {1, 7, 8, 31, 32, 33, 64, 172, 576, 1000};
enum { N_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS };

static void check_rms_norm(void) {
    for (int i = 0; i < N_LENGTHS; i++) {
        int n = LENGTHS[i];
        float *x = floats(n, i % 2 ? 1e6f : 1, 4), *w = floats(n, 1, 4), *out = floats(n, 1, 4);
        float *expected = copy_of(out, n);
        g_ref->rms_norm(n, x, w, 1e-5f, expected);
        g_level->rms_norm(n, x, w, 1e-5f, out);
        close_to("rms_norm", out, expected, n, 5e-7f, 0);
        g_level->rms_norm(n, x, w, 1e-5f, x); /* in place */
        same_bits("rms_norm", x, out, (size_t)n * sizeof *x, "in place gives other bits");
        end_case("rms_norm");
    }
}

static void check_round_i8(void) {
    static const float SCALES[] = {1, 0, 1e-30f, 1e-41f, 3e37f};
    for (int i = 0; i < N_LENGTHS; i++)
        for (int s = 0; s < 5; s++) {
            int n = LENGTHS[i];
            int64_t blocks = hn_layout_units(n) * HN_UNIT_BLOCKS;
            float *x = floats(n, SCALES[s], 4);
            hn_act_block *out = buffer((size_t)blocks * sizeof *out, 0);
            hn_act_block *expected = buffer((size_t)blocks * sizeof *out, 0);
            g_ref->round_i8(n, x, expected);
            g_level->round_i8(n, x, out);
            same_bits("round_i8", out, expected, (size_t)blocks * sizeof *out, "other blocks");
            end_case("round_i8");
        }
}

static void check_peak(const char *name, int64_t (*peak)(int64_t n)) {
    static const int64_t STEPS[] = {0, 1, 7, 8191, 8192, 20001};
    const int64_t step = peak(1);
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++)
        if (step <= 0 || peak(STEPS[i]) != STEPS[i] * step)
            fail(name, "the sum isn't the number of products");
    end_case(name);
}

static void check_peak_f32(void) {
    check_peak("peak_f32", g_level->peak_f32);
}

static void check_peak_i8(void) {
    check_peak("peak_i8", g_level->peak_i8);
}

static void check_unpack_f32(hn_dtype dtype) {
    for (int how = 0; how < FILL_COUNT; how++) {
        uint8_t *w = units(dtype, 3, (fill)how);
        float *out = floats(3 * 1024, 1, 0), *expected = copy_of(out, 3 * 1024);
        g_ref->unpack_f32[dtype](w, 3, expected);
        g_level->unpack_f32[dtype](w, 3, out);
        close_to("unpack_f32", out, expected, 3 * 1024, 0, 0);
        end_case("unpack_f32");
    }
}

static void check_unpack_f32_t(hn_dtype dtype) {
    for (int how = 0; how < FILL_COUNT; how++)
        for (int block = 0; block < 2; block++) {
            uint8_t *w = units(dtype, 1, (fill)how);
            float *out = floats(600, 1, 0), *expected = copy_of(out, 600);
            g_ref->unpack_f32_t[dtype](w, block, expected, 320);
            g_level->unpack_f32_t[dtype](w, block, out, 320);
            close_to("unpack_f32_t", out, expected, 600, 0, 0);
            end_case("unpack_f32_t");
        }
}

/* Rounded activations; with `extreme`, all of them +-127. */
static hn_act_block *activations(int64_t m, int64_t blocks, bool extreme) {
    hn_act_block *acts = buffer((size_t)(m * blocks) * sizeof *acts, 0);
    for (int64_t i = 0; i < m; i++) {
        float *x = floats(blocks * 32, 1, 0);
        for (int64_t j = 0; extreme && j < blocks * 32; j++)
            x[j] = i % 2 ? 1.0f : -1.0f;
        g_ref->round_i8(blocks * 32, x, acts + i * blocks);
        g_n_buffers--; /* only a source: given back here, without a look at its guards */
        hn_free_aligned(g_buffers[g_n_buffers].base, g_buffers[g_n_buffers].total);
    }
    return acts;
}

static void check_gemm_i8(hn_dtype dtype) {
    if (!g_ref->gemm_i8[dtype])
        return;
    static const int SIZES[][3] = {{1, 16, 1}, {1, 37, 3},  {2, 16, 2},  {3, 5, 1},
                                   {8, 48, 2}, {13, 31, 1}, {100, 16, 1}};
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++)
        for (int how = 0; how < 2 * FILL_COUNT; how++) {
            int64_t m = SIZES[s][0], width = SIZES[s][1], n_units = SIZES[s][2];
            int64_t groups = (width + 15) / 16, stride = width + 3;
            uint8_t *w = units(dtype, groups * n_units, (fill)(how / 2));
            hn_act_block *x = activations(m, n_units * 2, how % 2);
            float *y = floats(m * stride, 1, 4), *expected = copy_of(y, m * stride);
            bool add = hn_rng_u32(&g_rng) & 1;
            g_ref->gemm_i8[dtype](m, width, n_units, w, x, n_units * 2, expected, stride, add);
            g_level->gemm_i8[dtype](m, width, n_units, w, x, n_units * 2, y, stride, add);
            char detail[64];
            snprintf(detail, sizeof detail, "%s, %lld rows: other bits", hn_dtype_name(dtype),
                     (long long)m);
            same_bits("gemm_i8", y, expected, (size_t)(m * stride) * sizeof *y, detail);
            end_case("gemm_i8");
        }
}

static void check_all(void) {
#define X(ret, name, args) check_##name();
    HN_KERNEL_LIST(X)
#undef X
    for (int t = 0; t < HN_DTYPE_COUNT; t++) {
#define X(ret, name, args)                                                                         \
    if (g_level->name[t])                                                                          \
        check_##name((hn_dtype)t);
        HN_KERNEL_DTYPE_LIST(X)
#undef X
    }
}

/* ---- timing ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Nanoseconds of the fastest of many runs of `call`. */
#define TIME(best, call)                                                                           \
    do {                                                                                           \
        best = 1e9;                                                                                \
        for (double begin_ = now(); now() - begin_ < 0.05;) {                                      \
            double t_ = now();                                                                     \
            call;                                                                                  \
            t_ = now() - t_;                                                                       \
            best = t_ < best ? t_ : best;                                                          \
        }                                                                                          \
        best *= 1e9;                                                                               \
    } while (0)

static void report(const char *what, double work, const char *unit, double ref, double level) {
    printf("  %-26s %10.0f ns, reference %12.0f ns, %6.1f times as fast, %7.2f %s\n", what, level,
           ref, ref / level, work / level, unit);
}

static void bench_simple(void) {
    enum { N = 576, M = 48, WIDTH = 64 };
    double ref, level;
    float *x = floats(4096, 1, 0), *w = floats(4096, 1, 0), *out = floats(4096 * 16, 1, 0);
    TIME(ref, g_ref->rms_norm(N, x, w, 1e-5f, out));
    TIME(level, g_level->rms_norm(N, x, w, 1e-5f, out));
    report("rms_norm 576", N, "values/ns", ref, level);
    hn_act_block *acts = buffer(64 * sizeof *acts, 0);
    TIME(ref, g_ref->round_i8(N, x, acts));
    TIME(level, g_level->round_i8(N, x, acts));
    report("round_i8 576", N, "values/ns", ref, level);
    TIME(ref, g_ref->panel_transpose(256, 16, out, 256, x));
    TIME(level, g_level->panel_transpose(256, 16, out, 256, x));
    report("panel_transpose 16x256", 4096, "values/ns", ref, level);
    float *a = floats(M * 256, 1, 0), *b = floats(256 * WIDTH, 1, 0), *c = floats(M * WIDTH, 1, 0);
    TIME(ref, g_ref->gemm_f32(M, WIDTH, 256, a, 256, 1, b, 4096, c, WIDTH, 1, 0));
    TIME(level, g_level->gemm_f32(M, WIDTH, 256, a, 256, 1, b, 4096, c, WIDTH, 1, 0));
    report("gemm_f32 48x64x256", 2.0 * M * WIDTH * 256, "GFLOP/s", ref, level);
    double macs = (double)g_level->peak_f32(1000); /* a step of the reference does fewer */
    TIME(ref, g_ref->peak_f32(1000));
    TIME(level, g_level->peak_f32(1000));
    report("peak_f32", 2 * macs, "GFLOP/s", ref * macs / (double)g_ref->peak_f32(1000), level);
    macs = (double)g_level->peak_i8(1000);
    TIME(ref, g_ref->peak_i8(1000));
    TIME(level, g_level->peak_i8(1000));
    report("peak_i8", macs, "GMAC/s", ref * macs / (double)g_ref->peak_i8(1000), level);
    end_case("bench");
}

static void bench_dtype(hn_dtype dtype) {
    enum { UNITS = 9, MANY = 96 };
    double ref, level;
    char what[64];
    uint8_t *w = units(dtype, UNITS, FILL_RANDOM);
    float *out = floats(UNITS * 1024, 1, 0);
    if (g_level->unpack_f32[dtype]) {
        TIME(ref, g_ref->unpack_f32[dtype](w, UNITS, out));
        TIME(level, g_level->unpack_f32[dtype](w, UNITS, out));
        snprintf(what, sizeof what, "unpack_f32 %s", hn_dtype_name(dtype));
        report(what, UNITS * 1024, "values/ns", ref, level);
    }
    hn_act_block *x = activations(MANY, UNITS * 2, false);
    for (int m = 1; g_level->gemm_i8[dtype] && m <= MANY; m = m == 1 ? 8 : m * 12) {
        TIME(ref, g_ref->gemm_i8[dtype](m, 16, UNITS, w, x, UNITS * 2, out, 16, false));
        TIME(level, g_level->gemm_i8[dtype](m, 16, UNITS, w, x, UNITS * 2, out, 16, false));
        snprintf(what, sizeof what, "gemm_i8 %s, %d rows", hn_dtype_name(dtype), m);
        report(what, m * 16.0 * UNITS * 64, "GMAC/s", ref, level);
    }
    end_case("bench");
}

static void bench_all(void) {
    bench_simple();
    for (int t = 0; t < HN_DTYPE_COUNT; t++)
        bench_dtype((hn_dtype)t);
}

/* ---- levels ---- */

/* The table of a level that this machine lacks, carried out by SIMDe over AVX2; false without. */
static bool emulated_table(hn_isa isa, hn_kernels *table) {
#ifdef HN_EMULATED_LEVELS
    if (!hn_cpu_supports(HN_ISA_AVX2))
        return false;
    *table = *hn_kernels_get(HN_ISA_AVX2);
    if (isa == HN_ISA_AVXVNNI) {
        hn_k_i8_init_avxvnni_emulated(table);
        return true;
    }
    if (isa == HN_ISA_AVX512VNNI) {
        hn_k_f32_init_avx512_emulated(table);
        hn_k_i8_init_avx512vnni_emulated(table);
        return true;
    }
#endif
    (void)isa;
    (void)table;
    return false;
}

int main(int argc, char **argv) {
    const bool bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    g_ref = hn_kernels_get(HN_ISA_SCALAR);
    for (int isa = HN_ISA_SCALAR + 1; isa < HN_ISA_COUNT; isa++) {
        static hn_kernels table;
        const char *how = "native";
        g_rng = hn_rng_new(2024, (uint64_t)isa);
        g_level_name = hn_isa_name((hn_isa)isa);
        g_checks = 0;
        if (hn_cpu_supports((hn_isa)isa)) {
            g_level = hn_kernels_get((hn_isa)isa);
        } else if (!bench && emulated_table((hn_isa)isa, &table)) {
            g_level = &table;
            how = "emulated with SIMDe";
        } else {
            printf("%s: skipped, this machine can't execute it\n", g_level_name);
            continue;
        }
        if (bench) {
            printf("%s\n", g_level_name);
            bench_all();
            continue;
        }
        check_all();
        printf("%s: %s, %d cases\n", g_level_name, how, g_checks);
    }
    if (g_failures)
        printf("%d failures\n", g_failures);
    return g_failures != 0;
}
