/* The body of a request, checked: what OpenAI's chat, completions and embeddings endpoints take,
 * and what llama.cpp and vLLM add to them. A field that is missing, of the wrong type or out of
 * range is a problem (400) that names it; a field that nobody knows is ignored; null is as good as
 * absent.
 *
 * JSON is read strictly: one value, valid UTF-8, no lone surrogates, no key twice. The last because
 * what stands before this program (a proxy, a filter) may read the other one. */
#pragma once

#include "base/arena.h"
#include "model/constraint_pool.h"
#include "model/generate.h"
#include "serve/problem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    HN_API_MAX_VALUES = 1 << 20, /* commas outside strings: bounds what parsing takes */
    HN_API_MAX_STOP = 64,        /* OpenAI takes 4 */
    HN_API_MAX_BIAS = 1024,
    HN_API_MAX_TOOLS = 128,   /* as OpenAI */
    HN_API_MAX_CHOICES = 128, /* n, and prompts times n */
    HN_API_MAX_INPUTS = 2048, /* texts of an embeddings request, as OpenAI */
    HN_API_MAX_LOGPROBS = 20, /* as OpenAI */
    HN_API_MAX_LORAS = 16,
    HN_API_MAX_SCALE = 100,    /* of an adapter; beyond it logits overflow */
    HN_API_TOOL_NAME_MAX = 64, /* as OpenAI */
};

typedef enum hn_api_kind {
    HN_API_CHAT = 1,
    HN_API_COMPLETION = 2,
    HN_API_EMBEDDING = 4,
} hn_api_kind;

/* Text, or tokens. */
typedef struct hn_api_prompt {
    const char *text; /* (n_bytes); NULL = tokens */
    size_t n_bytes;
    const int32_t *tokens; /* (n_tokens); range unchecked above */
    size_t n_tokens;
} hn_api_prompt;

typedef struct hn_api_tool {
    const char *name;
    const json_t *parameters; /* a schema object; NULL = none */
    bool strict;              /* calls keep to it, or the request is refused */
} hn_api_tool;

typedef enum hn_tool_choice {
    HN_TOOL_CHOICE_NONE,
    HN_TOOL_CHOICE_AUTO,
    HN_TOOL_CHOICE_REQUIRED, /* tool_name: this one; NULL = any of them */
} hn_tool_choice;

typedef struct hn_api_lora {
    int64_t id;
    double scale;
} hn_api_lora;

/* Everything lives until hn_api_request_done; texts are borrowed from body. */
typedef struct hn_api_request {
    hn_api_kind kind;
    json_t *body;
    hn_arena arena;

    const char *model; /* NULL = whatever there is */

    /* What is to be answered. */
    json_t *messages;       /* chat: role and content as templates want them (request_messages.c) */
    hn_api_prompt *prompts; /* (n_prompts) of completions and embeddings */
    size_t n_prompts;
    const json_t *template_kwargs; /* object or NULL */
    bool continue_final_message, add_generation_prompt;
    bool echo;

    /* How. */
    double temperature, top_p, min_p;
    int64_t top_k;
    double presence_penalty, frequency_penalty, repeat_penalty;
    bool has_seed;
    int64_t seed;
    hn_logit_bias *bias; /* (n_bias); ids unchecked above */
    int n_bias;
    int64_t n;          /* answers a prompt */
    int64_t max_tokens; /* -1 = until the context is full */
    int64_t min_tokens;
    bool ignore_eos, cache_prompt;
    const char **stop; /* (n_stop) copies: they outlive body */
    int n_stop;
    int n_logprobs; /* -1 = none; else so many of the likeliest besides */
    int64_t priority;
    double timeout_s;   /* 0 = none */
    hn_api_lora *loras; /* (n_loras); NULL with has_loras: none at all */
    int n_loras;
    bool has_loras;

    /* What the answer may be: a grammar or schema, or NULL. */
    const char *constraint;
    size_t n_constraint;
    hn_constraint_kind constraint_kind;
    const char *constraint_param; /* the field it came from */

    /* Tools: the array as it came for the template, and what is needed of it. */
    const json_t *tools;
    hn_api_tool *tool_list; /* (n_tools) */
    size_t n_tools;
    hn_tool_choice tool_choice;
    const char *tool_name;
    bool parallel_tool_calls, asks_for_parallel_calls; /* the second: in so many words */
    bool keep_thought; /* reasoning_format "none": thought stays in content */

    /* How it is sent. */
    bool stream, include_usage, timings_per_token, return_progress;

    /* Embeddings. */
    bool base64;
    int64_t dimensions; /* 0 = the model's */
} hn_api_request;

/* Parses and checks; on failure nothing is left to free. */
HN_MUST_CHECK hn_status hn_api_request_parse(hn_api_request *request, hn_api_kind kind,
                                             const char *body, size_t n_bytes, hn_problem *problem);
/* The same from a value that has been read; takes it, also on failure. */
HN_MUST_CHECK hn_status hn_api_request_read(hn_api_request *request, hn_api_kind kind, json_t *body,
                                            hn_problem *problem);
void hn_api_request_done(hn_api_request *request);

/* Any body as a JSON value, strictly and bounded; freed with json_decref. */
HN_MUST_CHECK hn_status hn_api_any_parse(const char *body, size_t n_bytes, json_t **out,
                                         hn_problem *problem);
/* The same, which must be an object. */
HN_MUST_CHECK hn_status hn_api_body_parse(const char *body, size_t n_bytes, json_t **out,
                                          hn_problem *problem);

/* ---- inside: request_*.c ---- */

/* A field by name; NULL where it is absent or null. */
const json_t *hn_api_field(const json_t *object, const char *name);
/* Numbers and switches by the table in request_fields.c. */
HN_MUST_CHECK hn_status hn_api_read_fields(hn_api_request *r, hn_problem *problem);
HN_MUST_CHECK hn_status hn_api_read_messages(hn_api_request *r, hn_problem *problem);
HN_MUST_CHECK hn_status hn_api_read_prompts(hn_api_request *r, const char *field,
                                            hn_problem *problem);
HN_MUST_CHECK hn_status hn_api_read_lists(hn_api_request *r, hn_problem *problem);
HN_MUST_CHECK hn_status hn_api_read_tools(hn_api_request *r, hn_problem *problem);
HN_MUST_CHECK hn_status hn_api_read_format(hn_api_request *r, hn_problem *problem);
/* A letter that names of tools may have. */
bool hn_api_is_tool_letter(char c);
/* A number that an adapter may be scaled by. */
bool hn_api_is_scale(const json_t *value);
/* Compact JSON of `value` in the request's arena. */
HN_MUST_CHECK hn_status hn_api_keep_json(hn_api_request *r, const json_t *value, const char **text,
                                         size_t *n_bytes, hn_problem *problem);
/* A text without NUL; `what` names it in the message. */
HN_MUST_CHECK hn_status hn_api_plain_text(const json_t *value, const char *param, const char **out,
                                          hn_problem *problem);
