/* hn_linear_run: norm or activation, then products of up to three matrices with the same rows. */
#include "kernels/compute.h"
#include "kernels/low_rank.h"
#include "kernels/work_left.h"

#include <string.h>

enum {
    /* From two rows on arithmetic takes part of the time, and a thread that ends early can help.
     * One row is read at the memory's pace, of which a thread that is done leaves the others more.
     */
    MIN_ROWS_BALANCED = 2,
    /* Rounded weights are taken at a time by bytes for some microseconds' work, and of more rows
     * than MANY_ROWS by groups: each time all rows are read again. */
    TAKEN_BYTES = 16 << 10,
    MANY_ROWS = 16,
    TAKEN_GROUPS = 2,
    /* Rows that a thread prepares at a time. Short rows are rounded several at once: by themselves
     * they'd leave the last registers of kernels that take eight blocks partly empty. */
    PREPARED_ROWS = 4,
};

typedef struct linear_job {
    hn_compute *compute;
    const hn_linear *linear;
    bool wants_i8, wants_bf16; /* of any output */
    int64_t cols;
    int64_t act_blocks; /* of a row */
    float *input;       /* x after the norm or the activation; NULL when there is neither: (n, cols)
                           where f32 products read it, else (PREPARED_ROWS, cols) a thread */
    bool keeps_input;   /* the former */
    hn_act_block *acts; /* (n, act_blocks) */
    uint16_t *bf16;     /* (n, act_blocks * 32) */
    uint8_t *panels;    /* thread_bytes a thread: HN_PANELS_BYTES, then a low-rank factor's */
    size_t thread_bytes;
    hn_work_left *left; /* a thread; NULL = each share does its own groups at once */
    int64_t taken;      /* groups at a time */
} linear_job;

static int64_t groups_of(const hn_matrix *w) {
    return (w->rows + HN_UNIT_ROWS - 1) / HN_UNIT_ROWS;
}

static int64_t groups_of_all(const hn_linear *l) {
    int64_t total = 0;
    for (int o = 0; o < l->n_outputs; o++)
        total += groups_of(l->output[o].w);
    return total;
}

/* y = bias (+ y), so that products can be added to it. */
static void put_bias(const hn_linear *l, int o, int64_t col, int64_t width) {
    for (int64_t i = 0; i < l->n; i++) {
        float *y = l->output[o].y + i * l->output[o].y_stride + col;
        const float *bias = l->output[o].bias + col;
        for (int64_t j = 0; j < width; j++)
            y[j] = l->output[o].accumulate ? y[j] + bias[j] : bias[j];
    }
}

/* Groups [first, first + count) of output o, count <= HN_PANEL_GROUPS. */
static void multiply_groups(const hn_compute *compute, const hn_linear *l, int o, const float *x,
                            int64_t x_stride, int64_t first, int64_t count, float *panels) {
    const hn_kernels *kernels = compute->kernels;
    const hn_matrix *w = l->output[o].w;
    const hn_layout layout = HN_LAYOUTS[w->dtype];
    const size_t unit_bytes = hn_layout_unit_bytes(layout);
    const size_t group_bytes = hn_layout_group_bytes(layout, w->cols);
    const uint8_t *group = (const uint8_t *)w->packed + (size_t)first * group_bytes;
    const int64_t col = first * HN_UNIT_ROWS;
    const int64_t width = hn_min_i64(count * HN_UNIT_ROWS, w->rows - col);
    const int64_t chunk = hn_f32_chunk(w->cols);
    const hn_low_rank *low_rank = &l->output[o].low_rank;
    float *ranks = panels + HN_PANELS_BYTES / (int)sizeof *panels;
    bool add = l->output[o].accumulate;
    if (l->output[o].bias) {
        put_bias(l, o, col, width);
        add = true;
    }
    if (low_rank->t)
        hn_low_rank_unpack(kernels, low_rank, 0, col, width, ranks);
    for (int64_t k = 0; k < w->cols; k += chunk, add = true) {
        const int64_t n_k = hn_min_i64(chunk, w->cols - k);
        const bool last = k + n_k == w->cols;
        const uint8_t *units = group + (size_t)(k / HN_UNIT_COLS) * unit_bytes;
        const float *b = panels;
        int64_t b_panel = HN_PANEL_STRIDE;
        if (w->dtype == HN_F32) {
            b = (const float *)(const void *)units;
            b_panel = (int64_t)(group_bytes / sizeof(float));
        } else {
            for (int64_t g = 0; g < count; g++)
                kernels->unpack_f32[w->dtype](units + (size_t)g * group_bytes, hn_layout_units(n_k),
                                              panels + g * HN_PANEL_STRIDE);
        }
        for (int64_t i = 0; i < l->n; i += HN_ROW_CHUNK) {
            const int64_t n = hn_min_i64(HN_ROW_CHUNK, l->n - i), stride = l->output[o].y_stride;
            float *y = l->output[o].y + i * stride + col;
            kernels->gemm_f32(n, width, n_k, x + i * x_stride + k, x_stride, 1, b, b_panel, y,
                              stride, 1, add ? 1 : 0);
            if (last && low_rank->t)
                hn_low_rank_add(kernels, low_rank, i, n, width, ranks, y, stride);
        }
    }
}

static bool is_i8(const hn_linear *l, int o) {
    return l->numerics == HN_NUMERICS_INT8 && hn_dtype_is_quantised(l->output[o].w->dtype);
}

/* A matrix of bf16 takes activations rounded to bf16 where that is quicker and the caller didn't
 * ask for f32. */
static bool is_bf16(const hn_compute *compute, const hn_linear *l, int o) {
    return l->numerics == HN_NUMERICS_INT8 && l->output[o].w->dtype == HN_BF16 &&
           compute->kernels->has_fast_bf16;
}

/* The low-rank part of columns [col, col + width) of output o. */
static void add_low_rank(const linear_job *job, int o, int64_t col, int64_t width, float *panels) {
    const hn_linear *l = job->linear;
    const hn_kernels *kernels = job->compute->kernels;
    const int64_t step = HN_PANEL_GROUPS * HN_UNIT_ROWS, stride = l->output[o].y_stride;
    float *ranks = panels + HN_PANELS_BYTES / (int)sizeof *panels;
    for (int64_t c = 0; c < width; c += step) {
        const int64_t part = hn_min_i64(step, width - c);
        hn_low_rank_unpack(kernels, &l->output[o].low_rank, 0, col + c, part, ranks);
        for (int64_t i = 0; i < l->n; i += HN_ROW_CHUNK)
            hn_low_rank_add(kernels, &l->output[o].low_rank, i, hn_min_i64(HN_ROW_CHUNK, l->n - i),
                            part, ranks, l->output[o].y + i * stride + col + c, stride);
    }
}

/* Groups [first, end) of output o from the rounded activations of slot `slot` and on. */
static void multiply_rounded(const linear_job *job, int o, int64_t slot, int64_t first, int64_t end,
                             float *panels) {
    const hn_linear *l = job->linear;
    const hn_matrix *w = l->output[o].w;
    const size_t group_bytes = hn_layout_group_bytes(HN_LAYOUTS[w->dtype], w->cols);
    const int64_t col = first * HN_UNIT_ROWS;
    const int64_t width = hn_min_i64(end * HN_UNIT_ROWS, w->rows) - col;
    bool add = l->output[o].accumulate;
    if (l->output[o].bias) {
        put_bias(l, o, col, width);
        add = true;
    }
    const hn_kernels *kernels = job->compute->kernels;
    const uint8_t *groups = (const uint8_t *)w->packed + (size_t)first * group_bytes;
    const int64_t n_units = hn_layout_units(w->cols), act_cols = job->act_blocks * HN_BLOCK_COLS;
    float *y = l->output[o].y + col;
    if (is_i8(l, o))
        kernels->gemm_i8[w->dtype](l->n, width, n_units, groups, job->acts + slot * job->act_blocks,
                                   job->act_blocks, y, l->output[o].y_stride, add);
    else
        kernels->gemm_bf16(l->n, width, n_units, groups, job->bf16 + slot * act_cols, act_cols, y,
                           l->output[o].y_stride, add);
    if (l->output[o].low_rank.t)
        add_low_rank(job, o, col, width, panels);
}

/* Where a thread puts what it makes of the row for slot `slot`. */
static float *input_of(const linear_job *job, int64_t slot, int thread) {
    return job->input + (job->keeps_input ? slot : (int64_t)thread * PREPARED_ROWS) * job->cols;
}

/* Norms, activates and rounds rows [from, from + n), n <= PREPARED_ROWS, into the scratch from slot
 * `to` on. */
static void prepare_rows(const linear_job *job, int thread, int64_t from, int64_t n, int64_t to) {
    const hn_linear *l = job->linear;
    const hn_kernels *kernels = job->compute->kernels;
    const float *x = l->x + from * l->x_stride;
    int64_t stride = l->x_stride;
    if (job->input) {
        float *out = input_of(job, to, thread);
        for (int64_t i = 0; i < n; i++)
            if (l->norm)
                kernels->rms_norm(job->cols, x + i * stride, l->norm, l->norm_eps,
                                  out + i * job->cols);
            else
                l->activate(x + i * stride, l->up + (from + i) * stride, out + i * job->cols,
                            (long)job->cols);
        x = out;
        stride = job->cols;
    }
    /* Rows of whole units without gaps are like one long row. */
    const bool joined = stride == job->cols && job->cols % HN_UNIT_COLS == 0;
    const int64_t width = joined ? n * job->cols : job->cols;
    for (int64_t i = 0; i < (joined ? 1 : n); i++) {
        const int64_t block = (to + i) * job->act_blocks;
        if (job->wants_i8)
            kernels->round_i8(width, x + i * stride, job->acts + block);
        if (job->wants_bf16)
            kernels->round_bf16(width, x + i * stride, job->bf16 + block * HN_BLOCK_COLS);
    }
}

static void prepare_share(void *arg, int thread, int n_threads) {
    const linear_job *job = arg;
    const int64_t even = (job->linear->n + n_threads - 1) / n_threads;
    long first, last;
    while (
        hn_work_take(job->left, thread, n_threads, hn_min_i64(even, PREPARED_ROWS), &first, &last))
        prepare_rows(job, thread, first, last - first, first);
}

/* Groups [first, last) of all outputs' groups, from the activations of slot `slot` and on. */
static void multiply_range(const linear_job *job, int64_t slot, int64_t first, int64_t last,
                           const float *x, int64_t x_stride, float *panels) {
    const hn_linear *l = job->linear;
    int64_t base = 0; /* of output o's groups within all of them */
    for (int o = 0; o < l->n_outputs; base += groups_of(l->output[o].w), o++) {
        int64_t g = first > base ? first - base : 0;
        int64_t end = hn_min_i64(last - base, groups_of(l->output[o].w));
        if (g < end && (is_i8(l, o) || is_bf16(job->compute, l, o)))
            multiply_rounded(job, o, slot, g, end, panels);
        else
            for (; g < end; g += HN_PANEL_GROUPS)
                multiply_groups(job->compute, l, o, x, x_stride, g,
                                hn_min_i64(HN_PANEL_GROUPS, end - g), panels);
    }
}

static void multiply_share(void *arg, int thread, int n_threads) {
    const linear_job *job = arg;
    const hn_linear *l = job->linear;
    int64_t slot = 0;
    if (l->n == 1) { /* each share for itself: cheaper than a region */
        slot = thread;
        prepare_rows(job, thread, 0, 1, slot);
    }
    const float *x = job->input ? input_of(job, slot, thread) : l->x;
    const int64_t x_stride = job->input ? job->cols : l->x_stride;
    float *panels = (float *)(void *)(job->panels + (size_t)thread * job->thread_bytes);

    long first, last;
    if (!job->left) {
        hn_pool_share((long)groups_of_all(l), 1, thread, n_threads, &first, &last);
        multiply_range(job, slot, first, last, x, x_stride, panels);
        return;
    }
    while (hn_work_take(job->left, thread, n_threads, job->taken, &first, &last))
        multiply_range(job, slot, first, last, x, x_stride, panels);
}

/* Groups that a thread takes at a time. */
static int64_t groups_taken(const linear_job *job) {
    const hn_matrix *w = job->linear->output[0].w;
    if (!job->wants_i8 && !job->wants_bf16)
        return HN_PANEL_GROUPS;
    if (job->linear->n > MANY_ROWS)
        return TAKEN_GROUPS;
    const int64_t groups =
        TAKEN_BYTES / (int64_t)hn_layout_group_bytes(HN_LAYOUTS[w->dtype], w->cols);
    return groups > 1 ? groups : 1;
}

/* The job with all its scratch. */
static hn_status set_up(linear_job *job, hn_compute *compute, const hn_linear *l, hn_error *err) {
    const int n_threads = hn_pool_threads(compute->pool);
    const int64_t cols = l->output[0].w->cols;
    *job = (linear_job){.compute = compute,
                        .linear = l,
                        .cols = cols,
                        .act_blocks = hn_layout_units(cols) * HN_UNIT_BLOCKS,
                        .thread_bytes = HN_PANELS_BYTES};
    for (int o = 0; o < l->n_outputs; o++) {
        job->wants_i8 |= is_i8(l, o);
        job->wants_bf16 |= is_bf16(compute, l, o);
        job->keeps_input |= !is_i8(l, o) && !is_bf16(compute, l, o);
        const size_t bytes = HN_PANELS_BYTES + hn_low_rank_bytes(l->output[o].low_rank.r);
        job->thread_bytes = bytes > job->thread_bytes ? bytes : job->thread_bytes;
    }
    const size_t slots = (size_t)(l->n == 1 ? n_threads : l->n);
    void *scratch;
    if (l->norm || l->activate) {
        const size_t rows = job->keeps_input ? slots : (size_t)n_threads * PREPARED_ROWS;
        HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_INPUT, rows * (size_t)cols * sizeof(float),
                                  &scratch, err));
        job->input = scratch;
    }
    if (job->wants_i8) {
        HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_ACTS,
                                  slots * (size_t)job->act_blocks * sizeof(hn_act_block), &scratch,
                                  err));
        job->acts = scratch;
    }
    if (job->wants_bf16) {
        HN_TRY(hn_compute_scratch(
            compute, HN_SCRATCH_BF16,
            slots * (size_t)job->act_blocks * HN_BLOCK_COLS * sizeof *job->bf16, &scratch, err));
        job->bf16 = scratch;
    }
    HN_TRY(hn_compute_scratch(compute, HN_SCRATCH_PANELS, (size_t)n_threads * job->thread_bytes,
                              &scratch, err));
    job->panels = scratch;
    return HN_OK;
}

hn_status hn_linear_reserve(hn_compute *compute, const hn_linear *l, hn_error *err) {
    linear_job job;
    return set_up(&job, compute, l, err);
}

hn_status hn_linear_run(hn_compute *compute, const hn_linear *l, hn_error *err) {
    linear_job job;
    HN_TRY(set_up(&job, compute, l, err));
    if (l->n > 1 && (job.input || job.wants_i8 || job.wants_bf16)) {
        HN_TRY(hn_work_share(compute, l->n, &job.left, err));
        hn_pool_run(compute->pool, prepare_share, &job);
        job.left = NULL;
    }
    job.taken = groups_taken(&job);
    if (hn_pool_threads(compute->pool) > 1 && l->n >= MIN_ROWS_BALANCED)
        HN_TRY(hn_work_share(compute, groups_of_all(l), &job.left, err));
    hn_pool_run(compute->pool, multiply_share, &job);
    return HN_OK;
}
