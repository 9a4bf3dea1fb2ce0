/* A request's conversation as its model's template takes it. */
#pragma once

#include "model/chat_encode.h"

/* hn_chat_encode_with; where the template refuses turns of several tool calls (Llama 3's take one
 * at a time) it gets each call as a turn of its own, followed by its result. */
HN_MUST_CHECK hn_status hn_history_encode(const hn_checkpoint *ckpt, const json_t *messages,
                                          const hn_chat_encode_options *options, hn_ids *ids,
                                          hn_error *err);

/* The messages with at most one call in each. *several: some had more. *out is freed with
 * json_decref. */
HN_MUST_CHECK hn_status hn_history_split(const json_t *messages, bool *several, json_t **out,
                                         hn_error *err);
