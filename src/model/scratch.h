/* What hn_forward needs besides weights and cache: one block of memory a model, grown at first use
 * and kept, so that steps allocate nothing. */
#pragma once

#include "base/status.h"
#include "kernels/matrix.h"
#include "model/arch.h"

#include <stddef.h>

/* Rows a pass through the layers takes at once: enough for the products' full speed, and a prompt
 * of any length needs no more memory than this many. */
enum { HN_FORWARD_CHUNK = 512 };

/* Where a row of the batch stands. */
typedef struct hn_row_place {
    int32_t seq, position, adapter;
} hn_row_place;

typedef struct hn_scratch {
    int n_rows; /* that fit */
    hn_row_place *places;
    int *order;       /* (n_rows) attention's, see hn_attention_order */
    float *x;         /* (n_rows, n_embd) the residual stream */
    float *y;         /* (n_rows, n_embd) normed input of adapters; outputs before a post norm */
    float *q;         /* (n_rows, n_head * head_dim) */
    float *k, *v;     /* (n_rows, n_head_kv * head_dim) */
    float *att;       /* (n_rows, n_head * head_dim) */
    float *gate, *up; /* (n_rows, n_ff) */
    float *lora;      /* (n_rows, HN_LINEAR_MAX_OUTPUTS, lora_rank) */
    int lora_rank;
    float *rope[2]; /* global, local: (n_rows, rope_dim / 2, {cos, sin}) */
    void *memory;
    size_t bytes;
} hn_scratch;

/* Makes room for n_rows rows and adapters of rank up to `rank`; what it held is lost when it grows.
 */
HN_MUST_CHECK hn_status hn_scratch_reserve(hn_scratch **scratch, const hn_arch *arch, int n_rows,
                                           int rank, hn_error *err);
void hn_scratch_free(hn_scratch *scratch);
