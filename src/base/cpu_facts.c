/* Asking the processor and the system; and the one place that knows what a level needs. */
#include "base/cpu_facts.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

/* Bits of CPUID: Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E. */
#define BIT(n) (UINT32_C(1) << (n))
#define LEAF1_ECX_FMA BIT(12)
#define LEAF1_ECX_OSXSAVE BIT(27)
#define LEAF1_ECX_AVX BIT(28)
#define LEAF1_ECX_F16C BIT(29)
#define LEAF7_EBX_AVX2 BIT(5)
#define LEAF7_EBX_AVX512F BIT(16)
#define LEAF7_EBX_AVX512DQ BIT(17)
#define LEAF7_EBX_AVX512BW BIT(30)
#define LEAF7_EBX_AVX512VL BIT(31)
#define LEAF7_ECX_AVX512VNNI BIT(11)
#define LEAF7_EDX_AMX_BF16 BIT(22)
#define LEAF7_EDX_AMX_TILE BIT(24)
#define LEAF7_EDX_AMX_INT8 BIT(25)
#define LEAF7_1_EAX_AVXVNNI BIT(4)
#define LEAF7_1_EAX_AVX512BF16 BIT(5)

/* Register state that the system must save: Intel SDM volume 1, 13.3. */
#define XCR0_AVX UINT64_C(0x6)       /* xmm, ymm */
#define XCR0_AVX512 UINT64_C(0xe6)   /* and masks, upper zmm, high zmm */
#define XCR0_TILES UINT64_C(0x60000) /* tile configuration and data */

static bool has(uint32_t word, uint32_t bits) {
    return (word & bits) == bits;
}

static bool saves(const hn_cpu_facts *f, uint64_t state) {
    return has(f->leaf1_ecx, LEAF1_ECX_OSXSAVE) && (f->xcr0 & state) == state;
}

static bool has_avx2(const hn_cpu_facts *f) {
    return has(f->leaf1_ecx, LEAF1_ECX_AVX | LEAF1_ECX_FMA | LEAF1_ECX_F16C) &&
           has(f->leaf7_ebx, LEAF7_EBX_AVX2) && saves(f, XCR0_AVX);
}

static bool has_avx512vnni(const hn_cpu_facts *f) {
    return has_avx2(f) && saves(f, XCR0_AVX512) && has(f->leaf7_ecx, LEAF7_ECX_AVX512VNNI) &&
           has(f->leaf7_ebx,
               LEAF7_EBX_AVX512F | LEAF7_EBX_AVX512DQ | LEAF7_EBX_AVX512BW | LEAF7_EBX_AVX512VL);
}

static bool has_avx512bf16(const hn_cpu_facts *f) {
    return has_avx512vnni(f) && has(f->leaf7_1_eax, LEAF7_1_EAX_AVX512BF16);
}

/* All but the system's leave, which is asked for only when the rest is there. */
static bool has_tiles(const hn_cpu_facts *f) {
    return has_avx512bf16(f) && saves(f, XCR0_AVX512 | XCR0_TILES) &&
           has(f->leaf7_edx, LEAF7_EDX_AMX_TILE | LEAF7_EDX_AMX_INT8 | LEAF7_EDX_AMX_BF16);
}

bool hn_cpu_facts_allow_x86(const hn_cpu_facts *facts, hn_isa isa) {
    switch (isa) {
    case HN_ISA_SCALAR:
        return true;
    case HN_ISA_AVX2:
        return has_avx2(facts);
    case HN_ISA_AVXVNNI:
        return has_avx2(facts) && has(facts->leaf7_1_eax, LEAF7_1_EAX_AVXVNNI);
    case HN_ISA_AVX512VNNI:
        return has_avx512vnni(facts);
    case HN_ISA_AVX512BF16:
        return has_avx512bf16(facts);
    case HN_ISA_AMX:
        return has_tiles(facts) && facts->tiles_granted;
    default:
        return false;
    }
}

bool hn_cpu_facts_allow_arm(const hn_cpu_facts *facts, hn_isa isa) {
    switch (isa) {
    case HN_ISA_SCALAR:
    case HN_ISA_NEON:
        return true;
    case HN_ISA_DOTPROD:
        return facts->dotprod;
    case HN_ISA_I8MM:
        return facts->dotprod && facts->i8mm;
    default:
        return false;
    }
}

#if defined(__x86_64__)
static uint64_t read_xcr0(void) {
    uint32_t eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    return ((uint64_t)edx << 32) | eax;
}

/* Tile data is 8 KB that Linux saves for a process that asked for it only; a process that didn't is
 * killed at its first tile (Documentation/arch/x86/xstate.rst). */
static bool request_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return false;
#endif
}

void hn_cpu_facts_read(hn_cpu_facts *out) {
    *out = (hn_cpu_facts){0};
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &out->leaf1_ecx, &d))
        return;
    if (has(out->leaf1_ecx, LEAF1_ECX_OSXSAVE)) /* else xgetbv is an illegal instruction */
        out->xcr0 = read_xcr0();
    if (!__get_cpuid_count(7, 0, &a, &out->leaf7_ebx, &out->leaf7_ecx, &out->leaf7_edx))
        return;
    if (a >= 1) /* sub-leaves there are */
        __get_cpuid_count(7, 1, &out->leaf7_1_eax, &b, &c, &d);
    out->tiles_granted = has_tiles(out) && request_tiles();
}
#elif defined(__aarch64__) && defined(__linux__)
void hn_cpu_facts_read(hn_cpu_facts *out) {
    *out = (hn_cpu_facts){.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0};
#if defined(HWCAP2_I8MM)
    out->i8mm = (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#endif
}
#elif defined(__aarch64__) && defined(__APPLE__)
static bool sysctl_says(const char *name) {
    int value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(name, &value, &bytes, NULL, 0) == 0 && value != 0;
}

void hn_cpu_facts_read(hn_cpu_facts *out) {
    *out = (hn_cpu_facts){.dotprod = sysctl_says("hw.optional.arm.FEAT_DotProd"),
                          .i8mm = sysctl_says("hw.optional.arm.FEAT_I8MM")};
}
#else
void hn_cpu_facts_read(hn_cpu_facts *out) {
    *out = (hn_cpu_facts){0};
}
#endif
