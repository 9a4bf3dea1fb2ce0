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
static hn_status push_first(hn_decoder *decoder, int32_t id, hn_buf *text, hn_error *err) {
    const hn_tokenizer *tk = decoder->tokenizer;
    const hn_vocab_text token = tk->texts[id];
    if (tk->strip_first_meta && hn_tk_byte_token(token) < 0) {
        for (size_t i = 0; i < token.size;) {
            size_t n = hn_tk_char_size((uint8_t)token.data[i]);
            if (!(n == META_BYTES && memcmp(token.data + i, META, META_BYTES) == 0))
                hn_buf_append(text, token.data + i, n);
            i += n;
        }
        decoder->started = true;
        return hn_buf_check(text, err);
    }
    const hn_vocab_text bytes = tk->bytes[id];
    size_t skip = tk->strip_first_space && bytes.size > 0 && bytes.data[0] == ' ';
    decoder->started = !tk->strip_first_space || bytes.size > 0;
    hn_buf_append(text, bytes.data + skip, bytes.size - skip);
    return hn_buf_check(text, err);
}

hn_status hn_decoder_push(hn_decoder *decoder, int32_t id, hn_buf *out, hn_error *err) {
    const hn_tokenizer *tk = decoder->tokenizer;
    const char *data;
    size_t size;
    hn_token_bytes(tk, id, decoder->special, &data, &size);
    if (size == 0)
        return HN_OK;
    hn_buf text = {0};
    hn_status status;
    hn_buf_append(&text, decoder->held, decoder->n_held);
    if (decoder->started && tk->join_with_space)
        hn_buf_putc(&text, ' ');
    if (decoder->started)
        hn_buf_append(&text, data, size);
    else
        HN_GO(push_first(decoder, id, &text, err));
    HN_GO(hn_buf_check(&text, err));
    size_t kept = append_lossy(out, hn_buf_text(&text), text.size);
    memcpy(decoder->held, hn_buf_text(&text) + text.size - kept, kept);
    decoder->n_held = kept;
    status = hn_buf_check(out, err);
done:
    hn_buf_done(&text);
    return status;
}

hn_status hn_decoder_finish(hn_decoder *decoder, hn_buf *out, hn_error *err) {
    if (decoder->n_held)
        hn_buf_puts(out, REPLACEMENT);
    decoder->n_held = 0;
    return hn_buf_check(out, err);
}

/* A run of byte tokens is one text when all of it is UTF-8, and otherwise U+FFFD a byte. */
static hn_status decode_byte_run(const hn_tokenizer *tk, const int32_t *ids, size_t n,
                                 bool skip_space, hn_buf *out, hn_error *err) {
    hn_buf run = {0};
    for (size_t i = 0; i < n; i++)
        hn_buf_append(&run, tk->bytes[ids[i]].data, tk->bytes[ids[i]].size);
    hn_status status = hn_buf_check(&run, err);
    if (status == HN_OK && hn_utf8_valid(hn_buf_text(&run), run.size)) {
        skip_space = skip_space && run.data[0] == ' ';
        hn_buf_append(out, run.data + skip_space, run.size - skip_space);
    } else {
        for (size_t i = 0; i < n; i++)
            hn_buf_puts(out, REPLACEMENT);
    }
    hn_buf_done(&run);
    return status;
}

static bool is_byte(const hn_tokenizer *tk, int32_t id) {
    return id >= 0 && (uint32_t)id < tk->n_tokens && hn_tk_byte_token(tk->texts[id]) >= 0;
}

hn_status hn_decode(const hn_tokenizer *tk, const int32_t *ids, size_t n, bool special, hn_buf *out,
                    hn_error *err) {
    hn_decoder decoder;
    hn_decoder_init(&decoder, tk, special);
    for (size_t i = 0; i < n;) {
        size_t run = 0;
        while (tk->byte_runs && i + run < n && is_byte(tk, ids[i + run]))
            run++;
        if (run == 0) {
            HN_TRY(hn_decoder_push(&decoder, ids[i++], out, err));
            continue;
        }
        HN_TRY(
            decode_byte_run(tk, ids + i, run, !decoder.started && tk->strip_first_space, out, err));
        decoder.started = true;
        i += run;
    }
    return hn_decoder_finish(&decoder, out, err);
}
