/* Fresh adapters: which layers are adapted, with what rank and scale, and their first values. */
#include "model/adapter.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

hn_status hn_modules_parse(const char *text, unsigned *mask, hn_error *err) {
    unsigned found = 0;
    if (strcmp(text, "all") == 0)
        found = (1u << HN_MODULE_COUNT) - 1;
    else
        while (*text) {
            size_t n = strcspn(text, ",");
            unsigned bit = 0;
            for (int m = 0; m < HN_MODULE_COUNT; m++) {
                const char *name = hn_module_name((hn_module)m);
                if (strlen(name) == n && strncmp(name, text, n) == 0)
                    bit = 1u << m;
            }
            if (!bit)
                return hn_fail(err, HN_USAGE,
                               "modules: '%.*s' is none of q_proj, k_proj, v_proj, o_proj, "
                               "gate_proj, up_proj, down_proj",
                               (int)n, text);
            found |= bit;
            text += n;
            text += *text == ',';
        }
    *mask = found;
    return HN_OK;
}

/* Sets chosen[layer] for what `text` ("0-3,7", NULL = all) names. */
static hn_status choose_layers(const char *text, int n_layer, bool *chosen, hn_error *err) {
    for (int l = 0; l < n_layer; l++)
        chosen[l] = !text;
    for (const char *at = text; at && *at;) {
        char *end;
        long first = strtol(at, &end, 10), last = first;
        bool good = end > at && *at >= '0' && *at <= '9';
        if (good && *end == '-') {
            at = end + 1;
            last = strtol(at, &end, 10);
            good = end > at && *at >= '0' && *at <= '9';
        }
        if (!good || (*end && *end != ',') || first > last || last >= n_layer)
            return hn_fail(err, HN_USAGE, "layers '%s': layers from 0 to %d are named as in 0-3,7",
                           text, n_layer - 1);
        for (long l = first; l <= last; l++)
            chosen[l] = true;
        at = end + (*end == ',');
    }
    return HN_OK;
}

enum { MAX_PATTERNS = 64, MAX_KEY_BYTES = 256 };

/* "KEY=NUMBER,KEY=NUMBER" */
typedef struct patterns {
    const char *name; /* for messages */
    int n;
    struct {
        char key[MAX_KEY_BYTES];
        double value;
        bool used;
    } items[MAX_PATTERNS];
} patterns;

static hn_status read_patterns(patterns *p, const char *name, const char *text, hn_error *err) {
    p->name = name;
    p->n = 0;
    while (text && *text) {
        size_t n = strcspn(text, ","), key = n;
        while (key > 0 && text[key - 1] != '=')
            key--;
        char *end = NULL;
        double value = key > 0 ? strtod(text + key, &end) : 0;
        if (key < 2 || key > MAX_KEY_BYTES || end != text + n || !(value > 0) ||
            value > HN_ADAPTER_MAX_RANK * 1e3 || p->n == MAX_PATTERNS)
            return hn_fail(err, HN_USAGE,
                           "%s: '%.*s' should read KEY=NUMBER, as in q_proj=8,layers\\.3\\..*=4",
                           name, (int)n, text);
        memcpy(p->items[p->n].key, text, key - 1);
        p->items[p->n].key[key - 1] = 0;
        p->items[p->n].used = false;
        p->items[p->n++].value = value;
        text += n + (text[n] == ',');
    }
    return HN_OK;
}

/* The first that fits; *value stays when none does. */
static hn_status pattern_value(patterns *p, int layer, hn_module module, double *value,
                               hn_error *err) {
    char path[HN_ADAPTER_PATH_BYTES] = "";
    hn_adapter_module_path(layer, hn_module_name(module), path);
    for (int i = 0; i < p->n; i++) {
        bool fits;
        HN_TRY(hn_adapter_pattern_fits(p->items[i].key, path, p->name, &fits, err));
        if (fits) {
            p->items[i].used = true;
            *value = p->items[i].value;
            return HN_OK;
        }
    }
    return HN_OK;
}

static hn_status check_used(const patterns *p, hn_error *err) {
    for (int i = 0; i < p->n; i++)
        if (!p->items[i].used)
            return hn_fail(err, HN_USAGE,
                           "%s: '%s' fits no adapted layer that an earlier key doesn't fit; a key "
                           "is a regular expression for the end of a path such as "
                           "model.layers.3.self_attn.q_proj",
                           p->name, p->items[i].key);
    return HN_OK;
}

static hn_status make_lora(hn_lora *lora, const hn_arch *arch, const hn_adapter_spec *spec,
                           int layer, hn_module module, double r, double alpha, hn_error *err) {
    int64_t rows, cols;
    if (!(r >= 1 && r <= HN_ADAPTER_MAX_RANK && r == floor(r)) || !isfinite(alpha))
        return hn_fail(err, HN_USAGE, "layer %d, %s: an adapter of rank %g is not possible", layer,
                       hn_module_name(module), r);
    hn_arch_module_shape(arch, module, &rows, &cols);
    HN_TRY(hn_lora_alloc(lora, (int)r, cols, rows, err));
    lora->scale = (float)alpha / (spec->rslora ? sqrtf((float)r) : (float)r);
    /* A stream a matrix: what one gets doesn't depend on which others there are. */
    hn_rng rng = hn_rng_new(spec->seed, (uint64_t)(layer * HN_MODULE_COUNT + (int)module));
    float bound = 1.0f / sqrtf((float)cols);
    for (int64_t i = 0; i < lora->r * cols; i++)
        lora->a[i] = bound * (2.0f * hn_rng_float(&rng) - 1.0f);
    return HN_OK;
}

/* What a spec says of a model. */
typedef struct adaption {
    patterns ranks, alphas;
    bool chosen[HN_ARCH_MAX_LAYERS];
} adaption;

static hn_status fill(hn_adapter *adapter, const hn_arch *arch, const hn_adapter_spec *spec,
                      adaption *wanted, hn_error *err) {
    HN_TRY(choose_layers(spec->layers, arch->n_layer, wanted->chosen, err));
    HN_TRY(read_patterns(&wanted->ranks, "rank_pattern", spec->rank_pattern, err));
    HN_TRY(read_patterns(&wanted->alphas, "alpha_pattern", spec->alpha_pattern, err));
    for (int l = 0; l < arch->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            double r = spec->r, alpha = (double)spec->alpha;
            if (!(spec->module_mask >> m & 1) || !wanted->chosen[l])
                continue;
            HN_TRY(pattern_value(&wanted->ranks, l, (hn_module)m, &r, err));
            HN_TRY(pattern_value(&wanted->alphas, l, (hn_module)m, &alpha, err));
            HN_TRY(make_lora(&adapter->layers[l][m], arch, spec, l, (hn_module)m, r, alpha, err));
        }
    HN_TRY(check_used(&wanted->ranks, err));
    return check_used(&wanted->alphas, err);
}

hn_status hn_adapter_make(hn_adapter **out, const hn_arch *arch, const hn_adapter_spec *spec,
                          hn_error *err) {
    if (spec->r < 1 || spec->r > HN_ADAPTER_MAX_RANK ||
        !(spec->module_mask & ((1U << HN_MODULE_COUNT) - 1)))
        return hn_fail(err, HN_USAGE, "an adapter of rank %d on modules %#x is not possible",
                       spec->r, spec->module_mask);
    hn_adapter *adapter = NULL;
    adaption *wanted = hn_malloc(sizeof *wanted);
    hn_status status = HN_OK;
    if (!wanted)
        HN_GO(hn_fail_no_memory(err, sizeof *wanted));
    HN_GO(hn_adapter_new_empty(&adapter, arch, err));
    adapter->r = spec->r;
    adapter->alpha = spec->alpha;
    adapter->rslora = spec->rslora;
    HN_GO(fill(adapter, arch, spec, wanted, err));
    *out = adapter;
    adapter = NULL;
done:
    hn_adapter_free(adapter);
    hn_free(wanted);
    return status;
}

hn_status hn_adapter_new(hn_adapter **out, const hn_arch *arch, unsigned module_mask, int r,
                         float alpha, uint64_t seed, hn_error *err) {
    hn_adapter_spec spec = {.module_mask = module_mask, .r = r, .alpha = alpha, .seed = seed};
    return hn_adapter_make(out, arch, &spec, err);
}
