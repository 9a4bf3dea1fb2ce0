/* DoRA in a pass: what the products give is scaled row by row of the weights, y = bias + m / norm *
 * (y - bias), where norm = |W + s B A| counts as a constant (PEFT's use_dora). Backward computes
 * the products once more instead of keeping them. */
#include "train/net.h"

#include "base/mem.h"
#include "model/dora.h"

static size_t all_rows(const hn_params *p) {
    size_t n = 0;
    for (int l = 0; l < p->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            n += p->slots[l][m].r ? (size_t)p->slots[l][m].out : 0;
    return n;
}

hn_status hn_net_dora_new(hn_net *net, hn_error *err) {
    const hn_params *p = net->params;
    size_t n = all_rows(p);
    net->dora.squares = hn_malloc(n * sizeof *net->dora.squares);
    net->dora.norms = hn_malloc(2 * n * sizeof *net->dora.norms);
    if (!net->dora.squares || !net->dora.norms)
        return hn_fail_no_memory(err, n * (sizeof *net->dora.squares + 2 * sizeof(float)));
    net->dora.factors = net->dora.norms + n;
    for (int l = 0; l < p->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            if (p->slots[l][m].r)
                HN_TRY(hn_dora_squares(net->model->compute, &net->model->layers[l].w[m],
                                       net->dora.squares + p->slots[l][m].row, err));
    return HN_OK;
}

void hn_net_dora_done(hn_net *net) {
    hn_free(net->dora.squares);
    hn_free(net->dora.norms);
}

hn_status hn_net_dora_update(hn_net *net, hn_error *err) {
    const hn_params *p = net->params;
    for (int l = 0; l < p->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_slot *s = &p->slots[l][m];
            if (s->r == 0)
                continue;
            hn_dora dora = {.w = &net->model->layers[l].w[m],
                            .squares = net->dora.squares + s->row,
                            .r = s->r,
                            .scale = s->scale,
                            .a = p->values + s->a,
                            .b = p->values + s->b};
            float *norms = net->dora.norms + s->row, *factors = net->dora.factors + s->row;
            HN_TRY(hn_dora_norms(net->model->compute, &dora, norms, err));
            for (int64_t i = 0; i < s->out; i++)
                factors[i] = p->values[s->m + (size_t)i] / norms[i];
        }
    return HN_OK;
}

typedef struct dora_job {
    const float *factors, *norms, *bias; /* (dim); bias may be NULL */
    const float *z, *dy;                 /* (n, dim) */
    float *y;                            /* (n, dim) */
    float *grad;                         /* (dim) */
    int64_t n, dim;
} dora_job;

static void scale_share(void *arg, int thread, int n_threads) {
    const dora_job *j = arg;
    long first, last;
    hn_pool_share((long)j->n, 1, thread, n_threads, &first, &last);
    for (int64_t i = first; i < last; i++)
        for (int64_t c = 0; c < j->dim; c++) {
            float bias = j->bias ? j->bias[c] : 0;
            j->y[i * j->dim + c] = bias + j->factors[c] * (j->y[i * j->dim + c] - bias);
        }
}

void hn_net_dora_forward(hn_net *net, int layer, hn_group group, int64_t n, float *const *y) {
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &net->params->slots[layer][m];
        dora_job job = {.factors = net->dora.factors + s->row,
                        .bias = net->model->layers[layer].bias[m],
                        .y = y[m - (int)HN_GROUP_FIRST[group]],
                        .n = n,
                        .dim = s->out};
        if (s->r)
            hn_pool_run(net->pool, scale_share, &job);
    }
}

/* grad += sum over rows of dy z / norm; y = factors dy. Each share its columns of all rows, so that
 * sums run in the order of rows. */
static void backward_share(void *arg, int thread, int n_threads) {
    enum { GRAIN = 16 };
    const dora_job *j = arg;
    long first, last;
    hn_pool_share((long)j->dim, GRAIN, thread, n_threads, &first, &last);
    for (int64_t i = 0; i < j->n; i++)
        for (long c = first; c < last; c++) {
            float dy = j->dy[i * j->dim + c];
            j->grad[c] += dy * j->z[i * j->dim + c] / j->norms[c];
            j->y[i * j->dim + c] = j->factors[c] * dy;
        }
}

hn_status hn_net_dora_backward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                               float *const *dy, float **scaled, hn_error *err) {
    int first = (int)HN_GROUP_FIRST[group], count = (int)HN_GROUP_LAST[group] - first + 1;
    float *z[HN_LINEAR_MAX_OUTPUTS], *at = net->dora.z;
    for (int i = 0; i < count; i++) {
        z[i] = at;
        at += n * net->model->layers[layer].w[first + i].rows;
        scaled[i] = count == 1 ? net->dora.dy : dy[i];
    }
    HN_TRY(hn_net_products(net, layer, group, x, n, z, HN_PRODUCTS_BARE, err));
    for (int i = 0; i < count; i++) {
        const hn_slot *s = &net->params->slots[layer][first + i];
        dora_job job = {.factors = net->dora.factors + s->row,
                        .norms = net->dora.norms + s->row,
                        .z = z[i],
                        .dy = dy[i],
                        .y = scaled[i],
                        .grad = net->params->grads + s->m,
                        .n = n,
                        .dim = s->out};
        if (s->r)
            hn_pool_run(net->pool, backward_share, &job);
    }
    return HN_OK;
}
