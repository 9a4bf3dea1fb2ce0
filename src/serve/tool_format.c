/* Which format a model calls tools in, how it is told of them, and how it is made to call one. */
#include "serve/tool_calls.h"

#include "base/mem.h"
#include "serve/json_text.h"

#include <stdlib.h>
#include <string.h>

hn_tool_format hn_tool_format_detect(const char *template_source, bool *shows_tools) {
    const char *text = template_source ? template_source : "";
    *shows_tools = strstr(text, "tools") != NULL;
    if (strstr(text, "[TOOL_CALLS]"))
        return HN_TOOLS_MISTRAL;
    if (strstr(text, "<tool_call>"))
        return HN_TOOLS_HERMES;
    if (strstr(text, "<|python_tag|>") ||
        (*shows_tools && strstr(text, "<|start_header_id|>") && strstr(text, "parameters")))
        return HN_TOOLS_LLAMA3;
    return HN_TOOLS_HERMES;
}

void hn_tool_system_text(const json_t *tools, hn_buf *out) {
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

/* ---- making it call ---- */

static int move_reference(json_t *item, const char *ref, const char *path) {
    hn_buf moved = {0};
    hn_buf_printf(&moved, "%s%s", path, ref + 1);
    int failed = moved.failed || json_string_set(item, hn_buf_text(&moved)) != 0;
    hn_buf_done(&moved);
    return failed;
}

/* References inside a schema count from its root; `path` is where that root is put. */
static int move_references(json_t *schema, const char *path) {
    size_t i;
    const char *key;
    json_t *item;
    int failed = 0;
    json_array_foreach (schema, i, item)
        failed |= move_references(item, path);
    json_object_foreach (schema, key, item) {
        const char *ref = json_string_value(item);
        if (strcmp(key, "$ref") != 0 || !ref || *ref != '#')
            failed |= move_references(item, path);
        else
            failed |= move_reference(item, ref, path);
    }
    return failed;
}

/* The schema of a tool's arguments; NULL without memory. */
static json_t *arguments_schema(const hn_api_tool *tool, const char *path) {
    if (!tool->parameters || json_object_size(tool->parameters) == 0)
        return json_pack("{s:s, s:{}, s:b}", "type", "object", "properties", "additionalProperties",
                         0);
    json_t *schema = json_deep_copy(tool->parameters);
    if (schema && !json_object_get(schema, "type") &&
        json_object_set_new(schema, "type", json_string("object")) != 0) {
        json_decref(schema);
        return NULL;
    }
    if (schema && move_references(schema, path) != 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

/* {"name": this one, its arguments}; `path` is where it stands in the whole schema. */
static json_t *call_schema(hn_tool_format format, const hn_api_tool *tool, const char *path) {
    const char *key = format == HN_TOOLS_LLAMA3 ? "parameters" : "arguments";
    hn_buf at = {0};
    hn_buf_printf(&at, "%s/properties/%s", path, key);
    json_t *arguments = at.failed ? NULL : arguments_schema(tool, hn_buf_text(&at));
    hn_buf_done(&at);
    if (!arguments)
        return NULL;
    return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties",
                     "name", "const", tool->name, key, arguments, "required", "name", key,
                     "additionalProperties", 0);
}

static json_t *calls_schema(hn_tool_format format, const hn_api_tool *tools, size_t n_tools,
                            const char *name, const char *path) {
    for (size_t i = 0; i < n_tools; i++)
        if (n_tools == 1 || (name && strcmp(tools[i].name, name) == 0))
            return call_schema(format, &tools[i], path);
    json_t *any = json_array();
    for (size_t i = 0; i < n_tools; i++) {
        hn_buf at = {0};
        hn_buf_printf(&at, "%s/anyOf/%zu", path, i);
        json_t *call = at.failed ? NULL : call_schema(format, &tools[i], hn_buf_text(&at));
        hn_buf_done(&at);
        if (json_array_append_new(any, call) != 0) {
            json_decref(any);
            return NULL;
        }
    }
    return json_pack("{s:o}", "anyOf", any);
}

hn_status hn_tool_force(hn_tool_format format, const hn_api_tool *tools, size_t n_tools,
                        const char *name, bool parallel, const char **opening, char **schema,
                        size_t *n_bytes, hn_error *err) {
    enum { MAX_CALLS = 16 }; /* of one answer; without a bound a small model never stops */
    bool array = format == HN_TOOLS_MISTRAL;
    json_t *value = calls_schema(format, tools, n_tools, name, array ? "#/items" : "#");
    if (value && array)
        value = json_pack("{s:s, s:o, s:i, s:i}", "type", "array", "items", value, "minItems", 1,
                          "maxItems", parallel && !name ? MAX_CALLS : 1);
    hn_buf text = {0};
    if (value)
        hn_json_put_value(&text, value);
    json_decref(value);
    size_t size = text.size;
    char *taken = size && !text.failed ? hn_buf_take(&text) : NULL;
    hn_buf_done(&text);
    if (!taken)
        return hn_fail_no_memory(err, size);
    *schema = taken;
    *n_bytes = size;
    *opening = format == HN_TOOLS_MISTRAL  ? "[TOOL_CALLS]"
               : format == HN_TOOLS_HERMES ? "<tool_call>\n"
                                           : "";
    return HN_OK;
}
