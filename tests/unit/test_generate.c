/* Sampling, generation, scoring and perplexity on stories260K. */
#include "gathered.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "model/generate.h"
#include "model/perplexity.h"
#include "model/sampling.h"
#include "model/vmath.h"
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

enum { VOCAB = 512, BOS = 1 };

static char story_path[64];
static hn_model *model;

static int open_story(void **state) {
    (void)state;
    hn_error err;
    hn_model_options options = {.n_threads = 2};
    char shared[512];
    if (!shared_file(shared, sizeof shared, "stories260K/stories260K.bin"))
        return 0;
    stories_make(story_path, NULL);
    if (hn_model_open(&model, story_path, &options, &err) != HN_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_story(void **state) {
    (void)state;
    hn_model_free(model);
    if (*story_path)
        remove(story_path);
    return 0;
}

static hn_kv *need_model(int n_seqs, int n_positions) {
    if (!model) {
        print_message("skipped: stories260K isn't there (set HONE_SHARED)\n");
        skip();
    }
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, model, n_seqs, n_positions, errp));
    return kv;
}

/* The story in stories260K.md, from llama2.c at temperature 0: the first fenced block's output. */
static char *expected_story(void) {
    char path[512], *text = NULL;
    shared_file(path, sizeof path, "stories260K/stories260K.md");
    size_t size;
    ASSERT_OK(hn_file_read(path, 1 << 16, &text, &size, errp));
    char *start = strstr(text, "Once upon a time"), *end = strstr(start, "\n```");
    assert_non_null(start);
    assert_non_null(end);
    *end = 0;
    char *story = strdup(start);
    hn_free(text);
    return story;
}

static void test_greedy_story(void **state) {
    (void)state;
    hn_kv *kv = need_model(1, 300);
    char *expected = expected_story();
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 256};
    hn_generation out;
    int32_t prompt[1] = {BOS};
    ASSERT_OK(hn_generate(model, kv, 0, prompt, 1, &options, &out, errp));
    assert_string_equal(out.text, expected);
    assert_int_equal(out.n_prompt, 1);
    assert_true(out.finish == HN_FINISH_LENGTH || out.finish == HN_FINISH_STOP);
    hn_generation_done(&out);
    free(expected);
    hn_kv_free(kv);
}

typedef struct collector {
    hn_buf text;
    int pieces, stop_after;
} collector;

static bool collect(void *context, const char *text, size_t n_bytes) {
    collector *c = context;
    assert_true(hn_utf8_valid(text, n_bytes));
    hn_buf_append(&c->text, text, n_bytes);
    return ++c->pieces != c->stop_after;
}

static void test_stop_strings(void **state) {
    (void)state;
    hn_kv *kv = need_model(1, 300);
    static const char *const stops[] = {"zebra", "a big, red", "outside in the park. Two"};
    collector got = {0};
    hn_generate_options options = {.sampling = hn_sampling_default(),
                                   .max_tokens = 256,
                                   .stop = stops,
                                   .n_stop = 3,
                                   .on_text = collect,
                                   .context = &got};
    hn_generation out;
    int32_t prompt[1] = {BOS};
    ASSERT_OK(hn_generate(model, kv, 0, prompt, 1, &options, &out, errp));
    assert_int_equal(out.finish, HN_FINISH_STOP);
    assert_string_equal(out.text, "Once upon a time, there was a little girl named Lily. She loved "
                                  "to play outside in the park. One day, she saw ");
    assert_string_equal(hn_buf_text(&got.text), out.text);
    assert_true(got.pieces > 20);
    hn_generation_done(&out);
    hn_buf_done(&got.text);

    got = (collector){.stop_after = 3};
    options.n_stop = 0;
    ASSERT_OK(hn_generate(model, kv, 0, prompt, 1, &options, &out, errp));
    assert_int_equal(out.finish, HN_FINISH_CANCELLED);
    assert_int_equal(got.pieces, 3);
    hn_generation_done(&out);
    hn_buf_done(&got.text);
    hn_kv_free(kv);
}

static void test_prefix_is_reused(void **state) {
    (void)state;
    hn_kv *kv = need_model(2, 300);
    hn_ids ids = {0};
    ASSERT_OK(hn_encode(model->ckpt.tokenizer, "Once upon a time, there was a dog", 33,
                        HN_ENCODE_ADD_SPECIAL, &ids, errp));
    assert_int_equal(ids.data[0], BOS);
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 20};
    hn_generation first, second;
    ASSERT_OK(hn_generate(model, kv, 0, ids.data, (int)ids.size, &options, &first, errp));
    assert_int_equal(first.n_reused, 0);
    ASSERT_OK(hn_generate(model, kv, 0, ids.data, (int)ids.size, &options, &second, errp));
    assert_int_equal(second.n_reused, (int)ids.size - 1);
    assert_string_equal(first.text, second.text);
    hn_generation_done(&second);
    int32_t prompt[64];
    memcpy(prompt, ids.data, ids.size * sizeof *prompt);
    memcpy(prompt + ids.size, first.ids.data, 10 * sizeof *prompt);
    ASSERT_OK(hn_generate(model, kv, 0, prompt, (int)ids.size + 10, &options, &second, errp));
    assert_int_equal(second.n_reused, (int)ids.size + 9);
    assert_int_equal(second.ids.data[0], first.ids.data[10]);
    hn_generation_done(&first);
    hn_generation_done(&second);
    hn_ids_done(&ids);
    hn_kv_free(kv);
}

static void test_context_end(void **state) {
    (void)state;
    hn_kv *kv = need_model(1, 32);
    hn_generate_options options = {.sampling = hn_sampling_default(), .ignore_eos = true};
    hn_generation out;
    int32_t prompt[80] = {BOS};
    ASSERT_OK(hn_generate(model, kv, 0, prompt, 1, &options, &out, errp));
    assert_int_equal(out.finish, HN_FINISH_LENGTH);
    assert_true(out.ids.size >= 32);
    hn_generation_done(&out);
    hn_error err;
    assert_int_equal(hn_generate(model, kv, 0, prompt, 80, &options, &out, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "80 tokens"));
    assert_int_equal(hn_generate(model, kv, 0, prompt, 0, &options, &out, &err), HN_USAGE);
    assert_int_equal(hn_generate(model, kv, 1, prompt, 1, &options, &out, &err), HN_USAGE);
    hn_kv_free(kv);
}

static char *sampled(hn_kv *kv, float temperature, uint64_t seed) {
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 40};
    options.sampling.temperature = temperature;
    options.sampling.top_p = 0.9f;
    options.sampling.seed = seed;
    hn_generation out;
    int32_t prompt[1] = {BOS};
    ASSERT_OK(hn_generate(model, kv, 0, prompt, 1, &options, &out, errp));
    char *text = strdup(out.text);
    hn_generation_done(&out);
    return text;
}

static void test_seed_decides(void **state) {
    (void)state;
    hn_kv *kv = need_model(1, 64);
    char *a = sampled(kv, 1, 1), *b = sampled(kv, 1, 1), *c = sampled(kv, 1, 2);
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    free(a);
    free(b);
    free(c);
    hn_kv_free(kv);
}

/* Draws n times from logits whose probabilities are 0.4, 0.3, 0.2, 0.06, 0.04. */
static void count_draws(const hn_sampling *options, int n, int counts[5]) {
    static const float p[5] = {0.06f, 0.4f, 0.2f, 0.3f, 0.04f};
    hn_sampler sampler;
    ASSERT_OK(hn_sampler_init(&sampler, options, 5, errp));
    memset(counts, 0, 5 * sizeof *counts);
    for (int i = 0; i < n; i++) {
        float logits[5];
        for (int k = 0; k < 5; k++)
            logits[k] = logf(p[k]) + 3;
        counts[hn_sampler_draw(&sampler, logits)]++;
    }
    hn_sampler_done(&sampler);
}

static void assert_share(int count, int n, double share) {
    double sigma = sqrt(share * (1 - share) / n);
    assert_true(fabs((double)count / n - share) <= 5 * sigma + 1e-9);
}

static void test_truncation(void **state) {
    (void)state;
    enum { N = 20000 };
    int counts[5];
    hn_sampling options = hn_sampling_default();
    options.temperature = 1;
    count_draws(&options, N, counts);
    assert_share(counts[1], N, 0.4);
    assert_share(counts[3], N, 0.3);
    assert_share(counts[4], N, 0.04);
    options.top_k = 2;
    count_draws(&options, N, counts);
    assert_int_equal(counts[1] + counts[3], N);
    assert_share(counts[1], N, 0.4 / 0.7);
    options.top_k = 0;
    options.top_p = 0.85f; /* 0.4 + 0.3 + 0.2 reach it */
    count_draws(&options, N, counts);
    assert_int_equal(counts[0] + counts[4], 0);
    assert_share(counts[2], N, 0.2 / 0.9);
    options.top_p = 1;
    options.min_p = 0.6f; /* of 0.4: 0.24 */
    count_draws(&options, N, counts);
    assert_int_equal(counts[1] + counts[3], N);
    options.min_p = 0;
    options.temperature = 0.5f; /* squares: 0.16, 0.09, 0.04, 0.0036, 0.0016 */
    count_draws(&options, N, counts);
    assert_share(counts[1], N, 0.16 / 0.2952);
    options.temperature = 0;
    count_draws(&options, 10, counts);
    assert_int_equal(counts[1], 10);
}

static void test_top_k_of_many(void **state) {
    (void)state;
    enum { N = 5000, K = 40 };
    hn_sampling options = hn_sampling_default();
    options.temperature = 100;
    options.top_k = K;
    hn_sampler sampler;
    ASSERT_OK(hn_sampler_init(&sampler, &options, N, errp));
    float *logits = malloc(N * sizeof *logits);
    bool seen[K] = {false};
    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < N; i++)
            logits[i] = (float)((i * 1237) % N) * 1e-3f; /* a permutation: ranks are known */
        int32_t id = hn_sampler_draw(&sampler, logits);
        int rank = N - 1 - (id * 1237) % N;
        assert_in_range(rank, 0, K - 1);
        seen[rank] = true;
    }
    for (int i = 0; i < K; i++)
        assert_true(seen[i]);
    for (int i = 0; i < N; i++) /* nothing may come: what comes all the same is a token */
        logits[i] = -INFINITY;
    assert_int_equal(hn_sampler_draw(&sampler, logits), 0);
    logits[N - 1] = 1; /* behind the last whole lanes */
    assert_int_equal(hn_sampler_draw(&sampler, logits), N - 1);
    free(logits);
    hn_sampler_done(&sampler);
}

static int best_first(const void *a, const void *b) {
    const hn_candidate *x = a, *y = b;
    return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->id - y->id;
}

/* The draw in its plainest form: everything is sorted. */
static int32_t plain_draw(const hn_sampling *o, hn_rng *rng, const float *logits, int n) {
    hn_candidate *c = malloc((size_t)n * sizeof *c);
    int left = 0;
    for (int i = 0; i < n; i++)
        if (logits[i] > -INFINITY)
            c[left++] = (hn_candidate){.id = i, .logit = logits[i]};
    qsort(c, (size_t)left, sizeof *c, best_first);
    if (o->top_k > 0 && o->top_k < left)
        left = o->top_k;
    double sum = 0, reached = 0;
    for (int i = 0; i < left; i++) {
        c[i].p = expf((c[i].logit - c[0].logit) / o->temperature);
        sum += (double)c[i].p;
    }
    for (int i = 0; i < left; i++) {
        reached += (double)c[i].p;
        if (reached >= (double)o->top_p * sum) {
            left = i + 1;
            break;
        }
    }
    double target = hn_rng_double(rng) * reached;
    int at = 0;
    while (at + 1 < left && (target -= (double)c[at].p) >= 0)
        at++;
    int32_t id = c[at].id;
    free(c);
    return id;
}

static void test_draws_plainly(void **state) {
    (void)state;
    enum { N = 3000 };
    static const int top_k[] = {0, 0, 1, 7, 300, N, 2 * N};
    static const float top_p[] = {0.5f, 0.99f, 1, 0.9f, 0.97f, 0.6f, 1};
    hn_rng rng = hn_rng_new(5, 5);
    float *logits = malloc(N * sizeof *logits), *copy = malloc(N * sizeof *copy);
    for (int way = 0; way < 7; way++) {
        hn_sampling options = hn_sampling_default();
        options.top_k = top_k[way];
        options.top_p = top_p[way];
        options.seed = (uint64_t)way;
        for (int spread = 0; spread < 3; spread++) {
            options.temperature = 0.5f + 0.5f * (float)spread;
            hn_sampler sampler;
            ASSERT_OK(hn_sampler_init(&sampler, &options, N, errp));
            hn_rng draws = hn_rng_new(options.seed, 0);
            for (int round = 0; round < 40; round++) {
                for (int i = 0; i < N; i++) { /* few values, so that many are equal */
                    logits[i] = (float)hn_rng_below(&rng, 30) * (round % 2 ? 0.5f : 0.05f);
                    if (hn_rng_below(&rng, 8) == 0)
                        logits[i] = -INFINITY;
                }
                memcpy(copy, logits, N * sizeof *copy);
                assert_int_equal(hn_sampler_draw(&sampler, copy),
                                 plain_draw(&options, &draws, logits, N));
            }
            hn_sampler_done(&sampler);
        }
    }
    free(logits);
    free(copy);
}

/* Against the loop that says what is meant. */
static void test_argmax(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(6, 6);
    static float x[5000]; /* several of the pieces it goes through */
    for (int round = 0; round < 3000; round++) {
        int n = 1 + (int)hn_rng_below(&rng, round % 10 ? 70 : 5000), best = 0;
        for (int i = 0; i < n; i++) {
            uint64_t kind = hn_rng_below(&rng, 12);
            x[i] = kind == 0   ? NAN
                   : kind == 1 ? -INFINITY
                   : kind == 2 ? INFINITY
                   : kind == 3 ? -0.0f
                               : (float)hn_rng_below(&rng, 9) - 4;
        }
        for (int i = 1; i < n; i++)
            best = x[i] > x[best] ? i : best;
        assert_int_equal(hn_argmax(x, n), best);
    }
}

static void test_penalties_and_bias(void **state) {
    (void)state;
    hn_logit_bias bias[1] = {{.token = 3, .bias = -100}};
    hn_sampling options = hn_sampling_default();
    options.repetition_penalty = 2;
    options.presence_penalty = 0.5f;
    options.frequency_penalty = 0.25f;
    options.bias = bias;
    options.n_bias = 1;
    hn_sampler sampler;
    ASSERT_OK(hn_sampler_init(&sampler, &options, 5, errp));
    hn_sampler_accept(&sampler, 0, false);
    hn_sampler_accept(&sampler, 1, true);
    hn_sampler_accept(&sampler, 1, true);
    float logits[5] = {-1, 4, 0.75f, 9, 0.5f};
    assert_int_equal(hn_sampler_draw(&sampler, logits), 1);
    assert_float_equal(logits[0], -2, 1e-6);
    assert_float_equal(logits[1], 4 / 2 - 0.5 - 2 * 0.25, 1e-6);
    assert_float_equal(logits[2], 0.75, 1e-6);
    assert_float_equal(logits[3], -91, 1e-6);
    hn_sampler_done(&sampler);
    hn_error err;
    bias[0].token = 5;
    assert_int_equal(hn_sampler_init(&sampler, &options, 5, &err), HN_USAGE);
    options.n_bias = 0;
    options.temperature = NAN;
    assert_int_equal(hn_sampler_init(&sampler, &options, 5, &err), HN_USAGE);
}

/* Sum of log-probabilities of `choice` after `prompt`, position by position in one sequence. */
static double score_plainly(const int32_t *prompt, int n_prompt, const hn_ids *choice) {
    hn_kv *kv = need_model(1, 128);
    hn_batch_row rows[128];
    int n = n_prompt + (int)choice->size;
    for (int i = 0; i < n; i++)
        rows[i] = (hn_batch_row){.token = i < n_prompt ? prompt[i] : choice->data[i - n_prompt],
                                 .adapter = -1,
                                 .wants_logits = true};
    float *logits = malloc(sizeof(float) * (size_t)n * VOCAB);
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, n, logits, NULL, errp));
    double total = 0;
    for (int i = n_prompt; i < n; i++) {
        const float *row = logits + (size_t)(i - 1) * VOCAB;
        double sum = 0;
        for (int k = 0; k < VOCAB; k++)
            sum += exp((double)row[k]);
        total += (double)row[rows[i].token] - log(sum);
    }
    free(logits);
    hn_kv_free(kv);
    return total;
}

static void test_score_choices(void **state) {
    (void)state;
    enum { CHOICES = 9, PROMPT = 45 };
    static int32_t tokens[CHOICES][140];
    hn_ids choices[CHOICES];
    int32_t prompt[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = (i * 29 + 1) % VOCAB;
    static const size_t sizes[CHOICES] = {1, 3, 5, 4, 0, 2, 5, 1, 40};
    for (int c = 0; c < CHOICES; c++) {
        for (size_t i = 0; i < sizes[c]; i++) /* many share their beginnings */
            tokens[c][i] = (int32_t)((i * 7 + (i > 2 ? (size_t)c : 1) * 3 + 20) % VOCAB);
        choices[c] = (hn_ids){.data = tokens[c], .size = sizes[c]};
    }
    static const int seqs[] = {1, 2, 3, CHOICES + 2};
    for (int s = 0; s < 4; s++) {
        hn_kv *kv = need_model(seqs[s], 100);
        for (int repeat = 0; repeat < 2; repeat++) {
            double scores[CHOICES];
            ASSERT_OK(
                hn_score_choices(model, kv, NULL, prompt, PROMPT, choices, CHOICES, scores, errp));
            for (int c = 0; c < CHOICES; c++)
                assert_true(fabs(scores[c] - score_plainly(prompt, PROMPT, &choices[c])) < 1e-4);
            assert_int_equal(hn_kv_length(kv, 0), PROMPT);
        }
        hn_kv_free(kv);
    }
    hn_kv *kv = need_model(2, 100);
    double score;
    hn_error err;
    tokens[0][0] = VOCAB;
    assert_int_equal(hn_score_choices(model, kv, NULL, prompt, PROMPT, choices, 1, &score, &err),
                     HN_BAD_INPUT);
    assert_int_equal(hn_score_choices(model, kv, NULL, prompt, 0, choices, 1, &score, &err),
                     HN_USAGE);
    hn_kv_free(kv);
}

static void test_perplexity(void **state) {
    (void)state;
    hn_kv_free(need_model(1, 1));
    char *story = expected_story();
    enum { CTX = 48 };
    hn_perplexity out;
    hn_perplexity_job job = {
        .model = model, .reference = model, .text = story, .n_bytes = strlen(story), .n_ctx = CTX};
    ASSERT_OK(hn_perplexity_run(&job, NULL, &out, errp));
    assert_true(fabs(out.mean_kl) < 1e-9);
    assert_float_equal(out.top_token_agreement, 1, 0);
    hn_ids ids = {0};
    ASSERT_OK(
        hn_encode(model->ckpt.tokenizer, story, strlen(story), HN_ENCODE_ADD_SPECIAL, &ids, errp));
    double nll = 0;
    int scored = 0, chunks = (int)ids.size / CTX;
    for (int c = 0; c < chunks; c++) {
        ids.data[c * CTX] = BOS;
        hn_ids second = {.data = ids.data + c * CTX + CTX / 2 + 1, .size = CTX / 2 - 1};
        nll -= score_plainly(ids.data + c * CTX, CTX / 2 + 1, &second);
        scored += CTX / 2 - 1;
    }
    assert_int_equal(out.n_scored, scored);
    assert_true(fabs(out.ppl - exp(nll / scored)) < 1e-3 * out.ppl);
    hn_error err;
    job.n_bytes = 2;
    assert_int_equal(hn_perplexity_run(&job, NULL, &out, &err), HN_BAD_INPUT);
    hn_ids_done(&ids);
    free(story);
}

/* The last part's result is that of one that does all, in every bit. */
static void test_shared_perplexity(void **state) {
    (void)state;
    hn_kv_free(need_model(1, 1));
    char *story = expected_story();
    hn_perplexity whole, shared;
    hn_error err;
    hn_perplexity_job job = {
        .model = model, .reference = model, .text = story, .n_bytes = strlen(story), .n_ctx = 12};
    ASSERT_OK(hn_perplexity_run(&job, NULL, &whole, errp));
    for (int n_parts = 1; n_parts < 60; n_parts += 29) { /* of more parts than chunks, too */
        gathered g = {0};
        hn_share share = {0, n_parts, gather_parts, &g};
        job.share = &share;
        for (; share.part < n_parts; share.part++)
            ASSERT_OK(hn_perplexity_run(&job, NULL, &shared, errp));
        share.part = n_parts - 1;
        assert_memory_equal(&shared, &whole, sizeof whole);
        assert_int_equal(g.calls, n_parts);
        job.n_ctx = 1; /* also of a failure the others are told */
        assert_int_equal(hn_perplexity_run(&job, NULL, &shared, &err), HN_USAGE);
        assert_int_equal(g.calls, n_parts + 1);
        job.n_ctx = 12;
    }
    free(story);
}

static hn_status generate_and_score(hn_kv *kv, hn_error *err) {
    static int32_t prompt[3] = {BOS, 5, 6}, tokens[2][3] = {{7, 8, 9}, {10, 11, 12}};
    const hn_ids choices[2] = {{.data = tokens[0], .size = 3}, {.data = tokens[1], .size = 3}};
    static const char *const stops[] = {"zebra"};
    hn_generate_options options = {
        .sampling = hn_sampling_default(), .max_tokens = 4, .stop = stops, .n_stop = 1};
    options.sampling.temperature = 1;
    options.sampling.repetition_penalty = 1.1f;
    hn_generation out = {0};
    double scores[2];
    hn_status status = HN_OK;
    HN_GO(hn_generate(model, kv, 0, prompt, 3, &options, &out, err));
    HN_GO(hn_score_choices(model, kv, NULL, prompt, 3, choices, 2, scores, err));
done:
    hn_generation_done(&out);
    return status;
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    hn_kv *kv = need_model(3, 128);
    hn_error err;
    ASSERT_OK(generate_and_score(kv, errp)); /* scratch that stays has grown after this */
    int64_t before = hn_mem_count();
    ASSERT_OK(generate_and_score(kv, errp));
    int64_t needed = hn_mem_count() - before;
    assert_true(needed > 5);
    for (int64_t n = 0; n < needed; n++) {
        hn_mem_fail_after(n);
        hn_status status = generate_and_score(kv, &err);
        hn_mem_fail_after(-1);
        if (status != HN_NO_MEMORY)
            fail_msg("allocation %lld of %lld: status %d, message: %s", (long long)n,
                     (long long)needed, status, err.message);
    }
    hn_kv_free(kv);
}

static void test_no_chat_template(void **state) {
    (void)state;
    hn_kv_free(need_model(1, 1));
    hn_error err;
    hn_ids ids = {0};
    json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", "hi");
    assert_int_equal(hn_chat_encode(model, messages, NULL, true, &ids, &err), HN_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no chat template"));
    json_decref(messages);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_story),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_prefix_is_reused),
        cmocka_unit_test(test_context_end),
        cmocka_unit_test(test_seed_decides),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_top_k_of_many),
        cmocka_unit_test(test_draws_plainly),
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_penalties_and_bias),
        cmocka_unit_test(test_score_choices),
        cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_shared_perplexity),
        cmocka_unit_test(test_no_chat_template),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests_name("generate", tests, open_story, close_story);
}
