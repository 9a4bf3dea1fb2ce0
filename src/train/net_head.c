/* The output head and the loss, a tile of supervised rows at a time: logits never exist for all
 * rows at once, and none for rows that learn nothing. */
#include "train/loss.h"
#include "train/net.h"

#include <string.h>

enum { TILE_LABELS = 4096 };

static hn_status head_logits(hn_net *net, int64_t n, hn_error *err) {
    const hn_matrix *head = hn_model_head(net->model);
    hn_linear linear = {.x = net->tile_x,
                        .n = n,
                        .x_stride = head->cols,
                        .n_outputs = 1,
                        .output = {{.w = head, .y = net->logits, .y_stride = head->rows}},
                        .numerics = net->model->numerics};
    return hn_linear_run(net->model->compute, &linear, err);
}

/* Targets [first, first + n): loss, and their rows' gradients added to net->dxn. */
static hn_status tile(hn_net *net, int32_t first, int32_t n, float weight, bool backward,
                      hn_net_loss *loss, hn_error *err) {
    const hn_matrix *head = hn_model_head(net->model);
    int64_t dim = net->model->arch.n_embd;
    const int32_t *row = net->learned.target + first;
    int32_t labels[TILE_LABELS];
    bool hits[TILE_LABELS];
    for (int32_t i = 0; i < n; i++) {
        memcpy(net->tile_x + i * dim, net->xn + row[i] * dim, (size_t)dim * sizeof(float));
        labels[i] = net->tree->targets[first + i].label;
    }
    HN_TRY(head_logits(net, n, err));
    hn_loss_rows rows = {.logits = net->logits,
                         .n = n,
                         .n_vocab = (int32_t)head->rows,
                         .labels = labels,
                         .weight = weight,
                         .hits = hits,
                         .ops = net->ops,
                         .pool = net->pool};
    loss->loss += hn_loss_sft(&rows);
    for (int32_t i = 0; i < n; i++) {
        loss->correct += hits[i];
        if (loss->missed && !hits[i])
            loss->missed[net->tree->targets[first + i].doc] = true;
    }
    if (!backward)
        return HN_OK;
    HN_TRY(hn_matrix_backward(net->model->compute, head, net->logits, n, head->rows, net->tile_dx,
                              dim, false, err));
    for (int32_t i = 0; i < n; i++)
        net->ops->add(net->dxn + row[i] * dim, net->tile_dx + i * dim, dim, 1.0f);
    return HN_OK;
}

hn_status hn_net_head(hn_net *net, float weight, bool backward, hn_net_loss *loss, hn_error *err) {
    int64_t dim = net->model->arch.n_embd, n = net->learned.n;
    int32_t step = net->tile_rows < TILE_LABELS ? net->tile_rows : TILE_LABELS;
    hn_net_rms_norm(net, net->x_out, net->model->output_norm, n, dim, net->xn);
    memset(net->dxn, 0, (size_t)(n * dim) * sizeof *net->dxn);
    for (int32_t first = 0; first < net->tree->n_targets; first += step) {
        int32_t left = net->tree->n_targets - first;
        HN_TRY(tile(net, first, left < step ? left : step, weight, backward, loss, err));
    }
    if (!backward)
        return HN_OK;
    memset(net->dx, 0, (size_t)(n * dim) * sizeof *net->dx);
    hn_net_rms_norm_backward(net, net->x_out, net->model->output_norm, n, dim, net->dxn, net->dx);
    return HN_OK;
}
