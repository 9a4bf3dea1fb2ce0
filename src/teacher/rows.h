/* Training rows from what a teacher said: for hone sft (with or without thoughts) and hone dpo. */
#pragma once

#include "teacher/candidates.h"

typedef enum hn_rows_kind {
    HN_ROWS_SFT,       /* {instruction, response} */
    HN_ROWS_RKD,       /* {instruction, thought, response} */
    HN_ROWS_PAIRS,     /* {prompt, chosen, rejected} */
    HN_ROWS_CRITIQUES, /* {instruction, response}: judging as the teacher did */
} hn_rows_kind;

typedef enum hn_rows_keep { HN_KEEP_BEST, HN_KEEP_MAJORITY, HN_KEEP_ALL } hn_rows_keep;

typedef struct hn_rows_options {
    hn_rows_kind kind;
    hn_rows_keep keep; /* of several answers, for SFT and RKD */
    bool number;       /* the vote compares last numbers */
    double min_share;  /* prompts whose vote agrees less are left out */
    bool thoughts;     /* pairs keep the thoughts, as <think>...</think> */
} hn_rows_options;

typedef struct hn_rows_result {
    size_t n_prompts, n_rows;
    size_t n_disagree;    /* prompts left out for min_share */
    size_t n_thoughtless; /* answers left out because RKD rows need a thought */
} hn_rows_result;

/* `rows`: of a store; `path` is written whole or not at all. No row at all is HN_BAD_INPUT. Prompts
 * of several turns become {messages} rows, or a list as prompt. With several answers a row holds
 * "share", how much of the vote said the same. */
HN_MUST_CHECK hn_status hn_rows_write(const json_t *rows, const hn_rows_options *options,
                                      const char *path, hn_rows_result *result, hn_error *err);
