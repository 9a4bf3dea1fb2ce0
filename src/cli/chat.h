/* A conversation with a model: messages, answers, and the /commands of `hone chat`. */
#pragma once

#include "cli/session.h"

typedef struct hn_chat {
    hn_cli *cli;
    hn_session session;
    hn_generate_options options;
    json_t *messages; /* array */
    int n_ctx;
    bool raw; /* no template: the prompt is continued as it stands */
} hn_chat;

/* Answers the messages so far (or continues `prompt` when raw), printing text to stdout as it comes
 * when `stream`; appends the answer to the messages. */
HN_MUST_CHECK hn_status hn_chat_answer(hn_chat *chat, const char *prompt, bool stream,
                                       hn_generation *generation, hn_error *err);
HN_MUST_CHECK hn_status hn_chat_add(hn_chat *chat, const char *role, const char *content,
                                    hn_error *err);

/* Carries out one /command. What it says goes to stderr; a mistake in it is said and forgiven.
 * *answer: the last question is to be answered (again). */
HN_MUST_CHECK hn_status hn_chat_command(hn_chat *chat, const char *line, bool *quit, bool *answer,
                                        hn_error *err);
