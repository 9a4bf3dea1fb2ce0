/* GGUF files as checkpoints: architecture keys, tensor list, tokenizer keys, chat template.
 * Key names: ggml's docs/gguf.md and llama.cpp's writers. */
#include "base/mem.h"
#include "model/checkpoint_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct arch_reader {
    const hn_gguf *gguf;
    const char *family;
    hn_error *err;
} arch_reader;

static void make_key(const arch_reader *reader, const char *name, char key[96]) {
    snprintf(key, 96, "%s.%s", reader->family, name);
}

/* A missing key leaves *out as it was; 0 there means that the key is needed. */
static hn_status read_int(const arch_reader *reader, const char *name, int32_t *out) {
    char key[96];
    make_key(reader, name, key);
    uint64_t value = (uint64_t)*out;
    HN_TRY(hn_gguf_get_u64(reader->gguf, key, &value, reader->err));
    if (value == 0)
        return hn_fail(reader->err, HN_BAD_INPUT, "%s: the key %s is missing or 0",
                       reader->gguf->path, key);
    if (value > INT32_MAX)
        return hn_fail(reader->err, HN_BAD_INPUT, "%s: %s is %llu, which no model has",
                       reader->gguf->path, key, (unsigned long long)value);
    *out = (int32_t)value;
    return HN_OK;
}

static hn_status read_float(const arch_reader *reader, const char *name, float *out) {
    char key[96];
    make_key(reader, name, key);
    double value = (double)*out;
    HN_TRY(hn_gguf_get_f64(reader->gguf, key, &value, reader->err));
    *out = (float)value;
    return HN_OK;
}

static bool text_is(hn_gguf_string text, const char *expected) {
    return text.size == strlen(expected) && !memcmp(text.data, expected, text.size);
}

static hn_status read_rope_scaling(const arch_reader *reader, hn_arch *arch) {
    char key[96];
    make_key(reader, "rope.scaling.type", key);
    hn_gguf_string type = {"none", 4};
    HN_TRY(hn_gguf_get_string(reader->gguf, key, &type, reader->err));
    if (text_is(type, "none"))
        return HN_OK;
    if (!text_is(type, "linear"))
        return hn_fail(reader->err, HN_UNSUPPORTED,
                       "%s: %s is \"%.*s\"; hone knows none, linear and Llama 3's frequencies",
                       reader->gguf->path, key, (int)(type.size > 40 ? 40 : type.size), type.data);
    arch->rope_scaling = HN_ROPE_LINEAR;
    return read_float(reader, "rope.scaling.factor", &arch->rope_factor);
}

static hn_status read_attention(const arch_reader *reader, hn_arch *arch) {
    HN_TRY(read_int(reader, "attention.head_count", &arch->n_head));
    arch->n_head_kv = arch->n_head;
    HN_TRY(read_int(reader, "attention.head_count_kv", &arch->n_head_kv));
    arch->head_dim = arch->n_embd % arch->n_head ? 0 : arch->n_embd / arch->n_head;
    HN_TRY(read_int(reader, "attention.key_length", &arch->head_dim));
    int32_t value_length = arch->head_dim;
    HN_TRY(read_int(reader, "attention.value_length", &value_length));
    if (value_length != arch->head_dim)
        return hn_fail(reader->err, HN_UNSUPPORTED,
                       "%s: keys of %d and values of %d dimensions: hone needs them equal",
                       reader->gguf->path, arch->head_dim, value_length);
    arch->attn_scale = 1.0f / sqrtf((float)arch->head_dim);
    return read_float(reader, "attention.scale", &arch->attn_scale);
}

enum { GEMMA3_27B_LAYERS = 62 };

static hn_status read_gemma3(const arch_reader *reader, hn_arch *arch) {
    HN_TRY(read_int(reader, "attention.sliding_window", &arch->sliding_window));
    HN_TRY(read_int(reader, "attention.sliding_window_pattern", &arch->global_every));
    HN_TRY(read_float(reader, "rope.freq_base_swa", &arch->rope_theta_local));
    arch->embd_scale = sqrtf((float)arch->n_embd);
    /* The file doesn't say it; the 27B model alone scales by the width a head (its
     * query_pre_attn_scalar is 168 = 5376 / 32). */
    if (arch->n_layer == GEMMA3_27B_LAYERS) {
        arch->attn_scale = 1.0f / sqrtf((float)arch->n_embd / (float)arch->n_head);
        return read_float(reader, "attention.scale", &arch->attn_scale);
    }
    return HN_OK;
}

static hn_status read_rope_factors(hn_checkpoint *ckpt, hn_error *err) {
    const hn_gguf_tensor *tensor = hn_gguf_find_tensor(&ckpt->gguf, "rope_freqs.weight");
    if (!tensor)
        return HN_OK;
    uint64_t n = (uint64_t)ckpt->arch.rope_dim / 2;
    if (tensor->dtype != HN_F32 || tensor->n_dims != 1 || tensor->shape[0] != n)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: rope_freqs.weight must be %llu values of type f32, it is %llu of %s",
                       ckpt->path, (unsigned long long)n, (unsigned long long)tensor->shape[0],
                       hn_dtype_name(tensor->dtype));
    ckpt->rope_factors = hn_malloc(n * sizeof *ckpt->rope_factors);
    if (!ckpt->rope_factors)
        return hn_fail_no_memory(err, n * sizeof *ckpt->rope_factors);
    memcpy(ckpt->rope_factors, tensor->data, n * sizeof *ckpt->rope_factors);
    for (uint64_t i = 0; i < n; i++)
        if (!(ckpt->rope_factors[i] > 0) || !isfinite(ckpt->rope_factors[i]))
            return hn_fail(err, HN_BAD_INPUT, "%s: rope_freqs.weight[%llu] is %g", ckpt->path,
                           (unsigned long long)i, (double)ckpt->rope_factors[i]);
    ckpt->arch.rope_factors = ckpt->rope_factors;
    return HN_OK;
}

static hn_status read_arch(hn_checkpoint *ckpt, hn_error *err) {
    hn_gguf_string name = {0};
    HN_TRY(hn_gguf_get_string(&ckpt->gguf, "general.architecture", &name, err));
    if (!name.data)
        return hn_fail(err, HN_BAD_INPUT, "%s: the key general.architecture is missing",
                       ckpt->path);
    const hn_family *family = hn_family_find(name.data, name.size);
    if (!family)
        return hn_fail(err, HN_UNSUPPORTED, "%s: the architecture is %.*s; hone knows %s",
                       ckpt->path, (int)(name.size > 40 ? 40 : name.size), name.data,
                       HN_FAMILIES_SUPPORTED);
    hn_arch *arch = &ckpt->arch;
    hn_arch_init(arch, family);
    arch->rope_style = family->gguf_rope;
    arch_reader reader = {&ckpt->gguf, family->name, err};
    HN_TRY(read_int(&reader, "block_count", &arch->n_layer));
    HN_TRY(read_int(&reader, "embedding_length", &arch->n_embd));
    HN_TRY(read_int(&reader, "feed_forward_length", &arch->n_ff));
    HN_TRY(read_int(&reader, "context_length", &arch->n_ctx_train));
    HN_TRY(read_float(&reader, "attention.layer_norm_rms_epsilon", &arch->rms_eps));
    HN_TRY(read_attention(&reader, arch));
    arch->rope_dim = arch->head_dim;
    HN_TRY(read_int(&reader, "rope.dimension_count", &arch->rope_dim));
    HN_TRY(read_float(&reader, "rope.freq_base", &arch->rope_theta));
    HN_TRY(read_rope_scaling(&reader, arch));
    if (family->scale_embd)
        HN_TRY(read_gemma3(&reader, arch));
    const hn_gguf_tensor *embed = hn_gguf_find_tensor(&ckpt->gguf, "token_embd.weight");
    if (!embed)
        return hn_fail(err, HN_BAD_INPUT, "%s: the tensor token_embd.weight is missing",
                       ckpt->path);
    arch->n_vocab = embed->shape[0] > INT32_MAX ? INT32_MAX : (int32_t)embed->shape[0];
    arch->tied_head = !hn_gguf_find_tensor(&ckpt->gguf, "output.weight");
    if (family->may_have_bias) {
        arch->qkv_bias = hn_gguf_find_tensor(&ckpt->gguf, "blk.0.attn_q.bias") != NULL;
        arch->o_bias = hn_gguf_find_tensor(&ckpt->gguf, "blk.0.attn_output.bias") != NULL;
    }
    HN_TRY(hn_arch_check(arch, ckpt->path, err));
    return read_rope_factors(ckpt, err);
}

static hn_status list_tensors(hn_checkpoint *ckpt, hn_error *err) {
    const hn_gguf *gguf = &ckpt->gguf;
    ckpt->tensors = HN_ARENA_NEW(&ckpt->arena, hn_tensor, gguf->n_tensors + 1);
    if (!ckpt->tensors)
        return hn_fail_no_memory(err, gguf->n_tensors * sizeof *ckpt->tensors);
    for (uint64_t i = 0; i < gguf->n_tensors; i++) {
        const hn_gguf_tensor *from = &gguf->tensors[i];
        char *name = hn_arena_strndup(&ckpt->arena, from->name.data, from->name.size);
        if (!name)
            return hn_fail_no_memory(err, from->name.size);
        if (from->n_dims > 2)
            return hn_fail(err, HN_UNSUPPORTED, "%s: the tensor %s has %d dimensions", ckpt->path,
                           name, from->n_dims);
        bool vector = from->n_dims < 2;
        ckpt->tensors[i] = (hn_tensor){
            .name = name,
            .source_name = name,
            .dtype = from->dtype,
            .rows = vector ? 1 : (int64_t)from->shape[0],
            .cols = (int64_t)from->shape[vector ? 0 : 1],
            .data = from->data,
            .size_bytes = from->size_bytes,
        };
    }
    ckpt->n_tensors = (size_t)gguf->n_tensors;
    return HN_OK;
}

hn_status hn_checkpoint_open_gguf(hn_checkpoint *ckpt, const char *path, hn_error *err) {
    HN_TRY(hn_gguf_open(&ckpt->gguf, path, err));
    static const char ADAPTER[] = "adapter";
    hn_gguf_string type = {0};
    HN_TRY(hn_gguf_get_string(&ckpt->gguf, "general.type", &type, err));
    if (type.size == sizeof ADAPTER - 1 && !memcmp(type.data, ADAPTER, type.size))
        return hn_checkpoint_fail_adapter(path, err);
    HN_TRY(read_arch(ckpt, err));
    return list_tensors(ckpt, err);
}

hn_status hn_checkpoint_tokenizer_gguf(hn_checkpoint *ckpt, hn_error *err) {
    return hn_tokenizer_from_gguf(&ckpt->tokenizer, &ckpt->gguf, err);
}

hn_status hn_checkpoint_template_gguf(hn_checkpoint *ckpt, hn_error *err) {
    hn_gguf_string source = {0};
    HN_TRY(hn_gguf_get_string(&ckpt->gguf, "tokenizer.chat_template", &source, err));
    if (source.size) {
        ckpt->chat_template_source = hn_strndup(source.data, source.size);
        if (!ckpt->chat_template_source)
            return hn_fail_no_memory(err, source.size);
    }
    return HN_OK;
}
