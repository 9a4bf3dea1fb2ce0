/* What every kind of distillation must do, whatever its loss: go on exactly where it stopped, learn
 * the same however a step is computed, survive a lack of memory, refuse nonsense. */
#define _GNU_SOURCE
#include "kd_setup.h"

static void begin_kd(setup *s, float share) {
    (void)share;
    begin(s, "llama");
}

static const struct kind {
    const char *name;
    void (*begin)(setup *s, float share); /* this share of the steps sampled, where any is */
    bool samples;
} KINDS[] = {
    {"kd", begin_kd, false}, {"gkd", begin_sampled, true}, {"minillm", begin_minillm, true}};
enum { KD, GKD, MINILLM, N_KINDS };

/* In one go and stopped again and again with other thread counts: the same bits. With half of the
 * steps sampled, where any is. */
static void test_resume(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    for (const struct kind *kind = KINDS; kind < KINDS + N_KINDS; kind++) {
        setup whole, parts;
        hn_train_result result;
        double sampled[RECORDED_STEPS], sum = 0;
        kind->begin(&whole, 0.5f);
        kind->begin(&parts, 0.5f);
        must_run(&whole, "llama", 1, teacher, &result);
        if (kind->samples) {
            assert_int_equal(read_steps(&whole.t, "sampled", sampled), RECORDED_STEPS);
            for (int i = 0; i < RECORDED_STEPS; i++)
                sum += sampled[i];
            assert_true(sum > 2 && sum < RECORDED_STEPS - 2);
        }
        for (uint64_t at = 1; at < RECORDED_STEPS; at += 6) {
            training_stopper s = {.at = at};
            hn_progress progress = {.context = &s, .update = stop_training, .cancel = &s.cancel};
            hn_error err;
            assert_int_equal(run(&parts, "llama", 2, teacher, &progress, &result, &err),
                             HN_CANCELLED);
        }
        must_run(&parts, "llama", 3, teacher, &result);
        check_same_adapter(whole.t.dir, parts.t.dir);
        end(&whole);
        end(&parts);
    }
    tiny_model_free(teacher);
}

/* A row a pass and all at once, shared beginnings or not, with and without what backward needs
 * kept: the same run. */
static void test_ways_to_compute(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    for (const struct kind *kind = KINDS; kind < KINDS + N_KINDS; kind++) {
        setup s;
        hn_train_result wanted, result;
        kind->begin(&s, 1);
        if (kind->samples)
            s.t.options.max_steps = 4; /* before roundings choose other tokens */
        must_run(&s, "llama", 1, teacher, &wanted);
        for (int variant = 1; variant < 4; variant++) {
            s.t.options.resume = false;
            s.t.options.plain_batches = variant & 1;
            s.t.options.budget_bytes = variant & 2 ? 1 : 0;
            must_run(&s, "llama", 2, teacher, &result);
            if (!(fabs(result.final_loss - wanted.final_loss) < 1e-4 * fabs(wanted.final_loss)))
                fail_msg("%s, way %d: loss %.9g, wanted %.9g", kind->name, variant,
                         result.final_loss, wanted.final_loss);
        }
        end(&s);
    }
    tiny_model_free(teacher);
}

static void test_no_memory(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 1);
    for (const struct kind *kind = KINDS; kind < KINDS + N_KINDS; kind++) {
        setup s;
        kind->begin(&s, 1);
        check_no_memory(&s, "llama", teacher);
        end(&s);
    }
    tiny_model_free(teacher);
}

#define AT(member) offsetof(hn_distill_options, member)
static const struct {
    int kind;
    size_t at; /* the option, a float */
    float value;
} NONSENSE[] = {
    {KD, AT(alpha), 1.5f},      {KD, AT(alpha), NAN},        {KD, AT(temperature), 0},
    {KD, AT(hidden), -1},       {GKD, AT(beta), 2},          {GKD, AT(alpha), 0},
    {GKD, AT(on_policy), -1},   {GKD, AT(on_policy), NAN},   {GKD, AT(sample_temperature), 0},
    {MINILLM, AT(gamma), 1.5f}, {MINILLM, AT(gamma), NAN},   {MINILLM, AT(single_step), -1},
    {MINILLM, AT(hidden), 1},   {MINILLM, AT(on_policy), 0},
};

static void test_bad_options(void **state) {
    (void)state;
    static const hn_layer_pair ABOVE = {4, 1};
    hn_model *teacher = golden_model("qwen3", 1);
    hn_train_result result;
    hn_error err;
    setup s;
    for (size_t i = 0; i < sizeof NONSENSE / sizeof *NONSENSE; i++) {
        KINDS[NONSENSE[i].kind].begin(&s, 1);
        memcpy((char *)&s.distill + NONSENSE[i].at, &NONSENSE[i].value, sizeof(float));
        if (run(&s, "llama", 1, teacher, NULL, &result, &err) != HN_USAGE)
            fail_msg("%s, case %zu: %s", KINDS[NONSENSE[i].kind].name, i, err.message);
        end(&s);
    }
    begin_sampled(&s, 1);
    s.distill.sample_tokens = 0;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    end(&s);
    begin(&s, "llama");
    s.distill.layers = &ABOVE;
    s.distill.n_layers = 1;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_USAGE);
    s.distill.n_layers = 0;
    teacher->arch.n_vocab--;
    assert_int_equal(run(&s, "llama", 1, teacher, NULL, &result, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "60 tokens"));
    teacher->arch.n_vocab++;
    end(&s);
    tiny_model_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_ways_to_compute),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_bad_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
