/* Anthropic's messages as a chat. */
#include "serve/request.h"
#include "serve/translate.h"

#include "base/buf.h"

#include <string.h>

/* The texts of blocks, or a text; NULL without memory. */
static json_t *text_of(const json_t *content) {
    size_t i;
    const json_t *block;
    hn_buf text = {0};
    if (json_is_string(content))
        return json_incref((json_t *)(uintptr_t)content);
    json_array_foreach (content, i, block) {
        const json_t *part = hn_api_field(block, "text");
        if (json_is_string(part))
            hn_buf_append(&text, json_string_value(part), json_string_length(part));
    }
    json_t *value = text.failed ? NULL : json_stringn(hn_buf_text(&text), text.size);
    hn_buf_done(&text);
    return value;
}

static hn_status add_result(const json_t *block, json_t *messages, hn_problem *problem) {
    return hn_translate_append(messages,
                               json_pack("{s:s, s:O?, s:o}", "role", "tool", "tool_call_id",
                                         hn_api_field(block, "tool_use_id"), "content",
                                         text_of(hn_api_field(block, "content"))),
                               problem);
}

/* Results of tools become messages of their own, before the turn's text. */
static hn_status add_blocks(const json_t *message, const json_t *blocks, json_t *messages,
                            hn_problem *problem) {
    size_t i, n_texts = 0;
    const json_t *block;
    json_array_foreach (blocks, i, block) {
        const char *type = json_string_value(hn_api_field(block, "type"));
        if (!type)
            return hn_problem_bad(problem, "messages", "a content block has no type");
        if (strcmp(type, "tool_result") == 0)
            HN_TRY(add_result(block, messages, problem));
        else if (strcmp(type, "text") == 0)
            n_texts++;
        else if (strcmp(type, "tool_use") != 0 && strcmp(type, "thinking") != 0)
            return hn_problem_bad(problem, "messages",
                                  "content of type '%.32s' isn't supported: "
                                  "this model reads text",
                                  type);
    }
    if (n_texts)
        HN_TRY(hn_translate_append(messages,
                                   json_pack("{s:O?, s:o}", "role", hn_api_field(message, "role"),
                                             "content", text_of(blocks)),
                                   problem));
    json_array_foreach (blocks, i, block) {
        const char *type = json_string_value(hn_api_field(block, "type"));
        if (strcmp(type, "tool_use") == 0)
            HN_TRY(hn_translate_call(messages, hn_api_field(block, "id"),
                                     hn_api_field(block, "name"),
                                     json_incref(json_object_get(block, "input")), problem));
    }
    return HN_OK;
}

static hn_status add_messages(const json_t *body, json_t *messages, hn_problem *problem) {
    const json_t *system = hn_api_field(body, "system"), *list = hn_api_field(body, "messages");
    size_t i;
    const json_t *message;
    if (system)
        HN_TRY(hn_translate_append(
            messages, json_pack("{s:s, s:o}", "role", "system", "content", text_of(system)),
            problem));
    if (!json_is_array(list) || !json_array_size(list))
        return hn_problem_bad(problem, "messages",
                              "'messages' must be an array of at least one message");
    json_array_foreach (list, i, message) {
        const json_t *content = hn_api_field(message, "content");
        if (json_is_array(content))
            HN_TRY(add_blocks(message, content, messages, problem));
        else
            HN_TRY(
                hn_translate_append(messages, json_incref((json_t *)(uintptr_t)message), problem));
    }
    return HN_OK;
}

static hn_status add_tools(const json_t *body, json_t *out, hn_problem *problem) {
    const json_t *tools = hn_api_field(body, "tools");
    size_t i;
    const json_t *tool;
    if (!tools)
        return HN_OK;
    if (!json_is_array(tools))
        return hn_problem_bad(problem, "tools", "'tools' must be an array");
    json_t *list = json_array();
    HN_TRY(hn_translate_set(out, "tools", list, problem));
    json_array_foreach (tools, i, tool) {
        const char *type = json_string_value(hn_api_field(tool, "type"));
        if (type && strcmp(type, "custom") != 0)
            return hn_problem_bad(problem, "tools",
                                  "tools[%zu] is of type '%.32s': the server has no tools of its "
                                  "own, only such with an input_schema",
                                  i, type);
        json_t *function = json_pack("{s:O?}", "name", hn_api_field(tool, "name"));
        json_t *made =
            function ? json_pack("{s:s, s:o}", "type", "function", "function", function) : NULL;
        HN_TRY(hn_translate_append(list, made, problem));
        HN_TRY(hn_translate_copy(tool, "description", function, "description", problem));
        HN_TRY(hn_translate_copy(tool, "input_schema", function, "parameters", problem));
        HN_TRY(hn_translate_copy(tool, "strict", function, "strict", problem));
    }
    return HN_OK;
}

/* {type: auto | any | none | tool, name, disable_parallel_tool_use} */
static hn_status add_choice(const json_t *body, json_t *out, hn_problem *problem) {
    const json_t *choice = hn_api_field(body, "tool_choice");
    const char *type = json_string_value(hn_api_field(choice, "type"));
    if (!choice)
        return HN_OK;
    if (!type)
        return hn_problem_bad(problem, "tool_choice", "'tool_choice' must be {type}");
    if (json_is_true(hn_api_field(choice, "disable_parallel_tool_use")))
        HN_TRY(hn_translate_set(out, "parallel_tool_calls", json_false(), problem));
    if (strcmp(type, "tool") != 0)
        return hn_translate_set(out, "tool_choice", json_string(type), problem);
    return hn_translate_set(out, "tool_choice",
                            json_pack("{s:s, s:{s:O?}}", "type", "function", "function", "name",
                                      hn_api_field(choice, "name")),
                            problem);
}

hn_status hn_translate_messages(const json_t *body, json_t **out, hn_problem *problem) {
    static const char *const SAME[][2] = {{"model", "model"},
                                          {"max_tokens", "max_tokens"},
                                          {"temperature", "temperature"},
                                          {"top_p", "top_p"},
                                          {"top_k", "top_k"},
                                          {"stream", "stream"},
                                          {"stop_sequences", "stop"},
                                          {"chat_template_kwargs", "chat_template_kwargs"},
                                          {"lora", "lora"},
                                          {"seed", "seed"}};
    json_t *chat = json_object(), *messages = json_array();
    hn_status status = HN_OK;
    HN_GO(hn_translate_set(chat, "messages", json_incref(messages), problem));
    for (size_t i = 0; i < sizeof SAME / sizeof *SAME; i++)
        HN_GO(hn_translate_copy(body, SAME[i][0], chat, SAME[i][1], problem));
    HN_GO(add_messages(body, messages, problem));
    HN_GO(add_tools(body, chat, problem));
    HN_GO(add_choice(body, chat, problem));
    *out = json_incref(chat);
done:
    json_decref(chat);
    json_decref(messages);
    return status;
}
