/* check_kernels --bench: cycles of each kernel beside the reference. Cycles are the processor's own
 * where Linux lets a program count them (perf_event_open), otherwise those of its time stamp
 * counter, otherwise nanoseconds: the first line tells. */
#define _GNU_SOURCE
#include "check.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__linux__)
#include <linux/perf_event.h>
#include <sys/syscall.h>
#endif
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

static const char *g_unit;
static int g_counter = -1; /* perf event */

static void open_counter(void) {
#if defined(__linux__)
    struct perf_event_attr attr = {.type = PERF_TYPE_HARDWARE,
                                   .size = sizeof attr,
                                   .config = PERF_COUNT_HW_CPU_CYCLES,
                                   .exclude_kernel = 1,
                                   .exclude_hv = 1};
    g_counter = (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, 0);
#endif
#if defined(__x86_64__)
    g_unit = g_counter >= 0 ? "cycles" : "TSC cycles";
#else
    g_unit = g_counter >= 0 ? "cycles" : "ns";
#endif
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double ticks(void) {
    uint64_t count;
    if (g_counter >= 0 && read(g_counter, &count, sizeof count) == (ssize_t)sizeof count)
        return (double)count;
#if defined(__x86_64__)
    return (double)__rdtsc();
#else
    return seconds() * 1e9;
#endif
}

/* Ticks of one `call`: the fastest of many runs, each long enough that reading the counter doesn't
 * count. */
#define TIME(best, call)                                                                           \
    do {                                                                                           \
        long times_ = 1;                                                                           \
        for (double begin_ = seconds(); seconds() - begin_ < 0.002; times_++)                      \
            call;                                                                                  \
        times_ = times_ / 20 + 1;                                                                  \
        best = 1e18;                                                                               \
        for (double begin_ = seconds(); seconds() - begin_ < 0.03;) {                              \
            double t_ = ticks();                                                                   \
            for (long i_ = 0; i_ < times_; i_++)                                                   \
                call;                                                                              \
            t_ = (ticks() - t_) / (double)times_;                                                  \
            best = t_ < best ? t_ : best;                                                          \
        }                                                                                          \
    } while (0)

/* work: values or multiplications of a call. */
static void report(const char *what, double work, const char *unit, double ref, double level) {
    printf("  %-28s %11.0f %s, reference %13.0f, %7.1f times as fast, %8.3f %s a cycle\n", what,
           level, g_unit, ref, ref / level, work / level, unit);
}

#define BENCH(what, work, unit, kernel, ...)                                                       \
    do {                                                                                           \
        double ref_, level_;                                                                       \
        if (g_level->kernel == g_ref->kernel) {                                                    \
            printf("  %-28s the reference's own\n", what);                                         \
            break;                                                                                 \
        }                                                                                          \
        TIME(ref_, g_ref->kernel(__VA_ARGS__));                                                    \
        TIME(level_, g_level->kernel(__VA_ARGS__));                                                \
        report(what, work, unit, ref_, level_);                                                    \
    } while (0)

static void bench_float(void) {
    enum { N = 576, M = 48, WIDTH = 64 };
    float *x = floats(4096, 1, 0), *w = floats(4096, 1, 0), *out = floats(4096 * 16, 1, 0);
    BENCH("rms_norm 576", N, "values", rms_norm, N, x, w, 1e-5f, out);
    BENCH("panel_copy 16x256", 4096, "values", panel_copy, 256, 16, out, 256, x);
    BENCH("panel_transpose 16x256", 4096, "values", panel_transpose, 256, 16, out, 256, x);
    float *a = floats(M * 256, 1, 0), *b = floats(256 * WIDTH, 1, 0), *c = floats(M * WIDTH, 1, 0);
    BENCH("gemm_f32 48x64x256", M * WIDTH * 256.0, "MAC", gemm_f32, M, WIDTH, 256, a, 256, 1, b,
          4096, c, WIDTH, 1, 0);
    end_case("bench");
}

/* Steps of two levels differ in how much they do: per product. */
static void bench_peak(const char *what, int64_t (*ref)(int64_t), int64_t (*level)(int64_t)) {
    enum { STEPS = 1000 };
    const double macs = (double)level(STEPS), ref_macs = (double)ref(STEPS);
    double ref_ticks, level_ticks;
    TIME(ref_ticks, ref(STEPS));
    TIME(level_ticks, level(STEPS));
    report(what, macs, "MAC", ref_ticks * macs / ref_macs, level_ticks);
}

static void bench_rounded(void) {
    enum { N = 576, UNITS = 9, MANY = 96 };
    char what[64];
    float *x = floats(MANY * N, 1, 0), *out = floats(MANY * 16, 1, 0);
    hn_act_block *acts = buffer(N / HN_BLOCK_COLS * sizeof *acts, 0);
    BENCH("round_i8 576", N, "values", round_i8, N, x, acts);
    uint16_t *rows = buffer((size_t)(MANY * N) * sizeof *rows, 0);
    BENCH("round_bf16 576", N, "values", round_bf16, N, x, rows);
    g_ref->round_bf16(MANY * N, x, rows);
    const uint8_t *w = units(HN_BF16, UNITS, FILL_RANDOM);
    for (int m = 1; m <= MANY; m = m == 1 ? 8 : m * 12) {
        snprintf(what, sizeof what, "gemm_bf16, %d rows", m);
        BENCH(what, m * 16.0 * N, "MAC", gemm_bf16, m, 16, UNITS, w, rows, N, out, 16, false);
    }
    end_case("bench");
}

static void bench_dtype(hn_dtype dtype) {
    enum { UNITS = 9, MANY = 96 };
    char what[64];
    const uint8_t *w = units(dtype, UNITS, FILL_RANDOM);
    float *out = floats(UNITS * 1024, 1, 0);
    if (g_level->unpack_f32[dtype]) {
        snprintf(what, sizeof what, "unpack_f32 %s", hn_dtype_name(dtype));
        BENCH(what, UNITS * 1024, "values", unpack_f32[dtype], w, UNITS, out);
    }
    if (g_level->unpack_f32_t[dtype]) {
        snprintf(what, sizeof what, "unpack_f32_t %s", hn_dtype_name(dtype));
        BENCH(what, 512, "values", unpack_f32_t[dtype], w, 0, out, 256);
    }
    const hn_act_block *x = activations(MANY, UNITS * 2, ROWS_RANDOM);
    for (int m = 1; g_level->gemm_i8[dtype] && m <= MANY; m = m == 1 ? 8 : m * 12) {
        snprintf(what, sizeof what, "gemm_i8 %s, %d rows", hn_dtype_name(dtype), m);
        BENCH(what, m * 16.0 * UNITS * 64, "MAC", gemm_i8[dtype], m, 16, UNITS, w, x, UNITS * 2,
              out, 16, false);
    }
    end_case("bench");
}

void bench_all(void) {
    if (!g_unit)
        open_counter();
    printf("%s, in %s\n", g_level_name, g_unit);
    bench_peak("peak_f32", g_ref->peak_f32, g_level->peak_f32);
    bench_peak("peak_i8", g_ref->peak_i8, g_level->peak_i8);
    bench_float();
    bench_rounded();
    for (int t = 0; t < HN_DTYPE_COUNT; t++)
        bench_dtype((hn_dtype)t);
}
