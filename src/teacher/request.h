/* What a teacher is told: the requests, and the texts in them. Internal to teacher/. */
#pragma once

#include "base/hash.h"
#include "teacher/candidates.h"
#include "teacher/generate.h"

typedef struct hn_question {
    json_t *request;         /* new reference */
    char key[HN_SHA256_HEX]; /* of the whole request and the sample's number */
} hn_question;

HN_MUST_CHECK hn_status hn_question_answer(const hn_distil_options *options, const json_t *prompt,
                                           int sample, hn_question *out, hn_error *err);
/* The teacher judges the candidates listed in `order` (n_order of them). */
HN_MUST_CHECK hn_status hn_question_critique(const hn_distil_options *options,
                                             const hn_distil_candidates *candidates,
                                             hn_question *out, hn_error *err);
/* The teacher writes a wrong version of one answer. */
HN_MUST_CHECK hn_status hn_question_negative(const hn_distil_options *options, const json_t *prompt,
                                             const char *response, hn_question *out, hn_error *err);
/* "Question: ... Answers: 1. ... 2. ...": the candidates that differ; freed with hn_free. */
char *hn_question_candidates_text(const hn_distil_candidates *candidates);
/* Of a request: what isn't model or messages. A new reference. */
json_t *hn_question_sampling(const json_t *request);
