#include "model/thaw.h"

#include "base/mem.h"
#include "model/checkpoint_internal.h"

#include <stdio.h>
#include <string.h>

enum { ALIGN_FLOATS = HN_ALIGN_BYTES / sizeof(float) };

/* The same walk over everything that is a weight, three times: only the last changes the model, and
 * can't fail. */
typedef enum walk_mode { MEASURE, COPY, BIND } walk_mode;

typedef struct walk {
    hn_model *model;
    walk_mode mode;
    int shared;
    float *values;
    size_t used; /* floats */
    float *rows; /* COPY: room for the largest matrix, row after row */
} walk;

static size_t aligned(size_t n) {
    return (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

static void take_vector(walk *w, float **vector, int64_t n) {
    float *to = w->mode == MEASURE ? NULL : w->values + w->used;
    if (w->mode == COPY)
        memcpy(to, *vector, (size_t)n * sizeof(float));
    if (w->mode == BIND) {
        hn_free(*vector);
        *vector = to;
    }
    w->used += aligned((size_t)n);
}

static hn_status take_matrix(walk *w, hn_matrix *matrix, hn_error *err) {
    hn_matrix_source source = {"weights", HN_F32, matrix->rows, matrix->cols, NULL, NULL, NULL};
    size_t bytes;
    HN_TRY(hn_matrices_bytes(&source, 1, &bytes, err));
    if (w->mode == COPY) {
        hn_matrix packed;
        for (int64_t r = 0; r < matrix->rows; r++)
            hn_matrix_row(matrix, r, w->rows + r * matrix->cols);
        HN_TRY(hn_matrix_pack(w->model->compute, &packed, HN_F32, matrix->rows, matrix->cols,
                              w->rows, err));
        memcpy(w->values + w->used, packed.packed, bytes);
        hn_matrix_done(&packed);
    }
    if (w->mode == BIND) {
        hn_matrix bound = {.dtype = HN_F32,
                           .rows = matrix->rows,
                           .cols = matrix->cols,
                           .packed = w->values + w->used,
                           .packed_bytes = bytes,
                           .borrowed = true};
        hn_matrix_done(matrix);
        *matrix = bound;
    }
    w->used += aligned(bytes / sizeof(float));
    return HN_OK;
}

static float **vector_of(hn_layer *layer, const hn_tensor_rule *rule) {
    return (float **)(void *)((char *)layer + rule->field);
}

/* The first layer of those that share with layer l. */
static int owner_of(const walk *w, int l) {
    return l - l % w->shared;
}

static void take_layer_vectors(walk *w, int l) {
    const hn_arch *arch = &w->model->arch;
    for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
        const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
        if (rule->module >= 0 || !hn_tensor_rule_applies(rule, arch))
            continue;
        float **vector = vector_of(&w->model->layers[l], rule);
        if (owner_of(w, l) == l) {
            take_vector(w, vector, hn_dim_size(rule->cols, arch));
        } else if (w->mode == BIND) {
            hn_free(*vector);
            *vector = *vector_of(&w->model->layers[owner_of(w, l)], rule);
        }
    }
}

static hn_status take_layer_matrices(walk *w, int l, hn_error *err) {
    for (int m = 0; m < HN_MODULE_COUNT; m++) {
        hn_matrix *matrix = &w->model->layers[l].w[m];
        if (owner_of(w, l) == l) {
            HN_TRY(take_matrix(w, matrix, err));
        } else if (w->mode == BIND) {
            hn_matrix_done(matrix);
            *matrix = w->model->layers[owner_of(w, l)].w[m];
        }
    }
    return HN_OK;
}

/* Norms and biases, and the walk begins anew. */
static void walk_vectors(walk *w, walk_mode mode) {
    w->mode = mode;
    w->used = 0;
    for (int l = 0; l < w->model->arch.n_layer; l++)
        take_layer_vectors(w, l);
    take_vector(w, &w->model->output_norm, w->model->arch.n_embd);
}

static hn_status walk_all(walk *w, walk_mode mode, size_t *n_vectors, hn_error *err) {
    hn_model *model = w->model;
    walk_vectors(w, mode);
    *n_vectors = w->used;
    for (int l = 0; l < model->arch.n_layer; l++)
        HN_TRY(take_layer_matrices(w, l, err));
    HN_TRY(take_matrix(w, &model->embed, err));
    return model->arch.tied_head ? HN_OK : take_matrix(w, &model->head, err);
}

static int64_t largest_matrix(const hn_model *model) {
    int64_t best = model->embed.rows * model->embed.cols;
    for (int m = 0; m < HN_MODULE_COUNT; m++) {
        int64_t n = model->layers[0].w[m].rows * model->layers[0].w[m].cols;
        best = n > best ? n : best;
    }
    return best;
}

/* Layers that share must be alike: all that hone knows are, but for a window in some. */
static hn_status check_shared(const hn_model *model, int shared, hn_error *err) {
    if (shared >= 1 && model->arch.n_layer % shared == 0)
        return HN_OK;
    return hn_fail(err, HN_USAGE, "%d layers can't share their weights %d at a time",
                   model->arch.n_layer, shared);
}

hn_status hn_model_thaw(hn_model *model, int shared, float **values, size_t *n, size_t *n_vectors,
                        hn_error *err) {
    walk w = {.model = model, .shared = shared};
    HN_TRY(check_shared(model, shared, err));
    HN_TRY(walk_all(&w, MEASURE, n_vectors, err));
    size_t total = w.used, bytes = total * sizeof(float);
    size_t row_bytes = (size_t)largest_matrix(model) * sizeof(float);
    w.values = hn_alloc_aligned(bytes);
    w.rows = hn_malloc(row_bytes);
    hn_status status = HN_OK;
    if (!w.values || !w.rows)
        HN_GO(hn_fail_no_memory(err, bytes + row_bytes));
    memset(w.values, 0, bytes);
    HN_GO(walk_all(&w, COPY, n_vectors, err));
    HN_GO(walk_all(&w, BIND, n_vectors, err));
    hn_weights_done(&model->weights);
    hn_weights_map_close(&model->mapped);
    model->weights = (hn_weights){w.values, bytes};
    model->thawed = true;
    *values = w.values;
    *n = total;
    w.values = NULL;
done:
    hn_free_aligned(w.values, bytes);
    hn_free(w.rows);
    return status;
}

hn_status hn_model_thaw_vectors(hn_model *model, float **values, size_t *n, hn_error *err) {
    walk w = {.model = model, .shared = 1};
    walk_vectors(&w, MEASURE);
    size_t bytes = w.used * sizeof(float);
    w.values = hn_alloc_aligned(bytes);
    if (!w.values)
        return hn_fail_no_memory(err, bytes);
    memset(w.values, 0, bytes);
    walk_vectors(&w, COPY);
    walk_vectors(&w, BIND);
    model->vectors = (hn_weights){w.values, bytes};
    model->thawed = true;
    *values = w.values;
    *n = w.used;
    return HN_OK;
}

/* A tensor's values as its file has them: vectors less what is added on load. */
static void tensor_from(hn_tensor *tensor, const hn_matrix *matrix, const float *vector,
                        float *out) {
    for (int64_t r = 0; matrix && r < tensor->rows; r++)
        hn_matrix_row(matrix, r, out + r * tensor->cols);
    for (int64_t c = 0; !matrix && c < tensor->cols; c++)
        out[c] = vector[c] - tensor->add;
    tensor->dtype = HN_F32;
    tensor->data = out;
    tensor->size_bytes = (uint64_t)(tensor->rows * tensor->cols) * sizeof(float);
}

/* What of the model a tensor is; false for what isn't learned (rope_freqs). */
static bool find_weight(hn_model *model, const hn_tensor *tensor, const hn_matrix **matrix,
                        const float **vector) {
    *matrix = NULL;
    *vector = NULL;
    if (!strcmp(tensor->name, "token_embd.weight"))
        *matrix = &model->embed;
    else if (!strcmp(tensor->name, "output.weight"))
        *matrix = hn_model_head(model);
    else if (!strcmp(tensor->name, "output_norm.weight"))
        *vector = model->output_norm;
    int layer;
    const char *rest;
    if (*matrix || *vector)
        return true;
    if (!hn_layer_name_split(tensor->name, "blk.", &layer, &rest))
        return false;
    for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
        const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
        if (!hn_tensor_rule_applies(rule, &model->arch) || strcmp(rule->gguf, rest))
            continue;
        if (rule->module >= 0)
            *matrix = &model->layers[layer].w[rule->module];
        else
            *vector = *vector_of(&model->layers[layer], rule);
        return true;
    }
    return false;
}

const float *hn_model_vector(hn_model *model, const hn_tensor *tensor) {
    const hn_matrix *matrix;
    const float *vector;
    find_weight(model, tensor, &matrix, &vector);
    return vector;
}

hn_status hn_model_to_tensors(hn_model *model, hn_error *err) {
    hn_checkpoint *ckpt = &model->ckpt;
    size_t n = 0;
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        n += (size_t)(ckpt->tensors[i].rows * ckpt->tensors[i].cols);
    float *at = hn_malloc(n * sizeof *at);
    if (!at)
        return hn_fail_no_memory(err, n * sizeof *at);
    hn_free(model->tensor_values);
    model->tensor_values = at;
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        hn_tensor *tensor = &ckpt->tensors[i];
        const hn_matrix *matrix;
        const float *vector;
        if (!find_weight(model, tensor, &matrix, &vector))
            continue;
        tensor_from(tensor, matrix, vector, at);
        at += tensor->rows * tensor->cols;
    }
    return HN_OK;
}
