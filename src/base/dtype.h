/* Tensor element types: their names, GGUF numbers and block geometry. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(ENUM, name, ggml type number, values a block, bytes a block).
 * Numbers and geometry are the GGUF format's. */
#define HN_DTYPE_LIST(X)                                                                           \
    X(F32, "f32", 0, 1, 4)                                                                         \
    X(F16, "f16", 1, 1, 2)                                                                         \
    X(Q4_0, "q4_0", 2, 32, 18)                                                                     \
    X(Q4_1, "q4_1", 3, 32, 20)                                                                     \
    X(Q5_0, "q5_0", 6, 32, 22)                                                                     \
    X(Q5_1, "q5_1", 7, 32, 24)                                                                     \
    X(Q8_0, "q8_0", 8, 32, 34)                                                                     \
    X(Q2_K, "q2_k", 10, 256, 84)                                                                   \
    X(Q3_K, "q3_k", 11, 256, 110)                                                                  \
    X(Q4_K, "q4_k", 12, 256, 144)                                                                  \
    X(Q5_K, "q5_k", 13, 256, 176)                                                                  \
    X(Q6_K, "q6_k", 14, 256, 210)                                                                  \
    X(IQ4_NL, "iq4_nl", 20, 32, 18)                                                                \
    X(BF16, "bf16", 30, 1, 2)

typedef enum hn_dtype {
#define X(id, name, ggml, block, bytes) HN_##id,
    HN_DTYPE_LIST(X)
#undef X
        HN_DTYPE_COUNT,
} hn_dtype;

typedef struct hn_dtype_info {
    const char *name;
    uint32_t ggml_type;
    uint32_t block_values; /* values a block holds */
    uint32_t block_bytes;
} hn_dtype_info;

const hn_dtype_info *hn_dtype_get(hn_dtype dtype);
const char *hn_dtype_name(hn_dtype dtype);
/* False when the number or name is none of ours. */
bool hn_dtype_from_ggml(uint32_t ggml_type, hn_dtype *dtype);
bool hn_dtype_from_name(const char *name, hn_dtype *dtype); /* case-insensitive */
static inline bool hn_dtype_is_quantised(hn_dtype dtype) {
    return dtype != HN_F32 && dtype != HN_F16 && dtype != HN_BF16;
}
/* Bytes of a row of n_values; n_values must be a multiple of the block. */
size_t hn_dtype_row_bytes(hn_dtype dtype, uint64_t n_values);
/* The same with every check: false when not a multiple of the block or when it overflows. */
bool hn_dtype_tensor_bytes(hn_dtype dtype, uint64_t n_rows, uint64_t n_values, uint64_t *bytes);

float hn_f16_to_f32(uint16_t half);
uint16_t hn_f32_to_f16(float value); /* nearest even; overflow becomes infinity */
static inline float hn_bf16_to_f32(uint16_t value) {
    union {
        uint32_t u;
        float f;
    } bits = {(uint32_t)value << 16};
    return bits.f;
}
uint16_t hn_f32_to_bf16(float value); /* nearest even; NaN stays NaN */
