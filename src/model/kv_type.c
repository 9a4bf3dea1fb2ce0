/* The cache's types and their sizes. */
#include "model/kv_type.h"

#include <string.h>

static const hn_dtype KV_TYPES[] = {HN_F32, HN_F16, HN_Q8_0, HN_Q4_0};
enum { N_KV_TYPES = sizeof KV_TYPES / sizeof *KV_TYPES };

bool hn_kv_type_supported(hn_dtype type) {
    for (int i = 0; i < N_KV_TYPES; i++)
        if (KV_TYPES[i] == type)
            return true;
    return false;
}

hn_status hn_kv_type_parse(const char *name, hn_dtype *type, hn_error *err) {
    hn_dtype found;
    if (!hn_dtype_from_name(name, &found) || !hn_kv_type_supported(found))
        return hn_fail(err, HN_USAGE, "KV type '%s': f32, f16, q8_0 and q4_0 are there", name);
    *type = found;
    return HN_OK;
}

size_t hn_kv_type_block_bytes(hn_dtype type, int dim) {
    const hn_dtype_info *info = hn_dtype_get(type);
    size_t values = (size_t)HN_KV_BLOCK * (size_t)dim;
    if (!hn_dtype_is_quantised(type))
        return values * info->block_bytes;
    /* The last group may be short: its scale is whole, its codes are as many as it has. */
    size_t groups = ((size_t)dim + HN_KV_GROUP - 1) / HN_KV_GROUP;
    size_t scale_bytes = sizeof(uint16_t), code_bytes = info->block_bytes - scale_bytes;
    return groups * HN_KV_BLOCK * scale_bytes + values * code_bytes / info->block_values;
}

uint64_t hn_kv_type_bytes_per_token(hn_dtype type, const hn_arch *arch) {
    size_t block = hn_kv_type_block_bytes(type, hn_kv_padded_dim(arch->head_dim));
    return 2 * (uint64_t)arch->n_layer * (uint64_t)arch->n_head_kv * block / HN_KV_BLOCK;
}
