/* A loss that becomes NaN: the run stops, names its rows, and goes on from the last good step once
 * what was wrong is mended. For each kind of training. */
#define _GNU_SOURCE
#include "sft_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum kind { SFT, DPO, DISTILL, KINDS } kind;

/* Breaks the model after a step. */
typedef struct breaker {
    hn_model *model;
    uint64_t at_step;
} breaker;

static void break_model(void *context, const char *label, uint64_t done, uint64_t total,
                        const char *unit, const char *detail) {
    breaker *b = context;
    (void)total, (void)unit, (void)detail;
    if (!strcmp(label, "training") && done == b->at_step)
        b->model->output_norm[0] = NAN;
}

static hn_pairs make_pairs(uint64_t seed) {
    hn_documents chosen = make_docs(seed), rejected = make_docs(seed + 10);
    hn_pairs pairs = {.items = hn_calloc(N_DOCS, sizeof *pairs.items), .n = N_DOCS};
    pairs.path = hn_strdup("pairs.jsonl");
    for (size_t i = 0; i < N_DOCS; i++)
        pairs.items[i] = (hn_pair){chosen.items[i], rejected.items[i]};
    hn_free(chosen.items);
    hn_free(rejected.items);
    hn_free(chosen.path);
    hn_free(rejected.path);
    return pairs;
}

/* break_at 0 = never. */
static hn_status teach(kind which, const hn_train_options *o, uint64_t break_at, hn_error *err) {
    hn_model *model = tiny_model("qwen3", 1), *teacher = tiny_model("qwen3", 1);
    hn_documents docs = make_docs(1), eval = make_docs(2);
    hn_pairs pairs = make_pairs(1), heldout = make_pairs(3);
    breaker b = {model, break_at};
    hn_progress progress = {.context = &b, .update = break_model};
    hn_dpo_options dpo = {.loss = {.kind = HN_DPO_SIGMOID, .beta = 0.1f}};
    hn_distill_options distill = hn_distill_options_default();
    hn_train_result result;
    hn_status status;
    distill.teacher = teacher;
    if (which == SFT)
        status = hn_train_sft(model, &docs, &eval, o, &progress, &result, err);
    else if (which == DPO)
        status = hn_train_dpo(model, &pairs, &heldout, &dpo, o, &progress, &result, err);
    else
        status = hn_train_distill(model, &docs, &eval, &distill, o, &progress, &result, err);
    hn_documents_done(&docs);
    hn_documents_done(&eval);
    hn_pairs_done(&pairs);
    hn_pairs_done(&heldout);
    tiny_model_free(model);
    tiny_model_free(teacher);
    return status;
}

static void must_teach(kind which, const hn_train_options *o) {
    hn_error err = {0};
    if (teach(which, o, 0, &err) != HN_OK)
        fail_msg("%s", err.message);
}

static void test_stops(void **state) {
    (void)state;
    static const struct {
        uint64_t step; /* after which the model is broken */
        const char *said;
    } CASES[] = {
        {4, "step 5: loss NaN"}, /* a checkpoint was just written */
        {5, "step 6: loss NaN"}, /* it is written now */
        {6, "after step 6 the loss on the evaluation rows is NaN"},
        {10, "after step 10 the loss on the evaluation rows is NaN"}, /* the last one */
    };
    for (int which = 0; which < KINDS; which++) {
        char *whole = temporary_dir(), *wanted, *found;
        size_t n_wanted, n_found;
        hn_train_options o = make_options(whole);
        must_teach((kind)which, &o);
        wanted = read_adapter(whole, &n_wanted);
        for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
            char *dir = temporary_dir();
            hn_error err = {0};
            o.out_dir = dir;
            assert_int_equal(teach((kind)which, &o, CASES[i].step, &err), HN_FAILED);
            if (!strstr(err.message, CASES[i].said) || !strstr(err.message, "/checkpoint") ||
                !strstr(err.message, "earning rate"))
                fail_msg("%s", err.message);
            if (!strncmp(CASES[i].said, "step", 4) &&
                !strstr(err.message, which == DPO ? " of pairs.jsonl" : " of rows.jsonl"))
                fail_msg("%s", err.message);
            must_teach((kind)which, &o); /* goes on */
            found = read_adapter(dir, &n_found);
            assert_true(n_found == n_wanted && memcmp(found, wanted, n_wanted) == 0);
            hn_free(found);
            remove_dir(dir);
        }
        hn_free(wanted);
        remove_dir(whole);
    }
}

/* What is broken from the start isn't the learning rate's fault, and nothing is kept to go on from.
 */
static void test_broken_start(void **state) {
    (void)state;
    for (int with_eval = 0; with_eval < 2; with_eval++) {
        hn_model *model = tiny_model("qwen3", 1);
        hn_documents docs = make_docs(1), eval = make_docs(2);
        char *dir = temporary_dir();
        hn_train_options o = make_options(dir);
        hn_train_result result;
        hn_error err = {0};
        model->output_norm[0] = NAN;
        assert_int_equal(
            hn_train_sft(model, &docs, with_eval ? &eval : NULL, &o, NULL, &result, &err),
            HN_FAILED);
        assert_non_null(strstr(err.message, with_eval ? "evaluation rows is NaN before any step"
                                                      : "step 1: loss NaN"));
        assert_non_null(strstr(err.message, "the adapter that it starts from"));
        assert_null(strstr(err.message, "earning rate"));
        assert_null(strstr(err.message, "checkpoint"));
        hn_documents_done(&docs);
        hn_documents_done(&eval);
        tiny_model_free(model);
        remove_dir(dir);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stops),
                                       cmocka_unit_test(test_broken_start)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
