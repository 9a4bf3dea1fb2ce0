/* Reading and checking training rows: which shape a row has, that its turns make sense, and, when
 * not, what is wrong at which line and what to do about it. */
#include "data/records.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"
#include "data/bad_rows.h"
#include "formats/jsonl.h"

#include <string.h>

enum { MAX_SHAPE_KEYS = 4, CANCEL_EVERY_ROWS = 4096 };

/* A row has a shape when it holds all of its keys; the first that fits wins, so that
 * {prompt, chosen, rejected} comes before {prompt, completion}. */
static const struct {
    hn_record_kind kind;
    const char *keys[MAX_SHAPE_KEYS];
} SHAPE[] = {
    {HN_RECORD_MESSAGES, {"messages"}},
    {HN_RECORD_PREFERENCE, {"prompt", "chosen", "rejected"}},
    {HN_RECORD_COMPLETION, {"prompt", "completion"}},
    {HN_RECORD_THOUGHT, {"instruction", "thought", "response"}},
    {HN_RECORD_CONTEXT, {"instruction", "response"}},
};
enum { N_SHAPES = sizeof SHAPE / sizeof SHAPE[0] };

static const char *const KNOWN_KEYS[] = {"messages", "prompt",      "completion", "chosen",
                                         "rejected", "instruction", "context",    "thought",
                                         "response", "tools"};
enum { N_KNOWN_KEYS = sizeof KNOWN_KEYS / sizeof KNOWN_KEYS[0] };

static const char SHAPES_TEXT[] = "{messages}, {prompt, completion}, {instruction, context, "
                                  "response}, {instruction, thought, response} or "
                                  "{prompt, chosen, rejected}";

static bool has_shape(const json_t *row, int shape) {
    for (int i = 0; i < MAX_SHAPE_KEYS && SHAPE[shape].keys[i]; i++)
        if (!json_object_get(row, SHAPE[shape].keys[i]))
            return false;
    return true;
}

static hn_status unknown_shape(const char *path, uint64_t line, json_t *row, hn_error *err) {
    hn_buf keys = {.max = 200};
    const char *key, *typo = NULL, *meant = NULL;
    json_t *value;
    json_object_foreach (row, key, value) {
        hn_buf_printf(&keys, "%s%s", keys.size ? ", " : "", key);
        const char *nearest = hn_text_nearest(key, KNOWN_KEYS, N_KNOWN_KEYS);
        if (!meant && nearest && strcmp(nearest, key) != 0 && !json_object_get(row, nearest)) {
            typo = key;
            meant = nearest;
        }
    }
    if (meant)
        hn_fail(err, HN_BAD_INPUT,
                "%s:%llu: no training row with the keys {%s}: is \"%s\" meant to be \"%s\"?", path,
                (unsigned long long)line, hn_buf_text(&keys), typo, meant);
    else
        hn_fail(err, HN_BAD_INPUT, "%s:%llu: no training row with the keys {%s}; it must hold %s",
                path, (unsigned long long)line, hn_buf_text(&keys), SHAPES_TEXT);
    hn_buf_done(&keys);
    return HN_BAD_INPUT;
}

static bool is_blank(const char *text) {
    return text[strspn(text, " \t\r\n")] == 0;
}

/* `where` opens the message: "file:line: key". */
static hn_status check_text(const json_t *value, const char *where, bool may_be_empty,
                            hn_error *err) {
    if (!json_is_string(value))
        return hn_fail(err, HN_BAD_INPUT, "%s must be a text", where);
    if (strlen(json_string_value(value)) != json_string_length(value))
        return hn_fail(err, HN_BAD_INPUT, "%s holds a NUL character: take it out", where);
    if (!may_be_empty && is_blank(json_string_value(value)))
        return hn_fail(err, HN_BAD_INPUT, "%s is empty: fill it in or leave the row out", where);
    return HN_OK;
}

static hn_status check_role(const char *role, const char *where, hn_error *err) {
    static const char *const ROLES[] = {"system", "developer", "user", "assistant", "tool"};
    static const struct {
        const char *foreign, *ours;
    } OTHER_NAMES[] = {{"human", "user"},      {"gpt", "assistant"}, {"bot", "assistant"},
                       {"model", "assistant"}, {"ai", "assistant"},  {"function", "tool"}};
    enum { N_ROLES = sizeof ROLES / sizeof ROLES[0] };
    for (int i = 0; i < N_ROLES; i++)
        if (strcmp(role, ROLES[i]) == 0)
            return HN_OK;
    const char *hint = hn_text_nearest(role, ROLES, N_ROLES);
    for (size_t i = 0; i < sizeof OTHER_NAMES / sizeof OTHER_NAMES[0]; i++)
        if (strcmp(role, OTHER_NAMES[i].foreign) == 0)
            hint = OTHER_NAMES[i].ours;
    if (hint)
        return hn_fail(err, HN_BAD_INPUT, "%s: unknown role \"%.40s\"; did you mean \"%s\"?", where,
                       role, hint);
    return hn_fail(err, HN_BAD_INPUT,
                   "%s: unknown role \"%.40s\"; roles are system, user, assistant and tool", where,
                   role);
}

static hn_status check_message(const json_t *message, const char *where, size_t index,
                               hn_error *err) {
    if (!json_is_object(message))
        return hn_fail(err, HN_BAD_INPUT, "%s must be an object with role and content", where);
    const json_t *role = json_object_get(message, "role");
    const json_t *content = json_object_get(message, "content");
    if (!json_is_string(role))
        return hn_fail(err, HN_BAD_INPUT, "%s needs a text \"role\"", where);
    HN_TRY(check_role(json_string_value(role), where, err));
    if (strcmp(json_string_value(role), "system") == 0 && index > 0)
        return hn_fail(err, HN_BAD_INPUT, "%s: a system turn may only come first", where);
    bool calls = json_array_size(json_object_get(message, "tool_calls")) > 0;
    if (calls && (!content || json_is_null(content)))
        return HN_OK;
    bool assistant = strcmp(json_string_value(role), "assistant") == 0;
    char text_where[512];
    snprintf(text_where, sizeof text_where, "%.480s: content", where);
    return check_text(content, text_where, !assistant || calls, err);
}

static hn_status check_messages(const json_t *messages, const char *where, bool whole,
                                hn_error *err) {
    size_t n = json_array_size(messages);
    if (n == 0)
        return hn_fail(err, HN_BAD_INPUT, "%s must be a list with at least one turn", where);
    for (size_t i = 0; i < n; i++) {
        char item[480];
        snprintf(item, sizeof item, "%.440s[%zu]", where, i);
        HN_TRY(check_message(json_array_get(messages, i), item, i, err));
    }
    const json_t *last = json_array_get(messages, n - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    if (whole && strcmp(role, "assistant") != 0)
        return hn_fail(err, HN_BAD_INPUT,
                       "%s ends with a %s turn: the last turn must be the assistant's, it is what "
                       "is learned",
                       where, role);
    return HN_OK;
}

static hn_status check_row(const hn_record *record, int shape, const char *path, hn_error *err) {
    for (int i = 0; i < MAX_SHAPE_KEYS && SHAPE[shape].keys[i]; i++) {
        const char *key = SHAPE[shape].keys[i];
        const json_t *value = json_object_get(record->row, key);
        char where[440];
        snprintf(where, sizeof where, "%.380s:%llu: %s", path, (unsigned long long)record->line,
                 key);
        bool turns_allowed =
            record->kind <= HN_RECORD_COMPLETION || record->kind == HN_RECORD_PREFERENCE;
        bool is_messages = strcmp(key, "messages") == 0;
        if (is_messages || (turns_allowed && json_is_array(value)))
            HN_TRY(check_messages(value, where, strcmp(key, "prompt") != 0, err));
        else
            HN_TRY(check_text(value, where, false, err));
    }
    if (record->kind == HN_RECORD_PREFERENCE &&
        json_equal(json_object_get(record->row, "chosen"),
                   json_object_get(record->row, "rejected")))
        return hn_fail(err, HN_BAD_INPUT,
                       "%s:%llu: chosen and rejected are the same: there is nothing to prefer",
                       path, (unsigned long long)record->line);
    const json_t *context = json_object_get(record->row, "context");
    if (record->kind == HN_RECORD_CONTEXT && context && !json_is_string(context) &&
        !json_is_null(context))
        return hn_fail(err, HN_BAD_INPUT, "%s:%llu: context must be a text", path,
                       (unsigned long long)record->line);
    return HN_OK;
}

static hn_status classify(hn_record *record, const char *path, hn_error *err) {
    for (int shape = 0; shape < N_SHAPES; shape++) {
        if (!has_shape(record->row, shape))
            continue;
        record->kind = SHAPE[shape].kind;
        return check_row(record, shape, path, err);
    }
    return unknown_shape(path, record->line, record->row, err);
}

static hn_status append(hn_records *records, size_t *capacity, hn_record record, hn_error *err) {
    if (records->n == *capacity) {
        size_t wanted = *capacity ? *capacity * 2 : 1024;
        hn_record *grown = hn_reallocarray(records->items, wanted, sizeof *grown);
        if (!grown)
            return hn_fail_no_memory(err, wanted * sizeof *grown);
        records->items = grown;
        *capacity = wanted;
    }
    records->items[records->n++] = record;
    return HN_OK;
}

/* The next row, when it is well; *more false at the end. */
static hn_status read_row(hn_records *records, hn_jsonl *jsonl, size_t *capacity, bool *more,
                          hn_error *err) {
    json_t *row = NULL;
    hn_status status = hn_jsonl_next(jsonl, &row, err);
    *more = status != HN_OK || row;
    if (!*more)
        return HN_OK;
    hn_record record = {.row = row, .line = jsonl->line};
    if (status == HN_OK)
        status = classify(&record, records->path, err);
    if (status == HN_OK)
        status = append(records, capacity, record, err);
    if (status != HN_OK)
        json_decref(row);
    return status;
}

static hn_status read_rows(hn_records *records, hn_jsonl *jsonl, bool skip_bad,
                           const hn_progress *progress, hn_error *err) {
    size_t capacity = 0, n = 0;
    hn_bad_rows bad = {0};
    hn_error own = {0};
    for (bool more = true; more; n++) {
        hn_status status = read_row(records, jsonl, &capacity, &more, &own);
        HN_TRY(hn_bad_rows_note(&bad, jsonl->line, status, &own, err));
        if (n % CANCEL_EVERY_ROWS == CANCEL_EVERY_ROWS - 1) {
            hn_progress_update(progress, "reading rows", jsonl->offset, jsonl->map.size, "B", NULL);
            if (hn_progress_cancelled(progress))
                return hn_fail(err, HN_CANCELLED, "%s: cancelled while reading", records->path);
        }
    }
    records->n_bad = bad.lines.n;
    return skip_bad
               ? HN_OK
               : hn_bad_rows_end(&bad, n - 1,
                                 "; --skip-bad, in a recipe data.skip_bad, goes on without", err);
}

hn_status hn_records_read(hn_records *out, const char *path, bool skip_bad,
                          const hn_progress *progress, hn_error *err) {
    hn_records records = {.path = hn_strdup(path)};
    if (!records.path)
        return hn_fail_no_memory(err, strlen(path));
    hn_jsonl jsonl = {0};
    hn_status status = hn_jsonl_open(&jsonl, path, err);
    if (status == HN_OK) {
        status = read_rows(&records, &jsonl, skip_bad, progress, err);
        hn_jsonl_close(&jsonl);
    }
    if (status == HN_OK && records.n == 0)
        status = records.n_bad
                     ? hn_fail(err, HN_BAD_INPUT, "%s: no usable row (%zu bad ones left out)", path,
                               records.n_bad)
                     : hn_fail(err, HN_BAD_INPUT, "%s: no row: the file is empty", path);
    if (status != HN_OK) {
        hn_records_done(&records);
        return status;
    }
    *out = records;
    return HN_OK;
}

void hn_records_done(hn_records *records) {
    for (size_t i = 0; i < records->n; i++)
        json_decref(records->items[i].row);
    hn_free(records->items);
    hn_free(records->path);
    *records = (hn_records){0};
}
