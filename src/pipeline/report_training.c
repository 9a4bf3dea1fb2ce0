/* The report's part on teaching: of each stage its curves and what every evaluation found, and what
 * each stage did to the golden score of the one before. */
#include "pipeline/html.h"
#include "pipeline/recipe.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* What an evaluation may hold, as metrics.jsonl and as a person calls it. */
static const struct column {
    const char *key, *label;
    int digits;
} COLUMNS[] = {
    {"eval_loss", "held-out loss", 4},
    {"eval_accuracy", "tokens right", 3},
    {"eval_row_accuracy", "rows right", 3},
    {"eval_golden", "golden score", 3},
    {"eval_general_perplexity", "general perplexity", 2},
    {"eval_general_kl", "KL to the base", 4},
    {"eval_kd", "divergence from the teacher", 4},
    {"eval_rewards/chosen", "reward of chosen", 3},
    {"eval_rewards/rejected", "reward of rejected", 3},
    {"eval_rewards/margins", "margin", 3},
    {"eval_rewards/accuracies", "pairs right", 3},
};
enum { N_COLUMNS = sizeof COLUMNS / sizeof *COLUMNS };

static bool is_evaluation(const json_t *line) {
    return json_object_get(line, "eval_loss") != NULL;
}

static bool has_column(const json_t *lines, const char *key) {
    size_t i;
    const json_t *line;
    json_array_foreach (lines, i, line)
        if (json_object_get(line, key))
            return true;
    return false;
}

static void evaluation_table(hn_buf *out, const char *stage, const json_t *lines,
                             const json_t *training) {
    hn_buf heads = {0};
    bool shown[N_COLUMNS];
    size_t i;
    const json_t *line;
    double best = hn_html_number(training, "best_step");
    if (!has_column(lines, "eval_loss"))
        return;
    hn_buf_puts(&heads, "step");
    for (int k = 0; k < N_COLUMNS; k++) {
        shown[k] = has_column(lines, COLUMNS[k].key);
        if (shown[k])
            hn_buf_printf(&heads, "|%s", COLUMNS[k].label);
    }
    hn_html_table(out, stage, hn_buf_text(&heads));
    hn_buf_done(&heads);
    json_array_foreach (lines, i, line) {
        double step = hn_html_number(line, "step");
        if (!is_evaluation(line))
            continue;
        hn_buf_printf(out, "<tr%s><th scope=\"row\">%.0f%s</th>",
                      step == best ? " class=\"kept\"" : "", step,
                      step == 0      ? " <span class=\"ci\">before</span>"
                      : step == best ? " <span class=\"ci\">kept</span>"
                                     : "");
        for (int k = 0; k < N_COLUMNS; k++)
            if (shown[k])
                hn_html_number_cell(out, hn_html_number(line, COLUMNS[k].key), COLUMNS[k].digits);
        hn_buf_puts(out, "</tr>\n");
    }
    hn_html_table_end(out);
}

/* How the kept adapter was chosen, what looking took, and what the numbers are of. */
static void remarks(hn_buf *out, const char *stage, const json_t *training) {
    double steps = hn_html_number(training, "seconds"), golden_rows;
    double evals = hn_html_number(training, "eval_seconds");
    double golden = hn_html_number(training, "golden_seconds");
    const char *metric = hn_html_string(training, "best_metric");
    if (!isfinite(evals) || evals <= 0)
        return;
    golden_rows = hn_html_number(training, "golden_rows");
    hn_buf_puts(out, "<p class=\"dim\">Kept is the evaluation with the best ");
    hn_html_text(out, metric);
    hn_buf_printf(out, ". Evaluations took %.*f s, %.0f %% of the training's time",
                  evals < 10 ? 1 : 0, evals, 100 * evals / (steps + evals));
    if (golden > 0)
        hn_buf_printf(out, ", the golden set %.0f %% (%.0f rows, spread evenly over it)",
                      100 * golden / (steps + evals), golden_rows);
    hn_buf_puts(out, ".");
    if (!strcmp(stage, hn_teaching_name(HN_TEACH_KD)))
        hn_buf_puts(out, " The training loss is the teacher's share and the text's together, the "
                         "held-out loss the text's alone.");
    if (strstr(metric, "golden"))
        hn_buf_puts(out, " The golden score chose the adapter, so that later golden scores of it, "
                         "the gate's too, are too good.");
    if (json_is_true(json_object_get(training, "golden_is_old")))
        hn_buf_puts(out, " The golden scores here are of golden rows or eval settings that have "
                         "changed since: compare them only with each other.");
    hn_buf_puts(out, "</p>\n");
}

static void stage_section(hn_buf *out, const char *stage, const json_t *lines,
                          const json_t *training) {
    static const hn_html_curve CURVES[] = {
        {"loss", "Loss", "training", "held out"},
        {"rewards/margins", "Margin between chosen and rejected", "training", "held out"},
        {"golden", "Golden score", "", "golden rows"},
    };
    hn_buf_puts(out, "<h3>");
    hn_html_text(out, stage);
    hn_buf_puts(out, "</h3>\n<div class=\"curves\">\n");
    for (size_t i = 0; i < sizeof CURVES / sizeof *CURVES; i++)
        hn_html_draw(out, &CURVES[i], lines);
    hn_buf_puts(out, "</div>\n");
    hn_buf label = {0};
    hn_buf_printf(&label, "Evaluations of %s", stage);
    evaluation_table(out, hn_buf_text(&label), lines, training);
    hn_buf_done(&label);
    remarks(out, stage, training);
}

static const json_t *check_of(const json_t *row, const char *metric) {
    size_t i;
    const json_t *check;
    json_array_foreach (json_object_get(json_object_get(row, "gate"), "checks"), i, check)
        if (!strcmp(hn_html_string(check, "metric"), metric))
            return check;
    return NULL;
}

/* "facts +0.050 (0.155 to 0.205)": the slices that fell by more than their limit. */
static void fallen_cell(hn_buf *out, const json_t *row) {
    size_t i, n = 0;
    const json_t *check;
    hn_buf_puts(out, "<td class=\"list\">");
    json_array_foreach (json_object_get(json_object_get(row, "gate"), "checks"), i, check) {
        const char *verdict = hn_html_string(check, "verdict");
        if (!hn_html_string(check, "slice")[0] || !strcmp(verdict, "pass"))
            continue;
        hn_buf_printf(out, "%s<span class=\"%s\">", n++ ? "; " : "",
                      !strcmp(verdict, "fail") ? "fail" : "inconclusive");
        hn_html_text(out, hn_html_string(check, "slice"));
        hn_buf_printf(out, "</span> %.3f → %.3f", hn_html_number(check, "before"),
                      hn_html_number(check, "after"));
        if (!strcmp(verdict, "inconclusive"))
            hn_buf_puts(out, " (not proven)");
    }
    hn_buf_puts(out, n ? "</td>" : "–</td>");
}

/* What each stage changed; nothing where there is but one. */
static void stages_table(hn_buf *out, const json_t *rows) {
    size_t i;
    const json_t *row, *before = NULL;
    bool gated = false;
    json_array_foreach (rows, i, row)
        gated = gated || check_of(row, "stage_drop");
    if (!gated)
        return;
    hn_buf_puts(out, "<h2>From stage to stage</h2><p class=\"dim\">Each stage's golden score, the "
                     "change against the stage before with its one-sided 95 % bounds, and the "
                     "slices that lost more than the limit against the stage that was best at "
                     "them.</p>\n");
    hn_html_table(out, "From stage to stage",
                  "stage|gate|score|change|bounds of the change|slices that fell");
    json_array_foreach (rows, i, row) {
        const json_t *drop = check_of(row, "stage_drop"), *ci = json_object_get(drop, "ci");
        if (strcmp(hn_html_string(row, "kind"), "float") != 0)
            continue;
        hn_buf_puts(out, "<tr><th scope=\"row\">");
        hn_html_text(out, hn_html_string(row, "name"));
        hn_buf_puts(out, "</th>");
        hn_html_verdict_cell(out, json_object_get(row, "gate"));
        hn_html_score_cell(out, row, "score");
        if (drop && before)
            hn_buf_printf(out, "<td>%+.3f</td><td>%+.3f – %+.3f</td>",
                          0 - hn_html_number(drop, "value"),
                          0 - json_number_value(json_array_get(ci, 1)),
                          0 - json_number_value(json_array_get(ci, 0)));
        else
            hn_buf_puts(out, "<td>–</td><td>–</td>");
        fallen_cell(out, row);
        hn_buf_puts(out, "</tr>\n");
        before = row;
    }
    hn_html_table_end(out);
}

void hn_html_training(hn_buf *out, const json_t *summary, const json_t *metrics) {
    const json_t *trainings = json_object_get(summary, "trainings");
    const char *stage;
    json_t *lines;
    stages_table(out, json_object_get(summary, "rows"));
    hn_buf_puts(out, "<h2>Training</h2>\n");
    json_object_foreach ((json_t *)(uintptr_t)metrics, stage, lines)
        stage_section(out, stage, lines, json_object_get(trainings, stage));
}
