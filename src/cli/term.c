/* What the person sees: terminals, widths, units and tables. */
#include "cli/cli.h"

#include "base/mem.h"
#include "base/text.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

enum { DEFAULT_WIDTH = 80, MIN_WIDTH = 20, MAX_WIDTH = 1000, COLUMN_GAP = 2, MIN_COLUMN = 4 };

hn_term hn_term_of(FILE *stream) {
    hn_term term = {.is_terminal = isatty(fileno(stream)) == 1, .width = DEFAULT_WIDTH};
    const char *type = getenv("TERM"), *no_color = getenv("NO_COLOR"), *columns = getenv("COLUMNS");
    bool dumb = !type || strcmp(type, "dumb") == 0;
    term.color = term.is_terminal && !dumb && !(no_color && no_color[0]);
    struct winsize size;
    if (columns && atoi(columns) > 0)
        term.width = atoi(columns);
    else if (term.is_terminal && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        term.width = size.ws_col;
    if (term.width < MIN_WIDTH)
        term.width = MIN_WIDTH;
    if (term.width > MAX_WIDTH)
        term.width = MAX_WIDTH;
    return term;
}

const char *hn_cli_bytes(char text[32], double n) {
    static const char *const UNITS[] = {"B", "KB", "MB", "GB", "TB"};
    int unit = 0;
    while (n >= 999.95 && unit < 4) {
        n /= 1000;
        unit++;
    }
    snprintf(text, 32, unit == 0 ? "%.0f %s" : "%.1f %s", n, UNITS[unit]);
    return text;
}

const char *hn_cli_duration(char text[32], double seconds) {
    static const double TOO_LONG_S = 359999; /* 99:59:59 */
    long s = (long)((seconds < TOO_LONG_S ? seconds : TOO_LONG_S) + 0.5);
    if (s >= 3600)
        snprintf(text, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(text, 32, "%ld:%02ld", s / 60, s % 60);
    return text;
}

int hn_text_columns(const char *text, size_t n_bytes) {
    int columns = 0;
    for (size_t i = 0; i < n_bytes;) {
        uint32_t c;
        size_t length = hn_utf8_decode(text + i, n_bytes - i, &c);
        columns += length ? utf8proc_charwidth((utf8proc_int32_t)c) : 1;
        i += length ? length : 1;
    }
    return columns;
}

void hn_table_init(hn_table *table, int n_columns, const char *const *heads, const char *align) {
    *table = (hn_table){.heads = heads, .align = align, .n_columns = n_columns};
}

void hn_table_cell(hn_table *table, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (table->n_cells == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 64;
        char **cells = hn_reallocarray(table->cells, capacity, sizeof *cells);
        if (!cells) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *copy = hn_strdup(text);
    if (copy)
        table->cells[table->n_cells++] = copy;
    else
        table->failed = true;
}

/* The bytes of `text` that fit into `width` columns. */
static size_t fitting_bytes(const char *text, int width) {
    size_t n = strlen(text), at = 0;
    int columns = 0;
    while (at < n) {
        uint32_t c;
        size_t length = hn_utf8_decode(text + at, n - at, &c);
        int step = length ? utf8proc_charwidth((utf8proc_int32_t)c) : 1;
        if (columns + step > width)
            break;
        columns += step;
        at += length ? length : 1;
    }
    return at;
}

static void print_cell(const char *text, int width, char align, bool last) {
    int columns = hn_text_columns(text, strlen(text));
    bool right = align == 'r' || align == 'R';
    if (columns > width) {
        size_t n = fitting_bytes(text, width - 1);
        printf("%.*s\xe2\x80\xa6", (int)n, text);
        columns = hn_text_columns(text, n) + 1;
        right = false;
    } else {
        printf("%*s%s", right ? width - columns : 0, "", text);
    }
    if (!last)
        printf("%*s", (right ? 0 : width - columns) + COLUMN_GAP, "");
}

static void shrink(const hn_table *table, int *widths, int limit) {
    int total = COLUMN_GAP * (table->n_columns - 1);
    for (int c = 0; c < table->n_columns; c++)
        total += widths[c];
    for (int c = 0; c < table->n_columns && total > limit; c++) {
        if (table->align[c] != 'L' && table->align[c] != 'R')
            continue;
        int cut = total - limit < widths[c] - MIN_COLUMN ? total - limit : widths[c] - MIN_COLUMN;
        if (cut > 0) {
            widths[c] -= cut;
            total -= cut;
        }
    }
}

hn_status hn_table_print(const hn_table *table, const hn_term *term, hn_error *err) {
    enum { MAX_COLUMNS = 32 };
    int widths[MAX_COLUMNS], n = table->n_columns;
    if (table->failed)
        return hn_fail(err, HN_NO_MEMORY, "out of memory for a table");
    for (int c = 0; c < n; c++)
        widths[c] = hn_text_columns(table->heads[c], strlen(table->heads[c]));
    for (size_t i = 0; i < table->n_cells; i++) {
        int columns = hn_text_columns(table->cells[i], strlen(table->cells[i]));
        if (columns > widths[i % (size_t)n])
            widths[i % (size_t)n] = columns;
    }
    if (term->is_terminal)
        shrink(table, widths, term->width);
    if (term->color)
        fputs("\x1b[1m", stdout);
    for (int c = 0; c < n; c++)
        print_cell(table->heads[c], widths[c], table->align[c], c == n - 1);
    fputs(term->color ? "\x1b[0m\n" : "\n", stdout);
    for (size_t i = 0; i < table->n_cells; i++) {
        int c = (int)(i % (size_t)n);
        print_cell(table->cells[i], widths[c], table->align[c], c == n - 1);
        if (c == n - 1)
            putchar('\n');
    }
    return HN_OK;
}

void hn_table_done(hn_table *table) {
    for (size_t i = 0; i < table->n_cells; i++)
        hn_free(table->cells[i]);
    hn_free(table->cells);
    *table = (hn_table){0};
}
