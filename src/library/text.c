/* Text to tokens and back. */
#include "library/library.h"

_Static_assert((int)HONE_TOKENS_ADD_SPECIAL == HN_ENCODE_ADD_SPECIAL &&
                   (int)HONE_TOKENS_PARSE_SPECIAL == HN_ENCODE_PARSE_SPECIAL,
               "flags go through");

static hn_status check_flags(int flags, int known, hn_error *err) {
    if (flags & ~known)
        return hn_fail(err, HN_USAGE, "flags %d: unknown, or not for this direction", flags);
    return HN_OK;
}

static hn_status tokenize(const hone_engine *engine, const char *text, size_t n_bytes, int flags,
                          int32_t **tokens, size_t *n_tokens, hn_error *err) {
    HN_TRY(hn_library_need(engine, "engine", err));
    if (n_bytes)
        HN_TRY(hn_library_need(text, "text", err));
    HN_TRY(hn_library_need(tokens, "tokens", err));
    HN_TRY(hn_library_need(n_tokens, "n_tokens", err));
    HN_TRY(check_flags(flags, HONE_TOKENS_ADD_SPECIAL | HONE_TOKENS_PARSE_SPECIAL, err));
    hn_ids ids = {0};
    hn_status status =
        hn_encode(engine->model->ckpt.tokenizer, n_bytes ? text : "", n_bytes, flags, &ids, err);
    if (status != HN_OK) {
        hn_ids_done(&ids);
        return status;
    }
    *tokens = ids.data;
    *n_tokens = ids.size;
    return HN_OK;
}

hone_status hone_tokenize(const hone_engine *engine, const char *text, size_t n_bytes, int flags,
                          int32_t **tokens, size_t *n_tokens, hone_error *err) {
    hn_error why;
    return hn_library_report(tokenize(engine, text, n_bytes, flags, tokens, n_tokens, &why), &why,
                             err);
}

static hn_status detokenize(const hone_engine *engine, const int32_t *tokens, size_t n_tokens,
                            int flags, char **text, size_t *n_bytes, hn_error *err) {
    HN_TRY(hn_library_need(engine, "engine", err));
    if (n_tokens)
        HN_TRY(hn_library_need(tokens, "tokens", err));
    HN_TRY(hn_library_need(text, "text", err));
    HN_TRY(check_flags(flags, HONE_TOKENS_SHOW_SPECIAL, err));
    for (size_t i = 0; i < n_tokens; i++)
        if (tokens[i] < 0 || tokens[i] >= engine->model->arch.n_vocab)
            return hn_fail(err, HN_BAD_INPUT, "tokens[%zu] is %d, the vocabulary has %d", i,
                           tokens[i], engine->model->arch.n_vocab);
    hn_buf out = {0};
    hn_status status = HN_OK;
    HN_GO(hn_decode(engine->model->ckpt.tokenizer, tokens, n_tokens,
                    (flags & HONE_TOKENS_SHOW_SPECIAL) != 0, &out, err));
    hn_buf_puts(&out, ""); /* so that no text is an empty one */
    HN_GO(hn_buf_check(&out, err));
    if (n_bytes)
        *n_bytes = out.size;
    *text = hn_buf_take(&out);
done:
    hn_buf_done(&out);
    return status;
}

hone_status hone_detokenize(const hone_engine *engine, const int32_t *tokens, size_t n_tokens,
                            int flags, char **text, size_t *n_bytes, hone_error *err) {
    hn_error why;
    return hn_library_report(detokenize(engine, tokens, n_tokens, flags, text, n_bytes, &why), &why,
                             err);
}
