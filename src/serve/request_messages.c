/* Messages as chat templates want them: content as one text, arguments of earlier tool calls as
 * objects, "developer" as the "system" it replaced. */
#include "serve/request.h"

#include "base/buf.h"
#include "base/json.h"

#include <stdio.h>
#include <string.h>

/* One message: where it came from, for messages, and what becomes of it. */
typedef struct reader {
    size_t index;
    const json_t *given;
    json_t *made;
    hn_problem *problem;
    char param[HN_PROBLEM_PARAM_MAX];
} reader;

static const char *param(reader *m, const char *key) {
    snprintf(m->param, sizeof m->param, "messages[%zu].%s", m->index, key);
    return m->param;
}

static hn_status set_new(reader *m, const char *key, json_t *value) {
    return json_object_set_new(m->made, key, value) == 0 ? HN_OK : hn_problem_no_memory(m->problem);
}

static hn_status wrong(reader *m, const char *key, const char *must) {
    const char *name = param(m, key);
    return hn_problem_bad(m->problem, name, "'%s' must be %s", name, must);
}

static hn_status read_role(reader *m) {
    static const char *const ROLES[] = {"system", "user", "assistant", "tool", "developer"};
    const char *role = json_string_value(hn_api_field(m->given, "role"));
    for (size_t i = 0; role && i < sizeof ROLES / sizeof *ROLES; i++)
        if (strcmp(role, ROLES[i]) == 0)
            return set_new(m, "role", json_string(strcmp(role, "developer") ? ROLES[i] : "system"));
    return wrong(m, "role", "\"system\", \"developer\", \"user\", \"assistant\" or \"tool\"");
}

/* The texts of parts, one after the other. */
static hn_status join_parts(reader *m, const json_t *parts, hn_buf *out) {
    size_t i;
    const json_t *part;
    char key[48];
    json_array_foreach (parts, i, part) {
        const char *type = json_string_value(hn_api_field(part, "type"));
        bool refusal = type && strcmp(type, "refusal") == 0;
        const json_t *text = hn_api_field(part, refusal ? "refusal" : "text");
        if (!json_is_object(part) || !type) {
            snprintf(key, sizeof key, "content[%zu]", i);
            return wrong(m, key, "an object with a type");
        }
        if (!refusal && strcmp(type, "text") != 0 && strcmp(type, "input_text") != 0 &&
            strcmp(type, "output_text") != 0) {
            snprintf(key, sizeof key, "content[%zu].type", i);
            return hn_problem_bad(m->problem, param(m, key),
                                  "content of type '%.32s' isn't supported: this model reads text",
                                  type);
        }
        if (!json_is_string(text)) {
            snprintf(key, sizeof key, "content[%zu].text", i);
            return wrong(m, key, "a string");
        }
        hn_buf_append(out, json_string_value(text), json_string_length(text));
    }
    return out->failed ? hn_problem_no_memory(m->problem) : HN_OK;
}

static hn_status read_content(reader *m) {
    const json_t *content = hn_api_field(m->given, "content");
    const char *role = json_string_value(json_object_get(m->made, "role"));
    if (json_is_string(content))
        return json_object_set(m->made, "content", (json_t *)content) == 0
                   ? HN_OK
                   : hn_problem_no_memory(m->problem);
    if (!content && strcmp(role, "assistant") == 0)
        return set_new(m, "content", json_string(""));
    if (!json_is_array(content))
        return wrong(m, "content", "a string or an array of parts");
    hn_buf text = {0};
    hn_status status = join_parts(m, content, &text);
    if (status == HN_OK)
        status = set_new(m, "content", json_stringn(hn_buf_text(&text), text.size));
    hn_buf_done(&text);
    return status;
}

/* Arguments come as JSON in a string; templates print objects. What is no JSON stays as it is. */
static json_t *arguments_of(const json_t *given) {
    json_t *value;
    if (json_is_string(given) && hn_json_parse(json_string_value(given), json_string_length(given),
                                               "", &value, NULL) == HN_OK) {
        if (json_is_object(value))
            return value;
        json_decref(value);
    }
    return json_incref((json_t *)given);
}

static hn_status read_tool_call(reader *m, size_t i, const json_t *call, json_t *out) {
    char key[48];
    const json_t *function = hn_api_field(call, "function");
    const json_t *name = hn_api_field(function, "name");
    const json_t *arguments = hn_api_field(function, "arguments");
    const json_t *id = hn_api_field(call, "id");
    snprintf(key, sizeof key, "tool_calls[%zu]", i);
    if (!json_is_string(name) || (id && !json_is_string(id)))
        return wrong(m, key, "{id, type, function: {name, arguments}}");
    if (arguments && !json_is_string(arguments) && !json_is_object(arguments))
        return wrong(m, key, "a call whose arguments are JSON in a string");
    json_t *made = json_pack("{s:s, s:{s:O, s:o}}", "type", "function", "function", "name", name,
                             "arguments", arguments ? arguments_of(arguments) : json_object());
    if (!made || (id && json_object_set(made, "id", (json_t *)id) != 0)) {
        json_decref(made);
        return hn_problem_no_memory(m->problem);
    }
    return json_array_append_new(out, made) == 0 ? HN_OK : hn_problem_no_memory(m->problem);
}

static hn_status read_tool_calls(reader *m) {
    const json_t *calls = hn_api_field(m->given, "tool_calls");
    size_t i;
    const json_t *call;
    if (!calls)
        return HN_OK;
    if (!json_is_array(calls))
        return wrong(m, "tool_calls", "an array");
    if (json_array_size(calls) == 0)
        return HN_OK;
    json_t *made = json_array();
    HN_TRY(set_new(m, "tool_calls", made));
    json_array_foreach (calls, i, call)
        HN_TRY(read_tool_call(m, i, call, made));
    return HN_OK;
}

/* What templates read besides: texts, taken over as they are. */
static hn_status read_texts(reader *m) {
    static const char *const KEYS[] = {"name", "tool_call_id", "reasoning_content"};
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        const json_t *value = hn_api_field(m->given, KEYS[i]);
        if (!value)
            continue;
        if (!json_is_string(value))
            return wrong(m, KEYS[i], "a string");
        if (json_object_set(m->made, KEYS[i], (json_t *)value) != 0)
            return hn_problem_no_memory(m->problem);
    }
    return HN_OK;
}

static hn_status read_message(reader *m) {
    if (!json_is_object(m->given)) {
        snprintf(m->param, sizeof m->param, "messages[%zu]", m->index);
        return hn_problem_bad(m->problem, m->param, "'%s' must be an object", m->param);
    }
    HN_TRY(read_role(m));
    HN_TRY(read_content(m));
    HN_TRY(read_tool_calls(m));
    return read_texts(m);
}

hn_status hn_api_read_messages(hn_api_request *r, hn_problem *problem) {
    const json_t *messages = hn_api_field(r->body, "messages");
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return hn_problem_bad(problem, "messages",
                              "'messages' must be an array of at least one message");
    r->messages = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++) {
        reader m = {.index = i, .given = json_array_get(messages, i), .problem = problem};
        m.made = json_object();
        if (json_array_append_new(r->messages, m.made) != 0)
            return hn_problem_no_memory(problem);
        HN_TRY(read_message(&m));
    }
    return HN_OK;
}
