/* Tables of the levels that this machine lacks, their files built a second time over AVX2 (see
 * emulated/immintrin.h). */
#include "check.h"

#ifdef HN_EMULATED_LEVELS
void hn_k_i8_init_avxvnni_emulated(hn_kernels *table);
void hn_k_i8_init_avx512vnni_emulated(hn_kernels *table);
void hn_k_round_init_avx512vnni_emulated(hn_kernels *table);
void hn_k_f32_init_avx512_emulated(hn_kernels *table);
void hn_k_unpack_init_avx512_emulated(hn_kernels *table);
void hn_k_bf16_init_avx512bf16_emulated(hn_kernels *table);
void hn_k_i8_init_amx_emulated(hn_kernels *table);
void hn_k_bf16_init_amx_emulated(hn_kernels *table);
#endif

/* As kernels.c fills it. */
bool emulated_table(hn_isa isa, hn_kernels *table) {
#ifdef HN_EMULATED_LEVELS
    if (!hn_cpu_supports(HN_ISA_AVX2) || !hn_isa_includes(isa, HN_ISA_AVXVNNI))
        return false;
    *table = *hn_kernels_get(HN_ISA_AVX2);
    if (isa == HN_ISA_AVXVNNI)
        hn_k_i8_init_avxvnni_emulated(table);
    if (hn_isa_includes(isa, HN_ISA_AVX512VNNI)) {
        hn_k_f32_init_avx512_emulated(table);
        hn_k_unpack_init_avx512_emulated(table);
        hn_k_i8_init_avx512vnni_emulated(table);
        hn_k_round_init_avx512vnni_emulated(table);
    }
    if (hn_isa_includes(isa, HN_ISA_AVX512BF16))
        hn_k_bf16_init_avx512bf16_emulated(table);
    if (hn_isa_includes(isa, HN_ISA_AMX)) {
        hn_k_i8_init_amx_emulated(table);
        hn_k_bf16_init_amx_emulated(table);
    }
    return true;
#else
    (void)isa;
    (void)table;
    return false;
#endif
}
