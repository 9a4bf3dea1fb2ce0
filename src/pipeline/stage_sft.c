/* Stage "sft": the adapter is trained over the frozen base. An interrupted training goes on from
 * its checkpoint; adapter/, metrics.jsonl and train.json are what remains. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "train/train.h"

#include <string.h>

enum { REVISION = 2 };

static hn_train_options options_of(const hn_recipe *recipe, const char *out_dir) {
    hn_train_options options = hn_train_options_default();
    options.r = (int)recipe->sft.rank;
    options.alpha = (float)recipe->sft.alpha;
    options.dropout = (float)recipe->sft.dropout;
    options.learning_rate = (float)recipe->sft.learning_rate;
    options.weight_decay = (float)recipe->sft.weight_decay;
    options.max_grad_norm = (float)recipe->sft.max_grad_norm;
    options.schedule = (hn_schedule)recipe->sft.schedule;
    options.warmup_ratio = (float)recipe->sft.warmup_ratio;
    options.warmup_steps = (int)recipe->sft.warmup_steps;
    options.epochs = (float)recipe->sft.epochs;
    options.max_steps = (int)recipe->sft.max_steps;
    options.batch_rows = (int)recipe->sft.batch;
    options.max_length = (int)recipe->sft.max_length;
    options.seed = (uint64_t)recipe->sft.seed;
    options.eval_every = (int)recipe->sft.eval_every;
    options.save_every = (int)recipe->sft.save_every;
    options.early_stop_evals = (int)recipe->sft.early_stop;
    options.out_dir = out_dir;
    options.resume = true;
    return options;
}

static hn_status inputs_of(const hn_run *run, json_t **out, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    char train[65], heldout[65];
    HN_TRY(hn_stage_output_hash(&run->data, "train.jsonl", train, err));
    HN_TRY(hn_stage_output_hash(&run->data, "heldout.jsonl", heldout, err));
    json_t *inputs = hn_run_inputs("sft", REVISION);
    json_t *own =
        json_pack("{s:s, s:s, s:s, s:s, s:s*, s:I, s:f, s:f, s:f, s:f, s:f, s:I, s:I, s:I}", "base",
                  run->base_hash, "isa", run->isa_name, "train", train, "heldout", heldout,
                  "system", recipe->data.system, "rank", (json_int_t)recipe->sft.rank, "alpha",
                  recipe->sft.alpha, "dropout", recipe->sft.dropout, "learning_rate",
                  recipe->sft.learning_rate, "weight_decay", recipe->sft.weight_decay, "epochs",
                  recipe->sft.epochs, "max_steps", (json_int_t)recipe->sft.max_steps, "batch",
                  (json_int_t)recipe->sft.batch, "max_length", (json_int_t)recipe->sft.max_length);
    json_t *more = json_pack(
        "{s:I, s:f, s:I, s:f, s:I, s:I, s:I, s:I, s:I}", "schedule",
        (json_int_t)recipe->sft.schedule, "warmup_ratio", recipe->sft.warmup_ratio, "warmup_steps",
        (json_int_t)recipe->sft.warmup_steps, "max_grad_norm", recipe->sft.max_grad_norm, "seed",
        (json_int_t)recipe->sft.seed, "supervise", (json_int_t)recipe->sft.supervise, "eval_every",
        (json_int_t)recipe->sft.eval_every, "early_stop", (json_int_t)recipe->sft.early_stop,
        "numerics", (json_int_t)recipe->sft.numerics);
    hn_status status = HN_OK;
    if (!inputs || !own || !more || json_object_update(inputs, own) ||
        json_object_update(inputs, more))
        status = hn_fail_no_memory(err, 1024);
    json_decref(own);
    json_decref(more);
    if (status == HN_OK)
        *out = inputs;
    else
        json_decref(inputs);
    return status;
}

static hn_status documents_of(const hn_run *run, const hn_model *model, const char *name,
                              hn_documents *docs, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    char *path = hn_stage_path(&run->data, name);
    hn_records records = {0};
    hn_status status;
    if (!path)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_records_read(&records, path, false, run->progress, err));
    HN_GO(hn_documents_build(docs, &records, &model->ckpt, recipe->data.system,
                             (hn_supervise)recipe->sft.supervise, (int)recipe->sft.max_length,
                             err));
done:
    hn_records_done(&records);
    hn_free(path);
    return status;
}

static hn_status write_result(const hn_stage *stage, const hn_train_result *result,
                              const hn_documents *docs, hn_error *err) {
    char *path = hn_stage_path(stage, "train.json");
    json_t *object = json_pack(
        "{s:i, s:i, s:f, s:f, s:I, s:I, s:I, s:I, s:f, s:I}", "steps", result->steps, "best_step",
        result->best_step, "final_loss", result->final_loss, "best_eval_loss",
        result->best_eval_loss, "tokens", (json_int_t)result->tokens, "supervised",
        (json_int_t)result->supervised, "rows_dropped", (json_int_t)docs->n_dropped,
        "rows_truncated", (json_int_t)docs->n_truncated, "seconds", result->seconds,
        "peak_resident_bytes", (json_int_t)result->peak_resident_bytes);
    if (path && !object) /* NaN where nothing was held out */
        object =
            json_pack("{s:i, s:I}", "steps", result->steps, "tokens", (json_int_t)result->tokens);
    hn_status status =
        path && object ? hn_json_write(path, object, err) : hn_fail_no_memory(err, 256);
    json_decref(object);
    hn_free(path);
    return status;
}

static hn_status train(hn_run *run, hn_stage *stage, hn_error *err) {
    hn_model *model;
    hn_documents docs = {0}, heldout = {0};
    hn_train_result result;
    char *checkpoint = hn_stage_path(stage, "checkpoint");
    hn_status status;
    if (!checkpoint)
        return hn_fail_no_memory(err, 256);
    HN_GO(hn_run_model_open(run, run->recipe->base, (hn_numerics)run->recipe->sft.numerics, &model,
                            err));
    HN_GO(documents_of(run, model, "train.jsonl", &docs, err));
    bool held = hn_stage_output_bytes(&run->data, "heldout.jsonl") > 0;
    if (held)
        HN_GO(documents_of(run, model, "heldout.jsonl", &heldout, err));
    hn_train_options options = options_of(run->recipe, stage->part);
    HN_GO(
        hn_train_sft(model, &docs, held ? &heldout : NULL, &options, run->progress, &result, err));
    HN_GO(write_result(stage, &result, &docs, err));
    HN_GO(hn_path_remove(checkpoint, err));
done:
    hn_documents_done(&docs);
    hn_documents_done(&heldout);
    hn_free(checkpoint);
    return status;
}

hn_status hn_run_sft(hn_run *run, hn_error *err) {
    json_t *inputs;
    HN_TRY(inputs_of(run, &inputs, err));
    HN_TRY(hn_run_stage_open(run, &run->sft, "sft", inputs, true, err));
    if (!run->sft.reused)
        HN_TRY(train(run, &run->sft, err));
    HN_TRY(hn_run_stage_close(run, &run->sft, err));
    return hn_stage_output_hash(&run->sft, "adapter", run->adapter_hash, err);
}
