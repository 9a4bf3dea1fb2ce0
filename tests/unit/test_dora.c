/* DoRA beyond training: inference with such an adapter against PEFT's loss, rows without it in the
 * same batch, merging, and the adapter's files. */
#include "model/dora.h"
#include "release/quantise.h"
#include "support/files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "golden_model.h"
#include "sft_golden.h"

static void must(hn_status status, const hn_error *err) {
    if (status != HN_OK)
        fail_msg("%s", err->message);
}

/* Logits (rows, n_vocab) of the ids, `adapter` NULL = the base alone; freed by the caller. */
static float *logits_of(hn_model *model, const hn_adapter *adapter, const int32_t *ids, int n) {
    hn_kv *kv;
    hn_error err;
    hn_batch_row *rows = hn_malloc((size_t)n * sizeof *rows);
    float *logits = hn_malloc((size_t)(n * model->arch.n_vocab) * sizeof *logits);
    must(hn_kv_new(&kv, model, 1, n, &err), &err);
    for (int i = 0; i < n; i++)
        rows[i] =
            (hn_batch_row){.token = ids[i], .adapter = adapter ? 0 : -1, .wants_logits = true};
    must(hn_forward(model, kv, &adapter, adapter ? 1 : 0, rows, n, logits, NULL, &err), &err);
    hn_kv_free(kv);
    hn_free(rows);
    return logits;
}

static double cross_entropy(const float *logits, int n, int label) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += exp((double)(logits[i] - logits[label]));
    return log(sum);
}

static double loss_of(hn_model *model, const hn_adapter *adapter, const golden *g, int n_docs) {
    double loss = 0, count = 0;
    for (int i = 0; i < n_docs; i++) {
        const hn_document *d = &g->docs[i];
        float *logits = logits_of(model, adapter, d->ids, d->n);
        for (int p = 0; p < d->n; p++) {
            if (d->labels[p] < 0)
                continue;
            loss +=
                cross_entropy(logits + p * model->arch.n_vocab, model->arch.n_vocab, d->labels[p]);
            count++;
        }
        hn_free(logits);
    }
    return loss / count;
}

static void check_inference(const char *family, const char *golden_of) {
    golden g;
    hn_error err;
    hn_adapter *adapter;
    char name[64], path[700];
    snprintf(name, sizeof name, "%s/golden.json", golden_of);
    open_golden(&g, name);
    snprintf(path, sizeof path, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    hn_model *model = load_model(path, family, 2);
    hn_free(model->rope_inv_freq_local); /* hn_forward takes it for a family with windows */
    model->rope_inv_freq_local = NULL;
    snprintf(path, sizeof path, "%s/adapter", g.dir);
    must(hn_adapter_load(&adapter, path, model, &err), &err);
    check_close("loss", 0, loss_of(model, adapter, &g, 4), recorded(&g, "losses", 0), 1e-5);

    /* rows of the base beside it are as if they were alone, to the bit */
    enum { N = 12 };
    const int32_t *ids = g.docs[0].ids;
    const hn_adapter *both = adapter;
    float *alone = logits_of(model, NULL, ids, N), *with = logits_of(model, adapter, ids, N);
    size_t vocab = (size_t)model->arch.n_vocab;
    float *mixed = hn_malloc(2 * N * vocab * sizeof *mixed);
    hn_batch_row rows[2 * N];
    hn_kv *kv;
    must(hn_kv_new(&kv, model, 2, 2 * N, &err), &err);
    for (int i = 0; i < 2 * N; i++)
        rows[i] = (hn_batch_row){
            .token = ids[i / 2], .seq = i % 2, .adapter = i % 2 - 1, .wants_logits = true};
    must(hn_forward(model, kv, &both, 1, rows, 2 * N, mixed, NULL, &err), &err);
    for (size_t i = 0; i < N; i++) {
        assert_memory_equal(mixed + 2 * i * vocab, alone + i * vocab, vocab * sizeof *mixed);
        assert_memory_equal(mixed + (2 * i + 1) * vocab, with + i * vocab, vocab * sizeof *mixed);
    }
    adapter->fitted = false;
    hn_kv_truncate(kv, 0, 0);
    assert_int_equal(hn_forward(model, kv, &both, 1, rows, 1, mixed, NULL, &err), HN_USAGE);
    hn_free(alone);
    hn_free(with);
    hn_free(mixed);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    tiny_model_free(model);
    close_golden(&g);
}

static void test_inference(void **state) {
    (void)state;
    check_inference("llama", "llama_dora");
    check_inference("qwen2", "qwen2_dora");
}

/* An adapter with magnitudes that say something, as a PEFT folder. */
static void make_adapter(hn_model *model, const char *path) {
    hn_adapter *adapter;
    hn_error err;
    hn_rng rng = hn_rng_new(3, 1);
    must(hn_adapter_new(&adapter, &model->arch, 127, 4, 8, 1, &err), &err);
    must(hn_adapter_add_magnitudes(adapter, model, &err), &err);
    for (int l = 0; l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            for (int64_t i = 0; i < lora->out * lora->r; i++)
                lora->b[i] = 0.1f * (float)hn_rng_normal(&rng);
            for (int64_t i = 0; i < lora->out; i++)
                lora->magnitude[i] *= 1 + 0.1f * (float)hn_rng_normal(&rng);
        }
    must(hn_adapter_save(adapter, &model->arch, path, &err), &err);
    hn_adapter_free(adapter);
}

static hn_model *open_model(const char *path) {
    hn_model *model;
    hn_error err;
    hn_model_options options = {.n_threads = 2};
    must(hn_model_open(&model, path, &options, &err), &err);
    return model;
}

/* A GGUF whose q and k are turned for rope on pairs, and its Hugging Face folder. */
static void check_merge(const char *name) {
    enum { N = 9 };
    static const int32_t IDS[N] = {3, 10, 17, 24, 31, 38, 45, 2, 9};
    char path[600], lora[600], merged[600];
    hn_error err;
    hn_adapter *adapter, *again;
    snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, name);
    snprintf(lora, sizeof lora, "%s", in_dir("lora"));
    snprintf(merged, sizeof merged, "%s", in_dir(strstr(name, ".gguf") ? "merged.gguf" : "merged"));
    hn_model *model = open_model(path);
    make_adapter(model, lora);
    must(hn_adapter_load(&adapter, lora, model, &err), &err);
    float *live = logits_of(model, adapter, IDS, N), *base = logits_of(model, NULL, IDS, N);
    if (strcmp(name, "llama3.gguf") == 0) {
        hn_quantise_options options = {.ftype = HN_FTYPE_F32, .n_threads = 1};
        hn_quantise_report report;
        must(hn_quantise(&model->ckpt, adapter, merged, &options, NULL, &report, &err), &err);
        assert_true(report.adapter_cosine > 0.999);
    } else {
        must(hn_merge_to_hf(&model->ckpt, adapter, merged, HN_F32, NULL, &err), &err);
    }
    hn_model *whole = open_model(merged);
    float *folded = logits_of(whole, NULL, IDS, N);
    double most = 0, change = 0;
    for (int i = 0; i < N * model->arch.n_vocab; i++) {
        most = fmax(most, fabs((double)(live[i] - folded[i])));
        change = fmax(change, fabs((double)(live[i] - base[i])));
    }
    if (!(most < 1e-4 && change > 1e-2))
        fail_msg("%s: merged logits differ by %g, the adapter changes them by %g", name, most,
                 change);

    /* PEFT's folder gives back what was put in; a GGUF adapter can't hold it */
    must(hn_adapter_save(adapter, &model->arch, in_dir("again"), &err), &err);
    must(hn_adapter_open(&again, in_dir("again"), &model->arch, &err), &err);
    for (int m = 0; m < HN_MODULE_COUNT; m++)
        assert_memory_equal(again->layers[1][m].magnitude, adapter->layers[1][m].magnitude,
                            (size_t)adapter->layers[1][m].out * sizeof(float));
    assert_int_equal(hn_adapter_save(adapter, &model->arch, in_dir("a.gguf"), &err),
                     HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "DoRA"));
    assert_true(hn_path_is_missing(in_dir("a.gguf")));
    hn_adapter_free(again);
    hn_adapter_free(adapter);
    hn_free(live);
    hn_free(base);
    hn_free(folded);
    hn_model_free(whole);
    hn_model_free(model);
}

static void test_merge(void **state) {
    (void)state;
    check_merge("llama3.gguf");
    check_merge("llama3");
    check_merge("qwen2");
}

static void test_no_memory(void **state) {
    (void)state;
    char path[600], lora[600];
    hn_error err;
    snprintf(path, sizeof path, "%s/golden/models/llama3", HN_TEST_ROOT);
    snprintf(lora, sizeof lora, "%s", in_dir("scarce"));
    hn_model *model = open_model(path);
    make_adapter(model, lora);
    hn_status status = HN_NO_MEMORY;
    for (int n = 0; status != HN_OK; n++) {
        hn_adapter *adapter = NULL;
        hn_mem_fail_after(n);
        status = hn_adapter_load(&adapter, lora, model, &err);
        hn_mem_fail_after(-1);
        if (status != HN_OK) {
            assert_int_equal(status, HN_NO_MEMORY);
            assert_null(adapter);
        }
        hn_adapter_free(adapter);
    }
    hn_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inference),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
