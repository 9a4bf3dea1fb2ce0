/* Preference tuning: an item is a pair, both of whose completions are in one pass, so that their
 * prompt is computed once. The reference is the adapter as it was at the start, or the base alone;
 * its log-probabilities are computed once, before the first step, and kept beside the checkpoint.
 */
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/loop.h"
#include "train/state.h"

#include <string.h>

/* A pair is two documents: room for its rows, so that few layers are computed twice. */
#define LEAST_BUDGET_BYTES (HN_NET_BUDGET_BYTES + HN_NET_BUDGET_BYTES / 2)

typedef struct reference {
    double logps[2];
} reference;

/* Pairs that are trained on, or evaluated, with their references. */
typedef struct pair_set {
    const hn_pairs *pairs;
    reference *references; /* (pairs->n) */
} pair_set;

typedef struct dpo {
    const hn_dpo *options;
    bool base_is_reference;
    pair_set train, eval;
    uint64_t data_hash;
} dpo;

/* What a pass's loss works on, and the sums it leaves. Pair i of the pass is documents 2i and
 * 2i + 1. */
typedef struct pass_pairs {
    const hn_dpo *options;
    const uint32_t *items; /* (n) indices into set */
    pair_set *set;
    double weight; /* of a pair */
    bool collect;  /* set the references instead of computing a loss */
    double rewards[2], logps[2], right;
} pass_pairs;

static double weigh(void *context, const hn_loss_documents *documents) {
    pass_pairs *p = context;
    double loss = 0;
    for (int32_t i = 0; i < documents->n / 2; i++) {
        reference *kept = &p->set->references[p->items[i]];
        hn_dpo_pair pair;
        double gradient[2];
        for (int side = 0; side < 2; side++) {
            pair.logps[side] = documents->logps[2 * i + side];
            pair.reference[side] = kept->logps[side];
            pair.counts[side] = documents->counts[2 * i + side];
        }
        if (p->collect) {
            memcpy(kept->logps, pair.logps, sizeof kept->logps);
            continue;
        }
        loss += p->weight * hn_loss_dpo(p->options, &pair, gradient);
        for (int side = 0; side < 2; side++) {
            documents->weights[2 * i + side] = (float)(-p->weight * gradient[side]);
            p->rewards[side] += hn_dpo_reward(p->options, &pair, side);
            p->logps[side] += pair.logps[side];
        }
        p->right += hn_dpo_reward(p->options, &pair, HN_CHOSEN) >
                    hn_dpo_reward(p->options, &pair, HN_REJECTED);
    }
    return loss;
}

static int64_t rows_of(const hn_pair *pair) {
    return (int64_t)pair->chosen.n + pair->rejected.n;
}

/* This rank's share of the pairs items[0..n) of a set, in mine[0..*n_mine). */
static hn_status own_pairs(const hn_trainer *trainer, const pair_set *set, const uint32_t *items,
                           size_t n, uint32_t *mine, size_t *n_mine, hn_error *err) {
    int64_t *sizes = hn_malloc(n * sizeof *sizes);
    bool *is_mine = hn_malloc(n);
    hn_status status = HN_OK;
    *n_mine = 0;
    if (!sizes || !is_mine)
        HN_GO(hn_fail_no_memory(err, n * sizeof *sizes));
    for (size_t i = 0; i < n; i++)
        sizes[i] = rows_of(&set->pairs->items[items[i]]);
    HN_GO(hn_ranks_split(trainer->options->ranks, sizes, n, is_mine, err));
    for (size_t i = 0; i < n; i++)
        if (is_mine[i])
            mine[(*n_mine)++] = items[i];
done:
    hn_free(sizes);
    hn_free(is_mine);
    return status;
}

/* Passes over this rank's share of the pairs all[0..n_all) of a set, as many pairs at a time as fit
 * in memory. */
static hn_status run_pairs(const hn_trainer *trainer, const uint32_t *all, size_t n_all,
                           pass_pairs *sums, hn_pass pass, hn_net_loss *total, uint64_t *rows,
                           hn_error *err) {
    int64_t room = hn_net_max_rows(trainer->net, pass.backward);
    hn_loss loss = {.context = sums, .rows = hn_loss_cross_entropy, .documents = weigh};
    size_t n = 0;
    uint32_t *items = hn_malloc(n_all * sizeof *items);
    const hn_document **docs = hn_malloc(2 * n_all * sizeof *docs);
    hn_status status = items && docs ? HN_OK : hn_fail_no_memory(err, 2 * n_all * sizeof *docs);
    if (status == HN_OK)
        status = own_pairs(trainer, sums->set, all, n_all, items, &n, err);
    pass.loss = &loss;
    for (size_t first = 0, end; status == HN_OK && first < n; first = end, pass.dropout_key++) {
        int64_t used = 0;
        for (end = first; end < n; end++) {
            const hn_pair *pair = &sums->set->pairs->items[items[end]];
            used += rows_of(pair);
            if (end > first && used > room)
                break;
            docs[2 * (end - first)] = &pair->chosen;
            docs[2 * (end - first) + 1] = &pair->rejected;
        }
        sums->items = items + first;
        pass.final = pass.backward && end == n;
        status = hn_train_pass(trainer, docs, 2 * (end - first), &pass, total, rows, err);
    }
    hn_free(items);
    hn_free(docs);
    return status;
}

/* As TRL logs them. */
static void put_values(hn_values *values, const pass_pairs *sums) {
    double w = sums->weight;
    hn_values_add(values, "rewards/chosen", w * sums->rewards[HN_CHOSEN]);
    hn_values_add(values, "rewards/rejected", w * sums->rewards[HN_REJECTED]);
    hn_values_add(values, "rewards/margins",
                  w * (sums->rewards[HN_CHOSEN] - sums->rewards[HN_REJECTED]));
    hn_values_add(values, "rewards/accuracies", w * sums->right);
    hn_values_add(values, "logps/chosen", w * sums->logps[HN_CHOSEN]);
    hn_values_add(values, "logps/rejected", w * sums->logps[HN_REJECTED]);
}

static uint64_t line_of(const void *context, uint32_t item) {
    const dpo *d = context;
    return d->train.pairs->items[item].chosen.line;
}

static hn_status step(void *context, const hn_trainer *trainer, const uint32_t *items, size_t n,
                      uint64_t key, hn_step_metrics *m, hn_error *err) {
    dpo *d = context;
    for (size_t i = 0; i < n; i++) {
        const hn_pair *pair = &d->train.pairs->items[items[i]];
        m->tokens += (uint64_t)rows_of(pair);
        m->supervised += (uint64_t)(pair->chosen.n_supervised + pair->rejected.n_supervised);
    }
    pass_pairs sums = {.options = d->options, .set = &d->train, .weight = 1 / (double)n};
    hn_net_loss total = {0};
    HN_TRY(run_pairs(trainer, items, n, &sums, (hn_pass){.dropout_key = key, .backward = true},
                     &total, &m->rows, err));
    m->loss = total.loss;
    put_values(&m->values, &sums);
    return HN_OK;
}

/* Runs all pairs of a set, without gradients. */
static hn_status run_all(const hn_trainer *trainer, pass_pairs *sums, hn_pass pass,
                         hn_net_loss *total, hn_error *err) {
    size_t n = sums->set->pairs->n;
    uint32_t *all = hn_malloc(n * sizeof *all);
    if (!all)
        return hn_fail_no_memory(err, n * sizeof *all);
    for (size_t i = 0; i < n; i++)
        all[i] = (uint32_t)i;
    hn_status status = run_pairs(trainer, all, n, sums, pass, total, NULL, err);
    hn_free(all);
    return status;
}

static hn_status evaluate(void *context, const hn_trainer *trainer, hn_eval_metrics *m,
                          hn_error *err) {
    dpo *d = context;
    pass_pairs sums = {
        .options = d->options, .set = &d->eval, .weight = 1 / (double)d->eval.pairs->n};
    hn_net_loss total = {0};
    HN_TRY(run_all(trainer, &sums, (hn_pass){0}, &total, err));
    m->loss = total.loss;
    put_values(&m->values, &sums);
    return HN_OK;
}

static const char MAGIC[8] = {'H', 'O', 'N', 'E', 'R', 'E', 'F', '1'};

/* The file of references: this, then those of the training and of the evaluation pairs. */
typedef struct file_header {
    char magic[8];
    uint64_t fingerprint, n_train, n_eval, checksum;
} file_header;

static file_header header_of(const dpo *d, const hn_trainer *trainer) {
    file_header h = {.n_train = d->train.pairs->n, .n_eval = d->eval.pairs ? d->eval.pairs->n : 0};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    h.fingerprint =
        hn_train_fingerprint(trainer->model, &trainer->params, d->data_hash, trainer->options);
    h.checksum = hn_hash64(d->train.references, h.n_train * sizeof(reference), h.fingerprint);
    h.checksum = hn_hash64(d->eval.references, h.n_eval * sizeof(reference), h.checksum);
    return h;
}

/* True when the file holds the references of this very run. */
static bool load_references(dpo *d, const hn_trainer *trainer, const char *path) {
    hn_map map;
    hn_error ignored;
    if (!hn_path_exists(path) || hn_map_open(&map, path, &ignored) != HN_OK)
        return false;
    file_header wanted = header_of(d, trainer), found;
    size_t train = wanted.n_train * sizeof(reference), eval = wanted.n_eval * sizeof(reference);
    bool fits = map.size == sizeof found + train + eval;
    if (fits) {
        memcpy(&found, map.data, sizeof found);
        memcpy(d->train.references, map.data + sizeof found, train);
        if (eval)
            memcpy(d->eval.references, map.data + sizeof found + train, eval);
        wanted = header_of(d, trainer);
        fits = memcmp(&found, &wanted, sizeof found) == 0;
    }
    hn_map_close(&map);
    return fits;
}

static hn_status save_references(const dpo *d, const hn_trainer *trainer, const char *path,
                                 hn_error *err) {
    file_header header = header_of(d, trainer);
    hn_out out;
    HN_TRY(hn_out_open(&out, path, err));
    hn_out_write(&out, &header, sizeof header);
    hn_out_write(&out, d->train.references, header.n_train * sizeof(reference));
    if (header.n_eval)
        hn_out_write(&out, d->eval.references, header.n_eval * sizeof(reference));
    return hn_out_commit(&out, err);
}

static hn_status collect(dpo *d, const hn_trainer *trainer, pair_set *set, hn_error *err) {
    hn_net_loss unused = {0};
    pass_pairs sums = {.options = d->options, .set = set, .collect = true};
    return run_all(trainer, &sums, (hn_pass){.without_adapter = d->base_is_reference}, &unused,
                   err);
}

/* What each rank has computed, or rank 0 has read, becomes everybody's: others have zeros there. */
static void share_references(const dpo *d, hn_ranks *ranks) {
    hn_ranks_add(ranks, d->train.references->logps, 2 * d->train.pairs->n);
    if (d->eval.pairs)
        hn_ranks_add(ranks, d->eval.references->logps, 2 * d->eval.pairs->n);
}

static hn_status compute_references(dpo *d, const hn_trainer *trainer, hn_error *err) {
    memset(d->train.references, 0, d->train.pairs->n * sizeof(reference));
    hn_progress_note(trainer->progress, "computing the reference's log-probabilities");
    HN_TRY(collect(d, trainer, &d->train, err));
    if (!d->eval.pairs)
        return HN_OK;
    memset(d->eval.references, 0, d->eval.pairs->n * sizeof(reference));
    return collect(d, trainer, &d->eval, err);
}

static hn_status begin(void *context, const hn_trainer *trainer, hn_error *err) {
    dpo *d = context;
    hn_ranks *ranks = trainer->options->ranks;
    bool first = hn_ranks_is_first(ranks);
    char *path = hn_path_join(trainer->options->out_dir, "references");
    hn_status status = path ? HN_OK : hn_fail_no_memory(err, strlen(trainer->options->out_dir));
    HN_GO(hn_ranks_agree(ranks, status, err));
    bool loaded = first && trainer->options->resume && load_references(d, trainer, path);
    hn_ranks_broadcast(ranks, &loaded, sizeof loaded);
    if (!loaded)
        HN_GO(hn_ranks_agree(ranks, compute_references(d, trainer, err), err));
    share_references(d, ranks);
    if (!loaded && first)
        status = save_references(d, trainer, path, err);
done:
    hn_free(path);
    return status;
}

static uint64_t hash_pairs(const hn_pairs *pairs, uint64_t hash) {
    for (size_t i = 0; pairs && i < pairs->n; i++) {
        hash = hn_train_hash_document(&pairs->items[i].chosen, hash);
        hash = hn_train_hash_document(&pairs->items[i].rejected, hash);
    }
    return hash;
}

hn_status hn_train_dpo(hn_model *model, const hn_pairs *pairs, const hn_pairs *eval,
                       const hn_dpo_options *options, const hn_train_options *train,
                       const hn_progress *progress, hn_train_result *result, hn_error *err) {
    HN_TRY(hn_dpo_check(&options->loss, err));
    dpo d = {.options = &options->loss,
             .base_is_reference = options->base_is_reference,
             .train.pairs = pairs,
             .eval.pairs = eval};
    const double own[] = {options->loss.kind, options->loss.beta, options->loss.label_smoothing,
                          options->base_is_reference};
    d.data_hash = hash_pairs(eval, hash_pairs(pairs, hn_hash64(own, sizeof own, 0)));
    hn_task task = {.context = &d,
                    .n_items = pairs->n,
                    .path = pairs->path,
                    .data_hash = d.data_hash,
                    .evaluates = eval != NULL,
                    .line = line_of,
                    .begin = begin,
                    .step = step,
                    .evaluate = evaluate};
    hn_train_options settings = *train;
    if (settings.budget_bytes == 0)
        settings.budget_bytes = hn_net_budget(model, LEAST_BUDGET_BYTES);
    hn_status status = HN_OK;
    d.train.references = hn_calloc(pairs->n, sizeof(reference));
    d.eval.references = hn_calloc(eval ? eval->n : 1, sizeof(reference));
    if (!d.train.references || !d.eval.references)
        status = hn_fail_no_memory(err, pairs->n * sizeof(reference));
    HN_GO(hn_ranks_agree(train->ranks, status, err));
    status = hn_train_run(model, &task, &settings, progress, result, err);
done:
    hn_free(d.train.references);
    hn_free(d.eval.references);
    return status;
}
