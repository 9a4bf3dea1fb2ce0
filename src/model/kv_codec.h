/* Writing and reading the cache's types, in the compiler's vectors; included by attention_tile.h
 * and so compiled for each instruction set. A row is rounded by itself alone, so that what the
 * cache holds of a token never depends on the batch. */
#include "model/kv_type.h"

#include "model/vec.h"

typedef int8_t s8x8 __attribute__((vector_size(8), aligned(1), may_alias));
typedef uint16_t u16x8 __attribute__((vector_size(16), aligned(2), may_alias));

enum { BLOCK_VECTORS = HN_KV_BLOCK / LANES };

static const float F16_MAX = 65504.0f;

INLINE v8 load_f16(const uint16_t *x) {
#if defined(__F16C__)
    return (v8)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
#else
    /* The exponent is put right by a product, which is exact for subnormals too; no infinities. */
    typedef uint32_t u32x8 __attribute__((vector_size(32)));
    u32x8 bits = __builtin_convertvector(*(const u16x8 *)x, u32x8);
    v8 size = (v8)((bits & 0x7fff) << 13) * splat(0x1p112f);
    return (v8)((u32x8)size | (bits & 0x8000) << 16);
#endif
}

/* Of finite values up to F16_MAX. */
INLINE void store_f16(uint16_t *out, v8 x) {
#if defined(__F16C__)
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < LANES; i++)
        out[i] = hn_f32_to_f16(x[i]);
#endif
}

INLINE v8 limit_f16(v8 x) {
    return min_v8(max_v8(x, splat(-F16_MAX)), splat(F16_MAX));
}

INLINE v8 int_to_v8(i8 x) {
    return __builtin_convertvector(x, v8);
}

INLINE i8 load_s8(const int8_t *x) {
#if defined(__AVX2__)
    return (i8)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x));
#else
    return __builtin_convertvector(*(const s8x8 *)x, i8);
#endif
}

/* Eight codes as floats; q4_0's from the low or the high half of eight bytes. */
INLINE v8 load_code_q8(const uint8_t *codes) {
    return int_to_v8(load_s8((const int8_t *)codes));
}

INLINE v8 load_code_q4(const uint8_t *codes, const int high) {
    i8 pair = load_s8((const int8_t *)codes);
    if (!high)
        pair <<= 28;
    return int_to_v8(pair >> (high ? 4 : 28));
}

/* Dimensions of the group that begins at `first`. */
INLINE int group_width(int dim, int first) {
    return dim - first < HN_KV_GROUP ? dim - first : HN_KV_GROUP;
}
INLINE int n_groups(int dim) {
    return (dim + HN_KV_GROUP - 1) / HN_KV_GROUP;
}
INLINE uint8_t *codes_of(uint8_t *block, int dim) {
    return block + (size_t)n_groups(dim) * HN_KV_BLOCK * sizeof(uint16_t);
}
INLINE const uint8_t *codes_in(const uint8_t *block, int dim) {
    return block + (size_t)n_groups(dim) * HN_KV_BLOCK * sizeof(uint16_t);
}

/* f32 */

static void put_k_f32(uint8_t *block, const float *x, int dim, int slot) {
    float *k = (float *)(void *)block + slot;
    for (int d = 0; d < dim; d++)
        k[d * HN_KV_BLOCK] = x[d];
}

static void put_v_f32(uint8_t *block, const float *x, int dim, int slot) {
    memcpy((float *)(void *)block + slot * dim, x, (size_t)dim * sizeof *x);
}

static const float *get_k_f32(const uint8_t *block, int dim, float *tile) {
    (void)dim, (void)tile;
    return (const float *)(const void *)block;
}

static const float *get_v_f32(const uint8_t *block, int dim, int first, int last, float *tile) {
    (void)dim, (void)first, (void)last, (void)tile;
    return (const float *)(const void *)block;
}

/* f16 */

static void put_k_f16(uint8_t *block, const float *x, int dim, int slot) {
    uint16_t *k = (uint16_t *)(void *)block + slot, row[LANES];
    for (int d = 0; d < dim; d += LANES) {
        store_f16(row, limit_f16(load_v8(x + d)));
        for (int i = 0; i < LANES; i++)
            k[(d + i) * HN_KV_BLOCK] = row[i];
    }
}

static void put_v_f16(uint8_t *block, const float *x, int dim, int slot) {
    uint16_t *v = (uint16_t *)(void *)block + slot * dim;
    for (int d = 0; d < dim; d += LANES)
        store_f16(v + d, limit_f16(load_v8(x + d)));
}

static const float *get_k_f16(const uint8_t *block, int dim, float *tile) {
    const uint16_t *k = (const uint16_t *)(const void *)block;
    for (int i = 0; i < dim * HN_KV_BLOCK; i += LANES)
        store_v8(tile + i, load_f16(k + i));
    return tile;
}

static const float *get_v_f16(const uint8_t *block, int dim, int first, int last, float *tile) {
    const uint16_t *v = (const uint16_t *)(const void *)block;
    for (int i = first * dim; i < (last + 1) * dim; i += LANES)
        store_v8(tile + i, load_f16(v + i));
    return tile;
}

/* Quantised groups: value = (code - offset) * scale. */

/* q8_0 spreads the codes evenly on both sides; q4_0 gives the side of the largest value the code
 * more (-8 to 7), as GGUF's types do. Returns the scale as f16 holds it. */
INLINE float group_scale(const float *x, int width, const int bits, uint16_t *scale) {
    float largest = 0;
    for (int i = 0; i < width; i++) {
        float value = x[i] > F16_MAX ? F16_MAX : x[i] < -F16_MAX ? -F16_MAX : x[i];
        float size = value < 0 ? -value : value, so_far = largest < 0 ? -largest : largest;
        largest = size > so_far ? value : largest;
    }
    float step = bits == 8 ? (largest < 0 ? -largest : largest) / 127 : largest / -8;
    *scale = hn_f32_to_f16(step);
    return hn_f16_to_f32(*scale);
}

/* The codes of a group, from -limit (q4_0: -8) to the most there is. */
INLINE void group_codes(const float *x, int width, float scale, const int lowest, const int highest,
                        int32_t *codes) {
    const v8 magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    v8 inverse = splat(scale != 0 ? 1 / scale : 0);
    for (int i = 0; i < width; i += LANES) {
        v8 q = limit_f16(load_v8(x + i)) * inverse;
        q = min_v8(max_v8(q, splat((float)lowest)), splat((float)highest));
        i8 code = (i8)(q + magic) - (i8)magic;
        memcpy(codes + i, &code, sizeof code);
    }
}

INLINE void put_q8(uint8_t *block, const float *x, int dim, int slot, const int is_k) {
    uint16_t *scales = (uint16_t *)(void *)block;
    uint8_t *codes = codes_of(block, dim) + (is_k ? slot : slot * dim);
    int step = is_k ? HN_KV_BLOCK : 1;
    int32_t group[HN_KV_GROUP];
    for (int d = 0; d < dim; d += HN_KV_GROUP, scales += HN_KV_BLOCK) {
        int width = group_width(dim, d);
        float scale = group_scale(x + d, width, 8, &scales[slot]);
        group_codes(x + d, width, scale, -127, 127, group);
        for (int i = 0; i < width; i++)
            codes[(d + i) * step] = (uint8_t)group[i];
    }
}

static void put_k_q8(uint8_t *block, const float *x, int dim, int slot) {
    put_q8(block, x, dim, slot, 1);
}

static void put_v_q8(uint8_t *block, const float *x, int dim, int slot) {
    put_q8(block, x, dim, slot, 0);
}

static const float *get_k_q8(const uint8_t *block, int dim, float *tile) {
    const uint8_t *codes = codes_in(block, dim);
    for (int i = 0; i < dim * HN_KV_BLOCK; i += LANES)
        store_v8(tile + i, load_code_q8(codes + i));
    return tile;
}

static const float *get_v_q8(const uint8_t *block, int dim, int first, int last, float *tile) {
    const uint8_t *codes = codes_in(block, dim);
    for (int i = first * dim; i < (last + 1) * dim; i += LANES)
        store_v8(tile + i, load_code_q8(codes + i));
    return tile;
}

/* Sums and differences of neighbours: lane i of the result is a[i] + b[i] where `minus` has no bit
 * i, else a[i] - b[i]. */
INLINE v8 sums_v8(v8 a, v8 b, const i8 minus) {
    return a + (v8)((i8)b ^ (minus << 31));
}

/* The Walsh-Hadamard transform of 32 values, which is its own inverse: five rounds of sums and
 * differences of values 1, 2, 4, 8 and 16 apart. */
INLINE void turn_group(float *x) {
    const float norm = 0.17677669529663687f; /* 1 / sqrt(32) */
    v8 a[BLOCK_VECTORS];
    for (int c = 0; c < BLOCK_VECTORS; c++) {
        v8 v = load_v8(x + c * LANES);
        v = sums_v8(PAIR(v, v, 0, 0, 2, 2, 4, 4, 6, 6), PAIR(v, v, 1, 1, 3, 3, 5, 5, 7, 7),
                    (i8){0, 1, 0, 1, 0, 1, 0, 1});
        v = sums_v8(PAIR(v, v, 0, 1, 0, 1, 4, 5, 4, 5), PAIR(v, v, 2, 3, 2, 3, 6, 7, 6, 7),
                    (i8){0, 0, 1, 1, 0, 0, 1, 1});
        a[c] = sums_v8(PAIR(v, v, 0, 1, 2, 3, 0, 1, 2, 3), PAIR(v, v, 4, 5, 6, 7, 4, 5, 6, 7),
                       (i8){0, 0, 0, 0, 1, 1, 1, 1});
    }
    v8 low = a[0] + a[1], low_odd = a[0] - a[1], high = a[2] + a[3], high_odd = a[2] - a[3];
    store_v8(x, (low + high) * splat(norm));
    store_v8(x + LANES, (low_odd + high_odd) * splat(norm));
    store_v8(x + 2 * LANES, (low - high) * splat(norm));
    store_v8(x + 3 * LANES, (low_odd - high_odd) * splat(norm));
}

/* Turns each whole group. */
static void turn(float *x, int dim) {
    for (; dim >= HN_KV_GROUP; dim -= HN_KV_GROUP, x += HN_KV_GROUP)
        turn_group(x);
}

/* Low nibbles are the first half of the group's dimensions, high ones the second. A short group's
 * half may be 4 wide. */
INLINE void put_q4(uint8_t *block, const float *x, int dim, int slot, const int is_k) {
    uint16_t *scales = (uint16_t *)(void *)block;
    uint8_t *codes = codes_of(block, dim) + (is_k ? slot : slot * dim / 2);
    int step = is_k ? HN_KV_BLOCK : 1;
    int32_t group[HN_KV_GROUP];
    float turned[HN_KV_GROUP];
    for (int d = 0; d < dim; d += HN_KV_GROUP, scales += HN_KV_BLOCK) {
        int width = group_width(dim, d), half = width / 2;
        for (int i = 0; i < width; i += LANES)
            store_v8(turned + i, limit_f16(load_v8(x + d + i)));
        turn(turned, width);
        float scale = group_scale(turned, width, 4, &scales[slot]);
        group_codes(turned, width, scale, -8, 7, group);
        for (int i = 0; i < half; i++)
            codes[(d / 2 + i) * step] = (uint8_t)((group[i] & 15) | (group[i + half] & 15) << 4);
    }
}

static void put_k_q4(uint8_t *block, const float *x, int dim, int slot) {
    put_q4(block, x, dim, slot, 1);
}

static void put_v_q4(uint8_t *block, const float *x, int dim, int slot) {
    put_q4(block, x, dim, slot, 0);
}

static const float *get_k_q4(const uint8_t *block, int dim, float *tile) {
    const uint8_t *codes = codes_in(block, dim);
    for (int first = 0; first < dim; first += HN_KV_GROUP) {
        int half = group_width(dim, first) / 2;
        for (int d = first; d < first + half; d++, codes += HN_KV_BLOCK)
            for (int c = 0; c < HN_KV_BLOCK; c += LANES) {
                float *at = tile + d * HN_KV_BLOCK + c;
                store_v8(at, load_code_q4(codes + c, 0));
                store_v8(at + half * HN_KV_BLOCK, load_code_q4(codes + c, 1));
            }
    }
    return tile;
}

static const float *get_v_q4(const uint8_t *block, int dim, int first, int last, float *tile) {
    const uint8_t *codes = codes_in(block, dim);
    for (int from = 0; from < dim; from += HN_KV_GROUP) {
        int half = group_width(dim, from) / 2;
        for (int j = first; j <= last; j++) {
            const uint8_t *pairs = codes + (j * dim + from) / 2;
            float *out = tile + j * dim + from;
            int i = 0;
            for (; i + LANES <= half; i += LANES) {
                store_v8(out + i, load_code_q4(pairs + i, 0));
                store_v8(out + half + i, load_code_q4(pairs + i, 1));
            }
            for (; i < half; i++) {
                out[i] = (float)((int8_t)(pairs[i] << 4) >> 4);
                out[half + i] = (float)((int8_t)pairs[i] >> 4);
            }
        }
    }
    return tile;
}

static const hn_kv_codec CODECS[HN_DTYPE_COUNT] = {
    [HN_F32] = {put_k_f32, put_v_f32, get_k_f32, get_v_f32, NULL},
    [HN_F16] = {put_k_f16, put_v_f16, get_k_f16, get_v_f16, NULL},
    [HN_Q8_0] = {put_k_q8, put_v_q8, get_k_q8, get_v_q8, NULL},
    [HN_Q4_0] = {put_k_q4, put_v_q4, get_k_q4, get_v_q4, turn},
};
