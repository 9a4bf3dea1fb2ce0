/* Statistics for scores: intervals, tests and sample sizes, in closed form or by plain sums over
 * binomial terms (log-gamma), so that they stay exact to ~1e-12 for any count that a golden set can
 * have. Golden values from scipy and statsmodels: tests/golden/record_stats.py. */
#include "eval/stats.h"

#include "base/mem.h"
#include "base/rng.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

void hn_stats_mean(const double *x, size_t n, double *mean, double *standard_error) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    double m = n ? sum / (double)n : 0;
    for (size_t i = 0; i < n; i++)
        squares += (x[i] - m) * (x[i] - m);
    *mean = m;
    *standard_error = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0;
}

/* Newton with Halley's correction on the complementary error function, which keeps its relative
 * precision far into the tail; the start is Abramowitz & Stegun 26.2.23 (|error| < 4.5e-4). */
double hn_stats_normal_quantile(double p) {
    if (!(p > 0) || !(p < 1))
        return p == 0 ? -INFINITY : p == 1 ? INFINITY : NAN;
    if (p > 0.5)
        return -hn_stats_normal_quantile(1 - p);
    double t = sqrt(-2 * log(p));
    double x = -(t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                         (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))));
    for (int i = 0; i < 3; i++) {
        double density = exp(-x * x / 2) / sqrt(2 * M_PI);
        double step = (0.5 * erfc(-x * M_SQRT1_2) - p) / density;
        x -= step / (1 + x * step / 2);
    }
    return x;
}

static double z_two_sided(double confidence) {
    return -hn_stats_normal_quantile((1 - confidence) / 2);
}

/* Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927. */
hn_interval hn_stats_wilson(size_t k, size_t n, double confidence) {
    if (!n)
        return (hn_interval){0, 1};
    double z = z_two_sided(confidence), count = (double)n, p = (double)k / count;
    double scale = 1 + z * z / count;
    double centre = (p + z * z / (2 * count)) / scale;
    double half = z / scale * sqrt(p * (1 - p) / count + z * z / (4 * count * count));
    return (hn_interval){k ? fmax(centre - half, 0) : 0, k < n ? fmin(centre + half, 1) : 1};
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double hn_stats_quantile(const double *sorted, size_t n, double q) {
    if (!n)
        return NAN;
    double at = q * (double)(n - 1);
    size_t low = (size_t)at;
    size_t high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

void hn_stats_sort(double *x, size_t n) {
    qsort(x, n, sizeof *x, compare_doubles);
}

static bool all_zero(const double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (x[i] != 0)
            return false;
    return true;
}

hn_status hn_stats_bootstrap(const double *x, size_t n, int draws, uint64_t seed, double confidence,
                             hn_interval *out, hn_error *err) {
    if (!n || n > UINT32_MAX || draws < 1)
        return hn_fail(err, HN_USAGE, "a bootstrap needs at least one value and one draw");
    if (all_zero(x, n)) { /* differences where nothing changed: so is the mean of every draw */
        *out = (hn_interval){0, 0};
        return HN_OK;
    }
    double *means = hn_malloc((size_t)draws * sizeof *means);
    if (!means)
        return hn_fail_no_memory(err, (size_t)draws * sizeof *means);
    hn_rng rng = hn_rng_new(seed, 0);
    for (int d = 0; d < draws; d++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += x[(uint64_t)hn_rng_u32(&rng) * n >> 32]; /* bias below n / 2^32 */
        means[d] = sum / (double)n;
    }
    hn_stats_sort(means, (size_t)draws);
    double tail = (1 - confidence) / 2;
    *out = (hn_interval){hn_stats_quantile(means, (size_t)draws, tail),
                         hn_stats_quantile(means, (size_t)draws, 1 - tail)};
    hn_free(means);
    return HN_OK;
}

/* P(X = k) for X ~ Binomial(n, p), 0 < p < 1. */
static double binomial_term(size_t k, size_t n, double p) {
    double rest = (double)(n - k);
    return exp(lgamma((double)n + 1) - lgamma((double)k + 1) - lgamma(rest + 1) +
               (double)k * log(p) + rest * log1p(-p));
}

static double binomial_cdf(size_t k, size_t n, double p) {
    double sum = 0;
    for (size_t i = 0; i <= k; i++)
        sum += binomial_term(i, n, p);
    return fmin(sum, 1);
}

double hn_stats_mcnemar(size_t b, size_t c) {
    enum { EXACT_UP_TO = 25 }; /* spec/evaluation-release.md */
    size_t n = b + c, low = b < c ? b : c;
    if (!n)
        return 1;
    if (n <= EXACT_UP_TO)
        return fmin(2 * binomial_cdf(low, n, 0.5), 1);
    double off = fabs((double)b - (double)c) - 1;
    /* P(chi-squared with one degree of freedom > s) = erfc(sqrt(s / 2)) */
    return erfc(fabs(off) / sqrt(2 * (double)n));
}

/* n = (z_alpha + z_power)^2 * flips / margin^2: the variance of a paired difference in {-1, 0, 1}
 * is the flip rate when the true difference is none. */
size_t hn_stats_items_needed(double margin, double flip_rate, double alpha, double power) {
    double z = -hn_stats_normal_quantile(alpha) + hn_stats_normal_quantile(power);
    double n = z * z * flip_rate / (margin * margin);
    return isfinite(n) && n < 1e18 ? (size_t)ceil(n) : SIZE_MAX;
}

double hn_stats_detectable_effect(size_t n, double flip_rate, double alpha, double power) {
    double z = -hn_stats_normal_quantile(alpha) + hn_stats_normal_quantile(power);
    return n ? z * sqrt(flip_rate / (double)n) : INFINITY;
}

/* The value of rank k is at least the quantile when at most k - 1 values lie below it. */
size_t hn_stats_quantile_upper_rank(size_t n, double q, double confidence) {
    double below = 0;
    for (size_t k = 1; k <= n; k++) {
        below += binomial_term(k - 1, n, q);
        if (below >= confidence)
            return k;
    }
    return 0;
}

size_t hn_stats_quantile_lower_rank(size_t n, double q, double confidence) {
    double above = 0;
    for (size_t k = n; k > 0; k--) {
        above += binomial_term(k, n, q);
        if (above >= confidence)
            return k;
    }
    return 0;
}

/* Tango's score statistic for a difference d of paired proportions, b lost and c won of n. */
static double tango_z(double b, double c, double n, double d) {
    double linear = -b - c + (2 * n - b + c) * d;
    double q = (sqrt(fmax(linear * linear + 8 * n * c * d * (1 - d), 0)) - linear) / (4 * n);
    double variance = n * (2 * q + d * (1 - d));
    return (b - c - n * d) / sqrt(fmax(variance, 1e-300));
}

/* Tango, "Equivalence test and confidence interval for the difference in proportions for the
 * paired-sample design", Statistics in Medicine 17 (1998); solved by bisection. */
hn_interval hn_stats_paired_difference(size_t b, size_t c, size_t n, double confidence) {
    if (!n)
        return (hn_interval){-1, 1};
    double z = z_two_sided(confidence), lost = (double)b, won = (double)c, count = (double)n;
    double estimate = (lost - won) / count;
    hn_interval out;
    for (int upper = 0; upper < 2; upper++) {
        double inside = estimate, outside = upper ? 1 : -1;
        for (int i = 0; i < 100; i++) {
            double d = (inside + outside) / 2;
            double at = tango_z(lost, won, count, d);
            if (upper ? at > -z : at < z)
                inside = d;
            else
                outside = d;
        }
        *(upper ? &out.high : &out.low) = inside;
    }
    return out;
}
