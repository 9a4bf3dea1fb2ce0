/* DoRA in a pass: what the products give is scaled row by row of the weights, y = bias + m / norm *
 * (y - bias), where norm = |W + s B A| counts as a constant (PEFT's use_dora). Backward computes
 * the products once more instead of keeping them. With dropout it is, as PEFT has it,
 *
 *     y = W x + bias + (f - 1) W drop(x) + f s B A drop(x),    f = m / norm
 *
 * drop being each module's own; without, the two products of W are one. */
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
    const float *dy;                     /* (n, dim) */
    float *y, *z;                        /* (n, dim) */
    float *grad;                         /* (dim) */
    int64_t n, dim;
    bool beyond; /* what the factors are beyond 1 is wanted of dy */
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

/* The pieces of dora.z that stand for the group's outputs. */
static void z_of(const hn_net *net, int layer, hn_group group, int64_t n, float **z) {
    float *at = net->dora.z;
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        z[m - (int)HN_GROUP_FIRST[group]] = at;
        at += n * net->model->layers[layer].w[m].rows;
    }
}

/* z = W drop(x) of each adapted module of the group. */
static hn_status dropped_products(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                                  float *const *z, hn_error *err) {
    for (int m = (int)HN_GROUP_FIRST[group]; n && m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &net->params->slots[layer][m];
        const hn_matrix *w = &net->model->layers[layer].w[m];
        if (s->r == 0)
            continue;
        hn_net_dropout(net, layer, m, x, n, s->in, false, net->dropped);
        hn_linear linear = {
            .x = net->dropped,
            .n = n,
            .x_stride = w->cols,
            .n_outputs = 1,
            .output = {{.w = w, .y = z[m - (int)HN_GROUP_FIRST[group]], .y_stride = w->rows}},
            .numerics = net->model->numerics};
        HN_TRY(hn_linear_run(net->model->compute, &linear, err));
    }
    return HN_OK;
}

/* y += factors z, without factors y -= z. */
static void add_scaled_share(void *arg, int thread, int n_threads) {
    const dora_job *j = arg;
    long first, last;
    hn_pool_share((long)j->n, 1, thread, n_threads, &first, &last);
    for (int64_t i = first * j->dim, c = 0; i < last * j->dim; i++, c = c + 1 < j->dim ? c + 1 : 0)
        j->y[i] += (j->factors ? j->factors[c] : -1) * j->z[i];
}

static void add_scaled(hn_net *net, int layer, hn_group group, int64_t n, float *const *z,
                       bool factors, float *const *y) {
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &net->params->slots[layer][m];
        dora_job job = {.factors = factors ? net->dora.factors + s->row : NULL,
                        .z = z[m - (int)HN_GROUP_FIRST[group]],
                        .y = y[m - (int)HN_GROUP_FIRST[group]],
                        .n = n,
                        .dim = s->out};
        if (s->r)
            hn_pool_run(net->pool, add_scaled_share, &job);
    }
}

hn_status hn_net_dora_dropped_forward(hn_net *net, int layer, hn_group group, const float *x,
                                      int64_t n, float *const *y, hn_error *err) {
    float *z[HN_LINEAR_MAX_OUTPUTS];
    z_of(net, layer, group, n, z);
    HN_TRY(dropped_products(net, layer, group, x, n, z, err));
    add_scaled(net, layer, group, n, z, false, y);
    HN_TRY(hn_net_lora_forward(net, layer, group, x, n, z, err));
    add_scaled(net, layer, group, n, z, true, y);
    return HN_OK;
}

/* grad += sum over rows of dy z / norm; z = (factors - 1) dy where that is wanted; y = factors dy.
 * Each share its columns of all rows, so that sums run in the order of rows. */
static void backward_share(void *arg, int thread, int n_threads) {
    enum { GRAIN = 16 };
    const dora_job *j = arg;
    long first, last;
    hn_pool_share((long)j->dim, GRAIN, thread, n_threads, &first, &last);
    for (int64_t i = 0; i < j->n; i++)
        for (long c = first; c < last; c++) {
            float dy = j->dy[i * j->dim + c];
            j->grad[c] += dy * j->z[i * j->dim + c] / j->norms[c];
            if (j->beyond)
                j->z[i * j->dim + c] = (j->factors[c] - 1) * dy;
            j->y[i * j->dim + c] = j->factors[c] * dy;
        }
}

/* dx += drop's share of z W for each adapted module, z being (factors - 1) dy. */
static hn_status dropped_backward(hn_net *net, int layer, hn_group group, int64_t n,
                                  float *const *z, float *dx, hn_error *err) {
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &net->params->slots[layer][m];
        if (s->r == 0)
            continue;
        const hn_matrix *w = &net->model->layers[layer].w[m];
        hn_backward down = {
            .n = n,
            .dx = net->dropped,
            .dx_stride = w->cols,
            .n_inputs = 1,
            .input = {{.w = w, .dy = z[m - (int)HN_GROUP_FIRST[group]], .dy_stride = w->rows}}};
        HN_TRY(hn_backward_run(net->model->compute, &down, err));
        hn_net_dropout(net, layer, m, net->dropped, n, s->in, true, dx);
    }
    return HN_OK;
}

hn_status hn_net_dora_backward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                               float *const *dy, float **scaled, float *dx, hn_error *err) {
    int first = (int)HN_GROUP_FIRST[group], count = (int)HN_GROUP_LAST[group] - first + 1;
    float *z[HN_LINEAR_MAX_OUTPUTS];
    z_of(net, layer, group, n, z);
    for (int i = 0; i < count; i++)
        scaled[i] = count == 1 ? net->dora.dy : dy[i];
    if (net->dropout > 0) {
        HN_TRY(dropped_products(net, layer, group, x, n, z, err));
        HN_TRY(hn_net_lora_forward(net, layer, group, x, n, z, err));
    } else {
        HN_TRY(hn_net_products(net, layer, group, x, n, z, HN_PRODUCTS_BARE, err));
    }
    for (int i = 0; i < count; i++) {
        const hn_slot *s = &net->params->slots[layer][first + i];
        dora_job job = {.factors = net->dora.factors + s->row,
                        .norms = net->dora.norms + s->row,
                        .z = z[i],
                        .dy = dy[i],
                        .y = scaled[i],
                        .grad = net->params->grads + s->m,
                        .n = n,
                        .dim = s->out,
                        .beyond = dx != NULL};
        if (s->r)
            hn_pool_run(net->pool, backward_share, &job);
    }
    return dx ? dropped_backward(net, layer, group, n, z, dx, err) : HN_OK;
}
