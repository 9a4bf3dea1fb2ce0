/* Runs the pre-tokeniser: each step cuts a piece of text into smaller ones and hands them to the
 * next step; behind the last one a piece is a word. Nothing is collected on the way. */
#define _GNU_SOURCE /* memmem */
#include "tokenizer/tk.h"

/* The pieces of one REGEX or LITERAL step, in order; one of them waits until it is known whether
 * the next belongs to it. */
typedef struct pieces {
    hn_tk_encoder *encoder;
    const hn_tk_step *step;
    int next_step;
    const char *text;
    bool first;
    bool waiting, waiting_match;
    size_t begin, end; /* of the waiting piece */
} pieces;

static hn_status flush(pieces *p) {
    if (!p->waiting)
        return HN_OK;
    p->waiting = false;
    if (p->begin == p->end)
        return HN_OK;
    return hn_tk_split(p->encoder, p->next_step, p->text + p->begin, p->end - p->begin,
                       p->first && p->begin == 0);
}

/* True when the piece that comes next is part of the one that waits. */
static bool joins(const pieces *p, bool match) {
    if (!p->waiting)
        return false;
    switch (p->step->behaviour) {
    case HN_TK_CONTIGUOUS:
        return p->waiting_match == match;
    case HN_TK_MERGED_WITH_PREVIOUS:
        return match && !p->waiting_match;
    case HN_TK_MERGED_WITH_NEXT:
        return !match && p->waiting_match;
    case HN_TK_ISOLATED:
    case HN_TK_REMOVED:
        break;
    }
    return false;
}

static hn_status add(pieces *p, size_t begin, size_t end, bool match) {
    if (p->step->invert)
        match = !match;
    if (joins(p, match)) {
        p->end = end;
        /* what follows a joined pair is a piece of its own again, except in a long run */
        p->waiting_match = match;
        return HN_OK;
    }
    HN_TRY(flush(p));
    if (match && p->step->behaviour == HN_TK_REMOVED)
        return HN_OK;
    p->waiting = true;
    p->waiting_match = match;
    p->begin = begin;
    p->end = end;
    return HN_OK;
}

static hn_status find_literal(const hn_tk_step *step, const char *text, size_t size, size_t from,
                              size_t *begin, size_t *end) {
    const char *hit =
        step->text.size ? memmem(text + from, size - from, step->text.data, step->text.size) : NULL;
    *begin = hit ? (size_t)(hit - text) : SIZE_MAX;
    *end = *begin + step->text.size;
    return HN_OK;
}

/* REGEX and LITERAL: matches and what lies between them, in order. */
static hn_status split_matches(pieces *p, hn_tk_regex_match *match, size_t size) {
    hn_tk_encoder *encoder = p->encoder;
    size_t done = 0, from = 0, last_end = SIZE_MAX;
    if (p->step->kind == HN_TK_STEP_REGEX && !match->data)
        HN_TRY(hn_tk_regex_match_new(p->step->regex, match, encoder->err));
    while (from <= size) {
        size_t begin, end;
        if (p->step->kind == HN_TK_STEP_REGEX)
            HN_TRY(hn_tk_regex_find(p->step->regex, match, p->text, size, from, &begin, &end,
                                    encoder->err));
        else
            HN_TRY(find_literal(p->step, p->text, size, from, &begin, &end));
        if (begin == SIZE_MAX)
            break;
        if (begin == end && end == last_end) { /* an empty match where the last one ended */
            if (from >= size)
                break;
            from += hn_tk_char_size((uint8_t)p->text[from]);
            last_end = SIZE_MAX;
            continue;
        }
        if (done != begin)
            HN_TRY(add(p, done, begin, false));
        HN_TRY(add(p, begin, end, true));
        done = from = last_end = end;
    }
    if (done != size)
        HN_TRY(add(p, done, size, false));
    return flush(p);
}

/* The known patterns cover every character, so their matches are the words. */
static hn_status split_scan(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                            bool first) {
    const hn_tokenizer *tk = encoder->tk;
    const hn_tk_step_kind kind = tk->steps[step].kind;
    const bool last = step + 1 == tk->n_steps;
    for (size_t i = 0, n; i < size; i += n) {
        n = kind == HN_TK_STEP_GPT2 ? hn_tk_scan_gpt2(tk->classes, text + i, size - i)
                                    : hn_tk_scan_llama3(tk->classes, text + i, size - i,
                                                        kind == HN_TK_STEP_LLAMA3 ? 3 : 1);
        if (last)
            HN_TRY(hn_tk_word(encoder, text + i, n));
        else
            HN_TRY(hn_tk_split(encoder, step + 1, text + i, n, first && i == 0));
    }
    return HN_OK;
}

static bool is_digit(const uint8_t *classes, const char *p, size_t *size) {
    uint8_t c = (uint8_t)*p;
    if (c < 0x80) {
        *size = 1;
        return (uint8_t)(c - '0') < 10;
    }
    return hn_tk_class_at(classes, (const uint8_t *)p, size) & HN_TK_DIGIT;
}

static hn_status split_digits(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                              bool first) {
    const hn_tokenizer *tk = encoder->tk;
    size_t n;
    for (size_t i = 0; i < size;) {
        size_t begin = i;
        bool digit = is_digit(tk->classes, text + i, &n);
        i += n;
        if (!digit || !tk->steps[step].individual)
            while (i < size && is_digit(tk->classes, text + i, &n) == digit)
                i += n;
        HN_TRY(hn_tk_split(encoder, step + 1, text + begin, i - begin, first && begin == 0));
    }
    return HN_OK;
}

static bool starts_with(const char *text, size_t size, hn_vocab_text what) {
    return size >= what.size && memcmp(text, what.data, what.size) == 0;
}

/* Cuts text before each `mark` that is no beginning; with `runs`, not between two marks. */
static hn_status split_before(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                              hn_vocab_text mark, bool runs, bool first) {
    size_t begin = 0;
    for (size_t from = 0;;) {
        const char *hit = memmem(text + from, size - from, mark.data, mark.size);
        if (!hit)
            break;
        size_t at = (size_t)(hit - text);
        bool inside_run = runs && at == from && at > 0;
        from = at + mark.size;
        if (at > begin && !inside_run) {
            HN_TRY(hn_tk_split(encoder, step + 1, text + begin, at - begin, first && begin == 0));
            begin = at;
        }
    }
    if (begin == size)
        return HN_OK;
    return hn_tk_split(encoder, step + 1, text + begin, size - begin, first && begin == 0);
}

static hn_status split_metaspace(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                                 bool first) {
    const hn_tk_step *s = &encoder->tk->steps[step];
    hn_buf *out = &encoder->texts[step];
    hn_buf_reset(out);
    bool begins = starts_with(text, size, s->text) || *text == ' ';
    if (!begins && (s->prepend == HN_TK_ALWAYS || (s->prepend == HN_TK_FIRST && first)))
        hn_buf_append(out, s->text.data, s->text.size);
    for (size_t i = 0, from = 0; i <= size; i++)
        if (i == size || text[i] == ' ') {
            hn_buf_append(out, text + from, i - from);
            if (i < size)
                hn_buf_append(out, s->text.data, s->text.size);
            from = i + 1;
        }
    HN_TRY(hn_buf_check(out, encoder->err));
    if (s->split)
        return split_before(encoder, step, out->data, out->size, s->text, false, first);
    return hn_tk_split(encoder, step + 1, out->data, out->size, first);
}

static hn_status split_prefix(hn_tk_encoder *encoder, int step, const char *text, size_t size,
                              bool first) {
    if (*text == ' ')
        return hn_tk_split(encoder, step + 1, text, size, first);
    hn_buf *out = &encoder->texts[step];
    hn_buf_reset(out);
    hn_buf_putc(out, ' ');
    hn_buf_append(out, text, size);
    HN_TRY(hn_buf_check(out, encoder->err));
    return hn_tk_split(encoder, step + 1, out->data, out->size, first);
}

hn_status hn_tk_split(hn_tk_encoder *encoder, int step, const char *text, size_t size, bool first) {
    const hn_tokenizer *tk = encoder->tk;
    if (size == 0)
        return HN_OK;
    if (step == tk->n_steps)
        return hn_tk_word(encoder, text, size);
    const hn_tk_step *s = &tk->steps[step];
    switch (s->kind) {
    case HN_TK_STEP_GPT2:
    case HN_TK_STEP_LLAMA3:
    case HN_TK_STEP_QWEN2:
        return split_scan(encoder, step, text, size, first);
    case HN_TK_STEP_DIGITS:
        return split_digits(encoder, step, text, size, first);
    case HN_TK_STEP_REGEX:
    case HN_TK_STEP_LITERAL: {
        pieces p = {
            .encoder = encoder, .step = s, .next_step = step + 1, .text = text, .first = first};
        return split_matches(&p, &encoder->matches[step], size);
    }
    case HN_TK_STEP_PREFIX:
        return split_prefix(encoder, step, text, size, first);
    case HN_TK_STEP_METASPACE:
        return split_metaspace(encoder, step, text, size, first);
    case HN_TK_STEP_WORD_STARTS:
        return split_before(encoder, step, text, size, s->text, true, first);
    }
    return HN_OK;
}
