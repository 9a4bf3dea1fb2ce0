/* From bytes to a request: parsing, the order of the checks, what belongs together. */
#include "serve/request.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

const json_t *hn_api_field(const json_t *object, const char *name) {
    const json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

/* Commas outside strings, counted no further than the limit: what a body may become in memory is a
 * multiple of that, and looking costs less than parsing. */
static bool has_too_many_values(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == ',' && ++count > HN_API_MAX_VALUES)
            return true;
        if (text[i] != '"')
            continue;
        for (i++; i < n && text[i] != '"'; i++)
            i += text[i] == '\\';
    }
    return false;
}

hn_status hn_api_any_parse(const char *body, size_t n_bytes, json_t **out, hn_problem *problem) {
    hn_error err;
    if (n_bytes == 0)
        return hn_problem_bad(problem, NULL, "the body is empty: it must be a JSON object");
    if (has_too_many_values(body, n_bytes))
        return hn_problem_bad(problem, NULL, "the body holds more than %d values",
                              HN_API_MAX_VALUES);
    hn_status status = hn_json_parse_wide(body, n_bytes, "the body is no JSON", out, &err);
    if (status == HN_NO_MEMORY)
        return hn_problem_no_memory(problem);
    return status == HN_OK ? HN_OK : hn_problem_bad(problem, NULL, "%s", err.message);
}

hn_status hn_api_body_parse(const char *body, size_t n_bytes, json_t **out, hn_problem *problem) {
    json_t *value;
    HN_TRY(hn_api_any_parse(body, n_bytes, &value, problem));
    if (!json_is_object(value)) {
        json_decref(value);
        return hn_problem_bad(problem, NULL, "the body must be a JSON object");
    }
    *out = value;
    return HN_OK;
}

hn_status hn_api_keep_json(hn_api_request *r, const json_t *value, const char **text,
                           size_t *n_bytes, hn_problem *problem) {
    char *dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t n = dump ? strlen(dump) : 0;
    const char *kept = dump ? hn_arena_strndup(&r->arena, dump, n) : NULL;
    free(dump);
    if (!kept)
        return hn_problem_no_memory(problem);
    *text = kept;
    *n_bytes = n;
    return HN_OK;
}

hn_status hn_api_plain_text(const json_t *value, const char *param, const char **out,
                            hn_problem *problem) {
    if (!json_is_string(value))
        return hn_problem_bad(problem, param, "'%s' must be a string", param);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return hn_problem_bad(problem, param, "'%s' must not hold a NUL character", param);
    *out = json_string_value(value);
    return HN_OK;
}

/* As the request calls the bound of the answer's tokens. */
static const char *name_of_bound(const hn_api_request *r) {
    static const char *const NAMES[] = {"max_output_tokens", "max_completion_tokens"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (hn_api_field(r->body, NAMES[i]))
            return NAMES[i];
    return "max_tokens";
}

/* Fields that only make sense together. */
static hn_status check_together(const hn_api_request *r, hn_problem *problem) {
    if (r->min_tokens > 0 && r->max_tokens >= 0 && r->min_tokens > r->max_tokens)
        return hn_problem_bad(problem, "min_tokens", "'min_tokens' %lld is above 'max_tokens' %lld",
                              (long long)r->min_tokens, (long long)r->max_tokens);
    if (r->kind == HN_API_CHAT && r->max_tokens == 0)
        return hn_problem_bad(problem, name_of_bound(r), "'%s' must be 1 or more",
                              name_of_bound(r));
    if (r->kind == HN_API_COMPLETION && r->n_prompts * (size_t)r->n > HN_API_MAX_CHOICES)
        return hn_problem_bad(problem, "prompt", "%zu prompts with n %lld are more than %d answers",
                              r->n_prompts, (long long)r->n, HN_API_MAX_CHOICES);
    if (r->continue_final_message && r->tool_choice == HN_TOOL_CHOICE_REQUIRED)
        return hn_problem_bad(problem, "tool_choice",
                              "a message that is continued can't be made a tool call");
    if (r->constraint && r->tool_choice == HN_TOOL_CHOICE_REQUIRED)
        return hn_problem_bad(problem, r->constraint_param,
                              "'%s' and a required tool call exclude each other",
                              r->constraint_param);
    return HN_OK;
}

/* What would be another answer than the one that was asked for. */
static hn_status refuse_in_chat(const hn_api_request *r, hn_problem *problem) {
    size_t i;
    const json_t *modality;
    if (hn_api_field(r->body, "functions"))
        return hn_problem_bad(problem, "functions",
                              "'functions' is the old form of 'tools': send those");
    if (hn_api_field(r->body, "function_call"))
        return hn_problem_bad(problem, "function_call",
                              "'function_call' is the old form of 'tool_choice': send that");
    json_array_foreach (hn_api_field(r->body, "modalities"), i, modality)
        if (!json_is_string(modality) || strcmp(json_string_value(modality), "text") != 0)
            return hn_problem_bad(problem, "modalities", "answers are text here, and nothing else");
    return HN_OK;
}

static hn_status read_chat(hn_api_request *r, hn_problem *problem) {
    HN_TRY(refuse_in_chat(r, problem));
    HN_TRY(hn_api_read_messages(r, problem));
    HN_TRY(hn_api_read_tools(r, problem));
    if (r->continue_final_message) {
        const json_t *last = json_array_get(r->messages, json_array_size(r->messages) - 1);
        const char *role = json_string_value(json_object_get(last, "role"));
        r->add_generation_prompt = false;
        if (strcmp(role, "assistant") != 0 || !json_is_string(json_object_get(last, "content")))
            return hn_problem_bad(problem, "continue_final_message",
                                  "the last message must be the assistant's, with text");
    }
    return HN_OK;
}

static hn_status read_completion(hn_api_request *r, hn_problem *problem) {
    const json_t *suffix = hn_api_field(r->body, "suffix");
    if (suffix && (!json_is_string(suffix) || json_string_length(suffix)))
        return hn_problem_bad(problem, "suffix",
                              "'suffix' isn't supported: leave it out, and put what comes before "
                              "the gap into 'prompt'");
    const json_t *best_of = hn_api_field(r->body, "best_of");
    if (best_of && json_number_value(best_of) != (double)r->n)
        return hn_problem_bad(problem, "best_of",
                              "'best_of' isn't supported: ask for 'n' answers with 'logprobs', and "
                              "take the likeliest");
    return hn_api_read_prompts(r, "prompt", problem);
}

static hn_status read_all(hn_api_request *r, hn_problem *problem) {
    const json_t *model = hn_api_field(r->body, "model");
    if (model)
        HN_TRY(hn_api_plain_text(model, "model", &r->model, problem));
    HN_TRY(hn_api_read_fields(r, problem));
    if (r->kind == HN_API_EMBEDDING)
        return hn_api_read_prompts(r, "input", problem);
    HN_TRY(hn_api_read_lists(r, problem));
    HN_TRY(hn_api_read_format(r, problem));
    HN_TRY(r->kind == HN_API_CHAT ? read_chat(r, problem) : read_completion(r, problem));
    return check_together(r, problem);
}

hn_status hn_api_request_read(hn_api_request *request, hn_api_kind kind, json_t *body,
                              hn_problem *problem) {
    hn_api_request r = {.kind = kind,
                        .body = body,
                        .add_generation_prompt = true,
                        .temperature = 1, /* OpenAI's defaults */
                        .top_p = 1,
                        .repeat_penalty = 1,
                        .n = 1,
                        .max_tokens = kind == HN_API_COMPLETION ? 16 : -1,
                        .cache_prompt = true,
                        .n_logprobs = -1,
                        .parallel_tool_calls = true};
    hn_status status = read_all(&r, problem);
    if (status == HN_OK)
        *request = r;
    else
        hn_api_request_done(&r);
    return status;
}

hn_status hn_api_request_parse(hn_api_request *request, hn_api_kind kind, const char *body,
                               size_t n_bytes, hn_problem *problem) {
    json_t *value;
    HN_TRY(hn_api_body_parse(body, n_bytes, &value, problem));
    return hn_api_request_read(request, kind, value, problem);
}

void hn_api_request_done(hn_api_request *request) {
    json_decref(request->body);
    json_decref(request->messages);
    hn_arena_done(&request->arena);
    *request = (hn_api_request){0};
}
