/* Messages to token ids through the model's chat template. Control tokens that the template writes
 * become their ids; the same characters inside a message stay text, so that nobody can end a turn
 * or speak as the system by typing it.
 *
 * Where a message holds the text of a control token, a private-use character that occurs nowhere
 * else is put behind the text's first character before the template sees it, and taken out again
 * after the rendered text was split at the control tokens that are whole. Other conversations go
 * through untouched, and their ids are exactly those of the model's own tokenizer. */
#include "model/chat_encode.h"

#include "base/mem.h"
#include "base/text.h"
#include "model/generate.h"

#include <string.h>
#include <time.h>

typedef struct guard {
    const hn_checkpoint *ckpt;
    char mark[4]; /* the private-use character */
    size_t n_mark;
    bool used;
    hn_error *err;
} guard;

/* The longest control token whose text begins at `text`; its length, or 0. */
static size_t control_at(const hn_checkpoint *ckpt, const char *text, size_t left, int32_t *id) {
    if (!ckpt->control_first_byte[(uint8_t)*text])
        return 0;
    for (size_t i = 0; i < ckpt->n_control_ids; i++) {
        const char *token;
        size_t n;
        hn_token_bytes(ckpt->tokenizer, ckpt->control_ids[i], true, &token, &n);
        if (n <= left && !memcmp(token, text, n)) {
            *id = ckpt->control_ids[i];
            return n;
        }
    }
    return 0;
}

static hn_status guard_text(guard *g, const char *text, size_t n, hn_buf *out) {
    int32_t id;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        size_t step = hn_utf8_decode(text + i, n - i, &code);
        step = step ? step : 1;
        hn_buf_append(out, text + i, step);
        if (control_at(g->ckpt, text + i, n - i, &id)) {
            hn_buf_append(out, g->mark, g->n_mark);
            g->used = true;
        }
        i += step;
    }
    return hn_buf_check(out, g->err);
}

/* A copy of `value` with every text guarded; keys are the template's own and stay. */
static hn_status guard_json(guard *g, const json_t *value, json_t **out);

static hn_status guard_items(guard *g, const json_t *value, json_t *out) {
    size_t i;
    const char *key;
    json_t *item, *copy;
    if (json_is_array(value)) {
        json_array_foreach (value, i, item) {
            HN_TRY(guard_json(g, item, &copy));
            if (json_array_append_new(out, copy))
                return hn_fail_no_memory(g->err, sizeof item);
        }
        return HN_OK;
    }
    json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
        HN_TRY(guard_json(g, item, &copy));
        if (json_object_set_new(out, key, copy))
            return hn_fail_no_memory(g->err, sizeof item);
    }
    return HN_OK;
}

static hn_status guard_json(guard *g, const json_t *value, json_t **out) {
    hn_status status = HN_OK;
    json_t *copy;
    if (json_is_string(value)) {
        hn_buf text = {0};
        status = guard_text(g, json_string_value(value), json_string_length(value), &text);
        copy = status == HN_OK ? json_stringn(hn_buf_text(&text), text.size) : NULL;
        hn_buf_done(&text);
    } else if (json_is_array(value) || json_is_object(value)) {
        copy = json_is_array(value) ? json_array() : json_object();
        if (copy)
            status = guard_items(g, value, copy);
    } else {
        copy = json_deep_copy(value);
    }
    if (status == HN_OK && !copy)
        status = hn_fail_no_memory(g->err, sizeof *value);
    if (status == HN_OK)
        *out = copy;
    else
        json_decref(copy);
    return status;
}

static bool json_contains(const json_t *value, const char *needle) {
    size_t i;
    const char *key;
    json_t *item;
    if (json_is_string(value))
        return strstr(json_string_value(value), needle) != NULL;
    if (json_is_array(value)) {
        json_array_foreach (value, i, item) {
            if (json_contains(item, needle))
                return true;
        }
    } else if (json_is_object(value)) {
        json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
            if (json_contains(item, needle) || strstr(key, needle))
                return true;
        }
    }
    return false;
}

/* The first private-use character that neither the conversation nor the template holds. */
static hn_status choose_mark(guard *g, const json_t *messages, const json_t *tools,
                             const json_t *extra) {
    enum { FIRST = 0xE000, LAST = 0xF8FF }; /* the Basic Multilingual Plane's private use area */
    for (uint32_t code = FIRST; code <= LAST; code++) {
        char text[5] = {0};
        g->n_mark = hn_utf8_encode(code, text);
        if (strstr(g->ckpt->chat_template_source, text) || json_contains(messages, text) ||
            json_contains(tools, text) || json_contains(extra, text))
            continue;
        memcpy(g->mark, text, sizeof g->mark);
        return HN_OK;
    }
    return hn_fail(g->err, HN_BAD_INPUT, "the messages hold every private-use character there is");
}

/* Encodes rendered text of which some control texts carry the mark and others are whole. */
static hn_status encode_marked(const guard *g, const char *text, size_t n, hn_ids *ids) {
    const hn_tokenizer *tokenizer = g->ckpt->tokenizer;
    hn_status status = HN_OK;
    hn_buf piece = {0};
    for (size_t i = 0; i < n;) {
        int32_t id;
        size_t control = control_at(g->ckpt, text + i, n - i, &id);
        if (control) {
            HN_GO(hn_encode(tokenizer, hn_buf_text(&piece), piece.size, 0, ids, g->err));
            HN_GO(hn_ids_push(ids, id, g->err));
            hn_buf_reset(&piece);
            i += control;
        } else if (n - i >= g->n_mark && !memcmp(text + i, g->mark, g->n_mark)) {
            i += g->n_mark;
        } else {
            hn_buf_putc(&piece, text[i++]);
        }
    }
    HN_GO(hn_buf_check(&piece, g->err));
    HN_GO(hn_encode(tokenizer, hn_buf_text(&piece), piece.size, 0, ids, g->err));
done:
    hn_buf_done(&piece);
    return status;
}

/* The text of a special token as a NUL-terminated copy in `out`, "" when there is none. */
static hn_status token_text(const hn_tokenizer *tokenizer, int32_t id, hn_buf *out, hn_error *err) {
    const char *data;
    size_t n;
    if (id >= 0) {
        hn_token_bytes(tokenizer, id, true, &data, &n);
        hn_buf_append(out, data, n);
    }
    return hn_buf_check(out, err);
}

static hn_status render(const guard *g, const json_t *messages, const json_t *tools,
                        const json_t *extra, const hn_chat_encode_options *options, hn_buf *out) {
    const hn_tokenizer *tokenizer = g->ckpt->tokenizer;
    hn_buf bos = {0}, eos = {0};
    hn_status status = HN_OK;
    HN_GO(token_text(tokenizer, hn_tokenizer_bos(tokenizer), &bos, g->err));
    HN_GO(token_text(tokenizer, hn_tokenizer_eos(tokenizer), &eos, g->err));
    hn_chat_options chat = {.tools = tools,
                            .extra = extra,
                            .add_generation_prompt = options->add_generation_prompt,
                            .continue_final_message = options->continue_final_message,
                            .bos_token = hn_buf_text(&bos),
                            .eos_token = hn_buf_text(&eos),
                            .now = (int64_t)time(NULL)};
    HN_GO(hn_chat_render(g->ckpt->chat_template, messages, &chat, out, g->err));
done:
    hn_buf_done(&bos);
    hn_buf_done(&eos);
    return status;
}

/* The text as the template would have written it, without marks. */
static hn_status add_unmarked(const guard *g, const hn_buf *text, hn_buf *out) {
    const char *data = hn_buf_text(text);
    for (size_t i = 0; i < text->size;) {
        bool mark = text->size - i >= g->n_mark && !memcmp(data + i, g->mark, g->n_mark);
        if (!mark)
            hn_buf_putc(out, data[i]);
        i += mark ? g->n_mark : 1;
    }
    return hn_buf_check(out, g->err);
}

hn_status hn_chat_encode_with(const hn_checkpoint *ckpt, const json_t *messages,
                              const hn_chat_encode_options *options, hn_ids *ids, hn_error *err) {
    HN_TRY(hn_checkpoint_need_template(ckpt, err));
    guard g = {.ckpt = ckpt, .err = err};
    hn_status status = HN_OK;
    json_t *safe_messages = NULL, *safe_tools = NULL, *safe_extra = NULL;
    hn_buf text = {0};
    HN_GO(choose_mark(&g, messages, options->tools, options->extra));
    HN_GO(guard_json(&g, messages, &safe_messages));
    if (options->tools)
        HN_GO(guard_json(&g, options->tools, &safe_tools));
    if (options->extra)
        HN_GO(guard_json(&g, options->extra, &safe_extra));
    HN_GO(render(&g, safe_messages, safe_tools, safe_extra, options, &text));
    if (g.used)
        HN_GO(encode_marked(&g, hn_buf_text(&text), text.size, ids));
    else
        HN_GO(hn_encode(ckpt->tokenizer, hn_buf_text(&text), text.size, HN_ENCODE_PARSE_SPECIAL,
                        ids, err));
    if (options->text)
        HN_GO(add_unmarked(&g, &text, options->text));
done:
    json_decref(safe_messages);
    json_decref(safe_tools);
    json_decref(safe_extra);
    hn_buf_done(&text);
    return status;
}

hn_status hn_checkpoint_chat_encode(const hn_checkpoint *ckpt, const json_t *messages,
                                    const json_t *tools, bool add_generation_prompt, hn_ids *ids,
                                    hn_error *err) {
    const hn_chat_encode_options options = {.tools = tools,
                                            .add_generation_prompt = add_generation_prompt};
    return hn_chat_encode_with(ckpt, messages, &options, ids, err);
}

hn_status hn_chat_encode(const hn_model *model, const json_t *messages, const json_t *tools,
                         bool add_generation_prompt, hn_ids *ids, hn_error *err) {
    return hn_checkpoint_chat_encode(&model->ckpt, messages, tools, add_generation_prompt, ids,
                                     err);
}
