/* The order of the stages, and what a run leaves for people: run.json, metrics.jsonl, report.html.
 */
#include "pipeline/pipeline.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "formats/jsonl.h"
#include "pipeline/run.h"

#include <string.h>
#include <time.h>

enum { MAX_METRICS_BYTES = 1 << 30 };

static void add_base_rows(hn_run *run, const char *adapter_path) {
    const hn_recipe *recipe = run->recipe;
    run->rows[0] = (hn_run_row){.name = "base",
                                .kind = "base",
                                .type = "by prompt alone",
                                .model_path = recipe->base,
                                .model_hash = run->base_hash,
                                .path = recipe->base,
                                .system = recipe->eval.prompt_only ? recipe->eval.prompt_only
                                                                   : recipe->data.system,
                                .numerics = HN_NUMERICS_INT8};
    run->rows[1] = (hn_run_row){.name = "tuned",
                                .kind = "float",
                                .type = "float",
                                .model_path = recipe->base,
                                .model_hash = run->base_hash,
                                .adapter_path = adapter_path,
                                .adapter_hash = run->adapter_hash,
                                .system = recipe->data.system,
                                .numerics = HN_NUMERICS_F32};
    run->n_rows = HN_RUN_EXTRA_ROWS;
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
    HN_TRY(hn_run_sft(run, err));
    const char *adapter = hn_run_output(run, &run->sft, "adapter");
    if (!adapter)
        return hn_fail_no_memory(err, 256);
    add_base_rows(run, adapter);
    for (int i = 0; i < recipe->n_artefacts; i++)
        HN_TRY(hn_run_artefact(run, i, err));
    HN_TRY(add_base_sizes(run, err));
    /* The float model first: the base lies open in f32 from training. */
    HN_TRY(hn_run_measure(run, &run->rows[1], err));
    HN_TRY(hn_run_measure(run, &run->rows[0], err));
    for (int i = HN_RUN_EXTRA_ROWS; i < run->n_rows; i++) {
        HN_TRY(hn_run_measure(run, &run->rows[i], err));
        HN_TRY(hn_run_gate(run, &run->rows[i], err));
    }
    for (int i = HN_RUN_EXTRA_ROWS; i < run->n_rows && recipe->bundle.wanted; i++)
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
    for (int i = HN_RUN_EXTRA_ROWS; i < run->n_rows; i++) {
        const hn_run_row *row = &run->rows[i];
        if (run->recipe->bundle.wanted && strcmp(row->name, run->recipe->bundle.artefact))
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
        json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s*, s:o, s:O}", "name", run->recipe->name,
                  "version", run->recipe->version, "run_dir", run->dir, "report", report, "verdict",
                  result->has_verdict ? hn_verdict_name(result->verdict) : NULL, "bundle", bundle,
                  "rows", rows, "stages", run->stages);
    return result->summary ? HN_OK : hn_fail_no_memory(err, 1024);
}

/* The lines of the training's metrics, also copied to the run's folder. */
static hn_status read_metrics(hn_run *run, json_t **out, hn_error *err) {
    char *from = hn_run_output(run, &run->sft, "metrics.jsonl");
    char *to = hn_run_path(run, run->dir, "metrics.jsonl"), *text = NULL;
    size_t size;
    hn_jsonl lines = {0};
    json_t *rows = json_array(), *row = NULL;
    hn_status status = HN_OK;
    if (!from || !to || !rows) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    if (hn_path_exists(from)) {
        HN_GO(hn_file_read(from, MAX_METRICS_BYTES, &text, &size, err));
        HN_GO(hn_file_write(to, text, size, err));
        HN_GO(hn_jsonl_open(&lines, from, err));
        do {
            HN_GO(hn_jsonl_next(&lines, &row, err));
            if (row && json_array_append_new(rows, row))
                status = hn_fail_no_memory(err, 64);
        } while (row && status == HN_OK);
    }
    if (status == HN_OK) {
        *out = rows;
        rows = NULL;
    }
done:
    hn_jsonl_close(&lines);
    hn_free(text);
    json_decref(rows);
    return status;
}

static void print_time(time_t when, char out[32]) {
    struct tm utc;
    gmtime_r(&when, &utc);
    strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static hn_status write_run_json(hn_run *run, const json_t *summary, time_t started, hn_error *err) {
    char from[32], to[32];
    print_time(started, from);
    print_time(time(NULL), to);
    char *path = hn_run_path(run, run->dir, "run.json");
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:{s:s, s:s}, s:{s:s, s:s}, s:{s:I, s:I}, s:O}",
        "hone", HN_VERSION, "started", from, "finished", to, "recipe_sha256", run->recipe->sha256,
        "cpu", hn_cpu_name(), "isa", run->isa_name, "threads", run->n_threads, "base", "path",
        run->recipe->base, "sha256", run->base_hash, "hashes", "adapter", run->adapter_hash,
        "golden", run->golden_hash, "seeds", "data", (json_int_t)run->recipe->data.seed, "sft",
        (json_int_t)run->recipe->sft.seed, "summary", summary);
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
    HN_GO(read_metrics(run, &metrics, err));
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
