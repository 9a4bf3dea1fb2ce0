/* Sums over rows of numbers, in plain loops that any compiler turns into vectors. */
#include "model/vmath.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* exp(x), relative error 2e-7 in [-87, 88]: x = n ln 2 + r, Taylor's polynomial to degree 6 for r
 * in [-0.35, 0.35], n put into the exponent. Outside it keeps the border's value; NaN
 * stays NaN. */
static inline float fast_exp(float x) {
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    float shifted = x * 1.44269504f + magic;
    float n = shifted - magic;
    float r = x - n * 0.693359375f; /* ln 2 in two parts: the first is exact in few bits */
    r = r + n * 2.12194440e-4f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits; /* of a NaN they may be anything: p is NaN then */
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000u + 127) << 23; /* 0x4b400000 is the magic number's bits */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

float hn_sum_squares(const float *x, long n) {
    float sum[8] = {0};
    long i = 0;
    for (; i + 8 <= n; i += 8)
        for (int j = 0; j < 8; j++)
            sum[j] += x[i + j] * x[i + j];
    for (int j = 0; i < n; i++, j++)
        sum[j] += x[i] * x[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

double hn_sum_exp(const float *x, long n, float max) {
    double total = 0;
    for (long i = 0; i < n; i += 1024) {
        long end = n - i < 1024 ? n : i + 1024, k = i;
        float sum[16] = {0};
        for (; k + 16 <= end; k += 16)
            for (int j = 0; j < 16; j++)
                sum[j] += fast_exp(x[k + j] - max);
        for (int j = 0; k < end; k++, j++)
            sum[j] += fast_exp(x[k] - max);
        for (int j = 0; j < 16; j++)
            total += (double)sum[j];
    }
    return total;
}

void hn_exp_all(float *out, const float *x, long n, float max, float divisor) {
    for (long i = 0; i < n; i++) {
        const float y = (x[i] - max) / divisor;
        out[i] = y < -87.0f ? 0 : fast_exp(y);
    }
}

double hn_sum(const float *x, long n) {
    double total = 0;
    for (long i = 0; i < n; i += 1024) {
        long end = n - i < 1024 ? n : i + 1024, k = i;
        float sum[16] = {0};
        for (; k + 16 <= end; k += 16)
            for (int j = 0; j < 16; j++)
                sum[j] += x[k + j];
        for (int j = 0; k < end; k++, j++)
            sum[j] += x[k];
        for (int j = 0; j < 16; j++)
            total += (double)sum[j];
    }
    return total;
}

float hn_max(const float *x, long n) {
    float max = x[0];
    for (long i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    return max;
}

double hn_log_sum_exp(const float *x, long n) {
    float max = hn_max(x, n);
    return (double)max + log(hn_sum_exp(x, n, max));
}

/* The largest value first, in lanes that don't wait for one another, then where it is. A NaN is
 * never larger; where it comes first, nothing is larger than it. */
long hn_argmax(const float *x, long n) {
    enum { LANES = 16 };
    float lanes[LANES];
    long i = 0;
    for (int j = 0; j < LANES; j++)
        lanes[j] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    float max = lanes[0];
    for (int j = 1; j < LANES; j++)
        max = lanes[j] > max ? lanes[j] : max;
    for (i = 0; i < n; i++)
        if (x[i] == max)
            return i;
    return 0;
}
