/* Matrix by matrix: rows to floats, to blocks of the wanted type, to the packed layout. */
#include "model/retype.h"

#include "base/mem.h"

typedef struct rounding {
    const hn_retype *how;
    const hn_matrix_source *source;
    hn_dtype dtype;
    uint8_t *blocks;  /* of the whole matrix */
    float *x;         /* (threads, cols) */
    hn_error *errors; /* (threads) */
} rounding;

static void round_share(void *arg, int thread, int n_threads) {
    const rounding *r = arg;
    const hn_matrix_source *s = r->source;
    const size_t from_bytes = hn_dtype_row_bytes(s->dtype, (uint64_t)s->cols);
    const size_t to_bytes = hn_dtype_row_bytes(r->dtype, (uint64_t)s->cols);
    float *x = r->x + thread * s->cols;
    long first, last;
    hn_pool_share((long)s->rows, 1, thread, n_threads, &first, &last);
    for (long row = first; row < last; row++) {
        hn_blocks_dequantise(s->dtype, (const uint8_t *)s->data + (size_t)row * from_bytes, s->cols,
                             x);
        if (r->how->round_row(r->dtype, x, s->cols, r->blocks + (size_t)row * to_bytes,
                              &r->errors[thread]) != HN_OK) {
            (void)hn_error_prefix(&r->errors[thread], "row %ld", row);
            return;
        }
    }
}

static hn_status round_matrix(hn_compute *compute, rounding *r, int n_threads, hn_error *err) {
    for (int t = 0; t < n_threads; t++)
        r->errors[t].status = HN_OK;
    hn_pool_run(hn_compute_pool(compute), round_share, r);
    for (int t = 0; t < n_threads; t++) /* shares are in order: the first bad row is named */
        if (r->errors[t].status != HN_OK) {
            if (err)
                *err = r->errors[t];
            return r->errors[t].status;
        }
    return HN_OK;
}

/* `source` as it shall be packed. */
static hn_status pack_one(hn_compute *compute, const hn_matrix_source *source, hn_error *err) {
    hn_weights weights;
    HN_TRY(hn_matrices_pack(compute, source, 1, NULL, &weights, err));
    source->out->borrowed = false; /* the memory is this one matrix */
    return HN_OK;
}

static hn_status pack_rounded(hn_compute *compute, const hn_retype *how,
                              const hn_matrix_source *source, hn_dtype dtype, hn_error *err) {
    const int n_threads = hn_pool_threads(hn_compute_pool(compute));
    const size_t row_bytes = hn_dtype_row_bytes(dtype, (uint64_t)source->cols);
    const size_t from_bytes = hn_dtype_row_bytes(source->dtype, (uint64_t)source->cols);
    rounding r = {.how = how, .source = source, .dtype = dtype};
    hn_matrix_source rounded = *source;
    hn_status status = HN_OK;
    r.blocks = hn_reallocarray(NULL, (size_t)source->rows, row_bytes);
    r.x = hn_reallocarray(NULL, (size_t)n_threads * (size_t)source->cols, sizeof *r.x);
    r.errors = hn_calloc((size_t)n_threads, sizeof *r.errors);
    if (!r.blocks || !r.x || !r.errors)
        HN_GO(hn_fail_no_memory(err, (size_t)source->rows * row_bytes));
    status = round_matrix(compute, &r, n_threads, err);
    if (status != HN_OK) {
        status = hn_error_prefix(err, "%s", source->name);
        goto done;
    }
    if (source->map)
        hn_map_release(source->map, source->data, (size_t)source->rows * from_bytes);
    rounded.dtype = dtype;
    rounded.data = r.blocks;
    rounded.map = NULL;
    HN_GO(pack_one(compute, &rounded, err));
done:
    hn_free(r.blocks);
    hn_free(r.x);
    hn_free(r.errors);
    return status;
}

hn_status hn_retype_pack(hn_compute *compute, const hn_retype *how, const hn_matrix_source *sources,
                         const hn_dtype *types, int n, hn_error *err) {
    for (int i = 0; i < n; i++)
        HN_TRY(types[i] == sources[i].dtype
                   ? pack_one(compute, &sources[i], err)
                   : pack_rounded(compute, how, &sources[i], types[i], err));
    return HN_OK;
}
