/* The commands: each is defined, with its options, in cmd_NAME.c. */
#pragma once

#include "cli/cli.h"

extern const hn_command HN_CMD_BENCH;
extern const hn_command HN_CMD_CHAT;
extern const hn_command HN_CMD_DATA_CHECK;
extern const hn_command HN_CMD_DATA_DEDUPE;
extern const hn_command HN_CMD_DATA_GENERATE;
extern const hn_command HN_CMD_DATA_ROWS;
extern const hn_command HN_CMD_DATA_STATS;
extern const hn_command HN_CMD_DETOKENIZE;
extern const hn_command HN_CMD_DISTILL;
extern const hn_command HN_CMD_DISTILL_STORE;
extern const hn_command HN_CMD_DPO;
extern const hn_command HN_CMD_EVAL;
extern const hn_command HN_CMD_EXPORT;
extern const hn_command HN_CMD_GATE;
extern const hn_command HN_CMD_HELP;
extern const hn_command HN_CMD_INFO;
extern const hn_command HN_CMD_LOGITS;
extern const hn_command HN_CMD_MERGE;
extern const hn_command HN_CMD_PERPLEXITY;
extern const hn_command HN_CMD_PULL;
extern const hn_command HN_CMD_QUANTIZE;
extern const hn_command HN_CMD_RENDER;
extern const hn_command HN_CMD_RUN;
extern const hn_command HN_CMD_SERVE;
extern const hn_command HN_CMD_SFT;
extern const hn_command HN_CMD_STUDENT_NEW;
extern const hn_command HN_CMD_TOKENIZE;

/* Options that several commands share (table.c). */
extern const hn_option HN_OPTIONS_COMPUTE[];
extern const hn_option HN_OPTIONS_ADAPTER[];
extern const hn_option HN_OPTIONS_SAMPLING[];
