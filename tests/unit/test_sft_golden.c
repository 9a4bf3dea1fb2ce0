/* Training against transformers + PEFT (tests/golden/record_sft.py): gradients of the first step
 * and losses, gradient norms and rates of the first twenty, on a small random model of each
 * family. */
#include "formats/adapter_file.h"
#include "formats/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sft_golden.h"
#include "tiny_model.h"

static const char *const HF_NAME[HN_MODULE_COUNT] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

static const hn_st_tensor *tensor(const hn_safetensors *st, const char *fmt, int layer,
                                  const char *name) {
    char full[160];
    snprintf(full, sizeof full, fmt, layer, name);
    return hn_safetensors_find(st, full);
}

static void copy_vector(float *to, const hn_st_tensor *from, float add) {
    if (!from)
        return;
    for (uint64_t i = 0; i < from->size_bytes / sizeof(float); i++) {
        memcpy(to + i, from->data + i * sizeof(float), sizeof(float));
        to[i] += add;
    }
}

static void copy_matrix(hn_compute *compute, hn_matrix *to, const hn_st_tensor *from) {
    hn_error err;
    assert_non_null(from);
    hn_matrix_done(to);
    assert_int_equal(hn_matrix_pack(compute, to, HN_F32, (int64_t)from->shape[0],
                                    (int64_t)from->shape[1], from->data, &err),
                     HN_OK);
}

/* Hugging Face's weights in a model built in memory; rope on halves, as their rows are ordered. */
static hn_model *load_model(const golden *g, const char *family) {
    hn_model *model = tiny_model(family, 2);
    hn_safetensors st;
    hn_error err;
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors", g->dir);
    assert_int_equal(hn_safetensors_open(&st, path, &err), HN_OK);
    model->arch.rope_style = HN_ROPE_HALVES;
    float add = strcmp(family, "gemma3") == 0 ? 1 : 0;
    for (int l = 0; l < model->arch.n_layer; l++) {
        hn_layer *layer = &model->layers[l];
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            copy_matrix(model->compute, &layer->w[m],
                        tensor(&st, "model.layers.%d.%s.weight", l, HF_NAME[m]));
            copy_vector(layer->bias[m], tensor(&st, "model.layers.%d.%s.bias", l, HF_NAME[m]), 0);
        }
        const char *fmt = "model.layers.%d.%s.weight";
        bool post = model->arch.post_norms;
        copy_vector(layer->attn_norm, tensor(&st, fmt, l, "input_layernorm"), add);
        copy_vector(post ? layer->post_attn_norm : layer->ffn_norm,
                    tensor(&st, fmt, l, "post_attention_layernorm"), add);
        copy_vector(layer->ffn_norm, tensor(&st, fmt, l, "pre_feedforward_layernorm"), add);
        copy_vector(layer->post_ffn_norm, tensor(&st, fmt, l, "post_feedforward_layernorm"), add);
        copy_vector(layer->q_norm, tensor(&st, fmt, l, "self_attn.q_norm"), add);
        copy_vector(layer->k_norm, tensor(&st, fmt, l, "self_attn.k_norm"), add);
    }
    copy_vector(model->output_norm, hn_safetensors_find(&st, "model.norm.weight"), add);
    copy_matrix(model->compute, &model->embed,
                hn_safetensors_find(&st, "model.embed_tokens.weight"));
    if (!model->arch.tied_head)
        copy_matrix(model->compute, &model->head, hn_safetensors_find(&st, "lm_head.weight"));
    hn_safetensors_close(&st);
    return model;
}

static hn_adapter *load_adapter(const golden *g, const hn_arch *arch) {
    hn_adapter_file file;
    hn_error err;
    char path[600];
    snprintf(path, sizeof path, "%s/adapter", g->dir);
    if (hn_adapter_file_read(&file, path, 0, 0, &err) != HN_OK)
        fail_msg("%s", err.message);
    hn_adapter *adapter = tiny_adapter(arch, 127, file.r);
    for (size_t i = 0; i < file.n_pairs; i++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_lora_pair *pair = &file.pairs[i];
            if (strcmp(strchr(HF_NAME[m], '.') + 1, pair->module) != 0)
                continue;
            hn_lora *lora = &adapter->layers[pair->layer][m];
            assert_true(lora->in == pair->in && lora->out == pair->out && lora->r == pair->r);
            memcpy(lora->a, pair->a, (size_t)(pair->r * pair->in) * sizeof(float));
            memcpy(lora->b, pair->b, (size_t)(pair->r * pair->out) * sizeof(float));
            lora->scale = pair->alpha / (float)pair->r;
        }
    hn_adapter_file_done(&file);
    return adapter;
}

static double relative_l2(const float *ours, const hn_st_tensor *theirs) {
    double difference = 0, norm = 0;
    for (uint64_t i = 0; i < theirs->size_bytes / sizeof(float); i++) {
        float x;
        memcpy(&x, theirs->data + i * sizeof x, sizeof x);
        difference += ((double)ours[i] - (double)x) * ((double)ours[i] - (double)x);
        norm += (double)x * (double)x;
    }
    return sqrt(difference / norm);
}

static void check_gradients(const golden *g, const hn_params *params) {
    hn_safetensors st;
    hn_error err;
    char path[600];
    snprintf(path, sizeof path, "%s/gradients.safetensors", g->dir);
    assert_int_equal(hn_safetensors_open(&st, path, &err), HN_OK);
    for (int l = 0; l < params->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *s = &params->slots[l][m];
            const hn_st_tensor *a =
                tensor(&st, "base_model.model.model.layers.%d.%s.lora_A.weight", l, HF_NAME[m]);
            const hn_st_tensor *b =
                tensor(&st, "base_model.model.model.layers.%d.%s.lora_B.weight", l, HF_NAME[m]);
            double da = relative_l2(params->grads + s->a, a);
            double db = relative_l2(params->grads + s->b, b);
            if (!(da < 1e-4 && db < 1e-4))
                fail_msg("%s layer %d %s: A %g B %g", g->dir, l, HF_NAME[m], da, db);
        }
    hn_safetensors_close(&st);
}

static void check_family(const char *family) {
    golden g;
    hn_error err;
    hn_params params;
    hn_net *net;
    char name[64];
    snprintf(name, sizeof name, "%s/golden.json", family);
    open_golden(&g, name);
    hn_model *model = load_model(&g, family);
    hn_adapter *adapter = load_adapter(&g, &model->arch);
    assert_int_equal(hn_params_new(&params, adapter, &err), HN_OK);
    assert_int_equal(hn_net_new(&net, model, &params, 0, 0, &err), HN_OK);
    check_steps(&g, net, check_gradients);
    hn_net_free(net);
    hn_params_done(&params);
    tiny_adapter_free(adapter);
    tiny_model_free(model);
    close_golden(&g);
}

static void test_llama(void **state) {
    (void)state;
    check_family("llama");
}

static void test_qwen2(void **state) {
    (void)state;
    check_family("qwen2");
}

static void test_qwen3(void **state) {
    (void)state;
    check_family("qwen3");
}

static void test_gemma3(void **state) {
    (void)state;
    check_family("gemma3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_qwen2),
        cmocka_unit_test(test_qwen3),
        cmocka_unit_test(test_gemma3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
