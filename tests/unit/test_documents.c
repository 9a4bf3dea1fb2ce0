/* Rows to labelled tokens with the real base's tokenizer and template: the same ids and spans as
 * recorded with transformers, every kind of supervision, truncation, refusals. */
#define _GNU_SOURCE
#include "base/json.h"
#include "base/mem.h"
#include "data/records.h"

#include <string.h>
#include <unistd.h>

#include "base_model.h"

static hn_checkpoint ckpt;

static int open_base(void **state) {
    (void)state;
    hn_error err;
    if (hn_path_exists(base_model()) && hn_checkpoint_open(&ckpt, base_model(), &err) != HN_OK) {
        print_message("%s\n", err.message);
        return -1;
    }
    return 0;
}

static int close_base(void **state) {
    (void)state;
    if (ckpt.path)
        hn_checkpoint_close(&ckpt);
    return 0;
}

static hn_status build(const char *text, const char *system, hn_supervise supervise, int max_length,
                       hn_documents *docs, hn_error *err) {
    char path[] = "/tmp/hone-rows-XXXXXX";
    hn_records records;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(hn_file_write(path, text, strlen(text), err), HN_OK);
    if (hn_records_read(&records, path, false, NULL, err) != HN_OK)
        fail_msg("%s", err->message);
    hn_status status =
        hn_documents_build(docs, &records, &ckpt, system, supervise, max_length, err);
    hn_records_done(&records);
    unlink(path);
    return status;
}

/* The learned tokens as text, pieces that aren't neighbours divided by "|". */
static void check_learned(const hn_document *doc, const char *wanted) {
    hn_buf text = {0};
    for (int32_t i = 0; i < doc->n; i++) {
        const char *data;
        size_t n;
        if (doc->labels[i] < 0)
            continue;
        assert_true(i + 1 < doc->n && doc->labels[i] == doc->ids[i + 1]);
        if (text.size && doc->labels[i - 1] < 0)
            hn_buf_putc(&text, '|');
        hn_token_bytes(ckpt.tokenizer, doc->labels[i], true, &data, &n);
        hn_buf_append(&text, data, n);
    }
    assert_string_equal(hn_buf_text(&text), wanted);
    hn_buf_done(&text);
}

static const char ROW[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, "
                          "{\"role\": \"assistant\", \"content\": \"Hello there\"}, "
                          "{\"role\": \"user\", \"content\": \"Name a colour\"}, "
                          "{\"role\": \"assistant\", \"content\": \"Blue\"}]}\n";

static void test_supervision(void **state) {
    (void)state;
    need_base_model();
    hn_documents docs;
    hn_error err;
    assert_int_equal(build(ROW, "Be kind", HN_SUPERVISE_COMPLETION, 1024, &docs, &err), HN_OK);
    check_learned(&docs.items[0], "Blue<|im_end|>\n");
    hn_documents_done(&docs);
    assert_int_equal(build(ROW, "Be kind", HN_SUPERVISE_ASSISTANT, 1024, &docs, &err), HN_OK);
    check_learned(&docs.items[0], "Hello there<|im_end|>\n|Blue<|im_end|>\n");
    hn_documents_done(&docs);
    assert_int_equal(build(ROW, "Be kind", HN_SUPERVISE_ALL, 1024, &docs, &err), HN_OK);
    check_learned(&docs.items[0], "system\nBe kind<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                                  "<|im_start|>assistant\nHello there<|im_end|>\n"
                                  "<|im_start|>user\nName a colour<|im_end|>\n"
                                  "<|im_start|>assistant\nBlue<|im_end|>\n");
    assert_int_equal(docs.items[0].n_supervised, docs.items[0].n - 1);
    hn_documents_done(&docs);
}

static void test_truncation(void **state) {
    (void)state;
    need_base_model();
    hn_documents docs;
    hn_error err;
    const char *rows = "{\"prompt\": \"a\", \"completion\": \"one two three four five six\"}\n"
                       "{\"prompt\": \"a b c d e f g h i j k l m n o p q r s t u v w x y z\", "
                       "\"completion\": \"yes\"}\n";
    assert_int_equal(build(rows, "S", HN_SUPERVISE_COMPLETION, 18, &docs, &err), HN_OK);
    assert_int_equal(docs.n, 1);
    assert_int_equal(docs.dropped.n, 1);
    assert_int_equal(docs.truncated.n, 1);
    assert_int_equal(docs.items[0].n, 18);
    assert_int_equal(docs.items[0].line, 1);
    hn_documents_done(&docs);
    assert_int_equal(build(rows, "S", HN_SUPERVISE_COMPLETION, 8, &docs, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "raise max_length"));
}

/* Special tokens in a user's text are text: they don't end the turn. */
static void test_special_text(void **state) {
    (void)state;
    need_base_model();
    hn_documents docs;
    hn_error err;
    const char *row = "{\"prompt\": \"<|im_end|>\", \"completion\": \"ok\"}\n";
    int32_t end = hn_tokenizer_find(ckpt.tokenizer, "<|im_end|>", 10), ends = 0;
    assert_int_equal(build(row, NULL, HN_SUPERVISE_COMPLETION, 1024, &docs, &err), HN_OK);
    for (int32_t i = 0; i < docs.items[0].n; i++)
        ends += docs.items[0].ids[i] == end;
    assert_int_equal(ends, 3); /* system, user, assistant */
    hn_documents_done(&docs);
}

/* Two lone spaces in a row. The file's own pre-tokeniser (smollm, as llama.cpp has it) splits
 * digits off first, so that spaces before one stay together; transformers' conversion of a GGUF
 * loses that rule, and its ids for such rows differ. */
static bool has_split_spaces(const json_t *ids) {
    enum { LONE_SPACE = 216 };
    for (size_t i = 1; i < json_array_size(ids); i++)
        if (json_integer_value(json_array_get(ids, i)) == LONE_SPACE &&
            json_integer_value(json_array_get(ids, i - 1)) == LONE_SPACE)
            return true;
    return false;
}

/* gsm8k rows of at most 140 tokens, as tests/golden/record_sft.py chose and tokenised them. */
static void test_recorded(void **state) {
    (void)state;
    need_base_model();
    char path[600], line[1 << 16];
    const char *shared = getenv("HONE_SHARED");
    snprintf(path, sizeof path, "%s/data/gsm8k/train.jsonl",
             shared ? shared : HN_TEST_ROOT "/../../shared");
    FILE *file = fopen(path, "r");
    if (!file) {
        print_message("skipped: %s isn't there (HONE_SHARED)\n", path);
        skip();
    }
    hn_buf rows = {0};
    hn_error err;
    for (int i = 0; i < 600 && fgets(line, sizeof line, file); i++) {
        json_t *row;
        assert_int_equal(hn_json_parse(line, strlen(line), path, &row, &err), HN_OK);
        json_t *ours = json_pack("{s:O, s:O}", "prompt", json_object_get(row, "question"),
                                 "completion", json_object_get(row, "answer"));
        char *text = json_dumps(ours, JSON_COMPACT);
        hn_buf_printf(&rows, "%s\n", text);
        free(text); /* jansson's own allocator */
        json_decref(ours);
        json_decref(row);
    }
    fclose(file);
    json_t *golden;
    hn_documents docs;
    assert_int_equal(hn_json_read(HN_TEST_ROOT "/golden/sft/base.json", 1 << 24, &golden, &err),
                     HN_OK);
    if (build(hn_buf_text(&rows), NULL, HN_SUPERVISE_COMPLETION, 1024, &docs, &err) != HN_OK)
        fail_msg("%s", err.message);
    size_t next = 0, i;
    json_t *wanted;
    json_array_foreach (json_object_get(golden, "documents"), i, wanted) {
        const json_t *ids = json_object_get(wanted, "ids");
        while (next < docs.n && docs.items[next].n > 140)
            next++;
        assert_true(next < docs.n);
        const hn_document *doc = &docs.items[next++];
        if (has_split_spaces(ids))
            continue;
        assert_int_equal(doc->n, json_array_size(ids));
        int first = (int)json_integer_value(json_object_get(wanted, "first_supervised"));
        for (int32_t p = 0; p < doc->n; p++) {
            assert_int_equal(doc->ids[p], json_integer_value(json_array_get(ids, (size_t)p)));
            assert_int_equal(doc->labels[p] >= 0, p + 1 >= first && p + 1 < doc->n);
        }
    }
    json_decref(golden);
    hn_documents_done(&docs);
    hn_buf_done(&rows);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_supervision),
        cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_special_text),
        cmocka_unit_test(test_recorded),
    };
    return cmocka_run_group_tests(tests, open_base, close_base);
}
