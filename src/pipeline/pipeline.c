/* The order of the stages, and what a run leaves for people: run.json, metrics.jsonl, report.html.
 */
#include "pipeline/pipeline.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "formats/jsonl.h"
#include "pipeline/run.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { MAX_METRICS_BYTES = 1 << 30 };

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

static hn_status note_stop(hn_run *run, const hn_run_row *before, const hn_run_row *row,
                           hn_error *err) {
    char text[256];
    snprintf(text, sizeof text,
             "after %s the golden score is %.3f, after %s it was %.3f: more than "
             "gate.max_stage_drop (%.3g) is lost, so nothing further is taught, made or packed",
             row->name, json_number_value(json_object_get(row->summary, "score")), before->name,
             json_number_value(json_object_get(before->summary, "score")),
             run->recipe->gate.max_stage_drop);
    hn_progress_note(run->progress, "%s", text);
    run->stopped = hn_arena_strndup(&run->arena, text, strlen(text));
    return run->stopped ? HN_OK : hn_fail_no_memory(err, sizeof text);
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
        if (run->reference == 1)
            continue;
        HN_TRY(hn_run_stage_gate(run, row - 1, row, err));
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

static hn_status summarise(hn_run *run, const char *bundle, hn_pipeline_result *result,
                           hn_error *err) {
    json_t *rows = json_array();
    const char *report = hn_run_path(run, run->dir, "report.html");
    decide(run, result);
    for (int i = 0; i < run->n_rows; i++)
        json_array_append(rows, run->rows[i].summary);
    result->summary =
        json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s*, s:s*, s:o, s:O}", "name", run->recipe->name,
                  "version", run->recipe->version, "run_dir", run->dir, "report", report, "verdict",
                  result->has_verdict ? hn_verdict_name(result->verdict) : NULL, "bundle", bundle,
                  "stopped", run->stopped, "rows", rows, "stages", run->stages);
    return result->summary ? HN_OK : hn_fail_no_memory(err, 1024);
}

/* The lines of one training's metrics, also copied to the run's folder as `name`. */
static hn_status read_metrics(hn_run *run, const hn_stage *stage, const char *name, json_t *rows,
                              hn_error *err) {
    char *from = hn_run_output(run, stage, "metrics.jsonl");
    char *to = hn_run_path(run, run->dir, name), *text = NULL;
    size_t size;
    hn_jsonl lines = {0};
    json_t *row = NULL;
    hn_status status = HN_OK;
    if (!from || !to || !rows)
        return hn_fail_no_memory(err, 256);
    if (!hn_path_exists(from))
        return HN_OK;
    HN_GO(hn_file_read(from, MAX_METRICS_BYTES, &text, &size, err));
    HN_GO(hn_file_write(to, text, size, err));
    HN_GO(hn_jsonl_open(&lines, from, err));
    do {
        HN_GO(hn_jsonl_next(&lines, &row, err));
        if (row && json_array_append_new(rows, row))
            status = hn_fail_no_memory(err, 64);
    } while (row && status == HN_OK);
done:
    hn_jsonl_close(&lines);
    hn_free(text);
    return status;
}

/* {stage: [line]} of every stage that was taught. */
static hn_status read_all_metrics(hn_run *run, json_t **out, hn_error *err) {
    static const char *const FILES[] = {"metrics.jsonl", "metrics-rkd.jsonl", "metrics-dpo.jsonl"};
    json_t *all = json_object();
    hn_status status = HN_OK;
    for (int t = 0; t < HN_TEACH_COUNT && status == HN_OK; t++) {
        json_t *rows;
        if (!run->taught[t].outputs)
            continue;
        rows = json_array();
        status = read_metrics(run, &run->taught[t], FILES[t], rows, err);
        if (json_object_set_new(all, hn_teaching_name((hn_teaching)t), rows) && status == HN_OK)
            status = hn_fail_no_memory(err, 64);
    }
    if (status == HN_OK)
        *out = all;
    else
        json_decref(all);
    return status;
}

static void print_time(time_t when, char out[32]) {
    struct tm utc;
    gmtime_r(&when, &utc);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static json_t *seeds_of(const hn_recipe *recipe) {
    json_t *seeds = json_pack("{s:I}", "data", (json_int_t)recipe->data.seed);
    for (int t = 0; t < HN_TEACH_COUNT; t++)
        if (hn_recipe_teaches(recipe, (hn_teaching)t))
            json_object_set_new(
                seeds, hn_teaching_name((hn_teaching)t),
                json_integer((json_int_t)hn_recipe_training_of(recipe, (hn_teaching)t)->seed));
    return seeds;
}

static hn_status write_run_json(hn_run *run, const json_t *summary, time_t started, hn_error *err) {
    char from[32], to[32];
    print_time(started, from);
    print_time(time(NULL), to);
    char *path = hn_run_path(run, run->dir, "run.json");
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:{s:s, s:s}, s:{s:s, s:s}, s:o, s:O}", "hone",
        HN_VERSION, "started", from, "finished", to, "recipe_sha256", run->recipe->sha256, "cpu",
        hn_cpu_name(), "isa", run->isa_name, "threads", run->n_threads, "base", "path",
        run->recipe->base, "sha256", run->base_hash, "hashes", "adapter", run->adapter_hash,
        "golden", run->golden_hash, "seeds", seeds_of(run->recipe), "summary", summary);
    hn_status status =
        path && object ? hn_json_write(path, object, err) : hn_fail_no_memory(err, 1024);
    json_decref(object);
    return status;
}

static hn_status write_report(hn_run *run, const json_t *summary, const json_t *metrics,
                              hn_error *err) {
    hn_buf html = {0};
    char *path = hn_run_path(run, run->dir, "report.html");
    hn_status status = path ? HN_OK : hn_fail_no_memory(err, 256);
    if (status == HN_OK)
        status = hn_pipeline_report(summary, metrics, &html, err);
    if (status == HN_OK)
        status = hn_file_write(path, hn_buf_text(&html), html.size, err);
    hn_buf_done(&html);
    return status;
}

static hn_status write_files(hn_run *run, const json_t *summary, time_t started, hn_error *err) {
    json_t *metrics = NULL;
    hn_status status;
    HN_GO(read_all_metrics(run, &metrics, err));
    HN_GO(write_run_json(run, summary, started, err));
    HN_GO(write_report(run, summary, metrics, err));
done:
    json_decref(metrics);
    return status;
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
    HN_GO(write_files(&run, out.summary, started, err));
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
