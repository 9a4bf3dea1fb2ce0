#include "teacher/prompts.h"

#include "base/buf.h"
#include "base/mem.h"
#include "formats/jsonl.h"

#include <string.h>

static bool is_text(const json_t *value) {
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) && text[strspn(text, " \t\r\n")];
}

static const char *role_of(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role ? role : "";
}

/* The messages up to the last question as a new list, or a single question's text. */
static hn_status question_of(const json_t *messages, const char *where, json_t **out,
                             hn_error *err) {
    size_t n = json_array_size(messages), i;
    const json_t *message;
    while (n && strcmp(role_of(json_array_get(messages, n - 1)), "assistant") == 0)
        n--;
    if (!n || strcmp(role_of(json_array_get(messages, n - 1)), "system") == 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: the messages hold no question", where);
    json_array_foreach (messages, i, message)
        if (i < n && (!*role_of(message) || !is_text(json_object_get(message, "content"))))
            return hn_fail(err, HN_BAD_INPUT, "%s: message %zu needs a role and a text as content",
                           where, i + 1);
    message = json_array_get(messages, 0);
    if (n == 1 && strcmp(role_of(message), "user") == 0) { /* a text, and nothing more */
        *out = json_incref(json_object_get(message, "content"));
        return HN_OK;
    }
    json_t *list = json_array();
    bool ok = list != NULL;
    for (i = 0; ok && i < n; i++)
        ok = json_array_append(list, json_array_get(messages, i)) == 0;
    if (!ok) {
        json_decref(list);
        return hn_fail_no_memory(err, n);
    }
    *out = list;
    return HN_OK;
}

static hn_status with_context(const json_t *instruction, const json_t *context, json_t **out,
                              hn_error *err) {
    hn_buf text = {0};
    hn_buf_printf(&text, "%s\n\n%s", json_string_value(instruction), json_string_value(context));
    *out = text.failed ? NULL : json_string(hn_buf_text(&text));
    hn_buf_done(&text);
    return *out ? HN_OK : hn_fail_no_memory(err, 1);
}

static hn_status prompt_of(const json_t *row, const char *where, json_t **out, hn_error *err) {
    const json_t *messages = json_object_get(row, "messages");
    json_t *prompt = json_object_get(row, "prompt");
    const json_t *context = json_object_get(row, "context");
    if (!prompt)
        prompt = json_object_get(row, "instruction");
    if (!messages && json_is_array(prompt))
        messages = prompt;
    if (messages) {
        if (!json_is_array(messages))
            return hn_fail(err, HN_BAD_INPUT, "%s: \"messages\" is no list", where);
        return question_of(messages, where, out, err);
    }
    if (!prompt)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: no question: the row must hold {prompt}, {instruction} or {messages}",
                       where);
    if (!is_text(prompt))
        return hn_fail(err, HN_BAD_INPUT, "%s: the question must be a text that isn't empty",
                       where);
    if (is_text(context))
        return with_context(prompt, context, out, err);
    *out = json_incref(prompt);
    return HN_OK;
}

static hn_status add(hn_prompts *prompts, size_t *capacity, const hn_jsonl *jsonl,
                     const json_t *row, hn_error *err) {
    enum { WHERE = 512 };
    char where[WHERE];
    if (prompts->n == *capacity) {
        size_t larger = *capacity ? 2 * *capacity : 64;
        hn_prompt *grown = hn_reallocarray(prompts->items, larger, sizeof *grown);
        if (!grown)
            return hn_fail_no_memory(err, larger * sizeof *grown);
        prompts->items = grown;
        *capacity = larger;
    }
    snprintf(where, sizeof where, "%.480s:%llu", jsonl->path, (unsigned long long)jsonl->line);
    hn_prompt prompt = {.line = jsonl->line};
    HN_TRY(prompt_of(row, where, &prompt.value, err));
    prompts->items[prompts->n++] = prompt;
    return HN_OK;
}

hn_status hn_prompts_read(hn_prompts *prompts, const char *path, hn_error *err) {
    hn_jsonl jsonl;
    hn_prompts read = {0};
    size_t capacity = 0;
    hn_status status;
    HN_TRY(hn_jsonl_open(&jsonl, path, err));
    for (;;) {
        json_t *row = NULL;
        HN_GO(hn_jsonl_next(&jsonl, &row, err));
        if (!row)
            break;
        status = add(&read, &capacity, &jsonl, row, err);
        json_decref(row);
        if (status != HN_OK)
            goto done;
    }
    if (!read.n)
        status = hn_fail(err, HN_BAD_INPUT, "%s: no rows", path);
done:
    hn_jsonl_close(&jsonl);
    if (status == HN_OK)
        *prompts = read;
    else
        hn_prompts_done(&read);
    return status;
}

void hn_prompts_done(hn_prompts *prompts) {
    for (size_t i = 0; i < prompts->n; i++)
        json_decref(prompts->items[i].value);
    hn_free(prompts->items);
    *prompts = (hn_prompts){0};
}

/* The system turn: what the prompt itself says comes first. */
static json_t *system_turn(const json_t *own, const char *system) {
    hn_buf text = {0};
    if (own)
        hn_buf_printf(&text, "%s\n\n", json_string_value(own));
    hn_buf_puts(&text, system);
    json_t *turn = text.failed
                       ? NULL
                       : json_pack("{s:s, s:s}", "role", "system", "content", hn_buf_text(&text));
    hn_buf_done(&text);
    return turn;
}

json_t *hn_prompt_messages(const json_t *prompt, const char *system) {
    json_t *messages = json_array(), *own = NULL;
    bool ok = messages != NULL;
    size_t from = 0;
    if (json_is_array(prompt) && strcmp(role_of(json_array_get(prompt, 0)), "system") == 0 &&
        system) {
        own = json_object_get(json_array_get(prompt, 0), "content");
        from = 1;
    }
    if (ok && system)
        ok = json_array_append_new(messages, system_turn(own, system)) == 0;
    for (size_t i = from; ok && i < json_array_size(prompt); i++)
        ok = json_array_append(messages, json_array_get(prompt, i)) == 0;
    if (ok && json_is_string(prompt))
        ok = json_array_append_new(messages,
                                   json_pack("{s:s, s:O}", "role", "user", "content", prompt)) == 0;
    if (ok)
        return messages;
    json_decref(messages);
    return NULL;
}

char *hn_prompt_text(const json_t *prompt) {
    hn_buf text = {0};
    size_t i;
    const json_t *message;
    if (json_is_string(prompt))
        return hn_strdup(json_string_value(prompt));
    json_array_foreach (prompt, i, message)
        hn_buf_printf(&text, "%s%s: %s", i ? "\n\n" : "", role_of(message),
                      json_string_value(json_object_get(message, "content")));
    return hn_buf_take(&text);
}
