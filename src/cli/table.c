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

static const hn_option PULL_OPTIONS[] = {
    {"revision", 'r', HN_OPT_TEXT, "REV", "main", "Branch, tag or commit", NULL, 0, 0},
    {"include", 'i', HN_OPT_LIST, "GLOB", NULL,
     "Take the files that match, instead of what a model needs", NULL, 0, 0},
    {"sha256", 0, HN_OPT_TEXT, "HEX", NULL, "The sum that a file or address must have", NULL, 0, 0},
    {"endpoint", 0, HN_OPT_TEXT, "URL", NULL, "The hub to ask, instead of HF_ENDPOINT", NULL, 0, 0},
    {"retries", 0, HN_OPT_INT, "N", "5", "Tries after a failure that may pass", NULL, 0, 100},
    {"offline", 0, HN_OPT_FLAG, NULL, NULL, "Use the cache alone"},
    {0},
};

const hn_command HN_COMMANDS[] = {
    {.name = "pull",
     .args = "ID|URL|FILE",
     .min_args = 1,
     .max_args = 1,
     .summary = "get a base model, verified and resumable",
     .details =
         "Gets a model in Hugging Face layout by its name (ORG/NAME), or one file by its address, "
         "into the cache folder ($HONE_CACHE/hub), and prints where it lies. Sums are checked, "
         "interrupted downloads are resumed, and what the cache has isn't fetched again. A file "
         "that exists is only checked.\n\n"
         "HF_ENDPOINT names another hub, HF_TOKEN opens private and gated models; the token is "
         "sent to the hub alone, never to where it redirects. Without a network the cached copy "
         "is used, or the error names what is in the cache.",
     .groups = {PULL_OPTIONS},
     .examples = "hone pull HuggingFaceTB/SmolLM2-135M-Instruct\n"
                 "hone pull ORG/NAME --include 'NAME.Q8_0.gguf'",
     .run = hn_cmd_pull},
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
