/* Copies and near copies between two sets of short texts: does the golden set ask what training
 * has already answered? */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct hn_overlap {
    size_t n_rows;     /* rows of `b` that have a (near) copy in `a` */
    size_t a, b;       /* the first such pair, indices */
    double similarity; /* of that pair */
} hn_overlap;

/* Texts are compared without case, punctuation and spacing; similarity is the Jaccard index of
 * their sets of four-character pieces, 1 = copies. Counts pairs of at least `alike` (0..1, above
 * 0). Exact: candidates are found by prefix filtering (Bayardo et al., WWW 2007), none is missed.
 */
HN_MUST_CHECK hn_status hn_overlap_find(const char *const *a, size_t n_a, const char *const *b,
                                        size_t n_b, double alike, hn_overlap *out, hn_error *err);

/* The same within one set: copy_of[i] becomes the first earlier kept text that text i is at least
 * `alike` to, or HN_OVERLAP_KEPT. copy_of: (n). */
#define HN_OVERLAP_KEPT SIZE_MAX
HN_MUST_CHECK hn_status hn_overlap_duplicates(const char *const *texts, size_t n, double alike,
                                              size_t *copy_of, hn_error *err);
