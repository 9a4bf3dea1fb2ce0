/* Stage "generate": a teacher's rows for the stages that learn from it, as `hone data generate` and
 * `hone data rows` make them. The answers themselves lie in the run's folder (teacher.jsonl), keyed
 * by question, model and sampling, and outlive the stage: a prompt more, or a changed setting,
 * costs only the questions that are new. The network is used when the recipe names an endpoint. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "teacher/generate.h"
#include "teacher/rows.h"

#include <stdlib.h>
#include <string.h>

enum { REVISION = 1, ENDPOINT_PARALLEL = 4, LOCAL_PARALLEL = 8, LOCAL_CONTEXT = 4096 };

const char *hn_run_generated_name(const hn_recipe *recipe, hn_teaching stage) {
    static const char *const NAMES[HN_TEACH_COUNT] = {
        [HN_TEACH_SFT] = "sft.jsonl", [HN_TEACH_RKD] = "rkd.jsonl", [HN_TEACH_DPO] = "pairs.jsonl"};
    if (stage == HN_TEACH_KD && !recipe->kd.train.n) /* it learns from the rows of sft */
        stage = HN_TEACH_SFT;
    return recipe->generate.wanted && recipe->generate.into[stage] ? NAMES[stage] : NULL;
}

typedef struct asking {
    hn_prompts prompts;
    hn_model *model; /* the local teacher */
    hn_teacher *teacher;
    char *store; /* borrowed from the run's arena */
    json_t *asked, *answers, *rows;
} asking;

static void asking_done(asking *a) {
    hn_teacher_free(a->teacher);
    hn_model_free(a->model);
    hn_prompts_done(&a->prompts);
    json_decref(a->asked);
    json_decref(a->answers);
    json_decref(a->rows);
}

static hn_status open_endpoint(const hn_recipe *recipe, asking *a, hn_error *err) {
    const char *name = recipe->generate.key_env, *key = name ? getenv(name) : NULL;
    int64_t parallel = recipe->generate.parallel;
    if (name && (!key || !*key)) /* `name` isn't shown: it may be the key itself */
        return hn_fail(err, HN_USAGE,
                       "generate.key_env takes the name of an environment variable that holds the "
                       "key; there is none by this name");
    hn_endpoint_options options = {.url = recipe->generate.endpoint,
                                   .key = key,
                                   .key_name = name,
                                   .parallel = parallel ? (int)parallel : ENDPOINT_PARALLEL,
                                   .timeout_s = (int)recipe->generate.timeout,
                                   .max_retries = (int)recipe->generate.retries};
    return hn_teacher_open_endpoint(&a->teacher, &options, err);
}

static hn_status open_local(const hn_run *run, asking *a, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    int64_t parallel = recipe->generate.parallel;
    hn_model_options how = {
        .n_threads = run->n_threads, .isa = run->isa, .numerics = HN_NUMERICS_INT8, .chats = true};
    HN_TRY(hn_model_open(&a->model, recipe->generate.teacher, &how, err));
    int trained = a->model->arch.n_ctx_train;
    return hn_teacher_open_local(
        &a->teacher, a->model, NULL, parallel ? (int)parallel : LOCAL_PARALLEL,
        trained > 0 && trained < LOCAL_CONTEXT ? trained : LOCAL_CONTEXT, err);
}

static hn_distil_options options_of(const hn_run *run, const asking *a, const char *name) {
    const hn_recipe *recipe = run->recipe;
    return (hn_distil_options){.output = a->store,
                               .model = name,
                               .system = recipe->generate.system,
                               .plain = recipe->generate.plain,
                               .samples = (int)recipe->generate.samples,
                               .temperature = recipe->generate.temperature,
                               .top_p = recipe->generate.top_p,
                               .max_tokens = (int)recipe->generate.max_tokens,
                               .seeded = !recipe->generate.endpoint || recipe->generate.seed > 0,
                               .seed = recipe->generate.seed,
                               .max_field_tokens = (int)recipe->generate.max_field_tokens,
                               .tokenizer = a->model ? a->model->ckpt.tokenizer : NULL,
                               .critique = recipe->generate.critique,
                               .hard_negatives = recipe->generate.hard_negatives,
                               .budget = {.max_tokens = recipe->generate.max_total_tokens,
                                          .max_cost = recipe->generate.max_cost,
                                          .price_in = recipe->generate.price_in,
                                          .price_out = recipe->generate.price_out},
                               .asked = a->asked};
}

static hn_status check_result(const hn_run *run, const hn_distil_result *r, hn_error *err) {
    hn_progress_note(
        run->progress,
        "generate: %llu answers, %llu were there, %llu not fit (teacher.rejected.jsonl)",
        (unsigned long long)r->n_kept, (unsigned long long)r->n_there,
        (unsigned long long)r->n_rejected);
    if (r->n_failed)
        return hn_fail(err, HN_IO,
                       "generate: %llu questions got no answer; what has come stays: run again to "
                       "ask them",
                       (unsigned long long)r->n_failed);
    if (r->n_left && !run->recipe->generate.allow_partial)
        return hn_fail(err, HN_FAILED,
                       "generate: the budget ended with %llu questions not asked; what has come "
                       "stays: raise max_total_tokens or max_cost, or set allow_partial to go on "
                       "without them",
                       (unsigned long long)r->n_left);
    return HN_OK;
}

static hn_status ask(hn_run *run, asking *a, const char *name, hn_error *err) {
    hn_distil_result result;
    a->store = hn_run_path(run, run->dir, "teacher.jsonl");
    a->asked = json_object();
    if (!a->store || !a->asked)
        return hn_fail_no_memory(err, 256);
    HN_TRY(hn_prompts_read(&a->prompts, run->recipe->generate.prompts, err));
    HN_TRY(run->recipe->generate.endpoint ? open_endpoint(run->recipe, a, err)
                                          : open_local(run, a, err));
    hn_distil_options options = options_of(run, a, name);
    HN_TRY(hn_distil_run(a->teacher, &a->prompts, &options, run->progress, &result, err));
    HN_TRY(check_result(run, &result, err));
    HN_TRY(hn_store_read(a->store, &a->answers, err));
    return hn_distil_rows_asked(a->answers, a->asked, &a->rows, err);
}

static hn_status write_rows(const hn_run *run, const asking *a, const hn_stage *stage,
                            hn_teaching which, hn_error *err) {
    static const hn_rows_kind KINDS[HN_TEACH_COUNT] = {
        [HN_TEACH_SFT] = HN_ROWS_SFT, [HN_TEACH_RKD] = HN_ROWS_RKD, [HN_TEACH_DPO] = HN_ROWS_PAIRS};
    const hn_recipe *recipe = run->recipe;
    hn_rows_options options = {.kind = KINDS[which],
                               .keep = (hn_rows_keep)recipe->generate.keep,
                               .number = recipe->generate.vote == 1,
                               .min_share = recipe->generate.min_share};
    hn_rows_result result;
    char *path = hn_stage_path(stage, hn_run_generated_name(recipe, which));
    if (!path)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_rows_write(a->rows, &options, path, &result, err);
    hn_free(path);
    if (status != HN_OK)
        return hn_error_prefix(err, "generate: rows for %s", hn_teaching_name(which));
    hn_progress_note(run->progress, "generate: %zu rows for %s from %zu prompts", result.n_rows,
                     hn_teaching_name(which), result.n_prompts);
    return HN_OK;
}

static hn_status make(hn_run *run, const char *name, hn_error *err) {
    asking a = {0};
    hn_status status = ask(run, &a, name, err);
    for (int t = 0; t < HN_TEACH_COUNT && status == HN_OK; t++)
        if (run->recipe->generate.into[t])
            status = write_rows(run, &a, &run->generated, (hn_teaching)t, err);
    asking_done(&a);
    return status;
}

/* How the teacher is called in rows and keys: a local one by what its files hold. */
static hn_status name_of(const hn_recipe *recipe, char name[65], const char **out, hn_error *err) {
    *out = recipe->generate.model;
    if (*out)
        return HN_OK;
    HN_TRY(hn_run_hash_path(recipe->generate.teacher, name, err));
    *out = name;
    return HN_OK;
}

/* What a question is asked with, and what is made of the answers; not how fast, and not for how
 * much: a larger budget goes on from what a smaller one paid for. */
hn_status hn_run_generate(hn_run *run, hn_error *err) {
    static const char WITHOUT[] = "prompts parallel timeout retries key_env max_total_tokens "
                                  "max_cost price_in price_out";
    char hash[65], name[65];
    const char *called;
    json_t *inputs = hn_run_inputs("generate", REVISION);
    hn_status status;
    HN_GO(hn_sha256_file(run->recipe->generate.prompts, hash, err));
    HN_GO(name_of(run->recipe, name, &called, err));
    if (!inputs || json_object_set_new(inputs, "prompts", json_string(hash)) ||
        json_object_set_new(inputs, "isa",
                            json_string(run->recipe->generate.endpoint ? "" : run->isa_name)))
        HN_GO(hn_fail_no_memory(err, 256));
    HN_GO(hn_run_add_settings(run->recipe, "generate", WITHOUT, inputs, err));
    status = hn_run_stage_open(run, &run->generated, "generate", inputs, false, err);
    inputs = NULL; /* taken */
    if (status == HN_OK && !run->generated.reused)
        status = make(run, called, err);
    if (status == HN_OK)
        status = hn_run_stage_close(run, &run->generated, err);
done:
    json_decref(inputs);
    return status;
}
