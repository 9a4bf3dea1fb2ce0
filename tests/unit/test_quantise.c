/* Quantisers: what is written reads back as the grid says, searched scales beat plain rounding,
 * extreme and broken values, llama.cpp's mixes. */
#include "base/mem.h"
#include "base/rng.h"
#include "kernels/matrix.h"
#include "release/grid.h"
#include "release/quantise.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const hn_dtype TYPES[] = {HN_Q8_0, HN_Q4_0, HN_Q4_1, HN_Q5_0,
                                 HN_Q5_1, HN_Q4_K, HN_Q5_K, HN_Q6_K};
enum { N_TYPES = sizeof TYPES / sizeof *TYPES, COLS = 512, ROWS = 4, COUNT = ROWS * COLS };

static void fill(float *x, float size) {
    hn_rng rng = hn_rng_new(7, 1);
    for (int i = 0; i < COUNT; i++)
        x[i] = size * (float)hn_rng_normal(&rng);
}

static double error_of(hn_dtype dtype, const float *x, const float *importance, float *back) {
    static uint8_t blocks[COUNT * 4];
    hn_error err;
    assert_int_equal(hn_blocks_quantise(dtype, x, ROWS, COLS, importance, blocks, &err), HN_OK);
    hn_blocks_dequantise(dtype, blocks, COUNT, back);
    double sum = 0, total = 0;
    for (int i = 0; i < COUNT; i++) {
        double weight = importance ? (double)importance[i % COLS] : 1;
        sum += weight * (double)(x[i] - back[i]) * (double)(x[i] - back[i]);
        total += weight * (double)x[i] * (double)x[i];
    }
    return sqrt(sum / total);
}

/* Normal values; the bounds lie a little above what was measured (in order: 0.0049 0.083 0.079
 * 0.041 0.039 0.073 0.036 0.018), and below what plain rounding reaches. */
static void test_error(void **state) {
    (void)state;
    static const double BOUNDS[N_TYPES] = {0.0055, 0.088, 0.080, 0.044, 0.040, 0.077, 0.039, 0.019};
    float x[COUNT], back[COUNT];
    for (int t = 0; t < N_TYPES; t++) {
        fill(x, 0.05f);
        double error = error_of(TYPES[t], x, NULL, back);
        if (error > BOUNDS[t])
            fail_msg("%s: relative error %g", hn_dtype_name(TYPES[t]), error);
    }
}

/* The bytes hold exactly what the grid promised. */
static void test_pack_matches_grid(void **state) {
    (void)state;
    float x[COUNT], weight[HN_GRID_MAX_VALUES], back[HN_GRID_MAX_VALUES];
    uint8_t codes[HN_GRID_MAX_VALUES], block[512];
    fill(x, 3);
    for (int i = 0; i < HN_GRID_MAX_VALUES; i++)
        weight[i] = 1;
    for (int t = 0; t < N_TYPES; t++) {
        hn_grid grid;
        hn_grid_fit(&grid, TYPES[t], x, weight, t % 2 == 0);
        for (int i = 0; i < grid.n_values; i++)
            codes[i] = (uint8_t)hn_grid_code(&grid, i, x[i]);
        hn_grid_pack(&grid, codes, block);
        hn_blocks_dequantise(TYPES[t], block, grid.n_values, back);
        for (int i = 0; i < grid.n_values; i++)
            assert_true(fabsf(back[i] - hn_grid_value(&grid, i, codes[i])) < 1e-6f);
    }
}

/* Values that lie on a grid of the type come back as they were. */
static void test_on_grid(void **state) {
    (void)state;
    float x[COUNT], once[COUNT], twice[COUNT];
    static const hn_dtype PLAIN[] = {HN_Q8_0, HN_Q4_0, HN_Q4_1, HN_Q5_0, HN_Q5_1};
    for (int t = 0; t < 5; t++) {
        fill(x, 0.1f);
        error_of(PLAIN[t], x, NULL, once);
        error_of(PLAIN[t], once, NULL, twice);
        for (int i = 0; i < COUNT; i++)
            assert_true(once[i] == twice[i]);
    }
}

/* What was taught to a 4-bit base is small beside its grid. A finer type must not round it away:
 * nearest to x is often the base's own value, every other code of the finer grid left out. A search
 * for the least error alone keeps 0.34 of this change. */
static void test_taught_to_a_coarser_grid(void **state) {
    (void)state;
    float x[COUNT], base[COUNT], taught[COUNT], back[COUNT];
    const float change = 0.002f; /* about a fifteenth of a step of the base */
    double kept = 0;
    fill(x, 0.1f);
    error_of(HN_Q4_1, x, NULL, base);
    for (int i = 0; i < COUNT; i++)
        taught[i] = base[i] + (i % 3 ? change : -change);
    error_of(HN_Q5_1, taught, NULL, back);
    for (int i = 0; i < COUNT; i++)
        kept += (double)((back[i] - base[i]) / (i % 3 ? change : -change)) / COUNT;
    if (!(kept > 0.6 && kept < 1.4))
        fail_msg("%.2f of the change is kept", kept);
}

static void test_importance(void **state) {
    (void)state;
    float x[COUNT], importance[COLS], back[COUNT];
    fill(x, 0.05f);
    for (int i = 0; i < COLS; i++)
        importance[i] = i % 7 == 0 ? 50.0f : 0.1f;
    for (int t = 1; t < N_TYPES; t++) {
        double with = error_of(TYPES[t], x, importance, back), sum = 0, total = 0;
        error_of(TYPES[t], x, NULL, back);
        for (int i = 0; i < COUNT; i++) {
            double weight = (double)importance[i % COLS], r = (double)(x[i] - back[i]);
            sum += weight * r * r;
            total += weight * (double)x[i] * (double)x[i];
        }
        assert_true(with < 0.9 * sqrt(sum / total));
    }
}

static void test_extremes(void **state) {
    (void)state;
    float x[COUNT], back[COUNT];
    static const float SIZES[] = {0, 1e-30f, 1e-7f, 1e4f, 1e30f};
    for (int t = 0; t < N_TYPES; t++) {
        for (int s = 0; s < 5; s++) {
            static uint8_t blocks[COUNT * 4];
            hn_error err;
            fill(x, SIZES[s]);
            assert_int_equal(hn_blocks_quantise(TYPES[t], x, ROWS, COLS, NULL, blocks, &err),
                             HN_OK);
            hn_blocks_dequantise(TYPES[t], blocks, COUNT, back);
            for (int i = 0; i < COUNT; i++)
                assert_true(isfinite(back[i]));
        }
        for (int i = 0; i < COUNT; i++)
            x[i] = 0.25f; /* a constant block has no range */
        double error = error_of(TYPES[t], x, NULL, back);
        assert_true(error < 0.02);
        for (int i = 0; i < COUNT; i++)
            x[i] = i % 32 == 5 ? -100.0f : 1e-3f; /* one outlier */
        assert_true(error_of(TYPES[t], x, NULL, back) < 0.01);
    }
}

static void test_refusals(void **state) {
    (void)state;
    float x[COUNT];
    static uint8_t blocks[COUNT * 4];
    hn_error err;
    fill(x, 1);
    x[COLS + 3] = NAN;
    assert_int_equal(hn_blocks_quantise(HN_Q4_0, x, ROWS, COLS, NULL, blocks, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "row 1: column 3"));
    fill(x, 1);
    assert_int_equal(hn_blocks_quantise(HN_Q4_K, x, 1, 288, NULL, blocks, &err), HN_UNSUPPORTED);
    assert_int_equal(hn_blocks_quantise(HN_Q2_K, x, ROWS, COLS, NULL, blocks, &err),
                     HN_UNSUPPORTED);
    hn_mem_fail_after(0);
    assert_int_equal(hn_blocks_quantise(HN_Q4_0, x, ROWS, COLS, NULL, blocks, &err), HN_NO_MEMORY);
    hn_mem_fail_after(-1);
}

static void test_float_types(void **state) {
    (void)state;
    const float x[4] = {1.0f, -2.5f, 1e6f, 3e-8f};
    uint16_t half[4];
    hn_error err;
    assert_int_equal(hn_blocks_quantise(HN_F16, x, 1, 4, NULL, half, &err), HN_OK);
    assert_true(hn_f16_to_f32(half[1]) == -2.5f);
    assert_true(hn_f16_to_f32(half[2]) == 65504.0f); /* never an infinity */
    assert_int_equal(hn_blocks_quantise(HN_BF16, x, 1, 4, NULL, half, &err), HN_OK);
    assert_true(hn_bf16_to_f32(half[0]) == 1.0f);
}

/* What llama-quantize chose for SmolLM2-135M (576 wide) and for a model 256 wide with 10 layers
 * (its log, tensor by tensor, in tests/golden/quantise_mix.txt). */
static void test_mix(void **state) {
    (void)state;
    FILE *file = fopen(HN_TEST_ROOT "/golden/quantise_mix.txt", "r");
    char model[32], ftype_name[16], tensor[96], dtype_name[16];
    int n_layer, tied, n = 0;
    long long rows, cols;
    assert_non_null(file);
    while (fscanf(file, "%31s %d %d %15s %95s %lld %lld %15s", model, &n_layer, &tied, ftype_name,
                  tensor, &rows, &cols, dtype_name) == 8) {
        hn_arch arch = {.n_layer = n_layer, .tied_head = tied != 0};
        hn_ftype ftype;
        hn_dtype wanted;
        assert_true(hn_ftype_from_name(ftype_name, &ftype));
        assert_true(hn_dtype_from_name(dtype_name, &wanted));
        hn_dtype chosen = hn_ftype_tensor_dtype(ftype, &arch, tensor, rows, cols);
        if (chosen != wanted)
            fail_msg("%s %s %s: %s, llama.cpp %s", model, ftype_name, tensor, hn_dtype_name(chosen),
                     dtype_name);
        n++;
    }
    fclose(file);
    assert_true(n > 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),       cmocka_unit_test(test_pack_matches_grid),
        cmocka_unit_test(test_on_grid),     cmocka_unit_test(test_taught_to_a_coarser_grid),
        cmocka_unit_test(test_importance),  cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_mix),
        cmocka_unit_test(test_float_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
