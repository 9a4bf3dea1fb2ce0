#include "train/loss_dpo.h"

#include <math.h>

hn_status hn_dpo_check(const hn_dpo *dpo, hn_error *err) {
    if (!(dpo->beta > 0 && isfinite(dpo->beta)))
        return hn_fail(err, HN_USAGE, "beta %g: a number above 0 is needed", (double)dpo->beta);
    if (!(dpo->label_smoothing >= 0 && dpo->label_smoothing < 0.5f))
        return hn_fail(err, HN_USAGE, "label smoothing %g: 0 to below 0.5 is possible",
                       (double)dpo->label_smoothing);
    if (dpo->kind == HN_DPO_IPO && dpo->label_smoothing > 0)
        return hn_fail(err, HN_USAGE, "label smoothing is for the losses sigmoid and robust");
    return HN_OK;
}

/* log(1 / (1 + exp(-x))), exact for large |x|. */
static double log_sigmoid(double x) {
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

static double sigmoid(double x) {
    return exp(log_sigmoid(x));
}

static double log_ratio(const hn_dpo_pair *pair, int side) {
    return pair->logps[side] - pair->reference[side];
}

double hn_dpo_reward(const hn_dpo *dpo, const hn_dpo_pair *pair, int side) {
    return (double)dpo->beta * log_ratio(pair, side);
}

/* Per-token averages, as IPO's authors mean it (and TRL computes it). */
static double loss_ipo(double beta, const hn_dpo_pair *pair, double gradient[2]) {
    double chosen = pair->counts[HN_CHOSEN], rejected = pair->counts[HN_REJECTED];
    double gap = log_ratio(pair, HN_CHOSEN) / chosen - log_ratio(pair, HN_REJECTED) / rejected -
                 1 / (2 * beta);
    gradient[HN_CHOSEN] = 2 * gap / chosen;
    gradient[HN_REJECTED] = -2 * gap / rejected;
    return gap * gap;
}

double hn_loss_dpo(const hn_dpo *dpo, const hn_dpo_pair *pair, double gradient[2]) {
    double beta = (double)dpo->beta, e = (double)dpo->label_smoothing;
    if (dpo->kind == HN_DPO_IPO)
        return loss_ipo(beta, pair, gradient);
    double x = beta * (log_ratio(pair, HN_CHOSEN) - log_ratio(pair, HN_REJECTED));
    double loss, slope; /* d loss / dx */
    if (dpo->kind == HN_DPO_ROBUST) {
        loss = (e * log_sigmoid(-x) - (1 - e) * log_sigmoid(x)) / (1 - 2 * e);
        slope = -((1 - e) * sigmoid(-x) + e * sigmoid(x)) / (1 - 2 * e);
    } else {
        loss = -(1 - e) * log_sigmoid(x) - e * log_sigmoid(-x);
        slope = e * sigmoid(x) - (1 - e) * sigmoid(-x);
    }
    gradient[HN_CHOSEN] = slope * beta;
    gradient[HN_REJECTED] = -slope * beta;
    return loss;
}
