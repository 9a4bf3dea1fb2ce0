/* Every shape of training row as chat messages. */
#include "data/records.h"

#include "base/buf.h"

#include <string.h>

static json_t *turn(const char *role, json_t *content) {
    return content ? json_pack("{s:s, s:o}", "role", role, "content", content) : NULL;
}

/* Appends `value`, a list of turns or the text of one turn of `role`. False = no memory. */
static bool add(json_t *messages, const char *role, json_t *value) {
    if (json_is_array(value))
        return json_array_extend(messages, value) == 0;
    return json_array_append_new(messages, turn(role, json_incref(value))) == 0;
}

static bool add_joined(json_t *messages, const char *role, const char *before, const json_t *first,
                       const char *between, const json_t *second) {
    hn_buf text = {0};
    hn_buf_puts(&text, before);
    hn_buf_append(&text, json_string_value(first), json_string_length(first));
    if (second && json_string_length(second)) {
        hn_buf_puts(&text, between);
        hn_buf_append(&text, json_string_value(second), json_string_length(second));
    }
    bool ok = !text.failed &&
              json_array_append_new(messages,
                                    turn(role, json_stringn(hn_buf_text(&text), text.size))) == 0;
    hn_buf_done(&text);
    return ok;
}

static bool has_system(const json_t *messages) {
    const json_t *first = json_array_get(messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    return role && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0);
}

json_t *hn_record_messages(const hn_record *record, const char *system, bool chosen) {
    json_t *row = record->row, *messages = json_array();
    bool ok = messages != NULL;
    switch (record->kind) {
    case HN_RECORD_MESSAGES:
        ok = ok && add(messages, "", json_object_get(row, "messages"));
        break;
    case HN_RECORD_COMPLETION:
        ok = ok && add(messages, "user", json_object_get(row, "prompt")) &&
             add(messages, "assistant", json_object_get(row, "completion"));
        break;
    case HN_RECORD_PREFERENCE:
        ok = ok && add(messages, "user", json_object_get(row, "prompt")) &&
             add(messages, "assistant", json_object_get(row, chosen ? "chosen" : "rejected"));
        break;
    case HN_RECORD_CONTEXT:
        ok = ok &&
             add_joined(messages, "user", "", json_object_get(row, "instruction"), "\n\n",
                        json_object_get(row, "context")) &&
             add(messages, "assistant", json_object_get(row, "response"));
        break;
    case HN_RECORD_THOUGHT:
        ok = ok && add(messages, "user", json_object_get(row, "instruction")) &&
             add_joined(messages, "assistant", "<think>\n", json_object_get(row, "thought"),
                        "\n</think>\n\n", json_object_get(row, "response"));
        break;
    }
    if (ok && system && !has_system(messages))
        ok = json_array_insert_new(messages, 0, turn("system", json_string(system))) == 0;
    if (!ok) {
        json_decref(messages);
        return NULL;
    }
    return messages;
}
