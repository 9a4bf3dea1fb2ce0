/* An answer taken apart. Each state looks at what has come and either consumes some of it or waits;
 * every decision falls at a byte that doesn't depend on how the text was cut. Work is linear in the
 * text: what is rejected as a call is content and isn't looked at again. */
#define _GNU_SOURCE /* memmem */
#include "serve/tool_calls.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>

typedef hn_answer_parser parser;

enum { MAX_BLANKS = 64 }; /* before a tag at the very beginning */
static const char THINK[] = "<think>", THINK_END[] = "</think>", CALL_END[] = "</tool_call>";

static bool is_mistral(const parser *p) {
    return p->options.format == HN_TOOLS_MISTRAL || p->options.format == HN_TOOLS_MISTRAL_ARGS;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* ---- out ---- */

static void emit(parser *p, hn_delta_kind kind, const char *text, size_t n) {
    if (n || kind == HN_DELTA_CALL)
        p->options.emit(p->options.context,
                        &(hn_delta){.kind = kind,
                                    .call = p->n_calls - 1,
                                    .id = kind == HN_DELTA_CALL ? p->id : NULL,
                                    .name = kind == HN_DELTA_CALL ? p->object.tool->name : NULL,
                                    .text = text,
                                    .n_bytes = n});
}

/* Text of content or thought. Blanks at its end wait for what comes. */
static void put(parser *p, hn_delta_kind kind, const char *text, size_t n) {
    size_t lead = 0, end = n;
    while (p->skip_blanks && lead < n && is_blank(text[lead]))
        lead++;
    if (lead == n)
        return;
    p->skip_blanks = false;
    if (kind == HN_DELTA_REASONING || p->options.format != HN_TOOLS_NONE)
        while (end > lead && is_blank(text[end - 1]))
            end--;
    if (end > lead) {
        emit(p, kind, p->blanks.data, p->blanks.size);
        hn_buf_reset(&p->blanks);
        emit(p, kind, text + lead, end - lead);
    }
    hn_buf_append(&p->blanks, text + end, n - end);
}

/* A text has ended, another begins. */
static void turn(parser *p, hn_answer_state state) {
    hn_buf_reset(&p->blanks);
    p->skip_blanks = true;
    p->state = state;
}

static void new_id(parser *p) {
    static const char LETTERS[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    enum { MISTRAL = 9, OTHERS = 24 }; /* Mistral's templates refuse any other length */
    const bool mistral = is_mistral(p);
    size_t n = (size_t)snprintf(p->id, sizeof p->id, "%s", mistral ? "" : "call_");
    size_t end = n + (mistral ? MISTRAL : OTHERS);
    while (n < end)
        p->id[n++] = LETTERS[hn_rng_below(&p->rng, sizeof LETTERS - 1)];
    p->id[n] = '\0';
}

/* Passes on what the object knows by now. */
static void announce(parser *p) {
    hn_call_object *o = &p->object;
    if (!o->tool || !o->has_arguments)
        return;
    if (!p->announced) {
        p->announced = true;
        p->n_calls++;
        new_id(p);
        hn_buf_reset(&p->held);
        hn_buf_reset(&p->blanks);
        emit(p, HN_DELTA_CALL, "", 0);
    }
    size_t whole = p->n_sent + hn_utf8_complete_prefix(hn_buf_text(&o->arguments) + p->n_sent,
                                                       o->arguments.size - p->n_sent);
    emit(p, HN_DELTA_ARGUMENTS, hn_buf_text(&o->arguments) + p->n_sent, whole - p->n_sent);
    p->n_sent = whole;
}

/* It was no call after all. */
static void reject(parser *p) {
    p->state = HN_ANSWER_CONTENT;
    p->array = false;
    put(p, HN_DELTA_CONTENT, hn_buf_text(&p->held), p->held.size);
    hn_buf_reset(&p->held);
}

/* ---- in ---- */

static const char *left(const parser *p, size_t *n) {
    *n = p->in.size - p->at;
    return hn_buf_text(&p->in) + p->at;
}

typedef enum match { MATCH_NO, MATCH_YES, MATCH_MAYBE } match;

/* Does text begin with the tag; MAYBE when it is too short to tell. */
static match begins(const char *text, size_t n, const char *tag) {
    size_t n_tag = strlen(tag), common = n < n_tag ? n : n_tag;
    if (memcmp(text, tag, common) != 0)
        return MATCH_NO;
    return n >= n_tag ? MATCH_YES : MATCH_MAYBE;
}

/* Where the tag stands, or where it may begin once more has come; n when neither. */
static size_t find(const char *text, size_t n, const char *tag, bool *found) {
    size_t n_tag = strlen(tag);
    const char *hit = n >= n_tag ? memmem(text, n, tag, n_tag) : NULL;
    *found = hit != NULL;
    if (hit)
        return (size_t)(hit - text);
    for (size_t i = n >= n_tag ? n - n_tag + 1 : 0; i < n; i++)
        if (memcmp(text + i, tag, n - i) == 0)
            return i;
    return n;
}

static void open_call(parser *p, const char *tag) {
    hn_buf_reset(&p->held);
    hn_buf_puts(&p->held, tag);
    p->array = false;
    p->state = HN_ANSWER_OPEN;
}

/* Each step returns false when it can't go on before more has come. */

static bool step_start(parser *p) {
    size_t n, blanks = 0;
    const char *text = left(p, &n);
    while (blanks < n && blanks < MAX_BLANKS && is_blank(text[blanks]))
        blanks++;
    match m = blanks < MAX_BLANKS ? begins(text + blanks, n - blanks, THINK) : MATCH_NO;
    if (m == MATCH_MAYBE)
        return false;
    if (m == MATCH_YES) {
        p->at += blanks + strlen(THINK);
        turn(p, HN_ANSWER_THOUGHT);
    } else {
        p->state = HN_ANSWER_BEGIN;
    }
    return true;
}

static bool step_thought(parser *p) {
    size_t n;
    const char *text = left(p, &n);
    bool found;
    size_t end = find(text, n, THINK_END, &found);
    end = found ? end : hn_utf8_complete_prefix(text, end);
    put(p, HN_DELTA_REASONING, text, end);
    p->at += end;
    if (found) {
        p->at += strlen(THINK_END);
        turn(p, HN_ANSWER_BEGIN);
    }
    return found;
}

static bool step_begin(parser *p) {
    size_t n, blanks = 0;
    const char *text = left(p, &n);
    if (p->options.format == HN_TOOLS_LLAMA3) {
        while (blanks < n && blanks < MAX_BLANKS && is_blank(text[blanks]))
            blanks++;
        if (blanks == n && blanks < MAX_BLANKS)
            return false;
        if (text[blanks] == '{') {
            open_call(p, "");
            return true;
        }
    }
    p->state = HN_ANSWER_CONTENT;
    return true;
}

static bool step_content(parser *p) {
    size_t n;
    const char *text = left(p, &n), *tag = hn_tool_tag(p->options.format);
    bool found = false;
    size_t end = tag ? find(text, n, tag, &found) : n;
    end = found ? end : hn_utf8_complete_prefix(text, end);
    put(p, HN_DELTA_CONTENT, text, end);
    p->at += end;
    if (found) {
        p->at += strlen(tag);
        open_call(p, tag);
    }
    return found;
}

static void begin_call(parser *p, hn_answer_state state) {
    hn_call_object_reset(&p->object);
    p->announced = false;
    p->n_sent = 0;
    p->state = state;
}

static bool step_open(parser *p) {
    size_t n;
    const char *text = left(p, &n);
    if (!n)
        return false;
    bool opens = *text == '[' && !p->array && p->options.format != HN_TOOLS_LLAMA3;
    if (opens || is_blank(*text)) {
        p->array |= opens;
        hn_buf_putc(&p->held, *text);
        p->at++;
        return true;
    }
    begin_call(p, is_mistral(p) && !p->array && *text != '{' ? HN_ANSWER_NAME : HN_ANSWER_CALL);
    return true;
}

static bool step_name(parser *p) {
    size_t n, used;
    const char *text = left(p, &n);
    const hn_call_progress progress = hn_call_object_head(&p->object, text, n, &used);
    if (progress == HN_CALL_NONE) {
        reject(p);
    } else if (progress == HN_CALL_DONE) {
        hn_buf_append(&p->held, text, used);
        p->at += used;
        p->state = HN_ANSWER_CALL;
    }
    return progress != HN_CALL_MORE;
}

static bool step_call(parser *p) {
    size_t n, used;
    const char *text = left(p, &n);
    hn_call_progress progress = hn_call_object_push(&p->object, text, n, &used);
    hn_buf_append(&p->held, text, used);
    p->at += used;
    announce(p);
    if (progress == HN_CALL_NONE)
        reject(p);
    else if (progress == HN_CALL_DONE)
        p->state = p->options.one_call ? HN_ANSWER_OVER : HN_ANSWER_BETWEEN;
    return progress != HN_CALL_MORE;
}

static bool step_between(parser *p) {
    hn_tool_format format = p->options.format;
    size_t n;
    const char *text = left(p, &n);
    if (!n)
        return false;
    bool separates = p->array ? *text == ',' : format == HN_TOOLS_LLAMA3 && *text == ';';
    if (is_blank(*text) || (p->array && *text == ']')) {
        p->array &= *text != ']';
        p->at++;
    } else if (separates || (*text == '{' && !p->array)) {
        p->at += separates;
        hn_buf_reset(&p->held);
        p->state = HN_ANSWER_OPEN;
    } else {
        match m = format == HN_TOOLS_HERMES ? begins(text, n, CALL_END) : MATCH_NO;
        if (m == MATCH_MAYBE)
            return false;
        p->at += m == MATCH_YES ? strlen(CALL_END) : 0;
        turn(p, HN_ANSWER_CONTENT);
    }
    return true;
}

static bool step(parser *p) {
    switch (p->state) {
    case HN_ANSWER_START:
        return step_start(p);
    case HN_ANSWER_THOUGHT:
        return step_thought(p);
    case HN_ANSWER_BEGIN:
        return step_begin(p);
    case HN_ANSWER_CONTENT:
        return step_content(p);
    case HN_ANSWER_OPEN:
        return step_open(p);
    case HN_ANSWER_NAME:
        return step_name(p);
    case HN_ANSWER_CALL:
        return step_call(p);
    case HN_ANSWER_BETWEEN:
        return step_between(p);
    default: /* HN_ANSWER_OVER */
        p->at = p->in.size;
        return false;
    }
}

/* ---- the way in ---- */

void hn_answer_parser_init(parser *p, const hn_answer_options *options) {
    *p = (parser){.options = *options, .rng = hn_rng_new(options->seed, 0)};
    p->object = (hn_call_object){.tools = options->tools,
                                 .n_tools = options->n_tools,
                                 .needs_arguments = options->format == HN_TOOLS_LLAMA3};
    if (options->in_call)
        p->state = HN_ANSWER_OPEN;
    else if (options->goes_on)
        p->state = HN_ANSWER_CONTENT;
    else if (options->keep_thought)
        p->state = HN_ANSWER_BEGIN;
    else if (options->in_thought)
        turn(p, HN_ANSWER_THOUGHT);
}

void hn_answer_parser_done(parser *p) {
    hn_buf_done(&p->in);
    hn_buf_done(&p->held);
    hn_buf_done(&p->blanks);
    hn_call_object_done(&p->object);
}

bool hn_answer_parser_reads(const parser *p, const char *tag, size_t n) {
    const hn_tool_format format = p->options.format;
    const char *const tags[] = {THINK,
                                THINK_END,
                                hn_tool_tag(format),
                                format == HN_TOOLS_HERMES ? CALL_END : NULL,
                                is_mistral(p) ? HN_CALL_ID_TAG : NULL,
                                is_mistral(p) ? HN_CALL_ARGUMENTS_TAG : NULL};
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (tags[i] && strlen(tags[i]) == n && memcmp(tags[i], tag, n) == 0)
            return true;
    return false;
}

static hn_status check(const parser *p, hn_error *err) {
    HN_TRY(hn_buf_check(&p->in, err));
    HN_TRY(hn_buf_check(&p->held, err));
    HN_TRY(hn_buf_check(&p->blanks, err));
    HN_TRY(hn_buf_check(&p->object.word, err));
    return hn_buf_check(&p->object.arguments, err);
}

hn_status hn_answer_parser_push(parser *p, const char *text, size_t n, hn_error *err) {
    hn_buf_append(&p->in, text, n);
    while (step(p))
        ;
    size_t rest = p->in.size - p->at;
    if (p->at && p->in.data) {
        memmove(p->in.data, p->in.data + p->at, rest);
        p->in.size = rest;
        p->in.data[rest] = '\0';
        p->at = 0;
    }
    return check(p, err);
}

/* What waited for more has its meaning now. */
hn_status hn_answer_parser_finish(parser *p, hn_error *err) {
    size_t n;
    const char *text = left(p, &n);
    hn_delta_kind kind = p->state == HN_ANSWER_THOUGHT ? HN_DELTA_REASONING : HN_DELTA_CONTENT;
    const bool in_call =
        p->state == HN_ANSWER_OPEN || p->state == HN_ANSWER_NAME || p->state == HN_ANSWER_CALL;
    if (in_call && p->announced && p->state == HN_ANSWER_CALL) {
        hn_call_object *o = &p->object;
        emit(p, HN_DELTA_ARGUMENTS, hn_buf_text(&o->arguments) + p->n_sent,
             o->arguments.size - p->n_sent);
    } else if (in_call && p->options.is_held) {
        hn_buf_reset(&p->blanks); /* too little of a call to be passed on, and no text */
        p->state = HN_ANSWER_OVER;
    } else if (in_call) {
        reject(p);
    }
    if (p->state != HN_ANSWER_BETWEEN && p->state != HN_ANSWER_OVER)
        put(p, kind, text, n);
    if (kind == HN_DELTA_CONTENT && !p->skip_blanks && p->n_calls == 0)
        emit(p, kind, p->blanks.data, p->blanks.size);
    p->at = p->in.size;
    p->state = HN_ANSWER_OVER;
    return check(p, err);
}

bool hn_answer_parser_is_over(const parser *p) {
    return p->state == HN_ANSWER_OVER;
}
