/* Row loops in plain vectors of the compiler, for every machine; and the choice among the tables.
 */
#pragma GCC diagnostic ignored "-Wpsabi" /* no vector crosses a function that isn't inlined */

#define NAME(function) function##_portable
#define FMA(a, b, c) ((a) * (b) + (c))
#include "model/row_tile.h"

const hn_row_kernels *hn_row_kernels_get(hn_isa isa) {
#if defined(__x86_64__)
    if (hn_isa_includes(isa, HN_ISA_AVX2))
        return &hn_row_kernels_avx2;
#elif defined(__aarch64__)
    if (hn_isa_includes(isa, HN_ISA_NEON))
        return &hn_row_kernels_neon;
#endif
    (void)isa;
    return &hn_row_kernels_portable;
}
