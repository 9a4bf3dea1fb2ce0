/* DoRA (Liu et al. 2024): y = m / |W + s B A| * (W + s B A) x + bias, the norm row by row, of the
 * weights as they are; what an adapter with magnitudes m needs of the model it lies beside. */
#pragma once

#include "model/model.h"

/* Squared norms of w's rows, (rows). */
HN_MUST_CHECK hn_status hn_dora_squares(hn_compute *compute, const hn_matrix *w, double *squares,
                                        hn_error *err);

/* One adapted matrix, as far as its norms go. */
typedef struct hn_dora {
    const hn_matrix *w;
    const double *squares; /* (rows) of hn_dora_squares */
    int r;
    float scale;
    const float *a, *b; /* (r, in), (out, r) */
} hn_dora;

/* norms (rows) = |W + s B A| by rows; never 0. */
HN_MUST_CHECK hn_status hn_dora_norms(hn_compute *compute, const hn_dora *dora, float *norms,
                                      hn_error *err);

/* Gives an adapter magnitudes: the norms as they are now, so that nothing changes at first. */
HN_MUST_CHECK hn_status hn_adapter_add_magnitudes(hn_adapter *adapter, hn_model *model,
                                                  hn_error *err);
/* Readies an adapter for hn_forward with this model, after it was read and whenever its values
 * changed; without magnitudes there is nothing to do. */
HN_MUST_CHECK hn_status hn_adapter_fit(hn_adapter *adapter, hn_model *model, hn_error *err);
/* hn_adapter_open and hn_adapter_fit. */
HN_MUST_CHECK hn_status hn_adapter_load(hn_adapter **out, const char *path, hn_model *model,
                                        hn_error *err);
