/* Reading a golden set: every row is checked before anything is computed, and an error names file,
 * line and remedy. */
#include "eval/golden.h"

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "eval/assertion.h"
#include "formats/jsonl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const KEYS[] = {"prompt", "messages", "assert",  "threshold",   "weight",
                                   "slice",  "id",       "choices", "description", "metadata"};
static const char *const ROLES[] = {"system", "user", "assistant", "tool"};
enum { N_KEYS = sizeof KEYS / sizeof *KEYS, N_ROLES = sizeof ROLES / sizeof *ROLES };
enum { MAX_ROWS = 10000000 };

static bool listed(const char *word, const char *const *list, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!strcmp(word, list[i]))
            return true;
    return false;
}

static hn_status check_messages(const json_t *messages, const char *where, hn_error *err) {
    size_t i, n = json_array_size(messages);
    const json_t *turn;
    if (!n)
        return hn_fail(err, HN_BAD_INPUT, "%s: 'messages' must be a list with at least one turn",
                       where);
    json_array_foreach (messages, i, turn) {
        const char *role = json_string_value(json_object_get(turn, "role"));
        const char *content = json_string_value(json_object_get(turn, "content"));
        if (!role || !listed(role, ROLES, N_ROLES))
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: message %zu: 'role' must be system, user, assistant or tool", where,
                           i + 1);
        if (!content)
            return hn_fail(err, HN_BAD_INPUT, "%s: message %zu: 'content' must be a string", where,
                           i + 1);
        if (i + 1 == n && !strcmp(role, "assistant"))
            return hn_fail(err, HN_BAD_INPUT,
                           "%s: the last message is the assistant's: the model is to answer it, so "
                           "leave it out and assert what it must say",
                           where);
    }
    return HN_OK;
}

static hn_status item_messages(hn_golden_item *item, const char *where, hn_error *err) {
    json_t *messages = json_object_get(item->row, "messages");
    const json_t *prompt = json_object_get(item->row, "prompt");
    if (!messages == !prompt)
        return hn_fail(err, HN_BAD_INPUT, "%s: a row needs either 'prompt' or 'messages'", where);
    if (messages) {
        HN_TRY(check_messages(messages, where, err));
        item->messages = json_incref(messages);
        return HN_OK;
    }
    if (!json_is_string(prompt) || !json_string_length(prompt))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'prompt' must be a string with something in it",
                       where);
    item->messages = json_pack("[{s:s,s:O}]", "role", "user", "content", prompt);
    return item->messages ? HN_OK : hn_fail_no_memory(err, json_string_length(prompt));
}

static hn_status item_assertions(hn_golden_item *item, const json_t *choices, const char *where,
                                 hn_error *err) {
    const json_t *list = json_object_get(item->row, "assert");
    size_t n = json_array_size(list), n_choice = 0;
    if (!n)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s: 'assert' must be a list of {\"type\", \"value\"}, at least one", where);
    item->assertions = hn_calloc(n, sizeof *item->assertions);
    if (!item->assertions)
        return hn_fail_no_memory(err, n * sizeof *item->assertions);
    for (size_t i = 0; i < n; i++) {
        hn_assertion *assertion = &item->assertions[item->n_assertions++];
        HN_TRY(hn_assertion_parse(assertion, json_array_get(list, i), choices, where, err));
        n_choice += assertion->type == HN_ASSERT_CHOICE;
    }
    if (n_choice > 1)
        return hn_fail(err, HN_UNSUPPORTED, "%s: a row may have one 'choice' assertion", where);
    return HN_OK;
}

static hn_status item_parse(hn_golden_item *item, const json_t *choices, const char *where,
                            hn_error *err) {
    const char *key, *id = NULL;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)item->row, key, value) {
        if (!listed(key, KEYS, N_KEYS)) {
            const char *near = hn_text_nearest(key, KEYS, N_KEYS);
            return hn_fail(err, HN_BAD_INPUT, "%s: unknown key '%s'%s%s%s", where, key,
                           near ? "; did you mean '" : " (extra data goes under 'metadata')",
                           near ? near : "", near ? "'?" : "");
        }
    }
    item->slice = "all";
    item->threshold = -1;
    item->weight = 1;
    HN_TRY(hn_json_get_string(item->row, "slice", where, &item->slice, err));
    HN_TRY(hn_json_get_string(item->row, "id", where, &id, err));
    HN_TRY(hn_json_get_real(item->row, "threshold", where, &item->threshold, err));
    HN_TRY(hn_json_get_real(item->row, "weight", where, &item->weight, err));
    if (json_object_get(item->row, "threshold") && !(item->threshold >= 0 && item->threshold <= 1))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'threshold' must lie between 0 and 1", where);
    if (!(item->weight > 0 && item->weight < 1e9))
        return hn_fail(err, HN_BAD_INPUT, "%s: 'weight' must be above 0", where);
    if (!item->slice[0])
        return hn_fail(err, HN_BAD_INPUT, "%s: 'slice' is empty: name it or leave it out", where);
    HN_TRY(item_messages(item, where, err));
    return item_assertions(item, choices, where, err);
}

static hn_status item_hash(hn_golden_item *item, hn_error *err) {
    char *text = json_dumps(item->row, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return hn_fail_no_memory(err, 256);
    char hex[HN_SHA256_HEX];
    hn_status status = hn_sha256_data(text, strlen(text), hex, err);
    free(text);
    if (status == HN_OK)
        snprintf(item->id, sizeof item->id, "%.16s", hex);
    return status;
}

static hn_status add_row(hn_golden *golden, json_t *row, uint64_t line, const json_t **choices,
                         hn_error *err) {
    char where[600];
    snprintf(where, sizeof where, "%.560s:%llu", golden->path, (unsigned long long)line);
    if (golden->n == MAX_ROWS)
        return hn_fail(err, HN_BAD_INPUT, "%s: more than %d rows", where, MAX_ROWS);
    if (!(golden->n & (golden->n - 1))) { /* doubled at each power of two */
        size_t capacity = golden->n ? 2 * golden->n : 1;
        hn_golden_item *items = hn_reallocarray(golden->items, capacity, sizeof *items);
        if (!items)
            return hn_fail_no_memory(err, capacity * sizeof *items);
        golden->items = items;
    }
    if (json_array_append(golden->rows, row))
        return hn_fail_no_memory(err, sizeof *row);
    const json_t *own = json_object_get(row, "choices");
    if (own)
        *choices = own;
    hn_golden_item *item = &golden->items[golden->n++];
    *item = (hn_golden_item){.row = row, .line = line};
    HN_TRY(item_parse(item, *choices, where, err));
    return item_hash(item, err);
}

static int compare_items(const void *a, const void *b) {
    const hn_golden_item *x = *(const hn_golden_item *const *)a;
    const hn_golden_item *y = *(const hn_golden_item *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* The same row twice would count its answer twice. */
static hn_status refuse_duplicates(const hn_golden *golden, hn_error *err) {
    const hn_golden_item **sorted = hn_malloc(golden->n * sizeof *sorted);
    if (!sorted)
        return hn_fail_no_memory(err, golden->n * sizeof *sorted);
    for (size_t i = 0; i < golden->n; i++)
        sorted[i] = &golden->items[i];
    qsort(sorted, golden->n, sizeof *sorted, compare_items);
    hn_status status = HN_OK;
    for (size_t i = 1; i < golden->n && status == HN_OK; i++)
        if (!strcmp(sorted[i - 1]->id, sorted[i]->id))
            status = hn_fail(err, HN_BAD_INPUT,
                             "%s:%llu: the same row as line %llu: take one of them out",
                             golden->path, (unsigned long long)sorted[i]->line,
                             (unsigned long long)sorted[i - 1]->line);
    hn_free(sorted);
    return status;
}

static hn_status read_rows(hn_golden *golden, hn_jsonl *lines, hn_error *err) {
    const json_t *choices = NULL;
    for (;;) {
        json_t *row = NULL;
        HN_TRY(hn_jsonl_next(lines, &row, err));
        if (!row)
            break;
        hn_status status = add_row(golden, row, lines->line, &choices, err);
        json_decref(row);
        HN_TRY(status);
    }
    if (!golden->n)
        return hn_fail(err, HN_BAD_INPUT, "%s: no rows: a golden set needs at least one",
                       golden->path);
    return refuse_duplicates(golden, err);
}

hn_status hn_golden_read(hn_golden *golden, const char *path, hn_error *err) {
    hn_golden out = {0};
    hn_jsonl lines = {0};
    hn_status status;
    HN_GO(hn_jsonl_open(&lines, path, err));
    out.path = hn_strdup(path);
    out.rows = json_array();
    if (!out.path || !out.rows) {
        status = hn_fail_no_memory(err, strlen(path));
        goto done;
    }
    HN_GO(hn_sha256_data(lines.map.data, lines.map.size, out.sha256, err));
    HN_GO(read_rows(&out, &lines, err));
    *golden = out;
    out = (hn_golden){0};
done:
    hn_jsonl_close(&lines);
    hn_golden_done(&out);
    return status;
}

static void item_done(hn_golden_item *item) {
    for (size_t k = 0; k < item->n_assertions; k++)
        hn_assertion_done(&item->assertions[k]);
    hn_free(item->assertions);
    json_decref(item->messages);
}

void hn_golden_thin(hn_golden *golden, size_t n) {
    size_t kept = 0;
    if (n >= golden->n)
        return;
    for (size_t i = 0; i < golden->n; i++)
        if (i * n / golden->n != (i + 1) * n / golden->n)
            golden->items[kept++] = golden->items[i];
        else
            item_done(&golden->items[i]);
    golden->n = kept;
}

void hn_golden_done(hn_golden *golden) {
    for (size_t i = 0; i < golden->n; i++)
        item_done(&golden->items[i]);
    hn_free(golden->items);
    json_decref(golden->rows);
    hn_free(golden->path);
    *golden = (hn_golden){0};
}

const hn_assertion *hn_golden_item_choice(const hn_golden_item *item) {
    for (size_t i = 0; i < item->n_assertions; i++)
        if (item->assertions[i].type == HN_ASSERT_CHOICE)
            return &item->assertions[i];
    return NULL;
}

bool hn_golden_item_generates(const hn_golden_item *item) {
    return item->n_assertions > (hn_golden_item_choice(item) ? 1u : 0u);
}

hn_status hn_golden_item_score(const hn_golden_item *item, const char *answer, int best_choice,
                               double *assertion_scores, hn_item_score *out, hn_error *err) {
    double sum = 0, weights = 0;
    bool all = true;
    for (size_t i = 0; i < item->n_assertions; i++) {
        const hn_assertion *assertion = &item->assertions[i];
        HN_TRY(hn_assertion_score(assertion, answer, best_choice, &assertion_scores[i], err));
        sum += assertion->weight * assertion_scores[i];
        weights += assertion->weight;
        all = all && assertion_scores[i] >= assertion->threshold;
    }
    out->score = sum / weights;
    out->passed = item->threshold < 0 ? all : out->score >= item->threshold;
    return HN_OK;
}
