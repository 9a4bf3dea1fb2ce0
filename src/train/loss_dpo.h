/* Losses of preferences (spec/training.md, "Preference tuning"): of a pair's summed
 * log-probabilities, with their derivatives. Rafailov et al. 2023 (sigmoid), Mitchell 2023
 * (label smoothing), Chowdhury et al. 2024 (robust), Azar et al. 2023 (ipo). */
#pragma once

#include "base/status.h"

#include <stdint.h>

typedef enum hn_dpo_kind { HN_DPO_SIGMOID, HN_DPO_ROBUST, HN_DPO_IPO } hn_dpo_kind;

typedef struct hn_dpo {
    hn_dpo_kind kind;
    float beta;            /* 0.1 */
    float label_smoothing; /* share of pairs whose order is wrong; below 0.5 */
} hn_dpo;

enum { HN_CHOSEN, HN_REJECTED };

/* [HN_CHOSEN] and [HN_REJECTED] */
typedef struct hn_dpo_pair {
    double logps[2], reference[2]; /* summed over the completion: of the policy, the reference */
    int32_t counts[2];             /* tokens of the completion */
} hn_dpo_pair;

/* HN_USAGE for what makes no sense. */
HN_MUST_CHECK hn_status hn_dpo_check(const hn_dpo *dpo, hn_error *err);
/* The pair's loss; gradient: d loss / d logps. */
double hn_loss_dpo(const hn_dpo *dpo, const hn_dpo_pair *pair, double gradient[2]);
/* beta times the log ratio of policy and reference. */
double hn_dpo_reward(const hn_dpo *dpo, const hn_dpo_pair *pair, int side);
