/* GGUF adapters as llama.cpp reads them: scale = alpha / r, one alpha for the whole file. For the
 * llama architecture rows of q and k lie in the order of rope on pairs. */
#include "base/mem.h"
#include "formats/adapter_parts.h"
#include "formats/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 128 };

static const hn_adapter_module *find_module(const char *gguf_name) {
    for (int i = 0; i < HN_ADAPTER_MODULES; i++)
        if (!strcmp(hn_adapter_modules[i].gguf, gguf_name))
            return &hn_adapter_modules[i];
    return NULL;
}

/* Heads by which a module's rows are permuted; 0 = they aren't. */
static int permuted_heads(const char *module, int n_head, int n_head_kv) {
    return !strcmp(module, "q_proj") ? n_head : !strcmp(module, "k_proj") ? n_head_kv : 0;
}

static hn_status check_heads(const hn_lora_pair *pair, int heads, const char *path, hn_error *err) {
    if (pair->out % (2 * (int64_t)heads) == 0)
        return HN_OK;
    return hn_fail(err, HN_BAD_INPUT, "%s: layer %d, %s: %lld rows can't be split into %d heads",
                   path, pair->layer, pair->module, (long long)pair->out, heads);
}

/* blk.N.MODULE.weight.lora_a */
static hn_status take_tensor(hn_adapter_file *file, const hn_gguf_tensor *tensor, const char *path,
                             hn_error *err) {
    char name[NAME_BYTES] = {0}, module_name[32], part;
    int layer = -1, used = 0;
    if (tensor->name.size < sizeof name)
        memcpy(name, tensor->name.data, tensor->name.size);
    const hn_adapter_module *module = NULL;
    if (sscanf(name, "blk.%6d.%31[a-z_].weight.lora_%c%n", &layer, module_name, &part, &used) ==
            3 &&
        !name[used] && (part == 'a' || part == 'b') && layer >= 0 && layer < HN_ADAPTER_MAX_LAYER)
        module = find_module(module_name);
    if (!module || tensor->n_dims > 2)
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: tensor '%.*s' adapts something that hone doesn't: it applies "
                       "attn_q/k/v/output and ffn_gate/up/down",
                       path, (int)(tensor->name.size < 200 ? tensor->name.size : 200),
                       tensor->name.data);
    hn_lora_pair *pair = hn_adapter_file_pair(file, layer, module->name);
    if (!pair)
        return hn_fail_no_memory(err, sizeof *pair);
    uint64_t rows = tensor->n_dims == 2 ? tensor->shape[0] : 1,
             cols = tensor->shape[tensor->n_dims - 1];
    return hn_adapter_pair_take(pair, part == 'a', tensor->dtype, rows, cols, tensor->data, path,
                                name, err);
}

static hn_status expect_string(const hn_gguf *gguf, const char *key, const char *wanted,
                               hn_error *err) {
    hn_gguf_string text = {0};
    HN_TRY(hn_gguf_get_string(gguf, key, &text, err));
    if (text.size != strlen(wanted) || memcmp(text.data, wanted, text.size))
        return hn_fail(err, HN_BAD_INPUT, "%s is no LoRA adapter: its %s isn't '%s'", gguf->path,
                       key, wanted);
    return HN_OK;
}

static hn_status unpermute(hn_adapter_file *file, const char *path, int n_head, int n_head_kv,
                           hn_error *err) {
    for (size_t i = 0; i < file->n_pairs; i++) {
        hn_lora_pair *pair = &file->pairs[i];
        int heads = permuted_heads(pair->module, n_head, n_head_kv);
        if (!heads || !pair->b)
            continue;
        HN_TRY(check_heads(pair, heads, path, err));
        float *rows = hn_reallocarray(NULL, (size_t)(pair->out * pair->r), sizeof *rows);
        if (!rows)
            return hn_fail_no_memory(err, (size_t)(pair->out * pair->r) * sizeof *rows);
        hn_rope_rows_to_halves(pair->b, rows, pair->out, pair->r, heads);
        hn_free(pair->b);
        pair->b = rows;
    }
    return HN_OK;
}

static hn_status read_opened(hn_adapter_file *file, const hn_gguf *gguf, int n_head, int n_head_kv,
                             hn_error *err) {
    double alpha = 0;
    hn_gguf_string base = {0}, architecture = {0};
    HN_TRY(expect_string(gguf, "general.type", "adapter", err));
    HN_TRY(expect_string(gguf, "adapter.type", "lora", err));
    HN_TRY(hn_gguf_get_f64(gguf, "adapter.lora.alpha", &alpha, err));
    HN_TRY(hn_gguf_get_string(gguf, "general.architecture", &architecture, err));
    HN_TRY(hn_gguf_get_string(gguf, "general.base_model.0.repo_url", &base, err));
    if (base.size && !(file->base_model = hn_strndup(base.data, base.size)))
        return hn_fail_no_memory(err, base.size);
    for (uint64_t i = 0; i < gguf->n_tensors; i++)
        HN_TRY(take_tensor(file, &gguf->tensors[i], gguf->path, err));
    for (size_t i = 0; i < file->n_pairs; i++) {
        hn_lora_pair *pair = &file->pairs[i];
        pair->alpha = alpha != 0 ? (float)alpha : (float)pair->r; /* llama.cpp: no alpha, scale 1 */
    }
    if (file->n_pairs) {
        file->r = file->pairs[0].r;
        file->alpha = file->pairs[0].alpha;
    }
    if (architecture.size == 5 && !memcmp(architecture.data, "llama", 5))
        HN_TRY(unpermute(file, gguf->path, n_head, n_head_kv, err));
    return HN_OK;
}

hn_status hn_adapter_file_read_gguf(hn_adapter_file *file, const char *path, int n_head,
                                    int n_head_kv, hn_error *err) {
    hn_gguf gguf;
    HN_TRY(hn_gguf_open(&gguf, path, err));
    hn_status status = read_opened(file, &gguf, n_head, n_head_kv, err);
    hn_gguf_close(&gguf);
    return status;
}

/* The alpha that makes alpha / r the pair's scale. */
static float written_alpha(const hn_adapter_file *file, const hn_lora_pair *pair) {
    return file->use_rslora ? pair->alpha * sqrtf((float)pair->r) : pair->alpha;
}

static hn_status declare_pair(hn_gguf_writer *w, const hn_lora_pair *pair, const char *path,
                              hn_error *err) {
    int m = 0;
    while (m < HN_ADAPTER_MODULES && strcmp(hn_adapter_modules[m].name, pair->module))
        m++;
    if (m == HN_ADAPTER_MODULES)
        return hn_fail(err, HN_UNSUPPORTED, "%s: a GGUF adapter has no name for '%s'", path,
                       pair->module);
    char name[NAME_BYTES];
    const uint64_t a[2] = {(uint64_t)pair->r, (uint64_t)pair->in},
                   b[2] = {(uint64_t)pair->out, (uint64_t)pair->r};
    snprintf(name, sizeof name, "blk.%d.%s.weight.lora_a", pair->layer, hn_adapter_modules[m].gguf);
    HN_TRY(hn_gguf_writer_add_tensor(w, name, HN_F32, 2, a, err));
    name[strlen(name) - 1] = 'b';
    return hn_gguf_writer_add_tensor(w, name, HN_F32, 2, b, err);
}

static hn_status write_pair(hn_gguf_writer *w, const hn_lora_pair *pair, int heads,
                            const char *path, hn_error *err) {
    size_t b_count = (size_t)(pair->out * pair->r);
    HN_TRY(hn_gguf_writer_data(w, pair->a, (uint64_t)(pair->r * pair->in) * sizeof(float), err));
    if (!heads)
        return hn_gguf_writer_data(w, pair->b, b_count * sizeof(float), err);
    HN_TRY(check_heads(pair, heads, path, err));
    float *rows = hn_reallocarray(NULL, b_count, sizeof *rows);
    if (!rows)
        return hn_fail_no_memory(err, b_count * sizeof *rows);
    hn_rope_rows_to_pairs(pair->b, rows, pair->out, pair->r, heads);
    hn_status status = hn_gguf_writer_data(w, rows, b_count * sizeof *rows, err);
    hn_free(rows);
    return status;
}

static hn_status declare(hn_gguf_writer *w, const hn_adapter_file *file, const char *architecture,
                         const char *path, hn_error *err) {
    float alpha = written_alpha(file, &file->pairs[0]);
    for (size_t i = 1; i < file->n_pairs; i++)
        if (written_alpha(file, &file->pairs[i]) != alpha)
            return hn_fail(err, HN_UNSUPPORTED,
                           "%s: a GGUF adapter has one alpha, but layer %d, %s needs another "
                           "(alpha_pattern, or rsLoRA with several ranks); write a PEFT folder",
                           path, file->pairs[i].layer, file->pairs[i].module);
    HN_TRY(hn_gguf_writer_set_string(w, "general.architecture", architecture, strlen(architecture),
                                     err));
    HN_TRY(hn_gguf_writer_set_string(w, "general.type", "adapter", 7, err));
    HN_TRY(hn_gguf_writer_set_string(w, "adapter.type", "lora", 4, err));
    HN_TRY(hn_gguf_writer_set_f32(w, "adapter.lora.alpha", alpha, err));
    if (file->base_model)
        HN_TRY(hn_gguf_writer_set_string(w, "general.base_model.0.repo_url", file->base_model,
                                         strlen(file->base_model), err));
    for (size_t i = 0; i < file->n_pairs; i++)
        HN_TRY(declare_pair(w, &file->pairs[i], path, err));
    return HN_OK;
}

hn_status hn_adapter_file_write_gguf(const hn_adapter_file *file, const char *path,
                                     const char *architecture, int n_head, int n_head_kv,
                                     hn_error *err) {
    hn_gguf_writer *w = NULL;
    hn_status status = HN_OK;
    bool permuted = !strcmp(architecture, "llama");
    if (file->n_pairs == 0)
        return hn_fail(err, HN_USAGE, "%s: the adapter is empty", path);
    if (file->use_dora)
        return hn_fail(err, HN_UNSUPPORTED,
                       "%s: a GGUF adapter can't hold DoRA's magnitudes; write a PEFT folder, or "
                       "merge the adapter into its base",
                       path);
    HN_TRY(hn_gguf_writer_new(&w, path, err));
    HN_GO(declare(w, file, architecture, path, err));
    HN_GO(hn_gguf_writer_begin(w, err));
    for (size_t i = 0; i < file->n_pairs; i++) {
        const hn_lora_pair *pair = &file->pairs[i];
        int heads = permuted ? permuted_heads(pair->module, n_head, n_head_kv) : 0;
        HN_GO(write_pair(w, pair, heads, path, err));
    }
    status = hn_gguf_writer_commit(w, err);
    w = NULL;
done:
    hn_gguf_writer_abort(w);
    return status;
}
