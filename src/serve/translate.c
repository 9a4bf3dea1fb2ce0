#include "serve/translate.h"

#include "serve/request.h"

#include <string.h>

hn_status hn_translate_set(json_t *out, const char *key, json_t *value, hn_problem *problem) {
    return json_object_set_new(out, key, value) == 0 ? HN_OK : hn_problem_no_memory(problem);
}

hn_status hn_translate_append(json_t *list, json_t *value, hn_problem *problem) {
    return json_array_append_new(list, value) == 0 ? HN_OK : hn_problem_no_memory(problem);
}

hn_status hn_translate_copy(const json_t *body, const char *from, json_t *out, const char *to,
                            hn_problem *problem) {
    const json_t *value = hn_api_field(body, from);
    if (!value)
        return HN_OK;
    return hn_translate_set(out, to, json_incref((json_t *)(uintptr_t)value), problem);
}

hn_status hn_translate_call(json_t *messages, const json_t *id, const json_t *name,
                            json_t *arguments, hn_problem *problem) {
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    json_t *call = json_pack("{s:O?, s:s, s:{s:O?, s:o?}}", "id", id, "type", "function",
                             "function", "name", name, "arguments", arguments);
    if (!call)
        return hn_problem_no_memory(problem);
    if (!role || strcmp(role, "assistant") != 0) {
        last = json_pack("{s:s, s:n}", "role", "assistant", "content");
        if (json_array_append_new(messages, last) != 0) {
            json_decref(call);
            return hn_problem_no_memory(problem);
        }
    }
    json_t *calls = json_object_get(last, "tool_calls");
    if (!calls) {
        calls = json_array();
        if (json_object_set_new(last, "tool_calls", calls) != 0) {
            json_decref(call);
            return hn_problem_no_memory(problem);
        }
    }
    return hn_translate_append(calls, call, problem);
}

/* ---- OpenAI's responses ---- */

static hn_status responses_item(const json_t *item, json_t *messages, hn_problem *problem) {
    const char *type = json_string_value(hn_api_field(item, "type"));
    if (type && strcmp(type, "function_call") == 0)
        return hn_translate_call(messages, hn_api_field(item, "call_id"),
                                 hn_api_field(item, "name"),
                                 json_incref(json_object_get(item, "arguments")), problem);
    if (type && strcmp(type, "function_call_output") == 0)
        return hn_translate_append(messages,
                                   json_pack("{s:s, s:O?, s:O?}", "role", "tool", "tool_call_id",
                                             hn_api_field(item, "call_id"), "content",
                                             hn_api_field(item, "output")),
                                   problem);
    if (type && strcmp(type, "reasoning") == 0)
        return HN_OK; /* thought isn't read again */
    if (type && strcmp(type, "message") != 0)
        return hn_problem_bad(problem, "input", "items of type '%.32s' aren't supported", type);
    return hn_translate_append(messages, json_incref((json_t *)(uintptr_t)item), problem);
}

static hn_status responses_input(const json_t *body, json_t *messages, hn_problem *problem) {
    const json_t *input = hn_api_field(body, "input"), *system = hn_api_field(body, "instructions");
    size_t i;
    const json_t *item;
    if (system)
        HN_TRY(hn_translate_append(
            messages, json_pack("{s:s, s:O}", "role", "system", "content", system), problem));
    if (json_is_string(input))
        return hn_translate_append(
            messages, json_pack("{s:s, s:O}", "role", "user", "content", input), problem);
    if (!json_is_array(input) || !json_array_size(input))
        return hn_problem_bad(problem, "input", "'input' must be a string or an array of items");
    json_array_foreach (input, i, item)
        HN_TRY(responses_item(item, messages, problem));
    return HN_OK;
}

/* {type, name, ...} becomes {type, function: {name, ...}}. */
static hn_status responses_tools(const json_t *body, json_t *out, hn_problem *problem) {
    const json_t *tools = hn_api_field(body, "tools"), *choice = hn_api_field(body, "tool_choice");
    size_t i;
    const json_t *tool;
    if (json_is_array(tools)) {
        json_t *list = json_array();
        HN_TRY(hn_translate_set(out, "tools", list, problem));
        json_array_foreach (tools, i, tool) {
            const char *type = json_string_value(hn_api_field(tool, "type"));
            if (!type || strcmp(type, "function") != 0)
                return hn_problem_bad(problem, "tools",
                                      "tools[%zu] must be {\"type\": \"function\", name, "
                                      "parameters}: the server has no tools of its own",
                                      i);
            HN_TRY(hn_translate_append(
                list, json_pack("{s:s, s:O}", "type", "function", "function", tool), problem));
        }
    } else if (tools) {
        HN_TRY(hn_translate_copy(body, "tools", out, "tools", problem));
    }
    const char *kind = json_string_value(hn_api_field(choice, "type"));
    if (kind && strcmp(kind, "allowed_tools") == 0)
        return hn_translate_set(out, "tool_choice",
                                json_pack("{s:s, s:O}", "type", kind, kind, choice), problem);
    if (json_is_object(choice))
        return hn_translate_set(out, "tool_choice",
                                json_pack("{s:s, s:{s:O?}}", "type", "function", "function", "name",
                                          hn_api_field(choice, "name")),
                                problem);
    return hn_translate_copy(body, "tool_choice", out, "tool_choice", problem);
}

static hn_status responses_format(const json_t *body, json_t *out, hn_problem *problem) {
    const json_t *format = hn_api_field(hn_api_field(body, "text"), "format");
    const char *type = json_string_value(hn_api_field(format, "type"));
    if (type && strcmp(type, "json_schema") == 0)
        return hn_translate_set(
            out, "response_format",
            json_pack("{s:s, s:O}", "type", "json_schema", "json_schema", format), problem);
    return hn_translate_copy(hn_api_field(body, "text"), "format", out, "response_format", problem);
}

static hn_status responses_fields(const json_t *body, json_t *out, hn_problem *problem) {
    static const char *const SAME[] = {"model",
                                       "temperature",
                                       "top_p",
                                       "stream",
                                       "seed",
                                       "parallel_tool_calls",
                                       "user",
                                       "chat_template_kwargs",
                                       "lora",
                                       "priority",
                                       "stop",
                                       "timeout",
                                       "max_output_tokens"};
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++)
        HN_TRY(hn_translate_copy(body, SAME[i], out, SAME[i], problem));
    return HN_OK;
}

static bool includes(const json_t *body, const char *what) {
    size_t i;
    const json_t *item;
    json_array_foreach (hn_api_field(body, "include"), i, item)
        if (json_is_string(item) && strcmp(json_string_value(item), what) == 0)
            return true;
    return false;
}

static hn_status responses_logprobs(const json_t *body, json_t *out, hn_problem *problem) {
    if (!includes(body, "message.output_text.logprobs"))
        return HN_OK;
    HN_TRY(hn_translate_set(out, "logprobs", json_true(), problem));
    return hn_translate_copy(body, "top_logprobs", out, "top_logprobs", problem);
}

/* What would need answers that are stored. */
static hn_status refuse_stored(const json_t *body, hn_problem *problem) {
    static const char *const FIELDS[] = {"previous_response_id", "conversation"};
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
        if (hn_api_field(body, FIELDS[i]))
            return hn_problem_bad(
                problem, FIELDS[i],
                "answers aren't stored here: send the whole conversation as 'input'");
    if (json_is_true(hn_api_field(body, "background")))
        return hn_problem_bad(problem, "background",
                              "answers aren't stored here: wait for it, or ask for a stream");
    return HN_OK;
}

hn_status hn_translate_responses(const json_t *body, json_t **out, hn_problem *problem) {
    json_t *chat = json_object(), *messages = json_array();
    hn_status status = HN_OK;
    HN_GO(refuse_stored(body, problem));
    HN_GO(hn_translate_set(chat, "messages", json_incref(messages), problem));
    HN_GO(responses_fields(body, chat, problem));
    HN_GO(responses_logprobs(body, chat, problem));
    HN_GO(responses_input(body, messages, problem));
    HN_GO(responses_tools(body, chat, problem));
    HN_GO(responses_format(body, chat, problem));
    *out = json_incref(chat);
done:
    json_decref(chat);
    json_decref(messages);
    return status;
}

/* ---- what its answers say again ---- */

/* Labels of the client's own. */
static hn_status check_metadata(const json_t *metadata, hn_problem *problem) {
    const char *key;
    json_t *value;
    bool right = !metadata || json_is_object(metadata);
    json_object_foreach ((json_t *)(uintptr_t)metadata, key, value)
        right &= json_is_string(value);
    return right ? HN_OK
                 : hn_problem_bad(problem, "metadata", "'metadata' must be an object of strings");
}

/* body[name], or else `usual`, which is taken. */
static json_t *field_or(const json_t *body, const char *name, json_t *usual) {
    const json_t *value = hn_api_field(body, name);
    if (!value)
        return usual;
    json_decref(usual);
    return json_incref((json_t *)(uintptr_t)value);
}

hn_status hn_responses_echo(const json_t *body, json_t **out, hn_problem *problem) {
    const json_t *text = hn_api_field(body, "text");
    HN_TRY(check_metadata(hn_api_field(body, "metadata"), problem));
    json_t *echo = json_pack(
        "{s:O?, s:O?, s:O?, s:O?, s:O?}", "instructions", hn_api_field(body, "instructions"),
        "max_output_tokens", hn_api_field(body, "max_output_tokens"), "user",
        hn_api_field(body, "user"), "safety_identifier", hn_api_field(body, "safety_identifier"),
        "prompt_cache_key", hn_api_field(body, "prompt_cache_key"));
    json_t *open = json_pack("{s:o, s:o, s:o, s:{s:o}, s:o}", "metadata",
                             field_or(body, "metadata", json_object()), "tools",
                             field_or(body, "tools", json_array()), "tool_choice",
                             field_or(body, "tool_choice", json_string("auto")), "text", "format",
                             field_or(text, "format", json_pack("{s:s}", "type", "text")),
                             "top_logprobs", field_or(body, "top_logprobs", json_integer(0)));
    /* Nothing is stored, cut off or thought about at length, whatever was asked for. */
    json_t *fixed = json_pack("{s:n, s:b, s:b, s:s, s:s, s:{s:n, s:n}}", "previous_response_id",
                              "background", 0, "store", 0, "truncation", "disabled", "service_tier",
                              "default", "reasoning", "effort", "summary");
    const bool whole = echo && open && fixed && json_object_update(echo, open) == 0 &&
                       json_object_update(echo, fixed) == 0;
    json_decref(open);
    json_decref(fixed);
    if (!whole) {
        json_decref(echo);
        return hn_problem_no_memory(problem);
    }
    *out = echo;
    return HN_OK;
}
