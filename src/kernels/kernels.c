/* Fills the tables: scalar code first, then each level over it up to the one asked for. */
#include "kernels/kernels.h"

#include <pthread.h>

static hn_kernels g_tables[HN_ISA_COUNT];
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

static void fill_table(hn_kernels *table, hn_isa isa) {
    hn_k_f32_init_ref(table);
    hn_k_unpack_init_ref(table);
    hn_k_i8_init_ref(table);
    hn_k_peak_init_ref(table);
    hn_k_bf16_init_ref(table);
#if defined(__x86_64__)
    if (!hn_isa_includes(isa, HN_ISA_AVX2))
        return;
    hn_k_f32_init_avx2(table);
    hn_k_unpack_init_avx2(table);
    hn_k_i8_init_avx2(table);
    hn_k_peak_init_avx2(table);
    if (isa == HN_ISA_AVXVNNI) {
        hn_k_i8_init_avxvnni(table);
        hn_k_peak_init_avxvnni(table);
    }
    if (hn_isa_includes(isa, HN_ISA_AVX512VNNI)) {
        hn_k_f32_init_avx512(table);
        hn_k_unpack_init_avx512(table);
        hn_k_i8_init_avx512vnni(table);
        hn_k_round_init_avx512vnni(table);
        hn_k_peak_init_avx512vnni(table);
    }
    if (hn_isa_includes(isa, HN_ISA_AVX512BF16))
        hn_k_bf16_init_avx512bf16(table);
    if (hn_isa_includes(isa, HN_ISA_AMX)) {
        hn_k_i8_init_amx(table);
        hn_k_bf16_init_amx(table);
        hn_k_peak_init_amx(table);
    }
#elif defined(__aarch64__)
    if (!hn_isa_includes(isa, HN_ISA_NEON))
        return;
    hn_k_f32_init_neon(table);
    hn_k_unpack_init_neon(table);
    hn_k_i8_init_neon(table);
    hn_k_peak_init_neon(table);
    if (isa == HN_ISA_DOTPROD) {
        hn_k_i8_init_dotprod(table);
        hn_k_peak_init_dotprod(table);
    }
    if (isa == HN_ISA_I8MM) {
        hn_k_i8_init_i8mm(table);
        hn_k_peak_init_i8mm(table);
    }
#else
    (void)isa;
#endif
}

static void fill_tables(void) {
    /* Only what this machine executes: even filling a table is code of that level. */
    for (int isa = 0; isa < HN_ISA_COUNT; isa++)
        if (hn_cpu_supports((hn_isa)isa))
            fill_table(&g_tables[isa], (hn_isa)isa);
}

const hn_kernels *hn_kernels_get(hn_isa isa) {
    pthread_once(&g_once, fill_tables);
    return &g_tables[isa];
}
