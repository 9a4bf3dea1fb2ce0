/* Sums over rows of numbers, in plain loops that any compiler turns into vectors. */
#pragma once

/* Sum of squares, in eight fixed lanes. */
float hn_sum_squares(const float *x, long n);
/* Sum of exp(x[i] - max). */
double hn_sum_exp(const float *x, long n, float max);
float hn_max(const float *x, long n);
/* max + log(sum(exp(x - max))): log-probability i is x[i] less this. */
double hn_log_sum_exp(const float *x, long n);
/* The index of the largest; the lowest among equals. */
long hn_argmax(const float *x, long n);
