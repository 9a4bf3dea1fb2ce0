/* The stages that teach: sft, kd, rkd and dpo. Each trains an adapter over the frozen base and goes
 * on from the adapter of the stage before. An interrupted training goes on from its checkpoint;
 * adapter/, metrics.jsonl and train.json are what remains. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "pipeline/golden_probe.h"
#include "train/metrics.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

enum { REVISION = 3 };

static hn_train_options options_of(const hn_recipe_training *settings, const char *init_adapter,
                                   const char *out_dir) {
    hn_train_options options = hn_train_options_default();
    options.r = (int)settings->rank;
    options.alpha = (float)settings->alpha;
    options.rslora = settings->rslora;
    options.dora = settings->dora;
    options.layers = settings->layers;
    options.rank_pattern = settings->rank_pattern;
    options.alpha_pattern = settings->alpha_pattern;
    options.dropout = (float)settings->dropout;
    options.best_metric = settings->best_metric;
    options.general = settings->general;
    options.optimiser = (hn_optimiser_kind)settings->optimiser;
    options.lora_plus_ratio = (float)settings->lora_plus_ratio;
    options.neftune_alpha = (float)settings->neftune_alpha;
    options.learning_rate = (float)settings->learning_rate;
    options.weight_decay = (float)settings->weight_decay;
    options.max_grad_norm = (float)settings->max_grad_norm;
    options.schedule = (hn_schedule)settings->schedule;
    options.warmup_ratio = (float)settings->warmup_ratio;
    options.warmup_steps = (int)settings->warmup_steps;
    options.epochs = (float)settings->epochs;
    options.max_steps = (int)settings->max_steps;
    options.batch_rows = (int)settings->batch;
    options.max_length = (int)settings->max_length;
    options.seed = (uint64_t)settings->seed;
    options.eval_every = (int)settings->eval_every;
    options.save_every = (int)settings->save_every;
    options.early_stop_evals = (int)settings->early_stop;
    options.init_adapter = init_adapter;
    options.out_dir = out_dir;
    options.resume = true;
    return options;
}

/* The golden rows are an input where they choose the adapter. Otherwise they are only looked at:
 * a new golden row is no reason to teach anew, and the report says which scores are of other rows.
 */
static hn_status add_golden(const hn_run *run, const hn_recipe_training *settings, json_t *inputs,
                            hn_error *err) {
    char key[65];
    if (!hn_metric_is(settings->best_metric, HN_METRIC_GOLDEN))
        return HN_OK;
    HN_TRY(hn_run_eval_key(run, key, err));
    return json_object_set_new(inputs, "golden", json_string(key)) ? hn_fail_no_memory(err, 64)
                                                                   : HN_OK;
}

/* The adapter that the stage starts from is an input; the first stage has none. */
static hn_status inputs_of(const hn_run *run, hn_teaching which, json_t **out, hn_error *err) {
    const char *name = hn_teaching_name(which);
    char train[65], heldout[65];
    HN_TRY(hn_stage_output_hash(&run->data, hn_run_rows_name(which, false), train, err));
    HN_TRY(hn_stage_output_hash(&run->data, hn_run_rows_name(which, true), heldout, err));
    json_t *inputs = hn_run_inputs(name, REVISION);
    json_t *own =
        json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s*}", "base", run->base_hash, "isa", run->isa_name,
                  "train", train, "heldout", heldout, "system", run->recipe->data.system, "adapter",
                  run->adapter_stage ? run->adapter_hash : NULL);
    hn_status status = !inputs || !own || json_object_update(inputs, own)
                           ? hn_fail_no_memory(err, 1024)
                           : hn_run_add_settings(run->recipe, name, "save_every", inputs, err);
    json_decref(own);
    if (status == HN_OK)
        status = add_golden(run, hn_recipe_training_of(run->recipe, which), inputs, err);
    if (status == HN_OK)
        *out = inputs;
    else
        json_decref(inputs);
    return status;
}

/* The rows of a stage as it learns from them: documents, or for dpo pairs. */
typedef struct lesson {
    hn_documents documents;
    hn_pairs pairs;
} lesson;

static void lesson_done(lesson *l) {
    hn_documents_done(&l->documents);
    hn_pairs_done(&l->pairs);
}

static hn_status read_lesson(const hn_run *run, hn_teaching which, const hn_model *model,
                             bool heldout, lesson *out, hn_error *err) {
    const hn_recipe_training *settings = hn_recipe_training_of(run->recipe, which);
    const char *system = run->recipe->data.system;
    char *path = hn_stage_path(&run->data, hn_run_rows_name(which, heldout));
    hn_records records = {0};
    hn_status status;
    if (!path)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_records_read(&records, path, false, run->progress, err));
    if (which == HN_TEACH_DPO)
        HN_GO(hn_pairs_build(&out->pairs, &records, &model->ckpt, system, (int)settings->max_length,
                             err));
    else
        HN_GO(hn_documents_build(&out->documents, &records, &model->ckpt, system,
                                 (hn_supervise)settings->supervise, (int)settings->max_length,
                                 err));
    hn_rows_note_cut(path, (int)settings->max_length, &out->documents.truncated,
                     &out->documents.dropped, run->progress);
    hn_rows_note_cut(path, (int)settings->max_length, &out->pairs.truncated, &out->pairs.dropped,
                     run->progress);
done:
    hn_records_done(&records);
    hn_free(path);
    return status;
}

/* Rows of another kind that are mixed in, if the stage has any. */
static hn_status read_replay(const hn_run *run, const hn_recipe_training *settings,
                             const hn_model *model, hn_documents *out, hn_error *err) {
    hn_records records = {0};
    hn_status status;
    if (!settings->replay)
        return HN_OK;
    HN_GO(hn_records_read(&records, settings->replay, run->recipe->data.skip_bad, run->progress,
                          err));
    HN_GO(hn_documents_build(out, &records, &model->ckpt, NULL, HN_SUPERVISE_COMPLETION,
                             (int)settings->max_length, err));
done:
    hn_records_done(&records);
    return status;
}

/* What a stage learns from, and what it is looked at with. */
typedef struct plan {
    lesson rows, heldout;
    bool is_held; /* there are rows for evaluations */
    hn_documents replay;
    hn_golden_probe probe; /* `call` NULL: the golden set isn't scored */
    hn_constraint_pool *pool;
    hn_pooled_constraint constraint;
    hn_model *teacher; /* of kd: this, or */
    hn_kd_file stored;
    hn_layer_pair *layers;
    int n_layers;
    char golden_key[65];
} plan;

static void plan_done(plan *p) {
    lesson_done(&p->rows);
    lesson_done(&p->heldout);
    hn_documents_done(&p->replay);
    hn_golden_probe_done(&p->probe);
    hn_constraint_pool_give(p->pool, &p->constraint);
    hn_constraint_pool_free(p->pool);
    hn_model_free(p->teacher);
    hn_kd_file_close(&p->stored);
    hn_free(p->layers);
}

static hn_status open_golden(hn_run *run, const hn_recipe_training *settings, const hn_model *model,
                             plan *p, hn_error *err) {
    if (!settings->golden_rows || !p->is_held)
        return HN_OK;
    char *path = hn_run_output(run, &run->data, "golden.jsonl");
    if (!path)
        return hn_fail_no_memory(err, 256);
    HN_TRY(hn_run_eval_key(run, p->golden_key, err));
    HN_TRY(hn_run_constraint_open(run, model, &p->pool, &p->constraint, err));
    hn_eval_options options =
        hn_run_eval_options(run, run->recipe->data.system, p->constraint.constraint);
    return hn_golden_probe_open(&p->probe, path, (size_t)settings->golden_rows, &options,
                                hn_hash64(p->golden_key, strlen(p->golden_key), 0), err);
}

static hn_status open_teacher(const hn_run *run, plan *p, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    const hn_model_options how = {
        .n_threads = run->n_threads,
        .isa = run->isa,
        .numerics = recipe->distill.teacher_numerics == 0 ? HN_NUMERICS_F32 : HN_NUMERICS_INT8};
    HN_TRY(hn_layer_pairs_parse(recipe->distill.hidden_layers, &p->layers, &p->n_layers, err));
    if (recipe->distill.teacher_logits)
        return hn_kd_file_open(&p->stored, recipe->distill.teacher_logits, err);
    return hn_model_open(&p->teacher, recipe->distill.teacher, &how, err);
}

static hn_status plan_open(hn_run *run, hn_teaching which, const hn_model *model, plan *p,
                           hn_error *err) {
    const hn_recipe_training *settings = hn_recipe_training_of(run->recipe, which);
    HN_TRY(read_lesson(run, which, model, false, &p->rows, err));
    p->is_held = hn_stage_output_bytes(&run->data, hn_run_rows_name(which, true)) > 0;
    if (p->is_held)
        HN_TRY(read_lesson(run, which, model, true, &p->heldout, err));
    HN_TRY(read_replay(run, settings, model, &p->replay, err));
    if (which == HN_TEACH_KD)
        HN_TRY(open_teacher(run, p, err));
    return open_golden(run, settings, model, p, err);
}

static json_t *real_or_null(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static hn_status write_result(const hn_stage *stage, const hn_train_result *result, const plan *p,
                              const char *best_metric, hn_error *err) {
    const lesson *l = &p->rows;
    json_t *object = json_pack(
        "{s:i, s:i, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:I, s:I, s:s*}", "steps",
        result->steps, "best_step", result->best_step, "best_metric", best_metric, "final_loss",
        real_or_null(result->final_loss), "best_eval_loss", real_or_null(result->best_eval_loss),
        "tokens", (json_int_t)result->tokens, "supervised", (json_int_t)result->supervised,
        "rows_dropped", (json_int_t)(l->documents.dropped.n + l->pairs.dropped.n), "rows_truncated",
        (json_int_t)(l->documents.truncated.n + l->pairs.truncated.n), "seconds", result->seconds,
        "eval_seconds", result->eval_seconds, "golden_seconds", result->golden_seconds,
        "peak_resident_bytes", (json_int_t)result->peak_resident_bytes, "golden_rows",
        (json_int_t)p->probe.golden.n, "golden_key", p->probe.golden.n ? p->golden_key : NULL);
    return hn_stage_write_json(stage, "train.json", object, err);
}

static hn_distill_options distill_options(const hn_recipe *recipe, const plan *p) {
    hn_distill_options o = hn_distill_options_default();
    o.teacher = p->teacher;
    o.stored = p->teacher ? NULL : &p->stored;
    o.layers = p->layers;
    o.n_layers = p->n_layers;
    o.alpha = (float)recipe->distill.alpha;
    o.temperature = (float)recipe->distill.temperature;
    o.beta = (float)recipe->distill.beta;
    o.on_policy = (float)recipe->distill.on_policy;
    o.minillm = recipe->distill.on_policy_loss == 1;
    o.gamma = (float)recipe->distill.gamma;
    o.single_step = (float)recipe->distill.single_step;
    o.sample_temperature = (float)recipe->distill.sample_temperature;
    o.sample_tokens = (int)recipe->distill.sample_tokens;
    o.hidden = (float)recipe->distill.hidden;
    return o;
}

static hn_status learn(const hn_run *run, hn_teaching which, hn_model *model, const plan *p,
                       const hn_train_options *options, hn_train_result *result, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    hn_dpo_options dpo = {.loss = {.kind = (hn_dpo_kind)recipe->preference.loss,
                                   .beta = (float)recipe->preference.beta,
                                   .label_smoothing = (float)recipe->preference.label_smoothing},
                          .base_is_reference = recipe->preference.reference == 1};
    const hn_documents *heldout = p->is_held ? &p->heldout.documents : NULL;
    if (which == HN_TEACH_DPO)
        return hn_train_dpo(model, &p->rows.pairs, p->is_held ? &p->heldout.pairs : NULL, &dpo,
                            options, run->progress, result, err);
    if (which == HN_TEACH_KD) {
        hn_distill_options distill = distill_options(recipe, p);
        return hn_train_distill(model, &p->rows.documents, heldout, &distill, options,
                                run->progress, result, err);
    }
    return hn_train_sft(model, &p->rows.documents, heldout, options, run->progress, result, err);
}

static hn_status train(hn_run *run, hn_teaching which, const hn_stage *stage, hn_error *err) {
    const hn_recipe_training *settings = hn_recipe_training_of(run->recipe, which);
    hn_model *model;
    plan p = {0};
    hn_train_result result;
    char *checkpoint = hn_run_output(run, stage, "checkpoint");
    char *before = run->adapter_stage ? hn_run_output(run, run->adapter_stage, "adapter") : NULL;
    hn_status status;
    if (!checkpoint || (run->adapter_stage && !before))
        return hn_fail_no_memory(err, 256);
    const hn_train_numerics numerics = hn_train_numerics_at(settings->numerics);
    HN_GO(hn_run_base_open(run, &numerics, &model, err));
    HN_GO(plan_open(run, which, model, &p, err));
    hn_train_options options = options_of(settings, before, stage->part);
    options.replay = settings->replay ? &p.replay : NULL;
    options.replay_share = (float)settings->replay_share;
    options.golden = p.probe.golden.n ? &p.probe.call : NULL;
    if (settings->modules)
        HN_GO(hn_modules_parse(settings->modules, &options.module_mask, err));
    HN_GO(learn(run, which, model, &p, &options, &result, err));
    HN_GO(write_result(stage, &result, &p, settings->best_metric, err));
    status = hn_path_remove(checkpoint, err);
done:
    plan_done(&p);
    return status;
}

hn_status hn_run_teach(hn_run *run, hn_teaching which, hn_error *err) {
    hn_stage *stage = &run->taught[which];
    json_t *inputs;
    HN_TRY(inputs_of(run, which, &inputs, err));
    HN_TRY(hn_run_stage_open(run, stage, hn_teaching_name(which), inputs, true, err));
    if (!stage->reused)
        HN_TRY(train(run, which, stage, err));
    HN_TRY(hn_run_stage_close(run, stage, err));
    run->adapter_stage = stage;
    return hn_stage_output_hash(stage, "adapter", run->adapter_hash, err);
}
