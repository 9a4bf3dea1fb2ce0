/* What options of fine-tuning change in a run, and that each of them keeps what every run promises:
 * the same bits after a kill, for any thread count, and a checkpoint that no other option takes. */
#define _GNU_SOURCE
#include "sft_run.h"

#include "base/buf.h"
#include "train/metrics.h"

static void set_rslora(hn_train_options *o) {
    o->rslora = true;
}

static void set_dora(hn_train_options *o) {
    o->dora = true;
}

static void set_dora_undropped(hn_train_options *o) {
    o->dora = true;
    o->dropout = 0;
}

static void set_lora_plus(hn_train_options *o) {
    o->lora_plus_ratio = 16;
}

static void set_8bit(hn_train_options *o) {
    o->optimiser = HN_ADAMW_8BIT;
}

static void set_lion(hn_train_options *o) {
    o->optimiser = HN_LION;
    o->learning_rate = 1e-3f;
    o->weight_decay = 0.1f;
    o->lora_plus_ratio = 2;
}

static void set_neftune(hn_train_options *o) {
    o->neftune_alpha = 5;
}

static void set_alpha(hn_train_options *o) {
    o->alpha = 4;
}

static void set_ranks(hn_train_options *o) {
    o->rank_pattern = "q_proj=6,layers\\.1\\..*=2";
}

static void set_alphas(hn_train_options *o) {
    o->alpha_pattern = "layers\\.[01]\\.mlp\\.down_proj=3";
}

static void set_layers(hn_train_options *o) {
    o->layers = "0,2";
}

static hn_documents replay;

static void set_replay(hn_train_options *o) {
    o->replay = &replay;
    o->replay_share = 0.3f;
}

static void set_best(hn_train_options *o) {
    o->best_metric = "eval_accuracy";
}

static void (*const OPTIONS[])(hn_train_options *o) = {
    set_rslora,  set_dora,   set_dora_undropped, set_lora_plus, set_8bit,   set_lion,
    set_neftune, set_replay, set_alpha,          set_ranks,     set_alphas, set_layers,
};
enum { N_OPTIONS = sizeof OPTIONS / sizeof *OPTIONS };

static void test_exact(void **state) {
    (void)state;
    for (int i = 0; i < N_OPTIONS; i++) {
        char *whole = temporary_dir(), *parts = temporary_dir();
        hn_train_result wanted, result;
        hn_train_options o = make_options(whole);
        OPTIONS[i](&o);
        must_run(&o, 1, &wanted);
        o.out_dir = parts;
        run_killed(&o, 3, 2);
        run_killed(&o, 8, 4);
        must_run(&o, 3, &result);
        check_same_adapter(whole, parts);
        assert_true(result.best_eval_loss == wanted.best_eval_loss);
        remove_dir(whole);
        remove_dir(parts);
    }
}

/* Each option changes what is learned, and a checkpoint of a run without it isn't taken. */
static void test_matters(void **state) {
    (void)state;
    char *plain = temporary_dir();
    hn_train_result without, with;
    hn_train_options o = make_options(plain);
    must_run(&o, 1, &without);
    for (int i = 0; i < N_OPTIONS; i++) {
        char *dir = temporary_dir();
        hn_error err;
        o = make_options(plain);
        OPTIONS[i](&o);
        assert_int_equal(run(&o, 1, true, NULL, &with, &err), HN_USAGE);
        assert_non_null(strstr(err.message, "other data, options or base"));
        o.out_dir = dir;
        must_run(&o, 1, &with);
        assert_true(with.final_loss != without.final_loss);
        remove_dir(dir);
    }
    remove_dir(plain);
}

/* Moments of 8 bits learn as those of 32 do. */
static void test_8bit(void **state) {
    (void)state;
    char *one = temporary_dir(), *other = temporary_dir();
    hn_train_result exact, coded;
    hn_train_options o = make_options(one);
    o.max_steps = 60;
    must_run(&o, 1, &exact);
    o.out_dir = other;
    o.optimiser = HN_ADAMW_8BIT;
    must_run(&o, 1, &coded);
    if (!(fabs(exact.final_loss - coded.final_loss) < 0.02 * exact.final_loss))
        fail_msg("%g with 8 bits, %g without", coded.final_loss, exact.final_loss);
    remove_dir(one);
    remove_dir(other);
}

/* The value of `key` in each line that has it; returns how many there are. */
static int metric_of(const char *dir, const char *key, double *values, int most) {
    char path[300], *text, quoted[64];
    hn_error err;
    int n = 0;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    snprintf(quoted, sizeof quoted, "\"%s\": ", key);
    assert_int_equal(hn_file_read(path, 1 << 20, &text, NULL, &err), HN_OK);
    for (char *at = text; n < most && (at = strstr(at, quoted)); n++)
        values[n] = strtod(at += strlen(quoted), NULL);
    hn_free(text);
    return n;
}

/* Evaluated before the first step too, and kept is what is best by the metric that was named. */
static void test_best_metric(void **state) {
    (void)state;
    enum { EVALS = 41 };
    char *dir = temporary_dir();
    double accuracy[EVALS], loss[EVALS];
    hn_train_result result;
    hn_train_options o = make_options(dir);
    set_best(&o);
    o.max_steps = 120;
    must_run(&o, 1, &result);
    assert_int_equal(metric_of(dir, "eval_accuracy", accuracy, EVALS), EVALS);
    assert_int_equal(metric_of(dir, "eval_loss", loss, EVALS), EVALS);
    int best = 1; /* the one before the first step is for comparison */
    for (int i = 2; i < EVALS; i++)
        best = accuracy[i] > accuracy[best] ? i : best;
    assert_int_equal(result.best_step, 3 * best);
    assert_true(fabs(result.best_value - accuracy[best]) < 1e-8);
    assert_true(fabs(result.best_eval_loss - loss[best]) < 1e-7);
    char *other = temporary_dir();
    hn_error err;
    o.out_dir = other;
    o.best_metric = "bleu";
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "loss, accuracy, row_accuracy"));
    assert_true(hn_metric_wants_low("eval_loss") && hn_metric_wants_low("general_perplexity"));
    assert_true(hn_metric_wants_low("general_kl") && !hn_metric_wants_low("rewards/accuracies"));
    remove_dir(dir);
    remove_dir(other);
}

/* Over the run the share is as asked for, whatever it is for a step. */
static void test_replay_share(void **state) {
    (void)state;
    char *dir = temporary_dir();
    double rows[40], sum = 0;
    hn_train_result result;
    hn_train_options o = make_options(dir);
    set_replay(&o);
    o.replay_share = 0.05f;
    o.max_steps = 40;
    must_run(&o, 1, &result);
    assert_int_equal(metric_of(dir, "replayed_rows", rows, 40), 40);
    for (int i = 0; i < 40; i++) {
        assert_true(rows[i] == 0 || rows[i] == 1);
        sum += rows[i];
    }
    assert_true(sum == 8); /* of 160 + 8 rows */
    o.replay_share = 1;
    hn_error err;
    assert_int_equal(hn_train_options_check(&o, &err), HN_USAGE);
    remove_dir(dir);
}

/* On a model with a tokenizer: the base isn't far from itself before the first step, and is after.
 */
static void test_general(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        char *dir = temporary_dir(), text[300], path[600];
        double kl[8], perplexity[8];
        hn_train_result result;
        hn_model *model;
        hn_error err = {0};
        hn_model_options how = {.n_threads = 2};
        hn_buf words = {.max = 1 << 16};
        snprintf(path, sizeof path, "%s/golden/models/llama3", HN_TEST_ROOT);
        snprintf(text, sizeof text, "%s/general.txt", dir);
        for (int i = 0; i < 400; i++)
            hn_buf_printf(&words, "%d bottles ", i);
        assert_int_equal(hn_file_write(text, words.data, words.size, &err), HN_OK);
        hn_buf_done(&words);
        if (hn_model_open(&model, path, &how, &err) != HN_OK)
            fail_msg("%s", err.message);
        hn_documents docs = make_docs(1), eval = make_docs(2);
        hn_train_options o = make_options(dir);
        o.dropout = 0;
        o.max_steps = 6;
        o.general = text;
        o.best_metric = "general_perplexity";
        o.dora = variant == 1;
        o.full = variant == 2;
        if (hn_train_sft(model, &docs, &eval, &o, NULL, &result, &err) != HN_OK)
            fail_msg("%s", err.message);
        assert_int_equal(metric_of(dir, "eval_general_perplexity", perplexity, 8), 3);
        assert_true(perplexity[0] > 1 && perplexity[2] != perplexity[0]);
        assert_true(result.best_value == fmin(perplexity[1], perplexity[2]) ||
                    fabs(result.best_value / fmin(perplexity[1], perplexity[2]) - 1) < 1e-8);
        assert_int_equal(metric_of(dir, "eval_general_kl", kl, 8), variant == 2 ? 0 : 3);
        if (variant < 2)
            assert_true(fabs(kl[0]) < 1e-6 && kl[2] > 1e-5);
        hn_documents_done(&docs);
        hn_documents_done(&eval);
        hn_model_free(model);
        remove_dir(dir);
    }
}

/* Without rows to evaluate on there is nothing that it would be measured with. */
static void test_general_needs_rows(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_train_options o = make_options(dir);
    hn_train_result result;
    hn_error err;
    o.general = "text.txt";
    assert_int_equal(run(&o, 1, false, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "evaluations"));
    assert_int_equal(run(&o, 1, true, NULL, &result, &err), HN_IO);
    remove_dir(dir);
}

static hn_adapter *trained(const char *dir, const hn_arch *arch) {
    char path[300];
    hn_adapter *adapter;
    hn_error err;
    snprintf(path, sizeof path, "%s/adapter", dir);
    if (hn_adapter_open(&adapter, path, arch, &err) != HN_OK)
        fail_msg("%s", err.message);
    return adapter;
}

/* Ranks, scales and layers come back from the files as they were asked for. */
static void test_shapes(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_arch arch = tiny_arch("qwen3");
    hn_train_result result;
    hn_train_options o = make_options(dir);
    o.max_steps = 1;
    o.rslora = true;
    o.r = 3; /* alpha / sqrt(3) isn't exact: alpha must come back all the same */
    o.layers = "1-2";
    o.rank_pattern = "q_proj=6,layers\\.2\\..*=2";
    o.alpha_pattern = "k_proj=5";
    must_run(&o, 2, &result);
    hn_adapter *adapter = trained(dir, &arch);
    assert_true(adapter->rslora && adapter->alpha == 8 && adapter->r == 3);
    for (int m = 0; m < HN_MODULE_COUNT; m++)
        assert_int_equal(adapter->layers[0][m].r, 0);
    assert_int_equal(adapter->layers[1][HN_MODULE_Q].r, 6);
    assert_int_equal(adapter->layers[2][HN_MODULE_Q].r, 6); /* the first key that fits */
    assert_int_equal(adapter->layers[1][HN_MODULE_UP].r, 3);
    assert_int_equal(adapter->layers[2][HN_MODULE_UP].r, 2);
    assert_true(adapter->layers[1][HN_MODULE_UP].scale == 8 / sqrtf(3));
    assert_true(adapter->layers[2][HN_MODULE_K].scale == 5 / sqrtf(2));
    char path[300], *config;
    hn_error err;
    snprintf(path, sizeof path, "%s/adapter/adapter_config.json", dir);
    assert_int_equal(hn_file_read(path, 1 << 16, &config, NULL, &err), HN_OK);
    assert_non_null(strstr(config, "\"use_rslora\": true"));
    assert_null(strstr(config, "\"layers_to_transform\": null"));
    hn_free(config);
    hn_adapter_free(adapter);
    remove_dir(dir);
}

/* With a rate that doesn't change, the first update of AdamW is the rate, sign by sign: B's is
 * `ratio` times as large. */
static void test_lora_plus(void **state) {
    (void)state;
    char *dir = temporary_dir();
    hn_arch arch = tiny_arch("qwen3");
    hn_train_result result;
    hn_train_options o = make_options(dir);
    o.max_steps = 1;
    o.schedule = HN_SCHEDULE_CONSTANT;
    o.lora_plus_ratio = 3;
    must_run(&o, 1, &result);
    hn_adapter *adapter = trained(dir, &arch);
    const hn_lora *lora = &adapter->layers[1][HN_MODULE_V];
    for (int64_t i = 0; i < lora->r * lora->out; i++)
        assert_true(fabsf(fabsf(lora->b[i]) - 3e-2f) < 1e-4f);
    hn_adapter_free(adapter);
    remove_dir(dir);
}

static void refuse(const hn_train_options *o, const char *word) {
    hn_train_result result;
    hn_error err;
    assert_int_equal(run(o, 1, false, NULL, &result, &err), HN_USAGE);
    if (!strstr(err.message, word))
        fail_msg("'%s' says nothing of '%s'", err.message, word);
}

static void test_refusals(void **state) {
    (void)state;
    static const char *const BAD_LAYERS[] = {
        "3", "1-", "2-1", "x", "-1", "0,,1", "0-9999999999999"};
    static const char *const BAD_RANKS[] = {"q_proj",     "q_proj=",   "=3",         "q_proj=x",
                                            "q_proj=2.5", "q_proj=-1", "q_proj=1e9", "layers.3.=4"};
    char *dir = temporary_dir();
    hn_train_options good = make_options(dir), o;
    for (size_t i = 0; i < sizeof BAD_LAYERS / sizeof *BAD_LAYERS; i++) {
        o = good;
        o.layers = BAD_LAYERS[i];
        refuse(&o, BAD_LAYERS[i]);
    }
    for (size_t i = 0; i < sizeof BAD_RANKS / sizeof *BAD_RANKS; i++) {
        o = good;
        o.rank_pattern = BAD_RANKS[i];
        refuse(&o, "rank");
    }
    o = good;
    o.alpha_pattern = "(=2";
    hn_train_result result;
    hn_error err;
    assert_int_equal(run(&o, 1, false, NULL, &result, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "alpha_pattern"));
    o = good;
    o.lora_plus_ratio = 0;
    refuse(&o, "LoRA+");
    o = good;
    o.neftune_alpha = -1;
    refuse(&o, "NEFTune");
    remove_dir(dir);
}

/* A step of eight rows computed in one pass, and row by row: accumulation is the big batch. */
static void test_accumulation(void **state) {
    (void)state;
    char *one = temporary_dir(), *many = temporary_dir();
    hn_train_result big, small;
    hn_train_options o = make_options(one);
    o.batch_rows = 8;
    o.max_steps = 6;
    o.dropout = 0; /* its masks depend on what is computed together */
    must_run(&o, 1, &big);
    o.out_dir = many;
    o.budget_bytes = 1; /* nothing fits: every row is a pass of its own */
    must_run(&o, 1, &small);
    assert_true(fabs(big.final_loss - small.final_loss) < 1e-4 * big.final_loss);
    assert_true(fabs(big.best_eval_loss - small.best_eval_loss) < 1e-4 * big.best_eval_loss);
    remove_dir(one);
    remove_dir(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),
        cmocka_unit_test(test_matters),
        cmocka_unit_test(test_8bit),
        cmocka_unit_test(test_best_metric),
        cmocka_unit_test(test_replay_share),
        cmocka_unit_test(test_general),
        cmocka_unit_test(test_general_needs_rows),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_lora_plus),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_accumulation),
    };
    replay = make_docs(3);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hn_documents_done(&replay);
    return failed;
}
