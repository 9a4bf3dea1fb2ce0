#include "train/loss_kd.h"

#include <string.h>

typedef struct kd_rows {
    const hn_kd *kd;
    float *teacher;
    double hard, soft; /* sums */
} kd_rows;

/* d/ds of soft * T^2 * KL(t/T || s/T) is soft * T * (softmax(s/T) - softmax(t/T)). */
static double kd_row(void *context, const hn_loss_rows *r, int64_t i) {
    const kd_rows *k = context;
    const hn_kd *kd = k->kd;
    int64_t best;
    float *s = r->logits + i * r->n_vocab, *t = k->teacher + i * r->n_vocab;
    float inv_t = 1.0f / kd->temperature, scale = kd->soft * kd->temperature * r->weights[i];
    double divergence = kd->beta > 0 ? r->ops->divergence(s, t, r->n_vocab, inv_t, kd->beta, scale)
                                     : r->ops->distill(s, t, r->n_vocab, inv_t, scale);
    r->logps[i] =
        -r->ops->cross_entropy(s, r->n_vocab, r->labels[i], kd->hard * r->weights[i], &best);
    r->hits[i] = best == r->labels[i];
    r->ops->add(s, t, r->n_vocab, 1.0f);
    return divergence;
}

static void kd_add(void *context, const hn_loss_rows *r, int64_t i, double divergence) {
    kd_rows *k = context;
    double weight = (double)r->weights[i];
    double square = (double)k->kd->temperature * (double)k->kd->temperature;
    k->hard -= r->logps[i] * weight;
    k->soft += divergence * weight * square;
}

void hn_loss_kd(const hn_kd *kd, const hn_loss_rows *rows, float *teacher, hn_kd_sums *sums,
                double *value) {
    kd_rows k = {.kd = kd, .teacher = teacher};
    hn_loss_rows_run(rows, &(hn_loss_each){&k, kd_row, kd_add});
    sums->hard += k.hard;
    sums->soft += k.soft;
    *value += (double)kd->hard * k.hard + (double)kd->soft * k.soft;
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
