/* What goes wrong around the engine: jobs that are cancelled at any time, too many of them, too
 * late ones, no memory, the end of it all. Others never notice. */
#include "engine_help.h"

#include <unistd.h>

enum { CONTEXT = 256 };

static hn_job_options a_job(int32_t *prompt, int n_prompt, uint64_t seed, int max_tokens) {
    hn_job_options o = hn_job_options_default();
    make_prompt(prompt, n_prompt, seed);
    o.prompt = prompt;
    o.n_prompt = n_prompt;
    o.max_tokens = max_tokens;
    o.ignore_eos = true;
    return o;
}

/* The engine's one slot is taken, and nothing moves until the job is let go. */
static void occupy(hn_engine *engine, told *t) {
    int32_t prompt[4];
    hn_job_options o = a_job(prompt, 4, 77, -1);
    o.priority = 100;
    told_init(t);
    t->held = true;
    o.events = events_of(t);
    ASSERT_OK(hn_engine_submit(engine, &o, &t->job, errp));
    wait_pieces(t, 1);
}

static void test_cancelled_in_queue(void **state) {
    (void)state;
    need_story();
    told busy, waiting, after;
    int32_t prompt[20];
    /* The whole trained context: time enough. */
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 1});
    occupy(engine, &busy);
    hn_job_options o = a_job(prompt, 20, 1, 5);
    ASSERT_OK(submit(engine, &waiting, &o, errp));
    hn_job_cancel(waiting.job);
    hn_job_cancel(waiting.job);
    let_go(&busy);
    wait_over(&waiting);
    assert_int_equal(waiting.status, HN_OK);
    assert_int_equal(waiting.finish, HN_FINISH_CANCELLED);
    assert_int_equal(waiting.n_progress + waiting.n_pieces, 0);
    assert_int_equal(waiting.times.started, 0);
    hn_job_cancel(busy.job);
    let_go(&busy);
    wait_over(&busy);
    assert_int_equal(busy.finish, HN_FINISH_CANCELLED);
    ASSERT_OK(submit(engine, &after, &o, errp));
    wait_over(&after);
    assert_int_equal(after.finish, HN_FINISH_LENGTH);
    hn_job_cancel(after.job); /* too late */
    hn_engine_free(engine);
    told_done(&busy);
    told_done(&waiting);
    told_done(&after);
}

static void test_cancelled_in_prefill(void **state) {
    (void)state;
    need_story();
    told t;
    int32_t prompt[250];
    hn_engine *engine =
        new_engine(&(hn_engine_options){.n_slots = 1, .n_context = CONTEXT, .step_tokens = 1});
    hn_job_options o = a_job(prompt, 250, 2, 5);
    told_init(&t);
    t.held_progress = 2;
    o.events = events_of(&t);
    ASSERT_OK(hn_engine_submit(engine, &o, &t.job, errp));
    wait_progress(&t, 2);
    hn_job_cancel(t.job);
    let_go(&t);
    wait_over(&t);
    assert_int_equal(t.finish, HN_FINISH_CANCELLED);
    assert_int_equal(t.n_pieces, 0);
    assert_true(t.n_tokens_done < 250);
    told_done(&t);
    hn_engine_free(engine);
}

static void test_cancelled_while_writing(void **state) {
    (void)state;
    need_story();
    told t;
    int32_t prompt[30];
    hn_engine_counts counts;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2});
    hn_job_options o = a_job(prompt, 30, 3, -1);
    /* From outside, and by the callback's answer. */
    for (int inside = 0; inside < 2; inside++) {
        told_init(&t);
        t.cancel_after = inside ? 4 : 0;
        o.events = events_of(&t);
        ASSERT_OK(hn_engine_submit(engine, &o, &t.job, errp));
        wait_pieces(&t, 3);
        if (!inside)
            hn_job_cancel(t.job);
        wait_over(&t);
        assert_int_equal(t.status, HN_OK);
        assert_int_equal(t.finish, HN_FINISH_CANCELLED);
        assert_true(t.pieces.size <= t.text.size);
        told_done(&t);
    }
    assert_true(hn_engine_wait_idle(engine, (uint64_t)10e9));
    hn_engine_counts_get(engine, &counts);
    assert_int_equal(counts.finished[HN_FINISH_CANCELLED], 2);
    hn_engine_free(engine);
}

static void test_queue_full(void **state) {
    (void)state;
    need_story();
    enum { QUEUE = 3 };
    told busy, waiting[QUEUE], refused;
    int32_t prompt[20];
    hn_error err;
    hn_engine_counts counts;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 1, .max_queued = QUEUE});
    occupy(engine, &busy);
    hn_job_options o = a_job(prompt, 20, 4, 3);
    for (int i = 0; i < QUEUE; i++)
        ASSERT_OK(submit(engine, &waiting[i], &o, errp));
    assert_int_equal(submit(engine, &refused, &o, &err), HN_BUSY);
    assert_false(hn_engine_draining(engine));
    assert_null(refused.job);
    hn_engine_counts_get(engine, &counts);
    assert_int_equal(counts.waiting, QUEUE);
    assert_int_equal(counts.running, 1);
    assert_int_equal(counts.refused, 1);
    hn_job_cancel(busy.job);
    let_go(&busy);
    for (int i = 0; i < QUEUE; i++) {
        wait_over(&waiting[i]);
        assert_int_equal(waiting[i].finish, HN_FINISH_LENGTH);
        told_done(&waiting[i]);
    }
    told_done(&busy);
    told_done(&refused);
    hn_engine_free(engine);
}

static void test_deadlines(void **state) {
    (void)state;
    need_story();
    told busy, late, cut;
    int32_t prompt[20];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 1});
    hn_job_options o = a_job(prompt, 20, 5, -1);
    o.deadline_ns = hn_clock_ns() + 1;
    occupy(engine, &busy);
    ASSERT_OK(submit(engine, &late, &o, errp));
    let_go(&busy);
    wait_over(&late);
    assert_int_equal(late.finish, HN_FINISH_DEADLINE);
    assert_int_equal(late.n_pieces, 0);
    hn_job_cancel(busy.job);
    let_go(&busy);
    wait_over(&busy);
    /* While it writes: what was shown stands. */
    for (uint64_t ms = 5; ms < 5000; ms *= 2) {
        o.deadline_ns = hn_clock_ns() + ms * 1000000;
        ASSERT_OK(submit(engine, &cut, &o, errp));
        wait_over(&cut);
        const bool told_some = cut.finish == HN_FINISH_DEADLINE && cut.n_pieces > 0;
        assert_true(cut.status == HN_OK);
        assert_true(cut.pieces.size <= cut.text.size);
        told_done(&cut);
        if (told_some)
            break;
    }
    told_done(&busy);
    told_done(&late);
    hn_engine_free(engine);
}

/* A long prompt goes on in pieces, and answers with it. */
static void test_long_prompt(void **state) {
    (void)state;
    need_story();
    enum { LONG = 400, STREAMS = 3 };
    told t[STREAMS], slow;
    int32_t prompt[LONG];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 4, .step_tokens = 32});
    for (int i = 0; i < STREAMS; i++) {
        hn_job_options o = a_job(prompt, 5, (uint64_t)i, -1);
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    }
    for (int i = 0; i < STREAMS; i++)
        wait_pieces(&t[i], 1);
    hn_job_options o = a_job(prompt, LONG, 9, 1);
    pthread_mutex_lock(&t[0].lock);
    const int before = t[0].n_pieces;
    pthread_mutex_unlock(&t[0].lock);
    ASSERT_OK(submit(engine, &slow, &o, errp));
    wait_over(&slow);
    assert_in_range(slow.n_progress, LONG / 32, LONG);
    pthread_mutex_lock(&t[0].lock);
    assert_true(t[0].over || t[0].n_pieces - before >= slow.n_progress / 2);
    pthread_mutex_unlock(&t[0].lock);
    hn_engine_free(engine);
    for (int i = 0; i < STREAMS; i++)
        told_done(&t[i]);
    told_done(&slow);
}

/* Short prompts needn't wait for a long one that came before them. */
static void test_short_beside_long(void **state) {
    (void)state;
    need_story();
    enum { LONG = 500, SHORTS = 3 };
    told busy, slow, t[SHORTS];
    int32_t prompt[LONG];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 6, .step_tokens = 16});
    occupy(engine, &busy);
    hn_job_options o = a_job(prompt, LONG, 9, 1);
    ASSERT_OK(submit(engine, &slow, &o, errp));
    for (int i = 0; i < SHORTS; i++) {
        o = a_job(prompt, 20, 10 + (uint64_t)i, 1);
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    }
    hn_job_cancel(busy.job);
    let_go(&busy);
    wait_over(&slow);
    for (int i = 0; i < SHORTS; i++) {
        wait_over(&t[i]);
        assert_true(t[i].times.first_token < slow.times.first_token);
        told_done(&t[i]);
    }
    told_done(&slow);
    told_done(&busy);
    hn_engine_free(engine);
}

/* Higher priorities overtake those that wait. */
static void test_priorities(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 5 };
    static const int PRIORITY[JOBS] = {0, 3, 0, 7, 3}, ORDER[JOBS] = {3, 1, 4, 0, 2};
    told busy, t[JOBS];
    int32_t prompt[20];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 1});
    occupy(engine, &busy);
    for (int i = 0; i < JOBS; i++) {
        hn_job_options o = a_job(prompt, 10 + i, (uint64_t)i, 2);
        o.priority = PRIORITY[i];
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    }
    hn_job_cancel(busy.job);
    let_go(&busy);
    for (int i = 0; i < JOBS; i++)
        wait_over(&t[i]);
    for (int i = 1; i < JOBS; i++)
        assert_true(t[ORDER[i - 1]].times.started <= t[ORDER[i]].times.started);
    for (int i = 0; i < JOBS; i++)
        told_done(&t[i]);
    told_done(&busy);
    hn_engine_free(engine);
}

static void test_drain(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 4 };
    told t[JOBS], refused;
    int32_t prompt[20];
    hn_error err;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2});
    hn_job_options o = a_job(prompt, 20, 6, 40);
    for (int i = 0; i < JOBS; i++)
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    hn_engine_drain(engine);
    assert_true(hn_engine_draining(engine));
    assert_int_equal(submit(engine, &refused, &o, &err), HN_BUSY);
    assert_true(hn_engine_wait_idle(engine, (uint64_t)60e9));
    for (int i = 0; i < JOBS; i++) {
        assert_true(t[i].over);
        assert_int_equal(t[i].finish, HN_FINISH_LENGTH);
        told_done(&t[i]);
    }
    told_done(&refused);
    hn_engine_free(engine);
}

/* An engine that is freed cancels what it has. */
static void test_freed_while_busy(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 6 };
    told t[JOBS];
    int32_t prompt[20];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2});
    hn_job_options o = a_job(prompt, 20, 7, -1);
    for (int i = 0; i < JOBS; i++)
        ASSERT_OK(submit(engine, &t[i], &o, errp));
    wait_pieces(&t[0], 1);
    hn_engine_free(engine);
    for (int i = 0; i < JOBS; i++) {
        assert_true(t[i].over);
        assert_int_equal(t[i].n_done_calls, 1);
        hn_job_cancel(t[i].job); /* it is over: nothing happens */
        told_done(&t[i]);
    }
}

/* ---- many threads ---- */

enum { THREADS = 6, ROUNDS = 12 };

typedef struct client {
    pthread_t thread;
    hn_engine *engine;
    uint64_t seed;
    int wrong;
} client;

static void *be_client(void *context) {
    client *c = context;
    hn_rng rng = hn_rng_new(c->seed, 1);
    for (int round = 0; round < ROUNDS; round++) {
        int32_t prompt[120];
        told t;
        hn_error err;
        const int what = (int)hn_rng_below(&rng, 6);
        hn_job_options o = a_job(prompt, 1 + (int)hn_rng_below(&rng, 119), hn_rng_below(&rng, 3),
                                 1 + (int)hn_rng_below(&rng, 30));
        o.sampling.temperature = (float)hn_rng_below(&rng, 2);
        o.pooling = what == 0 ? HN_POOLING_MEAN : HN_POOLING_NONE;
        if (what == 1) {
            o.constraint = "root ::= [a-z]+";
            o.n_constraint = strlen(o.constraint);
        }
        if (what == 2)
            o.deadline_ns = hn_clock_ns() + hn_rng_below(&rng, 30000000);
        hn_status status = submit(c->engine, &t, &o, &err);
        c->wrong += status != HN_OK && status != HN_BUSY;
        if (status == HN_OK) {
            hn_engine_counts counts;
            hn_slot_info infos[4];
            if (what == 3 || what == 4)
                usleep((useconds_t)hn_rng_below(&rng, 20000));
            if (what == 3)
                hn_job_cancel(t.job);
            hn_engine_counts_get(c->engine, &counts);
            c->wrong += hn_engine_slots_get(c->engine, infos, 4) != 3;
            wait_over(&t);
            c->wrong += t.status != HN_OK || t.wrong || t.n_done_calls != 1;
        }
        told_done(&t);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    need_story();
    client clients[THREADS];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 3,
                                                        .n_context = CONTEXT,
                                                        .n_positions = CONTEXT,
                                                        .max_queued = 4,
                                                        .speculation = HN_SPECULATION_NGRAM});
    for (int i = 0; i < THREADS; i++) {
        clients[i] = (client){.engine = engine, .seed = (uint64_t)i};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(clients[i].thread, NULL), 0);
        assert_int_equal(clients[i].wrong, 0);
    }
    hn_engine_free(engine);
}

/* ---- no memory ---- */

/* Whenever memory runs out, jobs fail or are refused with a message, and the next one is answered.
 */
static void test_no_memory(void **state) {
    (void)state;
    need_story();
    enum { STEP = 7, MOST = 1200 };
    int32_t prompt[60];
    told t, second;
    hn_error err;
    hn_generation alone;
    hn_engine *engine = NULL;
    hn_adapter *adapter = make_adapter(1);
    hn_engine_options options = {
        .n_slots = 2, .n_context = CONTEXT, .speculation = HN_SPECULATION_NGRAM};
    for (int64_t n = 0; n < 60; n++) {
        hn_mem_fail_after(n);
        hn_status status = hn_engine_new(&engine, model, &options, &err);
        hn_mem_fail_after(-1);
        if (status == HN_OK)
            break;
        assert_int_equal(status, HN_NO_MEMORY);
        engine = NULL;
    }
    if (!engine)
        engine = new_engine(&options);
    hn_job_options o = a_job(prompt, 60, 8, 20);
    generate_alone(&o, CONTEXT, &alone);
    int failed = 0, fine = 0;
    for (int64_t n = 0; n < MOST && fine < 3; n += n < 60 ? 1 : STEP) {
        o.adapter = n % 2 ? adapter : NULL;
        o.sampling.repetition_penalty = 1.1f;
        o.constraint = "root ::= [a-z ]+";
        o.n_constraint = strlen(o.constraint);
        o.pooling = n % 5 == 4 ? HN_POOLING_MEAN : HN_POOLING_NONE;
        o.n_logprobs = n % 3 == 0 ? 2 : -1;
        hn_mem_fail_after(n);
        hn_status first = submit(engine, &t, &o, &err);
        if (first == HN_OK)
            wait_over(&t);
        hn_mem_fail_after(-1);
        if (first != HN_OK) {
            assert_int_equal(first, HN_NO_MEMORY);
            failed++;
        } else if (t.status != HN_OK) {
            assert_int_equal(t.status, HN_NO_MEMORY);
            assert_true(t.message[0]);
            failed++;
        } else {
            fine++;
        }
        told_done(&t);
        /* The engine goes on. */
        hn_job_options plain = a_job(prompt, 60, 8, 20);
        ASSERT_OK(submit(engine, &second, &plain, errp));
        wait_over(&second);
        check_same(&second, &alone);
        told_done(&second);
    }
    assert_true(failed > 0);
    assert_true(fine > 0);
    hn_generation_done(&alone);
    hn_engine_free(engine);
    hn_adapter_free(adapter);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cancelled_in_queue),
        cmocka_unit_test(test_cancelled_in_prefill),
        cmocka_unit_test(test_cancelled_while_writing),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_priorities),
        cmocka_unit_test(test_long_prompt),
        cmocka_unit_test(test_short_beside_long),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_freed_while_busy),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, open_story, close_story);
}
