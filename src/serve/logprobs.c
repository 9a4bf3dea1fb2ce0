#include "serve/logprobs.h"

#include "base/text.h"
#include "serve/json_text.h"

#include <string.h>

/* Completions' lists. */
enum { TOKENS, LOGPROBS, TOP, OFFSETS };

static void put_token(const hn_tokenizer *tokenizer, int32_t id, hn_buf *out) {
    const char *data;
    size_t n;
    hn_token_bytes(tokenizer, id, true, &data, &n);
    hn_json_put_string(out, data, n);
}

/* {"token", "logprob", "bytes" without the closing brace */
static void put_entry(const hn_tokenizer *tokenizer, int32_t id, float logprob, hn_buf *out) {
    const char *data;
    size_t n;
    hn_token_bytes(tokenizer, id, true, &data, &n);
    hn_json_put_comma(out);
    hn_buf_puts(out, "{\"token\":");
    hn_json_put_string(out, data, n);
    hn_json_put_key(out, "logprob");
    hn_json_put_real(out, (double)logprob);
    hn_json_put_key(out, "bytes");
    hn_buf_putc(out, '[');
    for (size_t i = 0; i < n; i++)
        hn_buf_printf(out, i ? ",%u" : "%u", (unsigned)(unsigned char)data[i]);
    hn_buf_putc(out, ']');
}

static void add_chat(hn_logprobs *lp, const hn_tokenizer *tokenizer, const hn_piece_token *t,
                     int n_top) {
    hn_buf *out = &lp->lists[0];
    put_entry(tokenizer, t->id, t->logprob, out);
    hn_buf_puts(out, ",\"top_logprobs\":[");
    for (int i = 0; i < t->n_top && i < n_top; i++) {
        put_entry(tokenizer, t->top[i].id, t->top[i].logprob, out);
        hn_buf_putc(out, '}');
    }
    hn_buf_puts(out, "]}");
}

/* Two tokens may have the same text (bytes that are no character): a key stands once, with the
 * likelier one's value. */
static bool said_before(const hn_tokenizer *tokenizer, const hn_piece_token *t, int i) {
    const char *text, *other;
    size_t n, n_other;
    hn_token_bytes(tokenizer, t->top[i].id, true, &text, &n);
    bool whole = hn_utf8_valid(text, n);
    for (int j = 0; j < i; j++) {
        hn_token_bytes(tokenizer, t->top[j].id, true, &other, &n_other);
        if (!whole && !hn_utf8_valid(other, n_other))
            return true;
        if (n == n_other && memcmp(text, other, n) == 0)
            return true;
    }
    return false;
}

static void put_top(const hn_tokenizer *tokenizer, const hn_piece_token *t, int n_top,
                    hn_buf *out) {
    bool has_token = false;
    hn_buf_putc(out, '{');
    for (int i = 0; i < t->n_top && i < n_top; i++) {
        has_token |= t->top[i].id == t->id;
        if (said_before(tokenizer, t, i))
            continue;
        hn_json_put_comma(out);
        put_token(tokenizer, t->top[i].id, out);
        hn_buf_putc(out, ':');
        hn_json_put_real(out, (double)t->top[i].logprob);
    }
    if (!has_token) { /* the drawn one is always there */
        hn_json_put_comma(out);
        put_token(tokenizer, t->id, out);
        hn_buf_putc(out, ':');
        hn_json_put_real(out, (double)t->logprob);
    }
    hn_buf_putc(out, '}');
}

/* Characters, each byte that belongs to none counting as one. */
static size_t count_chars(const char *text, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; count++) {
        uint32_t code;
        size_t step = hn_utf8_decode(text + i, n - i, &code);
        i += step ? step : 1;
    }
    return count;
}

static void add_completion(hn_logprobs *lp, const hn_tokenizer *tokenizer, const hn_piece_token *t,
                           int n_top) {
    const char *text;
    size_t n;
    for (int i = 0; i < HN_LOGPROB_LISTS; i++)
        if (lp->lists[i].size)
            hn_buf_putc(&lp->lists[i], ',');
    put_token(tokenizer, t->id, &lp->lists[TOKENS]);
    hn_json_put_real(&lp->lists[LOGPROBS], (double)t->logprob);
    if (t->logprob == t->logprob)
        put_top(tokenizer, t, n_top, &lp->lists[TOP]);
    else /* the first token of a prompt has no probability */
        hn_buf_puts(&lp->lists[TOP], "null");
    hn_json_put_int(&lp->lists[OFFSETS], (int64_t)lp->n_chars);
    hn_token_bytes(tokenizer, t->id, true, &text, &n);
    lp->n_chars += count_chars(text, n);
}

void hn_logprobs_add(hn_logprobs *lp, bool chat, const hn_tokenizer *tokenizer,
                     const hn_piece_token *token, int n_top) {
    (chat ? add_chat : add_completion)(lp, tokenizer, token, n_top);
}

bool hn_logprobs_failed(const hn_logprobs *lp) {
    for (int i = 0; i < HN_LOGPROB_LISTS; i++)
        if (lp->lists[i].failed)
            return true;
    return false;
}

bool hn_logprobs_take(hn_logprobs *lp, bool chat, hn_buf *out) {
    static const char *const NAMES[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    if (!lp->lists[0].size)
        return false;
    hn_buf_putc(out, '{');
    for (int i = 0; i < (chat ? 1 : HN_LOGPROB_LISTS); i++) {
        hn_json_put_key(out, chat ? "content" : NAMES[i]);
        hn_buf_putc(out, '[');
        hn_buf_append(out, lp->lists[i].data, lp->lists[i].size);
        hn_buf_putc(out, ']');
        hn_buf_reset(&lp->lists[i]);
    }
    if (chat)
        hn_buf_puts(out, ",\"refusal\":null");
    hn_buf_putc(out, '}');
    return true;
}

void hn_logprobs_done(hn_logprobs *lp) {
    for (int i = 0; i < HN_LOGPROB_LISTS; i++)
        hn_buf_done(&lp->lists[i]);
}
