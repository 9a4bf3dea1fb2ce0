#include "base/cpu.h"

#include "base/processors.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const ISA_NAMES[HN_ISA_COUNT] = {
    [HN_ISA_SCALAR] = "scalar",   [HN_ISA_AVX2] = "avx2",
    [HN_ISA_AVXVNNI] = "avxvnni", [HN_ISA_AVX512VNNI] = "avx512vnni",
    [HN_ISA_NEON] = "neon",       [HN_ISA_DOTPROD] = "dotprod",
    [HN_ISA_I8MM] = "i8mm",
};

const char *hn_isa_name(hn_isa isa) {
    return isa >= 0 && isa < HN_ISA_COUNT ? ISA_NAMES[isa] : "unknown";
}

#if defined(__x86_64__)
static unsigned long long read_xcr0(void) {
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return ((unsigned long long)edx << 32) | eax;
}

/* Register state that the operating system must save: Intel SDM volume 1, 13.3. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6 };

int hn_cpu_supports(hn_isa isa) {
    if (isa == HN_ISA_SCALAR)
        return 1;
    unsigned a, b, c, d, b7, c7, a71 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    unsigned long long xcr0 = read_xcr0();
    bool fma_f16c = (c & bit_FMA) && (c & bit_F16C) && (c & bit_AVX);
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d))
        return 0;
    if (a >= 1) {
        unsigned b71, c71, d71;
        __get_cpuid_count(7, 1, &a71, &b71, &c71, &d71);
    }
    bool avx2 = fma_f16c && (b7 & bit_AVX2) && (xcr0 & XCR0_AVX) == XCR0_AVX;
    enum { BIT_AVXVNNI = 1 << 4 };
    switch (isa) {
    case HN_ISA_AVX2:
        return avx2;
    case HN_ISA_AVXVNNI:
        return avx2 && (a71 & BIT_AVXVNNI);
    case HN_ISA_AVX512VNNI:
        return avx2 && (b7 & bit_AVX512F) && (b7 & bit_AVX512BW) && (b7 & bit_AVX512DQ) &&
               (b7 & bit_AVX512VL) && (c7 & bit_AVX512VNNI) && (xcr0 & XCR0_AVX512) == XCR0_AVX512;
    default:
        return 0;
    }
}
#elif defined(__aarch64__)
int hn_cpu_supports(hn_isa isa) {
    switch (isa) {
    case HN_ISA_SCALAR:
    case HN_ISA_NEON:
        return 1;
    case HN_ISA_DOTPROD:
#if defined(__linux__)
        return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
        return 1; /* every Apple arm64 processor */
#endif
#if defined(__linux__) && defined(HWCAP2_I8MM)
    case HN_ISA_I8MM:
        return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) && (getauxval(AT_HWCAP2) & HWCAP2_I8MM);
#endif
    default:
        return 0;
    }
}
#else
int hn_cpu_supports(hn_isa isa) {
    return isa == HN_ISA_SCALAR;
}
#endif

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
    return hn_fail(err, HN_USAGE,
                   "unknown instruction set level '%s': scalar, avx2, avxvnni, avx512vnni, neon, "
                   "dotprod or i8mm",
                   name);
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

const char *hn_cpu_name(void) {
    static char name[96];
    if (name[0])
        return name;
    char line[256], found[96] = "unknown";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (!strncmp(line, "model name", 10) && colon) {
            line[strcspn(line, "\n")] = 0;
            snprintf(found, sizeof found, "%.90s", colon + 2);
            break;
        }
    }
    if (f)
        fclose(f);
    memcpy(name, found, sizeof name);
    return name;
}
