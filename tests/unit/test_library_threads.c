/* libhone through hone.h: one session a thread over one engine, and cancelling from another thread.
 */
#include "library_help.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_in_threads),
        cmocka_unit_test(test_cancel_from_another_thread),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
