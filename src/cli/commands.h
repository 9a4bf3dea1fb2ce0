/* The commands: each is defined, with its options, in cmd_NAME.c. */
#pragma once

#include "cli/cli.h"

extern const hn_command HN_CMD_HELP;
extern const hn_command HN_CMD_PULL;
extern const hn_command HN_CMD_TOKENIZE;
extern const hn_command HN_CMD_DETOKENIZE;
extern const hn_command HN_CMD_RENDER;
extern const hn_command HN_CMD_LOGITS;
extern const hn_command HN_CMD_PERPLEXITY;
extern const hn_command HN_CMD_CHAT;

/* Options that several commands share (table.c). */
extern const hn_option HN_OPTIONS_COMPUTE[];
extern const hn_option HN_OPTIONS_ADAPTER[];
extern const hn_option HN_OPTIONS_SAMPLING[];
