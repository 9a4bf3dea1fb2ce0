/* What passes over few rows take: so much for one row, and each row more a share of that. Learned
 * by the clock while it goes, as a line through the rows and times of the passes seen. */
#pragma once

#include <stdint.h>

/* All zero: nothing was seen. Sums over passes, older ones counting less. */
typedef struct hn_row_cost {
    double passes, rows, rows_squared, ns, rows_ns;
    double one_ns, more_ns; /* a pass of one row, and a row more; 0 = not told apart yet */
} hn_row_cost;

/* A pass of so many rows took this long. */
void hn_row_cost_learn(hn_row_cost *cost, int n_rows, uint64_t ns);
/* A row more, in passes of one row; what machines show at most until passes of different sizes were
 * seen. */
float hn_row_cost_extra(const hn_row_cost *cost);
