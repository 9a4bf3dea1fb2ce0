/* What the commands that train an adapter share: their options, rows, and the report at the end. */
#pragma once

#include "cli/cli.h"
#include "cli/session.h"
#include "pipeline/golden_probe.h"
#include "train/train.h"

/* The options that every training has (a command adds its learning rate and epochs). */
extern const hn_option HN_OPTIONS_TRAIN[];

/* Fills in HN_OPTIONS_TRAIN, --learning-rate and --epochs; texts are borrowed from cli. */
HN_MUST_CHECK hn_status hn_training_options(const hn_cli *cli, hn_train_options *options,
                                            hn_error *err);
/* Opens the command's first argument as --numerics, --threads and --isa say. */
HN_MUST_CHECK hn_status hn_training_open(hn_session *session, const hn_cli *cli, hn_error *err);
/* Reads rows, as --skip-bad says, and notes what was left out. */
HN_MUST_CHECK hn_status hn_training_records(const hn_cli *cli, const char *path,
                                            hn_records *records, hn_error *err);
/* Which turns are learned; hn_training_documents reads it. */
#define HN_OPTION_SUPERVISE                                                                        \
    {                                                                                              \
        "supervise", 0, HN_OPT_CHOICE, "WHAT", "completion",                                       \
            "Learn the last assistant turn, all of them, or everything",                           \
            "completion|assistant|all", 0, 0                                                       \
    }
/* Rows as documents, as --supervise, --system and --max-length say. */
HN_MUST_CHECK hn_status hn_training_documents(const hn_cli *cli, const hn_model *model,
                                              const char *path, hn_documents *docs, hn_error *err);
/* --golden into `options`, which borrow the probe. It is done with also after a failure, and when
 * it is all zero. */
HN_MUST_CHECK hn_status hn_training_golden(const hn_cli *cli, hn_golden_probe *probe,
                                           hn_train_options *options, hn_error *err);
/* What the commands that train share: each has it as the first member of its own job. */
typedef struct hn_training {
    hn_session session; /* the model that learns */
    hn_train_options options;
    hn_golden_probe golden;
} hn_training;

/* prepare opens the session and fills in the options; learn trains. Both get the command's job. */
typedef struct hn_training_steps {
    hn_status (*prepare)(const hn_cli *cli, void *job, hn_error *err);
    hn_status (*learn)(void *job, const hn_progress *progress, hn_train_result *result,
                       hn_error *err);
} hn_training_steps;

/* Prepares, trains, saves what isn't saved by training (with --full the model, as the folder model
 * in --output) and prints the result, for people or as JSON; then the session and the golden probe
 * of job (all zero before) are done. */
HN_MUST_CHECK hn_status hn_training_run(const hn_cli *cli, hn_training *job,
                                        const hn_training_steps *steps, hn_error *err);
