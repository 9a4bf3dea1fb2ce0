/* The engine says to many jobs at once what hn_generate says to each alone, whatever they ask for,
 * however little room there is; beginnings that they share are computed once. */
#include "engine_help.h"

#include "base_model.h"
#include "kernels/compute.h"
#include "model/scratch.h"
#include "model/vmath.h"

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CONTEXT = 256 };

static const char SCHEMA[] =
    "{\"type\": \"object\", \"properties\": {\"name\": {\"enum\": [\"Tom\", \"Lily\"]}, "
    "\"age\": {\"type\": \"integer\"}}, \"required\": [\"name\", \"age\"]}";
static const char GRAMMAR[] = "root ::= (\"the \" [a-z]+ \" \")+";

/* Many kinds of jobs. */
enum { MIXED = 24 };
typedef struct mixed {
    hn_job_options options[MIXED];
    hn_generation alone[MIXED];
    int32_t prompts[MIXED][PROMPT_MAX];
    hn_adapter *adapters[2];
} mixed;

static const char *const STOPS[] = {"zebra", ". ", "the big"};
static const hn_logit_bias BIAS[] = {{300, 4.0f}, {310, -100.0f}};

static void make_mixed(mixed *m, int n_context) {
    for (int i = 0; i < 2; i++)
        m->adapters[i] = make_adapter((uint64_t)i + 1);
    for (int i = 0; i < MIXED; i++) {
        hn_job_options *o = &m->options[i];
        *o = hn_job_options_default();
        o->n_prompt = 1 + (i * 37) % 130;
        make_prompt(m->prompts[i], o->n_prompt, (uint64_t)(i % 5)); /* some begin the same */
        o->prompt = m->prompts[i];
        o->max_tokens = 5 + i % 7 * 12;
        o->sampling.seed = (uint64_t)i;
        o->sampling.temperature = i % 3 ? 0.9f : 0;
        if (i % 4 == 1)
            o->adapter = m->adapters[i / 4 % 2];
        if (i % 5 == 2) {
            o->stop = STOPS;
            o->n_stop = 3;
        }
        if (i % 6 == 3) {
            o->constraint = i % 12 == 3 ? SCHEMA : GRAMMAR;
            o->n_constraint = strlen(o->constraint);
            o->constraint_kind = i % 12 == 3 ? HN_CONSTRAINT_SCHEMA : HN_CONSTRAINT_GBNF;
        }
        if (i % 7 == 4) {
            o->sampling.repetition_penalty = 1.3f;
            o->sampling.presence_penalty = 0.5f;
            o->sampling.top_k = 20;
        }
        if (i % 8 == 5) {
            o->sampling.bias = BIAS;
            o->sampling.n_bias = 2;
            o->sampling.top_p = 0.8f;
        }
        o->ignore_eos = i % 9 == 0;
        o->priority = i % 10 == 0 ? 2 : 0;
        generate_alone(o, n_context, &m->alone[i]);
    }
}

static void free_mixed(mixed *m) {
    for (int i = 0; i < 2; i++)
        hn_adapter_free(m->adapters[i]);
    for (int i = 0; i < MIXED; i++)
        hn_generation_done(&m->alone[i]);
}

/* All at once, and all is given back. */
static hn_engine_counts run_mixed(mixed *m, const hn_engine_options *options) {
    static told tolds[MIXED];
    hn_engine_counts counts;
    hn_engine *engine = new_engine(options);
    for (int i = 0; i < MIXED; i++)
        ASSERT_OK(submit(engine, &tolds[i], &m->options[i], errp));
    for (int i = 0; i < MIXED; i++) {
        wait_over(&tolds[i]);
        check_same(&tolds[i], &m->alone[i]);
    }
    assert_true(hn_engine_wait_idle(engine, (uint64_t)10e9));
    hn_engine_counts_get(engine, &counts);
    assert_int_equal(counts.submitted, MIXED);
    assert_int_equal(counts.running + counts.waiting, 0);
    hn_engine_free(engine);
    for (int i = 0; i < MIXED; i++)
        told_done(&tolds[i]);
    return counts;
}

static void test_mixed(void **state) {
    (void)state;
    need_story();
    mixed *m = calloc(1, sizeof *m);
    make_mixed(m, CONTEXT);
    hn_engine_options options = {.n_slots = 8, .n_context = CONTEXT};
    hn_engine_counts counts = run_mixed(m, &options);
    assert_int_equal(counts.preempted, 0);
    assert_true(counts.prefix_hits > 0);

    options.speculation = HN_SPECULATION_NGRAM;
    counts = run_mixed(m, &options);
    options.speculation = HN_SPECULATION_MODEL;
    options.draft = twin;
    options.n_slots = 3;
    const int n_layer = twin->arch.n_layer;
    twin->arch.n_layer = 1; /* cheap, and right now and then */
    counts = run_mixed(m, &options);
    twin->arch.n_layer = n_layer;
    assert_true(counts.drafted_tokens > 0);

    /* One after the other, and in steps of nearly nothing. */
    options = (hn_engine_options){.n_slots = 1, .n_context = CONTEXT};
    run_mixed(m, &options);
    options = (hn_engine_options){.n_slots = 24, .n_context = CONTEXT, .step_tokens = 24};
    run_mixed(m, &options);

    /* Hardly more room than for one: answers are set back, and say the same. */
    options = (hn_engine_options){.n_slots = 8, .n_context = CONTEXT, .n_positions = CONTEXT};
    for (int i = 0; i < MIXED; i++) {
        hn_generation_done(&m->alone[i]);
        m->options[i].max_tokens = 100 + i;
        m->options[i].ignore_eos = true;
        generate_alone(&m->options[i], CONTEXT, &m->alone[i]);
    }
    counts = run_mixed(m, &options);
    assert_true(counts.preempted > 0);
    options.speculation = HN_SPECULATION_NGRAM;
    counts = run_mixed(m, &options);
    assert_true(counts.preempted > 0);
    free_mixed(m);
    free(m);
}

/* Memory that is had, of whole pages inside it. */
static bool is_resident(const void *at, size_t bytes) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)at + page - 1) / page * page;
    const uintptr_t end = ((uintptr_t)at + bytes) / page * page;
    const size_t n = end > first ? (end - first) / page : 0;
    unsigned char *had = calloc(n + 1, 1);
    bool all = true;
    if (n)
        assert_int_equal(mincore((void *)first, end - first, had), 0);
    for (size_t i = 0; i < n; i++)
        all &= had[i] & 1;
    free(had);
    return all;
}

/* What passes take is had when the engine is made, whatever passes then come. */
static void test_pass_memory(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 8, LENGTH = 300 };
    static told tolds[JOBS];
    static int32_t prompts[JOBS][LENGTH];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = JOBS, .n_context = 512});
    const hn_scratch scratch = *model->scratch;
    void *data[HN_SCRATCH_COUNT];
    assert_int_equal(scratch.n_rows, HN_FORWARD_CHUNK);
    assert_true(is_resident(scratch.memory, scratch.bytes));
    for (int i = 0; i < HN_SCRATCH_COUNT; i++)
        data[i] = model->compute->scratch[i].data;
    for (int i = 0; i < JOBS; i++) {
        make_prompt(prompts[i], LENGTH, (uint64_t)i);
        hn_job_options o = hn_job_options_default();
        o.prompt = prompts[i];
        o.n_prompt = LENGTH;
        o.max_tokens = 30;
        ASSERT_OK(submit(engine, &tolds[i], &o, errp));
    }
    for (int i = 0; i < JOBS; i++) {
        wait_over(&tolds[i]);
        told_done(&tolds[i]);
    }
    hn_engine_free(engine);
    assert_ptr_equal(model->scratch->memory, scratch.memory);
    for (int i = 0; i < HN_SCRATCH_COUNT; i++)
        assert_ptr_equal(model->compute->scratch[i].data, data[i]);
}

/* Sixteen who begin alike and come together: the beginning is computed once. */
static void test_shared_beginning(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 16, COMMON = 150, OWN = 9 };
    static told tolds[JOBS];
    int32_t prompt[COMMON + OWN];
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = JOBS, .n_context = CONTEXT});
    hn_engine_counts counts;
    make_prompt(prompt, COMMON, 1);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < JOBS; i++) {
            hn_job_options o = hn_job_options_default();
            for (int j = 0; j < OWN; j++)
                prompt[COMMON + j] = 260 + i + j;
            o.prompt = prompt;
            o.n_prompt = COMMON + OWN;
            o.max_tokens = 8;
            ASSERT_OK(submit(engine, &tolds[i], &o, errp));
        }
        for (int i = 0; i < JOBS; i++) {
            wait_over(&tolds[i]);
            assert_int_equal(tolds[i].status, HN_OK);
            assert_int_equal(tolds[i].n_prompt, COMMON + OWN);
            told_done(&tolds[i]);
        }
        hn_engine_counts_get(engine, &counts);
        /* The first computes all; the others what follows 4 full blocks, or 22 tokens of the fifth
         * less where that was full in time. */
        assert_in_range(counts.computed_tokens, COMMON + OWN,
                        COMMON + OWN + (JOBS - 1 + round * JOBS) * (COMMON - 128 + OWN));
        assert_true(counts.prefix_hits >= (uint64_t)(JOBS - 1) * 128);
    }
    hn_engine_free(engine);
}

static void test_no_cache(void **state) {
    (void)state;
    need_story();
    int32_t prompt[100];
    told t;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2, .n_context = CONTEXT});
    make_prompt(prompt, 100, 3);
    hn_job_options o = hn_job_options_default();
    o.prompt = prompt;
    o.n_prompt = 100;
    o.max_tokens = 3;
    for (int i = 0; i < 4; i++) {
        o.no_cache = i < 2;
        ASSERT_OK(submit(engine, &t, &o, errp));
        wait_over(&t);
        assert_int_equal(t.n_cached, i < 3 ? 0 : 96);
        told_done(&t);
    }
    hn_engine_free(engine);
}

/* Log-probabilities are those of the raw logits, whatever is done to them for drawing. */
static void test_logprobs(void **state) {
    (void)state;
    need_story();
    enum { N = 40 };
    int32_t prompt[N];
    static float logits[(N + 20) * 512];
    told t;
    hn_kv *kv = NULL;
    hn_engine *engine = new_engine(&(hn_engine_options){
        .n_slots = 2, .n_context = CONTEXT, .speculation = HN_SPECULATION_NGRAM});
    make_prompt(prompt, N, 4);
    hn_job_options o = hn_job_options_default();
    o.prompt = prompt;
    o.n_prompt = N;
    o.max_tokens = 10;
    o.n_logprobs = 3;
    o.prompt_logprobs = true;
    o.sampling.temperature = 1.5f;
    o.sampling.presence_penalty = 1;
    o.sampling.bias = BIAS;
    o.sampling.n_bias = 2;
    ASSERT_OK(submit(engine, &t, &o, errp));
    wait_over(&t);
    assert_int_equal(t.status, HN_OK);
    assert_int_equal(t.n_scored, N);
    assert_int_equal(t.piece_ids.size, t.ids.size);
    ASSERT_OK(hn_kv_new(&kv, model, 1, CONTEXT, errp));
    hn_batch_row rows[N];
    for (int i = 0; i < N; i++)
        rows[i] = (hn_batch_row){.token = prompt[i], .adapter = -1, .wants_logits = true};
    ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, N, logits, NULL, errp));
    double score = 0;
    for (int i = 1; i < N; i++) {
        const float *row = logits + (size_t)(i - 1) * 512;
        score += (double)(float)((double)row[prompt[i]] - hn_log_sum_exp(row, 512));
    }
    assert_true(fabs(score - t.score) < 1e-9);
    hn_kv_free(kv);
    told_done(&t);

    /* The prompt alone. */
    o.max_tokens = 0;
    ASSERT_OK(submit(engine, &t, &o, errp));
    wait_over(&t);
    assert_int_equal(t.n_scored, N);
    assert_int_equal(t.n_generated, 0);
    assert_int_equal(t.finish, HN_FINISH_LENGTH);
    assert_true(fabs(score - t.score) < 1e-9);
    told_done(&t);
    hn_engine_free(engine);
}

static void test_embeddings(void **state) {
    (void)state;
    need_story();
    enum { JOBS = 6 };
    static told tolds[JOBS], answer;
    static float hidden[200 * 64];
    int32_t prompts[JOBS][200];
    const int n_embd = model->arch.n_embd;
    hn_generation alone;
    hn_engine *engine = new_engine(
        &(hn_engine_options){.n_slots = 3, .n_context = CONTEXT, .n_positions = CONTEXT});
    hn_job_options o = hn_job_options_default();
    make_prompt(prompts[0], 20, 30);
    o.prompt = prompts[0];
    o.n_prompt = 20;
    o.max_tokens = 60;
    generate_alone(&o, CONTEXT, &alone);
    ASSERT_OK(submit(engine, &answer, &o, errp));
    for (int i = 0; i < JOBS; i++) {
        o = hn_job_options_default();
        o.n_prompt = 20 + 30 * i;
        make_prompt(prompts[i], o.n_prompt, (uint64_t)i);
        o.prompt = prompts[i];
        o.pooling = i == 1 ? HN_POOLING_LAST : HN_POOLING_MEAN;
        o.raw_embedding = i == 2;
        ASSERT_OK(submit(engine, &tolds[i], &o, errp));
    }
    for (int i = 0; i < JOBS; i++) {
        hn_kv *kv = NULL;
        hn_batch_row rows[200];
        const int n = 20 + 30 * i;
        double sum[64] = {0}, squares = 0;
        wait_over(&tolds[i]);
        assert_int_equal(tolds[i].status, HN_OK);
        assert_int_equal(tolds[i].n_embd, n_embd);
        for (int j = 0; j < n; j++)
            rows[j] = (hn_batch_row){.token = prompts[i][j], .adapter = -1, .wants_logits = true};
        ASSERT_OK(hn_kv_new(&kv, model, 1, CONTEXT, errp));
        ASSERT_OK(hn_forward(model, kv, NULL, 0, rows, n, NULL, hidden, errp));
        for (int j = i == 1 ? n - 1 : 0; j < n; j++)
            for (int d = 0; d < n_embd; d++)
                sum[d] += (double)hidden[j * n_embd + d];
        for (int d = 0; d < n_embd; d++)
            squares += sum[d] * sum[d];
        for (int d = 0; d < n_embd; d++) {
            const float wanted = (float)(sum[d] / (i == 2 ? (double)n : sqrt(squares)));
            assert_true(wanted == tolds[i].embedding[d]);
        }
        hn_kv_free(kv);
        told_done(&tolds[i]);
    }
    wait_over(&answer);
    check_same(&answer, &alone);
    told_done(&answer);
    hn_generation_done(&alone);
    hn_engine_free(engine);
}

static void test_refused(void **state) {
    (void)state;
    need_story();
    static int32_t prompt[PROMPT_MAX];
    hn_error err;
    told t;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2, .n_context = CONTEXT});
    make_prompt(prompt, PROMPT_MAX, 5);
    hn_job_options o = hn_job_options_default(), bad;
    o.prompt = prompt;
    o.n_prompt = CONTEXT + 1;
    assert_int_equal(submit(engine, &t, &o, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "257"));
    assert_non_null(strstr(err.message, "256"));
    assert_false(hn_engine_fits(engine, CONTEXT + 1));
    o.n_prompt = 0;
    assert_int_equal(submit(engine, &t, &o, &err), HN_BAD_INPUT);
    o.n_prompt = 10;
    bad = o;
    int32_t outside[2] = {1, 5000};
    bad.prompt = outside;
    bad.n_prompt = 2;
    assert_int_equal(submit(engine, &t, &bad, &err), HN_BAD_INPUT);
    assert_non_null(strstr(err.message, "5000"));
    bad = o;
    bad.sampling.temperature = NAN;
    assert_int_equal(submit(engine, &t, &bad, &err), HN_USAGE);
    bad = o;
    bad.n_logprobs = 1000;
    assert_int_equal(submit(engine, &t, &bad, &err), HN_USAGE);
    bad = o;
    bad.constraint = "root ::= (";
    bad.n_constraint = strlen(bad.constraint);
    assert_int_equal(submit(engine, &t, &bad, &err), HN_BAD_INPUT);
    bad.constraint = "{\"type\": \"object\", \"uniqueItems\": 7, \"$ref\": \"http://x/y\"}";
    bad.n_constraint = strlen(bad.constraint);
    bad.constraint_kind = HN_CONSTRAINT_SCHEMA;
    assert_int_not_equal(submit(engine, &t, &bad, &err), HN_OK);
    bad = o;
    const char *many[HN_JOB_MAX_STOP + 1];
    for (int i = 0; i <= HN_JOB_MAX_STOP; i++)
        many[i] = "x";
    bad.stop = many;
    bad.n_stop = HN_JOB_MAX_STOP + 1;
    assert_int_equal(submit(engine, &t, &bad, &err), HN_BAD_INPUT);
    assert_true(hn_engine_wait_idle(engine, 0));
    hn_engine_free(engine);

    hn_engine_options options = {.n_slots = 2, .n_context = CONTEXT, .n_positions = CONTEXT - 1};
    assert_int_equal(hn_engine_new(&engine, model, &options, &err), HN_USAGE);
    options = (hn_engine_options){.n_slots = -1};
    assert_int_equal(hn_engine_new(&engine, model, &options, &err), HN_USAGE);
    options = (hn_engine_options){.speculation = HN_SPECULATION_MODEL};
    assert_int_equal(hn_engine_new(&engine, model, &options, &err), HN_USAGE);
}

/* No token that ends the answer comes before min_tokens. */
static void test_min_tokens(void **state) {
    (void)state;
    need_story();
    int32_t prompt[4];
    told t;
    hn_engine *engine = new_engine(&(hn_engine_options){.n_slots = 2, .n_context = CONTEXT});
    make_prompt(prompt, 4, 6);
    const hn_logit_bias ends = {2, 100.0f};
    hn_job_options o = hn_job_options_default();
    o.prompt = prompt;
    o.n_prompt = 4;
    o.sampling.bias = &ends;
    o.sampling.n_bias = 1;
    for (int min = 0; min < 9; min += 4) {
        o.min_tokens = min;
        ASSERT_OK(submit(engine, &t, &o, errp));
        wait_over(&t);
        assert_int_equal(t.finish, HN_FINISH_STOP);
        assert_int_equal(t.ids.size, min);
        assert_int_equal(t.n_generated, min + 1);
        told_done(&t);
    }
    hn_engine_free(engine);
}

/* The real base, int8 products, a cache in q8_0: jobs together and alone. */
static void test_base(void **state) {
    (void)state;
    need_base_model();
    enum { JOBS = 6 };
    static told tolds[JOBS];
    hn_generation alone[JOBS];
    hn_job_options o[JOBS];
    int32_t prompts[JOBS][120];
    hn_model *stories = model;
    const hn_model_options options = {
        .n_threads = 2, .numerics = HN_NUMERICS_INT8, .kv_type = HN_Q8_0};
    ASSERT_OK(hn_model_open(&model, base_model(), &options, errp));
    for (int i = 0; i < JOBS; i++) {
        o[i] = hn_job_options_default();
        o[i].n_prompt = 50 + 14 * i;
        for (int j = 0; j < o[i].n_prompt; j++)
            prompts[i][j] = 1000 + 37 * j * (j < 40 ? 1 : i + 1) % 40000;
        o[i].prompt = prompts[i];
        o[i].max_tokens = 12;
        o[i].sampling.temperature = i % 2 ? 0.8f : 0;
        o[i].sampling.top_p = 0.95f;
        o[i].sampling.seed = (uint64_t)i;
        if (i == 3) {
            o[i].constraint = SCHEMA;
            o[i].n_constraint = strlen(SCHEMA);
            o[i].constraint_kind = HN_CONSTRAINT_SCHEMA;
        }
        generate_alone(&o[i], CONTEXT, &alone[i]);
    }
    hn_engine *engine = new_engine(&(hn_engine_options){
        .n_slots = 4, .n_context = CONTEXT, .speculation = HN_SPECULATION_NGRAM});
    for (int i = 0; i < JOBS; i++)
        ASSERT_OK(submit(engine, &tolds[i], &o[i], errp));
    for (int i = 0; i < JOBS; i++) {
        wait_over(&tolds[i]);
        check_same(&tolds[i], &alone[i]);
        told_done(&tolds[i]);
        hn_generation_done(&alone[i]);
    }
    hn_engine_free(engine);
    hn_model_free(model);
    model = stories;
}

/* A stream that notes in which of the engine's steps its text comes. */
typedef struct stream {
    hn_engine *engine;
    told *prompt;      /* that is being read meanwhile */
    uint64_t last;     /* step */
    uint64_t most;     /* steps from one piece to the next */
    int n_meanwhile;   /* pieces while the prompt was read */
    atomic_bool begun; /* to write */
    told told;
} stream;

static bool note_step(void *context, const hn_piece *piece) {
    stream *s = context;
    hn_engine_counts counts;
    (void)piece;
    hn_engine_counts_get(s->engine, &counts);
    pthread_mutex_lock(&s->prompt->lock);
    const bool is_read = s->prompt->n_progress > 0 && s->prompt->n_pieces == 0;
    pthread_mutex_unlock(&s->prompt->lock);
    if (is_read && s->last) {
        s->most = counts.steps - s->last > s->most ? counts.steps - s->last : s->most;
        s->n_meanwhile++;
    }
    s->last = counts.steps;
    atomic_store(&s->begun, true);
    return true;
}

static void stream_over(void *context, const hn_job_result *result) {
    on_done(&((stream *)context)->told, result);
}

/* However long a prompt is, streams that run get their next token within two steps more. */
static void test_long_prompt_and_streams(void **state) {
    (void)state;
    need_story();
    enum { STREAMS = 3, LONG = 4000, MOST_STEPS = 1 + 2 };
    static stream streams[STREAMS];
    static int32_t prompt[LONG];
    static told t;
    hn_engine *engine =
        new_engine(&(hn_engine_options){.n_slots = STREAMS + 1, .n_context = 2 * LONG});
    hn_engine_counts before, after;
    make_prompt(prompt, LONG, 9);
    told_init(&t);
    for (int i = 0; i < STREAMS; i++) {
        stream *s = &streams[i];
        hn_job_options o = hn_job_options_default();
        *s = (stream){.engine = engine, .prompt = &t};
        told_init(&s->told);
        o.prompt = prompt + 10 * i;
        o.n_prompt = 5;
        o.constraint = "root ::= [a-z ]+"; /* no half characters: each token is shown at once */
        o.n_constraint = strlen(o.constraint);
        o.constraint_kind = HN_CONSTRAINT_GBNF;
        o.ignore_eos = true;
        o.events = (hn_job_events){.context = s, .piece = note_step, .done = stream_over};
        ASSERT_OK(hn_engine_submit(engine, &o, &s->told.job, errp));
    }
    for (int i = 0; i < STREAMS; i++)
        while (!atomic_load(&streams[i].begun))
            sched_yield();
    hn_job_options o = hn_job_options_default();
    o.prompt = prompt;
    o.n_prompt = LONG;
    o.max_tokens = 1;
    o.no_cache = true;
    o.events = events_of(&t);
    hn_engine_counts_get(engine, &before);
    ASSERT_OK(hn_engine_submit(engine, &o, &t.job, errp));
    wait_over(&t);
    hn_engine_counts_get(engine, &after);
    assert_int_equal(t.status, HN_OK);
    assert_true(after.steps - before.steps > LONG / HN_FORWARD_CHUNK);
    for (int i = 0; i < STREAMS; i++) {
        hn_job_cancel(streams[i].told.job);
        wait_over(&streams[i].told);
        assert_true(streams[i].n_meanwhile > LONG / HN_FORWARD_CHUNK);
        assert_in_range(streams[i].most, 1, MOST_STEPS);
        told_done(&streams[i].told);
    }
    told_done(&t);
    hn_engine_free(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_pass_memory),
        cmocka_unit_test(test_shared_beginning),
        cmocka_unit_test(test_no_cache),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_min_tokens),
        cmocka_unit_test(test_base),
        cmocka_unit_test(test_long_prompt_and_streams),
    };
    return cmocka_run_group_tests(tests, open_story, close_story);
}
