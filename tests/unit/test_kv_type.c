/* The cache's types: what a put row reads back as, at every level, with extremes; sizes; forks and
 * cuts of a cache of each type. */
#include "base/mem.h"
#include "base/rng.h"
#include "model/attention.h"
#include "support/check.h"
#include "support/stories.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const hn_dtype KV_TYPES[] = {HN_F32, HN_F16, HN_Q8_0, HN_Q4_0};
enum { N_KV_TYPES = sizeof KV_TYPES / sizeof *KV_TYPES, GUARD = 64, GUARD_BYTE = 0xa5 };
static const int DIMS[] = {8, 16, 24, 32, 40, 64, 80, 96, 128, 256, 512};
enum { N_DIMS = sizeof DIMS / sizeof *DIMS };

/* What a row of a type must read back as: rounded by groups of 32 as GGUF's types are. */
static float rounded(hn_dtype type, const float *row, int dim, int d) {
    float largest = 0;
    int first = d / HN_KV_GROUP * HN_KV_GROUP;
    if (type == HN_F32)
        return row[d];
    if (type == HN_F16)
        return hn_f16_to_f32(hn_f32_to_f16(row[d]));
    for (int i = first; i < dim && i < first + HN_KV_GROUP; i++)
        largest = fabsf(row[i]) > fabsf(largest) ? row[i] : largest;
    float step = type == HN_Q8_0 ? fabsf(largest) / 127 : largest / -8;
    step = hn_f16_to_f32(hn_f32_to_f16(step));
    float code = step != 0 ? nearbyintf(row[d] * (1 / step)) : 0;
    float low = type == HN_Q8_0 ? -127 : -8, high = type == HN_Q8_0 ? 127 : 7;
    return step * fminf(fmaxf(code, low), high);
}

typedef struct codec_case {
    const hn_kv_codec *codec;
    hn_dtype type;
    int dim;
    uint8_t *block; /* with GUARD bytes on both sides */
    size_t block_bytes;
} codec_case;

static void check_guards(const codec_case *c) {
    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(c->block[i], GUARD_BYTE);
        assert_int_equal(c->block[GUARD + c->block_bytes + (size_t)i], GUARD_BYTE);
    }
}

/* Fills the 32 slots in an order of their own: what one holds mustn't touch its neighbours. */
static void check_rows(const codec_case *c, const float *rows) {
    static float tile[HN_KV_TILE];
    uint8_t *block = c->block + GUARD;
    for (int is_k = 1; is_k >= 0; is_k--) {
        memset(c->block, GUARD_BYTE, c->block_bytes + 2 * GUARD);
        for (int i = 0; i < HN_KV_BLOCK; i++) {
            int slot = i * 13 % HN_KV_BLOCK;
            (is_k ? c->codec->put_k : c->codec->put_v)(block, rows + slot * c->dim, c->dim, slot);
        }
        check_guards(c);
        const float *read = is_k ? c->codec->get_k(block, c->dim, tile)
                                 : c->codec->get_v(block, c->dim, 0, HN_KV_BLOCK - 1, tile);
        for (int slot = 0; slot < HN_KV_BLOCK; slot++)
            for (int d = 0; d < c->dim; d++) {
                float value = is_k ? read[d * HN_KV_BLOCK + slot] : read[slot * c->dim + d];
                float wanted = rounded(c->type, rows + slot * c->dim, c->dim, d);
                if (value != wanted)
                    fail_msg("%s, %d wide, %s, position %d, dimension %d: %g instead of %g",
                             hn_dtype_name(c->type), c->dim, is_k ? "K" : "V", slot, d,
                             (double)value, (double)wanted);
            }
    }
    if (c->codec->get_v(block, c->dim, 0, 0, tile) != tile)
        return; /* read in place */
    memset(tile, 0, sizeof tile);
    c->codec->get_v(block, c->dim, 5, 6, tile); /* writes those rows only */
    for (int i = 0; i < HN_KV_BLOCK * c->dim; i++)
        assert_true(i / c->dim == 5 || i / c->dim == 6 || tile[i] == 0);
    assert_true(tile[5 * c->dim] == rounded(c->type, rows + 5 * c->dim, c->dim, 0));
}

static void fill(float *rows, int n, hn_rng *rng, float spread) {
    for (int i = 0; i < n; i++)
        rows[i] = spread * (float)hn_rng_normal(rng);
}

static void check_level(const hn_attention_kernels *kernels) {
    static float rows[HN_KV_TILE];
    hn_rng rng = hn_rng_new(9, 9);
    for (int t = 0; t < N_KV_TYPES; t++)
        for (int i = 0; i < N_DIMS; i++) {
            codec_case c = {&kernels->codecs[KV_TYPES[t]], KV_TYPES[t], DIMS[i], NULL,
                            hn_kv_type_block_bytes(KV_TYPES[t], DIMS[i])};
            int n = HN_KV_BLOCK * c.dim;
            c.block = hn_alloc_aligned(c.block_bytes + 2 * GUARD);
            fill(rows, n, &rng, 1);
            check_rows(&c, rows);
            fill(rows, n, &rng, 300);
            check_rows(&c, rows);
            fill(rows, n, &rng, 1e-6f); /* subnormal as f16, and as scales of it */
            check_rows(&c, rows);
            memset(rows, 0, (size_t)n * sizeof *rows);
            check_rows(&c, rows);
            rows[3] = -1; /* alone in its group */
            check_rows(&c, rows);
            hn_free_aligned(c.block, c.block_bytes + 2 * GUARD);
        }
}

static void test_round_trip(void **state) {
    (void)state;
    for (int isa = 0; isa < HN_ISA_COUNT; isa++) {
        if (hn_cpu_supports((hn_isa)isa))
            check_level(hn_attention_kernels_get((hn_isa)isa));
        else
            print_message("skipped: this machine lacks %s\n", hn_isa_name((hn_isa)isa));
    }
}

/* Whatever a model computes, the cache holds numbers: an infinity read back would make NaN of rows
 * that never see it. f32 keeps what it gets. */
static void test_extremes(void **state) {
    (void)state;
    enum { DIM = 64 };
    static const float values[] = {INFINITY, -INFINITY, NAN, 1e38f, -1e38f, 65504, 65520, 1e-40f};
    static float tile[HN_KV_TILE];
    float row[DIM];
    uint8_t *block = hn_alloc_aligned(hn_kv_type_block_bytes(HN_F32, DIM));
    for (int isa = 0; isa < HN_ISA_COUNT; isa++) {
        if (!hn_cpu_supports((hn_isa)isa))
            continue;
        const hn_attention_kernels *kernels = hn_attention_kernels_get((hn_isa)isa);
        for (int t = 1; t < N_KV_TYPES; t++)
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                const hn_kv_codec *codec = &kernels->codecs[KV_TYPES[t]];
                for (int d = 0; d < DIM; d++)
                    row[d] = (float)d / DIM;
                row[40] = values[v];
                codec->put_k(block, row, DIM, 31);
                const float *k = codec->get_k(block, DIM, tile);
                for (int d = 0; d < DIM; d++)
                    assert_true(fabsf(k[d * HN_KV_BLOCK + 31]) <= 66000 * 1.01f);
                if (values[v] == INFINITY || values[v] == 1e38f)
                    assert_true(k[40 * HN_KV_BLOCK + 31] > 56000);
                codec->put_v(block, row, DIM, 0);
                const float *values_read = codec->get_v(block, DIM, 0, 0, tile);
                for (int d = 0; d < DIM; d++)
                    assert_true(fabsf(values_read[d]) <= 66000 * 1.01f);
            }
    }
    hn_free_aligned(block, hn_kv_type_block_bytes(HN_F32, DIM));
}

static void test_sizes(void **state) {
    (void)state;
    hn_arch arch = {.n_layer = 30, .n_head_kv = 3, .head_dim = 64};
    hn_error err;
    hn_dtype type = HN_F16;
    assert_int_equal(hn_kv_type_bytes_per_token(HN_F32, &arch), 46080);
    assert_int_equal(hn_kv_type_bytes_per_token(HN_F16, &arch), 23040);
    assert_int_equal(hn_kv_type_bytes_per_token(HN_Q8_0, &arch), 12240);
    assert_int_equal(hn_kv_type_bytes_per_token(HN_Q4_0, &arch), 6480);
    assert_int_equal(hn_kv_type_block_bytes(HN_Q8_0, 40), 32 * (40 + 2 * 2));
    assert_int_equal(hn_kv_type_block_bytes(HN_Q4_0, 40), 32 * (20 + 2 * 2));
    assert_int_equal(hn_kv_type_parse("q8_0", &type, &err), HN_OK);
    assert_int_equal(type, HN_Q8_0);
    assert_int_equal(hn_kv_type_parse("q4_k", &type, &err), HN_USAGE);
    assert_non_null(strstr(err.message, "f32, f16, q8_0 and q4_0"));
    assert_int_equal(hn_kv_type_parse("", &type, &err), HN_USAGE);
    assert_int_equal(type, HN_Q8_0);
}

static void feed(hn_model *model, hn_kv *kv, int seq, int first, int n, float *logits) {
    hn_batch_row rows[128];
    for (int i = 0; i < n; i++)
        rows[i] = (hn_batch_row){.token = ((first + i) * 31 + 3) % model->arch.n_vocab,
                                 .seq = seq,
                                 .adapter = -1,
                                 .wants_logits = logits && i + 1 == n};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, n, logits, NULL, errp));
}

/* A fork's partly filled block is copied when written to; both go on as if they were alone. */
static void test_fork_and_truncate(void **state) {
    (void)state;
    enum { N = 90, VOCAB = 512 };
    char path[64];
    stories_make(path, NULL);
    hn_model *model;
    hn_model_options options = {.n_threads = 1};
    ASSERT_OK(hn_model_open(&model, path, &options, errp));
    float alone[VOCAB], logits[VOCAB], f32[VOCAB] = {0};
    for (int t = 0; t < N_KV_TYPES; t++) {
        hn_kv *kv;
        model->kv_type = KV_TYPES[t];
        ASSERT_OK(hn_kv_new(&kv, model, 3, 3 * (int64_t)N, errp));
        feed(model, kv, 0, 0, N, alone);
        if (t == 0)
            memcpy(f32, alone, sizeof f32);
        else
            assert_memory_not_equal(f32, alone, sizeof f32); /* the type is used */
        static const int lengths[] = {1, 31, 32, 33, 64, 77, N - 1};
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            int length = lengths[i];
            ASSERT_OK(hn_kv_fork(kv, 0, 1, length, errp));
            ASSERT_OK(hn_kv_fork(kv, 1, 2, length, errp));
            feed(model, kv, 1, 1000, 1, logits); /* writes beside what the others hold */
            feed(model, kv, 2, length, N - length, logits);
            assert_memory_equal(logits, alone, sizeof logits);
        }
        hn_kv_truncate(kv, 0, 45);
        feed(model, kv, 0, 45, N - 45, logits);
        assert_memory_equal(logits, alone, sizeof logits);
        hn_kv_free(kv);
    }
    hn_error err;
    hn_kv *kv = NULL;
    model->kv_type = HN_Q4_K;
    assert_int_equal(hn_kv_new(&kv, model, 1, 64, &err), HN_USAGE);
    assert_null(kv);
    hn_model_free(model);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_fork_and_truncate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
