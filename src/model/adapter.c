/* Adapters bound to a model: rows of q and k in the model's own order, one entry a linear layer. */
#include "model/adapter.h"

#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

static _Atomic uint64_t last_id;

hn_status hn_adapter_new_empty(hn_adapter **out, const hn_arch *arch, hn_error *err) {
    hn_adapter *adapter = hn_calloc(1, sizeof *adapter);
    if (!adapter)
        return hn_fail_no_memory(err, sizeof *adapter);
    adapter->id = atomic_fetch_add(&last_id, 1) + 1;
    adapter->n_layer = arch->n_layer;
    adapter->layers = hn_calloc((size_t)arch->n_layer, sizeof *adapter->layers);
    if (!adapter->layers) {
        hn_adapter_free(adapter);
        return hn_fail_no_memory(err, (size_t)arch->n_layer * sizeof *adapter->layers);
    }
    *out = adapter;
    return HN_OK;
}

void hn_adapter_free(hn_adapter *adapter) {
    if (!adapter)
        return;
    for (int l = 0; adapter->layers && l < adapter->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            hn_lora *lora = &adapter->layers[l][m];
            hn_free_aligned(lora->a, (size_t)(lora->r * lora->in) * sizeof *lora->a);
            hn_free_aligned(lora->magnitude, (size_t)lora->out * sizeof(float));
            hn_free_aligned(lora->factors, (size_t)lora->out * sizeof(float));
            hn_free_aligned(lora->b, (size_t)(lora->r * lora->out) * sizeof *lora->b);
        }
    hn_free(adapter->layers);
    hn_free(adapter->name);
    hn_free(adapter->base_model);
    hn_free(adapter);
}

hn_status hn_lora_alloc(hn_lora *lora, int r, int64_t in, int64_t out, hn_error *err) {
    *lora = (hn_lora){.r = r, .in = in, .out = out};
    lora->a = hn_alloc_aligned((size_t)(r * in) * sizeof *lora->a);
    lora->b = hn_alloc_aligned((size_t)(r * out) * sizeof *lora->b);
    if (!lora->a || !lora->b)
        return hn_fail_no_memory(err, (size_t)(r * (in + out)) * sizeof(float));
    return HN_OK;
}

/* Row of the model's matrix that a row of the file's (Hugging Face's order) is. */
static int64_t model_row(const hn_arch *arch, hn_module module, int64_t row) {
    bool turned = module == HN_MODULE_Q || module == HN_MODULE_K;
    return turned && arch->rope_style == HN_ROPE_PAIRS ? hn_rope_pairs_row(row, arch->head_dim)
                                                       : row;
}

static bool find_module(const char *name, hn_module *module) {
    for (int m = 0; m < HN_MODULE_COUNT; m++)
        if (!strcmp(name, hn_module_name((hn_module)m))) {
            *module = (hn_module)m;
            return true;
        }
    return false;
}

static bool all_finite(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

static hn_status bind_magnitude(hn_lora *lora, const hn_lora_pair *pair, const hn_arch *arch,
                                hn_module module, hn_error *err) {
    lora->magnitude = hn_alloc_aligned((size_t)lora->out * sizeof(float));
    if (!lora->magnitude)
        return hn_fail_no_memory(err, (size_t)lora->out * sizeof(float));
    for (int64_t row = 0; row < lora->out; row++)
        lora->magnitude[model_row(arch, module, row)] = pair->magnitude[row];
    return HN_OK;
}

static hn_status bind_pair(hn_adapter *adapter, const hn_adapter_file *file,
                           const hn_lora_pair *pair, const hn_arch *arch, hn_error *err) {
    hn_module module;
    if (!find_module(pair->module, &module))
        return hn_fail(err, HN_UNSUPPORTED, "layer %d adapts %s, which hone can't", pair->layer,
                       pair->module);
    if (pair->layer < 0 || pair->layer >= arch->n_layer)
        return hn_fail(err, HN_BAD_INPUT,
                       "the adapter has a layer %d, but the model has %d: is it the right base?",
                       pair->layer, arch->n_layer);
    int64_t out, in;
    hn_arch_module_shape(arch, module, &out, &in);
    if (pair->in != in || pair->out != out)
        return hn_fail(err, HN_BAD_INPUT,
                       "layer %d %s adapts %lld x %lld, but the model's is %lld x %lld: is it the "
                       "right base?",
                       pair->layer, pair->module, (long long)pair->out, (long long)pair->in,
                       (long long)out, (long long)in);
    if (pair->r < 1 || pair->r > HN_ADAPTER_MAX_RANK)
        return hn_fail(err, HN_BAD_INPUT, "layer %d %s has rank %d, possible are 1 to %d",
                       pair->layer, pair->module, pair->r, HN_ADAPTER_MAX_RANK);
    if (!all_finite(pair->a, pair->r * in) || !all_finite(pair->b, pair->r * out) ||
        !isfinite(pair->alpha))
        return hn_fail(err, HN_BAD_INPUT, "layer %d %s holds values that aren't finite numbers",
                       pair->layer, pair->module);
    hn_lora *lora = &adapter->layers[pair->layer][module];
    if (lora->r)
        return hn_fail(err, HN_BAD_INPUT, "layer %d %s is there twice", pair->layer, pair->module);
    HN_TRY(hn_lora_alloc(lora, pair->r, in, out, err));
    lora->scale = pair->alpha / (file->use_rslora ? sqrtf((float)pair->r) : (float)pair->r);
    memcpy(lora->a, pair->a, (size_t)(pair->r * in) * sizeof *lora->a);
    for (int64_t row = 0; row < out; row++)
        memcpy(lora->b + model_row(arch, module, row) * pair->r, pair->b + row * pair->r,
               (size_t)pair->r * sizeof *lora->b);
    return pair->magnitude ? bind_magnitude(lora, pair, arch, module, err) : HN_OK;
}

static hn_status bind_file(hn_adapter *adapter, const hn_adapter_file *file, const char *path,
                           const hn_arch *arch, hn_error *err) {
    adapter->name = hn_strdup(path);
    adapter->base_model = file->base_model ? hn_strdup(file->base_model) : NULL;
    if (!adapter->name || (file->base_model && !adapter->base_model))
        return hn_fail_no_memory(err, strlen(path));
    adapter->r = file->r;
    adapter->alpha = file->alpha;
    adapter->rslora = file->use_rslora;
    adapter->dora = file->use_dora;
    adapter->dropout = file->dropout;
    for (size_t i = 0; i < file->n_pairs; i++)
        if (bind_pair(adapter, file, &file->pairs[i], arch, err) != HN_OK)
            return hn_error_prefix(err, "%s", path);
    return HN_OK;
}

hn_status hn_adapter_open(hn_adapter **out, const char *path, const hn_arch *arch, hn_error *err) {
    hn_adapter_file file;
    HN_TRY(hn_adapter_file_read(&file, path, arch->n_head, arch->n_head_kv, err));
    hn_adapter *adapter = NULL;
    hn_status status = hn_adapter_new_empty(&adapter, arch, err);
    if (status == HN_OK)
        status = bind_file(adapter, &file, path, arch, err);
    hn_adapter_file_done(&file);
    if (status == HN_OK)
        *out = adapter;
    else
        hn_adapter_free(adapter);
    return status;
}

/* The alpha that a scale was made of; the adapter's own where rounding alone tells them apart. */
static float alpha_of(const hn_adapter *adapter, const hn_lora *lora) {
    float r = (float)lora->r, alpha = lora->scale * (adapter->rslora ? sqrtf(r) : r);
    return fabsf(alpha - adapter->alpha) <= 1e-6f * fabsf(alpha) ? adapter->alpha : alpha;
}

static hn_status fill_pair(hn_lora_pair *pair, const hn_adapter *adapter, int layer,
                           hn_module module, const hn_arch *arch, hn_error *err) {
    const hn_lora *lora = &adapter->layers[layer][module];
    *pair = (hn_lora_pair){.layer = layer, .r = lora->r, .in = lora->in, .out = lora->out};
    pair->alpha = alpha_of(adapter, lora);
    strncpy(pair->module, hn_module_name(module), sizeof pair->module - 1);
    size_t a_bytes = (size_t)(lora->r * lora->in) * sizeof(float);
    size_t b_bytes = (size_t)(lora->r * lora->out) * sizeof(float);
    pair->a = hn_malloc(a_bytes);
    pair->b = hn_malloc(b_bytes);
    if (adapter->dora)
        pair->magnitude = hn_malloc((size_t)lora->out * sizeof(float));
    if (!pair->a || !pair->b || (adapter->dora && !pair->magnitude))
        return hn_fail_no_memory(err, a_bytes + b_bytes);
    memcpy(pair->a, lora->a, a_bytes);
    for (int64_t row = 0; adapter->dora && row < lora->out; row++)
        pair->magnitude[row] = lora->magnitude[model_row(arch, module, row)];
    for (int64_t row = 0; row < lora->out; row++)
        memcpy(pair->b + row * lora->r, lora->b + model_row(arch, module, row) * lora->r,
               (size_t)lora->r * sizeof(float));
    return HN_OK;
}

static bool ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), t = strlen(tail);
    return n >= t && !strcmp(text + n - t, tail);
}

static hn_status write_file(const hn_adapter_file *file, const hn_arch *arch, const char *path,
                            hn_error *err) {
    return ends_with(path, ".gguf") ? hn_adapter_file_write_gguf(file, path, arch->family,
                                                                 arch->n_head, arch->n_head_kv, err)
                                    : hn_adapter_file_write_peft(file, path, err);
}

hn_status hn_adapter_save(const hn_adapter *adapter, const hn_arch *arch, const char *path,
                          hn_error *err) {
    hn_adapter_file file = {.r = adapter->r,
                            .alpha = adapter->alpha,
                            .dropout = adapter->dropout,
                            .use_rslora = adapter->rslora,
                            .use_dora = adapter->dora,
                            .n_layer = adapter->n_layer};
    hn_status status = HN_OK;
    size_t most = (size_t)adapter->n_layer * HN_MODULE_COUNT;
    file.base_model = adapter->base_model ? hn_strdup(adapter->base_model) : NULL;
    file.pairs = hn_calloc(most, sizeof *file.pairs);
    if (!file.pairs || (adapter->base_model && !file.base_model))
        status = hn_fail_no_memory(err, most * sizeof *file.pairs);
    for (int l = 0; status == HN_OK && l < adapter->n_layer; l++)
        for (int m = 0; status == HN_OK && m < HN_MODULE_COUNT; m++)
            if (adapter->layers[l][m].r)
                status =
                    fill_pair(&file.pairs[file.n_pairs++], adapter, l, (hn_module)m, arch, err);
    if (status == HN_OK)
        status = write_file(&file, arch, path, err);
    hn_adapter_file_done(&file);
    return status;
}
