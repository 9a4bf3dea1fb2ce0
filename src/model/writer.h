/* An answer that is being written, for whoever runs the passes over the model: hn_generate for one
 * alone, the engine for many at once. It says which rows to compute next, with guesses of the
 * speculator behind what is certain, and takes their logits: draws, applies the grammar, finds stop
 * strings and half characters, and shows text as soon as it is safe.
 *
 *   while (!writer.over) { hn_writer_rows; hn_forward_wanted; hn_writer_take; } */
#pragma once

#include "model/generate.h"
#include "model/sampling.h"

/* Log-probabilities are natural logarithms of the softmax over the raw logits: before bias,
 * penalties, temperature and grammar, as OpenAI and vLLM report them. */
typedef struct hn_token_chance {
    int32_t id;
    float logprob;
} hn_token_chance;

enum { HN_WRITER_MAX_LOGPROBS = 128 }; /* likeliest tokens a token */

typedef struct hn_piece_token {
    int32_t id;
    size_t offset; /* byte of the answer's whole text (of the prompt's: 0) at which its own begins;
                      where a token is part of a character, that character's beginning */
    float logprob; /* NaN when not asked for, and for the first token of a prompt */
    const hn_token_chance *top; /* (n_top) likeliest first; among equals the lowest id */
    int n_top;
} hn_piece_token;

/* What became certain: text that can't become a stop string or half a character any more, and the
 * tokens whose text it ends. Either may be empty. Tokens that a stop string cut off entirely and
 * tokens that end an answer aren't among them. */
typedef struct hn_piece {
    const char *text; /* (n_bytes) valid UTF-8, not terminated */
    size_t n_bytes;
    const hn_piece_token *tokens; /* (n_tokens) */
    int n_tokens;
} hn_piece;

/* All is borrowed for as long as the writer lives. */
typedef struct hn_writer_options {
    hn_sampling sampling;
    int max_tokens; /* below 0 = until the room is full; 0 = the prompt is read, nothing is drawn */
    int min_tokens; /* no token that ends the answer is drawn before so many */
    const char *const *stop; /* (n_stop) not part of the text; empty ones are nothing */
    int n_stop;
    bool ignore_eos;           /* tokens that end an answer are like others */
    hn_constraint *constraint; /* started by hn_writer_init; NULL = anything */
    bool shares_constraint;    /* with other writers: each follows its own text anew in every pass,
                                  which takes microseconds, and the masks are made once */
    hn_speculator *speculator; /* NULL = none */
    int n_logprobs;            /* -1 = none, else so many of the likeliest besides the token's */
    bool prompt_logprobs;
    bool log_prob;            /* hn_writer.log_prob is wanted */
    hn_candidate *candidates; /* HN_CANDIDATES(n_vocab) of scratch that writers may share; NULL = of
                                 its own */
    void *context;
    /* Tokens of the prompt in their order, with log-probabilities. May be NULL. */
    void (*on_prompt)(void *context, const hn_piece_token *tokens, int n_tokens);
    /* False ends the answer as cancelled. May be NULL. */
    bool (*on_piece)(void *context, const hn_piece *piece);
} hn_writer_options;

typedef struct hn_writer {
    const hn_model *model;
    hn_writer_options options;
    hn_sampler sampler;
    hn_decoder decoder;
    int32_t *ends; /* (n_ends) ids that end an answer; NULL without min_tokens */
    int n_ends;

    hn_ids text; /* tokens that are certain: the prompt and what was drawn, but for an ending one */
    int n_prompt;
    int base;                     /* of these, computed before the guesses */
    int32_t drafts[HN_DRAFT_MAX]; /* guesses that were computed behind them */
    int n_drafts, n_used;         /* so many, and so many of them came true */
    int n_certain;                /* rows of the pass at hand that aren't guesses */
    bool reaches_end;             /* they are all that was pending */
    int n_to_score, n_scored;     /* prompt tokens whose log-probabilities are shown, and were */
    uint64_t *wanted;             /* (n_vocab bits) tokens that the grammar may let come; or NULL */
    float *raw;                   /* (n_vocab) logits before bias and penalties; or NULL */
    int n_drafted, n_accepted;

    hn_buf bytes;                   /* all that was decoded */
    size_t released;                /* bytes of it that were shown */
    size_t searched;                /* no stop string begins before this */
    struct hn_writer_token *tokens; /* drawn and not shown yet: (n_tokens) */
    hn_token_chance *chances;       /* (n_tokens, n_logprobs) */
    hn_piece_token *shown;          /* room to show them in */
    int n_tokens, tokens_capacity;

    double log_prob;   /* of all that was drawn, an ending token included: natural, among what the
                          grammar lets come, after bias and penalties, before temperature */
    int n_drawn;       /* an ending token included */
    uint64_t first_ns; /* hn_clock_ns() when the first was drawn; 0 = none was */
    bool over, cancelled;
    hn_finish finish; /* once over */
    int stop;         /* the stop string that ended it; -1 = none */
} hn_writer;

/* Nothing is computed yet. HN_USAGE for options that make no sense, or an empty prompt. An answer
 * that may only be empty is over at once. On failure there is nothing to free. */
HN_MUST_CHECK hn_status hn_writer_init(hn_writer *writer, const hn_model *model,
                                       const int32_t *prompt, int n_prompt,
                                       const hn_writer_options *options, hn_error *err);
/* What it borrowed stays. Zeroed is nothing. */
void hn_writer_done(hn_writer *writer);

/* The cache holds so many of the tokens that are certain, and nothing else of this text: what is
 * found at the beginning, or left when the answer was set back. At least the last one is computed
 * again; what prompt_logprobs still needs, too. Returns how many may be kept. */
int hn_writer_resume(hn_writer *writer, int n_known);
/* Tokens that are certain and not computed: at least 1 between hn_writer_take and the next
 * hn_writer_rows. */
static inline int hn_writer_pending(const hn_writer *writer) {
    return (int)writer->text.size - writer->base - writer->n_used;
}
/* Tokens that the cache keeps: what is certain and was computed. */
static inline int hn_writer_computed(const hn_writer *writer) {
    return writer->base + writer->n_used;
}

typedef struct hn_writer_room {
    int rows;          /* tokens that are certain, at most; 1 or more */
    int drafts;        /* guesses at most */
    int logits;        /* rows of logits at most; 1 or more */
    int64_t positions; /* that the whole text may take */
} hn_writer_room;

/* What to compute next. */
typedef struct hn_writer_rows {
    int n;        /* tokens, at `tokens` */
    int n_logits; /* the last so many want logits */
    int n_wanted; /* of the logits' rows, from the first on, only tokens in writer->wanted matter */
} hn_writer_rows;

/* The tokens of the next pass: a piece of what is certain or the end of it, and guesses behind it.
 * The cache must hold exactly hn_writer_computed() tokens: guesses that didn't come true are to be
 * cut off before. tokens: room for room->rows + room->drafts. */
HN_MUST_CHECK hn_status hn_writer_next(hn_writer *writer, const hn_writer_room *room,
                                       int32_t *tokens, hn_writer_rows *out, hn_error *err);
/* The pass is over: logits (n_logits, n_vocab), which are changed. NULL where none were wanted.
 * After a failure the writer is only good for hn_writer_done. */
HN_MUST_CHECK hn_status hn_writer_take(hn_writer *writer, float *logits, int64_t positions,
                                       hn_error *err);
/* The pass took this long, and computed nothing else. */
void hn_writer_time(hn_writer *writer, uint64_t ns);
/* Ends it from outside, with what was shown so far. */
void hn_writer_stop(hn_writer *writer, hn_finish finish);

/* Between the files of writer*.c. */
/* A shared constraint stands behind this writer's text from here on. */
HN_MUST_CHECK hn_status hn_writer_follow(hn_writer *writer, hn_error *err);
HN_MUST_CHECK hn_status hn_writer_text_push(hn_writer *writer, int32_t token, float logprob,
                                            const hn_token_chance *top, hn_error *err);
HN_MUST_CHECK hn_status hn_writer_text_finish(hn_writer *writer, hn_error *err);
void hn_writer_text_done(hn_writer *writer);
