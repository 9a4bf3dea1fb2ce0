/* Regions are numbered by the gate `start`. A region is done when each of its shares was claimed
 * (its word set to the region's number) and has run. Whoever is there claims: a thread that the
 * scheduler keeps away holds up nothing but the share it is in, and there needn't be a thread for
 * each share. */
#define _GNU_SOURCE
#include "base/pool.h"

#include "base/cpu.h"
#include "base/gate.h"
#include "base/mem.h"
#include "base/processors.h"

#include <errno.h>
#include <sched.h>
#include <stdbool.h>

enum { MAX_THREADS = 256 };

typedef struct worker {
    pthread_t thread;
    hn_pool *pool;
    int index;
} worker;

typedef struct share {
    _Alignas(64) _Atomic uint32_t claimed; /* the last region in which it was */
} share;

struct hn_pool {
    int n_shares;
    int n_workers; /* besides the caller's thread */
    hn_pool_fn *fn;
    void *arg;
    hn_gate start, end;
    _Alignas(64) _Atomic int unfinished; /* shares of this region */
    atomic_bool stop;
    share shares[MAX_THREADS];
    worker workers[MAX_THREADS]; /* from 1 on */
};

/* True when this call took the share; then the region can't end before it has run. */
static bool claim(share *s, uint32_t region) {
    uint32_t before = region - 1;
    return atomic_load_explicit(&s->claimed, memory_order_relaxed) == before &&
           atomic_compare_exchange_strong_explicit(&s->claimed, &before, region,
                                                   memory_order_acq_rel, memory_order_relaxed);
}

/* Runs unclaimed shares of a region, the thread's own one first for the sake of its cache. True
 * when the last share to finish was among them. */
static bool run_shares(hn_pool *pool, uint32_t region, int self) {
    bool last = false;
    for (int i = 0; i < pool->n_shares; i++) {
        int index = (self + i) % pool->n_shares;
        if (!claim(&pool->shares[index], region))
            continue;
        pool->fn(pool->arg, index, pool->n_shares);
        last = atomic_fetch_sub_explicit(&pool->unfinished, 1, memory_order_acq_rel) == 1;
    }
    return last;
}

static void *worker_main(void *arg) {
    worker *self = arg;
    hn_pool *pool = self->pool;
    for (uint32_t region = 0;;) {
        region = hn_gate_wait(&pool->start, region);
        if (atomic_load(&pool->stop))
            return NULL;
        if (run_shares(pool, region, self->index))
            hn_gate_raise(&pool->end);
    }
}

hn_status hn_pool_new(hn_pool **out, int n_threads, hn_error *err) {
    if (n_threads == 0)
        n_threads = hn_cpu_default_threads();
    if (n_threads < 0 || n_threads > MAX_THREADS)
        return hn_fail(err, HN_USAGE, "%d threads: 1 to %d are possible", n_threads, MAX_THREADS);
    hn_pool *pool = hn_alloc_aligned(sizeof *pool);
    if (!pool)
        return hn_fail_no_memory(err, sizeof *pool);
    pool->n_shares = n_threads;
    hn_gate_init(&pool->start);
    hn_gate_init(&pool->end);
    /* More threads than processors would only take turns. */
    const int processors = hn_cpu_max_threads();
    for (int i = 1; i < n_threads && i < processors; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i};
        int problem =
            pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (problem) {
            hn_pool_free(pool);
            errno = problem;
            return hn_fail_errno(err, "starting thread %d of %d", i + 1, n_threads);
        }
        pool->n_workers++;
    }
    *out = pool;
    return HN_OK;
}

void hn_pool_free(hn_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    hn_gate_raise(&pool->start);
    for (int i = 1; i <= pool->n_workers; i++)
        pthread_join(pool->workers[i].thread, NULL);
    hn_gate_done(&pool->start);
    hn_gate_done(&pool->end);
    hn_free_aligned(pool, sizeof *pool);
}

hn_status hn_pool_pin(hn_pool *pool, hn_error *err) {
#if defined(__linux__)
    hn_processors own;
    hn_processors_read(&own, "", NULL, 0);
    for (int i = 0; pool && i <= pool->n_workers && own.n > 0; i++) {
        int cpu = own.cpus[i % own.n];
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        pthread_t thread = i == 0 ? pthread_self() : pool->workers[i].thread;
        int problem = pthread_setaffinity_np(thread, sizeof set, &set);
        if (problem) {
            errno = problem;
            return hn_fail_errno(err, "binding thread %d to processor %d", i + 1, cpu);
        }
    }
    return HN_OK;
#else
    (void)pool;
    return hn_fail(err, HN_UNSUPPORTED, "threads can be bound to processors on Linux only");
#endif
}

int hn_pool_threads(const hn_pool *pool) {
    return pool ? pool->n_shares : 1;
}

void hn_pool_run(hn_pool *pool, hn_pool_fn *fn, void *arg) {
    if (!pool || pool->n_shares == 1) {
        fn(arg, 0, 1);
        return;
    }
    const uint32_t ended = hn_gate_value(&pool->end);
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->unfinished, pool->n_shares, memory_order_relaxed);
    hn_gate_raise(&pool->start);
    if (!run_shares(pool, hn_gate_value(&pool->start), 0))
        hn_gate_wait(&pool->end, ended);
}
