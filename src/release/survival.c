/* The adapter's change before and after rounding. Noise of rounding has no direction of its own, so
 * the share <realised, wanted> / <wanted, wanted> tells what is left of the change even where the
 * noise is larger than it; it is cosine times norm ratio. */
#include "release/survival.h"

#include <math.h>

void hn_survival_add(hn_survival *s, const float *base, const float *merged, const float *back,
                     int64_t cols) {
    double wanted = 0, realised = 0, both = 0;
    for (int64_t i = 0; i < cols; i++) {
        double d = (double)(merged[i] - base[i]), r = (double)(back[i] - base[i]);
        wanted += d * d;
        realised += r * r;
        both += d * r;
    }
    s->wanted += wanted;
    s->realised += realised;
    s->both += both;
}

void hn_survival_add_outputs(hn_survival *s, const float *merged, const float *back,
                             const float *change, const float *change_gram, const float *gradient,
                             int64_t cols) {
    double wanted = 0, lost = 0, error = 0;
    for (int64_t i = 0; i < cols; i++) {
        wanted += (double)change[i] * (double)change_gram[i];
        lost += (double)change[i] * (double)gradient[i];
        error += (double)(merged[i] - back[i]) * (double)gradient[i];
    }
    s->wanted += wanted;
    s->both += wanted - lost;
    s->realised += wanted - 2 * lost + error;
}

void hn_survival_join(hn_survival *s, const hn_survival *other) {
    s->wanted += other->wanted;
    s->realised += other->realised;
    s->both += other->both;
}

double hn_survival_share(const hn_survival *s) {
    return s->wanted > 0 ? s->both / s->wanted : NAN;
}

double hn_survival_error(const hn_survival *s) {
    return s->wanted > 0 ? (s->realised - 2 * s->both + s->wanted) / s->wanted : NAN;
}

void hn_survival_result(const hn_survival *s, double *cosine, double *norm_ratio) {
    *norm_ratio = s->wanted > 0 ? sqrt(s->realised / s->wanted) : NAN;
    *cosine = s->wanted > 0 ? 0 : NAN;
    if (s->wanted > 0 && s->realised > 0)
        *cosine = s->both / sqrt(s->wanted * s->realised);
}

bool hn_survival_lost(double share) {
    /* Measured (docs/quantisation.md): 0.06 for the base's own 4-bit grid, where the answers are
     * the base's; 0.53 for another 4-bit grid, where the adapter works. */
    const double least_share = 0.25;
    return share < least_share;
}
