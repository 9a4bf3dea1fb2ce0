/* GGUF metadata: copied from a GGUF, or put together from what a Hugging Face folder says. Keys and
 * their types are those of llama.cpp's convert_hf_to_gguf. */
#include "release/quantise_meta.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* llama.cpp's numbers of file types (llama.h, enum llama_ftype). */
static const uint32_t FILE_TYPE[HN_FTYPE_COUNT] = {
    [HN_FTYPE_F32] = 0,     [HN_FTYPE_F16] = 1,     [HN_FTYPE_BF16] = 32,   [HN_FTYPE_Q8_0] = 7,
    [HN_FTYPE_Q4_0] = 2,    [HN_FTYPE_Q4_1] = 3,    [HN_FTYPE_Q5_0] = 8,    [HN_FTYPE_Q5_1] = 9,
    [HN_FTYPE_Q4_K_S] = 14, [HN_FTYPE_Q4_K_M] = 15, [HN_FTYPE_Q5_K_M] = 17, [HN_FTYPE_Q6_K] = 18,
};
enum { QUANTIZATION_VERSION = 2 };

typedef struct meta {
    hn_gguf_writer *writer;
    const char *family;
    hn_error *err;
} meta;

static hn_status arch_u32(const meta *m, const char *name, int64_t value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->family, name);
    return hn_gguf_writer_set_u32(m->writer, key, (uint32_t)value, m->err);
}

static hn_status arch_f32(const meta *m, const char *name, float value) {
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->family, name);
    return hn_gguf_writer_set_f32(m->writer, key, value, m->err);
}

static hn_status text(const meta *m, const char *key, const char *value) {
    return hn_gguf_writer_set_string(m->writer, key, value, strlen(value), m->err);
}

static hn_status write_arch(const meta *m, const hn_arch *arch) {
    char key[96];
    HN_TRY(arch_u32(m, "block_count", arch->n_layer));
    HN_TRY(arch_u32(m, "context_length", arch->n_ctx_train));
    HN_TRY(arch_u32(m, "embedding_length", arch->n_embd));
    HN_TRY(arch_u32(m, "feed_forward_length", arch->n_ff));
    HN_TRY(arch_u32(m, "attention.head_count", arch->n_head));
    HN_TRY(arch_u32(m, "attention.head_count_kv", arch->n_head_kv));
    HN_TRY(arch_u32(m, "attention.key_length", arch->head_dim));
    HN_TRY(arch_u32(m, "attention.value_length", arch->head_dim));
    HN_TRY(arch_u32(m, "rope.dimension_count", arch->rope_dim));
    HN_TRY(arch_u32(m, "vocab_size", arch->n_vocab));
    HN_TRY(arch_f32(m, "rope.freq_base", arch->rope_theta));
    HN_TRY(arch_f32(m, "attention.layer_norm_rms_epsilon", arch->rms_eps));
    if (arch->sliding_window) {
        HN_TRY(arch_u32(m, "attention.sliding_window", arch->sliding_window));
        HN_TRY(arch_u32(m, "attention.sliding_window_pattern", arch->global_every));
        HN_TRY(arch_f32(m, "rope.freq_base_swa", arch->rope_theta_local));
        HN_TRY(arch_f32(m, "attention.scale", arch->attn_scale));
    }
    if (arch->rope_scaling == HN_ROPE_LINEAR) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", m->family);
        HN_TRY(text(m, key, "linear"));
        HN_TRY(arch_f32(m, "rope.scaling.factor", arch->rope_factor));
    }
    return HN_OK;
}

static hn_status write_id(const meta *m, const char *key, int32_t id) {
    return id < 0 ? HN_OK : hn_gguf_writer_set_u32(m->writer, key, (uint32_t)id, m->err);
}

/* The tokens' texts, padded to the embedding's rows: a file must name each of them. */
static hn_status write_tokens(const meta *m, const hn_vocab *vocab, uint32_t n_rows) {
    enum { PAD_NAME_BYTES = 24 };
    hn_gguf_string *strings = hn_calloc(n_rows, sizeof *strings);
    char(*names)[PAD_NAME_BYTES] = hn_calloc(n_rows, sizeof *names);
    int32_t *kinds = hn_calloc(n_rows, sizeof *kinds);
    hn_status status = HN_OK;
    if (!strings || !names || !kinds) {
        status = hn_fail_no_memory(m->err, n_rows * (sizeof *strings + sizeof *names));
        goto done;
    }
    for (uint32_t i = 0; i < n_rows; i++) {
        if (i < vocab->n_tokens && vocab->tokens[i].size) {
            strings[i] = (hn_gguf_string){vocab->tokens[i].data, vocab->tokens[i].size};
            kinds[i] = vocab->kinds ? vocab->kinds[i] : HN_TOKEN_NORMAL;
        } else {
            int n = snprintf(names[i], sizeof names[i], "[PAD%u]", i);
            strings[i] = (hn_gguf_string){names[i], (size_t)n};
            kinds[i] = HN_TOKEN_UNUSED;
        }
    }
    HN_GO(hn_gguf_writer_set_strings(m->writer, "tokenizer.ggml.tokens", strings, n_rows, m->err));
    HN_GO(hn_gguf_writer_set_array(m->writer, "tokenizer.ggml.token_type", HN_GGUF_I32, kinds,
                                   n_rows, m->err));
done:
    hn_free(strings);
    hn_free(names);
    hn_free(kinds);
    return status;
}

static hn_status write_scores(const meta *m, const hn_vocab *vocab, uint32_t n_rows) {
    if (!vocab->scores)
        return HN_OK;
    float *scores = hn_calloc(n_rows, sizeof *scores);
    if (!scores)
        return hn_fail_no_memory(m->err, n_rows * sizeof *scores);
    memcpy(scores, vocab->scores, vocab->n_tokens * sizeof *scores);
    hn_status status = hn_gguf_writer_set_array(m->writer, "tokenizer.ggml.scores", HN_GGUF_F32,
                                                scores, n_rows, m->err);
    hn_free(scores);
    return status;
}

static hn_status write_merges(const meta *m, const hn_tokenizer *tokenizer) {
    hn_arena arena = {0};
    hn_vocab vocab;
    hn_gguf_string *merges = NULL;
    hn_status status;
    HN_GO(hn_tokenizer_merges(tokenizer, &arena, &vocab, m->err));
    if (!vocab.n_merges)
        goto done;
    merges = hn_calloc(vocab.n_merges, sizeof *merges);
    if (!merges)
        HN_GO(hn_fail_no_memory(m->err, vocab.n_merges * sizeof *merges));
    for (uint32_t i = 0; i < vocab.n_merges; i++)
        merges[i] = (hn_gguf_string){vocab.merges[i].data, vocab.merges[i].size};
    status = hn_gguf_writer_set_strings(m->writer, "tokenizer.ggml.merges", merges, vocab.n_merges,
                                        m->err);
done:
    hn_free(merges);
    hn_arena_done(&arena);
    return status;
}

static hn_status write_tokenizer(const meta *m, const hn_checkpoint *ckpt) {
    hn_vocab vocab;
    hn_tokenizer_vocab(ckpt->tokenizer, &vocab);
    if (!strcmp(vocab.model, "gpt2") && (!vocab.pre || !strcmp(vocab.pre, "default")))
        return hn_fail(m->err, HN_UNSUPPORTED,
                       "%s: GGUF has no name for the way this tokenizer.json cuts text into words, "
                       "so llama.cpp would cut it wrongly",
                       ckpt->path);
    HN_TRY(text(m, "tokenizer.ggml.model", vocab.model));
    if (vocab.pre)
        HN_TRY(text(m, "tokenizer.ggml.pre", vocab.pre));
    HN_TRY(write_tokens(m, &vocab, (uint32_t)ckpt->arch.n_vocab));
    HN_TRY(write_scores(m, &vocab, (uint32_t)ckpt->arch.n_vocab));
    HN_TRY(write_merges(m, ckpt->tokenizer));
    HN_TRY(write_id(m, "tokenizer.ggml.bos_token_id", vocab.bos));
    HN_TRY(write_id(m, "tokenizer.ggml.eos_token_id", vocab.eos));
    HN_TRY(write_id(m, "tokenizer.ggml.eot_token_id", vocab.eot));
    HN_TRY(write_id(m, "tokenizer.ggml.unknown_token_id", vocab.unk));
    HN_TRY(write_id(m, "tokenizer.ggml.padding_token_id", vocab.pad));
    HN_TRY(
        hn_gguf_writer_set_bool(m->writer, "tokenizer.ggml.add_bos_token", vocab.add_bos, m->err));
    HN_TRY(
        hn_gguf_writer_set_bool(m->writer, "tokenizer.ggml.add_eos_token", vocab.add_eos, m->err));
    HN_TRY(hn_gguf_writer_set_bool(m->writer, "tokenizer.ggml.add_space_prefix",
                                   vocab.add_space_prefix, m->err));
    return ckpt->chat_template_source
               ? text(m, "tokenizer.chat_template", ckpt->chat_template_source)
               : HN_OK;
}

static const char *model_name(const hn_checkpoint *ckpt) {
    const char *slash = strrchr(ckpt->path, '/');
    return slash && slash[1] ? slash + 1 : ckpt->path;
}

hn_status hn_quantise_write_metadata(hn_gguf_writer *writer, const hn_checkpoint *ckpt,
                                     hn_ftype ftype, hn_error *err) {
    meta m = {.writer = writer, .family = ckpt->arch.family, .err = err};
    if (ckpt->is_gguf) {
        for (uint64_t i = 0; i < ckpt->gguf.n_values; i++)
            HN_TRY(hn_gguf_writer_copy(writer, &ckpt->gguf.values[i], err));
    } else {
        HN_TRY(text(&m, "general.architecture", ckpt->arch.family));
        HN_TRY(text(&m, "general.type", "model"));
        HN_TRY(text(&m, "general.name", model_name(ckpt)));
        HN_TRY(write_arch(&m, &ckpt->arch));
        HN_TRY(write_tokenizer(&m, ckpt));
    }
    HN_TRY(hn_gguf_writer_set_u32(writer, "general.file_type", FILE_TYPE[ftype], err));
    return hn_gguf_writer_set_u32(writer, "general.quantization_version", QUANTIZATION_VERSION,
                                  err);
}
