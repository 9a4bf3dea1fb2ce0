/* The inner loops of quantising, at the compiler's baseline (SSE2, NEON). */
#pragma GCC diagnostic ignored "-Wpsabi" /* no vector crosses a function that isn't inlined */
#define TABLE hn_row_ops_base
#include "release/row_ops_tmpl.h"

#include "base/cpu.h"

#include <stdlib.h>

const hn_row_ops *hn_row_ops_get(void) {
    /* Asked for once a block: cpuid is slow on virtual machines. */
    static const hn_row_ops *_Atomic best;
    const hn_row_ops *ops = best;
    if (ops)
        return ops;
    ops = &hn_row_ops_base;
#if defined(__x86_64__)
    hn_isa isa;
    hn_error err; /* a name that can't be is refused by whoever computes on it */
    if (hn_isa_parse(getenv("HONE_ISA"), &isa, &err) != HN_OK)
        isa = hn_cpu_best_isa();
    if (hn_isa_includes(isa, HN_ISA_AVX2))
        ops = &hn_row_ops_avx2;
#endif
    best = ops;
    return ops;
}
