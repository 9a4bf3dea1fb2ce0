/* config.json of a merged model, in the keys that transformers 4 and 5, vLLM and hone read. */
#include "release/merge.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static const char *torch_dtype(hn_dtype dtype) {
    return dtype == HN_F32 ? "float32" : dtype == HN_F16 ? "float16" : "bfloat16";
}

static bool set(json_t *object, const char *key, json_t *value) {
    return !json_object_set_new(object, key, value);
}

static bool set_id(json_t *object, const char *key, int32_t id) {
    return set(object, key, id < 0 ? json_null() : json_integer(id));
}

static bool set_real(json_t *object, const char *key, float value) {
    return set(object, key, json_real((double)value));
}

/* Llama 3's scaling from the divisors that a GGUF holds: the parameters of every released model
 * but the factor, which is the largest divisor; checked by computing the divisors again. */
static hn_status set_llama3(json_t *config, const hn_arch *arch, const char *path, hn_error *err) {
    hn_arch guess = *arch;
    guess.rope_factors = NULL;
    guess.rope_scaling = HN_ROPE_LLAMA3;
    guess.rope_low_freq = 1;
    guess.rope_high_freq = 4;
    guess.rope_original_ctx = 8192;
    guess.rope_factor = 1;
    int n = arch->rope_dim / 2;
    for (int i = 0; i < n; i++)
        guess.rope_factor = fmaxf(guess.rope_factor, arch->rope_factors[i]);
    float *again = hn_calloc((size_t)n, sizeof *again);
    if (!again)
        return hn_fail_no_memory(err, (size_t)n * sizeof *again);
    hn_arch_rope_factors(&guess, again);
    bool same = true;
    for (int i = 0; i < n; i++)
        same = same && fabsf(again[i] - arch->rope_factors[i]) <= 1e-3f * again[i];
    hn_free(again);
    if (!same)
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: rope_freqs.weight follows no rule that config.json can state; merge "
                       "from the Hugging Face folder instead",
                       path);
    json_t *scaling = json_pack("{s:s, s:f, s:f, s:f, s:i}", "rope_type", "llama3", "factor",
                                (double)guess.rope_factor, "low_freq_factor", 1.0,
                                "high_freq_factor", 4.0, "original_max_position_embeddings", 8192);
    return set(config, "rope_scaling", scaling)
               ? HN_OK
               : hn_fail(err, HN_NO_MEMORY, "%s: out of memory", path);
}

static hn_status set_rope(json_t *config, const hn_arch *arch, const char *path, hn_error *err) {
    bool ok = set_real(config, "rope_theta", arch->rope_theta);
    if (arch->rope_factors)
        return set_llama3(config, arch, path, err);
    if (arch->rope_scaling == HN_ROPE_LINEAR)
        ok = ok && set(config, "rope_scaling",
                       json_pack("{s:s, s:f}", "rope_type", "linear", "factor",
                                 (double)arch->rope_factor));
    return ok ? HN_OK : hn_fail(err, HN_NO_MEMORY, "%s: out of memory", path);
}

static bool set_gemma(json_t *config, const hn_arch *arch) {
    json_t *types = json_array();
    bool ok = types != NULL;
    for (int i = 0; i < arch->n_layer; i++)
        ok = ok && !json_array_append_new(types, json_string(hn_arch_layer_is_local(arch, i)
                                                                 ? "sliding_attention"
                                                                 : "full_attention"));
    ok = set(config, "layer_types", types) && ok;
    return ok && set(config, "hidden_activation", json_string("gelu_pytorch_tanh")) &&
           set(config, "sliding_window", json_integer(arch->sliding_window)) &&
           set_real(config, "rope_local_base_freq", arch->rope_theta_local) &&
           set_real(config, "query_pre_attn_scalar",
                    roundf(1 / (arch->attn_scale * arch->attn_scale)));
}

static json_t *base_config(const hn_arch *arch, hn_dtype dtype) {
    static const char *const NAMES[][3] = {{"llama", "llama", "LlamaForCausalLM"},
                                           {"qwen2", "qwen2", "Qwen2ForCausalLM"},
                                           {"qwen3", "qwen3", "Qwen3ForCausalLM"},
                                           {"gemma3", "gemma3_text", "Gemma3ForCausalLM"}};
    size_t n = 0;
    while (n + 1 < sizeof NAMES / sizeof *NAMES && strcmp(NAMES[n][0], arch->family))
        n++;
    return json_pack(
        "{s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:b, s:s, s:s, s:b, s:f}",
        "architectures", NAMES[n][2], "model_type", NAMES[n][1], "hidden_size", arch->n_embd,
        "intermediate_size", arch->n_ff, "num_hidden_layers", arch->n_layer, "num_attention_heads",
        arch->n_head, "num_key_value_heads", arch->n_head_kv, "head_dim", arch->head_dim,
        "vocab_size", arch->n_vocab, "max_position_embeddings", arch->n_ctx_train, "rms_norm_eps",
        (double)arch->rms_eps, "tie_word_embeddings", (int)arch->tied_head, "dtype",
        torch_dtype(dtype), "torch_dtype", torch_dtype(dtype), "use_cache", 1, "initializer_range",
        0.02);
}

static hn_status make_config(const hn_checkpoint *ckpt, hn_dtype dtype, json_t **out,
                             hn_error *err) {
    const hn_arch *arch = &ckpt->arch;
    hn_vocab vocab;
    json_t *config = base_config(arch, dtype);
    bool gemma = !strcmp(arch->family, "gemma3");
    hn_tokenizer_vocab(ckpt->tokenizer, &vocab);
    bool ok = config && set_id(config, "bos_token_id", vocab.bos) &&
              set_id(config, "eos_token_id", vocab.eos) &&
              set_id(config, "pad_token_id", vocab.pad) &&
              (gemma ? set_gemma(config, arch) : set(config, "hidden_act", json_string("silu")));
    if (ok && strcmp(arch->family, "qwen2"))
        ok = set(config, "attention_bias", json_boolean(arch->qkv_bias));
    hn_status status =
        ok ? set_rope(config, arch, ckpt->path, err)
           : hn_fail(err, HN_NO_MEMORY, "%s: out of memory while writing config.json", ckpt->path);
    if (status == HN_OK)
        *out = config;
    else
        json_decref(config);
    return status;
}

hn_status hn_merge_write_config(const hn_checkpoint *ckpt, const char *dir, hn_dtype dtype,
                                hn_error *err) {
    json_t *config = NULL;
    if (ckpt->is_gguf) {
        hn_vocab vocab;
        hn_tokenizer_vocab(ckpt->tokenizer, &vocab);
        json_t *generation = json_object();
        if (!generation || !set_id(generation, "bos_token_id", vocab.bos) ||
            !set_id(generation, "eos_token_id", vocab.eos)) {
            json_decref(generation);
            generation = NULL;
        }
        HN_TRY(hn_merge_write_json(dir, "generation_config.json", generation, err));
        HN_TRY(make_config(ckpt, dtype, &config, err));
        return hn_merge_write_json(dir, "config.json", config, err);
    }
    HN_TRY(hn_merge_copy(ckpt, dir, "generation_config.json", err));
    config = json_deep_copy(ckpt->config);
    const char *key = json_object_get(config, "torch_dtype") ? "torch_dtype" : "dtype";
    if (config && !set(config, key, json_string(torch_dtype(dtype)))) {
        json_decref(config);
        config = NULL;
    }
    return hn_merge_write_json(dir, "config.json", config, err);
}
