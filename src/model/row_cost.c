#include "model/row_cost.h"

/* A pass counts this much less with each later one: some 30 are remembered. */
static const double MEMORY = 0.97;
/* Passes must differ by so many rows (their variance) to tell a row's time from a pass's. */
static const double MIN_VARIANCE = 0.5;
/* A pass that took this much longer than it should was interrupted. */
static const double INTERRUPTED = 2;
/* Before anything was measured: what the products' rows cost on the machines at hand. */
static const float ASSUMED_EXTRA = 0.3f;

void hn_row_cost_learn(hn_row_cost *c, int n_rows, uint64_t ns) {
    const double rows = n_rows, expected = c->one_ns + c->more_ns * (rows - 1);
    double time = (double)ns;
    if (expected > 0 && time > INTERRUPTED * expected)
        time = INTERRUPTED * expected;
    c->passes = c->passes * MEMORY + 1;
    c->rows = c->rows * MEMORY + rows;
    c->rows_squared = c->rows_squared * MEMORY + rows * rows;
    c->ns = c->ns * MEMORY + time;
    c->rows_ns = c->rows_ns * MEMORY + rows * time;
    const double mean_rows = c->rows / c->passes, mean_ns = c->ns / c->passes;
    const double variance = c->rows_squared / c->passes - mean_rows * mean_rows;
    if (variance < MIN_VARIANCE)
        return;
    const double slope = (c->rows_ns / c->passes - mean_rows * mean_ns) / variance;
    /* At least nothing, at most as much as the first row. */
    const double most = mean_ns / mean_rows;
    c->more_ns = slope < 0 ? 0 : slope > most ? most : slope;
    c->one_ns = mean_ns - c->more_ns * (mean_rows - 1);
}

float hn_row_cost_extra(const hn_row_cost *c) {
    const float least = 0.01f;
    if (!(c->one_ns > 0))
        return ASSUMED_EXTRA;
    const float extra = (float)(c->more_ns / c->one_ns);
    return extra < least ? least : extra;
}
