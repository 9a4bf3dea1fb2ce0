/* Escaping, cells and tables for the report. */
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

double hn_html_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

const char *hn_html_string(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

void hn_html_table(hn_buf *out, const char *label, const char *heads) {
    hn_buf_puts(out, "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"");
    hn_html_text(out, label);
    hn_buf_puts(out, "\"><table><thead><tr>");
    while (*heads) {
        size_t n = strcspn(heads, "|");
        hn_buf_puts(out, "<th scope=\"col\">");
        for (size_t i = 0; i < n; i++)
            hn_html_text(out, (const char[]){heads[i], 0});
        hn_buf_puts(out, "</th>");
        heads += n + (heads[n] == '|');
    }
    hn_buf_puts(out, "</tr></thead><tbody>\n");
}

void hn_html_table_end(hn_buf *out) {
    hn_buf_puts(out, "</tbody></table></div>\n");
}

void hn_html_number_cell(hn_buf *out, double x, int digits) {
    if (isfinite(x))
        hn_buf_printf(out, "<td>%.*f</td>", digits, x);
    else
        hn_buf_puts(out, "<td>–</td>");
}

/* A bar of 0..1 with a whisker for its interval. */
static void score_bar(hn_buf *out, double score, double low, double high) {
    enum { BAR_WIDTH = 100 }; /* one unit a percent */
    hn_buf_printf(out,
                  "<svg class=\"bar\" viewBox=\"0 0 %d 10\" aria-hidden=\"true\">"
                  "<rect class=\"track\" width=\"%d\" height=\"10\" rx=\"2\"/>"
                  "<rect class=\"fill\" width=\"%.2f\" height=\"10\" rx=\"2\"/>"
                  "<line class=\"whisker\" x1=\"%.2f\" x2=\"%.2f\" y1=\"5\" y2=\"5\"/></svg>",
                  BAR_WIDTH, BAR_WIDTH, score * BAR_WIDTH, low * BAR_WIDTH, high * BAR_WIDTH);
}

void hn_html_score_cell(hn_buf *out, const json_t *scores, const char *key) {
    const json_t *ci = json_object_get(scores, "ci");
    double score = hn_html_number(scores, key), low = json_number_value(json_array_get(ci, 0));
    double high = json_number_value(json_array_get(ci, 1));
    if (!isfinite(score) || !ci) {
        hn_buf_puts(out, "<td>–</td>");
        return;
    }
    hn_buf_printf(out, "<td>%.3f <span class=\"ci\">%.3f–%.3f</span>", score, low, high);
    score_bar(out, score, low, high);
    hn_buf_puts(out, "</td>");
}

void hn_html_verdict_cell(hn_buf *out, const json_t *gate) {
    const char *verdict = hn_html_string(gate, "verdict");
    hn_buf_puts(out, "<td class=\"");
    hn_html_text(out, verdict);
    hn_buf_puts(out, "\">");
    hn_html_text(out, verdict[0] ? verdict : "–");
    hn_buf_puts(out, "</td>");
}
