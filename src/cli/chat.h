/* A conversation with a model: messages, answers, and the /commands of `hone chat`. */
#pragma once

#include "cli/session.h"

/* Sums over the answers so far, for /stats. */
typedef struct hn_chat_stats {
    int n_answers;
    int64_t n_prompt, n_reused, n_generated, n_drafted, n_accepted;
    double first_token_s, decode_s; /* until the first token; behind it */
} hn_chat_stats;

typedef struct hn_chat {
    hn_cli *cli;
    hn_session session;
    hn_generate_options options;
    json_t *messages; /* array */
    hn_chat_stats stats;
    int n_ctx;
    bool raw; /* no template: the prompt is continued as it stands */
} hn_chat;

/* Answers the messages so far (or continues `prompt` when raw), printing text to stdout as it comes
 * when `stream`; appends the answer to the messages. */
HN_MUST_CHECK hn_status hn_chat_answer(hn_chat *chat, const char *prompt, bool stream,
                                       hn_generation *generation, hn_error *err);
HN_MUST_CHECK hn_status hn_chat_add(hn_chat *chat, const char *role, const char *content,
                                    hn_error *err);

void hn_chat_count(hn_chat_stats *stats, const hn_generation *generation);

/* Carries out one /command. What it says goes to stderr; a mistake in it is said and forgiven.
 * *answer: the last question is to be answered (again). */
HN_MUST_CHECK hn_status hn_chat_command(hn_chat *chat, const char *line, bool *quit, bool *answer,
                                        hn_error *err);
