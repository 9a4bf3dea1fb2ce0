/* The order of the stages, and the summary of what came of them. */
#include "pipeline/pipeline.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "pipeline/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void add_base_row(hn_run *run) {
    const hn_recipe *recipe = run->recipe;
    run->rows[run->n_rows++] = (hn_run_row){
        .name = "base",
        .kind = "base",
        .type = "by prompt alone",
        .model_path = recipe->base,
        .model_hash = run->base_hash,
        .path = recipe->base,
        .system = recipe->eval.prompt_only ? recipe->eval.prompt_only : recipe->data.system,
        .numerics = HN_NUMERICS_INT8};
}

/* A recipe of one teaching stage calls its model "tuned", others by the stages' names: those are
 * scored, and how fast a model is its artefacts show. */
static hn_status add_taught_row(hn_run *run, hn_teaching which, bool is_last, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    bool is_only = is_last && which == HN_TEACH_SFT;
    char *hash = hn_arena_strndup(&run->arena, run->adapter_hash, strlen(run->adapter_hash));
    char *adapter = hn_run_output(run, run->adapter_stage, "adapter");
    if (!hash || !adapter)
        return hn_fail_no_memory(err, 256);
    run->reference = run->n_rows;
    run->rows[run->n_rows++] = (hn_run_row){.name = is_only ? "tuned" : hn_teaching_name(which),
                                            .kind = "float",
                                            .type = "float",
                                            .model_path = recipe->base,
                                            .model_hash = run->base_hash,
                                            .adapter_path = adapter,
                                            .adapter_hash = hash,
                                            .system = recipe->data.system,
                                            .is_untimed = !is_only,
                                            .numerics = HN_NUMERICS_F32};
    return HN_OK;
}

static hn_teaching last_teaching(const hn_recipe *recipe) {
    int last = HN_TEACH_COUNT - 1;
    while (!hn_recipe_teaches(recipe, (hn_teaching)last))
        last--;
    return (hn_teaching)last;
}

/* Which check ended the teaching, in words. */
static hn_status note_stop(hn_run *run, const hn_run_row *before, const hn_run_row *row,
                           hn_error *err) {
    const json_t *check, *checks = json_object_get(json_object_get(row->summary, "gate"), "checks");
    hn_buf text = {0};
    size_t i;
    json_array_foreach (checks, i, check) {
        const char *slice = json_string_value(json_object_get(check, "slice"));
        const char *verdict = json_string_value(json_object_get(check, "verdict"));
        if (strcmp(verdict, hn_verdict_name(HN_VERDICT_FAIL)))
            continue;
        const json_t *from = slice ? check : before->summary, *to = slice ? check : row->summary;
        hn_buf_printf(&text, "%safter %s the golden score %s%s%sis %.3f, after %s it was %.3f",
                      text.size ? "; " : "", row->name, slice ? "of slice " : "",
                      slice ? slice : "", slice ? " " : "",
                      json_number_value(json_object_get(to, slice ? "after" : "score")),
                      slice ? json_string_value(json_object_get(check, "against")) : before->name,
                      json_number_value(json_object_get(from, slice ? "before" : "score")));
        hn_buf_printf(&text, ": more than gate.%s (%.3g) is lost",
                      slice ? "max_slice_drop" : "max_stage_drop",
                      json_number_value(json_object_get(check, "threshold")));
    }
    hn_buf_puts(&text, ", so nothing further is taught, made or packed");
    hn_status status = hn_buf_check(&text, err);
    if (status == HN_OK) {
        hn_progress_note(run->progress, "%s", hn_buf_text(&text));
        run->stopped = hn_arena_strndup(&run->arena, hn_buf_text(&text), text.size);
        status = run->stopped ? HN_OK : hn_fail_no_memory(err, text.size);
    }
    hn_buf_done(&text);
    return status;
}

/* Each stage is scored, and gated by the one before it, before the next begins. */
static hn_status teach(hn_run *run, hn_error *err) {
    hn_teaching last = last_teaching(run->recipe);
    for (int t = 0; t <= (int)last && !run->stopped; t++) {
        if (!hn_recipe_teaches(run->recipe, (hn_teaching)t))
            continue;
        HN_TRY(hn_run_teach(run, (hn_teaching)t, err));
        HN_TRY(add_taught_row(run, (hn_teaching)t, t == (int)last, err));
        hn_run_row *row = &run->rows[run->reference];
        HN_TRY(hn_run_measure(run, row, err));
        if (run->reference == HN_RUN_FIRST_TAUGHT)
            continue;
        HN_TRY(hn_run_gate(run, row, err));
        if (row->verdict == HN_VERDICT_FAIL)
            HN_TRY(note_stop(run, row - 1, row, err));
    }
    return HN_OK;
}

/* A base's size is its file's; an adapter beside it counts both. */
static hn_status add_base_sizes(hn_run *run, hn_error *err) {
    hn_map map;
    if (hn_path_is_dir(run->recipe->base))
        return HN_OK;
    HN_TRY(hn_map_open(&map, run->recipe->base, err));
    for (int i = 0; i < run->n_rows; i++)
        if (!strcmp(run->rows[i].kind, "base") || !strcmp(run->rows[i].kind, "adapter"))
            run->rows[i].size_bytes += map.size;
    hn_map_close(&map);
    return HN_OK;
}

static hn_status run_stages(hn_run *run, const char **bundle, hn_error *err) {
    const hn_recipe *recipe = run->recipe;
    if (recipe->generate.wanted)
        HN_TRY(hn_run_generate(run, err));
    HN_TRY(hn_run_data(run, err));
    add_base_row(run);
    /* What is taught is scored at once: the base lies open in f32 from training. */
    HN_TRY(teach(run, err));
    int first = run->n_rows;
    for (int i = 0; i < recipe->n_artefacts && !run->stopped; i++)
        HN_TRY(hn_run_artefact(run, i, err));
    HN_TRY(add_base_sizes(run, err));
    HN_TRY(hn_run_measure(run, &run->rows[0], err));
    for (int i = first; i < run->n_rows; i++) {
        HN_TRY(hn_run_measure(run, &run->rows[i], err));
        HN_TRY(hn_run_gate(run, &run->rows[i], err));
    }
    for (int i = first; i < run->n_rows && recipe->bundle.wanted; i++)
        if (!strcmp(run->rows[i].name, recipe->bundle.artefact))
            HN_TRY(hn_run_bundle(run, &run->rows[i], bundle, err));
    return HN_OK;
}

static hn_verdict worse(hn_verdict a, hn_verdict b) {
    if (a == HN_VERDICT_FAIL || b == HN_VERDICT_FAIL)
        return HN_VERDICT_FAIL;
    return a == HN_VERDICT_PASS ? b : a;
}

static void decide(const hn_run *run, hn_pipeline_result *result) {
    for (int i = 0; i < run->n_rows; i++) {
        const hn_run_row *row = &run->rows[i];
        bool is_other = row->is_artefact && run->recipe->bundle.wanted &&
                        strcmp(row->name, run->recipe->bundle.artefact);
        if (!row->is_gated || is_other)
            continue;
        result->verdict = result->has_verdict ? worse(result->verdict, row->verdict) : row->verdict;
        result->has_verdict = true;
    }
}

/* {stage: what its training left in train.json, "golden_is_old": its golden scores are of other
 * rows or settings than the run's}. */
static hn_status read_trainings(hn_run *run, json_t **out, hn_error *err) {
    enum { MOST_BYTES = 1 << 20 };
    char key[65];
    json_t *all = json_object();
    hn_status status = hn_run_eval_key(run, key, err);
    for (int t = 0; t < HN_TEACH_COUNT && status == HN_OK; t++) {
        json_t *one = NULL;
        if (!run->taught[t].outputs)
            continue;
        char *path = hn_run_output(run, &run->taught[t], "train.json");
        status = path ? hn_json_read(path, MOST_BYTES, &one, err) : hn_fail_no_memory(err, 256);
        if (status != HN_OK)
            break;
        const char *own = json_string_value(json_object_get(one, "golden_key"));
        if (own)
            json_object_set_new(one, "golden_is_old", json_boolean(strcmp(own, key)));
        if (json_object_set_new(all, hn_teaching_name((hn_teaching)t), one))
            status = hn_fail_no_memory(err, 256);
    }
    if (status == HN_OK)
        *out = all;
    else
        json_decref(all);
    return status;
}

static hn_status summarise(hn_run *run, const char *bundle, hn_pipeline_result *result,
                           hn_error *err) {
    json_t *trainings;
    const char *report = hn_run_path(run, run->dir, "report.html");
    HN_TRY(read_trainings(run, &trainings, err));
    json_t *rows = json_array();
    decide(run, result);
    for (int i = 0; i < run->n_rows; i++)
        json_array_append(rows, run->rows[i].summary);
    result->summary = json_pack(
        "{s:s, s:s, s:s, s:s, s:s*, s:s*, s:s*, s:o, s:o, s:O}", "name", run->recipe->name,
        "version", run->recipe->version, "run_dir", run->dir, "report", report, "verdict",
        result->has_verdict ? hn_verdict_name(result->verdict) : NULL, "bundle", bundle, "stopped",
        run->stopped, "rows", rows, "trainings", trainings, "stages", run->stages);
    return result->summary ? HN_OK : hn_fail_no_memory(err, 1024);
}

hn_status hn_pipeline_run(const hn_recipe *recipe, const hn_pipeline_options *options,
                          const hn_progress *progress, hn_pipeline_result *result, hn_error *err) {
    hn_run run;
    hn_pipeline_result out = {0};
    const char *bundle = NULL;
    time_t started = time(NULL);
    HN_TRY(hn_run_open(&run, recipe, options, progress, err));
    hn_status status;
    HN_GO(run_stages(&run, &bundle, err));
    HN_GO(summarise(&run, bundle, &out, err));
    HN_GO(hn_run_write_files(&run, out.summary, started, err));
    if (options->prune)
        HN_GO(hn_run_prune(&run, err));
    *result = out;
    out.summary = NULL;
done:
    json_decref(out.summary);
    hn_run_close(&run);
    return status;
}

void hn_pipeline_result_done(hn_pipeline_result *result) {
    json_decref(result->summary);
    *result = (hn_pipeline_result){0};
}
