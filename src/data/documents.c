/* Rows to labelled token sequences: rendered with the model's own chat template, supervised by the
 * common-prefix rule of spec/training.md, cut at the end, checked. */
#include "data/records.h"

#include "base/mem.h"
#include "data/bad_rows.h"
#include "data/thought.h"
#include "model/generate.h"

#include <string.h>

typedef struct builder {
    const hn_checkpoint *ckpt;
    const char *path;
    hn_thoughts thoughts;
    hn_supervise supervise;
    int max_length;
    hn_ids full, part, prompt; /* scratch, reused from row to row */
    bool *supervised;          /* (capacity), whether full.data[i] is to be learned */
    size_t capacity;
} builder;

static size_t common_prefix(const hn_ids *a, const hn_ids *b) {
    size_t n = a->size < b->size ? a->size : b->size, i = 0;
    while (i < n && a->data[i] == b->data[i])
        i++;
    return i;
}

/* The first n messages, borrowed items in a new list. */
static json_t *head_of(const json_t *messages, size_t n) {
    json_t *head = json_array();
    for (size_t i = 0; head && i < n; i++)
        if (json_array_append(head, json_array_get(messages, i))) {
            json_decref(head);
            return NULL;
        }
    return head;
}

/* A model without a chat template is taught plain text: the turns as they are, then EOS. */
static hn_status encode_plain(const hn_checkpoint *ckpt, const json_t *messages, bool complete,
                              hn_ids *ids, hn_error *err) {
    size_t i;
    json_t *message;
    int flags = HN_ENCODE_ADD_SPECIAL;
    hn_buf text = {0};
    json_array_foreach (messages, i, message) {
        const json_t *content = json_object_get(message, "content");
        hn_buf_append(&text, json_string_value(content), json_string_length(content));
    }
    hn_status status = hn_buf_check(&text, err);
    if (status == HN_OK)
        status = hn_encode(ckpt->tokenizer, hn_buf_text(&text), text.size, flags, ids, err);
    hn_buf_done(&text);
    int32_t eos = hn_tokenizer_eos(ckpt->tokenizer);
    if (status == HN_OK && complete && eos >= 0 &&
        (ids->size == 0 || ids->data[ids->size - 1] != eos))
        status = hn_ids_push(ids, eos, err);
    return status;
}

static hn_status encode(const builder *b, const json_t *messages, const json_t *tools, bool prompt,
                        hn_ids *ids, hn_error *err) {
    ids->size = 0;
    if (!b->ckpt->chat_template)
        return encode_plain(b->ckpt, messages, !prompt, ids, err);
    return hn_checkpoint_chat_encode(b->ckpt, messages, tools, prompt, ids, err);
}

static hn_status encode_head(const builder *b, const json_t *messages, size_t n,
                             const json_t *tools, bool prompt, hn_ids *ids, hn_error *err) {
    json_t *head = head_of(messages, n);
    if (!head)
        return hn_fail_no_memory(err, n * sizeof(json_t *));
    hn_status status = encode(b, head, tools, prompt, ids, err);
    json_decref(head);
    return status;
}

static hn_status grow_marks(builder *b, hn_error *err) {
    if (b->capacity >= b->full.size)
        return HN_OK;
    bool *grown = hn_reallocarray(b->supervised, b->full.size, sizeof *grown);
    if (!grown)
        return hn_fail_no_memory(err, b->full.size * sizeof *grown);
    b->supervised = grown;
    b->capacity = b->full.size;
    return HN_OK;
}

static bool is_assistant(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* Marks the tokens of turn `turn`: from where the prompt with its generation prompt ends to where
 * the conversation so far ends, so that the turn's stop token is always learned. */
static hn_status mark_turn(builder *b, const json_t *messages, size_t turn, const json_t *tools,
                           hn_error *err) {
    HN_TRY(encode_head(b, messages, turn, tools, true, &b->prompt, err));
    size_t end = b->full.size;
    const hn_ids *whole = &b->full;
    if (turn + 1 < json_array_size(messages)) {
        HN_TRY(encode_head(b, messages, turn + 1, tools, false, &b->part, err));
        end = common_prefix(&b->part, &b->full);
        whole = &b->part;
    }
    for (size_t i = common_prefix(&b->prompt, whole); i < end; i++)
        b->supervised[i] = true;
    return HN_OK;
}

/* Fills b->full and b->supervised from one conversation. */
static hn_status mark(builder *b, const json_t *messages, const json_t *tools, hn_error *err) {
    HN_TRY(encode(b, messages, tools, false, &b->full, err));
    HN_TRY(grow_marks(b, err));
    size_t n = json_array_size(messages);
    memset(b->supervised, b->supervise == HN_SUPERVISE_ALL, b->full.size * sizeof *b->supervised);
    if (b->supervise == HN_SUPERVISE_COMPLETION)
        return mark_turn(b, messages, n - 1, tools, err);
    for (size_t i = 0; b->supervise == HN_SUPERVISE_ASSISTANT && i < n; i++)
        if (is_assistant(json_array_get(messages, i)))
            HN_TRY(mark_turn(b, messages, i, tools, err));
    return HN_OK;
}

static hn_status check_bos(const builder *b, hn_error *err) {
    int32_t bos = hn_tokenizer_bos(b->ckpt->tokenizer);
    /* Where one token both begins texts and turns (SmolLM2's <|im_start|>), two in a row can only
     * come from template and tokenizer both writing it. */
    if (bos >= 0 && b->full.size >= 2 && b->full.data[0] == bos && b->full.data[1] == bos)
        return hn_fail(err, HN_BAD_INPUT,
                       "the tokens begin with BOS twice: the chat template and the tokenizer both "
                       "add it, or the row's text spells it out; take one away");
    return HN_OK;
}

/* What is marked, cut to max_length, as a document; one without a supervised token stays empty. */
static hn_status make_document(const builder *b, uint64_t line, bool *cut, hn_document *out,
                               hn_error *err) {
    size_t n = b->full.size;
    *cut = n > (size_t)b->max_length;
    if (*cut)
        n = (size_t)b->max_length;
    int32_t n_supervised = 0;
    for (size_t i = 1; i < n; i++)
        n_supervised += b->supervised[i];
    *out = (hn_document){.line = line};
    if (n_supervised == 0)
        return HN_OK;
    hn_document doc = {.n = (int32_t)n, .n_supervised = n_supervised, .line = line};
    doc.ids = hn_malloc(2 * n * sizeof *doc.ids);
    if (!doc.ids)
        return hn_fail_no_memory(err, 2 * n * sizeof *doc.ids);
    doc.labels = doc.ids + n;
    memcpy(doc.ids, b->full.data, n * sizeof *doc.ids);
    for (size_t i = 0; i < n; i++)
        doc.labels[i] = i + 1 < n && b->supervised[i + 1] ? doc.ids[i + 1] : -1;
    *out = doc;
    return HN_OK;
}

/* One row as a document; of a preference, the completion that is chosen or the other. */
static hn_status build_row(builder *b, const hn_record *record, const char *system, bool chosen,
                           bool *cut, hn_document *out, hn_error *err) {
    json_t *messages = hn_record_messages(record, system, chosen);
    if (!messages)
        return hn_fail_no_memory(err, json_object_size(record->row));
    hn_status status = hn_thoughts_place(&b->thoughts, messages, err);
    if (status == HN_OK)
        status = mark(b, messages, json_object_get(record->row, "tools"), err);
    json_decref(messages);
    if (status == HN_OK)
        status = check_bos(b, err);
    if (status == HN_OK)
        return make_document(b, record->line, cut, out, err);
    return hn_error_prefix(err, "%s:%llu", b->path, (unsigned long long)record->line);
}

void hn_rows_note_cut(const char *path, int max_length, const hn_row_lines *truncated,
                      const hn_row_lines *dropped, const hn_progress *progress) {
    hn_buf text = {0};
    if (truncated->n) {
        hn_buf_printf(&text, "%zu rows cut to %d tokens (", truncated->n, max_length);
        hn_row_lines_print(truncated, &text);
        hn_buf_putc(&text, ')');
    }
    if (dropped->n) {
        hn_buf_printf(&text,
                      "%s%zu rows dropped, because within %d tokens nothing of them would be "
                      "learned (",
                      truncated->n ? ", " : "", dropped->n, max_length);
        hn_row_lines_print(dropped, &text);
        hn_buf_putc(&text, ')');
    }
    if (text.size)
        hn_progress_note(progress, "%s: %s", path, hn_buf_text(&text));
    hn_buf_done(&text);
}

static hn_status add_document(builder *b, hn_documents *docs, const hn_record *record,
                              const char *system, hn_error *err) {
    bool cut;
    hn_document doc;
    HN_TRY(build_row(b, record, system, true, &cut, &doc, err));
    if (doc.n == 0) {
        hn_row_lines_add(&docs->dropped, record->line);
        return HN_OK;
    }
    docs->items[docs->n++] = doc;
    if (cut)
        hn_row_lines_add(&docs->truncated, record->line);
    docs->n_tokens += (uint64_t)doc.n;
    docs->n_supervised += (uint64_t)doc.n_supervised;
    return HN_OK;
}

static hn_status builder_begin(builder *b, const hn_records *records, const hn_checkpoint *ckpt,
                               hn_supervise supervise, int max_length, hn_error *err) {
    if (max_length < 2)
        return hn_fail(err, HN_USAGE, "max_length %d: a row needs at least 2 tokens", max_length);
    *b = (builder){
        .ckpt = ckpt, .path = records->path, .supervise = supervise, .max_length = max_length};
    return hn_thoughts_probe(ckpt, &b->thoughts, err);
}

static void builder_end(builder *b) {
    hn_ids_done(&b->full);
    hn_ids_done(&b->part);
    hn_ids_done(&b->prompt);
    hn_free(b->supervised);
}

static hn_status nothing_left(const hn_records *records, int max_length, hn_error *err) {
    return hn_fail(err, HN_BAD_INPUT,
                   "%s: no token would be learned: all %zu rows lose their completion when cut "
                   "to %d tokens; raise max_length",
                   records->path, records->n, max_length);
}

hn_status hn_documents_build(hn_documents *out, const hn_records *records,
                             const hn_checkpoint *ckpt, const char *system, hn_supervise supervise,
                             int max_length, hn_error *err) {
    builder b;
    HN_TRY(builder_begin(&b, records, ckpt, supervise, max_length, err));
    hn_documents docs = {.path = hn_strdup(records->path),
                         .items = hn_calloc(records->n, sizeof *docs.items)};
    hn_bad_rows bad = {0};
    hn_error own = {0};
    hn_status status = HN_OK;
    if (!docs.path || !docs.items)
        HN_GO(hn_fail_no_memory(err, records->n * sizeof *docs.items));
    for (size_t i = 0; i < records->n; i++) {
        hn_status one = add_document(&b, &docs, &records->items[i], system, &own);
        HN_GO(hn_bad_rows_note(&bad, records->items[i].line, one, &own, err));
    }
    HN_GO(hn_bad_rows_end(&bad, records->n, "", err));
    if (docs.n == 0)
        HN_GO(nothing_left(records, max_length, err));
    *out = docs;
    docs = (hn_documents){0};
done:
    builder_end(&b);
    hn_documents_done(&docs);
    return status;
}

void hn_documents_done(hn_documents *docs) {
    for (size_t i = 0; docs->items && i < docs->n; i++)
        hn_free(docs->items[i].ids);
    hn_free(docs->items);
    hn_free(docs->path);
    *docs = (hn_documents){0};
}

static bool same_tokens(const hn_document *a, const hn_document *b) {
    return a->n == b->n && memcmp(a->ids, b->ids, (size_t)a->n * sizeof *a->ids) == 0;
}

static hn_status add_pair(builder *b, hn_pairs *pairs, const hn_record *record, const char *system,
                          hn_error *err) {
    bool cut[2];
    hn_pair *pair = &pairs->items[pairs->n];
    if (record->kind != HN_RECORD_PREFERENCE)
        return hn_fail(err, HN_BAD_INPUT, "%s:%llu: a preference is {prompt, chosen, rejected}",
                       b->path, (unsigned long long)record->line);
    HN_TRY(build_row(b, record, system, true, &cut[0], &pair->chosen, err));
    hn_status status = build_row(b, record, system, false, &cut[1], &pair->rejected, err);
    bool usable = status == HN_OK && pair->chosen.n > 0 && pair->rejected.n > 0;
    if (usable && same_tokens(&pair->chosen, &pair->rejected))
        status = hn_fail(err, HN_BAD_INPUT,
                         "%s:%llu: chosen and rejected are the same%s: there is nothing to prefer",
                         b->path, (unsigned long long)record->line,
                         cut[0] || cut[1] ? " when cut to max_length" : "");
    if (status != HN_OK || !usable) {
        hn_free(pair->chosen.ids);
        hn_free(pair->rejected.ids);
        *pair = (hn_pair){0};
        if (status == HN_OK)
            hn_row_lines_add(&pairs->dropped, record->line);
        return status;
    }
    pairs->n++;
    if (cut[0] || cut[1])
        hn_row_lines_add(&pairs->truncated, record->line);
    pairs->n_tokens += (uint64_t)(pair->chosen.n + pair->rejected.n);
    return HN_OK;
}

hn_status hn_pairs_build(hn_pairs *out, const hn_records *records, const hn_checkpoint *ckpt,
                         const char *system, int max_length, hn_error *err) {
    builder b;
    HN_TRY(builder_begin(&b, records, ckpt, HN_SUPERVISE_COMPLETION, max_length, err));
    hn_pairs pairs = {.path = hn_strdup(records->path),
                      .items = hn_calloc(records->n, sizeof *pairs.items)};
    hn_bad_rows bad = {0};
    hn_error own = {0};
    hn_status status = HN_OK;
    if (!pairs.path || !pairs.items)
        HN_GO(hn_fail_no_memory(err, records->n * sizeof *pairs.items));
    for (size_t i = 0; i < records->n; i++) {
        hn_status one = add_pair(&b, &pairs, &records->items[i], system, &own);
        HN_GO(hn_bad_rows_note(&bad, records->items[i].line, one, &own, err));
    }
    HN_GO(hn_bad_rows_end(&bad, records->n, "", err));
    if (pairs.n == 0)
        HN_GO(nothing_left(records, max_length, err));
    *out = pairs;
    pairs = (hn_pairs){0};
done:
    builder_end(&b);
    hn_pairs_done(&pairs);
    return status;
}

void hn_pairs_done(hn_pairs *pairs) {
    for (size_t i = 0; pairs->items && i < pairs->n; i++) {
        hn_free(pairs->items[i].chosen.ids);
        hn_free(pairs->items[i].rejected.ids);
    }
    hn_free(pairs->items);
    hn_free(pairs->path);
    *pairs = (hn_pairs){0};
}
