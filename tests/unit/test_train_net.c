/* The training pass on tiny models of each family: gradients against finite differences, sharing,
 * packing and recomputation against the plain computation, the same bits for any thread count. */
#include "train/net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tiny_model.h"

static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3", "gemma3"};
enum { N_FAMILIES = 4, N_DOCS = 5, ALL_MODULES = 127 };

/* Documents of which some begin alike; completions of different lengths. */
static void make_docs(hn_document docs[N_DOCS]) {
    static const int LENGTH[N_DOCS] = {40, 23, 37, 19, 21}, SHARED[N_DOCS] = {0, 17, 17, 0, 19};
    hn_rng rng = hn_rng_new(3, 3);
    for (int i = 0; i < N_DOCS; i++) {
        int32_t n = LENGTH[i];
        docs[i] = (hn_document){.n = n, .line = (uint64_t)i + 1};
        docs[i].ids = hn_malloc(2 * (size_t)n * sizeof *docs[i].ids);
        docs[i].labels = docs[i].ids + n;
        for (int32_t p = 0; p < n; p++)
            docs[i].ids[p] =
                p < SHARED[i] ? docs[0].ids[p] : (int32_t)hn_rng_below(&rng, TINY_VOCAB);
        for (int32_t p = 0; p < n; p++) {
            docs[i].labels[p] = p + 1 < n && p >= n / 2 - 4 ? docs[i].ids[p + 1] : -1;
            docs[i].n_supervised += docs[i].labels[p] >= 0;
        }
    }
}

static void free_docs(hn_document docs[N_DOCS]) {
    for (int i = 0; i < N_DOCS; i++)
        hn_free(docs[i].ids);
}

typedef struct setup {
    hn_model *model;
    hn_adapter *adapter;
    hn_params params;
    hn_net *net;
    hn_document docs[N_DOCS];
    const hn_document *list[N_DOCS];
} setup;

static void begin(setup *s, const char *family, unsigned mask, int threads, float dropout,
                  size_t budget) {
    hn_error err;
    s->model = tiny_model(family, threads);
    s->adapter = tiny_adapter(&s->model->arch, mask, 4);
    assert_int_equal(hn_params_new(&s->params, s->adapter, 0, &err), HN_OK);
    assert_int_equal(hn_net_new(&s->net, s->model, &s->params, dropout, budget, &err), HN_OK);
    make_docs(s->docs);
    for (int i = 0; i < N_DOCS; i++)
        s->list[i] = &s->docs[i];
}

static void end(setup *s) {
    free_docs(s->docs);
    hn_net_free(s->net);
    hn_params_done(&s->params);
    tiny_adapter_free(s->adapter);
    tiny_model_free(s->model);
}

/* Loss of documents [first, first + n) as one pass; gradients are added. */
static double run(setup *s, int first, int n, bool share, int segment, bool backward) {
    hn_error err = {0};
    hn_tree tree;
    hn_net_loss loss = {0};
    hn_tree_options options = {.share = share, .max_segment_rows = segment};
    assert_int_equal(hn_tree_build(&tree, s->list + first, (size_t)n, &options, &err), HN_OK);
    hn_loss sft = hn_loss_sft(0.01f);
    hn_pass pass = {.tree = &tree, .loss = &sft, .dropout_key = 99, .backward = backward};
    hn_status status = hn_net_run(s->net, &pass, &loss, &err);
    if (status != HN_OK)
        fail_msg("%s", err.message);
    hn_tree_done(&tree);
    return loss.loss;
}

static void clear(setup *s) {
    memset(s->params.grads, 0, s->params.n * sizeof(float));
}

/* |a - b| / |b| over a vector. */
static double distance(const float *a, const float *b, size_t n) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

/* Central differences along random directions within each adapted matrix. */
static void check_gradients(const char *family, unsigned mask, float dropout) {
    setup s = {0};
    begin(&s, family, mask, 1, dropout, 0);
    run(&s, 0, N_DOCS, true, 8, true);
    hn_rng rng = hn_rng_new(5, 5);
    for (int l = s.params.lowest; l < s.model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *slot = &s.params.slots[l][m];
            for (int part = 0; slot->r && part < 2; part++) {
                size_t at = part ? slot->b : slot->a;
                size_t n = (size_t)(slot->r * (part ? slot->out : slot->in));
                float *direction = tiny_values(&rng, n, 0, 1);
                double along = 0, values[2];
                for (size_t i = 0; i < n; i++)
                    along += (double)direction[i] * (double)s.params.grads[at + i];
                float *saved = hn_malloc(n * sizeof *saved);
                memcpy(saved, s.params.values + at, n * sizeof *saved);
                /* between what the curvature spoils and what rounding in f32 spoils */
                const float step = 1e-3f;
                for (int side = 0; side < 2; side++) {
                    for (size_t i = 0; i < n; i++)
                        s.params.values[at + i] = saved[i] + (side ? step : -step) * direction[i];
                    /* backward as well: without it dropout is off */
                    float *grads = s.params.grads;
                    float *spare = hn_calloc(s.params.n, sizeof *spare);
                    s.params.grads = spare;
                    values[side] = run(&s, 0, N_DOCS, true, 8, true);
                    s.params.grads = grads;
                    hn_free(spare);
                }
                memcpy(s.params.values + at, saved, n * sizeof *saved);
                double measured = (values[1] - values[0]) / (2 * (double)step);
                double scale = sqrt((double)n) * 1e-3 + fabs(along);
                if (fabs(measured - along) > 2e-2 * scale)
                    fail_msg("%s layer %d %d part %d: gradient %g, measured %g", family, l, m, part,
                             along, measured);
                hn_free(saved);
                hn_free(direction);
            }
        }
    end(&s);
}

static void test_gradients(void **state) {
    (void)state;
    for (int f = 0; f < N_FAMILIES; f++)
        check_gradients(FAMILIES[f], ALL_MODULES, 0);
}

static void test_gradients_of_some_modules(void **state) {
    (void)state;
    check_gradients("llama", 1u << HN_MODULE_Q | 1u << HN_MODULE_V, 0);
    check_gradients("gemma3", 1u << HN_MODULE_DOWN, 0);
    check_gradients("qwen2", 1u << HN_MODULE_UP | 1u << HN_MODULE_O, 0);
}

static void test_gradients_with_dropout(void **state) {
    (void)state;
    check_gradients("llama", ALL_MODULES, 0.2f);
}

static void test_shared_equals_plain(void **state) {
    (void)state;
    for (int f = 0; f < N_FAMILIES; f++) {
        setup s = {0};
        begin(&s, FAMILIES[f], ALL_MODULES, 2, 0, 0);
        double plain = 0;
        for (int i = 0; i < N_DOCS; i++)
            plain += run(&s, i, 1, false, 0, true);
        float *wanted = hn_malloc(s.params.n * sizeof *wanted);
        memcpy(wanted, s.params.grads, s.params.n * sizeof *wanted);
        for (int variant = 0; variant < 4; variant++) {
            clear(&s);
            double loss = run(&s, 0, N_DOCS, variant & 1, variant & 2 ? 8 : 0, true);
            assert_true(fabs(loss - plain) <= 1e-5 * plain);
            assert_true(distance(s.params.grads, wanted, s.params.n) < 1e-5);
        }
        hn_free(wanted);
        end(&s);
    }
}

/* With all layers, some of them, and none kept. */
static void test_recomputing_equals_keeping(void **state) {
    (void)state;
    enum { BUDGETS = 64 };
    for (int f = 0; f < N_FAMILIES; f++) {
        setup kept = {0};
        bool all = false, some = false;
        begin(&kept, FAMILIES[f], ALL_MODULES, 1, 0.1f, 0);
        double wanted = run(&kept, 0, N_DOCS, true, 0, true);
        assert_int_equal(kept.net->n_recomputed, 0);
        for (size_t i = 0; i < BUDGETS && !(all && some); i++) {
            setup again = {0};
            begin(&again, FAMILIES[f], ALL_MODULES, 1, 0.1f,
                  1 + kept.net->memory_bytes * i / BUDGETS);
            assert_true(run(&again, 0, N_DOCS, true, 0, true) == wanted);
            assert_memory_equal(kept.params.grads, again.params.grads,
                                kept.params.n * sizeof(float));
            all = all || again.net->n_recomputed == again.model->arch.n_layer;
            some = some || (again.net->n_recomputed > 0 &&
                            again.net->n_recomputed < again.model->arch.n_layer);
            end(&again);
        }
        assert_true(all && some);
        end(&kept);
    }
}

static void test_any_thread_count(void **state) {
    (void)state;
    setup one = {0};
    begin(&one, "llama", ALL_MODULES, 1, 0.1f, 0);
    double wanted = run(&one, 0, N_DOCS, true, 8, true);
    for (int threads = 2; threads <= 5; threads++) {
        setup s = {0};
        begin(&s, "llama", ALL_MODULES, threads, 0.1f, 0);
        assert_true(run(&s, 0, N_DOCS, true, 8, true) == wanted);
        assert_memory_equal(s.params.grads, one.params.grads, one.params.n * sizeof(float));
        end(&s);
    }
    end(&one);
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    setup s = {0};
    begin(&s, "gemma3", ALL_MODULES, 1, 0, 0);
    hn_error err;
    hn_tree tree;
    hn_tree_options options = {.share = true};
    assert_int_equal(hn_tree_build(&tree, s.list, N_DOCS, &options, &err), HN_OK);
    hn_loss sft = hn_loss_sft(1);
    hn_pass pass = {.tree = &tree, .loss = &sft, .backward = true};
    hn_status status = HN_NO_MEMORY;
    for (int64_t n = 0; status != HN_OK; n++) {
        hn_net *net = NULL;
        hn_net_loss loss = {0};
        hn_mem_fail_after(n);
        status = hn_net_new(&net, s.model, &s.params, 0, 0, &err);
        if (status == HN_OK)
            status = hn_net_run(net, &pass, &loss, &err);
        hn_mem_fail_after(-1);
        hn_net_free(net);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
    }
    hn_tree_done(&tree);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_of_some_modules),
        cmocka_unit_test(test_gradients_with_dropout),
        cmocka_unit_test(test_shared_equals_plain),
        cmocka_unit_test(test_recomputing_equals_keeping),
        cmocka_unit_test(test_any_thread_count),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
