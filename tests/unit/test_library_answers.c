/* libhone through hone.h: the same text as the layers below give, held to a shape, streamed,
 * sampled and kept for the next turn. */
#include "library_help.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_below),
        cmocka_unit_test(test_answers_of_a_shape),
        cmocka_unit_test(test_adapter_of_another_engine),
        cmocka_unit_test(test_callback),
        cmocka_unit_test(test_sampling),
        cmocka_unit_test(test_full_context),
        cmocka_unit_test(test_chat_keeps_the_beginning),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
