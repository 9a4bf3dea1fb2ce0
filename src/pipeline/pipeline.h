/* `hone run`: a recipe's stages generate, data, sft, kd, rkd, dpo, merge, quantize, eval, gate and
 * bundle, each keyed by the hash of what goes in (DESIGN.md item 8): a finished one is reused, an
 * interrupted one resumes. */
#pragma once

#include "base/buf.h"
#include "base/progress.h"
#include "pipeline/recipe.h"
#include "release/gate.h"

#include <jansson.h>

typedef struct hn_pipeline_options {
    const char *out_dir; /* run folder; NULL = runs/<recipe's name> below the working folder */
    int n_threads;       /* 0 = hn_cpu_default_threads() */
    const char *isa;     /* NULL = HONE_ISA or the best */
    bool prune;          /* at the end, remove what earlier runs left and this one didn't use */
} hn_pipeline_options;

typedef struct hn_pipeline_result {
    /* {name, run_dir, report, verdict, bundle, rows: [{name, kind, path, size_bytes, n, score, ci,
     * slices: {name: {n, mean, ci}}, kl, flips, answers_changed, prefill_tps, decode_tps, p50_ms,
     * p95_ms, gate: {verdict, checks}, refused}], trainings: {stage: {steps, best_step, seconds,
     * eval_seconds, golden_seconds, ...}}, stages: [{name, key, reused, seconds}], stopped}.
     * Rows: the base by prompt alone, the model in float after each teaching stage ("tuned" where
     * there is but one), then the recipe's artefacts. What doesn't apply to a row is left out;
     * `stopped` says why a stage's gate ended the teaching. */
    json_t *summary;
    /* The worst of the gates between the stages and that of the bundle's artefact; without a bundle
     * of all artefacts. */
    hn_verdict verdict;
    bool has_verdict; /* false when nothing was gated: one stage, no artefact */
} hn_pipeline_result;

/* Ctrl-C (progress->cancel) returns HN_CANCELLED and leaves something to resume. */
HN_MUST_CHECK hn_status hn_pipeline_run(const hn_recipe *recipe, const hn_pipeline_options *options,
                                        const hn_progress *progress, hn_pipeline_result *result,
                                        hn_error *err);
void hn_pipeline_result_done(hn_pipeline_result *result);

/* The table for a person: one artefact a line, then slices. `width` in columns. */
HN_MUST_CHECK hn_status hn_pipeline_table(const json_t *summary, int width, hn_buf *out,
                                          hn_error *err);
/* report.html: self-contained, from the summary and {stage: [lines of metrics.jsonl]}. */
HN_MUST_CHECK hn_status hn_pipeline_report(const json_t *summary, const json_t *metrics,
                                           hn_buf *out, hn_error *err);
