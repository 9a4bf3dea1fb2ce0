#define _GNU_SOURCE
#include "base/pool.h"

#include "base/cpu.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    MAX_THREADS = 256,
    /* About 50 us of pauses: longer than the gap between two regions of a step, far shorter than a
     * scheduler's time slice. */
    SPIN_ROUNDS = 2000,
    /* A barrier spins this long before it lets somebody else have the processor; matters only when
     * there are more threads than processors. */
    YIELD_ROUNDS = 200,
};

typedef struct worker {
    pthread_t thread;
    hn_pool *pool;
    int index;
} worker;

struct hn_pool {
    int n_threads;
    int n_started;
    hn_pool_fn *fn;
    void *arg;
    _Alignas(64) _Atomic unsigned epoch; /* raised once a region */
    _Alignas(64) _Atomic int running;    /* workers still inside the region */
    _Alignas(64) _Atomic int arrived;    /* at the barrier */
    _Atomic unsigned barrier_epoch;
    _Alignas(64) _Atomic int sleeping;
    _Atomic bool stop;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    worker workers[MAX_THREADS];
};

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline void relax_or_yield(unsigned *rounds) {
    if (++*rounds % YIELD_ROUNDS)
        cpu_relax();
    else
        sched_yield();
}

static unsigned wait_for_region(hn_pool *pool, unsigned seen) {
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        unsigned now = atomic_load_explicit(&pool->epoch, memory_order_acquire);
        if (now != seen)
            return now;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    unsigned now;
    while ((now = atomic_load(&pool->epoch)) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

static void *worker_main(void *arg) {
    worker *self = arg;
    hn_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_region(pool, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        pool->fn(pool->arg, self->index, pool->n_threads);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

static void start_region(hn_pool *pool) {
    atomic_fetch_add(&pool->epoch, 1); /* sequentially consistent: paired with `sleeping` */
    if (atomic_load(&pool->sleeping)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
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
    pool->n_threads = n_threads;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->wake, NULL);
    for (int i = 1; i < n_threads; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i};
        int problem =
            pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]);
        if (problem) {
            hn_pool_free(pool);
            errno = problem;
            return hn_fail_errno(err, "starting thread %d of %d", i + 1, n_threads);
        }
        pool->n_started++;
    }
    *out = pool;
    return HN_OK;
}

void hn_pool_free(hn_pool *pool) {
    if (!pool)
        return;
    atomic_store(&pool->stop, true);
    start_region(pool);
    for (int i = 1; i <= pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->mutex);
    hn_free_aligned(pool, sizeof *pool);
}

int hn_pool_threads(const hn_pool *pool) {
    return pool ? pool->n_threads : 1;
}

void hn_pool_run(hn_pool *pool, hn_pool_fn *fn, void *arg) {
    if (!pool || pool->n_threads == 1) {
        fn(arg, 0, 1);
        return;
    }
    pool->fn = fn;
    pool->arg = arg;
    atomic_store_explicit(&pool->running, pool->n_threads - 1, memory_order_relaxed);
    start_region(pool);
    fn(arg, 0, pool->n_threads);
    unsigned rounds = 0;
    while (atomic_load_explicit(&pool->running, memory_order_acquire))
        relax_or_yield(&rounds);
}

void hn_pool_barrier(hn_pool *pool) {
    if (!pool || pool->n_threads == 1)
        return;
    unsigned epoch = atomic_load_explicit(&pool->barrier_epoch, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 == pool->n_threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&pool->barrier_epoch, 1, memory_order_release);
        return;
    }
    unsigned rounds = 0;
    while (atomic_load_explicit(&pool->barrier_epoch, memory_order_acquire) == epoch)
        relax_or_yield(&rounds);
}
