/* Has a slice lost what it could do while the whole rose? Small slices are noisy, so a loss must be
 * large enough to matter and proven besides (release/gate.h). */
#include "base/mem.h"
#include "release/gate_check.h"

#include <math.h>
#include <string.h>

typedef struct slice_gate {
    const hn_gate_earlier *earlier;
    int n_earlier;
    const hn_scores *after;
    double max_drop, alpha; /* alpha: of one test */
    hn_sample *rows[2];     /* (after->n) a slice's rows before and after */
    double *x;              /* (after->n) */
    json_t *checks;
} slice_gate;

/* The slice's rows of `from`, in `rows`. */
static hn_scores rows_of(const hn_scores *from, const char *slice, hn_sample *rows) {
    hn_scores out = {.samples = rows};
    for (size_t i = 0; i < from->n; i++)
        if (!strcmp(from->samples[i].slice, slice))
            rows[out.n++] = from->samples[i];
    return out;
}

static double mean_of(const hn_scores *scores) {
    double sum = 0, weights = 0;
    for (size_t i = 0; i < scores->n; i++) {
        sum += scores->samples[i].weight * scores->samples[i].score;
        weights += scores->samples[i].weight;
    }
    return sum / weights;
}

/* The earlier stage that was best at the slice, the later one of equals. */
static const hn_gate_earlier *best_of(slice_gate *g, const char *slice) {
    const hn_gate_earlier *best = NULL;
    double most = -INFINITY;
    for (int i = 0; i < g->n_earlier; i++) {
        hn_scores scores = rows_of(g->earlier[i].scores, slice, g->rows[0]);
        double mean = mean_of(&scores);
        if (mean >= most) {
            most = mean;
            best = &g->earlier[i];
        }
    }
    return best;
}

static hn_status check_slice(slice_gate *g, const char *slice, hn_verdict *verdict, hn_error *err) {
    const hn_gate_earlier *best = best_of(g, slice);
    hn_scores before = rows_of(best->scores, slice, g->rows[0]);
    hn_scores after = rows_of(g->after, slice, g->rows[1]);
    hn_gate_check check = {.metric = "slice_drop", .threshold = g->max_drop};
    size_t lost, won;
    HN_TRY(hn_gate_drop(&before, &after, 1 - 2 * g->alpha, g->x, &check, &lost, &won, err));
    /* half of the two-sided test, on the side of a loss */
    bool proven = lost > won && hn_stats_mcnemar(lost, won) / 2 < g->alpha;
    if (!proven) /* the bounds of few rows are too sure of themselves */
        check.ci.low = fmin(check.ci.low, 0);
    hn_verdict own = check.value <= g->max_drop ? HN_VERDICT_PASS
                     : check.ci.low > 0         ? HN_VERDICT_FAIL
                                                : HN_VERDICT_INCONCLUSIVE;
    if (own == HN_VERDICT_FAIL)
        *verdict = own;
    json_t *report = hn_gate_check_report(&check, after.n, own);
    json_t *more = json_pack("{s:s, s:s*, s:f, s:f, s:I, s:I}", "slice", slice, "against",
                             best->name, "before", mean_of(&before), "after", mean_of(&after),
                             "lost", (json_int_t)lost, "won", (json_int_t)won);
    bool failed = !report || !more || json_object_update(report, more) ||
                  json_array_append(g->checks, report);
    json_decref(report);
    json_decref(more);
    return failed ? hn_fail_no_memory(err, 512) : HN_OK;
}

/* Is row i the first of its slice? */
static bool is_first(const hn_scores *scores, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (!strcmp(scores->samples[k].slice, scores->samples[i].slice))
            return false;
    return true;
}

static hn_status check_all(slice_gate *g, hn_verdict *verdict, hn_error *err) {
    const double ALPHA = 0.05;
    size_t n_slices = 0, bytes = g->after->n * sizeof *g->rows[0];
    bool *first = hn_calloc(g->after->n, sizeof *first);
    hn_status status = HN_OK;
    for (int i = 0; i < 2; i++)
        g->rows[i] = hn_malloc(bytes);
    g->x = hn_malloc(g->after->n * sizeof *g->x);
    if (!first || !g->rows[0] || !g->rows[1] || !g->x)
        HN_GO(hn_fail_no_memory(err, bytes));
    for (size_t i = 0; i < g->after->n; i++)
        n_slices += first[i] = is_first(g->after, i);
    g->alpha = ALPHA / (double)(n_slices * (size_t)g->n_earlier);
    for (size_t i = 0; i < g->after->n && n_slices > 1; i++)
        if (first[i])
            HN_GO(check_slice(g, g->after->samples[i].slice, verdict, err));
done:
    hn_free(first);
    return status;
}

hn_status hn_gate_slices(const hn_gate_earlier *earlier, int n_earlier, const hn_scores *after,
                         double max_drop, json_t *checks, hn_verdict *verdict, hn_error *err) {
    slice_gate g = {.earlier = earlier,
                    .n_earlier = n_earlier,
                    .after = after,
                    .max_drop = max_drop,
                    .checks = checks};
    hn_status status = check_all(&g, verdict, err);
    hn_free(g.rows[0]);
    hn_free(g.rows[1]);
    hn_free(g.x);
    return status;
}
