/* Distillation: the worked example, divergences and gradients against torch (tests/golden/
 * record_kd.py), runs against transformers + PEFT step by step, projections between widths. */
#define _GNU_SOURCE
#include "kd_setup.h"

/* A list of lists, one after the other; freed with hn_free. */
static float *matrix(const json_t *owner, const char *key, int64_t *rows, int64_t *columns) {
    const json_t *list = json_object_get(owner, key);
    *rows = (int64_t)json_array_size(list);
    *columns = (int64_t)json_array_size(json_array_get(list, 0));
    float *values = hn_malloc((size_t)(*rows * *columns) * sizeof *values);
    for (int64_t i = 0; i < *rows * *columns; i++)
        values[i] = (float)json_number_value(
            json_array_get(json_array_get(list, (size_t)(i / *columns)), (size_t)(i % *columns)));
    return values;
}

static void check_matrix(const json_t *owner, const char *key, const float *ours,
                         double tolerance) {
    int64_t rows, columns;
    float *wanted = matrix(owner, key, &rows, &columns);
    for (int64_t i = 0; i < rows * columns; i++)
        if (!(fabsf(ours[i] - wanted[i]) <= (float)tolerance * (1 + fabsf(wanted[i]))))
            fail_msg("%s, value %lld: %.8g, recorded %.8g", key, (long long)i, (double)ours[i],
                     (double)wanted[i]);
    hn_free(wanted);
}

static void check_number(const json_t *owner, const char *key, double ours, double tolerance) {
    double wanted = json_number_value(json_object_get(owner, key));
    if (!(fabs(ours - wanted) <= tolerance * (1 + fabs(wanted))))
        fail_msg("%s: %.9g, recorded %.9g", key, ours, wanted);
}

static hn_compute *compute_new(void) {
    hn_compute *compute;
    hn_isa isa;
    hn_error err;
    assert_int_equal(hn_isa_parse(NULL, &isa, &err), HN_OK);
    assert_int_equal(hn_compute_new(&compute, isa, 2, &err), HN_OK);
    return compute;
}

/* spec/training.md: hard 1.5157, soft 0.3425 with T^2 in it, hidden 0.5703. */
static void test_worked_example(void **state) {
    (void)state;
    json_t *golden = recorded_golden("kd.json");
    const json_t *example = json_object_get(golden, "example");
    const json_t *weights = json_object_get(example, "weights");
    hn_compute *compute = compute_new();
    int64_t n, vocab, dim;
    float *student = matrix(example, "student_logits", &n, &vocab);
    float *teacher = matrix(example, "teacher_logits", &n, &vocab);
    float *x = matrix(example, "student_hidden", &n, &dim);
    float *taught = matrix(example, "teacher_hidden", &n, &dim);
    int32_t labels[3];
    float shares[3], dx[64];
    double logps[3], value = 0, hidden = 0;
    bool hits[3];
    assert_int_equal(n, 3);
    for (size_t i = 0; i < 3; i++) {
        labels[i] =
            (int32_t)json_integer_value(json_array_get(json_object_get(example, "labels"), i));
        shares[i] = 1.0f / 3;
    }
    hn_loss_rows rows = {.logits = student,
                         .n = 3,
                         .n_vocab = (int32_t)vocab,
                         .labels = labels,
                         .weights = shares,
                         .logps = logps,
                         .hits = hits,
                         .ops = hn_train_ops_get(hn_compute_isa(compute)),
                         .pool = hn_compute_pool(compute)};
    hn_kd kd = {(float)json_number_value(json_object_get(weights, "hard")),
                (float)json_number_value(json_object_get(weights, "soft")),
                (float)json_number_value(json_object_get(example, "temperature"))};
    hn_kd_sums sums = {0};
    hn_loss_kd(&kd, &rows, teacher, &sums, &value);
    double gamma = json_number_value(json_object_get(weights, "hidden"));
    hn_hidden h = {.compute = compute,
                   .n = 3,
                   .dim = dim,
                   .teacher_dim = dim,
                   .student = x,
                   .teacher = taught,
                   .weight = (float)(gamma / (3.0 * (double)dim)),
                   .d_student = dx};
    hn_error err;
    assert_int_equal(hn_loss_hidden(&h, &hidden, &err), HN_OK);
    check_number(example, "hard", sums.hard, 5e-7);
    check_number(example, "soft_times_t2", sums.soft, 5e-7);
    check_number(example, "hidden_mse", hidden / gamma, 5e-7);
    check_number(example, "total", value + hidden, 5e-7);
    check_matrix(example, "grad_student_logits", student, 5e-7);
    check_matrix(example, "grad_student_hidden", dx, 5e-7);
    hn_free(student);
    hn_free(teacher);
    hn_free(x);
    hn_free(taught);
    hn_compute_free(compute);
    json_decref(golden);
}

/* Every vector width against TRL's divergences; none from oneself. */
static void test_soft_term(void **state) {
    (void)state;
    json_t *golden = recorded_golden("kd.json");
    const json_t *recorded = json_object_get(golden, "divergences"), *one;
    hn_isa best;
    hn_error err;
    size_t i;
    assert_int_equal(hn_isa_parse(NULL, &best, &err), HN_OK);
    for (int isa = 0; isa <= (int)best; isa++) {
        const hn_train_ops *ops = hn_train_ops_get((hn_isa)isa);
        json_array_foreach (json_object_get(recorded, "cases"), i, one) {
            int64_t n, width;
            float *s = matrix(recorded, "student", &n, &width);
            float *t = matrix(recorded, "teacher", &n, &width);
            float inv_t = 1.0f / (float)json_number_value(json_object_get(one, "temperature"));
            double value = 0;
            float beta = (float)json_number_value(json_object_get(one, "beta"));
            for (int64_t row = 0; row < n; row++) {
                float *x = s + row * width, *y = t + row * width;
                value += beta > 0 ? ops->divergence(x, y, width, inv_t, beta, inv_t)
                                  : ops->distill(x, y, width, inv_t, inv_t);
            }
            check_number(one, "value", value, 1e-6);
            check_matrix(one, "gradient", t, 1e-6);
            memcpy(t, s, (size_t)width * sizeof *t);
            assert_true(ops->distill(s, t, width, inv_t, 1) == 0);
            hn_free(s);
            hn_free(t);
        }
    }
    json_decref(golden);
}

static void test_projection(void **state) {
    (void)state;
    json_t *golden = recorded_golden("kd.json");
    const json_t *recorded = json_object_get(golden, "projected");
    hn_compute *compute = compute_new();
    int64_t n, dim, wide;
    float *p = matrix(recorded, "projection", &wide, &dim);
    float *x = matrix(recorded, "student", &n, &dim);
    float *taught = matrix(recorded, "teacher", &n, &wide);
    float dx[64], dp[64] = {0};
    double value = 0;
    hn_hidden h = {.compute = compute,
                   .n = n,
                   .dim = dim,
                   .teacher_dim = wide,
                   .student = x,
                   .teacher = taught,
                   .projection = p,
                   .weight = (float)json_number_value(json_object_get(recorded, "weight")),
                   .d_student = dx,
                   .d_projection = dp};
    hn_error err;
    assert_int_equal(hn_loss_hidden(&h, &value, &err), HN_OK);
    check_number(recorded, "value", value, 1e-6);
    check_matrix(recorded, "grad_student", dx, 2e-6);
    check_matrix(recorded, "grad_projection", dp, 2e-6);
    hn_free(p);
    hn_free(x);
    hn_free(taught);
    hn_compute_free(compute);
    json_decref(golden);
}

static void test_against_torch(void **state) {
    (void)state;
    static const char *const KEYS[] = {"loss", "ce", "kd", "hidden", "grad_norm"};
    json_t *golden = recorded_golden("kd.json");
    const json_t *runs = json_object_get(golden, "runs");
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *recorded = json_array_get(runs, i);
        const char *family = json_string_value(json_object_get(recorded, "family"));
        hn_model *teacher =
            golden_model(json_string_value(json_object_get(recorded, "teacher")), 2);
        setup s;
        hn_train_result result;
        begin(&s, family);
        must_run(&s, family, 2, teacher, &result);
        for (size_t k = 0; k < sizeof KEYS / sizeof *KEYS; k++)
            check_recorded(&s.t, family, KEYS[k],
                           json_object_get(json_object_get(recorded, "steps"), KEYS[k]),
                           k == 4 ? (tolerances){1e-4, 1e-4, 0} : (tolerances){1e-5, 1e-4, 0});
        end(&s);
        tiny_model_free(teacher);
    }
    json_decref(golden);
}

/* A model that teaches itself: nothing to learn but from the text. */
static void test_own_teacher(void **state) {
    (void)state;
    setup s;
    hn_train_result result;
    hn_model *teacher = golden_model("llama", 1);
    double loss[20], norm[20];
    begin(&s, "llama");
    s.distill.alpha = 1;
    s.t.options.init_adapter = NULL; /* B = 0: the model as it is */
    s.t.options.max_steps = 1;
    must_run(&s, "llama", 2, teacher, &result);
    read_steps(&s.t, "loss", loss);
    read_steps(&s.t, "grad_norm", norm);
    assert_true(fabs(loss[0]) < 1e-10 && norm[0] < 1e-5);
    end(&s);
    tiny_model_free(teacher);
}

/* A wider and deeper teacher, so that projections are learned too: its term falls; a run that is
 * stopped again and again, with other thread counts, ends with the same bits. */
static void test_projected_run(void **state) {
    (void)state;
    hn_arch arch = tiny_arch("qwen3");
    arch.n_layer = 5;
    arch.n_embd = 48;
    hn_model *teacher = tiny_model_of(&arch, 2);
    setup whole, parts;
    hn_train_result wanted, result;
    double hidden[20];
    begin(&whole, "llama");
    whole.distill.hidden = 1;
    must_run(&whole, "llama", 1, teacher, &wanted);
    assert_int_equal(read_steps(&whole.t, "hidden", hidden), 20);
    assert_true(hidden[19] < hidden[0]);
    begin(&parts, "llama");
    parts.distill.hidden = 1;
    for (uint64_t at = 1; at < 20; at += 6) {
        training_stopper s = {.at = at};
        hn_progress progress = {.context = &s, .update = stop_training, .cancel = &s.cancel};
        hn_error err;
        assert_int_equal(run(&parts, "llama", 2, teacher, &progress, &result, &err), HN_CANCELLED);
    }
    must_run(&parts, "llama", 3, teacher, &result);
    check_same_adapter(whole.t.dir, parts.t.dir);
    end(&whole);
    end(&parts);
    tiny_model_free(teacher);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_worked_example), cmocka_unit_test(test_soft_term),
        cmocka_unit_test(test_projection),     cmocka_unit_test(test_against_torch),
        cmocka_unit_test(test_own_teacher),    cmocka_unit_test(test_projected_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
