/* The steps of the forward pass between the products: embeddings, rotary positions, cache writes,
 * activation, norms, adapters. Each is one parallel region; a row's result never depends on the
 * other rows. */
#pragma once

#include "model/kv.h"
#include "model/scratch.h"

/* Fills x with the tokens' embeddings, and rope[] for the rows' positions: (row, rope_dim / 2)
 * pairs of cosine and sine. */
void hn_step_begin(hn_model *model, const hn_batch_row *rows, int n_rows);

/* Norms the heads of q and k where the family does, rotates them, and writes k and v to the cache
 * at the rows' positions. */
void hn_step_place(hn_model *model, const hn_kv *kv, int layer, int n_rows);

/* The family's activation, for products that take it along. */
hn_activation_fn *hn_step_activation(const hn_model *model);
/* gate = activation(gate) * up, where others than a product look at it. */
void hn_step_activate(hn_model *model, int n_rows);

/* out = x / rms(x) * weight, or out += that. x, out: (n_rows, n_embd). */
void hn_step_norm(hn_model *model, const float *x, const float *weight, float *out, int n_rows,
                  bool accumulate);

/* y[i] += the adapters' part of module `first` + i over x, row by row as places[].adapter says;
 * with DoRA y[i], bias included, is scaled then. x: (n_rows, inputs), y[i]: (n_rows, outputs),
 * n_modules at most HN_LINEAR_MAX_OUTPUTS. */
void hn_step_adapt(hn_model *model, const hn_adapter *const *adapters, int layer, hn_module first,
                   int n_modules, const float *x, float *const *y, int n_rows);

/* With DoRA an adapter needs the products by themselves: takes those rows of x (n_rows, n_embd)
 * that have one on `module` away to kept, leaving 0, and after hn_step_adapt adds them back. */
void hn_step_put_aside(hn_model *model, const hn_adapter *const *adapters, int layer,
                       hn_module module, float *x, float *kept, int n_rows);
void hn_step_add_back(hn_model *model, const hn_adapter *const *adapters, int layer,
                      hn_module module, float *x, const float *kept, int n_rows);

/* logits (n_rows, n_vocab) of the residual stream's rows. wanted: one bit a token, n_vocab rounded
 * up to 64; in the first n_wanted rows logits of tokens without a bit may be -INFINITY instead. */
HN_MUST_CHECK hn_status hn_step_head(hn_model *model, int n_rows, const uint64_t *wanted,
                                     int n_wanted, float *logits, hn_error *err);
