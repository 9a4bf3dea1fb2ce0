/* What the f32 products of a run reach: a table of kernels whose products are counted and timed. */
#pragma once

#include "kernels/matrix.h"

/* Of all threads; seconds are each thread's own, added up. */
typedef struct products {
    double multiply_adds, seconds; /* over unpacked weights, with the time of unpacking them */
    double unpacking;              /* of these seconds */
    /* Over other matrices: an adapter's, and weights of type f32 in the forward pass. */
    double other_multiply_adds, other_seconds;
} products;

/* From now on the products of `compute` are counted. Once a process. */
void products_watch(hn_compute *compute);

/* Forgets what was counted. No product may be running meanwhile, in products_sum neither. */
void products_reset(void);
products products_sum(void);
