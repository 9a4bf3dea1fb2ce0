/* The benchmark for a person: a row a test, and a line for a sustained one. */
#include "cli/bench.h"

#include <string.h>

static double real(const json_t *test, const char *key) {
    return json_number_value(json_object_get(test, key));
}

static int whole(const json_t *test, const char *key) {
    return (int)json_integer_value(json_object_get(test, key));
}

static const char *text(const json_t *test, const char *key) {
    const char *value = json_string_value(json_object_get(test, key));
    return value ? value : "";
}

/* "decode 128 x4 @4096 cold" */
static void name_cell(hn_table *table, const json_t *test) {
    char rows[16] = "", depth[24] = "";
    int n_prompt = whole(test, "n_prompt"), n_gen = whole(test, "n_gen");
    if (whole(test, "n_rows") > 1)
        snprintf(rows, sizeof rows, " x%d", whole(test, "n_rows"));
    if (whole(test, "n_depth"))
        snprintf(depth, sizeof depth, " @%d", whole(test, "n_depth"));
    hn_table_cell(table, "%s %d%s%s%s",
                  n_prompt                               ? "prefill"
                  : json_object_get(test, "sustained_s") ? "sustained"
                                                         : "decode",
                  n_prompt + n_gen, rows, depth,
                  json_is_true(json_object_get(test, "cold")) ? " cold"
                  : json_object_get(test, "tokens_per_pass")  ? " text"
                                                              : "");
}

/* A rate in thousand millions, and its share of the limit. */
static void rate_cells(hn_table *table, const json_t *test, const char *key, const char *limit) {
    double rate = real(test, key), most = real(test, limit);
    hn_table_cell(table, "%.1f", rate * 1e-9);
    if (most > 0)
        hn_table_cell(table, "%.0f %%", 100 * rate / most);
    else
        hn_table_cell(table, "%s", "-");
}

/* Tokens a pass, and how many of the guesses came true. */
static void guess_cells(hn_table *table, const json_t *test) {
    if (!json_object_get(test, "tokens_per_pass")) {
        hn_table_cell(table, "%s", "-");
        hn_table_cell(table, "%s", "-");
        return;
    }
    hn_table_cell(table, "%.2f", real(test, "tokens_per_pass"));
    hn_table_cell(table, "%d of %d", whole(test, "n_accepted"), whole(test, "n_drafted"));
}

static bool any_text(const json_t *tests) {
    size_t i;
    const json_t *test;
    json_array_foreach (tests, i, test)
        if (json_object_get(test, "tokens_per_pass"))
            return true;
    return false;
}

static void show_row(hn_table *table, const json_t *test, bool with_model, bool with_text) {
    const char *path = text(test, "model_filename"), *slash = strrchr(path, '/');
    if (with_model)
        hn_table_cell(table, "%s", slash ? slash + 1 : path);
    name_cell(table, test);
    hn_table_cell(table, "%s", text(test, "type_k"));
    hn_table_cell(table, "%d", whole(test, "n_threads"));
    hn_table_cell(table, "%s", text(test, "isa"));
    hn_table_cell(table, "%.2f", real(test, "avg_ts"));
    hn_table_cell(table, "%.2f", real(test, "stddev_ts"));
    hn_table_cell(table, "%.2f", real(test, "median_ts"));
    rate_cells(table, test, "bytes_s", "read_limit_s");
    rate_cells(table, test, "macs_s", "mac_limit_s");
    if (with_text)
        guess_cells(table, test);
}

/* The worst window, and the run in ten parts. */
static void show_sustained(const json_t *test) {
    enum { PARTS = 10 };
    const json_t *series = json_object_get(test, "samples_ts");
    size_t n = json_array_size(series), parts = n < PARTS ? n : PARTS;
    printf("sustained for %.0f s, tokens/s by tenths:", real(test, "sustained_s"));
    for (size_t part = 0; part < parts; part++) {
        size_t first = n * part / parts, last = n * (part + 1) / parts;
        double sum = 0;
        for (size_t i = first; i < last; i++)
            sum += json_number_value(json_array_get(series, i));
        printf(" %.1f", sum / (double)(last - first));
    }
    printf("; worst %.0f s: %.1f\n", real(test, "worst_window_s"), real(test, "worst_window_ts"));
}

hn_status hn_bench_show(const hn_cli *cli, const json_t *tests, bool with_model, hn_error *err) {
    static const char *const HEADS[] = {"model",  "test",   "kv",       "threads",   "isa",
                                        "tok/s",  "+/-",    "median",   "read GB/s", "of max",
                                        "GMAC/s", "of max", "tok/pass", "came true"};
    hn_table table;
    size_t i;
    json_t *test;
    const bool with_text = any_text(tests);
    hn_table_init(&table, 11 + with_model + 2 * with_text, HEADS + !with_model,
                  &"Lllrlrrrrrrrrr"[!with_model]);
    json_array_foreach (tests, i, test)
        show_row(&table, test, with_model, with_text);
    hn_status status = hn_table_print(&table, &cli->out, err);
    hn_table_done(&table);
    if (status != HN_OK)
        return status;
    json_array_foreach (tests, i, test)
        if (json_object_get(test, "sustained_s"))
            show_sustained(test);
    return HN_OK;
}
