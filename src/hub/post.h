/* JSON sent to one address, several requests in flight at once. Redirects aren't followed, so that
 * the key goes where it was meant to go; whether to try again is the caller's decision. */
#pragma once

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct hn_post hn_post;

typedef struct hn_post_options {
    const char *url; /* http or https */
    const char *key; /* sent as Bearer, or NULL; never part of a message */
    int parallel;    /* requests in flight at most */
    int timeout_s;   /* for one whole exchange */
} hn_post_options;

typedef struct hn_post_answer {
    size_t tag;
    long code;           /* 0 = no answer came */
    long retry_after_s;  /* what the server asked for, as seconds or as a date; 0 = nothing */
    bool may_pass;       /* no answer came, and another try may bring one */
    const char *problem; /* why none came, static; NULL = one came */
    char *body;          /* NUL-terminated; freed by the caller with hn_free; NULL = none */
    size_t size;         /* of body */
} hn_post_answer;

HN_MUST_CHECK hn_status hn_post_open(hn_post **out, const hn_post_options *options, hn_error *err);
/* Ends what is in flight. Harmless on NULL. */
void hn_post_close(hn_post *post);

/* Starts a request; `body` is copied. At most `parallel` may be in flight. */
HN_MUST_CHECK hn_status hn_post_send(hn_post *post, size_t tag, const char *body, size_t n_bytes,
                                     hn_error *err);
/* Waits up to timeout_ms for one answer; *got says whether there is one. */
HN_MUST_CHECK hn_status hn_post_wait(hn_post *post, int timeout_ms, hn_post_answer *answer,
                                     bool *got, hn_error *err);
