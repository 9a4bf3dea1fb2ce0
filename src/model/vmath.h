/* Sums over rows of numbers, in plain loops that any compiler turns into vectors. */
#pragma once

/* Sum of squares, in eight fixed lanes. */
float hn_sum_squares(const float *x, long n);
/* Sum of exp(x[i] - max). */
double hn_sum_exp(const float *x, long n, float max);
/* out[i] = exp((x[i] - max) / divisor), 0 where that is below exp(-87); max is the largest. */
void hn_exp_all(float *out, const float *x, long n, float max, float divisor);
/* The sum of numbers that aren't negative. */
double hn_sum(const float *x, long n);
float hn_max(const float *x, long n);
/* max + log(sum(exp(x - max))): log-probability i is x[i] less this. */
double hn_log_sum_exp(const float *x, long n);
/* The index of the largest; the lowest among equals. */
long hn_argmax(const float *x, long n);
