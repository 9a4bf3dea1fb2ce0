/* Golden sets: each assertion's meaning, scores and their summaries, and rows that can't mean
 * anything. No model needed. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "eval/assertion.h"
#include "eval/golden.h"
#include "eval/schema.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static hn_error err;

static hn_status read_text(hn_golden *golden, const char *text) {
    char path[] = "/tmp/hone-golden-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(hn_file_write(path, text, strlen(text), &err), HN_OK);
    memset(&err, 0, sizeof err);
    hn_status status = hn_golden_read(golden, path, &err);
    unlink(path);
    return status;
}

#define ROW(assertions) "{\"prompt\":\"p\",\"assert\":[" assertions "]}\n"

static double score_of(const char *text, const char *answer, int best_choice, bool *passed) {
    hn_golden golden = {0};
    hn_item_score score;
    double each[8];
    hn_status status = read_text(&golden, text);
    if (status != HN_OK)
        fail_msg("%s", err.message);
    assert_int_equal(
        hn_golden_item_score(&golden.items[0], answer, best_choice, each, &score, &err), HN_OK);
    hn_golden_done(&golden);
    if (passed)
        *passed = score.passed;
    return score.score;
}

static void test_assertions(void **state) {
    (void)state;
    static const struct {
        const char *row, *answer;
        double score;
    } CASES[] = {
        {ROW("{\"type\":\"equals\",\"value\":\"yes\"}"), " yes\n", 1},
        {ROW("{\"type\":\"equals\",\"value\":\"yes\"}"), "yes.", 0},
        {ROW("{\"type\":\"equals\",\"value\":\"yes\"}"), "", 0},
        {ROW("{\"type\":\"icontains\",\"value\":\"STRASSE \\u00c9\"}"), "die Stra\u00dfe \u00e9x",
         1},
        {ROW("{\"type\":\"icontains\",\"value\":\"b\"}"), "\xff\xfe", 0},
        {ROW("{\"type\":\"contains-all\",\"value\":[\"a\",\"b c\"]}"), "xx b c a", 1},
        {ROW("{\"type\":\"contains-all\",\"value\":\"a, b c ,d\"}"), "db ca", 1},
        {ROW("{\"type\":\"contains-all\",\"value\":\"a,z\"}"), "db ca", 0},
        {ROW("{\"type\":\"regex\",\"value\":\"^#### \\\\d+$\"}"), "#### 12", 1},
        {ROW("{\"type\":\"regex\",\"value\":\"\\\\bcat\\\\b\"}"), "concatenate", 0},
        {ROW("{\"type\":\"regex\",\"value\":\"a\"}"),
         "\xff"
         "a",
         0},
        {ROW("{\"type\":\"is-json\"}"), "{\"a\":1}", 1},
        {ROW("{\"type\":\"is-json\"}"), "{\"a\":1} and more", 0},
        {ROW("{\"type\":\"is-json\",\"value\":{\"type\":\"object\",\"required\":[\"a\"]}}"),
         "{\"b\":1}", 0},
        {ROW("{\"type\":\"f-score\",\"value\":[\"x\",\"the red cat\"]}"), "red dog", 0.5},
        {ROW("{\"type\":\"abstains\"}"), "I don't know that.", 1},
        {ROW("{\"type\":\"abstains\",\"value\":false}"), "I don't know that.", 0},
        {ROW("{\"type\":\"abstains\",\"value\":[\"no idea\"]}"), "No IDEA!", 1},
        {ROW("{\"type\":\"equals\",\"value\":\"a\"},{\"type\":\"icontains\",\"value\":\"x\","
             "\"weight\":3}"),
         "x", 0.75},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        bool passed;
        double score = score_of(CASES[i].row, CASES[i].answer, -1, &passed);
        if (fabs(score - CASES[i].score) > 1e-12)
            fail_msg("%s on '%s': %g, wanted %g", CASES[i].row, CASES[i].answer, score,
                     CASES[i].score);
        if (CASES[i].score == 0 || CASES[i].score == 1)
            assert_int_equal(passed, CASES[i].score == 1);
    }
}

static void test_thresholds(void **state) {
    (void)state;
    bool passed;
    score_of("{\"prompt\":\"p\",\"threshold\":0.7,\"assert\":[{\"type\":\"equals\",\"value\":"
             "\"a\"},{\"type\":\"icontains\",\"value\":\"x\",\"weight\":3}]}",
             "x", -1, &passed);
    assert_true(passed);
    score_of(ROW("{\"type\":\"f-score\",\"value\":\"red cat\"}"), "red dog", -1, &passed);
    assert_true(passed); /* F1 0.5 reaches the default of 0.5 */
    score_of(ROW("{\"type\":\"f-score\",\"value\":\"red cat\",\"threshold\":0.6}"), "red dog", -1,
             &passed);
    assert_false(passed);
}

static void test_choices(void **state) {
    (void)state;
    static const char ROWS[] =
        "{\"prompt\":\"1\",\"choices\":[\"a\",\"b\"],\"assert\":[{\"type\":\"choice\",\"value\":"
        "\"b\"}]}\n{\"prompt\":\"2\",\"assert\":[{\"type\":\"choice\",\"value\":\"a\"}]}\n"
        "{\"prompt\":\"3\",\"assert\":[{\"type\":\"choice\",\"value\":\"c\",\"choices\":[\"c\"]},"
        "{\"type\":\"equals\",\"value\":\"c\"}]}\n";
    hn_golden golden;
    assert_int_equal(read_text(&golden, ROWS), HN_OK);
    hn_item_score score;
    double each[2];
    assert_int_equal(hn_golden_item_score(&golden.items[0], "", 1, each, &score, &err), HN_OK);
    assert_true(score.passed);
    assert_int_equal(hn_golden_item_score(&golden.items[1], "", 1, each, &score, &err), HN_OK);
    assert_false(score.passed);
    assert_false(hn_golden_item_generates(&golden.items[0]));
    assert_true(hn_golden_item_generates(&golden.items[2]));
    hn_golden_done(&golden);
}

static void test_bad_rows(void **state) {
    (void)state;
    static const struct {
        const char *text, *wanted;
    } CASES[] = {
        {"", "no rows"},
        {"{\"prompt\":\"p\"}", ":1: 'assert'"},
        {"\n{\"prompt\":\"\",\"assert\":[{\"type\":\"is-json\"}]}", ":2: 'prompt'"},
        {"{\"assert\":[{\"type\":\"is-json\"}]}", "either 'prompt' or 'messages'"},
        {"{\"prompt\":\"p\",\"asert\":[]}", "did you mean 'assert'"},
        {ROW("{\"type\":\"equal\",\"value\":\"x\"}"), "did you mean 'equals'"},
        {ROW("{\"type\":\"equals\",\"vaule\":\"x\"}"), "did you mean 'value'"},
        {ROW("{\"type\":\"equals\"}"), "must be a string"},
        {ROW("{\"value\":\"x\"}"), "no 'type'"},
        {ROW("7"), "must be an object"},
        {ROW("{\"type\":\"regex\",\"value\":\"(\"}"), "regex '('"},
        {ROW("{\"type\":\"contains-all\",\"value\":[1]}"), "list of strings"},
        {ROW("{\"type\":\"is-json\",\"value\":{\"pattern\":\"x\"}}"), "'pattern' isn't supported"},
        {ROW("{\"type\":\"choice\",\"value\":\"x\"}"), "needs 'choices'"},
        {ROW("{\"type\":\"choice\",\"value\":\"x\",\"choices\":[\"y\"]}"), "one of 'choices'"},
        {ROW("{\"type\":\"equals\",\"value\":\"x\",\"weight\":0}"), "'weight'"},
        {ROW("{\"type\":\"equals\",\"value\":\"x\",\"threshold\":2}"), "'threshold'"},
        {"{\"prompt\":\"p\",\"slice\":7,\"assert\":[{\"type\":\"is-json\"}]}", "'slice'"},
        {"{\"messages\":[{\"role\":\"usr\",\"content\":\"x\"}],\"assert\":[{\"type\":\"is-json\"}]"
         "}",
         "'role'"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"x\"}],\"assert\":[{\"type\":"
         "\"is-json\"}]}",
         "last message is the assistant's"},
        {ROW("{\"type\":\"is-json\"}") ROW("{\"type\":\"is-json\"}"), ":2: the same row as line 1"},
        {"{\"prompt\":\"p\",", "line 1"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        hn_golden golden;
        hn_status status = read_text(&golden, CASES[i].text);
        if (status != HN_BAD_INPUT && status != HN_UNSUPPORTED)
            fail_msg("%s: status %d", CASES[i].text, status);
        if (!strstr(err.message, CASES[i].wanted))
            fail_msg("%s: '%s' lacks '%s'", CASES[i].text, err.message, CASES[i].wanted);
    }
    hn_golden golden;
    assert_int_equal(hn_golden_read(&golden, "/nonexistent.jsonl", &err), HN_IO);
}

static void test_hostile_regex_ends(void **state) {
    (void)state;
    hn_golden golden;
    hn_item_score score;
    double each[1];
    char answer[64];
    memset(answer, 'a', sizeof answer - 1);
    answer[sizeof answer - 1] = 0;
    assert_int_equal(read_text(&golden, ROW("{\"type\":\"regex\",\"value\":\"(a+)+b|(a|aa)+c\"}")),
                     HN_OK);
    hn_status status = hn_golden_item_score(&golden.items[0], answer, -1, each, &score, &err);
    assert_true(status == HN_OK || status == HN_BAD_INPUT);
    hn_golden_done(&golden);
}

static bool accepts(const char *schema, const char *value) {
    json_t *s, *v;
    assert_int_equal(hn_json_parse(schema, strlen(schema), "s", &s, &err), HN_OK);
    assert_int_equal(hn_json_parse(value, strlen(value), "v", &v, &err), HN_OK);
    assert_int_equal(hn_schema_check(s, "s", &err), HN_OK);
    bool result = hn_schema_accepts(s, v);
    json_decref(s);
    json_decref(v);
    return result;
}

static void test_schema(void **state) {
    (void)state;
    static const char OBJECT[] =
        "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\",\"minimum\":1,"
        "\"exclusiveMaximum\":10},\"s\":{\"type\":[\"string\",\"null\"],\"maxLength\":2},"
        "\"l\":{\"type\":\"array\",\"items\":{\"enum\":[\"a\",2]},\"minItems\":1}},"
        "\"required\":[\"n\"],\"additionalProperties\":false}";
    assert_true(accepts(OBJECT, "{\"n\":1,\"s\":\"\u00e9\u00e9\",\"l\":[\"a\",2.0]}"));
    assert_true(accepts(OBJECT, "{\"n\":2.0,\"s\":null}"));
    assert_false(accepts(OBJECT, "{\"n\":10}"));
    assert_false(accepts(OBJECT, "{\"n\":1.5}"));
    assert_false(accepts(OBJECT, "{\"n\":true}"));
    assert_false(accepts(OBJECT, "{\"s\":\"x\"}"));
    assert_false(accepts(OBJECT, "{\"n\":1,\"s\":\"xyz\"}"));
    assert_false(accepts(OBJECT, "{\"n\":1,\"l\":[]}"));
    assert_false(accepts(OBJECT, "{\"n\":1,\"l\":[3]}"));
    assert_false(accepts(OBJECT, "{\"n\":1,\"more\":1}"));
    assert_false(accepts(OBJECT, "[]"));
    assert_true(accepts("{\"const\":{\"a\":[1]}}", "{\"a\":[1]}"));
    assert_false(accepts("false", "1"));
    assert_true(accepts("{\"minLength\":3}", "7")); /* bounds of other types say nothing */
}

/* F1 equals SQuAD's own, as torchmetrics computes it in f32 (record_fscore.py). */
static void test_f_score(void **state) {
    (void)state;
    json_t *rows, *row;
    size_t i;
    assert_int_equal(hn_json_read(HN_TEST_ROOT "/golden/fscore.json", 1 << 24, &rows, &err), HN_OK);
    json_array_foreach (rows, i, row) {
        const char *a = json_string_value(json_array_get(row, 0));
        const char *b = json_string_value(json_array_get(row, 1));
        double wanted = json_number_value(json_array_get(row, 2)), got;
        assert_int_equal(hn_f_score(a, b, &got, &err), HN_OK);
        if (fabs(got - wanted) > 1e-6)
            fail_msg("'%s' against '%s': %g, wanted %g", a, b, got, wanted);
    }
    assert_int_equal(i, 305);
    json_decref(rows);
}

static void test_out_of_memory(void **state) {
    (void)state;
    static const char ROWS[] = ROW("{\"type\":\"regex\",\"value\":\"a\"}")
        ROW("{\"type\":\"f-score\",\"value\":\"the cat sat\"}");
    char path[] = "/tmp/hone-golden-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(hn_file_write(path, ROWS, strlen(ROWS), &err), HN_OK);
    hn_status status = HN_NO_MEMORY;
    for (int allowed = 0; status == HN_NO_MEMORY && allowed < 1000; allowed++) {
        hn_golden golden = {0};
        hn_item_score score;
        double each[1];
        hn_mem_fail_after(allowed);
        status = hn_golden_read(&golden, path, &err);
        if (status == HN_OK)
            status = hn_golden_item_score(&golden.items[1], "a cat", -1, each, &score, &err);
        hn_mem_fail_after(-1);
        hn_golden_done(&golden);
    }
    assert_int_equal(status, HN_OK);
    unlink(path);
}

static void test_summary(void **state) {
    (void)state;
    static const char PATH[] = "/tmp/hone-samples.jsonl";
    static const char ROWS[] =
        "{\"id\":\"1\",\"slice\":\"x\",\"answer_hash\":\"a\",\"score\":1,\"passed\":true}\n"
        "{\"id\":\"2\",\"slice\":\"x\",\"answer_hash\":\"b\",\"score\":0,\"passed\":false}\n"
        "{\"id\":\"3\",\"slice\":\"y\",\"answer_hash\":\"c\",\"score\":0.5,\"passed\":true,"
        "\"weight\":2}\n";
    char path[64];
    snprintf(path, sizeof path, "%s-%d", PATH, (int)getpid());
    assert_int_equal(hn_file_write(path, ROWS, strlen(ROWS), &err), HN_OK);
    hn_scores scores, other;
    assert_int_equal(hn_scores_read(&scores, path, NULL, "t", &err), HN_OK);
    assert_int_equal(scores.n, 3);
    double mean = json_number_value(json_object_get(scores.results, "mean"));
    assert_true(fabs(mean - 0.5) < 1e-12);
    const json_t *x = json_object_get(json_object_get(scores.results, "slices"), "x");
    assert_true(fabs(json_number_value(json_object_get(x, "mean")) - 0.5) < 1e-12);
    assert_int_equal(json_integer_value(json_object_get(x, "n")), 2);
    assert_null(json_object_get(scores.results, "latency_ms"));

    assert_int_equal(hn_scores_read(&other, path, NULL, "t", &err), HN_OK);
    other.samples[0].passed = false;
    other.samples[0].answer_hash = 7;
    other.samples[1].passed = true;
    hn_flips flips;
    assert_int_equal(hn_scores_compare(&scores, &other, &flips, &err), HN_OK);
    assert_true(flips.lost == 1 && flips.won == 1 && flips.changed == 1 && flips.n == 3);
    other.samples[2].id[0] = '9';
    assert_int_equal(hn_scores_compare(&scores, &other, &flips, &err), HN_USAGE);
    hn_scores_done(&scores);
    hn_scores_done(&other);

    assert_int_equal(hn_file_write(path, "{\"id\":\"1\"}\n", 11, &err), HN_OK);
    assert_int_equal(hn_scores_read(&scores, path, NULL, "t", &err), HN_BAD_INPUT);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_assertions),
        cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_hostile_regex_ends),
        cmocka_unit_test(test_schema),
        cmocka_unit_test(test_f_score),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
