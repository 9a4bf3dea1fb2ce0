/* Row loops for AVX2 and FMA; compiled with those flags. */
#include <immintrin.h>

#define NAME(function) function##_avx2
#define FMA(a, b, c) ((vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#include "model/row_tile.h"
