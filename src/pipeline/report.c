/* report.html: one page without scripts, fonts or links from outside, readable on a phone, in light
 * and in dark. */
#include "pipeline/html.h"
#include "pipeline/pipeline.h"

#include <math.h>
#include <string.h>

/* clang-format off */
static const char STYLE[] =
    ":root{--bg:#fdfdfc;--fg:#1c1e21;--dim:#5d646e;--line:#d9dde3;--card:#fff;--accent:#2457c5;"
    "--held:#b4560b;--pass:#17693a;--fail:#b3261e;--open:#8a5a00;--kept:#eef3fd}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14161a;--fg:#e6e8eb;--dim:#9aa3ae;"
    "--line:#333a44;--card:#1b1e24;--accent:#82aaff;--held:#f0a35e;--pass:#6fd394;--fail:#ff8f86;"
    "--open:#e8c069;--kept:#222b3d}}\n"
    "*{box-sizing:border-box}body{margin:0 auto;padding:1.2rem;max-width:74rem;"
    "background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}"
    "h3{font-size:1rem;margin:1.4rem 0 .4rem}p{margin:.4rem 0}.dim{color:var(--dim)}\n"
    ".scroll{overflow:auto;max-height:32rem;border:1px solid var(--line);border-radius:8px;"
    "background:var(--card);margin:.5rem 0}@media print{.scroll{max-height:none}}.scroll:focus-visible{outline:2px solid var(--accent)}\n"
    "table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.92rem}"
    "th,td{padding:.45rem .7rem;text-align:right;white-space:nowrap;border-top:1px solid "
    "var(--line)}thead th{border-top:0;color:var(--dim);font-weight:600;position:sticky;top:0;"
    "background:var(--card)}"
    "th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--card)}"
    "thead th:first-child{z-index:1}"
    "tr.kept>*{background:var(--kept)}"
    "td.wide{white-space:normal;text-align:left;min-width:16rem}"
    "td.list{white-space:normal;min-width:14rem}\n"
    ".ci{color:var(--dim);font-size:.85em}.pass{color:var(--pass);font-weight:600}"
    ".fail{color:var(--fail);font-weight:600}.inconclusive{color:var(--open);font-weight:600}\n"
    ".curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));"
    "gap:.8rem}figure{margin:0;max-width:40rem}.chart{width:100%;height:auto;display:block;"
    "background:var(--card);border:1px solid var(--line);border-radius:8px}"
    ".chart text{fill:var(--dim);font-size:13px}.grid{stroke:var(--line)}"
    ".train{fill:none;stroke:var(--accent);stroke-width:1.6}.heldout{fill:var(--held)}"
    ".between{fill:none;stroke:var(--held);stroke-width:1;stroke-dasharray:3 4}\n"
    ".bar{width:6rem;height:.6rem;display:block;margin-left:auto}.track{fill:var(--line)}"
    ".fill{fill:var(--accent)}.whisker{stroke:var(--held);stroke-width:2.5}\n"
    ".legend{color:var(--dim);font-size:.9rem}.legend b{color:var(--fg);font-weight:600}"
    ".key{display:inline-block;width:.8rem;height:.8rem;border-radius:2px;margin:0 .2rem 0 .8rem}"
    ".key.train{background:var(--accent)}.key.heldout{background:var(--held)}"
    "code{overflow-wrap:anywhere}\n";
/* clang-format on */

static void row_head(hn_buf *out, const json_t *row) {
    hn_buf_puts(out, "<tr><th scope=\"row\">");
    hn_html_text(out, hn_html_string(row, "name"));
    hn_buf_puts(out, " <span class=\"ci\">");
    hn_html_text(out, hn_html_string(row, "type"));
    hn_buf_puts(out, "</span></th>");
}

static void artefact_table(hn_buf *out, const json_t *rows) {
    enum { COLUMNS = 9 };
    size_t i;
    const json_t *row;
    hn_buf_puts(out,
                "<h2>Artefacts</h2><p class=\"dim\">Score with its 95 % interval; KL and flips "
                "against the taught float model, of a teaching stage against the stage "
                "before; speed in tokens a second.</p>\n");
    hn_html_table(out, "Artefacts",
                  "artefact|gate|score|KL|flips|size MB|prefill|decode|p95 ms|first token p95 ms");
    json_array_foreach (rows, i, row) {
        row_head(out, row);
        if (hn_html_string(row, "refused")[0]) {
            hn_buf_printf(out,
                          "<td class=\"wide\" colspan=\"%d\"><span class=\"fail\">refused"
                          "</span> ",
                          COLUMNS);
            hn_html_text(out, hn_html_string(row, "refused"));
            hn_buf_puts(out, "</td></tr>\n");
            continue;
        }
        double bytes = hn_html_number(row, "size_bytes");
        hn_html_verdict_cell(out,
                             json_object_get(row, "gate")); /* seen first on a narrow screen, too */
        hn_html_score_cell(out, row, "score");
        hn_html_number_cell(out, hn_html_number(row, "kl"), 5);
        hn_html_number_cell(out, hn_html_number(row, "flips"), 0);
        hn_html_number_cell(out, bytes > 0 ? bytes / 1e6 : NAN, 1);
        hn_html_number_cell(out, hn_html_number(row, "prefill_tps"), 0);
        hn_html_number_cell(out, hn_html_number(row, "decode_tps"), 0);
        hn_html_number_cell(out, hn_html_number(row, "p95_ms"), 1);
        hn_html_number_cell(out, hn_html_number(row, "first_token_p95_ms"), 1);
        hn_buf_puts(out, "</tr>\n");
    }
    hn_html_table_end(out);
}

static void slice_table(hn_buf *out, const json_t *rows) {
    const json_t *row, *first = json_object_get(json_array_get(rows, 0), "slices");
    const char *name;
    json_t *slice;
    size_t i;
    if (!json_object_size(first))
        return;
    hn_buf_puts(out, "<h2>Scores by slice</h2>\n");
    hn_buf heads = {0};
    hn_buf_puts(&heads, "artefact");
    json_object_foreach ((json_t *)(uintptr_t)first, name, slice) {
        hn_buf_putc(&heads, '|');
        for (const char *at = name; *at; at++) /* what separates the heads */
            hn_buf_putc(&heads, *at == '|' ? '/' : *at);
        hn_buf_printf(&heads, " (n %.0f)", hn_html_number(slice, "n"));
    }
    hn_html_table(out, "Scores by slice", hn_buf_text(&heads));
    hn_buf_done(&heads);
    json_array_foreach (rows, i, row) {
        const json_t *slices = json_object_get(row, "slices");
        if (!slices)
            continue;
        row_head(out, row);
        json_object_foreach ((json_t *)(uintptr_t)first, name, slice)
            hn_html_score_cell(out, json_object_get(slices, name), "mean");
        hn_buf_puts(out, "</tr>\n");
    }
    hn_html_table_end(out);
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

static void gate_line(hn_buf *out, const json_t *row, const json_t *check) {
    const char *slice = hn_html_string(check, "slice");
    row_head(out, row);
    hn_buf_puts(out, "<td>");
    hn_html_text(out, hn_html_string(check, "metric"));
    if (slice[0]) {
        hn_buf_putc(out, ' ');
        hn_html_text(out, slice);
    }
    hn_buf_puts(out, "</td>");
    hn_html_verdict_cell(out, check);
    hn_buf_printf(out, "<td>%.4g</td>", hn_html_number(check, "value"));
    bound_cell(out, check);
    hn_buf_printf(out, "<td>%.4g</td><td>%.0f</td></tr>\n", hn_html_number(check, "threshold"),
                  hn_html_number(check, "n"));
}

static void gate_table(hn_buf *out, const json_t *rows) {
    size_t i, k;
    const json_t *row, *check;
    hn_buf_puts(out, "<h2>Gate</h2><p class=\"dim\">Each bound is one-sided 95 %: a check passes "
                     "when the bound itself keeps to the limit, and is inconclusive when there "
                     "are too few rows to tell. Between teaching stages (stage_drop) the value "
                     "decides. A slice fails when it lost more than the limit and provably lost "
                     "at all, at 5 % over all slices; slices within their limit aren't "
                     "listed.</p>\n");
    hn_html_table(out, "Gate", "artefact|check|verdict|value|bounds|limit|n");
    json_array_foreach (rows, i, row)
        json_array_foreach (json_object_get(json_object_get(row, "gate"), "checks"), k, check)
            if (!hn_html_string(check, "slice")[0] ||
                strcmp(hn_html_string(check, "verdict"), "pass") != 0)
                gate_line(out, row, check);
    hn_html_table_end(out);
}

static void stage_table(hn_buf *out, const json_t *stages) {
    size_t i;
    const json_t *stage;
    hn_buf_puts(out, "<h2>Stages</h2>\n");
    hn_html_table(out, "Stages", "stage|seconds|this run|key");
    json_array_foreach (stages, i, stage) {
        hn_buf_puts(out, "<tr><th scope=\"row\">");
        hn_html_text(out, hn_html_string(stage, "name"));
        hn_buf_printf(out, "</th><td>%.1f</td><td>%s</td><td><code>%.16s</code></td></tr>\n",
                      hn_html_number(stage, "seconds"),
                      json_is_true(json_object_get(stage, "reused")) ? "reused" : "made",
                      hn_html_string(stage, "key"));
    }
    hn_html_table_end(out);
}

static void head(hn_buf *out, const json_t *summary) {
    hn_buf_puts(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                     "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                     "<meta name=\"color-scheme\" content=\"light dark\"><title>");
    hn_html_text(out, hn_html_string(summary, "name"));
    hn_buf_printf(out, " – hone run</title><style>\n%s</style></head><body>\n<h1>", STYLE);
    hn_html_text(out, hn_html_string(summary, "name"));
    hn_buf_puts(out, " <span class=\"dim\">");
    hn_html_text(out, hn_html_string(summary, "version"));
    hn_buf_puts(out, "</span></h1>\n");
    const char *verdict = hn_html_string(summary, "verdict");
    if (verdict[0]) {
        hn_buf_printf(out, "<p>Gate: <span class=\"%s\">%s</span></p>\n", verdict, verdict);
    }
    if (hn_html_string(summary, "stopped")[0]) {
        hn_buf_puts(out, "<p><span class=\"fail\">Stopped</span>: ");
        hn_html_text(out, hn_html_string(summary, "stopped"));
        hn_buf_puts(out, "</p>\n");
    }
    if (hn_html_string(summary, "bundle")[0]) {
        hn_buf_puts(out, "<p>Release bundle: <code>");
        hn_html_text(out, hn_html_string(summary, "bundle"));
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
    hn_html_training(out, summary, metrics);
    stage_table(out, json_object_get(summary, "stages"));
    hn_buf_puts(out, "</body></html>\n");
    return hn_buf_check(out, err);
}
