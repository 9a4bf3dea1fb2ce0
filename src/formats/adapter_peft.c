/* PEFT folders: adapter_config.json and adapter_model.safetensors, names and keys as PEFT 0.21
 * writes them. What hone can't apply is refused by the key that asks for it. */
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "formats/adapter_parts.h"
#include "formats/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MAX_CONFIG_BYTES = 4 << 20, MAX_RANK = 1 << 16 };
static const char CONFIG_FILE[] = "adapter_config.json",
                  WEIGHTS_FILE[] = "adapter_model.safetensors";

/* Keys whose value changes what the adapter computes in a way that hone doesn't know. Each must be
 * absent, null, false, or empty. */
static const char *const UNSUPPORTED_KEYS[] = {
    "use_qalora",
    "modules_to_save",
    "fan_in_fan_out",
    "megatron_config",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "arrow_config",
    "alora_invocation_tokens",
    "use_bdlora",
    "kasa_config",
    "monteclora_config",
};

static bool is_unset(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static hn_status check_config(const json_t *config, const char *path, hn_error *err) {
    const char *type = "", *bias = "none";
    if (!json_is_object(config))
        return hn_fail(err, HN_BAD_INPUT, "%s: must be a JSON object", path);
    HN_TRY(hn_json_get_string(config, "peft_type", path, &type, err));
    if (strcmp(type, "LORA"))
        return hn_fail(err, HN_UNSUPPORTED, "%s: peft_type is '%s'; hone applies LORA", path, type);
    HN_TRY(hn_json_get_string(config, "bias", path, &bias, err));
    if (strcmp(bias, "none"))
        return hn_fail(err, HN_UNSUPPORTED, "%s: bias '%s' isn't supported, only 'none'", path,
                       bias);
    for (size_t i = 0; i < sizeof UNSUPPORTED_KEYS / sizeof *UNSUPPORTED_KEYS; i++)
        if (!is_unset(json_object_get(config, UNSUPPORTED_KEYS[i])))
            return hn_fail(err, HN_UNSUPPORTED, "%s: '%s' isn't supported", path,
                           UNSUPPORTED_KEYS[i]);
    /* These take their starting weights out of the base, which then is no longer the base. */
    static const char *const BASE_CHANGING[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    const char *init = json_string_value(json_object_get(config, "init_lora_weights"));
    for (size_t i = 0; init && i < sizeof BASE_CHANGING / sizeof *BASE_CHANGING; i++)
        if (!strncmp(init, BASE_CHANGING[i], strlen(BASE_CHANGING[i])))
            return hn_fail(err, HN_UNSUPPORTED,
                           "%s: init_lora_weights '%s' changes the base model; convert the adapter "
                           "to plain LoRA with PEFT first",
                           path, init);
    return HN_OK;
}

static hn_status read_config(hn_adapter_file *file, const json_t *config, const char *path,
                             hn_error *err) {
    long long r = 8; /* PEFT's defaults */
    double alpha = 8, dropout = 0;
    int rslora = 0, dora = 0;
    HN_TRY(check_config(config, path, err));
    HN_TRY(hn_json_get_int(config, "r", path, &r, err));
    HN_TRY(hn_json_get_real(config, "lora_alpha", path, &alpha, err));
    HN_TRY(hn_json_get_real(config, "lora_dropout", path, &dropout, err));
    HN_TRY(hn_json_get_bool(config, "use_rslora", path, &rslora, err));
    HN_TRY(hn_json_get_bool(config, "use_dora", path, &dora, err));
    if (r < 1 || r > MAX_RANK || !isfinite(alpha) || !(dropout >= 0 && dropout < 1))
        return hn_fail(err, HN_BAD_INPUT, "%s: r, lora_alpha or lora_dropout makes no sense", path);
    const char *base = json_string_value(json_object_get(config, "base_model_name_or_path"));
    if (base && !(file->base_model = hn_strdup(base)))
        return hn_fail_no_memory(err, strlen(base));
    file->r = (int)r;
    file->alpha = (float)alpha;
    file->dropout = (float)dropout;
    file->use_rslora = rslora != 0;
    file->use_dora = dora != 0;
    return HN_OK;
}

/* *value stays when no key fits. */
static hn_status match_pattern(const json_t *patterns, const char *module, const char *path,
                               double *value, hn_error *err) {
    const char *key;
    json_t *item;
    json_object_foreach ((json_t *)(uintptr_t)patterns, key, item) {
        bool fits;
        HN_TRY(hn_adapter_pattern_fits(key, module, path, &fits, err));
        if (!fits)
            continue;
        if (!json_is_number(item))
            return hn_fail(err, HN_BAD_INPUT, "%s: pattern '%.200s' must give a number", path, key);
        *value = json_number_value(item);
        return HN_OK;
    }
    return HN_OK;
}

static hn_status apply_patterns(hn_adapter_file *file, const json_t *config, const char *path,
                                hn_error *err) {
    for (size_t i = 0; i < file->n_pairs; i++) {
        hn_lora_pair *pair = &file->pairs[i];
        char module[HN_ADAPTER_PATH_BYTES] = "";
        double alpha = file->alpha, r = file->r;
        hn_adapter_module_path(pair->layer, pair->module, module);
        HN_TRY(match_pattern(json_object_get(config, "alpha_pattern"), module, path, &alpha, err));
        HN_TRY(match_pattern(json_object_get(config, "rank_pattern"), module, path, &r, err));
        if (r != pair->r)
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: '%s' has rank %d in the weights but %g in the configuration", path,
                           module, pair->r, r);
        pair->alpha = (float)alpha;
    }
    return HN_OK;
}

typedef enum part { PART_A, PART_B, PART_MAGNITUDE, PARTS } part;
static const char *const PART_NAMES[PARTS] = {"A.weight", "B.weight", "magnitude_vector"};

/* base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight; HN_ADAPTER_MODULES when the name
 * is another, otherwise the module. */
static int parse_name(const char *name, int *layer, part *found) {
    const char *rest = strstr(name, "layers.");
    char parent[16], module[32], both[sizeof parent + sizeof module];
    int used = 0, p = 0;
    if (!rest || strncmp(name, "base_model.model.", 17) ||
        sscanf(rest, "layers.%6d.%15[a-z_].%31[a-z_].lora_%n", layer, parent, module, &used) != 3 ||
        !used || *layer < 0 || *layer >= HN_ADAPTER_MAX_LAYER)
        return HN_ADAPTER_MODULES;
    while (p < PARTS && strcmp(rest + used, PART_NAMES[p]))
        p++;
    if (p == PARTS)
        return HN_ADAPTER_MODULES;
    *found = (part)p;
    snprintf(both, sizeof both, "%s.%s", parent, module);
    int m = 0;
    while (m < HN_ADAPTER_MODULES && strcmp(hn_adapter_modules[m].path, both))
        m++;
    return m;
}

static hn_status take_tensor(hn_adapter_file *file, const hn_st_tensor *tensor, const char *path,
                             hn_error *err) {
    int layer = -1;
    part kind = PART_A;
    int m = parse_name(tensor->name, &layer, &kind);
    if (m == HN_ADAPTER_MODULES || tensor->n_dims != (kind == PART_MAGNITUDE ? 1 : 2) ||
        tensor->shape[0] == 0)
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: tensor '%.200s' is nothing that hone applies: it knows lora_A, lora_B "
                       "and lora_magnitude_vector of q, k, v, o, gate, up and down_proj",
                       path, tensor->name);
    hn_lora_pair *pair = hn_adapter_file_pair(file, layer, hn_adapter_modules[m].name);
    if (!pair)
        return hn_fail_no_memory(err, sizeof *pair);
    if (kind == PART_MAGNITUDE)
        return hn_adapter_pair_take_magnitude(pair, tensor->dtype, tensor->shape[0], tensor->data,
                                              path, tensor->name, err);
    return hn_adapter_pair_take(pair, kind == PART_A, tensor->dtype, tensor->shape[0],
                                tensor->shape[1], tensor->data, path, tensor->name, err);
}

hn_status hn_adapter_file_read_peft(hn_adapter_file *file, const char *dir, hn_error *err) {
    hn_safetensors st = {0};
    json_t *config = NULL;
    char *config_path = hn_path_join(dir, CONFIG_FILE), *path = hn_path_join(dir, WEIGHTS_FILE);
    hn_status status = HN_OK;
    if (!config_path || !path) {
        status = hn_fail_no_memory(err, strlen(dir));
        goto done;
    }
    if (hn_path_is_missing(config_path)) {
        status = hn_fail(err, HN_IO,
                         "%s is no LoRA adapter: neither a folder with %s, as hone sft and PEFT "
                         "write it, nor a .gguf file",
                         dir, CONFIG_FILE);
        goto done;
    }
    HN_GO(hn_json_read(config_path, MAX_CONFIG_BYTES, &config, err));
    HN_GO(read_config(file, config, config_path, err));
    HN_GO(hn_safetensors_open(&st, path, err));
    for (size_t i = 0; i < st.n_tensors; i++)
        HN_GO(take_tensor(file, &st.tensors[i], path, err));
    HN_GO(apply_patterns(file, config, config_path, err));
done:
    hn_safetensors_close(&st);
    json_decref(config);
    hn_free(config_path);
    hn_free(path);
    return status;
}

/* Modules in use, and what differs from the file's r and alpha. */
static bool describe_pairs(const hn_adapter_file *file, json_t *modules, json_t *ranks,
                           json_t *alphas) {
    bool used[HN_ADAPTER_MODULES] = {false}, ok = true;
    for (size_t i = 0; i < file->n_pairs; i++) {
        const hn_lora_pair *pair = &file->pairs[i];
        char module[HN_ADAPTER_PATH_BYTES] = "";
        hn_adapter_module_path(pair->layer, pair->module, module);
        for (int m = 0; m < HN_ADAPTER_MODULES; m++)
            used[m] = used[m] || !strcmp(hn_adapter_modules[m].name, pair->module);
        if (pair->r != file->r)
            ok = !json_object_set_new(ranks, module, json_integer(pair->r)) && ok;
        if (pair->alpha != file->alpha)
            ok = !json_object_set_new(alphas, module, json_real((double)pair->alpha)) && ok;
    }
    for (int m = 0; m < HN_ADAPTER_MODULES; m++)
        if (used[m])
            ok = !json_array_append_new(modules, json_string(hn_adapter_modules[m].name)) && ok;
    return ok;
}

/* The adapted layers, or null when they are all of the model's. */
static json_t *describe_layers(const hn_adapter_file *file) {
    json_t *layers = json_array();
    int last = -1;
    for (size_t i = 0; layers && i < file->n_pairs; i++) {
        if (file->pairs[i].layer != last)
            json_array_append_new(layers, json_integer(file->pairs[i].layer));
        last = file->pairs[i].layer;
    }
    if (!layers || (file->n_layer && json_array_size(layers) != (size_t)file->n_layer))
        return layers;
    json_decref(layers);
    return json_null();
}

static json_t *number(float value) {
    return value == truncf(value) && fabsf(value) < 1e9f ? json_integer((json_int_t)value)
                                                         : json_real((double)value);
}

static hn_status write_config(const hn_adapter_file *file, const char *path, hn_error *err) {
    json_t *modules = json_array(), *ranks = json_object(), *alphas = json_object();
    bool ok = describe_pairs(file, modules, ranks, alphas);
    json_t *config = json_pack(
        "{s:n, s:s?, s:s, s:b, s:b, s:b, s:n, s:o, s:o, s:f, s:n, s:s, s:i, s:o, s:n, s:o, s:s, "
        "s:b, s:b}",
        "auto_mapping", "base_model_name_or_path", file->base_model, "bias", "none",
        "fan_in_fan_out", 0, "inference_mode", 1, "init_lora_weights", 1, "layers_pattern",
        "layers_to_transform", describe_layers(file), "lora_alpha", number(file->alpha),
        "lora_dropout", (double)file->dropout, "modules_to_save", "peft_type", "LORA", "r", file->r,
        "rank_pattern", ranks, "revision", "target_modules", modules, "task_type", "CAUSAL_LM",
        "use_dora", (int)file->use_dora, "use_rslora", (int)file->use_rslora);
    hn_status status =
        ok && config && !json_object_set_new(config, "alpha_pattern", alphas)
            ? hn_json_write(path, config, err)
            : hn_fail(err, HN_NO_MEMORY, "%s: out of memory, or a name that is no UTF-8", path);
    json_decref(config);
    return status;
}

static hn_status declare_pair(hn_st_writer *w, const hn_lora_pair *pair, hn_error *err) {
    char module[HN_ADAPTER_PATH_BYTES] = "", name[HN_ADAPTER_PATH_BYTES + 64];
    const uint64_t a[2] = {(uint64_t)pair->r, (uint64_t)pair->in},
                   b[2] = {(uint64_t)pair->out, (uint64_t)pair->r};
    hn_adapter_module_path(pair->layer, pair->module, module);
    snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", module);
    HN_TRY(hn_st_writer_add(w, name, HN_F32, 2, a, err));
    snprintf(name, sizeof name, "base_model.model.%s.lora_B.weight", module);
    HN_TRY(hn_st_writer_add(w, name, HN_F32, 2, b, err));
    if (!pair->magnitude)
        return HN_OK;
    snprintf(name, sizeof name, "base_model.model.%s.lora_magnitude_vector", module);
    return hn_st_writer_add(w, name, HN_F32, 1, b, err);
}

static hn_status write_weights(const hn_adapter_file *file, const char *path, hn_error *err) {
    hn_st_writer *w = NULL;
    hn_status status = HN_OK;
    HN_TRY(hn_st_writer_new(&w, path, 0, err));
    HN_GO(hn_st_writer_set_metadata(w, "format", "pt", err));
    for (size_t i = 0; i < file->n_pairs; i++)
        HN_GO(declare_pair(w, &file->pairs[i], err));
    HN_GO(hn_st_writer_begin(w, err));
    for (size_t i = 0; i < file->n_pairs; i++) {
        const hn_lora_pair *pair = &file->pairs[i];
        uint64_t a_bytes = (uint64_t)(pair->r * pair->in) * sizeof(float),
                 b_bytes = (uint64_t)(pair->out * pair->r) * sizeof(float);
        HN_GO(hn_st_writer_data(w, pair->a, a_bytes, err));
        HN_GO(hn_st_writer_data(w, pair->b, b_bytes, err));
        if (pair->magnitude)
            HN_GO(hn_st_writer_data(w, pair->magnitude, (uint64_t)pair->out * sizeof(float), err));
    }
    status = hn_st_writer_commit(w, err);
    w = NULL;
done:
    hn_st_writer_abort(w);
    return status;
}

hn_status hn_adapter_file_write_peft(const hn_adapter_file *file, const char *dir, hn_error *err) {
    char *config_path = hn_path_join(dir, CONFIG_FILE), *path = hn_path_join(dir, WEIGHTS_FILE);
    hn_status status = HN_OK;
    if (!config_path || !path) {
        status = hn_fail_no_memory(err, strlen(dir));
        goto done;
    }
    HN_GO(hn_dir_make(dir, err));
    HN_GO(write_weights(file, path, err));
    HN_GO(write_config(file, config_path, err));
done:
    hn_free(config_path);
    hn_free(path);
    return status;
}
