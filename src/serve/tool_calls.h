/* What a model wrote, taken apart as it comes: thought, content and tool calls, in the formats that
 * models were taught (each by its chat template). */
#pragma once

#include "base/rng.h"
#include "serve/call_object.h"

typedef enum hn_tool_format {
    HN_TOOLS_NONE,
    HN_TOOLS_HERMES,       /* <tool_call>{"name", "arguments"}</tool_call>: Qwen, Hermes, SmolLM2 */
    HN_TOOLS_LLAMA3,       /* {"name", "parameters"}, alone or after <|python_tag|> */
    HN_TOOLS_MISTRAL,      /* [TOOL_CALLS] [{"name", "arguments"}, ...]; reads the next one, too */
    HN_TOOLS_MISTRAL_ARGS, /* [TOOL_CALLS]name[ARGS]{...}, from 2024-11 on; reads both */
} hn_tool_format;

/* By the chat template (NULL = none). *shows_tools: it puts them into the prompt by itself;
 * otherwise hn_tool_prompt has to. Never HN_TOOLS_NONE: a model without a format of its own is
 * asked for Hermes'. */
hn_tool_format hn_tool_format_detect(const char *template_source, bool *shows_tools);

/* How a chat's model is told of the request's tools: *shown is what the template gets of them (NULL
 * = nothing); where it knows no tools they are put into the messages. *format is HN_TOOLS_NONE
 * where none may be called. */
HN_MUST_CHECK hn_status hn_tool_prompt(hn_api_request *request, const char *template_source,
                                       hn_tool_format *format, const json_t **shown,
                                       hn_problem *problem);
/* What begins a call, unless it stands alone (Llama 3); NULL of HN_TOOLS_NONE. Static. */
const char *hn_tool_tag(hn_tool_format format);
/* What the prompt has to go on with where a call is required (static, may be ""). */
const char *hn_tool_opening(hn_tool_format format);

typedef enum hn_thought_place {
    HN_THOUGHT_MAY,
    HN_THOUGHT_OPEN,
    HN_THOUGHT_NEVER
} hn_thought_place;

/* What the calls of an answer are held to. */
typedef struct hn_tool_demand {
    hn_tool_format format;
    const hn_api_tool *tools; /* (n_tools) */
    size_t n_tools;
    bool required;            /* nothing but calls; hn_tool_opening stands in the prompt */
    const char *name;         /* only this one; NULL = any */
    bool parallel;            /* more than one call */
    json_t *schema;           /* an answer without calls keeps to it; borrowed; NULL = it is free */
    hn_thought_place thought; /* a thought may come first, has begun, or is text like all else */
} hn_tool_demand;

/* The text of a HN_CONSTRAINT_CALLS: from a call's tag on the answer keeps to the name of one of
 * the tools and to its schema. A schema that can't be honoured is any object where the tool isn't
 * strict and no call is required. *text is freed with hn_free. */
HN_MUST_CHECK hn_status hn_tool_grammar(const hn_tool_demand *demand, char **text, size_t *n_bytes,
                                        hn_error *err);

typedef enum hn_delta_kind {
    HN_DELTA_CONTENT,
    HN_DELTA_REASONING,
    HN_DELTA_CALL,      /* id and name */
    HN_DELTA_ARGUMENTS, /* text: more of the call's arguments */
} hn_delta_kind;

/* Lent for the call. Texts are whole characters if the answer is UTF-8. */
typedef struct hn_delta {
    hn_delta_kind kind;
    int call; /* index, from 0 */
    const char *id, *name;
    const char *text; /* (n_bytes) */
    size_t n_bytes;
} hn_delta;
typedef void hn_delta_fn(void *context, const hn_delta *delta);

typedef struct hn_answer_options {
    hn_tool_format format;    /* HN_TOOLS_NONE: there are no calls */
    const hn_api_tool *tools; /* (n_tools), borrowed: only they can be called */
    size_t n_tools;
    bool one_call;     /* parallel_tool_calls false: the answer is over after the first */
    bool keep_thought; /* <think> is content like all else */
    bool in_thought;   /* the prompt has opened a thought */
    bool in_call;      /* the prompt has opened a call (hn_tool_opening) */
    bool is_held;      /* by a hn_tool_grammar: what begins like a call and ends early was cut */
    bool goes_on;      /* continues a message: it doesn't begin with a thought or a call */
    uint64_t seed;     /* of the calls' ids */
    hn_delta_fn *emit;
    void *context;
} hn_answer_options;

typedef enum hn_answer_state {
    HN_ANSWER_START, /* a thought may begin */
    HN_ANSWER_THOUGHT,
    HN_ANSWER_BEGIN, /* a call without a tag may begin */
    HN_ANSWER_CONTENT,
    HN_ANSWER_OPEN, /* a call must begin, or an array of them */
    HN_ANSWER_NAME, /* name[ARGS] before the object */
    HN_ANSWER_CALL,
    HN_ANSWER_BETWEEN, /* after an object: another, or the end tag */
    HN_ANSWER_OVER,
} hn_answer_state;

typedef struct hn_answer_parser {
    hn_answer_options options;
    hn_answer_state state;
    hn_buf in;        /* not yet looked at, or not yet decided about */
    size_t at;        /* where in it */
    hn_buf held;      /* of a call that may turn out to be none */
    hn_buf blanks;    /* at the end of a text: dropped if it ends there */
    bool skip_blanks; /* at the beginning of a text */
    bool array;
    hn_call_object object;
    size_t n_sent; /* bytes of the object's arguments */
    bool announced;
    int n_calls;
    hn_rng rng;
    char id[32];
} hn_answer_parser;

void hn_answer_parser_init(hn_answer_parser *parser, const hn_answer_options *options);
void hn_answer_parser_done(hn_answer_parser *parser);
/* Whether this text is one of the tags that the parser looks for. */
bool hn_answer_parser_reads(const hn_answer_parser *parser, const char *tag, size_t n);
/* More of the answer, cut anywhere. The deltas together don't depend on how it was cut. */
HN_MUST_CHECK hn_status hn_answer_parser_push(hn_answer_parser *parser, const char *text, size_t n,
                                              hn_error *err);
/* The answer has ended: what was held back comes. */
HN_MUST_CHECK hn_status hn_answer_parser_finish(hn_answer_parser *parser, hn_error *err);
/* Nothing that comes will matter (one_call). */
bool hn_answer_parser_is_over(const hn_answer_parser *parser);
