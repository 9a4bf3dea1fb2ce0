/* How much memory is free, read from trees of files that stand for /proc and /sys; and what is said
 * when weights or a cache don't fit. */
#include "base/file.h"
#include "base/memory.h"
#include "model/budget.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static int setup(void **state) {
    (void)state;
    snprintf(root, sizeof root, "/tmp/hone-memory-%ld", (long)getpid());
    ASSERT_OK(hn_dir_make(root, errp));
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ASSERT_OK(hn_path_remove(root, errp));
    return 0;
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

static uint64_t free_bytes(const char *limit) {
    hn_memory memory;
    hn_memory_read(&memory, root);
    assert_non_null(memory.limit);
    assert_non_null(strstr(memory.limit, limit));
    return memory.free_bytes;
}

static void test_machine_and_cgroups(void **state) {
    (void)state;
    assert_true(free_bytes("") == UINT64_MAX); /* nothing is there */
    put("/proc/meminfo", "MemTotal: 4000 kB\nMemAvailable:   3000 kB\n");
    assert_int_equal(free_bytes("machine"), 3000 << 10);
    put("/proc/meminfo", "MemAvailable:   3000 kB\nSwapFree: 500 kB\n");
    assert_int_equal(free_bytes("machine"), 3500 << 10);

    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/memory.max", "max\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1000\n");
    assert_int_equal(free_bytes("machine"), 3500 << 10);
    put("/sys/fs/cgroup/a/memory.max", "900000\n"); /* of the one around it */
    put("/sys/fs/cgroup/a/memory.current", "500000\n");
    assert_int_equal(free_bytes("cgroup"), 400000);
    put("/sys/fs/cgroup/a/memory.stat", "anon 3\ninactive_file 90000\nactive_file 10000\n");
    assert_int_equal(free_bytes("cgroup"), 500000); /* files' pages can go */
    put("/sys/fs/cgroup/a/memory.current", "2000000\n");
    put("/sys/fs/cgroup/a/memory.stat", "inactive_file 9\n");
    assert_int_equal(free_bytes("cgroup"), 0);
}

static void test_cgroup_v1(void **state) {
    (void)state;
    put("/proc/meminfo", "MemAvailable:   3000 kB\n");
    put("/proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/y\n");
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "9223372036854771712\n");
    put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "77\n");
    assert_int_equal(free_bytes("machine"), 3000 << 10); /* that is how v1 says: none */
    put("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "50000\n");
    put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "20000\n");
    put("/sys/fs/cgroup/memory/x/memory.stat",
        "inactive_file 1\ntotal_inactive_file 9000\ntotal_active_file 1000\n");
    assert_int_equal(free_bytes("cgroup"), 40000);
    put("/sys/fs/cgroup/memory/x/memory.usage_in_bytes", "damaged\n");
    assert_int_equal(free_bytes("machine"), 3000 << 10);
}

static void expect_message(hn_status status, const hn_error *err, const char *const *parts) {
    assert_int_equal(status, HN_NO_MEMORY);
    for (; *parts; parts++)
        if (!strstr(err->message, *parts))
            fail_msg("'%s' isn't in '%s'", *parts, err->message);
}

static void test_weights(void **state) {
    (void)state;
    const hn_matrix_source source = {.name = "w", .dtype = HN_F32, .rows = 16000, .cols = 6400};
    hn_memory memory = {UINT64_MAX, "the memory of this machine"};
    hn_error err;
    ASSERT_OK(hn_budget_weights("m.gguf", &source, 1, &memory, errp)); /* 410 MB */
    memory.free_bytes = 200000000;
    const char *const q8_0[] = {"m.gguf: it takes 452 MB", "200 MB are free within the mem",
                                "as q8_0 it takes 132 MB and fits (hone quantize --type q8_0)",
                                NULL};
    expect_message(hn_budget_weights("m.gguf", &source, 1, &memory, &err), &err, q8_0);
    memory.free_bytes = 80000000;
    const char *const q4_0[] = {"as q4_0 it takes 78 MB", NULL};
    expect_message(hn_budget_weights("m.gguf", &source, 1, &memory, &err), &err, q4_0);
    memory.free_bytes = 10000000;
    const char *const none[] = {"nothing of this model fits", NULL};
    expect_message(hn_budget_weights("m.gguf", &source, 1, &memory, &err), &err, none);
}

static void test_kv(void **state) {
    (void)state;
    const hn_arch arch = {.n_layer = 30, .n_head_kv = 3, .head_dim = 64}; /* 23,040 bytes in f16 */
    hn_memory memory = {UINT64_MAX, "the memory of this machine"};
    hn_error err;
    ASSERT_OK(hn_budget_kv(&arch, HN_F16, 1 << 20, &memory, errp));
    memory.free_bytes = 20000000;
    ASSERT_OK(hn_budget_kv(&arch, HN_F16, 512, &memory, errp));
    const char *const some[] = {"a context of 1000 tokens takes 23 MB in f16, and 20 MB are free",
                                "what fits: 832 in f16, 1000 in q8_0, 1000 in q4_0", NULL};
    expect_message(hn_budget_kv(&arch, HN_F16, 1000, &memory, &err), &err, some);
    const char *const huge[] = {"what fits: 832 in f16", NULL};
    expect_message(hn_budget_kv(&arch, HN_F16, INT64_MAX / 2, &memory, &err), &err, huge);
    memory.free_bytes = 1000;
    const char *const none[] = {"no context of use fits", NULL};
    expect_message(hn_budget_kv(&arch, HN_F16, 1000, &memory, &err), &err, none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_machine_and_cgroups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cgroup_v1, setup, teardown),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_kv),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
