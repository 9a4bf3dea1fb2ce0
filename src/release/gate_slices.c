/* Has a slice lost what it could do while the whole rose? Small slices are noisy, so a loss must be
 * large enough to matter and proven besides (release/gate.h). */
#include "base/mem.h"
#include "release/gate_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A slice's rows are order[begin, end). */
typedef struct slice {
    const char *name;
    size_t first, begin, end; /* first: row */
} slice;

/* A row and the slice it is of. */
typedef struct placed {
    const char *slice;
    size_t row;
} placed;

typedef struct slice_gate {
    const hn_gate_earlier *earlier;
    int n_earlier;
    const hn_scores *after;
    double max_drop, alpha; /* alpha: of one test */
    placed *order; /* (after->n) the rows by slice, then by place; so are the earlier ones' */
    slice *slices; /* (n_slices) in the order of their first rows; room for after->n */
    size_t n_slices;
    hn_sample *rows[2]; /* (after->n) a slice's rows before and after */
    double *x;          /* (after->n) */
    json_t *checks;
} slice_gate;

static int compare_placed(const void *left, const void *right) {
    const placed *a = left, *b = right;
    int names = strcmp(a->slice, b->slice);
    return names ? names : a->row < b->row ? -1 : a->row > b->row;
}

static int compare_first(const void *left, const void *right) {
    const slice *a = left, *b = right;
    return a->first < b->first ? -1 : a->first > b->first;
}

/* Sorted, not looked for: a golden set may have a slice a row. */
static void find_slices(slice_gate *g) {
    const size_t n = g->after->n;
    for (size_t i = 0; i < n; i++)
        g->order[i] = (placed){g->after->samples[i].slice, i};
    qsort(g->order, n, sizeof *g->order, compare_placed);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && !strcmp(g->order[end].slice, g->order[i].slice);)
            end++;
        g->slices[g->n_slices++] = (slice){g->order[i].slice, g->order[i].row, i, end};
    }
    qsort(g->slices, g->n_slices, sizeof *g->slices, compare_first);
}

static hn_scores rows_of(const slice_gate *g, const hn_scores *from, const slice *s,
                         hn_sample *rows) {
    hn_scores out = {.samples = rows, .n = s->end - s->begin};
    for (size_t i = 0; i < out.n; i++)
        rows[i] = from->samples[g->order[s->begin + i].row];
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
static const hn_gate_earlier *best_of(slice_gate *g, const slice *s) {
    const hn_gate_earlier *best = NULL;
    double most = -INFINITY;
    for (int i = 0; i < g->n_earlier; i++) {
        hn_scores scores = rows_of(g, g->earlier[i].scores, s, g->rows[0]);
        double mean = mean_of(&scores);
        if (mean >= most) {
            most = mean;
            best = &g->earlier[i];
        }
    }
    return best;
}

static hn_status check_slice(slice_gate *g, const slice *s, hn_verdict *verdict, hn_error *err) {
    const hn_gate_earlier *best = best_of(g, s);
    hn_scores before = rows_of(g, best->scores, s, g->rows[0]);
    hn_scores after = rows_of(g, g->after, s, g->rows[1]);
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
    json_t *more = json_pack("{s:s, s:s*, s:f, s:f, s:I, s:I}", "slice", s->name, "against",
                             best->name, "before", mean_of(&before), "after", mean_of(&after),
                             "lost", (json_int_t)lost, "won", (json_int_t)won);
    bool failed = !report || !more || json_object_update(report, more) ||
                  json_array_append(g->checks, report);
    json_decref(report);
    json_decref(more);
    return failed ? hn_fail_no_memory(err, 512) : HN_OK;
}

static hn_status check_all(slice_gate *g, hn_verdict *verdict, hn_error *err) {
    const double ALPHA = 0.05;
    const size_t n = g->after->n;
    g->order = hn_malloc(n * sizeof *g->order);
    g->slices = hn_malloc(n * sizeof *g->slices);
    for (int i = 0; i < 2; i++)
        g->rows[i] = hn_malloc(n * sizeof *g->rows[i]);
    g->x = hn_malloc(n * sizeof *g->x);
    if (!g->order || !g->slices || !g->rows[0] || !g->rows[1] || !g->x)
        return hn_fail_no_memory(err, n * sizeof *g->rows[0]);
    find_slices(g);
    g->alpha = ALPHA / (double)(g->n_slices * (size_t)g->n_earlier);
    for (size_t i = 0; i < g->n_slices && g->n_slices > 1; i++)
        HN_TRY(check_slice(g, &g->slices[i], verdict, err));
    return HN_OK;
}

hn_status hn_gate_slices(const hn_gate_earlier *earlier, int n_earlier, const hn_scores *after,
                         double max_drop, json_t *checks, hn_verdict *verdict, hn_error *err) {
    slice_gate g = {.earlier = earlier,
                    .n_earlier = n_earlier,
                    .after = after,
                    .max_drop = max_drop,
                    .checks = checks};
    hn_status status = check_all(&g, verdict, err);
    hn_free(g.order);
    hn_free(g.slices);
    hn_free(g.rows[0]);
    hn_free(g.rows[1]);
    hn_free(g.x);
    return status;
}
