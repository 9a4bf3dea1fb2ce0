/* Statistics for scores; each formula is checked against statsmodels or scipy in tests. */
#pragma once

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct hn_interval {
    double low, high;
} hn_interval;

/* Mean with its standard error, sample stddev / sqrt(n). */
void hn_stats_mean(const double *x, size_t n, double *mean, double *standard_error);
/* Wilson score interval for k of n at confidence (0.95). */
hn_interval hn_stats_wilson(size_t k, size_t n, double confidence);
/* Percentile bootstrap of the mean of x (paired differences, say); `draws` resamples. */
HN_MUST_CHECK hn_status hn_stats_bootstrap(const double *x, size_t n, int draws, uint64_t seed,
                                           double confidence, hn_interval *out, hn_error *err);
/* McNemar on discordant pairs b, c: exact binomial at b + c <= 25, else continuity-corrected. */
double hn_stats_mcnemar(size_t b, size_t c);
/* Golden items needed to decide `margin` at a flip rate (alpha one-sided, power). */
size_t hn_stats_items_needed(double margin, double flip_rate, double alpha, double power);
/* Distribution-free one-sided upper bound of quantile q at confidence, from order statistics:
 * the rank (1-based) whose value bounds it, or 0 when n is too small to say. */
size_t hn_stats_quantile_upper_rank(size_t n, double q, double confidence);
/* The same for a lower bound: the largest rank whose value is at most the quantile, or 0. */
size_t hn_stats_quantile_lower_rank(size_t n, double q, double confidence);
/* Smallest true difference that n paired items decide at this flip rate; infinite for n = 0. */
double hn_stats_detectable_effect(size_t n, double flip_rate, double alpha, double power);
/* Tango's score interval for the difference b/n - c/n of paired proportions, b pairs won by the
 * first alone and c by the second alone: never narrower than n allows, even without a flip. */
hn_interval hn_stats_paired_difference(size_t b, size_t c, size_t n, double confidence);
double hn_stats_normal_quantile(double p);
/* Sorts ascending; and quantile q of sorted values, interpolated linearly as numpy does. */
void hn_stats_sort(double *x, size_t n);
double hn_stats_quantile(const double *sorted, size_t n, double q);
