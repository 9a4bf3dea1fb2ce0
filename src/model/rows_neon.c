/* Row loops for NEON, which every arm64 processor has. */
#include <arm_neon.h>

#define NAME(function) function##_neon
#define FMA(a, b, c) ((vf)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#include "model/row_tile.h"
