/* Two walks over the tensors of a shape: the first declares them, the second writes them from rows
 * that were quantised once for each type and width. */
#include "release/synthetic.h"

#include "base/mem.h"
#include "base/rng.h"
#include "model/checkpoint_internal.h"
#include "release/quantise_meta.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

typedef struct shape {
    const char *name, *family;
    int n_layer, n_embd, n_ff, n_head, n_head_kv, head_dim, n_vocab, n_ctx;
    float rope_theta, rms_eps;
    bool llama3_rope; /* Llama 3.2's scaled frequencies */
} shape;

/* From the models' config.json; all of them tie the head to the embedding. */
static const shape SHAPES[] = {
    {"smollm2-135m", "llama", 30, 576, 1536, 9, 3, 64, 49152, 8192, 1e5f, 1e-5f, false},
    {"smollm2-360m", "llama", 32, 960, 2560, 15, 5, 64, 49152, 8192, 1e5f, 1e-5f, false},
    {"smollm2-1.7b", "llama", 24, 2048, 8192, 32, 32, 64, 49152, 8192, 1.3e5f, 1e-5f, false},
    {"qwen2.5-0.5b", "qwen2", 24, 896, 4864, 14, 2, 64, 151936, 32768, 1e6f, 1e-6f, false},
    {"qwen2.5-1.5b", "qwen2", 28, 1536, 8960, 12, 2, 128, 151936, 32768, 1e6f, 1e-6f, false},
    {"qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 1e6f, 1e-6f, false},
    {"llama-3.2-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 5e5f, 1e-5f, true},
    {"llama-3.2-3b", "llama", 28, 3072, 8192, 24, 8, 128, 128256, 131072, 5e5f, 1e-5f, true},
    {"stories260k", "llama", 5, 64, 172, 8, 4, 8, 512, 512, 1e4f, 1e-5f, false},
};
enum {
    N_SHAPES = sizeof SHAPES / sizeof *SHAPES,
    N_BYTES = 256,
    N_TOKENS = N_BYTES + 2, /* and a merged one, and the end of a text */
    DRAWN_ROWS = 64,        /* quantised rows that a matrix's are drawn from */
    MAX_DRAWERS = 16,       /* pairs of type and width: a model has six at most */
    BATCH_BYTES = 1 << 20   /* written at a time */
};

/* DRAWN_ROWS rows of one type and width. */
typedef struct drawer {
    hn_dtype dtype;
    int64_t cols;
    size_t row_bytes;
    uint8_t *rows;
} drawer;

typedef struct job {
    hn_ftype ftype;
    hn_checkpoint ckpt; /* architecture and tokenizer; no tensors */
    hn_gguf_writer *writer;
    hn_rng rng;
    drawer drawers[MAX_DRAWERS];
    int n_drawers;
    bool declaring; /* the first of two walks over the tensors, the second writes */
    uint8_t *batch; /* BATCH_BYTES: a row of the widest shape takes 36 KB in f32 */
    size_t batch_bytes;
    const hn_progress *progress;
    hn_error *err;
} job;

static hn_status find_shape(const char *name, hn_checkpoint *ckpt, hn_error *err) {
    hn_arch *arch = &ckpt->arch;
    for (int i = 0; i < N_SHAPES; i++) {
        const shape *s = &SHAPES[i];
        if (strcasecmp(s->name, name))
            continue;
        ckpt->path = (char *)(uintptr_t)s->name; /* what metadata calls the model */
        const hn_family *family = hn_family_find(s->family, strlen(s->family));
        hn_arch_init(arch, family);
        arch->rope_style = family->gguf_rope;
        arch->n_layer = s->n_layer;
        arch->n_embd = s->n_embd;
        arch->n_ff = s->n_ff;
        arch->n_head = s->n_head;
        arch->n_head_kv = s->n_head_kv;
        arch->head_dim = arch->rope_dim = s->head_dim;
        arch->n_vocab = s->n_vocab;
        arch->n_ctx_train = s->n_ctx;
        arch->rope_theta = s->rope_theta;
        arch->rms_eps = s->rms_eps;
        arch->tied_head = true;
        arch->attn_scale = 1.0f / sqrtf((float)s->head_dim);
        if (s->llama3_rope) {
            arch->rope_scaling = HN_ROPE_LLAMA3;
            arch->rope_factor = 32;
            arch->rope_low_freq = 1;
            arch->rope_high_freq = 4;
            arch->rope_original_ctx = 8192;
        }
        return hn_arch_check(arch, s->name, err);
    }
    return hn_fail(err, HN_USAGE, "there is no shape '%s'; known are %s", name,
                   HN_SYNTHETIC_SHAPES);
}

/* The character that stands for a byte in a byte-level vocabulary (GPT-2's bytes_to_unicode):
 * itself where it can be seen, else the next free one from 256 on. */
static int byte_text(int byte, int *n_hidden, char out[4]) {
    bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte != 173);
    int point = seen ? byte : 256 + (*n_hidden)++;
    if (point < 128)
        return snprintf(out, 4, "%c", point);
    return snprintf(out, 4, "%c%c", 0xc0 | point >> 6, 0x80 | (point & 63));
}

static hn_status make_tokenizer(hn_tokenizer **out, hn_error *err) {
    static const hn_vocab_text MERGE = {"a b", 3};
    char texts[N_BYTES][4];
    hn_vocab_text tokens[N_TOKENS];
    int32_t kinds[N_TOKENS];
    int n_hidden = 0;
    for (int i = 0; i < N_TOKENS; i++)
        kinds[i] = HN_TOKEN_NORMAL;
    for (int i = 0; i < N_BYTES; i++)
        tokens[i] = (hn_vocab_text){texts[i], (size_t)byte_text(i, &n_hidden, texts[i])};
    tokens[N_BYTES] = (hn_vocab_text){"ab", 2};
    tokens[N_BYTES + 1] = (hn_vocab_text){"<|endoftext|>", 13};
    kinds[N_BYTES + 1] = HN_TOKEN_CONTROL;
    const hn_vocab vocab = {.model = "gpt2",
                            .pre = "gpt-2",
                            .n_tokens = N_TOKENS,
                            .tokens = tokens,
                            .kinds = kinds,
                            .merges = &MERGE,
                            .n_merges = 1,
                            .bos = N_BYTES + 1,
                            .eos = N_BYTES + 1,
                            .eot = -1,
                            .unk = -1,
                            .pad = -1};
    return hn_tokenizer_from_vocab(out, &vocab, err);
}

/* The drawer of this type and width, filled when it is first wanted: values of a variance that
 * keeps activations as large as they are. */
static hn_status find_drawer(job *j, hn_dtype dtype, int64_t cols, const drawer **out) {
    for (int i = 0; i < j->n_drawers; i++)
        if (j->drawers[i].dtype == dtype && j->drawers[i].cols == cols) {
            *out = &j->drawers[i];
            return HN_OK;
        }
    if (j->n_drawers == MAX_DRAWERS)
        return hn_fail(j->err, HN_FAILED, "a shape has more kinds of matrices than expected");
    drawer *d = &j->drawers[j->n_drawers];
    *d = (drawer){dtype, cols, hn_dtype_row_bytes(dtype, (uint64_t)cols), NULL};
    const size_t n = DRAWN_ROWS * (size_t)cols;
    float *values = hn_reallocarray(NULL, n, sizeof *values);
    d->rows = hn_malloc(DRAWN_ROWS * d->row_bytes);
    j->n_drawers++;
    hn_status status = HN_OK;
    if (!values || !d->rows) {
        status = hn_fail_no_memory(j->err, n * sizeof *values);
    } else {
        for (size_t i = 0; i < n; i++)
            values[i] = (float)hn_rng_normal(&j->rng) / sqrtf((float)cols);
        status = hn_blocks_quantise(dtype, values, DRAWN_ROWS, cols, NULL, d->rows, j->err);
    }
    hn_free(values);
    *out = d;
    return status;
}

static hn_status flush(job *j) {
    HN_TRY(hn_gguf_writer_data(j->writer, j->batch, j->batch_bytes, j->err));
    j->batch_bytes = 0;
    return HN_OK;
}

static hn_status write_matrix(job *j, hn_dtype dtype, int64_t rows, int64_t cols) {
    const drawer *d;
    HN_TRY(find_drawer(j, dtype, cols, &d));
    j->batch_bytes = 0;
    for (int64_t row = 0; row < rows; row++) {
        if (j->batch_bytes + d->row_bytes > BATCH_BYTES)
            HN_TRY(flush(j));
        const uint8_t *drawn = d->rows + hn_rng_below(&j->rng, DRAWN_ROWS) * d->row_bytes;
        memcpy(j->batch + j->batch_bytes, drawn, d->row_bytes);
        j->batch_bytes += d->row_bytes;
    }
    return flush(j);
}

/* Norm weights are 1, biases small, frequencies as the architecture says. */
static hn_status write_vector(job *j, const char *name, int64_t n) {
    float *values = (float *)(void *)j->batch;
    const char *end = strrchr(name, '.');
    if (!strcmp(name, "rope_freqs.weight"))
        hn_arch_rope_factors(&j->ckpt.arch, values);
    else
        for (int64_t i = 0; i < n; i++)
            values[i] = strcmp(end, ".bias") ? 1.0f : 0.01f * (float)hn_rng_normal(&j->rng);
    return hn_gguf_writer_data(j->writer, values, (uint64_t)n * sizeof *values, j->err);
}

static hn_status put(job *j, const char *name, int64_t rows, int64_t cols) {
    const uint64_t sizes[2] = {(uint64_t)rows, (uint64_t)cols};
    bool vector = rows == 1;
    hn_dtype dtype = hn_ftype_tensor_dtype(j->ftype, &j->ckpt.arch, name, rows, cols);
    if (j->declaring)
        return hn_gguf_writer_add_tensor(j->writer, name, dtype, vector ? 1 : 2,
                                         vector ? sizes + 1 : sizes, j->err);
    return vector ? write_vector(j, name, cols) : write_matrix(j, dtype, rows, cols);
}

/* All tensors in the order of the file: declared, or written. */
static hn_status walk(job *j, bool declaring) {
    const hn_arch *arch = &j->ckpt.arch;
    j->declaring = declaring;
    HN_TRY(put(j, "token_embd.weight", arch->n_vocab, arch->n_embd));
    if (arch->rope_scaling == HN_ROPE_LLAMA3)
        HN_TRY(put(j, "rope_freqs.weight", 1, arch->rope_dim / 2));
    for (int layer = 0; layer < arch->n_layer; layer++) {
        if (hn_progress_cancelled(j->progress))
            return hn_fail(j->err, HN_CANCELLED, "stopped");
        for (int i = 0; i < HN_N_TENSOR_RULES; i++) {
            const hn_tensor_rule *rule = &HN_TENSOR_RULES[i];
            char name[64];
            if (!hn_tensor_rule_applies(rule, arch))
                continue;
            snprintf(name, sizeof name, "blk.%d.%s", layer, rule->gguf);
            HN_TRY(put(j, name, hn_dim_size(rule->rows, arch), hn_dim_size(rule->cols, arch)));
        }
        if (!declaring)
            hn_progress_update(j->progress, "writing the model", (uint64_t)layer + 1,
                               (uint64_t)arch->n_layer, "layers", NULL);
    }
    return put(j, "output_norm.weight", 1, arch->n_embd);
}

static void job_done(job *j) {
    hn_gguf_writer_abort(j->writer);
    hn_tokenizer_free(j->ckpt.tokenizer);
    for (int i = 0; i < j->n_drawers; i++)
        hn_free(j->drawers[i].rows);
    hn_free(j->batch);
}

hn_status hn_synthetic_write(const char *path, const char *shape_name, hn_ftype ftype,
                             uint64_t seed, const hn_progress *progress, hn_error *err) {
    job j = {.ftype = ftype, .rng = hn_rng_new(seed, 0), .progress = progress, .err = err};
    hn_status status;
    HN_GO(find_shape(shape_name, &j.ckpt, err));
    HN_GO(make_tokenizer(&j.ckpt.tokenizer, err));
    j.batch = hn_malloc(BATCH_BYTES);
    HN_GO(j.batch ? HN_OK : hn_fail_no_memory(err, BATCH_BYTES));
    HN_GO(hn_gguf_writer_new(&j.writer, path, err));
    HN_GO(hn_quantise_write_metadata(j.writer, &j.ckpt, ftype, err));
    HN_GO(walk(&j, true));
    HN_GO(hn_gguf_writer_begin(j.writer, err));
    HN_GO(walk(&j, false));
    hn_gguf_writer *writer = j.writer;
    j.writer = NULL;
    status = hn_gguf_writer_commit(writer, err);
done:
    job_done(&j);
    return status;
}
