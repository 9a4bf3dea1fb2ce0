/* The program's commands, and the options that several of them share. */
#include "cli/commands.h"

const hn_option HN_OPTIONS_COMMON[] = {
    {"json", 0, HN_OPT_FLAG, NULL, NULL, "Results as JSON on standard output"},
    {"quiet", 'q', HN_OPT_FLAG, NULL, NULL, "No progress"},
    {"help", 'h', HN_OPT_FLAG, NULL, NULL, "This help"},
    {0},
};

const hn_option HN_OPTIONS_COMPUTE[] = {
    {"threads", 't', HN_OPT_INT, "N", "0", "Threads; 0 = one a physical core", NULL, 0, 1024},
    {"isa", 0, HN_OPT_TEXT, "NAME", NULL,
     "Instruction set, instead of HONE_ISA or the best one here: scalar, avx2, ..."},
    {0},
};

const hn_option HN_OPTIONS_ADAPTER[] = {
    {"adapter", 'a', HN_OPT_TEXT, "PATH", NULL,
     "LoRA adapter beside the model: a PEFT folder or a GGUF adapter"},
    {0},
};

const hn_option HN_OPTIONS_SAMPLING[] = {
    {"temperature", 'T', HN_OPT_REAL, "X", "0", "Sampling temperature; 0 = greedy", NULL, 0, 10},
    {"top-k", 0, HN_OPT_INT, "N", "0", "Sample from the N likeliest tokens; 0 = off", NULL, 0, 1e7},
    {"top-p", 0, HN_OPT_REAL, "X", "1", "Sample from the likeliest tokens that hold this share",
     NULL, 0, 1},
    {"min-p", 0, HN_OPT_REAL, "X", "0", "Drop tokens below this share of the likeliest one's", NULL,
     0, 1},
    {"repetition-penalty", 0, HN_OPT_REAL, "X", "1", "Divides the logits of tokens seen; 1 = off",
     NULL, 0.01, 100},
    {"presence-penalty", 0, HN_OPT_REAL, "X", "0",
     "Taken off the logits of tokens generated before", NULL, -100, 100},
    {"frequency-penalty", 0, HN_OPT_REAL, "X", "0", "The same, times how often", NULL, -100, 100},
    {"logit-bias", 0, HN_OPT_LIST, "ID=X", NULL, "Added to a token's logit"},
    {"stop", 0, HN_OPT_LIST, "TEXT", NULL, "End the answer before this text"},
    {"max-tokens", 'n', HN_OPT_INT, "N", "512",
     "Longest answer in tokens; 0 = until the context is full", NULL, 0, 1e9},
    {"ignore-eos", 0, HN_OPT_FLAG, NULL, NULL, "Go on after the model has ended its answer"},
    {"seed", 0, HN_OPT_INT, "N", "0", "Seed of sampling", NULL, 0, 9e15},
    {0},
};

const hn_command *const HN_COMMANDS[] = {
    &HN_CMD_RUN,        &HN_CMD_PULL,        &HN_CMD_INFO,          &HN_CMD_CHAT,
    &HN_CMD_DATA_CHECK, &HN_CMD_DATA_DEDUPE, &HN_CMD_DATA_GENERATE, &HN_CMD_DATA_ROWS,
    &HN_CMD_DATA_STATS, &HN_CMD_SFT,         &HN_CMD_DISTILL_STORE, &HN_CMD_DISTILL,
    &HN_CMD_DPO,        &HN_CMD_STUDENT_NEW, &HN_CMD_MERGE,         &HN_CMD_QUANTIZE,
    &HN_CMD_EXPORT,     &HN_CMD_EVAL,        &HN_CMD_GATE,          &HN_CMD_TOKENIZE,
    &HN_CMD_DETOKENIZE, &HN_CMD_RENDER,      &HN_CMD_LOGITS,        &HN_CMD_PERPLEXITY,
    &HN_CMD_BENCH,      &HN_CMD_SERVE,       &HN_CMD_HELP,          NULL,
};
