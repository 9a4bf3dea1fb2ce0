/* An answer's text: bytes from tokens, stop strings, and what may be shown already. */
#include "model/writer.h"

#include "base/mem.h"

#include <string.h>

/* A token that was drawn and not shown yet. */
typedef struct hn_writer_token {
    int32_t id;
    float logprob;
    size_t offset;
    size_t end; /* of the text, when its own is whole; OPEN while a character is */
} hn_writer_token;

static const size_t OPEN = SIZE_MAX;

/* Looks for the first stop string in the text that wasn't searched yet and cuts there. */
static void find_stop(hn_writer *w) {
    const hn_writer_options *o = &w->options;
    for (; w->searched < w->bytes.size; w->searched++) {
        size_t left = w->bytes.size - w->searched;
        for (int i = 0; i < o->n_stop; i++) {
            size_t n = strlen(o->stop[i]);
            const char *at = w->bytes.data + w->searched;
            if (n == 0 || memcmp(at, o->stop[i], n < left ? n : left) != 0)
                continue;
            if (n > left)
                return; /* may still become one: wait here */
            w->bytes.size = w->searched;
            w->bytes.data[w->bytes.size] = 0;
            w->stop = i;
            return;
        }
    }
}

/* Tokens that a stop string cut off aren't shown; one that it cut short is. */
static void cut_tokens(hn_writer *w) {
    while (w->n_tokens > 0 && w->tokens[w->n_tokens - 1].offset >= w->bytes.size)
        w->n_tokens--;
}

static void show(hn_writer *w, size_t safe, int n_tokens) {
    const int n_top = w->options.n_logprobs;
    for (int i = 0; i < n_tokens; i++)
        w->shown[i] =
            (hn_piece_token){.id = w->tokens[i].id,
                             .offset = w->tokens[i].offset,
                             .logprob = w->tokens[i].logprob,
                             .top = n_top > 0 ? w->chances + (size_t)i * (size_t)n_top : NULL,
                             .n_top = n_top > 0 ? n_top : 0};
    const hn_piece piece = {.text = w->bytes.data ? w->bytes.data + w->released : "",
                            .n_bytes = safe - w->released,
                            .tokens = w->shown,
                            .n_tokens = n_tokens};
    if (!w->options.on_piece(w->options.context, &piece))
        w->cancelled = true;
    w->n_tokens -= n_tokens;
    memmove(w->tokens, w->tokens + n_tokens, (size_t)w->n_tokens * sizeof *w->tokens);
    if (n_top > 0)
        memmove(w->chances, w->chances + (size_t)n_tokens * (size_t)n_top,
                (size_t)w->n_tokens * (size_t)n_top * sizeof *w->chances);
}

static void release_text(hn_writer *w, bool at_end) {
    const bool whole = at_end || w->stop >= 0;
    const size_t safe = whole ? w->bytes.size : w->searched;
    if (whole && w->stop >= 0)
        cut_tokens(w);
    int n = 0;
    while (n < w->n_tokens && (whole || w->tokens[n].end <= safe))
        n++;
    if (w->options.on_piece && (safe > w->released || n > 0))
        show(w, safe, n);
    w->released = safe > w->released ? safe : w->released;
}

static hn_status reserve_token(hn_writer *w, hn_error *err) {
    enum { FIRST = 16 };
    const int n_top = w->options.n_logprobs;
    if (w->n_tokens < w->tokens_capacity)
        return HN_OK;
    const size_t n = w->tokens_capacity ? 2 * (size_t)w->tokens_capacity : FIRST;
    void *grown = hn_reallocarray(w->tokens, n, sizeof *w->tokens);
    if (!grown)
        return hn_fail_no_memory(err, n * sizeof *w->tokens);
    w->tokens = grown;
    grown = hn_reallocarray(w->shown, n, sizeof *w->shown);
    if (!grown)
        return hn_fail_no_memory(err, n * sizeof *w->shown);
    w->shown = grown;
    if (n_top > 0) {
        grown = hn_reallocarray(w->chances, n, (size_t)n_top * sizeof *w->chances);
        if (!grown)
            return hn_fail_no_memory(err, n * (size_t)n_top * sizeof *w->chances);
        w->chances = grown;
    }
    w->tokens_capacity = (int)n;
    return HN_OK;
}

hn_status hn_writer_text_push(hn_writer *w, int32_t token, float logprob,
                              const hn_token_chance *top, hn_error *err) {
    const size_t before = w->bytes.size;
    const int n_top = w->options.n_logprobs;
    HN_TRY(hn_decoder_push(&w->decoder, token, &w->bytes, err));
    if (w->options.on_piece) {
        HN_TRY(reserve_token(w, err));
        if (w->bytes.size > before)
            for (int i = 0; i < w->n_tokens; i++)
                if (w->tokens[i].end == OPEN)
                    w->tokens[i].end = w->bytes.size;
        if (n_top > 0)
            memcpy(w->chances + (size_t)w->n_tokens * (size_t)n_top, top,
                   (size_t)n_top * sizeof *top);
        w->tokens[w->n_tokens++] =
            (hn_writer_token){.id = token,
                              .logprob = logprob,
                              .offset = before,
                              .end = w->decoder.n_held ? OPEN : w->bytes.size};
    }
    find_stop(w);
    release_text(w, false);
    return HN_OK;
}

hn_status hn_writer_text_finish(hn_writer *w, hn_error *err) {
    HN_TRY(hn_decoder_finish(&w->decoder, &w->bytes, err));
    find_stop(w);
    release_text(w, true);
    return HN_OK;
}

void hn_writer_text_done(hn_writer *w) {
    hn_buf_done(&w->bytes);
    hn_free(w->tokens);
    hn_free(w->chances);
    hn_free(w->shown);
}
