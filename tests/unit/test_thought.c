/* Thoughts go where the chat template takes them, and one that drops them is named. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include "data/records.h"
#include "data/thought.h"
#include "support/files.h"
#include "template/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char KEYED[] =
    "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}(( {{ m.reasoning_content }} "
    ")){% endif %}{{ m.content.split('</think>')[-1] }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";
static const char PLAIN[] = "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}"
                            "{% if add_generation_prompt %}[assistant]{% endif %}";
static const char DROPPING[] =
    "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1] }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";

static hn_thoughts probe(const char *source) {
    hn_checkpoint ckpt = {0};
    hn_thoughts thoughts;
    hn_error err;
    if (hn_template_new(&ckpt.chat_template, source, strlen(source), &err) != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(hn_thoughts_probe(&ckpt, &thoughts, &err), HN_OK);
    hn_template_free(ckpt.chat_template);
    return thoughts;
}

static void test_probe(void **state) {
    (void)state;
    hn_thoughts t = probe(KEYED);
    assert_string_equal(t.key, "reasoning_content");
    assert_false(t.tags);
    t = probe(PLAIN);
    assert_true(!t.key && t.tags);
    t = probe(DROPPING);
    assert_true(!t.key && !t.tags);
    t = probe("{{ raise_exception('no') }}");
    assert_true(!t.key && t.tags);
    hn_error err;
    assert_int_equal(hn_thoughts_probe(&(hn_checkpoint){0}, &t, &err), HN_OK);
    assert_true(!t.key && t.tags);
}

/* Templates as published. */
static void test_published(void **state) {
    (void)state;
    static const struct {
        const char *file, *key;
        bool tags;
    } CASES[] = {
        {"Qwen-Qwen3-0.6B.jinja", "reasoning_content", true},
        {"Qwen-Qwen2.5-7B-Instruct.jinja", NULL, true},
        {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", NULL, false},
    };
    const char *shared = getenv("HONE_SHARED");
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char path[600], *source;
        size_t size;
        hn_error err;
        snprintf(path, sizeof path, "%s/data/tokenizers/chat_templates/%s",
                 shared ? shared : HN_TEST_ROOT "/../../shared", CASES[i].file);
        if (!hn_path_exists(path)) {
            print_message("skipped: %s isn't there (HONE_SHARED)\n", path);
            skip();
        }
        assert_int_equal(hn_file_read(path, 1 << 20, &source, &size, &err), HN_OK);
        hn_thoughts t = probe(source);
        hn_free(source);
        if (!t.key != !CASES[i].key || (t.key && strcmp(t.key, CASES[i].key) != 0) ||
            t.tags != CASES[i].tags)
            fail_msg("%s: key %s, tags %d", CASES[i].file, t.key ? t.key : "none", t.tags);
    }
}

/* ROWS as documents of a model with this template: the learned text of the first, or NULL with the
 * error's message in `err`. */
static char *learned(const char *source, const char *rows, hn_error *err) {
    hn_checkpoint ckpt;
    hn_records records;
    hn_documents docs;
    hn_buf text = {0};
    const char *path = in_dir("rows.jsonl");
    assert_int_equal(hn_file_write(path, rows, strlen(rows), err), HN_OK);
    if (hn_checkpoint_open(&ckpt, HN_TEST_ROOT "/golden/models/llama", err) != HN_OK ||
        hn_records_read(&records, path, false, NULL, err) != HN_OK)
        fail_msg("%s", err->message);
    hn_template_free(ckpt.chat_template);
    hn_free(ckpt.chat_template_source);
    ckpt.chat_template_source = hn_strdup(source);
    assert_int_equal(hn_template_new(&ckpt.chat_template, source, strlen(source), err), HN_OK);
    hn_status status =
        hn_documents_build(&docs, &records, &ckpt, NULL, HN_SUPERVISE_COMPLETION, 1024, err);
    for (int32_t i = 0; status == HN_OK && i < docs.items[0].n; i++) {
        const char *data;
        size_t n;
        if (docs.items[0].labels[i] < 0)
            continue;
        hn_token_bytes(ckpt.tokenizer, docs.items[0].labels[i], true, &data, &n);
        hn_buf_append(&text, data, n);
    }
    if (status == HN_OK)
        hn_documents_done(&docs);
    hn_records_done(&records);
    hn_checkpoint_close(&ckpt);
    return status == HN_OK ? hn_buf_take(&text) : NULL;
}

static void expect_learned(const char *source, const char *rows, const char *wanted) {
    hn_error err;
    char *text = learned(source, rows, &err);
    if (!text)
        fail_msg("%s", err.message);
    assert_string_equal(text, wanted);
    hn_free(text);
}

static const char ROW[] = "{\"instruction\": \"q\", \"thought\": \"hmm\", \"response\": \"a\"}\n";
static const char TURNS[] =
    "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
    "\"content\": \"<think>hmm</think>a\"}]}\n";

static void test_rows(void **state) {
    (void)state;
    hn_error err;
    expect_learned(KEYED, ROW, "(( hmm ))a;");
    expect_learned(KEYED, TURNS, "(( hmm ))a;");
    expect_learned(PLAIN, ROW, "<think>\nhmm\n</think>\n\na;");
    expect_learned(PLAIN, TURNS, "<think>hmm</think>a;");
    assert_null(learned(DROPPING, ROW, &err));
    assert_int_equal(err.status, HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "rows.jsonl:1: the chat template drops the thought"));
    assert_null(learned(DROPPING, TURNS, &err));
    expect_learned(DROPPING, "{\"prompt\": \"q\", \"completion\": \"a\"}\n", "a;");
}

/* The row itself stays as it was read. */
static void test_place(void **state) {
    (void)state;
    hn_error err;
    json_t *turn = json_pack("{s:s, s:s}", "role", "assistant", "content", "<think>t</think>a");
    json_t *messages = json_pack("[O]", turn);
    hn_thoughts keyed = {.key = "reasoning_content"}, none = {0};
    assert_int_equal(hn_thoughts_place(&keyed, messages, &err), HN_OK);
    const json_t *placed = json_array_get(messages, 0);
    assert_string_equal(json_string_value(json_object_get(placed, "reasoning_content")), "t");
    assert_string_equal(json_string_value(json_object_get(placed, "content")), "a");
    assert_string_equal(json_string_value(json_object_get(turn, "content")), "<think>t</think>a");
    json_decref(messages);
    json_decref(turn);
    static const char *const NO_THOUGHT[] = {"a", "<think>never ends", "<think>\n</think>a", ""};
    for (size_t i = 0; i < sizeof NO_THOUGHT / sizeof *NO_THOUGHT; i++) {
        messages = json_pack("[{s:s, s:s}]", "role", "assistant", "content", NO_THOUGHT[i]);
        assert_int_equal(hn_thoughts_place(&none, messages, &err), HN_OK);
        json_decref(messages);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probe),
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_place),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
