/* What an answer may be: response formats, grammars, tools and the choice among them. */
#include "serve/request.h"

#include <stdio.h>
#include <string.h>

/* ---- formats ---- */

static hn_status constrain(hn_api_request *r, hn_constraint_kind kind, const char *param,
                           const char *text, size_t n_bytes, hn_problem *problem) {
    if (r->constraint)
        return hn_problem_bad(problem, param, "'%s' and '%s' exclude each other", param,
                              r->constraint_param);
    if (n_bytes > HN_GRAMMAR_MAX_BYTES)
        return hn_problem_bad(problem, param, "'%s' has %zu bytes: at most %d are possible", param,
                              n_bytes, HN_GRAMMAR_MAX_BYTES);
    r->constraint = text;
    r->n_constraint = n_bytes;
    r->constraint_kind = kind;
    r->constraint_param = param;
    return HN_OK;
}

static hn_status constrain_schema(hn_api_request *r, const json_t *schema, const char *param,
                                  hn_problem *problem) {
    const char *text;
    size_t n_bytes;
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return hn_problem_bad(problem, param, "'%s' must be a JSON schema", param);
    HN_TRY(hn_api_keep_json(r, schema, &text, &n_bytes, problem));
    return constrain(r, HN_CONSTRAINT_SCHEMA, param, text, n_bytes, problem);
}

static hn_status read_response_format(hn_api_request *r, hn_problem *problem) {
    static const char OBJECT[] = "{\"type\":\"object\"}";
    const json_t *format = hn_api_field(r->body, "response_format");
    const char *type;
    if (!format)
        return HN_OK;
    if (!json_is_object(format))
        return hn_problem_bad(problem, "response_format", "'response_format' must be an object");
    HN_TRY(hn_api_plain_text(hn_api_field(format, "type"), "response_format.type", &type, problem));
    if (strcmp(type, "text") == 0)
        return HN_OK;
    if (strcmp(type, "json_object") == 0) {
        const json_t *schema = hn_api_field(format, "schema"); /* llama.cpp's addition */
        return schema ? constrain_schema(r, schema, "response_format.schema", problem)
                      : constrain(r, HN_CONSTRAINT_SCHEMA, "response_format", OBJECT,
                                  sizeof OBJECT - 1, problem);
    }
    if (strcmp(type, "json_schema") != 0)
        return hn_problem_bad(problem, "response_format.type",
                              "'response_format.type' must be \"text\", \"json_object\" or "
                              "\"json_schema\"");
    const json_t *wrapper = hn_api_field(format, "json_schema");
    const json_t *schema = hn_api_field(wrapper, "schema");
    if (!json_is_object(wrapper) || !schema)
        return hn_problem_bad(problem, "response_format.json_schema",
                              "'response_format.json_schema' must be {name, schema}");
    return constrain_schema(r, schema, "response_format.json_schema.schema", problem);
}

hn_status hn_api_read_format(hn_api_request *r, hn_problem *problem) {
    const json_t *grammar = hn_api_field(r->body, "grammar");
    const json_t *schema = hn_api_field(r->body, "json_schema");
    HN_TRY(read_response_format(r, problem));
    if (schema)
        HN_TRY(constrain_schema(r, schema, "json_schema", problem));
    if (grammar && !(json_is_string(grammar) && json_string_length(grammar) == 0)) {
        const char *text;
        HN_TRY(hn_api_plain_text(grammar, "grammar", &text, problem));
        HN_TRY(constrain(r, HN_CONSTRAINT_GBNF, "grammar", text, strlen(text), problem));
    }
    return HN_OK;
}

/* ---- tools ---- */

bool hn_api_is_tool_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static bool is_name(const char *name) {
    size_t n = 0;
    while (hn_api_is_tool_letter(name[n]))
        n++;
    return n > 0 && n <= HN_API_TOOL_NAME_MAX && name[n] == '\0';
}

static hn_status read_tool(hn_api_request *r, size_t i, const json_t *tool, hn_problem *problem) {
    char param[HN_PROBLEM_PARAM_MAX];
    const json_t *function = hn_api_field(tool, "function");
    const char *type = json_string_value(hn_api_field(tool, "type"));
    const json_t *parameters = hn_api_field(function, "parameters");
    hn_api_tool *out = &r->tool_list[i];
    snprintf(param, sizeof param, "tools[%zu].function.name", i);
    if (!json_is_object(function) || (type && strcmp(type, "function") != 0)) {
        snprintf(param, sizeof param, "tools[%zu]", i);
        return hn_problem_bad(problem, param,
                              "'%s' must be {\"type\": \"function\", \"function\": {name, "
                              "description, parameters}}",
                              param);
    }
    HN_TRY(hn_api_plain_text(hn_api_field(function, "name"), param, &out->name, problem));
    if (!is_name(out->name))
        return hn_problem_bad(problem, param,
                              "'%s' must be 1 to %d letters, digits, dots, dashes or underscores",
                              param, HN_API_TOOL_NAME_MAX);
    for (size_t j = 0; j < i; j++)
        if (strcmp(r->tool_list[j].name, out->name) == 0)
            return hn_problem_bad(problem, param, "two tools have the name '%s'", out->name);
    snprintf(param, sizeof param, "tools[%zu].function.parameters", i);
    if (parameters && !json_is_object(parameters))
        return hn_problem_bad(problem, param, "'%s' must be a JSON schema", param);
    out->parameters = parameters;
    const json_t *strict = hn_api_field(function, "strict");
    snprintf(param, sizeof param, "tools[%zu].function.strict", i);
    if (strict && !json_is_boolean(strict))
        return hn_problem_bad(problem, param, "'%s' must be true or false", param);
    out->strict = json_is_true(strict);
    return HN_OK;
}

static hn_status choose_named(hn_api_request *r, const json_t *choice, hn_problem *problem) {
    const json_t *name = hn_api_field(hn_api_field(choice, "function"), "name");
    if (!json_is_string(name))
        return hn_problem_bad(
            problem, "tool_choice",
            "'tool_choice' must be \"none\", \"auto\", \"required\" or {\"type\": "
            "\"function\", \"function\": {\"name\": ...}}");
    for (size_t i = 0; i < r->n_tools; i++)
        if (strcmp(r->tool_list[i].name, json_string_value(name)) == 0)
            r->tool_name = r->tool_list[i].name;
    if (!r->tool_name)
        return hn_problem_bad(problem, "tool_choice",
                              "'tool_choice' names '%.64s', which isn't "
                              "among the tools",
                              json_string_value(name));
    r->tool_choice = HN_TOOL_CHOICE_REQUIRED;
    return HN_OK;
}

/* Of the tools only these may be called; the model is told of all. {mode, tools: [{type, function:
 * {name}}]}, or without "function" as the responses have it. */
static hn_status choose_among(hn_api_request *r, const json_t *allowed, hn_problem *problem) {
    static const char PARAM[] = "tool_choice.allowed_tools";
    const char *mode = json_string_value(hn_api_field(allowed, "mode"));
    const json_t *list = hn_api_field(allowed, "tools"), *tool;
    size_t i, kept = 0;
    bool chosen[HN_API_MAX_TOOLS] = {false};
    if (!mode || (strcmp(mode, "auto") != 0 && strcmp(mode, "required") != 0))
        return hn_problem_bad(problem, PARAM, "'%s.mode' must be \"auto\" or \"required\"", PARAM);
    if (!json_array_size(list) || json_array_size(list) > HN_API_MAX_TOOLS)
        return hn_problem_bad(problem, PARAM, "'%s.tools' must be an array of 1 to %d tools", PARAM,
                              HN_API_MAX_TOOLS);
    json_array_foreach (list, i, tool) {
        const json_t *function = hn_api_field(tool, "function");
        const char *name = json_string_value(hn_api_field(function ? function : tool, "name"));
        size_t at = 0;
        while (at < r->n_tools && (!name || strcmp(r->tool_list[at].name, name) != 0))
            at++;
        if (at == r->n_tools)
            return hn_problem_bad(problem, PARAM, "'%s.tools[%zu]' isn't among the tools", PARAM,
                                  i);
        chosen[at] = true;
    }
    for (i = 0; i < r->n_tools; i++)
        if (chosen[i])
            r->tool_list[kept++] = r->tool_list[i];
    r->n_tools = kept;
    r->tool_choice = *mode == 'a' ? HN_TOOL_CHOICE_AUTO : HN_TOOL_CHOICE_REQUIRED;
    return HN_OK;
}

static hn_status read_choice(hn_api_request *r, hn_problem *problem) {
    const json_t *choice = hn_api_field(r->body, "tool_choice");
    const char *word = json_string_value(choice);
    r->tool_choice = r->n_tools ? HN_TOOL_CHOICE_AUTO : HN_TOOL_CHOICE_NONE;
    if (!choice)
        return HN_OK;
    if (hn_api_field(choice, "allowed_tools"))
        return choose_among(r, hn_api_field(choice, "allowed_tools"), problem);
    if (!word)
        return choose_named(r, choice, problem);
    if (strcmp(word, "none") == 0)
        r->tool_choice = HN_TOOL_CHOICE_NONE;
    else if (strcmp(word, "required") == 0 || strcmp(word, "any") == 0)
        r->tool_choice = HN_TOOL_CHOICE_REQUIRED;
    else if (strcmp(word, "auto") != 0)
        return hn_problem_bad(
            problem, "tool_choice",
            "'tool_choice' must be \"none\", \"auto\", \"required\" or a function");
    if (r->tool_choice == HN_TOOL_CHOICE_REQUIRED && !r->n_tools)
        return hn_problem_bad(problem, "tool_choice", "'tool_choice' requires 'tools'");
    return HN_OK;
}

hn_status hn_api_read_tools(hn_api_request *r, hn_problem *problem) {
    const json_t *tools = hn_api_field(r->body, "tools");
    size_t n = json_array_size(tools);
    if (tools && !json_is_array(tools))
        return hn_problem_bad(problem, "tools", "'tools' must be an array");
    if (n > HN_API_MAX_TOOLS)
        return hn_problem_bad(problem, "tools", "%zu tools: at most %d are possible", n,
                              HN_API_MAX_TOOLS);
    if (n) {
        r->tool_list = HN_ARENA_NEW(&r->arena, hn_api_tool, n);
        if (!r->tool_list)
            return hn_problem_no_memory(problem);
        for (size_t i = 0; i < n; i++)
            HN_TRY(read_tool(r, i, json_array_get(tools, i), problem));
        r->n_tools = n;
        r->tools = tools;
    }
    r->asks_for_parallel_calls = json_is_true(hn_api_field(r->body, "parallel_tool_calls"));
    return read_choice(r, problem);
}
