/* The head: logits of all tokens, or of those only that a grammar wants. Rows of a matrix don't
 * depend on one another, so that the logits that are computed are the same either way. */
#include "model/steps.h"

#include <math.h>

typedef struct span {
    int64_t first, n; /* rows of the head, the first a multiple of HN_MATRIX_GRAIN */
} span;

enum {
    MAX_SPANS = 24, /* each costs a third of a parallel region */
    /* Unwanted rows between two spans that are computed all the same: as quick as another span. */
    MAX_GAP = 128,
    /* Spans that cover more than one part in this of the rows aren't worth it. */
    WORTH = 2,
};

/* Any bit of the 16 tokens from `first` on. */
static bool any_wanted(const uint64_t *wanted, int64_t first) {
    return wanted[first >> 6] >> (first & 63) & 0xffff;
}

/* The spans that hold all wanted rows; 0 when there are too many, or they are too long. */
static int find_spans(const uint64_t *wanted, int64_t n_rows, span spans[MAX_SPANS]) {
    int n = 0;
    int64_t covered = 0;
    for (int64_t i = 0; i < n_rows; i += HN_MATRIX_GRAIN) {
        if ((i & 63) == 0 && wanted[i >> 6] == 0) {
            i += 64 - HN_MATRIX_GRAIN;
            continue;
        }
        if (!any_wanted(wanted, i))
            continue;
        if (n && i - (spans[n - 1].first + spans[n - 1].n) <= MAX_GAP) {
            covered -= spans[n - 1].n;
            spans[n - 1].n = i + HN_MATRIX_GRAIN - spans[n - 1].first;
        } else {
            if (n == MAX_SPANS)
                return 0;
            spans[n++] = (span){i, HN_MATRIX_GRAIN};
        }
        covered += spans[n - 1].n;
        if (covered > n_rows / WORTH)
            return 0;
    }
    return n;
}

static hn_linear head_step(const hn_model *model, int first_row, int n_rows) {
    return (hn_linear){.x = model->scratch->x + (size_t)first_row * (size_t)model->arch.n_embd,
                       .n = n_rows,
                       .x_stride = model->arch.n_embd,
                       .norm = model->output_norm,
                       .norm_eps = model->arch.rms_eps,
                       .numerics = model->numerics};
}

static hn_status run_spans(hn_model *model, int n_rows, const span *spans, int n_spans,
                           float *logits, hn_error *err) {
    const hn_matrix *head = hn_model_head(model);
    hn_matrix views[HN_LINEAR_MAX_OUTPUTS];
    for (int64_t i = 0; i < n_rows * head->rows; i++)
        logits[i] = -INFINITY;
    for (int at = 0; at < n_spans; at += HN_LINEAR_MAX_OUTPUTS) {
        hn_linear step = head_step(model, 0, n_rows);
        for (; step.n_outputs < HN_LINEAR_MAX_OUTPUTS && at + step.n_outputs < n_spans;
             step.n_outputs++) {
            const span *s = &spans[at + step.n_outputs];
            views[step.n_outputs] = hn_matrix_view(head, s->first, s->n);
            step.output[step.n_outputs].w = &views[step.n_outputs];
            step.output[step.n_outputs].y = logits + s->first;
            step.output[step.n_outputs].y_stride = head->rows;
        }
        HN_TRY(hn_linear_run(model->compute, &step, err));
    }
    return HN_OK;
}

hn_status hn_step_head(hn_model *model, int n_rows, const uint64_t *wanted, int n_wanted,
                       float *logits, hn_error *err) {
    const hn_matrix *head = hn_model_head(model);
    span spans[MAX_SPANS];
    const int n_spans = n_wanted > 0 ? find_spans(wanted, head->rows, spans) : 0;
    const int first = n_spans ? n_wanted : 0;
    if (n_spans)
        HN_TRY(run_spans(model, n_wanted, spans, n_spans, logits, err));
    if (first == n_rows)
        return HN_OK;
    hn_linear step = head_step(model, first, n_rows - first);
    step.n_outputs = 1;
    step.output[0].w = head;
    step.output[0].y = logits + (size_t)first * (size_t)head->rows;
    step.output[0].y_stride = head->rows;
    return hn_linear_run(model->compute, &step, err);
}
