/* libhone through hone.h: versions and options, wrong use, bad files, tokens, and what happens when
 * memory is short. Over the small golden models, which are always there. */
#include "library_help.h"

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
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_weights_cache),
        cmocka_unit_test(test_context_beyond_memory),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
