/* Answers in batches are what they are one by one, held to a grammar or not. A synthetic model. */
#include "base/mem.h"
#include "base/rng.h"
#include "eval/answers.h"
#include "model/constraint_pool.h"
#include "model/generate.h"
#include "release/synthetic.h"
#include "support/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 40, MAX_TOKENS = 12 }; /* more prompts than are answered at once */

static char path[64];
static hn_model *model;
static hn_constraint_pool *pool;
static hn_ids prompts[N];
static hn_answer answers[N];

static int open_all(void **state) {
    (void)state;
    hn_error err;
    hn_rng rng = hn_rng_new(3, 0);
    const hn_model_options options = {.n_threads = 2, .numerics = HN_NUMERICS_INT8};
    snprintf(path, sizeof path, "/tmp/hone-answers-%ld.gguf", (long)getpid());
    if (hn_synthetic_write(path, "stories260k", HN_FTYPE_Q8_0, 1, NULL, &err) != HN_OK ||
        hn_model_open(&model, path, &options, &err) != HN_OK ||
        hn_constraint_pool_new(&pool, model->ckpt.tokenizer, &err) != HN_OK)
        return -1;
    for (int i = 1; i < N; i++) /* the first has none: it gets no answer */
        for (int k = 0; k < 3 + i % 5; k++)
            if (hn_ids_push(&prompts[i], k ? (int32_t)hn_rng_below(&rng, 512) : 1, &err) != HN_OK)
                return -1;
    return 0;
}

static int close_all(void **state) {
    (void)state;
    for (int i = 0; i < N; i++)
        hn_ids_done(&prompts[i]);
    hn_constraint_pool_free(pool);
    hn_model_free(model);
    remove(path);
    return 0;
}

static void forget(void) {
    for (int i = 0; i < N; i++) {
        hn_free(answers[i].text);
        answers[i] = (hn_answer){0};
    }
}

static hn_status answer(hn_constraint *constraint, hn_error *err) {
    const hn_answers_options options = {
        .max_tokens = MAX_TOKENS, .label = "test", .constraint = constraint};
    return hn_answers_generate(model, NULL, prompts, N, &options, NULL, answers, err);
}

/* In batches, and one by one. */
static void compare(const char *gbnf) {
    hn_pooled_constraint pooled = {0};
    if (gbnf)
        ASSERT_OK(hn_constraint_pool_take(pool, HN_CONSTRAINT_GBNF, gbnf, strlen(gbnf), "test",
                                          &pooled, errp));
    ASSERT_OK(answer(pooled.constraint, errp));
    assert_null(answers[0].text);
    for (int i = 1; i < N; i++) {
        const hn_generate_options options = {.sampling = hn_sampling_default(),
                                             .max_tokens = MAX_TOKENS,
                                             .constraint = pooled.constraint};
        hn_generation alone;
        hn_kv *kv;
        ASSERT_OK(hn_kv_new(&kv, model, 1, 64, errp));
        ASSERT_OK(hn_generate(model, kv, 0, prompts[i].data, (int)prompts[i].size, &options, &alone,
                              errp));
        assert_string_equal(answers[i].text, alone.text);
        assert_true(answers[i].log_prob <= 0);
        hn_generation_done(&alone);
        hn_kv_free(kv);
    }
    hn_constraint_pool_give(pool, &pooled);
}

static void test_unheld(void **state) {
    (void)state;
    compare(NULL);
    forget();
}

static void test_held(void **state) {
    (void)state;
    bool differ = false;
    compare("root ::= [a-d]{2,7} (\".\" | \"!\")");
    for (int i = 1; i < N; i++) {
        const size_t n = strspn(answers[i].text, "abcd");
        assert_in_range(n, 2, 7);
        assert_true(!strcmp(answers[i].text + n, ".") || !strcmp(answers[i].text + n, "!"));
        differ = differ || strcmp(answers[i].text, answers[1].text) != 0;
    }
    assert_true(differ);
    forget();
}

/* One text alone, if in several tokens; and none at all, which is certain. */
static void test_no_choice(void **state) {
    (void)state;
    static const char *const TEXTS[] = {"abba", ""};
    for (int k = 0; k < 2; k++) {
        char gbnf[32];
        snprintf(gbnf, sizeof gbnf, "root ::= \"%s\"", TEXTS[k]);
        compare(gbnf);
        for (int i = 1; i < N; i++) {
            assert_string_equal(answers[i].text, TEXTS[k]);
            if (!TEXTS[k][0])
                assert_true(answers[i].log_prob == 0);
        }
        forget();
    }
}

static void test_spoken(void **state) {
    (void)state;
    static const struct {
        const char *text, *spoken, *thought; /* thought NULL: there is none */
    } CASES[] = {
        {"42", "42", NULL},
        {"", "", NULL},
        {" plain", " plain", NULL},
        {"<think>\n6 times 7.\n</think>\n\n42", "42", "\n6 times 7.\n"},
        {"\n <think></think> 42 </think>", "42 </think>", ""},
        {"<think>6 times", "", "6 times"},
        {"<think>", "", ""},
        {"<think>x</think", "", "x</think"},
        {"<think>x</think>", "", "x"},
        {"<thinking> 42", "<thinking> 42", NULL},
        {"so <think>x</think> 42", "so <think>x</think> 42", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *thought;
        size_t n;
        assert_string_equal(hn_answer_spoken(CASES[i].text, &thought, &n), CASES[i].spoken);
        assert_string_equal(hn_answer_spoken(CASES[i].text, NULL, NULL), CASES[i].spoken);
        assert_int_equal(thought != NULL, CASES[i].thought != NULL);
        assert_int_equal(n, CASES[i].thought ? strlen(CASES[i].thought) : 0);
        if (thought)
            assert_memory_equal(thought, CASES[i].thought, n);
    }
}

static void test_no_memory(void **state) {
    (void)state;
    static const char GBNF[] = "root ::= [a-d]{2,7} \".\"";
    hn_status status = HN_NO_MEMORY;
    hn_error err;
    for (int n = 0; status != HN_OK; n += 1 + n / 16) {
        hn_pooled_constraint pooled = {0};
        ASSERT_OK(hn_constraint_pool_take(pool, HN_CONSTRAINT_GBNF, GBNF, strlen(GBNF), "test",
                                          &pooled, errp));
        hn_mem_fail_after(n);
        status = answer(pooled.constraint, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
        hn_constraint_pool_give(pool, &pooled);
        forget();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spoken),    cmocka_unit_test(test_unheld),
        cmocka_unit_test(test_held),      cmocka_unit_test(test_no_choice),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
