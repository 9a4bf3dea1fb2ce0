/* The thread pool: every share once, regions in order, with fewer processors than threads too. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/cpu.h"
#include "base/gate.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/turns.h"

#include <dirent.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_SHARES = 16 };

/* Plain integers on purpose: ThreadSanitizer and lost updates tell when regions overlap. */
typedef struct tally {
    int runs[MAX_SHARES]; /* of each share */
    int sum;              /* of the region before, that every share must see */
    int wrong;            /* written by share 0 only */
    int region;
} tally;

static void count_share(void *arg, int share, int n_shares) {
    tally *t = arg;
    assert_in_range(share, 0, n_shares - 1);
    t->runs[share]++;
    if (share == 0)
        t->wrong += t->sum != (t->region - 1) * n_shares;
}

static void check_regions(hn_pool *pool, int regions) {
    tally t = {0};
    const int n = hn_pool_threads(pool);
    for (t.region = 1; t.region <= regions; t.region++) {
        hn_pool_run(pool, count_share, &t);
        t.sum = 0;
        for (int i = 0; i < n; i++)
            t.sum += t.runs[i];
        assert_int_equal(t.sum, t.region * n);
    }
    for (int i = 0; i < n; i++)
        assert_int_equal(t.runs[i], regions);
    assert_int_equal(t.wrong, 0);
}

static void test_every_share_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= MAX_SHARES; threads++) {
        hn_pool *pool;
        hn_error err;
        assert_int_equal(hn_pool_new(&pool, threads, &err), HN_OK);
        assert_int_equal(hn_pool_threads(pool), threads);
        check_regions(pool, 2000);
        hn_pool_free(pool);
    }
}

/* Long enough between regions for the workers to fall asleep, each time. */
static void test_asleep(void **state) {
    (void)state;
    hn_pool *pool;
    hn_error err;
    assert_int_equal(hn_pool_new(&pool, 4, &err), HN_OK);
    for (int i = 0; i < 20; i++) {
        usleep(2000);
        check_regions(pool, 1);
    }
    hn_pool_free(pool);
}

static double cpu_seconds(void) {
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A pool that waits for work takes no processor time: a chat that nobody types into. */
static void test_idle_costs_nothing(void **state) {
    (void)state;
    hn_pool *pool;
    hn_error err;
    assert_int_equal(hn_pool_new(&pool, 8, &err), HN_OK);
    check_regions(pool, 10);
    const double before = cpu_seconds();
    usleep(500000);
    const double used = cpu_seconds() - before;
    print_message("half a second without work: %.4f s of processor time\n", used);
    assert_true(used < 0.05); /* spinning would be 0.5 s a thread */
    hn_pool_free(pool);
}

#if defined(__linux__)
/* All threads of this process. */
static void bind_threads(const cpu_set_t *set) {
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks));)
        if (entry->d_name[0] != '.')
            assert_int_equal(sched_setaffinity(atoi(entry->d_name), sizeof *set, set), 0);
    closedir(tasks);
}
#endif

/* The processors become fewer while the pool runs: the threads of regions of a few microseconds
 * mustn't use up their time slices waiting for each other. */
static void test_one_processor_for_all(void **state) {
    (void)state;
#if defined(__linux__)
    cpu_set_t before, one;
    hn_pool *pool;
    hn_error err;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    if (CPU_COUNT(&before) < 2) {
        print_message("skipped: this process has one processor\n");
        skip();
    }
    assert_int_equal(hn_pool_new(&pool, 8, &err), HN_OK);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    bind_threads(&one);
    uint64_t began = hn_clock_ns();
    check_regions(pool, 5000);
    double seconds = (double)(hn_clock_ns() - began) * 1e-9;
    bind_threads(&before);
    hn_pool_free(pool);
    print_message("5,000 regions on one processor: %.3f s\n", seconds);
    assert_true(seconds <
                30); /* 0.1 s on an idle machine; time slices would make it 15 s or more */
#else
    print_message("skipped: processors are chosen on Linux only\n");
    skip();
#endif
}

static void test_no_pool(void **state) {
    (void)state;
    check_regions(NULL, 3);
    hn_pool_free(NULL);
    hn_pool *pool;
    hn_error err;
    assert_int_equal(hn_pool_new(&pool, -1, &err), HN_USAGE);
    assert_int_equal(hn_pool_new(&pool, 100000, &err), HN_USAGE);
    hn_mem_fail_after(0);
    assert_int_equal(hn_pool_new(&pool, 2, &err), HN_NO_MEMORY);
    hn_mem_fail_after(-1);
}

/* What belongs to a thread is cut into shares that are there, in multiples of the grain. */
static void test_share_bounds(void **state) {
    (void)state;
    for (long count = 0; count < 70; count++)
        for (int n = 1; n <= MAX_SHARES; n++) {
            long end = 0;
            for (int i = 0; i < n; i++) {
                long first, last;
                hn_pool_share(count, 16, i, n, &first, &last);
                assert_int_equal(first, end);
                assert_true(last >= first && (last % 16 == 0 || last == count));
                end = last;
            }
            assert_int_equal(end, count);
        }
}

static void *raise_later(void *arg) {
    usleep(20000); /* the waiter is asleep by then */
    hn_gate_raise(arg);
    return NULL;
}

static void test_gate(void **state) {
    (void)state;
    hn_gate gate;
    hn_gate_init(&gate);
    hn_gate_raise(&gate);
    assert_int_equal(hn_gate_wait(&gate, 0), 1); /* has changed already */
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, raise_later, &gate), 0);
    assert_int_equal(hn_gate_wait(&gate, 1), 2);
    pthread_join(thread, NULL);
    hn_gate_done(&gate);
}

enum { QUEUERS = 4 };

typedef struct queue {
    hn_turns turns;
    int order[QUEUERS + 1], n; /* who had the turn; written by whoever has it */
} queue;

typedef struct queuer {
    queue *queue;
    int id;
    pthread_t thread;
} queuer;

static void *take_turn(void *arg) {
    queuer *self = arg;
    queue *q = self->queue;
    hn_turns_begin(&q->turns);
    q->order[q->n++] = self->id;
    hn_turns_end(&q->turns);
    return NULL;
}

static const void *end_of_queue(hn_turns *turns) {
    pthread_mutex_lock(&turns->mutex);
    const void *end = turns->last;
    pthread_mutex_unlock(&turns->mutex);
    return end;
}

/* Whoever ends a turn and asks again at once comes after all that were waiting. */
static void test_turns(void **state) {
    (void)state;
    queue q = {0};
    queuer queuers[QUEUERS];
    hn_turns_init(&q.turns);
    hn_turns_begin(&q.turns);
    for (int i = 0; i < QUEUERS; i++) {
        const void *before = end_of_queue(&q.turns);
        queuers[i] = (queuer){.queue = &q, .id = i};
        assert_int_equal(pthread_create(&queuers[i].thread, NULL, take_turn, &queuers[i]), 0);
        while (end_of_queue(&q.turns) == before)
            usleep(100);
    }
    assert_int_equal(q.n, 0);
    hn_turns_end(&q.turns);
    hn_turns_begin(&q.turns);
    q.order[q.n++] = QUEUERS;
    hn_turns_end(&q.turns);
    for (int i = 0; i < QUEUERS; i++)
        assert_int_equal(pthread_join(queuers[i].thread, NULL), 0);
    assert_int_equal(q.n, QUEUERS + 1);
    for (int i = 0; i <= QUEUERS; i++)
        assert_int_equal(q.order[i], i);
    hn_turns_done(&q.turns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_share_once),
        cmocka_unit_test(test_asleep),
        cmocka_unit_test(test_idle_costs_nothing),
        cmocka_unit_test(test_one_processor_for_all),
        cmocka_unit_test(test_no_pool),
        cmocka_unit_test(test_share_bounds),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
