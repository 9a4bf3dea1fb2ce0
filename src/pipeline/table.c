/* The table that `hone run` ends with: one artefact a line, then the score of each slice. */
#include "pipeline/pipeline.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { CELL = 40, NAME_WIDTH = 22, MAX_SLICES = 12 };

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

/* NaN for what has no file of its own. */
static double megabytes(const json_t *row) {
    double bytes = number(row, "size_bytes");
    return bytes > 0 ? bytes / 1e6 : NAN;
}

/* "-" where there is no number. */
static const char *cell(char out[CELL], double x, const char *fmt) {
    if (!isfinite(x))
        return "-";
        /* The formats are this file's own literals. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(out, CELL, fmt, x);
#pragma GCC diagnostic pop
    return out;
}

static const char *interval(char out[CELL], const json_t *scores) {
    const json_t *ci = json_object_get(scores, "ci");
    double low = json_number_value(json_array_get(ci, 0));
    double high = json_number_value(json_array_get(ci, 1));
    if (!ci)
        return "";
    snprintf(out, CELL, "%.3f-%.3f", low, high);
    return out;
}

static const char *text_of(const json_t *object, const char *key, const char *fallback) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : fallback;
}

static void artefact_line(const json_t *row, hn_buf *out) {
    char c[8][CELL], name[64];
    const char *refused = text_of(row, "refused", NULL), *type = text_of(row, "type", NULL);
    const char *verdict = text_of(json_object_get(row, "gate"), "verdict", "-");
    snprintf(name, sizeof name, "%.30s%s%.20s%s", text_of(row, "name", "?"), type ? " (" : "",
             type ? type : "", type ? ")" : "");
    hn_buf_printf(out, "%-32s", name);
    if (refused) {
        hn_buf_printf(out, "  refused: %.160s\n", refused);
        return;
    }
    double flips = number(row, "flips");
    hn_buf_printf(
        out, " %6s %-11s %8s %5s %7s %8s %7s %8s  %s\n", cell(c[0], number(row, "score"), "%.3f"),
        interval(c[1], row), cell(c[2], number(row, "kl"), "%.5f"), cell(c[3], flips, "%.0f"),
        cell(c[4], megabytes(row), "%.1f"), cell(c[5], number(row, "prefill_tps"), "%.0f"),
        cell(c[6], number(row, "decode_tps"), "%.0f"), cell(c[7], number(row, "p95_ms"), "%.0f"),
        verdict);
}

/* Slices in the order in which the golden set has them, each a column. */
static void slice_table(const json_t *rows, hn_buf *out) {
    const char *names[MAX_SLICES], *name;
    size_t n = 0, i;
    json_t *slice;
    const json_t *row, *first = json_object_get(json_array_get(rows, 0), "slices");
    json_object_foreach ((json_t *)(uintptr_t)first, name, slice)
        if (n < MAX_SLICES)
            names[n++] = name;
    if (n < 2)
        return;
    hn_buf_printf(out, "\n%-32s", "score by slice (95 % interval)");
    for (i = 0; i < n; i++) {
        char head[64];
        snprintf(head, sizeof head, "%.14s, n %d", names[i],
                 (int)number(json_object_get(first, names[i]), "n"));
        hn_buf_printf(out, " %-*s", NAME_WIDTH, head);
    }
    hn_buf_putc(out, '\n');
    json_array_foreach (rows, i, row) {
        const json_t *slices = json_object_get(row, "slices");
        if (!slices)
            continue;
        hn_buf_printf(out, "%-32.32s", text_of(row, "name", "?"));
        for (size_t k = 0; k < n; k++) {
            char mean[CELL], ci[CELL], both[2 * CELL];
            const json_t *one = json_object_get(slices, names[k]);
            snprintf(both, sizeof both, "%s %s", cell(mean, number(one, "mean"), "%.3f"),
                     interval(ci, one));
            hn_buf_printf(out, " %-*s", NAME_WIDTH, both);
        }
        hn_buf_putc(out, '\n');
    }
}

/* One artefact a block, for a narrow terminal. */
static void artefact_block(const json_t *row, hn_buf *out) {
    char c[8][CELL];
    const char *refused = text_of(row, "refused", NULL);
    hn_buf_printf(out, "%s (%s)\n", text_of(row, "name", "?"), text_of(row, "type", ""));
    if (refused) {
        hn_buf_printf(out, "  refused: %s\n", refused);
        return;
    }
    hn_buf_printf(out, "  score %s, 95 %% interval %s\n", cell(c[0], number(row, "score"), "%.3f"),
                  interval(c[1], row));
    hn_buf_printf(out, "  KL %s, flips %s, %s MB\n", cell(c[2], number(row, "kl"), "%.5f"),
                  cell(c[3], number(row, "flips"), "%.0f"), cell(c[4], megabytes(row), "%.1f"));
    hn_buf_printf(out, "  prefill %s, decode %s tokens/s, p95 %s ms\n",
                  cell(c[5], number(row, "prefill_tps"), "%.0f"),
                  cell(c[6], number(row, "decode_tps"), "%.0f"),
                  cell(c[7], number(row, "p95_ms"), "%.0f"));
    hn_buf_printf(out, "  gate: %s\n", text_of(json_object_get(row, "gate"), "verdict", "-"));
}

hn_status hn_pipeline_table(const json_t *summary, int width, hn_buf *out, hn_error *err) {
    enum { WIDE = 112 };
    const json_t *rows = json_object_get(summary, "rows"), *row;
    size_t i;
    if (width >= WIDE)
        hn_buf_printf(out, "%-32s %6s %-11s %8s %5s %7s %8s %7s %8s  %s\n", "artefact", "score",
                      "95 % CI", "KL", "flips", "MB", "prefill", "decode", "p95 ms", "gate");
    json_array_foreach (rows, i, row) {
        if (width >= WIDE)
            artefact_line(row, out);
        else
            artefact_block(row, out);
    }
    if (width >= WIDE)
        slice_table(rows, out);
    return hn_buf_check(out, err);
}
