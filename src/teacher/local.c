/* A model on this machine as a teacher: questions answered side by side in one ragged batch, each
 * as hn_generate would alone, because a row never depends on its neighbours. What a question has in
 * common with one before it (instructions, the prompt of another sample) isn't computed again. */
#include "teacher/teacher.h"

#include "base/buf.h"
#include "base/mem.h"
#include "model/generate.h"
#include "model/sampling.h"

#include <string.h>

enum {
    MAX_ROWS = 256,   /* of a batch: prompts go in pieces */
    BLOCK_SLACK = 64, /* of each sequence beside n_ctx: blocks are filled in part */
};

typedef struct local_slot {
    enum { FREE, WAITING, BUSY, ANSWERED } state;
    size_t tag;
    hn_ids prompt, out;
    int64_t n_max;   /* tokens of the answer at most */
    int32_t fed;     /* prompt tokens in the cache */
    int32_t pending; /* the token to feed next once the prompt is in */
    bool cut;
    hn_sampling sampling;
    hn_sampler sampler; /* while BUSY */
    char problem[256];  /* ANSWERED without an answer */
} local_slot;

typedef struct local {
    hn_teacher teacher;
    hn_model *model;
    const hn_adapter *adapter;
    hn_kv *kv; /* slot i is sequence i */
    int n_ctx; /* positions of all sequences together */
    local_slot *slots;
    hn_batch_row rows[MAX_ROWS];
    int n_rows;
    int *wanting; /* slots whose logits the batch gives, in order */
    int n_wanting;
    float *logits; /* (parallel, n_vocab) */
} local;

static void end_sampler(local_slot *slot) {
    if (slot->state == BUSY)
        hn_sampler_done(&slot->sampler);
}

static void local_free(hn_teacher *teacher) {
    local *l = (local *)teacher;
    for (int i = 0; l->slots && i < teacher->parallel; i++) {
        end_sampler(&l->slots[i]);
        hn_ids_done(&l->slots[i].prompt);
        hn_ids_done(&l->slots[i].out);
    }
    hn_kv_free(l->kv);
    hn_free(l->slots);
    hn_free(l->wanting);
    hn_free(l->logits);
    hn_free(l);
}

static double number_of(const json_t *request, const char *key, double otherwise) {
    const json_t *value = json_object_get(request, key);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

static local_slot *free_slot(const local *l) {
    local_slot *slot = l->slots;
    while (slot < l->slots + l->teacher.parallel && slot->state != FREE)
        slot++;
    return slot < l->slots + l->teacher.parallel ? slot : NULL;
}

static hn_status local_ask(hn_teacher *teacher, size_t tag, const json_t *request, hn_error *err) {
    local *l = (local *)teacher;
    local_slot *slot = free_slot(l);
    hn_error why = {0};
    if (!slot)
        return hn_fail(err, HN_FAILED, "more than %d questions under way", teacher->parallel);
    slot->tag = tag;
    slot->prompt.size = slot->out.size = 0;
    slot->cut = false;
    slot->problem[0] = '\0';
    slot->sampling = hn_sampling_default();
    slot->sampling.temperature = (float)number_of(request, "temperature", 0);
    slot->sampling.top_p = (float)number_of(request, "top_p", 1);
    slot->sampling.seed = (uint64_t)json_integer_value(json_object_get(request, "seed"));
    hn_status status = hn_chat_encode(l->model, json_object_get(request, "messages"), NULL, true,
                                      &slot->prompt, &why);
    if (status != HN_OK && status != HN_BAD_INPUT)
        return hn_fail(err, status, "%s", why.message);
    int64_t left = l->n_ctx - (int64_t)slot->prompt.size;
    slot->n_max = (int64_t)number_of(request, "max_tokens", 0);
    if (slot->n_max <= 0)
        slot->n_max = left;
    if (status != HN_OK)
        snprintf(slot->problem, sizeof slot->problem, "%.250s", why.message);
    else if (slot->n_max < 1 || slot->n_max > left)
        snprintf(slot->problem, sizeof slot->problem,
                 "%zu tokens and the answer don't fit the context of %d", slot->prompt.size,
                 l->n_ctx);
    else if (!slot->prompt.size)
        snprintf(slot->problem, sizeof slot->problem, "the chat template makes nothing of it");
    slot->state = slot->problem[0] ? ANSWERED : WAITING;
    return HN_OK;
}

static int64_t positions_of(const local_slot *slot) {
    return (int64_t)slot->prompt.size + slot->n_max;
}

/* Begins a question with what some sequence already holds of it. Sequences that are done are then
 * emptied: their blocks are wanted. */
static hn_status admit(local *l, int s, hn_error *err) {
    local_slot *slot = &l->slots[s];
    int32_t n_prompt = (int32_t)slot->prompt.size, most = 0;
    int from = s;
    for (int i = 0; i < l->teacher.parallel; i++) {
        int32_t common = hn_kv_common_prefix(l->kv, i, l->adapter, slot->prompt.data, n_prompt - 1);
        if (common > most) {
            most = common;
            from = i;
        }
    }
    if (from == s)
        hn_kv_truncate(l->kv, s, most);
    else
        HN_TRY(hn_kv_fork(l->kv, from, s, most, err));
    for (int i = 0; i < l->teacher.parallel; i++)
        if (i != s && l->slots[i].state != BUSY)
            hn_kv_truncate(l->kv, i, 0);
    HN_TRY(hn_sampler_init(&slot->sampler, &slot->sampling,
                           hn_tokenizer_size(l->model->ckpt.tokenizer), err));
    slot->fed = most;
    slot->state = BUSY;
    return HN_OK;
}

static hn_status admit_waiting(local *l, hn_error *err) {
    int64_t held = 0;
    for (int s = 0; s < l->teacher.parallel; s++)
        if (l->slots[s].state == BUSY)
            held += positions_of(&l->slots[s]);
    for (int s = 0; s < l->teacher.parallel; s++) {
        local_slot *slot = &l->slots[s];
        if (slot->state != WAITING || held + positions_of(slot) > l->n_ctx)
            continue;
        held += positions_of(slot);
        HN_TRY(admit(l, s, err));
    }
    return HN_OK;
}

static void push_row(local *l, int32_t token, int seq, bool wants_logits) {
    l->rows[l->n_rows++] = (hn_batch_row){
        .token = token, .seq = seq, .adapter = l->adapter ? 0 : -1, .wants_logits = wants_logits};
}

/* The next rows of each busy slot: a piece of its prompt, or its last token. */
static void gather(local *l) {
    l->n_rows = l->n_wanting = 0;
    for (int s = 0; s < l->teacher.parallel && l->n_rows < MAX_ROWS; s++) {
        local_slot *slot = &l->slots[s];
        int32_t n_prompt = (int32_t)slot->prompt.size;
        if (slot->state != BUSY)
            continue;
        bool wants = true;
        if (slot->fed == n_prompt)
            push_row(l, slot->pending, s, true);
        for (; slot->fed < n_prompt && l->n_rows < MAX_ROWS; slot->fed++) {
            wants = slot->fed == n_prompt - 1;
            push_row(l, slot->prompt.data[slot->fed], s, wants);
        }
        if (wants)
            l->wanting[l->n_wanting++] = s;
    }
}

static hn_status step(local *l, hn_error *err) {
    const hn_tokenizer *tokenizer = l->model->ckpt.tokenizer;
    gather(l);
    HN_TRY(hn_forward(l->model, l->kv, &l->adapter, l->adapter ? 1 : 0, l->rows, l->n_rows,
                      l->logits, NULL, err));
    for (int i = 0; i < l->n_wanting; i++) {
        local_slot *slot = &l->slots[l->wanting[i]];
        float *logits = l->logits + (size_t)i * (size_t)l->model->arch.n_vocab;
        int32_t token = hn_sampler_draw(&slot->sampler, logits);
        HN_TRY(hn_drawn_check(logits[token], err));
        bool ends = hn_tokenizer_is_end(tokenizer, token);
        if (!ends)
            HN_TRY(hn_ids_push(&slot->out, token, err));
        slot->pending = token;
        slot->cut = !ends;
        if (ends || (int64_t)slot->out.size >= slot->n_max) {
            end_sampler(slot);
            slot->state = ANSWERED;
        }
    }
    return HN_OK;
}

static hn_status reply_of(const local *l, local_slot *slot, hn_teacher_reply *reply,
                          hn_error *err) {
    hn_teacher_reply said = {.tag = slot->tag,
                             .cut = slot->cut,
                             .n_prompt = (int64_t)slot->prompt.size,
                             .n_answer = (int64_t)slot->out.size};
    hn_buf text = {0};
    snprintf(said.problem, sizeof said.problem, "%s", slot->problem);
    hn_status status =
        hn_decode(l->model->ckpt.tokenizer, slot->out.data, slot->out.size, false, &text, err);
    if (status == HN_OK)
        status = hn_buf_check(&text, err);
    if (status == HN_OK && strlen(hn_buf_text(&text)) != text.size)
        snprintf(said.problem, sizeof said.problem, "the answer holds a NUL character");
    if (status == HN_OK) {
        said.content = hn_buf_take(&text);
        status = said.content ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    slot->state = FREE;
    if (status == HN_OK)
        *reply = said;
    return status;
}

static hn_status local_next(hn_teacher *teacher, const hn_progress *progress,
                            hn_teacher_reply *reply, hn_error *err) {
    local *l = (local *)teacher;
    for (;;) {
        if (hn_progress_cancelled(progress))
            return hn_fail(err, HN_CANCELLED,
                           "stopped; what has come stays, and the same command goes on from it");
        for (int s = 0; s < teacher->parallel; s++)
            if (l->slots[s].state == ANSWERED)
                return reply_of(l, &l->slots[s], reply, err);
        HN_TRY(admit_waiting(l, err));
        HN_TRY(step(l, err));
    }
}

hn_status hn_teacher_open_local(hn_teacher **out, hn_model *model, const hn_adapter *adapter,
                                int parallel, int n_ctx, hn_error *err) {
    size_t n = (size_t)parallel, n_logits = n * (size_t)model->arch.n_vocab;
    local *l = hn_calloc(1, sizeof *l);
    if (!l)
        return hn_fail_no_memory(err, sizeof *l);
    l->teacher = (hn_teacher){
        .parallel = parallel, .ask = local_ask, .next = local_next, .free = local_free};
    l->model = model;
    l->adapter = adapter;
    l->n_ctx = n_ctx;
    l->slots = hn_calloc(n, sizeof *l->slots);
    l->wanting = hn_calloc(n, sizeof *l->wanting);
    l->logits = hn_calloc(n_logits, sizeof *l->logits);
    hn_status status = HN_OK;
    if (!l->slots || !l->wanting || !l->logits)
        HN_GO(hn_fail_no_memory(err, n_logits * sizeof *l->logits));
    HN_GO(hn_kv_new(&l->kv, model, parallel, n_ctx + parallel * BLOCK_SLACK, err));
    *out = &l->teacher;
done:
    if (status != HN_OK)
        local_free(&l->teacher);
    return status;
}
