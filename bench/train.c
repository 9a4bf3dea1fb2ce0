/* How fast training is: a few steps over rows of a file, or over random documents.
 *
 *     bench-train MODEL [ROWS.jsonl|LENGTH] [batch] [steps] [threads]
 *
 * Prints real tokens a second (documents', not padded, not counted twice), what was computed, and
 * the resident memory. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/tree.h"
#include "train/optim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void check(hn_status status, const hn_error *err) {
    if (status == HN_OK)
        return;
    fprintf(stderr, "bench-train: %s\n", err->message);
    exit(1);
}

static void random_documents(hn_documents *docs, int length, size_t n, int32_t n_vocab) {
    hn_rng rng = hn_rng_new(1, 1);
    *docs = (hn_documents){.items = hn_calloc(n, sizeof *docs->items), .n = n};
    for (size_t i = 0; i < n; i++) {
        hn_document *d = &docs->items[i];
        *d = (hn_document){.n = length, .n_supervised = length / 2, .line = i + 1};
        d->ids = hn_malloc(2 * (size_t)length * sizeof *d->ids);
        d->labels = d->ids + length;
        for (int p = 0; p < length; p++)
            d->ids[p] = (int32_t)hn_rng_below(&rng, (uint64_t)n_vocab);
        for (int p = 0; p < length; p++)
            d->labels[p] = p + 1 < length && p >= length - 1 - d->n_supervised ? d->ids[p + 1] : -1;
    }
}

static void read_documents(hn_documents *docs, const char *path, const hn_model *model) {
    hn_records records;
    hn_error err;
    check(hn_records_read(&records, path, false, NULL, &err), &err);
    check(
        hn_documents_build(docs, &records, &model->ckpt, NULL, HN_SUPERVISE_COMPLETION, 1024, &err),
        &err);
    hn_records_done(&records);
}

static void step(hn_net *net, hn_optimiser *optimiser, const hn_train_options *options,
                 const hn_document *const *docs, size_t n, uint64_t *rows, double *loss_out) {
    hn_packing packing;
    hn_error err;
    hn_net_loss loss = {0};
    double supervised = 0;
    for (size_t i = 0; i < n; i++)
        supervised += docs[i]->n_supervised;
    memset(net->params->grads, 0, net->params->n * sizeof(float));
    check(hn_pack_documents(&packing, docs, n, hn_net_max_rows(net), true, &err), &err);
    for (size_t b = 0; b < packing.n_bins; b++) {
        const hn_document *bin[1024];
        size_t count = packing.first[b + 1] - packing.first[b];
        for (size_t i = 0; i < count; i++)
            bin[i] = docs[packing.items[packing.first[b] + i]];
        hn_tree tree;
        hn_tree_options tree_options = {.share = true};
        check(hn_tree_build(&tree, bin, count, &tree_options, &err), &err);
        check(hn_net_run(net, &tree, (float)(1 / supervised), 0, true, &loss, &err), &err);
        *rows += (uint64_t)tree.n_rows;
        hn_tree_done(&tree);
    }
    hn_packing_done(&packing);
    hn_optimiser_update(optimiser, net, options, 1e-4, hn_gradient_norm(net));
    *loss_out = loss.loss;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench-train MODEL [ROWS.jsonl|LENGTH] [batch] [steps] [threads]\n");
        return 2;
    }
    const char *data = argc > 2 ? argv[2] : "190";
    size_t batch = argc > 3 ? (size_t)atoi(argv[3]) : 8;
    int steps = argc > 4 ? atoi(argv[4]) : 3;
    hn_model_options model_options = {.n_threads = argc > 5 ? atoi(argv[5]) : 0};
    hn_error err;
    hn_model *model;
    hn_adapter *adapter;
    hn_params params;
    hn_optimiser optimiser;
    hn_net *net;
    hn_documents docs;
    hn_train_options options = hn_train_options_default();
    check(hn_model_open(&model, argv[1], &model_options, &err), &err);
    check(hn_adapter_new(&adapter, &model->arch, options.module_mask, options.r, options.alpha, 1,
                         &err),
          &err);
    check(hn_params_new(&params, adapter, &err), &err);
    check(hn_optimiser_new(&optimiser, HN_ADAMW, params.n, &err), &err);
    check(hn_net_new(&net, model, &params, 0, 0, &err), &err);
    if (atoi(data) > 0)
        random_documents(&docs, atoi(data), batch * (size_t)steps, model->arch.n_vocab);
    else
        read_documents(&docs, data, model);
    const hn_document **list = hn_malloc(batch * sizeof *list);
    for (int s = 0; s < steps; s++) {
        uint64_t tokens = 0, rows = 0, supervised = 0;
        for (size_t i = 0; i < batch; i++) {
            list[i] = &docs.items[((size_t)s * batch + i) % docs.n];
            tokens += (uint64_t)list[i]->n;
            supervised += (uint64_t)list[i]->n_supervised;
        }
        double loss, began = hn_clock_seconds();
        step(net, &optimiser, &options, list, batch, &rows, &loss);
        double seconds = hn_clock_seconds() - began;
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("step %d: %llu tokens (%llu learned, %llu rows computed), %.2f s, %.1f tokens/s, "
               "loss %.4f, peak %.0f MB\n",
               s + 1, (unsigned long long)tokens, (unsigned long long)supervised,
               (unsigned long long)rows, seconds, (double)tokens / seconds, loss,
               (double)usage.ru_maxrss / 1024);
        fflush(stdout);
    }
    hn_free(list);
    hn_documents_done(&docs);
    hn_net_free(net);
    hn_optimiser_done(&optimiser);
    hn_params_done(&params);
    hn_adapter_free(adapter);
    hn_model_free(model);
    return 0;
}
