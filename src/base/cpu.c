#include "base/cpu.h"

#include "base/cpu_facts.h"
#include "base/processors.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const ISA_NAMES[HN_ISA_COUNT] = {
    [HN_ISA_SCALAR] = "scalar",
    [HN_ISA_AVX2] = "avx2",
    [HN_ISA_AVXVNNI] = "avxvnni",
    [HN_ISA_AVX512VNNI] = "avx512vnni",
    [HN_ISA_AVX512BF16] = "avx512bf16",
    [HN_ISA_AMX] = "amx",
    [HN_ISA_NEON] = "neon",
    [HN_ISA_DOTPROD] = "dotprod",
    [HN_ISA_I8MM] = "i8mm",
};

const char *hn_isa_name(hn_isa isa) {
    return isa >= 0 && isa < HN_ISA_COUNT ? ISA_NAMES[isa] : "unknown";
}

/* Asked once: CPUID traps on virtual machines, and the tile registers are asked for by a call. */
static hn_cpu_facts g_facts;
static char g_name[96];
static pthread_once_t g_facts_once = PTHREAD_ONCE_INIT, g_name_once = PTHREAD_ONCE_INIT;

static void read_facts(void) {
    hn_cpu_facts_read(&g_facts);
}

int hn_cpu_supports(hn_isa isa) {
    pthread_once(&g_facts_once, read_facts);
#if defined(__x86_64__)
    return hn_cpu_facts_allow_x86(&g_facts, isa);
#elif defined(__aarch64__)
    return hn_cpu_facts_allow_arm(&g_facts, isa);
#else
    return isa == HN_ISA_SCALAR;
#endif
}

hn_isa hn_cpu_best_isa(void) {
    hn_isa best = HN_ISA_SCALAR;
    for (int isa = HN_ISA_SCALAR; isa < HN_ISA_COUNT; isa++)
        if (hn_cpu_supports((hn_isa)isa))
            best = (hn_isa)isa;
    return best;
}

hn_status hn_isa_parse(const char *name, hn_isa *isa, hn_error *err) {
    if (!name || !name[0]) {
        *isa = hn_cpu_best_isa();
        return HN_OK;
    }
    for (int i = 0; i < HN_ISA_COUNT; i++) {
        if (strcmp(ISA_NAMES[i], name))
            continue;
        if (!hn_cpu_supports((hn_isa)i))
            return hn_fail(err, HN_USAGE,
                           "this machine can't execute the instruction set level %s; its best is "
                           "%s",
                           name, hn_isa_name(hn_cpu_best_isa()));
        *isa = (hn_isa)i;
        return HN_OK;
    }
    char names[128] = "";
    size_t length = 0;
    for (int i = 0; i < HN_ISA_COUNT && length < sizeof names; i++)
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                   i == 0                  ? ""
                                   : i == HN_ISA_COUNT - 1 ? " or "
                                                           : ", ",
                                   ISA_NAMES[i]);
    return hn_fail(err, HN_USAGE, "unknown instruction set level '%s': %s", name, names);
}

static int own_threads(bool cores) {
    hn_processors own;
    hn_processors_read(&own, "", NULL, 0);
    int n = cores ? own.n_cores : own.n;
    return hn_processors_limit(&own, n > 0 ? n : (int)sysconf(_SC_NPROCESSORS_ONLN));
}

int hn_cpu_default_threads(void) {
    return own_threads(true);
}

int hn_cpu_max_threads(void) {
    return own_threads(false);
}

static void read_name(void) {
    hn_cpu_name_read("", g_name, sizeof g_name);
}

const char *hn_cpu_name(void) {
    pthread_once(&g_name_once, read_name);
    return g_name;
}
