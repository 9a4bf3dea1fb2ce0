/* The option table: every command, argument, option and default of the program, written once. */
#include "cli/commands.h"

const hn_option HN_OPTIONS_COMMON[] = {
    {"json", 0, HN_OPT_FLAG, NULL, NULL, "Results as JSON on standard output"},
    {"quiet", 'q', HN_OPT_FLAG, NULL, NULL, "No progress"},
    {"help", 'h', HN_OPT_FLAG, NULL, NULL, "This help"},
    {0},
};

static const hn_option HELP_OPTIONS[] = {
    {"man", 0, HN_OPT_FLAG, NULL, NULL, "The man page as roff"},
    {"list", 0, HN_OPT_FLAG, NULL, NULL, "The names of all commands, one a line"},
    {0},
};

const hn_command HN_COMMANDS[] = {
    {.name = "help",
     .args = "[COMMAND]",
     .max_args = 2,
     .summary = "what the commands do and which options they take",
     .details = "Without an argument, lists the commands.",
     .groups = {HELP_OPTIONS},
     .examples = "hone help\nhone help help",
     .run = hn_cmd_help},
    {0},
};
