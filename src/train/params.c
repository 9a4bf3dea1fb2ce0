#include "train/params.h"

#include "base/mem.h"
#include "model/thaw.h"

#include <string.h>

const hn_module HN_GROUP_FIRST[HN_GROUP_COUNT] = {HN_MODULE_Q, HN_MODULE_O, HN_MODULE_GATE,
                                                  HN_MODULE_DOWN};
const hn_module HN_GROUP_LAST[HN_GROUP_COUNT] = {HN_MODULE_V, HN_MODULE_O, HN_MODULE_UP,
                                                 HN_MODULE_DOWN};

/* Offsets: a layer's As in module order, then its Bs, then its magnitudes. */
static size_t lay_out(hn_params *p, const hn_adapter *adapter) {
    size_t at = 0, row = 0;
    for (int l = 0; l < p->n_layer; l++) {
        p->layers[l].first = at;
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_lora *lora = &adapter->layers[l][m];
            if (lora->r == 0)
                continue;
            if (p->lowest < 0)
                p->lowest = l;
            p->slots[l][m] =
                (hn_slot){lora->r, lora->scale, lora->in, lora->out, .a = at, .row = row};
            row += (size_t)lora->out;
            at += (size_t)lora->r * (size_t)lora->in;
        }
        p->bs[l].first = at;
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            p->slots[l][m].b = at;
            at += (size_t)p->slots[l][m].r * (size_t)p->slots[l][m].out;
        }
        for (int m = 0; p->dora && m < HN_MODULE_COUNT; m++) {
            p->slots[l][m].m = at;
            at += p->slots[l][m].r ? (size_t)p->slots[l][m].out : 0;
        }
        p->bs[l].end = at;
        p->layers[l].end = at;
    }
    return at;
}

hn_status hn_params_new(hn_params *out, const hn_adapter *adapter, size_t n_extra, hn_error *err) {
    hn_params p = {.n_layer = adapter->n_layer, .lowest = -1, .dora = adapter->dora};
    p.slots = hn_calloc((size_t)p.n_layer, sizeof *p.slots);
    p.bs = hn_calloc((size_t)p.n_layer, sizeof *p.bs);
    p.layers = hn_calloc((size_t)p.n_layer, sizeof *p.layers);
    if (!p.slots || !p.bs || !p.layers) {
        hn_params_done(&p);
        return hn_fail_no_memory(err, (size_t)p.n_layer * sizeof *p.slots);
    }
    p.n = lay_out(&p, adapter);
    if (p.n == 0) {
        hn_params_done(&p);
        return hn_fail(err, HN_USAGE, "the adapter adapts no layer: name at least one module");
    }
    p.extra = p.n;
    p.n += n_extra;
    p.values = hn_alloc_aligned(p.n * sizeof *p.values);
    p.grads = hn_alloc_aligned(p.n * sizeof *p.grads);
    if (!p.values || !p.grads) {
        size_t bytes = 2 * p.n * sizeof *p.values;
        hn_params_done(&p);
        return hn_fail_no_memory(err, bytes);
    }
    memset(p.values + p.extra, 0, n_extra * sizeof *p.values);
    for (int l = 0; l < p.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *s = &p.slots[l][m];
            if (s->r == 0)
                continue;
            const hn_lora *lora = &adapter->layers[l][m];
            memcpy(p.values + s->a, lora->a, (size_t)(s->r * s->in) * sizeof(float));
            memcpy(p.values + s->b, lora->b, (size_t)(s->r * s->out) * sizeof(float));
            if (p.dora)
                memcpy(p.values + s->m, lora->magnitude, (size_t)s->out * sizeof(float));
        }
    *out = p;
    return HN_OK;
}

/* A layer's matrices lie one after the other, behind those of the layer below, the embedding behind
 * all of them (model/thaw.h). */
static void find_layers(hn_params *p, const hn_model *model, int shared) {
    size_t end = (size_t)((const float *)(const void *)model->embed.packed - p->values);
    for (int l = p->n_layer - 1; l >= 0; l--) {
        const float *first = (const float *)(const void *)model->layers[l].w[0].packed;
        p->layers[l].end = end;
        p->layers[l].first = l % shared == 0 ? (size_t)(first - p->values) : end;
        end = p->layers[l].first;
    }
}

hn_status hn_params_of_model(hn_params *out, hn_model *model, int shared, hn_error *err) {
    hn_params p = {.n_layer = model->arch.n_layer, .full = true};
    p.slots = hn_calloc((size_t)p.n_layer, sizeof *p.slots);
    p.layers = hn_calloc((size_t)p.n_layer, sizeof *p.layers);
    hn_status status = HN_OK;
    if (!p.slots || !p.layers)
        status = hn_fail_no_memory(err, (size_t)p.n_layer * sizeof *p.slots);
    if (status == HN_OK)
        status = hn_model_thaw(model, shared, &p.values, &p.n, &p.n_undecayed, err);
    if (status == HN_OK) {
        find_layers(&p, model, shared);
        p.grads = hn_alloc_aligned(p.n * sizeof *p.grads);
        if (!p.grads)
            status = hn_fail_no_memory(err, p.n * sizeof *p.grads);
    }
    if (status == HN_OK)
        *out = p;
    else
        hn_params_done(&p);
    return status;
}

hn_status hn_params_of_vectors(hn_params *out, hn_model *model, hn_error *err) {
    hn_params p = {.n_layer = model->arch.n_layer, .full = true, .vectors = true};
    p.slots = hn_calloc((size_t)p.n_layer, sizeof *p.slots);
    hn_status status = p.slots ? HN_OK : hn_fail_no_memory(err, sizeof *p.slots);
    if (status == HN_OK)
        status = hn_model_thaw_vectors(model, &p.values, &p.n, err);
    if (status == HN_OK) {
        p.n_undecayed = p.n;
        p.grads = hn_alloc_aligned(p.n * sizeof *p.grads);
        if (!p.grads)
            status = hn_fail_no_memory(err, p.n * sizeof *p.grads);
    }
    if (status == HN_OK)
        *out = p;
    else
        hn_params_done(&p);
    return status;
}

hn_status hn_params_none(hn_params *out, int n_layer, hn_error *err) {
    hn_params p = {.n_layer = n_layer, .lowest = n_layer};
    p.slots = hn_calloc((size_t)n_layer, sizeof *p.slots);
    if (!p.slots)
        return hn_fail_no_memory(err, (size_t)n_layer * sizeof *p.slots);
    *out = p;
    return HN_OK;
}

void hn_params_done(hn_params *p) {
    if (!p->full)
        hn_free_aligned(p->values, p->n * sizeof *p->values);
    hn_free_aligned(p->grads, p->n * sizeof *p->grads);
    hn_free(p->slots);
    hn_free(p->bs);
    hn_free(p->layers);
    *p = (hn_params){0};
}

void hn_params_store(const hn_params *p, const float *values, hn_adapter *adapter) {
    for (int l = 0; l < p->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *s = &p->slots[l][m];
            if (s->r == 0)
                continue;
            hn_lora *lora = &adapter->layers[l][m];
            memcpy(lora->a, values + s->a, (size_t)(s->r * s->in) * sizeof(float));
            memcpy(lora->b, values + s->b, (size_t)(s->r * s->out) * sizeof(float));
            if (p->dora)
                memcpy(lora->magnitude, values + s->m, (size_t)s->out * sizeof(float));
        }
}

hn_param_kind hn_params_kind(const hn_params *p, size_t at, size_t *end) {
    *end = at < p->n_undecayed ? p->n_undecayed : p->n;
    for (int l = 0; p->bs && l < p->n_layer; l++) {
        const hn_span *b = &p->bs[l];
        if (at >= b->end || b->first == b->end)
            continue;
        *end = at < b->first ? b->first : b->end;
        return at < b->first ? HN_PARAM_PLAIN : HN_PARAM_B;
    }
    return at < p->n_undecayed ? HN_PARAM_UNDECAYED : HN_PARAM_PLAIN;
}

int hn_params_group_rank(const hn_params *p, int layer, hn_group group) {
    int rank = 0;
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++)
        rank += p->slots[layer][m].r;
    return rank;
}

size_t hn_params_group_a(const hn_params *p, int layer, hn_group group) {
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++)
        if (p->slots[layer][m].r)
            return p->slots[layer][m].a;
    return 0;
}
