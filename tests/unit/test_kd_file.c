/* A teacher's distributions in a file: the same run as with the teacher itself, the divergence of
 * the likeliest tokens and the rest, files that are cut, damaged or another's. */
#define _GNU_SOURCE
#include "kd_setup.h"

static void store(const setup *s, int k, int threads, const char *path) {
    hn_model *teacher = golden_model("qwen3", threads);
    hn_kd_store_options options = {k, s->distill.temperature};
    hn_error err;
    if (hn_kd_store(teacher, &s->docs, &options, path, NULL, &err) != HN_OK)
        fail_msg("%s", err.message);
    tiny_model_free(teacher);
}

static void begin_stored(setup *s, char path[100]) {
    begin(s, "llama");
    s->distill.hidden = 0;
    snprintf(path, 100, "%s/teacher.kd", s->t.dir);
}

/* All tokens kept: what f16 leaves between the two. */
static void test_all_tokens(void **state) {
    (void)state;
    setup s;
    char path[100];
    hn_kd_file file;
    hn_error err;
    hn_train_result result;
    double online[20], stored[20];
    begin_stored(&s, path);
    store(&s, TINY_VOCAB, 2, path);
    assert_int_equal(hn_kd_file_open(&file, path, &err), HN_OK);
    hn_model *teacher = golden_model("qwen3", 2);
    must_run(&s, "llama", 2, teacher, &result);
    assert_int_equal(read_steps(&s.t, "kd", online), 20);
    s.distill.stored = &file;
    s.t.options.resume = false;
    must_run(&s, "llama", 2, NULL, &result);
    assert_int_equal(read_steps(&s.t, "kd", stored), 20);
    for (int i = 0; i < 20; i++)
        assert_true(fabs(stored[i] - online[i]) < 2e-3 * online[i]);
    tiny_model_free(teacher);
    hn_kd_file_close(&file);
    end(&s);
}

/* KL of the k likeliest tokens and of the rest as one, in double. */
static double bucket_divergence(const double *p, const float *s, float inv_t, bool *top) {
    double sum = 0, max = -INFINITY, rest_p = 0, rest_q = 0, value = 0;
    for (int i = 0; i < TINY_VOCAB; i++)
        max = fmax(max, (double)(s[i] * inv_t));
    for (int i = 0; i < TINY_VOCAB; i++)
        sum += exp((double)(s[i] * inv_t) - max);
    for (int i = 0; i < TINY_VOCAB; i++) {
        double q = exp((double)(s[i] * inv_t) - max) / sum;
        if (top[i]) {
            value += p[i] * log(p[i] / q);
        } else {
            rest_p += p[i];
            rest_q += q;
        }
    }
    return value + rest_p * log(rest_p / rest_q);
}

/* Value and gradient of the first records, by the formula and by differences of it. */
static void test_rest_as_one(void **state) {
    (void)state;
    enum { K = 5 };
    setup s;
    char path[100];
    hn_kd_file file;
    hn_error err;
    begin_stored(&s, path);
    store(&s, K, 1, path);
    assert_int_equal(hn_kd_file_open(&file, path, &err), HN_OK);
    hn_rng rng = hn_rng_new(5, 1);
    float inv_t = 1.0f / file.temperature;
    for (uint64_t record = 0; record < 4; record++) {
        float student[TINY_VOCAB], t[TINY_VOCAB];
        double p[TINY_VOCAB], sum = 0;
        bool top[TINY_VOCAB] = {false};
        for (int i = 0; i < TINY_VOCAB; i++)
            student[i] = 2 * (float)hn_rng_normal(&rng);
        hn_kd_file_logits(&file, &hn_train_ops_base, record, student, t);
        for (int i = 0; i < TINY_VOCAB; i++)
            sum += p[i] = exp((double)(t[i] * inv_t));
        const uint8_t *ids = file.records + record * hn_kd_record_bytes(K) + sizeof(float);
        for (int i = 0; i < K; i++) {
            uint32_t id;
            memcpy(&id, ids + (size_t)i * sizeof id, sizeof id);
            top[id] = true;
        }
        assert_true(fabs(sum - 1) < 2e-3); /* f16 */
        for (int i = 0; i < TINY_VOCAB; i++)
            p[i] /= sum;
        double wanted = bucket_divergence(p, student, inv_t, top);
        double ours = hn_train_ops_base.distill(student, t, TINY_VOCAB, inv_t, inv_t);
        assert_true(fabs(ours - wanted) < 2e-6 * (1 + wanted));
        for (int i = 0; i < TINY_VOCAB; i++) {
            float kept = student[i], step = 1e-2f;
            student[i] = kept + step;
            double up = bucket_divergence(p, student, inv_t, top);
            student[i] = kept - step;
            double down = bucket_divergence(p, student, inv_t, top);
            student[i] = kept;
            assert_true(fabs((up - down) / (2 * (double)step) - (double)t[i]) < 1e-4);
        }
    }
    hn_kd_file_close(&file);
    end(&s);
}

static char *read_whole(const char *path, size_t *size) {
    char *text;
    hn_error err;
    assert_int_equal(hn_file_read(path, 1 << 24, &text, size, &err), HN_OK);
    return text;
}

/* The same bytes for any number of threads, and the same adapter from them. */
static void test_threads(void **state) {
    (void)state;
    setup s;
    char path[100];
    hn_kd_file file;
    hn_error err;
    hn_train_result result;
    char *files[2], *adapters[2];
    size_t sizes[2], n[2];
    begin_stored(&s, path);
    for (int i = 0; i < 2; i++) {
        char adapter[200];
        snprintf(adapter, sizeof adapter, "%s/adapter/adapter_model.safetensors", s.t.dir);
        store(&s, 8, i ? 3 : 1, path);
        files[i] = read_whole(path, &sizes[i]);
        assert_int_equal(hn_kd_file_open(&file, path, &err), HN_OK);
        s.distill.stored = &file;
        s.t.options.resume = false;
        must_run(&s, "llama", i ? 3 : 1, NULL, &result);
        adapters[i] = read_whole(adapter, &n[i]);
        hn_kd_file_close(&file);
    }
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(files[0], files[1], sizes[0]);
    assert_int_equal(n[0], n[1]);
    assert_memory_equal(adapters[0], adapters[1], n[0]);
    for (int i = 0; i < 2; i++) {
        hn_free(files[i]);
        hn_free(adapters[i]);
    }
    end(&s);
}

/* Cut at any length, or with any byte changed: refused. */
static void test_damaged(void **state) {
    (void)state;
    setup s;
    char path[100];
    size_t size;
    hn_kd_file file;
    hn_error err;
    begin_stored(&s, path);
    store(&s, 3, 1, path);
    char *text = read_whole(path, &size);
    assert_int_equal(hn_kd_file_parse(&file, text, size, "x", &err), HN_OK);
    for (size_t n = 0; n < size; n++)
        assert_int_equal(hn_kd_file_parse(&file, text, n, "x", &err), HN_BAD_INPUT);
    for (size_t i = 0; i < size; i++) {
        text[i] ^= 0x41;
        assert_int_equal(hn_kd_file_parse(&file, text, size, "x", &err), HN_BAD_INPUT);
        text[i] ^= 0x41;
    }
    hn_free(text);
    end(&s);
}

static void test_not_fitting(void **state) {
    (void)state;
    setup s;
    char path[100];
    hn_kd_file file;
    hn_error err;
    hn_train_result result;
    begin_stored(&s, path);
    store(&s, 3, 1, path);
    assert_int_equal(hn_kd_file_open(&file, path, &err), HN_OK);
    s.distill.stored = &file;
    s.distill.temperature = 3;
    assert_int_equal(run(&s, "llama", 1, NULL, NULL, &result, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "stored at temperature 2, not 3"));
    s.distill.temperature = 2;
    s.distill.hidden = 1;
    assert_int_equal(run(&s, "llama", 1, NULL, NULL, &result, &err), HN_USAGE);
    s.distill.hidden = 0;
    s.docs.items[2].ids[0] ^= 1;
    assert_int_equal(run(&s, "llama", 1, NULL, NULL, &result, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "the rows:3: "));
    s.docs.items[2].ids[0] ^= 1;
    file.vocabulary ^= 1;
    assert_int_equal(run(&s, "llama", 1, NULL, NULL, &result, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "another vocabulary"));
    hn_kd_file_close(&file);
    end(&s);
}

/* Memory failing at every place: while a file is made, read, and learned from. */
static void test_no_memory(void **state) {
    (void)state;
    setup s;
    char path[100];
    hn_kd_file file;
    hn_error err;
    begin_stored(&s, path);
    hn_model *teacher = golden_model("qwen3", 1);
    hn_kd_store_options options = {3, s.distill.temperature};
    hn_status status = HN_NO_MEMORY;
    for (int64_t n = 0; status != HN_OK; n++) {
        hn_mem_fail_after(n);
        status = hn_kd_store(teacher, &s.docs, &options, path, NULL, &err);
        hn_mem_fail_after(-1);
        if (status != HN_OK) {
            assert_int_equal(status, HN_NO_MEMORY);
            assert_true(hn_path_is_missing(path));
        }
    }
    status = HN_NO_MEMORY;
    for (int64_t n = 0; status != HN_OK; n++) {
        hn_mem_fail_after(n);
        status = hn_kd_file_open(&file, path, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
    }
    s.distill.stored = &file;
    check_no_memory(&s, "llama", NULL);
    hn_kd_file_close(&file);
    tiny_model_free(teacher);
    end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_tokens),  cmocka_unit_test(test_rest_as_one),
        cmocka_unit_test(test_threads),     cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_not_fitting), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
