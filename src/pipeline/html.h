/* Small pieces of HTML for the report. Internal to pipeline/. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/* Text with &, <, >, " and ' escaped. */
void hn_html_text(hn_buf *out, const char *text);
/* A member of an object: NaN, "" where there is none. */
double hn_html_number(const json_t *object, const char *key);
const char *hn_html_string(const json_t *object, const char *key);

/* A table in a box that scrolls sideways, by keyboard too. `label` says what it is to who doesn't
 * see it; `heads` are its columns, separated by '|', the first the one of its rows' heads. Cells
 * follow, and hn_html_table_end. */
void hn_html_table(hn_buf *out, const char *label, const char *heads);
void hn_html_table_end(hn_buf *out);
/* "<td>", a number or a dash, "</td>". */
void hn_html_number_cell(hn_buf *out, double x, int digits);
/* The cell of `key` of {key, ci}: number, interval and bar. */
void hn_html_score_cell(hn_buf *out, const json_t *scores, const char *key);
void hn_html_verdict_cell(hn_buf *out, const json_t *gate);

/* What one curve shows: `key` of the lines of metrics.jsonl (steps, when there are any) and
 * "eval_" with it (evaluations). */
typedef struct hn_html_curve {
    const char *key, *label;
    const char *steps, *evals; /* the legend's words */
} hn_html_curve;
/* As inline SVG with its legend; nothing where there are fewer than two points. */
void hn_html_draw(hn_buf *out, const hn_html_curve *curve, const json_t *metrics);

/* report_training.c: of each stage its curves and evaluations; and how the stages compare. */
void hn_html_training(hn_buf *out, const json_t *summary, const json_t *metrics);
