/* LoRA adapters in memory: collecting pairs of matrices and reordering rows for rope; the two file
 * formats are in adapter_peft.c and adapter_gguf.c. */
#include "base/mem.h"
#include "formats/adapter_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const hn_adapter_module hn_adapter_modules[HN_ADAPTER_MODULES] = {
    {"q_proj", "self_attn.q_proj", "attn_q"},   {"k_proj", "self_attn.k_proj", "attn_k"},
    {"v_proj", "self_attn.v_proj", "attn_v"},   {"o_proj", "self_attn.o_proj", "attn_output"},
    {"gate_proj", "mlp.gate_proj", "ffn_gate"}, {"up_proj", "mlp.up_proj", "ffn_up"},
    {"down_proj", "mlp.down_proj", "ffn_down"},
};

hn_lora_pair *hn_adapter_file_pair(hn_adapter_file *file, int layer, const char *module) {
    for (size_t i = 0; i < file->n_pairs; i++)
        if (file->pairs[i].layer == layer && !strcmp(file->pairs[i].module, module))
            return &file->pairs[i];
    hn_lora_pair *grown =
        hn_reallocarray(file->pairs, file->n_pairs + 1, sizeof *grown); /* a few hundred at most */
    if (!grown)
        return NULL;
    file->pairs = grown;
    hn_lora_pair *pair = &grown[file->n_pairs++];
    *pair = (hn_lora_pair){.layer = layer};
    strncpy(pair->module, module, sizeof pair->module - 1);
    return pair;
}

static float element(hn_dtype dtype, const uint8_t *data, size_t i) {
    if (dtype == HN_F32) {
        float value;
        memcpy(&value, data + i * sizeof value, sizeof value);
        return value;
    }
    uint16_t half;
    memcpy(&half, data + i * sizeof half, sizeof half);
    return dtype == HN_F16 ? hn_f16_to_f32(half) : hn_bf16_to_f32(half);
}

/* `count` values as f32, all finite; freed by the caller. */
static hn_status read_values(hn_dtype dtype, size_t count, const uint8_t *data, const char *path,
                             const char *name, float **out, hn_error *err) {
    if (dtype != HN_F32 && dtype != HN_F16 && dtype != HN_BF16)
        return hn_fail(err, HN_UNSUPPORTED, "%s: '%s' is %s; adapters are read as f32, f16 or bf16",
                       path, name, hn_dtype_name(dtype));
    float *values = hn_reallocarray(NULL, count, sizeof *values);
    if (!values)
        return hn_fail_no_memory(err, count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        values[i] = element(dtype, data, i);
        if (!isfinite(values[i])) {
            hn_free(values);
            return hn_fail(err, HN_BAD_INPUT, "%s: '%s' holds infinities or NaN", path, name);
        }
    }
    *out = values;
    return HN_OK;
}

hn_status hn_adapter_pair_take(hn_lora_pair *pair, bool is_a, hn_dtype dtype, uint64_t rows,
                               uint64_t cols, const uint8_t *data, const char *path,
                               const char *name, hn_error *err) {
    float **slot = is_a ? &pair->a : &pair->b;
    uint64_t rank = is_a ? rows : cols;
    if (*slot)
        return hn_fail(err, HN_BAD_INPUT, "%s: '%s' occurs twice", path, name);
    if (rank == 0 || rank > INT32_MAX || rows == 0 || cols == 0 ||
        (pair->r && (uint64_t)pair->r != rank))
        return hn_fail(err, HN_BAD_INPUT, "%s: '%s': lora_A and lora_B don't agree on the rank",
                       path, name);
    /* the file's reader has checked that the product fits */
    HN_TRY(read_values(dtype, (size_t)(rows * cols), data, path, name, slot, err));
    pair->r = (int)rank;
    if (is_a)
        pair->in = (int64_t)cols;
    else
        pair->out = (int64_t)rows;
    return HN_OK;
}

hn_status hn_adapter_pair_take_magnitude(hn_lora_pair *pair, hn_dtype dtype, uint64_t count,
                                         const uint8_t *data, const char *path, const char *name,
                                         hn_error *err) {
    if (pair->magnitude)
        return hn_fail(err, HN_BAD_INPUT, "%s: '%s' occurs twice", path, name);
    HN_TRY(read_values(dtype, (size_t)count, data, path, name, &pair->magnitude, err));
    pair->n_magnitude = (int64_t)count;
    return HN_OK;
}

static int module_order(const char *module) {
    for (int i = 0; i < HN_ADAPTER_MODULES; i++)
        if (!strcmp(hn_adapter_modules[i].name, module))
            return i;
    return HN_ADAPTER_MODULES;
}

static int compare_pairs(const void *a, const void *b) {
    const hn_lora_pair *x = a, *y = b;
    return x->layer != y->layer ? x->layer - y->layer
                                : module_order(x->module) - module_order(y->module);
}

hn_status hn_adapter_file_finish(hn_adapter_file *file, const char *path, hn_error *err) {
    if (file->n_pairs == 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: holds no adapted layer", path);
    for (size_t i = 0; i < file->n_pairs; i++)
        if (!file->pairs[i].a || !file->pairs[i].b)
            return hn_fail(err, HN_BAD_INPUT, "%s: layer %d, %s: lora_%c is missing", path,
                           file->pairs[i].layer, file->pairs[i].module,
                           file->pairs[i].a ? 'B' : 'A');
    for (size_t i = 0; i < file->n_pairs; i++) {
        const hn_lora_pair *pair = &file->pairs[i];
        if ((pair->magnitude != NULL) != file->use_dora ||
            (pair->magnitude && pair->n_magnitude != pair->out))
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: layer %d, %s: DoRA (use_dora) needs a magnitude vector of %lld "
                           "values, and LoRA none; here are %lld",
                           path, pair->layer, pair->module, (long long)pair->out,
                           (long long)pair->n_magnitude);
    }
    qsort(file->pairs, file->n_pairs, sizeof *file->pairs, compare_pairs);
    return HN_OK;
}

/* Row s * d/2 + j of a head on halves is row 2j + s on pairs (s = 0, 1). */
static int64_t pair_row(int64_t half_row, int64_t head_dim) {
    int64_t in_head = half_row % head_dim, half = head_dim / 2;
    return half_row - in_head + 2 * (in_head % half) + in_head / half;
}

void hn_rope_rows_to_pairs(const float *from, float *to, int64_t rows, int64_t cols, int n_head) {
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + pair_row(row, rows / n_head) * cols, from + row * cols,
               (size_t)cols * sizeof *to);
}

void hn_rope_rows_to_halves(const float *from, float *to, int64_t rows, int64_t cols, int n_head) {
    for (int64_t row = 0; row < rows; row++)
        memcpy(to + row * cols, from + pair_row(row, rows / n_head) * cols,
               (size_t)cols * sizeof *to);
}

hn_status hn_adapter_file_read(hn_adapter_file *file, const char *path, int n_head, int n_head_kv,
                               hn_error *err) {
    hn_adapter_file read = {0};
    size_t length = strlen(path);
    bool is_gguf = length > 5 && !strcmp(path + length - 5, ".gguf");
    hn_status status = is_gguf ? hn_adapter_file_read_gguf(&read, path, n_head, n_head_kv, err)
                               : hn_adapter_file_read_peft(&read, path, err);
    if (status == HN_OK)
        status = hn_adapter_file_finish(&read, path, err);
    if (status == HN_OK)
        *file = read;
    else
        hn_adapter_file_done(&read);
    return status;
}

void hn_adapter_file_done(hn_adapter_file *file) {
    if (!file)
        return;
    for (size_t i = 0; i < file->n_pairs; i++) {
        hn_free(file->pairs[i].a);
        hn_free(file->pairs[i].b);
        hn_free(file->pairs[i].magnitude);
    }
    hn_free(file->pairs);
    hn_free(file->base_model);
    *file = (hn_adapter_file){0};
}
