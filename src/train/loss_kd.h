/* Losses of distillation (spec/training.md, "Logit distillation"): the student's logits against a
 * teacher's (Hinton et al. 2015), and its hidden states against the teacher's (Romero et al. 2015,
 * Jiao et al. 2020). */
#pragma once

#include "kernels/matrix.h"
#include "train/loss.h"

/* loss = hard * cross-entropy + soft * T^2 * KL(teacher || student), both at the temperature; with
 * beta above 0 the generalised Jensen-Shannon divergence (train/ops.h) in KL's place. */
typedef struct hn_kd {
    float hard, soft, temperature, beta;
} hn_kd;

/* The terms without their factors hard and soft, but with T^2 and the rows' weights. */
typedef struct hn_kd_sums {
    double hard, soft;
} hn_kd_sums;

/* Adds the value of a tile to *value and its terms to *sums, as hn_loss.rows does. teacher: (n,
 * n_vocab) its logits at the same rows; used up. */
void hn_loss_kd(const hn_kd *kd, const hn_loss_rows *rows, float *teacher, hn_kd_sums *sums,
                double *value);

/* States of n rows: weight * sum of |P student - teacher|^2. */
typedef struct hn_hidden {
    hn_compute *compute;
    int64_t n, dim, teacher_dim;
    const float *student;    /* (n, dim) */
    float *teacher;          /* (n, teacher_dim); out: the gradient of P student */
    const float *projection; /* P (teacher_dim, dim), or NULL where the widths are the same */
    float weight;
    float *d_student;    /* (n, dim) out: the gradient; NULL = not wanted */
    float *d_projection; /* (teacher_dim, dim) added to; NULL without P */
} hn_hidden;
HN_MUST_CHECK hn_status hn_loss_hidden(const hn_hidden *hidden, double *value, hn_error *err);
