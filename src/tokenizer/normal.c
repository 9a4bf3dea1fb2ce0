/* Normalisers. NFC runs only where the text needs it: a stretch that holds a character which NFC
 * may touch, from the starter before it to the next character that it leaves alone. */
#define _GNU_SOURCE /* memmem */
#include "tokenizer/tk.h"

#include <stdlib.h>
#include <utf8proc.h>

static hn_status append_form(const char *text, size_t size, int options, hn_buf *out,
                             hn_error *err) {
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size,
                                      &mapped, (utf8proc_option_t)options);
    if (n < 0) {
        free(mapped);
        return hn_fail(err, n == UTF8PROC_ERROR_NOMEM ? HN_NO_MEMORY : HN_FAILED,
                       "normalising text: %s", utf8proc_errmsg(n));
    }
    hn_buf_append(out, mapped, (size_t)n);
    free(mapped);
    return hn_buf_check(out, err);
}

/* The first character at or after i that NFC may touch, and in *start the last one before it that
 * it leaves alone (or i); `size` when there is none. */
static size_t find_touched(const uint8_t *classes, const char *text, size_t i, size_t size,
                           size_t *start) {
    *start = i;
    while (i < size) {
        if ((uint8_t)text[i] < 0xc3) { /* below U+00C0: neither moved nor changed */
            *start = i;
            i += (uint8_t)text[i] < 0x80 ? 1 : 2;
            continue;
        }
        size_t n;
        if (hn_tk_class_at(classes, (const uint8_t *)text + i, &n) & HN_TK_NFC)
            return i;
        *start = i;
        i += n;
    }
    return size;
}

/* True for a mark of newer Unicode than the one that the class table follows: there it is a
 * character of its own that nothing joins, so utf8proc must not see it. */
static bool is_newer_mark(const char *p) {
    uint32_t c;
    hn_tk_char((const uint8_t *)p, &c);
    return utf8proc_get_property((utf8proc_int32_t)c)->combining_class != 0;
}

static hn_status normalise_nfc(const hn_tokenizer *tk, hn_vocab_text *text, hn_buf *out,
                               hn_error *err) {
    size_t start, at = find_touched(tk->classes, text->data, 0, text->size, &start), done = 0;
    if (at == text->size)
        return HN_OK;
    while (at < text->size) {
        size_t end = at, n;
        while (end < text->size &&
               hn_tk_class_at(tk->classes, (const uint8_t *)text->data + end, &n) & HN_TK_NFC)
            end += n;
        if (start < at && is_newer_mark(text->data + start))
            start = at;
        hn_buf_append(out, text->data + done, start - done);
        HN_TRY(append_form(text->data + start, end - start, UTF8PROC_COMPOSE | UTF8PROC_STABLE, out,
                           err));
        done = end;
        at = find_touched(tk->classes, text->data, end, text->size, &start);
    }
    hn_buf_append(out, text->data + done, text->size - done);
    HN_TRY(hn_buf_check(out, err));
    *text = (hn_vocab_text){out->data, out->size};
    return HN_OK;
}

/* Characters with a decomposition that came with Unicode 12 to 16: the `tokenizers` package, whose
 * tables here are older, leaves them as they are. (Found by asking it for every character.) */
static bool is_left_alone(uint32_t c) {
    static const uint32_t RANGES[][2] = {{0x32ff, 0x32ff},   {0xa7f2, 0xa7f4},   {0xab69, 0xab69},
                                         {0x105c9, 0x105c9}, {0x105e4, 0x105e4}, {0x10781, 0x10785},
                                         {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x11383, 0x11391},
                                         {0x113c5, 0x113c8}, {0x11938, 0x11938}, {0x16121, 0x16128},
                                         {0x16d68, 0x16d6a}, {0x1ccd6, 0x1ccf9}, {0x1e030, 0x1e06d},
                                         {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9}};
    for (size_t i = 0; i < sizeof RANGES / sizeof *RANGES; i++)
        if (c >= RANGES[i][0] && c <= RANGES[i][1])
            return true;
    return false;
}

static hn_status normalise_form(hn_tk_norm_kind kind, hn_vocab_text *text, hn_buf *out,
                                hn_error *err) {
    int options = UTF8PROC_STABLE;
    options |= kind == HN_TK_NORM_NFKC ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (kind != HN_TK_NORM_NFD)
        options |= UTF8PROC_COMPAT;
    for (size_t from = 0, at = 0, n; from < text->size; from = at) {
        uint32_t c = 0;
        for (; at < text->size; at += n) {
            n = hn_tk_char((const uint8_t *)text->data + at, &c);
            if (is_left_alone(c))
                break;
        }
        if (at > from)
            HN_TRY(append_form(text->data + from, at - from, options, out, err));
        if (at < text->size) {
            hn_buf_append(out, text->data + at, n);
            at += n;
        }
    }
    HN_TRY(hn_buf_check(out, err));
    *text = (hn_vocab_text){hn_buf_text(out), out->size};
    return HN_OK;
}

static hn_status replace_literal(const hn_tk_norm *norm, hn_vocab_text *text, hn_buf *out) {
    const char *p = text->data, *end = p + text->size, *hit;
    while ((hit = memmem(p, (size_t)(end - p), norm->text.data, norm->text.size))) {
        hn_buf_append(out, p, (size_t)(hit - p));
        hn_buf_append(out, norm->content.data, norm->content.size);
        p = hit + norm->text.size;
    }
    hn_buf_append(out, p, (size_t)(end - p));
    return HN_OK;
}

static hn_status replace_regex(const hn_tk_norm *norm, hn_vocab_text *text, hn_buf *out,
                               hn_error *err) {
    hn_tk_regex_match match;
    HN_TRY(hn_tk_regex_match_new(norm->regex, &match, err));
    size_t done = 0, from = 0, begin, end;
    hn_status status = HN_OK;
    while (from <= text->size) {
        HN_GO(
            hn_tk_regex_find(norm->regex, &match, text->data, text->size, from, &begin, &end, err));
        if (begin == SIZE_MAX)
            break;
        hn_buf_append(out, text->data + done, begin - done);
        hn_buf_append(out, norm->content.data, norm->content.size);
        done = end;
        from = end > begin        ? end
               : end < text->size ? end + hn_tk_char_size((uint8_t)text->data[end])
                                  : text->size + 1;
    }
    hn_buf_append(out, text->data + done, text->size - done);
done:
    hn_tk_regex_match_done(&match);
    return status;
}

static hn_status apply(const hn_tokenizer *tk, const hn_tk_norm *norm, hn_vocab_text *text,
                       hn_buf *out, hn_error *err) {
    switch (norm->kind) {
    case HN_TK_NORM_NFC:
        return normalise_nfc(tk, text, out, err);
    case HN_TK_NORM_NFD:
    case HN_TK_NORM_NFKC:
    case HN_TK_NORM_NFKD:
        return normalise_form(norm->kind, text, out, err);
    case HN_TK_NORM_PREPEND:
        if (text->size == 0)
            return HN_OK;
        hn_buf_append(out, norm->text.data, norm->text.size);
        hn_buf_append(out, text->data, text->size);
        break;
    case HN_TK_NORM_REPLACE:
        if (norm->regex)
            HN_TRY(replace_regex(norm, text, out, err));
        else
            HN_TRY(replace_literal(norm, text, out));
        break;
    }
    HN_TRY(hn_buf_check(out, err));
    *text = (hn_vocab_text){hn_buf_text(out), out->size};
    return HN_OK;
}

hn_status hn_tk_normalise(const hn_tokenizer *tk, hn_vocab_text text, hn_buf scratch[2],
                          hn_vocab_text *out, hn_error *err) {
    for (int i = 0; i < tk->n_norms; i++) {
        hn_buf *free_one = text.data == scratch[0].data ? &scratch[1] : &scratch[0];
        hn_buf_reset(free_one);
        HN_TRY(apply(tk, &tk->norms[i], &text, free_one, err));
    }
    *out = text;
    return HN_OK;
}
