/* Whether an answer is fit to be learned. */
#pragma once

#include "teacher/teacher.h"
#include "tokenizer/tokenizer.h"

typedef struct hn_verdict_options {
    int max_field_tokens;          /* of a thought, and of a response */
    const hn_tokenizer *tokenizer; /* the student's; NULL = tokens are told from the lengths */
    bool wants_thought;
} hn_verdict_options;

/* *reason: NULL = fit; else "refusal", "cut", "empty", "no thought" or "long". */
HN_MUST_CHECK hn_status hn_verdict(const hn_teacher_reply *reply, const char *thought,
                                   const char *response, const hn_verdict_options *options,
                                   const char **reason, hn_error *err);
/* The response opens as refusals do, in English. */
bool hn_verdict_refuses(const char *response);
