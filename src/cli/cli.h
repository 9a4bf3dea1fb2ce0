/* What a command has at hand: its parsed options, the person's terminal, progress drawing and the
 * cancel flag. Results go to stdout, everything else to stderr. */
#pragma once

#include "base/buf.h"
#include "base/progress.h"
#include "cli/options.h"
#include "train/ranks.h"

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>

/* Exit codes (docs/architecture.md); a gate's verdict sets its own. */
typedef enum hn_exit {
    HN_EXIT_OK = 0,
    HN_EXIT_FAILED = 1,
    HN_EXIT_USAGE = 2,
    HN_EXIT_BAD_INPUT = 3,
    HN_EXIT_GATE_FAILED = 4,
    HN_EXIT_GATE_INCONCLUSIVE = 5,
    HN_EXIT_CANCELLED = 130,
} hn_exit;

/* A stream's terminal, or the lack of one. */
typedef struct hn_term {
    bool is_terminal;
    bool color; /* a terminal that isn't "dumb", and NO_COLOR is unset */
    int width;  /* columns; 80 when it isn't a terminal and COLUMNS says nothing */
} hn_term;
hn_term hn_term_of(FILE *stream);

struct hn_progress_view;

struct hn_cli {
    hn_parsed opts;
    hn_term out, err; /* stdout, stderr */
    bool json;        /* --json */
    bool quiet;       /* --quiet: no progress */
    hn_progress progress;
    struct hn_progress_view *view;
    atomic_bool *cancel; /* set by Ctrl-C and SIGTERM; chat clears it again */
    hn_ranks *ranks;     /* of a command that has on_ranks, when there are several; or NULL */
    int exit_code;       /* for a command that succeeded: HN_EXIT_OK, or a gate's verdict */
};

/* Shorthands for this command's options and arguments. */
bool hn_cli_flag(const hn_cli *cli, const char *name);
int hn_cli_int(const hn_cli *cli, const char *name);
double hn_cli_real(const hn_cli *cli, const char *name);
const char *hn_cli_text(const hn_cli *cli, const char *name); /* NULL = unset */
bool hn_cli_given(const hn_cli *cli, const char *name);
const char *hn_cli_arg(const hn_cli *cli, int i); /* NULL when there are fewer */

/* Prints a JSON value and a newline to stdout. */
HN_MUST_CHECK hn_status hn_cli_print_json(const json_t *value, hn_error *err);
/* json_dumps and the like return NULL when memory is short. */
#define HN_JSON_CHECK(value, err) ((value) ? HN_OK : hn_fail(err, HN_NO_MEMORY, "out of memory"))

/* A message for the person on stderr, above a progress bar if there is one. */
void hn_cli_note(hn_cli *cli, const char *fmt, ...) HN_PRINTF(2, 3);

/* Whole text of a file, or of standard input when path is "-" or NULL; freed with hn_free. */
HN_MUST_CHECK hn_status hn_cli_read(const char *path, char **text, size_t *size, hn_error *err);

/* HN_USAGE where the output has no name, or would take the place of `input`, which was only to be
 * read: what was made of it is no second original. Either may be NULL. */
HN_MUST_CHECK hn_status hn_cli_check_output(const char *output, const char *input, hn_error *err);

/* $HONE_CACHE, else $XDG_CACHE_HOME/hone, else ~/.cache/hone; freed with hn_free. */
HN_MUST_CHECK hn_status hn_cli_cache_dir(char **dir, hn_error *err);

/* "1.2 KB", "98.4 MB": decimal units. */
const char *hn_cli_bytes(char text[32], double n_bytes);
/* "0:07", "12:40", "1:02:03" */
const char *hn_cli_duration(char text[32], double seconds);

/* Columns that a text takes on a terminal (UTF-8; wide characters take two). */
int hn_text_columns(const char *text, size_t n_bytes);

/* A table for people. Cells are copied. */
typedef struct hn_table {
    const char *const *heads;
    const char *align; /* one letter a column: 'l' or 'r'; upper case: may be shortened */
    int n_columns;
    char **cells;
    size_t n_cells, capacity;
    bool failed;
} hn_table;
void hn_table_init(hn_table *table, int n_columns, const char *const *heads, const char *align);
void hn_table_cell(hn_table *table, const char *fmt, ...) HN_PRINTF(2, 3);
/* Prints to stdout, shortening shortenable columns on a terminal that is too narrow. */
HN_MUST_CHECK hn_status hn_table_print(const hn_table *table, const hn_term *term, hn_error *err);
void hn_table_done(hn_table *table);

/* Parses the arguments and runs the command; the process's exit code. */
int hn_cli_main(int argc, char **argv);
