/* The real base in other types' numerics: K types' mixes in memory as in their file, and opening
 * takes no more memory than the packed weights and one matrix. */
#include "base_model.h"
#include "ships_help.h"

#include "support/files.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t packed_bytes(const hn_model *model) {
    uint64_t bytes = model->embed.packed_bytes;
    for (int l = 0; l < model->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            bytes += model->layers[l].w[m].packed_bytes;
    return bytes;
}

static void test_mix(void **state) {
    (void)state;
    need_base_model();
    const char *path = in_dir("typed.gguf");
    hn_quantise_options options = {.ftype = HN_FTYPE_Q4_K_S, .n_threads = 2};
    hn_quantise_report report;
    hn_checkpoint ckpt;
    bool has_k = false;
    ASSERT_OK(hn_checkpoint_open(&ckpt, base_model(), errp));
    ASSERT_OK(hn_quantise(&ckpt, NULL, path, &options, NULL, &report, errp));
    hn_checkpoint_close(&ckpt);
    hn_model *rounded = open_as(base_model(), "q4_k_s"), *file = open_as(path, "int8");
    for (int l = 0; l < file->arch.n_layer; l++)
        for (int m = 0; m < HN_MODULE_COUNT; m++) {
            const hn_matrix *a = &rounded->layers[l].w[m], *b = &file->layers[l].w[m];
            assert_int_equal(a->dtype, b->dtype);
            assert_int_equal(a->packed_bytes, b->packed_bytes);
            assert_memory_equal(a->packed, b->packed, b->packed_bytes);
            has_k = has_k || a->dtype == HN_Q4_K;
        }
    assert_memory_equal(rounded->embed.packed, file->embed.packed, file->embed.packed_bytes);
    assert_true(has_k);
    hn_model_free(rounded);
    hn_model_free(file);
}

static void test_memory(void **state) {
    (void)state;
    need_base_model();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("skipped: a sanitizer's memory isn't the program's\n");
    skip();
#endif
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const uint64_t around = 48 << 20; /* the program, the tokenizer, the pages in use */
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &before);
        hn_model *model = open_as(base_model(), "q4_0");
        getrusage(RUSAGE_SELF, &after);
        uint64_t largest = hn_dtype_row_bytes(model->embed.dtype, (uint64_t)model->embed.cols) *
                           (uint64_t)model->embed.rows;
        uint64_t most = packed_bytes(model) + largest + around;
        uint64_t grown = (uint64_t)(after.ru_maxrss - before.ru_maxrss) << 10;
        print_message("opening took %.1f MB, allowed %.1f MB\n", (double)grown * 1e-6,
                      (double)most * 1e-6);
        _exit(grown > most);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_mix)};
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
