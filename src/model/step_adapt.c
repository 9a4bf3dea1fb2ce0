/* Adapters at run time: y += scale * B (A x) beside the frozen product, in two parallel regions
 * for all modules of a step. Rows that share an adapter are computed together. */
#include "model/rows.h"
#include "model/steps.h"

#include <string.h>

typedef struct adapt_job {
    hn_model *model;
    const hn_row_kernels *kernels;
    const hn_adapter *const *adapters;
    int layer, n_modules, n_rows;
    hn_module first_module;
    const float *x;
    float *const *y;
} adapt_job;

static const hn_lora *lora_of(const adapt_job *job, int row, int module) {
    int adapter = job->model->scratch->places[row].adapter;
    if (adapter < 0)
        return NULL;
    const hn_lora *lora = &job->adapters[adapter]->layers[job->layer][job->first_module + module];
    return lora->r > 0 ? lora : NULL;
}

/* A x of a row and module lies at its own place: (n_rows, modules, rank). */
static float *inner(const adapt_job *job, int row, int module) {
    const hn_scratch *s = job->model->scratch;
    return s->lora + ((int64_t)row * HN_LINEAR_MAX_OUTPUTS + module) * s->lora_rank;
}

static void down_share(void *arg, int thread, int n_threads) {
    const adapt_job *job = arg;
    int item = 0;
    for (int row = 0; row < job->n_rows; row++) {
        for (int m = 0; m < job->n_modules; m++) {
            const hn_lora *lora = lora_of(job, row, m);
            for (int first = 0; lora && first < lora->r; first += LORA_DOTS) {
                int last = first + LORA_DOTS < lora->r ? first + LORA_DOTS : lora->r;
                if (item++ % n_threads == thread)
                    job->kernels->lora_down(lora, job->x + row * lora->in, inner(job, row, m),
                                            first, last);
            }
        }
    }
}

/* y = bias + factor * (y - bias) of rows [first, end), columns [from, to). */
static void rescale(const adapt_job *job, const hn_lora *lora, int module, int first, int end,
                    long from, long to) {
    const float *bias = job->model->layers[job->layer].bias[job->first_module + module];
    for (int row = first; row < end; row++) {
        float *y = job->y[module] + row * lora->out;
        for (long i = from; i < to; i++) {
            float b = bias ? bias[i] : 0;
            y[i] = b + lora->factors[i] * (y[i] - b);
        }
    }
}

static void up_share(void *arg, int thread, int n_threads) {
    const adapt_job *job = arg;
    const hn_row_place *places = job->model->scratch->places;
    for (int first = 0, end; first < job->n_rows; first = end) {
        end = first + 1;
        while (end < job->n_rows && places[end].adapter == places[first].adapter)
            end++;
        for (int m = 0; m < job->n_modules; m++) {
            const hn_lora *lora = lora_of(job, first, m);
            if (!lora)
                continue;
            hn_lora_rows rows = {.lora = lora,
                                 .u = inner(job, first, m),
                                 .u_stride = (int64_t)HN_LINEAR_MAX_OUTPUTS *
                                             job->model->scratch->lora_rank,
                                 .y = job->y[m] + first * lora->out,
                                 .y_stride = lora->out,
                                 .n = end - first};
            long from, to;
            hn_pool_share((long)lora->out, HN_KV_LANES, thread, n_threads, &from, &to);
            job->kernels->lora_up(&rows, from, to);
            if (lora->factors)
                rescale(job, lora, m, first, end, from, to);
        }
    }
}

void hn_step_adapt(hn_model *model, const hn_adapter *const *adapters, int layer, hn_module first,
                   int n_modules, const float *x, float *const *y, int n_rows) {
    adapt_job job = {.model = model,
                     .kernels = hn_row_kernels_get(hn_compute_isa(model->compute)),
                     .adapters = adapters,
                     .layer = layer,
                     .n_modules = n_modules,
                     .n_rows = n_rows,
                     .first_module = first,
                     .x = x,
                     .y = y};
    hn_pool *pool = hn_compute_pool(model->compute);
    hn_pool_run(pool, down_share, &job);
    hn_pool_run(pool, up_share, &job);
}

static bool stands_apart(const hn_model *model, const hn_adapter *const *adapters, int layer,
                         hn_module module, int row) {
    int adapter = model->scratch->places[row].adapter;
    return adapter >= 0 && adapters[adapter]->layers[layer][module].factors;
}

void hn_step_put_aside(hn_model *model, const hn_adapter *const *adapters, int layer,
                       hn_module module, float *x, float *kept, int n_rows) {
    size_t dim = (size_t)model->arch.n_embd, bytes = dim * sizeof *x;
    for (int row = 0; row < n_rows; row++)
        if (stands_apart(model, adapters, layer, module, row)) {
            memcpy(kept + (size_t)row * dim, x + (size_t)row * dim, bytes);
            memset(x + (size_t)row * dim, 0, bytes);
        }
}

void hn_step_add_back(hn_model *model, const hn_adapter *const *adapters, int layer,
                      hn_module module, float *x, const float *kept, int n_rows) {
    size_t dim = (size_t)model->arch.n_embd;
    for (int row = 0; row < n_rows; row++)
        if (stands_apart(model, adapters, layer, module, row))
            for (size_t i = (size_t)row * dim; i < (size_t)(row + 1) * dim; i++)
                x[i] += kept[i];
}
