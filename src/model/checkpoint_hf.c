/* Hugging Face folders as checkpoints: config.json, safetensors under GGUF's names, tokenizer.json
 * and the chat template from wherever this version of transformers put it. */
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/checkpoint_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_TOKENIZER_BYTES = 256 << 20, /* gemma's is 33 MB */
};

/* *text stays NULL when there is no such file. */
static hn_status read_optional(const char *dir, const char *name, size_t max, char **text,
                               size_t *size, hn_error *err) {
    char *path = hn_path_join(dir, name);
    if (!path)
        return hn_fail_no_memory(err, strlen(dir));
    hn_status status = hn_path_exists(path) ? hn_file_read(path, max, text, size, err) : HN_OK;
    hn_free(path);
    return status;
}

static hn_status fail_no_config(const char *dir, hn_error *err) {
    char *adapter = hn_path_join(dir, "adapter_config.json");
    if (!adapter)
        return hn_fail_no_memory(err, strlen(dir));
    bool is_adapter = hn_path_exists(adapter);
    hn_free(adapter);
    if (is_adapter)
        return hn_checkpoint_fail_adapter(dir, err);
    return hn_fail(err, HN_BAD_INPUT,
                   "%s has no config.json: a model is a .gguf file or a folder with config.json, "
                   "*.safetensors and tokenizer.json",
                   dir);
}

static hn_status read_config(hn_checkpoint *ckpt, const char *dir, bool *add_one, hn_error *err) {
    char *path = hn_path_join(dir, "config.json");
    if (!path)
        return hn_fail_no_memory(err, strlen(dir));
    hn_status status = hn_path_is_missing(path)
                           ? fail_no_config(dir, err)
                           : hn_json_read(path, MAX_CONFIG_BYTES, &ckpt->config, err);
    if (status == HN_OK)
        status = hn_arch_from_config(&ckpt->arch, ckpt->config, path, add_one, err);
    hn_free(path);
    return status;
}

/* The part of a name after whatever wraps the text model, or NULL for a tensor of another part. */
static const char *text_model_name(const char *name) {
    static const char *const others[] = {"vision_tower.", "model.vision_tower.",
                                         "multi_modal_projector.", "model.multi_modal_projector."};
    static const char *const wraps[] = {"language_model.model.", "model.language_model.", "model.",
                                        "language_model."};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strncmp(name, others[i], strlen(others[i])))
            return NULL;
    for (size_t i = 0; i < sizeof wraps / sizeof *wraps; i++)
        if (!strncmp(name, wraps[i], strlen(wraps[i])))
            return name + strlen(wraps[i]);
    return name;
}

/* GGUF's name for `name` (without "model."), in the arena; the name itself when it's unknown, so
 * that the check of all tensors refuses it. NULL = no memory. */
static char *gguf_name(hn_checkpoint *ckpt, const char *name) {
    static const char *const top[][2] = {{"embed_tokens.weight", "token_embd.weight"},
                                         {"norm.weight", "output_norm.weight"},
                                         {"lm_head.weight", "output.weight"}};
    const char *known = name;
    char buffer[96];
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        if (!strcmp(name, top[i][0]))
            known = top[i][1];
    int layer;
    const char *suffix;
    if (hn_layer_name_split(name, "layers.", &layer, &suffix)) {
        for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
            const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
            if (strcmp(rule->hf, suffix) || !hn_tensor_rule_applies(rule, &ckpt->arch))
                continue;
            snprintf(buffer, sizeof buffer, "blk.%d.%s", layer, rule->gguf);
            known = buffer;
        }
    }
    return hn_arena_strndup(&ckpt->arena, known, strlen(known));
}

static bool is_norm(const char *gguf) {
    size_t n = strlen(gguf), tail = strlen("norm.weight");
    return n >= tail && !strcmp(gguf + n - tail, "norm.weight");
}

/* Buffers that old checkpoints carry although they follow from config.json. */
static bool is_derived(const char *name) {
    return strstr(name, "rotary_emb.inv_freq") != NULL;
}

static hn_status list_tensors(hn_checkpoint *ckpt, bool norm_add_one, hn_error *err) {
    const hn_safetensors *st = &ckpt->st;
    ckpt->tensors = HN_ARENA_NEW(&ckpt->arena, hn_tensor, st->n_tensors + 1);
    if (!ckpt->tensors)
        return hn_fail_no_memory(err, st->n_tensors * sizeof *ckpt->tensors);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const hn_st_tensor *from = &st->tensors[i];
        const char *short_name = text_model_name(from->name);
        if (!short_name || is_derived(from->name))
            continue;
        if (ckpt->arch.tied_head && !strcmp(short_name, "lm_head.weight"))
            continue; /* as transformers: a tied head is the embedding whatever the file holds */
        char *name = gguf_name(ckpt, short_name);
        if (!name)
            return hn_fail_no_memory(err, strlen(short_name));
        if (from->n_dims > 2)
            return hn_fail(err, HN_UNSUPPORTED, "%s: the tensor %s has %d dimensions", ckpt->path,
                           from->name, from->n_dims);
        bool vector = from->n_dims < 2;
        ckpt->tensors[ckpt->n_tensors++] = (hn_tensor){
            .name = name,
            .source_name = from->name,
            .dtype = from->dtype,
            .rows = vector ? 1 : (int64_t)from->shape[0],
            .cols = (int64_t)from->shape[vector ? 0 : 1],
            .data = from->data,
            .size_bytes = from->size_bytes,
            .add = norm_add_one && is_norm(name) ? 1.0f : 0.0f,
        };
    }
    return HN_OK;
}

/* "chat_template" of tokenizer_config.json: a text, or a list of {name, template} of which the one
 * called "default" counts. */
static const char *template_of_config(const json_t *config) {
    const json_t *value = json_object_get(config, "chat_template");
    if (!json_is_array(value))
        return json_string_value(value);
    size_t i;
    const json_t *item;
    json_array_foreach (value, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        if (name && !strcmp(name, "default"))
            return json_string_value(json_object_get(item, "template"));
    }
    return NULL;
}

hn_status hn_checkpoint_template_hf(hn_checkpoint *ckpt, hn_error *err) {
    const char *dir = ckpt->path;
    char *text = NULL;
    json_t *config = NULL;
    size_t size;
    HN_TRY(read_optional(dir, "chat_template.jinja", MAX_CONFIG_BYTES, &ckpt->chat_template_source,
                         &size, err));
    if (ckpt->chat_template_source)
        return HN_OK;
    HN_TRY(read_optional(dir, "tokenizer_config.json", MAX_CONFIG_BYTES, &text, &size, err));
    hn_status status =
        text ? hn_json_parse_wide(text, size, "tokenizer_config.json", &config, err) : HN_OK;
    hn_free(text);
    HN_TRY(status);
    const char *source = template_of_config(config);
    if (source) {
        ckpt->chat_template_source = hn_strdup(source);
        if (!ckpt->chat_template_source)
            status = hn_fail_no_memory(err, strlen(source));
    }
    json_decref(config);
    return status;
}

hn_status hn_checkpoint_tokenizer_hf(hn_checkpoint *ckpt, hn_error *err) {
    const char *dir = ckpt->path;
    char *text = NULL, *config = NULL;
    size_t size = 0, config_size = 0;
    hn_status status = HN_OK;
    HN_GO(read_optional(dir, "tokenizer.json", MAX_TOKENIZER_BYTES, &text, &size, err));
    HN_GO(
        read_optional(dir, "tokenizer_config.json", MAX_CONFIG_BYTES, &config, &config_size, err));
    if (text)
        status =
            hn_tokenizer_from_json(&ckpt->tokenizer, text, size, config, config_size, dir, err);
    else
        status = hn_fail(err, HN_BAD_INPUT, "%s has no tokenizer.json", dir);
done:
    hn_free(text);
    hn_free(config);
    return status;
}

hn_status hn_checkpoint_open_hf(hn_checkpoint *ckpt, const char *dir, hn_error *err) {
    bool norm_add_one;
    HN_TRY(read_config(ckpt, dir, &norm_add_one, err));
    HN_TRY(hn_safetensors_open(&ckpt->st, dir, err));
    return list_tensors(ckpt, norm_add_one, err);
}
