#include "serve/call_object.h"

#include "base/json.h"

#include <string.h>

typedef hn_call_object object;

/* What became of one byte. */
typedef enum step { STEP_TAKEN, STEP_AGAIN, STEP_DONE, STEP_WRONG } step;

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool known(const object *o) {
    return o->tool && o->has_arguments;
}

static step go(object *o, hn_call_state state) {
    o->state = state;
    return STEP_TAKEN;
}

static step begin_word(object *o, hn_call_state state, char c) {
    hn_buf_reset(&o->word);
    hn_buf_putc(&o->word, c);
    o->escaped = false;
    return go(o, state);
}

/* Adds a byte of a string; true when it was the closing quote. */
static bool word_ends(object *o, char c) {
    hn_buf_putc(&o->word, c);
    bool ends = c == '"' && !o->escaped;
    o->escaped = c == '\\' && !o->escaped;
    return ends;
}

/* The text of the string that was read, or NULL when it is none. Freed with json_decref. */
static json_t *word_value(const object *o) {
    json_t *value = NULL;
    if (hn_json_parse(hn_buf_text(&o->word), o->word.size, "", &value, NULL) != HN_OK)
        return NULL;
    if (json_is_string(value))
        return value;
    json_decref(value);
    return NULL;
}

static bool key_is(const object *o, const char *name) {
    size_t n = strlen(name);
    return o->word.size == n + 2 && memcmp(o->word.data + 1, name, n) == 0;
}

/* The name is whole: is it one of the tools? */
static step end_name(object *o) {
    json_t *name = word_value(o);
    for (size_t i = 0; name && i < o->n_tools; i++)
        if (strcmp(o->tools[i].name, json_string_value(name)) == 0)
            o->tool = &o->tools[i];
    json_decref(name);
    return o->tool ? go(o, HN_CALL_AFTER) : STEP_WRONG;
}

static step end_arguments_string(object *o) {
    json_t *text = word_value(o);
    if (text)
        hn_buf_append(&o->arguments, json_string_value(text), json_string_length(text));
    bool ok = text != NULL;
    json_decref(text);
    o->has_arguments = ok;
    return ok ? go(o, HN_CALL_AFTER) : STEP_WRONG;
}

static step begin_arguments(object *o, char c) {
    if (c != '{')
        return STEP_WRONG;
    o->has_arguments = true;
    hn_buf_putc(&o->arguments, c);
    o->in_string = o->escaped = false;
    o->depth = 1;
    return go(o, HN_CALL_ARGUMENTS);
}

/* The first byte of a value whose key is in `word`. */
static step begin_value(object *o, char c) {
    bool is_function = key_is(o, "function");
    if (!o->tool && (key_is(o, "name") || (is_function && c == '"')))
        return c == '"' ? begin_word(o, HN_CALL_NAME, c) : STEP_WRONG;
    if (is_function && c == '{' && !o->wrapped) {
        o->wrapped = true;
        return go(o, HN_CALL_FIRST_KEY);
    }
    bool is_arguments = key_is(o, "arguments") || key_is(o, "parameters");
    if (is_arguments && !o->has_arguments && c == '"')
        return begin_word(o, HN_CALL_ARGUMENTS_STRING, c);
    if (is_arguments && !o->has_arguments && c == '{')
        return begin_arguments(o, c);
    if (is_arguments && !o->has_arguments && c != 'n') /* null: as if they weren't there */
        return STEP_WRONG;
    o->state = c == '"' || c == '{' || c == '[' ? HN_CALL_OTHER : HN_CALL_SCALAR;
    o->in_string = c == '"';
    o->depth = c == '{' || c == '[';
    o->escaped = false;
    return strchr(",}]:", c) ? STEP_WRONG : STEP_TAKEN;
}

/* A byte inside a nested value or a string; true when the value ends with it. */
static bool value_ends(object *o, char c) {
    if (o->in_string) {
        bool closes = c == '"' && !o->escaped;
        o->escaped = c == '\\' && !o->escaped;
        o->in_string = !closes;
        return closes && o->depth == 0;
    }
    if (c == '"')
        o->in_string = true;
    else if (c == '{' || c == '[')
        o->depth++;
    else if (c == '}' || c == ']')
        o->depth--;
    return o->depth == 0;
}

static step end_object(object *o) {
    if (o->wrapped) {
        o->wrapped = false;
        return go(o, HN_CALL_AFTER);
    }
    if (!o->tool || (o->needs_arguments && !o->has_arguments))
        return STEP_WRONG;
    if (!o->has_arguments)
        hn_buf_puts(&o->arguments, "{}");
    o->has_arguments = true;
    return STEP_DONE;
}

static step between(object *o, char c) {
    if (is_blank(c))
        return STEP_TAKEN;
    switch (o->state) {
    case HN_CALL_OPEN:
        return c == '{' ? go(o, HN_CALL_FIRST_KEY) : STEP_WRONG;
    case HN_CALL_BARE:
        return begin_arguments(o, c);
    case HN_CALL_FIRST_KEY:
        if (c == '}')
            return end_object(o);
        return c == '"' ? begin_word(o, HN_CALL_KEY, c) : STEP_WRONG;
    case HN_CALL_NEXT_KEY:
        return c == '"' ? begin_word(o, HN_CALL_KEY, c) : STEP_WRONG;
    case HN_CALL_COLON:
        return c == ':' ? go(o, HN_CALL_VALUE) : STEP_WRONG;
    case HN_CALL_VALUE:
        return begin_value(o, c);
    default: /* HN_CALL_AFTER */
        if (c == '}')
            return end_object(o);
        return c == ',' ? go(o, HN_CALL_NEXT_KEY) : STEP_WRONG;
    }
}

static step take(object *o, char c) {
    switch (o->state) {
    case HN_CALL_KEY:
        return word_ends(o, c) ? go(o, HN_CALL_COLON) : STEP_TAKEN;
    case HN_CALL_NAME:
        return word_ends(o, c) ? end_name(o) : STEP_TAKEN;
    case HN_CALL_ARGUMENTS_STRING:
        return word_ends(o, c) ? end_arguments_string(o) : STEP_TAKEN;
    case HN_CALL_ARGUMENTS:
        hn_buf_putc(&o->arguments, c);
        if (!value_ends(o, c))
            return STEP_TAKEN;
        return o->bare ? STEP_DONE : go(o, HN_CALL_AFTER);
    case HN_CALL_OTHER:
        return value_ends(o, c) ? go(o, HN_CALL_AFTER) : STEP_TAKEN;
    case HN_CALL_SCALAR:
        if (!is_blank(c) && c != ',' && c != '}')
            return STEP_TAKEN;
        o->state = HN_CALL_AFTER;
        return STEP_AGAIN;
    default:
        return between(o, c);
    }
}

hn_call_progress hn_call_object_push(object *o, const char *text, size_t n, size_t *used) {
    for (size_t i = 0; i < n; i++) {
        step what = take(o, text[i]);
        if (what == STEP_AGAIN)
            what = take(o, text[i]);
        if (what == STEP_TAKEN)
            continue;
        /* A call that has been passed on ends where it goes wrong. */
        bool done = what == STEP_DONE || known(o);
        *used = what == STEP_DONE ? i + 1 : i;
        return done ? HN_CALL_DONE : HN_CALL_NONE;
    }
    *used = n;
    return HN_CALL_MORE;
}

/* ---- a head before the object ---- */

/* How much of the tag the text begins with; -1: it begins with something else. */
static int begins(const char *text, size_t n, const char *tag) {
    const size_t n_tag = strlen(tag), common = n < n_tag ? n : n_tag;
    return memcmp(text, tag, common) == 0 ? (int)common : -1;
}

/* Passes over the tag, and an id behind it, where they stand. False: more must come to tell. */
static bool skip_tag(const char *text, size_t n, const char *tag, bool has_id, size_t *at) {
    enum { MAX_ID = 64 };
    const int read = begins(text + *at, n - *at, tag);
    if (read < 0)
        return true;
    if ((size_t)read < strlen(tag))
        return false;
    *at += (size_t)read;
    const size_t id = *at;
    while (has_id && *at < n && text[*at] != '[' && *at < id + MAX_ID)
        ++*at;
    return !has_id || *at < n;
}

hn_call_progress hn_call_object_head(object *o, const char *text, size_t n, size_t *used) {
    size_t n_name = 0;
    while (n_name < n && n_name <= HN_API_TOOL_NAME_MAX && hn_api_is_tool_letter(text[n_name]))
        n_name++;
    size_t at = n_name;
    if (n_name > HN_API_TOOL_NAME_MAX)
        return HN_CALL_NONE;
    if (!skip_tag(text, n, HN_CALL_ID_TAG, true, &at) ||
        !skip_tag(text, n, HN_CALL_ARGUMENTS_TAG, false, &at))
        return HN_CALL_MORE;
    if (at == n_name && text[at] != '{')
        return HN_CALL_NONE;
    for (size_t i = 0; i < o->n_tools; i++)
        if (strlen(o->tools[i].name) == n_name && memcmp(o->tools[i].name, text, n_name) == 0)
            o->tool = &o->tools[i];
    o->bare = true;
    o->state = HN_CALL_BARE;
    *used = at;
    return o->tool ? HN_CALL_DONE : HN_CALL_NONE;
}

void hn_call_object_reset(object *o) {
    hn_buf_reset(&o->arguments);
    hn_buf_reset(&o->word);
    *o = (object){.tools = o->tools,
                  .n_tools = o->n_tools,
                  .needs_arguments = o->needs_arguments,
                  .arguments = o->arguments,
                  .word = o->word};
}

void hn_call_object_done(object *o) {
    hn_buf_done(&o->arguments);
    hn_buf_done(&o->word);
}
