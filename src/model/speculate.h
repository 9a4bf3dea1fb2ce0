/* Speculation: tokens are guessed ahead, computed together with the token that is certain, and kept
 * as far as they are what the sampler draws anyway. The text is the same with and without it, bit
 * for bit: a row of a batch doesn't depend on its neighbours, and each position is drawn from its
 * own logits with its own random number.
 *
 * How many are guessed follows from how often guesses of their kind came true and from what a row
 * more costs, both learned while it goes: where guessing doesn't pay, it stops. */
#pragma once

#include "model/model.h"

enum { HN_DRAFT_MAX = 15, /* guesses at once: a pass of 16 rows */ HN_DRAFT_KINDS = 8 };

/* Where guesses come from. `text` (n) is all tokens that are certain, prompt and answer; within one
 * text it only grows. */
typedef struct hn_drafter {
    void *self;
    /* A new text begins. May be NULL. */
    void (*start)(void *self);
    /* How many tokens behind the text could be guessed, at most `max`, and how sure they are: a
     * kind below n_kinds. Cheap. */
    HN_MUST_CHECK hn_status (*look)(void *self, const int32_t *text, int n, int max, int *found,
                                    int *kind, hn_error *err);
    /* The first `wanted` of those; *made may be fewer. Whatever they are is harmless. */
    HN_MUST_CHECK hn_status (*draft)(void *self, const int32_t *text, int n, int wanted,
                                     int32_t *tokens, int *made, hn_error *err);
    void (*free)(void *self); /* may be NULL */
    int n_kinds;
    float chances[HN_DRAFT_KINDS]; /* a guess's chance as assumed before any was seen, by kind */
    float cost;                    /* of one guess, in passes of the model over one row */
    bool eager;                    /* all that is found is guessed, whether it pays or not */
} hn_drafter;

typedef struct hn_speculator hn_speculator;

/* Guesses that the text goes on as it went on where its last tokens stood before. */
HN_MUST_CHECK hn_status hn_speculator_new_ngram(hn_speculator **out, hn_error *err);
/* Guesses what `draft`, a smaller model, would write; it is borrowed, and reads up to n_positions
 * tokens. HN_BAD_INPUT where its vocabulary isn't that of `model`. */
HN_MUST_CHECK hn_status hn_speculator_new_model(hn_speculator **out, hn_model *draft,
                                                const hn_model *model, int n_positions,
                                                hn_error *err);
/* Takes any drafter over (it is freed also on failure). */
HN_MUST_CHECK hn_status hn_speculator_new(hn_speculator **out, const hn_drafter *drafter,
                                          hn_error *err);
/* NULL is nothing. */
void hn_speculator_free(hn_speculator *speculator);

/* What follows is for the writer: one text at a time. */
void hn_speculator_start(hn_speculator *speculator);
/* Guesses at most `max` tokens behind the text; *n 0 where it wouldn't pay. */
HN_MUST_CHECK hn_status hn_speculator_draft(hn_speculator *speculator, const int32_t *text,
                                            int n_text, int max, int32_t tokens[HN_DRAFT_MAX],
                                            int *n, hn_error *err);
/* The next pass computes so many rows without guesses, this text's one among them, each row more
 * costing so many passes of one row: what a guess costs is a share of that pass. 1 row until it is
 * told. */
void hn_speculator_share(hn_speculator *speculator, int n_rows, float extra_cost);
/* How many of `found` guesses that a grammar leaves little choice about are worth it. */
int hn_speculator_forced(hn_speculator *speculator, int found);
/* What became of the last guesses: the first `accepted` of `drafted` came true, those from
 * `judged` on were never put to the test. */
void hn_speculator_learn(hn_speculator *speculator, int judged, int accepted);
/* A pass over so many rows, all of this text, took this long. */
void hn_speculator_time(hn_speculator *speculator, int n_rows, uint64_t ns);
