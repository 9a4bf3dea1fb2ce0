/* The low-rank branches of one group of modules, forward and backward. Without dropout the modules
 * of a group read the same input, so their As are multiplied together. */
#include "train/net.h"

#include <string.h>

static hn_status product(hn_net *net, hn_gemm gemm, hn_error *err) {
    return hn_gemm_run(net->model->compute, &gemm, err);
}

/* t = x A^T for `rank` stacked rows of A. */
static hn_status down(hn_net *net, const float *x, int64_t n, int64_t in, size_t a, int rank,
                      float *t, int64_t t_stride, hn_error *err) {
    return product(net,
                   (hn_gemm){.m = n,
                             .n = rank,
                             .k = in,
                             .b_transposed = true,
                             .a = x,
                             .a_stride = in,
                             .b = net->params->values + a,
                             .b_stride = in,
                             .c = t,
                             .c_stride = t_stride,
                             .alpha = 1},
                   err);
}

/* dA += dt^T x, and dx (=, +=) dt A unless dx is NULL. */
static hn_status down_backward(hn_net *net, const float *x, int64_t n, int64_t in, size_t a,
                               int rank, const float *dt, int64_t t_stride, float *dx, float beta,
                               hn_error *err) {
    HN_TRY(product(net,
                   (hn_gemm){.m = rank,
                             .n = in,
                             .k = n,
                             .a_transposed = true,
                             .a = dt,
                             .a_stride = t_stride,
                             .b = x,
                             .b_stride = in,
                             .c = net->params->grads + a,
                             .c_stride = in,
                             .alpha = 1,
                             .beta = 1},
                   err));
    if (!dx)
        return HN_OK;
    return product(net,
                   (hn_gemm){.m = n,
                             .n = in,
                             .k = rank,
                             .a = dt,
                             .a_stride = t_stride,
                             .b = net->params->values + a,
                             .b_stride = in,
                             .c = dx,
                             .c_stride = in,
                             .alpha = 1,
                             .beta = beta},
                   err);
}

hn_status hn_net_lora_forward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                              float *const *y, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group);
    if (rank == 0 || n == 0 || net->without_adapter)
        return HN_OK;
    const hn_slot *slots = net->params->slots[layer];
    int64_t in = 0;
    float *t = net->acts[layer].t[group];
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++)
        in = slots[m].r ? slots[m].in : in;
    if (net->dropout == 0)
        HN_TRY(
            down(net, x, n, in, hn_params_group_a(net->params, layer, group), rank, t, rank, err));
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &slots[m];
        if (s->r == 0)
            continue;
        if (net->dropout > 0) {
            hn_net_dropout(net, layer, m, x, n, in, false, net->dropped);
            HN_TRY(down(net, net->dropped, n, in, s->a, s->r, t, rank, err));
        }
        HN_TRY(product(net,
                       (hn_gemm){.m = n,
                                 .n = s->out,
                                 .k = s->r,
                                 .b_transposed = true,
                                 .a = t,
                                 .a_stride = rank,
                                 .b = net->params->values + s->b,
                                 .b_stride = s->r,
                                 .c = y[m - (int)HN_GROUP_FIRST[group]],
                                 .c_stride = s->out,
                                 .alpha = s->scale,
                                 .beta = 1},
                       err));
        t += s->r;
    }
    return HN_OK;
}

/* dB += scale dy^T t and dt = scale dy B of one module. */
static hn_status up_backward(hn_net *net, const hn_slot *s, int64_t n, const float *dy,
                             const float *t, float *dt, int64_t t_stride, hn_error *err) {
    HN_TRY(product(net,
                   (hn_gemm){.m = s->out,
                             .n = s->r,
                             .k = n,
                             .a_transposed = true,
                             .a = dy,
                             .a_stride = s->out,
                             .b = t,
                             .b_stride = t_stride,
                             .c = net->params->grads + s->b,
                             .c_stride = s->r,
                             .alpha = s->scale,
                             .beta = 1},
                   err));
    return product(net,
                   (hn_gemm){.m = n,
                             .n = s->r,
                             .k = s->out,
                             .a = dy,
                             .a_stride = s->out,
                             .b = net->params->values + s->b,
                             .b_stride = s->r,
                             .c = dt,
                             .c_stride = t_stride,
                             .alpha = s->scale},
                   err);
}

/* One module's A with its own dropped input; `dropped` is used for the input, then for its
 * gradient. */
static hn_status dropped_backward(hn_net *net, int layer, int module, const float *x, int64_t n,
                                  const float *dt, int64_t t_stride, float *dx, hn_error *err) {
    const hn_slot *s = &net->params->slots[layer][module];
    hn_net_dropout(net, layer, module, x, n, s->in, false, net->dropped);
    HN_TRY(down_backward(net, net->dropped, n, s->in, s->a, s->r, dt, t_stride, NULL, 0, err));
    if (!dx)
        return HN_OK;
    HN_TRY(product(net,
                   (hn_gemm){.m = n,
                             .n = s->in,
                             .k = s->r,
                             .a = dt,
                             .a_stride = t_stride,
                             .b = net->params->values + s->a,
                             .b_stride = s->in,
                             .c = net->dropped,
                             .c_stride = s->in,
                             .alpha = 1},
                   err));
    hn_net_dropout(net, layer, module, net->dropped, n, s->in, true, dx);
    return HN_OK;
}

hn_status hn_net_lora_backward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                               float *const *dy, float *dx, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group), at = 0;
    if (rank == 0 || n == 0)
        return HN_OK;
    const hn_slot *slots = net->params->slots[layer];
    const float *t = net->acts[layer].t[group];
    int64_t in = 0;
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &slots[m];
        if (s->r == 0)
            continue;
        in = s->in;
        HN_TRY(up_backward(net, s, n, dy[m - (int)HN_GROUP_FIRST[group]], t + at, net->dt + at,
                           rank, err));
        if (net->dropout > 0)
            HN_TRY(dropped_backward(net, layer, m, x, n, net->dt + at, rank, dx, err));
        at += s->r;
    }
    if (net->dropout > 0)
        return HN_OK;
    return down_backward(net, x, n, in, hn_params_group_a(net->params, layer, group), rank, net->dt,
                         rank, dx, 1, err);
}
