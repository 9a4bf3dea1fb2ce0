/* libhone through hone.h: what a program sees. Over the small golden models, which are always
 * there; the same text as the layers below give, wrong use, threads, cancellation. */
#include "hone.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/text.h"
#include "base/version.h"
#include "model/generate.h"
#include "support/check.h"
#include "support/files.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { CONTEXT = 512, N_EMBD = 36, N_VOCAB = 264 };

static const char QUESTION[] = "Switch on the lamp, bitte schön";

static const char *model_path(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/golden/models/%s", HN_TEST_ROOT, name);
    return path;
}

/* Fails the test with the message of the hone_error that `expr` left in `errp`. */
#define ASSERT_HONE(expr)                                                                          \
    do {                                                                                           \
        hone_error hone_err, *errp = &hone_err;                                                    \
        if ((expr) != HONE_OK)                                                                     \
            fail_msg("%s", hone_err.message);                                                      \
    } while (0)

/* `expr` fails with `wanted` and a message that holds `words`. */
#define ASSERT_REFUSED(wanted, words, expr)                                                        \
    do {                                                                                           \
        hone_error hone_err = {HONE_OK, ""}, *errp = &hone_err;                                    \
        assert_int_equal((expr), (wanted));                                                        \
        assert_int_equal(hone_err.status, (wanted));                                               \
        if (!strstr(hone_err.message, (words)))                                                    \
            fail_msg("'%s' doesn't say '%s'", hone_err.message, (words));                          \
    } while (0)

static hone_engine *open_engine(const char *path) {
    hone_engine_options options;
    hone_engine_options_init(&options, sizeof options);
    options.n_threads = 2;
    options.numerics = HONE_NUMERICS_F32;
    options.context = CONTEXT;
    hone_engine *engine = NULL;
    ASSERT_HONE(hone_engine_open(&engine, path, &options, errp));
    return engine;
}

static hone_session *open_session(hone_engine *engine, hone_adapter *adapter) {
    hone_session_options options;
    hone_session_options_init(&options, sizeof options);
    options.adapter = adapter;
    hone_session *session = NULL;
    ASSERT_HONE(hone_session_open(&session, engine, &options, errp));
    return session;
}

static hone_generate_options short_answer(void) {
    hone_generate_options options;
    hone_generate_options_init(&options, sizeof options);
    options.max_tokens = 24;
    options.ignore_end = 1;
    return options;
}

static hone_result empty_result(void) {
    hone_result result;
    hone_result_init(&result, sizeof result);
    return result;
}

/* The llama3 model with a chat template beside it, in the test's folder. */
static const char *chat_model(void) {
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "tokenizer_config.json"};
    static const char template[] = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n"
                                   "{% endfor %}{% if add_generation_prompt %}a: {% endif %}";
    static char folder[128], path[256];
    snprintf(folder, sizeof folder, "%s", in_dir("chat"));
    if (hn_path_exists(folder))
        return folder;
    ASSERT_OK(hn_dir_make(folder, errp));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text = NULL;
        size_t size;
        snprintf(path, sizeof path, "llama3/%s", files[i]);
        ASSERT_OK(hn_file_read(model_path(path), 1 << 20, &text, &size, errp));
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        ASSERT_OK(hn_file_write(path, text, size, errp));
        hn_free(text);
    }
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    ASSERT_OK(hn_file_write(path, template, sizeof template - 1, errp));
    return folder;
}

static void test_version(void **state) {
    (void)state;
    char header[32];
    snprintf(header, sizeof header, "%d.%d.%d", HONE_VERSION_MAJOR, HONE_VERSION_MINOR,
             HONE_VERSION_PATCH);
    assert_string_equal(header, HN_VERSION);
    assert_string_equal(hone_version(), HN_VERSION);
    assert_string_equal(hone_status_name(HONE_OK), "ok");
    assert_string_equal(hone_status_name(HONE_CANCELLED), "cancelled");
    assert_string_equal(hone_status_name((hone_status)8), "unknown");
    assert_string_equal(hone_status_name((hone_status)-1), "unknown");
}

/* An older program's struct is shorter, a newer one's longer. */
static void test_options_grow(void **state) {
    (void)state;
    hone_engine *engine = NULL;
    struct {
        hone_engine_options known;
        int later;
    } newer;
    hone_engine_options_init(&newer.known, sizeof newer);
    assert_int_equal(newer.known.size, sizeof newer);
    newer.later = 0;
    ASSERT_HONE(hone_engine_open(&engine, model_path("llama3"), &newer.known, errp));
    hone_engine_close(engine);
    newer.later = 1;
    ASSERT_REFUSED(HONE_UNSUPPORTED, "newer version",
                   hone_engine_open(&engine, model_path("llama3"), &newer.known, errp));

    hone_engine_options older;
    memset(&older, 0x5a, sizeof older);
    const size_t size = offsetof(hone_engine_options, numerics);
    hone_engine_options_init(&older, size);
    assert_int_equal(older.n_threads, 0);
    assert_int_equal(older.context, 0x5a5a5a5a); /* not its memory */
    older.n_threads = 1;
    ASSERT_HONE(hone_engine_open(&engine, model_path("llama3"), &older, errp));
    assert_int_equal(hone_engine_n_threads(engine), 1);
    assert_int_equal(hone_engine_context(engine), 64);
    hone_engine_close(engine);

    older.size = 0;
    ASSERT_REFUSED(HONE_USAGE, "hone_engine_options_init",
                   hone_engine_open(&engine, model_path("llama3"), &older, errp));
    older.size = (size_t)1 << 40;
    ASSERT_REFUSED(HONE_USAGE, "hone_engine_options_init",
                   hone_engine_open(&engine, model_path("llama3"), &older, errp));
}

static void test_null_arguments(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = open_session(engine, NULL);
    hone_engine *no_engine = NULL;
    hone_session *no_session = NULL;
    hone_adapter *no_adapter = NULL;
    int32_t *tokens = NULL, one = 1;
    size_t n = 0;
    char *text = NULL;
    float vector[N_EMBD];
    hone_message message = {"user", NULL};
    const char *stop[1] = {NULL};

    ASSERT_REFUSED(HONE_USAGE, "out", hone_engine_open(NULL, "x", NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "path", hone_engine_open(&no_engine, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "out", hone_adapter_open(NULL, engine, "x", errp));
    ASSERT_REFUSED(HONE_USAGE, "engine", hone_adapter_open(&no_adapter, NULL, "x", errp));
    ASSERT_REFUSED(HONE_USAGE, "path", hone_adapter_open(&no_adapter, engine, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "out", hone_session_open(NULL, engine, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "engine", hone_session_open(&no_session, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "session", hone_session_reset(NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "session", hone_complete(NULL, "x", NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "text", hone_complete(session, NULL, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "session", hone_chat(NULL, &message, 1, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "messages", hone_chat(session, NULL, 1, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "n_messages", hone_chat(session, &message, 0, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "messages[0].content",
                   hone_chat(session, &message, 1, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "session", hone_embed(NULL, "x", NULL, vector, N_EMBD, errp));
    ASSERT_REFUSED(HONE_USAGE, "text", hone_embed(session, NULL, NULL, vector, N_EMBD, errp));
    ASSERT_REFUSED(HONE_USAGE, "out", hone_embed(session, "x", NULL, NULL, N_EMBD, errp));
    ASSERT_REFUSED(HONE_USAGE, "36", hone_embed(session, "x", NULL, vector, N_EMBD - 1, errp));
    ASSERT_REFUSED(HONE_USAGE, "engine", hone_tokenize(NULL, "x", 1, 0, &tokens, &n, errp));
    ASSERT_REFUSED(HONE_USAGE, "text", hone_tokenize(engine, NULL, 1, 0, &tokens, &n, errp));
    ASSERT_REFUSED(HONE_USAGE, "tokens", hone_tokenize(engine, "x", 1, 0, NULL, &n, errp));
    ASSERT_REFUSED(HONE_USAGE, "n_tokens", hone_tokenize(engine, "x", 1, 0, &tokens, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "engine", hone_detokenize(NULL, &one, 1, 0, &text, &n, errp));
    ASSERT_REFUSED(HONE_USAGE, "tokens", hone_detokenize(engine, NULL, 1, 0, &text, &n, errp));
    ASSERT_REFUSED(HONE_USAGE, "text", hone_detokenize(engine, &one, 1, 0, NULL, &n, errp));
    hone_generate_options options = short_answer();
    options.n_stop = 1;
    ASSERT_REFUSED(HONE_USAGE, "stop", hone_complete(session, "x", &options, NULL, errp));
    options.stop = stop;
    ASSERT_REFUSED(HONE_USAGE, "stop[0]", hone_complete(session, "x", &options, NULL, errp));

    assert_null(no_engine);
    assert_null(no_session);
    assert_null(no_adapter);
    assert_null(tokens);
    assert_null(text);
    assert_int_equal(hone_engine_open(&no_engine, NULL, NULL, NULL), HONE_USAGE); /* no message */
    hone_engine_options_init(NULL, 8);
    hone_result_init(NULL, 8);
    hone_result_done(NULL);
    hone_session_cancel(NULL);
    hone_session_close(NULL);
    hone_adapter_close(NULL);
    hone_engine_close(NULL);
    hone_free(NULL);
    assert_int_equal(hone_engine_n_vocab(NULL), 0);
    assert_null(hone_engine_isa(NULL));
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_wrong_values(void **state) {
    (void)state;
    hone_engine *engine = NULL;
    hone_engine_options how;
    hone_engine_options_init(&how, sizeof how);
    how.numerics = (hone_numerics)7;
    ASSERT_REFUSED(HONE_USAGE, "numerics",
                   hone_engine_open(&engine, model_path("llama3"), &how, errp));
    hone_engine_options_init(&how, sizeof how);
    how.isa = "z80";
    ASSERT_REFUSED(HONE_USAGE, "z80", hone_engine_open(&engine, model_path("llama3"), &how, errp));
    hone_engine_options_init(&how, sizeof how);
    how.n_threads = -1;
    ASSERT_REFUSED(HONE_USAGE, "threads",
                   hone_engine_open(&engine, model_path("llama3"), &how, errp));
    hone_engine_options_init(&how, sizeof how);
    how.context = -5;
    ASSERT_REFUSED(HONE_USAGE, "-5", hone_engine_open(&engine, model_path("llama3"), &how, errp));

    engine = open_engine(model_path("llama3"));
    hone_session *session = NULL;
    hone_session_options where;
    hone_session_options_init(&where, sizeof where);
    where.context = -1;
    ASSERT_REFUSED(HONE_USAGE, "-1", hone_session_open(&session, engine, &where, errp));
    session = open_session(engine, NULL);
    hone_generate_options options = short_answer();
    options.temperature = NAN;
    ASSERT_REFUSED(HONE_USAGE, "temperature", hone_complete(session, "x", &options, NULL, errp));
    options = short_answer();
    options.max_tokens = -1;
    ASSERT_REFUSED(HONE_USAGE, "max_tokens", hone_complete(session, "x", &options, NULL, errp));
    hone_result result = {0};
    ASSERT_REFUSED(HONE_USAGE, "hone_result_init",
                   hone_complete(session, "x", NULL, &result, errp));
    ASSERT_REFUSED(HONE_BAD_INPUT, "UTF-8", hone_complete(session, "a\xff", NULL, NULL, errp));
    ASSERT_REFUSED(HONE_USAGE, "no tokens", hone_complete(session, "", NULL, NULL, errp));
    const hone_message message = {"user", "\xc3"};
    ASSERT_REFUSED(HONE_BAD_INPUT, "messages[0].content",
                   hone_chat(session, &message, 1, NULL, NULL, errp));
    const hone_message fine = {"user", "x"};
    ASSERT_REFUSED(HONE_UNSUPPORTED, "chat template",
                   hone_chat(session, &fine, 1, NULL, NULL, errp));
    char *text = NULL;
    const int32_t bad[] = {1, N_VOCAB};
    ASSERT_REFUSED(HONE_BAD_INPUT, "tokens[1]",
                   hone_detokenize(engine, bad, 2, 0, &text, NULL, errp));
    int32_t *tokens = NULL;
    size_t n;
    ASSERT_REFUSED(HONE_USAGE, "flags",
                   hone_tokenize(engine, "x", 1, HONE_TOKENS_SHOW_SPECIAL, &tokens, &n, errp));
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_bad_files(void **state) {
    (void)state;
    hone_engine *engine = NULL;
    hone_adapter *adapter = NULL;
    char *bytes = NULL;
    size_t size;
    ASSERT_REFUSED(HONE_IO, "nowhere.gguf", hone_engine_open(&engine, "nowhere.gguf", NULL, errp));
    ASSERT_OK(hn_file_read(model_path("llama3.gguf"), 1 << 20, &bytes, &size, errp));
    for (size_t part = 0; part < 16; part++) {
        const size_t cut = size * part / 16;
        char name[32];
        snprintf(name, sizeof name, "cut-%zu.gguf", part);
        ASSERT_OK(hn_file_write(in_dir(name), bytes, cut, errp));
        ASSERT_REFUSED(HONE_BAD_INPUT, name, hone_engine_open(&engine, in_dir(name), NULL, errp));
        assert_null(engine);
    }
    hn_free(bytes);
    engine = open_engine(model_path("qwen2"));
    ASSERT_REFUSED(HONE_BAD_INPUT, "",
                   hone_adapter_open(&adapter, engine, model_path("llama3_lora"), errp));
    ASSERT_REFUSED(HONE_IO, "nowhere", hone_adapter_open(&adapter, engine, "/nowhere", errp));
    assert_null(adapter);
    hone_engine_close(engine);
}

static void test_tokens(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    int32_t *tokens = NULL;
    size_t n = 0, n_bytes = 0;
    char *text = NULL;
    ASSERT_HONE(hone_tokenize(engine, QUESTION, strlen(QUESTION), 0, &tokens, &n, errp));
    assert_int_equal(n, strlen(QUESTION)); /* a byte a token */
    ASSERT_HONE(hone_detokenize(engine, tokens, n, 0, &text, &n_bytes, errp));
    assert_string_equal(text, QUESTION);
    assert_int_equal(n_bytes, strlen(QUESTION));
    hone_free(tokens);
    hone_free(text);

    static const char marked[] = "a<|eos|>";
    ASSERT_HONE(hone_tokenize(engine, marked, strlen(marked), HONE_TOKENS_PARSE_SPECIAL, &tokens,
                              &n, errp));
    assert_int_equal(n, 2);
    ASSERT_HONE(hone_detokenize(engine, tokens, n, 0, &text, NULL, errp));
    assert_string_equal(text, "a");
    hone_free(text);
    ASSERT_HONE(hone_detokenize(engine, tokens, n, HONE_TOKENS_SHOW_SPECIAL, &text, NULL, errp));
    assert_string_equal(text, marked);
    hone_free(text);
    hone_free(tokens);

    ASSERT_HONE(hone_tokenize(engine, NULL, 0, 0, &tokens, &n, errp));
    assert_int_equal(n, 0);
    hone_free(tokens);
    ASSERT_HONE(hone_detokenize(engine, NULL, 0, 0, &text, NULL, errp));
    assert_string_equal(text, "");
    hone_free(text);
    assert_int_equal(hone_engine_n_vocab(engine), N_VOCAB);
    assert_int_equal(hone_engine_n_embd(engine), N_EMBD);
    assert_int_equal(hone_engine_context(engine), CONTEXT);
    assert_non_null(hone_engine_isa(engine));
    hone_engine_close(engine);
}

/* What hn_generate gives for the same prompt, adapter or not. */
static hn_generation direct(const char *adapter_path, const char *text) {
    const hn_model_options how = {.n_threads = 1};
    hn_model *model = NULL;
    hn_adapter *adapter = NULL;
    hn_kv *kv = NULL;
    hn_ids ids = {0};
    hn_generation out;
    ASSERT_OK(hn_model_open(&model, model_path("llama3"), &how, errp));
    if (adapter_path)
        ASSERT_OK(hn_adapter_open(&adapter, adapter_path, &model->arch, errp));
    ASSERT_OK(hn_kv_new(&kv, model, 1, CONTEXT, errp));
    ASSERT_OK(
        hn_encode(model->ckpt.tokenizer, text, strlen(text), HN_ENCODE_ADD_SPECIAL, &ids, errp));
    const hn_generate_options options = {.sampling = hn_sampling_default(),
                                         .max_tokens = 24,
                                         .ignore_eos = true,
                                         .adapter = adapter};
    ASSERT_OK(hn_generate(model, kv, 0, ids.data, (int)ids.size, &options, &out, errp));
    hn_ids_done(&ids);
    hn_kv_free(kv);
    hn_adapter_free(adapter);
    hn_model_free(model);
    return out;
}

static void assert_same_answer(const hone_result *result, const hn_generation *wanted) {
    assert_string_equal(result->text, wanted->text);
    assert_int_equal(result->n_bytes, strlen(wanted->text));
    assert_int_equal(result->n_tokens, wanted->ids.size);
    assert_memory_equal(result->tokens, wanted->ids.data, result->n_tokens * sizeof(int32_t));
}

static void test_same_as_below(void **state) {
    (void)state;
    char lora[512];
    snprintf(lora, sizeof lora, "%s", model_path("llama3_lora"));
    hn_generation plain = direct(NULL, QUESTION), adapted = direct(lora, QUESTION);
    assert_string_not_equal(plain.text, adapted.text);

    hone_engine *engine = open_engine(model_path("llama3"));
    hone_adapter *adapter = NULL;
    ASSERT_HONE(hone_adapter_open(&adapter, engine, lora, errp));
    hone_session *first = open_session(engine, NULL), *second = open_session(engine, adapter);
    hone_adapter_close(adapter); /* the session keeps it */
    hone_engine_close(engine);   /* and both keep the engine */
    hone_generate_options options = short_answer();
    hone_result result = empty_result();
    for (int round = 0; round < 2; round++) {
        ASSERT_HONE(hone_complete(first, QUESTION, &options, &result, errp));
        assert_same_answer(&result, &plain);
        assert_int_equal(result.finish, HONE_FINISH_LENGTH);
        assert_int_equal(result.n_prompt, strlen(QUESTION));
        assert_int_equal(result.n_reused, round ? result.n_prompt - 1 : 0);
        ASSERT_HONE(hone_complete(second, QUESTION, &options, &result, errp));
        assert_same_answer(&result, &adapted);
        assert_true(result.total_s >= result.first_token_s && result.first_token_s > 0);
    }
    hone_result_done(&result);
    assert_null(result.text);
    assert_int_equal(result.size, sizeof result);
    hone_session_close(first);
    hone_session_close(second);
    hn_generation_done(&plain);
    hn_generation_done(&adapted);
}

/* Schemas, grammars, biases; what they refuse; that guessing changes nothing. */
static void test_answers_of_a_shape(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = open_session(engine, NULL);
    hone_generate_options options = short_answer();
    hone_result result = empty_result();
    options.json_schema = "{\"type\": \"object\", \"properties\": {\"on\": {\"type\": "
                          "\"boolean\"}}, \"required\": [\"on\"]}";
    options.max_tokens = 40;
    for (int round = 0; round < 4; round++) { /* the second finds it compiled */
        options.speculate = round % 2;
        ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
        json_t *value = json_loads(result.text, 0, NULL);
        assert_true(json_is_boolean(json_object_get(value, "on")));
        assert_int_equal(result.finish, HONE_FINISH_STOP);
        assert_true(options.speculate ? result.n_accepted <= result.n_drafted
                                      : result.n_drafted == 0);
        json_decref(value);
    }
    options.grammar = "root ::= \"x\"";
    ASSERT_REFUSED(HONE_USAGE, "exclude each other",
                   hone_complete(session, QUESTION, &options, &result, errp));
    options.json_schema = NULL;
    char text[32];
    for (int i = 0; i < 12; i++) { /* more than an engine keeps */
        snprintf(text, sizeof text, "root ::= \"number %d\"", i);
        options.grammar = text;
        ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
        assert_memory_equal(result.text, text + 10, strlen(text) - 11);
    }
    options.grammar = "root ::= rule";
    ASSERT_REFUSED(HONE_BAD_INPUT, "grammar",
                   hone_complete(session, QUESTION, &options, &result, errp));
    options.grammar = NULL;
    options.json_schema = "{\"not\": {}}";
    ASSERT_REFUSED(HONE_UNSUPPORTED, "not",
                   hone_complete(session, QUESTION, &options, &result, errp));
    options.json_schema = NULL;
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
    const hone_logit_bias bias[] = {{result.tokens[0], -INFINITY}, {70, 1000}};
    options.logit_bias = bias;
    options.n_logit_bias = 2;
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
    assert_int_equal(result.tokens[0], 70);
    options.logit_bias = NULL;
    ASSERT_REFUSED(HONE_USAGE, "logit_bias",
                   hone_complete(session, QUESTION, &options, &result, errp));
    hone_result_done(&result);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_adapter_of_another_engine(void **state) {
    (void)state;
    hone_engine *a = open_engine(model_path("llama3")), *b = open_engine(model_path("llama3"));
    hone_adapter *adapter = NULL;
    hone_session *session = NULL;
    ASSERT_HONE(hone_adapter_open(&adapter, a, model_path("llama3_lora"), errp));
    hone_session_options options;
    hone_session_options_init(&options, sizeof options);
    options.adapter = adapter;
    ASSERT_REFUSED(HONE_USAGE, "another engine", hone_session_open(&session, b, &options, errp));
    hone_engine_close(a);
    hone_engine_close(b);
    hone_adapter_close(adapter);
}

typedef struct collector {
    hn_buf text;
    int pieces, stop_after;
    hone_session *session; /* which the callback tries to use */
} collector;

static int collect(void *context, const char *text, size_t n_bytes) {
    collector *c = context;
    assert_true(hn_utf8_valid(text, n_bytes));
    hn_buf_append(&c->text, text, n_bytes);
    if (c->session)
        ASSERT_REFUSED(HONE_USAGE, "in use", hone_complete(c->session, "x", NULL, NULL, errp));
    return ++c->pieces == c->stop_after;
}

static void test_callback(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = open_session(engine, NULL);
    hone_generate_options options = short_answer();
    hone_result result = empty_result(), whole = empty_result();
    collector got = {.session = session};
    options.on_text = collect;
    options.on_text_context = &got;
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &whole, errp));
    assert_string_equal(hn_buf_text(&got.text), whole.text);
    assert_true(got.pieces > 3);
    hn_buf_done(&got.text);

    got = (collector){.stop_after = 2};
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_CANCELLED);
    assert_int_equal(got.pieces, 2);
    assert_memory_equal(result.text, whole.text, got.text.size);
    hn_buf_done(&got.text);

    /* The last character of the answer as a stop text: it ends where that first appears. */
    size_t at = whole.n_bytes - 1;
    while (at > 0 && ((unsigned char)whole.text[at] & 0xc0) == 0x80)
        at--;
    const char *stop[] = {"no such text", whole.text + at};
    got = (collector){0};
    options.stop = stop;
    options.n_stop = 2;
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_STOP);
    assert_int_equal(result.n_bytes, strstr(whole.text, stop[1]) - whole.text);
    assert_string_equal(hn_buf_text(&got.text), result.text);
    hn_buf_done(&got.text);
    ASSERT_HONE(hone_complete(session, QUESTION, &options, NULL, errp)); /* nobody wants a result */
    hn_buf_done(&got.text);
    hone_result_done(&result);
    hone_result_done(&whole);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_sampling(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = open_session(engine, NULL);
    hone_generate_options options = short_answer();
    hone_result results[3];
    options.temperature = 1.5f;
    options.top_k = 40;
    options.top_p = 0.95f;
    options.repetition_penalty = 1.1f;
    options.max_tokens = 200;
    for (int i = 0; i < 3; i++) {
        results[i] = empty_result();
        options.seed = i < 2 ? 1 : 2;
        ASSERT_HONE(hone_complete(session, QUESTION, &options, &results[i], errp));
        /* Whatever bytes it drew, NULs among them. */
        char *text;
        size_t n_bytes;
        ASSERT_HONE(hone_detokenize(engine, results[i].tokens, results[i].n_tokens, 0, &text,
                                    &n_bytes, errp));
        assert_int_equal(results[i].n_bytes, n_bytes);
        assert_memory_equal(results[i].text, text, n_bytes + 1);
        hone_free(text);
    }
    assert_string_equal(results[0].text, results[1].text);
    assert_string_not_equal(results[0].text, results[2].text);
    for (int i = 0; i < 3; i++)
        hone_result_done(&results[i]);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_full_context(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = NULL;
    hone_session_options options;
    hone_session_options_init(&options, sizeof options);
    options.context = 32;
    ASSERT_HONE(hone_session_open(&session, engine, &options, errp));
    char long_text[200];
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    float vector[N_EMBD];
    ASSERT_REFUSED(HONE_BAD_INPUT, "199 tokens",
                   hone_complete(session, long_text, NULL, NULL, errp));
    ASSERT_REFUSED(HONE_BAD_INPUT, "199 tokens",
                   hone_embed(session, long_text, NULL, vector, N_EMBD, errp));
    hone_generate_options answer = short_answer();
    answer.max_tokens = 0;
    hone_result result = empty_result();
    ASSERT_HONE(hone_complete(session, "abc", &answer, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_LENGTH);
    assert_true(result.n_tokens >= 29);
    hone_result_done(&result);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_chat_keeps_the_beginning(void **state) {
    (void)state;
    hone_engine *engine = open_engine(chat_model());
    hone_session *session = open_session(engine, NULL), *fresh = open_session(engine, NULL);
    hone_generate_options options = short_answer();
    static const char *const stop[] = {"\xef\xbf\xbd"}; /* random bytes are no text to say again */
    options.stop = stop;
    options.n_stop = 1;
    hone_message messages[4] = {{"system", "Be short."}, {"user", "Hello"}};
    hone_result first = empty_result(), second = empty_result(), again = empty_result();
    ASSERT_HONE(hone_chat(session, messages, 2, &options, &first, errp));
    messages[2] = (hone_message){"assistant", first.text};
    messages[3] = (hone_message){"user", QUESTION};
    ASSERT_HONE(hone_chat(session, messages, 4, &options, &second, errp));
    assert_true(second.n_reused >= first.n_prompt - 3); /* up to "a: ", then "assistant: " */
    ASSERT_HONE(hone_chat(fresh, messages, 4, &options, &again, errp));
    assert_int_equal(again.n_reused, 0);
    assert_string_equal(again.text, second.text);
    ASSERT_HONE(hone_session_reset(session, errp));
    ASSERT_HONE(hone_chat(session, messages, 4, &options, &again, errp));
    assert_int_equal(again.n_reused, 0);
    assert_string_equal(again.text, second.text);
    hone_result_done(&first);
    hone_result_done(&second);
    hone_result_done(&again);
    hone_session_close(session);
    hone_session_close(fresh);
    hone_engine_close(engine);
}

/* ---- embeddings ---- */

static void check_embedding(const json_t *row) {
    const char *name = json_string_value(json_object_get(row, "model"));
    const char *text = json_string_value(json_object_get(row, "text"));
    const json_t *mean = json_object_get(row, "mean");
    hone_engine *engine = open_engine(model_path(name));
    hone_session *session = open_session(engine, NULL);
    const size_t n = (size_t)hone_engine_n_embd(engine);
    assert_int_equal(n, json_array_size(mean));
    float *out = malloc(n * sizeof *out);
    hone_embed_options options;
    hone_embed_options_init(&options, sizeof options);
    options.normalise = 0;
    ASSERT_HONE(hone_embed(session, text, &options, out, n, errp));
    double squares = 0;
    for (size_t i = 0; i < n; i++) {
        const double wanted = json_number_value(json_array_get(mean, i));
        if (!(fabs((double)out[i] - wanted) < 1e-5))
            fail_msg("%s, '%s'[%zu]: %.8g, transformers has %.8g", name, text, i, (double)out[i],
                     wanted);
        squares += wanted * wanted;
    }
    ASSERT_HONE(hone_embed(session, text, NULL, out, n, errp));
    for (size_t i = 0; i < n; i++) {
        const double wanted = json_number_value(json_array_get(mean, i)) / sqrt(squares);
        assert_true(fabs((double)out[i] - wanted) < 1e-5);
    }
    free(out);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_embeddings_of_transformers(void **state) {
    (void)state;
    json_t *golden = golden_json("embeddings.json");
    assert_non_null(golden);
    assert_true(json_array_size(golden) >= 20);
    size_t i;
    json_t *row;
    json_array_foreach (golden, i, row)
        check_embedding(row);
    json_decref(golden);
}

/* Long texts go in several passes; a conversation around it isn't disturbed. */
static void test_embedding_in_passes(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = open_session(engine, NULL), *other = open_session(engine, NULL);
    char text[401];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i * 7 % 26);
    text[sizeof text - 1] = 0;
    hone_generate_options options = short_answer();
    hone_result before = empty_result(), after = empty_result();
    float a[N_EMBD], b[N_EMBD], sum = 0;
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &before, errp));
    ASSERT_HONE(hone_embed(session, text, NULL, a, N_EMBD, errp));
    ASSERT_HONE(hone_embed(other, text, NULL, b, N_EMBD, errp));
    assert_memory_equal(a, b, sizeof a);
    for (int i = 0; i < N_EMBD; i++)
        sum += a[i] * a[i];
    assert_true(fabsf(sum - 1) < 1e-5f);
    ASSERT_HONE(hone_complete(session, QUESTION, &options, &after, errp));
    assert_string_equal(before.text, after.text);
    ASSERT_REFUSED(HONE_BAD_INPUT, "empty", hone_embed(session, "", NULL, a, N_EMBD, errp));

    /* The same in one pass, by hand. */
    const hn_model_options how = {.n_threads = 1};
    hn_model *model = NULL;
    hn_kv *kv = NULL;
    hn_ids ids = {0};
    ASSERT_OK(hn_model_open(&model, model_path("llama3"), &how, errp));
    ASSERT_OK(hn_kv_new(&kv, model, 1, CONTEXT, errp));
    ASSERT_OK(
        hn_encode(model->ckpt.tokenizer, text, strlen(text), HN_ENCODE_ADD_SPECIAL, &ids, errp));
    hn_batch_row rows[CONTEXT];
    float *hidden = calloc(CONTEXT * N_EMBD, sizeof *hidden);
    for (size_t i = 0; i < ids.size; i++)
        rows[i] = (hn_batch_row){.token = ids.data[i], .adapter = -1, .wants_logits = true};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, (int)ids.size, NULL, hidden, errp));
    double mean[N_EMBD] = {0}, squares = 0;
    for (int d = 0; d < N_EMBD; d++) {
        for (size_t i = 0; i < ids.size; i++)
            mean[d] += (double)hidden[i * N_EMBD + (size_t)d];
        squares += mean[d] * mean[d];
    }
    for (int d = 0; d < N_EMBD; d++)
        assert_true((float)(mean[d] / sqrt(squares)) == a[d]);
    free(hidden);
    hn_ids_done(&ids);
    hn_kv_free(kv);
    hn_model_free(model);
    hone_result_done(&before);
    hone_result_done(&after);
    hone_session_close(session);
    hone_session_close(other);
    hone_engine_close(engine);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 3 };

typedef struct talker {
    pthread_t thread;
    hone_engine *engine;
    hone_adapter *adapter;
    char prompt[64];
    char *wanted; /* the answer alone */
    float wanted_vector[N_EMBD];
    int wrong; /* counted here: cmocka's asserts belong to the main thread */
} talker;

static void *talk(void *context) {
    talker *t = context;
    hone_generate_options options = short_answer();
    for (int round = 0; round < ROUNDS; round++) {
        hone_session *session = NULL;
        hone_session_options where;
        hone_result result = empty_result();
        float vector[N_EMBD];
        hone_session_options_init(&where, sizeof where);
        where.adapter = t->adapter;
        t->wrong += hone_session_open(&session, t->engine, &where, NULL) != HONE_OK;
        t->wrong += hone_complete(session, t->prompt, &options, &result, NULL) != HONE_OK;
        if (!t->wanted)
            t->wanted = strdup(result.text);
        t->wrong += !result.text || strcmp(result.text, t->wanted) != 0;
        t->wrong += hone_embed(session, t->prompt, NULL, vector, N_EMBD, NULL) != HONE_OK;
        if (round == 0 && t->wanted_vector[0] == 0)
            memcpy(t->wanted_vector, vector, sizeof vector);
        t->wrong += memcmp(vector, t->wanted_vector, sizeof vector) != 0;
        hone_result_done(&result);
        hone_session_close(session);
    }
    return NULL;
}

/* Sessions of one engine in threads of their own answer as they do alone. */
static void test_sessions_in_threads(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_adapter *adapter = NULL;
    ASSERT_HONE(hone_adapter_open(&adapter, engine, model_path("llama3_lora"), errp));
    talker talkers[THREADS] = {{.engine = engine}};
    for (int i = 0; i < THREADS; i++) {
        talkers[i] = (talker){.engine = engine, .adapter = i % 2 ? adapter : NULL};
        snprintf(talkers[i].prompt, sizeof talkers[i].prompt, "%d: %s", i, QUESTION);
        talk(&talkers[i]); /* alone */
        assert_int_equal(talkers[i].wrong, 0);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&talkers[i].thread, NULL, talk, &talkers[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(talkers[i].thread, NULL), 0);
        assert_int_equal(talkers[i].wrong, 0);
        free(talkers[i].wanted);
    }
    hone_adapter_close(adapter);
    hone_engine_close(engine);
}

typedef struct canceller {
    hone_session *session;
    atomic_bool done;
} canceller;

static void *keep_cancelling(void *context) {
    canceller *c = context;
    const struct timespec pause = {.tv_nsec = 1000000};
    while (!atomic_load(&c->done)) {
        nanosleep(&pause, NULL);
        hone_session_cancel(c->session);
    }
    return NULL;
}

static void test_cancel_from_another_thread(void **state) {
    (void)state;
    enum { LONG = 1 << 17 }; /* minutes, were it not cancelled */
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session_options where;
    hone_session_options_init(&where, sizeof where);
    where.context = LONG;
    canceller c = {0};
    ASSERT_HONE(hone_session_open(&c.session, engine, &where, errp));
    hone_generate_options options = short_answer();
    hone_result result = empty_result();
    hone_session_cancel(c.session); /* nothing runs: nothing happens */
    ASSERT_HONE(hone_complete(c.session, QUESTION, &options, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_LENGTH);

    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, keep_cancelling, &c), 0);
    options.max_tokens = 0;
    ASSERT_HONE(hone_complete(c.session, QUESTION, &options, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_CANCELLED);
    assert_non_null(result.text);
    assert_true(result.n_tokens < LONG / 2);

    /* While the prompt is being read there is no answer yet. */
    char *text = malloc(LONG);
    memset(text, 'b', LONG - 100);
    text[LONG - 100] = 0;
    ASSERT_HONE(hone_complete(c.session, text, &options, &result, errp));
    assert_int_equal(result.finish, HONE_FINISH_CANCELLED);
    assert_string_equal(result.text, "");
    float vector[N_EMBD];
    ASSERT_REFUSED(HONE_CANCELLED, "cancelled",
                   hone_embed(c.session, text, NULL, vector, N_EMBD, errp));
    atomic_store(&c.done, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    free(text);
    hone_result_done(&result);
    hone_session_close(c.session);
    hone_engine_close(engine);
}

/* ---- memory ---- */

/* A whole use of the library; the status of the first call that failed. */
static hone_status use_everything(const char *path, hone_error *err) {
    hone_engine *engine = NULL;
    hone_adapter *adapter = NULL;
    hone_session *session = NULL;
    hone_result result = empty_result();
    hone_session_options where;
    hone_generate_options options = short_answer();
    const hone_message message = {"user", "Hello"};
    float vector[N_EMBD];
    int32_t *tokens = NULL;
    char *text = NULL;
    size_t n;
    options.max_tokens = 3;
    options.temperature = 0.5f;
    options.repetition_penalty = 1.2f;
    options.grammar = "root ::= [a-z ]+";
    hone_session_options_init(&where, sizeof where);
    hone_status status = hone_engine_open(&engine, path, NULL, err);
    if (status == HONE_OK)
        status = hone_adapter_open(&adapter, engine, model_path("llama3_lora"), err);
    where.adapter = adapter;
    if (status == HONE_OK)
        status = hone_session_open(&session, engine, &where, err);
    if (status == HONE_OK)
        status = hone_chat(session, &message, 1, &options, &result, err);
    if (status == HONE_OK)
        status = hone_embed(session, "x", NULL, vector, N_EMBD, err);
    if (status == HONE_OK)
        status = hone_tokenize(engine, "abc", 3, 0, &tokens, &n, err);
    if (status == HONE_OK)
        status = hone_detokenize(engine, tokens, n, 0, &text, NULL, err);
    hone_free(tokens);
    hone_free(text);
    hone_result_done(&result);
    hone_session_close(session);
    hone_adapter_close(adapter);
    hone_engine_close(engine);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    const char *path = chat_model();
    hone_error err;
    int64_t before = hn_mem_count();
    if (use_everything(path, &err) != HONE_OK)
        fail_msg("%s", err.message);
    const int64_t n = hn_mem_count() - before;
    for (int64_t allowed = 0; allowed < n; allowed++) {
        err = (hone_error){HONE_OK, ""};
        hn_mem_fail_after(allowed);
        hone_status status = use_everything(path, &err);
        hn_mem_fail_after(-1);
        if (status != HONE_NO_MEMORY && status != HONE_OK)
            fail_msg("allocation %lld of %lld: %s, %s", (long long)allowed, (long long)n,
                     hone_status_name(status), err.message);
        assert_true(status == HONE_OK || strstr(err.message, "memory"));
    }
}

/* The text of a short answer by an engine with this folder. */
static void answer_with_cache(const char *folder, char out[256]) {
    hone_engine_options options;
    hone_engine_options_init(&options, sizeof options);
    options.weights_cache = folder;
    hone_engine *engine = NULL;
    ASSERT_HONE(hone_engine_open(&engine, chat_model(), &options, errp));
    hone_session *session = open_session(engine, NULL);
    hone_generate_options short_one = short_answer();
    hone_result result = empty_result();
    ASSERT_HONE(hone_complete(session, "abc", &short_one, &result, errp));
    snprintf(out, 256, "%s", result.text);
    hone_result_done(&result);
    hone_session_close(session);
    hone_engine_close(engine);
}

static void test_weights_cache(void **state) {
    (void)state;
    char folder[64], plain[256], text[256];
    snprintf(folder, sizeof folder, "/tmp/hone-library-%ld", (long)getpid());
    answer_with_cache(NULL, plain);
    assert_false(hn_path_exists(folder));
    for (int i = 0; i < 2; i++) { /* written, then found */
        answer_with_cache(folder, text);
        assert_string_equal(text, plain);
        assert_true(hn_path_is_dir(folder));
    }
    ASSERT_OK(hn_path_remove(folder, errp));
    answer_with_cache("/proc/none", text); /* it can't be had: no error */
    assert_string_equal(text, plain);
}

static void test_context_beyond_memory(void **state) {
    (void)state;
    hone_engine *engine = open_engine(model_path("llama3"));
    hone_session *session = NULL;
    hn_mem_fail_after(2); /* the session and the cache's head; then its data */
    hone_error err = {HONE_OK, ""};
    hone_status status = hone_session_open(&session, engine, NULL, &err);
    hn_mem_fail_after(-1);
    assert_int_equal(status, HONE_NO_MEMORY);
    assert_non_null(strstr(err.message, "a context of 512 tokens takes"));
    assert_null(session);
    hone_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_options_grow),
        cmocka_unit_test(test_null_arguments),
        cmocka_unit_test(test_wrong_values),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_same_as_below),
        cmocka_unit_test(test_answers_of_a_shape),
        cmocka_unit_test(test_adapter_of_another_engine),
        cmocka_unit_test(test_callback),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_full_context),
        cmocka_unit_test(test_chat_keeps_the_beginning),
        cmocka_unit_test(test_embeddings_of_transformers),
        cmocka_unit_test(test_embedding_in_passes),
        cmocka_unit_test(test_sessions_in_threads),
        cmocka_unit_test(test_cancel_from_another_thread),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_weights_cache),
        cmocka_unit_test(test_context_beyond_memory),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
