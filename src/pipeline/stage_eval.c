/* Stages "eval", "kl" and "bench": what is known about one row of the table. Scores hold no times,
 * so that equal runs write equal bytes; latencies lie beside them. */
#include "pipeline/run.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "eval/benchmark.h"
#include "model/dora.h"
#include "model/perplexity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REVISION = 1,
    EVAL_REVISION = 2, /* of "eval" alone */
    KL_CONTEXT = 256,
    KL_MIN_TOKENS = 32, /* below this a divergence is noise */
    KL_MAX_TEXT = 64 << 20,
    NOTE_BYTES = 1 << 20,
    BENCH_PROMPT = 512,
    BENCH_GEN = 64,
    BENCH_REPETITIONS = 2,
};

/* Adds what identifies the row's model; takes `inputs`. */
static hn_status model_inputs(const hn_run *run, const hn_run_row *row, json_t *inputs, json_t *own,
                              json_t **out, hn_error *err) {
    json_t *model =
        json_pack("{s:s, s:s*, s:i, s:s}", "model", row->model_hash, "adapter", row->adapter_hash,
                  "numerics", (int)row->numerics, "isa", run->isa_name);
    bool failed = !inputs || !own || !model || json_object_update(inputs, own) ||
                  json_object_update(inputs, model);
    json_decref(own);
    json_decref(model);
    if (failed) {
        json_decref(inputs);
        return hn_fail_no_memory(err, 512);
    }
    *out = inputs;
    return HN_OK;
}

static hn_status open_row(hn_run *run, const hn_run_row *row, hn_model **model,
                          hn_adapter **adapter, hn_error *err) {
    HN_TRY(hn_run_model_open(run, row->model_path, row->numerics, model, err));
    if (row->adapter_path)
        HN_TRY(hn_adapter_load(adapter, row->adapter_path, *model, err));
    return HN_OK;
}

static hn_status evaluate(hn_run *run, const hn_run_row *row, const hn_stage *stage,
                          hn_error *err) {
    hn_constraint_pool *pool = NULL;
    hn_pooled_constraint pooled = {0};
    hn_model *model;
    hn_adapter *adapter = NULL;
    hn_golden golden = {0};
    hn_scores scores = {0};
    char *golden_path = hn_stage_path(&run->data, "golden.jsonl");
    char *samples = hn_stage_path(stage, "samples.jsonl");
    char *timing = hn_stage_path(stage, "timing.jsonl");
    hn_status status;
    if (!golden_path || !samples || !timing) {
        status = hn_fail_no_memory(err, 256);
        goto done;
    }
    HN_GO(open_row(run, row, &model, &adapter, err));
    HN_GO(hn_golden_read(&golden, golden_path, err));
    HN_GO(hn_run_constraint_open(run, model, &pool, &pooled, err));
    hn_eval_options options = hn_run_eval_options(run, row->system, pooled.constraint);
    options.path_out = samples;
    options.path_timing = timing;
    options.latency_rows = row->is_untimed ? -1 : 0;
    options.label = row->name;
    HN_GO(hn_eval_run(model, adapter, &golden, &options, run->progress, &scores, err));
done:
    hn_scores_done(&scores);
    hn_constraint_pool_give(pool, &pooled);
    hn_constraint_pool_free(pool);
    hn_golden_done(&golden);
    hn_adapter_free(adapter);
    hn_free(golden_path);
    hn_free(samples);
    hn_free(timing);
    return status;
}

static hn_status run_eval(hn_run *run, hn_run_row *row, hn_error *err) {
    char name[HN_STAGE_NAME_MAX];
    json_t *inputs = hn_run_inputs("eval", EVAL_REVISION);
    json_t *own;
    hn_status status = hn_run_eval_inputs(run, row->system, &own, err);
    if (status == HN_OK && row->is_untimed && json_object_set_new(own, "timed", json_false())) {
        json_decref(own);
        status = hn_fail_no_memory(err, 64);
    }
    if (status != HN_OK) {
        json_decref(inputs);
        return status;
    }
    HN_TRY(model_inputs(run, row, inputs, own, &inputs, err));
    snprintf(name, sizeof name, "eval-%s", row->name);
    HN_TRY(hn_run_stage_open(run, &row->eval, name, inputs, false, err));
    if (!row->eval.reused)
        HN_TRY(evaluate(run, row, &row->eval, err));
    return hn_run_stage_close(run, &row->eval, err);
}

/* The golden questions and what is wanted of them: the text that the job is about. */
static hn_status golden_text(const hn_run *run, hn_buf *out, hn_error *err) {
    char *path = hn_stage_path(&run->data, "golden.jsonl");
    hn_golden golden = {0};
    if (!path)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_golden_read(&golden, path, err);
    hn_free(path);
    HN_TRY(status);
    for (size_t i = 0; i < golden.n; i++) {
        size_t k;
        const json_t *turn;
        json_array_foreach (golden.items[i].messages, k, turn) {
            hn_buf_puts(out, json_string_value(json_object_get(turn, "content")));
            hn_buf_putc(out, '\n');
        }
    }
    hn_golden_done(&golden);
    return hn_buf_check(out, err);
}

static hn_status kl_text(const hn_run *run, hn_buf *out, hn_error *err) {
    const char *path = run->recipe->eval.kl_text;
    if (!path)
        return golden_text(run, out, err);
    char *text;
    size_t size;
    HN_TRY(hn_file_read(path, KL_MAX_TEXT, &text, &size, err));
    hn_buf_append(out, text, size);
    hn_free(text);
    return hn_buf_check(out, err);
}

static hn_status divergence(hn_run *run, const hn_run_row *row, const hn_stage *stage,
                            hn_error *err) {
    hn_model *model, *reference;
    hn_adapter *adapter = NULL, *reference_adapter = NULL;
    hn_perplexity result = {0};
    hn_buf text = {0};
    hn_ids ids = {0};
    char *taught = hn_stage_path(run->adapter_stage, "adapter");
    hn_status status;
    if (!taught)
        return hn_fail_no_memory(err, 256);
    HN_GO(kl_text(run, &text, err));
    HN_GO(hn_run_model_open(run, run->recipe->base, HN_NUMERICS_F32, &reference, err));
    HN_GO(hn_adapter_load(&reference_adapter, taught, reference, err));
    HN_GO(open_row(run, row, &model, &adapter, err));
    HN_GO(hn_encode(model->ckpt.tokenizer, hn_buf_text(&text), text.size, 0, &ids, err));
    int n_ctx = ids.size < KL_CONTEXT ? (int)ids.size : KL_CONTEXT;
    n_ctx = n_ctx < model->arch.n_ctx_train ? n_ctx : model->arch.n_ctx_train;
    if (n_ctx < KL_MIN_TOKENS) {
        HN_GO(hn_stage_write_json(stage, "kl.json", json_object(), err));
        goto done;
    }
    const hn_perplexity_job job = {.model = model,
                                   .adapter = adapter,
                                   .reference = reference,
                                   .reference_adapter = reference_adapter,
                                   .text = hn_buf_text(&text),
                                   .n_bytes = text.size,
                                   .n_ctx = n_ctx,
                                   .n_chunks = (int)run->recipe->eval.kl_chunks};
    HN_GO(hn_perplexity_run(&job, run->progress, &result, err));
    HN_GO(hn_stage_write_json(stage, "kl.json",
                              json_pack("{s:f, s:f, s:f, s:f, s:I}", "mean_kl", result.mean_kl,
                                        "kl_standard_error", result.kl_standard_error,
                                        "top_token_agreement", result.top_token_agreement, "ppl",
                                        result.ppl, "n_scored", (json_int_t)result.n_scored),
                              err));
done:
    hn_ids_done(&ids);
    hn_buf_done(&text);
    hn_adapter_free(adapter);
    hn_adapter_free(reference_adapter);
    hn_free(taught);
    return status;
}

static hn_status read_object(const hn_stage *stage, const char *name, json_t **out, hn_error *err) {
    char *path = hn_stage_path(stage, name);
    if (!path)
        return hn_fail_no_memory(err, 256);
    hn_status status = hn_json_read(path, NOTE_BYTES, out, err);
    hn_free(path);
    return status;
}

static hn_status run_kl(hn_run *run, hn_run_row *row, hn_error *err) {
    char name[HN_STAGE_NAME_MAX], text_hash[65];
    hn_stage stage;
    json_t *inputs = NULL, *kl = NULL;
    const hn_recipe *recipe = run->recipe;
    if (recipe->eval.kl_text)
        HN_TRY(hn_sha256_file(recipe->eval.kl_text, text_hash, err));
    else
        memcpy(text_hash, run->golden_hash, sizeof text_hash);
    json_t *own =
        json_pack("{s:s, s:s, s:s, s:I}", "float", run->base_hash, "taught", run->adapter_hash,
                  "text", text_hash, "chunks", (json_int_t)recipe->eval.kl_chunks);
    HN_TRY(model_inputs(run, row, hn_run_inputs("kl", REVISION), own, &inputs, err));
    snprintf(name, sizeof name, "kl-%s", row->name);
    HN_TRY(hn_run_stage_open(run, &stage, name, inputs, false, err));
    hn_status status = HN_OK;
    if (!stage.reused)
        HN_GO(divergence(run, row, &stage, err));
    HN_GO(hn_run_stage_close(run, &stage, err));
    HN_GO(read_object(&stage, "kl.json", &kl, err));
    const json_t *mean = json_object_get(kl, "mean_kl");
    if (mean && (json_object_set(row->summary, "kl", (json_t *)(uintptr_t)mean) ||
                 json_object_set(row->summary, "kl_standard_error",
                                 json_object_get(kl, "kl_standard_error"))))
        status = hn_fail_no_memory(err, 128);
done:
    json_decref(kl);
    hn_stage_done(&stage);
    return status;
}

static hn_status bench(hn_run *run, const hn_run_row *row, const hn_stage *stage, hn_error *err) {
    hn_model *model;
    hn_adapter *adapter = NULL;
    hn_bench_result result = {0};
    hn_status status;
    HN_GO(open_row(run, row, &model, &adapter, err));
    int n_ctx = model->arch.n_ctx_train;
    hn_bench_options options = {.n_prompt = n_ctx < BENCH_PROMPT ? n_ctx : BENCH_PROMPT,
                                .n_gen = n_ctx < BENCH_GEN ? n_ctx : BENCH_GEN,
                                .repetitions = BENCH_REPETITIONS};
    HN_GO(hn_bench_run(model, adapter, &options, run->progress, &result, err));
    HN_GO(hn_stage_write_json(stage, "bench.json",
                              json_pack("{s:f, s:f, s:O}", "prefill_tps", result.prefill_ts,
                                        "decode_tps", result.decode_ts, "tests", result.tests),
                              err));
done:
    json_decref(result.tests);
    hn_adapter_free(adapter);
    return status;
}

static hn_status run_bench(hn_run *run, hn_run_row *row, hn_error *err) {
    char name[HN_STAGE_NAME_MAX];
    hn_stage stage;
    json_t *inputs = NULL, *speed = NULL;
    json_t *own = json_pack("{s:i, s:s}", "threads", run->n_threads, "cpu", hn_cpu_name());
    HN_TRY(model_inputs(run, row, hn_run_inputs("bench", REVISION), own, &inputs, err));
    snprintf(name, sizeof name, "bench-%s", row->name);
    HN_TRY(hn_run_stage_open(run, &stage, name, inputs, false, err));
    hn_status status = HN_OK;
    if (!stage.reused)
        HN_GO(bench(run, row, &stage, err));
    HN_GO(hn_run_stage_close(run, &stage, err));
    HN_GO(read_object(&stage, "bench.json", &speed, err));
    if (json_object_set(row->summary, "prefill_tps", json_object_get(speed, "prefill_tps")) ||
        json_object_set(row->summary, "decode_tps", json_object_get(speed, "decode_tps")))
        status = hn_fail_no_memory(err, 128);
done:
    json_decref(speed);
    hn_stage_done(&stage);
    return status;
}

/* name, kind, size and, unless it was refused, the scores. */
static hn_status begin_summary(hn_run_row *row, hn_error *err) {
    row->summary = json_pack("{s:s, s:s, s:s*, s:s*, s:s*, s:I}", "name", row->name, "kind",
                             row->kind, "type", row->type, "path", row->path, "refused",
                             row->refused, "size_bytes", (json_int_t)row->size_bytes);
    return row->summary ? HN_OK : hn_fail_no_memory(err, 256);
}

static hn_status add_scores(hn_run_row *row, hn_error *err) {
    char *samples = hn_stage_path(&row->eval, "samples.jsonl");
    char *timing = hn_stage_path(&row->eval, "timing.jsonl");
    hn_scores scores = {0};
    hn_status status = HN_OK;
    if (!samples || !timing)
        status = hn_fail_no_memory(err, 256);
    else
        status = hn_scores_read(&scores, samples, timing, NULL, err);
    if (status == HN_OK) {
        const json_t *latency = json_object_get(scores.results, "latency_ms");
        const json_t *first = json_object_get(scores.results, "first_token_ms");
        json_object_set(row->summary, "score", json_object_get(scores.results, "mean"));
        json_object_set(row->summary, "p50_ms", json_object_get(latency, "p50"));
        json_object_set(row->summary, "p95_ms", json_object_get(latency, "p95"));
        json_object_set(row->summary, "first_token_p95_ms", json_object_get(first, "p95"));
        for (const char *const *key = (const char *const[]){"n", "ci", "slices", NULL}; *key; key++)
            json_object_set(row->summary, *key, json_object_get(scores.results, *key));
        if (!json_object_get(row->summary, "slices"))
            status = hn_fail_no_memory(err, 512);
    }
    hn_scores_done(&scores);
    hn_free(samples);
    hn_free(timing);
    return status;
}

hn_status hn_run_measure(hn_run *run, hn_run_row *row, hn_error *err) {
    HN_TRY(begin_summary(row, err));
    if (row->refused) {
        hn_progress_note(run->progress, "%s: refused: %s", row->name, row->refused);
        return HN_OK;
    }
    HN_TRY(run_eval(run, row, err));
    HN_TRY(add_scores(row, err));
    if (run->recipe->eval.kl_chunks > 0 && row->is_artefact)
        HN_TRY(run_kl(run, row, err));
    if (run->recipe->eval.bench && !row->is_untimed)
        HN_TRY(run_bench(run, row, err));
    return HN_OK;
}
