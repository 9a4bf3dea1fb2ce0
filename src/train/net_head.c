/* The output head and the loss, a tile of supervised rows at a time: logits never exist for all
 * rows at once, and none for rows that learn nothing. What a whole completion weighs is known only
 * when all of its log-probabilities are: the gradients of the states are kept until then,
 * unweighted. Where the head itself learns, the tiles are gone over twice instead, and for a loss
 * that asks for it (hn_loss.between). */
#include "train/net.h"

#include "base/mem.h"

#include <string.h>

enum { TILE_LABELS = 4096 };

typedef struct head {
    hn_net *net;
    const hn_pass *pass;
    hn_net_loss *sum;
    int32_t n_docs;
    float *weights; /* (targets) */
    double *logps;  /* (targets) */
    float *kept; /* (targets, n_embd) gradients of their states before they are weighed, or NULL */
} head;

hn_status hn_net_logits(hn_net *net, int32_t first, int32_t n, float *logits, hn_error *err) {
    const hn_matrix *matrix = hn_model_head(net->model);
    int64_t dim = net->model->arch.n_embd;
    for (int32_t done = 0, part; done < n; done += part) {
        const int32_t *row = net->learned.target + first + done;
        part = n - done < net->tile_rows ? n - done : net->tile_rows;
        for (int32_t i = 0; i < part; i++)
            memcpy(net->tile_x + i * dim, net->xn + row[i] * dim, (size_t)dim * sizeof(float));
        hn_linear linear = {
            .x = net->tile_x,
            .n = part,
            .x_stride = matrix->cols,
            .n_outputs = 1,
            .output = {{.w = matrix, .y = logits + done * matrix->rows, .y_stride = matrix->rows}},
            .numerics = net->model->numerics};
        HN_TRY(hn_linear_run(net->model->compute, &linear, err));
    }
    return HN_OK;
}

/* Targets [first, first + n): their loss is added to *value, h->logps and hits are set, and, when
 * `backward`, their rows' gradients added to net->dxn or kept. */
static hn_status tile(head *h, int32_t first, int32_t n, bool backward, double *value, bool *hits,
                      hn_error *err) {
    hn_net *net = h->net;
    const hn_matrix *matrix = hn_model_head(net->model);
    int64_t dim = net->model->arch.n_embd;
    const int32_t *row = net->learned.target + first;
    int32_t labels[TILE_LABELS];
    for (int32_t i = 0; i < n; i++)
        labels[i] = net->tree->targets[first + i].label;
    HN_TRY(hn_net_logits(net, first, n, net->logits, err));
    hn_loss_rows rows = {.logits = net->logits,
                         .first = first,
                         .n = n,
                         .n_vocab = (int32_t)matrix->rows,
                         .labels = labels,
                         .weights = h->weights + first,
                         .logps = h->logps + first,
                         .hits = hits,
                         .ops = net->ops,
                         .pool = net->pool};
    HN_TRY(h->pass->loss->rows(h->pass->loss->context, &rows, value, err));
    if (!backward)
        return HN_OK;
    float *dx = h->kept ? h->kept + first * dim : net->tile_dx;
    hn_backward down = {.n = n,
                        .dx = dx,
                        .dx_stride = dim,
                        .n_inputs = 1,
                        .input = {{matrix, net->logits, matrix->rows}}};
    HN_TRY(hn_backward_run(net->model->compute, &down, err));
    if (net->params->full)
        HN_TRY(hn_net_full_linear(net, matrix, NULL, net->tile_x, net->logits, n, err));
    for (int32_t i = 0; i < n && !h->kept; i++)
        net->ops->add(net->dxn + row[i] * dim, dx + i * dim, dim, 1.0f);
    return HN_OK;
}

static void count_hits(head *h, int32_t first, int32_t n, const bool *hits) {
    for (int32_t i = 0; i < n; i++) {
        h->sum->correct += hits[i];
        if (h->sum->missed && !hits[i])
            h->sum->missed[h->net->tree->targets[first + i].doc] = true;
    }
}

static hn_status tiles(head *h, bool backward, bool count, double *value, hn_error *err) {
    const hn_net *net = h->net;
    bool hits[TILE_LABELS];
    int32_t step = net->tile_rows < TILE_LABELS ? net->tile_rows : TILE_LABELS;
    for (int32_t first = 0; first < net->tree->n_targets; first += step) {
        int32_t left = net->tree->n_targets - first, n = left < step ? left : step;
        HN_TRY(tile(h, first, n, backward, value, hits, err));
        if (count)
            count_hits(h, first, n, hits);
    }
    return HN_OK;
}

/* Hands the documents' log-probabilities to the loss; sets the rows' weights. */
static hn_status weigh_documents(head *h, hn_error *err) {
    const hn_tree *tree = h->net->tree;
    const hn_loss *loss = h->pass->loss;
    size_t n = (size_t)h->n_docs;
    double *logps = hn_calloc(n, sizeof *logps);
    int32_t *counts = hn_calloc(n, sizeof *counts);
    float *weights = hn_calloc(n, sizeof *weights);
    hn_status status = HN_OK;
    if (!logps || !counts || !weights)
        HN_GO(hn_fail_no_memory(err, n * sizeof *logps));
    for (int32_t i = 0; i < tree->n_targets; i++) {
        logps[tree->targets[i].doc] += h->logps[i];
        counts[tree->targets[i].doc]++;
    }
    hn_loss_documents documents = {h->n_docs, logps, counts, weights};
    h->sum->loss += loss->documents(loss->context, &documents);
    for (int32_t i = 0; i < tree->n_targets; i++)
        h->weights[i] = weights[tree->targets[i].doc];
done:
    hn_free(logps);
    hn_free(counts);
    hn_free(weights);
    return status;
}

/* A completion's weight is the same factor for all of its rows. */
static hn_status document_tiles(head *h, hn_error *err) {
    const hn_net *net = h->net;
    int64_t dim = net->model->arch.n_embd, n = net->tree->n_targets;
    bool backward = h->pass->backward, twice = backward && net->params->full;
    double unweighted = 0;
    if (backward && !twice) {
        h->kept = hn_malloc((size_t)(n * dim) * sizeof *h->kept);
        if (!h->kept)
            return hn_fail_no_memory(err, (size_t)(n * dim) * sizeof *h->kept);
        for (int64_t i = 0; i < n; i++)
            h->weights[i] = 1;
    }
    HN_TRY(tiles(h, backward && !twice, true, &unweighted, err));
    HN_TRY(weigh_documents(h, err));
    if (twice)
        return tiles(h, true, false, &unweighted, err);
    for (int64_t i = 0; i < n && h->kept; i++)
        net->ops->add(net->dxn + net->learned.target[i] * dim, h->kept + i * dim, dim,
                      h->weights[i]);
    return HN_OK;
}

static hn_status run_tiles(head *h, hn_error *err) {
    bool backward = h->pass->backward;
    const hn_loss *loss = h->pass->loss;
    double unweighted = 0;
    if (loss->between) {
        HN_TRY(tiles(h, false, false, &unweighted, err));
        HN_TRY(loss->between(loss->context, err));
    }
    if (loss->documents)
        return document_tiles(h, err);
    return tiles(h, backward, true, &h->sum->loss, err);
}

static hn_status run(head *h, hn_error *err) {
    const hn_tree *tree = h->net->tree;
    size_t n = (size_t)tree->n_targets;
    h->weights = hn_malloc(n * sizeof *h->weights);
    h->logps = hn_malloc(n * sizeof *h->logps);
    hn_status status = HN_OK;
    if (!h->weights || !h->logps)
        HN_GO(hn_fail_no_memory(err, n * sizeof *h->logps));
    for (size_t i = 0; i < n; i++) {
        h->weights[i] = h->pass->loss->weight;
        h->n_docs = tree->targets[i].doc >= h->n_docs ? tree->targets[i].doc + 1 : h->n_docs;
    }
    status = run_tiles(h, err);
done:
    hn_free(h->weights);
    hn_free(h->logps);
    hn_free(h->kept);
    return status;
}

void hn_net_output_norm(hn_net *net) {
    hn_net_rms_norm(net, net->x_out, net->model->output_norm, net->learned.n,
                    net->model->arch.n_embd, net->xn);
}

const float *hn_net_states(const hn_net *net, int layer, const int32_t **row) {
    bool last = layer == net->model->arch.n_layer - 1;
    *row = last ? net->learned.target : net->learned.tree_row;
    return last ? net->xn : net->acts[layer + 1].x;
}

hn_status hn_net_loss_states(hn_net *net, const hn_pass *pass, int layer, float *dx,
                             hn_net_loss *sum, hn_error *err) {
    hn_loss_states states = {
        .layer = layer, .dx = dx, .dim = net->model->arch.n_embd, .n = net->tree->n_targets};
    if (!pass->loss->states)
        return HN_OK;
    states.x = hn_net_states(net, layer, &states.row);
    return pass->loss->states(pass->loss->context, &states, &sum->loss, err);
}

hn_status hn_net_head(hn_net *net, const hn_pass *pass, hn_net_loss *sum, hn_error *err) {
    int64_t dim = net->model->arch.n_embd, n = net->learned.n;
    head h = {.net = net, .pass = pass, .sum = sum};
    hn_net_output_norm(net);
    memset(net->dxn, 0, (size_t)(n * dim) * sizeof *net->dxn);
    HN_TRY(run(&h, err));
    if (!pass->backward)
        return HN_OK;
    HN_TRY(hn_net_loss_states(net, pass, net->model->arch.n_layer - 1, net->dxn, sum, err));
    memset(net->dx, 0, (size_t)(n * dim) * sizeof *net->dx);
    hn_net_rms_norm_backward(net, net->x_out, net->model->output_norm, n, dim, net->dxn, net->dx);
    return HN_OK;
}
