/* A model on disk through one pair of glasses: opens either format, then holds every tensor against
 * the architecture, so that what opens can be computed with. */
#include "model/checkpoint.h"

#include "base/mem.h"
#include "model/checkpoint_internal.h"

#include <stdlib.h>
#include <string.h>

#define VECTOR(member) .module = -1, .field = offsetof(hn_layer, member)
#define BIAS(m) .module = -1, .field = offsetof(hn_layer, bias) + (m) * sizeof(float *)

const hn_tensor_rule HN_TENSOR_RULES[] = {
    {"attn_norm.weight", "input_layernorm.weight", HN_DIM_ONE, HN_DIM_EMBD, HN_ALWAYS,
     VECTOR(attn_norm)},
    {"attn_q.weight", "self_attn.q_proj.weight", HN_DIM_Q, HN_DIM_EMBD, .module = HN_MODULE_Q},
    {"attn_k.weight", "self_attn.k_proj.weight", HN_DIM_KV, HN_DIM_EMBD, .module = HN_MODULE_K},
    {"attn_v.weight", "self_attn.v_proj.weight", HN_DIM_KV, HN_DIM_EMBD, .module = HN_MODULE_V},
    {"attn_output.weight", "self_attn.o_proj.weight", HN_DIM_EMBD, HN_DIM_Q, .module = HN_MODULE_O},
    {"attn_q.bias", "self_attn.q_proj.bias", HN_DIM_ONE, HN_DIM_Q, HN_IF_QKV_BIAS,
     BIAS(HN_MODULE_Q)},
    {"attn_k.bias", "self_attn.k_proj.bias", HN_DIM_ONE, HN_DIM_KV, HN_IF_QKV_BIAS,
     BIAS(HN_MODULE_K)},
    {"attn_v.bias", "self_attn.v_proj.bias", HN_DIM_ONE, HN_DIM_KV, HN_IF_QKV_BIAS,
     BIAS(HN_MODULE_V)},
    {"attn_output.bias", "self_attn.o_proj.bias", HN_DIM_ONE, HN_DIM_EMBD, HN_IF_O_BIAS,
     BIAS(HN_MODULE_O)},
    {"attn_q_norm.weight", "self_attn.q_norm.weight", HN_DIM_ONE, HN_DIM_HEAD, HN_IF_QK_NORM,
     VECTOR(q_norm)},
    {"attn_k_norm.weight", "self_attn.k_norm.weight", HN_DIM_ONE, HN_DIM_HEAD, HN_IF_QK_NORM,
     VECTOR(k_norm)},
    {"post_attention_norm.weight", "post_attention_layernorm.weight", HN_DIM_ONE, HN_DIM_EMBD,
     HN_IF_POST_NORMS, VECTOR(post_attn_norm)},
    {"ffn_norm.weight", "post_attention_layernorm.weight", HN_DIM_ONE, HN_DIM_EMBD,
     HN_UNLESS_POST_NORMS, VECTOR(ffn_norm)},
    {"ffn_norm.weight", "pre_feedforward_layernorm.weight", HN_DIM_ONE, HN_DIM_EMBD,
     HN_IF_POST_NORMS, VECTOR(ffn_norm)},
    {"post_ffw_norm.weight", "post_feedforward_layernorm.weight", HN_DIM_ONE, HN_DIM_EMBD,
     HN_IF_POST_NORMS, VECTOR(post_ffn_norm)},
    {"ffn_gate.weight", "mlp.gate_proj.weight", HN_DIM_FF, HN_DIM_EMBD, .module = HN_MODULE_GATE},
    {"ffn_up.weight", "mlp.up_proj.weight", HN_DIM_FF, HN_DIM_EMBD, .module = HN_MODULE_UP},
    {"ffn_down.weight", "mlp.down_proj.weight", HN_DIM_EMBD, HN_DIM_FF, .module = HN_MODULE_DOWN},
};
const int HN_N_TENSOR_RULES = sizeof HN_TENSOR_RULES / sizeof *HN_TENSOR_RULES;

bool hn_tensor_rule_applies(const hn_tensor_rule *rule, const hn_arch *arch) {
    switch (rule->presence) {
    case HN_IF_QKV_BIAS:
        return arch->qkv_bias;
    case HN_IF_O_BIAS:
        return arch->o_bias;
    case HN_IF_QK_NORM:
        return arch->qk_norm;
    case HN_IF_POST_NORMS:
        return arch->post_norms;
    case HN_UNLESS_POST_NORMS:
        return !arch->post_norms;
    case HN_ALWAYS:
        break;
    }
    return true;
}

int64_t hn_dim_size(hn_dim dim, const hn_arch *arch) {
    switch (dim) {
    case HN_DIM_EMBD:
        return arch->n_embd;
    case HN_DIM_Q:
        return (int64_t)arch->n_head * arch->head_dim;
    case HN_DIM_KV:
        return (int64_t)arch->n_head_kv * arch->head_dim;
    case HN_DIM_FF:
        return arch->n_ff;
    case HN_DIM_HEAD:
        return arch->head_dim;
    case HN_DIM_ONE:
        break;
    }
    return 1;
}

bool hn_layer_name_split(const char *name, const char *prefix, int *layer, const char **rest) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) || name[n] < '0' || name[n] > '9')
        return false;
    char *end;
    long number = strtol(name + n, &end, 10);
    if (*end != '.' || number >= HN_ARCH_MAX_LAYERS)
        return false;
    *layer = (int)number;
    *rest = end + 1;
    return true;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const hn_tensor *const *)a)->name, (*(const hn_tensor *const *)b)->name);
}

static hn_status index_names(hn_checkpoint *ckpt, hn_error *err) {
    ckpt->by_name = HN_ARENA_NEW(&ckpt->arena, const hn_tensor *, ckpt->n_tensors + 1);
    if (!ckpt->by_name)
        return hn_fail_no_memory(err, ckpt->n_tensors * sizeof *ckpt->by_name);
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        ckpt->by_name[i] = &ckpt->tensors[i];
    qsort(ckpt->by_name, ckpt->n_tensors, sizeof *ckpt->by_name, compare_names);
    return HN_OK;
}

const hn_tensor *hn_checkpoint_find(const hn_checkpoint *ckpt, const char *name) {
    size_t low = 0, high = ckpt->n_tensors;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(ckpt->by_name[middle]->name, name);
        if (order == 0)
            return ckpt->by_name[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

bool hn_tensor_hf_name(const hn_arch *arch, const char *name, char *out, size_t size) {
    static const char *const top[][2] = {{"token_embd.weight", "model.embed_tokens.weight"},
                                         {"output_norm.weight", "model.norm.weight"},
                                         {"output.weight", "lm_head.weight"}};
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (!strcmp(name, top[i][0]))
            return snprintf(out, size, "%s", top[i][1]) < (int)size;
    int layer;
    const char *suffix;
    if (!hn_layer_name_split(name, "blk.", &layer, &suffix))
        return false;
    for (int i = 0; i < HN_N_TENSOR_RULES; i++)
        if (!strcmp(HN_TENSOR_RULES[i].gguf, suffix) &&
            hn_tensor_rule_applies(&HN_TENSOR_RULES[i], arch))
            return snprintf(out, size, "model.layers.%d.%s", layer, HN_TENSOR_RULES[i].hf) <
                   (int)size;
    return false;
}

void hn_tensor_values(const hn_tensor *tensor, float *out) {
    int64_t n = tensor->rows * tensor->cols;
    hn_blocks_dequantise(tensor->dtype, tensor->data, n, out);
    if (tensor->add != 0)
        for (int64_t i = 0; i < n; i++)
            out[i] += tensor->add;
}

static hn_status check_shape(const hn_checkpoint *ckpt, const char *name, int64_t rows,
                             int64_t cols, hn_error *err) {
    const hn_tensor *tensor = hn_checkpoint_find(ckpt, name);
    if (!tensor)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: the tensor %s (%lld x %lld) is missing; is the file complete?",
                       ckpt->path, name, (long long)rows, (long long)cols);
    if (tensor->rows != rows || tensor->cols != cols)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: the tensor %s is %lld x %lld, but the architecture's sizes make it "
                       "%lld x %lld",
                       ckpt->path, tensor->source_name, (long long)tensor->rows,
                       (long long)tensor->cols, (long long)rows, (long long)cols);
    return HN_OK;
}

static bool rule_known(const hn_arch *arch, const char *suffix) {
    for (int i = 0; i < HN_N_TENSOR_RULES; i++)
        if (hn_tensor_rule_applies(&HN_TENSOR_RULES[i], arch) &&
            !strcmp(HN_TENSOR_RULES[i].gguf, suffix))
            return true;
    return false;
}

/* A weight that nothing uses would make the answers silently wrong: it is refused by name. */
static hn_status check_known(const hn_checkpoint *ckpt, const hn_tensor *tensor, hn_error *err) {
    static const char *const top[] = {"token_embd.weight", "output_norm.weight", "output.weight",
                                      "rope_freqs.weight"};
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (!strcmp(tensor->name, top[i]))
            return HN_OK;
    int layer;
    const char *suffix;
    if (hn_layer_name_split(tensor->name, "blk.", &layer, &suffix) && layer < ckpt->arch.n_layer &&
        rule_known(&ckpt->arch, suffix))
        return HN_OK;
    return hn_fail(err, HN_UNSUPPORTED, "%s: hone knows no weight %s in a %s model of %d layers",
                   ckpt->path, tensor->source_name, ckpt->arch.family, ckpt->arch.n_layer);
}

static hn_status check_tensors(const hn_checkpoint *ckpt, hn_error *err) {
    const hn_arch *arch = &ckpt->arch;
    HN_TRY(check_shape(ckpt, "token_embd.weight", arch->n_vocab, arch->n_embd, err));
    HN_TRY(check_shape(ckpt, "output_norm.weight", 1, arch->n_embd, err));
    if (!arch->tied_head)
        HN_TRY(check_shape(ckpt, "output.weight", arch->n_vocab, arch->n_embd, err));
    for (int layer = 0; layer < arch->n_layer; layer++) {
        for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
            const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
            if (!hn_tensor_rule_applies(rule, arch))
                continue;
            char name[64];
            snprintf(name, sizeof name, "blk.%d.%s", layer, rule->gguf);
            HN_TRY(check_shape(ckpt, name, hn_dim_size(rule->rows, arch),
                               hn_dim_size(rule->cols, arch), err));
        }
    }
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        HN_TRY(check_known(ckpt, &ckpt->tensors[i], err));
        if (i && !strcmp(ckpt->by_name[i]->name, ckpt->by_name[i - 1]->name))
            return hn_fail(err, HN_BAD_INPUT, "%s: the tensor %s is there twice", ckpt->path,
                           ckpt->by_name[i]->source_name);
    }
    return HN_OK;
}

typedef struct control_token {
    int32_t id;
    size_t n_bytes;
} control_token;

static int compare_longest_first(const void *a, const void *b) {
    const control_token *x = a, *y = b;
    if (x->n_bytes != y->n_bytes)
        return x->n_bytes < y->n_bytes ? 1 : -1;
    return x->id < y->id ? -1 : 1;
}

static hn_status list_control_ids(hn_checkpoint *ckpt, hn_error *err) {
    uint32_t n = hn_tokenizer_size(ckpt->tokenizer), n_control = 0;
    for (uint32_t i = 0; i < n; i++)
        n_control += hn_tokenizer_is_control(ckpt->tokenizer, (int32_t)i);
    control_token *tokens = HN_ARENA_NEW(&ckpt->arena, control_token, n_control + 1);
    ckpt->control_ids = HN_ARENA_NEW(&ckpt->arena, int32_t, n_control + 1);
    if (!tokens || !ckpt->control_ids)
        return hn_fail_no_memory(err, n_control * sizeof *tokens);
    size_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!hn_tokenizer_is_control(ckpt->tokenizer, (int32_t)i))
            continue;
        const char *text;
        tokens[found].id = (int32_t)i;
        hn_token_bytes(ckpt->tokenizer, (int32_t)i, true, &text, &tokens[found].n_bytes);
        if (tokens[found].n_bytes == 0)
            continue;
        ckpt->control_first_byte[(uint8_t)*text] = true;
        found++;
    }
    qsort(tokens, found, sizeof *tokens, compare_longest_first);
    for (size_t i = 0; i < found; i++)
        ckpt->control_ids[i] = tokens[i].id;
    ckpt->n_control_ids = found;
    return HN_OK;
}

hn_status hn_checkpoint_fail_adapter(const char *path, hn_error *err) {
    return hn_fail(err, HN_BAD_INPUT,
                   "%s is a LoRA adapter, no model: name the model that it was made for, and this "
                   "as the adapter beside it",
                   path);
}

static hn_status read_template(hn_checkpoint *ckpt, hn_error *err) {
    HN_TRY(ckpt->is_gguf ? hn_checkpoint_template_gguf(ckpt, err)
                         : hn_checkpoint_template_hf(ckpt, err));
    if (ckpt->chat_template_source &&
        hn_template_new(&ckpt->chat_template, ckpt->chat_template_source,
                        strlen(ckpt->chat_template_source), err) != HN_OK)
        return hn_error_prefix(err, "%s: chat template", ckpt->path);
    return HN_OK;
}

hn_status hn_checkpoint_need_template(const hn_checkpoint *ckpt, hn_error *err) {
    return ckpt->chat_template
               ? HN_OK
               : hn_fail(err, HN_UNSUPPORTED,
                         "%s has no chat template: use an instruct model, or a plain prompt",
                         ckpt->path);
}

hn_status hn_checkpoint_need_context(const hn_checkpoint *ckpt, int n_context, hn_error *err) {
    const int trained = ckpt->arch.n_ctx_train;
    if (trained > 0 && n_context > trained)
        return hn_fail(err, HN_USAGE,
                       "%s was trained for %d tokens: a context of %d is too much for it (--ctx)",
                       ckpt->path, trained, n_context);
    return HN_OK;
}

static hn_status read_tokenizer(hn_checkpoint *ckpt, hn_error *err) {
    HN_TRY(ckpt->is_gguf ? hn_checkpoint_tokenizer_gguf(ckpt, err)
                         : hn_checkpoint_tokenizer_hf(ckpt, err));
    return list_control_ids(ckpt, err);
}

hn_status hn_checkpoint_open_tokenizer(hn_checkpoint *ckpt, hn_error *err) {
    HN_TRY(read_tokenizer(ckpt, err));
    if (hn_tokenizer_size(ckpt->tokenizer) > (uint32_t)ckpt->arch.n_vocab)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: the tokenizer has %u tokens but the embedding only %d rows", ckpt->path,
                       hn_tokenizer_size(ckpt->tokenizer), ckpt->arch.n_vocab);
    return HN_OK;
}

hn_status hn_checkpoint_open_tensors(hn_checkpoint *out, const char *path, hn_error *err) {
    hn_checkpoint ckpt = {.path = hn_strdup(path)};
    hn_status status = HN_OK;
    HN_GO(ckpt.path ? HN_OK : hn_fail_no_memory(err, strlen(path)));
    ckpt.is_gguf = !hn_path_is_dir(path);
    HN_GO(ckpt.is_gguf ? hn_checkpoint_open_gguf(&ckpt, path, err)
                       : hn_checkpoint_open_hf(&ckpt, path, err));
    HN_GO(index_names(&ckpt, err));
    HN_GO(check_tensors(&ckpt, err));
    HN_GO(read_template(&ckpt, err));
    *out = ckpt;
    ckpt = (hn_checkpoint){0};
done:
    hn_checkpoint_close(&ckpt);
    return status;
}

hn_status hn_checkpoint_open(hn_checkpoint *out, const char *path, hn_error *err) {
    hn_checkpoint ckpt;
    HN_TRY(hn_checkpoint_open_tensors(&ckpt, path, err));
    hn_status status = hn_checkpoint_open_tokenizer(&ckpt, err);
    if (status == HN_OK)
        *out = ckpt;
    else
        hn_checkpoint_close(&ckpt);
    return status;
}

/* The folder of a tokenizer.json that was named itself; any other path as it is. */
static char *vocab_path(const char *path) {
    const char *slash = strrchr(path, '/');
    bool named = !strcmp(slash ? slash + 1 : path, "tokenizer.json");
    return named ? hn_path_dir(path) : hn_strdup(path);
}

hn_status hn_checkpoint_open_vocab(hn_checkpoint *out, const char *path, hn_error *err) {
    hn_checkpoint ckpt = {.path = vocab_path(path)};
    hn_status status = HN_OK;
    HN_GO(ckpt.path ? HN_OK : hn_fail_no_memory(err, strlen(path)));
    ckpt.is_gguf = !hn_path_is_dir(ckpt.path);
    if (ckpt.is_gguf)
        HN_GO(hn_gguf_open(&ckpt.gguf, path, err));
    HN_GO(read_template(&ckpt, err));
    HN_GO(read_tokenizer(&ckpt, err));
    *out = ckpt;
    ckpt = (hn_checkpoint){0};
done:
    hn_checkpoint_close(&ckpt);
    return status;
}

void hn_checkpoint_close(hn_checkpoint *ckpt) {
    hn_template_free(ckpt->chat_template);
    hn_tokenizer_free(ckpt->tokenizer);
    hn_free(ckpt->chat_template_source);
    hn_free(ckpt->rope_factors);
    hn_arena_done(&ckpt->arena);
    json_decref(ckpt->config);
    hn_safetensors_close(&ckpt->st);
    hn_gguf_close(&ckpt->gguf);
    hn_free(ckpt->path);
    *ckpt = (hn_checkpoint){0};
}
