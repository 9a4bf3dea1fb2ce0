/* Rows of floats into blocks of a type: plain rounding for float types, a searched grid and the
 * nearest codes for quantised ones. */
#include "base/mem.h"
#include "release/grid.h"
#include "release/quantise.h"

#include <math.h>
#include <string.h>

static void write_floats(hn_dtype dtype, const float *values, int64_t count, uint8_t *out) {
    if (dtype == HN_F32) {
        memcpy(out, values, (size_t)count * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        uint16_t half = dtype == HN_F16 ? hn_grid_half(values[i]) : hn_f32_to_bf16(values[i]);
        memcpy(out + i * 2, &half, sizeof half);
    }
}

static void quantise_block(hn_dtype dtype, const float *x, const float *weight, uint8_t *block) {
    hn_grid grid;
    uint8_t codes[HN_GRID_MAX_VALUES];
    float alike[HN_GRID_MAX_VALUES];
    for (int i = 0; !weight && i < (int)hn_dtype_get(dtype)->block_values; i++)
        alike[i] = 1;
    hn_grid_fit(&grid, dtype, x, weight ? weight : alike, false);
    for (int i = 0; i < grid.n_values; i++)
        codes[i] = (uint8_t)hn_grid_code(&grid, i, x[i]);
    hn_grid_pack(&grid, codes, block);
}

hn_status hn_importance_weights(const float *importance, int64_t cols, float *weights,
                                hn_error *err) {
    const float floor_share = 1e-3f;
    double sum = 0;
    for (int64_t i = 0; importance && i < cols; i++) {
        if (!(importance[i] >= 0) || !isfinite(importance[i]))
            return hn_fail(err, HN_BAD_INPUT, "importance of column %lld is no number from 0 up",
                           (long long)i);
        sum += (double)importance[i];
    }
    float scale = sum > 0 ? (float)((double)cols / sum) : 0;
    for (int64_t i = 0; i < cols; i++) {
        float weight = importance ? importance[i] * scale : 1;
        weights[i] = sum > 0 && weight < floor_share ? floor_share : weight;
        if (importance && !(sum > 0))
            weights[i] = 1;
    }
    return HN_OK;
}

hn_status hn_row_quantise(hn_dtype dtype, const float *x, const float *weights, int64_t cols,
                          uint8_t *out, hn_error *err) {
    for (int64_t i = 0; i < cols; i++)
        if (!isfinite(x[i]))
            return hn_fail(err, HN_BAD_INPUT, "column %lld holds an infinity or NaN", (long long)i);
    const hn_dtype_info *info = hn_dtype_get(dtype);
    if (!hn_dtype_is_quantised(dtype)) {
        write_floats(dtype, x, cols, out);
        return HN_OK;
    }
    if (!hn_grid_supports(dtype) || cols % info->block_values)
        return hn_fail(err, HN_UNSUPPORTED, "%lld values can't be quantised to %s", (long long)cols,
                       hn_dtype_name(dtype));
    for (int64_t col = 0; col < cols; col += info->block_values, out += info->block_bytes)
        quantise_block(dtype, x + col, weights ? weights + col : NULL, out);
    return HN_OK;
}

hn_status hn_blocks_quantise(hn_dtype dtype, const float *values, int64_t n_rows, int64_t cols,
                             const float *importance, void *blocks, hn_error *err) {
    size_t row_bytes = hn_dtype_row_bytes(dtype, (uint64_t)cols);
    float *weights = hn_reallocarray(NULL, (size_t)cols, sizeof *weights);
    if (!weights)
        return hn_fail_no_memory(err, (size_t)cols * sizeof *weights);
    hn_status status = hn_importance_weights(importance, cols, weights, err);
    for (int64_t row = 0; row < n_rows && status == HN_OK; row++) {
        status = hn_row_quantise(dtype, values + row * cols, weights, cols,
                                 (uint8_t *)blocks + (size_t)row * row_bytes, err);
        if (status != HN_OK)
            status = hn_error_prefix(err, "row %lld", (long long)row);
    }
    hn_free(weights);
    return status;
}
