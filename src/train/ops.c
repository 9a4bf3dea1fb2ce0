#include "train/ops.h"

const hn_train_ops *hn_train_ops_get(hn_isa isa) {
#if defined(__x86_64__)
    if (hn_isa_includes(isa, HN_ISA_AVX512VNNI))
        return &hn_train_ops_avx512;
    if (hn_isa_includes(isa, HN_ISA_AVX2))
        return &hn_train_ops_avx2;
#elif defined(__aarch64__)
    if (hn_isa_includes(isa, HN_ISA_NEON))
        return &hn_train_ops_neon;
#endif
    (void)isa;
    return &hn_train_ops_base;
}
