#include "train/kd_teacher.h"

#include "base/mem.h"
#include "train/net.h"

#include <math.h>
#include <string.h>

struct hn_kd_teacher {
    hn_model *model; /* or a file: */
    const hn_kd_file *file;
    const hn_documents *docs;
    uint64_t *first;   /* (docs->n) record of each document's first learned token */
    uint64_t *records; /* (targets of the pass) */
    size_t n_records;  /* room */
    hn_params params;  /* its adapter's, or none */
    hn_net *net;
    float *logits; /* grown to the largest tile */
    size_t logits_bytes;
};

static hn_status check_tokens(const hn_vocab *a, const hn_vocab *b, hn_error *err) {
    for (uint32_t i = 0; i < a->n_tokens && i < b->n_tokens; i++)
        if (a->tokens[i].size != b->tokens[i].size ||
            memcmp(a->tokens[i].data, b->tokens[i].data, a->tokens[i].size) != 0)
            return hn_fail(err, HN_BAD_INPUT,
                           "the teacher's vocabulary is another one: token %u is '%.*s', the "
                           "student's '%.*s'. Take a teacher of the student's own family, or let "
                           "it write rows for hone sft",
                           i, (int)b->tokens[i].size, b->tokens[i].data, (int)a->tokens[i].size,
                           a->tokens[i].data);
    return HN_OK;
}

hn_status hn_kd_teacher_check(const hn_model *student, const hn_model *teacher, hn_error *err) {
    if (student->ckpt.tokenizer && teacher->ckpt.tokenizer) {
        hn_vocab ours, theirs;
        hn_tokenizer_vocab(student->ckpt.tokenizer, &ours);
        hn_tokenizer_vocab(teacher->ckpt.tokenizer, &theirs);
        HN_TRY(check_tokens(&ours, &theirs, err));
    }
    if (student->arch.n_vocab != teacher->arch.n_vocab)
        return hn_fail(err, HN_BAD_INPUT,
                       "the teacher has %d tokens, the student %d: their vocabularies must be the "
                       "same",
                       teacher->arch.n_vocab, student->arch.n_vocab);
    return HN_OK;
}

hn_status hn_kd_teacher_new(hn_kd_teacher **out, hn_model *model, const hn_adapter *adapter,
                            hn_error *err) {
    hn_status status = HN_OK;
    hn_kd_teacher *teacher = hn_calloc(1, sizeof *teacher);
    if (!teacher)
        return hn_fail_no_memory(err, sizeof *teacher);
    teacher->model = model;
    HN_GO(adapter ? hn_params_new(&teacher->params, adapter, 0, err)
                  : hn_params_none(&teacher->params, model->arch.n_layer, err));
    HN_GO(hn_net_new(&teacher->net, model, &teacher->params, 0, 0, err));
    *out = teacher;
    teacher = NULL;
done:
    hn_kd_teacher_free(teacher);
    return status;
}

hn_status hn_kd_teacher_of_file(hn_kd_teacher **out, const hn_kd_file *file,
                                const hn_documents *docs, float temperature, hn_error *err) {
    hn_status status = HN_OK;
    if (fabsf(file->temperature - temperature) > 1e-6f * temperature)
        return hn_fail(err, HN_USAGE,
                       "the teacher's distributions were stored at temperature %g, not %g: give "
                       "that one, or store them again",
                       (double)file->temperature, (double)temperature);
    hn_kd_teacher *teacher = hn_calloc(1, sizeof *teacher);
    if (!teacher)
        return hn_fail_no_memory(err, sizeof *teacher);
    teacher->file = file;
    teacher->docs = docs;
    teacher->first = hn_malloc(docs->n * sizeof *teacher->first);
    if (!teacher->first)
        HN_GO(hn_fail_no_memory(err, docs->n * sizeof *teacher->first));
    for (size_t i = 0; i < docs->n; i++)
        if (!hn_kd_file_find(file, &docs->items[i], &teacher->first[i]))
            HN_GO(hn_fail(err, HN_BAD_INPUT,
                          "%s:%llu: the teacher's distributions have no such row: store them of "
                          "this file, with the same --system, --supervise and --max-length",
                          docs->path ? docs->path : "the rows",
                          (unsigned long long)docs->items[i].line));
    *out = teacher;
    teacher = NULL;
done:
    hn_kd_teacher_free(teacher);
    return status;
}

void hn_kd_teacher_free(hn_kd_teacher *teacher) {
    if (!teacher)
        return;
    hn_free(teacher->first);
    hn_free(teacher->records);
    hn_net_free(teacher->net);
    hn_params_done(&teacher->params);
    hn_free_aligned(teacher->logits, teacher->logits_bytes);
    hn_free(teacher);
}

/* The record of each target: a document's targets come in the order of its tokens. */
static hn_status find_records(hn_kd_teacher *t, const hn_tree *tree, const hn_document *const *docs,
                              hn_error *err) {
    size_t n = (size_t)tree->n_targets;
    int32_t n_docs = 0;
    for (size_t i = 0; i < n; i++)
        n_docs = tree->targets[i].doc >= n_docs ? tree->targets[i].doc + 1 : n_docs;
    if (n > t->n_records) {
        hn_free(t->records);
        t->records = hn_malloc(n * sizeof *t->records);
        t->n_records = t->records ? n : 0;
        if (!t->records)
            return hn_fail_no_memory(err, n * sizeof *t->records);
    }
    uint64_t *next = hn_malloc((size_t)n_docs * sizeof *next);
    if (!next)
        return hn_fail_no_memory(err, (size_t)n_docs * sizeof *next);
    for (int32_t i = 0; i < n_docs; i++)
        next[i] = t->first[docs[i] - t->docs->items];
    for (size_t i = 0; i < n; i++)
        t->records[i] = next[tree->targets[i].doc]++;
    hn_free(next);
    return HN_OK;
}

hn_status hn_kd_teacher_begin(hn_kd_teacher *teacher, const hn_tree *tree,
                              const hn_document *const *docs, hn_error *err) {
    if (teacher->file)
        return find_records(teacher, tree, docs, err);
    hn_net_finish(teacher->net);
    return hn_net_forward(teacher->net, tree, err);
}

typedef struct file_job {
    const hn_kd_teacher *teacher;
    const hn_loss_rows *rows;
} file_job;

static void file_share(void *arg, int thread, int n_threads) {
    const file_job *job = arg;
    const hn_loss_rows *r = job->rows;
    long from, to;
    hn_pool_share(r->n, 1, thread, n_threads, &from, &to);
    for (int64_t i = from; i < to; i++)
        hn_kd_file_logits(job->teacher->file, r->ops, job->teacher->records[r->first + i],
                          r->logits + i * r->n_vocab, job->teacher->logits + i * r->n_vocab);
}

hn_status hn_kd_teacher_logits(hn_kd_teacher *teacher, const hn_loss_rows *rows, float **logits,
                               hn_error *err) {
    size_t bytes = (size_t)rows->n * (size_t)rows->n_vocab * sizeof(float);
    if (bytes > teacher->logits_bytes) {
        hn_free_aligned(teacher->logits, teacher->logits_bytes);
        teacher->logits = hn_alloc_aligned(bytes);
        teacher->logits_bytes = teacher->logits ? bytes : 0;
        if (!teacher->logits)
            return hn_fail_no_memory(err, bytes);
    }
    *logits = teacher->logits;
    if (!teacher->file)
        return hn_net_logits(teacher->net, rows->first, rows->n, teacher->logits, err);
    hn_pool_run(rows->pool, file_share, &(file_job){teacher, rows});
    return HN_OK;
}

void hn_kd_teacher_states(const hn_kd_teacher *teacher, int layer, int32_t first, int32_t n,
                          float *out) {
    const int32_t *row;
    const float *x = hn_net_states(teacher->net, layer, &row);
    int64_t dim = teacher->model->arch.n_embd;
    for (int32_t i = 0; i < n; i++)
        memcpy(out + i * dim, x + row[first + i] * dim, (size_t)dim * sizeof *out);
}
