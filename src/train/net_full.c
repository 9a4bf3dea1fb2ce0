/* Gradients of the model's own weights, where these are trained: they lie in params->grads where
 * the weights lie in params->values. */
#include "train/net.h"

#include <math.h>

typedef struct sum_job {
    const hn_net *net;
    const float *x, *dy; /* x NULL: dy alone is summed */
    int64_t n, dim;
    float *grad;
} sum_job;

/* Each share its columns of all rows, so that sums run in the order of rows. */
static void sum_share(void *arg, int thread, int n_threads) {
    enum { GRAIN = 16 };
    const sum_job *j = arg;
    long first, last;
    hn_pool_share((long)j->dim, GRAIN, thread, n_threads, &first, &last);
    for (int64_t i = 0; i < j->n && first < last; i++) {
        const float *dy = j->dy + i * j->dim;
        if (!j->x) {
            for (long c = first; c < last; c++)
                j->grad[c] += dy[c];
            continue;
        }
        const float *x = j->x + i * j->dim;
        float mean = j->net->ops->dot(x, x, j->dim) / (float)j->dim;
        float inverse = 1.0f / sqrtf(mean + j->net->model->arch.rms_eps);
        for (long c = first; c < last; c++)
            j->grad[c] += dy[c] * x[c] * inverse;
    }
}

void hn_net_full_norm(hn_net *net, const float *x, const float *w, int64_t n, int64_t dim,
                      const float *dy) {
    sum_job job = {net, x, dy, n, dim, hn_params_grad(net->params, w)};
    hn_pool_run(net->pool, sum_share, &job);
}

hn_status hn_net_full_linear(hn_net *net, const hn_matrix *w, const float *bias, const float *x,
                             const float *dy, int64_t n, hn_error *err) {
    if (n == 0)
        return HN_OK;
    if (bias) {
        sum_job job = {net, NULL, dy, n, w->rows, hn_params_grad(net->params, bias)};
        hn_pool_run(net->pool, sum_share, &job);
    }
    if (net->params->vectors)
        return HN_OK;
    return hn_matrix_gradient(net->model->compute, w, dy, n, w->rows, x, w->cols,
                              hn_params_grad(net->params, w->packed), err);
}

void hn_net_full_embed(hn_net *net) {
    const hn_arch *arch = &net->model->arch;
    float *grad = hn_params_grad(net->params, net->model->embed.packed);
    for (int32_t i = 0; i < net->tree->n_rows; i++)
        hn_matrix_gradient_row(&net->model->embed, net->tree->tokens[i],
                               net->dx + (int64_t)i * arch->n_embd, arch->embd_scale, grad);
}
