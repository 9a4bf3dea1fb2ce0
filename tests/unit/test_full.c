/* Training of all weights: gradients against finite differences, steps against transformers
 * (tests/golden/record_full.py), shared layers, and the weights' way back into files. */
#include "base/file.h"
#include "base/json.h"
#include "model/thaw.h"
#include "release/quantise.h"
#include "train/train.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "golden_model.h"
#include "sft_golden.h"
#include "support/stories.h"

static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3", "gemma3"};
enum { N_FAMILIES = 4, N_DOCS = 4 };

typedef struct setup {
    golden g; /* documents */
    hn_model *model;
    hn_params params;
    hn_net *net;
} setup;

static void begin(setup *s, const char *family, int shared, int threads) {
    hn_error err;
    char dir[600];
    open_golden(&s->g, "../full.json");
    snprintf(dir, sizeof dir, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    s->model = load_model(dir, family, threads);
    if (hn_params_of_model(&s->params, s->model, shared, &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_net_new(&s->net, s->model, &s->params, 0, 0, &err), HN_OK);
}

static void end(setup *s) {
    hn_net_free(s->net);
    hn_params_done(&s->params);
    tiny_model_free(s->model);
    close_golden(&s->g);
}

static double loss_at(setup *s, const float *direction, size_t from, size_t n, float step) {
    float *values = s->params.values + from;
    float *kept = hn_malloc(n * sizeof *kept);
    memcpy(kept, values, n * sizeof *kept);
    for (size_t i = 0; i < n; i++)
        values[i] += step * direction[i];
    float *grads = hn_malloc(s->params.n * sizeof *grads);
    memcpy(grads, s->params.grads, s->params.n * sizeof *grads);
    double loss = step_loss(s->net, &s->g, 0, N_DOCS);
    memcpy(s->params.grads, grads, s->params.n * sizeof *grads);
    memcpy(values, kept, n * sizeof *kept);
    hn_free(grads);
    hn_free(kept);
    return loss;
}

/* Along random directions within windows that cover vectors and matrices of all layers. */
static void check_gradients(const char *family, int shared) {
    enum { WINDOWS = 24 };
    setup s;
    begin(&s, family, shared, 2);
    step_loss(s.net, &s.g, 0, N_DOCS);
    hn_rng rng = hn_rng_new(9, 9);
    size_t matrices = s.params.n - s.params.n_undecayed;
    for (int w = 0; w <= WINDOWS; w++) {
        size_t from = w ? s.params.n_undecayed + matrices * (size_t)(w - 1) / WINDOWS : 0;
        size_t to = s.params.n_undecayed + matrices * (size_t)w / WINDOWS, n = to - from;
        float *direction = tiny_values(&rng, n, 0, 1), step = 2e-3f;
        double wanted = 0, size = 0;
        for (size_t i = 0; i < n; i++) {
            wanted += (double)s.params.grads[from + i] * (double)direction[i];
            size += (double)s.params.grads[from + i] * (double)s.params.grads[from + i];
        }
        double slope =
            (loss_at(&s, direction, from, n, step) - loss_at(&s, direction, from, n, -step)) /
            (2 * (double)step);
        if (!(fabs(slope - wanted) < 2e-2 * sqrt(size) + 2e-4))
            fail_msg("%s window %d: slope %g, gradient %g (of %g)", family, w, slope, wanted,
                     sqrt(size));
        hn_free(direction);
    }
    end(&s);
}

static void test_gradients(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++)
        check_gradients(FAMILIES[i], 1);
    check_gradients("llama", 3);
}

static void test_steps(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        setup s;
        begin(&s, FAMILIES[i], 1, 2);
        json_t *values = json_object_get(json_object_get(s.g.values, "families"), FAMILIES[i]);
        json_object_update(s.g.values, values);
        check_steps(&s.g, s.net, NULL);
        end(&s);
    }
}

/* The tree of documents and the number of threads don't matter for the bits of a gradient. */
static void test_threads(void **state) {
    (void)state;
    setup one, three;
    begin(&one, "gemma3", 1, 1);
    begin(&three, "gemma3", 1, 3);
    double a = step_loss(one.net, &one.g, 0, N_DOCS), b = step_loss(three.net, &three.g, 0, N_DOCS);
    assert_true(a == b);
    assert_int_equal(one.params.n, three.params.n);
    assert_memory_equal(one.params.grads, three.params.grads, one.params.n * sizeof(float));
    end(&one);
    end(&three);
}

static void test_sharing_that_does_not_divide(void **state) {
    (void)state;
    hn_error err;
    hn_params params;
    hn_model *model = tiny_model("llama", 1);
    assert_int_equal(hn_params_of_model(&params, model, 2, &err), HN_USAGE);
    assert_false(model->thawed);
    tiny_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_sharing_that_does_not_divide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
