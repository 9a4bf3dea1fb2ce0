/* Log-probabilities as chat and completions report them. */
#pragma once

#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

enum { HN_LOGPROB_LISTS = 4 };

/* JSON of tokens that aren't sent yet; zero-initialised is empty. */
typedef struct hn_logprobs {
    hn_buf lists[HN_LOGPROB_LISTS]; /* chat: the first alone */
    size_t n_chars;                 /* of all tokens so far: the next one's text_offset */
} hn_logprobs;

/* n_top: how many of the likeliest are wanted. `chat` must not change between calls. */
void hn_logprobs_add(hn_logprobs *lp, bool chat, const hn_tokenizer *tokenizer,
                     const hn_piece_token *token, int n_top);
bool hn_logprobs_failed(const hn_logprobs *lp);
/* The object ({"content": [...]}, or completions' four lists), and empties them; nothing, and
 * false, where there are no tokens. */
bool hn_logprobs_take(hn_logprobs *lp, bool chat, hn_buf *out);
void hn_logprobs_done(hn_logprobs *lp);
