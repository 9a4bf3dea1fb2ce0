/* libhone through hone.h: embeddings as transformers gives them. */
#include "library_help.h"

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embeddings_of_transformers),
        cmocka_unit_test(test_embedding_in_passes),
    };
    return cmocka_run_group_tests(tests, test_folder_make, test_folder_remove);
}
