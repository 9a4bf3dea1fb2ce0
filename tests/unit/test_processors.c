/* Counting processors: cpusets, shared cores, and quotas of cgroups v1 and v2 however deep, read
 * from trees of files that stand for /proc and /sys. */
#define _GNU_SOURCE
#include "base/cpu.h"
#include "base/file.h"
#include "base/pool.h"
#include "base/processors.h"
#include "support/check.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void make_root(void) {
    snprintf(root, sizeof root, "/tmp/hone-processors-%ld", (long)getpid());
    ASSERT_OK(hn_dir_make(root, errp));
}

static void drop_root(void) {
    ASSERT_OK(hn_path_remove(root, errp));
}

/* A file below root, with the folders that it takes. */
static void put(const char *path, const char *text) {
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        ASSERT_OK(hn_dir_make(whole, errp));
    }
    ASSERT_OK(hn_file_write(whole, text, strlen(text), errp));
}

static int quota(void) {
    hn_processors p;
    uint8_t all = 0xff;
    hn_processors_read(&p, root, &all, 1);
    return p.quota;
}

static void test_quota_v2(void **state) {
    (void)state;
    make_root();
    assert_int_equal(quota(), 0); /* nothing is there */
    put("/proc/self/cgroup", "0::/\n");
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_int_equal(quota(), 0);
    put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    assert_int_equal(quota(), 2); /* rounded up */
    put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
    put("/proc/self/cgroup", "0::/a.slice/b.scope\n");
    put("/sys/fs/cgroup/a.slice/cpu.max", "300000 100000\n");
    put("/sys/fs/cgroup/a.slice/b.scope/cpu.max", "max 100000\n");
    assert_int_equal(quota(), 3); /* of the one around it */
    put("/sys/fs/cgroup/a.slice/b.scope/cpu.max", "50000 100000\n");
    assert_int_equal(quota(), 1);
    put("/proc/self/cgroup", "0::/a.slice/gone/deeper\n");
    assert_int_equal(quota(), 3); /* a path that isn't mounted here: those around it count */
    put("/proc/self/cgroup", "0::/../../a.slice/b.scope\n");
    assert_int_equal(quota(), 4); /* beyond this namespace: what is mounted counts */
    drop_root();
}

static void test_quota_v1(void **state) {
    (void)state;
    make_root();
    put("/proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/y\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(), 3);
    put("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "100000\n");
    assert_int_equal(quota(), 1);
    drop_root();
    make_root();
    put("/proc/self/cgroup", "3:cpuset:/z\n2:cpuacct,cpu:/\n0::/user\n"); /* both versions */
    put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "600000\n");
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(), 6);
    put("/sys/fs/cgroup/unified/user/cpu.max", "200000 100000\n");
    assert_int_equal(quota(), 2);
    put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "600000\n");
    assert_int_equal(quota(), 1);
    drop_root();
}

static void test_odd_files(void **state) {
    (void)state;
    static const char *const maxima[] = {"",
                                         "\n",
                                         "max",
                                         "100000",
                                         "-5 100000",
                                         "100000 0",
                                         "abc def",
                                         "0 100000",
                                         "100000 -100000",
                                         "9223372036854775807 1",
                                         "99999999999999999999 1",
                                         "1.5 2",
                                         "\xff\xfe 100000"};
    make_root();
    static const char *const groups[] = {
        "", "0", "0:", "0::", "::", "0::relative", ":::::\n\n0::/"};
    for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
        put("/proc/self/cgroup", groups[g]);
        for (size_t i = 0; i < sizeof maxima / sizeof *maxima; i++) {
            put("/sys/fs/cgroup/cpu.max", maxima[i]);
            assert_int_equal(quota(), 0);
        }
    }
    char longest[3000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memcpy(longest, "0::/", 4);
    put("/sys/fs/cgroup/cpu.max", "200000 100000");
    put("/proc/self/cgroup", longest);
    quota(); /* whatever it counts, it stays within its buffers */
    drop_root();
}

static void siblings(int cpu, const char *list) {
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    put(path, list);
}

static void check_set(uint16_t set, int n, int n_cores, const int *cpus) {
    hn_processors p;
    hn_processors_read(&p, root, (const uint8_t *)&set, sizeof set);
    assert_int_equal(p.n, n);
    assert_int_equal(p.n_cores, n_cores);
    for (int i = 0; i < n; i++)
        assert_int_equal(p.cpus[i], cpus[i]);
}

static void test_cores(void **state) {
    (void)state;
    make_root();
    check_set(0x000b, 3, 3, (int[]){0, 1, 3}); /* no topology: a core each */
    for (int core = 0; core < 4; core++) {
        char list[16];
        snprintf(list, sizeof list, "%d,%d\n", core, core + 4);
        siblings(core, list);
        siblings(core + 4, list);
    }
    check_set(0x00ff, 8, 4, (int[]){0, 1, 2, 3, 4, 5, 6, 7});
    check_set(0x00f0, 4, 4, (int[]){4, 5, 6, 7}); /* second threads only */
    check_set(0x0033, 4, 2, (int[]){0, 1, 4, 5}); /* two whole cores */
    check_set(0x0085, 3, 3, (int[]){0, 2, 7});    /* 7's first thread isn't ours */
    check_set(0x0000, 0, 0, NULL);
    for (int cpu = 8; cpu < 16; cpu++)
        siblings(cpu, cpu < 12 ? "8-11" : "12-13,14-15\n");
    check_set(0xff00, 8, 2, (int[]){8, 12, 9, 10, 11, 13, 14, 15});
    siblings(0, "zero");
    siblings(4, "-");
    check_set(0x0011, 2, 2, (int[]){0, 4}); /* unreadable: a core each */
    drop_root();
    hn_processors p = {.n = 16, .n_cores = 8, .quota = 3};
    assert_int_equal(hn_processors_limit(&p, p.n_cores), 3);
    p.quota = 0;
    assert_int_equal(hn_processors_limit(&p, p.n_cores), 8);
    assert_int_equal(hn_processors_limit(&p, 0), 1);
}

#if defined(__linux__)
static void note_processors(void *arg, int thread, int n_threads) {
    (void)n_threads;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    ((int *)arg)[thread] = CPU_COUNT(&set);
}

/* In a thread of its own, which the others don't inherit the binding from. */
static void *pin_and_run(void *arg) {
    (void)arg;
    enum { N = 4 };
    int counts[N] = {0};
    hn_pool *pool;
    hn_processors own;
    hn_processors_read(&own, "", NULL, 0);
    assert_true(own.n >= own.n_cores && own.n_cores >= 1);
    ASSERT_OK(hn_pool_new(&pool, N, errp));
    ASSERT_OK(hn_pool_pin(pool, errp));
    hn_pool_run(pool, note_processors, counts);
    for (int i = 0; i < N; i++)
        assert_int_equal(counts[i], 1);
    hn_processors_read(&own, "", NULL, 0);
    assert_int_equal(own.n, 1);
    hn_pool_free(pool);
    return NULL;
}
#endif

static void test_pin(void **state) {
    (void)state;
#if defined(__linux__)
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pin_and_run, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    ASSERT_OK(hn_pool_pin(NULL, errp));
#else
    print_message("skipped: threads are bound on Linux only\n");
    skip();
#endif
}

static void test_own_counts(void **state) {
    (void)state;
    assert_in_range(hn_cpu_default_threads(), 1, hn_cpu_max_threads());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quota_v2),  cmocka_unit_test(test_quota_v1),
        cmocka_unit_test(test_odd_files), cmocka_unit_test(test_cores),
        cmocka_unit_test(test_pin),       cmocka_unit_test(test_own_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
