/* The /commands of `hone chat`. */
#include "cli/chat.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct chat_command {
    const char *name, *args, *help;
    hn_status (*run)(hn_chat *chat, const char *arg, bool *flag, hn_error *err);
    bool answers; /* `flag` asks for an answer; otherwise it ends the conversation */
} chat_command;

static void drop_from_last_user(hn_chat *chat, bool user_too) {
    size_t n = json_array_size(chat->messages);
    while (n > 0) {
        const json_t *last = json_array_get(chat->messages, n - 1);
        const char *role = json_string_value(json_object_get(last, "role"));
        bool user = role && strcmp(role, "user") == 0;
        if (user && !user_too)
            return;
        if (role && strcmp(role, "system") == 0)
            return;
        json_array_remove(chat->messages, --n);
        if (user)
            return;
    }
}

static hn_status run_reset(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)arg, (void)flag, (void)err;
    while (json_array_size(chat->messages) > 0) {
        size_t n = json_array_size(chat->messages);
        const json_t *last = json_array_get(chat->messages, n - 1);
        const char *role = json_string_value(json_object_get(last, "role"));
        if (n == 1 && role && strcmp(role, "system") == 0)
            break;
        json_array_remove(chat->messages, n - 1);
    }
    hn_cli_note(chat->cli, "a new conversation");
    return HN_OK;
}

static hn_status run_system(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)flag;
    json_t *first = json_array_get(chat->messages, 0);
    const char *role = json_string_value(json_object_get(first, "role"));
    if (role && strcmp(role, "system") == 0)
        json_array_remove(chat->messages, 0);
    if (!arg[0])
        return HN_OK;
    json_t *message = json_pack("{s:s, s:s}", "role", "system", "content", arg);
    if (!message || json_array_insert_new(chat->messages, 0, message) != 0)
        return hn_fail(err, HN_BAD_INPUT, "that is no valid UTF-8 text");
    return HN_OK;
}

static hn_status run_save(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)flag;
    if (!arg[0])
        return hn_fail(err, HN_USAGE, "/save needs a file's name");
    HN_TRY(hn_json_write(arg, chat->messages, err));
    hn_cli_note(chat->cli, "saved %zu messages in %s", json_array_size(chat->messages), arg);
    return HN_OK;
}

static hn_status run_load(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)flag;
    char *text = NULL;
    size_t size = 0;
    json_t *messages = NULL, *tools = NULL;
    if (!arg[0] || strcmp(arg, "-") == 0)
        return hn_fail(err, HN_USAGE, "/load needs a file's name");
    HN_TRY(hn_cli_read(arg, &text, &size, err));
    hn_status status = hn_messages_parse(text, size, arg, &messages, &tools, err);
    hn_free(text);
    if (status != HN_OK)
        return status;
    json_decref(tools);
    json_decref(chat->messages);
    chat->messages = messages;
    hn_cli_note(chat->cli, "loaded %zu messages", json_array_size(messages));
    return HN_OK;
}

static hn_status run_regen(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)arg;
    drop_from_last_user(chat, false);
    if (json_array_size(chat->messages) == 0)
        return hn_fail(err, HN_USAGE, "there is nothing to answer yet");
    chat->options.sampling.seed++; /* the same seed would give the same answer */
    *flag = true;
    return HN_OK;
}

static hn_status run_undo(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)arg, (void)flag, (void)err;
    drop_from_last_user(chat, true);
    hn_cli_note(chat->cli, "%zu messages left", json_array_size(chat->messages));
    return HN_OK;
}

typedef struct parameter {
    const char *name;
    float *real;
    int *integer;
    double min, max;
} parameter;

static hn_status run_params(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)flag;
    hn_sampling *s = &chat->options.sampling;
    parameter list[] = {
        {"temperature", &s->temperature, NULL, 0, 10},
        {"top-k", NULL, &s->top_k, 0, 1e7},
        {"top-p", &s->top_p, NULL, 0, 1},
        {"min-p", &s->min_p, NULL, 0, 1},
        {"repetition-penalty", &s->repetition_penalty, NULL, 0.01, 100},
        {"presence-penalty", &s->presence_penalty, NULL, -100, 100},
        {"frequency-penalty", &s->frequency_penalty, NULL, -100, 100},
        {"max-tokens", NULL, &chat->options.max_tokens, 0, 1e9},
    };
    enum { N = sizeof list / sizeof list[0] };
    size_t n_name = strcspn(arg, " =");
    if (!arg[0]) {
        for (int i = 0; i < N; i++)
            hn_cli_note(chat->cli, "  %-20s %g", list[i].name,
                        list[i].real ? (double)*list[i].real : *list[i].integer);
        return HN_OK;
    }
    for (int i = 0; i < N; i++) {
        if (strlen(list[i].name) != n_name || strncmp(list[i].name, arg, n_name) != 0)
            continue;
        const char *value = arg + n_name + strspn(arg + n_name, " =");
        char *end;
        double x = strtod(value, &end);
        if (end == value || *end || !(x >= list[i].min && x <= list[i].max))
            return hn_fail(err, HN_USAGE, "/params %s: wanted a number from %g to %g", list[i].name,
                           list[i].min, list[i].max);
        if (list[i].real)
            *list[i].real = (float)x;
        else
            *list[i].integer = (int)x;
        return HN_OK;
    }
    return hn_fail(err, HN_USAGE, "no such parameter; /params alone lists them");
}

void hn_chat_count(hn_chat_stats *stats, const hn_generation *g) {
    stats->n_answers++;
    stats->n_prompt += g->n_prompt;
    stats->n_reused += g->n_reused;
    stats->n_generated += (int64_t)g->ids.size;
    stats->n_drafted += g->n_drafted;
    stats->n_accepted += g->n_accepted;
    if (g->first_token_ns) {
        stats->first_token_s += (double)g->first_token_ns * 1e-9;
        stats->decode_s += (double)(g->total_ns - g->first_token_ns) * 1e-9;
    }
}

static hn_status run_stats(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)arg, (void)flag, (void)err;
    const hn_chat_stats *s = &chat->stats;
    const int64_t behind_first = s->n_generated - s->n_answers;
    const int answers = s->n_answers ? s->n_answers : 1;
    hn_cli_note(chat->cli, "  answers              %d", s->n_answers);
    hn_cli_note(chat->cli, "  prompt tokens        %lld, %lld of them from the cache",
                (long long)s->n_prompt, (long long)s->n_reused);
    hn_cli_note(chat->cli, "  first token          after %.0f ms on average",
                s->first_token_s * 1e3 / answers);
    hn_cli_note(chat->cli, "  generated tokens     %lld, %.1f a second", (long long)s->n_generated,
                behind_first > 0 && s->decode_s > 0 ? (double)behind_first / s->decode_s : 0.0);
    hn_cli_note(chat->cli, "  guessed tokens       %lld, %lld of them came true",
                (long long)s->n_drafted, (long long)s->n_accepted);
    return HN_OK;
}

static hn_status run_quit(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)chat, (void)arg, (void)err;
    *flag = true;
    return HN_OK;
}

static hn_status run_help(hn_chat *chat, const char *arg, bool *flag, hn_error *err);

static const chat_command COMMANDS[] = {
    {"/help", "", "this list", run_help, false},
    {"/reset", "", "forget the conversation, keep the system text", run_reset, false},
    {"/system", "TEXT", "set the system text; without TEXT, drop it", run_system, false},
    {"/save", "FILE", "write the conversation as JSON", run_save, false},
    {"/load", "FILE", "go on with a conversation that was saved", run_load, false},
    {"/regen", "", "answer the last question again", run_regen, true},
    {"/undo", "", "take back the last question and its answer", run_undo, false},
    {"/params", "[NAME VALUE]", "show or change the sampling parameters", run_params, false},
    {"/stats", "", "how many tokens, how fast, how many were guessed", run_stats, false},
    {"/quit", "", "leave (Ctrl-D does it too)", run_quit, false},
};
enum { N_COMMANDS = sizeof COMMANDS / sizeof COMMANDS[0] };

static hn_status run_help(hn_chat *chat, const char *arg, bool *flag, hn_error *err) {
    (void)arg, (void)flag, (void)err;
    for (int i = 0; i < N_COMMANDS; i++)
        hn_cli_note(chat->cli, "  %-8s %-14s %s", COMMANDS[i].name, COMMANDS[i].args,
                    COMMANDS[i].help);
    hn_cli_note(chat->cli, "  Ctrl-C stops an answer; Up and Down go through what was typed");
    return HN_OK;
}

hn_status hn_chat_command(hn_chat *chat, const char *line, bool *quit, bool *answer,
                          hn_error *err) {
    size_t n_name = strcspn(line, " ");
    const char *arg = line + n_name + strspn(line + n_name, " ");
    const char *names[N_COMMANDS];
    for (int i = 0; i < N_COMMANDS; i++) {
        names[i] = COMMANDS[i].name;
        if (strlen(names[i]) != n_name || strncmp(names[i], line, n_name) != 0)
            continue;
        hn_status status = COMMANDS[i].run(chat, arg, COMMANDS[i].answers ? answer : quit, err);
        if (status != HN_OK && status != HN_NO_MEMORY) {
            hn_cli_note(chat->cli, "%s", err->message);
            status = HN_OK;
        }
        return status;
    }
    char word[64];
    snprintf(word, sizeof word, "%.*s", (int)n_name, line);
    const char *near = hn_text_nearest(word, names, N_COMMANDS);
    hn_cli_note(chat->cli, "no such command: %s%s%s; /help lists them", word,
                near ? "; did you mean " : "", near ? near : "");
    return HN_OK;
}
