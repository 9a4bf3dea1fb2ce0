/* MiniLLM's loss on completions that the student has sampled (Gu et al. 2024), as TRL's
 * experimental MiniLLMTrainer had it: a policy gradient whose reward is log p_teacher - log
 * p_student of each sampled token, and the exact reverse KL of each position beside it.
 *
 *     advantage[t] = sum over i >= t of gamma^(i - t) reward[i] / sum over i >= t of gamma^(i - t)
 *     loss = mean over tokens of: -advantage (a constant) * pi / pi held constant
 *            + single_step * KL(student || teacher)
 *
 * Advantages reach over a completion, so that rows are gone over twice (hn_loss.between), but for
 * gamma 0, where each is its own reward. */
#pragma once

#include "train/kd_teacher.h"
#include "train/loss.h"

typedef struct hn_minillm_options {
    float gamma;       /* 0: each token's own reward; 1: the mean of its own and all later ones */
    float single_step; /* 0 = the policy gradient alone */
    float temperature; /* of both distributions in rewards and KL */
    float sample_temperature; /* of the policy pi: the one that completions were sampled at */
} hn_minillm_options;

HN_MUST_CHECK hn_status hn_minillm_check(const hn_minillm_options *options, hn_error *err);

typedef struct hn_minillm {
    hn_minillm_options options;
    hn_kd_teacher *teacher; /* borrowed */
    float share;            /* of the whole loss */
    /* Sums over rows of their weights times: -reward, the single step's KL, -log pi. */
    double reverse_kl, single_step, cross_entropy;

    /* of the pass at hand */
    const hn_tree *tree;
    double *advantages; /* (tree->n_targets), rewards until all are known; grown */
    size_t room;
    bool known;
} hn_minillm;

/* A loss whose context is *m, with m's options, teacher and share set and all else zero; rows count
 * `weight`. */
hn_loss hn_loss_minillm(hn_minillm *m, float weight);
void hn_minillm_done(hn_minillm *m);
