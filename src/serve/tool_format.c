/* Which format a model calls tools in, how it is told of them, and how its calls are held to them.
 */
#include "serve/tool_calls.h"

#include "base/mem.h"
#include "serve/json_text.h"

#include <stdlib.h>
#include <string.h>

hn_tool_format hn_tool_format_detect(const char *template_source, bool *shows_tools) {
    const char *text = template_source ? template_source : "";
    *shows_tools = strstr(text, "tools") != NULL;
    if (strstr(text, "[TOOL_CALLS]"))
        return strstr(text, "[ARGS]") ? HN_TOOLS_MISTRAL_ARGS : HN_TOOLS_MISTRAL;
    if (strstr(text, "<tool_call>"))
        return HN_TOOLS_HERMES;
    if (strstr(text, "<|python_tag|>") ||
        (*shows_tools && strstr(text, "<|start_header_id|>") && strstr(text, "parameters")))
        return HN_TOOLS_LLAMA3;
    return HN_TOOLS_HERMES;
}

static void put_tools(const json_t *tools, hn_buf *out) {
    size_t i;
    const json_t *tool;
    hn_buf_puts(out, "You may call one or more of these functions to help with the user query. "
                     "Their signatures, as JSON:\n<tools>\n");
    json_array_foreach (tools, i, tool) {
        hn_json_put_value(out, tool);
        hn_buf_putc(out, '\n');
    }
    hn_buf_puts(out, "</tools>\nFor each call, return a JSON object with the function's name and "
                     "arguments within <tool_call> tags:\n<tool_call>\n{\"name\": <name>, "
                     "\"arguments\": <arguments>}\n</tool_call>\n");
}

/* What tells the model of its tools goes before what the system says, or becomes it. */
static hn_status add_system_text(hn_api_request *r, hn_problem *problem) {
    json_t *first = json_array_get(r->messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    const json_t *content = json_object_get(first, "content");
    bool has_system = role && strcmp(role, "system") == 0 && json_is_string(content);
    hn_buf text = {0};
    put_tools(r->tools, &text);
    if (has_system) {
        hn_buf_putc(&text, '\n');
        hn_buf_append(&text, json_string_value(content), json_string_length(content));
    }
    json_t *made = text.failed ? NULL : json_stringn(hn_buf_text(&text), text.size);
    hn_buf_done(&text);
    int failed;
    if (has_system)
        failed = json_object_set_new(first, "content", made);
    else
        failed = json_array_insert_new(
            r->messages, 0,
            made ? json_pack("{s:s, s:o}", "role", "system", "content", made) : made);
    return failed ? hn_problem_no_memory(problem) : HN_OK;
}

hn_status hn_tool_prompt(hn_api_request *request, const char *template_source,
                         hn_tool_format *format, const json_t **shown, hn_problem *problem) {
    bool shows;
    *format = HN_TOOLS_NONE;
    *shown = NULL;
    if (!request->n_tools || request->tool_choice == HN_TOOL_CHOICE_NONE)
        return HN_OK;
    *format = hn_tool_format_detect(template_source, &shows);
    if (!shows)
        return add_system_text(request, problem);
    *shown = request->tools;
    return HN_OK;
}

/* ---- holding it to a call ---- */

/* How a format writes calls (grammar/calls.h): `begin` with the tool's name for %s, before its
 * arguments; `end` behind them. */
typedef struct shape {
    const char *tag, *head, *between, *foot, *begin, *end;
} shape;

static const shape SHAPES[] = {
    [HN_TOOLS_HERMES] = {"<tool_call>", "\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>",
                         "{\"name\": \"%s\", \"arguments\": ", "}"},
    [HN_TOOLS_LLAMA3] = {"<|python_tag|>", "", "; ", "",
                         "{\"name\": \"%s\", \"parameters\": ", "}"},
    [HN_TOOLS_MISTRAL] = {"[TOOL_CALLS]", " [", ", ", "]",
                          "{\"name\": \"%s\", \"arguments\": ", "}"},
    [HN_TOOLS_MISTRAL_ARGS] = {"[TOOL_CALLS]", "", "[TOOL_CALLS]", "", "%s[ARGS]", ""},
};

const char *hn_tool_tag(hn_tool_format format) {
    return format == HN_TOOLS_NONE ? NULL : SHAPES[format].tag;
}

const char *hn_tool_opening(hn_tool_format format) {
    return format == HN_TOOLS_LLAMA3 ? "" : SHAPES[format].tag;
}

/* The schema of a tool's arguments; NULL without memory. */
static json_t *arguments_schema(const hn_api_tool *tool) {
    if (!tool->parameters || json_object_size(tool->parameters) == 0)
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties",
                         0);
    json_t *schema = json_copy((json_t *)(uintptr_t)tool->parameters);
    if (schema && !json_object_get(schema, "type") &&
        json_object_set_new(schema, "type", json_string("object")) != 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

static json_t *call_of(const hn_tool_demand *d, const hn_api_tool *tool) {
    const shape *how = &SHAPES[d->format];
    hn_buf begin = {0}, bare[2] = {{0}, {0}};
    const char *name = strstr(how->begin, "%s");
    hn_buf_printf(&begin, "%.*s%s%s", (int)(name - how->begin), how->begin, tool->name, name + 2);
    hn_buf_printf(&bare[0], "{\"name\": \"%s\"", tool->name);
    hn_buf_printf(&bare[1], "{\"name\":\"%s\"", tool->name);
    json_t *call = NULL;
    if (!begin.failed && !bare[0].failed && !bare[1].failed)
        call = json_pack("{s:s, s:s, s:o, s:s, s:b}", "name", tool->name, "begin",
                         hn_buf_text(&begin), "schema", arguments_schema(tool), "end", how->end,
                         "loose", !d->required && !tool->strict);
    if (call && d->format == HN_TOOLS_LLAMA3 &&
        json_object_set_new(
            call, "bare", json_pack("[s, s]", hn_buf_text(&bare[0]), hn_buf_text(&bare[1]))) != 0) {
        json_decref(call);
        call = NULL;
    }
    hn_buf_done(&begin);
    hn_buf_done(&bare[0]);
    hn_buf_done(&bare[1]);
    return call;
}

static json_t *calls_of(const hn_tool_demand *d) {
    json_t *calls = json_array();
    for (size_t i = 0; i < d->n_tools; i++) {
        if (d->name && strcmp(d->tools[i].name, d->name) != 0)
            continue;
        if (json_array_append_new(calls, call_of(d, &d->tools[i])) != 0) {
            json_decref(calls);
            return NULL;
        }
    }
    return calls;
}

static json_t *description_of(const hn_tool_demand *d) {
    enum { MAX_CALLS = 16 }; /* of one tag; without a bound a small model never stops */
    static const char *const THOUGHTS[] = {
        [HN_THOUGHT_MAY] = "may", [HN_THOUGHT_OPEN] = "open", [HN_THOUGHT_NEVER] = "never"};
    const shape *how = &SHAPES[d->format];
    const bool several = d->parallel && !d->name;
    /* Only Hermes' calls have an end of their own, behind which text may follow. */
    const bool goes_on = d->format == HN_TOOLS_HERMES && several && !d->required && !d->schema;
    return json_pack("{s:s, s:O?, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:o}", "may",
                     d->required ? "calls"
                     : d->schema ? "schema"
                                 : "text",
                     "schema", d->schema, "thought", THOUGHTS[d->thought], "tag", how->tag, "head",
                     how->head, "between", how->between, "foot", how->foot, "most",
                     several && !goes_on ? MAX_CALLS : 1, "goes_on", goes_on, "calls", calls_of(d));
}

hn_status hn_tool_grammar(const hn_tool_demand *demand, char **out, size_t *n_bytes,
                          hn_error *err) {
    json_t *description = description_of(demand);
    hn_buf text = {0};
    if (description)
        hn_json_put_value(&text, description);
    json_decref(description);
    const size_t size = text.size;
    char *taken = size && !text.failed ? hn_buf_take(&text) : NULL;
    hn_buf_done(&text);
    if (!taken)
        return hn_fail_no_memory(err, size);
    *out = taken;
    *n_bytes = size;
    return HN_OK;
}
