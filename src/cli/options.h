/* The option table's types, and parsing an argument list by them. A command's options, arguments,
 * defaults and help text are written once, beside its code; getopt_long, `hone help`, the man pages
 * and the tests all read that. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

typedef struct hn_cli hn_cli;

typedef enum hn_opt_type {
    HN_OPT_FLAG,   /* takes no value */
    HN_OPT_INT,    /* min <= value <= max */
    HN_OPT_REAL,   /* min <= value <= max */
    HN_OPT_TEXT,   /* any text, paths included */
    HN_OPT_CHOICE, /* one of `choices`, separated by '|' */
    HN_OPT_LIST,   /* text, may be given again and again */
} hn_opt_type;

typedef struct hn_option {
    const char *name; /* long name without dashes; NULL ends a group */
    char letter;      /* or 0 */
    hn_opt_type type;
    const char *value;        /* what help calls the value: "N", "FILE"; NULL for flags */
    const char *default_text; /* as a user would type it; NULL = unset */
    const char *help;         /* one sentence without final stop */
    const char *choices;      /* HN_OPT_CHOICE */
    double min, max;          /* HN_OPT_INT, HN_OPT_REAL; both 0 = any */
    const char *needs;        /* without this option it would do nothing: refused; NULL = none */
    const char *not_with;     /* nor beside any of these, separated by '|' */
} hn_option;

enum { HN_COMMAND_MAX_GROUPS = 6, HN_COMMAND_MAX_OPTIONS = 64 };

typedef struct hn_command {
    const char *name; /* one or two words: "chat", "data check" */
    const char *args; /* "MODEL [FILE]"; "" = none */
    int min_args, max_args;
    const char *summary; /* one line */
    const char *details; /* paragraphs separated by an empty line */
    const hn_option *groups[HN_COMMAND_MAX_GROUPS];
    const char *examples; /* one a line, each a whole command */
    hn_status (*run)(hn_cli *cli, hn_error *err);
    bool on_ranks; /* several processes may run it together (cli->ranks) */
} hn_command;

/* Each command stands with its options beside its code, in cmd_NAME.c; table.c lists them all, in
 * the order of the help, NULL at the end. */
extern const hn_command *const HN_COMMANDS[];
/* Options that every command has. */
extern const hn_option HN_OPTIONS_COMMON[];

typedef struct hn_opt_value {
    const hn_option *option;
    const char *text; /* borrowed from argv or the table */
    long long integer;
    double real;
    bool given; /* on the command line */
    const char **list;
    size_t n_list;
} hn_opt_value;

typedef struct hn_parsed {
    const hn_command *command;
    hn_opt_value values[HN_COMMAND_MAX_OPTIONS];
    size_t n_values;
    char **args;
    int n_args;
} hn_parsed;

/* The command that the first one or two words name; *n_words says how many. HN_USAGE names the
 * nearest known command. */
HN_MUST_CHECK hn_status hn_command_find(const hn_command **command, int *n_words, char **words,
                                        int n, hn_error *err);
/* Parses argv[1..argc) by the command's table; argv[0] is not looked at, and argv is reordered.
 * HN_USAGE names the option, what is wrong with it, and the nearest known one. */
HN_MUST_CHECK hn_status hn_parsed_read(hn_parsed *parsed, const hn_command *command, int argc,
                                       char **argv, hn_error *err);
void hn_parsed_done(hn_parsed *parsed);
/* The value of an option of this command. Asking for one that the table lacks is a mistake in the
 * program: it aborts, and a test asks for all. */
const hn_opt_value *hn_parsed_get(const hn_parsed *parsed, const char *name);

/* help.c: texts made from the table. `width` in columns. */
void hn_help_overview(FILE *out, int width);
/* The commands of two words that begin with this one; false, and nothing, when there are none or
 * this one is a command itself. */
bool hn_help_family(FILE *out, const char *first, int width);
void hn_help_command(FILE *out, const hn_command *command, int width);
void hn_help_man(FILE *out, const hn_command *command); /* NULL = hone.1 */
