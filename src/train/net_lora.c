/* The low-rank branches of one group of modules, forward and backward. Without dropout the modules
 * of a group read the same input, so their As are multiplied together, and the second products are
 * added by the linear steps themselves. */
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

/* dA += dt^T x. */
static hn_status down_gradient(hn_net *net, const float *x, int64_t n, int64_t in, size_t a,
                               int rank, const float *dt, int64_t t_stride, hn_error *err) {
    return product(net,
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
                   err);
}

/* The columns of what a group's modules read; 0 when none is adapted. */
static int64_t group_input(const hn_slot *slots, hn_group group) {
    int64_t in = 0;
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++)
        in = slots[m].r ? slots[m].in : in;
    return in;
}

hn_status hn_net_lora_join(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                           hn_linear *linear, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group);
    if (rank == 0 || net->without_adapter || net->dropout > 0)
        return HN_OK;
    const hn_slot *slots = net->params->slots[layer];
    float *t = net->acts[layer].t[group];
    HN_TRY(down(net, x, n, group_input(slots, group), hn_params_group_a(net->params, layer, group),
                rank, t, rank, err));
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &slots[m];
        if (s->r == 0)
            continue;
        linear->output[m - (int)HN_GROUP_FIRST[group]].low_rank =
            (hn_low_rank){.t = t,
                          .m = net->params->values + s->b,
                          .r = s->r,
                          .t_stride = rank,
                          .scale = s->scale};
        t += s->r;
    }
    return HN_OK;
}

hn_status hn_net_lora_forward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                              float *const *y, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group);
    if (rank == 0 || n == 0 || net->without_adapter || net->dropout == 0)
        return HN_OK;
    const hn_slot *slots = net->params->slots[layer];
    int64_t in = group_input(slots, group);
    float *t = net->acts[layer].t[group];
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &slots[m];
        if (s->r == 0)
            continue;
        hn_net_dropout(net, layer, m, x, n, in, false, net->dropped);
        HN_TRY(down(net, net->dropped, n, in, s->a, s->r, t, rank, err));
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
    HN_TRY(down_gradient(net, net->dropped, n, s->in, s->a, s->r, dt, t_stride, err));
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

hn_status hn_net_lora_gradients(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                                float *const *dy, hn_low_rank *left, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group), at = 0;
    if (rank == 0 || n == 0 || net->dropout > 0)
        return HN_OK;
    const hn_slot *slots = net->params->slots[layer];
    const float *t = net->acts[layer].t[group];
    size_t a = hn_params_group_a(net->params, layer, group);
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &slots[m];
        if (s->r)
            HN_TRY(up_backward(net, s, n, dy[m - (int)HN_GROUP_FIRST[group]], t + at, net->dt + at,
                               rank, err));
        at += s->r;
    }
    *left = (hn_low_rank){
        .t = net->dt, .m = net->params->values + a, .r = rank, .t_stride = rank, .scale = 1};
    return down_gradient(net, x, n, group_input(slots, group), a, rank, net->dt, rank, err);
}

hn_status hn_net_lora_backward(hn_net *net, int layer, hn_group group, const float *x, int64_t n,
                               float *const *dy, float *dx, hn_error *err) {
    int rank = hn_params_group_rank(net->params, layer, group), at = 0;
    if (rank == 0 || n == 0 || net->dropout == 0)
        return HN_OK;
    for (int m = (int)HN_GROUP_FIRST[group]; m <= (int)HN_GROUP_LAST[group]; m++) {
        const hn_slot *s = &net->params->slots[layer][m];
        if (s->r == 0)
            continue;
        HN_TRY(up_backward(net, s, n, dy[m - (int)HN_GROUP_FIRST[group]],
                           net->acts[layer].t[group] + at, net->dt + at, rank, err));
        HN_TRY(dropped_backward(net, layer, m, x, n, net->dt + at, rank, dx, err));
        at += s->r;
    }
    return HN_OK;
}
