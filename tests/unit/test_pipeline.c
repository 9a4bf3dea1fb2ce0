/* `hone run` on the tiny model: what it leaves, that a second run reuses all of it, and that a run
 * which is killed again and again ends with the same bytes. */
#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "pipeline/pipeline.h"
#include "release/bundle.h"
#include "support/stories.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static hn_error err;
static char folder[64];

static const char TEMPLATE[] =
    "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}</s>{% endif %}\n"
    "{% endfor %}";

static const char RECIPE[] = "name: tiny\n"
                             "base: base.gguf\n"
                             "data: {train: train.jsonl, golden: golden.jsonl, system: Once}\n"
                             "sft: {rank: 4, epochs: 2, batch: 4, learning_rate: 1e-2,"
                             " save_every: 3, max_length: 64}\n"
                             "artefacts:\n"
                             "  - {name: beside, kind: adapter}\n"
                             "  - {name: q8, type: q8_0}\n"
                             "eval: {max_tokens: 4, kl_chunks: 1}\n"
                             "gate: {max_quality_drop: 1}\n"
                             "bundle: {artefact: q8}\n";

/* The same model taught in three stages; what is missing at its end is the gate. */
static const char THREE[] = "name: three\n"
                            "base: base.gguf\n"
                            "data: {train: train.jsonl, golden: golden.jsonl, system: Once}\n"
                            "sft: {rank: 4, epochs: 2, batch: 4, learning_rate: 1e-2,"
                            " save_every: 3, max_length: 64}\n"
                            "rkd: {train: [rkd.jsonl, train.jsonl], batch: 8, max_length: 64,"
                            " learning_rate: 1e-3, save_every: 2}\n"
                            "dpo: {train: pairs.jsonl, batch: 8, max_length: 64, save_every: 2,"
                            " learning_rate: 1e-4, beta: 0.2}\n"
                            "artefacts:\n"
                            "  - {name: beside, kind: adapter}\n"
                            "eval: {max_tokens: 24, kl_chunks: 1}\n"
                            "bundle: {}\n"
                            "gate: {max_quality_drop: 1, max_stage_drop: ";

static void put(const char *name, const char *text) {
    char *path = hn_path_join(folder, name);
    assert_int_equal(hn_file_write(path, text, strlen(text), &err), HN_OK);
    hn_free(path);
}

static const char *const NOUNS[] = {"cat", "dog", "sun", "tree", "bird", "ball", "car", "box"};
enum { N_NOUNS = sizeof NOUNS / sizeof *NOUNS };

static void write_rows(void) {
    static const char *const VERBS[] = {"sees", "wants", "likes", "finds", "loses"};
    hn_buf rows = {0};
    for (int v = 0; v < 5; v++)
        for (int i = 0; i < N_NOUNS; i++)
            hn_buf_printf(&rows,
                          "{\"messages\":[{\"role\":\"user\",\"content\":\"Lily %s the %s\"},"
                          "{\"role\":\"assistant\",\"content\":\"%s\"}]}\n",
                          VERBS[v], NOUNS[i], NOUNS[i]);
    put("train.jsonl", hn_buf_text(&rows));
    hn_buf_reset(&rows);
    for (int i = 0; i < N_NOUNS; i++)
        hn_buf_printf(&rows,
                      "{\"prompt\":\"Tom takes a %s home today\",\"assert\":[{\"type\":\"equals\","
                      "\"value\":\"%s\"}],\"slice\":\"%s\"}\n",
                      NOUNS[i], NOUNS[i], i % 2 ? "odd" : "even");
    put("golden.jsonl", hn_buf_text(&rows));
    hn_buf_reset(&rows);
    for (int i = 0; i < 4 * N_NOUNS; i++)
        hn_buf_printf(&rows,
                      "{\"instruction\":\"Ben %s the %s\",\"thought\":\"It is the %s.\","
                      "\"response\":\"%s\"}\n",
                      VERBS[i / N_NOUNS], NOUNS[i % N_NOUNS], NOUNS[i % N_NOUNS],
                      NOUNS[i % N_NOUNS]);
    put("rkd.jsonl", hn_buf_text(&rows));
    hn_buf_reset(&rows);
    for (int i = 0; i < 4 * N_NOUNS; i++)
        hn_buf_printf(
            &rows, "{\"prompt\":\"Sue %s the %s\",\"chosen\":\"%s\",\"rejected\":\"%s\"}\n",
            VERBS[i / N_NOUNS], NOUNS[i % N_NOUNS], NOUNS[i % N_NOUNS], NOUNS[(i + 1) % N_NOUNS]);
    put("pairs.jsonl", hn_buf_text(&rows));
    hn_buf_done(&rows);
}

static void put_three(const char *max_stage_drop) {
    hn_buf text = {0};
    hn_buf_printf(&text, "%s%s}\n", THREE, max_stage_drop);
    put("recipe.yaml", hn_buf_text(&text));
    hn_buf_done(&text);
}

static int setup(void **state) {
    (void)state;
    const stories_fault form = {.chat_template = TEMPLATE};
    snprintf(folder, sizeof folder, "/tmp/hone-pipeline-XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    char *base = hn_path_join(folder, "base.gguf");
    hn_status status = stories_write_gguf(base, &form, &err);
    hn_free(base);
    if (status != HN_OK && status != HN_IO)
        return 1;
    write_rows();
    put("recipe.yaml", RECIPE);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    return hn_path_remove(folder, &err) != HN_OK;
}

static void need_model(void) {
    char *base = hn_path_join(folder, "base.gguf");
    bool there = hn_path_exists(base);
    hn_free(base);
    if (!there) {
        print_message("skipped: stories260K isn't there (set HONE_SHARED)\n");
        skip();
    }
}

static bool prune; /* of the next runs */

static hn_status run(const char *out, hn_pipeline_result *result) {
    hn_recipe recipe;
    char *path = hn_path_join(folder, "recipe.yaml"), *dir = hn_path_join(folder, out);
    hn_pipeline_options options = {.out_dir = dir, .n_threads = 1, .prune = prune};
    hn_status status = hn_recipe_read(&recipe, path, &err);
    if (status == HN_OK) {
        status = hn_pipeline_run(&recipe, &options, NULL, result, &err);
        hn_recipe_done(&recipe);
    }
    hn_free(path);
    hn_free(dir);
    return status;
}

static void must_run(const char *out, hn_pipeline_result *result) {
    if (run(out, result) != HN_OK)
        fail_msg("%s", err.message);
}

static bool has_times(const char *name) {
    static const char *const NAMES[] = {"done.json",  "timing.jsonl", "metrics.jsonl",
                                        "train.json", "bench.json",   "gate.json"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!strcmp(name, NAMES[i]))
            return true;
    return false;
}

static int compare_names(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* Name and sum of everything below stages/ whose bytes are promised to be equal. Timings, and what
 * is keyed by them, aren't. */
static void list_sums(const char *dir, hn_buf *out) {
    struct dirent **entries;
    int n = scandir(dir, &entries, NULL, compare_names);
    assert_true(n >= 0);
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        char *path = hn_path_join(dir, name), hex[HN_SHA256_HEX];
        assert_null(strstr(name, ".part"));
        assert_null(strstr(name, ".tmp-"));
        if (strcmp(name, ".") && strcmp(name, "..") && strncmp(name, "gate-", 5)) {
            if (hn_path_is_dir(path)) {
                hn_buf_printf(out, "%s/\n", name);
                list_sums(path, out);
            } else if (!has_times(name)) {
                assert_int_equal(hn_sha256_file(path, hex, &err), HN_OK);
                hn_buf_printf(out, "%s %s\n", name, hex);
            }
        }
        hn_free(path);
        free(entries[i]);
    }
    free(entries);
}

static void sums_of(const char *out, hn_buf *sums) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s/stages", folder, out);
    list_sums(path, sums);
}

static void test_run(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    must_run("run", &result);
    assert_true(result.has_verdict);
    const json_t *rows = json_object_get(result.summary, "rows");
    assert_int_equal(json_array_size(rows), 4);
    for (size_t i = 0; i < 4; i++) {
        const json_t *row = json_array_get(rows, i);
        assert_int_equal(json_integer_value(json_object_get(row, "n")), N_NOUNS);
        assert_int_equal(json_object_size(json_object_get(row, "slices")), 2);
        assert_true(json_number_value(json_object_get(row, "decode_tps")) > 0);
        assert_true(json_number_value(json_object_get(row, "p95_ms")) > 0);
        assert_int_equal(json_object_get(row, "kl") != NULL, i >= 2);
        assert_int_equal(json_object_get(row, "gate") != NULL, i >= 2);
    }
    assert_int_equal(result.verdict, HN_VERDICT_PASS);
    const char *bundle = json_string_value(json_object_get(result.summary, "bundle"));
    assert_non_null(bundle);
    if (hn_bundle_verify(bundle, &err) != HN_OK)
        fail_msg("%s", err.message);
    static const char *const FILES[] = {"run.json", "metrics.jsonl", "report.html",
                                        "artefacts/q8/model.gguf", "artefacts/beside/adapter.gguf"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/run/%s", folder, FILES[i]);
        if (!hn_path_exists(path))
            fail_msg("%s isn't there", path);
    }
    const json_t *sft = json_object_get(json_object_get(result.summary, "trainings"), "sft");
    assert_int_equal(json_integer_value(json_object_get(sft, "golden_rows")), N_NOUNS);
    assert_true(json_is_false(json_object_get(sft, "golden_is_old")));
    double golden = json_number_value(json_object_get(sft, "golden_seconds"));
    assert_true(golden > 0 && golden <= json_number_value(json_object_get(sft, "eval_seconds")));
    char metrics[160], *lines;
    snprintf(metrics, sizeof metrics, "%s/run/metrics.jsonl", folder);
    assert_int_equal(hn_file_read(metrics, 1 << 20, &lines, NULL, &err), HN_OK);
    int n_scored = 0;
    for (const char *at = lines; (at = strstr(at, "\"eval_golden\": ")); at++)
        n_scored++;
    assert_int_equal(n_scored, 3); /* before, and after each of two epochs */
    hn_free(lines);
    hn_pipeline_result_done(&result);

    must_run("run", &result); /* everything is there already */
    size_t i;
    const json_t *stage;
    json_array_foreach (json_object_get(result.summary, "stages"), i, stage) {
        if (!json_is_true(json_object_get(stage, "reused")))
            fail_msg("%s was made again", json_string_value(json_object_get(stage, "name")));
    }
    assert_true(i >= 10);
    hn_pipeline_result_done(&result);
}

/* Another rate: data and the untaught base's scores are kept, the rest is made again. */
static void test_changed_recipe(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    hn_buf text = {0};
    const char *at = strstr(RECIPE, "1e-2");
    hn_buf_printf(&text, "%.*s2e-2%s", (int)(at - RECIPE), RECIPE, at + 4);
    put("recipe.yaml", hn_buf_text(&text));
    must_run("run", &result);
    put("recipe.yaml", RECIPE);
    size_t i;
    const json_t *stage;
    json_array_foreach (json_object_get(result.summary, "stages"), i, stage) {
        const char *name = json_string_value(json_object_get(stage, "name"));
        bool kept =
            !strcmp(name, "data") || !strcmp(name, "eval-base") || !strcmp(name, "bench-base");
        assert_int_equal(json_is_true(json_object_get(stage, "reused")), kept);
    }
    hn_pipeline_result_done(&result);
    hn_buf_done(&text);
}

/* Every answer is too unlikely and becomes "tree": one row in eight is right, in all tables and
 * gates. Nothing is taught or quantised again for it. */
static void test_abstention(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    hn_buf text = {0};
    const char *at = strstr(RECIPE, "kl_chunks");
    hn_buf_printf(&text, "%.*sabstain_below: 1, abstain_as: tree, %s", (int)(at - RECIPE), RECIPE,
                  at);
    put("recipe.yaml", hn_buf_text(&text));
    must_run("run", &result);
    put("recipe.yaml", RECIPE);
    size_t i;
    const json_t *item;
    json_array_foreach (json_object_get(result.summary, "stages"), i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        bool is_anew = !strncmp(name, "eval-", 5) || !strncmp(name, "gate-", 5) ||
                       !strcmp(name, "bundle"); /* it holds the gate's verdict */
        if (json_is_true(json_object_get(item, "reused")) == is_anew)
            fail_msg("%s was %s", name, is_anew ? "reused" : "made again");
    }
    json_array_foreach (json_object_get(result.summary, "rows"), i, item) {
        assert_true(json_number_value(json_object_get(item, "score")) == 1.0 / N_NOUNS);
        const json_t *gate = json_object_get(item, "gate");
        if (gate)
            assert_int_equal(json_integer_value(json_object_get(gate, "answers_changed")), 0);
    }
    hn_pipeline_result_done(&result);
    hn_buf_done(&text);
}

/* Every answer is one of the nouns; the grammar is an input by what it says. */
static void test_grammar(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    hn_buf text = {0}, gbnf = {0};
    const char *at = strstr(RECIPE, "kl_chunks");
    hn_buf_printf(&text, "%.*sgrammar: nouns.gbnf, %s", (int)(at - RECIPE), RECIPE, at);
    hn_buf_puts(&gbnf, "root ::= \"cat\"");
    put("nouns.gbnf", hn_buf_text(&gbnf));
    put("recipe.yaml", hn_buf_text(&text));
    must_run("run", &result);
    size_t i;
    const json_t *item;
    json_array_foreach (json_object_get(result.summary, "rows"), i, item)
        assert_true(json_number_value(json_object_get(item, "score")) == 1.0 / N_NOUNS);
    hn_pipeline_result_done(&result);
    for (int k = 1; k < N_NOUNS; k++)
        hn_buf_printf(&gbnf, " | \"%s\"", NOUNS[k]);
    put("nouns.gbnf", hn_buf_text(&gbnf));
    must_run("run", &result);
    json_array_foreach (json_object_get(result.summary, "stages"), i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (!strncmp(name, "eval-", 5) || !strcmp(name, "sft"))
            assert_int_equal(json_is_true(json_object_get(item, "reused")), !strcmp(name, "sft"));
    }
    hn_pipeline_result_done(&result);
    put("nouns.gbnf", "root ::= nothing"); /* known before anything is taught */
    assert_int_equal(run("run", &result), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "nouns.gbnf"));
    put("recipe.yaml", RECIPE);
    hn_buf_done(&text);
    hn_buf_done(&gbnf);
}

static size_t count_entries(const char *name) {
    char *path = hn_path_join(folder, name);
    DIR *handle = opendir(path);
    size_t n = 0;
    assert_non_null(handle);
    for (const struct dirent *entry; (entry = readdir(handle));)
        n += entry->d_name[0] != '.';
    closedir(handle);
    hn_free(path);
    return n;
}

/* The stages of both rates are there; afterwards only those of the present recipe. */
static void test_prune(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    prune = true;
    must_run("run", &result);
    prune = false;
    const json_t *stages = json_object_get(result.summary, "stages"), *stage;
    size_t i;
    json_array_foreach (stages, i, stage)
        assert_true(json_is_true(json_object_get(stage, "reused")));
    assert_int_equal(count_entries("run/stages"), json_array_size(stages));
    hn_pipeline_result_done(&result);
    must_run("run", &result);
    json_array_foreach (json_object_get(result.summary, "stages"), i, stage)
        assert_true(json_is_true(json_object_get(stage, "reused")));
    hn_pipeline_result_done(&result);
}

/* Runs in a process of its own, which is killed after `ms`; true when it had finished well. */
static bool run_and_kill(const char *out, int ms) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        hn_pipeline_result result;
        _exit(run(out, &result) == HN_OK ? 0 : 9);
    }
    int code, waited = 0;
    while (waitpid(child, &code, WNOHANG) == 0) {
        if (waited++ >= ms) {
            kill(child, SIGKILL);
            waitpid(child, &code, 0);
            break;
        }
        usleep(1000);
    }
    if (WIFEXITED(code) && WEXITSTATUS(code) == 9)
        fail_msg("a run after a kill failed");
    return WIFEXITED(code);
}

static void kill_often(const char *whole, const char *torn) {
    need_model();
    hn_pipeline_result result;
    hn_buf wanted = {0}, got = {0};
    must_run(whole, &result);
    hn_pipeline_result_done(&result);
    sums_of(whole, &wanted);
    hn_rng rng = hn_rng_new(11, 0);
    int kills = 0;
    double life_ms = 10;
    enum { MAX_KILLS = 120 };
    /* Short lives first, so that early stages are hit too; each a tenth longer than the last, so
     * that it ends under a sanitizer on a busy machine too. */
    while (kills < MAX_KILLS && !run_and_kill(torn, (int)life_ms + (int)hn_rng_below(&rng, 20))) {
        kills++;
        life_ms *= 1.1;
    }
    print_message("killed %d times\n", kills);
    assert_true(kills > 3 && kills < MAX_KILLS);
    sums_of(torn, &got);
    assert_string_equal(hn_buf_text(&got), hn_buf_text(&wanted));
    hn_buf_done(&wanted);
    hn_buf_done(&got);
}

static void test_kill(void **state) {
    (void)state;
    kill_often("whole", "torn");
}

static void test_kill_three(void **state) {
    (void)state;
    put_three("1");
    kill_often("whole-three", "torn-three");
    put("recipe.yaml", RECIPE);
}

/* A row and a gate a stage, the last stage the reference of the artefacts; a changed last stage
 * leaves the others as they were. */
static void test_three_stages(void **state) {
    (void)state;
    static const char *const NAMES[] = {"base", "sft", "rkd", "dpo", "beside"};
    static const char *const FILES[] = {"metrics.jsonl", "metrics-rkd.jsonl", "metrics-dpo.jsonl"};
    need_model();
    hn_pipeline_result result;
    put_three("1");
    must_run("three", &result);
    assert_int_equal(result.verdict, HN_VERDICT_PASS);
    assert_null(json_object_get(result.summary, "stopped"));
    const json_t *rows = json_object_get(result.summary, "rows");
    assert_int_equal(json_array_size(rows), 5);
    for (size_t i = 0; i < 5; i++) {
        const json_t *row = json_array_get(rows, i), *gate = json_object_get(row, "gate");
        const char *kind = json_string_value(json_object_get(gate, "gate"));
        assert_string_equal(json_string_value(json_object_get(row, "name")), NAMES[i]);
        assert_int_equal(gate != NULL, i >= 2);
        if (gate)
            assert_string_equal(kind, i == 4 ? "export" : "stage");
        assert_int_equal(json_object_get(row, "p95_ms") != NULL, i == 0 || i == 4);
    }
    for (int i = 0; i < 3; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/three/%s", folder, FILES[i]);
        assert_true(hn_path_exists(path));
    }
    hn_pipeline_result_done(&result);

    hn_buf text = {0};
    const char *at = strstr(THREE, "beta: 0.2");
    hn_buf_printf(&text, "%.*sbeta: 0.3%s1}\n", (int)(at - THREE), THREE, at + 9);
    put("recipe.yaml", hn_buf_text(&text));
    must_run("three", &result);
    size_t i;
    const json_t *stage;
    json_array_foreach (json_object_get(result.summary, "stages"), i, stage) {
        const char *name = json_string_value(json_object_get(stage, "name"));
        bool is_kept = !strcmp(name, "data") || strstr(name, "sft") || strstr(name, "rkd") ||
                       strstr(name, "base");
        if (json_is_true(json_object_get(stage, "reused")) != is_kept)
            fail_msg("%s was %s", name, is_kept ? "made again" : "reused");
    }
    hn_pipeline_result_done(&result);
    put("recipe.yaml", RECIPE);
    hn_buf_done(&text);
}

/* Thoughts that teach to say no and nothing else: the stage loses what the one before could do, and
 * nothing follows it. */
static void test_stage_that_loses(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    hn_buf text = {0};
    for (int i = 0; i < 4 * N_NOUNS; i++)
        hn_buf_printf(&text,
                      "{\"instruction\":\"%d Ben sees the %s\",\"thought\":\"no\",\"response\":"
                      "\"no\"}\n",
                      i, NOUNS[i % N_NOUNS]);
    put("rkd.jsonl", hn_buf_text(&text));
    hn_buf_reset(&text);
    for (int i = 0; i < N_NOUNS; i++)
        hn_buf_printf(&text,
                      "{\"prompt\":\"Tom takes a %s home today\",\"assert\":[{\"type\":\"regex\","
                      "\"value\":\"(?s)^((?!no).)+$\"}]}\n",
                      NOUNS[i]);
    put("golden.jsonl", hn_buf_text(&text));
    hn_buf_reset(&text);
    const char *at = strstr(THREE, ", train.jsonl]"), *rate = strstr(THREE, "learning_rate: 1e-3");
    hn_buf_printf(&text, "%.*s]%.*slearning_rate: 1e-2, epochs: 8%s0.02}\n", (int)(at - THREE),
                  THREE, (int)(rate - at - 14), at + 14, rate + 19);
    put("recipe.yaml", hn_buf_text(&text));
    must_run("three", &result);
    write_rows();
    assert_true(result.has_verdict);
    assert_int_equal(result.verdict, HN_VERDICT_FAIL);
    assert_non_null(strstr(json_string_value(json_object_get(result.summary, "stopped")),
                           "after rkd the golden score is 0."));
    assert_null(json_object_get(result.summary, "bundle"));
    const json_t *rows = json_object_get(result.summary, "rows");
    assert_int_equal(json_array_size(rows), 3); /* base, sft, rkd */
    size_t i;
    const json_t *stage;
    json_array_foreach (json_object_get(result.summary, "stages"), i, stage)
        assert_null(strstr(json_string_value(json_object_get(stage, "name")), "dpo"));
    hn_pipeline_result_done(&result);
    put("recipe.yaml", RECIPE);
    hn_buf_done(&text);
}

/* Files under the wrong stage, found before anything is taught. */
static void test_rows_of_another_stage(void **state) {
    (void)state;
    static const struct {
        const char *was, *is, *wanted;
    } CASES[] = {
        {"[rkd.jsonl, train.jsonl]", "train.jsonl", "train.jsonl: stage rkd learns from"},
        {"[rkd.jsonl, train.jsonl]", "pairs.jsonl", "pairs.jsonl:1: a preference"},
        {"train: pairs.jsonl", "train: rkd.jsonl", "rkd.jsonl:1: stage dpo learns from"},
    };
    need_model();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_pipeline_result result;
        hn_buf text = {0};
        const char *at = strstr(THREE, CASES[i].was);
        hn_buf_printf(&text, "%.*s%s%s1}\n", (int)(at - THREE), THREE, CASES[i].is,
                      at + strlen(CASES[i].was));
        put("recipe.yaml", hn_buf_text(&text));
        assert_int_equal(run("wrong", &result), HN_BAD_INPUT);
        if (!strstr(err.message, CASES[i].wanted))
            fail_msg("'%s' lacks '%s'", err.message, CASES[i].wanted);
        hn_buf_done(&text);
    }
    put("recipe.yaml", RECIPE);
}

static void test_two_at_once(void **state) {
    (void)state;
    need_model();
    char path[128];
    snprintf(path, sizeof path, "%s/locked", folder);
    assert_int_equal(hn_dir_make(path, &err), HN_OK);
    int lock = -1, other = -1;
    assert_int_equal(hn_dir_lock(path, "test", &lock, &err), HN_OK);
    assert_int_equal(hn_dir_lock(path, "test", &other, &err), HN_FAILED);
    hn_pipeline_result result;
    assert_int_equal(run("locked", &result), HN_FAILED);
    assert_non_null(strstr(err.message, "another 'hone run'"));
    hn_dir_unlock(lock);
    assert_int_equal(hn_dir_lock(path, "test", &lock, &err), HN_OK);
    hn_dir_unlock(lock);
    hn_dir_unlock(other);
    snprintf(path, sizeof path, "%s/absent", folder);
    assert_int_equal(hn_dir_lock(path, "test", &lock, &err), HN_IO);
}

static void test_overlap_is_refused(void **state) {
    (void)state;
    need_model();
    hn_pipeline_result result;
    put("golden.jsonl", "{\"prompt\":\"lily sees the CAT!\",\"assert\":[{\"type\":\"equals\","
                        "\"value\":\"cat\"}]}\n");
    hn_status status = run("overlap", &result);
    write_rows();
    assert_int_equal(status, HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "golden.jsonl:1 is a copy of the training row"));
    assert_non_null(strstr(err.message, "train.jsonl:1 "));
}

/* A full disk ends the run with a message; with room again it goes on to the same bytes. */
static void test_full_disk(void **state) {
    (void)state;
    need_model();
    char disk[96];
    snprintf(disk, sizeof disk, "%s/disk", folder);
    assert_int_equal(hn_dir_make(disk, &err), HN_OK);
    if (geteuid() || mount("none", disk, "tmpfs", 0, "size=700k")) {
        print_message("skipped: mounting a small tmpfs needs root\n");
        skip();
    }
    hn_pipeline_result result;
    hn_status status = run("disk", &result);
    bool said = strstr(err.message, "No space left") != NULL;
    int grown = mount("none", disk, "tmpfs", MS_REMOUNT, "size=64m");
    hn_status again = run("disk", &result);
    hn_buf wanted = {0}, got = {0};
    if (again == HN_OK) {
        hn_pipeline_result_done(&result);
        sums_of("disk", &got);
    }
    umount(disk);
    assert_int_equal(grown, 0);
    assert_int_equal(status, HN_IO);
    assert_true(said);
    assert_int_equal(again, HN_OK);
    sums_of("whole", &wanted);
    assert_string_equal(hn_buf_text(&got), hn_buf_text(&wanted));
    hn_buf_done(&wanted);
    hn_buf_done(&got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run),
        cmocka_unit_test(test_abstention),
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_changed_recipe),
        cmocka_unit_test(test_prune),
        cmocka_unit_test(test_kill),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_three_stages),
        cmocka_unit_test(test_stage_that_loses),
        cmocka_unit_test(test_kill_three),
        cmocka_unit_test(test_rows_of_another_stage),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_overlap_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
