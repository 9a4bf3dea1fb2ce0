/* What a run leaves for people: run.json, the metrics of each training, report.html. */
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "formats/jsonl.h"
#include "pipeline/run.h"

#include <time.h>

enum { MAX_METRICS_BYTES = 1 << 30 };

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
    static const char *const FILES[] = {"metrics.jsonl", "metrics-kd.jsonl", "metrics-rkd.jsonl",
                                        "metrics-dpo.jsonl"};
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

hn_status hn_run_write_files(hn_run *run, const json_t *summary, time_t started, hn_error *err) {
    json_t *metrics = NULL;
    hn_status status;
    HN_GO(read_all_metrics(run, &metrics, err));
    HN_GO(write_run_json(run, summary, started, err));
    HN_GO(write_report(run, summary, metrics, err));
done:
    json_decref(metrics);
    return status;
}
