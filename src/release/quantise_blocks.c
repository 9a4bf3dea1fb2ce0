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
    hn_grid_fit(&grid, dtype, x, weight);
    for (int i = 0; i < grid.n_values; i++)
        codes[i] = (uint8_t)hn_grid_code(&grid, i, x[i]);
    hn_grid_pack(&grid, codes, block);
}

/* Weights scaled to mean 1 with a floor: a column that the calibration never used still counts for
 * something, and sums stay far from f32's limits. */
static hn_status make_weights(const float *importance, int64_t cols, float *weights,
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

hn_status hn_blocks_quantise(hn_dtype dtype, const float *values, int64_t n_rows, int64_t cols,
                             const float *importance, void *blocks, hn_error *err) {
    uint8_t *out = blocks;
    const hn_dtype_info *info = hn_dtype_get(dtype);
    for (int64_t i = 0; i < n_rows * cols; i++)
        if (!isfinite(values[i]))
            return hn_fail(err, HN_BAD_INPUT, "row %lld, column %lld holds an infinity or NaN",
                           (long long)(i / cols), (long long)(i % cols));
    if (!hn_dtype_is_quantised(dtype)) {
        write_floats(dtype, values, n_rows * cols, out);
        return HN_OK;
    }
    if (!hn_grid_supports(dtype) || cols % info->block_values)
        return hn_fail(err, HN_UNSUPPORTED, "rows of %lld values can't be quantised to %s",
                       (long long)cols, hn_dtype_name(dtype));
    float *weights = hn_reallocarray(NULL, (size_t)cols, sizeof *weights);
    if (!weights)
        return hn_fail_no_memory(err, (size_t)cols * sizeof *weights);
    hn_status status = make_weights(importance, cols, weights, err);
    for (int64_t row = 0; row < n_rows && status == HN_OK; row++)
        for (int64_t col = 0; col < cols; col += info->block_values, out += info->block_bytes)
            quantise_block(dtype, values + row * cols + col, weights + col, out);
    hn_free(weights);
    return status;
}
