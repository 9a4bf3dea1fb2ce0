/* Documents to ranks and passes: shared out, packed to the memory budget, merged into trees, run.
 */
#include "base/mem.h"
#include "train/loop.h"

/* Noise is a document's own, so that with it beginnings aren't alike any more. */
static bool shares(const hn_train_options *options) {
    return !options->plain_batches && options->neftune_alpha == 0;
}

hn_status hn_train_own_documents(const hn_trainer *trainer, const hn_document **docs, size_t *n,
                                 hn_error *err) {
    size_t kept = 0, all = *n;
    if (!trainer->options->ranks)
        return HN_OK;
    int64_t *sizes = hn_malloc((all + 1) * sizeof *sizes);
    bool *mine = hn_malloc(all + 1);
    hn_status status = HN_OK;
    if (!sizes || !mine)
        HN_GO(hn_fail_no_memory(err, all * sizeof *sizes));
    for (size_t i = 0; i < all; i++)
        sizes[i] = docs[i]->n;
    HN_GO(hn_ranks_split(trainer->options->ranks, sizes, all, mine, err));
    for (size_t i = 0; i < all; i++)
        if (mine[i])
            docs[kept++] = docs[i];
    *n = kept;
done:
    hn_free(sizes);
    hn_free(mine);
    return status;
}

hn_status hn_train_pass(const hn_trainer *trainer, const hn_document *const *docs, size_t n,
                        const hn_pass *pass, hn_net_loss *sum, uint64_t *rows, hn_error *err) {
    hn_tree tree;
    hn_tree_options options = {.share = shares(trainer->options)};
    HN_TRY(hn_tree_build(&tree, docs, n, &options, err));
    hn_pass whole = *pass;
    whole.tree = &tree;
    /* ranks' passes are different ones: so are their masks */
    whole.dropout_key += (uint64_t)hn_ranks_rank(trainer->options->ranks) << 32;
    hn_status status = HN_OK;
    if (pass->loss->begin)
        status = pass->loss->begin(pass->loss->context, &tree, docs, err);
    if (status == HN_OK)
        status = hn_net_run(trainer->net, &whole, sum, err);
    if (rows)
        *rows += (uint64_t)tree.n_rows;
    hn_tree_done(&tree);
    if (status == HN_OK && hn_progress_cancelled(trainer->progress))
        status = HN_CANCELLED;
    return status;
}

hn_status hn_train_passes(const hn_trainer *trainer, const hn_document *const *docs, size_t n,
                          const hn_pass *pass, hn_net_loss *sum, uint64_t *rows, hn_error *err) {
    hn_packing packing;
    if (n == 0)
        return HN_OK;
    HN_TRY(hn_pack_documents(&packing, docs, n, hn_net_max_rows(trainer->net, pass->backward),
                             shares(trainer->options), err));
    const hn_document **bin = hn_malloc(n * sizeof *bin);
    bool *missed = sum->missed;
    hn_status status = bin ? HN_OK : hn_fail_no_memory(err, n * sizeof *bin);
    for (size_t b = 0; status == HN_OK && b < packing.n_bins; b++) {
        size_t first = packing.first[b], count = packing.first[b + 1] - first;
        for (size_t i = 0; i < count; i++)
            bin[i] = docs[packing.items[first + i]];
        hn_pass one = *pass;
        one.dropout_key += b;
        one.final = pass->final && b + 1 == packing.n_bins;
        if (missed) /* a document is in one bin only: its place is where the bin begins */
            sum->missed = missed + first;
        status = hn_train_pass(trainer, bin, count, &one, sum, rows, err);
    }
    sum->missed = missed;
    hn_free(bin);
    hn_packing_done(&packing);
    return status;
}
