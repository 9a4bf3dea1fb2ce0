/* A teacher's answers: read from an endpoint's JSON, split, judged, kept, voted on, made into rows.
 */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include "support/files.h"
#include "teacher/budget.h"
#include "teacher/generate.h"
#include "teacher/rows.h"
#include "teacher/store.h"
#include "teacher/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_normal(const char *text, bool number, const char *wanted) {
    char *normal = hn_vote_normal(text, number);
    assert_string_equal(normal, wanted);
    hn_free(normal);
}

static void test_normal(void **state) {
    (void)state;
    expect_normal("  Paris.\n", false, "paris");
    expect_normal("Reasons.\n\nThe Answer is **42**.", false, "42");
    expect_normal("So #### 1,234", false, "1234");
    expect_normal("We get \\boxed{\\frac{1}{2}} there", false, "\\frac{1}{2}");
    expect_normal("Answer:\n\"Yes!\"", false, "yes!");
    expect_normal("first the answer is 3, then: answer: 4", false, "4");
    expect_normal("", false, "");
    expect_normal("....", false, "");
    expect_normal("\\boxed{never closed", false, "never closed");
    expect_normal("It costs 1,200.50 crowns", true, "1200.5");
    expect_normal("minus: -3.0", true, "-3");
    expect_normal("from 3-4 apples", true, "4");
    expect_normal("7 or 8.", true, "8");
    expect_normal("#### 5\nwas it 6", true, "5");
    expect_normal("none at all", true, "none at all");
    expect_normal("Grüße", false, "grüße");
}

static void test_vote(void **state) {
    (void)state;
    const char *answers[] = {"seven", "The answer is 8.", "8", "Seven."};
    size_t group[4];
    hn_vote vote;
    assert_int_equal(hn_vote_count(answers, 4, false, group, &vote, NULL), HN_OK);
    assert_int_equal(vote.winner, 0); /* ties go to the first */
    assert_int_equal(vote.n_votes, 2);
    assert_int_equal(group[2], 1);
    assert_int_equal(group[3], 0);
}

static void expect_split(const char *content, const char *reasoning, const char *thought,
                         const char *response) {
    hn_teacher_reply reply = {.content = (char *)content, .reasoning = (char *)reasoning};
    char *t, *r;
    assert_int_equal(hn_teacher_reply_split(&reply, &t, &r, NULL), HN_OK);
    assert_string_equal(t, thought);
    assert_string_equal(r, response);
    hn_free(t);
    hn_free(r);
}

static void test_split(void **state) {
    (void)state;
    expect_split("<think>\na\n</think>\n\nb\n", NULL, "a", "b");
    expect_split("a</think>b", NULL, "a", "b");
    expect_split(" b ", "a", "a", "b");
    expect_split("<think></think>b", "a", "a", "b");
    expect_split("<think>never ends", NULL, "never ends", "");
    expect_split("no thought", NULL, "", "no thought");
    expect_split("", NULL, "", "");
    expect_split("</think>", NULL, "", "");
}

static void test_refusals(void **state) {
    (void)state;
    assert_true(hn_verdict_refuses("I\u2019m sorry, but I can\u2019t do that."));
    assert_true(hn_verdict_refuses("  As an AI language model, I"));
    assert_true(hn_verdict_refuses("I cannot provide medical advice"));
    assert_false(hn_verdict_refuses("I can't recall a better summer."));
    assert_false(hn_verdict_refuses("The robot said: I'm sorry, but I can't help."));
    assert_false(hn_verdict_refuses(""));
}

static const char *const ANSWER =
    "{\"choices\": [{\"message\": {\"content\": \"<think>\\nx\\n</think>\\ny\", "
    "\"reasoning\": \"r\"}, \"finish_reason\": \"length\"}], "
    "\"usage\": {\"prompt_tokens\": 3, \"completion_tokens\": 4}}";

static void test_reply(void **state) {
    (void)state;
    static const char *const BAD[] = {
        "",
        "{",
        "[]",
        "{}",
        "null",
        "{\"choices\": 3}",
        "{\"choices\": [{\"message\": 1}]}",
        "{\"choices\": [{\"message\": {\"content\": \"a\\u0000b\"}}]}",
        "{\"choices\": [{\"message\": {\"content\": \"\xff\"}}]}"};
    hn_teacher_reply reply = {.tag = 7};
    hn_error err;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(hn_teacher_reply_parse(BAD[i], strlen(BAD[i]), &reply, &err),
                         HN_BAD_INPUT);
    assert_int_equal(hn_teacher_reply_parse(ANSWER, strlen(ANSWER), &reply, &err), HN_OK);
    assert_int_equal(reply.tag, 7);
    assert_string_equal(reply.reasoning, "r");
    assert_true(reply.cut && !reply.refused && !reply.estimated);
    assert_int_equal(reply.n_answer, 4);
    hn_teacher_reply_done(&reply);
    for (size_t n = 0; n < strlen(ANSWER); n++)
        assert_int_equal(hn_teacher_reply_parse(ANSWER, n, &reply, &err), HN_BAD_INPUT);
}

static void test_budget(void **state) {
    (void)state;
    hn_budget b = {.max_tokens = 100, .max_cost = 1e-3, .price_in = 1, .price_out = 10};
    assert_true(hn_budget_hold(&b, 50, 50));
    assert_false(hn_budget_hold(&b, 1, 0));
    hn_budget_release(&b, 50, 50);
    hn_budget_spend(&b, 10, 10);
    assert_true(hn_budget_cost(&b) > 1.09e-4 && hn_budget_cost(&b) < 1.11e-4);
    assert_false(hn_budget_hold(&b, 80, 1));
    assert_true(hn_budget_hold(&b, 1, 79));
}

static json_t *row(const char *key) {
    return json_pack("{s:s, s:s}", "key", key, "prompt", "Gr\u00fc\u00dfe");
}

static void add(hn_store *store, const char *key) {
    json_t *value = row(key);
    assert_int_equal(hn_store_add(store, value, NULL), HN_OK);
    json_decref(value);
}

/* However many bytes a crash leaves, whole lines stay and the rest is asked for again. */
static void test_store(void **state) {
    (void)state;
    hn_store store;
    hn_error err = {0};
    char *text;
    size_t size;
    const char *path = in_dir("store.jsonl");
    assert_int_equal(hn_store_open(&store, path, NULL, &err), HN_OK);
    add(&store, "a");
    add(&store, "b");
    hn_store other;
    assert_int_equal(hn_store_open(&other, path, NULL, &err), HN_IO);
    assert_non_null(strstr(err.message, "another process"));
    hn_store_close(&store);
    assert_int_equal(hn_file_read(path, 1 << 20, &text, &size, &err), HN_OK);
    size_t first = (size_t)(strchr(text, '\n') - text) + 1;
    for (size_t n = 0; n <= size; n++) {
        assert_int_equal(hn_file_write(path, text, n, &err), HN_OK);
        assert_int_equal(hn_store_open(&store, path, NULL, &err), HN_OK);
        assert_true(hn_store_has(&store, "a") == (n + 1 >= first));
        assert_true(hn_store_has(&store, "b") == (n + 1 >= size));
        if (!hn_store_has(&store, "a"))
            add(&store, "a");
        if (!hn_store_has(&store, "b"))
            add(&store, "b");
        hn_store_close(&store);
        char *now;
        size_t n_now;
        assert_int_equal(hn_file_read(path, 1 << 20, &now, &n_now, &err), HN_OK);
        assert_int_equal(n_now, size);
        assert_memory_equal(now, text, size);
        hn_free(now);
    }
    hn_free(text);
    assert_int_equal(hn_file_write(path, "{\"a\": \n{}\n", 10, &err), HN_OK);
    assert_int_equal(hn_store_open(&store, path, NULL, &err), HN_BAD_INPUT);
    assert_int_equal(hn_file_write(path, "{\"a\": 1}\n", 9, &err), HN_OK);
    assert_int_equal(hn_store_open(&store, path, NULL, &err), HN_BAD_INPUT);
    assert_int_equal(hn_store_open(&store, "/proc/none/x", NULL, &err), HN_IO);
    unlink(path);
}

static const char ROWS[] =
    "{\"key\": \"n\", \"kind\": \"negative\", \"line\": 2, \"prompt\": \"q\", \"of\": \"x\", "
    "\"response\": \"9\"}\n"
    "{\"key\": \"y\", \"kind\": \"answer\", \"line\": 2, \"sample\": 1, \"prompt\": \"q\", "
    "\"thought\": \"t\", \"response\": \"8\"}\n"
    "{\"key\": \"x\", \"kind\": \"answer\", \"line\": 2, \"sample\": 0, \"prompt\": \"q\", "
    "\"thought\": \"\", \"response\": \"7\"}\n"
    "{\"key\": \"z\", \"kind\": \"answer\", \"line\": 1, \"sample\": 0, \"prompt\": \"p\", "
    "\"response\": \"6\"}\n"
    "{\"key\": \"c\", \"kind\": \"critique\", \"line\": 2, \"prompt\": \"q\", "
    "\"ranking\": [\"gone\", 3, \"y\", \"x\"], \"critique\": \"c\"}\n"
    "{\"key\": \"l\", \"kind\": \"negative\", \"line\": 9, \"prompt\": \"alone\"}\n";

static void test_candidates(void **state) {
    (void)state;
    json_t *rows;
    hn_distil_candidate_list list;
    const char *path = in_dir("rows.jsonl");
    assert_int_equal(hn_file_write(path, ROWS, sizeof ROWS - 1, NULL), HN_OK);
    assert_int_equal(hn_store_read(path, &rows, NULL), HN_OK);
    assert_int_equal(hn_distil_candidate_list_build(&list, rows, false, NULL), HN_OK);
    assert_int_equal(list.n, 2); /* in the order of the prompts; a rewrite alone is none */
    assert_string_equal(list.items[0].items[0].key, "z");
    const hn_distil_candidates *q = &list.items[1];
    assert_int_equal(q->n, 2);
    assert_string_equal(q->items[0].key, "x"); /* in the order of the samples */
    assert_int_equal(q->vote.winner, 0);
    assert_int_equal(q->best, 1); /* ranked above it */
    assert_int_equal(q->n_negatives, 1);
    hn_distil_candidate_list_done(&list);
    json_decref(rows);
}

/* Every allocation of ours on the way from JSON to rows fails once. */
static void test_memory(void **state) {
    (void)state;
    char rows_path[256], out[256];
    snprintf(rows_path, sizeof rows_path, "%s", in_dir("rows.jsonl"));
    snprintf(out, sizeof out, "%s", in_dir("out.jsonl"));
    hn_rows_options options = {.kind = HN_ROWS_PAIRS, .thoughts = true};
    bool done = false;
    for (int n = 0; !done; n++) {
        json_t *rows = NULL;
        hn_teacher_reply reply = {0};
        hn_rows_result result;
        hn_error err;
        char *thought = NULL, *response = NULL;
        assert_int_equal(hn_store_read(rows_path, &rows, &err), HN_OK);
        hn_mem_fail_after(n);
        hn_status status = hn_teacher_reply_parse(ANSWER, strlen(ANSWER), &reply, &err);
        if (status == HN_OK)
            status = hn_teacher_reply_split(&reply, &thought, &response, &err);
        if (status == HN_OK)
            status = hn_rows_write(rows, &options, out, &result, &err);
        hn_mem_fail_after(-1);
        done = status == HN_OK;
        assert_true(done || (status == HN_NO_MEMORY && !hn_path_exists(out)));
        hn_free(thought);
        hn_free(response);
        hn_teacher_reply_done(&reply);
        json_decref(rows);
    }
}

/* A teacher that says the same to everybody, one question at a time. */
typedef struct canned {
    hn_teacher teacher;
    size_t tag, n_asked;
} canned;

static hn_status canned_ask(hn_teacher *teacher, size_t tag, const json_t *request, hn_error *err) {
    (void)request, (void)err;
    ((canned *)teacher)->tag = tag;
    ((canned *)teacher)->n_asked++;
    return HN_OK;
}

static hn_status canned_next(hn_teacher *teacher, const hn_progress *progress,
                             hn_teacher_reply *reply, hn_error *err) {
    (void)progress;
    hn_teacher_reply said = {.tag = ((canned *)teacher)->tag};
    HN_TRY(hn_teacher_reply_parse(ANSWER, strlen(ANSWER), &said, err));
    said.cut = false;
    *reply = said;
    return HN_OK;
}

/* A run that memory fails at every place in turn keeps whole lines, and goes on where it was. */
static void test_run_memory(void **state) {
    (void)state;
    char output[256], rejected[256];
    snprintf(output, sizeof output, "%s", in_dir("run.jsonl"));
    snprintf(rejected, sizeof rejected, "%s", in_dir("run.rejected.jsonl"));
    hn_prompt items[] = {{json_string("one"), 1}, {json_string("two"), 2}, {json_string("one"), 3}};
    hn_prompts prompts = {.items = items, .n = 3};
    hn_distil_options options = {.output = output,
                                 .model = "m",
                                 .samples = 2,
                                 .temperature = 1,
                                 .top_p = 1,
                                 .max_field_tokens = 9,
                                 .hard_negatives = true};
    canned teacher = {.teacher = {.parallel = 1, .ask = canned_ask, .next = canned_next}};
    hn_status status = HN_NO_MEMORY;
    hn_distil_result result;
    hn_error err;
    for (int n = 0; status != HN_OK; n++) {
        unlink(output);
        unlink(rejected);
        hn_mem_fail_after(n);
        status = hn_distil_run(&teacher.teacher, &prompts, &options, NULL, &result, &err);
        hn_mem_fail_after(-1);
        assert_true(status == HN_OK || status == HN_NO_MEMORY);
        hn_status again = hn_distil_run(&teacher.teacher, &prompts, &options, NULL, &result, &err);
        assert_int_equal(again, HN_OK);
        json_t *rows;
        assert_int_equal(hn_store_read(output, &rows, &err), HN_OK);
        assert_int_equal(json_object_size(rows), 4); /* two prompts, two samples */
        json_decref(rows);
        assert_int_equal(hn_store_read(rejected, &rows, &err), HN_OK);
        assert_int_equal(json_object_size(rows), 2); /* rewrites that say the same */
        json_decref(rows);
    }
    size_t before = teacher.n_asked;
    assert_int_equal(hn_distil_run(&teacher.teacher, &prompts, &options, NULL, &result, &err),
                     HN_OK);
    assert_int_equal(teacher.n_asked, before);
    for (int i = 0; i < 3; i++)
        json_decref(items[i].value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal), cmocka_unit_test(test_vote),
        cmocka_unit_test(test_split),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_reply),  cmocka_unit_test(test_budget),
        cmocka_unit_test(test_store),  cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_run_memory),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
