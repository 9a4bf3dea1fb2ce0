/* Speculation never changes the output: text, tokens, pieces, reasons, draws and cache are the same
 * with every drafter, hostile ones among them. On stories260K, and on the real base. */
#include "base/mem.h"
#include "base/rng.h"
#include "model/constraint.h"
#include "model/generate.h"
#include "model/row_cost.h"
#include "model/sampling.h"
#include "support/check.h"
#include "support/stories.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base_model.h"
#include "tiny_model.h"

enum { VOCAB = 512, BOS = 1, CONTEXT = 200 };

static char story_path[64];
static hn_model *model, *twin; /* the same file twice: its own draft */

static int open_story(void **state) {
    (void)state;
    char shared[512];
    hn_model_options options = {.n_threads = 1};
    if (!shared_file(shared, sizeof shared, "stories260K/stories260K.bin"))
        return 0;
    stories_make(story_path, NULL);
    hn_error err;
    if (hn_model_open(&model, story_path, &options, &err) != HN_OK ||
        hn_model_open(&twin, story_path, &options, &err) != HN_OK) {
        print_error("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_story(void **state) {
    (void)state;
    hn_model_free(model);
    hn_model_free(twin);
    if (*story_path)
        remove(story_path);
    return 0;
}

static hn_kv *new_kv(int n_positions) {
    if (!model) {
        print_message("skipped: stories260K isn't there (set HONE_SHARED)\n");
        skip();
    }
    hn_kv *kv = NULL;
    ASSERT_OK(hn_kv_new(&kv, model, 1, n_positions, errp));
    return kv;
}

/* Guesses at random: what it likes, or the truth as far as `known` goes, spoiled now and then. */
typedef struct guesser {
    hn_rng rng;
    const hn_ids *known; /* prompt and answer, or NULL */
    int right;           /* of 8 guesses so many are the truth */
    int n_guessed;
} guesser;

static hn_status guesser_look(void *self, const int32_t *text, int n, int max, int *found,
                              int *kind, hn_error *err) {
    guesser *g = self;
    (void)text, (void)n, (void)err;
    *found = (int)hn_rng_below(&g->rng, (uint64_t)max + 1);
    *kind = (int)hn_rng_below(&g->rng, 2);
    return HN_OK;
}

static hn_status guesser_draft(void *self, const int32_t *text, int n, int wanted, int32_t *tokens,
                               int *made, hn_error *err) {
    guesser *g = self;
    (void)text, (void)err;
    for (int i = 0; i < wanted; i++) {
        bool truth = g->known && (size_t)(n + i) < g->known->size &&
                     (int)hn_rng_below(&g->rng, 8) < g->right;
        /* Some are no tokens at all. */
        tokens[i] = truth ? g->known->data[n + i] : (int32_t)hn_rng_below(&g->rng, 700) - 90;
    }
    *made = (int)hn_rng_below(&g->rng, (uint64_t)wanted + 1);
    g->n_guessed += *made;
    return HN_OK;
}

static hn_speculator *new_guesser(guesser *g) {
    const hn_drafter drafter = {.self = g,
                                .look = guesser_look,
                                .draft = guesser_draft,
                                .n_kinds = 2,
                                .chances = {0.9f, 0.9f},
                                .eager = true};
    hn_speculator *s = NULL;
    ASSERT_OK(hn_speculator_new(&s, &drafter, errp));
    return s;
}

/* Everything that can be seen of a generation. */
typedef struct seen {
    hn_generation generation;
    hn_buf pieces; /* each followed by a byte 1 */
    int n_pieces, stop_after;
    int32_t kv_length;
} seen;

static bool collect(void *context, const char *text, size_t n_bytes) {
    seen *s = context;
    hn_buf_append(&s->pieces, text, n_bytes);
    hn_buf_append(&s->pieces, "\1", 1);
    return ++s->n_pieces != s->stop_after;
}

static void run(seen *s, hn_kv *kv, const hn_ids *prompt, const hn_generate_options *base,
                hn_speculator *speculator, int stop_after) {
    *s = (seen){.stop_after = stop_after};
    hn_generate_options options = *base;
    options.speculator = speculator;
    options.on_text = collect;
    options.context = s;
    ASSERT_OK(
        hn_generate(model, kv, 0, prompt->data, (int)prompt->size, &options, &s->generation, errp));
    s->kv_length = hn_kv_length(kv, 0);
}

static void seen_done(seen *s) {
    hn_generation_done(&s->generation);
    hn_buf_done(&s->pieces);
}

static void compare(const seen *a, const seen *b, const char *what) {
    const hn_generation *x = &a->generation, *y = &b->generation;
    if (x->ids.size != y->ids.size ||
        (x->ids.size && memcmp(x->ids.data, y->ids.data, x->ids.size * sizeof *x->ids.data) != 0))
        fail_msg("%s: other tokens: '%s' and '%s'", what, x->text, y->text);
    assert_string_equal(x->text, y->text);
    assert_int_equal(x->finish, y->finish);
    assert_int_equal(x->n_prompt, y->n_prompt);
    assert_int_equal(a->pieces.size, b->pieces.size);
    if (a->pieces.size)
        assert_memory_equal(a->pieces.data, b->pieces.data, a->pieces.size);
    /* Tokens at the end may have been computed as guesses, which nobody else computes. */
    assert_in_range(b->kv_length, a->kv_length, y->n_prompt + (int)y->ids.size);
}

static const char *const PROMPTS[] = {
    "Hi",
    "Once upon a time",
    "Tom had a red ball. Tom had a red ball. Tom had a",
    "The dog said: \"Hi, Lily!\" Lily said: \"Hi, dog!\" The dog said: \"",
};
enum { N_PROMPTS = sizeof PROMPTS / sizeof *PROMPTS };
static int first_prompt; /* the real base takes the last two only, for the sake of time */

static void encode(const char *text, hn_ids *ids) {
    ASSERT_OK(
        hn_encode(model->ckpt.tokenizer, text, strlen(text), HN_ENCODE_ADD_SPECIAL, ids, errp));
}

/* One set of options with every drafter on every prompt, three times each: the cache is empty, and
 * holds a beginning. */
static void check_options(const hn_generate_options *options, int n_positions, int stop_after,
                          const char *what) {
    hn_kv *plain_kv = new_kv(n_positions), *kv = new_kv(n_positions);
    hn_speculator *ngram = NULL, *model_draft = NULL;
    ASSERT_OK(hn_speculator_new_ngram(&ngram, errp));
    ASSERT_OK(hn_speculator_new_model(&model_draft, twin, model, n_positions, errp));
    for (int p = first_prompt; p < N_PROMPTS; p++) {
        hn_ids prompt = {0}, known = {0};
        seen plain, other;
        encode(PROMPTS[p], &prompt);
        run(&plain, plain_kv, &prompt, options, NULL, stop_after);
        for (size_t i = 0; i < prompt.size + plain.generation.ids.size; i++)
            ASSERT_OK(hn_ids_push(&known,
                                  i < prompt.size ? prompt.data[i]
                                                  : plain.generation.ids.data[i - prompt.size],
                                  errp));
        guesser wild = {.rng = hn_rng_new((uint64_t)p, 1)};
        guesser wise = {.rng = hn_rng_new((uint64_t)p, 2), .known = &known, .right = 7};
        hn_speculator *all[] = {ngram, model_draft, new_guesser(&wild), new_guesser(&wise)};
        for (int i = 0; i < 4; i++)
            for (int repeat = 0; repeat < 2; repeat++) {
                char where[160];
                snprintf(where, sizeof where, "%s, prompt %d, drafter %d", what, p, i);
                run(&other, kv, &prompt, options, all[i], stop_after);
                compare(&plain, &other, where);
                assert_in_range(other.generation.n_accepted, 0, other.generation.n_drafted);
                if (i == 3 && plain.generation.ids.size > 20 && !options->constraint)
                    assert_true(other.generation.n_accepted > 5);
                seen_done(&other);
            }
        hn_speculator_free(all[2]);
        hn_speculator_free(all[3]);
        seen_done(&plain);
        hn_ids_done(&prompt);
        hn_ids_done(&known);
    }
    hn_speculator_free(ngram);
    hn_speculator_free(model_draft);
    hn_kv_free(plain_kv);
    hn_kv_free(kv);
}

static void test_greedy(void **state) {
    (void)state;
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 120};
    check_options(&options, CONTEXT, 0, "greedy");
    for (int max = 1; max < 8; max++) {
        options.max_tokens = max;
        check_options(&options, CONTEXT, 0, "few tokens");
    }
}

static void test_samplers(void **state) {
    (void)state;
    static const hn_logit_bias bias[] = {{.token = 400, .bias = 3}, {.token = 410, .bias = -5}};
    for (uint64_t seed = 0; seed < 4; seed++) {
        hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 60};
        hn_sampling *s = &options.sampling;
        s->seed = seed;
        s->temperature = 1;
        check_options(&options, CONTEXT, 0, "temperature 1");
        s->top_k = 20;
        s->top_p = 0.9f;
        s->min_p = 0.02f;
        check_options(&options, CONTEXT, 0, "top-k, top-p, min-p");
        s->repetition_penalty = 1.2f;
        s->presence_penalty = 0.3f;
        s->frequency_penalty = 0.2f;
        s->bias = bias;
        s->n_bias = 2;
        check_options(&options, CONTEXT, 0, "penalties and bias");
        s->temperature = 0;
        check_options(&options, CONTEXT, 0, "greedy with penalties and bias");
    }
}

static void test_ends(void **state) {
    (void)state;
    static const char *const stops[] = {"zebra", "park. One", "ball", "Lily"};
    hn_generate_options options = {
        .sampling = hn_sampling_default(), .max_tokens = 100, .stop = stops, .n_stop = 4};
    check_options(&options, CONTEXT, 0, "stop strings");
    options.n_stop = 0;
    for (int pieces = 1; pieces < 30; pieces += 7)
        check_options(&options, CONTEXT, pieces, "stopped by on_text");
    options.max_tokens = 0;
    options.ignore_eos = true;
    for (int n = 40; n <= 75; n += 7)
        check_options(&options, n, 0, "the context's end");
}

/* The loop in its plainest form: all logits of each position, masked and drawn from. */
static void check_plainly(const hn_generate_options *o, const char *what) {
    const size_t n_vocab = (size_t)model->arch.n_vocab;
    float *logits = malloc(n_vocab * sizeof *logits);
    for (int p = first_prompt; p < N_PROMPTS; p++) {
        hn_kv *kv = new_kv(CONTEXT), *kv_out = new_kv(CONTEXT);
        hn_ids prompt = {0}, ids = {0};
        hn_sampler sampler;
        hn_generation out;
        encode(PROMPTS[p], &prompt);
        ASSERT_OK(hn_generate(model, kv_out, 0, prompt.data, (int)prompt.size, o, &out, errp));
        ASSERT_OK(hn_sampler_init(&sampler, &o->sampling, hn_tokenizer_size(model->ckpt.tokenizer),
                                  errp));
        ASSERT_OK(hn_constraint_start(o->constraint, errp));
        for (size_t i = 0; i < prompt.size; i++)
            hn_sampler_accept(&sampler, prompt.data[i], false);
        for (size_t at = 0; (int)ids.size < o->max_tokens; at++) {
            const hn_batch_row row = {.token = at < prompt.size ? prompt.data[at]
                                                                : ids.data[at - prompt.size],
                                      .adapter = -1,
                                      .wants_logits = true};
            ASSERT_OK(hn_forward(model, kv, NULL, 0, &row, 1, logits, NULL, errp));
            if (at + 1 < prompt.size)
                continue;
            ASSERT_OK(hn_constraint_apply(o->constraint, logits, o->ignore_eos, errp));
            int32_t token = hn_sampler_draw(&sampler, logits);
            if (!o->ignore_eos && hn_tokenizer_is_end(model->ckpt.tokenizer, token))
                break;
            hn_sampler_accept(&sampler, token, true);
            ASSERT_OK(hn_constraint_accept(o->constraint, token, errp));
            ASSERT_OK(hn_ids_push(&ids, token, errp));
            if (hn_constraint_is_over(o->constraint))
                break;
        }
        if (ids.size != out.ids.size ||
            memcmp(ids.data, out.ids.data, ids.size * sizeof *ids.data) != 0)
            fail_msg("%s, prompt %d: '%s' isn't what the plain loop gives", what, p, out.text);
        hn_generation_done(&out);
        hn_sampler_done(&sampler);
        hn_ids_done(&prompt);
        hn_ids_done(&ids);
        hn_kv_free(kv);
        hn_kv_free(kv_out);
    }
    free(logits);
}

static void test_grammars(void **state) {
    (void)state;
    static const char *const grammars[] = {
        "root ::= [a-zA-Z .,]{5,90}",
        "root ::= \"Once\" ( \" upon\" | \" there\" ) [a-z ]{0,40} \".\"",
        "root ::= (\"Tom had a red ball. \" | \"Lily ran. \"){3,5}",
        ("root ::= \"{\" \"\\\"name\\\": \\\"\" [A-Za-z]{1,12} \"\\\", \\\"age\\\": \" [0-9]{1,2} "
         "\"}\""),
    };
    hn_kv_free(new_kv(1));
    for (size_t g = 0; g < sizeof grammars / sizeof *grammars; g++) {
        hn_grammar *grammar = NULL;
        hn_token_trie *trie = NULL;
        hn_constraint *constraint = NULL;
        ASSERT_OK(hn_grammar_from_gbnf(&grammar, grammars[g], strlen(grammars[g]), "test", errp));
        ASSERT_OK(hn_tokenizer_trie(&trie, model->ckpt.tokenizer, errp));
        ASSERT_OK(hn_constraint_new(&constraint, grammar, trie, model->ckpt.tokenizer, errp));
        hn_generate_options options = {
            .sampling = hn_sampling_default(), .max_tokens = 90, .constraint = constraint};
        check_plainly(&options, grammars[g]);
        check_options(&options, CONTEXT, 0, grammars[g]);
        options.sampling.temperature = 1;
        options.sampling.seed = g;
        check_plainly(&options, grammars[g]);
        check_options(&options, CONTEXT, 0, grammars[g]);
        options.sampling.top_k = 5;
        options.sampling.presence_penalty = 0.5f;
        options.ignore_eos = true;
        options.max_tokens = 25;
        check_plainly(&options, grammars[g]);
        check_options(&options, CONTEXT, 0, grammars[g]);
        hn_constraint_free(constraint);
        hn_token_trie_free(trie);
        hn_grammar_free(grammar);
    }
}

/* A draft of itself is always right when it is greedy; a text that repeats itself is guessed. */
static void test_acceptance(void **state) {
    (void)state;
    hn_kv *kv = new_kv(CONTEXT);
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 100};
    hn_ids prompt = {0};
    hn_generation out;
    encode("Once upon a time", &prompt);
    ASSERT_OK(hn_speculator_new_model(&options.speculator, twin, model, CONTEXT, errp));
    ASSERT_OK(hn_generate(model, kv, 0, prompt.data, (int)prompt.size, &options, &out, errp));
    assert_int_equal(out.n_accepted, out.n_drafted);
    hn_generation_done(&out);
    hn_speculator_free(options.speculator);
    /* The grammar makes the model say what was said. */
    static const char again[] =
        "root ::= \"Lily and Tom like to play with the big red ball in the park. \"{4}";
    hn_grammar *grammar = NULL;
    hn_token_trie *trie = NULL;
    ASSERT_OK(hn_grammar_from_gbnf(&grammar, again, strlen(again), "test", errp));
    ASSERT_OK(hn_tokenizer_trie(&trie, model->ckpt.tokenizer, errp));
    ASSERT_OK(hn_constraint_new(&options.constraint, grammar, trie, model->ckpt.tokenizer, errp));
    ASSERT_OK(hn_speculator_new_ngram(&options.speculator, errp));
    options.max_tokens = 0;
    ASSERT_OK(hn_generate(model, kv, 0, prompt.data, (int)prompt.size, &options, &out, errp));
    assert_true(out.n_accepted * 2 >= out.n_drafted); /* how many pay is for the clock to say */
    hn_generation_done(&out);
    hn_speculator_free(options.speculator);
    hn_constraint_free(options.constraint);
    hn_token_trie_free(trie);
    hn_grammar_free(grammar);
    hn_ids_done(&prompt);
    hn_kv_free(kv);
}

/* Before the clock said anything, what stood there before is guessed behind a text that repeats. */
static void test_repeats_are_guessed(void **state) {
    (void)state;
    hn_speculator *speculator = NULL;
    hn_ids text = {0};
    int32_t guesses[HN_DRAFT_MAX];
    int n = 0;
    hn_kv_free(new_kv(1));
    encode("Lily and Tom like to play with the big red ball in the park. Lily and Tom like to play "
           "with the big red ball in the park.",
           &text);
    const int n_told = (int)text.size - 8;
    ASSERT_OK(hn_speculator_new_ngram(&speculator, errp));
    hn_speculator_start(speculator);
    ASSERT_OK(hn_speculator_draft(speculator, text.data, n_told, 4, guesses, &n, errp));
    assert_in_range(n, 2, 4);
    assert_memory_equal(guesses, text.data + n_told, (size_t)n * sizeof *guesses);
    hn_speculator_free(speculator);
    hn_ids_done(&text);
}

static void test_adapter(void **state) {
    (void)state;
    hn_kv_free(new_kv(1));
    hn_adapter *adapter = tiny_adapter(&model->arch, 0x7f, 4);
    adapter->id = 9;
    hn_generate_options options = {
        .sampling = hn_sampling_default(), .max_tokens = 60, .adapter = adapter};
    check_options(&options, CONTEXT, 0, "an adapter");
    options.sampling.temperature = 0.8f;
    check_options(&options, CONTEXT, 0, "an adapter, sampled");
    tiny_adapter_free(adapter);
}

/* int8 products and a cache in f16, as hone chat has them; a model with its last layers cut off
 * guesses, too. */
static void test_base(void **state) {
    (void)state;
    need_base_model();
    hn_model *stories = model, *whole = twin;
    const hn_model_options options = {
        .n_threads = 2, .numerics = HN_NUMERICS_INT8, .kv_type = HN_F16};
    ASSERT_OK(hn_model_open(&model, base_model(), &options, errp));
    ASSERT_OK(hn_model_open(&twin, base_model(), &options, errp));
    const int n_layer = twin->arch.n_layer;
    twin->arch.n_layer = 6;
    first_prompt = 2;
    hn_generate_options generate = {.sampling = hn_sampling_default(), .max_tokens = 16};
    check_options(&generate, CONTEXT, 0, "the base");
    generate.sampling.temperature = 0.7f;
    generate.sampling.top_p = 0.95f;
    check_options(&generate, CONTEXT, 0, "the base, sampled");
    static const char schema[] =
        "{\"type\": \"object\", \"properties\": {\"first_name\": {\"enum\": [\"Tom\", \"Lily\"]}, "
        "\"is_happy\": {\"type\": \"boolean\"}, \"age\": {\"type\": \"integer\"}}, "
        "\"required\": [\"first_name\", \"is_happy\", \"age\"]}";
    hn_grammar *grammar = NULL;
    hn_token_trie *trie = NULL;
    ASSERT_OK(hn_grammar_from_schema_text(&grammar, schema, strlen(schema), "test", errp));
    ASSERT_OK(hn_tokenizer_trie(&trie, model->ckpt.tokenizer, errp));
    ASSERT_OK(hn_constraint_new(&generate.constraint, grammar, trie, model->ckpt.tokenizer, errp));
    generate.max_tokens = 40;
    check_plainly(&generate, "a schema on the base, sampled");
    check_options(&generate, CONTEXT, 0, "a schema on the base, sampled");
    generate.sampling.temperature = 0;
    check_plainly(&generate, "a schema on the base");
    check_options(&generate, CONTEXT, 0, "a schema on the base");
    hn_constraint_free(generate.constraint);
    hn_token_trie_free(trie);
    hn_grammar_free(grammar);
    twin->arch.n_layer = n_layer;
    hn_model_free(model);
    hn_model_free(twin);
    model = stories;
    twin = whole;
    first_prompt = 0;
}

static void test_other_vocabulary(void **state) {
    (void)state;
    hn_kv_free(new_kv(1));
    hn_speculator *speculator = NULL;
    hn_error err;
    char path[64];
    const stories_fault fault = {.value = 0};
    stories_make(path, &fault);
    hn_model *other = NULL;
    hn_model_options options = {.n_threads = 1};
    ASSERT_OK(hn_model_open(&other, path, &options, errp));
    remove(path);
    hn_tokenizer *kept = other->ckpt.tokenizer;
    static const hn_vocab_text tokens[] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}, {"a", 1}};
    static const float scores[4] = {0, 0, 0, -1};
    static const int32_t kinds[4] = {HN_TOKEN_UNKNOWN, HN_TOKEN_CONTROL, HN_TOKEN_CONTROL, 1};
    const hn_vocab vocab = {.model = "llama",
                            .n_tokens = 4,
                            .tokens = tokens,
                            .scores = scores,
                            .kinds = kinds,
                            .bos = 1,
                            .eos = 2,
                            .eot = -1,
                            .unk = 0,
                            .pad = -1};
    ASSERT_OK(hn_tokenizer_from_vocab(&other->ckpt.tokenizer, &vocab, errp));
    assert_int_equal(hn_speculator_new_model(&speculator, other, model, 64, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "has 4 tokens, that has 512"));
    assert_int_equal(hn_speculator_new_model(&speculator, model, other, 64, &err), HN_BAD_INPUT);
    assert_null(speculator);
    hn_tokenizer_free(other->ckpt.tokenizer);
    other->ckpt.tokenizer = kept;
    hn_model_free(other);
}

static hn_status speculate(hn_kv *kv, int which, hn_error *err) {
    static int32_t prompt[] = {BOS, 5, 6, 7, 5, 6, 7, 5, 6};
    hn_generate_options options = {.sampling = hn_sampling_default(), .max_tokens = 30};
    hn_generation out = {0};
    hn_status status = HN_OK;
    if (which == 0)
        HN_GO(hn_speculator_new_ngram(&options.speculator, err));
    else
        HN_GO(hn_speculator_new_model(&options.speculator, twin, model, 64, err));
    HN_GO(hn_generate(model, kv, 0, prompt, 9, &options, &out, err));
    hn_kv_truncate(kv, 0, 0);
done:
    hn_generation_done(&out);
    hn_speculator_free(options.speculator);
    return status;
}

/* Of passes of 3 ms and half a millisecond a row the share is learned, from any sizes that differ,
 * and passes that were interrupted don't change it much. */
static void test_row_cost(void **state) {
    (void)state;
    hn_row_cost cost = {0};
    const float assumed = hn_row_cost_extra(&cost), right = 0.5f / 3.5f;
    for (int i = 0; i < 40; i++)
        hn_row_cost_learn(&cost, 16, 11000000);
    assert_float_equal(hn_row_cost_extra(&cost), assumed, 0); /* one size tells nothing */
    for (int i = 0; i < 200; i++)
        hn_row_cost_learn(&cost, 10 + i % 5, (uint64_t)(3000000 + 500000 * (10 + i % 5)));
    assert_float_equal(hn_row_cost_extra(&cost), right, 0.002);
    hn_row_cost_learn(&cost, 12, 900000000);
    assert_true(hn_row_cost_extra(&cost) < 2 * right && hn_row_cost_extra(&cost) > right / 2);
    for (int i = 0; i < 200; i++)
        hn_row_cost_learn(&cost, 1 + i % 16, 5000000);
    assert_true(hn_row_cost_extra(&cost) < 0.02f); /* rows that cost nothing */
    for (int i = 0; i < 200; i++)
        hn_row_cost_learn(&cost, 1 + i % 16, (uint64_t)(1 + i % 16) * 5000000);
    assert_true(hn_row_cost_extra(&cost) > 0.9f); /* and as much as the first */
}

static void test_every_allocation_fails(void **state) {
    (void)state;
    hn_kv *kv = new_kv(64);
    for (int which = 0; which < 2; which++) {
        hn_error err;
        ASSERT_OK(speculate(kv, which, errp)); /* scratch that stays has grown after this */
        int64_t before = hn_mem_count();
        ASSERT_OK(speculate(kv, which, errp));
        int64_t needed = hn_mem_count() - before;
        assert_true(needed > 5);
        for (int64_t n = 0; n < needed; n++) {
            hn_mem_fail_after(n);
            hn_status status = speculate(kv, which, &err);
            hn_mem_fail_after(-1);
            if (status != HN_NO_MEMORY)
                fail_msg("allocation %lld of %lld: status %d", (long long)n, (long long)needed,
                         status);
        }
    }
    hn_kv_free(kv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_samplers),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_grammars),
        cmocka_unit_test(test_acceptance),
        cmocka_unit_test(test_repeats_are_guessed),
        cmocka_unit_test(test_other_vocabulary),
        cmocka_unit_test(test_adapter),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_row_cost),
        cmocka_unit_test(test_every_allocation_fails),
    };
    return cmocka_run_group_tests_name("speculate", tests, open_story, close_story);
}
