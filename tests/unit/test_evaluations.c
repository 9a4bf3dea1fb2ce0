/* What an evaluation during training measures beside the loss: the golden set's score, by which an
 * adapter can be chosen and a run stopped; and what that took. */
#define _GNU_SOURCE
#include "gathered.h"
#include "sft_run.h"

#include "base/json.h"
#include "formats/jsonl.h"
#include "pipeline/golden_probe.h"
#include "train/metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A golden set whose scores are known beforehand. */
typedef struct script {
    const double *scores;
    int n;
    const hn_adapter *adapter; /* of the last call */
} script;

static hn_status read_script(void *context, hn_model *model, const hn_adapter *adapter,
                             const hn_share *share, const hn_progress *progress, double *score,
                             hn_error *err) {
    script *s = context;
    (void)model;
    assert_true(share->part == 0 && share->n_parts == 1);
    s->adapter = adapter;
    if (hn_progress_cancelled(progress))
        return hn_fail(err, HN_CANCELLED, "stopped");
    if (s->scores[s->n] < 0)
        return hn_fail(err, HN_FAILED, "the golden set can't be asked");
    *score = s->scores[s->n++];
    return HN_OK;
}

/* The evaluations' values of `key`, NaN where a line lacks it; how many lines there are. */
static int evaluations_of(const char *dir, const char *key, double *values, int most) {
    char path[300];
    hn_jsonl lines;
    json_t *row;
    hn_error err = {0};
    int n = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    assert_int_equal(hn_jsonl_open(&lines, path, &err), HN_OK);
    while (hn_jsonl_next(&lines, &row, &err) == HN_OK && row) {
        const json_t *value = json_object_get(row, key);
        if (json_object_get(row, "eval_loss") && n < most)
            values[n++] = value ? json_number_value(value) : (double)NAN;
        json_decref(row);
    }
    hn_jsonl_close(&lines);
    return n;
}

/* Evaluated before the first step and after steps 3, 6, 9 and 10. */
static void test_best(void **state) {
    (void)state;
    static const double SCORES[] = {0.95, 0.2, 0.7, 0.7, 0.4};
    script s = {.scores = SCORES};
    hn_train_golden golden = {.context = &s, .score = read_script, .hash = 1};
    char *dir = temporary_dir();
    double values[8], seconds[8];
    hn_train_result result;
    hn_train_options o = make_options(dir);
    o.golden = &golden;
    o.best_metric = "golden";
    must_run(&o, 2, &result);
    assert_int_equal(s.n, 5);
    assert_non_null(s.adapter);
    assert_int_equal(evaluations_of(dir, "eval_golden", values, 8), 5);
    for (int i = 0; i < 5; i++)
        assert_true(values[i] == SCORES[i]);
    assert_int_equal(result.best_step, 6); /* the first of equals, not the one before the start */
    assert_true(result.best_value == 0.7 && isfinite(result.best_eval_loss));
    assert_int_equal(evaluations_of(dir, "eval_seconds", seconds, 8), 5);
    double sum = 0;
    for (int i = 0; i < 5; i++)
        sum += seconds[i];
    assert_true(seconds[0] > 0 && fabs(sum - result.eval_seconds) < 1e-3);
    assert_true(result.golden_seconds > 0 && result.golden_seconds <= result.eval_seconds);
    remove_dir(dir);
}

/* By default it is only looked at: the loss chooses, and a run without it is the same run. */
static void test_only_looked_at(void **state) {
    (void)state;
    static const double SCORES[] = {0, 0.9, 0, 0, 0};
    script s = {.scores = SCORES};
    hn_train_golden golden = {.context = &s, .score = read_script, .hash = 1};
    char *with = temporary_dir(), *without = temporary_dir(), a[300], b[300];
    hn_train_result looked, plain;
    hn_error err;
    hn_train_options o = make_options(without);
    must_run(&o, 1, &plain);
    o.out_dir = with;
    o.golden = &golden;
    must_run(&o, 1, &looked);
    assert_int_equal(looked.best_step, plain.best_step);
    assert_true(looked.best_value == plain.best_value && plain.golden_seconds == 0);
    char *one, *other;
    size_t n, m;
    snprintf(a, sizeof a, "%s/adapter/adapter_model.safetensors", with);
    snprintf(b, sizeof b, "%s/adapter/adapter_model.safetensors", without);
    assert_int_equal(hn_file_read(a, 1 << 24, &one, &n, &err), HN_OK);
    assert_int_equal(hn_file_read(b, 1 << 24, &other, &m, &err), HN_OK);
    assert_true(n == m && memcmp(one, other, n) == 0);
    hn_free(one);
    hn_free(other);
    remove_dir(with);
    remove_dir(without);
}

static void test_early_stop(void **state) {
    (void)state;
    static const double SCORES[] = {0.1, 0.5, 0.4, 0.3, 0.9};
    script s = {.scores = SCORES};
    hn_train_golden golden = {.context = &s, .score = read_script, .hash = 1};
    char *dir = temporary_dir();
    hn_train_result result;
    hn_train_options o = make_options(dir);
    o.golden = &golden;
    o.best_metric = "golden";
    o.early_stop_evals = 2;
    must_run(&o, 1, &result);
    assert_int_equal(result.steps, 9); /* 6 and 9 were no better than 3 */
    assert_int_equal(result.best_step, 3);
    remove_dir(dir);
}

/* A run that golden rows choose goes on with the same rows only; otherwise they may change. */
static void test_resume(void **state) {
    (void)state;
    static const double SCORES[] = {0.1, 0.2, 0.3, 0.4, 0.5};
    for (int chooses = 0; chooses < 2; chooses++) {
        script s = {.scores = SCORES};
        hn_train_golden golden = {.context = &s, .score = read_script, .hash = 1};
        char *dir = temporary_dir();
        double values[8];
        hn_train_result result;
        hn_error err = {0};
        hn_train_options o = make_options(dir);
        o.golden = &golden;
        o.best_metric = chooses ? "eval_golden" : NULL;
        run_killed(&o, 5, 1);
        s.n = 2; /* what was asked before step 5 isn't asked again */
        golden.hash = 2;
        if (chooses) {
            assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_USAGE);
            assert_non_null(strstr(err.message, "belongs to a run with other"));
            golden.hash = 1;
        }
        must_run(&o, 1, &result);
        assert_int_equal(evaluations_of(dir, "eval_golden", values, 8), 5);
        for (int i = 0; i < 5; i++)
            assert_true(values[i] == SCORES[i]);
        assert_int_equal(result.best_step == 10 || !chooses, true);
        remove_dir(dir);
    }
}

static void test_failures(void **state) {
    (void)state;
    static const double SCORES[] = {0.1, -1};
    script s = {.scores = SCORES};
    hn_train_golden golden = {.context = &s, .score = read_script, .hash = 1};
    char *dir = temporary_dir();
    hn_train_result result;
    hn_error err = {0};
    hn_train_options o = make_options(dir);
    o.golden = &golden;
    assert_int_equal(run(&o, 1, false, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "the golden score is measured in evaluations"));
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_FAILED);
    assert_non_null(strstr(err.message, "can't be asked"));
    o.golden = NULL;
    o.best_metric = "golden";
    remove_dir(dir);
    dir = temporary_dir();
    o.out_dir = dir;
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "'golden': an evaluation here has loss"));
    remove_dir(dir);
}

static void write_golden(const char *path, int n) {
    hn_buf rows = {0};
    hn_error err;
    for (int i = 0; i < n; i++)
        hn_buf_printf(&rows,
                      "{\"prompt\": \"question %d\", \"assert\": [{\"type\": \"regex\", \"value\": "
                      "\"^\"}], \"slice\": \"%s\"}\n",
                      i, i < n / 2 ? "first" : "second");
    assert_int_equal(hn_file_write(path, hn_buf_text(&rows), rows.size, &err), HN_OK);
    hn_buf_done(&rows);
}

/* The rows that are kept lie evenly, so that slices keep their shares. */
static void test_thin(void **state) {
    (void)state;
    char *dir = temporary_dir(), path[300];
    hn_golden_probe probe = {0}, same = {0}, other = {0};
    hn_eval_options options = {.max_tokens = 4};
    hn_error err = {0};
    snprintf(path, sizeof path, "%s/golden.jsonl", dir);
    write_golden(path, 40);
    assert_int_equal(hn_golden_probe_open(&probe, path, 10, &options, 0, &err), HN_OK);
    assert_int_equal(probe.golden.n, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(probe.golden.items[i].line, 4 * i + 4);
    assert_int_equal(hn_golden_probe_open(&same, path, 10, &options, 0, &err), HN_OK);
    options.max_tokens = 5;
    assert_int_equal(hn_golden_probe_open(&other, path, 10, &options, 0, &err), HN_OK);
    assert_true(probe.call.hash == same.call.hash && probe.call.hash != other.call.hash);
    hn_golden_probe_done(&other);
    options = (hn_eval_options){.max_tokens = 4, .system = ""};
    assert_int_equal(hn_golden_probe_open(&other, path, 0, &options, 0, &err), HN_OK);
    assert_int_equal(other.golden.n, 40);
    hn_golden_probe_done(&other);
    hn_golden_probe_done(&other); /* harmless */
    hn_golden_probe_done(&probe);
    hn_golden_probe_done(&same);
    remove_dir(dir);
}

static hn_model *chatting_model(void) {
    static const char TEMPLATE[] = "{% for m in messages %}{{ m.content }}{% endfor %}";
    char path[600];
    hn_model *model;
    hn_error err = {0};
    hn_model_options how = {.n_threads = 2};
    snprintf(path, sizeof path, "%s/golden/models/llama3", HN_TEST_ROOT);
    if (hn_model_open(&model, path, &how, &err) != HN_OK)
        fail_msg("%s", err.message);
    model->ckpt.chat_template_source = hn_strdup(TEMPLATE);
    assert_int_equal(hn_template_new(&model->ckpt.chat_template, TEMPLATE, strlen(TEMPLATE), &err),
                     HN_OK);
    return model;
}

enum { SHARED_ROWS = 7 };

/* Rows of different weights, shared out: the last part's score is that of one that asks all. */
static void test_shared(void **state) {
    (void)state;
    char *dir = temporary_dir(), path[300];
    hn_model *model = chatting_model();
    hn_golden_probe probe;
    hn_eval_options asked = {.max_tokens = 6};
    hn_error err = {0};
    hn_buf rows = {0};
    double whole, shared;
    for (int i = 0; i < SHARED_ROWS; i++)
        hn_buf_printf(&rows,
                      "{\"prompt\": \"question %d\", \"weight\": 0.%d, \"assert\": [{\"type\": "
                      "\"regex\", \"value\": \"[=D]\"}]}\n",
                      i, i + 1);
    snprintf(path, sizeof path, "%s/golden.jsonl", dir);
    assert_int_equal(hn_file_write(path, hn_buf_text(&rows), rows.size, &err), HN_OK);
    hn_buf_done(&rows);
    assert_int_equal(hn_golden_probe_open(&probe, path, 0, &asked, 0, &err), HN_OK);
    assert_int_equal(probe.call.score(&probe, model, NULL, NULL, NULL, &whole, &err), HN_OK);
    assert_true(whole > 0 && whole < 1);
    for (int n_parts = 2; n_parts < 11; n_parts += 4) { /* of more parts than rows, too */
        gathered g = {0};
        for (int part = 0; part < n_parts; part++) {
            const hn_share share = {part, n_parts, gather_parts, &g};
            assert_int_equal(probe.call.score(&probe, model, NULL, &share, NULL, &shared, &err),
                             HN_OK);
        }
        assert_true(shared == whole && g.calls == n_parts);
    }
    gathered g = {0}; /* also of a failure the others are told */
    const hn_share share = {0, 2, gather_parts, &g};
    probe.options.max_tokens = model->arch.n_ctx_train;
    assert_int_equal(probe.call.score(&probe, model, NULL, &share, NULL, &shared, &err),
                     HN_BAD_INPUT);
    assert_int_equal(g.calls, 1);
    hn_golden_probe_done(&probe);
    hn_model_free(model);
    remove_dir(dir);
}

/* Real answers of a small model: LoRA, DoRA, and all weights, whose answers are to change. */
static void test_answers(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        char *dir = temporary_dir(), rows[300];
        double values[8];
        hn_model *model = chatting_model();
        hn_error err = {0};
        hn_golden_probe probe;
        hn_eval_options asked = {.max_tokens = 4};
        snprintf(rows, sizeof rows, "%s/golden.jsonl", dir);
        write_golden(rows, 6);
        assert_int_equal(hn_golden_probe_open(&probe, rows, 0, &asked, 0, &err), HN_OK);
        hn_documents docs = make_docs(1), eval = make_docs(2);
        hn_train_options o = make_options(dir);
        hn_train_result result;
        o.dropout = 0;
        o.max_steps = 3;
        o.golden = &probe.call;
        o.dora = variant == 1;
        o.full = variant == 2;
        if (hn_train_sft(model, &docs, &eval, &o, NULL, &result, &err) != HN_OK)
            fail_msg("%s", err.message);
        assert_int_equal(evaluations_of(dir, "eval_golden", values, 8), 2);
        assert_true(values[0] == 1 && values[1] == 1); /* any answer is right */
        hn_documents_done(&docs);
        hn_documents_done(&eval);
        hn_golden_probe_done(&probe);
        hn_model_free(model);
        remove_dir(dir);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best),       cmocka_unit_test(test_only_looked_at),
        cmocka_unit_test(test_early_stop), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_failures),   cmocka_unit_test(test_thin),
        cmocka_unit_test(test_shared),     cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
