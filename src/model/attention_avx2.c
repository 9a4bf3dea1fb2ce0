/* Attention for AVX2 and FMA; this file alone is compiled with those flags. Three queries and four
 * vectors of keys make 12 of the 16 registers. */
#include <immintrin.h>

#define KERNELS hn_attention_kernels_avx2
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define QUERIES_AT_ONCE 3
#define IN_PLACE_QUERIES QUERIES_AT_ONCE
#include "model/attention_tile.h"
