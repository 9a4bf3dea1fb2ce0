/* The prefix tree: what is remembered is what was computed, whoever computed it, under any order of
 * taking, letting go and running out. */
#include "model/prefix.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tiny_model.h"

enum { BLOCK = HN_KV_BLOCK, LONG = 100 };

static hn_model *model;

static int open_model(void **state) {
    (void)state;
    model = tiny_model("llama", 1);
    return 0;
}

static int close_model(void **state) {
    (void)state;
    tiny_model_free(model);
    return 0;
}

static hn_kv *new_kv(int n_seqs, int n_positions) {
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, model, n_seqs, n_positions, errp));
    ASSERT_OK(hn_prefix_enable(kv, n_positions, errp));
    return kv;
}

/* Each hold on a block is accounted for, and each block is somewhere. */
static void check_holds(const hn_kv *kv) {
    int32_t *holds = calloc((size_t)kv->n_blocks, sizeof *holds);
    int32_t n_idle = 0;
    for (int i = 0; i < kv->n_seqs; i++)
        for (int32_t b = 0; b < hn_kv_blocks_of(kv->seqs[i].length); b++)
            holds[kv->seqs[i].blocks[b]]++;
    for (int32_t i = 0; i < kv->n_free; i++) {
        assert_int_equal(holds[kv->free[i]], 0);
        assert_int_equal(kv->refs[kv->free[i]], 0);
        holds[kv->free[i]] = -1;
    }
    for (int32_t b = 0; b < kv->n_blocks; b++) {
        if (holds[b] < 0)
            continue;
        const int32_t own = kv->refs[b] - holds[b]; /* the tree's */
        assert_true(own == 0 || own == 1);
        assert_true(kv->refs[b] > 0);
        n_idle += holds[b] == 0;
    }
    assert_int_equal(n_idle, hn_prefix_idle(kv));
    free(holds);
}

static void random_text(hn_rng *rng, int32_t *text, int n, int n_kinds) {
    for (int i = 0; i < n; i++)
        text[i] = (int32_t)hn_rng_below(rng, (uint64_t)n_kinds);
}

/* Computes text[from..n) and leaves the last logits. */
static void compute(hn_kv *kv, int seq, const int32_t *text, int from, int n, float *logits) {
    hn_batch_row rows[512];
    for (int i = from; i < n; i++)
        rows[i - from] =
            (hn_batch_row){.token = text[i], .seq = seq, .adapter = -1, .wants_logits = i == n - 1};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, n - from, logits, NULL, errp));
}

/* A text goes on behind what is remembered exactly as behind what it computed itself. */
static void test_shared_beginning(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(1, 0);
    int32_t text[LONG], other[LONG];
    float plain[TINY_VOCAB], shared[TINY_VOCAB];
    random_text(&rng, text, LONG, TINY_VOCAB);
    memcpy(other, text, sizeof text);
    random_text(&rng, other + 50, LONG - 50, TINY_VOCAB);
    hn_kv *kv = new_kv(3, 400);

    compute(kv, 0, text, 0, LONG, plain);
    hn_prefix_remember(kv, 0, LONG);
    assert_int_equal(hn_prefix_idle(kv), 0);
    hn_kv_truncate(kv, 0, 0);
    assert_int_equal(hn_prefix_idle(kv), LONG / BLOCK);
    check_holds(kv);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 96);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).n_live, 0);
    assert_int_equal(hn_prefix_adopt(kv, 1, NULL, text, LONG - 1), 96);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).n_live, 3);
    compute(kv, 1, text, 96, LONG, shared);
    assert_memory_equal(plain, shared, sizeof plain);

    /* Half of the second block is the same: it is copied when the text goes on. */
    compute(kv, 0, other, 0, LONG, plain);
    hn_kv_truncate(kv, 0, 0);
    assert_int_equal(hn_prefix_adopt(kv, 2, NULL, other, LONG - 1), 50);
    compute(kv, 2, other, 50, LONG, shared);
    assert_memory_equal(plain, shared, sizeof plain);
    hn_prefix_remember(kv, 2, LONG);
    check_holds(kv);
    hn_kv_truncate(kv, 1, 0);
    hn_kv_truncate(kv, 2, 0);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 96);
    assert_int_equal(hn_prefix_find(kv, NULL, other, LONG).length, 96);
    assert_int_equal(hn_prefix_idle(kv), 5); /* the first block is the same */
    check_holds(kv);
    hn_prefix_forget(kv);
    assert_int_equal(kv->n_free, kv->n_blocks);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 0);
    hn_kv_free(kv);
}

/* What two computed at once is held once. */
static void test_computed_twice(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(2, 0);
    int32_t text[LONG];
    random_text(&rng, text, LONG, TINY_VOCAB);
    hn_kv *kv = new_kv(2, 300);
    compute(kv, 0, text, 0, LONG, NULL);
    compute(kv, 1, text, 0, LONG, NULL);
    const int32_t before = kv->n_free;
    hn_prefix_remember(kv, 0, LONG);
    hn_prefix_remember(kv, 1, LONG);
    assert_int_equal(kv->n_free, before + 3);
    check_holds(kv);
    /* Cutting into a remembered block and going on leaves the remembered one as it was. */
    hn_kv_truncate(kv, 1, 40);
    int32_t changed[LONG];
    memcpy(changed, text, sizeof text);
    changed[40] = (changed[40] + 1) % TINY_VOCAB;
    compute(kv, 1, changed, 40, LONG, NULL);
    hn_prefix_remember(kv, 1, LONG);
    check_holds(kv);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 96);
    assert_int_equal(hn_prefix_find(kv, NULL, changed, LONG).length, 96);
    hn_kv_free(kv);
}

static hn_status append(hn_kv *kv, int seq, const int32_t *text, int from, int n, uint64_t adapter,
                        hn_error *err) {
    for (int i = from; i < n; i++)
        HN_TRY(hn_kv_append(kv, seq, text[i], adapter, err));
    return HN_OK;
}

static void test_adapters(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(3, 0);
    int32_t text[LONG];
    const hn_adapter one = {.id = 1}, two = {.id = 2};
    random_text(&rng, text, LONG, TINY_VOCAB);
    hn_kv *kv = new_kv(2, 300);
    ASSERT_OK(append(kv, 0, text, 0, LONG, 1, errp));
    hn_prefix_remember(kv, 0, LONG);
    assert_int_equal(hn_prefix_find(kv, &one, text, LONG).length, 96);
    assert_int_equal(hn_prefix_find(kv, &two, text, LONG).length, 0);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 0);
    /* Rows of two adapters: nobody may have that. */
    ASSERT_OK(append(kv, 1, text, 0, 40, 2, errp));
    ASSERT_OK(append(kv, 1, text, 40, LONG, 0, errp));
    hn_prefix_remember(kv, 1, LONG);
    assert_int_equal(hn_prefix_find(kv, &two, text, LONG).length, 0);
    assert_int_equal(hn_prefix_find(kv, NULL, text, LONG).length, 0);
    hn_kv_free(kv);
}

/* Blocks that are only remembered make room, those that weren't used for longest first. */
static void test_eviction(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(4, 0);
    int32_t texts[3][2 * BLOCK];
    hn_error err;
    hn_kv *kv = new_kv(2, 4 * BLOCK); /* 6 blocks */
    for (int i = 0; i < 3; i++) {
        random_text(&rng, texts[i], 2 * BLOCK, TINY_VOCAB);
        ASSERT_OK(append(kv, 0, texts[i], 0, 2 * BLOCK, 0, errp));
        hn_prefix_remember(kv, 0, 2 * BLOCK);
        hn_kv_truncate(kv, 0, 0);
    }
    assert_int_equal(kv->n_free, 0);
    assert_int_equal(hn_kv_room(kv, 0), 6 * BLOCK);
    assert_int_equal(hn_prefix_adopt(kv, 1, NULL, texts[0], 2 * BLOCK), 2 * BLOCK); /* used again */
    ASSERT_OK(append(kv, 0, texts[1], 0, 1, 0, errp));
    assert_int_equal(hn_prefix_find(kv, NULL, texts[1], 2 * BLOCK).length, BLOCK);
    check_holds(kv);
    ASSERT_OK(append(kv, 0, texts[1], 1, 2 * BLOCK, 0, errp));
    ASSERT_OK(append(kv, 0, texts[2], 0, 2 * BLOCK, 0, errp)); /* all that is left */
    assert_int_equal(hn_prefix_find(kv, NULL, texts[2], 2 * BLOCK).length, 0);
    assert_int_equal(hn_prefix_find(kv, NULL, texts[0], 2 * BLOCK).length, 2 * BLOCK);
    assert_int_equal(hn_kv_append(kv, 0, 1, 0, &err), HN_NO_MEMORY);
    check_holds(kv);
    hn_kv_free(kv);
}

/* Many texts over few tokens that come, go on, are cut, forked and forgotten: what a sequence is
 * given always are its own tokens. */
static void test_random(void **state) {
    (void)state;
    enum { SEQS = 4, ROUNDS = 20000, MAX = 150 };
    hn_rng rng = hn_rng_new(5, 0);
    static int32_t text[SEQS][MAX];
    int length[SEQS] = {0};
    hn_error err;
    hn_kv *kv = new_kv(SEQS, 12 * BLOCK);
    for (int round = 0; round < ROUNDS; round++) {
        const int s = (int)hn_rng_below(&rng, SEQS);
        const int what = (int)hn_rng_below(&rng, 8);
        if (what == 0) {
            hn_kv_truncate(kv, s, 0);
            random_text(&rng, text[s], MAX, 1);
            for (int i = (int)hn_rng_below(&rng, MAX); i < MAX; i++)
                text[s][i] = (int32_t)hn_rng_below(&rng, 2);
            length[s] = hn_prefix_adopt(kv, s, NULL, text[s], MAX - 1);
        } else if (what == 1) {
            length[s] = (int)hn_rng_below(&rng, (uint64_t)length[s] + 1);
            hn_kv_truncate(kv, s, length[s]);
        } else if (what == 2 && length[s] > 0) {
            const int t = (s + 1) % SEQS;
            length[t] = (int)hn_rng_below(&rng, (uint64_t)length[s]);
            ASSERT_OK(hn_kv_fork(kv, s, t, length[t], errp));
            memcpy(text[t], text[s], sizeof text[t]);
        } else if (what == 3) {
            hn_prefix_remember(kv, s, length[s]);
        } else {
            const int n = (int)hn_rng_below(&rng, 40);
            for (int i = 0; i < n && length[s] < MAX; i++) {
                if (hn_kv_append(kv, s, text[s][length[s]], 0, &err) != HN_OK)
                    break;
                length[s]++;
            }
        }
        for (int i = 0; i < SEQS; i++) {
            assert_int_equal(hn_kv_length(kv, i), length[i]);
            assert_int_equal(hn_kv_common_prefix(kv, i, NULL, text[i], length[i]), length[i]);
        }
        if (round % 16 == 0)
            check_holds(kv);
    }
    hn_kv_free(kv);
}

/* Computes a text and lets it go. */
static void compute_and_remember(hn_kv *kv, const int32_t *text, int n) {
    compute(kv, 0, text, 0, n, NULL);
    hn_prefix_remember(kv, 0, n);
    hn_kv_truncate(kv, 0, 0);
    check_holds(kv);
}

/* What is remembered takes memory up to its share; beyond that memory grows with what sequences
 * need at once alone, and once it has, nothing that needs no more at once makes it grow. */
static void test_memory_grows_slowly(void **state) {
    (void)state;
    enum { SHARE = 5, TEXTS = 6, N = 2 * BLOCK };
    hn_rng rng = hn_rng_new(5, 0);
    int32_t text[TEXTS][N];
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, model, 4, 1000, errp));
    ASSERT_OK(hn_prefix_enable(kv, SHARE, errp));
    for (int i = 0; i < TEXTS; i++) {
        random_text(&rng, text[i], N, TINY_VOCAB);
        compute_and_remember(kv, text[i], N);
    }
    assert_int_equal(kv->n_touched, SHARE);
    assert_int_equal(hn_prefix_find(kv, NULL, text[TEXTS - 1], N).length, N);
    assert_int_equal(hn_prefix_find(kv, NULL, text[TEXTS - 2], N).length, N);
    assert_int_equal(hn_prefix_find(kv, NULL, text[0], N).length, 0);

    /* Within the share nothing grows, whoever holds the blocks. */
    for (int seq = 0; seq < 2; seq++)
        compute(kv, seq, text[seq], 0, N, NULL);
    assert_int_equal(kv->n_touched, SHARE);

    /* Four at once need more, and what they leave behind is enough from then on. */
    for (int seq = 2; seq < 4; seq++)
        compute(kv, seq, text[seq], 0, N, NULL);
    assert_int_equal(kv->n_touched, 4 * N / BLOCK);
    for (int seq = 0; seq < 4; seq++)
        hn_kv_truncate(kv, seq, 0);
    for (int i = 0; i < 2 * TEXTS; i++)
        compute_and_remember(kv, text[i % TEXTS], N);
    assert_int_equal(kv->n_touched, 4 * N / BLOCK);
    hn_kv_free(kv);
}

static void test_no_memory(void **state) {
    (void)state;
    hn_kv *kv = NULL;
    hn_error err;
    ASSERT_OK(hn_kv_new(&kv, model, 1, 64, errp));
    for (int n = 0; n < 3; n++) {
        hn_mem_fail_after(n);
        hn_status status = hn_prefix_enable(kv, 1, &err);
        hn_mem_fail_after(-1);
        assert_int_equal(status, HN_NO_MEMORY);
        assert_int_equal(hn_prefix_idle(kv), 0);
    }
    hn_kv_free(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_beginning), cmocka_unit_test(test_computed_twice),
        cmocka_unit_test(test_adapters),         cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_random),           cmocka_unit_test(test_memory_grows_slowly),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, open_model, close_model);
}
