/* Whole runs beside TRL's GKDTrainer (tests/golden/record_gkd.py): the rows' own completions, and
 * the ones that its student sampled, as rows. */
#define _GNU_SOURCE
#include "kd_setup.h"

static void check_run(const json_t *recorded) {
    const char *family = json_string_value(json_object_get(recorded, "family"));
    hn_model *teacher = golden_model(json_string_value(json_object_get(recorded, "teacher")), 2);
    const json_t *sampled = json_object_get(recorded, "rows");
    hn_train_result result;
    setup s = {.distill = hn_distill_options_default()};
    char what[64];
    training_begin(&s.t, "gkd.json", family);
    s.docs = recorded_documents(sampled ? sampled : json_object_get(s.t.golden, "rows"));
    s.distill.alpha = s.distill.temperature = 1;
    s.distill.beta = (float)json_number_value(json_object_get(recorded, "beta"));
    snprintf(what, sizeof what, "%s beta %g%s", family, (double)s.distill.beta,
             sampled ? " sampled" : "");
    must_run(&s, family, 2, teacher, &result);
    check_recorded(&s.t, what, "loss", json_object_get(recorded, "losses"),
                   (tolerances){1e-5, 1e-4, 0});
    check_recorded(&s.t, what, "grad_norm", json_object_get(recorded, "norms"),
                   (tolerances){1e-4, 1e-4, 0});
    end(&s);
    tiny_model_free(teacher);
}

static void test_against_trl(void **state) {
    (void)state;
    json_t *golden = recorded_golden("gkd.json");
    const json_t *runs = json_object_get(golden, "runs");
    assert_true(json_array_size(runs) > 0);
    for (size_t i = 0; i < json_array_size(runs); i++)
        check_run(json_array_get(runs, i));
    json_decref(golden);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_trl)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
