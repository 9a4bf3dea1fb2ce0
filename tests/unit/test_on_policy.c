/* Distillation on what the student samples itself: the loss falls, samples depend on the parameters
 * and the seed alone. */
#define _GNU_SOURCE
#include "kd_setup.h"
#include "model/generate.h"
#include "train/on_policy.h"

static void test_loss_falls(void **state) {
    (void)state;
    hn_model *teacher = golden_model("qwen3", 2);
    for (float beta = 0; beta <= 1; beta += 0.5f) {
        setup s;
        hn_train_result result;
        double kd[20], sampled[20], first = 0, last = 0;
        begin_sampled(&s, 1);
        s.distill.beta = beta;
        must_run(&s, "llama", 2, teacher, &result);
        assert_int_equal(read_steps(&s.t, "kd", kd), 20);
        read_steps(&s.t, "sampled", sampled);
        for (int i = 0; i < 5; i++) {
            assert_true(sampled[i] == 1);
            first += kd[i];
            last += kd[15 + i];
        }
        assert_true(last < first);
        end(&s);
    }
    tiny_model_free(teacher);
}

enum { SAMPLED_TOKENS = 12 };

/* What hn_generate says to a document's prompt, ended where it came to an end. */
static void check_alone(hn_model *model, const hn_document *doc, uint64_t seed,
                        const hn_document *sampled) {
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = SAMPLED_TOKENS};
    hn_generation alone;
    hn_kv *kv;
    hn_error err;
    int n = 0;
    options.sampling.temperature = 0.9f;
    options.sampling.seed = seed;
    while (doc->labels[n] < 0)
        n++;
    n++;
    assert_int_equal(hn_kv_new(&kv, model, 1, n + SAMPLED_TOKENS, &err), HN_OK);
    assert_int_equal(hn_generate(model, kv, 0, doc->ids, n, &options, &alone, &err), HN_OK);
    bool ended = alone.finish == HN_FINISH_STOP;
    assert_int_equal(sampled->n, n + (int)alone.ids.size + ended);
    assert_int_equal(sampled->n_supervised, (int)alone.ids.size + ended);
    assert_memory_equal(sampled->ids, doc->ids, (size_t)n * sizeof *doc->ids);
    if (alone.ids.size)
        assert_memory_equal(sampled->ids + n, alone.ids.data, alone.ids.size * sizeof *doc->ids);
    if (ended)
        assert_int_equal(sampled->ids[sampled->n - 1], TINY_VOCAB - 1);
    for (int i = 0; i < sampled->n; i++)
        assert_int_equal(sampled->labels[i],
                         i + 1 >= n && i + 1 < sampled->n ? sampled->ids[i + 1] : -1);
    hn_generation_done(&alone);
    hn_kv_free(kv);
}

/* All of a step at once, more than are decoded at a time, for any thread count: what each is alone.
 */
static void test_together_as_alone(void **state) {
    (void)state;
    enum { N = 40, KEY = 77 };
    setup s;
    begin_sampled(&s, 1);
    for (int threads = 1; threads <= 3; threads += 2) {
        hn_trainer trainer = {.model = student_of(&s, "llama", threads)};
        hn_on_policy policy = {.max_tokens = SAMPLED_TOKENS, .temperature = 0.9f};
        hn_document lines[N];
        const hn_document *docs[N], *out[N];
        hn_error err;
        for (size_t i = 0; i < N; i++) {
            lines[i] = s.docs.items[i % s.docs.n];
            lines[i].line = i;
            docs[i] = &lines[i];
        }
        assert_int_equal(hn_on_policy_sample(&policy, &trainer, docs, N, KEY, out, &err), HN_OK);
        int cut = 0;
        for (size_t i = 0; i < N; i++) {
            check_alone(trainer.model, docs[i], KEY + i, out[i]);
            cut += out[i]->ids[out[i]->n - 1] != TINY_VOCAB - 1;
        }
        assert_true(cut > 0 && cut < N); /* both kinds of end */
        hn_on_policy_done(&policy);
        tiny_model_free(trainer.model);
    }
    end(&s);
}

/* Ctrl-C while the student samples. */
static void test_cancelled(void **state) {
    (void)state;
    setup s;
    atomic_bool cancel = true;
    hn_progress progress = {.cancel = &cancel};
    begin_sampled(&s, 1);
    hn_trainer trainer = {.model = student_of(&s, "llama", 1), .progress = &progress};
    hn_on_policy policy = {.max_tokens = SAMPLED_TOKENS, .temperature = 0.9f};
    const hn_document *doc = s.docs.items, *out;
    hn_error err;
    assert_int_equal(hn_on_policy_sample(&policy, &trainer, &doc, 1, 1, &out, &err), HN_CANCELLED);
    hn_on_policy_done(&policy);
    tiny_model_free(trainer.model);
    end(&s);
}

/* Weights out of range: token 0 for ever is no completion to learn from. */
static void test_not_finite(void **state) {
    (void)state;
    setup s;
    begin_sampled(&s, 1);
    hn_trainer trainer = {.model = student_of(&s, "llama", 1)};
    hn_on_policy policy = {.max_tokens = SAMPLED_TOKENS, .temperature = 0.9f};
    const hn_document *doc = s.docs.items, *out;
    hn_error err;
    trainer.model->output_norm[0] = NAN;
    assert_int_equal(hn_on_policy_sample(&policy, &trainer, &doc, 1, 1, &out, &err), HN_FAILED);
    assert_non_null(strstr(err.message, "the model's logits are NaN"));
    hn_on_policy_done(&policy);
    tiny_model_free(trainer.model);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loss_falls),
        cmocka_unit_test(test_together_as_alone),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
