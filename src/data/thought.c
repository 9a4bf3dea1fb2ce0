#include "data/thought.h"

#include "base/buf.h"
#include "template/template.h"

#include <string.h>

static const char OPEN[] = "<think>", CLOSE[] = "</think>";
static const char BLANKS[] = " \t\r\n";

/* Does `word` survive in an assistant's last turn? A template that refuses the conversation for
 * reasons of its own counts as `otherwise`: the rows themselves will show. */
static hn_status survives(const hn_checkpoint *ckpt, json_t *turn, const char *word, bool otherwise,
                          bool *out, hn_error *err) {
    json_t *messages =
        turn ? json_pack("[{s:s, s:s}, O]", "role", "user", "content", "q", turn) : NULL;
    if (!messages)
        return hn_fail_no_memory(err, 1);
    hn_buf text = {0};
    hn_error ignored;
    hn_chat_options options = {.bos_token = "", .eos_token = ""};
    hn_status status = hn_chat_render(ckpt->chat_template, messages, &options, &text, &ignored);
    *out = status == HN_OK ? strstr(hn_buf_text(&text), word) != NULL : otherwise;
    hn_buf_done(&text);
    json_decref(messages);
    return status == HN_NO_MEMORY ? hn_fail_no_memory(err, 1) : HN_OK;
}

hn_status hn_thoughts_probe(const hn_checkpoint *ckpt, hn_thoughts *out, hn_error *err) {
    static const char *const KEYS[] = {"reasoning_content", "reasoning", "thinking"};
    static const char WORD[] = "hmmprobe"; /* no template says it of itself */
    hn_thoughts found = {.tags = true};
    if (ckpt->chat_template) {
        json_t *turn = json_pack("{s:s, s:s}", "role", "assistant", "content",
                                 "<think>\nhmmprobe\n</think>\n\na");
        hn_status status = survives(ckpt, turn, WORD, true, &found.tags, err);
        json_decref(turn);
        HN_TRY(status);
    }
    for (size_t i = 0; ckpt->chat_template && !found.key && i < sizeof KEYS / sizeof *KEYS; i++) {
        bool known;
        json_t *turn =
            json_pack("{s:s, s:s, s:s}", "role", "assistant", "content", "a", KEYS[i], WORD);
        hn_status status = survives(ckpt, turn, WORD, false, &known, err);
        json_decref(turn);
        HN_TRY(status);
        if (known)
            found.key = KEYS[i];
    }
    *out = found;
    return HN_OK;
}

/* text[0..n) without the blanks around it. */
static json_t *trimmed(const char *text, size_t n) {
    while (n && strchr(BLANKS, text[n - 1]))
        n--;
    while (n && strchr(BLANKS, *text)) {
        text++;
        n--;
    }
    return json_stringn(text, n);
}

hn_status hn_thoughts_place(const hn_thoughts *thoughts, json_t *messages, hn_error *err) {
    size_t last = json_array_size(messages) - 1;
    json_t *turn = json_array_get(messages, last);
    const char *content = json_string_value(json_object_get(turn, "content"));
    if (!content || strncmp(content, OPEN, sizeof OPEN - 1) != 0)
        return HN_OK;
    const char *from = content + sizeof OPEN - 1, *end = strstr(from, CLOSE);
    if (!end || strspn(from, BLANKS) >= (size_t)(end - from)) /* no thought */
        return HN_OK;
    if (!thoughts->key && thoughts->tags)
        return HN_OK;
    if (!thoughts->key)
        return hn_fail(err, HN_BAD_INPUT,
                       "the chat template drops the thought (<think>...</think>) of an answer, so "
                       "that it can't be learned: use rows without thoughts, or a model whose "
                       "template keeps them");
    const char *after = end + sizeof CLOSE - 1;
    json_t *copy = json_copy(turn);
    bool ok = copy &&
              json_object_set_new(copy, thoughts->key, trimmed(from, (size_t)(end - from))) == 0 &&
              json_object_set_new(copy, "content", trimmed(after, strlen(after))) == 0;
    if (!ok || json_array_set(messages, last, copy)) {
        json_decref(copy);
        return hn_fail_no_memory(err, 1);
    }
    json_decref(copy);
    return HN_OK;
}
