/* Guesses from a smaller model with the same tokenizer: what it finds likeliest. */
#include "model/speculate.h"

#include "base/mem.h"
#include "model/vmath.h"
#include "tokenizer/tokenizer.h"

#include <string.h>

typedef struct writer {
    hn_model *model; /* borrowed */
    hn_kv *kv;
    float *logits; /* (n_vocab) */
    int n_positions, n_tokens;
} writer;

static hn_status look(void *self, const int32_t *text, int n, int max, int *found, int *kind,
                      hn_error *err) {
    const writer *w = self;
    (void)text, (void)err;
    int room = w->n_positions - n;
    *found = room < max ? (room > 0 ? room : 0) : max;
    *kind = 0;
    return HN_OK;
}

/* Reads tokens and leaves the last one's logits. */
static hn_status read_tokens(writer *w, const int32_t *tokens, int n, hn_error *err) {
    enum { BATCH = 512 };
    hn_batch_row rows[BATCH];
    for (int first = 0; first < n; first += BATCH) {
        int count = n - first < BATCH ? n - first : BATCH;
        for (int i = 0; i < count; i++)
            rows[i] = (hn_batch_row){
                .token = tokens[first + i], .adapter = -1, .wants_logits = first + i == n - 1};
        HN_TRY(hn_forward(w->model, w->kv, NULL, 0, rows, count, w->logits, NULL, err));
    }
    return HN_OK;
}

static hn_status draft(void *self, const int32_t *text, int n, int wanted, int32_t *tokens,
                       int *made, hn_error *err) {
    writer *w = self;
    int32_t known = hn_kv_common_prefix(w->kv, 0, NULL, text, n);
    known = known == n ? n - 1 : known;
    hn_kv_truncate(w->kv, 0, known);
    HN_TRY(read_tokens(w, text + known, n - known, err));
    for (int i = 0; i < wanted; i++) {
        tokens[i] = (int32_t)hn_argmax(w->logits, w->n_tokens);
        if (i + 1 < wanted)
            HN_TRY(read_tokens(w, &tokens[i], 1, err));
    }
    *made = wanted;
    return HN_OK;
}

static void free_writer(void *self) {
    writer *w = self;
    hn_kv_free(w->kv);
    hn_free(w->logits);
    hn_free(w);
}

/* The same ids must be the same bytes, and mean the same. */
static hn_status check_vocabulary(const hn_model *draft, const hn_model *model, hn_error *err) {
    const hn_tokenizer *a = draft->ckpt.tokenizer, *b = model->ckpt.tokenizer;
    const uint32_t n = hn_tokenizer_size(b);
    if (hn_tokenizer_size(a) != n)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s can't guess for %s: it has %u tokens, that has %u (the tokenizers must "
                       "be the same)",
                       draft->ckpt.path, model->ckpt.path, hn_tokenizer_size(a), n);
    for (uint32_t i = 0; i < n; i++) {
        const int32_t id = (int32_t)i;
        const char *x, *y;
        size_t n_x, n_y;
        hn_token_bytes(a, id, true, &x, &n_x);
        hn_token_bytes(b, id, true, &y, &n_y);
        if (n_x != n_y || (n_x && memcmp(x, y, n_x) != 0) ||
            hn_tokenizer_is_control(a, id) != hn_tokenizer_is_control(b, id))
            return hn_fail(err, HN_BAD_INPUT,
                           "%s can't guess for %s: token %d is '%.*s' there and '%.*s' here (the "
                           "tokenizers must be the same)",
                           draft->ckpt.path, model->ckpt.path, id, (int)n_x, x, (int)n_y, y);
    }
    return HN_OK;
}

/* What a pass over one row reads, which is what it costs. */
static double pass_bytes(const hn_model *model) {
    double bytes = (double)hn_model_head(model)->packed_bytes;
    for (int layer = 0; layer < model->arch.n_layer; layer++)
        for (int m = 0; m < HN_MODULE_COUNT; m++)
            bytes += (double)model->layers[layer].w[m].packed_bytes;
    return bytes;
}

hn_status hn_speculator_new_model(hn_speculator **out, hn_model *draft_model, const hn_model *model,
                                  int n_positions, hn_error *err) {
    HN_TRY(check_vocabulary(draft_model, model, err));
    const size_t bytes = (size_t)draft_model->arch.n_vocab * sizeof(float);
    writer *w = hn_calloc(1, sizeof *w);
    hn_status status = HN_OK;
    HN_GO(w ? HN_OK : hn_fail_no_memory(err, sizeof *w));
    w->model = draft_model;
    w->n_positions = n_positions;
    w->n_tokens = (int)hn_tokenizer_size(model->ckpt.tokenizer);
    HN_GO(hn_kv_new(&w->kv, draft_model, 1, n_positions, err));
    w->logits = hn_malloc(bytes);
    HN_GO(w->logits ? HN_OK : hn_fail_no_memory(err, bytes));
    const hn_drafter drafter = {.self = w,
                                .look = look,
                                .draft = draft,
                                .free = free_writer,
                                .n_kinds = 1,
                                .chances = {0.7f},
                                .cost = (float)(pass_bytes(draft_model) / pass_bytes(model))};
    w = NULL; /* the drafter's */
    HN_GO(hn_speculator_new(out, &drafter, err));
done:
    if (w)
        free_writer(w);
    return status;
}
