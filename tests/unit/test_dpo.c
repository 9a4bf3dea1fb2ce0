/* Preference tuning: the losses and their derivatives, runs against TRL (tests/golden/
 * record_dpo.py), exact resume, the kept references, and rows that are no pairs. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/json.h"
#include "train/train.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "formats/jsonl.h"
#include "golden_model.h"
#include "train_help.h"

static hn_pairs pairs_of(const json_t *golden) {
    const json_t *list = json_object_get(golden, "pairs");
    size_t n = json_array_size(list);
    hn_pairs pairs = {.items = hn_calloc(n, sizeof *pairs.items), .n = n};
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(list, i), *prompt = json_object_get(row, "prompt");
        pairs.items[i] =
            (hn_pair){recorded_document(prompt, json_object_get(row, "chosen"), i + 1),
                      recorded_document(prompt, json_object_get(row, "rejected"), i + 1)};
    }
    return pairs;
}

typedef struct setup {
    training t;
    hn_pairs pairs;
    hn_dpo_options dpo;
} setup;

static void begin(setup *s, const char *family) {
    training_begin(&s->t, "dpo.json", family);
    s->pairs = pairs_of(s->t.golden);
    s->dpo = (hn_dpo_options){.loss = {.beta = 0.1f}};
}

static void end(setup *s) {
    hn_pairs_done(&s->pairs);
    training_end(&s->t);
}

static hn_status run(setup *s, const char *family, int threads, const hn_progress *progress,
                     hn_train_result *result, hn_error *err) {
    hn_model *model = golden_model(family, threads);
    hn_status status =
        hn_train_dpo(model, &s->pairs, &s->pairs, &s->dpo, &s->t.options, progress, result, err);
    tiny_model_free(model);
    return status;
}

static void must_run(setup *s, const char *family, int threads, hn_train_result *result) {
    hn_error err = {0};
    if (run(s, family, threads, NULL, result, &err) != HN_OK)
        fail_msg("%s", err.message);
}

static void check_steps(const setup *s, const json_t *recorded, const char *what) {
    static const char *const REWARDS[] = {"rewards/chosen",  "rewards/rejected",
                                          "rewards/margins", "rewards/accuracies",
                                          "logps/chosen",    "logps/rejected"};
    check_recorded(&s->t, what, "loss", json_object_get(recorded, "losses"),
                   (tolerances){1e-5, 1e-4, 1e-5});
    check_recorded(&s->t, what, "grad_norm", json_object_get(recorded, "norms"),
                   (tolerances){1e-4, 1e-4, 1e-6});
    for (size_t i = 0; i < sizeof REWARDS / sizeof *REWARDS; i++)
        check_recorded(&s->t, what, REWARDS[i], json_object_get(recorded, REWARDS[i]),
                       (tolerances){1e-4, 1e-4, 1e-3});
}

static void test_against_trl(void **state) {
    (void)state;
    static const char *const LOSSES[] = {"sigmoid", "robust", "ipo"};
    json_t *golden = recorded_golden("dpo.json");
    const json_t *runs = json_object_get(golden, "runs");
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *recorded = json_array_get(runs, i);
        const char *family = json_string_value(json_object_get(recorded, "family"));
        const char *loss = json_string_value(json_object_get(recorded, "loss"));
        setup s;
        hn_train_result result;
        char what[64];
        snprintf(what, sizeof what, "%s %s", family, loss);
        begin(&s, family);
        for (int kind = 0; kind < 3; kind++)
            if (strcmp(LOSSES[kind], loss) == 0)
                s.dpo.loss.kind = (hn_dpo_kind)kind;
        s.dpo.loss.label_smoothing =
            (float)json_number_value(json_object_get(recorded, "label_smoothing"));
        must_run(&s, family, 2, &result);
        check_steps(&s, recorded, what);
        end(&s);
    }
    json_decref(golden);
}

/* Central differences of each loss; their value where policy and reference agree. */
static void test_losses(void **state) {
    (void)state;
    static const hn_dpo LOSSES[] = {{HN_DPO_SIGMOID, 0.1f, 0},
                                    {HN_DPO_SIGMOID, 0.3f, 0.2f},
                                    {HN_DPO_ROBUST, 0.1f, 0.1f},
                                    {HN_DPO_IPO, 0.1f, 0}};
    static const double AT_START[] = {0.693147180559945, 0.693147180559945, 0.693147180559945, 25};
    for (size_t i = 0; i < sizeof LOSSES / sizeof *LOSSES; i++) {
        hn_dpo_pair same = {{-3, -5}, {-3, -5}, {4, 7}}, pair = {{-3, -9}, {-4, -5}, {4, 7}};
        double gradient[2], unused[2], step = 1e-5;
        assert_true(fabs(hn_loss_dpo(&LOSSES[i], &same, unused) - AT_START[i]) < 1e-5);
        hn_loss_dpo(&LOSSES[i], &pair, gradient);
        for (int side = 0; side < 2; side++) {
            hn_dpo_pair up = pair, down = pair;
            up.logps[side] += step;
            down.logps[side] -= step;
            double slope =
                (hn_loss_dpo(&LOSSES[i], &up, unused) - hn_loss_dpo(&LOSSES[i], &down, unused)) /
                (2 * step);
            assert_true(fabs(slope - gradient[side]) < 1e-6 * (1 + fabs(slope)));
        }
    }
    /* far from the reference: finite, and no overflow */
    hn_dpo_pair far = {{-1e6, 0}, {0, -1e6}, {10, 10}};
    double gradient[2];
    assert_true(isfinite(hn_loss_dpo(&LOSSES[0], &far, gradient)) && isfinite(gradient[0]));
}

/* Stopped again and again, with other thread counts, and once with damaged references: the same
 * bits as in one go. */
static void test_resume(void **state) {
    (void)state;
    setup whole, parts;
    hn_train_result wanted, result;
    size_t n;
    begin(&whole, "qwen3");
    must_run(&whole, "qwen3", 1, &wanted);
    begin(&parts, "qwen3");
    for (uint64_t at = 1; at < 20; at += 6) {
        training_stopper s = {.at = at};
        hn_progress progress = {.context = &s, .update = stop_training, .cancel = &s.cancel};
        hn_error err;
        assert_int_equal(run(&parts, "qwen3", 2, &progress, &result, &err), HN_CANCELLED);
        char path[100], *text;
        snprintf(path, sizeof path, "%s/references", parts.t.dir);
        assert_int_equal(hn_file_read(path, 1 << 20, &text, &n, &err), HN_OK);
        text[n - 1] ^= 1; /* computed again */
        assert_int_equal(hn_file_write(path, text, n, &err), HN_OK);
        hn_free(text);
    }
    must_run(&parts, "qwen3", 3, &result);
    check_same_adapter(whole.t.dir, parts.t.dir);
    end(&whole);
    end(&parts);
}

/* Prompts computed once or once a completion, a pair a pass or all at once, with and without what
 * backward needs kept: the same run. */
static void test_ways_to_compute(void **state) {
    (void)state;
    setup s;
    hn_train_result wanted, result;
    begin(&s, "llama");
    must_run(&s, "llama", 1, &wanted);
    for (int variant = 1; variant < 4; variant++) {
        s.t.options.resume = false;
        s.t.options.plain_batches = variant & 1;
        s.t.options.budget_bytes = variant & 2 ? 1 : 0;
        must_run(&s, "llama", 2, &result);
        assert_true(fabs(result.final_loss - wanted.final_loss) < 1e-4 * wanted.final_loss);
    }
    end(&s);
}

/* The base as reference of an adapter that isn't nothing: no longer log 2 at the start. */
static void test_base_as_reference(void **state) {
    (void)state;
    setup s;
    hn_train_result result;
    begin(&s, "llama");
    s.t.options.max_steps = 1;
    must_run(&s, "llama", 1, &result);
    assert_true(fabs(result.final_loss - log(2)) < 1e-6);
    s.t.options.resume = false;
    s.dpo.base_is_reference = true;
    must_run(&s, "llama", 1, &result);
    assert_true(fabs(result.final_loss - log(2)) > 1e-4);
    end(&s);
}

static void test_bad_options(void **state) {
    (void)state;
    hn_error err;
    hn_dpo good = {HN_DPO_ROBUST, 0.1f, 0.1f}, o = good;
    assert_int_equal(hn_dpo_check(&good, &err), HN_OK);
    o.beta = 0;
    assert_int_equal(hn_dpo_check(&o, &err), HN_USAGE);
    o = good;
    o.label_smoothing = 0.5f;
    assert_int_equal(hn_dpo_check(&o, &err), HN_USAGE);
    o = (hn_dpo){HN_DPO_IPO, 0.1f, 0.1f};
    assert_int_equal(hn_dpo_check(&o, &err), HN_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),
        cmocka_unit_test(test_against_trl),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_ways_to_compute),
        cmocka_unit_test(test_base_as_reference),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
