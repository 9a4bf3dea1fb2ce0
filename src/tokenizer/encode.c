/* Text to ids: cut out the added tokens, normalise what lies between them, cut it into words, merge
 * each word. */
#include "tokenizer/tk.h"

#include <utf8proc.h>

void hn_ids_done(hn_ids *ids) {
    hn_free(ids->data);
    *ids = (hn_ids){0};
}

hn_status hn_ids_push(hn_ids *ids, int32_t id, hn_error *err) {
    if (ids->size == ids->capacity) {
        size_t wanted = ids->capacity ? ids->capacity * 2 : 64;
        int32_t *data = hn_reallocarray(ids->data, wanted, sizeof *data);
        if (!data)
            return hn_fail_no_memory(err, wanted * sizeof *data);
        ids->data = data;
        ids->capacity = wanted;
    }
    ids->data[ids->size++] = id;
    return HN_OK;
}

/* A letter, digit, mark or connector: what \w matches. */
static bool is_word_char(const char *p) {
    uint32_t c;
    hn_tk_char((const uint8_t *)p, &c);
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default:
        return false;
    }
}

/* The start of the character that ends before text[at]. */
static size_t char_before(const char *text, size_t at) {
    do
        at--;
    while (((uint8_t)text[at] & 0xc0) == 0x80);
    return at;
}

static bool is_space_at(const hn_tokenizer *tk, const char *p, size_t *size) {
    return (hn_tk_class_at(tk->classes, (const uint8_t *)p, size) & HN_TK_KIND) == HN_TK_SPACE;
}

/* Widens a match over the white space that lstrip and rstrip take with it. */
static void widen(const hn_tokenizer *tk, const hn_tk_added *token, hn_vocab_text text, size_t done,
                  size_t *begin, size_t *end) {
    size_t n;
    while (token->lstrip && *begin > done) {
        size_t before = char_before(text.data, *begin);
        if (!is_space_at(tk, text.data + before, &n))
            break;
        *begin = before;
    }
    while (token->rstrip && *end < text.size && is_space_at(tk, text.data + *end, &n))
        *end += n;
}

static bool applies(const hn_tk_encoder *encoder, const hn_tk_added *token, hn_vocab_text text,
                    size_t begin, size_t end) {
    if (token->special && !(encoder->flags & HN_ENCODE_PARSE_SPECIAL))
        return false;
    if (!token->single_word)
        return true;
    return (begin == 0 || !is_word_char(text.data + char_before(text.data, begin))) &&
           (end == text.size || !is_word_char(text.data + end));
}

typedef hn_status between_fn(hn_tk_encoder *encoder, hn_vocab_text text, bool first,
                             hn_buf scratch[2]);

/* Ids of the matcher's tokens in text; what lies between them goes to `between`. */
static hn_status cut_added(hn_tk_encoder *encoder, const hn_tk_matcher *matcher, hn_vocab_text text,
                           bool first, hn_buf scratch[2], between_fn *between) {
    size_t done = 0, from = 0, begin;
    const hn_tk_added *token;
    while ((token = hn_tk_matcher_find(matcher, text.data, text.size, from, &begin))) {
        size_t end = from = begin + token->text.size;
        if (!applies(encoder, token, text, begin, end))
            continue;
        widen(encoder->tk, token, text, done, &begin, &end);
        if (begin > done)
            HN_TRY(between(encoder, (hn_vocab_text){text.data + done, begin - done},
                           first && done == 0, scratch));
        HN_TRY(hn_ids_push(encoder->out, token->id, encoder->err));
        done = end;
    }
    if (done < text.size)
        HN_TRY(between(encoder, (hn_vocab_text){text.data + done, text.size - done},
                       first && done == 0, scratch));
    return HN_OK;
}

static hn_status encode_words(hn_tk_encoder *encoder, hn_vocab_text text, bool first,
                              hn_buf scratch[2]) {
    (void)scratch;
    return hn_tk_split(encoder, 0, text.data, text.size, first);
}

static hn_status encode_text(hn_tk_encoder *encoder, hn_vocab_text text, bool first,
                             hn_buf scratch[2]) {
    hn_vocab_text normal;
    HN_TRY(hn_tk_normalise(encoder->tk, text, scratch, &normal, encoder->err));
    return cut_added(encoder, &encoder->tk->normalized, normal, first, scratch, encode_words);
}

static hn_status push_all(hn_tk_encoder *encoder, const int32_t *ids, int n) {
    if (encoder->flags & HN_ENCODE_ADD_SPECIAL)
        for (int i = 0; i < n; i++)
            HN_TRY(hn_ids_push(encoder->out, ids[i], encoder->err));
    return HN_OK;
}

hn_status hn_encode(const hn_tokenizer *tk, const char *text, size_t n_bytes, int flags,
                    hn_ids *ids, hn_error *err) {
    size_t bad = hn_tk_utf8_check(text, n_bytes);
    if (bad < n_bytes)
        return hn_fail(err, HN_BAD_INPUT,
                       "the text is not UTF-8: byte %zu is 0x%02x; convert it to UTF-8", bad,
                       (uint8_t)text[bad]);
    const size_t size_before = ids->size;
    hn_tk_encoder encoder = {
        .tk = tk, .out = ids, .flags = flags, .err = err, .text_size = n_bytes};
    hn_buf scratch[2] = {{.max = SIZE_MAX}, {.max = SIZE_MAX}};
    hn_status status;
    HN_GO(push_all(&encoder, tk->before, tk->n_before));
    HN_GO(
        cut_added(&encoder, &tk->raw, (hn_vocab_text){text, n_bytes}, true, scratch, encode_text));
    HN_GO(push_all(&encoder, tk->after, tk->n_after));
done:
    if (status != HN_OK)
        ids->size = size_before;
    hn_tk_encoder_done(&encoder);
    for (int i = 0; i < 2; i++)
        hn_buf_done(&scratch[i]);
    for (int i = 0; i < HN_TK_MAX_STEPS; i++) {
        hn_tk_regex_match_done(&encoder.matches[i]);
        hn_buf_done(&encoder.texts[i]);
    }
    return status;
}
