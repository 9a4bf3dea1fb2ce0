/* From rows of a file to the packed layout (layout.h), and single rows back. */
#include "base/mem.h"
#include "kernels/blocks.h"
#include "kernels/compute.h"
#include "kernels/unit.h"

#include <math.h>
#include <stdatomic.h>

typedef struct pack_job {
    hn_dtype dtype;
    hn_layout layout;
    int64_t rows, cols;
    const uint8_t *data;
    size_t row_bytes;
    uint8_t *packed;
    _Atomic int64_t bad; /* row * cols + col of the first non-finite value, or INT64_MAX */
} pack_job;

static void report_bad(pack_job *job, int64_t row, int64_t col) {
    int64_t here = row * job->cols + col, seen = atomic_load(&job->bad);
    while (here < seen && !atomic_compare_exchange_weak(&job->bad, &seen, here)) {
    }
}

static void store_scale(hn_layout l, uint8_t *scales, int sub, int row, float value) {
    uint8_t *p = scales + (size_t)(sub * HN_UNIT_ROWS + row) * l.scale_bytes;
    if (l.scale_bytes == 2) {
        uint16_t half = hn_f32_to_f16(value);
        memcpy(p, &half, sizeof half);
    } else {
        memcpy(p, &value, sizeof value);
    }
}

/* 32 codes of one row into a block of a unit. */
static void store_codes(hn_layout l, uint8_t *unit, int block, int row, const uint8_t *code) {
    uint8_t *out = unit + hn_layout_codes_offset(l) + (size_t)block * hn_layout_block_bytes(l) +
                   (size_t)row * 4;
    if (l.code_bits == 8) {
        for (int q = 0; q < 8; q++)
            memcpy(out + q * 64, code + q * 4, 4);
        return;
    }
    for (int i = 0; i < 16; i++)
        out[i / 4 * 64 + i % 4] = (uint8_t)((code[i] & 15) | (code[i + 16] & 15) << 4);
    if (l.code_bits == 5) {
        uint8_t *high = unit + hn_layout_high_offset(l) + block * 64 + row * 4;
        for (int i = 0; i < 32; i++)
            high[i % 4] |= (uint8_t)((code[i] >> 4) << (i % 16 / 4 + i / 16 * 4));
    }
}

static void pack_quantised_row(pack_job *job, int64_t row) {
    const hn_layout l = job->layout;
    const hn_dtype_info *info = hn_dtype_get(job->dtype);
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    const int sub_values = HN_UNIT_COLS / l.sub_blocks;
    const uint8_t *src = job->data + (size_t)row * job->row_bytes;
    uint8_t *group =
        job->packed + (size_t)(row / HN_UNIT_ROWS) * hn_layout_group_bytes(l, job->cols);
    const int r = (int)(row % HN_UNIT_ROWS);
    hn_block_parts parts;
    for (int64_t col = 0; col < job->cols; col += info->block_values, src += info->block_bytes) {
        hn_block_split(job->dtype, src, &parts);
        for (int i = 0; i < (int)info->block_values; i += HN_BLOCK_COLS) {
            uint8_t *unit = group + (size_t)((col + i) / HN_UNIT_COLS) * unit_bytes;
            int at = (int)((col + i) % HN_UNIT_COLS); /* 0 or 32 */
            store_codes(l, unit, at / HN_BLOCK_COLS, r, parts.code + i);
            for (int v = 0; v < HN_BLOCK_COLS; v += sub_values) {
                int s = (i + v) / sub_values, sub = (at + v) / sub_values;
                if (!isfinite(parts.scale[s]) || !isfinite(parts.min[s]))
                    report_bad(job, row, col + i + v);
                store_scale(l, unit, sub, r, parts.scale[s]);
                if (l.has_min)
                    store_scale(l, unit + hn_layout_scales_bytes(l), sub, r, parts.min[s]);
            }
        }
    }
}

static void pack_float_row(pack_job *job, int64_t row) {
    const size_t size = job->layout.code_bits / 8;
    const uint8_t *src = job->data + (size_t)row * job->row_bytes;
    uint8_t *out = job->packed +
                   (size_t)(row / HN_UNIT_ROWS) * hn_layout_group_bytes(job->layout, job->cols) +
                   (size_t)(row % HN_UNIT_ROWS) * size;
    for (int64_t col = 0; col < job->cols; col++, src += size, out += HN_UNIT_ROWS * size) {
        float value;
        hn_blocks_dequantise(job->dtype, src, 1, &value);
        if (!isfinite(value))
            report_bad(job, row, col);
        memcpy(out, src, size);
    }
}

static void pack_share(void *arg, int thread, int n_threads) {
    pack_job *job = arg;
    long first, last;
    hn_pool_share(job->rows, HN_UNIT_ROWS, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++) {
        if (job->layout.sub_blocks)
            pack_quantised_row(job, row);
        else
            pack_float_row(job, row);
    }
}

hn_status hn_matrix_pack(hn_compute *compute, hn_matrix *out, hn_dtype dtype, int64_t rows,
                         int64_t cols, const void *data, hn_error *err) {
    const hn_dtype_info *info = hn_dtype_get(dtype);
    const hn_layout layout = HN_LAYOUTS[dtype];
    if (rows <= 0 || cols <= 0 || cols % info->block_values)
        return hn_fail(err, HN_BAD_INPUT,
                       "a matrix of %lld x %lld values can't be %s: columns come in blocks of %u",
                       (long long)rows, (long long)cols, info->name, info->block_values);
    size_t bytes, groups = (size_t)(rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS;
    if (cols > INT32_MAX || hn_mul_overflows(groups, hn_layout_group_bytes(layout, cols), &bytes))
        return hn_fail(err, HN_BAD_INPUT, "a matrix of %lld x %lld values is too large",
                       (long long)rows, (long long)cols);
    uint8_t *packed = hn_alloc_aligned(bytes);
    if (!packed)
        return hn_fail_no_memory(err, bytes);
    pack_job job = {
        .dtype = dtype,
        .layout = layout,
        .rows = rows,
        .cols = cols,
        .data = data,
        .row_bytes = hn_dtype_row_bytes(dtype, (uint64_t)cols),
        .packed = packed,
        .bad = INT64_MAX,
    };
    hn_pool_run(compute->pool, pack_share, &job);
    int64_t bad = atomic_load(&job.bad);
    if (bad != INT64_MAX) {
        hn_free_aligned(packed, bytes);
        return hn_fail(err, HN_BAD_INPUT,
                       "row %lld, column %lld: the %s isn't a finite number; the file is damaged",
                       (long long)(bad / cols), (long long)(bad % cols),
                       layout.sub_blocks ? "scale" : "value");
    }
    *out = (hn_matrix){
        .dtype = dtype, .rows = rows, .cols = cols, .packed = packed, .packed_bytes = bytes};
    return HN_OK;
}

void hn_matrix_done(hn_matrix *matrix) {
    hn_free_aligned(matrix->packed, matrix->packed_bytes);
    *matrix = (hn_matrix){0};
}

void hn_matrix_row(const hn_matrix *matrix, int64_t row, float *out) {
    const hn_layout l = HN_LAYOUTS[matrix->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(l);
    const uint8_t *unit = (const uint8_t *)matrix->packed +
                          (size_t)(row / HN_UNIT_ROWS) * hn_layout_group_bytes(l, matrix->cols);
    const int r = (int)(row % HN_UNIT_ROWS);
    for (int64_t col = 0; col < matrix->cols; col++) {
        const uint8_t *u = unit + (size_t)(col / HN_UNIT_COLS) * unit_bytes;
        int c = (int)(col % HN_UNIT_COLS);
        out[col] = l.sub_blocks ? hn_unit_value(l, u, r, c) : hn_unit_float(matrix->dtype, u, r, c);
    }
}
