/* Reads llama2.c's checkpoint (karpathy/llama2.c, export.py version 0: seven int32, then f32
 * tensors, all layers of one kind together) and tokenizer, and writes them as GGUF. */
#include "support/stories.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "formats/gguf.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef HN_TEST_ROOT
#define HN_TEST_ROOT "tests"
#endif

typedef struct header {
    int32_t dim, hidden, n_layers, n_heads, n_kv_heads, vocab, seq_len;
} header;

typedef struct tensor {
    char name[48];
    uint64_t rows, cols; /* rows 0 = a vector */
    const float *data;
} tensor;

enum { MAX_TENSORS = 64, MAX_TOKENS = 512 };

typedef struct tokens {
    float scores[MAX_TOKENS];
    int32_t kinds[MAX_TOKENS];
    hn_gguf_string texts[MAX_TOKENS];
    hn_buf bytes;
} tokens;

int shared_file(char *path, size_t size, const char *name) {
    const char *shared = getenv("HONE_SHARED");
    if (shared && *shared)
        snprintf(path, size, "%s/data/%s", shared, name);
    else
        snprintf(path, size, "%s/../../shared/data/%s", HN_TEST_ROOT, name);
    return hn_path_exists(path);
}

static void add(tensor *list, int *n, const char *name, uint64_t rows, uint64_t cols,
                const float *data) {
    snprintf(list[*n].name, sizeof list[*n].name, "%s", name);
    list[*n].rows = rows;
    list[*n].cols = cols;
    list[(*n)++].data = data;
}

static int list_tensors(const header *h, const float *w, tensor *list) {
    static const char *const kinds[] = {"attn_norm", "attn_q",      "attn_k",
                                        "attn_v",    "attn_output", "ffn_norm",
                                        "ffn_gate",  "ffn_down",    "ffn_up"};
    uint64_t dim = (uint64_t)h->dim, ff = (uint64_t)h->hidden;
    uint64_t kv = dim / (uint64_t)h->n_heads * (uint64_t)h->n_kv_heads;
    const uint64_t shapes[][2] = {{0, dim}, {dim, dim}, {kv, dim}, {kv, dim}, {dim, dim},
                                  {0, dim}, {ff, dim},  {dim, ff}, {ff, dim}};
    int n = 0;
    add(list, &n, "token_embd.weight", (uint64_t)h->vocab, dim, w);
    w += (uint64_t)h->vocab * dim;
    for (int kind = 0; kind < 9; kind++) {
        uint64_t rows = shapes[kind][0], cols = shapes[kind][1];
        for (int layer = 0; layer < h->n_layers; layer++) {
            char name[48];
            snprintf(name, sizeof name, "blk.%d.%s.weight", layer, kinds[kind]);
            add(list, &n, name, rows, cols, w);
            w += (rows ? rows : 1) * cols;
        }
    }
    add(list, &n, "output_norm.weight", 0, dim, w);
    return n;
}

/* tok512.bin: int32 longest, then for each token f32 score, int32 length, bytes; export.py turned
 * SentencePiece's "\xe2\x96\x81" into spaces and put newlines round <s> and </s>. */
static void read_tokens(const hn_map *map, tokens *out) {
    const uint8_t *p = map->data + 4;
    size_t offsets[MAX_TOKENS], sizes[MAX_TOKENS];
    for (int i = 0; i < MAX_TOKENS; i++) {
        int32_t n;
        memcpy(&out->scores[i], p, 4);
        memcpy(&n, p + 4, 4);
        p += 8;
        offsets[i] = out->bytes.size;
        if (i == 1 || i == 2) {
            hn_buf_puts(&out->bytes, i == 1 ? "<s>" : "</s>");
        } else {
            for (int32_t k = 0; k < n; k++) {
                if (p[k] == ' ')
                    hn_buf_puts(&out->bytes, "\xe2\x96\x81");
                else
                    hn_buf_putc(&out->bytes, (char)p[k]);
            }
        }
        sizes[i] = out->bytes.size - offsets[i];
        p += n;
        out->kinds[i] = i == 0 ? 2 : i <= 2 ? 3 : i < 259 ? 6 : 1;
    }
    for (int i = 0; i < MAX_TOKENS; i++)
        out->texts[i] = (hn_gguf_string){out->bytes.data + offsets[i], sizes[i]};
}

static hn_status set_u32s(hn_gguf_writer *w, const header *h, const stories_fault *fault,
                          hn_error *err) {
    const struct {
        const char *key;
        uint32_t value;
    } keys[] = {
        {"llama.block_count", (uint32_t)h->n_layers},
        {"llama.context_length", (uint32_t)h->seq_len},
        {"llama.embedding_length", (uint32_t)h->dim},
        {"llama.feed_forward_length", (uint32_t)h->hidden},
        {"llama.attention.head_count", (uint32_t)h->n_heads},
        {"llama.attention.head_count_kv", (uint32_t)h->n_kv_heads},
        {"llama.rope.dimension_count", (uint32_t)(h->dim / h->n_heads)},
        {"tokenizer.ggml.bos_token_id", 1},
        {"tokenizer.ggml.eos_token_id", 2},
        {"tokenizer.ggml.unknown_token_id", 0},
    };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        HN_TRY(hn_gguf_writer_set_u32(w, keys[i].key, keys[i].value, err));
    return fault->key ? hn_gguf_writer_set_u32(w, fault->key, fault->value, err) : HN_OK;
}

static hn_status set_metadata(hn_gguf_writer *w, const header *h, const tokens *t,
                              const stories_fault *fault, hn_error *err) {
    const char *family = fault->architecture ? fault->architecture : "llama";
    HN_TRY(hn_gguf_writer_set_string(w, "general.architecture", family, strlen(family), err));
    HN_TRY(set_u32s(w, h, fault, err));
    HN_TRY(hn_gguf_writer_set_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, err));
    HN_TRY(hn_gguf_writer_set_string(w, "tokenizer.ggml.model", "llama", 5, err));
    if (fault->chat_template)
        HN_TRY(hn_gguf_writer_set_string(w, "tokenizer.chat_template", fault->chat_template,
                                         strlen(fault->chat_template), err));
    HN_TRY(hn_gguf_writer_set_strings(w, "tokenizer.ggml.tokens", t->texts, MAX_TOKENS, err));
    HN_TRY(hn_gguf_writer_set_array(w, "tokenizer.ggml.scores", HN_GGUF_F32, t->scores, MAX_TOKENS,
                                    err));
    return hn_gguf_writer_set_array(w, "tokenizer.ggml.token_type", HN_GGUF_I32, t->kinds,
                                    MAX_TOKENS, err);
}

static bool is(const char *wanted, const char *name) {
    return wanted && !strcmp(wanted, name);
}

static hn_status write_tensor(hn_gguf_writer *w, const tensor *t, const stories_fault *fault,
                              hn_error *err) {
    uint64_t n = (t->rows ? t->rows : 1) * t->cols;
    if (!is(fault->nan, t->name))
        return hn_gguf_writer_data(w, t->data, n * sizeof(float), err);
    float *copy = hn_malloc(n * sizeof *copy);
    memcpy(copy, t->data, n * sizeof *copy);
    copy[0] = NAN;
    hn_status status = hn_gguf_writer_data(w, copy, n * sizeof *copy, err);
    hn_free(copy);
    return status;
}

static hn_status write_all(hn_gguf_writer *w, tensor *list, int n, const stories_fault *fault,
                           hn_error *err) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (is(fault->drop, list[i].name))
            continue;
        list[kept] = list[i];
        if (is(fault->narrow, list[i].name))
            list[kept].rows ? list[kept].rows-- : list[kept].cols--;
        kept++;
    }
    if (fault->extra)
        add(list, &kept, fault->extra, 0, list[0].cols, list[0].data);
    for (int i = 0; i < kept; i++) {
        uint64_t matrix[2] = {list[i].rows, list[i].cols};
        bool vector = list[i].rows == 0;
        HN_TRY(hn_gguf_writer_add_tensor(w, list[i].name, HN_F32, vector ? 1 : 2,
                                         vector ? matrix + 1 : matrix, err));
    }
    HN_TRY(hn_gguf_writer_begin(w, err));
    for (int i = 0; i < kept; i++)
        HN_TRY(write_tensor(w, &list[i], fault, err));
    return HN_OK;
}

hn_status stories_write_gguf(const char *path, const stories_fault *fault, hn_error *err) {
    static const stories_fault none;
    char model_path[512], tokens_path[512];
    if (!shared_file(model_path, sizeof model_path, "stories260K/stories260K.bin") ||
        !shared_file(tokens_path, sizeof tokens_path, "stories260K/tok512.bin"))
        return hn_fail(err, HN_IO, "%s isn't there", model_path);
    hn_map model = {0}, vocabulary = {0};
    hn_gguf_writer *writer = NULL;
    tokens *t = hn_calloc(1, sizeof *t);
    tensor list[MAX_TENSORS];
    header h;
    hn_status status = HN_OK;
    fault = fault ? fault : &none;
    HN_GO(hn_map_open(&model, model_path, err));
    HN_GO(hn_map_open(&vocabulary, tokens_path, err));
    memcpy(&h, model.data, sizeof h);
    read_tokens(&vocabulary, t);
    int n = list_tensors(&h, (const float *)(const void *)(model.data + sizeof h), list);
    HN_GO(hn_gguf_writer_new(&writer, path, err));
    HN_GO(set_metadata(writer, &h, t, fault, err));
    HN_GO(write_all(writer, list, n, fault, err));
    status = hn_gguf_writer_commit(writer, err);
    writer = NULL;
done:
    hn_gguf_writer_abort(writer);
    hn_map_close(&model);
    hn_map_close(&vocabulary);
    hn_buf_done(&t->bytes);
    hn_free(t);
    return status;
}

void stories_make(char path[64], const stories_fault *fault) {
    hn_error err;
    snprintf(path, 64, "/tmp/hone-stories-%ld-XXXXXX", (long)getpid());
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    hn_status status = stories_write_gguf(path, fault, &err);
    if (status == HN_IO) {
        remove(path);
        print_message("skipped: %s (set HONE_SHARED)\n", err.message);
        skip();
    }
    if (status != HN_OK)
        fail_msg("%s", err.message);
}
