/* Writing and reading the cache's types, in the compiler's vectors; included by attention_tile.h
 * and so compiled for each instruction set. A row is rounded by itself alone, so that what the
 * cache holds of a token never depends on the batch. */
#include "model/kv_type.h"

#include "model/vec.h"

enum { BLOCK_VECTORS = HN_KV_BLOCK / LANES };

static const float F16_MAX = 65504.0f;

INLINE vf load_f16(const uint16_t *x) {
#if defined(__F16C__) && VECTOR_LANES == 8
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)x));
#elif defined(__aarch64__)
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(x)));
#else
    /* The exponent is put right by a product, which is exact for subnormals too; no infinities. */
    typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
    vu bits;
    for (int i = 0; i < LANES; i++)
        bits[i] = x[i];
    vf size = (vf)((bits & 0x7fff) << 13) * splat(0x1p112f);
    return (vf)((vu)size | (bits & 0x8000) << 16);
#endif
}

/* Of finite values up to F16_MAX. */
INLINE void store_f16(uint16_t *out, vf x) {
#if defined(__F16C__) && VECTOR_LANES == 8
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_cvtps_ph((__m256)x, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
    vst1_u16(out, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x)));
#else
    for (int i = 0; i < LANES; i++)
        out[i] = hn_f32_to_f16(x[i]);
#endif
}

INLINE vf limit_f16(vf x) {
    return min_vf(max_vf(x, splat(-F16_MAX)), splat(F16_MAX));
}

INLINE vf int_to_vf(vi x) {
    return __builtin_convertvector(x, vf);
}

INLINE vi load_s8(const int8_t *x) {
#if defined(__AVX2__) && VECTOR_LANES == 8
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)x));
#elif defined(__aarch64__)
    int32_t four;
    memcpy(&four, x, sizeof four);
    return (vi)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)))));
#else
    vi out;
    for (int i = 0; i < LANES; i++)
        out[i] = x[i];
    return out;
#endif
}

/* A vector of codes as floats; q4_0's from the low or the high half of as many bytes. */
INLINE vf load_code_q8(const uint8_t *codes) {
    return int_to_vf(load_s8((const int8_t *)codes));
}

INLINE vf load_code_q4(const uint8_t *codes, const int high) {
    vi pair = load_s8((const int8_t *)codes);
    if (!high)
        pair <<= 28;
    return int_to_vf(pair >> (high ? 4 : 28));
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
        store_f16(row, limit_f16(load_vf(x + d)));
        for (int i = 0; i < LANES; i++)
            k[(d + i) * HN_KV_BLOCK] = row[i];
    }
}

static void put_v_f16(uint8_t *block, const float *x, int dim, int slot) {
    uint16_t *v = (uint16_t *)(void *)block + slot * dim;
    for (int d = 0; d < dim; d += LANES)
        store_f16(v + d, limit_f16(load_vf(x + d)));
}

static const float *get_k_f16(const uint8_t *block, int dim, float *tile) {
    const uint16_t *k = (const uint16_t *)(const void *)block;
    for (int i = 0; i < dim * HN_KV_BLOCK; i += LANES)
        store_vf(tile + i, load_f16(k + i));
    return tile;
}

static const float *get_v_f16(const uint8_t *block, int dim, int first, int last, float *tile) {
    const uint16_t *v = (const uint16_t *)(const void *)block;
    for (int i = first * dim; i < (last + 1) * dim; i += LANES)
        store_vf(tile + i, load_f16(v + i));
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
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf inverse = splat(scale != 0 ? 1 / scale : 0);
    for (int i = 0; i < width; i += LANES) {
        vf q = limit_f16(load_vf(x + i)) * inverse;
        q = min_vf(max_vf(q, splat((float)lowest)), splat((float)highest));
        vi code = (vi)(q + magic) - (vi)magic;
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
        store_vf(tile + i, load_code_q8(codes + i));
    return tile;
}

static const float *get_v_q8(const uint8_t *block, int dim, int first, int last, float *tile) {
    const uint8_t *codes = codes_in(block, dim);
    for (int i = first * dim; i < (last + 1) * dim; i += LANES)
        store_vf(tile + i, load_code_q8(codes + i));
    return tile;
}

/* a + b, or a - b in the lanes where `minus` is 1. */
INLINE vf sums_vf(vf a, vf b, vi minus) {
    return a + (vf)((vi)b ^ (minus << 31));
}

/* The rounds within a vector: sums and differences of values 1, 2 and (of 8) 4 apart. */
INLINE vf turn_vf(vf v) {
#if VECTOR_LANES == 8
    v = sums_vf(PAIR(v, v, 0, 0, 2, 2, 4, 4, 6, 6), PAIR(v, v, 1, 1, 3, 3, 5, 5, 7, 7),
                lanes_vi() & 1);
    v = sums_vf(PAIR(v, v, 0, 1, 0, 1, 4, 5, 4, 5), PAIR(v, v, 2, 3, 2, 3, 6, 7, 6, 7),
                lanes_vi() >> 1 & 1);
    return sums_vf(PAIR(v, v, 0, 1, 2, 3, 0, 1, 2, 3), PAIR(v, v, 4, 5, 6, 7, 4, 5, 6, 7),
                   lanes_vi() >> 2);
#else
    v = sums_vf(PAIR(v, v, 0, 0, 2, 2), PAIR(v, v, 1, 1, 3, 3), lanes_vi() & 1);
    return sums_vf(PAIR(v, v, 0, 1, 0, 1), PAIR(v, v, 2, 3, 2, 3), lanes_vi() >> 1);
#endif
}

/* The Walsh-Hadamard transform of each whole group, which is its own inverse. */
static void turn(float *x, int dim) {
    const float norm = 0.17677669529663687f; /* 1 / sqrt(32) */
    for (; dim >= HN_KV_GROUP; dim -= HN_KV_GROUP, x += HN_KV_GROUP) {
        vf v[BLOCK_VECTORS];
        for (int c = 0; c < BLOCK_VECTORS; c++)
            v[c] = turn_vf(load_vf(x + c * LANES));
        for (int half = 1; half < BLOCK_VECTORS; half *= 2)
            for (int c = 0; c < BLOCK_VECTORS; c++)
                if (!(c & half)) {
                    vf a = v[c], b = v[c + half];
                    v[c] = a + b;
                    v[c + half] = a - b;
                }
        for (int c = 0; c < BLOCK_VECTORS; c++)
            store_vf(x + c * LANES, v[c] * splat(norm));
    }
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
            store_vf(turned + i, limit_f16(load_vf(x + d + i)));
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
                store_vf(at, load_code_q4(codes + c, 0));
                store_vf(at + half * HN_KV_BLOCK, load_code_q4(codes + c, 1));
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
                store_vf(out + i, load_code_q4(pairs + i, 0));
                store_vf(out + half + i, load_code_q4(pairs + i, 1));
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
