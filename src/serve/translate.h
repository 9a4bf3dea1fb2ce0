/* Other APIs' bodies as the chat request that they mean. What is wrong in them is found by the
 * chat's own checks; fields are renamed in the messages. */
#pragma once

#include "serve/problem.h"

#include <jansson.h>

/* Copies body[from] to out[to] where it is there. */
HN_MUST_CHECK hn_status hn_translate_copy(const json_t *body, const char *from, json_t *out,
                                          const char *to, hn_problem *problem);
/* Takes `value` (NULL = no memory). */
HN_MUST_CHECK hn_status hn_translate_set(json_t *out, const char *key, json_t *value,
                                         hn_problem *problem);
HN_MUST_CHECK hn_status hn_translate_append(json_t *list, json_t *value, hn_problem *problem);
/* A call of an assistant's turn: joined to the last message where that is the assistant's. */
HN_MUST_CHECK hn_status hn_translate_call(json_t *messages, const json_t *id, const json_t *name,
                                          json_t *arguments, hn_problem *problem);

/* OpenAI's responses and Anthropic's messages; *out is freed with json_decref. */
HN_MUST_CHECK hn_status hn_translate_responses(const json_t *body, json_t **out,
                                               hn_problem *problem);
/* What an answer of OpenAI's responses says again of its request's body, and what is in force where
 * that says nothing; *out is freed with json_decref. */
HN_MUST_CHECK hn_status hn_responses_echo(const json_t *body, json_t **out, hn_problem *problem);
HN_MUST_CHECK hn_status hn_translate_messages(const json_t *body, json_t **out,
                                              hn_problem *problem);
