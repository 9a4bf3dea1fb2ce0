/* Checks of the f32 products, norms and dequantisation. */
#include "check.h"

void check_gemm_f32(void) {
    static const int SIZES[][3] = {{1, 16, 1},  {1, 64, 33},  {2, 40, 20},  {3, 33, 7},
                                   {5, 16, 64}, {6, 17, 256}, {25, 50, 12}, {12, 32, 100},
                                   {7, 3, 5},   {13, 130, 9}};
    for (size_t s = 0; s < sizeof SIZES / sizeof *SIZES; s++) {
        for (int variant = 0; variant < 6; variant++) {
            int m = SIZES[s][0], width = SIZES[s][1], k = SIZES[s][2], panels = (width + 15) / 16;
            bool transposed = variant & 1;
            float beta = variant / 2 * 0.5f, alpha = variant == 3 ? -1.5f : 1;
            int64_t a_row = transposed ? 1 : k + 3, a_k = transposed ? m + 3 : 1;
            int64_t b_panel = 16 * (k + 1), c_stride = width + 5;
            float *a = floats((int64_t)(transposed ? k : m) * (transposed ? a_k : a_row), 1, 4);
            float *b = floats(panels * b_panel, 1, 0), *c = floats(m * c_stride, 1, 4);
            if (variant >= 4) {
                spoil(a, (int64_t)(transposed ? k : m) * (transposed ? a_k : a_row));
                spoil(b, panels * b_panel);
            }
            float *expected = copy_of(c, m * c_stride);
            const float *c0 = copy_of(c, m * c_stride);
            g_ref->gemm_f32(m, width, k, a, a_row, a_k, b, b_panel, expected, c_stride, alpha,
                            beta);
            g_level->gemm_f32(m, width, k, a, a_row, a_k, b, b_panel, c, c_stride, alpha, beta);
            same_floats("gemm_f32", c, expected, m * c_stride,
                        "other bits than the chain of fused multiply-adds");
            for (int i = 0; i < m; i++) { /* a row alone */
                float *row = copy_of(c0 + i * c_stride, width);
                g_level->gemm_f32(1, width, k, a + i * a_row, a_row, a_k, b, b_panel, row, c_stride,
                                  alpha, beta);
                same_floats("gemm_f32", row, c + i * c_stride, width, "a row alone: other bits");
                drop_last();
            }
            end_case("gemm_f32");
        }
    }
}

static void check_panels(const char *name, bool transposed, hn_k_panel_copy_fn *ref,
                         hn_k_panel_copy_fn *level) {
    static const int KS[] = {1, 7, 8, 31, 64}, WIDTHS[] = {1, 9, 16, 40};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 4; j++) {
            int64_t k = KS[i], width = WIDTHS[j], stride = (transposed ? k : width) + 3;
            float *src = floats((transposed ? width : k) * stride, 1, 4);
            float *out = floats(k * 16, 1, 0), *expected = copy_of(out, k * 16);
            ref(k, width, src, stride, expected);
            level(k, width, src, stride, out);
            same_bits(name, out, expected, (size_t)(k * 16) * sizeof *out, "other values");
            end_case(name);
        }
}

void check_panel_copy(void) {
    check_panels("panel_copy", false, g_ref->panel_copy, g_level->panel_copy);
}

void check_panel_transpose(void) {
    check_panels("panel_transpose", true, g_ref->panel_transpose, g_level->panel_transpose);
}

void check_rms_norm(void) {
    for (int i = 0; i < N_CHECK_LENGTHS; i++) {
        int n = CHECK_LENGTHS[i];
        float *x = floats(n, i % 2 ? 1e6f : 1, 4), *w = floats(n, 1, 4), *out = floats(n, 1, 4);
        float *expected = copy_of(out, n);
        if (i % 3 == 2)
            spoil(x, n);
        g_ref->rms_norm(n, x, w, 1e-5f, expected);
        g_level->rms_norm(n, x, w, 1e-5f, out);
        close_to("rms_norm", out, expected, n, 5e-7f, 0);
        g_level->rms_norm(n, x, w, 1e-5f, x); /* in place */
        same_floats("rms_norm", x, out, n, "in place gives other bits");
        end_case("rms_norm");
    }
}

void check_unpack_f32(hn_dtype dtype) {
    for (int how = 0; how < FILL_COUNT; how++) {
        uint8_t *w = units(dtype, 3, (fill)how);
        float *out = floats(3 * 1024, 1, 0), *expected = copy_of(out, 3 * 1024);
        g_ref->unpack_f32[dtype](w, 3, expected);
        g_level->unpack_f32[dtype](w, 3, out);
        close_to("unpack_f32", out, expected, 3 * 1024, 0, 0);
        end_case("unpack_f32");
    }
}

void check_unpack_f32_t(hn_dtype dtype) {
    for (int how = 0; how < FILL_COUNT; how++)
        for (int block = 0; block < 2; block++) {
            uint8_t *w = units(dtype, 1, (fill)how);
            float *out = floats(600, 1, 0), *expected = copy_of(out, 600);
            g_ref->unpack_f32_t[dtype](w, block, expected, 320);
            g_level->unpack_f32_t[dtype](w, block, out, 320);
            close_to("unpack_f32_t", out, expected, 600, 0, 0);
            end_case("unpack_f32_t");
        }
}

static void check_peak(const char *name, int64_t (*peak)(int64_t n)) {
    static const int64_t STEPS[] = {0, 1, 7, 8191, 8192, 20001};
    const int64_t step = peak(1);
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++)
        if (step <= 0 || peak(STEPS[i]) != STEPS[i] * step)
            fail(name, "the sum isn't the number of products");
    end_case(name);
}

void check_peak_f32(void) {
    check_peak("peak_f32", g_level->peak_f32);
}

void check_peak_i8(void) {
    check_peak("peak_i8", g_level->peak_i8);
}
