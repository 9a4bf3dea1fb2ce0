/* Stages "gate" and "bundle": has a teaching stage lost what the one before it could do, is an
 * artefact as good as its float original, and the folder that goes out when it is. */
#include "pipeline/run.h"

#include "base/json.h"
#include "base/mem.h"
#include "model/kv_type.h"
#include "release/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REVISION = 2, MAX_GATE_BYTES = 1 << 20 };

static hn_status read_scores(const hn_run_row *row, hn_scores *scores, hn_error *err) {
    char *samples = hn_stage_path(&row->eval, "samples.jsonl");
    char *timing = hn_stage_path(&row->eval, "timing.jsonl");
    hn_status status = samples && timing ? hn_scores_read(scores, samples, timing, row->name, err)
                                         : hn_fail_no_memory(err, 256);
    hn_free(samples);
    hn_free(timing);
    return status;
}

/* Of an artefact against its float original. */
static hn_status judge_artefact(const hn_run *run, const hn_run_row *row, const hn_stage *stage,
                                hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    hn_gate_options options = {.max_quality_drop = recipe->gate.max_quality_drop,
                               .max_slice_drop = recipe->gate.max_slice_drop,
                               .min_quality = recipe->gate.min_quality,
                               .max_p95_ms = recipe->gate.max_p95_ms,
                               .latency_is_first_token = recipe->gate.latency == 1};
    hn_scores before = {0}, candidate = {0};
    hn_verdict verdict;
    json_t *report;
    hn_status status;
    HN_GO(read_scores(&run->rows[run->reference], &before, err));
    HN_GO(read_scores(row, &candidate, err));
    HN_GO(hn_gate_export(&before, &candidate, &options, stage->key, &verdict, &report, err));
    status = hn_stage_write_json(stage, "gate.json", report, err);
done:
    hn_scores_done(&before);
    hn_scores_done(&candidate);
    return status;
}

/* Of a teaching stage against those before it. */
static hn_status judge_stage(const hn_run *run, const hn_run_row *row, const hn_stage *stage,
                             hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    hn_stage_limits limits = {recipe->gate.max_stage_drop, recipe->gate.max_slice_drop};
    hn_scores scores[HN_TEACH_COUNT] = {0}, candidate = {0};
    hn_gate_earlier earlier[HN_TEACH_COUNT];
    int n = 0;
    hn_verdict verdict;
    json_t *report;
    hn_status status;
    for (const hn_run_row *one = run->rows + HN_RUN_FIRST_TAUGHT; one < row; one++, n++) {
        HN_GO(read_scores(one, &scores[n], err));
        earlier[n] = (hn_gate_earlier){one->name, &scores[n]};
    }
    HN_GO(read_scores(row, &candidate, err));
    HN_GO(hn_gate_stage(earlier, n, &candidate, &limits, stage->key, &verdict, &report, err));
    status = hn_stage_write_json(stage, "gate.json", report, err);
done:
    for (int i = 0; i < HN_TEACH_COUNT; i++)
        hn_scores_done(&scores[i]);
    hn_scores_done(&candidate);
    return status;
}

static hn_verdict verdict_of(const json_t *report) {
    const char *name = json_string_value(json_object_get(report, "verdict"));
    for (int v = HN_VERDICT_PASS; name && v <= HN_VERDICT_INCONCLUSIVE; v++)
        if (!strcmp(name, hn_verdict_name((hn_verdict)v)))
            return (hn_verdict)v;
    return HN_VERDICT_FAIL;
}

/* Takes `own`. */
static hn_status add_inputs(json_t *own, json_t **out, hn_error *err) {
    json_t *inputs = hn_run_inputs("gate", REVISION);
    bool failed = !inputs || !own || json_object_update(inputs, own);
    json_decref(own);
    if (failed) {
        json_decref(inputs);
        return hn_fail_no_memory(err, 512);
    }
    *out = inputs;
    return HN_OK;
}

static hn_status artefact_inputs(const hn_run *run, const hn_run_row *row, json_t **out,
                                 hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    const hn_run_row *baseline = &run->rows[run->reference];
    const char *const FILES[] = {"samples.jsonl", "timing.jsonl"};
    char sums[4][65];
    for (int i = 0; i < 2; i++) {
        HN_TRY(hn_stage_output_hash(&baseline->eval, FILES[i], sums[i], err));
        HN_TRY(hn_stage_output_hash(&row->eval, FILES[i], sums[2 + i], err));
    }
    return add_inputs(json_pack("{s:[s,s], s:[s,s], s:f, s:f, s:f, s:f, s:i}", "float", sums[0],
                                sums[1], "candidate", sums[2], sums[3], "max_quality_drop",
                                recipe->gate.max_quality_drop, "max_slice_drop",
                                recipe->gate.max_slice_drop, "min_quality",
                                recipe->gate.min_quality, "max_p95_ms", recipe->gate.max_p95_ms,
                                "latency", recipe->gate.latency),
                      out, err);
}

/* No latency is looked at. */
static hn_status stage_inputs(const hn_run *run, const hn_run_row *row, json_t **out,
                              hn_error *err) {
    json_t *sums = json_array();
    char sum[65];
    hn_status status = HN_OK;
    for (const hn_run_row *one = run->rows + HN_RUN_FIRST_TAUGHT; one <= row && status == HN_OK;
         one++) {
        status = hn_stage_output_hash(&one->eval, "samples.jsonl", sum, err);
        if (status == HN_OK && json_array_append_new(sums, json_string(sum)))
            status = hn_fail_no_memory(err, sizeof sum);
    }
    if (status != HN_OK) {
        json_decref(sums);
        return status;
    }
    return add_inputs(json_pack("{s:o, s:f, s:f}", "samples", sums, "max_stage_drop",
                                run->recipe->gate.max_stage_drop, "max_slice_drop",
                                run->recipe->gate.max_slice_drop),
                      out, err);
}

static hn_status gate_summary(hn_run_row *row, const hn_stage *stage, hn_error *err) {
    char *path = hn_stage_path(stage, "gate.json");
    json_t *report = NULL;
    if (!path)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_json_read(path, MAX_GATE_BYTES, &report, err);
    hn_free(path);
    HN_TRY(status);
    row->verdict = verdict_of(report);
    row->is_gated = true;
    json_object_set(row->summary, "flips", json_object_get(report, "flips"));
    json_object_set(row->summary, "answers_changed", json_object_get(report, "answers_changed"));
    if (json_object_set_new(row->summary, "gate", report))
        return hn_fail_no_memory(err, 256);
    return HN_OK;
}

static hn_status refuse(hn_run_row *row, hn_error *err) {
    row->verdict = HN_VERDICT_FAIL;
    row->is_gated = true;
    json_t *report = json_pack("{s:s, s:s, s:s, s:[]}", "gate", "export", "verdict",
                               hn_verdict_name(row->verdict), "reason", row->refused, "checks");
    if (json_object_set_new(row->summary, "gate", report))
        return hn_fail_no_memory(err, 256);
    return HN_OK;
}

/* What a person should know of a slice, whether or not it holds anything up. */
static void note_slices(const hn_run *run, const hn_run_row *row) {
    size_t i;
    const json_t *check;
    json_array_foreach (json_object_get(json_object_get(row->summary, "gate"), "checks"), i,
                        check) {
        const char *slice = json_string_value(json_object_get(check, "slice"));
        const char *verdict = json_string_value(json_object_get(check, "verdict"));
        if (!slice || !verdict || !strcmp(verdict, hn_verdict_name(HN_VERDICT_PASS)))
            continue;
        bool failed = !strcmp(verdict, hn_verdict_name(HN_VERDICT_FAIL));
        const char *against = json_string_value(json_object_get(check, "against"));
        hn_progress_note(
            run->progress, "%s: slice %s fell from %.3f%s%s to %.3f (%lld rows lost, %lld won): %s",
            row->name, slice, json_number_value(json_object_get(check, "before")),
            against ? " after " : "", against ? against : "",
            json_number_value(json_object_get(check, "after")),
            (long long)json_integer_value(json_object_get(check, "lost")),
            (long long)json_integer_value(json_object_get(check, "won")),
            failed ? "more than gate.max_slice_drop"
                   : "too few rows to tell whether it lost more than gate.max_slice_drop");
    }
}

static hn_status run_gate(hn_run *run, hn_run_row *row, hn_error *err) {
    char name[HN_STAGE_NAME_MAX];
    hn_stage stage;
    json_t *inputs = NULL;
    HN_TRY(row->is_artefact ? artefact_inputs(run, row, &inputs, err)
                            : stage_inputs(run, row, &inputs, err));
    snprintf(name, sizeof name, "gate-%s", row->name);
    HN_TRY(hn_run_stage_open(run, &stage, name, inputs, false, err));
    hn_status status = HN_OK;
    if (!stage.reused)
        HN_GO(row->is_artefact ? judge_artefact(run, row, &stage, err)
                               : judge_stage(run, row, &stage, err));
    HN_GO(hn_run_stage_close(run, &stage, err));
    HN_GO(gate_summary(row, &stage, err));
    note_slices(run, row);
done:
    hn_stage_done(&stage);
    return status;
}

hn_status hn_run_gate(hn_run *run, hn_run_row *row, hn_error *err) {
    return row->refused ? refuse(row, err) : run_gate(run, row, err);
}

/* What hone chat keeps its cache in. */
static const hn_dtype BUNDLE_KV_TYPE = HN_F16;

/* "q8_0", or for a base with an adapter the type that most of its matrices have. */
static const char *quantisation_of(const hn_checkpoint *ckpt) {
    uint64_t bytes[HN_DTYPE_COUNT] = {0};
    int most = HN_F32;
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        bytes[ckpt->tensors[i].dtype] += ckpt->tensors[i].size_bytes;
    for (int i = 0; i < HN_DTYPE_COUNT; i++)
        most = bytes[i] > bytes[most] ? i : most;
    return hn_dtype_name((hn_dtype)most);
}

static hn_status pack(hn_run *run, const hn_run_row *row, const hn_stage *stage, hn_error *err) {
    hn_checkpoint ckpt = {0};
    char *dir = hn_stage_path(stage, "bundle");
    char *golden = hn_stage_path(&run->data, "golden.jsonl");
    char *samples = hn_stage_path(&row->eval, "samples.jsonl");
    char quantisation[64];
    hn_status status;
    if (!dir || !golden || !samples) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    HN_GO(hn_checkpoint_open(&ckpt, row->model_path, err));
    if (!ckpt.is_gguf) {
        status = hn_fail(err, HN_UNSUPPORTED,
                         "%s: a bundle holds a GGUF, but the base is a folder: bundle a merged "
                         "artefact, or start from a GGUF base",
                         row->model_path);
        goto done;
    }
    snprintf(quantisation, sizeof quantisation, "%s%s",
             row->adapter_path ? quantisation_of(&ckpt) : row->type,
             row->adapter_path ? " + lora" : "");
    hn_bundle_options options = {.name = run->recipe->name,
                                 .version = run->recipe->version,
                                 .min_runtime_version = run->recipe->bundle.min_runtime_version,
                                 .architecture = ckpt.arch.family,
                                 .quantisation = quantisation,
                                 .system = run->recipe->data.system,
                                 .model_path = row->model_path,
                                 .adapter_path = row->adapter_path,
                                 .golden_path = golden,
                                 .samples_path = samples,
                                 .kv_bytes_per_token =
                                     hn_kv_type_bytes_per_token(BUNDLE_KV_TYPE, &ckpt.arch),
                                 .n_ctx_train = ckpt.arch.n_ctx_train};
    HN_GO(hn_bundle_write(dir, &options, run->progress, err));
done:
    hn_checkpoint_close(&ckpt);
    hn_free(dir);
    hn_free(golden);
    hn_free(samples);
    return status;
}

hn_status hn_run_bundle(hn_run *run, const hn_run_row *row, const char **path, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    char samples[65];
    hn_stage stage;
    *path = NULL;
    if (row->refused || row->verdict != HN_VERDICT_PASS) {
        hn_progress_note(run->progress, "bundle: not made, because the gate's verdict on %s is %s",
                         row->name, hn_verdict_name(row->verdict));
        return HN_OK;
    }
    HN_TRY(hn_stage_output_hash(&row->eval, "samples.jsonl", samples, err));
    json_t *inputs = hn_run_inputs("bundle", REVISION);
    json_t *own =
        json_pack("{s:s, s:s, s:s, s:s*, s:s, s:s*, s:s, s:s}", "name", recipe->name, "version",
                  recipe->version, "min_runtime_version", recipe->bundle.min_runtime_version,
                  "system", recipe->data.system, "model", row->model_hash, "adapter",
                  row->adapter_hash, "golden", run->golden_hash, "samples", samples);
    bool failed = !inputs || !own || json_object_update(inputs, own);
    json_decref(own);
    if (failed) {
        json_decref(inputs);
        return hn_fail_no_memory(err, 512);
    }
    HN_TRY(hn_run_stage_open(run, &stage, "bundle", inputs, false, err));
    hn_status status = HN_OK;
    if (!stage.reused)
        HN_GO(pack(run, row, &stage, err));
    HN_GO(hn_run_stage_close(run, &stage, err));
    const char *link;
    HN_GO(hn_run_link(run, run->dir, "release", "", &stage, &link, err));
    *path = hn_run_path(run, link, "bundle");
    if (!*path)
        status = hn_fail_no_memory(err, 256);
done:
    hn_stage_done(&stage);
    return status;
}
