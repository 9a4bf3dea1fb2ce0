/* Escaping and drawings for the report: SVG written by hand, coloured by the page's style. */
#include "pipeline/html.h"

#include <math.h>
#include <string.h>

void hn_html_text(hn_buf *out, const char *text) {
    for (; *text; text++) {
        const char *name = *text == '&'    ? "&amp;"
                           : *text == '<'  ? "&lt;"
                           : *text == '>'  ? "&gt;"
                           : *text == '"'  ? "&quot;"
                           : *text == '\'' ? "&#39;"
                                           : NULL;
        if (name)
            hn_buf_puts(out, name);
        else
            hn_buf_putc(out, *text);
    }
}

enum { WIDTH = 720, HEIGHT = 260, LEFT = 52, RIGHT = 24, TOP = 12, BOTTOM = 34, MAX_POINTS = 500 };

typedef struct chart {
    double first, last; /* steps */
    double low, high;   /* losses */
} chart;

static double x_of(const chart *c, double step) {
    double span = c->last > c->first ? c->last - c->first : 1;
    return LEFT + (step - c->first) / span * (WIDTH - LEFT - RIGHT);
}

static double y_of(const chart *c, double loss) {
    return TOP + (c->high - loss) / (c->high - c->low) * (HEIGHT - TOP - BOTTOM);
}

static chart range_of(const json_t *metrics) {
    chart c = {.first = INFINITY, .last = -INFINITY, .low = INFINITY, .high = -INFINITY};
    size_t i;
    const json_t *line;
    json_array_foreach (metrics, i, line) {
        double step = json_number_value(json_object_get(line, "step"));
        for (int k = 0; k < 2; k++) {
            const json_t *loss = json_object_get(line, k ? "eval_loss" : "loss");
            if (!json_is_number(loss))
                continue;
            c.first = fmin(c.first, step);
            c.last = fmax(c.last, step);
            c.low = fmin(c.low, json_number_value(loss));
            c.high = fmax(c.high, json_number_value(loss));
        }
    }
    double pad = fmax(0.05 * (c.high - c.low), 1e-3);
    c.low = fmax(c.low - pad, 0);
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
    for (double v = ceil(c->low / step) * step; v <= c->high; v += step)
        hn_buf_printf(out,
                      "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n",
                      LEFT, WIDTH - RIGHT, y_of(c, v), y_of(c, v), LEFT - 6, y_of(c, v) + 4, v);
    step = fmax(tick_step(fmax(c->last - c->first, 1)), 1);
    for (double v = ceil(c->first / step) * step; v <= c->last; v += step)
        hn_buf_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                      x_of(c, v), HEIGHT - BOTTOM + 16, v);
    hn_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n",
                  (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4);
}

/* Long runs: the mean of each of at most MAX_POINTS equal stretches. */
static void draw_steps(hn_buf *out, const chart *c, const json_t *metrics) {
    size_t n = json_array_size(metrics), stride = n / MAX_POINTS + 1, used = 0;
    double sum = 0;
    hn_buf_puts(out, "<polyline class=\"train\" points=\"");
    for (size_t i = 0; i < n; i++) {
        const json_t *line = json_array_get(metrics, i), *loss = json_object_get(line, "loss");
        if (!json_is_number(loss))
            continue;
        sum += json_number_value(loss);
        if (++used % stride)
            continue;
        hn_buf_printf(out, "%.1f,%.1f ", x_of(c, json_number_value(json_object_get(line, "step"))),
                      y_of(c, sum / (double)stride));
        sum = 0;
    }
    hn_buf_puts(out, "\"/>\n");
}

static void draw_evaluations(hn_buf *out, const chart *c, const json_t *metrics) {
    size_t i;
    const json_t *line;
    json_array_foreach (metrics, i, line) {
        const json_t *loss = json_object_get(line, "eval_loss");
        if (json_is_number(loss))
            hn_buf_printf(out,
                          "<circle class=\"heldout\" r=\"4\" cx=\"%.1f\" cy=\"%.1f\"><title>step "
                          "%.0f: %.4f</title></circle>\n",
                          x_of(c, json_number_value(json_object_get(line, "step"))),
                          y_of(c, json_number_value(loss)),
                          json_number_value(json_object_get(line, "step")),
                          json_number_value(loss));
    }
}

void hn_html_loss_curve(hn_buf *out, const json_t *metrics) {
    chart c = range_of(metrics);
    if (!isfinite(c.first) || !isfinite(c.high))
        return;
    hn_buf_printf(out,
                  "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
                  "aria-label=\"Loss by training step\">\n",
                  WIDTH, HEIGHT);
    draw_axes(out, &c);
    draw_steps(out, &c, metrics);
    draw_evaluations(out, &c, metrics);
    hn_buf_puts(out, "</svg>\n<p class=\"legend\"><span class=\"key train\"></span> training loss "
                     "<span class=\"key heldout\"></span> held-out loss</p>\n");
}

void hn_html_score_bar(hn_buf *out, double score, double low, double high) {
    enum { BAR_WIDTH = 100 }; /* one unit a percent */
    hn_buf_printf(out,
                  "<svg class=\"bar\" viewBox=\"0 0 %d 10\" aria-hidden=\"true\">"
                  "<rect class=\"track\" width=\"%d\" height=\"10\" rx=\"2\"/>"
                  "<rect class=\"fill\" width=\"%.2f\" height=\"10\" rx=\"2\"/>"
                  "<line class=\"whisker\" x1=\"%.2f\" x2=\"%.2f\" y1=\"5\" y2=\"5\"/></svg>",
                  BAR_WIDTH, BAR_WIDTH, score * BAR_WIDTH, low * BAR_WIDTH, high * BAR_WIDTH);
}
