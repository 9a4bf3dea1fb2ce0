/* Ids to text, whole or as they come. Bytes that can't become a character turn into U+FFFD, one for
 * each part that began like a character, as Rust's from_utf8_lossy does. */
#include "tokenizer/tk.h"

#include "base/text.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd";
static const char META[] = "\xe2\x96\x81";
enum { META_BYTES = 3 };

void hn_token_bytes(const hn_tokenizer *tk, int32_t id, bool special, const char **data,
                    size_t *n_bytes) {
    *data = "";
    *n_bytes = 0;
    if (id < 0 || (uint32_t)id >= tk->n_tokens || (!special && hn_tokenizer_is_control(tk, id)))
        return;
    *data = tk->bytes[id].data ? tk->bytes[id].data : "";
    *n_bytes = tk->bytes[id].size;
}

/* How many bytes at p form the longest beginning of a valid character; *complete when it is one. */
static size_t char_prefix(const uint8_t *p, size_t n, bool *complete) {
    uint8_t lead = p[0];
    size_t size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    *complete = false;
    if (size == 0 || lead > 0xf4)
        return 1;
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    size_t i = 1;
    for (; i < size && i < n; i++) {
        if (p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf))
            return i;
    }
    *complete = i == size;
    return i;
}

/* Appends text with bad parts replaced; returns how many bytes at the end may still become a
 * character. */
static size_t append_lossy(hn_buf *out, const char *text, size_t size) {
    const uint8_t *p = (const uint8_t *)text;
    size_t from = 0, i = 0;
    while (i < size) {
        bool complete;
        size_t n = p[i] < 0x80 ? 1 : char_prefix(p + i, size - i, &complete);
        if (p[i] < 0x80 || complete) {
            i += n;
            continue;
        }
        hn_buf_append(out, text + from, i - from);
        bool may_continue = i + n == size && p[i] >= 0xc2 && p[i] <= 0xf4;
        if (may_continue)
            return n;
        hn_buf_puts(out, REPLACEMENT);
        i += n;
        from = i;
    }
    hn_buf_append(out, text + from, size - from);
    return 0;
}

void hn_decoder_init(hn_decoder *decoder, const hn_tokenizer *tokenizer, bool special) {
    *decoder = (hn_decoder){.tokenizer = tokenizer, .special = special};
}

/* The first token of a text loses its spaces (all of them with Metaspace, else one). */
static void push_first(hn_decoder *decoder, int32_t id, hn_buf *text) {
    const hn_tokenizer *tk = decoder->tokenizer;
    const hn_vocab_text token = tk->texts[id], bytes = tk->bytes[id];
    decoder->started = true;
    if (tk->strip_first_meta && hn_tk_byte_token(token) < 0) {
        for (size_t i = 0, n; i < token.size; i += n) {
            n = hn_tk_char_size((uint8_t)token.data[i]);
            n = n < token.size - i ? n : token.size - i;
            if (!(n == META_BYTES && memcmp(token.data + i, META, META_BYTES) == 0))
                hn_buf_append(text, token.data + i, n);
        }
        return;
    }
    size_t skip = tk->strip_first_space && bytes.data[0] == ' ';
    hn_buf_append(text, bytes.data + skip, bytes.size - skip);
}

/* Appends what the token adds to the text, not looking for characters. */
static void push_bytes(hn_decoder *decoder, int32_t id, hn_buf *text) {
    const char *data;
    size_t size;
    hn_token_bytes(decoder->tokenizer, id, decoder->special, &data, &size);
    if (size == 0)
        return;
    if (!decoder->started) {
        push_first(decoder, id, text);
        return;
    }
    if (decoder->tokenizer->join_with_space)
        hn_buf_putc(text, ' ');
    hn_buf_append(text, data, size);
}

hn_status hn_decoder_push(hn_decoder *decoder, int32_t id, hn_buf *out, hn_error *err) {
    hn_buf text = {0};
    hn_buf_append(&text, decoder->held, decoder->n_held);
    push_bytes(decoder, id, &text);
    hn_status status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        size_t kept = append_lossy(out, hn_buf_text(&text), text.size);
        memcpy(decoder->held, hn_buf_text(&text) + text.size - kept, kept);
        decoder->n_held = kept;
        status = hn_buf_check(out, err);
    }
    hn_buf_done(&text);
    return status;
}

hn_status hn_decoder_finish(hn_decoder *decoder, hn_buf *out, hn_error *err) {
    if (decoder->n_held)
        hn_buf_puts(out, REPLACEMENT);
    decoder->n_held = 0;
    return hn_buf_check(out, err);
}

/* The text of ids[0..n), none of which hides. A run of <0xXX> is one text when all of it is UTF-8,
 * and otherwise U+FFFD a byte. */
static void decode_runs(hn_decoder *decoder, const int32_t *ids, size_t n, hn_buf *text) {
    const hn_tokenizer *tk = decoder->tokenizer;
    for (size_t i = 0; i < n;) {
        size_t from = text->size, run = 0;
        while (tk->byte_runs && i + run < n && hn_tk_byte_token(tk->texts[ids[i + run]]) >= 0)
            push_bytes(decoder, ids[i + run++], text);
        if (run == 0) {
            push_bytes(decoder, ids[i++], text);
            continue;
        }
        if (!text->failed && !hn_utf8_valid(text->data + from, text->size - from)) {
            text->size = from;
            for (size_t k = 0; k < run; k++)
                hn_buf_puts(text, REPLACEMENT);
        }
        i += run;
    }
}

hn_status hn_decode(const hn_tokenizer *tk, const int32_t *ids, size_t n, bool special, hn_buf *out,
                    hn_error *err) {
    hn_decoder decoder;
    hn_buf text = {0};
    const size_t size_before = out->size;
    int32_t *shown = hn_reallocarray(NULL, n, sizeof *shown);
    size_t n_shown = 0;
    hn_status status = HN_OK;
    if (!shown)
        return hn_fail_no_memory(err, n * sizeof *shown);
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= 0 && (uint32_t)ids[i] < tk->n_tokens &&
            (special || !hn_tokenizer_is_control(tk, ids[i])))
            shown[n_shown++] = ids[i];
    hn_decoder_init(&decoder, tk, special);
    decode_runs(&decoder, shown, n_shown, &text);
    HN_GO(hn_buf_check(&text, err));
    if (append_lossy(out, hn_buf_text(&text), text.size))
        hn_buf_puts(out, REPLACEMENT);
    status = hn_buf_check(out, err);
done:
    if (status != HN_OK && out->data && out->size > size_before)
        out->data[out->size = size_before] = 0;
    hn_buf_done(&text);
    hn_free(shown);
    return status;
}
