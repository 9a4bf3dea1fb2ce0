/* Stages "adapter", "merge" and "quantize": what the recipe lists, made from base and adapter. An
 * adapter that rounding would undo is refused by hn_quantise; the refusal is a result too, and kept
 * like one. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/records.h"
#include "release/quantise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REVISION = 3, MAX_CALIBRATION_BYTES = 64 << 20, MAX_NOTE_BYTES = 1 << 16 };

static const char *stage_word(const hn_recipe_artefact *artefact) {
    hn_ftype ftype;
    if (artefact->kind == HN_ARTEFACT_ADAPTER)
        return "adapter";
    if (artefact->kind == HN_ARTEFACT_MERGED && hn_ftype_from_name(artefact->type, &ftype) &&
        ftype > HN_FTYPE_BF16)
        return "quantize";
    return "merge";
}

/* What it is calibrated on, "none" included: what the recipe says, or else what keeps most of what
 * was taught (docs/quantisation.md). */
static const char *calibration_of(const hn_recipe_artefact *artefact) {
    hn_ftype ftype;
    if (artefact->calibration)
        return artefact->calibration;
    bool gains = artefact->kind == HN_ARTEFACT_MERGED &&
                 hn_ftype_from_name(artefact->type, &ftype) && hn_ftype_is_coarse(ftype);
    return gains ? "train+self" : "none";
}

static bool is_on_both(const hn_recipe_artefact *artefact) {
    return !strcmp(calibration_of(artefact), "train+self");
}

/* Whether it is calibrated on what the model itself writes. */
static bool is_on_own_text(const hn_recipe_artefact *artefact) {
    return !strcmp(calibration_of(artefact), "self") || is_on_both(artefact);
}

/* Whether it is calibrated on rows or text. */
static bool is_on_data(const hn_recipe_artefact *artefact) {
    const char *on = calibration_of(artefact);
    return strcmp(on, "self") && strcmp(on, "none");
}

static hn_status inputs_of(const hn_run *run, const hn_recipe_artefact *artefact, json_t **out,
                           hn_error *err) {
    char calibration[65] = "";
    if (is_on_both(artefact) || !strcmp(calibration_of(artefact), "train"))
        HN_TRY(hn_stage_output_hash(&run->data, "train.jsonl", calibration, err));
    else if (is_on_own_text(artefact))
        snprintf(calibration, sizeof calibration, "self");
    else if (is_on_data(artefact))
        HN_TRY(hn_sha256_file(calibration_of(artefact), calibration, err));
    json_t *inputs = hn_run_inputs(stage_word(artefact), REVISION);
    json_t *own =
        json_pack("{s:s, s:s, s:i, s:s*, s:s, s:s*, s:s*, s:b, s:s}", "base", run->base_hash,
                  "adapter", run->adapter_hash, "kind", artefact->kind, "type", artefact->type,
                  "calibration", calibration, "beside", is_on_both(artefact) ? "self" : NULL,
                  "system", is_on_data(artefact) ? run->recipe->data.system : NULL,
                  "allow_lost_adapter", artefact->allow_lost_adapter, "isa", run->isa_name);
    if (!inputs || !own || json_object_update(inputs, own)) {
        json_decref(inputs);
        json_decref(own);
        return hn_fail_no_memory(err, 512);
    }
    json_decref(own);
    *out = inputs;
    return HN_OK;
}

/* What an artefact is calibrated on: rows are tokenised as they are trained on. */
typedef struct calibration {
    hn_documents rows;
    char *text; /* of a file that isn't rows, or NULL */
} calibration;

static void calibration_done(calibration *c) {
    hn_documents_done(&c->rows);
    hn_free(c->text);
}

static hn_status read_rows(const hn_run *run, const hn_checkpoint *ckpt, const char *path,
                           hn_documents *rows, hn_error *err) {
    hn_records records = {0};
    HN_TRY(hn_records_read(&records, path, false, NULL, err));
    hn_status status =
        hn_documents_build(rows, &records, ckpt, run->recipe->data.system, HN_SUPERVISE_COMPLETION,
                           (int)run->recipe->sft.max_length, err);
    hn_records_done(&records);
    return status;
}

static hn_status read_calibration(const hn_run *run, const hn_recipe_artefact *artefact,
                                  const hn_checkpoint *ckpt, calibration *out, hn_error *err) {
    const char *name = is_on_both(artefact) ? "train" : calibration_of(artefact);
    if (!is_on_data(artefact))
        return HN_OK;
    size_t size = strlen(name);
    if (strcmp(name, "train") && (size < 6 || strcmp(name + size - 6, ".jsonl")))
        return hn_file_read(name, MAX_CALIBRATION_BYTES, &out->text, &size, err);
    char *path = strcmp(name, "train") ? hn_strdup(name) : hn_stage_path(&run->data, "train.jsonl");
    hn_status status =
        path ? read_rows(run, ckpt, path, &out->rows, err) : hn_fail_no_memory(err, 256);
    hn_free(path);
    return status;
}

static hn_status write_report(const hn_stage *stage, const hn_quantise_report *r, hn_error *err) {
    json_t *value =
        json_pack("{s:I, s:f, s:f}", "size_bytes", (json_int_t)r->size_bytes, "adapter_cosine",
                  r->adapter_cosine, "adapter_norm_ratio", r->adapter_norm_ratio);
    if (value && isfinite(r->output_share)) {
        json_object_set_new(value, "output_share", json_real(r->output_share));
        json_object_set_new(value, "output_error", json_real(r->output_error));
    }
    if (value && isfinite(r->kl_before)) {
        json_object_set_new(value, "kl_before", json_real(r->kl_before));
        json_object_set_new(value, "kl_after", json_real(r->kl_after));
    }
    return hn_stage_write_json(stage, "quantise.json", value, err);
}

static hn_status merge(hn_run *run, const hn_recipe_artefact *artefact, const hn_stage *stage,
                       const hn_checkpoint *ckpt, const hn_adapter *adapter, hn_error *err) {
    hn_quantise_options options = {.allow_lost_adapter = artefact->allow_lost_adapter,
                                   .calibrate_on_own_text = is_on_own_text(artefact),
                                   .n_threads = run->n_threads};
    hn_quantise_report report;
    calibration data = {0};
    char *path = hn_stage_path(stage, "model.gguf");
    hn_status status;
    if (!path)
        return hn_fail_no_memory(err, 256);
    if (!hn_ftype_from_name(artefact->type, &options.ftype)) {
        status = hn_fail(err, HN_BAD_INPUT, "unknown type '%s'", artefact->type);
        goto done;
    }
    HN_GO(read_calibration(run, artefact, ckpt, &data, err));
    options.calibration_text = data.text;
    options.calibration_rows = data.rows.n ? &data.rows : NULL;
    status = hn_quantise(ckpt, adapter, path, &options, run->progress, &report, err);
    if (status == HN_FAILED && !artefact->allow_lost_adapter) { /* the adapter was lost */
        hn_error ignored;
        HN_GO(hn_path_remove(path, &ignored));
        HN_GO(hn_stage_write_json(stage, "refused.json", json_pack("{s:s}", "reason", err->message),
                                  err));
        goto done;
    }
    HN_GO(status);
    HN_GO(write_report(stage, &report, err));
done:
    calibration_done(&data);
    hn_free(path);
    return status;
}

static hn_status make(hn_run *run, const hn_recipe_artefact *artefact, const hn_stage *stage,
                      hn_error *err) {
    hn_checkpoint ckpt = {0};
    hn_adapter *adapter = NULL;
    hn_dtype dtype;
    char *from = hn_stage_path(run->adapter_stage, "adapter"), *to = NULL;
    hn_status status;
    HN_TRY(hn_checkpoint_open(&ckpt, run->recipe->base, err));
    if (!from) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    HN_GO(hn_adapter_open(&adapter, from, &ckpt.arch, err));
    if (artefact->kind == HN_ARTEFACT_MERGED) {
        HN_GO(merge(run, artefact, stage, &ckpt, adapter, err));
        goto done;
    }
    to = hn_stage_path(stage, artefact->kind == HN_ARTEFACT_ADAPTER ? "adapter.gguf" : "model");
    if (!to) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    if (artefact->kind == HN_ARTEFACT_ADAPTER)
        HN_GO(hn_adapter_save(adapter, &ckpt.arch, to, err));
    else if (hn_dtype_from_name(artefact->type, &dtype))
        HN_GO(hn_merge_to_hf(&ckpt, adapter, to, dtype, run->progress, err));
done:
    hn_adapter_free(adapter);
    hn_checkpoint_close(&ckpt);
    hn_free(from);
    hn_free(to);
    return status;
}

static hn_status read_refusal(hn_run *run, const hn_stage *stage, hn_run_row *row, hn_error *err) {
    char *path = hn_stage_path(stage, "refused.json");
    json_t *note = NULL;
    if (!path)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_json_read(path, MAX_NOTE_BYTES, &note, err);
    hn_free(path);
    HN_TRY(status);
    const char *reason = json_string_value(json_object_get(note, "reason"));
    reason = reason ? reason : "refused";
    row->refused = hn_arena_strndup(&run->arena, reason, strlen(reason));
    json_decref(note);
    return row->refused ? HN_OK : hn_fail_no_memory(err, 256);
}

static hn_status fill_row(hn_run *run, const hn_recipe_artefact *artefact, const hn_stage *stage,
                          hn_run_row *row, hn_error *err) {
    static const char *const KINDS[] = {"adapter", "merged", "huggingface"};
    bool adapter = artefact->kind == HN_ARTEFACT_ADAPTER;
    const char *file = adapter                                     ? "adapter.gguf"
                       : artefact->kind == HN_ARTEFACT_HUGGINGFACE ? "model"
                                                                   : "model.gguf";
    char hash[65];
    row->name = artefact->name;
    row->kind = KINDS[artefact->kind];
    row->type = adapter ? "base + adapter" : artefact->type;
    row->numerics = HN_NUMERICS_INT8;
    row->is_artefact = true;
    row->system = run->recipe->data.system;
    char *dir = hn_run_path(run, run->dir, "artefacts");
    if (!dir)
        return hn_fail_no_memory(err, 256);
    HN_TRY(hn_dir_make(dir, err));
    HN_TRY(hn_run_link(run, dir, artefact->name, "../", stage, &row->path, err));
    if (hn_stage_has(stage, "refused.json"))
        return read_refusal(run, stage, row, err);
    HN_TRY(hn_stage_output_hash(stage, file, hash, err));
    char *own_hash = hn_arena_strndup(&run->arena, hash, strlen(hash));
    char *path = hn_run_output(run, stage, file);
    row->path = hn_run_path(run, row->path, file); /* what the commands take */
    if (!own_hash || !path || !row->path)
        return hn_fail_no_memory(err, 256);
    row->size_bytes = hn_stage_output_bytes(stage, file);
    row->model_path = adapter ? run->recipe->base : path;
    row->model_hash = adapter ? run->base_hash : own_hash;
    row->adapter_path = adapter ? path : NULL;
    row->adapter_hash = adapter ? own_hash : NULL;
    return HN_OK;
}

hn_status hn_run_artefact(hn_run *run, int index, hn_error *err) {
    const hn_recipe_artefact *artefact = &run->recipe->artefacts[index];
    hn_stage *stage = &run->artefacts[index];
    char name[HN_STAGE_NAME_MAX];
    json_t *inputs;
    snprintf(name, sizeof name, "%s-%s", stage_word(artefact), artefact->name);
    HN_TRY(inputs_of(run, artefact, &inputs, err));
    HN_TRY(hn_run_stage_open(run, stage, name, inputs, false, err));
    if (!stage->reused)
        HN_TRY(make(run, artefact, stage, err));
    HN_TRY(hn_run_stage_close(run, stage, err));
    return fill_row(run, artefact, stage, &run->rows[run->n_rows++], err);
}
