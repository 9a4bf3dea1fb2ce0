/* Attention for NEON, which every arm64 processor has. Three queries and four vectors of keys make
 * 12 of the 32 registers: as many sums as hide a product's latency. */
#include <arm_neon.h>

#define KERNELS hn_attention_kernels_neon
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define QUERIES_AT_ONCE 3
#define IN_PLACE_QUERIES QUERIES_AT_ONCE
#include "model/attention_tile.h"
