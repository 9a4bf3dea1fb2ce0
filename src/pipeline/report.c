/* report.html: one page without scripts, fonts or links from outside, readable on a phone, in light
 * and in dark. */
#include "pipeline/html.h"
#include "pipeline/pipeline.h"

#include <math.h>
#include <string.h>

static const char STYLE[] =
    ":root{--bg:#fdfdfc;--fg:#1c1e21;--dim:#5d646e;--line:#d9dde3;--card:#fff;--accent:#2457c5;"
    "--held:#b4560b;--pass:#17693a;--fail:#b3261e;--open:#8a5a00}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14161a;--fg:#e6e8eb;--dim:#9aa3ae;"
    "--line:#333a44;--card:#1b1e24;--accent:#82aaff;--held:#f0a35e;--pass:#6fd394;--fail:#ff8f86;"
    "--open:#e8c069}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1.2rem;max-width:74rem;background:var(--bg)"
    ";color:var(--fg);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.6rem;margin:.2rem 0}"
    "h2{font-size:1.15rem;margin:2rem 0 .5rem}p{margin:.4rem 0}.dim{color:var(--dim)}"
    ".scroll{overflow-x:auto;border:1px "
    "solid var(--line);border-radius:8px;background:var(--card)}table{border-collapse:collapse;"
    "width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}th,td{padding:.45rem .7rem;"
    "text-align:right;white-space:nowrap;border-top:1px solid var(--line)}thead th{border-top:0;"
    "color:var(--dim);font-weight:600}th:first-child,td:first-child{text-align:left}"
    "td.wide{white-space:normal;text-align:left;min-width:16rem}.ci{color:var(--dim);"
    "font-size:.85em}.pass{color:var(--pass);font-weight:600}.fail{color:var(--fail);"
    "font-weight:600}.inconclusive{color:var(--open);font-weight:600}.chart{width:100%;"
    "height:auto;background:var(--card);border:1px solid var(--line);border-radius:8px}"
    ".chart text{fill:var(--dim);font-size:12px}.grid{stroke:var(--line)}.train{fill:none;"
    "stroke:var(--accent);stroke-width:1.6}.heldout{fill:var(--held)}.bar{width:6rem;height:.6rem;"
    "display:block;margin-left:auto}.track{fill:var(--line)}.fill{fill:var(--accent)}.whisker{"
    "stroke:var(--held);"
    "stroke-width:2.5}.legend{color:var(--dim);font-size:.9rem}.key{display:inline-block;"
    "width:.8rem;height:.8rem;border-radius:2px;margin:0 .2rem 0 .8rem}.key.train{"
    "background:var(--accent)}.key.heldout{background:var(--held)}code{overflow-wrap:anywhere}\n";

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static void number_cell(hn_buf *out, double x, int digits) {
    if (isfinite(x))
        hn_buf_printf(out, "<td>%.*f</td>", digits, x);
    else
        hn_buf_puts(out, "<td>–</td>");
}

static void score_cell(hn_buf *out, const json_t *scores, const char *key) {
    const json_t *ci = json_object_get(scores, "ci");
    double score = number(scores, key), low = json_number_value(json_array_get(ci, 0));
    double high = json_number_value(json_array_get(ci, 1));
    if (!isfinite(score) || !ci) {
        hn_buf_puts(out, "<td>–</td>");
        return;
    }
    hn_buf_printf(out, "<td>%.3f <span class=\"ci\">%.3f–%.3f</span>", score, low, high);
    hn_html_score_bar(out, score, low, high);
    hn_buf_puts(out, "</td>");
}

static void verdict_cell(hn_buf *out, const json_t *gate) {
    const char *verdict = text_of(gate, "verdict");
    hn_buf_puts(out, "<td class=\"");
    hn_html_text(out, verdict);
    hn_buf_puts(out, "\">");
    hn_html_text(out, verdict[0] ? verdict : "–");
    hn_buf_puts(out, "</td>");
}

static void row_head(hn_buf *out, const json_t *row) {
    hn_buf_puts(out, "<tr><th scope=\"row\">");
    hn_html_text(out, text_of(row, "name"));
    hn_buf_puts(out, " <span class=\"ci\">");
    hn_html_text(out, text_of(row, "type"));
    hn_buf_puts(out, "</span></th>");
}

static void artefact_table(hn_buf *out, const json_t *rows) {
    enum { COLUMNS = 9 };
    size_t i;
    const json_t *row;
    hn_buf_puts(
        out,
        "<h2>Artefacts</h2><p class=\"dim\">Score with its 95 % "
        "interval; KL and flips against the taught float model, of a teaching stage against the "
        "stage before; speed in tokens a "
        "second.</p><div "
        "class=\"scroll\"><table><thead><tr><th>artefact</th><th>gate</th><th>score</th>"
        "<th>KL</th><th>flips</th><th>size MB</th><th>prefill</th><th>decode</th><th>p95 ms</th>"
        "<th>first token p95 ms</th></tr></thead><tbody>\n");
    json_array_foreach (rows, i, row) {
        row_head(out, row);
        if (text_of(row, "refused")[0]) {
            hn_buf_printf(out,
                          "<td class=\"wide\" colspan=\"%d\"><span class=\"fail\">refused"
                          "</span> ",
                          COLUMNS);
            hn_html_text(out, text_of(row, "refused"));
            hn_buf_puts(out, "</td></tr>\n");
            continue;
        }
        double bytes = number(row, "size_bytes");
        verdict_cell(out, json_object_get(row, "gate")); /* seen first on a narrow screen, too */
        score_cell(out, row, "score");
        number_cell(out, number(row, "kl"), 5);
        number_cell(out, number(row, "flips"), 0);
        number_cell(out, bytes > 0 ? bytes / 1e6 : NAN, 1);
        number_cell(out, number(row, "prefill_tps"), 0);
        number_cell(out, number(row, "decode_tps"), 0);
        number_cell(out, number(row, "p95_ms"), 1);
        number_cell(out, number(row, "first_token_p95_ms"), 1);
        hn_buf_puts(out, "</tr>\n");
    }
    hn_buf_puts(out, "</tbody></table></div>\n");
}

static void slice_table(hn_buf *out, const json_t *rows) {
    const json_t *row, *first = json_object_get(json_array_get(rows, 0), "slices");
    const char *name;
    json_t *slice;
    size_t i;
    if (!json_object_size(first))
        return;
    hn_buf_puts(out, "<h2>Scores by slice</h2><div class=\"scroll\"><table><thead><tr><th>"
                     "artefact</th>");
    json_object_foreach ((json_t *)(uintptr_t)first, name, slice) {
        hn_buf_puts(out, "<th>");
        hn_html_text(out, name);
        hn_buf_printf(out, " <span class=\"ci\">n %.0f</span></th>", number(slice, "n"));
    }
    hn_buf_puts(out, "</tr></thead><tbody>\n");
    json_array_foreach (rows, i, row) {
        const json_t *slices = json_object_get(row, "slices");
        if (!slices)
            continue;
        row_head(out, row);
        json_object_foreach ((json_t *)(uintptr_t)first, name, slice)
            score_cell(out, json_object_get(slices, name), "mean");
        hn_buf_puts(out, "</tr>\n");
    }
    hn_buf_puts(out, "</tbody></table></div>\n");
}

static void bound_cell(hn_buf *out, const json_t *check) {
    const json_t *ci = json_object_get(check, "ci");
    hn_buf_puts(out, "<td>");
    for (size_t k = 0; k < 2; k++) {
        const json_t *end = json_array_get(ci, k);
        if (json_is_number(end))
            hn_buf_printf(out, "%.4g", json_number_value(end));
        else
            hn_buf_puts(out, "?");
        hn_buf_puts(out, k ? "</td>" : " – ");
    }
}

static void gate_table(hn_buf *out, const json_t *rows) {
    size_t i, k;
    const json_t *row, *check;
    hn_buf_puts(out, "<h2>Gate</h2><p class=\"dim\">Each bound is one-sided "
                     "95 %: a check passes when the bound itself keeps to the limit, and is "
                     "inconclusive when there are too few rows to tell. Between teaching stages "
                     "(stage_drop) the value decides.</p><div "
                     "class=\"scroll\"><table><thead><tr><th>"
                     "artefact</th><th>check</th><th>value</th><th>bounds</th><th>limit</th><th>n"
                     "</th><th>verdict</th></tr></thead><tbody>\n");
    json_array_foreach (rows, i, row) {
        json_array_foreach (json_object_get(json_object_get(row, "gate"), "checks"), k, check) {
            row_head(out, row);
            hn_buf_puts(out, "<td>");
            hn_html_text(out, text_of(check, "metric"));
            hn_buf_puts(out, "</td>");
            hn_buf_printf(out, "<td>%.4g</td>", number(check, "value"));
            bound_cell(out, check);
            hn_buf_printf(out, "<td>%.4g</td><td>%.0f</td>", number(check, "threshold"),
                          number(check, "n"));
            verdict_cell(out, check);
            hn_buf_puts(out, "</tr>\n");
        }
    }
    hn_buf_puts(out, "</tbody></table></div>\n");
}

static void stage_table(hn_buf *out, const json_t *stages) {
    size_t i;
    const json_t *stage;
    hn_buf_puts(out, "<h2>Stages</h2><div class=\"scroll\"><table><thead><tr><th>stage</th><th>"
                     "seconds</th><th>this run</th><th>key</th></tr></thead><tbody>\n");
    json_array_foreach (stages, i, stage) {
        hn_buf_puts(out, "<tr><th scope=\"row\">");
        hn_html_text(out, text_of(stage, "name"));
        hn_buf_printf(out, "</th><td>%.1f</td><td>%s</td><td><code>%.16s</code></td></tr>\n",
                      number(stage, "seconds"),
                      json_is_true(json_object_get(stage, "reused")) ? "reused" : "made",
                      text_of(stage, "key"));
    }
    hn_buf_puts(out, "</tbody></table></div>\n");
}

static void training(hn_buf *out, const json_t *metrics) {
    const char *stage;
    json_t *lines;
    hn_buf_puts(out, "<h2>Training</h2>\n");
    json_object_foreach ((json_t *)(uintptr_t)metrics, stage, lines) {
        if (json_object_size(metrics) > 1) {
            hn_buf_puts(out, "<h3>");
            hn_html_text(out, stage);
            hn_buf_puts(out, "</h3>\n");
        }
        hn_html_loss_curve(out, lines);
    }
}

static void head(hn_buf *out, const json_t *summary) {
    hn_buf_puts(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                     "<meta name=\"color-scheme\" content=\"light dark\"><title>");
    hn_html_text(out, text_of(summary, "name"));
    hn_buf_printf(out, " – hone run</title><style>\n%s</style></head><body>\n<h1>", STYLE);
    hn_html_text(out, text_of(summary, "name"));
    hn_buf_puts(out, " <span class=\"dim\">");
    hn_html_text(out, text_of(summary, "version"));
    hn_buf_puts(out, "</span></h1>\n");
    const char *verdict = text_of(summary, "verdict");
    if (verdict[0]) {
        hn_buf_printf(out, "<p>Gate: <span class=\"%s\">%s</span></p>\n", verdict, verdict);
    }
    if (text_of(summary, "stopped")[0]) {
        hn_buf_puts(out, "<p><span class=\"fail\">Stopped</span>: ");
        hn_html_text(out, text_of(summary, "stopped"));
        hn_buf_puts(out, "</p>\n");
    }
    if (text_of(summary, "bundle")[0]) {
        hn_buf_puts(out, "<p>Release bundle: <code>");
        hn_html_text(out, text_of(summary, "bundle"));
        hn_buf_puts(out, "</code></p>\n");
    }
}

hn_status hn_pipeline_report(const json_t *summary, const json_t *metrics, hn_buf *out,
                             hn_error *err) {
    const json_t *rows = json_object_get(summary, "rows");
    head(out, summary);
    artefact_table(out, rows);
    slice_table(out, rows);
    gate_table(out, rows);
    training(out, metrics);
    stage_table(out, json_object_get(summary, "stages"));
    hn_buf_puts(out, "</body></html>\n");
    return hn_buf_check(out, err);
}
