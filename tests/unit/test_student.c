/* Students: one of the teacher's own shape is the teacher, smaller ones open and hold what they
 * should, and shapes that don't fit are refused. For each family, as a folder and as a GGUF. */
#include "release/student.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "support/files.h"

static const char *const FAMILIES[] = {"llama", "qwen2", "qwen3"};
enum { N_FAMILIES = 3 };

static void must(hn_status status, const hn_error *err) {
    if (status != HN_OK)
        fail_msg("%s", err->message);
}

static void open_teacher(hn_checkpoint *ckpt, const char *family, bool gguf) {
    char path[300];
    hn_error err;
    snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, family);
    must(hn_checkpoint_open(ckpt, path, &err), &err);
    if (!gguf)
        return;
    hn_quantise_options options = {.ftype = HN_FTYPE_F32};
    hn_quantise_report report;
    const char *file = in_dir("teacher.gguf");
    must(hn_quantise(ckpt, NULL, file, &options, NULL, &report, &err), &err);
    hn_checkpoint_close(ckpt);
    must(hn_checkpoint_open(ckpt, file, &err), &err);
}

static float *values_of(const hn_checkpoint *ckpt, const char *name, const hn_tensor **tensor) {
    *tensor = hn_checkpoint_find(ckpt, name);
    assert_non_null(*tensor);
    float *values = hn_malloc((size_t)((*tensor)->rows * (*tensor)->cols) * sizeof *values);
    hn_tensor_values(*tensor, values);
    return values;
}

static double difference(const hn_checkpoint *a, const char *a_name, const hn_checkpoint *b,
                         const char *b_name) {
    const hn_tensor *ta, *tb;
    float *x = values_of(a, a_name, &ta), *y = values_of(b, b_name, &tb);
    double most = 0;
    assert_true(ta->rows == tb->rows && ta->cols == tb->cols);
    for (int64_t i = 0; i < ta->rows * ta->cols; i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    hn_free(x);
    hn_free(y);
    return most;
}

static void make(const hn_checkpoint *teacher, hn_student_options options, hn_checkpoint *out) {
    hn_error err;
    char dir[300];
    snprintf(dir, sizeof dir, "%s", in_dir("student"));
    must(hn_student_write(teacher, &options, dir, HN_F32, NULL, &err), &err);
    must(hn_checkpoint_open(out, dir, &err), &err);
}

static void test_own_shape(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        hn_checkpoint teacher, student;
        open_teacher(&teacher, FAMILIES[i], false);
        make(&teacher, (hn_student_options){0}, &student);
        assert_int_equal(student.n_tensors, teacher.n_tensors);
        for (size_t t = 0; t < teacher.n_tensors; t++)
            assert_true(difference(&teacher, teacher.tensors[t].name, &student,
                                   teacher.tensors[t].name) == 0);
        hn_checkpoint_close(&student);
        hn_checkpoint_close(&teacher);
    }
}

static void check_smaller(const char *family, bool gguf) {
    hn_checkpoint teacher, student;
    open_teacher(&teacher, family, gguf);
    const hn_arch *t = &teacher.arch;
    hn_student_options options = {.n_layer = t->n_layer - 1,
                                  .n_embd = t->n_embd / 2 / 32 * 32,
                                  .n_ff = 32,
                                  .n_head = t->n_head_kv,
                                  .n_head_kv = 1};
    options.n_embd = options.n_embd ? options.n_embd : t->n_embd;
    make(&teacher, options, &student);
    const hn_arch *s = &student.arch;
    assert_int_equal(s->n_layer, options.n_layer);
    assert_int_equal(s->n_embd, options.n_embd);
    assert_int_equal(s->n_head, options.n_head);
    assert_int_equal(s->n_head_kv, 1);
    assert_int_equal(s->n_ff, 32);
    assert_int_equal(s->head_dim, t->head_dim);
    /* v's rows are the means of the teacher's heads, where the dimensions are all there */
    if (s->n_embd == t->n_embd) {
        const hn_tensor *tv, *sv;
        float *x = values_of(&teacher, "blk.0.attn_v.weight", &tv);
        float *y = values_of(&student, "blk.0.attn_v.weight", &sv);
        double mean = 0;
        for (int h = 0; h < t->n_head_kv; h++)
            mean += (double)x[(int64_t)h * t->head_dim * tv->cols] / t->n_head_kv;
        assert_true(fabs((double)y[0] - mean) < 1e-6);
        hn_free(x);
        hn_free(y);
    }
    hn_checkpoint_close(&student);
    hn_checkpoint_close(&teacher);
}

static void test_smaller(void **state) {
    (void)state;
    for (int i = 0; i < N_FAMILIES; i++) {
        check_smaller(FAMILIES[i], false);
        check_smaller(FAMILIES[i], true);
    }
}

static void test_layers(void **state) {
    (void)state;
    hn_checkpoint teacher, student;
    char last[64];
    open_teacher(&teacher, "llama", false);
    make(&teacher, (hn_student_options){.n_layer = 2}, &student);
    snprintf(last, sizeof last, "blk.%d.ffn_up.weight", teacher.arch.n_layer - 1);
    assert_true(difference(&teacher, "blk.0.ffn_up.weight", &student, "blk.0.ffn_up.weight") == 0);
    assert_true(difference(&teacher, last, &student, "blk.1.ffn_up.weight") == 0);
    hn_checkpoint_close(&student);
    make(&teacher, (hn_student_options){.n_layer = 2, .shared = 2}, &student);
    assert_true(difference(&student, "blk.0.attn_q.weight", &student, "blk.1.attn_q.weight") == 0);
    hn_checkpoint_close(&student);
    hn_checkpoint_close(&teacher);
}

static void test_refused(void **state) {
    (void)state;
    hn_error err;
    hn_arch out;
    const hn_arch t = {.n_layer = 6,
                       .n_embd = 64,
                       .n_ff = 128,
                       .n_head = 4,
                       .n_head_kv = 2,
                       .head_dim = 16,
                       .n_vocab = 10,
                       .family = "llama"};
    static const hn_student_options BAD[] = {
        {.n_layer = 7}, {.n_embd = 96},   {.n_embd = 48}, {.n_ff = 160},
        {.n_head = 8},  {.n_head_kv = 4}, {.n_head = 3},  {.n_layer = 5, .shared = 2}};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(hn_student_arch(&t, &BAD[i], &out, &err), HN_USAGE);
    assert_int_equal(hn_student_arch(&t, &(hn_student_options){.n_embd = 32}, &out, &err), HN_OK);
    assert_int_equal(out.n_head, 2);
    assert_int_equal(out.n_ff, 64);
    hn_arch windows = t;
    windows.sliding_window = 8;
    assert_int_equal(hn_student_arch(&windows, &(hn_student_options){0}, &out, &err),
                     HN_UNSUPPORTED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_shape),
        cmocka_unit_test(test_smaller),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
