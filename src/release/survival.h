/* How much of an adapter's change is left after rounding. Private to release/. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Inner products over all adapted weights; zero-initialised is empty. */
typedef struct hn_survival {
    double wanted, realised, both; /* <D,D>, <R,R>, <R,D>: wanted and realised change */
} hn_survival;

/* One row: base, base with the adapter, and what the file will hold. */
void hn_survival_add(hn_survival *s, const float *base, const float *merged, const float *back,
                     int64_t cols);
/* The same measured by what the change does to a layer's outputs: change (cols) = merged less base,
 * change_gram = change times the inputs' Gram matrix, gradient = (merged - back) times it. */
void hn_survival_add_outputs(hn_survival *s, const float *merged, const float *back,
                             const float *change, const float *change_gram, const float *gradient,
                             int64_t cols);
void hn_survival_join(hn_survival *s, const hn_survival *other);
/* <R,D> / <D,D>: 1 = all of it is there (under noise perhaps), 0 = nothing. NaN without change. */
double hn_survival_share(const hn_survival *s);
void hn_survival_result(const hn_survival *s, double *cosine, double *norm_ratio);
/* <E,E> / <D,D> with E = R - D: the error that rounding added, 1 = as large as the change. */
double hn_survival_error(const hn_survival *s);
/* share: of hn_survival_share, NaN = nothing to lose. */
bool hn_survival_lost(double share);
