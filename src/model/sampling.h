/* From a row of logits to the next token. */
#pragma once

#include "base/rng.h"
#include "model/generate.h"

typedef struct hn_candidate {
    int32_t id;
    float logit, p;
} hn_candidate;

/* So many candidates' memory is what drawing takes: those, room to sort them, and weights (floats)
 * of all tokens. */
#define HN_CANDIDATES(n_vocab) (2 * (size_t)(n_vocab) + ((size_t)(n_vocab) + 2) / 3)

typedef struct hn_sampler {
    hn_sampling options;
    hn_rng rng;
    uint32_t n_vocab;                  /* ids that may be drawn */
    uint32_t *prompt_seen, *generated; /* (n_vocab) how often; NULL without penalties */
    hn_candidate *candidates;          /* HN_CANDIDATES(n_vocab); NULL when greedy */
    bool borrowed;                     /* the candidates */
} hn_sampler;

/* HN_USAGE for what makes no sense. */
HN_MUST_CHECK hn_status hn_sampling_check(const hn_sampling *options, uint32_t n_vocab,
                                          hn_error *err);
/* `options` is checked and copied (the bias list borrowed). Ids from n_vocab on are never drawn. */
HN_MUST_CHECK hn_status hn_sampler_init(hn_sampler *sampler, const hn_sampling *options,
                                        uint32_t n_vocab, hn_error *err);
/* The same with candidates (HN_CANDIDATES(n_vocab)) that samplers share, one draw at a time; NULL =
 * of its own. */
HN_MUST_CHECK hn_status hn_sampler_init_with(hn_sampler *sampler, const hn_sampling *options,
                                             uint32_t n_vocab, hn_candidate *candidates,
                                             hn_error *err);
void hn_sampler_done(hn_sampler *sampler);
/* Tells the penalties of a token that was read or generated. */
void hn_sampler_accept(hn_sampler *sampler, int32_t token, bool generated);
/* Draws; logits (n_vocab) are changed by bias and penalties. The order is transformers': bias,
 * penalties, temperature, top-k, top-p, min-p. Among equals the lowest id wins. */
int32_t hn_sampler_draw(hn_sampler *sampler, float *logits);
/* The k best of the logits (n_vocab), best first, among equals the lowest id; returns how many
 * there are, at least 1. best: (k). */
uint32_t hn_candidates_best(hn_candidate *best, const float *logits, uint32_t n_vocab, uint32_t k);
/* HN_FAILED where the logit of the token that was drawn is NaN: then all are, and the answer would
 * be token 0 for ever. */
HN_MUST_CHECK hn_status hn_drawn_check(float logit, hn_error *err);
/* What a draw from a single candidate does: the random number is spent, nothing else. */
void hn_sampler_skip(hn_sampler *sampler);
