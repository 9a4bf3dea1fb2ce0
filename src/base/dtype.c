#include "base/dtype.h"

#include <string.h>
#include <strings.h>

static const hn_dtype_info INFO[HN_DTYPE_COUNT] = {
#define X(id, name, ggml, block, bytes) [HN_##id] = {name, ggml, block, bytes},
    HN_DTYPE_LIST(X)
#undef X
};

const hn_dtype_info *hn_dtype_get(hn_dtype dtype) {
    return &INFO[dtype];
}

const char *hn_dtype_name(hn_dtype dtype) {
    return dtype >= 0 && dtype < HN_DTYPE_COUNT ? INFO[dtype].name : "unknown";
}

bool hn_dtype_from_ggml(uint32_t ggml_type, hn_dtype *dtype) {
    for (int i = 0; i < HN_DTYPE_COUNT; i++) {
        if (INFO[i].ggml_type == ggml_type) {
            *dtype = (hn_dtype)i;
            return true;
        }
    }
    return false;
}

bool hn_dtype_from_name(const char *name, hn_dtype *dtype) {
    for (int i = 0; i < HN_DTYPE_COUNT; i++) {
        if (!strcasecmp(INFO[i].name, name)) {
            *dtype = (hn_dtype)i;
            return true;
        }
    }
    return false;
}

size_t hn_dtype_row_bytes(hn_dtype dtype, uint64_t n_values) {
    return (size_t)(n_values / INFO[dtype].block_values * INFO[dtype].block_bytes);
}

bool hn_dtype_tensor_bytes(hn_dtype dtype, uint64_t n_rows, uint64_t n_values, uint64_t *bytes) {
    const hn_dtype_info *info = &INFO[dtype];
    if (n_values % info->block_values)
        return false;
    uint64_t row;
    return !__builtin_mul_overflow(n_values / info->block_values, (uint64_t)info->block_bytes,
                                   &row) &&
           !__builtin_mul_overflow(row, n_rows, bytes);
}

static float bits_to_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t float_to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float hn_f16_to_f32(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             mantissa = half & 0x3ff;
    if (exponent == 31)
        return bits_to_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) {
        float tiny = (float)mantissa * 0x1p-24f;
        return sign ? -tiny : tiny;
    }
    return bits_to_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t hn_f32_to_f16(float value) {
    uint32_t bits = float_to_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00); /* NaN */
    if (magnitude >= 0x477ff000)
        return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (magnitude < 0x38800000) { /* subnormal: the addition rounds to a multiple of 2^-24 */
        float shifted = bits_to_float(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_to_bits(shifted) - float_to_bits(0.5f)));
    }
    uint32_t odd = magnitude >> 13 & 1;
    return (uint16_t)(sign | (magnitude - 0x38000000 + 0xfff + odd) >> 13);
}

uint16_t hn_f32_to_bf16(float value) {
    uint32_t bits = float_to_bits(value);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
