/* An engine without a thread, and many prompts answered by one: what hn_generate says alone. */
#include "engine/together.h"
#include "engine_help.h"

enum { CONTEXT = 256, JOBS = 5, N_PROMPT = 90, MORE = 20 };

static hn_job_options a_job(int32_t *prompt, uint64_t seed) {
    hn_job_options o = hn_job_options_default();
    make_prompt(prompt, N_PROMPT, 1 + seed / 3); /* some are the same */
    o.prompt = prompt;
    o.n_prompt = N_PROMPT;
    o.max_tokens = MORE;
    o.sampling.temperature = 0.8f;
    o.sampling.seed = seed;
    return o;
}

/* Nothing is done but when it is asked for, and the same in every run. */
static void test_stepped(void **state) {
    (void)state;
    need_story();
    hn_engine_counts counts[2];
    for (int run = 0; run < 2; run++) {
        hn_engine *engine = new_engine(&(hn_engine_options){
            .stepped = true, .n_slots = 2, .n_context = CONTEXT, .step_tokens = 32});
        int32_t prompts[JOBS][N_PROMPT];
        hn_job_options o[JOBS];
        told t[JOBS];
        assert_false(hn_engine_advance(engine));
        for (int i = 0; i < JOBS; i++) {
            o[i] = a_job(prompts[i], (uint64_t)i);
            ASSERT_OK(submit(engine, &t[i], &o[i], errp));
        }
        hn_engine_counts_get(engine, &counts[run]);
        assert_int_equal(counts[run].steps, 0);
        while (hn_engine_advance(engine)) {
        }
        hn_engine_counts_get(engine, &counts[run]);
        for (int i = 0; i < JOBS; i++) {
            hn_generation alone;
            generate_alone(&o[i], CONTEXT, &alone);
            check_same(&t[i], &alone);
            hn_generation_done(&alone);
            told_done(&t[i]);
        }
        hn_engine_free(engine);
    }
    assert_int_equal(counts[0].steps, counts[1].steps);
    assert_int_equal(counts[0].step_rows, counts[1].step_rows);
}

/* One that is freed cancels what runs and what waits. */
static void test_freed(void **state) {
    (void)state;
    need_story();
    hn_engine *engine =
        new_engine(&(hn_engine_options){.stepped = true, .n_slots = 2, .n_context = CONTEXT});
    int32_t prompt[N_PROMPT];
    told t[JOBS];
    for (int i = 0; i < JOBS; i++) {
        const hn_job_options o = a_job(prompt, (uint64_t)i);
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    }
    assert_true(hn_engine_advance(engine));
    hn_engine_free(engine);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(t[i].n_done_calls, 1);
        assert_int_equal(t[i].finish, HN_FINISH_CANCELLED);
        told_done(&t[i]);
    }
}

enum { PROMPTS = 40, EMPTY = 7, COMMON = 40 };

typedef struct taken {
    hn_ids prompts[PROMPTS], said[PROMPTS];
    uint64_t seeds[PROMPTS];
    int n_taken[PROMPTS], n_all, fail_after;
    int least_cached;
} taken;

static hn_status take(void *context, size_t index, const hn_job_result *answer, hn_error *err) {
    taken *t = context;
    if (++t->n_all == t->fail_after)
        return hn_fail(err, HN_IO, "nowhere to put it");
    t->n_taken[index]++;
    t->least_cached = answer->n_cached < t->least_cached ? answer->n_cached : t->least_cached;
    for (int i = 0; i < answer->n_ids; i++)
        HN_TRY(hn_ids_push(&t->said[index], answer->ids[i], err));
    return HN_OK;
}

static hn_together make_together(taken *t) {
    int32_t begin[COMMON], own[MORE];
    *t = (taken){.least_cached = CONTEXT};
    make_prompt(begin, COMMON, 1);
    for (size_t i = 0; i < PROMPTS; i++) {
        make_prompt(own, MORE, i + 2);
        own[0] = 259 + (int32_t)i; /* they have no more than that in common */
        t->seeds[i] = 11 * i;
        for (size_t k = 0; i != EMPTY && k < COMMON + 1 + i % MORE; k++)
            ASSERT_OK(hn_ids_push(&t->prompts[i], k < COMMON ? begin[k] : own[k - COMMON], errp));
    }
    hn_together how = {.prompts = t->prompts,
                       .n = PROMPTS,
                       .options = hn_job_options_default(),
                       .seeds = t->seeds,
                       .context = t,
                       .take = take};
    how.options.sampling.temperature = 0.8f;
    how.options.max_tokens = 5;
    return how;
}

static void done(taken *t) {
    for (int i = 0; i < PROMPTS; i++) {
        hn_ids_done(&t->prompts[i]);
        hn_ids_done(&t->said[i]);
    }
}

/* More than there are slots, most too short to fill a block with what isn't common: the beginning
 * is computed once all the same. */
static void test_together(void **state) {
    (void)state;
    need_story();
    taken t;
    const hn_together how = make_together(&t);
    ASSERT_OK(hn_answer_together(model, &how, NULL, errp));
    assert_int_equal(t.least_cached, COMMON);
    for (size_t i = 0; i < PROMPTS; i++) {
        hn_job_options o = how.options;
        hn_generation alone;
        assert_int_equal(t.n_taken[i], i != EMPTY);
        if (i == EMPTY)
            continue;
        o.prompt = t.prompts[i].data;
        o.n_prompt = (int)t.prompts[i].size;
        o.sampling.seed = t.seeds[i];
        generate_alone(&o, CONTEXT, &alone);
        assert_int_equal(t.said[i].size, alone.ids.size);
        assert_memory_equal(t.said[i].data, alone.ids.data, alone.ids.size * sizeof(int32_t));
        hn_generation_done(&alone);
    }
    done(&t);
}

static void test_failure(void **state) {
    (void)state;
    need_story();
    taken t;
    hn_error err;
    const hn_together how = make_together(&t);
    t.fail_after = 3;
    assert_int_equal(hn_answer_together(model, &how, NULL, &err), HN_IO);
    assert_string_equal(err.message, "nowhere to put it");
    assert_int_equal(t.n_all, 3);
    done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stepped),
        cmocka_unit_test(test_freed),
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_failure),
    };
    return cmocka_run_group_tests(tests, open_story, close_story);
}
