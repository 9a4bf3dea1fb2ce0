/* Rows of a checkpoint's tensors as another file wants them, and a parallel loop over rows. */
#include "release/weights.h"

#include "kernels/matrix.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* In the order of hn_module. */
static const char *const MODULES[HN_MODULE_COUNT] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                                     "ffn_gate", "ffn_up", "ffn_down"};

static int find_module(const char *kind) {
    for (int m = 0; m < HN_MODULE_COUNT; m++)
        if (!strcmp(kind, MODULES[m]))
            return m;
    return -1;
}

static bool is_norm(const char *name) {
    size_t n = strlen(name), tail = strlen("norm.weight");
    return n >= tail && !strcmp(name + n - tail, "norm.weight");
}

hn_weight hn_weight_of(const hn_checkpoint *ckpt, const hn_tensor *tensor,
                       const hn_adapter *adapter, bool gguf_order) {
    const hn_arch *arch = &ckpt->arch;
    const hn_family *family = hn_family_find(arch->family, strlen(arch->family));
    hn_weight weight = {.tensor = tensor, .layer = -1, .module = -1};
    char kind[32] = "", what[16] = "";
    if (sscanf(tensor->name, "blk.%6d.%31[a-z_].%15s", &weight.layer, kind, what) == 3) {
        int module = find_module(kind);
        bool turned = module == HN_MODULE_Q || module == HN_MODULE_K;
        hn_rope_style wanted = gguf_order ? family->gguf_rope : HN_ROPE_HALVES;
        if (turned && wanted != arch->rope_style) {
            weight.head_dim = arch->head_dim;
            weight.to_pairs = wanted == HN_ROPE_PAIRS;
        }
        if (module >= 0 && !strcmp(what, "weight")) {
            weight.module = module;
            if (adapter && adapter->layers[weight.layer][module].r)
                weight.lora = &adapter->layers[weight.layer][module];
        }
    }
    if (family->norm_add_one && is_norm(tensor->name) && gguf_order != ckpt->is_gguf)
        weight.add = gguf_order ? 1.0f : -1.0f;
    return weight;
}

/* The row of the source that row `row` of the result is. hn_rope_pairs_row maps halves to pairs;
 * on pairs, row 2j + s of a head comes from s * d/2 + j. */
static int64_t source_row(const hn_weight *weight, int64_t row) {
    int head_dim = weight->head_dim;
    if (!head_dim)
        return row;
    if (!weight->to_pairs)
        return hn_rope_pairs_row(row, head_dim);
    int64_t in_head = row % head_dim;
    return row - in_head + in_head % 2 * (head_dim / 2) + in_head / 2;
}

static void dequantise_row(const hn_tensor *tensor, int64_t row, float *out) {
    size_t row_bytes = hn_dtype_row_bytes(tensor->dtype, (uint64_t)tensor->cols);
    hn_blocks_dequantise(tensor->dtype, (const uint8_t *)tensor->data + (size_t)row * row_bytes,
                         tensor->cols, out);
}

/* A bias of a reordered matrix is one row whose values are reordered. Biases are float. */
static void reordered_bias(const hn_weight *weight, float *out) {
    const hn_tensor *tensor = weight->tensor;
    size_t item_bytes = hn_dtype_row_bytes(tensor->dtype, 1);
    for (int64_t i = 0; i < tensor->cols; i++)
        hn_blocks_dequantise(
            tensor->dtype,
            (const uint8_t *)tensor->data + (size_t)source_row(weight, i) * item_bytes, 1, out + i);
}

/* DoRA: the row's direction stays, its length is learned. */
static void set_norm(float *row, int64_t n, float norm) {
    double square = 0;
    for (int64_t i = 0; i < n; i++)
        square += (double)row[i] * (double)row[i];
    float factor = square > 0 ? (float)((double)norm / sqrt(square)) : 0;
    for (int64_t i = 0; i < n; i++)
        row[i] *= factor;
}

void hn_weight_row(const hn_weight *weight, int64_t row, float *base, float *merged) {
    const hn_tensor *tensor = weight->tensor;
    int64_t cols = tensor->cols, from = source_row(weight, row);
    if (tensor->rows == 1 && weight->head_dim)
        reordered_bias(weight, base);
    else
        dequantise_row(tensor, from, base);
    if (weight->add != 0)
        for (int64_t i = 0; i < cols; i++)
            base[i] += weight->add;
    if (merged != base)
        memcpy(merged, base, (size_t)cols * sizeof *merged);
    const hn_lora *lora = weight->lora;
    for (int r = 0; lora && r < lora->r; r++) {
        float factor = lora->scale * lora->b[from * lora->r + r];
        const float *a = lora->a + (int64_t)r * cols;
        for (int64_t i = 0; i < cols; i++)
            merged[i] += factor * a[i];
    }
    if (lora && lora->magnitude)
        set_norm(merged, cols, lora->magnitude[from]);
}

typedef struct rows_job {
    hn_rows_fn *work;
    void *context;
    int64_t last;
    _Atomic int64_t next;
    atomic_bool failed;
} rows_job;

static void run_rows(void *arg, int thread, int n_threads) {
    enum { GRAIN = 8 }; /* rows taken at a time: feedback.c works on as many together */
    rows_job *job = arg;
    (void)n_threads;
    for (;;) {
        int64_t first = atomic_fetch_add(&job->next, GRAIN);
        if (first >= job->last || atomic_load(&job->failed))
            return;
        int64_t last = first + GRAIN < job->last ? first + GRAIN : job->last;
        if (!job->work(job->context, first, last, thread))
            atomic_store(&job->failed, true);
    }
}

bool hn_rows_run(hn_pool *pool, int64_t first, int64_t last, hn_rows_fn *work, void *context) {
    rows_job job = {.work = work, .context = context, .last = last, .next = first};
    hn_pool_run(pool, run_rows, &job);
    return !atomic_load(&job.failed);
}
