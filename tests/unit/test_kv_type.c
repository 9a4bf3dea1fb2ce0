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

/* Rows as they are held: q4_0 turns whole groups, by the matrix's definition here. */
static void turned(hn_dtype type, const float *rows, int dim, float *out) {
    memcpy(out, rows, (size_t)(HN_KV_BLOCK * dim) * sizeof *out);
    for (int r = 0; type == HN_Q4_0 && r < HN_KV_BLOCK; r++)
        for (int g = 0; g + HN_KV_GROUP <= dim; g += HN_KV_GROUP)
            for (int i = 0; i < HN_KV_GROUP; i++) {
                double sum = 0;
                for (int j = 0; j < HN_KV_GROUP; j++)
                    sum += (__builtin_parity((unsigned)(i & j)) ? -1.0 : 1.0) *
                           (double)rows[r * dim + g + j];
                out[r * dim + g + i] = (float)(sum / sqrt(HN_KV_GROUP));
            }
}

/* The transform's sums are rounded in another order here, which may move a code by one. */
static bool agrees(hn_dtype type, int dim, float value, float wanted, const float *row, int d) {
    float largest = 0;
    int first = d / HN_KV_GROUP * HN_KV_GROUP;
    if (type != HN_Q4_0 || first + HN_KV_GROUP > dim)
        return value == wanted;
    for (int i = first; i < first + HN_KV_GROUP; i++)
        largest = fmaxf(largest, fabsf(row[i]));
    return fabsf(value - row[d]) <= largest / 8 * 1.01f + 5e-7f;
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

/* What the scales make of a code. */
static float scaled(const codec_case *c, const uint8_t *block, float code, int slot, int d) {
    const uint16_t *scales = hn_kv_type_scales(c->type, block);
    return scales ? code * hn_f16_to_f32(scales[d / HN_KV_GROUP * HN_KV_BLOCK + slot]) : code;
}

/* Fills the 32 slots in an order of their own: what one holds mustn't touch its neighbours. */
static void check_rows(const codec_case *c, const float *rows) {
    static float tile[HN_KV_TILE], held[HN_KV_TILE];
    uint8_t *block = c->block + GUARD;
    turned(c->type, rows, c->dim, held);
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
                float code = is_k ? read[d * HN_KV_BLOCK + slot] : read[slot * c->dim + d];
                float value = scaled(c, block, code, slot, d);
                const float *row = held + slot * c->dim;
                float wanted = rounded(c->type, row, c->dim, d);
                if (!agrees(c->type, c->dim, value, wanted, row, d))
                    fail_msg("%s, %d wide, %s, position %d, dimension %d: %g instead of %g",
                             hn_dtype_name(c->type), c->dim, is_k ? "K" : "V", slot, d,
                             (double)value, (double)wanted);
            }
    }
    if (c->codec->get_v(block, c->dim, 0, 0, tile) != tile)
        return; /* read in place */
    static float some[HN_KV_TILE];
    memset(some, 0, sizeof some);
    c->codec->get_v(block, c->dim, 0, HN_KV_BLOCK - 1, tile);
    c->codec->get_v(block, c->dim, 5, 6, some); /* writes those rows only */
    for (int i = 0; i < HN_KV_BLOCK * c->dim; i++)
        assert_true(some[i] == (i / c->dim == 5 || i / c->dim == 6 ? tile[i] : 0));
}

/* Normal numbers, drawn once: under an emulator drawing them took most of the test. Their count is
 * odd, so that rows which repeat them begin elsewhere in them. */
enum { N_NORMALS = 20011 };
static float normals[N_NORMALS];

static int draw_normals(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(9, 9);
    for (int i = 0; i < N_NORMALS; i++)
        normals[i] = (float)hn_rng_normal(&rng);
    return 0;
}

static void fill(float *rows, int n, hn_rng *rng, float spread) {
    int at = (int)hn_rng_below(rng, N_NORMALS);
    for (int i = 0; i < n; i++)
        rows[i] = spread * normals[(at + i) % N_NORMALS];
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
                codec_case c = {codec, KV_TYPES[t], DIM, block, 0};
                for (int d = 0; d < DIM; d++)
                    row[d] = (float)d / DIM;
                row[40] = values[v];
                codec->put_k(block, row, DIM, 31);
                const float *k = codec->get_k(block, DIM, tile);
                for (int d = 0; d < DIM; d++)
                    assert_true(fabsf(scaled(&c, block, k[d * HN_KV_BLOCK + 31], 31, d)) <=
                                66000 * 1.01f);
                if ((values[v] == INFINITY || values[v] == 1e38f) && !codec->turn)
                    assert_true(scaled(&c, block, k[40 * HN_KV_BLOCK + 31], 31, 40) > 56000);
                codec->put_v(block, row, DIM, 0);
                const float *values_read = codec->get_v(block, DIM, 0, 0, tile);
                for (int d = 0; d < DIM; d++)
                    assert_true(fabsf(scaled(&c, block, values_read[d], 0, d)) <= 66000 * 1.01f);
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

/* Attention over rows of a type against sums in doubles over the f32 rows. */
typedef struct attention_case {
    hn_dtype type;
    int head_dim, window, threads;
    double tolerance; /* of values with deviation 1 */
    hn_isa isa;
} attention_case;

enum { N_KEYS = 300, N_HEAD = 6, N_HEAD_KV = 2, N_ROWS = 11, N_SEQS = 3 };

static void wanted_row(const attention_case *c, const float *q, const float *k, const float *v,
                       int position, int head, double *out) {
    int dim = c->head_dim, head_kv = head / (N_HEAD / N_HEAD_KV);
    int first = c->window && position >= c->window ? position - c->window + 1 : 0;
    double sum = 0;
    memset(out, 0, (size_t)dim * sizeof *out);
    for (int j = first; j <= position; j++) {
        double score = 0;
        for (int d = 0; d < dim; d++)
            score += (double)q[d] * (double)k[(j * N_HEAD_KV + head_kv) * dim + d];
        double weight = exp(score / sqrt(dim));
        sum += weight;
        for (int d = 0; d < dim; d++)
            out[d] += weight * (double)v[(j * N_HEAD_KV + head_kv) * dim + d];
    }
    for (int d = 0; d < dim; d++)
        out[d] /= sum;
}

/* A row gets the same bits alone, when blocks are read in place, as with the others of its tile. */
static void check_alone(const hn_attention *together, hn_compute *compute) {
    enum { MAX_DIM = N_HEAD * HN_ARCH_MAX_HEAD_DIM };
    float out[MAX_DIM];
    static const int order[1];
    size_t n = (size_t)(together->n_head * together->head_dim);
    for (int row = 0; row < together->n_rows; row++) {
        hn_attention alone = *together;
        alone.n_rows = 1;
        alone.order = order;
        alone.places += row;
        alone.q += (size_t)row * n;
        alone.out = out;
        hn_attention_run(compute, &alone);
        assert_memory_equal(out, together->out + (size_t)row * n, n * sizeof *out);
    }
}

/* 512-bit registers hold more sums at once; each is AVX2's. */
static void check_narrower(const attention_case *c, const hn_attention *a) {
    if (c->isa != HN_ISA_AVX512VNNI)
        return;
    size_t bytes = (size_t)(a->n_rows * a->n_head * a->head_dim) * sizeof *a->out;
    hn_attention narrower = *a;
    narrower.out = malloc(bytes);
    hn_compute *compute;
    ASSERT_OK(hn_compute_new(&compute, HN_ISA_AVX2, c->threads, errp));
    hn_attention_run(compute, &narrower);
    assert_memory_equal(narrower.out, a->out, bytes);
    hn_compute_free(compute);
    free(narrower.out);
}

/* Sequences that begin with the same blocks, in part or not at all, and hold the same keys. */
static hn_kv *fill_cache(const attention_case *c, const hn_model *model, const float *k,
                         const float *v) {
    static const int32_t shared[N_SEQS] = {0, 70, 256};
    const hn_kv_codec *codec = &hn_attention_kernels_get(c->isa)->codecs[c->type];
    int dim = c->head_dim;
    hn_kv *kv;
    ASSERT_OK(hn_kv_new(&kv, model, N_SEQS, N_SEQS * N_KEYS, errp));
    for (int seq = 0; seq < N_SEQS; seq++) {
        if (seq)
            ASSERT_OK(hn_kv_fork(kv, 0, seq, shared[seq], errp));
        for (int i = shared[seq]; i < N_KEYS; i++) {
            ASSERT_OK(hn_kv_append(kv, seq, 1, 0, errp));
            for (int h = 0; h < N_HEAD_KV; h++) {
                float row[HN_ARCH_MAX_HEAD_DIM] = {0};
                int32_t block = kv->seqs[seq].blocks[i / HN_KV_BLOCK];
                memcpy(row, k + (i * N_HEAD_KV + h) * dim, (size_t)dim * sizeof *row);
                codec->put_k(hn_kv_k(kv, block, 0, h), row, kv->padded_dim, i % HN_KV_BLOCK);
                memcpy(row, v + (i * N_HEAD_KV + h) * dim, (size_t)dim * sizeof *row);
                codec->put_v(hn_kv_v(kv, block, 0, h), row, kv->padded_dim, i % HN_KV_BLOCK);
            }
        }
    }
    return kv;
}

static void check_outputs(const attention_case *c, const hn_attention *a, const float *k,
                          const float *v) {
    int dim = c->head_dim;
    for (int i = 0; i < a->n_rows * N_HEAD; i++) {
        double wanted[HN_ARCH_MAX_HEAD_DIM];
        wanted_row(c, a->q + i * dim, k, v, a->places[i / N_HEAD].position, i % N_HEAD, wanted);
        for (int d = 0; d < dim; d++)
            if (!(fabs((double)a->out[i * dim + d] - wanted[d]) < c->tolerance))
                fail_msg("%s, %s, %d wide, window %d, %d threads: row %d of %d, dimension %d: %g, "
                         "not %g",
                         hn_isa_name(c->isa), hn_dtype_name(c->type), dim, c->window, c->threads, i,
                         a->n_rows, d, (double)a->out[i * dim + d], wanted[d]);
    }
}

/* Eight rows and fewer are shared out by parts of the keys, more aren't. */
static void check_attention(const attention_case *c) {
    static const int n_rows[] = {5, N_ROWS};
    int dim = c->head_dim, n = N_KEYS * N_HEAD_KV * dim;
    hn_model model = {
        .kv_type = c->type,
        .arch = {
            .n_layer = 1, .n_head = N_HEAD, .n_head_kv = N_HEAD_KV, .head_dim = dim, .n_vocab = 2}};
    ASSERT_OK(hn_compute_new(&model.compute, c->isa, c->threads, errp));
    hn_rng rng = hn_rng_new(4, 4);
    float *k = calloc((size_t)n, sizeof *k), *v = calloc((size_t)n, sizeof *v);
    float *q = calloc((size_t)(N_ROWS * N_HEAD * dim), sizeof *q);
    float *out = calloc((size_t)(N_ROWS * N_HEAD * dim), sizeof *out);
    fill(k, n, &rng, 1);
    fill(v, n, &rng, 1);
    fill(q, N_ROWS * N_HEAD * dim, &rng, 1);
    hn_kv *kv = fill_cache(c, &model, k, v);
    hn_row_place places[N_ROWS];
    int order[N_ROWS];
    for (int r = 0; r < N_ROWS; r++)
        places[r] = (hn_row_place){.seq = r % N_SEQS, .position = N_KEYS - 1 - 37 * (r / N_SEQS)};
    for (size_t i = 0; i < sizeof n_rows / sizeof *n_rows; i++) {
        hn_attention a = {.kv = kv,
                          .n_head = N_HEAD,
                          .n_head_kv = N_HEAD_KV,
                          .head_dim = dim,
                          .window = c->window,
                          .scale = 1 / sqrtf((float)dim),
                          .places = places,
                          .order = order,
                          .n_rows = n_rows[i],
                          .q = q,
                          .out = out};
        hn_attention_order(kv, places, a.n_rows, order);
        hn_attention_run(model.compute, &a);
        check_alone(&a, model.compute);
        check_narrower(c, &a);
        check_outputs(c, &a, k, v);
    }
    free(k);
    free(v);
    free(q);
    free(out);
    hn_kv_free(kv);
    hn_compute_free(model.compute);
}

/* A level that has loops of its own. */
static bool has_kernels(hn_isa isa) {
    return hn_cpu_supports(isa) &&
           (isa == HN_ISA_SCALAR ||
            hn_attention_kernels_get(isa) != hn_attention_kernels_get((hn_isa)(isa - 1)));
}

static void test_attention(void **state) {
    (void)state;
    static const double tolerances[N_KV_TYPES] = {2e-6, 2e-3, 2e-2, 0.35};
    static const int dims[] = {8, 20, 40, 60, 64, 128, 512}, windows[] = {0, 7, 280};
    enum { N_WINDOWS = sizeof windows / sizeof *windows, LONG_DIM = 512 };
    for (int isa = 0; isa < HN_ISA_COUNT; isa++)
        for (int i = 0; has_kernels((hn_isa)isa) && i < N_KV_TYPES * N_WINDOWS * 2; i++)
            for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
                attention_case c = {.isa = (hn_isa)isa,
                                    .threads = 1 + i % 2,
                                    .window = windows[i / 2 % N_WINDOWS],
                                    .type = KV_TYPES[i / 2 / N_WINDOWS],
                                    .head_dim = dims[d],
                                    .tolerance = tolerances[i / 2 / N_WINDOWS]};
                if (c.head_dim < LONG_DIM || (c.window == 0 && c.threads == 1))
                    check_attention(&c);
            }
}

/* Sequences that begin with the same blocks stand together, however the batch has them, and each
 * one's rows in their order. */
static void test_order(void **state) {
    (void)state;
    enum { N = 6, SHARED = 64, LENGTH = 100, N_ROWS_EACH = 40, ALL = N * N_ROWS_EACH };
    hn_model model = {
        .kv_type = HN_F16,
        .arch = {.n_layer = 1, .n_head = 1, .n_head_kv = 1, .head_dim = 8, .n_vocab = 2}};
    hn_kv *kv;
    hn_row_place places[ALL];
    int order[ALL], n = 0;
    bool found[ALL] = {false};
    ASSERT_OK(hn_kv_new(&kv, &model, N, N * LENGTH, errp));
    for (int seq = 0; seq < N; seq++) { /* even ones begin alike, and odd ones */
        const int n_rows = seq % 3 ? N_ROWS_EACH : 1;
        if (seq >= 2)
            ASSERT_OK(hn_kv_fork(kv, seq - 2, seq, SHARED, errp));
        while (hn_kv_length(kv, seq) < LENGTH)
            ASSERT_OK(hn_kv_append(kv, seq, 1, 0, errp));
        for (int i = 0; i < n_rows; i++)
            places[n++] = (hn_row_place){.seq = seq, .position = LENGTH - n_rows + i};
    }
    hn_attention_order(kv, places, n, order);
    int n_families = 1;
    for (int i = 0; i < n; i++) {
        assert_in_range(order[i], 0, n - 1);
        assert_false(found[order[i]]);
        found[order[i]] = true;
        const hn_row_place *at = &places[order[i]];
        if (order[i] > 0 && places[order[i] - 1].seq == at->seq)
            assert_int_equal(order[i - 1], order[i] - 1);
        n_families += i > 0 && at->seq % 2 != places[order[i - 1]].seq % 2;
    }
    assert_int_equal(n_families, 2);
    hn_kv_free(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_attention),         cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_fork_and_truncate), cmocka_unit_test(test_order),
    };
    return cmocka_run_group_tests(tests, draw_normals, NULL);
}
