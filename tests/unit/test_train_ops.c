/* The inner loops of training at every vector width that this machine has, against formulas in
 * double, on lengths around the vectors' and with guard values behind each output. */
#include "base/mem.h"
#include "base/rng.h"
#include "train/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MAX_N = 203, GUARD = 8 };
#define GUARD_VALUE 12345.0f

typedef struct inputs {
    float a[MAX_N + GUARD], b[MAX_N + GUARD], c[MAX_N + GUARD];
} inputs;

static void fill(inputs *in, int64_t n, uint64_t seed) {
    hn_rng rng = hn_rng_new(seed, 1);
    for (int64_t i = 0; i < MAX_N + GUARD; i++) {
        in->a[i] = i < n ? 3 * (float)hn_rng_normal(&rng) : GUARD_VALUE;
        in->b[i] = i < n ? (float)hn_rng_normal(&rng) : GUARD_VALUE;
        in->c[i] = i < n ? (float)hn_rng_normal(&rng) : GUARD_VALUE;
    }
}

static void check(const float *ours, const double *wanted, int64_t n, const char *what) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++)
        largest = fmax(largest, fabs(wanted[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)ours[i] - wanted[i]) <= 3e-6 * fmax(fabs(wanted[i]), 0.1 * largest)))
            fail_msg("%s of %lld, value %lld: %g, wanted %g", what, (long long)n, (long long)i,
                     (double)ours[i], wanted[i]);
    for (int64_t i = n; i < n + GUARD; i++)
        assert_true(ours[i] == GUARD_VALUE);
}

static double sigmoid(double z) {
    return 1 / (1 + exp(-z));
}

static void check_norm(const hn_train_ops *ops, int64_t n) {
    inputs in;
    double y[MAX_N], dx[MAX_N], square = 0, along = 0;
    fill(&in, n, 1);
    float out[MAX_N + GUARD], *x = in.a, *w = in.b, *dy = in.c;
    for (int64_t i = 0; i < n; i++) {
        square += (double)x[i] * (double)x[i];
        along += (double)dy[i] * (double)w[i] * (double)x[i];
    }
    double s = 1 / sqrt(square / (double)n + 1e-5);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (double)x[i] * s * (double)w[i];
        dx[i] = 1 + (double)dy[i] * (double)w[i] * s - (double)x[i] * s * s * s * along / (double)n;
    }
    for (int64_t i = 0; i < n + GUARD; i++)
        out[i] = GUARD_VALUE;
    ops->rms_norm(x, w, n, 1e-5f, out);
    check(out, y, n, "rms_norm");
    for (int64_t i = 0; i < n; i++)
        out[i] = 1;
    ops->rms_norm_backward(x, w, n, 1e-5f, dy, out);
    check(out, dx, n, "rms_norm_backward");
}

static void check_glu(const hn_train_ops *ops, int64_t n, bool gelu) {
    inputs in;
    double h[MAX_N], dg[MAX_N], du[MAX_N];
    fill(&in, n, 2);
    float out[MAX_N + GUARD];
    const double c = 2 * sqrt(2 / M_PI), k = 0.044715;
    for (int64_t i = 0; i < n; i++) {
        double g = (double)in.a[i], u = (double)in.b[i], d = (double)in.c[i];
        double s = sigmoid(gelu ? c * (g + k * g * g * g) : g);
        double slope = gelu ? c * (1 + 3 * k * g * g) : 1;
        h[i] = g * s * u;
        dg[i] = d * u * (s + g * s * (1 - s) * slope);
        du[i] = d * g * s;
    }
    for (int64_t i = 0; i < n + GUARD; i++)
        out[i] = GUARD_VALUE;
    ops->glu(in.a, in.b, n, gelu, out);
    check(out, h, n, "glu");
    ops->glu_backward(in.a, in.b, in.c, n, gelu);
    check(in.a, dg, n, "glu_backward gate");
    check(in.b, du, n, "glu_backward up");
}

static void check_softmax(const hn_train_ops *ops, int64_t n) {
    inputs in;
    double p[MAX_N], gradient[MAX_N], sum = 0, max = -INFINITY;
    fill(&in, n, 3);
    int64_t best = 0, found;
    for (int64_t i = 0; i < n; i++)
        if ((double)in.a[i] > max) {
            max = (double)in.a[i];
            best = i;
        }
    for (int64_t i = 0; i < n; i++)
        sum += exp((double)in.a[i] - max);
    int32_t label = (int32_t)(n / 2);
    double loss = max + log(sum) - (double)in.a[label];
    for (int64_t i = 0; i < n; i++) {
        p[i] = exp((double)in.a[i] - max) / sum;
        gradient[i] = 0.25 * (p[i] - (i == label));
    }
    inputs other = in;
    double colder = 0;
    for (int64_t i = 0; i < n; i++)
        colder += exp(((double)in.a[i] - (double)in.a[label]) * 1.5);
    assert_true(fabs(ops->log_prob(in.a, n, label, 1) + loss) < 1e-5);
    assert_true(fabs(ops->log_prob(in.a, n, label, 1.5f) + log(colder)) < 1e-5);
    assert_memory_equal(&in, &other, sizeof in);
    assert_true(fabs(ops->cross_entropy(in.a, n, label, 0.25f, &found) - loss) < 1e-5);
    assert_int_equal(found, best);
    check(in.a, gradient, n, "cross_entropy");
    in = other;
    float lse = ops->softmax(in.a, n);
    assert_true(fabs((double)lse - max - log(sum)) < 1e-5);
    check(in.a, p, n, "softmax");
    ops->exp_shifted(other.a, n, (float)(max + log(sum)));
    check(other.a, p, n, "exp_shifted");
}

static void check_product(const hn_train_ops *ops, int64_t m, int64_t n, int64_t k, bool turned) {
    hn_rng rng = hn_rng_new(4, 1);
    float *a = hn_malloc((size_t)(m * k) * sizeof *a), *b = hn_malloc((size_t)(k * n) * sizeof *b);
    float *c = hn_malloc((size_t)(m * n + GUARD) * sizeof *c);
    double *wanted = hn_malloc((size_t)(m * n) * sizeof *wanted);
    for (int64_t i = 0; i < m * k; i++)
        a[i] = (float)hn_rng_normal(&rng);
    for (int64_t i = 0; i < k * n; i++)
        b[i] = (float)hn_rng_normal(&rng);
    for (int64_t i = 0; i < m * n + GUARD; i++)
        c[i] = i < m * n ? 1 : GUARD_VALUE;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 1;
            for (int64_t p = 0; p < k; p++)
                sum += (double)a[turned ? p * m + i : i * k + p] * (double)b[p * n + j];
            wanted[i * n + j] = sum;
        }
    ops->product(a, turned ? 1 : k, turned ? m : 1, b, n, c, n, m, n, k, true);
    check(c, wanted, m * n, "product");
    hn_free(a);
    hn_free(b);
    hn_free(c);
    hn_free(wanted);
}

static void test_level(void **state) {
    const hn_train_ops *ops = hn_train_ops_get(*(const hn_isa *)*state);
    static const int64_t LENGTHS[] = {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 127, MAX_N};
    for (size_t i = 0; i < sizeof LENGTHS / sizeof LENGTHS[0]; i++) {
        check_norm(ops, LENGTHS[i]);
        check_glu(ops, LENGTHS[i], false);
        check_glu(ops, LENGTHS[i], true);
        check_softmax(ops, LENGTHS[i]);
        check_product(ops, 13, LENGTHS[i], 21, false);
        check_product(ops, LENGTHS[i], 40, 5, true);
    }
}

/* Far from zero nothing may overflow, and what is too small is as good as nothing. */
static void test_extremes(void **state) {
    const hn_train_ops *ops = hn_train_ops_get(*(const hn_isa *)*state);
    float x[20];
    for (int i = 0; i < 20; i++)
        x[i] = i == 7 ? 1e30f : i == 8 ? -1e30f : 0;
    assert_true(ops->softmax(x, 20) == 1e30f);
    for (int i = 0; i < 20; i++)
        assert_true(fabsf(x[i] - (i == 7)) < 1e-30f);
    float gate[20], up[20], h[20];
    for (int i = 0; i < 20; i++) {
        gate[i] = i % 2 ? 1e4f : -1e4f;
        up[i] = 1;
    }
    ops->glu(gate, up, 20, true, h);
    for (int i = 0; i < 20; i++)
        assert_true(i % 2 ? h[i] == 1e4f : fabsf(h[i]) < 1e-30f);
}

int main(void) {
    static hn_isa levels[] = {HN_ISA_SCALAR, HN_ISA_AVX2, HN_ISA_AVX512VNNI, HN_ISA_NEON};
    enum { N_LEVELS = sizeof levels / sizeof *levels };
    struct CMUnitTest tests[2 * N_LEVELS];
    size_t n = 0;
    for (int i = 0; i < N_LEVELS; i++) {
        if (!hn_cpu_supports(levels[i])) {
            print_message("skipped: this machine has no %s\n", hn_isa_name(levels[i]));
            continue;
        }
        tests[n++] =
            (struct CMUnitTest){hn_isa_name(levels[i]), test_level, NULL, NULL, &levels[i]};
        tests[n++] = (struct CMUnitTest){"extremes", test_extremes, NULL, NULL, &levels[i]};
    }
    /* cmocka's macro takes an array of a fixed size */
    return _cmocka_run_group_tests("train_ops", tests, n, NULL, NULL);
}
