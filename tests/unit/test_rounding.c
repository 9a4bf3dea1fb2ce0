/* Rounding against a layer's outputs: what is written, what it gains over plain rounding, an
 * adapter on the base's own grid, memory that runs out at every allocation. */
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/matrix.h"
#include "release/grid.h"
#include "release/quantise.h"
#include "release/rounding.h"
#include "release/survival.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { COLS = 512, ROWS = 24, COUNT = ROWS * COLS, N_INPUTS = 1024, N_DIRECTIONS = 40 };

static const hn_dtype TYPES[] = {HN_Q8_0, HN_Q4_0, HN_Q4_1, HN_Q5_0,
                                 HN_Q5_1, HN_Q4_K, HN_Q5_K, HN_Q6_K};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES };

typedef struct fixture {
    hn_compute *compute;
    float *gram;   /* (COLS, COLS) of inputs that lie near N_DIRECTIONS directions */
    float *target; /* (ROWS, COLS) */
    float *back;   /* (ROWS, COLS) */
    uint8_t *blocks;
} fixture;

static void make_gram(fixture *f) {
    hn_rng rng = hn_rng_new(3, 1);
    float *inputs = hn_malloc(N_INPUTS * COLS * sizeof *inputs);
    float *directions = hn_malloc(N_DIRECTIONS * COLS * sizeof *directions);
    assert_true(inputs && directions);
    for (int i = 0; i < N_DIRECTIONS * COLS; i++)
        directions[i] = (float)hn_rng_normal(&rng);
    for (int n = 0; n < N_INPUTS; n++) {
        float *x = inputs + n * COLS;
        for (int i = 0; i < COLS; i++)
            x[i] = 0.3f * (float)hn_rng_normal(&rng);
        for (int k = 0; k < 4; k++) {
            const float *d = directions + hn_rng_below(&rng, N_DIRECTIONS) * COLS;
            float size = (float)hn_rng_normal(&rng);
            for (int i = 0; i < COLS; i++)
                x[i] += size * d[i];
        }
    }
    const hn_gemm gemm = {.m = COLS,
                          .n = COLS,
                          .k = N_INPUTS,
                          .a_transposed = true,
                          .a = inputs,
                          .b = inputs,
                          .c = f->gram,
                          .a_stride = COLS,
                          .b_stride = COLS,
                          .c_stride = COLS,
                          .alpha = 1};
    hn_error err;
    assert_int_equal(hn_gemm_run(f->compute, &gemm, &err), HN_OK);
    hn_free(inputs);
    hn_free(directions);
}

static int set_up(void **state) {
    fixture *f = hn_calloc(1, sizeof *f);
    hn_error err;
    hn_rng rng = hn_rng_new(5, 1);
    if (!f || hn_compute_new(&f->compute, hn_cpu_best_isa(), 2, &err) != HN_OK)
        return 1;
    f->gram = hn_malloc((size_t)COLS * COLS * sizeof(float));
    f->target = hn_malloc(COUNT * sizeof(float));
    f->back = hn_malloc(COUNT * sizeof(float));
    f->blocks = hn_malloc(COUNT * 4);
    if (!f->gram || !f->target || !f->back || !f->blocks)
        return 1;
    make_gram(f);
    for (int i = 0; i < COUNT; i++)
        f->target[i] = 0.05f * (float)hn_rng_normal(&rng);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture *f = *state;
    hn_compute_free(f->compute);
    hn_free(f->gram);
    hn_free(f->target);
    hn_free(f->back);
    hn_free(f->blocks);
    hn_free(f);
    return 0;
}

/* sum e^T gram e over the rows, e = target - back. */
static double output_error(const fixture *f) {
    double sum = 0;
    for (int row = 0; row < ROWS; row++) {
        const float *t = f->target + row * COLS, *b = f->back + row * COLS;
        for (int i = 0; i < COLS; i++) {
            double he = 0;
            for (int j = 0; j < COLS; j++)
                he += (double)f->gram[i * COLS + j] * (double)(t[j] - b[j]);
            sum += he * (double)(t[i] - b[i]);
        }
    }
    return sum;
}

static void plain(fixture *f, hn_dtype dtype) {
    hn_error err;
    assert_int_equal(hn_blocks_quantise(dtype, f->target, ROWS, COLS, NULL, f->blocks, &err),
                     HN_OK);
    hn_blocks_dequantise(dtype, f->blocks, COUNT, f->back);
}

/* gradient (ROWS, COLS), or NULL; change: what the target must keep, or NULL. */
static hn_status rounded(fixture *f, hn_dtype dtype, const float *change, float *gradient,
                         hn_error *err) {
    hn_rounding *rounding = NULL;
    hn_status status = HN_OK;
    HN_GO(hn_rounding_new(&rounding, f->compute, COLS, err));
    assert_true(hn_rounding_max_rows(rounding, COLS) >= ROWS);
    HN_GO(hn_rounding_inputs(rounding, f->gram, COLS, err));
    HN_GO(hn_rounding_run(rounding, dtype, f->target, change, ROWS, f->blocks, err));
    if (gradient)
        memcpy(gradient, hn_rounding_gradient(rounding), COUNT * sizeof *gradient);
    hn_blocks_dequantise(dtype, f->blocks, COUNT, f->back);
done:
    hn_rounding_free(rounding);
    return status;
}

static void test_error(void **state) {
    fixture *f = *state;
    hn_error err;
    float *gradient = hn_malloc(COUNT * sizeof *gradient);
    assert_non_null(gradient);
    for (int t = 0; t < N_TYPES; t++) {
        plain(f, TYPES[t]);
        double before = output_error(f), sum = 0;
        assert_int_equal(rounded(f, TYPES[t], NULL, gradient, &err), HN_OK);
        double after = output_error(f);
        if (getenv("SHOW"))
            print_message("%s %g\n", hn_dtype_name(TYPES[t]), after / before);
        assert_true(after < 0.5 * before);
        /* The gradient is kept up with every change of what is written. */
        for (int i = 0; i < COUNT; i++)
            sum += (double)gradient[i] * (double)(f->target[i] - f->back[i]);
        assert_true(fabs(sum - after) < 0.02 * after);
    }
    hn_free(gradient);
}

/* Base weights on a grid of the type and a change of rank one that is far below half a step: plain
 * rounding returns to the base, rounding against outputs keeps what the change does to them. */
static void test_adapter_on_base_grid(void **state) {
    fixture *f = *state;
    hn_rng rng = hn_rng_new(11, 1);
    hn_error err;
    float *base = hn_malloc(COUNT * sizeof *base), *change = hn_malloc(COUNT * sizeof *change);
    float *change_gram = hn_malloc(COUNT * sizeof *change_gram), column[COLS];
    float *gradient = hn_malloc(COUNT * sizeof *gradient);
    assert_true(base && change && change_gram && gradient);
    plain(f, HN_Q4_1);
    memcpy(base, f->back, COUNT * sizeof *base);
    for (int i = 0; i < COLS; i++)
        column[i] = 0.001f * (float)hn_rng_normal(&rng);
    for (int row = 0; row < ROWS; row++) {
        float size = (float)hn_rng_normal(&rng);
        for (int i = 0; i < COLS; i++) {
            change[row * COLS + i] = size * column[i];
            f->target[row * COLS + i] = base[row * COLS + i] + size * column[i];
        }
    }
    plain(f, HN_Q4_1);
    hn_survival weights = {0};
    hn_survival_add(&weights, base, f->target, f->back, COUNT);
    assert_true(hn_survival_share(&weights) < 0.1);
    const hn_gemm gemm = {.m = ROWS,
                          .n = COLS,
                          .k = COLS,
                          .a = change,
                          .b = f->gram,
                          .c = change_gram,
                          .a_stride = COLS,
                          .b_stride = COLS,
                          .c_stride = COLS,
                          .alpha = 1};
    double share[2], error[2];
    for (int kept = 0; kept < 2; kept++) {
        hn_survival outputs = {0};
        make_gram(f); /* its diagonal was raised */
        assert_int_equal(rounded(f, HN_Q4_1, kept ? change : NULL, gradient, &err), HN_OK);
        assert_int_equal(hn_gemm_run(f->compute, &gemm, &err), HN_OK);
        hn_survival_add_outputs(&outputs, f->target, f->back, change, change_gram, gradient, COUNT);
        share[kept] = hn_survival_share(&outputs);
        error[kept] = hn_survival_error(&outputs);
        if (getenv("SHOW"))
            print_message("share %g error %g\n", share[kept], error[kept]);
    }
    assert_true(share[0] > 0.8 && error[0] < 0.3);
    /* Asked to keep the change, it does, and the rest of the error grows little. */
    assert_true(fabs(1 - share[1]) < 0.25 * fabs(1 - share[0]));
    assert_true(error[1] < 1.5 * error[0]);
    hn_free(base);
    hn_free(change);
    hn_free(change_gram);
    hn_free(gradient);
}

static void test_refusals(void **state) {
    fixture *f = *state;
    hn_error err;
    int left;
    memset(f->gram, 0, (size_t)COLS * COLS * sizeof *f->gram);
    assert_int_equal(rounded(f, HN_Q4_1, NULL, NULL, &err), HN_BAD_INPUT);
    make_gram(f);
    assert_int_equal(rounded(f, HN_Q2_K, NULL, NULL, &err), HN_UNSUPPORTED);
    for (left = 0; left < 100; left++) {
        hn_mem_fail_after(left);
        hn_status status = rounded(f, HN_Q4_1, NULL, NULL, &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK)
            break;
        assert_int_equal(status, HN_NO_MEMORY);
    }
    assert_true(left > 3 && left < 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adapter_on_base_grid, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
