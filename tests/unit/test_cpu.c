/* Which levels a machine has: made-up answers of CPUID, XGETBV and HWCAP, and the names of
 * processors from files that stand for /proc/cpuinfo. */
#include "base/cpu.h"
#include "base/cpu_facts.h"
#include "base/file.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Leaves as processors give them, from Intel's and AMD's manuals; bits that no level looks at are
 * left out. */
#define AVX_FMA_F16C_OSXSAVE 0x38001000u
#define AVX2_EBX 0x20u
#define AVX512_EBX 0xc0030020u /* and AVX2 */
#define VNNI_ECX 0x800u
#define AMX_EDX 0x03400000u
#define AVXVNNI_EAX 0x10u
#define BF16_EAX 0x20u
#define XCR0_SSE 0x3u
#define XCR0_YMM 0x7u
#define XCR0_ZMM 0xe7u
#define XCR0_ALL 0x600e7u

static const hn_cpu_facts NEHALEM = {.leaf1_ecx = 0, .xcr0 = 0},
                          SANDY_BRIDGE = {.leaf1_ecx = 0x18000000u, .xcr0 = XCR0_YMM},
                          HASWELL = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                     .leaf7_ebx = AVX2_EBX,
                                     .xcr0 = XCR0_YMM},
                          ALDER_LAKE = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                        .leaf7_ebx = AVX2_EBX,
                                        .leaf7_1_eax = AVXVNNI_EAX,
                                        .xcr0 = XCR0_YMM},
                          SKYLAKE_X = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                       .leaf7_ebx = AVX512_EBX,
                                       .xcr0 = XCR0_ZMM},
                          CASCADE_LAKE = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                          .leaf7_ebx = AVX512_EBX,
                                          .leaf7_ecx = VNNI_ECX,
                                          .xcr0 = XCR0_ZMM},
                          ZEN4 = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                  .leaf7_ebx = AVX512_EBX,
                                  .leaf7_ecx = VNNI_ECX,
                                  .leaf7_1_eax = BF16_EAX,
                                  .xcr0 = XCR0_ZMM},
                          SAPPHIRE_RAPIDS = {.leaf1_ecx = AVX_FMA_F16C_OSXSAVE,
                                             .leaf7_ebx = AVX512_EBX,
                                             .leaf7_ecx = VNNI_ECX,
                                             .leaf7_edx = AMX_EDX,
                                             .leaf7_1_eax = BF16_EAX | AVXVNNI_EAX,
                                             .xcr0 = XCR0_ALL,
                                             .tiles_granted = true};

static hn_isa best_x86(hn_cpu_facts facts) {
    hn_isa best = HN_ISA_SCALAR;
    for (int isa = 0; isa < HN_ISA_COUNT; isa++)
        if (hn_cpu_facts_allow_x86(&facts, (hn_isa)isa))
            best = (hn_isa)isa;
    return best;
}

static void test_processors(void **state) {
    (void)state;
    assert_int_equal(best_x86(NEHALEM), HN_ISA_SCALAR);
    assert_int_equal(best_x86(SANDY_BRIDGE), HN_ISA_SCALAR);
    assert_int_equal(best_x86(HASWELL), HN_ISA_AVX2);
    assert_int_equal(best_x86(ALDER_LAKE), HN_ISA_AVXVNNI);
    assert_int_equal(best_x86(SKYLAKE_X), HN_ISA_AVX2); /* AVX-512 without VNNI is no level */
    assert_int_equal(best_x86(CASCADE_LAKE), HN_ISA_AVX512VNNI);
    assert_int_equal(best_x86(ZEN4), HN_ISA_AVX512BF16);
    assert_int_equal(best_x86(SAPPHIRE_RAPIDS), HN_ISA_AMX);
    for (int isa = 0; isa <= HN_ISA_AMX; isa++)
        assert_true(hn_cpu_facts_allow_x86(&SAPPHIRE_RAPIDS, (hn_isa)isa));
    for (int isa = HN_ISA_NEON; isa < HN_ISA_COUNT; isa++)
        assert_false(hn_cpu_facts_allow_x86(&SAPPHIRE_RAPIDS, (hn_isa)isa));
}

static hn_isa with_xcr0(hn_cpu_facts facts, uint64_t xcr0) {
    facts.xcr0 = xcr0;
    return best_x86(facts);
}

/* The processor has everything and the system saves only a part of its registers. */
static void test_system_that_saves_less(void **state) {
    (void)state;
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, XCR0_ZMM), HN_ISA_AVX512BF16);
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, 0x200e7), HN_ISA_AVX512BF16); /* no tile data */
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, 0x60007), HN_ISA_AVXVNNI);    /* no zmm */
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, 0x67), HN_ISA_AVXVNNI);       /* no high zmm */
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, XCR0_YMM), HN_ISA_AVXVNNI);
    assert_int_equal(with_xcr0(SAPPHIRE_RAPIDS, XCR0_SSE), HN_ISA_SCALAR);
    assert_int_equal(with_xcr0(HASWELL, XCR0_SSE), HN_ISA_SCALAR);
    assert_int_equal(with_xcr0(HASWELL, 0x5), HN_ISA_SCALAR);
    hn_cpu_facts facts = SAPPHIRE_RAPIDS;
    facts.tiles_granted = false; /* arch_prctl said no */
    assert_int_equal(best_x86(facts), HN_ISA_AVX512BF16);
    facts.leaf1_ecx &= ~(1u << 27); /* no OSXSAVE: what XCR0 would say is unknown */
    assert_int_equal(best_x86(facts), HN_ISA_SCALAR);
}

/* Without any single bit of its bundle a level is gone. */
static void test_each_bit_counts(void **state) {
    (void)state;
    hn_cpu_facts facts = HASWELL;
    for (int bit = 0; bit < 32; bit++) {
        facts.leaf1_ecx = HASWELL.leaf1_ecx & ~(1u << bit);
        const bool matters = HASWELL.leaf1_ecx >> bit & 1;
        assert_int_equal(best_x86(facts), matters ? HN_ISA_SCALAR : HN_ISA_AVX2);
    }
    facts = CASCADE_LAKE;
    for (int bit = 0; bit < 32; bit++) {
        facts.leaf7_ebx = CASCADE_LAKE.leaf7_ebx & ~(1u << bit);
        const bool matters = CASCADE_LAKE.leaf7_ebx >> bit & 1;
        assert_int_equal(best_x86(facts), !matters   ? HN_ISA_AVX512VNNI
                                          : bit == 5 ? HN_ISA_SCALAR
                                                     : HN_ISA_AVX2);
    }
    facts = SAPPHIRE_RAPIDS;
    for (int bit = 0; bit < 32; bit++) {
        facts.leaf7_edx = SAPPHIRE_RAPIDS.leaf7_edx & ~(1u << bit);
        const bool matters = SAPPHIRE_RAPIDS.leaf7_edx >> bit & 1;
        assert_int_equal(best_x86(facts), matters ? HN_ISA_AVX512BF16 : HN_ISA_AMX);
    }
}

static void test_arm(void **state) {
    (void)state;
    const hn_cpu_facts a53 = {0}, a76 = {.dotprod = true}, x2 = {.dotprod = true, .i8mm = true},
                       odd = {.i8mm = true};
    assert_true(hn_cpu_facts_allow_arm(&a53, HN_ISA_NEON));
    assert_false(hn_cpu_facts_allow_arm(&a53, HN_ISA_DOTPROD));
    assert_true(hn_cpu_facts_allow_arm(&a76, HN_ISA_DOTPROD));
    assert_false(hn_cpu_facts_allow_arm(&a76, HN_ISA_I8MM));
    assert_true(hn_cpu_facts_allow_arm(&x2, HN_ISA_I8MM));
    assert_false(hn_cpu_facts_allow_arm(&odd, HN_ISA_I8MM));
    for (int isa = HN_ISA_AVX2; isa < HN_ISA_NEON; isa++)
        assert_false(hn_cpu_facts_allow_arm(&x2, (hn_isa)isa));
}

static void test_order(void **state) {
    (void)state;
    assert_true(hn_isa_includes(HN_ISA_AMX, HN_ISA_AVX2));
    assert_true(hn_isa_includes(HN_ISA_AVX2, HN_ISA_AVX2));
    assert_false(hn_isa_includes(HN_ISA_SCALAR, HN_ISA_AVX2));
    assert_false(hn_isa_includes(HN_ISA_NEON, HN_ISA_AVX2));
    assert_false(hn_isa_includes(HN_ISA_AMX, HN_ISA_NEON));
    assert_true(hn_isa_includes(HN_ISA_I8MM, HN_ISA_NEON));
}

/* This machine: what it says it supports it also takes by name, and nothing else. */
static void test_names(void **state) {
    (void)state;
    for (int i = 0; i < HN_ISA_COUNT; i++) {
        hn_isa isa = HN_ISA_COUNT;
        hn_error err;
        hn_status status = hn_isa_parse(hn_isa_name((hn_isa)i), &isa, &err);
        assert_int_equal(status, hn_cpu_supports((hn_isa)i) ? HN_OK : HN_USAGE);
        if (status == HN_OK)
            assert_int_equal(isa, i);
        else
            assert_non_null(strstr(err.message, hn_isa_name(hn_cpu_best_isa())));
    }
    hn_isa isa;
    hn_error err;
    assert_int_equal(hn_isa_parse("avx3", &isa, &err), HN_USAGE);
    assert_string_equal(err.message,
                        "unknown instruction set level 'avx3': scalar, avx2, avxvnni, avx512vnni, "
                        "avx512bf16, amx, neon, dotprod or i8mm");
    ASSERT_OK(hn_isa_parse("", &isa, errp));
    assert_int_equal(isa, hn_cpu_best_isa());
}

static void check_name(const char *cpuinfo, const char *expected) {
    char root[64], path[128], name[96];
    snprintf(root, sizeof root, "/tmp/hone-cpu-%ld", (long)getpid());
    snprintf(path, sizeof path, "%s/proc", root);
    ASSERT_OK(hn_dir_make(path, errp));
    snprintf(path, sizeof path, "%s/proc/cpuinfo", root);
    if (cpuinfo)
        ASSERT_OK(hn_file_write(path, cpuinfo, strlen(cpuinfo), errp));
    hn_cpu_name_read(root, name, sizeof name);
    assert_string_equal(name, expected);
    ASSERT_OK(hn_path_remove(root, errp));
}

static void test_cpu_name(void **state) {
    (void)state;
    check_name(NULL, "unknown");
    check_name("", "unknown");
    check_name("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t: fpu\n", "AMD EPYC 7B13");
    check_name("model name\t:\nmodel name\n", "unknown");
    /* A Raspberry Pi 4; two kinds of core, the slow ones first; a core that isn't in the table. */
    check_name("processor\t: 0\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n"
               "CPU part\t: 0xd08\nCPU revision\t: 3\n\nHardware\t: BCM2835\n",
               "Cortex-A72");
    check_name("CPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\n"
               "CPU part\t: 0xd41\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd05\n",
               "Cortex-A78");
    check_name("CPU implementer\t: 0x99\nCPU part\t: 0x123\n", "arm64 implementer 0x99 part 0x123");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_processors),      cmocka_unit_test(test_system_that_saves_less),
        cmocka_unit_test(test_each_bit_counts), cmocka_unit_test(test_arm),
        cmocka_unit_test(test_order),           cmocka_unit_test(test_names),
        cmocka_unit_test(test_cpu_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
