/* Every kernel of every level against the scalar reference (after dav1d's checkasm): random and
 * extreme inputs, NaN and infinities, odd sizes, unaligned pointers, guard bytes round every
 * buffer, and rows alone against the same rows in a batch.
 *
 * A level that this machine lacks is emulated where the build can (emulated/), and otherwise
 * reported as skipped. `--native [LEVEL]` checks only what this machine executes, or that level of
 * it; `--bench` times the kernels instead. */
#include "check.h"

#include <stdio.h>
#include <string.h>

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

/* A level may not lack what the reference has. */
static void check_complete(void) {
#define X(ret, name, args)                                                                         \
    if (!g_level->name)                                                                            \
        fail(#name, "missing");
    HN_KERNEL_LIST(X)
#undef X
    for (int t = 0; t < HN_DTYPE_COUNT; t++) {
#define X(ret, name, args)                                                                         \
    if (g_ref->name[t] && !g_level->name[t])                                                       \
        fail(#name, hn_dtype_name((hn_dtype)t));
        HN_KERNEL_DTYPE_LIST(X)
#undef X
    }
}

int main(int argc, char **argv) {
    const bool bench = argc > 1 && strcmp(argv[1], "--bench") == 0;
    const bool emulate = argc == 1;
    const char *only = argc > 2 ? argv[2] : NULL;
    g_ref = hn_kernels_get(HN_ISA_SCALAR);
    for (int isa = HN_ISA_SCALAR + 1; isa < HN_ISA_COUNT; isa++) {
        static hn_kernels table;
        const char *how = "native";
        g_rng = hn_rng_new(2024, (uint64_t)isa);
        g_level_name = hn_isa_name((hn_isa)isa);
        g_checks = 0;
        if (only && strcmp(only, g_level_name) != 0)
            continue;
        if (hn_cpu_supports((hn_isa)isa)) {
            g_level = hn_kernels_get((hn_isa)isa);
        } else if (emulate && emulated_table((hn_isa)isa, &table)) {
            g_level = &table;
            how = "emulated";
        } else {
            printf("%s: skipped, this machine can't execute it\n", g_level_name);
            continue;
        }
        if (bench) {
            bench_all();
            continue;
        }
        check_complete();
        check_all();
        printf("%s: %s, %d cases\n", g_level_name, how, g_checks);
        fflush(stdout);
    }
    if (g_failures)
        printf("%d failures\n", g_failures);
    return g_failures != 0;
}
