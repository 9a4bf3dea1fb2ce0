/* One matrix or vector of a checkpoint on its way into another file: dequantised, adapter merged
 * in, rows in the order and norms with the offset that the other format wants. Private to release/.
 */
#pragma once

#include "base/pool.h"
#include "model/adapter.h"
#include "model/checkpoint.h"

typedef struct hn_weight {
    const hn_tensor *tensor;
    const hn_lora *lora; /* NULL = not adapted */
    int layer;           /* -1 = of no layer */
    int module;          /* hn_module, or -1 */
    int head_dim;  /* rows (or a bias's columns) are reordered by heads of this size; 0 = no */
    bool to_pairs; /* ... from halves to pairs, or back */
    float add;     /* to be added to each value */
} hn_weight;

/* gguf_order: q and k as GGUF has them for this family, norms as GGUF has them; otherwise as
 * Hugging Face has them. adapter may be NULL. */
hn_weight hn_weight_of(const hn_checkpoint *ckpt, const hn_tensor *tensor,
                       const hn_adapter *adapter, bool gguf_order);
/* Row `row` of the result; base and merged (cols) may be the same buffer. */
void hn_weight_row(const hn_weight *weight, int64_t row, float *base, float *merged);

/* Calls work(context, row, thread) for all rows on the pool, in any order; stops early when it
 * returns false. */
typedef bool hn_rows_fn(void *context, int64_t first, int64_t last, int thread);
bool hn_rows_run(hn_pool *pool, int64_t first, int64_t last, hn_rows_fn *work, void *context);
