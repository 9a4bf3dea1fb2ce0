/* The stages that teach: sft, rkd and dpo. Each trains an adapter over the frozen base and goes on
 * from the adapter of the stage before. An interrupted training goes on from its checkpoint;
 * adapter/, metrics.jsonl and train.json are what remains. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "pipeline/recipe_table.h"
#include "train/train.h"

#include <string.h>

enum { REVISION = 2 };

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

/* The value of a field as it enters a key: files by what they hold. *out NULL = nothing is set. */
static hn_status value_of(const hn_recipe *recipe, const hn_field *field, json_t **out,
                          hn_error *err) {
    const char *at = (const char *)recipe + field->offset, *text = NULL;
    char hash[HN_SHA256_HEX];
    *out = NULL;
    switch (field->type) {
    case HN_FIELD_INT:
        *out = json_integer((json_int_t) * (const int64_t *)at);
        break;
    case HN_FIELD_REAL:
        *out = json_real(*(const double *)at);
        break;
    case HN_FIELD_BOOL:
        *out = json_boolean(*(const bool *)at);
        break;
    case HN_FIELD_CHOICE:
        *out = json_integer(*(const int *)at);
        break;
    case HN_FIELD_FILE:
    case HN_FIELD_BASE:
        text = *(char *const *)at;
        if (!text)
            return HN_OK;
        HN_TRY(hn_run_hash_path(text, hash, err));
        *out = json_string(hash);
        break;
    case HN_FIELD_TEXT:
    case HN_FIELD_NAME:
        text = *(char *const *)at;
        if (!text)
            return HN_OK;
        *out = json_string(text);
        break;
    case HN_FIELD_FILES: /* rows: they enter as the data stage wrote them */
        return HN_OK;
    }
    return *out ? HN_OK : hn_fail_no_memory(err, 64);
}

/* Every setting of the section that has a say in what is learned. */
static hn_status add_settings(const hn_recipe *recipe, const char *section, json_t *inputs,
                              hn_error *err) {
    for (size_t i = 0; i < HN_RECIPE_N_FIELDS; i++) {
        const hn_field *field = &HN_RECIPE_FIELDS[i];
        json_t *value;
        if (strcmp(field->section, section) || !strcmp(field->key, "save_every"))
            continue;
        HN_TRY(value_of(recipe, field, &value, err));
        if (value && json_object_set_new(inputs, field->key, value))
            return hn_fail_no_memory(err, 64);
    }
    return HN_OK;
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
                           : add_settings(run->recipe, name, inputs, err);
    json_decref(own);
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

static hn_status write_result(const hn_stage *stage, const hn_train_result *result, const lesson *l,
                              hn_error *err) {
    json_t *object =
        json_pack("{s:i, s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:I}", "steps", result->steps,
                  "best_step", result->best_step, "final_loss", result->final_loss,
                  "best_eval_loss", result->best_eval_loss, "tokens", (json_int_t)result->tokens,
                  "supervised", (json_int_t)result->supervised, "rows_dropped",
                  (json_int_t)(l->documents.n_dropped + l->pairs.n_dropped), "rows_truncated",
                  (json_int_t)(l->documents.n_truncated + l->pairs.n_truncated), "seconds",
                  result->seconds, "peak_resident_bytes", (json_int_t)result->peak_resident_bytes);
    if (!object) /* NaN where nothing was held out */
        object =
            json_pack("{s:i, s:I}", "steps", result->steps, "tokens", (json_int_t)result->tokens);
    return hn_stage_write_json(stage, "train.json", object, err);
}

static hn_status learn(const hn_run *run, hn_teaching which, hn_model *model, const lesson *rows,
                       const lesson *heldout, const hn_train_options *options,
                       hn_train_result *result, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    hn_dpo_options dpo = {.loss = {.kind = (hn_dpo_kind)recipe->preference.loss,
                                   .beta = (float)recipe->preference.beta,
                                   .label_smoothing = (float)recipe->preference.label_smoothing},
                          .base_is_reference = recipe->preference.reference == 1};
    if (which == HN_TEACH_DPO)
        return hn_train_dpo(model, &rows->pairs, heldout ? &heldout->pairs : NULL, &dpo, options,
                            run->progress, result, err);
    return hn_train_sft(model, &rows->documents, heldout ? &heldout->documents : NULL, options,
                        run->progress, result, err);
}

static hn_status train(hn_run *run, hn_teaching which, const hn_stage *stage, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    const hn_recipe_training *settings = hn_recipe_training_of(recipe, which);
    hn_model *model;
    lesson rows = {0}, heldout = {0};
    hn_documents replay = {0};
    hn_train_result result;
    char *checkpoint = hn_stage_path(stage, "checkpoint");
    char *before = run->adapter_stage ? hn_stage_path(run->adapter_stage, "adapter") : NULL;
    hn_status status;
    if (!checkpoint || (run->adapter_stage && !before)) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    HN_GO(hn_run_model_open(run, recipe->base, (hn_numerics)settings->numerics, &model, err));
    HN_GO(read_lesson(run, which, model, false, &rows, err));
    bool held = hn_stage_output_bytes(&run->data, hn_run_rows_name(which, true)) > 0;
    if (held)
        HN_GO(read_lesson(run, which, model, true, &heldout, err));
    hn_train_options options = options_of(settings, before, stage->part);
    HN_GO(read_replay(run, settings, model, &replay, err));
    options.replay = settings->replay ? &replay : NULL;
    options.replay_share = (float)settings->replay_share;
    if (settings->modules)
        HN_GO(hn_modules_parse(settings->modules, &options.module_mask, err));
    HN_GO(learn(run, which, model, &rows, held ? &heldout : NULL, &options, &result, err));
    HN_GO(write_result(stage, &result, &rows, err));
    HN_GO(hn_path_remove(checkpoint, err));
done:
    lesson_done(&rows);
    lesson_done(&heldout);
    hn_documents_done(&replay);
    hn_free(checkpoint);
    hn_free(before);
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
