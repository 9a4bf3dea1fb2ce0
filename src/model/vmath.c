/* Sums over rows of numbers, in plain loops that any compiler turns into vectors; exponentials in
 * vectors of its own, for their limits keep a compiler from it. */
#include "model/vmath.h"

#include <math.h>
#include <string.h>

#define FMA(a, b, c) ((a) * (b) + (c))
#define VECTOR_LANES 4
#include "model/vec.h"

/* exp(x), relative error 2e-7 in [-87, 88]: x = n ln 2 + r, Taylor's polynomial to degree 6 for r
 * in [-0.35, 0.35], n put into the exponent. Outside it keeps the border's value; NaN
 * stays NaN. */
INLINE vf fast_exp(vf x) {
    x = min_vf(splat(88.0f), max_vf(splat(-87.0f), x));
    const vf magic = splat(12582912.0f); /* 1.5 * 2^23: adding it rounds to an integer */
    vf shifted = x * splat(1.44269504f) + magic;
    vf n = shifted - magic;
    vf r = x - n * splat(0.693359375f); /* ln 2 in two parts: the first is exact in few bits */
    r = r + n * splat(2.12194440e-4f);
    vf p = splat(1.0f / 720);
    p = p * r + splat(1.0f / 120);
    p = p * r + splat(1.0f / 24);
    p = p * r + splat(1.0f / 6);
    p = p * r + splat(0.5f);
    p = p * r + splat(1.0f);
    p = p * r + splat(1.0f);
    vi power = ((vi)shifted - (vi)magic + 127) << 23; /* of a NaN it may be anything: p is NaN */
    return p * (vf)power;
}

/* Up to LANES numbers as a vector, zeros behind them. */
INLINE vf load_some(const float *x, long n) {
    float some[LANES] = {0};
    memcpy(some, x, (size_t)(n < LANES ? n : LANES) * sizeof *x);
    return load_vf(some);
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
    enum { PIECE = 1024, SUMS = 16 };
    double total = 0;
    for (long i = 0; i < n; i += PIECE) {
        long end = n - i < PIECE ? n : i + PIECE, k = i;
        float sum[SUMS] = {0};
        for (; k + SUMS <= end; k += SUMS)
            for (int j = 0; j < SUMS; j += LANES)
                store_vf(sum + j, load_vf(sum + j) + fast_exp(load_vf(x + k + j) - splat(max)));
        for (float *at = sum; k < end; k += LANES, at += LANES) {
            vf e = fast_exp(load_some(x + k, end - k) - splat(max));
            for (int j = 0; j < LANES && k + j < end; j++)
                at[j] += e[j];
        }
        for (int j = 0; j < SUMS; j++)
            total += (double)sum[j];
    }
    return total;
}

INLINE vf exp_or_nothing(vf x) {
    return select_vf(x < splat(-87.0f), splat(0), fast_exp(x));
}

void hn_exp_all(float *out, const float *x, long n, float max, float divisor) {
    long i = 0;
    for (; i + LANES <= n; i += LANES)
        store_vf(out + i, exp_or_nothing((load_vf(x + i) - splat(max)) / splat(divisor)));
    if (i == n)
        return;
    vf rest = exp_or_nothing((load_some(x + i, n - i) - splat(max)) / splat(divisor));
    memcpy(out + i, &rest, (size_t)(n - i) * sizeof *out);
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

/* The largest of x and `least`, in lanes that don't wait for one another. A NaN is never larger. */
static float largest_of(const float *x, long n, float least) {
    enum { SLOTS = 16 };
    float lanes[SLOTS];
    long i = 0;
    for (int j = 0; j < SLOTS; j++)
        lanes[j] = least;
    for (; i + SLOTS <= n; i += SLOTS)
        for (int j = 0; j < SLOTS; j++)
            lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
    for (; i < n; i++)
        lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
    for (int j = 1; j < SLOTS; j++)
        lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return lanes[0];
}

/* The largest value first and the piece that it is in, then where it is there. Nothing is larger
 * than a NaN that comes first. */
long hn_argmax(const float *x, long n) {
    enum { PIECE = 1024 };
    float largest = x[0];
    long at = 0;
    for (long i = 0; i < n; i += PIECE) {
        const float in_piece = largest_of(x + i, n - i < PIECE ? n - i : PIECE, largest);
        if (in_piece > largest) {
            largest = in_piece;
            at = i;
        }
    }
    while (at < n && x[at] != largest)
        at++;
    return at < n ? at : 0;
}
