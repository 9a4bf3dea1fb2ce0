/* A teacher is asked with chat requests as OpenAI's API spells them and answers in text: an
 * endpoint over the network (endpoint.c) or a model on this machine (local.c). */
#pragma once

#include "base/progress.h"
#include "base/status.h"
#include "model/model.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct hn_teacher_reply {
    size_t tag;
    char *content;                      /* "" where nothing was said; owned */
    char *reasoning;                    /* what came apart from the content, or NULL; owned */
    bool cut;                           /* ended by max_tokens */
    bool refused;                       /* the endpoint says so: a refusal, or its content filter */
    int64_t n_prompt, n_answer;         /* tokens */
    bool estimated;                     /* those are guessed from the texts' lengths */
    bool unreachable;                   /* with problem: nobody answered at all */
    char problem[HN_ERROR_MESSAGE_MAX]; /* "" = an answer came; else why none did */
} hn_teacher_reply;
void hn_teacher_reply_done(hn_teacher_reply *reply);

typedef struct hn_teacher hn_teacher;
struct hn_teacher {
    int parallel;       /* questions under way at most */
    uint64_t n_retries; /* so far */
    /* `request`: {model, messages, temperature, max_tokens, ...}. */
    hn_status (*ask)(hn_teacher *teacher, size_t tag, const json_t *request, hn_error *err);
    /* Waits for one reply; there must be a question under way. A failure ends the work; what
     * concerns one question alone is reply->problem. */
    hn_status (*next)(hn_teacher *teacher, const hn_progress *progress, hn_teacher_reply *reply,
                      hn_error *err);
    void (*free)(hn_teacher *teacher);
};

typedef struct hn_endpoint_options {
    const char *url;      /* of the API ("https://host/v1"); /chat/completions is added */
    const char *key;      /* or NULL; neither printed nor stored */
    const char *key_name; /* how messages call it, or NULL */
    int parallel, timeout_s, max_retries;
} hn_endpoint_options;
HN_MUST_CHECK hn_status hn_teacher_open_endpoint(hn_teacher **out,
                                                 const hn_endpoint_options *options, hn_error *err);
/* Model and adapter (or NULL) are borrowed; n_ctx: positions for the questions under way and their
 * answers, together. An answer doesn't depend on `parallel`. */
HN_MUST_CHECK hn_status hn_teacher_open_local(hn_teacher **out, hn_model *model,
                                              const hn_adapter *adapter, int parallel, int n_ctx,
                                              hn_error *err);
/* Harmless on NULL. */
void hn_teacher_free(hn_teacher *teacher);

/* An endpoint's answer to a chat request. HN_BAD_INPUT: no such JSON. */
HN_MUST_CHECK hn_status hn_teacher_reply_parse(const char *text, size_t size,
                                               hn_teacher_reply *reply, hn_error *err);
/* Thought and response of what a teacher said (both owned by the caller, "" where missing): the
 * reasoning that came apart, else what stands in <think>...</think>. */
HN_MUST_CHECK hn_status hn_teacher_reply_split(const hn_teacher_reply *reply, char **thought,
                                               char **response, hn_error *err);
/* Tokens that a text has about, where nothing better is known. */
int64_t hn_teacher_guess_tokens(size_t n_bytes);
