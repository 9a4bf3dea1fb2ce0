/* config.json of a Hugging Face folder as an architecture. Keys and defaults: transformers 5,
 * models/{llama,qwen2,qwen3,gemma3}/configuration_*.py; older files say rope_theta and rope_scaling
 * where newer ones say rope_parameters. */
#include "base/json.h"
#include "model/checkpoint_internal.h"

#include <math.h>
#include <string.h>

typedef struct config_reader {
    const json_t *config;
    const char *where;
    hn_error *err;
} config_reader;

static bool is_absent(const json_t *value) {
    return !value || json_is_null(value);
}

/* A missing or null key leaves *out as it was; 0 there means that the key is needed. */
static hn_status read_int(const config_reader *r, const char *key, int32_t *out) {
    long long value = *out;
    if (!is_absent(json_object_get(r->config, key)))
        HN_TRY(hn_json_get_int(r->config, key, r->where, &value, r->err));
    if (value == 0)
        return hn_fail(r->err, HN_BAD_INPUT, "%s: \"%s\" is missing or 0", r->where, key);
    if (value < 0 || value > INT32_MAX)
        return hn_fail(r->err, HN_BAD_INPUT, "%s: \"%s\" is %lld, which no model has", r->where,
                       key, value);
    *out = (int32_t)value;
    return HN_OK;
}

static hn_status read_real(const config_reader *r, const json_t *object, const char *key,
                           float *out) {
    double value = (double)*out;
    if (!is_absent(json_object_get(object, key)))
        HN_TRY(hn_json_get_real(object, key, r->where, &value, r->err));
    *out = (float)value;
    return HN_OK;
}

static hn_status read_bool(const config_reader *r, const char *key, bool *out) {
    int value = *out;
    if (!is_absent(json_object_get(r->config, key)))
        HN_TRY(hn_json_get_bool(r->config, key, r->where, &value, r->err));
    *out = value;
    return HN_OK;
}

static hn_status unsupported(const config_reader *r, const char *key) {
    return hn_fail(r->err, HN_UNSUPPORTED, "%s: hone can't compute with this \"%s\" yet", r->where,
                   key);
}

static hn_status refuse_true(const config_reader *r, const char *key) {
    bool value = false;
    HN_TRY(read_bool(r, key, &value));
    return value ? unsupported(r, key) : HN_OK;
}

static hn_status refuse_present(const config_reader *r, const char *key) {
    return is_absent(json_object_get(r->config, key)) ? HN_OK : unsupported(r, key);
}

/* `rope` is rope_parameters (theta inside) or rope_scaling (beside rope_theta). */
static hn_status read_rope(const config_reader *r, const json_t *rope, hn_arch *arch) {
    if (is_absent(rope))
        return HN_OK;
    if (!json_is_object(rope))
        return unsupported(r, "rope_parameters");
    HN_TRY(read_real(r, rope, "rope_theta", &arch->rope_theta));
    const char *type = "default";
    HN_TRY(hn_json_get_string(rope, "type", r->where, &type, r->err));
    HN_TRY(hn_json_get_string(rope, "rope_type", r->where, &type, r->err));
    float partial = 1.0f;
    HN_TRY(read_real(r, rope, "partial_rotary_factor", &partial));
    if (partial != 1.0f)
        return unsupported(r, "partial_rotary_factor");
    if (!strcmp(type, "default"))
        return HN_OK;
    HN_TRY(read_real(r, rope, "factor", &arch->rope_factor));
    if (!strcmp(type, "linear")) {
        arch->rope_scaling = HN_ROPE_LINEAR;
        return HN_OK;
    }
    if (strcmp(type, "llama3"))
        return hn_fail(r->err, HN_UNSUPPORTED,
                       "%s: rope_type is \"%s\"; hone knows default, linear and llama3", r->where,
                       type);
    arch->rope_scaling = HN_ROPE_LLAMA3;
    HN_TRY(read_real(r, rope, "low_freq_factor", &arch->rope_low_freq));
    HN_TRY(read_real(r, rope, "high_freq_factor", &arch->rope_high_freq));
    long long original = arch->n_ctx_train;
    HN_TRY(hn_json_get_int(rope, "original_max_position_embeddings", r->where, &original, r->err));
    if (original < 1 || original > HN_ARCH_MAX_CTX)
        return hn_fail(r->err, HN_BAD_INPUT, "%s: original_max_position_embeddings is %lld",
                       r->where, original);
    arch->rope_original_ctx = (int32_t)original;
    return HN_OK;
}

static hn_status read_all_rope(const config_reader *r, hn_arch *arch, bool per_layer_type) {
    HN_TRY(read_real(r, r->config, "rope_theta", &arch->rope_theta));
    HN_TRY(read_real(r, r->config, "rope_local_base_freq", &arch->rope_theta_local));
    const json_t *rope = json_object_get(r->config, "rope_parameters");
    if (is_absent(rope))
        rope = json_object_get(r->config, "rope_scaling");
    if (!per_layer_type || !json_is_object(json_object_get(rope, "full_attention")))
        return read_rope(r, rope, arch);
    const json_t *local = json_object_get(rope, "sliding_attention");
    if (!is_absent(local))
        HN_TRY(read_real(r, local, "rope_theta", &arch->rope_theta_local));
    return read_rope(r, json_object_get(rope, "full_attention"), arch);
}

/* layer_types must be "each Nth layer is full": the smallest such N, n_layer + 1 if none is. */
static hn_status read_layer_types(const config_reader *r, const json_t *types, hn_arch *arch) {
    if ((int32_t)json_array_size(types) != arch->n_layer)
        return hn_fail(r->err, HN_BAD_INPUT, "%s: layer_types has %zu items for %d layers",
                       r->where, json_array_size(types), arch->n_layer);
    int32_t every = arch->n_layer + 1;
    for (int32_t i = arch->n_layer - 1; i >= 0; i--) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (type && !strcmp(type, "full_attention"))
            every = i + 1;
        else if (!type || strcmp(type, "sliding_attention"))
            return unsupported(r, "layer_types");
    }
    arch->global_every = every;
    for (int32_t i = 0; i < arch->n_layer; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        if (hn_arch_layer_is_local(arch, i) != !strcmp(type, "sliding_attention"))
            return unsupported(r, "layer_types");
    }
    return HN_OK;
}

static hn_status read_gemma3(const config_reader *r, hn_arch *arch) {
    HN_TRY(refuse_present(r, "attn_logit_softcapping"));
    HN_TRY(refuse_present(r, "final_logit_softcapping"));
    HN_TRY(refuse_true(r, "use_bidirectional_attention"));
    arch->sliding_window = 4096;
    HN_TRY(read_int(r, "sliding_window", &arch->sliding_window));
    HN_TRY(read_int(r, "sliding_window_pattern", &arch->global_every));
    const json_t *types = json_object_get(r->config, "layer_types");
    if (!is_absent(types))
        HN_TRY(read_layer_types(r, types, arch));
    float scalar = 256.0f;
    HN_TRY(read_real(r, r->config, "query_pre_attn_scalar", &scalar));
    if (!(scalar > 0))
        return hn_fail(r->err, HN_BAD_INPUT, "%s: query_pre_attn_scalar is %g", r->where,
                       (double)scalar);
    arch->attn_scale = 1.0f / sqrtf(scalar);
    arch->embd_scale = sqrtf((float)arch->n_embd);
    return HN_OK;
}

static hn_status read_switches(const config_reader *r, const hn_family *family, hn_arch *arch) {
    HN_TRY(refuse_present(r, "quantization_config"));
    HN_TRY(refuse_true(r, "mlp_bias"));
    HN_TRY(refuse_true(r, "use_sliding_window"));
    HN_TRY(read_bool(r, "tie_word_embeddings", &arch->tied_head));
    if (family->may_have_bias) {
        HN_TRY(read_bool(r, "attention_bias", &arch->qkv_bias));
        arch->o_bias = arch->qkv_bias;
    }
    const char *key = family->scale_embd ? "hidden_activation" : "hidden_act";
    const char *wanted = family->activation == HN_ACT_SILU ? "silu" : "gelu_pytorch_tanh";
    const char *act = wanted;
    HN_TRY(hn_json_get_string(r->config, key, r->where, &act, r->err));
    if (strcmp(act, wanted))
        return hn_fail(r->err, HN_UNSUPPORTED, "%s: %s is \"%s\"; hone knows \"%s\" in %s models",
                       r->where, key, act, wanted, family->name);
    return HN_OK;
}

/* Sizes that transformers fills in itself when config.json leaves them out. */
static void apply_defaults(hn_arch *arch) {
    bool gemma = !strcmp(arch->family, "gemma3"), qwen3 = !strcmp(arch->family, "qwen3");
    if (gemma) {
        arch->n_head = 8;
        arch->n_head_kv = 4;
        arch->head_dim = 256;
        arch->n_ctx_train = 131072;
        arch->n_vocab = 262208;
        arch->tied_head = true;
        arch->rope_theta = 1000000.0f;
    } else if (qwen3) {
        arch->head_dim = 128;
    }
}

hn_status hn_arch_from_config(hn_arch *out, const json_t *config, const char *where,
                              bool *norm_add_one, hn_error *err) {
    const char *type = NULL;
    HN_TRY(hn_json_get_string(config, "model_type", where, &type, err));
    if (!type)
        return hn_fail(err, HN_BAD_INPUT, "%s: \"model_type\" is missing", where);
    const hn_family *family = hn_family_find_hf(type);
    if (!family)
        return hn_fail(err, HN_UNSUPPORTED, "%s: model_type is \"%.40s\"; hone knows %s", where,
                       type, HN_FAMILIES_SUPPORTED);
    bool tied_outside = true;
    const json_t *text = json_object_get(config, "text_config");
    config_reader r = {config, where, err};
    hn_arch arch;
    hn_arch_init(&arch, family);
    if (json_is_object(text)) { /* a model with a vision tower: the outer value decides */
        HN_TRY(read_bool(&r, "tie_word_embeddings", &tied_outside));
        r.config = text;
    }
    apply_defaults(&arch);
    arch.rope_style = HN_ROPE_HALVES;
    HN_TRY(read_int(&r, "num_hidden_layers", &arch.n_layer));
    HN_TRY(read_int(&r, "hidden_size", &arch.n_embd));
    HN_TRY(read_int(&r, "intermediate_size", &arch.n_ff));
    HN_TRY(read_int(&r, "num_attention_heads", &arch.n_head));
    if (!arch.n_head_kv)
        arch.n_head_kv = arch.n_head;
    HN_TRY(read_int(&r, "num_key_value_heads", &arch.n_head_kv));
    if (!arch.head_dim && arch.n_embd % arch.n_head == 0)
        arch.head_dim = arch.n_embd / arch.n_head;
    HN_TRY(read_int(&r, "head_dim", &arch.head_dim));
    HN_TRY(read_int(&r, "vocab_size", &arch.n_vocab));
    HN_TRY(read_int(&r, "max_position_embeddings", &arch.n_ctx_train));
    HN_TRY(read_real(&r, r.config, "rms_norm_eps", &arch.rms_eps));
    arch.rope_dim = arch.head_dim;
    arch.attn_scale = 1.0f / sqrtf((float)arch.head_dim);
    HN_TRY(read_switches(&r, family, &arch));
    arch.tied_head = arch.tied_head && tied_outside;
    if (family->scale_embd)
        HN_TRY(read_gemma3(&r, &arch));
    HN_TRY(read_all_rope(&r, &arch, family->scale_embd));
    HN_TRY(hn_arch_check(&arch, where, err));
    *norm_add_one = family->norm_add_one;
    *out = arch;
    return HN_OK;
}
