#include "train/state.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/lock.h"
#include "train/metrics.h"

#include <string.h>

static const char MAGIC[8] = {'H', 'O', 'N', 'E', 'S', 'F', 'T', '4'};

typedef struct file_header {
    char magic[8];
    uint64_t fingerprint, n_params, updates;
    hn_train_state state;
    uint64_t has_best;
    uint64_t checksum; /* of the header with this field 0, then of the arrays */
} file_header;

uint64_t hn_train_hash_document(const hn_document *doc, uint64_t hash) {
    /* ids and labels lie in one block */
    return hn_hash64(doc->ids, 2 * (size_t)doc->n * sizeof(int32_t), hash);
}

uint64_t hn_train_hash_documents(const hn_documents *docs, uint64_t hash) {
    for (size_t i = 0; docs && i < docs->n; i++)
        hash = hn_train_hash_document(&docs->items[i], hash);
    return hash;
}

/* A sample of the base's weights is enough to tell one base from another. */
uint64_t hn_train_hash_model(const hn_model *model, uint64_t hash) {
    enum { SAMPLE_BYTES = 4096 };
    for (int l = 0; l < model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_matrix *w = &model->layers[l].w[m];
            size_t n = w->packed_bytes < SAMPLE_BYTES ? w->packed_bytes : SAMPLE_BYTES;
            hash = hn_hash64(w->packed, n, hash);
        }
    return hash;
}

/* Ranks and scales, which the first values alone don't tell. */
static uint64_t hash_shape(const hn_params *params, uint64_t hash) {
    for (int l = 0; l < params->n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const double shape[] = {params->slots[l][m].r, (double)params->slots[l][m].scale,
                                    params->dora};
            hash = hn_hash64(shape, sizeof shape, hash);
        }
    return hash;
}

uint64_t hn_train_fingerprint(const hn_model *model, const hn_params *params, uint64_t data_hash,
                              const hn_train_options *o) {
    const double numbers[] = {o->dropout,
                              o->learning_rate,
                              o->weight_decay,
                              o->beta1,
                              o->beta2,
                              o->adam_eps,
                              o->max_grad_norm,
                              (double)o->schedule,
                              o->warmup_ratio,
                              o->warmup_steps,
                              o->epochs,
                              o->max_steps,
                              o->batch_rows,
                              o->eval_every,
                              o->early_stop_evals,
                              o->shuffle,
                              (double)o->budget_bytes,
                              o->plain_batches,
                              o->full,
                              o->shared,
                              o->lora_plus_ratio,
                              (double)o->optimiser,
                              o->replay ? o->replay_share : 0,
                              o->neftune_alpha,
                              (double)model->numerics};
    const char *metric = o->best_metric ? o->best_metric : "loss";
    uint64_t hash = hn_hash64(numbers, sizeof numbers, o->seed);
    if (o->golden && hn_metric_is(metric, HN_METRIC_GOLDEN)) /* otherwise it changes nothing */
        hash = hn_hash64(&o->golden->hash, sizeof o->golden->hash, hash);
    hash = hn_train_hash_documents(o->replay, hn_hash64(metric, strlen(metric), hash));
    hash = hash_shape(params, hn_hash64(params->values, params->n * sizeof *params->values, hash));
    return hn_hash64(&data_hash, sizeof data_hash, hn_train_hash_model(model, hash));
}

/* What follows the header: the parameters, the optimiser's arrays, the best values. */
typedef struct parts {
    int n;
    struct {
        const void *data;
        size_t bytes;
    } items[2 + HN_OPTIMISER_MAX_ARRAYS];
} parts;

static void add_part(parts *p, const void *data, size_t bytes) {
    p->items[p->n].data = data;
    p->items[p->n++].bytes = bytes;
}

static parts parts_of(const hn_params *params, const hn_optimiser *optimiser, const float *best) {
    parts p = {0};
    size_t bytes = params->n * sizeof(float);
    add_part(&p, params->values, bytes);
    for (int i = 0; i < optimiser->n_arrays; i++)
        add_part(&p, optimiser->arrays[i].data, optimiser->arrays[i].bytes);
    if (best)
        add_part(&p, best, bytes);
    return p;
}

static uint64_t checksum_of(const file_header *header, const parts *p) {
    file_header copy = *header;
    copy.checksum = 0;
    uint64_t hash = hn_hash64(&copy, sizeof copy, 0);
    for (int i = 0; i < p->n; i++)
        hash = hn_hash64(p->items[i].data, p->items[i].bytes, hash);
    return hash;
}

hn_status hn_train_state_save(const char *path, uint64_t fingerprint, const hn_train_state *state,
                              const hn_params *params, const hn_optimiser *optimiser,
                              const float *best, hn_error *err) {
    parts p = parts_of(params, optimiser, best);
    file_header header = {.fingerprint = fingerprint,
                          .n_params = params->n,
                          .updates = optimiser->updates,
                          .state = *state,
                          .has_best = best != NULL};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    header.checksum = checksum_of(&header, &p);
    hn_out out;
    HN_TRY(hn_out_open(&out, path, err));
    hn_out_write(&out, &header, sizeof header);
    for (int i = 0; i < p.n; i++)
        hn_out_write(&out, p.items[i].data, p.items[i].bytes);
    return hn_out_commit(&out, err);
}

static hn_status check_header(const hn_map *map, const char *path, uint64_t fingerprint,
                              size_t n_params, file_header *header, hn_error *err) {
    if (map->size < sizeof *header || memcmp(map->data, MAGIC, sizeof MAGIC) != 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: no training checkpoint; delete it to start afresh",
                       path);
    memcpy(header, map->data, sizeof *header);
    if (header->fingerprint != fingerprint || header->n_params != n_params)
        return hn_fail(err, HN_USAGE,
                       "%s: the checkpoint belongs to a run with other data, options or base; "
                       "choose another output folder, or delete it to start afresh",
                       path);
    return HN_OK;
}

hn_status hn_train_place_take(const hn_train_options *options, uint64_t fingerprint,
                              const hn_params *params, const char *adapter_dir,
                              const char *checkpoint, int *lock, hn_error *err) {
    hn_map map;
    file_header header;
    HN_TRY(hn_dir_make(options->out_dir, err));
    HN_TRY(hn_dir_lock(options->out_dir, "training", lock, err));
    if (hn_path_exists(adapter_dir) && !hn_path_is_dir(adapter_dir))
        return hn_fail(err, HN_IO, "%s: exists and is not a directory", adapter_dir);
    if (!options->resume || !hn_path_exists(checkpoint))
        return HN_OK;
    HN_TRY(hn_map_open(&map, checkpoint, err));
    hn_status status = check_header(&map, checkpoint, fingerprint, params->n, &header, err);
    hn_map_close(&map);
    return status;
}

/* `wanted` are the parts as the run has them, the best values among them; leaves in it where they
 * lie in the file. */
static hn_status check_file(const hn_map *map, const char *path, uint64_t fingerprint,
                            size_t n_params, parts *wanted, file_header *header, hn_error *err) {
    HN_TRY(check_header(map, path, fingerprint, n_params, header, err));
    wanted->n -= header->has_best == 0;
    size_t at = sizeof *header;
    for (int i = 0; i < wanted->n; i++) {
        wanted->items[i].data = map->data + at;
        at += wanted->items[i].bytes;
    }
    if (header->has_best > 1 || map->size != at || checksum_of(header, wanted) != header->checksum)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: the checkpoint is damaged; delete it to start afresh", path);
    return HN_OK;
}

hn_status hn_train_state_load(const char *path, uint64_t fingerprint, hn_train_state *state,
                              hn_params *params, hn_optimiser *optimiser, float *best,
                              hn_error *err) {
    hn_map map;
    file_header header;
    HN_TRY(hn_map_open(&map, path, err));
    parts to = parts_of(params, optimiser, best), from = to;
    hn_status status = check_file(&map, path, fingerprint, params->n, &from, &header, err);
    if (status == HN_OK) {
        for (int i = 0; i < from.n; i++)
            memcpy((void *)(uintptr_t)to.items[i].data, from.items[i].data, from.items[i].bytes);
        optimiser->updates = header.updates;
        *state = header.state;
    }
    hn_map_close(&map);
    return status;
}

void hn_train_state_share(hn_ranks *ranks, hn_train_state *state, hn_params *params,
                          hn_optimiser *optimiser, float *best) {
    hn_ranks_broadcast(ranks, state, sizeof *state);
    if (state->step == 0)
        return; /* all begin alike */
    parts p = parts_of(params, optimiser, best);
    for (int i = 0; i < p.n; i++)
        hn_ranks_broadcast(ranks, (void *)(uintptr_t)p.items[i].data, p.items[i].bytes);
    hn_ranks_broadcast(ranks, &optimiser->updates, sizeof optimiser->updates);
}

hn_status hn_train_check_alike(hn_ranks *ranks, hn_isa isa, uint64_t fingerprint, hn_error *err) {
    struct {
        uint64_t fingerprint;
        hn_isa isa;
    } first = {fingerprint, isa};
    hn_ranks_broadcast(ranks, &first, sizeof first);
    hn_status status = HN_OK;
    if (first.isa != isa)
        status = hn_fail(err, HN_USAGE,
                         "computes at level %s, rank 0 at %s, and the two round differently: give "
                         "all ranks the lower one, with --isa",
                         hn_isa_name(isa), hn_isa_name(first.isa));
    else if (first.fingerprint != fingerprint)
        status = hn_fail(err, HN_USAGE,
                         "has other rows, options or another base than rank 0: all ranks need the "
                         "same");
    return hn_ranks_agree(ranks, status, err);
}
