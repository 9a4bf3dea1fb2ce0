#define _GNU_SOURCE
#include "base/pool.h"

#include "base/cpu.h"
#include "base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    MAX_THREADS = 256,
    /* About 50 us of pauses: longer than the gap between two regions of a step, far shorter than a
     * scheduler's time slice, so that with more threads than processors nobody waits long for a
     * processor that is only spinning. */
    SPIN_ROUNDS = 2000,
};

typedef struct worker {
    pthread_t thread;
    hn_pool *pool;
    int index;
} worker;

/* Counters that only grow; a waiter remembers the value it saw and waits for another. */
struct hn_pool {
    int n_threads;
    int n_started;
    hn_pool_fn *fn;
    void *arg;
    _Alignas(64) _Atomic unsigned started;  /* regions begun */
    _Alignas(64) _Atomic unsigned finished; /* regions that every worker has left */
    _Alignas(64) _Atomic int running;       /* workers still inside the region */
    _Alignas(64) _Atomic int arrived;       /* at the barrier */
    _Atomic unsigned passed;                /* barriers */
    _Alignas(64) _Atomic int sleeping;      /* on any of the three counters */
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

/* Spins, then sleeps, until *counter isn't `seen`; returns what it is. */
static unsigned wait_for_change(hn_pool *pool, _Atomic unsigned *counter, unsigned seen) {
    unsigned now;
    for (int i = 0; i < SPIN_ROUNDS; i++) {
        now = atomic_load_explicit(counter, memory_order_acquire);
        if (now != seen)
            return now;
        cpu_relax();
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleeping, 1);
    while ((now = atomic_load(counter)) == seen)
        pthread_cond_wait(&pool->wake, &pool->mutex);
    atomic_fetch_sub(&pool->sleeping, 1);
    pthread_mutex_unlock(&pool->mutex);
    return now;
}

static void advance(hn_pool *pool, _Atomic unsigned *counter) {
    atomic_fetch_add(counter, 1); /* sequentially consistent: paired with `sleeping` */
    if (atomic_load(&pool->sleeping)) {
        pthread_mutex_lock(&pool->mutex);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->mutex);
    }
}

static void *worker_main(void *arg) {
    worker *self = arg;
    hn_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_change(pool, &pool->started, seen);
        if (atomic_load(&pool->stop))
            return NULL;
        pool->fn(pool->arg, self->index, pool->n_threads);
        if (atomic_fetch_sub(&pool->running, 1) == 1)
            advance(pool, &pool->finished);
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
    advance(pool, &pool->started);
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
    unsigned finished = atomic_load_explicit(&pool->finished, memory_order_relaxed);
    atomic_store_explicit(&pool->running, pool->n_threads - 1, memory_order_relaxed);
    advance(pool, &pool->started);
    fn(arg, 0, pool->n_threads);
    wait_for_change(pool, &pool->finished, finished);
}

void hn_pool_barrier(hn_pool *pool) {
    if (!pool || pool->n_threads == 1)
        return;
    unsigned passed = atomic_load_explicit(&pool->passed, memory_order_acquire);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 == pool->n_threads) {
        atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
        advance(pool, &pool->passed);
        return;
    }
    wait_for_change(pool, &pool->passed, passed);
}
