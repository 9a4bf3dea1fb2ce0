/* A run in progress: what its stages share. Internal to pipeline/. */
#pragma once

#include "eval/golden.h"
#include "model/constraint_pool.h"
#include "model/model.h"
#include "pipeline/pipeline.h"
#include "pipeline/stage.h"
#include "release/numerics.h"

#include <time.h>

/* The base, a row a teaching stage, the artefacts. */
enum { HN_RUN_FIRST_TAUGHT = 1, HN_RUN_MAX_ROWS = 1 + HN_TEACH_COUNT + HN_RECIPE_MAX_ARTEFACTS };

/* One line of the table: a model as it would be used. Strings are owned by the run's arena. */
typedef struct hn_run_row {
    const char *name, *kind; /* kind: base, float, adapter, merged, huggingface */
    const char *type;        /* of the weights, for people */
    const char *model_path;
    const char *adapter_path; /* NULL = none */
    const char *model_hash, *adapter_hash;
    const char *system;
    const char *path; /* where a person finds it */
    hn_numerics numerics;
    uint64_t size_bytes;
    bool is_artefact; /* of the recipe: measured, gated */
    bool is_untimed;  /* scores alone: another row is as fast */
    bool is_gated;    /* `verdict` holds */
    char *refused;    /* why there is none, e.g. the adapter was lost; NULL = it is there */
    hn_stage eval;    /* samples.jsonl, timing.jsonl */
    json_t *summary;  /* the row of hn_pipeline_result.summary; owned */
    hn_verdict verdict;
} hn_run_row;

typedef struct hn_run {
    const hn_recipe *recipe;
    const hn_progress *progress;
    hn_arena arena;
    char *dir; /* run folder */
    int lock;  /* of that, see base/lock.h */
    int n_threads;
    const char *isa; /* as given, or NULL */
    const char *isa_name;
    char base_hash[65], adapter_hash[65], golden_hash[65];
    hn_stage generated, data, taught[HN_TEACH_COUNT];
    const hn_stage *adapter_stage; /* the newest of `taught`; NULL before the first */
    hn_stage artefacts[HN_RECIPE_MAX_ARTEFACTS];
    hn_run_row rows[HN_RUN_MAX_ROWS];
    int n_rows;
    int reference;       /* index of the row that artefacts are compared with: the last taught */
    const char *stopped; /* why teaching ended before its last stage; NULL = it didn't */
    json_t *stages;      /* [{name, key, reused, seconds}] */
    /* Opened when a stage has work to do: the base in f32 (training, the float reference), and
     * whatever is measured. */
    struct hn_run_model {
        hn_model *model;
        const char *path;
        hn_train_numerics numerics;
    } float_slot, other_slot;
} hn_run;

/* run.c */
HN_MUST_CHECK hn_status hn_run_open(hn_run *run, const hn_recipe *recipe,
                                    const hn_pipeline_options *options, const hn_progress *progress,
                                    hn_error *err);
void hn_run_close(hn_run *run);
/* What every stage's key holds: {stage, revision, hone}. `revision` rises when the stage's code
 * changes what it writes. NULL = no memory. */
json_t *hn_run_inputs(const char *stage, int revision);
/* Opens the stage and says so when it is reused. */
HN_MUST_CHECK hn_status hn_run_stage_open(hn_run *run, hn_stage *stage, const char *name,
                                          json_t *inputs, bool resumes, hn_error *err);
/* Publishes the stage unless it was reused, and records it for run.json. */
HN_MUST_CHECK hn_status hn_run_stage_close(hn_run *run, hn_stage *stage, hn_error *err);
/* Every setting of a section but those of `without` (words), files by what they hold; rows aren't
 * among them, they enter as the data stage wrote them. */
HN_MUST_CHECK hn_status hn_run_add_settings(const hn_recipe *recipe, const char *section,
                                            const char *without, json_t *inputs, hn_error *err);
/* A path in the run's arena; NULL = no memory. */
char *hn_run_path(hn_run *run, const char *dir, const char *name);
/* The arena's copy of an output's path of a stage. */
char *hn_run_output(hn_run *run, const hn_stage *stage, const char *name);
HN_MUST_CHECK hn_status hn_run_model_open(hn_run *run, const char *path, hn_numerics numerics,
                                          hn_model **model, hn_error *err);
/* The base, as a stage trains on it. */
HN_MUST_CHECK hn_status hn_run_base_open(hn_run *run, const hn_train_numerics *numerics,
                                         hn_model **model, hn_error *err);
/* dir/name becomes a symbolic link to the finished stage's folder, whose own name holds a hash;
 * `up` leads from `dir` to the run's folder. *path is in the arena. */
HN_MUST_CHECK hn_status hn_run_link(hn_run *run, const char *dir, const char *name, const char *up,
                                    const hn_stage *stage, const char **path, hn_error *err);
/* Sum of a file, or of all files of a folder. */
HN_MUST_CHECK hn_status hn_run_hash_path(const char *path, char hex[65], hn_error *err);

/* eval_setup.c: how golden rows are asked, by the recipe. */
/* Its grammar or schema with this model's tokens; nothing where it has neither. The pool is made.
 */
HN_MUST_CHECK hn_status hn_run_constraint_open(const hn_run *run, const hn_model *model,
                                               hn_constraint_pool **pool, hn_pooled_constraint *out,
                                               hn_error *err);
/* What is borrowed must outlive the options; the constraint may be NULL. */
hn_eval_options hn_run_eval_options(const hn_run *run, const char *system,
                                    hn_constraint *constraint);
/* What a score depends on apart from the model; a new reference. */
HN_MUST_CHECK hn_status hn_run_eval_inputs(const hn_run *run, const char *system, json_t **out,
                                           hn_error *err);
/* The sum of these, for the taught model: scores of one key can be compared. */
HN_MUST_CHECK hn_status hn_run_eval_key(const hn_run *run, char hex[65], hn_error *err);

/* The stages, in order. Each fills its part of the run. */
/* A teacher's rows, where the recipe has a generate section. */
HN_MUST_CHECK hn_status hn_run_generate(hn_run *run, hn_error *err);
/* The file of that stage with the rows for a teaching stage; NULL = it makes none. */
const char *hn_run_generated_name(const hn_recipe *recipe, hn_teaching stage);
HN_MUST_CHECK hn_status hn_run_data(hn_run *run, hn_error *err);
/* The file of the data stage that holds a teaching stage's rows. */
const char *hn_run_rows_name(hn_teaching stage, bool heldout);
/* Goes on from run->adapter_stage, and becomes it. */
HN_MUST_CHECK hn_status hn_run_teach(hn_run *run, hn_teaching which, hn_error *err);
HN_MUST_CHECK hn_status hn_run_artefact(hn_run *run, int index, hn_error *err);
/* Scores, KL, speed of one row. */
HN_MUST_CHECK hn_status hn_run_measure(hn_run *run, hn_run_row *row, hn_error *err);
/* Of an artefact: is it as good as its float original? Of a taught row: may teaching go on, or has
 * it lost too much of what the rows before it could do? */
HN_MUST_CHECK hn_status hn_run_gate(hn_run *run, hn_run_row *row, hn_error *err);
/* *path is NULL when the gate lets nothing through. */
HN_MUST_CHECK hn_status hn_run_bundle(hn_run *run, const hn_run_row *row, const char **path,
                                      hn_error *err);
/* run.json, metrics*.jsonl and report.html; `started` as time() gave it. */
HN_MUST_CHECK hn_status hn_run_write_files(hn_run *run, const json_t *summary, time_t started,
                                           hn_error *err);
/* Removes the stages' folders that this run, which is finished, didn't use. */
HN_MUST_CHECK hn_status hn_run_prune(hn_run *run, hn_error *err);
