/* Writes constrained samples: sample MODEL CASES.json COUNT SEED. One line of JSON each, with the
 * index of the case and the text, in turn over the cases, at temperature 1. An answer that was cut
 * by the token limit is made anew; how many were is told on stderr, with tokens a second. */
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/generate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_TOKENS = 160, CONTEXT = 512, MAX_CASES = 64 };

typedef struct sampler {
    hn_model *model;
    hn_kv *kv;
    hn_token_trie *trie;
    json_t *cases;
    hn_grammar *grammars[MAX_CASES];
    hn_constraint *constraints[MAX_CASES];
    hn_ids prompts[MAX_CASES];
    size_t n_cases;
    long n_cut, n_tokens;
    uint64_t decode_ns;
    float *logits;
    double cold_us, warm_us; /* sums */
} sampler;

static hn_status prepare(sampler *s, const char *model, const char *cases, hn_error *err) {
    hn_model_options options = {.numerics = HN_NUMERICS_INT8};
    HN_TRY(hn_model_open(&s->model, model, &options, err));
    HN_TRY(hn_kv_new(&s->kv, s->model, 1, CONTEXT, err));
    const hn_tokenizer *tokenizer = s->model->ckpt.tokenizer;
    HN_TRY(hn_tokenizer_trie(&s->trie, tokenizer, err));
    s->logits = hn_calloc((size_t)s->model->arch.n_vocab, sizeof *s->logits);
    if (!s->logits)
        return hn_fail_no_memory(err, (size_t)s->model->arch.n_vocab * sizeof *s->logits);
    HN_TRY(hn_json_read(cases, HN_GRAMMAR_MAX_BYTES, &s->cases, err));
    s->n_cases = json_array_size(s->cases);
    if (s->n_cases == 0 || s->n_cases > MAX_CASES)
        return hn_fail(err, HN_BAD_INPUT, "%s: no list of 1 to %d cases", cases, MAX_CASES);
    for (size_t i = 0; i < s->n_cases; i++) {
        const json_t *one = json_array_get(s->cases, i);
        json_t *messages =
            json_pack("[{s:s,s:O}]", "role", "user", "content", json_object_get(one, "ask"));
        HN_TRY(hn_grammar_from_schema(&s->grammars[i], json_object_get(one, "schema"), cases, err));
        HN_TRY(hn_constraint_new(&s->constraints[i], s->grammars[i], s->trie, tokenizer, err));
        hn_status status = hn_chat_encode(s->model, messages, NULL, true, &s->prompts[i], err);
        json_decref(messages);
        HN_TRY(status);
    }
    return HN_OK;
}

static double cpu_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

/* What the constraint does for an answer: a mask and a step a token. */
static hn_status follow(sampler *s, hn_constraint *c, const hn_ids *ids, double *sum_us,
                        hn_error *err) {
    double began = cpu_us();
    HN_TRY(hn_constraint_start(c, err));
    for (size_t i = 0; i < ids->size; i++) {
        HN_TRY(hn_constraint_apply(c, s->logits, false, err));
        HN_TRY(hn_constraint_accept(c, ids->data[i], err));
    }
    *sum_us += cpu_us() - began;
    return HN_OK;
}

static hn_status measure(sampler *s, size_t index, const hn_ids *ids, hn_error *err) {
    hn_constraint *fresh;
    HN_TRY(hn_constraint_new(&fresh, s->grammars[index], s->trie, s->model->ckpt.tokenizer, err));
    hn_status status = follow(s, fresh, ids, &s->cold_us, err);
    if (status == HN_OK)
        status = follow(s, s->constraints[index], ids, &s->warm_us, err);
    hn_constraint_free(fresh);
    return status;
}

static hn_status one_sample(sampler *s, size_t index, uint64_t *seed, hn_error *err) {
    for (;;) {
        hn_generate_options options = {.sampling = hn_sampling_default(),
                                       .max_tokens = MAX_TOKENS,
                                       .constraint = s->constraints[index]};
        hn_generation out;
        options.sampling.temperature = 1;
        options.sampling.seed = (*seed)++;
        HN_TRY(hn_generate(s->model, s->kv, 0, s->prompts[index].data, (int)s->prompts[index].size,
                           &options, &out, err));
        bool whole = out.finish == HN_FINISH_STOP;
        HN_TRY(measure(s, index, &out.ids, err));
        s->n_cut += !whole;
        s->n_tokens += (long)out.ids.size;
        s->decode_ns += out.total_ns - out.first_token_ns;
        if (whole) {
            json_t *line = json_pack("{s:I,s:s}", "schema", (json_int_t)index, "text", out.text);
            json_dumpf(line, stdout, JSON_COMPACT);
            putchar('\n');
            json_decref(line);
        }
        hn_generation_done(&out);
        if (whole)
            return HN_OK;
    }
}

int main(int argc, char **argv) {
    sampler s = {0};
    hn_error err;
    if (argc != 5) {
        fprintf(stderr, "usage: sample MODEL CASES.json COUNT SEED\n");
        return 2;
    }
    uint64_t seed = strtoull(argv[4], NULL, 10);
    hn_status status = prepare(&s, argv[1], argv[2], &err);
    for (long i = 0; status == HN_OK && i < atol(argv[3]); i++)
        status = one_sample(&s, (size_t)i % s.n_cases, &seed, &err);
    if (status == HN_OK)
        fprintf(stderr,
                "%s samples, %ld more were cut; %ld tokens, %.1f a second; masks take %.1f us a "
                "token under a new grammar, %.1f later\n",
                argv[3], s.n_cut, s.n_tokens,
                (double)s.n_tokens / ((double)s.decode_ns * 1e-9 + 1e-9),
                s.cold_us / (double)s.n_tokens, s.warm_us / (double)s.n_tokens);
    else
        fprintf(stderr, "sample: %s\n", err.message);
    for (size_t i = 0; i < s.n_cases && i < MAX_CASES; i++) {
        hn_constraint_free(s.constraints[i]);
        hn_grammar_free(s.grammars[i]);
        hn_ids_done(&s.prompts[i]);
    }
    json_decref(s.cases);
    hn_token_trie_free(s.trie);
    hn_free(s.logits);
    hn_kv_free(s.kv);
    hn_model_free(s.model);
    return status != HN_OK;
}
