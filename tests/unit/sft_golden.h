/* What tests/golden/record_sft.py and its likes wrote, and the comparison of a run's steps and
 * first gradients with it. */
#pragma once

#include "base/json.h"
#include "base/mem.h"
#include "train/optim.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "golden_model.h"

enum { MAX_DOCS = 64, MAX_STEPS = 32 };

typedef struct golden {
    char dir[512];
    json_t *values;
    hn_document docs[MAX_DOCS];
    size_t n_docs;
    hn_loss (*loss)(void *context, float weight); /* NULL = hn_loss_sft */
    void *context;
} golden;

/* `name` is a file of tests/golden/sft; g->dir is its folder. */
static inline void open_golden(golden *g, const char *name) {
    char path[600];
    hn_error err;
    *g = (golden){0};
    snprintf(path, sizeof path, "%s/golden/sft/%s", HN_TEST_ROOT, name);
    snprintf(g->dir, sizeof g->dir, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (hn_json_read(path, 1 << 24, &g->values, &err) != HN_OK)
        fail_msg("%s", err.message);
    const json_t *docs = json_object_get(g->values, "documents");
    g->n_docs = json_array_size(docs);
    for (size_t i = 0; i < g->n_docs; i++) {
        const json_t *doc = json_array_get(docs, i), *ids = json_object_get(doc, "ids");
        size_t n = json_array_size(ids);
        size_t start = (size_t)json_integer_value(json_object_get(doc, "first_supervised"));
        hn_document *d = &g->docs[i];
        *d = (hn_document){.n = (int32_t)n, .n_supervised = (int32_t)(n - start), .line = i + 1};
        d->ids = hn_malloc(2 * n * sizeof *d->ids);
        d->labels = d->ids + n;
        for (size_t p = 0; p < n; p++)
            d->ids[p] = (int32_t)json_integer_value(json_array_get(ids, p));
        for (size_t p = 0; p < n; p++)
            d->labels[p] = p + 1 >= start && p + 1 < n ? d->ids[p + 1] : -1;
    }
}

static inline void close_golden(golden *g) {
    for (size_t i = 0; i < g->n_docs; i++)
        hn_free(g->docs[i].ids);
    json_decref(g->values);
}

/* Loss of documents [first, first + n) as one step; gradients are added. */
static inline double step_loss(hn_net *net, const golden *g, size_t first, size_t n) {
    const hn_document *list[MAX_DOCS];
    hn_error err;
    double supervised = 0;
    for (size_t i = 0; i < n; i++) {
        list[i] = &g->docs[first + i];
        supervised += list[i]->n_supervised;
    }
    hn_tree tree;
    hn_tree_options options = {.share = true};
    hn_net_loss loss = {0};
    assert_int_equal(hn_tree_build(&tree, list, n, &options, &err), HN_OK);
    float weight = (float)(1 / supervised);
    hn_loss of_rows = g->loss ? g->loss(g->context, weight) : hn_loss_sft(weight);
    hn_pass pass = {.tree = &tree, .loss = &of_rows, .backward = true};
    if (of_rows.begin)
        assert_int_equal(of_rows.begin(of_rows.context, &tree, list, &err), HN_OK);
    assert_int_equal(hn_net_run(net, &pass, &loss, &err), HN_OK);
    hn_tree_done(&tree);
    return loss.loss;
}

static inline double recorded(const golden *g, const char *key, size_t i) {
    return json_number_value(json_array_get(json_object_get(g->values, key), i));
}

static inline void check_close(const char *what, int step, double ours, double theirs,
                               double tolerance) {
    if (!(fabs(ours - theirs) <= tolerance * fabs(theirs)))
        fail_msg("step %d: %s %.9g, recorded %.9g", step, what, ours, theirs);
}

static inline double relative_l2(const float *ours, const hn_st_tensor *theirs) {
    double difference = 0, norm = 0;
    for (uint64_t i = 0; i < theirs->size_bytes / sizeof(float); i++) {
        float x;
        memcpy(&x, theirs->data + i * sizeof x, sizeof x);
        difference += ((double)ours[i] - (double)x) * ((double)ours[i] - (double)x);
        norm += (double)x * (double)x;
    }
    return sqrt(difference / norm);
}

/* Of the first step, each adapted matrix, against gradients.safetensors in g->dir. */
static inline void check_first_gradients(const golden *g, const hn_params *params) {
    hn_safetensors st;
    hn_error err;
    char path[600];
    snprintf(path, sizeof path, "%s/gradients.safetensors", g->dir);
    assert_int_equal(hn_safetensors_open(&st, path, &err), HN_OK);
    for (int l = 0; l < params->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *s = &params->slots[l][m];
            const hn_st_tensor *a =
                tensor(&st, "base_model.model.model.layers.%d.%s.lora_A.weight", l, HF_NAME[m]);
            const hn_st_tensor *b =
                tensor(&st, "base_model.model.model.layers.%d.%s.lora_B.weight", l, HF_NAME[m]);
            double da = relative_l2(params->grads + s->a, a);
            double db = relative_l2(params->grads + s->b, b);
            const char *fmt = "base_model.model.model.layers.%d.%s.lora_magnitude_vector.weight";
            double dm = params->dora
                            ? relative_l2(params->grads + s->m, tensor(&st, fmt, l, HF_NAME[m]))
                            : 0;
            if (!(da < 1e-4 && db < 1e-4 && dm < 1e-4))
                fail_msg("%s layer %d %s: A %g B %g m %g", g->dir, l, HF_NAME[m], da, db, dm);
        }
    hn_safetensors_close(&st);
}

/* Every recorded step: loss, norm before clipping, rate. on_first sees the gradients of the first.
 */
static inline void check_steps(const golden *g, hn_net *net,
                               void (*on_first)(const golden *g, const hn_params *params)) {
    hn_error err;
    hn_optimiser optimiser;
    hn_params *params = net->params;
    assert_int_equal(hn_optimiser_new(&optimiser, HN_ADAMW, params->n, &err), HN_OK);
    size_t batch = (size_t)json_integer_value(json_object_get(g->values, "batch"));
    int steps = (int)json_array_size(json_object_get(g->values, "losses"));
    hn_train_options options = hn_train_options_default();
    options.learning_rate = (float)json_number_value(json_object_get(g->values, "rate"));
    options.warmup_steps = (int)json_integer_value(json_object_get(g->values, "warmup"));
    for (int step = 0; step < steps; step++) {
        memset(params->grads, 0, params->n * sizeof *params->grads);
        double loss = step_loss(net, g, (size_t)step * batch % g->n_docs, batch);
        if (step == 0 && on_first)
            on_first(g, params);
        double norm = hn_gradient_norm(net), rate = hn_schedule_rate(&options, step, steps);
        check_close("loss", step, loss, recorded(g, "losses", (size_t)step), step ? 1e-4 : 1e-5);
        check_close("norm", step, norm, recorded(g, "norms", (size_t)step), 1e-4);
        check_close("rate", step, rate, recorded(g, "rates", (size_t)step), 1e-6);
        hn_optimiser_update(&optimiser, net, &options, rate, norm);
    }
    hn_optimiser_done(&optimiser);
}
