/* The table and the page that a run ends with, from a made-up summary. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "pipeline/pipeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static hn_error err;

static const char SUMMARY[] =
    "{\"name\":\"intent <router>\",\"version\":\"0.1.0\",\"verdict\":\"pass\",\"run_dir\":\"r\","
    "\"bundle\":\"r/release/bundle\",\"rows\":["
    "{\"name\":\"base\",\"type\":\"by prompt alone\",\"kind\":\"base\",\"size_bytes\":98362432,"
    "\"n\":853,\"score\":0.31,\"ci\":[0.28,0.34],\"slices\":{\"paraphrase\":{\"n\":500,\"mean\":0.4"
    ",\"ci\":[0.36,0.44]},\"a&b\":{\"n\":353,\"mean\":0.2,\"ci\":[0.16,0.24]}},\"p95_ms\":212.5,"
    "\"prefill_tps\":1010.4,\"decode_tps\":121.2},"
    "{\"name\":\"q8\",\"type\":\"q8_0\",\"kind\":\"merged\",\"size_bytes\":144000000,\"n\":853,"
    "\"score\":0.951,\"ci\":[0.93,0.96],\"slices\":{\"paraphrase\":{\"n\":500,\"mean\":0.96,\"ci\":"
    "[0.94,0.97]},\"a&b\":{\"n\":353,\"mean\":0.94,\"ci\":[0.91,0.96]}},\"kl\":0.00031,\"flips\":3,"
    "\"p95_ms\":80.1,\"gate\":{\"verdict\":\"pass\",\"checks\":[{\"metric\":\"quality_drop\","
    "\"value\":0.001,\"threshold\":0.02,\"ci\":[-0.004,0.007],\"n\":853,\"verdict\":\"pass\"},"
    "{\"metric\":\"p95_ms\",\"value\":80,\"threshold\":120,\"ci\":[null,82],\"n\":853,\"verdict\":"
    "\"pass\"}]}},"
    "{\"name\":\"sft\",\"kind\":\"float\",\"type\":\"float\",\"score\":0.5,\"ci\":[0.4,0.6]},"
    "{\"name\":\"dpo\",\"kind\":\"float\",\"type\":\"float\",\"score\":0.53,\"ci\":[0.43,0.63],"
    "\"gate\":{\"verdict\":\"pass\",\"checks\":[{\"metric\":\"stage_drop\",\"value\":-0.03,"
    "\"threshold\":0.02,\"ci\":[-0.06,0.01],\"n\":853,\"verdict\":\"pass\"},"
    "{\"metric\":\"slice_drop\",\"slice\":\"a&b\",\"against\":\"sft\",\"before\":0.7,\"after\":0."
    "613,"
    "\"value\":0.087,\"threshold\":0.05,\"ci\":[0,0.2],\"n\":80,\"verdict\":\"inconclusive\"},"
    "{\"metric\":\"slice_drop\",\"slice\":\"paraphrase\",\"against\":\"sft\",\"before\":0.4,"
    "\"after\":0.4,\"value\":0,\"threshold\":0.05,\"ci\":[-0.1,0.1],\"n\":500,\"verdict\":"
    "\"pass\"}]}},"
    "{\"name\":\"q4\",\"type\":\"q4_0\",\"kind\":\"merged\",\"size_bytes\":0,\"refused\":"
    "\"the adapter was lost: <cosine> 0.1\",\"gate\":{\"verdict\":\"fail\",\"checks\":[]}}],"
    "\"trainings\":{\"sft\":{\"best_step\":20,\"best_metric\":\"loss\",\"seconds\":90,"
    "\"eval_seconds\":10,\"golden_seconds\":8,\"golden_rows\":100,\"golden_is_old\":true},"
    "\"dpo\":{\"best_step\":10,\"best_metric\":\"golden\",\"seconds\":30,\"eval_seconds\":10}},"
    "\"stages\":[{\"name\":\"data\",\"key\":\"0123456789abcdef0123\",\"reused\":true,\"seconds\":"
    "0.5}]}";

static json_t *parse(const char *text) {
    json_t *value;
    if (hn_json_parse(text, strlen(text), "test", &value, &err) != HN_OK)
        fail_msg("%s", err.message);
    return value;
}

static json_t *make_lines(int steps) {
    json_t *lines = json_array();
    for (int i = 1; i <= steps; i++) {
        json_array_append_new(lines, json_pack("{s:i, s:f}", "step", i, "loss", 4.0 / i));
        if (i % 10 == 0)
            json_array_append_new(lines, json_pack("{s:i, s:f, s:f, s:f, s:f}", "step", i,
                                                   "eval_loss", 4.5 / i, "eval_golden",
                                                   0.5 - 1.0 / i, "eval_general_perplexity",
                                                   20 + 0.01 * i, "eval_general_kl", 1e-3 * i));
    }
    return lines;
}

/* Margins begin below 0. */
static json_t *make_pair_lines(int steps) {
    json_t *lines = json_array();
    for (int i = 1; i <= steps; i++) {
        json_array_append_new(lines, json_pack("{s:i, s:f, s:f}", "step", i, "loss", 0.7 - 1e-4 * i,
                                               "rewards/margins", 1e-3 * i - 0.1));
        if (i % 10 == 0)
            json_array_append_new(lines, json_pack("{s:i, s:f, s:f, s:f}", "step", i, "eval_loss",
                                                   0.71 - 1e-4 * i, "eval_rewards/margins",
                                                   9e-4 * i - 0.1, "eval_rewards/accuracies", 0.6));
    }
    return lines;
}

static json_t *make_metrics(int steps) {
    return json_pack("{s:o, s:o}", "sft", make_lines(steps), "dpo", make_pair_lines(steps / 2));
}

static void assert_has(const hn_buf *text, const char *wanted) {
    if (!strstr(hn_buf_text(text), wanted))
        fail_msg("lacks '%s':\n%s", wanted, hn_buf_text(text));
}

static void test_table(void **state) {
    (void)state;
    json_t *summary = parse(SUMMARY);
    hn_buf wide = {0}, narrow = {0};
    assert_int_equal(hn_pipeline_table(summary, 140, &wide, &err), HN_OK);
    assert_has(&wide, "base (by prompt alone)            0.310 0.280-0.340");
    assert_has(&wide, "0.00031     3   144.0");
    assert_has(&wide, "refused: the adapter was lost");
    assert_has(&wide, "paraphrase, n 500");
    assert_int_equal(hn_pipeline_table(summary, 60, &narrow, &err), HN_OK);
    assert_has(&narrow, "  prefill 1010, decode 121 tokens/s, p95 212 ms");
    for (const char *line = hn_buf_text(&narrow); *line;) {
        size_t n = strcspn(line, "\n");
        assert_true(n <= 60);
        line += n + (line[n] == '\n');
    }
    hn_buf_done(&wide);
    hn_buf_done(&narrow);
    json_decref(summary);
}

static void test_page(void **state) {
    (void)state;
    json_t *summary = parse(SUMMARY), *metrics = make_metrics(1200);
    hn_buf page = {0};
    assert_int_equal(hn_pipeline_report(summary, metrics, &page, &err), HN_OK);
    assert_has(&page, "intent &lt;router&gt;");
    assert_has(&page, "a&amp;b");
    assert_has(&page, "&lt;cosine&gt; 0.1");
    assert_has(&page, "<h3>sft</h3>\n<div class=\"curves\">\n<figure><svg"); /* a curve a stage */
    assert_has(&page, "<h3>dpo</h3>\n<div class=\"curves\">\n<figure><svg");
    assert_has(&page, "<polyline class=\"train\"");
    assert_has(&page, "prefers-color-scheme:dark");
    assert_has(&page, "Golden score by training step, from 0.4 to");
    assert_has(&page, "<th scope=\"col\">KL to the base</th>");
    assert_has(&page, "<th scope=\"col\">general perplexity</th>");
    assert_has(&page, "<th scope=\"col\">margin</th>");
    assert_has(&page, "<tr class=\"kept\"><th scope=\"row\">20 ");
    assert_has(&page,
               "Evaluations took 10 s, 10 % of the training's time, the golden set 8 % (100");
    assert_has(&page, "have changed since"); /* sft's golden scores */
    assert_has(&page, "are too good");       /* dpo's choice */
    assert_has(&page, "<td>+0.030</td><td>-0.010 – +0.060</td>");
    assert_has(&page, "a&amp;b</span> 0.700 → 0.613 (not proven)");
    assert_has(&page, "slice_drop a&amp;b");
    assert_null(strstr(hn_buf_text(&page), "slice_drop paraphrase"));
    assert_null(strstr(hn_buf_text(&page), "http")); /* nothing from outside */
    assert_null(strstr(hn_buf_text(&page), "<script"));
    assert_null(strstr(hn_buf_text(&page), "nan"));
    const char *keep = getenv("HONE_TEST_REPORT"); /* to look at it in a browser */
    if (keep)
        assert_int_equal(hn_file_write(keep, hn_buf_text(&page), page.size, &err), HN_OK);
    hn_buf_done(&page);
    json_decref(summary);
    json_decref(metrics);
}

static void test_odd_summaries(void **state) {
    (void)state;
    static const char *const CASES[] = {"{}", "{\"rows\":[]}", "{\"rows\":[{}]}",
                                        "{\"rows\":[{\"name\":\"x\",\"slices\":{},\"gate\":{}}]}"};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        json_t *summary = parse(CASES[i]), *metrics = make_metrics((int)i);
        hn_buf page = {0};
        assert_int_equal(hn_pipeline_report(summary, metrics, &page, &err), HN_OK);
        assert_int_equal(hn_pipeline_table(summary, 200, &page, &err), HN_OK);
        hn_buf_done(&page);
        json_decref(summary);
        json_decref(metrics);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_odd_summaries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
