/* Several adapters as one: their low-rank parts side by side, so that the sum is exact. */
#include "model/adapter.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

static hn_status check(const hn_adapter *const *adapters, const float *weights, int n,
                       hn_error *err) {
    for (int i = 0; i < n; i++) {
        if (!isfinite(weights[i]))
            return hn_fail(err, HN_USAGE, "%s: its weight is no finite number", adapters[i]->name);
        if (adapters[i]->dora)
            return hn_fail(err, HN_UNSUPPORTED,
                           "%s: an adapter with magnitudes (DoRA) can't be added to others: its "
                           "change isn't a sum; merge it into the model alone",
                           adapters[i]->name);
    }
    return HN_OK;
}

static bool all_finite(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return false;
    return true;
}

/* Parts [0, r) of `from` behind the `at` parts that `to` has by now, times weight and scale. */
static void append(hn_lora *to, int at, const hn_lora *from, float weight) {
    memcpy(to->a + (int64_t)at * to->in, from->a, (size_t)(from->r * from->in) * sizeof *to->a);
    for (int64_t row = 0; row < to->out; row++)
        for (int k = 0; k < from->r; k++)
            to->b[row * to->r + at + k] = weight * from->scale * from->b[row * from->r + k];
}

static hn_status combine_module(hn_adapter *out, const hn_adapter *const *adapters,
                                const float *weights, int n, int layer, int module, hn_error *err) {
    int64_t rank = 0;
    const hn_lora *any = NULL;
    for (int i = 0; i < n; i++) {
        const hn_lora *lora = &adapters[i]->layers[layer][module];
        rank += lora->r;
        any = lora->r ? lora : any;
    }
    if (!any)
        return HN_OK;
    if (rank > HN_ADAPTER_MAX_RANK)
        return hn_fail(err, HN_USAGE, "layer %d %s: a rank of %lld altogether, possible are %d",
                       layer, hn_module_name((hn_module)module), (long long)rank,
                       HN_ADAPTER_MAX_RANK);
    hn_lora *to = &out->layers[layer][module];
    HN_TRY(hn_lora_alloc(to, (int)rank, any->in, any->out, err));
    to->scale = 1;
    int at = 0;
    for (int i = 0; i < n; i++) {
        const hn_lora *from = &adapters[i]->layers[layer][module];
        if (from->r)
            append(to, at, from, weights[i]);
        at += from->r;
    }
    if (!all_finite(to->b, to->out * to->r))
        return hn_fail(err, HN_USAGE,
                       "layer %d %s: with these weights the sum is no finite number any more",
                       layer, hn_module_name((hn_module)module));
    out->r = rank > out->r ? (int)rank : out->r;
    return HN_OK;
}

hn_status hn_adapter_combine(hn_adapter **out, const hn_adapter *const *adapters,
                             const float *weights, int n, const hn_arch *arch, hn_error *err) {
    hn_adapter *sum = NULL;
    HN_TRY(check(adapters, weights, n, err));
    HN_TRY(hn_adapter_new_empty(&sum, arch, err));
    hn_status status = HN_OK;
    sum->name = hn_strdup("combined");
    sum->base_model = adapters[0]->base_model ? hn_strdup(adapters[0]->base_model) : NULL;
    if (!sum->name || (adapters[0]->base_model && !sum->base_model))
        HN_GO(hn_fail_no_memory(err, 256));
    for (int l = 0; l < arch->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            HN_GO(combine_module(sum, adapters, weights, n, l, m, err));
    sum->alpha = (float)sum->r; /* scale 1 */
    *out = sum;
    sum = NULL;
done:
    hn_adapter_free(sum);
    return status;
}
