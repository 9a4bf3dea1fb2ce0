/* Training rows: shapes, refusals with file:line, messages; trees and packing. */
#define _GNU_SOURCE
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static hn_status read_text(const char *text, bool skip_bad, hn_records *records, hn_error *err) {
    char path[] = "/tmp/hone-rows-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(hn_file_write(path, text, strlen(text), err), HN_OK);
    hn_status status = hn_records_read(records, path, skip_bad, NULL, err);
    unlink(path);
    return status;
}

static void expect_refused(const char *text, const char *part) {
    hn_records records;
    hn_error err = {0};
    assert_int_equal(read_text(text, false, &records, &err), HN_BAD_INPUT);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" lacks \"%s\"", err.message, part);
}

static void expect_messages(const hn_record *record, const char *system, bool chosen,
                            const char *wanted) {
    json_t *messages = hn_record_messages(record, system, chosen);
    char *text = json_dumps(messages, JSON_COMPACT);
    assert_string_equal(text, wanted);
    free(text); /* jansson's own allocator */
    json_decref(messages);
}

static void test_shapes(void **state) {
    (void)state;
    hn_records r;
    hn_error err;
    assert_int_equal(
        read_text("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                  "{\"role\": \"assistant\", \"content\": \"b\"}]}\n"
                  "{\"prompt\": \"a\", \"completion\": \"b\", \"id\": 7}\n"
                  "\n"
                  "{\"instruction\": \"a\", \"context\": \"c\", \"response\": \"b\"}\n"
                  "{\"instruction\": \"a\", \"context\": \"\", \"response\": \"b\"}\n"
                  "{\"instruction\": \"a\", \"thought\": \"t\", \"response\": \"b\"}\n"
                  "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"chosen\": \"b\", "
                  "\"rejected\": \"n\"}\n",
                  false, &r, &err),
        HN_OK);
    assert_int_equal(r.n, 6);
    assert_int_equal(r.items[5].line, 7);
    static const hn_record_kind KINDS[] = {HN_RECORD_MESSAGES, HN_RECORD_COMPLETION,
                                           HN_RECORD_CONTEXT,  HN_RECORD_CONTEXT,
                                           HN_RECORD_THOUGHT,  HN_RECORD_PREFERENCE};
    for (size_t i = 0; i < r.n; i++)
        assert_int_equal(r.items[i].kind, KINDS[i]);
#define TURNS(user, assistant)                                                                     \
    "{\"role\":\"user\",\"content\":\"" user                                                       \
    "\"},{\"role\":\"assistant\",\"content\":\"" assistant "\"}"
    expect_messages(&r.items[0], NULL, true, "[" TURNS("a", "b") "]");
    expect_messages(&r.items[1], "s", true,
                    "[{\"role\":\"system\",\"content\":\"s\"}," TURNS("a", "b") "]");
    expect_messages(&r.items[2], NULL, true, "[" TURNS("a\\n\\nc", "b") "]");
    expect_messages(&r.items[3], NULL, true, "[" TURNS("a", "b") "]");
    expect_messages(&r.items[4], NULL, true, "[" TURNS("a", "<think>\\nt\\n</think>\\n\\nb") "]");
    expect_messages(&r.items[5], NULL, true, "[" TURNS("a", "b") "]");
    expect_messages(&r.items[5], NULL, false, "[" TURNS("a", "n") "]");
    hn_records_done(&r);
}

static void test_refusals(void **state) {
    (void)state;
    expect_refused("{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\"", ":2");
    expect_refused("{\"prompt\": \"a\", \"completoin\": \"b\"}", "meant to be \"completion\"");
    expect_refused("{\"x\": 1}", "it must hold");
    expect_refused("[1]", ":1");
    expect_refused("{\"prompt\": \"a\", \"completion\": \" \\n\"}", "completion is empty");
    expect_refused("{\"prompt\": 3, \"completion\": \"b\"}", "prompt must be a text");
    expect_refused("{\"messages\": []}", "at least one turn");
    expect_refused("{\"messages\": [{\"role\": \"human\", \"content\": \"a\"}]}",
                   "did you mean \"user\"");
    expect_refused("{\"messages\": [{\"role\": \"usr\", \"content\": \"a\"}]}",
                   "did you mean \"user\"");
    expect_refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
                   "ends with a user");
    expect_refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
                   "\"system\", \"content\": \"a\"}]}",
                   "may only come first");
    expect_refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": "
                   "\"assistant\", \"content\": \"\"}]}",
                   "messages[1]: content is empty");
    expect_refused("\n\n", "no row: the file is empty");
}

static void test_skip_bad(void **state) {
    (void)state;
    hn_records r;
    hn_error err;
    assert_int_equal(read_text("{\"prompt\": \"a\", \"completion\": \"b\"}\n{broken\n{\"x\": 1}\n"
                               "{\"prompt\": \"c\", \"completion\": \"d\"}\n",
                               true, &r, &err),
                     HN_OK);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.n_bad, 2);
    assert_int_equal(r.items[1].line, 4);
    hn_records_done(&r);
}

static void test_allocation_failure(void **state) {
    (void)state;
    hn_records r;
    hn_error err;
    char path[] = "/tmp/hone-rows-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    const char text[] = "{\"prompt\": \"a\", \"completion\": \"b\"}\n{broken\n";
    assert_int_equal(hn_file_write(path, text, strlen(text), &err), HN_OK);
    hn_status status = HN_NO_MEMORY;
    for (int64_t n = 0; status == HN_NO_MEMORY; n++) {
        hn_mem_fail_after(n);
        status = hn_records_read(&r, path, true, NULL, &err);
        hn_mem_fail_after(-1);
    }
    assert_int_equal(status, HN_OK);
    hn_records_done(&r);
    unlink(path);
}

enum { MAX_DOCS = 40, MAX_LENGTH = 60 };

static size_t random_documents(hn_rng *rng, hn_document *docs) {
    size_t n = 1 + hn_rng_below(rng, MAX_DOCS - 1);
    for (size_t i = 0; i < n; i++) {
        int32_t length = 1 + (int32_t)hn_rng_below(rng, MAX_LENGTH - 1);
        docs[i] = (hn_document){.n = length, .line = i};
        docs[i].ids = hn_malloc(2 * (size_t)length * sizeof *docs[i].ids);
        docs[i].labels = docs[i].ids + length;
        size_t like = hn_rng_below(rng, i + 1);
        int32_t alike = (int32_t)hn_rng_below(rng, (uint64_t)length + 1);
        for (int32_t p = 0; p < length; p++) {
            bool copy = p < alike && p < docs[like].n && like < i;
            docs[i].ids[p] = copy ? docs[like].ids[p] : (int32_t)hn_rng_below(rng, 3);
        }
        for (int32_t p = 0; p < length; p++) {
            docs[i].labels[p] = p + 1 < length && hn_rng_below(rng, 2) ? docs[i].ids[p + 1] : -1;
            docs[i].n_supervised += docs[i].labels[p] >= 0;
        }
    }
    return n;
}

/* Tokens up to the last that predicts something: the others need no row. */
static int32_t learned_length(const hn_document *doc) {
    int32_t n = 0;
    for (int32_t p = 0; p < doc->n; p++)
        if (doc->labels[p] >= 0)
            n = p + 1;
    return n;
}

/* Every document must be a path of the tree up to its last target, and the targets exactly the
 * documents'. */
static void check_tree(const hn_tree *tree, const hn_document *docs, size_t n, int32_t max_rows) {
    int32_t next_row = 0;
    for (int32_t s = 0; s < tree->n_segments; s++) {
        const hn_segment *seg = &tree->segments[s];
        assert_true(seg->parent < s && seg->n_rows > 0 && seg->n_rows <= max_rows);
        assert_int_equal(seg->first_row, next_row);
        next_row += seg->n_rows;
        int32_t before = seg->parent < 0 ? 0
                                         : tree->segments[seg->parent].first_pos +
                                               tree->segments[seg->parent].n_rows;
        assert_int_equal(seg->first_pos, before);
        for (int32_t i = 0; i < seg->n_rows; i++)
            assert_int_equal(tree->positions[seg->first_row + i], seg->first_pos + i);
    }
    assert_int_equal(next_row, tree->n_rows);
    int32_t wanted = 0;
    for (size_t d = 0; d < n; d++) {
        wanted += docs[d].n_supervised;
        int32_t length = learned_length(&docs[d]);
        bool found = length == 0;
        for (int32_t leaf = 0; leaf < tree->n_segments && !found; leaf++) {
            const hn_segment *seg = &tree->segments[leaf];
            if (length > seg->first_pos + seg->n_rows || length <= seg->first_pos)
                continue;
            found = true;
            for (int32_t s = leaf; s >= 0 && found; s = tree->segments[s].parent)
                for (int32_t i = 0; i < tree->segments[s].n_rows && found; i++) {
                    int32_t p = tree->segments[s].first_pos + i;
                    found = p >= length ||
                            tree->tokens[tree->segments[s].first_row + i] == docs[d].ids[p];
                }
        }
        assert_true(found);
    }
    assert_int_equal(tree->n_targets, wanted);
    for (int32_t i = 1; i < tree->n_targets; i++)
        assert_true(tree->targets[i].row >= tree->targets[i - 1].row);
}

static void test_trees(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(17, 1);
    for (int round = 0; round < 300; round++) {
        hn_document docs[MAX_DOCS];
        const hn_document *list[MAX_DOCS];
        size_t n = random_documents(&rng, docs);
        int64_t rows = 0, tokens = 0;
        for (size_t i = 0; i < n; i++) {
            list[i] = &docs[i];
            rows += learned_length(&docs[i]);
            tokens += docs[i].n;
        }
        for (int share = 0; share < 2; share++) {
            hn_tree tree;
            hn_error err;
            hn_tree_options options = {.share = share, .max_segment_rows = round % 2 ? 7 : 0};
            assert_int_equal(hn_tree_build(&tree, list, n, &options, &err), HN_OK);
            check_tree(&tree, docs, n, round % 2 ? 7 : 256);
            assert_true(share ? tree.n_rows <= rows : tree.n_rows == rows);
            assert_int_equal(tree.n_doc_tokens, tokens);
            hn_tree_done(&tree);
        }
        for (size_t i = 0; i < n; i++)
            hn_free(docs[i].ids);
    }
}

static void test_packing(void **state) {
    (void)state;
    hn_rng rng = hn_rng_new(18, 1);
    for (int round = 0; round < 100; round++) {
        hn_document docs[MAX_DOCS];
        const hn_document *list[MAX_DOCS];
        size_t n = random_documents(&rng, docs);
        for (size_t i = 0; i < n; i++)
            list[i] = &docs[i];
        enum { ROOM = 80 };
        for (int share = 0; share < 2; share++) {
            hn_packing packing;
            hn_error err;
            bool seen[MAX_DOCS] = {false};
            assert_int_equal(hn_pack_documents(&packing, list, n, ROOM, share, &err), HN_OK);
            for (size_t b = 0; b < packing.n_bins; b++) {
                int64_t rows = 0;
                for (uint32_t i = packing.first[b]; i < packing.first[b + 1]; i++) {
                    assert_false(seen[packing.items[i]]);
                    seen[packing.items[i]] = true;
                    rows += docs[packing.items[i]].n;
                }
                assert_true(share || rows <= ROOM);
            }
            for (size_t i = 0; i < n; i++)
                assert_true(seen[i]);
            hn_packing_done(&packing);
        }
        for (size_t i = 0; i < n; i++)
            hn_free(docs[i].ids);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_skip_bad), cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_trees),    cmocka_unit_test(test_packing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
