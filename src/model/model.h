/* A loaded model and its forward pass over one ragged batch (DESIGN.md items 1 to 4). */
#pragma once

#include "base/progress.h"
#include "base/status.h"
#include "base/turns.h"
#include "kernels/matrix.h"
#include "model/adapter.h"
#include "model/arch.h"
#include "model/checkpoint.h"
#include "model/weights_cache.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct hn_layer {
    hn_matrix w[HN_MODULE_COUNT];
    float *bias[HN_MODULE_COUNT];          /* NULL where there is none */
    float *attn_norm, *ffn_norm;           /* (n_embd) */
    float *q_norm, *k_norm;                /* (head_dim) or NULL */
    float *post_attn_norm, *post_ffn_norm; /* (n_embd) or NULL */
} hn_layer;

/* Sees the inputs of linear layers as hn_forward computes them, for calibration: x is (n, cols), of
 * q (k and v share it), o, gate (up shares it) and down. */
typedef struct hn_observer {
    void (*see)(void *context, int layer, hn_module module, const float *x, int64_t n,
                int64_t cols);
    void *context;
} hn_observer;

typedef struct hn_model {
    hn_arch arch;
    hn_checkpoint ckpt;
    hn_compute *compute;
    hn_weights weights;    /* of all matrices, when they are this process's own */
    hn_weights_map mapped; /* or a file of the weights cache */
    hn_weights_origin origin;
    hn_layer *layers;
    float *output_norm; /* (n_embd) */
    hn_matrix embed;    /* (n_vocab, n_embd) */
    hn_matrix head;     /* the same, when the head isn't tied */
    hn_numerics numerics;
    hn_dtype kv_type;                           /* of caches that hn_kv_new makes from now on */
    float *rope_inv_freq, *rope_inv_freq_local; /* (rope_dim / 2); local NULL without a window */
    const hn_observer *observer;                /* borrowed; NULL = nobody looks */
    hn_turns turns;                             /* who may use compute and scratch */
    struct hn_scratch *scratch;                 /* activations of hn_forward, grown at first use */
    bool thawed;          /* norms and biases lie in `weights` too, or in `vectors` (thaw.h) */
    hn_weights vectors;   /* after hn_model_thaw_vectors */
    float *tensor_values; /* what ckpt's tensors point to after hn_model_to_tensors, or NULL */
} hn_model;

typedef struct hn_model_options {
    int n_threads;                  /* 0 = hn_cpu_default_threads() */
    const char *isa;                /* NULL = HONE_ISA or the best */
    hn_numerics numerics;           /* default HN_NUMERICS_F32 (0); chat, eval and serve use INT8 */
    hn_weights_cache weights_cache; /* default OFF */
    hn_dtype kv_type; /* F32 (0, what training and calibration keep), F16, Q8_0 or Q4_0 */
    /* Matrices in other types than the file's (retype.h), without the weights cache; NULL = as they
     * are. Borrowed during hn_model_open; ckpt's tensors stay the file's. */
    const struct hn_retype *retype;
    /* Refused before the weights are touched: */
    bool chats;    /* a model without a chat template */
    int n_context; /* one that was trained for fewer tokens; 0 = none is */
} hn_model_options;

HN_MUST_CHECK hn_status hn_model_open(hn_model **out, const char *path,
                                      const hn_model_options *options, hn_error *err);
void hn_model_free(hn_model *model);
static inline const hn_matrix *hn_model_head(const hn_model *model) {
    return model->arch.tied_head ? &model->embed : &model->head;
}
/* Bytes of KV cache one position takes, in model->kv_type. */
uint64_t hn_model_kv_bytes_per_token(const hn_model *model);

/* A paged KV cache: sequences share blocks by reference, so that a common beginning is held and
 * computed once. */
typedef struct hn_kv hn_kv;
/* Room for n_positions over all sequences together and at most n_seqs sequences, held as
 * model->kv_type. */
HN_MUST_CHECK hn_status hn_kv_new(hn_kv **out, const hn_model *model, int n_seqs,
                                  int64_t n_positions, hn_error *err);
void hn_kv_free(hn_kv *kv);
int hn_kv_seqs(const hn_kv *kv);
/* Positions that may still be appended to `seq`, counting only blocks that are free now. */
int64_t hn_kv_room(const hn_kv *kv, int seq);
int32_t hn_kv_length(const hn_kv *kv, int seq);
/* Cuts sequence `seq` to `length` positions (0 = empties it). */
void hn_kv_truncate(hn_kv *kv, int seq, int32_t length);
/* Makes `to` (emptied first) begin with the first `length` positions of `from`, without copying
 * more than the last, partly filled block. */
HN_MUST_CHECK hn_status hn_kv_fork(hn_kv *kv, int from, int to, int32_t length, hn_error *err);

/* How many leading tokens of `tokens` sequence `seq` already holds as computed with `adapter` (NULL
 * = the base alone). Whoever changes an adapter's weights empties the sequences made with it. */
int32_t hn_kv_common_prefix(const hn_kv *kv, int seq, const hn_adapter *adapter,
                            const int32_t *tokens, int32_t n_tokens);

/* One row of a batch appends one token to a sequence; rows of one sequence are in order. */
typedef struct hn_batch_row {
    int32_t token;
    int32_t seq;
    int32_t adapter; /* index into hn_forward's adapters, -1 = the base alone */
    bool wants_logits;
} hn_batch_row;

/* Runs the rows (positions follow from each sequence's length) and appends them to the cache.
 * logits: (rows that want them, n_vocab), in batch order; may be NULL when none does.
 * hidden: (rows that want logits, n_embd) after the last norm, or NULL.
 * On failure the cache is as before. HN_BAD_INPUT: bad token id or sequence; HN_NO_MEMORY: the
 * cache is full. Threads may call it at once over one model, each with a cache of its own: they
 * take turns, pass by pass, in the order they came. */
HN_MUST_CHECK hn_status hn_forward(hn_model *model, hn_kv *kv, const hn_adapter *const *adapters,
                                   int n_adapters, const hn_batch_row *rows, int n_rows,
                                   float *logits, float *hidden, hn_error *err);
/* The same where a grammar restricts what may come. wanted: one bit a token, n_vocab rounded up to
 * 64 of them; in the first n_wanted rows of logits those of tokens without a bit may be -INFINITY
 * instead, where that saves their part of the head. */
HN_MUST_CHECK hn_status hn_forward_wanted(hn_model *model, hn_kv *kv,
                                          const hn_adapter *const *adapters, int n_adapters,
                                          const hn_batch_row *rows, int n_rows,
                                          const uint64_t *wanted, int n_wanted, float *logits,
                                          float *hidden, hn_error *err);
/* Takes the memory of passes of n_rows rows now, so that it doesn't grow with the largest pass so
 * far. Rows of adapters take more from the first such pass on. */
HN_MUST_CHECK hn_status hn_forward_reserve(hn_model *model, int n_rows, hn_error *err);
