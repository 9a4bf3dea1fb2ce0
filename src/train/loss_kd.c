#include "train/loss_kd.h"

#include <string.h>

enum { GROUP_ROWS = 64 };

/* Rows are handled in groups whose results are added in order, so that the sums are the same for
 * any number of threads. */
typedef struct kd_job {
    const hn_kd *kd;
    const hn_loss_rows *rows;
    float *teacher;
    int32_t first, n;
    double divergence[GROUP_ROWS];
} kd_job;

/* d/ds of soft * T^2 * KL(t/T || s/T) is soft * T * (softmax(s/T) - softmax(t/T)). */
static void kd_share(void *arg, int thread, int n_threads) {
    kd_job *job = arg;
    const hn_loss_rows *r = job->rows;
    const hn_kd *kd = job->kd;
    long from, to;
    hn_pool_share(job->n, 1, thread, n_threads, &from, &to);
    for (long i = from; i < to; i++) {
        int64_t best, row = job->first + i;
        float *s = r->logits + row * r->n_vocab, *t = job->teacher + row * r->n_vocab;
        float inv_t = 1.0f / kd->temperature;
        float scale = kd->soft * kd->temperature * r->weights[row];
        job->divergence[i] = kd->beta > 0
                                 ? r->ops->divergence(s, t, r->n_vocab, inv_t, kd->beta, scale)
                                 : r->ops->distill(s, t, r->n_vocab, inv_t, scale);
        r->logps[row] = -r->ops->cross_entropy(s, r->n_vocab, r->labels[row],
                                               kd->hard * r->weights[row], &best);
        r->hits[row] = best == r->labels[row];
        r->ops->add(s, t, r->n_vocab, 1.0f);
    }
}

void hn_loss_kd(const hn_kd *kd, const hn_loss_rows *rows, float *teacher, hn_kd_sums *sums,
                double *value) {
    kd_job job = {.kd = kd, .rows = rows, .teacher = teacher};
    double hard = 0, soft = 0, square = (double)kd->temperature * (double)kd->temperature;
    for (job.first = 0; job.first < rows->n; job.first += GROUP_ROWS) {
        job.n = rows->n - job.first < GROUP_ROWS ? rows->n - job.first : GROUP_ROWS;
        hn_pool_run(rows->pool, kd_share, &job);
        for (int32_t i = 0; i < job.n; i++) {
            double weight = (double)rows->weights[job.first + i];
            hard -= rows->logps[job.first + i] * weight;
            soft += job.divergence[i] * weight * square;
        }
    }
    sums->hard += hard;
    sums->soft += soft;
    *value += (double)kd->hard * hard + (double)kd->soft * soft;
}

/* teacher = P student - teacher; returns the sum of its squares. */
static hn_status differences(const hn_hidden *h, double *squares, hn_error *err) {
    int64_t n = h->n * h->teacher_dim;
    if (h->projection) {
        hn_gemm gemm = {.m = h->n,
                        .n = h->teacher_dim,
                        .k = h->dim,
                        .b_transposed = true,
                        .a = h->student,
                        .a_stride = h->dim,
                        .b = h->projection,
                        .b_stride = h->dim,
                        .c = h->teacher,
                        .c_stride = h->teacher_dim,
                        .alpha = 1,
                        .beta = -1};
        HN_TRY(hn_gemm_run(h->compute, &gemm, err));
    } else {
        for (int64_t i = 0; i < n; i++)
            h->teacher[i] = h->student[i] - h->teacher[i];
    }
    *squares = 0;
    for (int64_t i = 0; i < n; i++)
        *squares += (double)h->teacher[i] * (double)h->teacher[i];
    return HN_OK;
}

static hn_status projected_gradients(const hn_hidden *h, hn_error *err) {
    hn_gemm to_projection = {.m = h->teacher_dim,
                             .n = h->dim,
                             .k = h->n,
                             .a_transposed = true,
                             .a = h->teacher,
                             .a_stride = h->teacher_dim,
                             .b = h->student,
                             .b_stride = h->dim,
                             .c = h->d_projection,
                             .c_stride = h->dim,
                             .alpha = 1,
                             .beta = 1};
    hn_gemm to_student = {.m = h->n,
                          .n = h->dim,
                          .k = h->teacher_dim,
                          .a = h->teacher,
                          .a_stride = h->teacher_dim,
                          .b = h->projection,
                          .b_stride = h->dim,
                          .c = h->d_student,
                          .c_stride = h->dim,
                          .alpha = 1};
    HN_TRY(hn_gemm_run(h->compute, &to_projection, err));
    return h->d_student ? hn_gemm_run(h->compute, &to_student, err) : HN_OK;
}

hn_status hn_loss_hidden(const hn_hidden *h, double *value, hn_error *err) {
    double squares;
    HN_TRY(differences(h, &squares, err));
    for (int64_t i = 0; i < h->n * h->teacher_dim; i++)
        h->teacher[i] *= 2 * h->weight;
    if (h->projection)
        HN_TRY(projected_gradients(h, err));
    else if (h->d_student)
        memcpy(h->d_student, h->teacher, (size_t)(h->n * h->dim) * sizeof *h->d_student);
    *value += (double)h->weight * squares;
    return HN_OK;
}
