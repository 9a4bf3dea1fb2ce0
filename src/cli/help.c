/* Help texts and man pages, made from the option table. */
#include "cli/options.h"

#include "base/version.h"

#include <string.h>

#define PURPOSE "teach a small language model a job, shrink it, prove it, run it"

static const char EXIT_CODES[][2][48] = {
    {"0", "done"},
    {"1", "the work failed"},
    {"2", "wrong usage"},
    {"3", "bad input: a file, a row or a request"},
    {"4", "a gate failed"},
    {"5", "a gate could not decide"},
    {"130", "cancelled with Ctrl-C"},
};
enum { N_EXIT_CODES = sizeof EXIT_CODES / sizeof EXIT_CODES[0], INDENT = 28 };

/* Prints one paragraph, wrapped, each line after `indent` spaces; the cursor stands at column
 * `column`. ASCII: the table's texts are. */
static void wrap(FILE *out, const char *text, size_t n, int indent, int column, int width) {
    for (size_t i = 0; i < n;) {
        size_t word = strcspn(text + i, " \n");
        if (word > n - i)
            word = n - i;
        if (column > indent && column + 1 + (int)word > width) {
            fputc('\n', out);
            column = 0;
        }
        if (column < indent) {
            fprintf(out, "%*s", indent - column, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fwrite(text + i, 1, word, out);
        column += (int)word;
        i += word;
        while (i < n && (text[i] == ' ' || text[i] == '\n'))
            i++;
    }
    fputc('\n', out);
}

/* One that isn't indented. */
static void wrap_line(FILE *out, int width, const char *text) {
    wrap(out, text, strlen(text), 0, 0, width);
}

static void wrap_paragraphs(FILE *out, const char *text, int width) {
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t n = end ? (size_t)(end - text) : strlen(text);
        wrap(out, text, n, 0, 0, width);
        fputc('\n', out);
        text += n + (end ? 2 : 0);
    }
}

/* "-p, --prompt TEXT" */
static int option_head(char *head, size_t size, const hn_option *option) {
    char letter[5] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    return snprintf(head, size, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
                    option->value ? option->value : "");
}

static void option_text(char *text, size_t size, const hn_option *option) {
    size_t used = (size_t)snprintf(text, size, "%s", option->help);
    if (option->choices && used < size)
        used += (size_t)snprintf(text + used, size - used, "; one of ");
    for (const char *at = option->choices; at && *at && used + 3 < size; at++) {
        if (*at == '|') {
            memcpy(text + used, ", ", 2);
            used += 2;
        } else {
            text[used++] = *at;
        }
        text[used] = '\0';
    }
    if (option->needs && used < size)
        used += (size_t)snprintf(text + used, size - used, "; with --%s", option->needs);
    if (option->type == HN_OPT_LIST && used < size)
        used += (size_t)snprintf(text + used, size - used, "; may be repeated");
    if (option->default_text && used < size)
        snprintf(text + used, size - used, " (default %s)", option->default_text);
}

static void option_print(FILE *out, const hn_option *option, int width) {
    char head[128], text[512];
    int n = option_head(head, sizeof head, option);
    option_text(text, sizeof text, option);
    int indent = width < 60 ? 6 : INDENT; /* a narrow terminal has no room for two columns */
    fprintf(out, "  %s", head);
    if (n + 4 > indent) {
        fputc('\n', out);
        wrap(out, text, strlen(text), indent, 0, width);
    } else {
        wrap(out, text, strlen(text), indent, n + 2, width);
    }
}

static bool is_in_family(const hn_command *c, const char *first) {
    const size_t n = strlen(first);
    return strncmp(c->name, first, n) == 0 && c->name[n] == ' ';
}

static bool has_family(const char *first) {
    for (size_t i = 0; HN_COMMANDS[i]; i++)
        if (is_in_family(HN_COMMANDS[i], first))
            return true;
    return false;
}

/* All of them, or those whose first word this is. */
static void list_commands(FILE *out, const char *first, int width) {
    for (size_t i = 0; HN_COMMANDS[i]; i++) {
        const hn_command *c = HN_COMMANDS[i];
        if (first && !is_in_family(c, first))
            continue;
        fprintf(out, "  %-14s", c->name);
        wrap(out, c->summary, strlen(c->summary), 17, 16, width);
    }
}

bool hn_help_family(FILE *out, const char *first, int width) {
    char more[96];
    for (size_t i = 0; HN_COMMANDS[i]; i++)
        if (strcmp(HN_COMMANDS[i]->name, first) == 0)
            return false; /* its own help lists the others */
    if (!has_family(first))
        return false;
    fprintf(out, "usage: hone %s COMMAND [arguments] [options]\n\nCommands:\n", first);
    list_commands(out, first, width);
    snprintf(more, sizeof more, "'hone help %s COMMAND' says more.", first);
    fputc('\n', out);
    wrap_line(out, width, more);
    return true;
}

void hn_help_overview(FILE *out, int width) {
    wrap_line(out, width, "hone " HN_VERSION ": " PURPOSE);
    fputs("\nusage: hone COMMAND [arguments] [options]\n\nCommands:\n", out);
    list_commands(out, NULL, width);
    fputc('\n', out);
    wrap_line(out, width, "'hone help COMMAND' (or hone COMMAND --help) says more.");
    fputs("\nExit codes:\n", out);
    for (int i = 0; i < N_EXIT_CODES; i++) {
        fprintf(out, "  %-14s", EXIT_CODES[i][0]);
        wrap(out, EXIT_CODES[i][1], strlen(EXIT_CODES[i][1]), 17, 16, width);
    }
}

void hn_help_command(FILE *out, const hn_command *command, int width) {
    char line[256];
    snprintf(line, sizeof line, "hone %s: %s", command->name, command->summary);
    wrap_line(out, width, line);
    snprintf(line, sizeof line, "usage: hone %s%s%s [options]", command->name,
             command->args[0] ? " " : "", command->args);
    fputc('\n', out);
    wrap_line(out, width, line);
    fputc('\n', out);
    wrap_paragraphs(out, command->details, width);
    fputs("Options:\n", out);
    for (int g = 0; g <= HN_COMMAND_MAX_GROUPS; g++) {
        const hn_option *option =
            g < HN_COMMAND_MAX_GROUPS ? command->groups[g] : HN_OPTIONS_COMMON;
        for (; option && option->name; option++)
            option_print(out, option, width);
    }
    if (command->examples) {
        fputs("\nExamples:\n", out);
        for (const char *at = command->examples; *at;) {
            int n = (int)strcspn(at, "\n");
            fputs("  ", out);
            fwrite(at, 1, (size_t)n, out);
            fputc('\n', out);
            at += n + (at[n] == '\n');
        }
    }
    if (has_family(command->name)) {
        fputs("\nSee also:\n", out);
        list_commands(out, command->name, width);
    }
}

/* Text as roff wants it: hyphens that stay hyphens, no line that begins a request. */
static void roff(FILE *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((i == 0 || text[i - 1] == '\n') && (text[i] == '.' || text[i] == '\''))
            fputs("\\&", out);
        if (text[i] == '-')
            fputs("\\-", out);
        else if (text[i] == '\\')
            fputs("\\e", out);
        else
            fputc(text[i], out);
    }
}

static void roff_line(FILE *out, const char *text) {
    roff(out, text, strlen(text));
    fputc('\n', out);
}

static void man_exit_codes(FILE *out) {
    fputs(".SH EXIT STATUS\n", out);
    for (int i = 0; i < N_EXIT_CODES; i++)
        fprintf(out, ".TP\n%s\n%s\n", EXIT_CODES[i][0], EXIT_CODES[i][1]);
}

static void man_header(FILE *out, const char *page, const char *summary) {
    char upper[64];
    size_t n = 0;
    for (; page[n] && n < sizeof upper - 1; n++)
        upper[n] = page[n] >= 'a' && page[n] <= 'z' ? (char)(page[n] - 'a' + 'A') : page[n];
    upper[n] = '\0';
    fputs(".TH ", out);
    roff(out, upper, n);
    fprintf(out, " 1 \"\" \"hone %s\"\n.SH NAME\n", HN_VERSION);
    roff(out, page, strlen(page));
    fputs(" \\- ", out);
    roff_line(out, summary);
}

static void man_overview(FILE *out) {
    man_header(out, "hone", PURPOSE);
    fputs(".SH SYNOPSIS\n.B hone\n.I COMMAND\n[arguments] [options]\n.SH COMMANDS\n", out);
    for (size_t i = 0; HN_COMMANDS[i]; i++) {
        const hn_command *c = HN_COMMANDS[i];
        fprintf(out, ".TP\n.B ");
        roff_line(out, c->name);
        roff_line(out, c->summary);
    }
    fputs(".SH ENVIRONMENT\n"
          ".TP\nHONE_CACHE\nWhere models and finished stages are kept (default ~/.cache/hone).\n"
          ".TP\nHONE_WEIGHTS_CACHE_GB\nThe most that its folder packed may take (default 8).\n"
          ".TP\nHONE_ISA\nThe instruction set to compute with, for comparisons.\n"
          ".TP\nHF_ENDPOINT, HF_TOKEN\nThe model hub that hone pull asks, and its access token.\n"
          ".TP\nNO_COLOR\nSet to anything: no colours.\n",
          out);
    man_exit_codes(out);
}

void hn_help_man(FILE *out, const hn_command *command) {
    if (!command) {
        man_overview(out);
        return;
    }
    char page[64] = "hone-";
    size_t n = 5;
    for (const char *at = command->name; *at && n < sizeof page - 1; at++)
        page[n++] = *at == ' ' ? '-' : *at;
    page[n] = '\0';
    man_header(out, page, command->summary);
    fputs(".SH SYNOPSIS\n.B hone ", out);
    roff_line(out, command->name);
    if (command->args[0])
        roff_line(out, command->args);
    fputs("[options]\n.SH DESCRIPTION\n", out);
    for (const char *at = command->details; *at;) {
        const char *end = strstr(at, "\n\n");
        size_t length = end ? (size_t)(end - at) : strlen(at);
        fputs(".PP\n", out);
        roff(out, at, length);
        fputc('\n', out);
        at += length + (end ? 2 : 0);
    }
    fputs(".SH OPTIONS\n", out);
    for (int g = 0; g <= HN_COMMAND_MAX_GROUPS; g++) {
        const hn_option *option =
            g < HN_COMMAND_MAX_GROUPS ? command->groups[g] : HN_OPTIONS_COMMON;
        for (; option && option->name; option++) {
            char head[128], text[512];
            option_head(head, sizeof head, option);
            option_text(text, sizeof text, option);
            fputs(".TP\n.B ", out);
            roff_line(out, head + strspn(head, " "));
            roff_line(out, text);
        }
    }
    if (command->examples) {
        fputs(".SH EXAMPLES\n.nf\n", out);
        roff_line(out, command->examples);
        fputs(".fi\n", out);
    }
    man_exit_codes(out);
    fputs(".SH SEE ALSO\n.BR hone (1)\n", out);
}
