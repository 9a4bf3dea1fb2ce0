/* Opening a model: weights packed from the map, norms and biases as floats, rotary frequencies. */
#include "model/model.h"

#include "base/mem.h"
#include "model/budget.h"
#include "model/checkpoint_internal.h"
#include "model/retype.h"
#include "model/scratch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* The map that a tensor's bytes lie in. */
static const hn_map *map_of(const hn_checkpoint *ckpt, const void *data) {
    if (ckpt->is_gguf)
        return &ckpt->gguf.map;
    const uint8_t *at = data;
    for (size_t i = 0; i < ckpt->st.n_maps; i++) {
        const hn_map *map = &ckpt->st.maps[i];
        if (at >= map->data && at < map->data + map->size)
            return map;
    }
    return NULL;
}

static hn_status load_vector(hn_model *model, const char *name, float **out, hn_error *err) {
    const hn_tensor *tensor = hn_checkpoint_find(&model->ckpt, name);
    size_t bytes = (size_t)tensor->cols * sizeof **out;
    *out = hn_malloc(bytes);
    if (!*out)
        return hn_fail_no_memory(err, bytes);
    hn_tensor_values(tensor, *out);
    const hn_map *map = map_of(&model->ckpt, tensor->data);
    if (map) /* the kernel maps much around so little */
        hn_map_release(map, tensor->data, tensor->size_bytes);
    for (int64_t i = 0; i < tensor->cols; i++)
        if (!isfinite((*out)[i]))
            return hn_fail(err, HN_BAD_INPUT, "%s: %s[%lld] is not a finite number",
                           model->ckpt.path, tensor->source_name, (long long)i);
    return HN_OK;
}

/* The matrices found so far, to be packed together. */
typedef struct matrix_list {
    hn_matrix_source *items; /* room for every tensor of the file */
    hn_dtype *types;         /* with retype: what they shall be */
    int n;
    const hn_retype *retype; /* NULL = as they are */
} matrix_list;

static void list_matrix(const hn_model *model, const char *name, hn_matrix *out,
                        matrix_list *list) {
    const hn_tensor *t = hn_checkpoint_find(&model->ckpt, name);
    if (list->retype)
        list->types[list->n] =
            list->retype->type_of(list->retype->context, &model->arch, t->name, t->rows, t->cols);
    list->items[list->n++] = (hn_matrix_source){
        t->source_name, t->dtype, t->rows, t->cols, t->data, out, map_of(&model->ckpt, t->data)};
}

static hn_status load_layer(hn_model *model, int index, matrix_list *list, hn_error *err) {
    hn_layer *layer = &model->layers[index];
    for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
        const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
        if (!hn_tensor_rule_applies(rule, &model->arch))
            continue;
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s", index, rule->gguf);
        if (rule->module >= 0)
            list_matrix(model, name, &layer->w[rule->module], list);
        else
            HN_TRY(load_vector(model, name, (float **)(void *)((char *)layer + rule->field), err));
    }
    return HN_OK;
}

static hn_status load_rope(hn_model *model, hn_error *err) {
    size_t bytes = (size_t)model->arch.rope_dim / 2 * sizeof(float);
    model->rope_inv_freq = hn_malloc(bytes);
    if (!model->rope_inv_freq)
        return hn_fail_no_memory(err, bytes);
    hn_arch_rope_inv_freq(&model->arch, false, model->rope_inv_freq);
    if (model->arch.sliding_window > 0) {
        model->rope_inv_freq_local = hn_malloc(bytes);
        if (!model->rope_inv_freq_local)
            return hn_fail_no_memory(err, bytes);
        hn_arch_rope_inv_freq(&model->arch, true, model->rope_inv_freq_local);
    }
    return HN_OK;
}

/* The tokenizer takes a quarter of the time that packing takes: one thread makes it meanwhile. */
typedef struct text_errand {
    hn_checkpoint *ckpt;
    bool done;
    hn_status status;
    hn_error err;
} text_errand;

static void open_text(void *context) {
    text_errand *text = context;
    if (text->done)
        return;
    text->done = true;
    text->status = hn_checkpoint_open_tokenizer(text->ckpt, &text->err);
}

/* In types that aren't the file's; the cache holds files as they are. */
static hn_status pack_retyped(hn_model *model, const matrix_list *list, hn_error *err) {
    hn_matrix_source *sources = hn_reallocarray(NULL, (size_t)list->n, sizeof *sources);
    hn_memory memory;
    hn_status status;
    if (!sources)
        return hn_fail_no_memory(err, (size_t)list->n * sizeof *sources);
    for (int i = 0; i < list->n; i++) {
        sources[i] = list->items[i];
        sources[i].dtype = list->types[i];
    }
    hn_memory_read(&memory, "");
    status = hn_budget_weights(model->ckpt.path, sources, list->n, &memory, err);
    hn_free(sources);
    HN_TRY(status);
    if (hn_retype_pack(model->compute, list->retype, list->items, list->types, list->n, err) !=
        HN_OK)
        return hn_error_prefix(err, "%s", model->ckpt.path);
    return hn_checkpoint_open_tokenizer(&model->ckpt, err);
}

static hn_status pack_all(hn_model *model, const matrix_list *list, const hn_weights_cache *cache,
                          hn_error *err) {
    text_errand text = {.ckpt = &model->ckpt};
    const hn_errand errand = {open_text, &text};
    if (list->retype)
        return pack_retyped(model, list, err);
    hn_status status = hn_weights_cache_open(cache, model->compute, list->items, list->n, &errand,
                                             &model->mapped, &model->origin, err);
    if (status == HN_OK && !model->mapped.data) {
        hn_memory memory;
        hn_memory_read(&memory, "");
        HN_TRY(hn_budget_weights(model->ckpt.path, list->items, list->n, &memory, err));
        status =
            hn_matrices_pack(model->compute, list->items, list->n, &errand, &model->weights, err);
    }
    if (status != HN_OK)
        return hn_error_prefix(err, "%s", model->ckpt.path);
    return text.status == HN_OK ? HN_OK : hn_fail(err, text.status, "%s", text.err.message);
}

static hn_status load_tensors(hn_model *model, matrix_list *list, const hn_weights_cache *cache,
                              hn_error *err) {
    for (int i = 0; i < model->arch.n_layer; i++)
        HN_TRY(load_layer(model, i, list, err));
    HN_TRY(load_vector(model, "output_norm.weight", &model->output_norm, err));
    list_matrix(model, "token_embd.weight", &model->embed, list);
    if (!model->arch.tied_head)
        list_matrix(model, "output.weight", &model->head, list);
    return pack_all(model, list, cache, err);
}

/* Names, vocabulary and the like have been read: they come from the file again if need be. */
static void release_maps(const hn_checkpoint *ckpt) {
    hn_map_release(&ckpt->gguf.map, ckpt->gguf.map.data, ckpt->gguf.map.size);
    for (size_t i = 0; i < ckpt->st.n_maps; i++)
        hn_map_release(&ckpt->st.maps[i], ckpt->st.maps[i].data, ckpt->st.maps[i].size);
}

static hn_status load_all(hn_model *model, const hn_model_options *options, hn_error *err) {
    model->layers = hn_calloc((size_t)model->arch.n_layer, sizeof *model->layers);
    if (!model->layers)
        return hn_fail_no_memory(err, (size_t)model->arch.n_layer * sizeof *model->layers);
    HN_TRY(load_rope(model, err));
    const size_t n = model->ckpt.n_tensors;
    matrix_list list = {.items = hn_calloc(n, sizeof *list.items),
                        .types = hn_calloc(n, sizeof *list.types),
                        .retype = options->retype};
    hn_status status = list.items && list.types
                           ? load_tensors(model, &list, &options->weights_cache, err)
                           : hn_fail_no_memory(err, n * sizeof *list.items);
    hn_free(list.items);
    hn_free(list.types);
    release_maps(&model->ckpt);
    return status;
}

hn_status hn_model_open(hn_model **out, const char *path, const hn_model_options *options,
                        hn_error *err) {
    hn_model *model = hn_calloc(1, sizeof *model);
    if (!model)
        return hn_fail_no_memory(err, sizeof *model);
    hn_turns_init(&model->turns);
    hn_status status = HN_OK;
    hn_isa isa;
    HN_GO(hn_isa_parse(options->isa ? options->isa : getenv("HONE_ISA"), &isa, err));
    HN_GO(hn_checkpoint_open_tensors(&model->ckpt, path, err));
    if (options->chats)
        HN_GO(hn_checkpoint_need_template(&model->ckpt, err));
    HN_GO(hn_checkpoint_need_context(&model->ckpt, options->n_context, err));
    model->arch = model->ckpt.arch;
    model->numerics = options->numerics;
    model->kv_type = options->kv_type;
    HN_GO(hn_compute_new(&model->compute, isa, options->n_threads, err));
    HN_GO(load_all(model, options, err));
done:
    if (status == HN_OK)
        *out = model;
    else
        hn_model_free(model);
    return status;
}

static void free_layer(hn_layer *layer, bool thawed) {
    for (int m = 0; m < HN_MODULE_COUNT; m++)
        hn_matrix_done(&layer->w[m]);
    for (int i = 0; i < HN_N_TENSOR_RULES && !thawed; i++)
        if (HN_TENSOR_RULES[i].module < 0) {
            float **vector = (float **)(void *)((char *)layer + HN_TENSOR_RULES[i].field);
            hn_free(*vector);
            *vector = NULL; /* two rules may fill the same field */
        }
}

void hn_model_free(hn_model *model) {
    if (!model)
        return;
    for (int i = 0; model->layers && i < model->arch.n_layer; i++)
        free_layer(&model->layers[i], model->thawed);
    hn_free(model->layers);
    hn_matrix_done(&model->embed);
    hn_matrix_done(&model->head);
    hn_weights_done(&model->weights);
    hn_weights_done(&model->vectors);
    hn_weights_map_close(&model->mapped);
    if (!model->thawed)
        hn_free(model->output_norm);
    hn_free(model->tensor_values);
    hn_free(model->rope_inv_freq);
    hn_free(model->rope_inv_freq_local);
    hn_turns_done(&model->turns);
    hn_scratch_free(model->scratch);
    hn_compute_free(model->compute);
    hn_checkpoint_close(&model->ckpt);
    hn_free(model);
}
