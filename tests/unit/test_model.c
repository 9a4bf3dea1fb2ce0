/* Checkpoints, the forward pass and the cache, on stories260K and on small random models of each
 * family with transformers' logits. */
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/model.h"
#include "model/rows.h"
#include "support/check.h"
#include "support/stories.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { GOLDEN_ROWS = 24, GOLDEN_VOCAB = 264, STORY_VOCAB = 512 };

static hn_model *open_model(const char *path, int n_threads, hn_numerics numerics) {
    hn_model *model = NULL;
    hn_model_options options = {.n_threads = n_threads, .numerics = numerics};
    ASSERT_OK(hn_model_open(&model, path, &options, errp));
    return model;
}

static hn_kv *new_kv(const hn_model *model, int n_seqs, int64_t n_positions) {
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, model, n_seqs, n_positions, errp));
    return kv;
}

static float *read_logits(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/golden/models/%s/logits.npy", HN_TEST_ROOT, name);
    char *text = NULL;
    size_t size;
    ASSERT_OK(hn_file_read(path, 1 << 20, &text, &size, errp));
    size_t bytes = sizeof(float) * GOLDEN_ROWS * GOLDEN_VOCAB;
    assert_true(size > bytes);
    float *logits = malloc(bytes);
    memcpy(logits, text + size - bytes,
           bytes); /* the header comes first, the values end the file */
    hn_free(text);
    return logits;
}

static void golden_rows(hn_batch_row *rows, int adapter) {
    for (int i = 0; i < GOLDEN_ROWS; i++)
        rows[i] = (hn_batch_row){
            .token = (i * 37 + 5) % GOLDEN_VOCAB, .adapter = adapter, .wants_logits = true};
}

static float largest_difference(const float *a, const float *b, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        float difference = fabsf(a[i] - b[i]);
        most = difference > most || isnan(difference) ? difference : most;
    }
    return most;
}

static void check_golden(const char *file, const char *adapter_file, const char *expected) {
    char path[512];
    snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, file);
    hn_model *model = open_model(path, 2, HN_NUMERICS_F32);
    hn_adapter *adapter = NULL;
    if (adapter_file) {
        snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, adapter_file);
        ASSERT_OK(hn_adapter_open(&adapter, path, &model->arch, errp));
    }
    hn_kv *kv = new_kv(model, 1, GOLDEN_ROWS);
    hn_batch_row rows[GOLDEN_ROWS];
    golden_rows(rows, adapter ? 0 : -1);
    float *logits = malloc(sizeof(float) * GOLDEN_ROWS * GOLDEN_VOCAB);
    const hn_adapter *adapters[1] = {adapter};
    ASSERT_OK(
        hn_forward(model, kv, adapters, adapter != NULL, rows, GOLDEN_ROWS, logits, NULL, errp));
    float *wanted = read_logits(expected);
    float most = largest_difference(logits, wanted, (size_t)GOLDEN_ROWS * GOLDEN_VOCAB);
    if (!(most < 5e-5f))
        fail_msg("%s: logits differ from transformers' by %g", file, (double)most);
    free(wanted);
    free(logits);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
}

static void test_families(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "llama3", "llama_linear",
                                        "qwen2", "qwen3",  "gemma3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        check_golden(names[i], NULL, names[i]);
    check_golden("llama3.gguf", NULL, "llama3");
    check_golden("gemma3.gguf", NULL, "gemma3");
}

static void test_peft_adapter(void **state) {
    (void)state;
    check_golden("llama3", "llama3_lora", "llama3_lora");
    check_golden("llama3.gguf", "llama3_lora", "llama3_lora");
}

static void test_adapter_round_trip(void **state) {
    (void)state;
    char base[512], path[512], saved[64];
    snprintf(base, sizeof base, "%s/golden/models/llama3.gguf", HN_TEST_ROOT);
    snprintf(path, sizeof path, "%s/golden/models/llama3_lora", HN_TEST_ROOT);
    hn_model *model = open_model(base, 1, HN_NUMERICS_F32);
    hn_adapter *first, *second;
    ASSERT_OK(hn_adapter_open(&first, path, &model->arch, errp));
    for (int as_gguf = 0; as_gguf < 2; as_gguf++) {
        snprintf(saved, sizeof saved, "/tmp/hone-adapter-%ld%s", (long)getpid(),
                 as_gguf ? ".gguf" : "");
        ASSERT_OK(hn_adapter_save(first, &model->arch, saved, errp));
        ASSERT_OK(hn_adapter_open(&second, saved, &model->arch, errp));
        for (int l = 0; l < model->arch.n_layer; l++)
            for (int m = 0; m < HN_MODULE_COUNT; m++) {
                const hn_lora *x = &first->layers[l][m], *y = &second->layers[l][m];
                assert_int_equal(x->r, y->r);
                assert_true(fabsf(x->scale - y->scale) < 1e-6f);
                assert_memory_equal(x->a, y->a, (size_t)(x->r * x->in) * sizeof(float));
                assert_memory_equal(x->b, y->b, (size_t)(x->r * x->out) * sizeof(float));
            }
        hn_adapter_free(second);
        ASSERT_OK(hn_path_remove(saved, errp));
    }
    hn_adapter_free(first);
    hn_model_free(model);
}

static void test_new_adapter_changes_nothing(void **state) {
    (void)state;
    char path[64];
    stories_make(path, NULL);
    hn_model *model = open_model(path, 1, HN_NUMERICS_F32);
    hn_adapter *adapter;
    ASSERT_OK(hn_adapter_new(&adapter, &model->arch, 0x7f, 4, 8, 1, errp));
    hn_kv *kv = new_kv(model, 2, 64);
    float logits[2][STORY_VOCAB];
    const hn_adapter *adapters[1] = {adapter};
    hn_batch_row rows[2] = {{.token = 5, .seq = 0, .adapter = -1, .wants_logits = true},
                            {.token = 5, .seq = 1, .adapter = 0, .wants_logits = true}};
    ASSERT_OK(hn_forward(model, kv, adapters, 1, rows, 2, logits[0], NULL, errp));
    assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
    remove(path);
}

typedef struct hostile_case {
    stories_fault fault;
    hn_status status;
    const char *says;
} hostile_case;

static void test_hostile_checkpoints(void **state) {
    (void)state;
    static const hostile_case cases[] = {
        {{.drop = "blk.3.ffn_up.weight"}, HN_BAD_INPUT, "blk.3.ffn_up.weight"},
        {{.drop = "token_embd.weight"}, HN_BAD_INPUT, "token_embd.weight"},
        {{.drop = "output_norm.weight"}, HN_BAD_INPUT, "output_norm.weight"},
        {{.narrow = "blk.1.attn_k.weight"}, HN_BAD_INPUT, "31 x 64"},
        {{.narrow = "blk.4.attn_norm.weight"}, HN_BAD_INPUT, "1 x 63"},
        {{.narrow = "token_embd.weight"}, HN_BAD_INPUT, "512 tokens"},
        {{.nan = "blk.2.attn_v.weight"}, HN_BAD_INPUT, "blk.2.attn_v.weight"},
        {{.nan = "blk.2.ffn_norm.weight"}, HN_BAD_INPUT, "blk.2.ffn_norm.weight"},
        {{.nan = "token_embd.weight"}, HN_BAD_INPUT, "token_embd.weight"},
        {{.extra = "blk.0.ffn_gate_exps.weight"}, HN_UNSUPPORTED, "blk.0.ffn_gate_exps.weight"},
        {{.extra = "blk.7.attn_norm.weight"}, HN_UNSUPPORTED, "blk.7.attn_norm.weight"},
        {{.extra = "rope_freqs.weight"}, HN_BAD_INPUT, "rope_freqs.weight"},
        {{.architecture = "mamba"}, HN_UNSUPPORTED, "llama, qwen2, qwen3, gemma3"},
        {{.key = "llama.attention.head_count", .value = 0}, HN_BAD_INPUT, "head_count"},
        {{.key = "llama.attention.head_count", .value = 7}, HN_BAD_INPUT, ""},
        {{.key = "llama.attention.head_count_kv", .value = 3}, HN_BAD_INPUT, "shared out"},
        {{.key = "llama.attention.head_count_kv", .value = 0xffffffff}, HN_BAD_INPUT, ""},
        {{.key = "llama.block_count", .value = 6}, HN_BAD_INPUT, "blk.5."},
        {{.key = "llama.block_count", .value = 100000}, HN_BAD_INPUT, "100000"},
        {{.key = "llama.embedding_length", .value = 0x80000000}, HN_BAD_INPUT, "embedding_length"},
        {{.key = "llama.feed_forward_length", .value = 0x7fffffff}, HN_BAD_INPUT, "2147483647"},
        {{.key = "llama.rope.dimension_count", .value = 16}, HN_BAD_INPUT, "rotary size"},
        {{.key = "llama.rope.dimension_count", .value = 7}, HN_BAD_INPUT, "even"},
        {{.key = "llama.context_length", .value = 0}, HN_BAD_INPUT, "context_length"},
        {{.key = "llama.attention.key_length", .value = 2}, HN_BAD_INPUT, ""},
        {{.key = "llama.attention.value_length", .value = 4}, HN_UNSUPPORTED, "values of 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[64];
        hn_error err;
        stories_make(path, &cases[i].fault);
        hn_model *model = NULL;
        hn_model_options options = {.n_threads = 1};
        hn_status status = hn_model_open(&model, path, &options, &err);
        if (status != cases[i].status || !strstr(err.message, cases[i].says))
            fail_msg("case %zu: status %d, message: %s", i, status, err.message);
        assert_null(model);
        remove(path);
    }
}

/* Config.json of a golden model with one value changed, beside its other files. */
static void check_config(const char *key, const char *value, hn_status wanted, const char *says) {
    char source[512], folder[64], path[600];
    hn_error err;
    snprintf(folder, sizeof folder, "/tmp/hone-config-%ld", (long)getpid());
    ASSERT_OK(hn_dir_make(folder, errp));
    snprintf(source, sizeof source, "%s/golden/models/llama", HN_TEST_ROOT);
    static const char *const files[] = {"model.safetensors", "tokenizer.json"};
    char *text;
    size_t size;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", source, files[i]);
        ASSERT_OK(hn_file_read(path, 1 << 20, &text, &size, errp));
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        ASSERT_OK(hn_file_write(path, text, size, errp));
        hn_free(text);
    }
    snprintf(path, sizeof path, "%s/config.json", source);
    json_t *config = json_load_file(path, 0, NULL),
           *changed = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(config);
    assert_non_null(changed);
    json_object_set_new(config, key, changed);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
    hn_model *model = NULL;
    hn_model_options options = {.n_threads = 1};
    hn_status status = hn_model_open(&model, folder, &options, &err);
    if (status != wanted || (wanted != HN_OK && !strstr(err.message, says)))
        fail_msg("%s = %s: status %d, message: %s", key, value, status, err.message);
    hn_model_free(model);
    ASSERT_OK(hn_path_remove(folder, errp));
}

static void test_hostile_configs(void **state) {
    (void)state;
    check_config("rms_norm_eps", "1e-6", HN_OK, "");
    check_config("model_type", "\"mixtral\"", HN_UNSUPPORTED, "mixtral");
    check_config("model_type", "7", HN_BAD_INPUT, "model_type");
    check_config("hidden_size", "\"32\"", HN_BAD_INPUT, "hidden_size");
    check_config("hidden_size", "-32", HN_BAD_INPUT, "hidden_size");
    check_config("hidden_size", "99999999999", HN_BAD_INPUT, "hidden_size");
    check_config("hidden_size", "64", HN_BAD_INPUT, "model.embed_tokens.weight");
    check_config("num_hidden_layers", "1", HN_UNSUPPORTED, "model.layers.1.");
    check_config("num_hidden_layers", "3", HN_BAD_INPUT, "blk.2.");
    check_config("num_attention_heads", "0", HN_BAD_INPUT, "num_attention_heads");
    check_config("vocab_size", "4000000000", HN_BAD_INPUT, "vocab_size");
    check_config("rms_norm_eps", "0", HN_BAD_INPUT, "epsilon");
    check_config("hidden_act", "\"relu\"", HN_UNSUPPORTED, "relu");
    check_config("mlp_bias", "true", HN_UNSUPPORTED, "mlp_bias");
    check_config("quantization_config", "{}", HN_UNSUPPORTED, "quantization_config");
    check_config("attention_bias", "true", HN_BAD_INPUT, "attn_q.bias");
    check_config("rope_parameters", "{\"rope_type\":\"yarn\"}", HN_UNSUPPORTED, "yarn");
    check_config("rope_parameters", "{\"rope_type\":\"linear\",\"factor\":0}", HN_BAD_INPUT,
                 "factor");
    check_config("rope_parameters", "{\"rope_type\":\"llama3\",\"factor\":8}", HN_BAD_INPUT,
                 "low_freq_factor");
}

static int32_t story_token(int seq, int i) {
    return (int32_t)((i * 31 + seq * 97 + 3) % STORY_VOCAB);
}

/* Logits of every position of one sequence, fed `step` tokens at a time. (n, STORY_VOCAB) */
static float *run_alone(hn_model *model, int seq, int n, int step) {
    hn_kv *kv = new_kv(model, 1, n);
    float *logits = malloc(sizeof(float) * (size_t)n * STORY_VOCAB);
    for (int at = 0; at < n; at += step) {
        hn_batch_row rows[256];
        int count = n - at < step ? n - at : step;
        for (int i = 0; i < count; i++)
            rows[i] = (hn_batch_row){
                .token = story_token(seq, at + i), .adapter = -1, .wants_logits = true};
        ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, count, logits + (size_t)at * STORY_VOCAB,
                             NULL, errp));
    }
    hn_kv_free(kv);
    return logits;
}

/* Three sequences of different lengths interleaved in every way, only some rows wanting logits. */
static void check_mixed(hn_model *model, float *const *alone, int n) {
    hn_kv *kv = new_kv(model, 3, 3 * (int64_t)n);
    int at[3] = {0};
    hn_rng rng = hn_rng_new(5, 0);
    float *logits = malloc(sizeof(float) * 64 * STORY_VOCAB);
    while (at[0] < n || at[1] < n || at[2] < n) {
        hn_batch_row rows[64];
        int count = 0, wanted[64], n_wanted = 0;
        int target = 1 + (int)hn_rng_below(&rng, 63);
        for (int tries = 0; count < target && tries < 200; tries++) {
            int seq = (int)hn_rng_below(&rng, 3);
            if (at[seq] >= n)
                continue;
            bool wants = hn_rng_below(&rng, 3) > 0;
            if (wants)
                wanted[n_wanted++] = seq * n + at[seq];
            rows[count++] = (hn_batch_row){.token = story_token(seq, at[seq]),
                                           .seq = seq,
                                           .adapter = -1,
                                           .wants_logits = wants};
            at[seq]++;
        }
        ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, count, logits, NULL, errp));
        for (int i = 0; i < n_wanted; i++)
            assert_memory_equal(logits + (size_t)i * STORY_VOCAB,
                                alone[wanted[i] / n] + (size_t)(wanted[i] % n) * STORY_VOCAB,
                                STORY_VOCAB * sizeof(float));
    }
    free(logits);
    hn_kv_free(kv);
}

static void test_batch_invariance(void **state) {
    (void)state;
    enum { N = 100 };
    char path[64];
    stories_make(path, NULL);
    for (int numerics = 0; numerics < 2; numerics++) {
        float *alone[3];
        for (int threads = 1; threads <= 3; threads++) {
            hn_model *model = open_model(path, threads, (hn_numerics)numerics);
            for (int seq = 0; seq < 3; seq++) {
                static const int steps[] = {1, N, 33, 7};
                /* One at a time only on one thread: thousands of regions take long where the
                 * processors are busy. */
                for (int s = threads > 1; s < (threads > 2 ? 2 : 4); s++) {
                    float *logits = run_alone(model, seq, N, steps[s]);
                    if (threads == 1 && s == 0) {
                        alone[seq] = logits;
                        continue;
                    }
                    assert_memory_equal(logits, alone[seq],
                                        sizeof(float) * (size_t)N * STORY_VOCAB);
                    free(logits);
                }
            }
            check_mixed(model, alone, N);
            hn_model_free(model);
        }
        for (int seq = 0; seq < 3; seq++)
            free(alone[seq]);
    }
    remove(path);
}

static hn_adapter *random_adapter(const hn_model *model, unsigned modules, int r, uint64_t seed) {
    hn_adapter *adapter;
    ASSERT_OK(hn_adapter_new(&adapter, &model->arch, modules, r, 8, seed, errp));
    hn_rng rng = hn_rng_new(seed, 1000);
    for (int l = 0; l < model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            for (int64_t i = 0; i < adapter->layers[l][m].r * adapter->layers[l][m].out; i++)
                adapter->layers[l][m].b[i] = hn_rng_float(&rng) - 0.5f;
    return adapter;
}

/* Rows with two adapters and without one, in one batch, against each alone. */
static void test_adapters_share_a_batch(void **state) {
    (void)state;
    enum { N = 40 };
    char path[64];
    stories_make(path, NULL);
    for (int threads = 1; threads <= 3; threads++) {
        hn_model *model = open_model(path, threads, HN_NUMERICS_INT8);
        hn_adapter *const adapters[2] = {random_adapter(model, 0x7f, 11, 1),
                                         random_adapter(model, 0x29, 16, 2)};
        hn_kv *kv = new_kv(model, 6, 6 * N);
        float *alone = malloc(sizeof(float) * 3 * N * STORY_VOCAB), mixed[3 * STORY_VOCAB];
        hn_batch_row rows[N];
        for (int seq = 0; seq < 3; seq++) {
            for (int i = 0; i < N; i++)
                rows[i] = (hn_batch_row){.token = story_token(0, i),
                                         .seq = seq,
                                         .adapter = seq - 1,
                                         .wants_logits = true};
            ASSERT_OK(hn_forward(model, kv, (const hn_adapter *const *)adapters, 2, rows, N,
                                 alone + (size_t)seq * N * STORY_VOCAB, NULL, errp));
        }
        assert_memory_not_equal(alone, alone + N * STORY_VOCAB, sizeof mixed);
        int checked = threads == 1 ? N : 5;
        for (int i = 0; i < checked; i++) {
            for (int seq = 0; seq < 3; seq++)
                rows[seq] = (hn_batch_row){.token = story_token(0, i),
                                           .seq = 3 + seq,
                                           .adapter = seq - 1,
                                           .wants_logits = true};
            ASSERT_OK(hn_forward(model, kv, (const hn_adapter *const *)adapters, 2, rows, 3, mixed,
                                 NULL, errp));
            for (int seq = 0; seq < 3; seq++)
                assert_memory_equal(mixed + seq * STORY_VOCAB,
                                    alone + ((size_t)seq * N + (size_t)i) * STORY_VOCAB,
                                    STORY_VOCAB * sizeof(float));
        }
        free(alone);
        hn_kv_free(kv);
        hn_adapter_free(adapters[0]);
        hn_adapter_free(adapters[1]);
        hn_model_free(model);
    }
    remove(path);
}

static void feed_one(hn_model *model, hn_kv *kv, int seq, int32_t token, float *logits) {
    hn_batch_row row = {.token = token, .seq = seq, .adapter = -1, .wants_logits = true};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, &row, 1, logits, NULL, errp));
}

static void test_fork_and_truncate(void **state) {
    (void)state;
    enum { N = 90 };
    char path[64];
    stories_make(path, NULL);
    hn_model *model = open_model(path, 1, HN_NUMERICS_F32);
    float *alone = run_alone(model, 0, N, N), logits[STORY_VOCAB];
    hn_kv *kv = new_kv(model, 3, 3 * N);
    hn_error err;
    for (int i = 0; i < N; i++)
        feed_one(model, kv, 0, story_token(0, i), logits);
    static const int lengths[] = {1, 31, 32, 33, 64, 77, N - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int length = lengths[i];
        ASSERT_OK(hn_kv_fork(kv, 0, 1, length, errp));
        ASSERT_OK(hn_kv_fork(kv, 1, 2, length, errp));
        assert_int_equal(hn_kv_length(kv, 2), length);
        feed_one(model, kv, 1, 7, logits); /* writes beside what the others hold */
        feed_one(model, kv, 2, story_token(0, length), logits);
        assert_memory_equal(logits, alone + (size_t)length * STORY_VOCAB, sizeof logits);
    }
    hn_kv_truncate(kv, 0, N - 1);
    feed_one(model, kv, 0, story_token(0, N - 1), logits);
    assert_memory_equal(logits, alone + (size_t)(N - 1) * STORY_VOCAB, sizeof logits);
    assert_int_equal(hn_kv_fork(kv, 0, 1, N + 1, &err), HN_USAGE);
    assert_int_equal(hn_kv_fork(kv, 0, 3, 1, &err), HN_USAGE);
    assert_int_equal(hn_kv_fork(kv, 0, 0, 1, &err), HN_USAGE);
    free(alone);
    hn_kv_free(kv);
    hn_model_free(model);
    remove(path);
}

static void test_full_cache(void **state) {
    (void)state;
    char path[64];
    stories_make(path, NULL);
    hn_model *model = open_model(path, 1, HN_NUMERICS_F32);
    float *alone = run_alone(model, 0, 96, 96), logits[STORY_VOCAB];
    hn_kv *kv = new_kv(model, 2, 64);
    hn_batch_row rows[192];
    for (int i = 0; i < 192; i++)
        rows[i] = (hn_batch_row){.token = story_token(0, i), .adapter = -1};
    hn_error err;
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, 40, NULL, NULL, errp));
    int64_t room = hn_kv_room(kv, 0);
    assert_true(room >= 24 && room <= 88);
    assert_int_equal(hn_forward(model, kv, NULL, 0, rows + 40, (int)room + 1, NULL, NULL, &err),
                     HN_NO_MEMORY);
    assert_non_null(strstr(err.message, "KV cache is full"));
    assert_int_equal(hn_kv_length(kv, 0), 40);
    assert_int_equal(hn_kv_room(kv, 0), room);
    rows[40].wants_logits = true;
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows + 40, 1, logits, NULL, errp));
    assert_memory_equal(logits, alone + 40 * STORY_VOCAB, sizeof logits);
    rows[41].token = STORY_VOCAB;
    assert_int_equal(hn_forward(model, kv, NULL, 0, rows + 41, 1, NULL, NULL, &err), HN_BAD_INPUT);
    rows[41] = (hn_batch_row){.seq = 2, .adapter = -1};
    assert_int_equal(hn_forward(model, kv, NULL, 0, rows + 41, 1, NULL, NULL, &err), HN_BAD_INPUT);
    rows[41] = (hn_batch_row){.adapter = 0};
    assert_int_equal(hn_forward(model, kv, NULL, 0, rows + 41, 1, NULL, NULL, &err), HN_BAD_INPUT);
    free(alone);
    hn_kv_free(kv);
    hn_model_free(model);
    remove(path);
}

static void test_common_prefix(void **state) {
    (void)state;
    char path[64];
    stories_make(path, NULL);
    hn_model *model = open_model(path, 1, HN_NUMERICS_F32);
    hn_adapter *adapter;
    ASSERT_OK(hn_adapter_new(&adapter, &model->arch, 1, 1, 1, 1, errp));
    hn_kv *kv = new_kv(model, 1, 64);
    float logits[STORY_VOCAB];
    int32_t tokens[3] = {5, 6, 7};
    for (int i = 0; i < 3; i++)
        feed_one(model, kv, 0, tokens[i], logits);
    assert_int_equal(hn_kv_common_prefix(kv, 0, NULL, tokens, 3), 3);
    assert_int_equal(hn_kv_common_prefix(kv, 0, NULL, tokens, 2), 2);
    assert_int_equal(hn_kv_common_prefix(kv, 0, adapter, tokens, 3), 0);
    tokens[1] = 9;
    assert_int_equal(hn_kv_common_prefix(kv, 0, NULL, tokens, 3), 1);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
    remove(path);
}

static hn_status open_and_run(const char *path, hn_error *err) {
    hn_model *model = NULL;
    hn_kv *kv = NULL;
    hn_adapter *adapter = NULL;
    hn_model_options options = {.n_threads = 1, .numerics = HN_NUMERICS_INT8};
    static float logits[STORY_VOCAB];
    hn_batch_row row = {.token = 3, .wants_logits = true};
    hn_status status = HN_OK;
    HN_GO(hn_model_open(&model, path, &options, err));
    HN_GO(hn_adapter_new(&adapter, &model->arch, 0x7f, 2, 4, 1, err));
    HN_GO(hn_kv_new(&kv, model, 2, 64, err));
    const hn_adapter *adapters[1] = {adapter};
    HN_GO(hn_forward(model, kv, adapters, 1, &row, 1, logits, NULL, err));
done:
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
    return status;
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    char path[64];
    stories_make(path, NULL);
    hn_error err;
    int64_t before = hn_mem_count();
    assert_int_equal(open_and_run(path, &err), HN_OK);
    int64_t needed = hn_mem_count() - before;
    for (int64_t n = 0; n < needed; n++) {
        hn_mem_fail_after(n);
        hn_status status = open_and_run(path, &err);
        hn_mem_fail_after(-1);
        if (status != HN_NO_MEMORY)
            fail_msg("allocation %lld of %lld: status %d, message: %s", (long long)n,
                     (long long)needed, status, err.message);
    }
    remove(path);
}

static void test_steps_allocate_nothing(void **state) {
    (void)state;
    char path[64];
    stories_make(path, NULL);
    hn_model *model = open_model(path, 2, HN_NUMERICS_INT8);
    hn_kv *kv = new_kv(model, 1, 128);
    float logits[STORY_VOCAB];
    feed_one(model, kv, 0, 3, logits);
    int64_t before = hn_mem_count();
    for (int i = 0; i < 100; i++)
        feed_one(model, kv, 0, story_token(0, i), logits);
    assert_int_equal(hn_mem_count(), before);
    hn_kv_free(kv);
    hn_model_free(model);
    remove(path);
}

/* Each level's loops give the formula's bits for any number of pairs, and touch nothing else. */
static void check_rotation(const hn_row_kernels *kernels, hn_rng *rng, int n, bool side_by_side) {
    float x[2 * 40 + 1], before[2 * 40 + 1], angles[2 * 40];
    for (int i = 0; i <= 2 * n; i++)
        x[i] = before[i] = hn_rng_float(rng) - 0.5f;
    for (int i = 0; i < 2 * n; i++)
        angles[i] = hn_rng_float(rng) - 0.5f;
    (side_by_side ? kernels->rotate_pairs : kernels->rotate_halves)(x, angles, n);
    for (int i = 0; i < n; i++) {
        const int at = side_by_side ? 2 * i : i, other = side_by_side ? at + 1 : at + n;
        const float c = angles[2 * i], s = angles[2 * i + 1];
        assert_true(x[at] == before[at] * c - before[other] * s);
        assert_true(x[other] == before[at] * s + before[other] * c);
    }
    assert_true(x[2 * n] == before[2 * n]);
}

static void test_rotations(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(15, 0);
    for (int isa = 0; isa < HN_ISA_COUNT; isa++)
        for (int n = 1; n <= 40 && hn_cpu_supports((hn_isa)isa); n++) {
            check_rotation(hn_row_kernels_get((hn_isa)isa), &rng, n, true);
            check_rotation(hn_row_kernels_get((hn_isa)isa), &rng, n, false);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_rotations),
        cmocka_unit_test(test_peft_adapter),
        cmocka_unit_test(test_adapter_round_trip),
        cmocka_unit_test(test_new_adapter_changes_nothing),
        cmocka_unit_test(test_hostile_checkpoints),
        cmocka_unit_test(test_hostile_configs),
        cmocka_unit_test(test_batch_invariance),
        cmocka_unit_test(test_adapters_share_a_batch),
        cmocka_unit_test(test_fork_and_truncate),
        cmocka_unit_test(test_full_cache),
        cmocka_unit_test(test_common_prefix),
        cmocka_unit_test(test_every_allocation_fails),
        cmocka_unit_test(test_steps_allocate_nothing),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
