/* What a teacher said: an endpoint's JSON read with patience for its dialects, and thought told
 * from response. */
#include "teacher/teacher.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"

#include <string.h>

void hn_teacher_reply_done(hn_teacher_reply *reply) {
    hn_free(reply->content);
    hn_free(reply->reasoning);
    *reply = (hn_teacher_reply){0};
}

void hn_teacher_free(hn_teacher *teacher) {
    if (teacher)
        teacher->free(teacher);
}

int64_t hn_teacher_guess_tokens(size_t n_bytes) {
    enum { BYTES_PER_TOKEN = 4 }; /* English under today's vocabularies */
    return (int64_t)(n_bytes / BYTES_PER_TOKEN) + 1;
}

/* A text, or the texts of a list of parts {type, text}. */
static bool add_text(hn_buf *out, const json_t *value) {
    size_t i;
    const json_t *part;
    if (json_is_string(value))
        return strlen(json_string_value(value)) == json_string_length(value) &&
               hn_buf_puts(out, json_string_value(value));
    json_array_foreach (value, i, part)
        if (json_is_string(json_object_get(part, "text")) &&
            !add_text(out, json_object_get(part, "text")))
            return false;
    return true;
}

static hn_status text_of(const json_t *value, char **out, hn_error *err) {
    hn_buf text = {0};
    bool ok = add_text(&text, value);
    hn_status status = hn_buf_check(&text, err);
    if (status == HN_OK && !ok)
        status = hn_fail(err, HN_BAD_INPUT, "the answer holds a NUL character");
    if (status == HN_OK) {
        *out = text.size ? hn_buf_take(&text) : hn_strdup("");
        status = *out ? HN_OK : hn_fail_no_memory(err, 1);
    }
    hn_buf_done(&text);
    return status;
}

static void read_usage(const json_t *answer, hn_teacher_reply *reply) {
    const json_t *usage = json_object_get(answer, "usage");
    const json_t *in = json_object_get(usage, "prompt_tokens");
    const json_t *out = json_object_get(usage, "completion_tokens");
    if (json_integer_value(in) > 0 && json_is_integer(out) && json_integer_value(out) >= 0) {
        reply->n_prompt = json_integer_value(in);
        reply->n_answer = json_integer_value(out);
        return;
    }
    reply->estimated = true;
    reply->n_answer = hn_teacher_guess_tokens(strlen(reply->content) +
                                              (reply->reasoning ? strlen(reply->reasoning) : 0));
}

static hn_status read_answer(const json_t *answer, hn_teacher_reply *reply, hn_error *err) {
    const json_t *choice = json_array_get(json_object_get(answer, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    if (!json_is_object(message))
        return hn_fail(err, HN_BAD_INPUT, "the answer has no choices[0].message");
    const json_t *reasoning = json_object_get(message, "reasoning_content");
    if (!json_is_string(reasoning))
        reasoning = json_object_get(message, "reasoning");
    const json_t *refusal = json_object_get(message, "refusal");
    const char *finish = json_string_value(json_object_get(choice, "finish_reason"));
    HN_TRY(text_of(json_object_get(message, "content"), &reply->content, err));
    if (json_string_length(reasoning))
        HN_TRY(text_of(reasoning, &reply->reasoning, err));
    reply->cut = finish && strcmp(finish, "length") == 0;
    reply->refused =
        json_string_length(refusal) || (finish && strcmp(finish, "content_filter") == 0);
    read_usage(answer, reply);
    return HN_OK;
}

hn_status hn_teacher_reply_parse(const char *text, size_t size, hn_teacher_reply *reply,
                                 hn_error *err) {
    json_t *answer = NULL;
    hn_teacher_reply read = {.tag = reply->tag};
    HN_TRY(hn_json_parse(text, size, "the answer", &answer, err));
    hn_status status = read_answer(answer, &read, err);
    json_decref(answer);
    if (status == HN_OK)
        *reply = read;
    else
        hn_teacher_reply_done(&read);
    return status;
}

/* text[0..n) without the blanks around it. */
static char *trimmed(const char *text, size_t n) {
    static const char BLANKS[] = " \t\r\n";
    while (n && strchr(BLANKS, text[n - 1]))
        n--;
    while (n && strchr(BLANKS, *text)) {
        text++;
        n--;
    }
    return hn_strndup(text, n);
}

hn_status hn_teacher_reply_split(const hn_teacher_reply *reply, char **thought, char **response,
                                 hn_error *err) {
    static const char OPEN[] = "<think>", CLOSE[] = "</think>";
    const char *text = reply->content + strspn(reply->content, " \t\r\n");
    const char *from = text, *after = text; /* of the thought; of the response */
    size_t n_thought = 0;
    bool opened = strncmp(text, OPEN, sizeof OPEN - 1) == 0;
    const char *end = strstr(text, CLOSE);
    if (opened)
        from += sizeof OPEN - 1;
    if (end) { /* some templates open the thought in the prompt */
        n_thought = (size_t)(end - from);
        after = end + sizeof CLOSE - 1;
    } else if (opened) {
        n_thought = strlen(from);
        after = from + n_thought;
    }
    char *t = reply->reasoning ? trimmed(reply->reasoning, strlen(reply->reasoning))
                               : trimmed(from, n_thought);
    char *r = trimmed(after, strlen(after));
    if (!t || !r) {
        hn_free(t);
        hn_free(r);
        return hn_fail_no_memory(err, strlen(text));
    }
    *thought = t;
    *response = r;
    return HN_OK;
}
