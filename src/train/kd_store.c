/* Writing a teacher's distributions: documents in passes, as training makes them; a pass's records
 * are kept in memory until they can be written document after document. */
#include "base/dtype.h"
#include "base/hash.h"
#include "base/mem.h"
#include "train/kd_file.h"
#include "train/kd_teacher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PASS_ROWS = 2048, TILE_BYTES = 32 << 20 };

typedef struct store {
    hn_model *teacher;
    hn_kd_teacher *runner;
    const hn_kd_store_options *o;
    const hn_train_ops *ops;
    hn_out out;
    uint64_t hash, n_written, n_entries;
    hn_kd_entry *entries; /* (documents) */
    uint8_t *records;     /* of the pass */
    size_t records_bytes;
    uint64_t *place; /* (documents of the pass) where the next record of each belongs */
} store;

/* The k likeliest, best first; of equals the lower id. */
static void choose(const float *x, int32_t n, int32_t k, uint32_t *ids) {
    int32_t held = 0;
    for (int32_t i = 0; i < n; i++) {
        if (held == k && !(x[i] > x[ids[k - 1]]))
            continue;
        int32_t at = held < k ? held++ : k - 1;
        for (; at > 0 && x[i] > x[ids[at - 1]]; at--)
            ids[at] = ids[at - 1];
        ids[at] = (uint32_t)i;
    }
}

/* x: (n_vocab) the teacher's logits; used up. */
static void fill_record(const store *s, float *x, uint8_t *record) {
    int32_t n = s->teacher->arch.n_vocab, k = s->o->k;
    uint32_t ids[HN_KD_TOP_MAX];
    uint16_t logs[HN_KD_TOP_MAX];
    double tail = 0;
    for (int32_t i = 0; i < n; i++)
        x[i] /= s->o->temperature;
    choose(x, n, k, ids);
    float top[HN_KD_TOP_MAX];
    for (int32_t i = 0; i < k; i++)
        top[i] = x[ids[i]];
    float lse = s->ops->softmax(x, n);
    for (int32_t i = 0; i < k; i++) {
        logs[i] = hn_f32_to_f16(fminf(top[i] - lse, 0));
        x[ids[i]] = 0;
    }
    for (int32_t i = 0; i < n; i++)
        tail += (double)x[i];
    float log_tail = tail > 0 ? fminf((float)log(tail), 0) : -INFINITY;
    memcpy(record, &log_tail, sizeof log_tail);
    memcpy(record + sizeof log_tail, ids, (size_t)k * sizeof *ids);
    memcpy(record + sizeof log_tail + (size_t)k * sizeof *ids, logs, (size_t)k * sizeof *logs);
}

typedef struct fill_job {
    const store *s;
    float *logits;
    int32_t first, n;
    const uint64_t *record; /* (n) */
} fill_job;

static void fill_share(void *arg, int thread, int n_threads) {
    const fill_job *job = arg;
    size_t bytes = hn_kd_record_bytes(job->s->o->k);
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++)
        fill_record(job->s, job->logits + i * job->s->teacher->arch.n_vocab,
                    job->s->records + job->record[i] * bytes);
}

static hn_status tiles(store *s, const hn_tree *tree, hn_error *err) {
    enum { MOST_ROWS = 4096 };
    uint64_t record[MOST_ROWS];
    int32_t n_vocab = s->teacher->arch.n_vocab;
    int32_t step = (int32_t)(TILE_BYTES / (sizeof(float) * (size_t)n_vocab)) + 1;
    step = step > MOST_ROWS ? MOST_ROWS : step;
    for (int32_t first = 0; first < tree->n_targets; first += step) {
        int32_t left = tree->n_targets - first;
        hn_loss_rows rows = {.first = first, .n = left < step ? left : step, .n_vocab = n_vocab};
        fill_job job = {.s = s, .n = rows.n, .record = record};
        HN_TRY(hn_kd_teacher_logits(s->runner, &rows, &job.logits, err));
        for (int32_t i = 0; i < rows.n; i++)
            record[i] = s->place[tree->targets[first + i].doc]++;
        hn_pool_run(hn_compute_pool(s->teacher->compute), fill_share, &job);
    }
    return HN_OK;
}

/* A document's targets come in the order of its tokens, so counting gives each its place. */
static hn_status run_pass(store *s, const hn_document *const *docs, size_t n, hn_error *err) {
    size_t bytes = hn_kd_record_bytes(s->o->k);
    uint64_t n_records = 0;
    hn_tree tree;
    for (size_t i = 0; i < n; i++) {
        s->place[i] = n_records;
        s->entries[s->n_entries++] =
            (hn_kd_entry){hn_kd_document_hash(docs[i]), s->n_written + n_records,
                          (uint64_t)docs[i]->n_supervised};
        n_records += (uint64_t)docs[i]->n_supervised;
    }
    if (n_records * bytes > s->records_bytes) {
        hn_free(s->records);
        s->records_bytes = (size_t)n_records * bytes;
        s->records = hn_malloc(s->records_bytes);
        if (!s->records) {
            s->records_bytes = 0;
            return hn_fail_no_memory(err, (size_t)n_records * bytes);
        }
    }
    HN_TRY(hn_tree_build(&tree, docs, n, &(hn_tree_options){.share = true}, err));
    hn_status status = hn_kd_teacher_begin(s->runner, &tree, docs, err);
    if (status == HN_OK)
        status = tiles(s, &tree, err);
    hn_tree_done(&tree);
    HN_TRY(status);
    for (uint64_t i = 0; i < n_records; i++)
        s->hash = hn_hash64(s->records + i * bytes, bytes, s->hash);
    hn_out_write(&s->out, s->records, (size_t)n_records * bytes);
    s->n_written += n_records;
    return HN_OK;
}

static int by_hash(const void *a, const void *b) {
    const hn_kd_entry *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static hn_status run_passes(store *s, const hn_document **all, const hn_document **bin,
                            const hn_packing *packing, const hn_progress *progress, hn_error *err) {
    for (size_t b = 0; b < packing->n_bins; b++) {
        size_t first = packing->first[b], n = packing->first[b + 1] - first;
        for (size_t i = 0; i < n; i++)
            bin[i] = all[packing->items[first + i]];
        HN_TRY(run_pass(s, bin, n, err));
        hn_progress_update(progress, "storing", b + 1, packing->n_bins, "pass", NULL);
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED, "stopped; nothing was written");
    }
    return HN_OK;
}

static hn_status write_file(store *s, const hn_documents *docs, const hn_progress *progress,
                            hn_error *err) {
    const hn_document **all = hn_malloc(2 * docs->n * sizeof *all);
    hn_packing packing = {0};
    hn_kd_header h = {.vocabulary = hn_kd_vocabulary_hash(s->teacher),
                      .n_docs = docs->n,
                      .n_vocab = s->teacher->arch.n_vocab,
                      .k = s->o->k,
                      .temperature = s->o->temperature};
    hn_status status = HN_OK;
    s->entries = hn_malloc(docs->n * sizeof *s->entries);
    s->place = hn_malloc(docs->n * sizeof *s->place);
    if (!all || !s->entries || !s->place)
        HN_GO(hn_fail_no_memory(err, docs->n * sizeof *s->entries));
    memcpy(h.magic, HN_KD_FILE_MAGIC, sizeof h.magic);
    for (size_t i = 0; i < docs->n; i++) {
        all[i] = &docs->items[i];
        h.n_tokens += (uint64_t)docs->items[i].n_supervised;
    }
    HN_GO(hn_pack_documents(&packing, all, docs->n, PASS_ROWS, true, err));
    s->hash = hn_hash64(&h, sizeof h, 0);
    hn_out_write(&s->out, &h, sizeof h);
    HN_GO(run_passes(s, all, all + docs->n, &packing, progress, err));
    qsort(s->entries, docs->n, sizeof *s->entries, by_hash);
    s->hash = hn_hash64(s->entries, docs->n * sizeof *s->entries, s->hash);
    hn_out_write(&s->out, s->entries, docs->n * sizeof *s->entries);
    hn_out_write(&s->out, &s->hash, sizeof s->hash);
done:
    hn_packing_done(&packing);
    hn_free(all);
    hn_free(s->entries);
    hn_free(s->place);
    hn_free(s->records);
    return status;
}

hn_status hn_kd_store(hn_model *teacher, const hn_documents *docs,
                      const hn_kd_store_options *options, const char *path,
                      const hn_progress *progress, hn_error *err) {
    if (options->k < 1 || options->k > HN_KD_TOP_MAX || options->k > teacher->arch.n_vocab)
        return hn_fail(err, HN_USAGE, "%d tokens to keep: 1 to %d are possible", options->k,
                       teacher->arch.n_vocab < HN_KD_TOP_MAX ? teacher->arch.n_vocab
                                                             : HN_KD_TOP_MAX);
    if (!(options->temperature > 0 && isfinite(options->temperature)))
        return hn_fail(err, HN_USAGE, "temperature %g: a number above 0 is needed",
                       (double)options->temperature);
    store s = {.teacher = teacher,
               .o = options,
               .ops = hn_train_ops_get(hn_compute_isa(teacher->compute))};
    HN_TRY(hn_kd_teacher_new(&s.runner, teacher, NULL, err));
    hn_status status = hn_out_open(&s.out, path, err);
    if (status == HN_OK) {
        status = write_file(&s, docs, progress, err);
        if (status == HN_OK)
            status = hn_out_commit(&s.out, err);
        else
            hn_out_abort(&s.out);
    }
    hn_kd_teacher_free(s.runner);
    return status;
}
