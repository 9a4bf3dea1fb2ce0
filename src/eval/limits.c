/* Probes: threads that read shares of a block in order, and threads that multiply in registers. */
#include "eval/limits.h"

#include "base/clock.h"
#include "base/mem.h"
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <unistd.h>

/* Each probe goes on for so long and takes its fastest pass: what else the machine does only makes
 * a pass slower. */
#define PROBE_SECONDS 0.15
enum {
    LINE_BYTES = 64,
    AHEAD_BYTES = 8 << 10,   /* of a prefetch: what kernels use (spec/kernels.md) */
    MAX_READ_BYTES = 1 << 29 /* beyond, no cache has a part in it */
};

/* A cache line as the compiler's widest loads see it. */
typedef uint64_t line __attribute__((vector_size(LINE_BYTES)));

typedef struct read_job {
    const uint8_t *data;
    long n_lines;
    bool prefetch;
    _Atomic uint64_t seen; /* what was read, lest it be left out */
} read_job;

static void read_share(void *arg, int thread, int n_threads) {
    read_job *job = arg;
    long first, last;
    hn_pool_share(job->n_lines, 1, thread, n_threads, &first, &last);
    const line *lines = (const line *)(const void *)job->data;
    line sum[4] = {{0}};
    long i = first;
    for (; job->prefetch && i + 4 <= last; i += 4)
        for (int c = 0; c < 4; c++) {
            __builtin_prefetch((const char *)&lines[i + c] + AHEAD_BYTES);
            sum[c] ^= lines[i + c];
        }
    for (; i + 4 <= last; i += 4)
        for (int c = 0; c < 4; c++)
            sum[c] ^= lines[i + c];
    for (; i < last; i++)
        sum[0] ^= lines[i];
    sum[0] ^= sum[1] ^ sum[2] ^ sum[3];
    atomic_fetch_xor(&job->seen, sum[0][0] ^ sum[0][3] ^ sum[0][7]);
}

/* The fastest pass over `data`, in bytes a second. */
static double read_rate(hn_pool *pool, const void *data, size_t bytes) {
    double best = 0;
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        read_job job = {data, (long)(bytes / LINE_BYTES), prefetch, 0};
        double end = hn_clock_seconds() + PROBE_SECONDS;
        do {
            uint64_t start = hn_clock_ns();
            hn_pool_run(pool, read_share, &job);
            double rate = (double)bytes * 1e9 / (double)(hn_clock_ns() - start + 1);
            best = rate > best ? rate : best;
        } while (hn_clock_seconds() < end);
    }
    return best;
}

/* Every page of it is written, so that it has memory of its own. */
static void touch_share(void *arg, int thread, int n_threads) {
    hn_evictor *block = arg;
    enum { PAGE = 4096 };
    long first, last;
    hn_pool_share((long)(block->bytes / PAGE), 1, thread, n_threads, &first, &last);
    for (long page = first; page < last; page++)
        ((volatile uint8_t *)block->data)[page * PAGE] = (uint8_t)page;
}

static hn_status block_new(hn_evictor *block, size_t bytes, hn_pool *pool, hn_error *err) {
    void *data = hn_alloc_aligned(bytes);
    if (!data)
        return hn_fail_no_memory(err, bytes);
    *block = (hn_evictor){data, bytes};
    hn_pool_run(pool, touch_share, block);
    return HN_OK;
}

hn_status hn_limits_read(hn_limits *limits, size_t bytes, double *rate, hn_error *err) {
    enum { STEP = 1 << 20 }; /* one measurement does for footprints that differ by less */
    hn_pool *pool = hn_compute_pool(limits->compute);
    bytes = (bytes + STEP - 1) / STEP * STEP;
    bytes = bytes > MAX_READ_BYTES ? MAX_READ_BYTES : bytes < STEP ? STEP : bytes;
    for (int i = 0; i < limits->n_reads; i++)
        if (limits->reads[i].bytes == bytes) {
            *rate = limits->reads[i].rate;
            return HN_OK;
        }
    hn_evictor block;
    HN_TRY(block_new(&block, bytes, pool, err));
    *rate = read_rate(pool, block.data, bytes);
    hn_evictor_done(&block);
    if (limits->n_reads < HN_LIMITS_MAX_READS) {
        limits->reads[limits->n_reads].bytes = bytes;
        limits->reads[limits->n_reads++].rate = *rate;
    }
    return HN_OK;
}

typedef struct mac_job {
    int64_t (*peak)(int64_t n);
    _Atomic int64_t count;
} mac_job;

static void mac_share(void *arg, int thread, int n_threads) {
    enum { STEPS = 100000 }; /* some tens of microseconds: the region's own cost doesn't show */
    mac_job *job = arg;
    (void)thread;
    (void)n_threads;
    atomic_fetch_add(&job->count, job->peak(STEPS));
}

double hn_limits_mac(hn_limits *limits, hn_numerics numerics) {
    double *best = &limits->mac_rates[numerics];
    if (*best > 0)
        return *best;
    const hn_kernels *kernels = hn_compute_kernels(limits->compute);
    double end = hn_clock_seconds() + PROBE_SECONDS;
    do {
        mac_job job = {numerics == HN_NUMERICS_F32 ? kernels->peak_f32 : kernels->peak_i8, 0};
        uint64_t start = hn_clock_ns();
        hn_pool_run(hn_compute_pool(limits->compute), mac_share, &job);
        double rate = (double)job.count * 1e9 / (double)(hn_clock_ns() - start + 1);
        *best = rate > *best ? rate : *best;
    } while (hn_clock_seconds() < end);
    return *best;
}

hn_status hn_evictor_new(hn_evictor *evictor, hn_error *err) {
    const size_t least = 64 << 20;
    size_t bytes = least;
#ifdef _SC_LEVEL3_CACHE_SIZE
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && 2 * (size_t)cache > bytes)
        bytes = 2 * (size_t)cache;
#endif
    return block_new(evictor, bytes > MAX_READ_BYTES ? MAX_READ_BYTES : bytes, NULL, err);
}

void hn_evictor_done(hn_evictor *evictor) {
    if (evictor->data)
        hn_free_aligned(evictor->data, evictor->bytes);
    *evictor = (hn_evictor){0};
}

void hn_evictor_run(const hn_evictor *evictor, hn_pool *pool) {
    read_job job = {evictor->data, (long)(evictor->bytes / LINE_BYTES), false, 0};
    hn_pool_run(pool, read_share, &job);
}
