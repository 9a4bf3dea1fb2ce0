/* Numbers and switches of a request: one table says the name, the type and the range of each. */
#include "serve/request.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

typedef enum field_type { FIELD_BOOL, FIELD_WHOLE, FIELD_REAL } field_type;

typedef struct field {
    const char *name;
    unsigned kinds; /* hn_api_kind */
    field_type type;
    size_t offset;
    double low, high;
} field;

enum { ANSWERS = HN_API_CHAT | HN_API_COMPLETION };
#define AT(name) offsetof(hn_api_request, name)
#define WHOLE_MAX 9007199254740992.0 /* 2^53: doubles hold every whole number up to it */

/* Where two names mean the same, the later one in this list wins. */
static const field FIELDS[] = {
    {"temperature", ANSWERS, FIELD_REAL, AT(temperature), 0, 2},
    {"top_p", ANSWERS, FIELD_REAL, AT(top_p), 0, 1},
    {"top_k", ANSWERS, FIELD_WHOLE, AT(top_k), -1, 1e9},
    {"min_p", ANSWERS, FIELD_REAL, AT(min_p), 0, 1},
    {"presence_penalty", ANSWERS, FIELD_REAL, AT(presence_penalty), -2, 2},
    {"frequency_penalty", ANSWERS, FIELD_REAL, AT(frequency_penalty), -2, 2},
    {"repetition_penalty", ANSWERS, FIELD_REAL, AT(repeat_penalty), 0.01, 100},
    {"repeat_penalty", ANSWERS, FIELD_REAL, AT(repeat_penalty), 0.01, 100},
    {"n", ANSWERS, FIELD_WHOLE, AT(n), 1, HN_API_MAX_CHOICES},
    {"max_tokens", ANSWERS, FIELD_WHOLE, AT(max_tokens), -1, 1e9},
    {"max_completion_tokens", ANSWERS, FIELD_WHOLE, AT(max_tokens), -1, 1e9},
    {"max_output_tokens", HN_API_CHAT, FIELD_WHOLE, AT(max_tokens), -1, 1e9}, /* of responses */
    {"min_tokens", ANSWERS, FIELD_WHOLE, AT(min_tokens), 0, 1e9},
    {"ignore_eos", ANSWERS, FIELD_BOOL, AT(ignore_eos), 0, 0},
    {"cache_prompt", ANSWERS, FIELD_BOOL, AT(cache_prompt), 0, 0},
    {"stream", ANSWERS, FIELD_BOOL, AT(stream), 0, 0},
    {"timings_per_token", ANSWERS, FIELD_BOOL, AT(timings_per_token), 0, 0},
    {"return_progress", ANSWERS, FIELD_BOOL, AT(return_progress), 0, 0},
    {"priority", ANSWERS | HN_API_EMBEDDING, FIELD_WHOLE, AT(priority), -1000, 1000},
    {"timeout", ANSWERS | HN_API_EMBEDDING, FIELD_REAL, AT(timeout_s), 0, 1e6},
    {"echo", HN_API_COMPLETION, FIELD_BOOL, AT(echo), 0, 0},
    {"continue_final_message", HN_API_CHAT, FIELD_BOOL, AT(continue_final_message), 0, 0},
    {"add_generation_prompt", HN_API_CHAT, FIELD_BOOL, AT(add_generation_prompt), 0, 0},
    {"parallel_tool_calls", HN_API_CHAT, FIELD_BOOL, AT(parallel_tool_calls), 0, 0},
    {"dimensions", HN_API_EMBEDDING, FIELD_WHOLE, AT(dimensions), 1, 1e9},
};

static hn_status read_number(const field *f, const json_t *value, void *at, hn_problem *problem) {
    const char *kind = f->type == FIELD_WHOLE ? "a whole number" : "a number";
    double number = json_number_value(value);
    if (!json_is_number(value) || (f->type == FIELD_WHOLE && number != floor(number)))
        return hn_problem_bad(problem, f->name, "'%s' must be %s", f->name, kind);
    if (!(number >= f->low && number <= f->high))
        return hn_problem_bad(problem, f->name, "'%s' is %g: it must be from %g to %g", f->name,
                              number, f->low, f->high);
    if (f->type == FIELD_WHOLE)
        *(int64_t *)at = (int64_t)number;
    else
        *(double *)at = number;
    return HN_OK;
}

static hn_status read_field(const field *f, hn_api_request *r, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, f->name);
    void *at = (char *)r + f->offset;
    if (!value)
        return HN_OK;
    if (f->type != FIELD_BOOL)
        return read_number(f, value, at, problem);
    if (!json_is_boolean(value))
        return hn_problem_bad(problem, f->name, "'%s' must be true or false", f->name);
    *(bool *)at = json_is_true(value);
    return HN_OK;
}

/* Whole, of 64 bits or as much as a double holds; below 0 means a seed of the server's choice. */
static hn_status read_seed(hn_api_request *r, hn_problem *problem) {
    const json_t *value = hn_api_field(r->body, "seed");
    if (!value)
        return HN_OK;
    double number = json_number_value(value);
    if (!json_is_number(value) || number != floor(number) ||
        (json_is_real(value) && fabs(number) > WHOLE_MAX))
        return hn_problem_bad(problem, "seed", "'seed' must be a whole number of 64 bits");
    r->seed = json_is_integer(value) ? json_integer_value(value) : (int64_t)number;
    r->has_seed = r->seed >= 0;
    return HN_OK;
}

/* Chat: a switch and top_logprobs. Completions: how many. */
static hn_status read_logprobs(hn_api_request *r, hn_problem *problem) {
    static const field COUNT = {"logprobs", 0, FIELD_WHOLE, 0, 0, HN_API_MAX_LOGPROBS};
    static const field TOP = {"top_logprobs", 0, FIELD_WHOLE, 0, 0, HN_API_MAX_LOGPROBS};
    const json_t *value = hn_api_field(r->body, "logprobs");
    const json_t *top = hn_api_field(r->body, "top_logprobs");
    int64_t count = 0;
    if (r->kind == HN_API_COMPLETION) {
        if (!value)
            return HN_OK;
        HN_TRY(read_number(&COUNT, value, &count, problem));
        r->n_logprobs = (int)count;
        return HN_OK;
    }
    if (value && !json_is_boolean(value))
        return hn_problem_bad(problem, "logprobs", "'logprobs' must be true or false");
    if (top)
        HN_TRY(read_number(&TOP, top, &count, problem));
    if (count > 0 && !json_is_true(value))
        return hn_problem_bad(problem, "top_logprobs", "'top_logprobs' needs 'logprobs': true");
    if (json_is_true(value))
        r->n_logprobs = (int)count;
    return HN_OK;
}

static hn_status read_stream_options(hn_api_request *r, hn_problem *problem) {
    const json_t *options = hn_api_field(r->body, "stream_options");
    if (!options)
        return HN_OK;
    if (!json_is_object(options))
        return hn_problem_bad(problem, "stream_options", "'stream_options' must be an object");
    const json_t *usage = hn_api_field(options, "include_usage");
    if (usage && !json_is_boolean(usage))
        return hn_problem_bad(problem, "stream_options.include_usage",
                              "'include_usage' must be true or false");
    r->include_usage = json_is_true(usage);
    return HN_OK;
}

static hn_status read_words(hn_api_request *r, hn_problem *problem) {
    const char *word = NULL;
    const json_t *encoding = hn_api_field(r->body, "encoding_format");
    if (r->kind == HN_API_EMBEDDING && encoding) {
        HN_TRY(hn_api_plain_text(encoding, "encoding_format", &word, problem));
        if (strcmp(word, "float") != 0 && strcmp(word, "base64") != 0)
            return hn_problem_bad(problem, "encoding_format",
                                  "'encoding_format' must be \"float\" or \"base64\"");
        r->base64 = word[0] == 'b';
    }
    const json_t *thought = hn_api_field(r->body, "reasoning_format");
    if (r->kind == HN_API_CHAT && thought) {
        HN_TRY(hn_api_plain_text(thought, "reasoning_format", &word, problem));
        r->keep_thought = strcmp(word, "none") == 0;
    }
    const json_t *kwargs = hn_api_field(r->body, "chat_template_kwargs");
    if (r->kind == HN_API_CHAT && kwargs) {
        if (!json_is_object(kwargs))
            return hn_problem_bad(problem, "chat_template_kwargs",
                                  "'chat_template_kwargs' must be an object");
        r->template_kwargs = kwargs;
    }
    return HN_OK;
}

hn_status hn_api_read_fields(hn_api_request *r, hn_problem *problem) {
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
        if (FIELDS[i].kinds & r->kind)
            HN_TRY(read_field(&FIELDS[i], r, problem));
    if (r->top_k < 0)
        r->top_k = 0;
    HN_TRY(read_words(r, problem));
    if (r->kind == HN_API_EMBEDDING)
        return HN_OK;
    HN_TRY(read_seed(r, problem));
    HN_TRY(read_logprobs(r, problem));
    return read_stream_options(r, problem);
}
