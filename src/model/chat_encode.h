/* A conversation to token ids, with everything a template can be told; generate.h has the short
 * form. */
#pragma once

#include "model/checkpoint.h"

typedef struct hn_chat_encode_options {
    const json_t *tools; /* array or NULL */
    const json_t *extra; /* object of further variables for the template, or NULL */
    bool add_generation_prompt;
    bool continue_final_message; /* the ids end where the last message's content does */
    hn_buf *text; /* what the template wrote is appended here; NULL = nobody wants it */
} hn_chat_encode_options;

/* Appends to *ids. HN_UNSUPPORTED where the model has no chat template, HN_BAD_INPUT for what the
 * template refuses. */
HN_MUST_CHECK hn_status hn_chat_encode_with(const hn_checkpoint *ckpt, const json_t *messages,
                                            const hn_chat_encode_options *options, hn_ids *ids,
                                            hn_error *err);
