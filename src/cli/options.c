/* Parsing by the option table: values are checked against type and range as they are read, and a
 * word that is nobody's gets the nearest known one suggested. */
#include "cli/options.h"

#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COMMANDS = 64, FIRST_LONG_CODE = 256 /* above every letter */ };

/* The first of two words alone: names the second ones. */
static hn_status fail_one_word(const char *first, hn_error *err) {
    char seconds[128] = "";
    size_t used = 0, n_first = strlen(first);
    for (size_t i = 0; HN_COMMANDS[i]; i++) {
        const char *name = HN_COMMANDS[i]->name;
        if (!strncmp(name, first, n_first) && name[n_first] == ' ' && used < sizeof seconds)
            used += (size_t)snprintf(seconds + used, sizeof seconds - used, "%s%s",
                                     used ? ", " : "", name + n_first + 1);
    }
    return hn_fail(err, HN_USAGE, "'%s' needs a second word: %s", first, seconds);
}

hn_status hn_command_find(const hn_command **command, int *n_words, char **words, int n,
                          hn_error *err) {
    const char *names[MAX_COMMANDS];
    size_t n_names = 0;
    char two[64] = "";
    bool prefix = false;
    if (n > 1)
        snprintf(two, sizeof two, "%s %s", words[0], words[1]);
    size_t n_first = strlen(words[0]);
    for (size_t i = 0; HN_COMMANDS[i]; i++) {
        const hn_command *c = HN_COMMANDS[i];
        if (strcmp(c->name, two) == 0 || strcmp(c->name, words[0]) == 0) {
            *command = c;
            *n_words = strchr(c->name, ' ') ? 2 : 1;
            return HN_OK;
        }
        prefix |= strncmp(c->name, words[0], n_first) == 0 && c->name[n_first] == ' ';
        names[n_names++] = c->name;
    }
    const char *near = hn_text_nearest(prefix && n > 1 ? two : words[0], names, n_names);
    if (prefix && n < 2)
        return fail_one_word(words[0], err);
    if (words[0][0] == '-')
        return hn_fail(err, HN_USAGE,
                       "'%s' before the command: usage: hone COMMAND [arguments] [options]",
                       words[0]);
    if (near)
        return hn_fail(err, HN_USAGE,
                       "unknown command '%s'; did you mean '%s'? 'hone help' lists all",
                       prefix ? two : words[0], near);
    return hn_fail(err, HN_USAGE, "unknown command '%s'; 'hone help' lists all",
                   prefix ? two : words[0]);
}

static bool choice_has(const char *choices, const char *word) {
    size_t n = strlen(word);
    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        size_t n_at = strcspn(at, "|");
        if (n_at == n && memcmp(at, word, n) == 0)
            return true;
    }
    return false;
}

static hn_status check_range(const hn_option *option, double value, hn_error *err) {
    if (option->min == 0 && option->max == 0)
        return HN_OK;
    if (value >= option->min && value <= option->max)
        return HN_OK;
    if (option->max == HUGE_VAL)
        return hn_fail(err, HN_USAGE, "--%s: %.10g is too small; at least %.10g", option->name,
                       value, option->min);
    return hn_fail(err, HN_USAGE, "--%s: %.10g is not between %.10g and %.10g", option->name, value,
                   option->min, option->max);
}

static hn_status value_set(hn_opt_value *value, const char *text, hn_error *err) {
    const hn_option *option = value->option;
    char *end = NULL;
    errno = 0;
    switch (option->type) {
    case HN_OPT_INT:
        value->integer = strtoll(text, &end, 10);
        if (end == text || *end || errno)
            return hn_fail(err, HN_USAGE, "--%s: '%s' is no whole number", option->name, text);
        HN_TRY(check_range(option, (double)value->integer, err));
        break;
    case HN_OPT_REAL:
        value->real = strtod(text, &end);
        if (end == text || *end || !isfinite(value->real))
            return hn_fail(err, HN_USAGE, "--%s: '%s' is no number", option->name, text);
        HN_TRY(check_range(option, value->real, err));
        break;
    case HN_OPT_CHOICE:
        if (!choice_has(option->choices, text))
            return hn_fail(err, HN_USAGE, "--%s: '%s' is none of %s", option->name, text,
                           option->choices);
        break;
    case HN_OPT_LIST: {
        const char **list = hn_reallocarray(value->list, value->n_list + 1, sizeof *value->list);
        if (!list)
            return hn_fail_no_memory(err, (value->n_list + 1) * sizeof *value->list);
        value->list = list;
        list[value->n_list++] = text;
        break;
    }
    case HN_OPT_FLAG:
    case HN_OPT_TEXT:
        break;
    }
    value->text = text;
    return HN_OK;
}

static hn_status fail_unknown(const hn_parsed *parsed, const char *word, hn_error *err) {
    const char *names[HN_COMMAND_MAX_OPTIONS];
    char bare[64];
    for (size_t i = 0; i < parsed->n_values; i++)
        names[i] = parsed->values[i].option->name;
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word + strspn(word, "-"), "="),
             word + strspn(word, "-"));
    const char *near = bare[0] && bare[1] ? hn_text_nearest(bare, names, parsed->n_values) : NULL;
    const char *command = parsed->command->name;
    if (near)
        return hn_fail(err, HN_USAGE,
                       "unknown option '%s'; did you mean '--%s'? 'hone %s --help' lists all", word,
                       near, command);
    return hn_fail(err, HN_USAGE, "unknown option '%s'; 'hone %s --help' lists all", word, command);
}

/* What getopt_long needs, made from the table. A code below FIRST_LONG_CODE is a letter. */
typedef struct getopt_tables {
    struct option longs[HN_COMMAND_MAX_OPTIONS + 1];
    char shorts[2 * HN_COMMAND_MAX_OPTIONS + 2];
} getopt_tables;

static void tables_fill(getopt_tables *tables, const hn_parsed *parsed) {
    size_t at = 0;
    tables->shorts[at++] = ':'; /* a missing value is told apart from an unknown option */
    for (size_t i = 0; i < parsed->n_values; i++) {
        const hn_option *option = parsed->values[i].option;
        bool takes = option->type != HN_OPT_FLAG;
        tables->longs[i] = (struct option){.name = option->name,
                                           .has_arg = takes ? required_argument : no_argument,
                                           .val = FIRST_LONG_CODE + (int)i};
        if (option->letter) {
            tables->shorts[at++] = option->letter;
            if (takes)
                tables->shorts[at++] = ':';
        }
    }
    tables->shorts[at] = '\0';
    tables->longs[parsed->n_values] = (struct option){0};
}

static hn_opt_value *value_by_code(hn_parsed *parsed, int code) {
    if (code >= FIRST_LONG_CODE)
        return &parsed->values[code - FIRST_LONG_CODE];
    for (size_t i = 0; i < parsed->n_values; i++)
        if (parsed->values[i].option->letter == code)
            return &parsed->values[i];
    return NULL;
}

static hn_status read_all(hn_parsed *parsed, int argc, char **argv, hn_error *err) {
    getopt_tables tables;
    tables_fill(&tables, parsed);
    optind = 0; /* glibc: start over, whatever was parsed before */
    opterr = 0;
    for (;;) {
        int before = optind ? optind : 1;
        int code = getopt_long(argc, argv, tables.shorts, tables.longs, NULL);
        if (code < 0)
            break;
        if (code == ':')
            return hn_fail(err, HN_USAGE, "%s needs a value", argv[optind - 1]);
        if (code == '?') {
            /* optopt holds a letter, or a long option's code when it was given a value that it
             * doesn't take; 0 when the word is nobody's or stands for several. */
            char word[3] = {'-', (char)optopt, 0};
            bool letter = optopt > 0 && optopt < FIRST_LONG_CODE;
            if (optopt >= FIRST_LONG_CODE)
                return hn_fail(err, HN_USAGE, "--%s takes no value",
                               value_by_code(parsed, optopt)->option->name);
            return fail_unknown(parsed, letter ? word : argv[optind > before ? optind - 1 : before],
                                err);
        }
        hn_opt_value *value = value_by_code(parsed, code);
        value->given = true;
        HN_TRY(value_set(value, optarg ? optarg : "", err));
    }
    parsed->args = argv + optind;
    parsed->n_args = argc - optind;
    return HN_OK;
}

static hn_status values_init(hn_parsed *parsed, hn_error *err) {
    const hn_option *const *groups = parsed->command->groups;
    for (size_t g = 0; g <= HN_COMMAND_MAX_GROUPS; g++) {
        const hn_option *option = g < HN_COMMAND_MAX_GROUPS ? groups[g] : HN_OPTIONS_COMMON;
        for (; option && option->name; option++) {
            if (parsed->n_values == HN_COMMAND_MAX_OPTIONS)
                return hn_fail(err, HN_FAILED, "command '%s' has too many options",
                               parsed->command->name);
            hn_opt_value *value = &parsed->values[parsed->n_values++];
            *value = (hn_opt_value){.option = option};
            if (option->default_text && option->type != HN_OPT_LIST)
                HN_TRY(value_set(value, option->default_text, err));
        }
    }
    return HN_OK;
}

/* What would be passed over in silence is refused. */
static hn_status check_company(const hn_parsed *parsed, hn_error *err) {
    for (size_t i = 0; i < parsed->n_values; i++) {
        const hn_option *option = parsed->values[i].option;
        if (!parsed->values[i].given)
            continue;
        if (option->needs && !hn_parsed_get(parsed, option->needs)->given)
            return hn_fail(err, HN_USAGE, "--%s needs --%s", option->name, option->needs);
        for (const char *at = option->not_with; at && *at; at += strspn(at, "|")) {
            char other[64];
            size_t n = strcspn(at, "|");
            snprintf(other, sizeof other, "%.*s", (int)n, at);
            if (hn_parsed_get(parsed, other)->given)
                return hn_fail(err, HN_USAGE, "--%s does nothing beside --%s: leave one out",
                               option->name, other);
            at += n;
        }
    }
    return HN_OK;
}

hn_status hn_parsed_read(hn_parsed *parsed, const hn_command *command, int argc, char **argv,
                         hn_error *err) {
    *parsed = (hn_parsed){.command = command};
    hn_status status;
    HN_GO(values_init(parsed, err));
    HN_GO(read_all(parsed, argc, argv, err));
    if (hn_parsed_get(parsed, "help")->given)
        return HN_OK;
    HN_GO(check_company(parsed, err));
    if (parsed->n_args < command->min_args)
        status = hn_fail(err, HN_USAGE, "too few arguments; usage: hone %s %s [options]",
                         command->name, command->args);
    else if (parsed->n_args > command->max_args)
        status =
            hn_fail(err, HN_USAGE, "'%s' is one argument too many; usage: hone %s %s [options]",
                    parsed->args[command->max_args], command->name, command->args);
done:
    if (status != HN_OK)
        hn_parsed_done(parsed);
    return status;
}

void hn_parsed_done(hn_parsed *parsed) {
    for (size_t i = 0; i < parsed->n_values; i++) {
        hn_free(parsed->values[i].list);
        parsed->values[i].list = NULL;
    }
}

const hn_opt_value *hn_parsed_get(const hn_parsed *parsed, const char *name) {
    for (size_t i = 0; i < parsed->n_values; i++)
        if (strcmp(parsed->values[i].option->name, name) == 0)
            return &parsed->values[i];
    fprintf(stderr, "hone: the table of '%s' lacks option '%s'\n", parsed->command->name, name);
    abort();
}
