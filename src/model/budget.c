#include "model/budget.h"

#include "kernels/layout.h"

#include <stdio.h>

enum {
    /* Less than this isn't worth looking at files for: what is that short of memory is lost. */
    WORTH_A_LOOK_BYTES = 8 << 20,
    MIN_CONTEXT = 64, /* less is no help to anybody */
};

/* With tokenizer, activations, and what else comes with so many bytes of weights. */
static uint64_t with_rest(uint64_t bytes) {
    enum { TOKENIZER_BYTES = 16 << 20 };
    return bytes + bytes / 16 + TOKENIZER_BYTES;
}

typedef struct size_text {
    char text[24];
} size_text;

static size_text say(uint64_t bytes) {
    size_text out;
    if (bytes >= 1000000000)
        snprintf(out.text, sizeof out.text, "%.1f GB", (double)bytes * 1e-9);
    else
        snprintf(out.text, sizeof out.text, "%.0f MB", (double)bytes * 1e-6);
    return out;
}

static uint64_t packed_as(hn_dtype dtype, const hn_matrix_source *sources, int n) {
    uint64_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += (uint64_t)((sources[i].rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS) *
                 hn_layout_group_bytes(HN_LAYOUTS[dtype], sources[i].cols);
    return bytes;
}

hn_status hn_budget_weights(const char *path, const hn_matrix_source *sources, int n,
                            const hn_memory *memory, hn_error *err) {
    size_t bytes;
    HN_TRY(hn_matrices_bytes(sources, n, &bytes, err));
    const uint64_t needed = with_rest(bytes);
    if (bytes < WORTH_A_LOOK_BYTES || needed <= memory->free_bytes)
        return HN_OK;
    /* The types that differ in what they take in memory, the finest first. */
    static const hn_dtype TYPES[] = {HN_Q8_0, HN_Q5_0, HN_Q4_0};
    char fits[160] = "nothing of this model fits: free some memory, or take a smaller model";
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
        const uint64_t less = with_rest(packed_as(TYPES[t], sources, n));
        if (less > memory->free_bytes || less >= needed)
            continue;
        snprintf(fits, sizeof fits, "as %s it takes %s and fits (hone quantize --type %s)",
                 hn_dtype_name(TYPES[t]), say(less).text, hn_dtype_name(TYPES[t]));
        break;
    }
    return hn_fail(err, HN_NO_MEMORY, "%s: it takes %s of memory, and %s are free within %s; %s",
                   path, say(needed).text, say(memory->free_bytes).text, memory->limit, fits);
}

/* Positions up to `wanted` that fit; 0 when too few do. */
static int64_t context_for(const hn_arch *arch, hn_dtype type, uint64_t free_bytes,
                           int64_t wanted) {
    int64_t n =
        (int64_t)(free_bytes / hn_kv_type_bytes_per_token(type, arch) / HN_KV_BLOCK * HN_KV_BLOCK);
    n -= HN_KV_BLOCK; /* the cache holds a block more */
    return n < MIN_CONTEXT ? 0 : n < wanted ? n : wanted;
}

hn_status hn_budget_kv(const hn_arch *arch, hn_dtype type, int64_t n_positions,
                       const hn_memory *memory, hn_error *err) {
    uint64_t needed;
    if (__builtin_mul_overflow(hn_kv_type_bytes_per_token(type, arch), (uint64_t)n_positions,
                               &needed))
        needed = UINT64_MAX;
    if (needed < WORTH_A_LOOK_BYTES || needed <= memory->free_bytes)
        return HN_OK;
    static const hn_dtype TYPES[] = {HN_F32, HN_F16, HN_Q8_0, HN_Q4_0};
    char fits[200];
    size_t used = 0;
    for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
        const int64_t n = context_for(arch, TYPES[t], memory->free_bytes, n_positions);
        if (n == 0 ||
            hn_kv_type_bytes_per_token(TYPES[t], arch) > hn_kv_type_bytes_per_token(type, arch))
            continue;
        used +=
            (size_t)snprintf(fits + used, sizeof fits - used, "%s%lld in %s",
                             used ? ", " : "what fits: ", (long long)n, hn_dtype_name(TYPES[t]));
    }
    if (used == 0)
        snprintf(fits, sizeof fits, "no context of use fits: free some memory");
    return hn_fail(err, HN_NO_MEMORY,
                   "a context of %lld tokens takes %s in %s, and %s are free within %s; %s "
                   "(--ctx, --kv-type)",
                   (long long)n_positions, say(needed).text, hn_dtype_name(type),
                   say(memory->free_bytes).text, memory->limit, fits);
}
