/* What merging did to a model: KL and golden change against the unmerged adapter. */
#pragma once

#include "cli/cli.h"
#include "model/adapter.h"
#include "model/checkpoint.h"

/* What a merged model is measured with, and against. */
typedef struct hn_merge_report {
    const char *base;    /* model */
    hn_adapter *adapter; /* what was merged, to be run beside the base; borrowed */
    const char *merged;  /* the file or folder that was written */
    const char *text;    /* file for the KL, or NULL */
    const char *golden;  /* golden set, or NULL */
} hn_merge_report;

/* What is known to fail before there is a merged model, of which minutes and gigabytes are made. */
HN_MUST_CHECK hn_status hn_merge_check(const hn_merge_report *report, const hn_checkpoint *base,
                                       hn_error *err);
/* Adds "kl" {mean, standard_error, same_top} and "golden" {before, after, lost, won, changed, n} to
 * `result`, as far as they are asked for. The merged model is run as chat and eval run it. */
HN_MUST_CHECK hn_status hn_merge_measure(hn_cli *cli, const hn_merge_report *report, json_t *result,
                                         hn_error *err);
