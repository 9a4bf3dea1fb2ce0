/* A tokenizer from GGUF's metadata. */
#include "tokenizer/tk.h"

#include <math.h>
#include <pthread.h>

/* Ids are int32 and tables twice as large as the vocabulary; no vocabulary comes near. */
enum { MAX_TOKENS = 1 << 26, MERGES_WORTH_A_THREAD = 10000 };

static hn_status copy_texts(hn_arena *arena, const hn_vocab_text *from, uint32_t count,
                            hn_vocab_text **out, hn_error *err) {
    size_t total = 1;
    for (uint32_t i = 0; i < count; i++)
        if (hn_add_overflows(total, from[i].size, &total))
            return hn_tk_no_memory(err);
    hn_vocab_text *texts = HN_ARENA_NEW(arena, hn_vocab_text, count);
    char *blob = HN_ARENA_NEW(arena, char, total);
    if (!texts || !blob)
        return hn_tk_no_memory(err);
    for (uint32_t i = 0; i < count; i++) {
        if (from[i].size)
            memcpy(blob, from[i].data, from[i].size);
        texts[i] = (hn_vocab_text){blob, from[i].size};
        blob += from[i].size;
    }
    *out = texts;
    return HN_OK;
}

static hn_status check_id(const hn_vocab *vocab, int32_t id, const char *what, hn_error *err) {
    if (id < -1 || (id >= 0 && (uint32_t)id >= vocab->n_tokens))
        return hn_fail(err, HN_BAD_INPUT,
                       "tokenizer.ggml.%s is %d, but there are only %u tokens: the file is damaged "
                       "or was written wrongly",
                       what, id, vocab->n_tokens);
    return HN_OK;
}

static hn_status copy_special_ids(hn_tokenizer *tk, const hn_vocab *vocab, hn_error *err) {
    HN_TRY(check_id(vocab, vocab->bos, "bos_token_id", err));
    HN_TRY(check_id(vocab, vocab->eos, "eos_token_id", err));
    HN_TRY(check_id(vocab, vocab->eot, "eot_token_id", err));
    HN_TRY(check_id(vocab, vocab->unk, "unknown_token_id", err));
    HN_TRY(check_id(vocab, vocab->pad, "padding_token_id", err));
    tk->bos = vocab->bos;
    tk->eos = vocab->eos;
    tk->eot = vocab->eot;
    tk->unk = vocab->unk;
    tk->pad = vocab->pad;
    tk->add_bos = vocab->add_bos;
    tk->add_eos = vocab->add_eos;
    tk->add_space_prefix = vocab->add_space_prefix;
    if (tk->add_bos && tk->bos >= 0)
        tk->before[tk->n_before++] = tk->bos;
    if (tk->add_eos && tk->eos >= 0)
        tk->after[tk->n_after++] = tk->eos;
    return HN_OK;
}

/* Of equal texts the first counts. */
static hn_status fill_by_text(hn_tokenizer *tk, hn_error *err) {
    uint32_t *ids = hn_reallocarray(NULL, tk->n_tokens, sizeof *ids), n = 0;
    if (!ids)
        return hn_tk_no_memory(err);
    for (uint32_t id = 0; id < tk->n_tokens; id++)
        if (tk->texts[id].size)
            ids[n++] = id;
    hn_status status = hn_tk_table_new(tk, &tk->by_text, tk->texts, tk->n_tokens, err);
    if (status == HN_OK)
        hn_tk_table_fill(&tk->by_text, ids, n);
    hn_free(ids);
    return status;
}

/* Texts, kinds, scores and the table of texts. */
static hn_status copy_tokens(hn_tokenizer *tk, const hn_vocab *vocab, hn_error *err) {
    HN_TRY(copy_texts(&tk->arena, vocab->tokens, vocab->n_tokens, &tk->texts, err));
    tk->n_tokens = vocab->n_tokens;
    tk->kinds = HN_ARENA_NEW(&tk->arena, int32_t, tk->n_tokens);
    if (!tk->kinds)
        return hn_tk_no_memory(err);
    for (uint32_t i = 0; i < tk->n_tokens; i++) {
        int32_t kind = vocab->kinds ? vocab->kinds[i] : HN_TOKEN_NORMAL;
        tk->kinds[i] = kind >= HN_TOKEN_NORMAL && kind <= HN_TOKEN_BYTE ? kind : HN_TOKEN_NORMAL;
    }
    if (vocab->scores) {
        tk->scores = HN_ARENA_NEW(&tk->arena, float, tk->n_tokens);
        if (!tk->scores)
            return hn_tk_no_memory(err);
        for (uint32_t i = 0; i < tk->n_tokens; i++) {
            if (isnan(vocab->scores[i]))
                return hn_fail(err, HN_BAD_INPUT, "tokenizer.ggml.scores: token %u has no number",
                               i);
            tk->scores[i] = vocab->scores[i];
        }
    }
    return fill_by_text(tk, err);
}

static bool is_added(int32_t kind) {
    return kind == HN_TOKEN_CONTROL || kind == HN_TOKEN_UNKNOWN || kind == HN_TOKEN_USER_DEFINED;
}

static hn_status collect_added(hn_tokenizer *tk, hn_error *err) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < tk->n_tokens; i++)
        count += is_added(tk->kinds[i]);
    tk->added = HN_ARENA_NEW(&tk->arena, hn_tk_added, count);
    if (!tk->added)
        return hn_tk_no_memory(err);
    for (uint32_t i = 0; i < tk->n_tokens; i++)
        if (is_added(tk->kinds[i]))
            tk->added[tk->n_added++] = (hn_tk_added){
                .text = tk->texts[i],
                .id = (int32_t)i,
                .special = tk->kinds[i] != HN_TOKEN_USER_DEFINED,
            };
    return HN_OK;
}

static hn_status add_merges(hn_tokenizer *tk, const hn_vocab *vocab, hn_error *err) {
    tk->n_merges = vocab->n_merges;
    uint32_t *n_left = hn_reallocarray(NULL, tk->n_merges, sizeof *n_left);
    if (!n_left)
        return hn_tk_no_memory(err);
    hn_status status = HN_OK;
    for (uint32_t i = 0; status == HN_OK && i < tk->n_merges; i++) {
        const hn_vocab_text merge = vocab->merges[i];
        const char *space = merge.size > 1 ? memchr(merge.data + 1, ' ', merge.size - 1) : NULL;
        if (space)
            n_left[i] = (uint32_t)(space - merge.data);
        else
            status = hn_fail(err, HN_BAD_INPUT,
                             "tokenizer.ggml.merges: entry %u is not 'left right'", i);
    }
    if (status == HN_OK)
        status = hn_tk_merges_fill(tk, vocab->merges, n_left, "tokenizer.ggml.merges", err);
    hn_free(n_left);
    return status;
}

/* Merges take half of the time, and nothing of the rest needs them: a thread of their own makes
 * them meanwhile. */
typedef struct merges_errand {
    hn_tokenizer *tk;
    const hn_vocab *vocab;
    hn_status status;
    hn_error err;
} merges_errand;

static void *run_merges(void *context) {
    merges_errand *errand = context;
    errand->status = add_merges(errand->tk, errand->vocab, &errand->err);
    return NULL;
}

static hn_status build_byte_level(hn_tokenizer *tk, const hn_vocab *vocab, hn_error *err) {
    if (!vocab->merges && vocab->n_merges)
        return hn_fail(err, HN_BAD_INPUT, "tokenizer.ggml.merges is missing");
    tk->byte_level = true;
    HN_TRY(hn_tk_pre_steps(tk, vocab->pre ? vocab->pre : "default", err));
    merges_errand merges = {.tk = tk, .vocab = vocab};
    pthread_t thread;
    const bool apart = vocab->n_merges >= MERGES_WORTH_A_THREAD &&
                       pthread_create(&thread, NULL, run_merges, &merges) == 0;
    hn_status status = hn_tk_bytes_fill(tk, NULL, 0, err);
    if (status == HN_OK)
        status = hn_tk_finish(tk, err);
    if (apart)
        pthread_join(thread, NULL);
    else
        run_merges(&merges);
    if (status == HN_OK && merges.status != HN_OK)
        status = hn_fail(err, merges.status, "%s", merges.err.message);
    return status;
}

static hn_status build_sentencepiece(hn_tokenizer *tk, hn_error *err) {
    static const hn_vocab_text SPACE = {" ", 1}, META = {"\xe2\x96\x81", 3};
    if (!tk->scores)
        return hn_fail(err, HN_BAD_INPUT,
                       "tokenizer.ggml.scores is missing: a SentencePiece vocabulary needs it");
    tk->model_unk = tk->unk;
    tk->byte_runs = true;
    tk->strip_first_space = tk->add_space_prefix;
    if (tk->add_space_prefix)
        tk->norms[tk->n_norms++] = (hn_tk_norm){.kind = HN_TK_NORM_PREPEND, .text = META};
    tk->norms[tk->n_norms++] =
        (hn_tk_norm){.kind = HN_TK_NORM_REPLACE, .text = SPACE, .content = META};
    if (hn_tk_words_start_at_meta(tk))
        tk->steps[tk->n_steps++] = (hn_tk_step){.kind = HN_TK_STEP_WORD_STARTS, .text = META};
    HN_TRY(hn_tk_bytes_fill(tk, &(hn_tk_replace){META, SPACE}, 1, err));
    return hn_tk_finish(tk, err);
}

static hn_status build(hn_tokenizer *tk, const hn_vocab *vocab, hn_error *err) {
    HN_TRY(copy_special_ids(tk, vocab, err));
    HN_TRY(copy_tokens(tk, vocab, err));
    HN_TRY(collect_added(tk, err));
    hn_vocab_text name;
    HN_TRY(hn_tk_copy(tk, vocab->model, strlen(vocab->model), &name, err));
    tk->model = name.data;
    if (vocab->pre) {
        HN_TRY(hn_tk_copy(tk, vocab->pre, strlen(vocab->pre), &name, err));
        tk->pre = name.data;
    }
    return strcmp(vocab->model, "gpt2") == 0 ? build_byte_level(tk, vocab, err)
                                             : build_sentencepiece(tk, err);
}

hn_status hn_tokenizer_from_vocab(hn_tokenizer **out, const hn_vocab *vocab, hn_error *err) {
    if (strcmp(vocab->model, "gpt2") != 0 && strcmp(vocab->model, "llama") != 0)
        return hn_fail(err, HN_UNSUPPORTED,
                       "tokenizer.ggml.model '%s': hone knows gpt2 (byte-level BPE) and llama "
                       "(SentencePiece BPE)",
                       vocab->model);
    if (vocab->n_tokens == 0 || vocab->n_tokens > MAX_TOKENS)
        return hn_fail(err, HN_BAD_INPUT, "tokenizer.ggml.tokens: %u tokens", vocab->n_tokens);
    hn_tokenizer *tk;
    HN_TRY(hn_tk_new(&tk, err));
    hn_status status = build(tk, vocab, err);
    if (status == HN_OK)
        *out = tk;
    else
        hn_tokenizer_free(tk);
    return status;
}
