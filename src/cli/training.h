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
/* With --full: the model, now that it was trained, as the folder model in --output. */
HN_MUST_CHECK hn_status hn_training_save(const hn_cli *cli, hn_model *model,
                                         const hn_train_options *options, hn_error *err);
/* The result, for people or as JSON. */
HN_MUST_CHECK hn_status hn_training_print(const hn_cli *cli, const hn_train_options *options,
                                          const hn_train_result *result, bool with_eval,
                                          hn_error *err);
