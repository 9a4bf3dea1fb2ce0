/* What transformers' apply_chat_template does around the template itself. */
#define _GNU_SOURCE /* memmem */
#include "base/mem.h"
#include "template/render.h"

static const char TAG[] = "CONTINUE_FINAL_MESSAGE_TAG ";
enum { N_TAG = sizeof TAG - 1 };

static hn_status no_memory(hn_error *err) {
    return hn_fail(err, HN_NO_MEMORY, "out of memory: preparing a conversation");
}

/* Sets object[key] to a value that stays owned by its other holder. */
static hn_status set(json_t *object, const char *key, const json_t *value, hn_error *err) {
    return json_object_set(object, key, (json_t *)value) == 0 ? HN_OK : no_memory(err);
}

static hn_status set_new(json_t *object, const char *key, json_t *value, hn_error *err) {
    return json_object_set_new(object, key, value) == 0 ? HN_OK : no_memory(err);
}

/* --- messages --------------------------------------------------------------------------------- */

static const json_t *reasoning_of(const json_t *message) {
    static const char *const FIELDS[] = {"reasoning_content", "thinking", "reasoning"};
    for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
        const json_t *value = json_object_get(message, FIELDS[i]);
        if (value && !json_is_null(value))
            return value;
    }
    return NULL;
}

/* Without keys that are null; reasoning under each name that templates read it by. */
static hn_status copy_message(const json_t *message, json_t *copy, hn_error *err) {
    const json_t *reasoning = reasoning_of(message);
    if (reasoning)
        HN_TRY(set(copy, "thinking", reasoning, err));
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)message, key, value) {
        if (!json_is_null(value))
            HN_TRY(set(copy, key, value, err));
    }
    return reasoning ? set(copy, "reasoning_content", reasoning, err) : HN_OK;
}

static hn_status copy_messages(const json_t *messages, json_t *out, hn_error *err) {
    if (!json_is_array(messages) || json_array_size(messages) == 0)
        return hn_fail(err, HN_BAD_INPUT,
                       "a chat template needs a conversation of at least one message");
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        if (!json_is_object(message))
            return hn_fail(err, HN_BAD_INPUT, "message %zu isn't an object", i + 1);
        json_t *copy = json_object();
        if (!copy || json_array_append_new(out, copy) != 0)
            return no_memory(err);
        HN_TRY(copy_message(message, copy, err));
    }
    return HN_OK;
}

/* --- continuing the last message -------------------------------------------------------------- */

static hn_status tag_text(const json_t *text, json_t *owner, const char *key, hn_error *err) {
    if (!json_is_string(text))
        return hn_fail(err, HN_BAD_INPUT, "the final message's content to continue isn't text");
    hn_buf buf = {0};
    hn_buf_append(&buf, json_string_value(text), json_string_length(text));
    hn_buf_append(&buf, TAG, N_TAG);
    json_t *tagged = buf.failed ? NULL : json_stringn(buf.data, buf.size);
    hn_buf_done(&buf);
    return tagged ? set_new(owner, key, tagged, err) : no_memory(err);
}

/* The last part with a text; the copy of the message gets a copy of its content. */
static hn_status tag_parts(json_t *message, const json_t *content, const json_t **final,
                           hn_error *err) {
    json_t *parts = json_copy((json_t *)content);
    if (!parts)
        return no_memory(err);
    HN_TRY(set_new(message, "content", parts, err));
    for (size_t i = json_array_size(parts); i-- > 0;) {
        const json_t *text = json_object_get(json_array_get(parts, i), "text");
        if (!text)
            continue;
        json_t *part = json_copy(json_array_get(parts, i));
        if (!part || json_array_set_new(parts, i, part) != 0)
            return no_memory(err);
        *final = text; /* still held by the caller's messages */
        return tag_text(text, part, "text", err);
    }
    return hn_fail(err, HN_BAD_INPUT,
                   "continue_final_message: there is no text to continue in the final message");
}

/* Marks the end of the last message's content; *final is that content, borrowed from the
 * caller's messages. */
static hn_status tag_final(const hn_template *tmpl, json_t *messages, const json_t **final,
                           hn_error *err) {
    json_t *message = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(message, "content");
    if (!content)
        return hn_fail(err, HN_BAD_INPUT,
                       "continue_final_message: the final message has no content to continue");
    if (!memmem(tmpl->source, tmpl->n_source, "content", 7))
        return hn_fail(err, HN_BAD_INPUT,
                       "continue_final_message: the chat template doesn't read \"content\"");
    *final = content;
    return json_is_array(content) ? tag_parts(message, content, final, err)
                                  : tag_text(content, message, "content", err);
}

/* Where the conversation is to be continued: before the tag. */
static hn_status cut_at_tag(hn_buf *text, const json_t *final, hn_error *err) {
    const hn_tstr whole = {.data = hn_buf_text(text), .n_bytes = (uint32_t)text->size};
    const hn_tstr tag = {.data = TAG, .n_bytes = N_TAG - 1}; /* without its last space */
    const char *content = json_string_value(final);
    size_t start = 0, end = json_string_length(final);
    for (size_t next = start; start < end && hn_uni_is_space(hn_uni_next(content, end, &next));
         start = next)
        ;
    for (size_t before; end > start && hn_uni_is_space(hn_uni_before(content, end, &before));)
        end = before;
    const hn_tstr stripped = {.data = content + start, .n_bytes = (uint32_t)(end - start)};
    size_t at = hn_str_find(&whole, &tag, 0, whole.n_bytes, true);
    if (at == SIZE_MAX || hn_str_find(&whole, &stripped, 0, whole.n_bytes, false) == SIZE_MAX)
        return hn_fail(err, HN_BAD_INPUT,
                       "continue_final_message: the final message doesn't appear in the chat as "
                       "the template renders it");
    bool spaced = at + N_TAG <= text->size && text->data[at + N_TAG - 1] == ' ';
    for (size_t before;
         !spaced && at > 0 && hn_uni_is_space(hn_uni_before(text->data, at, &before));)
        at = before;
    text->size = at;
    text->data[at] = 0;
    return HN_OK;
}

/* --- rendering -------------------------------------------------------------------------------- */

static hn_status set_extra(json_t *variables, const json_t *extra, hn_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)extra, key, value) {
        if (!strcmp(key, "messages") || !strcmp(key, "tools") || !strcmp(key, "documents") ||
            !strcmp(key, "add_generation_prompt"))
            return hn_fail(err, HN_BAD_INPUT, "the template variable \"%s\" can't be set here",
                           key);
        HN_TRY(set(variables, key, value, err));
    }
    return HN_OK;
}

static hn_status set_variables(json_t *variables, json_t *messages, const hn_chat_options *options,
                               hn_error *err) {
    const char *const tokens[2][2] = {{"bos_token", options->bos_token},
                                      {"eos_token", options->eos_token}};
    for (int i = 0; i < 2; i++) /* a token that the model lacks is undefined */
        if (tokens[i][1] && *tokens[i][1])
            HN_TRY(set_new(variables, tokens[i][0], json_string(tokens[i][1]), err));
    if (options->extra)
        HN_TRY(set_extra(variables, options->extra, err));
    HN_TRY(set(variables, "messages", messages, err));
    HN_TRY(set(variables, "tools", options->tools ? options->tools : json_null(), err));
    HN_TRY(set(variables, "documents", options->documents ? options->documents : json_null(), err));
    return set_new(variables, "add_generation_prompt", json_boolean(options->add_generation_prompt),
                   err);
}

static hn_status check_options(const hn_chat_options *options, hn_error *err) {
    if (options->continue_final_message && options->add_generation_prompt)
        return hn_fail(err, HN_USAGE,
                       "continue_final_message and add_generation_prompt are not compatible");
    for (size_t i = 0; i < json_array_size(options->tools); i++)
        if (!json_is_object(json_array_get(options->tools, i)))
            return hn_fail(err, HN_BAD_INPUT, "tool %zu isn't an object", i + 1);
    for (size_t i = 0; i < json_array_size(options->documents); i++)
        if (!json_is_object(json_array_get(options->documents, i)))
            return hn_fail(err, HN_BAD_INPUT, "document %zu isn't an object", i + 1);
    return HN_OK;
}

hn_status hn_chat_render_spans(const hn_template *tmpl, const json_t *messages,
                               const hn_chat_options *options, hn_buf *out,
                               hn_template_span **spans, size_t *n_spans, hn_error *err) {
    json_t *copies = json_array(), *variables = json_object();
    const json_t *final = NULL;
    hn_buf text = {0};
    hn_template_span *found = NULL;
    size_t n_found = 0;
    hn_status status = copies && variables ? HN_OK : no_memory(err);
    HN_GO(status);
    HN_GO(check_options(options, err));
    HN_GO(copy_messages(messages, copies, err));
    if (options->continue_final_message)
        HN_GO(tag_final(tmpl, copies, &final, err));
    HN_GO(set_variables(variables, copies, options, err));
    HN_GO(hn_template_render_spans(tmpl, variables, options->now, &text, &found, &n_found, err));
    if (final)
        HN_GO(cut_at_tag(&text, final, err));
    size_t offset = out->size;
    if (!hn_buf_append(out, hn_buf_text(&text), text.size))
        HN_GO(hn_buf_check(out, err));
    for (size_t i = 0; i < n_found; i++) {
        found[i].start += offset;
        found[i].end += offset;
    }
    if (spans) {
        *spans = found;
        *n_spans = n_found;
        found = NULL;
    }
done:
    hn_free(found);
    hn_buf_done(&text);
    json_decref(copies);
    json_decref(variables);
    return status;
}

hn_status hn_chat_render(const hn_template *tmpl, const json_t *messages,
                         const hn_chat_options *options, hn_buf *out, hn_error *err) {
    return hn_chat_render_spans(tmpl, messages, options, out, NULL, NULL, err);
}
