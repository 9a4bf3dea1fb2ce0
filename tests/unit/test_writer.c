/* An answer being written: its pieces and their tokens, log-probabilities, being set back at any
 * time, and what makes no sense. hn_generate's and the engine's tests see to the rest. */
#include "engine_help.h"

#include "model/vmath.h"

#include <math.h>

enum { CONTEXT = 256, VOCAB = 512, ROWS = 64 };

/* All that a writer shows. */
typedef struct shown {
    hn_buf text;
    hn_ids ids;
    hn_ids prompt;
    size_t offsets[CONTEXT];
    float logprobs[CONTEXT];
    hn_token_chance top[CONTEXT][2];
} shown;

static void see_prompt(void *context, const hn_piece_token *tokens, int n) {
    shown *s = context;
    for (int i = 0; i < n; i++)
        ASSERT_OK(hn_ids_push(&s->prompt, tokens[i].id, errp));
}

static bool see_piece(void *context, const hn_piece *piece) {
    shown *s = context;
    hn_buf_append(&s->text, piece->text, piece->n_bytes);
    for (int i = 0; i < piece->n_tokens; i++) {
        const hn_piece_token *t = &piece->tokens[i];
        s->offsets[s->ids.size] = t->offset;
        s->logprobs[s->ids.size] = t->logprob;
        for (int j = 0; j < t->n_top && j < 2; j++)
            s->top[s->ids.size][j] = t->top[j];
        ASSERT_OK(hn_ids_push(&s->ids, t->id, errp));
    }
    return true;
}

static void shown_done(shown *s) {
    hn_buf_done(&s->text);
    hn_ids_done(&s->ids);
    hn_ids_done(&s->prompt);
}

/* Runs it to its end in passes of at most `rows`; after each pass it is set back with the chance
 * 1 / set_back (0 = never). */
static void write_all(hn_writer *w, hn_kv *kv, int rows, int set_back, uint64_t seed) {
    static float logits[ROWS * VOCAB];
    hn_rng rng = hn_rng_new(seed, 4);
    while (!w->over) {
        int32_t tokens[ROWS];
        hn_batch_row batch[ROWS];
        hn_writer_rows next;
        const hn_writer_room room = {
            .rows = rows, .drafts = HN_DRAFT_MAX, .logits = rows, .positions = CONTEXT};
        assert_int_equal(hn_kv_length(kv, 0), hn_writer_computed(w));
        ASSERT_OK(hn_writer_next(w, &room, tokens, &next, errp));
        for (int i = 0; i < next.n; i++)
            batch[i] = (hn_batch_row){
                .token = tokens[i], .adapter = -1, .wants_logits = i >= next.n - next.n_logits};
        ASSERT_OK(hn_forward(model, kv, NULL, 0, batch, next.n, logits, NULL, errp));
        ASSERT_OK(hn_writer_take(w, logits, CONTEXT, errp));
        hn_kv_truncate(kv, 0, hn_writer_computed(w));
        if (set_back && hn_rng_below(&rng, (uint64_t)set_back) == 0)
            hn_kv_truncate(
                kv, 0,
                hn_writer_resume(w, (int)hn_rng_below(&rng, (uint64_t)hn_kv_length(kv, 0) + 1)));
    }
    hn_kv_truncate(kv, 0, 0);
}

static hn_kv *new_kv(void) {
    hn_kv *kv = NULL;
    need_story();
    ASSERT_OK(hn_kv_new(&kv, model, 1, CONTEXT, errp));
    return kv;
}

/* In which passes it is computed, and how often it is set back, changes nothing. */
static void test_set_back(void **state) {
    (void)state;
    enum { N = 50 };
    hn_kv *kv = new_kv();
    int32_t prompt[N];
    make_prompt(prompt, N, 1);
    shown first = {0};
    for (int way = 0; way < 6; way++) {
        shown s = {0};
        hn_writer w;
        hn_speculator *speculator = NULL;
        if (way % 2)
            ASSERT_OK(hn_speculator_new_ngram(&speculator, errp));
        const hn_writer_options options = {.sampling = {.temperature = 0.9f,
                                                        .top_p = 0.95f,
                                                        .repetition_penalty = 1.1f,
                                                        .seed = 3},
                                           .max_tokens = 70,
                                           .ignore_eos = true,
                                           .speculator = speculator,
                                           .n_logprobs = 2,
                                           .prompt_logprobs = true,
                                           .context = &s,
                                           .on_prompt = see_prompt,
                                           .on_piece = see_piece};
        ASSERT_OK(hn_writer_init(&w, model, prompt, N, &options, errp));
        write_all(&w, kv, way < 2 ? 40 : 7, way < 2 ? 0 : 8 - way, (uint64_t)way);
        assert_int_equal(w.finish, HN_FINISH_LENGTH);
        assert_int_equal(w.n_drawn, 70);
        assert_int_equal(s.prompt.size, N);
        assert_memory_equal(s.prompt.data, prompt, sizeof prompt);
        assert_int_equal(s.ids.size, 70);
        assert_memory_equal(s.ids.data, w.text.data + N, 70 * sizeof *s.ids.data);
        if (way == 0) {
            first = s;
        } else {
            assert_string_equal(hn_buf_text(&s.text), hn_buf_text(&first.text));
            assert_memory_equal(s.ids.data, first.ids.data, 70 * sizeof *s.ids.data);
            assert_memory_equal(s.offsets, first.offsets, 70 * sizeof *s.offsets);
            assert_memory_equal(s.logprobs, first.logprobs, 70 * sizeof *s.logprobs);
            assert_memory_equal(s.top, first.top, 70 * sizeof *s.top);
            shown_done(&s);
        }
        hn_writer_done(&w);
        hn_speculator_free(speculator);
    }
    shown_done(&first);
    hn_kv_free(kv);
}

/* The raw softmax of the whole text, computed at once. */
static void test_logprobs(void **state) {
    (void)state;
    enum { N = 10, MORE = 30 };
    hn_kv *kv = new_kv();
    static float logits[(N + MORE) * VOCAB];
    int32_t prompt[N];
    shown s = {0};
    hn_writer w;
    make_prompt(prompt, N, 2);
    const hn_logit_bias bias[] = {{300, 3}, {301, -3}};
    const hn_writer_options options = {.sampling = {.temperature = 1.2f,
                                                    .top_p = 1,
                                                    .repetition_penalty = 1,
                                                    .frequency_penalty = 0.3f,
                                                    .bias = bias,
                                                    .n_bias = 2},
                                       .max_tokens = MORE,
                                       .ignore_eos = true,
                                       .n_logprobs = 2,
                                       .context = &s,
                                       .on_piece = see_piece};
    ASSERT_OK(hn_writer_init(&w, model, prompt, N, &options, errp));
    write_all(&w, kv, ROWS, 0, 0);
    hn_batch_row rows[N + MORE];
    for (int i = 0; i < N + MORE; i++)
        rows[i] = (hn_batch_row){.token = w.text.data[i], .adapter = -1, .wants_logits = true};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, N + MORE, logits, NULL, errp));
    for (int i = 0; i < MORE; i++) {
        const float *row = logits + (size_t)(N + i - 1) * VOCAB;
        const double sum = hn_log_sum_exp(row, VOCAB);
        const long best = hn_argmax(row, VOCAB);
        assert_true(s.logprobs[i] == (float)((double)row[s.ids.data[i]] - sum));
        assert_int_equal(s.top[i][0].id, best);
        assert_true(s.top[i][0].logprob == (float)((double)row[best] - sum));
        assert_true(s.top[i][1].logprob <= s.top[i][0].logprob);
    }
    hn_writer_done(&w);
    shown_done(&s);
    hn_kv_free(kv);
}

/* The whole answer's probability is its tokens', when nothing is done to the logits; in which
 * passes it was computed changes nothing. */
static void test_log_prob(void **state) {
    (void)state;
    enum { N = 10, MORE = 30 };
    hn_kv *kv = new_kv();
    int32_t prompt[N];
    double first = 0;
    make_prompt(prompt, N, 4);
    for (int set_back = 0; set_back < 3; set_back++) {
        shown s = {0};
        hn_writer w;
        double sum = 0;
        const hn_writer_options options = {
            .sampling = {.temperature = 0.7f, .top_p = 0.9f, .repetition_penalty = 1, .seed = 5},
            .max_tokens = MORE,
            .ignore_eos = true,
            .log_prob = true,
            .context = &s,
            .on_piece = see_piece};
        ASSERT_OK(hn_writer_init(&w, model, prompt, N, &options, errp));
        write_all(&w, kv, 7, set_back, 1);
        for (int i = 0; i < MORE; i++)
            sum += (double)s.logprobs[i];
        assert_true(fabs(w.log_prob - sum) < 1e-4);
        if (set_back == 0)
            first = w.log_prob;
        assert_true(w.log_prob == first);
        hn_writer_done(&w);
        shown_done(&s);
    }
    hn_kv_free(kv);
}

/* Each token's bytes lie where it says, up to a stop string, which hides what it cut off. */
static void test_offsets(void **state) {
    (void)state;
    hn_kv *kv = new_kv();
    const int32_t prompt[1] = {BOS};
    static const char *const stops[] = {"", "girl", "zebra"};
    for (int n_stop = 0; n_stop < 4; n_stop += 3) {
        shown s = {0};
        hn_writer w;
        const hn_writer_options options = {.sampling = hn_sampling_default(),
                                           .max_tokens = 60,
                                           .stop = stops,
                                           .n_stop = n_stop,
                                           .n_logprobs = -1,
                                           .context = &s,
                                           .on_piece = see_piece};
        ASSERT_OK(hn_writer_init(&w, model, prompt, 1, &options, errp));
        write_all(&w, kv, ROWS, 0, 0);
        const char *text = hn_buf_text(&s.text);
        assert_string_equal(text, hn_buf_text(&w.bytes));
        assert_int_equal(w.stop, n_stop ? 1 : -1);
        assert_int_equal(w.finish, n_stop ? HN_FINISH_STOP : HN_FINISH_LENGTH);
        assert_true((strstr(text, "girl") != NULL) == !n_stop);
        for (size_t i = 0; i < s.ids.size; i++) {
            const char *bytes;
            size_t n;
            hn_token_bytes(model->ckpt.tokenizer, s.ids.data[i], false, &bytes, &n);
            const size_t blank = i == 0; /* the first one loses its blank */
            size_t there = s.text.size - s.offsets[i];
            assert_true(s.offsets[i] < s.text.size);
            there = there < n - blank ? there : n - blank;
            assert_memory_equal(text + s.offsets[i], bytes + blank, there);
            assert_true(isnan(s.logprobs[i]));
        }
        hn_writer_done(&w);
        shown_done(&s);
    }
    hn_kv_free(kv);
}

static void test_refused(void **state) {
    (void)state;
    need_story();
    hn_writer w;
    hn_error err;
    const int32_t prompt[1] = {BOS};
    hn_writer_options options = {.sampling = hn_sampling_default(), .n_logprobs = -1};
    assert_int_equal(hn_writer_init(&w, model, prompt, 0, &options, &err), HN_USAGE);
    options.n_logprobs = HN_WRITER_MAX_LOGPROBS + 1;
    assert_int_equal(hn_writer_init(&w, model, prompt, 1, &options, &err), HN_USAGE);
    options.n_logprobs = 1;
    options.sampling.top_p = 2;
    assert_int_equal(hn_writer_init(&w, model, prompt, 1, &options, &err), HN_USAGE);
    options.sampling.top_p = 0.5f;
    options.sampling.temperature = 1;
    options.sampling.presence_penalty = 1;
    options.min_tokens = 3;
    for (int n = 0; n < 12; n++) {
        hn_mem_fail_after(n);
        hn_status status = hn_writer_init(&w, model, prompt, 1, &options, &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK) {
            hn_writer_done(&w);
            assert_true(n > 3);
            return;
        }
        assert_int_equal(status, HN_NO_MEMORY);
    }
    fail_msg("a writer takes more than 12 allocations");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_back), cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_log_prob), cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, open_story, close_story);
}
