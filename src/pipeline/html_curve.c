/* Curves over training steps: SVG written by hand, coloured by the page's style. */
#include "pipeline/html.h"

#include <math.h>
#include <stdio.h>

/* Small enough that its text is still read on a phone. */
enum { WIDTH = 440, HEIGHT = 230, LEFT = 56, RIGHT = 22, TOP = 12, BOTTOM = 38, MAX_POINTS = 400 };
enum { KEY_BYTES = 64, FEW_DOTS = 40 };

typedef struct chart {
    char eval_key[KEY_BYTES];
    const char *key;
    size_t n_steps, n_evals;
    double first, last; /* steps */
    double low, high;   /* values */
    double start, end;  /* the first and the last value, of an evaluation where there is one */
} chart;

static double x_of(const chart *c, double step) {
    double span = c->last > c->first ? c->last - c->first : 1;
    return LEFT + (step - c->first) / span * (WIDTH - LEFT - RIGHT);
}

static double y_of(const chart *c, double value) {
    return TOP + (c->high - value) / (c->high - c->low) * (HEIGHT - TOP - BOTTOM);
}

static void add_point(chart *c, double step, double value, bool is_eval) {
    if (!isfinite(value))
        return;
    c->n_steps += !is_eval;
    c->n_evals += is_eval;
    c->first = fmin(c->first, step);
    c->last = fmax(c->last, step);
    c->low = fmin(c->low, value);
    c->high = fmax(c->high, value);
}

static chart range_of(const hn_html_curve *curve, const json_t *metrics) {
    chart c = {.key = curve->key,
               .first = INFINITY,
               .last = -INFINITY,
               .low = INFINITY,
               .high = -INFINITY};
    size_t i;
    const json_t *line;
    snprintf(c.eval_key, sizeof c.eval_key, "eval_%s", curve->key);
    json_array_foreach (metrics, i, line) {
        double step = hn_html_number(line, "step");
        add_point(&c, step, hn_html_number(line, c.key), false);
        add_point(&c, step, hn_html_number(line, c.eval_key), true);
    }
    const char *told = c.n_evals > 1 ? c.eval_key : c.key;
    c.start = c.end = NAN;
    json_array_foreach (metrics, i, line) {
        double value = hn_html_number(line, told);
        c.start = isfinite(c.start) ? c.start : value;
        c.end = isfinite(value) ? value : c.end;
    }
    bool positive = c.low >= 0;
    double pad = fmax(0.05 * (c.high - c.low), 1e-3);
    c.low = positive ? fmax(c.low - pad, 0) : c.low - pad;
    c.high += pad;
    return c;
}

/* A round step that gives four to eight marks. */
static double tick_step(double span) {
    double step = pow(10, floor(log10(span / 4)));
    while (span / step > 8)
        step *= span / step > 20 ? 5 : 2;
    return step;
}

static void draw_axes(hn_buf *out, const chart *c) {
    double step = tick_step(c->high - c->low);
    for (double v = ceil(c->low / step) * step; v <= c->high; v += step) {
        double tick = fabs(v) < step / 2 ? 0 : v; /* not 1e-17 */
        hn_buf_printf(out,
                      "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n",
                      LEFT, WIDTH - RIGHT, y_of(c, v), y_of(c, v), LEFT - 6, y_of(c, v) + 4, tick);
    }
    step = fmax(tick_step(fmax(c->last - c->first, 1)), 1);
    for (double v = ceil(c->first / step) * step; v <= c->last; v += step)
        hn_buf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                      x_of(c, v), HEIGHT - BOTTOM + 16, v);
    hn_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
                  (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
}

/* Long runs: the mean of each of at most MAX_POINTS equal stretches. */
static void draw_steps(hn_buf *out, const chart *c, const json_t *metrics) {
    size_t n = json_array_size(metrics), stride = c->n_steps / MAX_POINTS + 1, used = 0;
    double sum = 0;
    hn_buf_puts(out, "<polyline class=\"train\" points=\"");
    for (size_t i = 0; i < n; i++) {
        const json_t *line = json_array_get(metrics, i);
        double value = hn_html_number(line, c->key);
        if (!isfinite(value))
            continue;
        sum += value;
        if (++used % stride)
            continue;
        hn_buf_printf(out, "%.1f,%.1f ", x_of(c, hn_html_number(line, "step")),
                      y_of(c, sum / (double)stride));
        sum = 0;
    }
    hn_buf_puts(out, "\"/>\n");
}

static void draw_evaluations(hn_buf *out, const chart *c, const json_t *metrics) {
    size_t i;
    const json_t *line;
    int radius = c->n_evals > FEW_DOTS ? 2 : 4;
    hn_buf_puts(out, "<polyline class=\"between\" points=\"");
    json_array_foreach (metrics, i, line) {
        double value = hn_html_number(line, c->eval_key);
        if (isfinite(value))
            hn_buf_printf(out, "%.1f,%.1f ", x_of(c, hn_html_number(line, "step")), y_of(c, value));
    }
    hn_buf_puts(out, "\"/>\n");
    json_array_foreach (metrics, i, line) {
        double value = hn_html_number(line, c->eval_key), step = hn_html_number(line, "step");
        if (isfinite(value))
            hn_buf_printf(out,
                          "<circle class=\"heldout\" r=\"%d\" cx=\"%.1f\" cy=\"%.1f\"><title>step "
                          "%.0f: %.4g</title></circle>\n",
                          radius, x_of(c, step), y_of(c, value), step, value);
    }
}

void hn_html_draw(hn_buf *out, const hn_html_curve *curve, const json_t *metrics) {
    chart c = range_of(curve, metrics);
    if (c.n_steps < 2 && c.n_evals < 2)
        return;
    hn_buf_printf(out,
                  "<figure><svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
                  WIDTH, HEIGHT);
    hn_html_text(out, curve->label);
    hn_buf_printf(out, " by training step, from %.4g to %.4g\">\n", c.start, c.end);
    draw_axes(out, &c);
    if (c.n_steps)
        draw_steps(out, &c, metrics);
    if (c.n_evals)
        draw_evaluations(out, &c, metrics);
    hn_buf_puts(out, "</svg>\n<figcaption class=\"legend\"><b>");
    hn_html_text(out, curve->label);
    hn_buf_puts(out, "</b>");
    if (c.n_steps)
        hn_buf_printf(out, "<span class=\"key train\"></span> %s", curve->steps);
    if (c.n_evals)
        hn_buf_printf(out, "<span class=\"key heldout\"></span> %s", curve->evals);
    hn_buf_puts(out, "</figcaption></figure>\n");
}
