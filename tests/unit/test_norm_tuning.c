/* Norms and biases over rounded matrices: their gradients against finite differences, the KL that
 * tuning takes away, the same bits for any thread count, and the way into a file. */
#include "base/mem.h"
#include "base/rng.h"
#include "release/norm_tuning.h"
#include "support/files.h"
#include "train/net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ships_help.h"

#define MODELS HN_TEST_ROOT "/golden/models/"

enum { N_DOCS = 24, DOC_TOKENS = 40, N_VALUES = 8 };

static hn_model *open_model(const char *family, const char *numerics, int n_threads) {
    char path[512];
    const hn_model_options options = {.n_threads = n_threads};
    hn_train_numerics parsed;
    hn_model *model;
    snprintf(path, sizeof path, MODELS "%s", family);
    assert_true(hn_train_numerics_from_name(numerics, &parsed));
    ASSERT_OK(hn_train_model_open(&model, path, &parsed, &options, errp));
    return model;
}

/* Of few tokens, so that there is something to learn about what follows them. */
static void make_docs(hn_document docs[N_DOCS], int n_vocab) {
    hn_rng rng = hn_rng_new(5, 1);
    for (int i = 0; i < N_DOCS; i++) {
        docs[i] = (hn_document){.n = DOC_TOKENS, .n_supervised = DOC_TOKENS - 1};
        docs[i].ids = hn_malloc(2 * (size_t)DOC_TOKENS * sizeof *docs[i].ids);
        docs[i].labels = docs[i].ids + DOC_TOKENS;
        for (int p = 0; p < DOC_TOKENS; p++)
            docs[i].ids[p] = (int32_t)hn_rng_below(&rng, (uint32_t)(n_vocab < 50 ? n_vocab : 50));
        for (int p = 0; p < DOC_TOKENS; p++)
            docs[i].labels[p] = p + 1 < DOC_TOKENS ? docs[i].ids[p + 1] : -1;
    }
}

static void free_docs(hn_document docs[N_DOCS]) {
    for (int i = 0; i < N_DOCS; i++)
        hn_free(docs[i].ids);
}

/* Cross-entropy of the first documents; gradients are added. */
static double loss_of(hn_net *net, const hn_document *docs) {
    enum { N = 4 };
    const hn_document *list[N] = {&docs[0], &docs[1], &docs[2], &docs[3]};
    const hn_tree_options options = {.share = true};
    hn_loss sft = hn_loss_sft(1.0f / (N * (DOC_TOKENS - 1)));
    hn_net_loss sum = {0};
    hn_tree tree;
    ASSERT_OK(hn_tree_build(&tree, list, N, &options, errp));
    const hn_pass pass = {.tree = &tree, .loss = &sft, .backward = true};
    ASSERT_OK(hn_net_run(net, &pass, &sum, errp));
    hn_tree_done(&tree);
    return sum.loss;
}

static void check_gradients(const char *family) {
    hn_document docs[N_DOCS];
    hn_model *model = open_model(family, "q8_0", 2);
    hn_params params;
    hn_net *net;
    model->numerics = HN_NUMERICS_F32; /* rounded activations have no slope */
    make_docs(docs, model->arch.n_vocab);
    ASSERT_OK(hn_params_of_vectors(&params, model, errp));
    assert_int_equal(params.n, params.n_undecayed);
    ASSERT_OK(hn_net_new(&net, model, &params, 0, 0, errp));
    hn_rng rng = hn_rng_new(9, 9);
    float *direction = hn_malloc(params.n * sizeof *direction);
    float *start = hn_malloc(params.n * sizeof *start);
    float *slopes = hn_malloc(params.n * sizeof *slopes);
    memcpy(start, params.values, params.n * sizeof *start);
    memset(params.grads, 0, params.n * sizeof *params.grads);
    loss_of(net, docs);
    memcpy(slopes, params.grads, params.n * sizeof *slopes);
    for (int n = 0; n < N_VALUES; n++) {
        const float step = 2e-3f;
        double wanted = 0, size = 0, at[2];
        for (size_t i = 0; i < params.n; i++) {
            direction[i] = (float)hn_rng_normal(&rng);
            wanted += (double)slopes[i] * (double)direction[i];
            size += (double)slopes[i] * (double)slopes[i];
        }
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < params.n; i++)
                params.values[i] = start[i] + (side ? -step : step) * direction[i];
            at[side] = loss_of(net, docs);
        }
        double slope = (at[0] - at[1]) / (2 * (double)step);
        if (!(fabs(slope - wanted) < 2e-2 * sqrt(size) + 2e-4))
            fail_msg("%s: slope %g, gradient %g (of %g)", family, slope, wanted, sqrt(size));
    }
    hn_free(direction);
    hn_free(start);
    hn_free(slopes);
    hn_net_free(net);
    hn_params_done(&params);
    hn_model_free(model);
    free_docs(docs);
}

static void test_gradients(void **state) {
    (void)state;
    check_gradients("llama");
    check_gradients("qwen2"); /* has biases */
    check_gradients("qwen3"); /* norms of q and k */
    check_gradients("gemma3");
}

/* The student after tuning; *result as tuning has it. */
static hn_model *tuned(const char *family, int n_threads, hn_norm_tuning_result *result) {
    hn_document docs[N_DOCS];
    hn_model *teacher = open_model(family, "f32", n_threads);
    hn_model *student = open_model(family, "q4_0", n_threads);
    make_docs(docs, teacher->arch.n_vocab);
    const hn_norm_tuning tuning = {
        .teacher = teacher,
        .student = student,
        .sources = {{docs, N_DOCS / 2}, {docs + N_DOCS / 2, N_DOCS / 2}}};
    ASSERT_OK(hn_norm_tuning_run(&tuning, result, errp));
    hn_model_free(teacher);
    free_docs(docs);
    return student;
}

static void test_kl_falls(void **state) {
    (void)state;
    static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3", "gemma3"};
    for (int i = 0; i < 4; i++) {
        hn_norm_tuning_result result;
        hn_model_free(tuned(FAMILIES[i], 2, &result));
        for (int s = 0; s < HN_NORM_SOURCES; s++)
            if (!(result.after[s] < 0.98 * result.before[s]))
                fail_msg("%s, source %d: KL %g, %g before", FAMILIES[i], s, result.after[s],
                         result.before[s]);
    }
}

static void test_threads(void **state) {
    (void)state;
    hn_norm_tuning_result one, three;
    hn_model *a = tuned("gemma3", 1, &one), *b = tuned("gemma3", 3, &three);
    assert_memory_equal(one.before, three.before, sizeof one.before);
    assert_memory_equal(one.after, three.after, sizeof one.after);
    assert_int_equal(a->vectors.bytes, b->vectors.bytes);
    assert_memory_equal(a->vectors.data, b->vectors.data, a->vectors.bytes);
    hn_model_free(a);
    hn_model_free(b);
}

/* Nothing can be held back of one document, and nothing is learned of a teacher that is the same.
 */
static void test_nothing_to_learn(void **state) {
    (void)state;
    hn_document docs[N_DOCS];
    hn_norm_tuning_result result;
    hn_model *teacher = open_model("llama", "f32", 1), *student = open_model("llama", "f32", 1);
    make_docs(docs, teacher->arch.n_vocab);
    hn_norm_tuning tuning = {.teacher = teacher, .student = student, .sources = {{docs, 1}}};
    ASSERT_OK(hn_norm_tuning_run(&tuning, &result, errp));
    assert_true(isnan(result.before[0]) && isnan(result.after[0]));
    assert_false(result.tuned || student->thawed);
    tuning.sources[0].n = N_DOCS;
    ASSERT_OK(hn_norm_tuning_run(&tuning, &result, errp));
    assert_false(result.tuned);
    assert_true(result.after[0] == result.before[0] && isnan(result.after[1]));
    for (int i = 0; i < student->arch.n_embd; i++)
        assert_true(student->output_norm[i] == teacher->output_norm[i]);
    hn_model_free(teacher);
    hn_model_free(student);
    free_docs(docs);
}

/* What calibrating on own text writes has the tuned norms, and says how near it has come. */
static void test_file(void **state) {
    (void)state;
    const hn_quantise_options options = {
        .ftype = HN_FTYPE_Q4_0, .n_threads = 2, .calibrate_on_own_text = true};
    hn_quantise_report report;
    hn_checkpoint ckpt;
    ASSERT_OK(hn_checkpoint_open(&ckpt, MODELS "llama", errp));
    ASSERT_OK(hn_quantise(&ckpt, NULL, in_dir("q.gguf"), &options, NULL, &report, errp));
    hn_checkpoint_close(&ckpt);
    if (!(report.kl_after < report.kl_before))
        fail_msg("KL %g, %g before", report.kl_after, report.kl_before);
    const hn_model_options of_file = {.n_threads = 1};
    hn_model *base = open_model("llama", "f32", 1), *file;
    ASSERT_OK(hn_model_open(&file, in_dir("q.gguf"), &of_file, errp));
    double moved = 0;
    for (int i = 0; i < base->arch.n_embd; i++)
        moved = fmax(moved, fabs((double)(file->output_norm[i] / base->output_norm[i] - 1)));
    if (!(moved > 1e-4 && moved < 0.3))
        fail_msg("the output norm has moved by %g at most", moved);
    hn_model_free(base);
    hn_model_free(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_kl_falls),
        cmocka_unit_test(test_threads),   cmocka_unit_test(test_nothing_to_learn),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
