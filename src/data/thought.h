/* Where a chat template takes what an assistant thought before it answered: a key of its own beside
 * the content, which the template sets between its own marks, or <think> tags inside the content.
 */
#pragma once

#include "model/checkpoint.h"

#include <jansson.h>

typedef struct hn_thoughts {
    const char *key; /* static; NULL = the template knows none */
    bool tags;       /* <think>...</think> in the content of the last turn gets through */
} hn_thoughts;

/* Tries the template out; without one, tags are as good as any text. */
HN_MUST_CHECK hn_status hn_thoughts_probe(const hn_checkpoint *ckpt, hn_thoughts *out,
                                          hn_error *err);
/* Moves the thought that opens the last turn's content, in <think> tags, to where the template
 * takes it; other turns stay, and the row's own objects are left as they are. HN_BAD_INPUT when the
 * template would drop it. */
HN_MUST_CHECK hn_status hn_thoughts_place(const hn_thoughts *thoughts, json_t *messages,
                                          hn_error *err);
