/* The questions for a teacher: rows of JSONL with a prompt, an instruction or messages. */
#pragma once

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hn_prompt {
    json_t *value; /* a text, or a list of messages {role, content} */
    uint64_t line;
} hn_prompt;

typedef struct hn_prompts {
    hn_prompt *items;
    size_t n;
} hn_prompts;

/* Reads {prompt}, {instruction} (with {context} behind it) or {messages}; other keys are of no
 * interest, and an answer that ends the messages is left off. HN_BAD_INPUT names file and line. */
HN_MUST_CHECK hn_status hn_prompts_read(hn_prompts *prompts, const char *path, hn_error *err);
void hn_prompts_done(hn_prompts *prompts);

/* The prompt as messages, `system` (NULL = none) first, behind a system text of the prompt's own.
 * A new reference; NULL = no memory. */
json_t *hn_prompt_messages(const json_t *prompt, const char *system);
/* The prompt as one text: itself, or its turns, each with its role. Freed with hn_free; NULL = no
 * memory. */
char *hn_prompt_text(const json_t *prompt);
