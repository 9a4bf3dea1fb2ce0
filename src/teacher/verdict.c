#include "teacher/verdict.h"

#include "base/buf.h"

#include <string.h>

/* How refusals begin, in lower case. Those that end in a blank go on with what is refused. */
static const char *const REFUSALS[] = {
    "i'm sorry, but i",  "i am sorry, but i",   "sorry, but i can",        "i can't help ",
    "i cannot help ",    "i can't assist ",     "i cannot assist ",        "i'm unable to ",
    "i am unable to ",   "i'm not able to ",    "i am not able to ",       "as an ai ",
    "as an ai,",         "as a language model", "as an ai language model", "i can't provide ",
    "i cannot provide ", "i can't fulfill ",    "i cannot fulfill ",       "i must decline",
    "i can't comply",    "i cannot comply",     "i'm sorry, i can't ",     "i can't answer ",
    "i cannot answer ",  "i'm sorry. i can't ",
};

bool hn_verdict_refuses(const char *response) {
    enum { START = 64 };
    char start[START + 1];
    size_t n = 0;
    for (const char *p = response; *p && n < START; p++) {
        if ((unsigned char)p[0] == 0xe2 && (unsigned char)p[1] == 0x80 &&
            (unsigned char)p[2] == 0x99) { /* U+2019, the curly apostrophe */
            start[n++] = '\'';
            p += 2;
        } else if (!(n == 0 && strchr(" \t\r\n\"*", *p))) {
            start[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p - 'A' + 'a') : *p;
        }
    }
    start[n] = '\0';
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++)
        if (strncmp(start, REFUSALS[i], strlen(REFUSALS[i])) == 0)
            return true;
    return false;
}

/* Without the student's tokenizer: the field's share of what the teacher counted. */
static hn_status count(const hn_teacher_reply *reply, const char *field, size_t n_all_bytes,
                       const hn_tokenizer *tokenizer, int64_t *n, hn_error *err) {
    size_t n_bytes = strlen(field);
    if (tokenizer) {
        hn_ids ids = {0};
        hn_status status = hn_encode(tokenizer, field, n_bytes, 0, &ids, err);
        *n = (int64_t)ids.size;
        hn_ids_done(&ids);
        return status;
    }
    *n = reply->estimated || !n_all_bytes
             ? hn_teacher_guess_tokens(n_bytes)
             : (int64_t)((double)reply->n_answer * (double)n_bytes / (double)n_all_bytes);
    return HN_OK;
}

hn_status hn_verdict(const hn_teacher_reply *reply, const char *thought, const char *response,
                     const hn_verdict_options *options, const char **reason, hn_error *err) {
    size_t n_all_bytes = strlen(reply->content) + (reply->reasoning ? strlen(reply->reasoning) : 0);
    int64_t n_thought = 0, n_response = 0;
    *reason = NULL;
    HN_TRY(count(reply, thought, n_all_bytes, options->tokenizer, &n_thought, err));
    HN_TRY(count(reply, response, n_all_bytes, options->tokenizer, &n_response, err));
    if (reply->refused)
        *reason = "refusal";
    else if (reply->cut)
        *reason = "cut";
    else if (!*response)
        *reason = "empty";
    else if (hn_verdict_refuses(response))
        *reason = "refusal";
    else if (options->wants_thought && !*thought)
        *reason = "no thought";
    else if (n_response > options->max_field_tokens ||
             (options->wants_thought && n_thought > options->max_field_tokens))
        *reason = "long";
    return HN_OK;
}
