/* The small models and adapters of tests/golden/sft, as tests/golden/record_sft.py wrote them. */
#pragma once

#include "formats/adapter_file.h"
#include "formats/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tiny_model.h"

static const char *const HF_NAME[HN_MODULE_COUNT] = {
    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
    "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};

static inline const hn_st_tensor *tensor(const hn_safetensors *st, const char *fmt, int layer,
                                         const char *name) {
    char full[160];
    snprintf(full, sizeof full, fmt, layer, name);
    return hn_safetensors_find(st, full);
}

static inline void copy_vector(float *to, const hn_st_tensor *from, float add) {
    if (!from)
        return;
    for (uint64_t i = 0; i < from->size_bytes / sizeof(float); i++) {
        memcpy(to + i, from->data + i * sizeof(float), sizeof(float));
        to[i] += add;
    }
}

static inline void copy_matrix(hn_compute *compute, hn_matrix *to, const hn_st_tensor *from) {
    hn_error err;
    assert_non_null(from);
    hn_matrix_done(to);
    assert_int_equal(hn_matrix_pack(compute, to, HN_F32, (int64_t)from->shape[0],
                                    (int64_t)from->shape[1], from->data, &err),
                     HN_OK);
}

/* Hugging Face's weights in a model built in memory; rope on halves, as their rows are ordered. */
static inline hn_model *load_model(const char *dir, const char *family, int threads) {
    hn_model *model = tiny_model(family, threads);
    hn_safetensors st;
    hn_error err;
    char path[800];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
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

static inline hn_adapter *load_adapter(const char *dir, const hn_arch *arch) {
    hn_adapter_file file;
    hn_error err;
    char path[800];
    snprintf(path, sizeof path, "%s/adapter", dir);
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

/* That family of tests/golden/sft. */
static inline hn_model *golden_model(const char *family, int threads) {
    char dir[600];
    snprintf(dir, sizeof dir, "%s/golden/sft/%s", HN_TEST_ROOT, family);
    return load_model(dir, family, threads);
}
