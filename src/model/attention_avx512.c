/* Attention for AVX-512; this file alone is compiled with those flags. Six queries and two vectors,
 * all keys of a block or all dimensions of a group, make 12 of the 32 registers; so many products
 * for each value that is read cost less than unpacking a block first. */
#include <immintrin.h>

#define KERNELS hn_attention_kernels_avx512
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define WIDE_LANES 16
#define QUERIES_AT_ONCE 6
#define IN_PLACE_QUERIES HN_ATTENTION_QUERIES
#include "model/attention_tile.h"
