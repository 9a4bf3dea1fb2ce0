/* Elementwise functions over rows, in plain loops that any compiler turns into vectors. No value
 * depends on its neighbours or on where a thread's share begins. */
#pragma once

#include <stdint.h>

enum { HN_VMATH_GRAIN = 64 };

/* Sum of squares, in eight fixed lanes. */
float hn_sum_squares(const float *x, long n);
/* gate = gate * sigmoid(gate) * up. */
void hn_silu_mul(float *gate, const float *up, long n);
/* gate = gelu(gate) * up, gelu in its tanh form (Hendrycks and Gimpel, 2016). */
void hn_gelu_tanh_mul(float *gate, const float *up, long n);
/* Sum of exp(x[i] - max). */
double hn_sum_exp(const float *x, long n, float max);
float hn_max(const float *x, long n);
/* max + log(sum(exp(x - max))): log-probability i is x[i] less this. */
double hn_log_sum_exp(const float *x, long n);
