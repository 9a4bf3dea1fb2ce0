/* Which type each tensor gets: llama.cpp's mixes (src/llama-quant.cpp, llama_tensor_get_type), so
 * that files have the sizes that people know. */
#include "release/quantise.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    hn_dtype dtype; /* of most matrices */
} FTYPES[HN_FTYPE_COUNT] = {
    [HN_FTYPE_F32] = {"f32", HN_F32},        [HN_FTYPE_F16] = {"f16", HN_F16},
    [HN_FTYPE_BF16] = {"bf16", HN_BF16},     [HN_FTYPE_Q8_0] = {"q8_0", HN_Q8_0},
    [HN_FTYPE_Q4_0] = {"q4_0", HN_Q4_0},     [HN_FTYPE_Q4_1] = {"q4_1", HN_Q4_1},
    [HN_FTYPE_Q5_0] = {"q5_0", HN_Q5_0},     [HN_FTYPE_Q5_1] = {"q5_1", HN_Q5_1},
    [HN_FTYPE_Q4_K_S] = {"q4_k_s", HN_Q4_K}, [HN_FTYPE_Q4_K_M] = {"q4_k_m", HN_Q4_K},
    [HN_FTYPE_Q5_K_M] = {"q5_k_m", HN_Q5_K}, [HN_FTYPE_Q6_K] = {"q6_k", HN_Q6_K},
};

const char *hn_ftype_name(hn_ftype ftype) {
    return ftype >= 0 && ftype < HN_FTYPE_COUNT ? FTYPES[ftype].name : "unknown";
}

bool hn_ftype_from_name(const char *name, hn_ftype *ftype) {
    if (!strcasecmp(name, "q4_k") || !strcasecmp(name, "q5_k")) {
        *ftype = name[1] == '4' ? HN_FTYPE_Q4_K_M : HN_FTYPE_Q5_K_M;
        return true;
    }
    for (int i = 0; i < HN_FTYPE_COUNT; i++) {
        if (!strcasecmp(FTYPES[i].name, name)) {
            *ftype = (hn_ftype)i;
            return true;
        }
    }
    return false;
}

bool hn_ftype_is_coarse(hn_ftype ftype) {
    const hn_dtype_info *info = hn_dtype_get(FTYPES[ftype].dtype);
    return hn_dtype_is_quantised(FTYPES[ftype].dtype) &&
           8 * info->block_bytes <= 6 * info->block_values;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

/* The first and last eighth of the layers, and every third between. */
static bool gets_more_bits(int layer, int n_layer) {
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

static hn_dtype head_dtype(hn_dtype dtype, int64_t cols) {
    if (cols % hn_dtype_get(dtype)->block_values)
        return HN_Q8_0;
    return dtype == HN_Q8_0 ? HN_Q8_0 : HN_Q6_K;
}

static hn_dtype mixed_dtype(hn_ftype ftype, const hn_arch *arch, const char *name, int64_t cols) {
    hn_dtype dtype = FTYPES[ftype].dtype;
    int layer = 0;
    if (!strcmp(name, "output.weight") || (arch->tied_head && !strcmp(name, "token_embd.weight")))
        return head_dtype(dtype, cols);
    (void)sscanf(name, "blk.%6d.", &layer);
    bool is_v = ends_with(name, ".attn_v.weight"), is_down = ends_with(name, ".ffn_down.weight");
    if (!is_v && !is_down)
        return dtype;
    if ((ftype == HN_FTYPE_Q4_K_M || ftype == HN_FTYPE_Q5_K_M) &&
        gets_more_bits(layer, arch->n_layer))
        return HN_Q6_K;
    if (ftype == HN_FTYPE_Q4_K_S && layer < (is_v ? 4 : arch->n_layer / 8))
        return HN_Q5_K;
    return dtype;
}

/* Rows that aren't whole super-blocks take a type of blocks of 32 that is a little larger. */
static hn_dtype fitting_dtype(hn_dtype dtype, int64_t cols) {
    if (cols % hn_dtype_get(dtype)->block_values == 0)
        return dtype;
    hn_dtype smaller = dtype == HN_Q4_K ? HN_Q5_0 : dtype == HN_Q5_K ? HN_Q5_1 : HN_Q8_0;
    return cols % hn_dtype_get(smaller)->block_values == 0 ? smaller : HN_F16;
}

hn_dtype hn_ftype_tensor_dtype(hn_ftype ftype, const hn_arch *arch, const char *tensor_name,
                               int64_t rows, int64_t cols) {
    if (rows == 1 || !ends_with(tensor_name, "weight") || ends_with(tensor_name, "_norm.weight"))
        return HN_F32;
    if (!hn_dtype_is_quantised(FTYPES[ftype].dtype))
        return FTYPES[ftype].dtype;
    return fitting_dtype(mixed_dtype(ftype, arch, tensor_name, cols), cols);
}
